//! Headers that come: taken whole however they are cut, from those who are trusted, or not at all.

use serde_json::json;

use super::*;
use crate::support::backend::{Backend, Manual};
use crate::support::config::Config;
use crate::support::peer::End;
use crate::support::proxy::Proxy;

/// A service that echoes and takes headers from 127.0.0.1.
fn echoing(accept: &str) -> (Proxy, Service, Backend) {
    let backend = Backend::echo();
    let service = Service::new("svc", &[backend.address])
        .set("proxyProtocol", taking(accept, &["127.0.0.1"]))
        .set("timeouts", json!({ "hello": "1m" }));
    (Proxy::start([&service]), service, backend)
}

/// A service that takes headers from 127.0.0.1 within this time, in front of a target by hand.
fn by_hand(accept: &str, hello: &str) -> (Proxy, Service, Manual) {
    let upstream = Manual::start();
    let service = Service::new("svc", &[upstream.address])
        .set("proxyProtocol", taking(accept, &["127.0.0.1"]))
        .set("timeouts", json!({ "hello": hello }));
    (Proxy::start([&service]), service, upstream)
}

/// Goal: a header is read the same however it is cut, the client's bytes behind it arrive whole, and
/// the told client is the one of the event.
/// Method: for both versions, one connection for each place at which it can be cut; what is before the
/// cut has been read when the rest is sent.
#[test]
fn however_it_is_cut() {
    for accept in ["Require", "Optional"] {
        let (mut proxy, service, _backend) = echoing(accept);
        let mut told = Vec::new();
        let tlvs: [(u8, &[u8]); 2] = [(0x02, b"a.test"), (0xe0, b"custom")];
        let kinds: [&dyn Fn(u16) -> Vec<u8>; 3] =
            [&line, &|port| header(TCP4, &four(port), &tlvs), &|port| {
                header(TCP6, &mapped(port), &[])
            }];
        for make in kinds {
            let mut open = Vec::new();
            // From all in one piece to all but the last byte.
            for cut in 0..make(9999).len() + 5 {
                let port = told_port();
                let head = make(port);
                let bytes = [&head[..], b"hello"].concat();
                let cut = cut.min(bytes.len() - 1);
                let client = proxy.connect(&service);
                client.send(&bytes[..cut]);
                open.push((client, port, head.len(), bytes, cut));
            }
            for (client, _, _, bytes, cut) in &open {
                wait_until_read(client, &service);
                client.send(&bytes[*cut..]);
            }
            for (client, port, head, _, _) in open {
                client.expect(b"hello");
                client.fin();
                client.expect_eof();
                told.push((format!("192.0.2.7:{port}"), format!("127.0.0.1:{}", client.port())));
                proxy.ended(as_told(client, port, head), &service, CLOSED);
            }
        }
        wait_until("an event of each", SOON, || {
            let events = proxy.events();
            told.iter().all(|(remote, by)| {
                events.iter().any(|it| it.text("remote") == remote && it.text("proxy") == by)
            })
        });
        proxy.finish();
    }
}

