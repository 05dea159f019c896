//! Client certificates: who may come in, and where to.

use rustls::{AlertDescription, ProtocolVersion};
use serde_json::{Value, json};

use super::{CLOSED, NAME, targets};
use crate::support::backend::Backend;
use crate::support::certs::{Authority, Files, Issued};
use crate::support::config::{Config, Service};
use crate::support::proxy::{Exit, Launch, Proxy, thalweg};
use crate::support::tls::{Dial, End, Tls};

const BOTH: [ProtocolVersion; 2] = [ProtocolVersion::TLSv1_3, ProtocolVersion::TLSv1_2];

/// Shakes hands as far as the proxy's judgement, and says which target was reached.
fn judged(proxy: &Proxy, service: &Service, dial: &Dial, name: &str) -> (Tls, Result<String, End>) {
    let mut client = Tls::client(proxy.connect(service), &dial.config(), name);
    let mut buffer = [0; 5];
    let result = client.shake().and_then(|()| client.try_recv(&mut buffer));
    let result = result.map(|count| String::from_utf8_lossy(&buffer[..count]).into_owned());
    (client, result)
}

/// Goal: None lets everybody in, Want those with a good certificate or none, Need those with a good
/// one.
#[test]
fn none_want_and_need() {
    let backend = Backend::name();
    let here = format!("{:5}", backend.address.port());
    let (servers, clients) = (Authority::new("servers"), Authority::new("clients"));
    let impostor = Authority::new("clients");
    let files = Files::new();
    let pair = files.pair("a", &servers.issue(&[NAME]));
    let revoked = clients.issue(&["revoked"]);
    let crl = files.put("crl.pem", &clients.crl(&[&revoked]));
    let ca = files.put("ca.pem", &clients.pem());
    let service = |auth: &str| {
        let service = Service::new(auth, &[backend.address])
            .set("tls", json!("Enabled"))
            .set("clientAuth", json!(auth));
        if auth == "None" { service } else { service.set("clientCrlFiles", json!([crl])) }
    };
    let services = ["None", "Want", "Need"].map(service);
    let config =
        Config::new(&services).set("certificates", json!([pair])).set("clientCaFiles", json!([ca]));
    let mut proxy = Launch::new(config).start();
    let shown: [(&str, Option<Issued>, Option<AlertDescription>); 6] = [
        ("none", None, None),
        ("good", Some(clients.issue(&["good"])), None),
        (
            "of a wrong authority",
            Some(impostor.issue(&["good"])),
            Some(AlertDescription::DecryptError),
        ),
        ("of an unknown one", Some(servers.issue(&["x"])), Some(AlertDescription::UnknownCA)),
        (
            "expired",
            Some(clients.issue_expired(&["x"])),
            Some(AlertDescription::CertificateExpired),
        ),
        ("revoked", Some(revoked), Some(AlertDescription::CertificateRevoked)),
    ];
    for (version, service) in BOTH.iter().flat_map(|v| services.iter().map(move |s| (*v, s))) {
        for (what, issued, alert) in &shown {
            let mut dial = Dial::trusting(&servers).version(version);
            if let Some(issued) = issued {
                dial = dial.identity(issued);
            }
            let (mut client, result) = judged(&proxy, service, &dial, NAME);
            let case = format!("{version:?}, {}, a certificate: {what}", service.id);
            let let_in = match service.id.as_str() {
                "None" => true,
                "Want" => alert.is_none(),
                _ => alert.is_none() && issued.is_some(),
            };
            if let_in {
                assert_eq!(result, Ok(here.clone()), "{case}");
                client.expect_close();
                client.fin();
                proxy.ended(client, service, CLOSED);
            } else {
                let end = result.expect_err(&case);
                let Some(alert) = alert else {
                    assert!(matches!(end, End::Alert(_)), "{case}: {end:?}");
                    proxy.cut(client, service, "client/handshake/client-certificate");
                    continue;
                };
                let same_name = *alert == AlertDescription::DecryptError;
                let fits = end == End::Alert(*alert)
                    || same_name && end == End::Alert(AlertDescription::UnknownCA);
                assert!(fits, "{case}: {end:?}");
                proxy.cut(client, service, "client/handshake/client-certificate");
            }
        }
    }
    proxy.finish();
}

