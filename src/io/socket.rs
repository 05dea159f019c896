//! Sockets: made, accepted, connected, read, written, ended. All are `O_NONBLOCK` and
//! `O_CLOEXEC` from birth; every call returns at once.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::path::Path;
use std::time::Duration;

use socket2::{Domain, Protocol, SockAddr, SockFilter, SockRef, Socket, Type};

use super::{check, check_len};
use crate::config::limits;

/// Makes a listening address's socket without listening yet, so that a whole set can be bound
/// before the first client may come.
///
/// Accepted sockets inherit `TCP_NODELAY` and keepalive from it (Linux clones the listener), which
/// spares five system calls a connection.
///
/// # Errors
/// Those of socket(2), setsockopt(2) and bind(2).
pub fn bind_listener(addr: SocketAddr) -> io::Result<Socket> {
    let socket = tcp_socket(addr)?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(true)?;
    if addr.is_ipv6() {
        // `::` takes IPv4 as well, whatever net.ipv6.bindv6only says.
        socket.set_only_v6(false)?;
    }
    socket.set_tcp_nodelay(true)?;
    keep_alive(&SockRef::from(&socket))?;
    socket.bind(&addr.into())?;
    Ok(socket)
}

/// Asks whether another process (or an earlier life of this one) listens on `addr`, which
/// `SO_REUSEPORT` would hide: two proxies of one user would silently share the port.
///
/// # Errors
/// `AddrInUse` when somebody listens there; others as bind(2) gives them.
pub fn probe_free(addr: SocketAddr) -> io::Result<()> {
    let socket = tcp_socket(addr)?;
    // Without SO_REUSEPORT; SO_REUSEADDR lets TIME_WAIT remains pass, but no listener.
    socket.set_reuse_address(true)?;
    if addr.is_ipv6() {
        socket.set_only_v6(false)?;
    }
    socket.bind(&addr.into())
}

/// Starts listening on a bound socket.
///
/// # Errors
/// Those of listen(2).
pub fn listen(socket: &Socket) -> io::Result<()> {
    socket.listen(limits::BACKLOG)
}

fn tcp_socket(addr: SocketAddr) -> io::Result<Socket> {
    let kind = Type::STREAM.nonblocking().cloexec();
    Socket::new_raw(Domain::for_address(addr), kind, Some(Protocol::TCP))
}

/// Keepalive: a peer that vanished without a word is found while nothing is being sent to it.
fn keep_alive(socket: &SockRef<'_>) -> io::Result<()> {
    let keepalive = socket2::TcpKeepalive::new()
        .with_time(limits::KEEPALIVE_IDLE)
        .with_interval(limits::KEEPALIVE_INTERVAL)
        .with_retries(limits::KEEPALIVE_PROBES);
    socket.set_tcp_keepalive(&keepalive)
}

/// Guards a TCP connection that has lived long enough to be worth the system calls: keepalive where
/// the socket did not inherit it, and `TCP_USER_TIMEOUT`. The latter also ends a peer that answers
/// but does not read (Linux counts answered window probes against it), so it must not be shorter
/// than the idle limit, which rules that case. Errors are ignored: the connection is at worst as
/// vulnerable as it was.
pub fn guard(fd: BorrowedFd<'_>, idle: Option<Duration>) {
    let socket = SockRef::from(&fd);
    let _ = keep_alive(&socket);
    let _ = socket.set_tcp_user_timeout(idle.map(|idle| idle.max(limits::DEAD_AFTER)));
}

/// What the kernel knows of a TCP connection; `None` for another socket.
pub fn tcp_info(fd: BorrowedFd<'_>) -> Option<libc::tcp_info> {
    // SAFETY: all-zero is a valid tcp_info; it is plain integers.
    let mut info: libc::tcp_info = unsafe { mem::zeroed() };
    let mut len = socklen::<libc::tcp_info>();
    // SAFETY: the kernel writes at most `len` bytes into `info`.
    let result = check(unsafe {
        libc::getsockopt(
            fd.as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_INFO,
            (&raw mut info).cast(),
            &raw mut len,
        )
    });
    result.is_ok().then_some(info)
}

/// True when the peer has acknowledged nothing for [`limits::DEAD_AFTER`] although it had something
/// to acknowledge: bytes, or a probe of its closed window.
pub fn is_dead(fd: BorrowedFd<'_>) -> bool {
    tcp_info(fd).is_some_and(|info| {
        (info.tcpi_unacked > 0 || info.tcpi_probes > 0)
            && u128::from(info.tcpi_last_ack_recv) >= limits::DEAD_AFTER.as_millis()
    })
}

