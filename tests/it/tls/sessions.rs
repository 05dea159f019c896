//! Sessions: who has been here is let in faster, on any core, and nowhere else.

use std::collections::HashSet;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use rustls::{AlertDescription, ClientConfig, ProtocolVersion};
use serde_json::json;

use super::{CLOSED, NAME, Stage};
use crate::support::backend::Backend;
use crate::support::certs::{Authority, Files};
use crate::support::config::{Config, Service};
use crate::support::proxy::{Launch, Proxy};
use crate::support::tls::{Dial, End, Tls};
use crate::support::wait::{SOON, wait_until};

const BOTH: [ProtocolVersion; 2] = [ProtocolVersion::TLSv1_3, ProtocolVersion::TLSv1_2];

/// One request and answer against an echo; whether a session was resumed.
#[track_caller]
fn visit(proxy: &mut Proxy, service: &Service, config: &Arc<ClientConfig>) -> bool {
    let mut client = Tls::dial(proxy.connect(service), config, NAME);
    client.send(b"hello");
    // Reading the answer also reads the tickets.
    client.expect(b"hello");
    client.fin();
    client.expect_close();
    let resumed = client.resumed();
    proxy.ended(client, service, CLOSED);
    resumed
}

/// Goal: a session is resumed whichever core it meets, and after a reload.
/// Method: one visit, then a dozen more, which meet every core; a reload that changes something else;
/// a dozen more.
#[test]
fn resumed_on_every_core_and_after_a_reload() {
    let echo = Backend::echo();
    let authority = Authority::new("servers");
    let files = Files::new();
    let pair = files.pair("a", &authority.issue(&[NAME]));
    let service = Service::new("svc", &[echo.address]).set("tls", json!("Enabled"));
    let config = Config::new([&service]).set("certificates", json!([pair]));
    let mut proxy = Launch::new(config.clone()).start();
    for version in BOTH {
        let client = Dial::trusting(&authority).version(version).config();
        assert!(!visit(&mut proxy, &service, &client), "a first visit");
        for turn in 0..12 {
            assert!(visit(&mut proxy, &service, &client), "{version:?}, turn {turn}");
        }
        // The second part of an event's number is its core's.
        let met = || {
            let events = proxy.events();
            let ours = events.iter().filter(|event| event.text("@serviceId") == "svc");
            let cores = ours.filter_map(|event| event.text("@id").split('-').nth(1));
            cores.map(str::to_owned).collect::<HashSet<_>>().len()
        };
        let cores = thread::available_parallelism().unwrap().get();
        wait_until("visits to more than one core", SOON, || met() >= cores.min(2));
        let other = Service::new(&format!("other-{version:?}"), &[echo.address]);
        let said = proxy.reload(&config.clone().with(&other));
        assert!(!said.contains("refused"), "{said}");
        proxy.rebase();
        for turn in 0..12 {
            assert!(visit(&mut proxy, &service, &client), "{version:?} reloaded, turn {turn}");
        }
        // A new certificate costs nobody a session.
        files.pair("a", &authority.issue(&[NAME]));
        let said = proxy.reload_file();
        assert!(!said.contains("refused"), "{said}");
        assert!(visit(&mut proxy, &service, &client), "{version:?}, another certificate");
    }
    proxy.finish();
}

/// Goal: a session of a service that asks nothing of its clients opens no door of one that does.
/// Method: visits to the first; then the client, with the same memory and name, knocks at the second.
#[test]
fn sessions_stay_with_their_service() {
    let echo = Backend::echo();
    let (authority, clients) = (Authority::new("servers"), Authority::new("clients"));
    let files = Files::new();
    let pair = files.pair("a", &authority.issue(&[NAME]));
    let open = Service::new("open", &[echo.address]).set("tls", json!("Enabled"));
    let guarded = Service::new("guarded", &[echo.address])
        .set("tls", json!("Enabled"))
        .set("clientAuth", json!("Need"))
        .set("clientCaFiles", json!([files.put("ca.pem", &clients.pem())]));
    let config = Config::new([&open, &guarded]).set("certificates", json!([pair]));
    let mut proxy = Launch::new(config).start();
    for version in BOTH {
        let client = Dial::trusting(&authority).version(version).config();
        visit(&mut proxy, &open, &client);
        assert!(visit(&mut proxy, &open, &client));
        for _ in 0..6 {
            let mut client = Tls::client(proxy.connect(&guarded), &client, NAME);
            let end = client.shake().and_then(|()| client.try_recv(&mut [0; 9]).map(drop));
            let expected = match version {
                ProtocolVersion::TLSv1_3 => AlertDescription::CertificateRequired,
                _ => AlertDescription::HandshakeFailure,
            };
            let end = end.expect_err("let in");
            assert!(
                end == End::Alert(expected)
                    || end == End::Alert(AlertDescription::CertificateRequired),
                "{end:?}"
            );
            assert!(!client.resumed());
            proxy.cut(client, &guarded, "client/handshake/client-certificate");
        }
        // One that is let in is so again, and the first visit was a full one.
        let known = Dial::trusting(&authority)
            .version(version)
            .identity(&clients.issue(&["client"]))
            .config();
        visit(&mut proxy, &open, &known);
        assert!(!visit(&mut proxy, &guarded, &known), "a session crossed over");
        assert!(visit(&mut proxy, &guarded, &known));
    }
    proxy.finish();
}

