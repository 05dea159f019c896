use std::fs;

use rcgen::{PKCS_ECDSA_P384_SHA384, PKCS_ED25519, PKCS_RSA_SHA256};

use super::entry::normal;
use super::*;
use crate::config::checked::{KeyPair, Pem};
use crate::config::limits;
use crate::tls::testing::{Authority, DAY, Made, valid, write};

const ECDSA: SignatureScheme = SignatureScheme::ECDSA_NISTP256_SHA256;
const RSA: SignatureScheme = SignatureScheme::RSA_PSS_SHA256;

fn pairs(files: &[KeyPair]) -> Vec<CertificateSource> {
    files.iter().cloned().map(CertificateSource::Pair).collect()
}

fn load(sources: &[CertificateSource]) -> Store {
    let (store, problems) = Store::load(sources, None);
    assert_eq!(problems, [], "{problems:?}");
    store
}

fn shown(store: &Store, name: &str, schemes: &[SignatureScheme]) -> [u8; 32] {
    let name = Some(name).filter(|name| !name.is_empty());
    let key = store.resolve(name, schemes).unwrap();
    sha256(key.end_entity_cert().unwrap())
}

fn only(problems: &[Problem]) -> &Problem {
    assert_eq!(problems.len(), 1, "{problems:?}");
    &problems[0]
}

#[test]
fn exact_comes_before_wildcard_before_default() {
    let dir = tempfile::tempdir().unwrap();
    let ca = Authority::new("ca");
    let default = ca.issue(&["default.test"]);
    let wild = ca.issue(&["*.example.test", "Example.TEST"]);
    let exact = ca.issue(&["db.example.test"]);
    let store = load(&pairs(&[
        default.write(dir.path(), "default"),
        wild.write(dir.path(), "wild"),
        exact.write(dir.path(), "exact"),
    ]));
    for (name, wanted, coverage) in [
        ("db.example.test", &exact, Coverage::Exact),
        ("web.example.test", &wild, Coverage::Wildcard),
        ("example.test", &wild, Coverage::Exact),
        ("a.b.example.test", &default, Coverage::Default),
        ("*.example.test", &wild, Coverage::Wildcard),
        ("default.test", &default, Coverage::Exact),
        ("test", &default, Coverage::Default),
        (".example.test", &default, Coverage::Default),
    ] {
        assert_eq!(shown(&store, name, &[ECDSA]), wanted.sha256(), "{name}");
        assert_eq!(store.covers(name), coverage, "{name}");
    }
    assert_eq!(shown(&store, "", &[ECDSA]), default.sha256());
    assert!(Store::default().resolve(Some("a"), &[ECDSA]).is_none());
    assert_eq!(Store::default().covers("a"), Coverage::Nothing);
    let entry = &store.entries()[1];
    assert_eq!(entry.names, ["*.example.test".into(), "example.test".into()]);
    assert_eq!((&*entry.subject, &*entry.issuer), ("CN=a leaf", "CN=ca"));
    assert_eq!(entry.sha256, wild.sha256());
}

#[test]
fn rsa_and_ecdsa_stand_side_by_side() {
    let dir = tempfile::tempdir().unwrap();
    let ca = Authority::new("ca");
    let rsa = ca.issue_with(&["a.test"], &PKCS_RSA_SHA256, |_| {});
    let ecdsa = ca.issue(&["a.test"]);
    let store = load(&pairs(&[rsa.write(dir.path(), "rsa"), ecdsa.write(dir.path(), "ecdsa")]));
    for name in ["a.test", "", "other.test"] {
        assert_eq!(shown(&store, name, &[RSA, ECDSA]), ecdsa.sha256(), "{name}");
        assert_eq!(shown(&store, name, &[]), ecdsa.sha256(), "{name}");
        assert_eq!(shown(&store, name, &[RSA]), rsa.sha256(), "{name}");
        // Nothing fits: one is shown nevertheless, and the handshake says what is wrong.
        assert!(store.resolve(Some(name), &[SignatureScheme::ED25519]).is_some(), "{name}");
    }
}

#[test]
fn an_exact_certificate_that_the_client_cannot_verify_yields_to_a_wildcard() {
    let dir = tempfile::tempdir().unwrap();
    let ca = Authority::new("ca");
    let exact = ca.issue_with(&["a.x.test"], &PKCS_ED25519, |_| {});
    let wild = ca.issue_with(&["*.x.test"], &PKCS_ECDSA_P384_SHA384, |_| {});
    let store = load(&pairs(&[exact.write(dir.path(), "1"), wild.write(dir.path(), "2")]));
    let p384 = SignatureScheme::ECDSA_NISTP384_SHA384;
    assert_eq!(shown(&store, "a.x.test", &[p384]), wild.sha256());
    assert_eq!(shown(&store, "a.x.test", &[p384, SignatureScheme::ED25519]), exact.sha256());
}

