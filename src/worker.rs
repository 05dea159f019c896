//! A core: one pinned thread, one event loop, and all that belongs to it alone.
//!
//! # Invariants
//! - Nothing in a [`Core`] is shared with another core but its counters and its mailbox.
//! - The three tasks of a core (mailbox, tick, one accept loop per listener) are not caught when
//!   they panic: without one of them the core is no core. Its thread then resets every connection
//!   it held, reports its death and ends; the control thread replaces it.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::ops::Range;
use std::os::fd::{OwnedFd, RawFd};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize};
use std::sync::mpsc::{Receiver, Sender, TryRecvError, channel};
use std::thread::JoinHandle;
use std::time::Instant;

use arc_swap::{ArcSwap, Cache};
use slab::Slab;
use tokio::sync::mpsc::UnboundedSender;
use tokio::sync::oneshot;

use crate::accept::{self, Switch};
use crate::config::limits;
use crate::config::snapshot::{Listener, ServiceState, Snapshot, Target, TargetState};
use crate::conn::account;
use crate::conn::admit::sources::Source;
use crate::conn::ending::{Cause, Ending, Step};
use crate::conn::listing::{self, Detail, Page};
use crate::conn::live::Live;
use crate::control::events::{EventBatch, EventSink};
use crate::io::pipe::PipePool;
use crate::io::system;
use crate::metrics::{Counters, PerCore};
use crate::rt::hot::HotSet;
use crate::rt::{self, Engine, Sock};

/// What all cores share with the control thread: read by cores, never waited for.
#[derive(Debug)]
pub struct Process {
    /// The published configuration.
    pub snapshot: Arc<ArcSwap<Snapshot>>,
    /// The counters of every core, by its index.
    pub counters: Vec<Arc<Counters>>,
    /// Most connections the limit of open files allows, over all cores.
    pub connections_max: AtomicU64,
    /// Most pipes a core may have at a time.
    pub pipes_per_core: usize,
    /// Where events go.
    pub events: EventSink,
    /// What tells the ids of this run from those of another.
    pub boot: u32,
    /// Whether and how to fail on purpose, for tests of debug builds.
    pub fault: Option<Fault>,
}

#[cfg(test)]
impl Process {
    /// One without cores.
    pub(crate) fn without_cores(snapshot: Snapshot) -> Self {
        let queue = std::sync::mpsc::sync_channel(1).0;
        Self {
            snapshot: Arc::new(ArcSwap::from_pointee(snapshot)),
            counters: Vec::new(),
            connections_max: AtomicU64::new(1),
            pipes_per_core: 0,
            events: EventSink::new(queue),
            boot: 0,
            fault: None,
        }
    }
}

/// A fault injected by `THALWEG_FAULT` in debug builds.
#[derive(Debug)]
pub struct Fault {
    /// True: the core's accept loop panics; false: the connection's task.
    pub in_core: bool,
    /// Connections still to come before it happens.
    pub countdown: AtomicUsize,
}

impl Fault {
    /// `connection-panic:N` or `core-panic:N`: at the Nth connection. Release builds know none.
    pub fn from_environment() -> Option<Self> {
        if !cfg!(debug_assertions) {
            return None;
        }
        let asked = std::env::var("THALWEG_FAULT").ok()?;
        let (what, at) = asked.split_once(':')?;
        let in_core = match what {
            "core-panic" => true,
            "connection-panic" => false,
            _ => return None,
        };
        Some(Self { in_core, countdown: AtomicUsize::new(at.parse().ok()?) })
    }
}

