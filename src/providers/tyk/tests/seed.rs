//! The documents of Tyk's documentation, typed as printed.

use super::*;

/// The definition that the documentation calls complex.
const SENTINEL: &str = r#"{
   "name": "Redis Sentinel",
   "listen_port": 6379,
   "protocol": "tcp",
   "enable_load_balancing": true,
   "proxy": {
	   "target_list": ["192.168.10.1:6379", "192.168.10.2:6379"]
	},
   "check_host_against_uptime_tests": true,
   "uptime_tests": {
       "check_list": [
          {
			"url": "192.168.10.1:6379",
            "commands": [
              { "name": "send", "message": "PING\r\n" },
              { "name": "expect", "message": "+PONG" },
              { "name": "send", "message": "info  replication\r\n" },
              { "name": "expect", "message": "role:master" },
              { "name": "send", "message": "QUIT\r\n" }, 
              { "name": "send", "message": "+OK" }
            ]
          },
          {
			"url": "192.168.10.2:6379",
            "commands": [
              { "name": "send", "message": "PING\r\n" },
              { "name": "expect", "message": "+PONG" },
              { "name": "send", "message": "info  replication\r\n" },
              { "name": "expect", "message": "role:master" },
              { "name": "send", "message": "QUIT\r\n" }, 
              { "name": "send", "message": "+OK" }
            ]
          }
       ]
   }
}"#;

#[test]
fn the_sentinel_is_one_service_of_two_checked_targets() {
    let bench = Bench::new();
    bench.write("apis/sentinel.json", SENTINEL);
    let source = bench.source();
    assert_eq!(found(&source), Vec::<String>::new());
    let expected = json!([{
        "id": "tyk/redis-sentinel",
        "name": "Redis Sentinel",
        "port": 6379,
        "tls": "Disabled",
        "healthCheck": {
            "interval": "10s", "rise": 3, "fall": 3, "initial": "Down", "fastInterval": "250ms",
            "commands": [
                { "name": "send", "message": "PING\r\n" },
                { "name": "expect", "message": "+PONG" },
                { "name": "send", "message": "info  replication\r\n" },
                { "name": "expect", "message": "role:master" },
                { "name": "send", "message": "QUIT\r\n" },
                { "name": "send", "message": "+OK" },
            ]
        },
        "rules": [{ "targets": [
            { "host": "192.168.10.1", "port": 6379 },
            { "host": "192.168.10.2", "port": 6379 },
        ] }],
    }]);
    assert_eq!(Value::Array(services(&source)), expected);
    let loaded = loaded(&source, bench.dir.path());
    let checked = loaded.checked.unwrap_or_else(|| panic!("{:#?}", loaded.diagnostics));
    let service = &checked.services[0];
    assert!(service.rules[0].targets.iter().all(|target| target.check.is_some()));
    // What the documentation sends last looks like an answer.
    assert!(loaded.diagnostics.iter().all(|it| !it.is_error()), "{:#?}", loaded.diagnostics);
}

#[test]
fn the_simplest_definition() {
    let bench = Bench::new();
    let text = r#"{ "listen_port": 30001, "protocol": "tls", "certificate": [""],
        "proxy": { "target_url": "tls://upstream:9191" } }"#;
    bench.write("apis/simple.json", text);
    let source = bench.source();
    assert_eq!(found(&source), ["I311 certificate"]);
    let expected = json!([{
        "id": "tyk/simple", "port": 30001, "tls": "Enabled",
        "rules": [{ "targets": [{ "host": "upstream", "port": 9191, "tls": true }] }],
    }]);
    assert_eq!(Value::Array(services(&source)), expected);
}

#[test]
fn typographic_quotes_are_told() {
    let bench = Bench::new();
    let text = "{ “listen_port”: 30001, “protocol”: “tls”, “certificate”: [\"\"], “proxy”: { \
                “target_url”: “tls://upstream:9191” } }";
    bench.write("apis/simple.json", text);
    let source = bench.source();
    assert!(source.documents.is_empty());
    let [finding] = &source.diagnostics[..] else { panic!("{:#?}", source.diagnostics) };
    assert_eq!((finding.code, finding.line), ("E303", Some(1)));
    let hint = finding.hint.as_deref().unwrap();
    assert!(hint.contains("typographic"), "{hint}");
}

