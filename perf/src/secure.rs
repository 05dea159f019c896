//! The client's side of TLS: one suite, one key exchange, and full handshakes or resumed ones.
//!
//! A [`Session`] has the calls of a socket, so that the engine treats it as one. It collects what TLS
//! wants to send and gives it to the kernel in one piece: a proxy is not woken for every record.

use std::collections::VecDeque;
use std::fs;
use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::BorrowedFd;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{
    ClientSessionStore, Resumption, Tls12ClientSessionValue, Tls13ClientSessionValue,
};
use rustls::crypto::{SupportedKxGroup, aws_lc_rs};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{
    ClientConfig, ClientConnection, DigitallySignedStruct, Error, HandshakeKind, NamedGroup,
    SignatureScheme,
};

use crate::sys;
use crate::work::Version;

/// The name that the client asks for, and that the certificate is made for.
pub const NAME: &str = "perf.example";
/// Tickets kept; a connection uses one and is given one or two.
const TICKETS: usize = 512;
/// What a bulk source encrypts at once. The kernel has taken all of it before the next is made.
const PORTION: usize = 64 << 10;

/// The key exchange that is measured.
const KEY_EXCHANGE: &dyn SupportedKxGroup = aws_lc_rs::kx_group::X25519;

/// A certificate and its key, both in PEM.
pub struct Identity {
    /// The certificate, which signs itself.
    pub certificate: String,
    /// ECDSA on P-256.
    pub key: String,
}

impl Identity {
    /// Makes a new one.
    pub fn make() -> Result<Self, String> {
        let failed = |e| format!("making a certificate: {e}");
        let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).map_err(failed)?;
        let wanted = rcgen::CertificateParams::new(vec![NAME.to_owned()]).map_err(failed)?;
        let certificate = wanted.self_signed(&key).map_err(failed)?;
        Ok(Self { certificate: certificate.pem(), key: key.serialize_pem() })
    }

    /// Writes it as `cert.pem` and `key.pem`, and as `both.pem` for those who want one file.
    pub fn write(&self, directory: &Path) -> Result<(), String> {
        let both = format!("{}{}", self.certificate, self.key);
        for (name, text) in
            [("cert.pem", &self.certificate), ("key.pem", &self.key), ("both.pem", &both)]
        {
            let path = directory.join(name);
            fs::write(&path, text).map_err(|e| format!("writing {}: {e}", path.display()))?;
        }
        Ok(())
    }
}

/// What all sessions of a work share.
pub struct Client(Arc<ClientConfig>);

impl Client {
    /// A client of one version; with `resumed`, one that uses what earlier connections brought.
    pub fn new(version: Version, resumed: bool) -> Result<Self, String> {
        let mut provider = aws_lc_rs::default_provider();
        provider.kx_groups = vec![KEY_EXCHANGE];
        if version == Version::Tls12 {
            // Before 1.3 the same list says which certificates a client can read.
            provider.kx_groups.push(aws_lc_rs::kx_group::SECP256R1);
        }
        let (suite, version) = match version {
            Version::Tls12 => (
                aws_lc_rs::cipher_suite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
                &rustls::version::TLS12,
            ),
            Version::Tls13 => {
                (aws_lc_rs::cipher_suite::TLS13_AES_128_GCM_SHA256, &rustls::version::TLS13)
            }
        };
        provider.cipher_suites = vec![suite];
        let builder = ClientConfig::builder_with_provider(Arc::new(provider));
        let mut config = builder
            .with_protocol_versions(&[version])
            .map_err(|e| format!("TLS: {e}"))?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Credulous))
            .with_no_client_auth();
        // A client that only ever does full handshakes offers to be given tickets all the same, as
        // any other does: the proxy's work includes them.
        config.resumption =
            Resumption::store(Arc::new(Tickets { keeps: resumed, ..Tickets::default() }));
        Ok(Self(Arc::new(config)))
    }

    /// A new connection's session.
    pub fn session(&self) -> Result<Session, String> {
        let name = ServerName::try_from(NAME).map_err(|e| format!("TLS: {e}"))?;
        let mut connection =
            ClientConnection::new(Arc::clone(&self.0), name).map_err(|e| format!("TLS: {e}"))?;
        // The engine bounds what it gives.
        connection.set_buffer_limit(None);
        Ok(Session { connection, out: Vec::new(), gone: 0, ended: false })
    }
}

/// TLS on one connection.
pub struct Session {
    connection: ClientConnection,
    /// Encrypted bytes, of which the kernel has taken the first `gone`.
    out: Vec<u8>,
    gone: usize,
    /// The peer has said that no more will come.
    ended: bool,
}

impl Session {
    /// What is sent before anything was received.
    pub fn first_flight(&mut self) -> Vec<u8> {
        let _ = self.collect();
        std::mem::take(&mut self.out)
    }

