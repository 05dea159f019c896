//! When something runs out: refuse what is new, say which limit, keep what lives, recover alone.

use std::net::{Ipv4Addr, SocketAddr};
use std::thread;
use std::time::Duration;

use serde_json::json;

use crate::support::backend::{Backend, Manual};
use crate::support::config::{Config, Service};
use crate::support::heavy;
use crate::support::peer::{End, Outcome, Peer, is_reset};
use crate::support::process::own_network;
use crate::support::proxy::{Launch, Proxy};
use crate::support::wait::{SOON, wait_for, wait_until, wait_until_still};

const CLOSED: &str = "*/relay/closed";

fn say(client: &Peer, word: &[u8]) {
    client.send(word);
    client.expect(word);
}

/// A connection that is either served or ended without a byte; true if it was served.
fn was_served(client: &Peer) -> bool {
    if client.try_send(b"x").is_err() {
        return false;
    }
    match client.try_recv() {
        Ok(bytes) => !bytes.is_empty(),
        Err(error) => {
            assert!(is_reset(&error), "{error}");
            false
        }
    }
}

/// Goal: a service takes as many connections as it may, over all cores, and not one more; each
/// ended one makes room.
/// Method: a limit of five; five live, ten refused with an event, one closed, one more served.
#[test]
fn connections_of_a_service() {
    let backend = Backend::echo();
    let service =
        Service::new("svc", &[backend.address]).set("limits", json!({ "connections": 5 }));
    let mut proxy = Proxy::start([&service]);
    for _round in 0..3 {
        let mut live: Vec<Peer> = Vec::new();
        while live.len() < 5 {
            let client = proxy.connect(&service);
            if was_served(&client) {
                live.push(client);
            } else {
                // The end of a connection of the round before may not have been counted yet.
                proxy.cut(client, &service, "us/*/*limit*");
            }
        }
        for _ in 0..10 {
            let client = proxy.connect(&service);
            assert!(!was_served(&client), "a sixth connection");
            proxy.cut(client, &service, "us/*/*limit*");
        }
        for client in &live {
            say(client, b"still here");
        }
        let leaving = live.pop().unwrap();
        leaving.fin();
        leaving.expect_eof();
        proxy.ended(leaving, &service, CLOSED);
        let next = wait_for("room after an end", SOON, || {
            let client = proxy.connect(&service);
            if was_served(&client) {
                return Some(client);
            }
            proxy.cut(client, &service, "us/*/*limit*");
            None
        });
        live.push(next);
        for client in live {
            client.fin();
            client.expect_eof();
            proxy.ended(client, &service, CLOSED);
        }
    }
    proxy.finish();
}

/// Goal: the limit counts right under a rush: never more than allowed at the upstream, and none
/// counted that has gone.
/// Method: a limit of eight and 40 clients at once from four threads, ten times; then eight
/// can live again.
#[test]
fn a_rush_on_a_limit() {
    let backend = Backend::echo();
    let service =
        Service::new("svc", &[backend.address]).set("limits", json!({ "connections": 8 }));
    let mut proxy = Proxy::start([&service]);
    for _ in 0..10 {
        let results: Vec<(bool, Outcome)> = thread::scope(|scope| {
            let workers: Vec<_> = (0..4)
                .map(|_| {
                    scope.spawn(|| {
                        let clients: Vec<Peer> =
                            (0..10).map(|_| Peer::connect(service.address)).collect();
                        let served: Vec<bool> = clients.iter().map(was_served).collect();
                        assert!(backend.live() <= 8, "more than eight at the upstream");
                        let finish = |(client, served): (Peer, bool)| {
                            if served {
                                client.fin();
                                client.expect_eof();
                            }
                            (served, client.close())
                        };
                        clients.into_iter().zip(served).map(finish).collect::<Vec<_>>()
                    })
                })
                .collect();
            workers.into_iter().flat_map(|worker| worker.join().unwrap()).collect()
        });
        assert!(results.iter().any(|(served, _)| *served), "nobody was served");
        for (served, outcome) in results {
            if served {
                proxy.ended(outcome, &service, CLOSED);
            } else {
                proxy.cut(outcome, &service, "us/*/*limit*");
            }
        }
    }
    let mut live = Vec::new();
    wait_until("room for eight", SOON, || {
        let client = proxy.connect(&service);
        if was_served(&client) {
            live.push(client);
        } else {
            proxy.cut(client, &service, "us/*/*limit*");
        }
        live.len() == 8
    });
    for client in live {
        client.fin();
        client.expect_eof();
        proxy.ended(client, &service, CLOSED);
    }
    proxy.finish();
}

