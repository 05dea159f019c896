//! Hellos by hand.

use super::*;

fn refused(refusal: Refusal, bytes: &[u8]) {
    assert_eq!(read(bytes), Progress::Refused(refusal), "{}", bytes.escape_ascii());
    fuzz(bytes);
}

fn malformed(extensions: &[Vec<u8>]) {
    refused(Refusal::Malformed, &Build::with(extensions).bytes());
}

/// The refusal comes with the last of these bytes, not before.
fn refused_only_at_the_end(refusal: Refusal, bytes: &[u8]) {
    refused(refusal, bytes);
    assert_eq!(read(&bytes[..bytes.len() - 1]), Progress::More, "{}", bytes.escape_ascii());
}

#[test]
fn other_protocols() {
    for bytes in [
        &b"\x16\x02"[..],
        b"\x15",
        b"\x14",
        b"\x17",
        b"\x00",
        b"S",
        b"GEX",
        b"g",
        b"GET\r",
        b"PRIM",
        b"\x80\x2e\x02",
        b"\x80\x2e\x01\x01",
        b"\x80\x2e\x01\x00\x03",
    ] {
        refused_only_at_the_end(Refusal::NotTls, bytes);
    }
    for bytes in [&b"GET "[..], b"POST ", b"CONNECT ", b"OPTIONS ", b"PRI "] {
        refused_only_at_the_end(Refusal::PlainHttp, bytes);
    }
    refused(Refusal::PlainHttp, b"GET / HTTP/1.1\r\n\r\n");
    refused_only_at_the_end(Refusal::Sslv2, b"\x80\x2e\x01\x03");
    refused_only_at_the_end(Refusal::Sslv2, b"\x80\x2e\x01\x00\x02");
}

#[test]
fn records_that_are_none() {
    let message = Build::default().message();
    let (one, two) = message.split_at(10);
    refused_only_at_the_end(Refusal::Malformed, b"\x16\x03\x01\x00\x00");
    refused_only_at_the_end(Refusal::Malformed, b"\x16\x03\x01\x40\x01");
    // Another message, another record, an empty record, another version within.
    refused_only_at_the_end(Refusal::Malformed, b"\x16\x03\x01\x00\x04\x02");
    for next in [&b"\x15"[..], b"\x14", b"\x17", b"\x16\x02", b"\x16\x03\x03\x00\x00"] {
        refused_only_at_the_end(Refusal::Malformed, &[&one_record(one), next].concat());
    }
    // What follows the hello within its record.
    refused(Refusal::Malformed, &one_record(&[&message[..], &[0]].concat()));
    refused(Refusal::Malformed, &[one_record(one), one_record(&[two, &[1]].concat())].concat());
}

#[test]
fn record_versions_and_what_follows() {
    let mut bytes = Build::default().bytes();
    let length = bytes.len();
    for minor in [0, 1, 3, 4, 255] {
        bytes[2] = minor;
        assert_eq!(hello(&bytes).length, length);
    }
    for next in [&b"\x14\x03\x03\x00\x01\x01"[..], b"\x17\x03\x03\x40\xff", b"\0"] {
        assert_eq!(hello(&[&bytes, next].concat()).length, length);
    }
}

#[test]
fn too_large() {
    // Said at once where the length says so …
    refused_only_at_the_end(Refusal::TooLarge, b"\x16\x03\x01\x40\x00\x01\xff\xff\xff");
    // … else at the bound: padding makes the hello end there, or one byte behind.
    let sized = |size: usize| {
        let rest = Build::with(&[extension(21, &[])]).message().len();
        let headers = 4 * RECORD_HEADER;
        Build::with(&[extension(21, &vec![0; size - headers - rest])]).message()
    };
    let fits = records(&sized(HELLO_BYTES_MAX), 16_384);
    assert_eq!(fits.len(), HELLO_BYTES_MAX);
    assert_eq!(hello(&fits).length, HELLO_BYTES_MAX);
    let large = sized(HELLO_BYTES_MAX + 1);
    refused(Refusal::TooLarge, &records(&large, 16_384));
    // Also where headers take the room.
    refused(Refusal::TooLarge, &records(&sized(20_000), 1));
}

#[test]
fn fixed_parts() {
    let sound = Build::default();
    assert_eq!(hello(&sound.bytes()).version, Some(0x0303));
    for broken in [
        Build { version: 0x02ff, ..sound.clone() },
        Build { session: vec![0; 33], ..sound.clone() },
        Build { ciphers: vec![], ..sound.clone() },
        Build { ciphers: vec![0; 3], ..sound.clone() },
        Build { compression: vec![], ..sound.clone() },
        // Trailing bytes, with and without extensions, and extensions that claim too much.
        Build { extensions: vec![0], ..sound.clone() },
        Build { extensions: vec![0, 0, 0], ..sound.clone() },
        Build { extensions: vec![0, 1], ..sound.clone() },
        Build { extensions: [vec16(&sni(b"a")), vec![0]].concat(), ..sound.clone() },
    ] {
        refused(Refusal::Malformed, &broken.bytes());
    }
    // Every shorter message, its length told truly; without its extensions it is whole again.
    let whole = Build::with(&[sni(b"a")]).message();
    let bare = sound.message().len();
    for end in (4..whole.len()).filter(|end| *end != bare) {
        refused(Refusal::Malformed, &records(&message(&whole[4..end]), 16_384));
    }
    for session in [0, 1, 32] {
        hello(&Build { session: vec![0; session], ..sound.clone() }.bytes());
    }
}

