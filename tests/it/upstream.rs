//! Reaching a target: which one, how long to try, what to do when it is not there.

use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::{Ipv6Addr, SocketAddr};
use std::os::unix::net::UnixListener;
use std::thread;
use std::time::Duration;

use serde_json::json;

use crate::support::backend::{Backend, Manual};
use crate::support::config::{Config, Service};
use crate::support::hole::BlackHole;
use crate::support::peer::Peer;
use crate::support::ports::{free_port, loopback};
use crate::support::proxy::{Launch, Proxy};
use crate::support::wait::{SOON, wait_until, waited};

const CLOSED: &str = "*/relay/closed";
const REFUSED: &str = "upstream/connect/refused";

fn round_trip(client: &Peer) {
    client.send(b"hello");
    client.expect(b"hello");
    client.fin();
    client.expect_eof();
}

/// Goal: a target that is down costs a client nothing while another is up.
/// Method: the first of two targets refuses; 20 connections all work; those that met the dead one
/// say so with a retry.
#[test]
fn refused_goes_to_the_next_target() {
    let backend = Backend::echo();
    let service =
        Service::new("svc", &[loopback(free_port()), backend.address]).set("retries", json!(1));
    let mut proxy = Proxy::start([&service]);
    let mut retried = 0;
    for _ in 0..20 {
        let client = proxy.connect(&service);
        round_trip(&client);
        let port = client.port();
        proxy.ended(client, &service, CLOSED);
        let event = proxy.event_of(port);
        retried += event.number("retries");
        assert!(
            event.0["target"]["host"]
                .as_str()
                .unwrap()
                .contains(&backend.address.port().to_string()),
            "the event names the target that was reached: {}",
            event.0
        );
    }
    assert!((5..=20).contains(&retried), "{retried} retries in 20 connections");
    proxy.finish();
}

/// Goal: when no target can be reached the client is told at once, and the event says why.
/// Method: two targets that refuse.
#[test]
fn all_targets_refuse() {
    let service = Service::new("svc", &[loopback(free_port()), loopback(free_port())]);
    let mut proxy = Proxy::start([&service]);
    for _ in 0..10 {
        let client = proxy.connect(&service);
        client.expect_end();
        let port = client.port();
        proxy.ended(client, &service, REFUSED);
        let event = proxy.event_of(port);
        assert!(event.0["gwError"].is_string(), "gwError says what went wrong: {}", event.0);
        assert_eq!(event.number("retries"), 1);
    }
    proxy.finish();
}

/// Goal: a client that has spoken before the connect failed is told just the same.
/// Method: as before, with bytes under way.
#[test]
fn all_targets_refuse_a_client_that_spoke() {
    let service = Service::new("svc", &[loopback(free_port())]);
    let mut proxy = Proxy::start([&service]);
    for _ in 0..10 {
        let client = proxy.connect(&service);
        let _ = client.try_send(b"hello?");
        client.expect_end();
        proxy.cut(client, &service, REFUSED);
    }
    proxy.finish();
}

/// Goal: `retries: 0` tries one target only.
/// Method: the first of two targets refuses; half of the connections end there.
#[test]
fn no_retries_when_none_are_allowed() {
    let backend = Backend::echo();
    let service =
        Service::new("svc", &[loopback(free_port()), backend.address]).set("retries", json!(0));
    let mut proxy = Proxy::start([&service]);
    let mut refused = 0;
    for _ in 0..10 {
        let client = proxy.connect(&service);
        let _ = client.try_send(b"x");
        let (bytes, _) = {
            client.fin();
            client.recv_to_end()
        };
        if bytes.is_empty() {
            refused += 1;
            proxy.cut(client, &service, REFUSED);
        } else {
            proxy.ended(client, &service, CLOSED);
        }
    }
    assert_eq!(refused, 5, "round robin meets the dead target every other time");
    proxy.finish();
}

/// Goal: a target that dies takes its own connections along and nobody else's, and is used again
/// when it is back.
/// Method: a listening target with live connections is closed and reset, then listens again on
/// the same port.
#[test]
fn target_dies_and_comes_back() {
    let address = loopback(free_port());
    let service = Service::new("svc", &[address]);
    let mut proxy = Proxy::start([&service]);

    let mut first = Backend::serve_on(address, |peer| {
        peer.expect(b"die");
        peer.socket().set_linger(Some(Duration::ZERO)).unwrap();
    });
    let client = proxy.connect(&service);
    client.send(b"die");
    client.expect_reset();
    proxy.ended(client, &service, "upstream/relay/reset");
    first.stop_listening();

    let client = proxy.connect(&service);
    client.expect_end();
    proxy.ended(client, &service, REFUSED);

    let _second = Backend::echo_on(address);
    let client = proxy.connect(&service);
    round_trip(&client);
    proxy.ended(client, &service, CLOSED);
    proxy.finish();
}

