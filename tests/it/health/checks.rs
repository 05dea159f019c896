//! What a check says, to whom, and how it ends.

use std::sync::{Arc, Mutex};

use serde_json::{Value, json};

use super::logged;
use crate::support::backend::Backend;
use crate::support::certs::{Authority, Files};
use crate::support::config::Service;
use crate::support::peer::{End, Peer};
use crate::support::proxy::Proxy;
use crate::support::tls::{Tls, serving};
use crate::support::wait::{SOON, wait_until};

fn checked(id: &str, targets: Value, more: Value) -> Service {
    let mut check = json!({ "interval": "50ms", "timeout": "5s", "rise": 1, "fall": 1 });
    check.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    Service::with_targets(id, targets).set("healthCheck", check)
}

fn at(backend: &Backend) -> Value {
    json!({ "host": "127.0.0.1", "port": backend.address.port() })
}

/// Reads up to the end of a request's head.
fn request(peer: &Peer) -> String {
    let mut request = Vec::new();
    while !request.ends_with(b"\r\n\r\n") {
        match peer.try_recv() {
            Ok(bytes) if !bytes.is_empty() => request.extend(bytes),
            _ => break,
        }
    }
    String::from_utf8(request).unwrap()
}

/// Goal: an HTTP check looks at status and body, says the host, and passes however the body is sent.
/// Method: one service for each answer; those that must fail say why.
#[test]
fn http_status_and_body() {
    let answers: [(&str, &str, Result<(), &str>); 5] = [
        ("plain", "HTTP/1.0 200 OK\r\n\r\n{\"role\": \"leader\"}", Ok(())),
        (
            "chunked",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\n\"role\": \"\r\n7\r\nleader\"\r\n0\r\n\r\n",
            Ok(()),
        ),
        ("replica", "HTTP/1.1 200 OK\r\n\r\n{\"role\": \"replica\"}", Err("closed the connection")),
        (
            "busy",
            "HTTP/1.1 503 Busy\r\n\r\n\"role\": \"leader\"",
            Err("answered HTTP/1.1 503 Busy"),
        ),
        ("other", "220 mail ready\r\n\r\n", Err("which is no HTTP/1.x")),
    ];
    let more = json!({
        "initial": "Down",
        "http": { "path": "/health?full=1", "host": "db.test", "body": "Regex(\"role\": *\"leader\")" },
    });
    let served: Vec<(Backend, Service)> = answers
        .iter()
        .map(|(id, answer, _)| {
            let backend = Backend::serve(|peer: &Peer| {
                let request = request(peer);
                if request.is_empty() {
                    // A check that the end of the proxy has cut short.
                    return;
                }
                assert!(request.starts_with("GET /health?full=1 HTTP/1.1\r\nHost: db.test\r\n"));
                let _ = peer.try_send(answer.as_bytes());
            });
            let service = checked(id, json!([at(&backend)]), more.clone());
            (backend, service)
        })
        .collect();
    let mut proxy = Proxy::start(served.iter().map(|(_, service)| service));
    for ((id, _, expected), (_, service)) in answers.iter().zip(&served) {
        let service_is = format!("service={id} ");
        match expected {
            Ok(()) => logged(&proxy, 1, &["INFO up ", &service_is]),
            Err(reason) => {
                logged(&proxy, 1, &["not up yet: ", reason, &service_is]);
                let refused = proxy.connect(service);
                refused.expect_end();
                proxy.cut(refused, service, "us/connect/no-target");
            }
        }
    }
    proxy.finish();
}

/// Goal: a check over TLS verifies as the target's connections do, and speaks inside of it; where
/// there is nothing to verify by, the handshake is enough.
/// Method: targets with a good and a foreign certificate, one that clients speak TLS with themselves,
/// and one that speaks no TLS.
#[test]
fn over_tls() {
    let (files, ours, theirs) = (Files::new(), Authority::new("ours"), Authority::new("theirs"));
    let ca = files.put("ca.pem", &ours.pem());
    let speaking = |authority: &Authority| {
        let config = Arc::new(serving(&authority.issue(&["db.test"]), None));
        Backend::serve(move |peer: &Peer| {
            let mut tls = Tls::server(peer, &config);
            if tls.shake().is_err() {
                return;
            }
            let mut got = [0; 64];
            if matches!(tls.try_recv(&mut got), Ok(n) if got[..n] == *b"hello") {
                let _ = tls.try_send(b"\x00\x01welcome");
            }
            tls.flush().ok();
            while matches!(tls.try_recv(&mut got), Ok(1..)) {}
        })
    };
    let (good, foreign, plain) = (speaking(&ours), speaking(&theirs), Backend::echo());
    let tls = |backend: &Backend| {
        let mut target = at(backend);
        target["tls"] = json!(true);
        target["serverName"] = json!("db.test");
        target["caFile"] = json!(ca);
        target
    };
    let script = json!({
        "initial": "Down",
        "commands": [
            { "name": "send", "message": "Hex(68 656c6c 6f)" },
            { "name": "expect", "message": "Hex(0001)" },
            { "name": "expect", "message": "Regex(wel(come)?$)" },
        ],
    });
    let handshake = json!({ "initial": "Down", "tls": true });
    let services = [
        checked("good", json!([tls(&good)]), script.clone()),
        checked("foreign", json!([tls(&foreign)]), script),
        checked("through", json!([at(&foreign)]), handshake.clone()),
        checked("plain", json!([at(&plain)]), handshake.clone()),
        checked("strict", json!([tls(&foreign)]), handshake),
    ];
    let proxy = Proxy::start(&services);
    logged(&proxy, 1, &["INFO up ", "service=good "]);
    logged(&proxy, 1, &["INFO up ", "service=through "]);
    let failed = "not up yet: did not finish the TLS handshake: invalid peer certificate";
    logged(&proxy, 1, &[failed, "service=foreign "]);
    logged(&proxy, 1, &[failed, "service=strict "]);
    logged(&proxy, 1, &["not up yet: did not finish the TLS handshake: ", "service=plain "]);
    proxy.finish();
}

