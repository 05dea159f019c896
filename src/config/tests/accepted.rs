//! What loads, and as what.

use super::*;

#[test]
fn every_example_loads_without_a_warning() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("config");
    let mut seen = 0;
    for entry in std::fs::read_dir(&dir).expect("the examples are there") {
        let path = entry.expect("an entry").path();
        // A dashboard, and none of ours.
        let foreign = path.ends_with("grafana.json");
        if !foreign && path.extension().is_some_and(|extension| extension == "json") {
            // The files that they name are made by the whole-process test of the examples.
            let loaded = load_text(&std::fs::read_to_string(&path).unwrap(), &dir);
            let notable = |finding: &&Diagnostic| finding.severity > Severity::Info;
            let notable: Vec<_> = loaded.diagnostics.iter().filter(notable).collect();
            assert!(notable.is_empty(), "{path:?}: {notable:#?}");
            assert!(loaded.checked.is_some());
            seen += 1;
        }
    }
    assert!(seen >= 3);
}

#[test]
fn defaults_are_those_of_the_contract() {
    let checked = good(&one(""));
    assert_eq!(checked.workers.cores, Cores::All);
    assert!(checked.workers.pin);
    assert_eq!(checked.workers.io_uring, IoUring::Require);
    assert_eq!(checked.events, None);
    let service = &checked.services[0];
    assert_eq!(service.listen, "0.0.0.0:7000".parse().unwrap());
    assert_eq!(service.rules[0].targets[0].port, 8080);
    assert_eq!(service.limits.connections, None);
    assert_eq!(service.retries, 1);
    assert_eq!(service.on_removed, OnRemoved::Keep);
    assert_eq!(service.tls, Tls::Disabled);
    assert!(!service.by_name);
    assert_eq!(service.rules, [rule(Pattern::any(), &service.rules[0].targets)]);
    assert_eq!(service.fallbacks, Fallbacks::default());
    assert_eq!(service.timeouts.hello, Duration::from_secs(3));
    assert_eq!(service.timeouts.handshake, Duration::from_secs(10));
    assert_eq!(service.timeouts.connect, Duration::from_secs(5));
    assert_eq!(service.timeouts.idle, Some(Duration::from_secs(3600)));
    assert_eq!(service.timeouts.half_closed, Some(Duration::from_secs(60)));
    assert_eq!(service.timeouts.lifetime, None);
}

#[test]
fn full_json_says_the_defaults() {
    let full = good(&example("full.json"));
    let service = full.services.iter().find(|service| &*service.id == "full").expect("it is there");
    let plain = good(&one("")).services.pop().expect("one service");
    assert_eq!(service.timeouts, plain.timeouts);
    assert_eq!(service.limits, plain.limits);
    assert_eq!(service.retries, plain.retries);
    assert_eq!(service.on_removed, plain.on_removed);
    assert_eq!(service.tls, plain.tls);
    assert_eq!(service.fallbacks, plain.fallbacks);
    assert_eq!(full.workers, good(&one("")).workers);
    let checks = r#""healthCheck": { "passive": {} }"#;
    assert_eq!(service.health, good(&one(checks)).services.pop().expect("one service").health);
}

#[test]
fn a_health_check_is_read_as_it_says() {
    let shown = |check: &str| {
        let service = service(&format!("\"healthCheck\": {check}"));
        service.health.expect("it is there").to_string()
    };
    let times = "every 5s (1s in doubt) within 3s, up after 2, down after 3";
    assert_eq!(shown("{}"), format!("connect {times}"));
    assert_eq!(
        shown(
            r#"{ "interval": "500ms", "initial": "Down", "onDown": "Close", "proxyProtocol": "V2" }"#
        ),
        "connect after PROXY V2 every 500ms (500ms in doubt) within 3s, up after 2, down after 3, \
         down at first, connections cut when down"
    );
    assert_eq!(
        shown(
            r#"{ "commands": [ { "name": "send", "message": "Hex(0d 0A)" },
                               { "name": "expect", "message": "Regex(a+)" } ] }"#
        ),
        format!(r#"send "\r\n", expect Regex(a+) {times}"#)
    );
    assert_eq!(
        shown(
            r#"{ "http": { "path": "/a", "status": [200, 429], "body": "ok" }, "slowStart": "1m" }"#
        ),
        format!("http GET /a = 200|429 with \"ok\" {times}, slow start 1m")
    );
    assert_eq!(
        shown(r#"{ "interval": null, "passive": {} }"#),
        "no checks; out for 30s after 5 failed connections, at most 50 %"
    );
}

