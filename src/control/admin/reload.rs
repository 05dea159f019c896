//! Reloading, and what a reload would do.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use axum::Json;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::json;
use tokio::sync::oneshot;
use tokio::time::timeout;

use super::View;
use super::answer::{BadQuery, refusal};
use super::services::{Body, Reply, text};
use crate::config::limits;
use crate::control::reload::Refusal;
use crate::control::services::{Request, main_of};

/// Reads everything again.
pub(super) async fn reload(State(view): State<Arc<View>>) -> Response {
    match view.request(Request::Reload).await {
        Ok(Ok(applied)) => Json(applied).into_response(),
        Ok(Err(why)) => refused(&why),
        Err(reply) => reply.into_response(),
    }
}

/// What a reload would do now.
pub(super) async fn plan(State(view): State<Arc<View>>) -> Response {
    match view.request(|answer| Request::Plan(None, answer)).await {
        Ok(Ok(plan)) => Json(plan).into_response(),
        Ok(Err(why)) => refused(&why),
        Err(reply) => reply.into_response(),
    }
}

/// What a reload would do if the body were in the file; `?file=` says which, for its relative paths.
pub(super) async fn plan_of(
    State(view): State<Arc<View>>,
    query: Result<Query<HashMap<String, String>>, BadQuery>,
    body: Body,
) -> Response {
    let bad = |text: &str| refusal(StatusCode::BAD_REQUEST, "bad_query", text);
    let Ok(Query(query)) = query else { return bad("the query cannot be read") };
    let only = query.keys().all(|key| key == "file");
    let file = query.get("file").map(Path::new);
    let Some(file) = file.filter(|file| only && file.is_absolute() && file.file_name().is_some())
    else {
        return bad("the one parameter is `file`, an absolute path");
    };
    let main = match text(body) {
        Ok(text) => main_of(file, text),
        Err(reply) => return reply.into_response(),
    };
    match view.request(|answer| Request::Plan(Some(main), answer)).await {
        Ok(Ok(plan)) => Json(plan).into_response(),
        Ok(Err(why)) => refused(&why),
        Err(reply) => reply.into_response(),
    }
}

fn refused(why: &Refusal) -> Response {
    let faults = match why {
        Refusal::Faults(faults) => &**faults,
        _ => &[],
    };
    let body = json!({
        "error": "refused", "error_description": why.to_string(), "diagnostics": faults,
    });
    (StatusCode::UNPROCESSABLE_ENTITY, Json(body)).into_response()
}

impl View {
    /// Asks the control loop.
    ///
    /// # Errors
    /// It does not answer.
    pub(super) async fn request<T>(
        &self,
        request: impl FnOnce(oneshot::Sender<T>) -> Request,
    ) -> Result<T, Reply> {
        let (answer, answered) = oneshot::channel();
        let asking = async {
            self.requests.send(request(answer)).await.ok()?;
            answered.await.ok()
        };
        match timeout(limits::REQUEST_ANSWER, asking).await {
            Ok(Some(answer)) => Ok(answer),
            Ok(None) => {
                let text = "the proxy drains: nothing is changed any more";
                Err(Reply::error(StatusCode::SERVICE_UNAVAILABLE, "draining", text))
            }
            Err(_) => {
                let text =
                    "no answer yet; what was asked may still be done: look before you ask again";
                Err(Reply::error(StatusCode::GATEWAY_TIMEOUT, "slow", text))
            }
        }
    }
}
