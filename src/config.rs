//! The configuration: [read](load), decoded into the [document], checked into
//! [`checked::Checked`]. All faults are found in one run, each with its path, its line and a hint;
//! a configuration with an error yields nothing that could be run.
//!
//! Nothing here opens a socket, asks a resolver or looks at a clock.

use std::path::Path;

pub mod checked;
pub mod document;
pub mod limits;
pub mod pattern;
pub mod snapshot;
pub mod span;

mod check;
mod decode;
mod fit;
mod place;
mod read;
mod reserved;
mod tree;
mod values;

#[cfg(test)]
mod tests;

use crate::diagnostics::{Diagnostic, MORE_FAULTS};
use checked::Checked;

/// What came of a configuration.
#[derive(Debug)]
pub struct Loaded {
    /// The configuration; `None` if there is an error among the diagnostics.
    pub checked: Option<Checked>,
    /// Every finding, in the order of the file.
    pub diagnostics: Vec<Diagnostic>,
}

impl Loaded {
    /// How many findings are errors.
    pub fn errors(&self) -> usize {
        self.diagnostics.iter().filter(|finding| finding.is_error()).count()
    }
}

/// Reads and checks a configuration file.
pub fn load(path: &Path) -> Loaded {
    match read::text(path) {
        Ok((text, dir)) => load_text(&text, &dir),
        Err(finding) => Loaded { checked: None, diagnostics: vec![finding] },
    }
}

/// Checks the text of a configuration whose relative paths start at `dir`.
pub fn load_text(text: &str, dir: &Path) -> Loaded {
    let mut diagnostics = Vec::new();
    let decoded = decode::decode(text, &mut diagnostics);
    let checked = decoded.map(|decoded| check::check(&decoded, dir, &mut diagnostics));
    // That the search ended early comes last.
    diagnostics.sort_by_key(|finding| (finding.code == MORE_FAULTS.code, finding.line));
    let refused = diagnostics.iter().any(Diagnostic::is_error);
    Loaded { checked: checked.filter(|_| !refused), diagnostics }
}
