//! Tyk's API definitions as their files have them: what its documentation promises, by real programs
//! and scripted peers.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::support::backend::Backend;
use crate::support::certs::{Authority, Files};
use crate::support::config::{Config, Service};
use crate::support::ports::{free_port, is_free};
use crate::support::proxy::{Exit, Launch, Proxy, thalweg};
use crate::support::wait::{SOON, wait_until};

mod names;
mod redis;
mod trust;

const CLOSED: &str = "*/relay/closed";

/// Definitions in a directory, and what the main file says of them.
struct Apis {
    files: Files,
    tyk: Value,
}

impl Apis {
    fn new() -> Apis {
        let files = Files::new();
        let tyk = json!({
            "files": [files.path("apis/*.json")], "certificateDir": files.path("certs"),
        });
        Apis { files, tyk }
    }

    fn put(&self, name: &str, definition: impl ToString) {
        self.files.put(&format!("apis/{name}.json"), &definition.to_string());
    }

    /// Sets a member of `providers.tyk`.
    fn set(mut self, member: &str, value: Value) -> Apis {
        self.tyk[member] = value;
        self
    }

    fn config(&self) -> Config {
        Config::new([]).set("providers", json!({ "tyk": self.tyk }))
    }

    fn start(&self) -> Proxy {
        Launch::new(self.config()).start()
    }
}

/// The service that a definition becomes.
fn service(id: &str, port: u16) -> Service {
    Service::new(&format!("tyk/{id}"), &[]).on_port(port)
}

/// Sends and gets back.
#[track_caller]
fn echoes(proxy: &mut Proxy, service: &Service) {
    let client = proxy.connect(service);
    client.send(b"word");
    client.expect(b"word");
    client.fin();
    client.expect_eof();
    proxy.ended(client, service, CLOSED);
}

/// Runs `thalweg` with the text of a configuration.
fn run(files: &Files, words: &[&str], config: &Config) -> Exit {
    let path = files.put("main.json", &config.text());
    thalweg(&files.path(""), &[words, &["-c", &path]].concat())
}

/// Goal: definitions with faults cost only themselves, also one that appears by a reload; the ports
/// of the gateway's whitelist are open and others are not.
/// Method: one good definition among bad ones of every kind; then the good one is broken too, and
/// mended.
#[test]
fn the_good_ones_run() {
    let backend = Backend::echo();
    let ports = [free_port(), free_port(), free_port()];
    let target = format!("tcp://{}", backend.address);
    let definition = |id: &str, port: u16| json!({ "api_id": id, "listen_port": port, "protocol": "tcp", "proxy": { "target_url": target } });
    let apis = Apis::new();
    let conf = json!({ "ports_whitelist": {
        "tcp": { "ports": [ports[0]], "ranges": [{ "from": ports[1], "to": ports[1] }] },
        "tls": { "ports": [ports[2]] },
    } });
    let conf = apis.files.put("tyk.conf", &conf.to_string());
    let apis = apis.set("config", json!(conf));
    apis.put("1-good", definition("good", ports[0]));
    apis.put("2-type", r#"{ "protocol": "tcp", "listen_port": "x" }"#);
    apis.put("3-syntax", "{ “protocol”: 1 }");
    apis.put("4-taken", definition("taken", ports[0]));
    apis.put("5-closed", definition("closed", ports[2]));
    apis.put("6-range", definition("range", ports[1]));
    apis.put("7-http", r#"{ "protocol": "http", "listen_port": 80 }"#);
    let config = apis.config().set("disablePortsWhitelist", json!(false));
    let told = run(&apis.files, &["check"], &config);
    assert_eq!(told.code(), Some(1), "{}", told.said());
    for what in ["E102", "E303", "typographic", "E314", "E301", "I310"] {
        assert!(told.said().contains(what), "{what}: {}", told.said());
    }
    let mut proxy = Launch::new(config.clone()).start();
    let (good, range) = (service("good", ports[0]), service("range", ports[1]));
    echoes(&mut proxy, &good);
    echoes(&mut proxy, &range);

    let held = proxy.connect(&good);
    held.send(b"a");
    held.expect(b"a");
    // Nobody listens there: it was the only one of its port that could be.
    apis.put("1-good", "{");
    fs::remove_file(apis.files.path("apis/4-taken.json")).unwrap();
    proxy.reload(&config);
    wait_until("nobody listens there", SOON, || is_free(good.address));
    echoes(&mut proxy, &range);
    apis.put("1-good", definition("good", ports[0]));
    proxy.reload(&config);
    echoes(&mut proxy, &good);
    held.send(b"b");
    held.expect(b"b");
    held.fin();
    held.expect_eof();
    proxy.ended(held, &good, CLOSED);
    proxy.finish();
}

/// Goal: what is imported is what is served.
/// Method: every example of `config/tyk`, and two definitions of TLS that share a port, read by the
/// provider and imported; `check` shows the same services.
#[test]
fn imported_is_served() {
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/tyk");
    let files = Files::new();
    let authority = Authority::new("ca");
    let issued = authority.issue(&["a.test", "b.test"]);
    files.put("certs/5e9d.pem", &format!("{}{}", issued.cert_pem(), issued.key_pem()));
    files.put("certs/leaf.pem", &authority.issue(&["client"]).cert_pem());
    let definition = |domain: &str| {
        json!({
            "name": domain, "listen_port": 30009, "protocol": "tls", "domain": domain,
            "certificate": "5e9d", "use_mutual_tls_auth": true, "client_certificates": ["leaf"],
            "proxy": { "target_url": "tls://up:1", "transport": { "ssl_min_version": 772 } },
        })
    };
    let shared = json!([definition("a.test"), definition("b.test")]);
    let mut paths = vec![PathBuf::from(files.put("shared.json", &shared.to_string()))];
    let entries = fs::read_dir(&examples).unwrap().map(|entry| entry.unwrap().path());
    paths.extend(entries.filter(|path| path.extension().is_some_and(|it| it == "json")));
    paths.sort();
    assert!(paths.len() > 1);

    let services = |exit: &Exit| {
        let report: Value =
            serde_json::from_str(&exit.stdout).unwrap_or_else(|_| panic!("{}", exit.said()));
        assert_eq!(exit.code(), Some(0), "{}", exit.said());
        report["services"].clone()
    };
    let certs = files.path("certs");
    for path in paths {
        let path = path.to_str().unwrap();
        let tyk = json!({ "tyk": { "files": [path], "certificateDir": certs } });
        let config = Config::new([]).set("providers", tyk);
        let served = services(&run(&files, &["check", "--json"], &config));
        assert!(served.as_array().is_some_and(|all| !all.is_empty()), "{path}");
        let words = ["import", "tyk", "--certificate-dir", certs.to_str().unwrap(), path];
        let imported = thalweg(&files.path(""), &words);
        assert_eq!(imported.code(), Some(0), "{}", imported.said());
        let text = files.put("imported.json", &imported.stdout);
        let native = thalweg(&files.path(""), &["check", "--json", "-c", &text]);
        assert_eq!(without_files(services(&native)), without_files(served), "{path}");
    }
}

/// Which file declares a service is another one in each.
fn without_files(mut services: Value) -> Value {
    for service in services.as_array_mut().into_iter().flatten() {
        if let Some(members) = service.as_object_mut() {
            members.remove("file");
        }
    }
    services
}
