//! What a header of version 2 says beyond addresses: type-length-values (sections 2.2.1 to 2.2.8).
//!
//! A type that has a meaning may come once. The specification is silent there; but of two names or two
//! checksums one reader takes the first and another the last, and a header on which they disagree is
//! refused. What has no meaning here may come as often as its sender likes and keeps its order.
//!
//! Values are bytes as sent. Senders copy what clients and their certificates say: HAProxy passes a
//! common name in whatever encoding the certificate has. So a value is neither trusted nor refused
//! for not being the text it should be.

use crc::{CRC_32_ISCSI, Crc};

use super::{Refusal, TooLarge};
use crate::config::limits::{PROXY_HEADER_BYTES_MAX, PROXY_UNIQUE_ID_BYTES_MAX};

const ALPN: u8 = 0x01;
const AUTHORITY: u8 = 0x02;
const CRC32C: u8 = 0x03;
const NOOP: u8 = 0x04;
const UNIQUE_ID: u8 = 0x05;
const SSL: u8 = 0x20;
const NETNS: u8 = 0x30;

// Within `SSL`.
const SSL_VERSION: u8 = 0x21;
const SSL_CN: u8 = 0x22;
const SSL_CIPHER: u8 = 0x23;
const SSL_SIG_ALG: u8 = 0x24;
const SSL_KEY_ALG: u8 = 0x25;
const SSL_GROUP: u8 = 0x26;
const SSL_SIG_SCHEME: u8 = 0x27;
const SSL_CLIENT_CERT: u8 = 0x28;

/// Flag of [`Ssl::client`]: the client connected by TLS.
pub const CLIENT_SSL: u8 = 0x01;
/// Flag of [`Ssl::client`]: it showed a certificate on this connection.
pub const CLIENT_CERT_CONN: u8 = 0x02;
/// Flag of [`Ssl::client`]: it showed a certificate at least once in this TLS session.
pub const CLIENT_CERT_SESS: u8 = 0x04;

/// CRC-32C, which its catalogue calls by iSCSI.
static CRC: Crc<u32> = Crc::<u32>::new(&CRC_32_ISCSI);

/// A value as sent.
pub type Value = Box<[u8]>;

/// What is told beyond addresses. A checksum and padding are checked and not kept.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tlvs {
    /// The protocol above (RFC 7301), such as `h2`.
    pub alpn: Option<Value>,
    /// The host name that the client asked for.
    pub authority: Option<Value>,
    /// What identifies the connection among proxies, of at most [`PROXY_UNIQUE_ID_BYTES_MAX`] bytes.
    pub unique_id: Option<Value>,
    /// What the client's TLS is.
    pub ssl: Option<Box<Ssl>>,
    /// The name of the network namespace.
    pub netns: Option<Value>,
    /// All others.
    pub others: Others,
}

/// What a client's TLS is (section 2.2.6).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ssl {
    /// Flags: [`CLIENT_SSL`], [`CLIENT_CERT_CONN`], [`CLIENT_CERT_SESS`].
    pub client: u8,
    /// 0 if the client showed a certificate and it was verified. HAProxy also says 0 where there is
    /// none: the flags tell.
    pub verify: u32,
    /// The version, such as `TLSv1.3`.
    pub version: Option<Value>,
    /// The common name of the client's certificate.
    pub common_name: Option<Value>,
    /// The cipher, such as `TLS_AES_256_GCM_SHA384`.
    pub cipher: Option<Value>,
    /// What the proxy's certificate is signed with, such as `RSA-SHA256`.
    pub signature_algorithm: Option<Value>,
    /// What its key is, such as `RSA2048`.
    pub key_algorithm: Option<Value>,
    /// The group of the key exchange, such as `secp256r1`.
    pub group: Option<Value>,
    /// What the proxy signed the handshake with, such as `rsa_pss_rsae_sha256`.
    pub signature_scheme: Option<Value>,
    /// The client's certificate, in DER.
    pub client_certificate: Option<Value>,
    /// All others.
    pub others: Others,
}

