//! Several proxies in one cluster: all serve, one writes statuses.

use super::*;

fn holder(cluster: &Cluster) -> Option<String> {
    let lease = cluster.api.get("leases", "thalweg", "thalweg")?;
    lease["spec"]["holderIdentity"].as_str().map(str::to_owned)
}

fn leads(proxy: &Proxy) -> bool {
    proxy.log().contains("leads: writes statuses")
}

/// Goal: one of two proxies leads; when it dies without a word the other takes over and writes; when
/// that one ends in peace it gives the lease back, so that the next leads at once.
/// Method: SIGKILL of the first, SIGTERM of the second while a third waits.
#[test]
fn another_takes_over() {
    let cluster = Cluster::new();
    let [(backend, address)] = named::<1>(81);
    cluster.service("default", "echo", address.port(), &[Endpoint::ready(address)]);
    cluster.route("echo", json!({ "name": "echo", "port": 1025 }));
    let first = cluster.proxy();
    cluster.wait_accepted("tcproutes", "default", "echo");
    assert!(leads(&first));
    let was = holder(&cluster).expect("a leader");
    // Another proxy of the same cluster, which in a cluster has addresses of its own.
    let other = Cluster { tcp: free_port(), tls: free_port(), api: cluster.api };
    let gateway = |cluster: &Cluster, port: u16| {
        cluster.api.edit("gateways", "default", "kong", |gateway| {
            gateway["spec"]["listeners"][0]["port"] = json!(port);
        });
    };
    let mut second = other.proxy();
    wait_until("the second to look", SOON, || second.log().contains("version="));
    assert_eq!(holder(&other), Some(was.clone()));
    assert!(!leads(&second));
    first.kill();
    gateway(&other, other.tcp);
    other.api.wait_status("gateways", "default", "kong", |status| {
        condition(status, "Programmed", "True")
            && status["conditions"][0]["observedGeneration"] == 2
    });
    assert!(leads(&second), "{}", second.log());
    assert_ne!(holder(&other), Some(was));
    assert_eq!(once(&mut second, &other.routed("echo")), 81);
    let lease = other.api.get("leases", "thalweg", "thalweg").unwrap();
    assert_eq!(lease["spec"]["leaseTransitions"], 1, "{lease:#}");
    second.finish();
    assert_eq!(holder(&other), None, "the lease was given back");
    drop((backend, other));
}
