//! One API definition to one native service. What it shares with others of its port (the name that
//! clients ask for) is settled in [`super::ports`].

use serde_json::{Map, Value, json};

use super::certificates::{Certificates, Clients};
use super::checks::{self, Checks};
use super::definition::{Definition, Home, KEYS, Members};
use super::speech::Speech;
use super::upstream::{self, Upstream};
use super::{Faults, Scope};
use crate::config::pattern::{Kind, Pattern};
use crate::diagnostics::{
    Diagnostic, NO_LISTEN_PORT, TYK_CERTIFICATE, TYK_DOMAIN, TYK_IDLE, TYK_MISSPELT,
    TYK_MUTUAL_TLS, TYK_NO_CERTIFICATE, TYK_NOT_TCP, TYK_PROTOCOL, TYK_TRUSTED, did_you_mean,
    visible,
};
use crate::providers::foreign::Part;

/// One definition, read.
#[derive(Debug)]
pub(super) struct Api {
    pub(super) part: Part,
    /// What its id is made of, and whether it is an `api_id`.
    pub(super) id: (String, bool),
    pub(super) port: u16,
    /// TLS ends here.
    pub(super) tls: bool,
    /// In lower case; empty: none.
    pub(super) domain: String,
    pub(super) enabled: bool,
    /// Takes PROXY headers.
    pub(super) headers: bool,
    /// Whom it admits.
    pub(super) clients: Option<Clients>,
    /// The native service, without its id, `sni` and the `domain` of its rule.
    pub(super) service: Map<String, Value>,
    pub(super) rule: Map<String, Value>,
}

/// Reads a definition. `None`: it is not of TCP, or cannot be served, which was told.
pub(super) fn read(
    mut part: Part,
    scope: &mut Scope<'_>,
    found: &mut Vec<Diagnostic>,
) -> Option<Api> {
    let decoded = part.decode::<Members>(found);
    let members = decoded.value;
    let sound = decoded.broken.is_empty();
    let default_cache = scope.gateway.settings.service_discovery.as_ref();
    let default_cache = default_cache.and_then(|it| it.default_cache_timeout).filter(|it| *it > 0);
    let mut faults = Faults { found, refused: !sound, default_cache };
    let definition = Definition { part: &part, members: &members };
    if !decoded.broken.contains("protocol") && !is_of_tcp(&definition, &mut faults) {
        return None;
    }
    misspelt(&part, &mut faults);
    let draft = draft(&definition, scope, &mut faults);
    let refused = faults.refused;
    let Draft { id, port, tls, domain, enabled, headers, clients, service, rule } =
        draft.filter(|_| !refused)?;
    Some(Api { part, id, port, tls, domain, enabled, headers, clients, service, rule })
}

/// An [`Api`] without its part.
struct Draft {
    id: (String, bool),
    port: u16,
    tls: bool,
    domain: String,
    enabled: bool,
    headers: bool,
    clients: Option<Clients>,
    service: Map<String, Value>,
    rule: Map<String, Value>,
}

/// Whether it is served here; else it was told.
fn is_of_tcp(definition: &Definition<'_>, faults: &mut Faults<'_>) -> bool {
    let protocol = definition.get("protocol", Home::Top, |it| it.protocol.as_ref(), faults.found);
    let (path, protocol) = protocol.map_or((String::new(), ""), |it| (it.path, it.value.as_str()));
    match protocol {
        "tcp" | "tls" => true,
        "" | "http" | "https" | "h2c" => {
            let what = if protocol.is_empty() { "no `protocol`, which is HTTP" } else { protocol };
            let message = format!("the definition is of {what}, and passed over");
            faults.tell(definition.part.finding(&TYK_NOT_TCP, &path, message));
            false
        }
        other => {
            let message = format!("`{}` is no protocol that can be served", visible(other));
            let finding = definition.part.finding(&TYK_PROTOCOL, &path, message);
            let meant = did_you_mean(other, ["tcp", "tls", "http", "https", "h2c"]);
            faults.tell(match meant {
                Some(meant) => finding.hint(format!("did you mean `{meant}`?")),
                None => finding.hint("\"tcp\" or \"tls\""),
            });
            false
        }
    }
}

