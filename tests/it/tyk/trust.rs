//! Whom definitions believe: clients by mutual TLS, targets by pinned keys and certificates; and
//! where targets are found.

use std::sync::Arc;

use rustls::ServerConfig;
use serde_json::{Value, json};

use super::{Apis, CLOSED, service};
use crate::support::backend::Backend;
use crate::support::certs::{Authority, Issued};
use crate::support::ports::free_port;
use crate::support::registry::{Answer, Registry};
use crate::support::tls::{Dial, Tls, serving};
use crate::support::wait::{SOON, wait_until};

fn pem(issued: &Issued) -> String {
    format!("{}{}", issued.cert_pem(), issued.key_pem())
}

/// A target that says its name over TLS.
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

/// Goal: a port that asks for client certificates lets in whom a definition lists, by an authority or
/// itself, in the handshake, and nobody else; each definition by its own list.
#[test]
fn clients_show_certificates() {
    let (servers, clients, strangers) =
        (Authority::new("servers"), Authority::new("clients"), Authority::new("strangers"));
    let apis = Apis::new();
    apis.files
        .put("certs/server.pem", &pem(&servers.issue(&["ca.test", "leaf.test", "open.test"])));
    let (alice, bob) = (clients.issue(&["alice"]), clients.issue(&["bob"]));
    let carol = strangers.issue(&["carol"]);
    apis.files.put("certs/clients.pem", &clients.pem());
    apis.files.put("certs/alice.pem", &alice.cert_pem());
    let backend = Backend::echo();
    let port = free_port();
    let define = |id: &str, listed: Option<&str>| {
        let mut definition = json!({
            "api_id": id, "listen_port": port, "protocol": "tls", "domain": format!("{id}.test"),
            "certificates": ["server"],
            "proxy": { "target_url": format!("tcp://{}", backend.address) }
        });
        if let Some(listed) = listed {
            definition["use_mutual_tls_auth"] = json!(true);
            definition["client_certificates"] = json!([listed]);
        }
        apis.put(id, definition);
    };
    define("ca", Some("clients"));
    define("leaf", Some("alice"));
    define("open", None);
    let mut proxy = apis.start();
    let dial = Dial::trusting(&servers);
    for (id, shown, let_in) in [
        ("ca", None, false),
        ("ca", Some(&alice), true),
        ("ca", Some(&bob), true),
        ("ca", Some(&carol), false),
        ("leaf", None, false),
        ("leaf", Some(&alice), true),
        ("leaf", Some(&bob), false),
        ("leaf", Some(&carol), false),
        ("open", None, true),
    ] {
        let dial = shown.map_or(dial.clone(), |issued| dial.clone().identity(issued));
        let service = service(id, port);
        let name = format!("{id}.test");
        let mut client = Tls::client(proxy.connect(&service), &dial.config(), &name);
        // In TLS 1.3 the client learns it only when it reads.
        let shaken = client.shake();
        let mut buffer = [0; 4];
        let said = shaken.and_then(|()| client.try_send(b"word"));
        let said = said.and_then(|()| client.try_recv(&mut buffer));
        assert_eq!(said.is_ok(), let_in, "{id}: {said:?}");
        if let_in {
            client.fin();
            client.expect_close();
            proxy.ended(client, &service, CLOSED);
        } else {
            proxy.cut(client, &service, "client/handshake/client-certificate");
        }
    }
    proxy.finish();
}

/// Goal: a pinned key is looked for besides the chain; with `ssl_insecure_skip_verify` the key alone
/// is enough, but it must be the target's own; the certificate for the host is shown.
#[test]
fn targets_have_pinned_keys() {
    let (good, other) = (Authority::new("targets"), Authority::new("others"));
    let clients = Authority::new("clients");
    let (leaf, stranger) = (good.issue(&["localhost"]), other.issue(&["localhost"]));
    let apis = Apis::new();
    apis.files.put("certs/leaf.pem", &leaf.cert_pem());
    apis.files.put("certs/stranger.pem", &stranger.cert_pem());
    apis.files.put("certs/shown.pem", &pem(&clients.issue(&["proxy"])));
    let ca = apis.files.put("ca.pem", &good.pem());
    let apis = apis.set("caFile", json!(ca));
    let known = speaking(serving(&leaf, Some(&clients)));
    let unknown = speaking(serving(&stranger, None));
    let cases: [(&str, &Backend, Value, bool); 5] = [
        ("right", &known, json!({ "pinned_public_keys": { "localhost": "leaf" } }), true),
        ("wrong", &known, json!({ "pinned_public_keys": { "localhost": "stranger" } }), false),
        ("no-chain", &unknown, json!({ "pinned_public_keys": { "*": "stranger,leaf" } }), false),
        (
            "alone",
            &unknown,
            json!({ "pinned_public_keys": { "*": "stranger" },
                    "transport": { "ssl_insecure_skip_verify": true } }),
            true,
        ),
        (
            "alone-wrong",
            &unknown,
            json!({ "pinned_public_keys": { "*": "leaf" },
                    "transport": { "ssl_insecure_skip_verify": true } }),
            false,
        ),
    ];
    let ports: Vec<u16> = cases.iter().map(|_| free_port()).collect();
    for ((id, target, more, _), port) in cases.iter().zip(&ports) {
        let mut definition = json!({
            "api_id": id, "listen_port": port, "protocol": "tcp",
            "upstream_certificates": { "localhost": "shown" },
            "target_url": format!("tls://localhost:{}", target.address.port()),
        });
        for (key, value) in more.as_object().unwrap() {
            definition[key] = value.clone();
        }
        apis.put(id, definition);
    }
    let mut proxy = apis.start();
    for ((id, _, _, believed), port) in cases.iter().zip(&ports) {
        let service = service(id, *port);
        let client = proxy.connect(&service);
        if *believed {
            client.expect(b"inner");
            client.fin();
            client.expect_eof();
            proxy.ended(client, &service, CLOSED);
        } else {
            client.expect_end();
            proxy.cut(client, &service, "us/connect/certificate");
        }
    }
    proxy.finish();
}

/// Goal: targets are those of the registry, and the last good list stays while it fails.
#[test]
fn targets_are_found() {
    let backend = Backend::name();
    let answer = json!([{ "Service": { "Address": "127.0.0.1", "Port": backend.address.port() } }]);
    let registry = Registry::start(Answer::Json(answer));
    let port = free_port();
    let apis = Apis::new();
    apis.put(
        "found",
        json!({
            "api_id": "found", "listen_port": port, "protocol": "tcp",
            "proxy": { "service_discovery": {
                "use_discovery_service": true, "query_endpoint": registry.url("/"),
                "use_target_list": true, "endpoint_returns_list": true, "cache_disabled": true,
                "data_path": "Service.Address", "port_data_path": "Service.Port",
            } },
        }),
    );
    let mut proxy = apis.start();
    let service = service("found", port);
    let mut reached = || {
        let peer = proxy.connect(&service);
        peer.fin();
        let (name, _) = peer.recv_to_end();
        let found = !name.is_empty();
        if found {
            proxy.ended(peer, &service, CLOSED);
        } else {
            proxy.cut(peer, &service, "us/connect/*");
        }
        found
    };
    wait_until("the list", SOON, &mut reached);
    registry.say(Answer::Json(json!([])));
    registry.wait_asked(2);
    assert!(reached(), "an empty answer is none");
    proxy.finish();
}
