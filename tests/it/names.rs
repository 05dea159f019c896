//! Names of targets: what name servers say, what they do not say, and several addresses of one name.

use std::net::{IpAddr, SocketAddr};

use serde_json::{Value, json};

use crate::support::backend::Backend;
use crate::support::config::{Config, Service};
use crate::support::dns::{Dns, Zone};
use crate::support::hole::BlackHole;
use crate::support::peer::Peer;
use crate::support::ports::free_port;
use crate::support::proxy::{Launch, Proxy};
use crate::support::wait::{SOON, wait_until};

const CLOSED: &str = "*/relay/closed";
const UNRESOLVED: &str = "us/connect/unresolved";

/// An upstream on an address that says which one it is, then echoes.
fn named(ip: &str, port: u16) -> Backend {
    let address = SocketAddr::new(ip.parse().expect("an address"), port);
    let name = format!("{ip}\n");
    Backend::serve_on(address, move |peer| {
        if peer.try_send(name.as_bytes()).is_ok() {
            crate::support::backend::echo(peer);
        }
    })
}

fn start(dns: &Dns, services: &[&Service]) -> Proxy {
    start_with(dns.resolver(), services)
}

fn start_with(resolver: Value, services: &[&Service]) -> Proxy {
    let config = Config::new(services.iter().copied()).set("resolver", resolver);
    Launch::new(config).start()
}

/// Where a connection ends up; empty if nowhere.
fn reached(peer: &Peer) -> String {
    let mut text = Vec::new();
    while !text.ends_with(b"\n") {
        match peer.try_recv() {
            Ok(bytes) if !bytes.is_empty() => text.extend(bytes),
            _ => return String::new(),
        }
    }
    String::from_utf8_lossy(&text).trim_end().to_owned()
}

/// Makes one connection, ends it in order and says where it ended up.
#[track_caller]
fn once(proxy: &mut Proxy, service: &Service) -> String {
    let peer = proxy.connect(service);
    let place = reached(&peer);
    if place.is_empty() {
        proxy.cut(peer, service, "us/connect/*|upstream/connect/*");
    } else {
        peer.fin();
        peer.expect_eof();
        proxy.ended(peer, service, CLOSED);
    }
    place
}

/// Connects until a connection ends up there.
#[track_caller]
fn once_at(proxy: &mut Proxy, service: &Service, place: &str) {
    wait_until(&format!("a connection to `{place}`"), SOON, || once(proxy, service) == place);
}

/// How often the log has a text.
fn said(proxy: &Proxy, text: &str) -> usize {
    proxy.log().matches(text).count()
}

/// Waits until a name has been asked for so many times more.
#[track_caller]
fn wait_asked(dns: &Dns, name: &str, more: usize) {
    let goal = dns.asked(name) + more;
    wait_until("questions to the name server", SOON, || dns.asked(name) >= goal);
}

/// Goal: an address that changes holds for new connections and cuts none.
/// Method: a record with TTL 0 moves to another address while a connection is open; the log has one
/// line for each of the two answers.
#[test]
fn a_change_is_for_new_connections_only() {
    let port = free_port();
    let (_one, _two) = (named("127.0.0.1", port), named("127.0.0.2", port));
    let dns = Dns::of("db.test", Zone::addresses(&["127.0.0.1"], 0));
    let service = Service::to_host("svc", "db.test", port);
    let mut proxy = start(&dns, &[&service]);
    let old = proxy.connect(&service);
    assert_eq!(reached(&old), "127.0.0.1");
    dns.set("db.test", Zone::addresses(&["127.0.0.2"], 0));
    once_at(&mut proxy, &service, "127.0.0.2");
    old.send(b"still here");
    old.expect(b"still here");
    old.fin();
    old.expect_eof();
    proxy.ended(old, &service, CLOSED);
    wait_asked(&dns, "db.test", 5);
    assert_eq!(said(&proxy, "resolved"), 1, "{}", proxy.log());
    proxy.finish();
}

