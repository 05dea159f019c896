//! The key `healthCheck`.

use std::num::NonZeroU8;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{SendHeader, Span};
use crate::config::limits;

/// Whether the targets of the rules can take connections, found out by checks of their own and by
/// what becomes of connections. A target that is down gets no new ones. The targets of
/// `sni.fallbacks` are not checked.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct HealthCheck {
    /// Between two checks of a target, give or take a tenth; null: no checks, only `passive`.
    pub interval: Option<Span>,
    /// Between two checks while a target's state is in doubt: after a first failure until it is
    /// down, after a first success until it is up. Left out: 1s, or `interval` if that is shorter.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Span")]
    pub fast_interval: Option<Span>,
    /// For a whole check, from the connect to the last answer.
    pub timeout: Span,
    /// Successes in a row after which a target that is down is up.
    pub rise: NonZeroU8,
    /// Failures in a row after which a target that is up is down.
    pub fall: NonZeroU8,
    /// What a target is before its first check.
    pub initial: Initial,
    /// Check this port instead of the target's own.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "u16", range(min = 1))]
    pub port: Option<u16>,
    /// Speak TLS in the check, as the target's own `tls` says; where it has none, nothing is
    /// verified. Left out: as the target's connections where `commands` or `http` speak to its own
    /// port, else no TLS.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "bool")]
    pub tls: Option<bool>,
    /// Begin with a PROXY header that says that the proxy speaks for itself: `LOCAL` in version 2,
    /// the addresses of the check's own connection in version 1. Without it: as connections to the
    /// target do, if the check goes to the target's own port.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "SendHeader")]
    pub proxy_protocol: Option<SendHeader>,
    /// What is said and must be answered, in order. Without them, and without `http`, a target that
    /// takes the connection (and finishes the TLS handshake) has passed.
    pub commands: Vec<Command>,
    /// An HTTP request instead of `commands`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub http: Option<HttpCheck>,
    /// What becomes of the connections of a target that goes down.
    pub on_down: OnDown,
    /// When fewer than this percentage of a rule's targets are up, and no backup is, connections go
    /// to all of them as if they were up: the checks are more likely wrong than the targets. 0: never,
    /// for where the checks tell a primary from its replicas, that would be wrong.
    #[schemars(range(max = 100))]
    pub panic_threshold: u8,
    /// Take targets out by what becomes of connections.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub passive: Option<Passive>,
    /// A target that came up gets its share of new connections gradually over this time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub slow_start: Option<Span>,
}

impl Default for HealthCheck {
    fn default() -> Self {
        Self {
            interval: Some(Span(limits::CHECK_INTERVAL_DEFAULT)),
            fast_interval: None,
            timeout: Span(limits::CHECK_TIMEOUT_DEFAULT),
            rise: limits::CHECK_RISE_DEFAULT,
            fall: limits::CHECK_FALL_DEFAULT,
            initial: Initial::default(),
            port: None,
            tls: None,
            proxy_protocol: None,
            commands: Vec::new(),
            http: None,
            on_down: OnDown::default(),
            panic_threshold: 0,
            passive: None,
            slow_start: None,
        }
    }
}

/// One step of a check.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
#[schemars(extend("required" = ["name", "message"]))]
pub struct Command {
    /// What is done.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "CommandName")]
    pub name: Option<CommandName>,
    /// `send`: the text, or `Hex(0d0a)`. `expect`: the text or `Hex(…)` that must come, anywhere
    /// after what the `expect` before it has found, or `Regex(x)`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String", length(min = 1))]
    pub message: Option<String>,
}

/// What a step of a check does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum CommandName {
    /// Sends the message.
    Send,
    /// Waits until the message has come.
    Expect,
}

/// A check by HTTP/1.1, for servers that have a page about themselves.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct HttpCheck {
    /// Path and query.
    pub path: String,
    /// The method.
    pub method: String,
    /// The `Host`. Left out: that of the target.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String")]
    pub host: Option<String>,
    /// The answers that pass. Left out: 200 to 399.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<Vec<u16>>,
    /// What the body must have: a text, `Hex(…)` or `Regex(x)`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String")]
    pub body: Option<String>,
}

impl Default for HttpCheck {
    fn default() -> Self {
        Self { path: "/".into(), method: "GET".into(), host: None, status: None, body: None }
    }
}

/// What a target is before its first check.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Initial {
    /// Up, until checks say otherwise: a start waits for none.
    #[default]
    Up,
    /// Down, until the first check that passes.
    Down,
}

/// What becomes of the connections of a target that goes down.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum OnDown {
    /// They run to their own end.
    #[default]
    Keep,
    /// They are cut at once.
    Close,
}

/// Takes targets out by what becomes of connections: those that cannot be made, and those that the
/// target resets within a second without having sent a byte.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Passive {
    /// So many in a row.
    pub failures: NonZeroU8,
    /// For how long the target is out at first. It doubles each time that the target fails again
    /// soon after, up to 5m.
    pub eject_for: Span,
    /// At most this percentage of a rule's targets is out at a time, those among them that checks
    /// hold down, but always one of several. The last one that is up stays.
    #[schemars(range(min = 1, max = 100))]
    pub max_ejected: u8,
}

impl Default for Passive {
    fn default() -> Self {
        Self {
            failures: limits::PASSIVE_FAILURES_DEFAULT,
            eject_for: Span(limits::EJECT_FOR_DEFAULT),
            max_ejected: limits::EJECTED_MAX_DEFAULT,
        }
    }
}
