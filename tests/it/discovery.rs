//! Lists of targets that are fetched: what a registry says, and what it does instead.

use std::sync::Arc;

use serde_json::{Value, json};

use crate::support::backend::{self, Backend};
use crate::support::certs::{Authority, Files};
use crate::support::config::{Config, Service};
use crate::support::dns::{Dns, Zone};
use crate::support::ports::free_port;
use crate::support::proxy::{Launch, Proxy};
use crate::support::registry::{Answer, Registry};
use crate::support::tls::{self, Tls};
use crate::support::wait::{SOON, wait_until};

const CLOSED: &str = "*/relay/closed";

/// A service whose targets are those of a list.
fn listed(id: &str, discovery: Value) -> Service {
    let mut discovery = discovery;
    if discovery.get("interval").is_none() {
        discovery["interval"] = json!("100ms");
    }
    Service::new(id, &[]).set("rules", json!([{ "discovery": discovery }]))
}

/// Upstreams as a list.
fn list(backends: &[&Backend]) -> Answer {
    let entry = |backend: &&Backend| json!(backend.address.to_string());
    Answer::Json(backends.iter().map(entry).collect())
}

/// The port of the upstream that a connection reaches; empty if none.
#[track_caller]
fn once(proxy: &mut Proxy, service: &Service) -> String {
    let peer = proxy.connect(service);
    peer.fin();
    let (name, _) = peer.recv_to_end();
    if name.is_empty() {
        proxy.cut(peer, service, "us/connect/*|upstream/connect/*");
    } else {
        proxy.ended(peer, service, CLOSED);
    }
    String::from_utf8_lossy(&name).trim().to_owned()
}

/// Connects until connections end up with exactly these upstreams, by turns.
#[track_caller]
fn until_served_by(proxy: &mut Proxy, service: &Service, backends: &[&Backend]) {
    let mut wanted: Vec<String> =
        backends.iter().map(|backend| backend.address.port().to_string()).collect();
    wanted.sort();
    wait_until(&format!("connections to {wanted:?}"), SOON, || {
        let mut places: Vec<String> =
            (0..wanted.len().max(1) * 2).map(|_| once(proxy, service)).collect();
        places.sort();
        places.dedup();
        places == wanted
    });
}

fn said(proxy: &Proxy, text: &str) -> usize {
    proxy.log().matches(text).count()
}

/// Goal: a list is followed; connections to a target that has left it go on; targets that were written
/// stay beside it; the log has one line for each change.
/// Method: a list of one, then of two others, while a connection to the first is open.
#[test]
fn a_change_of_the_list_is_followed() {
    let (fixed, a, b) = (Backend::name(), Backend::name(), Backend::name());
    let first = Backend::serve(|peer| {
        if peer.try_send(b"first").is_ok() {
            backend::echo(peer);
        }
    });
    let registry = Registry::start(list(&[&first]));
    let discovery = json!({ "url": registry.url("/"), "interval": "100ms" });
    let mut service = listed("svc", discovery.clone());
    let mut proxy = Proxy::start([&service]);
    let old = proxy.connect(&service);
    old.expect(b"first");
    registry.say(list(&[&a, &b]));
    until_served_by(&mut proxy, &service, &[&a, &b]);
    registry.say(list(&[&b, &a]));
    registry.wait_asked(2);
    assert_eq!(said(&proxy, "targets found"), 2, "{}", proxy.log());
    old.send(b"still here");
    old.expect(b"still here");
    old.fin();
    old.expect_eof();
    proxy.ended(old, &service, CLOSED);

    let target = json!({ "host": "127.0.0.1", "port": fixed.address.port() });
    service = service.set("rules", json!([{ "targets": [target], "discovery": discovery }]));
    proxy.reload(&Config::new([&service]));
    until_served_by(&mut proxy, &service, &[&fixed, &a, &b]);
    assert_eq!(said(&proxy, "targets found"), 2, "kept over the reload: {}", proxy.log());
    proxy.finish();
}

