//! The tables of the Gateway API's conformance for `TCPRoute` and `TLSRoute`.

use super::*;

const A: &str = "rules: [ { backendRefs: [ { name: a, port: 80 } ] } ]";

fn tls(name: &str, parent: &str, hostnames: &str) -> String {
    let spec = format!("parentRefs: [ {{ name: gw{parent} }} ], hostnames: [ {hostnames} ], {A}");
    route("TLSRoute", name, &spec)
}

fn tcp(name: &str, parent: &str) -> String {
    route("TCPRoute", name, &format!("parentRefs: [ {{ name: gw{parent} }} ], {A}"))
}

const PASS: &str = "tls: { mode: Passthrough }";

#[test]
fn a_listener_and_a_route_take_the_names_that_both_have() {
    for (listener, route, taken, refused) in [
        ("", "\"a.example.com\"", vec!["a.example.com"], vec!["b.example.com"]),
        ("", "\"*.example.com\"", vec!["a.example.com", "a.b.example.com"], vec!["example.com"]),
        ("very.specific.com", "\"very.specific.com\"", vec!["very.specific.com"], vec![]),
        (
            "very.specific.com",
            "\"*.specific.com\", \"other.com\"",
            vec!["very.specific.com"],
            vec![],
        ),
        ("*.wildcard.io", "\"*.wildcard.io\"", vec!["a.wildcard.io", "b.a.wildcard.io"], vec![]),
        ("*.wildcard.io", "\"foo.wildcard.io\"", vec!["foo.wildcard.io"], vec!["bar.wildcard.io"]),
        (
            "*.anotherwildcard.io",
            "\"*.anotherwildcard.io\", \"*.b.io\"",
            vec!["x.anotherwildcard.io"],
            vec![],
        ),
        ("*.b.io", "\"*.a.b.io\"", vec!["x.a.b.io", "y.x.a.b.io"], vec!["x.b.io", "a.b.io"]),
    ] {
        let host = format!("name: l, port: 443, protocol: TLS, hostname: \"{listener}\", {PASS}");
        let came = of(&(gateway(&[&host]) + &tls("r", "", route) + &service("a", &["10.0.0.1"])));
        let parent = &came.status(Kind::TlsRoute, "r")["parents"][0];
        assert_eq!(condition(parent, "Accepted"), "Accepted=True/Accepted", "{listener} {route}");
        for name in taken {
            assert_eq!(came.route(443, name), "r", "{listener} {route} {name}");
        }
        for name in refused {
            assert_eq!(came.route(443, name), "-", "{listener} {route} {name}");
        }
    }
}

#[test]
fn a_route_that_has_none_of_the_names_is_not_accepted() {
    for (listener, route) in [
        ("very.specific.com", "\"specific.com\""),
        ("*.wildcard.io", "\"wildcard.io\""),
        ("*.wildcard.io", "\"*.other.io\", \"a.other.io\""),
    ] {
        let host = format!("name: l, port: 443, protocol: TLS, hostname: \"{listener}\", {PASS}");
        let came = of(&(gateway(&[&host]) + &tls("r", "", route) + &service("a", &["10.0.0.1"])));
        let parent = &came.status(Kind::TlsRoute, "r")["parents"][0];
        assert_eq!(condition(parent, "Accepted"), "Accepted=False/NoMatchingListenerHostname");
        assert_eq!(came.codes(), ["W365"]);
        assert_eq!(came.ids(), ["kubernetes/gateway/default/gw/l"]);
    }
    let bad = gateway(&[&format!("name: l, port: 443, protocol: TLS, {PASS}")])
        + &tls("r", "", "10.0.0.1");
    let came = of(&(bad + &service("a", &["10.0.0.1"])));
    let parent = &came.status(Kind::TlsRoute, "r")["parents"][0];
    assert_eq!(condition(parent, "Accepted"), "Accepted=False/UnsupportedValue");
}

