//! Limits on bandwidth: kept in both directions, on every way of carrying bytes; what is held back
//! waits with its sender, and a connection that is held back can still be ended.
//!
//! That a limit holds is seen by time, and only from below: a slow machine takes longer, never less.

use std::thread;
use std::time::{Duration, Instant};

use serde_json::json;

use super::CLOSED;
use crate::support::backend::{Backend, Manual};
use crate::support::certs::{Authority, Files};
use crate::support::config::{Config, Service};
use crate::support::data::Digest;
use crate::support::peer::Peer;
use crate::support::proxy::{Launch, Proxy};
use crate::support::tls::{Dial, Tls, serving};

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;

/// Least time that so many bytes take, given a burst of 100 ms (or 16 KiB) and some slack.
fn at_least(bytes: u64, rate: u64) -> Duration {
    let burst = (rate / 10).max(16 * KIB);
    Duration::from_secs_f64(bytes.saturating_sub(burst) as f64 / rate as f64 * 0.9)
}

/// Sends both ways at once; both arrive whole, neither sooner than the limit allows.
fn both_ways(client: &Peer, up: &Peer, bytes: u64, rate: u64) {
    let began = Instant::now();
    let to_end = |peer: &Peer| -> (u64, Digest, Duration) {
        let (count, digest) = peer.hash_to_eof();
        (count, digest, began.elapsed())
    };
    thread::scope(|scope| {
        let downloads = scope.spawn(|| to_end(client));
        let uploads = scope.spawn(|| to_end(up));
        let sending = scope.spawn(|| {
            let sent = up.send_random(1, bytes);
            up.fin();
            sent
        });
        let sent = client.send_random(2, bytes);
        client.fin();
        for (read, sent) in [(uploads, sent), (downloads, sending.join().unwrap())] {
            let (count, digest, took) = read.join().unwrap();
            assert_eq!((count, digest), (bytes, sent));
            assert!(took >= at_least(bytes, rate), "{bytes} bytes at {rate}/s took {took:?}");
        }
    });
}

/// Goal: plain connections, copied and spliced, have the bandwidth of the service and no more.
/// Method: small and large limits; both directions at once.
#[test]
fn of_a_service() {
    for (rate, bytes) in [(64 * KIB, 128 * KIB), (20 * MIB, 30 * MIB)] {
        let upstream = Manual::start();
        let limit = format!("{rate}B");
        let service = Service::new("svc", &[upstream.address])
            .set("limits", json!({ "bytesPerSecond": limit }));
        let mut proxy = Proxy::start([&service]);
        let client = proxy.connect(&service);
        let up = upstream.accept();
        both_ways(&client, &up, bytes, rate);
        proxy.ended(client, &service, CLOSED);
        proxy.finish();
    }
}

/// Goal: the limit is of the service: its connections share it, each gets some, on whichever core;
/// and one of each connection holds beside it.
/// Method: eight clients of a source that pours; together they get no more than the service may, each
/// gets something.
#[test]
fn shared_by_connections() {
    const CLIENTS: u64 = 8;
    let source = Backend::source();
    let rate = MIB;
    let service = Service::new("svc", &[source.address])
        .set("limits", json!({ "bytesPerSecond": { "service": "1MiB", "connection": "256KiB" } }));
    let mut proxy = Proxy::start([&service]);
    let clients: Vec<Peer> = (0..CLIENTS).map(|_| proxy.connect(&service)).collect();
    let began = Instant::now();
    thread::scope(|scope| {
        for client in &clients {
            scope.spawn(move || {
                while client.received() < 192 * KIB {
                    assert!(!client.try_recv().unwrap().is_empty());
                }
            });
        }
    });
    let took = began.elapsed();
    let all: u64 = clients.iter().map(Peer::received).sum();
    assert!(took >= at_least(all, rate), "{all} bytes at {rate}/s took {took:?}");
    for client in clients {
        proxy.cut(client.rst(), &service, "client/relay/reset");
    }
    proxy.finish();
}

