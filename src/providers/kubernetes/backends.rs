//! From a reference to a `Service` to native targets: its endpoints, each with its part of the share,
//! how TLS is spoken to them, and what is refused.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Value, json};

use super::objects::{Key, Kind, Object, Objects};
use super::policies::Policies;
use super::refs::{Broken, is_granted, is_of};
use super::specs::{BackendRef, NumberOrName, Service, ServicePort};
use crate::config::limits;
use crate::providers::set;

/// The label that says whose a slice is.
const SERVICE_NAME: &str = "kubernetes.io/service-name";

/// Where connections of one share go.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Share {
    /// How large it is, beside others.
    pub(super) weight: u32,
    /// Who takes it, in equal parts; none: it is refused.
    pub(super) targets: Vec<Target>,
    /// Those that keep what they have.
    pub(super) drained: Vec<Target>,
}

/// One endpoint.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Target {
    pub(super) host: String,
    pub(super) port: u16,
    /// Further members of the native target, in a fixed order.
    pub(super) members: Members,
}

/// Members of a native target by their names.
pub(super) type Members = BTreeMap<&'static str, Member>;

/// A member of a native target.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Member {
    Flag(bool),
    Text(String),
    /// `{ "name": … }`.
    Named(String),
}

impl Target {
    fn value(&self, weight: u32) -> Value {
        let mut value = json!({ "host": self.host, "port": self.port, "weight": weight });
        for (name, member) in &self.members {
            match member {
                Member::Flag(flag) => set(&mut value, name, flag),
                Member::Text(text) => set(&mut value, name, text),
                Member::Named(named) => set(&mut value, name, json!({ "name": named })),
            }
        }
        value
    }
}

/// Resolves backends of one route.
#[derive(Debug)]
pub(super) struct Backends<'a> {
    objects: &'a Objects,
    policies: &'a Policies,
    slices: BTreeMap<Key, Vec<&'a Arc<Object<super::specs::EndpointSlice>>>>,
}

impl<'a> Backends<'a> {
    pub(super) fn new(objects: &'a Objects, policies: &'a Policies) -> Self {
        let mut slices: BTreeMap<Key, Vec<_>> = BTreeMap::new();
        for slice in objects.endpoint_slices.values() {
            if let Some(name) = slice.meta.labels.get(SERVICE_NAME) {
                let key = Key::new(&slice.meta.key.namespace, name);
                slices.entry(key).or_default().push(slice);
            }
        }
        Self { objects, policies, slices }
    }

    /// The `Service` that a route's backend is, and the share that it takes.
    pub(super) fn share(
        &self,
        from: (Kind, &str),
        reference: &BackendRef,
        passes_tls: bool,
    ) -> (Key, Result<Share, Broken>) {
        let BackendRef { group, kind, namespace, name, port, weight } = reference;
        let key = Key::new(namespace.as_deref().unwrap_or(from.1), name);
        let found = (|| {
            if !is_of(Kind::Service, group.as_deref(), kind.as_deref(), Kind::Service) {
                let kind = kind.as_deref().unwrap_or("Service");
                let message = format!("a backend is a Service, and `{name}` is a {kind}");
                return Err(Broken::new("InvalidKind", message));
            }
            if !is_granted(self.objects, from, (Kind::Service, &key)) {
                let message = format!("no ReferenceGrant lets the Service {key} be used");
                return Err(Broken::new("RefNotPermitted", message));
            }
            let Some(port) = *port else {
                let message = format!("the port of the Service {key} is missing");
                return Err(Broken::new("BackendNotFound", message));
            };
            let (service, port) = self.service(&key, port)?;
            let members = if passes_tls {
                Members::new()
            } else {
                self.policies
                    .members(&key, port.name.as_deref())
                    .map_err(|message| Broken::new("InvalidBackendTLSPolicy", message))?
            };
            Ok(Share {
                weight: *weight,
                ..self.endpoints(&service.meta.key, service, port, &members)
            })
        })();
        (key, found)
    }

    /// A `Service` and a port of it.
    pub(super) fn service(
        &self,
        key: &Key,
        port: u16,
    ) -> Result<(&'a Object<Service>, &'a ServicePort), Broken> {
        const REASON: &str = "BackendNotFound";
        let Some(service) = self.objects.services.get(key) else {
            return Err(Broken::new(REASON, format!("there is no Service {key}")));
        };
        let is_it = |it: &&ServicePort| it.port == port;
        let mut ports = service.body.spec.ports.iter().filter(is_it).peekable();
        if ports.peek().is_none() {
            let message = format!("the Service {key} has no port {port}");
            return Err(Broken::new(REASON, message));
        }
        match ports.find(|it| it.protocol.as_deref().unwrap_or("TCP") == "TCP") {
            Some(found) => Ok((service, found)),
            None => {
                let message = format!("the port {port} of the Service {key} is not one of TCP");
                Err(Broken::new("UnsupportedProtocol", message))
            }
        }
    }

