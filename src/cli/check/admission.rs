//! Who may connect, how often and how fast, as `check` shows it was read.

use serde::Serialize;

use super::plural;
use crate::config::checked::{Limits, Service, Sources};
use crate::config::networks::NetworkFiles;
use crate::config::size::Size;
use crate::config::span::Span;

/// `access` of a service.
#[derive(Serialize)]
pub(super) struct AccessRow {
    allow: SourcesRow,
    deny: SourcesRow,
    /// What holds for everybody else.
    others: &'static str,
}

/// A list of networks.
#[derive(Serialize)]
struct SourcesRow {
    /// How many, those of the file among them.
    networks: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    file: Option<String>,
}

impl SourcesRow {
    fn new(sources: &Sources, files: &NetworkFiles) -> Self {
        let file = sources.file.as_deref();
        let of_file = file.and_then(|path| files.get(path)).map_or(0, |networks| networks.len());
        let networks = sources.networks.len() + of_file;
        Self { networks, file: file.map(|path| path.display().to_string()) }
    }

    fn words(&self, verb: &str) -> Option<String> {
        let count = plural(self.networks, "network");
        match &self.file {
            Some(file) => Some(format!("{verb} {count}, with those of {file}")),
            None if self.networks == 0 => None,
            None => Some(format!("{verb} {count}")),
        }
    }
}

impl AccessRow {
    pub(super) fn new(service: &Service, files: &NetworkFiles) -> Option<Self> {
        let access = service.access.as_ref()?;
        Some(Self {
            allow: SourcesRow::new(&access.allow, files),
            deny: SourcesRow::new(&access.deny, files),
            others: if access.others { "Allow" } else { "Deny" },
        })
    }

    /// `deny 2 networks; allow 1 network; Deny others`.
    pub(super) fn words(&self) -> String {
        let lists = [self.deny.words("deny"), self.allow.words("allow")];
        let others = Some(format!("{} others", self.others.to_lowercase()));
        let words: Vec<_> = lists.into_iter().chain([others]).flatten().collect();
        words.join("; ")
    }
}

/// The limits of a service, in words.
pub(super) fn limits(limits: &Limits) -> Vec<String> {
    let mut words = Vec::new();
    words.extend(limits.connections.map(|most| format!("at most {most} connections")));
    words.extend(limits.connections_per_source.map(|most| format!("{most} of a source")));
    words.extend(limits.connection_rate.map(|rate| {
        let (count, per, burst) = (rate.count, Span(rate.per), rate.burst);
        format!("{count} new ones of a source in {per}, {burst} at once")
    }));
    if !limits.exempt.is_empty() {
        words.push(format!("{} exempt", plural(limits.exempt.len(), "network")));
    }
    let rate = |rate: u64| format!("{}/s", Size(rate));
    words.extend(limits.bandwidth.map(|whole| format!("{} each way", rate(whole.get()))));
    let of_each = limits.bandwidth_of_each;
    words.extend(of_each.map(|each| format!("{} each way of a connection", rate(each.get()))));
    words
}
