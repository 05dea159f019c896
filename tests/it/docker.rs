//! Listeners whose targets are Docker's containers: a real daemon, real containers, and the labels
//! that people write. Each container says its name, so that what answers tells where a connection went.

use std::rc::Rc;

use serde_json::{Value, json};

use crate::support::config::{Config, Service};
use crate::support::dockerd::{Container, Dockerd, Joined};
use crate::support::peer::Peer;
use crate::support::ports::free_port;
use crate::support::proxy::{Launch, Proxy, thalweg};
use crate::support::wait::{SOON, wait_until};

mod lives;
mod routes;

/// How a connection to a listener ends behind which there is nothing.
const REJECTED: &str = "us/pick/rejected";
/// Sockets to the daemon: its events, and a question.
const DAEMON: usize = 2;
const CLOSED: &str = "*/relay/closed";
/// What connections may meet while a container comes or goes.
const PASSING: &str = "us/pick/*|us/connect/*|upstream/connect/*|upstream/relay/*|*/relay/reset|\
                       */relay/closed";

/// A proxy with one daemon's containers behind its listeners.
struct Scene {
    docker: Rc<Joined>,
    proxy: Proxy,
    listeners: Vec<Service>,
}

impl Scene {
    /// One with these listeners; `None` where Docker cannot be had.
    fn start(names: &[&str]) -> Option<Scene> {
        Dockerd::join().map(|docker| Scene::of(docker, names))
    }

    fn of(docker: Joined, names: &[&str]) -> Scene {
        let listeners: Vec<Service> = names.iter().map(|name| listener(name)).collect();
        let config = config(&docker, &listeners, json!({}));
        let mut proxy = Launch::new(config).start();
        wait_until("the first look at Docker", SOON, || proxy.log().contains("Docker is watched"));
        proxy.allow_sockets(DAEMON);
        Scene { docker: Rc::new(docker), proxy, listeners }
    }

    /// Waits until `doctor` says this code of a container.
    #[track_caller]
    fn until_told(&self, container: &str, code: &str) {
        let about = format!("container {container}: ");
        wait_until(&format!("{code} of {container}"), SOON, || {
            let file = self.proxy.file().display().to_string();
            let said =
                thalweg(self.proxy.file().parent().unwrap(), &["doctor", "-c", &file]).stdout;
            said.lines().any(|line| line.contains(&about) && line.contains(code))
        });
    }

    /// A container that attaches to a listener as `service`.
    #[track_caller]
    fn attached<'a>(
        docker: &'a Dockerd,
        name: &str,
        listener: &str,
        service: &str,
        further: &[&str],
    ) -> Container<'a> {
        let entrypoint = format!("thalweg.tcp.{service}.entrypoint={listener}");
        let port = format!("thalweg.tcp.{service}.port=7000");
        let labels = ["--label", "thalweg.enable=true", "--label", &entrypoint, "--label", &port];
        docker.container(name, &[7000], &[&labels, further].concat())
    }

    /// Who answers a connection to a listener; empty if nobody does.
    #[track_caller]
    fn who(&mut self, listener: usize) -> String {
        who(&mut self.proxy, &self.listeners[listener])
    }

    /// Waits until this container, or nobody, answers, and nobody else.
    #[track_caller]
    fn until(&mut self, listener: usize, name: &str) {
        wait_until(&format!("{name:?} to answer"), SOON, || self.who(listener) == name);
    }

    /// Waits until exactly these answer.
    #[track_caller]
    fn until_all(&mut self, listener: usize, names: &[&str]) {
        wait_until(&format!("{names:?} to answer"), SOON, || {
            let mut seen: Vec<String> = (0..names.len() * 3).map(|_| self.who(listener)).collect();
            seen.sort();
            seen.dedup();
            seen == names
        });
    }
}

/// A listener, as the service that it is.
fn listener(name: &str) -> Service {
    Service::new(&format!("docker/{name}"), &[]).on_port(free_port())
}

/// A configuration with listeners, for the containers of a daemon.
fn config(docker: &Dockerd, listeners: &[Service], further: Value) -> Config {
    let mut says = json!({ "endpoint": docker.endpoint() });
    for (key, value) in further.as_object().into_iter().flatten() {
        says[key] = value.clone();
    }
    let listeners: Vec<Value> = listeners
        .iter()
        .map(|it| json!({ "name": it.id.trim_start_matches("docker/"), "port": it.port() }))
        .collect();
    Config::new([]).set("listeners", listeners.into()).set("providers", json!({ "docker": says }))
}

/// Who answers a connection; empty if nobody does.
#[track_caller]
fn who(proxy: &mut Proxy, service: &Service) -> String {
    let peer = proxy.connect(service);
    peer.fin();
    let (name, _) = peer.recv_to_end();
    proxy.cut(peer, service, PASSING);
    String::from_utf8_lossy(&name).trim().to_owned()
}

/// A connection that stays, over which this container answers.
#[track_caller]
fn held(proxy: &Proxy, service: &Service, name: &str) -> Peer {
    let peer = proxy.connect(service);
    peer.expect(format!("{name}\n").as_bytes());
    peer
}

#[track_caller]
fn echoes(peer: &Peer) {
    peer.send(b"still here?");
    peer.expect(b"still here?");
}

/// The listening sockets of a port, by inode.
#[track_caller]
fn sockets(port: u16) -> Vec<String> {
    let tables = std::fs::read_to_string("/proc/thread-self/net/tcp").unwrap();
    let mut inodes: Vec<String> = tables
        .lines()
        .filter_map(|line| {
            let fields: Vec<&str> = line.split_whitespace().collect();
            let is_it = fields.get(1)?.ends_with(&format!(":{port:04X}")) && fields[3] == "0A";
            is_it.then(|| fields[9].to_owned())
        })
        .collect();
    inodes.sort();
    inodes
}
