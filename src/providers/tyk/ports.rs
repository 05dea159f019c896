//! What definitions that share a port take from each other, and which name each is for.
//!
//! | of a port | here |
//! | --- | --- |
//! | one of `tcp` | it takes all connections |
//! | one of `tls` without a domain | it takes all connections, whatever name they ask for |
//! | one of `tls` with a domain | it takes that name, and connections without one |
//! | several of `tls` | each takes its domain; one without takes the other names; without a name nobody can be told apart, and the connection is refused |
//!
//! Names win over names with `*`, of which the longer wins, and these over none, whatever the order
//! of the files.

use std::collections::{BTreeMap, HashMap, HashSet};

use serde_json::{Map, Value, json};

use super::api::Api;
use crate::diagnostics::{Diagnostic, TYK_PORT, TYK_SAME_ID};

/// A definition that is served, with its id.
#[derive(Debug)]
pub(super) struct Served {
    pub(super) api: Api,
    pub(super) document: Map<String, Value>,
}

/// Leaves out those that cannot be beside the others, and says of the rest which names they are for.
pub(super) fn share(apis: Vec<Api>, found: &mut Vec<Diagnostic>) -> Vec<Served> {
    let apis = with_ids(apis, found);
    let mut ports: BTreeMap<u16, Vec<(String, Api)>> = BTreeMap::new();
    let mut served = Vec::new();
    for (id, api) in apis {
        if !api.enabled {
            let document = document(&id, &api, Takes::All);
            served.push(Served { api, document });
            continue;
        }
        let port = ports.entry(api.port).or_default();
        match conflict(port, &api) {
            Some(message) => found.push(api.part.finding(&TYK_PORT, "listen_port", message)),
            None => port.push((id, api)),
        }
    }
    for mut port in ports.into_values() {
        let alone = port.len() == 1;
        // The first rule that takes a name wins.
        port.sort_by_key(|(_, api)| rank(&api.domain));
        for (id, api) in port {
            let takes = match (alone, api.domain.as_str()) {
                _ if !api.tls => Takes::All,
                (true, "") => Takes::All,
                (true, _) => Takes::NameOrNone,
                (false, "") => Takes::OtherNames,
                (false, _) => Takes::Name,
            };
            let document = document(&id, &api, takes);
            served.push(Served { api, document });
        }
    }
    served
}

/// Gives each its id; of those with the same `api_id` the first stays.
fn with_ids(apis: Vec<Api>, found: &mut Vec<Diagnostic>) -> Vec<(String, Api)> {
    let mut places: HashMap<String, String> = HashMap::new();
    let mut kept = Vec::new();
    for api in apis {
        if !api.id.1 {
            kept.push(api);
            continue;
        }
        match places.get(&api.id.0) {
            Some(other) => {
                let message = format!("the `api_id` is also that of {other}");
                found.push(api.part.finding(&TYK_SAME_ID, "api_id", message));
            }
            None => {
                places.insert(api.id.0.clone(), place(&api));
                kept.push(api);
            }
        }
    }
    // What is only named alike gets a number, after those that have their ids for themselves.
    let mut taken: HashSet<String> =
        kept.iter().filter(|api| api.id.1).map(|api| api.id.0.clone()).collect();
    let mut named = |api: &Api| {
        let (wanted, own) = &api.id;
        let mut id = wanted.clone();
        let mut number = 2;
        while !*own && !taken.insert(id.clone()) {
            id = format!("{wanted}-{number}");
            number += 1;
        }
        format!("tyk/{id}")
    };
    kept.into_iter().map(|api| (named(&api), api)).collect()
}

fn place(api: &Api) -> String {
    match api.part.path.as_str() {
        "" => api.part.place.to_string(),
        path => format!("{path} in {}", api.part.place),
    }
}

/// Why a definition cannot be beside those that have the port.
fn conflict(port: &[(String, Api)], api: &Api) -> Option<String> {
    let (first_id, first) = port.first()?;
    let number = api.port;
    if first.tls != api.tls {
        let word = |tls| if tls { "tls" } else { "tcp" };
        return Some(format!(
            "port {number} is of {}, for `{first_id}`, and cannot be of {} too",
            word(first.tls),
            word(api.tls)
        ));
    }
    if !api.tls {
        return Some(format!(
            "port {number} is that of `{first_id}`: without TLS nothing tells their clients apart"
        ));
    }
    if first.headers != api.headers {
        return Some(format!(
            "on port {number} `{first_id}` says something else with `enable_proxy_protocol`, and \
             whether a header comes is settled before anybody knows whom a client asks for"
        ));
    }
    let (other, rival) = port.iter().find(|(_, other)| other.domain == api.domain)?;
    let domain = match api.domain.as_str() {
        "" => "connections for no `domain`".to_owned(),
        domain => format!("`{domain}`"),
    };
    let more = if rival.clients == api.clients {
        ""
    } else {
        ", with other client certificates: which of them would hold must not depend on the order"
    };
    Some(format!("`{other}` already takes {domain} on port {number}{more}"))
}

/// Names, then names with `*`, the longest first, then none.
fn rank(domain: &str) -> (u8, std::cmp::Reverse<usize>) {
    let kind = match domain {
        "" => 2,
        domain if domain.contains('*') => 1,
        _ => 0,
    };
    (kind, std::cmp::Reverse(domain.len()))
}

/// Which connections of the port are for a definition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Takes {
    All,
    Name,
    NameOrNone,
    /// All names that no other one takes.
    OtherNames,
}

/// The native service.
fn document(id: &str, api: &Api, takes: Takes) -> Map<String, Value> {
    let mut document = Map::from_iter([("id".to_owned(), json!(id))]);
    document.extend(api.service.clone());
    let mut rule = Map::new();
    match takes {
        Takes::All => {}
        Takes::Name | Takes::NameOrNone => {
            rule.insert("domain".into(), json!(api.domain));
        }
        Takes::OtherNames => {
            rule.insert("domain".into(), json!("Regex(.+)"));
        }
    }
    let sni = match takes {
        Takes::All => None,
        Takes::Name | Takes::OtherNames => Some(json!({ "enabled": true })),
        Takes::NameOrNone => Some(json!({ "enabled": true, "nameOptional": true })),
    };
    if let Some(sni) = sni {
        document.insert("sni".into(), sni);
    }
    rule.extend(api.rule.clone());
    document.insert("rules".into(), json!([rule]));
    document
}
