use std::collections::HashMap;
use std::collections::HashSet;
use std::path::Path;

use super::*;
use crate::config::found::Found;
use crate::config::snapshot::{Kept, Snapshot};
use crate::tls::material::Material;

/// A pool made as it is in life: from a configuration.
fn snapshot(balancing: &str, targets: &[&str]) -> Snapshot {
    let targets: Vec<String> = (1..)
        .zip(targets)
        .map(|(port, rest)| format!(r#"{{ "host": "10.0.0.1", "port": {port} {rest} }}"#))
        .collect();
    let text = format!(
        r#"{{ "services": [ {{ "id": "a", "port": 7000, "loadBalancing": "{balancing}",
            "rules": [ {{ "targets": [ {} ] }} ] }} ] }}"#,
        targets.join(",")
    );
    let loaded = crate::config::load_text(&text, Path::new("/"));
    let checked = loaded.checked.unwrap_or_else(|| panic!("{:?}", loaded.diagnostics));
    let kept = Kept::default();
    kept.snapshot(1, &checked.services, &Found::new(), &Material::default(), HashSet::new())
        .unwrap()
        .0
}

fn pool(snapshot: &Snapshot) -> &Pool {
    snapshot.listeners.values().next().unwrap().first.pool(0).unwrap()
}

fn client(number: u32) -> Option<IpAddr> {
    Some(IpAddr::from((0x0a00_0000 + number).to_be_bytes()))
}

/// How often each target is chosen by so many clients, each of which leaves at once.
fn counts(pool: &Pool, clients: u32) -> Vec<u32> {
    let mut counts = vec![0; pool.targets.len()];
    for number in 0..clients {
        let Choice::Target(index) = choose(pool, client(number), &Tried::default()) else {
            panic!("nothing was chosen");
        };
        pool.targets[index].release();
        counts[index] += 1;
    }
    counts
}

#[test]
fn schedules_are_smooth() {
    assert_eq!(*schedule(&[5, 1, 1]), [0, 0, 1, 0, 2, 0, 0]);
    assert_eq!(*schedule(&[1, 1, 1]), [0, 1, 2]);
    assert_eq!(*schedule(&[100, 100]), [0, 1]);
    assert_eq!(*schedule(&[0, 3]), [1]);
    assert_eq!(*schedule(&[]), [0_u16; 0]);
    assert_eq!(*schedule(&[0, 0]), [0_u16; 0]);
    let large = schedule(&[65_535, 1, 32_000]);
    assert!(large.len() <= limits::SCHEDULE_MAX + 3, "{}", large.len());
    assert!(large.contains(&1), "a small weight still has a turn");
}

#[test]
fn each_way_spreads_as_it_says() {
    let weights = [r#", "weight": 1"#, r#", "weight": 2"#, r#", "weight": 1"#];
    let spread = |balancing: &str| counts(pool(&snapshot(balancing, &weights)), 4000);
    assert_eq!(spread("RoundRobin"), [1334, 1333, 1333]);
    assert_eq!(spread("WeightedRoundRobin"), [1000, 2000, 1000]);
    assert_eq!(spread("First"), [4000, 0, 0]);
    for balancing in ["Random", "SourceHash"] {
        let counts = spread(balancing);
        let near =
            counts.iter().zip([1000_u32, 2000, 1000]).all(|(n, wanted)| n.abs_diff(wanted) < 150);
        assert!(near, "{balancing}: {counts:?}");
    }
    let counts = spread("PowerOfTwo");
    assert!(counts.iter().all(|n| *n > 500), "{counts:?}");
}

#[test]
fn the_least_loaded_for_its_weight_is_chosen() {
    for balancing in ["LeastConnections", "PowerOfTwo"] {
        let snapshot = snapshot(balancing, &["", r#", "weight": 3"#]);
        let pool = pool(&snapshot);
        for number in 0..400 {
            assert!(matches!(choose(pool, client(number), &Tried::default()), Choice::Target(_)));
        }
        let live: Vec<u32> =
            pool.targets.iter().map(|target| target.state.live.load(Ordering::Relaxed)).collect();
        assert_eq!(live, [100, 300], "{balancing}");
    }
}

#[test]
fn a_target_that_leaves_moves_only_its_own_clients() {
    let before = snapshot("SourceHash", &["", "", "", ""]);
    let after = snapshot("SourceHash", &["", "", "", r#", "weight": 0"#]);
    for number in 0..2000 {
        let of = |snapshot| choose(pool(snapshot), client(number), &Tried::default());
        let (one, other) = (of(&before), of(&after));
        assert!(one == other || one == Choice::Target(3), "{one:?} {other:?}");
        assert_eq!(one, of(&before), "the same client, the same target");
    }
}

#[test]
fn tried_full_and_drained_targets_leave_their_turns_to_all_others() {
    let limited = r#", "maxConnections": 1"#;
    let snapshot = snapshot("RoundRobin", &["", limited, "", r#", "weight": 0"#]);
    let pool = pool(&snapshot);
    assert!(pool.targets[1].take());
    assert_eq!(counts(pool, 1000), [500, 0, 500, 0]);
    let mut tried = Tried::default();
    tried.add(0);
    assert_eq!(choose(pool, None, &tried), Choice::Target(2));
    tried.add(2);
    assert_eq!(choose(pool, None, &tried), Choice::Full);
    tried.add(1);
    assert_eq!(choose(pool, None, &tried), Choice::None);
}

#[test]
fn backups_come_last() {
    let snapshot = snapshot(
        "RoundRobin",
        &[r#", "maxConnections": 2"#, r#", "backup": true"#, r#", "backup": true"#],
    );
    let pool = pool(&snapshot);
    let chosen: Vec<Choice> = (0..6).map(|_| choose(pool, None, &Tried::default())).collect();
    let mut times = HashMap::new();
    for choice in &chosen {
        let Choice::Target(index) = choice else { panic!("{chosen:?}") };
        *times.entry(*index).or_insert(0) += 1;
    }
    assert_eq!(chosen[..2], [Choice::Target(0), Choice::Target(0)]);
    assert_eq!(times, HashMap::from([(0, 2), (1, 2), (2, 2)]));
}
