//! Pipes for splice(2): pooled, bounded, never handed on with bytes in them.
//!
//! A direction takes a pipe when bytes wait for it and gives it back as soon as it is empty, so an
//! idle connection holds none and a core needs about as many as it has directions that are blocked
//! on a slow receiver. When the bound is reached, or the kernel refuses, the caller copies instead.

use std::cell::{Cell, RefCell};
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::rc::Rc;

use super::{check, socket};
use crate::config::limits;

/// One core's pipes.
#[derive(Debug)]
pub struct PipePool {
    idle: RefCell<Vec<Ends>>,
    out: Cell<usize>,
    bound: usize,
}

#[derive(Debug)]
struct Ends {
    read: OwnedFd,
    write: OwnedFd,
}

impl PipePool {
    /// A pool that lends at most `bound` pipes at a time.
    pub fn new(bound: usize) -> Rc<Self> {
        Rc::new(Self { idle: RefCell::default(), out: Cell::new(0), bound })
    }

    /// An empty pipe; `None` when all are lent or the kernel refuses another.
    pub fn take(self: &Rc<Self>) -> Option<Pipe> {
        if self.out.get() >= self.bound {
            return None;
        }
        let pooled = self.idle.borrow_mut().pop();
        let ends = match pooled {
            Some(ends) => ends,
            None => make().ok()?,
        };
        self.out.set(self.out.get() + 1);
        Some(Pipe { ends: Some(ends), held: 0, pool: Rc::clone(self) })
    }

    /// Pipes lent at this moment.
    pub fn lent(&self) -> usize {
        self.out.get()
    }

    fn give_back(&self, ends: Option<Ends>) {
        self.out.set(self.out.get().saturating_sub(1));
        let mut idle = self.idle.borrow_mut();
        if let Some(ends) = ends
            && idle.len() < limits::PIPES_IDLE_MAX
        {
            idle.push(ends);
        }
    }
}

fn make() -> io::Result<Ends> {
    let mut fds: [RawFd; 2] = [0; 2];
    // SAFETY: pipe2 writes two descriptors into the array.
    check(unsafe { libc::pipe2(fds.as_mut_ptr(), libc::O_NONBLOCK | libc::O_CLOEXEC) })?;
    let [read, write] = fds;
    // SAFETY: pipe2 returned two new descriptors that nobody else owns.
    let read = unsafe { OwnedFd::from_raw_fd(read) };
    // SAFETY: as above.
    let write = unsafe { OwnedFd::from_raw_fd(write) };
    // A smaller pipe works as well, only with more rounds: without CAP_SYS_RESOURCE the kernel
    // refuses the growth once the user's quota is used up.
    // SAFETY: F_SETPIPE_SZ takes an int and no memory of ours.
    let _ =
        check(unsafe { libc::fcntl(write.as_raw_fd(), libc::F_SETPIPE_SZ, limits::PIPE_BYTES) });
    Ok(Ends { read, write })
}

/// A lent pipe and how many bytes are in it. Dropped empty it returns to its pool; dropped with
/// bytes in it (the connection ended) it is closed, so that no byte can reach another connection.
#[derive(Debug)]
pub struct Pipe {
    ends: Option<Ends>,
    held: usize,
    pool: Rc<PipePool>,
}

impl Pipe {
    /// Bytes in the pipe.
    pub fn held(&self) -> usize {
        self.held
    }

    /// Moves what the socket `from` has, up to `most` bytes and the pipe's capacity. `Ok(0)` is the end
    /// of the stream if `most` is not 0. Call it only on an empty pipe: then `WouldBlock` can only mean the socket.
    ///
    /// # Errors
    /// Those of splice(2).
    pub fn fill(&mut self, from: RawFd, most: usize) -> io::Result<usize> {
        let Some(ends) = &self.ends else { return Ok(0) };
        let len = usize::try_from(limits::PIPE_BYTES).unwrap_or(0).min(most);
        let moved = socket::splice(from, ends.write.as_raw_fd(), len)?;
        self.held += moved;
        Ok(moved)
    }

    /// Moves what the pipe holds to the socket `to`, as much as it takes.
    ///
    /// # Errors
    /// Those of splice(2).
    pub fn drain(&mut self, to: RawFd) -> io::Result<usize> {
        let Some(ends) = &self.ends else { return Ok(0) };
        let moved = socket::splice(ends.read.as_raw_fd(), to, self.held)?;
        self.held = self.held.saturating_sub(moved);
        Ok(moved)
    }
}

impl Drop for Pipe {
    fn drop(&mut self) {
        let ends = self.ends.take();
        self.pool.give_back(if self.held == 0 { ends } else { None });
    }
}
