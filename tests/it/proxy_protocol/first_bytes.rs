//! What follows a header: what services route by, and what the told address decides.

use std::sync::Arc;

use rustls::ServerConfig;
use serde_json::json;

use super::*;
use crate::support::backend::Manual;
use crate::support::certs::{Authority, Files};
use crate::support::config::Config;
use crate::support::proxy::{Launch, Proxy};
use crate::support::tls::{Dial, Tls, serving};

const NAME: &str = "a.test";
const SSL: [u8; 8] = [0, 0, 0, 8, 4, 210, 22, 47];

fn target(upstream: &Manual) -> Value {
    json!([{ "host": "127.0.0.1", "port": upstream.address.port() }])
}

struct Scene {
    proxy: Proxy,
    ended: Service,
    through: Service,
    upstream: Manual,
    server: Arc<ServerConfig>,
    dial: Dial,
    _files: Files,
}

/// One service that ends TLS and one that passes it through, on one port; each for a name, and both
/// only for clients from 192.0.2.0/24.
fn scene(hello: &str) -> Scene {
    let authority = Authority::new("all");
    let files = Files::new();
    let upstream = Manual::start();
    let service = |id: &str, tls: &str, name: &str| {
        Service::new(id, &[])
            .set("tls", json!(tls))
            .set("sni", json!({ "enabled": true }))
            .set("proxyProtocol", taking("Require", &["127.0.0.1"]))
            .set("timeouts", json!({ "hello": hello }))
            .set(
                "rules",
                json!([{
                    "domain": name, "sources": ["192.0.2.0/24"], "targets": target(&upstream)
                }]),
            )
    };
    let ended = service("ended", "Enabled", NAME);
    let through = service("through", "PassThrough", "b.test").on_port(ended.port());
    let config = Config::new([&ended, &through])
        .set("certificates", json!([files.pair("a", &authority.issue(&[NAME]))]));
    Scene {
        proxy: Launch::new(config).start(),
        ended,
        through,
        upstream,
        server: Arc::new(serving(&authority.issue(&["b.test"]), None)),
        dial: Dial::trusting(&authority),
        _files: files,
    }
}

/// Goal: a TLS hello behind a header is read however both are cut, and the rule's `sources` are those
/// of the told client.
/// Method: header and hello glued; header alone, then the hello; the cut within the hello. TLS ended
/// here, and passed through, on one port.
#[test]
fn hellos() {
    let mut scene = scene("1m");
    for cut in ["glued", "apart", "within"] {
        for name in [NAME, "b.test"] {
            let told = told_port();
            let head = line(told);
            let mut client =
                Tls::client(scene.proxy.connect(&scene.ended), &scene.dial.config(), name);
            let hello = client.unsent();
            let bytes = [&head[..], &hello].concat();
            let at = match cut {
                "glued" => bytes.len(),
                "apart" => head.len(),
                _ => head.len() + hello.len() / 2,
            };
            client.peer.send(&bytes[..at]);
            wait_until_read(&client.peer, &scene.ended);
            client.peer.send(&bytes[at..]);
            let (upstream, server) = (&scene.upstream, &scene.server);
            std::thread::scope(|scope| {
                scope.spawn(|| {
                    let up = upstream.accept();
                    if name == NAME {
                        up.expect(b"ping");
                        up.send(b"pong");
                        up.expect_eof();
                    } else {
                        let mut up = Tls::answer(up, server);
                        up.expect(b"ping");
                        up.send(b"pong");
                        up.expect_close();
                        up.fin();
                        up.peer.fin();
                    }
                });
                client.shake().unwrap();
                client.send(b"ping");
                client.expect(b"pong");
                client.fin();
                client.expect_close();
                client.peer.fin();
            });
            let peer = client.peer.port();
            if name == NAME {
                let outcome = client.outcome();
                drop(client);
                scene.proxy.ended(Outcome { port: told, ..outcome }, &scene.ended, CLOSED);
            } else {
                let outcome = as_told(client.peer.outcome(), told, head.len());
                drop(client);
                scene.proxy.ended(outcome, &scene.through, CLOSED);
            }
            let event = scene.proxy.event_of(told);
            assert_eq!(event.text("remote"), format!("192.0.2.7:{told}"));
            assert_eq!(event.text("proxy"), format!("127.0.0.1:{peer}"));
            assert_eq!(event.text("sni"), name);
        }
    }
    scene.proxy.finish();
}

