//! `thalweg run`: the order of the start, the control loop, and the order of the end.

use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};

use arc_swap::ArcSwap;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc::{Receiver, UnboundedReceiver, unbounded_channel};

use crate::config::checked::Checked;
use crate::config::limits;
use crate::config::snapshot::{Snapshot, TargetState};
use crate::config::{self, Loaded};
use crate::conn::ending::Cause;
use crate::control::admin::{Admin, Question, View};
use crate::control::cores::{self, Cores};
use crate::control::discover::Lists;
use crate::control::events;
use crate::control::health::Health;
use crate::control::notify;
use crate::control::providers::Live;
use crate::control::reload::{self, Aides, Served};
use crate::control::services::Request;
use crate::control::watch::Watch;
use crate::io::system;
use crate::metrics::Counters;
use crate::rt;
use crate::worker::{Command, Fault, Notice, Process};

/// What `thalweg run` was called with.
#[derive(Debug, Clone)]
pub struct Options {
    /// The configuration file.
    pub config: PathBuf,
    /// How long SIGTERM waits for connections to end by themselves.
    pub drain_deadline: Duration,
}

/// Runs until told to end.
///
/// # Errors
/// Why it could not start, or could not go on, in words for the log's last line.
pub fn run(options: &Options) -> Result<(), String> {
    let since = SystemTime::now();
    let loaded = config::load(&options.config);
    reload::report(&loaded.diagnostics);
    let Some(checked) = loaded.checked.clone() else {
        let errors = loaded.diagnostics.len();
        return Err(format!(
            "{} has errors ({errors} findings); `thalweg check -c` shows them with hints",
            options.config.display()
        ));
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(4) // files
        .thread_name("thalweg-files")
        .build()
        .map_err(|error| format!("the control loop cannot be made: {error}"))?;
    let result = runtime.block_on(control(options, checked, loaded, since));
    // A file that is being read must not hold up the end.
    runtime.shutdown_background();
    result
}

async fn control(
    options: &Options,
    checked: Checked,
    loaded: Loaded,
    since: SystemTime,
) -> Result<(), String> {
    let signals = Signals::new().map_err(|error| format!("signals: {error}"))?;
    let (engine, without) = rt::choose(checked.workers.io_uring).map_err(|error| {
        format!(
            "io_uring cannot be used: {error}. Linux 6.x with kernel.io_uring_disabled=0 is needed \
             (containers often forbid it by seccomp); `workers.ioUring: \"Prefer\"` runs on epoll"
        )
    })?;
    if let Some(error) = without {
        tracing::warn!(%error, "io_uring cannot be used: running on epoll, with more CPU per byte");
    }
    let cpus = cores::choose(&checked.workers)?;
    let (events, writer) = events::start().map_err(|error| format!("events: {error}"))?;
    let budget = Budget::new(cpus.len(), checked.services.len())?;
    let process = Arc::new(Process {
        snapshot: Arc::new(ArcSwap::from_pointee(Snapshot::default())),
        counters: cpus.iter().map(|_| Arc::new(Counters::default())).collect(),
        connections_max: AtomicU64::new(budget.connections),
        pipes_per_core: budget.pipes_per_core,
        events,
        boot: std::process::id() ^ started_at(),
        fault: Fault::from_environment(),
    });
    let pin = checked.workers.pin;
    let (watch, files) = Watch::start();
    let (lists, found) = Lists::start();
    let (view, questions, requests) = View::new(Arc::clone(&process));
    let (health, downs) = Health::start(Arc::clone(&process), budget.checks);
    let path = options.config.clone();
    let (live, told) = Live::start();
    let aides = Aides { admin: Admin::new(Arc::new(view)), watch, lists, health, live };
    let mut served = Served::first(path, loaded, since, aides, cpus.len())
        .await
        .map_err(|refusal| refusal.to_string())?;
    let (notices, inbox) = unbounded_channel();
    let mut cores = Cores::start(&cpus, pin, engine, Arc::clone(&process), notices)
        .map_err(|error| format!("a core cannot be started: {error}"))?;
    for core in 0..cores.len() {
        served.introduce(core, &cores);
    }
    tracing::info!(
        version = env!("CARGO_PKG_VERSION"),
        ?engine,
        ?cpus,
        listeners = ?served.listeners.addresses().len(),
        admin = served.admin.place(),
        descriptors = budget.descriptors,
        connections_max = process.connections_max.load(Ordering::Relaxed),
        "serving"
    );
    // Nobody may be reading: that is no reason to end.
    let _ = writeln!(std::io::stdout(), "ready").and_then(|()| std::io::stdout().flush());
    process.events.release();
    notify::ready(&served.status());
    let mut heard = Heard { signals, inbox, files, found, told, downs, questions, requests };
    let result = serve(&mut heard, &mut served, &mut cores).await;
    if result.is_ok() {
        let deadline = served.admin.view.drain_deadline().unwrap_or(options.drain_deadline);
        drain(deadline, &mut heard, &mut served, &mut cores).await?;
        summarise(&process);
    }
    let ending = Arc::clone(&process);
    let written = tokio::task::spawn_blocking(move || {
        ending.events.end();
        writer.join()
    });
    let _ = tokio::time::timeout(limits::EVENT_FLUSH_AT_END * 2, written).await;
    result
}

/// The last line of a run: what it did.
fn summarise(process: &Process) {
    let sum = |count: fn(&Counters) -> u64| -> u64 {
        process.counters.iter().map(|core| count(core)).sum()
    };
    let lag = process.counters.iter().map(|core| core.lag_max_us.get()).max();
    tracing::info!(
        connections = sum(|core| core.accepted.get()),
        bytes_up = sum(|core| core.bytes_up.get()),
        bytes_down = sum(|core| core.bytes_down.get()),
        retries = sum(|core| core.retries.get()),
        events_dropped = sum(|core| core.events_dropped.get()),
        core_lag_max_us = lag,
        "ended"
    );
}

/// What the control loop waits for.
struct Heard {
    signals: Signals,
    /// What cores say.
    inbox: UnboundedReceiver<Notice>,
    /// A watched file has changed.
    files: Receiver<()>,
    /// A list of targets has changed.
    found: Receiver<()>,
    /// A live provider knows something new.
    told: Receiver<()>,
    /// Targets that went down and whose connections are to be cut.
    downs: Receiver<Arc<TargetState>>,
    /// What the admin API asks of cores.
    questions: Receiver<Question>,
    /// What the admin API asks of this loop.
    requests: Receiver<Request>,
}

/// Serves until a signal asks for the end.
async fn serve(heard: &mut Heard, served: &mut Served, cores: &mut Cores) -> Result<(), String> {
    let Heard { signals, inbox, files, found, told, downs, questions, requests } = heard;
    let view = Arc::clone(&served.admin.view);
    let mut watch = tokio::time::interval(limits::HEARTBEAT_LATE / 4);
    let first = tokio::time::Instant::now() + limits::MATERIAL_REREAD;
    let mut reread = tokio::time::interval_at(first, limits::MATERIAL_REREAD);
    loop {
        let due = served.listeners.next_due();
        tokio::select! {
            asked = signals.next() => match asked {
                Asked::Reload => drop(served.reload(cores).await),
                Asked::Reopen => served.reopen_files(),
                Asked::End => return Ok(()),
            },
            () = view.drain_asked() => return Ok(()),
            notice = inbox.recv() => drop(heed(notice, served, cores)?),
            Some(()) = files.recv() => served.reload_material(cores).await,
            Some(()) = found.recv() => served.lists_changed(cores).await,
            Some(()) = told.recv() => served.providers_changed(cores).await,
            Some(down) = downs.recv() => cores.send_all(|| Command::CutTarget(Arc::clone(&down), Cause::TargetDown)),
            Some(Question { core, command }) = questions.recv() => cores.send(core, command),
            Some(request) = requests.recv() => served.answer(request, cores).await,
            _ = reread.tick() => served.reload_material(cores).await,
            () = sleep_until(due) => served.close_due(cores),
            _ = watch.tick() => {
                cores.watch();
                served.free_retired();
            }
        }
    }
}

/// Acts on what a core says; true when the last core has finished.
fn heed(notice: Option<Notice>, served: &mut Served, cores: &mut Cores) -> Result<bool, String> {
    match notice {
        Some(Notice::Unlistened(_, _, fd)) => served.listeners.given_back(fd),
        Some(Notice::Died(core, said)) => {
            served.listeners.replace_core(core);
            cores.replace(core, &said)?;
            served.introduce(core, cores);
        }
        Some(Notice::Failing(state)) => served.health.failing(&state),
        Some(Notice::Finished(core)) => return Ok(cores.finished(core)),
        None => {}
    }
    Ok(false)
}

/// Takes what is queued, then nothing more; waits for the connections, and cuts what is left at the
/// deadline.
async fn drain(
    deadline: Duration,
    heard: &mut Heard,
    served: &mut Served,
    cores: &mut Cores,
) -> Result<(), String> {
    let Heard { signals, inbox, questions, requests, .. } = heard;
    // Nothing is changed any more: who still asks hears so.
    requests.close();
    while requests.try_recv().is_ok() {}
    notify::stopping();
    tracing::info!(?deadline, "draining: no new connections; those that live may finish");
    let deadline = Instant::now() + deadline;
    served.admin.view.draining.store(true, Ordering::Relaxed);
    served.leave_all();
    served.health.stop();
    served.end_providers().await;
    let mut told = false;
    let mut cut = false;
    loop {
        if !told && served.listeners.all_closed() {
            told = true;
            cores.send_all(|| Command::Finish);
        }
        let due = served.listeners.next_due();
        let end = if cut { deadline + limits::CUT_GRACE } else { deadline };
        tokio::select! {
            asked = signals.next() => if matches!(asked, Asked::End) {
                return Err("asked to end at once: connections were cut".into());
            },
            notice = inbox.recv() => {
                if heed(notice, served, cores)? {
                    return Ok(());
                }
                // One that has just replaced a dead one does not know.
                if told {
                    cores.send_all(|| Command::Finish);
                }
            }
            Some(Question { core, command }) = questions.recv() => cores.send(core, command),
            () = sleep_until(due) => served.close_due(cores),
            () = sleep_until(Some(end)) => {
                if cut {
                    tracing::error!("connections are left that cannot be ended");
                    return Ok(());
                }
                tracing::warn!("the drain deadline has passed: cutting what is left");
                cores.send_all(|| Command::CutAll(Cause::Drain));
                cut = true;
            }
        }
    }
}

async fn sleep_until(instant: Option<Instant>) {
    match instant {
        Some(instant) => tokio::time::sleep_until(instant.into()).await,
        None => std::future::pending().await,
    }
}

/// What a signal asks for.
enum Asked {
    Reload,
    Reopen,
    End,
}

struct Signals {
    hangup: Signal,
    terminate: Signal,
    interrupt: Signal,
    user1: Signal,
}

impl Signals {
    fn new() -> std::io::Result<Self> {
        Ok(Self {
            hangup: signal(SignalKind::hangup())?,
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            user1: signal(SignalKind::user_defined1())?,
        })
    }

    /// The next signal; several of one kind that came meanwhile are one.
    async fn next(&mut self) -> Asked {
        tokio::select! {
            _ = self.terminate.recv() => Asked::End,
            _ = self.interrupt.recv() => Asked::End,
            _ = self.hangup.recv() => Asked::Reload,
            _ = self.user1.recv() => Asked::Reopen,
        }
    }
}

/// How the process's descriptors are shared out.
struct Budget {
    descriptors: u64,
    connections: u64,
    pipes_per_core: usize,
    checks: usize,
}

impl Budget {
    /// # Errors
    /// When the limit of open files is too low to serve anybody.
    fn new(cores: usize, listeners: usize) -> Result<Self, String> {
        let descriptors =
            system::raise_nofile().map_err(|error| format!("RLIMIT_NOFILE: {error}"))?;
        let cores_count = cores.max(1) as u64;
        // At most an eighth of all descriptors goes to pipes, two each.
        let pipes = (descriptors / 16 / cores_count).min(limits::PIPES_LENT_MAX as u64);
        let (least, most) = limits::CHECKS_MIN_MAX;
        let checks = (descriptors / limits::CHECKS_PER_DESCRIPTORS).clamp(least, most);
        let taken = limits::DESCRIPTORS_RESERVED
            + checks
            + cores_count * (4 + 2 * pipes)
            + listeners as u64 * cores_count;
        let connections = descriptors.saturating_sub(taken) / 2;
        if connections == 0 {
            return Err(format!(
                "the limit of open files ({descriptors}) leaves none for connections: raise \
                 LimitNOFILE or `ulimit -n`"
            ));
        }
        let pipes_per_core = usize::try_from(pipes).unwrap_or(0);
        let checks = usize::try_from(checks).unwrap_or(1);
        Ok(Self { descriptors, connections, pipes_per_core, checks })
    }
}

/// Tells this run's ids from those of a run that had the same process number.
fn started_at() -> u32 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    now.unwrap_or_default().subsec_nanos()
}
