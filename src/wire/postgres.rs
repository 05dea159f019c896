//! PostgreSQL's requests before TLS: what a client says first, and the answers (PostgreSQL's
//! documentation, "Message Flow", sections on SSL and GSSAPI encryption; "Message Formats").
//!
//! A client that starts TLS at once (`sslnegotiation=direct`) sends a ClientHello instead, with the
//! protocol `postgresql`: here that is [`Request::Other`].

use std::ops::RangeInclusive;

use crate::config::limits::{
    POSTGRES_CANCEL_BYTES_MAX, POSTGRES_ERROR_BYTES_MAX, POSTGRES_STARTUP_BYTES_MAX,
};

/// What a client asks for first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Request {
    /// Not enough bytes yet.
    More,
    /// TLS: [`SSL_REQUEST`]. Anything that came with it was sent before the answer and so in clear: the
    /// client did not send it, or it must not be taken for its encrypted bytes (CVE-2021-23214).
    Ssl,
    /// GSSAPI encryption: [`GSS_REQUEST`]. A client that is answered [`NO`] may ask for TLS next.
    Gss,
    /// A session or a cancellation, in clear.
    Plain,
    /// Not PostgreSQL, or its protocol 2.
    Other,
}

/// `SSLRequest`.
pub const SSL_REQUEST: [u8; 8] = [0, 0, 0, 8, 0x04, 0xd2, 0x16, 0x2f];
/// `GSSENCRequest`.
pub const GSS_REQUEST: [u8; 8] = [0, 0, 0, 8, 0x04, 0xd2, 0x16, 0x30];
/// The answer after which TLS begins.
pub const YES: u8 = b'S';
/// The answer that there will be no encryption of the kind asked for.
pub const NO: u8 = b'N';

/// Every request by its first two numbers: its length in all, then what it is.
const REQUESTS: [(Request, RangeInclusive<u32>, RangeInclusive<u32>); 4] = [
    (Request::Ssl, 8..=8, 80_877_103..=80_877_103),
    (Request::Gss, 8..=8, 80_877_104..=80_877_104),
    // CancelRequest: a process and a key, of four bytes before protocol 3.2.
    (Request::Plain, 16..=POSTGRES_CANCEL_BYTES_MAX, 80_877_102..=80_877_102),
    // StartupMessage: the version, 3.x, and at least the zero that ends the parameters.
    (Request::Plain, 9..=POSTGRES_STARTUP_BYTES_MAX, 0x0003_0000..=0x0003_ffff),
];

/// Reads what has been received so far. Decides as soon as the bytes are certain, never before.
pub fn read(bytes: &[u8]) -> Request {
    let (length, code) = bytes.split_at_checked(4).unwrap_or((bytes, &[]));
    let (length, code) = (values(length), values(code));
    let mut answer = Request::Other;
    for (request, lengths, codes) in &REQUESTS {
        if within(&length, lengths) && within(&code, codes) {
            return *request;
        }
        if meet(&length, lengths) && meet(&code, codes) {
            answer = Request::More;
        }
    }
    answer
}

/// The numbers of four bytes that may begin with these.
fn values(bytes: &[u8]) -> RangeInclusive<u32> {
    let mut least = [0; 4];
    let mut most = [0xff; 4];
    for ((low, high), byte) in least.iter_mut().zip(&mut most).zip(bytes) {
        (*low, *high) = (*byte, *byte);
    }
    u32::from_be_bytes(least)..=u32::from_be_bytes(most)
}

fn within(inner: &RangeInclusive<u32>, outer: &RangeInclusive<u32>) -> bool {
    outer.contains(inner.start()) && outer.contains(inner.end())
}

fn meet(one: &RangeInclusive<u32>, other: &RangeInclusive<u32>) -> bool {
    one.start() <= other.end() && other.start() <= one.end()
}

/// An `ErrorResponse` that ends the session before it began: FATAL, `invalid_authorization_specification`,
/// which is what a server says when its rules want TLS. The text is cut at
/// [`POSTGRES_ERROR_BYTES_MAX`] and at a NUL, which would end it.
pub fn refusal(text: &str) -> Vec<u8> {
    let text = text.split('\0').next().unwrap_or_default();
    let end = text.floor_char_boundary(POSTGRES_ERROR_BYTES_MAX);
    let text = text.get(..end).unwrap_or_default();
    // V is S for programs: never translated.
    let fields = [(b'S', "FATAL"), (b'V', "FATAL"), (b'C', "28000"), (b'M', text)];
    let mut body = Vec::with_capacity(32 + text.len());
    for (kind, value) in fields {
        body.push(kind);
        body.extend_from_slice(value.as_bytes());
        body.push(0);
    }
    body.push(0);
    let length = u32::try_from(4 + body.len()).unwrap_or_default();
    let mut message = vec![b'E'];
    message.extend_from_slice(&length.to_be_bytes());
    message.extend_from_slice(&body);
    message
}

