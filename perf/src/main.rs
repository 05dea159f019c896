//! `thalweg-perf`: what a TCP proxy costs, measured from outside.
//!
//! The parts, from the bottom: [`sys`] (the only unsafe), [`engine`] (client and backend around one
//! epoll), [`proc`] (the proxy's counters), [`measure`] (one measurement, one JSON line), [`peers`]
//! (starting the proxies), [`compare`] (all of them, interleaved), [`report`] and [`svg`] (what people
//! read). `perf/README.md` says how to read the figures.

#![deny(unsafe_code)]

mod args;
mod compare;
mod engine;
mod histogram;
mod judge;
mod measure;
mod peers;
mod proc;
mod report;
mod svg;
#[allow(unsafe_code)]
mod sys;
mod work;

use std::net::SocketAddr;
use std::path::Path;
use std::process::ExitCode;

use serde_json::Value;

use crate::args::Args;
use crate::measure::Setup;
use crate::work::{Direction, Mode, Work};

const HELP: &str = "\
thalweg-perf: what a TCP proxy costs, measured from outside

  thalweg-perf run      one measurement of a proxy that runs; prints one JSON line
  thalweg-perf backend  a backend on its own, when it is to have a CPU or a machine of its own
  thalweg-perf compare  Thalweg and its peers, interleaved; writes lines, table and plot
  thalweg-perf report   table and plot from lines that were measured before

`thalweg-perf COMMAND --help` says more.
";

const RUN_HELP: &str = "\
thalweg-perf run --mode MODE --proxy ADDR [options]: one measurement, one JSON line

  --mode MODE        bulk, rr, crr (connect, request, response, close) or idle
  --proxy ADDR       where the proxy listens
  --backend ADDR     where the proxy's target is: this tool listens there (and serves the mode)
  --no-backend       the backend runs elsewhere: `thalweg-perf backend` with the same mode and size
  --conns N          client connections (64)
  --size BYTES       of each message in rr, of the answer in crr (1024)
  --direction D      of bulk: up, client to backend (default), or down
  --seconds S        length of the measured window (3)
  --warmup S         work before it (0.5)
  --pid LIST         the proxy's processes; their children are found. Without: no CPU figures
  --proxy-cpu N      the CPU that the proxy is pinned to (0), for the share of foreign work
  --load-cpu N|any   the CPU for this tool (1); `any` does not pin and knows no foreign share
";

const BACKEND_HELP: &str = "\
thalweg-perf backend --listen ADDR --mode MODE [options]: serves one mode until it is ended

  --listen ADDR      where to listen
  --mode MODE        bulk, rr, crr or idle
  --size BYTES       as given to `run` (1024)
  --direction D      of bulk: up (discards, default) or down (sends)
  --cpu N            the CPU to be pinned to (none)
";

const REPORT_HELP: &str = "\
thalweg-perf report FILE.jsonl --out DIR: writes table.md and plot.svg
";

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    match dispatch(&words) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("thalweg-perf: {error}");
            ExitCode::FAILURE
        }
    }
}

fn dispatch(words: &[String]) -> Result<(), String> {
    let command = words.first().map_or("--help", String::as_str);
    let rest = words.get(1..).unwrap_or_default();
    let help = rest.iter().any(|word| word == "--help" || word == "-h");
    match (command, help) {
        ("--help" | "-h" | "help", _) => print!("{HELP}"),
        ("run", true) => print!("{RUN_HELP}"),
        ("backend", true) => print!("{BACKEND_HELP}"),
        ("compare", true) => print!("{}", compare::HELP),
        ("report", true) => print!("{REPORT_HELP}"),
        ("run", false) => return run(rest),
        ("backend", false) => return backend(rest),
        ("compare", false) => return compare::run(rest),
        ("report", false) => return report(rest),
        (other, _) => return Err(format!("unknown command `{other}`; --help lists them")),
    }
    Ok(())
}

fn work_from(args: &Args) -> Result<Work, String> {
    let mode = Mode::parse(args.text("mode").ok_or("--mode is missing")?)?;
    let work = Work {
        mode,
        conns: args.get("conns")?.unwrap_or(64),
        size: args.get("size")?.unwrap_or(1024),
        direction: args.text("direction").map_or(Ok(Direction::Up), Direction::parse)?,
    };
    if !(64..=64 << 20).contains(&work.size) {
        return Err("--size must lie between 64 bytes and 64 MiB".into());
    }
    if !(1..=1_000_000).contains(&work.conns) {
        return Err("--conns must lie between 1 and 1,000,000".into());
    }
    Ok(work)
}

fn no_words(args: &Args) -> Result<(), String> {
    args.words.first().map_or(Ok(()), |word| Err(format!("unexpected `{word}`")))
}

fn run(words: &[String]) -> Result<(), String> {
    let valued = [
        "mode",
        "proxy",
        "backend",
        "conns",
        "size",
        "direction",
        "seconds",
        "warmup",
        "pid",
        "proxy-cpu",
        "load-cpu",
    ];
    let args = Args::parse(words, &valued, &["no-backend"])?;
    no_words(&args)?;
    let backend: Option<SocketAddr> = args.get("backend")?;
    if backend.is_some() == args.has("no-backend") {
        return Err("give either --backend ADDR or --no-backend".into());
    }
    let pids: Result<Vec<u32>, _> = args.list("pid").iter().map(|text| text.parse()).collect();
    let pids = pids.map_err(|_| "--pid: a list of process ids, please")?;
    sys::raise_open_files().map_err(|e| format!("raising the limit of open files: {e}"))?;
    let cpus = match args.text("load-cpu") {
        Some("any") => None,
        _ => {
            let load = args.get("load-cpu")?.unwrap_or(1);
            sys::pin(load).map_err(|e| format!("pinning to CPU {load}: {e}; --load-cpu any?"))?;
            Some((args.get("proxy-cpu")?.unwrap_or(0), load))
        }
    };
    let line = measure::measure(&Setup {
        work: work_from(&args)?,
        seconds: args.seconds("seconds", 3.0)?,
        warmup: args.seconds("warmup", 0.5)?,
        proxy: args.need("proxy")?,
        backend,
        pids,
        cpus,
    })?;
    println!("{}", Value::Object(line));
    Ok(())
}

fn backend(words: &[String]) -> Result<(), String> {
    let args = Args::parse(words, &["listen", "mode", "size", "direction", "cpu"], &[])?;
    no_words(&args)?;
    let work = work_from(&args)?;
    if let Some(cpu) = args.get("cpu")? {
        sys::pin(cpu).map_err(|e| format!("pinning to CPU {cpu}: {e}"))?;
    }
    sys::raise_open_files().map_err(|e| format!("raising the limit of open files: {e}"))?;
    let address: SocketAddr = args.need("listen")?;
    let listener = sys::listen(address, work.mode != Mode::Bulk)
        .map_err(|e| format!("listening on {address}: {e}"))?;
    engine::serve(work, listener)
}

fn report(words: &[String]) -> Result<(), String> {
    let args = Args::parse(words, &["out"], &[])?;
    let [file] = args.words.as_slice() else {
        return Err("give one FILE.jsonl".into());
    };
    let out = args.text("out").ok_or("--out is missing")?;
    report::write(Path::new(file), Path::new(out))
}
