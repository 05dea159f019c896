//! Which target of a pool a connection goes to. Before it: route. After it: connect. No clock, no
//! socket: the shared state of the targets in, a choice out.
//!
//! Every attempt chooses anew among the targets that were not tried yet, so that what has changed
//! meanwhile counts. Backup targets are chosen only when no other is left that may be. A target with
//! weight 0, or with all the connections it may have, is not chosen.
//!
//! The state is shared by all cores: few connections spread evenly too, and a count is that of the
//! whole process.

use std::cmp::Reverse;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::IpAddr;
use std::sync::atomic::Ordering;

use crate::config::checked::Balancing;
use crate::config::limits;
use crate::config::snapshot::{Pool, Target};

/// The targets of a pool that a connection has tried; at most one more than `retries`.
#[derive(Debug, Clone, Copy, Default)]
pub struct Tried {
    indices: [u16; limits::RETRIES_MAX as usize + 1],
    len: usize,
}

impl Tried {
    /// Adds one; a full list forgets it, and the number of retries ends the trying then.
    pub fn add(&mut self, index: usize) {
        if let (Some(slot), Ok(index)) = (self.indices.get_mut(self.len), u16::try_from(index)) {
            *slot = index;
            self.len += 1;
        }
    }

    fn has(&self, index: usize) -> bool {
        self.indices.iter().take(self.len).any(|tried| usize::from(*tried) == index)
    }
}

/// What [`choose`] found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Choice {
    /// This target; one of its connections has been taken.
    Target(usize),
    /// Every target that could be chosen has all the connections it may have.
    Full,
    /// There is none left.
    None,
}

/// Chooses a target for a client, and takes one of the target's connections: give it back with
/// [`Target::release`].
pub fn choose(pool: &Pool, source: Option<IpAddr>, tried: &Tried) -> Choice {
    let mut full = false;
    // Somebody may take the last connection of a target between the look and the take.
    for _ in 0..limits::CHOICES_MAX {
        let chosen = [false, true].into_iter().find_map(|backup| {
            pick(pool, source, backup, |index, target| {
                target.backup == backup && target.weight > 0 && !tried.has(index) && {
                    let has_room = target.has_room();
                    full |= !has_room;
                    has_room
                }
            })
        });
        let Some(index) = chosen else { break };
        if pool.targets.get(index).is_some_and(Target::take) {
            return Choice::Target(index);
        }
        full = true;
    }
    if full { Choice::Full } else { Choice::None }
}

/// The best of the targets that may be; all of them are backups, or none is.
fn pick(
    pool: &Pool,
    source: Option<IpAddr>,
    backup: bool,
    mut may_be: impl FnMut(usize, &Target) -> bool,
) -> Option<usize> {
    let targets = &pool.targets;
    if targets.len() == 1 {
        return targets.first().filter(|target| may_be(0, target)).map(|_| 0);
    }
    let able = targets.iter().enumerate().filter(|(index, target)| may_be(*index, target));
    let mut able = able.peekable();
    able.peek()?;
    match pool.balancing {
        Balancing::First => able.next().map(|(index, _)| index),
        Balancing::RoundRobin | Balancing::WeightedRoundRobin => in_turn(pool, backup, able),
        // Equal ones in turn, so that an idle pool does not send all to its first.
        Balancing::LeastConnections => {
            let turn = pool.next.fetch_add(1, Ordering::Relaxed);
            let count = targets.len();
            let rank =
                |index: usize| (index + count - turn.checked_rem(count).unwrap_or(0)) % count;
            able.min_by(|(a, one), (b, other)| {
                one.load_against(other).then_with(|| rank(*a).cmp(&rank(*b)))
            })
            .map(|(index, _)| index)
        }
        Balancing::PowerOfTwo => {
            let able: Vec<usize> = able.map(|(index, _)| index).collect();
            let turn = pool.next.fetch_add(1, Ordering::Relaxed);
            let (one, other) = two_of(scramble(turn as u64), able.len())?;
            let (one, other) = (*able.get(one)?, *able.get(other)?);
            let heavier = targets.get(one)?.load_against(targets.get(other)?).is_gt();
            Some(if heavier { other } else { one })
        }
        Balancing::Random => {
            let random = scramble(pool.next.fetch_add(1, Ordering::Relaxed) as u64);
            by_weight(random, able.map(|(index, target)| (index, target.weight)))
        }
        // Without an address (a Unix socket) all are one client.
        Balancing::SourceHash => {
            let score = |target: &Target| rendezvous(source, target);
            able.max_by(|(_, one), (_, other)| score(one).total_cmp(&score(other)))
                .map(|(index, _)| index)
        }
    }
}

