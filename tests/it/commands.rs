//! The commands that ask a running proxy, against a scripted admin API: what they ask, what they say
//! and how they end; and the same against the real one.

use std::fs;
use std::io::Read;
use std::os::unix::net::UnixListener;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::api::{Api, Asked, Reply, refusal};
use crate::support::backend::{Backend, Manual};
use crate::support::certs::{Authority, Files};
use crate::support::config::{Config, Service};
use crate::support::ports::free_port;
use crate::support::proxy::{BINARY, Exit, Launch, Proxy, thalweg};
use crate::support::wait::{SOON, wait_until};

/// Runs a command in a directory with `admin.token`.
fn run(arguments: &[&str]) -> Exit {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("admin.token"), "0123456789abcdef\n").unwrap();
    thalweg(dir.path(), arguments)
}

/// Runs a command that asks `api`, with the token.
fn ask(api: &Api, arguments: &[&str]) -> Exit {
    let url = api.url();
    run(&[arguments, &["--admin", &url, "--token-file", "admin.token"]].concat())
}

fn whats(api: &Api) -> Vec<String> {
    api.asked().into_iter().map(|asked| asked.what).collect()
}

#[track_caller]
fn expect(exit: &Exit, code: i32, said: &[&str]) {
    assert_eq!(exit.code(), Some(code), "{}", exit.said());
    for word in said {
        assert!(exit.said().contains(word), "{word:?} in: {}", exit.said());
    }
    let drives = |c: char| c.is_control() && c != '\n';
    assert!(!exit.said().chars().any(drives), "drives the terminal: {:?}", exit.said());
}

/// Goal: `reload` says what changed, and what is wrong where it was refused, as `check` does.
/// Method: a change, diagnostics with what would drive a terminal, a refusal without the token, each
/// for people and for programs.
#[test]
fn reload() {
    let change = json!({ "version": 7, "added": ["s\u{1b}[2J"], "removed": [], "took": 12 });
    let api = Api::start(move |_| Reply::Json(200, change.clone()));
    expect(&ask(&api, &["reload"]), 0, &["version 7", "services added: s\\u{1b}[2J"]);
    expect(&ask(&api, &["reload", "--json"]), 0, &["\"version\": 7"]);
    let wanted = Asked {
        what: "POST /api/reload".into(),
        token: Some("0123456789abcdef".into()),
        body: "".into(),
    };
    assert_eq!(api.asked(), [wanted.clone(), wanted]);

    let fault = json!({ "severity": "error", "code": "E101", "path": "services[0].prot", "line": 3,
        "message": "unknown key \u{9b}1m", "hint": "did you mean `port`?" });
    let refused =
        json!({ "error": "refused", "error_description": "1 error", "diagnostics": [fault] });
    let api = Api::start(move |_| Reply::Json(422, refused.clone()));
    let exit = ask(&api, &["reload"]);
    expect(
        &exit,
        1,
        &["error[E101]: unknown key \\u{9b}1m", ":3  services[0].prot", "hint: did you"],
    );
    let exit = ask(&api, &["reload", "--json"]);
    expect(&exit, 1, &[]);
    let told: Value = serde_json::from_str(&exit.stdout).expect("JSON");
    assert_eq!(told["diagnostics"][0]["code"], "E101");

    let api = Api::start(|_| refusal(401, "unauthorized", "show the token"));
    expect(&run(&["reload", "--admin", &api.url()]), 1, &["show the token", "--token-file"]);
    let api = Api::start(|_| refusal(404, "not_found", "there is nothing at this path"));
    expect(&ask(&api, &["reload"]), 1, &["no POST /api/reload", "another version"]);
}

