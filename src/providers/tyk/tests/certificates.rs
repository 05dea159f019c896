//! Certificates by id and by path, client certificates, pinned keys.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::*;
use crate::tls::testing::{Authority, Made};

fn pem(made: &Made) -> String {
    format!("{}{}", made.chain_pem(), made.key_pem())
}

fn pin(made: &Made) -> String {
    format!("sha256/{}", STANDARD.encode(made.pin()))
}

#[test]
fn server_certificates() {
    let bench = Bench::new();
    let authority = Authority::new("ca");
    let (a, b) = (authority.issue(&["a"]), authority.issue(&["b"]));
    bench.write("certs.d/5e9d.pem", pem(&a));
    bench.write("apis/b.pem", b.chain_pem());
    bench.write("apis/b.key", b.key_pem());
    let named = |certificates: Value| bench.one(&tls(json!({ "certificates": certificates })));
    let source = named(json!(["5e9d", "b.pem", ""]));
    assert_eq!(found(&source), Vec::<String>::new());
    assert_eq!(services(&source)[0]["certificates"], json!(["tyk/5e9d", "tyk/b"]));
    // A string is one, under either key.
    let source = bench.one(&tls(json!({ "certificate": "5e9d" })));
    assert_eq!(services(&source)[0]["certificates"], json!(["tyk/5e9d"]));
    let told = |source: &Source| {
        assert!(source.documents.is_empty());
        let [finding] = &source.diagnostics[..] else { panic!("{:#?}", source.diagnostics) };
        assert_eq!((finding.code, &*finding.path), ("E315", "certificates[0]"));
        finding.message.clone()
    };
    let message = told(&named(json!(["nobody"])));
    assert!(message.contains("certs.d/nobody.pem") && message.contains("apis/nobody"), "{message}");
    bench.write("apis/lone.pem", b.chain_pem());
    assert!(told(&named(json!(["lone.pem"]))).contains("no private key"));
    bench.write("apis/empty.pem", "nothing");
    assert!(told(&named(json!(["empty.pem"]))).contains("no certificate"));
    // An id is no way out of the directory.
    bench.write("secret.pem", pem(&a));
    assert!(!told(&named(json!(["../secret"]))).contains("certs.d"));
}

#[test]
fn clients_are_authorities_or_themselves() {
    let mut bench = Bench::new();
    let authority = Authority::new("ca");
    let leaf = authority.issue(&["client"]);
    bench.write("certs.d/ca.pem", authority.pem());
    bench.write("certs.d/leaf.pem", leaf.chain_pem());
    let of = |clients: Value| {
        bench.service(&tls(json!({ "use_mutual_tls_auth": true, "client_certificates": clients })))
    };
    let path = |name: &str| json!([bench.path(&format!("certs.d/{name}.pem"))]);
    let service = of(json!(["leaf"]));
    assert_eq!(service["clientAuth"], "Need");
    assert_eq!(
        (&service["clientCaFiles"], &service["clientCertFiles"]),
        (&Value::Null, &path("leaf"))
    );
    // A root is both: whoever has its key may show it too.
    let service = of(json!(["ca"]));
    assert_eq!(
        (&service["clientCaFiles"], &service["clientCertFiles"]),
        (&path("ca"), &path("ca"))
    );
    assert_eq!(of(json!([]))["clientAuth"], "Need");
    let told = |definition: Value| {
        bench.found(&definition).into_iter().filter(|it| !it.starts_with('I')).collect::<Vec<_>>()
    };
    assert_eq!(
        told(tls(json!({ "use_mutual_tls_auth": true, "client_certificates": ["x"] }))),
        ["E315 client_certificates[0]"]
    );
    assert_eq!(told(tcp(json!({ "use_mutual_tls_auth": true }))), ["E316 use_mutual_tls_auth"]);
    assert_eq!(told(tls(json!({ "client_certificates": ["leaf"] }))), ["W310 client_certificates"]);
    // One name with two ideas of who may come in: the first stays as it is.
    let mutual =
        json!({ "api_id": "m", "use_mutual_tls_auth": true, "client_certificates": ["leaf"] });
    bench.write("apis/all.json", json!([tls(mutual.clone()), tls(json!({ "api_id": "n" }))]));
    bench.tyk.files = vec!["apis/all.json".into()];
    let source = bench.source();
    assert_eq!(services(&source).len(), 1);
    assert_eq!(services(&source)[0]["clientAuth"], "Need");
    let refused = source.diagnostics.iter().find(|it| it.is_error()).unwrap();
    assert!(refused.message.contains("other client certificates"), "{}", refused.message);
    // Those of the gateway are for all.
    bench.gateway(&json!({ "security": { "certificates": { "apis": ["certs.d/ca.pem"] } } }));
    bench.write("apis/all.json", tls(mutual));
    let service = services(&bench.source())[0].clone();
    let ca = bench.path("certs.d/ca.pem");
    assert_eq!(service["clientCaFiles"], json!([ca]));
    assert_eq!(service["clientCertFiles"].as_array().unwrap().len(), 2);
}