#[test]
fn the_narrowest_listener_has_a_name_and_no_other_one() {
    let listener = |name: &str, host: &str| {
        format!("name: {name}, port: 443, protocol: TLS, hostname: \"{host}\", {PASS}")
    };
    let text = gateway(&[
        &listener("any", ""),
        &listener("wide", "*.example.com"),
        &listener("narrow", "*.foo.example.com"),
        &listener("one", "abc.foo.example.com"),
    ]);
    // As in the conformance: each route may be everywhere in its listener, and nowhere else.
    let routes = [
        tls(
            "r-any",
            ", sectionName: any",
            "\"bar.com\", \"x.example.com\", \"abc.foo.example.com\"",
        ),
        tls("r-wide", ", sectionName: wide", "\"*.example.com\""),
        tls("r-narrow", ", sectionName: narrow", "\"*.foo.example.com\""),
        tls("r-one", ", sectionName: one", "\"abc.foo.example.com\""),
    ];
    let came = of(&(text + &routes.concat() + &service("a", &["10.0.0.1"])));
    let taker = |name: &str| came.route(443, name);
    let names = ["bar.com", "x.example.com", "y.foo.example.com", "abc.foo.example.com", "bar.org"];
    assert_eq!(names.map(taker), ["r-any", "r-wide", "r-narrow", "r-one", "-"]);
    assert_eq!(came.codes(), ["W367", "W367"]);
    assert_eq!(faults(&came), [""; 0]);
}

#[test]
fn within_a_listener_the_narrowest_route_wins_and_then_the_oldest() {
    let text = gateway(&[&format!("name: l, port: 443, protocol: TLS, {PASS}")]);
    let routes = [
        tls("wide", "", "\"*.example.com\""),
        tls("narrow", "", "\"*.a.example.com\", \"b.example.com\""),
        tls("young", "", "\"b.example.com\", \"c.example.com\""),
    ];
    let came = of(&(text + &routes.concat() + &service("a", &["10.0.0.1"])));
    let taker = |name: &str| came.route(443, name);
    let names =
        ["b.example.com", "c.example.com", "x.a.example.com", "y.x.a.example.com", "z.example.com"];
    assert_eq!(names.map(taker), ["narrow", "young", "narrow", "narrow", "wide"]);
    assert_eq!(came.codes(), ["W367"]);
    assert_eq!(faults(&came), [""; 0]);
    let gateway = came.status(Kind::Gateway, "gw");
    assert_eq!(gateway["listeners"][0]["attachedRoutes"], 3);
}

#[test]
fn of_two_tcp_routes_the_oldest_has_all_connections_and_both_are_accepted() {
    let text = gateway(&["name: l, port: 1000, protocol: TCP"]) + &tcp("b", "") + &tcp("a", "");
    let came = of(&(text + &service("a", &["10.0.0.1"])));
    for name in ["a", "b"] {
        let parent = &came.status(Kind::TcpRoute, name)["parents"][0];
        assert_eq!(condition(parent, "Accepted"), "Accepted=True/Accepted");
    }
    assert_eq!(came.status(Kind::Gateway, "gw")["listeners"][0]["attachedRoutes"], 2);
    assert_eq!(came.ids(), ["kubernetes/tcproute/default/a/gw/l"]);
    assert_eq!(came.codes(), ["W367"]);
}

