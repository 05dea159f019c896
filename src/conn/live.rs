//! A live connection as its core sees it from outside its task: what the sweep reads, what the
//! event at its end is made of, and the means to cut it.

use std::cell::{Cell, Ref, RefCell};
use std::net::{IpAddr, SocketAddr};
use std::os::fd::RawFd;
use std::sync::Arc;
use std::task::Waker;
use std::time::Instant;

use crate::config::limits;
use crate::config::snapshot::{Service, ServiceState, Target, TargetState};
use crate::conn::ending::Cause;
use crate::conn::{account, pick};
use crate::io::socket::{self, RawAddr};
use crate::io::system;
use crate::wire::proxy_header::{Header, Tlvs};
use crate::worker::{Core, ListenerRef};

/// One connection. Belongs to its core; the task and the table share it.
#[derive(Debug)]
pub struct Live {
    /// Its slot in the core's table.
    pub key: Cell<usize>,
    /// Its number on this core.
    pub sequence: u64,
    /// The listener it came to, as it was then.
    pub listener: ListenerRef,
    /// Its service, as an index into the listener's; see [`Live::service`].
    service: Cell<u32>,
    /// Its pool, as an index into the service's; `u32::MAX` before a rule was chosen.
    pub pool: Cell<u32>,
    /// Who connected; for the client see [`Live::remote`].
    pub peer: RawAddr,
    /// When it was accepted.
    pub born: Instant,
    /// From accept until a target was connected, in ms.
    pub overhead_ms: Cell<u32>,
    /// Which target, as an index into the pool; `u32::MAX` before one was tried.
    pub target: Cell<u32>,
    /// Attempts that failed before the last.
    pub retries: Cell<u32>,
    /// Bytes from the client handed to the target.
    pub up: Cell<u64>,
    /// Bytes from the target handed to the client.
    pub down: Cell<u64>,
    /// How much of `up` and `down` has not been counted yet. Halves, so that an idle connection does
    /// not need more memory for it.
    uncounted: [Cell<u32>; 2],
    /// What was learnt of it on the way; boxed, for most plain connections say nothing.
    seen: RefCell<Option<Box<Seen>>>,
    /// Bits of [`Live::SPLICED`], [`Live::HALF_CLOSED`], …
    flags: Cell<u16>,
    /// Directions in which bytes wait for a receiver, and, in the upper half, those that are held back
    /// by a limit on bandwidth.
    stuck: Cell<u8>,
    last: Cell<u32>,
    /// When its peers were last looked at, in ticks.
    looked: Cell<u32>,
    close_at: Cell<u32>,
    cut: Cell<Option<Cause>>,
    waker: RefCell<Option<Waker>>,
    client: Cell<RawFd>,
    upstream: Cell<RawFd>,
}

/// What a connection says of itself, for its event.
#[derive(Debug, Default, Clone)]
pub struct Seen {
    /// The name it asked for.
    pub name: Option<Box<str>>,
    /// The ALPN protocol agreed on, or the first one offered where TLS passes through.
    pub alpn: Option<Box<[u8]>>,
    /// The TLS version agreed on.
    pub version: Option<&'static str>,
    /// The cipher suite agreed on.
    pub cipher: Option<&'static str>,
    /// The subject of the client's certificate.
    pub subject: Option<Box<str>>,
    /// Who the client is, as a trusted proxy tells.
    pub told: Option<Box<Header>>,
    /// The detail of what went wrong.
    pub note: Option<Box<str>>,
    /// The tick from which on its next periodic event is due; 0: that is not known yet.
    report_due: u32,
    /// Services that were removed before it was known whether it belongs to them, and until which
    /// tick it may live if so.
    removed: Vec<(Arc<ServiceState>, u32)>,
}

const NONE: RawFd = -1;

/// One direction that is held back, in [`Live::stuck`].
const HELD_BACK: u8 = 16;

/// A number for what shall not happen to all connections at once.
fn spread(core: &Core, sequence: u64) -> u64 {
    pick::scramble(sequence ^ (core.index as u64) << 40 ^ u64::from(core.process.boot) << 8)
}

impl Live {
    /// At least one direction was spliced.
    pub const SPLICED: u16 = 1;
    /// One direction has ended.
    pub const HALF_CLOSED: u16 = 2;
    /// The sockets are guarded against dead peers.
    const GUARDED: u16 = 4;
    /// The upstream is a TCP socket.
    pub const TCP: u16 = 8;
    /// Counted in the service's number of live connections.
    pub const COUNTED: u16 = 16;
    /// At least one side speaks TLS with us.
    pub const TLS: u16 = 32;
    /// The service was chosen.
    const ROUTED: u16 = 64;
    /// Holds one of its target's connections.
    const TAKEN: u16 = 128;
    /// Its target has been told that it answered.
    const ANSWERED: u16 = 256;
    /// A target was reached.
    pub const REACHED: u16 = 512;
    /// Its service was removed, and asks for its end.
    const REMOVED: u16 = 1024;

