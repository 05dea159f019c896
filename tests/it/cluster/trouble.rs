//! What becomes of connections when there is trouble with the API server: nothing.

use super::apiserver::What;
use super::*;

/// A cluster with a route to one upstream, and a proxy that serves it.
fn served(name: u8) -> (Cluster, Proxy, Service, [(Backend, SocketAddr); 2]) {
    let cluster = Cluster::new();
    let backends = named::<2>(name);
    let address = backends[0].1;
    cluster.service("default", "echo", address.port(), &[Endpoint::ready(address)]);
    cluster.route("echo", json!({ "name": "echo", "port": 1025 }));
    let mut proxy = cluster.proxy();
    cluster.wait_accepted("tcproutes", "default", "echo");
    let service = cluster.routed("echo");
    assert_eq!(once(&mut proxy, &service), name);
    (cluster, proxy, service, backends)
}

/// Goal: watches that end, that are reset, that are too old: routing goes on, and what was missed is
/// caught up with.
/// Method: after each fault the endpoints change, and connections end up where they should.
#[test]
fn watches_break_and_routing_goes_on() {
    let (cluster, mut proxy, service, backends) = served(51);
    let port = backends[0].1.port();
    let to = |cluster: &Cluster, at: usize| {
        cluster.endpoints("default", "echo", port, &[Endpoint::ready(backends[at].1)]);
    };
    cluster.api.cut_watches(false);
    to(&cluster, 1);
    until_served_by(&mut proxy, &service, &[52]);
    cluster.api.cut_watches(true);
    to(&cluster, 0);
    until_served_by(&mut proxy, &service, &[51]);
    cluster.api.compact();
    to(&cluster, 1);
    until_served_by(&mut proxy, &service, &[52]);
    assert!(!proxy.log().contains("kubernetes: the cluster"), "no word of it: {}", proxy.log());
    drop(cluster);
    proxy.finish();
}

/// Goal: an API server that is away for a while takes nothing away.
/// Method: it stops; connections go on; it comes back with another list, has forgotten where watches
/// were, and the first lists fail in the middle.
#[test]
fn the_api_server_restarts() {
    let (mut cluster, mut proxy, service, backends) = served(53);
    let port = backends[0].1.port();
    cluster.api.stop();
    wait_until("a word of it", SOON, || proxy.log().contains("what is known of it stays in use"));
    assert_eq!(once(&mut proxy, &service), 53, "while nobody answers");
    // Half a list is no list.
    cluster.endpoints("default", "echo", port, &[Endpoint::ready(backends[1].1)]);
    cluster.api.compact();
    let slices = "GET /apis/discovery.k8s.io/v1/endpointslices";
    cluster.api.fault(slices, 1, What::Status(500, "InternalError"));
    cluster.api.fault("GET /apis/gateway.networking.k8s.io/v1alpha2/tcproutes", 1, What::Reset);
    cluster.api.start_again();
    until_served_by(&mut proxy, &service, &[54]);
    assert_eq!(cluster.api.faults_left(), 0);
    wait_until("a word that it is back", SOON, || proxy.log().contains("the cluster: works again"));
    drop(cluster);
    proxy.finish();
}

/// Goal: what RBAC forbids is told once, with what to grant; nothing is served from half a view, and
/// all is when it is granted.
/// Method: no right to list routes, then the right.
#[test]
fn what_is_forbidden_is_told() {
    let cluster = Cluster::new();
    let [(backend, address)] = named::<1>(61);
    cluster.service("default", "echo", address.port(), &[Endpoint::ready(address)]);
    cluster.route("echo", json!({ "name": "echo", "port": 1025 }));
    cluster.api.forbid("list", "tcproutes", true);
    cluster.api.forbid("patch", "gateways/status", true);
    let mut proxy = cluster.proxy();
    let told = "grant the verbs `list` and `watch` on `tcproutes.gateway.networking.k8s.io`";
    wait_until("the hint", SOON, || proxy.log().contains(told));
    // The port is Kong's and open; what is behind it is not known.
    let peer = proxy.connect(&cluster.routed("echo"));
    assert_eq!(peer.recv_to_end().0, b"", "half a view");
    proxy.refused(peer, "us/pick/*");
    cluster.api.forbid("list", "tcproutes", false);
    cluster.wait_accepted("tcproutes", "default", "echo");
    wait_until("the word that it works", SOON, || {
        proxy.log().matches("watching tcproutes").count() == 2
    });
    assert_eq!(proxy.log().matches(told).count(), 1, "{}", proxy.log());
    assert_eq!(once(&mut proxy, &cluster.routed("echo")), 61);
    // Statuses that may not be written do not hold up the others.
    wait_until("the other hint", SOON, || {
        proxy.log().contains("grant the verb `patch` on `gateways/status`")
    });
    cluster.api.forbid("patch", "gateways/status", false);
    cluster.api.wait_status("gateways", "default", "kong", |status| {
        condition(status, "Programmed", "True")
    });
    drop((backend, cluster));
    proxy.finish();
}

