//! Which target gets a connection: shares over both cores, limits, backups, what a reload keeps.

use std::net::{Ipv4Addr, SocketAddr};
use std::thread;

use serde_json::{Value, json};

use crate::support::backend::{Backend, Manual};
use crate::support::config::{Config, Service};
use crate::support::events::Event;
use crate::support::heavy;
use crate::support::peer::Peer;
use crate::support::proxy::{Launch, Proxy};
use crate::support::wait::{SOON, wait_until};

const CLOSED: &str = "*/relay/closed";

/// A service over some backends; `extra` is what each target says beside its address.
fn service(balancing: &str, backends: &[&Backend], extra: &[Value]) -> Service {
    let targets: Vec<Value> = backends
        .iter()
        .zip(extra)
        .map(|(backend, extra)| {
            let mut target = json!({ "host": "127.0.0.1", "port": backend.address.port() });
            let (all, more) = (target.as_object_mut().unwrap(), extra.as_object().unwrap());
            all.extend(more.clone());
            target
        })
        .collect();
    Service::with_targets("svc", Value::from(targets)).set("loadBalancing", json!(balancing))
}

fn round_trip(proxy: &mut Proxy, service: &Service) {
    let client = proxy.connect(service);
    client.send(b"hello");
    client.expect(b"hello");
    client.fin();
    client.expect_eof();
    proxy.ended(client, service, CLOSED);
}

/// So many connections from as many addresses of 127.0.0.0/8, by four threads at once.
fn crowd(proxy: &mut Proxy, service: &Service, count: u32) {
    let address = service.address;
    thread::scope(|scope| {
        for first in 0..4 {
            scope.spawn(move || {
                for number in (first..count).step_by(4) {
                    let client = from(address, number);
                    client.send(b"hello");
                    client.expect(b"hello");
                    client.fin();
                    client.expect_eof();
                }
            });
        }
    });
    proxy.ended_many(count as usize, CLOSED);
}

/// A client with an address of its own.
fn from(address: SocketAddr, number: u32) -> Peer {
    let source = Ipv4Addr::from(u32::from(Ipv4Addr::new(127, 1, 0, 0)) + number);
    let source = SocketAddr::from((source, 0));
    Peer::try_connect_with(address, |socket| socket.bind(&source.into())).expect("connect")
}

/// Goal: each way of choosing gives each target the share it promises, over both cores at once.
/// Method: 2,000 connections from as many addresses, four at a time; the backends count.
#[test]
fn shares() {
    let _heavy = heavy();
    for (balancing, weights, wanted, slack) in [
        ("RoundRobin", [1, 1, 1], [667, 667, 667], 1),
        ("WeightedRoundRobin", [1, 3, 2], [333, 1000, 667], 1),
        ("WeightedRoundRobin", [1, 0, 1], [1000, 0, 1000], 0),
        ("LeastConnections", [1, 1, 1], [667, 667, 667], 200),
        ("LeastConnections", [0, 1, 1], [0, 1000, 1000], 200),
        ("PowerOfTwo", [1, 1, 1], [667, 667, 667], 250),
        ("SourceHash", [1, 3, 2], [333, 1000, 667], 120),
        ("Random", [1, 3, 2], [333, 1000, 667], 120),
        ("First", [1, 1, 1], [2000, 0, 0], 0),
        ("RoundRobin", [1, 0, 1], [1000, 0, 1000], 0),
    ] {
        let backends = [Backend::echo(), Backend::echo(), Backend::echo()];
        let extra = weights.map(|weight| json!({ "weight": weight }));
        let service = service(balancing, &backends.each_ref(), &extra);
        let mut proxy = Proxy::start([&service]);
        crowd(&mut proxy, &service, 2000);
        let got = backends.each_ref().map(|backend| backend.accepted());
        let near = got.iter().zip(wanted).all(|(got, wanted)| got.abs_diff(wanted) <= slack);
        assert!(near, "{balancing} {weights:?}: {got:?}");
        proxy.finish();
    }
}

