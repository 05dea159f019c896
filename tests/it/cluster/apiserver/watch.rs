//! Which objects a request is about, and what watches of them are told.

use std::io::{self, Write};
use std::sync::PoisonError;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::http;
use super::rest::failure;
use super::store::{Id, Inner, Store};

/// Between two bookmarks of a quiet watch. A real server sends one a minute.
const BOOKMARK: Duration = Duration::from_millis(200);

/// Which objects a list or a watch is about.
#[derive(Debug, Clone)]
pub struct Selects {
    pub plural: String,
    pub namespace: String,
    pub fields: String,
}

impl Selects {
    pub fn fits(&self, (plural, namespace, _): &Id, object: &Value) -> bool {
        *plural == self.plural
            && (self.namespace.is_empty() || self.namespace == *namespace)
            && self.fields.split(',').filter(|it| !it.is_empty()).all(|pair| {
                let (path, value) = pair.split_once('=').unwrap_or((pair, ""));
                let (path, wanted) = match path.strip_suffix('!') {
                    Some(path) => (path, false),
                    None => (path, true),
                };
                let found = at_path(object, &format!(".{path}"));
                found.first().is_some_and(|it| it == value) == wanted
            })
    }
}

/// The values at a path as `.status.loadBalancer.ingress[*].ip`, or
/// `.status.parents[0].conditions[?(@.reason=="Accepted")]`.
pub fn at_path(value: &Value, path: &str) -> Vec<Value> {
    let mut found = vec![value.clone()];
    let mut rest = path.trim_start_matches('.');
    while !rest.is_empty() {
        let each = |found: Vec<Value>| -> Vec<Value> {
            found.into_iter().flat_map(|it| it.as_array().cloned().unwrap_or_default()).collect()
        };
        if let Some(inner) = rest.strip_prefix('[') {
            let (index, after) = inner.split_once(']').expect("a closing bracket");
            rest = after.trim_start_matches('.');
            found = if index == "*" {
                each(found)
            } else if let Some(filter) = index.strip_prefix("?(@.") {
                let (key, wanted) =
                    filter.trim_end_matches(')').split_once("==").expect("a filter");
                let wanted = wanted.trim_matches('"');
                each(found).into_iter().filter(|it| it[key] == wanted).collect()
            } else {
                let index: usize = index.parse().expect("an index");
                found.into_iter().filter_map(|it| it.get(index).cloned()).collect()
            };
        } else {
            let end = rest.find(['.', '[']).unwrap_or(rest.len());
            let key = &rest[..end];
            rest = rest[end..].trim_start_matches('.');
            found = found.into_iter().filter_map(|it| it.get(key).cloned()).collect();
        }
    }
    found
}

/// A watch.
pub struct Watch {
    pub selects: Selects,
    pub api_version: String,
    pub kind: String,
    pub since: u64,
    pub epoch: u64,
    pub until: Instant,
}

impl Watch {
    /// Tells what changes, until its time is over or it is cut.
    pub fn run(mut self, store: &Store, wire: &mut impl Write) -> io::Result<()> {
        http::begin_stream(wire)?;
        let mut bookmark = Instant::now() + BOOKMARK;
        loop {
            let mut events = Vec::new();
            {
                let mut inner = store.lock();
                if inner.epoch != self.epoch || Instant::now() >= self.until {
                    return Ok(());
                }
                if self.since < inner.compacted {
                    let said =
                        format!("too old resource version: {} ({})", self.since, inner.compacted);
                    events
                        .push(json!({ "type": "ERROR", "object": failure(410, "Expired", &said) }));
                } else {
                    events.extend(self.news(&inner));
                    if events.is_empty() && Instant::now() < bookmark {
                        let (again, _) = store
                            .changed
                            .wait_timeout(inner, bookmark.saturating_duration_since(Instant::now()))
                            .unwrap_or_else(PoisonError::into_inner);
                        inner = again;
                        if inner.epoch != self.epoch {
                            return Ok(());
                        }
                        if self.since >= inner.compacted {
                            events.extend(self.news(&inner));
                        }
                    }
                }
            }
            for event in &events {
                http::line(wire, event)?;
                if event["type"] == "ERROR" {
                    return Ok(());
                }
            }
            if events.is_empty() && Instant::now() >= bookmark {
                bookmark = Instant::now() + BOOKMARK;
                http::line(
                    wire,
                    &json!({
                        "type": "BOOKMARK",
                        "object": {
                            "kind": self.kind, "apiVersion": self.api_version,
                            "metadata": { "resourceVersion": self.since.to_string() },
                        },
                    }),
                )?;
            }
        }
    }

    fn news(&mut self, store: &Inner) -> Vec<Value> {
        let mut events = Vec::new();
        for logged in store.log.iter().filter(|logged| logged.version > self.since) {
            let fits = |it: &Option<Value>| {
                it.as_ref().is_some_and(|object| self.selects.fits(&logged.id, object))
            };
            let (kind, object) = match (fits(&logged.before), fits(&logged.after)) {
                (false, true) => ("ADDED", &logged.after),
                (true, true) => ("MODIFIED", &logged.after),
                (true, false) => ("DELETED", &logged.before),
                (false, false) => continue,
            };
            let mut object = object.clone().unwrap_or_default();
            object["apiVersion"] = json!(self.api_version);
            object["kind"] = json!(self.kind);
            object["metadata"]["resourceVersion"] = json!(logged.version.to_string());
            events.push(json!({ "type": kind, "object": object }));
        }
        self.since = self.since.max(store.version);
        events
    }
}