    /// Whether the handshake was a resumption; `None` before its end.
    pub fn was_resumed(&self) -> Option<bool> {
        if self.connection.is_handshaking() {
            return None;
        }
        self.connection.handshake_kind().map(|kind| kind == HandshakeKind::Resumed)
    }

    /// Encrypts some of `bytes` and says how many. During the handshake, and while the kernel has
    /// not taken all that was encrypted before, `WouldBlock`; but what the client has to say first
    /// may be given at once, and goes out with the end of the handshake.
    pub fn send(&mut self, fd: BorrowedFd<'_>, bytes: &[u8], first: bool) -> io::Result<usize> {
        if !self.flush(fd)? || (self.connection.is_handshaking() && !first) {
            return Err(ErrorKind::WouldBlock.into());
        }
        let count = self.connection.writer().write(&bytes[..bytes.len().min(PORTION)])?;
        self.flush(fd)?;
        Ok(count)
    }

    /// Receives what has come into the start of `into`, by way of `wire`, which must be the smaller
    /// of both; 0 is the end that the peer has announced. An end without that is an error.
    pub fn recv(
        &mut self,
        fd: BorrowedFd<'_>,
        wire: &mut [u8],
        into: &mut [u8],
    ) -> io::Result<usize> {
        let mut filled = 0;
        // Records that carry nothing for the client are not the end of what has come.
        while filled == 0 && !self.ended {
            let count = sys::recv(fd, wire)?;
            if count == 0 {
                return Err(io::Error::new(
                    ErrorKind::UnexpectedEof,
                    "an end without close_notify",
                ));
            }
            let mut left = &wire[..count];
            while !left.is_empty() && !self.ended {
                self.connection.read_tls(&mut left)?;
                let state = self.connection.process_new_packets().map_err(io::Error::other)?;
                let plain = state.plaintext_bytes_to_read();
                self.connection.reader().read_exact(&mut into[filled..filled + plain])?;
                filled += plain;
                self.ended = state.peer_has_closed();
            }
            let group = self.connection.negotiated_key_exchange_group();
            if group.is_some_and(|group| group.name() != KEY_EXCHANGE.name()) {
                return Err(io::Error::other("another key exchange than X25519"));
            }
            self.flush(fd)?;
        }
        Ok(filled)
    }

    /// Whether the peer has announced that no more will come, beyond what was received.
    pub fn has_ended(&self) -> bool {
        self.ended
    }

    /// Gives the kernel what waits, and says whether all of it went.
    pub fn flush(&mut self, fd: BorrowedFd<'_>) -> io::Result<bool> {
        self.collect()?;
        while self.gone < self.out.len() {
            match sys::send(fd, &self.out[self.gone..]) {
                Ok(count) => self.gone += count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
                Err(error) => return Err(error),
            }
        }
        self.out.clear();
        self.gone = 0;
        Ok(true)
    }

    /// Announces the end of what the client sends.
    pub fn announce_end(&mut self) {
        self.connection.send_close_notify();
    }

    fn collect(&mut self) -> io::Result<()> {
        while self.connection.wants_write() {
            self.connection.write_tls(&mut self.out)?;
        }
        Ok(())
    }
}

/// Tickets of the only server there is.
#[derive(Debug, Default)]
struct Tickets {
    keeps: bool,
    tls12: Mutex<Option<Tls12ClientSessionValue>>,
    tls13: Mutex<VecDeque<Tls13ClientSessionValue>>,
}

fn locked<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl ClientSessionStore for Tickets {
    fn set_kx_hint(&self, _: ServerName<'static>, _: NamedGroup) {}

    fn kx_hint(&self, _: &ServerName<'_>) -> Option<NamedGroup> {
        None
    }

    fn set_tls12_session(&self, _: ServerName<'static>, value: Tls12ClientSessionValue) {
        if self.keeps {
            *locked(&self.tls12) = Some(value);
        }
    }

    fn tls12_session(&self, _: &ServerName<'_>) -> Option<Tls12ClientSessionValue> {
        locked(&self.tls12).clone()
    }

    fn remove_tls12_session(&self, _: &ServerName<'static>) {
        *locked(&self.tls12) = None;
    }

    fn insert_tls13_ticket(&self, _: ServerName<'static>, value: Tls13ClientSessionValue) {
        if self.keeps {
            let mut tickets = locked(&self.tls13);
            tickets.push_back(value);
            if tickets.len() > TICKETS {
                tickets.pop_front();
            }
        }
    }

    fn take_tls13_ticket(&self, _: &ServerName<'static>) -> Option<Tls13ClientSessionValue> {
        locked(&self.tls13).pop_back()
    }
}

/// Believes every certificate: what the client spends on that is of no interest.
#[derive(Debug)]
struct Credulous;

impl ServerCertVerifier for Credulous {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ECDSA_NISTP256_SHA256]
    }
}
