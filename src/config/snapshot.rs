//! What the cores see: the checked configuration joined with the live state that outlives any one
//! version of it. Immutable once published; replaced whole.
//!
//! # Invariants
//! - A core reads a snapshot without a lock and never waits for one.
//! - State that must survive a reload (round-robin positions, resolved addresses, counts of live
//!   connections) is behind an `Arc` that the next snapshot takes over by identity.
//! - The control thread frees old snapshots: taking apart 10,000 services must not stall a core.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::num::{NonZeroU8, NonZeroU32, NonZeroU64};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use rustls::pki_types::ServerName;
use rustls::server::ProducesTickets;
use rustls::server::danger::ClientCertVerifier;
use rustls::{ClientConfig, ServerConfig};

use super::checked::health::{Passive, Probe};
use super::checked::{self, Address, Balancing, SendHeader, Termination, Tls, UpstreamTls};
use super::found::{self, Found};
use super::limits;
use super::pattern::{Kind, NameTable};
use crate::conn::admit::Admission;
use crate::conn::admit::sources::Sources;
use crate::conn::pace::{Bandwidth, Bandwidths, Whole};
use crate::conn::pick;
use crate::io::socket::Destination;
use crate::metrics::{Freshness, PerCore, ServiceCounts};
use crate::tls::material::{self, Material};
use crate::tls::problem::Problem;
use crate::tls::store::Store;
use crate::wire::json_line;

mod drain;
mod queue;
mod rejects;
mod state;

pub use self::drain::Drain;
pub use self::queue::{Queue, Queued};
pub use self::rejects::Rejects;
pub use self::state::{Failure, Report, Status, TargetState, since_1970};

/// One version of the configuration, as the cores see it.
#[derive(Debug, Default)]
pub struct Snapshot {
    /// Counts publications, from 1; 0 is the empty one before the first.
    pub version: u64,
    /// What is behind each listening address.
    pub listeners: HashMap<SocketAddr, Arc<Listener>>,
    /// To recognise a connection that would come back to us.
    pub own: Own,
}

impl Snapshot {
    /// Makes room for what so many cores count of its services and targets.
    pub fn prepare_counts(&self, cores: usize) {
        let services = self.listeners.values().flat_map(|listener| listener.services());
        for (_, service) in services {
            service.state.counts.prepare(cores);
            for target in service.pools.iter().flat_map(|pool| &pool.targets) {
                target.state.counts.prepare(cores);
            }
        }
    }
}

/// An IPv4 address in the form of IPv6 is an IPv4 address.
fn canonical(addr: SocketAddr) -> SocketAddr {
    SocketAddr::new(addr.ip().to_canonical(), addr.port())
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
        let listens = listens.into_iter().map(canonical).collect();
        Self { listens, local }
    }

    /// Whether a connection to `addr` would arrive at one of our listeners.
    pub fn contains(&self, addr: SocketAddr) -> bool {
        let addr = canonical(addr);
        // Connecting to the unspecified address means loopback.
        let ip = match addr.ip() {
            IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
            IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
            ip => ip,
        };
        let listens = |ip| self.listens.contains(&SocketAddr::new(ip, addr.port()));
        // A listener on `::` takes IPv4 too.
        let any = listens(Ipv6Addr::UNSPECIFIED.into())
            || (ip.is_ipv4() && listens(Ipv4Addr::UNSPECIFIED.into()));
        listens(ip) || (any && self.is_here(ip))
    }

    /// Whether `ip` is this machine.
    pub fn is_here(&self, ip: IpAddr) -> bool {
        ip.is_loopback() || ip.is_unspecified() || self.local.contains(&ip)
    }
}

