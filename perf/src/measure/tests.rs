//! The tool against relays that are right, and against relays that are broken in every way it claims
//! to notice.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::thread;

use super::*;
use crate::work::Version;

mod secure;

/// What a relay does to the bytes that flow from the backend to the client, or from the client on.
#[derive(Clone, Copy, PartialEq)]
enum Fault {
    None,
    /// Loses a byte, once.
    Loses,
    /// Adds a byte, once.
    Adds,
    /// Overwrites the first bytes, which say whose they are.
    Misdirects,
    /// Closes both sides on the first bytes.
    Cuts,
    /// Takes bytes and passes none.
    Stalls,
    /// Never passes the end of a stream on.
    HidesEnd,
}

fn copy(mut from: TcpStream, mut to: TcpStream, fault: Fault) {
    let mut buffer = vec![0; 64 << 10];
    let mut first = true;
    while let Ok(count @ 1..) = from.read(&mut buffer) {
        let mut part = buffer[..count].to_vec();
        match fault {
            Fault::Loses if first => drop(part.pop()),
            Fault::Adds if first => part.push(0),
            Fault::Misdirects => part.iter_mut().take(8).for_each(|byte| *byte ^= 0xff),
            Fault::Cuts => {
                let _ = from.shutdown(Shutdown::Both);
                let _ = to.shutdown(Shutdown::Both);
                return;
            }
            Fault::Stalls => continue,
            _ => {}
        }
        first = false;
        if to.write_all(&part).is_err() {
            return;
        }
    }
    if fault != Fault::HidesEnd {
        let _ = to.shutdown(Shutdown::Write);
    } else {
        thread::sleep(std::time::Duration::from_secs(60));
    }
}

/// A relay in threads; returns where it listens and where it expects the backend.
fn relay(up: Fault, down: Fault) -> (SocketAddr, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let backend = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for client in listener.incoming().map_while(Result::ok) {
            let Ok(upstream) = TcpStream::connect(backend) else {
                continue;
            };
            let pair = (client.try_clone().unwrap(), upstream.try_clone().unwrap());
            thread::spawn(move || copy(client, upstream, up));
            thread::spawn(move || copy(pair.1, pair.0, down));
        }
    });
    (address, backend)
}

fn run(
    mode: Mode,
    direction: Direction,
    up: Fault,
    down: Fault,
) -> Result<Map<String, Value>, String> {
    let (proxy, backend) = relay(up, down);
    let work = Work { mode, conns: 4, size: 1000, direction, layer: Layer::Plain };
    measure(&setup(work, proxy, backend))
}

fn setup(work: Work, proxy: SocketAddr, backend: SocketAddr) -> Setup {
    Setup {
        work,
        seconds: 0.2,
        warmup: 0.1,
        proxy,
        backend: Some(backend),
        pids: vec![std::process::id()],
        cpus: None,
    }
}

#[test]
fn a_right_relay_passes_in_every_mode() {
    for (mode, direction) in [
        (Mode::Rr, Direction::Up),
        (Mode::Crr, Direction::Up),
        (Mode::Idle, Direction::Up),
        (Mode::Bulk, Direction::Up),
        (Mode::Bulk, Direction::Down),
    ] {
        let line = run(mode, direction, Fault::None, Fault::None);
        let line = line.unwrap_or_else(|error| panic!("{mode:?} {direction}: {error}"));
        if mode == Mode::Bulk {
            assert!(line["bytes"].as_u64().unwrap() > 1 << 20, "{line:?}");
        } else {
            assert!(line["operations"].as_u64().unwrap() >= 4, "{line:?}");
        }
    }
}

#[test]
fn every_fault_of_a_relay_is_an_error() {
    let (up, none) = (Direction::Up, Fault::None);
    for (mode, direction, there, back) in [
        (Mode::Rr, up, none, Fault::Loses),
        (Mode::Rr, up, Fault::Loses, none),
        (Mode::Rr, up, none, Fault::Adds),
        (Mode::Rr, up, none, Fault::Misdirects),
        (Mode::Rr, up, none, Fault::Cuts),
        (Mode::Rr, up, none, Fault::Stalls),
        (Mode::Crr, up, none, Fault::Loses),
        (Mode::Crr, up, none, Fault::Adds),
        (Mode::Crr, up, none, Fault::Misdirects),
        (Mode::Crr, up, none, Fault::HidesEnd),
        (Mode::Idle, up, none, Fault::Cuts),
        (Mode::Bulk, up, Fault::Loses, none),
        (Mode::Bulk, up, Fault::Adds, none),
        (Mode::Bulk, up, Fault::Cuts, none),
        (Mode::Bulk, up, Fault::Stalls, none),
        (Mode::Bulk, Direction::Down, none, Fault::Loses),
        (Mode::Bulk, Direction::Down, none, Fault::Cuts),
    ] {
        assert!(run(mode, direction, there, back).is_err(), "{mode:?} {direction} passed");
    }
}

#[test]
fn a_client_hello_goes_through_as_a_request() {
    let (proxy, backend) = relay(Fault::None, Fault::None);
    let line =
        measure(&setup(Work { conns: 4, ..Work::named("sni-crr").unwrap() }, proxy, backend));
    assert!(line.unwrap()["operations"].as_u64().unwrap() >= 4);
    let (proxy, backend) = relay(Fault::None, Fault::Misdirects);
    let work = Work { conns: 4, ..Work::named("sni-crr").unwrap() };
    assert!(measure(&setup(work, proxy, backend)).is_err(), "marks go unread");
}

#[test]
fn one_read_takes_its_time() {
    let read = one_read().unwrap();
    assert!((0.01..1000.0).contains(&read), "{read} µs");
}
