//! The addresses that services listen on, and which services may have the same: those that all route
//! by name, and of which all or none are TLS services.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};

use super::{Findings, is_served};
use crate::config::document::{Service, TlsMode};
use crate::config::place::Place;
use crate::diagnostics::{
    ADDRESS_OVERLAP, ADDRESS_TAKEN, BAD_INTERFACE, BAD_VALUE, MIXED_ROUTING, MIXED_TLS,
};

/// The addresses of the enabled services.
pub(super) struct Listeners<'a> {
    /// In the order of the file; `None` for a service that is not served or has no sound address.
    addresses: Vec<Option<SocketAddr>>,
    /// The first service of each address, by port.
    by_port: HashMap<u16, Vec<usize>>,
    services: &'a [Service],
}

/// Checks all listening addresses, each by itself and against the others.
pub(super) fn listeners<'a>(services: &'a [Service], findings: &mut Findings<'_>) -> Listeners<'a> {
    let all = Place::Root.key("services");
    let mut listeners = Listeners { addresses: Vec::new(), by_port: HashMap::new(), services };
    for (at, service) in services.iter().enumerate() {
        let place = all.index(at);
        let address = if is_served(service, &place, findings) {
            address(service, &place, findings)
        } else {
            None
        };
        if let Some(address) = address {
            listeners.claim(at, address, &place, findings);
        }
        listeners.addresses.push(address);
    }
    listeners
}

impl Listeners<'_> {
    /// The address of a service.
    pub(super) fn of(&self, at: usize) -> Option<SocketAddr> {
        self.addresses.get(at).copied().flatten()
    }

    /// The service whose listener gets a connection to this address, described.
    pub(super) fn receiver_of(&self, ip: IpAddr, port: u16) -> Option<String> {
        let at = self.by_port.get(&port)?.iter().find(|at| {
            self.of(**at).is_some_and(|listener| receives(listener.ip(), ip.to_canonical()))
        })?;
        Some(self.describe(*at))
    }

    /// Registers a listener, unless it collides with an earlier one.
    fn claim(
        &mut self,
        at: usize,
        address: SocketAddr,
        place: &Place<'_>,
        findings: &mut Findings<'_>,
    ) {
        let rivals = self.by_port.get(&address.port()).map_or(&[][..], Vec::as_slice);
        // Only the first collision: the others are reported when their services are mended.
        let rival = rivals.iter().find_map(|&rival| {
            let theirs = self.of(rival)?;
            overlap(theirs.ip(), address.ip()).then_some((rival, theirs))
        });
        let port = place.key("port");
        match rival {
            Some((rival, theirs)) if theirs == address => {
                self.share(rival, at, address, place, findings);
                return;
            }
            Some((rival, theirs)) => {
                let other = self.describe(rival);
                let message = format!("{address} overlaps with {theirs}, on which {other} listens");
                let hint = "name the addresses one by one, or use another port";
                findings.add_with(&ADDRESS_OVERLAP, &port, message, hint);
            }
            None => {}
        }
        self.by_port.entry(address.port()).or_default().push(at);
    }

    /// Checks that a service may have the address of an earlier one.
    fn share(
        &self,
        rival: usize,
        at: usize,
        address: SocketAddr,
        place: &Place<'_>,
        findings: &mut Findings<'_>,
    ) {
        let (Some(theirs), Some(ours)) = (self.services.get(rival), self.services.get(at)) else {
            return;
        };
        let all = Place::Root.key("services");
        let their_place = all.index(rival);
        let other = self.describe(rival);
        let broken = |findings: &Findings<'_>, key: &str| {
            findings.is_broken_inside(&place.key(key))
                || findings.is_broken_inside(&their_place.key(key))
        };
        if broken(findings, "sni") {
            return;
        }
        if theirs.sni.enabled != ours.sni.enabled {
            let (by_name, all) = if ours.sni.enabled {
                ("this service", other.as_str())
            } else {
                (other.as_str(), "this service")
            };
            let message =
                format!("on {address} {by_name} routes by name, but {all} takes every connection");
            let hint = "set `sni.enabled` to true in both, or give one of them another port";
            findings.add_with(&MIXED_ROUTING, &place.key("port"), message, hint);
        } else if !ours.sni.enabled {
            let message = format!("{other} already listens on {address}");
            let hint = "give one of them another port or interface, or set `enabled` to false";
            findings.add_with(&ADDRESS_TAKEN, &place.key("port"), message, hint);
        } else if (theirs.tls == TlsMode::Disabled) != (ours.tls == TlsMode::Disabled)
            && !broken(findings, "tls")
        {
            let message = format!(
                "`tls` is {:?} here, but {other} on the same address {address} has {:?}",
                ours.tls, theirs.tls
            );
            let hint = "PassThrough and Enabled may share an address, Disabled only with itself";
            findings.add_with(&MIXED_TLS, &place.key("tls"), message, hint);
        }
    }

    /// How a service is called in findings about another.
    fn describe(&self, at: usize) -> String {
        match self.services.get(at).and_then(|service| service.id.as_deref()) {
            Some(id) => format!("service `{id}` (services[{at}])"),
            None => format!("services[{at}]"),
        }
    }
}

/// The address of one service.
fn address(
    service: &Service,
    place: &Place<'_>,
    findings: &mut Findings<'_>,
) -> Option<SocketAddr> {
    let interface = interface(&service.interface, &place.key("interface"), findings);
    let port = match service.port {
        Some(0) => {
            let message = "port 0 is not a port to listen on";
            findings.add_with(&BAD_VALUE, &place.key("port"), message, "1 to 65535");
            None
        }
        Some(port) => Some(port),
        None => {
            findings.missing(place, "port", "name the port to listen on: \"port\": 5432");
            None
        }
    };
    if findings.is_broken(&place.key("interface")) {
        return None;
    }
    Some(SocketAddr::new(interface?, port?))
}

/// Reads `interface`.
pub(super) fn interface(
    text: &str,
    place: &Place<'_>,
    findings: &mut Findings<'_>,
) -> Option<IpAddr> {
    if let Some(ip) = super::target::ip_literal(text) {
        return Some(ip.to_canonical());
    }
    let message = format!("`{text}` is not an IP address");
    let hint = match text {
        "" | "*" => "write \"0.0.0.0\" for every IPv4 address or \"::\" for every address",
        "localhost" => "write \"127.0.0.1\" or \"::1\"",
        _ if text.parse::<SocketAddr>().is_ok() => "the port has a key of its own: `port`",
        _ => "write the address of the interface, as \"10.0.0.1\", not its name",
    };
    findings.add_with(&BAD_INTERFACE, place, message, hint);
    None
}

/// Whether two listeners at one port can get the same connection. `::` takes IPv4 as well.
fn overlap(a: IpAddr, b: IpAddr) -> bool {
    let covers = |wide: IpAddr, other: IpAddr| match wide {
        IpAddr::V4(wide) => wide.is_unspecified() && other.is_ipv4(),
        IpAddr::V6(wide) => wide.is_unspecified(),
    };
    a == b || covers(a, b) || covers(b, a)
}

/// Whether a listener gets what this machine sends to `to`. The machine's other addresses are not
/// known here.
fn receives(listener: IpAddr, to: IpAddr) -> bool {
    listener == to || (listener.is_unspecified() && to.is_loopback() && overlap(listener, to))
}
