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
    of_text(&text)
}

fn of_text(text: &str) -> Snapshot {
    let loaded = crate::config::load_text(text, Path::new("/"));
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
    let counted = counts(pool, 1000);
    assert!(counted[0].abs_diff(500) <= 2 && counted[1] == 0 && counted[3] == 0, "{counted:?}");
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

/// Takes targets out, or in again.
fn judge(pool: &Pool, up: &[bool]) {
    for (target, up) in pool.targets.iter().zip(up) {
        target.state.has_checks(&[1]);
        target.state.judge(1, *up);
    }
}

const WAYS: [&str; 7] = [
    "RoundRobin",
    "WeightedRoundRobin",
    "LeastConnections",
    "PowerOfTwo",
    "SourceHash",
    "Random",
    "First",
];

#[test]
fn what_is_down_or_ejected_is_not_chosen() {
    for way in WAYS {
        let snapshot = snapshot(way, &["", "", "", ""]);
        let pool = pool(&snapshot);
        judge(pool, &[false, true, true, true]);
        pool.targets[3].state.eject(std::time::Duration::from_secs(1));
        let counted = counts(pool, 600);
        assert_eq!((counted[0], counted[3]), (0, 0), "{way}: {counted:?}");
        let even = counted[1].abs_diff(300) < 75;
        assert!(even || way == "First", "{way}: {counted:?}");
        judge(pool, &[false; 4]);
        assert_eq!(choose(pool, None, &Tried::default()), Choice::None, "{way}");
    }
}

#[test]
fn a_backup_takes_over_while_no_other_is_up() {
    for way in WAYS {
        let snapshot = snapshot(way, &["", "", r#", "backup": true"#]);
        let pool = pool(&snapshot);
        judge(pool, &[false, true, true]);
        assert_eq!(counts(pool, 100)[1], 100, "{way}");
        judge(pool, &[false, false, true]);
        assert_eq!(counts(pool, 100)[2], 100, "{way}");
        judge(pool, &[true, false, true]);
        assert_eq!(counts(pool, 100)[0], 100, "{way}");
    }
}

#[test]
fn below_the_panic_threshold_health_is_ignored() {
    for way in ["RoundRobin", "WeightedRoundRobin", "LeastConnections", "Random"] {
        let mut snapshot = snapshot(way, &["", "", "", "", r#", "backup": true"#]);
        let listener = snapshot.listeners.values_mut().next().unwrap();
        let listener = std::sync::Arc::get_mut(listener).unwrap();
        let service = std::sync::Arc::get_mut(&mut listener.first).unwrap();
        service.pools[0].panic_threshold = 50;
        let pool = pool(&snapshot);
        judge(pool, &[true, true, false, false, false]);
        let counted = counts(pool, 400);
        assert_eq!(counted[2..], [0, 0, 0], "{way}: half are up, which is enough");
        judge(pool, &[true, false, false, false, false]);
        let counted = counts(pool, 400);
        let even = counted[..4].iter().all(|count| count.abs_diff(100) < 40);
        assert!(even && counted[4] == 0, "{way}: {counted:?}");
        // One that must pass a check first is not tried.
        judge(pool, &[false; 5]);
        pool.targets[0].state.begin(false);
        assert_eq!(counts(pool, 300)[0], 0, "{way}");
        judge(pool, &[false, false, false, false, true]);
        assert_eq!(counts(pool, 100)[4], 100, "{way}: a backup that is up is better");
    }
}

#[test]
fn one_that_starts_slowly_gets_its_part() {
    for way in ["RoundRobin", "WeightedRoundRobin", "Random", "SourceHash"] {
        let snapshot = snapshot(way, &["", "", ""]);
        let pool = pool(&snapshot);
        for (share, wanted) in [(100, 143), (500, 600), (1000, 1000)] {
            pool.targets[2].state.set_share(share);
            let counted = counts(pool, 3000);
            let near = counted[2].abs_diff(wanted) < 75 && counted[0].abs_diff(counted[1]) < 150;
            // Turns are passed on to itself as well.
            let in_turn = way.ends_with("RoundRobin") && counted[2].abs_diff(wanted) < 100;
            assert!(near || in_turn, "{way} {share}: {counted:?}");
        }
    }
    // Connections that stay: as many as the shares say.
    for way in ["LeastConnections", "PowerOfTwo"] {
        let snapshot = snapshot(way, &["", ""]);
        let pool = pool(&snapshot);
        pool.targets[1].state.set_share(250);
        for number in 0..500 {
            assert!(matches!(choose(pool, client(number), &Tried::default()), Choice::Target(_)));
        }
        let live = pool.targets[1].state.live.load(Ordering::Relaxed);
        assert!(live.abs_diff(100) < 5, "{way}: {live}");
    }
}

#[test]
fn a_target_that_goes_down_moves_only_its_own_clients() {
    let snapshot = snapshot("SourceHash", &["", "", "", ""]);
    let pool = pool(&snapshot);
    let of = |number| choose(pool, client(number), &Tried::default());
    let before: Vec<Choice> = (0..2000).map(of).collect();
    judge(pool, &[true, false, true, true]);
    for (number, before) in (0..2000).zip(&before) {
        let now = of(number);
        assert!(now == *before || *before == Choice::Target(1));
        assert_ne!(now, Choice::Target(1));
    }
    judge(pool, &[true; 4]);
    assert_eq!((0..2000).map(of).collect::<Vec<_>>(), before, "they come back");
}

#[test]
fn tiers_follow_each_other() {
    for way in WAYS {
        let snapshot = snapshot(
            way,
            &[r#", "tier": 9"#, r#", "tier": 2"#, "", r#", "weight": 0"#, r#", "tier": 2"#],
        );
        let pool = pool(&snapshot);
        assert_eq!(*pool.tiers, [0, 2, 9]);
        assert_eq!(counts(pool, 100)[2], 100, "{way}");
        judge(pool, &[true, true, false, true, true]);
        let counted = counts(pool, 100);
        assert_eq!((counted[0], counted[1] + counted[4]), (0, 100), "{way}");
        judge(pool, &[true, false, false, true, false]);
        assert_eq!(counts(pool, 100)[0], 100, "{way}");
        judge(pool, &[false; 5]);
        assert_eq!(choose(pool, client(1), &Tried::default()), Choice::None, "{way}");
    }
    let none_low = snapshot("RoundRobin", &[r#", "tier": 3"#, r#", "backup": true"#]);
    assert_eq!(counts(pool(&none_low), 10), [0, 10], "a pool need not begin with tier 0");
}

/// A pool in which the rejecting targets have these weights, the others those.
fn rejecting(way: &str, rejects: &[u32], others: &[u32]) -> Snapshot {
    let rejects = rejects.iter().map(|weight| format!(r#"{{"reject": true, "weight": {weight}}}"#));
    let others = (1..).zip(others).map(|(port, weight)| {
        format!(r#"{{"host": "10.0.0.1", "port": {port}, "weight": {weight}}}"#)
    });
    let list: Vec<String> = rejects.chain(others).collect();
    let list = list.join(",");
    of_text(&format!(
        r#"{{"services": [{{"id": "a", "port": 7000, "loadBalancing": "{way}",
            "rules": [{{"targets": [{list}]}}]}}]}}"#
    ))
}

/// How many of so many connections are refused, and how many find no target.
fn refused(pool: &Pool, clients: u32) -> (u32, u32) {
    let (mut rejected, mut none) = (0, 0);
    for number in 0..clients {
        match choose_first(pool, client(number)) {
            Choice::Target(index) => pool.targets[index].release(),
            Choice::Rejected => rejected += 1,
            Choice::None => none += 1,
            Choice::Full => panic!("nothing is full"),
        }
    }
    (rejected, none)
}

#[test]
fn the_share_of_those_that_refuse_is_exact_whatever_the_others_are() {
    for way in WAYS {
        let snapshot = rejecting(way, &[1, 2], &[4, 5]);
        let pool = pool(&snapshot);
        assert_eq!(pool.targets.len(), 2, "it is no target");
        let (rejected, all) = if way == "RoundRobin" { (2, 4) } else { (3, 12) };
        for up in [[true, true], [true, false], [false, false]] {
            judge(pool, &up);
            let wanted = if up == [false; 2] { 10 * (all - rejected) } else { 0 };
            assert_eq!(refused(pool, 10 * all), (10 * rejected, wanted), "{way} {up:?}");
        }
        judge(pool, &[true; 2]);
        let mut tried = Tried::default();
        tried.add(0);
        for _ in 0..20 {
            assert_eq!(
                choose(pool, None, &tried),
                Choice::Target(1),
                "{way}: a retry is not refused"
            );
            pool.targets[1].release();
        }
    }
    let turns = |rejects: &[u32], others: &[u32]| -> Vec<bool> {
        let snapshot = rejecting("WeightedRoundRobin", rejects, others);
        (0..8).map(|at| choose_first(pool(&snapshot), client(at)) == Choice::Rejected).collect()
    };
    let (yes, no) = (true, false);
    assert_eq!(turns(&[1], &[3]), [no, no, no, yes, no, no, no, yes], "one at a time");
    assert_eq!(turns(&[1], &[]), [yes; 8]);
    assert_eq!(turns(&[7], &[0]), [yes; 8]);
    assert_eq!(turns(&[0], &[3]), [no; 8]);
}

#[test]
fn higher_tiers_take_nothing_of_the_share_that_is_refused() {
    let text = r#"{"services": [{"id": "a", "port": 7000, "rules": [{"targets": [
        {"reject": true}, {"host": "10.0.0.1"}, {"host": "10.0.0.2", "tier": 4}]}]}]}"#;
    assert_eq!(refused(pool(&of_text(text)), 100), (50, 0));
}

