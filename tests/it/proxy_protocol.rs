//! The PROXY protocol on the path: who the client is, as told before the first byte, to us and by us.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicU16, Ordering};

use serde_json::{Value, json};

use crate::support::config::Service;
use crate::support::peer::{Outcome, Peer};
use crate::support::ports::loopback;
use crate::support::process::unread_by;
use crate::support::wait::{SOON, wait_until};

mod first_bytes;
mod pieces;
mod programs;
mod received;
mod sent;
mod tlvs;

const CLOSED: &str = "*/relay/closed";
const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
const TCP4: u8 = 0x11;
const TCP6: u8 = 0x21;

/// `proxyProtocol` of a service that takes headers from these.
fn taking(accept: &str, trusted: &[&str]) -> Value {
    json!({ "accept": accept, "trusted": trusted })
}

/// A client's port that nothing on this machine has, another one each time: what is told there, and
/// what a test finds the event by.
fn told_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(1);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

/// Version 1: a client at 192.0.2.7 that connected to 198.51.100.9:5432.
fn line(port: u16) -> Vec<u8> {
    format!("PROXY TCP4 192.0.2.7 198.51.100.9 {port} 5432\r\n").into_bytes()
}

/// Version 2, of a client.
fn header(kind: u8, addresses: &[u8], tlvs: &[(u8, &[u8])]) -> Vec<u8> {
    command(0x21, kind, addresses, tlvs)
}

fn command(command: u8, kind: u8, addresses: &[u8], tlvs: &[(u8, &[u8])]) -> Vec<u8> {
    let mut body = addresses.to_vec();
    for (kind, value) in tlvs {
        body.push(*kind);
        body.extend_from_slice(&u16::try_from(value.len()).unwrap().to_be_bytes());
        body.extend_from_slice(value);
    }
    let length = u16::try_from(body.len()).unwrap().to_be_bytes();
    [SIGNATURE, &[command, kind], &length, &body].concat()
}

/// The addresses of [`line`].
fn four(port: u16) -> Vec<u8> {
    let [high, low] = port.to_be_bytes();
    vec![192, 0, 2, 7, 198, 51, 100, 9, high, low, 0x15, 0x38]
}

/// The same in clothes of IPv6.
fn mapped(port: u16) -> Vec<u8> {
    let mut addresses = vec![0; 10];
    addresses.extend([255, 255, 192, 0, 2, 7]);
    addresses.extend([0; 10]);
    addresses.extend([255, 255, 198, 51, 100, 9]);
    addresses.extend(port.to_be_bytes());
    addresses.extend(5432_u16.to_be_bytes());
    addresses
}

/// What the event counts of a client that was told of: not its header, and another port.
fn as_told(outcome: impl Into<Outcome>, port: u16, header: usize) -> Outcome {
    let outcome = outcome.into();
    Outcome { port, sent: outcome.sent - header as u64, ..outcome }
}

/// Connects from another loopback address.
fn connect_from(ip: Ipv4Addr, service: &Service) -> Peer {
    let bind = |socket: &socket2::Socket| socket.bind(&SocketAddr::from((ip, 0)).into());
    Peer::try_connect_with(service.address, bind).expect("connect")
}

/// Waits until the proxy has read all that this client has sent: the kernel's queue on its side is
/// empty.
fn wait_until_read(client: &Peer, service: &Service) {
    wait_until("the proxy to read", SOON, || {
        unread_by(service.address, loopback(client.port())) == Some(0)
    });
}
