//! Where targets come from that the file does not name: the resolver, SRV records, lists.

use super::super::checked::Address;
use super::super::found::{Header, Source};
use super::*;

/// A rule with this `discovery`.
fn listed(discovery: &str) -> String {
    one(&format!("\"rules\": [ {{ \"discovery\": {discovery} }} ]"))
}

#[test]
fn what_is_left_out_of_the_resolver_has_its_default() {
    let resolver = good(&one("")).resolver;
    assert_eq!(resolver.servers, None);
    assert_eq!(resolver.min_ttl, Duration::from_secs(5));
    assert_eq!(resolver.max_ttl, Duration::from_secs(300));
    assert_eq!(resolver.timeout, Duration::from_secs(2));
    assert_eq!(resolver.grace, Duration::from_secs(30));
    assert_eq!(good(&example("full.json")).resolver, resolver);
    let own = r#"{ "resolver": { "servers": ["10.0.0.53", "[::1]:5353", "::2"], "grace": "0s" }, "services": ["#;
    let own = one("").replacen("{\"services\":[", own, 1);
    let servers = good(&own).resolver.servers.unwrap();
    let expected = ["10.0.0.53:53", "[::1]:5353", "[::2]:53"].map(|it| it.parse().unwrap());
    assert_eq!(servers, expected);
}

#[test]
fn one_fault_in_the_resolver() {
    for (members, code, path) in [
        (r#""servers": ["ns.example.com"]"#, "E170", "servers[0]"),
        (r#""servers": ["10.0.0.53:0"]"#, "E170", "servers[0]"),
        (r#""servers": []"#, "E106", "servers"),
        (r#""server": []"#, "E101", "server"),
        (r#""minTtl": "0s""#, "E107", "minTtl"),
        (r#""minTtl": "1h""#, "E107", "maxTtl"),
        (r#""timeout": "0s""#, "E107", "timeout"),
        (r#""grace": 5"#, "E107", "grace"),
    ] {
        let text = format!("{{ \"resolver\": {{ {members} }}, \"services\": [");
        let text = one("").replacen("{\"services\":[", &text, 1);
        assert_eq!(faults(&text), [(code, format!("resolver.{path}"))], "{members}");
    }
}

#[test]
fn one_fault_in_a_list() {
    for (discovery, code, path) in [
        ("{}", "E104", ".url"),
        (r#"{ "url": "ftp://a/" }"#, "E171", ".url"),
        (r#"{ "url": "a/b" }"#, "E171", ".url"),
        (r#"{ "url": "http://" }"#, "E171", ".url"),
        (r#"{ "url": "http://a b/" }"#, "E171", ".url"),
        (r#"{ "url": "http://u:p@a/" }"#, "E171", ".url"),
        (r#"{ "url": "http://a:0/" }"#, "E171", ".url"),
        (r#"{ "url": "http://0.0.0.0/" }"#, "E171", ".url"),
        (r#"{ "url": "http://a/", "list": "a..b" }"#, "E171", ".list"),
        (r#"{ "url": "http://a/", "interval": "1ms" }"#, "E107", ".interval"),
        (r#"{ "url": "http://a/", "timeout": "0s" }"#, "E107", ".timeout"),
        (r#"{ "url": "http://a/", "caFile": "ca.pem" }"#, "E139", ".caFile"),
        (r#"{ "url": "http://a/", "headers": { "Host": "b" } }"#, "E172", ".headers.Host"),
        (r#"{ "url": "http://a/", "headers": { "a b": "c" } }"#, "E172", ".headers.a b"),
        (r#"{ "url": "http://a/", "headers": { "a": "b\n" } }"#, "E172", ".headers.a"),
        (
            r#"{ "url": "http://a/", "headers": { "X-Consul-Token": "s" } }"#,
            "W170",
            ".headers.X-Consul-Token",
        ),
        (r#"{ "url": "http://a/", "headerFiles": { "a": "" } }"#, "E106", ".headerFiles.a"),
        (r#"{ "url": "http://a/", "template": { "host": "b" } }"#, "E171", ".template.host"),
        (r#"{ "url": "http://a/", "template": { "port": 0 } }"#, "E106", ".template.port"),
        (r#"{ "url": "http://a/", "template": { "caFile": "a" } }"#, "E139", ".template.caFile"),
    ] {
        let place = format!("services[0].rules[0].discovery{path}");
        assert_eq!(faults(&listed(discovery)), [(code, place)], "{discovery}");
    }
}

#[test]
fn a_list_arrives_as_it_was_written() {
    let text = listed(
        r#"{ "url": "https://Registry:8501/v1?x=1", "target": "a.b", "interval": "1s",
             "headers": { "Accept": "text/x" }, "headerFiles": { "X-Token": "t" },
             "template": { "port": 5, "weight": 2 } }"#,
    );
    let service = good(&text).services.pop().unwrap();
    let [list] = service.rules[0].discoveries.as_slice() else { panic!("one list") };
    assert!(service.rules[0].targets.is_empty());
    assert_eq!((list.template.port, list.template.weight), (5, 2));
    assert_eq!(list.interval, Duration::from_secs(1));
    let Source::Http(query) = &list.source else { panic!("a document") };
    let url = &query.url;
    assert_eq!((url.secure, &*url.host, url.port), (true, "Registry", 8501));
    assert_eq!((&*url.path, &*url.authority), ("/v1?x=1", "Registry:8501"));
    assert_eq!(&*query.tls.as_ref().unwrap().server_name, "registry");
    let [accept, token] = query.headers.as_slice() else { panic!("two headers") };
    assert_eq!(*accept, ("accept".into(), Header::Value("text/x".into())));
    assert!(
        matches!(token, (name, Header::File(path)) if **name == *"x-token" && path.is_absolute())
    );
    assert_eq!(service.upstreams().count(), 2);
}

#[test]
fn the_lists_of_all_rules_are_one_where_nothing_is_routed_by() {
    let rules = r#""rules": [ { "discovery": { "url": "http://a/" } }, { "targets": [ { "host": "b" } ] },
        { "discovery": { "url": "http://c/" } } ]"#;
    let service = service(rules);
    let [rule] = service.rules.as_slice() else { panic!("one rule") };
    assert_eq!((rule.targets.len(), rule.discoveries.len()), (1, 2));
}

#[test]
fn srv_records_instead_of_a_host() {
    let service = service(
        r#""rules": [ { "targets": [ { "srv": "_pg._tcp.example.com" },
            { "srv": "_pg._tcp.example.org", "tls": true, "backup": true } ] } ]"#,
    );
    let targets = &service.rules[0].targets;
    assert!(targets.iter().all(|target| target.address == Address::Srv));
    assert_eq!(&*targets[0].host, "_pg._tcp.example.com");
    assert_eq!(&*targets[1].tls.as_ref().unwrap().server_name, "");
    for (target, code, path) in [
        (r#"{ "srv": "_pg._tcp.example.com", "host": "a" }"#, "E127", "host"),
        (r#"{ "srv": "a b" }"#, "E127", "srv"),
        (r#"{ "srv": "" }"#, "E127", "srv"),
        (r#"{ "srv": "10.0.0.1" }"#, "E127", "srv"),
    ] {
        let text = one(&format!("\"rules\": [ {{ \"targets\": [ {target} ] }} ]"));
        let place = format!("services[0].rules[0].targets[0].{path}");
        assert_eq!(faults(&text), [(code, place)], "{target}");
    }
}
