//! Who may connect and how often: each refusal has its own reason, costs little, and touches nobody
//! else; what was counted is given back whatever happens.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::process::Command;
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::backend::{Backend, Manual};
use crate::support::certs::{Authority, Files};
use crate::support::config::{Config, Service};
use crate::support::heavy;
use crate::support::peer::{Peer, is_reset};
use crate::support::proxy::{Launch, Proxy, run_to_end};
use crate::support::tls::{Dial, Tls};
use crate::support::wait::{SOON, wait_for, wait_until};

mod bandwidth;

const CLOSED: &str = "*/relay/closed";
const DENIED: &str = "us/admit/denied";
const LIMIT: &str = "us/admit/limit";
const SOURCE_LIMIT: &str = "us/admit/source-limit";
const SOURCE_RATE: &str = "us/admit/source-rate";

/// An address of the loopback network.
fn loopback(n: u32) -> IpAddr {
    Ipv4Addr::from(0x7f00_0000 + n).into()
}

/// Connects from an address of this machine.
#[track_caller]
fn connect_from(source: IpAddr, to: SocketAddr) -> Peer {
    let bound =
        Peer::try_connect_with(to, |socket| socket.bind(&SocketAddr::new(source, 0).into()));
    bound.unwrap_or_else(|error| panic!("from {source} to {to}: {error}"))
}

