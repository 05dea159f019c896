//! Objects that change while connections live.

use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;
use crate::support::Stop;
use crate::support::peer::Peer;
use crate::support::tls::{Dial, Tls};

/// Goal: Pods come, stop and go, and no connection is cut: those to a Pod that stops or has gone live
/// on, new ones go to the others.
/// Method: two endpoints with a connection each, and connections all the time; a third comes, the
/// first terminates, then it is gone.
#[test]
fn endpoints_come_and_go_under_load() {
    let cluster = Cluster::new();
    let [(a, at_a), (b, at_b), (c, at_c)] = named::<3>(21);
    let port = at_a.port();
    cluster.service("default", "echo", port, &[Endpoint::ready(at_a), Endpoint::ready(at_b)]);
    cluster.route("echo", json!({ "name": "echo", "port": 1025 }));
    let mut proxy = cluster.proxy();
    cluster.wait_accepted("tcproutes", "default", "echo");
    let service = cluster.routed("echo");
    let mut long: Vec<(u8, Peer)> = Vec::new();
    while !(long.iter().any(|(name, _)| *name == 21) && long.iter().any(|(name, _)| *name == 22)) {
        let peer = proxy.connect(&service);
        long.push((peer.recv_exact(1)[0], peer));
    }
    let (stop, made) = (Stop::default(), AtomicUsize::new(0));
    let address = service.address;
    let load = thread::scope(|scope| {
        let running = scope.spawn(|| {
            let mut outcomes = Vec::new();
            while !stop.is_set() {
                let peer = Peer::connect(address);
                let name = peer.recv_exact(1);
                peer.send(&name);
                peer.expect(&name);
                peer.fin();
                peer.expect_eof();
                outcomes.push(peer.close());
                made.fetch_add(1, Ordering::SeqCst);
            }
            outcomes
        });
        let _end = stop.at_end();
        let ready = Endpoint::ready;
        cluster.endpoints("default", "echo", port, &[ready(at_a), ready(at_b), ready(at_c)]);
        until_served_by(&mut proxy, &service, &[21, 22, 23]);
        let stopping = Endpoint::terminating(at_a);
        cluster.endpoints("default", "echo", port, &[stopping, ready(at_b), ready(at_c)]);
        until_served_by(&mut proxy, &service, &[22, 23]);
        cluster.endpoints("default", "echo", port, &[ready(at_b), ready(at_c)]);
        until_served_by(&mut proxy, &service, &[22, 23]);
        let goal = made.load(Ordering::SeqCst) + 3;
        wait_until("more load", SOON, || made.load(Ordering::SeqCst) >= goal);
        drop(_end);
        running.join().expect("the load")
    });
    for (_, peer) in &long {
        peer.send(b"still here");
        peer.expect(b"still here");
    }
    for (_, peer) in long {
        peer.fin();
        peer.expect_eof();
        proxy.ended(peer, &service, CLOSED);
    }
    for outcome in load {
        proxy.ended(outcome, &service, CLOSED);
    }
    drop((a, b, c, cluster));
    proxy.finish();
}

/// Goal: a certificate that is renewed in its Secret is shown from the next handshake on, and sessions
/// go on.
/// Method: a session, another certificate in the Secret, sessions until the new one is shown; then the
/// first session still echoes.
#[test]
fn a_secret_is_rotated() {
    let cluster = Cluster::new();
    let authority = Authority::new("it");
    let (first, second) = (authority.issue(&["a.example"]), authority.issue(&["a.example"]));
    cluster.secret("a", &first);
    let tls = cluster.tls;
    cluster.api.edit("gateways", "default", "kong", |gateway| {
        gateway["spec"]["listeners"] = json!([ {
            "name": "tls", "port": tls, "protocol": "TLS", "hostname": "a.example",
            "tls": { "certificateRefs": [ { "name": "a" } ] },
        } ]);
    });
    let echo = Backend::echo();
    cluster.service("default", "echo", echo.address.port(), &[Endpoint::ready(echo.address)]);
    cluster.api.apply(&json!({
        "apiVersion": "gateway.networking.k8s.io/v1alpha2", "kind": "TLSRoute",
        "metadata": { "name": "echo" },
        "spec": {
            "parentRefs": [ { "name": "kong" } ], "hostnames": ["a.example"],
            "rules": [ { "backendRefs": [ { "name": "echo", "port": 1025 } ] } ],
        },
    }));
    let mut proxy = cluster.proxy();
    cluster.wait_accepted("tlsroutes", "default", "echo");
    let dial = || {
        // A client of its own each time: nothing is resumed.
        let config = Dial::trusting(&authority).config();
        let peer = Peer::connect(loopback(tls));
        let mut session = Tls::client(peer, &config, "a.example");
        session.send(b"hello");
        session.expect(b"hello");
        session
    };
    let mut old = dial();
    assert_eq!(old.certificate(), Some(first.sha256()));
    cluster.secret("a", &second);
    let mut count = 1;
    wait_until("the new certificate", SOON, || {
        let mut session = dial();
        count += 1;
        let shown = session.certificate();
        session.fin();
        session.expect_close();
        shown == Some(second.sha256())
    });
    old.send(b"still here");
    old.expect(b"still here");
    old.fin();
    old.expect_close();
    proxy.ended_many(count, CLOSED);
    drop(cluster);
    proxy.finish();
}

