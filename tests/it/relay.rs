//! An exact byte pipe: every byte once and in order, FIN as FIN, RST as RST, and no more taken
//! from one side than the other accepts.

use std::sync::atomic::Ordering;
use std::thread;
use std::time::Duration;

use crate::support::backend::{Backend, Manual};
use crate::support::config::Service;
use crate::support::data::{Digest, Random};
use crate::support::heavy;
use crate::support::peer::{End, Outcome, Peer};
use crate::support::proxy::Proxy;
use crate::support::wait::{SOON, let_pass, wait_until, wait_until_still};

const MIB: u64 = 1 << 20;
const CLOSED: &str = "*/relay/closed";

/// A proxy with one service and an upstream that the test drives by hand.
fn between() -> (Proxy, Service, Manual) {
    let upstream = Manual::start();
    let service = Service::new("svc", &[upstream.address]);
    (Proxy::start([&service]), service, upstream)
}

/// Goal: the answer to a whole request arrives although the client has ended its direction.
/// Method: 64 MiB and a FIN from the client; the upstream answers only after it has read the end.
#[test]
fn client_ends_first() {
    let _alone = heavy();
    let (mut proxy, service, upstream) = between();
    let client = proxy.connect(&service);
    let up = upstream.accept();
    thread::scope(|scope| {
        let read = scope.spawn(|| up.hash_to_eof());
        let sent = client.send_random(1, 64 * MIB);
        client.fin();
        let (count, digest) = read.join().unwrap();
        assert_eq!((count, &digest), (64 * MIB, &sent));
    });
    client.expect_silence();
    let answer = up.send_random(2, 3 * MIB);
    up.close();
    assert_eq!(client.hash_to_eof(), (3 * MIB, answer));
    proxy.ended(client, &service, CLOSED);
    proxy.finish();
}

/// Goal: the client may go on sending after the upstream has ended its direction.
/// Method: 64 MiB and a FIN from the upstream; the client sends only after it has read the end.
#[test]
fn upstream_ends_first() {
    let _alone = heavy();
    let (mut proxy, service, upstream) = between();
    let client = proxy.connect(&service);
    let up = upstream.accept();
    thread::scope(|scope| {
        let read = scope.spawn(|| client.hash_to_eof());
        let sent = up.send_random(3, 64 * MIB);
        up.fin();
        let (count, digest) = read.join().unwrap();
        assert_eq!((count, &digest), (64 * MIB, &sent));
    });
    up.expect_silence();
    let rest = client.send_random(4, 3 * MIB);
    client.fin();
    assert_eq!(up.hash_to_eof(), (3 * MIB, rest));
    drop(up);
    proxy.ended(client, &service, CLOSED);
    proxy.finish();
}

/// Goal: a connection over which nothing was said ends cleanly, from either side.
/// Method: a FIN and no byte, then the other's.
#[test]
fn silent_connections() {
    let (mut proxy, service, upstream) = between();
    for client_first in [true, false] {
        let client = proxy.connect(&service);
        let up = upstream.accept();
        let (first, second) = if client_first { (&client, &up) } else { (&up, &client) };
        first.fin();
        second.expect_eof();
        first.expect_silence();
        second.fin();
        first.expect_eof();
        proxy.ended(client, &service, CLOSED);
    }
    proxy.finish();
}

/// Goal: a client that is cut off is not reported to the upstream as one that has finished.
/// Method: the client sends, the upstream reads, the client resets.
#[test]
fn client_resets() {
    let (mut proxy, service, upstream) = between();
    let client = proxy.connect(&service);
    client.send(b"abc");
    let up = upstream.accept();
    up.expect(b"abc");
    let outcome = client.rst();
    up.expect_reset();
    proxy.cut(outcome, &service, "client/relay/reset");
    proxy.finish();
}

/// Goal: an upstream that is cut off is not reported to the client as one that has finished.
/// Method: the upstream sends, the client reads, the upstream resets.
#[test]
fn upstream_resets() {
    let (mut proxy, service, upstream) = between();
    let client = proxy.connect(&service);
    let up = upstream.accept();
    up.send(b"abc");
    client.expect(b"abc");
    up.rst();
    client.expect_reset();
    proxy.ended(client, &service, "upstream/relay/reset");
    proxy.finish();
}

