//! Version 1: one line of text (section 2.1).

use std::fmt;
use std::io::Write;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::ops::Deref;
use std::str::FromStr;

use super::{Begins, Header, Pair, Refusal, begins};
use crate::config::limits::PROXY_LINE_BYTES_MAX;

/// What begins with these is version 1 or nothing.
pub(super) const SIGNATURE: &[u8] = b"PROXY";

/// How a line may begin.
const STARTS: [&[u8]; 4] =
    [b"PROXY TCP4 ", b"PROXY TCP6 ", b"PROXY UNKNOWN\r\n", b"PROXY UNKNOWN "];

/// Refuses what can become no line, as far as its first words tell.
pub(super) fn check_start(bytes: &[u8]) -> Result<(), Refusal> {
    if STARTS.iter().all(|start| begins(bytes, start) == Begins::No) {
        return Err(Refusal::Malformed);
    }
    Ok(())
}

/// Reads a whole line, without its CRLF, that begins as one may.
pub(super) fn read(line: &[u8]) -> Result<Header, Refusal> {
    let mut words = line.split(|byte| *byte == b' ').skip(1);
    let addresses = match words.next() {
        Some(b"TCP4") => Some(addresses::<Ipv4Addr>(words).ok_or(Refusal::Malformed)?),
        Some(b"TCP6") => Some(addresses::<Ipv6Addr>(words).ok_or(Refusal::Malformed)?),
        // `UNKNOWN`: the rest must be ignored.
        _ => None,
    };
    Ok(Header {
        source: addresses.map(|(source, _)| source),
        destination: addresses.map(|(_, destination)| destination),
        length: line.len() + 2,
        ..Header::default()
    })
}

/// Reads the two addresses and the two ports that end a line.
fn addresses<'a, T: FromStr + Into<IpAddr>>(
    mut words: impl Iterator<Item = &'a [u8]>,
) -> Option<(SocketAddr, SocketAddr)> {
    // What `std` takes is what the specification does: no leading zeros in IPv4, no scopes in IPv6.
    // It also takes the last 32 bits of IPv6 as IPv4, which is how senders write mapped addresses.
    let mut address = || text(words.next()?)?.parse::<T>().ok();
    let (source, destination) = (address()?, address()?);
    let (source_port, destination_port) = (port(words.next()?)?, port(words.next()?)?);
    let last = words.next().is_none();
    last.then(|| {
        (
            SocketAddr::new(source.into(), source_port),
            SocketAddr::new(destination.into(), destination_port),
        )
    })
}

fn port(word: &[u8]) -> Option<u16> {
    match word {
        [b'0'] => Some(0),
        [b'1'..=b'9', ..] => text(word)?.parse().ok(),
        _ => None,
    }
}

fn text(word: &[u8]) -> Option<&str> {
    std::str::from_utf8(word).ok()
}

/// A line, to be sent at once and before anything else.
#[derive(Clone, PartialEq, Eq)]
pub struct Line {
    bytes: [u8; PROXY_LINE_BYTES_MAX],
    length: usize,
}

impl Deref for Line {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.bytes.get(..self.length).unwrap_or_default()
    }
}

impl fmt::Debug for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}\"", self.escape_ascii())
    }
}

/// Tells a client's address and the one that it connected to; `UNKNOWN` if either is not known. For a
/// health check these are the addresses of its own connection, since some receivers refuse `UNKNOWN`.
pub fn write_v1(source: Option<SocketAddr>, destination: Option<SocketAddr>) -> Line {
    let mut bytes = [0; PROXY_LINE_BYTES_MAX];
    let mut free = bytes.as_mut_slice();
    let written = match Pair::new(source, destination) {
        None => write!(free, "PROXY UNKNOWN\r\n"),
        Some(Pair::V4(from, to)) => {
            let (from_port, to_port) = (from.port(), to.port());
            write!(free, "PROXY TCP4 {} {} {from_port} {to_port}\r\n", from.ip(), to.ip())
        }
        Some(Pair::V6(from, to)) => {
            let (from_port, to_port) = (from.port(), to.port());
            let (from, to) = (Groups(*from.ip()), Groups(*to.ip()));
            write!(free, "PROXY TCP6 {from} {to} {from_port} {to_port}\r\n")
        }
    };
    debug_assert!(written.is_ok(), "the longest has 104 bytes");
    let length = PROXY_LINE_BYTES_MAX - free.len();
    Line { bytes, length }
}

/// An address in groups of hexadecimal digits only: the specification knows no other form, and `std`
/// writes mapped ones with dots.
struct Groups(Ipv6Addr);

impl fmt::Display for Groups {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.segments() {
            [0, 0, 0, 0, 0, 0xffff, high, low] => write!(f, "::ffff:{high:x}:{low:x}"),
            _ => write!(f, "{}", self.0),
        }
    }
}
