//! Limits on bandwidth: how many bytes a direction may move now. The relay asks before it reads, so that
//! what is held back waits with its sender.
//!
//! A bucket fills evenly and holds a bounded burst. It is one number, the time at which what has been
//! taken is paid for. A direction takes what waits to be read, a turn's worth at most, and gives back
//! what it did not read. When the bucket is empty it takes what will be there and waits until then, so
//! that all who wait at a limit are served in the order in which they came. Nobody takes more than it
//! could use: whoever is behind it would wait for that too.

use std::cell::Cell;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::config::limits;
use crate::conn::ending::Side;
use crate::conn::live::Live;
use crate::conn::relay::Flow;
use crate::io::socket;
use crate::rt;

/// What has been taken of a bandwidth, in one direction: the time, in ns, at which it is paid for.
#[derive(Debug, Default)]
pub struct Bucket(AtomicU64);

/// The buckets of the two directions.
#[derive(Debug, Default)]
pub struct Buckets {
    up: Bucket,
    down: Bucket,
}

impl Buckets {
    /// That of the bytes which come from this side.
    fn from(&self, side: Side) -> &Bucket {
        if side == Side::Upstream { &self.down } else { &self.up }
    }
}

/// A bandwidth, ready to be reckoned with.
#[derive(Debug, Clone, Copy)]
pub struct Bandwidth {
    /// Bytes per second, not 0.
    rate: u64,
    /// What may be saved up, in ns.
    burst: u64,
    /// Bytes of one turn.
    turn: u64,
}

const SECOND: u64 = 1_000_000_000;

impl Bandwidth {
    /// So many bytes per second.
    pub fn new(rate: u64) -> Self {
        let rate = rate.max(1);
        let tenth = u64::try_from(limits::BANDWIDTH_BURST.as_nanos()).unwrap_or(SECOND);
        let least = limits::BANDWIDTH_BURST_MIN.saturating_mul(SECOND) / rate;
        let burst = tenth.max(least.min(SECOND));
        let (smallest, largest) = limits::BANDWIDTH_TURN;
        Self { rate, burst, turn: (rate / 256).clamp(smallest.min(rate), largest) }
    }

    /// What so many bytes cost, in ns; rounded up.
    fn cost(self, bytes: u64) -> u64 {
        bytes.saturating_mul(SECOND).div_ceil(self.rate)
    }

    /// Takes up to `most` bytes, `most` being one turn at most: how many, and how long to wait for
    /// them.
    fn take(self, bucket: &Bucket, most: u64, now: u64) -> (u64, u64) {
        let mut paid = bucket.0.load(Ordering::Relaxed);
        loop {
            let from = paid.max(now.saturating_sub(self.burst));
            let whole = self.cost(most);
            let there = now.saturating_sub(from);
            // A quarter of it at once rather than all of it later.
            let (bytes, cost) = if there >= whole || there < whole / 4 {
                (most, whole)
            } else {
                let bytes = u128::from(there) * u128::from(self.rate) / u128::from(SECOND);
                let bytes = u64::try_from(bytes).unwrap_or(most).clamp(1, most);
                (bytes, self.cost(bytes))
            };
            let next = from.saturating_add(cost);
            match bucket.0.compare_exchange_weak(paid, next, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => return (bytes, next.saturating_sub(now)),
                Err(other) => paid = other,
            }
        }
    }

    fn give_back(self, bucket: &Bucket, bytes: u64) {
        // Rounded down: what was taken in parts was rounded up in each.
        let cost = bytes.saturating_mul(SECOND) / self.rate;
        let less = |paid: u64| Some(paid.saturating_sub(cost));
        let _ = bucket.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less);
    }

    fn charge(self, bucket: &Bucket, bytes: u64) {
        let floor = now().saturating_sub(self.burst);
        let more = |paid: u64| Some(paid.max(floor).saturating_add(self.cost(bytes)));
        let _ = bucket.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more);
    }
}

/// The bandwidth of a service, which all its connections share: those of before a reload too.
#[derive(Debug)]
pub struct Whole {
    /// Bytes per second, not 0.
    rate: AtomicU64,
    buckets: Buckets,
}

impl Whole {
    /// So many bytes per second.
    pub fn new(rate: u64) -> Self {
        Self { rate: AtomicU64::new(rate.max(1)), buckets: Buckets::default() }
    }

    /// From now on so many bytes per second. Bytes that were taken and are not paid for yet are paid
    /// for at the new rate.
    pub fn set_rate(&self, rate: u64) {
        let rate = rate.max(1);
        let before = self.rate.swap(rate, Ordering::Relaxed);
        if before == rate {
            return;
        }
        let now = now();
        let later = |paid: u64| {
            let debt = paid.checked_sub(now).filter(|debt| *debt > 0)?;
            Some(now.saturating_add(rescaled(debt, before, rate)))
        };
        for bucket in [&self.buckets.up, &self.buckets.down] {
            let _ = bucket.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, later);
        }
    }

    fn rate(&self) -> u64 {
        self.rate.load(Ordering::Relaxed)
    }

    fn limit(&self) -> Bandwidth {
        Bandwidth::new(self.rate())
    }
}

/// How long something takes at another rate.
fn rescaled(ns: u64, before: u64, after: u64) -> u64 {
    let ns = u128::from(ns) * u128::from(before) / u128::from(after.max(1));
    u64::try_from(ns).unwrap_or(u64::MAX)
}