/// Goal: TLS that passes through and TLS that ends here have the limit too, and so has TLS with a
/// target.
/// Method: an exchange both ways through each.
#[test]
fn over_tls() {
    let rate = 256 * KIB;
    let upstream = Manual::start();
    let authority = Authority::new("servers");
    let files = Files::new();
    let issued = authority.issue(&["a.test"]);
    let limits = json!({ "bytesPerSecond": { "connection": "256KiB" } });
    let service = |id: &str, mode: &str| {
        let service = Service::new(id, &[upstream.address]);
        service.set("tls", json!(mode)).set("limits", limits.clone())
    };
    let (ended, through) = (service("ended", "Enabled"), service("through", "PassThrough"));
    let config =
        Config::new([&ended, &through]).set("certificates", json!([files.pair("a", &issued)]));
    let mut proxy = Launch::new(config).start();
    let dial = Dial::trusting(&authority).config();

    let mut client = Tls::dial(proxy.connect(&ended), &dial, "a.test");
    let up = upstream.accept();
    let began = Instant::now();
    let echo = thread::spawn(move || {
        crate::support::backend::echo(&up);
    });
    let (sent, received) = client.exchange(3, 512 * KIB);
    let took = began.elapsed();
    assert_eq!(sent, received);
    assert!(took >= at_least(512 * KIB, rate), "{took:?}");
    client.fin();
    client.expect_close();
    echo.join().unwrap();
    proxy.ended(client, &ended, CLOSED);

    let server = std::sync::Arc::new(serving(&issued, None));
    let answering = thread::spawn({
        let peer = proxy.connect(&through);
        move || Tls::dial(peer, &dial, "a.test")
    });
    let mut server = Tls::answer(upstream.accept(), &server);
    let mut client = answering.join().unwrap();
    let began = Instant::now();
    thread::scope(|scope| {
        let reading = scope.spawn(|| server.hash_to_close());
        let sent = client.send_random(4, 512 * KIB);
        client.fin();
        assert_eq!(reading.join().unwrap(), (512 * KIB, sent));
    });
    assert!(began.elapsed() >= at_least(512 * KIB, rate));
    let outcome = client.peer.outcome();
    server.fin();
    drop(server);
    drop(client);
    proxy.refused(outcome, "*/relay/*");
    proxy.finish();
}

/// Goal: what is held back waits with its sender, not with us.
/// Method: an upstream that pours and a client that reads, at 64 KiB/s. When the client has 128 KiB,
/// the upstream has been let in on no more than the sockets' buffers.
#[test]
fn the_sender_waits() {
    let source = Backend::source();
    let service =
        Service::new("svc", &[source.address]).set("limits", json!({ "bytesPerSecond": "64KiB" }));
    let mut proxy = Proxy::start([&service]);
    let before = proxy.process().rss_kib();
    let client = proxy.connect(&service);
    while client.received() < 128 * KIB {
        assert!(!client.try_recv().unwrap().is_empty());
    }
    assert!(source.sent() < 32 * MIB, "the upstream has sent {} bytes", source.sent());
    let grown = proxy.process().rss_kib().saturating_sub(before);
    assert!(grown < 8 * KIB, "{grown} KiB for one connection that is held back");
    proxy.cut(client.rst(), &service, "client/relay/reset");
    proxy.finish();
}

/// Goal: behind a burst small messages wait for the burst, not for each other; and who says nothing
/// takes nothing, with TLS too.
/// Method: 1 KiB/s, used up. Were each of sixty waiting directions to take a turn, a minute would be
/// gone before the last of sixty messages.
#[test]
fn small_messages_are_small() {
    const MANY: usize = 60;
    let backend = Backend::echo();
    let authority = Authority::new("servers");
    let files = Files::new();
    let issued = authority.issue(&["a.test"]);
    let limits = json!({ "bytesPerSecond": "1KiB" });
    let plain = Service::new("plain", &[backend.address]).set("limits", limits.clone());
    let ended = Service::new("ended", &[backend.address])
        .set("tls", json!("Enabled"))
        .set("limits", limits);
    let config =
        Config::new([&plain, &ended]).set("certificates", json!([files.pair("a", &issued)]));
    let mut proxy = Launch::new(config).start();

    let clients: Vec<Peer> = (0..MANY).map(|_| proxy.connect(&plain)).collect();
    let burst = proxy.connect(&plain);
    burst.send(&[7; 3 << 10]);
    clients.iter().for_each(|client| client.send(b"ten bytes."));
    clients.iter().for_each(|client| client.expect(b"ten bytes."));
    for client in clients {
        proxy.cut(client.rst(), &plain, "client/relay/reset");
    }
    proxy.cut(burst.rst(), &plain, "client/relay/reset");

    let dial = Dial::trusting(&authority).config();
    let mut busy = Tls::dial(proxy.connect(&ended), &dial, "a.test");
    busy.send(&[7; 3 << 10]);
    let idle: Vec<Tls> =
        (0..MANY).map(|_| Tls::dial(proxy.connect(&ended), &dial, "a.test")).collect();
    let mut last = Tls::dial(proxy.connect(&ended), &dial, "a.test");
    last.send(b"ten bytes.");
    last.expect(b"ten bytes.");
    for client in idle.into_iter().chain([busy, last]) {
        proxy.cut(client.rst(), &ended, "client/relay/reset");
    }
    proxy.finish();
}

