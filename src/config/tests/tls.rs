//! What services and targets say about TLS.

use std::path::PathBuf;
use std::sync::Arc;

use super::*;
use crate::config::checked::{
    CertificateSource, ClientAuth, Crypto, KeyPair, Termination, UpstreamTls,
};

/// How the service with these members ends TLS.
fn termination(members: &str) -> Termination {
    let service = good(&with_tls(&[("a", members)])).services.pop().expect("one service");
    let Tls::Enabled(termination) = service.tls else { panic!("{:?}", service.tls) };
    termination
}

/// How TLS is spoken to the target with these members.
fn upstream(members: &str) -> UpstreamTls {
    let rules = format!("\"rules\": [{{\"targets\":[{{\"tls\":true,{members}}}]}}]");
    let loaded = read(&one(&rules));
    assert_eq!(loaded.errors(), 0, "{:#?}", loaded.diagnostics);
    let mut service = loaded.checked.expect("no errors").services.pop().expect("one service");
    service.rules[0].targets.pop().expect("one target").tls.expect("TLS")
}

#[test]
fn the_spellings_of_otoroshi() {
    let tls = |spelling: &str| {
        let members = format!("\"tls\": \"{spelling}\"");
        good(&with_tls(&[("a", &members)])).services.pop().expect("one service").tls
    };
    for spelling in ["Disabled", "disabled"] {
        assert_eq!(tls(spelling), Tls::Disabled);
    }
    for spelling in ["PassThrough", "passthrough"] {
        assert_eq!(tls(spelling), Tls::PassThrough);
    }
    for spelling in ["Enabled", "enabled"] {
        assert!(matches!(tls(spelling), Tls::Enabled(_)));
    }
    for (spelling, expected) in [
        ("none", ClientAuth::None),
        ("NONE", ClientAuth::None),
        ("want", ClientAuth::Want),
        ("Need", ClientAuth::Need),
        ("NEED", ClientAuth::Need),
    ] {
        let members = format!("\"tls\": \"Enabled\", \"clientAuth\": \"{spelling}\"");
        assert_eq!(termination(&members).client_auth, expected, "{spelling}");
    }
}

#[test]
fn certificates_of_the_contract() {
    let top = r#"{ "certificates": [ { "certFile": "a.pem", "keyFile": "a.key" },
        { "directory": "certs.d" }, { "certFile": "/b.pem" } ], "clientCaFiles": [ "clients-ca.pem" ],"#;
    let checked = good(&one("\"tls\": \"Enabled\"").replacen('{', top, 1));
    let pair = |cert: &str, key: &str| CertificateSource::Pair(KeyPair::files(cert, key));
    let expected = [
        pair("/etc/thalweg/a.pem", "/etc/thalweg/a.key"),
        CertificateSource::Directory("/etc/thalweg/certs.d".into()),
        pair("/b.pem", "/b.pem"),
    ];
    assert_eq!(checked.certificates, expected);
}

