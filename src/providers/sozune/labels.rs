//! What the labels of a candidate say: `PREFIX.enable`, `PREFIX.network`, and
//! `PREFIX.tcp.SERVICE.KEY`. A fault has the code and the consequence that it has in Sōzune.

use std::collections::BTreeSet;

use super::candidate::{Candidate, Reading};
use super::listeners::Listeners;
use crate::diagnostics::{
    BAD_LOAD_BALANCER, BAD_PORT_LABEL, BAD_PRIORITY_LABEL, BAD_WEIGHT_LABEL, Diagnostic,
    LABELS_WITHOUT_SERVICE, NO_ENTRYPOINT, NO_UDP_PORT, NOT_ENABLED, NOT_TCP, PLUGINS_ON_TCP,
    PORT_DEFAULTED, RESTRICTION_WITHOUT_EFFECT, ROUTE_TO_ITSELF, UDP_ROUTE, UNDECLARED_LISTENER,
    UNKNOWN_LABEL, UNKNOWN_PROTOCOL, did_you_mean, visible,
};

/// One way from a listener to a candidate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// The service, as its labels call it.
    pub service: String,
    /// The listener that it attaches to.
    pub listener: String,
    /// Where it leads …
    pub host: String,
    /// … and to which port.
    pub port: u16,
    /// Of the services of a listener the highest one has all connections.
    pub priority: i32,
    /// How targets are chosen.
    pub balancing: Balancing,
    /// The share of its target; `None`: an equal one.
    pub weight: Option<u32>,
}

/// How targets are chosen.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Balancing {
    /// In turn.
    #[default]
    RoundRobin,
    /// At random.
    Random,
    /// The less loaded of two at random.
    PowerOfTwo,
    /// The one with the fewest connections.
    LeastConnections,
}

/// The port of a service that does not say one.
const PORT_DEFAULT: u16 = 8080;

/// Keys of a route of TCP.
const KEYS: [&str; 5] = ["entrypoint", "port", "priority", "loadBalancer", "weight"];
/// Keys of HTTP routes that keep clients out.
const RESTRICTIONS: [&str; 7] = [
    "ipAllowList",
    "matchClientIP",
    "auth.basic",
    "forwardAuth.address",
    "ratelimit.average",
    "ratelimit.burst",
    "inFlightReq",
];

/// The routes of a candidate. What is wrong with one costs that one.
pub fn routes(
    candidate: &Candidate,
    reading: &Reading,
    listeners: &Listeners,
    found: &mut Vec<Diagnostic>,
) -> Vec<Route> {
    let enabled = candidate.get("enable").map_or(reading.by_default, |says| says == "true");
    if !enabled {
        let label = candidate.label("enable");
        let message = match candidate.get("enable") {
            None => format!("{} has no label `{label}=true`", visible(&candidate.name)),
            Some(says) => {
                format!("{} is not enabled: `{label}={}`", visible(&candidate.name), visible(says))
            }
        };
        let hint = format!("add `{label}=true`, or set `exposeByDefault`");
        found.push(candidate.finding(&NOT_ENABLED, "enable", message).hint(hint));
        return Vec::new();
    }
    say_unknown(candidate, found);
    let services = services(candidate, found);
    if services.is_empty() {
        let message = format!("{} is enabled but declares no service", visible(&candidate.name));
        let hint = format!("add `{}=LISTENER`", candidate.label("tcp.SERVICE.entrypoint"));
        found.push(candidate.finding(&LABELS_WITHOUT_SERVICE, "enable", message).hint(hint));
        return Vec::new();
    }
    let is_l4 = |(protocol, _): &&(&str, &str)| *protocol != "http";
    if services.iter().filter(is_l4).count() == 0 {
        say_http(candidate, found);
        return Vec::new();
    }
    if services.iter().any(|(protocol, _)| *protocol == "http") {
        say_http(candidate, found);
    }
    let host = candidate.host(reading, found);
    let l4 = services.iter().filter(is_l4);
    l4.filter_map(|(protocol, service)| {
        route(candidate, protocol, service, &host, listeners, found)
    })
    .collect()
}

/// The pairs of protocol and service that labels name.
fn services<'a>(
    candidate: &'a Candidate,
    found: &mut Vec<Diagnostic>,
) -> BTreeSet<(&'a str, &'a str)> {
    let mut services = BTreeSet::new();
    let mut unknown = BTreeSet::new();
    for label in candidate.labels.keys() {
        let Some((protocol, service, _)) = split(label) else { continue };
        if !matches!(protocol, "http" | "tcp" | "udp") {
            if unknown.insert(protocol) {
                let message = format!(
                    "unsupported protocol `{}`, its labels have no effect",
                    visible(protocol)
                );
                let finding = candidate.finding(&UNKNOWN_PROTOCOL, label, message);
                found.push(finding.hint("`tcp`, as in `tcp.SERVICE.entrypoint`"));
            }
            continue;
        }
        services.insert((protocol, service));
    }
    services
}

