//! `thalweg check`: reads a configuration and says what is wrong with it and what it would run. It
//! binds nothing and resolves nothing.

use std::io::{self, Write};
use std::path::Path;
use std::sync::Arc;

use serde::Serialize;

use crate::config::checked::{
    Address, ClientAuth, Crypto, Discovery, Rule, SendHeader, Service, Target, Tls,
};
use crate::config::sources::Owner;
use crate::config::span::Span;
use crate::config::{self, Loaded};
use crate::diagnostics::{Diagnostic, Severity, colour_for, visible};
use crate::tls::material::Material;
use crate::tls::store::{Coverage, Entry};
use crate::tls::suites::suites;

mod admin;
mod admission;
mod events;

use admission::AccessRow;
use events::EventsRow;

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
    // Of what providers declare the good part is served, but somebody should know.
    u8::from(loaded.checked.is_none() || loaded.errors() > 0)
}

/// The report of `--json`.
#[derive(Serialize)]
struct Report<'a> {
    ok: bool,
    file: &'a str,
    errors: usize,
    warnings: usize,
    diagnostics: &'a [Diagnostic],
    #[serde(skip_serializing_if = "Option::is_none")]
    events: Option<EventsRow>,
    #[serde(rename = "stateDir", skip_serializing_if = "Option::is_none")]
    state_dir: Option<String>,
    certificates: Vec<CertificateRow>,
    #[serde(skip_serializing_if = "Option::is_none")]
    admin: Option<admin::Row>,
    services: Vec<Row>,
}

/// One certificate.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct CertificateRow {
    /// For those alone that name it.
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    file: String,
    names: Vec<String>,
    issuer: String,
    /// The day on which it expires.
    not_after: String,
    sha256: String,
}

/// One service that would run.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Row {
    id: String,
    name: String,
    /// The file, if it is not the main one.
    #[serde(skip_serializing_if = "Option::is_none")]
    file: Option<String>,
    listen: String,
    tls: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    client_auth: Option<&'static str>,
    /// Client certificates that are accepted by themselves: files, or places of the configuration.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    client_certs: Vec<String>,
    /// Versions and suites of TLS, where they are narrowed; in words.
    #[serde(skip_serializing_if = "Option::is_none")]
    tls_narrowed: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    alpn: Vec<String>,
    by_name: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    proxy_protocol: Option<HeaderRow>,
    #[serde(skip_serializing_if = "Option::is_none")]
    access: Option<AccessRow>,
    /// In words.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    limits: Vec<String>,
    /// How targets are checked.
    #[serde(skip_serializing_if = "Option::is_none")]
    health: Option<String>,
    rules: Vec<RuleRow>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    fallbacks: Vec<FallbackRow>,
}

/// Whose PROXY headers are taken, and what those that are sent tell.
#[derive(Serialize)]
struct HeaderRow {
    accept: &'static str,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    trusted: Vec<String>,
    /// Of version 2, where one is sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    tlvs: Option<Vec<&'static str>>,
}

impl HeaderRow {
    fn of(service: &Service) -> Option<Self> {
        let tells = service.targets().any(|target| target.header == SendHeader::V2);
        let tlvs = tells.then(|| service.proxy.tlvs.names().collect());
        let (accept, trusted) = match &service.proxy.accept {
            None => ("Off", Vec::new()),
            Some(accept) => (
                if accept.required { "Require" } else { "Optional" },
                accept.trusted.iter().map(ToString::to_string).collect(),
            ),
        };
        (accept != "Off" || tells).then_some(Self { accept, trusted, tlvs })
    }
}

/// One rule of a service.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct RuleRow {
    pattern: String,
    kind: &'static str,
    read_as: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    conditions: Vec<String>,
    balancing: &'static str,
    /// The file of the certificate that clients are shown.
    #[serde(skip_serializing_if = "Option::is_none")]
    certificate: Option<String>,
    targets: Vec<String>,
}

