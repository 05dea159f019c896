use std::collections::HashMap;
use std::thread;

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

fn limits(connections: u32, rate: Option<(u32, u64, u32)>) -> SourceLimits {
    let limits = checked::Limits {
        connections_per_source: NonZeroU32::new(connections),
        connection_rate: rate.map(|(count, per_ms, burst)| checked::ConnectionRate {
            count: NonZeroU32::new(count).unwrap(),
            per: Duration::from_millis(per_ms),
            burst: NonZeroU32::new(burst).unwrap(),
        }),
        ..checked::Limits::default()
    };
    SourceLimits::of(&limits).unwrap()
}

fn source(n: u32) -> Source {
    Source::V4(n)
}

#[test]
fn a_source_is_an_address_or_a_64() {
    let of = |text: &str| Source::of(text.parse().unwrap());
    assert_eq!(of("10.0.0.1"), of("::ffff:10.0.0.1"));
    assert_ne!(of("10.0.0.1"), of("10.0.0.2"));
    assert_eq!(of("2001:db8:1:2::1"), of("2001:db8:1:2:ffff:ffff:ffff:ffff"));
    assert_ne!(of("2001:db8:1:2::1"), of("2001:db8:1:3::1"));
    assert_eq!(of("2001:db8:1:2::1"), Source::V6(0x2001_0db8_0001_0002));
    assert_ne!(of("::a00:1"), of("10.0.0.1"));
}

#[test]
fn so_many_at_a_time() {
    let epoch = Instant::now();
    let table = Sources::new(epoch);
    let two = limits(2, None);
    assert_eq!(table.take(source(1), &two, epoch), Ok(()));
    assert_eq!(table.take(source(1), &two, epoch), Ok(()));
    assert_eq!(table.take(source(1), &two, epoch), Err(Cause::SourceLimit));
    assert_eq!(table.take(source(2), &two, epoch), Ok(()));
    table.release(source(1), &two);
    assert_eq!(table.take(source(1), &two, epoch), Ok(()));
    for (n, live) in [(1, 2), (2, 1), (3, 0)] {
        assert_eq!(table.live(source(n)), live);
        (0..live).for_each(|_| table.release(source(n), &two));
    }
    assert_eq!(table.live_of_all(), 0);
}

#[test]
fn so_many_in_a_time_and_at_once() {
    let epoch = Instant::now();
    let table = Sources::new(epoch);
    // Ten a second, three at once.
    let rate = limits(0, Some((10, 1000, 3)));
    let at = |ms| table.take(source(1), &rate, epoch + Duration::from_millis(ms));
    let late = Err(Cause::SourceRate);
    assert_eq!([at(0), at(0), at(0), at(0)], [Ok(()), Ok(()), Ok(()), late]);
    assert_eq!([at(99), at(100), at(100), at(199), at(200)], [late, Ok(()), late, late, Ok(())]);
    // After a rest the burst is whole again, and no more.
    assert_eq!([at(10_000), at(10_000), at(10_000), at(10_000)], [Ok(()), Ok(()), Ok(()), late]);
    assert_eq!(table.take(source(2), &rate, epoch), Ok(()));
    assert_eq!(table.live_of_all(), 0);
}

#[test]
fn a_refused_one_costs_nothing_and_a_new_rate_holds_at_once() {
    let epoch = Instant::now();
    let table = Sources::new(epoch);
    let hourly = limits(1, Some((1, 3_600_000, 1)));
    assert_eq!(table.take(source(1), &hourly, epoch), Ok(()));
    // The count is asked first: a refusal takes nothing of the rate, nor the other way round.
    assert_eq!(table.take(source(1), &hourly, epoch), Err(Cause::SourceLimit));
    table.release(source(1), &hourly);
    assert_eq!(table.take(source(1), &hourly, epoch), Err(Cause::SourceRate));
    assert_eq!(table.live_of_all(), 0);
    // A reload: an hour's debt is not one under ten a second.
    let quick = limits(1, Some((10, 1000, 1)));
    let later = |ms| epoch + Duration::from_millis(ms);
    assert_eq!(table.take(source(1), &quick, later(10)), Err(Cause::SourceRate));
    assert_eq!(table.take(source(1), &quick, later(111)), Ok(()));
}

