//! Rules: their patterns, their conditions, and where connections go that no rule takes.

use super::*;

/// The rules of a service that has these members, as how their patterns were read and their targets.
fn rules(members: &str) -> Vec<(String, Vec<String>)> {
    let service = good(&with_tls(&[("a", members)])).services.pop().expect("one service");
    let targets = |rule: &Rule| rule.targets.iter().map(|target| target.host.to_string()).collect();
    service.rules.iter().map(|rule| (rule.pattern.describe(), targets(rule))).collect()
}

#[test]
fn rules_by_name_stay_in_order() {
    let got = rules(
        r#""tls": "PassThrough", "sni": { "enabled": true }, "rules": [
            { "domain": "A.example.", "targets": [{"host": "a"}, {"host": "a2"}] },
            { "domain": "*.example", "targets": [{"host": "b"}] },
            { "targets": [{"host": "c"}] } ]"#,
    );
    let rule = |pattern: &str, targets: &[&str]| {
        (pattern.to_owned(), targets.iter().map(ToString::to_string).collect::<Vec<_>>())
    };
    let expected = [
        rule("exactly a.example", &["a", "a2"]),
        rule("glob *.example", &["b"]),
        rule("any name, or none", &["c"]),
    ];
    assert_eq!(got, expected);
}

#[test]
fn without_names_and_conditions_there_is_one_rule() {
    for tls in ["Disabled", "PassThrough", "Enabled"] {
        let got = rules(&format!(
            "\"tls\": \"{tls}\", \"rules\": [ {{ \"domain\": \"x\", \"targets\": [{{\"host\": \"a\"}}] }},
             {{}}, {{ \"targets\": [{{\"host\": \"b\"}}] }} ]"
        ));
        assert_eq!(got, [("any name, or none".to_owned(), vec!["a".to_owned(), "b".to_owned()])]);
    }
}

#[test]
fn without_names_conditions_choose_a_rule() {
    let members = r#""rules": [
        { "domain": "x", "sources": ["10.0.0.0/8"], "targets": [{"host": "a"}] },
        { "targets": [{"host": "a"}] } ]"#;
    let any = || "any name, or none".to_owned();
    assert_eq!(rules(members), [(any(), vec!["a".to_owned()]), (any(), vec!["a".to_owned()])]);
    let remarks: Vec<_> = read(&one(members)).diagnostics.into_iter().map(|f| f.code).collect();
    assert_eq!(remarks, ["I120"]);
    // Each rule needs targets then, and what is behind a rule for all is never reached.
    let faults =
        faults(&one(r#""rules": [ { "sources": ["10.0.0.0/8"] }, { "targets": [{"host": "a"}] },
           { "sources": ["::1"], "targets": [{"host": "a"}] } ]"#));
    let at = |code, path: &str| (code, format!("services[0].rules{path}"));
    assert_eq!(faults, [at("E126", "[0].targets"), at("W121", "[2]")]);
}

#[test]
fn sources_are_networks_and_addresses() {
    let text = with_tls(&[(
        "a",
        r#""rules": [ { "targets": [{"host": "a"}], "sources": ["10.0.0.0/8", "10.1.2.3",
           "2001:db8::/32", "[::1]", "::ffff:192.0.2.0/120", "::ffff:192.0.2.1", "0.0.0.0/0", "::/0"] } ]"#,
    )]);
    let service = good(&text).services.pop().expect("one service");
    let sources: Vec<_> = service.rules[0].sources.iter().map(ToString::to_string).collect();
    let expected = [
        "10.0.0.0/8",
        "10.1.2.3/32",
        "2001:db8::/32",
        "::1/128",
        "192.0.2.0/24",
        "192.0.2.1/32",
        "0.0.0.0/0",
        "::/0",
    ];
    assert_eq!(sources, expected);
}

#[test]
fn a_condition_on_the_client_certificate() {
    let text = with_tls(&[(
        "a",
        r#""tls": "Enabled", "clientAuth": "Need", "rules": [ { "targets": [{"host": "a"}],
           "clientCertificate": { "subject": "edge-*", "san": "Wildcard(spiffe://td/*)",
             "sha256": "ABEiM0RVZneImaq7zN3u/wARIjNEVWZ3iJmqu8zd7v8=" } } ]"#,
    )]);
    let mut service = good(&text).services.pop().expect("one service");
    let condition = service.rules.remove(0).client_certificate.expect("a condition");
    assert!(condition.subject.is_some_and(|subject| subject.matches(Some("Edge-1"))));
    assert!(condition.san.is_some_and(|san| san.matches(Some("spiffe://td/ns/a"))));
    assert_eq!(condition.sha256.map(|digest| digest[1]), Some(0x11));
}

