//! Many short connections: a byte reaches only the peer of its own connection, in order, once;
//! and nothing is left of any of them.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use socket2::{Domain, SockRef, Socket, Type};

use crate::support::backend::listen;
use crate::support::config::Service;
use crate::support::data::Random;
use crate::support::heavy;
use crate::support::ports::{free_port, loopback};
use crate::support::proxy::Proxy;
use crate::support::wait::{SOON, wait_until};

const CONNECTIONS: u64 = 50_000;
const CLIENTS: u64 = 12;
/// More than the clients, so that an aborted connection that is not closed yet holds nobody up.
const ECHOERS: usize = 32;

/// Goal: the first promise. With descriptors reused at once and connections cut at random
/// moments, no byte of one connection ever shows up in another.
/// Method: 50,000 connections, each filled with its own number in both directions and checked at
/// the client and at the upstream; one in five is reset by the client at a random moment, one in
/// ten by the upstream. One event for each; no descriptor, no memory left. `SEED=` replays.
#[test]
fn every_byte_carries_the_number_of_its_connection() {
    let _alone = heavy();
    let seed = Random::seed();
    println!("SEED={seed}");
    let upstream = Upstream::start();
    let service = Service::new("churn", &[loopback(upstream.port)]);
    let mut proxy = Proxy::start([&service]);

    let next = AtomicU64::new(1);
    let whole = AtomicUsize::new(0);
    thread::scope(|scope| {
        for worker in 0..CLIENTS {
            let (next, whole, service) = (&next, &whole, &service);
            scope.spawn(move || {
                let mut random = Random::new(seed ^ (worker << 40));
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number > CONNECTIONS {
                        return;
                    }
                    if one(service, number, worker, &mut random) {
                        whole.fetch_add(1, Ordering::Relaxed);
                    }
                }
            });
        }
    });
    let whole = whole.into_inner();
    let total = usize::try_from(CONNECTIONS).unwrap();
    assert!(whole > total / 2 && whole < total, "{whole} of {total} ran to their end");
    upstream.check();
    // Every connection that ran to its end is reported so; of those cut, each is reported by what
    // the proxy saw first: that depends on the moment.
    proxy.ended_between(whole, total, "*/relay/closed");
    proxy.ended_between(0, total - whole, "client/*/*|upstream/*/reset");
    // The file has those of other services too.
    let reported = || {
        let text = std::fs::read_to_string(proxy.events_file()).unwrap_or_default();
        text.lines().filter(|line| line.contains(r#""@serviceId":"churn""#)).count()
    };
    wait_until("an event for each connection", SOON * 2, || reported() >= total);
    assert_eq!(reported(), total);
    proxy.finish();
}

/// Goal: the same for bulk, whose bytes wait in pipes that are lent from one connection to the next.
/// Method: 600 connections of up to 4 MiB each way, filled with their own number; two in three are
/// cut by the client or the upstream while both directions are full; every byte that arrives anywhere
/// is checked.
#[test]
fn no_byte_stays_behind_in_a_pipe() {
    let _alone = heavy();
    let seed = Random::seed();
    println!("SEED={seed}");
    let upstream = Upstream::start();
    let service = Service::new("churn", &[loopback(upstream.port)]);
    let mut proxy = Proxy::start([&service]);
    let next = AtomicU64::new(1);
    thread::scope(|scope| {
        for worker in 0..8 {
            let (next, service) = (&next, &service);
            scope.spawn(move || {
                let mut random = Random::new(seed ^ (worker << 40));
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number > 600 {
                        return;
                    }
                    bulk(service, number, &mut random);
                }
            });
        }
    });
    upstream.check();
    proxy.ended_many(600, "*/relay/closed|*/relay/reset");
    wait_until("an event for each connection", SOON, || {
        crate::support::events::count(&proxy.events_file()) >= 600
    });
    let spliced = proxy.events().iter().filter(|event| event.text("relay") == "splice").count();
    assert!(spliced > 200, "{spliced} of 600 went through a pipe");
    proxy.finish();
}

fn bulk(service: &Service, number: u64, random: &mut Random) {
    let stream = TcpStream::connect(service.address).expect("connect");
    stream.set_read_timeout(Some(SOON)).unwrap();
    stream.set_write_timeout(Some(SOON)).unwrap();
    let cut = random.below(3);
    let tag = ((1 << 63) | (number << 1) | u64::from(cut == 2)).to_be_bytes();
    let size = 8 * (1 + random.below(512 * 1024));
    let data = tag.repeat(usize::try_from(size / 8).unwrap());
    // Where the client cuts: a moment at which both directions are likely to be full.
    let most = usize::try_from(random.below(size)).unwrap();
    let (mut sending, mut receiving) = (&stream, &stream);
    thread::scope(|scope| {
        scope.spawn(move || {
            if sending.write_all(&data).is_ok() && cut != 1 {
                let _ = sending.shutdown(std::net::Shutdown::Write);
            }
        });
        let mut seen = 0;
        let mut buffer = vec![0; 64 * 1024];
        loop {
            if cut == 1 && seen >= most {
                SockRef::from(receiving).set_linger(Some(Duration::ZERO)).unwrap();
                let _ = receiving.shutdown(std::net::Shutdown::Both);
                return;
            }
            match receiving.read(&mut buffer) {
                Ok(0) => {
                    assert!(
                        cut != 0 || seen as u64 == size,
                        "{seen} of {size} bytes, then the end"
                    );
                    return;
                }
                Ok(count) => {
                    for (index, byte) in buffer[..count].iter().enumerate() {
                        assert_eq!(*byte, tag[(seen + index) % 8], "a byte of another connection");
                    }
                    seen += count;
                }
                Err(error) => {
                    assert!(cut != 0, "after {seen} of {size} bytes: {error}");
                    return;
                }
            }
        }
    });
}