#[test]
fn all_listeners_that_are_in_conflict_are_refused() {
    let pass = |name: &str, port: u16, host: &str| {
        format!("name: {name}, port: {port}, protocol: TLS, hostname: \"{host}\", {PASS}")
    };
    for (one, other, reason) in [
        ("name: a, port: 1, protocol: TCP".into(), pass("b", 1, "x.io"), "ProtocolConflict"),
        (
            "name: a, port: 1, protocol: TCP".into(),
            "name: b, port: 1, protocol: TCP".into(),
            "ProtocolConflict",
        ),
        (
            "name: a, port: 1, protocol: TCP".into(),
            "name: b, port: 1, protocol: HTTP".into(),
            "ProtocolConflict",
        ),
        (pass("a", 1, "x.io"), pass("b", 1, "X.io"), "HostnameConflict"),
        (pass("a", 1, ""), pass("b", 1, ""), "HostnameConflict"),
    ] {
        let came = of(&gateway(&[&one, &other, &pass("good", 2, "")]));
        let listeners = &came.status(Kind::Gateway, "gw")["listeners"];
        for at in [0, 1] {
            let conflicted = condition(&listeners[at], "Conflicted");
            assert_eq!(conflicted, format!("Conflicted=True/{reason}"), "{one} {other}");
            assert_eq!(condition(&listeners[at], "Programmed"), "Programmed=False/Invalid");
        }
        assert_eq!(condition(&listeners[2], "Conflicted"), "Conflicted=False/NoConflicts");
        assert_eq!(came.ids(), ["kubernetes/gateway/default/gw/good"]);
    }
    let udp = of(&gateway(&["name: a, port: 1, protocol: TCP", "name: b, port: 1, protocol: UDP"]));
    let listeners = &udp.status(Kind::Gateway, "gw")["listeners"];
    assert_eq!(condition(&listeners[0], "Programmed"), "Programmed=True/Programmed");
    assert_eq!(condition(&listeners[1], "Accepted"), "Accepted=False/UnsupportedProtocol");
}

#[test]
fn terminating_and_passing_through_stand_side_by_side() {
    let text = gateway(&[
        "name: t, port: 443, protocol: TLS, hostname: t.io, tls: { certificateRefs: [ { name: t } ] }",
        &format!("name: p, port: 443, protocol: TLS, hostname: \"*.io\", {PASS}"),
    ]);
    let routes = tls("rt", ", sectionName: t", "t.io") + &tls("rp", ", sectionName: p", "\"*.io\"");
    let came = of(&(text + &routes + &secret("t", "t.io") + &service("a", &["10.0.0.1"])));
    assert_eq!(["t.io", "x.io"].map(|name| came.route(443, name)), ["rt", "rp"]);
    assert_eq!(came.service("kubernetes/tlsroute/default/rt/gw/t")["tls"], "Enabled");
    assert_eq!(came.service("kubernetes/tlsroute/default/rp/gw/p/*.io")["tls"], "PassThrough");
    assert_eq!(faults(&came), [""; 0]);
}