/// Goal: a TTL is honoured, between its floor and its ceiling.
/// Method: three names, with TTLs of 0, 5 s and a day: the first is asked for again and again, the
/// others are not while that happens 10 times at 100 ms.
#[test]
fn a_ttl_is_honoured() {
    let dns = Dns::of("zero.test", Zone::addresses(&["127.0.0.1"], 0));
    dns.set("five.test", Zone::addresses(&["127.0.0.1"], 5));
    dns.set("day.test", Zone::addresses(&["127.0.0.1"], 86_400));
    let target = |host: &str| json!({ "host": host, "port": 1 });
    let targets = ["zero.test", "five.test", "day.test"].map(target);
    let service = Service::with_targets("svc", json!(targets));
    let mut resolver = dns.resolver();
    resolver["maxTtl"] = json!("1h");
    let proxy = start_with(resolver, &[&service]);
    // Once at the start, once by the task that keeps it.
    wait_until("the first questions", SOON, || dns.asked("day.test") >= 2);
    let before = dns.asked("day.test");
    wait_asked(&dns, "zero.test", 10);
    assert_eq!(dns.asked("day.test"), before);
    assert!(dns.asked("five.test") <= 4, "{}", dns.asked("five.test"));
    proxy.finish();
}

/// Goal: while name servers fail or are silent the last answer is used, for longer than the grace, and
/// the log says it once; so does it when they are back.
/// Method: an address; then SERVFAIL and silence in turn with a grace of nothing; then the address
/// again.
#[test]
fn failures_keep_the_last_answer() {
    let port = free_port();
    let _one = named("127.0.0.1", port);
    let dns = Dns::of("db.test", Zone::addresses(&["127.0.0.1"], 0));
    let service = Service::to_host("svc", "db.test", port);
    let mut resolver = dns.resolver();
    resolver["grace"] = json!("0s");
    let mut proxy = start_with(resolver, &[&service]);
    assert_eq!(once(&mut proxy, &service), "127.0.0.1");
    for zone in [Zone::servfail(), Zone::silence()] {
        dns.set("db.test", zone);
        wait_asked(&dns, "db.test", 4);
        assert_eq!(once(&mut proxy, &service), "127.0.0.1");
    }
    assert_eq!(said(&proxy, "cannot be resolved"), 1, "{}", proxy.log());
    dns.set("db.test", Zone::addresses(&["127.0.0.1"], 0));
    wait_until("the good news", SOON, || said(&proxy, "resolved again") == 1);
    assert_eq!(once(&mut proxy, &service), "127.0.0.1");
    proxy.finish();
}

/// Goal: a name that is gone is used for the grace and then given up; when it is back, so is the
/// service.
/// Method: NXDOMAIN, or an empty answer, with a grace of 1 s: connections end with `unresolved` after
/// a while, and the log says so once; then the name is back.
#[test]
fn a_name_that_is_gone_is_given_up_after_the_grace() {
    for nothing in [Zone::nxdomain(), Zone::empty()] {
        let port = free_port();
        let _one = named("127.0.0.1", port);
        let dns = Dns::of("db.test", Zone::addresses(&["127.0.0.1"], 0));
        let service = Service::to_host("svc", "db.test", port);
        let mut resolver = dns.resolver();
        resolver["grace"] = json!("1s");
        let mut proxy = start_with(resolver, &[&service]);
        assert_eq!(once(&mut proxy, &service), "127.0.0.1");
        dns.set("db.test", nothing);
        wait_until("the bad news", SOON, || said(&proxy, "for the grace") == 1);
        wait_until("the end of the grace", SOON, || said(&proxy, "is given up") == 1);
        let peer = proxy.connect(&service);
        peer.expect_end();
        proxy.cut(peer, &service, UNRESOLVED);
        wait_asked(&dns, "db.test", 2);
        assert_eq!(said(&proxy, "cannot be resolved"), 1, "{}", proxy.log());
        dns.set("db.test", Zone::addresses(&["127.0.0.1"], 0));
        once_at(&mut proxy, &service, "127.0.0.1");
        proxy.finish();
    }
}