/// From now on the listener drops new SYNs, while handshakes already answered still complete and
/// join the queue. With it a listener can be emptied and closed without resetting anybody: closing
/// one that still queues resets what waits in it.
///
/// # Errors
/// Those of setsockopt(2).
pub fn refuse_new(listener: BorrowedFd<'_>) -> io::Result<()> {
    // A classic BPF program over the TCP header (where a socket filter on a listener starts):
    // flags & (SYN|ACK) == SYN → drop, else pass whole.
    const FLAGS_OFFSET: u32 = 13;
    const SYN: u32 = 0x02;
    const SYN_ACK: u32 = 0x12;
    let program = [
        SockFilter::new(0x30, 0, 0, FLAGS_OFFSET), // A = byte at FLAGS_OFFSET
        SockFilter::new(0x54, 0, 0, SYN_ACK),      // A &= SYN|ACK
        SockFilter::new(0x15, 0, 1, SYN),          // A == SYN ? next : skip one
        SockFilter::new(0x06, 0, 0, 0),            // drop
        SockFilter::new(0x06, 0, 0, u32::MAX),     // pass
    ];
    SockRef::from(&listener).attach_filter(&program)
}

/// Undoes [`refuse_new`].
///
/// # Errors
/// Those of setsockopt(2).
pub fn welcome_new(listener: BorrowedFd<'_>) -> io::Result<()> {
    SockRef::from(&listener).detach_filter()
}

/// A socket's address as the kernel wrote it, without a conversion until somebody asks.
#[derive(Clone, Copy)]
pub struct RawAddr {
    storage: Storage,
}

/// Room for the two families a TCP listener can have; `sockaddr_storage` would be 128 bytes in
/// every connection.
#[derive(Clone, Copy)]
#[repr(C)]
union Storage {
    family: libc::sa_family_t,
    v4: libc::sockaddr_in,
    v6: libc::sockaddr_in6,
}

impl std::fmt::Debug for RawAddr {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.get().fmt(f)
    }
}

impl RawAddr {
    fn empty() -> Self {
        // SAFETY: all-zero is a valid value of each member; they are plain integers.
        unsafe { mem::zeroed() }
    }

    /// The address; `None` where the kernel gave none of a family we know.
    pub fn get(&self) -> Option<SocketAddr> {
        // SAFETY: `family` lies at offset 0 of every member, and all bytes are initialised.
        let family = unsafe { self.storage.family };
        match libc::c_int::from(family) {
            libc::AF_INET => {
                // SAFETY: the kernel (or `empty`) wrote an AF_INET address here.
                let v4 = unsafe { self.storage.v4 };
                let ip = std::net::Ipv4Addr::from(u32::from_be(v4.sin_addr.s_addr));
                Some(SocketAddr::from((ip, u16::from_be(v4.sin_port))))
            }
            libc::AF_INET6 => {
                // SAFETY: the kernel wrote an AF_INET6 address here.
                let v6 = unsafe { self.storage.v6 };
                let ip = std::net::Ipv6Addr::from(v6.sin6_addr.s6_addr);
                // An IPv4 client of a `::` listener is an IPv4 client.
                Some(SocketAddr::new(ip.to_canonical(), u16::from_be(v6.sin6_port)))
            }
            _ => None,
        }
    }
}

/// accept4(2) with both flags set; `WouldBlock` when the queue is empty.
///
/// # Errors
/// Those of accept4(2).
pub fn accept(listener: RawFd) -> io::Result<(OwnedFd, RawAddr)> {
    let mut addr = RawAddr::empty();
    let mut len = socklen::<Storage>();
    let flags = libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
    // SAFETY: `addr` and `len` are ours, writable, and `len` is the size of `addr`.
    let fd = check(unsafe {
        libc::accept4(listener, (&raw mut addr.storage).cast(), &raw mut len, flags)
    })?;
    // SAFETY: accept4 returned a new descriptor that nobody else owns.
    Ok((unsafe { OwnedFd::from_raw_fd(fd) }, addr))
}

fn socklen<T>() -> libc::socklen_t {
    libc::socklen_t::try_from(mem::size_of::<T>()).unwrap_or(libc::socklen_t::MAX)
}

/// The local address of a socket.
pub fn local_addr(fd: RawFd) -> Option<SocketAddr> {
    let mut addr = RawAddr::empty();
    let mut len = socklen::<Storage>();
    // SAFETY: `addr` and `len` are ours, writable, and `len` is the size of `addr`.
    let result =
        check(unsafe { libc::getsockname(fd, (&raw mut addr.storage).cast(), &raw mut len) });
    result.ok().and_then(|_| addr.get())
}

/// Who is at the other end of a socket.
pub fn peer_addr(fd: BorrowedFd<'_>) -> Option<SocketAddr> {
    SockRef::from(&fd).peer_addr().ok()?.as_socket()
}

