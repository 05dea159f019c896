//! `thalweg-perf`: what a TCP proxy costs, measured from outside.
//!
//! The parts, from the bottom: [`sys`] (the only unsafe), [`secure`] and [`hello`] (the client's side of
//! TLS), [`engine`] (client and backend around one epoll), [`proc`] (the proxy's counters), [`measure`]
//! (one measurement, one JSON line), [`peers`] (starting the proxies), [`compare`] (all of them,
//! interleaved), [`report`] and [`svg`] (what people read). `perf/README.md` says how to read the figures.

#![deny(unsafe_code)]

mod args;
mod compare;
mod engine;
mod hello;
mod histogram;
mod judge;
mod measure;
mod peers;
mod proc;
mod report;
mod secure;
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
use crate::secure::Identity;
use crate::work::{Direction, Layer, Mode, Version, Work};

const HELP: &str = "\
thalweg-perf: what a TCP proxy costs, measured from outside

  thalweg-perf run      one measurement of a proxy that runs; prints one JSON line
  thalweg-perf backend  a backend on its own, when it is to have a CPU or a machine of its own
  thalweg-perf compare  Thalweg and its peers, interleaved; writes lines, table and plot
  thalweg-perf report   table and plot from lines that were measured before
  thalweg-perf identity a certificate for the TLS modes, for a proxy that is started by hand

`thalweg-perf COMMAND --help` says more.
";

const RUN_HELP: &str = "\
thalweg-perf run --mode MODE --proxy ADDR [options]: one measurement, one JSON line

  --mode MODE        bulk, rr, crr (connect, request, response, close) or idle;
                     with a proxy that ends TLS: tls-full and tls-resumed (connect, handshake, one
                     byte each way, close), tls-bulk-up, tls-bulk-down, tls-rr;
                     with a proxy that routes by name: sni-crr (crr; the request is a ClientHello)
  --tls VERSION      of the TLS modes: 1.3 (default) or 1.2
  --proxy ADDR       where the proxy listens
  --backend ADDR     where the proxy's target is: this tool listens there (and serves the mode)
  --no-backend       the backend runs elsewhere: `thalweg-perf backend` with the same mode and size
  --conns N          client connections (64)
  --size BYTES       of each message in rr, of the answer in crr (1024; not for handshakes)
  --direction D      of plain bulk: up, client to backend (default), or down
  --seconds S        length of the measured window (3)
  --warmup S         work before it (0.5)
  --pid LIST         the proxy's processes; their children are found. Without: no CPU figures
  --proxy-cpu N      the CPU that the proxy is pinned to (0), for the share of foreign work
  --load-cpu N|any   the CPU for this tool (1); `any` does not pin and knows no foreign share
";

const BACKEND_HELP: &str = "\
thalweg-perf backend --listen ADDR --mode MODE [options]: serves one mode until it is ended

  --listen ADDR      where to listen
  --mode MODE        as given to `run`; what the backend sees is plain in all of them
  --size BYTES       as given to `run` (1024)
  --direction D      of bulk: up (discards, default) or down (sends)
  --cpu N            the CPU to be pinned to (none)
";

const REPORT_HELP: &str = "\
thalweg-perf report FILE.jsonl... --out DIR: writes table.md and plot.svg; several files are read as one
";

const IDENTITY_HELP: &str = "\
thalweg-perf identity --out DIR: writes cert.pem, key.pem and both.pem (ECDSA P-256, perf.example)
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
        ("identity", true) => print!("{IDENTITY_HELP}"),
        ("run", false) => return run(rest),
        ("backend", false) => return backend(rest),
        ("compare", false) => return compare::run(rest),
        ("report", false) => return report(rest),
        ("identity", false) => return identity(rest),
        (other, _) => return Err(format!("unknown command `{other}`; --help lists them")),
    }
    Ok(())
}

fn work_from(args: &Args) -> Result<Work, String> {
    let mut work = Work::named(args.text("mode").ok_or("--mode is missing")?)?;
    work.conns = args.get("conns")?.unwrap_or(work.conns);
    match (args.get("size")?, work.is_handshake()) {
        (Some(_), true) => return Err("--size: a handshake carries one byte each way".into()),
        (Some(size), false) => work.size = size,
        (None, _) => {}
    }
    match (args.text("direction"), work.layer) {
        (Some(name), Layer::Plain) => work.direction = Direction::parse(name)?,
        (Some(_), _) => return Err("--direction: the mode says it".into()),
        (None, _) => {}
    }
    match (args.text("tls"), &mut work.layer) {
        (Some(number), Layer::Tls { version, .. }) => *version = Version::parse(number)?,
        (Some(_), _) => return Err("--tls: this mode has none".into()),
        (None, _) => {}
    }
    if !work.is_handshake() && !(64..=64 << 20).contains(&work.size) {
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
        "tls",
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
    let args = Args::parse(words, &["listen", "mode", "size", "direction", "tls", "cpu"], &[])?;
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
    if args.words.is_empty() {
        return Err("give a FILE.jsonl".into());
    }
    let files: Vec<&Path> = args.words.iter().map(Path::new).collect();
    let out = args.text("out").ok_or("--out is missing")?;
    report::write(&files, Path::new(out))
}

fn identity(words: &[String]) -> Result<(), String> {
    let args = Args::parse(words, &["out"], &[])?;
    no_words(&args)?;
    Identity::make()?.write(Path::new(args.text("out").ok_or("--out is missing")?))
}
