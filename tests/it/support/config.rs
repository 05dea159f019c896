//! Configurations, as documents: what a user would write, and no shortcut into the program.

use std::fmt::Display;
use std::net::SocketAddr;

use serde_json::{Value, json};

use super::ports::{free_port, loopback};

/// A whole configuration file.
#[derive(Debug, Clone)]
pub struct Config {
    document: Value,
}

impl Config {
    /// With these services, events in `events.ndjson`, every core.
    pub fn new<'a>(services: impl IntoIterator<Item = &'a Service>) -> Config {
        let services: Vec<Value> =
            services.into_iter().map(|service| service.document.clone()).collect();
        Config {
            document: json!({
                "workers": { "cores": "all" },
                "events": { "file": "events.ndjson" },
                // Ports come from the kernel.
                "disablePortsWhitelist": true,
                "services": services,
            }),
        }
    }

    /// Sets a member of the top level.
    #[must_use]
    pub fn set(mut self, member: &str, value: Value) -> Config {
        self.document[member] = value;
        self
    }

    /// Appends a service.
    #[must_use]
    pub fn with(mut self, service: &Service) -> Config {
        if let Some(services) = self.document["services"].as_array_mut() {
            services.push(service.document.clone());
        }
        self
    }

    pub fn text(&self) -> String {
        format!("{:#}\n", self.document)
    }
}

/// One service, listening on a loopback port of its own.
#[derive(Debug, Clone)]
pub struct Service {
    pub id: String,
    pub address: SocketAddr,
    document: Value,
}

impl Service {
    pub fn new(id: &str, targets: &[SocketAddr]) -> Service {
        let targets = targets
            .iter()
            .map(|address| json!({ "host": address.ip().to_string(), "port": address.port() }));
        Service::with_targets(id, targets.collect())
    }

    /// One target given by name: a host name, or `unix:/path`.
    pub fn to_host(id: &str, host: impl Display, port: u16) -> Service {
        Service::with_targets(id, json!([{ "host": host.to_string(), "port": port }]))
    }

    pub fn with_targets(id: &str, targets: Value) -> Service {
        let port = free_port();
        Service {
            id: id.to_owned(),
            address: loopback(port),
            document: json!({
                "id": id,
                "name": format!("the service {id}"),
                "port": port,
                "interface": "127.0.0.1",
                "rules": [{ "domain": "*", "targets": targets }],
            }),
        }
    }

    /// Sets a member of the service.
    #[must_use]
    pub fn set(mut self, member: &str, value: Value) -> Service {
        self.document[member] = value;
        self
    }

    /// The same service on this port.
    #[must_use]
    pub fn on_port(mut self, port: u16) -> Service {
        self.address = loopback(port);
        self.set("port", json!(port))
    }

    pub fn port(&self) -> u16 {
        self.address.port()
    }
}
