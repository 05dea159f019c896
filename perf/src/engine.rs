//! The load and the backend, in one thread around one epoll: connections are slots, each with a role.
//!
//! Both ends of every connection live here, so the proxy in between has a CPU of its own and every
//! byte that it loses, adds or misdirects is seen: sizes are exact, each answer must carry the eight
//! bytes that mark its request, and a connection may end only when it is meant to. The first
//! deviation ends the run with an error; a broken proxy never looks like a fast one.

mod bulk;
mod messages;

use std::fmt::Display;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use crate::hello;
use crate::histogram::Histogram;
use crate::secure::{Client, Session};
use crate::sys::{self, Epoll, Event};
use crate::work::{Direction, Layer, Mode, Work};

/// The bytes that mark a request, and that its answer must repeat; fewer when one of them is shorter.
const MARK: usize = 8;
/// What one `send` of a bulk source is given, and the least size of the receive buffer.
const CHUNK: usize = 256 << 10;
/// What one `recv` of a bulk sink may throw away.
const GULP: usize = 1 << 20;
/// What one `recv` of encrypted bytes may take; not more than fits the receive buffer decrypted.
const WIRE: usize = 128 << 10;
/// Connections that may be in the act of connecting at once.
const OPENING_MAX: usize = 64;
const LISTENER: u64 = u64::MAX;

/// What a connection does.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Role {
    /// Sends requests and times the answers.
    Asker,
    /// Answers requests.
    Answerer,
    /// Sends without end.
    Source,
    /// Receives and discards.
    Sink,
}

struct Slot {
    fd: Option<OwnedFd>,
    /// Of a client whose proxy ends TLS.
    session: Option<Box<Session>>,
    /// Distinguishes the connections that have used this slot, so that a late event is not misread.
    generation: u32,
    role: Role,
    connecting: bool,
    finished: bool,
    sent: usize,
    to_send: usize,
    got: usize,
    mark_out: [u8; MARK],
    mark_in: [u8; MARK],
    serial: u32,
    since: Instant,
    done: u64,
}

/// What has happened since the engine was made.
#[derive(Clone, Copy, Default)]
pub struct Totals {
    /// Exchanges (rr, idle) or whole connections (crr) that ended as they should.
    pub operations: u64,
    /// Of the connections among them, those that began with a full handshake.
    pub full: u64,
    /// Those that began with a resumed one.
    pub resumed: u64,
    /// Bytes that the bulk sinks took.
    pub received: u64,
    /// Bytes that the bulk sources gave to the kernel.
    pub sent: u64,
}

/// Client and backend of one work.
pub struct Engine {
    work: Work,
    mark: usize,
    secure: Option<Client>,
    target: Option<SocketAddr>,
    listener: Option<TcpListener>,
    epoll: Epoll,
    slots: Vec<Slot>,
    free: Vec<usize>,
    request: Vec<u8>,
    out: Vec<u8>,
    scratch: Vec<u8>,
    wire: Vec<u8>,
    open: usize,
    opening: usize,
    asked_for: usize,
    stopping: bool,
    totals: Totals,
    latency: Histogram,
}

impl Engine {
    /// Prepares a client of `target` and a backend behind `listener`; either may be missing.
    pub fn new(
        work: Work,
        target: Option<SocketAddr>,
        listener: Option<TcpListener>,
    ) -> Result<Self, String> {
        let epoll = Epoll::new(256).map_err(|e| format!("epoll: {e}"))?;
        if let Some(listener) = &listener {
            epoll.add(listener.as_fd(), LISTENER, sys::IN).map_err(|e| format!("epoll: {e}"))?;
        }
        let secure = match work.layer {
            Layer::Tls { version, resumed } => Some(Client::new(version, resumed)?),
            Layer::Plain | Layer::Hello => None,
        };
        let request = match work.layer {
            Layer::Hello => hello::bytes().to_vec(),
            _ => vec![0x5a; work.request()],
        };
        let room = CHUNK.max(work.size + 1);
        Ok(Self {
            work,
            mark: MARK.min(work.request() - work.mark_at()).min(work.answer()),
            wire: vec![0; if secure.is_some() { WIRE } else { 0 }],
            secure,
            target,
            listener,
            epoll,
            slots: Vec::new(),
            free: Vec::new(),
            request,
            out: vec![0x5a; room],
            scratch: vec![0; room],
            open: 0,
            opening: 0,
            asked_for: 0,
            stopping: false,
            totals: Totals::default(),
            latency: Histogram::default(),
        })
    }

    /// What has happened so far.
    pub fn totals(&self) -> Totals {
        self.totals
    }

    /// The latencies since [`Engine::begin_window`].
    pub fn latency(&self) -> &Histogram {
        &self.latency
    }

    /// Connections that are open now, both ends counted.
    pub fn open(&self) -> usize {
        self.open
    }

