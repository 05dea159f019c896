//! The configuration as the user writes it: one struct per JSON object, one field per key. These
//! structs are what `thalweg schema` prints, so their doc comments are the reference manual.
//!
//! `decode` fills them and reports what does not fit. Every field has a default, also the
//! required ones: `check` reports those as missing, together with everything else, so that
//! one forgotten key does not hide the other faults of its object. Names that the contract knows
//! but this release does not serve are not here; see `reserved`.

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

mod certificates;
mod events;
mod health;
mod proxy;

pub use self::admin::{Admin, Listens};
pub use self::certificates::{Certificate, KeyPair, Secret, TlsVersion};
pub use self::events::{EventOutput, Events, Record, ServiceDetail};
pub use self::health::{Command, CommandName, HealthCheck, HttpCheck, Initial, OnDown, Passive};
pub use self::providers::{
    Docker, Kong, Kubernetes, LeaderElection, Listener, PortRange, Ports, PortsWhitelist,
    Providers, Sozune, Tyk,
};
pub use self::sources::{Discovery, Resolver};
pub use super::size::Size;
pub use super::span::Span;
pub use super::values::{BytesPerSecond, ClientAuth, Cores, Jitter, OnRemoved, TlsMode};
use super::{limits, values};
pub use proxy::{AcceptHeader, ProxyProtocol, SendHeader, Tlv};

mod admin;
mod providers;
mod sources;

/// The configuration of a Thalweg proxy. Paths are relative to the file that names them.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
#[schemars(title = "Thalweg configuration")]
pub struct Document {
    /// Where the schema of this file is; for editors, not read by the proxy.
    #[serde(rename = "$schema", skip_serializing_if = "Option::is_none")]
    pub schema: Option<String>,
    /// The data-plane threads. Fixed at start: a reload does not change them.
    pub workers: Workers,
    /// Where the events of connections go. Without it none are written.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub events: Option<Events>,
    /// Where the admin API answers. Without it there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub admin: Option<Admin>,
    /// Server certificates, for the services that end TLS. Which one a client is shown follows from
    /// the name that it asks for; the first is shown where none fits. Those with a name are for the
    /// services and targets alone that name them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub certificates: Option<Vec<Certificate>>,
    /// PEM files of the authorities that client certificates must come from, for services that do
    /// not name their own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_ca_files: Option<Vec<PathBuf>>,
    /// How host names become addresses.
    pub resolver: Resolver,
    /// A directory for the services that are created by the admin API; made where it is missing.
    /// Without it none can be. One proxy at a time may use it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String")]
    pub state_dir: Option<PathBuf>,
    /// Addresses that containers' labels may name. Nothing else opens a port for them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub listeners: Vec<Listener>,
    /// The ports that services may have which this file does not declare itself: those of the admin
    /// API and of providers. Left out: none.
    #[serde(alias = "ports_whitelist")]
    pub ports_whitelist: Option<PortsWhitelist>,
    /// Let such services have any port.
    #[serde(alias = "disable_ports_whitelist")]
    pub disable_ports_whitelist: bool,
    /// Where services come from that are declared in other systems' words.
    pub providers: Providers,
    /// What the proxy serves.
    pub services: Vec<Service>,
}

/// The data-plane threads.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Workers {
    /// Which cores carry a thread: "all" of the process's CPU set, the first so many of it, or a
    /// list of core numbers.
    pub cores: Cores,
    /// Pin each thread to its core.
    pub pin: bool,
    /// What to do where `io_uring` is missing.
    pub io_uring: IoUring,
}

impl Default for Workers {
    fn default() -> Self {
        Self { cores: Cores::default(), pin: true, io_uring: IoUring::default() }
    }
}

/// What to do where `io_uring` is missing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum IoUring {
    /// Refuse to start.
    #[default]
    Require,
    /// Use epoll, with a warning.
    Prefer,
}

