//! A scripted end of a connection: client or upstream, it does exactly what the test says and
//! checks what it sees. Every wait has a deadline.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use socket2::{Domain, SockRef, Socket, Type};

use super::data::{Digest, Hasher, Random};
use super::wait::{SOON, wait_until};

/// How the other side ended its direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// A FIN: all there was to say has been said.
    Eof,
    /// A RST: the stream was cut.
    Reset,
}

/// What a peer did in its life, for the verdict to compare with the proxy's event.
#[derive(Debug, Clone, Copy)]
pub struct Outcome {
    /// The peer's own port: what the event's `remote` names.
    pub port: u16,
    /// Bytes this peer handed to its kernel.
    pub sent: u64,
    /// Bytes this peer read.
    pub received: u64,
}

/// One end of a TCP connection.
pub struct Peer {
    stream: TcpStream,
    port: u16,
    /// Reset before it was used at all.
    born_dead: bool,
    sent: Arc<AtomicU64>,
    received: AtomicU64,
}

impl Peer {
    /// Connects to `address`.
    #[track_caller]
    pub fn connect(address: SocketAddr) -> Peer {
        match Peer::try_connect(address) {
            Ok(peer) => peer,
            Err(error) => panic!("connect to {address}: {error}"),
        }
    }

    pub fn try_connect(address: SocketAddr) -> io::Result<Peer> {
        Peer::try_connect_with(address, |_| Ok(()))
    }

    /// Connects after `prepare` has set options on the socket.
    pub fn try_connect_with(
        address: SocketAddr,
        prepare: impl FnOnce(&Socket) -> io::Result<()>,
    ) -> io::Result<Peer> {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
        prepare(&socket)?;
        let result = socket.connect_timeout(&address.into(), SOON);
        if result.as_ref().is_err_and(|error| error.kind() == ErrorKind::ConnectionReset) {
            // The other side let us in and cut us off before we looked: that is a connection, whose
            // error has been taken out of the socket by the look.
            let stream: TcpStream = socket.into();
            let port = stream.local_addr()?.port();
            return Ok(Peer {
                stream,
                port,
                born_dead: true,
                sent: Arc::default(),
                received: AtomicU64::new(0),
            });
        }
        result?;
        Peer::over(socket.into())
    }

