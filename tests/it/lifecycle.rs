//! From start to stop: say ready, say why not, finish what was begun, never lose a port, and never
//! depend on anybody who listens to what we have to say.

use std::fs::{self, File};
use std::io::{self, PipeReader, PipeWriter, Write};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixDatagram;
use std::thread;
use std::time::Duration;

use serde_json::json;

use crate::support::backend::{Backend, Manual, listen};
use crate::support::config::{Config, Service};
use crate::support::events;
use crate::support::peer::Peer;
use crate::support::proxy::{Launch, Proxy};
use crate::support::wait::{SOON, let_pass, wait_until, wait_until_still};
use crate::support::{Stop, heavy};

const CLOSED: &str = "*/relay/closed";

fn say(client: &Peer, word: &[u8]) {
    client.send(word);
    client.expect(word);
}

fn end(proxy: &mut Proxy, client: Peer, service: &Service) {
    client.fin();
    client.expect_eof();
    proxy.ended(client, service, CLOSED);
}

/// Waits until nobody is accepted on this service any more; what was accepted until then is
/// ended and accounted for.
fn wait_refusal(proxy: &mut Proxy, service: &Service) {
    wait_until("new connections to be refused", SOON, || {
        match Peer::try_connect(service.address) {
            Ok(client) => {
                // Accepted just before, or reset because the listener went while it waited.
                let outcome = client.outcome();
                client.fin();
                if client.try_recv().is_ok() {
                    proxy.cut(outcome, service, "*");
                }
                false
            }
            Err(_) => true,
        }
    });
}

/// Goal: a proxy that cannot bind says which port and does not run.
/// Method: the port is taken, first by somebody else, then on an address that is not ours.
#[test]
fn start_with_a_taken_port() {
    let backend = Backend::echo();
    let service = Service::new("svc", &[backend.address]);
    let squatter = listen(service.address, 1).unwrap();
    let exit = Launch::new(Config::new([&service])).refused();
    assert_eq!(exit.code(), Some(1), "{}", exit.said());
    assert!(exit.stderr.contains(&service.port().to_string()), "{}", exit.stderr);
    assert!(!exit.stdout.contains("ready"));
    drop(squatter);

    let foreign = service.set("interface", json!("192.0.2.1"));
    let exit = Launch::new(Config::new([&foreign])).refused();
    assert_eq!(exit.code(), Some(1), "{}", exit.said());
    assert!(exit.stderr.contains("192.0.2.1"), "{}", exit.stderr);
}

/// Goal: a proxy with a broken configuration does not run and reports every fault of it.
/// Method: three faults in one file.
#[test]
fn start_with_a_bad_configuration() {
    let service = Service::new("svc", &[])
        .set("tls", json!("Sometimes"))
        .set("timeouts", json!({ "idle": "soon" }));
    let exit = Launch::new(Config::new([&service])).refused();
    assert_eq!(exit.code(), Some(1), "{}", exit.said());
    for word in ["tls", "idle"] {
        assert!(exit.stderr.contains(word), "{word} in: {}", exit.stderr);
    }
}

/// Goal: SIGTERM and SIGINT let live connections finish, refuse new ones and end with 0.
/// Method: a live connection; the signal; connects are refused; the connection echoes on, ends,
/// and the process with it.
#[test]
fn drain() {
    for signal in [libc::SIGTERM, libc::SIGINT] {
        let backend = Backend::echo();
        let service = Service::new("svc", &[backend.address]);
        let mut proxy = Proxy::start([&service]);
        let live = proxy.connect(&service);
        say(&live, b"before");
        proxy.signal(signal);
        wait_refusal(&mut proxy, &service);
        assert!(proxy.is_running());
        say(&live, b"during");
        end(&mut proxy, live, &service);
        let exit = proxy.wait_exit();
        assert_eq!(exit.code(), Some(0), "{}", exit.stderr);
        proxy.verdict();
    }
}

