//! Sōzune's configuration and Compose files, as people have them: typed as its manual prints them, they
//! work.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::backend::Backend;
use crate::support::config::{Config, Service};
use crate::support::dns::{Dns, Zone};
use crate::support::peer::Peer;
use crate::support::ports::free_port;
use crate::support::proxy::{Launch, Proxy, thalweg};
use crate::support::wait::{SOON, wait_until};

const CLOSED: &str = "*/relay/closed";

/// Files in a directory, and the listeners that they declare.
struct Files {
    dir: TempDir,
}

impl Files {
    fn new(files: &[(&str, &str)]) -> Files {
        let files_ = Files { dir: tempfile::tempdir().unwrap() };
        files.iter().for_each(|(name, text)| files_.write(name, text));
        files_
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.at(name), text).unwrap();
    }

    fn at(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn config(&self, dns: &Dns) -> Config {
        let pattern = self.at("*.yaml").display().to_string();
        Config::new([])
            .set("resolver", dns.resolver())
            .set("providers", json!({ "sozune": { "files": [pattern] } }))
    }
}

/// `proxy.tcp` of the manual with these ports.
fn listeners(postgres: u16, redis: u16) -> String {
    format!(
        "proxy:\n  http:\n    listen_address: 80\n  https:\n    listen_address: 443\n  tcp:\n    \
         - name: postgres\n      listen: {postgres}\n    - name: redis\n      listen: {redis}\n"
    )
}

/// A Compose service as in the manual.
fn attached(service: &str, listener: &str, port: u16, further: &str) -> String {
    format!(
        "  {service}:\n    image: postgres:16\n    labels:\n      - \"sozune.enable=true\"\n      \
         - \"sozune.tcp.{service}.entrypoint={listener}\"\n      \
         - \"sozune.tcp.{service}.port={port}\"\n{further}"
    )
}

fn listener(name: &str) -> Service {
    Service::new(&format!("sozune/{name}"), &[]).on_port(free_port())
}

/// A backend that says `name`.
fn backend(name: &'static str, address: &str, port: u16) -> Backend {
    let address = SocketAddr::new(address.parse().unwrap(), port);
    Backend::serve_on(address, move |peer| drop(peer.try_send(name.as_bytes())))
}

#[track_caller]
fn once(proxy: &mut Proxy, service: &Service) -> String {
    let peer = proxy.connect(service);
    peer.fin();
    let (name, _) = peer.recv_to_end();
    if name.is_empty() {
        proxy.cut(peer, service, "us/pick/*|us/connect/*|upstream/connect/*");
    } else {
        proxy.ended(peer, service, CLOSED);
    }
    String::from_utf8_lossy(&name).trim().to_owned()
}

/// Goal: the manual as printed: a listener with a backend, one without, which is bound and refuses.
/// Method: its two files, with free ports; connect to both; then the label's listener changes by a
/// reload, and the listeners stay.
#[test]
fn the_manual_as_printed() {
    let target = Backend::name();
    let dns = Dns::of("db", Zone::addresses(&["127.0.0.1"], 60));
    let (postgres, redis) = (listener("postgres"), listener("redis"));
    let compose = |listener: &str| {
        format!("services:\n{}", attached("db", listener, target.address.port(), ""))
    };
    let files = Files::new(&[
        ("config.yaml", &listeners(postgres.port(), redis.port())),
        ("compose.yaml", &compose("postgres")),
    ]);
    let mut proxy = Launch::new(files.config(&dns)).start();
    let name = target.address.port().to_string();
    wait_until("the backend to answer", SOON, || once(&mut proxy, &postgres) == name);
    let peer = proxy.connect(&redis);
    peer.fin();
    let _ = peer.recv_to_end();
    proxy.cut(peer, &redis, "us/pick/rejected");

    files.write("compose.yaml", &compose("redis"));
    proxy.reload(&files.config(&dns));
    wait_until("the backend to answer there", SOON, || once(&mut proxy, &redis) == name);
    assert_eq!(once(&mut proxy, &postgres), "");
    proxy.finish();
}

