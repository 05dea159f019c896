//! `events`: its outputs and what they are given.

use std::time::Duration;

use super::{faults, good, one};
use crate::config::checked::events::{Events, Output, Rotation};

fn text(events: &str) -> String {
    format!("{{\"events\":{events},{}", &one("")[1..])
}

fn events(written: &str) -> Events {
    good(&text(written)).events.expect("there are events")
}

#[test]
fn each_kind_of_output() {
    let events = events(
        r#"{ "file": "a", "outputs": [
            { "file": "b", "maxSize": "1MiB" }, { "stdout": true }, { "unixDatagram": "/run/c" },
            { "http": "https://d.example/e?f", "tokenFile": "t", "batch": 5, "flush": "2s" } ],
           "records": [ "close", "periodic", "open" ], "interval": "5s", "service": "id" }"#,
    );
    let places: Vec<_> = events.outputs.iter().map(ToString::to_string).collect();
    assert_eq!(
        places,
        [
            "file /etc/thalweg/a",
            "file /etc/thalweg/b",
            "stdout",
            "unixDatagram /run/c",
            "http https://d.example/e?f"
        ]
    );
    assert!(events.open && !events.whole_service);
    assert_eq!(events.periodic, Some(Duration::from_secs(5)));
    let Some(Output::File(file)) = events.outputs.get(1) else { panic!("a file") };
    assert_eq!(file.rotation, Some(Rotation { max_size: 1 << 20, keep: 5 }));
    let Some(Output::Http(http)) = events.outputs.last() else { panic!("http") };
    assert_eq!((http.batch, http.flush), (5, Duration::from_secs(2)));
    assert_eq!(http.tls.as_ref().map(|tls| &*tls.server_name), Some("d.example"));
    assert_eq!(events.upstreams().count(), 1, "whose files are read with the others");
}

#[test]
fn one_fault_each() {
    let outputs = |output: &str| format!("{{\"outputs\":[{output}]}}");
    let table = [
        (r#"{ "outputs": [] }"#.to_owned(), "E106", "events.outputs"),
        (r#"{ "records": ["close"] }"#.into(), "E104", "events.file"),
        (r#"{ "file": "a", "records": ["open"] }"#.into(), "E106", "events.records"),
        (r#"{ "file": "a", "records": [] }"#.into(), "E106", "events.records"),
        (r#"{ "file": "a", "records": ["closed"] }"#.into(), "E103", "events.records[0]"),
        (r#"{ "file": "a", "interval": "10ms" }"#.into(), "E107", "events.interval"),
        (r#"{ "file": "a", "service": "Full" }"#.into(), "E103", "events.service"),
        (r#"{ "file": "a", "outputs": [ { "file": "a" } ] }"#.into(), "E220", "events.outputs[0]"),
        (outputs("{}"), "E220", "events.outputs[0]"),
        (outputs(r#"{ "stdout": true, "file": "a" }"#), "E220", "events.outputs[0]"),
        (outputs(r#"{ "stdout": false }"#), "E220", "events.outputs[0].stdout"),
        (outputs(r#"{ "stdout": true, "keep": 5 }"#), "E221", "events.outputs[0].keep"),
        (outputs(r#"{ "file": "a", "keep": 5 }"#), "E221", "events.outputs[0].keep"),
        (outputs(r#"{ "file": "a", "batch": 5 }"#), "E221", "events.outputs[0].batch"),
        (outputs(r#"{ "file": "" }"#), "E106", "events.outputs[0].file"),
        (outputs(r#"{ "file": "a", "maxSize": "1KiB" }"#), "E106", "events.outputs[0].maxSize"),
        (
            outputs(r#"{ "file": "a", "maxSize": "1MiB", "keep": 0 }"#),
            "E106",
            "events.outputs[0].keep",
        ),
        (outputs(r#"{ "files": "a" }"#), "E101", "events.outputs[0].files"),
        (outputs(r#"{ "http": "ftp://a" }"#), "E220", "events.outputs[0].http"),
        (outputs(r#"{ "http": "http://a", "caFile": "b" }"#), "E221", "events.outputs[0].caFile"),
        (outputs(r#"{ "http": "http://a", "batch": 0 }"#), "E106", "events.outputs[0].batch"),
        (outputs(r#"{ "http": "http://a", "flush": "1h" }"#), "E107", "events.outputs[0].flush"),
        (outputs(r#"{ "http": "http://a", "tokenFile": "b" }"#), "W220", "events.outputs[0].http"),
    ];
    for (written, code, path) in table {
        assert_eq!(faults(&text(&written)), [(code, path.to_owned())], "{written}");
    }
}
