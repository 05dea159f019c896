//! Any change is applied live, as a difference; a bad configuration changes nothing; no connection
//! that the kernel has accepted is lost.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::support::backend::{Backend, listen};
use crate::support::config::{Config, Service};
use crate::support::peer::{Outcome, Peer, is_reset};
use crate::support::ports::{free_port, is_free, loopback};
use crate::support::proxy::Proxy;
use crate::support::wait::{SOON, let_pass, wait_until, waited};
use crate::support::{Stop, heavy};

const CLOSED: &str = "*/relay/closed";

fn say(client: &Peer, word: &[u8]) {
    client.send(word);
    client.expect(word);
}

fn end(proxy: &mut Proxy, client: Peer, service: &Service) {
    client.fin();
    client.expect_eof();
    proxy.ended(client, service, CLOSED);
}

/// Waits until nobody holds the port of this service any more.
fn wait_unbound(service: &Service) {
    wait_until("the listener to be gone", SOON, || is_free(service.address));
}

/// A connect is refused by the kernel.
fn refuses(service: &Service) -> bool {
    Peer::try_connect(service.address)
        .is_err_and(|error| error.kind() == std::io::ErrorKind::ConnectionRefused)
}

/// Goal: a new service is served after a reload, and nothing else notices.
/// Method: a live connection before; a service added; both work, the old connection lives.
#[test]
fn add_a_service() {
    let backend = Backend::echo();
    let (one, two) =
        (Service::new("one", &[backend.address]), Service::new("two", &[backend.address]));
    let mut proxy = Proxy::start([&one]);
    let old = proxy.connect(&one);
    say(&old, b"before");
    assert!(refuses(&two), "not there yet");
    proxy.reload(&Config::new([&one, &two]));
    wait_until("the new listener", SOON, || !refuses_quietly(&two, &mut proxy));
    proxy.rebase();
    let new = proxy.connect(&two);
    say(&new, b"new");
    say(&old, b"after");
    end(&mut proxy, old, &one);
    end(&mut proxy, new, &two);
    proxy.rebase();
    proxy.finish();
}

/// Looks whether a connect is refused; a connection that came about is accounted for.
fn refuses_quietly(service: &Service, proxy: &mut Proxy) -> bool {
    match Peer::try_connect(service.address) {
        Ok(client) => {
            end(proxy, client, service);
            false
        }
        Err(_) => true,
    }
}

/// Goal: the connections of a removed service go on (`Keep`, the default); new ones are refused.
/// Method: a service with two live connections is removed; they speak, end, and the port is free.
#[test]
fn remove_a_service_and_keep_its_connections() {
    let backend = Backend::echo();
    let (one, two) =
        (Service::new("one", &[backend.address]), Service::new("two", &[backend.address]));
    let mut proxy = Proxy::start([&one, &two]);
    let kept: Vec<Peer> = (0..2).map(|_| proxy.connect(&two)).collect();
    for client in &kept {
        say(client, b"before");
    }
    proxy.reload(&Config::new([&one]));
    wait_until("the port to refuse", SOON, || refuses_quietly(&two, &mut proxy));
    for client in kept {
        say(&client, b"after");
        end(&mut proxy, client, &two);
    }
    // The same port can be taken by somebody else, and back.
    wait_unbound(&two);
    proxy.reload(&Config::new([&one, &two]));
    wait_until("the port to serve again", SOON, || !refuses_quietly(&two, &mut proxy));
    proxy.finish();
}

/// Goal: `closeAfter` ends the connections of a removed service, not before its time.
/// Method: one second; the connection works right after the reload, then both sides are told.
#[test]
fn remove_a_service_and_close_its_connections() {
    let backend = Backend::echo();
    let one = Service::new("one", &[backend.address]);
    let two =
        Service::new("two", &[backend.address]).set("onRemoved", json!({ "closeAfter": "1s" }));
    let mut proxy = Proxy::start([&one, &two]);
    let client = proxy.connect(&two);
    let other = proxy.connect(&one);
    say(&client, b"before");
    let start = Instant::now();
    proxy.reload(&Config::new([&one]));
    say(&client, b"after");
    client.expect_end();
    assert!(start.elapsed() >= Duration::from_millis(900), "after {:?}", start.elapsed());
    proxy.cut(client, &two, "us/relay/*");
    say(&other, b"untouched");
    end(&mut proxy, other, &one);
    proxy.finish();
}

