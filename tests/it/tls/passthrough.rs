//! TLS that is passed through: the name is read, the bytes are not touched.

use std::sync::Arc;
use std::thread;

use rustls::AlertDescription;
use serde_json::{Value, json};

use super::{CLOSED, MIB, NAME, targets};
use crate::support::backend::{Backend, Manual};
use crate::support::certs::Authority;
use crate::support::config::{Config, Service};
use crate::support::data::Random;
use crate::support::heavy;
use crate::support::peer::{End, Peer};
use crate::support::proxy::{Launch, Proxy};
use crate::support::tls::{self, Dial, Tls, serving};
use crate::support::wait::{SOON, wait_until};

/// A port that passes `a.test` and `*.wild.test` through to an upstream that the test drives.
struct Pass {
    proxy: Proxy,
    service: Service,
    upstream: Manual,
    authority: Authority,
}

fn passing(id: &str, upstream: &Manual) -> Service {
    Service::new(id, &[])
        .set("tls", json!("PassThrough"))
        .set("sni", json!({ "enabled": true }))
        .set(
            "rules",
            json!([
                { "domain": NAME, "targets": targets(&[upstream.address]) },
                { "domain": "*.wild.test", "targets": targets(&[upstream.address]) },
            ]),
        )
}

fn pass() -> Pass {
    pass_with(|service| service)
}

fn pass_with(adjust: impl FnOnce(Service) -> Service) -> Pass {
    let upstream = Manual::start();
    let service = adjust(passing("svc", &upstream));
    let proxy = Proxy::start([&service]);
    Pass { proxy, service, upstream, authority: Authority::new("servers") }
}

/// A whole hello, as records.
fn hello(dial: &Dial, name: &str) -> Vec<u8> {
    let authority_free = dial.config();
    Tls::client(Peer::over(anything()).unwrap(), &authority_free, name).unsent()
}

/// A stream that nobody uses.
fn anything() -> std::net::TcpStream {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap()
}

/// The same hello in records of at most `size` bytes.
fn in_records(hello: &[u8], size: usize) -> Vec<u8> {
    let mut message = Vec::new();
    let mut rest = hello;
    while !rest.is_empty() {
        let len = usize::from(u16::from_be_bytes([rest[3], rest[4]]));
        message.extend_from_slice(&rest[5..5 + len]);
        rest = &rest[5 + len..];
    }
    let mut records = Vec::new();
    for part in message.chunks(size) {
        let len = u16::try_from(part.len()).unwrap().to_be_bytes();
        records.extend([22, 3, 1, len[0], len[1]]);
        records.extend_from_slice(part);
    }
    records
}

/// Goal: TLS reaches the target as the client sent it, and the answer likewise.
/// Method: a real handshake with a target behind the port, and 16 MiB each way; the raw bytes on both
/// sides of the proxy are as many.
#[test]
fn a_session_passes_untouched() {
    let _alone = heavy();
    let Pass { mut proxy, service, upstream, authority } = pass();
    let server = Arc::new(serving(&authority.issue(&[NAME]), None));
    let mut client =
        Tls::client(proxy.connect(&service), &Dial::trusting(&authority).config(), NAME);
    thread::scope(|scope| {
        let serving = scope.spawn(|| {
            let mut up = Tls::answer(upstream.accept(), &server);
            let (_, digest) = up.hash_to_close();
            let answer = up.send_random(2, 16 * MIB);
            up.fin();
            up.peer.fin();
            (digest, answer, up)
        });
        client.shake().unwrap();
        let sent = client.send_random(1, 16 * MIB);
        client.fin();
        let (count, answer) = client.hash_to_close();
        let (digest, answered, up) = serving.join().unwrap();
        assert_eq!((digest, count, answer), (sent, 16 * MIB, answered));
        assert_eq!(up.peer.received(), client.peer.sent());
        assert_eq!(up.peer.sent(), client.peer.received());
    });
    client.peer.fin();
    let event = {
        let port = client.peer.port();
        proxy.ended(client.peer, &service, CLOSED);
        proxy.event_of(port)
    };
    assert_eq!((event.text("sni"), event.text("protocol")), (NAME, "Tcp/Tls"));
    assert_eq!(event.0["tlsVersion"], Value::Null);
    assert_ne!(event.text("relay"), "tls");
    proxy.finish();
}