/// The services of one listening address and the table that chooses among their rules.
#[derive(Debug)]
pub struct Listener {
    /// The first service of the file.
    pub first: Arc<Service>,
    /// The others, in the order of the file; only services that route by name share an address.
    pub more: Box<[Arc<Service>]>,
    /// What has to be read before a rule can be chosen.
    pub needs: Needs,
    /// How long the client may take for it.
    pub hello: Duration,
    /// All rules of all services, in order.
    pub rules: Box<[RuleRef]>,
    /// Their patterns.
    pub names: NameTable,
    /// Clients whose first bytes are not complete.
    pub peeks: Waiting,
}

/// What has to be read before a rule can be chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Needs {
    /// Nothing: the choice is the same for all.
    Nothing,
    /// A TLS hello.
    Hello,
    /// The head of an HTTP request.
    Head,
}

/// Which rule of which service; indices.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RuleRef {
    /// See [`Listener::service`].
    pub service: u32,
    /// Into the service's rules, and its pools.
    pub rule: u32,
}

impl Listener {
    /// # Errors
    /// `None` without a service.
    fn new(services: &[Arc<Service>]) -> Option<Self> {
        let (first, more) = services.split_first()?;
        let mut rules = Vec::new();
        let mut patterns = Vec::new();
        for (service, index) in services.iter().zip(0..) {
            for (rule, at) in service.spec.rules.iter().zip(0..) {
                rules.push(RuleRef { service: index, rule: at });
                patterns.push(&rule.pattern);
            }
        }
        Some(Self {
            needs: needs(services),
            hello: services.iter().map(|service| service.spec.timeouts.hello).max()?,
            names: NameTable::new(patterns),
            rules: rules.into(),
            peeks: Waiting::default(),
            first: Arc::clone(first),
            more: more.into(),
        })
    }

    /// A service by its index in the order of the file.
    pub fn service(&self, index: u32) -> &Arc<Service> {
        let more = usize::try_from(index).ok().and_then(|index| index.checked_sub(1));
        more.and_then(|at| self.more.get(at)).unwrap_or(&self.first)
    }

    /// All services with their indices.
    pub fn services(&self) -> impl Iterator<Item = (u32, &Arc<Service>)> {
        (0..).zip(std::iter::once(&self.first).chain(&self.more))
    }

    /// Whether several services share the address.
    pub fn is_shared(&self) -> bool {
        !self.more.is_empty()
    }
}

/// A server-first protocol must not wait for a hello that no rule asks for.
fn needs(services: &[Arc<Service>]) -> Needs {
    let Some(first) = services.first().map(|service| &service.spec) else { return Needs::Nothing };
    let terminates = services.iter().any(|service| matches!(service.spec.tls, Tls::Enabled(_)));
    // The first rule takes everything, or every rule takes every name.
    let takes_any = |rule: &checked::Rule| rule.pattern.kind() == Kind::Any && rule.alpn.is_empty();
    let names_matter = match first.rules.split_first() {
        Some((rule, _)) if takes_any(rule) && rule.sources.is_empty() => false,
        _ => first.by_name || services.len() > 1 || !first.rules.iter().all(takes_any),
    };
    match (terminates, names_matter, &first.tls) {
        (true, _, _) => Needs::Hello,
        (false, false, _) => Needs::Nothing,
        (false, true, Tls::Disabled) => Needs::Head,
        (false, true, _) => Needs::Hello,
    }
}

/// A service as the cores see it.
#[derive(Debug)]
pub struct Service {
    /// What the user declared.
    pub spec: checked::Service,
    /// How it ends TLS, if it does.
    pub tls: Option<ServerTls>,
    /// Where its connections go: a pool for each rule, then those of the fallbacks.
    pub pools: Box<[Pool]>,
    /// Which pools the fallbacks are.
    pub fallbacks: Fallbacks,
    /// Targets are told about TLS with the client.
    pub tells_tls: bool,
    /// Who may connect and how often; `None`: everybody and always.
    pub admission: Option<Box<Admission>>,
    /// How fast; `None`: as fast as it goes.
    pub bandwidths: Option<Box<Bandwidths>>,
    /// What outlives a reload.
    pub state: Arc<ServiceState>,
    /// Limits in ticks, ready for the sweep.
    pub ticks: Ticks,
    /// The parts of its events that never change.
    pub event: EventParts,
}

