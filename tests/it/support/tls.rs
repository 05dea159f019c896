//! A scripted end of a TLS connection, made of rustls over a [`Peer`].

use std::borrow::Borrow;
use std::io::{self, ErrorKind, Read, Write};
use std::sync::Arc;

use rustls::client::{ClientConfig, ClientConnection, WebPkiServerVerifier};
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms, aws_lc_rs};
use rustls::pki_types::ServerName;
use rustls::server::{ServerConfig, ServerConnection, WebPkiClientVerifier};
use rustls::version::{TLS12, TLS13};
use rustls::{
    AlertDescription, CipherSuite, Connection, HandshakeKind, ProtocolVersion, SignatureScheme,
    SupportedProtocolVersion,
};

use super::certs::{Authority, Issued};
use super::data::{Digest, Hasher, Random};
use super::peer::{Outcome, Peer, is_reset};
use super::wait::{SOON, wait_for};

/// How the other side ended its stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum End {
    /// `close_notify`.
    Closed,
    /// A FIN without it.
    Truncated,
    /// A RST.
    Reset,
    /// A fatal alert.
    Alert(AlertDescription),
    /// rustls found fault with what came.
    Fault(String),
}

/// How a client of a test shakes hands.
#[derive(Clone)]
pub struct Dial {
    roots: Arc<rustls::RootCertStore>,
    provider: CryptoProvider,
    versions: Vec<&'static SupportedProtocolVersion>,
    identity: Option<(rustls::pki_types::CertificateDer<'static>, Arc<Vec<u8>>)>,
    alpn: Vec<Vec<u8>>,
}

impl Dial {
    /// One that trusts this authority.
    pub fn trusting(authority: &Authority) -> Dial {
        Dial {
            roots: authority.roots(),
            provider: aws_lc_rs::default_provider(),
            versions: vec![&TLS13, &TLS12],
            identity: None,
            alpn: Vec::new(),
        }
    }

    #[must_use]
    pub fn version(mut self, version: ProtocolVersion) -> Dial {
        self.versions = vec![if version == ProtocolVersion::TLSv1_2 { &TLS12 } else { &TLS13 }];
        self
    }

    /// With this cipher suite alone.
    #[must_use]
    pub fn suite(mut self, suite: CipherSuite) -> Dial {
        self.provider.cipher_suites.retain(|one| one.suite() == suite);
        let version = self.provider.cipher_suites[0].version().version;
        self.version(version)
    }

    /// With these signature schemes alone.
    #[must_use]
    pub fn schemes(mut self, wanted: &[SignatureScheme]) -> Dial {
        let all = self.provider.signature_verification_algorithms;
        let mapping: Vec<_> =
            all.mapping.iter().filter(|(scheme, _)| wanted.contains(scheme)).copied().collect();
        self.provider.signature_verification_algorithms =
            WebPkiSupportedAlgorithms { all: all.all, mapping: Vec::leak(mapping) };
        self
    }

    #[must_use]
    pub fn alpn(mut self, protocols: &[&str]) -> Dial {
        self.alpn = protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
        self
    }

    /// Shows this certificate.
    #[must_use]
    pub fn identity(mut self, issued: &Issued) -> Dial {
        let key = issued.private_key().secret_der().to_vec();
        self.identity = Some((issued.der().clone(), Arc::new(key)));
        self
    }

    /// A hello at least this long.
    #[must_use]
    pub fn hello_of(mut self, bytes: usize) -> Dial {
        let mut random = Random::new(99);
        while self.alpn.iter().map(|name| name.len() + 1).sum::<usize>() < bytes {
            self.alpn.push(random.bytes(255));
        }
        self
    }

