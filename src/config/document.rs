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

pub use super::span::Span;
pub use super::values::{ClientAuth, Cores, OnRemoved, TlsMode};
use super::{limits, values};

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
    /// Where the events of ended connections go. Without it none are written.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub events: Option<Events>,
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

/// Where the events of ended connections go.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Events {
    /// A file that gets one JSON line per connection, at its end. Appended to; SIGUSR1 reopens it.
    pub file: PathBuf,
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
    /// What is done with TLS. This release serves `Disabled`.
    pub tls: TlsMode,
    /// Whether a client must show a certificate. Needs `tls` `Enabled`.
    pub client_auth: ClientAuth,
    /// Routing by the name that the client asks for. Not in this release.
    pub sni: Sni,
    /// The targets. Without `sni` the targets of all rules are used in turn.
    pub rules: Vec<Rule>,
    /// For people.
    pub tags: Vec<String>,
    /// For people.
    pub metadata: BTreeMap<String, String>,
    /// How a target is chosen. This release serves `RoundRobin`.
    pub load_balancing: LoadBalancing,
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
}

/// Routing by the name that the client asks for.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Sni {
    /// Route by name.
    pub enabled: bool,
    /// Use `forwardsTo` where no rule matches.
    pub forward_if_no_match: bool,
    /// The target where no rule matches.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub forwards_to: Option<Target>,
}

/// Targets, and for which names they are.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Rule {
    /// The name pattern; has no effect unless the service routes by name.
    pub domain: String,
    /// Where connections go.
    pub targets: Vec<Target>,
    /// How a target is chosen. This release serves `RoundRobin`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub load_balancing: Option<LoadBalancing>,
}

impl Default for Rule {
    fn default() -> Self {
        Self { domain: "*".into(), targets: Vec::new(), load_balancing: None }
    }
}

/// One place to connect to.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
#[schemars(extend("anyOf" = [{ "required": ["host"] }, { "required": ["ip"] }]))]
pub struct Target {
    /// A host name, an IP address, or `unix:/path` for a Unix socket. May be left out where `ip` is
    /// given.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String")]
    pub host: Option<String>,
    /// Connect to this IP address instead of resolving `host`.
    pub ip: Option<String>,
    /// The port to connect to; not used for a Unix socket.
    #[schemars(range(min = 1))]
    pub port: u16,
    /// Speak TLS to the target. Not in this release.
    pub tls: bool,
}

impl Default for Target {
    fn default() -> Self {
        Self { host: None, ip: None, port: 8080, tls: false }
    }
}

/// How a target is chosen.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum LoadBalancing {
    /// In turn.
    #[default]
    RoundRobin,
    /// In turn, by `weight`. Not in this release.
    WeightedRoundRobin,
    /// The target with the fewest connections. Not in this release.
    LeastConnections,
    /// The less loaded of two at random. Not in this release.
    PowerOfTwo,
    /// By the address of the client. Not in this release.
    SourceHash,
    /// At random. Not in this release.
    Random,
    /// The first that is up. Not in this release.
    First,
}

/// Limits on a service.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Limits {
    /// Most connections at one time, over all cores; null: only the process limit holds.
    pub connections: Option<NonZeroU32>,
}

/// Time limits of a service. Where null is allowed it means: no limit.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Timeouts {
    /// For the client's TLS hello. Has no effect without TLS.
    pub hello: Span,
    /// For the TLS handshake with the client. Has no effect without TLS.
    pub handshake: Span,
    /// For one attempt to connect to one address of a target.
    pub connect: Span,
    /// Without a byte in either direction.
    pub idle: Option<Span>,
    /// Without a byte after one side has ended its direction.
    pub half_closed: Option<Span>,
    /// From accept to the end, whatever moves.
    pub lifetime: Option<Span>,
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
        }
    }
}
