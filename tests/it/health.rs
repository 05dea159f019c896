//! Health of targets: who is found down and up again by which check, what becomes of connections,
//! and that none is sent where nobody answers.

mod checks;
mod passive;
mod redis;
mod states;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, AtomicUsize, Ordering};

use serde_json::{Value, json};

use crate::support::backend::{Backend, echo};
use crate::support::config::Service;
use crate::support::ports::free_port;
use crate::support::proxy::Proxy;
use crate::support::wait::{SOON, wait_until};

const CLOSED: &str = "*/relay/closed";

/// A server that says which one it is and then echoes, with a page about itself on another port.
struct Node {
    data: Backend,
    _page: Backend,
    /// The status of the page; 0: no answer at all.
    status: Arc<AtomicU16>,
    /// Requests for the page.
    asked: Arc<AtomicUsize>,
}

impl Node {
    /// At `127.0.0.number`: the same two ports at each.
    fn start(number: u8, (data, page): (u16, u16), status: u16) -> Node {
        Node::scripted(number, (data, page), status, "")
    }

    /// The first answers are those of `script` (`+` 200, `-` 503), then they are `status`.
    fn scripted(number: u8, ports: (u16, u16), status: u16, script: &'static str) -> Node {
        let at = |port| SocketAddr::new(IpAddr::V4(Ipv4Addr::new(127, 0, 0, number)), port);
        let status = Arc::new(AtomicU16::new(status));
        let asked = Arc::new(AtomicUsize::new(0));
        let (shown, count) = (Arc::clone(&status), Arc::clone(&asked));
        let page = Backend::serve_on(at(ports.1), move |peer| {
            let mut request = Vec::new();
            while !request.ends_with(b"\r\n\r\n") {
                match peer.try_recv() {
                    Ok(bytes) if !bytes.is_empty() => request.extend(bytes),
                    _ => return,
                }
            }
            let turn = count.fetch_add(1, Ordering::SeqCst);
            let status = match script.as_bytes().get(turn) {
                Some(b'+') => 200,
                Some(_) => 503,
                None => shown.load(Ordering::SeqCst),
            };
            if status > 0 {
                let answer = format!("HTTP/1.1 {status} x\r\nContent-Length: 0\r\n\r\n");
                let _ = peer.try_send(answer.as_bytes());
            }
        });
        let data = Backend::serve_on(at(ports.0), move |peer| {
            if peer.try_send(&[b'0' + number]).is_ok() {
                echo(peer);
            }
        });
        Node { data, _page: page, status, asked }
    }

    fn set(&self, status: u16) {
        self.status.store(status, Ordering::SeqCst);
    }

    fn target(&self) -> Value {
        json!({ "host": self.data.address.ip().to_string(), "port": self.data.address.port() })
    }

    /// As the log names it.
    fn name(&self) -> String {
        self.data.address.to_string()
    }
}

fn ports() -> (u16, u16) {
    (free_port(), free_port())
}

/// A service over nodes whose page is checked often; `more` are further members of `healthCheck`.
fn service(id: &str, nodes: &[&Node], page: u16, more: Value) -> Service {
    let targets = nodes.iter().map(|node| node.target()).collect();
    Service::with_targets(id, targets).set("healthCheck", check(page, more))
}

fn check(page: u16, more: Value) -> Value {
    let mut check = json!({
        "interval": "50ms", "timeout": "10s", "rise": 1, "fall": 1, "port": page,
        "http": { "path": "/primary" },
    });
    check.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    check
}

/// Which node a connection reaches.
#[track_caller]
fn reached(proxy: &mut Proxy, service: &Service) -> u8 {
    let client = proxy.connect(service);
    let number = client.recv_exact(1)[0] - b'0';
    client.send(b"x");
    client.expect(b"x");
    client.fin();
    client.expect_eof();
    proxy.ended(client, service, CLOSED);
    number
}

/// How often each of the nodes 1 to 3 is reached by so many connections.
#[track_caller]
fn counts(proxy: &mut Proxy, service: &Service, connections: usize) -> [usize; 3] {
    let mut counts = [0; 3];
    for _ in 0..connections {
        counts[usize::from(reached(proxy, service)) - 1] += 1;
    }
    counts
}

/// How many lines of the log have all these words.
fn lines(proxy: &Proxy, words: &[&str]) -> usize {
    proxy.log().lines().filter(|line| words.iter().all(|word| line.contains(word))).count()
}

/// Waits until the log has so many lines with all these words.
#[track_caller]
fn logged(proxy: &Proxy, times: usize, words: &[&str]) {
    wait_until(&format!("{words:?} in the log"), SOON, || lines(proxy, words) >= times);
}