#[test]
fn routes_attach_where_namespace_kind_section_and_port_allow() {
    let of_listener = |listener: &str, namespace: &str, parent: &str, kind: &str| {
        let spec = format!("parentRefs: [ {{ name: gw, namespace: default{parent} }} ]");
        let text = gateway(&[&format!("name: l, port: 1, {listener}")])
            + &route(kind, "r", &spec)
                .replace("name: r", &format!("name: r, namespace: {namespace}"))
            + "apiVersion: v1\nkind: Namespace\nmetadata: { name: other, labels: { team: db } }\n";
        let came = of(&text);
        let attached = came.status(Kind::Gateway, "gw")["listeners"][0]["attachedRoutes"].clone();
        let of = if kind == "TCPRoute" { Kind::TcpRoute } else { Kind::TlsRoute };
        let accepted = condition(&came.status(of, "r")["parents"][0], "Accepted");
        (accepted.split('/').nth(1).unwrap().to_owned(), attached.as_u64().unwrap())
    };
    let from = |from: &str| format!("protocol: TCP, allowedRoutes: {{ namespaces: {{ {from} }} }}");
    let (tcp, yes) = ("TCPRoute", ("Accepted".to_owned(), 1));
    let not_allowed = ("NotAllowedByListeners".to_owned(), 0);
    let no_parent = ("NoMatchingParent".to_owned(), 0);
    let selector = |it: &str| from(&format!("from: Selector, selector: {{ {it} }}"));
    assert_eq!(of_listener("protocol: TCP", "default", "", tcp), yes);
    assert_eq!(of_listener("protocol: TCP", "other", "", tcp), not_allowed);
    assert_eq!(of_listener(&from("from: All"), "other", "", tcp), yes);
    assert_eq!(of_listener(&from("from: None"), "default", "", tcp), not_allowed);
    assert_eq!(of_listener(&selector("matchLabels: { team: db }"), "other", "", tcp), yes);
    assert_eq!(of_listener(&selector("matchLabels: { team: web }"), "other", "", tcp), not_allowed);
    let named = "matchLabels: { kubernetes.io/metadata.name: default }";
    assert_eq!(of_listener(&selector(named), "default", "", tcp), yes);
    let expression = "matchExpressions: [ { key: team, operator: NotIn, values: [ db ] } ]";
    assert_eq!(of_listener(&selector(expression), "other", "", tcp), not_allowed);
    assert_eq!(of_listener("protocol: TCP", "default", ", sectionName: l", tcp), yes);
    assert_eq!(of_listener("protocol: TCP", "default", ", sectionName: x", tcp), no_parent);
    assert_eq!(of_listener("protocol: TCP", "default", ", port: 1", tcp), yes);
    assert_eq!(of_listener("protocol: TCP", "default", ", port: 2", tcp), no_parent);
    assert_eq!(of_listener("protocol: TCP", "default", "", "TLSRoute"), not_allowed);
    assert_eq!(of_listener(&format!("protocol: TLS, {PASS}"), "default", "", tcp), not_allowed);
    let kinds =
        "protocol: TCP, allowedRoutes: { kinds: [ { kind: UDPRoute }, { kind: TCPRoute } ] }";
    assert_eq!(of_listener(kinds, "default", "", tcp), yes);
}

#[test]
fn a_listener_says_which_kinds_it_takes() {
    let kinds = |kinds: &str| {
        let came = of(&gateway(&[&format!(
            "name: l, port: 1, protocol: TCP, allowedRoutes: {{ kinds: [ {kinds} ] }}"
        )]));
        let listener = came.status(Kind::Gateway, "gw")["listeners"][0].clone();
        (listener["supportedKinds"].as_array().unwrap().len(), condition(&listener, "ResolvedRefs"))
    };
    let (good, bad) = ("ResolvedRefs=True/ResolvedRefs", "ResolvedRefs=False/InvalidRouteKinds");
    assert_eq!(kinds(""), (1, good.into()));
    assert_eq!(kinds("{ kind: TCPRoute }"), (1, good.into()));
    assert_eq!(kinds("{ kind: TCPRoute }, { kind: HTTPRoute }"), (1, bad.into()));
    assert_eq!(kinds("{ kind: TCPRoute, group: other.io }"), (0, bad.into()));
}

fn grant(kind: &str, to: &str) -> String {
    format!(
        "apiVersion: gateway.networking.k8s.io/v1beta1\nkind: ReferenceGrant\n\
         metadata: {{ name: g, namespace: other }}\nspec:\n  from: [ {{ group: \
         gateway.networking.k8s.io, kind: {kind}, namespace: default }} ]\n  to: [ {to} ]\n---\n"
    )
}