/// The next of the schedule. The position is shared, and the schedule is smooth; a target that may
/// not be leaves its turns to all others, not to the one behind it.
fn in_turn<'a>(
    pool: &Pool,
    backup: bool,
    able: impl Iterator<Item = (usize, &'a Target)>,
) -> Option<usize> {
    let schedule = if backup { &pool.backups } else { &pool.schedule };
    let able: Vec<usize> = able.map(|(index, _)| index).collect();
    let is_able = |index: &&u16| able.binary_search(&usize::from(**index)).is_ok();
    let turns = match able.len() {
        0 => return None,
        all if all == pool.size(backup) => schedule.len(),
        _ => schedule.iter().filter(is_able).count(),
    };
    // Only who finds a target takes a turn: else backups would be skipped in step.
    let at = pool.next.fetch_add(1, Ordering::Relaxed).checked_rem(turns)?;
    let index = if turns == schedule.len() {
        schedule.get(at)
    } else {
        schedule.iter().filter(is_able).nth(at)
    };
    index.copied().map(usize::from)
}

/// The order in which targets of these weights take turns: as often as their weight says, and spread
/// as evenly as can be (nginx's smooth weighted round robin). Weights are reduced until one round is
/// at most [`limits::SCHEDULE_MAX`] turns or one a target.
pub fn schedule(weights: &[u32]) -> Box<[u16]> {
    let reduced = reduce(weights);
    let total: i64 = reduced.iter().map(|weight| i64::from(*weight)).sum();
    let mut current = vec![0_i64; reduced.len()];
    let mut schedule = Vec::new();
    for _ in 0..total {
        for (current, weight) in current.iter_mut().zip(&reduced) {
            *current += i64::from(*weight);
        }
        // Of equal ones the first.
        let best = (0..).zip(current.iter_mut()).min_by_key(|(_, current)| Reverse(**current));
        let Some((index, current)) = best else { break };
        *current -= total;
        schedule.push(index);
    }
    schedule.into()
}

fn reduce(weights: &[u32]) -> Vec<u32> {
    let divisor = weights.iter().copied().fold(0, gcd).max(1);
    let reduced: Vec<u32> = weights.iter().map(|weight| weight / divisor).collect();
    let total: u64 = reduced.iter().map(|weight| u64::from(*weight)).sum();
    let most = limits::SCHEDULE_MAX.max(weights.len()) as u64;
    if total <= most {
        return reduced;
    }
    let scaled = |weight: u32| match u64::from(weight) * most / total {
        0 if weight > 0 => 1,
        scaled => u32::try_from(scaled).unwrap_or(u32::MAX),
    };
    reduced.into_iter().map(scaled).collect()
}

fn gcd(a: u32, b: u32) -> u32 {
    if b == 0 { a } else { gcd(b, a % b) }
}

/// Two different numbers below `count`, or twice the only one.
fn two_of(random: u64, count: usize) -> Option<(usize, usize)> {
    let count = u64::try_from(count).ok().filter(|count| *count > 0)?;
    let one = (random >> 32) % count;
    let other =
        if count == 1 { one } else { (one + 1 + (random & 0xffff_ffff) % (count - 1)) % count };
    Some((usize::try_from(one).ok()?, usize::try_from(other).ok()?))
}

fn by_weight(random: u64, weights: impl Iterator<Item = (usize, u32)>) -> Option<usize> {
    // One pass: each takes the place of those before it with its share of the weight so far.
    let mut total = 0_u64;
    let mut chosen = None;
    let mut random = random;
    for (index, weight) in weights {
        total += u64::from(weight);
        random = scramble(random);
        if random % total.max(1) < u64::from(weight) {
            chosen = Some(index);
        }
    }
    chosen
}

/// Highest-random-weight hashing: each client has its own order of the targets, so one that leaves
/// only moves its own clients, and a weight moves no more than its share.
fn rendezvous(source: Option<IpAddr>, target: &Target) -> f64 {
    let mut hasher = DefaultHasher::new();
    source.hash(&mut hasher);
    target.label.hash(&mut hasher);
    // Into (0, 1]: 53 bits are what an f64 holds.
    #[allow(clippy::cast_precision_loss)]
    let uniform = ((scramble(hasher.finish()) >> 11) + 1) as f64 / (1_u64 << 53) as f64;
    -f64::from(target.weight) / uniform.ln().min(-f64::MIN_POSITIVE)
}

/// SplitMix64's output function: neighbouring numbers come out unlike each other.
pub(crate) fn scramble(number: u64) -> u64 {
    let mut z = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests;
