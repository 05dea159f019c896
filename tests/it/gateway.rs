//! The Gateway API from manifests: what the standard says of listeners, routes and shares.

use std::sync::Arc;

use serde_json::json;

use crate::support::backend::Backend;
use crate::support::certs::{Authority, Files, Issued};
use crate::support::config::{Config, Service};
use crate::support::heavy;
use crate::support::ports::free_port;
use crate::support::proxy::{Launch, Proxy};
use crate::support::tls::{Dial, Tls, serving};
use crate::support::wait::{SOON, waited};

const CLOSED: &str = "*/relay/closed";
const REJECTED: &str = "us/pick/rejected";

fn config(files: &Files) -> Config {
    let manifests = files.path("*.yaml");
    Config::new([]).set("providers", json!({ "kubernetes": { "files": [ manifests ] } }))
}

fn gateway(listeners: &[String]) -> String {
    format!(
        "apiVersion: gateway.networking.k8s.io/v1\nkind: Gateway\nmetadata: {{ name: gw }}\n\
         spec: {{ gatewayClassName: thalweg, listeners: [ {} ] }}\n---\n",
        listeners.join(", ")
    )
}

fn route(kind: &str, name: &str, section: &str, more: &str) -> String {
    format!(
        "apiVersion: gateway.networking.k8s.io/v1alpha2\nkind: {kind}\nmetadata: {{ name: {name} }}\n\
         spec: {{ parentRefs: [ {{ name: gw, sectionName: {section} }} ], {more} }}\n---\n"
    )
}

fn to(backends: &str) -> String {
    format!("rules: [ {{ backendRefs: [ {backends} ] }} ]")
}

/// A `Service` with these backends as its pods: each has an address of 127.0.0.0/8 of its own.
fn service(name: &str, pods: &[&Backend]) -> String {
    let mut text = format!(
        "apiVersion: v1\nkind: Service\nmetadata: {{ name: {name} }}\n\
         spec: {{ ports: [ {{ port: 80 }} ] }}\n---\n"
    );
    for (at, pod) in pods.iter().enumerate() {
        text.push_str(&format!(
            "apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\n\
             metadata: {{ name: {name}-{at}, labels: {{ kubernetes.io/service-name: {name} }} }}\n\
             addressType: IPv4\nendpoints: [ {{ addresses: [ {} ] }} ]\n\
             ports: [ {{ port: {} }} ]\n---\n",
            pod.address.ip(),
            pod.address.port()
        ));
    }
    text
}

fn secret(name: &str, issued: &Issued) -> String {
    let data = json!({ "tls.crt": issued.cert_pem(), "tls.key": issued.key_pem() });
    format!(
        "apiVersion: v1\nkind: Secret\ntype: kubernetes.io/tls\nmetadata: {{ name: {name} }}\n\
         stringData: {data}\n---\n"
    )
}

fn at(id: &str, port: u16) -> Service {
    Service::new(&format!("kubernetes/{id}"), &[]).on_port(port)
}

