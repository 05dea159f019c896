//! What a header of version 2 that we send tells besides addresses.

use crc::{CRC_32_ISCSI, Crc};
use ppp::v2::{Addresses, Command, Header};
use serde_json::json;

use super::*;
use crate::support::backend::Manual;
use crate::support::certs::{Authority, Files};
use crate::support::config::Config;
use crate::support::proxy::{Launch, Proxy};
use crate::support::tls::{Dial, Tls};

const ALPN: u8 = 0x01;
const AUTHORITY: u8 = 0x02;
const CRC32C: u8 = 0x03;
const UNIQUE_ID: u8 = 0x05;
const SSL: u8 = 0x20;

/// A header of version 2, as the crate `ppp` reads it.
#[derive(Debug)]
pub struct Told {
    pub source: Option<SocketAddr>,
    pub destination: Option<SocketAddr>,
    pub tlvs: Vec<(u8, Vec<u8>)>,
    pub length: usize,
}

impl Told {
    pub fn value(&self, kind: u8) -> Option<&[u8]> {
        let mut found = self.tlvs.iter().filter(|(of, _)| *of == kind);
        let value = found.next().map(|(_, value)| value.as_slice());
        assert!(found.next().is_none(), "{kind:#x} is told twice");
        value
    }

    pub fn text(&self, kind: u8) -> Option<String> {
        self.value(kind).map(|value| String::from_utf8_lossy(value).into_owned())
    }

    /// Flags, `verify` and values of `SSL`.
    fn ssl(&self) -> (u8, u32, Vec<(u8, Vec<u8>)>) {
        let value = self.value(SSL).expect("TLS is told of");
        let verify = u32::from_be_bytes(value[1..5].try_into().unwrap());
        let mut rest = &value[5..];
        let mut values = Vec::new();
        while let [kind, high, low, more @ ..] = rest {
            let (value, next) = more.split_at(usize::from(u16::from_be_bytes([*high, *low])));
            values.push((*kind, value.to_vec()));
            rest = next;
        }
        (value[0], verify, values)
    }
}

/// Reads a header; its checksum, where it has one, must be right.
#[track_caller]
pub fn read(bytes: &[u8]) -> Told {
    let header = match Header::try_from(bytes) {
        Ok(header) => header,
        Err(error) => panic!("{error}: {}", bytes.escape_ascii()),
    };
    assert_eq!(header.command, Command::Proxy);
    let (source, destination) = match header.addresses {
        Addresses::IPv4(ip) => (
            Some(SocketAddr::from((ip.source_address, ip.source_port))),
            Some(SocketAddr::from((ip.destination_address, ip.destination_port))),
        ),
        Addresses::IPv6(ip) => (
            Some(SocketAddr::from((ip.source_address, ip.source_port))),
            Some(SocketAddr::from((ip.destination_address, ip.destination_port))),
        ),
        _ => (None, None),
    };
    let tlvs = header.tlvs().map(|tlv| tlv.unwrap()).map(|tlv| (tlv.kind, tlv.value.to_vec()));
    let told = Told { source, destination, tlvs: tlvs.collect(), length: header.as_bytes().len() };
    if let Some(sum) = told.value(CRC32C) {
        let mut bytes = header.as_bytes().to_vec();
        let at = bytes.len() - 4;
        assert_eq!(&bytes[at..], sum, "the checksum is the last");
        bytes[at..].fill(0);
        let expected = Crc::<u32>::new(&CRC_32_ISCSI).checksum(&bytes);
        assert_eq!(sum, expected.to_be_bytes(), "the checksum");
    }
    told
}

/// Services that end TLS, pass it through and have none, told of by headers of version 2; all take
/// headers themselves.
struct Scene {
    proxy: Proxy,
    ended: Service,
    through: Service,
    plain: Service,
    upstream: Manual,
    authority: Authority,
    _files: Files,
}

fn scene(tlvs: Value) -> Scene {
    let authority = Authority::new("all");
    let files = Files::new();
    let upstream = Manual::start();
    let service = |id: &str, tls: &str| {
        let mut proxied =
            json!({ "accept": "Optional", "trusted": ["127.0.0.1"], "send": "V2", "tlvs": tlvs });
        if tlvs.is_null() {
            proxied.as_object_mut().unwrap().remove("tlvs");
        }
        let service = Service::new(id, &[upstream.address])
            .set("tls", json!(tls))
            .set("timeouts", json!({ "hello": "20s" }))
            .set("proxyProtocol", proxied);
        match tls {
            "Enabled" => service
                .set("alpn", json!(["h2"]))
                .set("clientAuth", json!("Want"))
                .set("sni", json!({ "enabled": true })),
            "PassThrough" => service.set("sni", json!({ "enabled": true })).set(
                "rules",
                json!([{ "domain": "a.test",
                    "targets": [{ "host": "127.0.0.1", "port": upstream.address.port() }] }]),
            ),
            _ => service,
        }
    };
    let (ended, through, plain) = (
        service("ended", "Enabled"),
        service("through", "PassThrough"),
        service("plain", "Disabled"),
    );
    let config = Config::new([&ended, &through, &plain])
        .set("certificates", json!([files.pair("a", &authority.issue(&["a.test"]))]))
        .set("clientCaFiles", json!([files.put("ca.pem", &authority.pem())]));
    let proxy = Launch::new(config).start();
    Scene { proxy, ended, through, plain, upstream, authority, _files: files }
}

