//! What labels mean, with real containers.

use super::*;

/// Goal: the highest priority has all connections; the next takes over when it is gone, and gives them
/// back.
/// Method: two services of one listener; stop and start the higher one; a third that is higher still.
#[test]
fn priority_decides_and_fails_over() {
    let Some(mut scene) = Scene::start(&["prio-front"]) else { return };
    let docker = Rc::clone(&scene.docker);
    let low = Scene::attached(&docker, "prio-low", "prio-front", "low", &[]);
    scene.until(0, "prio-low");
    let label = ["--label", "thalweg.tcp.high.priority=10"];
    let high = Scene::attached(&docker, "prio-high", "prio-front", "high", &label);
    scene.until(0, "prio-high");
    assert!((0..20).all(|_| scene.who(0) == "prio-high"));
    high.run("stop");
    scene.until(0, "prio-low");
    high.run("start");
    scene.until(0, "prio-high");
    let label = ["--label", "thalweg.tcp.top.priority=11"];
    let top = Scene::attached(&docker, "prio-top", "prio-front", "top", &label);
    scene.until(0, "prio-top");
    drop(top);
    scene.until(0, "prio-high");
    drop(high);
    scene.until(0, "prio-low");
    drop(low);
    scene.until(0, "");
    scene.proxy.finish();
}

/// Goal: a container that is made anew with other labels moves.
/// Method: one listener's label, then the other's; Sōzune's prefix too; one that is undeclared.
#[test]
fn other_labels_lead_elsewhere() {
    let Some(mut scene) = Scene::start(&["labels-first", "labels-second"]) else { return };
    let docker = Rc::clone(&scene.docker);
    let container = Scene::attached(&docker, "labels-a", "labels-first", "web", &[]);
    scene.until(0, "labels-a");
    drop(container);
    let labels = [
        "--label",
        "sozune.enable=true",
        "--label",
        "sozune.tcp.web.entrypoint=labels-second",
        "--label",
        "sozune.tcp.web.port=7000",
    ];
    let container = docker.container("labels-a", &[7000], &labels);
    scene.until(1, "labels-a");
    assert_eq!(scene.who(0), "");
    drop(container);
    scene.until(1, "");
    let stray = Scene::attached(&docker, "labels-b", "labels-third", "web", &[]);
    wait_until("a word about it", SOON, || {
        scene.proxy.log().contains("references undeclared listener `labels-third`")
    });
    assert!(scene.proxy.log().contains("E007"), "{}", scene.proxy.log());
    assert!((0..2).all(|at| scene.who(at).is_empty()));
    drop(stray);
    scene.proxy.finish();
}

/// Goal: the address is that of the network that is named.
/// Method: a container in two networks, in one of which it listens.
#[test]
fn the_network_is_chosen_by_name() {
    let Some(mut scene) = Scene::start(&["net-front"]) else { return };
    let docker = Rc::clone(&scene.docker);
    docker.docker(&["network", "create", "--subnet", "172.31.1.0/28", "net-a"]);
    docker.docker(&["network", "create", "--subnet", "172.31.2.0/28", "net-b"]);
    let labels = ["--network", "net-a", "--label", "thalweg.network=net-b"];
    let container = Scene::attached(&docker, "net-c", "net-front", "web", &labels);
    // Not in it yet: the other one is used, with a word about it.
    scene.until(0, "net-c");
    wait_until("W009", SOON, || scene.proxy.log().contains("W009"));
    docker.docker(&["network", "connect", "net-b", &container.id]);
    let address = "{{(index .NetworkSettings.Networks \"net-b\").IPAddress}}";
    let ip = container.inspect(address);
    wait_until("the address in net-b", SOON, || {
        let peer = scene.proxy.connect(&scene.listeners[0]);
        peer.fin();
        let _ = peer.recv_to_end();
        let event = scene.proxy.event_of(peer.port());
        let service = scene.listeners[0].clone();
        scene.proxy.cut(peer, &service, PASSING);
        event.0.to_string().contains(&ip)
    });
    docker.docker(&["network", "disconnect", "net-b", &container.id]);
    scene.until(0, "net-c");
    drop(container);
    scene.until(0, "");
    docker.docker(&["network", "rm", "net-a", "net-b"]);
    scene.proxy.finish();
}