    /// What it comes to. Sessions are kept with it.
    pub fn config(&self) -> Arc<ClientConfig> {
        let provider = Arc::new(self.provider.clone());
        let verifier =
            WebPkiServerVerifier::builder_with_provider(Arc::clone(&self.roots), provider.clone())
                .build()
                .unwrap();
        let builder = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&self.versions)
            .unwrap()
            .with_webpki_verifier(verifier);
        let mut config = match &self.identity {
            None => builder.with_no_client_auth(),
            Some((certificate, key)) => {
                let key = rustls::pki_types::PrivatePkcs8KeyDer::from(key.to_vec());
                builder.with_client_auth_cert(vec![certificate.clone()], key.into()).unwrap()
            }
        };
        config.alpn_protocols = self.alpn.clone();
        Arc::new(config)
    }
}

/// A target that ends TLS itself: shows `issued`, and asks for a certificate of `clients` if given.
pub fn serving(issued: &Issued, clients: Option<&Authority>) -> ServerConfig {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let verifier = match clients {
        None => WebPkiClientVerifier::no_client_auth(),
        Some(authority) => {
            WebPkiClientVerifier::builder_with_provider(authority.roots(), provider.clone())
                .build()
                .unwrap()
        }
    };
    ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&TLS13, &TLS12])
        .unwrap()
        .with_client_cert_verifier(verifier)
        .with_single_cert(vec![issued.der().clone()], issued.private_key())
        .unwrap()
}

/// One end of a TLS connection; counts plaintext.
pub struct Tls<P: Borrow<Peer> = Peer> {
    pub peer: P,
    pub connection: Connection,
    sent: u64,
    received: u64,
}

impl<P: Borrow<Peer>> Tls<P> {
    /// A client before its handshake. An empty name asks for none.
    pub fn client(peer: P, config: &Arc<ClientConfig>, name: &str) -> Tls<P> {
        let (config, name) = if name.is_empty() {
            let mut nameless = ClientConfig::clone(config);
            nameless.enable_sni = false;
            (Arc::new(nameless), "nameless.test")
        } else {
            (Arc::clone(config), name)
        };
        let name = ServerName::try_from(name.to_owned()).unwrap();
        let connection = ClientConnection::new(config, name).unwrap();
        Tls { peer, connection: connection.into(), sent: 0, received: 0 }
    }

    /// A client after its handshake.
    #[track_caller]
    pub fn dial(peer: P, config: &Arc<ClientConfig>, name: &str) -> Tls<P> {
        let mut client = Tls::client(peer, config, name);
        if let Err(end) = client.shake() {
            panic!("the handshake with {name} failed: {end:?}");
        }
        client
    }

    /// A server before its handshake.
    pub fn server(peer: P, config: &Arc<ServerConfig>) -> Tls<P> {
        let connection = ServerConnection::new(Arc::clone(config)).unwrap();
        Tls { peer, connection: connection.into(), sent: 0, received: 0 }
    }

    /// A server after its handshake.
    #[track_caller]
    pub fn answer(peer: P, config: &Arc<ServerConfig>) -> Tls<P> {
        let mut server = Tls::server(peer, config);
        if let Err(end) = server.shake() {
            panic!("the handshake with the client failed: {end:?}");
        }
        server
    }

    fn wire(&self) -> &Peer {
        self.peer.borrow()
    }

    /// Shakes hands as far as this side knows.
    pub fn shake(&mut self) -> Result<(), End> {
        self.flush()?;
        while self.connection.is_handshaking() {
            self.receive()?;
        }
        Ok(())
    }

    /// Whether an earlier session was resumed.
    pub fn resumed(&self) -> bool {
        self.connection.handshake_kind() == Some(HandshakeKind::Resumed)
    }

    pub fn version(&self) -> ProtocolVersion {
        self.connection.protocol_version().expect("after the handshake")
    }

    /// What the other side said it was.
    pub fn certificate(&self) -> Option<String> {
        let chain = self.connection.peer_certificates()?;
        Some(Digest::of(chain.first()?).to_string())
    }

    // ---- sending ------------------------------------------------------------------------------