/// What the control thread tells a core.
#[derive(Debug)]
pub enum Command {
    /// Accept from this listening socket, which stays the control thread's, for this address. The
    /// services come along: a later reload may have taken them out of the snapshot before the core
    /// gets to its first accept.
    Listen(SocketAddr, RawFd, Option<Arc<Listener>>),
    /// Take what is queued, then let the socket go and answer [`Notice::Unlistened`].
    Unlisten(SocketAddr),
    /// Close the connections of a removed service when this many ticks have passed.
    CloseAfter(Arc<ServiceState>, u32),
    /// Cut every connection, with this cause.
    CutAll(Cause),
    /// Tell the live connections from this slot of the table on.
    List(usize, oneshot::Sender<Page>),
    /// Tell all there is to know of the connection of this number.
    Show(u64, oneshot::Sender<Option<Box<Detail>>>),
    /// Cut the connection of this number, and say whether there was one.
    Kill(u64, oneshot::Sender<bool>),
    /// Cut the connections to a target, with this cause.
    CutTarget(Arc<TargetState>, Cause),
    /// Cut the connections of a service, with this cause.
    CutService(Arc<ServiceState>, Cause),
    /// End as soon as no connection is left.
    Finish,
}

/// What a core tells the control thread.
#[derive(Debug)]
pub enum Notice {
    /// The core of this index listens no more on this address.
    Unlistened(usize, SocketAddr, RawFd),
    /// The core of this index has ended as it was told to.
    Finished(usize),
    /// Connections to this target fail one after the other.
    Failing(Arc<TargetState>),
    /// The core of this index has died; what its panic, or the system, said.
    Died(usize, String),
}

/// The control thread's handle to a core.
#[derive(Debug)]
pub struct Handle {
    commands: Sender<Command>,
    bell: system::Bell,
    /// The thread.
    pub thread: JoinHandle<()>,
}

impl Handle {
    /// Sends a command; one to a dead core is dropped, its death is reported apart.
    pub fn send(&self, command: Command) {
        if self.commands.send(command).is_ok() {
            self.bell.ring();
        }
    }
}

/// How a core is to be started.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Its index, from 0.
    pub index: usize,
    /// The CPU it is meant for.
    pub cpu: usize,
    /// Pin it there.
    pub pin: bool,
    /// What it runs on.
    pub engine: Engine,
}

/// Starts a core on a thread of its own.
///
/// # Errors
/// When the thread or its bell cannot be made.
pub fn start(
    plan: Plan,
    process: Arc<Process>,
    notices: UnboundedSender<Notice>,
) -> io::Result<Handle> {
    let (commands, mailbox) = channel();
    let bell = system::Bell::new()?;
    let heard = bell.try_clone()?;
    let name = format!("thalweg-{}", plan.cpu);
    let thread = std::thread::Builder::new()
        .name(name)
        .spawn(move || life(&plan, process, mailbox, heard, &notices))?;
    Ok(Handle { commands, bell, thread })
}

/// The thread of a core, from pinning to its end.
fn life(
    plan: &Plan,
    process: Arc<Process>,
    mailbox: Receiver<Command>,
    bell: system::Bell,
    notices: &UnboundedSender<Notice>,
) {
    system::block_signals();
    if plan.pin && !core_affinity::set_for_current(core_affinity::CoreId { id: plan.cpu }) {
        tracing::warn!(core = plan.index, cpu = plan.cpu, "cannot be pinned; running unpinned");
    }
    let (own_bell, hot) = match bell.try_clone().and_then(|own| Ok((own, HotSet::new()?))) {
        Ok(made) => made,
        Err(error) => {
            let _ = notices.send(Notice::Died(plan.index, error.to_string()));
            return;
        }
    };
    let core = Rc::new(Core::new(plan.index, process, notices.clone(), own_bell, hot));
    let bell = bell.into_fd();
    // The core must outlive a panic: it knows the connections that have to be told.
    let ran = catch_unwind(AssertUnwindSafe(|| {
        rt::block_on(plan.engine, run(Rc::clone(&core), mailbox, bell))
    }));
    let notice = match ran {
        Ok(Ok(())) => Notice::Finished(plan.index),
        Ok(Err(error)) => Notice::Died(plan.index, error.to_string()),
        Err(panic) => {
            core.bury();
            Notice::Died(plan.index, format!("panic: {}", rt::panic_text(panic.as_ref())))
        }
    };
    core.flush_events();
    // The control thread may be gone already when the process ends.
    let _ = notices.send(notice);
    // Tasks left in a dead runtime still point here.
    std::mem::forget(core);
}

