//! `thalweg doctor`: whether what a configuration names is there and answers, and whether everything
//! that wants to be served is. It binds nothing and changes nothing.

use std::io::{self, Write};
use std::path::PathBuf;

use serde::Serialize;

use super::text::written;
use crate::config::document::{self, Document};
use crate::config::sources::{Further, Main};
use crate::config::{self, Loaded};
use crate::diagnostics::{FOREIGN_FILE, FOREIGN_SYNTAX, NO_FILES, visible};
use crate::providers::foreign::Files;
use crate::providers::{Context, Inventory, sozune};

/// The arguments.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example: after a deployment, what is not served and why
  thalweg doctor -c /etc/thalweg.json
In a pipeline, without a daemon at hand
  thalweg doctor -c thalweg.json --offline --json | jq '.checks[] | select(.state == \"fail\")'")]
pub struct Doctor {
    /// The configuration file (JSON).
    #[arg(short, long, value_name = "FILE")]
    config: PathBuf,
    /// Ask nobody: only what files say.
    #[arg(long)]
    offline: bool,
    /// One JSON object on standard output.
    #[arg(long)]
    json: bool,
}

/// How one thing fares.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum State {
    Ok,
    /// Worth a look.
    Note,
    Fail,
}

/// One thing that was looked at.
#[derive(Debug, Serialize)]
struct Check {
    state: State,
    /// What it is, as `listener postgres`.
    what: String,
    /// How it fares, in words.
    says: String,
    /// The codes of what was found, for `thalweg explain`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    codes: Vec<&'static str>,
}

impl Check {
    fn new(state: State, what: impl Into<String>, says: impl Into<String>) -> Self {
        Self { state, what: what.into(), says: says.into(), codes: Vec::new() }
    }
}

impl Doctor {
    /// Carries it out. Returns the exit code: 1 if something does not answer or is not served.
    pub fn run(self) -> u8 {
        let checks = self.checks();
        let failed = checks.iter().any(|check| check.state == State::Fail);
        let mut out = io::stdout().lock();
        let done = if self.json {
            let report = serde_json::json!({ "ok": !failed, "checks": checks });
            writeln!(out, "{report}")
        } else {
            checks.iter().try_for_each(|check| write_check(&mut out, check))
        };
        written(done).max(u8::from(failed))
    }

    fn checks(&self) -> Vec<Check> {
        let what = format!("configuration {}", self.config.display());
        let first = config::load(&self.config);
        let text = first.main.as_ref().map(|main| &*main.text);
        let document: Option<Document> = text.and_then(|text| serde_json::from_str(text).ok());
        let (Some(main), Some(document), true) = (first.main, document, first.checked.is_some())
        else {
            let errors = first.diagnostics.iter().filter(|it| it.refuses());
            let codes = errors.map(|it| it.code).collect();
            let says = "refused; `thalweg check` says why";
            return vec![Check { codes, ..Check::new(State::Fail, what, says) }];
        };
        let mut checks = Vec::new();
        let mut inventory = Inventory::default();
        if let Some(docker) = &document.providers.docker {
            checks.push(self.docker(docker, &mut inventory));
        }
        let loaded = config::compose(main.clone(), Further::Read(&inventory), None);
        checks.insert(0, configuration(what, &loaded));
        checks.extend(files(&loaded));
        checks.extend(attachments(&main, &document, &inventory));
        checks
    }

    /// Whether the daemon answers.
    fn docker(&self, docker: &document::Docker, inventory: &mut Inventory) -> Check {
        let what = format!("Docker at {}", docker.endpoint);
        if self.offline {
            return Check::new(State::Note, what, "not asked");
        }
        match look(docker) {
            Ok(containers) => {
                let says = format!("answers; {} containers with labels", containers.by_id.len());
                inventory.docker = Some(containers.into());
                Check::new(State::Ok, what, says)
            }
            Err(why) => Check {
                codes: vec![crate::diagnostics::DOCKER_AWAY.code],
                ..Check::new(State::Fail, what, why)
            },
        }
    }
}

#[cfg(feature = "docker")]
fn look(docker: &document::Docker) -> Result<crate::providers::docker::Containers, String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| error.to_string())?;
    runtime.block_on(crate::providers::docker::look(docker))
}

#[cfg(not(feature = "docker"))]
fn look(_: &document::Docker) -> Result<crate::providers::docker::Containers, String> {
    Err("this build has no Docker provider".into())
}

/// What is served at all.
fn configuration(what: String, loaded: &Loaded) -> Check {
    let count = loaded.checked.as_ref().map_or(0, |checked| checked.services.len());
    let mut says = format!("{count} services are served");
    let mut state = State::Ok;
    for left in &loaded.left_out {
        let id = left.id.as_deref().unwrap_or("one without an id");
        says.push_str(&format!("; {id} of {} is not: {}", left.place, left.why));
        state = State::Fail;
    }
    Check::new(state, what, says)
}

/// The files that providers name and that are not there or cannot be read.
fn files(loaded: &Loaded) -> impl Iterator<Item = Check> {
    let codes = [FOREIGN_FILE.code, FOREIGN_SYNTAX.code, NO_FILES.code];
    let missing = loaded.diagnostics.iter().filter(move |it| codes.contains(&it.code));
    missing.map(|finding| {
        let what = finding.file.as_deref().unwrap_or(&finding.path);
        let says = finding.message.clone();
        Check { codes: vec![finding.code], ..Check::new(State::Fail, what, says) }
    })
}

/// Listeners, and what wants to attach to them.
fn attachments(main: &Main, document: &Document, inventory: &Inventory) -> Vec<Check> {
    let report = sozune::report(&Context {
        providers: &document.providers,
        listeners: &document.listeners,
        dir: &main.dir,
        files: &Files::default(),
        inventory,
    });
    let listeners = report.listeners.into_iter().map(|listener| {
        let what = format!("listener {} ({})", listener.name, listener.listen);
        match listener.attached {
            0 => Check::new(State::Note, what, "nothing is attached: connections are refused"),
            1 => Check::new(State::Ok, what, "1 route"),
            count => Check::new(State::Ok, what, format!("{count} routes")),
        }
    });
    let candidates = report.candidates.into_iter().map(|candidate| {
        let to = candidate.listeners.join(", ");
        let (state, says) = match (candidate.skipped, to.is_empty()) {
            (true, true) => (State::Fail, format!("skipped: {}", candidate.faults.join("; "))),
            (true, false) => {
                let faults = candidate.faults.join("; ");
                (State::Fail, format!("attached to {to}; skipped in part: {faults}"))
            }
            (false, true) => (State::Note, "gets no connections now".to_owned()),
            (false, false) => (State::Ok, format!("attached to {to}")),
        };
        Check { codes: candidate.codes, ..Check::new(state, candidate.name, says) }
    });
    listeners.chain(candidates).collect()
}

fn write_check(out: &mut impl Write, check: &Check) -> io::Result<()> {
    let state = match check.state {
        State::Ok => "ok  ",
        State::Note => "note",
        State::Fail => "FAIL",
    };
    let mut says = visible(&check.says);
    if !check.codes.is_empty() {
        says.push_str(&format!(" [{}]", check.codes.join(", ")));
    }
    writeln!(out, "{state}  {}: {says}", visible(&check.what))
}
