//! One established TLS connection: two keys, and what the peer may still say besides data.
//!
//! # Invariants
//! - Ciphertext leaves in the order in which it was sealed: whatever the socket did not take waits
//!   in [`Session::unsent`], and everything sealed later goes behind it.
//! - The end of the stream is `close_notify` (RFC 8446 §6.1). Without it a FIN is a truncation.
//! - Between two data records a peer may say only so much: alerts, key updates and tickets that
//!   carry no data are bounded.

use std::fmt;
use std::ops::Range;

use rustls::client::ClientConnectionData;
use rustls::kernel::KernelConnection;
use rustls::server::ServerConnectionData;
use rustls::{ConnectionTrafficSecrets, ExtractedSecrets, ProtocolVersion};

use super::record::{self, Content, Opener, PLAIN_MAX, Sealer};
use crate::config::limits;

/// What rustls keeps of a connection whose records are ours: the means to derive new keys, and on
/// the client's side to store tickets.
pub enum Kept {
    /// We are the server.
    Server(KernelConnection<ServerConnectionData>),
    /// We are the client.
    Client(KernelConnection<ClientConnectionData>),
}

impl Kept {
    fn version(&self) -> ProtocolVersion {
        match self {
            Self::Server(kept) => kept.protocol_version(),
            Self::Client(kept) => kept.protocol_version(),
        }
    }

    fn next_secrets(&mut self, sending: bool) -> Option<(u64, ConnectionTrafficSecrets)> {
        match (self, sending) {
            (Self::Server(kept), true) => kept.update_tx_secret(),
            (Self::Server(kept), false) => kept.update_rx_secret(),
            (Self::Client(kept), true) => kept.update_tx_secret(),
            (Self::Client(kept), false) => kept.update_rx_secret(),
        }
        .ok()
    }
}

/// Why a session cannot go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// A record that is none, or not ours.
    Record(record::Fault),
    /// The peer ended the connection with this alert.
    Alert(u8),
    /// A message that has no place after the handshake, or none where there must be one.
    Message,
    /// A value that a message must not have.
    Value,
    /// Too much that is no data.
    Flood,
}

impl Fault {
    /// The alert that tells the peer; none where the peer has given up itself.
    pub fn alert(self) -> Option<u8> {
        match self {
            Self::Record(fault) => Some(fault.alert()),
            Self::Alert(_) => None,
            Self::Message | Self::Flood => Some(UNEXPECTED_MESSAGE),
            Self::Value => Some(ILLEGAL_PARAMETER),
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Record(fault) => f.write_str(fault.text()),
            Self::Alert(code) => write!(f, "the peer sent the alert {code}"),
            Self::Message => f.write_str("a handshake message came that has no place here"),
            Self::Value => f.write_str("a message came with a value that is not allowed"),
            Self::Flood => f.write_str("too many messages without data"),
        }
    }
}

impl From<record::Fault> for Fault {
    fn from(fault: record::Fault) -> Self {
        Self::Record(fault)
    }
}

const WARNING: u8 = 1;
const FATAL: u8 = 2;
const CLOSE_NOTIFY: u8 = 0;
const UNEXPECTED_MESSAGE: u8 = 10;
const ILLEGAL_PARAMETER: u8 = 47;
const USER_CANCELED: u8 = 90;
const NO_RENEGOTIATION: u8 = 100;

const HELLO_REQUEST: u8 = 0;
const CLIENT_HELLO: u8 = 1;
const NEW_SESSION_TICKET: u8 = 4;
const KEY_UPDATE: u8 = 24;

/// One established TLS connection.
pub struct Session {
    sealer: Sealer,
    opener: Opener,
    kept: Kept,
    /// Ciphertext that the socket has not taken yet.
    unsent: Vec<u8>,
    /// The beginning of a record.
    carried: Vec<u8>,
    /// It may hold whole records.
    unopened: bool,
    /// The beginning of a handshake message.
    message: Vec<u8>,
    /// Messages without data since the last that had some.
    idle_talk: u32,
    /// Refused attempts to renegotiate.
    refusals: u32,
    /// The peer asked for new keys and has not been given any yet.
    owes_keys: bool,
    ended: bool,
}

impl Session {
    /// `carried` is what was received after the handshake and not opened yet. `None` for a cipher
    /// that we do not offer.
    pub fn new(secrets: &ExtractedSecrets, kept: Kept, carried: Vec<u8>) -> Option<Self> {
        let version = kept.version();
        Some(Self {
            sealer: Sealer::new(version, secrets.tx.0, &secrets.tx.1)?,
            opener: Opener::new(version, secrets.rx.0, &secrets.rx.1)?,
            kept,
            unsent: Vec::new(),
            unopened: !carried.is_empty(),
            carried,
            message: Vec::new(),
            idle_talk: 0,
            refusals: 0,
            owes_keys: false,
            ended: false,
        })
    }

