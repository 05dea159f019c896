//! Certificates that services and targets name.

use super::*;
use crate::config::checked::TlsVersion;

fn named(name: &str, pair: KeyPair) -> CertificateSource {
    CertificateSource::Named(name.into(), pair)
}

fn inline(made: &Made) -> KeyPair {
    KeyPair {
        cert: Pem::inline("the certificate", &made.chain_pem()),
        key: Pem::inline("the key", &made.key_pem()),
    }
}

fn load(
    room: &Room,
    named: &[CertificateSource],
    terminations: &[&Termination],
) -> (Material, Vec<Problem>) {
    let sources = [&room.sources(), named].concat();
    Material::load(&sources, terminations.iter().copied(), std::iter::empty(), None)
}

#[test]
fn a_service_shows_its_own_and_no_other_does() {
    let room = Room::new();
    let (one, two) = (room.ca.issue(&["one.test"]), room.ca.issue(&["two.test", "server.test"]));
    let files = two.write(room.dir.path(), "two");
    let sources = [named("one", inline(&one)), named("two", files.clone())];
    let plain = room.termination(ClientAuth::None);
    let own = Termination { certificates: vec![inline(&one), files.clone()], ..plain.clone() };
    let strict = Termination { strict: true, ..own.clone() };
    let (material, problems) = load(&room, &sources, &[&plain, &own, &strict]);
    assert_eq!(problems, []);
    let careless = UpstreamTls { insecure: true, ca: None, ..room.upstream() };
    let client = client_config(&careless, None, None).unwrap();
    let shown = |termination: &Termination, name: &str| {
        let server = material.server_config(termination, ticketer().unwrap()).unwrap();
        shake(&server, &client, ServerName::try_from(name.to_owned()).unwrap()).shown()
    };
    assert_eq!(shown(&own, "one.test"), Some(one.sha256()));
    assert_eq!(shown(&own, "two.test"), Some(two.sha256()));
    assert_eq!(shown(&own, "server.test"), Some(two.sha256()), "not that of all services");
    assert_eq!(shown(&own, "x.test"), Some(one.sha256()), "the first of its own");
    assert_eq!(shown(&strict, "x.test"), None);
    assert_eq!(shown(&plain, "one.test"), Some(room.server.sha256()));
    assert_eq!(shown(&plain, "server.test"), Some(room.server.sha256()));
    let all: Vec<_> = material.certificates().map(|(name, _)| name.map(|it| &**it)).collect();
    assert_eq!(all, [None, Some("one"), Some("two")]);
    let debug = format!("{material:?}");
    assert!(!debug.contains("BEGIN"), "{debug}");
    assert!(material.paths().any(|path| Some(path) == files.key.file()));
}

#[test]
fn a_broken_one_matters_to_those_who_name_it() {
    let room = Room::new();
    let (one, other) = (room.ca.issue(&["one.test"]), room.ca.issue(&["other.test"]));
    let broken = KeyPair { key: Pem::inline("the key", &other.key_pem()), ..inline(&one) };
    assert!(crate::tls::store::check_pair(&broken).is_err());
    assert!(crate::tls::store::check_pair(&inline(&one)).is_ok());
    let sources = [named("one", broken.clone())];
    let plain = room.termination(ClientAuth::None);
    let (_, problems) = load(&room, &sources, &[&plain]);
    let told: Vec<_> = problems.iter().map(|it| (it.severity, it.source)).collect();
    assert_eq!(told, [(Severity::Warn, Some(1))], "nobody shows it");
    let own = Termination { certificates: vec![broken], ..plain };
    let (material, problems) = load(&room, &sources, &[&own]);
    let told: Vec<_> = problems.iter().map(|it| (it.severity, it.source)).collect();
    assert_eq!(told, [(Severity::Error, Some(1))]);
    let said = problems[0].to_string();
    assert!(said.contains("the certificate: ") && !said.contains("BEGIN"), "{said}");
    assert!(material.server_config(&own, ticketer().unwrap()).is_err());
    let empty = KeyPair { cert: Pem::inline("the certificate", ""), ..inline(&one) };
    let said = crate::tls::store::check_pair(&empty).unwrap_err().to_string();
    assert!(said.contains("holds no certificate"), "{said}");
}