#[test]
fn what_is_shown_to_targets_goes_by_host() {
    let mut bench = Bench::new();
    let authority = Authority::new("ca");
    for name in ["any", "parent", "parent-port", "host", "host-port", "gateway"] {
        bench.write(&format!("certs.d/{name}.pem"), pem(&authority.issue(&[name])));
    }
    let shown = |bench: &Bench, map: Value, target: &str| {
        let definition = tcp(json!({
            "upstream_certificates": map, "proxy": { "target_url": format!("tls://{target}") }
        }));
        let target = bench.service(&definition)["rules"][0]["targets"][0].clone();
        let file = target["clientCertificate"]["certFile"].as_str().map(str::to_owned);
        file.map(|file| Path::new(&file).file_stem().unwrap().to_str().unwrap().to_owned())
    };
    let mut map = json!({});
    let precedence = [
        ("*", "any"),
        ("*.Internal", "parent"),
        ("*.internal:1", "parent-port"),
        ("db.internal", "host"),
        ("DB.internal:1", "host-port"),
    ];
    for (key, name) in precedence {
        map[key] = json!(name);
        assert_eq!(shown(&bench, map.clone(), "db.internal:1").as_deref(), Some(name), "{key}");
    }
    // One label, and one port.
    let map = json!({ "*.internal": "parent", "db.internal:2": "host" });
    assert_eq!(shown(&bench, map.clone(), "a.b.internal:1"), None);
    assert_eq!(shown(&bench, map, "db.internal:1").as_deref(), Some("parent"));
    bench.gateway(
        &json!({ "security": { "certificates": { "upstream": { "db.internal": "gateway" } } } }),
    );
    assert_eq!(shown(&bench, json!({}), "db.internal:1").as_deref(), Some("gateway"));
    assert_eq!(shown(&bench, json!({ "*": "any" }), "db.internal:1").as_deref(), Some("any"));
    let told = bench.found(&tcp(json!({ "upstream_certificates": { "*": "nobody" }, "proxy": { "target_url": "tls://a:1" } })));
    assert_eq!(told, ["E315 upstream_certificates"]);
}

#[test]
fn keys_are_pinned() {
    let bench = Bench::new();
    let authority = Authority::new("ca");
    let made = authority.issue(&["db.internal"]);
    bench.write("certs.d/cert.pem", made.chain_pem());
    let spki = made.key.public_key_pem();
    bench.write("certs.d/key.pem", &spki);
    let with = |pins: Value, more: Value| {
        let plain =
            json!({ "pinned_public_keys": pins, "proxy": { "target_url": "tls://db.internal:1" } });
        tcp(merged(plain, more))
    };
    let target = |pins, more| bench.service(&with(pins, more))["rules"][0]["targets"][0].clone();
    let hex: String = made.pin().iter().map(|byte| format!("{byte:02x}")).collect();
    for name in ["cert", "key", &*hex, &pin(&made), &spki] {
        let pins = target(json!({ "db.internal": name }), json!({}))["pinnedPublicKeys"].clone();
        assert_eq!(pins, json!([pin(&made)]), "{name}");
    }
    let other = authority.issue(&["x"]);
    bench.write("certs.d/other.pem", other.chain_pem());
    let both = target(json!({ "*": "cert, other,cert" }), json!({}));
    assert_eq!(both["pinnedPublicKeys"], json!([pin(&made), pin(&other)]));
    assert_eq!(both.get("pinOnly"), None);
    // The chain need not be verified, but the key must be: not just any chain that contains it.
    let insecure = json!({ "proxy": { "transport": { "ssl_insecure_skip_verify": true } } });
    let only = target(json!({ "*": "cert" }), insecure);
    assert_eq!((&only["pinOnly"], only.get("insecureSkipVerify")), (&json!(true), None));
    let told = |pins, more| bench.found(&with(pins, more));
    assert_eq!(told(json!({ "*": "nobody" }), json!({})), ["E317 pinned_public_keys"]);
    assert_eq!(told(json!({ "other": "cert" }), json!({})), ["W310 pinned_public_keys.other"]);
    let plain = json!({ "proxy": { "target_url": "tcp://db.internal:1" } });
    assert_eq!(told(json!({ "*": "cert" }), plain), ["E317 pinned_public_keys"]);
    let found = json!({ "proxy": { "service_discovery": {
        "use_discovery_service": true, "query_endpoint": "http://127.0.0.1:1/" } } });
    assert_eq!(
        told(json!({ "db.internal": "cert" }), found.clone()),
        ["E317 pinned_public_keys.db.internal"]
    );
    let template =
        bench.service(&with(json!({ "*": "cert" }), found))["rules"][0]["discovery"]["template"]
            .clone();
    assert_eq!(template["pinnedPublicKeys"], json!([pin(&made)]));
    let disabled = json!({ "certificate_pinning_disabled": true });
    assert_eq!(target(json!({ "*": "cert" }), disabled).get("pinnedPublicKeys"), None);
}