#[test]
fn of_several_the_newest_valid_one_is_shown_then_the_one_that_lasts_longest() {
    let dir = tempfile::tempdir().unwrap();
    let ca = Authority::new("ca");
    let make = |from, until| {
        ca.issue_with(&["a.test"], &rcgen::PKCS_ECDSA_P256_SHA256, |params| {
            valid(params, from, until);
        })
    };
    let made: Vec<Made> = [
        (-30 * DAY, 30 * DAY),
        (-5 * DAY, 60 * DAY),
        (-5 * DAY, 90 * DAY), // this one
        (DAY, 90 * DAY),
        (-2 * DAY, -DAY),
    ]
    .map(|(from, until)| make(from, until))
    .into();
    let files: Vec<_> =
        made.iter().enumerate().map(|(at, made)| made.write(dir.path(), &at.to_string())).collect();
    let (store, problems) = Store::load(&pairs(&files), None);
    assert_eq!(shown(&store, "a.test", &[ECDSA]), made[2].sha256());
    let said: Vec<_> = problems.iter().map(|problem| &*problem.what).collect();
    assert!(said.contains(&"is valid only 1 day from now"), "{said:?}");
    assert!(said.contains(&"expired 1 day ago"), "{said:?}");
    assert!(problems.iter().all(|problem| problem.severity != Severity::Error));
    // A certificate that has expired is better than none, and the client's to refuse.
    let (store, _) = Store::load(&pairs(&files[4..]), None);
    assert_eq!(shown(&store, "a.test", &[ECDSA]), made[4].sha256());
}

#[test]
fn the_end_is_warned_about_in_time_but_not_for_certificates_that_are_short_lived() {
    let dir = tempfile::tempdir().unwrap();
    let ca = Authority::new("ca");
    let problems = |from, until| {
        let made = ca.issue_with(&["a.test"], &rcgen::PKCS_ECDSA_P256_SHA256, |params| {
            valid(params, from, until);
        });
        Store::load(&pairs(&[made.write(dir.path(), "a")]), None).1
    };
    let soon = problems(-80 * DAY, 10 * DAY - 60);
    assert_eq!(only(&soon).what, "expires 9 days from now");
    assert_eq!(only(&soon).severity, Severity::Warn);
    assert_eq!(problems(-70 * DAY, 20 * DAY), []);
    assert_eq!(problems(-DAY, 6 * DAY), [], "one for a week, renewed every other day");
}

#[test]
fn a_key_of_another_certificate_is_an_error_that_names_both() {
    let dir = tempfile::tempdir().unwrap();
    let ca = Authority::new("ca");
    let files = ca.issue(&["a.test"]).write(dir.path(), "a");
    write(dir.path(), "a.key", ca.issue(&["a.test"]).key_pem());
    let (store, problems) = Store::load(&pairs(std::slice::from_ref(&files)), None);
    assert!(store.is_empty());
    let problem = only(&problems);
    assert_eq!((problem.source, problem.severity, problem.kept), (Some(0), Severity::Error, false));
    let said = problem.to_string();
    assert!(said.starts_with(&format!("{}: the private key in", files.cert.place().display())));
    assert!(said.contains("a.key does not belong to this certificate; the leaf must"), "{said}");
}

#[test]
fn what_cannot_be_used_keeps_what_was_read_before() {
    let dir = tempfile::tempdir().unwrap();
    let ca = Authority::new("ca");
    let made = ca.issue(&["a.test"]);
    let other = ca.issue(&["a.test"]);
    let sources = pairs(&[made.write(dir.path(), "a")]);
    let before = load(&sources);
    let pem = made.chain_pem();
    let ways: [(&str, &str, String); 8] = [
        ("a.pem", "breaks off", pem[..pem.len() / 2].to_owned()),
        ("a.pem", "is empty", String::new()),
        ("a.pem", "no certificate", "hello".to_owned()),
        ("a.pem", "malformed", pem.replacen("MII", "AII", 1)),
        ("a.pem", "does not belong", other.chain_pem()),
        ("a.key", "does not belong", other.key_pem()),
        ("a.key", "no private key", made.chain_pem()),
        ("a.key", "several", made.key_pem() + &other.key_pem()),
    ];
    for (file, what, text) in ways {
        made.write(dir.path(), "a");
        write(dir.path(), file, text);
        let (store, problems) = Store::load(&sources, Some(&before));
        let problem = only(&problems);
        assert!(problem.what.contains(what), "{problem}");
        assert_eq!((problem.severity, problem.kept), (Severity::Warn, true), "{problem}");
        assert_eq!(store.fingerprint(), before.fingerprint());
        assert_eq!(shown(&store, "a.test", &[ECDSA]), made.sha256());
        let (store, problems) = Store::load(&sources, None);
        assert_eq!((only(&problems).severity, store.is_empty()), (Severity::Error, true));
    }
    for file in ["a.pem", "a.key"] {
        made.write(dir.path(), "a");
        fs::remove_file(dir.path().join(file)).unwrap();
        let (store, problems) = Store::load(&sources, Some(&before));
        assert!(only(&problems).to_string().contains("there is no such file (what was loaded"));
        assert_eq!(store.fingerprint(), before.fingerprint());
    }
    other.write(dir.path(), "a");
    let (store, problems) = Store::load(&sources, Some(&before));
    assert_eq!(problems, []);
    assert_ne!(store.fingerprint(), before.fingerprint());
    assert_eq!(shown(&store, "a.test", &[ECDSA]), other.sha256());
}

