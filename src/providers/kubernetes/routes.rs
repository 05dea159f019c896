//! `TCPRoute`s and `TLSRoute`s: to which listeners each attaches, with which names, and where its
//! connections go.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::Options;
use super::backends::{Backends, Share, targets};
use super::gateways::{Gateways, Listener, Mode};
use super::hostname::Hostname;
use super::objects::{Key, Kind, Object, Objects};
use super::plan::{Piece, Plan, Tls, Unit};
use super::refs::selects;
use super::specs::{GATEWAY_GROUP, ParentRef, Route};
use super::status::{Condition, Status};
use crate::diagnostics::{BACKEND_NOT_RESOLVED, Diagnostic, ROUTE_NOT_ACCEPTED, ROUTE_SHADOWED};
use crate::providers::set;

/// What all routes come to.
#[derive(Debug, Default)]
pub(super) struct Attached {
    pub(super) statuses: Vec<Status>,
    /// Which gateway sends to which `Service`.
    pub(super) uses: BTreeSet<(Key, Key)>,
}

/// A route on its way.
struct Walk<'a, 'g> {
    objects: &'a Objects,
    options: &'g Options,
    kind: Kind,
    route: &'a Object<Route>,
    shares: Vec<(Mode, Vec<Share>)>,
    resolved: Condition,
}

/// Attaches all routes, the oldest first.
pub(super) fn attach<'a>(
    objects: &'a Objects,
    options: &Options,
    gateways: &mut Gateways<'a>,
    backends: &Backends<'a>,
    plan: &mut Plan<'a>,
    found: &mut Vec<Diagnostic>,
) -> Attached {
    let mut attached = Attached::default();
    let tcp = objects.tcp_routes.values().map(|route| (Kind::TcpRoute, route));
    let tls = objects.tls_routes.values().map(|route| (Kind::TlsRoute, route));
    let mut routes: Vec<_> = tcp.chain(tls).collect();
    routes.sort_by(|(_, a), (_, b)| a.meta.age().cmp(&b.meta.age()));
    let mut pieces = Vec::new();
    for (kind, route) in routes {
        let services = backends_of(kind, route, backends, found);
        let (shares, resolved, services) = services;
        let walk = Walk { objects, options, kind, route, shares, resolved };
        let mut parents = Vec::new();
        for (at, parent) in route.body.spec.parent_refs.iter().enumerate() {
            let Some(gateway) = walk.gateway(parent) else { continue };
            let path = format!("spec.parentRefs[{at}]");
            let Some(listeners) = gateways.get_mut(&gateway) else {
                if !objects.gateways.contains_key(&gateway) {
                    let message = format!("NoMatchingParent: there is no Gateway {gateway}");
                    found.push(route.finding(&ROUTE_NOT_ACCEPTED, &path, message));
                }
                continue;
            };
            attached.uses.extend(services.iter().map(|it| (gateway.clone(), it.clone())));
            let before = pieces.len();
            let accepted = walk.attach(parent, listeners, &mut pieces);
            let is_served = pieces.len() > before;
            if !accepted.holds {
                let message = format!("{}: {}", accepted.reason, accepted.message);
                found.push(route.finding(&ROUTE_NOT_ACCEPTED, &path, message));
            }
            parents.push(walk.parent(parent, &accepted, is_served));
        }
        if !parents.is_empty() {
            let value = json!({ "parents": parents });
            attached.statuses.push(Status::new(kind, &route.meta, value));
        }
    }
    place(gateways, pieces, plan);
    attached
}

/// A piece, and the listener that it is for.
type Placed<'a> = ((Key, usize), Piece<'a>);

/// Puts listeners with what attached to them into the plan.
fn place<'a>(gateways: &Gateways<'a>, mut pieces: Vec<Placed<'a>>, plan: &mut Plan<'a>) {
    for (gateway, listeners) in &gateways.all {
        for listener in listeners.iter().filter(|it| it.is_served()) {
            let key = (gateway.meta.key.clone(), listener.at);
            let own = pieces.extract_if(.., |(of, _)| *of == key).map(|(_, piece)| piece).collect();
            let unit = Unit {
                hostname: listener.hostname.clone(),
                is_tls: listener.mode != Mode::Tcp,
                pieces: own,
                rest: Some((listener.id(), &gateway.origin, listener.path())),
            };
            plan.add(listener.spec.port, unit);
        }
    }
}