/// One service: an address to listen on and the targets behind it. An Otoroshi `TcpService`
/// document is a valid service.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
#[schemars(extend("required" = ["id", "port"]))]
pub struct Service {
    /// Otoroshi's entity location; kept, not interpreted.
    #[serde(rename = "_loc", skip_serializing_if = "Option::is_none")]
    pub loc: Option<BTreeMap<String, serde_json::Value>>,
    /// Names the service in events, metrics and reloads. Unique in the file.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String", length(min = 1))]
    pub id: Option<String>,
    /// For people.
    pub name: String,
    /// For people.
    pub description: String,
    /// A service that is not enabled is not served; its address is free for others.
    #[serde(default = "values::yes")]
    pub enabled: bool,
    /// The port to listen on.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "u16", range(min = 1))]
    pub port: Option<u16>,
    /// The IP address to listen on; `0.0.0.0` is every IPv4 address, `::` every address.
    #[serde(default = "values::any_v4")]
    pub interface: String,
    /// What is done with TLS.
    pub tls: TlsMode,
    /// The server certificates of this service, by their `name`, instead of those at the top level
    /// without one. Which one a client is shown follows from the name that it asks for; the first is
    /// shown where none fits. Needs `tls` `Enabled`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub certificates: Option<Vec<String>>,
    /// Whether a client must show a certificate. Needs `tls` `Enabled`.
    pub client_auth: ClientAuth,
    /// PEM files of the authorities that client certificates must come from; instead of the
    /// top-level `clientCaFiles`. Needs `clientAuth`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_ca_files: Option<Vec<PathBuf>>,
    /// PEM texts of further authorities; as `clientCaFiles`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_ca_pems: Option<Vec<String>>,
    /// PEM files of client certificates that are accepted by themselves while they are valid, whoever
    /// issued them: the first of each file, and those behind it that are no authority. Beside chains
    /// to the service's own authorities, and instead of the top-level `clientCaFiles`; revocation
    /// lists do not count for them. Needs `clientAuth`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_cert_files: Option<Vec<PathBuf>>,
    /// The same as PEM texts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_cert_pems: Option<Vec<String>>,
    /// Files of revocation lists (PEM) for client certificates. Needs `clientAuth`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_crl_files: Option<Vec<PathBuf>>,
    /// The lowest version of TLS for clients; left out: 1.2. Needs `tls` `Enabled`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "TlsVersion")]
    pub tls_min_version: Option<TlsVersion>,
    /// The highest version of TLS for clients; left out: 1.3. Needs `tls` `Enabled`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "TlsVersion")]
    pub tls_max_version: Option<TlsVersion>,
    /// The cipher suites for clients, by their IANA names, as `TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256`.
    /// A version of which none is named keeps all of its own. Needs `tls` `Enabled`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cipher_suites: Option<Vec<String>>,
    /// The protocols that are offered to clients (ALPN), the preferred one first; to clients that a
    /// rule with protocols of its own has taken, those of them. Needs `tls` `Enabled`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub alpn: Option<Vec<String>>,
    /// Routing by the name that the client asks for: that of its TLS hello or, where `tls` is
    /// `Disabled`, the `Host` of its HTTP request. Services that all route by name may share an
    /// address.
    pub sni: Sni,
    /// Where connections go. Rules are tried in order, the first that matches wins. Without `sni`,
    /// and if no rule has a condition, the targets of all rules are used in turn.
    pub rules: Vec<Rule>,
    /// The PROXY protocol: who the client is, as told by the proxy before, or to the one behind.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub proxy_protocol: Option<ProxyProtocol>,
    /// For people.
    pub tags: Vec<String>,
    /// For people.
    pub metadata: BTreeMap<String, String>,
    /// How a target is chosen.
    pub load_balancing: LoadBalancing,
    /// Who may connect. Without it everybody.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub access: Option<Access>,
    /// Limits on the service.
    pub limits: Limits,
    /// Time limits: numbers with a unit, as `250ms`, `3s`, `5m`, `1h30m`, `1d`.
    pub timeouts: Timeouts,
    /// How many further targets are tried when a connect fails.
    #[serde(default = "values::retries")]
    #[schemars(range(max = 16))]
    pub retries: u32,
    /// What becomes of live connections when a reload removes the service.
    pub on_removed: OnRemoved,
    /// Whether targets can take connections. Without it all are taken to be up.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub health_check: Option<HealthCheck>,
}

