//! One target: where its addresses come from, that they are not our own, and how TLS is spoken to
//! it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::Path;
use std::sync::Arc;

use rustls_pki_types::ServerName;

use super::service::Scope;
use super::{Findings, certificates, crypto, file, health, not_empty, proxy, rule};
use crate::config::checked::{self, Address, UpstreamTls};
use crate::config::document;
use crate::config::limits::{HOST_BYTES_MAX, TIER_MAX, UNIX_PATH_BYTES_MAX, WEIGHT_MAX};
pub(super) use crate::config::networks::ip_literal;
use crate::config::place::Place;
use crate::diagnostics::{
    BAD_ADDRESS, BAD_DISCOVERY, BAD_HOST, BAD_VALUE, INSECURE_TARGET, LOOP, MISSING_KEY,
    REJECT_KEY_IDLE, TLS_KEY_IDLE,
};
use crate::tls::trust;

/// Checks a target. `None` if an error was found.
pub(super) fn compile(
    target: &document::Target,
    place: &Place<'_>,
    scope: &mut Scope<'_, '_>,
) -> Option<checked::Target> {
    if target.reject {
        return rejecting(target, place, scope.findings);
    }
    let tls = upstream_tls(target, place, scope);
    let mut compiled = match target.srv.as_deref() {
        Some(name) => records(target, name, place, scope)?,
        None => endpoint(target, place, scope)?,
    };
    compiled.tls = tls?;
    compiled.header = target.proxy_protocol.map_or(scope.send, proxy::send);
    health::own(target, &mut compiled, place, scope.findings);
    Some(compiled)
}

/// Checks a target that refuses its share. What else is written of it is refused: whoever wrote it
/// expects connections to go there.
fn rejecting(
    target: &document::Target,
    place: &Place<'_>,
    findings: &mut Findings<'_>,
) -> Option<checked::Target> {
    let usual = document::Target::default();
    let keys = [
        ("host", target.host.is_some()),
        ("ip", target.ip.is_some()),
        ("srv", target.srv.is_some()),
        ("port", target.port != usual.port),
        ("tls", target.tls),
        ("tier", target.tier != 0),
        ("backup", target.backup),
        ("maxConnections", target.max_connections.is_some()),
        ("proxyProtocol", target.proxy_protocol.is_some()),
        ("healthCheck", target.health_check.is_some()),
    ];
    let mut sound = true;
    for (key, _) in keys.iter().filter(|(_, given)| *given) {
        let message = format!("`{key}` has no effect: the target refuses its connections");
        findings.add_with(&REJECT_KEY_IDLE, &place.key(key), message, "remove it, or `reject`");
        sound = false;
    }
    without_tls(target, place, findings);
    let compiled = balanced(target, Arc::from("reject"), Address::Reject, place, findings);
    sound.then_some(compiled)
}

/// Checks what all targets of a list have, and how TLS is spoken to those that ask for it. `None` if
/// an error was found.
pub(super) fn template(
    target: &document::Target,
    place: &Place<'_>,
    scope: &mut Scope<'_, '_>,
) -> Option<(checked::Target, UpstreamTls)> {
    let keys = [
        ("host", target.host.is_some()),
        ("ip", target.ip.is_some()),
        ("srv", target.srv.is_some()),
        ("reject", target.reject),
    ];
    for (key, _) in keys.iter().filter(|(_, given)| *given) {
        let message = format!("`{key}` has no effect in a template: the list names the hosts");
        scope.findings.add_with(&BAD_DISCOVERY, &place.key(key), message, "remove it");
    }
    let tls = upstream_tls(target, place, scope)?;
    let port = port(target.port, place, scope.findings)?;
    let balanced = balanced(target, Arc::from(""), Address::Name, place, scope.findings);
    let secure = tls.clone().unwrap_or_else(|| UpstreamTls::to(""));
    let header = target.proxy_protocol.map_or(scope.send, proxy::send);
    let mut compiled = checked::Target { port, tls, header, ..balanced };
    health::own(target, &mut compiled, place, scope.findings);
    Some((compiled, secure))
}