/// Goal: a header that must not be taken ends the connection with a reason that says what is wrong,
/// and no byte reaches the target.
/// Method: a table of broken ones, to a service that requires headers and one that does not.
#[test]
fn malformed() {
    let crc = |sum: [u8; 4]| header(TCP4, &four(1), &[(0x03, &sum)]);
    let breaks: &str = "breaks the rules of its format";
    let assigned = "not assigned";
    let long = [&b"PROXY UNKNOWN "[..], &[b'x'; 200]].concat();
    let mut huge = header(TCP4, &four(1), &[]);
    huge[14..16].copy_from_slice(&4081_u16.to_be_bytes());
    let table: Vec<(Vec<u8>, &str, &str)> = vec![
        (b"PROXY\r\n".to_vec(), "malformed", breaks),
        (b"PROXY TCP5 1.1.1.1 2.2.2.2 1 2\r\n".to_vec(), "malformed", breaks),
        (b"PROXY TCP4 1.1.1.1 2.2.2.2 1\r\n".to_vec(), "malformed", breaks),
        (b"PROXY TCP4 1.1.1.1 2.2.2.2 1 65536\r\n".to_vec(), "malformed", breaks),
        (b"PROXY TCP4 1.1.1.01 2.2.2.2 1 2\r\n".to_vec(), "malformed", breaks),
        (b"PROXY TCP4 1.1.1.1 2.2.2.2 1 2 3\r\n".to_vec(), "malformed", breaks),
        (b"PROXY TCP4  1.1.1.1 2.2.2.2 1 2\r\n".to_vec(), "malformed", breaks),
        (b"PROXY TCP4 ::1 ::1 1 2\r\n".to_vec(), "malformed", breaks),
        (b"PROXY TCP6 1.1.1.1 2.2.2.2 1 2\r\n".to_vec(), "malformed", breaks),
        (b"PROXY TCP4 not an address at all\r\n".to_vec(), "malformed", breaks),
        (b"PROXY TCP4 1.1.1.1 2.2.2.2 1 2\nhello".to_vec(), "malformed", breaks),
        (b"PROXY TCP4 1.1.1.1 2.2.2.2 1 2\rhello".to_vec(), "malformed", breaks),
        (long, "too-large", "too large"),
        (command(0x22, TCP4, &four(1), &[]), "malformed", assigned),
        (command(0x11, TCP4, &four(1), &[]), "malformed", assigned),
        (command(0x21, 0x41, &four(1), &[]), "malformed", assigned),
        (command(0x21, 0x13, &four(1), &[]), "malformed", assigned),
        (huge, "too-large", "too large"),
        (header(TCP4, &four(1)[..11], &[]), "malformed", breaks),
        (header(TCP6, &four(1), &[]), "malformed", breaks),
        (header(0x31, &[0; 100], &[]), "malformed", breaks),
        // A value that is longer than the header, and one that leaves a byte over.
        (
            header(TCP4, &[&four(1)[..], &[2, 0, 10, b'1', b'2', b'3', b'4', b'5']].concat(), &[]),
            "malformed",
            breaks,
        ),
        (
            header(TCP4, &[&four(1)[..], &[2, 0, 4, b'1', b'2', b'3', b'4', b'5']].concat(), &[]),
            "malformed",
            breaks,
        ),
        (header(TCP4, &four(1), &[(0x02, b"a"), (0x02, b"b")]), "malformed", breaks),
        (header(TCP4, &four(1), &[(0x05, &[b'x'; 129])]), "malformed", breaks),
        (header(TCP4, &four(1), &[(0x20, b"\x01\0\0")]), "malformed", breaks),
        (header(TCP4, &four(1), &[(0x03, b"\0\0")]), "malformed", breaks),
        (crc([1, 2, 3, 4]), "malformed", "checksum"),
        (command(0x20, TCP4, &four(1), &[(0x03, &[1, 2, 3, 4])]), "malformed", "checksum"),
    ];
    for accept in ["Require", "Optional"] {
        let (mut proxy, service, upstream) = by_hand(accept, "1m");
        for (bytes, cause, detail) in &table {
            let client = proxy.connect(&service);
            client.send(bytes);
            client.expect_reset();
            let port = client.port();
            let reason = format!("us/header/{cause}");
            proxy.refused(client, &reason);
            let event = proxy.event_of(port);
            let said = event.text("gwError");
            let shown = bytes.escape_ascii();
            assert_eq!(event.reason(), reason, "{shown}");
            assert!(said.contains(detail), "{shown}: {said}");
        }
        assert!(upstream.try_accept().is_none(), "a target was reached");
        proxy.finish();
    }
}

/// Goal: who is not trusted cannot say who they are. Where headers are required they are refused
/// unread; where not, what looks like a header is theirs to say and goes to the target as it is.
/// Method: a header from 127.0.0.2, while only 127.0.0.1 is trusted; then one from there.
#[test]
fn spoofed() {
    let stranger = Ipv4Addr::new(127, 0, 0, 2);
    let (mut proxy, service, upstream) = by_hand("Require", "1m");
    for _ in 0..3 {
        let client = connect_from(stranger, &service);
        let _ = client.try_send(&line(7));
        client.expect_reset();
        proxy.refused(client, "us/header/untrusted");
    }
    let told = told_port();
    let client = proxy.connect(&service);
    client.send(&line(told));
    let up = upstream.accept();
    drop(up);
    client.expect_eof();
    proxy.ended(as_told(client, told, line(told).len()), &service, CLOSED);
    assert!(upstream.try_accept().is_none(), "a stranger reached the target");
    proxy.finish();

    let (mut proxy, service, upstream) = by_hand("Optional", "1m");
    for bytes in
        [line(7), header(TCP4, &four(7), &[]), b"PROXY nonsense".to_vec(), b"\r\n".to_vec()]
    {
        let client = connect_from(stranger, &service);
        client.send(&bytes);
        let up = upstream.accept();
        up.expect(&bytes);
        drop(up);
        client.expect_eof();
        let port = client.port();
        proxy.ended(client, &service, CLOSED);
        let event = proxy.event_of(port);
        assert_eq!(event.text("remote"), format!("127.0.0.2:{port}"));
        assert!(event.0["proxy"].is_null());
    }
    proxy.finish();
}

