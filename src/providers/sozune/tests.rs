use std::collections::BTreeMap;
use std::path::Path;

use serde_json::{Value, json};

use super::*;
use crate::config::document::{Docker, Providers, Sozune};
use crate::providers::Inventory;
use crate::providers::docker::{Containers, State};
use crate::providers::foreign::Files;

mod any;
mod codes;
mod files;
mod priority;

/// `proxy.tcp` of the seed, on one line each as YAML allows.
const SEED: &str = "proxy:
  http:
    listen_address: 80
  https:
    listen_address: 443
  tcp:
    - name: postgres
      listen: 5432
    - name: redis
      listen: 6379
";

/// What is translated.
#[derive(Default)]
struct Case {
    files: Vec<(&'static str, String)>,
    listeners: Vec<document::Listener>,
    docker: Option<Docker>,
    containers: Containers,
}

/// What came of it.
struct Outcome {
    sources: Vec<Source>,
    report: Report,
}

impl Case {
    /// The listeners of the seed, and containers.
    fn seed() -> Self {
        Self::default().file("config.yaml", SEED)
    }

    fn file(mut self, name: &'static str, text: &str) -> Self {
        self.files.push((name, text.to_owned()));
        self
    }

    fn container(mut self, id: &str, labels: &[(&str, &str)]) -> Self {
        let at = self.containers.by_id.len();
        let ip = format!("172.30.0.{}", at + 2);
        self.containers.by_id.insert(
            id.to_owned(),
            Container {
                name: id.to_owned(),
                created: format!("2026-01-01T00:00:{at:02}Z"),
                labels: labels.iter().map(|(k, v)| ((*k).into(), (*v).into())).collect(),
                networks: BTreeMap::from([("bridge".into(), ip.parse().unwrap())]),
                ..Container::default()
            },
        );
        self
    }

    /// A container that is attached to the listener `postgres` with port 5432.
    fn attached(self, id: &str, service: &str, further: &[(&str, &str)]) -> Self {
        let entrypoint = format!("sozune.tcp.{service}.entrypoint");
        let port = format!("sozune.tcp.{service}.port");
        let further = further.iter().map(|(k, v)| (format!("sozune.tcp.{service}.{k}"), *v));
        let mut labels =
            vec![("sozune.enable".to_owned(), "true"), (entrypoint, "postgres"), (port, "5432")];
        labels.extend(further);
        let labels: Vec<(&str, &str)> = labels.iter().map(|(k, v)| (k.as_str(), *v)).collect();
        self.container(id, &labels)
    }

    fn change(mut self, id: &str, change: impl FnOnce(&mut Container)) -> Self {
        change(self.containers.by_id.get_mut(id).unwrap());
        self
    }

    fn run(self) -> Outcome {
        let dir = tempfile::tempdir().unwrap();
        for (name, text) in &self.files {
            std::fs::write(dir.path().join(name), text).unwrap();
        }
        let files = self.files.iter().map(|(name, _)| (*name).to_owned()).collect();
        let providers = Providers {
            sozune: Some(Sozune { files }),
            docker: Some(self.docker.unwrap_or_default()),
            ..Providers::default()
        };
        let inventory =
            Inventory { docker: Some(Arc::new(self.containers)), ..Inventory::default() };
        let context = Context {
            providers: &providers,
            listeners: &self.listeners,
            dir: dir.path(),
            files: &Files::default(),
            inventory: &inventory,
        };
        let again: Vec<_> = sources(&context).iter().map(|it| it.documents.clone()).collect();
        let sources = sources(&context);
        let documents: Vec<_> = sources.iter().map(|it| it.documents.clone()).collect();
        assert_eq!(again, documents, "the same in, the same out");
        Outcome { sources, report: report(&context) }
    }
}

impl Outcome {
    fn found(&self) -> impl Iterator<Item = &Diagnostic> {
        self.sources.iter().flat_map(|source| &source.diagnostics)
    }

    fn codes(&self) -> Vec<&'static str> {
        self.found().map(|finding| finding.code).filter(|code| *code != "I330").collect()
    }

    fn message(&self, code: &str) -> &str {
        let found = self.found().find(|finding| finding.code == code);
        found.map_or_else(|| panic!("no {code} in {:?}", self.codes()), |it| &it.message)
    }