/// Values of types that have no field of their own, in their order: kept so that they can be passed on.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Others(Vec<u8>);

impl Others {
    /// Type and value of each.
    pub fn iter(&self) -> impl Iterator<Item = (u8, &[u8])> {
        List(&self.0).flatten()
    }

    /// Adds one. A type that has a field belongs there: receivers may refuse it twice.
    pub fn push(&mut self, kind: u8, value: &[u8]) -> Result<(), TooLarge> {
        if self.0.len() + HEAD + value.len() > PROXY_HEADER_BYTES_MAX {
            return Err(TooLarge);
        }
        put(&mut self.0, kind, value);
        Ok(())
    }
}

impl Tlvs {
    fn fields(&self) -> [(u8, &Option<Value>); 4] {
        [
            (ALPN, &self.alpn),
            (AUTHORITY, &self.authority),
            (UNIQUE_ID, &self.unique_id),
            (NETNS, &self.netns),
        ]
    }

    fn field(&mut self, kind: u8) -> Option<&mut Option<Value>> {
        match kind {
            ALPN => Some(&mut self.alpn),
            AUTHORITY => Some(&mut self.authority),
            UNIQUE_ID => Some(&mut self.unique_id),
            NETNS => Some(&mut self.netns),
            _ => None,
        }
    }
}

impl Ssl {
    fn fields(&self) -> [(u8, &Option<Value>); 8] {
        [
            (SSL_VERSION, &self.version),
            (SSL_CN, &self.common_name),
            (SSL_CIPHER, &self.cipher),
            (SSL_SIG_ALG, &self.signature_algorithm),
            (SSL_KEY_ALG, &self.key_algorithm),
            (SSL_GROUP, &self.group),
            (SSL_SIG_SCHEME, &self.signature_scheme),
            (SSL_CLIENT_CERT, &self.client_certificate),
        ]
    }

    fn field(&mut self, kind: u8) -> Option<&mut Option<Value>> {
        match kind {
            SSL_VERSION => Some(&mut self.version),
            SSL_CN => Some(&mut self.common_name),
            SSL_CIPHER => Some(&mut self.cipher),
            SSL_SIG_ALG => Some(&mut self.signature_algorithm),
            SSL_KEY_ALG => Some(&mut self.key_algorithm),
            SSL_GROUP => Some(&mut self.group),
            SSL_SIG_SCHEME => Some(&mut self.signature_scheme),
            SSL_CLIENT_CERT => Some(&mut self.client_certificate),
            _ => None,
        }
    }

    fn read(bytes: &[u8]) -> Result<Self, Refusal> {
        let (&[client, verify @ ..], rest) = bytes.split_first_chunk::<5>().ok_or(Malformed)?;
        let mut ssl = Self { client, verify: u32::from_be_bytes(verify), ..Self::default() };
        for one in List(rest) {
            let (kind, value) = one?;
            match ssl.field(kind) {
                Some(field) => once(field, value.into())?,
                None => put(&mut ssl.others.0, kind, value),
            }
        }
        Ok(ssl)
    }

    fn write(&self) -> Vec<u8> {
        let mut value = vec![self.client];
        value.extend_from_slice(&self.verify.to_be_bytes());
        put_fields(&mut value, &self.fields());
        value.extend_from_slice(&self.others.0);
        value
    }
}

/// A length that does not fit where it stands, or a type twice.
struct Malformed;

impl From<Malformed> for Refusal {
    fn from(_: Malformed) -> Self {
        Self::Malformed
    }
}

/// Length of a type and a length.
const HEAD: usize = 3;

/// Type-length-values that fill their place exactly; ends with the first one that does not fit.
struct List<'a>(&'a [u8]);

