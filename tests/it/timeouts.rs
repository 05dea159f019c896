//! Every wait has a deadline, both sides are told when it passes, and the event says which.

use std::thread;
use std::time::Duration;

use serde_json::json;

use crate::support::backend::{Backend, Manual};
use crate::support::config::Service;
use crate::support::data::Random;
use crate::support::peer::{Peer, is_reset};
use crate::support::proxy::Proxy;
use crate::support::wait::{SOON, let_pass, wait_until};
use crate::support::{Stop, heavy};

/// Goal: a connection over which nothing moves ends at its limit, and both sides are told.
/// Method: a limit of one second; one connection that never spoke, one that did.
#[test]
fn idle() {
    let upstream = Manual::start();
    let service = Service::new("svc", &[upstream.address]).set("timeouts", json!({ "idle": "1s" }));
    let mut proxy = Proxy::start([&service]);
    for speaks in [false, true] {
        let client = proxy.connect(&service);
        let up = upstream.accept();
        if speaks {
            client.send(b"abc");
            up.expect(b"abc");
        }
        client.expect_end();
        up.expect_end();
        let port = client.port();
        proxy.ended(client, &service, "*/relay/*idle*");
        let duration = proxy.event_of(port).number("duration");
        assert!(duration >= 900, "ended after {duration} ms already");
    }
    proxy.finish();
}

/// Goal: bytes in either direction keep a connection alive.
/// Method: a limit of one second and a byte every 300 ms for three seconds, in one direction only;
/// first up, then down.
#[test]
fn traffic_is_not_idle() {
    let upstream = Manual::start();
    let service = Service::new("svc", &[upstream.address]).set("timeouts", json!({ "idle": "1s" }));
    let mut proxy = Proxy::start([&service]);
    let pairs: Vec<(Peer, Peer)> = (0..2)
        .map(|_| {
            let client = proxy.connect(&service);
            (client, upstream.accept())
        })
        .collect();
    for _ in 0..10 {
        pairs[0].0.send(b".");
        pairs[0].1.expect(b".");
        pairs[1].1.send(b".");
        pairs[1].0.expect(b".");
        let_pass(Duration::from_millis(300));
    }
    for (client, up) in pairs {
        client.fin();
        up.expect_eof();
        drop(up);
        client.expect_eof();
        proxy.ended(client, &service, "*/relay/closed");
    }
    proxy.finish();
}

/// Goal: a peer that never reads again does not hold a connection for ever.
/// Method: an idle limit of one second and an upstream that pours; the client does not read. The
/// reason tells this from a connection that has nothing to say.
#[test]
fn stalled() {
    let source = Backend::source();
    let service = Service::new("svc", &[source.address]).set("timeouts", json!({ "idle": "1s" }));
    let mut proxy = Proxy::start([&service]);
    let client =
        Peer::try_connect_with(service.address, |socket| socket.set_recv_buffer_size(16 * 1024))
            .expect("connect");
    wait_until("the end of the upstream's connection", SOON, || {
        source.accepted() == 1 && source.live() == 0
    });
    // What its kernel holds may still be read; then it is told that the stream was cut.
    let cut = loop {
        match client.try_recv() {
            Ok(bytes) if bytes.is_empty() => break false,
            Ok(_) => {}
            Err(error) => break is_reset(&error),
        }
    };
    assert!(cut, "a cut stream must not look complete");
    proxy.cut(client, &service, "*/relay/stalled");
    proxy.finish();
}

/// Goal: after one side has ended, the other has its own, shorter limit.
/// Method: `halfClosed` of one second under an idle limit of an hour; each way.
#[test]
fn half_closed() {
    let upstream = Manual::start();
    let service = Service::new("svc", &[upstream.address])
        .set("timeouts", json!({ "idle": "1h", "halfClosed": "1s" }));
    let mut proxy = Proxy::start([&service]);
    let open = proxy.connect(&service);
    let up_of_open = upstream.accept();
    for client_first in [true, false] {
        let client = proxy.connect(&service);
        let up = upstream.accept();
        let (first, second) = if client_first { (&client, &up) } else { (&up, &client) };
        first.fin();
        second.expect_eof();
        // A byte of the answer starts the limit anew.
        second.send(b"x");
        first.expect(b"x");
        first.expect_end();
        drop(up);
        proxy.ended(client, &service, "*/relay/*half*");
    }
    // A connection that nobody has ended is not under this limit.
    open.send(b"still here");
    up_of_open.expect(b"still here");
    drop(up_of_open);
    open.expect_eof();
    open.fin();
    proxy.ended(open, &service, "*/relay/closed");
    proxy.finish();
}

