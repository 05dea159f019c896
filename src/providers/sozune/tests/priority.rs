//! Priorities, replicas and collisions.

use super::*;

#[test]
fn the_highest_priority_has_all_and_the_others_follow() {
    let outcome = Case::seed()
        .attached("a1", "low", &[("priority", "-5")])
        .attached("b1", "high", &[("priority", "10")])
        .attached("c1", "mid", &[])
        .attached("d1", "high", &[("priority", "10")])
        .run();
    assert_eq!(outcome.codes(), [""; 0]);
    assert_eq!(
        outcome.hosts("sozune/postgres"),
        ["172.30.0.3@0", "172.30.0.5@0", "172.30.0.4@1", "172.30.0.2@2"]
    );
}

#[test]
fn a_tie_is_broken_by_name_with_a_word_about_it() {
    let outcome = Case::seed().attached("a1", "zeta", &[]).attached("b1", "alpha", &[]).run();
    assert_eq!(outcome.codes(), ["W018"]);
    assert_eq!(outcome.hosts("sozune/postgres"), ["172.30.0.3@0", "172.30.0.2@1"]);
}

#[test]
fn replicas_merge() {
    let case = (0..3).fold(Case::seed(), |case, at| case.attached(&format!("c{at}"), "db", &[]));
    let outcome = case.run();
    assert_eq!(outcome.codes(), [""; 0]);
    assert_eq!(outcome.hosts("sozune/postgres"), ["172.30.0.2@0", "172.30.0.3@0", "172.30.0.4@0"]);
}

#[test]
fn one_of_the_same_name_that_differs_is_called_after_its_container() {
    let id = "0123456789abcdef";
    let outcome =
        Case::seed().attached("first", "db", &[]).attached(id, "db", &[("priority", "5")]).run();
    assert_eq!(outcome.codes(), ["W018"]);
    assert!(outcome.message("W018").contains("`db_0123456789ab`"), "{}", outcome.message("W018"));
    assert_eq!(outcome.hosts("sozune/postgres"), ["172.30.0.3@0", "172.30.0.2@1"]);
}

#[test]
fn the_same_name_on_another_listener_is_another_service() {
    let labels = [
        ("sozune.enable", "true"),
        ("sozune.tcp.db.entrypoint", "redis"),
        ("sozune.tcp.db.port", "6379"),
    ];
    let outcome = Case::seed().attached("a1", "db", &[]).container("b1", &labels).run();
    assert_eq!(outcome.codes(), [""; 0]);
    assert_eq!(outcome.hosts("sozune/postgres"), ["172.30.0.2@0"]);
    assert_eq!(outcome.hosts("sozune/redis"), ["172.30.0.3@0"]);
}

#[test]
fn a_container_has_a_part_in_several_listeners() {
    let labels = [
        ("sozune.enable", "true"),
        ("sozune.tcp.db.entrypoint", "postgres"),
        ("sozune.tcp.db.port", "5432"),
        ("sozune.tcp.cache.entrypoint", "redis"),
        ("sozune.tcp.cache.port", "6379"),
    ];
    let outcome = Case::seed().container("a1", &labels).run();
    assert_eq!(outcome.codes(), [""; 0]);
    assert_eq!(outcome.targets("sozune/redis")[0]["port"], 6379);
    assert_eq!(outcome.report.candidates[0].listeners, ["redis", "postgres"]);
}

#[test]
fn one_place_is_one_target_of_the_highest_that_has_it() {
    let outcome = Case::seed()
        .attached("a1", "low", &[])
        .attached("b1", "high", &[("priority", "1")])
        .change("a1", |it| {
            it.networks.insert("bridge".into(), "172.30.0.3".parse().unwrap());
        })
        .run();
    assert_eq!(outcome.hosts("sozune/postgres"), ["172.30.0.3@0"]);
}

#[test]
fn balancing_is_that_of_the_highest_priority() {
    let outcome = Case::seed()
        .attached("a1", "low", &[("loadBalancer", "random")])
        .attached("b1", "high", &[("priority", "1"), ("loadBalancer", "p2c")])
        .run();
    assert_eq!(outcome.codes(), ["W332"]);
    assert_eq!(outcome.service("sozune/postgres")["loadBalancing"], "PowerOfTwo");
}

#[test]
fn there_are_as_many_services_as_tiers() {
    let case = (0..20).fold(Case::seed(), |case, at| {
        case.attached(&format!("c{at:02}"), &format!("s{at:02}"), &[("priority", &at.to_string())])
    });
    let outcome = case.run();
    assert_eq!(outcome.codes(), ["W333"]);
    let hosts = outcome.hosts("sozune/postgres");
    assert_eq!(hosts.len(), 16);
    assert_eq!((hosts[0].as_str(), hosts[15].as_str()), ("172.30.0.21@0", "172.30.0.6@15"));
}

#[test]
fn more_containers_than_are_looked_at_are_told() {
    let mut case = Case::seed();
    case.containers.more = true;
    assert_eq!(case.run().codes(), ["W335"]);
}

#[test]
fn what_is_known_outlives_a_daemon_that_has_forgotten() {
    let one = |state, started: &str, fault: Option<&str>| {
        let container = Container {
            state,
            started: started.into(),
            fault: fault.map(str::to_owned),
            ..Container::default()
        };
        Containers { by_id: BTreeMap::from([("c1".into(), container)]), more: false }
    };
    let state = |containers: Containers| {
        let container = containers.by_id["c1"].clone();
        (container.state, container.fault.is_some())
    };
    let healthy = one(State::Ready, "10:00", None);
    assert_eq!(state(one(State::Starting, "10:00", None).after(&healthy)), (State::Ready, false));
    let restarted = one(State::Starting, "10:05", None).after(&healthy);
    assert_eq!(state(restarted), (State::Starting, false));
    let ill = one(State::Unhealthy, "10:00", None).after(&healthy);
    assert_eq!(state(ill), (State::Unhealthy, false));
    let unknown = one(State::Ready, "", Some("no")).after(&healthy);
    assert_eq!(state(unknown), (State::Ready, false), "as it was");
    let gone = Containers::default().after(&healthy);
    assert!(gone.by_id.is_empty(), "what is gone is gone");
}
