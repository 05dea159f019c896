//! TLS records (RFC 8446 §5, RFC 5246 §6.2), sealed and opened in place.
//!
//! rustls copies every record twice on its way through; for a proxy that is most of the work that
//! is not the cipher itself. So after the handshake the traffic keys come here, and a record is
//! sealed where it was received and opened where it will be sent from. The ciphers are aws-lc's.
//!
//! Only what a record is stands here. What its content means (alerts, key updates) is
//! [`session`](super::session)'s.

use std::ops::Range;

use aws_lc_rs::aead::{
    AES_128_GCM, AES_256_GCM, Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey,
};
use rustls::{ConnectionTrafficSecrets, ProtocolVersion};

/// Most plaintext bytes of a record (RFC 8446 §5.1).
pub const PLAIN_MAX: usize = 1 << 14;
/// Bytes of a record's header.
pub const HEADER: usize = 5;
/// Most bytes of a record's body in TLS 1.2 (RFC 5246 §6.2.3) …
pub const BODY_MAX_12: usize = PLAIN_MAX + 2048;
/// … and in TLS 1.3 (RFC 8446 §5.2).
const BODY_MAX_13: usize = PLAIN_MAX + 256;
const TAG: usize = 16;
const EXPLICIT_NONCE: usize = 8;
const VERSION: [u8; 2] = [3, 3];

/// `ContentType` (RFC 8446 §5.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Content {
    /// An alert.
    Alert,
    /// A handshake message, or a part of one.
    Handshake,
    /// Application data.
    Data,
}

impl Content {
    fn code(self) -> u8 {
        match self {
            Self::Alert => 21,
            Self::Handshake => 22,
            Self::Data => 23,
        }
    }

    fn of(code: u8) -> Option<Self> {
        match code {
            21 => Some(Self::Alert),
            22 => Some(Self::Handshake),
            23 => Some(Self::Data),
            _ => None,
        }
    }
}

/// Why a record could not be opened or sealed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Its length or version is none that a record can have.
    Malformed,
    /// Larger than a record may be.
    Overflow,
    /// Of a type that has no place here.
    Unexpected,
    /// Not made with our keys, or changed on its way.
    Forged,
    /// The key has sealed all it may.
    Exhausted,
}

impl Fault {
    /// The alert that tells the peer (RFC 8446 §6.2).
    pub fn alert(self) -> u8 {
        match self {
            Self::Malformed => 50,
            Self::Overflow => 22,
            Self::Unexpected => 10,
            Self::Forged => 20,
            Self::Exhausted => 80,
        }
    }

    /// For logs and events.
    pub fn text(self) -> &'static str {
        match self {
            Self::Malformed => "a malformed record came",
            Self::Overflow => "a record came that is larger than records may be",
            Self::Unexpected => "a record came that has no place here",
            Self::Forged => "a record came that was not sealed with our keys",
            Self::Exhausted => "the keys have sealed all they may",
        }
    }
}

/// How records of a version and cipher are laid out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shape {
    /// TLS 1.3: the content type is sealed too (RFC 8446 §5.2).
    V13,
    /// TLS 1.2 with AES-GCM: a part of the nonce travels along (RFC 5288 §3).
    Gcm12,
    /// TLS 1.2 with ChaCha20-Poly1305: laid out as TLS 1.3, typed as TLS 1.2 (RFC 7905 §2).
    Chacha12,
}

/// One direction's key and how many records it has seen.
struct Keys {
    key: LessSafeKey,
    iv: [u8; 12],
    sequence: u64,
    shape: Shape,
}

impl Keys {
    fn new(
        version: ProtocolVersion,
        sequence: u64,
        secrets: &ConnectionTrafficSecrets,
    ) -> Option<Self> {
        let v13 = version == ProtocolVersion::TLSv1_3;
        let gcm = if v13 { Shape::V13 } else { Shape::Gcm12 };
        let chacha = if v13 { Shape::V13 } else { Shape::Chacha12 };
        let (algorithm, key, iv, shape) = match secrets {
            ConnectionTrafficSecrets::Aes128Gcm { key, iv } => (&AES_128_GCM, key, iv, gcm),
            ConnectionTrafficSecrets::Aes256Gcm { key, iv } => (&AES_256_GCM, key, iv, gcm),
            ConnectionTrafficSecrets::Chacha20Poly1305 { key, iv } => {
                (&CHACHA20_POLY1305, key, iv, chacha)
            }
            _ => return None,
        };
        let key = LessSafeKey::new(UnboundKey::new(algorithm, key.as_ref()).ok()?);
        Some(Self { key, iv: iv.as_ref().try_into().ok()?, sequence, shape })
    }

