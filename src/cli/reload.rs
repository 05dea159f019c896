//! `thalweg reload`: has a running proxy read its configuration again.

use std::io::{self, Write};

use hyper::Method;
use serde_json::Value;

use super::client::{Admin, Caller, Request, Trouble};
use super::text::{number, span, written};
use super::{findings, text};
use crate::diagnostics::{colour_for, visible};

/// The arguments.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example: have it read its file again, and see what is wrong with it if it is refused
  thalweg reload -c /etc/thalweg.json
What it would do, before it does it
  thalweg plan -c /etc/thalweg.json")]
pub struct Reload {
    /// One JSON object on standard output: what changed, or the error with its diagnostics.
    #[arg(long)]
    json: bool,
    /// Which proxy.
    #[command(flatten)]
    admin: Admin,
}

impl Reload {
    /// Carries it out. Returns the exit code.
    pub fn run(self) -> u8 {
        let asked = self.admin.client().and_then(Caller::new).and_then(|mut caller| {
            caller.send(Request::new(Method::POST, "/api/reload").patient())
        });
        let out = io::stdout();
        let colour = colour_for(&out);
        let mut out = out.lock();
        match asked {
            Ok(change) if self.json => written(text::write_json(&mut out, &change)),
            Ok(change) => written(write(&mut out, &change, colour)),
            Err(Trouble::Refused(refused)) if self.json && refused.status != 0 => {
                written(text::write_json(&mut out, &refused.body)).max(1)
            }
            Err(trouble) => trouble.report(),
        }
    }
}

fn write(out: &mut impl Write, change: &Value, colour: bool) -> io::Result<()> {
    findings::write(out, change, None, colour)?;
    let version = number(change, "version");
    match change.get("took").and_then(Value::as_u64) {
        Some(ms) if ms < 1000 => writeln!(out, "reloaded in {ms} ms: version {version}")?,
        Some(ms) => writeln!(out, "reloaded in {}: version {version}", span(ms))?,
        None => writeln!(out, "reloaded: version {version}")?,
    }
    let mut lines = told(change, "services");
    lines.extend(change.get("listeners").map(|of| told(of, "listeners")).unwrap_or_default());
    if lines.is_empty() {
        lines.push("nothing else is served than before".into());
    }
    lines.iter().try_for_each(|line| writeln!(out, "  {line}"))
}

/// What came, changed and went of something.
fn told(change: &Value, of: &str) -> Vec<String> {
    let mut lines = Vec::new();
    for key in ["added", "changed", "removed"] {
        let what = match change.get(key) {
            Some(Value::Array(list)) if !list.is_empty() => {
                let named: Vec<String> = list.iter().map(name).collect();
                visible(&named.join(", "))
            }
            Some(Value::Number(count)) if count.as_u64() != Some(0) => count.to_string(),
            _ => continue,
        };
        lines.push(format!("{of} {key}: {what}"));
    }
    lines
}

/// An address, or the id of a service.
fn name(of: &Value) -> String {
    match of {
        Value::String(text) => text.clone(),
        Value::Object(_) => text::text(of, "id"),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_is_told_in_a_few_lines() {
        let told = |change: Value| {
            let mut out = Vec::new();
            write(&mut out, &change, false).unwrap();
            String::from_utf8(out).unwrap()
        };
        let change = serde_json::json!({
            "version": 7, "added": ["pg", "redis"], "removed": [], "changed": ["web"], "took": 12,
            "listeners": { "added": ["0.0.0.0:1"], "removed": [] }
        });
        assert_eq!(
            told(change),
            "reloaded in 12 ms: version 7\n  services added: pg, redis\n  services changed: web\n  \
             listeners added: 0.0.0.0:1\n"
        );
        let change = serde_json::json!({ "version": 8, "added": [], "removed": [] });
        assert!(told(change).ends_with("nothing else is served than before\n"));
    }
}
