//! A fault of our own costs one connection, or at most those of one core, and never hangs a client.
//! Needs the hook `THALWEG_FAULT`, which debug builds have.

use std::time::Duration;

use crate::support::backend::Backend;
use crate::support::config::{Config, Service};
use crate::support::peer::{Peer, is_reset};
use crate::support::proxy::{Launch, Proxy};
use crate::support::wait::{SOON, wait_until};

/// The harness sends this many canaries before the test's first connection.
const CANARIES: usize = 12;

fn with_fault(fault: &str, service: &Service) -> Proxy {
    let mut proxy = Launch::new(Config::new([service])).env("THALWEG_FAULT", fault).start();
    proxy.expect_panics();
    proxy
}

/// Goal: a panic in the task of one connection ends that one, with a reason, and nothing else.
/// Method: the third connection of the test panics; the first two go on, the fourth works.
#[test]
fn in_a_connection() {
    let backend = Backend::echo();
    let service = Service::new("svc", &[backend.address]);
    let mut proxy = with_fault(&format!("connection-panic:{}", CANARIES + 3), &service);
    let say = |client: &Peer| {
        client.send(b"hello");
        client.expect(b"hello");
    };
    let before: Vec<Peer> = (0..2).map(|_| proxy.connect(&service)).collect();
    before.iter().for_each(say);
    let hit = proxy.connect(&service);
    hit.expect_end();
    proxy.cut(hit, &service, "us/*/panic");
    let after = proxy.connect(&service);
    say(&after);
    before.iter().for_each(say);
    for client in before.into_iter().chain([after]) {
        client.fin();
        client.expect_eof();
        proxy.ended(client, &service, "*/relay/closed");
    }
    assert!(proxy.log().to_lowercase().contains("panic"), "the log says so");
    proxy.finish();
}

/// Goal: when the loop of a core dies, no client is ever left waiting, and the process serves on.
/// Method: a connection makes its core panic; from then on 100 connections are each either
/// served or ended, never silent; the log says what happened; at the end all work.
#[test]
fn in_the_loop_of_a_core() {
    let backend = Backend::echo();
    let service = Service::new("svc", &[backend.address]);
    let mut proxy = with_fault(&format!("core-panic:{}", CANARIES + 5), &service);
    let mut alive = 0;
    let first: Vec<Peer> = (0..5).map(|_| proxy.connect(&service)).collect();
    for client in first {
        alive += usize::from(is_served_or_ended(&client));
    }
    for _ in 0..100 {
        // While the core's listeners go away a connect may be refused: that is an answer too.
        if let Ok(client) = Peer::try_connect(service.address) {
            alive += usize::from(is_served_or_ended(&client));
        }
    }
    assert!(alive > 0, "nobody was served");
    assert!(proxy.is_running(), "the process lives");
    wait_until("a word in the log", SOON, || proxy.log().to_lowercase().contains("panic"));
    proxy.ended_between(0, 105, "*");
    // Not `finish`: the dead core's own descriptors may be gone for good.
    proxy.canary();
    proxy.signal(libc::SIGTERM);
    let exit = proxy.wait_exit();
    println!("ended with {}", exit.status);
}

/// Served (true), or ended without a byte (false); silence fails the test.
fn is_served_or_ended(client: &Peer) -> bool {
    client.set_deadline(Duration::from_secs(5));
    if let Err(error) = client.try_send(b"hello") {
        assert!(is_reset(&error), "{error}");
        return false;
    }
    match client.try_recv() {
        Ok(bytes) => !bytes.is_empty(),
        Err(error) => {
            assert!(is_reset(&error), "a connection that nobody answers: {error}");
            false
        }
    }
}
