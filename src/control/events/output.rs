//! One output: its queue, what it counts, and what it says in the log, which is one line a change of
//! state.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use serde::Serialize;
use tokio::sync::Notify;

use super::EventBatch;
use crate::config::checked::events::Output as Spec;
use crate::config::limits;
use crate::control::http::EndpointTls;

/// See the module.
#[derive(Debug)]
pub struct Output {
    spec: Spec,
    tls: ArcSwap<EndpointTls>,
    waiting: Mutex<Waiting>,
    /// Rung for every change of what waits, for threads …
    bell: Condvar,
    /// … and for tasks.
    notify: Notify,
    /// Events that came, whatever became of them.
    came: AtomicU64,
    written: AtomicU64,
    dropped: AtomicU64,
    failures: AtomicU64,
    failing: AtomicBool,
    told_unfit: AtomicBool,
}

#[derive(Debug, Default)]
struct Waiting {
    batches: VecDeque<Arc<EventBatch>>,
    bytes: usize,
    /// Not before the process has said that it is ready.
    held: bool,
    reopen: bool,
    /// Nothing more comes; what is not written by then is lost.
    ends: Option<Instant>,
    /// Its thread or task has nothing more to do.
    ended: bool,
    /// Dropped since the queue was last empty.
    overflow: u64,
}

/// What to do next.
#[derive(Debug)]
pub(super) enum Next {
    /// Write this.
    Batch(Arc<EventBatch>),
    /// Open the file again.
    Reopen,
    /// Nothing is there, by the deadline that was given.
    Nothing,
    /// All is written that was to be.
    End,
}

/// What an output has done since it was made.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct OutputReport {
    /// As its key in the configuration: `file`, `stdout`, `unixDatagram` or `http`.
    pub kind: &'static str,
    /// Its path or URL; empty for standard output.
    pub place: String,
    /// Events written.
    pub written: u64,
    /// Events dropped: the queue was full, the receiver refused them, or the end came first.
    pub dropped: u64,
    /// Attempts that failed.
    pub failures: u64,
    /// The last attempt failed.
    pub failing: bool,
    /// Bytes that wait.
    pub queued: usize,
}

impl Output {
    pub(super) fn new(spec: Spec, tls: EndpointTls, held: bool) -> Self {
        Self {
            spec,
            tls: ArcSwap::from_pointee(tls),
            waiting: Mutex::new(Waiting { held, ..Waiting::default() }),
            bell: Condvar::new(),
            notify: Notify::new(),
            came: AtomicU64::new(0),
            written: AtomicU64::new(0),
            dropped: AtomicU64::new(0),
            failures: AtomicU64::new(0),
            failing: AtomicBool::new(false),
            told_unfit: AtomicBool::new(false),
        }
    }

    /// Where it goes.
    pub fn spec(&self) -> &Spec {
        &self.spec
    }

    /// How TLS is spoken from now on.
    pub(super) fn set_tls(&self, tls: EndpointTls) {
        self.tls.store(Arc::new(tls));
    }

    pub(super) fn tls(&self) -> Arc<EndpointTls> {
        self.tls.load_full()
    }

    /// What it has done.
    pub fn report(&self) -> OutputReport {
        OutputReport {
            kind: self.spec.kind(),
            place: self.spec.place(),
            written: self.written.load(Ordering::Relaxed),
            dropped: self.dropped.load(Ordering::Relaxed),
            failures: self.failures.load(Ordering::Relaxed),
            failing: self.failing.load(Ordering::Relaxed),
            queued: self.lock().bytes,
        }
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        // Nothing in here panics half way through a change.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, change: impl FnOnce(&mut Waiting)) {
        change(&mut self.lock());
        self.bell.notify_all();
        self.notify.notify_one();
    }

    // ---- the side of the dispatcher and of control -----------------------------------------------

    /// Adds a batch, or drops it.
    pub(super) fn push(&self, batch: &Arc<EventBatch>) {
        self.came.fetch_add(batch.count, Ordering::Relaxed);
        let mut waiting = self.lock();
        if waiting.ends.is_some() {
            drop(waiting);
            self.dropped.fetch_add(batch.count, Ordering::Relaxed);
            return;
        }
        let bytes = waiting.bytes.saturating_add(batch.lines.len());
        // One alone always fits.
        if bytes > limits::EVENT_QUEUE_BYTES_MAX && !waiting.batches.is_empty() {
            let first = waiting.overflow == 0;
            waiting.overflow += batch.count;
            drop(waiting);
            self.dropped.fetch_add(batch.count, Ordering::Relaxed);
            if first {
                let output = &self.spec;
                tracing::warn!(%output, "events: more than this output takes: new ones are dropped");
            }
            return;
        }
        waiting.bytes = bytes;
        waiting.batches.push_back(Arc::clone(batch));
        drop(waiting);
        self.bell.notify_all();
        self.notify.notify_one();
    }

    /// What waits is to be written by then, and nothing more comes.
    pub(super) fn end(&self, deadline: Instant) {
        self.change(|waiting| waiting.ends = Some(deadline));
    }

    pub(super) fn reopen(&self) {
        self.change(|waiting| waiting.reopen = true);
    }

    pub(super) fn release(&self) {
        self.change(|waiting| waiting.held = false);
    }

    /// Waits until it has ended; not for ever.
    pub(super) fn wait_for_end(&self, deadline: Instant) {
        let mut waiting = self.lock();
        while !waiting.ended {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            let woken = self.bell.wait_timeout(waiting, left);
            waiting = woken.unwrap_or_else(PoisonError::into_inner).0;
        }
        if !waiting.ended {
            // Its thread is stuck in a call and will not say what became of the rest.
            let came = self.came.load(Ordering::Relaxed);
            let lost = came.saturating_sub(self.written.load(Ordering::Relaxed));
            self.dropped.store(lost, Ordering::Relaxed);
            drop(waiting);
            self.say_sums();
        }
    }

