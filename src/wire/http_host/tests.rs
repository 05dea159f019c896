//! Request heads: sound ones, those wrong in one way each, and any bytes.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;
use proptest::string::string_regex;

use super::*;

/// Tells the answer, which must not depend on how the head is cut.
fn read(head: &[u8]) -> Progress {
    fuzz(head);
    let answer = Reader::default().read(head);
    for cut in 0..head.len() {
        let mut reader = Reader::default();
        let first = reader.read(&head[..cut]);
        if first != Progress::More {
            assert_eq!(first, answer, "cut at {cut}: {}", head.escape_ascii());
        }
        assert_eq!(reader.read(head), answer, "cut at {cut}: {}", head.escape_ascii());
    }
    answer
}

/// The host of a head, which is known with the last byte and not before.
fn host(head: &str) -> Option<Box<str>> {
    let head = head.as_bytes();
    assert_eq!(read(&head[..head.len() - 1]), Progress::More, "{}", head.escape_ascii());
    match read(&[head, b"\x00GET / HTTP/1.1\r\nHost: next\r\n\r\n"].concat()) {
        Progress::Host(host) => {
            assert_eq!(read(head), Progress::Host(host.clone()));
            host
        }
        other => panic!("{}: {other:?}", head.escape_ascii()),
    }
}

fn refused(refusal: Refusal, head: &[u8]) {
    assert_eq!(read(head), Progress::Refused(refusal), "{}", head.escape_ascii());
}

/// A head with this `Host`.
fn with(value: &str) -> String {
    format!("GET / HTTP/1.1\r\nHost: {value}\r\n\r\n")
}

#[test]
fn a_host() {
    for (value, expected) in [
        ("example.com", Some("example.com")),
        ("  EXAMPLE.com.\t ", Some("example.com")),
        ("example.com:8443", Some("example.com")),
        ("example.com:", Some("example.com")),
        ("", None),
        (" \t ", None),
        ("192.0.2.1:80", None),
        ("[2001:db8::1]", None),
        ("[::1]:8080", None),
    ] {
        assert_eq!(host(&with(value)).as_deref(), expected, "{value:?}");
    }
}

#[test]
fn heads_of_every_shape() {
    for (head, expected) in [
        ("GET / HTTP/1.1\r\n\r\n", None),
        ("GET / HTTP/1.0\r\nHost: a\r\n\r\n", Some("a")),
        ("GET /a?b HTTP/1.1\r\nX: y\r\nhOST:a\r\nZ:\r\n\r\n", Some("a")),
        // Bare LF, also mixed, and an empty line before.
        ("GET / HTTP/1.1\nHost: a\n\n", Some("a")),
        ("GET / HTTP/1.1\r\nHost: a\n\r\n", Some("a")),
        ("\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", Some("a")),
        ("\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", Some("a")),
        // The same host twice.
        ("GET / HTTP/1.1\r\nHost: a\r\nHost: A\r\n\r\n", Some("a")),
        // Values and targets beyond ASCII.
        ("GET /ü HTTP/1.1\r\nX: ü\tü\r\nHost: a\r\n\r\n", Some("a")),
        // The target wins.
        ("GET http://b.example HTTP/1.1\r\nHost: a\r\n\r\n", Some("b.example")),
        ("GET HTTPS://B:80/http://c/ HTTP/1.1\r\n\r\n", Some("b")),
        ("GET http://b?c HTTP/1.1\r\nHost:\r\n\r\n", Some("b")),
        ("GET http://[::1]:1/ HTTP/1.1\r\nHost: a\r\n\r\n", None),
        ("CONNECT b:443 HTTP/1.1\r\nHost: a\r\n\r\n", Some("b")),
        ("CONNECT [::1]:443 HTTP/1.1\r\nHost: a\r\n\r\n", None),
        ("OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", Some("a")),
        ("M-SEARCH!x /a HTTP/1.9\r\nHost: a\r\n\r\n", Some("a")),
        ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", None),
    ] {
        assert_eq!(host(head).as_deref(), expected, "{head:?}");
    }
}

#[test]
fn another_protocol() {
    for start in [
        &b"\x16"[..],
        b"\0",
        b" ",
        b"\r\r",
        b"\rG",
        b"\r\n\r",
        b"\n\n",
        b"SSH-2.0-x\r",
        b"GET\r",
        b"GET\t",
        b"GET:",
        b"G\xc3",
        b"PRI * HTTP/1",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\n",
        b"GET /\n",
        b"GET / \n",
        b"GET / HTTP/2.0\n",
        b"GET / HTTP/1.10\n",
        b"GET / http/1.1\n",
        b"GET / HTTP/1.1 \n",
        b"hello out there\n",
    ] {
        refused(Refusal::NotHttp, start);
        let before = &start[..start.len() - 1];
        assert_eq!(read(before), Progress::More, "{}", before.escape_ascii());
    }
}