    /// The number of the next record and the nonce made of it (RFC 8446 §5.3).
    fn next(&mut self) -> Option<(u64, [u8; 12])> {
        let sequence = self.sequence;
        self.sequence = sequence.checked_add(1)?;
        let mut nonce = self.iv;
        let (_, counter) = nonce.split_at_mut(4);
        for (byte, add) in counter.iter_mut().zip(sequence.to_be_bytes()) {
            *byte ^= add;
        }
        Some((sequence, nonce))
    }
}

/// What is authenticated along with a record of TLS 1.2 (RFC 5246 §6.2.3.3).
fn aad12(sequence: u64, content: u8, len: usize) -> Option<[u8; 13]> {
    let mut aad = [0; 13];
    let [a @ .., _, _, _, _, _] = &mut aad;
    a.copy_from_slice(&sequence.to_be_bytes());
    let [.., kind, major, minor, high, low] = &mut aad;
    *kind = content;
    [*major, *minor] = VERSION;
    [*high, *low] = u16::try_from(len).ok()?.to_be_bytes();
    Some(aad)
}

/// Seals records of one direction.
pub struct Sealer {
    keys: Keys,
}

impl Sealer {
    /// `None` for a cipher that is not offered by us.
    pub fn new(
        version: ProtocolVersion,
        sequence: u64,
        secrets: &ConnectionTrafficSecrets,
    ) -> Option<Self> {
        Keys::new(version, sequence, secrets).map(|keys| Self { keys })
    }

    /// Bytes before the plaintext of a record.
    pub fn head(&self) -> usize {
        match self.keys.shape {
            Shape::Gcm12 => HEADER + EXPLICIT_NONCE,
            Shape::V13 | Shape::Chacha12 => HEADER,
        }
    }

    /// Bytes after it.
    pub fn tail(&self) -> usize {
        match self.keys.shape {
            Shape::V13 => TAG + 1,
            Shape::Gcm12 | Shape::Chacha12 => TAG,
        }
    }

    /// Whether the key has sealed so many records that it should be replaced: 2²³ is the lowest of
    /// the bounds of RFC 8446 §5.5 with room to spare. TLS 1.2 cannot replace keys; nobody ends
    /// connections for it, and its nonces stay unique.
    pub fn is_worn(&self) -> bool {
        self.keys.shape == Shape::V13 && self.keys.sequence >= 1 << 23
    }

    /// As if it had sealed very many records.
    #[cfg(test)]
    pub(super) fn wear_out(&mut self) {
        self.keys.sequence = 1 << 23;
    }

    /// Makes `record` (room for the head, the plaintext in place, room for the tail) one record.
    ///
    /// # Errors
    /// [`Fault::Overflow`] when the plaintext is too long for one record or `record` is shorter
    /// than head and tail, [`Fault::Exhausted`] after 2⁶⁴ records.
    pub fn seal(&mut self, content: Content, record: &mut [u8]) -> Result<(), Fault> {
        let (head, tail) = (self.head(), self.tail());
        let body = record.len().checked_sub(HEADER).ok_or(Fault::Overflow)?;
        let plain = record.len().checked_sub(head + tail).ok_or(Fault::Overflow)?;
        if plain > PLAIN_MAX {
            return Err(Fault::Overflow);
        }
        let (sequence, nonce) = self.keys.next().ok_or(Fault::Exhausted)?;
        let [high, low] = u16::try_from(body).map_err(|_| Fault::Overflow)?.to_be_bytes();
        let v13 = self.keys.shape == Shape::V13;
        let outer = if v13 { Content::Data.code() } else { content.code() };
        let header = [outer, VERSION[0], VERSION[1], high, low];
        let (front, rest) = record.split_at_mut(head);
        let (text, end) = rest.split_at_mut(plain);
        for (byte, value) in front.iter_mut().zip(header.iter().chain(&nonce[4..])) {
            *byte = *value;
        }
        let nonce = Nonce::assume_unique_for_key(nonce);
        let key = &self.keys.key;
        let sealed = if v13 {
            key.seal_in_place_scatter(nonce, Aad::from(header), text, &[content.code()], end)
        } else {
            let aad = aad12(sequence, content.code(), plain).ok_or(Fault::Overflow)?;
            key.seal_in_place_scatter(nonce, Aad::from(aad), text, &[], end)
        };
        sealed.map_err(|_| Fault::Exhausted)
    }
}