/// Goal: two controllers that write one status lose nothing of each other's, and what does not differ
/// is not written.
/// Method: while the proxy writes, another controller is faster, twice; its entry stays, ours is there.
/// Then a change of something else: no further write to the route.
#[test]
fn a_conflict_is_read_again() {
    let cluster = Cluster::new();
    let [(backend, address)] = named::<1>(71);
    cluster.service("default", "echo", address.port(), &[Endpoint::ready(address)]);
    cluster.route("echo", json!({ "name": "echo", "port": 1025 }));
    let theirs = |gateway: &str| {
        json!({
            "parentRef": { "name": gateway }, "controllerName": "example.com/other",
            "conditions": [ {
                "type": "Accepted", "status": "True", "reason": "Accepted", "message": "",
                "observedGeneration": 1, "lastTransitionTime": "2022-11-14T19:48:51Z",
            } ],
        })
    };
    let path = "/apis/gateway.networking.k8s.io/v1alpha2/namespaces/default/tcproutes/echo/status";
    for (name, entries) in [("one", vec!["one"]), ("two", vec!["one", "two"])] {
        let entries: Vec<Value> = entries.into_iter().map(theirs).collect();
        let write = move |route: &mut Value| route["status"] = json!({ "parents": entries });
        let _ = name;
        cluster.api.fault(&format!("PATCH {path}"), 1, What::Before(Box::new(write)));
    }
    let mut proxy = cluster.proxy();
    let status = cluster.wait_accepted("tcproutes", "default", "echo");
    assert_eq!(cluster.api.faults_left(), 0);
    let parents = entries(&status);
    assert_eq!(parents[..2], [theirs("one"), theirs("two")], "{status:#}");
    assert_eq!(parents.len(), 3, "{status:#}");
    let service = cluster.routed("echo");
    assert_eq!(once(&mut proxy, &service), 71);

    let before = cluster.api.writes("PATCH", path);
    let condition = parents[2].clone();
    cluster.api.edit("tcproutes", "default", "echo", |route| {
        route["metadata"]["labels"] = json!({ "a": "b" });
    });
    cluster.route("later", json!({ "name": "echo", "port": 1025 }));
    cluster.wait_accepted("tcproutes", "default", "later");
    assert_eq!(cluster.api.writes("PATCH", path), before, "nothing differs");
    // A change of the specification is observed; that it is accepted is not new.
    cluster.api.edit("tcproutes", "default", "echo", |route| {
        route["spec"]["rules"][0]["backendRefs"][0]["weight"] = json!(7);
    });
    let status = cluster.api.wait_status("tcproutes", "default", "echo", |status| {
        entries(status)[2]["conditions"][0]["observedGeneration"] == 2
    });
    let now = &entries(&status)[2]["conditions"][0];
    assert_eq!(now["lastTransitionTime"], condition["conditions"][0]["lastTransitionTime"]);
    drop((backend, cluster));
    proxy.finish();
}

/// Goal: a status says what is really served: a listener whose port the main file has already is not
/// programmed, and is when the port is given up.
/// Method: a native service on the port of the gateway's listener; a reload takes it away.
#[test]
fn a_port_that_is_taken_is_told() {
    let cluster = Cluster::new();
    let [(backend, address), (native, at_native)] = named::<2>(91);
    cluster.service("default", "echo", address.port(), &[Endpoint::ready(address)]);
    cluster.route("echo", json!({ "name": "echo", "port": 1025 }));
    let owner = Service::new("owner", &[at_native])
        .on_port(cluster.tcp)
        .set("interface", json!("127.0.0.1"));
    let mut proxy = Launch::new(cluster.config().with(&owner)).start();
    proxy.allow_sockets(2 * thread::available_parallelism().map_or(2, usize::from));
    let status = cluster.api.wait_status("gateways", "default", "kong", |status| {
        condition(&status["listeners"][0], "Programmed", "False")
    });
    assert!(status.to_string().contains("PortUnavailable"), "{status:#}");
    assert_eq!(once(&mut proxy, &owner), 92);
    proxy.reload(&cluster.config());
    cluster.api.wait_status("gateways", "default", "kong", |status| {
        condition(&status["listeners"][0], "Programmed", "True")
    });
    assert_eq!(once(&mut proxy, &cluster.routed("echo")), 91);
    drop((backend, native, cluster));
    proxy.finish();
}
