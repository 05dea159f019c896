//! `healthCheck`, checked.

use std::fmt;
use std::num::NonZeroU8;
use std::sync::Arc;
use std::time::Duration;

use super::{SendHeader, UpstreamTls};
use crate::config::expectation::Expectation;
use crate::config::span::Span;

/// `healthCheck` of a service, or of a target. The default looks at nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HealthCheck {
    /// How targets are checked; `None`: they are not, only `passive` counts.
    pub probe: Option<Arc<Probe>>,
    /// Whether the connections of a target that goes down are cut.
    pub close_on_down: bool,
    /// `panicThreshold`, in percent.
    pub panic_threshold: u8,
    /// `passive`.
    pub passive: Option<Passive>,
    /// `slowStart`.
    pub slow_start: Option<Duration>,
}

/// How a target is checked. Targets that are checked alike at one place share their checks.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Probe {
    /// Between two checks.
    pub interval: Duration,
    /// Between two checks while the state is in doubt; not longer than `interval`.
    pub fast_interval: Duration,
    /// For a whole check.
    pub timeout: Duration,
    /// Successes in a row that make it up.
    pub rise: NonZeroU8,
    /// Failures in a row that make it down.
    pub fall: NonZeroU8,
    /// What it is before its first check.
    pub starts_up: bool,
    /// What is sent before anything else.
    pub header: SendHeader,
    /// What is said.
    pub talk: Talk,
}

/// What is said in a check.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Talk {
    /// Nothing: the connection, and TLS where it is spoken, is enough.
    Nothing,
    /// `commands`; not empty.
    Script(Vec<Command>),
    /// `http`.
    Http(HttpCheck),
}

/// One of `commands`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Command {
    /// Sends these bytes.
    Send(Arc<[u8]>),
    /// Waits for this.
    Expect(Expectation),
}

/// `http` of a check.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct HttpCheck {
    /// `method`, a token.
    pub method: Arc<str>,
    /// `path`, with its query.
    pub path: Arc<str>,
    /// `host`; `None`: that of the target.
    pub host: Option<Arc<str>>,
    /// `status`; empty: 200 to 399.
    pub status: Vec<u16>,
    /// `body`.
    pub body: Option<Expectation>,
}

/// `passive`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Passive {
    /// Failures in a row.
    pub failures: NonZeroU8,
    /// The first ejection's length.
    pub eject_for: Duration,
    /// The share of a pool that may be out, in percent.
    pub max_ejected: u8,
}

/// How one target is checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TargetCheck {
    /// What all targets of the service share.
    pub probe: Arc<Probe>,
    /// `healthCheck.port`; `None`: that of the target.
    pub port: Option<u16>,
    /// How TLS is spoken in the check; `None`: not at all.
    pub tls: Option<UpstreamTls>,
    /// `tls` is that of the target, also where the target is a template.
    pub as_target: bool,
}

impl fmt::Display for HealthCheck {
    /// As `check` prints it: how it was read, in one line.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.probe {
            Some(probe) => probe.fmt(f)?,
            None => f.write_str("no checks")?,
        }
        if self.close_on_down {
            f.write_str(", connections cut when down")?;
        }
        if self.panic_threshold > 0 {
            write!(f, ", ignored when fewer than {} % are up", self.panic_threshold)?;
        }
        if let Some(slow) = self.slow_start {
            write!(f, ", slow start {}", Span(slow))?;
        }
        if let Some(Passive { failures, eject_for, max_ejected }) = self.passive {
            let eject_for = Span(eject_for);
            write!(f, "; out for {eject_for} after {failures} failed connections")?;
            write!(f, ", at most {max_ejected} %")?;
        }
        Ok(())
    }
}

impl fmt::Display for Probe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.talk {
            Talk::Nothing => f.write_str("connect")?,
            Talk::Script(commands) => {
                for (at, command) in commands.iter().enumerate() {
                    f.write_str(if at == 0 { "" } else { ", " })?;
                    match command {
                        Command::Send(bytes) => write!(f, "send \"{}\"", bytes.escape_ascii())?,
                        Command::Expect(what) => write!(f, "expect {what}")?,
                    }
                }
            }
            Talk::Http(HttpCheck { method, path, status, body, .. }) => {
                write!(f, "http {method} {path}")?;
                match status.as_slice() {
                    [] => f.write_str(" = 200-399")?,
                    list => {
                        let list: Vec<String> = list.iter().map(ToString::to_string).collect();
                        write!(f, " = {}", list.join("|"))?;
                    }
                }
                if let Some(body) = body {
                    write!(f, " with {body}")?;
                }
            }
        }
        match self.header {
            SendHeader::Off => {}
            SendHeader::V1 => f.write_str(" after PROXY V1")?,
            SendHeader::V2 => f.write_str(" after PROXY V2")?,
        }
        let (every, fast) = (Span(self.interval), Span(self.fast_interval));
        write!(f, " every {every} ({fast} in doubt) within {}", Span(self.timeout))?;
        write!(f, ", up after {}, down after {}", self.rise, self.fall)?;
        if !self.starts_up {
            f.write_str(", down at first")?;
        }
        Ok(())
    }
}
