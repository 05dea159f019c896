//! From the [document](super::document) to the [checked](super::checked) configuration, with every
//! fault of meaning on the way. It works on whatever survived decoding, and says nothing that only
//! follows from a fault of shape.

use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::sync::Arc;

use super::checked::{self, Checked};
use super::decode::Decoded;
use super::document::{self, Cores, IoUring};
use super::place::Place;
use super::tree::Node;
use crate::diagnostics::{
    BAD_ID, BAD_VALUE, Code, DUPLICATE_ID, Diagnostic, MISSING_KEY, NO_SERVICES, visible,
};

mod listen;
mod service;
mod target;

/// Checks a document and compiles what is sound. The result may only be used if nothing found is an
/// error.
pub(super) fn check(decoded: &Decoded, dir: &Path, found: &mut Vec<Diagnostic>) -> Checked {
    let mut findings = Findings { tree: &decoded.tree, broken: &decoded.broken, found };
    let document = &decoded.document;
    let workers = workers(&document.workers, &mut findings);
    let events = events(document.events.as_ref(), dir, &mut findings);
    ids(&document.services, &mut findings);
    let services = services(decoded, dir, &mut findings);
    Checked { workers, events, services }
}

/// Collects findings with their lines.
struct Findings<'a> {
    tree: &'a Node,
    broken: &'a HashSet<String>,
    found: &'a mut Vec<Diagnostic>,
}

impl Findings<'_> {
    /// Records a finding.
    fn add(&mut self, code: &'static Code, place: &Place<'_>, message: impl Into<String>) {
        let line = self.tree.line_of(place);
        self.found.push(Diagnostic::new(code, place, message).at_line(line));
    }

    /// Records a finding with how to mend it.
    fn add_with(
        &mut self,
        code: &'static Code,
        place: &Place<'_>,
        message: impl Into<String>,
        hint: impl Into<String>,
    ) {
        let line = self.tree.line_of(place);
        self.found.push(Diagnostic::new(code, place, message).at_line(line).hint(hint));
    }

    /// Whether the place had a fault of shape, so that its value is not what was written.
    fn is_broken(&self, place: &Place<'_>) -> bool {
        !self.broken.is_empty() && self.broken.contains(&place.to_string())
    }

    /// Whether the place or anything in it had a fault of shape.
    fn is_broken_inside(&self, place: &Place<'_>) -> bool {
        if self.broken.is_empty() {
            return false;
        }
        let outer = place.to_string();
        self.broken.iter().any(|path| {
            path.strip_prefix(&outer)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
        })
    }

    /// Reports a missing member, unless its absence was reported by another name.
    fn missing(&mut self, object: &Place<'_>, key: &str, hint: &str) {
        let place = object.key(key);
        if !self.is_broken(&place) && !self.is_broken(object) {
            self.add_with(&MISSING_KEY, &place, format!("the key `{key}` is missing"), hint);
        }
    }
}

/// Checks `workers`.
fn workers(workers: &document::Workers, findings: &mut Findings<'_>) -> checked::Workers {
    let outer = Place::Root.key("workers");
    let place = outer.key("cores");
    let cores = match &workers.cores {
        Cores::All => checked::Cores::All,
        Cores::Count(count) => checked::Cores::Count(*count),
        Cores::List(cores) => {
            if cores.is_empty() {
                let hint = "name at least one core, or write \"all\"";
                findings.add_with(&BAD_VALUE, &place, "the list of cores is empty", hint);
            }
            let mut seen = HashSet::new();
            for (at, core) in cores.iter().enumerate() {
                if !seen.insert(core) {
                    let message = format!("core {core} is listed twice");
                    findings.add(&BAD_VALUE, &place.index(at), message);
                }
            }
            checked::Cores::List(cores.clone())
        }
    };
    let io_uring = match workers.io_uring {
        IoUring::Require => checked::IoUring::Require,
        IoUring::Prefer => checked::IoUring::Prefer,
    };
    checked::Workers { cores, pin: workers.pin, io_uring }
}

/// Checks `events`.
fn events(
    events: Option<&document::Events>,
    dir: &Path,
    findings: &mut Findings<'_>,
) -> Option<checked::Events> {
    let events = events?;
    let outer = Place::Root.key("events");
    if events.file.as_os_str().is_empty() || events.file.ends_with("..") {
        findings.add(&BAD_VALUE, &outer.key("file"), "the path does not name a file");
    }
    Some(checked::Events { file: dir.join(&events.file) })
}

/// Checks the ids of all services, also of those that are not enabled: the admin API knows them too.
fn ids(services: &[document::Service], findings: &mut Findings<'_>) {
    let all = Place::Root.key("services");
    let mut first: HashMap<&str, usize> = HashMap::new();
    for (at, service) in services.iter().enumerate() {
        let object = all.index(at);
        let place = object.key("id");
        let Some(id) = service.id.as_deref() else {
            findings.missing(&object, "id", "give the service a name that is unique in the file");
            continue;
        };
        if id.trim().is_empty() {
            findings.add(&BAD_ID, &place, "the id is empty");
        } else if id.chars().any(char::is_control) {
            let message = format!("the id `{}` has control characters", visible(id));
            findings.add(&BAD_ID, &place, message);
        } else if let Some(first) = first.get(id) {
            let message = format!("the id `{id}` is also that of services[{first}]");
            findings.add_with(&DUPLICATE_ID, &place, message, "give each service its own id");
        } else {
            first.insert(id, at);
        }
    }
}

/// Checks and compiles the enabled services.
fn services(decoded: &Decoded, dir: &Path, findings: &mut Findings<'_>) -> Vec<checked::Service> {
    let all = Place::Root.key("services");
    let listeners = listen::listeners(&decoded.document.services, findings);
    let mut services = Vec::new();
    for (at, service) in decoded.document.services.iter().enumerate() {
        let place = all.index(at);
        if !is_served(service, &place, findings) {
            continue;
        }
        let mut scope = service::Scope { place: &place, dir, listeners: &listeners, findings };
        let (Some(compiled), Some(source)) = (scope.compile(at, service), decoded.sources.get(at))
        else {
            continue;
        };
        services.push(checked::Service { document: Arc::from(source.as_str()), ..compiled });
    }
    let none_enabled = decoded.document.services.iter().all(|service| !service.enabled);
    if none_enabled && !findings.is_broken_inside(&all) {
        let hint = "add a service, or enable one";
        findings.add_with(&NO_SERVICES, &all, "no service is enabled: nothing is served", hint);
    }
    services
}

/// Whether the service is to be served, as far as is known.
fn is_served(service: &document::Service, place: &Place<'_>, findings: &Findings<'_>) -> bool {
    service.enabled && !findings.is_broken(place) && !findings.is_broken(&place.key("enabled"))
}
