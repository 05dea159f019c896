//! The PROXY protocol, versions 1 and 2: who the client is, told by a proxy before the client's first
//! byte. Read and written as its specification says (HAProxy's `doc/proxy-protocol.txt`, to whose
//! sections these notes refer).
//!
//! As with a ClientHello, the caller shows all it received each time, and every answer depends on
//! the bytes alone. Version 1 is in `v1.rs`, version 2 in `v2.rs`, its type-length-values in `tlv.rs`.

use std::net::{SocketAddr, SocketAddrV4, SocketAddrV6};

use crate::config::limits::{PROXY_HEADER_BYTES_MAX, PROXY_LINE_BYTES_MAX};

#[cfg(test)]
mod tests;
mod tlv;
mod v1;
mod v2;

pub use tlv::{CLIENT_CERT_CONN, CLIENT_CERT_SESS, CLIENT_SSL, Others, Ssl, Tlvs, Value};
pub use v1::{Line, write_v1};
pub use v2::{LOCAL, Outgoing, UNIX_BYTES, Unix, write_v2};

/// What the bytes amount to so far.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Progress {
    /// Not enough yet.
    More,
    /// A whole header.
    Header(Header),
    /// No header begins like this, so there is none. Only a sender that is trusted may choose to send
    /// none: the specification forbids to guess (sections 2 and 5).
    Absent,
    /// A header that must not be taken, whatever may follow.
    Refused(Refusal),
}

/// Why a header is not taken. The connection must end with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// Broken.
    Malformed,
    /// A version, command, address family or transport that the specification does not assign.
    Unassigned,
    /// Longer than [`PROXY_LINE_BYTES_MAX`] or [`PROXY_HEADER_BYTES_MAX`].
    TooLarge,
    /// Its CRC32C is another one than it says.
    BadChecksum,
}

impl Refusal {
    /// What is wrong, for people.
    pub fn text(self) -> &'static str {
        match self {
            Self::Malformed => "the PROXY header breaks the rules of its format",
            Self::Unassigned => {
                "the PROXY header has a version, command, address family or transport that is not \
                 assigned"
            }
            Self::TooLarge => "the PROXY header is too large",
            Self::BadChecksum => "the PROXY header has another checksum than it says",
        }
    }
}

/// More than [`PROXY_HEADER_BYTES_MAX`], or a unique ID that is too long. It is not written at all: a
/// receiver might take what was left out for what is not so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TooLarge;

/// Who the client is, as a proxy tells.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Header {
    /// The client's address. None if the connection's own addresses count: with `local`, and where the
    /// sender tells none or none of TCP.
    pub source: Option<SocketAddr>,
    /// The address that the client connected to; there exactly if `source` is.
    pub destination: Option<SocketAddr>,
    /// The addresses of a client that came by a Unix socket.
    pub unix: Option<Box<Unix>>,
    /// The sender speaks for itself (`LOCAL`), as for a health check. HAProxy says so also of clients
    /// that came by a Unix socket.
    pub local: bool,
    /// What else the sender tells: nothing in version 1 and with `local`.
    pub tlvs: Tlvs,
    /// How many of the bytes shown are the header. The client's own follow.
    pub length: usize,
}

/// How far a header has been read.
#[derive(Debug, Clone, Default)]
pub struct Reader {
    /// Bytes of a line looked at.
    at: usize,
    /// How often anything was done, to show that work is linear.
    #[cfg(test)]
    steps: usize,
}

impl Reader {
    /// Reads on. `bytes` is all that was received so far, from the first byte on. Refuses as soon as
    /// that is certain, but looks at addresses only when the whole header is there, as the
    /// specification demands. Asked again after that, says the same.
    pub fn read(&mut self, bytes: &[u8]) -> Progress {
        let answer = match (begins(bytes, v1::SIGNATURE), begins(bytes, v2::SIGNATURE)) {
            (Begins::Yes, _) => self.line(bytes.get(..PROXY_LINE_BYTES_MAX).unwrap_or(bytes)),
            (_, Begins::Yes) => v2::read(bytes),
            (Begins::No, Begins::No) => return Progress::Absent,
            _ => Ok(None),
        };
        match answer {
            Ok(Some(header)) => Progress::Header(header),
            Ok(None) => Progress::More,
            Err(refusal) => Progress::Refused(refusal),
        }
    }