/// Goal: who is not in the allow list is refused, and a source has its rate.
/// Method: a list without this machine; a bucket of two connections, a third is refused.
#[test]
fn lists_and_rates_hold() {
    let target = Backend::name();
    let dns = Dns::of("db", Zone::addresses(&["127.0.0.1"], 60));
    let (closed, rated) = (listener("closed"), listener("rated"));
    let config = format!(
        "proxy:\n  tcp:\n    - {{ name: closed, listen: {}, ip_allow_list: [10.9.0.0/16, x] }}\n    \
         - {{ name: rated, listen: {}, rate_limit: {{ max_conns: 2, per_seconds: 3600 }} }}\n",
        closed.port(),
        rated.port()
    );
    let port = target.address.port();
    let compose = format!(
        "services:\n{}{}",
        attached("db", "closed", port, ""),
        attached("dc", "rated", port, "    container_name: db\n")
    );
    let files = Files::new(&[("config.yaml", &config), ("compose.yaml", &compose)]);
    let mut proxy = Launch::new(files.config(&dns)).start();
    let peer = proxy.connect(&closed);
    let _ = peer.recv_to_end();
    proxy.refused(peer, "us/admit/*|client/admit/*");
    // Whether or not the name was known by then, each of them counted.
    once(&mut proxy, &rated);
    once(&mut proxy, &rated);
    let peer = proxy.connect(&rated);
    let _ = peer.recv_to_end();
    proxy.refused(peer, "us/admit/*|client/admit/*");
    assert!(proxy.log().contains("W331"), "{}", proxy.log());
    proxy.finish();
}

/// Goal: priority decides, and the next takes over when the highest cannot be reached.
/// Method: two backends on addresses of their own; the higher one goes and comes back.
#[test]
fn priority_fails_over() {
    let port = free_port();
    let _low = backend("low", "127.0.0.2", port);
    let high = backend("high", "127.0.0.3", port);
    let dns = Dns::of("low", Zone::addresses(&["127.0.0.2"], 60));
    dns.set("high", Zone::addresses(&["127.0.0.3"], 60));
    let (postgres, redis) = (listener("postgres"), listener("redis"));
    let priority = "      - \"sozune.tcp.high.priority=10\"\n";
    let compose = format!(
        "services:\n{}{}",
        attached("low", "postgres", port, ""),
        attached("high", "postgres", port, priority)
    );
    let config = listeners(postgres.port(), redis.port());
    let files = Files::new(&[("config.yaml", &config), ("compose.yaml", &compose)]);
    let mut proxy = Launch::new(files.config(&dns)).start();
    wait_until("the higher one", SOON, || once(&mut proxy, &postgres) == "high");
    assert!((0..10).all(|_| once(&mut proxy, &postgres) == "high"));
    drop(high);
    wait_until("the lower one", SOON, || once(&mut proxy, &postgres) == "low");
    let high = backend("high", "127.0.0.3", port);
    wait_until("the higher one again", SOON * 2, || once(&mut proxy, &postgres) == "high");
    drop(high);
    proxy.finish();
}

