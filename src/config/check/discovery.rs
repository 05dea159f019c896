//! Where targets come from that the file does not name: the resolver, SRV records, lists that are
//! fetched.

use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use hyper::Uri;
use hyper::header::{HeaderName, HeaderValue};

use super::service::Scope;
use super::target::{self, ip_literal};
use super::{Findings, file, not_empty};
use crate::config::checked::{self, Pem, UpstreamTls};
use crate::config::document::{self, Span};
use crate::config::found::{Header, JsonPath, Query, Source, Url};
use crate::config::limits::{DISCOVERY_INTERVAL_MIN, TTL_MIN_LEAST};
use crate::config::place::Place;
use crate::diagnostics::{
    BAD_DISCOVERY, BAD_DURATION, BAD_HEADER, BAD_NAME_SERVER, SECRET_HEADER, TLS_KEY_IDLE, visible,
};

/// Checks `resolver`.
pub(super) fn resolver(
    resolver: &document::Resolver,
    findings: &mut Findings<'_>,
) -> checked::Resolver {
    let outer = Place::Root.key("resolver");
    let list = outer.key("servers");
    let servers = resolver.servers.as_deref().map(|written| {
        not_empty(written, &list, findings);
        let read = |(at, text): (usize, &String)| server(text, &list.index(at), findings);
        written.iter().enumerate().filter_map(read).collect()
    });
    let mut at_least = |key, Span(span): Span, least| {
        too_short(span, least, &outer.key(key), findings);
        span
    };
    let least = Duration::from_millis(1);
    let min_ttl = at_least("minTtl", resolver.min_ttl, TTL_MIN_LEAST);
    let max_ttl = at_least("maxTtl", resolver.max_ttl, TTL_MIN_LEAST);
    let timeout = at_least("timeout", resolver.timeout, least);
    if max_ttl < min_ttl {
        let message = format!("`maxTtl` is shorter than `minTtl`, {}", resolver.min_ttl);
        findings.add(&BAD_DURATION, &outer.key("maxTtl"), message);
    }
    checked::Resolver { servers, min_ttl, max_ttl, timeout, grace: resolver.grace.0 }
}

fn too_short(span: Duration, least: Duration, place: &Place<'_>, findings: &mut Findings<'_>) {
    if span < least {
        let message = format!("{} is less than the least, {}", Span(span), Span(least));
        findings.add(&BAD_DURATION, place, message);
    }
}

/// Reads the address of a name server.
fn server(text: &str, place: &Place<'_>, findings: &mut Findings<'_>) -> Option<SocketAddr> {
    const DNS: u16 = 53;
    let bare = ip_literal(text).map(|ip: IpAddr| SocketAddr::new(ip, DNS));
    let read = bare.or_else(|| text.parse().ok());
    let read = read.filter(|addr| addr.port() != 0 && !addr.ip().is_multicast());
    if read.is_none() {
        let message = format!("`{}` is not the address of a name server", visible(text));
        let hint = "as \"10.0.0.53\", \"10.0.0.53:5353\" or \"[2001:db8::53]:53\": a name would need \
                    a name server to be found";
        findings.add_with(&BAD_NAME_SERVER, place, message, hint);
    }
    read
}

/// Checks `discovery` of a rule. `None` if an error was found that leaves nothing to compile.
pub(super) fn compile(
    discovery: &document::Discovery,
    place: &Place<'_>,
    scope: &mut Scope<'_, '_>,
) -> Option<checked::Discovery> {
    let template = discovery.template.as_deref().cloned().unwrap_or_default();
    let (template, secure) = target::template(&template, &place.key("template"), scope)?;
    let dir = scope.dir;
    let findings = &mut *scope.findings;
    let (Span(interval), Span(timeout)) = (discovery.interval, discovery.timeout);
    too_short(interval, DISCOVERY_INTERVAL_MIN, &place.key("interval"), findings);
    too_short(timeout, Duration::from_millis(1), &place.key("timeout"), findings);
    let mut path = |key, text: Option<&str>| {
        let text = text?;
        let path = JsonPath::parse(text);
        if path.is_none() {
            let message = format!("`{}` has nothing between two dots", visible(text));
            findings.add_with(&BAD_DISCOVERY, &place.key(key), message, "keys joined by dots");
        }
        path
    };
    let query = Query {
        list: path("list", Some(&discovery.list)).unwrap_or_default(),
        nested: path("nested", discovery.nested.as_deref()),
        target: path("target", Some(&discovery.target)).unwrap_or_default(),
        port: path("port", discovery.port.as_deref()),
        weight: path("weight", discovery.weight.as_deref()),
        first_only: discovery.first_only,
        headers: headers(discovery, dir, place, findings),
        tls: None,
        url: url(discovery, place, findings)?,
    };
    let tls = endpoint_tls(discovery, &query.url, dir, place, findings);
    let source = Source::Http(Arc::new(Query { tls, ..query }));
    Some(checked::Discovery { source, interval, timeout, template, secure })
}

