//! Services: what is declared, and changing what the API itself has created. What a change means is
//! [`control::services`](crate::control::services)' matter; here it is read and answered.

use std::collections::HashMap;
use std::sync::Arc;

use axum::Json;
use axum::body::Bytes;
use axum::extract::rejection::{BytesRejection, PathRejection};
use axum::extract::{Path, Query, State};
use axum::http::header::{CONTENT_TYPE, ETAG, IF_MATCH, IF_NONE_MATCH, LOCATION};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use super::View;
use super::answer::BadQuery;
use crate::config::sources::{Entity, with_defaults};
use crate::config::{self};
use crate::control::reload::Refusal;
use crate::control::services::patch::Patch;
use crate::control::services::{Denied, Done, Request, ServiceChange, Verb};
use crate::diagnostics::{Diagnostic, EMPTY, NOT_UTF8, SYNTAX, TOO_DEEP};

pub(super) mod bulk;
mod list;

pub(super) use self::list::list;

/// What comes of a call before it is put into HTTP.
pub(super) struct Reply {
    status: StatusCode,
    body: Value,
    etag: Option<String>,
    /// The id of a service that was created.
    created: Option<Arc<str>>,
}

impl Reply {
    fn new(status: StatusCode, body: Value) -> Self {
        Self { status, body, etag: None, created: None }
    }

    /// An error, in Otoroshi's form.
    pub(super) fn error(status: StatusCode, error: &str, text: impl Into<String>) -> Self {
        let text = text.into();
        Self::new(status, json!({ "error": error, "error_description": text }))
    }

    /// An error about a document.
    fn faults(error: &str, faults: &[Diagnostic]) -> Self {
        let first = faults.iter().find(|fault| fault.is_error()).or(faults.first());
        let text = first.map_or_else(|| "it cannot be checked".to_owned(), ToString::to_string);
        Self::error(StatusCode::BAD_REQUEST, error, text).with("diagnostics", json!(faults))
    }

    /// With a further member.
    fn with(mut self, member: &str, value: Value) -> Self {
        if let Value::Object(members) = &mut self.body {
            members.insert(member.to_owned(), value);
        }
        self
    }

    fn entity(status: StatusCode, entity: &Entity) -> Self {
        let mut reply = Self::new(status, entity.shown());
        reply.etag = Some(entity.etag.clone());
        reply.created = (status == StatusCode::CREATED).then(|| Arc::clone(&entity.id));
        reply
    }
}

impl IntoResponse for Reply {
    fn into_response(self) -> Response {
        let mut response = (self.status, Json(self.body)).into_response();
        let mut set = |name: HeaderName, value: String| {
            if let Ok(value) = HeaderValue::try_from(value) {
                response.headers_mut().insert(name, value);
            }
        };
        if let Some(etag) = self.etag {
            set(ETAG, format!("\"{etag}\""));
        }
        if let Some(id) = self.created {
            set(LOCATION, format!("/api/tcp/services/{}", encoded(&id)));
        }
        response
    }
}

/// An id as a segment of a path (RFC 3986 §3.3).
fn encoded(id: &str) -> String {
    let mut out = String::with_capacity(id.len());
    for byte in id.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
                out.push(char::from(byte));
            }
            byte => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

type Asked = Result<Query<HashMap<String, String>>, BadQuery>;
pub(super) type Body = Result<Bytes, BytesRejection>;
type Id = Result<Path<String>, PathRejection>;

/// One service.
pub(super) async fn read(State(view): State<Arc<View>>, id: Id, headers: HeaderMap) -> Response {
    let Ok(Path(id)) = id else { return not_found("?").into_response() };
    let entities = view.entities.load();
    let Some(entity) = entities.get(&id) else { return not_found(&id).into_response() };
    let known = tags(&headers, IF_NONE_MATCH);
    if known.is_some_and(|tags| tags.iter().any(|tag| tag == "*" || *tag == entity.etag)) {
        let etag = [(ETAG, format!("\"{}\"", entity.etag))];
        return (StatusCode::NOT_MODIFIED, etag).into_response();
    }
    Reply::entity(StatusCode::OK, entity).into_response()
}

