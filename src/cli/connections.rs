//! `thalweg connections`: the live connections of a running proxy.

use std::io::{self, Write};
use std::thread;
use std::time::Duration;

use serde_json::Value;

use super::client::{Admin, Caller, Trouble, query};
use super::text::{self, Column, Table, bytes, left, list, number, right, span, written};
use crate::config::span::Span;

/// The arguments.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example: those that moved most, of one network, once a second
  thalweg connections --source 10.0.0.0/8 --sort out --watch 1s
Those that have been silent for an hour
  thalweg connections --json | jq -r '.connections[] | select(.idle > 3600000) | .id'")]
pub struct Connections {
    /// At most so many.
    #[arg(long, value_name = "COUNT", default_value_t = 1000)]
    limit: u32,
    /// The largest first: of these.
    #[arg(long, value_enum)]
    sort: Option<Sort>,
    /// The smallest first.
    #[arg(long, requires = "sort")]
    reverse: bool,
    /// Again and again, every two seconds or as often as said.
    #[arg(long, value_name = "INTERVAL", num_args = 0..=1, require_equals = false,
          default_missing_value = "2s", value_parser = interval)]
    watch: Option<Duration>,
    /// One JSON object on standard output; with --watch one a line.
    #[arg(long)]
    json: bool,
    /// Which connections.
    #[command(flatten)]
    filter: Filter,
    /// Which proxy.
    #[command(flatten)]
    admin: Admin,
}

/// Which connections; everything that is given must hold.
#[derive(Debug, Clone, Default, clap::Args)]
#[command(next_help_heading = "Which connections")]
pub struct Filter {
    /// Of this service.
    #[arg(long, value_name = "ID")]
    service: Option<String>,
    /// To this target, as `check` shows it.
    #[arg(long, value_name = "HOST:PORT")]
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
    /// Silent for longer than this.
    #[arg(long, value_name = "DURATION", value_parser = milliseconds)]
    idle_over: Option<String>,
}

/// By what they are sorted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Sort {
    /// How long they live.
    Age,
    /// How long they have been silent.
    Idle,
    /// Bytes from the client.
    In,
    /// Bytes to the client.
    Out,
    /// The service's id.
    Service,
    /// The target.
    Target,
    /// The client's address.
    Client,
}

fn interval(text: &str) -> Result<Duration, String> {
    let span = Span::parse(text)?.0;
    if span < Duration::from_millis(100) { Err("at least 100ms".into()) } else { Ok(span) }
}

fn milliseconds(text: &str) -> Result<String, String> {
    Span::parse(text).map(|span| span.0.as_millis().to_string())
}

impl Filter {
    /// Whether it takes all.
    pub fn is_empty(&self) -> bool {
        let Self { service, target, sni, source, state, idle_over } = self;
        [service, target, sni, source, state, idle_over].iter().all(|one| one.is_none())
    }

    /// Where the connections that it takes are listed.
    pub fn path(&self, limit: u32) -> String {
        let limit = limit.to_string();
        let pairs = query([
            ("limit", Some(&*limit)),
            ("service", self.service.as_deref()),
            ("target", self.target.as_deref()),
            ("sni", self.sni.as_deref()),
            ("source", self.source.as_deref()),
            ("state", self.state.as_deref()),
            ("idleOver", self.idle_over.as_deref()),
        ]);
        format!("/api/tcp/connections{pairs}")
    }
}

impl Connections {
    /// Carries it out. Returns the exit code.
    pub fn run(self) -> u8 {
        let mut caller = match self.admin.client().and_then(Caller::new) {
            Ok(caller) => caller,
            Err(trouble) => return trouble.report(),
        };
        let Some(interval) = self.watch else {
            return match self.ask(&mut caller) {
                Ok(answer) if self.json => {
                    written(text::write_json(&mut io::stdout().lock(), &answer))
                }
                Ok(answer) => {
                    let lines = lines(&answer, text::terminal_columns());
                    let all = lines.iter().try_for_each(|line| writeln!(io::stdout(), "{line}"));
                    written(all)
                }
                Err(trouble) => trouble.report(),
            };
        };
        loop {
            let screen = match self.ask(&mut caller) {
                Ok(answer) if self.json => vec![text::harmless(&answer.to_string())],
                Ok(answer) => lines(&answer, text::terminal_columns()),
                // It may be back in a moment.
                Err(Trouble::Unreachable(_)) if !self.json => {
                    vec![format!("no answer at {}; trying again", caller.place())]
                }
                Err(trouble) => return trouble.report(),
            };
            if let Err(error) = show(&screen, self.json) {
                return written(Err(error));
            }
            thread::sleep(interval);
        }
    }

    fn ask(&self, caller: &mut Caller) -> Result<Value, Trouble> {
        let mut answer = caller.get(self.filter.path(self.limit))?;
        if let Some(Value::Array(rows)) = answer.get_mut("connections") {
            self.order(rows);
            return Ok(answer);
        }
        Err(Trouble::Unreachable("what answers there is no Thalweg admin API".into()))
    }

