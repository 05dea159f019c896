//! `thalweg schema`: prints the JSON Schema (draft 2020-12) of the configuration.

use std::io::{self, Write};

use crate::config::document::Document;

/// The schema, pretty-printed.
pub fn text() -> String {
    format!("{:#}", schemars::schema_for!(Document).to_value())
}

/// Prints the schema. Returns the exit code.
pub fn run() -> u8 {
    // Who closes the pipe has read enough.
    let _ = writeln!(io::stdout().lock(), "{}", text());
    0
}
