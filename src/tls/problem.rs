//! What is wrong with a file of certificates, keys or revocation lists.

use std::fmt;
use std::path::{Path, PathBuf};

use crate::diagnostics::{Severity, visible};

/// One finding about a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Index of the entry of `certificates` that it belongs to; `None`: a file that a service or a
    /// target names.
    pub source: Option<usize>,
    /// The file or directory; empty where it is not about one.
    pub path: PathBuf,
    /// `Error`: what was asked for cannot be served. `Warn`: it can, or what was loaded before is
    /// served instead, or the other certificates of a directory are.
    pub severity: Severity,
    /// What was found, in a few words.
    pub what: String,
    /// How to mend it.
    pub hint: Option<&'static str>,
    /// What was loaded from the file before stays in use.
    pub kept: bool,
}

impl Problem {
    fn new(severity: Severity, path: &Path, what: impl Into<String>) -> Self {
        let (path, what) = (path.to_owned(), what.into());
        Self { source: None, path, severity, what, hint: None, kept: false }
    }

    /// Something that cannot be used.
    pub fn error(path: &Path, what: impl Into<String>) -> Self {
        Self::new(Severity::Error, path, what)
    }

    /// Something that can be used, but probably is not as meant.
    pub fn warn(path: &Path, what: impl Into<String>) -> Self {
        Self::new(Severity::Warn, path, what)
    }

    /// Something worth knowing.
    pub fn info(path: &Path, what: impl Into<String>) -> Self {
        Self::new(Severity::Info, path, what)
    }

    /// With how to mend it.
    #[must_use]
    pub fn hint(mut self, hint: &'static str) -> Self {
        self.hint = Some(hint);
        self
    }

    /// What was loaded before stays in use, so it is a warning.
    #[must_use]
    pub(crate) fn kept(mut self) -> Self {
        self.kept = true;
        self.severity = Severity::Warn;
        self
    }
}

/// One sentence: `/etc/certs/a.pem: the private key … (the one loaded before stays in use); hint`.
impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.path.as_os_str().is_empty() {
            write!(f, "{}: ", visible(&self.path.to_string_lossy()))?;
        }
        f.write_str(&visible(&self.what))?;
        if self.kept {
            f.write_str(" (what was loaded before stays in use)")?;
        }
        match self.hint {
            Some(hint) => write!(f, "; {hint}"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for Problem {}
