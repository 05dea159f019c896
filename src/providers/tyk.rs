//! Tyk's API definitions, `protocol` `tcp` and `tls`.
//!
//! ```text
//! files ─▶ definition ─▶ api ─┬─ certificates (server, clients)  ─▶ ports ─▶ services
//! tyk.conf ─▶ gateway ────────┼─ upstream ─▶ speech (transport)
//!                             └─ checks
//! ```
//! Where the documentation and the gateway's code differ, the documentation holds. Where it is
//! silent, what the code does, but for what is a fault of it: a port that asks for client certificates
//! never stops to, a pinned key is looked for in a verified chain, a definition has its own targets
//! also on a shared port, and when all its targets are down nothing is connected to.

use serde_json::Value;

use self::certificates::Certificates;
use self::definition::Definition;
use self::gateway::Gateway;
use super::Context;
use super::foreign::Format;
use crate::config::document::Tyk;
use crate::config::networks;
use crate::config::sources::{Document, Owner, Source};
use crate::diagnostics::{BAD_NETWORK, Code, Diagnostic};

mod api;
mod certificates;
mod checks;
mod definition;
mod gateway;
mod ports;
mod speech;
mod transport;
mod upstream;

/// Who may tell by a PROXY header who a client is, unless the main file says so: networks that are
/// not reached from outside (RFC 1918, RFC 6598, RFC 3927, RFC 4193, RFC 4291 §2.5).
const TRUSTED: [&str; 9] = [
    "127.0.0.0/8",
    "10.0.0.0/8",
    "172.16.0.0/12",
    "192.168.0.0/16",
    "100.64.0.0/10",
    "169.254.0.0/16",
    "::1/128",
    "fc00::/7",
    "fe80::/10",
];

/// What the API definitions declare.
pub fn source(context: &Context<'_>) -> Option<Source> {
    let written = context.providers.tyk.as_ref()?;
    let mut source = Source::empty(Owner::Provider("tyk".into()));
    let found = &mut source.diagnostics;
    let Some((gateway, trusted)) = settings(written, context, found) else {
        return Some(source);
    };
    let dir = written.certificate_dir.as_ref().map(|dir| context.dir.join(dir));
    let mut certificates = Certificates::new(dir);
    let mut apis = Vec::new();
    let mut scope = Scope { certificates: &mut certificates, gateway: &gateway, trusted: &trusted };
    for file in context.files.get(&written.files, context.dir, "providers.tyk.files", found) {
        for part in file.parts(Format::Json, found) {
            apis.extend(api::read(part, &mut scope, found));
        }
    }
    for ports::Served { api, document } in ports::share(apis, found) {
        let protocol = if api.tls { "tls" } else { "tcp" };
        source.documents.push(Document {
            place: api.part.place.clone(),
            path: api.part.path.clone(),
            line: Some(api.part.line()),
            text: Value::Object(document).to_string().into(),
            port_is_declared: gateway.allows(protocol, api.port),
        });
    }
    let entry = |entry| serde_json::from_value(entry).ok();
    source.certificates = certificates.entries().into_iter().filter_map(entry).collect();
    Some(source)
}

/// What reading a definition needs.
struct Scope<'a> {
    certificates: &'a mut Certificates,
    gateway: &'a Gateway,
    /// Whose PROXY headers are taken.
    trusted: &'a [String],
}

/// The gateway's configuration and whom to trust. `None`: one of them cannot be used, which was told.
fn settings(
    written: &Tyk,
    context: &Context<'_>,
    found: &mut Vec<Diagnostic>,
) -> Option<(Gateway, Vec<String>)> {
    let trusted = match &written.trusted_proxies {
        None => TRUSTED.map(str::to_owned).to_vec(),
        Some(list) => list.clone(),
    };
    let mut sound = true;
    for (at, network) in trusted.iter().enumerate() {
        if let Err((message, hint)) = networks::parse(network) {
            let path = format!("providers.tyk.trustedProxies[{at}]");
            found.push(Diagnostic::new(&BAD_NETWORK, path, message).hint(hint));
            sound = false;
        }
    }
    let gateway = Gateway::read(written, context, found)?;
    sound.then_some((gateway, trusted))
}

/// Collects what is found in a definition.
struct Faults<'a> {
    found: &'a mut Vec<Diagnostic>,
    /// Something was found for which the definition is not served.
    refused: bool,
    /// Seconds for which the gateway keeps what discovery has found.
    default_cache: Option<i64>,
}

impl Faults<'_> {
    /// Records a finding, once.
    fn tell(&mut self, finding: Diagnostic) {
        self.refused |= finding.is_error();
        if !self.found.contains(&finding) {
            self.found.push(finding);
        }
    }

    /// Records what the definition is refused for.
    fn refuse(
        &mut self,
        definition: &Definition<'_>,
        code: &'static Code,
        path: &str,
        message: impl Into<String>,
    ) {
        self.tell(definition.part.finding(code, path, message));
    }
}

#[cfg(test)]
mod tests;
