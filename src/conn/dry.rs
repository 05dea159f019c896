//! The path of a connection without the connection: what would become of one that asks for this. It
//! asks the functions that serve connections, in their order, and writes down what they say; nothing
//! is read, taken or counted.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use serde::Serialize;

use crate::config::snapshot::{Listener, Needs, Snapshot};
use crate::conn::ending::Cause;
use crate::conn::peek::First;
use crate::wire::client_hello::{Hello, TLS13};
use crate::wire::{http_host, name};

mod walk;
mod why;

/// A connection that is not made.
#[derive(Debug, Clone, Default)]
pub struct Question {
    /// The port it comes to.
    pub port: u16,
    /// The address it comes to; without one, that of the only listener of the port.
    pub interface: Option<IpAddr>,
    /// The name in its TLS hello.
    pub sni: Option<String>,
    /// The ALPN protocols in it, in order.
    pub alpn: Vec<String>,
    /// The host of its HTTP request.
    pub http_host: Option<String>,
    /// Where the client comes from. Without one, nothing that depends on it is judged.
    pub source: Option<IpAddr>,
    /// The proxy that connects and tells of the client; without one the client itself.
    pub proxy: Option<IpAddr>,
}

/// What would become of it.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Route {
    /// The listening address; none where nobody listens.
    pub listener: Option<SocketAddr>,
    /// `routed` or `refused`.
    pub outcome: Outcome,
    /// The service, as far as it was chosen.
    pub service: Option<String>,
    /// Which rule of it, from 0; the fallbacks come behind the rules.
    pub rule: Option<u32>,
    /// The target it would be connected to; none where it is not known before the proxy runs.
    pub target: Option<String>,
    /// The reason that its event would have.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// What the reason means.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub explanation: Option<&'static str>,
    /// What was asked on the way, in order.
    pub steps: Vec<Step>,
    /// What the service does with TLS: `Disabled`, `PassThrough` or `Enabled`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls: Option<&'static str>,
    /// The file of the certificate that the client is shown.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub certificate: Option<String>,
    /// The targets of the pool.
    pub targets: Vec<TargetRow>,
}

/// Whether it would come to a target.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// It would.
    Routed,
    /// It would not.
    Refused,
}

/// One question on the way, and its answer.
#[derive(Debug, Clone, Serialize)]
pub struct Step {
    /// What was asked.
    pub what: String,
    /// Whether it let the connection pass, or took it.
    pub matched: bool,
    /// Why.
    pub why: String,
}

/// One target of the pool.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct TargetRow {
    /// As `check` shows it.
    pub target: String,
    /// It would be this one.
    pub chosen: bool,
    /// `Up`, `Down`, …; of a file `Unknown`.
    pub state: String,
    /// See `targets[].weight`.
    pub weight: u32,
    /// Its tier is not the lowest.
    pub backup: bool,
    /// See `targets[].tier`.
    pub tier: u8,
    /// That it has now.
    pub connections: u32,
    /// Most that it may have.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_connections: Option<u32>,
}

/// What is known besides the configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Table {
    /// That of a running proxy.
    Running,
    /// That of a file: nobody has looked at targets or looked up names.
    File,
}

/// Most rules that did not match are told one by one; of more, how many there were.
pub const RULES_TOLD_MAX: usize = 500;

/// Goes the way of a connection.
///
/// # Errors
/// The question cannot be asked, in words.
pub fn run(snapshot: &Snapshot, question: &Question, table: Table) -> Result<Route, String> {
    let Some(address) = listener_at(snapshot, question)? else {
        return Ok(nobody_listens(snapshot, question));
    };
    let Some(listener) = snapshot.listeners.get(&address) else {
        return Ok(nobody_listens(snapshot, question));
    };
    let first = first_of(listener, question)?;
    let mut route = Route {
        listener: Some(address),
        outcome: Outcome::Routed,
        service: None,
        rule: None,
        target: None,
        reason: None,
        explanation: None,
        steps: Vec::new(),
        tls: None,
        certificate: None,
        targets: Vec::new(),
    };
    let walk = walk::Walk { snapshot, listener, question, table, first };
    if let Err(ending) = walk.path(&mut route) {
        route.outcome = Outcome::Refused;
        route.target = None;
        route.targets.iter_mut().for_each(|target| target.chosen = false);
        route.reason = Some(ending.to_string());
        route.explanation = Some(ending.cause.text());
    }
    Ok(route)
}

