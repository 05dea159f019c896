//! HAProxy, nginx and curl, in front of us and behind us. What HAProxy's own tests of the protocol ask
//! of a receiver and of a sender is asked here too: whom they believe, and how values are taken.

use std::fs;
use std::process::Command;

use serde_json::json;

use super::tlvs::read;
use super::*;
use crate::programs::{Server, run, temp};
use crate::support::backend::{Backend, Manual};
use crate::support::certs::{Authority, Files};
use crate::support::ports::free_port;
use crate::support::proxy::Proxy;
use crate::support::tls::{Dial, Tls};
use crate::tls_programs::{haproxy, nginx};

/// A program looks whether its server is there, and may leave without a word.
const ANY_END: &str = "*/relay/closed|*/relay/reset";

/// A service that requires headers and sends on what they told.
fn relaying(upstream: &Manual) -> Service {
    let proxied = json!({ "accept": "Require", "trusted": ["127.0.0.1"], "send": "V2" });
    Service::new("svc", &[upstream.address]).set("proxyProtocol", proxied)
}

/// The connection of the harness, by which it saw that the program in front was up: if it reached the
/// target before the next one did, it is taken away.
#[track_caller]
fn accept_of(upstream: &Manual, client: &Peer) -> (Peer, super::tlvs::Told) {
    loop {
        let up = upstream.accept();
        let mut bytes = up.recv_exact(16);
        bytes.extend(up.recv_exact(usize::from(u16::from_be_bytes([bytes[14], bytes[15]]))));
        let told = read(&bytes);
        if told.source.is_some_and(|source| source.port() == client.port()) {
            return (up, told);
        }
    }
}

/// Goal: what HAProxy tells of a client is believed and passed on.
/// Method: HAProxy in front with each of its ways to send: the client comes from 127.0.0.9, HAProxy
/// from 127.0.0.1. The target has the client's address and what HAProxy said of it.
#[test]
fn haproxy_in_front() {
    let authority = Authority::new("all");
    let files = Files::new();
    let issued = authority.issue(&["a.test"]);
    let pem = files.put("all.pem", &(issued.cert_pem() + &issued.key_pem()));
    let ca = files.put("ca.pem", &authority.pem());
    let tls = format!("ssl crt {pem} ca-file {ca} verify optional");
    let dial = Dial::trusting(&authority).identity(&authority.issue(&["alice"])).config();
    for (bind, server, id) in [
        ("", "send-proxy", false),
        ("", "send-proxy-v2", false),
        ("", "send-proxy-v2 proxy-v2-options unique-id,crc32c", true),
        (tls.as_str(), "send-proxy-v2-ssl", false),
        (tls.as_str(), "send-proxy-v2-ssl-cn proxy-v2-options authority,ssl-cipher,crc32c", false),
    ] {
        let upstream = Manual::start();
        let service = relaying(&upstream);
        let mut proxy = Proxy::start([&service]);
        let port = free_port();
        let front = haproxy(
            port,
            &format!(
                "listen front\n  bind 127.0.0.1:{port} {bind}\n  unique-id-format id-%cp\n  \
                 server far {} {server}",
                service.address
            ),
        );
        let address = Service::new("front", &[]).on_port(port);
        let client = connect_from(Ipv4Addr::new(127, 0, 0, 9), &address);
        let own = client.port();
        let told = if bind.is_empty() {
            let (up, told) = accept_of(&upstream, &client);
            client.send(b"hello");
            up.expect(b"hello");
            client.fin();
            up.expect_eof();
            drop(up);
            client.expect_eof();
            told
        } else {
            let mut client = Tls::dial(client, &dial, "a.test");
            let (up, told) = accept_of(&upstream, &client.peer);
            client.send(b"hello");
            up.expect(b"hello");
            drop(client);
            up.expect_end();
            told
        };
        assert_eq!(told.source.unwrap().to_string(), format!("127.0.0.9:{own}"), "{server}");
        assert_eq!(told.destination.unwrap(), address.address, "{server}");
        if id {
            assert_eq!(told.text(5), Some(format!("id-{own}")));
        }
        if !bind.is_empty() {
            let ssl = told.value(0x20).expect("TLS is told of");
            assert_eq!(&ssl[..5], b"\x07\0\0\0\0", "{server}");
            let has = |part: &[u8]| ssl.windows(part.len()).any(|window| window == part);
            assert!(has(b"\x21\0\x07TLSv1.3"), "{server}: {}", ssl.escape_ascii());
            assert_eq!(has(b"\x22\0\x05alice"), server.contains("cn"), "{server}");
        }
        let event = proxy.event_of(own);
        assert_eq!(event.text("remote"), format!("127.0.0.9:{own}"), "{server}");
        assert!(event.text("proxy").starts_with("127.0.0.1:"), "{server}");
        drop(front);
        drop(upstream);
        // The harness's look at HAProxy may have come through, or not.
        let any = "*/relay/*|upstream/connect/*|client/header/*";
        proxy.ended_between(1, 3, any);
        proxy.finish();
    }
}

/// HAProxy that answers with what it was told.
fn haproxy_behind(port: u16) -> Server {
    haproxy(
        port,
        &format!(
            "frontend behind\n  mode http\n  bind 127.0.0.1:{port} accept-proxy\n  http-request return \
             status 200 content-type text/plain lf-string \"%[src]:%[src_port] %[dst]:%[dst_port] \
             %[fc_pp_authority] %[fc_pp_unique_id]\""
        ),
    )
}