impl Service {
    /// A pool by its index.
    pub fn pool(&self, index: u32) -> Option<&Pool> {
        self.pools.get(usize::try_from(index).ok()?)
    }
}

/// How a service ends TLS.
#[derive(Debug)]
pub struct ServerTls {
    /// For most clients.
    pub config: Arc<ServerConfig>,
    /// For clients that a rule with protocols of its own has taken, by the rule's index.
    pub of_rules: HashMap<u32, Arc<ServerConfig>>,
    /// For clients of PostgreSQL that offer its ALPN protocol and nothing else, where the service
    /// names no protocols itself: they insist on an answer.
    pub postgres: Option<Arc<ServerConfig>>,
    /// What a client certificate must meet, also that of a session which is resumed.
    pub verifier: Option<Arc<dyn ClientCertVerifier>>,
    /// Which names have a certificate.
    pub store: Arc<Store>,
}

/// Indices of the pools for connections that no rule takes; see [`checked::Fallbacks`].
#[derive(Debug, Clone, Copy, Default)]
#[allow(missing_docs)] // as there
pub struct Fallbacks {
    pub no_match: Option<u32>,
    pub no_name: Option<u32>,
    pub not_recognised: Option<u32>,
    pub silent: Option<u32>,
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
    /// See [`checked::Timeouts::lifetime_jitter`].
    pub lifetime_jitter: u32,
}

/// Serialised JSON that every event of a service shares.
#[derive(Debug)]
pub struct EventParts {
    /// From `@serviceId` up to the value of `service`.
    pub names: String,
}

/// State of a service that a reload keeps, by the service's id.
#[derive(Debug, Default)]
pub struct ServiceState {
    /// An operator lets no new connection in.
    pub drain: Drain,
    /// Live connections over all cores, whether or not there is a limit: a reload may add one.
    pub live: AtomicU32,
    /// Those of each source, and how often it came; made when a limit first asks for it.
    pub sources: OnceLock<Sources>,
    /// What the cores count of it.
    pub counts: PerCore<ServiceCounts>,
}

/// The targets of one rule, or of one fallback.
#[derive(Debug)]
pub struct Pool {
    /// In the order of the file, then those that were found; empty only if none was.
    pub targets: Box<[Target]>,
    /// How one of them is chosen.
    pub balancing: Balancing,
    /// The tiers of targets with a weight, the first to be used first.
    pub tiers: Box<[u8]>,
    /// Whose connections are refused; `None`: nobody's.
    pub rejects: Option<Box<Rejects>>,
    /// The order of turns, as indices of the targets of the first tier; see [`pick::schedule`].
    pub schedule: Box<[u16]>,
    /// Position in it, or how many choices there were; kept over reloads by the service's id and the
    /// pool's index.
    pub next: Arc<AtomicUsize>,
    /// How many turns came to a target that could not take them.
    pub passed_on: AtomicUsize,
    /// Below this percentage of targets that are up their health is ignored; 0: never.
    pub panic_threshold: u8,
    /// Connections that wait for a target with room.
    pub queue: Queue,
}

/// How many wait, without an order; bounded.
#[derive(Debug, Default)]
pub struct Waiting(AtomicU32);

/// One that waits.
#[derive(Debug)]
pub struct Place<'a>(&'a Waiting);

