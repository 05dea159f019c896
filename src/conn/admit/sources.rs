//! How many connections a source has, and how often it comes. One table for each service that asks for
//! it, shared by all cores and kept over reloads.
//!
//! # Bounds
//! - *How many*: an entry for each source that has a connection now. There are no more of them than
//!   connections, which the process limits. The counts are exact.
//! - *How often*: a fixed number of entries ([`limits::SOURCE_RATES`]), in sets of
//!   [`limits::SOURCE_WAYS`], however many sources come. An entry is one number, the time at which
//!   the source's next connection is due (GCRA): one whose time has come says no more than no entry,
//!   so its place is free. When a set has no free place, the newcomer takes that of the source whose
//!   time comes first, **and its time**. So no source ever gets more than its rate by being
//!   forgotten: what may suffer, while more sources than there are places come faster than they may,
//!   is the burst of newcomers. The sets are chosen by a hash with a secret key: nobody can aim.
//!
//! # Locks
//! The table is in [`limits::SOURCE_SHARDS`] parts, each under a lock that is held for one look at a
//! handful of entries, and never over a wait.

use std::collections::HashMap;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::config::{checked, limits};
use crate::conn::ending::Cause;

/// What counts as one client: an IPv4 address, or the network of an IPv6 address (its first 64 bits, of
/// which a customer gets one at least, to choose addresses in at will).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Source {
    /// An address.
    V4(u32),
    /// A /64.
    V6(u64),
}

impl Source {
    /// Whom an address belongs to.
    pub fn of(ip: IpAddr) -> Self {
        match ip.to_canonical() {
            IpAddr::V4(v4) => Self::V4(v4.to_bits()),
            IpAddr::V6(v6) => {
                let [a, b, c, d, ..] = v6.segments();
                let bits = [a, b, c, d].iter().fold(0, |bits, part| bits << 16 | u64::from(*part));
                Self::V6(bits)
            }
        }
    }
}

/// What a service allows each source.
#[derive(Debug, Clone, Copy)]
pub struct SourceLimits {
    connections: Option<NonZeroU32>,
    rate: Option<Rate>,
}

/// A rate as GCRA takes it.
#[derive(Debug, Clone, Copy)]
struct Rate {
    /// Between two connections, in ns.
    interval: u64,
    /// How far ahead of its time a connection may come, in ns.
    ahead: u64,
}

