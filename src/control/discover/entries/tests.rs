use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::config::found::{JsonPath, Url};

/// A query with these paths: list, nested, target, port; `-`: none.
fn query(list: &str, nested: &str, target: &str, port: &str) -> Query {
    let path = |text: &str| JsonPath::parse(text).unwrap();
    let some = |text: &str| (text != "-").then(|| path(text));
    Query {
        url: Url {
            text: "http://registry/".into(),
            secure: false,
            host: "registry".into(),
            port: 80,
            authority: "registry".into(),
            path: "/".into(),
        },
        headers: Vec::new(),
        tls: None,
        list: path(list),
        nested: some(nested),
        target: path(target),
        port: some(port),
        weight: None,
        first_only: false,
    }
}

fn places(query: &Query, document: &Value) -> Vec<String> {
    let entries = read(query, document.to_string().as_bytes()).unwrap();
    assert_eq!(entries.left_out, 0, "{:?}", entries.faults);
    entries.targets.iter().map(ToString::to_string).collect()
}

#[test]
fn the_shapes_that_tyk_documents() {
    let consul = json!([
        { "Node": "a", "Address": "10.1.10.12", "ServiceID": "redis", "ServicePort": 8000 },
        { "Node": "b", "Address": "10.1.10.13", "ServiceID": "redis", "ServicePort": 8000 },
    ]);
    let both = ["10.1.10.12:8000", "10.1.10.13:8000"];
    assert_eq!(places(&query("", "-", "Address", "ServicePort"), &consul), both);

    let eureka = json!({ "application": { "name": "ROUTE", "instance": [
        { "hostName": "ip-172-31-57-136", "port": { "@enabled": "true", "$": "60565" } },
        { "hostName": "ip-172-31-13-37", "port": { "@enabled": "true", "$": "50045" } },
    ] } });
    assert_eq!(
        places(&query("application.instance", "-", "hostName", "port.$"), &eureka),
        ["ip-172-31-13-37:50045", "ip-172-31-57-136:60565"]
    );

    let etcd = json!({ "action": "get", "node": { "key": "/one", "value": "httpbin.org:6000" } });
    assert_eq!(places(&query("", "-", "node.value", "-"), &etcd), ["httpbin.org:6000"]);

    let text = r#"{"hostname": "http://httpbin.org", "port": "80"}"#;
    let nested = json!({ "action": "get", "node": { "key": "/one", "value": text } });
    let inside = query("", "node.value", "hostname", "port");
    assert_eq!(places(&inside, &nested), ["httpbin.org:80"]);

    let text = r#"[{"hostname": "httpbin.org", "port": "80"}, {"hostname": "httpbin2.org", "port": "80"}]"#;
    let nested_list = json!({ "node": { "value": text } });
    assert_eq!(places(&inside, &nested_list), ["httpbin.org:80", "httpbin2.org:80"]);

    let nested_consul = json!([
        { "Name": "beep", "Data": r#"{"hostname": "httpbin1.org", "port": "80"}"# },
        { "Name": "boop", "Data": r#"{"hostname": "httpbin2.org", "port": "80"}"# },
    ]);
    let data = query("", "Data", "hostname", "port");
    assert_eq!(places(&data, &nested_consul), ["httpbin1.org:80", "httpbin2.org:80"]);
    let first = Query { first_only: true, ..data };
    assert_eq!(places(&first, &nested_consul), ["httpbin1.org:80"]);

    let mesosphere = json!({ "tasks": [ { "id": "x", "host": "httpbin.org", "ports": [80] } ] });
    assert_eq!(places(&query("tasks", "-", "host", "ports"), &mesosphere), ["httpbin.org:80"]);
}

#[test]
fn targets_are_hosts_with_or_without_ports_and_urls() {
    let all = json!([
        "db",
        "db:1",
        "tcp://db:2/path",
        "tls://db:3",
        "http://db",
        "https://db",
        "10.0.0.1",
        "[2001:db8::1]:5",
        "2001:db8::2",
        "DB:1",
        "HTTP://user@db:9?x",
    ]);
    let mut found = places(&query("", "-", "", "-"), &all);
    found.sort();
    let mut expected = [
        "db",
        "db:1",
        "db:2",
        "tls://db:3",
        "db:80",
        "tls://db:443",
        "10.0.0.1",
        "[2001:db8::1]:5",
        "[2001:db8::2]",
        "db:9",
    ];
    expected.sort_unstable();
    assert_eq!(found, expected);
}

#[test]
fn an_entry_that_is_none_is_left_out_and_said() {
    let document = json!([
        { "h": "good", "p": 1 }, { "h": "good", "p": 0 }, { "h": "a b", "p": 1 }, { "p": 1 },
        { "h": 7, "p": 1 }, { "h": "ftp://x", "p": 1 }, { "h": "good" }, { "h": "0.0.0.0", "p": 1 },
        { "h": "good", "p": 65536 }, null, "x", [], { "h": "good", "p": [] },
    ]);
    let entries = read(&query("", "-", "h", "p"), document.to_string().as_bytes()).unwrap();
    assert_eq!(entries.targets.len(), 1);
    assert_eq!(entries.left_out, 12);
    assert_eq!(entries.faults.len(), limits::FOUND_FAULTS_TOLD);
    assert!(entries.faults.iter().all(|fault| !fault.is_empty()));
}

#[test]
fn what_is_no_document_is_an_error_and_what_is_empty_is_not() {
    let list = query("services", "-", "", "-");
    assert!(read(&list, b"<html>").is_err());
    assert!(read(&list, b"").is_err());
    assert!(read(&list, br#"{ "other": [] }"#).is_err());
    assert_eq!(read(&list, br#"{ "services": [] }"#).unwrap(), Entries::default());
    assert_eq!(read(&list, br#"{ "services": null }"#).unwrap(), Entries::default());
}

#[test]
fn a_list_is_the_same_in_another_order_and_never_too_long() {
    let hosts = |range: std::ops::Range<usize>| -> Vec<String> {
        range.map(|n| format!("h-{n}:1")).collect()
    };
    let list = query("", "-", "", "-");
    let mut turned = hosts(0..50);
    turned.reverse();
    assert_eq!(places(&list, &json!(hosts(0..50))), places(&list, &json!(turned)));
    let many = json!(hosts(0..limits::FOUND_MAX + 7)).to_string();
    let entries = read(&list, many.as_bytes()).unwrap();
    assert_eq!((entries.targets.len(), entries.left_out), (limits::FOUND_MAX, 7));
}

proptest! {
    #[test]
    fn no_bytes_make_it_fail(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = read(&query("a.b", "c", "d", "e"), &bytes);
        let _ = read(&query("", "-", "", "-"), &bytes);
    }

    #[test]
    fn no_text_makes_a_bad_target(text in ".{0,40}") {
        let document = json!([text]).to_string();
        for target in read(&query("", "-", "", "-"), document.as_bytes()).unwrap().targets {
            prop_assert!(!target.host.is_empty() && target.port != Some(0));
            prop_assert!(config::host(&target.host).is_ok());
        }
    }
}