/// Goal: a bandwidth that a reload changes is that of old connections too, and one for all.
/// Method: from 100 MiB/s to 64 KiB/s; a connection of before and one of after take no more together.
#[test]
fn changed_by_a_reload() {
    let upstream = Manual::start();
    let service = Service::new("svc", &[upstream.address])
        .set("limits", json!({ "bytesPerSecond": "100MiB" }));
    let mut proxy = Proxy::start([&service]);
    let pair = |proxy: &Proxy| {
        let client = proxy.connect(&service);
        client.send(b"x");
        let up = upstream.accept();
        up.expect(b"x");
        (client, up)
    };
    let old = pair(&proxy);
    let slow = service.clone().set("limits", json!({ "bytesPerSecond": "64KiB" }));
    proxy.reload(&Config::new([&slow]));
    let pairs = [old, pair(&proxy)];
    let began = Instant::now();
    for (client, _) in &pairs {
        client.send(&[7; 64 << 10]);
    }
    for (_, up) in &pairs {
        up.recv_exact(64 << 10);
    }
    let took = began.elapsed();
    assert!(took >= at_least(128 * KIB, 64 * KIB), "{took:?}");
    for (client, up) in pairs {
        proxy.cut(client.rst(), &service, "client/relay/reset");
        up.expect_reset();
    }
    proxy.finish();
}

/// Goal: to be held back by us is not to be idle; and a connection that is held back is ended by a
/// lifetime, by its client, by its target and by the end of the process.
/// Method: connections that share 4 KiB/s wait for seconds, longer than their idle limit.
#[test]
fn held_back_and_ended() {
    let source = Backend::source();
    let limits = json!({ "bytesPerSecond": "4KiB" });
    let idle = Service::new("idle", &[source.address])
        .set("limits", limits.clone())
        .set("timeouts", json!({ "idle": "500ms" }));
    let upstream = Manual::start();
    let mortal = Service::new("mortal", &[upstream.address])
        .set("limits", limits.clone())
        .set("timeouts", json!({ "lifetime": "1s" }));
    let plain = Service::new("plain", &[upstream.address]).set("limits", limits);
    let config = Config::new([&idle, &mortal, &plain]);
    let mut proxy = Launch::new(config).arg("--drain-deadline").arg("200ms").start();

    let clients: Vec<Peer> = (0..3).map(|_| proxy.connect(&idle)).collect();
    thread::scope(|scope| {
        for client in &clients {
            scope.spawn(move || {
                while client.received() < 6 * KIB {
                    assert!(!client.try_recv().expect("it is not ended").is_empty());
                }
            });
        }
    });
    for client in clients {
        proxy.cut(client.rst(), &idle, "client/relay/reset");
    }

    let pour = |service: &Service, proxy: &Proxy| {
        let client = proxy.connect(service);
        let up = upstream.accept();
        // More than a burst: what follows is held back.
        up.send(&[7; 64 << 10]);
        client.recv_exact(1024);
        (client, up)
    };
    let (client, up) = pour(&mortal, &proxy);
    client.recv_to_end();
    proxy.cut(client, &mortal, "us/relay/lifetime");
    drop(up);

    let (client, up) = pour(&plain, &proxy);
    proxy.cut(client.rst(), &plain, "client/relay/reset");
    up.expect_reset();
    let (client, up) = pour(&plain, &proxy);
    client.send(b"up is not held back");
    up.expect(b"up is not held back");
    client.fin();
    up.expect_eof();
    client.rst();
    proxy.ended_many(1, "client/relay/reset");

    let (client, up) = pour(&plain, &proxy);
    proxy.signal(libc::SIGTERM);
    client.recv_to_end();
    proxy.cut(client, &plain, "us/relay/drain");
    drop(up);
    let exit = proxy.wait_exit();
    assert_eq!(exit.code(), Some(0), "{}", exit.stderr);
    proxy.verdict();
}
