//! Small answers: health, certificates, refusals.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Serialize;

pub(super) use axum::extract::rejection::QueryRejection as BadQuery;

use super::{Outcome, View};
use crate::config::snapshot::since_1970;
use crate::tls::store::Entry;

/// An error, in Otoroshi's form.
#[derive(Debug, Serialize)]
struct Refusal<'a> {
    error: &'a str,
    error_description: &'a str,
}

pub(super) fn refusal(status: StatusCode, error: &str, text: &str) -> Response {
    (status, Json(Refusal { error, error_description: text })).into_response()
}

pub(super) async fn not_found() -> Response {
    refusal(StatusCode::NOT_FOUND, "not_found", "there is nothing at this path")
}

pub(super) async fn method_not_allowed() -> Response {
    refusal(
        StatusCode::METHOD_NOT_ALLOWED,
        "method_not_allowed",
        "this path does not take that method",
    )
}

#[derive(Debug, Serialize)]
struct Status {
    status: &'static str,
}

/// How much is served.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Summary {
    version: &'static str,
    state: &'static str,
    /// In ms.
    uptime: u64,
    /// In ms since 1970.
    now: u64,
    configuration_version: u64,
    services: usize,
    listeners: usize,
    cores: usize,
    connections: u64,
    connections_max: u64,
    /// null: there was none.
    last_reload: Option<Outcome>,
}

pub(super) async fn status(State(view): State<Arc<View>>) -> Response {
    let snapshot = view.process.snapshot.load_full();
    let uptime = view.started.elapsed().as_millis();
    let services = snapshot.listeners.values().map(|listener| 1 + listener.more.len()).sum();
    let draining = view.draining.load(Ordering::Relaxed);
    Json(Summary {
        version: env!("CARGO_PKG_VERSION"),
        state: if draining { "draining" } else { "serving" },
        uptime: u64::try_from(uptime).unwrap_or(u64::MAX),
        now: since_1970(std::time::SystemTime::now()),
        configuration_version: snapshot.version,
        services,
        listeners: snapshot.listeners.len(),
        cores: view.process.counters.len(),
        connections: view.process.counters.iter().map(|core| core.live.get()).sum(),
        connections_max: view.process.connections_max.load(Ordering::Relaxed),
        last_reload: (**view.last_reload.load()).clone(),
    })
    .into_response()
}

/// The control thread answers: it lives.
pub(super) async fn live() -> Response {
    Json(Status { status: "live" }).into_response()
}

/// Whether new connections are taken.
pub(super) async fn ready(State(view): State<Arc<View>>) -> Response {
    let serves = view.process.snapshot.load().version > 0;
    if view.draining.load(Ordering::Relaxed) {
        (StatusCode::SERVICE_UNAVAILABLE, Json(Status { status: "draining" })).into_response()
    } else if serves {
        Json(Status { status: "ready" }).into_response()
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, Json(Status { status: "starting" })).into_response()
    }
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Certificate {
    file: String,
    names: Vec<Box<str>>,
    subject: String,
    issuer: String,
    not_before: String,
    not_after: String,
    sha256: String,
}

/// The certificates, in the order in which they are looked at.
pub(super) async fn certificates(State(view): State<Arc<View>>) -> Response {
    let material = view.material.load();
    let row = |entry: &Arc<Entry>| Certificate {
        file: entry.files.cert_file.display().to_string(),
        names: entry.names.clone(),
        subject: entry.subject.clone(),
        issuer: entry.issuer.clone(),
        not_before: timestamp(entry.not_before),
        not_after: timestamp(entry.not_after),
        sha256: entry.sha256.iter().map(|byte| format!("{byte:02x}")).collect(),
    };
    Json(material.store.entries().iter().map(row).collect::<Vec<_>>()).into_response()
}

/// A moment, as `2027-03-01T12:00:00Z`.
fn timestamp(seconds: i64) -> String {
    let Ok(time) = x509_parser::time::ASN1Time::from_timestamp(seconds) else {
        return String::new();
    };
    let at = time.to_datetime();
    format!(
        "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}Z",
        at.year(),
        u8::from(at.month()),
        at.day(),
        at.hour(),
        at.minute(),
        at.second()
    )
}
