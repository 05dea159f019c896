//! The PROXY protocol in the configuration.

use super::*;

fn proxy(members: &str) -> String {
    one(&format!("\"proxyProtocol\": {{ {members} }}"))
}

#[test]
fn without_the_key_nobody_tells_and_nobody_is_told() {
    for members in ["", r#""proxyProtocol": null"#, r#""proxyProtocol": {}"#] {
        let service = service(members);
        assert_eq!(service.proxy.accept, None, "{members}");
        assert!(service.targets().all(|target| target.header == SendHeader::Off), "{members}");
    }
}

#[test]
fn who_may_tell() {
    let both = service(
        r#""proxyProtocol": { "accept": "Require", "trusted": ["::1", "10.0.0.0/8", "::ffff:10.0.0.0/104"] }"#,
    );
    let accept = both.proxy.accept.expect("given");
    assert!(accept.required);
    let trusts = |text: &str| accept.trusts(text.parse().expect("an address"));
    assert!(trusts("10.1.2.3") && trusts("::1"));
    assert!(!trusts("11.1.2.3") && !trusts("::2") && !trusts("127.0.0.1"));
    assert_eq!(accept.trusted.len(), 2, "none twice: {:?}", accept.trusted);
    let optional =
        service(r#""proxyProtocol": { "accept": "Optional", "trusted": ["0.0.0.0/0"] }"#);
    assert!(!optional.proxy.accept.expect("given").required);
}

#[test]
fn who_is_told() {
    let told = service(
        r#""proxyProtocol": { "send": "V2", "tlvs": ["Authority", "Crc32c"] },
        "sni": { "enabled": true, "forwardIfNoMatch": true, "forwardsTo": { "host": "f" },
                 "fallbacks": { "noName": { "host": "n", "proxyProtocol": "V1" } } },
        "rules": [ { "domain": "a.test", "targets": [ { "host": "a" },
          { "host": "unix:/b", "proxyProtocol": "V1" }, { "host": "c", "proxyProtocol": "Off" },
          { "host": "d", "proxyProtocol": null } ] } ]"#,
    );
    let headers: Vec<_> = told.targets().map(|target| (&*target.host, target.header)).collect();
    let expected = [
        ("a", SendHeader::V2),
        ("unix:/b", SendHeader::V1),
        ("c", SendHeader::Off),
        ("d", SendHeader::V2),
        ("f", SendHeader::V2),
        ("n", SendHeader::V1),
    ];
    assert_eq!(headers, expected);
    assert_eq!(told.proxy.tlvs, Tlvs { authority: true, crc32c: true, ..Tlvs::NONE });
    assert_eq!(service(r#""proxyProtocol": { "send": "V2" }"#).proxy.tlvs, Tlvs::ALL);
    assert_eq!(service(r#""proxyProtocol": { "send": "V2", "tlvs": [] }"#).proxy.tlvs, Tlvs::NONE);
}

#[test]
fn one_fault() {
    let table = [
        (r#""accept": "Require""#, "E180", "trusted"),
        (r#""accept": "Optional", "trusted": []"#, "E180", "trusted"),
        (r#""accept": "Optional", "trusted": null"#, "E180", "trusted"),
        (r#""accept": "Require", "trusted": ["10.0.0.1/8"]"#, "E143", "trusted[0]"),
        (r#""accept": "Require", "trusted": ["lan"]"#, "E143", "trusted[0]"),
        (r#""accept": "Require", "trusted": "10.0.0.0/8""#, "E102", "trusted"),
        (r#""accept": "require", "trusted": ["::1"]"#, "E103", "accept"),
        (r#""accept": true, "trusted": ["::1"]"#, "E102", "accept"),
        (r#""trusted": ["10.0.0.0/8"]"#, "E182", "trusted"),
        (r#""accept": "Off", "trusted": ["10.0.0.0/8"]"#, "E182", "trusted"),
        (r#""send": "2""#, "E103", "send"),
        (r#""send": "V1", "tlvs": ["Ssl"]"#, "E182", "tlvs"),
        (r#""tlvs": []"#, "E182", "tlvs"),
        (r#""send": "V2", "tlvs": ["Ssl", "Alpn", "Ssl"]"#, "E106", "tlvs[2]"),
        (r#""send": "V2", "tlvs": ["SSL"]"#, "E103", "tlvs[0]"),
        (r#""version": 2"#, "E101", "version"),
    ];
    for (members, code, path) in table {
        let path = format!("services[0].proxyProtocol.{path}");
        assert_eq!(faults(&proxy(members)), [(code, path)], "{members}");
    }
    assert_eq!(
        faults(&one(r#""proxyProtocol": "V2""#)),
        [("E102", "services[0].proxyProtocol".into())]
    );
}

#[test]
fn services_of_an_address_agree() {
    let by_name = |domain: &str, proxy: &str| {
        format!(
            r#""sni": {{ "enabled": true }}, "tls": "PassThrough", "proxyProtocol": {{ {proxy} }},
            "rules": [ {{ "domain": "{domain}", "targets": [ {{ "host": "db" }} ] }} ]"#
        )
    };
    let two = |a: &str, b: &str| {
        faults(&with_tls(&[("a", &by_name("a.test", a)), ("b", &by_name("b.test", b))]))
    };
    let require = r#""accept": "Require", "trusted": ["10.0.0.0/8", "::1"]"#;
    let same = r#""accept": "Require", "trusted": ["::1/128", "10.0.0.0/8"], "send": "V1""#;
    let less = r#""accept": "Require", "trusted": ["10.0.0.0/8"]"#;
    let optional = r#""accept": "Optional", "trusted": ["10.0.0.0/8", "::1"]"#;
    let differ = [("E181", "services[1].proxyProtocol".to_owned())];
    assert_eq!(two(require, same), []);
    assert_eq!(two("", r#""send": "V2""#), []);
    for (a, b) in [(require, ""), ("", require), (require, less), (require, optional)] {
        assert_eq!(two(a, b), differ, "{a} and {b}");
    }
    assert_eq!(
        two(require, r#""accept": "Requires""#).len(),
        1,
        "nothing follows from a fault of shape"
    );
}

#[test]
fn everybody_is_worth_a_remark() {
    let loaded = read(&proxy(r#""accept": "Require", "trusted": ["0.0.0.0/0", "::/0"]"#));
    let remarks: Vec<_> = loaded.diagnostics.iter().map(|it| (it.code, it.path.as_str())).collect();
    assert_eq!(remarks, [("I180", "services[0].proxyProtocol.trusted[0]")]);
}
