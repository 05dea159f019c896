//! Server certificates: which of them a client is shown, and how they are replaced while the proxy
//! runs.

use std::collections::HashSet;
use std::fs;
use std::os::unix::fs::symlink;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use rustls::client::Resumption;
use rustls::{AlertDescription, ClientConfig, SignatureScheme};
use serde_json::{Value, json};

use super::{CLOSED, NAME};
use crate::support::Stop;
use crate::support::backend::Backend;
use crate::support::certs::{Authority, Files, Issued};
use crate::support::config::{Config, Service};
use crate::support::proxy::{Launch, Proxy};
use crate::support::tls::{Dial, End, Tls};
use crate::support::wait::{SOON, wait_until};

fn afresh(dial: &Dial) -> Arc<ClientConfig> {
    let mut config = ClientConfig::clone(&dial.config());
    config.resumption = Resumption::disabled();
    Arc::new(config)
}

/// The certificate shown for a name.
#[track_caller]
fn shown(proxy: &mut Proxy, service: &Service, config: &Arc<ClientConfig>, name: &str) -> String {
    let mut client = Tls::dial(proxy.connect(service), config, name);
    client.fin();
    client.expect_close();
    let certificate = client.certificate().expect("a certificate");
    proxy.ended(client, service, CLOSED);
    certificate
}

fn service(id: &str, backend: &Backend, strict: bool) -> Service {
    let service = Service::new(id, &[backend.address]).set("tls", json!("Enabled"));
    if strict { service.set("sni", json!({ "enabled": true, "strict": true })) } else { service }
}

/// Goal: a name gets its own certificate, else that of a wildcard, else the first; of two kinds of
/// key the one that the client can verify.
#[test]
fn exact_before_wildcard_before_default() {
    let echo = Backend::echo();
    let authority = Authority::new("servers");
    let files = Files::new();
    let first = authority.issue(&["default.test", "unheard.of"]);
    let wild = authority.issue(&["*.wild.test"]);
    let exact = authority.issue(&["exact.wild.test"]);
    let (ecdsa, rsa) = (authority.issue(&["two.test"]), authority.issue_rsa(&["two.test"]));
    let directory = files.path("certs.d");
    files.pair("certs.d/exact", &exact);
    files.pair("certs.d/rsa", &rsa);
    files.put("certs.d/README", "no certificate");
    let loose = service("loose", &echo, false);
    let strict = service("strict", &echo, true);
    let config = Config::new([&loose, &strict]).set(
        "certificates",
        json!([
            files.pair("default", &first),
            files.pair("wild", &wild),
            files.pair("ecdsa", &ecdsa),
            { "directory": directory },
        ]),
    );
    let mut proxy = Launch::new(config).start();
    let dial = Dial::trusting(&authority);
    let ec = [SignatureScheme::ECDSA_NISTP256_SHA256];
    let rs = [SignatureScheme::RSA_PSS_SHA256, SignatureScheme::RSA_PKCS1_SHA256];
    // The authority has an ECDSA key, so every client can verify that; the handshake's own signature
    // is the certificate's.
    for (dial, name, expected) in [
        (dial.clone(), "default.test", &first),
        (dial.clone(), "unheard.of", &first),
        (dial.clone(), "x.wild.test", &wild),
        (dial.clone(), "exact.wild.test", &exact),
        (dial.clone(), "EXACT.Wild.test", &exact),
        (dial.clone(), "two.test", &ecdsa),
        (dial.clone().schemes(&ec), "two.test", &ecdsa),
        (dial.clone().schemes(&rs), "two.test", &rsa),
    ] {
        for service in [&loose, &strict] {
            let certificate = shown(&mut proxy, service, &afresh(&dial), name);
            assert_eq!(certificate, expected.sha256(), "{name}");
        }
    }
    // No certificate for the name: the first one, or a refusal where the service is strict.
    let mut client = Tls::client(proxy.connect(&loose), &afresh(&dial), "nobody.test");
    let end = client.shake().expect_err("the wrong name");
    assert!(
        matches!(&end, End::Fault(text) if text.contains("NotValidForName") || text.contains("not valid for name")),
        "{end:?}"
    );
    proxy.cut(client, &loose, "client/handshake/alert");
    for name in ["nobody.test", "a.b.wild.test", ""] {
        let mut client = Tls::client(proxy.connect(&strict), &afresh(&dial), name);
        assert_eq!(client.shake(), Err(End::Alert(AlertDescription::UnrecognisedName)), "{name}");
        proxy.cut(client, &strict, "us/handshake/no-certificate");
    }
    proxy.finish();
}