#[test]
fn broken_request_lines() {
    for line in [
        "GET  / HTTP/1.1",
        "GET /  HTTP/1.1",
        "GET /a b HTTP/1.1",
        "GET /\tb HTTP/1.1",
        "GET /\0 HTTP/1.1",
        "GET /\x7f HTTP/1.1",
        "GET HTTP/1.1",
        "GET  HTTP/1.1",
        "GET * HTTP/1.1",
        "GET a HTTP/1.1",
        "GET a:80 HTTP/1.1",
        "GET http:/a HTTP/1.1",
        "GET http:// HTTP/1.1",
        "GET http:///a HTTP/1.1",
        "GET http://:80/ HTTP/1.1",
        "GET http://u@a/ HTTP/1.1",
        "GET http://a:b/ HTTP/1.1",
        "GET 1http://a/ HTTP/1.1",
        "GET ht_tp://a/ HTTP/1.1",
        "GET ://a/ HTTP/1.1",
        "CONNECT a HTTP/1.1",
        "CONNECT a: HTTP/1.1",
        "CONNECT a:0 HTTP/1.1",
        "CONNECT a:65536 HTTP/1.1",
        "CONNECT a:+1 HTTP/1.1",
        "CONNECT :443 HTTP/1.1",
        "CONNECT /a HTTP/1.1",
        "CONNECT http://a/ HTTP/1.1",
        "CONNECT u@a:443 HTTP/1.1",
    ] {
        refused(Refusal::Malformed, format!("{line}\n").as_bytes());
    }
}

#[test]
fn broken_hosts() {
    for value in [
        "a b",
        "a, b",
        "a/b",
        "u@a",
        "a:b",
        "a:80:80",
        ":80",
        ":",
        "::1",
        "a..b",
        ".",
        "*",
        "%61",
        "ü",
        "[",
        "[]",
        "[a]",
        "[::1",
        "[::1]x",
        "[::1]:x",
        "[::1.]",
        "[192.0.2.1]",
        "a]",
        "[[::1]]",
        "\u{7f}",
    ] {
        refused(Refusal::Malformed, with(value).as_bytes());
    }
}

#[test]
fn broken_fields() {
    for fields in [
        "Host : a",
        " Host: a",
        "\tHost: a",
        "Host\t: a",
        "X: y\r\n z: folded",
        "X: y\r\n\tfolded",
        "Host: a\r\n .b",
        ": a",
        "Host",
        "H(st: a",
        "X: a\0b",
        "X: a\rb",
        "X: a\r\r",
        "X: a\x07",
        // Two hosts, whichever comes first.
        "Host: a\r\nHost: b",
        "Host: a\r\nHost:",
        "Host:\r\nHost: a",
        "Host: a\r\nX: y\r\nhost: a:80",
    ] {
        refused(Refusal::Malformed, format!("GET / HTTP/1.1\r\n{fields}\r\n\r\n").as_bytes());
    }
    // A broken `Host` is refused also where the target would win.
    refused(Refusal::Malformed, b"GET http://a/ HTTP/1.1\r\nHost: b@c\r\n\r\n");
}

#[test]
fn too_large() {
    let empty = "GET / HTTP/1.1\r\nHost: a\r\nX: \r\n\r\n".len();
    let sized = |size: usize| {
        let filling = "x".repeat(size - empty);
        format!("GET / HTTP/1.1\r\nHost: a\r\nX: {filling}\r\n\r\n").into_bytes()
    };
    let read = |head: &[u8]| {
        fuzz(head);
        Reader::default().read(head)
    };
    let largest = sized(HTTP_HEAD_BYTES_MAX);
    assert_eq!(largest.len(), HTTP_HEAD_BYTES_MAX);
    assert_eq!(read(&largest), Progress::Host(Some("a".into())));
    let larger = sized(HTTP_HEAD_BYTES_MAX + 1);
    assert_eq!(read(&larger), Progress::Refused(Refusal::TooLarge));
    assert_eq!(read(&larger[..HTTP_HEAD_BYTES_MAX - 1]), Progress::More);
    assert_eq!(read(&[b'A'; 20_000]), Progress::Refused(Refusal::TooLarge));
}

#[test]
fn work_is_linear() {
    let lines = "X:\n".repeat(5000);
    let filling = "x".repeat(15_000);
    for head in [format!("GET / HTTP/1.1\n{lines}\n"), format!("{filling} /{filling}")] {
        let mut reader = Reader::default();
        let bytes = head.as_bytes();
        for end in 1..=bytes.len() {
            reader.read(&bytes[..end]);
        }
        assert!(reader.steps <= 2 * bytes.len(), "{} steps", reader.steps);
    }
}

/// Heads that are sound or nearly so.
fn near() -> impl Strategy<Value = Vec<u8>> {
    let word = "(GET|CONNECT|OPTIONS|PRI|/|\\*|a:1|http://[a-c:@]{0,4}/?|HTTP/1\\.[01]|HTTP/2\\.0)";
    let field = "([Hh]ost|X|)[ \t]{0,1}:{0,1} ?[a-c.:\\[\\]1]{0,5}\r?\n";
    let head = format!("(\r?\n){{0,1}}{word} {word} {word}\r?\n({field}){{0,3}}\r?\n?");
    string_regex(&head).expect("a pattern").prop_map(String::into_bytes)
}

proptest! {
    #[test]
    fn near_heads(head in near()) {
        read(&head);
    }

    #[test]
    fn mutated(mut head in near(), places in vec((any::<Index>(), any::<u8>()), 1..4)) {
        for (place, byte) in places {
            let place = place.index(head.len());
            head[place] = byte;
        }
        read(&head);
    }

    #[test]
    fn random(bytes in vec(any::<u8>(), 0..200)) {
        fuzz(&bytes);
        fuzz(&[b"GET / HTTP/1.1\n", &bytes[..]].concat());
    }
}
