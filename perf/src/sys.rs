//! The only unsafe code of this tool: thin wrappers over system calls that the standard library lacks.
//!
//! Every wrapper takes and gives owned or borrowed descriptors and slices, so that no caller has
//! anything left to prove.

use std::io;
use std::mem;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::ptr;
use std::time::Duration;

use libc::{c_int, c_void};

/// Readable, or the peer has closed.
pub const IN: u32 = libc::EPOLLIN as u32;
/// Writable, or connected.
pub const OUT: u32 = libc::EPOLLOUT as u32;
/// The peer has sent its FIN.
pub const RDHUP: u32 = libc::EPOLLRDHUP as u32;
/// An error is pending on the socket.
pub const ERR: u32 = libc::EPOLLERR as u32;
/// Both directions are closed.
pub const HUP: u32 = libc::EPOLLHUP as u32;
/// Report changes only.
pub const EDGE: u32 = libc::EPOLLET as u32;

fn check(result: c_int) -> io::Result<c_int> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

fn check_len(result: isize) -> io::Result<usize> {
    usize::try_from(result).map_err(|_| io::Error::last_os_error())
}

/// One readiness report: the token given at registration and the conditions that hold.
#[derive(Clone, Copy)]
pub struct Event {
    /// What [`Epoll::add`] was given.
    pub token: u64,
    /// A mask of [`IN`], [`OUT`] and the others.
    pub ready: u32,
}

/// An epoll instance and room for the events of one call.
pub struct Epoll {
    fd: OwnedFd,
    events: Vec<libc::epoll_event>,
}

impl Epoll {
    /// Makes an instance that reports up to `room` events a call.
    pub fn new(room: usize) -> io::Result<Self> {
        // SAFETY: no pointers; a result that is not negative is a new descriptor that nobody else owns.
        let fd = unsafe { OwnedFd::from_raw_fd(check(libc::epoll_create1(libc::EPOLL_CLOEXEC))?) };
        Ok(Self { fd, events: vec![libc::epoll_event { events: 0, u64: 0 }; room] })
    }

    /// Registers `fd`; closing the descriptor is what removes it.
    pub fn add(&self, fd: BorrowedFd<'_>, token: u64, interest: u32) -> io::Result<()> {
        self.control(libc::EPOLL_CTL_ADD, fd, token, interest)
    }

    /// Changes the interest of a registered `fd`.
    pub fn modify(&self, fd: BorrowedFd<'_>, token: u64, interest: u32) -> io::Result<()> {
        self.control(libc::EPOLL_CTL_MOD, fd, token, interest)
    }

    fn control(&self, op: c_int, fd: BorrowedFd<'_>, token: u64, events: u32) -> io::Result<()> {
        let mut event = libc::epoll_event { events, u64: token };
        // SAFETY: `event` is alive for the call; the kernel copies it.
        check(unsafe { libc::epoll_ctl(self.fd.as_raw_fd(), op, fd.as_raw_fd(), &mut event) })?;
        Ok(())
    }

    /// Waits at most `timeout` and puts what is ready into `into`.
    pub fn wait(&mut self, timeout: Duration, into: &mut Vec<Event>) -> io::Result<()> {
        into.clear();
        // Rounded up, so that the last millisecond before a deadline sleeps and does not spin.
        let millis = c_int::try_from(timeout.as_micros().div_ceil(1000)).unwrap_or(c_int::MAX);
        let room = c_int::try_from(self.events.len()).unwrap_or(c_int::MAX);
        // SAFETY: the pointer and `room` describe the vector's initialised elements.
        let result = check(unsafe {
            libc::epoll_wait(self.fd.as_raw_fd(), self.events.as_mut_ptr(), room, millis)
        });
        let count = match result {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => 0,
            other => other? as usize,
        };
        into.extend(self.events[..count].iter().map(|e| Event { token: e.u64, ready: e.events }));
        Ok(())
    }
}

/// Binds a listening socket: non-blocking, with a backlog that a burst of connects does not fill.
pub fn listen(address: SocketAddr, nodelay: bool) -> io::Result<TcpListener> {
    let listener = TcpListener::bind(address)?;
    listener.set_nonblocking(true)?;
    // SAFETY: no pointers. Calling listen again is how the backlog of a bound socket is changed.
    check(unsafe { libc::listen(listener.as_raw_fd(), 4096) })?;
    if nodelay {
        // Accepted sockets inherit it: no system call per connection.
        set_nodelay(listener.as_raw_fd())?;
    }
    Ok(listener)
}