/// A rule of a service by name with these members gives exactly this fault.
#[test]
fn one_fault_in_a_rule() {
    let table = [
        (r#""domain": """#, "E142", "domain"),
        (r#""domain": ".example.com""#, "E142", "domain"),
        (r#""domain": "a..b""#, "E142", "domain"),
        (r#""domain": "(a""#, "E142", "domain"),
        (r#""domain": "Regex(*.a)""#, "E142", "domain"),
        (r#""domain": "a*é""#, "E142", "domain"),
        (r#""domain": 5"#, "E102", "domain"),
        (r#""domian": "a""#, "E101", "domian"),
        (r#""alpn": []"#, "E106", "alpn"),
        (r#""alpn": [""]"#, "E106", "alpn[0]"),
        (r#""alpn": ["h2", "h2"]"#, "E106", "alpn[1]"),
        (r#""alpn": "h2""#, "E102", "alpn"),
        (r#""sources": []"#, "E106", "sources"),
        (r#""sources": ["10.0.0.1/8"]"#, "E143", "sources[0]"),
        (r#""sources": ["10.0.0.0/33"]"#, "E143", "sources[0]"),
        (r#""sources": ["::1", "10.0.0"]"#, "E143", "sources[1]"),
        (r#""sources": ["any"]"#, "E143", "sources[0]"),
        (r#""sources": ["10.0.0.0/255.0.0.0"]"#, "E143", "sources[0]"),
        (r#""sources": [10]"#, "E102", "sources[0]"),
        (r#""clientCertificate": {}"#, "E106", "clientCertificate"),
        (r#""clientCertificate": { "cn": "a" }"#, "E101", "clientCertificate.cn"),
        (r#""clientCertificate": { "subject": "(" }"#, "E142", "clientCertificate.subject"),
        (r#""clientCertificate": { "san": "" }"#, "E142", "clientCertificate.san"),
        (r#""clientCertificate": { "sha256": "00:11" }"#, "E144", "clientCertificate.sha256"),
        (r#""clientCertificate": { "sha256": "%%" }"#, "E144", "clientCertificate.sha256"),
        (r#""clientCertificate": "a""#, "E102", "clientCertificate"),
        (r#""targets": []"#, "E126", "targets"),
        (r#""loadBalancing": "Frist""#, "E103", "loadBalancing"),
    ];
    for (members, code, path) in table {
        let targets = if members.contains("targets") { "" } else { r#""targets":[{"host":"a"}],"# };
        let service = format!(
            "\"tls\": \"Enabled\", \"clientAuth\": \"Want\", \"sni\": {{ \"enabled\": true }},
             \"rules\": [{{{targets}{members}}}]"
        );
        let path = format!("services[0].rules[0].{path}");
        assert_eq!(faults(&with_tls(&[("a", &service)])), [(code, path)], "{members}");
    }
}

#[test]
fn hints_mend() {
    let hint = |members: &str| {
        let text = one(&format!(
            "\"tls\": \"PassThrough\", \"sni\": {{\"enabled\": true}}, \
             \"rules\": [{{\"targets\":[{{\"host\":\"a\"}}],{members}}}]"
        ));
        let diagnostics = read(&text).diagnostics;
        diagnostics.into_iter().find_map(|finding| finding.hint).unwrap_or_default()
    };
    assert_eq!(
        hint(r#""sources": ["10.0.0.1/8"]"#),
        "write \"10.0.0.0/8\", or \"10.0.0.1\" for the one address"
    );
    assert!(hint(r#""domain": ".example.com""#).contains("\"*.example.com\""));
    assert_eq!(hint(r#""domain": "wildcard(a)""#), "did you mean `Wildcard(…)`?");
    assert_eq!(hint(r#""domain": "regex(a)""#), "did you mean `Regex(…)`?");
    assert!(hint(r#""domain": "api.*""#).contains("`Wildcard(api.*)`"));
    assert_eq!(hint(r#""source": []"#), "did you mean `sources`?");
}

/// What a rule asks for must be known when it is looked at.
#[test]
fn conditions_that_are_never_known() {
    let with = |service: &str, rule: &str| {
        faults(&with_tls(&[(
            "a",
            &format!("{service}, \"rules\": [{{\"targets\":[{{\"host\":\"a\"}}],{rule}}}]"),
        )]))
    };
    let at = |path: &str| vec![("E141", format!("services[0].rules[0].{path}"))];
    let (alpn, certificate) = (r#""alpn": ["h2"]"#, r#""clientCertificate": { "subject": "a" }"#);
    assert_eq!(with(r#""tls": "Disabled""#, alpn), at("alpn"));
    assert_eq!(with(r#""tls": "PassThrough""#, alpn), []);
    assert_eq!(with(r#""tls": "Disabled""#, certificate), at("clientCertificate"));
    assert_eq!(with(r#""tls": "PassThrough""#, certificate), at("clientCertificate"));
    assert_eq!(with(r#""tls": "Enabled""#, certificate), at("clientCertificate"));
    assert_eq!(with(r#""tls": "Enabled", "clientAuth": "Want""#, certificate), []);
    assert_eq!(with(r#""tls": "Enable""#, alpn), [("E103", "services[0].tls".to_owned())]);
}

#[test]
fn a_forward_alone_is_enough() {
    let sni = |members: &str| {
        faults(&one(&format!("\"sni\": {{ \"enabled\": true{members} }}, \"rules\": []")))
    };
    assert_eq!(sni(""), [("E126", "services[0].rules".to_owned())]);
    assert_eq!(
        sni(r#", "forwardsTo": { "host": "a" }"#),
        [("E126", "services[0].rules".to_owned())]
    );
    assert_eq!(sni(r#", "forwardIfNoMatch": true, "forwardsTo": { "host": "a" }"#), []);
    assert_eq!(sni(r#", "fallbacks": { "noName": { "host": "a" } }"#), []);
}

#[test]
fn fallbacks_by_reason() {
    let hosts = |sni: &str| {
        let members = format!("\"sni\": {{ \"enabled\": true, {sni} }}");
        let fallbacks = good(&one(&members)).services.pop().expect("one service").fallbacks;
        let Fallbacks { no_match, no_name, not_recognised, silent, .. } = fallbacks;
        [no_match, no_name, not_recognised, silent]
            .map(|target| target.map_or("-".to_owned(), |target| target.host.to_string()))
            .join(" ")
    };
    let forward = r#""forwardIfNoMatch": true, "forwardsTo": { "host": "f" }"#;
    assert_eq!(hosts(forward), "f f - -");
    assert_eq!(hosts(r#""forwardsTo": { "host": "f" }"#), "- - - -");
    assert_eq!(
        hosts(&format!("{forward}, \"fallbacks\": {{ \"noName\": {{ \"host\": \"n\" }} }}")),
        "f n - -"
    );
    assert_eq!(
        hosts(
            r#""fallbacks": { "noMatch": { "host": "a" }, "noName": { "host": "b" },
               "notRecognised": { "host": "c" }, "silent": { "host": "d" } }"#
        ),
        "a b c d"
    );
}

#[test]
fn what_is_idle_without_names_is_remarked() {
    let remarks = |sni: &str| -> Vec<_> {
        let text = one(&format!("\"sni\": {{ {sni} }}"));
        read(&text).diagnostics.into_iter().map(|f| (f.code, f.path)).collect()
    };
    let at = |path: &str| ("I122", format!("services[0].sni.{path}"));
    assert_eq!(remarks(r#""forwardIfNoMatch": true"#), [at("forwardIfNoMatch")]);
    assert_eq!(remarks(r#""fallbacks": { "silent": { "host": "a" } }"#), [at("fallbacks")]);
    assert_eq!(remarks(r#""fallbacks": {}"#), []);
    let both = r#""enabled": true, "forwardIfNoMatch": true, "forwardsTo": { "host": "f" },
        "fallbacks": { "noMatch": { "host": "a" }, "noName": { "host": "b" } }"#;
    assert_eq!(remarks(both), [at("forwardIfNoMatch")]);
}
