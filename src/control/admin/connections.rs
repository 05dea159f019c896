//! The live connections, and ending one of them.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use ipnet::IpNet;
use serde::Serialize;
use tokio::sync::oneshot;
use tokio::time::timeout;

use super::answer::{BadQuery, refusal};
use super::{Question, View};
use crate::config::limits;
use crate::conn::listing::{Page, Row};
use crate::worker::Command;

/// What is wanted of the connections; everything that is given must hold.
#[derive(Debug, Default)]
struct Filter {
    service: Option<String>,
    target: Option<String>,
    sni: Option<String>,
    source: Option<IpNet>,
    state: Option<String>,
    idle_over: Option<u64>,
    limit: usize,
}

impl Filter {
    fn read(query: HashMap<String, String>) -> Result<Self, String> {
        let mut filter = Self { limit: limits::LISTED_MAX, ..Self::default() };
        for (key, value) in query {
            let number = || value.parse::<u64>().map_err(|_| format!("`{key}` is not a number"));
            match &*key {
                "service" => filter.service = Some(value),
                "target" => filter.target = Some(value),
                "sni" => filter.sni = Some(value),
                "state" if ["opening", "open", "halfClosed"].contains(&&*value) => {
                    filter.state = Some(value);
                }
                "state" => return Err("`state` is opening, open or halfClosed".into()),
                "source" => {
                    let network = value.parse().ok();
                    let address = || Some(IpNet::from(value.parse::<IpAddr>().ok()?));
                    let read = network.or_else(address);
                    filter.source = Some(read.ok_or("`source` is not an address or a network")?);
                }
                "idleOver" => filter.idle_over = Some(number()?),
                "limit" => {
                    let most = usize::try_from(number()?).unwrap_or(usize::MAX);
                    filter.limit = most.min(limits::LISTED_MAX);
                }
                _ => {
                    return Err(format!(
                        "unknown parameter `{}`; there are service, target, sni, source, state, \
                         idleOver and limit",
                        key.escape_debug()
                    ));
                }
            }
        }
        Ok(filter)
    }

    fn takes(&self, row: &Row) -> bool {
        let is = |wanted: &Option<String>, has: Option<&str>| {
            wanted.as_deref().is_none_or(|wanted| has == Some(wanted))
        };
        let state = serde_json::to_value(row.state).unwrap_or_default();
        is(&self.service, row.service.as_deref())
            && is(&self.target, row.target.as_deref())
            && is(&self.sni, row.sni.as_deref())
            && is(&self.state, state.as_str())
            && self.idle_over.is_none_or(|ms| row.idle >= ms)
            && self.source.is_none_or(|network| {
                row.remote.is_some_and(|remote| network.contains(&remote.ip().to_canonical()))
            })
    }
}

/// The list, and whether it is all.
#[derive(Debug, Serialize)]
struct List {
    connections: Vec<Row>,
    /// More were found than were wanted or may be listed.
    truncated: bool,
}

/// The live connections, the oldest of each core first.
pub(super) async fn list(
    State(view): State<Arc<View>>,
    query: Result<Query<HashMap<String, String>>, BadQuery>,
) -> Response {
    let bad = |text: &str| refusal(StatusCode::BAD_REQUEST, "bad_query", text);
    let Ok(Query(query)) = query else { return bad("the query cannot be read") };
    let filter = match Filter::read(query) {
        Ok(filter) => filter,
        Err(text) => return bad(&text),
    };
    let mut list = List { connections: Vec::new(), truncated: false };
    for core in 0..view.process.counters.len() {
        let mut from = Some(0);
        while let Some(slot) = from {
            let Some(Page { rows, next }) = view.ask(core, |tx| Command::List(slot, tx)).await
            else {
                return silent(core);
            };
            for row in rows.into_iter().filter(|row| filter.takes(row)) {
                if list.connections.len() == filter.limit {
                    list.truncated = true;
                    return Json(list).into_response();
                }
                list.connections.push(row);
            }
            from = next;
        }
    }
    Json(list).into_response()
}

/// Where a connection is, by its id: the core, and its number there.
fn find(view: &View, id: &str) -> Option<(usize, u64)> {
    let mut parts = id.split('-');
    let boot = parts.next().and_then(|part| u32::from_str_radix(part, 16).ok())?;
    let core = parts.next().and_then(|part| part.parse::<usize>().ok())?;
    let sequence = parts.next().and_then(|part| part.parse::<u64>().ok())?;
    let is_ours = boot == view.process.boot && core < view.process.counters.len();
    (parts.next().is_none() && is_ours).then_some((core, sequence))
}

fn no_connection(id: &str) -> Response {
    let text = format!("no connection `{}`", id.escape_debug());
    refusal(StatusCode::NOT_FOUND, "not_found", &text)
}

fn silent(core: usize) -> Response {
    let text = format!("core {core} does not answer");
    refusal(StatusCode::SERVICE_UNAVAILABLE, "core_silent", &text)
}

/// One connection, with all there is to know of it.
pub(super) async fn show(State(view): State<Arc<View>>, Path(id): Path<String>) -> Response {
    let Some((core, sequence)) = find(&view, &id) else { return no_connection(&id) };
    match view.ask(core, |answer| Command::Show(sequence, answer)).await {
        Some(Some(detail)) => Json(detail).into_response(),
        Some(None) => no_connection(&id),
        None => silent(core),
    }
}

/// Ends one connection.
pub(super) async fn kill(State(view): State<Arc<View>>, Path(id): Path<String>) -> Response {
    let Some((core, sequence)) = find(&view, &id) else { return no_connection(&id) };
    match view.ask(core, |answer| Command::Kill(sequence, answer)).await {
        Some(true) => Json(Deleted { deleted: true }).into_response(),
        Some(false) => no_connection(&id),
        None => silent(core),
    }
}

#[derive(Debug, Serialize)]
struct Deleted {
    deleted: bool,
}

impl View {
    /// Asks a core; `None` if it does not answer in time.
    async fn ask<T>(
        &self,
        core: usize,
        command: impl FnOnce(oneshot::Sender<T>) -> Command,
    ) -> Option<T> {
        let (answer, answered) = oneshot::channel();
        let question = Question { core, command: command(answer) };
        let asking = async {
            self.questions.send(question).await.ok()?;
            answered.await.ok()
        };
        timeout(limits::CORE_ANSWER, asking).await.ok()?
    }
}