/// Takes one waiting connection, non-blocking; `None` when there is none.
pub fn accept(listener: &TcpListener) -> io::Result<Option<OwnedFd>> {
    let flags = libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
    // SAFETY: null pointers mean that the peer's address is not wanted.
    let result = check(unsafe {
        libc::accept4(listener.as_raw_fd(), ptr::null_mut(), ptr::null_mut(), flags)
    });
    match result {
        // SAFETY: a new descriptor that nobody else owns.
        Ok(fd) => Ok(Some(unsafe { OwnedFd::from_raw_fd(fd) })),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
        Err(error) if error.raw_os_error() == Some(libc::ECONNABORTED) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Starts a connection and does not wait for it.
pub fn connect(address: SocketAddr, nodelay: bool) -> io::Result<OwnedFd> {
    let family = if address.is_ipv4() { libc::AF_INET } else { libc::AF_INET6 };
    let kind = libc::SOCK_STREAM | libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
    // SAFETY: no pointers; the new descriptor has no other owner.
    let fd = unsafe { OwnedFd::from_raw_fd(check(libc::socket(family, kind, 0))?) };
    if nodelay {
        set_nodelay(fd.as_raw_fd())?;
    }
    let result = match address {
        SocketAddr::V4(v4) => {
            let name = libc::sockaddr_in {
                sin_family: libc::AF_INET as libc::sa_family_t,
                sin_port: v4.port().to_be(),
                sin_addr: libc::in_addr { s_addr: u32::from_ne_bytes(v4.ip().octets()) },
                sin_zero: [0; 8],
            };
            connect_raw(&fd, &name)
        }
        SocketAddr::V6(v6) => {
            let name = libc::sockaddr_in6 {
                sin6_family: libc::AF_INET6 as libc::sa_family_t,
                sin6_port: v6.port().to_be(),
                sin6_flowinfo: v6.flowinfo(),
                sin6_addr: libc::in6_addr { s6_addr: v6.ip().octets() },
                sin6_scope_id: v6.scope_id(),
            };
            connect_raw(&fd, &name)
        }
    };
    match result {
        Err(error) if error.raw_os_error() != Some(libc::EINPROGRESS) => Err(error),
        _ => Ok(fd),
    }
}

/// `name` must be one of the kernel's address structures; [`connect`] is the only caller.
fn connect_raw<T>(fd: &OwnedFd, name: &T) -> io::Result<()> {
    let length = mem::size_of::<T>() as libc::socklen_t;
    // SAFETY: pointer and length describe `name`, which lives through the call.
    check(unsafe { libc::connect(fd.as_raw_fd(), ptr::from_ref(name).cast(), length) })?;
    Ok(())
}

fn set_nodelay(fd: c_int) -> io::Result<()> {
    let on: c_int = 1;
    let length = mem::size_of::<c_int>() as libc::socklen_t;
    // SAFETY: pointer and length describe `on`, which lives through the call.
    check(unsafe {
        let value = ptr::from_ref(&on).cast();
        libc::setsockopt(fd, libc::IPPROTO_TCP, libc::TCP_NODELAY, value, length)
    })?;
    Ok(())
}

/// The error pending on a socket, if there is one.
pub fn pending_error(fd: BorrowedFd<'_>) -> io::Result<()> {
    let mut code: c_int = 0;
    let mut length = mem::size_of::<c_int>() as libc::socklen_t;
    // SAFETY: both pointers are to locals that live through the call, and `length` is that of `code`.
    check(unsafe {
        let value = ptr::from_mut(&mut code).cast();
        libc::getsockopt(fd.as_raw_fd(), libc::SOL_SOCKET, libc::SO_ERROR, value, &mut length)
    })?;
    if code == 0 { Ok(()) } else { Err(io::Error::from_raw_os_error(code)) }
}

/// Sends what fits; never raises SIGPIPE.
pub fn send(fd: BorrowedFd<'_>, bytes: &[u8]) -> io::Result<usize> {
    // SAFETY: pointer and length are those of `bytes`; the kernel only reads.
    check_len(unsafe {
        libc::send(fd.as_raw_fd(), bytes.as_ptr().cast(), bytes.len(), libc::MSG_NOSIGNAL)
    })
}

/// Receives into `into`; 0 is the end of the stream.
pub fn recv(fd: BorrowedFd<'_>, into: &mut [u8]) -> io::Result<usize> {
    // SAFETY: pointer and length are those of `into`, which is borrowed alone.
    check_len(unsafe { libc::recv(fd.as_raw_fd(), into.as_mut_ptr().cast(), into.len(), 0) })
}

/// Receives into `into` and leaves the bytes where they are.
pub fn peek(fd: BorrowedFd<'_>, into: &mut [u8]) -> io::Result<usize> {
    // SAFETY: pointer and length are those of `into`, which is borrowed alone.
    check_len(unsafe {
        libc::recv(fd.as_raw_fd(), into.as_mut_ptr().cast(), into.len(), libc::MSG_PEEK)
    })
}

/// Takes up to `most` bytes off the stream and throws them away inside the kernel; 0 is its end.
///
/// `MSG_TRUNC` copies nothing, so that the sink of a bulk run does not become the bottleneck.
pub fn discard(fd: BorrowedFd<'_>, most: usize) -> io::Result<usize> {
    // SAFETY: for TCP, MSG_TRUNC means that the buffer is never written to (tcp(7)), so null is allowed.
    check_len(unsafe {
        libc::recv(fd.as_raw_fd(), ptr::null_mut::<c_void>(), most, libc::MSG_TRUNC)
    })
}

/// Sends a FIN and keeps the other direction open.
pub fn shutdown_write(fd: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: no pointers.
    check(unsafe { libc::shutdown(fd.as_raw_fd(), libc::SHUT_WR) })?;
    Ok(())
}

/// Pins the calling thread, and what it starts later, to one CPU.
pub fn pin(cpu: usize) -> io::Result<()> {
    if cpu >= libc::CPU_SETSIZE as usize {
        return Err(io::Error::from(io::ErrorKind::InvalidInput));
    }
    // SAFETY: cpu_set_t is a plain bit array, for which all zeroes is the empty set.
    let mut set: libc::cpu_set_t = unsafe { mem::zeroed() };
    // SAFETY: `cpu` is below CPU_SETSIZE, the number of bits of the set.
    unsafe { libc::CPU_SET(cpu, &mut set) };
    // SAFETY: pointer and length describe `set`; 0 is the calling thread.
    check(unsafe { libc::sched_setaffinity(0, mem::size_of::<libc::cpu_set_t>(), &set) })?;
    Ok(())
}

/// Pins the program that `command` will run, before its first instruction.
pub fn pin_command(command: &mut Command, cpu: usize) {
    // SAFETY: between fork and exec only async-signal-safe calls are allowed; `pin` makes one system
    // call on a local and allocates nothing (its errors are plain codes).
    unsafe { command.pre_exec(move || pin(cpu)) };
}

/// Raises the soft limit of open descriptors to the hard one and says what it is now.
pub fn raise_open_files() -> io::Result<u64> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the pointer is to a local that lives through the call.
    check(unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit) })?;
    limit.rlim_cur = limit.rlim_max;
    // SAFETY: as above; the kernel only reads.
    check(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &limit) })?;
    Ok(limit.rlim_cur)
}

