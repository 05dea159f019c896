//! What was found in the configuration, what the codes mean, and what a configuration may say.

use std::sync::{Arc, LazyLock};

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use super::View;
use super::answer::refusal;
use crate::cli::schema;
use crate::conn::ending;
use crate::diagnostics::{Severity, lookup};

/// What was found.
pub(super) async fn diagnostics(State(view): State<Arc<View>>) -> Response {
    Json(&**view.diagnostics.load()).into_response()
}

/// What `thalweg explain` says.
#[derive(Debug, Serialize)]
struct Code<'a> {
    code: &'a str,
    kind: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    severity: Option<Severity>,
    summary: &'a str,
    help: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    example: Option<&'a str>,
}

/// A diagnostic code, or a reason, whole or its cause alone.
pub(super) async fn code(Path(code): Path<String>) -> Response {
    if let Some(known) = lookup(&code) {
        return Json(Code {
            code: known.code,
            kind: "diagnostic",
            severity: Some(known.severity),
            summary: known.title,
            help: known.explanation,
            example: Some(known.example),
        })
        .into_response();
    }
    let Some((summary, help)) = ending::lookup(&code) else {
        let text = format!("no code `{}`", code.escape_debug());
        return refusal(StatusCode::NOT_FOUND, "not_found", &text);
    };
    let (severity, example) = (None, None);
    Json(Code { code: &code, kind: "reason", severity, summary, help, example }).into_response()
}

/// The JSON Schema of the configuration.
pub(super) async fn schema() -> Response {
    static TEXT: LazyLock<String> = LazyLock::new(schema::text);
    ([(CONTENT_TYPE, "application/schema+json")], TEXT.as_str()).into_response()
}
