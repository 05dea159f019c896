//! TLS with targets: whom to believe, what to show, and bytes as exact as on the other side.

use std::sync::Arc;
use std::thread;

use rustls::ServerConfig;
use rustls::version::{TLS12, TLS13};
use serde_json::{Value, json};

use super::{CLOSED, MIB, NAME};
use crate::support::backend::{Backend, Manual};
use crate::support::certs::{Authority, Files, Issued};
use crate::support::config::{Config, Service};
use crate::support::data::{Digest, Random};
use crate::support::heavy;
use crate::support::peer::{End, Peer};
use crate::support::proxy::{Launch, Proxy};
use crate::support::tls::{self, Dial, Tls, serving};

const UP: &str = "up.test";

/// A target that says its name over TLS, whoever comes.
fn speaking(config: ServerConfig) -> Backend {
    let config = Arc::new(config);
    Backend::serve(move |peer| {
        let mut tls = Tls::server(peer, &config);
        if tls.shake().is_ok() && tls.try_send(b"inner").is_ok() {
            tls.hash_to_end();
            tls.connection.send_close_notify();
            let _ = tls.flush();
        }
    })
}

/// A service in clear with one target of these members.
fn to(id: &str, backend: std::net::SocketAddr, members: Value) -> Service {
    let mut target = json!({
        "host": backend.ip().to_string(), "port": backend.port(), "tls": true, "serverName": UP,
    });
    for (key, value) in members.as_object().expect("members") {
        target[key] = value.clone();
    }
    Service::with_targets(id, json!([target])).set("retries", json!(0))
}

/// Goal: a target is believed when its certificate says so, and not otherwise.
#[test]
fn whom_to_believe() {
    let (good, other) = (Authority::new("targets"), Authority::new("others"));
    let clients = Authority::new("clients");
    let files = Files::new();
    let ca = files.put("ca.pem", &good.pem());
    let pair = files.pair("client", &clients.issue(&["proxy"]));
    let wrong = files.pair("wrong", &other.issue(&["proxy"]));
    let (leaf, stranger) = (good.issue(&[UP]), other.issue(&[UP]));
    let ip = good.issue(&["127.0.0.1"]);
    let expired = good.issue_expired(&[UP]);
    let both = |issued: &Issued, clients| speaking(serving(issued, clients));
    let (plain, unknown) = (both(&leaf, None), both(&stranger, None));
    let (late, by_ip) = (both(&expired, None), both(&ip, None));
    let guarded = both(&leaf, Some(&clients));
    let old = {
        let mut config = serving(&leaf, Some(&clients));
        let verifier = rustls::server::WebPkiClientVerifier::builder_with_provider(
            clients.roots(),
            Arc::clone(config.crypto_provider()),
        );
        config = ServerConfig::builder_with_provider(Arc::clone(config.crypto_provider()))
            .with_protocol_versions(&[&TLS12])
            .unwrap()
            .with_client_cert_verifier(verifier.build().unwrap())
            .with_single_cert(vec![leaf.der().clone()], leaf.private_key())
            .unwrap();
        speaking(config)
    };
    let pins = |issued: &Issued| json!([issued.pin()]);
    let good_end = CLOSED;
    let bad = "us/connect/certificate";
    let cases: Vec<(&str, &Backend, Value, &str)> = vec![
        ("verified", &plain, json!({ "caFile": ca }), good_end),
        (
            "the address is its name",
            &by_ip,
            json!({ "caFile": ca, "serverName": "127.0.0.1" }),
            good_end,
        ),
        ("another name", &plain, json!({ "caFile": ca, "serverName": "b.test" }), bad),
        ("another authority", &unknown, json!({ "caFile": ca }), bad),
        ("the system's authorities", &plain, json!({}), bad),
        ("expired", &late, json!({ "caFile": ca }), bad),
        ("pinned", &plain, json!({ "caFile": ca, "pinnedPublicKeys": pins(&leaf) }), good_end),
        (
            "the wrong pin",
            &plain,
            json!({ "caFile": ca, "pinnedPublicKeys": pins(&stranger) }),
            bad,
        ),
        (
            "pinned, but of another authority",
            &unknown,
            json!({ "caFile": ca, "pinnedPublicKeys": pins(&stranger) }),
            bad,
        ),
        (
            "pinned alone",
            &unknown,
            json!({ "pinOnly": true, "pinnedPublicKeys": pins(&stranger) }),
            good_end,
        ),
        (
            "pinned alone, wrong",
            &unknown,
            json!({ "pinOnly": true, "pinnedPublicKeys": pins(&leaf) }),
            bad,
        ),
        ("blindly", &late, json!({ "insecureSkipVerify": true }), good_end),
        (
            "with a certificate",
            &guarded,
            json!({ "caFile": ca, "clientCertificate": pair }),
            good_end,
        ),
        ("with one, TLS 1.2", &old, json!({ "caFile": ca, "clientCertificate": pair }), good_end),
        // In TLS 1.3 the target judges when the handshake is over for us.
        ("without a certificate", &guarded, json!({ "caFile": ca }), "upstream/relay/alert"),
        (
            "with a wrong one",
            &guarded,
            json!({ "caFile": ca, "clientCertificate": wrong }),
            "upstream/relay/alert",
        ),
        ("without one, TLS 1.2", &old, json!({ "caFile": ca }), "upstream/connect/alert"),
    ];
    let services: Vec<Service> = cases
        .iter()
        .map(|(what, backend, members, _)| to(what, backend.address, members.clone()))
        .collect();
    let mut proxy = Launch::new(Config::new(&services)).start();
    for (service, (what, _, _, reason)) in services.iter().zip(&cases) {
        for _ in 0..2 {
            let client = proxy.connect(service);
            if *reason == CLOSED {
                client.expect(b"inner");
                client.fin();
                client.expect_eof();
                proxy.ended(client, service, reason);
            } else {
                assert_eq!(client.expect_end(), End::Reset, "{what}");
                proxy.cut(client, service, reason);
            }
        }
    }
    proxy.finish();
}

