//! From the results of single checks to up and down.

use std::num::NonZeroU8;

/// What the checks of a target have said so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tracker {
    up: bool,
    /// It has passed or failed a check.
    known: bool,
    /// Results in a row that speak against `up`.
    against: u8,
}

impl Tracker {
    /// Before the first check, or with what is known from before.
    pub fn new(starts_up: bool, verdict: Option<bool>) -> Self {
        Self { up: verdict.unwrap_or(starts_up), known: verdict.is_some(), against: 0 }
    }

    /// Whether it is up.
    pub fn is_up(self) -> bool {
        self.up
    }

    /// Whether it has been checked.
    pub fn is_known(self) -> bool {
        self.known
    }

    /// Whether the last results speak against what it is taken for.
    pub fn is_in_doubt(self) -> bool {
        self.against > 0
    }

    /// Takes a result; true if it changed what the target is. One that was never checked and is
    /// taken to be down is up after its first success.
    pub fn take(&mut self, passed: bool, rise: NonZeroU8, fall: NonZeroU8) -> bool {
        let first = !std::mem::replace(&mut self.known, true);
        if passed == self.up {
            self.against = 0;
            return false;
        }
        self.against = self.against.saturating_add(1);
        let enough = if passed { rise.get() } else { fall.get() };
        let changed = self.against >= enough || (first && passed);
        if changed {
            self.up = passed;
            self.against = 0;
        }
        changed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The states after each result; `+` passed, `-` failed.
    fn states(starts_up: bool, rise: u8, fall: u8, results: &str) -> String {
        let (rise, fall) = (NonZeroU8::new(rise).unwrap(), NonZeroU8::new(fall).unwrap());
        let mut tracker = Tracker::new(starts_up, None);
        let mut take = |result| {
            let before = tracker.is_up();
            let changed = tracker.take(result == '+', rise, fall);
            assert_eq!(changed, before != tracker.is_up());
            match (tracker.is_up(), tracker.is_in_doubt()) {
                (true, false) => 'U',
                (true, true) => 'u',
                (false, false) => 'D',
                (false, true) => 'd',
            }
        };
        results.chars().map(&mut take).collect()
    }

    #[test]
    fn only_results_in_a_row_count() {
        assert_eq!(states(true, 2, 3, "+--+--+---+-++-"), "UuuUuuUuuDdDdUu");
        assert_eq!(states(true, 1, 1, "-+-+"), "DUDU");
        assert_eq!(states(true, 2, 2, "-+-+-+"), "uUuUuU");
    }

    #[test]
    fn one_that_must_pass_first_needs_one_success() {
        assert_eq!(states(false, 3, 1, "+"), "U");
        assert_eq!(states(false, 3, 1, "-+++"), "DddU");
        assert_eq!(states(true, 3, 3, "---"), "uuD");
    }
}
