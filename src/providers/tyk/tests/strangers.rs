//! Definitions of strangers: whatever they say, there is an answer.

use proptest::prelude::*;

use super::*;
use crate::providers::tyk::definition::KEYS;

/// Keys deeper in.
const INNER: [&str; 18] = [
    "check_list",
    "config",
    "time_wait",
    "url",
    "protocol",
    "timeout",
    "commands",
    "name",
    "message",
    "headers",
    "body",
    "method",
    "use_discovery_service",
    "query_endpoint",
    "ssl_min_version",
    "ssl_ciphers",
    "*",
    "disabled",
];

/// Values that are something somewhere.
const TEXTS: [&str; 14] = [
    "",
    "tcp",
    "tls",
    "a",
    "a:1",
    "tls://a:1",
    "http://a:1/x",
    "*.b.c",
    "send",
    "expect",
    "Regex(",
    "..",
    "sha256/x",
    "é\r\n\0",
];

fn text() -> impl Strategy<Value = String> {
    prop_oneof![proptest::sample::select(&TEXTS[..]).prop_map(str::to_owned), ".{0,8}"]
}

fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        (0_i64..800).prop_map(Value::from),
        text().prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 32, 6, |inner| {
        let keys: Vec<&str> = KEYS.iter().chain(&INNER).copied().collect();
        let member = (proptest::sample::select(keys), inner.clone());
        prop_oneof![
            proptest::collection::vec(inner, 0..4).prop_map(Value::from),
            proptest::collection::vec(member, 0..6)
                .prop_map(|members| members.into_iter().map(|(k, v)| (k.to_owned(), v)).collect()),
        ]
    })
}

proptest! {
    /// What stands in definitions costs nothing but them.
    #[test]
    fn strangers_do_not_refuse_the_rest(members in proptest::collection::vec(
        (proptest::sample::select(&KEYS[..]), value()), 0..6)) {
        let bench = Bench::new();
        let mut strange = tls(json!({ "api_id": "strange" }));
        for (key, value) in members {
            strange[key] = value;
        }
        bench.write("apis/1.json", &strange);
        bench.write("apis/2.json", tcp(json!({ "api_id": "good", "listen_port": 40_000 })));
        let source = bench.source();
        let loaded = loaded(&source, bench.dir.path());
        let checked = loaded.checked.expect("the main file is sound");
        prop_assert!(checked.services.iter().any(|it| &*it.id == "tyk/good"), "{strange:#}");
        // What cannot be is told where it stands.
        for finding in source.diagnostics {
            prop_assert!(finding.file.is_some(), "{finding:?}");
        }
    }
}
