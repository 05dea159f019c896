//! The dry run on the running table.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};

use super::View;
use super::answer::{BadQuery, refusal};
use crate::conn::dry::{self, Question, Table};

/// What would become of a connection.
pub(super) async fn route(
    State(view): State<Arc<View>>,
    query: Result<Query<Vec<(String, String)>>, BadQuery>,
) -> Response {
    let bad = |text: &str| refusal(StatusCode::BAD_REQUEST, "bad_query", text);
    let Ok(Query(query)) = query else { return bad("the query cannot be read") };
    let question = match read(query) {
        Ok(question) => question,
        Err(why) => return bad(&why),
    };
    let snapshot = view.process.snapshot.load_full();
    match dry::run(&snapshot, &question, Table::Running) {
        Ok(route) => Json(route).into_response(),
        Err(why) => bad(&why),
    }
}

/// Reads the question; `alpn` may come several times, everything else once.
fn read(query: Vec<(String, String)>) -> Result<Question, String> {
    let mut question = Question::default();
    let mut seen: Vec<String> = Vec::new();
    for (key, value) in query {
        let ip = || value.parse().map(Some).map_err(|_| format!("`{key}` is not an address"));
        match &*key {
            "port" => {
                let port = value.parse().ok().filter(|port| *port != 0);
                question.port = port.ok_or("`port` is not a port")?;
            }
            "interface" => question.interface = ip()?,
            "source" => question.source = ip()?,
            "proxy" => question.proxy = ip()?,
            "sni" => question.sni = Some(value),
            "httpHost" => question.http_host = Some(value),
            "alpn" => {
                question.alpn.push(value);
                continue;
            }
            _ => {
                return Err(format!(
                    "unknown parameter `{}`; there are port, interface, sni, alpn, httpHost, source \
                     and proxy",
                    key.escape_debug()
                ));
            }
        }
        if seen.contains(&key) {
            return Err(format!("`{key}` comes twice"));
        }
        seen.push(key);
    }
    if question.port == 0 {
        return Err("`port` is missing".into());
    }
    Ok(question)
}