/// Goal: an idle proxy ends at once.
/// Method: no connection, SIGTERM.
#[test]
fn drain_of_nothing() {
    let backend = Backend::echo();
    let service = Service::new("svc", &[backend.address]);
    let mut proxy = Proxy::start([&service]);
    proxy.signal(libc::SIGTERM);
    assert_eq!(proxy.wait_exit().code(), Some(0));
    proxy.verdict();
}

/// Goal: no connection that waited in a queue when SIGTERM came is lost.
/// Method: the proxy is stopped; 40 clients connect and speak; SIGTERM waits for it; it goes on;
/// all are echoed.
#[test]
fn drain_serves_what_waits() {
    let backend = Backend::echo();
    let service = Service::new("svc", &[backend.address]);
    let mut proxy = Proxy::start([&service]);
    proxy.pause();
    let clients: Vec<Peer> = (0..40)
        .map(|_| {
            let client = proxy.connect(&service);
            client.send(b"queued");
            client
        })
        .collect();
    proxy.signal(libc::SIGTERM);
    proxy.resume();
    let mut lost = 0;
    for client in clients {
        client.fin();
        let (bytes, _) = client.recv_to_end();
        if bytes == b"queued" {
            proxy.ended(client, &service, CLOSED);
        } else {
            lost += 1;
        }
    }
    assert_eq!(lost, 0, "of 40 connections that the kernel had accepted");
    assert_eq!(proxy.wait_exit().code(), Some(0));
    proxy.verdict();
}

/// Goal: the drain ends at its deadline; what lives then is cut, both sides are told, and the
/// event says who cut it.
/// Method: a deadline of one second, one silent connection and one that pours at a client that
/// does not read.
#[test]
fn drain_deadline() {
    let (upstream, source) = (Manual::start(), Backend::source());
    let quiet = Service::new("quiet", &[upstream.address]);
    let pour = Service::new("pour", &[source.address]);
    let mut proxy =
        Launch::new(Config::new([&quiet, &pour])).arg("--drain-deadline").arg("1s").start();
    let silent = proxy.connect(&quiet);
    let up = upstream.accept();
    let small = |socket: &socket2::Socket| socket.set_recv_buffer_size(16 * 1024);
    let stuck = Peer::try_connect_with(pour.address, small).unwrap();
    wait_until_still("the source", Duration::from_millis(300), || source.sent());
    proxy.signal(libc::SIGTERM);
    silent.expect_end();
    up.expect_end();
    let exit = proxy.wait_exit();
    assert!(exit.code().is_some(), "{}: {}", exit.status, exit.stderr);
    proxy.cut(silent, &quiet, "us/relay/*");
    proxy.cut(stuck, &pour, "us/relay/*");
    proxy.verdict();
}

/// Goal: a second SIGTERM ends the process at once, however long the drain may take.
/// Method: a live connection under a deadline of ten minutes; two signals.
#[test]
fn second_signal() {
    let backend = Backend::echo();
    let service = Service::new("svc", &[backend.address]);
    let mut proxy = Launch::new(Config::new([&service])).arg("--drain-deadline").arg("10m").start();
    let live = proxy.connect(&service);
    say(&live, b"before");
    proxy.signal(libc::SIGTERM);
    wait_refusal(&mut proxy, &service);
    assert!(proxy.is_running());
    proxy.signal(libc::SIGTERM);
    proxy.wait_exit();
    live.expect_end();
}

/// Goal: SIGHUP during a drain neither ends the drain nor brings back the listeners.
/// Method: SIGTERM, SIGHUPs, and a connection that finishes.
#[test]
fn reload_during_drain() {
    let backend = Backend::echo();
    let service = Service::new("svc", &[backend.address]);
    let mut proxy = Proxy::start([&service]);
    let live = proxy.connect(&service);
    say(&live, b"before");
    proxy.signal(libc::SIGTERM);
    wait_refusal(&mut proxy, &service);
    for _ in 0..10 {
        proxy.signal(libc::SIGHUP);
        let_pass(Duration::from_millis(10));
    }
    say(&live, b"during");
    assert!(Peer::try_connect(service.address).is_err(), "the listener is back");
    end(&mut proxy, live, &service);
    assert_eq!(proxy.wait_exit().code(), Some(0));
    proxy.verdict();
}

