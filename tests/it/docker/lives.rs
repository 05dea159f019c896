//! The lives of containers, and of the daemon.

use super::*;

/// Goal: what runs is reached, what does not is not, and the listener stays as it is.
/// Method: nothing, run, stop, start, kill, start, pause, unpause, remove; the inodes of the listening
/// sockets before and after; a connection that began at the start goes on until its container ends.
#[test]
fn containers_come_and_go_and_the_listener_stays() {
    let Some(mut scene) = Scene::start(&["lives-front"]) else { return };
    let docker = Rc::clone(&scene.docker);
    let service = scene.listeners[0].clone();
    let before = sockets(service.port());
    assert!(!before.is_empty());
    let peer = scene.proxy.connect(&service);
    peer.fin();
    assert_eq!(peer.recv_to_end().0, b"");
    scene.proxy.cut(peer, &service, REJECTED);

    let container = Scene::attached(&docker, "lives-a", "lives-front", "web", &[]);
    scene.until(0, "lives-a");
    let open = held(&scene.proxy, &service, "lives-a");
    let other = Scene::attached(&docker, "lives-b", "lives-front", "web", &[]);
    scene.until_all(0, &["lives-a", "lives-b"]);
    other.run("stop");
    scene.until(0, "lives-a");
    echoes(&open);
    drop(other);
    open.fin();
    open.expect_eof();
    scene.proxy.ended(open, &service, CLOSED);

    container.run("stop");
    scene.until(0, "");
    container.run("start");
    scene.until(0, "lives-a");
    container.run("kill");
    scene.until(0, "");
    container.run("start");
    scene.until(0, "lives-a");
    let paused = held(&scene.proxy, &service, "lives-a");
    container.run("pause");
    scene.until(0, "");
    container.run("unpause");
    scene.until(0, "lives-a");
    echoes(&paused);
    paused.fin();
    paused.expect_eof();
    scene.proxy.ended(paused, &service, CLOSED);
    drop(container);
    scene.until(0, "");
    assert_eq!(sockets(service.port()), before, "never bound anew");
    scene.proxy.finish();
}

/// Goal: a HEALTHCHECK says when a container gets connections.
/// Method: one that passes once a file is there: starting, healthy, unhealthy, healthy.
#[test]
fn health_gates() {
    let Some(mut scene) = Scene::start(&["health-front"]) else { return };
    let docker = Rc::clone(&scene.docker);
    let check = ["--health-cmd", "test -e /ready", "--health-interval", "300ms"];
    let patience = ["--health-retries", "1", "--health-start-period", "60s"];
    let further = [check, patience].concat();
    let container = Scene::attached(&docker, "health-a", "health-front", "web", &further);
    let marker = Scene::attached(&docker, "health-b", "health-front", "web", &[]);
    scene.until(0, "health-b");
    assert_eq!(container.inspect("{{.State.Health.Status}}"), "starting");
    scene.until_told("health-a", "I331");
    container.exec(&["touch", "/ready"]);
    scene.until_all(0, &["health-a", "health-b"]);
    container.exec(&["rm", "/ready"]);
    scene.until_all(0, &["health-b"]);
    container.exec(&["touch", "/ready"]);
    scene.until_all(0, &["health-a", "health-b"]);
    drop(marker);
    scene.until_all(0, &["health-a"]);
    scene.proxy.finish();
}

/// Goal: a container is known by its id: one that gets the address of another never gets its
/// connections.
/// Method: two listeners; the container of the first stops, one of the second gets its address; nobody
/// answers on the first from then on, however often it is asked.
#[test]
fn an_address_that_is_given_again_is_another_container() {
    let Some(mut scene) = Scene::start(&["reuse-first", "reuse-second"]) else { return };
    let docker = Rc::clone(&scene.docker);
    // A network of its own: what other tests start takes no address of it.
    docker.docker(&["network", "create", "--subnet", "172.31.7.0/29", "reuse"]);
    let one = Scene::attached(&docker, "reuse-a", "reuse-first", "web", &["--network", "reuse"]);
    scene.until(0, "reuse-a");
    let address = "{{(index .NetworkSettings.Networks \"reuse\").IPAddress}}";
    let ip = one.inspect(address);
    one.run("kill");
    let two = Scene::attached(
        &docker,
        "reuse-b",
        "reuse-second",
        "web",
        &["--network", "reuse", "--ip", &ip],
    );
    assert_eq!(two.inspect(address), ip);
    let mut seen = Vec::new();
    wait_until("the second to answer", SOON, || {
        seen.push(scene.who(0));
        scene.who(1) == "reuse-b"
    });
    seen.extend((0..20).map(|_| scene.who(0)));
    assert!(seen.iter().all(String::is_empty), "the first listener reached {seen:?}");
    drop((one, two));
    scene.until(1, "");
    docker.docker(&["network", "rm", "reuse"]);
    scene.proxy.finish();
}