    /// Starts the measured window: latencies and the progress of each connection count from here.
    ///
    /// Not so for bulk: with megabytes in flight on each of many connections, a slow but sound proxy
    /// may need longer than a short window to come round to all of them. There the warm-up counts.
    pub fn begin_window(&mut self) {
        self.latency.clear();
        if self.work.mode != Mode::Bulk {
            self.slots.iter_mut().for_each(|slot| slot.done = 0);
        }
    }

    /// Clients that have got nothing done (see [`Engine::begin_window`]).
    pub fn starved(&self) -> usize {
        let client = match (self.work.mode, self.work.direction) {
            (Mode::Bulk, Direction::Up) => Role::Source,
            (Mode::Bulk, Direction::Down) => Role::Sink,
            _ => Role::Asker,
        };
        self.slots.iter().filter(|s| s.fd.is_some() && s.role == client && s.done == 0).count()
    }

    /// Asks for `count` further client connections; they are opened while the engine is pumped.
    pub fn add_clients(&mut self, count: usize) {
        self.asked_for += count;
    }

    /// Works until `deadline`, or until `enough` says so, and returns whether it did.
    pub fn pump(
        &mut self,
        deadline: Instant,
        enough: impl Fn(&Self) -> bool,
    ) -> Result<bool, String> {
        let mut events: Vec<Event> = Vec::new();
        loop {
            while self.asked_for > 0 && self.opening < OPENING_MAX {
                self.asked_for -= 1;
                self.open_client()?;
            }
            if enough(self) {
                return Ok(true);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(false);
            }
            self.epoll.wait(left, &mut events).map_err(|e| format!("epoll: {e}"))?;
            for event in &events {
                self.handle(*event)?;
            }
        }
    }

    /// Lets every connection come to its proper end: no new requests, no more bulk data.
    pub fn stop(&mut self) -> Result<(), String> {
        self.stopping = true;
        self.asked_for = 0;
        for index in 0..self.slots.len() {
            let slot = &self.slots[index];
            if slot.fd.is_none() || slot.connecting {
                continue;
            }
            match slot.role {
                Role::Source => self.finish_source(index)?,
                Role::Asker if self.work.mode == Mode::Idle && slot.finished => self.close(index),
                _ => {}
            }
        }
        Ok(())
    }

    fn handle(&mut self, event: Event) -> Result<(), String> {
        if event.token == LISTENER {
            return self.accept_some();
        }
        let index = (event.token & u64::from(u32::MAX)) as usize;
        let generation = (event.token >> 32) as u32;
        let current = self.slots.get(index).is_some_and(|slot| slot.generation == generation);
        if !current || self.slots[index].fd.is_none() {
            return Ok(());
        }
        match self.drive(index, event.ready) {
            // A backend on its own has no say in how its clients leave.
            Err(_) if self.target.is_none() => self.close(index),
            other => return other,
        }
        Ok(())
    }

    fn drive(&mut self, index: usize, ready: u32) -> Result<(), String> {
        let input = ready & (sys::IN | sys::RDHUP | sys::HUP | sys::ERR) != 0;
        if self.slots[index].connecting {
            if ready & (sys::OUT | sys::HUP | sys::ERR) == 0 {
                return Ok(());
            }
            self.connected(index)?;
        }
        match self.slots[index].role {
            Role::Asker | Role::Answerer => {
                self.push(index)?;
                if input && self.slots[index].fd.is_some() {
                    self.pull(index)?;
                    // What has come may be the end of a handshake, for which the rest had to wait.
                    if self.slots[index].session.is_some() {
                        self.push(index)?;
                    }
                }
                Ok(())
            }
            Role::Source => self.pour(index, ready & sys::OUT != 0, input),
            Role::Sink => self.drain(index),
        }
    }

    fn open_client(&mut self) -> Result<(), String> {
        let target = self.target.ok_or("there is no address to connect to")?;
        let since = Instant::now();
        let nodelay = self.work.mode != Mode::Bulk && self.work.mode != Mode::Crr;
        let fd = sys::connect(target, nodelay).map_err(|e| format!("connect to {target}: {e}"))?;
        let role = match (self.work.mode, self.work.direction) {
            (Mode::Bulk, Direction::Up) => Role::Source,
            (Mode::Bulk, Direction::Down) => Role::Sink,
            _ => Role::Asker,
        };
        let session = self.secure.as_ref().map(Client::session).transpose()?;
        self.opening += 1;
        self.adopt(fd, session.map(Box::new), role, true, since)?;
        Ok(())
    }

