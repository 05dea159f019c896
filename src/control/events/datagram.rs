//! Events as datagrams to a Unix socket. Each is sent to the path, not to a connection: a receiver that
//! begins anew at the same path is found at the next event.

use std::io::{self, ErrorKind};
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;

use super::output::Output;
use super::pen::{Pen, Wrote};
use crate::config::limits;

/// Sends to a socket.
#[derive(Debug)]
pub(super) struct Writer {
    path: PathBuf,
    socket: UnixDatagram,
}

impl Writer {
    /// # Errors
    /// There are no sockets left.
    pub(super) fn new(path: PathBuf) -> io::Result<Self> {
        let socket = UnixDatagram::unbound()?;
        socket.set_write_timeout(Some(limits::EVENT_DATAGRAM_WAIT))?;
        Ok(Self { path, socket })
    }

    fn send(&self, line: &[u8]) -> io::Result<usize> {
        loop {
            match self.socket.send_to(line, &self.path) {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    return Err(io::Error::new(ErrorKind::TimedOut, "the receiver does not read"));
                }
                sent => return sent,
            }
        }
    }
}

impl Pen for Writer {
    fn write(&mut self, lines: &[u8], output: &Output) -> Wrote {
        let mut wrote = Wrote { bytes: 0, given_up: 0, failure: None };
        for line in lines.split_inclusive(|byte| *byte == b'\n') {
            match self.send(line.strip_suffix(b"\n").unwrap_or(line)) {
                Ok(_) => {}
                Err(error) if error.raw_os_error() == Some(libc::EMSGSIZE) => {
                    wrote.given_up += 1;
                    output.unfit(1, "larger than a datagram can be; `service`: \"id\" is smaller");
                }
                Err(error) => {
                    wrote.failure = Some(error);
                    break;
                }
            }
            wrote.bytes += line.len();
        }
        wrote
    }
}
