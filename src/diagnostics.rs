//! Every diagnostic and reason code: severity, meaning, hint. One table, which `thalweg explain`
//! prints and which the README's list is checked against.
//!
//! A *diagnostic* says what is wrong with a configuration, and where. A *reason* says why a
//! connection ended (see [`crate::conn::ending`]).

use serde::Serialize;

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Worth knowing.
    Info,
    /// Works, but probably not as meant.
    Warn,
    /// The configuration is refused.
    Error,
}

/// One finding about a configuration, with its place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Diagnostic {
    /// A code of [`CODES`], as `TW1003`.
    pub code: &'static str,
    /// How bad it is; follows from the code.
    pub severity: Severity,
    /// What was found and what was expected, in one sentence.
    pub message: String,
    /// JSON path of the place, as `services[2].rules[0].targets[1].port`; empty: the whole file.
    pub path: String,
    /// Line in the file, from 1; `None` where the fault has no line (a file that cannot be read).
    pub line: Option<u32>,
    /// How to mend it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}