    fn accept_some(&mut self) -> Result<(), String> {
        let role = match (self.work.mode, self.work.direction) {
            (Mode::Bulk, Direction::Up) => Role::Sink,
            (Mode::Bulk, Direction::Down) => Role::Source,
            _ => Role::Answerer,
        };
        for _ in 0..64 {
            let Some(listener) = &self.listener else {
                return Ok(());
            };
            let Some(fd) = sys::accept(listener).map_err(|e| format!("backend: accept: {e}"))?
            else {
                return Ok(());
            };
            let index = self.adopt(fd, None, role, false, Instant::now())?;
            if role == Role::Source && self.stopping {
                self.finish_source(index)?;
            }
        }
        Ok(())
    }

    fn adopt(
        &mut self,
        fd: OwnedFd,
        session: Option<Box<Session>>,
        role: Role,
        connecting: bool,
        since: Instant,
    ) -> Result<usize, String> {
        let index = self.free.pop().unwrap_or(self.slots.len());
        let generation = self.slots.get(index).map_or(0, |old| old.generation.wrapping_add(1));
        // Edges spare two calls a connection; bulk is level-triggered so that each event is one chunk
        // and 64 connections take turns.
        let interest = match role {
            Role::Asker | Role::Answerer => sys::IN | sys::OUT | sys::RDHUP | sys::EDGE,
            Role::Source => sys::IN | sys::OUT,
            Role::Sink if connecting => sys::OUT,
            Role::Sink => sys::IN,
        };
        let token = u64::from(generation) << 32 | index as u64;
        self.epoll.add(fd.as_fd(), token, interest).map_err(|e| format!("epoll: {e}"))?;
        let slot = Slot {
            fd: Some(fd),
            session,
            generation,
            role,
            connecting,
            finished: false,
            sent: 0,
            to_send: 0,
            got: 0,
            mark_out: [0; MARK],
            mark_in: [0; MARK],
            serial: 0,
            since,
            done: 0,
        };
        if index == self.slots.len() {
            self.slots.push(slot);
        } else {
            self.slots[index] = slot;
        }
        self.open += 1;
        Ok(index)
    }

    fn close(&mut self, index: usize) {
        let slot = &mut self.slots[index];
        if let Some(fd) = slot.fd.take() {
            if let Some(mut session) = slot.session.take() {
                // The peer has ended already and may be gone.
                session.announce_end();
                let _ = session.flush(fd.as_fd());
            }
            self.open -= 1;
            self.free.push(index);
        }
    }

    fn connected(&mut self, index: usize) -> Result<(), String> {
        let slot = &mut self.slots[index];
        let Some(fd) = &slot.fd else { return Ok(()) };
        sys::pending_error(fd.as_fd()).map_err(failed("connecting to the proxy"))?;
        slot.connecting = false;
        self.opening -= 1;
        if let Some(session) = &mut slot.session
            && slot.role != Role::Asker
        {
            session.flush(fd.as_fd()).map_err(failed("beginning a handshake"))?;
        }
        match slot.role {
            Role::Asker => self.ask(index),
            Role::Sink => self.watch(index, sys::IN),
            Role::Source if self.stopping => self.finish_source(index),
            Role::Source | Role::Answerer => Ok(()),
        }
    }

    fn watch(&self, index: usize, interest: u32) -> Result<(), String> {
        let slot = &self.slots[index];
        let Some(fd) = &slot.fd else { return Ok(()) };
        let token = u64::from(slot.generation) << 32 | index as u64;
        self.epoll.modify(fd.as_fd(), token, interest).map_err(|e| format!("epoll: {e}"))
    }
}

impl Slot {
    /// Sends what fits, encrypted where that is called for.
    fn send(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match (&self.fd, &mut self.session) {
            (Some(fd), None) => sys::send(fd.as_fd(), bytes),
            (Some(fd), Some(session)) => {
                let first = self.role == Role::Asker && self.sent == 0;
                session.send(fd.as_fd(), bytes, first)
            }
            (None, _) => Err(io::ErrorKind::NotConnected.into()),
        }
    }

    /// Receives into the start of `into`, where it is decrypted already; `wire` is room for that.
    fn recv(&mut self, wire: &mut [u8], into: &mut [u8]) -> io::Result<usize> {
        match (&self.fd, &mut self.session) {
            (Some(fd), None) => sys::recv(fd.as_fd(), into),
            (Some(fd), Some(session)) => session.recv(fd.as_fd(), wire, into),
            (None, _) => Err(io::ErrorKind::NotConnected.into()),
        }
    }
}

fn failed<E: Display>(doing: &str) -> impl FnOnce(E) -> String + '_ {
    move |error| format!("{doing}: {error}")
}

/// Serves `work` behind `listener` until the process is ended.
pub fn serve(work: Work, listener: TcpListener) -> Result<(), String> {
    let mut engine = Engine::new(work, None, Some(listener))?;
    loop {
        engine.pump(Instant::now() + Duration::from_secs(60), |_| false)?;
    }
}
