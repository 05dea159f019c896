//! Who may ask, and for what.
//!
//! A browser on this machine can be made to ask by any page that it shows (DNS rebinding, cross-site
//! requests), so the name asked for must be an address, `localhost` or one of `admin.hosts`, and the
//! request must not come from another site.
//!
//! To change anything needs the admin token; to read, a token where others than this machine's users
//! can reach the address, or where `requireToken` says so. Over a Unix socket the kernel says who asks:
//! root and the user whose socket it is, who could read the token's file as well, need none, unless
//! `requireToken` says so. A token that is shown must be right, wherever.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use axum::extract::{Request, State};
use axum::http::header::{AUTHORIZATION, HOST, ORIGIN, WWW_AUTHENTICATE};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, Version};
use axum::middleware::Next;
use axum::response::Response;
use serde::Serialize;

use super::answer::refusal;
use super::seats::Seat;
use super::token::Token;
use super::{View, dashboard};
use crate::config::limits;

/// What `admin` says of who may ask.
#[derive(Debug, Default)]
pub(super) struct Policy {
    pub(super) admin: Option<Token>,
    pub(super) read: Option<Token>,
    pub(super) require_token: bool,
    pub(super) hosts: Vec<String>,
}

/// What a caller may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Role {
    /// Look.
    Read,
    /// Change things too.
    Admin,
}

/// Who is at the other end of a connection.
#[derive(Debug, Clone)]
pub(super) struct Caller {
    via: Via,
    /// Only users of this machine can connect there.
    local: bool,
    seat: Arc<Seat>,
}

/// How they came.
#[derive(Debug, Clone, Copy)]
pub(super) enum Via {
    Tcp(SocketAddr),
    /// A user, as the kernel says, to the socket of this owner.
    Unix {
        user: Option<u32>,
        owner: u32,
    },
}

impl fmt::Display for Via {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(peer) => peer.fmt(f),
            Self::Unix { user: Some(user), .. } => write!(f, "user {user}"),
            Self::Unix { user: None, .. } => f.write_str("an unknown user"),
        }
    }
}

/// What users of other namespaces look like (`/proc/sys/kernel/overflowuid`), any of them.
const NOBODY: u32 = 65_534;

impl Caller {
    pub(super) fn new(via: Via, local: bool, seat: &Arc<Seat>) -> Self {
        Self { via, local, seat: Arc::clone(seat) }
    }

    /// Somebody who could read the token's file too.
    fn is_owner(&self) -> bool {
        match self.via {
            Via::Tcp(_) => false,
            Via::Unix { user, owner } => {
                user.is_some_and(|user| user == 0 || (user == owner && user != NOBODY))
            }
        }
    }

    /// Counts a request; true when it is to be the connection's last.
    pub(super) fn is_last(&self) -> bool {
        self.seat.count()
    }
}

/// Declares why requests are refused, with their names and what is answered.
macro_rules! refused {
    ($($why:ident $status:ident $name:literal $text:literal;)*) => {
        /// Why a request was refused.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Why {
            $(#[doc = $text] $why,)*
        }

        impl Why {
            const ALL: &'static [Self] = &[$(Self::$why,)*];

            /// The `error` of the answer.
            fn name(self) -> &'static str {
                match self { $(Self::$why => $name,)* }
            }

            fn answer(self) -> (StatusCode, &'static str) {
                match self { $(Self::$why => (StatusCode::$status, $text),)* }
            }
        }
    };
}

refused! {
    NoHost BAD_REQUEST "bad_host" "a request has exactly one Host header";
    ForeignHost MISDIRECTED_REQUEST "foreign_host"
        "the Host header is neither an address nor localhost nor one of `admin.hosts`";
    CrossSite FORBIDDEN "cross_site" "the request comes from a page of another site";
    NoToken UNAUTHORIZED "unauthorized" "show the token: Authorization: Bearer TOKEN";
    NoneSet UNAUTHORIZED "unauthorized" "`admin.tokenFile` is not set: nothing can be changed here";
    WrongToken UNAUTHORIZED "wrong_token" "this is not the token";
    ReadOnly FORBIDDEN "forbidden" "this token is good for reading only";
}

/// How often requests were refused.
#[derive(Debug, Default)]
pub struct Refusals {
    counts: [AtomicU64; Why::ALL.len()],
    /// When the log last spoke of it, and how many there have been since.
    said: Mutex<(Option<Instant>, u64)>,
}

impl Refusals {
    /// Each reason and its count.
    pub fn counts(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let counts = Why::ALL.iter().zip(&self.counts);
        // Two of them have one name.
        let of = move |name| {
            let same = counts.clone().filter(move |(why, _)| why.name() == name);
            same.map(|(_, count)| count.load(Ordering::Relaxed)).sum()
        };
        let mut names: Vec<_> = Why::ALL.iter().map(|why| why.name()).collect();
        names.dedup();
        names.into_iter().map(move |name| (name, of(name)))
    }

    fn count(&self, why: Why, via: Via, path: &str) {
        if let Some(count) = self.counts.get(why as usize) {
            count.fetch_add(1, Ordering::Relaxed);
        }
        let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        if said.0.is_some_and(|at| at.elapsed() < limits::ADMIN_REFUSED_SAID) {
            said.1 += 1;
            return;
        }
        let unsaid = std::mem::take(&mut said.1);
        said.0 = Some(Instant::now());
        drop(said);
        let path: String = path.chars().take(100).collect();
        tracing::warn!(why = why.name(), from = %via, ?path, unsaid, "admin: a request was refused");
    }
}