    /// A connection just accepted.
    pub fn new(core: &Core, listener: &ListenerRef, peer: RawAddr) -> Self {
        let now = core.now.get();
        let sequence = core.next_sequence();
        Self {
            key: Cell::new(usize::MAX),
            sequence,
            listener: ListenerRef::clone(listener),
            service: Cell::new(0),
            pool: Cell::new(u32::MAX),
            peer,
            born: Instant::now(),
            overhead_ms: Cell::new(0),
            target: Cell::new(u32::MAX),
            retries: Cell::new(0),
            up: Cell::new(0),
            down: Cell::new(0),
            uncounted: [const { Cell::new(0) }; 2],
            seen: RefCell::new(None),
            flags: Cell::new(if listener.is_shared() { 0 } else { Self::ROUTED }),
            stuck: Cell::new(0),
            last: Cell::new(now),
            looked: Cell::new(now),
            close_at: Cell::new(listener.first.ticks.end_of_life(now, spread(core, sequence))),
            cut: Cell::new(None),
            waker: RefCell::new(None),
            client: Cell::new(NONE),
            upstream: Cell::new(NONE),
        }
    }

    /// Its service. Of a listener that several share it is the first until one was chosen.
    pub fn service(&self) -> &Arc<Service> {
        self.listener.service(self.service.get())
    }

    /// The service, once it is certain.
    pub fn known_service(&self) -> Option<&Arc<Service>> {
        self.has(Self::ROUTED).then(|| self.service())
    }

    /// The service and the pool were chosen.
    pub fn routed(&self, core: &Core, service: u32, pool: u32) {
        if !self.has(Self::ROUTED) {
            self.set(Self::ROUTED);
            self.service.set(service);
            account::arrives(core, self.service());
            let ticks = &self.service().ticks;
            let spread = spread(core, self.sequence);
            self.close_at.set(ticks.end_of_life(core.now.get(), spread));
            let removed = self.seen.borrow().as_ref().map(|seen| seen.removed.clone());
            for (state, tick) in removed.into_iter().flatten() {
                if self.belongs_to(&state) {
                    self.close_at(tick);
                }
            }
        }
        self.pool.set(pool);
    }

    /// The target of the pool was chosen, and one of its connections taken.
    pub fn takes(&self, target: usize) {
        self.target.set(u32::try_from(target).unwrap_or(u32::MAX));
        self.set(Self::TAKEN);
    }

    /// Gives the target's connection back, if it has not been.
    pub fn gives_back(&self) {
        if self.has(Self::TAKEN) {
            self.clear(Self::TAKEN);
            if let Some(target) = self.chosen() {
                target.release();
            }
        }
    }

    /// The target, once one was chosen.
    pub fn chosen(&self) -> Option<&Target> {
        let pool = self.service().pool(self.pool.get())?;
        pool.targets.get(usize::try_from(self.target.get()).ok()?)
    }

    /// Counts the first bytes from the target for it, once: what it sends on a connection of long ago
    /// says nothing of new ones.
    pub fn credit(&self) {
        if self.down.get() > 0 && !self.has(Self::ANSWERED) {
            self.set(Self::ANSWERED);
            if let Some(target) = self.chosen().filter(|target| target.failures.is_some()) {
                target.state.answered();
            }
        }
    }

    /// Whether it is connected to the target with this state.
    pub fn is_with(&self, state: &Arc<TargetState>) -> bool {
        self.upstream.get() != NONE
            && self.chosen().is_some_and(|target| Arc::ptr_eq(&target.state, state))
    }

    /// Where the client comes from; `None` for a Unix socket.
    pub fn source(&self) -> Option<IpAddr> {
        self.remote().map(|addr| addr.ip().to_canonical())
    }

    /// The client: as told by a proxy that is trusted, else who connected.
    pub fn remote(&self) -> Option<SocketAddr> {
        let seen = self.seen.borrow();
        let told = seen.as_ref().and_then(|seen| seen.told.as_ref());
        told.and_then(|told| told.source).or_else(|| self.peer.get())
    }

    /// The proxy that told who the client is, if one did.
    pub fn proxy(&self) -> Option<SocketAddr> {
        let seen = self.seen.borrow();
        let told = seen.as_ref().and_then(|seen| seen.told.as_ref());
        told.and_then(|told| told.source).and_then(|_| self.peer.get())
    }