/// Where connections go that no rule takes.
#[derive(Serialize)]
struct FallbackRow {
    /// As in `sni.fallbacks`.
    when: &'static str,
    target: String,
}

fn write_json(out: &mut impl Write, file: &str, loaded: &Loaded) -> io::Result<()> {
    let report = Report {
        ok: loaded.checked.is_some() && loaded.errors() == 0,
        file,
        errors: count(loaded, Severity::Error),
        warnings: count(loaded, Severity::Warn),
        diagnostics: &loaded.diagnostics,
        events: events(loaded),
        state_dir: state_dir(loaded),
        certificates: certificates(loaded),
        admin: admin::row(loaded),
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
    if loaded.errors() == 0 {
        writeln!(out, "{file}: good, {services}, {warnings}")?;
    } else {
        let left_out = plural(loaded.left_out.len(), "service");
        writeln!(
            out,
            "{file}: good in parts, {services}; left out for {errors}: {left_out}, or files that \
             cannot be read; {warnings}"
        )?;
    }
    if let Some(row) = events(loaded) {
        for output in &row.outputs {
            writeln!(out, "  events to {}: {}", visible(output), row.words())?;
        }
    }
    for row in certificates(loaded) {
        let (file, names) = (visible(&row.file), visible(&row.names.join(", ")));
        let name = row.name.map_or_else(String::new, |name| format!("`{}` ", visible(&name)));
        writeln!(out, "  certificate {name}{file}: {names}; until {}", row.not_after)?;
    }
    if let Some(row) = admin::row(loaded) {
        writeln!(out, "  admin {}", row.in_words())?;
    }
    if let Some(dir) = state_dir(loaded) {
        let kept = loaded.entities.iter().filter(|entity| entity.owner == Owner::Api).count();
        writeln!(out, "  state {}: {}", visible(&dir), plural(kept, "service"))?;
    }
    write_table(out, &rows(loaded))
}

/// Where services are kept that the admin API creates.
fn state_dir(loaded: &Loaded) -> Option<String> {
    let dir = loaded.checked.as_ref()?.state_dir.as_ref()?;
    Some(dir.display().to_string())
}

/// The services in columns as wide as their widest entry. What a service decides by comes in lines
/// of its own; one that decides nothing has its targets on its line.
fn write_table(out: &mut impl Write, rows: &[Row]) -> io::Result<()> {
    let width = |cell: fn(&Row) -> &str| rows.iter().map(|row| cell(row).chars().count()).max();
    let listen = width(|row| &row.listen).unwrap_or(0);
    let id = width(|row| &row.id).unwrap_or(0);
    for row in rows {
        let head = format!("  {:listen$}  {:id$}  {}", row.listen, visible(&row.id), row.summary());
        if let ([rule], []) = (&*row.rules, &*row.fallbacks)
            && !row.by_name
            && rule.conditions.is_empty()
            && row.access.is_none()
            && row.limits.is_empty()
        {
            let balancing = match rule.balancing {
                "RoundRobin" => String::new(),
                other => format!(", {other}"),
            };
            writeln!(out, "{head}{balancing} -> {}", visible(&rule.targets.join(", ")))?;
            row.write_health(out)?;
            continue;
        }
        writeln!(out, "{head}")?;
        if let Some(access) = &row.access {
            writeln!(out, "      access: {}", visible(&access.words()))?;
        }
        if !row.limits.is_empty() {
            writeln!(out, "      limits: {}", row.limits.join(", "))?;
        }
        row.write_health(out)?;
        for rule in &row.rules {
            let mut what = vec![rule.read_as.clone()];
            what.extend(rule.conditions.iter().cloned());
            what.extend((rule.balancing != "RoundRobin").then(|| rule.balancing.to_owned()));
            what.extend(rule.certificate.iter().map(|file| format!("certificate {file}")));
            let (what, targets) = (what.join("; "), rule.targets.join(", "));
            writeln!(out, "      {} -> {}", visible(&what), visible(&targets))?;
        }
        for fallback in &row.fallbacks {
            let FallbackRow { when, target } = fallback;
            writeln!(out, "      otherwise, {when} -> {}", visible(target))?;
        }
    }
    Ok(())
}

impl Row {
    /// How targets are checked, on a line of its own.
    fn write_health(&self, out: &mut impl Write) -> io::Result<()> {
        match &self.health {
            Some(health) => writeln!(out, "      health: {}", visible(health)),
            None => Ok(()),
        }
    }

    /// What the service does with TLS and names.
    fn summary(&self) -> String {
        let mut summary = format!("tls {}", self.tls);
        if let Some(auth) = self.client_auth.filter(|auth| *auth != "None") {
            summary.push_str(", clientAuth ");
            summary.push_str(auth);
        }
        if !self.client_certs.is_empty() {
            let certs = visible(&self.client_certs.join(" "));
            summary.push_str(&format!(", certificates accepted by themselves {certs}"));
        }
        if let Some(narrowed) = &self.tls_narrowed {
            summary.push_str(", ");
            summary.push_str(narrowed);
        }
        if !self.alpn.is_empty() {
            summary.push_str(", alpn ");
            summary.push_str(&visible(&self.alpn.join(" ")));
        }
        summary.push_str(if self.by_name { ", by name" } else { "" });
        if let Some(header) = self.proxy_protocol.as_ref().filter(|it| it.accept != "Off") {
            let how = if header.accept == "Require" { "required" } else { "optional" };
            let trusted = header.trusted.join(" ");
            summary.push_str(&format!(", PROXY header {how} from {trusted}"));
        }
        summary
    }
}

fn count(loaded: &Loaded, severity: Severity) -> usize {
    loaded.diagnostics.iter().filter(|finding| finding.severity == severity).count()
}

fn plural(count: usize, word: &str) -> String {
    if count == 1 { format!("1 {word}") } else { format!("{count} {word}s") }
}

/// Where events go.
fn events(loaded: &Loaded) -> Option<EventsRow> {
    loaded.checked.as_ref()?.events.as_ref().map(EventsRow::new)
}

/// The certificates, in the order in which they are looked at.
fn certificates(loaded: &Loaded) -> Vec<CertificateRow> {
    let row = |(name, entry): (Option<&Arc<str>>, &Arc<Entry>)| CertificateRow {
        name: name.map(ToString::to_string),
        file: entry.files.cert.place().display().to_string(),
        names: entry.names.iter().map(ToString::to_string).collect(),
        issuer: entry.issuer.clone(),
        not_after: date(entry.not_after),
        sha256: hex(&entry.sha256),
    };
    loaded.material.certificates().map(row).collect()
}

/// A day, as `2027-03-01`.
fn date(seconds: i64) -> String {
    let time = x509_parser::time::ASN1Time::from_timestamp(seconds);
    time.map_or_else(
        |_| "?".to_owned(),
        |time| {
            let at = time.to_datetime();
            format!("{}-{:02}-{:02}", at.year(), u8::from(at.month()), at.day())
        },
    )
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The certificate that a service shows for a name, if it is not the default one.
fn serving(service: &Service, rule: &Rule, material: &Material) -> Option<String> {
    let Tls::Enabled(termination) = &service.tls else { return None };
    let store = material.store_of(termination).ok()?;
    if !service.by_name {
        // One of its own is worth telling also where every client is shown it.
        let first = store.entries().first().filter(|_| !termination.certificates.is_empty())?;
        return Some(first.files.cert.place().display().to_string());
    }
    let text = rule.pattern.text().to_ascii_lowercase();
    let name = match rule.pattern.exact() {
        Some(name) => name.to_owned(),
        None => format!("any.{}", text.strip_prefix("*.").filter(|rest| !rest.contains('*'))?),
    };
    if matches!(store.covers(&name), Coverage::Default | Coverage::Nothing) {
        return None;
    }
    let key = store.resolve(Some(&name), &[])?;
    let entry = store.entries().iter().find(|entry| Arc::ptr_eq(&entry.key, &key))?;
    Some(entry.files.cert.place().display().to_string())
}

fn rows(loaded: &Loaded) -> Vec<Row> {
    let Some(checked) = &loaded.checked else { return Vec::new() };
    let row = |service: &Service| {
        let (tls, client_auth, alpn) = match &service.tls {
            Tls::Disabled => ("Disabled", None, &[][..]),
            Tls::PassThrough => ("PassThrough", None, &[][..]),
            Tls::Enabled(termination) => {
                let auth = match termination.client_auth {
                    ClientAuth::None => "None",
                    ClientAuth::Want => "Want",
                    ClientAuth::Need => "Need",
                };
                ("Enabled", Some(auth), &*termination.alpn)
            }
        };
        let termination = match &service.tls {
            Tls::Enabled(termination) => Some(termination),
            Tls::Disabled | Tls::PassThrough => None,
        };
        let fallbacks = &service.fallbacks;
        let fallbacks = [
            ("noMatch", &fallbacks.no_match),
            ("noName", &fallbacks.no_name),
            ("notRecognised", &fallbacks.not_recognised),
            ("silent", &fallbacks.silent),
        ];
        let fallback = |(when, target): (&'static str, &Option<Target>)| {
            target.as_ref().map(|target| FallbackRow { when, target: describe(target) })
        };
        let to_first = service.fallbacks.no_name_to_first;
        let to_first =
            to_first.then(|| FallbackRow { when: "noName", target: "as the first rule".into() });
        Row {
            id: service.id.to_string(),
            name: service.name.to_string(),
            file: loaded
                .entities
                .get(&service.id)
                .filter(|entity| entity.owner != Owner::File)
                .map(|entity| entity.place.clone()),
            listen: service.listen.to_string(),
            tls,
            client_auth,
            client_certs: termination.map_or_else(Vec::new, |it| {
                it.client_certs.iter().map(|pem| pem.place().display().to_string()).collect()
            }),
            tls_narrowed: termination.and_then(|it| narrowed(&it.crypto)),
            alpn: alpn.iter().map(ToString::to_string).collect(),
            by_name: service.by_name,
            proxy_protocol: HeaderRow::of(service),
            access: AccessRow::new(service, &loaded.material.networks),
            limits: admission::limits(&service.limits),
            health: service.health.as_ref().map(ToString::to_string),
            rules: service
                .rules
                .iter()
                .map(|rule| RuleRow {
                    certificate: serving(service, rule, &loaded.material),
                    ..rule_row(rule)
                })
                .collect(),
            fallbacks: fallbacks.into_iter().filter_map(fallback).chain(to_first).collect(),
        }
    };
    checked.services.iter().map(row).collect()
}

fn rule_row(rule: &Rule) -> RuleRow {
    let words = |key: &str, words: Vec<String>| format!("{key} {}", words.join(" "));
    let mut conditions = Vec::new();
    if !rule.alpn.is_empty() {
        conditions.push(words("alpn", rule.alpn.iter().map(ToString::to_string).collect()));
    }
    if !rule.sources.is_empty() {
        conditions.push(words("sources", rule.sources.iter().map(ToString::to_string).collect()));
    }
    if let Some(certificate) = &rule.client_certificate {
        let mut parts = Vec::new();
        for (key, pattern) in [("subject", &certificate.subject), ("san", &certificate.san)] {
            parts.extend(pattern.iter().map(|pattern| format!("{key} {}", pattern.describe())));
        }
        if let Some(digest) = certificate.sha256 {
            parts.push(format!("sha256 {}", hex(&digest)));
        }
        conditions.push(words("clientCertificate", vec![parts.join(", ")]));
    }
    RuleRow {
        pattern: rule.pattern.text().to_owned(),
        kind: rule.pattern.kind().name(),
        read_as: rule.pattern.describe(),
        conditions,
        balancing: rule.balancing.name(),
        certificate: None,
        targets: rule
            .targets
            .iter()
            .map(describe)
            .chain(rule.discoveries.iter().map(describe_list))
            .collect(),
    }
}

/// A list of targets: `those of http://registry:8500/v1/catalog/service/db, asked every 30s`.
fn describe_list(discovery: &Discovery) -> String {
    let Discovery { source, interval, template, .. } = discovery;
    let tls = if template.tls.is_some() { " (TLS)" } else { "" };
    format!("those of {source}, asked every {}{tls}", Span(*interval))
}

/// Which versions and suites are spoken, if not all: `only 1.3`, `suites TLS_AES_128_GCM_SHA256`.
fn narrowed(crypto: &Crypto) -> Option<String> {
    let only = (crypto.min == crypto.max).then(|| format!("only {}", crypto.min.name()));
    let named = suites().iter().filter(|suite| crypto.suites.contains(&suite.number));
    let named: Vec<&str> = named.map(|suite| &*suite.name).collect();
    let named = (!named.is_empty()).then(|| format!("suites {}", named.join(" ")));
    let words: Vec<String> = only.into_iter().chain(named).collect();
    (!words.is_empty()).then(|| words.join(", "))
}

/// A target as people write it, and how TLS is spoken to it: `db.internal:5432`,
/// `db.internal/10.0.0.7:5432 (TLS)`, `unix:/run/db.sock (TLS as db.internal, pinned)`.
fn describe(target: &Target) -> String {
    let Target {
        host,
        address,
        port,
        tls,
        weight,
        tier,
        max_connections,
        header,
        check: _,
        own_health,
    } = target;
    let place = match address {
        Address::Unix(path) => format!("unix:{}", path.display()),
        Address::Name => format!("{host}:{port}"),
        Address::Srv => format!("srv {host}"),
        Address::Reject => "refused".to_owned(),
        Address::Ip(ip) => {
            let bracketed = std::net::SocketAddr::new(*ip, *port);
            let literal = host.trim_start_matches('[').trim_end_matches(']').parse() == Ok(*ip);
            if literal { bracketed.to_string() } else { format!("{host}/{bracketed}") }
        }
    };
    let mut how = Vec::new();
    if let Some(tls) = tls {
        how.push(
            if tls.server_name.is_empty()
                || tls.server_name.eq_ignore_ascii_case(host.trim_matches(['[', ']', '.']))
            {
                "TLS".to_owned()
            } else {
                format!("TLS as {}", tls.server_name)
            },
        );
        how.extend(narrowed(&tls.crypto));
        how.extend((!tls.pins.is_empty()).then(|| "pinned".to_owned()));
        how.extend(tls.insecure.then(|| "not verified".to_owned()));
    }
    how.extend((*weight != 1).then(|| format!("weight {weight}")));
    how.extend(match tier {
        0 => None,
        1 => Some("backup".to_owned()),
        tier => Some(format!("tier {tier}")),
    });
    how.extend(max_connections.map(|most| format!("at most {most}")));
    how.extend(match header {
        SendHeader::Off => None,
        SendHeader::V1 => Some("PROXY v1".to_owned()),
        SendHeader::V2 => Some("PROXY v2".to_owned()),
    });
    how.extend(own_health.as_ref().map(|health| format!("health: {health}")));
    if how.is_empty() { place } else { format!("{place} ({})", how.join(", ")) }
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
                "c.json: good, 1 service, 0 warnings\n  [::1]:7000  a  tls Disabled -> {}\n",
                targets.join(", ")
            )
        );
        let expected = serde_json::json!({
            "ok": true, "file": "c.json", "errors": 0, "warnings": 0, "diagnostics": [],
            "certificates": [],
            "services": [ {
                "id": "a", "name": "", "listen": "[::1]:7000", "tls": "Disabled", "byName": false,
                "rules": [ {
                    "pattern": "*", "kind": "any", "readAs": "any name, or none",
                    "balancing": "RoundRobin", "targets": targets
                } ]
            } ]
        });
        assert_eq!(machine, expected);
    }

    #[test]
    fn names_conditions_and_tls_are_shown_as_they_were_read() {
        let (human, machine) = output(
            r#"{ "certificates": [ { "certFile": "a.pem" }, { "directory": "certs.d" } ],
                "clientCaFiles": [ "ca.pem" ],
                "services": [ { "id": "web", "port": 7000, "tls": "Enabled", "clientAuth": "Want",
                  "sni": { "enabled": true, "forwardIfNoMatch": true, "forwardsTo": { "host": "d" },
                           "fallbacks": { "silent": { "host": "s", "port": 1 } } },
                  "rules": [
                    { "domain": "A.Example.", "alpn": [ "h2" ], "sources": [ "10.0.0.0/8", "::1" ],
                      "clientCertificate": { "subject": "edge-*" },
                      "targets": [ { "host": "a", "tls": true } ] },
                    { "domain": ".*b.*", "targets": [
                      { "host": "b", "tls": true, "serverName": "c", "insecureSkipVerify": true } ] },
                    { "domain": "*.example", "targets": [ { "host": "b" } ] } ] } ] }"#,
        );
        let summary = human.split_once("c.json: good").map(|(_, summary)| summary);
        let expected = [
            ", 1 service, 1 warning",
            "  0.0.0.0:7000  web  tls Enabled, clientAuth Want, by name",
            "      exactly a.example; alpn h2; sources 10.0.0.0/8 ::1/128; clientCertificate subject \
             glob edge-* -> a:8080 (TLS)",
            "      regex ^(?:.*b.*)$ -> b:8080 (TLS as c, not verified)",
            "      glob *.example -> b:8080",
            "      otherwise, noMatch -> d:8080",
            "      otherwise, noName -> d:8080",
            "      otherwise, silent -> s:1",
            "",
        ];
        assert_eq!(summary, Some(&*expected.join("\n")));
        let service = &machine["services"][0];
        assert_eq!(service["tls"], "Enabled");
        assert_eq!(service["clientAuth"], "Want");
        assert_eq!(service["byName"], true);
        assert_eq!(service["rules"][0]["pattern"], "A.Example.");
        assert_eq!(service["rules"][0]["kind"], "exact");
        assert_eq!(service["rules"][1]["readAs"], "regex ^(?:.*b.*)$");
        assert_eq!(service["fallbacks"][2]["when"], "silent");
    }

    #[test]
    fn tiers_refusals_and_tls_of_its_own_are_shown() {
        let (human, machine) = output(
            r#"{ "certificates": [ { "name": "x", "certFile": "x.pem" } ],
                "services": [ { "id": "a", "port": 7000, "tls": "Enabled", "certificates": [ "x" ],
                  "clientAuth": "Need", "clientCertFiles": [ "robot.pem" ], "tlsMinVersion": "1.3",
                  "rules": [ { "targets": [
                    { "host": "b", "tls": true, "cipherSuites": [ "TLS_AES_128_GCM_SHA256" ] },
                    { "host": "c", "tier": 1 }, { "host": "d", "tier": 2, "healthCheck": null },
                    { "reject": true, "weight": 3 } ] } ] } ] }"#,
        );
        let line = "  0.0.0.0:7000  a  tls Enabled, clientAuth Need, certificates accepted by themselves \
                    /robot.pem, only 1.3 -> b:8080 (TLS, suites TLS_AES_128_GCM_SHA256), c:8080 (backup), \
                    d:8080 (tier 2, health: no checks), refused (weight 3)\n";
        assert!(human.ends_with(line), "{human}");
        assert_eq!(machine["services"][0]["clientCerts"], serde_json::json!(["/robot.pem"]));
        assert_eq!(machine["services"][0]["tlsNarrowed"], "only 1.3");
    }

    #[test]
    fn who_may_connect_is_shown_as_it_was_read() {
        let (human, machine) = output(
            r#"{ "services": [ { "id": "a", "port": 7000, "rules": [ { "targets": [ { "host": "db" } ] } ],
                "access": { "allow": [ "10.0.0.0/8", "::1" ], "denyFile": "deny.txt" },
                "limits": { "connections": 9, "connectionsPerSource": 2, "exempt": [ "10.1.0.0/16" ],
                  "connectionRate": { "count": 20, "per": "1m", "burst": 5 },
                  "bytesPerSecond": { "service": "1MiB", "connection": "64KiB" } } } ] }"#,
        );
        let expected = [
            "c.json: good, 1 service, 0 warnings",
            "  0.0.0.0:7000  a  tls Disabled",
            "      access: deny 0 networks, with those of /deny.txt; allow 2 networks; deny others",
            "      limits: at most 9 connections, 2 of a source, 20 new ones of a source in 1m, 5 at \
             once, 1 network exempt, 1MiB/s each way, 64KiB/s each way of a connection",
            "      any name, or none -> db:8080",
            "",
        ];
        assert_eq!(human, expected.join("\n"));
        let access = &machine["services"][0]["access"];
        assert_eq!(access["others"], "Deny");
        assert_eq!(access["allow"], serde_json::json!({ "networks": 2 }));
        assert_eq!(access["deny"]["file"], "/deny.txt");
        assert_eq!(machine["services"][0]["limits"][1], "2 of a source");
    }

    #[test]
    fn who_is_believed_and_told_is_shown() {
        let (human, machine) = output(
            r#"{ "services": [ { "id": "a", "port": 7000,
                "proxyProtocol": { "accept": "Require", "trusted": [ "::1", "10.0.0.0/8" ], "send": "V2",
                                   "tlvs": [ "Ssl", "Authority" ] },
                "rules": [ { "targets": [
                  { "host": "b" }, { "host": "c", "proxyProtocol": "V1" },
                  { "host": "d", "proxyProtocol": "Off" } ] } ] } ] }"#,
        );
        let line = "  0.0.0.0:7000  a  tls Disabled, PROXY header required from 10.0.0.0/8 ::1/128 -> \
                    b:8080 (PROXY v2), c:8080 (PROXY v1), d:8080\n";
        assert!(human.ends_with(line), "{human}");
        let expected = serde_json::json!({
            "accept": "Require", "trusted": ["10.0.0.0/8", "::1/128"], "tlvs": ["Authority", "Ssl"]
        });
        assert_eq!(machine["services"][0]["proxyProtocol"], expected);
    }

    #[test]
    fn where_events_go_is_shown() {
        let (human, machine) = output(
            r#"{ "services": [ { "id": "a", "port": 7000, "rules": [ { "targets": [ { "host": "db" } ] } ] } ],
                "events": { "file": "e", "records": [ "close", "periodic" ], "service": "id",
                  "outputs": [ { "stdout": true }, { "file": "r", "maxSize": "1MiB", "keep": 2 },
                               { "http": "https://c/e", "tokenFile": "t" } ] } }"#,
        );
        let how = "close, periodic every 1m; services by id";
        for line in [
            format!("  events to file /e: {how}\n"),
            format!("  events to stdout: {how}\n"),
            format!("  events to file /r (1MiB each, 2 kept): {how}\n"),
            format!(
                "  events to http https://c/e (up to 1000 at a time, after 1s, with a token): {how}\n"
            ),
        ] {
            assert!(human.contains(&line), "{human}");
        }
        assert_eq!(machine["events"]["records"], serde_json::json!(["close", "periodic"]));
        assert_eq!(machine["events"]["interval"], "1m");
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
