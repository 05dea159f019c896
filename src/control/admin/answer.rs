//! How everything is answered: errors in one form, headers that keep browsers honest; and small
//! answers: status, health, certificates.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use axum::body::{Body, Bytes, to_bytes};
use axum::extract::{Extension, FromRequest, Request, State};
use axum::http::header::{self, CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, HeaderName};
use axum::http::{HeaderValue, Method, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use axum::{Json, http};
use serde::Serialize;
use serde::de::DeserializeOwned;

pub(super) use axum::extract::rejection::QueryRejection as BadQuery;

use super::guard::{Caller, Role};
use super::targets::services;
use super::{Outcome, View};
use crate::config::checked::Rule;
use crate::config::limits;
use crate::config::snapshot::{Service, since_1970};
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

/// What every answer says to browsers: to run nothing that did not come from here, to take nothing for
/// what it is not, to keep nothing, and to let no other page show it or look at it.
const HEADERS: [(HeaderName, &str); 7] = [
    (
        header::CONTENT_SECURITY_POLICY,
        "default-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'self'",
    ),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::CACHE_CONTROL, "no-store"),
    (header::X_FRAME_OPTIONS, "DENY"),
    (header::REFERRER_POLICY, "no-referrer"),
    (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
];

/// Has a request answered in time, and its answer in our form.
pub(super) async fn dress(request: Request, next: Next) -> Response {
    let is_last = request.extensions().get::<Caller>().is_none_or(Caller::is_last);
    let asks_what_goes = request.method() == Method::OPTIONS;
    let answering = tokio::time::timeout(limits::ADMIN_REQUEST, next.run(request)).await;
    let is_late = answering.is_err();
    let mut response = match answering {
        Ok(response) if asks_what_goes => what_goes(response),
        Ok(response) => in_our_form(response).await,
        Err(_) => refusal(
            StatusCode::REQUEST_TIMEOUT,
            "timeout",
            "the request took too long, its body included",
        ),
    };
    let headers = response.headers_mut();
    for (name, value) in HEADERS {
        headers.entry(name).or_insert(HeaderValue::from_static(value));
    }
    if is_last || is_late {
        headers.insert(CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

/// What OPTIONS is told: the methods of the path, which axum adds (`Allow`), and nothing to pages of
/// other sites.
fn what_goes(response: Response) -> Response {
    match response.status() {
        StatusCode::METHOD_NOT_ALLOWED => StatusCode::NO_CONTENT.into_response(),
        _ => response,
    }
}

/// Errors that a library words by itself become ours.
async fn in_our_form(response: Response) -> Response {
    let status = response.status();
    if !(status.is_client_error() || status.is_server_error()) || is_in_form(&response) {
        return response;
    }
    let text =
        to_bytes(response.into_body(), limits::ADMIN_ERROR_BYTES_MAX).await.unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let reason = status.canonical_reason().unwrap_or("error");
    let text = if text.is_empty() { reason } else { &*text };
    refusal(status, &reason.to_lowercase().replace(' ', "_"), text)
}

fn is_in_form(response: &Response) -> bool {
    let found = response.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    found.is_some_and(|found| found.starts_with("application/"))
}

/// A body in JSON. Where it may be empty that is `T`'s default.
pub(super) struct Asked<T>(pub(super) T);

impl<T, S> FromRequest<S> for Asked<T>
where
    T: DeserializeOwned + Default,
    S: Send + Sync,
{
    type Rejection = Response;

    async fn from_request(request: Request<Body>, state: &S) -> Result<Self, Response> {
        let headers = request.headers().clone();
        let length =
            headers.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
        if length.is_some_and(|length: usize| length > limits::ADMIN_BODY_BYTES_MAX) {
            let text = "the body has more than 1 MiB";
            return Err(refusal(StatusCode::PAYLOAD_TOO_LARGE, "payload_too_large", text));
        }
        let bytes = Bytes::from_request(request, state).await.map_err(|why| why.into_response())?;
        if bytes.is_empty() {
            return Ok(Self(T::default()));
        }
        if !is_json(&headers) {
            let text = "the body is not application/json";
            return Err(refusal(StatusCode::UNSUPPORTED_MEDIA_TYPE, "not_json", text));
        }
        let bad = |text: String| refusal(StatusCode::BAD_REQUEST, "bad_format", &text);
        serde_json::from_slice(&bytes).map(Self).map_err(|why| bad(why.to_string()))
    }
}

fn is_json(headers: &http::HeaderMap) -> bool {
    let kind = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let kind = kind.and_then(|kind| kind.split(';').next()).map(str::trim).unwrap_or_default();
    kind.eq_ignore_ascii_case("application/json")
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
    /// What the caller may do.
    role: Role,
    /// null: there was none.
    last_reload: Option<Outcome>,
}

pub(super) async fn status(
    State(view): State<Arc<View>>,
    Extension(role): Extension<Role>,
) -> Response {
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
        role,
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
    } else if !view.awaited.load().is_empty()
        && view.started.elapsed() < limits::PROVIDER_FIRST_WAIT
    {
        // Who has just started does not know yet what the others serve.
        (StatusCode::SERVICE_UNAVAILABLE, Json(Status { status: "waiting" })).into_response()
    } else if serves {
        Json(Status { status: "ready" }).into_response()
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, Json(Status { status: "starting" })).into_response()
    }
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Certificate {
    /// What services and targets call it; one without is that of all services.
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<Arc<str>>,
    file: String,
    names: Vec<Box<str>>,
    subject: String,
    issuer: String,
    not_before: String,
    not_after: String,
    sha256: String,
    /// The services that end TLS for one of its names.
    serves_services: Vec<Arc<str>>,
}

/// The certificates, in the order in which they are looked at.
pub(super) async fn certificates(State(view): State<Arc<View>>) -> Response {
    let material = view.material.load();
    let snapshot = view.process.snapshot.load_full();
    let ending: Vec<_> =
        services(&snapshot).into_iter().filter(|service| service.tls.is_some()).collect();
    let shows = |service: &Service, entry: &Arc<Entry>| {
        let own = service.tls.as_ref().map_or(&[][..], |tls| tls.store.entries());
        own.iter().any(|own| own.sha256 == entry.sha256)
            && service.spec.rules.iter().any(|rule| may_show(rule, entry))
    };
    let row = |(name, entry): (Option<&Arc<str>>, &Arc<Entry>)| Certificate {
        name: name.cloned(),
        file: entry.files.cert.place().display().to_string(),
        names: entry.names.clone(),
        subject: entry.subject.clone(),
        issuer: entry.issuer.clone(),
        not_before: timestamp(entry.not_before),
        not_after: timestamp(entry.not_after),
        sha256: entry.sha256.iter().map(|byte| format!("{byte:02x}")).collect(),
        serves_services: ending
            .iter()
            .filter(|service| shows(service, entry))
            .map(|service| Arc::clone(&service.spec.id))
            .collect(),
    };
    Json(material.certificates().map(row).collect::<Vec<_>>()).into_response()
}

/// Whether a rule takes clients that ask for one of the certificate's names.
fn may_show(rule: &Rule, entry: &Entry) -> bool {
    entry.names.iter().any(|name| match name.strip_prefix('*') {
        None => rule.pattern.matches(Some(name)),
        Some(behind) => {
            let exact = rule.pattern.exact().and_then(|exact| exact.strip_suffix(behind));
            rule.pattern.matches(Some(&format!("any{behind}")))
                || exact.is_some_and(|label| !label.is_empty() && !label.contains('.'))
        }
    })
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