    /// What a proxy told beyond addresses has been passed on: it need not be kept.
    pub fn forget_tlvs(&self) {
        if let Some(told) = self.seen.borrow_mut().as_mut().and_then(|seen| seen.told.as_mut()) {
            told.tlvs = Tlvs::default();
        }
    }

    /// Remembers something for the event.
    pub fn see(&self, what: impl FnOnce(&mut Seen)) {
        what(self.seen.borrow_mut().get_or_insert_default());
    }

    /// Remembers the detail of what went wrong; the last one stands.
    pub fn note(&self, text: &str) {
        self.see(|seen| seen.note = Some(text.into()));
    }

    /// What went wrong with one target is no matter of the next.
    pub fn forget_note(&self) {
        if let Some(seen) = self.seen.borrow_mut().as_mut() {
            seen.note = None;
        }
    }

    /// Its service was removed; one that has not been chosen yet may still turn out to be it.
    pub fn remove(&self, state: &Arc<ServiceState>, tick: u32) {
        if self.belongs_to(state) {
            self.close_at(tick);
        } else if !self.has(Self::ROUTED)
            && self.listener.services().any(|(_, service)| Arc::ptr_eq(&service.state, state))
        {
            self.see(|seen| seen.removed.push((Arc::clone(state), tick)));
        }
    }

    /// Whether its periodic event is due; if so, the next one is in `interval` ticks. The first one comes
    /// after half of it to all of it, so that those of many connections do not come at once.
    pub fn report_is_due(&self, core: &Core, interval: u32) -> bool {
        let now = core.now.get();
        let due = self.seen.borrow().as_ref().map_or(0, |seen| seen.report_due);
        // A reload may have made the interval shorter.
        if due != 0 && now < due && due - now <= interval {
            return false;
        }
        let earlier = spread(core, self.sequence) % (u64::from(interval / 2) + 1);
        let first = interval - u32::try_from(earlier).unwrap_or(0);
        let is_due = due != 0 && now >= due;
        let next = now.saturating_add(if is_due { interval } else { first.max(1) });
        self.see(|seen| seen.report_due = next);
        is_due
    }

    /// Resets the target's socket, for a task that can no longer do it in order.
    pub fn reset_upstream(&self) {
        if self.upstream.get() != NONE {
            socket::reset(self.upstream.get());
        }
    }

