//! Where a definition's connections go: `target_url`, `target_list` or a list that is fetched.
//!
//! A target without a scheme: `target_url` is then plain TCP, and one of `target_list` has the
//! scheme of `target_url`, or the `protocol` of the definition. That is how Tyk reads them.

use serde_json::{Map, Value, json};

use super::Faults;
use super::definition::{Definition, Found, Home, ServiceDiscovery};
use crate::config;
use crate::diagnostics::{
    TYK_DISCOVERY, TYK_IDLE, TYK_SCHEME_READ, TYK_SCHEMES, TYK_TARGET, visible,
};

/// One target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Endpoint {
    pub(super) host: String,
    pub(super) port: u16,
    /// How often the list has it.
    pub(super) weight: u32,
}

/// Where connections go.
#[derive(Debug, Default)]
pub(super) struct Upstream {
    /// Those that the definition names.
    pub(super) endpoints: Vec<Endpoint>,
    /// TLS is spoken to them.
    pub(super) secure: bool,
    /// The list that is fetched, as native `discovery` without its template.
    pub(super) discovery: Option<Map<String, Value>>,
    /// The port of those in the list that have none.
    pub(super) default_port: Option<u16>,
}

/// A target as written.
struct Written {
    /// Whether its scheme says TLS; `None`: it has no scheme.
    secure: Option<bool>,
    host: String,
    port: u16,
}

/// Finds the targets. `None`: there are none that can be used, which was told.
pub(super) fn read(
    definition: &Definition<'_>,
    tls: bool,
    faults: &mut Faults<'_>,
) -> Option<Upstream> {
    let found = &mut *faults.found;
    let home = Home::Proxy;
    let url = definition.get("target_url", home, |it| it.target_url.as_ref(), found);
    let url = url.filter(|url| !url.value.trim().is_empty());
    let list = definition.get("target_list", home, |it| it.target_list.as_ref(), found);
    let list = list.filter(|list| !list.value.is_empty());
    let balance = definition.is_on(
        "enable_load_balancing",
        home,
        |it| it.enable_load_balancing.as_ref(),
        found,
    );
    let discovery =
        definition.get("service_discovery", home, |it| it.service_discovery.as_ref(), found);
    let discovery = discovery.filter(|it| it.value.use_discovery_service == Some(true));
    let first = match &url {
        Some(url) => Some(target(definition, &url.path, url.value, faults)?),
        None => None,
    };
    if let Some(discovery) = discovery {
        let by_url = first.as_ref().map(|first| first.secure.unwrap_or(false));
        return Some(Upstream {
            endpoints: Vec::new(),
            secure: by_url.unwrap_or(tls),
            discovery: Some(query(definition, &discovery.path, discovery.value, faults)?),
            default_port: first.as_ref().map(|first| first.port),
        });
    }
    if let Some(list) = list.as_ref().filter(|_| balance) {
        let by_url = first.and_then(|first| first.secure);
        return Some(balanced(definition, list, by_url, tls, faults));
    }
    if let Some(list) = &list {
        let message = "`target_list` has no effect: `enable_load_balancing` is not set";
        let code = if first.is_some() { &TYK_IDLE } else { &TYK_TARGET };
        let finding = definition.part.finding(code, &list.path, message);
        faults.tell(finding.hint("\"enable_load_balancing\": true"));
    }
    let (Some(url), Some(first)) = (url, first) else {
        if list.is_none() {
            let message = "the definition has no target";
            let finding = definition.part.finding(&TYK_TARGET, "proxy", message);
            faults.tell(finding.hint("\"proxy\": { \"target_url\": \"tcp://upstream:9191\" }"));
        }
        return None;
    };
    if tls && first.secure.is_none() {
        let message = "read as tcp://: a `target_url` without a scheme is plain TCP";
        scheme_read(definition, &url.path, message, faults);
    }
    let secure = first.secure.unwrap_or(false);
    let endpoint = Endpoint { host: first.host, port: first.port, weight: 1 };
    Some(Upstream { endpoints: vec![endpoint], secure, ..Upstream::default() })
}

/// Reads the targets of a list; `by_url` is what `target_url` says of TLS.
fn balanced(
    definition: &Definition<'_>,
    list: &Found<'_, Vec<String>>,
    by_url: Option<bool>,
    tls: bool,
    faults: &mut Faults<'_>,
) -> Upstream {
    let mut endpoints: Vec<Endpoint> = Vec::new();
    let mut scheme = by_url.map(|secure| (secure, "target_url".to_owned()));
    let mut bare = None;
    for (at, text) in list.value.iter().enumerate() {
        let path = format!("{}[{at}]", list.path);
        let Some(written) = target(definition, &path, text, faults) else { continue };
        match (written.secure, &scheme) {
            (None, _) => bare = bare.or(Some(path)),
            (Some(secure), None) => scheme = Some((secure, path)),
            (Some(secure), Some((other, whose))) if secure != *other => {
                let (ours, theirs) = (word(secure), word(*other));
                let message = format!("this is {ours}, but {whose} is {theirs}");
                faults.refuse(definition, &TYK_SCHEMES, &path, message);
            }
            (Some(_), Some(_)) => {}
        }
        let known = endpoints
            .iter_mut()
            .find(|it| it.port == written.port && it.host.eq_ignore_ascii_case(&written.host));
        match known {
            // The dashboard writes a weight as so many entries.
            Some(known) => known.weight += 1,
            None => {
                endpoints.push(Endpoint { host: written.host, port: written.port, weight: 1 });
            }
        }
    }
    let secure = scheme.map_or(tls, |(secure, _)| secure);
    if let Some(path) = bare.filter(|_| tls) {
        let message = format!("a target without a scheme is read as {}", word(secure));
        scheme_read(definition, &path, message, faults);
    }
    Upstream { endpoints, secure, ..Upstream::default() }
}