/// Goal: round robin is even, whichever core a connection lands on.
/// Method: 2 and 3 targets that tell their names, 20 connections each, one after another.
#[test]
fn round_robin_is_even() {
    for count in [2, 3] {
        let backends: Vec<Backend> = (0..count).map(|_| Backend::name()).collect();
        let addresses: Vec<_> = backends.iter().map(|backend| backend.address).collect();
        let service = Service::new("svc", &addresses);
        let mut proxy = Proxy::start([&service]);
        let mut seen: HashMap<Vec<u8>, usize> = HashMap::new();
        for _ in 0..20 * count {
            let client = proxy.connect(&service);
            let (name, _) = client.recv_to_end();
            *seen.entry(name).or_default() += 1;
            client.fin();
            proxy.ended(client, &service, CLOSED);
        }
        let mut counts: Vec<usize> = seen.values().copied().collect();
        counts.sort_unstable();
        assert_eq!(counts, vec![20; count], "connections to each of {count} targets");
        proxy.finish();
    }
}

/// Goal: the targets of all rules of a service without names form one round.
/// Method: two rules of one target each.
#[test]
fn targets_of_all_rules_take_turns() {
    let (one, two) = (Backend::name(), Backend::name());
    let rule = |backend: &Backend, domain: &str| {
        json!({ "domain": domain, "targets": [
            { "host": "127.0.0.1", "port": backend.address.port() } ] })
    };
    let service = Service::new("svc", &[one.address])
        .set("rules", json!([rule(&one, "*"), rule(&two, ".*read.*")]));
    let mut proxy = Proxy::start([&service]);
    for _ in 0..10 {
        let client = proxy.connect(&service);
        let (name, _) = client.recv_to_end();
        assert_eq!(name.len(), 5);
        client.fin();
        proxy.ended(client, &service, CLOSED);
    }
    assert_eq!((one.accepted(), two.accepted()), (5, 5));
    proxy.finish();
}

/// Goal: a target may be a UNIX socket.
/// Method: an echo on one; then the file goes away, which is a refused connect with its reason.
#[test]
fn unix_target() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("echo.sock");
    let listener = UnixListener::bind(&path).unwrap();
    let service = Service::to_host("svc", format!("unix:{}", path.display()), 1);
    let mut proxy = Proxy::start([&service]);
    let serving = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        stream.set_read_timeout(Some(SOON)).unwrap();
        let mut all = Vec::new();
        stream.read_to_end(&mut all).unwrap();
        stream.write_all(&all).unwrap();
    });
    let client = proxy.connect(&service);
    let sent = client.send_random(1, 3 << 20);
    client.fin();
    assert_eq!(client.hash_to_eof(), (3 << 20, sent));
    serving.join().unwrap();
    proxy.ended(client, &service, CLOSED);

    drop(std::fs::remove_file(&path));
    let client = proxy.connect(&service);
    client.expect_end();
    proxy.ended(client, &service, "upstream/connect/*");
    proxy.finish();
}

/// Goal: `localhost` works for a server that listens on 127.0.0.1 only, whatever the resolver
/// puts first.
/// Method: an echo on 127.0.0.1.
#[test]
fn localhost_by_name() {
    let backend = Backend::echo();
    let service = Service::to_host("svc", "localhost", backend.address.port());
    let mut proxy = Proxy::start([&service]);
    let client = proxy.connect(&service);
    round_trip(&client);
    proxy.ended(client, &service, CLOSED);
    proxy.finish();
}

/// Goal: `ip` decides where a target is, whatever its name resolves to.
/// Method: a name that does not exist, with an `ip`.
#[test]
fn ip_beside_the_name() {
    let backend = Backend::echo();
    let targets = json!([
        { "host": "no-such-host.invalid", "ip": "127.0.0.1", "port": backend.address.port() }
    ]);
    let service = Service::with_targets("svc", targets);
    let mut proxy = Proxy::start([&service]);
    let client = proxy.connect(&service);
    round_trip(&client);
    proxy.ended(client, &service, CLOSED);
    proxy.finish();
}

/// Goal: IPv6 on both sides.
/// Method: a service on `::1` with a target on `::1`; the addresses in the event.
#[test]
fn ipv6() {
    let address = SocketAddr::from((Ipv6Addr::LOCALHOST, free_port()));
    let backend = Backend::echo_on(address);
    let mut service = Service::new("svc", &[address]).set("interface", json!("::1"));
    service.address = SocketAddr::from((Ipv6Addr::LOCALHOST, service.port()));
    let mut proxy = Proxy::start([&service]);
    let client = proxy.connect(&service);
    round_trip(&client);
    let port = client.port();
    proxy.ended(client, &service, CLOSED);
    let event = proxy.event_of(port);
    assert_eq!(event.text("remote"), format!("[::1]:{port}"));
    assert_eq!(backend.accepted(), 1);
    proxy.finish();
}

