//! Whole configurations: what is refused and where, what is accepted and as what, and that no text
//! at all makes the checks fall over.

use std::path::Path;
use std::time::Duration;

use super::checked::{
    Address, Balancing, Checked, Cores, Fallbacks, IoUring, OnRemoved, Rule, SendHeader, Service,
    Target, Tls, Tlvs,
};
use super::pattern::Pattern;
use super::{Loaded, load, load_text};
use crate::diagnostics::{Diagnostic, Severity, lookup};

mod accepted;
mod admission;
mod compose;
mod events;
mod names;
mod native;
mod ports;
mod proxy;
mod refused;
mod sources;
mod tls;

/// Checks a text as if it lay in `/etc/thalweg`.
fn read(text: &str) -> Loaded {
    let loaded = load_text(text, Path::new("/etc/thalweg"));
    let errors = loaded.errors();
    assert_eq!(loaded.checked.is_none(), errors > 0, "{:#?}", loaded.diagnostics);
    for finding in &loaded.diagnostics {
        let code = lookup(finding.code).expect("every code is in the table");
        assert_eq!(code.severity, finding.severity);
    }
    loaded
}

/// The configuration, which must be free of errors and warnings.
fn good(text: &str) -> Checked {
    let loaded = read(text);
    let notable = |severity| severity > Severity::Info;
    assert!(!loaded.diagnostics.iter().any(|f| notable(f.severity)), "{:#?}", loaded.diagnostics);
    loaded.checked.expect("no errors")
}

/// The only service of a configuration that is `services[0]` with these members.
fn service(members: &str) -> Service {
    good(&one(members)).services.pop().expect("one service")
}

/// A configuration of one service that is sound but for these further members.
fn one(members: &str) -> String {
    let comma = if members.is_empty() { "" } else { "," };
    let rules = if members.contains("\"rules\"") {
        ""
    } else {
        ", \"rules\": [{\"targets\":[{\"host\":\"db\"}]}]"
    };
    format!("{{\"services\":[{{\"id\":\"a\",\"port\":7000{rules}{comma}{members}}}]}}")
}

/// A rule without further conditions.
fn rule(pattern: Pattern, targets: &[Target]) -> Rule {
    let (alpn, sources) = (Vec::new(), Vec::new());
    let balancing = Balancing::RoundRobin;
    let client_certificate = None;
    Rule {
        pattern,
        alpn,
        sources,
        client_certificate,
        balancing,
        targets: targets.into(),
        discoveries: Vec::new(),
    }
}

/// A configuration with certificates, an authority for clients and these services: each an id and
/// members, of which `port` and `rules` have defaults.
fn with_tls(services: &[(&str, &str)]) -> String {
    let service = |(id, members): &(&str, &str)| {
        let port = if members.contains("\"port\"") { "" } else { ", \"port\": 7000" };
        let rules = if members.contains("\"rules\"") {
            ""
        } else {
            ", \"rules\": [{\"targets\":[{\"host\":\"db\"}]}]"
        };
        let comma = if members.is_empty() { "" } else { ", " };
        format!("{{ \"id\": \"{id}\"{port}{rules}{comma}{members} }}")
    };
    let services: Vec<_> = services.iter().map(service).collect();
    format!(
        "{{ \"certificates\": [ {{ \"certFile\": \"a.pem\", \"keyFile\": \"a.key\" }} ],\n\
         \"clientCaFiles\": [ \"ca.pem\" ],\n\"services\": [ {} ] }}",
        services.join(",\n")
    )
}

/// Code and path of every finding that is not a mere remark, in order.
fn faults(text: &str) -> Vec<(&'static str, String)> {
    let notable = read(text).diagnostics.into_iter().filter(|f| f.severity > Severity::Info);
    notable.map(|finding| (finding.code, finding.path)).collect()
}

/// The text of an example configuration.
fn example(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("config").join(name);
    std::fs::read_to_string(path).expect("the example is there")
}

/// The service document of Otoroshi's manual.
const OTOROSHI: &str = r#"{ "services": [ {
  "id": "tcp_service_postgres",
  "name": "PostgreSQL proxy",
  "description": "TCP proxy for the production PostgreSQL cluster",
  "enabled": true,
  "port": 5432,
  "interface": "0.0.0.0",
  "tls": "Enabled",
  "clientAuth": "None",
  "sni": {
    "enabled": true,
    "forwardIfNoMatch": true,
    "forwardsTo": { "host": "postgres-primary.internal", "ip": null, "port": 5432, "tls": false }
  },
  "rules": [ {
    "domain": ".*read.*",
    "targets": [ { "host": "postgres-replica.internal", "ip": null, "port": 5432, "tls": false } ]
  } ],
  "tags": ["database", "production"],
  "metadata": {}
} ] }"#;