/// One core's own things.
#[derive(Debug)]
pub struct Core {
    /// Its index, from 0.
    pub index: usize,
    /// What it shares.
    pub process: Arc<Process>,
    /// What it counts.
    pub counters: Arc<Counters>,
    /// The one buffer through which copied bytes pass; borrowed only between two waits.
    pub scratch: RefCell<Box<[u8]>>,
    /// The one buffer in which plaintext becomes records; as `scratch`.
    pub sealing: RefCell<Box<[u8]>>,
    /// Where plaintexts stand in `scratch`; only used between two waits.
    pub pieces: RefCell<Vec<Range<usize>>>,
    /// TLS handshakes with clients under way.
    pub handshakes: Cell<usize>,
    /// Clients that are being told why they were not admitted.
    pub farewells: Cell<usize>,
    /// Clients whose first bytes are not complete, by their source.
    pub peeks: RefCell<HashMap<Source, u32>>,
    /// Pipes for splicing.
    pub pipes: Rc<PipePool>,
    /// Busy streams.
    pub hot: Rc<HotSet>,
    /// The coarse clock, in ticks.
    pub now: Cell<u32>,
    /// Descriptor given up when there are none left, so that a waiting client can be refused.
    pub reserve: RefCell<Option<OwnedFd>>,
    /// True since the core last ran out of descriptors.
    pub short: Cell<bool>,
    live: RefCell<Slab<Rc<Live>>>,
    snapshot: RefCell<Cache<Arc<ArcSwap<Snapshot>>, Arc<Snapshot>>>,
    events: RefCell<EventBatch>,
    accepting: RefCell<HashMap<SocketAddr, Rc<Switch>>>,
    notices: UnboundedSender<Notice>,
    sequence: Cell<u64>,
    finishing: Cell<bool>,
    bell: system::Bell,
}

impl Core {
    fn new(
        index: usize,
        process: Arc<Process>,
        notices: UnboundedSender<Notice>,
        bell: system::Bell,
        hot: Rc<HotSet>,
    ) -> Self {
        let counters = process.counters.get(index).cloned().unwrap_or_default();
        // The successor of a core that died goes on where that one stopped: names stay unique.
        let sequence = Cell::new(counters.accepted.get());
        Self {
            index,
            counters,
            scratch: RefCell::new(vec![0; limits::SCRATCH_BYTES].into_boxed_slice()),
            sealing: RefCell::new(vec![0; limits::SEALING_BYTES].into_boxed_slice()),
            pieces: RefCell::default(),
            handshakes: Cell::new(0),
            farewells: Cell::new(0),
            peeks: RefCell::default(),
            pipes: PipePool::new(process.pipes_per_core),
            hot,
            now: Cell::new(0),
            reserve: RefCell::new(system::reserve_descriptor()),
            short: Cell::new(false),
            live: RefCell::default(),
            snapshot: RefCell::new(Cache::new(Arc::clone(&process.snapshot))),
            events: RefCell::default(),
            accepting: RefCell::default(),
            notices,
            sequence,
            finishing: Cell::new(false),
            bell,
            process,
        }
    }

    /// The published snapshot, as this core last saw it or newer. One atomic load when unchanged.
    pub fn with_snapshot<T>(&self, look: impl FnOnce(&Arc<Snapshot>) -> T) -> T {
        look(self.snapshot.borrow_mut().load())
    }

    /// A number no other connection of this core has or had.
    pub fn next_sequence(&self) -> u64 {
        let sequence = self.sequence.get();
        self.sequence.set(sequence + 1);
        sequence
    }

    /// Takes a connection into the table that the sweep goes over.
    pub fn enter(&self, live: &Rc<Live>) {
        live.key.set(self.live.borrow_mut().insert(Rc::clone(live)));
        self.counters.live.add(1);
        if let Some(service) = live.known_service() {
            account::arrives(self, service);
        }
    }