/// Creates one.
pub(super) async fn create(State(view): State<Arc<View>>, query: Asked, body: Body) -> Response {
    let made = async {
        let dry_run = dry_run(query)?;
        let document = document(&text(body)?)?;
        Ok(view.create(document, dry_run).await)
    };
    made.await.unwrap_or_else(|reply: Reply| reply).into_response()
}

/// Replaces one.
pub(super) async fn replace(
    State(view): State<Arc<View>>,
    id: Id,
    query: Asked,
    headers: HeaderMap,
    body: Body,
) -> Response {
    let made = async {
        let Ok(Path(id)) = id else { return Err(not_found("?")) };
        let dry_run = dry_run(query)?;
        let document = document(&text(body)?)?;
        if let Some(own) = document.get("id").filter(|own| own.as_str() != Some(&*id)) {
            let text = format!("the id in the document is {own}, not that of the path");
            return Err(Reply::error(StatusCode::BAD_REQUEST, "bad_entity", text));
        }
        let expected = tags(&headers, IF_MATCH);
        Ok(view.change(&id, Verb::Replace(document), expected, dry_run).await)
    };
    made.await.unwrap_or_else(|reply| reply).into_response()
}

/// Changes parts of one.
pub(super) async fn patch(
    State(view): State<Arc<View>>,
    id: Id,
    query: Asked,
    headers: HeaderMap,
    body: Body,
) -> Response {
    let made = async {
        let Ok(Path(id)) = id else { return Err(not_found("?")) };
        let dry_run = dry_run(query)?;
        let text = text(body)?;
        let patch = match serde_json::from_str(&text) {
            Ok(Value::Object(_)) => Patch::read(document(&text)?),
            Ok(other) => Patch::read(other),
            Err(error) => return Err(bad_format(&error.to_string())),
        };
        let patch = patch.map_err(bad_patch)?;
        let expected = tags(&headers, IF_MATCH);
        Ok(view.change(&id, Verb::Patch(patch), expected, dry_run).await)
    };
    made.await.unwrap_or_else(|reply| reply).into_response()
}

/// Deletes one.
pub(super) async fn delete(
    State(view): State<Arc<View>>,
    id: Id,
    query: Asked,
    headers: HeaderMap,
) -> Response {
    let made = async {
        let Ok(Path(id)) = id else { return Err(not_found("?")) };
        let dry_run = dry_run(query)?;
        Ok(view.change(&id, Verb::Delete, tags(&headers, IF_MATCH), dry_run).await)
    };
    made.await.unwrap_or_else(|reply| reply).into_response()
}

/// A document to start from, which is not stored.
pub(super) async fn template() -> Response {
    Json(with_defaults(json!({
        "id": new_id(),
        "name": "TCP Proxy",
        "description": "A TCP Proxy",
        "enabled": true,
        "port": 4200,
        "rules": [{ "domain": "*", "targets": [{ "host": "127.0.0.1", "port": 8080 }] }],
    })))
    .into_response()
}

impl View {
    async fn create(&self, mut document: Value, dry_run: bool) -> Reply {
        let id = match document.get("id") {
            None => {
                let id = new_id();
                document = with_first(document, "id", Value::from(id.as_str()));
                id
            }
            Some(Value::String(id)) => id.clone(),
            // The checks say what is wrong with it.
            Some(_) => String::new(),
        };
        if !document.get("id").is_some_and(Value::is_string) {
            let finding = Diagnostic::new(&crate::diagnostics::BAD_ID, "id", "the id is no string");
            return Reply::faults("bad_entity", &[finding]);
        }
        self.change(&id, Verb::Create(document), None, dry_run).await
    }