/// Goal: a target that speaks no TLS, or nothing at all, is passed over for the next one in the time
/// that a handshake may take.
#[test]
fn targets_that_cannot() {
    let authority = Authority::new("targets");
    let files = Files::new();
    let ca = files.put("ca.pem", &authority.pem());
    let good = speaking(serving(&authority.issue(&[UP]), None));
    let smtp = Backend::serve(|peer| {
        let _ = peer.try_send(b"220 mail.test ESMTP\r\n");
        while peer.try_recv().is_ok_and(|bytes| !bytes.is_empty()) {}
    });
    let closes = Backend::serve(|peer| drop(peer.try_recv()));
    let stalls = Manual::start();
    let target = |address: std::net::SocketAddr| {
        json!({
            "host": address.ip().to_string(), "port": address.port(),
            "tls": true, "serverName": UP, "caFile": ca,
        })
    };
    let timeouts = json!({ "connect": "1h", "handshake": "500ms" });
    let bad = [
        ("smtp", smtp.address, "us/connect/tls"),
        ("closes", closes.address, "upstream/connect/reset"),
        ("stalls", stalls.address, "upstream/connect/timeout"),
    ];
    let alone = bad.map(|(id, address, _)| {
        Service::with_targets(id, json!([target(address)]))
            .set("timeouts", timeouts.clone())
            .set("retries", json!(0))
    });
    let helped = bad.map(|(id, address, _)| {
        let id = format!("{id}-helped");
        let targets = json!([target(address), target(good.address)]);
        Service::with_targets(&id, targets).set("timeouts", timeouts.clone())
    });
    let mut proxy = Launch::new(Config::new(alone.iter().chain(&helped))).start();
    for (service, (id, _, reason)) in alone.iter().zip(bad) {
        let client = proxy.connect(service);
        assert_eq!(client.expect_end(), End::Reset, "{id}");
        proxy.cut(client, service, reason);
    }
    for service in &helped {
        for _ in 0..4 {
            let client = proxy.connect(service);
            client.send(b"not lost");
            client.expect(b"inner");
            client.fin();
            client.expect_eof();
            proxy.ended(client, service, CLOSED);
        }
    }
    while stalls.try_accept().is_some() {}
    proxy.finish();
}