impl Waiting {
    /// A place, unless so many wait already.
    pub fn take(&self, most: u32) -> Option<Place<'_>> {
        let place = Place(self);
        let before = self.0.fetch_add(1, Ordering::Relaxed);
        (before < most).then_some(place)
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::Relaxed);
    }
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
    /// How TLS is spoken to it, if it is.
    pub tls: Option<TargetTls>,
    /// Its share; 0: none.
    pub weight: u32,
    /// Chosen only when none of a lower tier can be.
    pub tier: u8,
    /// Most connections at a time over all cores.
    pub max_connections: Option<NonZeroU32>,
    /// Whether it is told who the client is.
    pub header: SendHeader,
    /// What the label hashes to, for choosing by the client's address.
    pub hash: u64,
    /// Failed connections in a row after which the control thread is told.
    pub failures: Option<NonZeroU8>,
    /// What it does then.
    pub passive: Option<Passive>,
    /// How long its share grows after it came up.
    pub slow_start: Option<Duration>,
    /// Its connections are cut when it goes down.
    pub close_on_down: bool,
    /// How it is checked.
    pub check: Option<Arc<Check>>,
    /// What outlives a reload.
    pub state: Arc<TargetState>,
}

/// How a target is checked.
#[derive(Debug)]
pub struct Check {
    /// When and what.
    pub probe: Arc<Probe>,
    /// `host[/ip]:port`, as people read it.
    pub label: String,
    /// The `Host` of HTTP.
    pub host: String,
    /// Where.
    pub addresses: Addresses,
    /// How TLS is spoken, if it is.
    pub tls: Option<TargetTls>,
    /// What `tls` was made from.
    pub options: Option<UpstreamTls>,
}

impl Target {
    /// Whether it may have one more connection.
    pub fn has_room(&self) -> bool {
        self.room() > 0
    }

    /// How many connections more it may have.
    pub fn room(&self) -> u32 {
        let live = || self.state.live.load(Ordering::Relaxed);
        self.max_connections.map_or(u32::MAX, |max| max.get().saturating_sub(live()))
    }

    /// Takes a connection, unless it has all it may have.
    pub fn take(&self) -> bool {
        let before = self.state.live.fetch_add(1, Ordering::Relaxed);
        let taken = self.max_connections.is_none_or(|max| before < max.get());
        if !taken {
            self.release();
        }
        taken
    }

    /// Gives a connection back.
    pub fn release(&self) {
        self.state.live.fetch_sub(1, Ordering::Relaxed);
    }
}

/// How TLS is spoken to a target.
#[derive(Debug, Clone)]
pub struct TargetTls {
    /// Whom to trust, what to show, and the sessions that may be resumed.
    pub config: Arc<ClientConfig>,
    /// The name asked for and verified.
    pub name: ServerName<'static>,
}

/// The addresses of a target.
#[derive(Debug, Clone)]
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
    /// The last good answer, in order; empty until there was one.
    pub addresses: ArcSwap<Vec<IpAddr>>,
    /// How many connections began with it: each with another of its addresses.
    pub turn: AtomicUsize,
    /// Its IPv4 addresses are tried before its IPv6 addresses.
    pub v4_first: AtomicBool,
    /// When it last had an answer.
    pub freshness: Freshness,
}

impl Name {
    /// A name without an answer.
    pub fn new(host: Arc<str>) -> Self {
        let v4_first = AtomicBool::new(Self::prefers_v4(&host));
        let (addresses, turn) = (ArcSwap::default(), AtomicUsize::new(0));
        Self { host, addresses, turn, v4_first, freshness: Freshness::default() }
    }

    /// Whether IPv4 goes first as long as nothing was learnt: only with `localhost`, where most
    /// servers listen on 127.0.0.1.
    pub fn prefers_v4(host: &str) -> bool {
        let host = host.strip_suffix('.').unwrap_or(host);
        let last = host.rsplit('.').next().unwrap_or(host);
        last.eq_ignore_ascii_case("localhost")
    }
}

/// The keys of the tickets of a service, and for whom they were given out.
#[derive(Debug)]
struct Tickets {
    realm: [u8; 32],
    keeper: Arc<dyn ProducesTickets>,
}