/// Goal: new targets serve new connections; old connections stay where they are.
/// Method: the one target of a service is exchanged under a live connection.
#[test]
fn exchange_a_target() {
    let (old_backend, new_backend) = (Backend::echo(), Backend::echo());
    let before = Service::new("svc", &[old_backend.address]);
    let after = Service::new("svc", &[new_backend.address]).on_port(before.port());
    let mut proxy = Proxy::start([&before]);
    let old = proxy.connect(&before);
    say(&old, b"before");
    proxy.reload(&Config::new([&after]));
    wait_until("the new target", SOON, || {
        let client = proxy.connect(&after);
        say(&client, b"x");
        end(&mut proxy, client, &after);
        new_backend.accepted() > 0
    });
    say(&old, b"after");
    assert_eq!(old_backend.live(), 1);
    end(&mut proxy, old, &before);
    proxy.finish();
}

/// Goal: a service that moves to another port takes new connections there and keeps the old ones.
/// Method: the port is changed under a live connection.
#[test]
fn move_a_service() {
    let backend = Backend::echo();
    let before = Service::new("svc", &[backend.address]);
    let after = before.clone().on_port(free_port());
    let mut proxy = Proxy::start([&before]);
    let old = proxy.connect(&before);
    say(&old, b"before");
    proxy.reload(&Config::new([&after]));
    wait_until("the new port to serve", SOON, || !refuses_quietly(&after, &mut proxy));
    wait_until("the old port to refuse", SOON, || refuses_quietly(&before, &mut proxy));
    say(&old, b"after");
    end(&mut proxy, old, &before);
    proxy.finish();
}

/// Goal: a configuration with a fault changes nothing, whatever the fault, and the log says what
/// it is and where.
/// Method: a table of broken files, each applied to a live proxy; the service, its connections and
/// its canaries go on.
#[test]
fn a_bad_configuration_changes_nothing() {
    let backend = Backend::echo();
    let service = Service::new("svc", &[backend.address]);
    let good = Config::new([&service]);
    let mut proxy = Proxy::start([&service]);
    let live = proxy.connect(&service);
    let bad_service =
        |member: &str, value| Config::new([&service.clone().set(member, value)]).text();
    let text = good.text();
    let cases = [
        ("empty", String::new(), ""),
        ("not JSON", "services: []".to_owned(), ""),
        ("cut short", text[..text.len() / 2].to_owned(), ""),
        ("an unknown member", bad_service("prot", json!(1)), "prot"),
        ("a wrong type", bad_service("port", json!("http")), "port"),
        ("a port out of range", bad_service("port", json!(70_000)), "port"),
        ("an unknown value", bad_service("tls", json!("Sometimes")), "tls"),
        ("a bad duration", bad_service("timeouts", json!({ "idle": "soon" })), "idle"),
        ("two of one id", Config::new([&service, &service.clone().on_port(1)]).text(), "svc"),
        (
            "two on one port",
            Config::new([&service, &Service::new("b", &[backend.address]).on_port(service.port())])
                .text(),
            &service.port().to_string(),
        ),
    ];
    for (name, text, word) in &cases {
        proxy.write_text(text);
        let said = proxy.reload_file();
        assert!(said.contains(word), "{name}: the log should name {word:?}:\n{said}");
        say(&live, b"alive");
        let new = proxy.connect(&service);
        say(&new, b"new");
        end(&mut proxy, new, &service);
    }
    std::fs::remove_file(proxy.file()).unwrap();
    proxy.reload_file();
    say(&live, b"alive");
    proxy.reload(&good);
    end(&mut proxy, live, &service);
    proxy.finish();
}

/// Goal: a listener that cannot be bound refuses the whole reload and names the port.
/// Method: the port of a new service is taken; another change in the same file does not come
/// about; once the port is free the same file is accepted.
#[test]
fn an_unbindable_port_changes_nothing() {
    let backend = Backend::echo();
    let one = Service::new("one", &[backend.address]);
    let (taken, other) =
        (Service::new("taken", &[backend.address]), Service::new("other", &[backend.address]));
    let mut proxy = Proxy::start([&one]);
    let squatter = listen(taken.address, 1).unwrap();
    let before = proxy.process().descriptors().sockets;
    let said = proxy.reload(&Config::new([&one, &other, &taken]));
    assert!(said.contains(&taken.port().to_string()), "the log names the port:\n{said}");
    wait_until("what was bound for nothing to be closed", SOON, || {
        proxy.process().descriptors().sockets <= before
    });
    assert!(refuses(&other), "all or nothing");
    let client = proxy.connect(&one);
    say(&client, b"still served");
    end(&mut proxy, client, &one);
    drop(squatter);
    wait_unbound(&taken);
    proxy.reload_file();
    for service in [&taken, &other] {
        wait_until("the new listener", SOON, || !refuses_quietly(service, &mut proxy));
    }
    proxy.rebase();
    proxy.finish();
}