    async fn change(
        &self,
        id: &str,
        verb: Verb,
        expected: Option<Vec<String>>,
        dry_run: bool,
    ) -> Reply {
        let creates = matches!(verb, Verb::Create(_));
        let change = Box::new(ServiceChange { id: id.into(), verb, expected, dry_run });
        match self.request(|answer| Request::Service(change, answer)).await {
            Err(reply) => reply,
            Ok(Ok(Done::Stored(entity))) if creates => Reply::entity(StatusCode::CREATED, &entity),
            Ok(Ok(Done::Stored(entity))) => Reply::entity(StatusCode::OK, &entity),
            Ok(Ok(Done::Deleted)) => Reply::new(StatusCode::OK, json!({ "deleted": true })),
            Ok(Ok(Done::Planned(plan))) => Reply::new(StatusCode::OK, json!(plan)),
            Ok(Err(denied)) => denial(id, denied),
        }
    }
}

/// Why a change was not made.
fn denial(id: &str, denied: Denied) -> Reply {
    use StatusCode as Code;
    match denied {
        Denied::NotFound => not_found(id),
        Denied::Exists => {
            Reply::error(Code::BAD_REQUEST, "already_exists", "there is a service with this id")
        }
        Denied::Owned { owner, place } => {
            let text = format!("the service is declared by {owner}: change it in {place}");
            Reply::error(Code::CONFLICT, "owned", text)
                .with("owner", json!(owner.word()))
                .with("place", json!(place))
        }
        Denied::NoStateDir => Reply::error(
            Code::CONFLICT,
            "no_state_dir",
            "there is no place to keep services: set `stateDir` at the top level of the \
             configuration file, and reload",
        ),
        Denied::Changed(etag) => {
            let text = "the service is another by now: read it again";
            let mut reply = Reply::error(Code::PRECONDITION_FAILED, "changed", text);
            reply.etag = Some(etag);
            reply
        }
        Denied::TooMany => {
            let most = crate::config::limits::STORED_SERVICES_MAX;
            let text = format!("the state directory has {most} services: no more can be kept");
            Reply::error(Code::CONFLICT, "too_many_services", text)
        }
        Denied::BadPatch(why) => bad_patch(why),
        Denied::Faults(faults) => Reply::faults("bad_entity", &faults),
        Denied::Refused(Refusal::State(error)) => {
            let full = error.is_full();
            let code = if full { Code::INSUFFICIENT_STORAGE } else { Code::INTERNAL_SERVER_ERROR };
            Reply::error(code, "state_dir", error.to_string())
        }
        Denied::Refused(Refusal::Bind(error)) => {
            Reply::error(Code::CONFLICT, "cannot_listen", error.to_string())
        }
        Denied::Refused(refusal) => {
            Reply::error(Code::UNPROCESSABLE_ENTITY, "refused", refusal.to_string())
        }
    }
}

fn not_found(id: &str) -> Reply {
    let text = format!("no service `{}`", id.escape_debug());
    Reply::error(StatusCode::NOT_FOUND, "not_found", text)
}

fn bad_format(why: &str) -> Reply {
    Reply::error(StatusCode::BAD_REQUEST, "bad_format", format!("the body is not JSON: {why}"))
}

fn bad_patch(why: String) -> Reply {
    Reply::error(StatusCode::BAD_REQUEST, "bad_patch", why)
}

/// The body as text.
pub(super) fn text(body: Body) -> Result<String, Reply> {
    let bytes = body.map_err(|rejection| match rejection.status() {
        StatusCode::PAYLOAD_TOO_LARGE => {
            Reply::error(StatusCode::PAYLOAD_TOO_LARGE, "too_large", "the body is too large")
        }
        _ => Reply::error(StatusCode::BAD_REQUEST, "bad_format", "the body cannot be read"),
    })?;
    String::from_utf8(bytes.into()).map_err(|_| bad_format("it is not UTF-8"))
}

/// A document, which is an object without a key that occurs twice.
fn document(text: &str) -> Result<Value, Reply> {
    let mut faults = config::faults_of_text(text);
    let of_format = [EMPTY.code, NOT_UTF8.code, SYNTAX.code, TOO_DEEP.code];
    if faults.iter().any(|fault| of_format.contains(&fault.code)) {
        // They are for whoever edits files.
        faults.iter_mut().for_each(|fault| fault.hint = None);
        return Err(Reply::faults("bad_format", &faults));
    }
    if !faults.is_empty() {
        return Err(Reply::faults("bad_entity", &faults));
    }
    serde_json::from_str(text).map_err(|error| bad_format(&error.to_string()))
}

