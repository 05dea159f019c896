//! Which target of a pool a connection goes to. Before it: route. After it: connect. No clock, no
//! socket: the shared state of the targets in, a choice out.
//!
//! Every attempt chooses anew among the targets that were not tried yet, so that what has changed
//! meanwhile counts. A target that is down, ejected or drained, with weight 0, or with all the connections it
//! may have, is not chosen. Targets of a higher tier are chosen only when none of a lower one is left that
//! may be. Where fewer targets of the first tier are up than `panicThreshold` says, and none of
//! another is, health is ignored. The share that is refused ([`Rejects`]) is taken off before all that.
//!
//! The state is shared by all cores: few connections spread evenly too, and a count is that of the
//! whole process. Nothing is locked or allocated; in turn over targets that all are up, only the one
//! chosen is looked at.

use std::cell::Cell;
use std::cmp::Reverse;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::IpAddr;
use std::sync::atomic::Ordering;

use crate::config::checked::Balancing;
use crate::config::limits;
use crate::config::snapshot::{Pool, Rejects, Target, TargetState};

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
    /// It is one of those that are refused.
    Rejected,
}

/// What a choice does to what connections share.
trait Effect {
    /// The number of the next turn.
    fn turn(&self, pool: &Pool) -> usize;
    /// The number of the next turn that is passed on.
    fn pass_on(&self, pool: &Pool) -> usize;
    /// Takes a connection of the target, unless it has all it may have.
    fn take(&self, target: &Target) -> bool;
    /// Whether the next connection is one of those that are refused.
    fn rejects(&self, rejects: &Rejects) -> bool;
}

/// The choice of a connection.
struct Takes;

impl Effect for Takes {
    fn turn(&self, pool: &Pool) -> usize {
        pool.next.fetch_add(1, Ordering::Relaxed)
    }

    fn pass_on(&self, pool: &Pool) -> usize {
        pool.passed_on.fetch_add(1, Ordering::Relaxed)
    }

    fn take(&self, target: &Target) -> bool {
        target.take()
    }

    fn rejects(&self, rejects: &Rejects) -> bool {
        rejects.take()
    }
}

/// The same choice, with nothing changed by it: the turns that it would have used.
#[derive(Default)]
struct Looks {
    turns: Cell<usize>,
    passed_on: Cell<usize>,
}

impl Effect for Looks {
    fn turn(&self, pool: &Pool) -> usize {
        let used = self.turns.replace(self.turns.get() + 1);
        pool.next.load(Ordering::Relaxed).wrapping_add(used)
    }

    fn pass_on(&self, pool: &Pool) -> usize {
        let used = self.passed_on.replace(self.passed_on.get() + 1);
        pool.passed_on.load(Ordering::Relaxed).wrapping_add(used)
    }

    fn take(&self, target: &Target) -> bool {
        target.has_room()
    }

    fn rejects(&self, rejects: &Rejects) -> bool {
        rejects.look()
    }
}

/// Chooses a target for a client, and takes one of the target's connections: give it back with
/// [`Target::release`].
pub fn choose(pool: &Pool, source: Option<IpAddr>, tried: &Tried) -> Choice {
    choose_by(&Takes, pool, source, tried)
}

/// As [`choose`], for one that comes for the first time: it may be one of those that are refused, and
/// those who wait for room go first.
pub fn choose_first(pool: &Pool, source: Option<IpAddr>) -> Choice {
    choose_first_by(&Takes, pool, source)
}

fn choose_first_by(by: &impl Effect, pool: &Pool, source: Option<IpAddr>) -> Choice {
    if pool.rejects.as_ref().is_some_and(|rejects| by.rejects(rejects)) {
        return Choice::Rejected;
    }
    if must_wait(pool) { Choice::Full } else { choose_by(by, pool, source, &Tried::default()) }
}

/// What [`choose_first`] or, after some were tried, [`choose`] would choose now; takes nothing.
pub fn would_choose(pool: &Pool, source: Option<IpAddr>, tried: &Tried) -> Choice {
    let looks = Looks::default();
    match tried.len {
        0 => choose_first_by(&looks, pool, source),
        _ => choose_by(&looks, pool, source, tried),
    }
}

fn must_wait(pool: &Pool) -> bool {
    let ahead = pool.queue.len();
    ahead > 0 && !has_room_for(pool, ahead)
}

