//! Headers by hand.

use super::*;

#[test]
fn lines() {
    for (line, source, destination) in [
        // The specification's own example.
        (
            "PROXY TCP4 192.168.0.1 192.168.0.11 56324 443\r\n",
            "192.168.0.1:56324",
            "192.168.0.11:443",
        ),
        (
            "PROXY TCP4 255.255.255.255 255.255.255.255 65535 65535\r\n",
            "255.255.255.255:65535",
            "255.255.255.255:65535",
        ),
        ("PROXY TCP4 0.0.0.0 0.0.0.0 0 0\r\n", "0.0.0.0:0", "0.0.0.0:0"),
        ("PROXY TCP6 2001:db8::1 ::1 1 10\r\n", "[2001:db8::1]:1", "[::1]:10"),
        ("PROXY TCP6 2001:DB8::A 0:0::0 1 10\r\n", "[2001:db8::a]:1", "[::]:10"),
        // As HAProxy writes mapped addresses.
        ("PROXY TCP6 ::ffff:192.0.2.1 ::1 1 10\r\n", "[::ffff:192.0.2.1]:1", "[::1]:10"),
        (
            "PROXY TCP6 ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff \
             ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 65535 65535\r\n",
            "[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:65535",
            "[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:65535",
        ),
    ] {
        let (source, destination) = (address(source), address(destination));
        let expected = Header { source, destination, length: line.len(), ..Header::default() };
        assert_eq!(header(line.as_bytes()), expected);
    }
}

#[test]
fn unknown_lines() {
    for rest in [
        "",
        " ",
        "  TCP4 ",
        " TCP4 192.0.2.1 192.0.2.2 1 2",
        " \0\u{7f}ü",
        " ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 65535 65535",
    ] {
        let line = format!("PROXY UNKNOWN{rest}\r\n");
        let expected = Header { length: line.len(), ..Header::default() };
        assert_eq!(header(line.as_bytes()), expected);
    }
}

#[test]
fn broken_lines() {
    for start in [
        "PROXYx",
        "PROXY\t",
        "PROXY\r",
        "PROXY  ",
        "PROXY t",
        "PROXY TCP5",
        "PROXY TCP4\r",
        "PROXY TCP6x",
        "PROXY UD",
        "PROXY UNKNOWNx",
        "PROXY UNKNOWN\n",
        "PROXY UNKNOWN\rx",
        "PROXY UNKNOWN x\n",
        "PROXY UNKNOWN x\r\r",
        "PROXY TCP4 1.2.3.4 1.2.3.4 1 2\n",
        "PROXY TCP4 1.2.3.4 1.2.3.4 1 2\r ",
    ] {
        refused(Refusal::Malformed, start.as_bytes());
    }
    for rest in [
        "",
        "1.2.3.4",
        "1.2.3.4 1.2.3.4",
        "1.2.3.4 1.2.3.4 1",
        "1.2.3.4 1.2.3.4 1 ",
        "1.2.3.4 1.2.3.4 1 2 ",
        "1.2.3.4 1.2.3.4 1 2 3",
        " 1.2.3.4 1.2.3.4 1 2",
        "1.2.3.4  1.2.3.4 1 2",
        "1.2.3.4 1.2.3.4  1 2",
        "1.2.3.4 1.2.3.4 1  2",
        "1.2.3.4\t1.2.3.4 1 2",
        "1.2.3.4 ::1 1 2",
        "::1 ::1 1 2",
        "1.2.3 1.2.3.4 1 2",
        "1.2.3.4.5 1.2.3.4 1 2",
        "1.2.3.256 1.2.3.4 1 2",
        "1.2.3.04 1.2.3.4 1 2",
        "1.2..4 1.2.3.4 1 2",
        "1.2.3.4 +1.2.3.4 1 2",
        "1.2.3.4 1.2.3.4 01 2",
        "1.2.3.4 1.2.3.4 00 2",
        "1.2.3.4 1.2.3.4 +1 2",
        "1.2.3.4 1.2.3.4 -1 2",
        "1.2.3.4 1.2.3.4 1 65536",
        "1.2.3.4 1.2.3.4 1 0x2",
        "1.2.3.4 1.2.3.4 1 2x",
        "1.2.3.4 1.2.3.4 1 ²",
        "a.example 1.2.3.4 1 2",
    ] {
        refused(Refusal::Malformed, format!("PROXY TCP4 {rest}\r\n").as_bytes());
    }
    for rest in [
        "1.2.3.4 ::1 1 2",
        "::1 1.2.3.4 1 2",
        "::1%lo ::1 1 2",
        "[::1] ::1 1 2",
        ":: :: 1",
        "1::2::3 ::1 1 2",
        ":1 ::1 1 2",
        "12345::1 ::1 1 2",
        "g::1 ::1 1 2",
        "1:2:3:4:5:6:7 ::1 1 2",
        "1:2:3:4:5:6:7:8:9 ::1 1 2",
        "::1 ::1/128 1 2",
    ] {
        refused(Refusal::Malformed, format!("PROXY TCP6 {rest}\r\n").as_bytes());
    }
}

