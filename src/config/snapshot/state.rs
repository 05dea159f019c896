//! Whether a target can take connections. The cores read one number of it; the control thread
//! writes it and keeps the record that people read.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{LazyLock, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde::Serialize;

use crate::config::limits;
use crate::metrics::{PerCore, TargetCounts};

/// State of a target that a reload keeps, by its service's id and its label.
#[derive(Debug)]
pub struct TargetState {
    /// Connections over all cores, also those that are still connecting.
    pub live: AtomicU32,
    /// What the cores count of it.
    pub counts: PerCore<TargetCounts>,
    /// The share of its weight that it gets, up to [`TargetState::FULL`], and why it gets nothing.
    status: AtomicU32,
    /// Connections in a row that could not be made.
    refused: Row,
    /// Connections in a row that it reset at once.
    reset: Row,
    /// The control thread knows that it fails.
    told: AtomicBool,
    record: Mutex<Option<Box<Record>>>,
}

impl Default for TargetState {
    fn default() -> Self {
        Self {
            live: AtomicU32::new(0),
            counts: PerCore::default(),
            status: AtomicU32::new(Self::FULL),
            refused: Row::default(),
            reset: Row::default(),
            told: AtomicBool::new(false),
            record: Mutex::default(),
        }
    }
}

/// What only the control thread and people ask for.
#[derive(Debug, Default)]
struct Record {
    /// Each of its checks by number, with what it said last.
    opinions: Vec<(u64, Option<bool>)>,
    checked: bool,
    since: Option<SystemTime>,
    passed: u64,
    failed: u64,
    last: Option<SystemTime>,
    took: Duration,
    last_passed: bool,
    changes: u64,
    ejections: u64,
    ejected_until: Option<SystemTime>,
    failure: Option<Failure>,
    /// Which of its drains this is, and when its connections are to end.
    drain: u64,
    closes_at: Option<SystemTime>,
}

/// Why a check failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Failure {
    /// In ms since 1970.
    pub at: u64,
    /// In one sentence.
    pub reason: String,
    /// What was said: one step a line, the last ones.
    pub transcript: Vec<String>,
}

/// What there is to know of a target's health. Times are in ms since 1970.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// Whether it gets new connections.
    pub status: Status,
    /// The percentage of its share that it gets; below 100 while it starts slowly.
    pub share: u32,
    /// Connections now, those still connecting among them.
    pub connections: u32,
    /// Whether it has been checked at all.
    pub checked: bool,
    /// When the status last changed; null: never.
    pub since: Option<u64>,
    /// How often it did.
    pub changes: u64,
    /// Checks that passed.
    pub passed: u64,
    /// Checks that failed.
    pub failed: u64,
    /// When the last one ended.
    pub last_check: Option<u64>,
    /// How long it took, in ms.
    pub took: u64,
    /// How long it took, exactly.
    #[serde(skip)]
    pub took_exactly: Duration,
    /// Whether it passed.
    #[serde(skip)]
    pub last_passed: bool,
    /// How often it was ejected.
    pub ejections: u64,
    /// Until when it is.
    pub ejected_until: Option<u64>,
    /// The last check that failed.
    pub last_failure: Option<Failure>,
    /// An operator has taken it out.
    pub draining: bool,
    /// When the connections that it still has are ended for it; null: not at all.
    pub closes_at: Option<u64>,
}

/// Whether a target gets new connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum Status {
    /// It does.
    Up,
    /// It has failed its checks.
    Down,
    /// It has passed no check yet, and must (`initial` Down).
    Pending,
    /// Too many connections to it failed.
    Ejected,
    /// An operator has taken it out.
    Draining,
}

const SHARE: u32 = 0xffff;
const DOWN: u32 = 1 << 16;
const PENDING: u32 = 1 << 17;
const EJECTED: u32 = 1 << 18;
const DRAINING: u32 = 1 << 19;

/// What cores ask and say.
impl TargetState {
    /// The whole share.
    pub const FULL: u32 = 1000;

    /// The share of its weight that it gets now, up to [`TargetState::FULL`]; 0: it gets no
    /// connection.
    pub fn share(&self) -> u32 {
        let status = self.status.load(Ordering::Relaxed);
        if status > SHARE { 0 } else { status }
    }

    /// Whether it gets connections.
    pub fn is_up(&self) -> bool {
        self.share() > 0
    }

    /// Whether its checks say that it is down; one that is only ejected is not.
    pub fn is_down(&self) -> bool {
        self.status.load(Ordering::Relaxed) & DOWN != 0
    }

    /// Whether it has yet to pass its first check.
    pub fn is_pending(&self) -> bool {
        self.status.load(Ordering::Relaxed) & PENDING != 0
    }