/// Goal: what was sent before a RST is delivered before the RST.
/// Method: 32 KiB and the RST at once, so that both are in the proxy's socket when it looks; each
/// way, twenty times, because the order of the two is a race.
#[test]
fn data_before_a_reset_is_delivered() {
    let (mut proxy, service, upstream) = between();
    let data = Random::new(5).bytes(32 * 1024);
    for round in 0..20 {
        let client = proxy.connect(&service);
        let up = upstream.accept();
        // The first byte has arrived: the connection is being relayed when the rest comes.
        up.send(&data[..1]);
        client.expect(&data[..1]);
        up.send(&data[1..]);
        up.rst();
        let (got, end) = client.recv_to_end();
        assert_eq!(got.len(), data.len() - 1, "round {round}, down");
        assert!(got == data[1..] && end == End::Reset, "round {round}, down: {end:?}");
        proxy.ended(client, &service, "upstream/relay/reset");

        let client = proxy.connect(&service);
        let up = upstream.accept();
        client.send(&data[..1]);
        up.expect(&data[..1]);
        client.send(&data[1..]);
        let outcome = client.rst();
        let (got, end) = up.recv_to_end();
        assert_eq!(got.len(), data.len() - 1, "round {round}, up");
        assert!(got == data[1..] && end == End::Reset, "round {round}, up: {end:?}");
        proxy.ended(outcome, &service, "client/relay/reset");
    }
    proxy.finish();
}

/// Goal: a reset in the middle of a bulk transfer ends both sides at once and leaves nothing.
/// Method: the upstream pours, the client reads a little and resets; then the roles change.
#[test]
fn resets_in_mid_stream() {
    let (mut proxy, service, upstream) = between();
    let block = Random::new(6).bytes(64 * 1024);
    for _ in 0..10 {
        let client = proxy.connect(&service);
        let up = upstream.accept();
        let outcome = thread::scope(|scope| {
            let pour = scope.spawn(|| while up.try_send(&block).is_ok() {});
            client.recv_exact(usize::try_from(2 * MIB).unwrap());
            let outcome = client.rst();
            pour.join().unwrap();
            outcome
        });
        assert!(up.sent() < 512 * MIB);
        proxy.cut(outcome, &service, "client/relay/reset");

        let client = proxy.connect(&service);
        let up = upstream.accept();
        thread::scope(|scope| {
            let pour = scope.spawn(|| while client.try_send(&block).is_ok() {});
            up.recv_exact(usize::try_from(2 * MIB).unwrap());
            up.rst();
            pour.join().unwrap();
        });
        proxy.cut(client, &service, "upstream/relay/reset");
    }
    proxy.finish();
}

/// Goal: what an upstream sent before it closed reaches a client that was not reading then.
/// Method: the upstream sends and closes; the client reads only when the upstream is done, or
/// cannot go on because every buffer is full.
#[test]
fn upstream_closes_while_the_client_is_not_reading() {
    let _alone = heavy();
    let (mut proxy, service, upstream) = between();
    for size in [64 * 1024, MIB, 50 * MIB] {
        let client = proxy.connect(&service);
        let up = upstream.accept();
        let counter = up.sent_counter();
        let (sent, got) = thread::scope(|scope| {
            let pour = scope.spawn(move || {
                let digest = up.send_random(size, size);
                up.close();
                digest
            });
            let sent = || counter.load(Ordering::Relaxed);
            wait_until_still("the upstream's buffers", Duration::from_millis(300), sent);
            let got = client.hash_to_eof();
            (pour.join().unwrap(), got)
        });
        assert_eq!(got, (size, sent), "{size} bytes");
        proxy.ended(client, &service, CLOSED);
    }
    proxy.finish();
}

