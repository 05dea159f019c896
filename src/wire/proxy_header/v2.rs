//! Version 2: a binary header (section 2.2).

use std::net::{IpAddr, SocketAddr};

use super::{Header, Pair, Refusal, Tlvs, TooLarge, tlv};
use crate::config::limits::PROXY_HEADER_BYTES_MAX;

/// What begins with these is version 2 or nothing.
pub(super) const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

/// Length of what comes before the addresses: signature, command, family, length of the rest.
const FIXED: usize = 16;
/// Version 2 and the command `LOCAL`.
const COMMAND_LOCAL: u8 = 0x20;
/// Version 2 and the command `PROXY`.
const COMMAND_PROXY: u8 = 0x21;
/// No known family, no known transport.
const UNSPEC: u8 = 0x00;
/// TCP over IPv4.
const TCP4: u8 = 0x11;
/// TCP over IPv6.
const TCP6: u8 = 0x21;
/// A stream over a Unix socket.
const UNIX_STREAM: u8 = 0x31;

/// Length of a Unix address, in bytes.
pub const UNIX_BYTES: usize = 108;

/// What a sender says of a connection of its own, as for a health check.
pub const LOCAL: [u8; FIXED] = *b"\r\n\r\n\0\r\nQUIT\n\x20\x00\x00\x00";

/// Addresses of a connection over a Unix socket, as in `sun_path`: a path up to its first NUL, an
/// abstract name after one, or nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unix {
    /// The client's; clients rarely have one.
    pub source: [u8; UNIX_BYTES],
    /// The address that the client connected to.
    pub destination: [u8; UNIX_BYTES],
}

/// Reads what begins with the signature. Nothing is kept between calls: until the last byte is there,
/// only the fixed part is looked at.
pub(super) fn read(bytes: &[u8]) -> Result<Option<Header>, Refusal> {
    let mut fixed = bytes.iter().copied().skip(SIGNATURE.len());
    let Some(command) = fixed.next() else { return Ok(None) };
    let local = match command {
        COMMAND_LOCAL => true,
        COMMAND_PROXY => false,
        _ => return Err(Refusal::Unassigned),
    };
    let Some(kind) = fixed.next() else { return Ok(None) };
    let (addresses, told) = match addresses(kind) {
        Some(found) => found,
        // The family of what is local is ignored.
        None if local => (0, false),
        None => return Err(Refusal::Unassigned),
    };
    let told = told && !local;
    let (Some(high), Some(low)) = (fixed.next(), fixed.next()) else { return Ok(None) };
    let length = FIXED + usize::from(u16::from_be_bytes([high, low]));
    if length > PROXY_HEADER_BYTES_MAX {
        return Err(Refusal::TooLarge);
    }
    if told && length < FIXED + addresses {
        return Err(Refusal::Malformed);
    }
    let Some(whole) = bytes.get(..length) else { return Ok(None) };

    let tlvs = match tlv::read(whole, FIXED + addresses) {
        // Nobody can say where addresses end whose family or transport is not told; they are ignored.
        Err(Refusal::Malformed) if !told => Tlvs::default(),
        tlvs => tlvs?,
    };
    let mut header = Header { local, length, ..Header::default() };
    if local {
        // Nothing that it says counts, though a checksum that is not its own was refused above.
        return Ok(Some(header));
    }
    header.tlvs = tlvs;
    let block = whole.get(FIXED..).unwrap_or_default();
    let pair = match kind {
        TCP4 => inet::<4>(block),
        TCP6 => inet::<16>(block),
        UNIX_STREAM => {
            header.unix = unix(block).map(Box::new);
            None
        }
        // What is told of datagrams is no TCP client. The specification has a receiver that does not
        // know a valid combination fall back to UNSPEC, and UNSPEC may be taken with the connection's
        // own addresses: nothing wrong is believed, and no connection is lost.
        _ => None,
    };
    (header.source, header.destination) = pair.unzip();
    Ok(Some(header))
}

/// The length of the addresses of a family and transport, and whether both are told; None if either
/// is not assigned.
fn addresses(kind: u8) -> Option<(usize, bool)> {
    let (family, transport) = (kind >> 4, kind & 0x0f);
    let length = match family {
        0 => 0,
        1 => 2 * 4 + 2 * 2,
        2 => 2 * 16 + 2 * 2,
        3 => 2 * UNIX_BYTES,
        _ => return None,
    };
    (transport <= 2).then_some((length, family != 0 && transport != 0))
}

/// Reads two IP addresses, then two ports.
fn inet<const N: usize>(block: &[u8]) -> Option<(SocketAddr, SocketAddr)>
where
    IpAddr: From<[u8; N]>,
{
    let (source, rest) = block.split_first_chunk::<N>()?;
    let (destination, rest) = rest.split_first_chunk::<N>()?;
    let (source_port, rest) = rest.split_first_chunk()?;
    let (destination_port, _) = rest.split_first_chunk()?;
    let address =
        |ip: &[u8; N], port: &[u8; 2]| SocketAddr::new((*ip).into(), u16::from_be_bytes(*port));
    Some((address(source, source_port), address(destination, destination_port)))
}

fn unix(block: &[u8]) -> Option<Unix> {
    let (source, rest) = block.split_first_chunk()?;
    let (destination, _) = rest.split_first_chunk()?;
    Some(Unix { source: *source, destination: *destination })
}

/// What is told of a client.
#[derive(Debug, Clone, Copy)]
pub struct Outgoing<'a> {
    /// The client's address; None for a client that came by a Unix socket.
    pub source: Option<SocketAddr>,
    /// The address that the client connected to.
    pub destination: Option<SocketAddr>,
    /// What else is told.
    pub tlvs: &'a Tlvs,
    /// Whether a CRC32C is added.
    pub checksum: bool,
}

/// Tells of a client, to be sent at once and before anything else; `UNSPEC` if either address is not
/// known.
pub fn write_v2(outgoing: &Outgoing<'_>) -> Result<Vec<u8>, TooLarge> {
    let mut body = Vec::new();
    let kind = match Pair::new(outgoing.source, outgoing.destination) {
        None => UNSPEC,
        Some(Pair::V4(source, destination)) => {
            body.extend_from_slice(&source.ip().octets());
            body.extend_from_slice(&destination.ip().octets());
            body.extend_from_slice(&source.port().to_be_bytes());
            body.extend_from_slice(&destination.port().to_be_bytes());
            TCP4
        }
        Some(Pair::V6(source, destination)) => {
            body.extend_from_slice(&source.ip().octets());
            body.extend_from_slice(&destination.ip().octets());
            body.extend_from_slice(&source.port().to_be_bytes());
            body.extend_from_slice(&destination.port().to_be_bytes());
            TCP6
        }
    };
    tlv::write(outgoing.tlvs, &mut body)?;
    if outgoing.checksum {
        tlv::write_unsummed(&mut body);
    }
    if FIXED + body.len() > PROXY_HEADER_BYTES_MAX {
        return Err(TooLarge);
    }
    let length = u16::try_from(body.len()).map_err(|_| TooLarge)?;
    let mut whole = [SIGNATURE, &[COMMAND_PROXY, kind], &length.to_be_bytes(), &body].concat();
    if outgoing.checksum {
        tlv::sum(&mut whole);
    }
    Ok(whole)
}
