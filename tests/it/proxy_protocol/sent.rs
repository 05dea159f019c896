//! Headers that we send: before anything else, together with what there is, to whom it is said.

use std::io::Read;
use std::net::Ipv6Addr;
use std::os::unix::net::UnixListener;

use serde_json::json;

use super::tlvs::{Told, read};
use super::*;
use crate::support::backend::{Backend, Manual};
use crate::support::certs::{Authority, Files};
use crate::support::config::Config;
use crate::support::proxy::{Launch, Proxy};
use crate::support::tls::{Dial, Tls, serving};
use crate::support::wait::wait_for;

/// A service in front of this target that sends headers of this version.
pub fn sending(id: &str, version: &str, upstream: &Manual) -> Service {
    Service::new(id, &[upstream.address]).set("proxyProtocol", json!({ "send": version }))
}

/// What one read gives that finds a header: whom it tells of, and what came with it.
#[track_caller]
pub fn first_read(up: &Peer) -> (SocketAddr, SocketAddr, Vec<u8>) {
    addresses(&up.try_recv().expect("a header"))
}

/// Source, destination and what follows.
#[track_caller]
pub fn addresses(bytes: &[u8]) -> (SocketAddr, SocketAddr, Vec<u8>) {
    if bytes.starts_with(SIGNATURE) {
        let Told { source, destination, length, .. } = read(bytes);
        return (source.unwrap(), destination.unwrap(), bytes[length..].to_vec());
    }
    let shown = || bytes.escape_ascii().to_string();
    let end =
        bytes.windows(2).position(|two| two == b"\r\n").unwrap_or_else(|| panic!("{}", shown()));
    let line = String::from_utf8(bytes[..end].to_vec()).unwrap();
    let words: Vec<&str> = line.split(' ').collect();
    assert_eq!((words.len(), words[0]), (6, "PROXY"), "{line}");
    let address = |ip: usize, port: usize| {
        SocketAddr::new(words[ip].parse().unwrap(), words[port].parse().unwrap())
    };
    assert_eq!(words[1] == "TCP6", address(2, 4).is_ipv6(), "{line}");
    (address(2, 4), address(3, 5), bytes[end + 2..].to_vec())
}

/// The end of both, in order.
fn finish(proxy: &mut Proxy, service: &Service, client: Peer, up: Peer) {
    client.fin();
    up.expect_eof();
    drop(up);
    client.expect_eof();
    proxy.ended(client, service, CLOSED);
}

/// Goal: a target that reads only once has the header and the first bytes of the client.
/// Method: a client whose bytes are there when its connection is accepted; one whose bytes came behind
/// a header; one whose request was read to be routed. One read at the target.
#[test]
fn together() {
    for version in ["V1", "V2"] {
        let upstream = Manual::start();
        let plain = sending("plain", version, &upstream);
        let told = Service::new("told", &[upstream.address]).set(
            "proxyProtocol",
            json!({ "accept": "Require", "trusted": ["127.0.0.1"], "send": version }),
        );
        let web = sending("web", version, &upstream).set("sni", json!({ "enabled": true }));
        let mut proxy = Proxy::start([&plain, &told, &web]);
        let request = b"GET / HTTP/1.1\r\nHost: a.test\r\n\r\n";
        for (service, payload) in [(&plain, &b"hello"[..]), (&web, request)] {
            proxy.pause();
            let client = proxy.connect(service);
            client.send(payload);
            proxy.resume();
            let up = upstream.accept();
            let (source, destination, with) = first_read(&up);
            assert_eq!(source, SocketAddr::from(([127, 0, 0, 1], client.port())));
            assert_eq!(destination, service.address);
            assert_eq!(with, payload, "{version}");
            client.send(b"more");
            up.expect(b"more");
            finish(&mut proxy, service, client, up);
        }
        let port = told_port();
        let client = proxy.connect(&told);
        client.send(&[&line(port)[..], b"hello"].concat());
        let up = upstream.accept();
        let (source, destination, with) = first_read(&up);
        assert_eq!(source.to_string(), format!("192.0.2.7:{port}"));
        assert_eq!(destination.to_string(), "198.51.100.9:5432");
        assert_eq!(with, b"hello", "{version}");
        client.fin();
        up.expect_eof();
        drop(up);
        client.expect_eof();
        proxy.ended(as_told(client, port, line(port).len()), &told, CLOSED);
        proxy.finish();
    }
}

