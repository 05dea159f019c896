//! Docker, live: which containers there are, with their labels, addresses and health. What their
//! labels mean is read by [`super::sozune`].
//!
//! A container is known by its id and never by its address, which the next one may get. [`watch()`]
//! looks at all containers, follows the daemon's events, and looks again at those that they name; the
//! daemon may go away and come back, and what is known stays in use meanwhile.

use std::collections::BTreeMap;
use std::net::IpAddr;

#[cfg(feature = "docker")]
mod look;
#[cfg(feature = "docker")]
mod watch;

#[cfg(feature = "docker")]
pub use self::look::look;
#[cfg(feature = "docker")]
pub use self::watch::watch;

use tokio::task::JoinHandle;

use super::Publisher;
use crate::config::document;

/// The prefix of labels that is read besides the configured one.
pub const SOZUNE_PREFIX: &str = "sozune";
/// Labels by which `docker compose` says whose container it is.
pub const COMPOSE_PREFIX: &str = "com.docker.compose";

/// The containers of a daemon that run and have labels for the proxy, by id.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Containers {
    /// By id, the whole of it.
    pub by_id: BTreeMap<String, Container>,
    /// There are more than are looked at.
    pub more: bool,
}

/// One container that runs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Container {
    /// Its name, without the slash.
    pub name: String,
    /// When it was made, as the daemon writes it (RFC 3339, in UTC).
    pub created: String,
    /// When it was started, as the daemon writes it: a start is a new life.
    pub started: String,
    /// Those that begin with a prefix that is read.
    pub labels: BTreeMap<String, String>,
    /// The addresses that it has, by the name of the network.
    pub networks: BTreeMap<String, IpAddr>,
    /// Whether it can take connections.
    pub state: State,
    /// The daemon listed it and failed to describe it: why.
    pub fault: Option<String>,
}

/// Whether a container that runs can take connections.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum State {
    /// It runs, and has no HEALTHCHECK, or it passes.
    #[default]
    Ready,
    /// Its HEALTHCHECK has not passed yet.
    Starting,
    /// Its HEALTHCHECK fails.
    Unhealthy,
    /// Its processes are stopped.
    Paused,
}

/// What must be the same for what is known to be the same: the daemon, and which labels are kept.
pub fn reached_by(config: &document::Docker) -> String {
    format!("{} {}", config.endpoint, config.label_prefix)
}

/// Watches a daemon until nobody wants to know, or it is aborted.
pub fn start(config: document::Docker, publisher: Publisher<Containers>) -> JoinHandle<()> {
    #[cfg(feature = "docker")]
    return tokio::spawn(watch(config, publisher));
    #[cfg(not(feature = "docker"))]
    tokio::spawn(async move { drop((config, publisher)) })
}

/// Where a daemon answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Endpoint {
    /// The path of a Unix socket.
    Unix(String),
    /// `host:port`, for plain HTTP.
    Tcp(String),
}

impl Endpoint {
    /// Reads `unix:///path` or `tcp://host:port`; `None` if it is neither.
    pub fn parse(text: &str) -> Option<Self> {
        if let Some(path) = text.strip_prefix("unix://") {
            return path.starts_with('/').then(|| Self::Unix(path.to_owned()));
        }
        let address = text.strip_prefix("tcp://")?.trim_end_matches('/');
        let (host, port) = address.rsplit_once(':')?;
        let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
        let is_host = match bare {
            Some(inner) => inner.parse::<std::net::Ipv6Addr>().is_ok(),
            None => crate::config::host(host).is_ok(),
        };
        let is_port = port.parse::<u16>().is_ok_and(|port| port > 0);
        (is_host && is_port).then(|| Self::Tcp(address.to_owned()))
    }

    /// Where containers are reached that have the network of their host.
    pub fn host(&self) -> &str {
        match self {
            Self::Unix(_) => "127.0.0.1",
            Self::Tcp(address) => {
                let host = address.rsplit_once(':').map_or(address.as_str(), |(host, _)| host);
                host.trim_start_matches('[').trim_end_matches(']')
            }
        }
    }
}

impl Containers {
    /// Whether a label is one that is kept.
    pub fn keeps(config: &document::Docker, label: &str) -> bool {
        [config.label_prefix.as_str(), SOZUNE_PREFIX, COMPOSE_PREFIX]
            .iter()
            .any(|prefix| has_prefix(label, prefix))
    }

    /// Whether a label makes its container a candidate.
    pub fn concerns(config: &document::Docker, label: &str) -> bool {
        has_prefix(label, &config.label_prefix) || has_prefix(label, SOZUNE_PREFIX)
    }
}

impl Containers {
    /// What is known after another look. A container that the daemon cannot describe now is as it was,
    /// and so is one whose HEALTHCHECK begins again though the container did not: a daemon that was
    /// restarted has forgotten what it said.
    #[must_use]
    pub fn after(mut self, before: &Self) -> Self {
        for (id, now) in &mut self.by_id {
            if let Some(then) = before.by_id.get(id) {
                now.keep(then);
            }
        }
        self
    }
}

impl Container {
    fn keep(&mut self, then: &Self) {
        if self.fault.is_some() && then.fault.is_none() {
            *self = then.clone();
        } else if self.state == State::Starting
            && then.state == State::Ready
            && self.started == then.started
        {
            self.state = State::Ready;
        }
    }
}

/// Whether a label is of a prefix: that, a dot, and more.
pub fn has_prefix(label: &str, prefix: &str) -> bool {
    label.strip_prefix(prefix).is_some_and(|rest| rest.len() > 1 && rest.starts_with('.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_are_sockets_and_addresses() {
        let unix = Endpoint::parse("unix:///run/docker.sock").unwrap();
        assert_eq!(unix, Endpoint::Unix("/run/docker.sock".into()));
        assert_eq!(unix.host(), "127.0.0.1");
        let tcp = Endpoint::parse("tcp://docker.internal:2375").unwrap();
        assert_eq!(tcp.host(), "docker.internal");
        assert_eq!(Endpoint::parse("tcp://[fd00::1]:2375").unwrap().host(), "fd00::1");
        for bad in
            ["", "unix://docker.sock", "/run/docker.sock", "tcp://:2375", "tcp://a", "tcp://a:0"]
        {
            assert_eq!(Endpoint::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_prefix_ends_at_its_dot() {
        assert!(has_prefix("thalweg.enable", "thalweg"));
        assert!(!has_prefix("thalwegs.enable", "thalweg"));
        assert!(!has_prefix("thalweg.", "thalweg"));
        assert!(!has_prefix("thalweg", "thalweg"));
    }
}