#[test]
fn defaults_of_a_service_that_ends_tls() {
    let expected = Termination {
        certificates: vec![],
        client_auth: ClientAuth::None,
        client_ca: vec![],
        client_certs: vec![],
        crypto: Crypto::default(),
        client_crl_files: vec![],
        alpn: vec![],
        strict: false,
    };
    assert_eq!(termination(r#""tls": "Enabled""#), expected);
}

#[test]
fn whom_client_certificates_must_come_from() {
    let files = |members: &str| {
        let members = format!("\"tls\": \"Enabled\", \"clientAuth\": \"Need\"{members}");
        let Termination { client_ca, client_crl_files, .. } = termination(&members);
        let files: Vec<_> = client_ca.iter().map(|pem| pem.place().to_owned()).collect();
        (files, client_crl_files)
    };
    let path = |name: &str| PathBuf::from("/etc/thalweg").join(name);
    assert_eq!(files(""), (vec![path("ca.pem")], vec![]));
    assert_eq!(
        files(r#", "clientCaFiles": ["x.pem", "/y.pem"], "clientCrlFiles": ["x.crl"]"#),
        (vec![path("x.pem"), "/y.pem".into()], vec![path("x.crl")])
    );
}

#[test]
fn protocols_offered_are_those_of_the_rule_that_the_service_has() {
    let rules = r#""tls": "Enabled", "rules": [
        { "alpn": ["h2", "mqtt"], "targets": [{"host": "a"}] },
        { "alpn": ["mqtt", "x"], "targets": [{"host": "b"}] } ]"#;
    let offered = |members: &str| -> Vec<Vec<Arc<str>>> {
        let checked = good(&with_tls(&[("a", members)]));
        let service = &checked.services[0];
        let Tls::Enabled(termination) = &service.tls else { panic!("{service:?}") };
        service.rules.iter().map(|rule| termination.alpn_of(rule)).collect()
    };
    let words = |words: &[&str]| words.iter().map(|word| Arc::from(*word)).collect::<Vec<_>>();
    assert_eq!(offered(rules), [words(&["h2", "mqtt"]), words(&["mqtt", "x"])]);
    assert_eq!(
        offered(&format!("{rules}, \"alpn\": [\"x\", \"mqtt\", \"h2\"]")),
        [words(&["mqtt", "h2"]), words(&["x", "mqtt"])]
    );
    let short = with_tls(&[("a", &format!("{rules}, \"alpn\": [\"mqtt\"]"))]);
    let at = |path: &str| ("W123", format!("services[0].rules{path}"));
    assert_eq!(faults(&short), [at("[0].alpn[0]"), at("[1].alpn[1]")]);
}

#[test]
fn tls_to_a_target() {
    let plain = UpstreamTls::to("db");
    assert_eq!(upstream(r#""host": "DB.""#), plain);
    let name = |members: &str| upstream(members).server_name.to_string();
    assert_eq!(name(r#""host": "db", "ip": "10.0.0.1""#), "db");
    assert_eq!(name(r#""ip": "10.0.0.1""#), "10.0.0.1");
    assert_eq!(name(r#""host": "[2001:db8::1]""#), "2001:db8::1");
    assert_eq!(name(r#""host": "db_1.internal""#), "db_1.internal");
    assert_eq!(name(r#""host": "db", "serverName": "Real.Example""#), "real.example");
    assert_eq!(name(r#""host": "unix:/x", "serverName": "db""#), "db");
    let full = upstream(
        r#""host": "db", "caFile": "ca.pem", "clientCertificate": { "certFile": "c.pem" },
           "pinnedPublicKeys": ["sha256/ABEiM0RVZneImaq7zN3u/wARIjNEVWZ3iJmqu8zd7v8="]"#,
    );
    assert_eq!(full.ca, Some(PathBuf::from("/etc/thalweg/ca.pem").into()));
    let both = PathBuf::from("/etc/thalweg/c.pem");
    let pair = KeyPair::files(&both, &both);
    assert_eq!(full.client_certificate, Some(pair));
    assert_eq!((full.pins.len(), full.pin_only, full.insecure), (1, false, false));
}

#[test]
fn pins_in_all_their_spellings() {
    let bytes: [u8; 32] = std::array::from_fn(|at| u8::try_from(at % 16 * 17).expect("a byte"));
    for pin in [
        "sha256/ABEiM0RVZneImaq7zN3u/wARIjNEVWZ3iJmqu8zd7v8=",
        "sha256//ABEiM0RVZneImaq7zN3u/wARIjNEVWZ3iJmqu8zd7v8=",
        "ABEiM0RVZneImaq7zN3u/wARIjNEVWZ3iJmqu8zd7v8=",
        "ABEiM0RVZneImaq7zN3u/wARIjNEVWZ3iJmqu8zd7v8",
        "ABEiM0RVZneImaq7zN3u_wARIjNEVWZ3iJmqu8zd7v8",
        "00112233445566778899aabbccddeeff00112233445566778899AABBCCDDEEFF",
        "00:11:22:33:44:55:66:77:88:99:aa:bb:cc:dd:ee:ff:00:11:22:33:44:55:66:77:88:99:aa:bb:cc:dd:ee:ff",
    ] {
        let target = upstream(&format!(
            "\"host\": \"db\", \"pinOnly\": true, \"pinnedPublicKeys\": [\"{pin}\"]"
        ));
        assert_eq!(target.pins, [bytes], "{pin}");
        assert!(target.pin_only);
    }
}

/// A target with these members gives exactly these faults.
#[test]
fn faults_in_a_target() {
    let pin = r#""pinnedPublicKeys": ["sha256/ABEiM0RVZneImaq7zN3u/wARIjNEVWZ3iJmqu8zd7v8="]"#;
    let table = [
        (r#""serverName": "x""#, &[("E139", "serverName")][..]),
        (r#""caFile": "x""#, &[("E139", "caFile")]),
        (r#""clientCertificate": { "certFile": "x" }"#, &[("E139", "clientCertificate")]),
        (r#""insecureSkipVerify": true"#, &[("E139", "insecureSkipVerify")]),
        (pin, &[("E139", "pinnedPublicKeys")]),
        (r#""pinOnly": true"#, &[("E139", "pinOnly")]),
        (r#""insecureSkipVerify": false, "pinOnly": false"#, &[]),
        (r#""tls": "yes", "caFile": "x""#, &[("E102", "tls")]),
        (r#""tls": true, "pinOnly": true"#, &[("E139", "pinOnly")]),
        (r#""tls": true, "pinnedPublicKeys": []"#, &[("E106", "pinnedPublicKeys")]),
        (r#""tls": true, "pinnedPublicKeys": ["x"]"#, &[("E144", "pinnedPublicKeys[0]")]),
        (r#""tls": true, "pinnedPublicKeys": [7]"#, &[("E102", "pinnedPublicKeys[0]")]),
        (r#""tls": true, "caFile": """#, &[("E106", "caFile")]),
        (r#""tls": true, "caFile": "-----BEGIN CERTIFICATE-----""#, &[("E106", "caFile")]),
        (r#""tls": true, "caFiles": "x""#, &[("E101", "caFiles")]),
        (r#""tls": true, "serverName": "a b""#, &[("E127", "serverName")]),
        (r#""tls": true, "serverName": """#, &[("E127", "serverName")]),
        (r#""tls": true, "clientCertificate": {}"#, &[("E104", "clientCertificate.certFile")]),
        (
            r#""tls": true, "clientCertificate": { "keyFile": "x" }"#,
            &[("E104", "clientCertificate.certFile")],
        ),
        (r#""tls": true, "insecureSkipVerify": true"#, &[("W122", "insecureSkipVerify")]),
        (
            r#""tls": true, "insecureSkipVerify": true, "caFile": "x", "pinOnly": true"#,
            &[("E139", "caFile"), ("E139", "pinOnly"), ("W122", "insecureSkipVerify")],
        ),
        (r#""tls": true, "proxyProtocol": "V3""#, &[("E103", "proxyProtocol")]),
    ];
    for (members, expected) in table {
        let text = one(&format!("\"rules\": [{{\"targets\":[{{\"host\":\"db\",{members}}}]}}]"));
        let path = |path: &str| format!("services[0].rules[0].targets[0].{path}");
        let expected: Vec<_> = expected.iter().map(|(code, at)| (*code, path(at))).collect();
        assert_eq!(faults(&text), expected, "{members}");
    }
    let pin_and_ca =
        format!("\"host\": \"db\", \"tls\": true, \"pinOnly\": true, \"caFile\": \"x\", {pin}");
    let text = one(&format!("\"rules\": [{{\"targets\":[{{{pin_and_ca}}}]}}]"));
    let at = |path: &str| format!("services[0].rules[0].targets[0].{path}");
    assert_eq!(faults(&text), [("E139", at("caFile"))]);
    let text = one(r#""rules": [{"targets":[{"host":"unix:/x","tls":true}]}]"#);
    assert_eq!(faults(&text), [("E104", at("serverName"))]);
}

/// The same in the targets of `sni`.
#[test]
fn faults_in_a_fallback() {
    let sni = |members: &str| {
        let sni = format!("\"sni\": {{ \"enabled\": true, {members} }}");
        faults(&one(&sni))
            .into_iter()
            .map(|(code, path)| (code, path.replace("services[0].sni.", "")))
            .collect::<Vec<_>>()
    };
    let at = |code, path: &str| vec![(code, path.to_owned())];
    assert_eq!(
        sni(r#""forwardIfNoMatch": true, "forwardsTo": { "host": "a", "caFile": "x" }"#),
        at("E139", "forwardsTo.caFile")
    );
    assert_eq!(sni(r#""forwardIfNoMatch": true"#), at("E104", "forwardsTo"));
    assert_eq!(sni(r#""forwardIfNoMatch": true, "forwardTo": {}"#), at("E101", "forwardTo"));
    assert_eq!(
        sni(r#""forwardsTo": { "host": "a", "proxyProtocol": "v1" }"#),
        at("E103", "forwardsTo.proxyProtocol")
    );
    for key in ["noMatch", "noName", "notRecognised", "silent"] {
        let fallback = |target: &str| sni(&format!("\"fallbacks\": {{ \"{key}\": {target} }}"));
        assert_eq!(fallback(r#"{ "host": "a" }"#), []);
        assert_eq!(fallback("null"), []);
        assert_eq!(fallback("{}"), at("E104", &format!("fallbacks.{key}.host")));
        assert_eq!(
            fallback(r#"{ "host": "a", "proxyProtocol": true }"#),
            at("E102", &format!("fallbacks.{key}.proxyProtocol"))
        );
        assert_eq!(
            fallback(r#"{ "host": "127.0.0.1", "port": 7000 }"#),
            at("E128", &format!("fallbacks.{key}"))
        );
    }
    assert_eq!(
        sni(r#""fallbacks": { "notRecognized": {} }"#),
        at("E101", "fallbacks.notRecognized")
    );
}

/// A service with these members, certificates and an authority gives exactly these faults.
#[test]
fn faults_in_a_service() {
    let table = [
        (r#""tls": "PassThrough", "clientAuth": "Want""#, &[("E132", "clientAuth")][..]),
        (r#""tls": "Enabled", "clientCaFiles": ["x"]"#, &[("E139", "clientCaFiles")]),
        (r#""tls": "Enabled", "clientCrlFiles": ["x"]"#, &[("E139", "clientCrlFiles")]),
        (r#""clientCaFiles": ["x"]"#, &[("E139", "clientCaFiles")]),
        (r#""tls": "PassThrough", "alpn": ["h2"]"#, &[("E139", "alpn")]),
        (r#""sni": { "strict": true }"#, &[("E139", "sni.strict")]),
        (r#""tls": "Enabled", "sni": { "strict": true }"#, &[]),
        (r#""tls": "Enabled", "alpn": []"#, &[("E106", "alpn")]),
        (r#""tls": "Enabled", "alpn": [""]"#, &[("E106", "alpn[0]")]),
        (r#""tls": "Enabled", "alpn": ["h2", "h2"]"#, &[("E106", "alpn[1]")]),
        (r#""tls": "Enabled", "alpn": "h2""#, &[("E102", "alpn")]),
        (
            r#""tls": "Enabled", "clientAuth": "Need", "clientCaFiles": []"#,
            &[("E106", "clientCaFiles")],
        ),
        (
            r#""tls": "Enabled", "clientAuth": "Need", "clientCaFiles": [1]"#,
            &[("E102", "clientCaFiles[0]")],
        ),
        (
            r#""tls": "Enabled", "clientAuth": "Need", "clientCrlFiles": [""]"#,
            &[("E106", "clientCrlFiles[0]")],
        ),
        (
            r#""tls": "Enable", "clientAuth": "Need", "clientCaFiles": ["x"], "alpn": ["h2"]"#,
            &[("E103", "tls")],
        ),
        (
            r#""tls": "Enabled", "clientAuth": "Required", "clientCaFiles": ["x"]"#,
            &[("E103", "clientAuth")],
        ),
    ];
    for (members, expected) in table {
        let path = |path: &str| format!("services[0].{path}");
        let expected: Vec<_> = expected.iter().map(|(code, at)| (*code, path(at))).collect();
        assert_eq!(faults(&with_tls(&[("a", members)])), expected, "{members}");
    }
}

#[test]
fn certificates_and_authorities_are_needed() {
    let text = r#""tls": "Enabled", "clientAuth": "Want""#;
    let at = |code, path: &str| (code, format!("services[0].{path}"));
    assert_eq!(faults(&one(text)), [at("E138", "tls"), at("E137", "clientAuth")]);
    let with = |top: &str| faults(&one(text).replacen('{', &format!("{{{top},"), 1));
    let ca = r#""clientCaFiles": ["ca.pem"]"#;
    assert_eq!(with(ca), [at("E138", "tls")]);
    assert_eq!(with(&format!("{ca}, \"certificates\": []")), [at("E138", "tls")]);
    let certificates = r#""certificates": [{ "directory": "d" }]"#;
    assert_eq!(with(certificates), [at("E137", "clientAuth")]);
    assert_eq!(with(&format!("{certificates}, \"clientCaFiles\": []")), [at("E137", "clientAuth")]);
    // What is wrong with the lists is not said twice.
    let broken = |code, path: &str| vec![(code, path.to_owned())];
    assert_eq!(
        with(&format!("{certificates}, \"clientCaFiles\": [1]")),
        broken("E102", "clientCaFiles[0]")
    );
    assert_eq!(with(&format!("{ca}, \"certificates\": {{}}")), broken("E102", "certificates"));
    assert_eq!(with(&format!("{ca}, \"certificates\": [1]")), broken("E102", "certificates[0]"));
}

#[test]
fn faults_in_the_certificates() {
    let table = [
        ("{}", "E145", "[0]"),
        (r#"{ "keyFile": "a" }"#, "E145", "[0]"),
        (r#"{ "certFile": "a", "directory": "b" }"#, "E145", "[0]"),
        (r#"{ "certFile": "a" }, { "certFile": "a", "keyFile": "a" }"#, "E145", "[1]"),
        (r#"{ "certFile": "" }"#, "E106", "[0].certFile"),
        (r#"{ "certFile": "a", "keyFile": ".." }"#, "E106", "[0].keyFile"),
        (r#"{ "directory": "" }"#, "E106", "[0].directory"),
        (r#"{ "certFile": 1 }"#, "E102", "[0].certFile"),
        (r#"{ "cert": "a" }"#, "E101", "[0].cert"),
        (r#"{ "certfile": "a" }"#, "E101", "[0].certfile"),
    ];
    for (entries, code, path) in table {
        let text = one("").replacen('{', &format!("{{\"certificates\": [{entries}],"), 1);
        assert_eq!(faults(&text), [(code, format!("certificates{path}"))], "{entries}");
    }
}

#[test]
fn the_example_of_otoroshi_loads_with_a_certificate() {
    let top = r#"{ "certificates": [ { "certFile": "a.pem" } ],"#;
    let text = OTOROSHI.replacen('{', top, 1);
    let service = good(&text).services.pop().expect("one service");
    assert!(matches!(service.tls, Tls::Enabled(_)));
    assert!(service.by_name);
    assert!(service.rules[0].pattern.matches(Some("pg-read.example.com")));
    let forwards = service.fallbacks.no_match.clone().expect("forwardIfNoMatch");
    assert_eq!(&*forwards.host, "postgres-primary.internal");
    assert_eq!(service.fallbacks.no_name, Some(forwards));
    let read: Vec<_> = read(&text).diagnostics.into_iter().map(|f| (f.code, f.path)).collect();
    assert_eq!(read, [("I123", "services[0].rules[0].domain".to_owned())]);
}

#[test]
fn tls_in_tls_is_probably_not_meant() {
    let members = r#""tls": "PassThrough", "sni": { "enabled": true, "forwardIfNoMatch": true,
        "forwardsTo": { "host": "a", "tls": true },
        "fallbacks": { "noName": { "host": "a", "tls": true }, "silent": { "host": "a", "tls": true } } },
        "rules": [ { "targets": [ { "host": "a", "tls": true }, { "host": "b" } ] } ]"#;
    let at = |path: &str| ("W124", format!("services[0].{path}"));
    let expected =
        [at("rules[0].targets[0].tls"), at("sni.fallbacks.noName.tls"), at("sni.forwardsTo.tls")];
    let mut found = faults(&one(members));
    found.sort();
    assert_eq!(found, expected);
    assert_eq!(faults(&with_tls(&[("a", &members.replace("PassThrough", "Enabled"))])), []);
}
