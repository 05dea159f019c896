//! The OpenAPI document is true to what the API does.

use std::path::Path;
use std::process::Command;

use serde_json::json;

use super::CLOSED;
use crate::support::admin::ask;
use crate::support::backend::Backend;
use crate::support::config::{Config, Service};
use crate::support::ports::free_port;
use crate::support::proxy::{Launch, run_to_end};

/// Goal: whatever is asked, allowed by the document or not, is answered as the document says, and never
/// with a fault of the server's.
/// Method: schemathesis, with a fixed seed, over a proxy with a live connection.
#[test]
fn schemathesis_finds_nothing() {
    let backend = Backend::echo();
    let service = Service::new("svc", &[backend.address]);
    let directory = tempfile::tempdir().unwrap();
    let token = directory.path().join("admin.token");
    std::fs::write(&token, "0123456789abcdef").unwrap();
    let at = format!("127.0.0.1:{}", free_port());
    let admin = json!({ "listen": at, "tokenFile": token });
    let mut proxy = Launch::new(Config::new([&service]).set("admin", admin)).start();
    let client = proxy.connect(&service);
    client.send(b"x");
    client.expect(b"x");
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/schemathesis/run");
    let mut install = Command::new(&script);
    install.arg("--install");
    let exit = run_to_end(install);
    assert!(exit.status.success(), "{}", exit.said());
    let mut run = Command::new(script);
    run.arg(format!("http://{at}")).arg("0123456789abcdef").current_dir(directory.path());
    let exit = run_to_end(run);
    assert!(exit.status.success(), "{}", exit.said());
    assert_eq!(ask(&at, "/health/ready", &[]).status, 200);
    // It has ended whatever it came to know of, and drained it.
    client.fin();
    client.expect_end();
    proxy.cut(client, &service, &format!("{CLOSED}|us/relay/killed|us/relay/drain"));
    let json =
        ["-H", "Content-Type: application/json", "-H", "Authorization: Bearer 0123456789abcdef"];
    let undo = |path: &str, body: serde_json::Value| {
        let answer = ask(&at, path, &[&json, &["-d", &*body.to_string()] as &[_]].concat());
        assert_eq!(answer.status, 200, "{}", answer.body);
    };
    for row in ask(&at, "/api/tcp/targets", &[]).json().as_array().unwrap() {
        let id = row["service"].as_str().unwrap();
        undo(&format!("/api/tcp/services/{id}/drain"), json!({ "drain": false }));
        undo("/api/tcp/targets/drain", json!({ "target": row["target"], "drain": false }));
    }
    proxy.finish();
}
