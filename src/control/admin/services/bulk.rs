//! Many services in one request, one a line, each by itself: some may be refused and the others done.

use std::future::Future;
use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use super::super::View;
use super::{Body, Reply, bad_patch, document, ndjson, text};
use crate::config::limits;
use crate::control::services::Verb;
use crate::control::services::patch::Patch;

/// A line: a document.
pub(in super::super) async fn create(State(view): State<Arc<View>>, body: Body) -> Response {
    let view = &*view;
    each(body, "created", |line| async move { Ok(view.create(line, false).await) }).await
}

/// A line: a document with its id.
pub(in super::super) async fn replace(State(view): State<Arc<View>>, body: Body) -> Response {
    let view = &*view;
    each(body, "updated", |line| async move {
        let id = id(&line)?;
        Ok(view.change(&id, Verb::Replace(line), None, false).await)
    })
    .await
}

/// A line: `{ "id", "patch" }`.
pub(in super::super) async fn patch(State(view): State<Arc<View>>, body: Body) -> Response {
    let view = &*view;
    each(body, "updated", |mut line| async move {
        let id = id(&line)?;
        let patch = line.get_mut("patch").map(Value::take).unwrap_or_default();
        let patch = Patch::read(patch).map_err(bad_patch)?;
        Ok(view.change(&id, Verb::Patch(patch), None, false).await)
    })
    .await
}

/// A line: `{ "id" }`.
pub(in super::super) async fn delete(State(view): State<Arc<View>>, body: Body) -> Response {
    let view = &*view;
    each(body, "deleted", |line| async move {
        let id = id(&line)?;
        Ok(view.change(&id, Verb::Delete, None, false).await)
    })
    .await
}

fn id(line: &Value) -> Result<String, Reply> {
    let id = line.get("id").and_then(Value::as_str).map(str::to_owned);
    let missing = || Reply::error(StatusCode::BAD_REQUEST, "bad_entity", "the line has no `id`");
    id.ok_or_else(missing)
}

/// Does something with each line; a line for each says what became of it.
async fn each<'a, F>(body: Body, done: &str, act: impl Fn(Value) -> F) -> Response
where
    F: Future<Output = Result<Reply, Reply>> + 'a,
{
    let text = match text(body) {
        Ok(text) => text,
        Err(reply) => return reply.into_response(),
    };
    let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    if lines.is_empty() {
        let text = "there is no line in the body";
        return Reply::error(StatusCode::BAD_REQUEST, "bad_format", text).into_response();
    }
    if lines.len() > limits::BULK_MAX {
        let text = format!("a request has at most {} lines", limits::BULK_MAX);
        return Reply::error(StatusCode::PAYLOAD_TOO_LARGE, "too_large", text).into_response();
    }
    let mut results = Vec::with_capacity(lines.len());
    for line in lines {
        let mut asked = None;
        let reply = match document(line) {
            Ok(line) => {
                asked = line.get("id").cloned();
                act(line).await.unwrap_or_else(|reply| reply)
            }
            Err(reply) => reply,
        };
        let Reply { status, body, created, .. } = reply;
        let id = created.map_or(asked, |id| Some(json!(&*id)));
        let mut result = json!({ "status": status.as_u16() });
        if let (Value::Object(result), Value::Object(body)) = (&mut result, body) {
            if status.is_success() {
                result.insert(done.to_owned(), json!(true));
            } else {
                result.extend(body);
            }
            result.extend(id.map(|id| ("id".to_owned(), id)));
        }
        results.push(result);
    }
    ndjson(StatusCode::OK, results.into_iter())
}
