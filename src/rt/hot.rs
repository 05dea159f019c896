//! Readiness of busy streams, cheaper than a poll in the ring for each message.
//!
//! A one-shot poll is armed, fires, completes and is armed again for every message: about a tenth of
//! what a small message costs. A stream that has waited [`limits::HOT_AFTER`] times joins its core's
//! edge-triggered epoll set instead and pays for none of this. While there are edges the set is looked
//! at once a turn, by a task that runs behind those it has just woken; when there are none the ring
//! watches the set as a whole, so the core sleeps in one place as before. Streams that never get busy
//! never join: neither a short connection nor an idle one pays for the set.
//!
//! # What an edge means
//! An edge says that bytes came since the last one. Whoever waits must have read until the socket was
//! empty (a short read, or `EAGAIN`), or it waits for ever; once there may be [more](Hot::has_more) than
//! a short read brings, it must not wait before a read found nothing.
//!
//! # Bounds
//! At most [`limits::HOT_MAX`] streams of a core are in the set. When it is full a newcomer takes the
//! place of one that had no edge since it was last looked at (a clock), which polls again.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::io;
use std::os::fd::RawFd;
use std::rc::Rc;
use std::task::{Poll, Waker};

use slab::Slab;

use super::{Sock, spawn};
use crate::config::limits;
use crate::io::epoll::{Edge, Epoll};
use crate::io::system;

/// The busy streams of a core.
#[derive(Debug)]
pub struct HotSet {
    epoll: Epoll,
    slots: RefCell<Slab<Rc<Slot>>>,
    /// Tells a slot's stream from the one that had it before.
    joined: Cell<u32>,
    /// Where the clock stands.
    hand: Cell<usize>,
    /// Which of the two tasks looks next, and the other's waker.
    turn: Cell<usize>,
    resting: RefCell<Option<Waker>>,
    /// Looks in a row that found something.
    streak: Cell<u32>,
    /// The descriptor by which the ring watches the set.
    watched: Cell<Option<RawFd>>,
}

#[derive(Debug)]
struct Slot {
    number: u32,
    edge: Cell<bool>,
    more: Cell<bool>,
    /// No edge since the clock's hand passed.
    cold: Cell<bool>,
    /// Lost its place to another.
    evicted: Cell<bool>,
    waker: RefCell<Option<Waker>>,
}

/// A stream's place in the set; leaves it when dropped, which must be before its descriptor is closed.
#[derive(Debug)]
pub struct Hot {
    set: Rc<HotSet>,
    slot: Rc<Slot>,
    key: usize,
    fd: RawFd,
}

impl HotSet {
    /// An empty set.
    ///
    /// # Errors
    /// When there is no descriptor left.
    pub fn new() -> io::Result<Rc<Self>> {
        Ok(Rc::new(Self {
            epoll: Epoll::new()?,
            slots: RefCell::default(),
            joined: Cell::new(0),
            hand: Cell::new(0),
            turn: Cell::new(0),
            resting: RefCell::default(),
            streak: Cell::new(0),
            watched: Cell::new(None),
        }))
    }

    /// Begins to look after the set. Call it once, on its core.
    ///
    /// # Errors
    /// As [`Sock::new`].
    pub fn start(self: &Rc<Self>) -> io::Result<()> {
        let sock = Sock::new(self.epoll.own()?)?;
        self.watched.set(Some(sock.fd()));
        let sock = Rc::new(sock);
        for me in 0..2 {
            spawn(Rc::clone(self).look_after(me, Rc::clone(&sock)));
        }
        Ok(())
    }

    /// Gives up the descriptors of a set whose core has died: nothing of it will ever run again.
    pub fn bury(&self) {
        let epoll = self.watched.take().map(|watched| [watched, self.epoll.fd()]);
        epoll.into_iter().flatten().for_each(system::close_orphan);
    }