    /// Sends what rustls has to send.
    pub fn flush(&mut self) -> Result<(), End> {
        while self.connection.wants_write() {
            let peer: &Peer = self.peer.borrow();
            match self.connection.write_tls(&mut { peer }) {
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if is_reset(&error) => return Err(End::Reset),
                Err(error) => panic!("a write failed: {error}"),
            }
        }
        Ok(())
    }

    /// What rustls has to send, instead of sending it.
    pub fn unsent(&mut self) -> Vec<u8> {
        let mut bytes = Vec::new();
        while self.connection.wants_write() {
            self.connection.write_tls(&mut bytes).unwrap();
        }
        bytes
    }

    pub fn try_send(&mut self, mut bytes: &[u8]) -> Result<(), End> {
        while !bytes.is_empty() {
            let count = self.connection.writer().write(bytes).unwrap();
            self.sent += count as u64;
            bytes = &bytes[count..];
            self.flush()?;
        }
        Ok(())
    }

    #[track_caller]
    pub fn send(&mut self, bytes: &[u8]) {
        if let Err(end) = self.try_send(bytes) {
            panic!("send {} bytes, {} sent before: {end:?}", bytes.len(), self.sent);
        }
    }

    /// Writes for later: goes with what is sent next.
    pub fn write(&mut self, bytes: &[u8]) {
        self.connection.writer().write_all(bytes).unwrap();
        self.sent += bytes.len() as u64;
    }

    /// One record with these bytes, sealed but not sent.
    pub fn sealed(&mut self, bytes: &[u8]) -> Vec<u8> {
        self.write(bytes);
        self.unsent()
    }