/// Checks a name of SRV records.
fn records(
    target: &document::Target,
    name: &str,
    place: &Place<'_>,
    scope: &mut Scope<'_, '_>,
) -> Option<checked::Target> {
    let findings = &mut *scope.findings;
    for (key, given) in [("host", target.host.is_some()), ("ip", target.ip.is_some())] {
        if given {
            let message = format!("`{key}` beside `srv`: the records say where the targets are");
            findings.add_with(&BAD_HOST, &place.key(key), message, "keep one of them");
        }
    }
    let fault = match host_name(name) {
        Err(fault) => fault,
        Ok(()) if ip_literal(name).is_some() => "an address has no SRV records",
        Ok(()) => {
            return Some(balanced(target, Arc::from(name), Address::Srv, place, findings));
        }
    };
    let message = format!("`{name}` is not a name of SRV records: {fault}");
    findings.add_with(&BAD_HOST, &place.key("srv"), message, "_postgresql._tcp.example.com");
    None
}

/// Checks where a target is.
fn endpoint(
    target: &document::Target,
    place: &Place<'_>,
    scope: &mut Scope<'_, '_>,
) -> Option<checked::Target> {
    let findings = &mut *scope.findings;
    let host = target.host.as_deref().filter(|host| !host.is_empty() || target.ip.is_none());
    if let Some(path) = host.and_then(|host| host.strip_prefix("unix:")) {
        return unix(target, path, place, scope);
    }
    let port = port(target.port, place, findings);
    let host_place = place.key("host");
    let address = match (host, target.ip.as_deref()) {
        (host, Some(ip)) => {
            let address = ip_address(ip, &place.key("ip"), findings);
            let host = host.map(|host| host_address(host, &host_place, findings));
            if matches!(host, Some(None)) { None } else { address.map(Address::Ip) }
        }
        (Some(host), None) => host_address(host, &host_place, findings),
        (None, None) => {
            if !findings.is_broken(&place.key("ip")) {
                findings.missing(place, "host", "a host name, an IP address or unix:/path");
            }
            None
        }
    }?;
    // Of a target with a fault of shape the rest may mean something else.
    if findings.is_broken(&place.key("ip")) || findings.is_broken(&place.key("port")) {
        return None;
    }
    let host = Arc::from(host.or(target.ip.as_deref()).unwrap_or_default());
    let target =
        checked::Target { port: port?, ..balanced(target, host, address, place, findings) };
    not_ourselves(&target, place, scope).then_some(target)
}

/// A target with its share of the connections.
fn balanced(
    target: &document::Target,
    host: Arc<str>,
    address: Address,
    place: &Place<'_>,
    findings: &mut Findings<'_>,
) -> checked::Target {
    if target.weight > WEIGHT_MAX {
        let message = format!("the weight {} is more than {WEIGHT_MAX}", target.weight);
        let hint = "only the ratio of the weights counts";
        findings.add_with(&BAD_VALUE, &place.key("weight"), message, hint);
    }
    if target.tier > TIER_MAX {
        let message = format!("the tier {} is more than {TIER_MAX}", target.tier);
        let hint = "targets of a higher tier are used when none of a lower one can be";
        findings.add_with(&BAD_VALUE, &place.key("tier"), message, hint);
    } else if target.backup && target.tier > 1 {
        let message = format!("`backup` is `tier` 1, and this one has {}", target.tier);
        findings.add_with(&BAD_VALUE, &place.key("backup"), message, "keep one of them");
    }
    checked::Target {
        host,
        address,
        port: 0,
        tls: None,
        weight: target.weight,
        tier: target.tier.max(u8::from(target.backup)),
        max_connections: target.max_connections,
        header: checked::SendHeader::Off,
        check: None,
        own_health: None,
    }
}

