//! Abuse of the admin API: it keeps nobody out who has a token or a moment, and touches no traffic.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use serde_json::json;

use super::CLOSED;
use crate::support::admin::ask;
use crate::support::backend::Backend;
use crate::support::config::{Config, Service};
use crate::support::ports::free_port;
use crate::support::process::raise_own_limit;
use crate::support::proxy::Launch;
use crate::support::wait::{SOON, wait_until};

/// Idle connections to the admin API.
const IDLE: usize = 5000;

/// Goal: 5,000 idle connections to the admin port neither keep an operator out, on the same address or
/// over a Unix socket, nor touch traffic; afterwards the descriptors are back.
/// Method: they are opened, and again as they are closed, while a client echoes and an operator asks.
#[test]
fn idle_ones() {
    raise_own_limit();
    let backend = Backend::echo();
    let service = Service::new("svc", &[backend.address]);
    let at = format!("127.0.0.1:{}", free_port());
    let admin = json!({ "listen": [at, "unix:admin.sock"] });
    let mut proxy = Launch::new(Config::new([&service]).set("admin", admin)).start();
    let socket = proxy.file().with_file_name("admin.sock").display().to_string();
    let over = AtomicBool::new(false);
    let client = proxy.connect(&service);
    let rounds = thread::scope(|scope| {
        let traffic = scope.spawn(|| {
            let mut rounds = 0_u64;
            while !over.load(Ordering::Relaxed) || rounds < 100 {
                let words = rounds.to_le_bytes();
                client.send(&words);
                client.expect(&words);
                rounds += 1;
            }
            rounds
        });
        let mut idle = Vec::new();
        while idle.len() < IDLE {
            match TcpStream::connect(&at) {
                Ok(stream) => idle.push(stream),
                // The queue is full for a moment.
                Err(_) => thread::yield_now(),
            }
            if idle.len() % 1000 == 0 {
                assert_eq!(ask(&at, "/api/status", &[]).status, 200, "beside {}", idle.len());
                assert_eq!(ask(&socket, "/api/status", &[]).status, 200);
            }
        }
        assert_eq!(ask(&at, "/api/status", &[]).status, 200, "beside all of them");
        over.store(true, Ordering::Relaxed);
        traffic.join().unwrap()
    });
    assert!(rounds >= 100);
    assert_eq!(ask(&at, "/api/status", &[]).status, 200);
    client.fin();
    client.expect_eof();
    proxy.ended(client, &service, CLOSED);
    proxy.finish();
}

/// Goal: an operator who has shown the token keeps the connection beside a crowd.
/// Method: one connection with the token, then more than there are places, then another request on it.
#[test]
fn who_has_shown_the_token_stays() {
    let backend = Backend::echo();
    let service = Service::new("svc", &[backend.address]);
    let at = format!("127.0.0.1:{}", free_port());
    let directory = tempfile::tempdir().unwrap();
    let token = directory.path().join("admin.token");
    std::fs::write(&token, "0123456789abcdef").unwrap();
    let admin = json!({ "listen": at, "tokenFile": token });
    let proxy = Launch::new(Config::new([&service]).set("admin", admin)).start();
    let request = "GET /health/live HTTP/1.1\r\nHost: localhost\r\n\
                   Authorization: Bearer 0123456789abcdef\r\n\r\n";
    let mut operator = TcpStream::connect(&at).unwrap();
    operator.set_read_timeout(Some(SOON)).unwrap();
    let mut asks = || {
        operator.write_all(request.as_bytes()).unwrap();
        let mut said = String::new();
        while !said.ends_with("\"live\"}") {
            let mut some = [0; 1024];
            let count = operator.read(&mut some).unwrap();
            assert!(count > 0, "cut off after: {said}");
            said.push_str(std::str::from_utf8(&some[..count]).unwrap());
        }
    };
    asks();
    let crowd: Vec<TcpStream> = (0..200).map(|_| TcpStream::connect(&at).unwrap()).collect();
    // The oldest of them has given way.
    let mut oldest = &crowd[0];
    oldest.set_read_timeout(Some(SOON)).unwrap();
    assert_eq!(oldest.read(&mut [0]).unwrap_or(0), 0);
    asks();
    drop(crowd);
    proxy.finish();
}

/// One of slowhttptest's ways; it ends by itself after some seconds.
fn slowly(at: &str, way: &[&str]) -> Child {
    let mut program = Command::new("slowhttptest");
    program.args(way).args(["-c", "300", "-r", "300", "-l", "4", "-p", "3"]);
    program.args(["-u", &format!("http://{at}/api/tcp/targets")]);
    program.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    program.spawn().unwrap_or_else(|error| panic!("{error}: scripts/test installs slowhttptest"))
}

/// Goal: slow heads, slow bodies and slow readers cost traffic nothing, and the API answers meanwhile and
/// afterwards.
/// Method: slowhttptest in its three modes beside a client that echoes.
#[test]
fn slow_ones() {
    let backend = Backend::echo();
    let service = Service::new("svc", &[backend.address]);
    let at = format!("127.0.0.1:{}", free_port());
    let admin = json!({ "listen": at });
    let mut proxy = Launch::new(Config::new([&service]).set("admin", admin)).start();
    let client = proxy.connect(&service);
    for way in [
        &["-H", "-i", "1"] as &[&str],
        &["-B", "-i", "1", "-s", "8192"],
        &["-X", "-z", "32", "-w", "10", "-y", "20", "-k", "3"],
    ] {
        let mut slow = slowly(&at, way);
        let mut rounds = 0_u64;
        let mut ends = None;
        while ends.is_none() {
            for _ in 0..50 {
                client.send(&rounds.to_le_bytes());
                client.expect(&rounds.to_le_bytes());
                rounds += 1;
            }
            assert_eq!(ask(&at, "/health/ready", &[]).status, 200, "beside {way:?}");
            ends = slow.try_wait().unwrap();
        }
        assert!(slow.wait().is_ok());
        wait_until("it answers at once", SOON, || ask(&at, "/api/status", &[]).status == 200);
    }
    client.fin();
    client.expect_eof();
    proxy.ended(client, &service, CLOSED);
    proxy.finish();
}
