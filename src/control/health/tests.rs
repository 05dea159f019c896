use std::path::Path;

use super::*;
use crate::config::checked::SendHeader;
use crate::config::found::Found;
use crate::config::snapshot::{Kept, Status};
use crate::tls::material::Material;

/// The snapshot of a service `a` with these members.
fn snapshot(kept: &Kept, members: &str) -> (Snapshot, Kept) {
    let text = format!(r#"{{ "services": [ {{ "id": "a", "port": 7000, {members} }} ] }}"#);
    let loaded = crate::config::load_text(&text, Path::new("/"));
    let checked = loaded.checked.unwrap_or_else(|| panic!("{:?}", loaded.diagnostics));
    kept.snapshot(1, &checked.services, &Found::new(), &Material::default(), HashSet::new())
        .unwrap()
}

#[test]
fn not_too_many_of_a_pool_are_ejected() {
    let target = |port| format!(r#"{{ "host": "10.0.0.1", "port": {port} }}"#);
    for (count, percent, most) in
        [(1, 100, 0), (2, 1, 1), (2, 50, 1), (2, 100, 1), (4, 50, 2), (5, 50, 2), (5, 10, 1)]
    {
        let list: Vec<String> = (1..=count).map(target).collect();
        let rules = format!(r#""rules": [ {{ "targets": [ {} ] }} ]"#, list.join(","));
        let (snapshot, _) = self::snapshot(&Kept::default(), &rules);
        let pool = targets(&snapshot).next().unwrap().1;
        for target in pool.targets.iter().take_while(|_| may_lose(pool, percent)) {
            target.state.eject(Duration::from_secs(1));
        }
        let out = pool.targets.iter().filter(|target| target.state.is_ejected()).count();
        assert_eq!(out, most, "{count} targets, at most {percent} %");
    }
}

#[test]
fn those_that_checks_hold_down_are_out_too() {
    let targets = |count: u16| {
        let target = |port| format!(r#"{{ "host": "10.0.0.1", "port": {port} }}"#);
        let list: Vec<String> = (1..=count).map(target).collect();
        let rules = format!(r#""rules": [ {{ "targets": [ {} ] }} ]"#, list.join(","));
        snapshot(&Kept::default(), &rules).0
    };
    for (count, percent, may) in [(2, 100, false), (3, 100, true), (3, 50, false), (4, 50, true)] {
        let snapshot = targets(count);
        let pool = self::targets(&snapshot).next().unwrap().1;
        pool.targets[0].state.has_checks(&[1]);
        pool.targets[0].state.judge(1, false);
        assert_eq!(may_lose(pool, percent), may, "1 of {count} down, at most {percent} %");
    }
}

/// Health of this snapshot, whose checks a test makes itself.
fn health(snapshot: Snapshot) -> (Health, Receiver<Arc<TargetState>>) {
    let process = Arc::new(Process::without_cores(snapshot));
    let (mut health, downs) = Health::start(Arc::clone(&process), 1);
    health.follow(&process.snapshot.load());
    (health, downs)
}

/// What the checks that are made so find; those whose connections are to be cut.
fn finds(health: &Health, header: SendHeader, passed: bool) -> Vec<Follower> {
    let outcome = || match passed {
        true => Outcome::Passed,
        false => Outcome::Failed { reason: "fails".into(), transcript: Vec::new() },
    };
    let checks = health.checks.iter().filter(|(key, _)| key.probe.header == header);
    checks.flat_map(|(_, (it, _))| it.take(outcome(), Duration::ZERO, &health.common).0).collect()
}

const CHECK: &str = r#""interval": "1h", "fastInterval": "1h", "rise": 1"#;

fn states(health: &Health) -> Vec<Arc<TargetState>> {
    let snapshot = health.common.process.snapshot.load();
    targets(&snapshot).map(|(.., target)| Arc::clone(&target.state)).collect()
}

#[tokio::test]
async fn two_checks_of_one_target_do_not_take_turns() {
    let rule = |domain: &str, version: &str| {
        format!(
            r#"{{ "domain": "{domain}", "targets": [
                {{ "host": "10.0.0.1", "port": 1, "proxyProtocol": "{version}" }} ] }}"#
        )
    };
    let members = format!(
        r#""tls": "PassThrough", "sni": {{ "enabled": true }}, "rules": [ {}, {} ],
           "healthCheck": {{ {CHECK}, "fall": 1, "onDown": "Close" }}"#,
        rule("a.test", "V1"),
        rule("b.test", "V2")
    );
    let (health, _downs) = health(snapshot(&Kept::default(), &members).0);
    assert_eq!(health.checks.len(), 2);
    let state = &states(&health)[0];
    let mut cut = 0;
    for _ in 0..5 {
        cut += finds(&health, SendHeader::V1, true).len();
        cut += finds(&health, SendHeader::V2, false).len();
    }
    assert_eq!((state.report().status, state.report().changes, cut), (Status::Down, 1, 1));
    finds(&health, SendHeader::V2, true);
    assert!(state.is_up());
}

#[tokio::test]
async fn a_reload_does_not_take_in_what_has_passed_no_check() {
    let members = |fall: u8| {
        format!(
            r#""rules": [ {{ "targets": [ {{ "host": "10.0.0.1", "port": 1 }} ] }} ],
               "healthCheck": {{ {CHECK}, "fall": {fall}, "initial": "Down" }}"#
        )
    };
    let (before, kept) = snapshot(&Kept::default(), &members(1));
    let (mut health, _downs) = health(before);
    let state = &states(&health)[0];
    finds(&health, SendHeader::Off, false);
    health.follow(&snapshot(&kept, &members(3)).0);
    for _ in 0..4 {
        assert_eq!(state.report().status, Status::Pending);
        finds(&health, SendHeader::Off, false);
    }
    finds(&health, SendHeader::Off, true);
    assert!(state.is_up());
}

#[tokio::test]
async fn one_that_joins_a_check_is_cut_as_all_that_go_down() {
    let members = |ports: &[u16]| {
        let target = |port| format!(r#"{{ "host": "10.0.0.1", "port": {port} }}"#);
        let list: Vec<String> = ports.iter().map(target).collect();
        format!(
            r#""rules": [ {{ "targets": [ {} ] }} ],
               "healthCheck": {{ {CHECK}, "port": 9, "fall": 1, "onDown": "Close" }}"#,
            list.join(",")
        )
    };
    let (before, kept) = snapshot(&Kept::default(), &members(&[1]));
    let (mut health, mut downs) = health(before);
    assert_eq!(finds(&health, SendHeader::Off, false).len(), 1);
    let (after, _) = snapshot(&kept, &members(&[1, 2]));
    health.follow(&after);
    let joined = targets(&after).nth(1).unwrap().2;
    assert!(joined.state.is_down());
    assert!(Arc::ptr_eq(&downs.recv().await.unwrap(), &joined.state));
}

#[tokio::test]
async fn cuts_outlive_the_check_that_asked_for_them() {
    let members = r#""rules": [ { "targets": [ { "host": "10.0.0.1", "port": 1 } ] } ]"#;
    let (health, mut downs) = health(snapshot(&Kept::default(), members).0);
    let snapshot = health.common.process.snapshot.load();
    let (service, _, target) = targets(&snapshot).next().unwrap();
    let many = limits::DOWNS_MAX + 10;
    let cut = health.common.cut(vec![Follower::new(service, target); many]);
    let check = tokio::spawn(cut);
    tokio::task::yield_now().await;
    check.abort();
    for _ in 0..many {
        assert!(downs.recv().await.is_some());
    }
}

#[tokio::test]
async fn one_that_may_not_be_ejected_is_heard_of_again_later() {
    let passive = r#", "healthCheck": { "interval": null, "passive": { "failures": 1 } }"#;
    for more in [passive, ""] {
        let members = format!(
            r#""rules": [ {{ "targets": [ {{ "host": "10.0.0.1", "port": 1 }} ] }} ] {more}"#
        );
        let (mut health, _downs) = health(snapshot(&Kept::default(), &members).0);
        let state = &states(&health)[0];
        assert!(state.was_reset(1));
        health.failing(state);
        assert!(!state.is_ejected() && !state.was_reset(1), "not at once");
        while !state.was_reset(1) {
            sleep(Duration::from_millis(20)).await;
        }
    }
}

#[test]
fn state_is_kept_by_the_target_and_not_by_its_check() {
    let rules = r#""rules": [ { "targets": [ { "host": "10.0.0.1", "port": 1 } ] } ]"#;
    let checked = |check: &str| format!(r#"{rules}, "healthCheck": {check}"#);
    let (before, kept) = snapshot(&Kept::default(), &checked("{}"));
    let (after, _) = snapshot(&kept, &checked(r#"{ "rise": 7 }"#));
    let target = |snapshot| targets(snapshot).next().unwrap().2;
    assert!(Arc::ptr_eq(&target(&before).state, &target(&after).state));
    let probe = |snapshot| Arc::clone(&target(snapshot).check.as_ref().unwrap().probe);
    assert_ne!(probe(&before), probe(&after));
    let (again, _) = snapshot(&kept, &checked("{}"));
    assert_eq!(probe(&before), probe(&again), "one that did not change goes on");
}

#[test]
fn pauses_are_near_what_was_asked_for() {
    let span = Duration::from_secs(10);
    for _ in 0..1000 {
        assert!(random_part(span) <= span);
        let jittered = jittered(span);
        assert!(Duration::from_secs(9) <= jittered && jittered <= Duration::from_secs(11));
    }
}