/// Goal: a header waits for nobody: a server that speaks first speaks as soon as it is connected, and
/// a client that ends at once is told of too.
#[test]
fn alone() {
    for version in ["V1", "V2"] {
        let upstream = Manual::start();
        let service = sending("svc", version, &upstream);
        let mut proxy = Proxy::start([&service]);
        let client = proxy.connect(&service);
        let up = upstream.accept();
        let (source, _, with) = first_read(&up);
        assert_eq!((source.port(), with.len()), (client.port(), 0));
        up.send(b"220 welcome\r\n");
        client.expect(b"220 welcome\r\n");
        client.send(b"QUIT\r\n");
        up.expect(b"QUIT\r\n");
        finish(&mut proxy, &service, client, up);

        proxy.pause();
        let client = proxy.connect(&service);
        client.fin();
        proxy.resume();
        let up = upstream.accept();
        let (bytes, end) = up.recv_to_end();
        assert_eq!(
            (addresses(&bytes).0.port(), end),
            (client.port(), crate::support::peer::End::Eof)
        );
        drop(up);
        client.expect_eof();
        proxy.ended(client, &service, CLOSED);

        // One that is gone already when its target is reached.
        proxy.pause();
        let client = proxy.connect(&service);
        let outcome = client.rst();
        proxy.resume();
        if let Some(up) = crate::support::wait::waited(SOON, || upstream.try_accept()) {
            up.recv_to_end();
        }
        proxy.cut(outcome, &service, "client/relay/reset");
        proxy.finish();
    }
}

/// Goal: the addresses are those of the client's connection, whichever way it came.
/// Method: IPv6; IPv4 to a listener of both; an address that only the kernel knows was meant.
#[test]
fn addresses_of_the_client() {
    for version in ["V1", "V2"] {
        let upstream = Manual::start();
        let mut six = sending("six", version, &upstream).set("interface", json!("::1"));
        six.address = SocketAddr::from((Ipv6Addr::LOCALHOST, six.port()));
        let both = sending("both", version, &upstream).set("interface", json!("::"));
        let any = sending("any", version, &upstream).set("interface", json!("0.0.0.0"));
        let mut proxy = Proxy::start([&six, &both, &any]);
        for (service, to) in [
            (&six, six.address),
            (&both, both.address),
            (&both, SocketAddr::from((Ipv6Addr::LOCALHOST, both.port()))),
            (&any, SocketAddr::from(([127, 0, 0, 77], any.port()))),
        ] {
            let client = Peer::connect(to);
            let up = upstream.accept();
            let (source, destination, _) = first_read(&up);
            assert_eq!(destination, to, "{version}");
            assert_eq!(source, SocketAddr::new(source.ip(), client.port()));
            assert_eq!(source.is_ipv6(), to.is_ipv6(), "{source}");
            finish(&mut proxy, service, client, up);
        }
        proxy.finish();
    }
}