    /// Whether the peer has ended its stream in order.
    pub fn has_ended(&self) -> bool {
        self.ended
    }

    /// Ciphertext that waits to be sent.
    pub fn unsent(&self) -> &[u8] {
        &self.unsent
    }

    /// The first `n` bytes of what waited have been sent.
    pub fn sent(&mut self, n: usize) {
        if n >= self.unsent.len() {
            self.unsent = Vec::new();
        } else {
            self.unsent.drain(..n);
        }
    }

    /// Ciphertext to send after what already waits.
    pub fn queue(&mut self, ciphertext: &[u8]) {
        self.unsent.extend_from_slice(ciphertext);
    }

    /// Puts what was carried over in front of `buffer`; returns its length.
    pub fn restore(&mut self, buffer: &mut [u8]) -> usize {
        let n = self.carried.len().min(buffer.len());
        for (place, byte) in buffer.iter_mut().zip(self.carried.drain(..n)) {
            *place = byte;
        }
        self.unopened = !self.carried.is_empty();
        if !self.unopened {
            self.carried = Vec::new();
        }
        n
    }

    /// Whether what was carried over may hold whole records: it is opened before more is received.
    pub fn is_unopened(&self) -> bool {
        self.unopened
    }

    /// Keeps the beginning of a record for the next time.
    pub fn carry(&mut self, bytes: &[u8]) {
        if !bytes.is_empty() {
            // What did not fit into the buffer comes behind.
            self.carried.splice(..0, bytes.iter().copied());
        }
    }

    /// Opens all whole records of `bytes` and carries the rest over. The plaintexts' places go to
    /// `spans`; how many records had no data comes back. Whatever the peer is owed in answer is in [`Session::unsent`] afterwards.
    ///
    /// # Errors
    /// A [`Fault`]; `spans` holds what was good before it.
    pub fn open(
        &mut self,
        bytes: &mut [u8],
        spans: &mut Vec<Range<usize>>,
    ) -> Result<usize, Fault> {
        let (mut at, mut talk) = (0, 0);
        while !self.ended {
            let Some(rest) = bytes.get_mut(at..) else { break };
            let Some(opened) = self.opener.open(rest)? else { break };
            let plain = opened.plain.start + at..opened.plain.end + at;
            at += opened.len;
            if opened.content == Content::Data && !plain.is_empty() {
                if !self.message.is_empty() {
                    return Err(Fault::Message);
                }
                self.idle_talk = 0;
                spans.push(plain);
                continue;
            }
            self.idle_talk += 1;
            talk += 1;
            if self.idle_talk > limits::TLS_IDLE_TALK_MAX {
                return Err(Fault::Flood);
            }
            let Some(said) = bytes.get(plain) else { break };
            match opened.content {
                Content::Data => {}
                Content::Alert => self.heed_alert(said)?,
                Content::Handshake => self.heed_messages(said)?,
            }
        }
        if !self.ended {
            self.carry(bytes.get(at..).unwrap_or_default());
        }
        Ok(talk)
    }

    fn is_v13(&self) -> bool {
        self.kept.version() == ProtocolVersion::TLSv1_3
    }

    fn heed_alert(&mut self, alert: &[u8]) -> Result<(), Fault> {
        match *alert {
            [_, CLOSE_NOTIFY] => self.ended = true,
            [_, USER_CANCELED] => {}
            [WARNING, _] if !self.is_v13() => {}
            [_, code] => return Err(Fault::Alert(code)),
            // RFC 8446 §5.1.
            [] => return Err(Fault::Message),
            _ => return Err(Fault::Record(record::Fault::Malformed)),
        }
        Ok(())
    }

    /// Messages may be split over records and several may share one (RFC 8446 §5.1).
    fn heed_messages(&mut self, said: &[u8]) -> Result<(), Fault> {
        if said.is_empty() {
            return Err(Fault::Message);
        }
        if self.message.len() + said.len() > limits::TLS_MESSAGE_BYTES_MAX {
            return Err(Fault::Flood);
        }
        let mut all = std::mem::take(&mut self.message);
        all.extend_from_slice(said);
        let mut rest = all.as_slice();
        while let Some((&[kind, a, b, c], body)) = rest.split_first_chunk() {
            let len = u32::from_be_bytes([0, a, b, c]) as usize;
            let Some((body, behind)) = body.split_at_checked(len) else { break };
            rest = behind;
            self.heed_message(kind, body, behind.is_empty())?;
        }
        self.message = rest.to_vec();
        Ok(())
    }