/// Lets the request through, or answers it.
pub(super) async fn check(
    State(view): State<Arc<View>>,
    mut request: Request,
    next: Next,
) -> Response {
    let Some(caller) = request.extensions().get::<Caller>().cloned() else {
        return refusal(StatusCode::FORBIDDEN, "forbidden", "nobody knows who asks");
    };
    match role(&view.policy.load(), &caller, &request) {
        Ok(role) => {
            request.extensions_mut().insert(role);
            next.run(request).await
        }
        Err(why) => {
            view.refusals.count(why, caller.via, request.uri().path());
            let (status, text) = why.answer();
            let mut response = refusal(status, why.name(), text);
            if status == StatusCode::UNAUTHORIZED {
                let bearer = HeaderValue::from_static("Bearer");
                response.headers_mut().insert(WWW_AUTHENTICATE, bearer);
            }
            response
        }
    }
}

/// What the caller may do with this request.
fn role(policy: &Policy, caller: &Caller, request: &Request) -> Result<Role, Why> {
    let headers = request.headers();
    let host = host(request)?;
    let named = |authority: &str| is_own_name(authority, &policy.hosts);
    if !named(host) || request.uri().authority().is_some_and(|it| !named(it.as_str())) {
        return Err(Why::ForeignHost);
    }
    if is_cross_site(request.method(), headers, host, &policy.hosts) {
        return Err(Why::CrossSite);
    }
    let reads = request.method().is_safe();
    let known = match headers.get(AUTHORIZATION) {
        Some(shown) => {
            let is = |token: &Option<Token>| token.as_ref().is_some_and(|it| it.is(shown));
            match (is(&policy.admin), is(&policy.read)) {
                (true, _) => Some(Role::Admin),
                (_, true) => Some(Role::Read),
                _ => return Err(Why::WrongToken),
            }
        }
        None => (!policy.require_token && caller.is_owner()).then_some(Role::Admin),
    };
    if known.is_some() {
        caller.seat.trust();
    }
    match known {
        Some(Role::Read) if !reads => Err(Why::ReadOnly),
        Some(role) => Ok(role),
        None if reads && (is_for_all(request.uri().path()) || policy.lets_read(caller)) => {
            Ok(Role::Read)
        }
        None if policy.admin.is_none() && !reads => Err(Why::NoneSet),
        None => Err(Why::NoToken),
    }
}

impl Policy {
    fn lets_read(&self, caller: &Caller) -> bool {
        caller.local && !self.require_token
    }
}

/// Whether it lives is for load balancers, which have no token; the pages of the dashboard have no
/// secrets, and ask for the token themselves.
fn is_for_all(path: &str) -> bool {
    path.starts_with("/health/") || dashboard::owns(path)
}

/// The one name asked for. HTTP/1.0 need not say it.
fn host(request: &Request) -> Result<&str, Why> {
    let mut hosts = request.headers().get_all(HOST).iter();
    match (hosts.next(), hosts.next()) {
        (Some(host), None) => host.to_str().map_err(|_| Why::ForeignHost),
        (None, None) if request.version() == Version::HTTP_10 => Ok("localhost"),
        _ => Err(Why::NoHost),
    }
}

/// Whether a host, with or without a port, cannot have been chosen by a foreign name server.
fn is_own_name(host: &str, hosts: &[String]) -> bool {
    if host.parse::<IpAddr>().is_ok() {
        return true;
    }
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    };
    if let Some(bare) = name.strip_prefix('[').and_then(|name| name.strip_suffix(']')) {
        return bare.parse::<IpAddr>().is_ok();
    }
    let name = name.strip_suffix('.').unwrap_or(name);
    name.eq_ignore_ascii_case("localhost")
        || name.parse::<IpAddr>().is_ok()
        || hosts.iter().any(|own| own.eq_ignore_ascii_case(name))
}

/// Browsers say where a request comes from (Fetch Metadata, RFC 6454). A link of another site may lead
/// here, as a page of its own.
fn is_cross_site(method: &Method, headers: &HeaderMap, host: &str, hosts: &[String]) -> bool {
    let says = |name: &str| headers.get(name).map(|value| value.as_bytes());
    let follows_link = matches!(*method, Method::GET | Method::HEAD)
        && says("sec-fetch-mode") == Some(b"navigate")
        && says("sec-fetch-dest") == Some(b"document");
    let foreign = |site: &[u8]| !matches!(site, b"same-origin" | b"none");
    if says("sec-fetch-site").is_some_and(foreign) && !follows_link {
        return true;
    }
    headers.get_all(ORIGIN).iter().any(|origin| {
        let authority = origin.to_str().ok().and_then(|origin| origin.split_once("://"));
        authority.is_none_or(|(_, authority)| {
            let named = !hosts.is_empty()
                && authority.parse::<SocketAddr>().is_err()
                && is_own_name(authority, hosts)
                && !is_own_name(authority, &[]);
            !authority.eq_ignore_ascii_case(host) && !named
        })
    })
}

#[cfg(test)]
mod tests;
