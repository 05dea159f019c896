//! Kong's `stream_listen`: the addresses that it listens on, with what is expected there. What is
//! served on them is declared elsewhere: by `TCPIngress`es and by the Gateway API, see
//! [`kubernetes`](super::kubernetes). An address that nothing attaches to is listened on, and its
//! connections are refused.

use std::collections::HashSet;
use std::net::IpAddr;
use std::sync::Arc;

use serde_json::json;

use super::foreign::File;
use super::set;
use crate::config::document::Kong;
use crate::config::sources::{Document, Owner, Source};
use crate::diagnostics::{
    BAD_STREAM_LISTEN, Diagnostic, LISTEN_FLAG_IDLE, LISTEN_NOT_SERVED, visible,
};

mod import;
mod listen;

pub use self::import::{import_files, is_settings};
pub use self::listen::{BadListen, Keepalive, Listen, parse};

/// The variable that wins over the key.
const VARIABLE: &str = "KONG_STREAM_LISTEN";

/// Where the key stands in the main file.
const KEY: &str = "providers.kong.streamListen";

/// The addresses that `stream_listen` names, those that can be served: of the variable, of the main
/// file, or of the files of another provider. `None` if Kong says nothing.
pub fn listens(
    kong: Option<&Kong>,
    files: &[File],
    found: &mut Vec<Diagnostic>,
) -> Option<Vec<Listen>> {
    let kong = kong?;
    let (text, from) = if let Ok(text) = std::env::var(VARIABLE) {
        (text, format!(" (of the variable {VARIABLE})"))
    } else if let Some(text) = &kong.stream_listen {
        (text.clone(), String::new())
    } else {
        (import_files(files)?, " (of the files)".into())
    };
    match parse(&text) {
        Ok(listens) => Some(usable(listens, &from, found)),
        Err(BadListen(message)) => {
            found.push(Diagnostic::new(&BAD_STREAM_LISTEN, KEY, format!("{message}{from}")));
            Some(Vec::new())
        }
    }
}

/// Leaves out what cannot be served, and says what has no effect.
fn usable(listens: Vec<Listen>, from: &str, found: &mut Vec<Diagnostic>) -> Vec<Listen> {
    let mut seen = HashSet::new();
    let mut usable = Vec::new();
    for listen in listens {
        let shown = visible(&listen.to_string()).to_string();
        let why = if listen.udp {
            Some("it is for UDP, and only TCP is served")
        } else if listen.address().is_none() {
            Some("its host is a name; write the IP address")
        } else if listen.port == 0 {
            Some("there is no port 0")
        } else if !seen.insert((listen.address(), listen.port)) {
            Some("its address is there before")
        } else {
            None
        };
        if let Some(why) = why {
            let message = format!("`{shown}`{from} is not listened on: {why}");
            found.push(Diagnostic::new(&LISTEN_NOT_SERVED, KEY, message));
            continue;
        }
        let idle: Vec<String> = listen.idle_flags().collect();
        if !idle.is_empty() {
            let message = format!("`{shown}`{from}: nothing follows from {}", idle.join(", "));
            found.push(Diagnostic::new(&LISTEN_FLAG_IDLE, KEY, message));
        }
        usable.push(listen);
    }
    usable
}

/// Refuses what comes to addresses that no document of others is for.
pub fn unattached(listens: &[Listen], taken: &HashSet<(IpAddr, u16)>) -> Source {
    let mut source = Source::empty(Owner::Provider("kong".into()));
    for listen in listens {
        let Some(address) = listen.address() else { continue };
        if taken.contains(&(address, listen.port)) {
            continue;
        }
        let mut service = json!({
            "id": format!("kong/{}", listen.endpoint()),
            "description": "an address of `stream_listen` that nothing attaches to",
            "port": listen.port,
            "interface": address.to_string(),
            "rules": [ { "targets": [ { "reject": true } ] } ],
        });
        if listen.ssl {
            set(&mut service, "tls", "PassThrough");
            set(&mut service, "sni", json!({ "enabled": true }));
        }
        listen.apply(&mut service);
        source.documents.push(Document {
            place: Arc::from("stream_listen"),
            path: String::new(),
            line: None,
            text: service.to_string().into(),
            port_is_declared: true,
        });
    }
    source
}

#[cfg(test)]
mod tests;