/// Goal: a check begins with a PROXY header where the target wants one.
/// Method: targets that answer only after the right one.
#[test]
fn behind_a_proxy_header() {
    let wants = |is_header: fn(&str) -> bool| {
        Backend::serve(move |peer: &Peer| {
            let mut got = Vec::new();
            while let Ok(bytes) = peer.try_recv() {
                got.extend_from_slice(&bytes);
                let text = String::from_utf8_lossy(&got).into_owned();
                if text.strip_suffix("hello").is_some_and(is_header) {
                    let _ = peer.try_send(b"welcome");
                }
                if bytes.is_empty() {
                    return;
                }
            }
        })
    };
    let first =
        wants(|text| text.starts_with("PROXY TCP4 127.0.0.1 127.0.0.1 ") && text.ends_with("\r\n"));
    let second = wants(|text| text == "\r\n\r\n\0\r\nQUIT\n\x20\x00\x00\x00");
    let check = |version| {
        json!({
            "initial": "Down", "proxyProtocol": version,
            "commands": [
                { "name": "send", "message": "hello" }, { "name": "expect", "message": "welcome" },
            ],
        })
    };
    let services = [
        checked("first", json!([at(&first)]), check("V1")),
        checked("second", json!([at(&second)]), check("V2")),
    ];
    let proxy = Proxy::start(&services);
    logged(&proxy, 1, &["INFO up ", "service=first "]);
    logged(&proxy, 1, &["INFO up ", "service=second "]);
    proxy.finish();
}

/// Goal: a check ends in order: the target sees a FIN and no reset, even if it speaks first and nobody
/// listens.
/// Method: targets that send a greeting and see how the other side ends; one check that only
/// connects, one that reads a part, one that fails.
#[test]
fn ends_in_order() {
    let greeting = b"220 mail.test ESMTP, and much more to say than anybody asked for\r\n";
    let expecting = |text: &str| json!({ "commands": [{ "name": "expect", "message": text }] });
    for more in [json!({}), expecting("220 mail"), expecting("550 ")] {
        let ends = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&ends);
        let target = Backend::serve(move |peer: &Peer| {
            let _ = peer.try_send(greeting);
            peer.fin();
            seen.lock().unwrap().push(peer.recv_to_end());
        });
        let proxy = Proxy::start([&checked("svc", json!([at(&target)]), more)]);
        wait_until("three checks", SOON, || ends.lock().unwrap().len() >= 3);
        let ends = std::mem::take(&mut *ends.lock().unwrap());
        assert!(ends.iter().all(|end| *end == (Vec::new(), End::Eof)), "{ends:?}");
        proxy.finish();
    }
}

/// Goal: a target that accepts and says nothing fails the check in time, and the log has what was
/// said and what was waited for; a target that talks without end fails too.
/// Method: one of each.
#[test]
fn silence_and_endless_talk() {
    let silent =
        Backend::serve(|peer: &Peer| while peer.try_recv().is_ok_and(|it| !it.is_empty()) {});
    let endless = Backend::source();
    let mut more = json!({
        "timeout": "2s",
        "commands": [
            { "name": "send", "message": "PING\r\n" }, { "name": "expect", "message": "+PONG" },
        ],
    });
    let quiet = checked("silent", json!([at(&silent)]), more.clone());
    more["timeout"] = json!("20s");
    let loud = checked("endless", json!([at(&endless)]), more);
    let proxy = Proxy::start([&quiet, &loud]);
    let said = r#"said="sent \"PING\\r\\n\"; expected \"+PONG\"""#;
    logged(&proxy, 1, &[r#"down: did not give "+PONG" within 2s"#, said]);
    logged(&proxy, 1, &[r#"down: sent more than 65536 bytes without "+PONG""#, "bytes more"]);
    wait_until("the last check to end", SOON, || silent.live() <= 1);
    proxy.finish();
}
