//! Who may connect, how often and how fast: what is accepted and as what, what is refused and where.

use std::num::NonZeroU32;

use super::*;
use crate::config::document::{Jitter, Size, Span};

#[test]
fn one_fault() {
    let table = [
        (r#""access": {}"#, "E191", "access"),
        (r#""access": { "allow": [] }"#, "W190", "access.allow"),
        (r#""access": { "default": "Deny" }"#, "W190", "access.default"),
        (r#""access": { "deny": [ "::1" ], "default": "Deny" }"#, "W190", "access.default"),
        (r#""access": { "allow": [ "::1" ], "default": "Allow" }"#, "W191", "access.allow"),
        (r#""access": { "allowFile": "a", "default": "Allow" }"#, "W191", "access.allowFile"),
        (r#""access": { "allow": [ "x" ] }"#, "E143", "access.allow[0]"),
        (r#""access": { "allow": [ "::1", "x" ] }"#, "E143", "access.allow[1]"),
        (r#""access": { "deny": [ "10.0.0.1/8" ] }"#, "E143", "access.deny[0]"),
        (r#""access": { "denyFile": "" }"#, "E106", "access.denyFile"),
        (r#""access": { "default": "Permit" }"#, "E103", "access.default"),
        (r#""access": { "allw": [] }"#, "E101", "access.allw"),
        (r#""access": []"#, "E102", "access"),
        (r#""limits": { "connectionRate": {} }"#, "E104", "limits.connectionRate.count"),
        (
            r#""limits": { "connectionRate": { "count": 0 } }"#,
            "E106",
            "limits.connectionRate.count",
        ),
        (
            r#""limits": { "connectionRate": { "count": 1, "per": "0s" } }"#,
            "E107",
            "limits.connectionRate.per",
        ),
        (
            r#""limits": { "connectionRate": { "count": 1, "exempt": [ "x" ] } }"#,
            "E143",
            "limits.connectionRate.exempt[0]",
        ),
        (r#""limits": { "exempt": [ "::1" ] }"#, "W192", "limits.exempt"),
        (r#""limits": { "bytesPerSecond": 1000 }"#, "E190", "limits.bytesPerSecond"),
        (r#""limits": { "bytesPerSecond": "1KB" }"#, "E190", "limits.bytesPerSecond"),
        (r#""limits": { "bytesPerSecond": "1023B" }"#, "E106", "limits.bytesPerSecond"),
        (r#""limits": { "bytesPerSecond": {} }"#, "E106", "limits.bytesPerSecond"),
        (
            r#""limits": { "bytesPerSecond": { "connection": 5 } }"#,
            "E190",
            "limits.bytesPerSecond.connection",
        ),
        (
            r#""limits": { "bytesPerSecond": { "each": "1MB" } }"#,
            "E101",
            "limits.bytesPerSecond.each",
        ),
        (r#""timeouts": { "lifetimeJitter": 10 }"#, "E107", "timeouts.lifetimeJitter"),
        (r#""timeouts": { "lifetimeJitter": "101%" }"#, "E107", "timeouts.lifetimeJitter"),
        (
            r#""timeouts": { "lifetime": "1h", "lifetimeJitter": "2h" }"#,
            "E107",
            "timeouts.lifetimeJitter",
        ),
    ];
    for (members, code, path) in table {
        assert_eq!(faults(&one(members)), [(code, format!("services[0].{path}"))], "{members}");
    }
}

#[test]
fn every_entry_that_is_no_network_is_told() {
    let found = faults(&one(r#""access": { "allow": [ "x", "10.0.0.0/33" ], "deny": [ "y" ] }"#));
    let at = |path: &str| ("E143", format!("services[0].access.{path}"));
    assert_eq!(found, [at("allow[0]"), at("allow[1]"), at("deny[0]")]);
}

#[test]
fn what_holds_for_the_others() {
    for (access, others) in [
        (r#"{ "allow": [ "::1" ] }"#, false),
        (r#"{ "allowFile": "a.txt" }"#, false),
        (r#"{ "deny": [ "::1" ] }"#, true),
        (r#"{ "deny": [] }"#, true),
        (r#"{ "denyFile": "d.txt" }"#, true),
        (r#"{ "allow": [ "10.0.0.0/8" ], "deny": [ "10.1.0.0/16" ] }"#, false),
        (r#"{ "default": "Allow" }"#, true),
        (r#"{ "deny": [ "::1" ], "default": "Allow" }"#, true),
        (r#"{ "allow": [ "::1" ], "default": "Deny" }"#, false),
    ] {
        let service = service(&format!("\"access\": {access}"));
        assert_eq!(service.access.expect("there is one").others, others, "{access}");
    }
    assert!(service("").access.is_none());
    let files = service(r#""access": { "allowFile": "a.txt", "denyFile": "/d.txt" }"#);
    let files: Vec<_> = files.network_files().collect();
    assert_eq!(files, [Path::new("/etc/thalweg/a.txt"), Path::new("/d.txt")]);
}

#[test]
fn limits_arrive_in_their_units() {
    let limits = service(
        r#""limits": { "connections": 9, "connectionsPerSource": 3, "exempt": [ "10.0.0.0/8" ],
            "connectionRate": { "count": 20, "per": "1m", "exempt": [ "::1" ] },
            "bytesPerSecond": { "service": "1MiB", "connection": "10kB" } }"#,
    )
    .limits;
    assert_eq!(limits.connections_per_source, NonZeroU32::new(3));
    let rate = limits.connection_rate.expect("there is one");
    assert_eq!((rate.count.get(), rate.per, rate.burst.get()), (20, Duration::from_secs(60), 20));
    for (ip, exempt) in [("10.1.1.1", true), ("::1", true), ("11.0.0.0", false)] {
        assert_eq!(limits.exempt.contains(ip.parse().unwrap()), exempt, "{ip}");
    }
    let rates = [limits.bandwidth, limits.bandwidth_of_each].map(|rate| rate.map(u64::from));
    assert_eq!(rates, [Some(1 << 20), Some(10_000)]);
    let limits = service(
        r#""limits": { "connectionRate": { "count": 1, "burst": 5 }, "bytesPerSecond": "1GiB" }"#,
    )
    .limits;
    let rate = limits.connection_rate.expect("there is one");
    assert_eq!((rate.per, rate.burst.get()), (Duration::from_secs(1), 5));
    assert_eq!((limits.bandwidth.map(u64::from), limits.bandwidth_of_each), (Some(1 << 30), None));
}

#[test]
fn a_share_of_the_lifetime() {
    let jitter = |timeouts: &str| service(&format!("\"timeouts\": {timeouts}")).timeouts;
    let tenth = jitter(r#"{ "lifetime": "1h" }"#).lifetime_jitter;
    assert_eq!(tenth, Duration::from_secs(360));
    let none = jitter(r#"{ "lifetime": "1h", "lifetimeJitter": "0%" }"#).lifetime_jitter;
    assert_eq!(none, Duration::ZERO);
    let span = jitter(r#"{ "lifetime": "1h", "lifetimeJitter": "5m" }"#).lifetime_jitter;
    assert_eq!(span, Duration::from_secs(300));
    for (value, text) in
        [(Jitter::Percent(7), "\"7%\""), (Jitter::Span(Span(Duration::from_secs(2))), "\"2s\"")]
    {
        assert_eq!(serde_json::to_string(&value).unwrap(), text);
    }
    assert_eq!(serde_json::to_string(&Size(64 << 10)).unwrap(), "\"64KiB\"");
}

#[test]
fn a_long_list_is_better_in_a_file() {
    let networks: Vec<String> =
        (0..2000).map(|n| format!("\"10.{}.{}.0/24\"", n / 256, n % 256)).collect();
    let text = one(&format!("\"access\": {{ \"deny\": [ {} ] }}", networks.join(",")));
    assert_eq!(faults(&text), [("W193", "services[0].access.deny".to_owned())]);
}

#[test]
fn a_file_of_networks_is_read_with_the_configuration() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("thalweg.json");
    std::fs::write(&path, one(r#""access": { "allowFile": "a.txt" }"#)).unwrap();
    let codes = || load(&path).diagnostics.iter().map(|it| it.code).collect::<Vec<_>>();
    assert_eq!(codes(), ["E150"]);
    std::fs::write(dir.path().join("a.txt"), "x\ny\n").unwrap();
    assert_eq!(codes(), ["E150", "E150"]);
    std::fs::write(dir.path().join("a.txt"), "10.0.0.0/8\n").unwrap();
    let loaded = load(&path);
    assert!(loaded.diagnostics.is_empty(), "{:?}", loaded.diagnostics);
    assert_eq!(loaded.material.networks.get(&dir.path().join("a.txt")).map(|it| it.len()), Some(1));
}