/// Goal: the certificate chooses the target, by its subject, its names or itself; whom no rule takes
/// is refused.
#[test]
fn certificates_choose_targets() {
    let backends: Vec<Backend> = (0..4).map(|_| Backend::name()).collect();
    let (servers, clients) = (Authority::new("servers"), Authority::new("clients"));
    let files = Files::new();
    let pair = files.pair("a", &servers.issue(&[NAME]));
    let alice = clients.issue(&["alice", "alice.people.test"]);
    let bob = clients.issue(&["bob", "bob.people.test"]);
    let carol = clients.issue(&["carol", "carol.robots.test"]);
    let dave = clients.issue(&["dave"]);
    let rule = |backend: usize, condition: Value| {
        json!({
            "domain": NAME,
            "clientCertificate": condition,
            "targets": targets(&[backends[backend].address]),
        })
    };
    let service = Service::new("svc", &[])
        .set("tls", json!("Enabled"))
        .set("sni", json!({ "enabled": true }))
        .set("clientAuth", json!("Want"))
        .set("clientCaFiles", json!([files.put("ca.pem", &clients.pem())]))
        .set(
            "rules",
            json!([
                rule(0, json!({ "subject": "alice" })),
                rule(1, json!({ "san": "*.people.test" })),
                rule(2, json!({ "sha256": carol.sha256() })),
                { "domain": "open.test", "targets": targets(&[backends[3].address]) },
            ]),
        );
    let config = Config::new([&service])
        .set("certificates", json!([pair, files.pair("open", &servers.issue(&["open.test"]))]));
    let mut proxy = Launch::new(config).start();
    for version in BOTH {
        let base = Dial::trusting(&servers).version(version);
        for (issued, name, target) in [
            (Some(&alice), NAME, Some(0)),
            (Some(&bob), NAME, Some(1)),
            (Some(&carol), NAME, Some(2)),
            (Some(&dave), NAME, None),
            (None, NAME, None),
            (None, "open.test", Some(3)),
            (Some(&alice), "open.test", Some(3)),
        ] {
            let dial = issued.map_or(base.clone(), |issued| base.clone().identity(issued));
            let (mut client, result) = judged(&proxy, &service, &dial, name);
            match target {
                Some(at) => {
                    let port: usize = backends[at].address.port().into();
                    assert_eq!(result, Ok(format!("{port:5}")));
                    client.expect_close();
                    client.fin();
                    proxy.ended(client, &service, CLOSED);
                }
                None => {
                    assert_eq!(result, Err(End::Alert(AlertDescription::AccessDenied)));
                    proxy.cut(client, &service, "us/route/client-certificate");
                }
            }
        }
    }
    // And so they do when their session is resumed.
    let config = Dial::trusting(&servers).identity(&bob).config();
    for turn in 0..4 {
        let mut client = Tls::dial(proxy.connect(&service), &config, NAME);
        client.expect(format!("{:5}", backends[1].address.port()).as_bytes());
        client.expect_close();
        assert_eq!(client.resumed(), turn > 0);
        client.fin();
        proxy.ended(client, &service, CLOSED);
    }
    proxy.finish();
}