/// Where a connect goes, in the form the kernel takes.
#[derive(Debug, Clone)]
pub struct Destination {
    addr: SockAddr,
}

impl From<SocketAddr> for Destination {
    fn from(addr: SocketAddr) -> Self {
        Self { addr: addr.into() }
    }
}

impl Destination {
    /// A UNIX stream socket.
    ///
    /// # Errors
    /// When the path is too long for `sockaddr_un`.
    pub fn unix(path: &Path) -> io::Result<Self> {
        Ok(Self { addr: SockAddr::unix(path)? })
    }

    /// True for a UNIX socket.
    pub fn is_unix(&self) -> bool {
        self.addr.is_unix()
    }

    /// The IP address and port; `None` for a UNIX socket.
    pub fn ip(&self) -> Option<SocketAddr> {
        self.addr.as_socket()
    }

    /// A socket fit to connect to this destination, with `TCP_NODELAY` where that means something.
    ///
    /// # Errors
    /// Those of socket(2): `EMFILE`, `ENFILE`, `ENOBUFS`.
    pub fn socket(&self) -> io::Result<OwnedFd> {
        let kind = Type::STREAM.nonblocking().cloexec();
        let socket = Socket::new_raw(self.addr.domain(), kind, None)?;
        if !self.is_unix() {
            socket.set_tcp_nodelay(true)?;
        }
        Ok(socket.into())
    }

    /// connect(2): starts, or asks how an earlier start went. Called again after `EINPROGRESS` it
    /// returns `Ok` once connected, the failure if it failed, and `EALREADY` while it lasts.
    ///
    /// # Errors
    /// Those of connect(2).
    pub fn connect(&self, fd: RawFd) -> io::Result<()> {
        // SAFETY: `addr` holds an address of the length it says.
        check(unsafe { libc::connect(fd, self.addr.as_ptr().cast(), self.addr.len()) }).map(|_| ())
    }
}

/// True for the errors that say «the handshake is still on its way».
pub fn is_in_progress(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EINPROGRESS | libc::EALREADY))
}

/// recv(2) without waiting. `Ok(0)` is the end of the stream.
///
/// # Errors
/// Those of recv(2).
pub fn recv(fd: RawFd, buffer: &mut [u8]) -> io::Result<usize> {
    let (at, len) = (buffer.as_mut_ptr(), buffer.len());
    let (none, flags) = (std::ptr::null_mut::<libc::c_void>(), libc::MSG_DONTWAIT);
    // Not `libc::recv`: a cancellation point costs a percent of what a small message costs.
    // SAFETY: the pointer and length are those of one exclusive slice; no address is asked for.
    let n = unsafe { libc::syscall(libc::SYS_recvfrom, fd, at, len, flags, none, none) };
    usize::try_from(n).map_err(|_| io::Error::last_os_error())
}

/// send(2) without waiting and without SIGPIPE.
///
/// # Errors
/// Those of send(2).
pub fn send(fd: RawFd, bytes: &[u8]) -> io::Result<usize> {
    let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
    let (at, len, none) = (bytes.as_ptr(), bytes.len(), std::ptr::null::<libc::c_void>());
    // As for `recv`.
    // SAFETY: the pointer and length are those of one slice; no address is given.
    let n = unsafe { libc::syscall(libc::SYS_sendto, fd, at, len, flags, none, 0_usize) };
    usize::try_from(n).map_err(|_| io::Error::last_os_error())
}

