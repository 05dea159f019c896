//! The handshakes, driven over readiness: rustls says what to send and when it wants more, the
//! socket is ours. What comes out is a [`Session`] with the keys, and rustls' part is over.

use std::io;
use std::sync::Arc;

use rustls::client::UnbufferedClientConnection;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::server::UnbufferedServerConnection;
use rustls::unbuffered::{ConnectionState, EncodeError, EncodeTlsData, UnbufferedStatus};
use rustls::{ClientConfig, HandshakeKind, ProtocolVersion, ServerConfig};

use super::record::{BODY_MAX_12, HEADER};
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
    /// The peer's certificate and what it sent along, verified now or, in a resumed session, then.
    pub certificates: Vec<CertificateDer<'static>>,
    /// Whether an earlier session was resumed.
    pub resumed: bool,
    /// The cipher suite, as `TLS13_AES_128_GCM_SHA256`.
    pub cipher: Option<&'static str>,
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
    Failed(rustls::Error),
}

/// The two sides, of which rustls makes two types.
trait Handshake: Sized {
    type Data;
    fn process<'c, 'i>(
        &'c mut self,
        incoming: &'i mut [u8],
    ) -> UnbufferedStatus<'c, 'i, Self::Data>;
    /// Whether something waits to be encoded.
    fn owes(&self) -> bool;
    /// Whether both sides have finished and nothing waits to be encoded.
    fn is_done(&self) -> bool;
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

            fn owes(&self) -> bool {
                self.wants_write()
            }

            fn is_done(&self) -> bool {
                !self.is_handshaking() && !self.wants_write()
            }

            fn facts(&self) -> Facts {
                let certificates = self.peer_certificates().unwrap_or_default();
                Facts {
                    version: self.protocol_version(),
                    alpn: self.alpn_protocol().map(Into::into),
                    certificates: certificates.to_vec(),
                    resumed: self.handshake_kind() == Some(HandshakeKind::Resumed),
                    cipher: self.negotiated_cipher_suite().and_then(|it| it.suite().as_str()),
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

/// Shakes hands with a client. `received` is what it has sent so far; of the rest at most `most` bytes
/// are held at a time.
///
/// # Errors
/// A [`Failure`]; the client has been told.
pub async fn accept(
    core: &Core,
    sock: &Sock,
    config: Arc<ServerConfig>,
    received: Vec<u8>,
    most: usize,
) -> Result<Established, Failure> {
    let connection = UnbufferedServerConnection::new(config).map_err(Failure::Tls)?;
    shake(core, sock, connection, received, most, Vec::new()).await
}

/// Shakes hands with a target, as a client that offers `alpn`. `before` is sent in clear before the
/// hello, and together with it.
///
/// # Errors
/// A [`Failure`]; the target has been told.
pub async fn connect(
    core: &Core,
    sock: &Sock,
    config: Arc<ClientConfig>,
    name: ServerName<'static>,
    alpn: Option<&[u8]>,
    before: Vec<u8>,
) -> Result<Established, Failure> {
    let alpn = alpn.map(<[u8]>::to_vec).into_iter().collect();
    let connection =
        UnbufferedClientConnection::new_with_alpn(config, name, alpn).map_err(Failure::Tls)?;
    shake(core, sock, connection, Vec::new(), limits::HANDSHAKE_BYTES_MAX, before).await
}

/// rustls is shown one record at a time, and none behind the end of the handshake: what it would make
/// of those (new keys above all) would not be in the keys that it hands over.
async fn shake<H: Handshake>(
    core: &Core,
    sock: &Sock,
    mut connection: H,
    mut incoming: Vec<u8>,
    most: usize,
    mut outgoing: Vec<u8>,
) -> Result<Established, Failure> {
    let mut shown = 0;
    while !connection.is_done() {
        let bytes = incoming.get_mut(..shown).unwrap_or_default();
        let UnbufferedStatus { discard, state } = connection.process(bytes);
        let next = match state {
            Ok(ConnectionState::EncodeTlsData(data)) => {
                encode(data, &mut outgoing);
                Next::Again
            }
            Ok(ConnectionState::TransmitTlsData(data)) => {
                data.done();
                Next::Send
            }
            Ok(ConnectionState::BlockedHandshake) => Next::Receive,
            // Done, as the next look at it says.
            Ok(ConnectionState::WriteTraffic(_)) => Next::Again,
            Ok(ConnectionState::PeerClosed) => return Err(Failure::Closed),
            Ok(_) => Next::Failed(rustls::Error::HandshakeNotComplete),
            Err(error) => Next::Failed(error),
        };
        let discard = discard.min(shown);
        incoming.drain(..discard);
        shown -= discard;
        match next {
            Next::Again => {}
            // What is left at the end may go later; whether this is the end is known at the next
            // step.
            Next::Send if connection.may_send_later() => {}
            Next::Send => send_all(sock, &mut outgoing).await?,
            Next::Receive => {
                send_all(sock, &mut outgoing).await?;
                loop {
                    match next_record(incoming.get(shown..).unwrap_or_default()) {
                        Some(len) => break shown += len,
                        None => receive(core, sock, &mut incoming, most).await?,
                    }
                }
            }
            Next::Failed(error) => {
                // What is owed, the alert among it, comes out first; further than that rustls must
                // not look: it would find the next fault and does not expect to.
                while connection.owes()
                    && let Ok(ConnectionState::EncodeTlsData(data)) =
                        connection.process(incoming.get_mut(..shown).unwrap_or_default()).state
                {
                    encode(data, &mut outgoing);
                }
                let _ = send_all(sock, &mut outgoing).await;
                return Err(Failure::Tls(error));
            }
        }
    }
    let facts = connection.facts();
    if !connection.may_send_later() {
        send_all(sock, &mut outgoing).await?;
    }
    incoming.drain(..shown);
    incoming.shrink_to_fit();
    let mut session = connection.into_session(incoming).map_err(Failure::Tls)?;
    session.queue(&outgoing);
    Ok(Established { session, facts })
}

/// The length of the record at the front, once it is all there. What cannot be a record is shown as
/// it is, for rustls to say what is wrong with it.
fn next_record(bytes: &[u8]) -> Option<usize> {
    let &[kind, major, _, high, low] = bytes.first_chunk()?;
    let len = HEADER + usize::from(u16::from_be_bytes([high, low]));
    if !(20..=24).contains(&kind) || major != 3 || len > HEADER + BODY_MAX_12 {
        return Some(bytes.len());
    }
    (bytes.len() >= len).then_some(len)
}

fn encode<Data>(mut data: EncodeTlsData<'_, Data>, outgoing: &mut Vec<u8>) {
    let start = outgoing.len();
    if let Err(EncodeError::InsufficientSize(size)) = data.encode(&mut []) {
        outgoing.resize(start + size.required_size, 0);
        let _ = data.encode(outgoing.get_mut(start..).unwrap_or_default());
    }
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

/// `incoming` grows to `most` bytes; what it had before the handshake began counts, but is let in.
async fn receive(
    core: &Core,
    sock: &Sock,
    incoming: &mut Vec<u8>,
    most: usize,
) -> Result<(), Failure> {
    if incoming.len() >= most {
        let what = "more bytes than a handshake may have";
        return Err(Failure::Tls(rustls::Error::General(what.into())));
    }
    loop {
        let _ = sock.readable().await;
        let mut scratch = core.scratch.borrow_mut();
        let room = (most - incoming.len()).min(scratch.len());
        match socket::recv(sock.fd(), scratch.get_mut(..room).unwrap_or_default()) {
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
