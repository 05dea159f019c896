//! Waiting for a condition, with a deadline. The only place of the tests that pauses.

use std::thread;
use std::time::{Duration, Instant};

/// How long anything that should happen at once may take. Far more than a loaded machine of two
/// cores needs: it tells "never" from "yet", not fast from slow.
pub const SOON: Duration = Duration::from_secs(20);

/// Waits until `condition` holds; fails the test, saying `what` was waited for, after `deadline`.
#[track_caller]
pub fn wait_until(what: &str, deadline: Duration, mut condition: impl FnMut() -> bool) {
    wait_for(what, deadline, || condition().then_some(()));
}

/// Waits until `probe` gives something and returns it.
#[track_caller]
pub fn wait_for<T>(what: &str, deadline: Duration, mut probe: impl FnMut() -> Option<T>) -> T {
    match waited(deadline, &mut probe) {
        Some(found) => found,
        None => panic!("{what}: not within {deadline:?}"),
    }
}

/// Like [`wait_for`], but `None` after the deadline, for callers with more to say about it.
pub fn waited<T>(deadline: Duration, mut probe: impl FnMut() -> Option<T>) -> Option<T> {
    let start = Instant::now();
    let mut pause = Duration::from_micros(200);
    loop {
        if let Some(found) = probe() {
            return Some(found);
        }
        if start.elapsed() >= deadline {
            return None;
        }
        thread::park_timeout(pause);
        pause = (pause * 2).min(Duration::from_millis(20));
    }
}

/// Waits until `measure` has given the same value for `quiet`: whatever it counts has come to rest.
#[track_caller]
pub fn wait_until_still(what: &str, quiet: Duration, mut measure: impl FnMut() -> u64) -> u64 {
    let mut last = measure();
    let mut since = Instant::now();
    wait_for(what, SOON.max(quiet * 4), || {
        let now = measure();
        if now != last {
            last = now;
            since = Instant::now();
        }
        (since.elapsed() >= quiet).then_some(last)
    })
}

/// Lets `period` pass where time itself is what the test is about: the gap between two bytes of a
/// trickle, the window over which processor time is counted.
pub fn let_pass(period: Duration) {
    let start = Instant::now();
    let _: Option<()> = waited(period, || (start.elapsed() >= period).then_some(()));
}
