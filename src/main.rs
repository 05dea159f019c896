//! The command line.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use thalweg::cli;

#[derive(Parser)]
#[command(version)]
struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Check {
        #[arg(short, long)]
        config: PathBuf,
        #[arg(long)]
        json: bool,
    },
    Schema,
    Explain {
        #[arg(required_unless_present = "list")]
        code: Option<String>,
        #[arg(long)]
        list: bool,
    },
}

fn main() -> ExitCode {
    ExitCode::from(match Args::parse().command {
        Command::Check { config, json } => cli::check::run(&config, json),
        Command::Schema => cli::schema::run(),
        Command::Explain { code, list } => cli::explain::run(code.as_deref(), list),
    })
}
