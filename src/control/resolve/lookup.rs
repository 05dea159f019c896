//! Questions to name servers: `/etc/hosts` and `localhost` first, then hickory's stub resolver, which
//! turns to TCP for truncated answers, follows CNAMEs and checks that an answer belongs to its
//! question.
//!
//! The files of the system are read again when they have changed, which is looked for before each
//! question.

use std::collections::BTreeSet;
use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use hickory_resolver::config::{
    ConnectionConfig, NameServerConfig, ResolveHosts, ResolverConfig, ResolverOpts,
};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::net::{DnsError, NetError};
use hickory_resolver::proto::op::{Query, ResponseCode};
use hickory_resolver::proto::rr::{Name as DnsName, RData, RecordType};
use hickory_resolver::system_conf::parse_resolv_conf;
use hickory_resolver::{Hosts, TokioResolver};
use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::keep::Outcome;
use crate::config::found::FoundTarget;
use crate::config::limits;
use crate::config::{self, checked};

/// Where the system says how names are resolved.
struct Files {
    resolv_conf: PathBuf,
    hosts: PathBuf,
}

/// Asks name servers, not too many questions at a time.
pub struct Lookups {
    files: Files,
    settings: ArcSwap<checked::Resolver>,
    system: ArcSwap<System>,
    slots: Semaphore,
}

impl std::fmt::Debug for Lookups {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Lookups").field("settings", &self.settings).finish_non_exhaustive()
    }
}

/// What the settings and the files of the system make.
struct System {
    seen: Seen,
    resolver: Option<TokioResolver>,
    hosts: Hosts,
    search: Vec<DnsName>,
    ndots: usize,
}

/// The state of the two files.
type Seen = [Option<(u64, u64, i64, i64)>; 2];

/// What one question brought.
enum Answered {
    /// Records, and the least of their TTLs.
    Records(Vec<RData>, Duration),
    /// The name is not there, or has no such records.
    None(String),
    /// No answer.
    Lost(String),
}

impl Lookups {
    /// For these settings.
    pub fn new(settings: checked::Resolver) -> Self {
        let files = Files { resolv_conf: "/etc/resolv.conf".into(), hosts: "/etc/hosts".into() };
        Self::over(files, settings)
    }

    fn over(files: Files, settings: checked::Resolver) -> Self {
        let system = ArcSwap::from_pointee(System::read(&files, &settings));
        let slots = Semaphore::new(limits::RESOLVES_AT_ONCE);
        Self { files, settings: ArcSwap::from_pointee(settings), system, slots }
    }

    /// Follows other settings from now on. True if they are others.
    pub fn configure(&self, settings: &checked::Resolver) -> bool {
        if **self.settings.load() == *settings {
            return false;
        }
        self.system.store(Arc::new(System::read(&self.files, settings)));
        self.settings.store(Arc::new(settings.clone()));
        true
    }

    /// The settings.
    pub fn settings(&self) -> Arc<checked::Resolver> {
        self.settings.load_full()
    }

    fn system(&self) -> Arc<System> {
        let system = self.system.load_full();
        if system.seen == self.files.look() {
            return system;
        }
        tracing::debug!("the system's resolver files have changed");
        let fresh = Arc::new(System::read(&self.files, &self.settings.load()));
        self.system.store(Arc::clone(&fresh));
        fresh
    }

    /// The addresses of a name, in order and each once; at most [`limits::ADDRESSES_KEPT_MAX`].
    /// `known` are those that it has: of a family that cannot be asked for they stay.
    pub async fn addresses(&self, host: &str, known: &[IpAddr]) -> Outcome<Vec<IpAddr>> {
        if is_localhost(host) {
            let both = vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()];
            return Outcome::Found(both, Duration::MAX);
        }
        let Ok(_slot) = self.slots.acquire().await else { return lost("the process ends") };
        let asked = self.system().addresses(host, known);
        let outcome = timeout(limits::RESOLVE_DEADLINE, asked).await;
        outcome.unwrap_or_else(|_| lost("no answer in time"))
    }

    /// The targets that the SRV records of a name mean.
    /// `known`: there is an answer from before.
    pub async fn services(&self, name: &str, known: bool) -> Outcome<Vec<FoundTarget>> {
        let Ok(_slot) = self.slots.acquire().await else { return lost("the process ends") };
        let system = self.system();
        let asked = system.services(name, known);
        let outcome = timeout(limits::RESOLVE_DEADLINE, asked).await;
        outcome.unwrap_or_else(|_| lost("no answer in time"))
    }
}