/// Goal: whatever goes wrong with the registry, the last good list stays in use, and the log says each
/// kind of trouble once.
/// Method: an empty list, garbage, a list of nothing usable, errors, redirects to elsewhere, an answer
/// without an end, silence, nobody; after each the target is reached.
#[test]
fn trouble_with_the_registry_keeps_the_last_list() {
    let target = Backend::name();
    let registry = Registry::start(list(&[&target]));
    let service = listed("svc", json!({ "url": registry.url("/"), "timeout": "1s" }));
    let mut proxy = Proxy::start([&service]);
    until_served_by(&mut proxy, &service, &[&target]);
    let raw = |text: &str| Answer::Raw(format!("{text}\r\nContent-Length: 2\r\n\r\n[]"));
    for (answer, word) in [
        (Answer::Json(json!([])), "the list is empty"),
        (
            Answer::Raw("HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n<html>".into()),
            "no list: the last one",
        ),
        (Answer::Json(json!(["ftp://x", 7, { "a": 1 }])), "entries are left out"),
        (raw("HTTP/1.1 500 Internal Server Error"), ""),
        (raw("HTTP/1.1 302 Found\r\nLocation: https://127.0.0.1/"), ""),
        (raw("HTTP/1.1 307 Found\r\nLocation: /again"), ""),
        (Answer::Raw("nonsense\r\n\r\n".into()), ""),
        (Answer::Raw("HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n[".into()), ""),
        (Answer::Endless, ""),
        (Answer::Silence, ""),
    ] {
        registry.say(answer);
        wait_until(word, SOON, || proxy.log().contains(word));
        assert_eq!(once(&mut proxy, &service), target.address.port().to_string());
    }
    // The empty list, and what followed it; a busy machine may add a silence before.
    let troubles = said(&proxy, "the last one stays in use");
    assert!((2..=4).contains(&troubles), "{}", proxy.log());
    assert_eq!(said(&proxy, "targets found"), 1);
    let other = Backend::name();
    registry.say(list(&[&other]));
    until_served_by(&mut proxy, &service, &[&other]);
    drop(registry);
    let before = proxy.log().len();
    wait_until("the loss", SOON, || proxy.log()[before..].contains("stays in use"));
    assert_eq!(once(&mut proxy, &service), other.address.port().to_string());
    proxy.finish();
}

/// Goal: a registry that is not there at the start is no reason not to start.
/// Method: nobody listens; connections end with a reason; then the registry comes, with a bad entry
/// beside a good one.
#[test]
fn a_registry_that_comes_late() {
    let target = Backend::name();
    let registry = Registry::start(Answer::Silence);
    let service = listed("svc", json!({ "url": registry.url("/"), "timeout": "200ms" }));
    let mut proxy = Proxy::start([&service]);
    let peer = proxy.connect(&service);
    peer.expect_end();
    proxy.cut(peer, &service, "us/connect/no-target");
    registry.say(Answer::Json(json!(["not a host", target.address.to_string()])));
    until_served_by(&mut proxy, &service, &[&target]);
    assert_eq!(said(&proxy, "entries are left out"), 1, "{}", proxy.log());
    proxy.finish();
}

/// Goal: every shape of answer that Tyk documents is read.
/// Method: each as a document, with the paths that its manual gives.
#[test]
fn the_shapes_that_tyk_documents() {
    let target = Backend::name();
    let port = target.address.port();
    let text = json!({ "hostname": "127.0.0.1", "port": port.to_string() }).to_string();
    let texts = json!([{ "hostname": "127.0.0.1", "port": port.to_string() }]).to_string();
    let cases = [
        // Consul, Eureka, etcd, etcd with JSON in it, the same with a list, Consul with JSON,
        // Mesosphere.
        (
            json!([{ "Node": "a", "Address": "127.0.0.1", "ServicePort": port }]),
            json!({ "target": "Address", "port": "ServicePort" }),
        ),
        (
            json!({ "application": { "instance": [
                { "hostName": "127.0.0.1", "port": { "@enabled": "true", "$": port.to_string() } } ] } }),
            json!({ "list": "application.instance", "target": "hostName", "port": "port.$" }),
        ),
        (
            json!({ "action": "get", "node": { "value": format!("127.0.0.1:{port}") } }),
            json!({ "target": "node.value" }),
        ),
        (
            json!({ "node": { "value": text } }),
            json!({ "nested": "node.value", "target": "hostname", "port": "port" }),
        ),
        (
            json!({ "node": { "value": texts } }),
            json!({ "nested": "node.value", "target": "hostname", "port": "port" }),
        ),
        (
            json!([{ "Name": "beep", "Data": text }, { "Name": "boop", "Data": "no JSON" }]),
            json!({ "nested": "Data", "target": "hostname", "port": "port", "firstOnly": true }),
        ),
        (
            json!({ "tasks": [{ "id": "x", "host": "127.0.0.1", "ports": [port, 1] }] }),
            json!({ "list": "tasks", "target": "host", "port": "ports" }),
        ),
    ];
    let registries: Vec<Registry> =
        cases.iter().map(|(document, _)| Registry::start(Answer::Json(document.clone()))).collect();
    let services: Vec<Service> = registries
        .iter()
        .zip(&cases)
        .enumerate()
        .map(|(at, (registry, (_, paths)))| {
            let mut discovery = paths.clone();
            discovery["url"] = json!(registry.url("/v1/services?x=1"));
            listed(&format!("svc-{at}"), discovery)
        })
        .collect();
    let mut proxy = Proxy::start(&services);
    for service in &services {
        until_served_by(&mut proxy, service, &[&target]);
    }
    assert!(registries[0].heads()[0].starts_with("GET /v1/services?x=1 HTTP/1.1\r\n"));
    proxy.finish();
}