/// Goal: a half-closed connection that still moves bytes is not cut.
/// Method: `halfClosed` of one second; the client has ended; the answer drips for three seconds.
#[test]
fn a_half_closed_connection_may_take_its_time() {
    let upstream = Manual::start();
    let service = Service::new("svc", &[upstream.address])
        .set("timeouts", json!({ "idle": "1h", "halfClosed": "1s" }));
    let mut proxy = Proxy::start([&service]);
    let client = proxy.connect(&service);
    let up = upstream.accept();
    client.fin();
    up.expect_eof();
    for byte in 0..10 {
        up.send(&[byte]);
        client.expect(&[byte]);
        let_pass(Duration::from_millis(300));
    }
    drop(up);
    client.expect_eof();
    proxy.ended(client, &service, "*/relay/closed");
    proxy.finish();
}

/// Goal: a lifetime ends a connection however busy it is.
/// Method: a lifetime of one second on a connection that echoes all the time, and on one that
/// pours.
#[test]
fn lifetime() {
    let (echo, source) = (Backend::echo(), Backend::source());
    let limit = json!({ "lifetime": "1s" });
    let busy = Service::new("busy", &[echo.address]).set("timeouts", limit.clone());
    let pouring = Service::new("pouring", &[source.address]).set("timeouts", limit);
    let mut proxy = Proxy::start([&busy, &pouring]);

    let client = proxy.connect(&busy);
    let data = Random::new(1).bytes(1000);
    loop {
        if client.try_send(&data).is_err() {
            break;
        }
        match client.try_recv() {
            Ok(bytes) if bytes.is_empty() => break,
            Ok(_) => {}
            Err(error) => {
                assert!(is_reset(&error), "{error}");
                break;
            }
        }
    }
    proxy.cut(client, &busy, "*/relay/*lifetime*");

    let client = proxy.connect(&pouring);
    client.recv_to_end();
    proxy.cut(client, &pouring, "*/relay/*lifetime*");
    proxy.finish();
}

/// Goal: deadlines are kept while the cores are busy: a loop that never parks must not starve its
/// timers.
/// Method: every core relays bulk as fast as it can; 20 idle connections with a limit of one second
/// all end while that goes on.
#[test]
fn deadlines_under_load() {
    let _alone = heavy();
    let source = Backend::source();
    let pour = Service::new("pour", &[source.address]);
    let upstream = Manual::start();
    let quiet = Service::new("quiet", &[upstream.address]).set("timeouts", json!({ "idle": "1s" }));
    let mut proxy = Proxy::start([&pour, &quiet]);
    let drains: Vec<Peer> = (0..6).map(|_| proxy.connect(&pour)).collect();
    let stop = Stop::default();
    let outcomes: Vec<_> = thread::scope(|scope| {
        let at_end = stop.at_end();
        let readers: Vec<_> = drains
            .into_iter()
            .map(|peer| {
                let stop = &stop;
                scope.spawn(move || {
                    while !stop.is_set() {
                        peer.try_recv().expect("bulk");
                    }
                    peer.rst()
                })
            })
            .collect();
        let idle: Vec<(Peer, Peer)> = (0..20)
            .map(|_| {
                let client = proxy.connect(&quiet);
                (client, upstream.accept())
            })
            .collect();
        for (client, up) in idle {
            client.expect_end();
            up.expect_end();
            proxy.ended(client, &quiet, "*/relay/*idle*");
        }
        drop(at_end);
        readers.into_iter().map(|reader| reader.join().unwrap()).collect()
    });
    for outcome in outcomes {
        proxy.cut(outcome, &pour, "client/relay/reset");
    }
    proxy.finish();
}