fn lost<T>(why: &str) -> Outcome<T> {
    Outcome::Lost(why.to_owned())
}

/// RFC 6761 §6.3: whatever the resolver would say.
fn is_localhost(host: &str) -> bool {
    let host = host.strip_suffix('.').unwrap_or(host);
    host.rsplit('.').next().is_some_and(|last| last.eq_ignore_ascii_case("localhost"))
}

impl Files {
    fn look(&self) -> Seen {
        [&self.resolv_conf, &self.hosts].map(|path| {
            let metadata = fs::metadata(path).ok()?;
            Some((metadata.ino(), metadata.size(), metadata.mtime(), metadata.mtime_nsec()))
        })
    }
}

impl System {
    fn read(files: &Files, settings: &checked::Resolver) -> Self {
        let seen = files.look();
        let mut written = fs::read(&files.resolv_conf).unwrap_or_default();
        let system = parse_resolv_conf(&written).or_else(|_| {
            // Without a server in the file it is the one of this machine (resolv.conf(5)).
            written.extend(b"\nnameserver 127.0.0.1\n");
            parse_resolv_conf(&written)
        });
        let of = |servers: Vec<SocketAddr>| {
            let servers = servers.into_iter().map(server).collect();
            (ResolverConfig::from_name_servers(servers), ResolverOpts::default())
        };
        let (config, options) = match &settings.servers {
            Some(servers) => of(servers.clone()),
            None => system.unwrap_or_else(|_| of(vec![(Ipv4Addr::LOCALHOST, 53).into()])),
        };
        let (search, ndots) = (config.search().to_vec(), options.ndots);
        let provider = TokioRuntimeProvider::default();
        let mut builder =
            TokioResolver::builder_with_config(config, provider).with_options(options);
        let options = builder.options_mut();
        options.timeout = settings.timeout;
        options.attempts = limits::RESOLVE_ATTEMPTS.saturating_sub(1);
        // The last answer is kept here, by other rules.
        options.cache_size = 0;
        options.use_hosts_file = ResolveHosts::Never;
        // A forger must guess it as well.
        options.case_randomization = true;
        let resolver = builder.build().inspect_err(|error| {
            tracing::error!(%error, "names cannot be resolved");
        });
        let mut hosts = Hosts::default();
        let read = fs::File::open(&files.hosts).and_then(|file| hosts.read_hosts_conf(file));
        if let Err(error) = read {
            tracing::warn!(%error, file = %files.hosts.display(), "cannot be read");
        }
        Self { seen, resolver: resolver.ok(), hosts, search, ndots }
    }

    async fn addresses(self: Arc<Self>, host: &str, known: &[IpAddr]) -> Outcome<Vec<IpAddr>> {
        let Some(candidates) = self.candidates(host) else { return lost("it is no host name") };
        let (mut failed, mut nothing) = (None, None);
        for name in candidates {
            if let Some(addresses) = self.in_hosts(&name) {
                return Outcome::Found(addresses, limits::HOSTS_TTL);
            }
            let (v4, v6) =
                tokio::join!(self.ask(&name, RecordType::A), self.ask(&name, RecordType::AAAA));
            let mut addresses = Vec::new();
            let mut least = Duration::MAX;
            let mut silent = None;
            for (answered, is_family) in
                [(v4, IpAddr::is_ipv4 as fn(&IpAddr) -> bool), (v6, IpAddr::is_ipv6)]
            {
                match answered {
                    Answered::Records(records, ttl) => {
                        addresses.extend(records.iter().filter_map(RData::ip_addr));
                        least = least.min(ttl);
                    }
                    Answered::None(why) => nothing = Some(why),
                    Answered::Lost(why) => silent = Some((why, is_family)),
                }
            }
            let Some((why, is_family)) = silent else {
                if addresses.is_empty() {
                    continue;
                }
                // A domain of the search list before this one did not answer: this may be another.
                if failed.is_some() && !known.is_empty() {
                    break;
                }
                return Outcome::Found(in_order(addresses), least);
            };
            if addresses.is_empty() {
                failed = Some(why);
                continue;
            }
            addresses.extend(known.iter().filter(|ip| is_family(ip)));
            return Outcome::Found(in_order(addresses), least);
        }
        match (failed, nothing) {
            (Some(why), _) => Outcome::Lost(why),
            (None, why) => Outcome::Gone(why.unwrap_or_default()),
        }
    }

