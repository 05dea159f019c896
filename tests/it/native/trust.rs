//! Whom a service and a target are believed by what stands in the configuration itself, and which
//! versions of TLS they speak.

use rustls::{AlertDescription, CipherSuite, ProtocolVersion};
use serde_json::json;

use crate::support::backend::{Backend, Manual};
use crate::support::certs::{Authority, Files};
use crate::support::config::{Config, Service};
use crate::support::proxy::Launch;
use crate::support::tls::{Dial, End, Tls, serving};

const CLOSED: &str = "*/relay/closed";

/// Goal: a client whose certificate is listed comes in, whoever issued it, and also by a session that
/// is resumed; one of the same authority that is not listed does not; nor does one that only the
/// top-level authorities vouch for.
#[test]
fn listed_certificates_come_in() {
    let echo = Backend::echo();
    let (servers, robots, people) =
        (Authority::new("servers"), Authority::new("robots"), Authority::new("people"));
    let files = Files::new();
    let (first, second) = (robots.issue(&["first"]), robots.issue(&["second"]));
    let service = Service::new("svc", &[echo.address])
        .set("tls", json!("Enabled"))
        .set("clientAuth", json!("Need"))
        .set("clientCertFiles", json!([files.put("first.pem", &first.cert_pem())]))
        .set("clientCertPems", json!([second.cert_pem()]));
    let config = Config::new([&service])
        .set("certificates", json!([files.pair("a", &servers.issue(&["a.test"]))]))
        .set("clientCaFiles", json!([files.put("people.pem", &people.pem())]));
    let mut proxy = Launch::new(config).start();
    for issued in [&first, &second] {
        let dial = Dial::trusting(&servers).identity(issued).config();
        for resumed in [false, true] {
            let mut client = Tls::dial(proxy.connect(&service), &dial, "a.test");
            client.send(b"hello");
            client.expect(b"hello");
            client.fin();
            client.expect_close();
            assert_eq!(client.resumed(), resumed);
            proxy.ended(client, &service, CLOSED);
        }
    }
    for issued in [robots.issue(&["third"]), people.issue(&["somebody"])] {
        let dial = Dial::trusting(&servers).identity(&issued).config();
        let mut client = Tls::client(proxy.connect(&service), &dial, "a.test");
        let mut buffer = [0; 1];
        let end = client.shake().and_then(|()| client.try_recv(&mut buffer)).unwrap_err();
        assert_eq!(end, End::Alert(AlertDescription::UnknownCA));
        proxy.cut(client, &service, "client/handshake/client-certificate");
    }
    proxy.finish();
}

/// Goal: a service and a target speak the versions and suites that are named, and a target is believed
/// by an authority that stands in the configuration.
#[test]
fn versions_suites_and_an_authority_of_a_target() {
    let upstream = Manual::start();
    let (servers, targets) = (Authority::new("servers"), Authority::new("targets"));
    let files = Files::new();
    let target = json!([{
        "host": "127.0.0.1", "port": upstream.address.port(), "tls": true, "serverName": "db.test",
        "caPem": targets.pem(), "tlsMaxVersion": "1.2",
        "cipherSuites": ["TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384"],
    }]);
    let service = Service::with_targets("svc", target)
        .set("tls", json!("Enabled"))
        .set("tlsMinVersion", json!("1.3"))
        .set("cipherSuites", json!(["TLS_CHACHA20_POLY1305_SHA256"]));
    let config = Config::new([&service])
        .set("certificates", json!([files.pair("a", &servers.issue(&["a.test"]))]));
    let mut proxy = Launch::new(config).start();
    let dial = Dial::trusting(&servers);
    let mut client = Tls::dial(proxy.connect(&service), &dial.config(), "a.test");
    let suite = client.connection.negotiated_cipher_suite().unwrap().suite();
    assert_eq!(suite, CipherSuite::TLS13_CHACHA20_POLY1305_SHA256);
    let config = std::sync::Arc::new(serving(&targets.issue(&["db.test"]), None));
    let mut target = Tls::answer(upstream.accept(), &config);
    assert_eq!(target.version(), ProtocolVersion::TLSv1_2);
    let suite = target.connection.negotiated_cipher_suite().unwrap().suite();
    assert_eq!(suite, CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384);
    client.send(b"hello");
    target.expect(b"hello");
    client.fin();
    target.expect_close();
    target.fin();
    client.expect_close();
    proxy.ended(client, &service, CLOSED);
    let old = dial.version(ProtocolVersion::TLSv1_2).config();
    let mut client = Tls::client(proxy.connect(&service), &old, "a.test");
    assert_eq!(client.shake(), Err(End::Alert(AlertDescription::ProtocolVersion)));
    proxy.cut(client, &service, "client/handshake/tls");
    proxy.finish();
}
