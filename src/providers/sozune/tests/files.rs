//! Sōzune's configuration and Compose files.

use super::*;

fn tcp(entry: &str) -> Outcome {
    Case::default().file("config.yaml", &format!("proxy:\n  tcp:\n{entry}")).run()
}

#[test]
fn e330_duplicate_names() {
    let outcome = tcp("    - { name: pg, listen: 5432 }\n    - { name: pg, listen: 5433 }\n");
    assert_eq!(outcome.codes(), ["E330"]);
    assert_eq!(outcome.message("E330"), "duplicate TCP listener name `pg` in proxy.tcp");
    assert_eq!(outcome.service("sozune/pg")["port"], 5432, "the first is served");
    let found = outcome.found().next().unwrap();
    assert_eq!((found.path.as_str(), found.line), ("proxy.tcp[1].name", Some(4)));
}

#[test]
fn e331_a_listener_that_is_not_as_it_was_meant_is_not_opened() {
    for entry in [
        "    - { listen: 5432 }\n",
        "    - { name: '', listen: 5432 }\n",
        "    - { name: pg }\n",
        "    - { name: pg, listen: 0 }\n",
        "    - { name: pg, listen: 5432, rate_limit: { max_conns: 0, per_seconds: 3 } }\n",
        "    - { name: pg, listen: 5432, rate_limit: { max_conns: 10 } }\n",
    ] {
        let outcome = tcp(entry);
        assert_eq!(outcome.codes(), ["E331"], "{entry}");
        assert!(outcome.report.listeners.is_empty(), "{entry}");
    }
    for (entry, code) in [
        ("    - { name: pg, listen: 70000 }\n", "E106"),
        ("    - { name: pg, listen: '5432' }\n", "E102"),
        ("    - { name: pg, listen: 5432, ip_allowlist: ['10.0.0.0/8'] }\n", "E101"),
        ("    - { name: pg, listen: 5432, rate_limit: { max_connections: 1 } }\n", "E101"),
    ] {
        let outcome = tcp(entry);
        assert_eq!(outcome.codes(), [code], "{entry}");
        assert!(outcome.report.listeners.is_empty(), "{entry}");
    }
}

#[test]
fn routes_to_a_listener_that_is_declared_and_broken_are_not_called_undeclared() {
    let config = "proxy: { tcp: [ { name: pg, listen: 5432, ip_allow_list: [ nobody ] } ] }";
    let compose = "services: { db: { labels: { sozune.enable: true, sozune.tcp.db.entrypoint: pg, \
                   sozune.tcp.db.port: 5432 } } }";
    let outcome = Case::default().file("a.yaml", config).file("b.yaml", compose).run();
    assert_eq!(outcome.codes(), ["E332"]);
}

#[test]
fn e332_an_allow_list_is_never_open() {
    let of =
        |list: &str| tcp(&format!("    - {{ name: pg, listen: 5432, ip_allow_list: {list} }}\n"));
    assert_eq!(of("['nobody', '10.0.0.0/99']").codes(), ["E332"]);
    let outcome = of("['94.23.3.96', 'nobody', '172.16.5.5/12', '::ffff:10.0.0.1']");
    assert_eq!(outcome.codes(), ["W331"]);
    let allow = json!({ "allow": ["94.23.3.96/32", "172.16.0.0/12", "10.0.0.1/32"] });
    assert_eq!(outcome.service("sozune/pg")["access"], allow);
    assert_eq!(of("[]").service("sozune/pg").get("access"), None, "everybody");
}

#[test]
fn a_rate_limit_is_a_bucket() {
    let of = |per: u32| {
        let outcome = tcp(&format!(
            "    - name: pg\n      listen: 5432\n      rate_limit:\n        max_conns: 10\n        \
             per_seconds: {per}\n        exempt: ['172.16.0.0/12', 'x']\n"
        ));
        assert_eq!(outcome.codes(), ["W331"]);
        outcome.service("sozune/pg")["limits"].clone()
    };
    let rate = |per: &str| {
        json!({ "connectionRate":
            { "count": 10, "per": per, "burst": 10, "exempt": ["172.16.0.0/12"] } })
    };
    assert_eq!(of(3), rate("3s"));
    assert_eq!(of(0), rate("1s"), "as Sōzune reads it");
}

