//! The example of the documentation that puts the proxy in front of Redis, word by word.

use std::process::Command;

use serde_json::json;

use super::{Apis, CLOSED, service};
use crate::programs::{Server, run, temp};
use crate::support::config::Service;
use crate::support::ports::free_port;
use crate::support::proxy::Proxy;
use crate::support::wait::{SOON, wait_until};

/// As printed; only the addresses are others.
const SENTINEL: &str = r#"{
   "name": "Redis Sentinel",
   "listen_port": 6379,
   "protocol": "tcp",
   "enable_load_balancing": true,
   "proxy": {
	   "target_list": ["192.168.10.1:6379", "192.168.10.2:6379"]
	},
   "check_host_against_uptime_tests": true,
   "uptime_tests": {
       "check_list": [
          {
			"url": "192.168.10.1:6379",
            "commands": [
              { "name": "send", "message": "PING\r\n" },
              { "name": "expect", "message": "+PONG" },
              { "name": "send", "message": "info  replication\r\n" },
              { "name": "expect", "message": "role:master" },
              { "name": "send", "message": "QUIT\r\n" }, 
              { "name": "send", "message": "+OK" }
            ]
          },
          {
			"url": "192.168.10.2:6379",
            "commands": [
              { "name": "send", "message": "PING\r\n" },
              { "name": "expect", "message": "+PONG" },
              { "name": "send", "message": "info  replication\r\n" },
              { "name": "expect", "message": "role:master" },
              { "name": "send", "message": "QUIT\r\n" }, 
              { "name": "send", "message": "+OK" }
            ]
          }
       ]
   }
}"#;

fn server(arguments: &[&str]) -> Server {
    let (port, dir) = (free_port(), temp());
    let mut command = Command::new("redis-server");
    command.args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", ""]);
    command.args(["--appendonly", "no"]).args(arguments);
    Server::start(command, dir, port)
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

fn has_line(proxy: &Proxy, words: &[&str]) -> bool {
    proxy.log().lines().any(|line| words.iter().all(|word| line.contains(word)))
}

/// Goal: clients always reach the master, also after a failover; while there is none, nobody is let
/// through to a replica.
/// Method: two real servers; the roles are swapped, then both are replicas.
#[test]
fn the_sentinel() {
    let one = server(&[]);
    let other = server(&["--replicaof", &format!("127.0.0.1 {}", one.port)]);
    let port = free_port();
    let text = SENTINEL
        .replace("192.168.10.1:6379", &format!("127.0.0.1:{}", one.port))
        .replace("192.168.10.2:6379", &format!("127.0.0.1:{}", other.port))
        .replace("\"listen_port\": 6379", &format!("\"listen_port\": {port}"));
    let apis = Apis::new();
    apis.put("sentinel", text);
    // The gateway says how often, not the definition.
    let conf = json!({ "uptime_tests": { "config": {
        "failure_trigger_sample_size": 1, "time_wait": 1 } } });
    let conf = apis.files.put("tyk.conf", &conf.to_string());
    let apis = apis.set("config", json!(conf));
    let mut proxy = apis.start();
    let service = service("redis-sentinel", port);
    let name = |server: &Server| format!("127.0.0.1:{}", server.port);
    let (one_name, other_name) = (name(&one), name(&other));
    wait_until("both are known", SOON, || {
        has_line(&proxy, &[&one_name, "INFO up "]) && has_line(&proxy, &[&other_name, "not up yet"])
    });
    for _ in 0..10 {
        assert_eq!(port_behind(&mut proxy, &service), one.port);
    }
    let replica = |server: &Server, words: &[&str]| {
        let port = server.port.to_string();
        run("redis-cli", &[&["-h", "127.0.0.1", "-p", &port, "replicaof"], words].concat())
    };
    replica(&other, &["no", "one"]);
    replica(&one, &["127.0.0.1", &other.port.to_string()]);
    wait_until("the roles are swapped", SOON, || {
        has_line(&proxy, &[&other_name, "INFO up "]) && has_line(&proxy, &[&one_name, "down: "])
    });
    for _ in 0..10 {
        assert_eq!(port_behind(&mut proxy, &service), other.port);
    }
    replica(&other, &["127.0.0.1", &one.port.to_string()]);
    wait_until("there is no master", SOON, || has_line(&proxy, &[&other_name, "down: "]));
    let refused = proxy.connect(&service);
    refused.expect_end();
    proxy.cut(refused, &service, "us/connect/no-target");
    // A check of a replica waits for its deadline: what it holds would be taken for a leak.
    drop((one, other));
    proxy.finish();
}