/// The listener that the kernel would give the connection to.
fn listener_at(snapshot: &Snapshot, question: &Question) -> Result<Option<SocketAddr>, String> {
    let port = question.port;
    if let Some(ip) = question.interface {
        let any_v4 = ip.is_ipv4().then_some(IpAddr::from(Ipv4Addr::UNSPECIFIED));
        let candidates = [Some(ip), any_v4, Some(Ipv6Addr::UNSPECIFIED.into())];
        let mut candidates = candidates.into_iter().flatten().map(|ip| SocketAddr::new(ip, port));
        return Ok(candidates.find(|address| snapshot.listeners.contains_key(address)));
    }
    let mut found: Vec<_> =
        snapshot.listeners.keys().filter(|address| address.port() == port).copied().collect();
    found.sort_unstable();
    match *found {
        [] => Ok(None),
        [one] => Ok(Some(one)),
        _ => {
            let list: Vec<String> = found.iter().map(ToString::to_string).collect();
            Err(format!("there are several listeners, {}: say which interface", list.join(", ")))
        }
    }
}

fn nobody_listens(snapshot: &Snapshot, question: &Question) -> Route {
    let mut others: Vec<_> = snapshot.listeners.keys().copied().collect();
    others.sort_unstable_by_key(|it| (it.port().abs_diff(question.port), *it));
    let nearest: Vec<String> = others.iter().take(3).map(ToString::to_string).collect();
    let why = if nearest.is_empty() {
        "nothing is served".to_owned()
    } else {
        format!("nobody listens there; the nearest are {}", nearest.join(", "))
    };
    let what = match question.interface {
        Some(ip) => format!("listener {}", SocketAddr::new(ip, question.port)),
        None => format!("listener on port {}", question.port),
    };
    Route {
        listener: None,
        outcome: Outcome::Refused,
        service: None,
        rule: None,
        target: None,
        reason: None,
        explanation: None,
        steps: vec![Step { what, matched: false, why }],
        tls: None,
        certificate: None,
        targets: Vec::new(),
    }
}

/// What would be read of the client, as its reader would say it.
fn first_of(listener: &Listener, question: &Question) -> Result<First, String> {
    let Question { sni, alpn, http_host: host, .. } = question;
    let speaks_tls = sni.is_some() || !alpn.is_empty();
    if speaks_tls && host.is_some() {
        return Err("a client sends a TLS hello or an HTTP request first, not both".into());
    }
    if let Some(bad) = alpn.iter().find(|it| it.is_empty() || it.len() > 255) {
        return Err(format!("`{bad}` is not the name of a protocol"));
    }
    if listener.needs == Needs::Head {
        if speaks_tls {
            return Ok(First::Other(Cause::NotRecognised));
        }
        let host = host.as_deref().unwrap_or_default();
        if host.chars().any(char::is_control) {
            return Err("the host has control characters".into());
        }
        let head = match host {
            // HTTP/1.0 asks for no host.
            "" => "GET / HTTP/1.0\r\n\r\n".to_owned(),
            host => format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n"),
        };
        return Ok(match http_host::Reader::default().read(head.as_bytes()) {
            http_host::Progress::Host(name) => First::Head(name),
            http_host::Progress::Refused(http_host::Refusal::TooLarge)
            | http_host::Progress::More => First::Other(Cause::TooLarge),
            http_host::Progress::Refused(_) => First::Other(Cause::Malformed),
        });
    }
    if host.is_some() {
        return Ok(First::Other(Cause::PlainHttp));
    }
    let Ok(server_name) = sni.as_deref().map_or(Ok(None), |it| name::normalise(it.as_bytes()))
    else {
        return Ok(First::Other(Cause::Malformed));
    };
    Ok(First::Hello(Box::new(Hello {
        server_name,
        alpn: alpn.iter().map(|protocol| protocol.as_bytes().into()).collect(),
        version: Some(TLS13),
        ech: false,
        fallback: false,
        length: 0,
    })))
}

#[cfg(test)]
mod tests;
