//! The ClientHello, read incrementally: the records it lies in are put together here, the message is
//! read in `message.rs`.
//!
//! The caller keeps what it received and shows all of it each time; the [`Reader`] remembers only
//! how far it got, so a hello that comes a byte or a record at a time costs no more than a whole one.
//! Every answer depends on the bytes alone, never on how they were cut.

use crate::config::limits::{HELLO_BYTES_MAX, PLAINTEXT_RECORD_BYTES_MAX};

mod message;
#[cfg(test)]
mod tests;

/// What a ClientHello says that decides where the connection goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hello {
    /// The name asked for (RFC 6066 §3) in its [one form](super::name::normalise). None if the client
    /// sent none, or an IP literal.
    pub server_name: Option<Box<str>>,
    /// The protocols offered (RFC 7301 §3.1), in the client's order, without GREASE (RFC 8701).
    pub alpn: Vec<Box<[u8]>>,
    /// The highest version offered, as on the wire (`0x0304` is TLS 1.3); None if the client offers
    /// only versions that nobody knows. GREASE and drafts do not count.
    pub version: Option<u16>,
    /// Whether there is an `encrypted_client_hello` (RFC 9849). It may be GREASE, which looks the same:
    /// `server_name` is then the true one.
    pub ech: bool,
    /// The client has failed with a later version and tries an older one (`TLS_FALLBACK_SCSV`,
    /// RFC 7507).
    pub fallback: bool,
    /// How many of the bytes shown the records of the hello cover. Early data may follow.
    pub length: usize,
}

impl Hello {
    /// Whether TLS 1.3 or later is offered.
    pub fn offers_tls13(&self) -> bool {
        self.version.is_some_and(|version| version >= TLS13)
    }
}

/// TLS 1.3 on the wire.
pub const TLS13: u16 = 0x0304;

/// What the bytes amount to so far.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Progress {
    /// Not enough yet.
    More,
    /// A whole ClientHello.
    Hello(Hello),
    /// No ClientHello, whatever may follow.
    Refused(Refusal),
}

/// Why bytes are no ClientHello.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// Another protocol.
    NotTls,
    /// An HTTP request in clear.
    PlainHttp,
    /// A hello in the form of SSL 2.0 (RFC 5246 §E.2), which no server should take (RFC 6176).
    Sslv2,
    /// TLS, but broken.
    Malformed,
    /// Does not end within [`HELLO_BYTES_MAX`].
    TooLarge,
}

/// Length of a record's header (RFC 8446 §5.1).
const RECORD_HEADER: usize = 5;
/// Length of a handshake message's header (RFC 8446 §4).
const MESSAGE_HEADER: usize = 4;
/// The content type of handshake records.
const HANDSHAKE: u8 = 22;
/// The message type of a ClientHello.
const CLIENT_HELLO: u8 = 1;

/// How far a ClientHello has been read.
#[derive(Debug, Clone, Default)]
pub struct Reader {
    /// Bytes looked at.
    at: usize,
    /// Bytes of the current record that are not looked at yet.
    left: usize,
    /// The header of the message, as far as it has come.
    header: [u8; MESSAGE_HEADER],
    /// Bytes of the message looked at, its header included.
    got: usize,
    /// How often anything was done, to show that work is linear.
    #[cfg(test)]
    steps: usize,
}

impl Reader {
    /// Reads on. `bytes` is all that was received so far, from the first byte on. Decides as soon as
    /// the bytes are certain, never before; asked again after that, says the same.
    pub fn read(&mut self, bytes: &[u8]) -> Progress {
        let window = bytes.get(..HELLO_BYTES_MAX).unwrap_or(bytes);
        match self.advance(window) {
            Ok(Some(hello)) => Progress::Hello(hello),
            Ok(None) if window.len() == HELLO_BYTES_MAX => Progress::Refused(Refusal::TooLarge),
            Ok(None) => Progress::More,
            Err(refusal) => Progress::Refused(refusal),
        }
    }

    fn advance(&mut self, window: &[u8]) -> Result<Option<Hello>, Refusal> {
        if self.at == 0 && !is_tls(window)? {
            return Ok(None);
        }
        loop {
            #[cfg(test)]
            {
                self.steps += 1;
            }
            match self.length()? {
                Some(length) if self.got == length => return self.finish(window).map(Some),
                Some(length) if self.at + (length - self.got) > HELLO_BYTES_MAX => {
                    return Err(Refusal::TooLarge);
                }
                _ => {}
            }
            let ahead = window.get(self.at..).unwrap_or_default();
            if self.left == 0 {
                let Some(left) = record(ahead)? else { return Ok(None) };
                self.at += RECORD_HEADER;
                self.left = left;
            } else if ahead.is_empty() {
                return Ok(None);
            } else {
                self.take(ahead);
            }
        }
    }

