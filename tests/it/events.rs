//! Events: every output gets every event, whatever becomes of the others, and what an output does not
//! get is counted.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::support::admin::ask;
use crate::support::backend::Backend;
use crate::support::config::{Config, Service};
use crate::support::events::{self, Event};
use crate::support::ports::free_port;
use crate::support::proxy::{Launch, Proxy};
use crate::support::wait::{SOON, wait_until};

mod collector;
mod files;
mod load;
mod network;
mod records;

use collector::{Collector, Receiver};

const CLOSED: &str = "*/relay/closed";

/// Connects so often, one after the other, and ends in order.
fn run(proxy: &mut Proxy, service: &Service, times: usize) {
    for _ in 0..times {
        let client = proxy.connect(service);
        client.send(b"hello");
        client.expect(b"hello");
        client.fin();
        client.expect_eof();
        proxy.ended(client.close(), service, CLOSED);
    }
}

/// The ids of these events; none may come twice.
fn ids<'a>(events: impl IntoIterator<Item = &'a Event>) -> BTreeSet<String> {
    let mut ids = BTreeSet::new();
    for event in events {
        assert!(ids.insert(event.text("@id").to_owned()), "twice: {}", event.0);
    }
    ids
}

fn parse(line: &str) -> Event {
    Event(serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}")))
}

/// Events besides those of `events.ndjson`, which the harness reads.
fn outputs(service: &Service, outputs: Value) -> Config {
    Config::new([service]).set("events", json!({ "file": "events.ndjson", "outputs": outputs }))
}

/// A number of an output, as the metrics have it.
fn metric(at: &str, name: &str, kind: &str) -> u64 {
    let text = ask(at, "/metrics", &[]).body;
    let head = format!("thalweg_event_output_{name}{{kind=\"{kind}\",");
    let line = text.lines().find(|line| line.starts_with(&head));
    let line = line.unwrap_or_else(|| panic!("no {head} in\n{text}"));
    line.rsplit_once(' ').unwrap().1.parse().unwrap()
}

/// Goal: every output has every event, once, and standard output says `ready` first.
/// Method: five outputs of all kinds at the same time.
#[test]
fn every_output_has_every_event() {
    let backend = Backend::echo();
    let service = Service::new("svc", &[backend.address]);
    let dir = tempfile::tempdir().unwrap();
    let (second, socket) = (dir.path().join("second"), dir.path().join("socket"));
    let receiver = Receiver::bind(&socket);
    let collector = Collector::start();
    let at = format!("127.0.0.1:{}", free_port());
    let config = outputs(
        &service,
        json!([
            { "file": second }, { "stdout": true }, { "unixDatagram": socket },
            { "http": collector.url(), "flush": "50ms" }
        ]),
    )
    .set("admin", json!({ "listen": at }));
    let mut proxy = Launch::new(config).start();
    run(&mut proxy, &service, 100);
    let first = proxy.events_file();
    wait_until("all events in the file", SOON, || events::count(&first) >= 112);
    let all = ids(&proxy.events());
    wait_until("the second file", SOON, || events::count(&second) >= all.len());
    assert_eq!(ids(&events::read(&second)), all);
    wait_until("standard output", SOON, || proxy.stdout().lines().count() > all.len());
    let said = proxy.stdout();
    assert!(said.starts_with("ready\n"), "{said}");
    assert_eq!(ids(&said.lines().skip(1).map(parse).collect::<Vec<_>>()), all);
    wait_until("the datagrams", SOON, || receiver.count() >= all.len());
    assert_eq!(ids(&receiver.events()), all);
    wait_until("the posts", SOON, || collector.events().len() >= all.len());
    assert_eq!(ids(&collector.events()), all);
    for kind in ["file", "stdout", "unixDatagram", "http"] {
        let written = || metric(&at, "written_total", kind);
        wait_until("what is counted", SOON, || written() == all.len() as u64);
        assert_eq!(metric(&at, "dropped_total", kind), 0, "{kind}");
    }
    proxy.rebase(); // the connection to the collector is kept
    proxy.finish();
}

/// Goal: a reload adds and removes outputs; those that stay go on, and those that go keep nothing back.
/// Method: a file stays, a second goes, a third comes.
#[test]
fn outputs_come_and_go_by_reload() {
    let backend = Backend::echo();
    let service = Service::new("svc", &[backend.address]);
    let dir = tempfile::tempdir().unwrap();
    let file = |name: &str| dir.path().join(name);
    let mut proxy = Launch::new(outputs(&service, json!([{ "file": file("second") }]))).start();
    run(&mut proxy, &service, 20);
    wait_until("the events", SOON, || events::count(&proxy.events_file()) >= 32);
    let before = ids(&proxy.events());
    proxy.reload(&outputs(&service, json!([{ "file": file("third") }])));
    wait_until("the third file", SOON, || file("third").exists());
    assert_eq!(ids(&events::read(&file("second"))), before);
    run(&mut proxy, &service, 20);
    wait_until("the events", SOON, || events::count(&proxy.events_file()) >= before.len() + 20);
    let all = ids(&proxy.events());
    wait_until("the third's", SOON, || events::count(&file("third")) >= 20);
    let later: BTreeSet<String> = all.difference(&before).cloned().collect();
    assert_eq!(ids(&events::read(&file("third"))), later);
    assert_eq!(ids(&events::read(&file("second"))), before, "nothing came later");
    // One that cannot be opened is refused, and everything stays as it is.
    let said = proxy.reload(&outputs(&service, json!([{ "file": "/nowhere/at/all" }])));
    assert!(said.contains("refused"), "{said}");
    run(&mut proxy, &service, 1);
    wait_until("the third's", SOON, || events::count(&file("third")) >= 21);
    proxy.finish();
}
