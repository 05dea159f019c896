//! Listeners: those of `proxy.tcp` in Sōzune's configuration, and those of the main file. Each is one
//! native service, bound whether or not anything attaches to it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::config::{self, document, networks};
use crate::diagnostics::{
    ALLOW_LIST_EMPTY, BAD_LISTENER, BAD_NETWORK_ENTRY, Diagnostic, LISTENER_TWICE,
    LISTENER_UNUSABLE, NOT_TCP, visible,
};
use crate::providers::foreign::Part;

/// Whose listener it is, which its service's id begins with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Whose {
    /// Of `proxy.tcp`.
    Sozune,
    /// Of the main file.
    Main,
}

/// One listener.
#[derive(Debug, Clone)]
pub struct Listener {
    /// What labels call it.
    pub name: String,
    /// Who declares it.
    pub whose: Whose,
    /// The file, or what else people find it by.
    pub place: Arc<str>,
    /// Where in there.
    pub path: String,
    /// The line where it begins.
    pub line: Option<u32>,
    /// The port.
    pub port: u16,
    /// The address that it listens on.
    pub interface: String,
    /// The further members of its service: `access` and `limits`.
    further: Map<String, Value>,
}

/// All listeners, by name.
#[derive(Debug, Default)]
pub struct Listeners {
    /// Those that can be.
    pub by_name: BTreeMap<String, Listener>,
    /// The names of those that are declared and cannot be: no route is told that it is not.
    refused: BTreeSet<String>,
}

/// Sōzune's configuration, as far as it matters.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Configuration {
    proxy: Proxy,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Proxy {
    tcp: Vec<Tcp>,
}

/// Keys that are not known are faults: a misspelt list of who may connect would let everybody in.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Tcp {
    name: Option<String>,
    listen: Option<u16>,
    ip_allow_list: Vec<String>,
    rate_limit: Option<RateLimit>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct RateLimit {
    max_conns: Option<u32>,
    per_seconds: Option<u32>,
    exempt: Vec<String>,
}

impl Listeners {
    /// Whether a name is declared, and what is to be said if it is not.
    pub fn is_refused(&self, name: &str) -> bool {
        self.refused.contains(name)
    }

    /// The port of some listener.
    pub fn listens_on(&self, port: u16) -> bool {
        self.by_name.values().any(|listener| listener.port == port)
    }

    /// Reads `proxy.tcp` of one configuration.
    pub fn read_sozune(&mut self, part: &mut Part, found: &mut Vec<Diagnostic>) {
        say_what_is_passed_over(part, found);
        let from = found.len();
        let decoded = part.decode::<Configuration>(found);
        let faults: Vec<String> = found.iter().skip(from).map(|it| it.path.clone()).collect();
        for (at, tcp) in decoded.value.proxy.tcp.into_iter().enumerate() {
            let path = format!("proxy.tcp[{at}]");
            let whole = part.finding(&LISTENER_UNUSABLE, &path, "").path;
            if faults.iter().any(|fault| is_within(fault, &whole)) {
                self.refused.extend(tcp.name);
                continue;
            }
            self.add_sozune(tcp, part, path, found);
        }
    }

    fn add_sozune(&mut self, tcp: Tcp, part: &Part, path: String, found: &mut Vec<Diagnostic>) {
        let name = tcp.name.map(|name| name.trim().to_owned()).filter(|name| !name.is_empty());
        let Some(name) = name else {
            let finding = part.finding(&LISTENER_UNUSABLE, &path, "the listener has no `name`");
            found.push(finding.hint("labels call it by its name: name: postgres"));
            return;
        };
        if self.is_taken(&name) {
            let message = format!("duplicate TCP listener name `{}` in proxy.tcp", visible(&name));
            let at = format!("{path}.name");
            found.push(part.finding(&LISTENER_TWICE, &at, message).hint("give it another name"));
            return;
        }
        let Some(port) = tcp.listen.filter(|port| *port > 0) else {
            let message = format!("the listener `{}` has no port: `listen`", visible(&name));
            found.push(part.finding(&LISTENER_UNUSABLE, &path, message).hint("listen: 5432"));
            self.refused.insert(name);
            return;
        };
        let further = access(&tcp.ip_allow_list, part, &path, found)
            .and_then(|access| Some((access, limits(tcp.rate_limit, part, &path, found)?)));
        let Some((access, limits)) = further else {
            self.refused.insert(name);
            return;
        };
        let mut further = Map::new();
        further.extend(access.map(|access| ("access".to_owned(), access)));
        further.extend(limits.map(|limits| ("limits".to_owned(), limits)));
        let listener = Listener {
            name: name.clone(),
            whose: Whose::Sozune,
            place: Arc::clone(&part.place),
            line: part.line_of(&path),
            path: part.finding(&LISTENER_UNUSABLE, &path, "").path,
            port,
            interface: "0.0.0.0".into(),
            further,
        };
        self.by_name.insert(name, listener);
    }