/// Goal: a process that was killed leaves nothing in the way of the next.
/// Method: SIGKILL and a new start on the same port, 20 times, while clients connect and live
/// connections are cut.
#[test]
fn killed_and_started_again() {
    let _alone = heavy();
    let backend = Backend::echo();
    let service = Service::new("svc", &[backend.address]);
    let stop = Stop::default();
    thread::scope(|scope| {
        let at_end = stop.at_end();
        for _ in 0..4 {
            scope.spawn(|| {
                while !stop.is_set() {
                    // Served or not: the load is only there to leave sockets in every state.
                    if let Ok(client) = Peer::try_connect(service.address) {
                        let _ = client.try_send(b"x");
                        let _ = client.try_recv();
                    } else {
                        let_pass(Duration::from_millis(2));
                    }
                }
            });
        }
        for _ in 0..20 {
            let proxy = Proxy::start([&service]);
            let live = proxy.connect(&service);
            say(&live, b"alive");
            proxy.kill();
            live.expect_end();
        }
        drop(at_end);
    });
}

/// Goal: nobody who reads the log can hold up the traffic, or the end.
/// Method: standard error is closed, a full disk, a pipe that is full and never read, and a pipe
/// whose reader has gone; connections, refusals and reloads that all want to be logged.
#[test]
fn nobody_takes_the_log() {
    let backend = Backend::echo();
    let service = Service::new("svc", &[backend.address]);
    let dead = Service::new("dead", &[crate::support::ports::loopback(1)]);
    let config = Config::new([&service, &dead]);
    let (full_reader, full_writer) = full_pipe();
    let (_, orphan) = io::pipe().unwrap();
    let launches = [
        ("closed", Launch::new(config.clone()).wrapped(&["sh", "-c", "exec \"$@\" 2>&-", "sh"])),
        ("full disk", Launch::new(config.clone()).stderr(open_full())),
        ("full pipe", Launch::new(config.clone()).stderr(full_writer)),
        ("no reader", Launch::new(config.clone()).stderr(orphan)),
    ];
    for (name, launch) in launches {
        println!("standard error: {name}");
        let mut proxy = launch.start();
        for _ in 0..50 {
            let client = proxy.connect(&service);
            say(&client, b"hello");
            end(&mut proxy, client, &service);
            let client = proxy.connect(&dead);
            client.expect_end();
            proxy.ended(client, &dead, "upstream/connect/refused");
            proxy.signal(libc::SIGHUP);
        }
        proxy.finish();
    }
    drop(full_reader);
}

fn open_full() -> File {
    File::options().write(true).open("/dev/full").unwrap()
}

/// A pipe that takes not one byte more.
fn full_pipe() -> (PipeReader, PipeWriter) {
    let (reader, mut writer) = io::pipe().unwrap();
    set_nonblocking(&writer, true);
    while writer.write(&[b'.'; 4096]).is_ok() {}
    while writer.write(b".").is_ok() {}
    set_nonblocking(&writer, false);
    (reader, writer)
}

fn set_nonblocking(pipe: &impl AsRawFd, on: bool) {
    let flags = if on { libc::O_NONBLOCK } else { 0 };
    // SAFETY: fcntl(2) with F_SETFL takes numbers; the descriptor is open.
    let result = unsafe { libc::fcntl(pipe.as_raw_fd(), libc::F_SETFL, flags) };
    assert_eq!(result, 0, "{}", io::Error::last_os_error());
}

/// Goal: a full disk under the events file costs events, not traffic.
/// Method: the events go to /dev/full.
#[test]
fn nobody_takes_the_events() {
    let backend = Backend::echo();
    let service = Service::new("svc", &[backend.address]);
    let config = Config::new([&service]).set("events", json!({ "file": "/dev/full" }));
    let mut proxy = Launch::new(config).without_events().start();
    for _ in 0..100 {
        let client = proxy.connect(&service);
        say(&client, b"hello");
        end(&mut proxy, client, &service);
    }
    proxy.finish();
}

