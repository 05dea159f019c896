//! `thalweg import`: prints the native configuration that a foreign one means. What cannot be served is
//! told on standard error and left out.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use clap::ValueEnum;
use serde_json::{Map, Value, json};

use super::text::written;
use crate::config::document::{Kong, Kubernetes, Providers, Sozune, Tyk};
use crate::config::sources::{Further, LeftOut, Main};
use crate::config::{self, Loaded};
use crate::diagnostics::colour_for;
use crate::providers::Inventory;

/// The arguments.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example: see what an API definition means, and take it over
  thalweg import tyk apis/redis.json > redis.json && thalweg check -c redis.json
Manifests of which only one class is meant
  thalweg import kubernetes --gateway-class edge manifests/*.yaml")]
pub struct Import {
    /// What the files are written for.
    dialect: Dialect,
    /// The files.
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Where certificates lie that Tyk's definitions name by their id.
    #[arg(long, value_name = "DIR")]
    certificate_dir: Option<PathBuf>,
    /// Only the gateways of this class. Without it those of every class.
    #[arg(long, value_name = "NAME", default_value = "*", hide_default_value = true)]
    gateway_class: String,
    /// Only the TCPIngresses of this class. Without it those of every class.
    #[arg(long, value_name = "NAME", default_value = "*", hide_default_value = true)]
    ingress_class: String,
}

/// What a file is written for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Dialect {
    /// Tyk's API definitions (JSON).
    Tyk,
    /// Sōzune's config.yaml, and Compose files with labels.
    Sozune,
    /// Kong's kong.conf or environment (`stream_listen`), and TCPIngress manifests.
    Kong,
    /// Manifests of Kubernetes: Gateway API and TCPIngress.
    Kubernetes,
}

impl Import {
    /// Carries it out. Returns the exit code: 1 if there was an error.
    pub fn run(self) -> u8 {
        let loaded = self.load();
        let mut err = io::stderr().lock();
        let colour = colour_for(&err);
        for finding in &loaded.diagnostics {
            let file = self.files.first().map(|file| file.display().to_string());
            let _ = writeln!(err, "{}", finding.render(&file.unwrap_or_default(), colour));
        }
        let errors = u8::from(loaded.errors() > 0);
        let mut out = io::stdout().lock();
        written(writeln!(out, "{:#}", native(&loaded))).max(errors)
    }

    /// The files as a configuration without anything else.
    fn load(&self) -> Loaded {
        let absolute = |path: &PathBuf| std::path::absolute(path).unwrap_or_else(|_| path.clone());
        // A name is a name here, whatever the shell left in it.
        let pattern = |path: &PathBuf| glob::Pattern::escape(&absolute(path).display().to_string());
        let files: Vec<String> = self.files.iter().map(pattern).collect();
        let (gateway_class, ingress_class) =
            (self.gateway_class.clone(), self.ingress_class.clone());
        let kubernetes =
            |files| Kubernetes { files, gateway_class, ingress_class, ..Kubernetes::default() };
        let mut providers = Providers::default();
        match self.dialect {
            Dialect::Tyk => {
                let certificate_dir = self.certificate_dir.as_ref().map(absolute);
                providers.tyk = Some(Tyk { files, certificate_dir, ..Tyk::default() });
            }
            Dialect::Sozune => {
                providers.sozune = Some(Sozune { files });
            }
            Dialect::Kong => {
                providers.kong = Some(Kong::default());
                providers.kubernetes = Some(kubernetes(files));
            }
            Dialect::Kubernetes => providers.kubernetes = Some(kubernetes(files)),
        }
        let text = json!({ "providers": providers, "disablePortsWhitelist": true }).to_string();
        let dir = std::env::current_dir().unwrap_or_else(|_| Path::new("/").to_owned());
        let main = Main { place: "the command line".into(), text: text.into(), dir };
        config::compose(main, Further::Read(&Inventory::default()), None)
    }
}

/// What is served of it, as a configuration.
fn native(loaded: &Loaded) -> Value {
    let mut configuration = Map::new();
    let certificates = loaded.sources.iter().flat_map(|source| &source.certificates);
    let certificates: Vec<Value> = certificates.map(|entry| json!(entry)).collect();
    if !certificates.is_empty() {
        configuration.insert("certificates".into(), certificates.into());
    }
    let documents = loaded.sources.iter().flat_map(|source| &source.documents);
    let services = documents.filter_map(|document| {
        let service: Value = serde_json::from_str(&document.text).ok()?;
        let id = service.get("id").and_then(Value::as_str);
        let is_it = |left: &LeftOut| left.id.as_deref() == id && left.place == document.place;
        (!loaded.left_out.iter().any(is_it)).then_some(service)
    });
    configuration.insert("services".into(), services.collect());
    Value::Object(configuration)
}
