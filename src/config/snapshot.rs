//! What the cores see: the checked configuration joined with the live state that outlives any one
//! version of it. Immutable once published; replaced whole.
//!
//! # Invariants
//! - A core reads a snapshot without a lock and never waits for one.
//! - State that must survive a reload (round-robin positions, resolved addresses, counts of live
//!   connections) is behind an `Arc` that the next snapshot takes over by identity.
//! - The control thread frees old snapshots: taking apart 10,000 services must not stall a core.

use std::collections::{HashMap, HashSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicUsize};
use std::time::Duration;

use arc_swap::ArcSwap;

use super::checked::{self, Address};
use super::limits;
use crate::io::socket::Destination;

/// One version of the configuration, as the cores see it.
#[derive(Debug, Default)]
pub struct Snapshot {
    /// Counts publications, from 1; 0 is the empty one before the first.
    pub version: u64,
    /// The service behind each listening address.
    pub services: HashMap<SocketAddr, Arc<Service>>,
    /// To recognise a connection that would come back to us.
    pub own: Own,
}

/// Our own listeners.
#[derive(Debug, Default)]
pub struct Own {
    listens: HashSet<SocketAddr>,
    local: HashSet<IpAddr>,
}

impl Own {
    /// `listens` are the listening addresses, `local` the addresses of this machine.
    pub fn new(listens: HashSet<SocketAddr>, local: HashSet<IpAddr>) -> Self {
        Self { listens, local }
    }

    /// Whether a connection to `addr` would arrive at one of our listeners.
    pub fn contains(&self, addr: SocketAddr) -> bool {
        let any: IpAddr = match addr.ip() {
            IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
            IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
        };
        // Connecting to the unspecified address means loopback.
        let loopback: IpAddr = match addr.ip() {
            IpAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
            IpAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
        };
        let ip = if addr.ip().is_unspecified() { loopback } else { addr.ip() };
        self.listens.contains(&SocketAddr::new(ip, addr.port()))
            || (self.is_here(ip) && self.listens.contains(&SocketAddr::new(any, addr.port())))
    }

    /// Whether `ip` is this machine.
    pub fn is_here(&self, ip: IpAddr) -> bool {
        ip.is_loopback() || ip.is_unspecified() || self.local.contains(&ip)
    }
}

/// A service as the cores see it.
#[derive(Debug)]
pub struct Service {
    /// What the user declared.
    pub spec: checked::Service,
    /// Where its connections go.
    pub pool: Pool,
    /// What outlives a reload.
    pub state: Arc<ServiceState>,
    /// Limits in ticks, ready for the sweep.
    pub ticks: Ticks,
    /// The parts of its events that never change.
    pub event: EventParts,
}

/// The time limits of a service in ticks of the coarse clock; `u32::MAX`: none.
#[derive(Debug, Clone, Copy)]
pub struct Ticks {
    /// See [`checked::Timeouts::idle`].
    pub idle: u32,
    /// The shorter of idle and half-closed.
    pub half_closed: u32,
    /// See [`checked::Timeouts::lifetime`].
    pub lifetime: u32,
}

/// Serialised JSON that every event of a service shares.
#[derive(Debug)]
pub struct EventParts {
    /// From `protocol` to the opening of the target's host.
    pub head: String,
    /// From `@serviceId` to `service`.
    pub tail: String,
}

/// State of a service that a reload keeps, by the service's id.
#[derive(Debug, Default)]
pub struct ServiceState {
    /// Live connections over all cores; only kept while a limit asks for it.
    pub live: AtomicU32,
    /// Round-robin position over the pool.
    pub next: AtomicUsize,
}

/// The targets of one rule (here: of all rules, flattened).
#[derive(Debug)]
pub struct Pool {
    /// In the order of the file; never empty.
    pub targets: Box<[Target]>,
}

/// One target.
#[derive(Debug)]
pub struct Target {
    /// `host[/ip]:port`, as people read it.
    pub label: String,
    /// The `target` member of events.
    pub event: String,
    /// Its addresses.
    pub addresses: Addresses,
}

/// The addresses of a target.
#[derive(Debug)]
pub enum Addresses {
    /// Known for good.
    Fixed(Destination),
    /// Of a name, kept current by the resolver.
    Resolved(Arc<Name>, u16),
    /// One of our own listeners: refused, for the connection would come back for ever.
    Loop,
}

