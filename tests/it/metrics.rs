//! What is counted is what happened: `/metrics` and `/api/traffic` against the events, the format
//! against parsers that are not ours, the dashboard and the alerts against what is served.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::thread;

use regex::Regex;
use rustls::ProtocolVersion;
use serde_json::{Value, json};

use crate::support::admin::ask;
use crate::support::backend::{Backend, Manual};
use crate::support::certs::{Authority, Files};
use crate::support::config::{Config, Service};
use crate::support::ports::free_port;
use crate::support::proxy::{Launch, Proxy};
use crate::support::tls::{Dial, Tls, serving};
use crate::support::wait::{SOON, wait_for, wait_until};

const CLOSED: &str = "*/relay/closed";
const NAME: &str = "a.test";
const TOKEN: &str = "0123456789abcdef";
const MIB: u64 = 1 << 20;

/// A proxy with its admin API, which has a token.
fn launch(config: Config, files: &Files) -> (Proxy, String) {
    let (at, config) = with_admin(config, files);
    (Launch::new(config).start(), at)
}

fn with_admin(config: Config, files: &Files) -> (String, Config) {
    let at = format!("127.0.0.1:{}", free_port());
    let token = files.put("admin.token", TOKEN);
    let config = config.set("admin", json!({ "listen": at, "tokenFile": token }));
    (at, config)
}

/// A scrape, by name and labels (sorted).
struct Scrape {
    samples: HashMap<(String, BTreeMap<String, String>), f64>,
    /// By family.
    types: HashMap<String, String>,
}

impl Scrape {
    #[track_caller]
    fn of(at: &str) -> Scrape {
        let answer = ask(at, "/metrics", &[]);
        assert_eq!(answer.status, 200, "{}", answer.body);
        let (mut samples, mut types) = (HashMap::new(), HashMap::new());
        let label = Regex::new(r#"([a-z]+)="((?:[^"\\]|\\.)*)",?"#).unwrap();
        for line in answer.body.lines() {
            if let Some(rest) = line.strip_prefix("# TYPE ") {
                let (name, kind) = rest.split_once(' ').unwrap();
                assert!(types.insert(name.to_owned(), kind.to_owned()).is_none(), "{line}");
                continue;
            }
            if line.starts_with('#') {
                continue;
            }
            let (head, value) = line.rsplit_once(' ').expect("a sample");
            let (name, labels) = head.split_once('{').unwrap_or((head, "}"));
            let labels = label.captures_iter(labels).map(|it| (it[1].to_owned(), it[2].to_owned()));
            let key = (name.to_owned(), labels.collect());
            assert!(samples.insert(key, value.parse().unwrap()).is_none(), "twice: {line}");
        }
        Scrape { samples, types }
    }

    /// The sum of the samples of this name that have these labels; `None`: there is none.
    fn get(&self, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
        let has = |of: &BTreeMap<String, String>| {
            labels.iter().all(|(label, text)| of.get(*label).is_some_and(|it| it == text))
        };
        let those = self.samples.iter().filter(|((of, labels), _)| of == name && has(labels));
        those.map(|(_, value)| *value).reduce(|one, other| one + other)
    }

    /// As a whole number; 0 where there is none.
    fn count(&self, name: &str, labels: &[(&str, &str)]) -> u64 {
        self.get(name, labels).unwrap_or(0.0) as u64
    }

    /// Endings by their reason.
    fn endings(&self, name: &str, labels: &[(&str, &str)]) -> BTreeMap<String, u64> {
        let mut endings = BTreeMap::new();
        for ((of, has), count) in &self.samples {
            let wanted =
                labels.iter().all(|(label, text)| has.get(*label).is_some_and(|it| it == text));
            if of == name && wanted {
                let reason = format!("{}/{}/{}", has["side"], has["step"], has["cause"]);
                *endings.entry(reason).or_insert(0) += *count as u64;
            }
        }
        endings
    }
}

fn traffic(at: &str) -> Value {
    let answer = ask(at, "/api/traffic", &[]);
    assert_eq!(answer.status, 200, "{}", answer.body);
    answer.json()
}

fn of_service<'a>(traffic: &'a Value, id: &str) -> &'a Value {
    let services = traffic["services"].as_array().unwrap();
    services.iter().find(|it| it["id"] == id).unwrap_or_else(|| panic!("{id}: {traffic}"))
}

