//! Port numbers that nobody else holds.

use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::sync::atomic::{AtomicU32, Ordering};

use socket2::{Domain, Socket, Type};

/// Below the kernel's ephemeral range (32768 and up on Linux): a port that is free stays free
/// however many connections the tests make before the proxy binds it.
const FIRST: u32 = 10_000;
const COUNT: u32 = 22_000;

/// A loopback port to bind later. Each is handed out once in the life of this process, and runs of
/// the suite that overlap start at different places.
pub fn free_port() -> u16 {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    for _ in 0..COUNT {
        let step = NEXT.fetch_add(1, Ordering::Relaxed);
        let start = std::process::id().wrapping_mul(977);
        let port = FIRST + start.wrapping_add(step) % COUNT;
        let port = u16::try_from(port).expect("within the range of ports");
        if is_free(loopback(port)) {
            return port;
        }
    }
    panic!("no free port between {FIRST} and {}", FIRST + COUNT);
}

/// Whether nobody listens on `address`. Looks without listening itself, so that no connection can
/// end up with the look.
pub fn is_free(address: SocketAddr) -> bool {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None).expect("socket");
    socket.set_reuse_address(true).expect("SO_REUSEADDR");
    socket.bind(&address.into()).is_ok()
}

/// `127.0.0.1` with this port.
pub fn loopback(port: u16) -> SocketAddr {
    SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::LOCALHOST, port))
}
