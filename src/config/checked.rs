//! The configuration after every check has passed: plain, immutable data in the units the rest of
//! the program works in. `check` makes it from the [document](super::document); the
//! control thread turns it, together with the live state it keeps, into a
//! [`Snapshot`](super::snapshot::Snapshot).
//!
//! Nothing here can be wrong any more: a field that could hold a bad value has a type that cannot.

use std::net::{IpAddr, SocketAddr};
use std::num::{NonZeroU32, NonZeroU64};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;

use super::document::Providers;
use super::found::Source;
use super::networks::Networks;
use super::pattern::Pattern;

mod crypto;
pub mod events;
pub mod health;
mod pem;

pub use self::crypto::{Crypto, TlsVersion};
pub use self::events::Events;
use self::health::{HealthCheck, TargetCheck};
pub use self::pem::{Inline, KeyPair, Pem};

/// A whole configuration file that passed.
#[derive(Debug, Clone, PartialEq)]
pub struct Checked {
    /// How the cores are made. Fixed at start: a reload that changes it is told so and keeps the old.
    pub workers: Workers,
    /// Where the events of connections go; `None` writes none.
    pub events: Option<Events>,
    /// `admin`.
    pub admin: Option<Admin>,
    /// `certificates`, in the order of the file. Not empty if a service ends TLS.
    pub certificates: Vec<CertificateSource>,
    /// How names become addresses.
    pub resolver: Resolver,
    /// `stateDir`: an absolute path.
    pub state_dir: Option<PathBuf>,
    /// `providers`, with absolute paths. What they declare is among the services.
    pub providers: Providers,
    /// The enabled services, in the order of the file. Several may have the same `listen` address:
    /// then all route by name, and either all or none of them are TLS services.
    pub services: Vec<Service>,
}

/// `admin`: where the admin API answers, and to whom.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Admin {
    /// `listen`; at least one.
    pub listens: Vec<AdminListen>,
    /// `tokenFile`.
    pub token_file: Option<PathBuf>,
    /// `readTokenFile`.
    pub read_token_file: Option<PathBuf>,
    /// `requireToken`.
    pub require_token: bool,
    /// How TLS is ended on the addresses among `listens`, if it is.
    pub tls: Option<AdminTls>,
    /// `hosts`, lowercase.
    pub hosts: Vec<String>,
    /// `unixMode`.
    pub unix_mode: u32,
}

/// `admin.certFile` and what belongs to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AdminTls {
    /// `certFile` and `keyFile`.
    pub pair: KeyPair,
    /// `clientCaFiles`; empty: callers show no certificate.
    pub client_ca_files: Vec<PathBuf>,
}

impl Admin {
    /// The files of TLS that it names.
    pub fn tls_files(&self) -> impl Iterator<Item = &Path> {
        self.tls.iter().flat_map(|tls| {
            tls.pair.paths().chain(tls.client_ca_files.iter().map(PathBuf::as_path))
        })
    }

    /// The files that it names, besides those of TLS.
    pub fn token_files(&self) -> impl Iterator<Item = &PathBuf> {
        self.token_file.iter().chain(&self.read_token_file)
    }
}

/// `admin.listen`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum AdminListen {
    /// An address.
    Tcp(SocketAddr),
    /// The path of a Unix socket.
    Unix(PathBuf),
}

/// `resolver`: how names become addresses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resolver {
    /// Whom to ask; `None`: as `/etc/resolv.conf` says.
    pub servers: Option<Vec<SocketAddr>>,
    /// An answer is used for at least this long …
    pub min_ttl: Duration,
    /// … and at most this long. Not below `min_ttl`.
    pub max_ttl: Duration,
    /// For one question to one server.
    pub timeout: Duration,
    /// How long the last answer is used after the name is gone.
    pub grace: Duration,
}

/// `workers`: the data-plane threads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Workers {
    /// Which cores carry a thread.
    pub cores: Cores,
    /// Pin each thread to its core.
    pub pin: bool,
    /// What to do where `io_uring` is missing.
    pub io_uring: IoUring,
}

/// `workers.cores`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cores {
    /// Every core of the process's CPU set.
    All,
    /// The first this many of the CPU set.
    Count(NonZeroU32),
    /// These core numbers; each must be in the CPU set.
    List(Vec<usize>),
}

