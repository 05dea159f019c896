use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;

use proptest::prelude::*;
use serde_json::Value;

use super::*;
use crate::config::found::Found;
use crate::config::snapshot::{Kept, Snapshot};
use crate::conn::ending::{Cause, Step};
use crate::tls::material::Material;
use crate::wire::proxy_header::{self, Outgoing, Tlvs};
use crate::wire::{client_hello, http_host};

fn snapshot() -> Snapshot {
    let text = "{ \"services\": [ { \"id\": \"a\", \"name\": \"two\u{2028}lines\", \"port\": 7000, \
                \"metadata\": { \"x\": \"\u{85}\\n\" }, \
                \"rules\": [ { \"targets\": [ { \"host\": \"10.0.0.1\" } ] } ] } ] }";
    let checked = crate::config::load_text(text, Path::new("/")).checked.expect("it is sound");
    let kept = Kept::default();
    let material = Material::default();
    let joined = kept.snapshot(1, &checked.services, &Found::new(), &material, HashSet::new());
    joined.expect("no certificates").0
}

/// The line of a connection of which this was learnt.
fn line(seen: &Seen, record: Record, remote: Option<SocketAddr>) -> String {
    let snapshot = snapshot();
    let listener = snapshot.listeners.values().next().map(Arc::clone).expect("one");
    let service = listener.first.as_ref();
    let report = Report {
        id: Id { boot: 7, core: 1, sequence: 9 },
        record,
        now: 1,
        first: &service.spec,
        service: Some(service),
        whole_service: true,
        target: service.pools.first().map(|pool| &*pool.targets[0].event),
        remote,
        proxy: None,
        local: None,
        duration: 2,
        overhead: 3,
        up: 4,
        down: 5,
        retries: 0,
        relay: "copy",
        seen: Some(seen),
    };
    let mut line = Vec::new();
    report.write(&mut line);
    String::from_utf8(line).expect("JSON is text")
}

/// The members of every event, in order.
const MEMBERS: [&str; 24] = [
    "@type",
    "@id",
    "@timestamp",
    "reqId",
    "protocol",
    "port",
    "to",
    "target",
    "remote",
    "proxy",
    "local",
    "duration",
    "overhead",
    "data",
    "gwError",
    "@serviceId",
    "@service",
    "service",
    "record",
    "reason",
    "sni",
    "alpn",
    "tlsVersion",
    "retries",
];

/// One line of exactly the members that an event has, whoever reads it.
fn parse(line: &str) -> Value {
    let body = line.strip_suffix('\n').expect("a newline ends it");
    let breaks = |c: char| c.is_control() || matches!(c, '\u{2028}' | '\u{2029}');
    assert!(!body.contains(breaks), "{body:?}");
    let event: Value = serde_json::from_str(body).unwrap_or_else(|e| panic!("{e}: {body}"));
    let members: Vec<&str> =
        event.as_object().expect("an object").keys().map(String::as_str).collect();
    let expected: Vec<&str> = MEMBERS.into_iter().chain(["relay"]).collect();
    assert_eq!(members, expected);
    // A member that came twice would be one in the map: count them in the text.
    for name in ["record", "reason", "sni", "@id"] {
        assert_eq!(body.matches(&format!("\"{name}\":")).count(), 1, "{body}");
    }
    event
}

/// A ClientHello with this server name and these protocols, whatever is in them.
fn hello(name: &[u8], alpn: &[Vec<u8>]) -> Vec<u8> {
    let long = |bytes: &[u8]| {
        let mut out = u16::try_from(bytes.len()).expect("short").to_be_bytes().to_vec();
        out.extend_from_slice(bytes);
        out
    };
    let extension = |kind: u16, body: &[u8]| [&kind.to_be_bytes()[..], &long(body)].concat();
    let names = long(&[&[0][..], &long(name)].concat());
    let protocols: Vec<u8> = alpn
        .iter()
        .flat_map(|it| [&[u8::try_from(it.len()).expect("short")][..], it].concat())
        .collect();
    let mut extensions = extension(0, &names);
    if !alpn.is_empty() {
        extensions.extend(extension(16, &long(&protocols)));
    }
    let mut body = vec![3, 3];
    body.extend([0; 32]);
    body.push(0); // no session
    body.extend([0, 2, 0x13, 1, 1, 0]);
    body.extend(long(&extensions));
    let length = u32::try_from(body.len()).expect("short").to_be_bytes();
    let message = [&[1][..], &length[1..], &body].concat();
    [&[22, 3, 1][..], &long(&message)].concat()
}

fn bytes(most: usize) -> impl Strategy<Value = Vec<u8>> {
    let nasty = prop::sample::select(vec![
        b"\n".to_vec(),
        b"\"".to_vec(),
        b"\\".to_vec(),
        b"\r\n".to_vec(),
        b"\0".to_vec(),
        "\u{2028}".into(),
        "\u{85}".into(),
        b"\xff".to_vec(),
        b"\xe2\x80".to_vec(),
        b"\",\"reason\":\"x".to_vec(),
        b"example.com".to_vec(),
        b"h2".to_vec(),
        b"\x7f".to_vec(),
    ]);
    let any = prop::collection::vec(any::<u8>(), 1..4);
    let piece = prop_oneof![nasty, any];
    let pieces = prop::collection::vec(piece, 1..6);
    pieces.prop_map(move |pieces| {
        let mut all = pieces.concat();
        all.truncate(most);
        all
    })
}