    /// A place for a stream; `None` when all are taken by busy ones or the kernel refuses.
    pub fn join(self: &Rc<Self>, fd: RawFd) -> Option<Hot> {
        if self.slots.borrow().len() >= limits::HOT_MAX {
            self.evict();
        }
        let mut slots = self.slots.borrow_mut();
        if slots.len() >= limits::HOT_MAX {
            return None;
        }
        let number = self.joined.get().wrapping_add(1);
        self.joined.set(number);
        let entry = slots.vacant_entry();
        let key = entry.key();
        let name = u64::from(number) << 32 | u64::try_from(key).ok()?;
        self.epoll.add(fd, name).ok()?;
        let slot = Rc::new(Slot {
            number,
            edge: Cell::new(false),
            more: Cell::new(false),
            cold: Cell::new(false),
            evicted: Cell::new(false),
            waker: RefCell::default(),
        });
        entry.insert(Rc::clone(&slot));
        Some(Hot { set: Rc::clone(self), slot, key, fd })
    }

    /// Asks the next stream that is not busy to leave. It does so when it is woken: the newcomer that
    /// asked does without, those after it find the place.
    fn evict(&self) {
        let slots = self.slots.borrow();
        let end = slots.capacity();
        for _ in 0..limits::HOT_CLOCK_STEPS {
            let at = self.hand.get();
            self.hand.set(if at + 1 < end { at + 1 } else { 0 });
            let Some(slot) = slots.get(at) else { continue };
            if slot.cold.replace(true) {
                slot.evicted.set(true);
                slot.wake();
                return;
            }
        }
    }

    fn found(&self, edge: Edge) {
        let (number, key) = ((edge.key >> 32) as u32, (edge.key & u64::from(u32::MAX)) as usize);
        let slots = self.slots.borrow();
        // One that left after the kernel reported it.
        let Some(slot) = slots.get(key).filter(|slot| slot.number == number) else { return };
        slot.edge.set(true);
        slot.cold.set(false);
        if edge.more {
            slot.more.set(true);
        }
        slot.wake();
    }

    /// One of two tasks that look in turns: each is woken by the other and so runs behind those that
    /// were woken before. (A task that wakes itself runs next.)
    async fn look_after(self: Rc<Self>, me: usize, sock: Rc<Sock>) {
        loop {
            poll_fn(|cx| {
                if self.turn.get() == me {
                    return Poll::Ready(());
                }
                *self.resting.borrow_mut() = Some(cx.waker().clone());
                Poll::Pending
            })
            .await;
            let found = self.epoll.look(|edge| self.found(edge));
            // The ring has its turn now and then: timers, listeners and polls are looked at there.
            if found == 0 || self.streak.get() >= limits::HOT_STREAK {
                self.streak.set(0);
                let _ = sock.readable().await;
                continue;
            }
            self.streak.set(self.streak.get() + 1);
            self.turn.set(1 - me);
            let other = self.resting.borrow_mut().take();
            if let Some(other) = other {
                other.wake();
            }
        }
    }
}

impl Slot {
    fn wake(&self) {
        if let Some(waker) = &*self.waker.borrow() {
            waker.wake_by_ref();
        }
    }
}

impl Hot {
    /// Waits for the next edge; false if the place was lost meanwhile.
    pub async fn edge(&self) -> bool {
        let slot = &*self.slot;
        poll_fn(|cx| {
            if slot.edge.take() {
                return Poll::Ready(true);
            }
            if slot.evicted.get() {
                return Poll::Ready(false);
            }
            let mut waker = slot.waker.borrow_mut();
            if !waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
                *waker = Some(cx.waker().clone());
            }
            Poll::Pending
        })
        .await
    }

    /// Whether an end or urgent data has come: a short read may not have emptied the socket. A read
    /// that finds nothing takes that back.
    pub fn has_more(&self) -> bool {
        self.slot.more.get()
    }

    /// A read found nothing.
    pub fn found_nothing(&self) {
        self.slot.more.set(false);
    }
}

impl Drop for Hot {
    fn drop(&mut self) {
        self.set.epoll.remove(self.fd);
        self.set.slots.borrow_mut().try_remove(self.key);
    }
}
