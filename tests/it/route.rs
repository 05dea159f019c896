//! `thalweg route`, on a file and on a running proxy, says what then happens.

use std::net::SocketAddr;
use std::path::Path;

use serde_json::{Value, json};

use crate::support::admin::ask;
use crate::support::backend::Backend;
use crate::support::certs::{Authority, Files};
use crate::support::config::{Config, Service};
use crate::support::peer::{Outcome, Peer};
use crate::support::ports::{free_port, loopback};
use crate::support::proxy::{Exit, Launch, Proxy, thalweg};
use crate::support::tls::{Dial, Tls};

/// What a client sends first.
#[derive(Debug, Clone, Copy)]
enum Says {
    Nothing,
    /// A TLS hello with this name, if there is one, and these protocols.
    Tls(&'static str, &'static [&'static str]),
    /// A request for this host.
    Http(&'static str),
}

impl Says {
    fn arguments(self) -> Vec<String> {
        let pair = |key: &str, value: &str| [key.to_owned(), value.to_owned()];
        match self {
            Says::Nothing => Vec::new(),
            Says::Tls(name, alpn) => {
                let name = pair("--sni", name).into_iter().filter(|_| !name.is_empty());
                name.chain(alpn.iter().flat_map(|it| pair("--alpn", it))).collect()
            }
            Says::Http(host) => pair("--http-host", host).to_vec(),
        }
    }
}

fn run(dir: &Path, arguments: &[String]) -> (Exit, Value) {
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let exit = thalweg(dir, &arguments);
    let route = serde_json::from_str(&exit.stdout).unwrap_or_default();
    (exit, route)
}

/// Connects and says it; returns when the connection has an end. What came back is not counted: it may be
/// TLS of the proxy's own.
fn connect(address: SocketAddr, says: Says, authority: &Authority) -> Outcome {
    let peer = Peer::connect(address);
    match says {
        Says::Nothing => drop(peer.try_send(b"x")),
        Says::Http(host) => {
            let _ = peer.try_send(format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n").as_bytes());
        }
        Says::Tls(name, alpn) => {
            let config = Dial::trusting(authority).alpn(alpn).config();
            let _ = Tls::client(&peer, &config, name).shake();
        }
    }
    peer.fin();
    let _ = peer.recv_to_end();
    Outcome { received: 0, ..peer.outcome() }
}

/// The fields that the dry run and the event both have.
fn of_route(route: &Value) -> (Value, Value, Value) {
    let reason = route.get("reason").cloned().unwrap_or_default();
    (route["service"].clone(), route["target"].clone(), reason)
}

fn service(id: &str, port: u16, members: Value) -> Service {
    let mut service = Service::new(id, &[]).on_port(port);
    for (key, value) in members.as_object().unwrap() {
        service = service.set(key, value.clone());
    }
    service
}

/// Goal: the dry run never says something else than what happens, by the file and by the running table.
/// Method: a table of services and of what clients say; for each the two dry runs and a connection,
/// whose event has the same service, target and reason.
#[test]
fn what_it_says_is_what_happens() {
    let authority = Authority::new("route");
    let files = Files::new();
    let dir = files.path(".");
    // The last is what a client without a name verifies.
    let names = ["a.test", "*.deep.test", "nameless.test"];
    let pair = files.pair("server", &authority.issue(&names));
    let echo = Backend::echo();
    let target = json!({ "host": "127.0.0.1", "port": echo.address.port() });
    let closed = json!({ "host": "127.0.0.1", "port": free_port() });
    let to = |domain: &str| json!({ "domain": domain, "targets": [target] });
    let ports: Vec<u16> = (0..7).map(|_| free_port()).collect();
    let [plain, passing, ending, web, denied, asked, unhealthy] = *ports else { panic!() };
    let name = json!({ "enabled": true });
    let services = [
        service("plain", plain, json!({ "rules": [to("*")] })),
        service(
            "passing",
            passing,
            json!({ "tls": "PassThrough", "sni": name, "rules": [
                to("a.test"),
                { "domain": "*.test", "alpn": ["h2"], "targets": [target] },
                { "domain": "Regex(s[0-9][.].*)", "sources": ["10.0.0.0/8"], "targets": [target] }
            ] }),
        ),
        service(
            "shared",
            passing,
            json!({ "tls": "Enabled", "alpn": ["http/1.1"], "rules": [to("x.deep.test")],
                    "sni": { "enabled": true, "fallbacks": { "noName": target } } }),
        ),
        service(
            "ending",
            ending,
            json!({ "tls": "Enabled", "rules": [to("*.test")],
                    "sni": { "enabled": true, "strict": true } }),
        ),
        service(
            "web",
            web,
            json!({ "rules": [to("a.test")], "sni": { "enabled": true, "fallbacks": {
                        "notRecognised": target } } }),
        ),
        service(
            "denied",
            denied,
            json!({ "rules": [to("*")], "access": { "deny": ["127.0.0.1"], "default": "Allow" } }),
        ),
        service(
            "asked",
            asked,
            json!({ "rules": [to("*")],
                    "proxyProtocol": { "accept": "Require", "trusted": ["10.0.0.0/8"] } }),
        ),
        service(
            "unhealthy",
            unhealthy,
            json!({ "rules": [ { "targets": [
                { "host": "127.0.0.1", "port": closed["port"], "weight": 1 } ] } ],
                "healthCheck": { "initial": "Down", "interval": "1h", "timeout": "1s" } }),
        ),
    ];
    let at = format!("127.0.0.1:{}", free_port());
    let config = Config::new(&services)
        .set("certificates", json!([pair]))
        .set("admin", json!({ "listen": at }));
    let mut proxy = Launch::new(config).start();
    let cases = [
        (plain, Says::Nothing),
        (passing, Says::Tls("a.test", &[])),
        (passing, Says::Tls("b.test", &["h2"])),
        (passing, Says::Tls("b.test", &["http/1.1"])),
        (passing, Says::Tls("s1.other", &[])),
        (passing, Says::Tls("x.deep.test", &["http/1.1"])),
        (passing, Says::Tls("x.deep.test", &["ftp"])),
        (passing, Says::Tls("", &[])),
        (passing, Says::Http("a.test")),
        (ending, Says::Tls("a.test", &[])),
        (ending, Says::Tls("unknown.test", &[])),
        (ending, Says::Tls("other.example", &[])),
        (ending, Says::Tls("", &[])),
        (web, Says::Http("A.TEST.")),
        (web, Says::Http("b.test")),
        (web, Says::Http("bad host")),
        (web, Says::Tls("a.test", &[])),
        (denied, Says::Nothing),
        (asked, Says::Nothing),
    ];
    for (port, says) in cases {
        let mut arguments: Vec<String> = ["route", "--json", "--source", "127.0.0.1", "--port"]
            .iter()
            .map(|it| (*it).to_owned())
            .collect();
        arguments.push(port.to_string());
        arguments.extend(says.arguments());
        let file = proxy.file().display().to_string();
        let of_file = [arguments.clone(), vec!["-c".into(), file]].concat();
        let (by_file, route) = run(&dir, &of_file);
        let of_running = [arguments, vec!["--admin".into(), format!("http://{at}")]].concat();
        let (by_running, running) = run(&dir, &of_running);
        let shown = format!("{port} {says:?}\n{route:#}\n{running:#}");
        let is_routed = route["outcome"] == "routed";
        assert_eq!(by_file.code(), Some(if is_routed { 0 } else { 3 }), "{shown}");
        assert_eq!(by_running.code(), by_file.code(), "{shown}{}", by_running.stderr);
        assert_eq!(of_route(&running), of_route(&route), "{shown}");

        let outcome = connect(loopback(port), says, &authority);
        let event = proxy.event_of(outcome.port);
        let reason = event.reason().to_owned();
        if is_routed {
            assert_eq!(event.0["target"]["host"], route["target"], "{shown}{}", event.gist());
            assert!(reason.contains("/relay/"), "{shown}{reason}");
            assert_eq!(event.0["@serviceId"], route["service"], "{shown}");
        } else {
            assert_eq!(json!(reason), route["reason"], "{shown}");
            assert!(route["explanation"].as_str().is_some_and(|text| text.len() > 20));
        }
        proxy.refused(outcome, &reason);
    }
    of_a_table_that_runs(&at, unhealthy, &dir, &proxy);
    proxy.finish();
}

/// What only the running table knows: the state of targets. And what it refuses to answer.
fn of_a_table_that_runs(at: &str, port: u16, dir: &Path, proxy: &Proxy) {
    let route = ask(at, &format!("/api/tcp/route?port={port}"), &[]).json();
    assert_eq!(route["outcome"], "refused", "{route:#}");
    assert_eq!(route["reason"], "us/connect/no-target");
    let state = route["targets"][0]["state"].as_str().unwrap();
    assert!(["Pending", "Down"].contains(&state), "{state}");
    let of_file: [String; 3] = ["route".into(), "-c".into(), proxy.file().display().to_string()];
    let more: [String; 3] = ["--json".into(), "--port".into(), port.to_string()];
    let (_, route) = run(dir, &[&of_file[..], &more[..]].concat());
    assert_eq!(route["outcome"], "routed", "health is not known from a file");
    assert_eq!(route["targets"][0]["state"], "Unknown");
    for bad in [
        "",
        "?port=0",
        "?port=1&x=2",
        "?port=1&port=2",
        "?port=1&source=here",
        "?port=1&sni=a&httpHost=b%0a",
    ] {
        let answer = ask(at, &format!("/api/tcp/route{bad}"), &[]);
        let nobody = answer.status == 200 && answer.json()["listener"].is_null();
        assert!(answer.status == 400 || nobody, "{bad}: {} {}", answer.status, answer.body);
    }
}

/// Goal: the words are for people, and the exit code for scripts.
/// Method: a port with a service and one beside it, a broken file, wrong usage, nobody there.
#[test]
fn words_and_exit_codes() {
    let dir = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        let path = dir.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    };
    let file = write(
        "good.json",
        r#"{ "services": [ { "id": "pg", "port": 5432, "tls": "PassThrough",
             "sni": { "enabled": true }, "rules": [
               { "domain": "a.db", "targets": [ { "host": "10.0.0.1" } ] },
               { "domain": "*.db", "targets": [ { "host": "db.internal", "port": 5432 },
                                                { "host": "10.0.0.3", "backup": true } ] } ] } ] }"#,
    );
    let say = |more: &[&str]| thalweg(dir.path(), &[&["route", "-c", &file], more].concat());
    let exit = say(&["--port", "5432", "--sni", "b.db"]);
    assert_eq!(exit.code(), Some(0), "{}", exit.said());
    for line in [
        "no   pg rules[0], exactly a.db",
        "does not take the name b.db",
        "yes  pg rules[1], glob *.db",
        "->  db.internal:5432  Unknown",
        "1 backup",
        "routed to db.internal:5432, service pg",
    ] {
        assert!(exit.stdout.contains(line), "no `{line}` in:\n{}", exit.stdout);
    }
    let exit = say(&["--port", "5432", "--sni", "b.other"]);
    assert_eq!(exit.code(), Some(3));
    assert!(exit.stdout.contains("refused: us/route/no-match\n"), "{}", exit.stdout);
    let exit = say(&["--port", "5433"]);
    assert_eq!(exit.code(), Some(3));
    assert!(exit.stdout.contains("nearest are 0.0.0.0:5432"), "{}", exit.stdout);
    let exit = say(&["--port", "5432", "--sni", "a", "--http-host", "b"]);
    assert_eq!(exit.code(), Some(2), "{}", exit.said());
    assert_eq!(say(&[]).code(), Some(2), "the port is missing");
    assert_eq!(say(&["--port", "1", "--source", "here"]).code(), Some(2));
    let broken = write("broken.json", "{ \"servces\": [] }");
    let exit = thalweg(dir.path(), &["route", "-c", &broken, "--port", "1"]);
    assert_eq!(exit.code(), Some(1));
    assert!(exit.stderr.contains("E101"), "{}", exit.stderr);
    let nobody = format!("http://127.0.0.1:{}", free_port());
    let exit = thalweg(dir.path(), &["route", "--admin", &nobody, "--port", "1"]);
    assert_eq!(exit.code(), Some(4), "{}", exit.said());
}