proptest! {
    /// What a hello says goes through its reader into the event.
    #[test]
    fn a_hello_cannot_break_a_line(
        name in bytes(200),
        alpn in prop::collection::vec(bytes(40), 0..3),
        note in any::<String>(),
    ) {
        let mut reader = client_hello::Reader::default();
        let mut seen = Seen::default();
        seen.note = Some(note.as_str().into());
        if let client_hello::Progress::Hello(hello) = reader.read(&hello(&name, &alpn)) {
            seen.name.clone_from(&hello.server_name);
            seen.alpn = hello.alpn.first().cloned();
            prop_assert_eq!(seen.alpn.as_deref(), alpn.first().map(Vec::as_slice));
        }
        let ending = Ending::us(Step::Route, Cause::NoMatch);
        let event = parse(&line(&seen, Record::Close(ending), None));
        prop_assert_eq!(event["sni"].as_str(), seen.name.as_deref());
        let shown = seen.alpn.as_deref().map(String::from_utf8_lossy);
        prop_assert_eq!(event["alpn"].as_str(), shown.as_deref());
        prop_assert!(event["gwError"].as_str().unwrap().ends_with(&note));
        prop_assert_eq!(event["reason"].as_str(), Some("us/route/no-match"));
    }

    /// A protocol agreed on is any bytes, also where no reader has looked at them.
    #[test]
    fn a_protocol_is_kept_or_escaped(alpn in bytes(60)) {
        let mut seen = Seen::default();
        seen.alpn = Some(alpn.as_slice().into());
        for record in [Record::Open, Record::Periodic] {
            let event = parse(&line(&seen, record, None));
            prop_assert_eq!(event["alpn"].as_str(), Some(&*String::from_utf8_lossy(&alpn)));
            prop_assert!(event["reason"].is_null() && event["gwError"].is_null());
        }
    }

    /// The host of a request.
    #[test]
    fn a_request_cannot_break_a_line(host in bytes(200), target in bytes(60)) {
        let head = [b"GET http://", &target[..], b"/ HTTP/1.1\r\nHost: ", &host, b"\r\n\r\n"].concat();
        let head = if target.len() % 2 == 0 { head } else {
            [b"GET / HTTP/1.1\r\nHost: ", &host[..], b"\r\n\r\n"].concat()
        };
        let mut seen = Seen::default();
        if let http_host::Progress::Host(name) = http_host::Reader::default().read(&head) {
            seen.name = name;
        }
        let ending = Ending::us(Step::Relay, Cause::Closed);
        let event = parse(&line(&seen, Record::Close(ending), None));
        prop_assert_eq!(event["sni"].as_str(), seen.name.as_deref());
    }

    /// What a PROXY header tells: its names and ids are not in events, its addresses are.
    #[test]
    fn a_header_cannot_break_a_line(authority in bytes(200), id in bytes(100), port in 1u16..) {
        let source = SocketAddr::from(([192, 0, 2, 7], port));
        let tlvs = Tlvs {
            authority: Some(authority.into()),
            unique_id: Some(id.into()),
            ..Tlvs::default()
        };
        let (source, destination) = (Some(source), Some(source));
        let outgoing = Outgoing { source, destination, tlvs: &tlvs, checksum: true };
        let header = proxy_header::write_v2(&outgoing).expect("it fits");
        let mut seen = Seen::default();
        let read = proxy_header::Reader::default().read(&header);
        let mut remote = None;
        if let proxy_header::Progress::Header(told) = read {
            remote = told.source;
            seen.told = Some(Box::new(told));
        }
        let ending = Ending::us(Step::Relay, Cause::Closed);
        let event = parse(&line(&seen, Record::Close(ending), remote));
        let shown = event["remote"].as_str().map(str::to_owned);
        prop_assert_eq!(shown, remote.map(|addr| addr.to_string()));
    }
}

#[test]
fn which_event_it_is() {
    let ending = Ending::us(Step::Relay, Cause::Closed);
    let records = [Record::Open, Record::Periodic, Record::Close(ending)];
    let events = records.map(|record| parse(&line(&Seen::default(), record, None)));
    let of = |member: &str| events.clone().map(|event| event[member].as_str().map(str::to_owned));
    let texts = |texts: [&str; 3]| texts.map(|text| Some(text.to_owned()));
    assert_eq!(of("record"), texts(["open", "periodic", "close"]));
    assert_eq!(of("@id"), texts(["00000007-1-9-open", "00000007-1-9-2", "00000007-1-9"]));
    assert_eq!(of("reqId"), texts(["00000007-1-9"; 3]));
    assert_eq!(of("@service"), texts(["two\u{2028}lines"; 3]));
    assert_eq!(events[0]["service"]["metadata"]["x"], "\u{85}\n");
}