    async fn services(&self, name: &str, known: bool) -> Outcome<Vec<FoundTarget>> {
        let Some(candidates) = self.candidates(name) else { return lost("it is no host name") };
        let (mut failed, mut nothing) = (None, None);
        for name in candidates {
            match self.ask(&name, RecordType::SRV).await {
                Answered::Records(records, ttl) => {
                    let targets = srv_targets(&records);
                    // A domain of the search list before this one did not answer: this may be
                    // another's service.
                    if failed.is_some() && known {
                        break;
                    }
                    if targets.is_empty() {
                        return Outcome::Gone("the service is not offered (RFC 2782)".into());
                    }
                    return Outcome::Found(targets, ttl);
                }
                Answered::None(why) => nothing = Some(why),
                Answered::Lost(why) => failed = Some(why),
            }
        }
        match (failed, nothing) {
            (Some(why), _) => Outcome::Lost(why),
            (None, why) => Outcome::Gone(why.unwrap_or_default()),
        }
    }

    /// The whole names that a name may mean, in the order in which they are asked for
    /// (resolv.conf(5), `search` and `ndots`).
    fn candidates(&self, host: &str) -> Option<Vec<DnsName>> {
        let mut name = DnsName::from_utf8(host).ok()?;
        if name.is_fqdn() {
            return Some(vec![name]);
        }
        let dots = usize::from(name.num_labels()).saturating_sub(1);
        let searched =
            self.search.iter().filter_map(|domain| name.clone().append_domain(domain).ok());
        let mut candidates: Vec<DnsName> = searched.collect();
        for candidate in &mut candidates {
            candidate.set_fqdn(true);
        }
        name.set_fqdn(true);
        let at = if dots >= self.ndots { 0 } else { candidates.len() };
        candidates.insert(at, name);
        Some(candidates)
    }

    /// What `/etc/hosts` says of a name: where it says something, nobody is asked.
    fn in_hosts(&self, name: &DnsName) -> Option<Vec<IpAddr>> {
        let mut addresses = Vec::new();
        for family in [RecordType::A, RecordType::AAAA] {
            let lookup = self.hosts.lookup_static_host(&Query::query(name.to_lowercase(), family));
            let answers = lookup.iter().flat_map(|lookup| lookup.answers());
            addresses.extend(answers.filter_map(|record| record.data.ip_addr()));
        }
        (!addresses.is_empty()).then(|| in_order(addresses))
    }

    async fn ask(&self, name: &DnsName, what: RecordType) -> Answered {
        let Some(resolver) = &self.resolver else { return Answered::Lost("no resolver".into()) };
        match resolver.lookup(name.clone(), what).await {
            Ok(lookup) => {
                let records = lookup.answers().iter();
                let ttl = records.clone().map(|record| record.ttl).min().unwrap_or(0);
                let wanted = records.filter(|record| record.record_type() == what);
                let data: Vec<RData> = wanted.map(|record| record.data.clone()).collect();
                if data.is_empty() {
                    return Answered::None(format!("the answer has no {what} records"));
                }
                Answered::Records(data, Duration::from_secs(ttl.into()))
            }
            Err(NetError::Dns(DnsError::NoRecordsFound(none))) => match none.response_code {
                ResponseCode::NXDomain => Answered::None("there is no such name".into()),
                ResponseCode::NoError => Answered::None(format!("it has no {what} records")),
                code => Answered::Lost(format!("the name server says {code}")),
            },
            Err(NetError::Dns(DnsError::ResponseCode(code))) => {
                Answered::Lost(format!("the name server says {code}"))
            }
            Err(NetError::Timeout) => Answered::Lost("no name server answers".into()),
            Err(error) => Answered::Lost(error.to_string()),
        }
    }
}