/// Goal: the mirror image: a client that sends and closes has all of it delivered to an upstream
/// that reads late.
/// Method: the client sends and closes; the upstream reads only when the client is done or stuck.
#[test]
fn client_closes_while_the_upstream_is_not_reading() {
    let _alone = heavy();
    let (mut proxy, service, upstream) = between();
    for size in [64 * 1024, MIB, 50 * MIB] {
        let client = proxy.connect(&service);
        let up = upstream.accept();
        let counter = client.sent_counter();
        let (sent, outcome, got) = thread::scope(|scope| {
            let pour = scope.spawn(move || {
                let digest = client.send_random(size, size);
                (digest, client.close())
            });
            let sent = || counter.load(Ordering::Relaxed);
            wait_until_still("the client's buffers", Duration::from_millis(300), sent);
            let got = up.hash_to_eof();
            let (sent, outcome) = pour.join().unwrap();
            (sent, outcome, got)
        });
        assert_eq!(got, (size, sent), "{size} bytes");
        drop(up);
        proxy.ended(outcome, &service, CLOSED);
    }
    proxy.finish();
}

/// Goal: a slow reader slows its own sender and nobody else, and costs no memory.
/// Method: a client with a small receive buffer reads 4 KiB at a time out of 8 MiB while canaries
/// fly; the digest is right and the sender was held back.
#[test]
fn slow_reader() {
    let (mut proxy, service, upstream) = between();
    let client =
        Peer::try_connect_with(service.address, |socket| socket.set_recv_buffer_size(8 * 1024))
            .expect("connect");
    let up = upstream.accept();
    up.socket().set_send_buffer_size(64 * 1024).unwrap();
    let size = 8 * MIB;
    let mut all = Vec::new();
    let sent = thread::scope(|scope| {
        let pour = scope.spawn(|| {
            let digest = up.send_random(8, size);
            up.fin();
            digest
        });
        while (all.len() as u64) < size {
            all.extend_from_slice(&client.recv_exact(4096));
            if all.len() % (1 << 20) == 0 {
                proxy.canary();
            }
        }
        pour.join().unwrap()
    });
    assert_eq!(Digest::of(&all), sent);
    client.expect_eof();
    client.fin();
    up.expect_eof();
    drop(up);
    proxy.ended(client, &service, CLOSED);
    proxy.finish();
}

/// Goal: clients that never read hold back their upstreams and cost the proxy no memory.
/// Method: 200 of them against an upstream that sends for ever, until nothing moves any more;
/// resident memory stays, canaries fly, and the resets of all 200 leave nothing.
#[test]
fn clients_that_never_read() {
    let _alone = heavy();
    let source = Backend::source();
    let service = Service::new("source", &[source.address]);
    let mut proxy = Proxy::start([&service]);
    let small = |socket: &socket2::Socket| socket.set_recv_buffer_size(16 * 1024);
    let clients: Vec<Peer> = (0..200)
        .map(|_| Peer::try_connect_with(service.address, small).expect("connect"))
        .collect();
    wait_until("all upstream connections", SOON, || source.accepted() == 200);
    wait_until_still("the sources", Duration::from_secs(1), || source.sent());
    let growth = proxy.growth_kib();
    assert!(growth < 32 * 1024, "resident memory grew by {growth} KiB");
    let share = proxy.process().cpu_share(Duration::from_secs(1));
    assert!(share < 0.5, "{share} of a core while nothing moves");
    proxy.canary();
    for client in clients {
        let outcome = client.rst();
        proxy.cut(outcome, &service, "client/relay/reset");
    }
    wait_until("the end of all upstream connections", SOON, || source.live() == 0);
    proxy.finish();
}

/// Goal: an upstream that never reads holds back its client and costs the proxy no memory.
/// Method: 50 clients pour into upstreams that do not read, until nothing moves any more.
#[test]
fn upstreams_that_never_read() {
    let _alone = heavy();
    let upstream = Manual::start_with(|socket| {
        socket.set_recv_buffer_size(16 * 1024).unwrap();
    });
    let service = Service::new("pit", &[upstream.address]);
    let mut proxy = Proxy::start([&service]);
    let block = Random::new(9).bytes(256 * 1024);
    let mut pairs = Vec::new();
    for _ in 0..50 {
        let client = proxy.connect(&service);
        client.set_deadline(Duration::from_millis(50));
        // Until a send finds no room for the whole deadline.
        while client.try_send(&block).is_ok() {}
        pairs.push((client, upstream.accept()));
    }
    let growth = proxy.growth_kib();
    assert!(growth < 32 * 1024, "resident memory grew by {growth} KiB");
    proxy.canary();
    for (client, up) in pairs {
        up.rst();
        client.set_deadline(SOON);
        client.expect_reset();
        proxy.cut(client, &service, "upstream/relay/reset");
    }
    proxy.finish();
}

