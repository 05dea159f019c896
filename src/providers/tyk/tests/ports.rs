//! Who gets which names of a port.

use proptest::prelude::*;

use super::*;

/// Ids with what clients of them ask for, in the order in which rules are tried.
fn shared(definitions: &[Value]) -> (Vec<String>, Vec<String>) {
    let bench = Bench::new();
    bench.write("apis/all.json", Value::Array(definitions.to_vec()));
    let source = bench.source();
    let ids = services(&source).into_iter().map(|service| {
        let sni = &service["sni"];
        let optional = if sni["nameOptional"] == true { "?" } else { "" };
        match service["rules"][0]["domain"].as_str() {
            Some(domain) if sni["enabled"] == true => {
                format!("{} {domain}{optional}", service["id"].as_str().unwrap())
            }
            Some(domain) => panic!("{domain} without sni"),
            None => service["id"].as_str().unwrap().to_owned(),
        }
    });
    let codes: Vec<String> = found(&source).into_iter().filter(|it| !it.starts_with('I')).collect();
    (ids.collect(), codes)
}

fn of(id: &str, domain: &str) -> Value {
    tls(json!({ "api_id": id, "domain": domain }))
}

#[test]
fn lookup_of_names() {
    assert_eq!(shared(&[of("a", "")]).0, ["tyk/a"]);
    assert_eq!(shared(&[of("a", "Db.Example.com.")]).0, ["tyk/a db.example.com?"]);
    assert_eq!(
        shared(&[of("rest", ""), of("w", "*.example.com"), of("a", "a.example.com")]).0,
        ["tyk/a a.example.com", "tyk/w *.example.com", "tyk/rest Regex(.+)"]
    );
    assert_eq!(shared(&[of("w", "*.b.c"), of("v", "*.a.b.c")]).0, ["tyk/v *.a.b.c", "tyk/w *.b.c"]);
    // The name of a definition of tcp tells nobody anything.
    assert_eq!(shared(&[tcp(json!({ "domain": "db.example.com" }))]).0, ["tyk/a"]);
    // One that is switched off is not there.
    let off = merged(of("b", "b"), json!({ "active": false }));
    assert_eq!(shared(&[of("a", "a"), off]).0, ["tyk/b", "tyk/a a?"]);
    let disabled = merged(of("a", "a"), json!({ "domain_disabled": true }));
    assert_eq!(shared(&[disabled]).0, ["tyk/a"]);
}

#[test]
fn who_cannot_share_is_left_out() {
    let plain = |id| tcp(json!({ "api_id": id }));
    let refused = |definitions: &[Value]| {
        let (ids, codes) = shared(definitions);
        assert_eq!(ids.len(), 1, "{ids:?}");
        codes
    };
    assert_eq!(refused(&[plain("a"), plain("b")]), ["E314 [1].listen_port"]);
    assert_eq!(refused(&[plain("a"), of("b", "b")]), ["E314 [1].listen_port"]);
    assert_eq!(refused(&[of("a", ""), of("b", "")]), ["E314 [1].listen_port"]);
    assert_eq!(refused(&[of("a", "x.y"), of("b", "X.Y")]), ["E314 [1].listen_port"]);
    let headers = merged(of("b", "b"), json!({ "enable_proxy_protocol": true }));
    assert_eq!(refused(&[of("a", "a"), headers]), ["E314 [1].listen_port"]);
    assert_eq!(
        refused(&[plain("a"), merged(plain("a"), json!({ "listen_port": 9 }))]),
        ["E322 [1].api_id"]
    );
    for domain in ["a b", "{sub:[a-z]+}.example.com", "a..b", "Regex(a)", ".*read.*"] {
        let (ids, codes) = shared(&[of("a", domain)]);
        assert_eq!((ids.len(), &codes[..]), (0, &["E320 [0].domain".to_owned()][..]), "{domain}");
    }
}

#[test]
fn names_without_ids_stay_apart() {
    let named = |port: u16| tcp(json!({ "api_id": null, "name": "x", "listen_port": port }));
    let (ids, _) = shared(&[named(1), tcp(json!({ "api_id": "x", "listen_port": 2 })), named(3)]);
    assert_eq!(ids, ["tyk/x-2", "tyk/x", "tyk/x-3"]);
}

proptest! {
    /// Whatever definitions say: the same in gives the same out, ids are unique, and what is made is
    /// a sound configuration.
    #[test]
    fn what_is_made_is_sound(
        which in proptest::collection::vec((0_u8..3, 1_u16..4, 0_usize..5, any::<bool>()), 1..8)
    ) {
        let domains = ["", "a", "b.c", "*.c", "*.b.c"];
        let definitions: Vec<_> = which.iter().map(|(kind, port, domain, headers)| {
            let more = json!({ "api_id": null, "name": "n", "listen_port": port,
                "domain": domains[*domain], "enable_proxy_protocol": headers });
            if *kind == 0 { tcp(more) } else { tls(more) }
        }).collect();
        let bench = Bench::new();
        bench.write("apis/all.json", Value::Array(definitions));
        let source = bench.source();
        prop_assert_eq!(services(&source), services(&bench.source()));
        let mut ids: Vec<_> = services(&source).iter().map(|it| it["id"].clone().to_string()).collect();
        let count = ids.len();
        ids.sort();
        ids.dedup();
        prop_assert_eq!(ids.len(), count);
        let loaded = loaded(&source, bench.dir.path());
        // But for those that cannot be beside others, and certificates, which the main file has not.
        let expected = |it: &&Diagnostic| {
            it.code == "E314" || it.message.contains("no certificate to show")
        };
        let errors = loaded.diagnostics.iter().filter(|it| it.is_error());
        let errors: Vec<_> = errors.filter(|it| !expected(it)).collect();
        prop_assert!(errors.is_empty(), "{:#?}", errors);
    }
}