/// Load on a service: short connections from several threads until told to stop. Every one that
/// connects must be served; a refused connect is counted apart.
struct Load {
    served: Vec<Outcome>,
    refused: usize,
    failures: Vec<String>,
}

fn load(service: &Service, threads: usize, stop: &Stop) -> Load {
    counted_load(service, threads, stop, &AtomicUsize::new(0))
}

/// Counts in `served` while it goes on.
fn counted_load(service: &Service, threads: usize, stop: &Stop, served: &AtomicUsize) -> Load {
    let refused = AtomicUsize::new(0);
    let results: Vec<Result<Outcome, String>> = thread::scope(|scope| {
        let workers: Vec<_> = (0..threads)
            .map(|_| {
                scope.spawn(|| {
                    let mut results = Vec::new();
                    while !stop.is_set() {
                        match one_of_load(service) {
                            Some(result) => {
                                results.push(result);
                                served.fetch_add(1, Ordering::Relaxed);
                            }
                            None => {
                                refused.fetch_add(1, Ordering::Relaxed);
                                let_pass(Duration::from_millis(1));
                            }
                        }
                    }
                    results
                })
            })
            .collect();
        workers.into_iter().flat_map(|worker| worker.join().unwrap()).collect()
    });
    let mut load = Load { served: Vec::new(), refused: refused.into_inner(), failures: Vec::new() };
    for result in results {
        match result {
            Ok(outcome) => load.served.push(outcome),
            Err(failure) => load.failures.push(failure),
        }
    }
    load
}

/// `None`: the kernel refused the connect, nobody listened.
fn one_of_load(service: &Service) -> Option<Result<Outcome, String>> {
    let client = match Peer::try_connect(service.address) {
        Ok(client) => client,
        Err(error) if error.kind() == std::io::ErrorKind::ConnectionRefused => return None,
        Err(error) => return Some(Err(format!("connect: {error}"))),
    };
    let port = client.port();
    let exchange = || -> std::io::Result<usize> {
        client.try_send(b"0123456789")?;
        let mut have = 0;
        while have < 10 {
            match client.try_recv()?.len() {
                0 => break,
                more => have += more,
            }
        }
        Ok(have)
    };
    Some(match exchange() {
        Ok(10) => {
            client.fin();
            match client.try_recv() {
                Ok(rest) if rest.is_empty() => Ok(client.close()),
                other => Err(format!("port {port}: the end was {other:?}")),
            }
        }
        Ok(count) => Err(format!("port {port}: ended after {count} of 10 bytes")),
        Err(error) if is_reset(&error) => Err(format!("port {port}: reset: {error}")),
        Err(error) => Err(format!("port {port}: {error}")),
    })
}

/// Goal: a storm of reloads loses nothing and grows nothing.
/// Method: 100 SIGHUPs a second for ten seconds while six threads connect and a long connection
/// lives; two configurations take turns in the file. Not one connection fails.
#[test]
fn storm() {
    let _alone = heavy();
    let (one, two) = (Backend::echo(), Backend::echo());
    let service = Service::new("svc", &[one.address]);
    let changed = Service::new("svc", &[one.address, two.address]).on_port(service.port());
    let configs = [Config::new([&service]), Config::new([&changed])];
    let mut proxy = Proxy::start([&service]);
    let long = proxy.connect(&service);
    say(&long, b"before");
    let stop = Stop::default();
    let result = thread::scope(|scope| {
        let at_end = stop.at_end();
        let running = scope.spawn(|| load(&service, 6, &stop));
        for round in 0..1000 {
            proxy.write_config(&configs[round % 2]);
            proxy.signal(libc::SIGHUP);
            let_pass(Duration::from_millis(10));
            if round % 100 == 0 {
                say(&long, b"during");
            }
        }
        drop(at_end);
        running.join().unwrap()
    });
    assert_eq!(result.failures, Vec::<String>::new(), "of {} connections", result.served.len());
    assert_eq!(result.refused, 0, "the listener was always there");
    assert!(result.served.len() > 500, "{} connections only", result.served.len());
    say(&long, b"after");
    end(&mut proxy, long, &service);
    for outcome in result.served {
        proxy.ended(outcome, &service, CLOSED);
    }
    proxy.finish();
}