impl<'a> Iterator for List<'a> {
    type Item = Result<(u8, &'a [u8]), Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let one = self.0.split_first_chunk::<HEAD>().and_then(|(&[kind, high, low], rest)| {
            let length = usize::from(u16::from_be_bytes([high, low]));
            rest.split_at_checked(length).map(|(value, rest)| (kind, value, rest))
        });
        let Some((kind, value, rest)) = one else {
            self.0 = &[];
            return Some(Err(Malformed));
        };
        self.0 = rest;
        Some(Ok((kind, value)))
    }
}

fn once<T>(field: &mut Option<T>, value: T) -> Result<(), Malformed> {
    if field.replace(value).is_some() { Err(Malformed) } else { Ok(()) }
}

/// Reads those that stand in a whole header from `start` on.
pub(super) fn read(header: &[u8], start: usize) -> Result<Tlvs, Refusal> {
    let mut tlvs = Tlvs::default();
    let mut said = None;
    let mut list = List(header.get(start..).unwrap_or_default());
    while let Some(one) = list.next() {
        let (kind, value) = one?;
        match kind {
            NOOP => {}
            CRC32C => {
                let sum = u32::from_be_bytes(value.try_into().map_err(|_| Malformed)?);
                let end = header.len() - list.0.len();
                once(&mut said, (end - value.len(), sum))?;
            }
            SSL => once(&mut tlvs.ssl, Box::new(Ssl::read(value)?))?,
            UNIQUE_ID if value.len() > PROXY_UNIQUE_ID_BYTES_MAX => return Err(Refusal::Malformed),
            _ => match tlvs.field(kind) {
                Some(field) => once(field, value.into())?,
                None => put(&mut tlvs.others.0, kind, value),
            },
        }
    }
    match said {
        Some((place, sum)) if sum != checksum(header, place) => Err(Refusal::BadChecksum),
        _ => Ok(tlvs),
    }
}

/// The checksum of a whole header, whose four bytes at `place` count as zeros.
fn checksum(header: &[u8], place: usize) -> u32 {
    let (before, rest) = header.split_at_checked(place).unwrap_or_default();
    let mut digest = CRC.digest();
    digest.update(before);
    digest.update(&[0; 4]);
    digest.update(rest.get(4..).unwrap_or_default());
    digest.finalize()
}

/// Writes all of them, without a checksum.
pub(super) fn write(tlvs: &Tlvs, into: &mut Vec<u8>) -> Result<(), TooLarge> {
    let unique_id = tlvs.unique_id.as_deref().unwrap_or_default();
    if unique_id.len() > PROXY_UNIQUE_ID_BYTES_MAX {
        return Err(TooLarge);
    }
    put_fields(into, &tlvs.fields());
    if let Some(ssl) = &tlvs.ssl {
        put(into, SSL, &ssl.write());
    }
    into.extend_from_slice(&tlvs.others.0);
    Ok(())
}

/// Writes a checksum that is not computed yet, as the last one.
pub(super) fn write_unsummed(into: &mut Vec<u8>) {
    put(into, CRC32C, &[0; 4]);
}

/// Computes the checksum of a whole header that ends with it.
pub(super) fn sum(header: &mut [u8]) {
    let sum = CRC.checksum(header);
    if let Some(value) = header.last_chunk_mut() {
        *value = sum.to_be_bytes();
    }
}

fn put_fields(into: &mut Vec<u8>, fields: &[(u8, &Option<Value>)]) {
    for (kind, value) in fields {
        if let Some(value) = value {
            put(into, *kind, value);
        }
    }
}

/// Writes one. A value that is longer than any length makes the header longer than any header, and
/// that is refused.
fn put(into: &mut Vec<u8>, kind: u8, value: &[u8]) {
    let length = u16::try_from(value.len()).unwrap_or(u16::MAX);
    into.push(kind);
    into.extend_from_slice(&length.to_be_bytes());
    into.extend_from_slice(value);
}
