//! What admission costs a connection: a look into sets of networks, and the count and rate of a source.

use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::num::NonZeroU32;
use std::time::{Duration, Instant};

use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use ipnet::IpNet;
use thalweg::config::checked::{ConnectionRate, Limits};
use thalweg::config::networks::Networks;
use thalweg::conn::admit::sources::{Source, SourceLimits, Sources};

/// Addresses that no cache and no predictor knows.
fn addresses() -> impl FnMut() -> u32 {
    let mut state = 0x9e37_79b9_u32;
    move || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        state
    }
}

fn networks_of(count: u32, v6: bool) -> Vec<IpNet> {
    let mut next = addresses();
    let network = |_| {
        let bits = next();
        let (address, length): (IpAddr, _) = if v6 {
            (Ipv6Addr::from(u128::from(bits) << 80 | 0x2001 << 112).into(), 48)
        } else {
            (Ipv4Addr::from(bits).into(), 24)
        };
        IpNet::new(address, length).expect("a length").trunc()
    };
    (0..count).map(network).collect()
}

fn networks(c: &mut Criterion) {
    for count in [10, 1_000, 100_000] {
        for v6 in [false, true] {
            let table: Networks = networks_of(count, v6).into_iter().collect();
            let family = if v6 { "IPv6" } else { "IPv4" };
            let mut next = addresses();
            c.bench_function(&format!("networks: an address among {count} of {family}"), |b| {
                b.iter(|| {
                    let bits = next();
                    let address: IpAddr = if v6 {
                        Ipv6Addr::from(u128::from(bits) << 80 | 0x2001 << 112).into()
                    } else {
                        Ipv4Addr::from(bits).into()
                    };
                    table.contains(black_box(address))
                });
            });
        }
    }
    let list = networks_of(100_000, false);
    c.bench_function("networks: make the table of 100,000", |b| {
        let make = |list: Vec<IpNet>| list.into_iter().collect::<Networks>();
        b.iter_batched(|| list.clone(), make, BatchSize::LargeInput);
    });
}

fn sources(c: &mut Criterion) {
    let some = |n| NonZeroU32::new(n).expect("not 0");
    let count = Limits { connections_per_source: Some(some(1000)), ..Limits::default() };
    let rate = ConnectionRate { count: some(1000), per: Duration::from_secs(1), burst: some(1000) };
    let both = Limits { connection_rate: Some(rate), ..count.clone() };
    for (name, limits) in [("count", count), ("count and rate", both)] {
        let limits = SourceLimits::of(&limits).expect("there are limits");
        for distinct in [1, 1_000_000] {
            let born = Instant::now();
            let table = Sources::new(born);
            let mut next = addresses();
            c.bench_function(
                &format!("sources: {name}, taken and given back, of {distinct}"),
                |b| {
                    b.iter(|| {
                        let source = Source::of(Ipv4Addr::from(next() % distinct).into());
                        if table.take(black_box(source), &limits, born).is_ok() {
                            table.release(source, &limits);
                        }
                    });
                },
            );
        }
    }
}

criterion_group!(benches, networks, sources);
criterion_main!(benches);