/// Goal: a name that flaps between an answer and NXDOMAIN within the grace serves all the time.
/// Method: 5 turns, each long enough to be noticed, with a grace of 10 s.
#[test]
fn a_name_that_flaps_serves_on() {
    let port = free_port();
    let _one = named("127.0.0.1", port);
    let dns = Dns::of("db.test", Zone::addresses(&["127.0.0.1"], 0));
    let service = Service::to_host("svc", "db.test", port);
    let mut proxy = start(&dns, &[&service]);
    for _ in 0..5 {
        dns.set("db.test", Zone::nxdomain());
        wait_asked(&dns, "db.test", 2);
        assert_eq!(once(&mut proxy, &service), "127.0.0.1");
        dns.set("db.test", Zone::addresses(&["127.0.0.1"], 0));
        wait_asked(&dns, "db.test", 2);
        assert_eq!(once(&mut proxy, &service), "127.0.0.1");
    }
    proxy.finish();
}

/// Goal: a start while no name server answers works, and the service comes up when one does.
/// Method: silence, then an answer. Another service with an address lives all the time.
#[test]
fn a_start_without_name_servers() {
    let port = free_port();
    let (_one, other) = (named("127.0.0.1", port), Backend::echo());
    let dns = Dns::of("db.test", Zone::silence());
    let service = Service::to_host("svc", "db.test", port);
    let beside = Service::new("beside", &[other.address]);
    let mut proxy = start(&dns, &[&service, &beside]);
    let peer = proxy.connect(&service);
    peer.expect_end();
    proxy.cut(peer, &service, UNRESOLVED);
    let peer = proxy.connect(&beside);
    peer.send(b"hello");
    peer.expect(b"hello");
    peer.fin();
    peer.expect_eof();
    proxy.ended(peer, &beside, CLOSED);
    dns.set("db.test", Zone::addresses(&["127.0.0.1"], 0));
    once_at(&mut proxy, &service, "127.0.0.1");
    proxy.finish();
}

/// Goal: answers that are too long for UDP, chains of aliases, and upper case work.
/// Method: a truncated answer of one record; three aliases; a name written in capitals.
#[test]
fn truncation_aliases_and_case() {
    let port = free_port();
    let _one = named("127.0.0.1", port);
    let dns = Dns::of("long.test", Zone::addresses(&["127.0.0.1"], 0).truncated());
    let chain = Zone::empty()
        .alias("", "one.alias.test", 0)
        .alias("one.alias.test", "two.alias.test", 0)
        .alias("two.alias.test", "three.alias.test", 0)
        .with("three.alias.test", &["127.0.0.1"], 0);
    dns.set("chain.test", chain);
    let service = |id: &str, host: &str| Service::to_host(id, host, port);
    let services = [
        service("long", "long.test"),
        service("chain", "chain.test"),
        service("case", "LONG.Test"),
    ];
    let mut proxy = start(&dns, &services.iter().collect::<Vec<_>>());
    for service in &services {
        assert_eq!(once(&mut proxy, service), "127.0.0.1", "{}", proxy.log());
    }
    assert!(dns.asked_over_tcp() > 0);
    proxy.finish();
}

/// Goal: an answer of a thousand records is cut, always in the same way.
/// Method: 1,000 addresses in two orders by turns; new connections work, and the log says once that
/// the name was resolved.
#[test]
fn a_thousand_records_in_any_order() {
    let port = free_port();
    let _one = named("127.0.0.1", port);
    // All but the first are 127.x.y.z, where nobody listens, and more than are kept.
    let many: Vec<String> = std::iter::once("127.0.0.1".to_owned())
        .chain((0..999).map(|n| format!("127.9.{}.{}", n / 250, 1 + n % 250)))
        .collect();
    let mut many: Vec<&str> = many.iter().map(String::as_str).collect();
    let dns = Dns::of("db.test", Zone::addresses(&many, 0));
    let service = Service::to_host("svc", "db.test", port).set("retries", json!(0));
    let mut proxy = start(&dns, &[&service]);
    // The first of 64 is good, 4 are tried at a time.
    let mut places: Vec<String> = (0..64).map(|_| once(&mut proxy, &service)).collect();
    places.retain(|place| !place.is_empty());
    assert_eq!(places, ["127.0.0.1"; 4]);
    many.reverse();
    dns.set("db.test", Zone::addresses(&many, 0));
    wait_asked(&dns, "db.test", 3);
    assert!(said(&proxy, "resolved") == 0, "{}", proxy.log());
    proxy.finish();
}