    /// What was learnt.
    pub fn seen(&self) -> Ref<'_, Option<Box<Seen>>> {
        self.seen.borrow()
    }

    /// Sets one of the flags.
    pub fn set(&self, flag: u16) {
        self.flags.set(self.flags.get() | flag);
    }

    /// Clears one of the flags.
    pub fn clear(&self, flag: u16) {
        self.flags.set(self.flags.get() & !flag);
    }

    /// Whether the flag is set.
    pub fn has(&self, flag: u16) -> bool {
        self.flags.get() & flag != 0
    }

    /// Remembers the sockets, while they are open.
    pub fn holds(&self, client: RawFd, upstream: RawFd) {
        self.client.set(client);
        self.upstream.set(upstream);
    }

    /// Forgets the sockets, before they are closed.
    pub fn releases(&self) {
        self.holds(NONE, NONE);
    }

    /// The client's socket, while it is open.
    pub fn client(&self) -> Option<RawFd> {
        Some(self.client.get()).filter(|fd| *fd != NONE)
    }

    /// The target's socket, while it is open.
    pub fn upstream(&self) -> Option<RawFd> {
        Some(self.upstream.get()).filter(|fd| *fd != NONE)
    }

    /// Whether a target was reached.
    pub fn is_connected(&self) -> bool {
        self.upstream.get() != NONE
    }

    /// How long no bytes have moved, in ticks.
    pub fn idle_ticks(&self, now: u32) -> u32 {
        now.saturating_sub(self.last.get())
    }

    /// So many bytes have been handed on, of those from the client (`up`) or from the target.
    pub fn moved(&self, core: &Core, up: bool, n: usize) {
        let [of_up, of_down] = &self.uncounted;
        let (total, uncounted) = if up { (&self.up, of_up) } else { (&self.down, of_down) };
        total.set(total.get().wrapping_add(n as u64));
        match u32::try_from(n).ok().and_then(|n| uncounted.get().checked_add(n)) {
            Some(sum) => uncounted.set(sum),
            // Gigabytes since the last sweep.
            None if up => account::add(core, self, n as u64, 0),
            None => account::add(core, self, 0, n as u64),
        }
        self.touch(core);
    }

    /// Bytes up and down that have not been counted yet; from now on they have been.
    pub fn take_uncounted(&self) -> (u64, u64) {
        let [up, down] = &self.uncounted;
        (up.take().into(), down.take().into())
    }

    /// Directions that wait for their receiver.
    pub fn waiting(&self) -> u64 {
        u64::from(self.stuck.get() % HELD_BACK)
    }

    /// Bytes moved: the idle limit starts anew.
    pub fn touch(&self, core: &Core) {
        self.last.set(core.now.get());
    }

    /// A direction waits for its receiver (`true`) or waits no more.
    pub fn stuck(&self, waits: bool) {
        let stuck = self.stuck.get();
        self.stuck.set(if waits { stuck + 1 } else { stuck.saturating_sub(1) });
    }

    /// A direction waits for its turn at a limit on bandwidth (`true`) or waits no more.
    pub fn held_back(&self, waits: bool) {
        let stuck = self.stuck.get();
        self.stuck.set(if waits { stuck + HELD_BACK } else { stuck.saturating_sub(HELD_BACK) });
    }

    /// Until when it may live, in ticks.
    pub fn closes_at(&self) -> Option<u32> {
        Some(self.close_at.get()).filter(|tick| *tick != u32::MAX)
    }

    /// Asks the task to end, for this cause; the first cause stands.
    pub fn cut(&self, cause: Cause) {
        if self.cut.get().is_none() {
            self.cut.set(Some(cause));
        }
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }

    /// Why the task was asked to end, if it was. Otherwise whoever asks is woken when it is.
    pub fn is_cut(&self, waker: &Waker) -> Option<Cause> {
        let cut = self.cut.get();
        if cut.is_none() {
            let mut slot = self.waker.borrow_mut();
            if slot.as_ref().is_none_or(|known| !known.will_wake(waker)) {
                *slot = Some(waker.clone());
            }
        }
        cut
    }

    /// Whether the task was asked to end while it already does.
    pub fn cut_asked(&self) -> bool {
        self.cut.get().is_some_and(|cause| cause == Cause::Drain)
    }

    /// Whether it was accepted for the service with this state.
    pub fn belongs_to(&self, state: &Arc<ServiceState>) -> bool {
        self.known_service().is_some_and(|service| Arc::ptr_eq(&service.state, state))
    }

    /// Its service was removed: it may live until this tick.
    pub fn close_at(&self, tick: u32) {
        if tick < self.close_at.get() {
            self.close_at.set(tick);
            self.set(Self::REMOVED);
        }
    }

    /// Checks the limits on time, and what is too dear to do for every short connection.
    pub fn sweep(&self, now: u32) {
        self.credit();
        let half_closed = self.has(Self::HALF_CLOSED);
        let ticks = &self.service().ticks;
        let stuck = self.stuck.get() % HELD_BACK;
        if self.stuck.get() >= HELD_BACK {
            // It is we who let it wait.
            self.last.set(now);
        }
        let limit = if half_closed { ticks.half_closed } else { ticks.idle };
        let idle = self.idle_ticks(now);
        if now >= self.close_at.get() && self.close_at.get() != u32::MAX {
            self.cut(if self.has(Self::REMOVED) { Cause::Removed } else { Cause::Lifetime });
        } else if idle >= limit {
            self.cut(match (stuck, half_closed) {
                (1.., _) => Cause::Stalled,
                (0, true) => Cause::HalfClosed,
                (0, false) => Cause::Idle,
            });
        }
        let upstream = self.upstream.get();
        if upstream == NONE || !self.has(Self::TCP) {
            return;
        }
        let sockets = [self.client.get(), upstream];
        if !self.has(Self::GUARDED) {
            self.set(Self::GUARDED);
            let limit = self.service().spec.timeouts.idle;
            for fd in sockets {
                system::with_fd(fd, |fd| socket::guard(fd, limit));
            }
        }
        let dead_ticks = limits::DEAD_AFTER.as_millis() / limits::TICK.as_millis();
        if u128::from(idle) >= dead_ticks
            && now.saturating_sub(self.looked.get()) >= limits::DEAD_CHECK_TICKS
        {
            self.looked.set(now);
            if sockets.iter().any(|fd| system::with_fd(*fd, socket::is_dead)) {
                self.cut(Cause::Dead);
            }
        }
        // After one direction has ended nothing is read on that side, so a reset of it would go
        // unseen until the other side sends.
        if half_closed
            && idle > 0
            && sockets.iter().any(|fd| system::with_fd(*fd, socket::is_reset))
        {
            self.cut(Cause::Reset);
        }
    }

    /// Resets both sockets, for a core that can no longer do it in order.
    pub fn reset_both(&self) {
        for fd in [self.client.replace(NONE), self.upstream.replace(NONE)] {
            if fd != NONE {
                socket::reset(fd);
                system::close_orphan(fd);
            }
        }
    }
}
