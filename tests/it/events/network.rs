//! Receivers that come and go, refuse, and fall silent.

use std::fs;

use serde_json::json;

use super::{Collector, Receiver, ids, metric, outputs, run};
use crate::support::backend::Backend;
use crate::support::certs::Authority;
use crate::support::config::Service;
use crate::support::events;
use crate::support::ports::free_port;
use crate::support::proxy::Launch;
use crate::support::wait::{SOON, wait_until};

/// Goal: a receiver of datagrams may begin anew, and misses nothing.
/// Method: it ends, events come, another one binds the same path.
#[test]
fn a_receiver_of_datagrams_begins_anew() {
    let backend = Backend::echo();
    let service = Service::new("svc", &[backend.address]);
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("socket");
    let first = Receiver::bind(&socket);
    let mut proxy = Launch::new(outputs(&service, json!([{ "unixDatagram": socket }]))).start();
    run(&mut proxy, &service, 10);
    wait_until("the first events", SOON, || first.count() >= 22);
    let mut all = first.end();
    run(&mut proxy, &service, 30);
    wait_until("the log says it", SOON, || proxy.log().contains("events: cannot be written"));
    let second = Receiver::bind(&socket);
    wait_until("the others", SOON, || second.count() >= 30);
    wait_until("the log says it", SOON, || proxy.log().contains("events: written again"));
    all.extend(second.events());
    assert_eq!(ids(&all), ids(&proxy.events()));
    proxy.finish();
}

/// Goal: an event that no datagram can hold is dropped and counted, and holds nothing up.
/// Method: a service whose document is larger than a socket takes, then an ordinary one.
#[test]
fn an_event_too_large_for_a_datagram() {
    let backend = Backend::echo();
    let large = json!({ "padding": "x".repeat(2 << 20) });
    let service = Service::new("large", &[backend.address]).set("metadata", large);
    let small = Service::new("small", &[backend.address]);
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("socket");
    let receiver = Receiver::bind(&socket);
    let at = format!("127.0.0.1:{}", free_port());
    let config = outputs(&service, json!([{ "unixDatagram": socket }]));
    let config = config.with(&small).set("admin", json!({ "listen": at }));
    let mut proxy = Launch::new(config).start();
    run(&mut proxy, &service, 2);
    run(&mut proxy, &small, 3);
    wait_until("the small ones", SOON, || receiver.count() >= 15);
    assert_eq!(metric(&at, "dropped_total", "unixDatagram"), 2);
    assert_eq!(metric(&at, "written_total", "unixDatagram"), 15);
    assert_eq!(proxy.log().matches("larger than a datagram").count(), 1);
    proxy.finish();
}

/// Goal: events are POSTed in batches, with a token that may change, and what is refused for now comes
/// again.
/// Method: answers of 503, 429 and 408 before one of 200; then another token.
#[test]
fn posts_are_made_again() {
    let backend = Backend::echo();
    let service = Service::new("svc", &[backend.address]);
    let dir = tempfile::tempdir().unwrap();
    let token = dir.path().join("token");
    fs::write(&token, "secret-1\n").unwrap();
    let collector = Collector::start();
    collector.say(&[503, 429, 408]);
    let output = json!([{
        "http": collector.url(), "tokenFile": token, "batch": 10, "flush": "100ms"
    }]);
    let mut proxy = Launch::new(outputs(&service, output)).start();
    run(&mut proxy, &service, 35);
    let file = proxy.events_file();
    wait_until("all events", SOON, || {
        events::count(&file) >= 47 && collector.events().len() == events::count(&file)
    });
    assert_eq!(ids(&collector.events()), ids(&proxy.events()));
    for post in collector.posts() {
        let head = post.head.to_ascii_lowercase();
        assert!(head.starts_with("post /events?from=thalweg http/1.1\r\n"), "{head}");
        assert!(head.contains("content-type: application/x-ndjson\r\n"), "{head}");
        assert!(head.contains("authorization: bearer secret-1\r\n"), "{head}");
        let lines = post.body.lines().count();
        assert!((1..=10).contains(&lines) && post.body.ends_with('\n'), "{lines} lines");
    }
    assert_eq!(proxy.log().matches("events: cannot be written").count(), 1);
    fs::write(&token, "secret-2\n").unwrap();
    run(&mut proxy, &service, 1);
    wait_until("the new token", SOON, || {
        collector.posts().last().is_some_and(|post| post.head.contains("secret-2"))
    });
    proxy.rebase(); // the connection is kept
    proxy.finish();
}