/// Goal: an answer in another order is the same answer, and one name with many addresses spreads its
/// connections over them.
/// Method: three addresses, turned at each answer; 30 connections are 10 for each.
#[test]
fn connections_spread_over_the_addresses_of_a_name() {
    let port = free_port();
    let ips = ["127.0.0.1", "127.0.0.2", "127.0.0.3"];
    let backends: Vec<Backend> = ips.iter().map(|ip| named(ip, port)).collect();
    let dns = Dns::of("db.test", Zone::addresses(&ips, 0));
    let service = Service::to_host("svc", "db.test", port);
    let mut proxy = start(&dns, &[&service]);
    let mut turned = ips;
    for _ in 0..10 {
        for _ in 0..3 {
            assert!(ips.contains(&once(&mut proxy, &service).as_str()));
        }
        turned.rotate_left(1);
        dns.set("db.test", Zone::addresses(&turned, 0));
    }
    wait_asked(&dns, "db.test", 3);
    let accepted: Vec<usize> = backends.iter().map(Backend::accepted).collect();
    assert_eq!(accepted, [10; 3]);
    assert_eq!(said(&proxy, "resolved"), 0, "{}", proxy.log());
    proxy.finish();
}

/// Goal: a name whose IPv6 address refuses, or never answers, works by its IPv4 address; whoever finds
/// out pays a moment, and the next ones do not.
/// Method: `::1` with nobody, or with a full queue, and 127.0.0.1 with an upstream; connect may take
/// 20 s, so that a connection that waited for IPv6 would fail the test. Descriptors come back.
#[test]
fn one_family_is_down() {
    for hole in [false, true] {
        let port = free_port();
        let _one = named("127.0.0.1", port);
        let _hole = hole.then(|| BlackHole::dig_at(SocketAddr::new("::1".parse().unwrap(), port)));
        let dns = Dns::of("db.test", Zone::addresses(&["127.0.0.1", "::1"], 0));
        let service = Service::to_host("svc", "db.test", port)
            .set("timeouts", json!({ "connect": "60s" }))
            .set("retries", json!(0));
        let mut proxy = start(&dns, &[&service]);
        for _ in 0..20 {
            let peer = proxy.connect(&service);
            assert_eq!(reached(&peer), "127.0.0.1");
            let port = peer.port();
            peer.fin();
            peer.expect_eof();
            proxy.ended(peer, &service, CLOSED);
            assert_eq!(proxy.event_of(port).number("retries"), 0);
        }
        proxy.check_descriptors();
        proxy.finish();
    }
}

/// Goal: IPv6 goes first where both answer, and both are asked for.
/// Method: upstreams on `::1` and 127.0.0.1.
#[test]
fn ipv6_goes_first() {
    let port = free_port();
    let (_v4, _v6) = (named("127.0.0.1", port), named("::1", port));
    let dns = Dns::of("db.test", Zone::addresses(&["127.0.0.1", "::1"], 0));
    let service = Service::to_host("svc", "db.test", port);
    let mut proxy = start(&dns, &[&service]);
    for _ in 0..5 {
        assert_eq!(once(&mut proxy, &service), "::1");
    }
    proxy.finish();
}

/// Goal: a family that the name server does not answer for keeps its last addresses; the other one
/// follows.
/// Method: both families; then silence for AAAA and another address for A: IPv6 is still reached.
#[test]
fn a_family_without_an_answer_keeps_its_addresses() {
    let port = free_port();
    let (_v4, _v6) = (named("127.0.0.2", port), named("::1", port));
    let dns = Dns::of("db.test", Zone::addresses(&["127.0.0.1", "::1"], 0));
    let service = Service::to_host("svc", "db.test", port);
    let mut proxy = start(&dns, &[&service]);
    assert_eq!(once(&mut proxy, &service), "::1");
    dns.set("db.test", Zone::addresses(&["127.0.0.2"], 0).silent_for_v6());
    wait_until("the other address", SOON, || proxy.log().contains("127.0.0.2 ::1"));
    assert_eq!(once(&mut proxy, &service), "::1");
    proxy.finish();
}