/// Everything that is counted agrees with the events, once all have been written.
#[track_caller]
fn agrees(proxy: &Proxy, at: &str, connections: usize) {
    wait_until("all events", SOON, || proxy.events().len() >= connections);
    let events = proxy.events();
    assert_eq!(events.len(), connections, "events");
    let (scrape, traffic) = (Scrape::of(at), traffic(at));
    let mut services: BTreeMap<&str, (BTreeMap<String, u64>, u64, u64)> = BTreeMap::new();
    let mut all: BTreeMap<String, u64> = BTreeMap::new();
    let (mut up, mut down, mut retries) = (0, 0, 0);
    for event in &events {
        let service = services.entry(event.text("@serviceId")).or_default();
        *service.0.entry(event.reason().to_owned()).or_insert(0) += 1;
        *all.entry(event.reason().to_owned()).or_insert(0) += 1;
        service.1 += event.data_in();
        service.2 += event.data_out();
        up += event.data_in();
        down += event.data_out();
        retries += event.number("retries");
    }
    for (id, (endings, up, down)) in &services {
        let label = [("service", *id)];
        if id.is_empty() {
            assert_eq!(&scrape.endings("thalweg_unrouted_endings_total", &[]), endings);
            continue;
        }
        assert_eq!(&scrape.endings("thalweg_service_endings_total", &label), endings, "{id}");
        let ended: u64 = endings.values().sum();
        let failed = endings.iter().filter(|(reason, _)| !reason.contains("/relay/"));
        let failed: u64 = failed.map(|(_, count)| count).sum();
        assert_eq!(scrape.count("thalweg_service_accepted_total", &label), ended, "{id}");
        assert_eq!(scrape.count("thalweg_service_connections", &label), 0, "{id}");
        for (direction, bytes) in [("up", *up), ("down", *down)] {
            let labels = [("service", *id), ("direction", direction)];
            assert_eq!(scrape.count("thalweg_service_bytes_total", &labels), bytes, "{id}");
            assert_eq!(scrape.count("thalweg_target_bytes_total", &labels), bytes, "{id}");
        }
        let lived = scrape.count("thalweg_service_connection_duration_seconds_count", &label);
        assert_eq!(lived, ended, "{id}");
        let shown = of_service(&traffic, id);
        for (member, expected) in [
            ("connections", 0),
            ("accepted", ended),
            ("ended", ended),
            ("failed", failed),
            ("bytesIn", *up),
            ("bytesOut", *down),
        ] {
            assert_eq!(shown[member], json!(expected), "{member} of {id}: {shown}");
        }
    }
    assert_eq!(scrape.endings("thalweg_endings_total", &[]), all);
    assert_eq!(scrape.count("thalweg_accepted_total", &[]), events.len() as u64);
    assert_eq!(scrape.count("thalweg_core_accepted_total", &[]), events.len() as u64);
    assert_eq!(scrape.count("thalweg_events_total", &[]), events.len() as u64);
    assert_eq!(scrape.count("thalweg_connect_retries_total", &[]), retries);
    assert_eq!(scrape.count("thalweg_service_connect_retries_total", &[]), retries);
    for (direction, bytes) in [("up", up), ("down", down)] {
        for name in ["thalweg_bytes_total", "thalweg_core_bytes_total"] {
            assert_eq!(scrape.count(name, &[("direction", direction)]), bytes, "{name}");
        }
    }
    let total = &traffic["total"];
    assert_eq!((&total["bytesIn"], &total["bytesOut"]), (&json!(up), &json!(down)), "{total}");
    assert_eq!(total["ended"], json!(events.len()), "{total}");
    let shown: BTreeMap<String, u64> = traffic["endings"]
        .as_array()
        .unwrap()
        .iter()
        .map(|it| {
            let text = |member: &str| it[member].as_str().unwrap().to_owned();
            let reason = format!("{}/{}/{}", text("side"), text("step"), text("cause"));
            (reason, it["count"].as_u64().unwrap())
        })
        .collect();
    assert_eq!(shown, all);
    let cores = traffic["cores"].as_array().unwrap();
    let bytes: u64 = cores.iter().map(|core| core["bytesIn"].as_u64().unwrap()).sum();
    assert_eq!(bytes, up, "{traffic}");
}

