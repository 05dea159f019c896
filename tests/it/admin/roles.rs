//! Who may do what, over which transport, and how refusals look.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use crate::support::admin::ask;
use crate::support::backend::Backend;
use crate::support::certs::{Authority, Files};
use crate::support::config::{Config, Service};
use crate::support::ports::free_port;
use crate::support::process::is_root;
use crate::support::proxy::Launch;
use crate::support::wait::{SOON, wait_until};

const ADMIN: [&str; 2] = ["-H", "Authorization: Bearer 0123456789abcdef"];
const READ: [&str; 2] = ["-H", "Authorization: Bearer fedcba9876543210"];

/// The configuration's `admin`, with both tokens in this directory.
fn with_tokens(dir: &Path, listen: &Value) -> Value {
    let put = |name: &str, text: &str| {
        let path = dir.join(name);
        fs::write(&path, text).unwrap();
        path
    };
    json!({
        "listen": listen,
        "tokenFile": put("admin.token", "0123456789abcdef\n"),
        "readTokenFile": put("read.token", "fedcba9876543210\n"),
    })
}

/// What is answered to bytes that are sent as they are, up to the end.
fn say(mut stream: impl Read + Write, bytes: &[u8]) -> String {
    stream.write_all(bytes).unwrap();
    let mut said = String::new();
    let _ = stream.read_to_string(&mut said);
    said
}