/// Goal: tiny messages pass at once, each way, and are never merged with an end or lost.
/// Method: 2,000 bytes there and back, one at a time, each waiting for the one before.
#[test]
fn one_byte_at_a_time() {
    let (mut proxy, service, upstream) = between();
    let client = proxy.connect(&service);
    let up = upstream.accept();
    for round in 0..2_000_u32 {
        let byte = [round.to_le_bytes()[0]];
        client.send(&byte);
        up.expect(&byte);
        up.send(&[!byte[0]]);
        client.expect(&[!byte[0]]);
    }
    client.fin();
    up.expect_eof();
    up.fin();
    client.expect_eof();
    drop(up);
    proxy.ended(client, &service, CLOSED);
    let events = proxy.events();
    assert!(events.iter().all(|event| event.text("relay") == "copy"), "small traffic is copied");
    proxy.finish();
}

/// Goal: a direction that has gone to bulk comes back to small messages without a stall, and the
/// other way round.
/// Method: 4 MiB, then 100 single bytes each answered, three times, each way.
#[test]
fn bulk_and_small_in_turn() {
    let (mut proxy, service, upstream) = between();
    let client = proxy.connect(&service);
    let up = upstream.accept();
    for round in 0..3 {
        for (from, to) in [(&client, &up), (&up, &client)] {
            let data = Random::new(round).bytes(4 << 20);
            thread::scope(|scope| {
                scope.spawn(|| from.send(&data));
                assert!(to.recv_exact(data.len()) == data);
            });
            for byte in 0..100_u8 {
                from.send(&[byte]);
                to.expect(&[byte]);
                to.send(&[byte]);
                from.expect(&[byte]);
            }
        }
    }
    client.fin();
    up.expect_eof();
    drop(up);
    client.expect_eof();
    proxy.ended(client, &service, CLOSED);
    proxy.finish();
}

/// Goal: whatever the sizes and whoever ends first, every byte comes back and the end is clean.
/// Method: 400 connections from eight threads to an echo, each with a random size in random
/// pieces and a random moment of its FIN. `SEED=` replays.
#[test]
fn random_sizes_and_half_closes() {
    let seed = Random::seed();
    println!("SEED={seed}");
    let backend = Backend::echo();
    let service = Service::new("echo", &[backend.address]);
    let mut proxy = Proxy::start([&service]);
    let outcomes: Vec<Outcome> = thread::scope(|scope| {
        let workers: Vec<_> = (0..8)
            .map(|worker| {
                let service = &service;
                scope.spawn(move || {
                    let mut random = Random::new(seed ^ (worker << 32));
                    (0..50).map(|_| random_echo(service, &mut random)).collect::<Vec<_>>()
                })
            })
            .collect();
        workers.into_iter().flat_map(|worker| worker.join().unwrap()).collect()
    });
    for outcome in outcomes {
        proxy.ended(outcome, &service, CLOSED);
    }
    proxy.finish();
}

fn random_echo(service: &Service, random: &mut Random) -> Outcome {
    let scale = 1 << random.below(20);
    let size = usize::try_from(random.below(scale)).unwrap();
    let data = random.bytes(size);
    let mut pieces = Vec::new();
    let mut rest = &data[..];
    while !rest.is_empty() {
        let most = 1 + random.below(rest.len() as u64);
        let (piece, after) = rest.split_at(usize::try_from(most).unwrap());
        pieces.push(piece);
        rest = after;
    }
    let fin_before_reading = random.below(2) == 0;
    let client = Peer::connect(service.address);
    let got = thread::scope(|scope| {
        scope.spawn(|| {
            pieces.iter().for_each(|piece| client.send(piece));
            if fin_before_reading {
                client.fin();
            }
        });
        client.recv_exact(size)
    });
    assert!(got == data, "{size} bytes came back changed");
    if !fin_before_reading {
        client.fin();
    }
    client.expect_eof();
    client.close()
}