/// Goal: a grant that is taken back is taken back: connections that it allowed are refused, and the
/// status says why.
/// Method: a route to a Service in another namespace with a grant, without it, and with it again.
#[test]
fn a_reference_grant_is_revoked() {
    let cluster = Cluster::new();
    let [(backend, address)] = named::<1>(31);
    cluster.service("backends", "echo", address.port(), &[Endpoint::ready(address)]);
    let grant = json!({
        "apiVersion": "gateway.networking.k8s.io/v1beta1", "kind": "ReferenceGrant",
        "metadata": { "name": "routes", "namespace": "backends" },
        "spec": {
            "from": [ {
                "group": "gateway.networking.k8s.io", "kind": "TCPRoute", "namespace": "default",
            } ],
            "to": [ { "group": "", "kind": "Service" } ],
        },
    });
    cluster.api.apply(&grant);
    cluster.route("echo", json!({ "name": "echo", "namespace": "backends", "port": 1025 }));
    let mut proxy = cluster.proxy();
    cluster.wait_accepted("tcproutes", "default", "echo");
    let service = cluster.routed("echo");
    assert_eq!(once(&mut proxy, &service), 31);
    cluster.api.delete("referencegrants", "backends", "routes");
    let status = cluster.api.wait_status("tcproutes", "default", "echo", |status| {
        entries(status).iter().any(|entry| condition(entry, "ResolvedRefs", "False"))
    });
    let reason = &entries(&status)[0]["conditions"];
    assert!(reason.to_string().contains("RefNotPermitted"), "{reason:#}");
    let peer = proxy.connect(&service);
    assert_eq!(peer.recv_to_end().0, b"");
    proxy.cut(peer, &service, "us/pick/*");
    cluster.api.apply(&grant);
    cluster.wait_accepted("tcproutes", "default", "echo");
    assert_eq!(once(&mut proxy, &service), 31);
    drop((backend, cluster));
    proxy.finish();
}

/// Goal: a kind whose CRD is installed later is served without a restart; until then the others are.
/// Method: no TCPIngress at the start; its CRD and an object come, and a broken watch makes the proxy
/// look for kinds at once.
#[test]
fn a_kind_is_installed_later() {
    let cluster = Cluster::new();
    let [(backend, address)] = named::<1>(41);
    cluster.service("default", "echo", address.port(), &[Endpoint::ready(address)]);
    cluster.route("echo", json!({ "name": "echo", "port": 1025 }));
    let kind = cluster.api.uninstall("tcpingresses");
    let mut proxy = cluster.proxy();
    cluster.wait_accepted("tcproutes", "default", "echo");
    assert_eq!(once(&mut proxy, &cluster.routed("echo")), 41);
    cluster.api.install(kind);
    cluster.api.delete("gateways", "default", "kong");
    cluster.api.apply(&json!({
        "apiVersion": "configuration.konghq.com/v1beta1", "kind": "TCPIngress",
        "metadata": {
            "name": "echo", "annotations": { "kubernetes.io/ingress.class": "kong" },
        },
        "spec": { "rules": [ {
            "port": cluster.tcp, "backend": { "serviceName": "echo", "servicePort": 1025 },
        } ] },
    }));
    cluster.api.cut_watches(true);
    cluster.api.wait_status("tcpingresses", "default", "echo", |status| {
        status["loadBalancer"]["ingress"][0]["ip"] == ADDRESS
    });
    let id = format!("kubernetes/tcpingress/default/echo/{}", cluster.tcp);
    let service = Service::new(&id, &[]).on_port(cluster.tcp);
    assert_eq!(once(&mut proxy, &service), 41);
    drop((backend, cluster));
    proxy.finish();
}
