//! epoll(7), as far as [`crate::rt::hot`] needs it: edges of reading, never a wait.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};

use super::check;

/// Most edges that one look brings.
pub const EDGES_MAX: usize = 128;

const MORE: u32 = (libc::EPOLLPRI | libc::EPOLLRDHUP | libc::EPOLLHUP | libc::EPOLLERR) as u32;

/// An epoll set of descriptors that somebody reads.
#[derive(Debug)]
pub struct Epoll {
    fd: OwnedFd,
}

/// Something can be read, or a stream has ended or failed.
#[derive(Debug, Clone, Copy)]
pub struct Edge {
    /// What the descriptor was added with.
    pub key: u64,
    /// A short read does not mean that nothing is left, and no further edge has to come: the peer has
    /// ended its stream, the socket has failed, or urgent data, at which a read stops, has come.
    pub more: bool,
}

impl Epoll {
    /// An empty set.
    ///
    /// # Errors
    /// When there is no descriptor left.
    pub fn new() -> io::Result<Self> {
        // SAFETY: takes a flag and returns a descriptor.
        let fd = check(unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) })?;
        // SAFETY: epoll_create1 returned a new descriptor that nobody else owns.
        Ok(Self { fd: unsafe { OwnedFd::from_raw_fd(fd) } })
    }

    /// The set's own descriptor once more: readable while there are edges.
    ///
    /// # Errors
    /// When there is no descriptor left.
    pub fn own(&self) -> io::Result<OwnedFd> {
        self.fd.try_clone()
    }

    /// The set's own descriptor, by number.
    pub fn fd(&self) -> RawFd {
        self.fd.as_raw_fd()
    }

    /// Adds a descriptor; if it can be read now, that is its first edge.
    ///
    /// # Errors
    /// When it is in the set already, or the kernel has no memory or `max_user_watches` is reached.
    pub fn add(&self, fd: RawFd, key: u64) -> io::Result<()> {
        let wanted = libc::EPOLLIN | libc::EPOLLPRI | libc::EPOLLRDHUP | libc::EPOLLET;
        let mut event = libc::epoll_event { events: wanted as u32, u64: key };
        // SAFETY: epoll_ctl reads one epoll_event.
        check(unsafe {
            libc::epoll_ctl(self.fd.as_raw_fd(), libc::EPOLL_CTL_ADD, fd, &raw mut event)
        })?;
        Ok(())
    }

    /// Takes a descriptor out again; one that is not in the set is no error.
    pub fn remove(&self, fd: RawFd) {
        let none = std::ptr::null_mut();
        // SAFETY: since Linux 2.6.9 the event of a removal is not looked at.
        unsafe { libc::epoll_ctl(self.fd.as_raw_fd(), libc::EPOLL_CTL_DEL, fd, none) };
    }

    /// The edges since the last look, given to `each`; how many there were.
    pub fn look(&self, mut each: impl FnMut(Edge)) -> usize {
        let mut events = [const { MaybeUninit::<libc::epoll_event>::uninit() }; EDGES_MAX];
        // SAFETY: epoll_wait writes at most EDGES_MAX events; a timeout of 0 does not wait.
        let found = unsafe {
            let (at, most) = (events.as_mut_ptr().cast(), EDGES_MAX as libc::c_int);
            libc::epoll_wait(self.fd.as_raw_fd(), at, most, 0)
        };
        let found = usize::try_from(found).unwrap_or(0);
        for event in events.iter().take(found) {
            // SAFETY: the kernel has written the first `found` of them.
            let libc::epoll_event { events, u64: key } = unsafe { event.assume_init_read() };
            each(Edge { key, more: events & MORE != 0 });
        }
        found
    }
}
