//! PostgreSQL asks for TLS before it begins: the question is answered here, and asked of the target
//! again.

use std::sync::Arc;

use rustls::ServerConfig;
use serde_json::{Value, json};

use super::{CLOSED, NAME, targets};
use crate::support::backend::Manual;
use crate::support::certs::{Authority, Files};
use crate::support::config::{Config, Service};
use crate::support::peer::{End, Outcome, Peer};
use crate::support::proxy::{Launch, Proxy};
use crate::support::tls::{self, Dial, Tls, serving};

const SSL: [u8; 8] = [0, 0, 0, 8, 4, 210, 22, 47];
const GSS: [u8; 8] = [0, 0, 0, 8, 4, 210, 22, 48];
const STARTUP: &[u8] = b"\0\0\0\x11\0\x03\0\0user\0me\0\0";

struct Scene {
    proxy: Proxy,
    through: Service,
    ended: Service,
    again: Service,
    upstream: Manual,
    server: Arc<ServerConfig>,
    dial: Dial,
    _files: Files,
}

impl Scene {
    fn new() -> Scene {
        let authority = Authority::new("all");
        let files = Files::new();
        let upstream = Manual::start();
        let secure = json!([{
            "host": "127.0.0.1", "port": upstream.address.port(), "tls": true,
            "serverName": "db.test", "caFile": files.put("ca.pem", &authority.pem()),
        }]);
        let service = |id: &str, tls: &str, targets: Value| {
            Service::new(id, &[])
                .set("tls", json!(tls))
                .set("sni", json!({ "enabled": true }))
                .set("retries", json!(0))
                .set("rules", json!([{ "domain": NAME, "targets": targets }]))
        };
        let through = service("through", "PassThrough", targets(&[upstream.address]));
        let ended = service("ended", "Enabled", targets(&[upstream.address]));
        let again = service("again", "Enabled", secure);
        let mut config = serving(&authority.issue(&["db.test", NAME]), None);
        config.alpn_protocols = vec![b"postgresql".to_vec()];
        let document = Config::new([&through, &ended, &again])
            .set("certificates", json!([files.pair("a", &authority.issue(&[NAME]))]));
        Scene {
            proxy: Launch::new(document).start(),
            through,
            ended,
            again,
            upstream,
            server: Arc::new(config),
            dial: Dial::trusting(&authority),
            _files: files,
        }
    }

    /// A client that was told to go ahead.
    #[track_caller]
    fn asked(&self, service: &Service, gss_first: bool) -> Peer {
        let client = self.proxy.connect(service);
        if gss_first {
            client.send(&GSS);
            client.expect(b"N");
        }
        client.send(&SSL);
        client.expect(b"S");
        client
    }
}

/// Without the question and its answer, which are not the target's.
fn counted(outcome: Outcome, asked: u64) -> Outcome {
    Outcome { sent: outcome.sent - 8 * asked, received: outcome.received - asked, ..outcome }
}

/// Goal: the target is asked as the client asked, and TLS goes through untouched.
#[test]
fn passed_through() {
    let mut scene = Scene::new();
    for gss_first in [false, true] {
        let peer = scene.asked(&scene.through, gss_first);
        let mut client = Tls::client(peer, &scene.dial.config(), NAME);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let up = scene.upstream.accept();
                up.expect(&SSL);
                up.send(b"S");
                let mut up = Tls::answer(up, &scene.server);
                up.expect(STARTUP);
                up.send(b"R");
                up.expect_close();
                up.fin();
                up.peer.fin();
            });
            client.shake().unwrap();
            client.send(STARTUP);
            client.expect(b"R");
            client.fin();
            client.expect_close();
            client.peer.fin();
        });
        let outcome = counted(client.peer.outcome(), 1 + u64::from(gss_first));
        drop(client);
        scene.proxy.ended(outcome, &scene.through, CLOSED);
    }
    // A target that does not want to, one that says too much, and one that says nothing of the kind.
    for (answer, reason) in [
        (&b"N"[..], "upstream/connect/no-tls"),
        (b"Sx", "upstream/connect/no-tls"),
        (b"E", "upstream/connect/no-tls"),
        (b"", "upstream/connect/reset"),
    ] {
        let peer = scene.asked(&scene.through, false);
        let mut client = Tls::client(peer, &scene.dial.config(), NAME);
        client.flush().unwrap();
        let up = scene.upstream.accept();
        up.expect(&SSL);
        up.send(answer);
        up.fin();
        assert_eq!(client.shake(), Err(tls::End::Reset));
        let outcome = client.peer.outcome();
        scene.proxy.cut(Outcome { received: 0, ..outcome }, &scene.through, reason);
    }
    scene.proxy.finish();
}