/// Goal: where a header is required, there is one deadline from accept on, and each way of not sending
/// one has its reason.
/// Method: nothing; half of one; one byte after the other for longer than the deadline; something
/// else; the end of the stream, before and within one; a reset.
#[test]
fn required_and_missing() {
    let (mut proxy, service, upstream) = by_hand("Require", "2s");
    let silent = proxy.connect(&service);
    let half = proxy.connect(&service);
    half.send(b"PROXY TCP4 192.0.2.7 ");
    let ambiguous = proxy.connect(&service);
    ambiguous.send(b"\r\n\r");
    let drip = proxy.connect(&service);
    for byte in line(8) {
        if drip.try_send(&[byte]).is_err() || drip.has_ended() {
            break;
        }
        crate::support::wait::let_pass(std::time::Duration::from_millis(100));
    }
    for (client, reason) in [
        (silent, "us/header/silent"),
        (half, "client/header/deadline"),
        (ambiguous, "client/header/deadline"),
        (drip, "client/header/deadline"),
    ] {
        client.expect_end();
        let port = client.port();
        proxy.refused(client, reason);
        let duration = proxy.event_of(port).number("duration");
        assert!(duration >= 1_950, "{reason} after {duration} ms already");
    }
    assert!(upstream.try_accept().is_none(), "a target was reached");
    proxy.finish();

    let (mut proxy, service, upstream) = by_hand("Require", "1m");
    for bytes in [
        &b"GET / HTTP/1.1\r\n\r\n"[..],
        b"\x16\x03\x01\0\x05hello",
        b"PROXIED",
        b"\r\n\r\n\0\r\nQUIT ",
    ] {
        let client = proxy.connect(&service);
        client.send(bytes);
        client.expect_reset();
        proxy.refused(client, "us/header/no-header");
    }
    for bytes in [&b""[..], b"PRO", b"PROXY TCP4 192.0.2.7 "] {
        let client = proxy.connect(&service);
        client.send(bytes);
        client.fin();
        client.expect_end();
        proxy.refused(client, "client/header/left");
    }
    let client = proxy.connect(&service);
    client.send(b"PROXY TCP4");
    wait_until_read(&client, &service);
    proxy.refused(client.rst(), "client/header/reset");
    assert!(upstream.try_accept().is_none(), "a target was reached");
    proxy.finish();
}

/// Goal: where a header may come, a client without one is served byte for byte, its end included. One
/// that says nothing, or no more than could be the beginning of a header, is served at the deadline.
/// Method: as before, with a target that expects what was sent. The server speaks first to the silent.
#[test]
fn optional_and_missing() {
    // The deadline is far away: what tells a client without a header from one with is the first byte
    // that is none of a header's, or the end.
    let (mut proxy, service, upstream) = by_hand("Optional", "10m");
    let other: [&[u8]; 4] =
        [b"GET / HTTP/1.1\r\n\r\n", b"PROXIED", b"\r\n\r\n\0\r\nQUIT ", b"\r\nhello"];
    for bytes in other {
        let client = proxy.connect(&service);
        client.send(bytes);
        let up = upstream.accept();
        up.expect(bytes);
        finish(&mut proxy, &service, client, up);
    }
    for bytes in [&b""[..], b"PRO"] {
        let client = proxy.connect(&service);
        client.send(bytes);
        client.fin();
        let up = upstream.accept();
        up.expect(bytes);
        up.expect_eof();
        up.send(b"bye");
        drop(up);
        client.expect(b"bye");
        client.expect_eof();
        proxy.ended(client, &service, CLOSED);
    }
    proxy.finish();

    let (mut proxy, service, upstream) = by_hand("Optional", "2s");
    // What has begun is a header or a fault.
    let begun = proxy.connect(&service);
    begun.send(b"PROXY TCP4 ");
    let waiting = [&b""[..], b"P", b"PROX", b"\r\n", b"\r\n\r\n\0\r\nQUIT"].map(|bytes| {
        let client = proxy.connect(&service);
        client.send(bytes);
        (client, bytes)
    });
    begun.expect_reset();
    proxy.refused(begun, "client/header/deadline");
    let targets: Vec<Peer> = waiting.iter().map(|_| upstream.accept()).collect();
    for up in &targets {
        up.send(b"220 welcome\r\n");
    }
    for (client, _) in &waiting {
        client.expect(b"220 welcome\r\n");
        client.send(b"QUIT");
        client.fin();
    }
    let mut came: Vec<Vec<u8>> = targets.into_iter().map(|up| up.recv_to_end().0).collect();
    let mut sent: Vec<Vec<u8>> =
        waiting.iter().map(|(_, bytes)| [bytes, &b"QUIT"[..]].concat()).collect();
    came.sort();
    sent.sort();
    assert_eq!(came, sent);
    for (client, bytes) in waiting {
        client.expect_eof();
        let port = client.port();
        proxy.ended(client, &service, CLOSED);
        let overhead = proxy.event_of(port).number("overhead");
        assert!(overhead >= 1_950, "{} waited {overhead} ms", bytes.escape_ascii());
    }
    proxy.finish();
}