#[test]
fn what_has_not_changed_is_taken_over_and_has_the_same_fingerprint() {
    let dir = tempfile::tempdir().unwrap();
    let ca = Authority::new("ca");
    let sources = pairs(&[
        ca.issue(&["a.test"]).write(dir.path(), "a"),
        ca.issue(&["b.test"]).write(dir.path(), "b"),
    ]);
    let before = load(&sources);
    let (store, _) = Store::load(&sources, Some(&before));
    assert_eq!(store.fingerprint(), before.fingerprint());
    assert!(Arc::ptr_eq(&store.entries()[0], &before.entries()[0]));
    let (turned, _) = Store::load(&[sources[1].clone(), sources[0].clone()], Some(&before));
    assert_ne!(turned.fingerprint(), before.fingerprint(), "the default is another");
}

#[test]
fn a_directory_takes_pairs_and_leaves_what_editors_leave() {
    let dir = tempfile::tempdir().unwrap();
    let at = dir.path();
    let ca = Authority::new("ca");
    let made = |name: &str| ca.issue(&[name]);
    made("pem.test").write(at, "b-pem");
    for (stem, extension) in [("crt", "crt"), ("cer", "cer")] {
        let made = made(&format!("{stem}.test"));
        write(at, &format!("{stem}.{extension}"), made.chain_pem());
        write(at, &format!("{stem}.key"), made.key_pem());
    }
    let both = made("both.test");
    write(at, "a-both.pem", both.key_pem() + &both.chain_pem());
    let left = made("left.test");
    for name in [".hidden.pem", "x.pem~", "#x.pem#", ".#x.pem", "x.pem.bak", "x.pem.dpkg-new"] {
        write(at, name, left.chain_pem() + &left.key_pem());
    }
    fs::create_dir(at.join("deeper")).unwrap();
    left.write(&at.join("deeper"), "x");
    write(at, "ca.crt", ca.pem());
    write(at, "notes.txt", "");
    let sources = [CertificateSource::Directory(at.to_owned())];
    let (store, problems) = Store::load(&sources, None);
    let names: Vec<_> = store.entries().iter().map(|entry| &*entry.names[0]).collect();
    assert_eq!(names, ["both.test", "pem.test", "cer.test", "crt.test"]);
    let problem = only(&problems);
    assert_eq!((problem.severity, problem.source), (Severity::Info, Some(0)), "{problem}");
    assert!(problem.path.ends_with("ca.crt"), "{problem}");

    // One goes bad, one is gone, one is new.
    write(at, "crt.key", "");
    fs::remove_file(at.join("cer.cer")).unwrap();
    made("new.test").write(at, "new");
    let (after, problems) = Store::load(&sources, Some(&store));
    let names: Vec<_> = after.entries().iter().map(|entry| &*entry.names[0]).collect();
    assert_eq!(names, ["both.test", "pem.test", "crt.test", "new.test"]);
    assert!(problems.iter().any(|problem| problem.kept && problem.path.ends_with("crt.key")));
    // The key alone is gone: it is being replaced, or somebody erred.
    fs::remove_file(at.join("crt.key")).unwrap();
    let (after, _) = Store::load(&sources, Some(&after));
    assert_eq!(after.covers("crt.test"), Coverage::Exact);

    // Broken from the start: the others serve.
    let (after, problems) = Store::load(&sources, None);
    assert_eq!(after.covers("pem.test"), Coverage::Exact);
    assert!(problems.iter().all(|problem| problem.severity != Severity::Error), "{problems:?}");

    // The whole directory cannot be read.
    fs::rename(at, at.with_extension("gone")).unwrap();
    let (kept, problems) = Store::load(&sources, Some(&store));
    assert_eq!(kept.fingerprint(), store.fingerprint());
    assert_eq!((only(&problems).severity, only(&problems).kept), (Severity::Warn, true));
    assert_eq!(only(&Store::load(&sources, None).1).severity, Severity::Error);
    fs::rename(at.with_extension("gone"), at).unwrap();
}

