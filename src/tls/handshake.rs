//! The handshakes, driven over readiness: rustls says what to send and when it wants more, the
//! socket is ours. What comes out is a [`Session`] with the keys, and rustls' part is over.

use std::io;
use std::sync::Arc;

use rustls::client::UnbufferedClientConnection;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::server::UnbufferedServerConnection;
use rustls::unbuffered::{ConnectionState, EncodeError, UnbufferedStatus};
use rustls::{ClientConfig, HandshakeKind, ProtocolVersion, ServerConfig};

use super::session::{Kept, Session};
use crate::config::limits;
use crate::io::socket;
use crate::rt::Sock;
use crate::worker::Core;

/// A connection whose handshake is done.
#[derive(Debug)]
pub struct Established {
    /// The keys.
    pub session: Session,
    /// Application data that came with the last flight.
    pub plain: Vec<u8>,
    /// What was agreed on.
    pub facts: Facts,
}

/// What a handshake agreed on.
#[derive(Debug)]
pub struct Facts {
    /// The protocol version.
    pub version: Option<ProtocolVersion>,
    /// The protocol chosen by ALPN.
    pub alpn: Option<Box<[u8]>>,
    /// The peer's certificate, verified.
    pub certificate: Option<CertificateDer<'static>>,
    /// Whether an earlier session was resumed.
    pub resumed: bool,
}

/// Why there is no connection.
#[derive(Debug)]
pub enum Failure {
    /// The peer ended the connection without a word of TLS.
    Closed,
    /// The socket failed.
    Io(io::Error),
    /// rustls refused, or the peer did (an alert). The alert has been sent.
    Tls(rustls::Error),
}

/// What a step of the handshake asks for.
enum Next {
    Again,
    Send,
    Receive,
    Done,
    Failed(rustls::Error),
    /// The alert that tells the peer of a failure stands ready.
    Told,
}

/// The two sides, of which rustls makes two types.
trait Handshake: Sized {
    type Data;
    fn process<'c, 'i>(
        &'c mut self,
        incoming: &'i mut [u8],
    ) -> UnbufferedStatus<'c, 'i, Self::Data>;
    fn facts(&self) -> Facts;
    fn into_session(self, carried: Vec<u8>) -> Result<Session, rustls::Error>;
    /// What is left to send when the handshake is done need not be sent at once.
    fn may_send_later(&self) -> bool;
}

macro_rules! handshake {
    ($side:ty, $data:ty, $kept:path, $later:expr) => {
        impl Handshake for $side {
            type Data = $data;

            fn process<'c, 'i>(
                &'c mut self,
                incoming: &'i mut [u8],
            ) -> UnbufferedStatus<'c, 'i, $data> {
                self.process_tls_records(incoming)
            }

            fn facts(&self) -> Facts {
                let certificate = self.peer_certificates().and_then(<[_]>::first);
                Facts {
                    version: self.protocol_version(),
                    alpn: self.alpn_protocol().map(Into::into),
                    certificate: certificate.map(|der| der.clone().into_owned()),
                    resumed: self.handshake_kind() == Some(HandshakeKind::Resumed),
                }
            }

            fn into_session(self, carried: Vec<u8>) -> Result<Session, rustls::Error> {
                let (secrets, kept) = self.dangerous_into_kernel_connection()?;
                let session = Session::new(&secrets, $kept(kept), carried);
                session.ok_or_else(|| rustls::Error::General("a cipher that is not offered".into()))
            }

            fn may_send_later(&self) -> bool {
                $later && self.protocol_version() == Some(ProtocolVersion::TLSv1_3)
            }
        }
    };
}

// A server of TLS 1.3 has only tickets left: they go along with the first data.
handshake!(UnbufferedServerConnection, rustls::server::ServerConnectionData, Kept::Server, true);
handshake!(UnbufferedClientConnection, rustls::client::ClientConnectionData, Kept::Client, false);

/// Shakes hands with a client. `received` is what it has sent so far.
///
/// # Errors
/// A [`Failure`]; the client has been told.
pub async fn accept(
    core: &Core,
    sock: &Sock,
    config: Arc<ServerConfig>,
    received: Vec<u8>,
) -> Result<Established, Failure> {
    let connection = UnbufferedServerConnection::new(config).map_err(Failure::Tls)?;
    shake(core, sock, connection, received).await
}

/// Shakes hands with a target, as a client that offers `alpn`.
///
/// # Errors
/// A [`Failure`]; the target has been told.
pub async fn connect(
    core: &Core,
    sock: &Sock,
    config: Arc<ClientConfig>,
    name: ServerName<'static>,
    alpn: Option<&[u8]>,
) -> Result<Established, Failure> {
    let alpn = alpn.map(<[u8]>::to_vec).into_iter().collect();
    let connection =
        UnbufferedClientConnection::new_with_alpn(config, name, alpn).map_err(Failure::Tls)?;
    shake(core, sock, connection, Vec::new()).await
}