    /// What this core counts of a service or target.
    pub fn its<'a, T: Default>(&self, counts: &'a PerCore<T>) -> Option<&'a T> {
        counts.of(self.index)
    }

    /// Takes it out again.
    pub fn leave(&self, live: &Live) {
        let mut table = self.live.borrow_mut();
        if table.try_remove(live.key.get()).is_some() {
            self.counters.live.sub(1);
        }
        if self.finishing.get() && table.is_empty() {
            self.bell.ring();
        }
    }

    /// Adds an event line for a connection.
    pub fn write_event(&self, write: impl FnOnce(&mut Vec<u8>)) {
        if self.process.events.is_on() {
            let full = self.events.borrow_mut().add(write);
            if full {
                self.flush_events();
            }
        }
    }

    fn flush_events(&self) {
        let batch = self.events.take();
        let count = batch.count;
        let dropped = self.process.events.send(batch);
        self.counters.events.add(count - dropped);
        self.counters.events_dropped.add(dropped);
    }

    /// Ends one core's connections after its loop died: nobody will serve them any more, and the
    /// dead runtime keeps their descriptors open.
    fn bury(&self) {
        let mut table = self.live.take();
        for live in table.drain() {
            live.reset_both();
            account::close(self, &live, Ending::us(Step::Relay, Cause::Panic));
        }
        self.counters.live.set(0);
        self.hot.bury();
    }

    /// Tells every connection to end.
    fn cut_all(&self, cause: Cause) {
        self.cut_those(cause, |_| true);
    }

    /// Tells some connections to end.
    fn cut_those(&self, cause: Cause, which: impl Fn(&Live) -> bool) {
        for (_, live) in self.live.borrow().iter().filter(|(_, live)| which(live)) {
            live.cut(cause);
        }
    }

    /// Looks at so many slots of the table of connections from `from` on; where to go on.
    pub fn look<T>(
        &self,
        from: usize,
        slots: usize,
        look: impl Fn(&Live) -> T,
    ) -> (Vec<T>, Option<usize>) {
        let table = self.live.borrow();
        let to = from.saturating_add(slots);
        let seen = (from..to.min(table.capacity())).filter_map(|slot| table.get(slot));
        let seen = seen.map(|live| look(live)).collect();
        (seen, (to < table.capacity()).then_some(to))
    }

    /// All there is to know of the connection of this number.
    fn show(&self, sequence: u64) -> Option<Box<Detail>> {
        let table = self.live.borrow();
        let live = table.iter().find(|(_, live)| live.sequence == sequence);
        live.map(|(_, live)| Box::new(listing::detail(self, live)))
    }

    /// Tells one connection to end; false if there is none of this number.
    fn kill(&self, sequence: u64) -> bool {
        let table = self.live.borrow();
        let live = table.iter().find(|(_, live)| live.sequence == sequence);
        if let Some((_, live)) = live {
            live.cut(Cause::Killed);
        }
        live.is_some()
    }

    /// Tells the control thread of a target that fails.
    pub fn fails(&self, target: &Target) {
        let _ = self.notices.send(Notice::Failing(Arc::clone(&target.state)));
    }

    /// Tells the control thread that a listener is no longer used here.
    pub fn unlistened(&self, addr: SocketAddr, fd: RawFd) {
        let _ = self.notices.send(Notice::Unlistened(self.index, addr, fd));
    }
}

/// The core's own tasks. Ends when told to and no connection is left.
async fn run(core: Rc<Core>, mailbox: Receiver<Command>, bell: OwnedFd) {
    let Ok(bell) = Sock::new(bell) else { return };
    if core.hot.start().is_err() {
        return;
    }
    rt::spawn(tick(Rc::clone(&core)));
    loop {
        for _ in 0..limits::COMMANDS_PER_TURN {
            match mailbox.try_recv() {
                Ok(command) => obey(&core, command),
                Err(TryRecvError::Empty) => {
                    let _ = bell.readable().await;
                    system::silence(&bell);
                }
                Err(TryRecvError::Disconnected) => return,
            }
            if core.finishing.get() && core.live.borrow().is_empty() {
                return;
            }
        }
        // Many commands at once: let connections run in between.
        rt::turn().await;
    }
}

