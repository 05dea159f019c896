//! The process and the machine: limits, signals, local addresses, wake-ups between threads.

use std::collections::HashSet;
use std::io;
use std::mem;
use std::net::IpAddr;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use super::{check, check_len};

/// Raises `RLIMIT_NOFILE` to its hard limit and returns what holds now, in descriptors.
///
/// # Errors
/// When the limit cannot even be read.
pub fn raise_nofile() -> io::Result<u64> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: getrlimit writes one rlimit.
    check(unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) })?;
    if limit.rlim_cur < limit.rlim_max {
        let raised = libc::rlimit { rlim_cur: limit.rlim_max, rlim_max: limit.rlim_max };
        // SAFETY: setrlimit reads one rlimit.
        if check(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const raised) }).is_ok() {
            return Ok(raised.rlim_cur);
        }
    }
    Ok(limit.rlim_cur)
}

/// Blocks every signal in the calling thread: signals are the control thread's business, and one
/// that lands on a core would interrupt its ring.
pub fn block_signals() {
    // SAFETY: an all-zero sigset_t is a valid object for sigfillset to write.
    let mut set: libc::sigset_t = unsafe { mem::zeroed() };
    // SAFETY: sigfillset writes the set it is given.
    unsafe { libc::sigfillset(&raw mut set) };
    // SAFETY: reads the set, writes no old set; affects the calling thread only.
    unsafe { libc::pthread_sigmask(libc::SIG_BLOCK, &raw const set, std::ptr::null_mut()) };
}

/// The CPUs this process may run on, ascending.
pub fn cpu_set() -> Vec<usize> {
    // SAFETY: an all-zero cpu_set_t is the empty set.
    let mut set: libc::cpu_set_t = unsafe { mem::zeroed() };
    let size = mem::size_of::<libc::cpu_set_t>();
    // SAFETY: the kernel writes at most `size` bytes into `set`.
    if check(unsafe { libc::sched_getaffinity(0, size, &raw mut set) }).is_err() {
        return vec![0];
    }
    let bits = usize::try_from(libc::CPU_SETSIZE).unwrap_or(0);
    // SAFETY: every index is below CPU_SETSIZE.
    (0..bits).filter(|cpu| unsafe { libc::CPU_ISSET(*cpu, &set) }).collect()
}

/// Every address of this machine's interfaces.
pub fn local_addresses() -> HashSet<IpAddr> {
    let mut found = HashSet::new();
    let mut head: *mut libc::ifaddrs = std::ptr::null_mut();
    // SAFETY: getifaddrs writes the head of a list that freeifaddrs takes back below.
    if check(unsafe { libc::getifaddrs(&raw mut head) }).is_err() {
        return found;
    }
    let mut next = head;
    // SAFETY: `next` is null or an element of the live list.
    while let Some(entry) = unsafe { next.as_ref() } {
        if let Some(ip) = address_of(entry) {
            found.insert(ip);
        }
        next = entry.ifa_next;
    }
    // SAFETY: `head` came from getifaddrs and is freed once.
    unsafe { libc::freeifaddrs(head) };
    found
}

fn address_of(entry: &libc::ifaddrs) -> Option<IpAddr> {
    // SAFETY: ifa_addr is null or points to a sockaddr that lives as long as the list.
    let addr = unsafe { entry.ifa_addr.as_ref() }?;
    match libc::c_int::from(addr.sa_family) {
        libc::AF_INET => {
            // SAFETY: the family says it is a sockaddr_in; read_unaligned asks no alignment.
            let v4 = unsafe { entry.ifa_addr.cast::<libc::sockaddr_in>().read_unaligned() };
            Some(IpAddr::from(u32::from_be(v4.sin_addr.s_addr).to_be_bytes()))
        }
        libc::AF_INET6 => {
            // SAFETY: the family says it is a sockaddr_in6; read_unaligned asks no alignment.
            let v6 = unsafe { entry.ifa_addr.cast::<libc::sockaddr_in6>().read_unaligned() };
            Some(IpAddr::from(v6.sin6_addr.s6_addr))
        }
        _ => None,
    }
}