/// The clock of the buckets, in ns. It begins late enough that a new bucket is full.
fn now() -> u64 {
    static EPOCH: LazyLock<Instant> = LazyLock::new(Instant::now);
    u64::try_from((EPOCH.elapsed() + Duration::from_secs(2)).as_nanos()).unwrap_or(u64::MAX)
}

/// The limits on bandwidth of a service; at least one of them is there.
#[derive(Debug, Clone)]
pub struct Bandwidths {
    /// Of all its connections together; kept over reloads.
    pub whole: Option<Arc<Whole>>,
    /// Of each connection that comes from now on.
    pub of_each: Option<Bandwidth>,
}

/// The pace of one connection; gives back what it has taken and not used.
#[derive(Debug)]
pub struct Pace {
    whole: Option<Arc<Whole>>,
    of_each: Option<(Bandwidth, Buckets)>,
    /// Bytes taken and not read yet, up and down.
    taken: [Cell<u64>; 2],
}

impl Pace {
    /// `None` where the connection's service has no limit.
    pub fn of(live: &Live) -> Option<Box<Self>> {
        live.service().bandwidths.as_deref().map(|bandwidths| Box::new(Self::new(bandwidths)))
    }

    fn new(bandwidths: &Bandwidths) -> Self {
        let whole = bandwidths.whole.clone();
        let of_each = bandwidths.of_each.map(|limit| (limit, Buckets::default()));
        Self { whole, of_each, taken: [const { Cell::new(0) }; 2] }
    }

    fn taken(&self, from: Side) -> &Cell<u64> {
        let [up, down] = &self.taken;
        if from == Side::Upstream { down } else { up }
    }

    /// How much of what comes from this side may be read now, in bytes, where so many wait to be read;
    /// waits until it may.
    pub async fn turn(&self, live: &Live, from: Side, unread: usize) -> usize {
        let (bytes, wait) = self.take(from, unread as u64, now());
        if wait > 0 {
            live.held_back(true);
            self.wait(wait).await;
            live.held_back(false);
        }
        usize::try_from(bytes).unwrap_or(usize::MAX)
    }

    /// Waits so many ns; the rest of them shrinks or grows when a reload changes the rate meanwhile.
    async fn wait(&self, mut ns: u64) {
        let look = u64::try_from(limits::BANDWIDTH_LOOK.as_nanos()).unwrap_or(SECOND);
        let rate = || self.whole.as_ref().map_or(1, |whole| whole.rate());
        let mut before = rate();
        while ns > 0 {
            let part = ns.min(look);
            rt::sleep(Duration::from_nanos(part)).await;
            let after = rate();
            ns = rescaled(ns - part, before, after);
            before = after;
        }
    }

    /// Takes a turn's bytes, `most` at most: how many, and after how many ns they are there. The end of
    /// a stream costs a byte too, for it stands behind all that is waited for.
    fn take(&self, from: Side, most: u64, now: u64) -> (u64, u64) {
        self.settle(from, 0);
        let mut most = most.clamp(1, limits::BANDWIDTH_TURN.1);
        let mut wait = 0;
        if let Some((limit, buckets)) = &self.of_each {
            (most, wait) = limit.take(buckets.from(from), limit.turn.min(most), now);
        }
        if let Some(whole) = &self.whole {
            let limit = whole.limit();
            let (bytes, later) = limit.take(whole.buckets.from(from), limit.turn.min(most), now);
            if let Some((limit, buckets)) = &self.of_each {
                limit.give_back(buckets.from(from), most - bytes);
            }
            (most, wait) = (bytes, wait.max(later));
        }
        self.taken(from).set(most);
        (most, wait)
    }

    /// So many bytes of the turn were read.
    pub fn settle(&self, from: Side, read: usize) {
        let taken = self.taken(from).take();
        let back = taken.saturating_sub(read as u64);
        if back == 0 {
            return;
        }
        if let Some((limit, buckets)) = &self.of_each {
            limit.give_back(buckets.from(from), back);
        }
        if let Some(whole) = &self.whole {
            whole.limit().give_back(whole.buckets.from(from), back);
        }
    }

    /// Bytes that were read before anybody asked.
    pub fn charge(&self, from: Side, bytes: usize) {
        if let Some((limit, buckets)) = &self.of_each {
            limit.charge(buckets.from(from), bytes as u64);
        }
        if let Some(whole) = &self.whole {
            whole.limit().charge(whole.buckets.from(from), bytes as u64);
        }
    }
}

impl Drop for Pace {
    fn drop(&mut self) {
        self.settle(Side::Client, 0);
        self.settle(Side::Upstream, 0);
    }
}

impl Flow<'_> {
    /// How much may be read now, where a limit on bandwidth says so: waits for the direction's turn, and
    /// if asked to, before that, until there is something to read. Who takes a turn while there is nothing
    /// holds others back for nothing.
    pub(crate) fn turn(&self, readable: bool) -> Option<Pin<Box<dyn Future<Output = usize> + '_>>> {
        let pace = self.shared.pace.as_deref()?;
        Some(Box::pin(async move {
            if readable {
                let _ = self.from.readable().await;
            }
            pace.turn(self.live, self.source, socket::unread(self.from.fd())).await
        }))
    }

    /// So much was read of a turn.
    pub(crate) fn settle(&self, read: usize) {
        if let Some(pace) = &self.shared.pace {
            pace.settle(self.source, read);
        }
    }

    /// So much was read before the relay began.
    pub(crate) fn charge(&self, bytes: usize) {
        if let Some(pace) = &self.shared.pace {
            pace.charge(self.source, bytes);
        }
    }
}

#[cfg(test)]
mod tests;
