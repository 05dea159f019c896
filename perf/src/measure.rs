//! One measurement: warm up, read the proxy's counters, work, read them again, end properly.

use std::io::Write;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use serde_json::{Map, Value, json};

use crate::engine::{Engine, Totals};
use crate::hello;
use crate::proc::{self, Processes};
use crate::sys;
use crate::work::{Direction, Layer, Mode, Work};

/// How long connections may take to open or to end; a proxy that needs longer is broken.
const PATIENCE: Duration = Duration::from_secs(15);
/// Foreign CPU time, as a share of the run's length, above which a figure is not to be trusted.
pub const FOREIGN_MAX: f64 = 0.30;
/// The share of resumed handshakes below which a run of resumed ones is none.
const RESUMED_MIN: f64 = 0.99;
const GIB: f64 = (1u64 << 30) as f64;

/// What to measure, and where.
pub struct Setup {
    /// The work.
    pub work: Work,
    /// Length of the measured window.
    pub seconds: f64,
    /// Work before it.
    pub warmup: f64,
    /// Where the proxy listens.
    pub proxy: SocketAddr,
    /// Where the proxy's target is expected; the backend listens there. `None`: it runs elsewhere.
    pub backend: Option<SocketAddr>,
    /// The proxy's processes; their descendants are found. Empty: nothing is known of its CPU.
    pub pids: Vec<u32>,
    /// The proxy's CPU and that of the load, when both are pinned; for the foreign share.
    pub cpus: Option<(usize, usize)>,
}

/// All counters at one moment.
struct Moment {
    at: Instant,
    proxy: Processes,
    load: Processes,
    idle: u64,
    totals: Totals,
}

impl Moment {
    fn now(setup: &Setup, pids: &[u32], engine: &Engine) -> Result<Self, String> {
        Ok(Self {
            proxy: Processes::read(pids).map_err(|e| format!("the proxy is gone: {e}"))?,
            load: Processes::read(&[std::process::id()])?,
            idle: match setup.cpus {
                Some((proxy, load)) => proc::idle(&[proxy, load])?,
                None => 0,
            },
            totals: engine.totals(),
            at: Instant::now(),
        })
    }
}

/// Runs one measurement and returns its line.
pub fn measure(setup: &Setup) -> Result<Map<String, Value>, String> {
    let pids = proc::with_descendants(&setup.pids);
    if setup.work.mode == Mode::Idle {
        return measure_idle(setup, &pids);
    }
    let work = setup.work;
    let mut engine = start(setup, work)?;
    engine.add_clients(work.conns);
    engine.pump(after(setup.warmup), |_| false)?;
    if matches!(work.layer, Layer::Tls { resumed: true, .. }) {
        // The first connections have no ticket; on a slow machine the warm-up ends before they do.
        let enough = 4 * work.conns as u64;
        engine.pump(Instant::now() + PATIENCE, |engine| engine.totals().operations >= enough)?;
    }
    if engine.totals().operations + engine.totals().sent == 0 {
        return Err("nothing went through during the warm-up".into());
    }
    engine.begin_window();
    let before = Moment::now(setup, &pids, &engine)?;
    engine.pump(after(setup.seconds), |_| false)?;
    let now = Moment::now(setup, &pids, &engine)?;
    let starved = engine.starved();
    if starved > 0 && work.mode != Mode::Crr {
        return Err(format!("{starved} of {} connections made no progress", work.conns));
    }
    let mut line = describe(setup, &before, &now);
    for (name, share) in [("p50Us", 0.5), ("p99Us", 0.99)] {
        let nanos = engine.latency().percentile(share);
        line.insert(name.into(), json!(nanos.map(|nanos| round(nanos as f64 / 1e3, 1))));
    }
    handshakes_as_asked(work, &before.totals, &now.totals)?;
    finish(engine, setup)?;
    Ok(line)
}

/// Whether the handshakes of the window were those that were to be measured.
fn handshakes_as_asked(work: Work, before: &Totals, now: &Totals) -> Result<(), String> {
    let (Layer::Tls { resumed: asked, .. }, Mode::Crr) = (work.layer, work.mode) else {
        return Ok(());
    };
    let (full, resumed) = (now.full - before.full, now.resumed - before.resumed);
    let all = full + resumed;
    match (asked, resumed as f64 / all as f64) {
        _ if all == 0 => Err("no handshake came to its end".into()),
        (true, share) if share < RESUMED_MIN => {
            Err(format!("only {resumed} of {all} handshakes were resumed"))
        }
        (false, _) if resumed > 0 => Err(format!("{resumed} of {all} handshakes were resumed")),
        _ => Ok(()),
    }
}