impl SourceLimits {
    /// `None` where nothing is limited.
    pub fn of(limits: &checked::Limits) -> Option<Self> {
        let connections = limits.connections_per_source;
        let rate = limits.connection_rate.map(|rate| {
            let per = nanos(rate.per);
            let interval = per.div_ceil(u64::from(rate.count.get())).max(1);
            let ahead = interval.saturating_mul(u64::from(rate.burst.get() - 1));
            Rate { interval, ahead }
        });
        (connections.is_some() || rate.is_some()).then_some(Self { connections, rate })
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// The table of one service.
#[derive(Debug)]
pub struct Sources {
    shards: Box<[Shard]>,
    key: RandomState,
    /// Before every connection that asks.
    epoch: Instant,
}

#[derive(Debug, Default)]
#[repr(align(64))] // a cache line: cores that look at different shards do not disturb each other
struct Shard(Mutex<Books>);

#[derive(Debug, Default)]
struct Books {
    live: HashMap<Source, u32>,
    /// Empty until a rate is asked for.
    rates: Box<[Entry]>,
}

/// When a source is due again.
#[derive(Debug, Clone, Copy, Default)]
struct Entry {
    /// The hash of the source.
    mark: u64,
    /// In ns since the epoch.
    due: u64,
}

/// Entries of one shard.
const RATES: usize = limits::SOURCE_RATES / limits::SOURCE_SHARDS;
const _: () = assert!(RATES.is_multiple_of(limits::SOURCE_WAYS) && RATES > 0);

impl Sources {
    /// A table that is to be asked of connections accepted after `epoch`.
    pub fn new(epoch: Instant) -> Self {
        let shards = (0..limits::SOURCE_SHARDS).map(|_| Shard::default()).collect();
        Self { shards, key: RandomState::new(), epoch }
    }

    /// Counts a connection of a source that was accepted at `born`.
    ///
    /// # Errors
    /// [`Cause::SourceLimit`] or [`Cause::SourceRate`]; nothing was counted then.
    pub fn take(&self, source: Source, asked: &SourceLimits, born: Instant) -> Result<(), Cause> {
        self.ask(source, asked, born, true)
    }

    /// What [`Sources::take`] would say; counts nothing.
    ///
    /// # Errors
    /// As there.
    pub fn look(&self, source: Source, asked: &SourceLimits, now: Instant) -> Result<(), Cause> {
        self.ask(source, asked, now, false)
    }

    fn ask(
        &self,
        source: Source,
        asked: &SourceLimits,
        born: Instant,
        takes: bool,
    ) -> Result<(), Cause> {
        let mark = self.key.hash_one(source);
        let Some(mut books) = self.books(mark) else { return Ok(()) };
        let live = asked.connections.map(|most| {
            let now = books.live.get(&source).copied().unwrap_or(0);
            (now, now >= most.get())
        });
        if let Some((_, true)) = live {
            return Err(Cause::SourceLimit);
        }
        if let Some(rate) = &asked.rate
            && !books.is_due(mark, rate, nanos(born.saturating_duration_since(self.epoch)), takes)
        {
            return Err(Cause::SourceRate);
        }
        if takes && let Some((now, _)) = live {
            books.live.insert(source, now + 1);
        }
        Ok(())
    }

    /// Gives a connection back that [`Sources::take`] counted under the same limits.
    pub fn release(&self, source: Source, asked: &SourceLimits) {
        if asked.connections.is_none() {
            return;
        }
        let Some(mut books) = self.books(self.key.hash_one(source)) else { return };
        match books.live.get_mut(&source) {
            Some(live) if *live > 1 => *live -= 1,
            _ => drop(books.live.remove(&source)),
        }
    }

    /// How many connections a source has.
    pub fn live(&self, source: Source) -> u32 {
        let books = self.books(self.key.hash_one(source));
        books.and_then(|books| books.live.get(&source).copied()).unwrap_or(0)
    }

    /// How many connections all sources have.
    pub fn live_of_all(&self) -> u64 {
        let of_shard =
            |shard: &Shard| -> u64 { lock(shard).live.values().map(|live| u64::from(*live)).sum() };
        self.shards.iter().map(of_shard).sum()
    }

    fn books(&self, mark: u64) -> Option<MutexGuard<'_, Books>> {
        let shards = self.shards.len().max(1) as u64;
        let at = usize::try_from(mark % shards).unwrap_or(0);
        self.shards.get(at).map(lock)
    }
}

/// Nothing in here panics half way through a change, so what a dying core leaves is whole.
fn lock(shard: &Shard) -> MutexGuard<'_, Books> {
    shard.0.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Books {
    /// Whether a source may come now; if so, and if it `comes`, it has.
    fn is_due(&mut self, mark: u64, rate: &Rate, now: u64, comes: bool) -> bool {
        if self.rates.is_empty() {
            self.rates = vec![Entry::default(); RATES].into();
        }
        let sets = RATES / limits::SOURCE_WAYS;
        // The lower half of the hash chose the shard.
        let set = usize::try_from(mark >> 32).unwrap_or(0) % sets;
        let set = self.rates.chunks_exact_mut(limits::SOURCE_WAYS).nth(set).unwrap_or_default();
        // Its own place, or that of the one who is due first: a free one if there is any.
        let own = set.iter().position(|entry| entry.mark == mark);
        let first = || (0..set.len()).min_by_key(|at| set.get(*at).map_or(0, |entry| entry.due));
        let Some(place) = own.or_else(first).and_then(|at| set.get_mut(at)) else { return true };
        // Never later than this rate puts it: a reload may have changed the rate.
        let latest = now.saturating_add(rate.ahead).saturating_add(rate.interval);
        place.due = place.due.min(latest);
        if place.due > now.saturating_add(rate.ahead) {
            return false;
        }
        if !comes {
            return true;
        }
        *place = Entry { mark, due: place.due.max(now).saturating_add(rate.interval) };
        true
    }
}

#[cfg(test)]
mod tests;