/// The shares of a route's backends (as a proxy that ends TLS, or has none, and as one that passes it
/// on), whether all are resolved, and the `Service`s among them.
type Resolved = (Vec<(Mode, Vec<Share>)>, Condition, Vec<Key>);

fn backends_of(
    kind: Kind,
    route: &Object<Route>,
    backends: &Backends<'_>,
    found: &mut Vec<Diagnostic>,
) -> Resolved {
    let mut resolved = Condition::yes("ResolvedRefs", "ResolvedRefs");
    let mut services = Vec::new();
    let mut shares = Vec::new();
    let from = (kind, route.meta.key.namespace.as_str());
    for mode in [Mode::Terminate, Mode::PassThrough] {
        let mut of_mode = Vec::new();
        for (rule_at, rule) in route.body.spec.rules.iter().enumerate() {
            for (at, reference) in rule.backend_refs.iter().enumerate() {
                let passes = mode == Mode::PassThrough;
                let (service, share) = backends.share(from, reference, passes);
                of_mode.push(share.unwrap_or_else(|broken| {
                    if !passes {
                        let path = format!("spec.rules[{rule_at}].backendRefs[{at}]");
                        let message = format!("{}: {}", broken.reason, broken.message);
                        found.push(route.finding(&BACKEND_NOT_RESOLVED, &path, message));
                        if resolved.holds {
                            let (reason, message) = (broken.reason, broken.message);
                            resolved = Condition::no("ResolvedRefs", reason, message);
                        }
                    }
                    Share { weight: reference.weight, ..Share::default() }
                }));
                if !passes {
                    services.push(service);
                }
            }
        }
        shares.push((mode, of_mode));
    }
    (shares, resolved, services)
}