/// `workers.ioUring`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IoUring {
    /// Refuse to start without `io_uring` (the default).
    Require,
    /// Use epoll, with a warning, where `io_uring` is missing.
    Prefer,
}

/// One service: a listening address, and where its connections go.
#[derive(Debug, Clone, PartialEq)]
pub struct Service {
    /// Its place in the file's `services`, for findings.
    pub at: usize,
    /// `id`: unique in the file.
    pub id: Arc<str>,
    /// `name`; empty when absent.
    pub name: Arc<str>,
    /// `interface` and `port`.
    pub listen: SocketAddr,
    /// What it does with TLS.
    pub tls: Tls,
    /// `sni.enabled`: rules look at the name. Otherwise their patterns are all `*`.
    pub by_name: bool,
    /// In the order in which they are tried; over all services of an address, in the order of the
    /// services. Empty only if there is a fallback. A service that does not route by name and has no
    /// further conditions has one rule, with the targets of all that were written.
    pub rules: Vec<Rule>,
    /// Where connections go that no rule takes. At most one service of an address has each.
    pub fallbacks: Fallbacks,
    /// The PROXY protocol.
    pub proxy: ProxyProtocol,
    /// Who may connect; `None`: everybody.
    pub access: Option<Access>,
    /// Limits on the service.
    pub limits: Limits,
    /// Time limits.
    pub timeouts: Timeouts,
    /// How many further targets are tried when a connect fails before any byte reached a target.
    pub retries: u32,
    /// What becomes of live connections when a reload removes the service.
    pub on_removed: OnRemoved,
    /// `healthCheck`.
    pub health: Option<HealthCheck>,
    /// The service document as the user wrote it, serialised on one line (the `service` member of
    /// its events).
    pub document: Arc<str>,
}

impl Service {
    /// Every target of its rules and fallbacks.
    pub fn targets(&self) -> impl Iterator<Item = &Target> {
        let Fallbacks { no_match, no_name, not_recognised, silent, .. } = &self.fallbacks;
        let fallbacks = [no_match, no_name, not_recognised, silent].into_iter().flatten();
        self.rules.iter().flat_map(|rule| &rule.targets).chain(fallbacks)
    }

    /// What is asked of a target's health.
    pub fn health_of<'a>(&'a self, target: &'a Target) -> Option<&'a HealthCheck> {
        target.own_health.as_deref().or(self.health.as_ref())
    }

    /// Every list that its rules fetch.
    pub fn discoveries(&self) -> impl Iterator<Item = &Discovery> {
        self.rules.iter().flat_map(|rule| &rule.discoveries)
    }

    /// How TLS is spoken to its targets, and to the endpoints of its lists.
    pub fn upstreams<'a>(&'a self) -> impl Iterator<Item = &'a UpstreamTls> {
        let of_target = |target: &'a Target| {
            let of_check = target.check.as_ref().and_then(|check| check.tls.as_ref());
            target.tls.iter().chain(of_check)
        };
        let of_lists = self.discoveries().flat_map(move |discovery| {
            std::iter::once(&discovery.secure)
                .chain(discovery.source.endpoint_tls())
                .chain(of_target(&discovery.template))
        });
        self.targets().flat_map(of_target).chain(of_lists)
    }
}

impl Service {
    /// The files of networks that it names.
    pub fn network_files(&self) -> impl Iterator<Item = &Path> {
        let lists = self.access.iter().flat_map(|access| [&access.allow, &access.deny]);
        lists.filter_map(|sources| sources.file.as_deref())
    }
}

/// One place to connect to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// `host` as written; of SRV records their name.
    pub host: Arc<str>,
    /// Where its addresses come from.
    pub address: Address,
    /// `port`.
    pub port: u16,
    /// `tls`: how TLS is spoken to it; `None`: not at all.
    pub tls: Option<UpstreamTls>,
    /// `weight`; 0: no connection goes there.
    pub weight: u32,
    /// `tier`, or 1 of a `backup`; at most [`TIER_MAX`](super::limits::TIER_MAX).
    pub tier: u8,
    /// `maxConnections` over all cores.
    pub max_connections: Option<NonZeroU32>,
    /// `proxyProtocol`, else `proxyProtocol.send` of the service.
    pub header: SendHeader,
    /// How it is checked; `None`: not at all.
    pub check: Option<TargetCheck>,
    /// `healthCheck` of its own, instead of the service's.
    pub own_health: Option<Arc<HealthCheck>>,
}

