//! `GatewayClass`es, `Gateway`s and their listeners: which of them are ours, and which are served.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Value, json};

use super::Options;
use super::hostname::Hostname;
use super::objects::{Key, Kind, Object, Objects};
use super::plan::Termination;
use super::refs::{Pair, authorities, certificate};
use super::specs::{GATEWAY_GROUP, Gateway, Listener as Spec};
use super::status::{Condition, Status};
use crate::diagnostics::{Diagnostic, LISTENER_NOT_SERVED, OTHER_CLASS};

/// What a listener does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    Tcp,
    PassThrough,
    Terminate,
    /// Nothing: its protocol, or its mode, is not served.
    Unknown,
}

/// A listener, and what became of it.
#[derive(Debug)]
pub(super) struct Listener<'a> {
    pub(super) gateway: &'a Object<Gateway>,
    pub(super) at: usize,
    pub(super) spec: &'a Spec,
    pub(super) mode: Mode,
    pub(super) hostname: Hostname,
    /// The kinds of routes that may attach.
    pub(super) kinds: Vec<Kind>,
    pub(super) termination: Arc<Termination>,
    /// How many routes have attached.
    pub(super) attached: u32,
    accepted: Condition,
    conflicted: Option<(&'static str, String)>,
    resolved: Condition,
    overlaps: bool,
    /// It has a certificate, or needs none.
    is_able: bool,
}

impl Listener<'_> {
    /// Whether it takes connections.
    pub(super) fn is_served(&self) -> bool {
        self.accepted.holds && self.conflicted.is_none() && self.is_able
    }

    /// Where it is in its gateway.
    pub(super) fn path(&self) -> String {
        format!("spec.listeners[{}]", self.at)
    }

    /// The id of the service that refuses what no route takes.
    pub(super) fn id(&self) -> String {
        format!("kubernetes/gateway/{}/{}", self.gateway.meta.key, self.spec.name)
    }

    fn why(&self) -> Option<String> {
        let refused =
            |it: &Condition| (!it.holds).then(|| format!("{}: {}", it.reason, it.message));
        refused(&self.accepted)
            .or_else(|| self.conflicted.as_ref().map(|(reason, why)| format!("{reason}: {why}")))
            .or_else(|| refused(&self.resolved))
    }

    fn status(&self, generation: i64) -> Value {
        let conflicted = match &self.conflicted {
            None => Condition::no("Conflicted", "NoConflicts", ""),
            Some((reason, why)) => {
                Condition { kind: "Conflicted", holds: true, reason, message: why.clone() }
            }
        };
        let programmed = match self.why() {
            _ if self.is_served() => Condition::yes("Programmed", "Programmed"),
            why => Condition::no("Programmed", "Invalid", why.unwrap_or_default()),
        };
        let accepted = match &self.conflicted {
            Some((reason, why)) if self.accepted.holds => Condition::no("Accepted", reason, why),
            _ => self.accepted.clone(),
        };
        let mut conditions = vec![accepted, conflicted, self.resolved.clone(), programmed];
        if self.overlaps {
            conditions.push(Condition {
                kind: "OverlappingTLSConfig",
                holds: true,
                reason: "OverlappingHostnames",
                message: "another listener of this port has names that this one has too".into(),
            });
        }
        let conditions: Vec<_> = conditions.iter().map(|it| it.value(generation)).collect();
        let kinds: Vec<_> = self
            .kinds
            .iter()
            .map(|kind| json!({ "group": kind.group(), "kind": kind.word() }))
            .collect();
        json!({
            "name": self.spec.name,
            "supportedKinds": kinds,
            "attachedRoutes": self.attached,
            "conditions": conditions,
        })
    }
}

/// All that is ours.
#[derive(Debug, Default)]
pub(super) struct Gateways<'a> {
    /// Of all gateways that are ours, the oldest first; each with its listeners in their order.
    pub(super) all: Vec<(&'a Object<Gateway>, Vec<Listener<'a>>)>,
    /// Certificates that listeners name, by the names that services have for them.
    pub(super) certificates: BTreeMap<String, Pair>,
}

/// The name of a secret's certificate in native services.
pub(super) fn certificate_name(key: &Key) -> String {
    format!("kubernetes/{key}")
}