/// Goal: where TLS ends here the target gets the startup in clear, or over TLS that it was asked for.
#[test]
fn ended_here_and_spoken_again() {
    let mut scene = Scene::new();
    for gss_first in [false, true] {
        let peer = scene.asked(&scene.ended, gss_first);
        let mut client = Tls::dial(peer, &scene.dial.config(), NAME);
        client.send(STARTUP);
        let up = scene.upstream.accept();
        up.expect(STARTUP);
        up.send(b"R");
        client.expect(b"R");
        client.fin();
        up.expect_eof();
        up.close();
        client.expect_close();
        scene.proxy.ended(client, &scene.ended, CLOSED);

        let peer = scene.asked(&scene.again, gss_first);
        let mut client = Tls::dial(peer, &scene.dial.config(), NAME);
        client.send(STARTUP);
        let up = scene.upstream.accept();
        up.expect(&SSL);
        up.send(b"S");
        let mut up = Tls::answer(up, &scene.server);
        up.expect(STARTUP);
        up.send(b"R");
        client.expect(b"R");
        client.fin();
        up.expect_close();
        up.fin();
        client.expect_close();
        scene.proxy.ended(client, &scene.again, CLOSED);
    }
    scene.proxy.finish();
}

/// Goal: a client that begins with TLS at once is served as well, by its protocol's name.
#[test]
fn direct() {
    let mut scene = Scene::new();
    let config = scene.dial.clone().alpn(&["postgresql"]).config();
    let mut client = Tls::dial(scene.proxy.connect(&scene.again), &config, NAME);
    assert_eq!(client.connection.alpn_protocol(), Some(&b"postgresql"[..]));
    let mut up = Tls::answer(scene.upstream.accept(), &scene.server);
    assert_eq!(up.connection.alpn_protocol(), Some(&b"postgresql"[..]));
    client.send(STARTUP);
    up.expect(STARTUP);
    up.fin();
    client.expect_close();
    client.fin();
    up.expect_close();
    scene.proxy.ended(client, &scene.again, CLOSED);
    scene.proxy.finish();
}

/// Goal: whoever will not have TLS is told so in PostgreSQL's words; what was smuggled in before TLS
/// is refused.
#[test]
fn refusals() {
    let mut scene = Scene::new();
    let mut hello = Tls::client(scene.proxy.connect(&scene.ended), &scene.dial.config(), NAME);
    let smuggled = [&SSL[..], &hello.unsent()].concat();
    hello.peer.fin();
    hello.peer.expect_end();
    scene.proxy.refused(hello.peer, "client/hello/left");
    for service in [&scene.through, &scene.ended] {
        for (bytes, words, reason) in [
            (STARTUP.to_vec(), Some(b'E'), "us/hello/plain"),
            ([&GSS[..], STARTUP].concat(), None, "us/hello/malformed"),
            (smuggled.clone(), Some(21), "us/hello/malformed"),
            ([&SSL[..], &SSL[..]].concat(), Some(21), "us/hello/malformed"),
            ([&SSL[..], STARTUP].concat(), Some(21), "us/hello/malformed"),
        ] {
            let client = scene.proxy.connect(service);
            client.send(&bytes);
            let (said, end) = client.recv_to_end();
            assert_eq!(end, End::Eof, "{reason}: {said:?}");
            if let Some(first) = words {
                assert_eq!(said.first(), Some(&first), "{reason}: {said:?}");
            }
            let outcome = Outcome { received: 0, ..client.outcome() };
            drop(client);
            scene.proxy.refused(outcome, reason);
        }
    }
    assert!(scene.upstream.try_accept().is_none());
    scene.proxy.finish();
}
