//! What the cores count: written by their core alone, read by anybody, merged when read.
//!
//! - [`Counters`] of each core, for the life of the process.
//! - [`ServiceCounts`] and [`TargetCounts`] of each service and target, for each core that has had a
//!   connection of it ([`PerCore`]). They are part of the state that a reload keeps: a service that
//!   stays goes on counting, one that goes and comes back begins anew.
//!
//! A connection is counted when it comes and when it ends. The bytes of one that lives are added by
//! the sweep of its core, so that rates are a second behind at most; at its end the sums are exact.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::conn::ending::{Ending, Step};

mod freshness;
mod histogram;
mod merged;
mod per_core;
mod tally;

pub use self::freshness::Freshness;
pub use self::histogram::{Histogram, Readings, SHORT, WHOLE_LIFE};
pub use self::merged::{Endings, Traffic, endings};
pub use self::per_core::PerCore;
pub use self::tally::Tally;

/// A number with one writer: a plain load and store, no locked instruction.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds; wraps after 2^64.
    pub fn add(&self, n: u64) {
        self.0.store(self.0.load(Ordering::Relaxed).wrapping_add(n), Ordering::Relaxed);
    }

    /// Subtracts from a gauge; never below 0.
    pub fn sub(&self, n: u64) {
        self.0.store(self.0.load(Ordering::Relaxed).saturating_sub(n), Ordering::Relaxed);
    }

    /// Sets a gauge.
    pub fn set(&self, n: u64) {
        self.0.store(n, Ordering::Relaxed);
    }

    /// Raises a maximum.
    pub fn max(&self, n: u64) {
        self.set(self.get().max(n));
    }

    /// The value.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// What one core counts.
#[derive(Debug, Default)]
#[repr(align(128))] // two cache lines: cores never share one
pub struct Counters {
    /// Connections taken from listeners.
    pub accepted: Counter,
    /// Connections alive (a gauge).
    pub live: Counter,
    /// Bytes received from clients and handed to targets.
    pub bytes_up: Counter,
    /// Bytes received from targets and handed to clients.
    pub bytes_down: Counter,
    /// Further attempts after a failed connect.
    pub retries: Counter,
    /// TLS handshakes with clients that succeeded.
    pub handshakes: Handshakes,
    /// Directions that turned to splice.
    pub splices: Counter,
    /// Times a direction wanted a pipe and none could be had.
    pub pipes_refused: Counter,
    /// Pipes lent (a gauge, as of the last tick).
    pub pipes_lent: Counter,
    /// Directions whose receiver does not keep up (a gauge, as of the last round of the sweep).
    pub waiting: Counter,
    /// Times the core ran out of descriptors.
    pub descriptors_short: Counter,
    /// Events handed to the writer.
    pub events: Counter,
    /// Events dropped because the writer was behind.
    pub events_dropped: Counter,
    /// Ticks of the coarse clock so far: the heartbeat.
    pub ticks: Counter,
    /// Longest delay of a tick, in µs: how long a connection may have had to wait for the core.
    pub lag_max_us: Counter,
    /// Delays of all ticks, in µs.
    pub lag_us: Counter,
    /// Endings.
    pub endings: Tally,
    /// Those of connections for which no service was chosen.
    pub unrouted: Tally,
}

/// TLS handshakes that succeeded, by version and by whether they resumed a session.
#[derive(Debug, Default)]
pub struct Handshakes([[Counter; 2]; 2]);

impl Handshakes {
    /// The versions, as events name them.
    pub const VERSIONS: [&str; 2] = ["TLSv1.2", "TLSv1.3"];

    /// Counts one.
    pub fn add(&self, is_1_3: bool, resumed: bool) {
        let [old, new] = &self.0;
        let [full, again] = if is_1_3 { new } else { old };
        if resumed { again } else { full }.add(1);
    }

    /// Version, resumed, how many.
    pub fn all(&self) -> impl Iterator<Item = (&'static str, bool, u64)> + '_ {
        let versions = Self::VERSIONS.into_iter().zip(&self.0);
        versions.flat_map(|(version, [full, again])| {
            [(version, false, full.get()), (version, true, again.get())]
        })
    }

    /// All of them.
    pub fn sum(&self) -> u64 {
        self.all().map(|(_, _, count)| count).sum()
    }
}

/// What one core counts of one service; some 700 bytes.
#[derive(Debug, Default)]
#[repr(align(64))]
pub struct ServiceCounts {
    /// Connections for which it was chosen.
    pub accepted: Counter,
    /// Bytes, as in [`Counters`].
    pub bytes_up: Counter,
    /// See `bytes_up`.
    pub bytes_down: Counter,
    /// Further attempts after a failed connect.
    pub retries: Counter,
    /// TLS handshakes with clients that succeeded.
    pub handshakes: Handshakes,
    /// Endings.
    pub endings: Tally,
    /// From the beginning of an attempt until the target was connected, of attempts that succeeded.
    pub connect: Histogram,
    /// Of handshakes with clients that succeeded.
    pub handshake: Histogram,
    /// Of handshakes with targets that succeeded.
    pub upstream_handshake: Histogram,
    /// From accept to the end.
    pub duration: Histogram,
}

/// What one core counts of one target.
#[derive(Debug, Default)]
#[repr(align(64))]
pub struct TargetCounts {
    /// Connections that were made, with all that is said before the client's bytes.
    pub connected: Counter,
    /// Attempts that failed.
    pub failed: Counter,
    /// Those of the connected that have ended.
    pub ended: Counter,
    /// TLS handshakes with it that succeeded.
    pub handshakes: Counter,
    /// Bytes, as in [`Counters`].
    pub bytes_up: Counter,
    /// See `bytes_up`.
    pub bytes_down: Counter,
}

/// Whether the connection ended before it came to a target.
pub fn has_failed(ending: Ending) -> bool {
    ending.step != Step::Relay
}