/// Where the addresses of a target come from.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Address {
    /// `ip` was given, or `host` is an IP literal.
    Ip(IpAddr),
    /// `host` is a name: resolved by the control thread.
    Name,
    /// `host` was `unix:/path`.
    Unix(PathBuf),
    /// `srv`: stands for as many targets as there are records; its port means nothing.
    Srv,
    /// `reject`: there is none; its share of the connections is refused.
    Reject,
}

/// `rules[].discovery`: a list of targets that is fetched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Discovery {
    /// What is fetched and how it is read.
    pub source: Source,
    /// Between two fetches.
    pub interval: Duration,
    /// For one fetch.
    pub timeout: Duration,
    /// What all targets of the list have; its host and address mean nothing, its port is for entries
    /// without one.
    pub template: Target,
    /// How TLS is spoken to a target whose entry asks for it; without a `server_name` the target's
    /// host is asked for and verified. The template's `tls` is this, or `None`.
    pub secure: UpstreamTls,
}

/// `proxyProtocol` of a service. What is sent is of each target.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ProxyProtocol {
    /// Whose headers are taken; `None`: nobody's. All services of an address have the same.
    pub accept: Option<AcceptHeader>,
    /// What a header of version 2 tells besides addresses.
    pub tlvs: Tlvs,
}

/// `proxyProtocol.accept`, unless it is `Off`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AcceptHeader {
    /// `Require`: who is not trusted, or sends none, is refused.
    pub required: bool,
    /// Who may tell who the client is; never empty. In order, none twice.
    pub trusted: Vec<IpNet>,
}

impl AcceptHeader {
    /// Whether this one may tell who the client is.
    pub fn trusts(&self, peer: IpAddr) -> bool {
        self.trusted.iter().any(|network| network.contains(&peer))
    }
}

/// Whether a target is told who the client is, and by which version of the header.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum SendHeader {
    /// It is not.
    #[default]
    Off,
    /// Version 1.
    V1,
    /// Version 2.
    V2,
}

/// `proxyProtocol.tlvs`: what a header of version 2 tells besides addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)] // as there
pub struct Tlvs {
    pub received: bool,
    pub alpn: bool,
    pub authority: bool,
    pub ssl: bool,
    pub unique_id: bool,
    pub crc32c: bool,
}

impl Tlvs {
    /// All of it.
    pub const ALL: Self = Self::all(true);
    /// Nothing.
    pub const NONE: Self = Self::all(false);

    const fn all(told: bool) -> Self {
        Self {
            received: told,
            alpn: told,
            authority: told,
            ssl: told,
            unique_id: told,
            crc32c: told,
        }
    }

    /// Names as in `proxyProtocol.tlvs`, of those that are told.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        let Self { received, alpn, authority, ssl, unique_id, crc32c } = self;
        let all = [
            ("Received", received),
            ("Alpn", alpn),
            ("Authority", authority),
            ("Ssl", ssl),
            ("UniqueId", unique_id),
            ("Crc32c", crc32c),
        ];
        all.into_iter().filter_map(|(name, told)| told.then_some(name))
    }
}

impl Default for Tlvs {
    fn default() -> Self {
        Self::ALL
    }
}

/// `access` of a service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Access {
    /// `allow` and `allowFile`.
    pub allow: Sources,
    /// `deny` and `denyFile`; they win.
    pub deny: Sources,
    /// Whether everybody else may connect: `default`, or what follows from the lists.
    pub others: bool,
}

/// A list of networks and a file of them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Sources {
    /// Those in the configuration.
    pub networks: Arc<Networks>,
    /// The absolute path of the file of the others.
    pub file: Option<PathBuf>,
}

