//! An address that never answers.

use std::net::{SocketAddr, TcpListener};

use socket2::{Domain, Socket, Type};

use super::backend::listen;
use super::ports::{free_port, loopback};

/// A listening address that never answers: its queue is full, and the kernel drops what else
/// comes.
pub struct BlackHole {
    pub address: SocketAddr,
    _listener: TcpListener,
    _queue: Vec<Socket>,
}

impl BlackHole {
    pub fn dig() -> BlackHole {
        BlackHole::dig_at(loopback(free_port()))
    }

    pub fn dig_at(address: SocketAddr) -> BlackHole {
        let listener = listen(address, 0).expect("listen");
        // A queue of length 0 holds one connection.
        let queue = (0..4)
            .map(|_| {
                let domain = Domain::for_address(address);
                let socket = Socket::new(domain, Type::STREAM, None).expect("socket");
                socket.set_nonblocking(true).unwrap();
                let _ = socket.connect(&address.into());
                socket
            })
            .collect();
        BlackHole { address, _listener: listener, _queue: queue }
    }
}