/// Goal: `plan` sends the file as it is and says what it would change.
/// Method: a file with errors that only the proxy may judge, a plan, a plan with errors, no file.
#[test]
fn plan() {
    let dir = tempfile::tempdir().unwrap();
    let plan = json!({ "version": 4, "changes": true,
        "listeners": { "added": ["0.0.0.0:6000"], "kept": ["a", "b"], "removed": [] },
        "services": [{ "id": "pg", "name": "pg", "change": "changed", "what": ["rules[0].targets"],
            "connections": 12 }],
        "unchanged": 3, "connections": { "untouched": 12, "drained": 0, "closed": 0 },
        "diagnostics": [] });
    let api = Api::start(move |_| Reply::Json(200, plan.clone()));
    let text = json!({ "admin": { "listen": format!("127.0.0.1:{}", api.port()) }, "services": 5 });
    fs::write(dir.path().join("new file.json"), text.to_string()).unwrap();
    let exit = thalweg(dir.path(), &["plan", "-c", "new file.json"]);
    expect(&exit, 0, &["+ 0.0.0.0:6000", "2 kept", "~ pg: rules[0].targets; 12 connections"]);
    let path = fs::canonicalize(dir.path()).unwrap().join("new file.json").display().to_string();
    let path = path.replace('/', "%2F").replace(' ', "%20");
    let wanted =
        Asked { what: format!("POST /api/plan?file={path}"), token: None, body: text.to_string() };
    assert_eq!(api.asked(), [wanted]);
    expect(&ask(&api, &["plan", "--json"]), 0, &["\"unchanged\": 3"]);
    assert_eq!(whats(&api).last().unwrap(), "GET /api/plan");
    let broken = dir.path().join("broken.json");
    fs::write(&broken, "{").unwrap();
    expect(&ask(&api, &["plan", "-c", broken.to_str().unwrap()]), 1, &["E113", "broken.json"]);
    expect(&ask(&api, &["plan", "-c", "missing.json"]), 1, &["missing.json"]);

    let faulty = json!({ "changes": false, "diagnostics": [{ "severity": "error", "code": "E101",
        "path": "prot", "line": 2, "message": "m" }] });
    let api = Api::start(move |_| Reply::Json(200, faulty.clone()));
    expect(&ask(&api, &["plan"]), 1, &["error[E101]: m", "would be refused"]);
}

/// Goal: `drain` asks for what is meant, and ends nothing that was not.
/// Method: each form; the whole proxy without a terminal and without --yes.
#[test]
fn drain() {
    let api = Api::start(|asked| match &*asked.what {
        "GET /api/status" => Reply::Json(200, json!({ "connections": 5 })),
        "POST /api/tcp/targets/drain" => {
            Reply::Json(200, json!({ "targets": [{ "connections": 1 }, { "connections": 1 }] }))
        }
        _ => Reply::Json(200, json!({ "connections": 2 })),
    });
    let target = ["drain", "--target", "db1:5432", "--close-after", "30s"];
    expect(&ask(&api, &target), 0, &["db1:5432 takes no new", "2 connections", "after 30s"]);
    expect(&ask(&api, &["drain", "--service", "a b", "--undo"]), 0, &["a b takes new"]);
    expect(&ask(&api, &["drain"]), 2, &["--yes"]);
    expect(&ask(&api, &["drain", "--undo"]), 2, &["--service"]);
    expect(&ask(&api, &["drain", "--deadline", "soon"]), 2, &[]);
    expect(&ask(&api, &["drain", "--deadline", "1m", "--yes"]), 0, &["the proxy takes no new"]);
    let asked: Vec<_> =
        api.asked().into_iter().map(|it| format!("{} {}", it.what, it.body)).collect();
    assert_eq!(
        asked,
        [
            "POST /api/tcp/targets/drain {\"drain\":true,\"closeAfter\":\"30s\",\"target\":\"db1:5432\"}",
            "POST /api/tcp/services/a%20b/drain {\"drain\":false}",
            "GET /api/status ",
            "POST /api/drain {\"deadline\":\"1m\"}",
        ]
    );
}

/// Goal: `kill` with a filter ends what the filter takes, after a yes; ids that are gone are an
/// error only where they were named.
/// Method: three connections, one of which has ended meanwhile.
#[test]
fn kill() {
    let api = Api::start(|asked| match &*asked.what {
        "DELETE /api/tcp/connections/b" => refusal(404, "not_found", "no connection `b`"),
        what if what.starts_with("DELETE") => Reply::Json(200, json!({ "deleted": true })),
        _ => Reply::Json(200, json!({ "connections": [{"id": "a"}, {"id": "b"}, {"id": "c/1"}] })),
    });
    expect(&ask(&api, &["kill", "--service", "s"]), 2, &["3 connections", "--yes"]);
    let exit = ask(&api, &["kill", "--service", "s", "--source", "10.0.0.0/8", "--yes"]);
    expect(&exit, 0, &["ended 2 connections"]);
    assert_eq!(
        whats(&api)[1..],
        [
            "GET /api/tcp/connections?limit=10000&service=s&source=10.0.0.0%2F8",
            "DELETE /api/tcp/connections/a",
            "DELETE /api/tcp/connections/b",
            "DELETE /api/tcp/connections/c%2F1",
        ]
    );
    assert_eq!(api.connections(), 2, "one connection a command, not one a request");
    expect(&ask(&api, &["kill", "a", "b"]), 1, &["no connection `b`"]);
    expect(&ask(&api, &["kill"]), 2, &[]);
    expect(&ask(&api, &["kill", "a", "--service", "s"]), 2, &[]);
}

