//! The configuration: [read](load), decoded into the [document], checked into
//! [`checked::Checked`]. All faults are found in one run, each with its path, its line and a hint;
//! a configuration with an error yields nothing that could be run.
//!
//! Certificates and their like are read too. Nothing here opens a socket, asks a resolver or looks at a clock.

use std::path::Path;
use std::sync::Arc;

pub mod checked;
pub mod document;
pub mod expectation;
pub mod found;
pub mod limits;
pub mod networks;
pub mod pattern;
pub mod size;
pub mod snapshot;
pub mod span;

mod check;
mod compose;
mod coverage;
pub(crate) mod decode;
mod fit;
pub(crate) mod place;
pub(crate) mod read;
mod reserved;
pub mod sources;
pub(crate) mod tree;
pub(crate) mod values;
mod whitelist;

#[cfg(test)]
mod tests;

use crate::diagnostics::{BAD_FILE, Diagnostic, FILE_NOTE, FILE_REMARK, Severity};
use crate::providers::Inventory;
use crate::providers::foreign::Files;
use crate::tls::material::Material;
use crate::tls::problem::Problem;
use checked::{Checked, Service, Tls};
use compose::Composed;
use place::Place;
use sources::{Entities, Further, LeftOut, Main, Source};

/// What came of a configuration.
#[derive(Debug)]
pub struct Loaded {
    /// The configuration; `None` if there is an error among the diagnostics.
    pub checked: Option<Checked>,
    /// What is in the files that it names: certificates and whom to trust.
    pub material: Material,
    /// Every finding, in the order of the file.
    pub diagnostics: Vec<Diagnostic>,
    /// The main file; `None` if it could not be read.
    pub main: Option<Main>,
    /// The sources besides the main file.
    pub sources: Vec<Source>,
    /// Every service that is declared, also those that are not enabled.
    pub entities: Entities,
    /// Services that are declared and left out: they are broken, or do not go with others.
    pub left_out: Vec<LeftOut>,
    /// What was read of the files that providers name.
    pub files: Arc<Files>,
}

impl Loaded {
    /// How many findings are errors.
    pub fn errors(&self) -> usize {
        self.diagnostics.iter().filter(|finding| finding.is_error()).count()
    }
}

/// Reads and checks a configuration file and the files that it names.
pub fn load(path: &Path) -> Loaded {
    load_after(path, &Inventory::default(), None)
}

/// As [`load`], for a process that knows what live providers know, and has `before`: what it has of a
/// broken certificate stays.
pub fn load_after(path: &Path, inventory: &Inventory, before: Option<&Material>) -> Loaded {
    match Main::read(path) {
        Ok(main) => compose(main, Further::Read(inventory), before),
        Err(finding) => Composed::default().finish(None, Material::default(), vec![finding]),
    }
}

/// Checks a main file together with further sources, and reads the files that they name.
pub fn compose(main: Main, further: Further<'_>, before: Option<&Material>) -> Loaded {
    let mut diagnostics = Vec::new();
    let composed = Composed::of(&main, further, before, &mut diagnostics);
    let material = match &composed.checked {
        Some(checked) => {
            let (material, problems) = load_material(checked, before);
            diagnostics.extend(problems.iter().map(material_finding));
            coverage::check(checked, &material, &mut diagnostics);
            material
        }
        None => Material::default(),
    };
    composed.settle(&mut diagnostics);
    composed.finish(Some(main), material, diagnostics)
}

/// Checks the text of a configuration whose relative paths start at `dir`. Reads no other file.
pub fn load_text(text: &str, dir: &Path) -> Loaded {
    let main = Main { place: "".into(), text: text.into(), dir: dir.to_owned() };
    let mut diagnostics = Vec::new();
    let composed = Composed::of(&main, Further::Given(&[]), None, &mut diagnostics);
    composed.finish(Some(main), Material::default(), diagnostics)
}

/// What is wrong with the text of one service before it is looked at as one: its syntax, and keys that
/// occur twice.
pub fn faults_of_text(text: &str) -> Vec<Diagnostic> {
    decode::faults_of_text(text)
}

/// What a configuration says of the admin API, whatever is wrong with the rest of it: a command that
/// asks a running proxy must find it also while somebody edits the file.
///
/// # Errors
/// The file cannot be read, is not JSON, or says something wrong of the admin API.
pub fn admin_of(path: &Path) -> Result<Option<checked::Admin>, Vec<Diagnostic>> {
    let (text, dir) = read::text(path).map_err(|finding| vec![finding])?;
    let Ok(document) = serde_json::from_str::<serde_json::Value>(&text) else {
        return Err(load_text(&text, &dir).diagnostics);
    };
    let Some(admin) = document.get("admin") else { return Ok(None) };
    let loaded = load_text(&serde_json::json!({ "admin": admin }).to_string(), &dir);
    // Of a line of its own; the path tells.
    let unplaced = |mut finding: Diagnostic| {
        finding.line = None;
        finding
    };
    match loaded.checked {
        Some(checked) => Ok(checked.admin),
        None => Err(loaded.diagnostics.into_iter().map(unplaced).collect()),
    }
}

/// Checks that a text is a host that can be connected to: a name, or an address.
///
/// # Errors
/// What is wrong with it, in words.
pub fn host(text: &str) -> Result<(), &'static str> {
    check::host(text)
}

/// Reads an `http` or `https` URL.
///
/// # Errors
/// What is wrong with it, in words.
pub fn url(text: &str) -> Result<found::Url, &'static str> {
    check::url(text)
}

/// Reads the files that a configuration names.
pub fn load_material(checked: &Checked, before: Option<&Material>) -> (Material, Vec<Problem>) {
    let terminations = checked.services.iter().filter_map(|service| match &service.tls {
        Tls::Enabled(termination) => Some(termination),
        Tls::Disabled | Tls::PassThrough => None,
    });
    let of_events = checked.events.iter().flat_map(checked::Events::upstreams);
    let upstreams = checked.services.iter().flat_map(Service::upstreams).chain(of_events);
    let (material, mut problems) =
        Material::load(&checked.certificates, terminations, upstreams, before);
    let networks = checked.services.iter().flat_map(Service::network_files);
    let material = material.with_networks(networks, before, &mut problems);
    (material, problems)
}

fn material_finding(problem: &Problem) -> Diagnostic {
    let code = match problem.severity {
        Severity::Error => &BAD_FILE,
        Severity::Warn => &FILE_REMARK,
        Severity::Info => &FILE_NOTE,
    };
    let certificates = Place::Root.key("certificates");
    match problem.source {
        Some(at) => Diagnostic::new(code, certificates.index(at), problem.to_string()),
        None => Diagnostic::new(code, Place::Root, problem.to_string()),
    }
}