/// Goal: what is written to the events file is appended; an earlier life's events stay.
/// Method: the file has a line before the start.
#[test]
fn events_are_appended() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("events.ndjson");
    fs::write(&file, "{\"earlier\":true}\n").unwrap();
    let backend = Backend::echo();
    let service = Service::new("svc", &[backend.address]);
    let config = Config::new([&service]).set("events", json!({ "file": file }));
    let mut proxy = Launch::new(config).without_events().start();
    let client = proxy.connect(&service);
    say(&client, b"hello");
    end(&mut proxy, client, &service);
    proxy.finish();
    let text = fs::read_to_string(&file).unwrap();
    assert!(text.starts_with("{\"earlier\":true}\n"), "{text}");
    assert!(text.contains("TcpEvent") && text.ends_with('\n'));
}

/// Goal: the events file can be rotated.
/// Method: the file is renamed under live traffic; SIGUSR1; later events are in a new file, and none
/// is lost between the two.
#[test]
fn events_are_rotated() {
    let backend = Backend::echo();
    let service = Service::new("svc", &[backend.address]);
    let dir = tempfile::tempdir().unwrap();
    let (file, old) = (dir.path().join("events"), dir.path().join("events.1"));
    let config = Config::new([&service]).set("events", json!({ "file": file }));
    let mut proxy = Launch::new(config).without_events().start();
    let mut ports = Vec::new();
    let mut run = |proxy: &mut Proxy| {
        for _ in 0..20 {
            let client = proxy.connect(&service);
            say(&client, b"hello");
            ports.push(client.port());
            end(proxy, client, &service);
        }
    };
    run(&mut proxy);
    fs::rename(&file, &old).unwrap();
    run(&mut proxy);
    proxy.signal(libc::SIGUSR1);
    wait_until("the new file", SOON, || file.exists());
    run(&mut proxy);
    proxy.finish();
    let mut seen: Vec<u16> = [&old, &file]
        .iter()
        .flat_map(|path| events::read(path))
        .filter_map(|e| e.client_port())
        .collect();
    seen.sort_unstable();
    for port in ports {
        assert!(
            seen.binary_search(&port).is_ok(),
            "the event of the client on port {port} is lost"
        );
    }
    assert!(!events::read(&file).is_empty());
}

/// Goal: with `--log-format json` a program can read every line of the log.
/// Method: start, connections, a reload, a refused reload, an end.
#[test]
fn log_as_json() {
    let backend = Backend::echo();
    let service = Service::new("svc", &[backend.address]);
    let config = Config::new([&service]);
    let mut proxy = Launch::new(config.clone()).arg("--log-format").arg("json").start();
    let client = proxy.connect(&service);
    say(&client, b"hello");
    end(&mut proxy, client, &service);
    proxy.reload(&config);
    proxy.write_text("{");
    proxy.reload_file();
    proxy.write_config(&config);
    proxy.signal(libc::SIGTERM);
    let exit = proxy.wait_exit();
    assert_eq!(exit.code(), Some(0));
    assert!(exit.stderr.lines().count() >= 4, "{}", exit.stderr);
    for line in exit.stderr.lines() {
        let value: serde_json::Value =
            serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        assert!(value.is_object(), "{line}");
    }
    assert_eq!(exit.stdout, "ready\n", "standard output says one line and no more");
    proxy.verdict();
}

/// Goal: the service manager is told of each state.
/// Method: a datagram socket as NOTIFY_SOCKET receives READY=1, RELOADING=1 with the monotonic time,
/// READY=1 again, STOPPING=1.
#[test]
fn service_manager() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("notify");
    let manager = UnixDatagram::bind(&path).unwrap();
    manager.set_read_timeout(Some(SOON)).unwrap();
    let backend = Backend::echo();
    let service = Service::new("svc", &[backend.address]);
    let mut proxy =
        Launch::new(Config::new([&service])).env("NOTIFY_SOCKET", path.to_str().unwrap()).start();
    let receive = |wanted: &str| {
        let mut buffer = [0; 4096];
        // Status lines and the like may come between.
        for _ in 0..20 {
            let count = match manager.recv(&mut buffer) {
                Ok(count) => count,
                Err(error) => panic!("{wanted}: {error}"),
            };
            let text = String::from_utf8_lossy(&buffer[..count]).into_owned();
            if text.lines().any(|line| line == wanted) {
                return text;
            }
        }
        panic!("{wanted} never came");
    };
    receive("READY=1");
    proxy.signal(libc::SIGHUP);
    let text = receive("RELOADING=1");
    assert!(text.lines().any(|line| line.starts_with("MONOTONIC_USEC=")), "{text}");
    receive("READY=1");
    proxy.signal(libc::SIGTERM);
    receive("STOPPING=1");
    assert_eq!(proxy.wait_exit().code(), Some(0));
    proxy.verdict();
}