/// The only parameter of changes.
fn dry_run(query: Asked) -> Result<bool, Reply> {
    let bad = |text: &str| Err(Reply::error(StatusCode::BAD_REQUEST, "bad_query", text));
    let Ok(Query(query)) = query else { return bad("the query cannot be read") };
    let mut dry_run = false;
    for (key, value) in &query {
        match (&**key, &**value) {
            ("dryRun", "true") => dry_run = true,
            ("dryRun", "false") => {}
            ("dryRun", _) => return bad("`dryRun` is true or false"),
            _ => {
                let key = key.escape_debug();
                return bad(&format!("unknown parameter `{key}`; there is dryRun"));
            }
        }
    }
    Ok(dry_run)
}

/// The entity tags in a header (RFC 9110 §13.1), weak or not; `None` without it.
fn tags(headers: &HeaderMap, name: HeaderName) -> Option<Vec<String>> {
    let mut values = headers.get_all(name).iter().peekable();
    values.peek()?;
    let tag = |tag: &str| {
        let tag = tag.trim();
        tag.strip_prefix("W/").unwrap_or(tag).trim_matches('"').to_owned()
    };
    let of_value = |value: &HeaderValue| {
        value.to_str().unwrap_or_default().split(',').map(tag).collect::<Vec<_>>()
    };
    Some(values.flat_map(of_value).collect())
}

/// An id that nothing else has.
fn new_id() -> String {
    let mut bytes = [0_u8; 16];
    // Without randomness ids would collide, which is refused where it happens.
    let _ = aws_lc_rs::rand::fill(&mut bytes);
    let mut number = u128::from_be_bytes(bytes);
    // Version 4, the variant of RFC 9562.
    number = number & !(0xf << 76) | 4 << 76;
    number = number & !(0b11 << 62) | 0b10 << 62;
    let hex = format!("{number:032x}");
    let part = |from, to| hex.get(from..to).unwrap_or_default().to_owned();
    let parts = [part(0, 8), part(8, 12), part(12, 16), part(16, 20), part(20, 32)];
    format!("tcp_service_{}", parts.join("-"))
}

/// An object with one more member before the others.
fn with_first(document: Value, key: &str, value: Value) -> Value {
    let Value::Object(mut members) = document else { return document };
    members.shift_insert(0, key.to_owned(), value);
    Value::Object(members)
}

/// Lines of JSON.
fn ndjson(status: StatusCode, lines: impl Iterator<Item = Value>) -> Response {
    let mut text = String::new();
    for line in lines {
        text.push_str(&line.to_string());
        text.push('\n');
    }
    (status, [(CONTENT_TYPE, "application/x-ndjson")], text).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_that_are_made_are_uuids_and_differ() {
        let (one, two) = (new_id(), new_id());
        assert_ne!(one, two);
        let uuid = one.strip_prefix("tcp_service_").unwrap();
        let parts: Vec<usize> = uuid.split('-').map(str::len).collect();
        assert_eq!(parts, [8, 4, 4, 4, 12]);
        assert_eq!(uuid.as_bytes()[14], b'4');
        assert!(b"89ab".contains(&uuid.as_bytes()[19]), "{uuid}");
    }

    #[test]
    fn tags_are_read_as_they_are_written() {
        let mut headers = HeaderMap::new();
        assert_eq!(tags(&headers, IF_MATCH), None);
        headers.append(IF_MATCH, HeaderValue::from_static("\"a\", W/\"b\""));
        headers.append(IF_MATCH, HeaderValue::from_static("*"));
        assert_eq!(tags(&headers, IF_MATCH).unwrap(), ["a", "b", "*"]);
    }

    #[test]
    fn a_path_is_safe_for_every_id() {
        assert_eq!(encoded("a/b c.é~"), "a%2Fb%20c.%C3%A9~");
    }
}
