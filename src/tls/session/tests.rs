//! Our records against rustls' own, in memory: every suite of both versions, any size, any cut.

use std::io::{Read, Write};
use std::sync::Arc;

use proptest::prelude::*;
use rustls::pki_types::{PrivateKeyDer, ServerName};
use rustls::server::UnbufferedServerConnection;
use rustls::unbuffered::ConnectionState;
use rustls::{
    CipherSuite, ClientConfig, ClientConnection, RootCertStore, ServerConfig, SupportedCipherSuite,
};

use super::*;
use crate::tls::provider::provider;
use crate::tls::testing::Authority;

/// Our side as the server, rustls as the client.
struct Pair {
    ours: Session,
    theirs: ClientConnection,
}

fn suites() -> Vec<SupportedCipherSuite> {
    provider().cipher_suites.clone()
}

fn pair(suite: SupportedCipherSuite) -> Pair {
    let authority = Authority::new("records");
    let made = authority.issue(&["localhost"]);
    let mut only = (*provider()).clone();
    only.cipher_suites = vec![suite];
    let only = Arc::new(only);
    let chain = vec![made.certificate.der().clone()];
    let key = PrivateKeyDer::try_from(made.key.serialize_der()).unwrap();
    let mut server = ServerConfig::builder_with_provider(Arc::clone(&only))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .unwrap();
    server.enable_secret_extraction = true;
    let mut roots = RootCertStore::empty();
    roots.add(authority.der()).unwrap();
    let client = ClientConfig::builder_with_provider(only)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = ServerName::try_from("localhost").unwrap();
    let mut theirs = ClientConnection::new(Arc::new(client), name).unwrap();
    let mut server = UnbufferedServerConnection::new(Arc::new(server)).unwrap();
    let mut incoming = Vec::new();
    let mut outgoing = vec![0; 64 << 10];
    let mut end = 0;
    loop {
        let status = server.process_tls_records(&mut incoming);
        let discard = status.discard;
        let mut done = false;
        match status.state.unwrap() {
            ConnectionState::EncodeTlsData(mut data) => {
                end += data.encode(&mut outgoing[end..]).unwrap();
            }
            ConnectionState::TransmitTlsData(data) => data.done(),
            ConnectionState::WriteTraffic(_) => done = true,
            ConnectionState::BlockedHandshake => {}
            other => panic!("{other:?}"),
        }
        incoming.drain(..discard);
        let mut sent = &outgoing[..end];
        while !sent.is_empty() {
            theirs.read_tls(&mut sent).unwrap();
            theirs.process_new_packets().unwrap();
        }
        end = 0;
        if done {
            break;
        }
        while theirs.wants_write() {
            theirs.write_tls(&mut incoming).unwrap();
        }
    }
    let (secrets, kept) = server.dangerous_into_kernel_connection().unwrap();
    let ours = Session::new(&secrets, Kept::Server(kept), incoming).unwrap();
    Pair { ours, theirs }
}

/// Left out: their records are those of the others, and the certificate here is ECDSA.
fn is_rsa(suite: &SupportedCipherSuite) -> bool {
    matches!(
        suite.suite(),
        CipherSuite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256
            | CipherSuite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384
            | CipherSuite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256
    )
}

impl Pair {
    /// Seals `data` as the relay does and has rustls read it.
    fn give_them(&mut self, data: &[u8]) -> Vec<u8> {
        let mut got = Vec::new();
        for data in data.chunks(limits::SEAL_RECORDS * PLAIN_MAX) {
            let mut buffer = vec![0; limits::SEALING_BYTES];
            let mut left = data;
            for slot in self.ours.layout().slots(&mut buffer) {
                let (now, later) = left.split_at(left.len().min(slot.len()));
                slot[..now.len()].copy_from_slice(now);
                left = later;
            }
            let sealed = self.ours.seal(&mut buffer, data.len()).unwrap();
            self.ours.queue(&buffer[..sealed]);
            got.extend(self.flush());
        }
        got
    }

    /// Hands over what waits.
    fn flush(&mut self) -> Vec<u8> {
        let mut got = Vec::new();
        let unsent = self.ours.unsent().to_vec();
        self.ours.sent(unsent.len());
        let mut left = &unsent[..];
        while !left.is_empty() {
            self.theirs.read_tls(&mut left).unwrap();
            let state = self.theirs.process_new_packets().unwrap();
            let mut part = vec![0; state.plaintext_bytes_to_read()];
            self.theirs.reader().read_exact(&mut part).unwrap();
            got.extend(part);
        }
        got
    }

    /// What rustls wants sent.
    fn take_theirs(&mut self, data: &[u8]) -> Vec<u8> {
        let mut wire = Vec::new();
        let mut left = data;
        loop {
            let n = self.theirs.writer().write(left).unwrap();
            left = &left[n..];
            while self.theirs.wants_write() {
                self.theirs.write_tls(&mut wire).unwrap();
            }
            if left.is_empty() {
                return wire;
            }
        }
    }

