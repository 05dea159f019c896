//! When something that is asked for again and again last answered.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

use crate::config::snapshot::since_1970;

/// The last good answer, and how often there was none.
#[derive(Debug, Default)]
pub struct Freshness {
    answered_ms: AtomicU64,
    failures: AtomicU64,
}

impl Freshness {
    /// An answer came, or none that is good for anything.
    pub fn heard(&self, good: bool) {
        if good {
            self.answered_ms.store(since_1970(SystemTime::now()), Ordering::Relaxed);
        } else {
            self.failures.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// When the last good answer came, in ms since 1970; `None`: there was none yet.
    pub fn answered(&self) -> Option<u64> {
        Some(self.answered_ms.load(Ordering::Relaxed)).filter(|ms| *ms > 0)
    }

    /// How often there was none.
    pub fn failures(&self) -> u64 {
        self.failures.load(Ordering::Relaxed)
    }
}
