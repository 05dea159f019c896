//! The comparison: every work, every proxy, round after round, on the same two CPUs.
//!
//! Rounds are interleaved at the level of single measurements: within a round each work is given to
//! one proxy after the other, and each round starts with another proxy, so that a slow drift of the
//! machine meets all alike. A proxy is started anew for each measurement: it then carries no memory of
//! the work before (which the idle figure needs), and no other proxy's timers run beside it.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde_json::{Map, Value, json};

use crate::args::Args;
use crate::measure::{self, Setup};
use crate::peers::{Kind, Peer, Places};
use crate::secure::Identity;
use crate::work::{COMPARED, Compared, Part};
use crate::{report, sys};

/// How often a measurement is repeated when other programs disturbed it.
const TRIES: usize = 3;

/// What `compare` understands.
pub const HELP: &str = "\
thalweg-perf compare [options]: Thalweg, its peers and a bare endpoint, interleaved

  --part LIST        plain, tls, policy (all)
  --rounds N         rounds (5)
  --seconds S        length of each measured window (1.5)
  --warmup S         work before each window (0.5)
  --only LIST        works by name or mode: bulk1, bulk64, rr64-1k, rr64-16k, crr64, idle5000,
                     tls-full-1.3, tls-full-1.2, tls-resumed-1.3, tls-resumed-1.2, tls-bulk-up,
                     tls-bulk-down, tls-rr64-1k, sni-crr64, pipe-crr64,
                     policy-crr64, bare-crr64; bulk, rr, crr, idle,
                     tls-full, tls-resumed, tls-rr, sni-crr
  --proxies LIST     of thalweg, haproxy, nginx, envoy (in the TLS part), direct (in the plain
                     part); all
  --thalweg PATH     the Thalweg binary (target/release/thalweg)
  --envoy PATH       the Envoy binary (envoy)
  --peers DIR        the configuration templates (perf/peers)
  --out DIR          where latest.jsonl, table.md and plot.svg go (perf/results)
  --proxy-cpu N      the CPU of the proxies (0)
  --load-cpu N       the CPU of client and backend (1)
  --nice N           scheduling priority of load and proxies alike (-10 when allowed)
";

struct Plan {
    works: Vec<&'static Compared>,
    kinds: Vec<(Kind, String)>,
    rounds: usize,
    seconds: f64,
    warmup: f64,
    places: Places,
    load_cpu: usize,
    environment: Map<String, Value>,
}

/// Runs the comparison and writes its results.
pub fn run(words: &[String]) -> Result<(), String> {
    let valued = [
        "part",
        "rounds",
        "seconds",
        "warmup",
        "only",
        "proxies",
        "thalweg",
        "envoy",
        "peers",
        "out",
        "proxy-cpu",
        "load-cpu",
        "nice",
    ];
    let args = Args::parse(words, &valued, &[])?;
    if let Some(word) = args.words.first() {
        return Err(format!("unexpected `{word}`"));
    }
    let out = PathBuf::from(args.text("out").unwrap_or("perf/results"));
    let mut plan = plan(&args)?;
    fs::create_dir_all(&out).map_err(|e| format!("making {}: {e}", out.display()))?;
    prepare(&mut plan, args.get("nice")?)?;
    let path = out.join("latest.jsonl");
    let failures = measure_all(&plan, &path)?;
    report::write(&[&path], &out)?;
    eprintln!("written: latest.jsonl, table.md, plot.svg in {}", out.display());
    if failures > 0 {
        return Err(format!("{failures} measurements failed; see {}", path.display()));
    }
    Ok(())
}

