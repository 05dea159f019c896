//! What real clients say, however it is cut.

use std::path::Path;
use std::sync::Arc;

use rustls::crypto::aws_lc_rs;
use rustls::pki_types::ServerName;
use rustls::server::Acceptor;
use rustls::{ClientConfig, ClientConnection, RootCertStore};

use super::*;

/// A file, and what its client was asked to say: the name, the protocols, the highest version.
type Said = (&'static str, Option<&'static str>, &'static [&'static str], u16);

const SAID: [Said; 27] = [
    ("chromium", Some("chromium.example.com"), &["h2", "http/1.1"], 0x0304),
    ("curl", Some("curl.example.com"), &["h2", "http/1.1"], 0x0304),
    ("curl-http11", Some("curl.example.com"), &["http/1.1"], 0x0303),
    ("curl-ip", None, &["h2", "http/1.1"], 0x0304),
    ("gnutls", Some("gnutls.example.com"), &[], 0x0304),
    ("gnutls-alpn-tls12", Some("gnutls.example.com"), &["h2"], 0x0303),
    ("gnutls-no-extensions", None, &[], 0x0301),
    ("gnutls-no-name", None, &[], 0x0304),
    ("go", Some("go.example.com"), &["h2", "http/1.1"], 0x0304),
    ("java", Some("java.example.net"), &[], 0x0304),
    ("java-tls12", Some("java.example.net"), &["h2"], 0x0303),
    ("node", Some("node.example.com"), &["h2", "http/1.1"], 0x0304),
    ("node-no-name", None, &["h2", "http/1.1"], 0x0304),
    ("openssl-alpn", Some("mixed.case.example.com"), &["h2", "http/1.1", "postgresql"], 0x0304),
    ("openssl-ip-name", None, &[], 0x0304),
    ("openssl-no-name", None, &[], 0x0304),
    ("openssl-psk", Some("psk.example.com"), &[], 0x0304),
    ("openssl-tls10", Some("old.example.com"), &[], 0x0301),
    ("openssl-tls12", Some("openssl.example.com"), &[], 0x0303),
    ("openssl-tls12-no-name", None, &[], 0x0303),
    ("openssl-tls13", Some("openssl.example.com"), &[], 0x0304),
    ("openssl-trailing-dot", Some("dotted.example.com"), &[], 0x0304),
    ("python", Some("python.example.org"), &[], 0x0304),
    ("python-alpn", Some("python.example.org"), &["h2", "http/1.1"], 0x0304),
    ("python-no-name", None, &[], 0x0304),
    ("python-postgresql", Some("python.example.org"), &["postgresql"], 0x0304),
    ("wget", Some("localhost"), &[], 0x0304),
];

/// All files, by name.
pub(super) fn all() -> Vec<(String, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/hellos");
    let files = folder.read_dir().expect("the corpus").map(|file| file.expect("a file").path());
    let hellos = files.filter(|path| path.extension().is_some_and(|end| end == "bin"));
    let named = |path: std::path::PathBuf| {
        let name = path.file_stem().expect("a name").to_string_lossy().into_owned();
        (name, std::fs::read(path).expect("readable"))
    };
    hellos.map(named).collect()
}

/// What rustls says when it asks for this name, with the hybrid key exchange first.
fn of_rustls(name: &'static str, alpn: Vec<Vec<u8>>) -> Vec<u8> {
    let mut provider = aws_lc_rs::default_provider();
    provider.kx_groups.insert(0, aws_lc_rs::kx_group::X25519MLKEM768);
    let mut config = ClientConfig::builder_with_provider(Arc::new(provider))
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_root_certificates(RootCertStore::empty())
        .with_no_client_auth();
    config.alpn_protocols = alpn;
    let name = ServerName::try_from(name).expect("a name");
    let mut client = ClientConnection::new(Arc::new(config), name).expect("a client");
    let mut bytes = Vec::new();
    while client.wants_write() {
        client.write_tls(&mut bytes).expect("memory takes all");
    }
    bytes
}