/// A name and its last good answer.
#[derive(Debug)]
pub struct Name {
    /// As written.
    pub host: Arc<str>,
    /// The last good answer; empty until there was one.
    pub addresses: ArcSwap<Vec<IpAddr>>,
}

/// What the control thread keeps from one snapshot for the next.
#[derive(Debug, Default)]
pub struct Kept {
    services: HashMap<Arc<str>, Arc<ServiceState>>,
    names: HashMap<Arc<str>, Arc<Name>>,
}

impl Kept {
    /// The names that the last snapshot's targets have.
    pub fn names(&self) -> impl Iterator<Item = &Arc<Name>> {
        self.names.values()
    }

    /// Joins checked services with the state kept so far, and forgets the state that nothing uses
    /// any more. `local` are the addresses of this machine.
    pub fn snapshot(
        &mut self,
        version: u64,
        services: &[checked::Service],
        local: HashSet<IpAddr>,
    ) -> Snapshot {
        let before = std::mem::take(self);
        let own = Own::new(services.iter().map(|service| service.listen).collect(), local);
        let mut table = HashMap::with_capacity(services.len());
        for spec in services {
            let state = before.services.get(&spec.id).cloned().unwrap_or_default();
            self.services.insert(Arc::clone(&spec.id), Arc::clone(&state));
            let first = spec.rules.first().map_or(&[][..], |rule| &rule.targets);
            let targets = first.iter().map(|target| self.target(&before, target, &own));
            let service = Service {
                pool: Pool { targets: targets.collect() },
                ticks: Ticks::of(&spec.timeouts),
                event: EventParts::of(spec),
                spec: spec.clone(),
                state,
            };
            table.insert(spec.listen, Arc::new(service));
        }
        Snapshot { version, services: table, own }
    }

    fn target(&mut self, before: &Self, target: &checked::Target, own: &Own) -> Target {
        let addresses = match &target.address {
            Address::Ip(ip) => {
                let addr = SocketAddr::new(*ip, target.port);
                if own.contains(addr) { Addresses::Loop } else { Addresses::Fixed(addr.into()) }
            }
            Address::Name => {
                let name = self.names.entry(Arc::clone(&target.host)).or_insert_with(|| {
                    before.names.get(&target.host).cloned().unwrap_or_else(|| {
                        Arc::new(Name {
                            host: Arc::clone(&target.host),
                            addresses: ArcSwap::default(),
                        })
                    })
                });
                Addresses::Resolved(Arc::clone(name), target.port)
            }
            // The path's length was checked; one that still does not fit has no address.
            Address::Unix(path) => {
                Destination::unix(path).map_or(Addresses::Loop, Addresses::Fixed)
            }
        };
        let label = label(target);
        let (host, uri) = (quoted(&label), quoted(&format!("tcp://{label}")));
        let event = format!(r#"{{"host":{host},"scheme":"tcp","uri":{uri}}}"#);
        Target { event, label, addresses }
    }
}

fn label(target: &checked::Target) -> String {
    match &target.address {
        Address::Ip(ip) if ip.to_string() != *target.host => {
            format!("{}/{ip}:{}", target.host, target.port)
        }
        Address::Ip(_) | Address::Name => format!("{}:{}", target.host, target.port),
        Address::Unix(_) => target.host.to_string(),
    }
}

fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

impl Ticks {
    fn of(timeouts: &checked::Timeouts) -> Self {
        let ticks = |limit: Option<Duration>| {
            let Some(limit) = limit else { return u32::MAX };
            let ticks = limit.as_millis().div_ceil(limits::TICK.as_millis());
            u32::try_from(ticks).unwrap_or(u32::MAX).max(1)
        };
        let idle = ticks(timeouts.idle);
        Self {
            idle,
            half_closed: idle.min(ticks(timeouts.half_closed)),
            lifetime: ticks(timeouts.lifetime),
        }
    }
}

impl EventParts {
    fn of(spec: &checked::Service) -> Self {
        let name = if spec.name.is_empty() { &spec.id } else { &spec.name };
        Self {
            head: format!(
                r#","protocol":"Tcp","port":{},"to":{{"host":"*","scheme":"tcp","uri":"tcp://*:{}"}}"#,
                spec.listen.port(),
                spec.listen.port(),
            ),
            tail: format!(
                r#","@serviceId":{},"@service":{},"service":{}"#,
                quoted(&spec.id),
                quoted(name),
                spec.document,
            ),
        }
    }
}
