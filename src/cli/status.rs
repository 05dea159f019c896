//! `thalweg status`: how a running proxy fares, and its targets.

use std::io;

use serde_json::{Value, json};

use super::client::{Admin, Caller, Trouble};
use super::text::{Column, Table, left, list, number, right, span, text, write_json, written};
use crate::diagnostics::visible;

/// The arguments.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example: the proxy of a configuration, and what of it is down
  thalweg status -c /etc/thalweg.json
  thalweg status --json | jq '.targets[] | select(.health.status != \"Up\")'")]
pub struct Status {
    /// One JSON object on standard output.
    #[arg(long)]
    json: bool,
    /// Which proxy.
    #[command(flatten)]
    admin: Admin,
}

impl Status {
    /// Carries it out. Returns the exit code.
    pub fn run(self) -> u8 {
        match ask(&self.admin) {
            Ok((status, targets)) => {
                let mut out = io::stdout().lock();
                written(if self.json {
                    write_json(&mut out, &json!({ "status": status, "targets": targets }))
                } else {
                    write(&mut out, &status, &targets)
                })
            }
            Err(trouble) => trouble.report(),
        }
    }
}

fn ask(admin: &Admin) -> Result<(Value, Value), Trouble> {
    let mut caller = Caller::new(admin.client()?)?;
    let status = caller.get("/api/status")?;
    let targets = caller.get("/api/tcp/targets")?;
    if status.get("configurationVersion").is_none() || !targets.is_array() {
        return Err(Trouble::Unreachable("what answers there is no Thalweg admin API".into()));
    }
    Ok((status, targets))
}

const COLUMNS: [Column; 7] = [
    left("SERVICE", 8, 0),
    left("TARGET", 12, 0),
    left("STATUS", 0, 0),
    right("FOR", 2),
    right("CONNECTIONS", 1),
    left("WEIGHT", 0, 3),
    left("WHY", 12, 0),
];

fn write(out: &mut impl io::Write, status: &Value, targets: &Value) -> io::Result<()> {
    let said = |key| visible(&text(status, key));
    let role = match status.get("role").and_then(Value::as_str) {
        Some(role) => format!(", you may {}", if role == "admin" { "change it" } else { "read" }),
        None => String::new(),
    };
    writeln!(
        out,
        "thalweg {} {}, up {}, configuration version {}{role}",
        said("version"),
        said("state"),
        span(number(status, "uptime")),
        number(status, "configurationVersion")
    )?;
    writeln!(
        out,
        "{} services on {} listeners, {} cores, {} of {} connections",
        number(status, "services"),
        number(status, "listeners"),
        number(status, "cores"),
        number(status, "connections"),
        number(status, "connectionsMax")
    )?;
    let now = number(status, "now");
    if let Some(reload) = status.get("lastReload").filter(|reload| reload.is_object()) {
        let ago = span(now.saturating_sub(number(reload, "at")));
        let became = match reload.get("ok") {
            Some(Value::Bool(false)) => "was refused",
            _ => "was applied",
        };
        let why = match reload.get("message").and_then(Value::as_str) {
            Some(why) => format!(": {}", visible(why)),
            None => String::new(),
        };
        writeln!(out, "the last reload, {ago} ago, {became}{why}")?;
    }
    writeln!(out)?;
    let mut table = Table::new(&COLUMNS);
    for target in targets.as_array().map(Vec::as_slice).unwrap_or_default() {
        table.row(row(target, now));
    }
    table.write(out)
}

fn row(target: &Value, now: u64) -> [String; 7] {
    let health = target.get("health").unwrap_or(&Value::Null);
    let since = health.get("since").and_then(Value::as_u64).filter(|_| now > 0);
    let state = text(health, "status");
    let failure = health.get("lastFailure").filter(|_| state != "Up");
    let is = |key| target.get(key) == Some(&Value::Bool(true));
    let weight = target.get("weight").and_then(Value::as_u64).unwrap_or(1);
    let addresses = list(target, "addresses").iter().filter_map(Value::as_str);
    let unresolved = target.get("addresses").is_some() && addresses.count() == 0;
    [
        text(target, "service"),
        text(target, "target"),
        if is("draining") { format!("{state}, draining") } else { state },
        since.map_or("-".into(), |since| span(now.saturating_sub(since))),
        number(health, "connections").to_string(),
        match number(target, "tier") {
            0 => weight.to_string(),
            1 => format!("{weight} backup"),
            tier => format!("{weight} tier {tier}"),
        },
        match failure {
            Some(failure) => text(failure, "reason"),
            None if unresolved && !text(target, "target").starts_with("unix:") => {
                "no address".into()
            }
            None => "-".into(),
        },
    ]
}