fn start(setup: &Setup, work: Work) -> Result<Engine, String> {
    let listener = match setup.backend {
        None => None,
        Some(address) => {
            let listener = sys::listen(address, work.mode != Mode::Bulk)
                .map_err(|e| format!("the backend cannot listen on {address}: {e}"))?;
            Some(listener)
        }
    };
    Engine::new(work, Some(setup.proxy), listener)
}

/// Closes everything in order: proves that the end of a stream gets through, and every byte before it.
fn finish(mut engine: Engine, setup: &Setup) -> Result<(), String> {
    engine.stop()?;
    if !engine.pump(Instant::now() + PATIENCE, |engine| engine.open() == 0)? {
        return Err(format!("{} connections did not end with their peer", engine.open()));
    }
    let Totals { sent, received, .. } = engine.totals();
    if setup.work.mode == Mode::Bulk && setup.backend.is_some() && sent != received {
        return Err(format!("{sent} bytes were sent and {received} arrived"));
    }
    Ok(())
}

fn measure_idle(setup: &Setup, pids: &[u32]) -> Result<Map<String, Value>, String> {
    // The first connections load code and tables that no later one pays for.
    let few = Work { conns: setup.work.conns.min(64), ..setup.work };
    let mut engine = start(setup, few)?;
    establish(&mut engine, few.conns)?;
    finish(engine, setup)?;

    let mut engine = start(setup, setup.work)?;
    engine.pump(after(setup.warmup), |_| false)?;
    let memory_before = proc::memory(pids)?;
    let threads_before = Processes::read(pids)?;
    establish(&mut engine, setup.work.conns)?;
    engine.pump(after(setup.warmup), |_| false)?;
    let memory_after = proc::memory(pids)?;
    let before = Moment::now(setup, pids, &engine)?;
    engine.pump(after(setup.seconds), |_| false)?;
    let now = Moment::now(setup, pids, &engine)?;

    let mut line = describe(setup, &before, &now);
    line.insert("operations".into(), json!(setup.work.conns));
    for name in ["bytes", "opsPerSecond", "proxyCpuUsPerOp", "machineCpuUsPerOp"] {
        line.remove(name);
    }
    if !pids.is_empty() {
        let own = memory_after as f64 - memory_before as f64;
        line.insert("memoryBefore".into(), json!(memory_before));
        line.insert("memoryAfter".into(), json!(memory_after));
        line.insert("memoryPerConnection".into(), json!(round(own / setup.work.conns as f64, 1)));
        line.insert("threadsBefore".into(), json!(threads_before.threads()));
        line.insert("descriptorsBefore".into(), json!(threads_before.descriptors));
    }
    finish(engine, setup)?;
    Ok(line)
}

/// Opens `count` connections, each with one exchange, and keeps them.
fn establish(engine: &mut Engine, count: usize) -> Result<(), String> {
    engine.add_clients(count);
    if engine.pump(Instant::now() + PATIENCE, |e| e.totals().operations >= count as u64)? {
        return Ok(());
    }
    Err(format!("only {} of {count} connections were served", engine.totals().operations))
}

