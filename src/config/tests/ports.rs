//! Services that share an address.

use super::*;

const BY_NAME: &str = r#""sni": { "enabled": true }"#;

/// A service by name with this TLS mode and these rules: each a pattern and further members.
fn by_name(tls: &str, rules: &[(&str, &str)]) -> String {
    let rule = |(domain, more): &(&str, &str)| {
        format!("{{\"domain\":\"{domain}\",\"targets\":[{{\"host\":\"db\"}}]{more}}}")
    };
    let rules: Vec<_> = rules.iter().map(rule).collect();
    format!("\"tls\": \"{tls}\", {BY_NAME}, \"rules\": [{}]", rules.join(","))
}

fn two(a: &str, b: &str) -> Vec<(&'static str, String)> {
    faults(&with_tls(&[("a", a), ("b", b)]))
}

fn second(code: &'static str, path: &str) -> Vec<(&'static str, String)> {
    vec![(code, format!("services[1].{path}"))]
}

#[test]
fn terminating_and_passing_through_side_by_side() {
    let mutual = by_name("Enabled", &[("c", "")]).replace(
        "\"tls\"",
        "\"clientAuth\": \"Need\", \"clientCaFiles\": [\"other.pem\"], \"tls\"",
    );
    let checked = good(&with_tls(&[
        ("a", &by_name("Enabled", &[("a", "")])),
        ("b", &by_name("PassThrough", &[("b", "")])),
        ("c", &mutual),
        ("d", &by_name("Enabled", &[("*", "")])),
    ]));
    let ids: Vec<_> = checked.services.iter().map(|service| &*service.id).collect();
    assert_eq!(ids, ["a", "b", "c", "d"]);
    assert!(checked.services.iter().all(|service| service.listen.port() == 7000));
    let plain = by_name("Disabled", &[("a", "")]);
    assert_eq!(two(&plain, &by_name("Disabled", &[("b", "")])), []);
}

#[test]
fn who_may_not_share_an_address() {
    let (tls, plain) = (by_name("Enabled", &[("a", "")]), by_name("Disabled", &[("b", "")]));
    let all = r#""tls": "Enabled""#;
    assert_eq!(two("", ""), second("E124", "port"));
    assert_eq!(two(all, all), second("E124", "port"));
    assert_eq!(two(&tls, all), second("E133", "port"));
    assert_eq!(two(all, &tls), second("E133", "port"));
    assert_eq!(two(&plain, ""), second("E133", "port"));
    assert_eq!(two(&tls, &plain), second("E134", "tls"));
    assert_eq!(two(&plain, &by_name("PassThrough", &[("a", "")])), second("E134", "tls"));
    let local = |members: &str| format!("\"interface\": \"127.0.0.1\", {members}");
    assert_eq!(two(&tls, &local(&by_name("Enabled", &[("b", "")]))), second("E125", "port"));
    // Nothing follows from what has no shape.
    assert_eq!(two(&tls, &plain.replace("Disabled", "disable")), second("E103", "tls"));
    let broken = plain.replace("\"enabled\": true", "\"enabled\": 1");
    assert_eq!(two(&tls, &broken), second("E102", "sni.enabled"));
}

#[test]
fn a_name_belongs_to_one_service() {
    let a = by_name("Enabled", &[("x", ""), ("db.example", "")]);
    let claimed = second("E135", "rules[0].domain");
    assert_eq!(two(&a, &by_name("PassThrough", &[("DB.example.", "")])), claimed);
    let mutual = by_name("Enabled", &[("db.example", "")])
        .replace("\"tls\"", "\"clientAuth\": \"Need\", \"tls\"");
    assert_eq!(two(&a, &mutual), claimed);
    let other = mutual.replace("\"tls\"", "\"clientCaFiles\": [\"other.pem\"], \"tls\"");
    assert_eq!(two(&mutual, &other), claimed);
    // With the same settings the second is merely never reached, with another condition it is.
    let again = by_name("Enabled", &[("db.example", "")]);
    assert_eq!(two(&a, &again), second("W121", "rules[0].domain"));
    let from = r#","sources":["10.0.0.0/8"]"#;
    let near = by_name("Enabled", &[("db.example", from)]);
    assert_eq!(two(&near, &by_name("PassThrough", &[("db.example", "")])), []);
    assert_eq!(two(&near, &by_name("PassThrough", &[("db.example", from)])), claimed);
    // What is known only after the handshake does not tell them apart.
    let subject = r#","clientCertificate":{"subject":"a"}"#;
    let mutual_subject = by_name("Enabled", &[("db.example", subject)])
        .replace("\"tls\"", "\"clientAuth\": \"Need\", \"tls\"");
    assert_eq!(two(&mutual_subject, &again), claimed);
    assert_eq!(two(&mutual_subject, &mutual), []);
    // For `*` and expressions too.
    for pattern in ["*", "*.x", "a*b", "(a|b)"] {
        let a = by_name("Enabled", &[(pattern, "")]);
        assert_eq!(two(&a, &by_name("PassThrough", &[(pattern, "")])), claimed, "{pattern}");
    }
    let message = read(&with_tls(&[("a", &a), ("b", &mutual)]))
        .diagnostics
        .into_iter()
        .find(|finding| finding.code == "E135")
        .map(|finding| finding.message);
    let expected = "rules[1] of service `a` (services[0]) also claims `db.example`, with another \
                    `clientAuth`";
    assert_eq!(message.as_deref(), Some(expected));
}