#[test]
fn long_lines() {
    let line = |length: usize| format!("PROXY UNKNOWN {}\r\n", "x".repeat(length - 16));
    assert_eq!(header(line(107).as_bytes()).length, 107);
    refused(Refusal::TooLarge, &line(108).as_bytes()[..107]);
    refused(Refusal::TooLarge, &line(200).as_bytes()[..107]);
    assert_eq!(read(line(108).as_bytes()), Progress::Refused(Refusal::TooLarge));
}

#[test]
fn no_header() {
    for start in [
        &b"G"[..],
        b"\x16",
        b" ",
        b"p",
        b"PRI",
        b"PROXZ",
        b"\n",
        b"\r\r",
        b"\r\nP",
        b"\r\n\r\n\r",
        b"\r\n\r\n\0\r\nQUIT\r",
        b"\r\n\r\n\0\r\nq",
    ] {
        assert_eq!(read(start), Progress::Absent, "{}", start.escape_ascii());
        assert_eq!(read(&start[..start.len() - 1]), Progress::More, "{}", start.escape_ascii());
        assert_eq!(read(&[start, b"PROXY UNKNOWN\r\n"].concat()), Progress::Absent);
    }
    assert_eq!(read(b""), Progress::More);
}

#[test]
fn addresses_of_v2() {
    assert_eq!(header(&with(&[])), tcp4());

    let six =
        [&[0x20, 1, 0xd, 0xb8][..], &[0; 11], &[1], &[0; 15], &[1], &[0, 1, 0xff, 0xff]].concat();
    let (source, destination) = (address("[2001:db8::1]:1"), address("[::1]:65535"));
    let expected = Header { source, destination, length: 52, ..Header::default() };
    assert_eq!(header(&v2(0x21, 0x21, &six)), expected);

    let unix = Unix { source: [0; UNIX_BYTES], destination: [b'x'; UNIX_BYTES] };
    let block = [unix.source, unix.destination].concat();
    let expected = Header { unix: Some(Box::new(unix)), length: 232, ..Header::default() };
    assert_eq!(header(&v2(0x21, 0x31, &block)), expected);
}

#[test]
fn addresses_that_do_not_count() {
    let alpn = tlv(0x01, b"h2");
    let tlvs = Tlvs { alpn: value("h2"), ..Tlvs::default() };
    // Datagrams, and families without a transport.
    for (kind, length) in [(0x12, 12), (0x22, 36), (0x32, 216), (0x10, 12), (0x20, 36), (0x30, 216)]
    {
        let whole = v2(0x21, kind, &[&vec![7; length][..], &alpn].concat());
        let expected = Header { tlvs: tlvs.clone(), length: whole.len(), ..Header::default() };
        assert_eq!(header(&whole), expected, "{kind:#x}");
    }
    // No family: values may follow at once, or addresses whose length nobody knows.
    for kind in [0x00, 0x01, 0x02] {
        let expected = Header { tlvs: tlvs.clone(), length: 21, ..Header::default() };
        assert_eq!(header(&v2(0x21, kind, &alpn)), expected, "{kind:#x}");
        let expected = Header { length: 28, ..Header::default() };
        assert_eq!(header(&v2(0x21, kind, &[7; 12])), expected, "{kind:#x}");
        let expected = Header { length: 16, ..Header::default() };
        assert_eq!(header(&v2(0x21, kind, &[])), expected, "{kind:#x}");
    }
    let expected = Header { length: 24, ..Header::default() };
    assert_eq!(header(&v2(0x21, 0x10, &[7; 8])), expected);
}

