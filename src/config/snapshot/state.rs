//! Whether a target can take connections. The cores read one number of it; the control thread
//! writes it and keeps the record that people read.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::Serialize;

/// State of a target that a reload keeps, by its service's id and its label.
#[derive(Debug)]
pub struct TargetState {
    /// Connections over all cores, also those that are still connecting.
    pub live: AtomicU32,
    /// The share of its weight that it gets, up to [`TargetState::FULL`], and why it gets nothing.
    status: AtomicU32,
    /// Connections in a row that could not be made.
    refused: AtomicU32,
    /// Connections in a row that it reset at once.
    reset: AtomicU32,
    /// The control thread knows that it fails.
    told: AtomicBool,
    record: Mutex<Option<Box<Record>>>,
}

impl Default for TargetState {
    fn default() -> Self {
        Self {
            live: AtomicU32::new(0),
            status: AtomicU32::new(Self::FULL),
            refused: AtomicU32::new(0),
            reset: AtomicU32::new(0),
            told: AtomicBool::new(false),
            record: Mutex::default(),
        }
    }
}

/// What only people ask for.
#[derive(Debug, Default)]
struct Record {
    checked: bool,
    since: Option<SystemTime>,
    passed: u64,
    failed: u64,
    last: Option<SystemTime>,
    took: Duration,
    changes: u64,
    ejections: u64,
    ejected_until: Option<SystemTime>,
    failure: Option<Failure>,
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
    /// How often it was ejected.
    pub ejections: u64,
    /// Until when it is.
    pub ejected_until: Option<u64>,
    /// The last check that failed.
    pub last_failure: Option<Failure>,
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
}

const SHARE: u32 = 0xffff;
const DOWN: u32 = 1 << 16;
const PENDING: u32 = 1 << 17;
const EJECTED: u32 = 1 << 18;

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

    /// Whether it may be tried while health is ignored: once it has passed a check, where it must.
    pub fn may_be_tried(&self) -> bool {
        self.status.load(Ordering::Relaxed) & PENDING == 0
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

    fn count(&self, counter: &AtomicU32, failures: u32) -> bool {
        let before = counter.fetch_add(1, Ordering::Relaxed);
        before.saturating_add(1) >= failures && !self.told.swap(true, Ordering::Relaxed)
    }

    /// A connection was made.
    pub fn connected(&self) {
        forget(&self.refused);
    }

    /// It has sent something.
    pub fn answered(&self) {
        forget(&self.reset);
    }
}

/// Writes only what changes: the line is shared by all cores.
fn forget(counter: &AtomicU32) {
    if counter.load(Ordering::Relaxed) != 0 {
        counter.store(0, Ordering::Relaxed);
    }
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

    /// What the checks said last; `None` if it has not been checked.
    pub fn verdict(&self) -> Option<bool> {
        let checked = self.record(|record| record.checked);
        checked.then(|| self.status.load(Ordering::Relaxed) & DOWN == 0)
    }

    /// Writes one check down.
    pub fn checked(&self, took: Duration, failure: Option<&Failure>) {
        self.record(|record| {
            record.checked = true;
            record.last = Some(SystemTime::now());
            record.took = took;
            match failure {
                None => record.passed += 1,
                Some(failure) => {
                    record.failed += 1;
                    record.failure = Some(failure.clone());
                }
            }
        });
    }

    /// The checks say so. True if that is new.
    pub fn judge(&self, up: bool) -> bool {
        let was_pending = self.clear(PENDING);
        let changed =
            if up { self.clear(DOWN) || was_pending } else { self.set(DOWN) && !was_pending };
        if changed {
            self.changed();
        }
        changed
    }

    /// A check that is shared has been made before it was this one's too.
    pub fn learn(&self, up: bool, failure: Option<&Failure>) {
        let new = self.record(|record| {
            let new = !record.checked;
            if new {
                record.checked = true;
                record.failure = failure.cloned();
            }
            new
        });
        if new && (up || self.may_be_tried()) {
            self.judge(up);
        }
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
        forget(&self.refused);
        forget(&self.reset);
        self.told.store(false, Ordering::Relaxed);
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

    /// All there is to know.
    pub fn report(&self) -> Report {
        let status = self.status.load(Ordering::Relaxed);
        let record = self.record.lock().unwrap_or_else(PoisonError::into_inner);
        let none = Record::default();
        let record = record.as_deref().unwrap_or(&none);
        Report {
            status: match status {
                _ if status & DOWN != 0 => Status::Down,
                _ if status & PENDING != 0 => Status::Pending,
                _ if status & EJECTED != 0 => Status::Ejected,
                _ => Status::Up,
            },
            share: (status & SHARE) * 100 / Self::FULL,
            connections: self.live.load(Ordering::Relaxed),
            checked: record.checked,
            since: record.since.map(since_1970),
            changes: record.changes,
            passed: record.passed,
            failed: record.failed,
            last_check: record.last.map(since_1970),
            took: u64::try_from(record.took.as_millis()).unwrap_or(u64::MAX),
            ejections: record.ejections,
            ejected_until: record.ejected_until.map(since_1970),
            last_failure: record.failure.clone(),
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
        assert!(state.judge(false));
        assert!(!state.judge(false), "not twice");
        assert_eq!(state.report().status, Status::Down);
        assert!(state.judge(true));
        assert_eq!(state.report().status, Status::Ejected);
        assert!(!state.is_up());
        state.set_share(10);
        assert_eq!(state.share(), 0, "out, whatever its share");
        assert!(state.readmit());
        assert_eq!(state.share(), 10);
        assert_eq!(state.report().changes, 4);
    }

    #[test]
    fn one_that_must_pass_first_waits() {
        let state = TargetState::default();
        state.begin(false);
        assert_eq!(state.report().status, Status::Pending);
        assert!(!state.may_be_tried());
        state.checked(Duration::ZERO, None);
        assert!(state.judge(true));
        assert!(state.is_up() && state.may_be_tried());
        state.begin(false);
        assert!(state.is_up(), "a reload does not begin anew");
        state.judge(false);
        state.forget_checks();
        assert!(state.is_up());
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