/// Goal: what the collector refuses for good is dropped, counted and said once; what comes later goes
/// there.
/// Method: answers of 400, then 200.
#[test]
fn posts_that_are_refused_are_given_up() {
    let backend = Backend::echo();
    let service = Service::new("svc", &[backend.address]);
    let collector = Collector::start();
    collector.always(400);
    let at = format!("127.0.0.1:{}", free_port());
    let output = json!([{ "http": collector.url(), "flush": "10ms" }]);
    let config = outputs(&service, output).set("admin", json!({ "listen": at }));
    let mut proxy = Launch::new(config).start();
    run(&mut proxy, &service, 5);
    wait_until("the refused ones", SOON, || metric(&at, "dropped_total", "http") == 17);
    run(&mut proxy, &service, 1);
    wait_until("one more", SOON, || metric(&at, "dropped_total", "http") == 18);
    assert_eq!(proxy.log().matches("the answer is 400").count(), 1);
    assert_eq!(metric(&at, "failing", "http"), 0);
    collector.always(200);
    run(&mut proxy, &service, 5);
    wait_until("the others", SOON, || collector.events().len() == 5);
    proxy.rebase(); // the connection is kept
    proxy.finish();
}

/// Goal: a collector may be killed and begin anew; every event comes at least once.
/// Method: it goes away under traffic and comes back at its port. Over TLS another one is verified.
#[test]
fn a_collector_begins_anew() {
    let backend = Backend::echo();
    let service = Service::new("svc", &[backend.address]);
    let mut collector = Collector::start();
    let authority = Authority::new("collectors");
    let secure = Collector::secure(&authority.issue(&["localhost"]));
    let dir = tempfile::tempdir().unwrap();
    let ca = dir.path().join("ca.pem");
    fs::write(&ca, authority.pem()).unwrap();
    let over_tls = format!("https://localhost:{}/", secure.backend.address.port());
    let output = json!([
        { "http": collector.url(), "flush": "20ms" },
        { "http": over_tls, "caFile": ca, "flush": "20ms" }
    ]);
    let mut proxy = Launch::new(outputs(&service, output)).start();
    for _ in 0..3 {
        run(&mut proxy, &service, 10);
        collector = Collector::again(collector);
    }
    run(&mut proxy, &service, 10);
    let file = proxy.events_file();
    wait_until("the events", SOON, || events::count(&file) >= 52);
    let all = ids(&proxy.events());
    for collector in [&collector, &secure] {
        let seen = || {
            let events = collector.events();
            events.iter().map(|event| event.text("@id").to_owned()).collect()
        };
        wait_until("every event", SOON, || {
            let seen: std::collections::BTreeSet<String> = seen();
            seen == all
        });
    }
    proxy.rebase(); // the connection is kept
    proxy.finish();
}

/// Goal: what waits for others to go along with it goes at the end, within a limit.
/// Method: a `flush` of a minute, and SIGTERM; with a collector that answers and one that does not.
#[test]
fn what_waits_goes_at_the_end() {
    let backend = Backend::echo();
    let service = Service::new("svc", &[backend.address]);
    let (collector, silent) = (Collector::start(), Collector::start());
    silent.always(0);
    let output = json!([
        { "http": collector.url(), "flush": "60s" }, { "http": silent.url(), "flush": "60s" }
    ]);
    let mut proxy = Launch::new(outputs(&service, output)).start();
    run(&mut proxy, &service, 10);
    let file = proxy.events_file();
    wait_until("the events", SOON, || events::count(&file) >= 22);
    assert_eq!(collector.asked(), 0, "they wait");
    proxy.signal(libc::SIGTERM);
    let exit = proxy.wait_exit();
    assert_eq!(exit.code(), Some(0));
    assert_eq!(ids(&collector.events()), ids(&proxy.events()));
    let sums = |url: &str| {
        let line =
            exit.stderr.lines().find(|it| it.contains("end of an output") && it.contains(url));
        line.unwrap_or_else(|| panic!("no sums of {url}:\n{}", exit.stderr)).to_owned()
    };
    assert!(sums(&collector.url()).contains("written=22"));
    assert!(sums(&silent.url()).contains("dropped=22"));
    proxy.verdict();
}