#[test]
fn labels_as_list_and_as_map() {
    let list = "services:
  db:
    labels: [sozune.enable=true, sozune.tcp.db.entrypoint=postgres, sozune.tcp.db.port=5432]
";
    let map = "services:
  db:
    container_name: the-db
    labels:
      sozune.enable: true
      sozune.tcp.db.entrypoint: postgres
      sozune.tcp.db.port: 5432
  cache:
    labels:
      com.example.other: x
  nothing:
";
    for (text, host) in [(list, "db"), (map, "the-db")] {
        let outcome = Case::seed().file("compose.yaml", text).run();
        assert_eq!(outcome.codes(), [""; 0]);
        assert_eq!(outcome.hosts("sozune/postgres"), [format!("{host}@0")]);
    }
}

#[test]
fn a_label_fault_of_a_compose_file_has_its_place() {
    let compose = "services:
  db:
    labels:
      - sozune.enable=true
      - sozune.tcp.db.entrypoint=nowhere
";
    let outcome = Case::seed().file("compose.yaml", compose).run();
    let found = outcome.found().find(|it| it.code == "E007").unwrap();
    assert_eq!((found.path.as_str(), found.line), ("services.db.labels[1]", Some(5)));
    assert!(found.file.as_deref().unwrap().ends_with("/compose.yaml"));
}

#[test]
fn networks_of_compose_files_are_checked_by_name() {
    let of = |networks: &str| {
        let compose = format!(
            "services:\n  db:\n    networks: {networks}\n    labels:\n      sozune.enable: 'true'\n      \
             sozune.network: back\n      sozune.tcp.db.entrypoint: postgres\n      \
             sozune.tcp.db.port: 5432\n"
        );
        Case::seed().file("compose.yaml", &compose).run().codes()
    };
    assert_eq!(of("[front, back]"), [""; 0]);
    assert_eq!(of("{ back: { aliases: [x] } }"), [""; 0]);
    assert_eq!(of("[front]"), ["W009"]);
    assert_eq!(of("null"), ["W009"]);
}

#[test]
fn a_container_takes_the_place_of_its_compose_service() {
    let compose = "services: { db: { labels: { sozune.enable: true, sozune.tcp.db.entrypoint: postgres, \
                   sozune.tcp.db.port: 5432 } } }";
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("compose.yaml");
    std::fs::write(&file, compose).unwrap();
    let place = file.display().to_string();
    let mut case = Case::seed().attached("c1", "db", &[]);
    case.containers.by_id.get_mut("c1").unwrap().labels.extend([
        ("com.docker.compose.service".to_owned(), "db".to_owned()),
        ("com.docker.compose.project.config_files".to_owned(), place.clone()),
    ]);
    case.files.push(("unused.yaml", "proxy: {}".into()));
    let providers = Providers {
        sozune: Some(Sozune { files: vec![place] }),
        docker: Some(Docker::default()),
        ..Providers::default()
    };
    let listener = document::Listener {
        name: Some("postgres".into()),
        port: Some(5432),
        interface: "0.0.0.0".into(),
        ..document::Listener::default()
    };
    let inventory = Inventory { docker: Some(Arc::new(case.containers)), ..Inventory::default() };
    let context = Context {
        providers: &providers,
        listeners: &[listener],
        dir: Path::new("/"),
        files: &Files::default(),
        inventory: &inventory,
    };
    let outcome = Outcome { sources: sources(&context), report: report(&context) };
    assert_eq!(outcome.hosts("docker/postgres"), ["172.30.0.2@0"]);
}

#[test]
fn w334_a_file_that_is_neither() {
    let outcome = Case::default().file("x.yaml", "api: { enabled: true }").run();
    assert_eq!(outcome.codes(), ["W334"]);
}