/// One way of replacing a pair.
enum Way {
    Rename,
    Truncate,
    KeyFirst,
    Symlink,
}

fn replace(files: &Files, way: &Way, turn: usize, issued: &Issued) {
    let (cert, key) = (files.path("live/tls.pem"), files.path("live/tls.key"));
    match way {
        Way::Rename => {
            for (path, text) in [(&cert, issued.cert_pem()), (&key, issued.key_pem())] {
                let fresh = path.with_extension("fresh");
                fs::write(&fresh, text).unwrap();
                fs::rename(&fresh, path).unwrap();
            }
        }
        Way::Truncate => {
            fs::write(&cert, issued.cert_pem()).unwrap();
            fs::write(&key, issued.key_pem()).unwrap();
        }
        Way::KeyFirst => {
            fs::write(&key, issued.key_pem()).unwrap();
            fs::write(&cert, issued.cert_pem()).unwrap();
        }
        // As secrets are mounted: the files are links through a link to a directory.
        Way::Symlink => {
            files.put(&format!("v{turn}/tls.pem"), &issued.cert_pem());
            files.put(&format!("v{turn}/tls.key"), &issued.key_pem());
            let link = files.path("fresh-link");
            symlink(files.path(&format!("v{turn}")), &link).unwrap();
            fs::rename(&link, files.path("data")).unwrap();
        }
    }
}

/// Goal: files may be replaced in any way at any time: no handshake fails, and the last one is
/// served in the end.
/// Method: 200 replacements, 50 in each way, while clients shake hands without a pause.
fn replaced_in_a_loop(way: &Way) {
    let echo = Backend::echo();
    let authority = Authority::new("servers");
    let files = Files::new();
    let issued: Vec<Issued> = (0..8).map(|_| authority.issue(&[NAME])).collect();
    let pair = match way {
        Way::Symlink => {
            replace(&files, way, 0, &issued[0]);
            fs::create_dir(files.path("live")).unwrap();
            for name in ["tls.pem", "tls.key"] {
                symlink(files.path(&format!("data/{name}")), files.path(&format!("live/{name}")))
                    .unwrap();
            }
            let path = |name: &str| files.path(name).to_string_lossy().into_owned();
            json!({ "certFile": path("live/tls.pem"), "keyFile": path("live/tls.key") })
        }
        _ => files.pair("live/tls", &issued[0]),
    };
    let service = service("svc", &echo, false);
    let config = Config::new([&service]).set("certificates", json!([pair]));
    let mut proxy = Launch::new(config).start();
    let client = afresh(&Dial::trusting(&authority));
    let known: HashSet<String> = issued.iter().map(Issued::sha256).collect();
    let (stop, done) = (Stop::default(), AtomicUsize::new(0));
    let outcomes = thread::scope(|scope| {
        let shaking = scope.spawn(|| {
            let mut outcomes = Vec::new();
            let mut seen = HashSet::new();
            while !stop.is_set() {
                let mut client = Tls::dial(proxy.connect(&service), &client, NAME);
                client.fin();
                client.expect_close();
                let certificate = client.certificate().unwrap();
                assert!(known.contains(&certificate));
                seen.insert(certificate);
                outcomes.push(client.outcome());
                done.fetch_add(1, Ordering::Relaxed);
            }
            (outcomes, seen)
        });
        let _stop = stop.at_end();
        for turn in 1..=50 {
            replace(&files, way, turn, &issued[turn % issued.len()]);
            let so_far = done.load(Ordering::Relaxed);
            wait_until("handshakes to go on", SOON, || {
                done.load(Ordering::Relaxed) > so_far + turn % 12 || shaking.is_finished()
            });
        }
        drop(_stop);
        shaking.join().unwrap().0
    });
    for outcome in outcomes {
        proxy.ended(outcome, &service, CLOSED);
    }
    let last = issued[50 % issued.len()].sha256();
    wait_until("the last certificate", SOON, || shown(&mut proxy, &service, &client, NAME) == last);
    proxy.finish();
}

