use std::path::Path;

use super::*;
use crate::config::found::Found;
use crate::config::snapshot::Kept;
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
        [(1, 100, 0), (2, 1, 1), (2, 50, 1), (2, 100, 2), (4, 50, 2), (5, 50, 2), (5, 10, 1)]
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
