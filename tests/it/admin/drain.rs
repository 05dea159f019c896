//! Taking a target, a service or the process out with care, and in again.

use serde_json::{Value, json};

use super::CLOSED;
use crate::support::admin::{Answer, ask};
use crate::support::backend::{Backend, Manual};
use crate::support::config::{Config, Service};
use crate::support::proxy::{Launch, Proxy};
use crate::support::wait::{SOON, wait_until};

/// A proxy whose admin API is a Unix socket beside its configuration: its owner needs no token.
struct Drained {
    proxy: Proxy,
    config: Config,
    at: String,
}

impl Drained {
    fn start(services: &[&Service]) -> Drained {
        let config = Config::new(services.iter().copied());
        let config = config.set("admin", json!({ "listen": "unix:admin.sock" }));
        let proxy = Launch::new(config.clone()).start();
        let at = proxy.file().with_file_name("admin.sock").display().to_string();
        Drained { proxy, config, at }
    }

    fn post(&self, path: &str, body: &Value) -> Answer {
        let body = body.to_string();
        ask(&self.at, path, &["-X", "POST", "-H", "Content-Type: application/json", "-d", &body])
    }

    #[track_caller]
    fn posted(&self, path: &str, body: &Value) -> Value {
        let answer = self.post(path, body);
        assert_eq!(answer.status, 200, "{path} {body}: {}", answer.body);
        answer.json()
    }

    fn target(&self, address: impl std::fmt::Display) -> Value {
        let rows = ask(&self.at, "/api/tcp/targets", &[]).json();
        let label = address.to_string();
        let found = rows.as_array().unwrap().iter().find(|row| row["target"] == label);
        found.unwrap_or_else(|| panic!("{rows}")).clone()
    }
}

/// Goal: a drained target gets no new connection and keeps those it has, over reloads too, until it is
/// taken in again; with `closeAfter` they are ended then, with a reason.
/// Method: two targets in turn; one is drained, a reload comes, it is drained with `closeAfter`, undone.
#[test]
fn a_target() {
    let (first, second) = (Manual::start(), Manual::start());
    let service = Service::new("svc", &[first.address, second.address]);
    let mut drained = Drained::start(&[&service]);
    let path = "/api/tcp/targets/drain";
    let label = first.address.to_string();
    let clients = [drained.proxy.connect(&service), drained.proxy.connect(&service)];
    let (at_first, at_second) = (first.accept(), second.accept());
    at_first.send(b"1");
    at_second.send(b"2");
    let said: Vec<_> = clients.iter().map(|client| client.recv_exact(1)).collect();
    let on_first = said.iter().position(|said| said == b"1").unwrap();
    let [one, other] = clients;
    let (kept, other) = if on_first == 0 { (one, other) } else { (other, one) };

    let answer = drained.posted(path, &json!({ "target": label, "drain": true }));
    let row = &answer["targets"][0];
    assert_eq!(row["connections"], 1, "{answer}");
    assert_eq!((&row["draining"], &row["service"]), (&json!(true), &json!("svc")), "{answer}");
    assert_eq!(row["closesAt"], Value::Null, "{answer}");
    let shown = drained.target(&label);
    assert_eq!(shown["health"]["status"], "Draining", "{shown}");
    assert_eq!(shown["draining"], true, "{shown}");
    let metrics = ask(&drained.at, "/metrics", &[]).body;
    let down = format!("thalweg_target_up{{service=\"svc\",target=\"{label}\"}} 0");
    assert!(metrics.contains(&down), "{metrics}");
    let mut more = Vec::new();
    for round in 0..6 {
        if round == 3 {
            let renamed = service.clone().set("name", json!("renamed"));
            drained.config =
                Config::new([&renamed]).set("admin", json!({ "listen": "unix:admin.sock" }));
            drained.proxy.reload(&drained.config);
            assert_eq!(drained.target(&label)["draining"], true, "kept over a reload");
        }
        let client = drained.proxy.connect(&service);
        more.push((client, second.accept()));
    }
    assert!(first.try_accept().is_none(), "the drained one gets none");
    kept.send(b"still");
    at_first.expect(b"still");

    drained.posted(path, &json!({ "target": label, "drain": true, "closeAfter": "0s" }));
    kept.expect_reset();
    at_first.expect_reset();
    drained.proxy.cut(kept, &service, "us/relay/drain");
    // With nobody else left there is nobody.
    drained.posted(path, &json!({ "target": second.address.to_string(), "drain": true }));
    let refused = drained.proxy.connect(&service);
    refused.expect_end();
    drained.proxy.cut(refused, &service, "us/connect/no-target");

    drained.posted(path, &json!({ "target": label, "service": "svc", "drain": false }));
    assert_eq!(drained.target(&label)["health"]["status"], "Up");
    let client = drained.proxy.connect(&service);
    more.push((client, first.accept()));
    more.push((other, at_second));
    for (client, behind) in more {
        client.fin();
        behind.expect_eof();
        behind.fin();
        client.expect_eof();
        drained.proxy.ended(client, &service, CLOSED);
    }
    for (body, status) in [
        (json!({ "target": "10.0.0.1:1", "drain": true }), 404),
        (json!({ "target": label, "service": "none", "drain": true }), 404),
        (json!({ "target": label }), 400),
        (json!({ "drain": true }), 400),
        (json!({ "target": label, "drain": false, "closeAfter": "1s" }), 400),
        (json!({ "target": label, "drain": true, "closeAfter": 30 }), 400),
        (json!({ "target": label, "drain": true, "closeAfter": "30" }), 400),
        (json!({ "target": label, "drain": true, "closeafter": "1s" }), 400),
        (json!([]), 400),
    ] {
        let answer = drained.post(path, &body);
        assert_eq!(answer.status, status, "{body}: {}", answer.body);
        assert!(answer.json()["error"].is_string());
    }
    drained.proxy.finish();
}

