//! Each target, its connections and its health.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use axum::Json;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use super::View;
use super::answer::{BadQuery, refusal};
use crate::config::snapshot::{Addresses, Report, Service, Snapshot, Target};

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Row<'a> {
    service: &'a str,
    /// Which rule, from 0; the fallbacks come behind the rules.
    rule: usize,
    target: &'a str,
    addresses: Vec<String>,
    weight: u32,
    /// Its tier is not the lowest.
    backup: bool,
    tier: u8,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_connections: Option<u32>,
    health: Report,
    /// An operator has taken it out.
    draining: bool,
}

/// The targets, in the order of their addresses and of the file.
pub(super) async fn targets(
    State(view): State<Arc<View>>,
    query: Result<Query<HashMap<String, String>>, BadQuery>,
) -> Response {
    let Ok(Query(query)) = query else {
        return refusal(StatusCode::BAD_REQUEST, "bad_query", "the query cannot be read");
    };
    if let Some(unknown) = query.keys().find(|key| *key != "service") {
        let text = format!("unknown parameter `{}`; there is `service`", unknown.escape_debug());
        return refusal(StatusCode::BAD_REQUEST, "bad_query", &text);
    }
    let wanted = query.get("service");
    let snapshot = view.process.snapshot.load_full();
    let services = services(&snapshot);
    let chosen = services.iter().filter(|it| wanted.is_none_or(|wanted| *it.spec.id == **wanted));
    let rows: Vec<Row<'_>> = chosen.flat_map(|service| rows(service)).collect();
    if let (Some(wanted), true) = (wanted, rows.is_empty()) {
        let text = format!("no service `{}`", wanted.escape_debug());
        return refusal(StatusCode::NOT_FOUND, "not_found", &text);
    }
    Json(rows).into_response()
}

/// The services of a snapshot in the order of their addresses.
pub(super) fn services(snapshot: &Snapshot) -> Vec<&Arc<Service>> {
    let mut listeners: Vec<_> = snapshot.listeners.iter().collect();
    listeners.sort_unstable_by_key(|(address, _)| **address);
    let of = |listener| crate::config::snapshot::Listener::services(listener).map(|(_, it)| it);
    listeners.into_iter().flat_map(|(_, listener)| of(listener)).collect()
}

/// The targets of these services; one that several rules name is one.
pub(super) fn distinct<'a>(
    services: &[&'a Arc<Service>],
) -> impl Iterator<Item = (&'a Service, &'a Target)> {
    let mut seen = HashSet::new();
    let all = services.iter().flat_map(|service| {
        let targets = service.pools.iter().flat_map(|pool| &pool.targets);
        targets.map(|target| (&***service, target))
    });
    all.filter(move |(_, target)| seen.insert(Arc::as_ptr(&target.state)))
}

fn rows<'a>(service: &'a Service) -> impl Iterator<Item = Row<'a>> {
    service.pools.iter().enumerate().flat_map(move |(rule, pool)| {
        let row = move |target: &'a Target, health: Report| Row {
            service: &service.spec.id,
            rule,
            target: &target.label,
            addresses: addresses(target),
            weight: target.weight,
            backup: target.tier > 0,
            tier: target.tier,
            max_connections: target.max_connections.map(std::num::NonZeroU32::get),
            draining: health.draining,
            health,
        };
        pool.targets.iter().map(move |target| row(target, target.state.report()))
    })
}

fn addresses(target: &Target) -> Vec<String> {
    match &target.addresses {
        Addresses::Fixed(destination) => {
            destination.ip().map(|address| address.to_string()).into_iter().collect()
        }
        Addresses::Resolved(name, port) => {
            let with_port = |ip| std::net::SocketAddr::new(ip, *port).to_string();
            name.addresses.load().iter().copied().map(with_port).collect()
        }
        Addresses::Loop => Vec::new(),
    }
}