/// Goal: a service that begins to ask for certificates, or takes back whom it trusts, forgets the
/// sessions of before.
#[test]
fn a_reload_that_asks_more_forgets_sessions() {
    let echo = Backend::echo();
    let (authority, clients) = (Authority::new("servers"), Authority::new("clients"));
    let files = Files::new();
    let pair = files.pair("a", &authority.issue(&[NAME]));
    let ca = files.put("ca.pem", &clients.pem());
    let alice = clients.issue(&["alice"]);
    let crl = files.put("crl.pem", &clients.crl(&[]));
    let open = Service::new("svc", &[echo.address]).set("tls", json!("Enabled"));
    let guarded = open
        .clone()
        .set("clientAuth", json!("Need"))
        .set("clientCaFiles", json!([ca]))
        .set("clientCrlFiles", json!([crl]));
    let config = |service| Config::new([service]).set("certificates", json!([pair.clone()]));
    let mut proxy = Launch::new(config(&open)).start();
    let nobody = Dial::trusting(&authority).config();
    let known = Dial::trusting(&authority).identity(&alice).config();
    visit(&mut proxy, &open, &nobody);
    assert!(visit(&mut proxy, &open, &nobody));
    proxy.reload(&config(&guarded));
    let mut client = Tls::client(proxy.connect(&guarded), &nobody, NAME);
    let end = client.shake().and_then(|()| client.try_recv(&mut [0; 9]).map(drop));
    assert_eq!(end, Err(End::Alert(AlertDescription::CertificateRequired)));
    proxy.cut(client, &guarded, "client/handshake/client-certificate");
    assert!(!visit(&mut proxy, &guarded, &known));
    assert!(visit(&mut proxy, &guarded, &known));
    files.put("crl.pem", &clients.crl(&[&alice]));
    proxy.reload_file();
    let mut client = Tls::client(proxy.connect(&guarded), &known, NAME);
    let end = client.shake().and_then(|()| client.try_recv(&mut [0; 9]).map(drop));
    assert_eq!(end, Err(End::Alert(AlertDescription::CertificateRevoked)));
    proxy.cut(client, &guarded, "client/handshake/client-certificate");
    proxy.finish();
}

/// Goal: a session does not outlive the client certificate that it was given for.
/// Method: a certificate of a few seconds, a visit while it holds, another after its end.
#[test]
fn a_session_ends_with_its_certificate() {
    let echo = Backend::echo();
    let (authority, clients) = (Authority::new("servers"), Authority::new("clients"));
    let files = Files::new();
    let pair = files.pair("a", &authority.issue(&[NAME]));
    let service = Service::new("svc", &[echo.address])
        .set("tls", json!("Enabled"))
        .set("clientAuth", json!("Need"))
        .set("clientCaFiles", json!([files.put("ca.pem", &clients.pem())]));
    let config = Config::new([&service]).set("certificates", json!([pair]));
    let mut proxy = Launch::new(config).start();
    let start = std::time::Instant::now();
    let brief = clients.issue_until(&["brief"], Duration::from_secs(5));
    let dials =
        BOTH.map(|version| Dial::trusting(&authority).version(version).identity(&brief).config());
    for client in &dials {
        visit(&mut proxy, &service, client);
        assert!(visit(&mut proxy, &service, client));
    }
    wait_until("the end of the certificate", SOON, || {
        start.elapsed() > Duration::from_millis(7000)
    });
    for client in &dials {
        let mut client = Tls::client(proxy.connect(&service), client, NAME);
        let end = client.shake().and_then(|()| {
            client.try_send(b"hello")?;
            client.try_recv(&mut [0; 9]).map(drop)
        });
        assert_eq!(end, Err(End::Alert(AlertDescription::CertificateExpired)));
        proxy.cut(client, &service, "client/handshake/client-certificate");
    }
    proxy.finish();
}

/// Goal: a ticket that was made up, or changed, is no reason to fail: the handshake is a full one.
#[test]
fn restarted_proxies_shake_hands_anew() {
    let mut stage = Stage::new();
    let config = stage.client();
    let (mut client, up) = stage.open(&config);
    up.send(b"x");
    client.expect(b"x");
    client.fin();
    up.expect_eof();
    up.close();
    client.expect_close();
    stage.proxy.ended(client, &stage.service, CLOSED);
    let Stage { proxy, service, upstream, authority, files } = stage;
    proxy.finish();
    let pair = files.pair("b", &authority.issue(&[NAME]));
    let proxy = Launch::new(Config::new([&service]).set("certificates", json!([pair]))).start();
    let mut stage = Stage { proxy, service, upstream, authority, files };
    let (mut client, up) = stage.open(&config);
    assert!(!client.resumed());
    client.fin();
    up.expect_eof();
    up.close();
    client.expect_close();
    stage.proxy.ended(client, &stage.service, CLOSED);
    stage.proxy.finish();
}