/// The ALPN protocol of PostgreSQL's direct TLS (protocol documentation, 55.2.11).
const POSTGRES_ALPN: &str = "postgresql";

/// What the control thread keeps from one snapshot for the next.
#[derive(Debug, Default)]
pub struct Kept {
    services: HashMap<Arc<str>, Arc<ServiceState>>,
    targets: HashMap<(Arc<str>, String), Arc<TargetState>>,
    turns: HashMap<(Arc<str>, usize), Arc<AtomicUsize>>,
    tickets: HashMap<Arc<str>, Tickets>,
    /// The bandwidths of services and what they are from now on, by the service's id; also of those that
    /// have none any more, for their old connections.
    bandwidths: HashMap<Arc<str>, (Arc<Whole>, u64)>,
    names: HashMap<Arc<str>, Arc<Name>>,
}

impl Kept {
    /// The names that the last snapshot's targets have.
    pub fn names(&self) -> impl Iterator<Item = &Arc<Name>> {
        self.names.values()
    }

    /// The snapshot is about to be published: what old connections share with it changes now.
    pub fn publish(&self) {
        for (whole, rate) in self.bandwidths.values() {
            whole.set_rate(*rate);
        }
    }

    /// Joins checked services with the state kept so far; what to keep from now on, without the
    /// state that nothing uses any more, comes along. `found` are the lists of targets found so far,
    /// `local` the addresses of this machine.
    ///
    /// # Errors
    /// What of the certificates cannot be used.
    pub fn snapshot(
        &self,
        version: u64,
        services: &[checked::Service],
        found: &Found,
        material: &Material,
        local: HashSet<IpAddr>,
    ) -> Result<(Snapshot, Self), Problem> {
        let own = Own::new(services.iter().map(|service| service.listen).collect(), local);
        let mut next = Self::default();
        let mut listeners: HashMap<SocketAddr, Vec<Arc<Service>>> =
            HashMap::with_capacity(services.len());
        for spec in services {
            let service = next.service(self, spec, found, material, &own)?;
            listeners.entry(spec.listen).or_default().push(Arc::new(service));
        }
        // One that has left a list and comes back still has its connections, and still drains.
        for (key, state) in &self.targets {
            if state.live.load(Ordering::Relaxed) > 0 || state.is_draining() {
                next.targets.entry(key.clone()).or_insert_with(|| Arc::clone(state));
            }
        }
        let listeners = listeners
            .into_iter()
            .filter_map(|(addr, services)| Some((addr, Arc::new(Listener::new(&services)?))))
            .collect();
        Ok((Snapshot { version, listeners, own }, next))
    }

    fn service(
        &mut self,
        before: &Self,
        spec: &checked::Service,
        found: &Found,
        material: &Material,
        own: &Own,
    ) -> Result<Service, Problem> {
        let state = before.services.get(&spec.id).cloned().unwrap_or_default();
        self.services.insert(Arc::clone(&spec.id), Arc::clone(&state));
        let admission = Admission::of(spec, &material.networks)
            .map_err(|path| Problem::error(&path, "this file of networks has not been read"))?;
        if admission.as_ref().is_some_and(|admission| admission.counts_sources()) {
            state.sources.get_or_init(|| Sources::new(Instant::now()));
        }
        let bandwidths = self.bandwidths(before, spec);
        let mut pools = Vec::with_capacity(spec.rules.len());
        for rule in &spec.rules {
            let index = pools.len();
            let targets = found::targets_of(&rule.targets, &rule.discoveries, found);
            let of = (&*targets, rule.balancing);
            pools.push(self.pool(before, spec, index, of, material, own)?);
        }
        let mut fallback = |target: &Option<checked::Target>| {
            let Some(target) = target else { return Ok(None) };
            let index = pools.len();
            let targets = found::targets_of(std::slice::from_ref(target), &[], found);
            let of = (&*targets, Balancing::RoundRobin);
            pools.push(self.pool(before, spec, index, of, material, own)?);
            Ok(u32::try_from(index).ok())
        };
        let fallbacks = Fallbacks {
            no_match: fallback(&spec.fallbacks.no_match)?,
            no_name: match spec.fallbacks.no_name_to_first {
                true => Some(0),
                false => fallback(&spec.fallbacks.no_name)?,
            },
            not_recognised: fallback(&spec.fallbacks.not_recognised)?,
            silent: fallback(&spec.fallbacks.silent)?,
        };
        let tls = match &spec.tls {
            Tls::Enabled(termination) => {
                Some(self.server_tls(before, spec, termination, material)?)
            }
            Tls::Disabled | Tls::PassThrough => None,
        };
        Ok(Service {
            tls,
            pools: pools.into(),
            fallbacks,
            ticks: Ticks::of(&spec.timeouts),
            event: EventParts::of(spec),
            tells_tls: spec.proxy.tlvs.ssl
                && spec.targets().any(|target| target.header == SendHeader::V2),
            spec: spec.clone(),
            admission,
            bandwidths,
            state,
        })
    }