/// Goal: every connection is counted once, for its service, its target and its reason, with its bytes.
/// Method: connections of every kind, also those that fail; then the counts against the events.
#[test]
fn counts_are_what_happened() {
    let (echo, silent) = (Backend::echo(), Manual::start());
    let (files, authority) = (Files::new(), Authority::new("servers"));
    let issued = authority.issue(&[NAME, "through.test"]);
    let config = Arc::new(serving(&issued, None));
    let behind = Backend::serve(move |peer| {
        let mut tls = Tls::answer(peer, &config);
        tls.expect(b"hello");
        tls.send(b"hello");
        tls.expect_close();
        tls.fin();
    });
    let nobody = format!("127.0.0.1:{}", free_port()).parse().unwrap();
    let plain = Service::new("plain", &[echo.address]);
    let killed = Service::new("killed", &[silent.address]);
    let down = Service::new("down", &[nobody]);
    let second = Service::new("second", &[nobody, echo.address])
        .set("retries", json!(1))
        .set("loadBalancing", json!("First"));
    let denied = Service::new("denied", &[echo.address])
        .set("access", json!({ "deny": ["127.0.0.0/8"], "default": "Allow" }));
    let sni = json!({ "enabled": true });
    let target = |at: std::net::SocketAddr| json!([{ "host": "127.0.0.1", "port": at.port() }]);
    let through = Service::new("through", &[])
        .set("tls", json!("PassThrough"))
        .set("sni", sni.clone())
        .set("rules", json!([{ "domain": "through.test", "targets": target(behind.address) }]));
    let ending = Service::new("ending", &[])
        .on_port(through.port())
        .set("tls", json!("Enabled"))
        .set("sni", sni)
        .set("rules", json!([{ "domain": NAME, "targets": target(echo.address) }]));
    let all = [&plain, &killed, &down, &second, &denied, &through, &ending];
    let config = Config::new(all).set("certificates", json!([files.pair("a", &issued)]));
    let (mut proxy, at) = launch(config, &files);
    let before = proxy.events().len();

    for bytes in [1, 1000, 3 * MIB] {
        let client = proxy.connect(&plain);
        let echoed = thread::scope(|scope| {
            let received = scope.spawn(|| client.hash_to_eof());
            client.send_random(7, bytes);
            client.fin();
            received.join().unwrap()
        });
        assert_eq!(echoed.0, bytes);
        proxy.ended(client, &plain, CLOSED);
    }
    let victim = proxy.connect(&killed);
    victim.send(b"abc");
    let upstream = silent.accept();
    upstream.expect(b"abc");
    let list = ask(&at, "/api/tcp/connections?service=killed", &[]).json();
    let path = format!("/api/tcp/connections/{}", list["connections"][0]["id"].as_str().unwrap());
    let bearer = format!("Authorization: Bearer {TOKEN}");
    assert_eq!(ask(&at, &path, &["-X", "DELETE", "-H", &bearer]).status, 200);
    victim.expect_reset();
    proxy.ended(victim, &killed, "us/relay/killed");
    for (service, reason) in [(&down, "upstream/connect/refused"), (&denied, "us/admit/denied")] {
        let client = proxy.connect(service);
        client.expect_end();
        proxy.refused(client, reason);
    }
    let client = proxy.connect(&second);
    client.send(b"again");
    client.expect(b"again");
    client.fin();
    client.expect_eof();
    proxy.ended(client, &second, CLOSED);
    let dial = Dial::trusting(&authority);
    let mut client = Tls::dial(proxy.connect(&through), &dial.config(), "through.test");
    client.send(b"hello");
    client.expect(b"hello");
    client.fin();
    client.expect_close();
    client.peer.fin();
    client.peer.expect_eof();
    proxy.ended(client.peer, &through, CLOSED);
    for (version, times) in [(ProtocolVersion::TLSv1_3, 3), (ProtocolVersion::TLSv1_2, 1)] {
        let config = dial.clone().version(version).config();
        for _ in 0..times {
            let mut client = Tls::dial(proxy.connect(&ending), &config, NAME);
            client.send(b"secret");
            client.expect(b"secret");
            client.fin();
            client.expect_close();
            proxy.ended(client, &ending, CLOSED);
        }
    }
    let junk = proxy.connect(&ending);
    junk.send(b"neither this nor that\r\n\r\n");
    junk.expect_end();
    proxy.refused(junk, "us/hello/not-recognised");

    agrees(&proxy, &at, before + 13);
    let scrape = Scrape::of(&at);
    let handshakes = |labels: &[(&str, &str)]| scrape.count("thalweg_tls_handshakes_total", labels);
    assert_eq!(handshakes(&[("version", "TLSv1.3"), ("resumed", "false")]), 1);
    assert_eq!(handshakes(&[("version", "TLSv1.3"), ("resumed", "true")]), 2);
    assert_eq!(handshakes(&[("version", "TLSv1.2"), ("resumed", "false")]), 1);
    let ends = [("service", "ending"), ("side", "client")];
    assert_eq!(scrape.count("thalweg_service_tls_handshake_seconds_count", &ends), 4);
    assert_eq!(scrape.count("thalweg_service_tls_handshakes_total", &[("service", "ending")]), 4);
    let refused = nobody.to_string();
    for (service, target, result, count) in [
        ("plain", &*echo.address.to_string(), "connected", 3),
        ("down", &*refused, "failed", 1),
        ("second", &*refused, "failed", 1),
        ("second", &*echo.address.to_string(), "connected", 1),
        ("denied", &*echo.address.to_string(), "connected", 0),
    ] {
        let labels = [("service", service), ("target", target), ("result", result)];
        assert_eq!(scrape.get("thalweg_target_connects_total", &labels), Some(f64::from(count)));
    }
    let connected = scrape.count("thalweg_service_connect_seconds_count", &[("service", "plain")]);
    assert_eq!(connected, 3);
    assert_eq!(scrape.get("thalweg_service_connect_seconds_count", &[("service", "down")]), None);
    drop(upstream);
    proxy.finish();
}

