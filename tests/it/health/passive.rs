//! Targets taken out by what becomes of connections, and targets that nobody can connect to.

use std::time::Duration;

use serde_json::json;
use socket2::{Domain, Socket, Type};

use super::{CLOSED, lines, logged};
use crate::support::admin::ask;
use crate::support::backend::{Backend, echo, listen};
use crate::support::certs::Authority;
use crate::support::config::{Config, Service};
use crate::support::peer::Outcome;
use crate::support::ports::{free_port, loopback};
use crate::support::proxy::{Launch, Proxy};
use crate::support::tls::{Dial, End, Tls};
use crate::support::wait::{SOON, wait_for, wait_until};

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

/// How often each core's clock has gone on.
fn ticks(at: &str) -> Vec<u64> {
    let text = ask(at, "/metrics", &[]).body;
    let lines = text.lines().filter(|line| line.starts_with("thalweg_core_ticks_total{"));
    lines.map(|line| line.rsplit(' ').next().unwrap().parse().unwrap()).collect()
}

/// Goal: resets are in a row only if the target has answered nobody between them, though the
/// connection it has answered goes on; what it sends on that later is no answer to new ones.
/// Method: a target that resets who asks for it, and a connection that lives on.
#[test]
fn an_answer_between_resets() {
    let target = Backend::serve(|peer| match peer.try_recv() {
        Ok(bytes) if bytes == b"r" => peer.socket().set_linger(Some(Duration::ZERO)).unwrap(),
        Ok(bytes) => {
            if peer.try_send(&bytes).is_ok() {
                echo(peer);
            }
        }
        Err(_) => {}
    });
    let other = Backend::echo();
    let passive = json!({ "interval": null, "passive": { "failures": 2, "ejectFor": "1h" } });
    let service = Service::new("svc", &[target.address, other.address])
        .set("loadBalancing", json!("First"))
        .set("healthCheck", passive);
    let at = format!("127.0.0.1:{}", free_port());
    let document = Config::new([&service]).set("admin", json!({ "listen": at }));
    let mut proxy = Launch::new(document).start();
    let swept = || {
        let before = ticks(&at);
        let passed = |now: &[u64]| now.iter().zip(&before).all(|(now, before)| *now > before + 1);
        wait_until("both cores to look at their connections", SOON, || passed(&ticks(&at)));
    };
    let reset = |proxy: &mut Proxy| {
        let client = proxy.connect(&service);
        client.send(b"r");
        client.expect_end();
        proxy.cut(client, &service, "upstream/relay/reset");
    };
    reset(&mut proxy);
    let lives = proxy.connect(&service);
    lives.send(b"x");
    lives.expect(b"x");
    swept();
    reset(&mut proxy);
    swept();
    assert_eq!(lines(&proxy, &["ejected"]), 0, "{}", proxy.log());
    lives.send(b"y");
    lives.expect(b"y");
    swept();
    reset(&mut proxy);
    logged(&proxy, 1, &["ejected: 2 connections in a row failed"]);
    lives.fin();
    lives.expect_eof();
    proxy.ended(lives, &service, CLOSED);
    proxy.finish();
}

/// Goal: no client can have a target ejected by what it makes us ask of it.
/// Method: clients ask for TLS as PostgreSQL's do, and the targets know nothing of that.
#[test]
fn what_a_stranger_provokes() {
    let targets = [Backend::echo(), Backend::echo()];
    let rule = |target: &Backend| json!({ "host": "127.0.0.1", "port": target.address.port() });
    let service = Service::new("svc", &[])
        .set("tls", json!("PassThrough"))
        .set("sni", json!({ "enabled": true }))
        .set("retries", json!(0))
        .set("rules", json!([{ "domain": "a.test", "targets": targets.each_ref().map(rule) }]))
        .set("healthCheck", json!({ "interval": null, "passive": { "failures": 1 } }));
    let mut proxy = Proxy::start([&service]);
    let dial = Dial::trusting(&Authority::new("none"));
    for _ in 0..6 {
        let peer = proxy.connect(&service);
        peer.send(&[0, 0, 0, 8, 4, 210, 22, 47]);
        peer.expect(b"S");
        let mut client = Tls::client(peer, &dial.config(), "a.test");
        client.flush().unwrap();
        assert_eq!(client.shake(), Err(End::Reset));
        // The answer to the question was ours.
        let outcome = Outcome { received: 0, ..client.peer.outcome() };
        proxy.cut(outcome, &service, "upstream/connect/no-tls");
    }
    proxy.reload(&Config::new([&service.clone().set("description", json!("changed"))]));
    assert_eq!(lines(&proxy, &["ejected"]), 0, "{}", proxy.log());
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