fn choose_by(by: &impl Effect, pool: &Pool, source: Option<IpAddr>, tried: &Tried) -> Choice {
    let panics = is_panicking(pool);
    if let Some(index) = in_turn(by, pool, tried, panics) {
        return Choice::Target(index);
    }
    let full = Cell::new(false);
    // Somebody may take the last connection of a target between the look and the take.
    for _ in 0..limits::CHOICES_MAX {
        let of_tier =
            |tier: &u8| pick(by, &Among { pool, tried, panics, tier: *tier, full: &full }, source);
        let Some(index) = pool.tiers.iter().find_map(of_tier) else { break };
        if pool.targets.get(index).is_some_and(|target| by.take(target)) {
            return Choice::Target(index);
        }
        full.set(true);
    }
    if full.get() { Choice::Full } else { Choice::None }
}

/// Whether one with so many ahead of it may choose: the targets have room for them all, or there is
/// none to wait for.
pub fn has_room_for(pool: &Pool, ahead: u32) -> bool {
    let panics = is_panicking(pool);
    let mut able = pool.targets.iter().filter(|target| share(target, panics) > 0).peekable();
    if able.peek().is_none() {
        return true;
    }
    let mut room = 0_u32;
    able.any(|target| {
        room = room.saturating_add(target.room());
        room > ahead
    })
}

/// Whether health is ignored.
fn is_panicking(pool: &Pool) -> bool {
    if pool.panic_threshold == 0 {
        return false;
    }
    let (mut up, mut all) = (0_usize, 0_usize);
    let first = pool.tiers.first().copied().unwrap_or_default();
    // One that an operator has taken out is as if it were not there.
    let there = |target: &&Target| target.weight > 0 && !target.state.is_draining();
    for target in pool.targets.iter().filter(there) {
        match (target.tier > first, target.state.is_up()) {
            (true, true) => return false,
            (true, false) => {}
            (false, is_up) => {
                all += 1;
                up += usize::from(is_up);
            }
        }
    }
    up * 100 < all * usize::from(pool.panic_threshold)
}

/// The targets of a tier that may be chosen.
struct Among<'a> {
    pool: &'a Pool,
    tried: &'a Tried,
    panics: bool,
    tier: u8,
    /// One was left out only because it has all the connections it may have.
    full: &'a Cell<bool>,
}

impl<'a> Among<'a> {
    /// Each with its share of the connections; not 0.
    fn able(&self) -> impl Iterator<Item = (usize, &'a Target, u64)> {
        self.pool.targets.iter().enumerate().filter_map(|(index, target)| {
            if target.tier != self.tier || self.tried.has(index) {
                return None;
            }
            let share = share(target, self.panics);
            if share == 0 {
                return None;
            }
            let has_room = target.has_room();
            if !has_room {
                self.full.set(true);
            }
            has_room.then_some((index, target, share))
        })
    }
}

/// The weight of a target for its health, as a multiple of [`TargetState::FULL`]; 0: it may not be.
fn share(target: &Target, panics: bool) -> u64 {
    let share = match panics {
        true if target.state.may_be_tried() => TargetState::FULL,
        true => 0,
        false => target.state.share(),
    };
    u64::from(target.weight) * u64::from(share)
}

/// The target whose turn it is, if it can take it.
fn in_turn(by: &impl Effect, pool: &Pool, tried: &Tried, panics: bool) -> Option<usize> {
    if !matches!(pool.balancing, Balancing::RoundRobin | Balancing::WeightedRoundRobin) {
        return None;
    }
    let schedule = &pool.schedule;
    let turn = match schedule.len() {
        0 => return None,
        // Nobody else could.
        1 => 0,
        _ => by.turn(pool),
    };
    let index = usize::from(*schedule.get(turn.checked_rem(schedule.len())?)?);
    let target = pool.targets.get(index)?;
    if tried.has(index) {
        return None;
    }
    let full = u64::from(target.weight) * u64::from(TargetState::FULL);
    let share = share(target, panics);
    // One that starts slowly passes the turns of some rounds on.
    let takes =
        share == full || (share > 0 && golden(turn.checked_div(schedule.len())?, full) < share);
    (takes && by.take(target)).then_some(index)
}