/// Goal: each role may do what is its own, on every listener of several, and over a Unix socket the
/// owner needs no token unless one is required.
/// Method: a loopback address, a Unix socket, with each token and none; then with `requireToken`.
#[test]
fn roles_on_several_listeners() {
    let backend = Backend::echo();
    let service = Service::new("svc", &[backend.address]);
    let directory = tempfile::tempdir().unwrap();
    let tcp = format!("127.0.0.1:{}", free_port());
    let unix = directory.path().join("admin.sock").display().to_string();
    let listen = json!([tcp, format!("unix:{unix}")]);
    let mut admin = with_tokens(directory.path(), &listen);
    let config = Config::new([&service]);
    let mut proxy = Launch::new(config.clone().set("admin", admin.clone())).start();
    let role = |at: &str, token: &[&str]| {
        let answer = ask(at, "/api/status", token);
        if answer.status == 200 { answer.json()["role"].clone() } else { json!(answer.status) }
    };
    let path = "/api/tcp/services/none/drain";
    let change = |at: &str, token: &[&str]| {
        let body = ["-H", "Content-Type: application/json", "-d", r#"{"drain":true}"#];
        ask(at, path, &[&body, token].concat()).status
    };
    let wrong = ["-H", "Authorization: Bearer 0123456789abcdeF"];
    for (at, token, may, changes) in [
        (&tcp, &[] as &[&str], json!("read"), 401),
        (&tcp, &READ, json!("read"), 403),
        (&tcp, &ADMIN, json!("admin"), 404),
        (&tcp, &wrong, json!(401), 401),
        (&unix, &[], json!("admin"), 404),
        (&unix, &READ, json!("read"), 403),
        (&unix, &wrong, json!(401), 401),
    ] {
        assert_eq!(role(at, token), may, "{at} {token:?}");
        assert_eq!(change(at, token), changes, "{at} {token:?}");
    }
    let metrics = ask(&tcp, "/metrics", &[]).body;
    assert!(metrics.contains("thalweg_admin_refused_total{reason=\"wrong_token\"} 4"), "{metrics}");
    wait_until("the log says so", SOON, || proxy.log().contains("admin: a request was refused"));

    admin["requireToken"] = json!(true);
    admin["unixMode"] = json!("0660");
    proxy.reload(&config.clone().set("admin", admin));
    assert_eq!(fs::metadata(&unix).unwrap().permissions().mode() & 0o777, 0o660);
    for at in [&tcp, &unix] {
        assert_eq!(role(at, &[]), json!(401), "{at}");
        assert_eq!(role(at, &READ), json!("read"), "{at}");
        assert_eq!(change(at, &ADMIN), 404, "{at}");
        assert_eq!(ask(at, "/health/live", &[]).status, 200, "{at}");
    }
    // One of them goes, the other stays.
    let admin = with_tokens(directory.path(), &json!([format!("unix:{unix}")]));
    proxy.reload(&config.set("admin", admin));
    assert_eq!((role(&tcp, &[]), role(&unix, &[])), (json!(0), json!("admin")));
    proxy.rebase();
    proxy.finish();
}

/// Goal: another user who may connect to the socket is known for another one.
/// Method: the socket is open to all, and `nobody` asks.
#[test]
fn another_user() {
    if !is_root() {
        return;
    }
    let backend = Backend::echo();
    let service = Service::new("svc", &[backend.address]);
    let directory =
        tempfile::Builder::new().permissions(fs::Permissions::from_mode(0o755)).tempdir();
    let directory = directory.unwrap();
    let socket = directory.path().join("admin.sock");
    let mut admin = with_tokens(directory.path(), &json!(format!("unix:{}", socket.display())));
    admin["unixMode"] = json!("0666");
    let proxy = Launch::new(Config::new([&service]).set("admin", admin)).start();
    let curl = |more: &[&str]| {
        let mut curl = Command::new("setpriv");
        curl.args(["--reuid=65534", "--regid=65534", "--clear-groups", "curl", "-s"]);
        curl.args(["--unix-socket"]).arg(&socket).args(more);
        let output = curl.output().expect("setpriv and curl");
        serde_json::from_slice::<Value>(&output.stdout).unwrap_or_default()
    };
    assert_eq!(curl(&["http://localhost/api/status"])["role"], "read");
    let refused = curl(&["-X", "POST", "http://localhost/api/drain"]);
    assert_eq!(refused["error"], "unauthorized", "{refused}");
    proxy.finish();
}

/// Goal: requests that a browser could be made to send, or that say two things, are refused; and each
/// refusal is JSON with headers that keep browsers honest.
/// Method: each of them, as bytes.
#[test]
fn every_refusal_in_one_form() {
    let backend = Backend::echo();
    let service = Service::new("svc", &[backend.address]);
    let directory = tempfile::tempdir().unwrap();
    let at = format!("127.0.0.1:{}", free_port());
    let mut admin = with_tokens(directory.path(), &json!(at));
    admin["hosts"] = json!(["ops.example.com"]);
    let proxy = Launch::new(Config::new([&service]).set("admin", admin)).start();
    let own = "Host: localhost\r\nConnection: close\r\n";
    let token = format!("{own}Authorization: Bearer 0123456789abcdef\r\n");
    let head = |line: &str, fields: &str| format!("{line} HTTP/1.1\r\n{fields}\r\n");
    let long = format!("{own}X: {}\r\n", "a".repeat(40_000));
    let drain = "POST /api/tcp/services/svc/drain";
    let table = [
        (head("GET /api/status", "Connection: close\r\n"), 400, "bad_host"),
        (head("GET /api/status", &format!("{own}Host: localhost\r\n")), 400, "bad_host"),
        (head("GET /api/status", "Host: evil.test\r\nConnection: close\r\n"), 421, "foreign_host"),
        (head("GET http://evil.test/api/status", own), 421, "foreign_host"),
        (head("GET /api/status", &format!("{own}Origin: http://evil.test\r\n")), 403, "cross_site"),
        (
            head("GET /api/status", &format!("{own}Sec-Fetch-Site: same-site\r\n")),
            403,
            "cross_site",
        ),
        (head("GET /nothing", own), 404, "not_found"),
        (head("DELETE /api/status", &token), 405, "method_not_allowed"),
        (head(drain, own), 401, "unauthorized"),
        (head(drain, &format!("{token}Content-Length: 2\r\n")) + "{}", 415, "not_json"),
        (head(drain, &format!("{token}Content-Length: 3000000\r\n")), 413, "payload_too_large"),
        (head("GET /api/status", &long), 431, "head_too_large"),
        ("rubbish\r\n\r\n".to_owned(), 400, "bad_request"),
        ("\x16\x03\x01\x00\x05hello".to_owned(), 400, "bad_request"),
    ];
    for (request, status, error) in table {
        let said = say(TcpStream::connect(&at).unwrap(), request.as_bytes());
        let (head, body) = said.split_once("\r\n\r\n").unwrap_or_else(|| panic!("{error}: {said}"));
        assert!(head.starts_with(&format!("HTTP/1.1 {status} ")), "{error}: {said}");
        let body: Value = serde_json::from_str(body).unwrap_or_else(|_| panic!("{error}: {said}"));
        assert_eq!(body["error"], error, "{said}");
        assert!(body["error_description"].is_string(), "{said}");
        let head = head.to_lowercase();
        assert!(head.contains("x-content-type-options: nosniff"), "{said}");
        assert!(head.contains("cache-control: no-store"), "{said}");
        assert_eq!(head.contains("\r\nallow: get,head"), status == 405, "{said}");
    }
    let good = |request: String| say(TcpStream::connect(&at).unwrap(), request.as_bytes());
    for fields in [
        "Host: ops.example.com:9900\r\nOrigin: https://ops.example.com\r\nConnection: close\r\n",
        "Host: 127.0.0.1\r\nOrigin: http://127.0.0.1\r\nSec-Fetch-Site: same-origin\r\nConnection: close\r\n",
    ] {
        let said = good(head("GET /api/status", fields));
        assert!(said.starts_with("HTTP/1.1 200 "), "{said}");
        assert!(
            said.to_lowercase().contains("content-security-policy: default-src 'self'"),
            "{said}"
        );
        assert!(said.contains("frame-ancestors 'none'"), "{said}");
    }
    let said = good(head("OPTIONS /api/tcp/connections/x", own));
    assert!(said.starts_with("HTTP/1.1 204 ") && !said.contains("access-control"), "{said}");
    assert!(said.to_lowercase().contains("allow: get,head,delete"), "{said}");
    let said = good(head("HEAD /api/status", own));
    assert!(said.starts_with("HTTP/1.1 200 ") && said.ends_with("\r\n\r\n"), "{said}");
    let said = good("GET /api/status HTTP/1.0\r\n\r\n".to_owned());
    assert!(said.starts_with("HTTP/1.0 200 "), "{said}");
    // Many requests at once are answered one after the other, up to a number.
    let many = head("GET /health/live", "Host: localhost\r\n").repeat(1000);
    let mut stream = TcpStream::connect(&at).unwrap();
    let _ = stream.write_all(many.as_bytes());
    let mut said = Vec::new();
    let _ = stream.read_to_end(&mut said);
    let answers = String::from_utf8_lossy(&said).matches("HTTP/1.1 200").count();
    assert_eq!(answers, 200);
    proxy.finish();
}

/// Goal: TLS with the configured certificate and, where asked for, one of the caller's; plain HTTP is
/// told so; a certificate that was renewed is served without a reload of anything else.
/// Method: curl with and without a certificate; bytes; another certificate in the same files.
#[test]
fn over_tls() {
    let backend = Backend::echo();
    let service = Service::new("svc", &[backend.address]);
    let (authority, files) = (Authority::new("ca"), Files::new());
    let put = |issued: &crate::support::certs::Issued| {
        files.put("admin.pem", &issued.cert_pem());
        files.put("admin.key", &issued.key_pem());
    };
    let first = authority.issue(&["localhost"]);
    put(&first);
    let ca = files.put("ca.pem", &authority.pem());
    let me = authority.issue(&["me"]);
    let (cert, key) = (files.put("me.pem", &me.cert_pem()), files.put("me.key", &me.key_pem()));
    let port = free_port();
    let directory = tempfile::tempdir().unwrap();
    let listen = json!([format!("127.0.0.1:{port}"), "unix:admin.sock"]);
    let mut admin = with_tokens(directory.path(), &listen);
    admin["certFile"] = json!(files.path("admin.pem"));
    admin["keyFile"] = json!(files.path("admin.key"));
    let config = Config::new([&service]);
    let mut proxy = Launch::new(config.clone().set("admin", admin.clone())).start();
    let url = format!("https://localhost:{port}/api/status");
    let curl = |more: &[&str]| {
        let mut curl = Command::new("curl");
        curl.args(["-sS", "--cacert", &ca, "--resolve", &format!("localhost:{port}:127.0.0.1")]);
        let output = curl.args(more).arg(&url).output().expect("curl");
        serde_json::from_slice::<Value>(&output.stdout).unwrap_or_default()
    };
    assert_eq!(curl(&[])["role"], "read");
    assert_eq!(curl(&ADMIN)["role"], "admin");
    assert_eq!(curl(&["-X", "DELETE"])["error"], "unauthorized");
    let plain = || TcpStream::connect(("127.0.0.1", port)).unwrap();
    let said = say(plain(), b"GET /api/status HTTP/1.1\r\nHost: localhost\r\n\r\n");
    assert!(said.starts_with("HTTP/1.1 400 ") && said.contains("use https"), "{said}");
    let socket = proxy.file().with_file_name("admin.sock");
    let request = b"GET /health/live HTTP/1.1\r\nHost: x.localhost\r\nConnection: close\r\n\r\n";
    let said = say(UnixStream::connect(&socket).unwrap(), request);
    assert!(said.starts_with("HTTP/1.1 421 "), "no TLS there, but the same guard: {said}");

    let shown = || {
        let mut openssl = Command::new("openssl");
        openssl.args(["s_client", "-connect", &format!("127.0.0.1:{port}")]);
        let output = openssl.stdin(std::process::Stdio::null()).output().expect("openssl");
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    let serial = |issued: &crate::support::certs::Issued| {
        let pem = issued.cert_pem();
        pem.lines().nth(1).unwrap().trim().to_owned()
    };
    assert!(shown().contains(&serial(&first)));
    let second = authority.issue(&["localhost"]);
    put(&second);
    wait_until("the new certificate", SOON, || shown().contains(&serial(&second)));
    files.put("admin.pem", "broken");
    wait_until("the log says so", SOON, || proxy.log().contains("keeps what it had"));
    assert_eq!(curl(&[])["role"], "read");
    let said = proxy.reload(&config.clone().set("admin", admin.clone()));
    assert!(said.contains("nothing was changed"), "{said}");
    put(&second);
    admin["clientCaFiles"] = json!([ca]);
    proxy.reload(&config.set("admin", admin));
    assert_eq!(curl(&[]), Value::Null, "without a certificate there is no answer");
    assert_eq!(curl(&["--cert", &cert, "--key", &key])["role"], "read");
    proxy.rebase();
    proxy.finish();
}
