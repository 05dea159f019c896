//! `thalweg status`: how a running proxy fares, and its targets.

use std::io;

use hyper::Method;
use serde_json::{Value, json};

use super::client::{Admin, Trouble, span, table};

/// Prints it. Returns the exit code.
pub fn run(admin: &Admin, json: bool) -> u8 {
    match ask(admin) {
        Ok((status, targets)) => {
            let mut out = io::stdout().lock();
            // Who closes the pipe has read enough.
            let _ = if json {
                let all = json!({ "status": status, "targets": targets });
                super::print_json(&mut out, &all)
            } else {
                write(&mut out, &status, &targets)
            };
            0
        }
        Err(trouble) => trouble.report(),
    }
}

fn ask(admin: &Admin) -> Result<(Value, Value), Trouble> {
    let status = admin.ask(Method::GET, "/api/status")?;
    Ok((status, admin.ask(Method::GET, "/api/tcp/targets")?))
}

fn write(out: &mut impl io::Write, status: &Value, targets: &Value) -> io::Result<()> {
    let number = |key: &str| status.get(key).and_then(Value::as_u64).unwrap_or(0);
    let text = |key: &str| status.get(key).and_then(Value::as_str).unwrap_or("?");
    writeln!(
        out,
        "thalweg {} {}, up {}, configuration version {}",
        text("version"),
        text("state"),
        span(number("uptime")),
        number("configurationVersion")
    )?;
    writeln!(
        out,
        "{} services on {} listeners, {} cores, {} of {} connections\n",
        number("services"),
        number("listeners"),
        number("cores"),
        number("connections"),
        number("connectionsMax")
    )?;
    let heads = ["SERVICE", "TARGET", "STATUS", "FOR", "CONNECTIONS", "WEIGHT", "WHY"];
    let mut rows = vec![heads.map(str::to_owned).to_vec()];
    for target in targets.as_array().map(Vec::as_slice).unwrap_or_default() {
        let health = target.get("health").unwrap_or(&Value::Null);
        let text = |of: &Value, key: &str| {
            of.get(key).and_then(Value::as_str).map_or_else(|| "-".to_owned(), str::to_owned)
        };
        let number = |of: &Value, key: &str| of.get(key).and_then(Value::as_u64);
        let since = number(health, "since").zip(number(status, "now"));
        let down = text(health, "status") != "Up";
        let failure = health.get("lastFailure").filter(|_| down);
        let backup = target.get("backup") == Some(&Value::Bool(true));
        rows.push(vec![
            text(target, "service"),
            text(target, "target"),
            text(health, "status"),
            since.map_or("-".into(), |(since, now)| span(now.saturating_sub(since))),
            number(health, "connections").unwrap_or(0).to_string(),
            format!(
                "{}{}",
                number(target, "weight").unwrap_or(1),
                if backup { " backup" } else { "" }
            ),
            failure.map_or("-".into(), |failure| text(failure, "reason")),
        ]);
    }
    table(out, &rows)
}