/// Goal: a name that does not resolve does not keep the proxy from starting; its connections are
/// refused with a reason, and other services live.
/// Method: a name under `.invalid`, which never resolves.
#[test]
fn name_that_does_not_resolve() {
    let service = Service::to_host("svc", "no-such-host.invalid", 5432);
    let mut proxy = Proxy::start([&service]);
    let client = proxy.connect(&service);
    client.expect_end();
    proxy.ended(client, &service, "*/connect/*|*/pick/*");
    proxy.finish();
}

/// Goal: a target that does not answer costs the connect deadline and then the next is tried.
/// Method: a listener whose queue is full, so that the kernel drops further SYNs; a deadline of
/// 300 ms; a live second target.
#[test]
fn connect_deadline() {
    let hole = BlackHole::dig();
    let backend = Backend::echo();
    let service = Service::new("svc", &[hole.address, backend.address])
        .set("timeouts", json!({ "connect": "300ms" }))
        .set("retries", json!(1));
    let alone =
        Service::new("alone", &[hole.address]).set("timeouts", json!({ "connect": "300ms" }));
    let mut proxy = Proxy::start([&service, &alone]);
    for _ in 0..4 {
        let client = proxy.connect(&service);
        round_trip(&client);
        proxy.ended(client, &service, CLOSED);
    }
    let client = proxy.connect(&alone);
    client.expect_end();
    proxy.ended(client, &alone, "*/connect/*time*|*/connect/*deadline*");
    proxy.finish();
}

/// Goal: connects that hit their deadline leave no descriptor, even when the answer comes late.
/// Method: 100 clients of a black hole at once, which give up or are given up.
#[test]
fn connect_deadlines_leave_nothing() {
    let hole = BlackHole::dig();
    let service = Service::new("svc", &[hole.address])
        .set("timeouts", json!({ "connect": "500ms" }))
        .set("retries", json!(0));
    let mut proxy = Proxy::start([&service]);
    let clients: Vec<Peer> = (0..100).map(|_| proxy.connect(&service)).collect();
    proxy.canary();
    for (index, client) in clients.into_iter().enumerate() {
        if index % 2 == 0 {
            client.expect_end();
            proxy.ended(client, &service, "upstream/connect/*");
        } else {
            let outcome = client.rst();
            proxy.cut(outcome, &service, "client/*/*|upstream/connect/*");
        }
    }
    proxy.finish();
}

/// Goal: a service that would connect to itself is refused before it runs.
/// Method: a target that is the service's own listener, by address, by name and by the wildcard.
#[test]
fn loops_are_refused() {
    for host in ["127.0.0.1", "localhost"] {
        let port = free_port();
        let service = Service::to_host("loop", host, port).on_port(port);
        let exit = Launch::new(Config::new([&service])).refused();
        assert_eq!(exit.code(), Some(1), "{host}: {}", exit.said());
        assert!(exit.said().contains("loop") || exit.said().contains("itself"), "{}", exit.said());
    }
    let port = free_port();
    let service = Service::to_host("loop", "127.0.0.1", port)
        .on_port(port)
        .set("interface", json!("0.0.0.0"));
    let exit = Launch::new(Config::new([&service])).refused();
    assert_eq!(exit.code(), Some(1), "0.0.0.0: {}", exit.said());
}

/// Goal: an upstream that accepts and closes without a word is passed on as it is.
/// Method: 20 connections closed at once by the upstream, and 20 reset.
#[test]
fn upstream_accepts_and_leaves() {
    let upstream = Manual::start();
    let service = Service::new("svc", &[upstream.address]);
    let mut proxy = Proxy::start([&service]);
    for _ in 0..20 {
        let client = proxy.connect(&service);
        drop(upstream.accept());
        client.expect_eof();
        client.fin();
        proxy.ended(client, &service, CLOSED);

        let client = proxy.connect(&service);
        upstream.accept().rst();
        // The proxy may take it for a failed connect and try again: then the next one waits here.
        let end = waited(SOON, || {
            if let Some(again) = upstream.try_accept() {
                again.rst();
            }
            client.has_ended().then_some(())
        });
        assert!(end.is_some(), "the client was never told");
        proxy.cut(client, &service, "upstream/*/reset|upstream/connect/*");
    }
    proxy.finish();
}

/// Goal: a client that leaves while its upstream is still being connected costs nothing.
/// Method: clients of a black hole that reset; the events say that the client left, and when.
#[test]
fn client_leaves_during_connect() {
    let hole = BlackHole::dig();
    let service = Service::new("svc", &[hole.address])
        .set("timeouts", json!({ "connect": "2s" }))
        .set("retries", json!(0));
    let mut proxy = Proxy::start([&service]);
    for _ in 0..10 {
        let outcome = proxy.connect(&service).rst();
        proxy.cut(outcome, &service, "client/connect/*|upstream/connect/*");
    }
    wait_until("the ends", SOON, || {
        proxy.events().iter().filter(|event| event.text("@serviceId") == "svc").count() == 10
    });
    proxy.finish();
}
