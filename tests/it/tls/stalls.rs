//! Handshakes that do not get on.

use serde_json::{Value, json};

use super::{CLOSED, NAME, Stage};
use crate::support::heavy;
use crate::support::peer::{Outcome, Peer};
use crate::support::tls::{Dial, End, Tls};
use crate::support::wait::{SOON, wait_until};

/// Goal: handshakes that stall are all cut at their deadline, and others succeed meanwhile.
/// Method: 500 clients send a hello and nothing more; one shakes hands among them.
#[test]
fn stalled_handshakes() {
    const COUNT: usize = 500;
    let _alone = heavy();
    let mut stage = Stage::with(|service| service.set("timeouts", json!({ "handshake": "2s" })));
    let config = stage.client();
    let clients: Vec<Peer> = (0..COUNT)
        .map(|_| {
            let mut client = Tls::client(stage.proxy.connect(&stage.service), &config, NAME);
            client.flush().unwrap();
            client.peer
        })
        .collect();
    let (mut client, up) = stage.open(&config);
    client.send(b"among them");
    up.expect(b"among them");
    let growth = stage.proxy.growth_kib();
    assert!(growth < 60 * 1024, "grown by {growth} KiB");
    client.fin();
    up.expect_eof();
    up.close();
    client.expect_close();
    stage.proxy.ended(client, &stage.service, CLOSED);
    for client in &clients {
        client.recv_to_end();
    }
    stage.proxy.ended_many(COUNT, "client/handshake/deadline");
    drop(clients);
    stage.proxy.finish();
}

/// Goal: a client that gives up in mid-handshake, in whatever way, is accounted for as such.
#[test]
fn broken_off() {
    let mut stage = Stage::new();
    let config = stage.client();
    for (how, reason) in [
        ("reset", "client/handshake/reset"),
        ("fin", "client/handshake/left"),
        ("alert", "client/handshake/alert"),
        ("nonsense", "client/handshake/tls"),
        ("data", "client/handshake/tls"),
    ] {
        let mut client = Tls::client(stage.proxy.connect(&stage.service), &config, NAME);
        client.flush().unwrap();
        let flight = client.peer.recv_exact(100);
        assert_eq!(flight[0], 22);
        match how {
            "reset" => {
                let outcome = Outcome { sent: 0, received: 0, ..client.rst() };
                stage.proxy.cut(outcome, &stage.service, reason);
                continue;
            }
            "fin" => client.peer.fin(),
            "alert" => client.peer.send(&[21, 3, 3, 0, 2, 2, 48]),
            "nonsense" => client.peer.send(b"nonsense, and a lot of it"),
            _ => client.peer.send(&[
                23, 3, 3, 0, 20, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19,
                20,
            ]),
        }
        client.peer.recv_to_end();
        let outcome = Outcome { sent: 0, received: 0, ..client.outcome() };
        drop(client);
        stage.proxy.cut(outcome, &stage.service, reason);
    }
    stage.proxy.finish();
}

/// Goal: a client that does not trust us, and one that we share nothing with, are told apart.
#[test]
fn nothing_in_common() {
    let mut stage = Stage::new();
    let stranger = Dial::trusting(&crate::support::certs::Authority::new("others")).config();
    let mut client = Tls::client(stage.proxy.connect(&stage.service), &stranger, NAME);
    assert!(matches!(client.shake(), Err(End::Fault(_))));
    let port = client.peer.port();
    stage.proxy.cut(client, &stage.service, "client/handshake/alert");
    let event = stage.proxy.event_of(port);
    assert!(event.text("gwError").contains("UnknownCA"), "{}", event.text("gwError"));
    // A hello of TLS 1.1: the version is the only thing it has.
    let hello = [&[22, 3, 1, 0, 45, 1, 0, 0, 41, 3, 2][..], &[5; 32], &[0, 0, 2, 0xc0, 0x13, 1, 0]]
        .concat();
    let client = stage.proxy.connect(&stage.service);
    client.send(&hello);
    let (said, _) = client.recv_to_end();
    assert!(matches!(said[..], [21, 3, _, 0, 2, 2, 40 | 70]), "{said:?}");
    let outcome = Outcome { received: 0, ..client.outcome() };
    stage.proxy.refused(outcome, "client/handshake/tls");
    stage.proxy.finish();
}

/// Goal: the event of a connection says what was agreed on, and counts plaintext.
#[test]
fn events() {
    let mut stage = Stage::with(|service| {
        service.set("alpn", json!(["h2"])).set("sni", json!({ "enabled": true }))
    });
    for (version, text) in [
        (rustls::ProtocolVersion::TLSv1_3, "TLSv1.3"),
        (rustls::ProtocolVersion::TLSv1_2, "TLSv1.2"),
    ] {
        let config = Dial::trusting(&stage.authority).version(version).alpn(&["x", "h2"]).config();
        let (mut client, up) = stage.open(&config);
        client.send(&[1; 12_345]);
        up.recv_exact(12_345);
        up.send(&[2; 54_321]);
        client.recv_exact(54_321);
        client.fin();
        up.expect_eof();
        up.close();
        client.expect_close();
        let port = client.peer.port();
        stage.proxy.ended(client, &stage.service, CLOSED);
        let event = stage.proxy.event_of(port);
        let members =
            ["sni", "alpn", "tlsVersion", "relay", "protocol"].map(|name| event.text(name));
        assert_eq!(members, [NAME, "h2", text, "tls", "Tcp/Tls"]);
        assert_eq!((event.data_in(), event.data_out()), (12_345, 54_321));
        let own = stage.service.port();
        let to = json!({
            "host": format!("{NAME}:{own}"), "scheme": "tls", "uri": format!("tls://{NAME}:{own}"),
        });
        assert_eq!(event.0["to"], to);
        assert_eq!(event.0["gwError"], Value::Null);
    }
    // Nobody asked for a name.
    let config = Dial::trusting(&stage.authority).config();
    let mut client = Tls::client(stage.proxy.connect(&stage.service), &config, "");
    assert!(client.shake().is_err());
    let port = client.peer.port();
    stage.proxy.refused(client, "*");
    let event = stage.proxy.event_of(port);
    assert_eq!((&event.0["sni"], &event.0["tlsVersion"]), (&Value::Null, &Value::Null));
    assert_eq!(event.0["to"]["host"], "no-sni");
    wait_until("nothing more", SOON, || stage.upstream.try_accept().is_none());
    stage.proxy.finish();
}
