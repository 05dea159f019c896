//! `thalweg connections` and `thalweg kill`: live connections of a running proxy.

use std::io;

use hyper::Method;
use serde_json::Value;

use super::client::{Admin, Trouble, bytes, span, table};

/// Which connections; everything that is given must hold.
#[derive(Debug, Clone, clap::Args)]
pub struct Filter {
    /// Of this service.
    #[arg(long, value_name = "ID")]
    service: Option<String>,
    /// To this target, as `check` shows it.
    #[arg(long)]
    target: Option<String>,
    /// That asked for this name.
    #[arg(long, value_name = "NAME")]
    sni: Option<String>,
    /// From this address or network.
    #[arg(long, value_name = "CIDR")]
    source: Option<String>,
    /// That have come this far.
    #[arg(long, value_parser = ["opening", "open", "halfClosed"])]
    state: Option<String>,
    /// At most so many.
    #[arg(long, default_value_t = 1000)]
    limit: u32,
}

impl Filter {
    fn query(&self) -> String {
        let Self { service, target, sni, source, state, limit } = self;
        let mut query = format!("?limit={limit}");
        for (key, value) in [
            ("service", service),
            ("target", target),
            ("sni", sni),
            ("source", source),
            ("state", state),
        ] {
            if let Some(value) = value {
                query.push('&');
                query.push_str(key);
                query.push('=');
                query.push_str(&escaped(value));
            }
        }
        query
    }
}

/// Percent-encoded (RFC 3986 §2.1): all but unreserved characters.
pub(super) fn escaped(text: &str) -> String {
    let escape = |byte: u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
            char::from(byte).to_string()
        }
        _ => format!("%{byte:02X}"),
    };
    text.bytes().map(escape).collect()
}

/// Lists connections. Returns the exit code.
pub fn list(admin: &Admin, filter: &Filter, json: bool) -> u8 {
    let answer = admin.ask(Method::GET, &format!("/api/tcp/connections{}", filter.query()));
    match answer {
        Ok(answer) => {
            let mut out = io::stdout().lock();
            // Who closes the pipe has read enough.
            let _ =
                if json { super::print_json(&mut out, &answer) } else { write(&mut out, &answer) };
            0
        }
        Err(trouble) => trouble.report(),
    }
}

fn write(out: &mut impl io::Write, answer: &Value) -> io::Result<()> {
    let connections = answer.get("connections").and_then(Value::as_array);
    let connections = connections.map(Vec::as_slice).unwrap_or_default();
    let heads = ["ID", "SERVICE", "CLIENT", "TARGET", "STATE", "AGE", "IDLE", "IN", "OUT", "NAME"];
    let mut rows = vec![heads.map(str::to_owned).to_vec()];
    for connection in connections {
        let text = |key: &str| {
            connection
                .get(key)
                .and_then(Value::as_str)
                .map_or_else(|| "-".to_owned(), str::to_owned)
        };
        let number = |key: &str| connection.get(key).and_then(Value::as_u64).unwrap_or(0);
        rows.push(vec![
            text("id"),
            text("service"),
            text("remote"),
            text("target"),
            text("state"),
            span(number("age")),
            span(number("idle")),
            bytes(number("dataIn")),
            bytes(number("dataOut")),
            text("sni"),
        ]);
    }
    table(out, &rows)?;
    if answer.get("truncated") == Some(&Value::Bool(true)) {
        writeln!(out, "… and more: narrow it down, or raise --limit")?;
    }
    Ok(())
}

/// Ends connections by their ids. Returns the exit code: 1 if one of them is not there.
pub fn kill(admin: &Admin, ids: &[String]) -> u8 {
    let mut code = 0;
    for id in ids {
        match admin.ask(Method::DELETE, &format!("/api/tcp/connections/{}", escaped(id))) {
            Ok(_) => {}
            Err(trouble @ Trouble::Refused(_)) => code = trouble.report(),
            Err(trouble) => return trouble.report(),
        }
    }
    code
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_says_what_is_meant() {
        let filter = Filter {
            service: Some("a b&c".into()),
            target: None,
            sni: None,
            source: Some("::1/64".into()),
            state: None,
            limit: 5,
        };
        assert_eq!(filter.query(), "?limit=5&service=a%20b%26c&source=%3A%3A1%2F64");
    }
}