/// Goal: however the hello is cut, padded or spelled, it is recognised and arrives unchanged,
/// together with what came behind it in the same segment.
#[test]
fn hellos_of_all_kinds() {
    let Pass { mut proxy, service, upstream, authority } = pass();
    let dial = Dial::trusting(&authority);
    let plain = hello(&dial, NAME);
    let cases: Vec<(&str, Vec<u8>)> = vec![
        ("plain", plain.clone()),
        ("upper case", hello(&dial, "A.tEsT")),
        ("below a wildcard", hello(&dial, "x.y.WILD.test")),
        ("records of one byte", in_records(&plain, 1)),
        ("records of seven bytes", in_records(&plain, 7)),
        ("17 KB", hello(&dial.clone().hello_of(17_000), NAME)),
        ("60 KB", hello(&dial.clone().hello_of(60_000), NAME)),
        ("60 KB in records of 100 bytes", {
            in_records(&hello(&dial.clone().hello_of(60_000), NAME), 100)
        }),
        ("trailing dot", with_name(&plain, b"a.test.")),
    ];
    for (what, hello) in cases {
        let early = Random::new(1).bytes(3000);
        let all = [hello.as_slice(), &early].concat();
        for step in [all.len(), 1000, 1] {
            if step == 1 && all.len() > 9000 {
                continue;
            }
            let client = proxy.connect(&service);
            thread::scope(|scope| {
                scope.spawn(|| all.chunks(step).for_each(|chunk| client.send(chunk)));
                let up = upstream.accept();
                assert!(up.recv_exact(all.len()) == all, "{what} in steps of {step}");
                up.send(b"answer");
                client.expect(b"answer");
                client.fin();
                up.expect_eof();
            });
            proxy.ended(client, &service, CLOSED);
        }
    }
    proxy.finish();
}

/// The hello with another name, of any length.
fn with_name(hello: &[u8], name: &[u8]) -> Vec<u8> {
    let old = NAME.as_bytes();
    let at = hello.windows(old.len()).position(|part| part == old).expect("the name");
    let mut hello = [&hello[..at], name, &hello[at + old.len()..]].concat();
    let grown = |bytes: &mut [u8], at: usize| {
        let len = u16::from_be_bytes([bytes[at], bytes[at + 1]]);
        let len = i32::from(len) + name.len() as i32 - 6;
        bytes[at..at + 2].copy_from_slice(&(len as u16).to_be_bytes());
    };
    // The name, the list, the extension, all extensions, the message and the record.
    for back in [2, 5, 7] {
        grown(&mut hello, at - back);
    }
    let session = usize::from(hello[43]);
    let suites = 44 + session;
    let compression =
        suites + 2 + usize::from(u16::from_be_bytes([hello[suites], hello[suites + 1]]));
    let extensions = compression + 1 + usize::from(hello[compression]);
    grown(&mut hello, extensions);
    grown(&mut hello, 7);
    grown(&mut hello, 3);
    hello
}

/// What a refused client is told.
#[track_caller]
fn told(client: &Peer) -> Vec<u8> {
    let (bytes, end) = client.recv_to_end();
    // Whoever is told nothing is cut off.
    assert_eq!(end == End::Eof, !bytes.is_empty(), "after {bytes:?}");
    bytes
}

fn alert(alert: AlertDescription) -> Vec<u8> {
    vec![21, 3, 1, 0, 2, 2, alert.into()]
}

