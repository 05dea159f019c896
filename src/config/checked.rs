//! The configuration after every check has passed: plain, immutable data in the units the rest of
//! the program works in. `check` makes it from the [document](super::document); the
//! control thread turns it, together with the live state it keeps, into a
//! [`Snapshot`](super::snapshot::Snapshot).
//!
//! Nothing here can be wrong any more: a field that could hold a bad value has a type that cannot.

use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// A whole configuration file that passed.
#[derive(Debug, Clone, PartialEq)]
pub struct Checked {
    /// How the cores are made. Fixed at start: a reload that changes it is told so and keeps the old.
    pub workers: Workers,
    /// Where the events of ended connections go; `None` writes none.
    pub events: Option<Events>,
    /// The enabled services, in the order of the file. Their `listen` addresses are distinct.
    pub services: Vec<Service>,
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

/// `events`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Events {
    /// Absolute path of the NDJSON file; appended to.
    pub file: PathBuf,
}

/// One service: a listening address and the targets behind it.
#[derive(Debug, Clone, PartialEq)]
pub struct Service {
    /// `id`: unique in the file.
    pub id: Arc<str>,
    /// `name`; empty when absent.
    pub name: Arc<str>,
    /// `interface` and `port`.
    pub listen: SocketAddr,
    /// The targets of all rules, flattened in the order of the file. Never empty.
    pub targets: Vec<Target>,
    /// Limits on the service.
    pub limits: Limits,
    /// Time limits.
    pub timeouts: Timeouts,
    /// How many further targets are tried when a connect fails before any byte reached a target.
    pub retries: u32,
    /// What becomes of live connections when a reload removes the service.
    pub on_removed: OnRemoved,
    /// The service document as the user wrote it, serialised on one line (the `service` member of
    /// its events).
    pub document: Arc<str>,
}

/// One place to connect to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// `host` as written.
    pub host: Arc<str>,
    /// Where its addresses come from.
    pub address: Address,
    /// `port`.
    pub port: u16,
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
}

/// `limits` of a service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Limits {
    /// Concurrent connections over all cores; `None`: only the process limit holds.
    pub connections: Option<NonZeroU32>,
}

/// `timeouts` of a service. `None` where the document says `null`: no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timeouts {
    /// For one attempt to connect to one address.
    pub connect: Duration,
    /// Without a byte in either direction.
    pub idle: Option<Duration>,
    /// Without a byte after one side has ended its direction.
    pub half_closed: Option<Duration>,
    /// From accept to the end, whatever moves.
    pub lifetime: Option<Duration>,
}

/// `onRemoved`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnRemoved {
    /// Let live connections run to their own end (the default).
    Keep,
    /// Close what still lives after this long.
    CloseAfter(Duration),
}