    /// Reads the `listeners` of the main file, whose names and ports are checked with the rest of it.
    /// What is wrong with one refuses the whole.
    pub fn read_main(
        &mut self,
        listeners: &[document::Listener],
        dir: &Path,
        found: &mut Vec<Diagnostic>,
    ) {
        let mut seen = BTreeSet::new();
        for (at, declared) in listeners.iter().enumerate() {
            let path = format!("listeners[{at}]");
            let name = declared.name.as_deref().map(str::trim).filter(|name| !name.is_empty());
            let (Some(name), Some(port)) = (name, declared.port.filter(|port| *port > 0)) else {
                continue;
            };
            if !seen.insert(name) {
                continue;
            }
            if self.is_taken(name) {
                let message =
                    format!("the name `{}` is also that of a listener in proxy.tcp", visible(name));
                let finding = Diagnostic::new(&BAD_LISTENER, format!("{path}.name"), message);
                found.push(finding.hint("labels would not tell them apart; give it another name"));
                continue;
            }
            let listener = Listener {
                name: name.to_owned(),
                whose: Whose::Main,
                place: path.as_str().into(),
                path: String::new(),
                line: None,
                port,
                interface: declared.interface.clone(),
                further: members(declared),
            };
            let faults = faults(&listener, &path, dir);
            if faults.is_empty() {
                self.by_name.insert(name.to_owned(), listener);
            } else {
                found.extend(faults);
                self.refused.insert(name.to_owned());
            }
        }
    }

    fn is_taken(&self, name: &str) -> bool {
        self.by_name.contains_key(name) || self.refused.contains(name)
    }
}

impl Listener {
    /// The id of its service.
    pub fn id(&self) -> String {
        let word = match self.whose {
            Whose::Sozune => "sozune",
            Whose::Main => "docker",
        };
        format!("{word}/{}", self.name)
    }

    /// Its service, as JSON, with the further members that `rest` has.
    pub fn service(&self, rest: Map<String, Value>) -> Value {
        let mut service = Map::new();
        service.insert("id".into(), self.id().into());
        service.insert("name".into(), self.name.clone().into());
        service.insert("port".into(), self.port.into());
        service.insert("interface".into(), self.interface.clone().into());
        service.extend(self.further.clone());
        service.extend(rest);
        Value::Object(service)
    }
}

/// Whether a path is another one, or in it.
fn is_within(path: &str, outer: &str) -> bool {
    path.strip_prefix(outer).is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
}

/// What a main file's listener says besides name and address.
fn members(declared: &document::Listener) -> Map<String, Value> {
    let mut further = Map::new();
    if let Some(access) = declared.access.as_ref().and_then(|it| serde_json::to_value(it).ok()) {
        further.insert("access".into(), access);
    }
    if let Ok(limits) = serde_json::to_value(&declared.limits) {
        further.insert("limits".into(), limits);
    }
    further
}

/// What is wrong with a main file's listener, at its own path: it is read as a service of its own.
fn faults(listener: &Listener, path: &str, dir: &Path) -> Vec<Diagnostic> {
    let alone = json!({ "services": [listener.service(Map::new())] });
    let loaded = config::load_text(&alone.to_string(), dir);
    let errors = loaded.diagnostics.into_iter().filter(Diagnostic::is_error);
    let placed = errors.filter_map(|mut finding| {
        let rest = finding.path.strip_prefix("services[0]")?;
        if ![".access", ".limits"].iter().any(|member| rest.starts_with(member)) {
            return None;
        }
        finding.path = format!("{path}{rest}");
        finding.line = None;
        Some(finding)
    });
    placed.collect()
}

