use super::*;

use axum::body::Body;

#[test]
fn only_names_that_nobody_can_rebind() {
    let own = ["ops.example.com".to_owned()];
    for host in [
        "127.0.0.1",
        "127.0.0.1:9900",
        "[::1]:9900",
        "::1",
        "localhost:1",
        "LocalHost",
        "localhost.",
        "OPS.example.com.:443",
    ] {
        assert!(is_own_name(host, &own), "{host}");
    }
    for host in [
        "",
        "evil.test",
        "localhost.evil.test",
        "127.0.0.1.evil.test:80",
        "[::1",
        "[localhost]",
        "x.ops.example.com",
        "ops.example.com:x",
    ] {
        assert!(!is_own_name(host, &own), "{host}");
    }
}

#[test]
fn pages_of_other_sites_are_told_apart() {
    let own = ["ops.example.com".to_owned()];
    let with = |all: &[(&'static str, &'static str)], method: Method, hosts: &[String]| {
        let mut headers = HeaderMap::new();
        for (name, value) in all {
            headers.append(*name, value.parse().unwrap());
        }
        is_cross_site(&method, &headers, "127.0.0.1:9900", hosts)
    };
    let one = |name, value| with(&[(name, value)], Method::GET, &[]);
    assert!(!with(&[], Method::GET, &[]));
    assert!(!one("sec-fetch-site", "none"));
    assert!(!one("origin", "http://127.0.0.1:9900"));
    for (name, value) in [
        ("sec-fetch-site", "cross-site"),
        ("sec-fetch-site", "same-site"),
        ("origin", "null"),
        ("origin", "http://evil.test"),
        ("origin", "http://127.0.0.1:80"),
        ("origin", "http://localhost:9900"),
        ("origin", "https://ops.example.com"),
    ] {
        assert!(one(name, value), "{name}: {value}");
    }
    assert!(!with(&[("origin", "https://ops.example.com")], Method::POST, &own));
    assert!(with(&[("origin", "http://127.0.0.1:80")], Method::POST, &own), "another port of ours");
    let both = [("origin", "http://127.0.0.1:9900"), ("origin", "http://evil.test")];
    assert!(with(&both, Method::GET, &[]));
    let link = [
        ("sec-fetch-site", "cross-site"),
        ("sec-fetch-mode", "navigate"),
        ("sec-fetch-dest", "document"),
    ];
    assert!(!with(&link, Method::GET, &[]), "a link leads here");
    assert!(with(&link, Method::POST, &[]), "a form does not");
    let frame = [link[0], link[1], ("sec-fetch-dest", "iframe")];
    assert!(with(&frame, Method::GET, &[]));
}

const ADMIN: &str = "Bearer 0123456789abcdef";
const READ: &str = "bearer  fedcba9876543210";

fn ask(policy: &Policy, via: Via, local: bool, method: &str, token: &str) -> Result<Role, Why> {
    let mut request = Request::builder().method(method).uri("/api/x").header(HOST, "localhost");
    if !token.is_empty() {
        request = request.header(AUTHORIZATION, token);
    }
    let caller = Caller::new(via, local, &Arc::default());
    role(policy, &caller, &request.body(Body::empty()).unwrap())
}

fn policy(require_token: bool) -> Policy {
    Policy {
        admin: Some(Token::of(b"0123456789abcdef")),
        read: Some(Token::of(b"fedcba9876543210")),
        require_token,
        hosts: Vec::new(),
    }
}

#[test]
fn a_token_says_what_its_bearer_may_do() {
    let tcp = Via::Tcp("10.0.0.1:1".parse().unwrap());
    let policy = policy(false);
    for (local, method, token, may) in [
        (false, "GET", "", Err(Why::NoToken)),
        (false, "GET", READ, Ok(Role::Read)),
        (false, "POST", READ, Err(Why::ReadOnly)),
        (false, "GET", ADMIN, Ok(Role::Admin)),
        (false, "POST", ADMIN, Ok(Role::Admin)),
        (true, "GET", "", Ok(Role::Read)),
        (true, "OPTIONS", "", Ok(Role::Read)),
        (true, "DELETE", "", Err(Why::NoToken)),
        (true, "GET", "Bearer 0123456789abcdeF", Err(Why::WrongToken)),
        (true, "GET", "Bearer", Err(Why::WrongToken)),
        (true, "GET", "Basic 0123456789abcdef", Err(Why::WrongToken)),
    ] {
        assert_eq!(ask(&policy, tcp, local, method, token), may, "{local} {method} {token}");
    }
    assert_eq!(ask(&Policy::default(), tcp, true, "PUT", ""), Err(Why::NoneSet));
}

#[test]
fn the_kernel_says_who_comes_by_a_unix_socket() {
    let of = |user, owner| Via::Unix { user, owner };
    let free = policy(false);
    for (via, may) in [
        (of(Some(1000), 1000), Ok(Role::Admin)),
        (of(Some(0), 1000), Ok(Role::Admin)),
        (of(Some(1001), 1000), Err(Why::NoToken)),
        (of(None, 1000), Err(Why::NoToken)),
        (of(Some(NOBODY), NOBODY), Err(Why::NoToken)),
    ] {
        assert_eq!(ask(&free, via, true, "POST", ""), may, "{via:?}");
        assert_eq!(ask(&policy(true), via, true, "GET", ""), Err(Why::NoToken), "{via:?}");
        assert_eq!(ask(&free, via, true, "POST", ADMIN), Ok(Role::Admin), "{via:?}");
    }
}

#[test]
fn a_request_names_one_host() {
    let caller = Caller::new(Via::Tcp("127.0.0.1:1".parse().unwrap()), true, &Arc::default());
    let with = |hosts: &[&str], version, uri: &str| {
        let mut request = Request::builder().version(version).uri(uri);
        for host in hosts {
            request = request.header(HOST, *host);
        }
        role(&Policy::default(), &caller, &request.body(Body::empty()).unwrap())
    };
    assert_eq!(with(&["localhost"], Version::HTTP_11, "/"), Ok(Role::Read));
    assert_eq!(with(&[], Version::HTTP_10, "/"), Ok(Role::Read));
    assert_eq!(with(&[], Version::HTTP_11, "/"), Err(Why::NoHost));
    assert_eq!(with(&["localhost", "evil.test"], Version::HTTP_11, "/"), Err(Why::NoHost));
    let both = ["localhost"];
    assert_eq!(with(&both, Version::HTTP_11, "http://evil.test/"), Err(Why::ForeignHost));
}

#[test]
fn refusals_are_counted_by_their_names() {
    let refusals = Refusals::default();
    let via = Via::Unix { user: None, owner: 0 };
    for why in [Why::NoToken, Why::NoneSet, Why::CrossSite] {
        refusals.count(why, via, "/");
    }
    let counts: Vec<_> = refusals.counts().filter(|(_, count)| *count > 0).collect();
    assert_eq!(counts, [("cross_site", 1), ("unauthorized", 2)]);
}