/// How TLS is spoken to the endpoint.
fn endpoint_tls(
    discovery: &document::Discovery,
    url: &Url,
    dir: &Path,
    place: &Place<'_>,
    findings: &mut Findings<'_>,
) -> Option<UpstreamTls> {
    let place = place.key("caFile");
    let ca_file = discovery.ca_file.as_deref().map(|path| file(path, dir, &place, findings));
    if !url.secure {
        if ca_file.is_some() {
            let message = "`caFile` has no effect: the `url` is not https";
            let hint = "write https in the URL, or remove the key";
            findings.add_with(&TLS_KEY_IDLE, &place, message, hint);
        }
        return None;
    }
    Some(UpstreamTls {
        ca: ca_file.map(Pem::File),
        ..UpstreamTls::to(url.host.trim_end_matches('.').to_ascii_lowercase())
    })
}

/// Reads `url`.
fn url(
    discovery: &document::Discovery,
    place: &Place<'_>,
    findings: &mut Findings<'_>,
) -> Option<Url> {
    let Some(text) = discovery.url.as_deref() else {
        findings.missing(place, "url", "\"url\": \"http://127.0.0.1:8500/v1/catalog/service/db\"");
        return None;
    };
    match read_url(text) {
        Ok(url) => Some(url),
        Err(fault) => {
            let message = format!("`{}` is not usable: {fault}", visible(text));
            let hint = "as \"https://registry.internal:8500/v1/catalog/service/db\"";
            findings.add_with(&BAD_DISCOVERY, &place.key("url"), message, hint);
            None
        }
    }
}

/// Reads an `http` or `https` URL.
///
/// # Errors
/// What is wrong with it, in words.
pub(in crate::config) fn read_url(text: &str) -> Result<Url, &'static str> {
    let uri: Uri = text.parse().map_err(|_| "it is not a URL")?;
    let (secure, default) = match uri.scheme_str() {
        Some("http") => (false, 80),
        Some("https") => (true, 443),
        Some(_) => return Err("its scheme is neither http nor https"),
        None => return Err("it does not begin with http:// or https://"),
    };
    let authority = uri.authority().ok_or("it has no host")?;
    if authority.as_str().contains('@') {
        return Err("a password in a URL would be in every event: use `headerFiles`");
    }
    let host = authority.host();
    target::host(host)?;
    let port = match authority.port() {
        Some(_) => authority.port_u16().filter(|port| *port != 0).ok_or("its port is none")?,
        None => default,
    };
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    Ok(Url {
        text: text.into(),
        secure,
        host: host.trim_matches(['[', ']']).into(),
        port,
        authority: authority.as_str().into(),
        path: if path.is_empty() { "/".into() } else { path.into() },
    })
}

/// Reads the headers of the request.
fn headers(
    discovery: &document::Discovery,
    dir: &Path,
    place: &Place<'_>,
    findings: &mut Findings<'_>,
) -> Vec<(Arc<str>, Header)> {
    /// What the client sets itself.
    const OURS: [&str; 6] =
        ["host", "connection", "content-length", "transfer-encoding", "accept-encoding", "te"];
    const SECRETS: [&str; 5] = ["authorization", "token", "cookie", "secret", "key"];
    let mut headers = Vec::new();
    let (plain, files) = (place.key("headers"), place.key("headerFiles"));
    let name = |name: &str, place: &Place<'_>, findings: &mut Findings<'_>| {
        let lower = name.to_ascii_lowercase();
        let fault = match HeaderName::from_bytes(name.as_bytes()) {
            Err(_) => Some("is not the name of a header"),
            Ok(_) if OURS.contains(&lower.as_str()) => Some("is set by the proxy itself"),
            Ok(_) => None,
        };
        if let Some(fault) = fault {
            findings.add(&BAD_HEADER, place, format!("`{}` {fault}", visible(name)));
        }
        fault.is_none().then_some(lower)
    };
    for (key, value) in &discovery.headers {
        let place = plain.key(key);
        let Some(key) = name(key, &place, findings) else { continue };
        if HeaderValue::from_str(value).is_err() {
            findings.add(&BAD_HEADER, &place, "the value has characters that a header cannot have");
        }
        if SECRETS.iter().any(|secret| key.contains(secret)) {
            let message = format!("the value of `{key}` would be in every event of the service");
            let hint = "write it into a file and name that in `headerFiles`";
            findings.add_with(&SECRET_HEADER, &place, message, hint);
        }
        headers.push((Arc::from(key), Header::Value(value.as_str().into())));
    }
    for (key, path) in &discovery.header_files {
        let place = files.key(key);
        let Some(key) = name(key, &place, findings) else { continue };
        if headers.iter().any(|(known, _)| **known == *key) {
            findings.add(&BAD_HEADER, &place, format!("`{key}` is in `headers` too"));
        }
        headers.push((Arc::from(key), Header::File(file(path, dir, &place, findings))));
    }
    headers
}