/// Goal: when no address of a name can be reached the event says why, and what this machine lacks does
/// not hide what a target said.
/// Method: an IPv6 address without a route beside one of this machine where nobody listens; then four
/// black holes, which end at the deadline for each and leave no descriptor.
#[test]
fn all_addresses_fail() {
    let port = free_port();
    let dns = Dns::of("db.test", Zone::addresses(&["127.0.0.1", "2001:db8::1"], 0));
    let holes: Vec<BlackHole> = (1..=4)
        .map(|n| BlackHole::dig_at(SocketAddr::new(IpAddr::from([127, 0, 7, n]), port)))
        .collect();
    let ips: Vec<String> = holes.iter().map(|hole| hole.address.ip().to_string()).collect();
    dns.set("hole.test", Zone::addresses(&ips.iter().map(String::as_str).collect::<Vec<_>>(), 0));
    let none = json!(0);
    let refused = Service::to_host("refused", "db.test", port).set("retries", none.clone());
    let timeout = Service::to_host("timeout", "hole.test", port)
        .set("retries", none)
        .set("timeouts", json!({ "connect": "300ms" }));
    let mut proxy = start(&dns, &[&refused, &timeout]);
    for _ in 0..5 {
        for (service, reason) in
            [(&refused, "upstream/connect/refused"), (&timeout, "upstream/connect/timeout")]
        {
            let peer = proxy.connect(service);
            peer.expect_end();
            proxy.ended(peer, service, reason);
        }
    }
    proxy.finish();
}

/// Goal: a client that leaves while addresses race leaves nothing behind.
/// Method: 20 clients of four black holes that reset; the descriptors come back.
#[test]
fn a_client_leaves_during_a_race() {
    let port = free_port();
    let holes: Vec<BlackHole> = (1..=4)
        .map(|n| BlackHole::dig_at(SocketAddr::new(IpAddr::from([127, 0, 8, n]), port)))
        .collect();
    let ips: Vec<String> = holes.iter().map(|hole| hole.address.ip().to_string()).collect();
    let ips: Vec<&str> = ips.iter().map(String::as_str).collect();
    let dns = Dns::of("hole.test", Zone::addresses(&ips, 0));
    let service = Service::to_host("svc", "hole.test", port)
        .set("retries", json!(0))
        .set("timeouts", json!({ "connect": "1s" }));
    let mut proxy = start(&dns, &[&service]);
    let peers: Vec<Peer> = (0..20).map(|_| proxy.connect(&service)).collect();
    for peer in peers {
        let outcome = peer.rst();
        proxy.cut(outcome, &service, "client/connect/*|upstream/connect/*");
    }
    proxy.finish();
}

/// Goal: a name that comes to mean the proxy itself is refused, address by address.
/// Method: a name with the listener's own address, at its port; then with a good one beside it.
#[test]
fn a_name_that_leads_back_is_refused() {
    let port = free_port();
    let _one = named("127.0.0.2", port);
    let dns = Dns::of("db.test", Zone::addresses(&["127.0.0.1"], 0));
    let service = Service::to_host("svc", "db.test", port).on_port(port);
    let mut proxy = start(&dns, &[&service]);
    let peer = proxy.connect(&service);
    peer.expect_end();
    proxy.cut(peer, &service, "us/connect/loop");
    dns.set("db.test", Zone::addresses(&["127.0.0.1", "127.0.0.2"], 0));
    once_at(&mut proxy, &service, "127.0.0.2");
    for _ in 0..6 {
        assert_eq!(once(&mut proxy, &service), "127.0.0.2");
    }
    proxy.finish();
}

/// Goal: other name servers are followed by a reload, without a restart and without cutting anybody.
/// Method: two name servers that say different things of one name.
#[test]
fn a_reload_changes_name_servers() {
    let port = free_port();
    let (_one, _two) = (named("127.0.0.1", port), named("127.0.0.2", port));
    let first = Dns::of("db.test", Zone::addresses(&["127.0.0.1"], 3600));
    let second = Dns::of("db.test", Zone::addresses(&["127.0.0.2"], 3600));
    let service = Service::to_host("svc", "db.test", port);
    let mut proxy = start(&first, &[&service]);
    let old = proxy.connect(&service);
    assert_eq!(reached(&old), "127.0.0.1");
    proxy.reload(&Config::new([&service]).set("resolver", second.resolver()));
    once_at(&mut proxy, &service, "127.0.0.2");
    old.send(b"still here");
    old.expect(b"still here");
    old.fin();
    old.expect_eof();
    proxy.ended(old, &service, CLOSED);
    proxy.finish();
}