    /// Whether an operator has taken it out.
    pub fn is_draining(&self) -> bool {
        self.status.load(Ordering::Relaxed) & DRAINING != 0
    }

    /// Whether it may be tried while health is ignored: once it has passed a check, where it must, and
    /// not while it drains.
    pub fn may_be_tried(&self) -> bool {
        self.status.load(Ordering::Relaxed) & (PENDING | DRAINING) == 0
    }

    /// A connection could not be made. True when the control thread is to be told: after so many
    /// failures in a row, once.
    pub fn connect_failed(&self, failures: u32) -> bool {
        self.count(&self.refused, failures)
    }

    /// It reset a connection at once; as [`TargetState::connect_failed`].
    pub fn was_reset(&self, failures: u32) -> bool {
        self.count(&self.reset, failures)
    }

    fn count(&self, row: &Row, failures: u32) -> bool {
        row.add(seconds()) >= failures && !self.told.swap(true, Ordering::Relaxed)
    }

    /// A connection was made.
    pub fn connected(&self) {
        self.refused.forget();
    }

    /// It has sent something on a connection that had nothing of it before.
    pub fn answered(&self) {
        self.reset.forget();
    }
}

/// Failures in a row: how many in the lower half, and when the last one was, in seconds, in the
/// upper.
#[derive(Debug, Default)]
struct Row(AtomicU64);

impl Row {
    /// One more, now; how many that makes. A row does not go on after a long pause.
    fn add(&self, now: u32) -> u32 {
        let add = |row: u64| {
            let (last, count) = ((row >> 32) as u32, row as u32);
            let goes_on = u64::from(now.saturating_sub(last)) <= limits::FAILURES_PAUSE.as_secs();
            let count = if goes_on { count.saturating_add(1) } else { 1 };
            (count, u64::from(now) << 32 | u64::from(count))
        };
        let update = |row| Some(add(row).1);
        match self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, update) {
            Ok(before) | Err(before) => add(before).0,
        }
    }

    /// Writes only what changes: the line is shared by all cores.
    fn forget(&self) {
        if self.0.load(Ordering::Relaxed) != 0 {
            self.0.store(0, Ordering::Relaxed);
        }
    }
}

/// A coarse clock for rows of failures.
fn seconds() -> u32 {
    static START: LazyLock<Instant> = LazyLock::new(Instant::now);
    u32::try_from(START.elapsed().as_secs()).unwrap_or(u32::MAX)
}

/// What the control thread does.
impl TargetState {
    fn record<T>(&self, write: impl FnOnce(&mut Record) -> T) -> T {
        let mut record = self.record.lock().unwrap_or_else(PoisonError::into_inner);
        write(record.get_or_insert_default())
    }

    fn set(&self, flag: u32) -> bool {
        self.status.fetch_or(flag, Ordering::Relaxed) & flag == 0
    }

    fn clear(&self, flag: u32) -> bool {
        self.status.fetch_and(!flag, Ordering::Relaxed) & flag != 0
    }

    /// Checks begin: one that must pass a check first, and never has been checked, waits for it.
    pub fn begin(&self, starts_up: bool) {
        let checked = self.record(|record| record.checked);
        if starts_up {
            self.clear(PENDING);
        } else if !checked && self.set(PENDING) {
            self.record(|record| record.since = Some(SystemTime::now()));
        }
    }

    /// What the checks said last; `None` if it has not been checked, or still waits for its first
    /// success.
    pub fn verdict(&self) -> Option<bool> {
        let checked = self.record(|record| record.checked);
        (checked && !self.is_pending()).then(|| !self.is_down())
    }

    /// From now on it has the checks of these numbers and no others. What one that goes on has said
    /// stays; a new one stands for what is known.
    pub fn has_checks(&self, numbers: &[u64]) {
        let verdict = self.verdict();
        self.record(|record| {
            let said = |number| record.opinions.iter().find(|(of, _)| *of == number);
            let opinion = |number: &u64| (*number, said(*number).map_or(verdict, |it| it.1));
            record.opinions = numbers.iter().map(opinion).collect();
        });
    }

    /// Whether the check of this number has said nothing of it yet.
    pub fn is_new_to(&self, check: u64) -> bool {
        self.record(|record| record.opinions.contains(&(check, None)))
    }

    /// Writes one check down.
    pub fn checked(&self, took: Duration, failure: Option<&Failure>) {
        self.record(|record| {
            record.checked = true;
            record.last = Some(SystemTime::now());
            record.took = took;
            record.last_passed = failure.is_none();
            match failure {
                None => record.passed += 1,
                Some(failure) => {
                    record.failed += 1;
                    record.failure = Some(failure.clone());
                }
            }
        });
    }