const NO_RING: [&str; 8] = [
    "strace",
    "-f",
    "-qqq",
    "-o",
    "/dev/null",
    "--trace=io_uring_setup",
    "-e",
    "inject=io_uring_setup:error=EPERM",
];

/// Goal: where io_uring is forbidden, the default is to say so and not to run.
/// Method: strace makes io_uring_setup fail with EPERM.
#[test]
fn without_io_uring() {
    let backend = Backend::echo();
    let service = Service::new("svc", &[backend.address]);
    let exit = Launch::new(Config::new([&service])).wrapped(&NO_RING).refused();
    assert_eq!(exit.code(), Some(1), "{}: {}", exit.status, exit.said());
    assert!(exit.stderr.contains("io_uring"), "{}", exit.stderr);
    assert!(!exit.stderr.to_lowercase().contains("panic"), "{}", exit.stderr);
}

/// Goal: `ioUring: Prefer` runs without it, and says so.
/// Method: as before.
#[test]
fn without_io_uring_when_only_preferred() {
    let backend = Backend::echo();
    let service = Service::new("svc", &[backend.address]);
    let config =
        Config::new([&service]).set("workers", json!({ "cores": "all", "ioUring": "Prefer" }));
    let mut proxy = Launch::new(config).wrapped(&NO_RING).start();
    assert!(proxy.log().contains("io_uring"), "{}", proxy.log());
    for _ in 0..5 {
        let client = proxy.connect(&service);
        let sent = client.send_random(1, 3000);
        client.fin();
        assert_eq!(client.hash_to_eof(), (3000, sent));
        proxy.ended(client, &service, CLOSED);
    }
    proxy.finish();
}

/// Goal: an idle connection holds no thread, neither ours nor the kernel's on our behalf.
/// Method: the process's thread count, which includes io-wq workers, with none and with 200 idle
/// relays that have each moved bulk.
#[test]
fn threads_do_not_grow() {
    let _alone = heavy();
    let backend = Backend::echo();
    let service = Service::new("svc", &[backend.address]);
    let mut proxy = Proxy::start([&service]);
    let before = proxy.process().threads();
    let clients: Vec<Peer> = (0..200).map(|_| proxy.connect(&service)).collect();
    let block = vec![b'x'; 300 * 1024];
    for client in &clients {
        thread::scope(|scope| {
            scope.spawn(|| client.send(&block));
            assert_eq!(client.recv_exact(block.len()).len(), block.len());
        });
    }
    let during = proxy.process().threads();
    assert!(during <= before + 2, "{before} threads before, {during} with 200 idle connections");
    let growth = proxy.growth_kib();
    assert!(growth < 32 * 1024, "200 idle connections cost {growth} KiB");
    for client in clients {
        end(&mut proxy, client, &service);
    }
    proxy.finish();
}

/// Goal: a process of fewer cores than the machine's runs with what it has.
/// Method: one core by the configuration, one core by the affinity it is started with.
#[test]
fn one_core() {
    let backend = Backend::echo();
    let service = Service::new("svc", &[backend.address]);
    let by_config = Config::new([&service]).set("workers", json!({ "cores": 1 }));
    let launches = [
        Launch::new(by_config),
        Launch::new(Config::new([&service])).wrapped(&["taskset", "-c", "0"]),
    ];
    for launch in launches {
        let mut proxy = launch.start();
        let client = proxy.connect(&service);
        say(&client, b"hello");
        end(&mut proxy, client, &service);
        proxy.finish();
    }
}