/// `limits` of a service. `None`: no limit.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Limits {
    /// Concurrent connections over all cores.
    pub connections: Option<NonZeroU32>,
    /// Concurrent connections of one source over all cores.
    pub connections_per_source: Option<NonZeroU32>,
    /// How often a source may connect.
    pub connection_rate: Option<ConnectionRate>,
    /// Sources for which neither of the two holds.
    pub exempt: Arc<Networks>,
    /// Bytes per second in each direction, of the service over all cores.
    pub bandwidth: Option<NonZeroU64>,
    /// Of each connection.
    pub bandwidth_of_each: Option<NonZeroU64>,
}

/// `limits.connectionRate`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConnectionRate {
    /// `count`.
    pub count: NonZeroU32,
    /// `per`, not zero.
    pub per: Duration,
    /// `burst`.
    pub burst: NonZeroU32,
}

/// `timeouts` of a service. `None` where the document says `null`: no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timeouts {
    /// For what a connection is routed by: the TLS hello, or the head of an HTTP request.
    pub hello: Duration,
    /// For a TLS handshake, with the client or with a target.
    pub handshake: Duration,
    /// For one attempt to connect to one address.
    pub connect: Duration,
    /// Without a byte in either direction.
    pub idle: Option<Duration>,
    /// Without a byte after one side has ended its direction.
    pub half_closed: Option<Duration>,
    /// From accept to the end at the latest, whatever moves.
    pub lifetime: Option<Duration>,
    /// How much earlier the end may be; at most the lifetime.
    pub lifetime_jitter: Duration,
}

/// `onRemoved`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnRemoved {
    /// Let live connections run to their own end (the default).
    Keep,
    /// Close what still lives after this long.
    CloseAfter(Duration),
}

/// Where server certificates come from; an entry of the top-level `certificates`. Absolute paths.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum CertificateSource {
    /// One certificate and its key.
    Pair(KeyPair),
    /// One for those services and targets alone that call it by this name.
    Named(Arc<str>, KeyPair),
    /// Every pair in a directory: `name.pem`, `name.crt` or `name.cer` with `name.key`, or a
    /// `name.pem` that holds both.
    Directory(PathBuf),
}

/// `tls`: what a service does with TLS.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Tls {
    /// Not a TLS service.
    Disabled,
    /// Passes TLS through untouched.
    PassThrough,
    /// Ends TLS here.
    Enabled(Termination),
}

/// How a service ends TLS.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Termination {
    /// `certificates` of the service, in its order; empty: those without a name, of all services.
    pub certificates: Vec<KeyPair>,
    /// Whether a client must show a certificate.
    pub client_auth: ClientAuth,
    /// Whom to trust: the service's own `clientCaFiles` and `clientCaPems`; the top-level ones where it
    /// names neither authorities nor certificates.
    pub client_ca: Vec<Pem>,
    /// `clientCertFiles` and `clientCertPems`: what is accepted by itself. One of the two is not empty
    /// unless `client_auth` is `None`.
    pub client_certs: Vec<Pem>,
    /// `clientCrlFiles`.
    pub client_crl_files: Vec<PathBuf>,
    /// Versions and suites.
    pub crypto: Crypto,
    /// `alpn` of the service, in the order of preference. For a rule that names protocols itself see
    /// [`Termination::alpn_of`].
    pub alpn: Vec<Arc<str>>,
    /// `sni.strict`: refuse a name that no certificate covers instead of showing the default one.
    pub strict: bool,
}

impl Termination {
    /// What is offered to a client that a rule has taken: the rule's protocols, of those that the
    /// service offers if it says so. A protocol that the rule is not for must not be agreed on.
    pub fn alpn_of(&self, rule: &Rule) -> Vec<Arc<str>> {
        match (self.alpn.as_slice(), rule.alpn.as_slice()) {
            ([], of_rule) => of_rule.to_vec(),
            (own, []) => own.to_vec(),
            (own, of_rule) => own.iter().filter(|it| of_rule.contains(it)).cloned().collect(),
        }
    }
}

/// `clientAuth`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClientAuth {
    /// Clients are not asked for a certificate.
    None,
    /// Asked; one that is shown must be valid.
    Want,
    /// Required.
    Need,
}