    fn bandwidths(&mut self, before: &Self, spec: &checked::Service) -> Option<Box<Bandwidths>> {
        let rate = spec.limits.bandwidth.map_or(limits::BANDWIDTH_MAX, NonZeroU64::get);
        let known = before.bandwidths.get(&spec.id).map(|(whole, _)| Arc::clone(whole));
        let whole = known.or_else(|| spec.limits.bandwidth.map(|_| Arc::new(Whole::new(rate))));
        if let Some(whole) = &whole {
            self.bandwidths.insert(Arc::clone(&spec.id), (Arc::clone(whole), rate));
        }
        let whole = whole.filter(|_| spec.limits.bandwidth.is_some());
        let of_each = spec.limits.bandwidth_of_each.map(|rate| Bandwidth::new(rate.get()));
        (whole.is_some() || of_each.is_some()).then(|| Box::new(Bandwidths { whole, of_each }))
    }

    fn pool(
        &mut self,
        before: &Self,
        spec: &checked::Service,
        index: usize,
        (targets, balancing): (&[checked::Target], Balancing),
        material: &Material,
        own: &Own,
    ) -> Result<Pool, Problem> {
        let key = (Arc::clone(&spec.id), index);
        let next = before.turns.get(&key).cloned().unwrap_or_default();
        self.turns.insert(key, Arc::clone(&next));
        let rejects = Rejects::of(targets, balancing);
        let targets = || targets.iter().filter(|target| target.address != Address::Reject);
        let tiers: BTreeSet<u8> =
            targets().filter(|target| target.weight > 0).map(|target| target.tier).collect();
        let first = tiers.first().copied();
        let share = |target: &checked::Target| match balancing {
            _ if Some(target.tier) != first => 0,
            Balancing::WeightedRoundRobin => target.weight,
            _ => target.weight.min(1),
        };
        let schedule = pick::schedule(&targets().map(share).collect::<Vec<_>>());
        let targets = targets().map(|target| self.target(before, spec, target, material, own));
        let targets = targets.collect::<Result<_, _>>()?;
        let panic_threshold = spec.health.as_ref().map_or(0, |health| health.panic_threshold);
        let targets: Box<[Target]> = targets;
        let limited = targets.iter().any(|target| target.max_connections.is_some());
        let queue = Queue::new(limited, spec.timeouts.connect + limits::QUEUE_GRACE);
        Ok(Pool {
            targets,
            balancing,
            tiers: tiers.into_iter().collect(),
            rejects,
            schedule,
            next,
            passed_on: AtomicUsize::default(),
            panic_threshold,
            queue,
        })
    }