/// A label in its three parts, of which the last may have dots.
fn split(label: &str) -> Option<(&str, &str, &str)> {
    let mut parts = label.splitn(3, '.');
    Some((parts.next()?, parts.next()?, parts.next()?))
}

fn say_http(candidate: &Candidate, found: &mut Vec<Diagnostic>) {
    let message = format!("the HTTP routes of {} are passed over", visible(&candidate.name));
    let label = candidate.labels.keys().find(|label| label.starts_with("http."));
    found.push(candidate.finding(&NOT_TCP, label.map_or("", String::as_str), message));
}

/// Says which labels mean nothing.
fn say_unknown(candidate: &Candidate, found: &mut Vec<Diagnostic>) {
    for label in candidate.labels.keys() {
        let known = match split(label) {
            None => matches!(label.as_str(), "enable" | "network"),
            Some(("tcp", _, key)) => KEYS.contains(&key) || is_plugin(key) || is_restriction(key),
            Some(_) => true,
        };
        if known {
            continue;
        }
        let message = format!("unknown label `{}`, ignored", visible(&candidate.label(label)));
        let mut finding = candidate.finding(&UNKNOWN_LABEL, label, message);
        if let Some(meant) = meant(label) {
            finding = finding.hint(format!("did you mean `{}`?", candidate.label(&meant)));
        }
        found.push(finding);
    }
}

fn is_plugin(key: &str) -> bool {
    key == "plugins" || key.starts_with("plugins.")
}

fn is_restriction(key: &str) -> bool {
    RESTRICTIONS.contains(&key) || key.starts_with("auth.") || key.starts_with("forwardAuth.")
}

/// What somebody who wrote this label meant.
fn meant(label: &str) -> Option<String> {
    match split(label) {
        None => near(label, &["enable", "network"]).map(str::to_owned),
        Some((protocol, service, key)) => {
            Some(format!("{protocol}.{service}.{}", near(key, &KEYS)?))
        }
    }
}

/// The nearest of some words: a few letters differ, or one holds the other.
fn near<'a>(typed: &str, words: &[&'a str]) -> Option<&'a str> {
    let lower = typed.to_lowercase();
    let holds = |word: &&&str| {
        let word = word.to_lowercase();
        lower.len() > 2 && (word.contains(&lower) || lower.contains(&word))
    };
    did_you_mean(typed, words.iter().copied())
        .or_else(|| {
            let distance = |word: &str| strsim::levenshtein(&lower, &word.to_lowercase());
            words.iter().copied().filter(|word| distance(word) <= 2).min_by_key(|it| distance(it))
        })
        .or_else(|| words.iter().find(holds).copied())
}

/// One route; `None` if it is dropped.
fn route(
    candidate: &Candidate,
    protocol: &str,
    service: &str,
    host: &str,
    listeners: &Listeners,
    found: &mut Vec<Diagnostic>,
) -> Option<Route> {
    let key = |key: &str| format!("{protocol}.{service}.{key}");
    let upper = protocol.to_uppercase();
    let here = key("");
    let keys =
        || candidate.labels.keys().filter_map(|label| Some((label, label.strip_prefix(&here)?)));
    if let Some((label, _)) = keys().find(|(_, key)| is_plugin(key)) {
        let shown = visible(&candidate.label(label));
        let message = format!("plugins are HTTP-only; `{shown}` on a {upper} route is ignored");
        found.push(candidate.finding(&PLUGINS_ON_TCP, label, message).hint("remove the label"));
    }
    let entrypoint = key("entrypoint");
    let listener = candidate.get(&entrypoint).filter(|listener| !listener.is_empty());
    let Some(listener) = listener else {
        let service = visible(service);
        let message = format!("the {upper} service `{service}` requires an entrypoint, skipping");
        let hint = format!("set `{}=LISTENER`", visible(&candidate.label(&entrypoint)));
        found.push(candidate.finding(&NO_ENTRYPOINT, &entrypoint, message).hint(hint));
        return None;
    };
    if protocol == "udp" {
        let port = key("port");
        let finding = if candidate.get(&port).is_none() {
            let message = "a UDP service requires an explicit port, skipping".to_owned();
            candidate.finding(&NO_UDP_PORT, &port, message)
        } else {
            let message = format!("the UDP service `{}` is not served", visible(service));
            candidate.finding(&UDP_ROUTE, &entrypoint, message)
        };
        found.push(finding.hint("only TCP is proxied: `tcp` instead of `udp`"));
        return None;
    }
    if let Some((label, _)) = keys().find(|(_, key)| is_restriction(key)) {
        let shown = visible(&candidate.label(label));
        let message = format!("`{shown}` has no effect on a TCP route, skipping it");
        let finding = candidate.finding(&RESTRICTION_WITHOUT_EFFECT, label, message);
        found.push(finding.hint("restrict the listener instead, and remove the label"));
        return None;
    }
    if !listeners.by_name.contains_key(listener) {
        if !listeners.is_refused(listener) {
            found.push(undeclared(candidate, service, &entrypoint, listener, listeners));
        }
        return None;
    }
    let port = port(candidate, &key("port"), found);
    let is_here = host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback());
    if is_here && listeners.listens_on(port) {
        let message = format!("`{}` leads to {host}:{port}, which is the proxy", visible(service));
        let finding = candidate.finding(&ROUTE_TO_ITSELF, &key("port"), message);
        found.push(finding.hint("attach the container to a network"));
        return None;
    }
    Some(Route {
        service: service.to_owned(),
        listener: listener.to_owned(),
        host: host.to_owned(),
        port,
        priority: priority(candidate, &key("priority"), found),
        balancing: balancing(candidate, &key("loadBalancer"), found),
        weight: weight(candidate, &key("weight"), found),
    })
}

