//! `events`: where the events of connections go, and which there are.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Size, Span};
use crate::config::limits;

/// Where the events of connections go, one JSON object a line, and which there are.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
#[schemars(extend("anyOf" = [{ "required": ["file"] }, { "required": ["outputs"] }]))]
pub struct Events {
    /// A file that events are appended to: short for an output with `file` alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String")]
    pub file: Option<PathBuf>,
    /// Where events go; all get the same. Each has a queue of its own, so that a slow one slows
    /// neither the others nor any connection; what does not fit in it is dropped and counted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub outputs: Option<Vec<EventOutput>>,
    /// Which events there are. `close`, at the end of every connection, is always among them.
    pub records: Vec<Record>,
    /// Between two `periodic` events of a connection.
    pub interval: Span,
    /// What the member `service` of an event is.
    pub service: ServiceDetail,
}

impl Default for Events {
    fn default() -> Self {
        Self {
            file: None,
            outputs: None,
            records: vec![Record::Close],
            interval: Span(limits::EVENT_INTERVAL_DEFAULT),
            service: ServiceDetail::default(),
        }
    }
}

/// One place where events go: one of `file`, `stdout`, `unixDatagram` and `http`.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
#[schemars(extend("oneOf" = [
    { "required": ["file"] }, { "required": ["stdout"] },
    { "required": ["unixDatagram"] }, { "required": ["http"] }
]))]
pub struct EventOutput {
    /// A file. Appended to; opened again on SIGUSR1, and when it was renamed or removed.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String")]
    pub file: Option<PathBuf>,
    /// Before the file gets larger it is renamed to `FILE.1`, that to `FILE.2`, and so on. Left out,
    /// it grows until somebody else rotates it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Size")]
    pub max_size: Option<Size>,
    /// How many renamed files are kept. Needs `maxSize`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 100))]
    pub keep: Option<u32>,
    /// Standard output, behind the line `ready`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stdout: Option<bool>,
    /// A Unix datagram socket that somebody receives on: each event is one datagram, without a
    /// newline at its end.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String")]
    pub unix_datagram: Option<PathBuf>,
    /// A URL that events are POSTed to, several at a time, as `application/x-ndjson`. A POST that
    /// fails is made again until it succeeds; one that is answered with a status of 300 to 499 (but
    /// 408 and 429) is given up. So an event may come twice, with the same `@id`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String")]
    pub http: Option<String>,
    /// A file with a token that is sent as `Authorization: Bearer`. Read anew for each POST.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String")]
    pub token_file: Option<PathBuf>,
    /// A PEM file of the authorities that the server's certificate must come from; without it those of
    /// the system. Needs `https`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String")]
    pub ca_file: Option<PathBuf>,
    /// Most events in one POST.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 10_000))]
    pub batch: Option<u32>,
    /// How long an event waits for others to go along with it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Span")]
    pub flush: Option<Span>,
}

/// An event of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Record {
    /// When a target was reached.
    Open,
    /// Every `interval` from then on, with the bytes so far.
    Periodic,
    /// At its end, whether or not a target was reached. Exactly one.
    Close,
}

/// What an event says of its service.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum ServiceDetail {
    /// The service's whole document, as Otoroshi's events have it.
    #[default]
    Full,
    /// Nothing but `@serviceId` and `@service`; the member `service` is null.
    Id,
}