    /// Tickets that were given out stay good as long as the same clients would be let in.
    fn server_tls(
        &mut self,
        before: &Self,
        spec: &checked::Service,
        termination: &Termination,
        material: &Material,
    ) -> Result<ServerTls, Problem> {
        let id = &spec.id;
        let realm = material.ticket_realm(termination);
        let keeper = match before.tickets.get(id).filter(|tickets| tickets.realm == realm) {
            Some(tickets) => Arc::clone(&tickets.keeper),
            None => material::ticketer()?,
        };
        self.tickets.insert(Arc::clone(id), Tickets { realm, keeper: Arc::clone(&keeper) });
        let config = material.server_config(termination, Arc::clone(&keeper))?;
        let offering = |alpn: Vec<Arc<str>>| {
            let termination = Termination { alpn, ..termination.clone() };
            material.server_config(&termination, Arc::clone(&keeper))
        };
        let postgres = if termination.alpn.is_empty() {
            Some(offering(vec![Arc::from(POSTGRES_ALPN)])?)
        } else {
            None
        };
        let mut of_rules = HashMap::new();
        for (rule, index) in spec.rules.iter().zip(0..) {
            if !rule.alpn.is_empty() {
                of_rules.insert(index, offering(termination.alpn_of(rule))?);
            }
        }
        let verifier = material.client_verifier(termination)?;
        let store = material.store_of(termination)?;
        Ok(ServerTls { config, of_rules, postgres, verifier, store })
    }

    fn target(
        &mut self,
        before: &Self,
        spec: &checked::Service,
        target: &checked::Target,
        material: &Material,
        own: &Own,
    ) -> Result<Target, Problem> {
        let tls = target_tls(target.tls.as_ref(), material)?;
        let addresses = self.addresses(before, target, target.port, own);
        let label = label(target, target.port);
        let scheme = if tls.is_some() { "tls" } else { "tcp" };
        let (host, uri) = (quoted(&label), quoted(&format!("{scheme}://{label}")));
        let event = format!(r#"{{"host":{host},"scheme":"{scheme}","uri":{uri}}}"#);
        let key = (Arc::clone(&spec.id), label.clone());
        let state = before.targets.get(&key).or_else(|| self.targets.get(&key));
        let state = state.cloned().unwrap_or_default();
        self.targets.insert(key, Arc::clone(&state));
        let check = match &target.check {
            Some(check) => Some(Arc::new(Check {
                probe: Arc::clone(&check.probe),
                label: self::label(target, check.port.unwrap_or(target.port)),
                host: host_header(target, check.port.unwrap_or(target.port)),
                addresses: self.addresses(before, target, check.port.unwrap_or(target.port), own),
                tls: target_tls(check.tls.as_ref(), material)?,
                options: check.tls.clone(),
            })),
            None => None,
        };
        let health = spec.health_of(target);
        let passive = health.and_then(|health| health.passive);
        let mut hasher = DefaultHasher::new();
        label.hash(&mut hasher);
        Ok(Target {
            event,
            label,
            addresses,
            tls,
            weight: target.weight,
            tier: target.tier,
            max_connections: target.max_connections,
            header: target.header,
            hash: hasher.finish(),
            failures: passive.map(|passive| passive.failures),
            passive,
            slow_start: health.and_then(|health| health.slow_start),
            close_on_down: check.is_some() && health.is_some_and(|health| health.close_on_down),
            check,
            state,
        })
    }

    fn addresses(
        &mut self,
        before: &Self,
        target: &checked::Target,
        port: u16,
        own: &Own,
    ) -> Addresses {
        match &target.address {
            Address::Ip(ip) => {
                let addr = SocketAddr::new(*ip, port);
                if own.contains(addr) { Addresses::Loop } else { Addresses::Fixed(addr.into()) }
            }
            Address::Name => {
                let name = self.names.entry(Arc::clone(&target.host)).or_insert_with(|| {
                    let known = before.names.get(&target.host).cloned();
                    known.unwrap_or_else(|| Arc::new(Name::new(Arc::clone(&target.host))))
                });
                Addresses::Resolved(Arc::clone(name), port)
            }
            // The path's length was checked; one that still does not fit has no address.
            Address::Unix(path) => {
                Destination::unix(path).map_or(Addresses::Loop, Addresses::Fixed)
            }
            // What they stand for has taken their place; one that refuses is in no pool.
            Address::Srv | Address::Reject => Addresses::Loop,
        }
    }
}

fn target_tls(
    options: Option<&UpstreamTls>,
    material: &Material,
) -> Result<Option<TargetTls>, Problem> {
    let Some(options) = options else { return Ok(None) };
    let (config, name) = material.client_config(options)?;
    Ok(Some(TargetTls { config, name }))
}

/// What a target is called in HTTP.
fn host_header(target: &checked::Target, port: u16) -> String {
    match &target.address {
        Address::Ip(ip) if ip.to_string() == *target.host => SocketAddr::new(*ip, port).to_string(),
        Address::Ip(_) | Address::Name => format!("{}:{port}", target.host),
        Address::Unix(_) | Address::Srv | Address::Reject => "localhost".into(),
    }
}

fn label(target: &checked::Target, port: u16) -> String {
    match &target.address {
        Address::Ip(ip) if ip.to_string() != *target.host => {
            format!("{}/{ip}:{port}", target.host)
        }
        Address::Ip(_) | Address::Name => {
            format!("{}:{port}", target.host.trim_end_matches('.'))
        }
        Address::Unix(_) | Address::Srv | Address::Reject => target.host.to_string(),
    }
}

fn quoted(text: &str) -> String {
    json_line::one_line(&serde_json::Value::from(text).to_string()).into_owned()
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
            lifetime_jitter: match timeouts.lifetime_jitter {
                Duration::ZERO => 0,
                jitter => ticks(Some(jitter)),
            },
        }
    }

    /// The tick at which a connection that begins now has lived long enough. `random` says how much of
    /// the jitter is its own.
    pub fn end_of_life(&self, now: u32, random: u64) -> u32 {
        if self.lifetime == u32::MAX {
            return u32::MAX;
        }
        let earlier = random % (u64::from(self.lifetime_jitter) + 1);
        let earlier = u32::try_from(earlier).unwrap_or(0);
        now.saturating_add(self.lifetime.saturating_sub(earlier).max(1))
    }
}