fn plan(args: &Args) -> Result<Plan, String> {
    let works = works(&args.list("part"), &args.list("only"))?;
    let places = Places {
        thalweg: args.text("thalweg").unwrap_or("target/release/thalweg").into(),
        envoy: args.text("envoy").unwrap_or("envoy").into(),
        identity: Identity::make()?,
        templates: args.text("peers").unwrap_or("perf/peers").into(),
        proxy_cpu: args.get("proxy-cpu")?.unwrap_or(0),
    };
    let wanted = args.list("proxies");
    let known = |name: &str| Kind::ALL.iter().any(|kind| kind.name() == name);
    if let Some(name) = wanted.iter().find(|name| !known(name)) {
        return Err(format!("--proxies: there is no `{name}`"));
    }
    let mut kinds = Vec::new();
    for kind in Kind::ALL {
        let chosen = wanted.is_empty() || wanted.contains(&kind.name());
        if !chosen || !works.iter().any(|compared| compared.is_for(kind)) {
            continue;
        }
        match kind.version(&places) {
            Some(version) => kinds.push((kind, version)),
            None if wanted.is_empty() => eprintln!("{} cannot be run: left out", kind.name()),
            None => return Err(format!("{} cannot be run", kind.name())),
        }
    }
    Ok(Plan {
        works,
        kinds,
        rounds: args.get("rounds")?.unwrap_or(5),
        seconds: args.seconds("seconds", 1.5)?,
        warmup: args.seconds("warmup", 0.5)?,
        places,
        load_cpu: args.get("load-cpu")?.unwrap_or(1),
        environment: Map::new(),
    })
}

/// The works of the named parts (all when none is named) that `only` names or their modes' names.
fn works(parts: &[&str], only: &[&str]) -> Result<Vec<&'static Compared>, String> {
    if let Some(name) = parts.iter().find(|name| Part::ALL.iter().all(|p| p.name() != **name)) {
        return Err(format!("--part: there is no `{name}`: plain, tls or policy"));
    }
    let named = |c: &Compared, name: &str| c.name == name || c.work.name() == name;
    let of_part = |c: &&Compared| parts.is_empty() || parts.contains(&c.part.name());
    let mut works: Vec<&Compared> = COMPARED.iter().filter(of_part).collect();
    if let Some(name) = only.iter().find(|name| !works.iter().any(|c| named(c, name))) {
        return Err(format!("--only: there is no work `{name}`"));
    }
    works.retain(|c| only.is_empty() || only.iter().any(|name| named(c, name)));
    Ok(works)
}

/// Gives this process a network, a CPU and a priority of its own. Nothing outside it changes.
fn prepare(plan: &mut Plan, nice: Option<i32>) -> Result<(), String> {
    let own_network = match sys::own_network() {
        Ok(()) => true,
        Err(error) => {
            eprintln!("no network namespace of its own ({error}): the host's settings apply");
            false
        }
    };
    if own_network {
        for (name, value) in [
            // bbr paces; on loopback that costs timers and falsifies every figure.
            ("tcp_congestion_control", "reno"),
            ("ip_local_port_range", "1024 65535"),
            ("tcp_tw_reuse", "1"),
            // Short connections fill the table within a second; a bounded one is the same for all.
            ("tcp_max_tw_buckets", "32768"),
        ] {
            let path = format!("/proc/sys/net/ipv4/{name}");
            fs::write(&path, value).map_err(|e| format!("writing {value} to {path}: {e}"))?;
        }
    }
    sys::raise_open_files().map_err(|e| format!("raising the limit of open files: {e}"))?;
    if let Err(error) = sys::set_nice(nice.unwrap_or(-10))
        && nice.is_some()
    {
        return Err(format!("--nice: {error}"));
    }
    sys::pin(plan.load_cpu).map_err(|e| format!("pinning to CPU {}: {e}", plan.load_cpu))?;
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default().trim().to_owned();
    let control = read("/proc/sys/net/ipv4/tcp_congestion_control");
    plan.environment.insert("ownNetwork".into(), json!(own_network));
    plan.environment.insert("congestionControl".into(), json!(control));
    plan.environment.insert("kernel".into(), json!(read("/proc/sys/kernel/osrelease")));
    Ok(())
}

