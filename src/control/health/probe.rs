//! One check of one target, on the control thread: connect, PROXY header, TLS, talk, farewell.

use std::io;
use std::net::SocketAddr;
use std::os::fd::AsRawFd;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, timeout};

use crate::config::checked::SendHeader;
use crate::config::checked::health::Talk;
use crate::config::limits;
use crate::config::snapshot::{Addresses, Check, Own, TargetTls};
use crate::config::span::Span;
use crate::control::health::dialogue::{Dialogue, Move, Script, Silence, Transcript};
use crate::control::health::http::Request;
use crate::io::socket::{self, Destination};
use crate::wire::proxy_header::{LOCAL, write_v1};

/// What one check found.
#[derive(Debug)]
pub enum Outcome {
    /// The target can take connections.
    Passed,
    /// It cannot.
    Failed {
        /// Why, in half a sentence about the target.
        reason: String,
        /// What was said.
        transcript: Vec<String>,
    },
    /// Nobody knows: this process did not run while it waited, or lacked what a connection needs
    /// (then why).
    Void(Option<io::Error>),
}

trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}

/// A check under way; what a deadline leaves of it can still be told.
struct Attempt<'a> {
    check: &'a Check,
    own: &'a Own,
    dialogue: Box<dyn Dialogue + 'a>,
    transcript: Transcript,
    stream: Option<Box<dyn Stream>>,
    doing: Doing,
    /// What this process lacked.
    shortage: Option<io::Error>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Doing {
    Connect,
    Handshake,
    Talk,
}

/// Checks a target once. `permit` is given back when the connection has ended, which may be a moment
/// after the answer.
pub async fn check(check: &Check, own: &Own, permit: OwnedSemaphorePermit) -> Outcome {
    let limit = check.probe.timeout;
    let dialogue: Box<dyn Dialogue + '_> = match &check.probe.talk {
        Talk::Nothing => Box::new(Silence),
        Talk::Script(commands) => Box::new(Script::new(commands)),
        Talk::Http(http) => Box::new(Request::new(http, &check.host)),
    };
    let (transcript, stream, doing) = (Transcript::default(), None, Doing::Connect);
    let shortage = None;
    let mut attempt = Attempt { check, own, dialogue, transcript, stream, doing, shortage };
    let started = Instant::now();
    let result = timeout(limit, attempt.run(started + limit)).await;
    let result = match result {
        Ok(result) => result,
        Err(_) if started.elapsed() > limit + limits::CHECK_LATE => {
            return Outcome::Void(None);
        }
        Err(_) if attempt.doing == Doing::Talk && attempt.dialogue.is_farewell() => Ok(()),
        Err(_) => Err(attempt.too_late(limit)),
    };
    let outcome = match result {
        Ok(()) => Outcome::Passed,
        // No address that could be tried took it; no fault of the target.
        Err(_) if attempt.shortage.is_some() => Outcome::Void(attempt.shortage.take()),
        Err(reason) => {
            let talks = attempt.doing == Doing::Talk;
            let awaited = if talks { attempt.dialogue.awaited() } else { String::new() };
            Outcome::Failed { reason, transcript: attempt.transcript.lines(&awaited) }
        }
    };
    if let Some(stream) = attempt.stream {
        tokio::spawn(farewell(stream, permit));
    }
    outcome
}