/// Warns of keys that look like one that is read.
fn misspelt(part: &Part, faults: &mut Faults<'_>) {
    let suspects = |outer: &[&str], prefix: &str, faults: &mut Faults<'_>| {
        for key in part.keys_at(outer).filter(|key| !KEYS.contains(key)) {
            let near = |known: &&str| strsim::damerau_levenshtein(key, known) <= 2;
            let long = KEYS.into_iter().filter(|known| known.len() > 5).find(near);
            if let Some(meant) = long.filter(|_| key.len() > 5) {
                let path = format!("{prefix}{key}");
                let message = format!("`{}` is passed over", visible(key));
                let finding = part.finding(&TYK_MISSPELT, &path, message);
                faults.tell(finding.hint(format!("did you mean `{meant}`?")));
            }
        }
    };
    suspects(&[], "", faults);
    suspects(&["proxy"], "proxy.", faults);
}

fn draft(
    definition: &Definition<'_>,
    scope: &mut Scope<'_>,
    faults: &mut Faults<'_>,
) -> Option<Draft> {
    let text = |key, of: fn(&Members) -> Option<&String>, faults: &mut Faults<'_>| {
        let found = definition.get(key, Home::Top, of, faults.found);
        found.map(|it| it.value.trim().to_owned()).filter(|text| !text.is_empty())
    };
    let tls = text("protocol", |it| it.protocol.as_ref(), faults).as_deref() == Some("tls");
    let port = port(definition, faults);
    let domain = domain(definition, tls, faults);
    let headers = definition.is_on(
        "enable_proxy_protocol",
        Home::Top,
        |it| it.enable_proxy_protocol.as_ref(),
        faults.found,
    );
    let name = text("name", |it| it.name.as_ref(), faults);
    let mut service = Map::new();
    if let Some(name) = &name {
        service.insert("name".into(), json!(name));
    }
    let enabled = definition.get("active", Home::Top, |it| it.active.as_ref(), faults.found);
    let enabled = enabled.is_none_or(|it| *it.value);
    if !enabled {
        service.insert("enabled".into(), json!(false));
    }
    service.insert("port".into(), json!(port));
    if let Some(address) = scope.gateway.settings.listen_address.as_deref()
        && !address.is_empty()
    {
        service.insert("interface".into(), json!(address));
    }
    service.insert("tls".into(), json!(if tls { "Enabled" } else { "Disabled" }));
    if tls {
        server_certificates(definition, scope.certificates, &mut service, faults);
        scope.gateway.client_side.write(&mut service);
    }
    let clients = clients(definition, scope, tls, &mut service, faults);
    if headers {
        let trusted = scope.trusted;
        let proxy = json!({ "accept": "Require", "trusted": trusted });
        service.insert("proxyProtocol".into(), proxy);
        let message = format!("PROXY headers are taken from {}", trusted.join(" "));
        let finding = definition.part.finding(&TYK_TRUSTED, "enable_proxy_protocol", message);
        faults
            .tell(finding.hint("`providers.tyk.trustedProxies` says who the proxies in front are"));
    }
    let rule = rule(definition, tls, scope, &mut service, faults)?;
    let file_stem = || {
        let stem = std::path::Path::new(&*definition.part.place).file_stem();
        stem.map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default()
    };
    let id = match text("api_id", |it| it.api_id.as_ref(), faults) {
        Some(id) => (id, true),
        None => {
            let named = text("slug", |it| it.slug.as_ref(), faults).or(name);
            (slug(&named.unwrap_or_else(file_stem)), false)
        }
    };
    Some(Draft { id, port: port?, tls, domain: domain?, enabled, headers, clients, service, rule })
}

fn port(definition: &Definition<'_>, faults: &mut Faults<'_>) -> Option<u16> {
    let port = definition.get("listen_port", Home::Top, |it| it.listen_port.as_ref(), faults.found);
    let (path, port) = port.map_or((String::new(), 0), |it| (it.path, *it.value));
    let sound = u16::try_from(port).ok().filter(|port| *port != 0);
    // One of the wrong type was told.
    if sound.is_none() && !faults.refused {
        let message = match port {
            0 => "the definition has no `listen_port`".to_owned(),
            port => format!("{port} is no port"),
        };
        faults.refuse(definition, &NO_LISTEN_PORT, &path, message);
    }
    sound
}