/// Goal: services are listed page by page, written, and removed.
/// Method: 501 services; a document with and without an id, one that is refused, one of a file.
#[test]
fn services() {
    let api = Api::start(|asked| {
        let service = |at: u32| {
            json!({ "id": format!("s{at}"), "port": at, "interface": "::", "tls": "Disabled",
                "name": "日本", "rules": [{}], "_meta": { "owner": "file" } })
        };
        match &*asked.what {
            "GET /api/tcp/services?page=1&pageSize=500" => {
                Reply::Json(200, (1..=500).map(service).collect())
            }
            "GET /api/tcp/services?page=2&pageSize=500" => Reply::Json(200, json!([service(501)])),
            "GET /api/tcp/services/s1" => Reply::Json(200, service(1)),
            "PUT /api/tcp/services/s1" | "POST /api/tcp/services" => Reply::Json(200, service(1)),
            "PUT /api/tcp/services/new" => refusal(404, "not_found", "no service `new`"),
            "PUT /api/tcp/services/filed" => refusal(409, "owned", "it belongs to /etc/t.json"),
            "DELETE /api/tcp/services/s1" => Reply::Json(200, json!({ "deleted": true })),
            "DELETE /api/tcp/services/s1?dryRun=true" => {
                Reply::Json(200, json!({ "changes": false }))
            }
            _ => refusal(400, "bad_request", "unexpected"),
        }
    });
    let exit = ask(&api, &["services"]);
    expect(&exit, 0, &["LISTENS ON", "[::]:501"]);
    assert_eq!(exit.stdout.lines().count(), 502);
    let exit = ask(&api, &["services", "--json"]);
    let all: Value = serde_json::from_str(&exit.stdout).expect("JSON");
    assert_eq!(all.as_array().unwrap().len(), 501);
    expect(&ask(&api, &["service", "get", "s1"]), 0, &["\"id\": \"s1\""]);
    let dir = tempfile::tempdir().unwrap();
    let put = |document: Value| {
        let file = dir.path().join("s.json");
        fs::write(&file, document.to_string()).unwrap();
        ask(&api, &["service", "put", file.to_str().unwrap()])
    };
    expect(&put(json!({ "id": "s1" })), 0, &["s1 is served"]);
    expect(&put(json!({ "id": "new" })), 0, &["is served"]);
    assert_eq!(whats(&api).last().unwrap(), "POST /api/tcp/services");
    expect(&put(json!({ "port": 1 })), 0, &["is served"]);
    expect(&put(json!({ "id": "filed" })), 1, &["it belongs to /etc/t.json"]);
    expect(&ask(&api, &["service", "put", "missing.json"]), 1, &["missing.json"]);
    expect(&ask(&api, &["service", "delete", "s1"]), 2, &["--yes"]);
    expect(&ask(&api, &["service", "delete", "s1", "--dry-run"]), 0, &["nothing would change"]);
    expect(&ask(&api, &["service", "delete", "s1", "--yes"]), 0, &["s1 is removed"]);
}

