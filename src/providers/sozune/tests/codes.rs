//! Each code of Sōzune, with the consequence that it has there.

use super::*;

const ENABLE: (&str, &str) = ("sozune.enable", "true");
const ENTRYPOINT: (&str, &str) = ("sozune.tcp.db.entrypoint", "postgres");
const PORT: (&str, &str) = ("sozune.tcp.db.port", "5432");

/// A container with these labels, beside the listeners of the seed.
fn with(labels: &[(&str, &str)]) -> Outcome {
    Case::seed().container("c1", labels).run()
}

fn port(outcome: &Outcome) -> Value {
    outcome.targets("sozune/postgres")[0]["port"].clone()
}

#[test]
fn e001_only_what_is_enabled() {
    for labels in [&[ENTRYPOINT, PORT][..], &[("sozune.enable", "True"), ENTRYPOINT, PORT]] {
        let outcome = with(labels);
        assert_eq!(outcome.codes(), ["E001"]);
        assert_eq!(outcome.hosts("sozune/postgres"), ["reject"]);
        assert!(outcome.report.candidates[0].skipped);
    }
}

#[test]
fn e001_an_explicit_no_wins_over_the_default() {
    let docker = Docker { expose_by_default: true, ..Docker::default() };
    let mut case = Case::seed().container("c1", &[("sozune.enable", "false"), ENTRYPOINT, PORT]);
    case.docker = Some(docker.clone());
    assert_eq!(case.run().codes(), ["E001"]);
    let mut case = Case::seed().container("c1", &[ENTRYPOINT, PORT]);
    case.docker = Some(docker);
    let outcome = case.run();
    assert_eq!(outcome.codes(), [""; 0]);
    assert_eq!(outcome.hosts("sozune/postgres"), ["172.30.0.2@0"]);
}

#[test]
fn e003_what_docker_cannot_describe_is_not_routed_to() {
    let case = Case::seed().attached("c1", "db", &[]);
    let outcome = case.change("c1", |it| it.fault = Some("layer does not exist".into())).run();
    assert_eq!(outcome.codes(), ["E003"]);
    assert_eq!(outcome.hosts("sozune/postgres"), ["reject"]);
}

#[test]
fn e004_enabled_without_a_service() {
    assert_eq!(with(&[ENABLE]).codes(), ["E004"]);
    assert_eq!(with(&[("other.label", "x")]).codes(), [""; 0], "no candidate at all");
}

#[test]
fn e005_no_entrypoint_drops_the_route_and_others_go_on() {
    for entrypoint in [None, Some(""), Some("  ")] {
        let mut labels = vec![ENABLE, PORT, ("sozune.tcp.ok.entrypoint", "redis")];
        labels.extend(entrypoint.map(|value| ("sozune.tcp.db.entrypoint", value)));
        labels.push(("sozune.tcp.ok.port", "6379"));
        let outcome = with(&labels);
        assert_eq!(outcome.codes(), ["E005"]);
        assert_eq!(outcome.hosts("sozune/postgres"), ["reject"]);
        assert_eq!(outcome.hosts("sozune/redis"), ["172.30.0.2@0"]);
    }
    let outcome = with(&[ENABLE, ("sozune.tcp.db.entrypoint", " postgres "), PORT]);
    assert_eq!(outcome.hosts("sozune/postgres"), ["172.30.0.2@0"], "trimmed");
}

#[test]
fn e006_and_e335_udp_is_not_served() {
    let entrypoint = ("sozune.udp.dns.entrypoint", "dns");
    assert_eq!(with(&[ENABLE, entrypoint]).codes(), ["E006"]);
    assert_eq!(with(&[ENABLE, entrypoint, ("sozune.udp.dns.port", "53")]).codes(), ["E335"]);
    assert_eq!(with(&[ENABLE, ("sozune.udp.dns.port", "53")]).codes(), ["E005"]);
}

#[test]
fn e007_says_that_the_listener_is_undeclared() {
    let outcome = with(&[ENABLE, ("sozune.tcp.db.entrypoint", "postgre"), PORT]);
    assert_eq!(outcome.codes(), ["E007"]);
    assert_eq!(
        outcome.message("E007"),
        "TCP entrypoint `db` references undeclared listener `postgre`, skipping"
    );
    let found = outcome.found().find(|it| it.code == "E007").unwrap();
    assert!(found.hint.as_deref().unwrap().contains("did you mean `postgres`"), "{found:?}");
    assert_eq!(found.path, "sozune.tcp.db.entrypoint");
    assert_eq!(found.file.as_deref(), Some("container c1 (c1)"));
}