/// Goal: when a target leaves, only its own clients move.
/// Method: 200 clients; a reload takes one of four targets away; each client's target before and
/// after, as the events name it.
#[test]
fn source_hash_moves_few() {
    let backends: Vec<Backend> = (0..4).map(|_| Backend::echo()).collect();
    let all: Vec<&Backend> = backends.iter().collect();
    let none = [json!({}), json!({}), json!({}), json!({})];
    let before = service("SourceHash", &all, &none);
    let mut proxy = Proxy::start([&before]);
    crowd(&mut proxy, &before, 200);
    let chosen = |proxy: &Proxy, skip: usize| -> Vec<(String, String)> {
        let is_ours = |event: &&Event| event.text("remote").starts_with("127.1.");
        wait_until("the events", SOON, || {
            proxy.events().iter().skip(skip).filter(is_ours).count() >= 200
        });
        let ip = |remote: &str| remote.rsplit_once(':').unwrap().0.to_owned();
        let of = |event: &Event| {
            let host = event.0["target"]["host"].as_str().unwrap().to_owned();
            (ip(event.text("remote")), host)
        };
        let mut chosen: Vec<_> = proxy.events().iter().skip(skip).map(of).collect();
        chosen.retain(|(client, _)| client.starts_with("127.1."));
        chosen.sort();
        chosen
    };
    let first = chosen(&proxy, 0);
    let events = proxy.events().len();
    let after = service("SourceHash", &all[..3], &none).on_port(before.port());
    proxy.reload(&Config::new([&after]));
    crowd(&mut proxy, &after, 200);
    let second = chosen(&proxy, events);
    assert_eq!((first.len(), second.len()), (200, 200));
    let gone = backends[3].address.to_string();
    let moved = first.iter().zip(&second).filter(|(one, other)| one != other);
    let moved: Vec<_> = moved.collect();
    assert!(moved.iter().all(|(one, _)| one.1 == gone), "{moved:?}");
    let of_gone = first.iter().filter(|(_, target)| *target == gone).count();
    assert_eq!(moved.len(), of_gone, "all of its clients moved");
    assert!((20..90).contains(&of_gone), "about a quarter: {of_gone}");
    proxy.finish();
}

/// Goal: the fewest connections counts those that live, over all cores and over a reload.
/// Method: nine connections stay open on three targets; those of one target end, and the next three
/// go there.
#[test]
fn least_connections() {
    let backends = [Backend::echo(), Backend::echo(), Backend::echo()];
    let none = [json!({}), json!({}), json!({})];
    let service = service("LeastConnections", &backends.each_ref(), &none);
    let mut proxy = Proxy::start([&service]);
    let mut open = Vec::new();
    let hold = |proxy: &Proxy, open: &mut Vec<Peer>| {
        let client = proxy.connect(&service);
        client.send(b"x");
        client.expect(b"x");
        open.push(client);
    };
    for _ in 0..9 {
        hold(&proxy, &mut open);
    }
    let counts = || backends.each_ref().map(|backend| backend.accepted());
    assert_eq!(counts(), [3, 3, 3]);
    proxy.reload(&Config::new([&service.clone().set("description", json!("changed"))]));
    for _ in 0..3 {
        hold(&proxy, &mut open);
    }
    assert_eq!(counts(), [4, 4, 4], "a reload keeps the counts");
    for client in open {
        client.fin();
        client.expect_eof();
        proxy.ended(client, &service, CLOSED);
    }
    proxy.finish();
}

/// Goal: one client keeps its target.
/// Method: all connections come from one address.
#[test]
fn source_hash() {
    let backends = [Backend::echo(), Backend::echo(), Backend::echo()];
    let none = [json!({}), json!({}), json!({})];
    let service = service("SourceHash", &backends.each_ref(), &none);
    let mut proxy = Proxy::start([&service]);
    for _ in 0..30 {
        round_trip(&mut proxy, &service);
    }
    let mut got = backends.each_ref().map(|backend| backend.accepted());
    got.sort_unstable();
    assert_eq!(got, [0, 0, 30]);
    proxy.finish();
}

/// Goal: a backup is used only while no other target can be.
/// Method: the only other target stops listening, and comes to have all it may have.
#[test]
fn backups() {
    let (mut first, backup) = (Backend::echo(), Backend::echo());
    let extra = [json!({}), json!({ "backup": true })];
    let service = service("RoundRobin", &[&first, &backup], &extra);
    let mut proxy = Proxy::start([&service]);
    for _ in 0..10 {
        round_trip(&mut proxy, &service);
    }
    assert_eq!((first.accepted(), backup.accepted()), (10, 0));
    first.stop_listening();
    for _ in 0..5 {
        round_trip(&mut proxy, &service);
    }
    assert_eq!((first.accepted(), backup.accepted()), (10, 5));
    proxy.finish();
}

