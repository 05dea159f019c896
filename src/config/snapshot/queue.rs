//! Connections that wait for a target with room: who came first is served first, over all cores and
//! without a lock.
//!
//! A place is one number, the time at which its holder came. Who wants to know how many are ahead of it
//! counts those who came before: the places are few, and only those who wait look at them. Nobody is
//! woken; everybody looks for room by itself ([`limits::QUEUE_POLL`]). One who waits longer than it may
//! is with a core that died, and its place is free.

use std::sync::LazyLock;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::config::limits;

/// The queue of one pool; at most [`limits::QUEUE_MAX`] wait in it.
#[derive(Debug)]
pub struct Queue {
    /// How many wait.
    len: AtomicU32,
    /// When the holder of each place came; 0: the place is free. None where nobody ever waits.
    places: Box<[AtomicU64]>,
    /// Longest wait, in ns.
    longest: u64,
}

/// A place in a queue; given up when dropped.
#[derive(Debug)]
pub struct Queued<'a> {
    queue: &'a Queue,
    place: &'a AtomicU64,
    came: u64,
}

impl Queue {
    /// An empty queue in which nobody waits longer than `longest`; without places unless `is_needed`.
    pub fn new(is_needed: bool, longest: Duration) -> Self {
        let places = if is_needed { limits::QUEUE_MAX } else { 0 };
        let longest = u64::try_from(longest.as_nanos()).unwrap_or(u64::MAX);
        let places = (0..places).map(|_| AtomicU64::new(0)).collect();
        Self { len: AtomicU32::new(0), places, longest }
    }

    /// How many wait.
    pub fn len(&self) -> u32 {
        self.len.load(Ordering::Relaxed)
    }

    /// Whether nobody waits.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The last place; `None` if all are taken.
    pub fn join(&self) -> Option<Queued<'_>> {
        self.join_at(now())
    }

    fn join_at(&self, came: u64) -> Option<Queued<'_>> {
        // Before it is seen to be full, the places of the dead are freed.
        if usize::try_from(self.len()).is_ok_and(|len| len >= self.places.len()) {
            self.before(came, came);
        }
        let free = |place: &&AtomicU64| {
            let (order, failed) = (Ordering::Relaxed, Ordering::Relaxed);
            place.compare_exchange(0, came, order, failed).is_ok()
        };
        let place = self.places.iter().find(free)?;
        self.len.fetch_add(1, Ordering::Relaxed);
        Some(Queued { queue: self, place, came })
    }

    /// How many came before that time.
    fn before(&self, came: u64, now: u64) -> u32 {
        let mut count = 0;
        for place in &self.places {
            let other = place.load(Ordering::Relaxed);
            if other == 0 || other >= came {
                continue;
            }
            if now.saturating_sub(other) > self.longest {
                self.free(place, other);
            } else {
                count += 1;
            }
        }
        count
    }

    /// Frees a place that is still held by the one who came then.
    fn free(&self, place: &AtomicU64, came: u64) {
        if place.compare_exchange(came, 0, Ordering::Relaxed, Ordering::Relaxed).is_ok() {
            let less = |len: u32| Some(len.saturating_sub(1));
            let _ = self.len.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less);
        }
    }
}

impl Queued<'_> {
    /// How many came before it and still wait.
    pub fn ahead(&self) -> u32 {
        self.queue.before(self.came, now())
    }
}

impl Drop for Queued<'_> {
    fn drop(&mut self) {
        self.queue.free(self.place, self.came);
    }
}

/// The clock of the queues, in ns; not 0.
fn now() -> u64 {
    static EPOCH: LazyLock<Instant> = LazyLock::new(Instant::now);
    u64::try_from(EPOCH.elapsed().as_nanos()).unwrap_or(u64::MAX).saturating_add(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_came_first_is_first() {
        let queue = Queue::new(true, Duration::from_secs(9));
        let mut waiting: Vec<Queued<'_>> =
            (1..=limits::QUEUE_MAX).map(|at| queue.join_at(at.into()).unwrap()).collect();
        assert!(queue.join().is_none(), "it is full");
        let ahead = |of: &Queued<'_>| queue.before(of.came, of.came);
        assert!(waiting.iter().zip(0..).all(|(one, at)| ahead(one) == at));
        // Who gives up is not waited for, and its place is taken by one who is behind all others.
        drop(waiting.remove(7));
        drop(waiting.remove(0));
        assert_eq!(ahead(&waiting[10]), 10);
        let last = queue.join_at(1000).unwrap();
        assert_eq!(last.ahead(), limits::QUEUE_MAX - 2);
        drop((waiting, last));
        assert!(queue.is_empty());
        assert_eq!(queue.join().unwrap().ahead(), 0);
    }

    #[test]
    fn a_core_that_died_holds_nobody_up() {
        let queue = Queue::new(true, Duration::from_nanos(50));
        for _ in 0..limits::QUEUE_MAX {
            std::mem::forget(queue.join_at(100).unwrap());
        }
        assert!(queue.join_at(150).is_none());
        let late = queue.join_at(151).unwrap();
        assert_eq!((queue.len(), queue.before(late.came, late.came)), (1, 0));
    }

    #[test]
    fn nobody_waits_where_nothing_is_limited() {
        assert!(Queue::new(false, Duration::ZERO).join().is_none());
    }
}