/// A service that ends TLS and speaks it to its target, and one in clear that does the latter.
struct Chain {
    proxy: Proxy,
    service: Service,
    clear: Service,
    upstream: Manual,
    server: Arc<ServerConfig>,
    dial: Dial,
    _files: Files,
}

impl Chain {
    fn new() -> Chain {
        Chain::with(|service| service, |_| ())
    }

    fn with(
        adjust: impl FnOnce(Service) -> Service,
        server: impl FnOnce(&mut ServerConfig),
    ) -> Chain {
        let authority = Authority::new("all");
        let files = Files::new();
        let upstream = Manual::start();
        let ca = files.put("ca.pem", &authority.pem());
        let pair = files.pair("a", &authority.issue(&[NAME]));
        let mut config = serving(&authority.issue(&[UP]), None);
        server(&mut config);
        let clear = to("clear", upstream.address, json!({ "caFile": ca }));
        let service = to("svc", upstream.address, json!({ "caFile": ca }));
        let service = adjust(service.set("tls", json!("Enabled")));
        let document = Config::new([&service, &clear]).set("certificates", json!([pair]));
        Chain {
            proxy: Launch::new(document).start(),
            service,
            clear,
            upstream,
            server: Arc::new(config),
            dial: Dial::trusting(&authority),
            _files: files,
        }
    }

    /// A client with TLS, and its target.
    #[track_caller]
    fn open(&self) -> (Tls, Tls) {
        let client = Tls::dial(self.proxy.connect(&self.service), &self.dial.config(), NAME);
        (client, Tls::answer(self.upstream.accept(), &self.server))
    }

    /// A client in clear, and its target.
    #[track_caller]
    fn open_clear(&self) -> (Peer, Tls) {
        let client = self.proxy.connect(&self.clear);
        (client, Tls::answer(self.upstream.accept(), &self.server))
    }
}

/// Goal: bulk is exact when both sides speak TLS, and when only the target does.
#[test]
fn bulk() {
    let _alone = heavy();
    let mut chain = Chain::new();
    let (mut client, mut up) = chain.open();
    thread::scope(|scope| {
        let read = scope.spawn(|| up.hash_to_close());
        let sent = client.send_random(1, 64 * MIB);
        client.fin();
        assert_eq!(read.join().unwrap(), (64 * MIB, sent));
    });
    thread::scope(|scope| {
        let read = scope.spawn(|| client.hash_to_close());
        let sent = up.send_random(2, 64 * MIB);
        up.fin();
        assert_eq!(read.join().unwrap(), (64 * MIB, sent));
    });
    chain.proxy.ended(client, &chain.service, CLOSED);
    let (client, mut up) = chain.open_clear();
    thread::scope(|scope| {
        let read = scope.spawn(|| up.hash_to_close());
        let sent = client.send_random(3, 32 * MIB);
        client.fin();
        assert_eq!(read.join().unwrap(), (32 * MIB, sent));
    });
    thread::scope(|scope| {
        let read = scope.spawn(|| client.hash_to_eof());
        let sent = up.send_random(4, 32 * MIB);
        up.fin();
        assert_eq!(read.join().unwrap(), (32 * MIB, sent));
    });
    chain.proxy.ended(client, &chain.clear, CLOSED);
    // And both ways at once.
    let (mut client, mut up) = chain.open();
    thread::scope(|scope| {
        scope.spawn(|| {
            let mut buffer = vec![0; 40_000];
            while let Ok(count) = up.try_recv(&mut buffer) {
                up.send(&buffer[..count]);
            }
            up.fin();
        });
        let (sent, back) = client.exchange(5, 16 * MIB);
        assert_eq!(sent, back);
        client.fin();
        client.expect_close();
    });
    chain.proxy.ended(client, &chain.service, CLOSED);
    chain.proxy.finish();
}

