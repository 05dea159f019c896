//! Who may ask. A browser on this machine can be made to ask by any page that it shows (DNS
//! rebinding, cross-site requests), so the name asked for must be an address or `localhost`, and the
//! request must not come from another site. Whoever changes anything shows the token, and so does
//! whoever reads where others than this machine's users can reach the address.

use std::io::Read;
use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use axum::extract::{Request, State};
use axum::http::header::{AUTHORIZATION, HOST, ORIGIN};
use axum::http::{HeaderMap, StatusCode};
use axum::middleware::Next;
use axum::response::Response;

use super::answer::refusal;
use super::{View, dashboard};
use crate::config::limits;

/// What the check needs.
#[derive(Debug, Clone)]
pub(super) struct Guard {
    pub(super) view: Arc<View>,
    /// Others than this machine's users can reach the address.
    pub(super) needs_token: bool,
}

/// The secret that callers show.
#[derive(Clone)]
pub(super) struct Token(String);

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Token(…)")
    }
}

impl Token {
    /// # Errors
    /// Why the file has no token, in words.
    pub(super) fn read(path: &Path) -> Result<Self, String> {
        let say = |what: &str| format!("the admin token {}: {what}", path.display());
        let file = std::fs::File::open(path).map_err(|error| say(&error.to_string()))?;
        let mut text = String::new();
        file.take(limits::TOKEN_BYTES_MAX)
            .read_to_string(&mut text)
            .map_err(|error| say(&error.to_string()))?;
        let token = text.trim();
        if token.len() < limits::TOKEN_BYTES_MIN {
            let least = limits::TOKEN_BYTES_MIN;
            return Err(say(&format!(
                "it is shorter than {least} characters; try: openssl rand -hex 16"
            )));
        }
        if !token.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(say("it has more than one line, or spaces"));
        }
        Ok(Self(token.to_owned()))
    }

    fn is_shown_in(&self, headers: &HeaderMap) -> bool {
        let shown = headers.get(AUTHORIZATION).map(|value| value.as_bytes());
        let shown = shown.and_then(|value| value.split_at_checked(7));
        shown.is_some_and(|(scheme, token)| {
            scheme.eq_ignore_ascii_case(b"bearer ")
                && verify_slices_are_equal(token.trim_ascii(), self.0.as_bytes()).is_ok()
        })
    }
}

/// Lets the request through, or answers it.
pub(super) async fn check(State(guard): State<Guard>, request: Request, next: Next) -> Response {
    match refuse(&guard, &request) {
        None => next.run(request).await,
        Some(refused) => refused,
    }
}

fn refuse(guard: &Guard, request: &Request) -> Option<Response> {
    let (headers, path) = (request.headers(), request.uri().path());
    let host = match headers.get(HOST) {
        Some(host) => host.to_str().ok(),
        None => Some("localhost"),
    };
    let Some(host) = host.filter(|host| is_local_name(host)) else {
        let text = "the Host header is neither an address nor localhost";
        return Some(refusal(StatusCode::MISDIRECTED_REQUEST, "foreign_host", text));
    };
    if is_cross_site(headers, host) {
        let text = "the request comes from a page of another site";
        return Some(refusal(StatusCode::FORBIDDEN, "cross_site", text));
    }
    // Whether it lives is for load balancers, which have no token; the dashboard asks for one.
    if path.starts_with("/health/") || dashboard::owns(path) {
        return None;
    }
    let shown =
        || guard.view.token.load().as_ref().as_ref().is_some_and(|it| it.is_shown_in(headers));
    let reads = request.method().is_safe();
    let may = (reads && !guard.needs_token) || shown();
    (!may).then(|| {
        let text = match &**guard.view.token.load() {
            Some(_) => "show the token: Authorization: Bearer TOKEN",
            None => "`admin.tokenFile` is not set: nothing can be changed here",
        };
        let mut response = refusal(StatusCode::UNAUTHORIZED, "unauthorized", text);
        let bearer = axum::http::HeaderValue::from_static("Bearer");
        response.headers_mut().insert(axum::http::header::WWW_AUTHENTICATE, bearer);
        response
    })
}

/// Whether a host, with or without a port, cannot have been chosen by a foreign name server.
fn is_local_name(host: &str) -> bool {
    if host.parse::<IpAddr>().is_ok() {
        return true;
    }
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    };
    let bare = name.strip_prefix('[').and_then(|name| name.strip_suffix(']')).unwrap_or(name);
    bare.eq_ignore_ascii_case("localhost") || bare.parse::<IpAddr>().is_ok()
}

/// Browsers say where a request comes from (Fetch Metadata, RFC 6454).
fn is_cross_site(headers: &HeaderMap, host: &str) -> bool {
    let site = headers.get("sec-fetch-site").map(|value| value.as_bytes());
    if site.is_some_and(|site| !matches!(site, b"same-origin" | b"none")) {
        return true;
    }
    let origin = headers.get(ORIGIN).map(|value| value.to_str().unwrap_or("null"));
    origin.is_some_and(|origin| {
        origin.split_once("://").is_none_or(|(_, authority)| !authority.eq_ignore_ascii_case(host))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_that_nobody_can_rebind() {
        for host in ["127.0.0.1", "127.0.0.1:9900", "[::1]:9900", "::1", "localhost:1", "LocalHost"]
        {
            assert!(is_local_name(host), "{host}");
        }
        for host in ["", "evil.test", "localhost.evil.test", "127.0.0.1.evil.test:80", "[::1"] {
            assert!(!is_local_name(host), "{host}");
        }
    }

    #[test]
    fn pages_of_other_sites_are_told_apart() {
        let with = |name: &'static str, value: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(name, value.parse().unwrap());
            is_cross_site(&headers, "127.0.0.1:9900")
        };
        assert!(!is_cross_site(&HeaderMap::new(), "localhost"));
        assert!(!with("sec-fetch-site", "none"));
        assert!(!with("origin", "http://127.0.0.1:9900"));
        for (name, value) in [
            ("sec-fetch-site", "cross-site"),
            ("sec-fetch-site", "same-site"),
            ("origin", "null"),
            ("origin", "http://evil.test"),
            ("origin", "http://127.0.0.1:80"),
        ] {
            assert!(with(name, value), "{name}: {value}");
        }
    }
}
