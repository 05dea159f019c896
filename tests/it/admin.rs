//! The admin API: what it shows, to whom, and that it comes, moves and goes by reload.

mod crowds;
mod drain;
mod openapi;
mod roles;

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;

use serde_json::json;

use crate::support::admin::ask;
use crate::support::backend::{Backend, Manual};
use crate::support::config::{Config, Service};
use crate::support::ports::free_port;
use crate::support::proxy::{Launch, thalweg};
use crate::support::wait::{SOON, wait_until};

const CLOSED: &str = "*/relay/closed";

fn with_admin(service: &Service, listen: &str) -> Config {
    Config::new([service]).set("admin", json!({ "listen": listen }))
}

/// Connections that ended well, as the metrics have it.
fn closed(at: &str) -> u64 {
    let text = ask(at, "/metrics", &[]).body;
    let closed = |line: &&str| {
        line.starts_with("thalweg_endings_total{") && line.contains("cause=\"closed\"")
    };
    let count = |line: &str| line.rsplit(' ').next()?.parse::<u64>().ok();
    text.lines().filter(closed).filter_map(count).sum()
}

/// Goal: targets and metrics show what lives, by whatever address the API is asked.
/// Method: one connection lives, then ends.
#[test]
fn what_lives_is_shown() {
    let backend = Backend::echo();
    let service = Service::new("s \"1\"", &[backend.address]);
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("admin.sock");
    for at in [format!("127.0.0.1:{}", free_port()), socket.display().to_string()] {
        let listen = if at.starts_with('/') { format!("unix:{at}") } else { at.clone() };
        let mut proxy = Launch::new(with_admin(&service, &listen)).start();
        assert_eq!(ask(&at, "/health/live", &[]).json(), json!({ "status": "live" }));
        assert_eq!(ask(&at, "/health/ready", &[]).json(), json!({ "status": "ready" }));
        let before = closed(&at);
        let client = proxy.connect(&service);
        client.send(b"x");
        client.expect(b"x");
        let shown = ask(&at, "/api/tcp/targets?service=s%20%221%22", &[]).json();
        assert_eq!(shown.as_array().unwrap().len(), 1, "{shown}");
        assert_eq!(shown[0]["target"], backend.address.to_string());
        assert_eq!(shown[0]["health"]["connections"], 1, "{shown}");
        assert_eq!(shown[0]["health"]["status"], "Up", "{shown}");
        let text = ask(&at, "/metrics", &[]).body;
        let target = backend.address;
        let line = format!(
            "\nthalweg_target_connections{{service=\"s \\\"1\\\"\",target=\"{target}\"}} 1\n"
        );
        assert!(text.contains(&line), "{text}");
        assert!(text.contains("\nthalweg_connections 1\n"), "{text}");
        client.fin();
        client.expect_eof();
        proxy.ended(client, &service, CLOSED);
        wait_until("the end is counted", SOON, || closed(&at) == before + 1);
        if at.starts_with('/') {
            let mode = fs::metadata(&at).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600, "the owner's alone");
        }
        proxy.finish();
        assert!(!socket.exists(), "the socket is taken away at the end");
    }
}