#[test]
fn w001_and_i002_the_port_is_8080_unless_a_label_says_it() {
    let outcome = with(&[ENABLE, ENTRYPOINT]);
    assert_eq!((outcome.codes(), port(&outcome)), (vec!["I002"], json!(8080)));
    for bad in ["abc", "0", "65536", "-1", "", "54 32"] {
        let outcome = with(&[ENABLE, ENTRYPOINT, ("sozune.tcp.db.port", bad)]);
        assert_eq!((outcome.codes(), port(&outcome)), (vec!["W001"], json!(8080)), "{bad}");
    }
}

#[test]
fn w002_a_bad_priority_is_0() {
    let outcome = Case::seed()
        .attached("a1", "one", &[("priority", "high")])
        .attached("b1", "two", &[("priority", "1")])
        .run();
    assert_eq!(outcome.codes(), ["W002"]);
    assert_eq!(outcome.hosts("sozune/postgres"), ["172.30.0.3@0", "172.30.0.2@1"]);
}

#[test]
fn w009_and_w010_which_address() {
    let networks = |names: &[(&str, &str)]| {
        let pairs = names.iter().map(|(name, ip)| ((*name).to_owned(), ip.parse().unwrap()));
        pairs.collect::<BTreeMap<_, _>>()
    };
    let both = networks(&[("back", "10.1.0.2"), ("aback", "10.2.0.2")]);
    let run = |label: Option<&str>, default: Option<&str>, given: &BTreeMap<_, _>| {
        let mut labels = vec![ENABLE, ENTRYPOINT, PORT];
        labels.extend(label.map(|value| ("sozune.network", value)));
        let case = Case::seed().container("c1", &labels);
        let mut case = case.change("c1", |it| it.networks = given.clone());
        case.docker = Some(Docker { network: default.map(str::to_owned), ..Docker::default() });
        let outcome = case.run();
        (outcome.codes(), outcome.hosts("sozune/postgres").remove(0))
    };
    let none: Vec<&str> = Vec::new();
    assert_eq!(run(None, None, &both), (none.clone(), "10.2.0.2@0".into()), "first by name");
    assert_eq!(run(Some("back"), None, &both), (none.clone(), "10.1.0.2@0".into()));
    assert_eq!(run(None, Some("back"), &both), (none.clone(), "10.1.0.2@0".into()));
    assert_eq!(run(Some("aback"), Some("back"), &both), (none, "10.2.0.2@0".into()));
    assert_eq!(run(Some("gone"), None, &both), (vec!["W009"], "10.2.0.2@0".into()));
    let neither = BTreeMap::new();
    assert_eq!(run(None, None, &neither), (vec!["W010", "E333"], "reject".into()), "to itself");
    assert_eq!(run(Some("gone"), None, &neither).0, ["W009", "W010", "E333"]);
}

#[test]
fn w010_without_an_address_the_host_is_meant() {
    let labels = [ENABLE, ENTRYPOINT, ("sozune.tcp.db.port", "15432")];
    let case = || Case::seed().container("c1", &labels).change("c1", |it| it.networks.clear());
    let outcome = case().run();
    assert_eq!(outcome.codes(), ["W010"]);
    assert_eq!(outcome.hosts("sozune/postgres"), ["127.0.0.1@0"]);
    let mut remote = case();
    remote.docker = Some(Docker { endpoint: "tcp://10.9.8.7:2375".into(), ..Docker::default() });
    assert_eq!(remote.run().hosts("sozune/postgres"), ["10.9.8.7@0"]);
}

#[test]
fn w012_once_for_each_unknown_protocol() {
    let outcome = with(&[
        ENABLE,
        ENTRYPOINT,
        PORT,
        ("sozune.ftp.a.entrypoint", "x"),
        ("sozune.ftp.b.entrypoint", "x"),
        ("sozune.tpc.db.entrypoint", "x"),
    ]);
    assert_eq!(outcome.codes(), ["W012", "W012"]);
    assert_eq!(outcome.hosts("sozune/postgres"), ["172.30.0.2@0"]);
}

#[test]
fn w013_an_unknown_label_and_what_is_meant() {
    let hint = |label: &str| {
        let outcome = with(&[ENABLE, ENTRYPOINT, PORT, (label, "1")]);
        assert_eq!(outcome.codes(), ["W013"], "{label}");
        assert_eq!(outcome.hosts("sozune/postgres"), ["172.30.0.2@0"]);
        outcome.found().find(|it| it.code == "W013").unwrap().hint.clone().unwrap_or_default()
    };
    assert!(hint("sozune.tcp.db.prt").contains("sozune.tcp.db.port"));
    assert!(hint("sozune.tcp.db.balancer").contains("sozune.tcp.db.loadBalancer"));
    assert!(hint("sozune.netwrok").contains("sozune.network"));
    assert_eq!(hint("sozune.tcp.db.completely_made_up"), "");
    assert_eq!(hint("sozune.tcp.db.tls"), "");
}