    /// One of its checks says so; all must say that it is up. True if what it is has changed.
    pub fn judge(&self, check: u64, up: bool) -> bool {
        let (all, any_down) = self.record(|record| {
            let opinions = &mut record.opinions;
            if let Some((_, said)) = opinions.iter_mut().find(|(of, _)| *of == check) {
                *said = Some(up);
            }
            let all = opinions.iter().all(|(_, said)| *said == Some(true));
            (all, opinions.iter().any(|(_, said)| *said == Some(false)))
        });
        let changed = match (self.is_pending(), any_down) {
            // It waits until all have passed.
            (true, _) => all && self.clear(PENDING),
            (false, true) => self.set(DOWN),
            (false, false) => self.clear(DOWN),
        };
        if changed {
            self.changed();
        }
        changed
    }

    /// A check that is shared has been made before it was this one's too.
    pub fn learn(&self, failure: Option<&Failure>) {
        self.record(|record| {
            if !record.checked {
                record.checked = true;
                record.failure = failure.cloned();
            }
        });
    }

    /// Nobody checks it any more: it is taken to be up.
    pub fn forget_checks(&self) {
        if self.clear(DOWN | PENDING) {
            self.changed();
        }
        // Most targets never had a check, and get no record here.
        let mut record = self.record.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(record) = record.as_mut() {
            record.checked = false;
            record.opinions.clear();
        }
    }

    /// Takes it out for this long. False if it is out already.
    pub fn eject(&self, period: Duration) -> bool {
        let ejected = self.set(EJECTED);
        if ejected {
            self.changed();
            self.record(|record| {
                record.ejections += 1;
                record.ejected_until = SystemTime::now().checked_add(period);
            });
        }
        ejected
    }

    /// Takes it in again, and begins to count anew. True if it was out.
    pub fn readmit(&self) -> bool {
        self.listen_again();
        let readmitted = self.clear(EJECTED);
        if readmitted {
            self.changed();
            self.record(|record| record.ejected_until = None);
        }
        readmitted
    }

    /// Counts failures anew, and tells of them again.
    pub fn listen_again(&self) {
        self.refused.forget();
        self.reset.forget();
        self.told.store(false, Ordering::Relaxed);
    }

    /// An operator takes it out, or in again. Its connections are to end at `closes_at`. Returns the
    /// number of this drain, for [`TargetState::drains`].
    pub fn drain(&self, drain: bool, closes_at: Option<SystemTime>) -> u64 {
        let changed = if drain { self.set(DRAINING) } else { self.clear(DRAINING) };
        if changed {
            self.changed();
        }
        self.record(|record| {
            record.drain += 1;
            record.closes_at = closes_at.filter(|_| drain);
            record.drain
        })
    }

    /// Whether it still drains, and nobody has said anything else since.
    pub fn drains(&self, number: u64) -> bool {
        self.is_draining() && self.record(|record| record.drain == number)
    }

    /// Whether it is ejected.
    pub fn is_ejected(&self) -> bool {
        self.status.load(Ordering::Relaxed) & EJECTED != 0
    }

    /// Sets the share that it gets while it is up, from 1 to [`TargetState::FULL`].
    pub fn set_share(&self, share: u32) {
        let share = share.clamp(1, Self::FULL);
        let update = |status| Some(status & !SHARE | share);
        let _ = self.status.fetch_update(Ordering::Relaxed, Ordering::Relaxed, update);
    }

    fn changed(&self) {
        self.record(|record| {
            record.since = Some(SystemTime::now());
            record.changes += 1;
        });
    }

    /// Whether it gets new connections, and why not.
    pub fn status(&self) -> Status {
        match self.status.load(Ordering::Relaxed) {
            status if status & DOWN != 0 => Status::Down,
            status if status & PENDING != 0 => Status::Pending,
            status if status & EJECTED != 0 => Status::Ejected,
            status if status & DRAINING != 0 => Status::Draining,
            _ => Status::Up,
        }
    }

    /// All there is to know.
    pub fn report(&self) -> Report {
        let status = self.status.load(Ordering::Relaxed);
        let record = self.record.lock().unwrap_or_else(PoisonError::into_inner);
        let none = Record::default();
        let record = record.as_deref().unwrap_or(&none);
        Report {
            status: self.status(),
            share: (status & SHARE) * 100 / Self::FULL,
            connections: self.live.load(Ordering::Relaxed),
            checked: record.checked,
            since: record.since.map(since_1970),
            changes: record.changes,
            passed: record.passed,
            failed: record.failed,
            last_check: record.last.map(since_1970),
            took: u64::try_from(record.took.as_millis()).unwrap_or(u64::MAX),
            took_exactly: record.took,
            last_passed: record.last_passed,
            ejections: record.ejections,
            ejected_until: record.ejected_until.map(since_1970),
            last_failure: record.failure.clone(),
            draining: status & DRAINING != 0,
            closes_at: record.closes_at.map(since_1970),
        }
    }
}