/// Goal: a header does not start the hello's deadline anew, and an address that no rule takes is
/// refused although the proxy's own would be.
#[test]
fn deadlines_and_sources() {
    let mut scene = self::scene("2s");
    let silent = scene.proxy.connect(&scene.ended);
    let told = told_port();
    silent.send(&line(told));
    silent.expect_end();
    scene.proxy.refused(as_told(silent, told, line(told).len()), "us/hello/silent");
    let half = scene.proxy.connect(&scene.ended);
    let told = told_port();
    half.send(&[&line(told)[..], b"\x16\x03\x01"].concat());
    half.expect_end();
    scene.proxy.refused(as_told(half, told, line(told).len()), "client/hello/deadline");
    scene.proxy.finish();

    let mut scene = self::scene("1m");
    let told = told_port();
    let head = format!("PROXY TCP4 203.0.113.9 198.51.100.9 {told} 5432\r\n");
    let mut client = Tls::client(scene.proxy.connect(&scene.ended), &scene.dial.config(), NAME);
    let hello = client.unsent();
    client.peer.send(&[head.as_bytes(), &hello].concat());
    assert!(client.shake().is_err(), "no rule is for this client");
    let outcome = as_told(client.peer.outcome(), told, head.len());
    drop(client);
    // The alert is ours, not a target's.
    scene.proxy.refused(Outcome { received: 0, ..outcome }, "us/route/no-match");
    assert!(scene.upstream.try_accept().is_none(), "a target was reached");
    scene.proxy.finish();
}

/// Goal: PostgreSQL's question behind a header is answered, glued to it or not.
#[test]
fn postgres() {
    let mut scene = scene("1m");
    for glued in [true, false] {
        let told = told_port();
        let head = line(told);
        let client = scene.proxy.connect(&scene.ended);
        if glued {
            client.send(&[&head[..], &SSL].concat());
        } else {
            client.send(&head);
            wait_until_read(&client, &scene.ended);
            client.send(&SSL);
        }
        client.expect(b"S");
        let mut client = Tls::client(client, &scene.dial.config(), "b.test");
        let (upstream, server) = (&scene.upstream, &scene.server);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let up = upstream.accept();
                up.expect(&SSL);
                up.send(b"S");
                let mut up = Tls::answer(up, server);
                up.expect(b"ping");
                up.expect_close();
                up.fin();
                up.peer.fin();
            });
            client.shake().unwrap();
            client.send(b"ping");
            client.fin();
            client.expect_close();
            client.peer.fin();
        });
        let outcome = as_told(client.peer.outcome(), told, head.len());
        drop(client);
        let counted = Outcome { sent: outcome.sent - 8, received: outcome.received - 1, ..outcome };
        scene.proxy.ended(counted, &scene.through, CLOSED);
    }
    scene.proxy.finish();
}

/// Goal: the head of an HTTP request behind a header is read, however both are cut, and arrives
/// without the header.
#[test]
fn http_heads() {
    let upstream = Manual::start();
    let service = Service::new("web", &[])
        .set("sni", json!({ "enabled": true }))
        .set("proxyProtocol", taking("Optional", &["127.0.0.0/8"]))
        .set("rules", json!([{ "domain": "a.test", "targets": target(&upstream) }]));
    let mut proxy = Proxy::start([&service]);
    let request = b"GET / HTTP/1.1\r\nHost: a.test\r\n\r\n";
    let headless = 0;
    for cut in [headless, 10, 44, 60, 75, usize::MAX] {
        let told = told_port();
        let head = if cut == headless { Vec::new() } else { line(told) };
        let client = proxy.connect(&service);
        let bytes = [&head[..], request].concat();
        let cut = cut.min(bytes.len());
        client.send(&bytes[..cut]);
        wait_until_read(&client, &service);
        client.send(&bytes[cut..]);
        let up = upstream.accept();
        up.expect(request);
        up.send(b"HTTP/1.1 200 OK\r\n\r\n");
        client.expect(b"HTTP/1.1 200 OK\r\n\r\n");
        client.fin();
        up.expect_eof();
        drop(up);
        client.expect_eof();
        let port = if head.is_empty() { client.port() } else { told };
        proxy.ended(as_told(client, port, head.len()), &service, CLOSED);
        assert_eq!(proxy.event_of(port).text("sni"), "a.test");
    }
    proxy.finish();
}

/// Goal: one client has one target by `SourceHash`, whichever proxy it comes through.
/// Method: 32 told addresses, each twice, from two addresses of proxies; the two arrive at the same
/// target, and not all at one.
#[test]
fn source_hash() {
    let targets: Vec<crate::support::backend::Backend> =
        (0..4).map(|_| crate::support::backend::Backend::name()).collect();
    let addresses: Vec<SocketAddr> = targets.iter().map(|target| target.address).collect();
    let service = Service::new("svc", &addresses)
        .set("loadBalancing", json!("SourceHash"))
        .set("proxyProtocol", taking("Require", &["127.0.0.0/8"]));
    let mut proxy = Proxy::start([&service]);
    let mut reached = std::collections::HashSet::new();
    for client in 0..32 {
        let ask = |from: u8| {
            let peer = connect_from(Ipv4Addr::new(127, 0, 0, from), &service);
            peer.send(format!("PROXY TCP4 10.1.0.{client} 10.2.0.1 9 9\r\n").as_bytes());
            peer.recv_exact(5)
        };
        let (one, other) = (ask(1), ask(2));
        assert_eq!(one, other, "the client 10.1.0.{client}");
        reached.insert(one);
    }
    assert!(reached.len() > 1, "all clients at one target");
    proxy.ended_many(64, CLOSED);
    proxy.finish();
}