/// Goal: what cannot be routed is refused in words that its client understands, with its reason.
#[test]
fn refusals() {
    let Pass { mut proxy, service, upstream, authority } = pass();
    let dial = Dial::trusting(&authority);
    let plain = hello(&dial, NAME);
    let mut broken = plain.clone();
    broken[43] = 0xff;
    let http: &[u8] = b"GET / HTTP/1.1\r\nHost: a.test\r\n\r\n";
    let sslv2 = [&[0x80, 46, 1, 0, 2, 0, 21, 0, 0, 0, 16][..], &[7; 37]].concat();
    let name = AlertDescription::UnrecognisedName;
    let long = [b'x'; 300];
    for (bytes, expected, reason) in [
        (hello(&dial, "b.test"), Some(alert(name)), "us/route/no-match"),
        (hello(&dial, "wild.test"), Some(alert(name)), "us/route/no-match"),
        (hello(&dial, "a.test.evil"), Some(alert(name)), "us/route/no-match"),
        (hello(&dial, ""), Some(alert(AlertDescription::HandshakeFailure)), "us/route/no-name"),
        (broken, Some(alert(AlertDescription::DecodeError)), "us/hello/malformed"),
        (with_name(&plain, b""), Some(alert(AlertDescription::DecodeError)), "us/hello/malformed"),
        (vec![22, 3, 1, 0, 0], Some(alert(AlertDescription::DecodeError)), "us/hello/malformed"),
        (
            vec![22, 3, 1, 0x50, 0, 1],
            Some(alert(AlertDescription::DecodeError)),
            "us/hello/malformed",
        ),
        (sslv2, Some(alert(AlertDescription::ProtocolVersion)), "us/hello/sslv2"),
        (b"\x00\x00\x00".repeat(30), Some(vec![]), "us/hello/not-recognised"),
        (b"SSH-2.0-x\r\n".to_vec(), Some(vec![]), "us/hello/not-recognised"),
        (http.to_vec(), None, "us/hello/plain-http"),
        (with_name(&plain, &long), None, "us/*"),
        (with_name(&plain, b"a.test\0.evil"), None, "us/*"),
        (with_name(&plain, b"\"},{\"x\":\"\n"), None, "us/*"),
        (with_name(&plain, b"\xff\xfe\x80"), None, "us/*"),
        (with_name(&plain, b"127.0.0.1"), None, "us/*"),
        (with_name(&plain, b"."), None, "us/*"),
    ] {
        let client = proxy.connect(&service);
        client.send(&bytes);
        let words = told(&client);
        match expected {
            Some(expected) => assert_eq!(words, expected, "{reason}"),
            None if bytes == http => {
                let text = String::from_utf8(words).unwrap();
                assert!(text.starts_with("HTTP/1.1 400 ") && text.contains("https"), "{text}");
            }
            None => {}
        }
        client.fin();
        // What was said was not the target's, and counts for neither side.
        let outcome = crate::support::peer::Outcome { received: 0, ..client.outcome() };
        drop(client);
        proxy.refused(outcome, reason);
    }
    assert!(upstream.try_accept().is_none(), "a refused client came through");
    proxy.finish();
}

/// Goal: a hello that does not end is refused at its bound.
#[test]
fn too_large() {
    let Pass { mut proxy, service, authority, .. } = pass();
    let dial = Dial::trusting(&authority);
    let big = in_records(&hello(&dial.hello_of(64_000), NAME), 100);
    // One that announces as much as a message may, and never ends.
    let endless = [&[22, 3, 1, 0x40, 0, 1, 0xff, 0xff, 0xff][..], &vec![3; 70_000]].concat();
    for bytes in [big, endless] {
        let client = proxy.connect(&service);
        let _ = client.try_send(&bytes);
        let (words, _) = client.recv_to_end();
        assert_eq!(words, alert(AlertDescription::DecodeError));
        let outcome = crate::support::peer::Outcome { received: 0, ..client.outcome() };
        drop(client);
        proxy.refused(outcome, "us/hello/too-large|us/hello/malformed");
    }
    proxy.finish();
}

/// Goal: a client that leaves before its hello is whole is no fault of anybody's.
#[test]
fn clients_that_leave() {
    let Pass { mut proxy, service, authority, .. } = pass();
    let hello = hello(&Dial::trusting(&authority), NAME);
    for (bytes, reset, reason) in [
        (&[][..], false, "client/hello/left"),
        (&hello[..100], false, "client/hello/left"),
        (&hello[..100], true, "client/hello/reset"),
    ] {
        let client = proxy.connect(&service);
        client.send(bytes);
        let outcome = if reset {
            wait_until("the hello to be read", SOON, || unread(&client) == 0);
            client.rst()
        } else {
            client.fin();
            client.expect_end();
            client.close()
        };
        proxy.refused(outcome, reason);
    }
    proxy.finish();
}