/// Goal: a protocol in which the server greets works: the proxy does not wait for the client.
/// Method: the upstream speaks on accept; the client has said nothing.
#[test]
fn server_speaks_first() {
    let backend = Backend::serve(|peer| {
        peer.send(b"220 ready\r\n");
        peer.expect(b"QUIT\r\n");
        peer.send(b"221 bye\r\n");
    });
    let service = Service::new("smtp", &[backend.address]);
    let mut proxy = Proxy::start([&service]);
    for _ in 0..20 {
        let client = proxy.connect(&service);
        client.expect(b"220 ready\r\n");
        client.send(b"QUIT\r\n");
        client.expect(b"221 bye\r\n");
        client.expect_eof();
        proxy.ended(client, &service, CLOSED);
    }
    proxy.finish();
}

/// Goal: both sides ending at the same moment is one clean end.
/// Method: two threads close both ends of 200 connections after a byte each way.
#[test]
fn simultaneous_close() {
    let (mut proxy, service, upstream) = between();
    for _ in 0..200 {
        let client = proxy.connect(&service);
        let up = upstream.accept();
        client.send(b"a");
        up.expect(b"a");
        up.send(b"b");
        client.expect(b"b");
        let outcome = thread::scope(|scope| {
            scope.spawn(move || up.close());
            client.close()
        });
        proxy.ended(outcome, &service, CLOSED);
    }
    proxy.finish();
}

/// Goal: both directions run at full speed at once without one blocking the other.
/// Method: 32 MiB each way at the same time on each of four connections; digests agree, and the
/// events say that the bytes were spliced.
#[test]
fn bulk_both_ways_at_once() {
    let _alone = heavy();
    let (mut proxy, service, upstream) = between();
    let pairs: Vec<(Peer, Peer)> = (0..4)
        .map(|_| {
            let client = proxy.connect(&service);
            (client, upstream.accept())
        })
        .collect();
    thread::scope(|scope| {
        for (seed, (client, up)) in (20_u64..).zip(&pairs) {
            scope.spawn(move || {
                thread::scope(|scope| {
                    let sent_up = scope.spawn(|| {
                        let digest = client.send_random(seed, 32 * MIB);
                        client.fin();
                        digest
                    });
                    let sent_down = scope.spawn(|| {
                        let digest = up.send_random(seed << 8, 32 * MIB);
                        up.fin();
                        digest
                    });
                    let got_up = scope.spawn(|| up.hash_to_eof());
                    let got_down = client.hash_to_eof();
                    assert_eq!(got_down, (32 * MIB, sent_down.join().unwrap()));
                    assert_eq!(got_up.join().unwrap(), (32 * MIB, sent_up.join().unwrap()));
                });
            });
        }
    });
    for (client, up) in pairs {
        drop(up);
        let port = client.port();
        proxy.ended(client, &service, CLOSED);
        let relay = proxy.event_of(port);
        assert_eq!(relay.text("relay"), "splice");
    }
    proxy.finish();
}

/// Goal: an answer and its end are delivered whatever the proxy was doing when they came.
/// Method: the client asks and ends; the proxy is stopped; the upstream answers, ends and is gone;
/// when the proxy goes on, all its timers are due and all the data is there at once.
#[test]
fn an_answer_that_came_during_a_pause() {
    let (mut proxy, service, upstream) = between();
    for round in 0..5 {
        let pairs: Vec<(Peer, Peer)> = (0..20)
            .map(|_| {
                let client = proxy.connect(&service);
                client.send(b"GET");
                client.fin();
                let up = upstream.accept();
                up.expect(b"GET");
                up.expect_eof();
                (client, up)
            })
            .collect();
        // Not waiting for every thread to stand still: some answers shall come just before.
        proxy.signal(libc::SIGSTOP);
        let mut clients = Vec::new();
        for (client, up) in pairs {
            up.send(b"the answer");
            up.close();
            clients.push(client);
        }
        let_pass(Duration::from_millis(400));
        proxy.resume();
        for client in clients {
            let (bytes, end) = client.recv_to_end();
            let answer = String::from_utf8_lossy(&bytes).into_owned();
            assert_eq!((answer.as_str(), end), ("the answer", End::Eof), "round {round}");
            proxy.ended(client, &service, "client/relay/closed");
        }
    }
    proxy.finish();
}