proptest::proptest! {
    /// Of every round exactly as many are refused as the weights say.
    #[test]
    fn rounds_are_exact(
        way in 0_usize..7,
        rejects in proptest::collection::vec(0_u32..50, 1..4),
        others in proptest::collection::vec(0_u32..50, 0..4),
        rounds in 1_u32..4,
    ) {
        let snapshot = rejecting(WAYS[way], &rejects, &others);
        let sum = |weights: &[u32]| -> u32 {
            let plain = WAYS[way] == "RoundRobin";
            weights.iter().map(|weight| if plain { *weight.min(&1) } else { *weight }).sum()
        };
        let (rejected, all) = (sum(&rejects), sum(&rejects) + sum(&others));
        let (got, _) = refused(pool(&snapshot), all * rounds);
        proptest::prop_assert_eq!(got, rejected * rounds);
    }

    /// However targets come and go between choices: what is chosen could be, and nothing is refused
    /// that could be served.
    #[test]
    fn flapping(
        way in 0_usize..7,
        flaps in proptest::collection::vec((0_usize..5, proptest::bool::ANY, 1_u32..1000), 1..200),
    ) {
        let snapshot = snapshot(WAYS[way], &["", "", r#", "weight": 3"#, r#", "backup": true"#, ""]);
        let pool = pool(&snapshot);
        for (number, (index, up, share)) in (0..).zip(flaps) {
            pool.targets[index].state.has_checks(&[1]);
            pool.targets[index].state.judge(1, up);
            pool.targets[index].state.set_share(share);
            let choice = choose(pool, client(number), &Tried::default());
            let able = |target: &&Target| target.state.is_up();
            match choice {
                Choice::Target(index) => {
                    let target = &pool.targets[index];
                    proptest::prop_assert!(target.state.is_up());
                    let primary = pool.targets.iter().filter(able).any(|target| target.tier == 0);
                    proptest::prop_assert!(target.tier == 0 || !primary);
                    target.release();
                }
                Choice::None => proptest::prop_assert!(!pool.targets.iter().any(|it| able(&it))),
                Choice::Full | Choice::Rejected => {
                    proptest::prop_assert!(false, "nothing is full, and nobody refused");
                }
            }
        }
    }
}