/// Goal: the daemon may go away: connections and routes live on, and what happened meanwhile is seen
/// when it is back.
/// Method: under load; end the daemon; connect; kill one container's process behind its back; start
/// the daemon; the dead one is gone, the healthy one was reached all the time, a new one is seen.
#[test]
fn the_daemon_may_be_restarted() {
    let Some(docker) = Dockerd::alone() else { return };
    let mut scene = Scene::of(docker, &["restart-front", "restart-stays"]);
    let docker = Rc::clone(&scene.docker);
    let check = ["--health-cmd", "test -e /bin/answer", "--health-interval", "300ms"];
    let healthy = Scene::attached(&docker, "restart-a", "restart-stays", "web", &check);
    let dying = Scene::attached(&docker, "restart-b", "restart-front", "web", &[]);
    scene.until(0, "restart-b");
    scene.until(1, "restart-a");
    let open = held(&scene.proxy, &scene.listeners[1], "restart-a");
    let service = scene.listeners[1].clone();
    let asked = |proxy: &mut Proxy| {
        echoes(&open);
        assert_eq!(who(proxy, &service), "restart-a");
    };
    let pid = dying.inspect("{{.State.Pid}}");

    docker.end_daemon();
    wait_until("a warning", SOON, || {
        asked(&mut scene.proxy);
        scene.proxy.log().contains("W330")
    });
    docker.kill(&pid);
    (0..20).for_each(|_| asked(&mut scene.proxy));
    docker.start_daemon();
    wait_until("the daemon to be seen", SOON * 2, || {
        asked(&mut scene.proxy);
        scene.proxy.log().contains("Docker answers again")
    });
    wait_until("the dead one to be gone", SOON, || {
        asked(&mut scene.proxy);
        scene.who(0).is_empty()
    });
    let new = Scene::attached(&docker, "restart-c", "restart-front", "web", &[]);
    wait_until("a new one to be seen", SOON, || {
        asked(&mut scene.proxy);
        scene.who(0) == "restart-c"
    });
    assert_eq!(scene.proxy.log().matches("W330").count(), 1, "{}", scene.proxy.log());
    open.fin();
    open.expect_eof();
    let service = scene.listeners[1].clone();
    scene.proxy.ended(open, &service, CLOSED);
    drop((healthy, dying, new));
    scene.until(0, "");
    scene.proxy.finish();
}

/// Goal: without a daemon the proxy starts, says so once, and sees it when it comes.
/// Method: an endpoint where nothing is; then a link to the daemon's socket.
#[test]
fn a_daemon_that_comes_late_is_seen() {
    let Some(docker) = Dockerd::join() else { return };
    let container = Scene::attached(&docker, "late-a", "late", "web", &[]);
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("docker.sock");
    let service = listener("late");
    let endpoint = json!({ "endpoint": format!("unix://{}", socket.display()) });
    let mut proxy = Launch::new(config(&docker, std::slice::from_ref(&service), endpoint)).start();
    wait_until("a warning", SOON, || proxy.log().contains("W330"));
    proxy.allow_sockets(DAEMON);
    assert_eq!(who(&mut proxy, &service), "");
    let real = docker.endpoint();
    std::os::unix::fs::symlink(real.trim_start_matches("unix://"), &socket).unwrap();
    wait_until("late-a to answer", SOON, || who(&mut proxy, &service) == "late-a");
    assert_eq!(proxy.log().matches("W330").count(), 1, "{}", proxy.log());
    drop(container);
    proxy.finish();
}

/// Goal: a reload keeps what is known, and follows another prefix.
/// Method: reload with a further listener: the first is answered all the time; another prefix: it is
/// not; the first prefix again: it is.
#[test]
fn a_reload_keeps_what_is_known() {
    let Some(mut scene) = Scene::start(&["reload-front"]) else { return };
    let docker = Rc::clone(&scene.docker);
    let container = Scene::attached(&docker, "reload-a", "reload-front", "web", &[]);
    scene.until(0, "reload-a");
    let mut listeners = scene.listeners.clone();
    listeners.push(listener("reload-further"));
    scene.proxy.reload(&config(&docker, &listeners, json!({})));
    assert_eq!(scene.who(0), "reload-a");
    scene.proxy.reload(&config(&docker, &listeners, json!({ "labelPrefix": "edge" })));
    scene.until(0, "");
    scene.proxy.reload(&config(&docker, &listeners, json!({})));
    scene.until(0, "reload-a");
    drop(container);
    scene.until(0, "");
    scene.proxy.rebase();
    scene.proxy.allow_sockets(DAEMON);
    scene.proxy.finish();
}