#[test]
fn versions() {
    let version = |version, offered: Option<&[u16]>| {
        let list: Vec<_> =
            offered.iter().copied().flatten().flat_map(|v| v.to_be_bytes()).collect();
        let extensions = offered.map(|_| extension(43, &vec8(&list)));
        let build = Build::with(extensions.as_slice());
        hello(&Build { version, ..build }.bytes()).version
    };
    assert_eq!(version(0x0300, None), Some(0x0300));
    // TLS 1.3 is offered by the extension only.
    assert_eq!(version(0x0304, None), Some(0x0303));
    assert_eq!(version(0x0303, Some(&[0x0303, 0x0304, 0x0302])), Some(0x0304));
    assert_eq!(version(0x0303, Some(&[0xfafa, 0x7f1c, 0x0303])), Some(0x0303));
    assert_eq!(version(0x0303, Some(&[0x0a0a])), None);
    for broken in [&[][..], &[0], &[1, 3], &[2, 3], &[2, 3, 4, 0], &[3, 3, 4, 3], &[4, 3, 4]] {
        malformed(&[extension(43, broken)]);
    }
}

#[test]
fn server_names() {
    let name = |list: &[u8]| hello(&Build::with(&[extension(0, &vec16(list))]).bytes()).server_name;
    assert_eq!(name(b"\0\0\x04A_b.").as_deref(), Some("a_b"));
    assert_eq!(name(b"\0\0\x03::1"), None);
    assert_eq!(name(b"\0\0\x07192.0.2"), Some("192.0.2".into()));
    // Types of names that nobody knows are passed over.
    assert_eq!(name(b"\x07\0\0"), None);
    assert_eq!(name(b"\x07\0\x01x\0\0\x01a\x08\0\x01y").as_deref(), Some("a"));
    for list in [
        &b""[..],
        b"\0",
        b"\0\0",
        b"\0\0\0",
        b"\0\0\x02a",
        b"\0\0\x01ab",
        b"\0\0\x01a\0",
        b"\0\0\x01a\x01",
        b"\0\0\x01a\0\0\x01a",
        b"\0\0\x01a\0\0\x01b",
        b"\0\0\x01.",
        b"\0\0\x02a\0",
        b"\0\0\x02a ",
        b"\0\0\x02\xc3\xbc",
        b"\0\0\x03a..",
    ] {
        malformed(&[extension(0, &vec16(list))]);
    }
    malformed(&[extension(0, b"")]);
    malformed(&[extension(0, b"\0")]);
    malformed(&[extension(0, b"\0\x04\0\0\x01a\0")]);
    malformed(&[extension(0, b"\0\x05\0\0\x01a")]);
}

#[test]
fn protocols() {
    let alpn = |list: &[u8]| hello(&Build::with(&[extension(16, &vec16(list))]).bytes()).alpn;
    assert_eq!(alpn(b"\x02h2\x01\0"), [b"h2"[..].into(), b"\0"[..].into()]);
    // GREASE has two equal bytes.
    assert_eq!(alpn(b"\x02\x0a\x0a\x02\xfa\xfa"), Vec::<Box<[u8]>>::new());
    assert_eq!(alpn(b"\x02\x0a\x1a\x02hh"), [b"\x0a\x1a"[..].into(), b"hh"[..].into()]);
    for list in [&b""[..], b"\0", b"\x02h2\0", b"\x03h2", b"\x02h2\x01"] {
        malformed(&[extension(16, &vec16(list))]);
    }
    malformed(&[extension(16, b"")]);
    malformed(&[extension(16, b"\0\x03\x02h2\0")]);
}

#[test]
fn extensions() {
    let (grease, ech) = (extension(0x0a0a, b""), extension(0xfe0d, b"anything"));
    assert!(hello(&Build::with(&[grease.clone(), ech.clone(), sni(b"a")]).bytes()).ech);
    assert!(!hello(&Build::with(&[extension(0x1a1a, b"\0"), grease.clone()]).bytes()).ech);
    for twice in [sni(b"a"), extension(16, b"\0\x02\x01a"), extension(999, b""), grease, ech] {
        malformed(&[twice.clone(), extension(1000, b"x"), twice]);
    }
    // As many as there is room for, and one of them twice.
    let mut many: Vec<_> = (50..16_000).map(|kind| extension(kind, b"")).collect();
    let bytes = |list: &[Vec<u8>]| records(&Build::with(list).message(), 16_384);
    assert_eq!(hello(&bytes(&many)).server_name, None);
    many.push(extension(8000, b""));
    assert_eq!(read(&bytes(&many)), Progress::Refused(Refusal::Malformed));
}

#[test]
fn work_is_linear() {
    // 64 KiB of records of one byte, a byte at a time.
    let room = HELLO_BYTES_MAX / (RECORD_HEADER + 1);
    let padding = room - Build::with(&[extension(21, &[])]).message().len();
    let bytes = records(&Build::with(&[extension(21, &vec![0; padding])]).message(), 1);
    assert!(bytes.len() > HELLO_BYTES_MAX - 6);
    let mut reader = Reader::default();
    let answers: Vec<_> = (1..=bytes.len()).map(|end| reader.read(&bytes[..end])).collect();
    assert!(matches!(answers.last(), Some(Progress::Hello(_))));
    assert!(answers.iter().rev().skip(1).all(|answer| *answer == Progress::More));
    assert!(reader.steps <= 2 * bytes.len(), "{} steps", reader.steps);
}