impl EventParts {
    fn of(spec: &checked::Service) -> Self {
        let name = if spec.name.is_empty() { &spec.id } else { &spec.name };
        Self {
            names: format!(
                r#","@serviceId":{},"@service":{},"service":"#,
                quoted(&spec.id),
                quoted(name),
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_back_is_known_in_every_form() {
        let listens = ["[::]:1", "0.0.0.0:2", "127.0.0.1:3", "[::1]:4"];
        let listens = listens.iter().map(|text| text.parse().unwrap()).collect();
        let local = HashSet::from(["10.0.0.5".parse().unwrap(), "2001:db8::5".parse().unwrap()]);
        let own = Own::new(listens, local);
        for back in [
            "127.0.0.1:1",
            "127.9.9.9:1",
            "10.0.0.5:1",
            "[::1]:1",
            "[2001:db8::5]:1",
            "[::ffff:10.0.0.5]:1",
            "0.0.0.0:1",
            "10.0.0.5:2",
            "[::ffff:127.0.0.1]:2",
            "127.0.0.1:3",
            "0.0.0.0:3",
            "[::]:4",
        ] {
            assert!(own.contains(back.parse().unwrap()), "{back}");
        }
        for elsewhere in ["10.0.0.6:1", "[2001:db8::6]:1", "[::1]:2", "127.0.0.2:3", "127.0.0.1:9"]
        {
            assert!(!own.contains(elsewhere.parse().unwrap()), "{elsewhere}");
        }
    }
}