impl<'a> Gateways<'a> {
    pub(super) fn new(
        objects: &'a Objects,
        options: &Options,
        found: &mut Vec<Diagnostic>,
    ) -> Self {
        let mut gateways = Self::default();
        let mut all: Vec<_> = objects.gateways.values().collect();
        all.sort_by(|a, b| a.meta.age().cmp(&b.meta.age()));
        for gateway in all {
            let class = &gateway.body.spec.gateway_class_name;
            if !is_ours(objects, options, class) {
                let message = format!("its class is `{}`", crate::diagnostics::visible(class));
                found.push(gateway.finding(&OTHER_CLASS, "spec.gatewayClassName", message));
                continue;
            }
            let specs = gateway.body.spec.listeners.iter().enumerate();
            let mut listeners: Vec<_> = specs
                .map(|(at, spec)| {
                    listener(objects, options, gateway, (at, spec), &mut gateways.certificates)
                })
                .collect();
            conflicts(&mut listeners);
            against_others(&mut listeners, &gateways.all);
            for listener in &listeners {
                if let Some(why) = listener.why() {
                    let message = format!("listener `{}`: {why}", listener.spec.name);
                    found.push(gateway.finding(&LISTENER_NOT_SERVED, &listener.path(), message));
                }
            }
            gateways.all.push((gateway, listeners));
        }
        gateways
    }

    /// The listeners of one.
    pub(super) fn get_mut(&mut self, key: &Key) -> Option<&mut Vec<Listener<'a>>> {
        self.all.iter_mut().find(|(it, _)| it.meta.key == *key).map(|(_, listeners)| listeners)
    }

    pub(super) fn statuses(&self, objects: &Objects, options: &Options) -> Vec<Status> {
        let classes = objects.gateway_classes.values();
        let classes = classes.filter(|class| is_ours(objects, options, &class.meta.key.name));
        let class = |class: &Arc<Object<_>>| {
            let generation = class.meta.generation;
            let conditions = [
                Condition::yes("Accepted", "Accepted").value(generation),
                Condition::yes("SupportedVersion", "SupportedVersion").value(generation),
            ];
            let features: Vec<_> = FEATURES.iter().map(|name| json!({ "name": name })).collect();
            let value = json!({ "conditions": conditions, "supportedFeatures": features });
            Status::new(Kind::GatewayClass, &class.meta, value)
        };
        let gateways = self.all.iter().map(|(gateway, listeners)| {
            let generation = gateway.meta.generation;
            let served = listeners.iter().filter(|it| it.is_served()).count();
            let accepted = match served {
                all if all == listeners.len() => Condition::yes("Accepted", "Accepted"),
                0 => Condition::no("Accepted", "ListenersNotValid", "no listener can be served"),
                some => Condition {
                    kind: "Accepted",
                    holds: true,
                    reason: "ListenersNotValid",
                    message: format!("{some} of {} listeners are served", listeners.len()),
                },
            };
            let programmed = if accepted.holds {
                Condition::yes("Programmed", "Programmed")
            } else {
                Condition::no("Programmed", "Invalid", "no listener can be served")
            };
            let conditions: Vec<_> =
                [accepted, programmed].iter().map(|it| it.value(generation)).collect();
            let listeners: Vec<_> = listeners.iter().map(|it| it.status(generation)).collect();
            let value = json!({
                "addresses": addresses(options),
                "conditions": conditions,
                "listeners": listeners,
            });
            Status::new(Kind::Gateway, &gateway.meta, value)
        });
        classes.map(class).chain(gateways).collect()
    }
}

/// The standard's names of what is done, sorted as it asks for.
const FEATURES: &[&str] = &[
    "BackendTLSPolicy",
    "Gateway",
    "GatewayPort8080",
    "ReferenceGrant",
    "TCPRoute",
    "TLSRoute",
    "TLSRouteModeMixed",
    "TLSRouteModeTerminate",
];

/// Where clients find the proxy, as a gateway's status has it.
fn addresses(options: &Options) -> Vec<Value> {
    let address = |text: &String| {
        let is_ip = text.parse::<std::net::IpAddr>().is_ok();
        json!({ "type": if is_ip { "IPAddress" } else { "Hostname" }, "value": text })
    };
    options.addresses.iter().take(16).map(address).collect()
}