/// Goal: without a port label it is 8080, whatever the image exposes; with the network of the host it
/// is the host's address.
/// Method: a container that listens on 8080 and has no label about it; one with the host's network.
#[test]
fn the_usual_port_and_the_hosts_network() {
    let Some(mut scene) = Scene::start(&["usual-front", "usual-host"]) else { return };
    let docker = Rc::clone(&scene.docker);
    let labels =
        ["--label", "thalweg.enable=true", "--label", "thalweg.tcp.web.entrypoint=usual-front"];
    let usual = docker.container("usual-a", &[8080], &labels);
    scene.until(0, "usual-a");
    scene.until_told("usual-a", "I002");
    let port = free_port();
    let label = format!("thalweg.tcp.web.port={port}");
    let labels = [
        "--network",
        "host",
        "--label",
        "thalweg.enable=true",
        "--label",
        "thalweg.tcp.web.entrypoint=usual-host",
        "--label",
        &label,
    ];
    let host = docker.container("usual-b", &[port], &labels);
    scene.until(1, "usual-b");
    wait_until("W010", SOON, || scene.proxy.log().contains("W010"));
    drop((usual, host));
    scene.until(1, "");
    scene.proxy.finish();
}

/// Goal: `doctor` says what is attached, what is not, and why; its exit code tells.
/// Method: a good container, one without an entrypoint, one that is not enabled; without them; offline;
/// without a daemon.
#[test]
fn the_doctor_knows() {
    let Some(docker) = Dockerd::join() else { return };
    let dir = tempfile::tempdir().unwrap();
    let listeners = [listener("doctor")];
    let further = json!({ "labelPrefix": "doctor" });
    let write = |further: Value| {
        std::fs::write(dir.path().join("t.json"), config(&docker, &listeners, further).text())
    };
    write(further.clone()).unwrap();
    let ask = |more: &[&str]| thalweg(dir.path(), &[&["doctor", "-c", "t.json"], more].concat());
    let says = ask(&[]);
    assert_eq!(says.code(), Some(0), "{}", says.said());
    assert!(says.stdout.contains("nothing is attached"), "{}", says.said());

    let good = docker.container(
        "doctor-a",
        &[7000],
        &["--label", "doctor.enable=true", "--label", "doctor.tcp.a.entrypoint=doctor"],
    );
    let says = ask(&[]);
    assert_eq!(says.code(), Some(0), "{}", says.said());
    assert!(
        says.stdout.contains("container doctor-a: attached to doctor [I002]"),
        "{}",
        says.said()
    );
    let bad = docker.container(
        "doctor-b",
        &[],
        &["--label", "doctor.enable=true", "--label", "doctor.tcp.b.port=1"],
    );
    let idle = docker.container("doctor-c", &[], &["--label", "doctor.tcp.c.port=1"]);
    let says = ask(&["--json"]);
    assert_eq!(says.code(), Some(1), "{}", says.said());
    let report: Value = serde_json::from_str(&says.stdout).unwrap();
    let of = |what: &str| {
        let checks = report["checks"].as_array().unwrap();
        checks.iter().find(|it| it["what"] == what).unwrap_or_else(|| panic!("{what}: {report}"))
    };
    assert_eq!(of("container doctor-b")["codes"], json!(["E005"]));
    assert_eq!(of("container doctor-c")["codes"], json!(["E001"]));
    assert_eq!(of("container doctor-c")["state"], "fail");
    assert_eq!(report["ok"], false);
    assert_eq!(ask(&["--offline"]).code(), Some(0));
    drop((good, bad, idle));
    write(json!({ "endpoint": "unix:///nonexistent/docker.sock" })).unwrap();
    let says = ask(&[]);
    assert_eq!(says.code(), Some(1), "{}", says.said());
    assert!(says.stdout.contains("W330"), "{}", says.said());
}