#[test]
fn rules_that_are_never_reached() {
    let from = r#","sources":["10.0.0.0/8"]"#;
    type Rules<'a> = &'a [(&'a str, &'a str)];
    let table: &[(Rules<'_>, &[usize])] = &[
        (&[("a.x", ""), ("*.x", ""), ("*", "")], &[]),
        (&[("*", ""), ("a", ""), ("*.x", ""), (".*b.*", ""), ("*", from)], &[1, 2, 3, 4]),
        (&[("*", from), ("a", ""), ("*", "")], &[]),
        (&[("*", from), ("*", from)], &[1]),
        (&[("a.x", ""), ("A.x.", "")], &[1]),
        (&[("a.x", from), ("a.x", "")], &[]),
        (&[("a.x", ""), ("a.x", from)], &[1]),
        (&[("*.x", ""), ("a.b.x", ""), ("*.b.x", ""), ("a*.b.x", ""), ("x", "")], &[1, 2, 3]),
        (&[("*.b.x", ""), ("*.x", ""), ("a*.x", "")], &[2]),
        (&[("Regex(a)", ""), ("Regex(a)", "")], &[1]),
    ];
    for (rules, unreached) in table {
        let expected: Vec<_> = unreached
            .iter()
            .map(|at| ("W121", format!("services[0].rules[{at}].domain")))
            .collect();
        assert_eq!(faults(&with_tls(&[("a", &by_name("Enabled", rules))])), expected, "{rules:?}");
    }
    let all = by_name("Enabled", &[("*", "")]);
    assert_eq!(two(&all, &by_name("Enabled", &[("b", "")])), second("W121", "rules[0].domain"));
}

#[test]
fn a_fallback_belongs_to_one_service() {
    let service = |name: &str, sni: &str| {
        by_name("Enabled", &[(name, "")])
            .replace("\"enabled\": true", &format!("\"enabled\": true, {sni}"))
    };
    let forward = r#""forwardIfNoMatch": true, "forwardsTo": { "host": "f" }"#;
    let fallback = |key: &str| format!("\"fallbacks\": {{ \"{key}\": {{ \"host\": \"f\" }} }}");
    let clash = |a: &str, b: &str| two(&service("a", a), &service("b", b));
    assert_eq!(clash(forward, forward), second("E136", "sni.forwardIfNoMatch"));
    assert_eq!(clash(forward, &fallback("noName")), second("E136", "sni.fallbacks.noName"));
    assert_eq!(clash(&fallback("noMatch"), forward), second("E136", "sni.forwardIfNoMatch"));
    assert_eq!(
        clash(&fallback("silent"), &fallback("silent")),
        second("E136", "sni.fallbacks.silent")
    );
    assert_eq!(clash(&fallback("noMatch"), &fallback("noName")), []);
    assert_eq!(clash(forward, &fallback("silent")), []);
}

#[test]
fn ten_thousand_services_on_one_port() {
    let services: Vec<_> = (0..10_000)
        .map(|n| (format!("s{n}"), by_name("Enabled", &[(&format!("h{n}.example.com"), "")])))
        .collect();
    let services: Vec<_> = services.iter().map(|(id, members)| (&**id, &**members)).collect();
    assert_eq!(good(&with_tls(&services)).services.len(), 10_000);
}