#[test]
fn backends_of_other_namespaces_need_a_grant() {
    let there = service("a", &["10.0.0.1"])
        .replace("name: a }", "name: a, namespace: other }")
        .replace("name: a-1,", "name: a-1, namespace: other,");
    let rules = "rules: [ { backendRefs: [ { name: a, namespace: other, port: 80 } ] } ]";
    let text = gateway(&["name: l, port: 1, protocol: TCP"])
        + &route("TCPRoute", "r", &format!("parentRefs: [ {{ name: gw }} ], {rules}"))
        + &there;
    let resolved = |grants: &str| {
        let came = of(&format!("{text}{grants}"));
        let refused = came.route(1, "") == "-";
        (condition(&came.status(Kind::TcpRoute, "r")["parents"][0], "ResolvedRefs"), refused)
    };
    let no = ("ResolvedRefs=False/RefNotPermitted".to_owned(), true);
    let yes = ("ResolvedRefs=True/ResolvedRefs".to_owned(), false);
    assert_eq!(resolved(""), no);
    assert_eq!(resolved(&grant("TCPRoute", "{ group: \"\", kind: Service }")), yes);
    assert_eq!(resolved(&grant("TCPRoute", "{ group: \"\", kind: Service, name: a }")), yes);
    assert_eq!(resolved(&grant("TCPRoute", "{ group: \"\", kind: Service, name: b }")), no);
    assert_eq!(resolved(&grant("TLSRoute", "{ group: \"\", kind: Service }")), no);
}

#[test]
fn backends_that_are_not_there_are_told() {
    for (backend, reason) in [
        ("name: gone, port: 80", "BackendNotFound"),
        ("name: a, port: 81", "BackendNotFound"),
        ("name: a", "BackendNotFound"),
        ("name: a, port: 80, kind: Pod", "InvalidKind"),
        ("name: a, port: 80, group: other.io", "InvalidKind"),
    ] {
        let rules = format!("rules: [ {{ backendRefs: [ {{ {backend} }} ] }} ]");
        let text = gateway(&["name: l, port: 1, protocol: TCP"])
            + &route("TCPRoute", "r", &format!("parentRefs: [ {{ name: gw }} ], {rules}"))
            + &service("a", &["10.0.0.1"]);
        let came = of(&text);
        let parent = &came.status(Kind::TcpRoute, "r")["parents"][0];
        assert_eq!(condition(parent, "ResolvedRefs"), format!("ResolvedRefs=False/{reason}"));
        assert_eq!(condition(parent, "Accepted"), "Accepted=True/Accepted");
        assert_eq!(came.codes(), ["W366"]);
        assert_eq!(came.found[0].path, "spec.rules[0].backendRefs[0]");
        assert_eq!(came.route(1, ""), "-");
    }
}

#[test]
fn a_listener_needs_a_certificate_that_it_may_use() {
    let far = secret("far", "t.io").replace("name: far", "name: far, namespace: other");
    let broken = secret("broken", "t.io").replace("BEGIN", "BEGUN");
    let listener = |tls: &str, grants: &str| {
        let text = gateway(&[&format!("name: l, port: 443, protocol: TLS, tls: {{ {tls} }}")]);
        let came = of(&[&text, grants, &secret("t", "t.io"), &far, &broken].concat());
        let listener = &came.status(Kind::Gateway, "gw")["listeners"][0];
        (condition(listener, "ResolvedRefs"), condition(listener, "Programmed").contains("True"))
    };
    let no = |reason: &str| (format!("ResolvedRefs=False/{reason}"), false);
    let yes = ("ResolvedRefs=True/ResolvedRefs".to_owned(), true);
    let refs = |names: &str| format!("certificateRefs: [ {names} ]");
    assert_eq!(listener(&refs("{ name: t }"), ""), yes);
    assert_eq!(listener(&refs("{ name: gone }"), ""), no("InvalidCertificateRef"));
    assert_eq!(listener(&refs("{ name: broken }"), ""), no("InvalidCertificateRef"));
    assert_eq!(listener(&refs("{ name: t, kind: ConfigMap }"), ""), no("InvalidCertificateRef"));
    assert_eq!(listener("mode: Terminate", ""), no("InvalidCertificateRef"));
    let far = refs("{ name: far, namespace: other }");
    assert_eq!(listener(&far, ""), no("RefNotPermitted"));
    assert_eq!(listener(&far, &grant("Gateway", "{ group: \"\", kind: Secret }")), yes);
}