#[test]
fn names_are_those_of_the_extension_else_the_common_name() {
    let dir = tempfile::tempdir().unwrap();
    let ca = Authority::new("ca");
    let names = |names: &[&str], common: &str| {
        let made = ca.issue_with(names, &rcgen::PKCS_ECDSA_P256_SHA256, |params| {
            params.distinguished_name.push(rcgen::DnType::CommonName, common);
        });
        let (store, problems) = Store::load(&pairs(&[made.write(dir.path(), "a")]), None);
        let names: Vec<_> = store.entries()[0].names.iter().map(ToString::to_string).collect();
        (names, problems)
    };
    assert_eq!(names(&["a.test"], "b.test").0, ["a.test"]);
    let (found, problems) = names(&[], "Old.Test");
    assert_eq!(found, ["old.test"]);
    assert_eq!(only(&problems).severity, Severity::Info);
    assert_eq!(names(&["192.0.2.1"], "b.test").0, [""; 0], "it has the extension");
    assert_eq!(names(&[], "Alice Example").0, [""; 0], "no host name");
    assert_eq!(names(&["*.a.test", "f*.a.test", "*", "a.*.test"], "").0, ["*.a.test"]);
    assert_eq!(normal("A.test.").as_deref(), Some("a.test"));
}

#[test]
fn duplicates_are_told_and_shown_once() {
    let dir = tempfile::tempdir().unwrap();
    let ca = Authority::new("ca");
    let made = ca.issue(&["a.test"]);
    let (store, problems) =
        Store::load(&pairs(&[made.write(dir.path(), "a"), made.write(dir.path(), "b")]), None);
    assert_eq!(store.entries().len(), 1);
    assert!(only(&problems).what.starts_with("is the same certificate as in "), "{problems:?}");
    assert_eq!(only(&problems).source, Some(1));
}

#[test]
fn a_chain_out_of_order_and_one_that_is_too_long_are_told() {
    let dir = tempfile::tempdir().unwrap();
    let root = Authority::new("root");
    let middle = root.intermediate("middle");
    let mut made = middle.issue(&["a.test"]);
    made.chain = vec![middle.der(), root.der()];
    load(&pairs(&[made.write(dir.path(), "a")]));
    made.chain = vec![root.der(), middle.der()];
    let (_, problems) = Store::load(&pairs(&[made.write(dir.path(), "a")]), None);
    assert!(only(&problems).what.contains("not in the order"));
    made.chain = vec![middle.der(); limits::CHAIN_MAX];
    let (_, problems) = Store::load(&pairs(&[made.write(dir.path(), "a")]), None);
    assert!(only(&problems).what.contains("has 11 certificates"), "{problems:?}");
}

#[test]
fn only_regular_files_of_sound_size_are_read() {
    let dir = tempfile::tempdir().unwrap();
    let ca = Authority::new("ca");
    let mut files = ca.issue(&["a.test"]).write(dir.path(), "a");
    let max = limits::CERTIFICATE_FILE_BYTES_MAX;
    fs::File::options().write(true).open(files.key.place()).unwrap().set_len(max + 1).unwrap();
    let (_, problems) = Store::load(&pairs(std::slice::from_ref(&files)), None);
    assert!(only(&problems).what.contains("more than 4 MiB"));
    files.key = Pem::File("/dev/zero".into());
    let (_, problems) = Store::load(&pairs(&[files]), None);
    assert!(only(&problems).what.contains("not a regular file"));
}

#[test]
fn a_leaf_whose_intermediate_was_forgotten_is_warned_about() {
    let dir = tempfile::tempdir().unwrap();
    let root = Authority::new("root");
    let middle = root.intermediate("middle");
    // authorityInfoAccess: the issuer's certificate is at u:x.
    let access = b"\x30\x11\x30\x0f\x06\x08\x2b\x06\x01\x05\x05\x07\x30\x02\x86\x03u:x";
    let mut made = middle.issue_with(&["a.test"], &rcgen::PKCS_ECDSA_P256_SHA256, |params| {
        let oid = [1, 3, 6, 1, 5, 5, 7, 1, 1];
        params
            .custom_extensions
            .push(rcgen::CustomExtension::from_oid_content(&oid, access.to_vec()));
    });
    let (_, problems) = Store::load(&pairs(&[made.write(dir.path(), "a")]), None);
    assert_eq!(only(&problems).severity, Severity::Warn);
    assert!(only(&problems).what.contains("no intermediate"), "{problems:?}");
    made.chain = vec![middle.der()];
    load(&pairs(&[made.write(dir.path(), "a")]));
}