/// Bytes sent and not acknowledged.
fn unread(peer: &Peer) -> i32 {
    use std::os::fd::AsRawFd;
    let mut count = 0;
    // SAFETY: TIOCOUTQ writes one int to the address given.
    let result = unsafe { libc::ioctl(peer.socket().as_raw_fd(), libc::TIOCOUTQ, &raw mut count) };
    assert_eq!(result, 0);
    count
}

/// Goal: a client that says nothing is refused at the deadline, or goes where silent ones go: a
/// protocol in which the server speaks first works on such a port.
#[test]
fn silent_clients() {
    let timeouts = json!({ "hello": "300ms" });
    let Pass { mut proxy, service, .. } =
        pass_with(|service| service.set("timeouts", timeouts.clone()));
    let client = proxy.connect(&service);
    client.expect_end();
    proxy.refused(client.close(), "us/hello/silent");
    proxy.finish();

    let banner = Manual::start();
    let target = &targets(&[banner.address])[0];
    let Pass { mut proxy, service, .. } = pass_with(|service| {
        service
            .set("timeouts", timeouts)
            .set("sni", json!({ "enabled": true, "fallbacks": { "silent": target } }))
    });
    let client = proxy.connect(&service);
    let up = banner.accept();
    up.send(b"220 hello\r\n");
    client.expect(b"220 hello\r\n");
    client.send(b"EHLO x\r\n");
    up.expect(b"EHLO x\r\n");
    client.fin();
    up.expect_eof();
    up.close();
    client.expect_eof();
    proxy.ended(client, &service, CLOSED);
    proxy.finish();
}

/// Goal: thousands who drip their hello are all cut at the one deadline, cheaply, while others are
/// served.
/// Method: 1,500 clients (a core takes 1,024 of a source at that step) send a byte of a hello now and
/// then; canaries sing meanwhile, over TLS too.
#[test]
fn dripping_clients() {
    const COUNT: usize = 1500;
    let _alone = heavy();
    let Pass { mut proxy, service, upstream, authority } =
        pass_with(|service| service.set("timeouts", json!({ "hello": "3s" })));
    let hello = hello(&Dial::trusting(&authority), NAME);
    let clients: Vec<Peer> = (0..COUNT).map(|_| proxy.connect(&service)).collect();
    let mut at = 0;
    wait_until("all to be cut", SOON, || {
        for client in &clients {
            if at < hello.len() - 1 {
                let _ = client.try_send(&hello[at..=at]);
            }
        }
        at += 1;
        let growth = proxy.growth_kib();
        assert!(growth < 40 * 1024, "grown by {growth} KiB");
        if at == 3 {
            // A whole hello among them goes through at once.
            let client = proxy.connect(&service);
            client.send(&hello);
            let up = upstream.accept();
            up.expect(&hello);
            client.fin();
            up.expect_eof();
            up.close();
            client.expect_eof();
            proxy.ended(client, &service, CLOSED);
        }
        clients.iter().all(Peer::has_ended)
    });
    assert!(at > 3, "the deadline came too soon");
    proxy.ended_many(COUNT, "client/hello/deadline");
    drop(clients);
    for event in proxy.events().iter().filter(|event| event.reason() == "client/hello/deadline") {
        let duration = event.number("duration");
        assert!((2900..9000).contains(&duration), "cut after {duration} ms");
    }
    proxy.finish();
}

/// Goal: what is no TLS goes where the service says, as it is.
#[test]
fn not_recognised_goes_to_its_fallback() {
    let other = Manual::start();
    let target = &targets(&[other.address])[0];
    let sni = json!({ "enabled": true, "fallbacks": { "notRecognised": target } });
    let Pass { mut proxy, service, .. } = pass_with(|service| service.set("sni", sni));
    for bytes in [
        &b"SSH-2.0-OpenSSH_9.9\r\n"[..],
        b"GET / HTTP/1.1\r\nHost: a.test\r\n\r\n",
        b"\x10\x2a\x00\x04MQTT\x05",
        &[0xff; 5000],
    ] {
        let client = proxy.connect(&service);
        client.send(bytes);
        let up = other.accept();
        up.expect(bytes);
        up.send(b"yes");
        client.expect(b"yes");
        up.close();
        client.expect_eof();
        client.fin();
        proxy.ended(client, &service, CLOSED);
    }
    proxy.finish();
}

