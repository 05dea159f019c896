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
    wait_until("a word in the log", SOON, || proxy.log().to_lowercase().contains("panic"));
    proxy.finish();
}

/// Goal: when the loop of a core dies, its connections are cut and told so, those of other cores
/// live, no client is ever left waiting, and the process serves on with as many cores as before.
/// Method: 24 connections live; one more makes its core panic; each of the 24 either echoes on or has
/// been ended; then 100 new ones are each served or ended, never silent; one event for every one.
#[test]
fn in_the_loop_of_a_core() {
    let backend = Backend::echo();
    let service = Service::new("svc", &[backend.address]);
    let mut proxy = with_fault(&format!("core-panic:{}", CANARIES + 25), &service);
    let threads = proxy.process().threads();
    let live: Vec<Peer> = (0..24).map(|_| proxy.connect(&service)).collect();
    for client in &live {
        client.send(b"before");
        client.expect(b"before");
    }
    let hit = proxy.connect(&service);
    assert!(!is_served_or_ended(&hit), "the connection that killed its core was served");
    proxy.cut(hit, &service, "*");
    let mut survivors = 0;
    for client in live {
        if is_served_or_ended(&client) {
            survivors += 1;
            client.fin();
            client.expect_eof();
            proxy.ended(client, &service, "*/relay/closed");
        } else {
            proxy.cut(client, &service, "us/*/*");
        }
    }
    assert!((1..24).contains(&survivors), "{survivors} of 24 lived on another core");
    let mut served = 0;
    for _ in 0..100 {
        // While the core's listeners are replaced a connect may be refused: that is an answer too.
        let Ok(client) = Peer::try_connect(service.address) else { continue };
        if is_served_or_ended(&client) {
            served += 1;
            client.fin();
            client.expect_eof();
            proxy.ended(client, &service, "*/relay/closed");
        } else {
            // Perhaps never accepted: reset in the queue of the listener that went.
            proxy.ended_between(0, 1, "us/*/*");
        }
    }
    assert!(served > 50, "{served} of 100 were served afterwards");
    assert!(proxy.is_running(), "the process lives");
    wait_until("a word in the log", SOON, || proxy.log().to_lowercase().contains("panic"));
    wait_until("a successor of the core", SOON, || proxy.process().threads() >= threads);
    // The ring of a core that died stays open: its operations may still refer to memory.
    proxy.allow_descriptors(4);
    proxy.finish();
}

/// Goal: not even a connection that the dying core had accepted a moment before, and not begun to
/// serve, is left waiting.
/// Method: the proxy is stopped while 24 clients connect and speak, so that each core finds several in
/// its queue at once; the sixth that is accepted makes its core panic. Each is served or ended.
#[test]
fn in_the_loop_of_a_core_with_a_full_queue() {
    let backend = Backend::echo();
    let service = Service::new("svc", &[backend.address]);
    let mut proxy = with_fault(&format!("core-panic:{}", CANARIES + 6), &service);
    proxy.pause();
    let clients: Vec<Peer> = (0..24).map(|_| proxy.connect(&service)).collect();
    for client in &clients {
        client.send(b"hello");
    }
    proxy.resume();
    for (index, client) in clients.into_iter().enumerate() {
        client.set_deadline(Duration::from_secs(10));
        match client.try_recv() {
            Ok(bytes) if bytes.is_empty() => proxy.ended_between(0, 1, "us/*/*"),
            Ok(bytes) => {
                assert_eq!(bytes, b"hello");
                client.fin();
                client.expect_eof();
                proxy.ended(client, &service, "*/relay/closed");
            }
            Err(error) => {
                assert!(is_reset(&error), "client {index} of 24 is left waiting: {error}");
                // Perhaps never accepted: reset in the queue of the listener that went.
                proxy.ended_between(0, 1, "us/*/*");
            }
        }
    }
    proxy.allow_descriptors(4);
    proxy.finish();
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