/// Goal: nobody gets in who should not, and each is told why.
/// Method: foreign names, other sites, other methods and paths, with and without a token.
#[test]
fn who_may_ask() {
    let backend = Backend::echo();
    let service = Service::new("svc", &[backend.address]);
    let directory = tempfile::tempdir().unwrap();
    let token = directory.path().join("admin.token");
    fs::write(&token, "0123456789abcdef\n").unwrap();
    let port = free_port();
    let admin = json!({ "listen": format!("0.0.0.0:{port}"), "tokenFile": token });
    let proxy = Launch::new(Config::new([&service]).set("admin", admin.clone())).start();
    let at = format!("127.0.0.1:{port}");
    let bearer = ["-H", "Authorization: Bearer 0123456789abcdef"];
    let with = |more: &[&'static str]| ask(&at, "/metrics", &[&bearer, more].concat()).status;
    assert_eq!(with(&[]), 200);
    assert_eq!(with(&["-H", "Host: evil.test"]), 421);
    assert_eq!(with(&["-H", "Origin: http://evil.test"]), 403);
    assert_eq!(with(&["-H", "Sec-Fetch-Site: cross-site"]), 403);
    assert_eq!(with(&["-X", "POST"]), 405);
    assert_eq!(ask(&at, "/metrics", &["-X", "POST"]).status, 401);
    assert_eq!(ask(&at, "/nothing", &bearer).status, 404);
    assert_eq!(ask(&at, "/api/tcp/targets?service=none", &bearer).status, 404);
    assert_eq!(ask(&at, "/api/tcp/targets?servce=svc", &bearer).status, 400);
    for wrong in ["", "Bearer", "Bearer 0123456789abcdeF", "Basic 0123456789abcdef"] {
        let header = format!("Authorization: {wrong}");
        assert_eq!(ask(&at, "/metrics", &["-H", &header]).status, 401, "{wrong}");
    }
    assert_eq!(ask(&at, "/metrics", &[]).status, 401);
    assert_eq!(ask(&at, "/health/ready", &[]).status, 200, "load balancers have no token");
    // The token changes by reload; one that cannot be used changes nothing.
    fs::write(&token, "short").unwrap();
    let said = proxy.reload(&Config::new([&service]).set("admin", admin.clone()));
    assert!(said.contains("shorter than 16"), "{said}");
    assert_eq!(with(&[]), 200);
    fs::write(&token, "fedcba9876543210").unwrap();
    proxy.reload(&Config::new([&service]).set("admin", admin));
    assert_eq!(with(&[]), 401);
    proxy.finish();
}

/// Goal: live connections are listed with what is known of them, found by what they are, and ended.
/// Method: four connections, one half-closed, one to another service; filters; one is killed.
#[test]
fn connections() {
    let (backend, other) = (Backend::echo(), Manual::start());
    let service = Service::new("svc", &[backend.address]);
    let quiet = Service::new("quiet", &[other.address]);
    let directory = tempfile::tempdir().unwrap();
    let token = directory.path().join("admin.token");
    fs::write(&token, "0123456789abcdef").unwrap();
    let at = format!("127.0.0.1:{}", free_port());
    let config =
        Config::new([&service, &quiet]).set("admin", json!({ "listen": at, "tokenFile": token }));
    let mut proxy = Launch::new(config).start();
    let clients: Vec<_> = (0..3)
        .map(|_| {
            let client = proxy.connect(&service);
            client.send(b"hello");
            client.expect(b"hello");
            client
        })
        .collect();
    let silent = proxy.connect(&quiet);
    let behind = other.accept();
    silent.fin();
    behind.expect_eof();
    let list = |query: &str| {
        let answer = ask(&at, &format!("/api/tcp/connections{query}"), &[]);
        assert_eq!(answer.status, 200, "{}", answer.body);
        answer.json()
    };
    let ports = |query: &str| -> Vec<u16> {
        let list = list(query);
        let rows = list["connections"].as_array().unwrap().iter();
        let mut ports: Vec<u16> = rows
            .map(|row| row["remote"].as_str().unwrap().rsplit_once(':').unwrap().1)
            .map(|port| port.parse().unwrap())
            .collect();
        ports.sort_unstable();
        ports
    };
    let mut of_service: Vec<u16> = clients.iter().map(|client| client.port()).collect();
    of_service.sort_unstable();
    wait_until("the half-closed one", SOON, || ports("?state=halfClosed") == [silent.port()]);
    assert_eq!(ports("?service=svc"), of_service);
    assert_eq!(ports("?state=open"), of_service);
    assert_eq!(ports(&format!("?target={}", other.address)), [silent.port()]);
    assert_eq!(ports("?source=10.0.0.0/8"), [0; 0]);
    assert_eq!(ports("?source=127.0.0.1&service=quiet"), [silent.port()]);
    assert_eq!(ports("").len(), 4);
    assert_eq!(list("?limit=2")["truncated"], true);
    assert_eq!(ask(&at, "/api/tcp/connections?sate=open", &[]).status, 400);
    let row = &list("?service=svc&limit=1")["connections"][0];
    assert_eq!((&row["dataIn"], &row["dataOut"]), (&json!(5), &json!(5)), "{row}");
    assert_eq!(row["rule"], 0);
    assert_eq!(row["target"], backend.address.to_string());
    // One of them is ended.
    let victim = format!("/api/tcp/connections/{}", row["id"].as_str().unwrap());
    assert_eq!(ask(&at, &victim, &["-X", "DELETE"]).status, 401, "it needs the token");
    let bearer = ["-H", "Authorization: Bearer 0123456789abcdef", "-X", "DELETE"];
    assert_eq!(ask(&at, &victim, &bearer).json(), json!({ "deleted": true }));
    wait_until("it has gone", SOON, || ask(&at, &victim, &bearer).status == 404);
    for id in ["x", "-", "00000000-0-0", "0-0-0-0", "%20"] {
        let path = format!("/api/tcp/connections/{id}");
        assert_eq!(ask(&at, &path, &bearer).status, 404, "{id}");
    }
    for client in clients {
        if Some(client.port().to_string().as_str())
            == row["remote"].as_str().unwrap().rsplit(':').next()
        {
            client.expect_reset();
            proxy.ended(client, &service, "us/relay/killed");
        } else {
            client.fin();
            client.expect_eof();
            proxy.ended(client, &service, CLOSED);
        }
    }
    behind.fin();
    silent.expect_eof();
    proxy.ended(silent, &quiet, CLOSED);
    proxy.finish();
}

/// Goal: the API comes, moves and goes by reload; an address that cannot be had changes nothing.
/// Method: reloads without it, with it, elsewhere, on a taken port, and away again.
#[test]
fn by_reload() {
    let backend = Backend::echo();
    let service = Service::new("svc", &[backend.address]);
    let mut proxy = Launch::new(Config::new([&service])).start();
    let first = format!("127.0.0.1:{}", free_port());
    let other = format!("127.0.0.1:{}", free_port());
    let taken = Manual::start();
    let status = |at: &str| ask(at, "/health/ready", &[]).status;
    assert_eq!(status(&first), 0);
    proxy.reload(&with_admin(&service, &first));
    assert_eq!(status(&first), 200);
    let said = proxy.reload(&with_admin(&service, &taken.address.to_string()));
    assert!(said.contains("cannot listen on") && said.contains("nothing was changed"), "{said}");
    assert_eq!(status(&first), 200);
    proxy.reload(&with_admin(&service, &other));
    assert_eq!((status(&first), status(&other)), (0, 200));
    let text = ask(&other, "/metrics", &[]).body;
    assert!(text.contains("\nthalweg_reloads_total{result=\"applied\"} 2\n"), "{text}");
    assert!(text.contains("\nthalweg_reloads_total{result=\"refused\"} 1\n"), "{text}");
    // A file that is no socket is nobody's place.
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("notes.txt");
    fs::write(&file, "mine").unwrap();
    let said = proxy.reload(&with_admin(&service, &format!("unix:{}", file.display())));
    assert!(said.contains("no socket"), "{said}");
    assert_eq!(fs::read_to_string(&file).unwrap(), "mine");
    assert_eq!(status(&other), 200);
    proxy.reload(&Config::new([&service]));
    assert_eq!(status(&other), 0);
    proxy.rebase();
    proxy.finish();
}

/// Goal: rubbish, floods and slow askers cost traffic nothing, and the API answers afterwards.
/// Method: 200 connections that say nothing, one that says rubbish, one with a head without end.
#[test]
fn abuse() {
    let backend = Backend::echo();
    let service = Service::new("svc", &[backend.address]);
    let at = format!("127.0.0.1:{}", free_port());
    let mut proxy = Launch::new(with_admin(&service, &at)).start();
    let silent: Vec<TcpStream> = (0..200).filter_map(|_| TcpStream::connect(&at).ok()).collect();
    let client = proxy.connect(&service);
    client.send(b"x");
    client.expect(b"x");
    drop(silent);
    for (rubbish, answer) in [
        (b"\x16\x03\x01\x00\x05hello".to_vec(), "HTTP/1.1 400"),
        ([b"GET / HTTP/1.1\r\nX: ".to_vec(), vec![b'a'; 100_000]].concat(), "HTTP/1.1 431"),
    ] {
        wait_until("an answer", SOON, || {
            let mut stream = TcpStream::connect(&at).unwrap();
            let _ = stream.write_all(&rubbish);
            let mut said = [0; 12];
            stream.read_exact(&mut said).is_ok() && said.as_slice() == answer.as_bytes()
        });
    }
    assert_eq!(ask(&at, "/health/ready", &[]).status, 200);
    client.fin();
    client.expect_eof();
    proxy.ended(client, &service, CLOSED);
    proxy.finish();
}

/// Goal: the commands show what the API knows, end a connection, and say why they cannot.
/// Method: a proxy with one connection, asked by URL and by its file; a port where nobody is; no token.
#[test]
fn commands() {
    let backend = Backend::echo();
    let service = Service::new("svc", &[backend.address]);
    let directory = tempfile::tempdir().unwrap();
    let token = directory.path().join("admin.token");
    fs::write(&token, "0123456789abcdef\n").unwrap();
    let at = format!("127.0.0.1:{}", free_port());
    let config = Config::new([&service]).set("admin", json!({ "listen": at, "tokenFile": token }));
    let mut proxy = Launch::new(config).start();
    let client = proxy.connect(&service);
    client.send(b"hello");
    client.expect(b"hello");
    let url = format!("http://{at}");
    let file = proxy.file().display().to_string();
    let run = |arguments: &[&str]| thalweg(directory.path(), arguments);

    let status = run(&["status", "--admin", &url]);
    assert_eq!(status.code(), Some(0), "{}", status.said());
    assert!(status.stdout.contains("serving, up "), "{}", status.stdout);
    assert!(status.stdout.contains(&backend.address.to_string()), "{}", status.stdout);
    let machine = run(&["status", "-c", &file, "--json"]);
    let machine: serde_json::Value = serde_json::from_str(&machine.stdout).unwrap();
    assert_eq!(machine["status"]["connections"], 1, "{machine}");
    let listed = run(&["connections", "-c", &file, "--service", "svc"]);
    let row = listed.stdout.lines().nth(1).unwrap_or_else(|| panic!("{}", listed.said()));
    assert!(row.contains(&format!("127.0.0.1:{}", client.port())), "{row}");
    assert!(row.contains("  5 B  5 B"), "{row}");
    let none = run(&["connections", "--admin", &url, "--sni", "no such"]);
    assert_eq!(none.stdout.lines().count(), 1, "{}", none.stdout);

    let id = row.split_whitespace().next().unwrap();
    let refused = run(&["kill", id, "--admin", &url]);
    assert_eq!(refused.code(), Some(1), "{}", refused.said());
    assert!(refused.stderr.contains("token"), "{}", refused.said());
    let killed = run(&["kill", id, "-c", &file]);
    assert_eq!(killed.code(), Some(0), "{}", killed.said());
    client.expect_reset();
    proxy.ended(client, &service, "us/relay/killed");
    let gone = run(&["kill", "00000000-0-0", "-c", &file]);
    assert_eq!(gone.code(), Some(1), "{}", gone.said());

    let nobody = run(&["status", "--admin", &format!("http://127.0.0.1:{}", free_port())]);
    assert_eq!(nobody.code(), Some(4), "{}", nobody.said());
    assert!(nobody.stderr.contains("Is the proxy running"), "{}", nobody.said());
    assert_eq!(run(&["status", "--admin", "ftp://x"]).code(), Some(2));
    proxy.finish();
}