fn scheme_read(
    definition: &Definition<'_>,
    path: &str,
    message: impl Into<String>,
    faults: &mut Faults<'_>,
) {
    let finding = definition.part.finding(&TYK_SCHEME_READ, path, message);
    faults.tell(finding.hint("write tls:// to speak TLS to it, else tcp://"));
}

/// Reads a target. `None`: it cannot be one, which was told.
fn target(
    definition: &Definition<'_>,
    path: &str,
    text: &str,
    faults: &mut Faults<'_>,
) -> Option<Written> {
    let read = parse(text);
    if let Err(why) = &read {
        let message = format!("`{}` cannot be a target: {why}", visible(text));
        faults.refuse(definition, &TYK_TARGET, path, message);
    }
    read.ok()
}

fn word(secure: bool) -> &'static str {
    if secure { "tls://" } else { "tcp://" }
}

/// Reads a target.
fn parse(text: &str) -> Result<Written, String> {
    let text = text.trim();
    let (scheme, rest) = match text.split_once("://") {
        Some((scheme, rest)) => (Some(scheme.to_ascii_lowercase()), rest),
        None => (None, text),
    };
    let secure = match scheme.as_deref() {
        None => None,
        Some("tcp") => Some(false),
        Some("tls") => Some(true),
        Some(other) => {
            return Err(format!("its scheme `{}` is neither tcp nor tls", visible(other)));
        }
    };
    let (authority, path) = match rest.find(['/', '?', '#']) {
        Some(at) => rest.split_at(at),
        None => (rest, ""),
    };
    if !matches!(path, "" | "/") {
        return Err("it has a path, which means nothing to TCP".into());
    }
    let (host, port) = split(authority)?;
    let port = port.ok_or("it has no port")?;
    Ok(Written { secure, host, port })
}

/// Splits host and port.
pub(super) fn split(authority: &str) -> Result<(String, Option<u16>), String> {
    if authority.contains('@') {
        return Err("it has a user before its host".into());
    }
    let is_v6 = authority.ends_with(']') || authority.parse::<std::net::Ipv6Addr>().is_ok();
    let (host, port) = match authority.rsplit_once(':').filter(|_| !is_v6) {
        Some((host, port)) => match port.parse::<u16>() {
            Ok(port @ 1..) => (host, Some(port)),
            _ => return Err(format!("`{}` is no port", visible(port))),
        },
        None => (authority, None),
    };
    config::host(host).map_err(|why| format!("`{}` is no host: {why}", visible(host)))?;
    Ok((host.trim_matches(['[', ']']).to_owned(), port))
}

/// `service_discovery` as native `discovery`; see `control::discover::entries` for the table.
fn query(
    definition: &Definition<'_>,
    path: &str,
    written: &ServiceDiscovery,
    faults: &mut Faults<'_>,
) -> Option<Map<String, Value>> {
    let url = written.query_endpoint.as_deref().unwrap_or_default().trim();
    if let Err(why) = config::url(url) {
        let message = format!("`{}` cannot be asked: {why}", visible(url));
        faults.refuse(definition, &TYK_DISCOVERY, &format!("{path}.query_endpoint"), message);
        return None;
    }
    let given = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
    let on = |flag: Option<bool>| flag == Some(true);
    let mut query = Map::new();
    query.insert("url".into(), json!(url));
    let timeout = written.cache_timeout.filter(|seconds| *seconds > 0);
    if on(written.cache_disabled) {
        query.insert("interval".into(), json!("1s"));
    } else if let Some(seconds) = timeout.or(faults.default_cache) {
        query.insert("interval".into(), json!(format!("{seconds}s")));
    }
    if let Some(parent) = given(&written.parent_data_path) {
        if on(written.use_nested_query) {
            query.insert("nested".into(), json!(parent));
        } else if on(written.use_target_list) {
            query.insert("list".into(), json!(parent));
        }
    }
    if let Some(data) = given(&written.data_path) {
        query.insert("target".into(), json!(data));
    }
    if let Some(port) = given(&written.port_data_path) {
        query.insert("port".into(), json!(port));
    }
    if !on(written.use_target_list) {
        query.insert("firstOnly".into(), json!(true));
    }
    Some(query)
}
