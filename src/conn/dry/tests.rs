use std::collections::HashSet;
use std::path::Path;

use proptest::prelude::*;

use super::*;
use crate::config::found::Found;
use crate::config::snapshot::Kept;
use crate::conn::ending::Ending;
use crate::conn::pick::{self, Tried};
use crate::conn::route;
use crate::tls::material::Material;

fn snapshot(services: &str) -> Snapshot {
    let text = format!("{{ \"services\": [ {services} ] }}");
    let loaded = crate::config::load_text(&text, Path::new("/"));
    let checked = loaded.checked.unwrap_or_else(|| panic!("{:?}", loaded.diagnostics));
    let material = Material::default();
    let joined =
        Kept::default().snapshot(1, &checked.services, &Found::new(), &material, HashSet::new());
    joined.expect("no certificates").0
}

fn ask(snapshot: &Snapshot, question: Question) -> Route {
    run(snapshot, &question, Table::File).expect("it can be asked")
}

const RULES: &str = r#"{ "id": "a", "port": 1, "interface": "127.0.0.1", "tls": "PassThrough",
    "sni": { "enabled": true, "fallbacks": { "noName": { "host": "10.0.0.9" } } }, "rules": [
      { "domain": "a.test", "alpn": ["h2"], "targets": [ { "host": "10.0.0.1" } ] },
      { "domain": "*.test", "sources": ["10.0.0.0/8"], "targets": [ { "host": "10.0.0.2" } ] },
      { "domain": "Regex(b[.].*)", "targets": [ { "host": "10.0.0.3" } ] } ] },
  { "id": "b", "port": 1, "interface": "127.0.0.1", "tls": "PassThrough", "sni": { "enabled": true },
    "rules": [ { "domain": "*.test", "alpn": ["x"], "targets": [ { "host": "10.0.0.4" } ] },
               { "domain": "c.test", "targets": [ { "host": "10.0.0.5" } ] } ] }"#;

proptest! {
    /// The explanation never says something else than the choice: the last rule told is the one that was
    /// chosen and the only one that matches.
    #[test]
    fn what_is_explained_is_what_is_chosen(
        name in prop::sample::select(vec!["a.test", "b.test", "c.test", "d.other", "b.other", ""]),
        alpn in prop::collection::vec(prop::sample::select(vec!["h2", "x", "y"]), 0..3),
        source in prop::sample::select(vec![None, Some("10.1.1.1"), Some("192.0.2.1")]),
    ) {
        let snapshot = snapshot(RULES);
        let question = Question {
            port: 1,
            sni: (!name.is_empty()).then(|| name.to_owned()),
            alpn: alpn.iter().map(|it| (*it).to_owned()).collect(),
            source: source.map(|ip| ip.parse().unwrap()),
            ..Question::default()
        };
        let listener = snapshot.listeners.values().next().unwrap();
        let first = first_of(listener, &question).unwrap();
        let chosen = route::of_first(listener, &first, question.source);
        let told = ask(&snapshot, question);
        let rules: Vec<&Step> = told.steps.iter().filter(|it| it.what.contains("rules[")).collect();
        match chosen {
            Ok(choice) => {
                prop_assert_eq!(told.outcome, Outcome::Routed);
                prop_assert_eq!(told.rule, Some(choice.pool));
                let service = listener.service(choice.service);
                prop_assert_eq!(told.service.as_deref(), Some(&*service.spec.id));
                let is_rule = (choice.pool as usize) < service.spec.rules.len();
                let matched: Vec<bool> = rules.iter().map(|step| step.matched).collect();
                let count = matched.iter().filter(|it| **it).count();
                prop_assert_eq!(count, usize::from(is_rule));
                prop_assert_eq!(matched.last().copied().unwrap_or(false), is_rule);
            }
            Err((step, cause)) => {
                prop_assert_eq!(told.outcome, Outcome::Refused);
                prop_assert_eq!(told.reason, Some(Ending::us(step, cause).to_string()));
                prop_assert!(rules.iter().all(|step| !step.matched));
                prop_assert_eq!(rules.len(), listener.rules.len());
            }
        }
    }

    /// To look changes nothing, and what it sees is what a connection gets.
    #[test]
    fn a_look_sees_the_next_choice(
        balancing in prop::sample::select(vec![
            "RoundRobin", "WeightedRoundRobin", "LeastConnections", "PowerOfTwo", "SourceHash",
            "Random", "First",
        ]),
        targets in prop::collection::vec((0_u32..4, 0_u8..3, 1_u32..3), 1..5),
        rejected in 0_u32..3,
        down in prop::collection::vec(any::<bool>(), 5),
        source in any::<u32>(),
    ) {
        let list: Vec<String> = targets
            .iter()
            .zip(1..)
            .map(|((weight, tier, most), at)| format!(
                r#"{{ "host": "10.0.0.{at}", "weight": {weight}, "tier": {tier},
                     "maxConnections": {most} }}"#
            ))
            .chain([format!(r#"{{ "reject": true, "weight": {rejected} }}"#)])
            .collect();
        let text = format!(
            r#"{{ "id": "a", "port": 1, "loadBalancing": "{balancing}",
                 "rules": [ {{ "targets": [ {} ] }} ] }}"#,
            list.join(",")
        );
        let text = format!("{{ \"services\": [ {text} ] }}");
        let loaded = crate::config::load_text(&text, Path::new("/"));
        // All weights may be 0, which is a fault.
        let Some(checked) = loaded.checked else { return Ok(()) };
        let joined = Kept::default().snapshot(
            1, &checked.services, &Found::new(), &Material::default(), HashSet::new(),
        );
        let snapshot = joined.unwrap().0;
        let listener = snapshot.listeners.values().next().unwrap();
        let pool = listener.first.pool(0).unwrap();
        for (target, down) in pool.targets.iter().zip(down) {
            if down {
                target.state.eject(std::time::Duration::from_secs(1));
            }
        }
        let source = Some(IpAddr::from(Ipv4Addr::from(source)));
        for _ in 0..12 {
            let seen = pick::would_choose(pool, source, &Tried::default());
            prop_assert_eq!(pick::would_choose(pool, source, &Tried::default()), seen);
            prop_assert_eq!(pick::choose_first(pool, source), seen);
        }
    }
}