#[test]
fn replaced_by_rename() {
    replaced_in_a_loop(&Way::Rename);
}

#[test]
fn replaced_by_truncation() {
    replaced_in_a_loop(&Way::Truncate);
}

#[test]
fn replaced_key_first() {
    replaced_in_a_loop(&Way::KeyFirst);
}

#[test]
fn replaced_by_symlink() {
    replaced_in_a_loop(&Way::Symlink);
}

/// Goal: a pair that cannot be used changes nothing, and the log says what is wrong with which file;
/// mended, it is served.
#[test]
fn broken_pairs_keep_the_old() {
    let echo = Backend::echo();
    let authority = Authority::new("servers");
    let files = Files::new();
    let (old, other, new) =
        (authority.issue(&[NAME]), authority.issue(&[NAME]), authority.issue(&[NAME]));
    let pair: Value = files.pair("a", &old);
    let service = service("svc", &echo, false);
    let config = Config::new([&service]).set("certificates", json!([pair]));
    let mut proxy = Launch::new(config).start();
    let client = afresh(&Dial::trusting(&authority));
    let broken: [(&str, String); 5] = [
        ("a.key", other.key_pem()),
        ("a.pem", String::new()),
        ("a.pem", old.cert_pem()[..200].to_owned()),
        ("a.pem", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n".into()),
        ("a.key", "nothing of the kind".into()),
    ];
    for (file, text) in &broken {
        let before = proxy.log().len();
        files.put(file, text);
        wait_until("word of the broken pair", SOON, || proxy.log()[before..].contains(file));
        assert_eq!(shown(&mut proxy, &service, &client, NAME), old.sha256(), "{file}: {text}");
        // So does a reload that is asked for.
        let said = proxy.reload_file();
        assert!(said.contains(file), "{said}");
        assert_eq!(shown(&mut proxy, &service, &client, NAME), old.sha256(), "{file}: {text}");
        files.pair("a", &old);
        proxy.reload_file();
    }
    for name in ["a.pem", "a.key"] {
        let before = proxy.log().len();
        fs::remove_file(files.path(name)).unwrap();
        wait_until("word of the lost file", SOON, || proxy.log()[before..].contains(name));
        assert_eq!(shown(&mut proxy, &service, &client, NAME), old.sha256());
        files.pair("a", &old);
        proxy.reload_file();
    }
    files.pair("a", &new);
    wait_until("the new certificate", SOON, || {
        shown(&mut proxy, &service, &client, NAME) == new.sha256()
    });
    proxy.finish();
}

/// Goal: a directory is followed: what is put into it is served, what is taken out is not.
#[test]
fn directories_are_followed() {
    let echo = Backend::echo();
    let authority = Authority::new("servers");
    let files = Files::new();
    let (first, second) = (authority.issue(&[NAME]), authority.issue(&["b.test"]));
    files.pair("certs.d/a", &first);
    let service = service("svc", &echo, true);
    let config = Config::new([&service])
        .set("certificates", json!([{ "directory": files.path("certs.d") }]));
    let mut proxy = Launch::new(config).start();
    let client = afresh(&Dial::trusting(&authority));
    assert_eq!(shown(&mut proxy, &service, &client, NAME), first.sha256());
    files.pair("certs.d/b", &second);
    let tried = |proxy: &mut Proxy| {
        let mut client = Tls::client(proxy.connect(&service), &client, "b.test");
        let result = client.shake();
        if result.is_ok() {
            client.fin();
            client.expect_close();
            proxy.ended(client, &service, CLOSED);
        } else {
            proxy.cut(client, &service, "us/handshake/no-certificate");
        }
        result
    };
    wait_until("the second certificate", SOON, || tried(&mut proxy).is_ok());
    fs::remove_file(files.path("certs.d/b.pem")).unwrap();
    fs::remove_file(files.path("certs.d/b.key")).unwrap();
    wait_until("the second certificate to go", SOON, || {
        tried(&mut proxy) == Err(End::Alert(AlertDescription::UnrecognisedName))
    });
    proxy.finish();
}