    /// Who takes connections for a port of a `Service`.
    pub(super) fn endpoints(
        &self,
        key: &Key,
        service: &Object<Service>,
        port: &ServicePort,
        members: &Members,
    ) -> Share {
        let spec = &service.body.spec;
        let target = |host: String, port| Target { host, port, members: members.clone() };
        let direct =
            |host: String, port| Share { targets: vec![target(host, port)], ..Share::default() };
        if spec.kind.as_deref() == Some("ExternalName") {
            return direct(spec.external_name.clone().unwrap_or_default(), port.port);
        }
        let Some(slices) = self.slices.get(key) else {
            // Manifests without a cluster: its DNS has the name.
            let headless = spec.cluster_ip.as_deref() == Some("None");
            let number = match &port.target_port {
                Some(NumberOrName::Number(number)) if headless => *number,
                _ => port.port,
            };
            return direct(format!("{}.{}.svc", key.name, key.namespace), number);
        };
        // Of a dual-stack service each pod is in slices of both families.
        let usable = |family: &&str| {
            slices
                .iter()
                .any(|it| it.body.address_type == **family && !it.body.endpoints.is_empty())
        };
        let families = spec.ip_families.iter().map(String::as_str).chain(["IPv4", "IPv6", "FQDN"]);
        let Some(family) = families.into_iter().find(usable) else { return Share::default() };
        let (mut ready, mut serving) = (Vec::new(), Vec::new());
        for slice in slices.iter().filter(|it| it.body.address_type == family) {
            let is_it = |it: &&super::specs::EndpointPort| {
                it.name.as_deref().unwrap_or_default() == port.name.as_deref().unwrap_or_default()
                    && it.protocol.as_deref().unwrap_or("TCP") == "TCP"
            };
            let Some(number) = slice.body.ports.iter().find(is_it).and_then(|it| it.port) else {
                continue;
            };
            for endpoint in &slice.body.endpoints {
                let Some(address) = endpoint.addresses.first() else { continue };
                let conditions = endpoint.conditions;
                let target = target(address.clone(), number);
                let is_ready = conditions.ready.unwrap_or(true);
                if is_ready && !conditions.terminating.unwrap_or(false) {
                    ready.push(target);
                } else if conditions.serving.unwrap_or(is_ready) {
                    serving.push(target);
                }
            }
        }
        let tidy = |list: &mut Vec<Target>| {
            list.sort();
            list.dedup();
        };
        tidy(&mut ready);
        tidy(&mut serving);
        serving.retain(|it| !ready.contains(it));
        if ready.is_empty() {
            // As kube-proxy does: those that end still answer.
            return Share { targets: serving, ..Share::default() };
        }
        Share { weight: 0, targets: ready, drained: serving }
    }
}

/// Native targets of shares: each share is split over its targets exactly, and what nobody can take
/// is refused. None at all is refused too.
pub(super) fn targets(shares: &[Share]) -> Vec<Value> {
    let counts = shares.iter().filter(|it| it.weight > 0 && !it.targets.is_empty());
    let common = counts.map(|it| it.targets.len() as u128).fold(1, lcm);
    let mut weights: BTreeMap<Option<&Target>, u128> = BTreeMap::new();
    let mut order = Vec::new();
    let mut add = |target, weight| {
        let known = weights.entry(target).or_insert_with(|| {
            order.push(target);
            0
        });
        *known += weight;
    };
    for share in shares {
        let whole = u128::from(share.weight) * common;
        if share.targets.is_empty() && share.weight > 0 {
            add(None, whole);
        }
        for target in &share.targets {
            add(Some(target), whole / (share.targets.len() as u128));
        }
        for target in &share.drained {
            add(Some(target), 0);
        }
    }
    if weights.values().all(|weight| *weight == 0) {
        weights.insert(None, 1);
        order.push(None);
    }
    let divisor = weights.values().copied().fold(0, gcd).max(1);
    let largest = weights.values().copied().max().unwrap_or(1) / divisor;
    let most = u128::from(limits::WEIGHT_MAX);
    let scaled = |weight: u128| {
        let weight = weight / divisor;
        let fit =
            if largest <= most { weight } else { (weight * most / largest).max(weight.min(1)) };
        u32::try_from(fit).unwrap_or(limits::WEIGHT_MAX)
    };
    order
        .into_iter()
        .map(|target| {
            let weight = scaled(weights.get(&target).copied().unwrap_or_default());
            match target {
                Some(target) => target.value(weight),
                None => json!({ "reject": true, "weight": weight }),
            }
        })
        .collect()
}

/// Bounded, so that many services of odd sizes cannot make it overflow: beyond that, shares are as
/// near as the bound allows.
fn lcm(a: u128, b: u128) -> u128 {
    let product = a / gcd(a, b) * b;
    if product > 1 << 64 { a } else { product }
}

fn gcd(a: u128, b: u128) -> u128 {
    if b == 0 { a } else { gcd(b, a % b) }
}