/// Goal: bytes are counted while a connection lives, however they are moved, and each once.
/// Method: bytes over connections that stay open, small and bulk, with TLS and without; they show
/// before the end, and at the end the sums are exact.
#[test]
fn bytes_of_live_connections_show() {
    let echo = Backend::echo();
    let (files, authority) = (Files::new(), Authority::new("servers"));
    let plain = Service::new("plain", &[echo.address]);
    let tls = Service::new("tls", &[echo.address]).set("tls", json!("Enabled"));
    let pair = files.pair("a", &authority.issue(&[NAME]));
    let config = Config::new([&plain, &tls]).set("certificates", json!([pair]));
    let (mut proxy, at) = launch(config, &files);
    let before = proxy.events().len();
    let shows = |service: &str, connections: u64, bytes: u64| {
        wait_for("live bytes", SOON, || {
            let traffic = traffic(&at);
            let shown = of_service(&traffic, service).clone();
            let target =
                traffic["targets"].as_array().unwrap().iter().find(|it| {
                    it["service"] == service && it["target"] == echo.address.to_string()
                });
            let target = target.unwrap().clone();
            assert_eq!(shown["connections"], json!(connections), "{shown}");
            assert_eq!(target["connections"], json!(connections), "{target}");
            assert_eq!(target["state"], "Up");
            let both = |it: &Value| it["bytesIn"] == json!(bytes) && it["bytesOut"] == json!(bytes);
            (both(&shown) && both(&target)).then_some(())
        });
    };
    let client = proxy.connect(&plain);
    let mut sent = 0;
    for _ in 0..3 {
        client.send(&[7; 100]);
        client.expect(&[7; 100]);
        sent += 100;
        shows("plain", 1, sent);
    }
    thread::scope(|scope| {
        let received = scope.spawn(|| drop(client.recv_exact(4 << 20)));
        client.send_random(1, 4 * MIB);
        received.join().unwrap();
    });
    shows("plain", 1, sent + 4 * MIB);
    let mut secret = Tls::dial(proxy.connect(&tls), &Dial::trusting(&authority).config(), NAME);
    secret.exchange(5, 300_000);
    shows("tls", 1, 300_000);
    secret.send(&[1; 1000]);
    secret.expect(&[1; 1000]);
    secret.fin();
    secret.expect_close();
    proxy.ended(secret, &tls, CLOSED);
    client.fin();
    client.expect_eof();
    proxy.ended(client, &plain, CLOSED);
    agrees(&proxy, &at, before + 2);
    proxy.finish();
}