/// Goal: connections that wait for nothing but time are not ended when the drain was undone in time.
/// Method: a drain with an hour, undone; then one with none.
#[test]
fn a_drain_that_is_undone() {
    let backend = Backend::echo();
    let service = Service::new("svc", &[backend.address]);
    let mut drained = Drained::start(&[&service]);
    let client = drained.proxy.connect(&service);
    client.send(b"x");
    client.expect(b"x");
    let (path, label) = ("/api/tcp/targets/drain", backend.address.to_string());
    let answer =
        drained.posted(path, &json!({ "target": label, "drain": true, "closeAfter": "1h" }));
    assert!(answer["targets"][0]["closesAt"].is_u64(), "{answer}");
    assert!(drained.target(&label)["health"]["closesAt"].is_u64());
    drained.posted(path, &json!({ "target": label, "drain": false }));
    assert_eq!(drained.target(&label)["health"]["closesAt"], Value::Null);
    client.send(b"y");
    client.expect(b"y");
    client.fin();
    client.expect_eof();
    drained.proxy.ended(client, &service, CLOSED);
    drained.proxy.finish();
}

/// Goal: a drained service refuses new connections with a reason that can be explained; those that live
/// go on, or end with `closeAfter`; other services go on.
/// Method: two services, one with a connection; drained, undone, drained with `closeAfter`.
#[test]
fn a_service() {
    let backend = Backend::echo();
    let service = Service::new("a b", &[backend.address]);
    let quiet = Service::new("quiet", &[backend.address]);
    let mut drained = Drained::start(&[&service, &quiet]);
    let path = "/api/tcp/services/a%20b/drain";
    let client = drained.proxy.connect(&service);
    client.send(b"x");
    client.expect(b"x");
    let answer = drained.posted(path, &json!({ "drain": true }));
    assert_eq!((&answer["service"], &answer["connections"]), (&json!("a b"), &json!(1)));
    drained.proxy.reload(&drained.config);
    for _ in 0..3 {
        let refused = drained.proxy.connect(&service);
        refused.expect_end();
        drained.proxy.refused(refused, "us/admit/draining");
    }
    let explained = ask(&drained.at, "/api/codes/us%2Fadmit%2Fdraining", &[]).json();
    assert_eq!(explained["kind"], "reason", "{explained}");
    assert!(explained["help"].as_str().unwrap().contains("drain"), "{explained}");
    let beside = drained.proxy.connect(&quiet);
    beside.send(b"z");
    beside.expect(b"z");
    client.send(b"y");
    client.expect(b"y");
    drained.posted(path, &json!({ "drain": false }));
    let again = drained.proxy.connect(&service);
    again.send(b"x");
    again.expect(b"x");
    drained.posted(path, &json!({ "drain": true, "closeAfter": "0s" }));
    for client in [client, again] {
        client.expect_reset();
        drained.proxy.cut(client, &service, "us/relay/drain");
    }
    beside.fin();
    beside.expect_eof();
    drained.proxy.ended(beside, &quiet, CLOSED);
    assert_eq!(drained.post("/api/tcp/services/none/drain", &json!({ "drain": true })).status, 404);
    assert_eq!(drained.post(path, &json!({})).status, 400);
    drained.proxy.finish();
}