/// Goal: whatever answers at the address, the command says clearly that it is no Thalweg, and
/// takes no more of it than it can bear.
/// Method: nobody, HTML, JSON of somebody else, no HTTP, an endless answer, an end in the middle.
#[test]
fn what_is_no_admin_api() {
    let dir = tempfile::tempdir().unwrap();
    let nobody = format!("http://127.0.0.1:{}", free_port());
    for command in ["status", "connections", "reload", "plan", "services", "top"] {
        let once: &[&str] = if command == "top" { &["--once"] } else { &[] };
        let exit = thalweg(dir.path(), &[&[command, "--admin", &nobody], once].concat());
        expect(&exit, 4, &["no admin API at 127.0.0.1:", "-c FILE"]);
    }
    type Script = fn() -> Reply;
    let replies: [(Script, &str); 6] = [
        (
            || Reply::Raw(b"HTTP/1.1 200 OK\r\n\r\n<html>hello\x1b[2J".to_vec()),
            "no Thalweg admin API",
        ),
        (|| Reply::Json(404, json!({ "message": "no" })), "no Thalweg admin API (status 404)"),
        (|| Reply::Json(200, json!({ "kind": "Pods", "items": [] })), "no Thalweg admin API"),
        (|| Reply::Raw(b"SSH-2.0-OpenSSH\r\n".to_vec()), "no HTTP there"),
        (|| Reply::Raw(Vec::new()), "closed"),
        (|| Reply::Endless, "larger than 64 MiB"),
    ];
    for (reply, said) in replies {
        let api = Api::start(move |_| reply());
        expect(&ask(&api, &["connections"]), 4, &[said]);
        expect(&ask(&api, &["top", "--once"]), 4, &[]);
    }
    for wrong in ["127.0.0.1:9900", "http://", "ftp://x", "http://a:b", "https://"] {
        expect(&run(&["status", "--admin", wrong]), 2, &["neither"]);
    }
    expect(&run(&["status", "--token-file", "none", "--admin", &nobody]), 2, &["none"]);
}

/// Goal: a connection that the proxy closed between two requests is not the user's matter.
/// Method: every answer ends its connection.
#[test]
fn a_connection_that_has_ended_is_made_again() {
    let count = AtomicUsize::new(0);
    let api = Api::start(move |_| {
        count.fetch_add(1, Ordering::SeqCst);
        let body = json!({ "configurationVersion": 1, "version": "1" }).to_string();
        let status = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len());
        let targets = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n[]".to_owned();
        Reply::Raw(if count.load(Ordering::SeqCst) == 1 { status } else { targets }.into())
    });
    expect(&ask(&api, &["status"]), 0, &["configuration version 1"]);
    assert_eq!(api.connections(), 2);
}

/// Goal: https:// trusts whom it is told to, and nobody else unless it is told not to care.
/// Method: a server with a certificate of an authority of its own.
#[test]
fn tls() {
    let (authority, files) = (Authority::new("ops"), Files::new());
    let issued = authority.issue(&["localhost"]);
    let answer = json!({ "connections": [], "truncated": false });
    let api = Api::secure(&issued, move |_| Reply::Json(200, answer.clone()));
    let url = format!("https://localhost:{}", api.port());
    let (ours, other) = (
        files.put("ca.pem", &authority.pem()),
        files.put("other.pem", &Authority::new("other").pem()),
    );
    let with = |more: &[&str]| run(&[&["connections", "--admin", &url], more].concat());
    expect(&with(&["--ca-file", &ours]), 0, &["SERVICE"]);
    expect(&with(&["--ca-file", &other]), 4, &["no TLS", "--ca-file"]);
    expect(&with(&["--ca-file", "none.pem"]), 2, &["none.pem"]);
    expect(&with(&["--insecure"]), 0, &["SERVICE", "warning: --insecure"]);
    let plain = format!("http://localhost:{}", api.port());
    expect(&run(&["connections", "--admin", &plain]), 4, &["https://?"]);
}

/// Goal: the admin API is found by argument, by environment, and by the file, also one with errors.
/// Method: each, and where two speak.
#[test]
fn where_it_is() {
    let answer = json!({ "connections": [], "truncated": false });
    let api = Api::start(move |_| Reply::Json(200, answer.clone()));
    let dir = tempfile::tempdir().unwrap();
    let nobody = format!("http://127.0.0.1:{}", free_port());
    let admin =
        json!({ "listen": format!("127.0.0.1:{}", api.port()), "tokenFile": "admin.token" });
    fs::write(dir.path().join("admin.token"), "0123456789abcdef\n").unwrap();
    fs::write(
        dir.path().join("broken.json"),
        json!({ "admin": admin, "services": [{ "prot": 1 }] }).to_string(),
    )
    .unwrap();
    fs::write(dir.path().join("none.json"), "{}").unwrap();
    let with = |arguments: &[&str], admin: Option<&str>| {
        let mut command = Command::new(BINARY);
        command.arg("connections").args(arguments).current_dir(dir.path());
        command.env_remove("THALWEG_ADMIN").env_remove("THALWEG_TOKEN_FILE");
        command.envs(admin.map(|url| ("THALWEG_ADMIN", url)));
        crate::support::proxy::run_to_end(command)
    };
    expect(&with(&["-c", "broken.json"], None), 0, &["SERVICE"]);
    assert_eq!(api.asked()[0].token.as_deref(), Some("0123456789abcdef"));
    expect(&with(&[], Some(&api.url())), 0, &["SERVICE"]);
    expect(&with(&["--admin", &api.url()], Some(&nobody)), 0, &["SERVICE"]);
    expect(&with(&["-c", "broken.json"], Some(&nobody)), 4, &[]);
    expect(&with(&["-c", "broken.json"], Some("")), 0, &["SERVICE"]);
    expect(&with(&["-c", "none.json"], None), 2, &["no `admin`"]);
    expect(&with(&["-c", "missing.json"], None), 1, &["missing.json"]);
    let socket = dir.path().join("a.sock");
    let _bound = UnixListener::bind(&socket).unwrap();
    drop(_bound);
    expect(&with(&["--admin", &format!("unix:{}", socket.display())], None), 4, &["unix:"]);
}