impl Scene {
    /// A client that has sent `head`, then shaken hands with the service that ends TLS; what the target
    /// is told, and the event's `@id`.
    #[track_caller]
    fn through_tls(
        &mut self,
        dial: &std::sync::Arc<rustls::ClientConfig>,
        head: &[u8],
    ) -> (Told, String) {
        let peer = self.proxy.connect(&self.ended);
        peer.send(head);
        let mut client = Tls::dial(peer, dial, "a.test");
        let up = self.upstream.accept();
        let told = read(&up.recv_exact_header());
        up.send(b"welcome");
        client.expect(b"welcome");
        client.fin();
        up.expect_eof();
        drop(up);
        client.expect_close();
        client.peer.fin();
        let port = told.source.unwrap().port();
        let outcome = Outcome { port, ..client.outcome() };
        drop(client);
        self.proxy.ended(outcome, &self.ended, CLOSED);
        (told, self.proxy.event_of(port).text("@id").to_owned())
    }

    /// The same of a plain client that begins with these bytes, the header of a proxy.
    #[track_caller]
    fn plainly(&mut self, head: &[u8]) -> (Told, String) {
        let client = self.proxy.connect(&self.plain);
        client.send(&[head, b"hello"].concat());
        let up = self.upstream.accept();
        let told = read(&up.recv_exact_header());
        up.expect(b"hello");
        client.fin();
        up.expect_eof();
        drop(up);
        client.expect_eof();
        let port = told.source.unwrap().port();
        self.proxy.ended(as_told(client, port, head.len()), &self.plain, CLOSED);
        (told, self.proxy.event_of(port).text("@id").to_owned())
    }
}

impl Peer {
    /// A whole header of version 2.
    #[track_caller]
    fn recv_exact_header(&self) -> Vec<u8> {
        let mut bytes = self.recv_exact(16);
        let rest = u16::from_be_bytes([bytes[14], bytes[15]]);
        bytes.extend(self.recv_exact(rest.into()));
        bytes
    }
}

/// Goal: what is known of a client is told: its name, its protocol, its TLS and certificate, the id of
/// its event, and a checksum.
/// Method: TLS 1.3 and 1.2 with a certificate and without, and a resumed session.
#[test]
fn of_tls_that_ends_here() {
    let mut scene = scene(Value::Null);
    let identity = scene.authority.issue(&["alice"]);
    for version in [rustls::ProtocolVersion::TLSv1_3, rustls::ProtocolVersion::TLSv1_2] {
        for shows in [true, false] {
            let dial = Dial::trusting(&scene.authority).alpn(&["h2", "http/1.1"]).version(version);
            let dial = if shows { dial.identity(&identity) } else { dial }.config();
            for resumed in [false, true] {
                let (told, id) = scene.through_tls(&dial, b"");
                assert_eq!(told.text(AUTHORITY).as_deref(), Some("a.test"));
                assert_eq!(told.text(ALPN).as_deref(), Some("h2"));
                assert_eq!(told.text(UNIQUE_ID), Some(id));
                assert!(told.value(CRC32C).is_some());
                assert_eq!(told.tlvs.len(), 5, "{told:?}");
                let (flags, verify, values) = told.ssl();
                let text = match version {
                    rustls::ProtocolVersion::TLSv1_3 => &b"TLSv1.3"[..],
                    _ => b"TLSv1.2",
                };
                let mut expected = vec![(0x21, text.to_vec())];
                let flag = match (shows, resumed) {
                    (false, _) => 1,
                    (true, false) => 1 | 2 | 4,
                    (true, true) => 1 | 4,
                };
                if shows {
                    expected.push((0x22, b"alice".to_vec()));
                }
                assert_eq!((flags, verify == 0), (flag, shows), "{version:?} resumed: {resumed}");
                assert_eq!(values, expected);
            }
        }
    }
    scene.proxy.finish();
}

/// Goal: of TLS that is passed through only what is certain is told: the name, not a protocol that was
/// only offered.
#[test]
fn of_tls_that_passes_through() {
    let mut scene = scene(Value::Null);
    let dial = Dial::trusting(&scene.authority).alpn(&["h2"]).config();
    let mut hello = Tls::client(scene.proxy.connect(&scene.through), &dial, "a.test");
    hello.flush().unwrap();
    let up = scene.upstream.accept();
    let told = read(&up.recv_exact_header());
    assert_eq!(told.text(AUTHORITY).as_deref(), Some("a.test"));
    let kinds: Vec<u8> = told.tlvs.iter().map(|(kind, _)| *kind).collect();
    assert_eq!(kinds, [AUTHORITY, UNIQUE_ID, CRC32C]);
    hello.peer.fin();
    let (bytes, _) = up.recv_to_end();
    assert_eq!(bytes.len() as u64, hello.peer.sent());
    drop(up);
    hello.peer.expect_eof();
    let outcome = hello.peer.outcome();
    drop(hello);
    scene.proxy.ended(outcome, &scene.through, CLOSED);
    scene.proxy.finish();
}

