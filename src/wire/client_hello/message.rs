//! The ClientHello as one handshake message (RFC 8446 §4.1.2). tls-parser reads its fixed part and
//! leaves the extensions as bytes; they are read here, because it drops what is left over in a
//! list. Every length must end exactly where what holds it ends.

use tls_parser::{TlsVersion, parse_tls_handshake_client_hello};

use super::{Hello, MESSAGE_HEADER, Refusal, TLS13};
use crate::wire::name;

/// `server_name` (RFC 6066 §3).
const SERVER_NAME: u16 = 0;
/// `application_layer_protocol_negotiation` (RFC 7301 §3.1).
const ALPN: u16 = 16;
/// `supported_versions` (RFC 8446 §4.2.1).
const SUPPORTED_VERSIONS: u16 = 43;
/// `encrypted_client_hello` (RFC 9849 §5).
const ECH: u16 = 0xfe0d;
/// `TLS_FALLBACK_SCSV` (RFC 7507 §2).
const FALLBACK_SCSV: u16 = 0x5600;
/// The name type of host names, the only one there is.
const HOST_NAME: u8 = 0;

/// A list or a number that does not fit where it stands.
struct Malformed;

impl From<Malformed> for Refusal {
    fn from(_: Malformed) -> Self {
        Self::Malformed
    }
}

/// Reads a whole message with its header. `length` is what its records cover.
pub(super) fn read(message: &[u8], length: usize) -> Result<Hello, Refusal> {
    let body = message.get(MESSAGE_HEADER..).ok_or(Malformed)?;
    // It takes broken extensions for none, and leaves them over.
    let (rest, fixed) = parse_tls_handshake_client_hello(body).map_err(|_| Malformed)?;
    let sound = rest.is_empty()
        && !fixed.ciphers.is_empty()
        && !fixed.comp.is_empty()
        && fixed.version.0 >= TlsVersion::Ssl30.0;
    if !sound {
        return Err(Refusal::Malformed);
    }
    let mut hello = Hello {
        server_name: None,
        alpn: Vec::new(),
        // Later versions are offered by the extension only (RFC 8446 §4.1.2).
        version: Some(fixed.version.0.min(TLS13 - 1)),
        ech: false,
        fallback: fixed.ciphers.iter().any(|suite| suite.0 == FALLBACK_SCSV),
        length,
    };
    extensions(fixed.ext.unwrap_or_default(), &mut hello)?;
    Ok(hello)
}

/// Reads the extensions; none may come twice (RFC 8446 §4.2).
fn extensions(bytes: &[u8], hello: &mut Hello) -> Result<(), Malformed> {
    let mut seen = Vec::new();
    let mut list = Cursor(bytes);
    while !list.is_empty() {
        let kind = list.u16()?;
        let body = list.list16()?;
        match kind {
            SERVER_NAME => hello.server_name = server_name(body)?,
            ALPN => hello.alpn = alpn(body)?,
            SUPPORTED_VERSIONS => hello.version = versions(body)?,
            ECH => hello.ech = true,
            _ => {}
        }
        seen.push(kind);
    }
    // Sorted: a hello may have 16,000 of them.
    seen.sort_unstable();
    let twice = seen.iter().zip(seen.iter().skip(1)).any(|(one, next)| one == next);
    if twice { Err(Malformed) } else { Ok(()) }
}

/// Reads `ServerNameList`. Of the types of names only one is known; others are skipped by the length
/// they must have, and more than one of a type is forbidden (RFC 6066 §3).
fn server_name(body: &[u8]) -> Result<Option<Box<str>>, Malformed> {
    let mut list = Cursor(Cursor(body).whole16()?);
    let mut host = None;
    while !list.is_empty() {
        let kind = list.u8()?;
        let name = list.list16()?;
        if kind == HOST_NAME && host.replace(name).is_some() {
            return Err(Malformed);
        }
    }
    match host {
        Some(bytes) => name::normalise(bytes).map_err(|_| Malformed),
        None => Ok(None),
    }
}

/// Reads `ProtocolNameList`.
fn alpn(body: &[u8]) -> Result<Vec<Box<[u8]>>, Malformed> {
    let mut list = Cursor(Cursor(body).whole16()?);
    let mut protocols = Vec::new();
    while !list.is_empty() {
        let length = list.u8()?;
        match list.take(usize::from(length))? {
            [] => return Err(Malformed),
            [high, low] if is_grease(u16::from_be_bytes([*high, *low])) => {}
            protocol => protocols.push(protocol.into()),
        }
    }
    Ok(protocols)
}

/// Reads `SupportedVersions`: the highest 3.x.
fn versions(body: &[u8]) -> Result<Option<u16>, Malformed> {
    let mut bytes = Cursor(body);
    let length = bytes.u8()?;
    if length == 0 || usize::from(length) != bytes.0.len() {
        return Err(Malformed);
    }
    let mut highest = None;
    while !bytes.is_empty() {
        let version = bytes.u16()?;
        if version >> 8 == 3 {
            highest = highest.max(Some(version));
        }
    }
    Ok(highest)
}

/// Whether this is one of the sixteen values sent to keep receivers tolerant (RFC 8701 §2).
fn is_grease(value: u16) -> bool {
    value & 0x0f0f == 0x0a0a && value >> 8 == value & 0xff
}

/// Bytes, read from the front.
struct Cursor<'a>(&'a [u8]);

impl<'a> Cursor<'a> {
    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn take(&mut self, length: usize) -> Result<&'a [u8], Malformed> {
        let (taken, rest) = self.0.split_at_checked(length).ok_or(Malformed)?;
        self.0 = rest;
        Ok(taken)
    }

    fn u8(&mut self) -> Result<u8, Malformed> {
        let (first, rest) = self.0.split_first().ok_or(Malformed)?;
        self.0 = rest;
        Ok(*first)
    }

    fn u16(&mut self) -> Result<u16, Malformed> {
        Ok(u16::from_be_bytes([self.u8()?, self.u8()?]))
    }

    /// A vector with two bytes of length before it.
    fn list16(&mut self) -> Result<&'a [u8], Malformed> {
        let length = self.u16()?;
        self.take(usize::from(length))
    }

    /// The same, not empty, and nothing after it.
    fn whole16(mut self) -> Result<&'a [u8], Malformed> {
        let list = self.list16()?;
        if list.is_empty() || !self.is_empty() { Err(Malformed) } else { Ok(list) }
    }
}