#[test]
fn w022_load_balancing_in_every_spelling() {
    let run = |value: &str| {
        let outcome = Case::seed().attached("a1", "db", &[("loadBalancer", value)]).run();
        let balancing = outcome.service("sozune/postgres")["loadBalancing"].clone();
        (outcome.codes().len(), balancing.as_str().unwrap().to_owned())
    };
    for (value, native) in [
        ("round_robin", "RoundRobin"),
        ("RR", "RoundRobin"),
        ("random", "Random"),
        ("power-of_two", "PowerOfTwo"),
        ("P2C", "PowerOfTwo"),
        ("least-conn", "LeastConnections"),
        ("leastConnections", "LeastConnections"),
    ] {
        assert_eq!(run(value), (0, native.to_owned()), "{value}");
    }
    for bad in ["hrw", "maglev", "fastest"] {
        assert_eq!(run(bad), (1, "RoundRobin".to_owned()), "{bad}");
    }
}

#[test]
fn w026_plugins_are_not_for_tcp() {
    let outcome = Case::seed().attached("a1", "db", &[("plugins.umami.id", "1")]).run();
    assert_eq!(outcome.codes(), ["W026"]);
    assert_eq!(outcome.hosts("sozune/postgres"), ["172.30.0.2@0"]);
}

#[test]
fn w027_weights() {
    let outcome = Case::seed()
        .attached("a1", "db", &[("weight", "90")])
        .attached("b1", "db", &[("weight", "0")])
        .attached("c1", "db", &[("weight", "-5")])
        .run();
    assert_eq!(outcome.codes(), ["W027"]);
    let weights: Vec<_> =
        outcome.targets("sozune/postgres").iter().map(|it| it["weight"].as_u64()).collect();
    assert_eq!(weights, [Some(90), Some(0), None]);
    assert_eq!(outcome.service("sozune/postgres")["loadBalancing"], "WeightedRoundRobin");
    let outcome = Case::seed()
        .attached("a1", "db", &[("weight", "4294967295")])
        .attached("b1", "db", &[("weight", "1")])
        .run();
    let weights: Vec<_> =
        outcome.targets("sozune/postgres").iter().map(|it| it["weight"].as_u64()).collect();
    assert_eq!(weights, [Some(65_535), None], "in proportion, as far as that goes");
}

#[test]
fn e334_a_restriction_is_never_left_out() {
    let outcome = Case::seed().attached("a1", "db", &[("ipAllowList", "10.0.0.0/8")]).run();
    assert_eq!(outcome.codes(), ["E334"]);
    assert_eq!(outcome.hosts("sozune/postgres"), ["reject"]);
}

#[test]
fn i330_http_labels_are_passed_over_in_one_word() {
    let outcome = with(&[
        ENABLE,
        ENTRYPOINT,
        PORT,
        ("sozune.http.web.host", "example.com"),
        ("sozune.http.web.timeout", "5s"),
    ]);
    let found: Vec<_> = outcome.sources[1].diagnostics.iter().map(|it| it.code).collect();
    assert_eq!(found, ["I330"]);
    assert_eq!(outcome.hosts("sozune/postgres"), ["172.30.0.2@0"]);
}

#[test]
fn i331_health_gates() {
    for (state, word) in [
        (State::Starting, "not passed yet"),
        (State::Unhealthy, "fails"),
        (State::Paused, "paused"),
    ] {
        let case = Case::seed().attached("a1", "db", &[]).attached("b1", "db", &[]);
        let outcome = case.change("a1", |it| it.state = state).run();
        assert_eq!(outcome.codes(), ["I331"]);
        assert!(outcome.message("I331").contains(word));
        assert_eq!(outcome.hosts("sozune/postgres"), ["172.30.0.3@0"]);
        assert!(!outcome.report.candidates[0].skipped);
    }
}

#[test]
fn the_configured_prefix_wins_over_sozunes() {
    let labels = [
        ("edge.enable", "true"),
        ("edge.tcp.db.entrypoint", "redis"),
        ("edge.tcp.db.port", "1"),
        ENABLE,
        ENTRYPOINT,
        PORT,
        ("thalweg.tcp.db.entrypoint", "postgres"),
    ];
    let mut case = Case::seed().container("c1", &labels);
    case.docker = Some(Docker { label_prefix: "edge".into(), ..Docker::default() });
    let outcome = case.run();
    assert_eq!(outcome.codes(), [""; 0]);
    assert_eq!(outcome.hosts("sozune/redis"), ["172.30.0.2@0"]);
    assert_eq!(outcome.hosts("sozune/postgres"), ["reject"]);
}