/// readv(2) of a socket without waiting. `Ok(0)` is the end of the stream.
///
/// # Errors
/// Those of recvmsg(2).
pub fn recv_into(fd: RawFd, buffers: &mut [IoSliceMut<'_>]) -> io::Result<usize> {
    // SAFETY: zeroes are a valid msghdr: no name, no control data.
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    message.msg_iov = buffers.as_mut_ptr().cast();
    message.msg_iovlen = buffers.len();
    // SAFETY: an IoSliceMut has the layout of an iovec, and each is an exclusive slice.
    check_len(unsafe { libc::recvmsg(fd, &raw mut message, libc::MSG_DONTWAIT) })
}

/// writev(2) of a socket without waiting and without SIGPIPE.
///
/// # Errors
/// Those of sendmsg(2).
pub fn send_from(fd: RawFd, buffers: &[IoSlice<'_>]) -> io::Result<usize> {
    // SAFETY: zeroes are a valid msghdr: no name, no control data.
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    message.msg_iov = buffers.as_ptr().cast_mut().cast();
    message.msg_iovlen = buffers.len();
    let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
    // SAFETY: an IoSlice has the layout of an iovec; sendmsg only reads what it points to.
    check_len(unsafe { libc::sendmsg(fd, &raw const message, flags) })
}

/// Whether a call would have had to wait.
pub fn would_block(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted)
}

/// Sends FIN after what is queued; the other direction stays open. A socket that is no longer
/// connected has nothing to end.
pub fn finish_writing(fd: RawFd) {
    // SAFETY: shutdown takes no memory of ours.
    let _ = check(unsafe { libc::shutdown(fd, libc::SHUT_WR) });
}

/// Ends both directions of a socket, or a listener's listening, while the descriptor stays.
pub fn shutdown_both(fd: RawFd) {
    // SAFETY: shutdown takes no memory of ours.
    let _ = check(unsafe { libc::shutdown(fd, libc::SHUT_RDWR) });
}

/// Resets the connection at once (RST, queued bytes dropped), while the descriptor stays: connect
/// to `AF_UNSPEC` is TCP's abort. A UNIX socket knows no reset and is shut down.
pub fn reset(fd: RawFd) {
    let nowhere = libc::sockaddr {
        sa_family: libc::sa_family_t::try_from(libc::AF_UNSPEC).unwrap_or(0),
        sa_data: [0; 14],
    };
    // SAFETY: `nowhere` is a whole sockaddr of the length given.
    let result =
        check(unsafe { libc::connect(fd, &raw const nowhere, socklen::<libc::sockaddr>()) });
    if result.is_err() {
        shutdown_both(fd);
    }
}

/// Bytes handed to the kernel that the peer has not acknowledged (`SIOCOUTQ`); 0 where it cannot
/// be asked.
pub fn unacknowledged(fd: RawFd) -> usize {
    let mut queued: libc::c_int = 0;
    // SAFETY: TIOCOUTQ (SIOCOUTQ) writes one int.
    let result = check(unsafe { libc::ioctl(fd, libc::TIOCOUTQ, &raw mut queued) });
    result.ok().and_then(|_| usize::try_from(queued).ok()).unwrap_or(0)
}

/// Bytes received that nobody has read (`SIOCINQ`); 0 where it cannot be asked.
pub fn unread(fd: RawFd) -> usize {
    let mut queued: libc::c_int = 0;
    // SAFETY: FIONREAD (SIOCINQ) writes one int.
    let result = check(unsafe { libc::ioctl(fd, libc::FIONREAD, &raw mut queued) });
    result.ok().and_then(|_| usize::try_from(queued).ok()).unwrap_or(0)
}

/// True when the socket holds an error that nobody has taken yet: a reset came. (The TCP state is no
/// answer: a socket that ended first and in order is in TCP_CLOSE too, with bytes still to read.)
pub fn is_reset(fd: BorrowedFd<'_>) -> bool {
    let mut poll = libc::pollfd { fd: fd.as_raw_fd(), events: 0, revents: 0 };
    // SAFETY: `poll` is one valid pollfd; poll(2) with no timeout returns at once.
    let ready = unsafe { libc::poll(&raw mut poll, 1, 0) };
    ready == 1 && poll.revents & libc::POLLERR != 0
}

/// True when the peer has ended its stream: what it sent may still wait to be read.
pub fn has_ended(fd: BorrowedFd<'_>) -> bool {
    let mut poll = libc::pollfd { fd: fd.as_raw_fd(), events: libc::POLLRDHUP, revents: 0 };
    // SAFETY: `poll` is one valid pollfd; poll(2) with no timeout returns at once.
    let ready = unsafe { libc::poll(&raw mut poll, 1, 0) };
    ready == 1 && poll.revents & libc::POLLRDHUP != 0
}

/// True when TCP has given the connection up (a reset came, or it was never one).
pub fn is_closed(fd: BorrowedFd<'_>) -> bool {
    const TCP_CLOSE: u8 = 7;
    let mut state = [0u8; 1];
    let mut len = socklen::<[u8; 1]>();
    // SAFETY: TCP_INFO writes at most `len` bytes; its first is the state.
    let result = check(unsafe {
        libc::getsockopt(
            fd.as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_INFO,
            state.as_mut_ptr().cast(),
            &raw mut len,
        )
    });
    result.is_ok() && state == [TCP_CLOSE]
}

/// splice(2) of at most `len` bytes, never waiting on either end (both must be `O_NONBLOCK`).
///
/// # Errors
/// Those of splice(2).
pub fn splice(from: RawFd, to: RawFd, len: usize) -> io::Result<usize> {
    let flags = libc::SPLICE_F_MOVE | libc::SPLICE_F_NONBLOCK;
    // SAFETY: null offsets are allowed for pipes and sockets; no memory of ours is involved.
    check_len(unsafe {
        libc::splice(from, std::ptr::null_mut(), to, std::ptr::null_mut(), len, flags)
    })
}

/// Resets a connection that nobody serves and closes its descriptor.
pub fn reset_and_close(fd: OwnedFd) {
    reset(fd.as_raw_fd());
}
