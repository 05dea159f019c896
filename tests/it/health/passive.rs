//! Targets taken out by what becomes of connections, and targets that nobody can connect to.

use std::time::Duration;

use serde_json::json;
use socket2::{Domain, Socket, Type};

use super::{CLOSED, lines, logged};
use crate::support::backend::{Backend, echo, listen};
use crate::support::config::Service;
use crate::support::ports::{free_port, loopback};
use crate::support::proxy::Proxy;
use crate::support::wait::{SOON, wait_for};

/// One round trip through the service, or how it ended.
fn round_trip(proxy: &mut Proxy, service: &Service, otherwise: &str) -> bool {
    let client = proxy.connect(service);
    // A reset may come before the first byte is sent.
    let sent = client.try_send(b"x");
    if sent.is_ok() && client.try_recv().is_ok_and(|bytes| bytes == b"x") {
        client.fin();
        client.expect_eof();
        proxy.ended(client, service, CLOSED);
        return true;
    }
    proxy.cut(client, service, otherwise);
    false
}

/// Goal: a target that takes connections and resets them is taken out, for longer each time, and in
/// again; the last one is never taken out.
/// Method: one that resets and one that echoes, then one alone.
#[test]
fn resets_at_once() {
    let bad = Backend::serve(|peer| {
        peer.socket().set_linger(Some(Duration::ZERO)).unwrap();
    });
    let good = Backend::echo();
    let passive = json!({ "interval": null, "passive": { "failures": 3, "ejectFor": "500ms" } });
    let pair =
        Service::new("pair", &[bad.address, good.address]).set("healthCheck", passive.clone());
    let alone = Service::new("alone", &[bad.address]).set("healthCheck", passive);
    let mut proxy = Proxy::start([&pair, &alone]);
    // A reset may come while the connection is still being made.
    let reset = "upstream/relay/reset|upstream/connect/refused";
    for (times, period) in [(1, "for=500ms"), (1, "for=1s")] {
        wait_for("an ejection", SOON, || {
            round_trip(&mut proxy, &pair, reset);
            (lines(&proxy, &["ejected", period]) >= times).then_some(())
        });
    }
    logged(&proxy, 2, &["taken in again"]);
    for _ in 0..10 {
        assert!(!round_trip(&mut proxy, &alone, reset));
    }
    assert_eq!(lines(&proxy, &["ejected", "service=alone"]), 0);
    proxy.finish();
}

/// Goal: a target that refuses connections is taken out after some, and no client waits for it.
/// Method: nobody listens on one of two ports; every connection is retried until then.
#[test]
fn refuses() {
    let good = Backend::echo();
    let service = Service::new("svc", &[loopback(free_port()), good.address])
        .set("healthCheck", json!({ "interval": null, "passive": { "ejectFor": "1h" } }));
    let mut proxy = Proxy::start([&service]);
    wait_for("an ejection", SOON, || {
        assert!(round_trip(&mut proxy, &service, "none"));
        (lines(&proxy, &["ejected: 5 connections in a row failed"]) == 1).then_some(())
    });
    for _ in 0..10 {
        let client = proxy.connect(&service);
        client.send(b"x");
        client.expect(b"x");
        client.fin();
        client.expect_eof();
        let port = client.port();
        proxy.ended(client, &service, CLOSED);
        assert_eq!(proxy.event_of(port).number("retries"), 0);
    }
    proxy.finish();
}

/// Goal: a target that does not answer SYNs is down; when it answers, up.
/// Method: a listener whose queue is full and that nobody accepts from.
#[test]
fn nobody_takes_the_connection() {
    let address = loopback(free_port());
    let listener = listen(address, 0).unwrap();
    let filled: Vec<Socket> = std::iter::from_fn(|| {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        socket.connect_timeout(&address.into(), Duration::from_millis(500)).ok()?;
        Some(socket)
    })
    .collect();
    let good = Backend::echo();
    let check = json!({ "interval": "50ms", "timeout": "300ms", "rise": 1, "fall": 2 });
    let service = Service::new("svc", &[address, good.address]).set("healthCheck", check);
    let mut proxy = Proxy::start([&service]);
    logged(&proxy, 1, &["down: did not take the connection within 300ms", &address.to_string()]);
    for _ in 0..10 {
        assert!(round_trip(&mut proxy, &service, "none"));
    }
    drop(filled);
    let accepting = std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(stream) = stream else { return };
            std::thread::spawn(move || {
                if let Ok(peer) = crate::support::peer::Peer::over(stream) {
                    echo(&peer);
                }
            });
        }
    });
    logged(&proxy, 1, &["INFO up ", &address.to_string()]);
    for _ in 0..10 {
        assert!(round_trip(&mut proxy, &service, "none"));
    }
    proxy.finish();
    drop(accepting);
}