/// Goal: a server that closes with unread input (which the kernel turns into a RST) still has its
/// answer delivered.
/// Method: the client sends 100 bytes, the upstream reads 10, answers and closes.
#[test]
fn upstream_closes_with_unread_input() {
    let (mut proxy, service, upstream) = between();
    for _ in 0..20 {
        let client = proxy.connect(&service);
        let up = upstream.accept();
        client.send(&[7; 100]);
        wait_until("the request at the upstream", SOON, || {
            let mut buffer = [std::mem::MaybeUninit::uninit(); 100];
            up.socket().peek(&mut buffer).unwrap() == 100
        });
        up.recv_exact(10);
        up.send(b"413 enough\r\n");
        drop(up);
        client.expect(b"413 enough\r\n");
        client.expect_end();
        proxy.ended(client, &service, "upstream/relay/reset|upstream/relay/closed");
    }
    proxy.finish();
}

/// Goal: a reader that pauses for minutes, as a person at a terminal does, is not taken for dead:
/// its kernel answers all the while.
/// Method: the upstream pours until nothing moves; after 150 seconds the client reads on.
#[test]
#[ignore = "takes three minutes; scripts/test runs it"]
fn a_reader_that_pauses() {
    let (mut proxy, service, upstream) = between();
    let client = proxy.connect(&service);
    let up = upstream.accept();
    up.set_deadline(Duration::from_secs(300));
    let size = 32 * MIB;
    let sent = thread::scope(|scope| {
        let pour = scope.spawn(|| {
            let digest = up.send_random(1, size);
            up.fin();
            digest
        });
        let_pass(Duration::from_secs(150));
        let got = client.hash_to_eof();
        (got, pour.join().unwrap())
    });
    assert_eq!(sent.0, (size, sent.1));
    drop(up);
    client.fin();
    proxy.ended(client, &service, CLOSED);
    proxy.finish();
}

/// Goal: a side that has ended in order and is then cut off, or vanishes with a RST, is noticed
/// although nothing is read from it any more, and the other side is told.
/// Method: FIN and, once it has been passed on, RST; each way.
#[test]
fn a_reset_after_an_end() {
    let (mut proxy, service, upstream) = between();
    for client_first in [true, false] {
        let client = proxy.connect(&service);
        let up = upstream.accept();
        client.send(b"a");
        up.expect(b"a");
        if client_first {
            client.fin();
            up.expect_eof();
            let outcome = client.rst();
            up.expect_silence_then_reset();
            proxy.cut(outcome, &service, "client/relay/reset");
        } else {
            up.fin();
            client.expect_eof();
            up.rst();
            client.expect_silence_then_reset();
            proxy.cut(client, &service, "upstream/relay/reset");
        }
    }
    proxy.finish();
}

/// Goal: bytes that arrive for a side that has been reset end the connection and nothing else.
/// Method: the client resets while the upstream, which has not noticed yet, sends; 100 times.
#[test]
fn data_for_a_side_that_was_reset() {
    let (mut proxy, service, upstream) = between();
    for _ in 0..100 {
        let client = proxy.connect(&service);
        let up = upstream.accept();
        client.send(b"a");
        up.expect(b"a");
        let outcome = thread::scope(|scope| {
            scope.spawn(|| while up.try_send(&[7; 5000]).is_ok() {});
            client.rst()
        });
        proxy.cut(outcome, &service, "client/relay/reset");
    }
    proxy.finish();
}

/// Goal: urgent data, which hardly anybody uses and which wakes a poll in ways of its own, stalls
/// nothing and spins nothing.
/// Method: ordinary bytes around an urgent one; the ordinary ones arrive, the urgent one may.
#[test]
fn urgent_data() {
    let (mut proxy, service, upstream) = between();
    let client = proxy.connect(&service);
    let up = upstream.accept();
    client.send(b"abc");
    client.socket().send_out_of_band(b"!").expect("urgent byte");
    client.send(b"def");
    let share = proxy.process().cpu_share(Duration::from_millis(500));
    assert!(share < 0.5, "{share} of a core for one urgent byte");
    client.fin();
    let (got, end) = up.recv_to_end();
    assert!(got == b"abcdef" || got == b"abc!def", "{}", String::from_utf8_lossy(&got));
    assert_eq!(end, End::Eof);
    drop(up);
    client.expect_eof();
    let dropped = u64::from(got.len() == 6);
    let outcome = client.outcome();
    // The harness did not count the urgent byte; the event may.
    let outcome = Outcome { sent: outcome.sent + 1 - dropped, ..outcome };
    drop(client);
    proxy.ended(outcome, &service, CLOSED);
    proxy.finish();
}

