//! The command line: `thalweg --help` in types. One file per command.

pub mod check;
pub mod client;
pub mod connections;
pub mod demo;
pub mod doctor;
pub mod drain;
pub mod explain;
mod findings;
pub mod import;
pub mod kill;
pub mod logging;
pub mod pages;
pub mod plan;
pub mod reload;
pub mod route;
pub mod schema;
pub mod services;
pub mod status;
pub mod text;
pub mod top;

use std::path::PathBuf;
use std::time::Duration;

use clap::{Parser, Subcommand, ValueEnum};

use crate::config::span::Span;
use crate::control::run;
use crate::io::system;

/// A TCP and TLS proxy: one pinned io_uring thread per core, zero-copy, reloaded live.
#[derive(Debug, Parser)]
#[command(version, max_term_width = 100, arg_required_else_help = true)]
#[command(after_help = "\
Try it:           thalweg demo
Serve a file:     thalweg run -c config/quickstart.json
What is wrong:    thalweg check -c FILE      (codes: thalweg explain CODE)
Change it live:   thalweg plan -c FILE, then thalweg reload
How it fares:     thalweg status; thalweg top; thalweg connections

Exit codes: 0 good, 1 refused or with errors, 2 wrong usage, 3 no route, 4 no proxy answers.")]
pub struct Arguments {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Serve a configuration in the foreground.
    ///
    /// Prints `ready` once every listener is bound. SIGHUP reads the file again and applies what
    /// changed (a bad one changes nothing); SIGTERM or SIGINT lets connections finish and ends, a
    /// second one ends at once; SIGUSR1 opens the events file again after rotation.
    #[command(after_help = "\
Example: with logs as JSON, and an hour for its connections to end
  thalweg run -c /etc/thalweg.json --log-format json --drain-deadline 1h")]
    Run {
        /// The configuration file (JSON).
        #[arg(short, long, value_name = "FILE")]
        config: PathBuf,
        /// How long SIGTERM waits for connections to end by themselves.
        #[arg(long, value_name = "DURATION", default_value = "30s", value_parser = duration)]
        drain_deadline: Duration,
        /// How log lines on standard error look.
        #[arg(long, value_enum, default_value_t = LogFormat::Text)]
        log_format: LogFormat,
    },
    /// Say what is wrong with a configuration, and what it would serve. Binds nothing.
    ///
    /// Exit code 0: good (there may be warnings), 1: errors, 2: wrong usage.
    #[command(after_help = "\
Example: in a pipeline, the places of its errors only
  thalweg check -c thalweg.json --json | jq '.diagnostics[] | .path'")]
    Check {
        /// The configuration file (JSON).
        #[arg(short, long, value_name = "FILE")]
        config: PathBuf,
        /// One JSON object on standard output.
        #[arg(long)]
        json: bool,
    },
    /// Say whether what a configuration names is there and answers, and what is not served and why.
    ///
    /// Asks Docker's daemon if the configuration names one; binds nothing. Exit code 0: all is well,
    /// 1: something does not answer, or wants to be served and is not, 2: wrong usage.
    Doctor(doctor::Doctor),
    /// Say what would become of a connection, and why: each rule tried, and the target. Makes none.
    ///
    /// With -c by a file, without it by the table of a running proxy. Exit code 0: routed, 3: refused,
    /// 1: the file has errors, 2: wrong usage, 4: the proxy does not answer.
    Route {
        /// The connection.
        #[command(flatten)]
        arguments: route::Arguments,
    },
    /// Say what a configuration would change of a running proxy. Changes nothing.
    ///
    /// Listeners added, kept and removed, services and what changes in them, connections untouched,
    /// drained and closed. Exit code 1: the configuration has errors.
    Plan(plan::Plan),
    /// Print the native configuration that one of Tyk, Sōzune, Kong or Kubernetes means.
    ///
    /// What cannot be served is told on standard error and left out; exit code 1 then.
    Import(import::Import),
    /// Print the JSON Schema of the configuration.
    #[command(after_help = "\
Example: for an editor that checks while you type
  thalweg schema > thalweg.schema.json")]
    Schema,
    /// Say what a diagnostic code (E101) or the reason of an ending (upstream/connect/refused) means
    /// and how to mend it.
    Explain(explain::Explain),
    /// Say how a running proxy fares, and its targets. Asks its admin API.
    Status(status::Status),
    /// Watch a running proxy: live rates of services, targets and cores. Asks its admin API.
    Top(top::Top),
    /// List the live connections of a running proxy. Asks its admin API.
    Connections(connections::Connections),
    /// End live connections of a running proxy. Needs the token.
    ///
    /// By the ids that `connections` shows, or all that a filter takes.
    Kill(kill::Kill),
    /// Give a target, a service or the whole proxy no new connections; those that live go on. Needs
    /// the token.
    Drain(drain::Drain),
    /// Have a running proxy read its configuration again. Needs the token.
    ///
    /// As SIGHUP, but says what changed, or why it was refused: then nothing has changed.
    Reload(reload::Reload),
    /// List the services of a running proxy. Asks its admin API.
    Services(services::Services),
    /// Read, write or remove one service of a running proxy by its admin API.
    ///
    /// What a file declares belongs to the file, and is changed there.
    Service(services::Service),
    /// See it work: a proxy and an echo backend on loopback, and the commands to try.
    #[command(after_help = "\
Example: only the backend, for a configuration of your own
  thalweg demo --backends-only & thalweg run -c config/quickstart.json")]
    Demo {
        /// Only the echo backend on port 7001, to which config/quickstart.json leads.
        #[arg(long)]
        backends_only: bool,
    },
    /// Print what a shell needs to complete this command line.
    Completions(pages::Completions),
    /// Print the manual page.
    Man(pages::Man),
}

/// `--log-format`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// One JSON object a line.
    Json,
    /// For people; in colour on a terminal.
    Text,
}

fn duration(text: &str) -> Result<Duration, String> {
    Span::parse(text).map(|span| span.0)
}

impl Command {
    /// Carries the command out; returns the exit code.
    pub fn run(self) -> u8 {
        match self {
            Self::Run { config, drain_deadline, log_format } => {
                logged(log_format, || run::run(&run::Options { config, drain_deadline }))
            }
            Self::Check { config, json } => check::run(&config, json),
            Self::Doctor(doctor) => doctor.run(),
            Self::Route { arguments } => route::run(&arguments),
            Self::Plan(plan) => plan.run(),
            Self::Import(import) => import.run(),
            Self::Schema => schema::run(),
            Self::Explain(explain) => explain.run(),
            Self::Status(status) => status.run(),
            Self::Top(top) => top.run(),
            Self::Connections(connections) => connections.run(),
            Self::Kill(kill) => kill.run(),
            Self::Drain(drain) => drain.run(),
            Self::Reload(reload) => reload.run(),
            Self::Services(services) => services.run(),
            Self::Service(service) => service.run(),
            Self::Demo { backends_only } => logged(LogFormat::Text, || demo::run(backends_only)),
            Self::Completions(completions) => completions.run(),
            Self::Man(man) => man.run(),
        }
    }
}

/// Runs something that logs, and makes its failure the last line.
fn logged(format: LogFormat, run: impl FnOnce() -> Result<(), String>) -> u8 {
    system::refuse_huge_pages();
    let _logging = logging::start(format);
    match run() {
        Ok(()) => 0,
        Err(why) => {
            tracing::error!("{why}");
            1
        }
    }
}