impl<'a> Walk<'a, '_> {
    /// The gateway that a reference is to; `None` if it is to something else.
    fn gateway(&self, parent: &ParentRef) -> Option<Key> {
        let group = parent.group.as_deref().unwrap_or(GATEWAY_GROUP);
        let kind = parent.kind.as_deref().unwrap_or("Gateway");
        let namespace = parent.namespace.as_deref().unwrap_or(&self.route.meta.key.namespace);
        (group == GATEWAY_GROUP && kind == "Gateway").then(|| Key::new(namespace, &parent.name))
    }

    /// Attaches to the listeners that a reference is to, and says whether one has taken it.
    fn attach(
        &self,
        parent: &ParentRef,
        listeners: &mut [Listener<'a>],
        pieces: &mut Vec<Placed<'a>>,
    ) -> Condition {
        let no = |reason, message: &str| Condition::no("Accepted", reason, message);
        let (section, port) = (parent.section_name.as_deref(), parent.port);
        let mut named = listeners
            .iter_mut()
            .filter(|it| section.is_none_or(|section| it.spec.name == section))
            .filter(|it| port.is_none_or(|port| it.spec.port == port))
            .peekable();
        if named.peek().is_none() {
            let message = match (section, port) {
                (Some(section), _) => format!("the Gateway has no listener `{section}` that fits"),
                (None, Some(port)) => format!("the Gateway has no listener of port {port}"),
                (None, None) => "the Gateway has no listener".into(),
            };
            return no("NoMatchingParent", &message);
        }
        let mut allowed: Vec<_> = named.filter(|it| self.is_allowed(it)).collect();
        if allowed.is_empty() {
            let message = "no listener allows routes of this kind and namespace";
            return no("NotAllowedByListeners", message);
        }
        for listener in &mut allowed {
            listener.attached += 1;
        }
        let wanted = match self.hostnames() {
            Ok(wanted) => wanted,
            Err(message) => return no("UnsupportedValue", &message),
        };
        let mut meets = false;
        for listener in allowed {
            let mut hostnames: Vec<_> =
                wanted.iter().filter_map(|it| it.meet(&listener.hostname)).collect();
            hostnames.sort();
            hostnames.dedup();
            if hostnames.is_empty() {
                continue;
            }
            meets = true;
            if listener.is_served() {
                let of = (listener.gateway.meta.key.clone(), listener.at);
                pieces.push((of, self.piece(listener, hostnames)));
            }
        }
        if !meets {
            let message = "no listener has a name that the route has too";
            return no("NoMatchingListenerHostname", message);
        }
        Condition::yes("Accepted", "Accepted")
    }

    /// The names of the route; any, if it has none.
    fn hostnames(&self) -> Result<Vec<Hostname>, String> {
        let spec = &self.route.body.spec;
        if self.kind == Kind::TcpRoute || spec.hostnames.is_empty() {
            if self.kind == Kind::TlsRoute && self.route.meta.api_version.ends_with("/v1") {
                return Err("`hostnames` is missing; v1 asks for it".into());
            }
            return Ok(vec![Hostname::Any]);
        }
        let read = |text: &String| match Hostname::read(text) {
            Some(Hostname::Any) | None => Err(format!("`{text}` is no name, nor `*.` and a name")),
            Some(hostname) => Ok(hostname),
        };
        spec.hostnames.iter().map(read).collect()
    }

    fn is_allowed(&self, listener: &Listener<'_>) -> bool {
        let own = self.route.meta.key.namespace.as_str();
        let namespaces = &listener.spec.allowed_routes.namespaces;
        let fits = match namespaces.from.as_deref().unwrap_or("Same") {
            "All" => true,
            "Same" => own == listener.gateway.meta.key.namespace,
            "Selector" => {
                namespaces.selector.as_ref().is_some_and(|it| selects(self.objects, it, own))
            }
            _ => false,
        };
        fits && listener.kinds.contains(&self.kind)
    }

    fn piece(&self, listener: &Listener<'a>, hostnames: Vec<Hostname>) -> Piece<'a> {
        let key = &self.route.meta.key;
        let gateway = &listener.gateway.meta.key;
        let parent = match gateway.namespace == key.namespace {
            true => gateway.name.clone(),
            false => gateway.to_string(),
        };
        let word = self.kind.word();
        let (tls, mode) = match listener.mode {
            Mode::PassThrough => (Tls::PassThrough, Mode::PassThrough),
            Mode::Terminate => (Tls::Terminate(listener.termination.clone()), Mode::Terminate),
            Mode::Tcp | Mode::Unknown => (Tls::Plain, Mode::Terminate),
        };
        let shares = self.shares.iter().find(|(of, _)| *of == mode);
        Piece {
            id: format!(
                "kubernetes/{}/{key}/{parent}/{}",
                word.to_ascii_lowercase(),
                listener.spec.name
            ),
            name: format!("{word} {key}"),
            hostnames,
            tls,
            targets: targets(shares.map(|(_, shares)| shares.as_slice()).unwrap_or_default()),
            members: Vec::new(),
            origin: &self.route.origin,
            path: String::new(),
            shadowed: &ROUTE_SHADOWED,
        }
    }

    /// What a parent has become, as the route's status has it.
    fn parent(&self, parent: &ParentRef, accepted: &Condition, is_served: bool) -> Value {
        let generation = self.route.meta.generation;
        // Kong's controller has this one too.
        let programmed = match (accepted.holds, is_served) {
            (true, true) => Condition::yes("Programmed", "ConfiguredInGateway"),
            (true, false) => {
                let message = "no listener that it attaches to is served";
                Condition::no("Programmed", "TranslationError", message)
            }
            (false, _) => Condition::no("Programmed", "TranslationError", &accepted.message),
        };
        let conditions: Vec<_> =
            [accepted, &self.resolved, &programmed].iter().map(|it| it.value(generation)).collect();
        let mut reference = json!({
            "group": GATEWAY_GROUP, "kind": "Gateway", "name": parent.name,
        });
        // As it was written: an entry belongs to a reference that is the same to the letter.
        if let Some(namespace) = &parent.namespace {
            set(&mut reference, "namespace", namespace);
        }
        if let Some(section) = &parent.section_name {
            set(&mut reference, "sectionName", section);
        }
        if let Some(port) = parent.port {
            set(&mut reference, "port", port);
        }
        json!({
            "parentRef": reference,
            "controllerName": self.options.controller_name,
            "conditions": conditions,
        })
    }
}
