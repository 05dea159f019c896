//! Several definitions on one port, told apart by the name that clients ask for; and PROXY headers
//! before it.

use std::sync::Arc;

use rustls::ClientConfig;
use serde_json::{Value, json};

use super::{Apis, CLOSED, service};
use crate::support::backend::{Backend, echo};
use crate::support::certs::Authority;
use crate::support::config::Service;
use crate::support::peer::{Outcome, Peer};
use crate::support::ports::free_port;
use crate::support::proxy::Proxy;
use crate::support::tls::{Dial, Tls};

/// A server that says its name.
fn named(name: &'static str) -> Backend {
    Backend::serve(move |peer| {
        if peer.try_send(name.as_bytes()).is_ok() {
            echo(peer);
        }
    })
}

/// Definitions of TLS, by domain.
struct Stage {
    apis: Apis,
    first: Backend,
    second: Backend,
    port: u16,
    client: Arc<ClientConfig>,
}

impl Stage {
    fn new() -> Stage {
        let authority = Authority::new("servers");
        let apis = Apis::new();
        let names = ["localhost", "example.com", "wrong", "a.example.com", "127.0.0.1"];
        let issued = authority.issue(&names);
        let pem = format!("{}{}", issued.cert_pem(), issued.key_pem());
        apis.files.put("certs/5e9d.pem", &pem);
        let (first, second) = (named("first"), named("second"));
        let client = Dial::trusting(&authority).config();
        Stage { apis, first, second, port: free_port(), client }
    }

    fn define(&self, id: &str, domain: &str, target: &Backend, more: Value) {
        let mut definition = json!({
            "api_id": id, "listen_port": self.port, "protocol": "tls", "domain": domain,
            "certificates": ["5e9d"],
            "proxy": { "target_url": format!("tcp://{}", target.address) }
        });
        for (key, value) in more.as_object().unwrap() {
            definition[key] = value.clone();
        }
        self.apis.put(id, definition);
    }

    /// Asks for a name (an address: for none) and is led to the server that says this.
    #[track_caller]
    fn reaches(&self, proxy: &mut Proxy, name: &str, id: &str, says: &str) {
        let service = service(id, self.port);
        let mut client = Tls::dial(proxy.connect(&service), &self.client, name);
        client.expect(says.as_bytes());
        client.send(b"ping");
        client.expect(b"ping");
        client.fin();
        client.expect_close();
        proxy.ended(client, &service, CLOSED);
    }

    /// Asks for a name and is refused.
    #[track_caller]
    fn is_refused(&self, proxy: &mut Proxy, name: &str, reason: &str) {
        let any: Service = service("nobody", self.port);
        let mut client = Tls::client(proxy.connect(&any), &self.client, name);
        assert!(client.shake().is_err(), "{name} got in");
        proxy.refused(client, reason);
    }
}

const NOBODY: &str = "us/route/no-match";
const NAMELESS: &str = "us/route/no-name";
/// Clients ask for no name where they have only an address.
const NONE: &str = "127.0.0.1";

/// Goal: the lookup of names is that of Tyk's own tests, case by case.
#[test]
fn lookup() {
    // A single target without a domain: with or without a name.
    let stage = Stage::new();
    stage.define("a", "", &stage.first, json!({}));
    let mut proxy = stage.apis.start();
    stage.reaches(&mut proxy, NONE, "a", "first");
    stage.reaches(&mut proxy, "localhost", "a", "first");
    let config = stage.apis.config();

    // A single target with a domain: its name, or none, and no other.
    stage.define("a", "LocalHost", &stage.first, json!({}));
    proxy.reload(&config);
    stage.reaches(&mut proxy, "localhost", "a", "first");
    stage.reaches(&mut proxy, NONE, "a", "first");
    stage.is_refused(&mut proxy, "example.com", NOBODY);

    // Several: each its name, and nobody else.
    stage.define("b", "example.com", &stage.second, json!({}));
    proxy.reload(&config);
    stage.reaches(&mut proxy, "localhost", "a", "first");
    stage.reaches(&mut proxy, "example.com", "b", "second");
    stage.is_refused(&mut proxy, "wrong", NOBODY);
    stage.is_refused(&mut proxy, NONE, NAMELESS);

    // One of them is for all other names, whatever the order of the files.
    stage.define("a", "", &stage.first, json!({}));
    proxy.reload(&config);
    stage.reaches(&mut proxy, "example.com", "b", "second");
    stage.reaches(&mut proxy, "wrong", "a", "first");
    stage.is_refused(&mut proxy, NONE, NAMELESS);

    // A name wins over one with `*`.
    stage.define("a", "*.example.com", &stage.first, json!({}));
    stage.define("b", "a.example.com", &stage.second, json!({}));
    proxy.reload(&config);
    stage.reaches(&mut proxy, "a.example.com", "b", "second");
    proxy.finish();
}

/// Goal: the PROXY header comes first and TLS after it; who sends none is refused, and so is who may
/// not.
#[test]
fn headers_come_before_tls() {
    let stage = Stage::new();
    stage.define("a", "localhost", &stage.first, json!({ "enable_proxy_protocol": true }));
    stage.define("b", "example.com", &stage.second, json!({ "enable_proxy_protocol": true }));
    let mut proxy = stage.apis.start();
    let header = b"PROXY TCP4 192.0.2.7 198.51.100.9 777 443\r\n";
    let service = service("b", stage.port);
    let peer: Peer = proxy.connect(&service);
    peer.send(header);
    let mut client = Tls::dial(peer, &stage.client, "example.com");
    client.expect(b"second");
    client.fin();
    client.expect_close();
    proxy.ended(Outcome { port: 777, ..client.outcome() }, &service, CLOSED);
    let mut bare = Tls::client(proxy.connect(&service), &stage.client, "example.com");
    assert!(bare.shake().is_err());
    proxy.refused(bare, "us/header/no-header");
    proxy.finish();
}
