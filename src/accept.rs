//! One listener on one core: takes what its queue holds and starts a connection for each.
//!
//! Before it: the kernel's handshake. After it: [`crate::conn::serve`]. It must never spin (a
//! listener stays readable while there is no descriptor to accept with), never drop an accept in
//! flight, and never reset a queued connection when the listener goes.

use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::io;
use std::net::SocketAddr;
use std::os::fd::{OwnedFd, RawFd};
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Poll, Waker};

use crate::config::limits;
use crate::config::snapshot::Listener;
use crate::conn::ending::{Cause, Ending, Step};
use crate::conn::live::Live;
use crate::conn::{self, account};
use crate::io::socket::{self, RawAddr};
use crate::io::system;
use crate::rt::{self, Sock};
use crate::worker::{Core, ListenerRef};

/// Tells an accept loop to stop.
#[derive(Debug, Default)]
pub struct Switch {
    off: Cell<bool>,
    waker: RefCell<Option<Waker>>,
}

impl Switch {
    /// The loop drains its queue and ends.
    pub fn turn_off(&self) {
        self.off.set(true);
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }
}

/// Accepts on a listening socket until switched off, or until somebody shut the socket down.
pub async fn run(
    core: Rc<Core>,
    addr: SocketAddr,
    fd: RawFd,
    served: Option<Arc<Listener>>,
    switch: Rc<Switch>,
) {
    // The descriptor is the control thread's and goes back to it below, unclosed.
    let Ok(listener) = Sock::new(system::borrow_listener(fd)) else { return };
    // Version 0: older than any snapshot.
    let mut current = served.map(|listener| Current { version: 0, listener: Rc::new(listener) });
    let mut open = true;
    while open {
        let mut readable = pin!(listener.readable());
        let on = poll_fn(|cx| {
            if switch.off.get() {
                return Poll::Ready(false);
            }
            let ready = readable.as_mut().poll(cx).map(|_| true);
            if ready.is_pending() {
                *switch.waker.borrow_mut() = Some(cx.waker().clone());
            }
            ready
        })
        .await;
        open = on;
        loop {
            match take_batch(&core, addr, fd, &mut current) {
                // A full batch: more may wait, but so do others.
                Taken::Full if open => break,
                Taken::Full => rt::turn().await,
                Taken::All => break,
                Taken::Short => {
                    refuse_some(&core, fd, &mut current, addr);
                    rt::sleep(limits::ACCEPT_BACKOFF).await;
                    break;
                }
                Taken::Shut => {
                    open = false;
                    break;
                }
            }
        }
        if !open {
            // Nobody can queue any more; what waits on the socket now returns, so that no
            // operation holds the descriptor when it goes back.
            socket::shutdown_both(fd);
            if !on {
                let _ = readable.await;
            }
        }
    }
    core.unlistened(addr, listener.into_fd());
}

/// What became of a batch.
enum Taken {
    /// The queue is empty.
    All,
    /// The batch is full and the queue perhaps not empty.
    Full,
    /// No descriptor, or no memory for a socket.
    Short,
    /// The listener listens no more.
    Shut,
}

fn take_batch(
    core: &Rc<Core>,
    addr: SocketAddr,
    fd: RawFd,
    current: &mut Option<Current>,
) -> Taken {
    for _ in 0..limits::ACCEPT_BATCH {
        match socket::accept(fd) {
            Ok((client, peer)) => {
                if core.short.replace(false) {
                    tracing::info!(core = core.index, "descriptors are free again: accepting");
                }
                if let Some(listener) = refresh(core, addr, current) {
                    begin(core, listener, client, peer);
                }
            }
            Err(error) => match error.raw_os_error() {
                Some(libc::EAGAIN) => return Taken::All,
                Some(libc::EMFILE | libc::ENFILE | libc::ENOBUFS | libc::ENOMEM) => {
                    report_short(core, &error);
                    return Taken::Short;
                }
                // The listener was shut down, by the supervisor of a core it took for dead.
                Some(libc::EINVAL | libc::EBADF) => return Taken::Shut,
                // The client has gone meanwhile, or a firewall forbids it: its affair alone.
                _ => {}
            },
        }
    }
    Taken::Full
}

/// The listener's services and the version of the snapshot they are from.
struct Current {
    version: u64,
    listener: ListenerRef,
}

/// The services as the published snapshot has them. A listener that a reload removes still serves
/// what is in its queue, as it last was.
fn refresh<'a>(
    core: &Core,
    addr: SocketAddr,
    current: &'a mut Option<Current>,
) -> Option<&'a ListenerRef> {
    core.with_snapshot(|snapshot| {
        if current.as_ref().is_none_or(|current| current.version != snapshot.version)
            && let Some(listener) = snapshot.listeners.get(&addr)
        {
            let listener = Rc::new(Arc::clone(listener));
            *current = Some(Current { version: snapshot.version, listener });
        }
    });
    current.as_ref().map(|current| &current.listener)
}

/// Starts a connection.
fn begin(core: &Rc<Core>, listener: &ListenerRef, client: OwnedFd, peer: RawAddr) {
    core.counters.accepted.add(1);
    let live = Rc::new(Live::new(core, listener, peer));
    core.enter(&live);
    let panics = injected_panic(core);
    match Sock::new(client) {
        Ok(client) => {
            // From now on, for a core that dies before the task has run once.
            live.holds(client.fd(), -1);
            rt::spawn(conn::serve(Rc::clone(core), live, client, panics));
        }
        Err(error) => {
            tracing::debug!(%error, "a connection cannot be polled");
            account::close(core, &live, Ending::us(Step::Accept, Cause::Descriptors));
        }
    }
}

/// There is no descriptor for a connection: rather than leave clients waiting for nobody knows how
/// long, gives up the reserved one to accept and reset some, and says so in their events.
fn refuse_some(core: &Rc<Core>, fd: RawFd, current: &mut Option<Current>, addr: SocketAddr) {
    let Some(reserve) = core.reserve.borrow_mut().take() else {
        core.reserve.replace(system::reserve_descriptor());
        return;
    };
    drop(reserve);
    for _ in 0..limits::ACCEPT_BATCH {
        let Ok((client, peer)) = socket::accept(fd) else { break };
        if let Some(listener) = refresh(core, addr, current) {
            core.counters.accepted.add(1);
            let live = Rc::new(Live::new(core, listener, peer));
            core.enter(&live);
            account::close(core, &live, Ending::us(Step::Accept, Cause::Descriptors));
        }
        socket::reset_and_close(client);
    }
    core.reserve.replace(system::reserve_descriptor());
}

fn report_short(core: &Core, error: &io::Error) {
    core.counters.descriptors_short.add(1);
    if !core.short.replace(true) {
        tracing::error!(
            core = core.index,
            %error,
            "out of descriptors or socket memory: refusing new connections; raise LimitNOFILE"
        );
    }
}

/// Debug builds can be told to fail on purpose (`THALWEG_FAULT`), so that tests see what a panic
/// does. Returns true when this connection's task is to panic.
fn injected_panic(core: &Core) -> bool {
    let Some(fault) = &core.process.fault else { return false };
    let due = fault.countdown.fetch_sub(1, Ordering::Relaxed) == 1;
    assert!(!(due && fault.in_core), "injected into the core");
    due
}