#[test]
fn a_policy_has_tls_spoken_to_its_service() {
    let policy = |validation: &str| {
        format!(
            "apiVersion: gateway.networking.k8s.io/v1\nkind: BackendTLSPolicy\nmetadata: {{ name: p }}\n\
             spec:\n  targetRefs: [ {{ group: \"\", kind: Service, name: a }} ]\n  validation: {{ {validation} }}\n---\n"
        )
    };
    let map = serde_json::json!({ "ca.crt": pem("ca").0 });
    let map =
        format!("apiVersion: v1\nkind: ConfigMap\nmetadata: {{ name: ca }}\ndata: {map}\n---\n");
    let text = gateway(&["name: l, port: 1, protocol: TCP"])
        + &tcp("r", "")
        + &service("a", &["10.0.0.1"])
        + &map;
    let refs = "hostname: a.io, caCertificateRefs: [ { group: \"\", kind: ConfigMap, name: ca } ]";
    let came = of(&(text.clone() + &policy(refs)));
    let target = &came.services[0]["rules"][0]["targets"][0];
    assert_eq!((&target["tls"], &target["serverName"]), (&true.into(), &"a.io".into()));
    assert!(target["caPem"].as_str().unwrap().starts_with("-----BEGIN"));
    let ancestor = &came.status(Kind::BackendTlsPolicy, "p")["ancestors"][0];
    assert_eq!(conditions(ancestor), ["Accepted=True/Accepted", "ResolvedRefs=True/ResolvedRefs"]);
    let came = of(&(text.clone() + &policy("hostname: a.io, wellKnownCACertificates: System")));
    assert_eq!(came.services[0]["rules"][0]["targets"][0]["caPem"], Value::Null);
    // What cannot be followed is not left out: nothing is sent in the clear.
    for (validation, accepted) in [
        (refs.replace("name: ca", "name: gone"), "NoValidCACertificate"),
        ("hostname: a.io".into(), "Invalid"),
        (format!("{refs}, subjectAltNames: [ {{ type: Hostname, hostname: b.io }} ]"), "Invalid"),
    ] {
        let came = of(&(text.clone() + &policy(&validation)));
        assert_eq!(came.route(1, ""), "-");
        let ancestor = &came.status(Kind::BackendTlsPolicy, "p")["ancestors"][0];
        assert_eq!(condition(ancestor, "Accepted"), format!("Accepted=False/{accepted}"));
    }
}

#[test]
fn a_class_of_another_controller_is_not_ours() {
    let class = |controller: &str| {
        format!(
            "apiVersion: gateway.networking.k8s.io/v1\nkind: GatewayClass\n\
             metadata: {{ name: thalweg }}\nspec: {{ controllerName: {controller} }}\n---\n"
        )
    };
    let text = gateway(&["name: l, port: 1, protocol: TCP"]);
    let came = with(&(text.clone() + &class("other.io/c")), &Options::default());
    assert!(came.services.is_empty() && came.statuses.is_empty());
    let came = with(&(text.clone() + &class(CONTROLLER_NAME)), &Options::default());
    let status = came.status(Kind::GatewayClass, "thalweg");
    assert_eq!(condition(status, "Accepted"), "Accepted=True/Accepted");
    let names: Vec<_> = status["supportedFeatures"]
        .as_array()
        .unwrap()
        .iter()
        .map(|it| it["name"].as_str().unwrap())
        .collect();
    assert!(names.is_sorted());
    assert_eq!(of(&(text + &class("other.io/c"))).services.len(), 1);
}

#[test]
fn an_older_gateway_keeps_its_port() {
    let one = gateway(&["name: l, port: 1, protocol: TCP"]);
    let other = one.replace("name: gw,", "name: zz,");
    let came = of(&(other + &one));
    assert_eq!(came.ids(), ["kubernetes/gateway/default/gw/l"]);
    let listener = &came.status(Kind::Gateway, "zz")["listeners"][0];
    assert_eq!(condition(listener, "Conflicted"), "Conflicted=True/ProtocolConflict");
}
