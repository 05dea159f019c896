//! Where events go and which there are, as `check` shows it was read.

use serde::Serialize;

use crate::config::checked::events::{Events, Output};
use crate::config::size::Size;
use crate::config::span::Span;

/// `events`.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct EventsRow {
    /// Each in words.
    pub(super) outputs: Vec<String>,
    records: Vec<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    interval: Option<String>,
    /// Each has the whole document of its service.
    whole_service: bool,
}

impl EventsRow {
    pub(super) fn new(events: &Events) -> Self {
        let mut records = vec!["close"];
        records.extend(events.open.then_some("open"));
        records.extend(events.periodic.map(|_| "periodic"));
        Self {
            outputs: events.outputs.iter().map(describe).collect(),
            records,
            interval: events.periodic.map(|interval| Span(interval).to_string()),
            whole_service: events.whole_service,
        }
    }

    /// `close, open, periodic every 60s`.
    pub(super) fn words(&self) -> String {
        let every = |record: &&str| match (*record, &self.interval) {
            ("periodic", Some(interval)) => format!("periodic every {interval}"),
            (other, _) => other.to_owned(),
        };
        let mut words = self.records.iter().map(every).collect::<Vec<_>>().join(", ");
        words.push_str(if self.whole_service { "" } else { "; services by id" });
        words
    }
}

fn describe(output: &Output) -> String {
    match output {
        Output::File(file) => match file.rotation {
            Some(it) => format!("{output} ({} each, {} kept)", Size(it.max_size), it.keep),
            None => output.to_string(),
        },
        Output::Http(http) => {
            let token = if http.token_file.is_some() { ", with a token" } else { "" };
            let flush = Span(http.flush);
            format!("{output} (up to {} at a time, after {flush}{token})", http.batch)
        }
        Output::Stdout | Output::Datagram(_) => output.to_string(),
    }
}