/// Sets the nice value of this process, which its children inherit.
pub fn set_nice(nice: i32) -> io::Result<()> {
    // SAFETY: no pointers; 0 is the calling process.
    check(unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, nice) })?;
    Ok(())
}

/// Moves the calling thread into a network namespace of its own and brings its loopback up.
pub fn own_network() -> io::Result<()> {
    // SAFETY: no pointers.
    check(unsafe { libc::unshare(libc::CLONE_NEWNET) })?;
    // SAFETY: no pointers; the new descriptor has no other owner.
    let fd = unsafe {
        let kind = libc::SOCK_DGRAM | libc::SOCK_CLOEXEC;
        OwnedFd::from_raw_fd(check(libc::socket(libc::AF_INET, kind, 0))?)
    };
    // SAFETY: ifreq is plain data, for which all zeroes is valid.
    let mut request: libc::ifreq = unsafe { mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(b"lo") {
        *to = *from as libc::c_char;
    }
    request.ifr_ifru.ifru_flags = (libc::IFF_UP | libc::IFF_RUNNING) as libc::c_short;
    // SAFETY: SIOCSIFFLAGS reads one ifreq, which lives through the call.
    check(unsafe { libc::ioctl(fd.as_raw_fd(), libc::SIOCSIFFLAGS, &request) })?;
    Ok(())
}

/// Asks a process to end (SIGTERM), or ends it (SIGKILL).
pub fn kill(pid: u32, force: bool) -> io::Result<()> {
    let pid = c_int::try_from(pid).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
    // SAFETY: no pointers.
    check(unsafe { libc::kill(pid, if force { libc::SIGKILL } else { libc::SIGTERM }) })?;
    Ok(())
}
