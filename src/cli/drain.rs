//! `thalweg drain`: no new connections for a target, a service, or at all; those that live go on.

use std::io::{self, Write};

use hyper::Method;
use serde_json::{Map, Value, json};

use super::client::{Admin, Caller, Request, Trouble, escaped};
use super::text::{self, confirm, number, plural, written};
use crate::config::span::Span;
use crate::diagnostics::visible;

/// The arguments.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example: take a database out for maintenance, and back in
  thalweg drain --target db1.internal:5432 --close-after 10m
  thalweg drain --target db1.internal:5432 --undo
End the whole proxy once its connections are done, after a minute at the latest
  thalweg drain --deadline 1m --yes")]
pub struct Drain {
    /// This service, or the targets of this service only. Without --service and --target: the whole
    /// proxy, which then ends.
    #[arg(long, value_name = "ID")]
    service: Option<String>,
    /// This target, as `check` shows it, in all services that have it.
    #[arg(long, value_name = "HOST:PORT")]
    target: Option<String>,
    /// End the connections that still live after so long.
    #[arg(long, value_name = "DURATION", value_parser = span)]
    close_after: Option<String>,
    /// Take new connections again.
    #[arg(long, conflicts_with = "close_after")]
    undo: bool,
    /// The whole proxy: how long connections may take to end by themselves.
    #[arg(long, value_name = "DURATION", value_parser = span,
          conflicts_with_all = ["service", "target", "undo", "close_after"])]
    deadline: Option<String>,
    /// Do not ask.
    #[arg(short, long)]
    yes: bool,
    /// The proxy's answer as JSON on standard output.
    #[arg(long)]
    json: bool,
    /// Which proxy.
    #[command(flatten)]
    admin: Admin,
}

/// A duration, as the API takes it.
fn span(text: &str) -> Result<String, String> {
    Span::parse(text).map(|_| text.to_owned())
}

impl Drain {
    /// Carries it out. Returns the exit code.
    pub fn run(self) -> u8 {
        match self.ask() {
            Ok(answer) => {
                let mut out = io::stdout().lock();
                written(if self.json {
                    text::write_json(&mut out, &answer)
                } else {
                    self.write(&mut out, &answer)
                })
            }
            Err(trouble) => trouble.report(),
        }
    }

    fn is_whole(&self) -> bool {
        self.service.is_none() && self.target.is_none()
    }

    fn ask(&self) -> Result<Value, Trouble> {
        if self.is_whole() && (self.undo || self.close_after.is_some()) {
            let text = "--undo and --close-after are for a --service or a --target; a proxy that \
                        ends cannot be held";
            return Err(Trouble::Usage(text.into()));
        }
        let mut caller = Caller::new(self.admin.client()?)?;
        if self.is_whole() && !self.yes {
            let live = number(&caller.get("/api/status")?, "connections");
            let live = plural(live, "live connection");
            match confirm(&format!("End the whole proxy, with {live}?")) {
                Some(true) => {}
                Some(false) => return Err(Trouble::here("nothing was done")),
                None => {
                    let text = "this ends the whole proxy: --yes says that it is meant";
                    return Err(Trouble::Usage(text.into()));
                }
            }
        }
        let (path, body) = self.request();
        caller.send(Request::new(Method::POST, path).json(&body))
    }

    fn request(&self) -> (String, Value) {
        let mut body = Map::new();
        if self.is_whole() {
            body.extend(self.deadline.clone().map(|span| ("deadline".to_owned(), span.into())));
            return ("/api/drain".into(), body.into());
        }
        body.insert("drain".into(), json!(!self.undo));
        body.extend(self.close_after.clone().map(|span| ("closeAfter".to_owned(), span.into())));
        match (&self.target, &self.service) {
            (None, Some(id)) => (format!("/api/tcp/services/{}/drain", escaped(id)), body.into()),
            (target, service) => {
                body.extend(target.clone().map(|target| ("target".to_owned(), target.into())));
                body.extend(service.clone().map(|id| ("service".to_owned(), id.into())));
                ("/api/tcp/targets/drain".into(), body.into())
            }
        }
    }

    fn write(&self, out: &mut impl Write, answer: &Value) -> io::Result<()> {
        let what = match (&self.target, &self.service) {
            (Some(target), Some(service)) => format!("{target} of {service}"),
            (Some(target), None) => target.clone(),
            (None, Some(service)) => service.clone(),
            (None, None) => "the proxy".to_owned(),
        };
        let what = visible(&what);
        if self.undo {
            return writeln!(out, "{what} takes new connections again");
        }
        write!(out, "{what} takes no new connections")?;
        // Of a target: a row for each service that has it.
        let rows = text::list(answer, "targets");
        let of_rows = (!rows.is_empty()).then(|| rows.iter().map(|row| number(row, "connections")));
        let live = answer.get("connections").and_then(Value::as_u64);
        if let Some(live) = live.or(of_rows.map(Iterator::sum)) {
            write!(out, "; {} it has", plural(live, "connection"))?;
        }
        match (&self.close_after, &self.deadline) {
            (Some(span), _) | (_, Some(span)) => writeln!(out, "; what lives ends after {span}"),
            (None, None) => writeln!(out),
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        drain: Drain,
    }

    #[test]
    fn each_form_asks_for_its_own() {
        let asks = |line: &str| {
            let parsed = Line::try_parse_from(["drain"].into_iter().chain(line.split(' ')));
            parsed.ok().map(|line| line.drain.request())
        };
        let target = json!({ "drain": true, "closeAfter": "30s", "target": "a:1" });
        assert_eq!(
            asks("--target a:1 --close-after 30s"),
            Some(("/api/tcp/targets/drain".into(), target))
        );
        let both = json!({ "drain": false, "target": "a:1", "service": "s" });
        assert_eq!(
            asks("--target a:1 --service s --undo"),
            Some(("/api/tcp/targets/drain".into(), both))
        );
        let service = json!({ "drain": true });
        assert_eq!(asks("--service s/1"), Some(("/api/tcp/services/s%2F1/drain".into(), service)));
        let whole = json!({ "deadline": "1m" });
        assert_eq!(asks("--deadline 1m --yes"), Some(("/api/drain".into(), whole)));
        assert!(asks("--deadline soon").is_none());
        assert!(asks("--target a:1 --deadline 1m").is_none());
        assert!(asks("--target a:1 --undo --close-after 1s").is_none());
    }
}
