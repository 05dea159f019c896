//! TLS: passed through by name, ended here, spoken to targets. A name or a certificate decides
//! where a connection goes and what it may; the bytes are as exact as without TLS.

use std::sync::Arc;

use rustls::ClientConfig;
use serde_json::{Value, json};

use crate::support::backend::Manual;
use crate::support::certs::{Authority, Files};
use crate::support::config::{Config, Service};
use crate::support::peer::Peer;
use crate::support::proxy::{Launch, Proxy};
use crate::support::tls::{Dial, Tls};

mod certificates;
mod client_auth;
mod http_host;
mod passthrough;
mod postgres;
mod reload;
mod sessions;
mod stalls;
mod targets;
mod termination;

const MIB: u64 = 1 << 20;
const CLOSED: &str = "*/relay/closed";
/// The name that most tests ask for.
const NAME: &str = "a.test";

/// Targets of a rule.
fn targets(addresses: &[std::net::SocketAddr]) -> Value {
    addresses
        .iter()
        .map(|address| json!({ "host": address.ip().to_string(), "port": address.port() }))
        .collect()
}

/// A service that ends TLS, in front of one upstream that the test drives by hand, and what a test
/// needs to talk to it.
struct Stage {
    proxy: Proxy,
    service: Service,
    upstream: Manual,
    authority: Authority,
    files: Files,
}

impl Stage {
    fn new() -> Stage {
        Stage::with(|service| service)
    }

    /// With a service that was adjusted.
    fn with(adjust: impl FnOnce(Service) -> Service) -> Stage {
        let upstream = Manual::start();
        let authority = Authority::new("servers");
        let files = Files::new();
        let pair = files.pair("a", &authority.issue(&[NAME]));
        let service = Service::new("svc", &[upstream.address]).set("tls", json!("Enabled"));
        let service = adjust(service);
        let config = Config::new([&service]).set("certificates", json!([pair]));
        let proxy = Launch::new(config).start();
        Stage { proxy, service, upstream, authority, files }
    }

    fn client(&self) -> Arc<ClientConfig> {
        Dial::trusting(&self.authority).config()
    }

    /// A client that has shaken hands, and the upstream it came to.
    #[track_caller]
    fn open(&self, config: &Arc<ClientConfig>) -> (Tls, Peer) {
        let client = Tls::dial(self.proxy.connect(&self.service), config, NAME);
        (client, self.upstream.accept())
    }
}