    /// Sends `count` bytes made from `seed`; returns their digest.
    #[track_caller]
    pub fn send_random(&mut self, seed: u64, count: u64) -> Digest {
        let mut random = Random::new(seed);
        let mut hasher = Hasher::default();
        let mut buffer = vec![0; 60_000];
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

    /// Ends this direction: `close_notify`, and no FIN.
    #[track_caller]
    pub fn fin(&mut self) {
        self.connection.send_close_notify();
        if let Err(end) = self.flush() {
            panic!("close_notify: {end:?}");
        }
    }

    // ---- receiving ----------------------------------------------------------------------------

    /// Reads from the wire once.
    fn receive(&mut self) -> Result<(), End> {
        let peer: &Peer = self.peer.borrow();
        match self.connection.read_tls(&mut { peer }) {
            Ok(0) if self.connection.is_handshaking() => return Err(End::Truncated),
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) if is_reset(&error) => return Err(End::Reset),
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                panic!("nothing came within the deadline, after {} bytes", self.received)
            }
            Err(error) => panic!("a read failed: {error}"),
        }
        match self.connection.process_new_packets() {
            Ok(_) => self.flush(),
            Err(rustls::Error::AlertReceived(alert)) => Err(End::Alert(alert)),
            Err(error) => {
                let _ = self.flush();
                Err(End::Fault(error.to_string()))
            }
        }
    }

    /// What is there, or what comes next.
    pub fn try_recv(&mut self, buffer: &mut [u8]) -> Result<usize, End> {
        loop {
            match self.connection.reader().read(buffer) {
                Ok(0) => return Err(End::Closed),
                Ok(count) => {
                    self.received += count as u64;
                    return Ok(count);
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) if error.kind() == ErrorKind::UnexpectedEof => {
                    return Err(End::Truncated);
                }
                Err(error) => panic!("a read failed: {error}"),
            }
            match self.receive() {
                // What came before an end is read before the end is told.
                Err(_) if self.has_plaintext() => {}
                result => result?,
            }
        }
    }

    fn has_plaintext(&mut self) -> bool {
        self.connection.process_new_packets().is_ok_and(|state| state.plaintext_bytes_to_read() > 0)
    }

    #[track_caller]
    pub fn recv_exact(&mut self, count: usize) -> Vec<u8> {
        let mut buffer = vec![0; count];
        let mut have = 0;
        while have < count {
            match self.try_recv(&mut buffer[have..]) {
                Ok(more) => have += more,
                Err(end) => panic!("after {have} of {count} bytes: {end:?}"),
            }
        }
        buffer
    }

    #[track_caller]
    pub fn expect(&mut self, expected: &[u8]) {
        let got = self.recv_exact(expected.len());
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        assert!(got == expected, "expected {:?}, got {:?}", text(expected), text(&got));
    }

    /// Reads until the other side ends, however it does: the digest, the count and the end.
    #[track_caller]
    pub fn hash_to_end(&mut self) -> (u64, Digest, End) {
        let mut hasher = Hasher::default();
        let mut buffer = vec![0; 64 * 1024];
        let before = self.received;
        loop {
            match self.try_recv(&mut buffer) {
                Ok(count) => hasher.update(&buffer[..count]),
                Err(end) => return (self.received - before, hasher.finish(), end),
            }
        }
    }

    /// Reads up to `close_notify`.
    #[track_caller]
    pub fn hash_to_close(&mut self) -> (u64, Digest) {
        let (count, digest, end) = self.hash_to_end();
        assert_eq!(end, End::Closed, "the stream was cut after {count} bytes");
        (count, digest)
    }

    /// No further byte, then this end.
    #[track_caller]
    pub fn expect_end(&mut self, expected: &End) {
        let (count, _, end) = self.hash_to_end();
        assert_eq!((count, &end), (0, expected), "the way the other side ended");
    }

    #[track_caller]
    pub fn expect_close(&mut self) {
        self.expect_end(&End::Closed);
    }

    /// Sends `count` bytes of `seed` and receives as many, both at once. The digests of what was
    /// sent and what came.
    #[track_caller]
    pub fn exchange(&mut self, seed: u64, count: u64) -> (Digest, Digest) {
        let (mut random, mut out, mut back) =
            (Random::new(seed), Hasher::default(), Hasher::default());
        let (mut left, mut due) = (count, count);
        let mut buffer = vec![0; 32 * 1024];
        let peer: &Peer = self.peer.borrow();
        peer.socket().set_nonblocking(true).unwrap();
        while left > 0 || due > 0 {
            wait_for("progress of the exchange", SOON, || {
                let mut moved = false;
                if left > 0 && !self.connection.wants_write() {
                    let size = usize::try_from(left).unwrap().min(buffer.len());
                    random.fill(&mut buffer[..size]);
                    out.update(&buffer[..size]);
                    self.connection.writer().write_all(&buffer[..size]).unwrap();
                    left -= size as u64;
                    self.sent += size as u64;
                }
                let blocked = |result: io::Result<usize>| match result {
                    Ok(count) => count > 0,
                    Err(error) if error.kind() == ErrorKind::WouldBlock => false,
                    Err(error) => panic!("the exchange broke off: {error}"),
                };
                while self.connection.wants_write()
                    && blocked(self.connection.write_tls(&mut { peer }))
                {
                    moved = true;
                }
                while due > 0 && blocked(self.connection.read_tls(&mut { peer })) {
                    moved = true;
                    self.connection.process_new_packets().unwrap();
                    let mut buffer = [0; 16 * 1024];
                    while let Ok(count @ 1..) = self.connection.reader().read(&mut buffer) {
                        back.update(&buffer[..count]);
                        due -= count as u64;
                        self.received += count as u64;
                    }
                }
                moved.then_some(())
            });
        }
        peer.socket().set_nonblocking(false).unwrap();
        self.flush().unwrap();
        (out.finish(), back.finish())
    }

    // ---- ending -------------------------------------------------------------------------------

    /// What it did, in plaintext.
    pub fn outcome(&self) -> Outcome {
        Outcome { port: self.wire().port(), sent: self.sent, received: self.received }
    }
}

impl Tls {
    /// Cuts the connection: RST.
    #[track_caller]
    pub fn rst(self) -> Outcome {
        let outcome = self.outcome();
        self.peer.rst();
        outcome
    }
}

impl From<Tls> for Outcome {
    fn from(tls: Tls) -> Outcome {
        tls.outcome()
    }
}
