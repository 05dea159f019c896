//! The listening sockets: made here, one for each core and address, lent to the cores by number, and
//! closed here. A core that dies can therefore never leave behind a socket that accepts for nobody.
//!
//! # A listener goes in three steps, so that nobody who was let in is reset
//! 1. *Leaving*: new SYNs are turned away (dropped; the client's next try finds the port closed),
//!    while the cores go on accepting what had begun, for [`limits::LISTENER_LINGER`].
//! 2. *Closing*: each core empties its queue, stops, and gives the socket back.
//! 3. The socket is closed.
//!
//! A reload that wants a leaving listener back simply welcomes new SYNs again.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::sync::Arc;
use std::time::Instant;

use socket2::Socket;

use crate::config::limits;
use crate::config::snapshot::{Listener, ServiceState};
use crate::io::socket;

/// All listening sockets of the process.
#[derive(Debug, Default)]
pub struct Listeners {
    active: HashMap<SocketAddr, Sockets>,
    leaving: Vec<Leaving>,
    closing: HashMap<RawFd, (usize, Socket)>,
}

/// The sockets of one address, by the index of their core.
pub type Sockets = Vec<Socket>;

/// An address on its way out.
#[derive(Debug)]
struct Leaving {
    addr: SocketAddr,
    sockets: Sockets,
    until: Instant,
    close_afters: Vec<(Arc<ServiceState>, u32)>,
    /// Its services as they last were, for what is still in its queues.
    last: Option<Arc<Listener>>,
}

/// Sockets bound for new addresses, not yet listening.
#[derive(Debug, Default)]
pub struct Bound(Vec<(SocketAddr, Sockets)>);

impl Bound {
    /// Listens on what was bound.
    ///
    /// # Errors
    /// The first address that cannot be listened on; all of them go when this is dropped.
    pub fn listen(&self) -> Result<(), BindError> {
        for (addr, sockets) in &self.0 {
            for socket in sockets {
                let listens = socket::listen(socket);
                listens.map_err(|error| BindError { addr: *addr, error })?;
            }
        }
        Ok(())
    }
}

/// An address that cannot be listened on.
#[derive(Debug)]
pub struct BindError {
    /// Which.
    pub addr: SocketAddr,
    /// Why.
    pub error: io::Error,
}

impl std::fmt::Display for BindError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let hint = match self.error.kind() {
            io::ErrorKind::AddrInUse => " (another program listens there; find it with `ss -ltnp`)",
            io::ErrorKind::PermissionDenied => {
                " (ports below 1024 need CAP_NET_BIND_SERVICE or net.ipv4.ip_unprivileged_port_start)"
            }
            io::ErrorKind::AddrNotAvailable => " (no interface of this machine has this address)",
            _ => match self.error.raw_os_error() {
                Some(libc::EMFILE) => " (out of descriptors: raise LimitNOFILE)",
                _ => "",
            },
        };
        write!(f, "cannot listen on {}: {}{hint}", self.addr, self.error)
    }
}

impl Listeners {
    /// Binds sockets for those of `wanted` that are not ours yet, listening on none of them.
    ///
    /// # Errors
    /// The first address that cannot be bound; then everything is as before.
    pub async fn bind(
        &self,
        wanted: impl Iterator<Item = SocketAddr>,
        cores: usize,
    ) -> Result<Bound, BindError> {
        let mut bound = Bound::default();
        let deadline = Instant::now() + limits::BIND_RETRY;
        for addr in wanted {
            if self.active.contains_key(&addr) || self.is_leaving(addr) {
                continue;
            }
            let ours = self.closing_has(addr);
            loop {
                match bind_one(addr, cores, ours) {
                    Ok(sockets) => break bound.0.push((addr, sockets)),
                    // A killed process's ring may hold its listeners for a moment.
                    Err(error)
                        if error.kind() == io::ErrorKind::AddrInUse
                            && Instant::now() < deadline =>
                    {
                        tokio::time::sleep(limits::ACCEPT_BACKOFF).await;
                    }
                    Err(error) => return Err(BindError { addr, error }),
                }
            }
        }
        Ok(bound)
    }

    /// Takes in what listens; returns the addresses.
    pub fn take_in(&mut self, bound: Bound) -> Vec<SocketAddr> {
        let added = bound.0.iter().map(|(addr, _)| *addr).collect();
        self.active.extend(bound.0);
        added
    }

    /// Takes back those of `wanted` that were leaving; returns them.
    pub fn welcome(&mut self, wanted: &HashMap<SocketAddr, impl Sized>) -> Vec<SocketAddr> {
        let (back, leaving) = std::mem::take(&mut self.leaving)
            .into_iter()
            .partition::<Vec<_>, _>(|leaving| wanted.contains_key(&leaving.addr));
        self.leaving = leaving;
        let mut welcomed = Vec::new();
        for Leaving { addr, sockets, .. } in back {
            for socket in &sockets {
                if let Err(error) = socket::welcome_new(socket.as_fd()) {
                    tracing::error!(%addr, %error, "cannot be opened to new connections again");
                }
            }
            self.active.insert(addr, sockets);
            welcomed.push(addr);
        }
        welcomed
    }

