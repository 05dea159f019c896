//! Definitions as people write them, and what becomes of them.

use std::path::Path;

use serde_json::{Value, json};

use super::source;
use crate::config::document::{Providers, Tyk};
use crate::config::sources::{Further, Main, Source};
use crate::config::{self, Loaded};
use crate::diagnostics::{Declarer, Diagnostic};
use crate::providers::foreign::Files;
use crate::providers::{Context, Inventory};

mod certificates;
mod checks;
mod ports;
mod seed;
mod strangers;
mod targets;

/// Files, and the provider that reads them.
struct Bench {
    dir: tempfile::TempDir,
    tyk: Tyk,
}

impl Bench {
    fn new() -> Self {
        let tyk = Tyk {
            files: vec!["apis/*.json".into()],
            certificate_dir: Some("certs.d".into()),
            ..Tyk::default()
        };
        let bench = Self { dir: tempfile::tempdir().unwrap(), tyk };
        std::fs::create_dir(bench.path("apis")).unwrap();
        std::fs::create_dir(bench.path("certs.d")).unwrap();
        bench
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.dir.path().join(name)
    }

    fn write(&self, name: &str, text: impl ToString) {
        std::fs::write(self.path(name), text.to_string()).unwrap();
    }

    fn gateway(&mut self, text: &Value) {
        self.write("tyk.conf", text);
        self.tyk.config = Some("tyk.conf".into());
    }

    /// What the provider makes of the files.
    fn source(&self) -> Source {
        let providers = Providers { tyk: Some(self.tyk.clone()), ..Providers::default() };
        let inventory = Inventory::default();
        let context = Context {
            providers: &providers,
            listeners: &[],
            dir: self.dir.path(),
            inventory: &inventory,
            files: &Files::default(),
        };
        // As `providers::sources` does.
        let mut source = source(&context).unwrap();
        for finding in &mut source.diagnostics {
            finding.provider = Declarer::named("tyk").filter(|_| finding.file.is_some());
        }
        source
    }

    /// One definition.
    fn one(&self, definition: &Value) -> Source {
        self.write("apis/one.json", definition);
        self.source()
    }

    /// The only service of one definition; nothing worse than a remark was found.
    fn service(&self, definition: &Value) -> Value {
        let source = self.one(definition);
        let bad: Vec<_> = source.diagnostics.iter().filter(|it| it.is_error()).collect();
        assert!(bad.is_empty(), "{bad:#?}");
        let [service] = <[Value; 1]>::try_from(services(&source)).unwrap();
        service
    }

    /// What is found in one definition, which is not served if there is an error.
    fn found(&self, definition: &Value) -> Vec<String> {
        let source = self.one(definition);
        let refused = source.diagnostics.iter().any(Diagnostic::is_error);
        assert!(!refused || source.documents.is_empty(), "{:#?}", source.documents);
        found(&source)
    }
}

/// The services as JSON.
fn services(source: &Source) -> Vec<Value> {
    source.documents.iter().map(|it| serde_json::from_str(&it.text).unwrap()).collect()
}

/// Findings as `E310 proxy.target_url`.
fn found(source: &Source) -> Vec<String> {
    source.diagnostics.iter().map(|it| format!("{} {}", it.code, it.path).trim().into()).collect()
}

/// The configuration that a source makes of an empty one.
fn loaded(source: &Source, dir: &Path) -> Loaded {
    let text = json!({ "disablePortsWhitelist": true }).to_string();
    let main = Main { place: "main.json".into(), text: text.into(), dir: dir.to_owned() };
    config::compose(main, Further::Given(std::slice::from_ref(source)), None)
}

/// A definition of TCP, with more.
fn tcp(more: Value) -> Value {
    let plain = json!({
        "api_id": "a", "listen_port": 30001, "protocol": "tcp",
        "proxy": { "target_url": "tcp://10.0.0.1:9191" }
    });
    merged(plain, more)
}

/// A definition of TLS, with more.
fn tls(more: Value) -> Value {
    merged(tcp(json!({ "protocol": "tls" })), more)
}

/// As RFC 7396.
fn merged(mut value: Value, more: Value) -> Value {
    match (&mut value, more) {
        (Value::Object(members), Value::Object(more)) => {
            for (key, more) in more {
                let member = members.remove(&key).unwrap_or(Value::Null);
                members.insert(key, merged(member, more));
            }
            value
        }
        (_, more) => more,
    }
}