fn obey(core: &Rc<Core>, command: Command) {
    match command {
        Command::Listen(addr, fd, listener) => {
            let switch = Rc::new(Switch::default());
            core.accepting.borrow_mut().insert(addr, Rc::clone(&switch));
            rt::spawn(accept::run(Rc::clone(core), addr, fd, listener, switch));
        }
        Command::Unlisten(addr) => {
            let switch = core.accepting.borrow_mut().remove(&addr);
            if let Some(switch) = switch {
                switch.turn_off();
            }
        }
        Command::CloseAfter(state, ticks) => {
            let at = core.now.get().saturating_add(ticks);
            for (_, live) in core.live.borrow().iter() {
                live.remove(&state, at);
            }
        }
        Command::CutAll(cause) => core.cut_all(cause),
        // Whoever asked may have gone.
        Command::List(from, answer) => drop(answer.send(listing::page(core, from))),
        Command::Show(sequence, answer) => drop(answer.send(core.show(sequence))),
        Command::Kill(sequence, answer) => drop(answer.send(core.kill(sequence))),
        Command::CutTarget(state, cause) => core.cut_those(cause, |live| live.is_with(&state)),
        Command::CutService(state, cause) => {
            core.cut_those(cause, |live| live.belongs_to(&state));
        }
        Command::Finish => core.finishing.set(true),
    }
}

/// The coarse clock: limits on time, the heartbeat, events not yet handed over.
async fn tick(core: Rc<Core>) {
    let mut last = Instant::now();
    let mut swept = Round::default();
    loop {
        rt::sleep(limits::TICK).await;
        let late = last.elapsed().saturating_sub(limits::TICK);
        last = Instant::now();
        let late_us = u64::try_from(late.as_micros()).unwrap_or(u64::MAX);
        core.counters.lag_max_us.max(late_us);
        core.counters.lag_us.add(late_us);
        let passed = late.as_millis() / limits::TICK.as_millis() + 1;
        let passed = u32::try_from(passed).unwrap_or(u32::MAX).min(limits::TICKS_JUMP_MAX);
        core.now.set(core.now.get().saturating_add(passed));
        core.counters.ticks.add(1);
        core.counters.pipes_lent.set(core.pipes.lent() as u64);
        // A snapshot that nobody accepts under must not be held for ever.
        core.with_snapshot(|_| ());
        core.flush_events();
        swept = sweep(&core, swept);
        if core.finishing.get() && core.live.borrow().is_empty() {
            return;
        }
    }
}

/// How far a round of the sweep has come.
#[derive(Debug, Default, Clone, Copy)]
struct Round {
    /// The slot to go on from.
    at: usize,
    /// Directions so far whose receiver does not keep up.
    waiting: u64,
}

/// Looks at a share of the connections, where the last look ended; returns where to go on.
fn sweep(core: &Core, Round { at: from, mut waiting }: Round) -> Round {
    let live = core.live.borrow();
    let slots = live.capacity().min(live.iter().next_back().map_or(0, |(key, _)| key + 1));
    let share = (slots / limits::SWEEP_TICKS).max(limits::SWEEP_MIN);
    let to = (from + share).min(slots);
    let interval = core.process.events.interval();
    for slot in from..to {
        if let Some(live) = live.get(slot) {
            live.sweep(core.now.get());
            account::report(core, live);
            waiting += live.waiting();
            if interval != 0 {
                account::periodic(core, live, interval);
            }
        }
    }
    if to < slots {
        return Round { at: to, waiting };
    }
    core.counters.waiting.set(waiting);
    Round::default()
}

/// A listener's services as one core holds them: connections clone the `Rc`, so that cores do not
/// fight over the count of one `Arc`.
pub type ListenerRef = Rc<Arc<Listener>>;
