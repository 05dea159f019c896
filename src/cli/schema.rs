//! `thalweg schema`: prints the JSON Schema (draft 2020-12) of the configuration.

use std::io::{self, Write};

use serde_json::Value;

use crate::config::document::Document;

/// The schema, pretty-printed.
pub fn text() -> String {
    let mut schema = schemars::schema_for!(Document).to_value();
    join_lines(&mut schema);
    format!("{schema:#}")
}

/// Descriptions come from doc comments, whose line breaks mean nothing.
fn join_lines(schema: &mut Value) {
    match schema {
        Value::Object(members) => {
            for (key, member) in members {
                match member {
                    Value::String(text) if key == "description" => *text = text.replace('\n', " "),
                    _ => join_lines(member),
                }
            }
        }
        Value::Array(elements) => elements.iter_mut().for_each(join_lines),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// Prints the schema. Returns the exit code.
pub fn run() -> u8 {
    // Who closes the pipe has read enough.
    let _ = writeln!(io::stdout().lock(), "{}", text());
    0
}