    /// Opens ciphertext as the relay does, in pieces of these sizes.
    fn open(&mut self, wire: &[u8], cuts: &[usize]) -> Result<Vec<u8>, Fault> {
        let mut got = Vec::new();
        let mut scratch = vec![0; limits::SCRATCH_BYTES];
        let mut spans = Vec::new();
        let mut left = wire;
        let mut cuts = cuts.iter().copied().cycle();
        while !left.is_empty() {
            let carried = self.ours.restore(&mut scratch);
            let n = cuts.next().unwrap_or(left.len()).clamp(1, left.len());
            let n = n.min(scratch.len() - carried);
            let (now, later) = left.split_at(n);
            left = later;
            scratch[carried..carried + n].copy_from_slice(now);
            spans.clear();
            let opened = self.ours.open(&mut scratch[..carried + n], &mut spans);
            for span in &spans {
                got.extend_from_slice(&scratch[span.clone()]);
            }
            opened?;
        }
        Ok(got)
    }
}

fn bytes(len: usize) -> Vec<u8> {
    (0..len).map(|at| (at * 31 + at / 251) as u8).collect()
}

#[test]
fn every_suite_both_ways_with_new_keys_in_between_and_an_end() {
    for suite in suites().into_iter().filter(|suite| !is_rsa(suite)) {
        let mut pair = pair(suite);
        let v13 = pair.ours.is_v13();
        for size in [1, 100, PLAIN_MAX - 1, PLAIN_MAX, PLAIN_MAX + 1, 5 * PLAIN_MAX + 7] {
            let data = bytes(size);
            assert_eq!(pair.give_them(&data), data, "{suite:?} {size}");
            let wire = pair.take_theirs(&data);
            assert_eq!(pair.open(&wire, &[1000, 1]).unwrap(), data, "{suite:?} {size}");
            if v13 {
                // Theirs asks for ours: both sides have new keys afterwards.
                pair.theirs.refresh_traffic_keys().unwrap();
                let wire = pair.take_theirs(b"after");
                assert_eq!(pair.open(&wire, &[]).unwrap(), b"after");
                assert_eq!(pair.flush(), b"");
                pair.ours.renew_sealer().unwrap();
            }
        }
        pair.ours.end();
        pair.flush();
        assert_eq!(pair.theirs.reader().read(&mut [0]).unwrap(), 0, "close_notify came");
        pair.theirs.send_close_notify();
        let wire = pair.take_theirs(b"");
        assert!(!pair.ours.has_ended());
        assert_eq!(pair.open(&wire, &[]).unwrap(), b"");
        assert!(pair.ours.has_ended());
    }
}

#[test]
fn a_worn_key_is_replaced_before_the_next_record() {
    let tls13 = |suite: &SupportedCipherSuite| suite.version().version == ProtocolVersion::TLSv1_3;
    let mut pair = pair(suites().into_iter().find(tls13).unwrap());
    pair.ours.sealer.wear_out();
    // Both sides count records; only the message that announces new keys puts them together again,
    // so rustls cannot follow a jump: look at what is sent instead.
    let mut buffer = vec![0; limits::SEALING_BYTES];
    assert!(pair.ours.sealer.is_worn());
    pair.ours.seal(&mut buffer, 10).unwrap();
    assert!(!pair.ours.sealer.is_worn());
    assert_eq!(pair.ours.unsent().len(), 5 + 5 + 1 + 16, "a key update waits in front");
}

#[test]
fn a_peer_that_only_talks_is_cut() {
    let tls13 = |suite: &SupportedCipherSuite| suite.version().version == ProtocolVersion::TLSv1_3;
    let mut pair = pair(suites().into_iter().find(tls13).unwrap());
    let mut wire = Vec::new();
    for _ in 0..=limits::TLS_IDLE_TALK_MAX {
        pair.theirs.refresh_traffic_keys().unwrap();
        wire.extend(pair.take_theirs(b""));
    }
    assert_eq!(pair.open(&wire, &[]), Err(Fault::Flood));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn any_cut_gives_the_same(len in 0..100_000_usize, cuts in prop::collection::vec(1..40_000_usize, 1..8), at in 0..16_usize) {
        let suites: Vec<_> = suites().into_iter().filter(|suite| !is_rsa(suite)).collect();
        let mut pair = pair(suites[at % suites.len()]);
        let data = bytes(len);
        let wire = pair.take_theirs(&data);
        prop_assert_eq!(pair.open(&wire, &cuts).unwrap(), data);
    }

    #[test]
    fn a_changed_bit_is_never_taken(len in 1..40_000_usize, place in any::<prop::sample::Index>(), bit in 0..8_u8, at in 0..16_usize) {
        let suites: Vec<_> = suites().into_iter().filter(|suite| !is_rsa(suite)).collect();
        let mut pair = pair(suites[at % suites.len()]);
        let data = bytes(len);
        let mut wire = pair.take_theirs(&data);
        let place = place.index(wire.len());
        wire[place] ^= 1 << bit;
        // A changed length may leave us waiting for more; the version's minor is not looked at.
        match pair.open(&wire, &[]) {
            Ok(got) => prop_assert!(got.len() < data.len() && data.starts_with(&got) || got == data),
            Err(Fault::Record(_)) => {}
            Err(other) => prop_assert!(false, "{other}"),
        }
    }

    #[test]
    fn rubbish_never_panics(wire in prop::collection::vec(any::<u8>(), 0..2000), at in 0..16_usize) {
        let suites: Vec<_> = suites().into_iter().filter(|suite| !is_rsa(suite)).collect();
        let mut pair = pair(suites[at % suites.len()]);
        let _ = pair.open(&wire, &[]);
    }
}
