use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

const START: u64 = 10 * SECOND;

/// What a direction that always has something to send may move within so many seconds, alone.
fn moved(rate: u64, seconds: u64) -> u64 {
    let (limit, bucket) = (Bandwidth::new(rate), Bucket::default());
    let mut now = START;
    let mut total = 0;
    loop {
        let (bytes, wait) = limit.take(&bucket, limit.turn, now);
        now += wait;
        if now >= START + seconds * SECOND {
            return total;
        }
        total += bytes;
    }
}

#[test]
fn a_bandwidth_is_kept_in_the_long_run() {
    for rate in [1 << 10, 10_000, 1 << 20, 100 << 20, 1 << 30, 1 << 40] {
        let limit = Bandwidth::new(rate);
        let burst = u64::try_from(u128::from(limit.burst) * u128::from(rate) / 1_000_000_000);
        let most = 10 * rate + burst.unwrap() + limit.turn;
        let moved = moved(rate, 10);
        assert!(moved <= most, "{moved} of {most} at {rate}");
        assert!(moved >= 10 * rate / 100 * 98, "{moved} at {rate}");
    }
}

#[test]
fn a_burst_is_bounded_and_small_messages_do_not_wait() {
    let limit = Bandwidth::new(1 << 20);
    let bucket = Bucket::default();
    let mut now = START + 3600 * SECOND;
    // 100 ms' worth at once …
    let mut at_once = 0;
    loop {
        let (bytes, wait) = limit.take(&bucket, limit.turn, now);
        if wait > 0 {
            limit.give_back(&bucket, bytes);
            break;
        }
        at_once += bytes;
    }
    assert!((90 << 10..=115 << 10).contains(&at_once), "{at_once}");
    // … and with 10 ms' saved up a message is let through that is smaller than that.
    now += SECOND / 100;
    let (bytes, wait) = limit.take(&bucket, limit.turn, now);
    assert_eq!(wait, 0);
    assert!((1..=limit.turn).contains(&bytes));
}

#[test]
fn many_share_a_bandwidth_in_turns() {
    let (limit, bucket) = (Bandwidth::new(1 << 20), Bucket::default());
    let mut due: Vec<(u64, u64)> = vec![(START, 0); 50];
    loop {
        let next = due.iter_mut().min_by_key(|(at, _)| *at).unwrap();
        let (bytes, wait) = limit.take(&bucket, limit.turn, next.0);
        if next.0 + wait > START + 20 * SECOND {
            break;
        }
        *next = (next.0 + wait.max(1), next.1 + bytes);
    }
    let total: u64 = due.iter().map(|(_, bytes)| bytes).sum();
    assert!((19 << 20..=21 << 20).contains(&total), "{total}");
    let (least, most) = (due.iter().map(|it| it.1).min(), due.iter().map(|it| it.1).max());
    assert!(least.unwrap() * 2 > most.unwrap(), "{least:?} {most:?}");
}

#[test]
fn what_is_not_used_is_given_back() {
    let limit = Bandwidth::new(1 << 20);
    let whole = Arc::new(Whole::new(1 << 20));
    let bandwidths =
        Bandwidths { whole: Some(Arc::clone(&whole)), of_each: Some(Bandwidth::new(64 << 10)) };
    let paid = |side| whole.buckets.from(side).0.load(Ordering::Relaxed);
    let pace = Pace::new(&bandwidths);
    let (bytes, wait) = pace.take(Side::Client, u64::MAX, START);
    assert_eq!((bytes, wait), (16 << 10, 0));
    assert!(paid(Side::Client) > START - limit.burst);
    pace.settle(Side::Client, 0);
    assert!(paid(Side::Client).abs_diff(START - limit.burst) <= 2);
    // The connection is cut while it waits.
    let before = paid(Side::Upstream);
    let (_, _) = pace.take(Side::Upstream, u64::MAX, START);
    drop(pace);
    assert!(paid(Side::Upstream).abs_diff(before.max(START - limit.burst)) <= 2);
}

#[test]
fn behind_small_messages_nobody_waits_for_more_than_them() {
    let whole = Arc::new(Whole::new(64 << 10));
    let bandwidths = Bandwidths { whole: Some(Arc::clone(&whole)), of_each: None };
    let paces: Vec<Pace> = (0..21).map(|_| Pace::new(&bandwidths)).collect();
    whole.limit().charge(whole.buckets.from(Side::Client), 48 << 10);
    let now = whole.buckets.up.0.load(Ordering::Relaxed);
    // Twenty with ten bytes each wait; then comes one more.
    let waits: Vec<(u64, u64)> =
        paces.iter().map(|pace| pace.take(Side::Client, 10, now)).collect();
    assert!(waits.iter().all(|(bytes, _)| *bytes == 10));
    let (_, last) = waits[20];
    assert_eq!(last, whole.limit().cost(10) * 21);
    // The end of a stream takes its turn as well.
    assert_eq!(Pace::new(&bandwidths).take(Side::Client, 0, now).0, 1);
}

#[test]
fn a_new_rate_is_that_of_old_connections_too() {
    let whole = Arc::new(Whole::new(1 << 20));
    let bandwidths = Bandwidths { whole: Some(Arc::clone(&whole)), of_each: None };
    let (old, now) = (Pace::new(&bandwidths), now() + 10 * SECOND);
    let bucket = &whole.buckets.up.0;
    bucket.store(now, Ordering::Relaxed);
    assert_eq!(old.take(Side::Client, 1 << 14, now), (1 << 14, SECOND / 64));
    old.settle(Side::Client, 1 << 14);
    bucket.store(now, Ordering::Relaxed);
    whole.set_rate(1 << 16);
    bucket.store(now, Ordering::Relaxed);
    assert_eq!(old.take(Side::Client, 1 << 14, now), (1 << 14, SECOND / 4));
}

#[test]
fn a_debt_is_paid_at_the_new_rate() {
    let whole = Whole::new(1 << 10);
    let owes = |seconds: u64| now() + seconds * SECOND;
    whole.buckets.up.0.store(owes(1000), Ordering::Relaxed);
    whole.set_rate(100 << 10);
    let paid = whole.buckets.up.0.load(Ordering::Relaxed);
    assert!(paid.abs_diff(owes(10)) < SECOND, "{paid}");
    whole.set_rate(1 << 10);
    let paid = whole.buckets.up.0.load(Ordering::Relaxed);
    assert!(paid.abs_diff(owes(1000)) < 200 * SECOND, "{paid}");
}

proptest! {
    /// However turns are taken, used in part and given back: within any time no more is used than
    /// the burst and what the time is worth.
    #[test]
    fn never_more_than_the_bandwidth(
        rate in 1024_u64..1 << 30,
        steps in vec((0_u64..100, 0_u64..=100), 1..300),
    ) {
        let limit = Bandwidth::new(rate);
        let pace = Pace::new(&Bandwidths { whole: None, of_each: Some(limit) });
        let mut now = START;
        let mut used = 0;
        for (pause, percent) in steps {
            now += pause * 1_000_000;
            let (bytes, wait) = pace.take(Side::Client, u64::MAX, now);
            now += wait;
            let read = bytes * percent / 100;
            used += read;
            pace.settle(Side::Client, usize::try_from(read).unwrap());
            let worth = u128::from(now - START + limit.burst) * u128::from(rate) / 1_000_000_000;
            prop_assert!(u128::from(used) <= worth + 1 + 300, "{} of {}", used, worth);
        }
    }
}