#[test]
fn local() {
    for (kind, rest) in [
        (0x00, &b""[..]),
        (0x00, &tlv(0x05, b"id")),
        (0x00, &[0xff; 5]),
        (0x11, b""),
        (0x11, &ADDRESSES),
        (0x11, &ADDRESSES[..5]),
        (0x99, &ADDRESSES),
        (0x00, &[0; PROXY_HEADER_BYTES_MAX - 16]),
    ] {
        let expected = Header { local: true, length: 16 + rest.len(), ..Header::default() };
        assert_eq!(header(&v2(0x20, kind, rest)), expected, "{kind:#x}");
    }
    assert_eq!(header(&LOCAL), Header { local: true, length: 16, ..Header::default() });
}

#[test]
fn unassigned() {
    // Versions and commands.
    for command in [0x00, 0x01, 0x11, 0x22, 0x2f, 0x31, 0xff] {
        refused(Refusal::Unassigned, &v2(command, 0x11, &[])[..13]);
    }
    // Families and transports.
    for kind in [0x13, 0x1f, 0x03, 0x41, 0x40, 0xf1, 0xff] {
        refused(Refusal::Unassigned, &v2(0x21, kind, &[])[..14]);
    }
}

#[test]
fn lengths_of_v2() {
    for (kind, length) in [(0x11, 11), (0x11, 0), (0x12, 11), (0x21, 35), (0x22, 12), (0x31, 215)] {
        refused(Refusal::Malformed, &v2(0x21, kind, &vec![0; length])[..16]);
    }
    let noop = |length: usize| with(&[tlv(0x04, &vec![0; length - 28 - 3])]);
    assert_eq!(header(&noop(4096)), Header { length: 4096, ..tcp4() });
    refused(Refusal::TooLarge, &noop(4097)[..16]);
    refused(Refusal::TooLarge, &v2(0x20, 0x00, &[0; 65535])[..16]);
}

#[test]
fn values() {
    let ssl = [
        &[0x07, 0xff, 0, 0, 0x12][..],
        &tlv(0x21, b"TLSv1.3"),
        &tlv(0x22, b"caf\xe9"),
        &tlv(0x23, b"cipher"),
        &tlv(0x24, b"signature"),
        &tlv(0x25, b"key"),
        &tlv(0x26, b"group"),
        &tlv(0x27, b"scheme"),
        &tlv(0x28, b"\x30\x00"),
        &tlv(0x02, b"not here"),
        &tlv(0x29, b"later"),
    ];
    let whole = with(&[
        tlv(0x04, b""),
        tlv(0xe0, b"own"),
        tlv(0x01, b"h2"),
        tlv(0x02, b"www.example.com"),
        tlv(0x05, &[7; 128]),
        tlv(0x20, &ssl.concat()),
        tlv(0x04, b"padding"),
        tlv(0x30, b"space"),
        tlv(0x00, b""),
        tlv(0xe0, b"again"),
    ]);
    let mut told = header(&whole).tlvs;
    let others: Vec<_> = told.others.iter().collect();
    assert_eq!(others, [(0xe0, &b"own"[..]), (0x00, b""), (0xe0, b"again")]);
    let inner = told.ssl.as_mut().expect("told");
    let others: Vec<_> = inner.others.iter().collect();
    assert_eq!(others, [(0x02, &b"not here"[..]), (0x29, b"later")]);
    inner.others = Others::default();
    told.others = Others::default();
    let expected = Tlvs {
        alpn: value("h2"),
        authority: value("www.example.com"),
        unique_id: Some(vec![7; 128].into()),
        ssl: Some(Box::new(Ssl {
            client: CLIENT_SSL | CLIENT_CERT_CONN | CLIENT_CERT_SESS,
            verify: 0xff00_0012,
            version: value("TLSv1.3"),
            common_name: Some((*b"caf\xe9").into()),
            cipher: value("cipher"),
            signature_algorithm: value("signature"),
            key_algorithm: value("key"),
            group: value("group"),
            signature_scheme: value("scheme"),
            client_certificate: Some([0x30, 0].into()),
            others: Others::default(),
        })),
        netns: value("space"),
        others: Others::default(),
    };
    assert_eq!(told, expected);
}

