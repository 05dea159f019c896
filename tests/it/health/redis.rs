//! The example of Tyk's documentation: clients always reach the master of a pair of Redis servers.

use std::process::Command;

use serde_json::{Value, json};

use super::{CLOSED, lines, logged};
use crate::programs::{Server, run, temp};
use crate::support::config::Service;
use crate::support::peer::Peer;
use crate::support::ports::free_port;
use crate::support::proxy::Proxy;
use crate::support::wait::{SOON, wait_until};

fn server(arguments: &[&str]) -> Server {
    let (port, dir) = (free_port(), temp());
    let mut command = Command::new("redis-server");
    command.args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", ""]);
    command.args(["--appendonly", "no"]).args(arguments);
    Server::start(command, dir, port)
}

/// The commands of the example; its last one is a `send` where it means an `expect`.
fn commands(last: &str) -> Value {
    json!([
        { "name": "send", "message": "PING\r\n" },
        { "name": "expect", "message": "+PONG" },
        { "name": "send", "message": "info  replication\r\n" },
        { "name": "expect", "message": "role:master" },
        { "name": "send", "message": "QUIT\r\n" },
        { "name": last, "message": "+OK" },
    ])
}

/// The port of the server that a connection reaches.
fn port_behind(proxy: &mut Proxy, service: &Service) -> u16 {
    let client = proxy.connect(service);
    client.send(b"CONFIG GET port\r\n");
    client.expect(b"*2\r\n$4\r\nport\r\n$5\r\n");
    let port = String::from_utf8(client.recv_exact(5)).unwrap().parse().unwrap();
    client.expect(b"\r\n");
    client.fin();
    client.expect_eof();
    proxy.ended(client, service, CLOSED);
    port
}

fn ping(client: &Peer) {
    client.send(b"PING\r\n");
    client.expect(b"+PONG\r\n");
}

/// Goal: the example works as it is printed, and as it is meant: new connections reach the master and
/// nobody else, also after the roles were swapped; those to the old master are cut where that is
/// asked for.
/// Method: two real servers, one by name; two services, one with each form of the commands.
#[test]
fn the_master_is_reached() {
    let one = server(&[]);
    let other = server(&["--replicaof", &format!("127.0.0.1 {}", one.port)]);
    let targets = json!([
        { "host": "127.0.0.1", "port": one.port },
        { "host": "localhost", "port": other.port },
    ]);
    let check = |last, on_down| {
        json!({
            "interval": "100ms", "timeout": "3s", "rise": 1, "fall": 1, "initial": "Down",
            "commands": commands(last), "onDown": on_down,
        })
    };
    let printed = Service::with_targets("printed", targets.clone())
        .set("healthCheck", check("send", "Close"));
    let meant = Service::with_targets("meant", targets).set("healthCheck", check("expect", "Keep"));
    let mut proxy = Proxy::start([&printed, &meant]);
    let name = |server: &Server, host: &str| format!("{host}:{}", server.port);
    let (one_name, other_name) = (name(&one, "127.0.0.1"), name(&other, "localhost"));
    for service in ["printed", "meant"] {
        logged(&proxy, 1, &[&format!("service={service}"), &one_name, "INFO up "]);
        logged(
            &proxy,
            1,
            &[&format!("service={service}"), &other_name, "not up yet", "role:slave"],
        );
    }
    for service in [&printed, &meant] {
        for _ in 0..10 {
            assert_eq!(port_behind(&mut proxy, service), one.port);
        }
    }
    let held = [proxy.connect(&printed), proxy.connect(&meant)];
    held.iter().for_each(ping);

    let cli = |server: &Server, words: &[&str]| {
        let port = server.port.to_string();
        run("redis-cli", &[&["-h", "127.0.0.1", "-p", &port, "replicaof"], words].concat())
    };
    cli(&other, &["no", "one"]);
    cli(&one, &["127.0.0.1", &other.port.to_string()]);
    for service in ["printed", "meant"] {
        logged(&proxy, 1, &[&format!("service={service}"), &other_name, "INFO up "]);
        logged(&proxy, 1, &[&format!("service={service}"), &one_name, "down: ", "role:master"]);
    }
    for service in [&printed, &meant] {
        for _ in 0..10 {
            assert_eq!(port_behind(&mut proxy, service), other.port);
        }
    }
    let [cut, kept] = held;
    cut.expect_end();
    proxy.cut(cut, &printed, "us/relay/target-down");
    ping(&kept);
    kept.fin();
    kept.expect_eof();
    proxy.ended(kept, &meant, CLOSED);
    assert_eq!(lines(&proxy, &["WARN down"]), 2, "one line for each change:\n{}", proxy.log());

    // The servers were spoken to in order: none has seen a reset, and none holds a connection.
    drop(one);
    for service in ["printed", "meant"] {
        wait_until("nothing new of one that is down", SOON, || {
            lines(&proxy, &[&format!("service={service}"), &one_name]) == 2
        });
    }
    proxy.finish();
}