    /// A peer over a stream that is connected already.
    pub fn over(stream: TcpStream) -> io::Result<Peer> {
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(SOON))?;
        stream.set_write_timeout(Some(SOON))?;
        let port = stream.local_addr()?.port();
        Ok(Peer {
            stream,
            port,
            born_dead: false,
            sent: Arc::default(),
            received: AtomicU64::new(0),
        })
    }

    /// Changes how long this peer waits before it fails the test.
    pub fn set_deadline(&self, deadline: Duration) {
        self.stream.set_read_timeout(Some(deadline)).unwrap();
        self.stream.set_write_timeout(Some(deadline)).unwrap();
    }

    pub fn socket(&self) -> SockRef<'_> {
        SockRef::from(&self.stream)
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    pub fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }

    /// What [`Peer::sent`] reads, for watching a peer that another thread owns.
    pub fn sent_counter(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.sent)
    }

    pub fn received(&self) -> u64 {
        self.received.load(Ordering::Relaxed)
    }

    // ---- sending ------------------------------------------------------------------------------

    /// Sends all of `bytes`.
    #[track_caller]
    pub fn send(&self, bytes: &[u8]) {
        if let Err(error) = self.try_send(bytes) {
            panic!("send {} bytes, {} sent before: {error}", bytes.len(), self.sent());
        }
    }

    pub fn try_send(&self, mut bytes: &[u8]) -> io::Result<()> {
        if self.born_dead {
            return Err(ErrorKind::ConnectionReset.into());
        }
        while !bytes.is_empty() {
            let count = match (&self.stream).write(bytes) {
                Ok(count) => count,
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            self.sent.fetch_add(count as u64, Ordering::Relaxed);
            bytes = &bytes[count..];
        }
        Ok(())
    }

    /// Sends `count` bytes made from `seed`; returns their digest.
    #[track_caller]
    pub fn send_random(&self, seed: u64, count: u64) -> Digest {
        let mut random = Random::new(seed);
        let mut hasher = Hasher::default();
        let mut buffer = vec![0; 64 * 1024];
        let mut left = count;
        while left > 0 {
            let size = usize::try_from(left).map_or(buffer.len(), |left| left.min(buffer.len()));
            random.fill(&mut buffer[..size]);
            hasher.update(&buffer[..size]);
            self.send(&buffer[..size]);
            left -= size as u64;
        }
        hasher.finish()
    }

    /// Ends this direction: FIN. The other stays open.
    #[track_caller]
    pub fn fin(&self) {
        // On a connection that was reset there is nothing left to end.
        match self.stream.shutdown(Shutdown::Write) {
            Err(error) if error.kind() != ErrorKind::NotConnected => panic!("shutdown: {error}"),
            _ => {}
        }
    }

    // ---- receiving ----------------------------------------------------------------------------

    /// One read: what is there, up to 64 KiB; empty at the end of the stream.
    pub fn try_recv(&self) -> io::Result<Vec<u8>> {
        let mut buffer = vec![0; 64 * 1024];
        let count = self.try_recv_into(&mut buffer)?;
        buffer.truncate(count);
        Ok(buffer)
    }

    fn try_recv_into(&self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.born_dead {
            return Err(ErrorKind::ConnectionReset.into());
        }
        loop {
            match (&self.stream).read(buffer) {
                Ok(count) => {
                    self.received.fetch_add(count as u64, Ordering::Relaxed);
                    return Ok(count);
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Exactly `count` bytes.
    #[track_caller]
    pub fn recv_exact(&self, count: usize) -> Vec<u8> {
        let mut buffer = vec![0; count];
        let mut have = 0;
        while have < count {
            match self.try_recv_into(&mut buffer[have..]) {
                Ok(0) => panic!("the stream ended after {have} of {count} bytes"),
                Ok(more) => have += more,
                Err(error) => panic!("after {have} of {count} bytes: {error}"),
            }
        }
        buffer
    }

    /// The next bytes are `expected`.
    #[track_caller]
    pub fn expect(&self, expected: &[u8]) {
        let got = self.recv_exact(expected.len());
        assert!(
            got == expected,
            "expected {:?}, got {:?}",
            String::from_utf8_lossy(expected),
            String::from_utf8_lossy(&got)
        );
    }

    /// Reads until the other side ends, however it does: the bytes and the end.
    #[track_caller]
    pub fn recv_to_end(&self) -> (Vec<u8>, End) {
        let mut all = Vec::new();
        let end = self.read_to_end(|bytes| all.extend_from_slice(bytes));
        (all, end)
    }

    /// Reads up to a clean end and hashes what came: the count and the digest.
    #[track_caller]
    pub fn hash_to_eof(&self) -> (u64, Digest) {
        let mut hasher = Hasher::default();
        let before = self.received();
        let end = self.read_to_end(|bytes| hasher.update(bytes));
        let count = self.received() - before;
        assert_eq!(end, End::Eof, "the stream was cut after {count} bytes");
        (count, hasher.finish())
    }

    #[track_caller]
    fn read_to_end(&self, mut take: impl FnMut(&[u8])) -> End {
        let mut buffer = vec![0; 256 * 1024];
        loop {
            match self.try_recv_into(&mut buffer) {
                Ok(0) => return End::Eof,
                Ok(count) => take(&buffer[..count]),
                Err(error) if is_reset(&error) => return End::Reset,
                Err(error) => panic!("after {} bytes received: {error}", self.received()),
            }
        }
    }

    /// No further byte, then FIN.
    #[track_caller]
    pub fn expect_eof(&self) {
        self.expect_end_is(End::Eof);
    }

    /// No further byte, then RST.
    #[track_caller]
    pub fn expect_reset(&self) {
        self.expect_end_is(End::Reset);
    }

    /// No further byte, then either end.
    #[track_caller]
    pub fn expect_end(&self) -> End {
        let (bytes, end) = self.recv_to_end();
        assert!(bytes.is_empty(), "expected the end, got {} bytes and then {end:?}", bytes.len());
        end
    }

    #[track_caller]
    fn expect_end_is(&self, expected: End) {
        assert_eq!(self.expect_end(), expected, "the way the other side ended");
    }

    /// After an end that has been read already, the connection is cut: the socket gets an error.
    #[track_caller]
    pub fn expect_silence_then_reset(&self) {
        wait_until("a reset after the end", SOON, || {
            let error = self.stream.take_error().expect("SO_ERROR");
            error.is_some_and(|error| is_reset(&error))
        });
    }

    /// Nothing has come: neither a byte nor an end. Looks once, does not wait.
    #[track_caller]
    pub fn expect_silence(&self) {
        self.stream.set_nonblocking(true).unwrap();
        let found = self.stream.peek(&mut [0]);
        self.stream.set_nonblocking(false).unwrap();
        match found {
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            other => panic!("expected silence, found {other:?}"),
        }
    }

    /// True once the other side has ended or reset the connection. Does not wait; only for
    /// connections over which no byte is due.
    pub fn has_ended(&self) -> bool {
        self.stream.set_nonblocking(true).unwrap();
        let found = self.stream.peek(&mut [0]);
        self.stream.set_nonblocking(false).unwrap();
        match found {
            Ok(count) => count == 0,
            Err(error) => error.kind() != ErrorKind::WouldBlock,
        }
    }

    // ---- ending -------------------------------------------------------------------------------

    /// Closes: FIN, or RST if bytes are unread (that is what the kernel makes of it).
    pub fn close(self) -> Outcome {
        self.outcome()
    }

    /// Cuts the connection: RST.
    #[track_caller]
    pub fn rst(self) -> Outcome {
        self.socket().set_linger(Some(Duration::ZERO)).expect("SO_LINGER 0");
        self.outcome()
    }

    pub fn outcome(&self) -> Outcome {
        Outcome { port: self.port, sent: self.sent(), received: self.received() }
    }
}

impl Read for &Peer {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.try_recv_into(buffer)
    }
}

impl Write for &Peer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.born_dead {
            return Err(ErrorKind::ConnectionReset.into());
        }
        let count = (&self.stream).write(bytes)?;
        self.sent.fetch_add(count as u64, Ordering::Relaxed);
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl From<Peer> for Outcome {
    fn from(peer: Peer) -> Outcome {
        peer.close()
    }
}

/// Whether an error of send or recv means that the other side cut the connection.
pub fn is_reset(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::ConnectionReset | ErrorKind::BrokenPipe)
}