/// How TLS is spoken to a target. `None` if an error was found, `Some(None)`: not at all.
fn upstream_tls(
    target: &document::Target,
    place: &Place<'_>,
    scope: &mut Scope<'_, '_>,
) -> Option<Option<UpstreamTls>> {
    if !target.tls {
        without_tls(target, place, scope.findings);
        return Some(None);
    }
    let dir = scope.dir;
    let findings = &mut *scope.findings;
    let ca = match (target.ca_file.as_deref(), target.ca_pem.as_deref()) {
        (Some(path), _) => Some(file(path, dir, &place.key("caFile"), findings).into()),
        (None, Some(text)) => {
            crypto::pem_text(text, &place.key("caPem"), findings, trust::check_authorities)
        }
        (None, None) => None,
    };
    if target.ca_file.is_some() && target.ca_pem.is_some() {
        let message = "`caPem` beside `caFile`: it is one or the other";
        findings.add_with(&BAD_VALUE, &place.key("caPem"), message, "keep one of them");
    }
    let (min, max) = (target.tls_min_version, target.tls_max_version);
    let crypto = crypto::crypto(min, max, target.cipher_suites.as_deref(), place, findings);
    let certificate = place.key("clientCertificate");
    let client_certificate = target
        .client_certificate
        .as_ref()
        .and_then(|pair| certificates::shown(pair, &scope.tls.named, dir, &certificate, findings));
    let list = place.key("pinnedPublicKeys");
    let written = target.pinned_public_keys.as_deref().unwrap_or_default();
    if target.pinned_public_keys.is_some() {
        not_empty(written, &list, findings);
    }
    let read = |(at, pin): (usize, &String)| rule::digest(pin, &list.index(at), findings);
    let pins: Vec<_> = written.iter().enumerate().filter_map(read).collect();
    verification(target, place, findings);
    Some(Some(UpstreamTls {
        server_name: server_name(target, place, findings)?,
        ca,
        crypto,
        client_certificate,
        pins,
        pin_only: target.pin_only,
        insecure: target.insecure_skip_verify,
    }))
}

/// Refuses keys about TLS of a target that has none: somebody relies on them.
fn without_tls(target: &document::Target, place: &Place<'_>, findings: &mut Findings<'_>) {
    if findings.is_broken(&place.key("tls")) {
        return;
    }
    let keys = [
        ("serverName", target.server_name.is_some()),
        ("caFile", target.ca_file.is_some()),
        ("caPem", target.ca_pem.is_some()),
        ("tlsMinVersion", target.tls_min_version.is_some()),
        ("tlsMaxVersion", target.tls_max_version.is_some()),
        ("cipherSuites", target.cipher_suites.is_some()),
        ("clientCertificate", target.client_certificate.is_some()),
        ("insecureSkipVerify", target.insecure_skip_verify),
        ("pinnedPublicKeys", target.pinned_public_keys.is_some()),
        ("pinOnly", target.pin_only),
    ];
    for (key, _) in keys.iter().filter(|(_, given)| *given) {
        let message = format!("`{key}` has no effect: `tls` of the target is false");
        let hint = "set `tls` to true, or remove the key";
        findings.add_with(&TLS_KEY_IDLE, &place.key(key), message, hint);
    }
}

/// Checks that what is said about verifying a target does not contradict itself.
fn verification(target: &document::Target, place: &Place<'_>, findings: &mut Findings<'_>) {
    let pinned = target.pinned_public_keys.is_some();
    if target.insecure_skip_verify {
        let keys = [
            ("caFile", target.ca_file.is_some()),
            ("caPem", target.ca_pem.is_some()),
            ("pinnedPublicKeys", pinned),
            ("pinOnly", target.pin_only),
        ];
        for (key, _) in keys.iter().filter(|(_, given)| *given) {
            let message =
                format!("`{key}` has no effect: with `insecureSkipVerify` nothing is verified");
            let hint = if pinned {
                "to verify only the key write \"pinOnly\": true in place of `insecureSkipVerify`"
            } else {
                "keep one of them"
            };
            findings.add_with(&TLS_KEY_IDLE, &place.key(key), message, hint);
        }
        let message = "the target's certificate is not verified: whoever can reach the wire can \
                       read and change what is sent";
        let hint = "name its authority in `caFile`, or pin its key: `pinnedPublicKeys`, `pinOnly`";
        findings.add_with(&INSECURE_TARGET, &place.key("insecureSkipVerify"), message, hint);
        return;
    }
    if !target.pin_only {
        return;
    }
    if !pinned && !findings.is_broken_inside(&place.key("pinnedPublicKeys")) {
        let message = "`pinOnly` has no effect: there is no pinned key";
        let hint = "\"pinnedPublicKeys\": [ \"sha256/…\" ]";
        findings.add_with(&TLS_KEY_IDLE, &place.key("pinOnly"), message, hint);
    }
    for (key, given) in [("caFile", target.ca_file.is_some()), ("caPem", target.ca_pem.is_some())] {
        if given {
            let message =
                format!("`{key}` has no effect: with `pinOnly` the chain is not verified");
            findings.add_with(&TLS_KEY_IDLE, &place.key(key), message, "keep one of them");
        }
    }
}