/// Wakes a thread that waits on its descriptor (eventfd(2)).
#[derive(Debug)]
pub struct Bell {
    fd: OwnedFd,
}

impl Bell {
    /// A new bell, silent.
    ///
    /// # Errors
    /// Those of eventfd(2).
    pub fn new() -> io::Result<Self> {
        // SAFETY: eventfd takes no memory of ours.
        let fd = check(unsafe { libc::eventfd(0, libc::EFD_NONBLOCK | libc::EFD_CLOEXEC) })?;
        // SAFETY: a new descriptor that nobody else owns.
        Ok(Self { fd: unsafe { OwnedFd::from_raw_fd(fd) } })
    }

    /// A second handle to the same bell.
    ///
    /// # Errors
    /// Those of dup(2).
    pub fn try_clone(&self) -> io::Result<Self> {
        Ok(Self { fd: self.fd.try_clone()? })
    }

    /// Its descriptor, to wait on.
    pub fn into_fd(self) -> OwnedFd {
        self.fd
    }

    /// Makes the descriptor readable.
    pub fn ring(&self) {
        let one = 1u64.to_ne_bytes();
        // SAFETY: eight readable bytes. A full counter (`WouldBlock`) means it rings already.
        let _ = check_len(unsafe { libc::write(self.fd.as_raw_fd(), one.as_ptr().cast(), 8) });
    }
}

/// Silences a bell by its descriptor.
pub fn silence(fd: &impl AsRawFd) {
    let mut count = [0u8; 8];
    // SAFETY: eight writable bytes.
    let _ = check_len(unsafe { libc::read(fd.as_raw_fd(), count.as_mut_ptr().cast(), 8) });
}

/// True while io_uring can be used by this process (a ring of two entries is made and dropped).
pub fn io_uring_works() -> io::Result<()> {
    io_uring::IoUring::new(2).map(|_| ())
}

/// A descriptor that stands for nothing, to be given up when there is no other.
pub fn reserve_descriptor() -> Option<OwnedFd> {
    std::fs::File::open("/dev/null").ok().map(OwnedFd::from)
}

/// A listener's descriptor as one that its core may wait on. It stays the control thread's: the
/// core gives it back with [`crate::rt::Sock::into_fd`] and never closes it.
pub fn borrow_listener(fd: RawFd) -> OwnedFd {
    // SAFETY: the control thread keeps the descriptor open until the core has given it back, or
    // has died, after which nothing of it runs; the core never drops what it makes of it.
    unsafe { OwnedFd::from_raw_fd(fd) }
}

/// Lends a descriptor that is known by its number to a call that must not keep it.
pub fn with_fd<T>(fd: RawFd, call: impl FnOnce(BorrowedFd<'_>) -> T) -> T {
    // SAFETY: a connection forgets its descriptors before its task closes them
    // (`Live::releases`), on the one thread that does both, so the number is still its own.
    call(unsafe { BorrowedFd::borrow_raw(fd) })
}

/// Closes a descriptor whose owner is part of a runtime that died and will never run again.
pub fn close_orphan(fd: RawFd) {
    // SAFETY: the owner is leaked with its runtime (`rt::block_on` never drops it), so this is the
    // only close.
    drop(unsafe { OwnedFd::from_raw_fd(fd) });
}

/// Keeps the kernel from backing the heap with huge pages. The allocator asks for them, and then an
/// idle connection costs nearly twice its size, in steps of 2 MiB; nothing here is large enough to
/// gain from them.
pub fn refuse_huge_pages() {
    // SAFETY: PR_SET_THP_DISABLE takes plain numbers. A kernel without it ignores us.
    let _ = check(unsafe { libc::prctl(libc::PR_SET_THP_DISABLE, 1, 0, 0, 0) });
}
