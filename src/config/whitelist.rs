//! `portsWhitelist`: the ports that services may have which the main file does not declare itself. By
//! protocol, as Tyk has it: a port that is whitelisted for `tls` is not for `tcp`. What is not named is
//! not allowed.

use std::ops::RangeInclusive;

use super::document::{Document, PortRange, Ports, PortsWhitelist, TlsMode};
use super::place::Place;
use super::tree::Node;
use crate::diagnostics::{BAD_WHITELIST, Diagnostic};

/// The ports of each protocol.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Whitelist {
    disabled: bool,
    tcp: Vec<RangeInclusive<u16>>,
    tls: Vec<RangeInclusive<u16>>,
}

impl Whitelist {
    /// Checks what the main file says.
    pub(super) fn of(document: &Document, tree: &Node, found: &mut Vec<Diagnostic>) -> Self {
        let outer = Place::Root.key("portsWhitelist");
        let none = PortsWhitelist::default();
        let given = document.ports_whitelist.as_ref().unwrap_or(&none);
        let nothing = Ports::default();
        let mut read = |key, ports: &Ports| ranges(ports, &outer.key(key), tree, found);
        let (tcp, tls) = (read("tcp", &given.tcp), read("tls", &given.tls));
        // They open nothing here, but a mistake in them is one.
        read("http", given.http.as_ref().unwrap_or(&nothing));
        read("https", given.https.as_ref().unwrap_or(&nothing));
        Self { disabled: document.disable_ports_whitelist, tcp, tls }
    }

    /// Whether a service that does this with TLS may have the port.
    pub(super) fn has(&self, tls: TlsMode, port: u16) -> bool {
        let ranges = if tls == TlsMode::Disabled { &self.tcp } else { &self.tls };
        self.disabled || ranges.iter().any(|range| range.contains(&port))
    }

    /// The word for it.
    pub(super) fn protocol(tls: TlsMode) -> &'static str {
        if tls == TlsMode::Disabled { "tcp" } else { "tls" }
    }
}

fn ranges(
    ports: &Ports,
    place: &Place<'_>,
    tree: &Node,
    found: &mut Vec<Diagnostic>,
) -> Vec<RangeInclusive<u16>> {
    let mut refuse = |place: Place<'_>, message: String| {
        let line = tree.line_of(&place);
        found.push(Diagnostic::new(&BAD_WHITELIST, place, message).at_line(line));
    };
    let mut ranges = Vec::new();
    let list = place.key("ports");
    for (at, port) in ports.ports.iter().enumerate() {
        match port {
            0 => refuse(list.index(at), "0 is not a port to listen on".into()),
            port => ranges.push(*port..=*port),
        }
    }
    let list = place.key("ranges");
    for (at, range) in ports.ranges.iter().enumerate() {
        let PortRange { from, to } = range;
        match (from, to) {
            (Some(from), Some(to)) if (1..=*to).contains(from) => ranges.push(*from..=*to),
            (Some(0), _) => refuse(list.index(at), "0 is not a port to listen on".into()),
            (Some(from), Some(to)) => {
                refuse(list.index(at), format!("the range ends ({to}) before it begins ({from})"));
            }
            _ => refuse(list.index(at), "a range needs `from` and `to`".into()),
        }
    }
    ranges
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(text: serde_json::Value) -> (Whitelist, Vec<Diagnostic>) {
        let document: Document = serde_json::from_value(text.clone()).unwrap();
        let mut found = Vec::new();
        let whitelist = Whitelist::of(&document, &Node::of_value(&text), &mut found);
        (whitelist, found)
    }

    /// The matrix of Tyk's own tests, for its protocols that are served here.
    #[test]
    fn ports_and_ranges_count_by_protocol_and_absent_is_none() {
        use TlsMode::{Disabled, Enabled, PassThrough};
        let none = read(json!({})).0;
        assert!(!none.has(Disabled, 80) && !none.has(Enabled, 443));
        let (some, found) = read(json!({ "ports_whitelist": {
            "tls": { "ports": [6000, 6015] },
            "tcp": { "ranges": [{ "from": 8000, "to": 9000 }], "ports": [5432] },
            "https": { "ranges": [{ "from": 1, "to": 2 }] }
        } }));
        assert!(found.is_empty(), "{found:?}");
        for (tls, port, may) in [
            (Enabled, 6000, true),
            (PassThrough, 6015, true),
            (Enabled, 6001, false),
            (Disabled, 6000, false),
            (Disabled, 8000, true),
            (Disabled, 9000, true),
            (Disabled, 9001, false),
            (Disabled, 7999, false),
            (Disabled, 5432, true),
            (Enabled, 8000, false),
            (Enabled, 1, false),
        ] {
            assert_eq!(some.has(tls, port), may, "{tls:?} {port}");
        }
        assert!(read(json!({ "disablePortsWhitelist": true })).0.has(Disabled, 1));
    }

    #[test]
    fn what_is_no_port_is_told() {
        let (whitelist, found) = read(json!({ "portsWhitelist": { "tcp": {
            "ports": [0, 7], "ranges": [{ "from": 9, "to": 8 }, { "from": 1 }]
        } } }));
        assert!(whitelist.has(TlsMode::Disabled, 7) && !whitelist.has(TlsMode::Disabled, 8));
        let paths: Vec<_> = found.iter().map(|it| &*it.path).collect();
        let of = |rest| format!("portsWhitelist.tcp.{rest}");
        assert_eq!(paths, [of("ports[0]"), of("ranges[0]"), of("ranges[1]")]);
    }
}