/// Goal: a listener that comes and goes disturbs no other, and every connection that the kernel
/// accepted on it is served.
/// Method: one service is removed and added again 12 times while threads connect to it and to
/// another one; every other time it is only added when its port refuses, the other times at once.
/// On the other service nothing fails; on the toggled one a connect may be refused, but none that
/// succeeded may be lost.
#[test]
fn toggle_a_listener_under_load() {
    let _alone = heavy();
    let backend = Backend::echo();
    let (fixed, toggled) =
        (Service::new("fixed", &[backend.address]), Service::new("toggled", &[backend.address]));
    let (with, without) = (Config::new([&fixed, &toggled]), Config::new([&fixed]));
    let mut proxy = Proxy::start([&fixed, &toggled]);
    let stop = Stop::default();
    let served = AtomicUsize::new(0);
    let (on_fixed, on_toggled) = thread::scope(|scope| {
        let at_end = stop.at_end();
        let on_fixed = scope.spawn(|| load(&fixed, 2, &stop));
        let on_toggled = scope.spawn(|| counted_load(&toggled, 6, &stop, &served));
        for round in 0..12 {
            proxy.reload(&without);
            if round % 2 == 0 {
                wait_unbound(&toggled);
            }
            proxy.reload(&with);
            let before = served.load(Ordering::Relaxed);
            wait_until("connections on the new listener", SOON, || {
                served.load(Ordering::Relaxed) > before + 20
            });
        }
        drop(at_end);
        (on_fixed.join().unwrap(), on_toggled.join().unwrap())
    });
    println!(
        "{} on the fixed one; {} on the toggled one, {} refused by the kernel",
        on_fixed.served.len(),
        on_toggled.served.len(),
        on_toggled.refused
    );
    assert_eq!(on_fixed.failures, Vec::<String>::new());
    assert_eq!(on_fixed.refused, 0);
    let lost = on_toggled.failures.len();
    let some: Vec<_> = on_toggled.failures.iter().take(5).collect();
    assert_eq!(lost, 0, "of {}; some: {some:?}", on_toggled.served.len() + lost);
    for outcome in on_fixed.served {
        proxy.ended(outcome, &fixed, CLOSED);
    }
    for outcome in on_toggled.served {
        proxy.ended(outcome, &toggled, CLOSED);
    }
    proxy.finish();
}

/// Goal: connections that wait in the queue of a listener when it is removed are served.
/// Method: the proxy is stopped (SIGSTOP); 40 clients connect and speak; the configuration without
/// the listener and a SIGHUP wait for it; it goes on (SIGCONT); all 40 are echoed. Five times.
#[test]
fn queued_connections_of_a_removed_listener() {
    let backend = Backend::echo();
    let (fixed, removed) =
        (Service::new("fixed", &[backend.address]), Service::new("removed", &[backend.address]));
    let (with, without) = (Config::new([&fixed, &removed]), Config::new([&fixed]));
    let mut proxy = Proxy::start([&fixed, &removed]);
    let mut lost = 0;
    for _ in 0..5 {
        proxy.pause();
        let clients: Vec<Peer> = (0..40)
            .map(|_| {
                let client = proxy.connect(&removed);
                client.send(b"queued");
                client
            })
            .collect();
        proxy.write_config(&without);
        proxy.signal(libc::SIGHUP);
        proxy.resume();
        for client in clients {
            client.fin();
            let (bytes, _) = client.recv_to_end();
            if bytes == b"queued" {
                proxy.ended(client, &removed, CLOSED);
            } else {
                lost += 1;
            }
        }
        wait_until("the listener to go", SOON, || refuses_quietly(&removed, &mut proxy));
        proxy.reload(&with);
        wait_until("the listener to come back", SOON, || !refuses_quietly(&removed, &mut proxy));
    }
    assert_eq!(lost, 0, "of 200 connections that the kernel had accepted");
    proxy.finish();
}