/// Routing by the name that the client asks for.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Sni {
    /// Route by name.
    pub enabled: bool,
    /// Use `forwardsTo` where there is no name, or no rule for it. One service of an address may.
    pub forward_if_no_match: bool,
    /// The target of `forwardIfNoMatch`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub forwards_to: Option<Target>,
    /// A connection without a name goes where the first rule goes. Of the services of an address one
    /// may have it.
    #[serde(skip_serializing_if = "is_false")]
    pub name_optional: bool,
    /// Refuse a name that no certificate covers (alert `unrecognized_name`) instead of showing the
    /// first certificate. Needs `tls` `Enabled`.
    pub strict: bool,
    /// Where connections go that no rule takes, by the reason; each instead of `forwardsTo`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fallbacks: Option<Fallbacks>,
}

/// Where connections go that no rule takes, by the reason. Without a target they are refused. Of the
/// services of an address one may have each.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Fallbacks {
    /// There is a name, and no rule for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub no_match: Option<Target>,
    /// There is no name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub no_name: Option<Target>,
    /// The first bytes are not TLS or, where `tls` is `Disabled`, not HTTP. They are passed on as
    /// they are.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub not_recognised: Option<Target>,
    /// The client has sent nothing within `timeouts.hello`: it waits for the server to speak first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub silent: Option<Target>,
}

/// Targets, and which connections they are for. All conditions that are given must hold.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Rule {
    /// The name pattern; has no effect unless the service routes by name. `*` takes every name, and
    /// connections without one; only letters, digits, `-`, `_` and `.` are one name; these with `*`,
    /// but without `.*`, are a glob, whose `*` also crosses dots; anything else is a regular
    /// expression over the whole name. `Regex(x)` and `Wildcard(x)` say which. Upper case and a dot
    /// at the end mean nothing. `thalweg check` says how each pattern is read.
    pub domain: String,
    /// The client offers one of these protocols (ALPN), and one of these is agreed on where TLS ends
    /// here. Needs TLS.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub alpn: Option<Vec<String>>,
    /// The client's address is in one of these networks, as `10.0.0.0/8`, `2001:db8::/32` or a
    /// single address. IPv4 clients are in IPv4 networks only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sources: Option<Vec<String>>,
    /// What the verified certificate of the client must be. Needs `clientAuth`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_certificate: Option<ClientCertificate>,
    /// Where connections go.
    pub targets: Vec<Target>,
    /// Further targets, from a list that is fetched while the proxy runs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub discovery: Option<Discovery>,
    /// How a target is chosen.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub load_balancing: Option<LoadBalancing>,
}

impl Default for Rule {
    fn default() -> Self {
        Self {
            domain: "*".into(),
            alpn: None,
            sources: None,
            client_certificate: None,
            targets: Vec::new(),
            discovery: None,
            load_balancing: None,
        }
    }
}

/// What a client certificate must be; all that are given must hold. Patterns are read as `domain`
/// is.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
#[schemars(extend("minProperties" = 1))]
pub struct ClientCertificate {
    /// Pattern for the common name of its subject.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// Pattern for one of its subject alternative names (DNS, e-mail, URI, IP).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub san: Option<String>,
    /// SHA-256 of the certificate: hex, with or without colons, or base64.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sha256: Option<String>,
}

