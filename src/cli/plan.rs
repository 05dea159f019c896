//! `thalweg plan`: what a configuration would change of a running proxy, before it does.

use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use hyper::Method;
use serde_json::Value;

use super::client::{Caller, Request, Trouble, Url, configured, query};
use super::text::{list, number, plural, text, written};
use super::{findings, text as texts};
use crate::config::limits;
use crate::diagnostics::{colour_for, visible};

/// The arguments.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example: edit a copy, see what it would do, then put it in its place
  cp /etc/thalweg.json new.json; $EDITOR new.json
  thalweg plan -c new.json && mv new.json /etc/thalweg.json && thalweg reload
What a reload of the file would do now
  thalweg plan")]
pub struct Plan {
    /// The configuration to compare with what runs. Without it: the file that the proxy was started
    /// with, as it is now.
    #[arg(short, long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// One JSON object on standard output.
    #[arg(long)]
    json: bool,
    /// Which proxy.
    #[command(flatten)]
    admin: Url,
}

impl Plan {
    /// Carries it out. Returns the exit code.
    pub fn run(self) -> u8 {
        let out = io::stdout();
        let colour = colour_for(&out);
        let mut out = out.lock();
        let file = self.config.as_ref().map(|path| path.display().to_string());
        match self.ask() {
            Ok(plan) => {
                let errors = u8::from(findings::has_errors(&plan));
                let done = if self.json {
                    texts::write_json(&mut out, &plan)
                } else {
                    write(&mut out, &plan, file.as_deref(), colour)
                };
                written(done).max(errors)
            }
            Err(Trouble::Refused(refused)) if self.json && refused.status != 0 => {
                written(texts::write_json(&mut out, &refused.body)).max(1)
            }
            Err(Trouble::Refused(mut refused)) => {
                if let (Some(file), Value::Object(body)) = (file, &mut refused.body) {
                    body.entry("file").or_insert(file.into());
                }
                Trouble::Refused(refused).report()
            }
            Err(trouble) => trouble.report(),
        }
    }

    fn ask(&self) -> Result<Value, Trouble> {
        let Some(path) = &self.config else {
            let mut caller = Caller::new(self.admin.client(None)?)?;
            return caller.send(Request::new(Method::GET, "/api/plan").patient());
        };
        let mut caller = Caller::new(self.admin.client(configured(path)?)?)?;
        let failed = |error: io::Error| Trouble::here(format!("{}: {error}", path.display()));
        let text = read(path).map_err(failed)?;
        let path = std::path::absolute(path).map_err(failed)?;
        let Some(path) = path.to_str() else {
            return Err(Trouble::Usage(format!("{}: not a name in UTF-8", path.display())));
        };
        let query = query([("file", Some(path))]);
        let request = Request::new(Method::POST, format!("/api/plan{query}"));
        caller.send(request.text(text).patient())
    }
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut text = Vec::new();
    std::fs::File::open(path)?.take(limits::CONFIG_BYTES_MAX).read_to_end(&mut text)?;
    Ok(text)
}

/// How a line of the plan begins, and its colour.
const ADDED: (&str, &str) = ("+", "\x1b[32m");
const CHANGED: (&str, &str) = ("~", "\x1b[33m");
const REMOVED: (&str, &str) = ("-", "\x1b[31m");

/// Writes a plan as people read it.
///
/// # Errors
/// Whoever reads has closed the pipe.
pub fn write(
    out: &mut impl Write,
    plan: &Value,
    file: Option<&str>,
    colour: bool,
) -> io::Result<()> {
    findings::write(out, plan, file, colour)?;
    if findings::has_errors(plan) {
        return writeln!(out, "it would be refused, and nothing would change");
    }
    if plan.get("changes") == Some(&Value::Bool(false)) {
        return writeln!(out, "nothing would change");
    }
    let line = |out: &mut dyn Write, (sign, on): (&str, &str), what: &str| {
        let (on, off) = if colour { (on, "\x1b[0m") } else { ("", "") };
        writeln!(out, "  {on}{sign} {}{off}", visible(what))
    };
    let none = Value::Null;
    let listeners = plan.get("listeners").unwrap_or(&none);
    writeln!(out, "listeners")?;
    for (key, sign) in [("added", ADDED), ("removed", REMOVED)] {
        for address in list(listeners, key) {
            line(out, sign, address.as_str().unwrap_or("?"))?;
        }
    }
    writeln!(out, "    {} kept", list(listeners, "kept").len())?;
    let settings: Vec<&str> = list(plan, "settings").iter().filter_map(Value::as_str).collect();
    if !settings.is_empty() {
        writeln!(out, "settings")?;
        line(out, CHANGED, &settings.join(", "))?;
    }
    writeln!(out, "services")?;
    for service in list(plan, "services") {
        let mut what = text(service, "id");
        match service.get("name").and_then(Value::as_str) {
            Some(name) if !name.is_empty() && name != what => what += &format!(" ({name})"),
            _ => {}
        }
        let parts: Vec<&str> = list(service, "what").iter().filter_map(Value::as_str).collect();
        if !parts.is_empty() {
            what += &format!(": {}", parts.join(", "));
        }
        let live = number(service, "connections");
        if live > 0 {
            what += &format!("; {}", plural(live, "connection"));
        }
        let sign = match &*text(service, "change") {
            "added" => ADDED,
            "removed" => REMOVED,
            _ => CHANGED,
        };
        line(out, sign, &what)?;
    }
    writeln!(out, "    {} unchanged", number(plan, "unchanged"))?;
    let live = plan.get("connections").unwrap_or(&none);
    writeln!(
        out,
        "connections\n    {} untouched, {} drained, {} closed",
        number(live, "untouched"),
        number(live, "drained"),
        number(live, "closed")
    )
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn told(plan: &Value, colour: bool) -> String {
        let mut out = Vec::new();
        write(&mut out, plan, Some("new.json"), colour).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_plan_says_what_comes_changes_and_goes() {
        let plan = json!({
            "version": 4, "changes": true,
            "listeners": { "added": ["0.0.0.0:6000"], "kept": ["a", "b"], "removed": ["[::]:1"] },
            "services": [
                { "id": "new", "name": "new", "change": "added", "what": [], "connections": 0 },
                { "id": "pg", "name": "Main \x1b[2J", "change": "changed",
                  "what": ["rules[0].targets", "timeouts.idle"], "connections": 12 },
                { "id": "old", "name": "", "change": "removed", "what": [], "connections": 1 },
            ],
            "unchanged": 10,
            "connections": { "untouched": 12, "drained": 1, "closed": 0 },
            "diagnostics": [],
        });
        assert_eq!(
            told(&plan, false),
            "listeners\n  + 0.0.0.0:6000\n  - [::]:1\n    2 kept\nservices\n  + new\n  ~ pg (Main \
             \\u{1b}[2J): rules[0].targets, timeouts.idle; 12 connections\n  - old; 1 connection\n    \
             10 unchanged\nconnections\n    12 untouched, 1 drained, 0 closed\n"
        );
        assert!(told(&plan, true).contains("\x1b[32m+ new\x1b[0m"));
    }

    #[test]
    fn a_refused_plan_shows_its_diagnostics_first() {
        let plan = json!({ "changes": false, "diagnostics": [{
            "severity": "error", "code": "E101", "path": "x", "line": 3, "message": "m", "hint": null
        }] });
        let told = told(&plan, false);
        assert!(told.starts_with("error[E101]: m\n  --> new.json:3  x\n"), "{told}");
        assert!(findings::has_errors(&plan));
        assert_eq!(self::told(&json!({ "changes": false }), false), "nothing would change\n");
    }
}