/// Goal: `maxConnections` holds over all cores; who comes meanwhile waits, and gets the place that is
/// given up, or is told after the connect deadline.
/// Method: one target with two places.
#[test]
fn most_connections() {
    let backend = Manual::start();
    let target =
        json!([{ "host": "127.0.0.1", "port": backend.address.port(), "maxConnections": 2 }]);
    let service = Service::with_targets("svc", target).set("timeouts", json!({ "connect": "2s" }));
    let mut proxy = Proxy::start([&service]);
    let held = [proxy.connect(&service), proxy.connect(&service)];
    let mut behind = vec![backend.accept(), backend.accept()];
    let waiting = proxy.connect(&service);
    waiting.send(b"patience");
    // One leaves: its place is taken.
    let [leaver, stayer] = held;
    leaver.fin();
    wait_until("an end", SOON, || behind.iter().any(Peer::has_ended));
    let left = behind.iter().position(Peer::has_ended).unwrap();
    behind.remove(left).fin();
    leaver.expect_eof();
    proxy.ended(leaver, &service, CLOSED);
    let served = backend.accept();
    served.expect(b"patience");
    // Nobody leaves: the deadline passes.
    let refused = proxy.connect(&service);
    refused.expect_end();
    proxy.cut(refused, &service, "us/connect/targets-full");
    for (client, peer) in [(stayer, behind.remove(0)), (waiting, served)] {
        client.fin();
        peer.expect_eof();
        peer.fin();
        client.expect_eof();
        proxy.ended(client, &service, CLOSED);
    }
    proxy.finish();
}

/// Goal: who waits for a place gets it before anybody who came later, also before one who comes at the
/// moment at which it is given up.
/// Method: one core and one place. One waits; the place is given up as another connects; whom the
/// target gets first.
#[test]
fn who_came_first_is_served_first() {
    let backend = Manual::start();
    let service = one_place(&backend, "15s");
    let config = Config::new([&service]).set("workers", json!({ "cores": 1 }));
    let mut proxy = Launch::new(config).start();
    let come = |proxy: &Proxy, says: &[u8]| {
        let client = proxy.connect(&service);
        client.send(says);
        client
    };
    let served = |says: &[u8]| {
        let up = backend.accept();
        up.expect(says);
        up
    };
    // Ends the connection; who comes while it does.
    let leave = |proxy: &mut Proxy, client: Peer, up: Peer, newcomer: Option<&[u8]>| {
        client.fin();
        up.expect_eof();
        up.fin();
        let newcomer = newcomer.map(|says| come(proxy, says));
        client.expect_eof();
        proxy.ended(client, &service, CLOSED);
        newcomer
    };
    for _ in 0..20 {
        let holder = come(&proxy, b"first");
        let up = served(b"first");
        let waiting = come(&proxy, b"waits");
        let newcomer = leave(&mut proxy, holder, up, Some(b"comes")).unwrap();
        let up = served(b"waits");
        let last = leave(&mut proxy, waiting, up, Some(b"later")).unwrap();
        let up = served(b"comes");
        leave(&mut proxy, newcomer, up, None);
        let up = served(b"later");
        leave(&mut proxy, last, up, None);
    }
    proxy.finish();
}

/// Goal: who waits and leaves is gone; who has said something and ended its stream still waits for the
/// answer.
/// Method: one place that is held, and clients that leave in each way.
#[test]
fn who_leaves_waits_no_more() {
    let backend = Manual::start();
    let service = one_place(&backend, "15s");
    let mut proxy = Proxy::start([&service]);
    let holder = proxy.connect(&service);
    let behind = backend.accept();
    let silent = proxy.connect(&service);
    silent.fin();
    silent.expect_end();
    proxy.cut(silent, &service, "client/connect/left");
    let resets = proxy.connect(&service);
    resets.send(b"in vain");
    let resets = resets.rst();
    proxy.event_of(resets.port); // while the place is held
    proxy.cut(resets, &service, "client/connect/reset");
    let patient = proxy.connect(&service);
    patient.send(b"question");
    patient.fin();
    holder.fin();
    behind.expect_eof();
    behind.fin();
    holder.expect_eof();
    proxy.ended(holder, &service, CLOSED);
    let up = backend.accept();
    up.expect(b"question");
    up.expect_eof();
    up.send(b"answer");
    up.fin();
    patient.expect(b"answer");
    patient.expect_eof();
    proxy.ended(patient, &service, CLOSED);
    proxy.finish();
}

/// A target that may have one connection at a time.
fn one_place(backend: &Manual, connect: &str) -> Service {
    let target =
        json!([{ "host": "127.0.0.1", "port": backend.address.port(), "maxConnections": 1 }]);
    Service::with_targets("svc", target).set("timeouts", json!({ "connect": connect }))
}