/// One rule of a service: its conditions, all of which must hold, and where its connections go.
#[derive(Debug, Clone, PartialEq)]
pub struct Rule {
    /// `domain`.
    pub pattern: Pattern,
    /// `alpn`: the client offers one of these; empty: no condition.
    pub alpn: Vec<Arc<str>>,
    /// `sources`: the client's address is in one of these; empty: no condition.
    pub sources: Vec<IpNet>,
    /// `clientCertificate`.
    pub client_certificate: Option<CertificateCondition>,
    /// How one of the targets is chosen: of the rule, else of the service.
    pub balancing: Balancing,
    /// Not empty unless there are lists.
    pub targets: Vec<Target>,
    /// Lists of further targets.
    pub discoveries: Vec<Discovery>,
}

/// `loadBalancing`; see [`conn::pick`](crate::conn::pick).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Balancing {
    /// In turn.
    #[default]
    RoundRobin,
    /// In turn, by weight.
    WeightedRoundRobin,
    /// The fewest connections for its weight, those still connecting among them.
    LeastConnections,
    /// The less loaded of two at random.
    PowerOfTwo,
    /// By the client's address; few clients move when a target leaves.
    SourceHash,
    /// At random, by weight.
    Random,
    /// The first that can be.
    First,
}

impl Balancing {
    /// As in `loadBalancing`.
    pub fn name(self) -> &'static str {
        match self {
            Self::RoundRobin => "RoundRobin",
            Self::WeightedRoundRobin => "WeightedRoundRobin",
            Self::LeastConnections => "LeastConnections",
            Self::PowerOfTwo => "PowerOfTwo",
            Self::SourceHash => "SourceHash",
            Self::Random => "Random",
            Self::First => "First",
        }
    }
}

/// `rules[].clientCertificate`: what a verified client certificate must be; all that are given.
#[derive(Debug, Clone, PartialEq)]
pub struct CertificateCondition {
    /// Pattern for the subject's common name.
    pub subject: Option<Pattern>,
    /// Pattern for one of the DNS, e-mail, URI or IP names of the subjectAltName extension.
    pub san: Option<Pattern>,
    /// SHA-256 of the certificate's DER.
    pub sha256: Option<[u8; 32]>,
}

/// `sni.fallbacks` and `sni.forwardsTo`: where connections go that no rule takes, by the reason.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Fallbacks {
    /// There is a name and no rule for it. `forwardsTo` where `forwardIfNoMatch` is set.
    pub no_match: Option<Target>,
    /// There is no name. `forwardsTo` where `forwardIfNoMatch` is set.
    pub no_name: Option<Target>,
    /// There is no name, and the first rule takes it: `sni.nameOptional`. Instead of `no_name`.
    pub no_name_to_first: bool,
    /// The first bytes are not TLS (of a TLS service) or not HTTP (of a plaintext one).
    pub not_recognised: Option<Target>,
    /// The client had sent nothing when the hello's deadline passed: a server-first protocol.
    pub silent: Option<Target>,
}

/// How TLS is spoken to a target.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct UpstreamTls {
    /// The name asked for and verified: `serverName`, else `host`, else the IP address. Empty where
    /// it is that of a host not known yet (SRV records, lists).
    pub server_name: Arc<str>,
    /// Whom to trust: `caFile` or `caPem`, else the system's roots.
    pub ca: Option<Pem>,
    /// Versions and suites.
    pub crypto: Crypto,
    /// Shown to a target that asks for a certificate.
    pub client_certificate: Option<KeyPair>,
    /// SHA-256 of public keys (SPKI), one of which the verified chain must have; empty: any.
    pub pins: Vec<[u8; 32]>,
    /// `pinOnly`: a pin of the leaf is enough, the chain is not verified.
    pub pin_only: bool,
    /// `insecureSkipVerify`: no certificate is verified.
    pub insecure: bool,
}

impl UpstreamTls {
    /// With the system's roots, and nothing special.
    pub fn to(server_name: impl Into<Arc<str>>) -> Self {
        Self {
            server_name: server_name.into(),
            ca: None,
            crypto: Crypto::default(),
            client_certificate: None,
            pins: Vec::new(),
            pin_only: false,
            insecure: false,
        }
    }
}