    /// Length of the message with its header, once that is known.
    fn length(&self) -> Result<Option<usize>, Refusal> {
        let [kind, length @ ..] = self.header;
        if self.got > 0 && kind != CLIENT_HELLO {
            return Err(Refusal::Malformed);
        }
        if self.got < MESSAGE_HEADER {
            return Ok(None);
        }
        let body = length.into_iter().fold(0, |sum, byte| sum << 8 | usize::from(byte));
        Ok(Some(MESSAGE_HEADER + body))
    }

    /// Goes over what is here of the current record: of the header byte by byte, of the rest at once.
    fn take(&mut self, ahead: &[u8]) {
        let taken = if let Some(slot) = self.header.get_mut(self.got) {
            *slot = ahead.first().copied().unwrap_or_default();
            1
        } else {
            let wanted = self.length().ok().flatten().map_or(0, |length| length - self.got);
            ahead.len().min(self.left).min(wanted)
        };
        self.got += taken;
        self.at += taken;
        self.left -= taken;
    }

    /// The whole message has come.
    fn finish(&mut self, window: &[u8]) -> Result<Hello, Refusal> {
        // Nothing may follow a hello within its record: the keys change there (RFC 8446 §5.1), and
        // before TLS 1.3 it is the server's turn to speak.
        if self.left > 0 {
            return Err(Refusal::Malformed);
        }
        let covered = window.get(..self.at).unwrap_or_default();
        if self.at == RECORD_HEADER + self.got {
            return message::read(covered.get(RECORD_HEADER..).unwrap_or_default(), self.at);
        }
        let mut whole = Vec::with_capacity(self.got);
        let mut records = covered;
        while let Some(length) = record(records)? {
            #[cfg(test)]
            {
                self.steps += 1;
            }
            let (one, rest) = records.split_at_checked(RECORD_HEADER + length).unwrap_or_default();
            whole.extend_from_slice(one.get(RECORD_HEADER..).unwrap_or_default());
            records = rest;
        }
        message::read(&whole, self.at)
    }
}

/// Whether these first bytes are TLS; false while that is open.
fn is_tls(bytes: &[u8]) -> Result<bool, Refusal> {
    match *bytes {
        [] | [HANDSHAKE] => Ok(false),
        [HANDSHAKE, 3, ..] => Ok(true),
        [first, ..] if first & 0x80 != 0 => sslv2(bytes),
        _ => http(bytes),
    }
}

/// Reads the start of an SSL 2.0 hello: two bytes of length, message type 1, and the version (RFC 5246
/// §E.2), which is 0.2 or some 3.x.
fn sslv2(bytes: &[u8]) -> Result<bool, Refusal> {
    match *bytes {
        [_] | [_, _] | [_, _, 1] | [_, _, 1, 0] => Ok(false),
        [_, _, 1, 3, ..] | [_, _, 1, 0, 2, ..] => Err(Refusal::Sslv2),
        _ => Err(Refusal::NotTls),
    }
}

/// The methods that clients begin with: RFC 9110 §9, RFC 5789, and HTTP/2's preface (RFC 9113 §3.4).
const METHODS: [&[u8]; 10] = [
    b"GET ",
    b"HEAD ",
    b"POST ",
    b"PUT ",
    b"DELETE ",
    b"CONNECT ",
    b"OPTIONS ",
    b"TRACE ",
    b"PATCH ",
    b"PRI ",
];

/// Reads what is neither TLS nor SSL.
fn http(bytes: &[u8]) -> Result<bool, Refusal> {
    if METHODS.iter().any(|method| bytes.starts_with(method)) {
        return Err(Refusal::PlainHttp);
    }
    if METHODS.iter().any(|method| method.starts_with(bytes)) {
        return Ok(false);
    }
    Err(Refusal::NotTls)
}

/// Length of the body of the record that begins here, once its header is whole (RFC 8446 §5.1). Any
/// minor version will do, as §5.1 says of receivers.
fn record(ahead: &[u8]) -> Result<Option<usize>, Refusal> {
    let length = match *ahead {
        [] | [HANDSHAKE] => return Ok(None),
        [HANDSHAKE, 3, _, high, low, ..] => usize::from(u16::from_be_bytes([high, low])),
        [HANDSHAKE, 3, ..] => return Ok(None),
        _ => return Err(Refusal::Malformed),
    };
    if (1..=PLAINTEXT_RECORD_BYTES_MAX).contains(&length) {
        Ok(Some(length))
    } else {
        Err(Refusal::Malformed)
    }
}

/// For fuzzing: what holds for all bytes.
#[doc(hidden)]
pub fn fuzz(bytes: &[u8]) {
    if let Progress::Hello(hello) = super::however_cut(bytes, &Progress::More, Reader::read) {
        assert!(hello.length <= bytes.len().min(HELLO_BYTES_MAX), "covers what it was shown");
        if let Some(server_name) = hello.server_name {
            let again = super::name::normalise(server_name.as_bytes());
            assert_eq!(again, Ok(Some(server_name)), "the one form");
        }
        assert!(hello.alpn.iter().all(|protocol| !protocol.is_empty()), "protocols have names");
    }
}