fn server(addr: SocketAddr) -> NameServerConfig {
    let mut connections = vec![ConnectionConfig::udp(), ConnectionConfig::tcp()];
    for connection in &mut connections {
        connection.port = addr.port();
    }
    NameServerConfig::new(addr.ip(), true, connections)
}

/// Sorted, so that an answer in another order, or cut elsewhere, is the same answer.
fn in_order(mut addresses: Vec<IpAddr>) -> Vec<IpAddr> {
    addresses.retain(|ip| !ip.is_unspecified() && !ip.is_multicast());
    addresses.sort_unstable();
    addresses.dedup();
    // Of both families, if there are both.
    let v4 = addresses.partition_point(IpAddr::is_ipv4);
    let (v6, half) = (addresses.len() - v4, limits::ADDRESSES_KEPT_MAX / 2);
    let v6_kept = v6.min(half.max(limits::ADDRESSES_KEPT_MAX.saturating_sub(v4)));
    let v4_kept = v4.min(limits::ADDRESSES_KEPT_MAX - v6_kept);
    addresses.drain(v4_kept..v4);
    addresses.truncate(v4_kept + v6_kept);
    addresses
}

/// The targets of SRV records (RFC 2782). A record without a host says that there is none.
fn srv_targets(records: &[RData]) -> Vec<FoundTarget> {
    let records = records.iter().filter_map(|data| match data {
        RData::SRV(srv) if !srv.target.is_root() && srv.port != 0 => Some(srv),
        _ => None,
    });
    // Each priority is a tier; of more than there are tiers the rest are one.
    let priorities: BTreeSet<u16> = records.clone().map(|srv| srv.priority).collect();
    let tier_of = |priority| {
        let lower = priorities.range(..priority).count();
        u8::try_from(lower).unwrap_or(u8::MAX).min(limits::TIER_MAX)
    };
    let mut targets: Vec<FoundTarget> = records
        .map(|srv| FoundTarget {
            host: Arc::from(srv.target.to_lowercase().to_ascii()),
            port: Some(srv.port),
            // Weight 0 is «hardly any» there, and none here.
            weight: Some(u32::from(srv.weight).max(1)),
            tier: tier_of(srv.priority),
            secure: false,
        })
        .collect();
    targets.retain(|target| {
        let sound = config::host(&target.host);
        if let Err(why) = sound {
            tracing::warn!(host = %target.host.escape_debug(), why, "an SRV record is left out");
        }
        sound.is_ok()
    });
    // The order of an answer means nothing; of two records for one place the preferred one counts.
    targets.sort_by(|a, b| (a.tier, a).cmp(&(b.tier, b)));
    let mut seen = std::collections::HashSet::new();
    targets.retain(|target| seen.insert((Arc::clone(&target.host), target.port)));
    targets.truncate(limits::FOUND_MAX);
    targets
}

#[cfg(test)]
mod tests {
    use hickory_resolver::proto::rr::rdata::SRV;

    use super::*;

    fn system(search: &[&str], ndots: usize) -> System {
        let search = search.iter().map(|domain| DnsName::from_utf8(domain).unwrap()).collect();
        System { seen: [None, None], resolver: None, hosts: Hosts::default(), search, ndots }
    }