/// The name that clients ask for, in lower case; empty: none. `None`: it is none, which was told.
fn domain(definition: &Definition<'_>, tls: bool, faults: &mut Faults<'_>) -> Option<String> {
    let disabled = definition.is_on(
        "domain_disabled",
        Home::Top,
        |it| it.domain_disabled.as_ref(),
        faults.found,
    );
    let domain = definition.get("domain", Home::Top, |it| it.domain.as_ref(), faults.found);
    let Some(domain) = domain.filter(|it| !disabled && tls && !it.value.trim().is_empty()) else {
        return Some(String::new());
    };
    let text = domain.value.trim().trim_end_matches('.').to_ascii_lowercase();
    let read = Pattern::of_names(&text);
    let kind = read.as_ref().map(Pattern::kind);
    let is_name = !text.split('.').any(str::is_empty);
    match kind {
        Ok(Kind::Any) => return Some(String::new()),
        Ok(Kind::Exact | Kind::Glob) if is_name => return Some(text),
        _ => {}
    }
    let message = format!("`{}` is no host name", visible(domain.value));
    faults.refuse(definition, &TYK_DOMAIN, &domain.path, message);
    None
}

/// The certificates that clients are shown.
fn server_certificates(
    definition: &Definition<'_>,
    store: &mut Certificates,
    service: &mut Map<String, Value>,
    faults: &mut Faults<'_>,
) {
    let mut names: Vec<String> = Vec::new();
    let mut empty = None;
    // The documentation has one key, the schema the other.
    let singular =
        definition.get("certificate", Home::Top, |it| it.certificate.as_ref(), faults.found);
    let plural =
        definition.get("certificates", Home::Top, |it| it.certificates.as_ref(), faults.found);
    for written in [singular, plural].into_iter().flatten() {
        for (at, name) in written.value.0.iter().enumerate() {
            let name = name.trim();
            if name.is_empty() {
                empty = Some(written.path.clone());
                continue;
            }
            match store.server(name, &definition.part.dir) {
                Ok(name) if names.contains(&name) => {}
                Ok(name) => names.push(name),
                Err(why) => {
                    let path = format!("{}[{at}]", written.path);
                    faults.refuse(definition, &TYK_CERTIFICATE, &path, why);
                }
            }
        }
    }
    if !names.is_empty() {
        service.insert("certificates".into(), json!(names));
    } else if !faults.refused {
        let message = match empty {
            Some(_) => {
                "the name of the certificate is empty: clients are shown those of the main file"
            }
            None => "no certificate is named: clients are shown those of the main file",
        };
        let path = empty.unwrap_or_default();
        faults.tell(definition.part.finding(&TYK_NO_CERTIFICATE, &path, message));
    }
}