    /// The last line about it.
    fn say_sums(&self) {
        let OutputReport { written, dropped, .. } = self.report();
        let output = &self.spec;
        if dropped > 0 {
            tracing::warn!(%output, written, dropped, "events: the end of an output");
        } else {
            tracing::info!(%output, written, dropped, "events: the end of an output");
        }
    }

    // ---- the side of its thread or task ----------------------------------------------------------

    /// What to do now; `None`: wait.
    fn look(&self, waiting: &mut Waiting) -> Option<Next> {
        if std::mem::take(&mut waiting.reopen) {
            return Some(Next::Reopen);
        }
        let ending = waiting.ends;
        if waiting.held && ending.is_none() {
            return None;
        }
        if ending.is_some_and(|deadline| Instant::now() >= deadline) {
            return Some(Next::End);
        }
        match waiting.batches.pop_front() {
            Some(batch) => {
                waiting.bytes = waiting.bytes.saturating_sub(batch.lines.len());
                if waiting.batches.is_empty() && waiting.overflow > 0 {
                    let (output, dropped) = (&self.spec, std::mem::take(&mut waiting.overflow));
                    tracing::info!(%output, dropped, "events: this output has caught up");
                }
                Some(Next::Batch(batch))
            }
            None => ending.map(|_| Next::End),
        }
    }

    /// What to do next, for a thread.
    pub(super) fn next(&self) -> Next {
        let mut waiting = self.lock();
        loop {
            if let Some(next) = self.look(&mut waiting) {
                return next;
            }
            waiting = self.bell.wait(waiting).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// What to do next, for a task; [`Next::Nothing`] at the deadline.
    pub(super) async fn next_by(&self, deadline: Option<Instant>) -> Next {
        loop {
            let changed = self.notify.notified();
            let next = self.look(&mut self.lock());
            if let Some(next) = next {
                return next;
            }
            match deadline {
                None => changed.await,
                Some(deadline) => {
                    if tokio::time::timeout_at(deadline.into(), changed).await.is_err() {
                        return Next::Nothing;
                    }
                }
            }
        }
    }

    /// Waits before another attempt; not at all after a reopening, and shortly at the end. False: the
    /// end has come.
    pub(super) fn pause(&self, pause: Duration) -> bool {
        let until = Instant::now() + pause;
        let mut waiting = self.lock();
        loop {
            let (until, goes_on) = Self::pause_of(&waiting, until);
            let left = until.saturating_duration_since(Instant::now());
            if !goes_on || waiting.reopen || left.is_zero() {
                return goes_on;
            }
            let woken = self.bell.wait_timeout(waiting, left);
            waiting = woken.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// As [`Output::pause`], for a task.
    pub(super) async fn pause_task(&self, pause: Duration) -> bool {
        let until = Instant::now() + pause;
        loop {
            let changed = self.notify.notified();
            let (until, goes_on) = Self::pause_of(&self.lock(), until);
            if !goes_on || until <= Instant::now() {
                return goes_on;
            }
            let _ = tokio::time::timeout_at(until.into(), changed).await;
        }
    }

    fn pause_of(waiting: &Waiting, until: Instant) -> (Instant, bool) {
        match waiting.ends {
            None => (until, true),
            Some(deadline) => {
                let now = Instant::now();
                (until.min(now + limits::EVENT_RETRY_FIRST), now < deadline)
            }
        }
    }

    /// When it has to be done; `None`: it goes on.
    pub(super) fn ends(&self) -> Option<Instant> {
        self.lock().ends
    }

    /// Whether its file is to be opened again; it is then.
    pub(super) fn takes_reopen(&self) -> bool {
        std::mem::take(&mut self.lock().reopen)
    }

    /// Counts events that were written.
    pub(super) fn wrote(&self, events: u64) {
        self.written.fetch_add(events, Ordering::Relaxed);
    }

    /// Counts events that are lost.
    pub(super) fn lost(&self, events: u64) {
        self.dropped.fetch_add(events, Ordering::Relaxed);
    }

    /// Events that this output never takes: the first of them is told.
    pub(super) fn unfit(&self, events: u64, why: &str) {
        self.lost(events);
        if !self.told_unfit.swap(true, Ordering::Relaxed) {
            let output = &self.spec;
            tracing::warn!(%output, why, "events: not taken, and dropped; those to come are counted");
        }
    }

    /// An attempt has failed.
    pub(super) fn fails(&self, why: &str) {
        self.failures.fetch_add(1, Ordering::Relaxed);
        if !self.failing.swap(true, Ordering::Relaxed) {
            let output = &self.spec;
            tracing::error!(%output, why, "events: cannot be written; they wait in the queue");
        }
    }

    /// An attempt has succeeded.
    pub(super) fn works(&self) {
        if self.failing.swap(false, Ordering::Relaxed) {
            let dropped = self.dropped.load(Ordering::Relaxed);
            tracing::info!(output = %self.spec, dropped, "events: written again");
        }
    }

    /// Its thread or task ends; what is left is lost.
    pub(super) fn ended(&self) {
        let lost: u64 = self.lock().batches.drain(..).map(|batch| batch.count).sum();
        self.lost(lost);
        self.say_sums();
        self.change(|waiting| {
            waiting.bytes = 0;
            waiting.ended = true;
        });
    }
}