/// Goal: what a proxy told goes on to the target: as it was, but where it is known better here. The id
/// stays, so that one names the connection over all proxies.
/// Method: headers with all kinds of values to a plain service and to one that ends TLS; one that
/// leaves no room for more.
#[test]
fn received_and_passed_on() {
    let mut scene = scene(Value::Null);
    let ssl = b"\x07\0\0\0\0\x21\0\x07TLSv1.2\x22\0\x03bob\x7f\0\x01x";
    let tlvs: [(u8, &[u8]); 8] = [
        (0x04, b"padding"),
        (ALPN, b"mqtt"),
        (AUTHORITY, b"outer\0.test"),
        (UNIQUE_ID, b"one-for-all"),
        (SSL, ssl),
        (0x30, b"blue"),
        (0xe1, b"first"),
        (0xe1, b"second"),
    ];
    let port = told_port();
    let (told, _) = scene.plainly(&header(TCP4, &four(port), &tlvs));
    assert_eq!(told.source.unwrap().to_string(), format!("192.0.2.7:{port}"));
    assert_eq!(told.destination.unwrap().to_string(), "198.51.100.9:5432");
    let all: Vec<(u8, &[u8])> = told.tlvs.iter().map(|(kind, value)| (*kind, &value[..])).collect();
    let expected: [(u8, &[u8]); 7] =
        [tlvs[1], tlvs[2], tlvs[3], tlvs[5], tlvs[4], tlvs[6], tlvs[7]];
    assert_eq!(all[..7], expected);
    assert_eq!((all.len(), all[7].0), (8, CRC32C));

    let dial = Dial::trusting(&scene.authority).alpn(&["h2"]).config();
    let port = told_port();
    let (told, _) = scene.through_tls(&dial, &header(TCP4, &four(port), &tlvs));
    assert_eq!(told.text(ALPN).as_deref(), Some("h2"));
    assert_eq!(told.text(AUTHORITY).as_deref(), Some("a.test"));
    assert_eq!(told.text(UNIQUE_ID).as_deref(), Some("one-for-all"));
    assert_eq!(told.ssl().2, [(0x21, b"TLSv1.3".to_vec())]);
    assert_eq!(told.text(0x30).as_deref(), Some("blue"));

    // In clothes of IPv6 it is a client of IPv4.
    let port = told_port();
    let (told, _) = scene.plainly(&header(TCP6, &mapped(port), &[]));
    assert_eq!(told.source.unwrap().to_string(), format!("192.0.2.7:{port}"));

    // With ours it would be larger than a header may be: then ours alone.
    let large = vec![b'x'; 4096 - 16 - 12 - 3];
    let port = told_port();
    let (told, id) = scene.plainly(&header(TCP4, &four(port), &[(0xe1, &large)]));
    assert_eq!(told.source.unwrap().to_string(), format!("192.0.2.7:{port}"));
    assert_eq!(told.text(UNIQUE_ID), Some(id));
    assert_eq!(told.value(0xe1), None);

    // A line tells no more than addresses.
    let port = told_port();
    let (told, id) = scene.plainly(&line(port));
    assert_eq!(told.text(UNIQUE_ID), Some(id));
    assert_eq!(told.tlvs.len(), 2);
    scene.proxy.finish();
}

/// Goal: only what is asked for is told.
#[test]
fn chosen() {
    let tlvs: [(u8, &[u8]); 2] = [(UNIQUE_ID, b"one-for-all"), (0xe1, b"custom")];
    for (asked, plain, tls) in [
        (json!([]), &[][..], &[][..]),
        (json!(["Received"]), &[UNIQUE_ID, 0xe1], &[UNIQUE_ID, 0xe1]),
        (json!(["Ssl", "Authority"]), &[], &[AUTHORITY, SSL]),
        (json!(["Alpn", "Crc32c"]), &[CRC32C], &[ALPN, CRC32C]),
        (json!(["UniqueId"]), &[UNIQUE_ID], &[UNIQUE_ID]),
    ] {
        let own = asked == json!(["UniqueId"]);
        let mut scene = scene(asked);
        let kinds = |told: &Told| told.tlvs.iter().map(|(kind, _)| *kind).collect::<Vec<_>>();
        let (told, id) = scene.plainly(&header(TCP4, &four(told_port()), &tlvs));
        assert_eq!(kinds(&told), plain);
        assert!(!own || told.text(UNIQUE_ID) == Some(id));
        let dial = Dial::trusting(&scene.authority).alpn(&["h2"]).config();
        let (told, _) = scene.through_tls(&dial, &header(TCP4, &four(told_port()), &tlvs));
        assert_eq!(kinds(&told), tls);
        scene.proxy.finish();
    }
}
