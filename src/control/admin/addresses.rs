//! The listening addresses.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use super::View;
use crate::config::checked::Tls;
use crate::config::snapshot::Listener;

/// A listener on its way out, and its services as they were.
pub type Leaving = (SocketAddr, Option<Arc<Listener>>);

#[derive(Debug, Serialize)]
struct Row<'a> {
    address: SocketAddr,
    interface: String,
    port: u16,
    /// Their ids, in the order of the file.
    services: Vec<&'a str>,
    /// What they do with TLS, each once.
    tls: Vec<&'static str>,
    state: &'static str,
    /// Admitted and alive.
    connections: u64,
}

/// The addresses in their order, those that are on their way out behind the others.
pub(super) async fn addresses(State(view): State<Arc<View>>) -> Response {
    let snapshot = view.process.snapshot.load_full();
    let leaving = view.leaving.load();
    let ends = view.draining.load(Ordering::Relaxed);
    let state = if ends { "leaving" } else { "listening" };
    let served = snapshot.listeners.iter().map(|(at, listener)| (*at, Some(listener), state));
    let mut all: Vec<_> = served.collect();
    all.sort_unstable_by_key(|(at, ..)| *at);
    if !ends {
        let going = leaving.iter().map(|(at, listener)| (*at, listener.as_ref(), "leaving"));
        all.extend(going.filter(|(at, ..)| !snapshot.listeners.contains_key(at)));
    }
    Json(all.into_iter().map(row).collect::<Vec<_>>()).into_response()
}

fn row<'a>(
    (address, listener, state): (SocketAddr, Option<&'a Arc<Listener>>, &'static str),
) -> Row<'a> {
    let services = || listener.into_iter().flat_map(|it| it.services()).map(|(_, it)| it);
    let mut tls: Vec<_> = services()
        .map(|service| match service.spec.tls {
            Tls::Disabled => "Disabled",
            Tls::PassThrough => "PassThrough",
            Tls::Enabled(_) => "Enabled",
        })
        .collect();
    tls.sort_unstable();
    tls.dedup();
    Row {
        address,
        interface: address.ip().to_string(),
        port: address.port(),
        services: services().map(|service| &*service.spec.id).collect(),
        tls,
        state,
        connections: services().map(|it| u64::from(it.state.live.load(Ordering::Relaxed))).sum(),
    }
}