/// A record that was opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Opened {
    /// What it carries.
    pub content: Content,
    /// Where its plaintext now stands.
    pub plain: Range<usize>,
    /// Bytes of the record, from the beginning of what was given.
    pub len: usize,
}

/// Opens records of one direction.
pub struct Opener {
    keys: Keys,
}

impl Opener {
    /// `None` for a cipher that is not offered by us.
    pub fn new(
        version: ProtocolVersion,
        sequence: u64,
        secrets: &ConnectionTrafficSecrets,
    ) -> Option<Self> {
        Keys::new(version, sequence, secrets).map(|keys| Self { keys })
    }

    /// Opens the record at the front of `bytes`; `None` while it is not all there.
    ///
    /// # Errors
    /// A [`Fault`], after which nothing of this direction can be trusted.
    pub fn open(&mut self, bytes: &mut [u8]) -> Result<Option<Opened>, Fault> {
        let Some((&mut [kind, major, _, high, low], rest)) = bytes.split_first_chunk_mut() else {
            return Ok(None);
        };
        let body = usize::from(u16::from_be_bytes([high, low]));
        if major != VERSION[0] {
            return Err(Fault::Malformed);
        }
        let most = if self.keys.shape == Shape::V13 { BODY_MAX_13 } else { BODY_MAX_12 };
        if body > most {
            return Err(Fault::Overflow);
        }
        let Some(sealed) = rest.get_mut(..body) else {
            return Ok(None);
        };
        let header = [kind, major, VERSION[1], high, low];
        let (sequence, nonce) = self.keys.next().ok_or(Fault::Exhausted)?;
        let (content, start, len) = match self.keys.shape {
            Shape::V13 => self.open13(header, nonce, sealed)?,
            Shape::Gcm12 => {
                let (explicit, sealed) =
                    sealed.split_first_chunk::<EXPLICIT_NONCE>().ok_or(Fault::Malformed)?;
                let mut nonce = nonce;
                let (salt, counter) = nonce.split_at_mut(4);
                salt.copy_from_slice(&self.keys.iv[..4]);
                counter.copy_from_slice(explicit);
                let len = sealed.len();
                let start = EXPLICIT_NONCE;
                let all = rest.get_mut(start..start + len).ok_or(Fault::Malformed)?;
                self.open12(kind, sequence, nonce, all).map(|(kind, len)| (kind, start, len))?
            }
            Shape::Chacha12 => {
                self.open12(kind, sequence, nonce, sealed).map(|(kind, len)| (kind, 0, len))?
            }
        };
        if len > PLAIN_MAX {
            return Err(Fault::Overflow);
        }
        let start = HEADER + start;
        Ok(Some(Opened { content, plain: start..start + len, len: HEADER + body }))
    }

    fn open13(
        &self,
        header: [u8; HEADER],
        nonce: [u8; 12],
        sealed: &mut [u8],
    ) -> Result<(Content, usize, usize), Fault> {
        if header[0] != Content::Data.code() {
            return Err(Fault::Unexpected);
        }
        let nonce = Nonce::assume_unique_for_key(nonce);
        let inner = self
            .keys
            .key
            .open_in_place(nonce, Aad::from(header), sealed)
            .map_err(|_| Fault::Forged)?;
        // Padding counts too (RFC 8446 §5.4).
        if inner.len() > PLAIN_MAX + 1 {
            return Err(Fault::Overflow);
        }
        // The type is the last byte that is not padding.
        let (at, code) =
            inner.iter().enumerate().rfind(|(_, byte)| **byte != 0).ok_or(Fault::Unexpected)?;
        let content = Content::of(*code).ok_or(Fault::Unexpected)?;
        Ok((content, 0, at))
    }

    fn open12(
        &self,
        kind: u8,
        sequence: u64,
        nonce: [u8; 12],
        sealed: &mut [u8],
    ) -> Result<(Content, usize), Fault> {
        let content = Content::of(kind).ok_or(Fault::Unexpected)?;
        let len = sealed.len().checked_sub(TAG).ok_or(Fault::Malformed)?;
        let aad = aad12(sequence, kind, len).ok_or(Fault::Overflow)?;
        let nonce = Nonce::assume_unique_for_key(nonce);
        self.keys.key.open_in_place(nonce, Aad::from(aad), sealed).map_err(|_| Fault::Forged)?;
        Ok((content, len))
    }
}

impl std::fmt::Debug for Sealer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sealer").field("sequence", &self.keys.sequence).finish_non_exhaustive()
    }
}

impl std::fmt::Debug for Opener {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Opener").field("sequence", &self.keys.sequence).finish_non_exhaustive()
    }
}