fn describe(setup: &Setup, before: &Moment, now: &Moment) -> Map<String, Value> {
    let work = setup.work;
    let elapsed = now.at.duration_since(before.at);
    let seconds = elapsed.as_secs_f64();
    let operations = now.totals.operations - before.totals.operations;
    // A sink elsewhere cannot be asked: then what the sources gave away must do.
    let bytes = match (work.mode, setup.backend.is_some(), work.direction) {
        (Mode::Bulk, false, Direction::Up) => now.totals.sent - before.totals.sent,
        (Mode::Bulk, ..) => now.totals.received - before.totals.received,
        _ => operations * (work.request() + work.answer()) as u64,
    };
    let mut line = Map::new();
    let mut put = |name: &str, value: Value| line.insert(name.into(), value);
    put("mode", json!(work.name()));
    put("conns", json!(work.conns));
    put("size", json!(work.size));
    if work.mode == Mode::Bulk {
        put("direction", json!(work.direction.to_string()));
    }
    if let Layer::Tls { version, .. } = work.layer {
        put("tls", json!(version.to_string()));
        put("suite", json!(version.suite()));
    }
    put("seconds", json!(round(seconds, 4)));
    if work.mode != Mode::Bulk {
        put("operations", json!(operations));
        put("opsPerSecond", json!(round(operations as f64 / seconds, 1)));
    } else {
        put("gibPerSecond", json!(round(bytes as f64 / GIB / seconds, 3)));
    }
    put("bytes", json!(bytes));
    if work.is_handshake() {
        let full = now.totals.full - before.totals.full;
        let resumed = now.totals.resumed - before.totals.resumed;
        put("fullHandshakes", json!(full));
        put("resumedHandshakes", json!(resumed));
        put("resumedShare", json!(round(resumed as f64 / (full + resumed).max(1) as f64, 4)));
    }
    let load = now.load.cpu_since(&before.load) as f64;
    let proxy = now.proxy.cpu_since(&before.proxy) as f64;
    let busy = |cpus| cpus as f64 * elapsed.as_nanos() as f64 - (now.idle - before.idle) as f64;
    let machine = setup.cpus.map(|(proxy, load)| busy(if proxy == load { 1 } else { 2 }));
    let known = !setup.pids.is_empty();
    for (who, nanos) in
        [("proxy", known.then_some(proxy)), ("load", Some(load)), ("machine", machine)]
    {
        let Some(nanos) = nanos else { continue };
        put(&format!("{who}CpuUs"), json!(round(nanos / 1e3, 0)));
        if work.mode == Mode::Bulk && bytes > 0 {
            put(&format!("{who}CpuMsPerGib"), json!(round(nanos / 1e6 / (bytes as f64 / GIB), 3)));
        } else if operations > 0 {
            put(&format!("{who}CpuUsPerOp"), json!(round(nanos / 1e3 / operations as f64, 3)));
        }
    }
    if known {
        put("threads", json!(now.proxy.threads()));
        put("kernelWorkers", json!(now.proxy.kernel_workers));
        put("descriptors", json!(now.proxy.descriptors));
    }
    if let (Some(machine), true) = (machine, known) {
        // Idle time comes in ticks, so that a quiet machine can show a little less than nothing.
        let foreign = ((machine - proxy - load) / elapsed.as_nanos() as f64).max(0.0);
        put("foreignShare", json!(round(foreign, 4)));
        put("flagged", json!(foreign > FOREIGN_MAX));
    }
    line
}

/// What one read of a ClientHello costs on this CPU, in µs: the least that a proxy which routes by name
/// does beyond one that does not.
pub fn one_read() -> Result<f64, String> {
    const READS: u32 = 10_000;
    let failed = |e: std::io::Error| format!("measuring one read: {e}");
    let listener = TcpListener::bind("127.0.0.1:0").map_err(failed)?;
    let mut client = TcpStream::connect(listener.local_addr().map_err(failed)?).map_err(failed)?;
    let (server, _) = listener.accept().map_err(failed)?;
    let hello = hello::bytes();
    client.write_all(hello).map_err(failed)?;
    let mut buffer = vec![0; 16 << 10];
    // The first peek waits for the bytes; of the batches the quietest counts.
    let mut best = Duration::MAX;
    for _ in 0..5 {
        let start = Instant::now();
        for _ in 0..READS {
            let count = sys::peek(server.as_fd(), &mut buffer).map_err(failed)?;
            if count != hello.len() {
                return Err(format!("measuring one read: {count} bytes"));
            }
        }
        best = best.min(start.elapsed());
    }
    Ok(round(best.as_secs_f64() * 1e6 / f64::from(READS), 3))
}

fn after(seconds: f64) -> Instant {
    Instant::now() + Duration::from_secs_f64(seconds)
}

/// Rounds to `digits` after the point, so that lines stay readable.
pub fn round(value: f64, digits: i32) -> f64 {
    let scale = 10f64.powi(digits);
    (value * scale).round() / scale
}

#[cfg(test)]
mod tests;
