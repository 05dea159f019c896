//! Candidates: what may attach to a listener, if its labels say so. A container of Docker is one, and
//! a service of a Compose file.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use crate::diagnostics::{
    Code, Diagnostic, INSPECT_FAILED, NETWORK_NOT_FOUND, NO_ADDRESS, NOT_READY, visible,
};
use crate::providers::docker::{COMPOSE_PREFIX, Container, SOZUNE_PREFIX, State, has_prefix};

/// How labels are read.
#[derive(Debug, Clone)]
pub struct Reading {
    /// The prefixes; the first that a candidate has is its own.
    pub prefixes: Vec<String>,
    /// Candidates that do not say whether they are enabled are.
    pub by_default: bool,
    /// The network whose addresses are used, unless a label names one.
    pub network: Option<String>,
    /// Where a container is reached that has no address of its own.
    pub host: String,
}

/// One candidate.
#[derive(Debug, Clone)]
pub struct Candidate {
    /// The file, or which container it is.
    pub place: Arc<str>,
    /// What people call it: `container db`.
    pub name: String,
    /// What its service is called after, if that differs from others of its name.
    pub suffix: String,
    /// The prefix of its labels.
    pub prefix: String,
    /// The labels, without the prefix and its dot.
    pub labels: BTreeMap<String, Label>,
    /// Where it is reached.
    pub address: Address,
    /// Whether it gets connections; else why it does not.
    pub ready: Result<(), NotNow>,
}

/// One label.
#[derive(Debug, Clone, Default)]
pub struct Label {
    /// What it says.
    pub value: String,
    /// Where it stands, if that is in a file.
    pub path: String,
    /// The line there.
    pub line: Option<u32>,
}

/// Where a candidate is reached.
#[derive(Debug, Clone)]
pub enum Address {
    /// By a name, whose addresses others know; and the networks that it is in.
    Name(String, Vec<String>),
    /// By its address in one of these networks.
    Networks(BTreeMap<String, IpAddr>),
}

/// Why a candidate gets no connections now.
#[derive(Debug, Clone)]
pub enum NotNow {
    /// A word for the state that it is in.
    State(&'static str),
    /// The daemon could not describe it.
    Fault(String),
}

impl Reading {
    /// The first prefix that some of the labels have.
    pub fn prefix_of<'a>(&self, labels: impl Iterator<Item = &'a str> + Clone) -> Option<&str> {
        let has = |prefix: &&String| labels.clone().any(|label| has_prefix(label, prefix));
        self.prefixes.iter().find(has).map(String::as_str)
    }
}

impl Candidate {
    /// The one that a container is; `None` if it has no label of a prefix.
    pub fn of_container(id: &str, container: &Container, reading: &Reading) -> Option<Self> {
        let prefix = reading.prefix_of(container.labels.keys().map(String::as_str))?;
        let short: String = id.chars().take(SHORT_ID).collect();
        let labels = container.labels.iter().filter_map(|(label, value)| {
            let rest = label.strip_prefix(prefix)?.strip_prefix('.')?;
            Some((rest.to_owned(), Label { value: value.clone(), ..Label::default() }))
        });
        let ready = match (&container.fault, container.state) {
            (Some(fault), _) => Err(NotNow::Fault(fault.clone())),
            (None, State::Ready) => Ok(()),
            (None, State::Starting) => Err(NotNow::State("its HEALTHCHECK has not passed yet")),
            (None, State::Unhealthy) => Err(NotNow::State("its HEALTHCHECK fails")),
            (None, State::Paused) => Err(NotNow::State("it is paused")),
        };
        Some(Self {
            place: format!("container {} ({short})", visible(&container.name)).into(),
            name: format!("container {}", container.name),
            suffix: short,
            prefix: prefix.to_owned(),
            labels: labels.collect(),
            address: Address::Networks(container.networks.clone()),
            ready,
        })
    }

    /// The value of a label, without white space around it.
    pub fn get(&self, label: &str) -> Option<&str> {
        self.labels.get(label).map(|label| label.value.trim())
    }

    /// A finding about one of its labels, which may be one that it lacks.
    pub fn finding(&self, code: &'static Code, label: &str, message: String) -> Diagnostic {
        let found = self.labels.get(label);
        let path = match found.or_else(|| self.labels.values().next()) {
            Some(label) if !label.path.is_empty() => label.path.clone(),
            _ if label.is_empty() => String::new(),
            _ => self.label(label),
        };
        let mut finding = Diagnostic::new(code, path, message).in_file(&self.place);
        finding.line = found.or_else(|| self.labels.values().next()).and_then(|label| label.line);
        finding
    }

    /// A label with its prefix.
    pub fn label(&self, rest: &str) -> String {
        format!("{}.{rest}", self.prefix)
    }

    /// Says why it gets no connections.
    pub fn not_now(&self, why: &NotNow) -> Diagnostic {
        match why {
            NotNow::State(why) => {
                let message = format!("{} gets no connections now: {why}", visible(&self.name));
                self.finding(&NOT_READY, "", message)
            }
            NotNow::Fault(fault) => {
                let name = visible(&self.name);
                let message = format!("Docker could not describe {name}: {}", visible(fault));
                self.finding(&INSPECT_FAILED, "", message)
            }
        }
    }

    /// Where it is reached.
    pub fn host(&self, reading: &Reading, found: &mut Vec<Diagnostic>) -> String {
        let label = self.get("network").filter(|network| !network.is_empty());
        let wanted = label.or(reading.network.as_deref());
        let missing = |attached: Vec<&str>| {
            let wanted = wanted.unwrap_or_default();
            let message = format!("the preferred network `{}` is not attached", visible(wanted));
            let hint = match attached.as_slice() {
                [] => "it is attached to none".to_owned(),
                names => format!("it is attached to {}", visible(&names.join(", "))),
            };
            self.finding(&NETWORK_NOT_FOUND, "network", message).hint(hint)
        };
        match &self.address {
            Address::Name(host, networks) => {
                if let Some(label) = label
                    && !networks.iter().any(|network| network == label)
                {
                    found.push(missing(networks.iter().map(String::as_str).collect()));
                }
                host.clone()
            }
            Address::Networks(networks) => {
                if let Some(ip) = wanted.and_then(|wanted| networks.get(wanted)) {
                    return ip.to_string();
                }
                if wanted.is_some() {
                    found.push(missing(networks.keys().map(String::as_str).collect()));
                }
                if let Some(ip) = networks.values().next() {
                    return ip.to_string();
                }
                let message = format!(
                    "{} has no address of its own, using {}",
                    visible(&self.name),
                    visible(&reading.host)
                );
                let finding = self.finding(&NO_ADDRESS, "", message);
                found.push(finding.hint("attach it to a network"));
                reading.host.clone()
            }
        }
    }
}

/// The container of a service of a Compose file, if Docker has one: its labels count then.
pub fn is_container_of(container: &Container, service: &str, file: &str) -> bool {
    let label = |name: &str| container.labels.get(&format!("{COMPOSE_PREFIX}.{name}"));
    label("service").is_some_and(|name| name == service)
        && label("project.config_files")
            .is_some_and(|files| files.split(',').any(|known| known == file))
}

/// The prefixes that are read, of which the configured one goes first.
pub fn prefixes(configured: &str) -> Vec<String> {
    let mut prefixes = vec![configured.to_owned()];
    if configured != SOZUNE_PREFIX {
        prefixes.push(SOZUNE_PREFIX.to_owned());
    }
    prefixes
}

/// Characters of a container's id that tell it from others, as `docker ps` shows it.
const SHORT_ID: usize = 12;