    /// Looks for the end of a line of version 1. A CR or LF alone never ends it, and never stands within
    /// it: other readers may end there.
    fn line(&mut self, window: &[u8]) -> Result<Option<Header>, Refusal> {
        v1::check_start(window)?;
        let ahead = window.get(self.at..).unwrap_or_default();
        let end = ahead.iter().position(|byte| matches!(byte, b'\r' | b'\n'));
        #[cfg(test)]
        {
            self.steps += 1 + end.unwrap_or(ahead.len());
        }
        self.at += end.unwrap_or(ahead.len());
        let (line, end) = window.split_at_checked(self.at).unwrap_or_default();
        match end {
            [b'\r', b'\n', ..] => v1::read(line).map(Some),
            [] | [b'\r'] if window.len() == PROXY_LINE_BYTES_MAX => Err(Refusal::TooLarge),
            [] | [b'\r'] => Ok(None),
            _ => Err(Refusal::Malformed),
        }
    }
}

/// Whether bytes begin with a whole signature: a header has begun, or something that must not be taken.
pub fn has_begun(bytes: &[u8]) -> bool {
    [v1::SIGNATURE, v2::SIGNATURE].iter().any(|signature| bytes.starts_with(signature))
}

/// Whether bytes begin with a signature; `Perhaps` if they are too few to tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Begins {
    Yes,
    Perhaps,
    No,
}

fn begins(bytes: &[u8], signature: &[u8]) -> Begins {
    if bytes.starts_with(signature) {
        Begins::Yes
    } else if signature.starts_with(bytes) {
        Begins::Perhaps
    } else {
        Begins::No
    }
}

/// The addresses of a client over TCP, of one family, as a header names them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Pair {
    V4(SocketAddrV4, SocketAddrV4),
    V6(SocketAddrV6, SocketAddrV6),
}

impl Pair {
    /// None if either address is unknown. An IPv4 client of a socket for both families is an IPv4
    /// client; where families are mixed, IPv4 addresses are mapped to IPv6, as HAProxy does.
    fn new(source: Option<SocketAddr>, destination: Option<SocketAddr>) -> Option<Self> {
        Some(match (canonical(source?), canonical(destination?)) {
            (SocketAddr::V4(source), SocketAddr::V4(destination)) => Self::V4(source, destination),
            (source, destination) => Self::V6(v6(source), v6(destination)),
        })
    }
}

/// An address without what only this machine knows of it, and of IPv4 if it is mapped.
fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

fn v6(address: SocketAddr) -> SocketAddrV6 {
    match address {
        SocketAddr::V4(v4) => SocketAddrV6::new(v4.ip().to_ipv6_mapped(), v4.port(), 0, 0),
        SocketAddr::V6(v6) => v6,
    }
}

/// For fuzzing: what holds for all bytes.
#[doc(hidden)]
pub fn fuzz(bytes: &[u8]) {
    let header = match super::however_cut(bytes, &Progress::More, Reader::read) {
        Progress::Header(header) => header,
        Progress::More => return assert!(bytes.len() < PROXY_HEADER_BYTES_MAX, "bounded"),
        Progress::Absent | Progress::Refused(_) => return,
    };
    assert!(header.length <= bytes.len().min(PROXY_HEADER_BYTES_MAX), "covers what it was shown");
    assert_eq!(header.source.is_some(), header.destination.is_some(), "both or none");

    let again = |bytes: &[u8]| match Reader::default().read(bytes) {
        Progress::Header(header) => Some(as_canonical(header)),
        _ => None,
    };
    let (source, destination) = (header.source, header.destination);
    let tlvs = &header.tlvs;
    for checksum in [false, true] {
        if let Ok(whole) = write_v2(&Outgoing { source, destination, tlvs, checksum }) {
            let told = Header { unix: None, local: false, length: whole.len(), ..header.clone() };
            assert_eq!(again(&whole), Some(as_canonical(told)), "read, written and read again");
        } else {
            let with = header.length + if checksum { 7 } else { 0 };
            assert!(with > PROXY_HEADER_BYTES_MAX, "what was read can be written");
        }
    }
    let line = write_v1(source, destination);
    let told = Header { source, destination, length: line.len(), ..Header::default() };
    assert_eq!(again(&line), Some(as_canonical(told)), "read, written and read again");
}

/// For fuzzing: a header with its addresses as they are written.
fn as_canonical(header: Header) -> Header {
    Header {
        source: header.source.map(canonical),
        destination: header.destination.map(canonical),
        ..header
    }
}
