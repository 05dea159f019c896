//! What a change would do, before it is made: a pure function of what is served and what would be.

use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::sync::Arc;

use serde::Serialize;
use serde_json::Value;

use crate::config::checked::{Checked, OnRemoved, Service};
use crate::config::limits;
use crate::config::sources::{Entities, with_defaults};
use crate::diagnostics::Diagnostic;

/// One side of a comparison.
#[derive(Debug, Clone, Copy)]
pub struct Side<'a> {
    /// The configuration.
    pub checked: &'a Checked,
    /// Every declared service, for their documents.
    pub entities: &'a Entities,
}

/// What would change.
#[derive(Debug, Default, Serialize)]
pub struct Plan {
    /// The version that is served, and that it was compared with.
    pub version: u64,
    /// Whether anything would.
    pub changes: bool,
    /// Addresses that are listened on.
    pub listeners: Listeners,
    /// Keys of the top level whose meaning differs, without `services`; and `files`, if what is in the
    /// files does that the configuration names.
    pub settings: Vec<&'static str>,
    /// The services that differ.
    pub services: Vec<Difference>,
    /// How many services do not.
    pub unchanged: usize,
    /// What becomes of the live connections of the services.
    pub connections: Connections,
    /// What was found in the configuration that would be served.
    pub diagnostics: Vec<Diagnostic>,
}

/// Addresses that are listened on, sorted.
#[derive(Debug, Default, Serialize)]
#[allow(missing_docs)] // they say it
pub struct Listeners {
    pub added: Vec<SocketAddr>,
    pub kept: Vec<SocketAddr>,
    pub removed: Vec<SocketAddr>,
}

/// One service that differs.
#[derive(Debug, Serialize)]
pub struct Difference {
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// How.
    pub change: Kind,
    /// The paths in its document that differ; empty where it is the top level that makes the
    /// difference.
    pub what: Vec<String>,
    /// Its live connections.
    pub connections: u32,
}

/// How a service differs. One that is switched on or off is added or removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs)] // they say it
pub enum Kind {
    Added,
    Changed,
    Removed,
}

/// What becomes of the live connections.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Connections {
    /// Those of services that stay, changed or not: they live on as they are.
    pub untouched: u32,
    /// Those of services that go and let them run to their end.
    pub drained: u32,
    /// Those of services that go and close them (`onRemoved`).
    pub closed: u32,
}

impl Plan {
    /// Compares what is served with what would be. `live` tells the live connections of a service.
    pub fn of(version: u64, before: Side<'_>, after: Side<'_>, live: impl Fn(&str) -> u32) -> Self {
        let listens = |side: Side<'_>| -> HashSet<SocketAddr> {
            side.checked.services.iter().map(|service| service.listen).collect()
        };
        let (had, has) = (listens(before), listens(after));
        let sorted = |addresses: Vec<&SocketAddr>| {
            let mut addresses: Vec<SocketAddr> = addresses.into_iter().copied().collect();
            addresses.sort_unstable();
            addresses
        };
        let mut plan = Self {
            version,
            listeners: Listeners {
                added: sorted(has.difference(&had).collect()),
                kept: sorted(has.intersection(&had).collect()),
                removed: sorted(had.difference(&has).collect()),
            },
            settings: settings(before.checked, after.checked),
            ..Self::default()
        };
        let old: HashMap<&str, &Service> = by_id(before.checked);
        let new: HashMap<&str, &Service> = by_id(after.checked);
        let document = |side: Side<'_>, service: &Service| {
            let read = |text: &str| serde_json::from_str(text).map(with_defaults);
            let known = side.entities.get(&service.id).map(|entity| entity.document.clone());
            known.or_else(|| read(&service.document).ok()).unwrap_or_default()
        };
        for service in &after.checked.services {
            let connections = live(&service.id);
            let (change, what) = match old.get(&*service.id) {
                Some(old) => {
                    plan.connections.untouched += connections;
                    let mut what = Vec::new();
                    if old.document != service.document {
                        let (old, new) = (document(before, old), document(after, service));
                        what = differences(&old, &new);
                    }
                    if what.is_empty() && does_the_same(old, service) {
                        plan.unchanged += 1;
                        continue;
                    }
                    (Kind::Changed, what)
                }
                None => (Kind::Added, Vec::new()),
            };
            plan.services.push(Difference::new(service, change, what, connections));
        }
        for service in &before.checked.services {
            if new.contains_key(&*service.id) {
                continue;
            }
            let connections = live(&service.id);
            match service.on_removed {
                OnRemoved::Keep => plan.connections.drained += connections,
                OnRemoved::CloseAfter(_) => plan.connections.closed += connections,
            }
            plan.services.push(Difference::new(service, Kind::Removed, Vec::new(), connections));
        }
        plan.changes = !plan.services.is_empty() || !plan.settings.is_empty();
        plan
    }

    /// What changes, in one line for the log.
    pub fn line(&self) -> String {
        let mut parts = Vec::new();
        for (kind, word) in
            [(Kind::Added, "added"), (Kind::Changed, "changed"), (Kind::Removed, "removed")]
        {
            let of_kind = self.services.iter().filter(|it| it.change == kind);
            let names: Vec<String> = of_kind.map(Difference::brief).collect();
            if !names.is_empty() {
                let more = names.len().saturating_sub(NAMED_MAX);
                let named = names.get(..NAMED_MAX).unwrap_or(&names).join(", ");
                let more = if more > 0 { format!(" and {more} more") } else { String::new() };
                parts.push(format!("{word} {named}{more}"));
            }
        }
        if !self.settings.is_empty() {
            parts.push(format!("settings {}", self.settings.join(", ")));
        }
        if parts.is_empty() { "nothing".into() } else { parts.join("; ") }
    }
}

