//! The counts of all cores as one.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use serde::Serialize;

use super::{Counters, PerCore, ServiceCounts, Tally, has_failed};
use crate::config::snapshot::TargetState;
use crate::conn::ending::Ending;

/// What went through something so far. All but `connections` only ever rise.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Traffic {
    /// Connections alive. Of a target: those still connecting among them.
    pub connections: u64,
    /// Connections that came. Of a target: that were made to it.
    pub accepted: u64,
    /// Those that have ended.
    pub ended: u64,
    /// Those of them that came to no target. Of a target: attempts that failed.
    pub failed: u64,
    /// Bytes from clients handed to targets, those of live connections up to a second ago.
    pub bytes_in: u64,
    /// Bytes from targets handed to clients; likewise.
    pub bytes_out: u64,
    /// TLS handshakes that succeeded: with clients; of a target: with it.
    pub handshakes: u64,
}

impl Traffic {
    /// Of the process.
    pub fn of_cores(cores: &[Arc<Counters>]) -> Self {
        // What ends is read first, so that it is never more than what came.
        let endings = endings(cores.iter().map(|core| &core.endings));
        let mut traffic = Self::ended(&endings);
        for core in cores {
            traffic.connections += core.live.get();
            traffic.accepted += core.accepted.get();
            traffic.bytes_in += core.bytes_up.get();
            traffic.bytes_out += core.bytes_down.get();
            traffic.handshakes += core.handshakes.sum();
        }
        traffic
    }

    /// Of a service.
    pub fn of_service(counts: &PerCore<ServiceCounts>) -> Self {
        let endings = endings(counts.all().map(|counts| &counts.endings));
        let mut traffic = Self::ended(&endings);
        for counts in counts.all() {
            traffic.accepted += counts.accepted.get();
            traffic.bytes_in += counts.bytes_up.get();
            traffic.bytes_out += counts.bytes_down.get();
            traffic.handshakes += counts.handshakes.sum();
        }
        traffic.connections = traffic.accepted.saturating_sub(traffic.ended);
        traffic
    }

    /// Of a target.
    pub fn of_target(state: &TargetState) -> Self {
        let mut traffic = Self::default();
        for counts in state.counts.all() {
            traffic.ended += counts.ended.get();
            traffic.accepted += counts.connected.get();
            traffic.failed += counts.failed.get();
            traffic.bytes_in += counts.bytes_up.get();
            traffic.bytes_out += counts.bytes_down.get();
            traffic.handshakes += counts.handshakes.get();
        }
        traffic.connections = state.live.load(Ordering::Relaxed).into();
        traffic
    }

    fn ended(endings: &Endings) -> Self {
        let failed = endings.values().filter(|(ending, _)| has_failed(*ending));
        Self {
            ended: endings.values().map(|(_, count)| count).sum(),
            failed: failed.map(|(_, count)| count).sum(),
            ..Self::default()
        }
    }
}

/// Endings and how often they happened, in the order of their sides, steps and causes.
pub type Endings = BTreeMap<(u8, u8, u8), (Ending, u64)>;

/// The sum of these.
pub fn endings<'a>(tallies: impl Iterator<Item = &'a Tally>) -> Endings {
    let mut all = Endings::new();
    for (ending, count) in tallies.flat_map(Tally::all) {
        let key = (ending.side as u8, ending.step as u8, ending.cause as u8);
        all.entry(key).or_insert((ending, 0)).1 += count;
    }
    all
}
