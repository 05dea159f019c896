//! What a state means for connections, and how long it lasts.

use std::sync::atomic::Ordering;

use serde_json::json;

use super::{CLOSED, Node, check, counts, lines, logged, ports, reached, service};
use crate::support::config::Config;
use crate::support::proxy::Proxy;
use crate::support::wait::{SOON, wait_until};

/// Goal: connections go to the targets that are up and to no other; without one they are refused, and
/// come back with the first that is.
/// Method: three nodes that say how they are, over both cores.
#[test]
fn only_those_that_are_up() {
    let ports = ports();
    let nodes = [1, 2, 3].map(|number| Node::start(number, ports, 200));
    let service = service("svc", &nodes.each_ref(), ports.1, json!({}));
    let mut proxy = Proxy::start([&service]);
    assert_eq!(counts(&mut proxy, &service, 30), [10, 10, 10]);
    nodes[1].set(503);
    logged(&proxy, 1, &["down: answered HTTP/1.1 503", &nodes[1].name(), "service=svc"]);
    let counted = counts(&mut proxy, &service, 40);
    assert!(counted[1] == 0 && counted[0].abs_diff(20) <= 2, "{counted:?}");
    nodes[0].set(500);
    nodes[2].set(0);
    logged(&proxy, 1, &["down: closed the connection without an HTTP answer", &nodes[2].name()]);
    logged(&proxy, 1, &["down: ", &nodes[0].name()]);
    let refused = proxy.connect(&service);
    refused.expect_end();
    proxy.cut(refused, &service, "us/connect/no-target");
    nodes[2].set(200);
    logged(&proxy, 1, &["INFO up ", &nodes[2].name()]);
    assert_eq!(counts(&mut proxy, &service, 10), [0, 0, 10]);
    proxy.finish();
}

/// Goal: only results in a row count.
/// Method: the answers are a script; the log has each change, once.
#[test]
fn flapping() {
    let ports = ports();
    let script = "+-+--+---+-++-+---";
    let flapping = Node::scripted(1, ports, 503, script);
    let steady = Node::start(2, ports, 200);
    let more = json!({ "rise": 2, "fall": 3, "fastInterval": "10ms" });
    let service = service("svc", &[&flapping, &steady], ports.1, more);
    let mut proxy = Proxy::start([&service]);
    let asked = || flapping.asked.load(Ordering::SeqCst);
    wait_until("the script to be over", SOON, || asked() > script.len() + 2);
    let name = flapping.name();
    logged(&proxy, 2, &["down: ", &name]);
    assert_eq!(lines(&proxy, &["down: ", &name]), 2);
    assert_eq!(lines(&proxy, &["INFO up ", &name]), 1);
    assert_eq!(lines(&proxy, &[&steady.name()]), 0, "nothing to say of one that is well");
    assert_eq!(reached(&mut proxy, &service), 2);
    proxy.finish();
}

/// Goal: no traffic before the first success where that is asked for, and one success is enough then.
/// Method: a node that is not ready at first.
#[test]
fn down_at_first() {
    let ports = ports();
    let node = Node::start(1, ports, 503);
    let more = json!({ "initial": "Down", "rise": 5, "panicThreshold": 100 });
    let service = service("svc", &[&node], ports.1, more);
    let mut proxy = Proxy::start([&service]);
    let refused = proxy.connect(&service);
    refused.expect_end();
    proxy.cut(refused, &service, "us/connect/no-target");
    logged(&proxy, 1, &["not up yet: answered HTTP/1.1 503"]);
    let asked = node.asked.load(Ordering::SeqCst);
    wait_until("more checks", SOON, || node.asked.load(Ordering::SeqCst) > asked + 3);
    node.set(200);
    logged(&proxy, 1, &["INFO up "]);
    assert_eq!(reached(&mut proxy, &service), 1);
    proxy.finish();
}

/// Goal: a backup takes over while no other target is up, and gives back.
/// Method: a node and its backup.
#[test]
fn a_backup_takes_over() {
    let ports = ports();
    let nodes = [1, 2].map(|number| Node::start(number, ports, 200));
    let mut service = service("svc", &nodes.each_ref(), ports.1, json!({}));
    let mut backup = nodes[1].target();
    backup["backup"] = json!(true);
    service = service.set("rules", json!([{ "targets": [nodes[0].target(), backup] }]));
    let mut proxy = Proxy::start([&service]);
    assert_eq!(counts(&mut proxy, &service, 10), [10, 0, 0]);
    nodes[0].set(503);
    logged(&proxy, 1, &["down: "]);
    assert_eq!(counts(&mut proxy, &service, 10), [0, 10, 0]);
    nodes[0].set(200);
    logged(&proxy, 1, &["INFO up "]);
    assert_eq!(counts(&mut proxy, &service, 10), [10, 0, 0]);
    proxy.finish();
}

/// Goal: where too few are up, and it was asked for, all get connections.
/// Method: two of three nodes go down, with a threshold of a half.
#[test]
fn panic_threshold() {
    let ports = ports();
    let nodes = [1, 2, 3].map(|number| Node::start(number, ports, 200));
    let more = json!({ "panicThreshold": 50 });
    let service = service("svc", &nodes.each_ref(), ports.1, more);
    let mut proxy = Proxy::start([&service]);
    nodes[0].set(503);
    logged(&proxy, 1, &["down: ", &nodes[0].name()]);
    assert_eq!(counts(&mut proxy, &service, 20)[0], 0);
    nodes[1].set(503);
    logged(&proxy, 1, &["down: ", &nodes[1].name()]);
    assert_eq!(counts(&mut proxy, &service, 30), [10, 10, 10]);
    proxy.finish();
}