/// Goal: each side's end is passed on as one, alone, and the other direction goes on.
#[test]
fn half_closes() {
    let mut chain = Chain::new();
    let (mut client, mut up) = chain.open();
    client.send(b"question");
    client.fin();
    up.expect(b"question");
    up.expect_close();
    up.send(b"answer");
    up.fin();
    client.expect(b"answer");
    client.expect_close();
    chain.proxy.ended(client, &chain.service, CLOSED);

    let (mut client, mut up) = chain.open();
    up.send(b"banner");
    up.fin();
    client.expect(b"banner");
    client.expect_close();
    client.send(b"late");
    client.fin();
    up.expect(b"late");
    up.expect_close();
    chain.proxy.ended(client, &chain.service, CLOSED);

    let (client, mut up) = chain.open_clear();
    client.send(b"question");
    client.fin();
    up.expect(b"question");
    up.expect_close();
    up.send(b"answer");
    up.fin();
    client.expect(b"answer");
    client.expect_eof();
    chain.proxy.ended(client, &chain.clear, CLOSED);

    let (client, mut up) = chain.open_clear();
    up.send(b"banner");
    up.fin();
    client.expect(b"banner");
    client.expect_eof();
    client.send(b"late");
    client.fin();
    up.expect(b"late");
    up.expect_close();
    chain.proxy.ended(client, &chain.clear, CLOSED);
    chain.proxy.finish();
}

/// Goal: a stream of the target that was cut off is not reported as one that has ended.
#[test]
fn target_truncates() {
    let mut chain = Chain::new();
    for reset in [false, true] {
        let reason = if reset { "upstream/relay/reset" } else { "upstream/relay/truncated" };
        let (mut client, mut up) = chain.open();
        up.send(b"half");
        client.expect(b"half");
        if reset {
            let _ = up.rst();
        } else {
            up.peer.fin()
        }
        client.expect_end(&tls::End::Reset);
        chain.proxy.cut(client, &chain.service, reason);
        let (client, mut up) = chain.open_clear();
        up.send(b"half");
        client.expect(b"half");
        if reset {
            let _ = up.rst();
        } else {
            up.peer.fin()
        }
        client.expect_reset();
        chain.proxy.cut(client, &chain.clear, reason);
    }
    // A client that cuts off is no end for the target either.
    let (client, mut up) = chain.open();
    client.peer.fin();
    up.expect_end(&tls::End::Reset);
    chain.proxy.cut(client, &chain.service, "client/relay/truncated");
    let (client, mut up) = chain.open_clear();
    client.send(b"x");
    up.expect(b"x");
    let outcome = client.rst();
    up.expect_end(&tls::End::Reset);
    chain.proxy.cut(outcome, &chain.clear, "client/relay/reset");
    // What was forged on the way from the target.
    let (mut client, mut up) = chain.open();
    let mut record = up.sealed(b"forged");
    *record.last_mut().unwrap() ^= 1;
    up.peer.send(&record);
    client.expect_end(&tls::End::Reset);
    up.expect_end(&tls::End::Alert(rustls::AlertDescription::BadRecordMac));
    chain.proxy.cut(client, &chain.service, "upstream/relay/tls");
    chain.proxy.finish();
}

/// Goal: the end of a target that is found by sending is passed on for what it was.
/// Method: the proxy stands still while the client sends and the target ends in order and is gone,
/// or is cut off.
#[test]
fn target_ends_while_the_client_sends() {
    let mut chain = Chain::new();
    for in_order in [true, false] {
        let (mut client, mut up) = chain.open();
        up.send(b"part");
        client.expect(b"part");
        chain.proxy.pause();
        client.send(b"more");
        if in_order {
            up.send(b"all");
            up.fin();
        }
        let _ = up.rst();
        chain.proxy.resume();
        let (count, _, end) = client.hash_to_end();
        let expected = if in_order { (3, tls::End::Closed) } else { (0, tls::End::Reset) };
        assert_eq!((count, end), expected);
        chain.proxy.cut(client, &chain.service, "upstream/relay/reset");
    }
    chain.proxy.finish();
}

/// Goal: new keys of the target in mid-stream change nothing.
#[test]
fn key_updates_of_the_target() {
    let mut chain = Chain::new();
    let (mut client, mut up) = chain.open();
    for round in 0..20 {
        up.connection.refresh_traffic_keys().unwrap();
        up.send(b"down");
        client.expect(b"down");
        client.connection.refresh_traffic_keys().unwrap();
        client.send(format!("up{round:02}").as_bytes());
        up.expect(format!("up{round:02}").as_bytes());
    }
    client.fin();
    up.expect_close();
    up.fin();
    client.expect_close();
    chain.proxy.ended(client, &chain.service, CLOSED);
    chain.proxy.finish();
}