/// True if the echo behind the proxy answers; false if the connection was ended without a byte.
fn is_served(client: &Peer) -> bool {
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

/// Ends a connection that is served.
fn close(proxy: &mut Proxy, client: Peer, service: &Service) {
    client.fin();
    client.expect_eof();
    proxy.ended(client, service, CLOSED);
}

/// Connects, is served or refused for this reason, and leaves; whether it was served.
fn try_once(proxy: &mut Proxy, source: IpAddr, service: &Service, reason: &str) -> bool {
    let client = connect_from(source, service.address);
    let served = is_served(&client);
    if served {
        close(proxy, client, service);
    } else {
        proxy.cut(client, service, reason);
    }
    served
}

/// Goal: `access` says who may connect, over IPv4, over IPv6 and over IPv4 that comes to an IPv6
/// listener.
/// Method: a table of lists, each a service on `::`, and clients from several addresses.
#[test]
fn lists() {
    let backend = Backend::echo();
    let files = Files::new();
    let allowed = files.put("allow.txt", "# office\n127.1.0.0/16\n\n::1 # here\n");
    let denied = files.put("deny.txt", "127.1.2.0/24\n");
    let sources = ["127.0.0.1", "127.1.0.1", "127.1.2.3", "::1"].map(|it| it.parse().unwrap());
    let table: [(Value, [bool; 4]); 10] = [
        (json!({ "allow": ["127.0.0.1"] }), [true, false, false, false]),
        (json!({ "allow": ["127.0.0.0/8"] }), [true, true, true, false]),
        (json!({ "allow": ["::ffff:127.1.0.0/112", "::1"] }), [false, true, true, true]),
        (json!({ "deny": ["127.1.0.0/16"] }), [true, false, false, true]),
        (
            json!({ "allow": ["127.1.0.0/16"], "deny": ["127.1.2.0/24"] }),
            [false, true, false, false],
        ),
        (json!({ "deny": ["::/0"] }), [true, true, true, false]),
        (json!({ "allow": ["0.0.0.0/0"], "deny": ["127.1.2.3"] }), [true, true, false, false]),
        (json!({ "default": "Deny" }), [false, false, false, false]),
        (json!({ "deny": ["::1"], "default": "Allow" }), [true, true, true, false]),
        (json!({ "allowFile": allowed, "denyFile": denied }), [false, true, false, true]),
    ];
    let services: Vec<Service> = (0..)
        .zip(&table)
        .map(|(n, (access, _))| {
            let service = Service::new(&format!("s{n}"), &[backend.address]);
            service.set("interface", json!("::")).set("access", access.clone())
        })
        .collect();
    let mut proxy = Launch::new(Config::new(&services)).start();
    for ((access, expected), service) in table.iter().zip(&services) {
        for (source, expected) in sources.into_iter().zip(expected) {
            let here: IpAddr = match source {
                IpAddr::V4(_) => loopback(1),
                IpAddr::V6(_) => "::1".parse().unwrap(),
            };
            let mut service = service.clone();
            service.address = SocketAddr::new(here, service.port());
            let served = try_once(&mut proxy, source, &service, DENIED);
            assert_eq!(served, *expected, "{source} with {access}");
        }
    }
    proxy.finish();
}

/// Goal: a file of networks is obeyed as it is now, and one that breaks changes nothing.
/// Method: deny, then not, then a broken and an empty file, all without a signal.
#[test]
fn a_list_in_a_file_is_watched() {
    let backend = Backend::echo();
    let files = Files::new();
    let path = files.put("deny.txt", "127.0.0.2\n");
    let service =
        Service::new("svc", &[backend.address]).set("access", json!({ "denyFile": path }));
    let mut proxy = Proxy::start([&service]);
    let two = loopback(2);
    assert!(!try_once(&mut proxy, two, &service, DENIED));
    assert!(try_once(&mut proxy, loopback(1), &service, DENIED));
    files.put("deny.txt", "# nobody\n");
    wait_until("the new list", SOON, || try_once(&mut proxy, two, &service, DENIED));
    for broken in ["127.0.0.300\n", ""] {
        let before = proxy.log().len();
        files.put("deny.txt", broken);
        wait_until("a word of it", SOON, || proxy.log()[before..].contains("stays in use"));
        assert!(try_once(&mut proxy, two, &service, DENIED));
    }
    files.put("deny.txt", "127.0.0.0/30\n");
    wait_until("the newest list", SOON, || !try_once(&mut proxy, two, &service, DENIED));
    proxy.finish();
}

/// Goal: one source has so many connections at a time and not one more, while others and those that
/// are exempt do not notice; a connection counts until it ends, however it ends.
/// Method: two at a time. Ends by either side, by a reset of either, by a limit on time, by a target
/// that refuses; after each kind two live again, and a third does not.
#[test]
fn connections_of_a_source() {
    let (echo, mut gone) = (Backend::echo(), Backend::echo());
    let limits = json!({ "connectionsPerSource": 2, "exempt": ["127.0.0.9"] });
    let service = Service::new("svc", &[echo.address]).set("limits", limits.clone());
    let upstream = Manual::start();
    let by_hand = Service::new("by-hand", &[upstream.address]).set("limits", limits.clone());
    let timed = Service::new("timed", &[echo.address])
        .set("limits", limits.clone())
        .set("timeouts", json!({ "idle": "200ms" }));
    let refusing = Service::new("refusing", &[gone.address]).set("limits", limits);
    gone.stop_listening();
    let mut proxy = Proxy::start([&service, &by_hand, &timed, &refusing]);

    // The end of a connection may be counted a moment after its client saw it.
    let two_and_no_more = |proxy: &mut Proxy, service: &Service| {
        let mut live = Vec::new();
        while live.len() < 2 {
            live.push(wait_for("room for two", SOON, || {
                let client = connect_from(loopback(1), service.address);
                if is_served(&client) {
                    return Some(client);
                }
                proxy.cut(client, service, SOURCE_LIMIT);
                None
            }));
        }
        for _ in 0..3 {
            assert!(!try_once(proxy, loopback(1), service, SOURCE_LIMIT), "a third connection");
        }
        assert!(try_once(proxy, loopback(2), service, "none"), "another source");
        let exempt: Vec<Peer> =
            (0..4).map(|_| connect_from(loopback(9), service.address)).collect();
        for client in exempt {
            assert!(is_served(&client), "an exempt source");
            close(proxy, client, service);
        }
        live
    };
    for round in 0..3 {
        for client in two_and_no_more(&mut proxy, &service) {
            if round == 1 {
                proxy.cut(client.rst(), &service, "client/relay/reset");
            } else {
                close(&mut proxy, client, &service);
            }
        }
    }
    for client in two_and_no_more(&mut proxy, &timed) {
        client.expect_end();
        proxy.cut(client, &timed, "us/relay/idle");
    }
    for client in two_and_no_more(&mut proxy, &timed) {
        close(&mut proxy, client, &timed);
    }
    for by_reset in [true, false, true] {
        let clients = [(); 2].map(|()| {
            let client = wait_for("room for two", SOON, || {
                let client = connect_from(loopback(1), by_hand.address);
                client.send(b"x");
                let up = wait_for("an answer", SOON, || {
                    upstream.try_accept().map(Some).or_else(|| client.has_ended().then_some(None))
                });
                if up.is_none() {
                    proxy.cut(client, &by_hand, SOURCE_LIMIT);
                    return None;
                }
                up.map(|up| (client, up))
            });
            client.1.expect(b"x");
            client
        });
        for (client, up) in clients {
            if by_reset {
                up.rst();
                client.expect_reset();
                proxy.cut(client, &by_hand, "upstream/relay/reset");
            } else {
                up.fin();
                client.expect_eof();
                client.fin();
                up.expect_eof();
                proxy.ended(client, &by_hand, CLOSED);
            }
        }
    }
    for _ in 0..10 {
        let client = connect_from(loopback(1), refusing.address);
        client.expect_end();
        let reasons = format!("upstream/connect/refused|{SOURCE_LIMIT}");
        proxy.cut(client, &refusing, &reasons);
    }
    wait_until("the refused to be given back", SOON, || {
        let client = connect_from(loopback(1), refusing.address);
        client.expect_end();
        let reason = proxy.event_of(client.port()).reason().to_owned();
        proxy.cut(client, &refusing, &reason);
        reason == "upstream/connect/refused"
    });
    proxy.finish();
}

/// Goal: the connections of a core that dies do not count for ever.
/// Method: five of one source live when an accept loop panics; on whichever core they were, five can
/// live again afterwards, and a sixth cannot.
#[test]
fn a_core_that_dies_gives_back() {
    let backend = Backend::echo();
    let limits = json!({ "connectionsPerSource": 5 });
    let service = Service::new("svc", &[backend.address]).set("limits", limits);
    let mut proxy =
        Launch::new(Config::new([&service])).env("THALWEG_FAULT", "core-panic:20").start();
    proxy.expect_panics();
    let mut live: Vec<Peer> = (0..5).map(|_| connect_from(loopback(7), service.address)).collect();
    live.iter().for_each(|client| assert!(is_served(client)));
    // The twelve canaries, these five, and three more.
    for _ in 0..3 {
        let client = connect_from(loopback(8), service.address);
        client.expect_end_or_close();
        proxy.ended_between(0, 1, "*");
    }
    wait_until("a successor of the core", SOON, || proxy.log().contains("was replaced"));
    wait_until("room for five and no more", SOON, || {
        live.retain(|client| !client.has_ended());
        while live.len() < 6 {
            let Ok(client) = Peer::try_connect_with(service.address, |socket| {
                socket.bind(&SocketAddr::new(loopback(7), 0).into())
            }) else {
                return false;
            };
            if !is_served(&client) {
                break;
            }
            live.push(client);
        }
        assert!(live.len() <= 5, "a sixth connection");
        live.len() == 5
    });
    for client in live {
        client.fin();
        client.expect_eof();
    }
    proxy.ended_between(0, 500, "*");
    proxy.allow_descriptors(4);
    proxy.finish();
}

/// Goal: a source may connect so often, and so many times at once; others are not touched, those that
/// are exempt do not count, and a reload with another rate holds at once.
/// Method: two in an hour, three at once; later ten thousand a second.
#[test]
fn rate_of_a_source() {
    let backend = Backend::echo();
    let rate = |rate: Value| {
        Service::new("svc", &[backend.address]).set("limits", json!({ "connectionRate": rate }))
    };
    let service = rate(json!({ "count": 2, "per": "1h", "burst": 3, "exempt": ["127.0.1.0/24"] }));
    let port = service.port();
    let mut proxy = Proxy::start([&service]);
    for source in [loopback(1), loopback(2), loopback(0x0200)] {
        let served: Vec<bool> =
            (0..6).map(|_| try_once(&mut proxy, source, &service, SOURCE_RATE)).collect();
        assert_eq!(served, [true, true, true, false, false, false], "{source}");
    }
    for _ in 0..10 {
        assert!(try_once(&mut proxy, loopback(0x0105), &service, SOURCE_RATE));
    }
    // What a source has used is remembered over a reload that changes something else.
    let other = service.clone().set("name", json!("renamed"));
    proxy.reload(&Config::new([&other]));
    assert!(!try_once(&mut proxy, loopback(1), &service, SOURCE_RATE));
    let quick = rate(json!({ "count": 10_000 })).on_port(port);
    proxy.reload(&Config::new([&quick]));
    wait_until("the new rate", SOON, || try_once(&mut proxy, loopback(1), &service, SOURCE_RATE));
    proxy.finish();
}

/// Goal: a count outlives a reload: connections of before count against the limit of after.
/// Method: two live, a reload that changes something else and then the limit.
#[test]
fn counts_outlive_a_reload() {
    let backend = Backend::echo();
    let service =
        Service::new("svc", &[backend.address]).set("limits", json!({ "connectionsPerSource": 2 }));
    let mut proxy = Proxy::start([&service]);
    let mut live: Vec<Peer> = (0..2).map(|_| connect_from(loopback(1), service.address)).collect();
    live.iter().for_each(|client| assert!(is_served(client)));
    let three = service.clone().set("limits", json!({ "connectionsPerSource": 3 }));
    proxy.reload(&Config::new([&three]));
    live.push(wait_for("the new limit", SOON, || {
        let client = connect_from(loopback(1), service.address);
        if is_served(&client) {
            return Some(client);
        }
        proxy.cut(client, &service, SOURCE_LIMIT);
        None
    }));
    assert!(!try_once(&mut proxy, loopback(1), &service, SOURCE_LIMIT));
    live.into_iter().for_each(|client| close(&mut proxy, client, &service));
    wait_until("room again", SOON, || try_once(&mut proxy, loopback(1), &service, SOURCE_LIMIT));
    proxy.finish();
}

/// Goal: a limit on the service that a reload adds counts those that run already; and who is refused
/// by it has not come, as far as its rate goes.
/// Method: two live; a reload allows two, and a source three in an hour. Many are refused; then there
/// is room, and three are served.
#[test]
fn a_limit_on_the_service() {
    let backend = Backend::echo();
    let service = Service::new("svc", &[backend.address]);
    let mut proxy = Proxy::start([&service]);
    let live: Vec<Peer> = (0..2).map(|_| proxy.connect(&service)).collect();
    live.iter().for_each(|client| assert!(is_served(client)));
    let limits = json!({ "connections": 2, "connectionRate": { "count": 3, "per": "1h" } });
    proxy.reload(&Config::new([&service.clone().set("limits", limits)]));
    for _ in 0..10 {
        assert!(!try_once(&mut proxy, loopback(1), &service, LIMIT), "a third connection");
    }
    live.into_iter().for_each(|client| close(&mut proxy, client, &service));
    for _ in 0..3 {
        assert!(try_once(&mut proxy, loopback(1), &service, "none"), "it used up no rate");
    }
    assert!(!try_once(&mut proxy, loopback(1), &service, SOURCE_RATE));
    proxy.finish();
}

/// Goal: many sources are many: each has its own rate and its own count; and while thousands are
/// refused, others are served.
/// Method: 20,000 addresses, four threads; each connects twice and is served once. Canaries sing
/// meanwhile. Then as many connect to a service that denies them all.
#[test]
fn twenty_thousand_sources() {
    const SOURCES: u32 = 20_000;
    const THREADS: u32 = 4;
    let _alone = heavy();
    let backend = Backend::echo();
    let limits = json!({
        "connectionsPerSource": 1, "connectionRate": { "count": 1, "per": "1h" }
    });
    let service = Service::new("svc", &[backend.address]).set("limits", limits);
    let shut = Service::new("shut", &[backend.address])
        .set("access", json!({ "deny": ["127.1.0.0/16", "127.0.0.0/16"] }));
    let mut proxy = Proxy::start([&service, &shut]);
    let rush = |per_source: &(dyn Fn(IpAddr) -> (u32, u32) + Sync), proxy: &mut Proxy| {
        thread::scope(|scope| {
            let workers: Vec<_> = (0..THREADS)
                .map(|thread| {
                    scope.spawn(move || {
                        let mine = (0..SOURCES).skip(thread as usize).step_by(THREADS as usize);
                        mine.map(|n| per_source(loopback(0x0001_0000 + n)))
                            .fold((0, 0), |sum, it| (sum.0 + it.0, sum.1 + it.1))
                    })
                })
                .collect();
            while workers.iter().any(|worker| !worker.is_finished()) {
                proxy.canary();
            }
            let results = workers.into_iter().map(|worker| worker.join().unwrap());
            results.fold((0, 0), |sum, it| (sum.0 + it.0, sum.1 + it.1))
        })
    };
    let twice = |source: IpAddr| {
        let client = connect_from(source, service.address);
        let first = is_served(&client);
        let second = is_served(&connect_from(source, service.address));
        if first {
            client.fin();
            client.expect_eof();
        }
        (u32::from(first), u32::from(second))
    };
    let (served, again) = rush(&twice, &mut proxy);
    assert_eq!(again, 0, "a source was served twice");
    // Two sources may share a place of the table only when it is full.
    assert!(served >= SOURCES - SOURCES / 100, "{served} of {SOURCES} were served");
    proxy.ended_many(served as usize, CLOSED);
    proxy.ended_many((SOURCES * 2 - served) as usize, "us/admit/source-*");
    let denied = |source: IpAddr| (0, u32::from(is_served(&connect_from(source, shut.address))));
    assert_eq!(rush(&denied, &mut proxy), (0, 0));
    proxy.ended_many(SOURCES as usize, DENIED);
    proxy.finish();
}

/// Goal: a client of a TLS service is told by an alert, whether TLS ends here, passes through, or the
/// service was chosen by its name; one of PostgreSQL in its own words, one of HTTP by a status.
/// Method: openssl, a raw SSLRequest, and a request; each refused by an access list or a rate.
#[test]
fn the_refused_are_told_why() {
    let upstream = Manual::start();
    let authority = Authority::new("servers");
    let files = Files::new();
    let pair = files.pair("a", &authority.issue(&["a.test", "b.test"]));
    let nobody = json!({ "deny": ["127.0.0.0/8"] });
    let tls = |id: &str, mode: &str| {
        Service::new(id, &[upstream.address]).set("tls", json!(mode)).set("access", nobody.clone())
    };
    let by_name = |service: Service, name: &str| {
        let target = json!([{ "host": "127.0.0.1", "port": upstream.address.port() }]);
        service
            .set("sni", json!({ "enabled": true }))
            .set("rules", json!([{ "domain": name, "targets": target }]))
    };
    let (ended, through) = (tls("ended", "Enabled"), tls("through", "PassThrough"));
    let first = by_name(tls("first", "Enabled"), "a.test");
    let open = by_name(Service::new("open", &[]).set("tls", json!("Enabled")), "b.test")
        .on_port(first.port());
    let limited = Service::new("limited", &[upstream.address])
        .set("tls", json!("Enabled"))
        .set("limits", json!({ "connectionRate": { "count": 1, "per": "1h" } }));
    let web = by_name(Service::new("web", &[]).set("access", nobody.clone()), "a.test");
    let other = by_name(Service::new("other", &[]), "b.test").on_port(web.port());
    let services = [&ended, &through, &first, &open, &limited, &web, &other];
    let config = Config::new(services).set("certificates", json!([pair]));
    let mut proxy = Launch::new(config).start();

    let alert = |service: &Service| {
        let mut openssl = Command::new("openssl");
        openssl.args([
            "s_client",
            "-connect",
            &service.address.to_string(),
            "-servername",
            "a.test",
        ]);
        run_to_end(openssl).said()
    };
    for service in [&ended, &through, &first] {
        let said = alert(service);
        assert!(said.contains("alert access denied"), "{}: {said}", service.id);
    }
    proxy.ended_many(3, DENIED);
    // The name that may be reached on the same port is.
    let dial = Dial::trusting(&authority).config();
    let mut client = Tls::dial(proxy.connect(&open), &dial, "b.test");
    let up = upstream.accept();
    client.fin();
    up.expect_eof();
    drop(up);
    client.expect_close();
    proxy.ended(client, &open, CLOSED);

    let client = Tls::dial(proxy.connect(&limited), &dial, "a.test");
    drop(upstream.accept());
    let said = alert(&limited);
    assert!(said.contains("alert internal error"), "{said}");
    proxy.ended_many(1, SOURCE_RATE);
    let mut client = client;
    client.expect_close();
    client.fin();
    proxy.ended(client, &limited, CLOSED);

    let postgres = proxy.connect(&ended);
    postgres.send(&[0, 0, 0, 8, 4, 210, 22, 47]);
    let (answer, _) = postgres.recv_to_end();
    let answer = String::from_utf8_lossy(&answer).into_owned();
    assert!(answer.starts_with('E') && answer.contains("may not connect"), "{answer}");
    proxy.ended_many(1, DENIED);

    let request = proxy.connect(&web);
    request.send(b"GET / HTTP/1.1\r\nHost: a.test\r\n\r\n");
    let (answer, _) = request.recv_to_end();
    assert!(answer.starts_with(b"HTTP/1.1 403 "), "{}", String::from_utf8_lossy(&answer));
    proxy.ended_many(1, DENIED);
    assert!(upstream.try_accept().is_none(), "a refused client reached the target");
    proxy.finish();
}

/// Goal: one address cannot hold all the room for clients that say nothing.
/// Method: 2,600 silent connections from one address to a port that waits for a hello; some are
/// refused, each core keeps no more than its bound; another address is served.
#[test]
fn silent_clients_of_one_source() {
    const SILENT: usize = 2600;
    let _alone = heavy();
    let backend = Backend::echo();
    let authority = Authority::new("servers");
    let files = Files::new();
    let pair = files.pair("a", &authority.issue(&["a.test"]));
    let service = Service::new("svc", &[backend.address])
        .set("tls", json!("Enabled"))
        .set("timeouts", json!({ "hello": "10m" }));
    let config = Config::new([&service]).set("certificates", json!([pair]));
    let mut proxy = Launch::new(config.set("workers", json!({ "cores": 2 }))).start();
    let silent: Vec<Peer> =
        (0..SILENT).map(|_| connect_from(loopback(5), service.address)).collect();
    let refused = wait_for("some to be refused", SOON, || {
        let ended = silent.iter().filter(|client| client.has_ended()).count();
        (ended >= SILENT - 2 * 1024).then_some(ended)
    });
    assert!(refused < SILENT - 1024, "{refused} of {SILENT} were refused");
    let dial = Dial::trusting(&authority).config();
    let mut client = Tls::dial(connect_from(loopback(6), service.address), &dial, "a.test");
    client.send(b"here");
    client.expect(b"here");
    client.fin();
    client.expect_close();
    proxy.ended(client, &service, CLOSED);
    drop(silent);
    proxy.ended_many(refused, "us/hello/source-limit");
    proxy.ended_many(SILENT - refused, "client/hello/*");
    proxy.finish();
}

/// Goal: connections that began together do not end together, and none lives longer than it may.
/// Method: forty at once, with the whole lifetime as jitter, and some without any.
#[test]
fn lifetimes_are_spread() {
    let backend = Backend::echo();
    let lifetime = |jitter: &str| json!({ "lifetime": "2s", "lifetimeJitter": jitter });
    let spread = Service::new("spread", &[backend.address]).set("timeouts", lifetime("100%"));
    let exact = Service::new("exact", &[backend.address]).set("timeouts", lifetime("0s"));
    let mut proxy = Proxy::start([&spread, &exact]);
    let mut durations = |service: &Service| {
        let clients: Vec<Peer> = (0..40).map(|_| proxy.connect(service)).collect();
        let durations: Vec<u64> = clients
            .into_iter()
            .map(|client| {
                client.expect_reset();
                let duration = proxy.event_of(client.port()).number("duration");
                proxy.cut(client, service, "us/relay/lifetime");
                duration
            })
            .collect();
        durations
    };
    let together = durations(&exact);
    // A tick is 100 ms.
    assert!(together.iter().all(|duration| *duration >= 1800), "{together:?}");
    let apart = durations(&spread);
    let early = apart.iter().filter(|duration| **duration < 1500).count();
    let bands: std::collections::HashSet<u64> = apart.iter().map(|it| it / 400).collect();
    // Half of them within the first second, on a machine that keeps up; four bands are enough.
    assert!(early >= 1 || bands.len() >= 3, "{apart:?}");
    assert!(bands.len() >= 2, "{apart:?}");
    proxy.finish();
}

impl Peer {
    /// Speaks a word, and ends if it is answered; it may as well be reset.
    fn expect_end_or_close(self) {
        self.set_deadline(Duration::from_secs(10));
        if is_served(&self) {
            self.fin();
            self.expect_eof();
        }
    }
}