#[test]
fn the_simple_check_as_printed_is_a_fault_of_syntax() {
    let bench = Bench::new();
    let text = "{ \"uptime_tests\": {\n \"check_list\": [\n { \"url\": \"127.0.0.1:6379\" },\n \
                \"commands\": []\n ]\n }\n}";
    bench.write("apis/a.json", text);
    bench.write("apis/b.json", tcp(json!({ "listen_port": 6379 })));
    let source = bench.source();
    assert_eq!(found(&source), ["E303"]);
    assert_eq!(source.diagnostics[0].line, Some(4));
    let hint = source.diagnostics[0].hint.as_deref().unwrap();
    assert!(hint.contains("object"), "{hint}");
    // The others run.
    assert_eq!(services(&source)[0]["id"], "tyk/a");
}

#[test]
fn broken_documents_cost_only_themselves() {
    let bench = Bench::new();
    bench.write("apis/1.json", tcp(json!({ "api_id": "good" })));
    bench.write("apis/2.json", tcp(json!({ "api_id": "b", "listen_port": "30002" })));
    bench.write("apis/3.json", tcp(json!({ "api_id": "c", "listen_port": 0 })));
    bench.write("apis/4.json", tcp(json!({ "api_id": "d", "protocol": "tpc", "listen_port": 4 })));
    bench.write("apis/5.json", "{ \"api_id\": \n");
    bench.write("apis/6.json", tcp(json!({ "api_id": "f", "listen_port": 70000 })));
    bench.write("apis/7.json", tcp(json!({ "api_id": "g" })));
    bench.write("apis/8.json", json!([tcp(json!({ "api_id": "h", "listen_port": 8 })), 7, "x"]));
    let mut none = tcp(json!({ "api_id": "i" }));
    none.as_object_mut().unwrap().remove("listen_port");
    bench.write("apis/9.json", none);
    let source = bench.source();
    let told: Vec<_> = source
        .diagnostics
        .iter()
        .map(|it| {
            let file = Path::new(it.file.as_deref().unwrap()).file_stem().unwrap();
            format!("{} {} {}", file.to_str().unwrap(), it.code, it.path).trim().to_owned()
        })
        .collect();
    let expected = [
        "2 E102 listen_port",
        "3 E310 listen_port",
        "4 E311 protocol",
        "5 E303",
        "6 E310 listen_port",
        "8 E102 [1]",
        "8 I310 [1]",
        "8 E102 [2]",
        "8 I310 [2]",
        "9 E310",
        "7 E314 listen_port",
    ];
    assert_eq!(told, expected);
    let ids: Vec<_> = services(&source).iter().map(|it| it["id"].clone()).collect();
    assert_eq!(ids, ["tyk/h", "tyk/good"]);
}

#[test]
fn both_places_of_a_member_are_read() {
    let bench = Bench::new();
    let plain = json!({
        "protocol": "tcp", "listen_port": 5, "api_id": "a",
        "target_url": "10.0.0.1:1", "target_list": ["10.0.0.2:1"], "enable_load_balancing": true
    });
    let turned = json!({
        "protocol": "tcp",
        "proxy": { "listen_port": 5, "api_id": "a", "target_url": "10.0.0.1:1",
                   "target_list": ["10.0.0.2:1"], "enable_load_balancing": true }
    });
    assert_eq!(bench.service(&plain), bench.service(&turned));
    let twice =
        merged(plain, json!({ "proxy": { "listen_port": 6, "target_list": ["10.0.0.3:1"] } }));
    assert_eq!(bench.found(&twice), ["W312 proxy.listen_port", "W312 target_list"]);
    let service = bench.service(&twice);
    assert_eq!(
        (&service["port"], &service["rules"][0]["targets"][0]["host"]),
        (&json!(5), &json!("10.0.0.3"))
    );
}

#[test]
fn what_go_writes_for_nothing_is_nothing() {
    let bench = Bench::new();
    let exported = tls(json!({
        "certificates": null, "client_certificates": null, "upstream_certificates": null,
        "pinned_public_keys": {}, "domain": "", "tags": null, "org_id": "x", "do_not_track": true,
        "version_data": { "not_versioned": true }, "auth": { "auth_header_name": "" },
        "uptime_tests": { "check_list": null, "config": { "expire_utime_after": 0 } },
        "proxy": { "target_list": null, "transport": { "ssl_min_version": 0, "ssl_ciphers": null,
            "proxy_url": "" }, "service_discovery": { "use_discovery_service": false,
            "query_endpoint": "" }, "preserve_host_header": false, "listen_path": "/" }
    }));
    assert_eq!(bench.found(&exported), ["I311"]);
}