    fn order(&self, rows: &mut [Value]) {
        let Some(sort) = self.sort else { return };
        sort_by(rows, sort);
        if self.reverse {
            rows.reverse();
        }
    }
}

/// Numbers with the largest first, words in the order of the alphabet.
pub fn sort_by(rows: &mut [Value], sort: Sort) {
    let key = match sort {
        Sort::Age => "age",
        Sort::Idle => "idle",
        Sort::In => "dataIn",
        Sort::Out => "dataOut",
        Sort::Service => "service",
        Sort::Target => "target",
        Sort::Client => "remote",
    };
    match sort {
        Sort::Age | Sort::Idle | Sort::In | Sort::Out => {
            rows.sort_by_key(|row| std::cmp::Reverse(number(row, key)));
        }
        Sort::Service | Sort::Target | Sort::Client => {
            rows.sort_by_cached_key(|row| text::text(row, key));
        }
    }
}

/// A screen: instead of the one before it on a terminal, else below it.
fn show(lines: &[String], json: bool) -> io::Result<()> {
    let mut text = String::new();
    match text::terminal_size().filter(|_| !json) {
        Some((_, rows)) => {
            text.push_str("\x1b[H");
            for line in lines.iter().take(rows.saturating_sub(1)) {
                text.push_str(line);
                text.push_str("\x1b[K\n");
            }
            text.push_str("\x1b[J");
        }
        None => {
            for line in lines {
                text.push_str(line);
                text.push('\n');
            }
            if !json {
                text.push('\n');
            }
        }
    }
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()
}

/// The columns of a list of connections.
pub const COLUMNS: [Column; 10] = [
    left("ID", 0, 0),
    left("SERVICE", 7, 0),
    left("CLIENT", 12, 0),
    left("TARGET", 10, 0),
    left("STATE", 0, 4),
    right("AGE", 1),
    right("IDLE", 2),
    right("IN", 0),
    right("OUT", 0),
    left("NAME", 8, 3),
];

/// The cells of one.
pub fn row(connection: &Value) -> [String; 10] {
    let text = |key| text::text(connection, key);
    [
        text("id"),
        text("service"),
        text("remote"),
        text("target"),
        text("state"),
        span(number(connection, "age")),
        span(number(connection, "idle")),
        bytes(number(connection, "dataIn")),
        bytes(number(connection, "dataOut")),
        text("sni"),
    ]
}

fn lines(answer: &Value, most: Option<usize>) -> Vec<String> {
    let mut table = Table::new(&COLUMNS);
    list(answer, "connections").iter().for_each(|connection| table.row(row(connection)));
    let mut lines = table.lines(most);
    if answer.get("truncated") == Some(&Value::Bool(true)) {
        let more = "… and more: narrow it down, or raise --limit";
        lines.push(text::cut(more, most.unwrap_or(usize::MAX)));
    }
    lines
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn answer() -> Value {
        let one = |id: u32, moved: u64| {
            json!({ "id": format!("1a2b3c4d-0-{id}"), "service": "postgres-main",
                "remote": "[2001:db8:1234::1]:54321", "target": "db1.internal:5432", "state": "open",
                "age": 3_600_000 - u64::from(id), "idle": 5, "dataIn": moved, "dataOut": 9,
                "sni": "a\u{1b}]0;x\u{7}.example" })
        };
        json!({ "connections": [one(1, 5), one(2, 7_000_000), one(3, 6)], "truncated": true })
    }

    #[test]
    fn a_list_fits_every_terminal() {
        for columns in 20..=200 {
            for line in lines(&answer(), Some(columns)) {
                assert!(text::width(&line) <= columns, "{columns}: {line}");
                assert!(!line.chars().any(char::is_control), "{line:?}");
            }
        }
        let narrow = lines(&answer(), Some(80));
        for head in ["ID", "SERVICE", "CLIENT", "TARGET", "AGE", "IN", "OUT"] {
            assert!(narrow[0].contains(head), "{head}: {}", narrow[0]);
        }
        assert!(lines(&answer(), Some(200))[0].ends_with("NAME"));
    }

    #[test]
    fn numbers_are_sorted_from_the_top() {
        let mut rows = list(&answer(), "connections").to_vec();
        sort_by(&mut rows, Sort::In);
        let ids: Vec<String> = rows.iter().map(|row| text::text(row, "id")).collect();
        assert_eq!(ids, ["1a2b3c4d-0-2", "1a2b3c4d-0-3", "1a2b3c4d-0-1"]);
    }

    #[test]
    fn a_filter_asks_for_what_it_takes() {
        assert!(Filter::default().is_empty());
        let filter = Filter {
            service: Some("a b&c".into()),
            source: Some("::1/64".into()),
            idle_over: milliseconds("1m").ok(),
            ..Filter::default()
        };
        assert_eq!(
            filter.path(5),
            "/api/tcp/connections?limit=5&service=a%20b%26c&source=%3A%3A1%2F64&idleOver=60000"
        );
    }
}