/// Goal: `forwardIfNoMatch` takes what no rule does, also where there is no name.
#[test]
fn forwards_if_no_match() {
    let other = Manual::start();
    let target = &targets(&[other.address])[0];
    let sni = json!({ "enabled": true, "forwardIfNoMatch": true, "forwardsTo": target });
    let Pass { mut proxy, service, upstream, authority } =
        pass_with(|service| service.set("sni", sni));
    let dial = Dial::trusting(&authority);
    for (name, target) in [(NAME, &upstream), ("b.test", &other), ("", &other)] {
        let client = proxy.connect(&service);
        let hello = hello(&dial, name);
        client.send(&hello);
        let up = target.accept();
        up.expect(&hello);
        client.fin();
        up.expect_eof();
        up.close();
        client.expect_eof();
        proxy.ended(client, &service, CLOSED);
    }
    proxy.finish();
}

/// Goal: where nothing depends on the hello none is waited for: a server that speaks first is heard.
#[test]
fn one_rule_for_all_does_not_wait() {
    let greeting = b"J\0\0\0\x0a8.4.0\0";
    let backend = Backend::serve(|peer| {
        peer.send(greeting);
        peer.expect(b"\x20\0\0\x01login");
    });
    for sni in [json!({ "enabled": false }), json!({ "enabled": true })] {
        let service = Service::new("mysql", &[backend.address])
            .set("tls", json!("PassThrough"))
            .set("sni", sni)
            .set("timeouts", json!({ "hello": "1h" }));
        let mut proxy = Proxy::start([&service]);
        let client = proxy.connect(&service);
        client.expect(greeting);
        client.send(b"\x20\0\0\x01login");
        client.expect_eof();
        client.fin();
        proxy.ended(client, &service, CLOSED);
        proxy.finish();
    }
}

/// Goal: rules are tried in the order of the file over the services of a port, with their further
/// conditions.
#[test]
fn conditions_of_rules() {
    let (first, second, third) = (Manual::start(), Manual::start(), Manual::start());
    let one = Service::new("one", &[])
        .set("tls", json!("PassThrough"))
        .set("sni", json!({ "enabled": true }))
        .set(
            "rules",
            json!([
                { "domain": NAME, "alpn": ["h2"], "targets": targets(&[first.address]) },
                { "domain": NAME, "sources": ["10.0.0.0/8"], "targets": targets(&[first.address]) },
            ]),
        );
    let two = Service::new("two", &[])
        .on_port(one.port())
        .set("tls", json!("PassThrough"))
        .set("sni", json!({ "enabled": true }))
        .set(
            "rules",
            json!([
                { "domain": "*.test", "sources": ["127.0.0.0/8"], "targets": targets(&[second.address]) },
                { "domain": "*", "targets": targets(&[third.address]) },
            ]),
        );
    let mut proxy = Launch::new(Config::new([&one, &two])).start();
    let dial = Dial::trusting(&Authority::new("nobody"));
    for (dial, name, service, target) in [
        (dial.clone().alpn(&["http/1.1", "h2"]), NAME, &one, &first),
        (dial.clone().alpn(&["http/1.1"]), NAME, &two, &second),
        (dial.clone(), NAME, &two, &second),
        (dial.clone(), "a.other", &two, &third),
        (dial.clone(), "", &two, &third),
    ] {
        let client = proxy.connect(service);
        let hello = hello(&dial, name);
        client.send(&hello);
        let up = target.accept();
        up.expect(&hello);
        client.fin();
        up.expect_eof();
        up.close();
        client.expect_eof();
        proxy.ended(client, service, CLOSED);
    }
    proxy.finish();
}

/// Goal: a target that resets, or is not there, is passed on as such.
#[test]
fn target_troubles() {
    let Pass { mut proxy, service, upstream, authority } = pass();
    let config = Dial::trusting(&authority).config();
    let client = proxy.connect(&service);
    client.send(&hello(&Dial::trusting(&authority), NAME));
    let up = upstream.accept();
    up.recv_exact(20);
    up.rst();
    client.expect_reset();
    proxy.cut(client, &service, "upstream/relay/reset");
    drop(upstream);
    let mut client = Tls::client(proxy.connect(&service), &config, NAME);
    assert_eq!(client.shake(), Err(tls::End::Reset));
    proxy.cut(client, &service, "upstream/connect/refused");
    proxy.finish();
}
