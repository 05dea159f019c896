//! `admin`: where the admin API answers, and who may ask.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use super::listen::Listeners;
use super::{Findings, file, files};
use crate::config::checked::{Admin, AdminListen, AdminTls, KeyPair};
use crate::config::document::{self, Listens};
use crate::config::limits::{ADMIN_LISTENS_MAX, UNIX_MODE_DEFAULT, UNIX_PATH_BYTES_MAX};
use crate::config::place::Place;
use crate::diagnostics::{
    ADMIN_CLEAR, ADMIN_KEY_IDLE, ADMIN_LISTEN, ADMIN_OPEN, ADMIN_TLS, BAD_VALUE, visible,
};

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
    let (token, read_token) = (outer.key("tokenFile"), outer.key("readTokenFile"));
    let token_file = written.token_file.as_deref().map(|path| file(path, dir, &token, findings));
    let read_token_file =
        written.read_token_file.as_deref().map(|path| file(path, dir, &read_token, findings));
    let tls = tls(written, dir, &outer, findings);
    let hosts = hosts(&written.hosts, &outer, findings);
    let unix_mode = unix_mode(written, &outer, findings);
    let has_token = token_file.is_some() || read_token_file.is_some();
    if written.require_token && !has_token {
        let message = "`requireToken` is set, but there is no token: nobody could ask for anything";
        findings.add_with(&ADMIN_OPEN, &outer.key("requireToken"), message, "set `tokenFile`");
    }
    let Some(listen) = &written.listen else {
        findings.missing(&outer, "listen", FORMS);
        return None;
    };
    let place = outer.key("listen");
    let listens = match listen {
        Listens::One(text) => vec![one(text, dir, &place, listeners, findings)?],
        Listens::Many(texts) => several(texts, &place, findings, |text, place, findings| {
            one(text, dir, place, listeners, findings)
        })?,
    };
    let broken = findings.is_broken(&token) || findings.is_broken(&read_token);
    let mut is_remote = false;
    for listen in &listens {
        let AdminListen::Tcp(address) = listen else { continue };
        if address.ip().is_loopback() {
            continue;
        }
        is_remote = true;
        if !has_token && !broken {
            let message = format!(
                "{address} can be reached from elsewhere, and nobody is asked who they are"
            );
            let hint = "set `admin.tokenFile`, or listen on 127.0.0.1";
            findings.add_with(&ADMIN_OPEN, &place, message, hint);
        }
    }
    if is_remote && has_token && tls.is_none() && !findings.is_broken(&outer.key("certFile")) {
        let message = "the token crosses the network in clear";
        let hint = "set `admin.certFile` and `keyFile`, or listen on 127.0.0.1";
        findings.add_with(&ADMIN_CLEAR, &place, message, hint);
    }
    let has = |unix: bool| listens.iter().any(|it| matches!(it, AdminListen::Unix(_)) == unix);
    for (key, given, used, what) in [
        ("certFile", tls.is_some(), has(false), "no address is listened on"),
        ("unixMode", written.unix_mode.is_some(), has(true), "there is no Unix socket"),
    ] {
        if given && !used {
            let message = format!("`{key}` has no effect: {what}");
            findings.add(&ADMIN_KEY_IDLE, &outer.key(key), message);
        }
    }
    let require_token = written.require_token;
    Some(Admin { listens, token_file, read_token_file, require_token, tls, hosts, unix_mode })
}

/// The places of an array: at least one, none twice.
fn several(
    texts: &[String],
    place: &Place<'_>,
    findings: &mut Findings<'_>,
    one: impl Fn(&str, &Place<'_>, &mut Findings<'_>) -> Option<AdminListen>,
) -> Option<Vec<AdminListen>> {
    if texts.is_empty() || texts.len() > ADMIN_LISTENS_MAX {
        let message = format!("`listen` has {} entries; 1 to {ADMIN_LISTENS_MAX} go", texts.len());
        findings.add_with(&ADMIN_LISTEN, place, message, FORMS);
        return None;
    }
    let mut listens = Vec::new();
    let mut sound = true;
    for (at, text) in texts.iter().enumerate() {
        let place = place.index(at);
        match one(text, &place, findings) {
            Some(listen) if listens.contains(&listen) => {
                let message = format!("`{}` stands here twice", visible(text));
                findings.add_with(&ADMIN_LISTEN, &place, message, "remove one of them");
                sound = false;
            }
            Some(listen) => listens.push(listen),
            None => sound = false,
        }
    }
    sound.then_some(listens)
}

