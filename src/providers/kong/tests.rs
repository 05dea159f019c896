//! `stream_listen` as Kong reads it.

use proptest::prelude::*;

use super::*;
use crate::providers::foreign::File;

fn one(text: &str) -> Listen {
    let mut listens = parse(text).unwrap();
    assert_eq!(listens.len(), 1, "{listens:?}");
    listens.remove(0)
}

#[test]
fn the_listens_of_the_how_to() {
    let listens = parse("0.0.0.0:9000, 0.0.0.0:9443 ssl").unwrap();
    let shown: Vec<_> = listens.iter().map(ToString::to_string).collect();
    assert_eq!(shown, ["0.0.0.0:9000", "0.0.0.0:9443 ssl"]);
    assert!(!listens[0].ssl && listens[1].ssl);
}

#[test]
fn off_is_none_if_it_comes_first() {
    assert_eq!(parse("off").unwrap(), []);
    assert_eq!(parse(" off , 0.0.0.0:9000").unwrap(), []);
    assert!(parse("0.0.0.0:9000, off").is_err());
}

#[test]
fn every_flag_in_any_order() {
    let text = "so_keepalive=30m::10 [::1]:9000 ipv6only=on backlog=16384 reuseport bind \
                proxy_protocol ssl udp";
    let listen = one(text);
    assert_eq!(
        listen.to_string(),
        "[::1]:9000 udp ssl proxy_protocol bind reuseport backlog=16384 ipv6only=on \
         so_keepalive=30m::10"
    );
    assert_eq!(one("a.example:1 so_keepalive=on").so_keepalive, Some(Keepalive::Switch(true)));
    assert_eq!(one("a.example:1 so_keepalive=off").so_keepalive, Some(Keepalive::Switch(false)));
    assert_eq!(one("a.example:1 ipv6only=off").ipv6only, Some(false));
    assert!(one("1.2.3.4:1 so_keepalive=::").so_keepalive.is_some());
}

#[test]
fn what_is_no_entry_is_told_in_kongs_words() {
    for bad in [
        "",
        "9000",
        "0.0.0.0",
        "0.0.0.0:9000 sll",
        "0.0.0.0:70000",
        "0.0.0.0:9000,",
        ":9000",
        "::1:9000",
        "[::1:9000",
        "0.0.0.0:9000 backlog=",
        "0.0.0.0:9000 backlog=x",
        "0.0.0.0:9000 ipv6only=maybe",
        "0.0.0.0:9000 so_keepalive=1:2",
        "0.0.0.0:9000 http2",
        "0.0.0.0:9000 so_keepalive=1:2:x",
        "0.0.0.0:9000 0.0.0.0:9001",
        "ssl",
    ] {
        let BadListen(message) = parse(bad).expect_err(bad);
        assert!(message.starts_with("stream_listen must be of form: [off] | <ip>:<port> [udp]"));
    }
}

#[test]
fn what_is_not_served_is_told() {
    let mut found = Vec::new();
    let listens =
        parse("0.0.0.0:1 udp, db:2, 0.0.0.0:3 backlog=9, 0.0.0.0:3 ssl, 127.0.0.1:3").unwrap();
    let usable = usable(listens, "", &mut found);
    let shown: Vec<_> = usable.iter().map(Listen::endpoint).collect();
    assert_eq!(shown, ["0.0.0.0:3", "127.0.0.1:3"]);
    let codes: Vec<_> = found.iter().map(|it| it.code).collect();
    assert_eq!(codes, ["W351", "W351", "I352", "W351"]);
}

#[test]
fn an_address_that_nothing_attaches_to_refuses() {
    let listens = parse("0.0.0.0:9000, [::]:9443 ssl proxy_protocol").unwrap();
    let taken = HashSet::from([("0.0.0.0".parse().unwrap(), 9000)]);
    let source = unattached(&listens, &taken);
    assert_eq!(source.documents.len(), 1);
    let service: serde_json::Value = serde_json::from_str(&source.documents[0].text).unwrap();
    assert_eq!(service["id"], "kong/[::]:9443");
    assert_eq!(service["tls"], "PassThrough");
    assert_eq!(service["proxyProtocol"]["accept"], "Require");
    assert_eq!(service["access"]["deny"][0], "0.0.0.0/0");
    assert!(source.documents[0].port_is_declared);
}

#[test]
fn it_is_found_wherever_people_have_it() {
    let value = "0.0.0.0:9000, 0.0.0.0:9443 ssl";
    let files = [
        ("kong.conf", format!("# stream_listen = off\nstream_listen = {value}   # both\n")),
        ("proxy.env", format!("A=1\nexport KONG_STREAM_LISTEN=\"{value}\"\n")),
        (
            "patch",
            r#"{"spec":{"template":{"spec":{"containers":[{"name":"proxy","env":[{"name":
            "KONG_STREAM_LISTEN","value":"0.0.0.0:9000, 0.0.0.0:9443 ssl"}],"ports":[
            {"containerPort":9000,"name":"stream9000","protocol":"TCP"}]}]}}}}"#
                .into(),
        ),
        (
            "d.yaml",
            format!(
                "kind: Deployment\nspec:\n  env:\n  - name: KONG_STREAM_LISTEN\n    value: {value}\n"
            ),
        ),
        (
            "compose.yaml",
            format!("services:\n  kong:\n    environment:\n      - KONG_STREAM_LISTEN={value}\n"),
        ),
        ("values.yaml", format!("env:\n  stream_listen: {value}\n")),
    ];
    for (name, text) in files {
        let file = File { place: name.into(), dir: "/".into(), text };
        assert_eq!(import_files(&[file]).as_deref(), Some(value), "{name}");
    }
}

fn any_listen() -> impl Strategy<Value = Listen> {
    let host = prop_oneof![
        any::<[u8; 4]>().prop_map(|it| std::net::Ipv4Addr::from(it).to_string()),
        any::<u128>().prop_map(|it| std::net::Ipv6Addr::from(it).to_string()),
        "[a-z]{1,9}(\\.[a-z]{1,5}){0,3}",
    ];
    let keepalive = prop_oneof![
        any::<bool>().prop_map(Keepalive::Switch),
        ("[0-9]{0,2}[smh]?", "[0-9]{0,2}[smh]?", "[0-9]{0,3}")
            .prop_map(|(idle, interval, count)| Keepalive::Times(idle, interval, count)),
    ];
    let flags = any::<[bool; 5]>();
    let rest = (
        proptest::option::of(any::<u64>()),
        any::<Option<bool>>(),
        proptest::option::of(keepalive),
    );
    (host, any::<u16>(), flags, rest).prop_map(|(host, port, flags, rest)| {
        let [udp, ssl, proxy_protocol, bind, reuseport] = flags;
        let (backlog, ipv6only, so_keepalive) = rest;
        Listen {
            host,
            port,
            udp,
            ssl,
            proxy_protocol,
            bind,
            reuseport,
            backlog,
            ipv6only,
            so_keepalive,
        }
    })
}

proptest! {
    #[test]
    fn what_is_printed_is_read_as_it_was(listens in proptest::collection::vec(any_listen(), 1..5)) {
        let text: Vec<_> = listens.iter().map(ToString::to_string).collect();
        prop_assert_eq!(parse(&text.join(", ")).unwrap(), listens);
    }

    #[test]
    fn no_text_is_too_strange(text in "\\PC{0,80}|[0-9:., a-z_=\\[\\]]{0,60}") {
        let _ = parse(&text);
    }
}