#[test]
fn tls_of_a_check_follows_the_target() {
    let of = |check: &str, target: &str| {
        let rules = format!("\"rules\": [{{ \"targets\": [{target}] }}]");
        let service = service(&format!("\"healthCheck\": {check}, {rules}"));
        let check = service.rules[0].targets[0].check.clone().expect("it is checked");
        (check.port, check.tls.map(|tls| tls.insecure))
    };
    let (plain, tls) = (r#"{ "host": "db" }"#, r#"{ "host": "db", "tls": true }"#);
    assert_eq!(of("{}", plain), (None, None));
    assert_eq!(of("{}", tls), (None, None), "a connect only");
    assert_eq!(of(r#"{ "tls": true }"#, tls), (None, Some(false)));
    assert_eq!(of(r#"{ "tls": true }"#, plain), (None, Some(true)));
    assert_eq!(of(r#"{ "http": {} }"#, tls), (None, Some(false)));
    assert_eq!(of(r#"{ "http": {}, "tls": false }"#, tls), (None, None));
    assert_eq!(of(r#"{ "http": {}, "port": 8008 }"#, tls), (Some(8008), None));
    assert_eq!(of(r#"{ "http": {}, "port": 8008, "tls": true }"#, tls), (Some(8008), Some(false)));
}

#[test]
fn values_arrive_in_their_units() {
    let service = service(
        r#""interface": "[::1]", "limits": { "connections": 10 }, "retries": 0,
           "timeouts": { "hello": "1s", "handshake": "2s", "connect": "250ms", "idle": null, "halfClosed": "1h30m", "lifetime": "1d" },
           "onRemoved": { "closeAfter": "0s" }"#,
    );
    assert_eq!(service.listen, "[::1]:7000".parse().unwrap());
    assert_eq!(service.limits.connections.map(u32::from), Some(10));
    assert_eq!(service.retries, 0);
    assert_eq!(service.timeouts.hello, Duration::from_secs(1));
    assert_eq!(service.timeouts.handshake, Duration::from_secs(2));
    assert_eq!(service.timeouts.connect, Duration::from_millis(250));
    assert_eq!(service.timeouts.idle, None);
    assert_eq!(service.timeouts.half_closed, Some(Duration::from_secs(5400)));
    assert_eq!(service.timeouts.lifetime, Some(Duration::from_secs(86400)));
    assert_eq!(service.on_removed, OnRemoved::CloseAfter(Duration::ZERO));
}

#[test]
fn workers_and_events() {
    let text = |cores: &str| {
        format!(
            "{{\"workers\":{{\"cores\":{cores},\"pin\":false,\"ioUring\":\"Prefer\"}},\
             \"events\":{{\"file\":\"log/events.ndjson\"}},{}",
            &one("")[1..]
        )
    };
    let checked = good(&text("[3, 1]"));
    assert_eq!(checked.workers.cores, Cores::List(vec![3, 1]));
    assert_eq!(checked.workers.io_uring, IoUring::Prefer);
    assert!(!checked.workers.pin);
    let events = checked.events.expect("there are events");
    assert!(!events.open && events.periodic.is_none() && events.whole_service);
    let places: Vec<_> = events.outputs.iter().map(ToString::to_string).collect();
    assert_eq!(places, ["file /etc/thalweg/log/events.ndjson"]);
    assert!(matches!(good(&text("2")).workers.cores, Cores::Count(n) if n.get() == 2));
    assert_eq!(good(&text("\"all\"")).workers.cores, Cores::All);
}

#[test]
fn targets_of_all_rules_in_order() {
    let service = service(
        r#""rules": [
            { "targets": [ { "host": "db_1.internal.", "port": 1 }, { "host": "10.0.0.1" } ] },
            { "domain": "x", "targets": [
                { "host": "db", "ip": "10.0.0.2" }, { "ip": "::2" }, { "host": "[::3]" },
                { "host": "unix:/run/db.sock", "port": 5 }, { "host": "unix:run/db.sock" } ] } ]"#,
    );
    let got: Vec<_> = service.rules[0]
        .targets
        .iter()
        .map(|target| (&*target.host, target.address.clone(), target.port))
        .collect();
    let ip = |text: &str| Address::Ip(text.parse().unwrap());
    let expected = [
        ("db_1.internal.", Address::Name, 1),
        ("10.0.0.1", ip("10.0.0.1"), 8080),
        ("db", ip("10.0.0.2"), 8080),
        ("::2", ip("::2"), 8080),
        ("[::3]", ip("::3"), 8080),
        ("unix:/run/db.sock", Address::Unix("/run/db.sock".into()), 0),
        ("unix:run/db.sock", Address::Unix("/etc/thalweg/run/db.sock".into()), 0),
    ];
    assert_eq!(got, expected);
}

#[test]
fn the_document_is_kept_as_written() {
    let written = r#"{"port":7000,"id":"a","_loc":{"teams":["x"]},"rules":[{"targets":[{"host":"db","backup":false}]}],"metadata":{"b":"1","a":"é\n"}}"#;
    let spaced = written.replace(':', " :\n ").replace(',', " , ");
    let checked = good(&format!("{{\"services\":[{spaced}]}}"));
    assert_eq!(&*checked.services[0].document, written);
}

#[test]
fn otoroshi_without_tls_loads() {
    let text = OTOROSHI.replace("\"Enabled\"", "\"Disabled\"").replace(
        "\"enabled\": true,\n    \"forwardIfNoMatch\"",
        "\"enabled\": false, \"forwardIfNoMatch\"",
    );
    let checked = good(&text);
    assert_eq!(&*checked.services[0].name, "PostgreSQL proxy");
    assert_eq!(&*checked.services[0].rules[0].targets[0].host, "postgres-replica.internal");
    let remarks: Vec<_> =
        read(&text).diagnostics.into_iter().map(|finding| (finding.code, finding.path)).collect();
    let expected = [
        ("I122", "services[0].sni.forwardIfNoMatch".to_owned()),
        ("I120", "services[0].rules[0].domain".to_owned()),
    ];
    assert_eq!(remarks, expected);
}

#[test]
fn a_disabled_service_is_not_served_and_owns_nothing() {
    let off = r#"{"id":"off","enabled":false,"port":7000,"tls":"Enabled","access":{},"rules":[]}"#;
    let text = one("").replace("\"services\":[", &format!("\"services\":[{off},"));
    let checked = good(&text);
    assert_eq!(checked.services.len(), 1);
    assert_eq!(&*checked.services[0].id, "a");
}

#[test]
fn one_port_on_two_addresses() {
    let two = |a: &str, b: &str| {
        let service = |id: &str, interface: &str| {
            format!(
                "{{\"id\":\"{id}\",\"port\":7000,\"interface\":\"{interface}\",\
                 \"rules\":[{{\"targets\":[{{\"host\":\"db\"}}]}}]}}"
            )
        };
        faults(&format!("{{\"services\":[{},{}]}}", service("a", a), service("b", b)))
    };
    assert!(two("127.0.0.1", "127.0.0.2").is_empty());
    assert!(two("0.0.0.0", "::1").is_empty());
    let port = |code| vec![(code, "services[1].port".to_owned())];
    assert_eq!(two("127.0.0.1", "127.0.0.1"), port("E124"));
    assert_eq!(two("127.0.0.1", "::ffff:127.0.0.1"), port("E124"));
    assert_eq!(two("::1", "[::1]"), port("E124"));
    assert_eq!(two("0.0.0.0", "127.0.0.1"), port("E125"));
    assert_eq!(two("127.0.0.1", "::"), port("E125"));
    assert_eq!(two("0.0.0.0", "::"), port("E125"));
}

#[test]
fn reserved_names_that_ask_for_nothing_pass() {
    good(&one(
        r#""access": null, "limits": { "connectionRate": null }, "loadBalancing": "RoundRobin""#,
    ));
    let top = one("").replacen(
        '{',
        r#"{"certificates":null,"portsWhitelist":null,"disablePortsWhitelist":false,"#,
        1,
    );
    good(&top);
}

#[test]
fn durations_are_written_as_they_are_read() {
    use super::super::span::Span;
    for text in ["250ms", "3s", "1h30m", "1d", "366d", "1d2h3m4s5ms", "0s"] {
        assert_eq!(Span::parse(text).map(|span| span.to_string()), Ok(text.to_owned()));
    }
    for text in [
        "",
        "5",
        "s",
        "1.5s",
        "5 s",
        "-5s",
        "5S",
        "1m1m",
        "1s1m",
        "367d",
        "99999999999999999999s",
        "5s5",
        "１s",
    ] {
        assert!(Span::parse(text).is_err(), "{text}");
    }
}

#[test]
fn the_schema_names_every_key_of_the_full_example() {
    let schema = crate::cli::schema::text();
    let full = example("full.json");
    let keys = full.split('"').collect::<Vec<_>>();
    let keys = keys.windows(2).filter(|pair| pair[1].starts_with(':')).map(|pair| pair[0]);
    let free = ["tenant", "teams", "Accept", "X-Consul-Token"];
    for key in keys.filter(|key| !free.contains(key)) {
        assert!(schema.contains(&format!("\"{key}\"")), "{key}");
    }
    assert!(schema.contains("https://json-schema.org/draft/2020-12/schema"));
}

#[test]
fn ten_thousand_services() {
    let service = |n: usize| {
        format!(
            "{{\"id\":\"s{n}\",\"port\":{},\"rules\":[{{\"targets\":[{{\"host\":\"db{n}\"}}]}}]}}",
            n + 1
        )
    };
    let services: Vec<_> = (0..10_000).map(service).collect();
    let checked = good(&format!("{{\"services\":[{}]}}", services.join(",")));
    assert_eq!(checked.services.len(), 10_000);
}