/// In ms.
pub fn since_1970(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_cause_takes_it_out_by_itself() {
        let state = TargetState::default();
        assert!(state.is_up() && state.verdict().is_none());
        assert!(state.eject(Duration::from_secs(1)));
        assert!(!state.is_down(), "no check said so");
        state.has_checks(&[1]);
        assert!(state.judge(1, false));
        assert!(!state.judge(1, false), "not twice");
        assert_eq!(state.report().status, Status::Down);
        assert!(state.judge(1, true));
        assert_eq!(state.report().status, Status::Ejected);
        assert!(!state.is_up());
        state.set_share(10);
        assert_eq!(state.share(), 0, "out, whatever its share");
        assert!(state.readmit());
        assert_eq!(state.share(), 10);
        assert_eq!(state.report().changes, 4);
    }

    #[test]
    fn one_that_drains_is_out_until_it_is_taken_in() {
        let state = TargetState::default();
        let first = state.drain(true, None);
        assert!(!state.is_up() && !state.may_be_tried() && state.drains(first));
        assert_eq!(state.report().status, Status::Draining);
        let second = state.drain(true, Some(UNIX_EPOCH));
        assert!(!state.drains(first) && state.drains(second), "the last word counts");
        assert_eq!(state.report().closes_at, Some(0));
        state.begin(true);
        state.has_checks(&[1]);
        assert!(state.judge(1, false) && state.judge(1, true), "it is checked all the same");
        assert!(!state.is_up());
        state.drain(false, Some(UNIX_EPOCH));
        assert!(state.is_up() && !state.drains(second));
        assert_eq!(state.report().closes_at, None);
    }

    #[test]
    fn one_that_must_pass_first_waits() {
        let state = TargetState::default();
        state.begin(false);
        assert_eq!(state.report().status, Status::Pending);
        assert!(!state.may_be_tried());
        state.has_checks(&[1]);
        state.checked(Duration::ZERO, None);
        assert!(state.judge(1, true));
        assert!(state.is_up() && state.may_be_tried());
        state.begin(false);
        assert!(state.is_up(), "a reload does not begin anew");
        state.judge(1, false);
        state.forget_checks();
        assert!(state.is_up());
    }

    #[test]
    fn all_its_checks_must_say_that_it_is_up() {
        let state = TargetState::default();
        state.begin(true);
        state.has_checks(&[1, 2]);
        assert!(state.judge(1, false));
        for _ in 0..3 {
            assert!(!state.judge(2, true) && state.is_down(), "the other one does not change that");
            assert!(!state.judge(1, false));
        }
        assert!(!state.judge(2, false) && !state.judge(1, true) && state.is_down());
        assert!(state.judge(2, true) && state.is_up());
        state.checked(Duration::ZERO, None);
        assert!(state.judge(2, false));
        state.has_checks(&[1, 3]);
        assert!(!state.judge(1, true), "the new one stands for the one before");
        assert!(state.judge(3, true));
        assert!(state.judge(3, false));
        state.has_checks(&[1]);
        assert!(state.judge(1, true), "one that is gone has no say");
    }

    #[test]
    fn one_that_waits_for_all_its_checks_knows_no_verdict() {
        let state = TargetState::default();
        state.begin(false);
        state.has_checks(&[1, 2]);
        state.checked(Duration::ZERO, None);
        assert!(!state.judge(1, true) && !state.judge(2, false));
        assert_eq!((state.verdict(), state.is_down()), (None, false));
        state.has_checks(&[1, 3]);
        assert!(!state.judge(1, true) && !state.is_up());
        assert!(state.judge(3, true) && state.is_up());
        assert_eq!(state.verdict(), Some(true));
    }

    #[test]
    fn a_row_of_failures_ends_with_a_pause() {
        let (row, pause) = (Row::default(), limits::FAILURES_PAUSE.as_secs() as u32);
        let times = [5, 5, 5 + pause, 6 + 2 * pause, 6 + 2 * pause];
        assert_eq!(times.map(|now| row.add(now)), [1, 2, 3, 1, 2]);
        row.forget();
        assert_eq!(row.add(7 + 2 * pause), 1);
    }

    #[test]
    fn failures_in_a_row_are_told_once() {
        let state = TargetState::default();
        assert!(!state.connect_failed(3));
        assert!(!state.was_reset(3));
        assert!(!state.connect_failed(3));
        state.connected();
        assert!(!state.connect_failed(3));
        assert!(!state.connect_failed(3));
        assert!(state.connect_failed(3));
        assert!(!state.connect_failed(3));
        assert!(!state.was_reset(3));
        assert!(!state.was_reset(3), "told already");
        state.readmit();
        assert!(state.connect_failed(1));
    }
}
