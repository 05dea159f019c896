//! `thalweg check`: reads a configuration and says what is wrong with it and what it would run. It
//! binds nothing and resolves nothing.

use std::io::{self, Write};
use std::path::Path;

use serde::Serialize;

use crate::config::checked::{Address, Service, Target};
use crate::config::{self, Loaded};
use crate::diagnostics::{Diagnostic, Severity, colour_for, visible};

/// Checks a file. Returns the exit code: 0 for a good one, 1 if it has errors.
pub fn run(file: &Path, json: bool) -> u8 {
    let loaded = config::load(file);
    let name = file.display().to_string();
    let out = io::stdout();
    let colour = colour_for(&out);
    let mut out = out.lock();
    // Who closes the pipe has read enough; the exit code still tells.
    let _ = if json {
        write_json(&mut out, &name, &loaded)
    } else {
        write_text(&mut out, &name, &loaded, colour)
    };
    u8::from(loaded.checked.is_none())
}

/// The report of `--json`.
#[derive(Serialize)]
struct Report<'a> {
    ok: bool,
    file: &'a str,
    errors: usize,
    warnings: usize,
    diagnostics: &'a [Diagnostic],
    services: Vec<Row>,
}

/// One service that would run.
#[derive(Serialize)]
struct Row {
    id: String,
    name: String,
    listen: String,
    targets: Vec<String>,
}

fn write_json(out: &mut impl Write, file: &str, loaded: &Loaded) -> io::Result<()> {
    let report = Report {
        ok: loaded.checked.is_some(),
        file,
        errors: count(loaded, Severity::Error),
        warnings: count(loaded, Severity::Warn),
        diagnostics: &loaded.diagnostics,
        services: rows(loaded),
    };
    serde_json::to_writer(&mut *out, &report)?;
    writeln!(out)
}

fn write_text(out: &mut impl Write, file: &str, loaded: &Loaded, colour: bool) -> io::Result<()> {
    for finding in &loaded.diagnostics {
        writeln!(out, "{}", finding.render(file, colour))?;
    }
    let errors = plural(count(loaded, Severity::Error), "error");
    let warnings = plural(count(loaded, Severity::Warn), "warning");
    let file = visible(file);
    let Some(checked) = &loaded.checked else {
        writeln!(out, "{file}: refused, {errors}, {warnings}")?;
        return match loaded.diagnostics.iter().find(|finding| finding.is_error()) {
            Some(first) => writeln!(out, "`thalweg explain {}` says more", first.code),
            None => Ok(()),
        };
    };
    let services = plural(checked.services.len(), "service");
    writeln!(out, "{file}: good, {services}, {warnings}")?;
    write_table(out, &rows(loaded))
}

/// The services in columns as wide as their widest entry.
fn write_table(out: &mut impl Write, rows: &[Row]) -> io::Result<()> {
    let width = |cell: fn(&Row) -> &str| rows.iter().map(|row| cell(row).chars().count()).max();
    let listen = width(|row| &row.listen).unwrap_or(0);
    let id = width(|row| &row.id).unwrap_or(0);
    for row in rows {
        let targets = row.targets.join(", ");
        writeln!(out, "  {:listen$}  {:id$}  -> {targets}", row.listen, row.id)?;
    }
    Ok(())
}

fn count(loaded: &Loaded, severity: Severity) -> usize {
    loaded.diagnostics.iter().filter(|finding| finding.severity == severity).count()
}

fn plural(count: usize, word: &str) -> String {
    if count == 1 { format!("1 {word}") } else { format!("{count} {word}s") }
}

fn rows(loaded: &Loaded) -> Vec<Row> {
    let services: &[Service] = loaded.checked.as_ref().map_or(&[], |checked| &checked.services);
    let row = |service: &Service| Row {
        id: service.id.to_string(),
        name: service.name.to_string(),
        listen: service.listen.to_string(),
        targets: service.rules.iter().flat_map(|rule| &rule.targets).map(describe).collect(),
    };
    services.iter().map(row).collect()
}

/// A target as people write it: `db.internal:5432`, `db.internal/10.0.0.7:5432`, `unix:/run/db.sock`.
fn describe(target: &Target) -> String {
    let Target { host, address, port, .. } = target;
    match address {
        Address::Unix(path) => format!("unix:{}", path.display()),
        Address::Name => format!("{host}:{port}"),
        Address::Ip(ip) => {
            let bracketed = std::net::SocketAddr::new(*ip, *port);
            let literal = host.trim_start_matches('[').trim_end_matches(']').parse() == Ok(*ip);
            if literal { bracketed.to_string() } else { format!("{host}/{bracketed}") }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn output(text: &str) -> (String, serde_json::Value) {
        let loaded = config::load_text(text, Path::new("/"));
        let (mut human, mut machine) = (Vec::new(), Vec::new());
        write_text(&mut human, "c.json", &loaded, false).expect("a Vec takes everything");
        write_json(&mut machine, "c.json", &loaded).expect("a Vec takes everything");
        let machine = serde_json::from_slice(&machine).expect("one JSON object");
        (String::from_utf8(human).expect("text"), machine)
    }

    #[test]
    fn a_good_file_shows_what_would_run() {
        let (human, machine) = output(
            r#"{ "services": [ { "id": "a", "port": 7000, "interface": "::1", "rules": [ { "targets": [
                { "host": "db", "port": 1 }, { "host": "db", "ip": "10.0.0.1", "port": 2 },
                { "host": "[::2]", "port": 3 }, { "host": "unix:/x" } ] } ] } ] }"#,
        );
        let targets = ["db:1", "db/10.0.0.1:2", "[::2]:3", "unix:/x"];
        assert_eq!(
            human,
            format!(
                "c.json: good, 1 service, 0 warnings\n  [::1]:7000  a  -> {}\n",
                targets.join(", ")
            )
        );
        let expected = serde_json::json!({
            "ok": true, "file": "c.json", "errors": 0, "warnings": 0, "diagnostics": [],
            "services": [ { "id": "a", "name": "", "listen": "[::1]:7000", "targets": targets } ]
        });
        assert_eq!(machine, expected);
    }

    #[test]
    fn a_bad_file_shows_why() {
        let (human, machine) = output("{\n\"servces\": [] }");
        assert!(human.starts_with("error[E101]: unknown key `servces`"), "{human}");
        assert!(human.contains("\n  --> c.json:2  servces\n  hint: did you mean `services`?\n"));
        assert!(human.contains("c.json: refused, 1 error, 0 warnings\n"), "{human}");
        assert_eq!(machine["ok"], false);
        assert_eq!(machine["services"], serde_json::json!([]));
        let finding = &machine["diagnostics"][0];
        assert_eq!(finding["code"], "E101");
        assert_eq!(finding["severity"], "error");
        assert_eq!(finding["path"], "servces");
        assert_eq!(finding["line"], 2);
    }
}
