//! The cores' lives: chosen, started, watched, replaced.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::time::Instant;

use tokio::sync::mpsc::UnboundedSender;

use crate::config::checked::{self, Workers};
use crate::config::limits;
use crate::io::system;
use crate::rt::Engine;
use crate::worker::{self, Command, Handle, Notice, Plan, Process};

/// The CPUs the configuration asks for, of those this process may use.
///
/// # Errors
/// Which CPU cannot be had.
pub fn choose(workers: &Workers) -> Result<Vec<usize>, String> {
    let available = system::cpu_set();
    match &workers.cores {
        checked::Cores::All => Ok(available),
        checked::Cores::Count(count) => {
            let count = usize::try_from(count.get()).unwrap_or(usize::MAX);
            if count > available.len() {
                tracing::warn!(
                    asked = count,
                    available = available.len(),
                    "fewer CPUs than workers.cores asks for; using those there are"
                );
            }
            Ok(available.into_iter().take(count).collect())
        }
        checked::Cores::List(list) => match list.iter().find(|cpu| !available.contains(cpu)) {
            None => Ok(list.clone()),
            Some(cpu) => Err(format!(
                "workers.cores names CPU {cpu}, which this process may not use (it may use {available:?})"
            )),
        },
    }
}

/// All cores.
#[derive(Debug)]
pub struct Cores {
    process: Arc<Process>,
    notices: UnboundedSender<Notice>,
    plans: Vec<Plan>,
    handles: Vec<Option<Handle>>,
    deaths: VecDeque<Instant>,
    beats: Vec<Beat>,
    watched: Instant,
}

/// The last sign of life of a core.
#[derive(Debug, Clone, Copy)]
struct Beat {
    ticks: u64,
    seen: Instant,
    late: bool,
}

impl Cores {
    /// Starts a core on each of `cpus`.
    ///
    /// # Errors
    /// When a thread cannot be made.
    pub fn start(
        cpus: &[usize],
        pin: bool,
        engine: Engine,
        process: Arc<Process>,
        notices: UnboundedSender<Notice>,
    ) -> io::Result<Self> {
        let plan = |(index, cpu): (usize, &usize)| Plan { index, cpu: *cpu, pin, engine };
        let plans: Vec<Plan> = cpus.iter().enumerate().map(plan).collect();
        let mut handles = Vec::new();
        for plan in &plans {
            handles.push(Some(worker::start(plan.clone(), Arc::clone(&process), notices.clone())?));
        }
        let beat = Beat { ticks: 0, seen: Instant::now(), late: false };
        let beats = vec![beat; plans.len()];
        let (deaths, watched) = (VecDeque::new(), Instant::now());
        Ok(Self { process, notices, plans, handles, deaths, beats, watched })
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.plans.len()
    }

    /// True when there is none, which cannot be.
    pub fn is_empty(&self) -> bool {
        self.plans.is_empty()
    }

    /// Sends a command to one core.
    pub fn send(&self, core: usize, command: Command) {
        if let Some(Some(handle)) = self.handles.get(core) {
            handle.send(command);
        }
    }

    /// Sends a command to every core.
    pub fn send_all(&self, command: impl Fn() -> Command) {
        for core in 0..self.handles.len() {
            self.send(core, command());
        }
    }

    /// A core has ended as it was told to. True when it was the last.
    pub fn finished(&mut self, core: usize) -> bool {
        if let Some(handle) = self.handles.get_mut(core) {
            *handle = None;
        }
        self.handles.iter().all(Option::is_none)
    }

    /// A core has died: starts its successor.
    ///
    /// # Errors
    /// When cores die so often that a fresh process is the better answer, or no thread can be made.
    pub fn replace(&mut self, core: usize, said: &str) -> Result<(), String> {
        tracing::error!(core, said, "a core has died; its connections were reset");
        let now = Instant::now();
        self.deaths.push_back(now);
        self.deaths.retain(|death| now.duration_since(*death) < limits::DEATHS_WINDOW);
        if self.deaths.len() >= limits::DEATHS_MAX {
            return Err(format!("{} cores died within a minute", self.deaths.len()));
        }
        let (Some(plan), Some(handle)) = (self.plans.get(core), self.handles.get_mut(core)) else {
            return Ok(());
        };
        let started = worker::start(plan.clone(), Arc::clone(&self.process), self.notices.clone());
        *handle = Some(started.map_err(|error| format!("a core cannot be replaced: {error}"))?);
        tracing::warn!(core, "the core was replaced");
        Ok(())
    }

    /// Looks for cores that have stopped: a call that blocks, an endless loop, a ring that fails.
    pub fn watch(&mut self) {
        let now = Instant::now();
        // If this thread did not run either, the whole process was stopped: nobody is to blame.
        let stopped = now.duration_since(self.watched) > limits::HEARTBEAT_LATE / 2;
        self.watched = now;
        for (core, (beat, counters)) in
            self.beats.iter_mut().zip(&self.process.counters).enumerate()
        {
            let ticks = counters.ticks.get();
            if ticks != beat.ticks || stopped {
                if beat.late && ticks != beat.ticks {
                    tracing::warn!(core, "the core answers again");
                    beat.late = false;
                }
                (beat.ticks, beat.seen) = (ticks, now);
            } else if !beat.late && now.duration_since(beat.seen) > limits::HEARTBEAT_LATE {
                beat.late = true;
                tracing::error!(core, "the core has not answered for 2 s: its connections wait");
            }
        }
    }
}