fn finish(proxy: &mut Proxy, service: &Service, client: Peer, up: Peer) {
    client.fin();
    up.expect_eof();
    drop(up);
    client.expect_eof();
    proxy.ended(client, service, CLOSED);
}

/// Goal: a sender that speaks for itself, or knows no client over TCP, is served as who it is.
/// Method: headers that tell no address, each with bytes behind it.
#[test]
fn no_address_is_told() {
    let (mut proxy, service, _backend) = echoing("Require");
    let datagrams = [&four(9)[..], b""].concat();
    for head in [
        b"PROXY UNKNOWN\r\n".to_vec(),
        b"PROXY UNKNOWN ffff:f...f:ffff ffff:f...f:ffff 65535 65535\r\n".to_vec(),
        command(0x20, 0, &[], &[]),
        command(0x20, TCP4, &four(9), &[]),
        header(0, &[], &[]),
        header(0, &four(9), &[]),
        header(0x12, &datagrams, &[]),
        header(0x31, &[b'/'; 216], &[]),
    ] {
        let client = proxy.connect(&service);
        client.send(&[&head[..], b"check"].concat());
        client.expect(b"check");
        client.fin();
        client.expect_eof();
        let port = client.port();
        proxy.ended(as_told(client, port, head.len()), &service, CLOSED);
        let event = proxy.event_of(port);
        assert_eq!(event.text("remote"), format!("127.0.0.1:{port}"));
        assert!(event.0["proxy"].is_null());
    }
    proxy.finish();
}

/// Goal: the largest header and a client that has sent more than fits into one read are taken whole,
/// bulk goes on as bulk, and a client that resets is told from one that ends.
/// Method: 4096 bytes of header glued to 8 MiB each way; one that is reset behind its header.
#[test]
fn large_and_bulk() {
    let (mut proxy, service, _backend) = echoing("Require");
    let told = told_port();
    let filling = vec![b'x'; 4096 - 16 - 12 - 3];
    let head = header(TCP4, &four(told), &[(0xe0, &filling)]);
    assert_eq!(head.len(), 4096);
    let client = proxy.connect(&service);
    let block = crate::support::data::Random::new(3).bytes(8 << 20);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            client.send(&[&head[..], &block].concat());
            client.fin();
        });
        let (back, end) = client.recv_to_end();
        assert!(end == End::Eof && back == block, "{} bytes, then {end:?}", back.len());
    });
    proxy.ended(as_told(client, told, 4096), &service, CLOSED);
    assert_eq!(proxy.event_of(told).text("relay"), "splice");

    let told = told_port();
    let client = proxy.connect(&service);
    client.send(&[&line(told)[..], b"hello"].concat());
    client.expect(b"hello");
    proxy.cut(as_told(client.rst(), told, line(told).len()), &service, "client/relay/reset");
    proxy.finish();
}

/// Goal: who is trusted, and whether a header must come, follows a reload; live connections keep what
/// they were told.
/// Method: a reload between connections from 127.0.0.1.
#[test]
fn reload() {
    let upstream = Manual::start();
    let service =
        |proxied: Value| Service::new("svc", &[upstream.address]).set("proxyProtocol", proxied);
    let first = service(taking("Require", &["127.0.0.1"]));
    let port = first.port();
    let mut proxy = Proxy::start([&first]);
    let told = told_port();
    let client = proxy.connect(&first);
    client.send(&line(told));
    let up = upstream.accept();

    let second = service(taking("Require", &["10.0.0.0/8"])).on_port(port);
    proxy.reload(&Config::new([&second]));
    let refused = proxy.connect(&second);
    refused.expect_end();
    proxy.refused(refused, "us/header/untrusted");
    let third = service(json!({ "accept": "Off" })).on_port(port);
    proxy.reload(&Config::new([&third]));
    let plain = proxy.connect(&third);
    plain.send(&line(5));
    let behind = upstream.accept();
    behind.expect(&line(5));
    finish(&mut proxy, &third, plain, behind);

    client.send(b"still");
    up.expect(b"still");
    client.fin();
    up.expect_eof();
    drop(up);
    client.expect_eof();
    proxy.ended(as_told(client, told, line(told).len()), &first, CLOSED);
    assert_eq!(proxy.event_of(told).text("remote"), format!("192.0.2.7:{told}"));
    proxy.finish();
}
