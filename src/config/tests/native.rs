//! What services and targets take from each other by name, and what they say about TLS besides.

use super::*;
use crate::config::checked::{CertificateSource, KeyPair, Pem};

/// A configuration with certificates `a` and `b`, which is broken, and these services.
fn named(services: &[(&str, &str)]) -> String {
    with_tls(services).replacen(
        "\"certificates\": [",
        r#""certificates": [ { "name": "a", "certFile": "n.pem" },
            { "name": "b", "certPem": "B", "keyPem": "KEY OF B" },"#,
        1,
    )
}

#[test]
fn a_service_has_the_certificates_that_it_names() {
    let made = rcgen::generate_simple_self_signed(vec!["b.test".to_owned()]).unwrap();
    let (cert, key) = (made.cert.pem(), made.signing_key.serialize_pem());
    let json = |text: &str| serde_json::Value::from(text).to_string();
    let text = named(&[("one", r#""tls": "Enabled", "certificates": ["b", "a"]"#)])
        .replacen("\"B\"", &json(&cert), 1)
        .replacen("\"KEY OF B\"", &json(&key), 1);
    let checked = good(&text);
    let inline = KeyPair { cert: Pem::inline("", &cert), key: Pem::inline("", &key) };
    let files = KeyPair::files("/etc/thalweg/n.pem", "/etc/thalweg/n.pem");
    assert_eq!(checked.certificates[0], CertificateSource::Named("a".into(), files.clone()));
    let Tls::Enabled(termination) = &checked.services[0].tls else { panic!() };
    assert_eq!(termination.certificates, [inline, files]);
    let secret = key.lines().nth(1).unwrap();
    assert!(!format!("{checked:?}").contains(secret), "a key in the debug output");
}

#[test]
fn names_that_mean_nothing() {
    let of_service = |list: &str| {
        faults(&named(&[("one", &format!(r#""tls": "Enabled", "certificates": {list}"#))]))
    };
    let at = |path: &str| format!("services[0].certificates{path}");
    assert_eq!(of_service(r#"["a", "c"]"#), [("E192", at("[1]"))]);
    assert_eq!(of_service(r#"["a", "a"]"#), [("E106", at("[1]"))]);
    assert_eq!(of_service("[]"), [("E106", at(""))]);
    let idle = faults(&named(&[("one", r#""certificates": ["a"]"#)]));
    assert_eq!(idle, [("E139", at(""))]);
    let meant = read(&named(&[("one", r#""tls": "Enabled", "certificates": ["A"]"#)]));
    assert_eq!(meant.diagnostics[0].hint.as_deref(), Some("did you mean `a`?"));
    let target = |pair: &str| {
        let rules = format!(
            r#""rules": [{{"targets": [{{"host": "h", "tls": true, "clientCertificate": {pair}}}]}}]"#
        );
        faults(&named(&[("one", &rules)]))
    };
    let at = |key: &str| format!("services[0].rules[0].targets[0].clientCertificate{key}");
    assert_eq!(target(r#"{"name": "a"}"#), []);
    assert_eq!(target(r#"{"name": "c"}"#), [("E192", at(".name"))]);
    assert_eq!(target(r#"{"name": "a", "keyFile": "k"}"#), [("E145", at(""))]);
    assert_eq!(target("{}"), [("E104", at(".certFile"))]);
}

#[test]
fn entries_are_one_thing() {
    let entry = |entry: &str| {
        let text = with_tls(&[("one", "")]);
        faults(&text.replacen("\"certificates\": [", &format!("\"certificates\": [ {entry},"), 1))
    };
    let bad = |code: &'static str, key: &str| [(code, format!("certificates[0]{key}"))];
    assert_eq!(entry(r#"{"certPem": "C", "keyPem": "K"}"#), []);
    assert_eq!(entry(r#"{"certPem": "C"}"#), bad("E145", ""));
    assert_eq!(entry(r#"{"keyPem": "K"}"#), bad("E145", ""));
    assert_eq!(entry(r#"{"certFile": "c", "keyPem": "K"}"#), bad("E145", ""));
    assert_eq!(entry(r#"{"name": "x", "directory": "d"}"#), bad("E145", ""));
    assert_eq!(entry(r#"{"name": "", "certFile": "c"}"#), bad("E106", ".name"));
    let twice = entry(r#"{"name": "x", "certFile": "c"}, {"name": "x", "certFile": "d"}"#);
    assert_eq!(twice, [("E193", "certificates[1].name".to_owned())]);
}

#[test]
fn those_with_a_name_are_nobodys_who_does_not_name_them() {
    let only = with_tls(&[("one", r#""tls": "Enabled""#)]).replacen(
        "\"certFile\"",
        "\"name\": \"x\", \"certFile\"",
        1,
    );
    assert_eq!(faults(&only), [("E138", "services[0].tls".to_owned())]);
}

#[test]
fn services_that_claim_a_name_show_the_same() {
    let of = |list: &str| {
        format!(
            r#""tls": "Enabled", "sni": {{"enabled": true}}, "certificates": {list},
               "rules": [{{"domain": "x.test", "targets": [{{"host": "h"}}]}}]"#
        )
    };
    let (one, other) = (of(r#"["a"]"#), of(r#"["c"]"#));
    let text = named(&[("one", &one), ("two", &other)]);
    let text = text.replacen(
        "\"name\": \"b\"",
        "\"name\": \"c\", \"certFile\": \"c\" }, { \"name\": \"b\"",
        1,
    );
    let found = faults(&text);
    assert_eq!(found, [("E135", "services[1].rules[0].domain".to_owned())]);
}

#[test]
fn a_target_that_refuses_has_nothing_but_a_weight() {
    let of = |target: &str| one(&format!(r#""rules": [{{"targets": [{target}]}}]"#));
    let target =
        good(&of(r#"{"reject": true, "weight": 3}"#)).services[0].rules[0].targets[0].clone();
    assert_eq!((target.address, target.weight), (Address::Reject, 3));
    let at = |key: &str| format!("services[0].rules[0].targets[0].{key}");
    for (key, value) in [
        ("host", r#""h""#),
        ("ip", r#""10.0.0.1""#),
        ("srv", r#""_a._tcp.x""#),
        ("port", "1"),
        ("tls", "true"),
        ("tier", "1"),
        ("backup", "true"),
        ("maxConnections", "1"),
    ] {
        let found = faults(&of(&format!(r#"{{"reject": true, "{key}": {value}}}"#)));
        assert_eq!(found, [("E194", at(key))]);
    }
    assert_eq!(faults(&of(r#"{"reject": true, "caFile": "x"}"#)), [("E139", at("caFile"))]);
    assert_eq!(good(&of(r#"{"reject": true}, {"reject": true}"#)).services.len(), 1);
    let forwards = one(r#""sni": {"enabled": true, "fallbacks": {"noName": {"reject": true}}}"#);
    assert!(good(&forwards).services[0].fallbacks.no_name.is_some());
}

#[test]
fn tiers_are_numbers_and_a_backup_is_the_second() {
    let of =
        |target: &str| one(&format!(r#""rules": [{{"targets": [{{"host": "h", {target}}}]}}]"#));
    let tier = |target: &str| good(&of(target)).services[0].rules[0].targets[0].tier;
    assert_eq!(
        (tier(r#""tier": 15"#), tier(r#""backup": true"#), tier(r#""port": 1"#)),
        (15, 1, 0)
    );
    assert_eq!(tier(r#""backup": true, "tier": 1"#), 1);
    let at = |key: &str| format!("services[0].rules[0].targets[0].{key}");
    assert_eq!(faults(&of(r#""tier": 16"#)), [("E106", at("tier"))]);
    assert_eq!(faults(&of(r#""tier": 2, "backup": true"#)), [("E106", at("backup"))]);
}

/// The check of a service's only target.
fn check_of(members: &str, target: &str) -> (Option<String>, Option<u64>) {
    let text = format!(r#""rules": [{{"targets": [{{"host": "h", {target}}}]}}]{members}"#);
    let service = good(&one(&text)).services.pop().unwrap();
    let target = &service.rules[0].targets[0];
    let slow = service.health_of(target).and_then(|health| health.slow_start);
    (target.check.as_ref().map(|it| it.probe.to_string()), slow.map(|slow| slow.as_secs()))
}

#[test]
fn a_target_is_checked_as_it_says_itself() {
    let service = r#", "healthCheck": { "interval": "9s", "slowStart": "5s" }"#;
    let (check, slow) = check_of(service, r#""port": 1"#);
    assert!(check.unwrap().contains("every 9s") && slow == Some(5));
    assert_eq!(check_of(service, r#""healthCheck": null"#), (None, None));
    let own = r#""healthCheck": { "interval": "7s", "http": {}, "slowStart": "3s" }"#;
    for service in ["", service] {
        let (check, slow) = check_of(service, own);
        let check = check.unwrap();
        assert!(check.starts_with("http GET /") && check.contains("every 7s"), "{check}");
        assert_eq!(slow, Some(3));
    }
    let of = |check: &str| {
        let target = format!(r#"{{"host": "h", "healthCheck": {check}}}"#);
        faults(&one(&format!(r#""rules": [{{"targets": [{target}]}}]"#)))
    };
    let at = |key: &str| format!("services[0].rules[0].targets[0].healthCheck{key}");
    assert_eq!(of(r#"{"panicThreshold": 50}"#), [("W160", at(".panicThreshold"))]);
    assert_eq!(of(r#"{"intervall": "1s"}"#), [("E101", at(".intervall"))]);
    assert_eq!(of(r#"{"interval": "0s"}"#), [("E107", at(".interval"))]);
    assert_eq!(of("7"), [("E102", at(""))]);
    let lists =
        r#""rules": [{"discovery": {"url": "http://10.0.0.1/", "template": {"healthCheck": {}}}}]"#;
    let service = good(&one(lists)).services.pop().unwrap();
    assert!(service.rules[0].discoveries[0].template.check.is_some());
    let fallback =
        r#""sni": {"enabled": true, "fallbacks": {"noName": {"host": "h", "healthCheck": {}}}}"#;
    let service = good(&one(fallback)).services.pop().unwrap();
    assert!(service.fallbacks.no_name.unwrap().check.is_some());
}

/// A certificate that signed itself, on one line of JSON.
fn pem() -> String {
    let made = rcgen::generate_simple_self_signed(vec!["robot.test".to_owned()]).unwrap();
    made.cert.pem().replace('\n', "\\n").replace('\r', "")
}

#[test]
fn whose_certificates_a_service_takes() {
    let of = |members: &str| {
        let members = format!(r#""tls": "Enabled", "clientAuth": "Need"{members}"#);
        let service = good(&with_tls(&[("a", &members)])).services.pop().unwrap();
        let Tls::Enabled(termination) = service.tls else { panic!() };
        (termination.client_ca, termination.client_certs)
    };
    let file = |name: &str| Pem::File(Path::new("/etc/thalweg").join(name));
    let text = pem();
    let inline = Pem::inline("", &text.replace("\\n", "\n"));
    assert_eq!(of(""), (vec![file("ca.pem")], vec![]), "those of the top level");
    assert_eq!(of(r#", "clientCertFiles": ["c.pem"]"#), (vec![], vec![file("c.pem")]), "no others");
    let both = format!(r#", "clientCaFiles": ["x.pem"], "clientCaPems": ["{text}"]"#);
    assert_eq!(of(&both), (vec![file("x.pem"), inline.clone()], vec![]));
    let leaves = format!(r#", "clientCertPems": ["{text}"], "clientCaFiles": ["x.pem"]"#);
    assert_eq!(of(&leaves), (vec![file("x.pem")], vec![inline]));
    let bad = |members: &str| faults(&with_tls(&[("a", members)]));
    let at = |key: &str| format!("services[0].{key}");
    let need = r#""tls": "Enabled", "clientAuth": "Need", "#;
    for key in ["clientCaPems", "clientCertPems"] {
        let with = |list: &str| bad(&format!("{need}\"{key}\": {list}"));
        assert_eq!(with("[]")[0], ("E106", at(key)));
        assert_eq!(with(r#"["x"]"#), [("E150", at(&format!("{key}[0]")))]);
        let secret = with(r#"["-----BEGIN PRIVATE KEY-----"]"#);
        assert_eq!(secret, [("E106", at(&format!("{key}[0]")))]);
        let idle = bad(&format!(r#""tls": "Enabled", "{key}": ["{text}"]"#));
        assert_eq!(idle, [("E139", at(key))]);
    }
}

#[test]
fn versions_and_suites_on_either_side() {
    let service =
        |members: &str| faults(&with_tls(&[("a", &format!(r#""tls": "Enabled", {members}"#))]));
    let target = |members: &str| {
        let target = format!(r#"{{"host": "h", "tls": true, {members}}}"#);
        faults(&one(&format!(r#""rules": [{{"targets": [{target}]}}]"#)))
    };
    let of_target = "services[0].rules[0].targets[0].";
    for (faults, at) in [(&service as &dyn Fn(&str) -> _, "services[0]."), (&target, of_target)] {
        let at = |key: &str| format!("{at}{key}");
        let suites = r#""cipherSuites": ["TLS_AES_128_GCM_SHA256", "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256"]"#;
        assert_eq!(faults(suites), []);
        assert_eq!(faults(r#""tlsMinVersion": "1.3", "tlsMaxVersion": "1.3""#), []);
        let crossed = faults(r#""tlsMinVersion": "1.3", "tlsMaxVersion": "1.2""#);
        assert_eq!(crossed, [("E195", at("tlsMinVersion"))]);
        assert_eq!(faults(r#""tlsMinVersion": "1.1""#), [("E103", at("tlsMinVersion"))]);
        let unknown = r#""cipherSuites": ["TLS_RSA_WITH_AES_128_CBC_SHA"]"#;
        assert_eq!(faults(unknown), [("E196", at("cipherSuites[0]"))]);
        let excluded = r#""tlsMaxVersion": "1.2", "cipherSuites": ["TLS_AES_128_GCM_SHA256"]"#;
        assert_eq!(faults(excluded), [("E196", at("cipherSuites[0]"))]);
        assert_eq!(faults(r#""cipherSuites": []"#), [("E106", at("cipherSuites"))]);
    }
    assert_eq!(
        faults(&one(r#""tlsMinVersion": "1.3""#)),
        [("E139", "services[0].tlsMinVersion".into())]
    );
}

#[test]
fn an_authority_of_a_target_in_the_configuration() {
    let of = |members: &str| {
        let target = format!(r#"{{"host": "h", "tls": true, {members}}}"#);
        one(&format!(r#""rules": [{{"targets": [{target}]}}]"#))
    };
    let text = pem();
    let tls =
        good(&of(&format!(r#""caPem": "{text}""#))).services[0].rules[0].targets[0].tls.clone();
    assert!(matches!(tls.unwrap().ca, Some(Pem::Inline(_))));
    let at = |key: &str| format!("services[0].rules[0].targets[0].{key}");
    assert_eq!(faults(&of(r#""caPem": "x""#)), [("E150", at("caPem"))]);
    let both = of(&format!(r#""caFile": "x", "caPem": "{text}""#));
    assert_eq!(faults(&both), [("E106", at("caPem"))]);
    let plain = one(r#""rules": [{"targets": [{"host": "h", "caPem": "x"}]}]"#);
    assert_eq!(faults(&plain), [("E139", at("caPem"))]);
}

#[test]
fn a_broken_text_costs_those_who_name_it() {
    let found = faults(&named(&[
        ("one", r#""tls": "Enabled", "certificates": ["b"]"#),
        ("two", r#""port": 7001"#),
    ]));
    assert_eq!(found, [("E150", "services[0].certificates[0]".to_owned())]);
}