/// The name that a target's certificate must have: `serverName`, else `host`, else the address.
fn server_name(
    target: &document::Target,
    place: &Place<'_>,
    findings: &mut Findings<'_>,
) -> Option<Arc<str>> {
    let host = target.host.as_deref().filter(|host| !host.is_empty());
    let (name, place) = match (target.server_name.as_deref(), host) {
        (Some(name), _) => (name, place.key("serverName")),
        (None, Some(host)) if host.starts_with("unix:") => {
            let name = place.key("serverName");
            if !findings.is_broken(&name) {
                let message = "a Unix socket has no name that its certificate could be verified by";
                let hint = "\"serverName\": \"db.internal\"";
                findings.add_with(&MISSING_KEY, &name, message, hint);
            }
            return None;
        }
        (None, Some(host)) => (host, place.key("host")),
        (None, None) => match target.ip.as_deref() {
            Some(ip) => (ip, place.key("ip")),
            // That of each host that is found.
            None => return Some(Arc::from("")),
        },
    };
    let bare = match ip_literal(name) {
        Some(ip) => ip.to_canonical().to_string(),
        None => name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase(),
    };
    if ServerName::try_from(bare.as_str()).is_ok() {
        return Some(bare.into());
    }
    // What is wrong with a host or an address is reported with them.
    if target.server_name.is_some() || host_name(name).is_ok() {
        let message = format!("`{name}` is not a name that a certificate can have");
        let hint = "a host name or an IP address, without a port";
        findings.add_with(&BAD_HOST, &place, message, hint);
    }
    None
}

/// Checks a Unix socket's path.
fn unix(
    target: &document::Target,
    path: &str,
    place: &Place<'_>,
    scope: &mut Scope<'_, '_>,
) -> Option<checked::Target> {
    let host = place.key("host");
    if target.ip.is_some() {
        let message = "a Unix socket has no `ip`";
        scope.findings.add_with(
            &BAD_HOST,
            &place.key("ip"),
            message,
            "keep one of `host` and `ip`",
        );
        return None;
    }
    let absolute = scope.dir.join(Path::new(path));
    let fault = if path.is_empty() {
        "the path after `unix:` is empty"
    } else if path.starts_with('@') {
        "abstract Unix sockets are not served"
    } else if path.contains('\0') {
        "the path has a NUL"
    } else if absolute.as_os_str().len() > UNIX_PATH_BYTES_MAX {
        "the path is longer than the 107 bytes that a Unix socket's path may have"
    } else {
        let address = Address::Unix(absolute);
        let name = Arc::from(target.host.as_deref()?);
        return Some(balanced(target, name, address, place, scope.findings));
    };
    scope.findings.add_with(&BAD_HOST, &host, fault, "unix:/run/db.sock");
    None
}

/// Checks a port to connect to.
fn port(port: u16, place: &Place<'_>, findings: &mut Findings<'_>) -> Option<u16> {
    if port == 0 {
        let message = "port 0 is not a port to connect to";
        findings.add_with(&BAD_VALUE, &place.key("port"), message, "1 to 65535");
        return None;
    }
    Some(port)
}

/// Reads an address to connect to.
fn ip_address(text: &str, place: &Place<'_>, findings: &mut Findings<'_>) -> Option<IpAddr> {
    let Some(ip) = ip_literal(text) else {
        let message = format!("`{text}` is not an IP address");
        let hint = if text.contains('%') {
            "an address with a zone (%eth0) is not served"
        } else {
            "as \"10.0.0.7\" or \"2001:db8::7\"; a name goes into `host`"
        };
        findings.add_with(&BAD_ADDRESS, place, message, hint);
        return None;
    };
    connectable(ip, place, findings)
}

