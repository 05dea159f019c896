//! Taking something out with care: a target or a service gets no new connections, and those that it
//! has run to their own end, or end after a time; or the whole process ends.
//!
//! The marks are kept over reloads by what is marked (a target by its service and its label, a service by
//! its id), and by nothing over a restart.

use std::collections::HashSet;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, SystemTime};

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use tokio::time::sleep;

use super::answer::{Asked, refusal};
use super::targets::services;
use super::{Question, View};
use crate::config::limits;
use crate::config::snapshot::{ServiceState, TargetState, since_1970};
use crate::config::span::Span;
use crate::conn::ending::Cause;
use crate::worker::Command;

/// What is asked of a target.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct OfTarget {
    target: Option<String>,
    service: Option<String>,
    drain: Option<bool>,
    close_after: Option<String>,
}

/// What is asked of a service.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct OfService {
    drain: Option<bool>,
    close_after: Option<String>,
}

/// What is asked of the process.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct OfProcess {
    deadline: Option<String>,
}

/// One target as it is now.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Row<'a> {
    service: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    target: Option<&'a str>,
    draining: bool,
    /// Those that it still has.
    connections: u32,
    /// When they are ended for it, in ms since 1970; null: not at all.
    closes_at: Option<u64>,
}

#[derive(Debug, Serialize)]
struct Rows<'a> {
    targets: Vec<Row<'a>>,
}

fn bad(text: &str) -> Response {
    refusal(StatusCode::BAD_REQUEST, "bad_entity", text)
}

fn none(what: &str, name: &str) -> Response {
    let text = format!("no {what} `{}`", name.escape_debug());
    refusal(StatusCode::NOT_FOUND, "not_found", &text)
}

fn span(key: &str, text: &str) -> Result<Duration, String> {
    let read = Span::parse(text);
    read.map(|span| span.0).map_err(|why| format!("`{key}` {why}; as \"30s\""))
}

/// When to begin to end connections.
fn closing(drain: Option<bool>, after: Option<&str>) -> Result<(bool, Option<Duration>), String> {
    let drain = drain.ok_or("`drain` is missing: true or false")?;
    let after = after.map(|text| span("closeAfter", text)).transpose()?;
    if !drain && after.is_some() {
        return Err("`closeAfter` goes with `drain` true".into());
    }
    Ok((drain, after))
}

/// Takes a target out, or in again.
pub(super) async fn target(
    State(view): State<Arc<View>>,
    Asked(asked): Asked<OfTarget>,
) -> Response {
    let Some(label) = &asked.target else { return bad("`target` is missing: \"host:port\"") };
    let (drain, after) = match closing(asked.drain, asked.close_after.as_deref()) {
        Ok(closing) => closing,
        Err(why) => return bad(&why),
    };
    let snapshot = view.process.snapshot.load_full();
    let mut seen = HashSet::new();
    let mut rows = Vec::new();
    for service in services(&snapshot) {
        if asked.service.as_ref().is_some_and(|id| **id != *service.spec.id) {
            continue;
        }
        for target in service.pools.iter().flat_map(|pool| &pool.targets) {
            // One that several rules name is one.
            if target.label != *label || !seen.insert(Arc::as_ptr(&target.state)) {
                continue;
            }
            let closes_at = after.map(|after| SystemTime::now() + after);
            let number = target.state.drain(drain, closes_at);
            if let Some(after) = after {
                let state = Arc::clone(&target.state);
                tokio::spawn(close_target(Arc::clone(&view), state, number, after));
            }
            tracing::info!(service = %service.spec.id, target = label, drain, "admin: drain");
            rows.push(Row {
                service: &service.spec.id,
                target: Some(&target.label),
                draining: drain,
                connections: target.state.live.load(Ordering::Relaxed),
                closes_at: closes_at.map(since_1970),
            });
        }
    }
    if rows.is_empty() {
        none("target", label)
    } else {
        Json(Rows { targets: rows }).into_response()
    }
}

/// Has a service refuse new connections, or take them again.
pub(super) async fn service(
    State(view): State<Arc<View>>,
    Path(id): Path<String>,
    Asked(asked): Asked<OfService>,
) -> Response {
    let (drain, after) = match closing(asked.drain, asked.close_after.as_deref()) {
        Ok(closing) => closing,
        Err(why) => return bad(&why),
    };
    let snapshot = view.process.snapshot.load_full();
    let services = services(&snapshot);
    let Some(service) = services.into_iter().find(|service| *service.spec.id == *id) else {
        return none("service", &id);
    };
    let state = &service.state;
    let closes_at = after.map(|after| SystemTime::now() + after);
    let number = state.drain.set(drain, closes_at);
    if let Some(after) = after {
        tokio::spawn(close_service(Arc::clone(&view), Arc::clone(state), number, after));
    }
    tracing::info!(service = id, drain, "admin: drain");
    Json(Row {
        service: &id,
        target: None,
        draining: drain,
        connections: state.live.load(Ordering::Relaxed),
        closes_at: closes_at.map(since_1970),
    })
    .into_response()
}

/// Ends a target's connections when it is time. One that was being made when the target was taken out
/// comes later than the others, so the look is repeated.
async fn close_target(view: Arc<View>, state: Arc<TargetState>, number: u64, after: Duration) {
    sleep(after).await;
    while state.drains(number) && state.live.load(Ordering::Relaxed) > 0 {
        view.tell_all(|| Command::CutTarget(Arc::clone(&state), Cause::Drain)).await;
        sleep(limits::DRAIN_AGAIN).await;
    }
}

/// As [`close_target`].
async fn close_service(view: Arc<View>, state: Arc<ServiceState>, number: u64, after: Duration) {
    sleep(after).await;
    while state.drain.is(number) && state.live.load(Ordering::Relaxed) > 0 {
        view.tell_all(|| Command::CutService(Arc::clone(&state), Cause::Drain)).await;
        sleep(limits::DRAIN_AGAIN).await;
    }
}

#[derive(Debug, Serialize)]
struct Draining {
    draining: bool,
    /// Those that may still finish.
    connections: u64,
}

/// Ends the process as SIGTERM does.
pub(super) async fn process(
    State(view): State<Arc<View>>,
    Asked(asked): Asked<OfProcess>,
) -> Response {
    let deadline = match asked.deadline.map(|text| span("deadline", &text)).transpose() {
        Ok(deadline) => deadline,
        Err(why) => return bad(&why),
    };
    if view.draining.load(Ordering::Relaxed) {
        return refusal(StatusCode::CONFLICT, "draining", "the process drains already");
    }
    *view.end_deadline.lock().unwrap_or_else(PoisonError::into_inner) = deadline;
    view.end.notify_one();
    tracing::info!(?deadline, "admin: the process is to end");
    let connections = view.process.counters.iter().map(|core| core.live.get()).sum();
    Json(Draining { draining: true, connections }).into_response()
}

impl View {
    /// Tells every core.
    async fn tell_all(&self, command: impl Fn() -> Command) {
        for core in 0..self.process.counters.len() {
            let _ = self.questions.send(Question { core, command: command() }).await;
        }
    }
}