/// Goal: each target is told as it says itself, else as its service says; those of `sni` and Unix
/// sockets too.
/// Method: a service with `send` and one without; requests for names whose targets differ.
#[test]
fn of_each_target() {
    let upstream = Manual::start();
    let port = upstream.address.port();
    let files = Files::new();
    let path = files.path("x.sock");
    let unix = UnixListener::bind(&path).unwrap();
    unix.set_nonblocking(true).unwrap();
    let target = |header: Value| match header {
        Value::Null => json!({ "host": "127.0.0.1", "port": port }),
        header => json!({ "host": "127.0.0.1", "port": port, "proxyProtocol": header }),
    };
    let service = |id: &str, send: &str| {
        Service::new(id, &[])
            .set("proxyProtocol", json!({ "send": send }))
            .set(
                "sni",
                json!({
                    "enabled": true, "forwardIfNoMatch": true, "forwardsTo": target(json!("V1")),
                    "fallbacks": { "noName": target(json!("V2")), "notRecognised": target(Value::Null) }
                }),
            )
            .set(
                "rules",
                json!([
                    { "domain": "none.test", "targets": [target(json!("Off"))] },
                    { "domain": "one.test", "targets": [target(json!("V1"))] },
                    { "domain": "two.test", "targets": [target(json!("V2"))] },
                    { "domain": "as.test", "targets": [target(Value::Null)] },
                    { "domain": "unix.test", "targets": [
                        { "host": format!("unix:{}", path.display()), "proxyProtocol": "V2" } ] },
                ]),
            )
    };
    let (off, two) = (service("off", "Off"), service("two", "V2"));
    let mut proxy = Proxy::start([&off, &two]);
    for service in [&off, &two] {
        let own = service.id.as_str();
        for (host, expected) in [
            ("none.test", "off"),
            ("one.test", "one"),
            ("two.test", "two"),
            ("as.test", own),
            ("other.test", "one"),
            ("", "two"),
            ("?", own),
        ] {
            let request = match host {
                "?" => "no request at all\r\n\r\n".to_owned(),
                "" => "GET / HTTP/1.0\r\n\r\n".to_owned(),
                host => format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n"),
            };
            let client = proxy.connect(service);
            client.send(request.as_bytes());
            let up = upstream.accept();
            let first = up.try_recv().unwrap();
            let (found, rest) = if first.starts_with(b"PROXY ") {
                ("one", addresses(&first).2)
            } else if first.starts_with(SIGNATURE) {
                ("two", addresses(&first).2)
            } else {
                ("off", first)
            };
            assert_eq!(found, expected, "{host} of {own}");
            assert_eq!(String::from_utf8_lossy(&rest), request);
            finish(&mut proxy, service, client, up);
        }
        let client = proxy.connect(service);
        let request = b"GET / HTTP/1.1\r\nHost: unix.test\r\n\r\n";
        client.send(request);
        let (mut up, _) = wait_for("a connection by the Unix socket", SOON, || unix.accept().ok());
        up.set_nonblocking(false).unwrap();
        client.fin();
        let mut all = Vec::new();
        up.read_to_end(&mut all).unwrap();
        let (source, destination, rest) = addresses(&all);
        assert_eq!((source.port(), destination), (client.port(), service.address));
        assert_eq!(rest, request);
        drop(up);
        client.expect_eof();
        proxy.ended(client, service, CLOSED);
    }
    proxy.finish();
}