/// Goal: SRV records are targets: those of the lowest priority by their weights, the others when these
/// are down; a change of the records is followed.
/// Method: two of priority 10 with weights 3 and 1, one of priority 20, by weighted round robin; then
/// the two go away, then their records.
#[test]
fn srv_records() {
    let mut backends: Vec<Backend> =
        ["127.0.0.1", "127.0.0.2", "127.0.0.3"].map(|ip| named(ip, free_port())).into();
    let ports: Vec<u16> = backends.iter().map(|backend| backend.address.port()).collect();
    let dns = Dns::start();
    for n in 1..=3 {
        dns.set(&format!("db-{n}.test"), Zone::addresses(&[&format!("127.0.0.{n}")], 0));
    }
    let records = [
        (10, 3, ports[0], "db-1.test"),
        (10, 1, ports[1], "db-2.test"),
        (20, 9, ports[2], "db-3.test"),
    ];
    dns.set("_pg._tcp.test", Zone::services(&records, 0));
    let service = Service::with_targets("svc", json!([{ "srv": "_pg._tcp.test" }]))
        .set("loadBalancing", json!("WeightedRoundRobin"))
        .set("retries", json!(3));
    let mut proxy = start(&dns, &[&service]);
    let places: Vec<String> = (0..40).map(|_| once(&mut proxy, &service)).collect();
    let count = |place: &str| places.iter().filter(|it| *it == place).count();
    assert_eq!([count("127.0.0.1"), count("127.0.0.2"), count("127.0.0.3")], [30, 10, 0]);

    backends.remove(1);
    backends.remove(0);
    assert_eq!(once(&mut proxy, &service), "127.0.0.3", "the backups");
    let again = named("127.0.0.2", ports[1]);
    dns.set("_pg._tcp.test", Zone::services(&records[1..2], 0));
    once_at(&mut proxy, &service, "127.0.0.2");
    wait_until("news of the records", SOON, || said(&proxy, "targets found") == 2);
    drop(again);
    proxy.finish();
}

/// Goal: SRV records that are gone, or never were, are no reason not to start.
/// Method: a name without records: connections end with a reason; then records come.
#[test]
fn srv_records_that_come_late() {
    let backend = named("127.0.0.1", free_port());
    let dns = Dns::of("db.test", Zone::addresses(&["127.0.0.1"], 0));
    let service = Service::with_targets("svc", json!([{ "srv": "_pg._tcp.test" }]));
    let mut proxy = start(&dns, &[&service]);
    let peer = proxy.connect(&service);
    peer.expect_end();
    proxy.cut(peer, &service, "us/connect/no-target");
    let records = [(0, 0, backend.address.port(), "db.test")];
    dns.set("_pg._tcp.test", Zone::services(&records, 0));
    once_at(&mut proxy, &service, "127.0.0.1");
    proxy.finish();
}

/// Goal: `/etc/hosts` and `localhost` need no name server.
/// Method: name servers that are silent; `localhost` and a name below it.
#[test]
fn localhost_needs_no_name_server() {
    let backend = Backend::echo();
    let dns = Dns::start();
    let port = backend.address.port();
    let services =
        [Service::to_host("a", "LocalHost", port), Service::to_host("b", "db.localhost.", port)];
    let mut proxy = start(&dns, &services.iter().collect::<Vec<_>>());
    for service in &services {
        let peer = proxy.connect(service);
        peer.send(b"hello");
        peer.expect(b"hello");
        peer.fin();
        peer.expect_eof();
        proxy.ended(peer, service, CLOSED);
    }
    assert_eq!(dns.asked("localhost") + dns.asked("db.localhost"), 0);
    proxy.finish();
}
