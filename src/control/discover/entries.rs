//! A fetched document to the targets in it. The document is a stranger's: what cannot be a target is
//! left out and said, and what is left is bounded.
//!
//! Every `service_discovery` of Tyk has a translation:
//!
//! | Tyk | here |
//! | --- | --- |
//! | `use_discovery_service` | there is a `discovery` |
//! | `query_endpoint` | `url` |
//! | `data_path` | `target` |
//! | `port_data_path` | `port` |
//! | `use_nested_query` false: `parent_data_path` | `list`, if `use_target_list`; else nothing |
//! | `use_nested_query` true: `parent_data_path` | `nested` (with `list` empty) |
//! | `endpoint_returns_list` | `list` empty: an array is a list by itself |
//! | `use_target_list` false | `firstOnly` |
//! | `target_path` | nothing: a path of HTTP means nothing to TCP, and that of an entry is dropped |
//! | `cache_timeout` | `interval`, in seconds |
//! | `cache_disabled` | `interval` of a second: a list is fetched ahead, not for each connection |

use std::collections::HashSet;
use std::sync::Arc;

use serde_json::Value;

use crate::config;
use crate::config::found::{FoundTarget, Query};
use crate::config::limits;

/// What is in a document.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Entries {
    /// The targets, each once, in order.
    pub targets: Vec<FoundTarget>,
    /// What is wrong with entries that are left out; the first few.
    pub faults: Vec<String>,
    /// How many entries are left out.
    pub left_out: usize,
}

/// Reads the targets out of a document.
///
/// # Errors
/// Why the document cannot be read at all, in words.
pub fn read(query: &Query, body: &[u8]) -> Result<Entries, String> {
    let document: Value =
        serde_json::from_slice(body).map_err(|error| format!("the answer is not JSON: {error}"))?;
    let places = query.list.find(&document);
    if places.is_empty() {
        return Err("there is nothing at the path of the list".into());
    }
    let mut read = Reading { query, entries: Entries::default(), seen: HashSet::new() };
    for place in places {
        match place {
            Value::Array(entries) => entries.iter().for_each(|entry| read.entry(entry)),
            Value::Null => {}
            entry => read.entry(entry),
        }
    }
    let mut entries = read.entries;
    // The order of a registry's answer means nothing; that of a list of which the first is used does.
    if !query.first_only {
        entries.targets.sort_unstable();
    }
    Ok(entries)
}

struct Reading<'a> {
    query: &'a Query,
    entries: Entries,
    seen: HashSet<(Arc<str>, Option<u16>)>,
}

impl Reading<'_> {
    fn entry(&mut self, entry: &Value) {
        let Some(nested) = &self.query.nested else { return self.target(entry) };
        let inner = match nested.find(entry).first() {
            Some(Value::String(text)) => serde_json::from_str::<Value>(text)
                .map_err(|error| format!("the nested text is not JSON: {error}")),
            Some(_) => Err("what is nested is not a string".into()),
            None => Err("there is nothing at the path of what is nested".into()),
        };
        match inner {
            Ok(Value::Array(entries)) => entries.iter().for_each(|entry| self.target(entry)),
            Ok(entry) => self.target(&entry),
            Err(fault) => self.leave_out(fault),
        }
    }

    fn target(&mut self, entry: &Value) {
        if self.query.first_only && !self.entries.targets.is_empty() {
            return;
        }
        match target(self.query, entry) {
            Ok(target) if self.entries.targets.len() >= limits::FOUND_MAX => {
                self.leave_out(format!("more than {} targets: {target}", limits::FOUND_MAX));
            }
            // Twice the same would have a double share.
            Ok(target) => {
                if self.seen.insert((Arc::clone(&target.host), target.port)) {
                    self.entries.targets.push(target);
                }
            }
            Err(fault) => self.leave_out(fault),
        }
    }

    fn leave_out(&mut self, fault: String) {
        self.entries.left_out += 1;
        if self.entries.faults.len() < limits::FOUND_FAULTS_TOLD {
            self.entries.faults.push(fault);
        }
    }
}

/// Reads one entry.
fn target(query: &Query, entry: &Value) -> Result<FoundTarget, String> {
    let place = match query.target.find(entry).first() {
        Some(Value::String(text)) => text.trim(),
        Some(_) => return Err("the target is not a string".into()),
        None => return Err("there is nothing at the path of the target".into()),
    };
    let (host, own_port, secure) = split(place)?;
    let fault = |what: &str| format!("`{}` {what}", crate::diagnostics::visible(place));
    config::host(host).map_err(|why| fault(&format!("is not usable: {why}")))?;
    let port = match query.port.as_ref().map(|path| first(path.find(entry))) {
        Some(Some(port)) => {
            Some(number::<u16>(port).filter(|port| *port != 0).ok_or(fault("has no sound port"))?)
        }
        Some(None) => return Err(fault("has nothing at the path of the port")),
        None => own_port,
    };
    let weight = match query.weight.as_ref().map(|path| first(path.find(entry))) {
        Some(Some(weight)) => Some(
            number::<u32>(weight)
                .filter(|weight| *weight <= limits::WEIGHT_MAX)
                .ok_or(fault("has no sound weight"))?,
        ),
        // Registries leave out what is usual.
        Some(None) | None => None,
    };
    let host = host.trim_matches(['[', ']']).to_ascii_lowercase();
    Ok(FoundTarget { host: host.into(), port, weight, tier: 0, secure })
}

/// The first place, and of an array its first element.
fn first(places: Vec<&Value>) -> Option<&Value> {
    match places.into_iter().next()? {
        Value::Array(elements) => elements.first(),
        Value::Null => None,
        value => Some(value),
    }
}

/// A number, also as text.
fn number<T: std::str::FromStr + TryFrom<u64>>(value: &Value) -> Option<T> {
    match value {
        Value::String(text) => text.trim().parse().ok(),
        Value::Number(number) => number.as_u64().and_then(|number| T::try_from(number).ok()),
        _ => None,
    }
}

/// `host`, `host:port` or a URL to host, port and whether TLS is asked for.
fn split(text: &str) -> Result<(&str, Option<u16>, bool), String> {
    let (scheme, rest) = match text.split_once("://") {
        Some((scheme, rest)) => (Some(scheme.to_ascii_lowercase()), rest),
        None => (None, text),
    };
    let (default, secure) = match scheme.as_deref() {
        None | Some("tcp") => (None, false),
        Some("tls") => (None, true),
        Some("http") => (Some(80), false),
        Some("https") => (Some(443), true),
        Some(other) => {
            let other = crate::diagnostics::visible(other);
            return Err(format!("the scheme `{other}` is not one of tcp, tls, http, https"));
        }
    };
    let authority = rest.split(['/', '?', '#']).next().unwrap_or(rest);
    let authority = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    // An address of IPv6 without brackets has no port.
    let bare_v6 = authority.parse::<std::net::Ipv6Addr>().is_ok();
    match authority.rsplit_once(':').filter(|_| !bare_v6 && !authority.ends_with(']')) {
        None => Ok((authority, default, secure)),
        Some((host, port)) => match port.parse::<u16>() {
            Ok(port @ 1..) => Ok((host, Some(port), secure)),
            _ => Err(format!("`{}` has no sound port", crate::diagnostics::visible(text))),
        },
    }
}

#[cfg(test)]
mod tests;