/// Services of one kind that the log's line names.
const NAMED_MAX: usize = 8;

impl Difference {
    fn new(service: &Service, change: Kind, what: Vec<String>, connections: u32) -> Self {
        let (id, name) = (service.id.to_string(), service.name.to_string());
        Self { id, name, change, what, connections }
    }

    /// Its id and the paths.
    fn brief(&self) -> String {
        let id = crate::diagnostics::visible(&self.id);
        if self.what.is_empty() { id } else { format!("{id} ({})", self.what.join(" ")) }
    }
}

fn by_id(checked: &Checked) -> HashMap<&str, &Service> {
    checked.services.iter().map(|service| (&*service.id, service)).collect()
}

/// Whether two services do the same, wherever they stand and however they are written.
fn does_the_same(a: &Service, b: &Service) -> bool {
    if a.at == b.at && a.document == b.document {
        return a == b;
    }
    Service { at: b.at, document: Arc::clone(&b.document), ..a.clone() } == *b
}

/// The keys of the top level whose meaning differs.
fn settings(a: &Checked, b: &Checked) -> Vec<&'static str> {
    let differ = [
        ("workers", a.workers != b.workers),
        ("events", a.events != b.events),
        ("admin", a.admin != b.admin),
        ("certificates", a.certificates != b.certificates),
        ("resolver", a.resolver != b.resolver),
        ("stateDir", a.state_dir != b.state_dir),
    ];
    differ.into_iter().filter_map(|(key, differs)| differs.then_some(key)).collect()
}

/// The innermost paths at which two documents differ, the first of them.
pub fn differences(a: &Value, b: &Value) -> Vec<String> {
    let mut found = Vec::new();
    differ(a, b, &mut String::new(), &mut found);
    found
}

fn differ(a: &Value, b: &Value, path: &mut String, found: &mut Vec<String>) {
    if a == b || found.len() == limits::PLAN_PATHS_MAX {
        return;
    }
    let length = path.len();
    match (a, b) {
        (Value::Object(a), Value::Object(b)) => {
            let gone = a.keys().filter(|key| !b.contains_key(*key));
            for key in b.keys().chain(gone) {
                let (old, new) = (a.get(key), b.get(key));
                path.push_str(if path.is_empty() { "" } else { "." });
                path.push_str(key);
                match (old, new) {
                    (Some(old), Some(new)) => differ(old, new, path, found),
                    _ => push(path, found),
                }
                path.truncate(length);
            }
        }
        (Value::Array(a), Value::Array(b)) if a.len() == b.len() => {
            for (at, (old, new)) in a.iter().zip(b).enumerate() {
                path.push_str(&format!("[{at}]"));
                differ(old, new, path, found);
                path.truncate(length);
            }
        }
        _ => push(path, found),
    }
}

fn push(path: &str, found: &mut Vec<String>) {
    if found.len() < limits::PLAN_PATHS_MAX {
        found.push(path.to_owned());
    }
}

#[cfg(test)]
mod tests;