/// Goal: services of one port have each their own rules for clients, and one of them passes TLS
/// through.
#[test]
fn one_port_many_minds() {
    let (servers, red, blue) =
        (Authority::new("servers"), Authority::new("red"), Authority::new("blue"));
    let files = Files::new();
    let names = ["open.test", "red.test", "blue.test"];
    let backend = Backend::name();
    let inside = {
        let config = std::sync::Arc::new(crate::support::tls::serving(
            &servers.issue(&["through.test"]),
            None,
        ));
        Backend::serve(move |peer| {
            let mut tls = Tls::answer(peer, &config);
            tls.send(b"inner");
            tls.fin();
            tls.expect_close();
        })
    };
    let service = |id: &str, tls: &str, name: &str, target: &Backend| {
        Service::new(id, &[])
            .set("tls", json!(tls))
            .set("sni", json!({ "enabled": true }))
            .set("rules", json!([{ "domain": name, "targets": targets(&[target.address]) }]))
    };
    let open = service("open", "Enabled", names[0], &backend);
    let guarded = |id: &str, authority: &Authority| {
        service(id, "Enabled", &format!("{id}.test"), &backend)
            .on_port(open.port())
            .set("clientAuth", json!("Need"))
            .set("clientCaFiles", json!([files.put(&format!("{id}-ca.pem"), &authority.pem())]))
    };
    let (reds, blues) = (guarded("red", &red), guarded("blue", &blue));
    let through = service("through", "PassThrough", "through.test", &inside).on_port(open.port());
    let pairs: Vec<Value> =
        names.iter().map(|name| files.pair(name, &servers.issue(&[name]))).collect();
    let config = Config::new([&open, &reds, &blues, &through]).set("certificates", json!(pairs));
    let mut proxy = Launch::new(config).start();
    let port = format!("{:5}", backend.address.port());
    let dial = Dial::trusting(&servers);
    let (is_red, is_blue) = (red.issue(&["x"]), blue.issue(&["x"]));
    for (name, service, shown, expected) in [
        ("open.test", &open, None, Some(port.as_str())),
        ("red.test", &reds, None, None),
        ("red.test", &reds, Some(&is_red), Some(&port)),
        ("red.test", &reds, Some(&is_blue), None),
        ("blue.test", &blues, Some(&is_red), None),
        ("blue.test", &blues, Some(&is_blue), Some(&port)),
        ("through.test", &through, None, Some("inner")),
        ("through.test", &through, Some(&is_red), Some("inner")),
    ] {
        let dial = shown.map_or(dial.clone(), |issued| dial.clone().identity(issued));
        let (mut client, result) = judged(&proxy, service, &dial, name);
        match expected {
            Some(expected) => {
                assert_eq!(result.as_deref(), Ok(expected), "{name}");
                client.expect_close();
                client.fin();
                client.peer.fin();
                if service.id == "through" {
                    proxy.ended(client.peer, service, CLOSED);
                } else {
                    proxy.ended(client, service, CLOSED);
                }
            }
            None => {
                assert!(matches!(result, Err(End::Alert(_))), "{name}: {result:?}");
                proxy.cut(client, service, "client/handshake/client-certificate");
            }
        }
    }
    proxy.finish();
}

fn check(files: &Files, config: &Config) -> Exit {
    let path = files.put("check.json", &config.text());
    thalweg(&files.path(""), &["check", "-c", &path])
}

/// Goal: what contradicts itself on one port is refused before anything is bound.
#[test]
fn contradictions_are_refused() {
    let files = Files::new();
    let authority = Authority::new("x");
    let pair = files.pair("a", &authority.issue(&[NAME]));
    let ca = files.put("ca.pem", &authority.pem());
    let nowhere = crate::support::ports::loopback(9);
    let by_name = |id: &str, port: u16, tls: &str| {
        Service::new(id, &[nowhere])
            .on_port(port)
            .set("tls", json!(tls))
            .set("sni", json!({ "enabled": true }))
            .set("rules", json!([{ "domain": NAME, "targets": targets(&[nowhere]) }]))
    };
    let one = by_name("one", 6001, "Enabled");
    let forward =
        json!({ "enabled": true, "forwardIfNoMatch": true, "forwardsTo": targets(&[nowhere])[0] });
    let other_rule = json!([{ "domain": "b.test", "targets": targets(&[nowhere]) }]);
    for (what, first, second, good) in [
        ("the same name, the same mind", one.clone(), by_name("two", 6001, "Enabled"), true),
        (
            "the same name, passed through too",
            one.clone(),
            by_name("two", 6001, "PassThrough"),
            false,
        ),
        (
            "the same name, another mind about clients",
            one.clone(),
            by_name("two", 6001, "Enabled").set("clientAuth", json!("Need")),
            false,
        ),
        (
            "Disabled beside",
            one.clone(),
            by_name("two", 6001, "Disabled").set("rules", other_rule.clone()),
            false,
        ),
        (
            "beside",
            one.clone(),
            by_name("two", 6001, "PassThrough").set("rules", other_rule.clone()),
            true,
        ),
        (
            "without a name",
            one.clone(),
            by_name("two", 6001, "Enabled").set("sni", json!({ "enabled": false })),
            false,
        ),
        (
            "two that take the rest",
            one.clone().set("sni", forward.clone()),
            by_name("two", 6001, "Enabled")
                .set("rules", other_rule.clone())
                .set("sni", forward.clone()),
            false,
        ),
    ] {
        let config = Config::new([&first, &second])
            .set("certificates", json!([pair]))
            .set("clientCaFiles", json!([ca]));
        let exit = check(&files, &config);
        assert_eq!(exit.code(), Some(i32::from(!good)), "{what}: {}", exit.said());
    }
}