fn one(
    text: &str,
    dir: &Path,
    place: &Place<'_>,
    listeners: &Listeners<'_>,
    findings: &mut Findings<'_>,
) -> Option<AdminListen> {
    if let Some(path) = text.strip_prefix("unix:") {
        let empty = path.is_empty();
        let path = dir.join(path);
        if empty || path.file_name().is_none() || path.as_os_str().len() > UNIX_PATH_BYTES_MAX {
            let message = format!("`{}` is not the path of a Unix socket", visible(text));
            findings.add_with(&ADMIN_LISTEN, place, message, FORMS);
            return None;
        }
        return Some(AdminListen::Unix(path));
    }
    // As a name only this one cannot mean another machine.
    let literal = match text.strip_prefix("localhost:") {
        Some(port) => format!("127.0.0.1:{port}"),
        None => text.to_owned(),
    };
    let address = match literal.parse::<SocketAddr>() {
        Ok(address) if address.port() != 0 => address,
        _ => {
            let message = format!("`{}` is not an address with a port", visible(text));
            findings.add_with(&ADMIN_LISTEN, place, message, FORMS);
            return None;
        }
    };
    if let Some(service) = listeners.receiver_of(address.ip(), address.port()) {
        let message = format!("{address} is where {service} listens");
        findings.add_with(&ADMIN_LISTEN, place, message, "give the admin API its own port");
    }
    Some(AdminListen::Tcp(address))
}

fn tls(
    written: &document::Admin,
    dir: &Path,
    outer: &Place<'_>,
    findings: &mut Findings<'_>,
) -> Option<AdminTls> {
    let named = |key: &'static str, path: &Option<PathBuf>, findings: &mut Findings<'_>| {
        path.as_deref().map(|path| file(path, dir, &outer.key(key), findings))
    };
    let cert_file = named("certFile", &written.cert_file, findings);
    let key_file = named("keyFile", &written.key_file, findings);
    let place = outer.key("clientCaFiles");
    let client_ca_files = files(written.client_ca_files.as_deref(), dir, &place, findings);
    let Some(cert_file) = cert_file else {
        for (key, given) in
            [("keyFile", key_file.is_some()), ("clientCaFiles", client_ca_files.is_some())]
        {
            if given && !findings.is_broken(&outer.key("certFile")) {
                let message = format!("`{key}` without `certFile`: TLS would not be spoken");
                findings.add_with(&ADMIN_TLS, &outer.key(key), message, "set `admin.certFile`");
            }
        }
        return None;
    };
    let key_file = key_file.unwrap_or_else(|| cert_file.clone());
    let pair = KeyPair::files(cert_file, key_file);
    Some(AdminTls { pair, client_ca_files: client_ca_files.unwrap_or_default() })
}

fn hosts(written: &[String], outer: &Place<'_>, findings: &mut Findings<'_>) -> Vec<String> {
    let place = outer.key("hosts");
    let mut hosts = Vec::new();
    for (at, host) in written.iter().enumerate() {
        if let Err(why) = super::host(host) {
            let message = format!("`{}` is not a host name: {why}", visible(host));
            let hint = "a name without scheme and port: \"ops.example.com\"";
            findings.add_with(&BAD_VALUE, &place.index(at), message, hint);
        }
        hosts.push(host.trim_end_matches('.').to_ascii_lowercase());
    }
    hosts
}

fn unix_mode(written: &document::Admin, outer: &Place<'_>, findings: &mut Findings<'_>) -> u32 {
    let Some(text) = &written.unix_mode else { return UNIX_MODE_DEFAULT };
    let octal = text.bytes().all(|byte| byte.is_ascii_digit()) && (3..=4).contains(&text.len());
    match u32::from_str_radix(text, 8) {
        Ok(mode) if octal && mode <= 0o777 => mode,
        _ => {
            let message = format!("`{}` is not a mode in octal", visible(text));
            let hint = "\"0600\": the owner alone; \"0660\": the group too";
            findings.add_with(&BAD_VALUE, &outer.key("unixMode"), message, hint);
            UNIX_MODE_DEFAULT
        }
    }
}
