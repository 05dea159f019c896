//! Headers: those of real senders, those by hand that are wrong in one way each, those that another
//! implementation reads and writes, and any bytes.

use super::*;

mod any;
mod corpus;
mod peer;
mod vectors;

/// A type-length-value.
fn tlv(kind: u8, value: &[u8]) -> Vec<u8> {
    [&[kind][..], &u16::try_from(value.len()).expect("short").to_be_bytes(), value].concat()
}

/// A header of version 2 with these bytes after its length.
fn v2(command: u8, kind: u8, rest: &[u8]) -> Vec<u8> {
    let length = u16::try_from(rest.len()).expect("short").to_be_bytes();
    [v2::SIGNATURE, &[command, kind], &length, rest].concat()
}

/// The addresses of [`tcp4`] in version 2.
const ADDRESSES: [u8; 12] = [192, 0, 2, 1, 198, 51, 100, 2, 0xdc, 0x04, 0x01, 0xbb];

/// A header of version 2 of TCP over IPv4.
fn with(tlvs: &[Vec<u8>]) -> Vec<u8> {
    v2(0x21, 0x11, &[&ADDRESSES[..], &tlvs.concat()].concat())
}

fn address(text: &str) -> Option<SocketAddr> {
    Some(text.parse().expect("an address"))
}

/// What [`with`] says without anything more.
fn tcp4() -> Header {
    let (source, destination) = (address("192.0.2.1:56324"), address("198.51.100.2:443"));
    Header { source, destination, length: 28, ..Header::default() }
}

/// Tells the answer, which must not depend on how the bytes are cut.
fn read(bytes: &[u8]) -> Progress {
    fuzz(bytes);
    let answer = Reader::default().read(bytes);
    for cut in 0..bytes.len() {
        let mut reader = Reader::default();
        let first = reader.read(&bytes[..cut]);
        if first != Progress::More {
            assert_eq!(first, answer, "cut at {cut}: {}", bytes.escape_ascii());
        }
        assert_eq!(reader.read(bytes), answer, "cut at {cut}: {}", bytes.escape_ascii());
    }
    answer
}

/// A header that is known with its last byte and not before, whatever follows.
fn header(bytes: &[u8]) -> Header {
    let text = bytes.escape_ascii();
    assert_eq!(read(&bytes[..bytes.len() - 1]), Progress::More, "{text}");
    match read(&[bytes, b"\r\n\0more"].concat()) {
        Progress::Header(header) => {
            assert_eq!(read(bytes), Progress::Header(header.clone()));
            assert_eq!(header.length, bytes.len(), "{text}");
            header
        }
        other => panic!("{text}: {other:?}"),
    }
}

/// Refused with the last of these bytes, and not before.
fn refused(refusal: Refusal, bytes: &[u8]) {
    assert_eq!(read(bytes), Progress::Refused(refusal), "{}", bytes.escape_ascii());
    let before = &bytes[..bytes.len() - 1];
    assert_eq!(read(before), Progress::More, "{}", before.escape_ascii());
}

fn value(text: &str) -> Option<Value> {
    Some(text.as_bytes().into())
}
