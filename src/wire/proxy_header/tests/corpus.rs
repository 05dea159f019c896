//! What real senders say, however it is cut.

use std::path::Path;

use super::*;

/// All files, by name.
pub(super) fn all() -> Vec<(String, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/proxy");
    let files = folder.read_dir().expect("the corpus").map(|file| file.expect("a file").path());
    let headers = files.filter(|path| path.extension().is_some_and(|end| end == "bin"));
    let named = |path: std::path::PathBuf| {
        let name = path.file_stem().expect("a name").to_string_lossy().into_owned();
        (name, std::fs::read(path).expect("readable"))
    };
    headers.map(named).collect()
}

/// What HAProxy says of a client's TLS.
fn ssl(version: &str, cipher: &str) -> Ssl {
    Ssl {
        client: CLIENT_SSL,
        version: value(version),
        cipher: value(cipher),
        signature_algorithm: value("RSA-SHA256"),
        key_algorithm: value("RSA2048"),
        ..Ssl::default()
    }
}

/// What it says of TLS 1.3 and a certificate.
fn with_certificate(common_name: &str, verify: u32) -> Ssl {
    Ssl {
        client: CLIENT_SSL | CLIENT_CERT_CONN | CLIENT_CERT_SESS,
        verify,
        common_name: value(common_name),
        ..ssl("TLSv1.3", "TLS_AES_256_GCM_SHA384")
    }
}

/// A file; the addresses that its sender had; what else it was made to say.
type Said = (&'static str, &'static [&'static str; 2], Tlvs);

const V4: &[&str; 2] = &["127.0.0.1", "127.0.0.1"];
const V6: &[&str; 2] = &["::1", "::1"];
const MAPPED: &[&str; 2] = &["::ffff:127.0.0.1", "::ffff:127.0.0.1"];
const NONE: &[&str; 2] = &["", ""];

fn said() -> Vec<Said> {
    let none = Tlvs::default;
    let tls = |ssl: Ssl| Tlvs { ssl: Some(Box::new(ssl)), ..Tlvs::default() };
    let named = |alpn: &str, unique_id: &str, ssl: Ssl| Tlvs {
        alpn: Some(alpn).filter(|alpn| !alpn.is_empty()).and_then(value),
        authority: value("tls.example.com"),
        unique_id: value(unique_id),
        ..tls(ssl)
    };
    vec![
        ("curl-v1-tcp4", V4, none()),
        ("curl-v1-tcp6", V6, none()),
        ("curl-v1-unknown", NONE, none()),
        ("haproxy-v1-check", V4, none()),
        ("haproxy-v1-mapped", MAPPED, none()),
        ("haproxy-v1-tcp4", V4, none()),
        ("haproxy-v1-tcp6", V6, none()),
        ("haproxy-v1-unknown", NONE, none()),
        ("haproxy-v2-check", NONE, none()),
        (
            "haproxy-v2-client-certificate",
            V4,
            named(
                "http/1.1",
                "7F000001:A280_7F000001:5A54_6B015E8D_000C",
                with_certificate("client.example.com", 0),
            ),
        ),
        ("haproxy-v2-crc32c", V4, none()),
        ("haproxy-v2-mapped", MAPPED, none()),
        ("haproxy-v2-not-tls", V4, tls(Ssl::default())),
        ("haproxy-v2-tcp4", V4, none()),
        ("haproxy-v2-tcp6", V6, none()),
        (
            "haproxy-v2-tls",
            V4,
            named(
                "h2",
                "7F000001:8AE2_7F000001:5A50_6B015E8C_000A",
                ssl("TLSv1.3", "TLS_AES_256_GCM_SHA384"),
            ),
        ),
        (
            "haproxy-v2-tls12-no-name",
            V4,
            Tlvs {
                authority: None,
                ..named(
                    "",
                    "7F000001:A790_7F000001:5A52_6B015E8D_000B",
                    ssl("TLSv1.2", "ECDHE-RSA-AES256-GCM-SHA384"),
                )
            },
        ),
        ("haproxy-v2-unix", NONE, none()),
        (
            // X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT
            "haproxy-v2-unverified",
            V4,
            named(
                "",
                "7F000001:CD04_7F000001:5A56_6B015E8E_000D",
                with_certificate("stranger.example.com", 18),
            ),
        ),
        ("nginx-v1-tcp4", V4, none()),
        ("nginx-v1-tcp6", V6, none()),
        ("nginx-v1-unknown", NONE, none()),
    ]
}

#[test]
fn real_senders() {
    let files = all();
    assert_eq!(files.len(), said().len(), "each file is told of");
    for (name, addresses, tlvs) in said() {
        let (_, bytes) = files.iter().find(|(file, _)| file == name).expect(name);
        let Progress::Header(header) = read(bytes) else { panic!("{name}: {:?}", read(bytes)) };
        let ip = |address: Option<SocketAddr>| {
            address.map(|address| address.ip().to_string()).unwrap_or_default()
        };
        assert_eq!([ip(header.source), ip(header.destination)], *addresses, "{name}");
        assert_eq!(header.tlvs, tlvs, "{name}");
        assert_eq!(header.local, ["haproxy-v2-check", "haproxy-v2-unix"].contains(&name), "{name}");
        assert_eq!(header.unix, None, "{name}");
        let after = &bytes[header.length..];
        match name {
            _ if name.starts_with("curl") => assert!(after.starts_with(b"GET / HTTP/1.1\r\n")),
            _ if name.ends_with("check") => assert_eq!(after, b""),
            _ => assert_eq!(after, b"hello", "{name}"),
        }
    }
}

#[test]
fn written_as_they_write() {
    for (name, bytes) in all() {
        let Progress::Header(header) = read(&bytes) else { panic!("{name}") };
        let Header { source, destination, .. } = header;
        let theirs = &bytes[..header.length];
        if name.contains("-v1-") {
            // Mapped addresses are written as what they are.
            let same = *write_v1(source, destination) == *theirs;
            assert_eq!(same, !name.ends_with("mapped"), "{name}");
        } else if name.ends_with("check") {
            assert_eq!(LOCAL, *theirs);
        } else if ["haproxy-v2-tcp4", "haproxy-v2-tcp6"].contains(&&*name) {
            let tlvs = &header.tlvs;
            let ours = write_v2(&Outgoing { source, destination, tlvs, checksum: false });
            assert_eq!(ours.as_deref(), Ok(theirs), "{name}");
        } else if name == "haproxy-v2-crc32c" {
            let tlvs = &header.tlvs;
            let ours = write_v2(&Outgoing { source, destination, tlvs, checksum: true });
            assert_eq!(ours.as_deref(), Ok(theirs), "{name}");
        }
    }
}

#[test]
fn one_wrong_bit_is_seen() {
    for (name, bytes) in all() {
        let Progress::Header(header) = read(&bytes) else { panic!("{name}") };
        // The checksum stands right after the addresses.
        if bytes.get(28) != Some(&0x03) || header.local {
            continue;
        }
        for bit in 8 * 16..8 * header.length {
            let mut wrong = bytes[..header.length].to_vec();
            wrong[bit / 8] ^= 1 << (bit % 8);
            let answer = Reader::default().read(&wrong);
            // A wrong bit may make another type of the checksum, which then is none.
            let of_type = bit / 8 == 28;
            assert!(of_type || matches!(answer, Progress::Refused(_)), "{name}: bit {bit}");
        }
    }
}