/// One place to connect to.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
#[schemars(extend("anyOf" = [{ "required": ["host"] }, { "required": ["ip"] }, { "required": ["srv"] }, { "required": ["reject"] }]))]
pub struct Target {
    /// A host name, an IP address, or `unix:/path` for a Unix socket. May be left out where `ip` is
    /// given.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String")]
    pub host: Option<String>,
    /// Connect to this IP address instead of resolving `host`.
    pub ip: Option<String>,
    /// Instead of `host` and `port`: the name of SRV records (RFC 2782), as
    /// `_postgresql._tcp.example.com`, each of which is a target with its weight. Those of the lowest
    /// priority are used first; each further priority is a tier of its own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub srv: Option<String>,
    /// The port to connect to; not used for a Unix socket.
    #[schemars(range(min = 1))]
    pub port: u16,
    /// Its share where `loadBalancing` weighs; 0: no new connection goes there.
    #[serde(skip_serializing_if = "is_one")]
    #[schemars(range(max = 65535))]
    pub weight: u32,
    /// Use it only when no target of a lower tier can be.
    #[serde(skip_serializing_if = "is_zero")]
    #[schemars(range(max = 15))]
    pub tier: u8,
    /// The same as `tier` 1: use it only when no other target can be.
    #[serde(skip_serializing_if = "is_false")]
    pub backup: bool,
    /// Refuse its share of the connections at once, instead of connecting anywhere: of each round of
    /// the targets as many as its `weight` says (with `loadBalancing` `RoundRobin` as one target's).
    /// None of them is passed to another target. It has no other keys.
    #[serde(skip_serializing_if = "is_false")]
    pub reject: bool,
    /// Most connections at a time over all cores; more go to other targets, or wait a moment.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_connections: Option<NonZeroU32>,
    /// Tell it who the client is, by the PROXY protocol, or do not; instead of `proxyProtocol.send` of
    /// the service.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub proxy_protocol: Option<SendHeader>,
    /// Whether it can take connections: checked so, instead of as `healthCheck` of the service says;
    /// null: not at all. Its `panicThreshold` has no effect.
    #[serde(deserialize_with = "values::given", skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<HealthCheck>")]
    pub health_check: Option<Option<Box<HealthCheck>>>,
    /// Speak TLS to the target, whose certificate is verified.
    pub tls: bool,
    /// The name asked for (SNI) and looked for in the target's certificate, if it is not `host`.
    /// Needs `tls`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub server_name: Option<String>,
    /// A PEM file of the authorities that the target's certificate must come from, instead of the
    /// system's. Needs `tls`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<PathBuf>,
    /// Instead of `caFile`: the PEM text itself. Needs `tls`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String")]
    pub ca_pem: Option<String>,
    /// The lowest version of TLS for the target; left out: 1.2. Needs `tls`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "TlsVersion")]
    pub tls_min_version: Option<TlsVersion>,
    /// The highest version of TLS for the target; left out: 1.3. Needs `tls`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "TlsVersion")]
    pub tls_max_version: Option<TlsVersion>,
    /// The cipher suites for the target; as those of a service. Needs `tls`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cipher_suites: Option<Vec<String>>,
    /// Shown to a target that asks for a certificate. Needs `tls`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_certificate: Option<KeyPair>,
    /// Do not verify the target's certificate: whoever can reach the wire can read and change what
    /// is sent. Needs `tls`.
    #[serde(skip_serializing_if = "is_false")]
    pub insecure_skip_verify: bool,
    /// SHA-256 of public keys (SPKI), one of which the target's chain must have: `sha256/BASE64`,
    /// base64 or hex. Needs `tls`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pinned_public_keys: Option<Vec<String>>,
    /// A pinned key of the target's own certificate is enough: its chain and name are not verified.
    /// Needs `pinnedPublicKeys`.
    #[serde(skip_serializing_if = "is_false")]
    pub pin_only: bool,
}

/// Leaves the usual weight out.
#[allow(clippy::trivially_copy_pass_by_ref)] // as serde calls it
fn is_one(weight: &u32) -> bool {
    *weight == 1
}

/// Leaves the lowest tier out.
#[allow(clippy::trivially_copy_pass_by_ref)] // as serde calls it
fn is_zero(tier: &u8) -> bool {
    *tier == 0
}

/// Leaves a flag out that is not set.
fn is_false(flag: &bool) -> bool {
    !flag
}

impl Default for Target {
    fn default() -> Self {
        Self {
            host: None,
            ip: None,
            srv: None,
            port: 8080,
            weight: 1,
            tier: 0,
            backup: false,
            reject: false,
            max_connections: None,
            proxy_protocol: None,
            health_check: None,
            tls: false,
            server_name: None,
            ca_file: None,
            ca_pem: None,
            tls_min_version: None,
            tls_max_version: None,
            cipher_suites: None,
            client_certificate: None,
            insecure_skip_verify: false,
            pinned_public_keys: None,
            pin_only: false,
        }
    }
}