    /// Turns new connections away from an address and starts its way out.
    pub fn leave(
        &mut self,
        addr: SocketAddr,
        close_afters: Vec<(Arc<ServiceState>, u32)>,
        last: Option<Arc<Listener>>,
    ) {
        let Some(sockets) = self.active.remove(&addr) else { return };
        for socket in &sockets {
            if let Err(error) = socket::refuse_new(socket.as_fd()) {
                tracing::warn!(%addr, %error, "goes without turning new connections away first");
            }
        }
        let until = Instant::now() + limits::LISTENER_LINGER;
        self.leaving.push(Leaving { addr, sockets, until, close_afters, last });
    }

    /// When the next leaving address is due.
    pub fn next_due(&self) -> Option<Instant> {
        self.leaving.iter().map(|leaving| leaving.until).min()
    }

    /// Moves addresses that are due to closing; `tell` is called for each.
    pub fn close_due(&mut self, mut tell: impl FnMut(SocketAddr, Vec<(Arc<ServiceState>, u32)>)) {
        let now = Instant::now();
        let (due, leaving) = std::mem::take(&mut self.leaving)
            .into_iter()
            .partition::<Vec<_>, _>(|leaving| leaving.until <= now);
        self.leaving = leaving;
        for Leaving { addr, sockets, close_afters, .. } in due {
            for (core, socket) in sockets.into_iter().enumerate() {
                self.closing.insert(socket.as_raw_fd(), (core, socket));
            }
            tell(addr, close_afters);
        }
    }

    /// A core has given a socket back: close it.
    pub fn given_back(&mut self, fd: RawFd) {
        self.closing.remove(&fd);
    }

    /// The addresses on their way out, and their services as they were.
    pub fn leaving(&self) -> Vec<(SocketAddr, Option<Arc<Listener>>)> {
        self.leaving.iter().map(|leaving| (leaving.addr, leaving.last.clone())).collect()
    }

    /// Whether no socket is on its way out any more.
    pub fn all_closed(&self) -> bool {
        self.leaving.is_empty() && self.closing.is_empty()
    }

    /// The sockets of a core, by address; with the services of those that are leaving.
    pub fn of_core(
        &self,
        core: usize,
    ) -> impl Iterator<Item = (SocketAddr, RawFd, Option<Arc<Listener>>)> + '_ {
        let active = self.active.iter().map(|(addr, sockets)| (*addr, sockets, None));
        let leaving = self.leaving.iter();
        let leaving = leaving.map(|going| (going.addr, &going.sockets, going.last.clone()));
        active.chain(leaving).filter_map(move |(addr, sockets, last)| {
            Some((addr, sockets.get(core)?.as_raw_fd(), last))
        })
    }

    /// The socket of one core for one address.
    pub fn socket(&self, addr: SocketAddr, core: usize) -> Option<RawFd> {
        Some(self.active.get(&addr)?.get(core)?.as_raw_fd())
    }

    /// The addresses that are listened on.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.active.keys().copied().collect()
    }

    /// A core has died: closes what it accepted from, so that nobody waits there, and makes new
    /// sockets for its successor.
    pub fn replace_core(&mut self, core: usize) {
        self.closing.retain(|_, (of, _)| *of != core);
        // Shut all first: the kernel stops giving this core's share of clients to nobody.
        let leaving = self.leaving.iter_mut().map(|leaving| (leaving.addr, &mut leaving.sockets));
        let active = self.active.iter_mut().map(|(addr, sockets)| (*addr, sockets));
        for (addr, sockets) in active.chain(leaving) {
            let Some(socket) = sockets.get_mut(core) else { continue };
            socket::shutdown_both(socket.as_raw_fd());
            match socket::bind_listener(addr) {
                Ok(new) => match socket::listen(&new) {
                    Ok(()) => *socket = new,
                    Err(error) => tracing::error!(%addr, core, %error, "cannot listen again"),
                },
                Err(error) => tracing::error!(%addr, core, %error, "cannot be bound again"),
            }
        }
    }

    fn is_leaving(&self, addr: SocketAddr) -> bool {
        self.leaving.iter().any(|leaving| leaving.addr == addr)
    }

    fn closing_has(&self, addr: SocketAddr) -> bool {
        self.closing.values().any(|(_, socket)| {
            socket.local_addr().ok().and_then(|local| local.as_socket()) == Some(addr)
        })
    }
}

fn bind_one(addr: SocketAddr, cores: usize, ours: bool) -> io::Result<Sockets> {
    if !ours {
        socket::probe_free(addr)?;
    }
    (0..cores).map(|_| socket::bind_listener(addr)).collect()
}
