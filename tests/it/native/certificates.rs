//! Certificates that services and targets call by name, in files and in the configuration.

use std::sync::Arc;

use rustls::AlertDescription;
use serde_json::{Value, json};

use crate::support::admin::ask;
use crate::support::backend::{Backend, Manual};
use crate::support::certs::{Authority, Files, Issued};
use crate::support::config::{Config, Service};
use crate::support::ports::{free_port, loopback};
use crate::support::proxy::{Launch, Proxy};
use crate::support::tls::{Dial, End, Tls, serving};
use crate::support::wait::{SOON, wait_until};

const CLOSED: &str = "*/relay/closed";

fn inline(name: &str, issued: &Issued) -> Value {
    json!({ "name": name, "certPem": issued.cert_pem(), "keyPem": issued.key_pem() })
}

fn named(name: &str, mut pair: Value) -> Value {
    pair["name"] = json!(name);
    pair
}

/// The certificate that a client is shown which asks for this name.
#[track_caller]
fn shown(proxy: &mut Proxy, service: &Service, authority: &Authority, name: &str) -> String {
    let dial = Dial::trusting(authority).config();
    let mut client = Tls::dial(proxy.connect(service), &dial, name);
    client.fin();
    client.expect_close();
    let certificate = client.certificate().expect("a certificate");
    proxy.ended(client, service, CLOSED);
    certificate
}

/// Goal: a service that names certificates shows those and no others; one that names none never
/// shows one that has a name; what is in the configuration itself is nowhere else.
#[test]
fn each_service_shows_its_own() {
    let echo = Backend::echo();
    let (authority, files) = (Authority::new("servers"), Files::new());
    let common = authority.issue(&["common.test", "shop.test"]);
    let shop = authority.issue(&["shop.test", "common.test"]);
    let bank = authority.issue(&["bank.test"]);
    let ends = |id: &str| Service::new(id, &[echo.address]).set("tls", json!("Enabled"));
    let plain = ends("plain");
    let own = ends("own").set("certificates", json!(["bank", "shop"]));
    let strict = ends("strict")
        .set("certificates", json!(["bank"]))
        .set("sni", json!({ "enabled": true, "strict": true }));
    let all = [
        files.pair("common", &common),
        inline("bank", &bank),
        named("shop", files.pair("shop", &shop)),
    ];
    let at = loopback(free_port()).to_string();
    let config = Config::new([&plain, &own, &strict])
        .set("certificates", json!(all))
        .set("admin", json!({ "listen": at }));
    let mut proxy = Launch::new(config).start();
    assert_eq!(shown(&mut proxy, &plain, &authority, "shop.test"), common.sha256());
    assert_eq!(shown(&mut proxy, &own, &authority, "shop.test"), shop.sha256());
    assert_eq!(shown(&mut proxy, &own, &authority, "common.test"), shop.sha256());
    assert_eq!(shown(&mut proxy, &own, &authority, "bank.test"), bank.sha256());
    let dial = Dial::trusting(&authority).config();
    let mut refused = Tls::client(proxy.connect(&strict), &dial, "shop.test");
    assert_eq!(refused.shake(), Err(End::Alert(AlertDescription::UnrecognisedName)));
    proxy.cut(refused, &strict, "us/handshake/no-certificate");
    let key = bank.key_pem();
    let secret = key.lines().nth(1).unwrap();
    let listed = ask(&at, "/api/certificates", &[]).json();
    let names: Vec<_> = listed.as_array().unwrap().iter().map(|it| &it["name"]).collect();
    assert_eq!(names, [&Value::Null, &json!("bank"), &json!("shop")]);
    assert_eq!(listed[1]["servesServices"], json!(["own", "strict"]));
    assert!(!listed.to_string().contains(secret));
    proxy.finish();
}

/// Goal: the file of a named certificate is watched as any other.
#[test]
fn a_named_one_is_renewed_while_it_runs() {
    let echo = Backend::echo();
    let (authority, files) = (Authority::new("servers"), Files::new());
    let (old, new) = (authority.issue(&["a.test"]), authority.issue(&["a.test"]));
    let service = Service::new("svc", &[echo.address])
        .set("tls", json!("Enabled"))
        .set("certificates", json!(["a"]));
    let pair = named("a", files.pair("a", &old));
    let config = Config::new([&service]).set("certificates", json!([pair]));
    let mut proxy = Launch::new(config).start();
    assert_eq!(shown(&mut proxy, &service, &authority, "a.test"), old.sha256());
    files.pair("a", &new);
    wait_until("the new certificate", SOON, || {
        shown(&mut proxy, &service, &authority, "a.test") == new.sha256()
    });
    proxy.finish();
}

/// Goal: a target that asks for a certificate is shown the one that it names.
#[test]
fn a_target_is_shown_a_named_one() {
    let upstream = Manual::start();
    let (servers, clients) = (Authority::new("servers"), Authority::new("clients"));
    let files = Files::new();
    let (server, proxy_itself) = (servers.issue(&["db.test"]), clients.issue(&["proxy"]));
    let target = json!([{
        "host": "127.0.0.1", "port": upstream.address.port(), "tls": true, "serverName": "db.test",
        "caFile": files.put("ca.pem", &servers.pem()), "clientCertificate": { "name": "me" },
    }]);
    let service = Service::with_targets("svc", target);
    let config = Config::new([&service]).set("certificates", json!([inline("me", &proxy_itself)]));
    let mut proxy = Launch::new(config).start();
    let client = proxy.connect(&service);
    let asks = Arc::new(serving(&server, Some(&clients)));
    let mut target = Tls::answer(upstream.accept(), &asks);
    target.send(b"hello");
    client.expect(b"hello");
    assert_eq!(target.certificate(), Some(proxy_itself.sha256()));
    target.fin();
    client.expect_eof();
    client.fin();
    target.expect_close();
    proxy.ended(client, &service, CLOSED);
    proxy.finish();
}