/// How a target is chosen.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum LoadBalancing {
    /// In turn.
    #[default]
    RoundRobin,
    /// In turn, by `weight`, spread evenly.
    WeightedRoundRobin,
    /// The target with the fewest connections for its `weight`, those still connecting among them.
    LeastConnections,
    /// The less loaded of two at random, by `weight`.
    PowerOfTwo,
    /// By the address of the client, and `weight`; few clients move when a target leaves.
    SourceHash,
    /// At random, by `weight`.
    Random,
    /// The first that can take the connection.
    First,
}

/// Who may connect, by the client's address. Networks are written as in `rules[].sources`. `deny` wins
/// over `allow`.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
#[schemars(extend("minProperties" = 1))]
pub struct Access {
    /// Networks that may connect. An empty list: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub allow: Option<Vec<String>>,
    /// A file of further networks that may connect: one a line, `#` begins a comment. It is watched;
    /// one that is broken or empty is reported, and what was read before stays in use.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub allow_file: Option<PathBuf>,
    /// Networks that may not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deny: Option<Vec<String>>,
    /// A file of further networks that may not; as `allowFile`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deny_file: Option<PathBuf>,
    /// What holds for everybody else. Left out: `Deny` where there is an `allow` or `allowFile`,
    /// `Allow` otherwise.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub default: Option<AccessDefault>,
}

/// What holds for those that no list names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum AccessDefault {
    /// They may connect.
    Allow,
    /// They may not.
    Deny,
}

/// Limits on a service.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Limits {
    /// Most connections at one time, over all cores; null: only the process limit holds.
    pub connections: Option<NonZeroU32>,
    /// Most connections of one source at one time, over all cores. A source is an IPv4 address, or the
    /// first 64 bits of an IPv6 address.
    pub connections_per_source: Option<NonZeroU32>,
    /// How often a source may connect.
    pub connection_rate: Option<ConnectionRate>,
    /// Networks for which neither `connectionsPerSource` nor `connectionRate` holds.
    pub exempt: Option<Vec<String>>,
    /// Most bytes in a second, in each direction: a size is for the whole service, over all cores.
    pub bytes_per_second: Option<BytesPerSecond>,
}

/// How often a source may connect: `count` times in `per`, evenly, and `burst` times at once.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
#[schemars(extend("required" = ["count"]))]
pub struct ConnectionRate {
    /// How many connections, in the long run …
    #[schemars(with = "NonZeroU32")]
    pub count: Option<NonZeroU32>,
    /// … in this time.
    pub per: Span,
    /// How many at once, after a rest; left out: `count`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub burst: Option<NonZeroU32>,
    /// Further networks for which neither this nor `connectionsPerSource` holds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exempt: Option<Vec<String>>,
}

impl Default for ConnectionRate {
    fn default() -> Self {
        Self { count: None, per: Span(limits::RATE_PER_DEFAULT), burst: None, exempt: None }
    }
}

/// Time limits of a service. Where null is allowed it means: no limit.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Timeouts {
    /// For what a connection is routed by: the client's TLS hello, or the head of its HTTP request.
    pub hello: Span,
    /// For a TLS handshake, with the client or with a target.
    pub handshake: Span,
    /// For one attempt to connect to one address of a target.
    pub connect: Span,
    /// Without a byte in either direction.
    pub idle: Option<Span>,
    /// Without a byte after one side has ended its direction.
    pub half_closed: Option<Span>,
    /// From accept to the end, whatever moves.
    pub lifetime: Option<Span>,
    /// How much earlier than `lifetime` a connection may end, so that those which began together do
    /// not end together: a share, as `10%`, or a duration. Each draws its own.
    pub lifetime_jitter: Jitter,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            hello: Span(limits::HELLO_DEFAULT),
            handshake: Span(limits::HANDSHAKE_DEFAULT),
            connect: Span(limits::CONNECT_DEFAULT),
            idle: Some(Span(limits::IDLE_DEFAULT)),
            half_closed: Some(Span(limits::HALF_CLOSED_DEFAULT)),
            lifetime: None,
            lifetime_jitter: Jitter::default(),
        }
    }
}