/// Goal: who reads no further is no error.
/// Method: every command that prints writes into a pipe that nobody reads.
#[test]
fn a_closed_pipe_is_no_error() {
    let answer =
        json!({ "connections": (0..5000).map(|at| json!({ "id": at })).collect::<Vec<_>>() });
    let api = Api::start(move |_| Reply::Json(200, answer.clone()));
    let url = api.url();
    let connections = ["connections", "--admin", &url];
    let watched = ["connections", "--admin", &url, "--watch", "100ms"];
    for arguments in [
        &["--help"][..],
        &["schema"],
        &["explain", "--list"],
        &["explain", "E101"],
        &["man"],
        &["completions", "bash"],
        &connections,
        &watched,
    ] {
        let mut command = Command::new(BINARY);
        command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        drop(child.stdout.take());
        let mut said = String::new();
        child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
        let status = child.wait().unwrap();
        assert_eq!((status.code(), &*said), (Some(0), ""), "{arguments:?}");
    }
}

/// A proxy with an admin API, its token in `dir`.
fn real(service: &Service, dir: &TempDir) -> (Proxy, Config, String) {
    let token = dir.path().join("admin.token");
    fs::write(&token, "0123456789abcdef\n").unwrap();
    let admin = json!({ "listen": format!("127.0.0.1:{}", free_port()), "tokenFile": token });
    let config = Config::new([service]).set("admin", admin);
    let proxy = Launch::new(config.clone()).start();
    let file = proxy.file().display().to_string();
    (proxy, config, file)
}

/// Goal: `status`, `connections` and `kill` work against the real admin API.
/// Method: a connection is seen, sorted, filtered and ended by its service.
#[test]
fn the_real_one_is_read_and_connections_are_ended() {
    let backend = Backend::echo();
    let service = Service::new("svc", &[backend.address]);
    let dir = tempfile::tempdir().unwrap();
    let (mut proxy, _, file) = real(&service, &dir);
    let client = proxy.connect(&service);
    client.send(b"hello");
    client.expect(b"hello");
    expect(&run(&["status", "-c", &file]), 0, &["serving", "1 of", "svc", "Up"]);
    let exit = run(&["connections", "-c", &file, "--sort", "out", "--service", "svc"]);
    expect(&exit, 0, &["svc", "5 B"]);
    expect(&run(&["connections", "-c", &file, "--idle-over", "1h"]), 0, &[]);
    expect(&run(&["kill", "-c", &file, "--sni", "none", "--yes"]), 1, &["no such connection"]);
    expect(&run(&["kill", "-c", &file, "--service", "svc", "--yes"]), 0, &["ended 1 connection"]);
    proxy.cut(client, &service, "us/relay/*");
    proxy.finish();
}

