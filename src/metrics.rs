//! Per-core counters: written by their core alone, read by anybody, merged when read. The list of
//! every counter and its meaning.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::conn::ending::{Cause, Ending};

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
#[derive(Debug)]
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
    pub handshakes: Counter,
    /// Those of them that resumed a session.
    pub handshakes_resumed: Counter,
    /// Directions that turned to splice.
    pub splices: Counter,
    /// Times a direction wanted a pipe and none could be had.
    pub pipes_refused: Counter,
    /// Pipes lent (a gauge, as of the last tick).
    pub pipes_lent: Counter,
    /// Times the core ran out of descriptors.
    pub descriptors_short: Counter,
    /// Events dropped because the writer was behind.
    pub events_dropped: Counter,
    /// Ticks of the coarse clock so far: the heartbeat.
    pub ticks: Counter,
    /// Longest delay of a tick, in µs: how long a connection may have had to wait for the core.
    pub lag_max_us: Counter,
    /// Endings by cause.
    endings: [Counter; CAUSES],
}

const CAUSES: usize = Cause::ALL.len();

impl Default for Counters {
    fn default() -> Self {
        Self {
            accepted: Counter::default(),
            live: Counter::default(),
            bytes_up: Counter::default(),
            bytes_down: Counter::default(),
            retries: Counter::default(),
            handshakes: Counter::default(),
            handshakes_resumed: Counter::default(),
            splices: Counter::default(),
            pipes_refused: Counter::default(),
            pipes_lent: Counter::default(),
            descriptors_short: Counter::default(),
            events_dropped: Counter::default(),
            ticks: Counter::default(),
            lag_max_us: Counter::default(),
            endings: std::array::from_fn(|_| Counter::default()),
        }
    }
}

impl Counters {
    /// Counts an ending.
    pub fn ended(&self, ending: Ending) {
        if let Some(counter) = self.endings.get(ending.cause as usize) {
            counter.add(1);
        }
    }

    /// Endings by cause, those that happened.
    pub fn endings(&self) -> impl Iterator<Item = (Cause, u64)> + '_ {
        let counted = Cause::ALL.iter().zip(&self.endings);
        counted.map(|(cause, counter)| (*cause, counter.get())).filter(|(_, n)| *n > 0)
    }
}
