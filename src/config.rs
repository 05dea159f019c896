//! The configuration: [read](load), decoded into the [document], checked into
//! [`checked::Checked`]. All faults are found in one run, each with its path, its line and a hint;
//! a configuration with an error yields nothing that could be run.
//!
//! Certificates and their like are read too. Nothing here opens a socket, asks a resolver or looks at a clock.

use std::path::Path;

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
mod coverage;
mod decode;
mod fit;
mod place;
mod read;
mod reserved;
mod tree;
mod values;

#[cfg(test)]
mod tests;

use crate::diagnostics::{BAD_FILE, Diagnostic, FILE_NOTE, FILE_REMARK, MORE_FAULTS, Severity};
use crate::tls::material::Material;
use crate::tls::problem::Problem;
use checked::{Checked, Service, Tls};
use place::Place;

/// What came of a configuration.
#[derive(Debug)]
pub struct Loaded {
    /// The configuration; `None` if there is an error among the diagnostics.
    pub checked: Option<Checked>,
    /// What is in the files that it names: certificates and whom to trust.
    pub material: Material,
    /// Every finding, in the order of the file.
    pub diagnostics: Vec<Diagnostic>,
}

impl Loaded {
    /// How many findings are errors.
    pub fn errors(&self) -> usize {
        self.diagnostics.iter().filter(|finding| finding.is_error()).count()
    }
}

/// Reads and checks a configuration file and the files that it names.
pub fn load(path: &Path) -> Loaded {
    load_after(path, None)
}

/// As [`load`], for a process that has `before`: what it has of a broken certificate stays.
pub fn load_after(path: &Path, before: Option<&Material>) -> Loaded {
    let (text, dir) = match read::text(path) {
        Ok(read) => read,
        Err(finding) => {
            let material = Material::default();
            return Loaded { checked: None, material, diagnostics: vec![finding] };
        }
    };
    let (checked, mut diagnostics) = compile(&text, &dir);
    let material = match &checked {
        Some(checked) => {
            let (material, problems) = load_material(checked, before);
            diagnostics.extend(problems.iter().map(material_finding));
            coverage::check(checked, &material.store, &mut diagnostics);
            material
        }
        None => Material::default(),
    };
    finish(checked, material, diagnostics)
}

/// Checks the text of a configuration whose relative paths start at `dir`. Reads no other file.
pub fn load_text(text: &str, dir: &Path) -> Loaded {
    let (checked, diagnostics) = compile(text, dir);
    finish(checked, Material::default(), diagnostics)
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
    let upstreams = checked.services.iter().flat_map(Service::upstreams);
    let (material, mut problems) =
        Material::load(&checked.certificates, terminations, upstreams, before);
    let networks = checked.services.iter().flat_map(Service::network_files);
    let material = material.with_networks(networks, before, &mut problems);
    (material, problems)
}

fn compile(text: &str, dir: &Path) -> (Option<Checked>, Vec<Diagnostic>) {
    let mut diagnostics = Vec::new();
    let decoded = decode::decode(text, &mut diagnostics);
    let checked = decoded.map(|decoded| check::check(&decoded, dir, &mut diagnostics));
    (checked, diagnostics)
}

fn finish(checked: Option<Checked>, material: Material, mut found: Vec<Diagnostic>) -> Loaded {
    // That the search ended early comes last.
    found.sort_by_key(|finding| (finding.code == MORE_FAULTS.code, finding.line));
    let refused = found.iter().any(Diagnostic::is_error);
    Loaded { checked: checked.filter(|_| !refused), material, diagnostics: found }
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