/// Goal: `plan` and `reload` tell the same story, and a refused one changes nothing.
/// Method: a service more, as a plan and then as a reload; a fault.
#[test]
fn plan_and_reload_the_real_one() {
    let backend = Backend::echo();
    let service = Service::new("svc", &[backend.address]);
    let more = Service::new("more", &[backend.address]);
    let dir = tempfile::tempdir().unwrap();
    let (mut proxy, config, file) = real(&service, &dir);
    proxy.write_config(&config.clone().with(&more));
    expect(&run(&["plan", "-c", &file]), 0, &[&format!("+ {}", more.address), "+ more"]);
    expect(&run(&["reload", "-c", &file]), 0, &["added", &more.address.to_string()]);
    expect(&run(&["plan", "-c", &file]), 0, &["nothing would change"]);
    proxy.rebase();
    let client = proxy.connect(&more);
    client.send(b"hello");
    client.expect(b"hello");
    client.fin();
    client.expect_eof();
    proxy.ended(client, &more, "*/relay/closed");
    proxy.write_config(&config.clone().with(&more.set("prot", json!(1))));
    expect(&run(&["plan", "-c", &file]), 1, &["error[E101]"]);
    expect(&run(&["reload", "-c", &file]), 1, &["error[E101]", "prot"]);
    proxy.finish();
}

/// Goal: `drain` takes a target out and puts it back, and ends the proxy.
/// Method: two targets, one drained: all go to the other.
#[test]
fn drain_the_real_one() {
    let (first, second) = (Backend::echo(), Backend::echo());
    let service = Service::new("svc", &[first.address, second.address]);
    let dir = tempfile::tempdir().unwrap();
    let (mut proxy, _, file) = real(&service, &dir);
    let target = first.address.to_string();
    expect(&run(&["drain", "-c", &file, "--target", &target]), 0, &["takes no new connections"]);
    expect(&run(&["status", "-c", &file]), 0, &["draining"]);
    for _ in 0..8 {
        let client = proxy.connect(&service);
        client.send(b"x");
        client.expect(b"x");
        client.fin();
        client.expect_eof();
        proxy.ended(client, &service, "*/relay/closed");
    }
    assert_eq!(first.accepted(), 0);
    expect(&run(&["drain", "-c", &file, "--target", &target, "--undo"]), 0, &["again"]);
    wait_until("the ends", SOON, || second.live() == 0);
    proxy.canary();
    expect(&run(&["drain", "-c", &file, "--deadline", "5s", "--yes"]), 0, &[]);
    let exit = proxy.wait_exit();
    assert_eq!(exit.code(), Some(0), "{}", exit.said());
    proxy.verdict();
}

/// Goal: `top --once` shows what moves.
/// Method: a connection lives.
#[test]
fn top_of_the_real_one() {
    let backend = Manual::start();
    let service = Service::new("svc", &[backend.address]);
    let dir = tempfile::tempdir().unwrap();
    let (mut proxy, _, file) = real(&service, &dir);
    let client = proxy.connect(&service);
    let upstream = backend.accept();
    for view in ["services", "targets", "connections"] {
        let exit = run(&["top", "-c", &file, "--once", "--view", view, "--interval", "200ms"]);
        expect(&exit, 0, &["svc", "1 connection,"]);
    }
    expect(&run(&["top", "-c", &file, "--once", "--view", "cores"]), 0, &["CORE", "TICKS/S"]);
    client.fin();
    upstream.expect_eof();
    upstream.fin();
    client.expect_eof();
    proxy.ended(client, &service, "*/relay/closed");
    proxy.finish();
}

/// Goal: `services` and `service` list, create, plan and remove.
/// Method: one of the file, one made by the API.
#[test]
fn services_of_the_real_one() {
    let backend = Backend::echo();
    let service = Service::new("svc", &[backend.address]);
    let (dir, state) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (mut proxy, config, file) = real(&service, &dir);
    proxy.reload(&config.set("stateDir", json!(state.path())));
    proxy.rebase(); // the lock of the state directory
    let made = Service::new("made", &[backend.address]);
    let document: Value = serde_json::from_str(&Config::new([&made]).text()).unwrap();
    let document = &document["services"][0];
    let path = dir.path().join("made.txt").display().to_string();
    fs::write(&path, document.to_string()).unwrap();
    expect(&run(&["service", "put", &path, "-c", &file, "--dry-run"]), 0, &["+ made"]);
    expect(&run(&["service", "put", &path, "-c", &file]), 0, &["made is served"]);
    expect(&run(&["services", "-c", &file]), 0, &["made", "api", "svc", "file"]);
    expect(&run(&["service", "get", "made", "-c", &file]), 0, &["\"made\""]);
    expect(&run(&["service", "delete", "svc", "-c", &file, "--yes"]), 1, &[]);
    expect(&run(&["service", "delete", "made", "-c", &file, "--yes"]), 0, &["made is removed"]);
    proxy.canary();
    proxy.finish();
}