async fn shake<H: Handshake>(
    core: &Core,
    sock: &Sock,
    mut connection: H,
    mut incoming: Vec<u8>,
) -> Result<Established, Failure> {
    let mut outgoing = Vec::new();
    let mut plain = Vec::new();
    let mut ended = false;
    let mut failed = None;
    loop {
        let UnbufferedStatus { mut discard, state } = connection.process(&mut incoming);
        let next = match state {
            Ok(ConnectionState::ReadTraffic(mut traffic)) => {
                while let Some(record) = traffic.next_record() {
                    let record = record.map_err(Failure::Tls)?;
                    discard += record.discard;
                    plain.extend_from_slice(record.payload);
                }
                Next::Again
            }
            Ok(ConnectionState::EncodeTlsData(mut data)) => {
                let start = outgoing.len();
                if let Err(EncodeError::InsufficientSize(size)) = data.encode(&mut []) {
                    outgoing.resize(start + size.required_size, 0);
                    let _ = data.encode(outgoing.get_mut(start..).unwrap_or_default());
                }
                match failed.is_some() && is_alert(outgoing.get(start..).unwrap_or_default()) {
                    true => Next::Told,
                    false => Next::Again,
                }
            }
            Ok(ConnectionState::TransmitTlsData(data)) => {
                data.done();
                Next::Send
            }
            Ok(ConnectionState::BlockedHandshake) => Next::Receive,
            Ok(ConnectionState::WriteTraffic(_)) => Next::Done,
            Ok(ConnectionState::PeerClosed) => {
                ended = true;
                Next::Again
            }
            Ok(_) => Next::Failed(rustls::Error::HandshakeNotComplete),
            Err(error) => Next::Failed(error),
        };
        incoming.drain(..discard.min(incoming.len()));
        match next {
            // To ask rustls once more would show it the same broken bytes again.
            Next::Told => {
                let _ = send_all(sock, &mut outgoing).await;
                return Err(failed.map_or(Failure::Closed, Failure::Tls));
            }
            Next::Again => {}
            // What is left at the end may go later; whether this is the end is known at the next
            // step.
            Next::Send if connection.may_send_later() => {}
            // There was no alert to send.
            Next::Receive | Next::Done | Next::Failed(_) if failed.is_some() => {
                let _ = send_all(sock, &mut outgoing).await;
                return Err(failed.map_or(Failure::Closed, Failure::Tls));
            }
            Next::Send => send_all(sock, &mut outgoing).await?,
            Next::Receive => {
                send_all(sock, &mut outgoing).await?;
                receive(core, sock, &mut incoming).await?;
            }
            Next::Done => break,
            Next::Failed(error) => failed = Some(error),
        }
    }
    let facts = connection.facts();
    if !connection.may_send_later() {
        send_all(sock, &mut outgoing).await?;
    }
    incoming.shrink_to_fit();
    let mut session = connection.into_session(incoming).map_err(Failure::Tls)?;
    session.queue(&outgoing);
    if ended {
        session.set_ended();
    }
    Ok(Established { session, plain, facts })
}

/// Whether a record is an alert: by its type or, where that is sealed, by its length (RFC 8446 §5.2:
/// two bytes, their type and the tag), which no other message has.
fn is_alert(record: &[u8]) -> bool {
    matches!(record, [21, ..] | [23, 3, 3, 0, 19, ..])
}

async fn send_all(sock: &Sock, outgoing: &mut Vec<u8>) -> Result<(), Failure> {
    let mut left = outgoing.as_slice();
    while !left.is_empty() {
        match socket::send(sock.fd(), left) {
            Ok(sent) => left = left.get(sent..).unwrap_or_default(),
            Err(error) if socket::would_block(&error) => drop(sock.writable().await),
            Err(error) => return Err(Failure::Io(error)),
        }
    }
    outgoing.clear();
    Ok(())
}

async fn receive(core: &Core, sock: &Sock, incoming: &mut Vec<u8>) -> Result<(), Failure> {
    if incoming.len() > limits::HANDSHAKE_BYTES_MAX {
        let what = "more bytes than a handshake may have";
        return Err(Failure::Tls(rustls::Error::General(what.into())));
    }
    loop {
        let _ = sock.readable().await;
        let mut scratch = core.scratch.borrow_mut();
        match socket::recv(sock.fd(), &mut scratch) {
            Ok(0) => return Err(Failure::Closed),
            Ok(n) => {
                incoming.extend_from_slice(scratch.get(..n).unwrap_or_default());
                return Ok(());
            }
            Err(error) if socket::would_block(&error) => {}
            Err(error) => return Err(Failure::Io(error)),
        }
    }
}