#[test]
fn files_of_a_named_one_that_break_keep_what_was_read() {
    let room = Room::new();
    let one = room.ca.issue(&["one.test"]);
    let files = one.write(room.dir.path(), "one");
    let sources = [&room.sources()[..], &[named("one", files.clone())]].concat();
    let own = Termination { certificates: vec![files], ..room.termination(ClientAuth::None) };
    let load = |before: Option<&Material>| {
        Material::load(&sources, [&own].into_iter(), std::iter::empty(), before)
    };
    let (before, problems) = load(None);
    assert_eq!(problems, []);
    write(room.dir.path(), "one.key", "");
    let (after, problems) = load(Some(&before));
    assert!(problems.iter().all(|it| it.kept) && problems.len() == 1, "{problems:?}");
    assert_eq!(after.digest(), before.digest());
    assert_eq!(after.store_of(&own).unwrap().entries()[0].sha256, one.sha256());
    let renewed = room.ca.issue(&["one.test"]);
    renewed.write(room.dir.path(), "one");
    let (after, problems) = load(Some(&before));
    assert_eq!(problems, []);
    assert_ne!(after.digest(), before.digest(), "a change that clients can tell");
}

/// What becomes of a client that shows `made`, in both versions of TLS.
fn let_in(room: &Room, termination: &Termination, made: Option<&Made>) -> [bool; 2] {
    let material = {
        let (material, problems) = load(room, &[], &[termination]);
        assert!(problems.iter().all(|it| it.severity < Severity::Error), "{problems:?}");
        material
    };
    let server = material.server_config(termination, ticketer().unwrap()).unwrap();
    let entry = made.map(|made| Entry::read(&inline(made), None).unwrap());
    [TlsVersion::V12, TlsVersion::V13].map(|version| {
        let crypto = Crypto { min: version, max: version, suites: Vec::new() };
        let careless = UpstreamTls { insecure: true, crypto, ..UpstreamTls::to("server.test") };
        let client = client_config(&careless, None, entry.as_deref()).unwrap();
        shake(&server, &client, "server.test".try_into().unwrap()).is_ok()
    })
}

#[test]
fn certificates_are_accepted_by_themselves_beside_chains() {
    let room = Room::new();
    let other = Authority::new("another authority");
    let (of_chain, listed, stranger) =
        (room.ca.issue(&["chain"]), other.issue(&["listed"]), other.issue(&["stranger"]));
    let expired = other
        .issue_with(&["expired"], &PKCS_ECDSA_P256_SHA256, |params| valid(params, -9 * DAY, -DAY));
    let file = write(room.dir.path(), "listed.pem", listed.chain_pem() + &other.pem());
    let leaves = vec![file.into(), Pem::inline("text", &expired.chain_pem())];
    let chain = room.termination(ClientAuth::Need);
    let both = Termination { client_certs: leaves.clone(), ..chain.clone() };
    let alone = Termination { client_ca: Vec::new(), ..both.clone() };
    let want = Termination { client_auth: ClientAuth::Want, ..alone.clone() };
    let (yes, no) = ([true; 2], [false; 2]);
    for (termination, what) in [
        (&chain, [yes, no, no, no, no]),
        (&both, [yes, yes, no, no, no]),
        (&alone, [no, yes, no, no, no]),
        (&want, [no, yes, no, no, yes]),
    ] {
        let shown = [Some(&of_chain), Some(&listed), Some(&stranger), Some(&expired), None];
        let got = shown.map(|made| let_in(&room, termination, made));
        assert_eq!(got, what);
    }
    let (material, _) = load(&room, &[], &[&chain, &both, &alone]);
    let realms = [&chain, &both, &alone].map(|it| material.ticket_realm(it));
    assert!(realms[0] != realms[1] && realms[1] != realms[2], "a ticket does not lead elsewhere");
}

#[test]
fn versions_and_suites_that_are_spoken() {
    let room = Room::new();
    let number =
        |name: &str| crate::tls::suites::suites().iter().find(|it| it.name == name).unwrap().number;
    let only = "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384";
    let narrow = Crypto { suites: vec![number(only)], ..Crypto::default() };
    let old = Crypto { max: TlsVersion::V12, ..narrow.clone() };
    let new = Crypto { min: TlsVersion::V13, ..Crypto::default() };
    let spoken = |server: &Crypto, client: &Crypto| {
        let termination =
            Termination { crypto: server.clone(), ..room.termination(ClientAuth::None) };
        let upstream = UpstreamTls { crypto: client.clone(), ..room.upstream() };
        let shaken = room.shake(&termination, &upstream);
        let suite = shaken.at_client.negotiated_cipher_suite().map(|it| u16::from(it.suite()));
        shaken.is_ok().then(|| (shaken.at_client.protocol_version().unwrap(), suite.unwrap()))
    };
    let all = Crypto::default();
    assert_eq!(spoken(&all, &old), Some((ProtocolVersion::TLSv1_2, number(only))));
    assert_eq!(spoken(&old, &all), Some((ProtocolVersion::TLSv1_2, number(only))));
    assert_eq!(spoken(&narrow, &all).unwrap().0, ProtocolVersion::TLSv1_3, "keeps its own");
    assert_eq!(spoken(&new, &old), None);
    assert_eq!(spoken(&new, &all).unwrap().0, ProtocolVersion::TLSv1_3);
}