#[test]
fn broken_values() {
    let ssl = |inner: &[u8]| tlv(0x20, &[&[1, 0, 0, 0, 0], inner].concat());
    for tlvs in [
        // Cut off, at every place.
        vec![vec![0x01]],
        vec![vec![0x01, 0]],
        vec![vec![0x01, 0, 1]],
        vec![vec![0x01, 0xff, 0xff, b'h']],
        vec![tlv(0x01, b"h2"), vec![0]],
        // Wrong in their length.
        vec![tlv(0x03, &[0; 3])],
        vec![tlv(0x03, &[0; 5])],
        vec![tlv(0x05, &[0; 129])],
        vec![tlv(0x20, &[])],
        vec![tlv(0x20, &[1, 0, 0, 0])],
        vec![ssl(&[0x21])],
        vec![ssl(&[0x21, 0, 1])],
        vec![ssl(&[0x21, 0, 0, 0])],
        // Twice.
        vec![tlv(0x01, b"h2"), tlv(0x01, b"h2")],
        vec![tlv(0x02, b"a"), tlv(0x04, b""), tlv(0x02, b"b")],
        vec![tlv(0x03, &[0; 4]), tlv(0x03, &[0; 4])],
        vec![tlv(0x05, b"a"), tlv(0x05, b"b")],
        vec![ssl(b""), ssl(b"")],
        vec![tlv(0x30, b"a"), tlv(0x30, b"a")],
        vec![ssl(&[tlv(0x22, b"a"), tlv(0x22, b"b")].concat())],
    ] {
        refused(Refusal::Malformed, &with(&tlvs));
    }
}

/// The checksum as RFC 3720 §B.4 has it: bit by bit.
fn bitwise(bytes: &[u8]) -> u32 {
    let bit = |sum: u32| (sum >> 1) ^ (0x82f6_3b78 * (sum & 1));
    let byte = |sum: u32, byte: &u8| (0..8).fold(sum ^ u32::from(*byte), |sum, _| bit(sum));
    !bytes.iter().fold(!0, byte)
}

#[test]
fn checksums() {
    assert_eq!(bitwise(&[0; 32]), 0x8a91_36aa, "RFC 3720 §B.4");
    let mut whole = with(&[tlv(0x01, b"h2"), tlv(0x03, &[0; 4]), tlv(0x02, b"a")]);
    let place = whole.len() - 4 - 4;
    let sum = bitwise(&whole).to_be_bytes();
    whole[place..place + 4].copy_from_slice(&sum);
    assert_eq!(header(&whole).tlvs.authority, value("a"));
    // One bit wrong anywhere in what is summed.
    for at in [16, 27, 31, place, place + 3, whole.len() - 1] {
        let mut wrong = whole.clone();
        wrong[at] ^= 0x10;
        refused(Refusal::BadChecksum, &wrong);
    }
    // Also where nothing else counts.
    refused(Refusal::BadChecksum, &v2(0x20, 0x00, &tlv(0x03, &[0; 4])));
    refused(Refusal::BadChecksum, &v2(0x21, 0x00, &tlv(0x03, &[0; 4])));
}

