//! From the [document](super::document) to the [checked](super::checked) configuration, with every
//! fault of meaning on the way. It works on whatever survived decoding, and says nothing that only
//! follows from a fault of shape.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::checked::{self, CertificateSource, Checked};
use super::decode::Decoded;
use super::document::{self, Cores, IoUring};
use super::place::Place;
use super::tree::Node;
use crate::diagnostics::{
    BAD_ID, BAD_VALUE, Code, DUPLICATE_ID, Diagnostic, MISSING_KEY, NO_SERVICES, visible,
};
use crate::wire::json_line;

mod access;
mod admin;
mod certificates;
mod crypto;
mod discovery;
mod events;
mod health;
mod listen;
mod port;
mod providers;
mod proxy;
mod rule;
mod service;
mod target;

/// Checks a document and compiles what is sound. The result may only be used if nothing found is an
/// error.
pub(super) fn check(decoded: &Decoded, dir: &Path, found: &mut Vec<Diagnostic>) -> Checked {
    let mut findings = Findings { tree: &decoded.tree, broken: &decoded.broken, found };
    let document = &decoded.document;
    let workers = workers(&document.workers, &mut findings);
    let events = events::events(document.events.as_ref(), dir, &mut findings);
    let certificates = certificates::entries(document.certificates.as_deref(), dir, &mut findings);
    let resolver = discovery::resolver(&document.resolver, &mut findings);
    ids(&document.services, &mut findings);
    let listeners = listen::listeners(&document.services, &mut findings);
    let admin = admin::admin(document.admin.as_ref(), dir, &listeners, &mut findings);
    let services = services(decoded, dir, &listeners, &certificates, &mut findings);
    let state_dir = document
        .state_dir
        .as_deref()
        .map(|path| file(path, dir, &Place::Root.key("stateDir"), &mut findings));
    let providers = providers::providers(document, dir, &mut findings);
    Checked { workers, events, admin, certificates, resolver, state_dir, providers, services }
}

pub(super) use discovery::read_url as url;
pub(super) use target::host;

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

/// The absolute path of a file.
fn file(path: &Path, dir: &Path, place: &Place<'_>, findings: &mut Findings<'_>) -> PathBuf {
    if path.as_os_str().is_empty() || path.ends_with("..") {
        findings.add(&BAD_VALUE, place, "the path does not name a file");
    } else if path.to_str().is_some_and(|path| path.contains("-----BEGIN ")) {
        let hint = "write the PEM text into a file and name the file here";
        findings.add_with(&BAD_VALUE, place, "this is a certificate or key, not a path", hint);
    }
    dir.join(path)
}

/// The absolute paths of a list of files, which must not be empty.
fn files(
    paths: Option<&[PathBuf]>,
    dir: &Path,
    place: &Place<'_>,
    findings: &mut Findings<'_>,
) -> Option<Vec<PathBuf>> {
    let paths = paths?;
    not_empty(paths, place, findings);
    let absolute = |(at, path): (usize, &PathBuf)| file(path, dir, &place.index(at), findings);
    Some(paths.iter().enumerate().map(absolute).collect())
}

/// Refuses an empty list where the key left out means something else.
fn not_empty<T>(list: &[T], place: &Place<'_>, findings: &mut Findings<'_>) {
    if list.is_empty() && !findings.is_broken(place) {
        findings.add_with(&BAD_VALUE, place, "the list is empty", "leave the key out, or fill it");
    }
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
fn services(
    decoded: &Decoded,
    dir: &Path,
    listeners: &listen::Listeners<'_>,
    certificates: &[CertificateSource],
    findings: &mut Findings<'_>,
) -> Vec<checked::Service> {
    let all = Place::Root.key("services");
    let document = &decoded.document;
    let top = Place::Root.key("clientCaFiles");
    let broken = findings.is_broken_inside(&Place::Root.key("certificates"));
    let entries = document.certificates.as_deref().unwrap_or_default();
    let tls = service::TlsScope {
        certified: broken || entries.iter().any(|entry| entry.name.is_none()),
        named: certificates::Named::of(certificates, broken),
        // At the top level an empty list is none.
        client_ca_files: document
            .client_ca_files
            .as_deref()
            .filter(|paths| !paths.is_empty())
            .and_then(|paths| files(Some(paths), dir, &top, findings))
            .unwrap_or_default(),
        client_ca_broken: findings.is_broken_inside(&top),
    };
    let mut compiled = Vec::new();
    for (at, service) in document.services.iter().enumerate() {
        let place = all.index(at);
        if !is_served(service, &place, findings) {
            continue;
        }
        let send = service.proxy_protocol.as_ref().map(|proxy| proxy::send(proxy.send));
        let mut scope = service::Scope {
            place: &place,
            dir,
            listeners,
            tls: &tls,
            send: send.unwrap_or_default(),
            findings,
        };
        let (Some(mut service), Some(source)) =
            (scope.compile(at, service), decoded.sources.get(at))
        else {
            continue;
        };
        service.spec.document = Arc::from(&*json_line::one_line(source));
        compiled.push(service);
    }
    port::check(&compiled, findings);
    let services = compiled.into_iter().map(service::Compiled::into_spec).collect();
    let none_enabled = decoded.document.services.iter().all(|service| !service.enabled);
    // Those of providers may come later.
    let may_come = document.providers != document::Providers::default();
    if none_enabled && !may_come && !findings.is_broken_inside(&all) {
        let hint = "add a service, or enable one";
        findings.add_with(&NO_SERVICES, &all, "no service is enabled: nothing is served", hint);
    }
    services
}

/// Whether the service is to be served, as far as is known.
fn is_served(service: &document::Service, place: &Place<'_>, findings: &Findings<'_>) -> bool {
    service.enabled && !findings.is_broken(place) && !findings.is_broken(&place.key("enabled"))
}