/// The same answer for every cut in two segments, byte by byte, and for every cut in two records; one
/// in `step` of the cuts.
fn same_however_cut(bytes: &[u8], step: usize) {
    let whole = hello(bytes);
    assert_eq!(whole.length, bytes.len());
    fuzz(bytes);
    for cut in (0..bytes.len()).step_by(step) {
        let mut reader = Reader::default();
        assert_eq!(reader.read(&bytes[..cut]), Progress::More);
        assert_eq!(reader.read(bytes), Progress::Hello(whole.clone()), "cut at {cut}");
    }
    let message = unrecorded(bytes);
    for cut in (1..message.len()).step_by(step) {
        let (one, two) = message.split_at(cut);
        let bytes = [records(one, 16_384), records(two, 16_384)].concat();
        let expected = Hello { length: bytes.len(), ..whole.clone() };
        assert_eq!(hello(&bytes), expected, "records cut at {cut}");
        if bytes.len() < 1000 {
            fuzz(&bytes);
        }
    }
}

#[test]
fn what_clients_say() {
    let files = all();
    assert_eq!(files.len(), SAID.len(), "each file has its line");
    for (file, name, alpn, version) in SAID {
        let (_, bytes) = files.iter().find(|(name, _)| name == file).expect("a file");
        let alpn = alpn.iter().map(|protocol| protocol.as_bytes().into()).collect();
        let expected = Hello {
            server_name: name.map(Into::into),
            alpn,
            version: Some(version),
            ech: file == "chromium",
            fallback: false,
            length: bytes.len(),
        };
        assert_eq!(hello(bytes), expected, "{file}");
        assert_eq!(expected.offers_tls13(), version == TLS13);
        same_however_cut(bytes, 1);
    }
}

/// An independent reader sees the same name and protocols.
#[test]
fn rustls_reads_the_same() {
    // It has no TLS 1.0 and 1.1.
    for (file, bytes) in all() {
        let ours = hello(&bytes);
        if ours.version < Some(0x0303) {
            continue;
        }
        let mut acceptor = Acceptor::default();
        acceptor.read_tls(&mut &bytes[..]).expect("memory gives all");
        let accepted = match acceptor.accept() {
            Ok(accepted) => accepted.expect("whole"),
            Err((error, _)) => panic!("{file}: {error}"),
        };
        let theirs = accepted.client_hello();
        let dotless = theirs.server_name().map(|name| name.trim_end_matches('.'));
        assert_eq!(dotless, ours.server_name.as_deref(), "{file}");
        let alpn: Vec<Box<[u8]>> = theirs.alpn().into_iter().flatten().map(Into::into).collect();
        assert_eq!(alpn, ours.alpn, "{file}");
    }
}

#[test]
fn post_quantum_rustls() {
    let bytes = of_rustls("Rustls.Example.com", vec![b"h2".to_vec()]);
    assert!(bytes.len() > 1216, "it carries an ML-KEM-768 key");
    let hello = hello(&bytes);
    assert_eq!(hello.server_name.as_deref(), Some("rustls.example.com"));
    assert_eq!(hello.alpn, [b"h2"[..].into()]);
    assert!(hello.offers_tls13() && !hello.ech);
    same_however_cut(&bytes, 1);
}

#[test]
fn as_large_as_the_format_allows() {
    // 240 names of 254 bytes: 61,200 bytes with their lengths, in four records.
    let names: Vec<_> = (0..240).map(|n| vec![n; 254]).collect();
    let bytes = of_rustls("large.example.com", names.clone());
    assert!(bytes.len() > 60_000);
    let hello = hello(&bytes);
    assert_eq!(hello.server_name.as_deref(), Some("large.example.com"));
    assert!(hello.alpn.iter().map(|name| name.to_vec()).eq(names));
    same_however_cut(&bytes, 997);
}
