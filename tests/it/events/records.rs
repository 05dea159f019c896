//! Events before the end: when a target was reached, and every so often from then on.

use serde_json::json;

use crate::support::backend::Backend;
use crate::support::config::{Config, Service};
use crate::support::events::{self, Event};
use crate::support::ports::{free_port, loopback};
use crate::support::proxy::Launch;
use crate::support::wait::{SOON, wait_until};

/// Goal: a long connection tells of itself while it lives, with the bytes so far, and ends once.
/// Method: records of all kinds, every second; one connection with bytes in between, one refused.
#[test]
fn a_long_connection_tells_of_itself() {
    let backend = Backend::echo();
    let service = Service::new("svc", &[backend.address]);
    let nobody = Service::new("nobody", &[loopback(free_port())]);
    let config = Config::new([&service, &nobody]).set(
        "events",
        json!({
            "file": "events.ndjson", "records": ["open", "periodic", "close"],
            "interval": "1s", "service": "id"
        }),
    );
    let mut proxy = Launch::new(config).without_events().start();
    let client = proxy.connect(&service);
    let file = proxy.events_file();
    let of = |port: u16| -> Vec<Event> {
        let all = events::read(&file).into_iter();
        all.filter(|it| it.client_port() == Some(port) && it.text("@serviceId") != "canary")
            .collect()
    };
    let port = client.port();
    let records = || of(port).iter().map(|it| it.text("record").to_owned()).collect::<Vec<_>>();
    wait_until("the open event", SOON, || records() == ["open"]);
    client.send(b"hello");
    client.expect(b"hello");
    wait_until("two periodic events", SOON, || records().len() >= 3);
    client.send(b"hello");
    client.expect(b"hello");
    let with = |bytes: u64| of(port).iter().any(|it| it.data_in() == bytes);
    wait_until("a periodic event with more", SOON, || with(10));
    client.fin();
    client.expect_eof();
    proxy.ended(client.close(), &service, "*/relay/closed");
    wait_until("the end", SOON, || records().last().is_some_and(|last| last == "close"));

    let events = of(port);
    assert_eq!(records().iter().filter(|it| *it == "close").count(), 1);
    let (open, close) = (events.first().unwrap(), events.last().unwrap());
    assert_eq!((open.data_in(), open.text("relay")), (0, "copy"));
    assert_eq!(open.0["target"]["host"], backend.address.to_string());
    assert_eq!((close.data_in(), close.data_out()), (10, 10));
    let mut ids: Vec<&str> = events.iter().map(|event| event.text("@id")).collect();
    for pair in events.windows(2) {
        assert!(pair[0].data_in() <= pair[1].data_in(), "bytes are cumulated");
        assert!(pair[0].number("duration") <= pair[1].number("duration"));
    }
    for event in &events {
        assert_eq!(event.text("reqId"), close.text("@id"), "of one connection");
        assert_eq!(event.text("@type"), "TcpEvent");
        assert!(event.0["service"].is_null() && event.text("@serviceId") == "svc");
        let ends = event.text("record") == "close";
        assert_eq!(event.0["reason"].is_string(), ends, "{}", event.0);
    }
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), events.len(), "each has an id of its own");

    let refused = proxy.connect(&nobody);
    let port = refused.port();
    refused.expect_end();
    proxy.cut(refused.close(), &nobody, "upstream/connect/refused");
    wait_until("its end", SOON, || !of(port).is_empty());
    let only: Vec<Event> = of(port);
    assert_eq!(only.len(), 1, "no target, no open event");
    assert_eq!(only[0].text("record"), "close");
    proxy.finish();
}

/// Goal: a reload switches records on for connections that live already, and off again.
/// Method: one connection over two reloads.
#[test]
fn records_are_switched_by_reload() {
    let backend = Backend::echo();
    let service = Service::new("svc", &[backend.address]);
    let with = |events| Config::new([&service]).set("events", events);
    let quiet = json!({ "file": "events.ndjson" });
    let talks =
        json!({ "file": "events.ndjson", "records": ["close", "periodic"], "interval": "1s" });
    let mut proxy = Launch::new(with(quiet.clone())).without_events().start();
    let client = proxy.connect(&service);
    client.send(b"x");
    client.expect(b"x");
    let file = proxy.events_file();
    let count =
        |record: &str| events::read(&file).iter().filter(|it| it.text("record") == record).count();
    proxy.reload(&with(talks));
    wait_until("a periodic event", SOON, || count("periodic") >= 2);
    assert_eq!(count("open"), 0);
    proxy.reload(&with(quiet));
    client.fin();
    client.expect_eof();
    proxy.ended(client.close(), &service, "*/relay/closed");
    proxy.finish();
}