/// Whether gateways of a class are ours.
fn is_ours(objects: &Objects, options: &Options, class: &str) -> bool {
    [class, "*"].contains(&options.gateway_class.as_str())
        && (options.adopts
            || objects
                .gateway_classes
                .get(&Key::new("", class))
                .is_some_and(|it| it.body.spec.controller_name == options.controller_name))
}

fn listener<'a>(
    objects: &'a Objects,
    options: &Options,
    gateway: &'a Object<Gateway>,
    (at, spec): (usize, &'a Spec),
    certificates: &mut BTreeMap<String, Pair>,
) -> Listener<'a> {
    let tls = spec.tls.as_ref();
    let mode = match (spec.protocol.as_str(), tls.and_then(|it| it.mode.as_deref())) {
        ("TCP", _) => Mode::Tcp,
        ("TLS", None | Some("Terminate")) => Mode::Terminate,
        ("TLS", Some("Passthrough")) => Mode::PassThrough,
        _ => Mode::Unknown,
    };
    let text = spec.hostname.as_deref().unwrap_or_default();
    let hostname = Hostname::read(text);
    let no = |reason, message: String| Condition::no("Accepted", reason, message);
    let accepted = match mode {
        Mode::Unknown if spec.protocol == "TLS" => {
            no("UnsupportedValue", "`tls.mode` is Terminate or Passthrough".into())
        }
        Mode::Unknown => {
            no("UnsupportedProtocol", format!("the protocol `{}` is not served", spec.protocol))
        }
        _ if spec.port == 0 => no("UnsupportedValue", "the port is missing".into()),
        Mode::Tcp if tls.is_some() || !text.is_empty() => {
            no("UnsupportedValue", "a TCP listener has neither `tls` nor `hostname`".into())
        }
        _ if hostname.is_none() => {
            no("UnsupportedValue", format!("`{text}` is no name, nor `*.` and a name"))
        }
        _ if !is_available(options, spec.port, mode != Mode::Tcp) => {
            let what = if mode == Mode::Tcp { "" } else { " ssl" };
            no("PortUnavailable", format!("`stream_listen` has no `:{}{what}`", spec.port))
        }
        _ => Condition::yes("Accepted", "Accepted"),
    };
    let (kinds, bad_kinds) = kinds(spec, mode);
    let mut listener = Listener {
        gateway,
        at,
        spec,
        mode,
        hostname: hostname.unwrap_or(Hostname::Any),
        kinds,
        termination: Arc::default(),
        attached: 0,
        accepted,
        conflicted: None,
        resolved: Condition::yes("ResolvedRefs", "ResolvedRefs"),
        overlaps: false,
        is_able: true,
    };
    if mode == Mode::Terminate {
        terminate(objects, &mut listener, certificates);
    }
    if let Some(kind) = bad_kinds {
        let message = format!("`{kind}` is no kind of route that the protocol has");
        listener.resolved = Condition::no("ResolvedRefs", "InvalidRouteKinds", message);
        listener.is_able &= !listener.kinds.is_empty();
    }
    listener
}

/// Whether a port may be listened on.
pub(super) fn is_available(options: &Options, port: u16, is_tls: bool) -> bool {
    let Some(listens) = &options.stream_listen else { return true };
    listens.iter().any(|it| it.port == port && it.ssl == is_tls)
}

/// The kinds of routes that a listener takes, and one that it names and cannot take.
fn kinds(spec: &Spec, mode: Mode) -> (Vec<Kind>, Option<String>) {
    let able = match mode {
        Mode::Tcp => Kind::TcpRoute,
        Mode::PassThrough | Mode::Terminate => Kind::TlsRoute,
        Mode::Unknown => return (Vec::new(), None),
    };
    let named = &spec.allowed_routes.kinds;
    let fits = |it: &&super::specs::RouteKind| {
        it.group.as_deref().unwrap_or(GATEWAY_GROUP) == GATEWAY_GROUP && it.kind == able.word()
    };
    if named.is_empty() || named.iter().all(|it| fits(&it)) {
        return (vec![able], None);
    }
    let bad = named.iter().find(|it| !fits(it)).map(|it| it.kind.clone());
    let good = named.iter().any(|it| fits(&it)).then_some(able);
    (good.into_iter().collect(), bad)
}

