//! Hellos: those of real clients, those by hand that are wrong in one way each, and any bytes.

use super::*;

mod any;
mod corpus;
mod vectors;

/// A ClientHello to be, part by part.
#[derive(Clone)]
struct Build {
    version: u16,
    session: Vec<u8>,
    ciphers: Vec<u8>,
    compression: Vec<u8>,
    /// The extensions and their length, as the last bytes of the message.
    extensions: Vec<u8>,
}

impl Default for Build {
    fn default() -> Self {
        Self {
            version: 0x0303,
            session: vec![7; 32],
            ciphers: vec![0x13, 0x01],
            compression: vec![0],
            extensions: Vec::new(),
        }
    }
}

impl Build {
    fn with(extensions: &[Vec<u8>]) -> Self {
        Self { extensions: vec16(&extensions.concat()), ..Self::default() }
    }

    fn message(&self) -> Vec<u8> {
        let body = [
            &self.version.to_be_bytes()[..],
            &[9; 32],
            &vec8(&self.session),
            &vec16(&self.ciphers),
            &vec8(&self.compression),
            &self.extensions,
        ]
        .concat();
        message(&body)
    }

    /// In one record.
    fn bytes(&self) -> Vec<u8> {
        records(&self.message(), 16_384)
    }
}

/// A ClientHello of this body.
fn message(body: &[u8]) -> Vec<u8> {
    [&(1 << 24 | body.len() as u32).to_be_bytes(), body].concat()
}

/// A vector with one byte of length.
fn vec8(bytes: &[u8]) -> Vec<u8> {
    [&[u8::try_from(bytes.len()).expect("short")], bytes].concat()
}

/// A vector with two bytes of length.
fn vec16(bytes: &[u8]) -> Vec<u8> {
    [&u16::try_from(bytes.len()).expect("short").to_be_bytes(), bytes].concat()
}

fn extension(kind: u16, body: &[u8]) -> Vec<u8> {
    [&kind.to_be_bytes(), &vec16(body)[..]].concat()
}

/// `server_name` with one entry.
fn sni(name: &[u8]) -> Vec<u8> {
    extension(0, &vec16(&[&[0][..], &vec16(name)].concat()))
}

/// One record.
fn one_record(body: &[u8]) -> Vec<u8> {
    [&[22, 3, 1], &vec16(body)[..]].concat()
}

/// A message in records of so many bytes each.
fn records(message: &[u8], size: usize) -> Vec<u8> {
    message.chunks(size).flat_map(one_record).collect()
}

/// The message within records.
fn unrecorded(mut bytes: &[u8]) -> Vec<u8> {
    let mut message = Vec::new();
    while let Some(length) = record(bytes).expect("records") {
        message.extend_from_slice(&bytes[RECORD_HEADER..][..length]);
        bytes = &bytes[RECORD_HEADER + length..];
    }
    message
}

fn read(bytes: &[u8]) -> Progress {
    Reader::default().read(bytes)
}

fn hello(bytes: &[u8]) -> Hello {
    match read(bytes) {
        Progress::Hello(hello) => hello,
        other => panic!("{other:?}"),
    }
}