/// Goal: counts only ever rise; a service that stays keeps them, one that goes and comes back begins
/// anew, and a connection that outlives its service is still counted in the whole.
/// Method: reloads that change, remove and bring back services, also one that is refused.
#[test]
fn reloads_keep_counts() {
    let (echo, other) = (Backend::echo(), Manual::start());
    let files = Files::new();
    let stays = Service::new("stays", &[echo.address]);
    let goes = Service::new("goes", &[other.address]);
    let (at, config) = with_admin(Config::new([&stays, &goes]), &files);
    let mut proxy = Launch::new(config.clone()).start();
    let before = proxy.events().len();
    let once = |proxy: &mut Proxy| {
        let client = proxy.connect(&stays);
        client.send(b"12345");
        client.expect(b"12345");
        client.fin();
        client.expect_eof();
        proxy.ended(client, &stays, CLOSED);
    };
    once(&mut proxy);
    let lives = proxy.connect(&goes);
    lives.send(b"123");
    let upstream = other.accept();
    upstream.expect(b"123");
    let admin: Value = serde_json::from_str(&config.text()).unwrap();
    let changed = stays.clone().set("timeouts", json!({ "idle": "2h" }));
    let without = Config::new([&changed]).set("admin", admin["admin"].clone());
    let with = Config::new([&changed, &goes]).set("admin", admin["admin"].clone());
    let accepted = |id| Scrape::of(&at).get("thalweg_service_accepted_total", &[("service", id)]);
    wait_until("the end is counted", SOON, || {
        of_service(&traffic(&at), "stays")["ended"] == json!(1)
    });
    let first = Scrape::of(&at);
    assert_eq!(first.get("thalweg_last_reload_successful", &[]), Some(1.0));
    proxy.reload(&without);
    assert_eq!((accepted("stays"), accepted("goes")), (Some(1.0), None));
    once(&mut proxy);
    lives.send(b"45");
    upstream.expect(b"45");
    upstream.fin();
    lives.fin();
    upstream.expect_eof();
    lives.expect_eof();
    proxy.ended(lives, &goes, CLOSED);
    proxy.reload(&with);
    assert_eq!((accepted("stays"), accepted("goes")), (Some(2.0), Some(0.0)));
    proxy.reload(&with.clone().set("services", json!("none")));
    wait_until("all events", SOON, || proxy.events().len() == before + 3);
    let last = Scrape::of(&at);
    assert_eq!(last.get("thalweg_last_reload_successful", &[]), Some(0.0));
    assert_eq!(last.count("thalweg_reloads_total", &[("result", "refused")]), 1);
    assert_eq!(last.count("thalweg_reloads_total", &[("result", "applied")]), 2);
    let up = proxy.events().iter().map(|event| event.data_in()).sum::<u64>();
    assert_eq!(last.count("thalweg_bytes_total", &[("direction", "up")]), up);
    for ((name, labels), value) in &first.samples {
        let rises = ["_total", "_count", "_bucket"].iter().any(|end| name.ends_with(end));
        let gone = labels.get("service").is_some_and(|service| service == "goes");
        if rises && !gone {
            let now = last.samples.get(&(name.clone(), labels.clone())).copied();
            assert!(
                now.is_some_and(|now| now >= *value),
                "{name}{labels:?}: {value}, then {now:?}"
            );
        }
    }
    proxy.write_config(&with);
    proxy.finish();
}

