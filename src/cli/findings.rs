//! The diagnostics that a proxy answers, shown as `check` shows those of a file.

use std::io::{self, Write};

use serde::Deserialize;
use serde_json::Value;

use crate::diagnostics::{Severity, Shown};

/// One of them. The proxy may be of another version than this command, and know other codes.
#[derive(Debug, Deserialize)]
struct Finding {
    code: String,
    severity: Severity,
    message: String,
    #[serde(default)]
    path: String,
    #[serde(default)]
    line: Option<u32>,
    #[serde(default)]
    hint: Option<String>,
    /// Where several files were read.
    #[serde(default)]
    file: Option<String>,
}

fn all(answer: &Value) -> impl Iterator<Item = Finding> {
    let list = answer.get("diagnostics").and_then(Value::as_array).into_iter().flatten();
    list.filter_map(|one| Finding::deserialize(one).ok())
}

/// Whether one of them is an error.
pub fn has_errors(answer: &Value) -> bool {
    all(answer).any(|finding| finding.severity == Severity::Error)
}

/// Writes the member `diagnostics` of an answer, if it has one; `file` is theirs that name none.
///
/// # Errors
/// Whoever reads has closed the pipe.
pub fn write(
    out: &mut impl Write,
    answer: &Value,
    file: Option<&str>,
    colour: bool,
) -> io::Result<()> {
    let of_all = answer.get("file").and_then(Value::as_str);
    for finding in all(answer) {
        let shown = Shown {
            code: &finding.code,
            severity: finding.severity,
            message: &finding.message,
            path: &finding.path,
            line: finding.line,
            file: finding.file.as_deref(),
            hint: finding.hint.as_deref(),
        };
        let file = file.or(of_all).unwrap_or("the configuration");
        writeln!(out, "{}", shown.render(file, colour))?;
    }
    Ok(())
}