/// Goal: names in a list are resolved before they are used; weights and the template hold.
/// Method: two names with weights 3 and 1 and no ports, which the template has; a registry by name.
#[test]
fn names_weights_and_the_template() {
    let port = free_port();
    let on = |ip: [u8; 4]| {
        let address = (ip, port).into();
        Backend::serve_on(address, move |peer| drop(peer.try_send(&[b'0' + ip[3]])))
    };
    let (_one, _two) = (on([127, 0, 0, 1]), on([127, 0, 0, 2]));
    let registry = Registry::start(Answer::Json(json!({ "services": [
        { "host": "db-1.test", "weight": 3 }, { "host": "db-2.test", "weight": "1" } ] })));
    let dns = Dns::of("registry.test", Zone::addresses(&["127.0.0.1"], 60));
    dns.set("db-1.test", Zone::addresses(&["127.0.0.1"], 60));
    dns.set("db-2.test", Zone::addresses(&["127.0.0.2"], 60));
    let service = listed(
        "svc",
        json!({
            "url": format!("http://registry.test:{}/", registry.backend.address.port()),
            "list": "services", "target": "host", "weight": "weight",
            "template": { "port": port },
            "headers": { "Accept": "application/vnd.test" },
        }),
    )
    .set("loadBalancing", json!("WeightedRoundRobin"));
    let config = Config::new([&service]).set("resolver", dns.resolver());
    let mut proxy = Launch::new(config).start();
    let places: Vec<String> = (0..40).map(|_| once(&mut proxy, &service)).collect();
    let count = |place: &str| places.iter().filter(|it| *it == place).count();
    assert_eq!((count("1"), count("2")), (30, 10));
    let head = registry.heads()[0].to_ascii_lowercase();
    assert!(head.contains("accept: application/vnd.test\r\n"), "{head}");
    assert!(head.contains("\r\nhost: registry.test:"), "{head}");
    proxy.finish();
}

/// Goal: an endpoint over TLS is verified, a secret is read from its file at each fetch, and entries
/// that ask for TLS get it.
/// Method: a registry with a certificate of one authority, and `caFile` with another one first: no
/// list; with the right one the header is there, also after the file has changed.
#[test]
fn an_endpoint_over_tls_with_a_secret() {
    let (authority, other) = (Authority::new("registry"), Authority::new("other"));
    let files = Files::new();
    let (good, bad) = (files.put("good.pem", &authority.pem()), files.put("bad.pem", &other.pem()));
    let token = files.put("token", "first\n");
    let target = Backend::name();
    let issued = authority.issue(&["localhost"]);
    let registry = Registry::secure(list(&[&target]), &issued);
    let port = registry.backend.address.port();
    let service = |ca: &str| {
        listed(
            "svc",
            json!({
                "url": format!("https://localhost:{port}/"), "caFile": ca,
                "headerFiles": { "X-Consul-Token": token },
            }),
        )
    };
    let wrong = service(&bad);
    let mut proxy = Proxy::start([&wrong]);
    let peer = proxy.connect(&wrong);
    peer.expect_end();
    proxy.cut(peer, &wrong, "us/connect/no-target");
    assert_eq!(said(&proxy, "TLS: "), 1, "{}", proxy.log());
    assert_eq!(registry.asked(), 0);
    let right = service(&good).on_port(wrong.port());
    proxy.reload(&Config::new([&right]));
    until_served_by(&mut proxy, &right, &[&target]);
    files.put("token", "second");
    wait_until("the new secret", SOON, || {
        let heads = registry.heads();
        heads[0].contains(": first\r\n") && heads.iter().any(|it| it.contains(": second\r\n"))
    });
    proxy.finish();
}