/// Reads a scrape with the parsers of Prometheus' own Python library.
const PARSE: &str = r#"
import json, sys
from prometheus_client.parser import text_string_to_metric_families as plain
from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics
families = (openmetrics if sys.argv[1] == "open" else plain)(sys.stdin.read())
print(json.dumps([[f.type, [[s.name, s.labels, s.value] for s in f.samples]] for f in families]))
"#;

#[track_caller]
fn parsed(format: &str, text: &str) -> Vec<Value> {
    // Debian's, which scripts/test installs.
    let mut child = Command::new("/usr/bin/python3")
        .args(["-c", PARSE, format])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("python3; scripts/test installs what the tests need");
    let mut stdin = child.stdin.take().unwrap();
    let text = text.to_owned();
    let writer = thread::spawn(move || stdin.write_all(text.as_bytes()));
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap().unwrap();
    assert!(output.status.success(), "the {format} parser does not take it");
    let families: Value = serde_json::from_slice(&output.stdout).unwrap();
    families.as_array().unwrap().clone()
}

/// Goal: others can read both formats, whatever services and targets are called.
/// Method: names full of quotes, braces and line ends; a parser that is not ours gives them back.
#[test]
fn hostile_names_cannot_break_the_format() {
    let echo = Backend::echo();
    let files = Files::new();
    let names = ["a\"b\\c{d=\"e\"} 1", "# TYPE x counter", "é\u{2028}\u{1f600},", "\\n\\\\\""];
    let services = names.map(|name| Service::new(name, &[echo.address]));
    let (mut proxy, at) = launch(Config::new(&services), &files);
    for service in &services {
        let client = proxy.connect(service);
        client.send(b"x");
        client.expect(b"x");
        client.fin();
        client.expect_eof();
        proxy.ended(client, service, CLOSED);
    }
    wait_until("all is counted", SOON, || {
        let traffic = traffic(&at);
        names.iter().all(|name| of_service(&traffic, name)["ended"] == json!(1))
    });
    let accept = "Accept: application/openmetrics-text;version=1.0.0,text/plain;q=0.5";
    for (format, header) in [("plain", "Accept: */*"), ("open", accept)] {
        let text = ask(&at, "/metrics", &["-H", header]).body;
        let families = parsed(format, &text);
        let samples = families.iter().flat_map(|family| family[1].as_array().unwrap());
        let samples: Vec<&Value> = samples.collect();
        for name in names {
            let found = samples.iter().find(|sample| {
                sample[0] == "thalweg_service_accepted_total" && sample[1]["service"] == name
            });
            assert_eq!(found.unwrap()[2].as_f64(), Some(1.0), "{name} as {format}");
        }
        let unknown = families.iter().filter(|family| family[0] == "unknown").count();
        assert_eq!(unknown, 0, "{format}");
    }
    proxy.finish();
}