/// Who may connect. `Some(None)`: everybody; `None`: nobody knows, and it was told.
fn access(
    allowed: &[String],
    part: &Part,
    path: &str,
    found: &mut Vec<Diagnostic>,
) -> Option<Option<Value>> {
    if allowed.is_empty() {
        return Some(None);
    }
    let path = format!("{path}.ip_allow_list");
    let from = found.len();
    let valid = networks_of(allowed, part, &path, found);
    if valid.is_empty() {
        found.truncate(from);
        let message = "no entry of the list is an address or a network, so nobody could be let in";
        let finding = part.finding(&ALLOW_LIST_EMPTY, &path, message);
        found.push(finding.hint("the listener is not opened; mend the list, or remove it"));
        return None;
    }
    Some(Some(json!({ "allow": valid })))
}

/// How often a source may connect. `None`: it cannot be said, and it was told.
fn limits(
    limit: Option<RateLimit>,
    part: &Part,
    path: &str,
    found: &mut Vec<Diagnostic>,
) -> Option<Option<Value>> {
    let Some(limit) = limit else { return Some(None) };
    let path = format!("{path}.rate_limit");
    let Some(count) = limit.max_conns.filter(|count| *count > 0) else {
        let at = format!("{path}.max_conns");
        let message = "`max_conns` says how many connections a source may open: 1 or more";
        found.push(part.finding(&LISTENER_UNUSABLE, &at, message).hint("max_conns: 10"));
        return None;
    };
    let Some(seconds) = limit.per_seconds else {
        let message = "`per_seconds` is missing: the time in which a source may open `max_conns`";
        found.push(part.finding(&LISTENER_UNUSABLE, &path, message).hint("per_seconds: 3"));
        return None;
    };
    let exempt = networks_of(&limit.exempt, part, &format!("{path}.exempt"), found);
    let mut rate = json!({ "count": count, "per": format!("{}s", seconds.max(1)), "burst": count });
    if !exempt.is_empty()
        && let Some(rate) = rate.as_object_mut()
    {
        rate.insert("exempt".into(), exempt.into());
    }
    Some(Some(json!({ "connectionRate": rate })))
}

/// The networks of a list, in native form; entries that are none are told and left out.
fn networks_of(
    entries: &[String],
    part: &Part,
    path: &str,
    found: &mut Vec<Diagnostic>,
) -> Vec<String> {
    let mut valid = Vec::new();
    for (at, entry) in entries.iter().enumerate() {
        match networks::parse_loosely(entry) {
            Some(network) => valid.push(network.to_string()),
            None => {
                let message = format!("`{}` is neither an address nor a network", visible(entry));
                let finding = part.finding(&BAD_NETWORK_ENTRY, &format!("{path}[{at}]"), message);
                found.push(finding.hint("as 94.23.3.96 or 172.16.0.0/12; the others hold"));
            }
        }
    }
    valid
}

/// Says once what of a configuration means nothing here.
fn say_what_is_passed_over(part: &Part, found: &mut Vec<Diagnostic>) {
    let others = part.keys_at(&[]).filter(|key| *key != "proxy").map(str::to_owned);
    let of_proxy = part.keys_at(&["proxy"]).filter(|key| *key != "tcp");
    let skipped: Vec<String> = of_proxy.map(|key| format!("proxy.{key}")).chain(others).collect();
    if skipped.is_empty() {
        return;
    }
    let keys: Vec<String> = skipped.iter().map(|key| format!("`{}`", visible(key))).collect();
    let message = format!(
        "{} passed over: HTTP entrypoints and the like are not TCP",
        match keys.as_slice() {
            [one] => format!("{one} is"),
            many => format!("{} are", many.join(", ")),
        }
    );
    let mut finding = part.finding(&NOT_TCP, "", message);
    if skipped.iter().any(|key| key == "providers") {
        finding = finding.hint("containers are watched by `providers.docker` of the main file");
    }
    found.push(finding);
}
