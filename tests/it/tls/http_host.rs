//! Routing by the host of an HTTP request, in clear.

use serde_json::json;

use super::{CLOSED, targets};
use crate::support::backend::Manual;
use crate::support::config::Service;
use crate::support::peer::{End, Outcome};
use crate::support::proxy::Proxy;

fn scene() -> (Proxy, Service, Manual, Manual) {
    let (one, two) = (Manual::start(), Manual::start());
    let service = Service::new("web", &[])
        .set("sni", json!({ "enabled": true }))
        .set("timeouts", json!({ "hello": "400ms" }))
        .set(
            "rules",
            json!([
                { "domain": "one.test", "targets": targets(&[one.address]) },
                { "domain": "*.two.test", "targets": targets(&[two.address]) },
            ]),
        );
    (Proxy::start([&service]), service, one, two)
}

/// Goal: the host chooses the target, however it is spelled and cut, and the bytes are as sent.
#[test]
fn routes() {
    let (mut proxy, service, one, two) = scene();
    let body = "x".repeat(3000);
    for (head, target, step) in [
        ("GET / HTTP/1.1\r\nHost: one.test\r\n\r\n", &one, 9999),
        ("GET / HTTP/1.1\r\nHost: one.test:8080\r\n\r\n", &one, 9999),
        ("GET / HTTP/1.1\r\nhOsT:\tONE.test.\t\r\nX: y\r\n\r\n", &one, 9999),
        ("POST /x HTTP/1.1\r\nA: b\r\nHost: a.b.two.test\r\n\r\n", &two, 9999),
        ("GET http://one.test/ HTTP/1.1\r\nHost: other.test\r\n\r\n", &one, 9999),
        ("GET / HTTP/1.0\r\nHost: one.test\r\n\r\n", &one, 1),
        // Twice the same is one host.
        ("GET / HTTP/1.1\r\nHost: one.test\r\nHost: one.test\r\n\r\n", &one, 9999),
        ("CONNECT one.test:443 HTTP/1.1\r\nHost: one.test:443\r\n\r\n", &one, 7),
    ] {
        let sent = [head, &body].concat();
        let client = proxy.connect(&service);
        for chunk in sent.as_bytes().chunks(step) {
            client.send(chunk);
        }
        let up = target.accept();
        up.expect(sent.as_bytes());
        up.send(b"HTTP/1.1 200 OK\r\n\r\n");
        client.expect(b"HTTP/1.1 200 OK\r\n\r\n");
        client.fin();
        up.expect_eof();
        up.close();
        client.expect_eof();
        let port = client.port();
        proxy.ended(client, &service, CLOSED);
        let event = proxy.event_of(port);
        assert_eq!(event.text("protocol"), "Tcp");
        assert!(event.text("sni").ends_with(".test"), "{}", event.text("sni"));
    }
    proxy.finish();
}

/// Goal: what names no host, two, or one that nobody serves, is refused in HTTP's words.
#[test]
fn refusals() {
    let (mut proxy, service, one, _two) = scene();
    let long = format!("GET / HTTP/1.1\r\nX: {}\r\n", "y".repeat(20_000));
    for (head, status, reason) in [
        ("GET / HTTP/1.1\r\nHost: three.test\r\n\r\n", "421", "us/route/no-match"),
        ("GET / HTTP/1.1\r\nHost: two.test\r\n\r\n", "421", "us/route/no-match"),
        ("GET / HTTP/1.0\r\n\r\n", "421", "us/route/no-name"),
        ("GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n", "421", "us/route/no-name"),
        ("GET / HTTP/1.1\r\nHost: one.test\r\nHost: b\r\n\r\n", "400", "us/hello/malformed"),
        ("GET / HTTP/1.1\r\nHost : one.test\r\n\r\n", "400", "us/hello/malformed"),
        ("GET / HTTP/1.1\r\nHost: a\"b\r\n\r\n", "", "us/*"),
        (long.as_str(), "400", "us/hello/too-large"),
        ("SSH-2.0-x\r\n", "", "us/hello/not-recognised"),
        ("\x16\x03\x01\x00\x40", "", "us/hello/not-recognised"),
        ("GET / HTTP/1.1\r\nHost: one.te", "", "client/hello/deadline"),
        ("", "", "us/hello/silent"),
    ] {
        let client = proxy.connect(&service);
        client.send(head.as_bytes());
        let (said, end) = client.recv_to_end();
        let said = String::from_utf8(said).unwrap();
        if !status.is_empty() {
            assert!(said.starts_with(&format!("HTTP/1.1 {status} ")), "{head}: {said}");
            assert_eq!(end, End::Eof, "{head}");
        }
        let outcome = Outcome { received: 0, ..client.outcome() };
        drop(client);
        proxy.refused(outcome, reason);
    }
    assert!(one.try_accept().is_none());
    proxy.finish();
}