/// The best of the targets that may be.
fn pick(by: &impl Effect, among: &Among<'_>, source: Option<IpAddr>) -> Option<usize> {
    let pool = among.pool;
    if pool.targets.len() == 1 {
        return among.able().next().map(|(index, ..)| index);
    }
    let next = || by.turn(pool);
    match pool.balancing {
        Balancing::First => among.able().next().map(|(index, ..)| index),
        Balancing::RoundRobin | Balancing::WeightedRoundRobin => passed_on(by, among),
        // Equal ones in turn, so that an idle pool does not send all to its first.
        Balancing::LeastConnections => {
            let loads = || among.able().map(|it| (it.0, load(&it)));
            let (index, least) = loads().min_by(|(_, one), (_, other)| one.cmp_to(other))?;
            let equal = || loads().filter(|(_, load)| load.cmp_to(&least).is_le());
            // What has changed since they were counted may leave none.
            let turn = next().checked_rem(equal().count());
            Some(turn.and_then(|turn| equal().nth(turn)).map_or(index, |(index, _)| index))
        }
        Balancing::PowerOfTwo => {
            let (one, other) = two_of(scramble(next() as u64), among.able().count())?;
            let mut able = among.able().skip(one.min(other));
            let (low, skip) = (able.next()?, one.abs_diff(other).checked_sub(1));
            // What has changed since they were counted may leave one.
            let Some(high) = skip.and_then(|skip| able.nth(skip)) else { return Some(low.0) };
            // Of equal ones the first that was drawn.
            let (one, other) = if one < other { (low, high) } else { (high, low) };
            Some(if load(&one).cmp_to(&load(&other)).is_gt() { other.0 } else { one.0 })
        }
        Balancing::Random => by_share(among, scramble(next() as u64)),
        // Without an address (a Unix socket) all are one client.
        Balancing::SourceHash => {
            let client = hash_of(source);
            let scored = among.able().map(|it| (it.0, rendezvous(client, it.1, it.2)));
            scored.max_by(|(_, one), (_, other)| one.total_cmp(other)).map(|(index, _)| index)
        }
    }
}

/// How loaded a target would be with one connection more, for its share.
struct Load {
    connections: u64,
    share: u64,
}

fn load((_, target, share): &(usize, &Target, u64)) -> Load {
    let live = target.state.live.load(Ordering::Relaxed);
    Load { connections: u64::from(live) + 1, share: *share }
}

impl Load {
    fn cmp_to(&self, other: &Self) -> std::cmp::Ordering {
        (self.connections * other.share).cmp(&(other.connections * self.share))
    }
}

/// A turn that came to a target which could not take it goes to all others by their shares, not to
/// the one behind it.
fn passed_on(by: &impl Effect, among: &Among<'_>) -> Option<usize> {
    let all_alike = among.pool.balancing == Balancing::RoundRobin;
    let weigh = |target: &Target, share: u64| match all_alike {
        true => share / u64::from(target.weight.max(1)),
        false => share,
    };
    let total: u64 = among.able().map(|(_, target, share)| weigh(target, share)).sum();
    if total == 0 {
        return None;
    }
    let mut at = golden(by.pass_on(among.pool), total);
    let mut last = None;
    for (index, target, share) in among.able() {
        let share = weigh(target, share);
        last = Some(index);
        if at < share {
            break;
        }
        at -= share;
    }
    last
}

/// The `turn`th of a sequence of numbers below `count` that fills it as evenly as can be however
/// often it is asked: multiples of the golden ratio.
fn golden(turn: usize, count: u64) -> u64 {
    let fraction = (turn as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    u64::try_from((u128::from(fraction) * u128::from(count)) >> 64).unwrap_or(0)
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

fn by_share(among: &Among<'_>, mut random: u64) -> Option<usize> {
    // One pass: each takes the place of those before it with its part of the shares so far.
    let mut total = 0_u64;
    let mut chosen = None;
    for (index, _, share) in among.able() {
        total += share;
        random = scramble(random);
        if random % total < share {
            chosen = Some(index);
        }
    }
    chosen
}

fn hash_of(source: Option<IpAddr>) -> u64 {
    let mut hasher = DefaultHasher::new();
    source.hash(&mut hasher);
    hasher.finish()
}

/// Highest-random-weight hashing: each client has its own order of the targets, so one that leaves
/// only moves its own clients, and a share moves no more than itself.
fn rendezvous(client: u64, target: &Target, share: u64) -> f64 {
    // Into (0, 1]: 53 bits are what an f64 holds.
    #[allow(clippy::cast_precision_loss)]
    let uniform =
        ((scramble(client ^ scramble(target.hash)) >> 11) + 1) as f64 / (1_u64 << 53) as f64;
    #[allow(clippy::cast_precision_loss)]
    let share = share as f64;
    -share / uniform.ln().min(-f64::MIN_POSITIVE)
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