/// Goal: with no descriptor left the proxy neither spins nor dies nor forgets whom it serves, and
/// it recovers by itself.
/// Method: the limit of the running process is lowered to a few above what it holds, once leaving
/// an even and once an odd number; 30 clients come; its processor time over a second is small;
/// those served before are served still; the limit is raised; everybody new is served.
#[test]
fn descriptors_run_out() {
    let _alone = heavy();
    let backend = Backend::echo();
    let service = Service::new("svc", &[backend.address]);
    let mut proxy = Proxy::start([&service]);
    for room in [4, 5] {
        let old: Vec<Peer> = (0..5).map(|_| proxy.connect(&service)).collect();
        for client in &old {
            say(client, b"before");
        }
        let held = proxy.process().descriptors().total() as u64;
        let before = proxy.process().limit_descriptors(held + room);
        let new: Vec<Peer> = (0..30).map(|_| proxy.connect(&service)).collect();
        let share = proxy.process().cpu_share(Duration::from_secs(1));
        assert!(share < 0.3, "{share} of a core while out of descriptors; log:\n{}", proxy.log());
        for client in &old {
            say(client, b"during");
        }
        proxy.process().limit_descriptors(before);
        let mut served = 0;
        for client in new {
            if was_served(&client) {
                served += 1;
                client.fin();
                client.expect_eof();
                proxy.ended(client, &service, CLOSED);
            } else {
                proxy.cut(client, &service, "us/*/*");
            }
        }
        println!("{served} of 30 were served once there was room");
        for client in old {
            say(&client, b"after");
            client.fin();
            client.expect_eof();
            proxy.ended(client, &service, CLOSED);
        }
        proxy.canary();
    }
    let lines = proxy.log().lines().count();
    assert!(lines < 500, "{lines} log lines: one for a change of state is enough");
    proxy.finish();
}

/// Goal: the first connections of a process that may open next to nothing fail with a reason and
/// not with a hang.
/// Method: the limit lowered to what is held, so that not even an accept succeeds; clients wait
/// in the queue; once raised, they are served.
#[test]
fn waiting_clients_are_served_once_there_is_room() {
    let backend = Backend::echo();
    let service = Service::new("svc", &[backend.address]);
    let mut proxy = Proxy::start([&service]);
    let held = proxy.process().descriptors().total() as u64;
    let before = proxy.process().limit_descriptors(held);
    let waiting: Vec<Peer> = (0..10).map(|_| proxy.connect(&service)).collect();
    let share = proxy.process().cpu_share(Duration::from_millis(500));
    assert!(share < 0.3, "{share} of a core");
    proxy.process().limit_descriptors(before);
    for client in waiting {
        if was_served(&client) {
            client.fin();
            client.expect_eof();
            proxy.ended(client, &service, CLOSED);
        } else {
            proxy.cut(client, &service, "us/*/*");
        }
    }
    proxy.finish();
}

/// Goal: more relays of bulk than there are pipes to be had are all exact.
/// Method: 300 connections at once, 1 MiB each way on each through an echo.
#[test]
fn more_bulk_than_pipes() {
    let _alone = heavy();
    let backend = Backend::echo();
    let service = Service::new("svc", &[backend.address]);
    let mut proxy = Proxy::start([&service]);
    let clients: Vec<Peer> = (0..300).map(|_| proxy.connect(&service)).collect();
    let size = 1 << 20;
    thread::scope(|scope| {
        for (seed, client) in (0_u64..).zip(&clients) {
            scope.spawn(move || {
                thread::scope(|scope| {
                    let sent = scope.spawn(|| {
                        let digest = client.send_random(seed, size);
                        client.fin();
                        digest
                    });
                    let got = client.hash_to_eof();
                    assert_eq!(got, (size, sent.join().unwrap()));
                });
            });
        }
    });
    for client in clients {
        proxy.ended(client, &service, CLOSED);
    }
    proxy.finish();
}

/// Goal: an ordinary user's share of pipes is bounded by the kernel; beyond it bulk is copied, exactly
/// as right.
/// Method: the proxy runs as nobody; 400 connections are kept in mid-transfer, so that each would like
/// a pipe in each direction, and then all end right.
#[test]
fn bulk_without_privileges() {
    let _alone = heavy();
    let backend = Backend::echo();
    let service = Service::new("svc", &[backend.address]);
    let mut proxy = Launch::new(Config::new([&service])).unprivileged().start();
    let clients: Vec<Peer> = (0..400).map(|_| proxy.connect(&service)).collect();
    let size = 1 << 20;
    thread::scope(|scope| {
        let senders: Vec<_> = (0_u64..)
            .zip(&clients)
            .map(|(seed, client)| {
                scope.spawn(move || {
                    let digest = client.send_random(seed, size);
                    client.fin();
                    digest
                })
            })
            .collect();
        // Nobody reads yet: the echo fills every buffer on the way back.
        let all_sent = || clients.iter().map(Peer::sent).sum();
        wait_until_still("the echo", Duration::from_millis(300), all_sent);
        let readers: Vec<_> =
            clients.iter().map(|client| scope.spawn(|| client.hash_to_eof())).collect();
        for (sender, reader) in senders.into_iter().zip(readers) {
            assert_eq!(reader.join().unwrap(), (size, sender.join().unwrap()));
        }
    });
    for client in clients {
        proxy.ended(client, &service, CLOSED);
    }
    proxy.finish();
}