#[test]
fn written_lines() {
    for (source, destination, expected) in [
        ("192.0.2.1:1", "192.0.2.2:65535", "TCP4 192.0.2.1 192.0.2.2 1 65535"),
        ("[2001:db8::1]:1", "[::1]:2", "TCP6 2001:db8::1 ::1 1 2"),
        // An IPv4 client of a socket for both families.
        ("[::ffff:192.0.2.1]:1", "[::ffff:192.0.2.2]:2", "TCP4 192.0.2.1 192.0.2.2 1 2"),
        // Mixed.
        ("192.0.2.1:1", "[2001:db8::1]:2", "TCP6 ::ffff:c000:201 2001:db8::1 1 2"),
        ("[2001:db8::1%7]:1", "0.0.0.0:2", "TCP6 2001:db8::1 ::ffff:0:0 1 2"),
    ] {
        let line = write_v1(address(source), address(destination));
        assert_eq!(*line, *format!("PROXY {expected}\r\n").as_bytes());
        fuzz(&line);
    }
    let known = address("192.0.2.1:1");
    for (source, destination) in [(None, None), (known, None), (None, known)] {
        assert_eq!(*write_v1(source, destination), *b"PROXY UNKNOWN\r\n");
    }
    let longest = address("[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:65535");
    assert_eq!(write_v1(longest, longest).len(), 104);
    assert_eq!(format!("{:?}", write_v1(None, None)), r#""PROXY UNKNOWN\r\n""#);
}

#[test]
fn written_v2() {
    let Header { source, destination, .. } = tcp4();
    let tlvs = Tlvs::default();
    let plain = Outgoing { source, destination, tlvs: &tlvs, checksum: false };
    assert_eq!(write_v2(&plain), Ok(with(&[])));
    let nobody = Outgoing { source: None, ..plain };
    assert_eq!(write_v2(&nobody), Ok(v2(0x21, 0x00, &[])));
    let mixed = Outgoing { destination: address("[2001:db8::1]:443"), ..plain };
    let told = header(&write_v2(&mixed).expect("fits"));
    assert_eq!(told.source, address("[::ffff:192.0.2.1]:56324"));
    assert_eq!(told.destination, mixed.destination);
    let mapped = Outgoing { source: address("[::ffff:192.0.2.1]:56324"), ..plain };
    assert_eq!(write_v2(&mapped), Ok(with(&[])));
    let summed = write_v2(&Outgoing { checksum: true, ..plain }).expect("fits");
    let sum = bitwise(&with(&[tlv(0x03, &[0; 4])])).to_be_bytes();
    assert_eq!(summed, with(&[tlv(0x03, &sum)]));
}

#[test]
fn what_is_too_large_is_not_written() {
    let Header { source, destination, .. } = tcp4();
    let fits = |tlvs: &Tlvs, checksum| {
        let whole = write_v2(&Outgoing { source, destination, tlvs, checksum });
        whole.is_ok_and(|whole| header(&whole).tlvs == *tlvs)
    };
    let netns = |length: usize| Tlvs { netns: Some(vec![0; length].into()), ..Tlvs::default() };
    let most = PROXY_HEADER_BYTES_MAX - 28 - 3;
    assert!(fits(&netns(most), false));
    assert!(!fits(&netns(most + 1), false));
    assert!(fits(&netns(most - 7), true));
    assert!(!fits(&netns(most - 6), true));
    assert!(!fits(&netns(1 << 20), false));
    let unique_id =
        |length: usize| Tlvs { unique_id: Some(vec![0; length].into()), ..Tlvs::default() };
    assert!(fits(&unique_id(128), true));
    assert!(!fits(&unique_id(129), true));
    let mut ssl = Ssl { cipher: Some(vec![0; 70_000].into()), ..Ssl::default() };
    let with_ssl = |ssl: &Ssl| Tlvs { ssl: Some(Box::new(ssl.clone())), ..Tlvs::default() };
    assert!(!fits(&with_ssl(&ssl), false));
    ssl.cipher = Some([].into());
    assert!(fits(&with_ssl(&ssl), false));

    let mut others = Others::default();
    assert_eq!(others.push(0xe0, &[0; PROXY_HEADER_BYTES_MAX]), Err(TooLarge));
    assert_eq!(others, Others::default());
    while others.push(0xe0, &[7; 100]).is_ok() {}
    assert_eq!(others.iter().count(), 39);
    assert!(fits(&Tlvs { others, ..Tlvs::default() }, true));
}

#[test]
fn work_is_linear() {
    let line = [b"PROXY UNKNOWN ".to_vec(), vec![b'x'; 91], b"\r\n".to_vec()].concat();
    let mut reader = Reader::default();
    for end in 1..=line.len() {
        reader.read(&line[..end]);
    }
    assert!(reader.steps <= 2 * line.len(), "{} steps", reader.steps);
}