/// Goal: targets of a list are spoken TLS with where the template or the entry says so, and their own
/// name is verified.
/// Method: an upstream with a certificate for `localhost`: by that name it is reached, by its address
/// the certificate is not accepted; an entry that asks for TLS gets it, with the system's roots, which
/// do not vouch for it.
#[test]
fn targets_over_tls() {
    let authority = Authority::new("targets");
    let files = Files::new();
    let ca = files.put("ca.pem", &authority.pem());
    let config = Arc::new(tls::serving(&authority.issue(&["localhost"]), None));
    let target = Backend::serve(move |peer| {
        let mut session = Tls::server(peer, &config);
        if session.shake().is_ok() {
            session.send(b"hello");
            session.fin();
            let _ = session.try_recv(&mut [0]);
        }
    });
    let port = target.address.port();
    let name = Registry::start(Answer::Json(json!([format!("localhost:{port}")])));
    let address = Registry::start(Answer::Json(json!([format!("127.0.0.1:{port}")])));
    let asks = Registry::start(Answer::Json(json!([format!("https://localhost:{port}/x")])));
    let template = json!({ "tls": true, "caFile": ca });
    let by_name = listed("by-name", json!({ "url": name.url("/"), "template": template }));
    let by_address = listed("by-address", json!({ "url": address.url("/"), "template": template }));
    let by_entry = listed("by-entry", json!({ "url": asks.url("/") }));
    let mut proxy = Proxy::start([&by_name, &by_address, &by_entry]);
    assert_eq!(once(&mut proxy, &by_name), "hello");
    for service in [&by_address, &by_entry] {
        let peer = proxy.connect(service);
        peer.expect_end();
        proxy.cut(peer, service, "us/connect/certificate");
    }
    proxy.finish();
}

/// Goal: a list cannot make the proxy connect to itself, and a target that is in a list twice, or in
/// two services, is no trouble.
/// Method: a list with the service's own listener and one target, twice.
#[test]
fn a_list_that_leads_back() {
    let target = Backend::name();
    let registry = Registry::start(Answer::Json(json!([])));
    let service = listed("svc", json!({ "url": registry.url("/") })).set("retries", json!(0));
    let beside = listed("beside", json!({ "url": registry.url("/") }));
    let mut proxy = Proxy::start([&service, &beside]);
    let own = service.address.to_string();
    let good = target.address.to_string();
    registry.say(Answer::Json(json!([own, good, good])));
    let (mut reached, mut looped) = (false, false);
    wait_until("a loop, and the target", SOON, || {
        reached |= once(&mut proxy, &service) == target.address.port().to_string();
        looped |= proxy.events().iter().any(|event| event.reason() == "us/connect/loop");
        reached && looped
    });
    until_served_by(&mut proxy, &beside, &[&target]);
    proxy.finish();
}

/// Goal: targets that come and go while clients come and go are a few lines in the log and cost
/// nobody a connection.
/// Method: 20 changes in quick succession, with connections all the while: every one is served.
#[test]
fn changes_in_quick_succession() {
    let backends: Vec<Backend> = (0..4).map(|_| Backend::name()).collect();
    let registry = Registry::start(list(&[&backends[0], &backends[1]]));
    let service = listed("svc", json!({ "url": registry.url("/") }));
    let mut proxy = Proxy::start([&service]);
    for turn in 0..20 {
        let pair = [&backends[turn % 4], &backends[(turn + 1) % 4]];
        registry.say(list(&pair));
        for _ in 0..5 {
            assert_ne!(once(&mut proxy, &service), "");
        }
    }
    until_served_by(&mut proxy, &service, &[&backends[3], &backends[0]]);
    proxy.finish();
}

/// Goal: an endpoint that asks a few times to go elsewhere on the same server is followed there.
/// Method: a registry that redirects by a relative path, and then without an end.
#[test]
fn redirects_on_the_same_server() {
    let target = Backend::name();
    let elsewhere = free_port();
    let document = json!([target.address.to_string()]).to_string();
    let length = document.len();
    let backend = Backend::serve(move |peer| {
        let head = String::from_utf8_lossy(&peer.try_recv().unwrap_or_default()).into_owned();
        let answer = match head.split(' ').nth(1) {
            Some("/list") => {
                format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n{document}")
            }
            Some("/loop") => "HTTP/1.1 302 Found\r\nLocation: /loop\r\n\r\n".to_owned(),
            Some("/away") => {
                format!("HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:{elsewhere}/\r\n\r\n")
            }
            _ => "HTTP/1.1 302 Found\r\nLocation: /list\r\n\r\n".to_owned(),
        };
        drop(peer.try_send(answer.as_bytes()));
    });
    let service =
        |id: &str| listed(id, json!({ "url": format!("http://{}/{id}", backend.address) }));
    let (there, looping, away) = (service("there"), service("loop"), service("away"));
    let mut proxy = Proxy::start([&there, &looping, &away]);
    until_served_by(&mut proxy, &there, &[&target]);
    assert_eq!(once(&mut proxy, &looping), "");
    assert_eq!(once(&mut proxy, &away), "");
    wait_until("the reasons", SOON, || {
        said(&proxy, "more than 3 redirects") == 1 && said(&proxy, "to another server") == 1
    });
    proxy.finish();
}