/// Goal: the protocol agreed on with the client is offered to the target; the target's own is none of
/// the client's business.
#[test]
fn alpn_is_passed_on() {
    let mut chain = Chain::with(
        |service| service.set("alpn", json!(["h2", "http/1.1"])),
        |server| server.alpn_protocols = vec![b"http/1.1".to_vec(), b"h2".to_vec()],
    );
    for (offered, expected) in [
        (&["http/1.1", "h2"][..], Some(&b"h2"[..])),
        (&["http/1.1"], Some(b"http/1.1")),
        (&[], None),
    ] {
        let config = chain.dial.clone().alpn(offered).config();
        let mut client = Tls::dial(chain.proxy.connect(&chain.service), &config, NAME);
        let mut up = Tls::answer(chain.upstream.accept(), &chain.server);
        assert_eq!(client.connection.alpn_protocol(), expected);
        assert_eq!(up.connection.alpn_protocol(), expected);
        client.fin();
        up.expect_close();
        up.fin();
        client.expect_close();
        let port = client.peer.port();
        chain.proxy.ended(client, &chain.service, CLOSED);
        let event = chain.proxy.event_of(port);
        assert_eq!(event.text("alpn").as_bytes(), expected.unwrap_or_default());
    }
    // Nothing in common.
    let config = chain.dial.clone().alpn(&["spdy/3"]).config();
    let mut client = Tls::client(chain.proxy.connect(&chain.service), &config, NAME);
    let end = client.shake();
    assert_eq!(end, Err(tls::End::Alert(rustls::AlertDescription::NoApplicationProtocol)));
    chain.proxy.cut(client, &chain.service, "client/handshake/tls");
    chain.proxy.finish();
}

/// Goal: sessions with a target are resumed, from any core.
#[test]
fn sessions_with_the_target() {
    for version in [&TLS13, &TLS12] {
        let mut chain = Chain::with(
            |service| service,
            |server| {
                let resolver = Arc::clone(&server.cert_resolver);
                *server = ServerConfig::builder_with_provider(Arc::clone(server.crypto_provider()))
                    .with_protocol_versions(&[version])
                    .unwrap()
                    .with_no_client_auth()
                    .with_cert_resolver(resolver);
            },
        );
        let mut resumed = 0;
        for _ in 0..12 {
            let (client, mut up) = chain.open_clear();
            up.send(b"x");
            client.expect(b"x");
            client.fin();
            up.expect_close();
            up.fin();
            client.expect_eof();
            resumed += usize::from(up.resumed());
            chain.proxy.ended(client, &chain.clear, CLOSED);
        }
        assert!(resumed >= 10, "{resumed} of 12 resumed, {version:?}");
        chain.proxy.finish();
    }
}

/// Goal: a target that speaks first is heard, and one that the client's first words come with.
#[test]
fn first_words() {
    let mut chain = Chain::new();
    let (mut client, mut up) = chain.open();
    up.send(b"220 ready");
    client.expect(b"220 ready");
    client.fin();
    up.expect_close();
    up.fin();
    client.expect_close();
    chain.proxy.ended(client, &chain.service, CLOSED);
    // Both sides' data comes along with the end of their handshakes.
    let bytes = Random::new(1).bytes(100_000);
    let mut client = Tls::client(chain.proxy.connect(&chain.service), &chain.dial.config(), NAME);
    client.connection.set_buffer_limit(None);
    client.write(&bytes);
    thread::scope(|scope| {
        let all = (100_000, Digest::of(&bytes));
        let talking = scope.spawn(|| {
            client.shake().unwrap();
            client.fin();
            client.hash_to_close()
        });
        let mut up = Tls::server(chain.upstream.accept(), &chain.server);
        up.connection.set_buffer_limit(None);
        up.write(&bytes);
        up.shake().unwrap();
        up.fin();
        assert_eq!(up.hash_to_close(), all);
        assert_eq!(talking.join().unwrap(), all);
    });
    chain.proxy.ended(client, &chain.service, CLOSED);
    chain.proxy.finish();
}
