//! Targets that refuse their share, and tiers of targets.

use serde_json::{Value, json};

use crate::support::admin::ask;
use crate::support::backend::Backend;
use crate::support::config::{Config, Service};
use crate::support::ports::{free_port, loopback};
use crate::support::proxy::{Launch, Proxy, thalweg};
use crate::support::wait::{SOON, wait_until};

const CLOSED: &str = "*/relay/closed";
const REJECTED: &str = "us/pick/rejected";

fn target(backend: &Backend, more: Value) -> Value {
    let mut target = json!({ "host": "127.0.0.1", "port": backend.address.port() });
    target.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    target
}

#[track_caller]
fn served(proxy: &mut Proxy, service: &Service) {
    let client = proxy.connect(service);
    client.send(b"hello");
    client.expect(b"hello");
    client.fin();
    client.expect_eof();
    proxy.ended(client, service, CLOSED);
}

#[track_caller]
fn rejected(proxy: &mut Proxy, service: &Service) {
    let client = proxy.connect(service);
    client.expect_end();
    proxy.cut(client, service, REJECTED);
}

/// Goal: of every round exactly the share of `reject` is refused, over both cores at once, and none of
/// it goes to another target, whatever becomes of the others.
/// Method: connections one after the other; then the only other target is gone, with retries left.
#[test]
fn a_share_is_refused() {
    let echo = Backend::echo();
    let targets = json!([target(&echo, json!({ "weight": 3 })), { "reject": true, "weight": 2 }]);
    let service = Service::with_targets("svc", targets)
        .set("loadBalancing", json!("WeightedRoundRobin"))
        .set("retries", json!(3));
    let mut proxy = Proxy::start([&service]);
    let (mut answered, mut refused) = (0, 0);
    for _ in 0..25 {
        let client = proxy.connect(&service);
        let _ = client.try_send(b"hello");
        match client.try_recv() {
            Ok(bytes) if !bytes.is_empty() => {
                answered += 1;
                client.fin();
                client.expect_eof();
                proxy.ended(client, &service, CLOSED);
            }
            _ => {
                refused += 1;
                proxy.cut(client, &service, REJECTED);
            }
        }
    }
    assert_eq!((answered, refused, echo.accepted()), (15, 10, 15));
    proxy.finish();
}

/// Goal: a rule with nothing but `reject` holds its address and refuses everybody, the dry run says
/// the same, and so does the reason.
#[test]
fn a_listener_with_nothing_behind_it() {
    let service = Service::with_targets("svc", json!([{ "reject": true }]));
    let at = loopback(free_port()).to_string();
    let config = Config::new([&service]).set("admin", json!({ "listen": at }));
    let mut proxy = Launch::new(config).start();
    for _ in 0..3 {
        rejected(&mut proxy, &service);
    }
    let route = ask(&at, &format!("/api/tcp/route?port={}", service.port()), &[]).json();
    assert_eq!((&route["outcome"], &route["reason"]), (&json!("refused"), &json!(REJECTED)));
    let port = service.port().to_string();
    let file = proxy.file().to_string_lossy().into_owned();
    let dir = proxy.file().parent().unwrap().to_owned();
    let dry = thalweg(&dir, &["route", "-c", &file, "--port", &port]);
    assert_eq!(dry.code(), Some(3), "{}", dry.said());
    assert!(dry.said().contains("rejected"), "{}", dry.said());
    let explained = thalweg(&dir, &["explain", REJECTED]);
    assert_eq!(explained.code(), Some(0));
    assert!(explained.said().contains("`reject`"), "{}", explained.said());
    proxy.finish();
}

/// Goal: connections go to the lowest tier of which a target can be reached, and come back to it.
/// Method: three tiers; drains take out the lower ones and take them in again.
#[test]
fn tiers_take_over_in_their_order() {
    let backends = [Backend::echo(), Backend::echo(), Backend::echo()];
    let targets: Vec<Value> = [7, 0, 3]
        .iter()
        .zip(&backends)
        .map(|(tier, backend)| target(backend, json!({ "tier": tier })))
        .collect();
    let service = Service::with_targets("svc", json!(targets));
    let config = Config::new([&service]).set("admin", json!({ "listen": "unix:admin.sock" }));
    let mut proxy = Launch::new(config).start();
    let at = proxy.file().with_file_name("admin.sock").display().to_string();
    let drain = |index: usize, drain: bool| {
        let body = json!({ "target": backends[index].address.to_string(), "drain": drain });
        let body = body.to_string();
        let more = ["-X", "POST", "-H", "Content-Type: application/json", "-d", &body];
        assert_eq!(ask(&at, "/api/tcp/targets/drain", &more).status, 200);
    };
    let mut expect = |used: usize| {
        let before = backends[used].accepted();
        served(&mut proxy, &service);
        wait_until("the backend that is due", SOON, || backends[used].accepted() == before + 1);
    };
    expect(1);
    drain(1, true);
    expect(2);
    drain(2, true);
    expect(0);
    drain(1, false);
    expect(1);
    let rows = ask(&at, "/api/tcp/targets?service=svc", &[]).json();
    let tiers: Vec<_> = rows.as_array().unwrap().iter().map(|row| row["tier"].clone()).collect();
    assert_eq!(tiers, [json!(7), json!(0), json!(3)]);
    proxy.finish();
}

/// Goal: a target is checked as it says itself, or not at all, whatever its service says.
/// Method: the service's check asks a port where nobody listens; one target has that check, one a
/// check of its own that passes, one none.
#[test]
fn targets_with_checks_of_their_own() {
    let backends = [Backend::echo(), Backend::echo(), Backend::echo()];
    let own = json!({
        "interval": "50ms", "rise": 1,
        "commands": [{ "name": "send", "message": "PING" }, { "name": "expect", "message": "PING" }],
    });
    let targets = json!([
        target(&backends[0], json!({})),
        target(&backends[1], json!({ "healthCheck": own })),
        target(&backends[2], json!({ "healthCheck": null })),
    ]);
    let check = json!({ "interval": "50ms", "fall": 1, "port": free_port() });
    let service = Service::with_targets("svc", targets).set("healthCheck", check);
    let config = Config::new([&service]).set("admin", json!({ "listen": "unix:admin.sock" }));
    let mut proxy = Launch::new(config).start();
    let at = proxy.file().with_file_name("admin.sock").display().to_string();
    wait_until("the checks", SOON, || {
        let rows = ask(&at, "/api/tcp/targets?service=svc", &[]).json();
        let health = |row: usize, key: &str| rows[row]["health"][key].clone();
        health(0, "status") == "Down"
            && health(1, "passed").as_u64() > Some(1)
            && health(1, "status") == "Up"
            && health(2, "status") == "Up"
            && health(2, "checked") == false
    });
    let before = backends.each_ref().map(Backend::accepted);
    for _ in 0..4 {
        served(&mut proxy, &service);
    }
    assert_eq!(backends[0].accepted(), before[0]);
    assert_eq!(backends[2].accepted(), before[2] + 2);
    proxy.finish();
}
