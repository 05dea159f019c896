//! One target: where its addresses come from, and that they are not our own.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::Path;
use std::sync::Arc;

use super::Findings;
use super::service::Scope;
use crate::config::checked::{self, Address};
use crate::config::document;
use crate::config::limits::{HOST_BYTES_MAX, UNIX_PATH_BYTES_MAX};
use crate::config::place::Place;
use crate::diagnostics::{BAD_ADDRESS, BAD_HOST, BAD_VALUE, LOOP, NOT_IN_RELEASE};

/// Checks a target. `None` if an error was found.
pub(super) fn compile(
    target: &document::Target,
    place: &Place<'_>,
    scope: &mut Scope<'_, '_>,
) -> Option<checked::Target> {
    let findings = &mut *scope.findings;
    if target.tls {
        let message = "TLS to the target (`tls` true) is known but not in this release";
        findings.add(&NOT_IN_RELEASE, &place.key("tls"), message);
    }
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
    let target = checked::Target { host, address, port: port? };
    not_ourselves(&target, place, scope).then_some(target)
}

/// An IP address, with or without the brackets of IPv6.
pub(super) fn ip_literal(text: &str) -> Option<IpAddr> {
    match text.strip_prefix('[').and_then(|text| text.strip_suffix(']')) {
        Some(inner) => inner.parse().ok().map(IpAddr::V6),
        None => text.parse().ok(),
    }
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
        return Some(checked::Target {
            host: Arc::from(target.host.as_deref()?),
            address,
            port: 0,
        });
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

/// Checks that an address is one that can be connected to.
fn connectable(ip: IpAddr, place: &Place<'_>, findings: &mut Findings<'_>) -> Option<IpAddr> {
    let kind = match ip.to_canonical() {
        ip if ip.is_unspecified() => "the unspecified address",
        ip if ip.is_multicast() => "a multicast address",
        IpAddr::V4(Ipv4Addr::BROADCAST) => "the broadcast address",
        _ => return Some(ip),
    };
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
        Address::Name | Address::Unix(_) => &[],
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