/// Goal: when the ports towards one target are used up, the surplus is refused with a reason, what
/// lives lives on, and new connections work as soon as ports are free.
/// Method: in a network of its own with 50 ephemeral ports, 60 clients from different addresses;
/// some are served, the others refused; all end; then another is served.
#[test]
fn ports_run_out() {
    own_network();
    std::fs::write("/proc/sys/net/ipv4/ip_local_port_range", "40000 40049").expect("sysctl");
    let backend = Backend::echo();
    let service = Service::new("svc", &[backend.address]).set("retries", json!(0));
    let mut proxy = Proxy::start([&service]);
    let from = |last: u8| {
        let source = SocketAddr::from((Ipv4Addr::new(127, 0, 1, last), 0));
        Peer::try_connect_with(service.address, |socket| socket.bind(&source.into()))
            .expect("connect")
    };
    let mut served = Vec::new();
    let mut refused = 0;
    for last in 1..=60 {
        let client = from(last);
        if was_served(&client) {
            served.push(client);
        } else {
            refused += 1;
            proxy.ended_many(1, "us/connect/ports");
        }
    }
    // The clients' own ports are of the same fifty: how many are left differs from run to run.
    assert!(served.len() >= 10 && refused >= 10, "{} served, {refused} refused", served.len());
    for client in served {
        say(&client, b"alive");
        client.fin();
        client.expect_eof();
        proxy.ended_many(1, CLOSED);
    }
    let again = wait_for("a free port", SOON, || {
        let client = from(61);
        if was_served(&client) {
            return Some(client);
        }
        proxy.ended_many(1, "us/connect/ports");
        None
    });
    again.fin();
    again.expect_eof();
    proxy.ended_many(1, CLOSED);
    proxy.finish();
}

/// Goal: a target that no route leads to is passed over at once, and named as such.
/// Method: in a network of nothing but loopback, an address of the documentation range; with and
/// without a second target.
#[test]
fn no_route_to_the_target() {
    own_network();
    let backend = Backend::echo();
    let nowhere = SocketAddr::from((Ipv4Addr::new(192, 0, 2, 1), 80));
    let service = Service::new("svc", &[nowhere, backend.address]);
    let alone = Service::new("alone", &[nowhere]);
    let mut proxy = Proxy::start([&service, &alone]);
    for _ in 0..4 {
        let client = proxy.connect(&service);
        say(&client, b"hello");
        client.fin();
        client.expect_eof();
        proxy.ended(client, &service, CLOSED);
    }
    let client = proxy.connect(&alone);
    client.expect_end();
    proxy.ended(client, &alone, "upstream/connect/*");
    proxy.finish();
}

/// Goal: idle connections are cheap: no buffer, no pipe, no thread.
/// Method: 3,000 connections that have each echoed some bytes; memory for each, pipes, and the end
/// of all of them at once.
#[test]
fn idle_connections_are_cheap() {
    let _alone = heavy();
    let upstream = Manual::start();
    let service = Service::new("svc", &[upstream.address]);
    let mut proxy = Proxy::start([&service]);
    let pipes = proxy.process().descriptors().pipes;
    let pairs: Vec<(Peer, Peer)> = (0..3000)
        .map(|_| {
            let client = proxy.connect(&service);
            let up = upstream.accept();
            client.send(b"hello");
            up.expect(b"hello");
            up.send(b"world");
            client.expect(b"world");
            (client, up)
        })
        .collect();
    let each = proxy.growth_kib() / 3000;
    assert!(each <= 4, "{each} KiB for each idle connection");
    assert_eq!(proxy.process().descriptors().pipes, pipes, "pipes for idle connections");
    let share = proxy.process().cpu_share(Duration::from_secs(1));
    assert!(share < 0.2, "{share} of a core for idle connections");
    for (client, up) in pairs {
        drop(up);
        client.expect_eof();
        proxy.ended(client, &service, CLOSED);
    }
    proxy.finish();
}

/// Goal: a refusal for lack of room is fast and does not look like a clean end of a conversation.
/// Method: a limit of one; the second client gets no byte and an end.
#[test]
fn a_refusal_is_immediate() {
    let backend = Backend::echo();
    let service =
        Service::new("svc", &[backend.address]).set("limits", json!({ "connections": 1 }));
    let mut proxy = Proxy::start([&service]);
    let first = proxy.connect(&service);
    say(&first, b"one");
    let second = proxy.connect(&service);
    let end = second.expect_end();
    assert!(end == End::Reset || end == End::Eof);
    let port = second.port();
    proxy.ended(second, &service, "us/*/*limit*");
    let event = proxy.event_of(port);
    assert!(event.0["gwError"].is_string(), "gwError says what went wrong: {}", event.0);
    first.fin();
    first.expect_eof();
    proxy.ended(first, &service, CLOSED);
    assert_eq!(backend.accepted(), 1, "the upstream never hears of a refused client");
    proxy.finish();
}