/// Finds what a listener ends TLS with.
fn terminate(
    objects: &Objects,
    listener: &mut Listener<'_>,
    certificates: &mut BTreeMap<String, Pair>,
) {
    let from = (Kind::Gateway, listener.gateway.meta.key.namespace.as_str());
    let no = |reason, message: String| Condition::no("ResolvedRefs", reason, message);
    let tls = listener.spec.tls.as_ref();
    let references = tls.map(|it| it.certificate_refs.as_slice()).unwrap_or_default();
    let mut termination = Termination::default();
    for reference in references {
        match certificate(objects, from, reference) {
            Ok((key, pair)) => {
                let name = certificate_name(&key);
                termination.certificates.push(name.clone());
                certificates.insert(name, pair);
            }
            Err(broken) if listener.resolved.holds => {
                listener.resolved = no(broken.reason, broken.message);
            }
            Err(_) => {}
        }
    }
    listener.is_able = !termination.certificates.is_empty();
    if references.is_empty() {
        let message = "a listener that ends TLS needs `certificateRefs`";
        listener.resolved = no("InvalidCertificateRef", message.into());
    }
    // Who may come is not guessed: without authorities nobody may.
    let validation = tls.and_then(|it| it.frontend_validation.as_ref());
    for reference in validation.map(|it| it.ca_certificate_refs.as_slice()).unwrap_or_default() {
        match authorities(objects, from, reference) {
            Ok(pem) => termination.client_authorities.push(pem),
            Err(message) => {
                listener.resolved = no("InvalidCACertificateRef", message);
                listener.is_able = false;
            }
        }
    }
    if validation.is_some_and(|it| it.ca_certificate_refs.is_empty()) {
        let message = "`frontendValidation` names no authorities";
        listener.resolved = no("InvalidCACertificateRef", message.into());
        listener.is_able = false;
    }
    listener.termination = Arc::new(termination);
}

/// What two listeners of a port cannot both be.
fn clash(a: &Listener<'_>, b: &Listener<'_>) -> Option<&'static str> {
    let of_tcp =
        |it: &Listener<'_>| matches!(it.spec.protocol.as_str(), "TCP" | "TLS" | "HTTPS" | "HTTP");
    if a.spec.port != b.spec.port || !of_tcp(a) || !of_tcp(b) {
        return None;
    }
    let family = |it: &Listener<'_>| match it.spec.protocol.as_str() {
        "TCP" => 0,
        "HTTP" => 1,
        _ => 2,
    };
    if family(a) != family(b) || (family(a) == 0) {
        Some("ProtocolConflict")
    } else if a.hostname == b.hostname {
        Some("HostnameConflict")
    } else {
        None
    }
}

/// Marks all listeners of a gateway that are in conflict: none of them is served.
fn conflicts(listeners: &mut [Listener<'_>]) {
    let mut marks = Vec::new();
    for (at, one) in listeners.iter().enumerate() {
        let mut others = listeners.iter().enumerate().filter(|(other, _)| *other != at);
        let found = others.find_map(|(_, other)| Some((clash(one, other)?, &other.spec.name)));
        if let Some((reason, other)) = found {
            let message = format!("the listener `{other}` has the port {} too", one.spec.port);
            marks.push((at, Some((reason, message)), false));
            continue;
        }
        let overlaps = listeners.iter().enumerate().any(|(other, it)| {
            other != at
                && it.spec.port == one.spec.port
                && it.mode == Mode::Terminate
                && one.mode == Mode::Terminate
                && it.hostname.meet(&one.hostname).is_some()
        });
        marks.push((at, None, overlaps));
    }
    for (at, conflicted, overlaps) in marks {
        if let Some(listener) = listeners.get_mut(at) {
            listener.conflicted = conflicted;
            listener.overlaps = overlaps;
        }
    }
}

/// Marks listeners that are in conflict with one of an older gateway, which keeps what it has: all
/// gateways are one proxy.
fn against_others(
    listeners: &mut [Listener<'_>],
    others: &[(&Object<Gateway>, Vec<Listener<'_>>)],
) {
    for one in listeners.iter_mut().filter(|it| it.conflicted.is_none()) {
        let mut served = others.iter().flat_map(|(_, all)| all).filter(|it| it.is_served());
        let found = served.find_map(|it| Some((clash(one, it)?, it)));
        if let Some((reason, other)) = found {
            let (key, port) = (&other.gateway.meta.key, one.spec.port);
            let message = format!("the older Gateway {key} has the port {port} too");
            one.conflicted = Some((reason, message));
        }
    }
}