    fn service(&self, id: &str) -> Value {
        let documents = self.sources.iter().flat_map(|source| &source.documents);
        let mut services = documents.map(|it| serde_json::from_str::<Value>(&it.text).unwrap());
        let found = services.find(|service| service["id"] == id);
        found.unwrap_or_else(|| panic!("no service {id}"))
    }

    fn targets(&self, id: &str) -> Vec<Value> {
        self.service(id)["rules"][0]["targets"].as_array().unwrap().clone()
    }

    /// The hosts of the targets, with tier and port where they are not the usual.
    fn hosts(&self, id: &str) -> Vec<String> {
        let words = |target: Value| match target["reject"].as_bool() {
            Some(true) => "reject".to_owned(),
            _ => format!(
                "{}@{}",
                target["host"].as_str().unwrap(),
                target["tier"].as_u64().unwrap_or(0)
            ),
        };
        self.targets(id).into_iter().map(words).collect()
    }
}

#[test]
fn the_seed_as_printed() {
    let compose = "services:
  db:
    image: postgres:16
    labels:
      - \"sozune.enable=true\"
      - \"sozune.tcp.db.entrypoint=postgres\"
      - \"sozune.tcp.db.port=5432\"
";
    let outcome = Case::seed().file("compose.yaml", compose).run();
    assert_eq!(outcome.codes(), [""; 0]);
    let service = outcome.service("sozune/postgres");
    assert_eq!(service["port"], 5432);
    assert_eq!(service["interface"], "0.0.0.0");
    assert_eq!(outcome.targets("sozune/postgres"), [json!({ "host": "db", "port": 5432 })]);
    assert_eq!(outcome.hosts("sozune/redis"), ["reject"], "bound, with nothing behind it");
    let documents = &outcome.sources[0].documents;
    assert!(documents.iter().all(|document| document.port_is_declared));
    assert_eq!((documents[0].path.as_str(), documents[0].line), ("proxy.tcp[0]", Some(7)));
    let info: Vec<_> = outcome.found().map(|finding| finding.code).collect();
    assert_eq!(info, ["I330"], "one word about HTTP");
}

#[test]
fn listeners_of_the_main_file_are_named_alike() {
    let listener = |name: &str, port| document::Listener {
        name: Some(name.into()),
        port: Some(port),
        interface: "127.0.0.1".into(),
        ..document::Listener::default()
    };
    let mut case = Case::seed().attached("a1", "db", &[]).container(
        "b1",
        &[
            ("thalweg.enable", "true"),
            ("thalweg.tcp.mq.entrypoint", "amqp"),
            ("thalweg.tcp.mq.port", "5672"),
        ],
    );
    case.listeners = vec![listener("amqp", 5672), listener("mqtt", 1883)];
    let outcome = case.run();
    assert_eq!(outcome.codes(), [""; 0]);
    assert_eq!(outcome.hosts("sozune/postgres"), ["172.30.0.2@0"]);
    assert_eq!(outcome.hosts("docker/amqp"), ["172.30.0.3@0"]);
    assert_eq!(outcome.service("docker/amqp")["interface"], "127.0.0.1");
    assert_eq!(outcome.hosts("docker/mqtt"), ["reject"]);
    assert_eq!(outcome.report.listeners.len(), 4);
    assert_eq!(outcome.report.candidates[0].listeners, ["postgres"]);
}

#[test]
fn what_is_wrong_with_a_listener_of_the_main_file_refuses_the_whole() {
    let mut case = Case::default();
    let access =
        document::Access { allow: Some(vec!["nobody".into()]), ..document::Access::default() };
    let listener = |name: &str, port| document::Listener {
        name: Some(name.into()),
        port: Some(port),
        interface: "0.0.0.0".into(),
        ..document::Listener::default()
    };
    case.listeners = vec![
        listener("pg", 5432),
        document::Listener { access: Some(access), ..listener("closed", 7000) },
        listener("postgres", 7001),
    ];
    case.files.push(("config.yaml", SEED.into()));
    let outcome = case.run();
    let placed: Vec<_> = outcome.found().map(|it| (it.code, it.path.as_str())).collect();
    let placed = &placed[1..]; // that HTTP is passed over
    assert!(placed[0].1.starts_with("listeners[1].access.allow"), "{placed:?}");
    assert_eq!(placed[1], ("E304", "listeners[2].name"));
    assert!(outcome.found().skip(1).all(|it| it.file.is_none()), "the operator's own");
}