    fn heed_message(&mut self, kind: u8, body: &[u8], is_last: bool) -> Result<(), Fault> {
        match (kind, self.is_v13(), &mut self.kept) {
            // New keys begin with a new record (RFC 8446 §5.1).
            (KEY_UPDATE, true, _) if is_last => self.update_keys(body),
            (NEW_SESSION_TICKET, true, Kept::Client(kept)) => {
                // A ticket that cannot be used is no reason to end a connection that can.
                let _ = kept.handle_new_session_ticket(body);
                Ok(())
            }
            (HELLO_REQUEST, false, Kept::Client(_)) | (CLIENT_HELLO, false, Kept::Server(_)) => {
                self.refusals += 1;
                if self.refusals > limits::TLS_REFUSALS_MAX {
                    return Err(Fault::Flood);
                }
                self.say(Content::Alert, &[WARNING, NO_RENEGOTIATION])
            }
            _ => Err(Fault::Message),
        }
    }

    /// RFC 8446 §4.6.3. One answer before our next data is enough for any number of requests; to
    /// answer each at once would let a peer that reads nothing fill our memory with answers.
    fn update_keys(&mut self, body: &[u8]) -> Result<(), Fault> {
        let answers = match body {
            [0] => false,
            [1] => true,
            [_] => return Err(Fault::Value),
            _ => return Err(Fault::Record(record::Fault::Malformed)),
        };
        let exhausted = Fault::Record(record::Fault::Exhausted);
        let version = self.kept.version();
        let (sequence, secrets) = self.kept.next_secrets(false).ok_or(exhausted)?;
        self.opener = Opener::new(version, sequence, &secrets).ok_or(exhausted)?;
        self.owes_keys |= answers;
        Ok(())
    }

    /// Tells the peer that new keys follow, and takes them.
    fn renew_sealer(&mut self) -> Result<(), Fault> {
        let exhausted = Fault::Record(record::Fault::Exhausted);
        self.say(Content::Handshake, &[KEY_UPDATE, 0, 0, 1, 0])?;
        let (sequence, secrets) = self.kept.next_secrets(true).ok_or(exhausted)?;
        self.sealer = Sealer::new(self.kept.version(), sequence, &secrets).ok_or(exhausted)?;
        self.owes_keys = false;
        Ok(())
    }

    /// Seals a message of ours behind what waits.
    fn say(&mut self, content: Content, message: &[u8]) -> Result<(), Fault> {
        let start = self.unsent.len();
        let (head, tail) = (self.sealer.head(), self.sealer.tail());
        self.unsent.resize(start + head, 0);
        self.unsent.extend_from_slice(message);
        self.unsent.resize(start + head + message.len() + tail, 0);
        let record = self.unsent.get_mut(start..).unwrap_or_default();
        Ok(self.sealer.seal(content, record)?)
    }

    /// Queues the end of our stream.
    pub fn end(&mut self) {
        // Keys that are used up cannot say it: the peer then sees a truncation.
        let _ = self.say(Content::Alert, &[WARNING, CLOSE_NOTIFY]);
    }

    /// Queues a fatal alert.
    pub fn complain(&mut self, alert: u8) {
        let _ = self.say(Content::Alert, &[FATAL, alert]);
    }

    /// From one record's plaintext to the next in a buffer for [`Session::seal`], and where in it
    /// the plaintext begins.
    pub fn layout(&self) -> Layout {
        let head = self.sealer.head();
        Layout { head, stride: head + PLAIN_MAX + self.sealer.tail() }
    }

    /// Seals `len` bytes of plaintext that stand in `buffer` as [`Layout`] says: 2¹⁴ in each record
    /// but the last. Returns the length of the ciphertext, which begins at the front.
    ///
    /// # Errors
    /// A [`Fault`] when the keys are used up.
    pub fn seal(&mut self, buffer: &mut [u8], len: usize) -> Result<usize, Fault> {
        if self.owes_keys || self.sealer.is_worn() {
            self.renew_sealer()?;
        }
        let layout = self.layout();
        let around = layout.stride - PLAIN_MAX;
        let (mut left, mut sealed) = (len, 0);
        for slot in buffer.chunks_mut(layout.stride) {
            if left == 0 {
                break;
            }
            let plain = left.min(PLAIN_MAX);
            let record = slot.get_mut(..around + plain).ok_or(record::Fault::Overflow)?;
            self.sealer.seal(Content::Data, record)?;
            left -= plain;
            sealed += around + plain;
        }
        Ok(sealed)
    }
}

/// Where plaintexts stand in a buffer that is to be sealed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Layout {
    /// From a slot's beginning to its plaintext.
    pub head: usize,
    /// From one slot to the next.
    pub stride: usize,
}

impl Layout {
    /// The places for plaintext in `buffer`.
    pub fn slots<'a>(&self, buffer: &'a mut [u8]) -> impl Iterator<Item = &'a mut [u8]> {
        let head = self.head;
        buffer.chunks_mut(self.stride).filter_map(move |slot| slot.get_mut(head..head + PLAIN_MAX))
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session")
            .field("sealer", &self.sealer)
            .field("opener", &self.opener)
            .field("unsent", &self.unsent.len())
            .field("carried", &self.carried.len())
            .field("ended", &self.ended)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
