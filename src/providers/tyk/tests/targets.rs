//! Where connections go, and how TLS is spoken there.

use super::*;

fn targets(service: &Value) -> Vec<String> {
    let shown = |target: &Value| {
        let scheme = if target["tls"] == true { "tls" } else { "tcp" };
        format!("{scheme}://{}:{}", target["host"].as_str().unwrap(), target["port"])
    };
    service["rules"][0]["targets"].as_array().unwrap().iter().map(shown).collect()
}

#[test]
fn schemes() {
    let bench = Bench::new();
    let url = |base: fn(Value) -> Value, url: &str| {
        targets(&bench.service(&base(json!({ "proxy": { "target_url": url } }))))
    };
    assert_eq!(url(tcp, "tcp://db:1"), ["tcp://db:1"]);
    assert_eq!(url(tcp, "tls://db:1/"), ["tls://db:1"]);
    assert_eq!(url(tcp, "db:1"), ["tcp://db:1"]);
    assert_eq!(url(tls, "db:1"), ["tcp://db:1"]);
    assert_eq!(url(tls, "TLS://db:1"), ["tls://db:1"]);
    assert_eq!(url(tcp, "tcp://[2001:db8::1]:5"), ["tcp://2001:db8::1:5"]);
    for bad in [
        "http://db:1",
        "tcp://db",
        "db",
        "tcp://db:0",
        "tcp://db:99999",
        "tcp://u@db:1",
        "tcp://:1",
        "tcp://db:1/x",
        "tcp://a b:1",
    ] {
        let told = bench.found(&tcp(json!({ "proxy": { "target_url": bad } })));
        assert_eq!(told, ["E312 proxy.target_url"], "{bad}");
    }
    assert_eq!(bench.found(&tcp(json!({ "proxy": null }))), ["E312 proxy"]);
}

#[test]
fn lists_are_balanced() {
    let bench = Bench::new();
    let list = |base: fn(Value) -> Value, url: &str, list: &[&str], balance: bool| {
        base(json!({ "proxy": { "target_url": url, "target_list": list,
                                "enable_load_balancing": balance } }))
    };
    let of = |definition: &Value| targets(&bench.service(definition));
    assert_eq!(of(&list(tcp, "", &["a:1", "b:2"], true)), ["tcp://a:1", "tcp://b:2"]);
    assert_eq!(of(&list(tls, "", &["a:1"], true)), ["tls://a:1"]);
    assert_eq!(of(&list(tls, "tcp://x:1", &["a:1"], true)), ["tcp://a:1"]);
    assert_eq!(of(&list(tls, "x:1", &["tcp://a:1", "b:1"], true)), ["tcp://a:1", "tcp://b:1"]);
    assert_eq!(of(&list(tcp, "tcp://x:1", &["a:1"], false)), ["tcp://x:1"]);
    assert_eq!(of(&list(tcp, "tcp://x:1", &[], true)), ["tcp://x:1"]);
    let told = |definition: &Value| bench.found(definition);
    assert_eq!(told(&list(tcp, "tcp://x:1", &["a:1"], false)), ["W310 proxy.target_list"]);
    assert_eq!(told(&list(tcp, "", &["a:1"], false)), ["E312 proxy.target_list"]);
    assert_eq!(told(&list(tcp, "tcp://x:1", &["tls://a:1"], true)), ["E313 proxy.target_list[0]"]);
    assert_eq!(
        told(&list(tcp, "", &["tcp://a:1", "b", "tls://c:1"], true)),
        ["E312 proxy.target_list[1]", "E313 proxy.target_list[2]"]
    );
    // The dashboard writes weights so.
    let service = bench.service(&list(tcp, "", &["a:1", "b:1", "a:1"], true));
    assert_eq!(service["rules"][0]["loadBalancing"], "WeightedRoundRobin");
    assert_eq!(service["rules"][0]["targets"][0]["weight"], 2);
}