/// Goal: a million sources need no more room than a few, and none of them gets more than its rate,
/// though most are forgotten.
#[test]
fn a_million_sources() {
    let epoch = Instant::now();
    let table = Sources::new(epoch);
    let twice = limits(5, Some((1, 60_000, 2)));
    let mut admitted = 0_u32;
    for round in 0..3_u64 {
        for n in 0..1_000_000 {
            // A million a minute.
            let at = epoch + Duration::from_micros((round * 1_000_000 + u64::from(n)) * 60);
            if table.take(source(n), &twice, at).is_ok() {
                admitted += 1;
                table.release(source(n), &twice);
            }
        }
    }
    let entries: usize = table.shards.iter().map(|shard| lock(shard).rates.len()).sum();
    assert_eq!(entries, limits::SOURCE_RATES);
    assert_eq!(table.live_of_all(), 0);
    // An entry per live source: none is left, and what they had is not kept for long.
    let room: usize = table.shards.iter().map(|shard| lock(shard).live.capacity()).sum();
    assert!(room <= limits::SOURCE_SHARDS * 4, "room for {room}");
    // 65,536 places at one a minute: no more than that, and the bursts, can have been let in.
    let most = (3 + 2) * u32::try_from(limits::SOURCE_RATES).unwrap();
    assert!((1..=most).contains(&admitted), "{admitted} of at most {most}");
}

/// Goal: as long as there are places, everybody is treated as if alone.
#[test]
fn many_sources_do_not_disturb_each_other() {
    let epoch = Instant::now();
    let table = Sources::new(epoch);
    let rate = limits(0, Some((10, 1000, 1)));
    let mut refused = 0;
    for round in 0..5 {
        for n in 0..10_000 {
            let at = epoch + Duration::from_millis(round * 100);
            refused += u32::from(table.take(source(n), &rate, at).is_err());
        }
    }
    // 10,000 sources in 8,192 sets of eight: hardly a set has nine.
    assert!(refused < 50, "{refused} of 50,000 were refused");
}

/// Goal: counts are exact under a rush from many threads.
#[test]
fn counts_are_exact_over_cores() {
    let epoch = Instant::now();
    let table = Sources::new(epoch);
    let most = limits(3, None);
    thread::scope(|scope| {
        for thread in 0..4_u32 {
            let (table, most) = (&table, &most);
            scope.spawn(move || {
                for n in 0..20_000_u32 {
                    let source = source((n + thread) % 7);
                    if table.take(source, most, epoch).is_ok() {
                        assert!(table.live(source) <= 3);
                        table.release(source, most);
                    }
                }
            });
        }
    });
    assert_eq!(table.live_of_all(), 0);
}

proptest! {
    /// The table against a model that forgets nothing: never more than the model allows; and exactly
    /// that, since few sources all have their place.
    #[test]
    fn as_the_model_says(
        steps in vec((0_u32..6, 0_u64..400, any::<bool>()), 1..200),
        most in 1_u32..4,
        count in 1_u32..8,
        burst in 1_u32..5,
    ) {
        let epoch = Instant::now();
        let table = Sources::new(epoch);
        let asked = limits(most, Some((count, 1000, burst)));
        let interval = 1_000_000_000_u64.div_ceil(u64::from(count));
        let mut live: HashMap<u32, u32> = HashMap::new();
        let mut due: HashMap<u32, u64> = HashMap::new();
        let mut now = 0;
        for (n, pause, leave) in steps {
            now += pause * 1_000_000;
            let has = live.entry(n).or_default();
            if leave && *has > 0 {
                *has -= 1;
                table.release(source(n), &asked);
                continue;
            }
            let at = due.entry(n).or_default();
            let expected = if *has >= most {
                Err(Cause::SourceLimit)
            } else if *at > now + interval * u64::from(burst - 1) {
                Err(Cause::SourceRate)
            } else {
                *at = (*at).max(now) + interval;
                *has += 1;
                Ok(())
            };
            let got = table.take(source(n), &asked, epoch + Duration::from_nanos(now));
            prop_assert_eq!(got, expected);
        }
        for (n, has) in live {
            prop_assert_eq!(table.live(source(n)), has);
            (0..has).for_each(|_| table.release(source(n), &asked));
        }
        prop_assert_eq!(table.live_of_all(), 0);
    }
}
