//! `uptime_tests`.

use super::*;

fn with(decide: bool, checks: Value) -> Value {
    tcp(json!({
        "check_host_against_uptime_tests": decide, "enable_load_balancing": true,
        "proxy": { "target_list": ["10.0.0.1:1", "10.0.0.2:2"] },
        "uptime_tests": { "check_list": checks }
    }))
}

#[test]
fn a_check_is_of_the_target_with_its_address() {
    let bench = Bench::new();
    let one = json!({ "url": "tcp://10.0.0.2:2" });
    let service = bench.service(&with(true, json!([one])));
    let plain = json!({ "interval": "10s", "rise": 3, "fall": 3, "tls": false });
    assert_eq!(service["healthCheck"], plain);
    let targets = &service["rules"][0]["targets"];
    assert_eq!(targets[0].get("healthCheck"), Some(&Value::Null));
    assert_eq!(targets[1].get("healthCheck"), None);
    // Two of the same kind are the service's.
    let service = bench.service(&with(true, json!([one, { "url": "tcp://10.0.0.1:1" }])));
    assert!(service["rules"][0]["targets"][0].get("healthCheck").is_none());
    // Of another kind one is the target's.
    let other = json!({ "url": "10.0.0.1:1", "timeout": "2s", "enable_proxy_protocol": true });
    let service = bench.service(&with(true, json!([one, other])));
    let targets = &service["rules"][0]["targets"];
    let own =
        json!({ "interval": "10s", "rise": 3, "fall": 3, "timeout": "2s", "proxyProtocol": "V2" });
    assert_eq!(service["healthCheck"], own);
    assert_eq!(targets[1]["healthCheck"], plain);
    let told = |checks| bench.found(&with(true, checks));
    assert_eq!(
        told(json!([one, { "url": "10.0.0.1:2" }, one])),
        ["W313 uptime_tests.check_list[1].url", "W313 uptime_tests.check_list[2].url"]
    );
    assert_eq!(told(json!([])), ["W310 uptime_tests"]);
}

#[test]
fn checks_decide_only_if_they_are_asked() {
    let bench = Bench::new();
    let checks = json!([{ "url": "10.0.0.1:1" }]);
    let service = bench.service(&with(false, checks.clone()));
    assert_eq!(service["healthCheck"]["panicThreshold"], 100);
    assert_eq!(bench.found(&with(false, checks.clone())), ["I312 uptime_tests"]);
    let off = |tests| merged(with(true, checks.clone()), json!({ "uptime_tests": tests }));
    assert_eq!(bench.found(&off(json!({ "disabled": true }))), ["W310 uptime_tests"]);
    assert!(bench.service(&off(json!({ "disabled": true }))).get("healthCheck").is_none());
}

#[test]
fn times_are_those_of_go() {
    let mut bench = Bench::new();
    let check = |timeout: Value| with(true, json!([{ "url": "10.0.0.1:1", "timeout": timeout }]));
    let timeout = |timeout| bench.service(&check(timeout))["healthCheck"]["timeout"].clone();
    assert_eq!(timeout(json!(5_000_000_000_u64)), "5s");
    assert_eq!(timeout(json!("250ms")), "250ms");
    assert_eq!(timeout(json!(0)), Value::Null);
    assert_eq!(timeout(json!(5)), Value::Null);
    assert_eq!(bench.found(&check(json!(5))), ["W314 uptime_tests.check_list[0].timeout"]);
    assert_eq!(bench.found(&check(json!(-5))), ["E102 uptime_tests.check_list[0].timeout"]);
    assert_eq!(bench.found(&check(json!("soon"))), ["E106 uptime_tests.check_list[0].timeout"]);
    bench.gateway(&json!({ "uptime_tests": { "config": { "failure_trigger_sample_size": 1, "time_wait": 30 } } }));
    let health = bench.service(&check(json!(0)))["healthCheck"].clone();
    assert_eq!(health, json!({ "interval": "30s", "rise": 1, "fall": 1 }));
    let own = merged(check(json!(0)), json!({ "uptime_tests": { "config": { "time_wait": 5 } } }));
    assert_eq!(bench.service(&own)["healthCheck"]["interval"], "5s");
    bench.gateway(&json!({ "uptime_tests": { "disable": true } }));
    assert!(bench.service(&check(json!(0))).get("healthCheck").is_none());
}

#[test]
fn what_checks_say() {
    let bench = Bench::new();
    let health = |check: Value| {
        let check = merged(json!({ "url": "10.0.0.1:1" }), check);
        bench.service(&with(false, json!([check])))["healthCheck"].clone()
    };
    assert_eq!(health(json!({ "protocol": "tls" }))["tls"], true);
    assert_eq!(health(json!({}))["tls"], Value::Null);
    let said = |message: &str| {
        let commands = json!([{ "name": "expect", "message": message }]);
        health(json!({ "commands": commands }))["commands"][0]["message"].clone()
    };
    assert_eq!(said("role:master"), "role:master");
    // Native forms are not Tyk's.
    assert_eq!(said("Hex(41)"), "Hex(48 65 78 28 34 31 29)");
    assert_eq!(said("Regex(a)"), "Hex(52 65 67 65 78 28 61 29)");
    assert_eq!(
        health(json!({ "url": "http://10.0.0.1:1/up?x#y", "headers": { "Host": "db" } }))["http"],
        json!({ "path": "/up?x", "method": "GET", "host": "db", "status": [200] })
    );
    assert_eq!(health(json!({ "url": "https://10.0.0.1:1" }))["tls"], true);
    let written = health(
        json!({ "protocol": "http", "method": "post", "headers": { "X-Y": "z" }, "body": "aGk=" }),
    );
    assert_eq!(
        written["commands"][0]["message"],
        "POST / HTTP/1.1\r\nHost: 10.0.0.1:1\r\nConnection: close\r\nX-Y: z\r\nContent-Length: 2\r\n\r\nhi"
    );
    let told = |check: Value| {
        let check = merged(json!({ "url": "10.0.0.1:1" }), check);
        let mut told = bench.found(&with(true, json!([check])));
        told.retain(|it| it.starts_with('E'));
        told.iter().map(|it| it.replace("uptime_tests.check_list[0].", "")).collect::<Vec<_>>()
    };
    assert_eq!(told(json!({ "url": "10.0.0.1" })), ["E318 url"]);
    assert_eq!(told(json!({ "url": null })), ["E318 url"]);
    assert_eq!(told(json!({ "protocol": "udp" })), ["E318 protocol"]);
    assert_eq!(told(json!({ "url": "ws://10.0.0.1:1" })), ["E318 url"]);
    assert_eq!(
        told(json!({ "commands": [{ "name": "expct", "message": "x" }] })),
        ["E318 commands[0].name"]
    );
    assert_eq!(told(json!({ "commands": [{ "name": "send" }] })), ["E318 commands[0].message"]);
    assert_eq!(told(json!({ "protocol": "http", "body": "%" })), ["E318 body"]);
    assert_eq!(told(json!({ "protocol": "http", "method": "A B" })), ["E318 method"]);
    assert_eq!(
        told(json!({ "protocol": "http", "headers": { "a": "b\r\nc: d" } })),
        ["E318 headers"]
    );
    assert_eq!(
        told(json!({ "protocol": "http", "commands": [{ "name": "send", "message": "x" }] })),
        ["E318 commands"]
    );
}