/// Goal: one that came up gets its share gradually.
/// Method: a node comes back with a start so slow that the test sees its first step only.
#[test]
fn slow_start() {
    let ports = ports();
    let nodes = [1, 2].map(|number| Node::start(number, ports, 200));
    let more = json!({ "slowStart": "1h" });
    let service = service("svc", &nodes.each_ref(), ports.1, more);
    let mut proxy = Proxy::start([&service]);
    assert_eq!(counts(&mut proxy, &service, 20), [10, 10, 0], "all at once at the start");
    nodes[1].set(503);
    logged(&proxy, 1, &["down: "]);
    nodes[1].set(200);
    logged(&proxy, 1, &["INFO up "]);
    let counted = counts(&mut proxy, &service, 100);
    assert!((1..=15).contains(&counted[1]), "{counted:?}");
    proxy.finish();
}

/// Goal: a reload changes no state: one that is down stays down, its check goes on, and nothing is
/// said twice. Without a check it is taken to be up.
/// Method: reloads that change the service, the check, and take the check away.
#[test]
fn reload_keeps_states() {
    let ports = ports();
    let nodes = [1, 2].map(|number| Node::start(number, ports, 200));
    let checked = service("svc", &nodes.each_ref(), ports.1, json!({}));
    let mut proxy = Proxy::start([&checked]);
    nodes[1].set(503);
    logged(&proxy, 1, &["down: "]);
    proxy.reload(&Config::new([&checked.clone().set("description", json!("changed"))]));
    assert_eq!(counts(&mut proxy, &checked, 10), [10, 0, 0]);
    let asked = nodes[1].asked.load(Ordering::SeqCst);
    wait_until("a check", SOON, || nodes[1].asked.load(Ordering::SeqCst) > asked + 1);
    // Another check of the same targets.
    let more = json!({ "fall": 2, "rise": 2 });
    let other = checked.clone().set("healthCheck", check(ports.1, more));
    proxy.reload(&Config::new([&other]));
    assert_eq!(counts(&mut proxy, &checked, 10), [10, 0, 0]);
    let asked = nodes[1].asked.load(Ordering::SeqCst);
    wait_until("a check", SOON, || nodes[1].asked.load(Ordering::SeqCst) > asked + 1);
    assert_eq!(lines(&proxy, &["down: "]), 1, "nothing was said twice:\n{}", proxy.log());
    proxy.reload(&Config::new([&other.set("healthCheck", json!({ "interval": null }))]));
    assert_eq!(counts(&mut proxy, &checked, 10), [5, 5, 0]);
    proxy.reload(&Config::new([&checked]));
    logged(&proxy, 2, &["down: "]);
    assert_eq!(counts(&mut proxy, &checked, 10), [10, 0, 0]);
    proxy.finish();
}

/// Goal: services that check one target alike share the check; each has its own log line and its own
/// connections.
/// Method: the first answer alone is bad, which takes both down only if it is for both.
#[test]
fn one_check_for_several_services() {
    let ports = ports();
    let node = Node::scripted(1, ports, 200, "-");
    let one = service("one", &[&node], ports.1, json!({ "onDown": "Close" }));
    let other = service("other", &[&node], ports.1, json!({}));
    let mut proxy = Proxy::start([&one, &other]);
    for service in ["service=one", "service=other"] {
        logged(&proxy, 1, &["down: ", service]);
        logged(&proxy, 1, &["INFO up ", service]);
    }
    let hold = |proxy: &Proxy, service| {
        let client = proxy.connect(service);
        client.expect(b"1");
        client
    };
    let (cut, kept) = (hold(&proxy, &one), hold(&proxy, &other));
    node.set(503);
    logged(&proxy, 4, &["down: "]);
    cut.expect_end();
    proxy.cut(cut, &one, "us/relay/target-down");
    kept.send(b"still here");
    kept.expect(b"still here");
    kept.fin();
    kept.expect_eof();
    proxy.ended(kept, &other, CLOSED);
    proxy.finish();
}

/// Goal: what this process lacks is held against no target, and the log says what is the matter.
/// Method: no descriptors are left for checks that would cut connections.
#[test]
fn out_of_descriptors() {
    let ports = ports();
    let node = Node::start(1, ports, 200);
    let service = service("svc", &[&node], ports.1, json!({ "onDown": "Close" }));
    let mut proxy = Proxy::start([&service]);
    let lives = proxy.connect(&service);
    lives.expect(b"1");
    let before = proxy.process().limit_descriptors(3);
    logged(&proxy, 1, &["checks cannot be made", "Too many open files"]);
    lives.send(b"still here");
    lives.expect(b"still here");
    proxy.process().limit_descriptors(before);
    let asked = node.asked.load(Ordering::SeqCst);
    wait_until("more checks", SOON, || node.asked.load(Ordering::SeqCst) > asked + 2);
    assert_eq!(lines(&proxy, &["down: "]), 0, "{}", proxy.log());
    lives.fin();
    lives.expect_eof();
    proxy.ended(lives, &service, CLOSED);
    proxy.finish();
}