#[test]
fn one_without_a_listener_is_told_of_the_nearest() {
    let service = |id: &str, port: u16| {
        format!(
            r#"{{ "id": "{id}", "port": {port}, "interface": "127.0.0.1",
                 "rules": [ {{ "targets": [ {{ "host": "10.0.0.1" }} ] }} ] }}"#
        )
    };
    let snapshot = snapshot(&[service("a", 10), service("b", 20), service("c", 5000)].join(","));
    let route = ask(&snapshot, Question { port: 21, ..Question::default() });
    assert_eq!((route.outcome, route.listener), (Outcome::Refused, None));
    assert!(route.steps[0].why.contains("127.0.0.1:20, 127.0.0.1:10"), "{:?}", route.steps);
    let elsewhere = Some("10.0.0.1".parse().unwrap());
    let route = ask(&snapshot, Question { port: 20, interface: elsewhere, ..Question::default() });
    assert_eq!(route.listener, None);
}

#[test]
fn the_kernels_choice_of_a_listener() {
    let service = |id: &str, interface: &str| {
        format!(
            r#"{{ "id": "{id}", "port": 10, "interface": "{interface}",
                 "rules": [ {{ "targets": [ {{ "host": "10.0.0.1" }} ] }} ] }}"#
        )
    };
    let of = |snapshot: &Snapshot, interface: &str| {
        let interface = Some(interface.parse().unwrap());
        ask(snapshot, Question { port: 10, interface, ..Question::default() }).service
    };
    let two = snapshot(&[service("a", "127.0.0.1"), service("b", "127.0.0.2")].join(","));
    assert_eq!(of(&two, "127.0.0.2").as_deref(), Some("b"));
    assert_eq!(of(&two, "127.0.0.3"), None);
    let several = run(&two, &Question { port: 10, ..Question::default() }, Table::File);
    assert!(several.unwrap_err().contains("127.0.0.1:10, 127.0.0.2:10"));
    for (interface, v6) in [("0.0.0.0", None), ("::", Some("a"))] {
        let any = snapshot(&service("a", interface));
        assert_eq!(of(&any, "10.0.0.7").as_deref(), Some("a"), "{interface}");
        assert_eq!(of(&any, "2001:db8::1").as_deref(), v6, "{interface}");
    }
}