fn measure_all(plan: &Plan, path: &Path) -> Result<usize, String> {
    let failed = |e: std::io::Error| format!("writing {}: {e}", path.display());
    let mut file = File::create(path).map_err(failed)?;
    let (mut failures, mut done) = (0, 0);
    let started = Instant::now();
    let all = plan.works.iter().flat_map(|c| plan.kinds.iter().filter(|k| c.is_for(k.0)));
    let total = plan.rounds * all.count();
    for round in 1..=plan.rounds {
        for compared in &plan.works {
            for turn in 0..plan.kinds.len() {
                let (kind, version) = &plan.kinds[(turn + round - 1) % plan.kinds.len()];
                if !compared.is_for(*kind) {
                    continue;
                }
                done += 1;
                let left = time_left(started.elapsed(), done - 1, total);
                eprint!("[{done}/{total}{left}] {:>15}  {:<8} ", compared.name, kind.name());
                let mut line = Map::new();
                line.insert("round".into(), json!(round));
                line.insert("work".into(), json!(compared.name));
                line.insert("proxy".into(), json!(kind.name()));
                line.insert("version".into(), json!(version));
                line.extend(plan.environment.clone());
                match measure_once(plan, *kind, compared) {
                    Ok(figures) => {
                        let value = report::figure(compared, &figures).unwrap_or(f64::NAN);
                        let flag = if is_flagged(&figures) { "  (disturbed)" } else { "" };
                        eprintln!("{value:>10.3} {}{flag}", compared.unit);
                        line.extend(figures);
                    }
                    Err(error) => {
                        eprintln!("FAILED: {error}");
                        failures += 1;
                        line.insert("error".into(), json!(error));
                    }
                }
                writeln!(file, "{}", Value::Object(line)).map_err(failed)?;
            }
        }
    }
    Ok(failures)
}

/// How long the rest will take, judged by what is done; nothing before the first few are.
fn time_left(elapsed: Duration, done: usize, total: usize) -> String {
    if done < 5 {
        return String::new();
    }
    let seconds = elapsed.as_secs_f64() / done as f64 * (total - done) as f64;
    format!(", {:.0}:{:02.0} left", (seconds / 60.0).floor(), (seconds % 60.0).floor())
}

fn is_flagged(line: &Map<String, Value>) -> bool {
    line.get("flagged").and_then(Value::as_bool) == Some(true)
}

/// Measures until a run was quiet; of disturbed ones the least disturbed counts.
fn measure_once(
    plan: &Plan,
    kind: Kind,
    compared: &Compared,
) -> Result<Map<String, Value>, String> {
    let foreign = |line: &Map<String, Value>| {
        line.get("foreignShare").and_then(Value::as_f64).unwrap_or(f64::INFINITY)
    };
    let mut best: Option<Map<String, Value>> = None;
    for attempt in 1..=TRIES {
        let mut peer = Peer::start(kind, compared, &plan.places)?;
        let setup = Setup {
            work: compared.work,
            seconds: plan.seconds,
            warmup: plan.warmup,
            proxy: peer.listen,
            backend: peer.backend,
            pids: vec![peer.pid()],
            cpus: Some((plan.places.proxy_cpu, plan.load_cpu)),
        };
        let mut line = measure::measure(&setup).map_err(|error| peer.explain(&error))?;
        line.insert("tries".into(), json!(attempt));
        if compared.is_own_pipe() {
            line.insert("oneReadUs".into(), json!(measure::one_read()?));
        }
        if best.as_ref().is_none_or(|best| foreign(&line) < foreign(best)) {
            best = Some(line);
        }
        if best.as_ref().is_some_and(|best| !is_flagged(best)) {
            break;
        }
    }
    best.ok_or_else(|| "nothing was measured".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn works_are_chosen_by_part_name_and_mode() {
        let names = |parts: &[&str], only: &[&str]| -> Vec<&str> {
            works(parts, only).unwrap().iter().map(|compared| compared.name).collect()
        };
        assert_eq!(names(&[], &[]).len(), COMPARED.len());
        assert_eq!(names(&["plain"], &["crr"]), ["crr64"]);
        assert_eq!(names(&["tls"], &["tls-resumed"]), ["tls-resumed-1.3", "tls-resumed-1.2"]);
        assert_eq!(names(&["tls"], &["sni-crr"]), ["sni-crr64", "pipe-crr64"]);
        assert!(works(&["tls"], &["bulk1"]).is_err());
        assert!(works(&["udp"], &[]).is_err());
    }

    #[test]
    fn the_time_left_is_told_in_minutes() {
        assert_eq!(time_left(Duration::from_secs(4), 4, 10), "");
        assert_eq!(time_left(Duration::from_secs(100), 10, 22), ", 2:00 left");
        assert_eq!(time_left(Duration::from_secs(10), 10, 75), ", 1:05 left");
    }
}
