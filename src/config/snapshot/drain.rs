//! Whether a service lets new connections in. The cores read one number of it.

use std::sync::atomic::{AtomicU64, Ordering};

use super::since_1970;
use std::time::SystemTime;

/// An operator lets no new connection in.
#[derive(Debug, Default)]
pub struct Drain {
    /// How often somebody has said something; odd while it drains.
    number: AtomicU64,
    /// In ms since 1970; 0: not at all.
    closes_at: AtomicU64,
}

impl Drain {
    /// Whether it drains.
    pub fn is_on(&self) -> bool {
        self.number.load(Ordering::Relaxed) & 1 == 1
    }

    /// An operator says so; the connections are to end at `closes_at`. Returns the number of this
    /// drain, for [`Drain::is`]. Only the control thread calls it.
    pub fn set(&self, on: bool, closes_at: Option<SystemTime>) -> u64 {
        let closes_at = closes_at.filter(|_| on).map_or(0, since_1970);
        self.closes_at.store(closes_at, Ordering::Relaxed);
        let before = self.number.load(Ordering::Relaxed);
        let step = if (before & 1 == 1) == on { 2 } else { 1 };
        self.number.store(before + step, Ordering::Relaxed);
        before + step
    }

    /// Whether it still drains, and nobody has said anything else since.
    pub fn is(&self, number: u64) -> bool {
        self.is_on() && self.number.load(Ordering::Relaxed) == number
    }

    /// When its connections are ended for it, in ms since 1970.
    pub fn closes_at(&self) -> Option<u64> {
        Some(self.closes_at.load(Ordering::Relaxed)).filter(|at| *at != 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_word_counts() {
        let drain = Drain::default();
        assert!(!drain.is_on());
        let first = drain.set(true, None);
        assert!(drain.is_on() && drain.is(first));
        let second =
            drain.set(true, Some(std::time::UNIX_EPOCH + std::time::Duration::from_secs(1)));
        assert!(drain.is_on() && !drain.is(first) && drain.is(second));
        assert_eq!(drain.closes_at(), Some(1000));
        let off = drain.set(false, Some(SystemTime::now()));
        assert!(!drain.is_on() && !drain.is(off) && drain.closes_at().is_none());
        assert!(!drain.is(drain.set(false, None)));
    }
}
