//! `admin`: where the admin API answers, and who may ask.

use std::net::SocketAddr;
use std::path::Path;

use super::listen::Listeners;
use super::{Findings, file};
use crate::config::checked::{Admin, AdminListen};
use crate::config::document;
use crate::config::limits::UNIX_PATH_BYTES_MAX;
use crate::config::place::Place;
use crate::diagnostics::{ADMIN_LISTEN, ADMIN_OPEN, visible};

const FORMS: &str = "\"127.0.0.1:9900\", \"[::1]:9900\" or \"unix:/run/thalweg/admin.sock\"";

/// Checks `admin`; `None` where there is none, or a fault.
pub(super) fn admin(
    written: Option<&document::Admin>,
    dir: &Path,
    listeners: &Listeners<'_>,
    findings: &mut Findings<'_>,
) -> Option<Admin> {
    let written = written?;
    let outer = Place::Root.key("admin");
    let place = outer.key("listen");
    let token = outer.key("tokenFile");
    let token_file = written.token_file.as_deref().map(|path| file(path, dir, &token, findings));
    let Some(text) = written.listen.as_deref() else {
        findings.missing(&outer, "listen", FORMS);
        return None;
    };
    let listen = if let Some(path) = text.strip_prefix("unix:") {
        let empty = path.is_empty();
        let path = dir.join(path);
        if empty || path.file_name().is_none() || path.as_os_str().len() > UNIX_PATH_BYTES_MAX {
            let message = format!("`{}` is not the path of a Unix socket", visible(text));
            findings.add_with(&ADMIN_LISTEN, &place, message, FORMS);
            return None;
        }
        AdminListen::Unix(path)
    } else {
        // As a name only this one cannot mean another machine.
        let literal = match text.strip_prefix("localhost:") {
            Some(port) => format!("127.0.0.1:{port}"),
            None => text.to_owned(),
        };
        match literal.parse::<SocketAddr>() {
            Ok(address) if address.port() != 0 => AdminListen::Tcp(address),
            _ => {
                let message = format!("`{}` is not an address with a port", visible(text));
                findings.add_with(&ADMIN_LISTEN, &place, message, FORMS);
                return None;
            }
        }
    };
    if let AdminListen::Tcp(address) = listen {
        if let Some(service) = listeners.receiver_of(address.ip(), address.port()) {
            let message = format!("{address} is where {service} listens");
            findings.add_with(&ADMIN_LISTEN, &place, message, "give the admin API its own port");
        }
        if !address.ip().is_loopback() && token_file.is_none() && !findings.is_broken(&token) {
            let message = format!(
                "{address} can be reached from elsewhere, and nobody is asked who they are"
            );
            findings.add_with(
                &ADMIN_OPEN,
                &place,
                message,
                "set `admin.tokenFile`, or listen on 127.0.0.1",
            );
        }
    }
    Some(Admin { listen, token_file })
}