/// For fuzzing: what holds for all bytes.
#[doc(hidden)]
pub fn fuzz(bytes: &[u8]) {
    let request = super::however_cut(bytes, &Request::More, |(): &mut (), bytes| read(bytes));
    assert!(request != Request::More || bytes.len() < SSL_REQUEST.len(), "eight bytes decide");
    let message = refusal(&String::from_utf8_lossy(bytes));
    assert!(message.len() < 64 + POSTGRES_ERROR_BYTES_MAX, "bounded");
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A message's first eight bytes.
    fn head(length: u32, code: u32) -> Vec<u8> {
        [length.to_be_bytes(), code.to_be_bytes()].concat()
    }

    /// The answer, and after how many bytes it came.
    fn decided(bytes: &[u8]) -> (Request, usize) {
        let more = |end: &usize| read(&bytes[..*end]) == Request::More;
        let end = (0..=bytes.len()).find(|end| !more(end)).expect("decided");
        assert_eq!(read(bytes), read(&bytes[..end]), "later bytes change nothing");
        (read(bytes), end)
    }

    #[test]
    fn requests() {
        assert_eq!(decided(&SSL_REQUEST), (Request::Ssl, 8));
        assert_eq!(decided(&GSS_REQUEST), (Request::Gss, 8));
        assert_eq!(decided(&[&SSL_REQUEST[..], b"\x16\x03\x01"].concat()), (Request::Ssl, 8));
        assert_eq!(decided(&head(16, 80_877_102)), (Request::Plain, 8));
        assert_eq!(decided(&head(268, 80_877_102)), (Request::Plain, 8));
        // A startup message is one as soon as its major version is there.
        for minor in [0, 2, 9999] {
            assert_eq!(decided(&head(84, 0x0003_0000 + minor)), (Request::Plain, 6));
        }
        assert_eq!(decided(&head(10_000, 0x0003_0000)), (Request::Plain, 6));
    }

    #[test]
    fn other_protocols() {
        for (bytes, end) in [
            (&b"\x16\x03\x01\x00\x80\x01"[..], 1),
            (b"GET / HTTP/1.1", 1),
            (b"\x00\x01\x00\x00", 2),
            (&head(10_001, 0x0003_0000), 4),
            (&head(7, 80_877_103), 4),
            (&head(0, 0), 4),
            // The right codes with wrong lengths.
            (&head(9, 80_877_103), 5),
            (&head(8, 0x0003_0000), 5),
            (&head(8, 80_877_102), 8),
            (&head(15, 80_877_102), 5),
            (&head(269, 80_877_102), 5),
            // Protocol 2, and codes one off.
            (&head(296, 0x0002_0000), 6),
            (&head(84, 0x0004_0000), 6),
            (&head(8, 80_877_105), 8),
        ] {
            assert_eq!(decided(bytes), (Request::Other, end), "{}", bytes.escape_ascii());
        }
    }

    #[test]
    fn an_error_is_told() {
        let told = refusal("TLS is required");
        let body = b"SFATAL\0VFATAL\0C28000\0MTLS is required\0\0";
        assert_eq!(told[0], b'E');
        assert_eq!(told[1..5], (4 + body.len() as u32).to_be_bytes());
        assert_eq!(told[5..], body[..]);
    }

    #[test]
    fn an_error_is_bounded() {
        let whole = |text: &str| refusal(text).len();
        assert_eq!(whole(&"x".repeat(10_000)), whole(&"x".repeat(POSTGRES_ERROR_BYTES_MAX)));
        // No character is cut in two, and a NUL ends the text as it would for the client.
        assert!(refusal(&"ü".repeat(200)).ends_with("ü\0\0".as_bytes()));
        assert!(refusal(&format!("x{}", "ü".repeat(200))).ends_with("ü\0\0".as_bytes()));
        assert_eq!(refusal("a\0Mb"), refusal("a"));
    }
}