#[test]
fn lists_are_fetched() {
    let bench = Bench::new();
    let discovery = |more: Value| {
        let plain =
            json!({ "use_discovery_service": true, "query_endpoint": "http://127.0.0.1:8500/x" });
        tcp(json!({ "proxy": { "service_discovery": merged(plain, more) } }))
    };
    let of = |more| bench.service(&discovery(more))["rules"][0]["discovery"].clone();
    assert_eq!(
        of(json!({})),
        json!({ "url": "http://127.0.0.1:8500/x", "firstOnly": true, "template": { "port": 9191 } })
    );
    assert_eq!(
        of(json!({ "use_target_list": true, "parent_data_path": "node.nodes", "data_path": "host",
                   "port_data_path": "port", "cache_timeout": 60, "endpoint_returns_list": true })),
        json!({ "url": "http://127.0.0.1:8500/x", "interval": "60s", "list": "node.nodes",
                "target": "host", "port": "port", "template": { "port": 9191 } })
    );
    assert_eq!(
        of(
            json!({ "use_nested_query": true, "parent_data_path": "node.value", "use_target_list": true,
                   "data_path": "hostname", "cache_disabled": true })
        ),
        json!({ "url": "http://127.0.0.1:8500/x", "interval": "1s", "nested": "node.value",
                "target": "hostname", "template": { "port": 9191 } })
    );
    let path = "E321 proxy.service_discovery.query_endpoint";
    for url in ["", "etcd:2379", "ftp://x/"] {
        assert_eq!(bench.found(&discovery(json!({ "query_endpoint": url }))), [path], "{url}");
    }
    let source = bench.one(&discovery(json!({})));
    assert!(loaded(&source, bench.dir.path()).checked.is_some());
}

#[test]
fn transport() {
    let bench = Bench::new();
    let with = |transport: Value| {
        tcp(json!({ "proxy": { "target_url": "tls://db:1", "transport": transport } }))
    };
    let target = |transport| {
        let mut target = bench.service(&with(transport))["rules"][0]["targets"][0].clone();
        let members = target.as_object_mut().unwrap();
        for key in ["host", "port", "tls"] {
            members.remove(key);
        }
        target
    };
    assert_eq!(target(json!({ "ssl_min_version": 771, "ssl_max_version": 772 })), json!({}));
    assert_eq!(target(json!({ "ssl_min_version": 772 })), json!({ "tlsMinVersion": "1.3" }));
    assert_eq!(target(json!({ "ssl_max_version": 771 })), json!({ "tlsMaxVersion": "1.2" }));
    assert_eq!(
        target(json!({ "ssl_insecure_skip_verify": true })),
        json!({ "insecureSkipVerify": true })
    );
    assert_eq!(target(json!({ "ssl_force_common_name_check": true })), json!({}));
    let suites = [
        "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256",
        "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305",
        "TLS_RSA_WITH_RC4_128_SHA",
    ];
    assert_eq!(
        target(json!({ "ssl_max_version": 771, "ssl_ciphers": suites }))["cipherSuites"],
        json!([
            "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256",
            "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256"
        ])
    );
    // Those of 1.3 are always there, as in Go, and named nowhere.
    let both = target(json!({ "ssl_ciphers": suites }));
    assert_eq!(both["cipherSuites"].as_array().unwrap().len(), 2);
    // Where none of 1.2 is left, 1.2 is not spoken.
    let only_13 = target(json!({ "ssl_ciphers": ["TLS_RSA_WITH_RC4_128_SHA"] }));
    assert_eq!(only_13, json!({ "tlsMinVersion": "1.3" }));
    let told = |transport| bench.found(&with(transport));
    let at = |code: &str, key: &str| vec![format!("{code} proxy.transport.{key}")];
    assert_eq!(told(json!({ "ssl_min_version": 769 })), at("W315", "ssl_min_version"));
    assert_eq!(told(json!({ "ssl_max_version": 770 })), at("E319", "ssl_max_version"));
    assert_eq!(told(json!({ "ssl_min_version": 12 })), at("E319", "ssl_min_version"));
    assert_eq!(
        told(json!({ "ssl_min_version": 772, "ssl_max_version": 771 })),
        at("E319", "ssl_max_version")
    );
    assert_eq!(told(json!({ "ssl_ciphers": suites })), at("W315", "ssl_ciphers"));
    let none = json!({ "ssl_max_version": 771, "ssl_ciphers": ["TLS_RSA_WITH_RC4_128_SHA"] });
    assert_eq!(told(none).last(), at("E319", "ssl_ciphers").last());
    assert_eq!(
        told(json!({ "ssl_insecure_skip_verify": true, "ssl_force_common_name_check": true })),
        at("E319", "ssl_force_common_name_check")
    );
    let mut bench = Bench::new();
    bench.tyk.ca_file = Some("ca.pem".into());
    let mut target = bench.service(&with(json!({})))["rules"][0]["targets"][0].clone();
    assert_eq!(target["caFile"].take(), json!(bench.path("ca.pem")));
    // Of plain targets nothing of it is said.
    assert_eq!(
        bench.found(&tcp(json!({ "proxy": { "transport": { "ssl_min_version": 12 } } }))),
        Vec::<String>::new()
    );
}