/// Whose certificates clients must show.
fn clients(
    definition: &Definition<'_>,
    scope: &Scope<'_>,
    tls: bool,
    service: &mut Map<String, Value>,
    faults: &mut Faults<'_>,
) -> Option<Clients> {
    let asked = definition.get(
        "use_mutual_tls_auth",
        Home::Top,
        |it| it.use_mutual_tls_auth.as_ref(),
        faults.found,
    );
    let own = definition.get(
        "client_certificates",
        Home::Top,
        |it| it.client_certificates.as_ref(),
        faults.found,
    );
    let own = own.filter(|own| own.value.0.iter().any(|name| !name.trim().is_empty()));
    let Some(asked) = asked.filter(|it| *it.value) else {
        if let Some(own) = own {
            let message = "`client_certificates` have no effect: `use_mutual_tls_auth` is not set";
            faults.tell(definition.part.finding(&TYK_IDLE, &own.path, message));
        }
        return None;
    };
    if !tls {
        let message = "client certificates can only be asked for where `protocol` is tls";
        faults.refuse(definition, &TYK_MUTUAL_TLS, &asked.path, message);
        return None;
    }
    let mut clients = Clients::default();
    for own in own.iter() {
        for (at, name) in own.value.0.iter().map(|name| name.trim()).enumerate() {
            if name.is_empty() {
                continue;
            }
            if let Err(why) = scope.certificates.client(name, &definition.part.dir, &mut clients) {
                let path = format!("{}[{at}]", own.path);
                faults.refuse(definition, &TYK_CERTIFICATE, &path, why);
            }
        }
    }
    let security = scope.gateway.security();
    for name in security.certificates.unwrap_or_default().apis.unwrap_or_default().0 {
        if let Err(why) = scope.certificates.client(name.trim(), &scope.gateway.dir, &mut clients) {
            let message = format!("the gateway's `security.certificates.apis`: {why}");
            faults.refuse(definition, &TYK_CERTIFICATE, &asked.path, message);
        }
    }
    service.insert("clientAuth".into(), json!("Need"));
    if !clients.authorities.is_empty() {
        service.insert("clientCaFiles".into(), json!(clients.authorities));
    }
    if !clients.leaves.is_empty() {
        service.insert("clientCertFiles".into(), json!(clients.leaves));
    }
    Some(clients)
}

/// The rule: where connections go.
fn rule(
    definition: &Definition<'_>,
    tls: bool,
    scope: &Scope<'_>,
    service: &mut Map<String, Value>,
    faults: &mut Faults<'_>,
) -> Option<Map<String, Value>> {
    let Some(upstream) = upstream::read(definition, tls, faults) else {
        faults.refused = true;
        return None;
    };
    let speech = Speech::read(definition, &upstream, scope.certificates, scope.gateway, faults);
    let Checks { common, mut other } = checks::read(definition, &upstream, scope.gateway, faults);
    let Upstream { endpoints, discovery, default_port, .. } = &upstream;
    let mut rule = Map::new();
    if let Some(discovery) = discovery {
        let mut template = Map::new();
        template.insert("port".into(), json!(default_port.unwrap_or(scope_port(service))));
        if let Some(speech) = &speech {
            speech.write(None, &mut template, faults);
        }
        let mut discovery = discovery.clone();
        discovery.insert("template".into(), Value::Object(template));
        rule.insert("discovery".into(), Value::Object(discovery));
    } else {
        other.resize(endpoints.len(), None);
        let mut targets = Vec::new();
        for (endpoint, check) in endpoints.iter().zip(other) {
            let mut target = Map::new();
            target.insert("host".into(), json!(endpoint.host));
            target.insert("port".into(), json!(endpoint.port));
            if endpoint.weight > 1 {
                target.insert("weight".into(), json!(endpoint.weight));
                rule.insert("loadBalancing".into(), json!("WeightedRoundRobin"));
            }
            if let Some(speech) = &speech {
                let at = Some((endpoint.host.as_str(), endpoint.port));
                speech.write(at, &mut target, faults);
            }
            if let Some(check) = check {
                target.insert("healthCheck".into(), check);
            }
            targets.push(Value::Object(target));
        }
        rule.insert("targets".into(), Value::Array(targets));
    }
    if let Some(check) = common {
        service.insert("healthCheck".into(), check);
    }
    Some(rule)
}

/// The port that the service listens on.
fn scope_port(service: &Map<String, Value>) -> u16 {
    let port = service.get("port").and_then(Value::as_u64);
    port.and_then(|port| u16::try_from(port).ok()).unwrap_or(0)
}

/// A name as an id: letters, digits, `-`, `_` and `.`.
fn slug(name: &str) -> String {
    let mut slug = String::with_capacity(name.len());
    for c in name.to_lowercase().chars() {
        if c.is_alphanumeric() || matches!(c, '_' | '.') {
            slug.push(c);
        } else if !slug.ends_with('-') && !slug.is_empty() {
            slug.push('-');
        }
    }
    let trimmed = slug.trim_end_matches('-');
    if trimmed.is_empty() { "api".to_owned() } else { trimmed.to_owned() }
}