/// Goal: the process can be ended through the API as by SIGTERM: what lives may finish, or is cut at the
/// deadline that was asked for.
/// Method: one connection that does not end; a deadline of a moment.
#[test]
fn the_process() {
    let backend = Backend::echo();
    let service = Service::new("svc", &[backend.address]);
    let mut drained = Drained::start(&[&service]);
    let client = drained.proxy.connect(&service);
    client.send(b"x");
    client.expect(b"x");
    assert_eq!(drained.post("/api/drain", &json!({ "deadline": "soon" })).status, 400);
    let answer = drained.posted("/api/drain", &json!({ "deadline": "500ms" }));
    assert_eq!(answer["draining"], true, "{answer}");
    client.expect_reset();
    drained.proxy.cut(client, &service, "us/relay/drain");
    let exit = drained.proxy.wait_exit();
    assert_eq!(exit.code(), Some(0), "{}", exit.said());
    drained.proxy.verdict();
}

/// Goal: what is known of a connection, of addresses and of diagnostics is shown.
/// Method: one connection; a reload that is refused and one that is not.
#[test]
fn details() {
    let backend = Backend::echo();
    let service = Service::new("svc", &[backend.address]);
    let mut drained = Drained::start(&[&service]);
    let at = drained.at.clone();
    let client = drained.proxy.connect(&service);
    client.send(b"hello");
    client.expect(b"hello");
    let list = ask(&at, "/api/tcp/connections?service=svc", &[]).json();
    let id = list["connections"][0]["id"].as_str().unwrap();
    let shown = ask(&at, &format!("/api/tcp/connections/{id}"), &[]).json();
    assert_eq!(shown["id"], *id, "{shown}");
    assert_eq!(shown["rulePattern"], "*", "{shown}");
    assert_eq!(shown["serviceName"], "the service svc", "{shown}");
    assert_eq!(shown["upstreamRemote"], backend.address.to_string(), "{shown}");
    assert!(shown["clientTcp"]["rtt"].is_u64() && shown["upstreamTcp"]["rtt"].is_u64(), "{shown}");
    assert_eq!(ask(&at, "/api/tcp/connections/00000000-0-0", &[]).status, 404);
    let addresses = || ask(&at, "/api/tcp/addresses", &[]).json();
    let row = |all: &Value| {
        let found = all.as_array().unwrap().iter().find(|row| row["port"] == service.port());
        found.cloned()
    };
    let mine = row(&addresses()).unwrap();
    assert_eq!(mine["services"], json!(["svc"]), "{mine}");
    assert_eq!((&mine["state"], &mine["connections"]), (&json!("listening"), &json!(1)), "{mine}");

    let status = ask(&at, "/api/status", &[]).json();
    assert_eq!(
        (&status["role"], &status["lastReload"]),
        (&json!("admin"), &Value::Null),
        "{status}"
    );
    let good = drained.config.clone();
    drained.proxy.reload(&good.clone().set("evnts", json!({})));
    let found = ask(&at, "/api/diagnostics", &[]).json();
    assert_eq!(found["refused"]["diagnostics"][0]["code"], "E101", "{found}");
    assert!(found["served"].as_array().unwrap().iter().all(|it| it["severity"] != "error"));
    let last = ask(&at, "/api/status", &[]).json()["lastReload"].clone();
    assert_eq!(last["ok"], false, "{last}");
    drained.proxy.reload(&good);
    assert_eq!(ask(&at, "/api/diagnostics", &[]).json()["refused"], Value::Null);
    assert_eq!(ask(&at, "/api/status", &[]).json()["lastReload"]["ok"], true);
    client.fin();
    client.expect_eof();
    drained.proxy.ended(client, &service, CLOSED);
    drained.proxy.reload(&Config::new([]).set("admin", json!({ "listen": "unix:admin.sock" })));
    wait_until("the address has gone", SOON, || row(&addresses()).is_none());
    assert_eq!(ask(&at, "/api/schema", &[]).json()["title"], "Thalweg configuration");
    assert_eq!(ask(&at, "/api/codes/e101", &[]).json()["code"], "E101");
    assert_eq!(ask(&at, "/api/codes/E999", &[]).status, 404);
    drained.proxy.rebase();
    drained.proxy.finish();
}