/// Goal: to a target that speaks TLS the header goes in clear, in one piece with our hello, or with
/// PostgreSQL's question for TLS.
/// Method: what one read gives, then the rest of the handshake, with TLS passed through, ended here
/// and not spoken by the client.
#[test]
fn to_tls_targets() {
    const SSL: [u8; 8] = [0, 0, 0, 8, 4, 210, 22, 47];
    let authority = Authority::new("all");
    let files = Files::new();
    let upstream = Manual::start();
    let server = std::sync::Arc::new(serving(&authority.issue(&["db.test"]), None));
    let ca = files.put("ca.pem", &authority.pem());
    let secure = json!([{ "host": "127.0.0.1", "port": upstream.address.port(), "tls": true,
        "serverName": "db.test", "caFile": ca, "proxyProtocol": "V2" }]);
    let clear =
        json!([{ "host": "127.0.0.1", "port": upstream.address.port(), "proxyProtocol": "V1" }]);
    let by_name = |id: &str, tls: &str, targets: &Value| {
        Service::new(id, &[])
            .set("tls", json!(tls))
            .set("sni", json!({ "enabled": true }))
            .set("rules", json!([{ "domain": "db.test", "targets": targets }]))
    };
    let plain = Service::with_targets("plain", secure.clone());
    let through = by_name("through", "PassThrough", &clear);
    let again = by_name("again", "Enabled", &secure);
    let config = Config::new([&plain, &through, &again])
        .set("certificates", json!([files.pair("a", &authority.issue(&["db.test"]))]));
    let mut proxy = Launch::new(config).start();
    let dial = Dial::trusting(&authority).config();

    // A client without TLS.
    let client = proxy.connect(&plain);
    let up = upstream.accept();
    let hello = {
        let first = up.try_recv().unwrap();
        let (source, _, hello) = addresses(&first);
        assert_eq!(source.port(), client.port());
        hello
    };
    assert_eq!(&hello[..2], b"\x16\x03", "our hello comes with the header");
    let mut up = Tls::server(up, &server);
    up.connection.read_tls(&mut &hello[..]).unwrap();
    up.connection.process_new_packets().unwrap();
    up.shake().unwrap();
    client.send(b"ping");
    up.expect(b"ping");
    client.fin();
    up.expect_close();
    up.fin();
    up.peer.fin();
    client.expect_eof();
    proxy.ended(client, &plain, CLOSED);

    for postgres in [false, true] {
        for service in [&through, &again] {
            let peer = proxy.connect(service);
            if postgres {
                peer.send(&SSL);
                peer.expect(b"S");
            }
            let mut client = Tls::client(peer, &dial, "db.test");
            std::thread::scope(|scope| {
                scope.spawn(|| {
                    let up = upstream.accept();
                    let (_, _, mut with) = first_read(&up);
                    if postgres {
                        assert_eq!(
                            with, SSL,
                            "the question comes with the header, and nothing else"
                        );
                        up.send(b"S");
                        with = up.try_recv().unwrap();
                    }
                    assert_eq!(&with[..2], b"\x16\x03", "a hello");
                    let mut up = Tls::server(up, &server);
                    up.connection.read_tls(&mut &with[..]).unwrap();
                    up.connection.process_new_packets().unwrap();
                    up.shake().unwrap();
                    up.expect(b"ping");
                    up.send(b"pong");
                    up.expect_close();
                    up.fin();
                    up.peer.fin();
                });
                client.shake().unwrap();
                client.send(b"ping");
                client.expect(b"pong");
                client.fin();
                client.expect_close();
                client.peer.fin();
            });
            let asked = u64::from(postgres);
            let outcome = if service.id == "again" {
                client.outcome()
            } else {
                let wire = client.peer.outcome();
                Outcome { sent: wire.sent - 8 * asked, received: wire.received - asked, ..wire }
            };
            drop(client);
            proxy.ended(outcome, service, CLOSED);
        }
    }
    proxy.finish();
}

/// Goal: two of us in a row tell the last one the client's own address, and each event has it.
/// Method: the first sends what the second requires; both versions.
#[test]
fn chain() {
    for version in ["V1", "V2"] {
        let backend = Backend::serve(|peer| {
            let bytes = peer.try_recv().unwrap();
            peer.send(&bytes);
        });
        let behind = Service::new("behind", &[backend.address]).set(
            "proxyProtocol",
            json!({ "accept": "Require", "trusted": ["127.0.0.1"], "send": version }),
        );
        let mut second = Proxy::start([&behind]);
        let front = Service::new("front", &[behind.address])
            .set("proxyProtocol", json!({ "send": version }));
        let mut first = Proxy::start([&front]);
        let client = connect_from(Ipv4Addr::new(127, 0, 0, 9), &front);
        client.send(b"hello");
        let (bytes, _) = client.recv_to_end();
        let (source, destination, _) = addresses(&bytes);
        assert_eq!(source, SocketAddr::from(([127, 0, 0, 9], client.port())));
        assert_eq!(destination, front.address);
        let outcome = client.close();
        let gone = "*/relay/closed|*/relay/reset";
        first.cut(outcome, &front, gone);
        second.cut(outcome, &behind, gone);
        let event = second.event_of(outcome.port);
        assert_eq!(event.text("remote"), format!("127.0.0.9:{}", outcome.port));
        assert!(event.text("proxy").starts_with("127.0.0.1:"), "{}", event.text("proxy"));
        first.finish();
        second.finish();
    }
}