/// Goal: trickles cost nothing and lose nothing.
/// Method: 100 connections, a byte on each every 100 ms for two seconds, echoed; the processor
/// time of the proxy stays small.
#[test]
fn trickles() {
    let backend = Backend::echo();
    let service = Service::new("echo", &[backend.address]);
    let mut proxy = Proxy::start([&service]);
    let clients: Vec<Peer> = (0..100).map(|_| proxy.connect(&service)).collect();
    let before = proxy.process().cpu_ticks();
    for round in 0..20 {
        for client in &clients {
            client.send(&[round]);
        }
        for client in &clients {
            client.expect(&[round]);
        }
        let_pass(Duration::from_millis(100));
    }
    let ticks = proxy.process().cpu_ticks() - before;
    assert!(ticks < 100, "{ticks} ticks for 2,000 round trips");
    for client in clients {
        client.fin();
        client.expect_eof();
        proxy.ended(client, &service, CLOSED);
    }
    proxy.finish();
}

/// Goal: a connection that has become busy, whose readiness is told in another way from then on, ends
/// as any other, stalls at nothing and goes back to quiet ways.
/// Method: 100 questions and answers, then each end: with the last bytes, after them, by a reset, on
/// either side; urgent data; bulk and questions again.
#[test]
fn busy_streams() {
    let (mut proxy, service, upstream) = between();
    let busy = |proxy: &Proxy| {
        let client = proxy.connect(&service);
        let up = upstream.accept();
        talk(&client, &up);
        (client, up)
    };
    for _ in 0..20 {
        // The end comes with the last bytes, or after them.
        for together in [true, false] {
            let (client, up) = busy(&proxy);
            let (first, second) = if together { (&client, &up) } else { (&up, &client) };
            first.send(b"last words");
            first.fin();
            second.expect(b"last words");
            second.expect_eof();
            second.send(&[7; 3000]);
            if !together {
                first.expect(&[7; 3000]);
            }
            second.fin();
            if together {
                first.expect(&[7; 3000]);
            }
            first.expect_eof();
            proxy.ended(client, &service, CLOSED);
        }
        let (client, up) = busy(&proxy);
        let outcome = client.rst();
        up.expect_reset();
        proxy.cut(outcome, &service, "client/relay/reset");
        let (client, up) = busy(&proxy);
        up.rst();
        client.expect_reset();
        proxy.ended(client, &service, "upstream/relay/reset");
    }
    let (client, up) = busy(&proxy);
    for _ in 0..50 {
        client.send(b"abc");
        client.socket().send_out_of_band(b"!").expect("urgent byte");
        client.send(b"def");
        // The urgent byte is dropped, or comes as any other when the next one overtakes it.
        let letters = std::iter::repeat_with(|| up.recv_exact(1)[0]).filter(|byte| *byte != b'!');
        assert_eq!(letters.take(6).collect::<Vec<u8>>(), b"abcdef");
    }
    let outcome = client.rst();
    up.expect_reset();
    proxy.cut(outcome, &service, "client/relay/reset");
    let (client, up) = busy(&proxy);
    for seed in 0..3 {
        thread::scope(|scope| {
            let sent = scope.spawn(|| client.send_random(seed, 20 * MIB));
            let got = up.recv_exact(20 << 20);
            assert_eq!(Digest::of(&got), sent.join().unwrap());
        });
        talk(&client, &up);
    }
    client.fin();
    up.expect_eof();
    up.fin();
    client.expect_eof();
    proxy.ended(client, &service, CLOSED);
    proxy.finish();
}

fn talk(client: &Peer, up: &Peer) {
    for round in 0..100_u32 {
        let words = round.to_le_bytes();
        client.send(&words);
        up.expect(&words);
        up.send(&words);
        client.expect(&words);
    }
}
