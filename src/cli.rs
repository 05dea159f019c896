//! The command line: `thalweg --help` in types. One file per command.

pub mod check;
pub mod client;
pub mod connections;
pub mod demo;
pub mod explain;
pub mod logging;
pub mod route;
pub mod schema;
pub mod status;

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
Change it live:   edit FILE, then send SIGHUP
How it fares:     thalweg status; thalweg connections")]
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
    Check {
        /// The configuration file (JSON).
        #[arg(short, long, value_name = "FILE")]
        config: PathBuf,
        /// One JSON object on standard output.
        #[arg(long)]
        json: bool,
    },
    /// Say what would become of a connection, and why: each rule tried, and the target. Makes none.
    ///
    /// With -c by a file, without it by the table of a running proxy. Exit code 0: routed, 3: refused,
    /// 1: the file has errors, 2: wrong usage, 4: the proxy does not answer.
    Route {
        /// The connection.
        #[command(flatten)]
        arguments: route::Arguments,
    },
    /// Print the JSON Schema of the configuration.
    Schema,
    /// Say what a diagnostic code (E101) or the reason of an ending (upstream/connect/refused) means
    /// and how to mend it.
    Explain {
        /// The code or reason.
        #[arg(required_unless_present = "list", value_name = "CODE")]
        code: Option<String>,
        /// List every code and reason.
        #[arg(long)]
        list: bool,
    },
    /// Say how a running proxy fares, and its targets. Asks its admin API.
    Status {
        /// Which proxy.
        #[command(flatten)]
        admin: client::Admin,
        /// One JSON object on standard output.
        #[arg(long)]
        json: bool,
    },
    /// List the live connections of a running proxy. Asks its admin API.
    Connections {
        /// Which proxy.
        #[command(flatten)]
        admin: client::Admin,
        /// Which connections.
        #[command(flatten)]
        filter: connections::Filter,
        /// One JSON object on standard output.
        #[arg(long)]
        json: bool,
    },
    /// End live connections of a running proxy, by the ids that `connections` shows. Needs the token.
    Kill {
        /// Which proxy.
        #[command(flatten)]
        admin: client::Admin,
        /// The connections.
        #[arg(required = true, value_name = "ID")]
        ids: Vec<String>,
    },
    /// See it work: a proxy and an echo backend on loopback, and the commands to try.
    Demo {
        /// Only the echo backend on port 7001, to which config/quickstart.json leads.
        #[arg(long)]
        backends_only: bool,
    },
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
            Self::Route { arguments } => route::run(&arguments),
            Self::Schema => schema::run(),
            Self::Explain { code, list } => explain::run(code.as_deref(), list),
            Self::Status { admin, json } => status::run(&admin, json),
            Self::Connections { admin, filter, json } => connections::list(&admin, &filter, json),
            Self::Kill { admin, ids } => connections::kill(&admin, &ids),
            Self::Demo { backends_only } => logged(LogFormat::Text, || demo::run(backends_only)),
        }
    }
}

fn print_json(out: &mut impl std::io::Write, value: &serde_json::Value) -> std::io::Result<()> {
    serde_json::to_writer_pretty(&mut *out, value)?;
    writeln!(out)
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