/// Goal: the same for a listener on which no core has accepted anything before.
/// Method: a service is added; before its first connection the proxy is stopped, clients connect
/// and speak, and the service is removed again; each is served all the same. Twenty times.
#[test]
fn queued_connections_of_a_listener_never_used() {
    let backend = Backend::echo();
    let fixed = Service::new("fixed", &[backend.address]);
    let mut proxy = Proxy::start([&fixed]);
    let mut lost = 0;
    for round in 0..20 {
        let brief = Service::new(&format!("brief-{round}"), &[backend.address]);
        proxy.reload(&Config::new([&fixed, &brief]));
        proxy.pause();
        let clients: Vec<Peer> = (0..8)
            .map(|_| {
                let client = proxy.connect(&brief);
                client.send(b"queued");
                client
            })
            .collect();
        proxy.write_config(&Config::new([&fixed]));
        proxy.signal(libc::SIGHUP);
        proxy.resume();
        for client in clients {
            client.fin();
            let (bytes, _) = client.recv_to_end();
            if bytes == b"queued" {
                proxy.ended(client, &brief, CLOSED);
            } else {
                lost += 1;
            }
        }
    }
    assert_eq!(lost, 0, "of 160 connections that the kernel had accepted");
    proxy.finish();
}

/// Goal: a service whose other members change keeps its listener: not one connect is refused.
/// Method: 50 reloads that change timeouts, limits and targets of a service under load.
#[test]
fn a_changed_service_keeps_its_listener() {
    let _alone = heavy();
    let backend = Backend::echo();
    let service = Service::new("svc", &[backend.address]);
    let variants = [
        Config::new([&service.clone().set("timeouts", json!({ "idle": "10m" }))]),
        Config::new([&service.clone().set("limits", json!({ "connections": 900 }))]),
        Config::new([&service.clone().set("name", json!("another name"))]),
        Config::new([&service]),
    ];
    let mut proxy = Proxy::start([&service]);
    let stop = Stop::default();
    let result = thread::scope(|scope| {
        let at_end = stop.at_end();
        let running = scope.spawn(|| load(&service, 4, &stop));
        for round in 0..50 {
            proxy.reload(&variants[round % variants.len()]);
        }
        drop(at_end);
        running.join().unwrap()
    });
    assert_eq!((result.refused, result.failures), (0, Vec::new()));
    for outcome in result.served {
        proxy.ended(outcome, &service, CLOSED);
    }
    proxy.finish();
}

/// Goal: a limit that a reload raises holds at once; connections that live already count.
/// Method: a limit of one with one live; raised to two; a second is served, a third is not.
#[test]
fn raise_a_limit() {
    let backend = Backend::echo();
    let limited = |count: u32| json!({ "connections": count });
    let service = Service::new("svc", &[backend.address]).set("limits", limited(1));
    let mut proxy = Proxy::start([&service]);
    let first = proxy.connect(&service);
    say(&first, b"one");
    let refused = proxy.connect(&service);
    refused.expect_end();
    proxy.ended(refused, &service, "us/*/*limit*");
    proxy.reload(&Config::new([&service.clone().set("limits", limited(2))]));
    let second = waited(SOON, || {
        let client = proxy.connect(&service);
        client.send(b"two");
        let (bytes, _) = (client.try_recv().unwrap_or_default(), ());
        if bytes == b"two" {
            return Some(client);
        }
        proxy.cut(client, &service, "us/*/*limit*");
        None
    })
    .expect("the raised limit");
    let refused = proxy.connect(&service);
    refused.expect_end();
    proxy.ended(refused, &service, "us/*/*limit*");
    say(&first, b"still here");
    end(&mut proxy, first, &service);
    end(&mut proxy, second, &service);
    proxy.finish();
}

/// Goal: hundreds of services come and go in one reload.
/// Method: 200 added at once, each reachable; all removed at once, none listening, none left over.
#[test]
fn many_services_at_once() {
    let backend = Backend::echo();
    let service = Service::new("svc", &[backend.address]);
    let many: Vec<Service> =
        (0..200).map(|index| Service::new(&format!("s{index}"), &[backend.address])).collect();
    let mut proxy = Proxy::start([&service]);
    proxy.reload(&Config::new(many.iter().chain([&service])));
    let last = many.last().unwrap();
    wait_until("the last of the listeners", SOON, || !refuses_quietly(last, &mut proxy));
    for one in &many {
        let client = Peer::connect(one.address);
        say(&client, one.id.as_bytes());
        end(&mut proxy, client, one);
    }
    proxy.reload(&Config::new([&service]));
    for one in &many {
        wait_unbound(one);
    }
    assert_eq!(loopback(service.port()), service.address);
    proxy.finish();
}