/// Goal: `check` says each fault of a label with code, service and label; `explain` knows the codes;
/// `import` prints the native form.
/// Method: a Compose file with faults of many kinds.
#[test]
fn faults_are_told_where_they_are() {
    let files = Files::new(&[
        ("config.yaml", &listeners(15432, 16379)),
        (
            "compose.yaml",
            "services:
  db:
    labels:
      - sozune.enable=true
      - sozune.tcp.db.port=5432
  cache:
    labels:
      - sozune.enable=true
      - sozune.tcp.cache.entrypoint=rediss
      - sozune.tcp.cache.prt=6379
  web:
    labels:
      sozune.enable: true
      sozune.tcp.web.entrypoint: redis
      sozune.tcp.web.loadBalancer: hrw
",
        ),
    ]);
    files.write("t.json", "{ \"providers\": { \"sozune\": { \"files\": [ \"*.yaml\" ] } } }");
    let exit = thalweg(files.dir.path(), &["check", "-c", "t.json", "--json"]);
    assert_eq!(exit.code(), Some(1), "{}", exit.said());
    let report: Value = serde_json::from_str(&exit.stdout).unwrap();
    let found = report["diagnostics"].as_array().unwrap();
    let place = |code: &str| {
        let of = found.iter().find(|it| it["code"] == code);
        let of = of.unwrap_or_else(|| panic!("no {code}: {report:#}"));
        assert_eq!(of["provider"], "sozune");
        assert_eq!(thalweg(files.dir.path(), &["explain", code]).code(), Some(0));
        (of["path"].as_str().unwrap().to_owned(), of["line"].as_u64().unwrap())
    };
    assert_eq!(place("E005"), ("services.db.labels[0]".into(), 4));
    assert_eq!(place("E007"), ("services.cache.labels[1]".into(), 9));
    assert_eq!(place("W013"), ("services.cache.labels[2]".into(), 10));
    assert_eq!(place("W022"), ("services.web.labels".into(), 12));
    assert_eq!(place("I002").0, "services.web.labels");
    let text = thalweg(files.dir.path(), &["check", "-c", "t.json"]).stdout;
    assert!(text.contains("references undeclared listener `rediss`"), "{text}");

    let exit = thalweg(files.dir.path(), &["import", "sozune", "config.yaml", "compose.yaml"]);
    assert_eq!(exit.code(), Some(1), "the good part is printed: {}", exit.said());
    let native: Value = serde_json::from_str(&exit.stdout).unwrap();
    assert_eq!(native["services"][0]["id"], "sozune/postgres");
    assert_eq!(native["services"][0]["rules"][0]["targets"], json!([{ "reject": true }]));
    assert_eq!(
        native["services"][1]["rules"][0]["targets"],
        json!([{ "host": "web", "port": 8080 }])
    );
    let exit = thalweg(files.dir.path(), &["doctor", "-c", "t.json"]);
    assert_eq!(exit.code(), Some(1), "{}", exit.said());
    assert!(exit.stdout.contains("the Compose service db: skipped"), "{}", exit.said());
}

/// Goal: the example works.
/// Method: `check` and `doctor --offline` of it.
#[test]
fn the_example_is_good() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/sozune");
    let exit = thalweg(&dir, &["check", "-c", "thalweg.json"]);
    assert_eq!(exit.code(), Some(0), "{}", exit.said());
    let exit = thalweg(&dir, &["doctor", "--offline", "-c", "thalweg.json"]);
    assert_eq!(exit.code(), Some(0), "{}", exit.said());
    assert!(
        exit.stdout.contains("the Compose service db: attached to postgres"),
        "{}",
        exit.said()
    );
}

/// Goal: an allow list that says nothing valid is never open.
/// Method: such a listener is not bound; the other one is.
#[test]
fn an_allow_list_without_sense_opens_nothing() {
    let (postgres, redis) = (listener("postgres"), listener("redis"));
    let config = format!(
        "proxy:\n  tcp:\n    - {{ name: postgres, listen: {}, ip_allow_list: [nobody] }}\n    \
         - {{ name: redis, listen: {} }}\n",
        postgres.port(),
        redis.port()
    );
    let dns = Dns::start();
    let files = Files::new(&[("config.yaml", &config)]);
    let mut proxy = Launch::new(files.config(&dns)).start();
    assert!(proxy.log().contains("E332"), "{}", proxy.log());
    assert!(Peer::try_connect(postgres.address).is_err(), "nobody listens");
    assert_eq!(once(&mut proxy, &redis), "");
    proxy.finish();
}
