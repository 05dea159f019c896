//! Endings, counted by all that they say. There are a thousand combinations, of which a service ever
//! sees a few: only those that happen have a place.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use super::Counter;
use crate::conn::ending::{Cause, Ending, Side, Step};

/// How often each ending was counted. One writer.
#[derive(Debug, Default)]
pub struct Tally {
    slots: [Slot; SLOTS],
    more: OnceLock<Box<Tally>>,
}

/// Most services see fewer.
const SLOTS: usize = 4;

#[derive(Debug, Default)]
struct Slot {
    /// 0: free.
    key: AtomicU32,
    count: Counter,
}

impl Tally {
    /// Counts one. What came first stands first: what is common is found at once.
    pub fn add(&self, ending: Ending) {
        let key = key(ending);
        let mut tally = self;
        loop {
            for slot in &tally.slots {
                match slot.key.load(Ordering::Relaxed) {
                    0 => {
                        slot.count.add(1);
                        // Whoever sees the key sees the count too.
                        slot.key.store(key, Ordering::Release);
                        return;
                    }
                    known if known == key => return slot.count.add(1),
                    _ => {}
                }
            }
            tally = tally.more.get_or_init(Box::default);
        }
    }

    /// Those that happened, and how often.
    pub fn all(&self) -> impl Iterator<Item = (Ending, u64)> + '_ {
        let tallies = std::iter::successors(Some(self), |tally| tally.more.get().map(|it| &**it));
        tallies.flat_map(|tally| &tally.slots).filter_map(|slot| {
            let ending = ending(slot.key.load(Ordering::Acquire))?;
            Some((ending, slot.count.get()))
        })
    }
}

fn key(Ending { side, step, cause }: Ending) -> u32 {
    1 << 24 | (side as u32) << 16 | (step as u32) << 8 | cause as u32
}

fn ending(key: u32) -> Option<Ending> {
    let [used, side, step, cause] = key.to_be_bytes();
    let of = |byte: u8| usize::from(byte);
    let side = *Side::ALL.get(of(side))?;
    let step = *Step::ALL.get(of(step))?;
    let cause = *Cause::ALL.get(of(cause))?;
    (used == 1).then_some(Ending { side, step, cause })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_ending_has_a_place_of_its_own() {
        let tally = Tally::default();
        let mut times = 0;
        for side in Side::ALL {
            for step in Step::ALL {
                for cause in Cause::ALL {
                    times += 1;
                    for _ in 0..times {
                        tally.add(Ending { side: *side, step: *step, cause: *cause });
                    }
                }
            }
        }
        let all: Vec<(Ending, u64)> = tally.all().collect();
        assert_eq!(all.len(), Side::ALL.len() * Step::ALL.len() * Cause::ALL.len());
        assert!(all.iter().zip(1..).all(|((_, count), times)| *count == times));
        let (ending, _) = all[all.len() - 1];
        assert_eq!(ending.to_string(), "us/relay/panic");
    }
}