#[test]
fn ids_and_switches() {
    let bench = Bench::new();
    let id = |more| bench.service(&merged(tcp(json!({ "api_id": null })), more))["id"].clone();
    assert_eq!(id(json!({ "api_id": "76d8" })), "tyk/76d8");
    assert_eq!(id(json!({ "slug": "My Slug" })), "tyk/my-slug");
    assert_eq!(id(json!({ "name": "Größe / #1" })), "tyk/größe-1");
    assert_eq!(id(json!({})), "tyk/one");
    assert_eq!(id(json!({ "name": "//" })), "tyk/api");
    assert_eq!(bench.service(&tcp(json!({ "active": false })))["enabled"], false);
    assert_eq!(bench.service(&tcp(json!({ "active": true })))["enabled"], Value::Null);
    for protocol in ["http", "https", "h2c", ""] {
        assert_eq!(bench.found(&tcp(json!({ "protocol": protocol }))), ["I310 protocol"]);
    }
    assert_eq!(bench.found(&tcp(json!({ "protocol": null }))), ["I310"]);
    assert_eq!(bench.found(&tcp(json!({ "listen_prot": 5 }))), ["W311 listen_prot"]);
    assert_eq!(
        bench.found(&tcp(json!({ "proxy": { "enable_load_balacing": true } }))),
        ["W311 proxy.enable_load_balacing"]
    );
}

#[test]
fn the_gateway_says_more() {
    let mut bench = Bench::new();
    bench.gateway(&json!({
        "listen_address": "127.0.0.1", "listen_port": 8080,
        "ports_whitelist": { "tcp": { "ports": [30001] }, "tls": { "ranges": [{ "from": 1, "to": 9 }] } },
    }));
    let source = bench.one(&tcp(json!({})));
    assert!(source.documents[0].port_is_declared);
    assert_eq!(services(&source)[0]["interface"], "127.0.0.1");
    assert!(!bench.one(&tls(json!({}))).documents[0].port_is_declared);
    assert!(bench.one(&tls(json!({ "listen_port": 9 }))).documents[0].port_is_declared);
    assert!(!bench.one(&tcp(json!({ "listen_port": 9 }))).documents[0].port_is_declared);
    bench.gateway(&json!({ "disable_ports_whitelist": true }));
    assert!(bench.one(&tls(json!({}))).documents[0].port_is_declared);
    // Without it nobody knows what it would have asked for.
    for broken in [
        json!([]),
        json!({ "security": 7 }),
        json!({ "http_server_options": { "max_version": 769 } }),
    ] {
        bench.gateway(&broken);
        let source = bench.one(&tcp(json!({})));
        assert!(source.documents.is_empty());
        assert!(found(&source).iter().any(|it| it.starts_with("E323")), "{:?}", found(&source));
    }
    bench.tyk.config = Some("missing.conf".into());
    let source = bench.one(&tcp(json!({})));
    assert!(source.documents.is_empty() && found(&source) == ["E302"]);
}

#[test]
fn headers_are_taken_from_those_in_front() {
    let mut bench = Bench::new();
    let definition = tls(json!({ "enable_proxy_protocol": true }));
    let proxy = bench.service(&definition)["proxyProtocol"].clone();
    assert_eq!(proxy["accept"], "Require");
    assert!(proxy["trusted"].as_array().unwrap().contains(&json!("10.0.0.0/8")));
    bench.tyk.trusted_proxies = Some(vec!["192.0.2.0/24".into()]);
    let proxy = bench.service(&definition)["proxyProtocol"].clone();
    assert_eq!(proxy["trusted"], json!(["192.0.2.0/24"]));
    bench.tyk.trusted_proxies = Some(vec!["192.0.2.0/33".into()]);
    let source = bench.source();
    assert!(source.documents.is_empty());
    assert_eq!(source.diagnostics[0].path, "providers.tyk.trustedProxies[0]");
    assert!(source.diagnostics[0].file.is_none());
}