impl Attempt<'_> {
    async fn run(&mut self, deadline: Instant) -> Result<(), String> {
        let Connected { stream, local, peer } = self.connect(deadline).await?;
        self.stream = Some(stream);
        // In version 1 the connection's own addresses, for some receivers refuse `UNKNOWN`.
        let header = match self.check.probe.header {
            SendHeader::Off => Vec::new(),
            SendHeader::V1 => write_v1(local, peer).to_vec(),
            SendHeader::V2 => LOCAL.to_vec(),
        };
        if !header.is_empty() {
            self.transcript.sent(&header);
            self.send(&header).await.map_err(|error| format!("took no bytes: {error}"))?;
        }
        if let Some(tls) = &self.check.tls {
            self.doing = Doing::Handshake;
            self.handshake(tls).await?;
        }
        self.doing = Doing::Talk;
        self.talk().await
    }

    /// Goes through the addresses as connections do; each has its part of the time that is left.
    async fn connect(&mut self, deadline: Instant) -> Result<Connected, String> {
        let addresses: Vec<Destination> = match &self.check.addresses {
            Addresses::Loop => return Err("is one of our own listeners".into()),
            Addresses::Fixed(destination) => vec![destination.clone()],
            Addresses::Resolved(name, port) => {
                let known = name.addresses.load();
                let known = known.iter().take(limits::ADDRESSES_TRIED_MAX);
                let known = known.map(|ip| SocketAddr::new(*ip, *port));
                known.filter(|addr| !self.own.contains(*addr)).map(Into::into).collect()
            }
        };
        let mut last = "has a name without an address".to_owned();
        for (at, address) in addresses.iter().enumerate() {
            let left = deadline.saturating_duration_since(Instant::now());
            let part = left / u32::try_from(addresses.len() - at).unwrap_or(1).max(1);
            last = match timeout(part, connect(address)).await {
                Ok(Ok(connected)) => {
                    self.shortage = None;
                    return Ok(connected);
                }
                Ok(Err(error)) => {
                    let reason = refused(&error);
                    if is_shortage(&error) {
                        self.shortage = Some(error);
                    }
                    reason
                }
                Err(_) => self.too_late(self.check.probe.timeout),
            };
        }
        Err(last)
    }

    async fn handshake(&mut self, tls: &TargetTls) -> Result<(), String> {
        let Some(stream) = self.stream.take() else { return Ok(()) };
        let connector = tokio_rustls::TlsConnector::from(std::sync::Arc::clone(&tls.config));
        match connector.connect(tls.name.clone(), stream).into_fallible().await {
            Ok(stream) => {
                self.stream = Some(Box::new(stream));
                Ok(())
            }
            Err((error, stream)) => {
                self.stream = Some(stream);
                Err(format!("did not finish the TLS handshake: {error}"))
            }
        }
    }

    async fn talk(&mut self) -> Result<(), String> {
        let mut buffer = [0; 4096];
        loop {
            match self.dialogue.next() {
                Move::Passed => return Ok(()),
                Move::Send(bytes) => {
                    self.transcript.sent(&bytes);
                    match self.send(&bytes).await {
                        Ok(()) => self.dialogue.sent(),
                        Err(_) if self.dialogue.is_farewell() => return Ok(()),
                        Err(error) => return Err(format!("took no bytes: {}", refused(&error))),
                    }
                }
                Move::Receive => {
                    let Some(stream) = &mut self.stream else { return Ok(()) };
                    match stream.read(&mut buffer).await {
                        Ok(n @ 1..) => {
                            let bytes = buffer.get(..n).unwrap_or_default();
                            self.transcript.got(bytes);
                            self.dialogue.received(bytes)?;
                        }
                        Err(error) if error.kind() != io::ErrorKind::UnexpectedEof => {
                            return Err(refused(&error));
                        }
                        _ => {
                            let awaited = self.dialogue.awaited();
                            return Err(format!("closed the connection without {awaited}"));
                        }
                    }
                }
            }
        }
    }

    async fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        let Some(stream) = &mut self.stream else { return Ok(()) };
        stream.write_all(bytes).await?;
        stream.flush().await
    }

    fn too_late(&self, limit: Duration) -> String {
        let limit = Span(limit);
        match self.doing {
            Doing::Connect => format!("did not take the connection within {limit}"),
            Doing::Handshake => format!("did not finish the TLS handshake within {limit}"),
            Doing::Talk => format!("did not give {} within {limit}", self.dialogue.awaited()),
        }
    }
}

/// A target that took the connection.
struct Connected {
    stream: Box<dyn Stream>,
    local: Option<SocketAddr>,
    peer: Option<SocketAddr>,
}

/// Connects, as connections do.
async fn connect(to: &Destination) -> io::Result<Connected> {
    let fd = to.socket()?;
    let started = to.connect(fd.as_raw_fd());
    if to.is_unix() {
        // Done, or refused: there is no third.
        started?;
        let stream = Box::new(UnixStream::from_std(fd.into())?);
        return Ok(Connected { stream, local: None, peer: None });
    }
    let waits = started.as_ref().is_err_and(socket::is_in_progress);
    let stream = TcpStream::from_std(fd.into())?;
    if waits {
        stream.writable().await?;
        to.connect(stream.as_raw_fd())?;
    } else {
        started?;
    }
    let (local, peer) = (stream.local_addr()?, stream.peer_addr()?);
    // TCP connects a socket to itself where nobody listens on the port that it was given.
    if local == peer {
        return Err(io::ErrorKind::ConnectionRefused.into());
    }
    Ok(Connected { stream: Box::new(stream), local: Some(local), peer: Some(peer) })
}

/// What an error says of the target.
fn refused(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => "refused the connection".into(),
        io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => "reset the connection".into(),
        _ => format!("cannot be reached: {error}"),
    }
}

/// Whether it is this process or its machine that lacks something, as where connections are made:
/// descriptors, memory, ports.
fn is_shortage(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(libc::EMFILE | libc::ENFILE | libc::ENOBUFS | libc::ENOMEM | libc::EADDRNOTAVAIL)
    )
}

/// Ends a check's connection with a FIN, and waits for the target's, so that no reset is seen there.
async fn farewell(mut stream: Box<dyn Stream>, permit: OwnedSemaphorePermit) {
    let end = async {
        stream.shutdown().await?;
        let mut buffer = [0; 4096];
        let mut left = limits::CHECK_BYTES_MAX;
        while left > 0 {
            match stream.read(&mut buffer).await? {
                0 => break,
                n => left = left.saturating_sub(n),
            }
        }
        io::Result::Ok(())
    };
    let _ = timeout(limits::CHECK_FAREWELL, end).await;
    drop(permit);
}
