//! What is counted of the control plane.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use arc_swap::ArcSwap;
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;

use crate::config::snapshot::since_1970;
use crate::control::admin::View;
use crate::control::discover;

/// Kept current by the control thread.
#[derive(Debug)]
pub struct Counts {
    /// The lists of targets that are followed.
    pub lists: ArcSwap<Vec<Arc<discover::State>>>,
    /// By status.
    requests: Mutex<BTreeMap<u16, u64>>,
    reloaded_ms: AtomicU64,
    refused_last: AtomicBool,
}

impl Default for Counts {
    fn default() -> Self {
        Self {
            lists: ArcSwap::default(),
            requests: Mutex::default(),
            reloaded_ms: AtomicU64::new(since_1970(SystemTime::now())),
            refused_last: AtomicBool::new(false),
        }
    }
}

impl Counts {
    /// A reload was applied or refused.
    pub fn reloaded(&self, applied: bool) {
        self.reloaded_ms.store(since_1970(SystemTime::now()), Ordering::Relaxed);
        self.refused_last.store(!applied, Ordering::Relaxed);
    }

    /// When the last reload ended (the start, if there was none), in ms since 1970, and whether it was
    /// applied.
    pub fn last_reload(&self) -> (u64, bool) {
        let at = self.reloaded_ms.load(Ordering::Relaxed);
        (at, !self.refused_last.load(Ordering::Relaxed))
    }

    /// Requests so far, by status.
    pub(super) fn requests(&self) -> BTreeMap<u16, u64> {
        self.requests.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Counts a request by the answer it gets.
pub(in crate::control::admin) async fn count(
    State(view): State<Arc<View>>,
    request: Request,
    next: Next,
) -> Response {
    let response = next.run(request).await;
    let mut requests = view.counts.requests.lock().unwrap_or_else(PoisonError::into_inner);
    *requests.entry(response.status().as_u16()).or_insert(0) += 1;
    drop(requests);
    response
}

/// Connections that were closed at once; there is one admin API.
static TURNED_AWAY: AtomicU64 = AtomicU64::new(0);

/// A connection is closed at once, for there are too many.
pub(in crate::control::admin) fn turned_away() {
    TURNED_AWAY.fetch_add(1, Ordering::Relaxed);
}

/// How many were.
pub(super) fn all_turned_away() -> u64 {
    TURNED_AWAY.load(Ordering::Relaxed)
}