    #[test]
    fn names_are_looked_for_in_the_search_list_as_ndots_says() {
        let cluster = system(&["ns.svc.cluster.local", "cluster.local"], 5);
        let of = |system: &System, host: &str| {
            let names = system.candidates(host).unwrap();
            names.iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        let short = ["db.ns.svc.cluster.local.", "db.cluster.local.", "db."];
        assert_eq!(of(&cluster, "db"), short);
        assert_eq!(of(&cluster, "db.")[..], ["db."]);
        let lan = system(&["lan"], 1);
        assert_eq!(of(&lan, "db.example.com"), ["db.example.com.", "db.example.com.lan."]);
        assert_eq!(of(&lan, "_pg._tcp.example.com.")[..], ["_pg._tcp.example.com."]);
    }

    #[tokio::test]
    async fn the_files_of_the_system_are_followed() {
        let dir = tempfile::tempdir().unwrap();
        let files =
            Files { resolv_conf: dir.path().join("resolv.conf"), hosts: dir.path().join("hosts") };
        let (resolv_conf, hosts) = (files.resolv_conf.clone(), files.hosts.clone());
        // Nobody answers there, at once.
        fs::write(&resolv_conf, "nameserver 127.255.255.254\nsearch lan\n").unwrap();
        fs::write(&hosts, "10.0.0.1 db DB2.lan # both\n").unwrap();
        let settings = checked::Resolver {
            servers: None,
            min_ttl: Duration::ZERO,
            max_ttl: Duration::ZERO,
            timeout: Duration::from_millis(50),
            grace: Duration::ZERO,
        };
        let lookups = Lookups::over(files, settings);
        let found = |ip: &str| Outcome::Found(vec![ip.parse().unwrap()], limits::HOSTS_TTL);
        assert_eq!(lookups.addresses("DB", &[]).await, found("10.0.0.1"));
        assert!(matches!(lookups.addresses("other", &[]).await, Outcome::Lost(_)));
        // By its whole name in the file, by its first label here.
        assert_eq!(lookups.system().in_hosts(&"db2.lan.".parse().unwrap()).unwrap().len(), 1);
        fs::write(&hosts, "10.0.0.2 db\n10.0.0.3\tother\n").unwrap();
        assert_eq!(lookups.addresses("db", &[]).await, found("10.0.0.2"));
        assert_eq!(lookups.addresses("other", &[]).await, found("10.0.0.3"));
        assert_eq!(lookups.system().search.len(), 1);
        fs::write(&resolv_conf, "search lan wan.example\n").unwrap();
        assert_eq!(lookups.system().search.len(), 2);
        fs::remove_file(&hosts).unwrap();
        fs::remove_file(&resolv_conf).unwrap();
        assert!(lookups.system().search.is_empty() && lookups.system().resolver.is_some());
    }

    #[test]
    fn an_answer_is_cut_the_same_way_in_any_order() {
        let many: Vec<IpAddr> = (0..1000_u32).map(|n| Ipv4Addr::from(n + 9).into()).collect();
        let mut turned = many.clone();
        turned.rotate_left(700);
        let kept = in_order(many.clone());
        assert_eq!(kept.len(), limits::ADDRESSES_KEPT_MAX);
        assert_eq!(kept, in_order(turned));
        let six: IpAddr = "2001:db8::1".parse().unwrap();
        let both = in_order([vec![six, six], many].concat());
        assert_eq!((both.len(), both.last()), (limits::ADDRESSES_KEPT_MAX, Some(&six)));
    }

    #[test]
    fn srv_records_are_tiers_and_weights() {
        let srv = |priority, weight, port, host: &str| {
            let target = DnsName::from_utf8(host).unwrap();
            RData::SRV(SRV::new(priority, weight, port, target))
        };
        let found = srv_targets(&[
            srv(20, 5, 5432, "spare.example.com."),
            srv(10, 60, 5432, "DB-2.example.com."),
            srv(10, 0, 5432, "db-1.example.com."),
            srv(20, 1, 5432, "db-2.example.com."),
            srv(30, 1, 5432, "far.example.com."),
        ]);
        let read: Vec<_> =
            found.iter().map(|it| (&*it.host, it.weight.unwrap(), it.tier)).collect();
        let expected = [
            ("db-1.example.com.", 1, 0),
            ("db-2.example.com.", 60, 0),
            ("spare.example.com.", 5, 1),
            ("far.example.com.", 1, 2),
        ];
        assert_eq!(read, expected);
        let many: Vec<_> = (0..40).map(|at| srv(at, 1, 1, &format!("h{at}.test."))).collect();
        let tiers: Vec<u8> = srv_targets(&many).iter().map(|it| it.tier).collect();
        assert!(tiers.is_sorted() && tiers.last() == Some(&limits::TIER_MAX));
        assert!(srv_targets(&[srv(0, 0, 0, ".")]).is_empty());
        // As TLS names it; and what is no host is left out.
        let idn = srv_targets(&[srv(0, 0, 1, "xn--mnchen-3ya.example.")]);
        assert_eq!(&*idn.first().unwrap().host, "xn--mnchen-3ya.example.");
        let odd = DnsName::from_labels([b"a b".as_slice(), b"test".as_slice()]).unwrap();
        assert!(srv_targets(&[RData::SRV(SRV::new(0, 0, 1, odd))]).is_empty());
    }
}
