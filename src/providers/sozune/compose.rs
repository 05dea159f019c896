//! The labels of Compose files. A service is reached by its name there, which the resolver of its
//! networks knows; of several replicas that name has all addresses.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

use super::candidate::{Address, Candidate, Label, Reading, is_container_of};
use crate::config;
use crate::diagnostics::{BAD_HOST, Diagnostic, visible};
use crate::providers::docker::Containers;
use crate::providers::foreign::Part;

/// A Compose file, as far as it matters.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Compose {
    services: BTreeMap<String, Option<Service>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Service {
    container_name: Option<String>,
    network_mode: Option<String>,
    labels: Option<Labels>,
    networks: Option<Names>,
}

/// Labels: a list of `name=value`, or a map. With where each stands, seen from `labels`.
#[derive(Debug, Default)]
struct Labels(Vec<(String, String, String)>);

/// Names: a list of them, or the keys of a map.
#[derive(Debug, Default)]
struct Names(Vec<String>);

/// The candidates of a Compose file. Services whose containers Docker knows are left out: those are
/// candidates themselves.
pub fn candidates(
    part: &mut Part,
    reading: &Reading,
    containers: Option<&Containers>,
    found: &mut Vec<Diagnostic>,
) -> Vec<Candidate> {
    let compose = part.decode::<Compose>(found).value;
    let mut candidates = Vec::new();
    for (service, says) in compose.services {
        let Some(says) = says else { continue };
        let Some(labels) = &says.labels else { continue };
        let names = labels.0.iter().map(|(name, _, _)| name.as_str());
        let Some(prefix) = reading.prefix_of(names) else { continue };
        let is_known = |containers: &Containers| {
            containers.by_id.values().any(|it| is_container_of(it, &service, &part.place))
        };
        if containers.is_some_and(is_known) {
            continue;
        }
        let path = format!("services.{service}");
        let Some(host) = host(&service, &says, reading, part, &path, found) else { continue };
        let place = |at: &str| Label {
            value: String::new(),
            path: part.finding(&BAD_HOST, &format!("{path}.labels{at}"), "").path,
            line: part.line_of(&format!("{path}.labels{at}")),
        };
        let labels = labels.0.iter().filter_map(|(name, value, at)| {
            let rest = name.strip_prefix(prefix)?.strip_prefix('.')?;
            Some((rest.to_owned(), Label { value: value.clone(), ..place(at) }))
        });
        let networks = says.networks.map(|names| names.0);
        candidates.push(Candidate {
            place: std::sync::Arc::clone(&part.place),
            name: format!("the Compose service {service}"),
            suffix: service.clone(),
            prefix: prefix.to_owned(),
            labels: labels.collect(),
            address: Address::Name(host, networks.unwrap_or_else(|| vec!["default".into()])),
            ready: Ok(()),
        });
    }
    candidates
}

/// Where a service is reached.
fn host(
    service: &str,
    says: &Service,
    reading: &Reading,
    part: &Part,
    path: &str,
    found: &mut Vec<Diagnostic>,
) -> Option<String> {
    if says.network_mode.as_deref() == Some("host") {
        return Some(reading.host.clone());
    }
    let (key, host) = match &says.container_name {
        Some(name) => (format!("{path}.container_name"), name.as_str()),
        None => (path.to_owned(), service),
    };
    match config::host(host) {
        Ok(()) => Some(host.to_owned()),
        Err(why) => {
            let message = format!("`{}` is no name that can be looked up: {why}", visible(host));
            found.push(part.finding(&BAD_HOST, &key, message));
            None
        }
    }
}

/// A value of YAML that stands for a text.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Scalar {
    Text(String),
    Flag(bool),
    Whole(i64),
    Large(u64),
    Number(f64),
    Nothing(()),
}

impl fmt::Display for Scalar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => f.write_str(text),
            Self::Flag(flag) => flag.fmt(f),
            Self::Whole(number) => number.fmt(f),
            Self::Large(number) => number.fmt(f),
            Self::Number(number) => number.fmt(f),
            Self::Nothing(()) => Ok(()),
        }
    }
}

impl<'de> Deserialize<'de> for Labels {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Read;

        impl<'de> Visitor<'de> for Read {
            type Value = Labels;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("labels: a list of `name=value`, or a map")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Labels, A::Error> {
                let mut labels = Vec::new();
                while let Some(label) = seq.next_element::<String>()? {
                    let (name, value) = label.split_once('=').unwrap_or((&label, ""));
                    labels.push((name.to_owned(), value.to_owned(), format!("[{}]", labels.len())));
                }
                Ok(Labels(labels))
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Labels, A::Error> {
                let mut labels = Vec::new();
                while let Some((name, value)) = map.next_entry::<String, Scalar>()? {
                    labels.push((name, value.to_string(), String::new()));
                }
                Ok(Labels(labels))
            }
        }

        deserializer.deserialize_any(Read)
    }
}

impl<'de> Deserialize<'de> for Names {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Read;

        impl<'de> Visitor<'de> for Read {
            type Value = Names;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("networks: a list of names, or a map")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Names, A::Error> {
                let mut names = Vec::new();
                while let Some(name) = seq.next_element()? {
                    names.push(name);
                }
                Ok(Names(names))
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Names, A::Error> {
                let mut names = Vec::new();
                while let Some((name, _)) = map.next_entry::<String, serde::de::IgnoredAny>()? {
                    names.push(name);
                }
                Ok(Names(names))
            }
        }

        deserializer.deserialize_any(Read)
    }
}