/// nginx that answers with what it was told.
fn nginx_behind(port: u16) -> Server {
    let told = "$proxy_protocol_addr:$proxy_protocol_port \
                $proxy_protocol_server_addr:$proxy_protocol_server_port";
    nginx(
        port,
        &format!("server {{ listen 127.0.0.1:{port} proxy_protocol; return 200 \"{told}\"; }}"),
    )
}

/// Goal: HAProxy and nginx believe what we tell, in both versions.
/// Method: curl asks them through us, from an address of its own, and is told where it came from.
#[test]
fn behind() {
    let (one, two) = (free_port(), free_port());
    let _servers = (haproxy_behind(one), nginx_behind(two));
    for version in ["V1", "V2"] {
        let service = |id: &str, port: u16| {
            let targets = json!([{ "host": "127.0.0.1", "port": port }]);
            Service::new(id, &[])
                .set("proxyProtocol", json!({ "send": version }))
                .set("sni", json!({ "enabled": true }))
                .set("rules", json!([{ "domain": "a.test", "targets": targets }]))
        };
        let (haproxy, nginx) = (service("haproxy", one), service("nginx", two));
        let mut proxy = Proxy::start([&haproxy, &nginx]);
        for service in [&haproxy, &nginx] {
            let url = format!("http://a.test:{}/", service.port());
            let to = format!("a.test:{0}:127.0.0.1:{0}", service.port());
            let curl = ["-sS", "--fail", "--interface", "127.0.0.9"];
            let said = run("curl", &[&curl[..], &["--connect-to", &to, &url]].concat()).stdout;
            let words: Vec<&str> = said.split(' ').collect();
            assert!(words[0].starts_with("127.0.0.9:"), "{version}: {said}");
            assert_eq!(words[1], service.address.to_string(), "{version}: {said}");
            if service.id == "haproxy" && version == "V2" {
                assert_eq!(words[2], "a.test", "{said}");
                assert_eq!(words[3].split('-').count(), 3, "our id: {said}");
            }
        }
        proxy.ended_many(2, ANY_END);
        proxy.finish();
    }
}

/// Goal: what nginx tells is believed.
/// Method: nginx in front, as a proxy of streams, of a client from 127.0.0.9.
#[test]
fn nginx_in_front() {
    let upstream = Manual::start();
    let service = relaying(&upstream);
    let mut proxy = Proxy::start([&service]);
    let (port, dir) = (free_port(), temp());
    let user = if crate::support::process::is_root() { "user root;" } else { "" };
    let text = format!(
        "load_module /usr/lib/nginx/modules/ngx_stream_module.so;\ndaemon off; worker_processes 1; \
         pid nginx.pid; error_log stderr;\n{user}\nevents {{ worker_connections 200; }}\n\
         stream {{ server {{ listen 127.0.0.1:{port}; proxy_pass {}; proxy_protocol on; }} }}\n",
        service.address
    );
    fs::write(dir.path().join("nginx.conf"), text).unwrap();
    let mut command = Command::new("/usr/sbin/nginx");
    command.arg("-p").arg(dir.path()).args(["-c", "nginx.conf", "-e", "stderr"]);
    let front = Server::start(command, dir, port);
    let address = Service::new("front", &[]).on_port(port);
    let client = connect_from(Ipv4Addr::new(127, 0, 0, 9), &address);
    let (up, told) = accept_of(&upstream, &client);
    client.send(b"hello");
    up.expect(b"hello");
    client.fin();
    up.expect_eof();
    drop(up);
    client.expect_eof();
    assert_eq!(told.source.unwrap().to_string(), format!("127.0.0.9:{}", client.port()));
    assert_eq!(told.destination.unwrap(), address.address);
    let event = proxy.event_of(client.port());
    assert_eq!(event.text("remote"), format!("127.0.0.9:{}", client.port()));
    drop(front);
    drop(upstream);
    proxy.ended_between(1, 3, "*/relay/*|upstream/connect/*|client/header/*");
    proxy.finish();
}

/// Goal: curl's header is taken, and one that is missing refused.
/// Method: requests with `--haproxy-protocol` and without, by IPv4 and IPv6.
#[test]
fn curl() {
    let backend = Backend::serve(|peer| {
        peer.try_recv().unwrap();
        let _ =
            peer.try_send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nhi");
        peer.fin();
        while peer.try_recv().is_ok_and(|bytes| !bytes.is_empty()) {}
    });
    let service = Service::new("svc", &[backend.address])
        .set("interface", json!("::"))
        .set("proxyProtocol", taking("Require", &["127.0.0.0/8", "::1"]))
        .set("sni", json!({ "enabled": true }));
    let mut proxy = Proxy::start([&service]);
    for host in ["127.0.0.1", "[::1]"] {
        let url = format!("http://{host}:{}/", service.port());
        let exit = run("curl", &["-sS", "--fail", "--haproxy-protocol", &url]);
        assert_eq!(exit.stdout, "hi");
    }
    proxy.ended_many(2, ANY_END);
    let url = format!("http://127.0.0.1:{}/", service.port());
    let mut without = Command::new("curl");
    without.args(["-sS", &url]);
    assert!(!crate::support::proxy::run_to_end(without).status.success());
    proxy.ended_many(1, "us/header/no-header");
    proxy.finish();
}