/// Goal: what is known of targets, names, requests and the process shows.
/// Method: a target whose check fails after a while, requests that are refused.
#[test]
fn the_rest_shows() {
    let mut echo = Backend::echo();
    let files = Files::new();
    let check = json!({ "interval": "50ms", "timeout": "10s", "rise": 1, "fall": 1 });
    let checked = Service::new("checked", &[echo.address]).set("healthCheck", check);
    let named = Service::to_host("named", "localhost", echo.address.port());
    let (proxy, at) = launch(Config::new([&checked, &named]), &files);
    let label = [("service", "checked")];
    let is = |name: &str, value: f64| Scrape::of(&at).get(name, &label) == Some(value);
    wait_until("a check", SOON, || is("thalweg_target_check_successful", 1.0));
    assert!(is("thalweg_target_status", 1.0) && is("thalweg_target_up", 1.0));
    let scrape = Scrape::of(&at);
    assert!(scrape.get("thalweg_target_check_duration_seconds", &label).unwrap() > 0.0);
    let unchecked = [("service", "named")];
    assert_eq!(scrape.get("thalweg_target_check_successful", &unchecked), None);
    let name = [("name", "localhost")];
    assert!(scrape.get("thalweg_name_addresses", &name).unwrap() >= 1.0);
    assert!(scrape.get("thalweg_name_answer_timestamp_seconds", &name).unwrap() > 1e9);
    echo.stop_listening();
    wait_until("the target is down", SOON, || is("thalweg_target_status", 0.0));
    assert!(is("thalweg_target_check_successful", 0.0) && is("thalweg_target_up", 0.0));
    let down = traffic(&at);
    let target = down["targets"].as_array().unwrap().iter().find(|it| it["service"] == "checked");
    assert_eq!(target.unwrap()["state"], "Down", "{down}");
    let requests =
        |code: &str| Scrape::of(&at).count("thalweg_admin_requests_total", &[("code", code)]);
    let before = [requests("404"), requests("421"), requests("401")];
    assert_eq!(ask(&at, "/nothing", &[]).status, 404);
    assert_eq!(ask(&at, "/metrics", &["-H", "Host: evil.test"]).status, 421);
    assert_eq!(ask(&at, "/api/tcp/connections/x", &["-X", "DELETE"]).status, 401);
    assert_eq!([requests("404"), requests("421"), requests("401")], before.map(|it| it + 1));
    let open = proxy.process().descriptors();
    let open = (open.sockets + open.others + open.pipes) as f64;
    // Some come and go with the requests.
    let shown = Scrape::of(&at).get("process_open_fds", &[]).unwrap();
    assert!((shown - open).abs() < 16.0, "{shown} descriptors, {open} by /proc");
    assert!(Scrape::of(&at).get("process_resident_memory_bytes", &[]).unwrap() > 1e6);
    proxy.finish();
}

/// Goal: neither the dashboard nor an alert speaks of a metric or a label that does not exist.
/// Method: every name in their expressions is looked for in what a running proxy says of itself.
#[test]
fn dashboard_and_alerts_name_what_exists() {
    let echo = Backend::echo();
    let files = Files::new();
    let (proxy, at) = launch(Config::new([&Service::new("svc", &[echo.address])]), &files);
    let types = Scrape::of(&at).types;
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("config");
    let read = |name: &str| fs::read_to_string(root.join(name)).expect(name);
    let dashboard: Value = serde_json::from_str(&read("grafana.json")).unwrap();
    let mut expressions = Vec::new();
    expressions_of(&dashboard, &mut expressions);
    let alerts = read("prometheus/alerts.yml");
    expressions.push(alerts.clone());
    let name = Regex::new(r"\b(?:thalweg|process)_[a-z_]+").unwrap();
    let mut seen = 0;
    for expression in &expressions {
        for found in name.find_iter(expression).map(|found| found.as_str()) {
            let exists = ["", "_bucket", "_sum", "_count"].iter().any(|end| {
                let family = found.strip_suffix(end).and_then(|family| types.get(family));
                family.is_some_and(|kind| end.is_empty() != (kind == "histogram"))
            });
            assert!(exists, "{found} in: {expression}");
            seen += 1;
        }
    }
    assert!(seen > 40, "{seen} names were looked at");
    let variables = dashboard["templating"]["list"].as_array().unwrap();
    let names: Vec<&str> = variables.iter().map(|it| it["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["datasource", "instance", "service"]);
    assert!(read("prometheus/prometheus.yml").contains("alerts.yml"));
    proxy.finish();
}

/// Every `expr` and `query` below.
fn expressions_of(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::Object(members) => {
            for (name, value) in members {
                match value.as_str() {
                    Some(text) if ["expr", "query", "definition"].contains(&name.as_str()) => {
                        found.push(text.to_owned());
                    }
                    _ => expressions_of(value, found),
                }
            }
        }
        Value::Array(items) => items.iter().for_each(|item| expressions_of(item, found)),
        _ => {}
    }
}