fn undeclared(
    candidate: &Candidate,
    service: &str,
    label: &str,
    listener: &str,
    listeners: &Listeners,
) -> Diagnostic {
    let message = format!(
        "TCP entrypoint `{}` references undeclared listener `{}`, skipping",
        visible(service),
        visible(listener)
    );
    let declare = "declare it under `listeners` of the main file, or `proxy.tcp` of Sōzune's";
    let hint = match did_you_mean(listener, listeners.by_name.keys().map(String::as_str)) {
        Some(meant) => format!("did you mean `{}`? Else {declare}", visible(meant)),
        None => declare.to_owned(),
    };
    candidate.finding(&UNDECLARED_LISTENER, label, message).hint(hint)
}

fn port(candidate: &Candidate, label: &str, found: &mut Vec<Diagnostic>) -> u16 {
    let Some(text) = candidate.get(label) else {
        let shown = visible(&candidate.label(label));
        let message = format!("no label `{shown}`, using the default ({PORT_DEFAULT})");
        found.push(candidate.finding(&PORT_DEFAULTED, label, message));
        return PORT_DEFAULT;
    };
    match text.parse::<u16>() {
        Ok(port) if port > 0 => port,
        _ => {
            let message = format!("`{}` is not a port, using {PORT_DEFAULT}", visible(text));
            let finding = candidate.finding(&BAD_PORT_LABEL, label, message);
            found.push(finding.hint("a port is a whole number from 1 to 65535"));
            PORT_DEFAULT
        }
    }
}

fn priority(candidate: &Candidate, label: &str, found: &mut Vec<Diagnostic>) -> i32 {
    let Some(text) = candidate.get(label) else { return 0 };
    text.parse().unwrap_or_else(|_| {
        let message = format!("`{}` is not a valid priority, using 0", visible(text));
        let finding = candidate.finding(&BAD_PRIORITY_LABEL, label, message);
        found.push(finding.hint("a whole number; higher wins"));
        0
    })
}

fn balancing(candidate: &Candidate, label: &str, found: &mut Vec<Diagnostic>) -> Balancing {
    let text = candidate.get(label).unwrap_or_default();
    let plain = text.to_ascii_lowercase().replace(['-', '_'], "");
    let why = match plain.as_str() {
        "" | "roundrobin" | "rr" => return Balancing::RoundRobin,
        "random" => return Balancing::Random,
        "poweroftwo" | "p2c" => return Balancing::PowerOfTwo,
        "leastconnections" | "leastconn" | "leastconnection" | "leastloaded" => {
            return Balancing::LeastConnections;
        }
        "hrw" | "rendezvous" | "maglev" => "is only for UDP",
        _ => "is not a load balancing that is known",
    };
    let message = format!("`{}` {why}, using round_robin", visible(text));
    let finding = candidate.finding(&BAD_LOAD_BALANCER, label, message);
    found.push(finding.hint("one of round_robin, random, power_of_two, least_connections"));
    Balancing::RoundRobin
}

fn weight(candidate: &Candidate, label: &str, found: &mut Vec<Diagnostic>) -> Option<u32> {
    let text = candidate.get(label).filter(|text| !text.is_empty())?;
    let weight = text.parse().ok();
    if weight.is_none() {
        let message = format!("`{}` is not a valid weight, using 1", visible(text));
        let finding = candidate.finding(&BAD_WEIGHT_LABEL, label, message);
        found.push(finding.hint("a whole number, 0 or more: weight=90"));
    }
    weight
}