/// Goal: shares are exact, and that of a backend that is not there is refused. Method: 1,000
/// connections one after the other; the backends count.
#[test]
fn shares_are_exact_and_a_bad_one_is_refused() {
    let _heavy = heavy();
    let (one, two, three) = (Backend::echo(), Backend::echo(), Backend::echo());
    let (files, port) = (Files::new(), free_port());
    let backends = "{ name: a, port: 80, weight: 6 }, { name: b, port: 80, weight: 2 }, \
                    { name: gone, port: 80, weight: 2 }";
    let manifests = gateway(&[format!("{{ name: l, port: {port}, protocol: TCP }}")])
        + &route("TCPRoute", "r", "l", &to(backends))
        + &service("a", &[&one])
        + &service("b", &[&two, &three]);
    files.put("m.yaml", &manifests);
    let mut proxy = Launch::new(config(&files)).start();
    let service = at("tcproute/default/r/gw/l", port);
    let (mut answered, mut refused) = (0, 0);
    for _ in 0..1000 {
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
    assert_eq!((answered, refused), (800, 200));
    assert_eq!([&one, &two, &three].map(Backend::accepted), [600, 100, 100]);
    proxy.finish();
}

#[track_caller]
fn speaks(
    proxy: &mut Proxy,
    service: &Service,
    authority: &Authority,
    name: &str,
    passes: bool,
) -> String {
    let dial = Dial::trusting(authority).config();
    let mut client = Tls::dial(proxy.connect(service), &dial, name);
    client.send(b"hello");
    client.expect(b"hello");
    client.fin();
    client.expect_close();
    let certificate = client.certificate().expect("a certificate");
    if passes {
        // What was passed on is counted as it was on the wire.
        client.peer.fin();
        client.peer.expect_eof();
        proxy.ended(client.peer, service, CLOSED);
    } else {
        proxy.ended(client, service, CLOSED);
    }
    certificate
}

/// Goal: on one port TLS ends here for one name and is passed on for others, each name goes to the
/// narrowest listener, and what a listener has no route for is refused.
#[test]
fn ending_and_passing_through_stand_side_by_side() {
    let (authority, files, port) = (Authority::new("servers"), Files::new(), free_port());
    let (here, there) = (authority.issue(&["here.test"]), authority.issue(&["x.there.test"]));
    let plain = Backend::echo();
    let inside = {
        let config = Arc::new(serving(&there, None));
        Backend::serve(move |peer| {
            let mut tls = Tls::answer(peer, &config);
            tls.expect(b"hello");
            tls.send(b"hello");
            tls.fin();
            tls.expect_close();
            peer.fin();
        })
    };
    let listener = |name: &str, host: &str, tls: &str| {
        format!(
            "{{ name: {name}, port: {port}, protocol: TLS, hostname: \"{host}\", tls: {{ {tls} }} }}"
        )
    };
    let manifests = gateway(&[
        listener("ends", "here.test", "certificateRefs: [ { name: here } ]"),
        listener("passes", "*.there.test", "mode: Passthrough"),
        listener("empty", "*.test", "mode: Passthrough"),
    ]) + &route(
        "TLSRoute",
        "ends",
        "ends",
        &format!("hostnames: [ here.test ], {}", to("{ name: plain, port: 80 }")),
    ) + &route(
        "TLSRoute",
        "passes",
        "passes",
        &format!("hostnames: [ \"*.there.test\" ], {}", to("{ name: inside, port: 80 }")),
    ) + &service("plain", &[&plain])
        + &service("inside", &[&inside])
        + &secret("here", &here);
    files.put("m.yaml", &manifests);
    let mut proxy = Launch::new(config(&files)).start();
    let ends = at("tlsroute/default/ends/gw/ends", port);
    let passes = at("tlsroute/default/passes/gw/passes/*.there.test", port);
    let empty = at("gateway/default/gw/empty", port);
    assert_eq!(speaks(&mut proxy, &ends, &authority, "here.test", false), here.sha256());
    assert_eq!(speaks(&mut proxy, &passes, &authority, "x.there.test", true), there.sha256());
    let dial = Dial::trusting(&authority).config();
    let mut refused = Tls::client(proxy.connect(&empty), &dial, "nobody.test");
    assert!(refused.shake().is_err());
    proxy.cut(refused, &empty, REJECTED);
    assert_eq!(plain.accepted(), 1);
    proxy.finish();
}

/// Goal: a manifest that changes is served after a reload, and connections that are there stay.
/// Method: a pod begins to end while it has a connection, and another one takes its place.
#[test]
fn a_pod_that_ends_keeps_its_connections() {
    let (old, new) = (Backend::echo(), Backend::echo());
    let (files, port) = (Files::new(), free_port());
    let fixed = gateway(&[format!("{{ name: l, port: {port}, protocol: TCP }}")])
        + &route("TCPRoute", "r", "l", &to("{ name: a, port: 80 }"));
    let pods = service("a", &[&old, &new]);
    let (first, second) = ("endpoints: [ { addresses: [ 127.0.0.1 ] } ]", "name: a-1,");
    let ready = pods.replacen(second, "name: a-1, namespace: elsewhere,", 1);
    files.put("m.yaml", &(fixed.clone() + &ready));
    let mut proxy = Launch::new(config(&files)).start();
    let service = at("tcproute/default/r/gw/l", port);
    let long = proxy.connect(&service);
    long.send(b"hello");
    long.expect(b"hello");
    let ends = "endpoints: [ { addresses: [ 127.0.0.1 ], conditions: \
                { ready: false, serving: true, terminating: true } } ]";
    files.put("m.yaml", &(fixed + &pods.replacen(first, ends, 1)));
    proxy.reload_file();
    let served = waited(SOON, || {
        let client = proxy.connect(&service);
        client.send(b"hello");
        client.expect(b"hello");
        client.fin();
        client.expect_eof();
        proxy.ended(client, &service, CLOSED);
        (new.accepted() > 0).then_some(())
    });
    served.expect("the new pod takes connections");
    let before = old.accepted();
    let client = proxy.connect(&service);
    client.send(b"hello");
    client.expect(b"hello");
    client.fin();
    client.expect_eof();
    proxy.ended(client, &service, CLOSED);
    assert_eq!(old.accepted(), before);
    long.send(b"still");
    long.expect(b"still");
    long.fin();
    long.expect_eof();
    proxy.ended(long, &service, CLOSED);
    proxy.finish();
}