/// One connection; true if it ran to its end, every byte checked.
fn one(service: &Service, number: u64, worker: u64, random: &mut Random) -> bool {
    // A source address of its own for each worker, so that the ports do not run out.
    let source = Ipv4Addr::new(127, 0, 1, u8::try_from(worker + 1).unwrap());
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("socket");
    socket.bind(&SocketAddr::from((source, 0)).into()).expect("bind");
    socket.connect_timeout(&service.address.into(), SOON).expect("connect");
    let mut stream: TcpStream = socket.into();
    stream.set_read_timeout(Some(SOON)).unwrap();
    stream.set_write_timeout(Some(SOON)).unwrap();

    // The lowest bits tell the upstream whether to cut the connection itself.
    let upstream_cuts = random.below(10) == 0;
    let client_cuts = !upstream_cuts && random.below(5) == 0;
    let tag = (number << 1) | u64::from(upstream_cuts);
    let repeats = 1 + usize::try_from(random.below(64)).unwrap();
    let data = tag.to_be_bytes().repeat(repeats);
    if client_cuts {
        let most = random.below(data.len() as u64 + 1);
        let part = &data[..usize::try_from(most).unwrap()];
        let _ = stream.write_all(part);
        if random.below(2) == 0 && part.len() >= 8 {
            let mut first = [0; 8];
            stream.read_exact(&mut first).expect("the first echo");
            assert_eq!(first, tag.to_be_bytes(), "bytes of another connection");
        }
        SockRef::from(&stream).set_linger(Some(Duration::ZERO)).unwrap();
        return false;
    }
    let written = stream.write_all(&data);
    if upstream_cuts {
        let mut got = Vec::new();
        let _ = stream.read_to_end(&mut got);
        assert!(got == data[..got.len()], "bytes of another connection");
        return false;
    }
    written.expect("write");
    let mut got = vec![0; data.len()];
    if let Err(error) = stream.read_exact(&mut got) {
        panic!("connection {number}: {error}");
    }
    assert!(got == data, "connection {number} got bytes that it did not send");
    stream.shutdown(std::net::Shutdown::Write).expect("shutdown");
    let rest = stream.read(&mut [0; 8]).expect("the end");
    assert_eq!(rest, 0, "bytes after the end of connection {number}");
    true
}

/// An echo served by a fixed set of threads, which checks that all bytes of a connection carry
/// one number.
struct Upstream {
    port: u16,
    listener: TcpListener,
    state: Arc<State>,
    threads: Vec<thread::JoinHandle<()>>,
}

#[derive(Default)]
struct State {
    stopping: AtomicBool,
    mixed: AtomicUsize,
}

impl Upstream {
    fn start() -> Upstream {
        let port = free_port();
        let listener = listen(loopback(port), 4096).expect("listen");
        let state: Arc<State> = Arc::default();
        let threads = (0..ECHOERS)
            .map(|_| {
                let listener = listener.try_clone().unwrap();
                let state = Arc::clone(&state);
                thread::spawn(move || {
                    while !state.stopping.load(Ordering::SeqCst) {
                        if let Ok((stream, _)) = listener.accept() {
                            echo(stream, &state);
                        }
                    }
                })
            })
            .collect();
        Upstream { port, listener, state, threads }
    }

    fn check(&self) {
        let mixed = self.state.mixed.load(Ordering::SeqCst);
        assert_eq!(mixed, 0, "connections that brought the upstream bytes of two clients");
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        self.state.stopping.store(true, Ordering::SeqCst);
        let _ = SockRef::from(&self.listener).shutdown(std::net::Shutdown::Both);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

fn echo(mut stream: TcpStream, state: &State) {
    let _ = stream.set_nodelay(true);
    let _ = stream.set_read_timeout(Some(SOON));
    let _ = stream.set_write_timeout(Some(SOON));
    let mut tag = Vec::new();
    let mut seen = 0_usize;
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let count = match stream.read(&mut buffer) {
            Ok(0) | Err(_) => return,
            Ok(count) => count,
        };
        for byte in &buffer[..count] {
            if tag.len() < 8 {
                tag.push(*byte);
            } else if tag[seen % 8] != *byte {
                state.mixed.fetch_add(1, Ordering::SeqCst);
                return;
            }
            seen += 1;
        }
        let cut = tag.len() == 8 && tag[7] & 1 == 1;
        // A bulk transfer says so, and is cut later, at a place that differs from one to the next.
        let bulk = cut && tag[0] & 0x80 != 0;
        if cut && (!bulk || seen >= usize::from(tag[7] >> 1) * 16 * 1024) {
            let _ = stream.write_all(&buffer[..count.min(8)]);
            let _ = SockRef::from(&stream).set_linger(Some(Duration::ZERO));
            return;
        }
        if stream.write_all(&buffer[..count]).is_err() {
            return;
        }
    }
}
