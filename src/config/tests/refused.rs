//! What is refused, with which code and where.

use super::*;

/// One service with these members gives exactly this fault (paths without `services[0].`).
#[test]
fn one_fault_in_a_service() {
    let table = [
        (r#""prot": 1"#, "E101", "prot"),
        (r#""Port": 1"#, "E101", "Port"),
        (r#""enabled": "yes""#, "E102", "enabled"),
        (r#""enabled": null"#, "E102", "enabled"),
        (r#""name": 5"#, "E102", "name"),
        (r#""interface": "eth0""#, "E123", "interface"),
        (r#""interface": """#, "E123", "interface"),
        (r#""interface": "127.0.0.1:80""#, "E123", "interface"),
        (r#""tls": "Enable""#, "E103", "tls"),
        (r#""tls": "ENABLED""#, "E103", "tls"),
        (r#""tls": false"#, "E102", "tls"),
        (r#""tls": "Enabled""#, "E138", "tls"),
        (r#""clientAuth": "Required""#, "E103", "clientAuth"),
        (r#""clientAuth": "NEED""#, "E132", "clientAuth"),
        (r#""sni": { "enable": true }"#, "E101", "sni.enable"),
        (
            r#""sni": { "forwardsTo": { "proxyProtocol": "V3" } }"#,
            "E103",
            "sni.forwardsTo.proxyProtocol",
        ),
        (r#""tags": ["a", 1, 2]"#, "E102", "tags[1]"),
        (r#""metadata": { "a": 1 }"#, "E102", "metadata.a"),
        (r#""loadBalancing": "Roundrobin""#, "E103", "loadBalancing"),
        (r#""limits": { "connections": 0 }"#, "E106", "limits.connections"),
        (r#""limits": { "connections": -1 }"#, "E106", "limits.connections"),
        (r#""limits": { "connectionsPerSource": 0 }"#, "E106", "limits.connectionsPerSource"),
        (r#""timeouts": { "connect": 5 }"#, "E107", "timeouts.connect"),
        (r#""timeouts": { "connect": "5" }"#, "E107", "timeouts.connect"),
        (r#""timeouts": { "connect": null }"#, "E107", "timeouts.connect"),
        (r#""timeouts": { "idle": "5min" }"#, "E107", "timeouts.idle"),
        (r#""timeouts": { "idle": "0ms" }"#, "E107", "timeouts.idle"),
        (r#""timeouts": { "hello": "0s" }"#, "E107", "timeouts.hello"),
        (r#""timeouts": { "Idle": "1s" }"#, "E101", "timeouts.Idle"),
        (r#""timeouts": [] "#, "E102", "timeouts"),
        (r#""retries": 17"#, "E106", "retries"),
        (r#""retries": -1"#, "E106", "retries"),
        (r#""retries": 1.5"#, "E102", "retries"),
        (r#""onRemoved": "keep""#, "E103", "onRemoved"),
        (r#""onRemoved": {}"#, "E104", "onRemoved.closeAfter"),
        (r#""onRemoved": { "closeAftr": "1s" }"#, "E101", "onRemoved.closeAftr"),
        (r#""onRemoved": { "closeAfter": 1 }"#, "E107", "onRemoved.closeAfter"),
        (r#""acess": { "allow": [] }"#, "E101", "acess"),
        (r#""healthCheck": []"#, "E102", "healthCheck"),
        (r#""healthCheck": { "every": "1s" }"#, "E101", "healthCheck.every"),
        (r#""healthCheck": { "interval": "0s" }"#, "E107", "healthCheck.interval"),
        (r#""healthCheck": { "interval": "1ms" }"#, "E106", "healthCheck.interval"),
        (r#""healthCheck": { "fastInterval": "1m" }"#, "E106", "healthCheck.fastInterval"),
        (r#""healthCheck": { "timeout": null }"#, "E107", "healthCheck.timeout"),
        (r#""healthCheck": { "rise": 0 }"#, "E106", "healthCheck.rise"),
        (r#""healthCheck": { "fall": 256 }"#, "E106", "healthCheck.fall"),
        (r#""healthCheck": { "port": 0 }"#, "E106", "healthCheck.port"),
        (r#""healthCheck": { "initial": "up" }"#, "E103", "healthCheck.initial"),
        (r#""healthCheck": { "onDown": "close" }"#, "E103", "healthCheck.onDown"),
        (r#""healthCheck": { "proxyProtocol": "v1" }"#, "E103", "healthCheck.proxyProtocol"),
        (r#""healthCheck": { "panicThreshold": 101 }"#, "E106", "healthCheck.panicThreshold"),
        (r#""healthCheck": { "slowStart": "0s" }"#, "E107", "healthCheck.slowStart"),
        (r#""healthCheck": { "interval": null }"#, "W160", "healthCheck"),
        (
            r#""healthCheck": { "interval": null, "passive": {}, "commands": [
                { "name": "expect", "message": "a" } ] }"#,
            "W160",
            "healthCheck.commands",
        ),
        (
            r#""healthCheck": { "passive": { "failures": 0 } }"#,
            "E106",
            "healthCheck.passive.failures",
        ),
        (
            r#""healthCheck": { "passive": { "maxEjected": 0 } }"#,
            "E106",
            "healthCheck.passive.maxEjected",
        ),
        (
            r#""healthCheck": { "passive": { "ejectFor": "0s" } }"#,
            "E107",
            "healthCheck.passive.ejectFor",
        ),
        (
            r#""healthCheck": { "commands": [ { "message": "a" } ] }"#,
            "E104",
            "healthCheck.commands[0].name",
        ),
        (
            r#""healthCheck": { "commands": [ { "name": "send" } ] }"#,
            "E104",
            "healthCheck.commands[0].message",
        ),
        (
            r#""healthCheck": { "commands": [ { "name": "recv", "message": "a" } ] }"#,
            "E103",
            "healthCheck.commands[0].name",
        ),
        (
            r#""healthCheck": { "commands": [ { "name": "expect", "message": "Regex(a" } ],
                "http": {} }"#,
            "E160",
            "healthCheck.http",
        ),
        (
            r#""healthCheck": { "commands": [ { "name": "expect", "message": "Regex(()" } ] }"#,
            "E161",
            "healthCheck.commands[0].message",
        ),
        (
            r#""healthCheck": { "commands": [ { "name": "send", "message": "Hex(0)" } ] }"#,
            "E161",
            "healthCheck.commands[0].message",
        ),
        (r#""healthCheck": { "http": { "path": "x" } }"#, "E160", "healthCheck.http.path"),
        (r#""healthCheck": { "http": { "method": "" } }"#, "E160", "healthCheck.http.method"),
        (r#""healthCheck": { "http": { "host": "a b" } }"#, "E160", "healthCheck.http.host"),
        (r#""healthCheck": { "http": { "status": [] } }"#, "E160", "healthCheck.http.status"),
        (r#""healthCheck": { "http": { "status": [99] } }"#, "E160", "healthCheck.http.status"),
        (r#""healthCheck": { "http": { "body": "" } }"#, "E161", "healthCheck.http.body"),
        (
            r#""healthCheck": { "port": 1 }, "rules": [{"targets":[{"host":"unix:/x"}]}]"#,
            "E160",
            "healthCheck.port",
        ),
        (r#""port": 7000"#, "E105", "port"),
        (r#""rules": []"#, "E126", "rules"),
        (r#""rules": [{}]"#, "E126", "rules"),
        (r#""rules": {}"#, "E102", "rules"),
        (r#""rules": [7]"#, "E102", "rules[0]"),
        (r#""rules": [{ "target": [] }]"#, "E101", "rules[0].target"),
    ];
    for (members, code, path) in table {
        assert_eq!(faults(&one(members)), [(code, format!("services[0].{path}"))], "{members}");
    }
}

/// A target with these members gives exactly this fault.
#[test]
fn one_fault_in_a_target() {
    let table = [
        (r#""port": 1"#, "E104", ".host"),
        (r#""host": """#, "E127", ".host"),
        (r#""host": "db:5432""#, "E127", ".host"),
        (r#""host": "tcp://db""#, "E127", ".host"),
        (r#""host": "a..b""#, "E127", ".host"),
        (r#""host": "-a""#, "E127", ".host"),
        (r#""host": "10.0.0.256""#, "E127", ".host"),
        (r#""host": "dé""#, "E127", ".host"),
        (r#""host": 5"#, "E102", ".host"),
        (r#""host": "0.0.0.0""#, "E131", ".host"),
        (r#""host": "db", "ip": "db""#, "E131", ".ip"),
        (r#""host": "db", "ip": """#, "E131", ".ip"),
        (r#""host": "db", "ip": "::""#, "E131", ".ip"),
        (r#""host": "db", "ip": "224.0.0.1""#, "E131", ".ip"),
        (r#""host": "db", "ip": "fe80::1%eth0""#, "E131", ".ip"),
        (r#""host": "a b", "ip": "10.0.0.1""#, "E127", ".host"),
        (r#""host": "db", "port": 0"#, "E106", ".port"),
        (r#""host": "db", "port": 65536"#, "E106", ".port"),
        (r#""host": "db", "port": "5432""#, "E102", ".port"),
        (r#""host": "db", "weight": 65536"#, "E106", ".weight"),
        (r#""host": "db", "wieght": 2"#, "E101", ".wieght"),
        (r#""host": "db", "maxConnections": 0"#, "E106", ".maxConnections"),
        (r#""host": "db", "insecureSkipVerify": true"#, "E139", ".insecureSkipVerify"),
        (r#""host": "unix:""#, "E127", ".host"),
        (r#""host": "unix:@x""#, "E127", ".host"),
        (r#""host": "unix:/x", "ip": "10.0.0.1""#, "E127", ".ip"),
        (r#""host": "127.0.0.1", "port": 7000"#, "E128", ""),
        (r#""host": "127.8.8.8", "port": 7000"#, "E128", ""),
        (r#""host": "LocalHost.", "port": 7000"#, "E128", ""),
        (r#""host": "me", "ip": "127.0.0.1", "port": 7000"#, "E128", ""),
    ];
    for (members, code, path) in table {
        let text = one(&format!("\"rules\": [{{\"targets\":[{{{members}}}]}}]"));
        let path = format!("services[0].rules[0].targets[0]{path}");
        assert_eq!(faults(&text), [(code, path)], "{members}");
    }
}

/// These texts give exactly this fault.
#[test]
fn one_fault_in_the_file() {
    let deep = "[".repeat(1000);
    let long = format!(
        r#"{{"services":[{{"id":"a","port":1,"rules":[{{"targets":[{{"host":"{}"}}]}}]}}]}}"#,
        "a.".repeat(200)
    );
    let table = [
        ("", "E114", ""),
        (" \n ", "E114", ""),
        ("\u{feff}{}", "E112", ""),
        ("{", "E113", ""),
        ("{\"services\":[],}", "E113", ""),
        ("{} {}", "E113", ""),
        ("[]", "E102", ""),
        ("null", "E102", ""),
        (deep.as_str(), "E115", ""),
        ("{}", "W120", "services"),
        (r#"{"services":{}}"#, "E102", "services"),
        (r#"{"services":[7]}"#, "E102", "services[0]"),
        (r#"{"services":[null]}"#, "E102", "services[0]"),
        (r#"{"sevices":[]}"#, "E101", "sevices"),
        (long.as_str(), "E127", "services[0].rules[0].targets[0].host"),
    ];
    for (text, code, path) in table {
        assert_eq!(faults(text), [(code, path.to_owned())], "{text}");
    }
}

/// The top level with these members, and a sound service, gives exactly this fault.
#[test]
fn one_fault_at_the_top() {
    let table = [
        (r#""workers": { "cores": 0 }"#, "E106", "workers.cores"),
        (r#""workers": { "cores": -1 }"#, "E106", "workers.cores"),
        (r#""workers": { "cores": [] }"#, "E106", "workers.cores"),
        (r#""workers": { "cores": [1, 1] }"#, "E106", "workers.cores[1]"),
        (r#""workers": { "cores": ["1"] }"#, "E102", "workers.cores[0]"),
        (r#""workers": { "cores": "All" }"#, "E103", "workers.cores"),
        (r#""workers": { "ioUring": "require" }"#, "E103", "workers.ioUring"),
        (r#""workers": { "iouring": "Require" }"#, "E101", "workers.iouring"),
        (r#""workers": 4"#, "E102", "workers"),
        (r#""events": {}"#, "E104", "events.file"),
        (r#""events": { "file": "" }"#, "E106", "events.file"),
        (r#""events": "x""#, "E102", "events"),
        (r#""admin": {}"#, "E104", "admin.listen"),
        (r#""admin": { "listen": "localhost" }"#, "E147", "admin.listen"),
        (r#""admin": { "listen": "127.0.0.1:0" }"#, "E147", "admin.listen"),
        (r#""admin": { "listen": "unix:" }"#, "E147", "admin.listen"),
        (r#""admin": { "listen": "0.0.0.0:9900" }"#, "E146", "admin.listen"),
        (r#""admin": { "listen": [] }"#, "E147", "admin.listen"),
        (r#""admin": { "listen": ["unix:a", "unix:b", "unix:a"] }"#, "E147", "admin.listen[2]"),
        (r#""admin": { "listen": ["127.0.0.1:1", "x"] }"#, "E147", "admin.listen[1]"),
        (r#""admin": { "listen": "unix:a", "requireToken": true }"#, "E146", "admin.requireToken"),
        (r#""admin": { "listen": "[::1]:1", "keyFile": "a.key" }"#, "E210", "admin.keyFile"),
        (
            r#""admin": { "listen": "[::1]:1", "clientCaFiles": ["a"] }"#,
            "E210",
            "admin.clientCaFiles",
        ),
        (r#""admin": { "listen": "[::1]:1", "hosts": ["a:80"] }"#, "E106", "admin.hosts[0]"),
        (r#""admin": { "listen": "unix:a", "unixMode": "888" }"#, "E106", "admin.unixMode"),
        (r#""admin": { "listen": "unix:a", "unixMode": "7777" }"#, "E106", "admin.unixMode"),
        (r#""admin": { "listen": "127.0.0.1:9900", "tokenFile": "" }"#, "E106", "admin.tokenFile"),
        (r#""portsWhitelist": { "tpc": {} }"#, "E101", "portsWhitelist.tpc"),
        (
            r#""ports_whitelist": { "tcp": { "ranges": [{ "from": 2, "to": 1 }] } }"#,
            "E300",
            "portsWhitelist.tcp.ranges[0]",
        ),
        (r#""listeners": [{ "name": "a" }]"#, "E104", "listeners[0].port"),
        (
            r#""listeners": [{ "name": "a", "port": 1 }, { "name": "a", "port": 2 }]"#,
            "E304",
            "listeners[1].name",
        ),
        (r#""providers": { "tik": {} }"#, "E101", "providers.tik"),
        (r#""providers": { "docker": { "endpoint": "x" } }"#, "E106", "providers.docker.endpoint"),
        (
            r#""providers": { "kubernetes": { "statusAddresses": ["192.0.2.3", "no name"] } }"#,
            "E106",
            "providers.kubernetes.statusAddresses[1]",
        ),
        (
            r#""providers": { "kubernetes": { "leaderElection": { "name": "Lease" } } }"#,
            "E106",
            "providers.kubernetes.leaderElection.name",
        ),
        (
            r#""providers": { "kubernetes": { "leaderElection": { "leaseDuration": "1500ms" } } }"#,
            "E106",
            "providers.kubernetes.leaderElection.leaseDuration",
        ),
        (r#""addresses": {}"#, "E140", "addresses"),
        (r#""tunnel": {}"#, "E140", "tunnel"),
        (r#""endpoints": []"#, "E140", "endpoints"),
        (r#""certficates": []"#, "E101", "certficates"),
    ];
    for (member, code, path) in table {
        let text = one("").replacen('{', &format!("{{{member},"), 1);
        assert_eq!(faults(&text), [(code, path.to_owned())], "{member}");
    }
}

#[test]
fn ids_and_ports_are_needed_and_unique() {
    let with = |service: &str| {
        faults(&one("").replace("\"services\":[", &format!("\"services\":[{service},")))
    };
    let rules = r#""rules":[{"targets":[{"host":"db"}]}]"#;
    let at = |code, path: &str| vec![(code, path.to_owned())];
    assert_eq!(with(&format!("{{\"port\":1,{rules}}}")), at("E104", "services[0].id"));
    assert_eq!(with(&format!("{{\"id\":\" \",\"port\":1,{rules}}}")), at("E120", "services[0].id"));
    assert_eq!(with(&format!("{{\"id\":\"b\",{rules}}}")), at("E104", "services[0].port"));
    assert_eq!(
        with(&format!("{{\"id\":\"b\",\"prot\":1,{rules}}}")),
        at("E101", "services[0].prot")
    );
    assert_eq!(
        with(&format!("{{\"id\":\"b\",\"port\":0,{rules}}}")),
        at("E106", "services[0].port")
    );
    assert_eq!(
        with(&format!("{{\"id\":\"b\",\"port\":\"1\",{rules}}}")),
        at("E102", "services[0].port")
    );
    assert_eq!(with(&format!("{{\"id\":\"a\",\"port\":1,{rules}}}")), at("E121", "services[1].id"));
}

#[test]
fn many_faults_in_one_run_with_their_lines_and_hints() {
    let text = r#"{
  "worker": { "cores": "all" },
  "services": [
    { "id": "a",
      "prot": 5432,
      "interface": "eth0",
      "rules": [ { "targets": [
        { "host": "db:1" },
        "db2",
        { "host": "db3", "port": "1" } ] } ] },
    { "id": "b", "port": 7000, "tls": "Enable",
      "timeouts": { "connect": 5,
                    "idle": "5min" },
      "rules": [ { "targets": [ { "host": "localhost", "port": 7000 } ] } ] },
    { "id": "a", "port": 7000, "id": "c",
      "rules": [] }
  ]
}"#;
    let loaded = read(text);
    let got: Vec<_> =
        loaded.diagnostics.iter().map(|f| (f.code, f.path.as_str(), f.line.unwrap_or(0))).collect();
    let expected = [
        ("E101", "worker", 2),
        ("E101", "services[0].prot", 5),
        ("E123", "services[0].interface", 6),
        ("E127", "services[0].rules[0].targets[0].host", 8),
        ("E102", "services[0].rules[0].targets[1]", 9),
        ("E102", "services[0].rules[0].targets[2].port", 10),
        ("E103", "services[1].tls", 11),
        ("E107", "services[1].timeouts.connect", 12),
        ("E107", "services[1].timeouts.idle", 13),
        ("E128", "services[1].rules[0].targets[0]", 14),
        ("E105", "services[2].id", 15),
        ("E121", "services[2].id", 15),
        ("E124", "services[2].port", 15),
        ("E126", "services[2].rules", 16),
    ];
    assert_eq!(got, expected);
    let hint = |path: &str| {
        let finding = loaded.diagnostics.iter().find(|finding| finding.path == path);
        finding.and_then(|finding| finding.hint.clone()).unwrap_or_default()
    };
    assert_eq!(hint("worker"), "did you mean `workers`?");
    assert_eq!(hint("services[0].prot"), "did you mean `port`?");
    assert_eq!(hint("services[1].tls"), "did you mean `Enabled`?");
    assert_eq!(hint("services[0].rules[0].targets[2].port"), "write 1 without quotes");
    assert!(hint("services[1].timeouts.connect").contains("\"5s\""));
    let taken = loaded.diagnostics.iter().find(|f| f.code == "E124").map(|f| f.message.as_str());
    assert_eq!(taken, Some("service `b` (services[1]) already listens on 0.0.0.0:7000"));
}

#[test]
fn the_example_of_otoroshi_needs_a_certificate() {
    assert_eq!(faults(OTOROSHI), [("E138", "services[0].tls".to_owned())]);
}

#[test]
fn the_same_target_twice_is_remarked() {
    let text = one(r#""rules": [{"targets":[{"host":"db"},{"host":"DB."}]}]"#);
    let loaded = read(&text);
    let got: Vec<_> = loaded.diagnostics.iter().map(|f| (f.code, f.path.as_str())).collect();
    assert_eq!(got, [("I121", "services[0].rules[0].targets[1]")]);
}

#[test]
fn a_loop_through_the_other_family_and_other_services() {
    let text = |interface: &str, target: &str| {
        one(&format!(
            "\"interface\":\"{interface}\",\"rules\":[{{\"targets\":[{{\"host\":\"{target}\",\"port\":7000}}]}}]"
        ))
    };
    assert_eq!(faults(&text("::", "127.0.0.1")).len(), 1);
    assert_eq!(faults(&text("::", "::ffff:127.0.0.1")).len(), 1);
    assert_eq!(faults(&text("10.0.0.1", "10.0.0.1")).len(), 1);
    assert_eq!(faults(&text("0.0.0.0", "::1")).len(), 0);
    assert_eq!(faults(&text("127.0.0.1", "127.0.0.2")).len(), 0);
    assert_eq!(faults(&text("10.0.0.1", "localhost")).len(), 0);
}

#[test]
fn the_search_for_faults_ends() {
    let services = vec!["{\"x\":1,\"y\":2}"; 5000].join(",");
    let loaded = read(&format!("{{\"services\":[{services}]}}"));
    let shape = loaded.diagnostics.iter().filter(|finding| finding.code == "E101").count();
    assert_eq!(shape, crate::config::limits::FAULTS_MAX);
    assert_eq!(loaded.diagnostics.last().map(|finding| finding.code), Some("I100"));
}

#[test]
fn files_that_cannot_be_read() {
    let dir = tempfile::tempdir().expect("a directory");
    let fault = |path: &Path| load(path).diagnostics.first().map(|finding| finding.code);
    assert_eq!(fault(dir.path()), Some("E110"));
    assert_eq!(fault(&dir.path().join("absent.json")), Some("E110"));
    let path = dir.path().join("config.json");
    std::fs::write(&path, b"{\n\"\xff\": 1}").expect("a file");
    assert_eq!(fault(&path), Some("E112"));
    assert_eq!(load(&path).diagnostics.first().and_then(|finding| finding.line), Some(2));
    let file = std::fs::File::create(&path).expect("a file");
    file.set_len(crate::config::limits::CONFIG_BYTES_MAX + 1).expect("a sparse file");
    assert_eq!(fault(&path), Some("E111"));
}

#[test]
fn cut_off_anywhere_it_is_refused() {
    let text = example("full.json");
    let text = text.trim_end();
    for (at, _) in text.char_indices() {
        let loaded = read(&text[..at]);
        assert!(
            loaded.checked.is_none() && loaded.diagnostics[0].line.is_some() | (at == 0),
            "{at}"
        );
    }
}

/// Whatever the bytes, there is an answer. Half of the changes keep the text JSON, to get past the
/// syntax.
#[test]
fn damaged_anywhere_it_does_not_panic() {
    let text = example("full.json").into_bytes();
    let mut seed = 0x9e37_79b9_7f4a_7c15_u64;
    let mut random = || {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        usize::try_from(seed >> 33).expect("31 bits")
    };
    for _ in 0..4000 {
        let mut damaged = text.clone();
        for _ in 0..=random() % 3 {
            let at = random() % damaged.len();
            let letters = b"aZ019.-_:[]{},\"\\n \xff";
            let new = letters[random() % letters.len()];
            let old = damaged[at];
            if random() % 2 == 0 || old.is_ascii_alphanumeric() && new.is_ascii_alphanumeric() {
                damaged[at] = new;
            } else {
                damaged[at] ^= 1 << (random() % 8);
            }
        }
        let Ok(damaged) = String::from_utf8(damaged) else {
            continue;
        };
        for finding in read(&damaged).diagnostics {
            assert!(!finding.render("config.json", true).is_empty());
        }
    }
}