/// Checks a host that nobody has written: a name, or an address that can be connected to. The error
/// says what is wrong with it.
pub(in crate::config) fn host(text: &str) -> Result<(), &'static str> {
    match ip_literal(text) {
        Some(ip) => not_connectable(ip).map_or(Ok(()), Err),
        None => host_name(text),
    }
}

/// What an address is that cannot be connected to.
fn not_connectable(ip: IpAddr) -> Option<&'static str> {
    match ip.to_canonical() {
        ip if ip.is_unspecified() => Some("the unspecified address"),
        ip if ip.is_multicast() => Some("a multicast address"),
        IpAddr::V4(Ipv4Addr::BROADCAST) => Some("the broadcast address"),
        _ => None,
    }
}

/// Checks that an address is one that can be connected to.
fn connectable(ip: IpAddr, place: &Place<'_>, findings: &mut Findings<'_>) -> Option<IpAddr> {
    let Some(kind) = not_connectable(ip) else { return Some(ip) };
    let message = format!("{ip} is {kind}, which cannot be connected to");
    let hint = "name the address of the server; 127.0.0.1 is this machine";
    findings.add_with(&BAD_ADDRESS, place, message, hint);
    None
}

/// Reads a host: an address or a name.
fn host_address(host: &str, place: &Place<'_>, findings: &mut Findings<'_>) -> Option<Address> {
    if let Some(ip) = ip_literal(host) {
        return connectable(ip, place, findings).map(Address::Ip);
    }
    let Err(fault) = host_name(host) else {
        return Some(Address::Name);
    };
    let message = format!("`{host}` is not a host: {fault}");
    let hint = if host.contains("://") {
        "write only the host of the URL; the port goes into `port`"
    } else if host.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok()) {
        "the port has a key of its own: `port`"
    } else {
        "a host name, an IP address or unix:/path"
    };
    findings.add_with(&BAD_HOST, place, message, hint);
    None
}

/// Checks a host name (RFC 1123 §2.1, plus the underscore that many private zones use). The error
/// says what is wrong with it.
fn host_name(host: &str) -> Result<(), &'static str> {
    let name = host.strip_suffix('.').unwrap_or(host);
    if name.is_empty() {
        return Err("it is empty");
    }
    if name.len() > HOST_BYTES_MAX {
        return Err("it is longer than 253 bytes");
    }
    for label in name.split('.') {
        match label.len() {
            0 => return Err("there is nothing between two dots"),
            1..=63 => {}
            _ => return Err("there are more than 63 bytes between two dots"),
        }
        if !label.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_')) {
            return Err("only letters, digits, `-`, `_` and `.` may be in a name");
        }
        if label.starts_with('-') || label.ends_with('-') {
            return Err("`-` may not be next to a dot or at an end");
        }
    }
    // Resolvers read such a name as an address, each in its own way.
    if name.rsplit('.').next().is_some_and(|last| last.bytes().all(|b| b.is_ascii_digit())) {
        return Err("a name whose last part is a number would be an IPv4 address, but it is none");
    }
    Ok(())
}

/// Checks that the target is none of our own listeners. Reports it and returns `false` if it is.
fn not_ourselves(target: &checked::Target, place: &Place<'_>, scope: &mut Scope<'_, '_>) -> bool {
    let local: &[IpAddr] = &[IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)];
    let addresses = match &target.address {
        Address::Ip(ip) => std::slice::from_ref(ip),
        Address::Name if target.host.trim_end_matches('.').eq_ignore_ascii_case("localhost") => {
            local
        }
        Address::Name | Address::Unix(_) | Address::Srv | Address::Reject => &[],
    };
    let receiver = addresses.iter().find_map(|ip| scope.listeners.receiver_of(*ip, target.port));
    let Some(receiver) = receiver else {
        return true;
    };
    let message =
        format!("the target {}:{} is the listener of {receiver}", target.host, target.port);
    let hint = "point it at the server behind the proxy, or move the listener to another port";
    scope.findings.add_with(&LOOP, place, message, hint);
    false
}
