//! TLS that ends here, and a target in clear.

use std::sync::Arc;
use std::thread;
use std::time::Duration;

use rustls::{AlertDescription, CipherSuite, ClientConfig, ProtocolVersion};
use serde_json::json;
use thalweg::tls::record::{Content, Sealer};

use super::{CLOSED, MIB, NAME, Stage};
use crate::support::backend::Backend;
use crate::support::config::{Config, Service};
use crate::support::data::{Digest, Random};
use crate::support::heavy;
use crate::support::peer::{self, Peer};
use crate::support::proxy::Launch;
use crate::support::tls::{Dial, End, Tls};
use crate::support::wait::wait_until_still;

const SUITES: [CipherSuite; 6] = [
    CipherSuite::TLS13_AES_128_GCM_SHA256,
    CipherSuite::TLS13_AES_256_GCM_SHA384,
    CipherSuite::TLS13_CHACHA20_POLY1305_SHA256,
    CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
    CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
    CipherSuite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
];
const BOTH: [ProtocolVersion; 2] = [ProtocolVersion::TLSv1_3, ProtocolVersion::TLSv1_2];

/// Goal: bulk arrives as it was sent, with every suite of both versions.
/// Method: 64 MiB and `close_notify` from the client, and when all of it was read 64 MiB and a FIN
/// from the upstream.
#[test]
fn bulk_each_way_with_every_suite() {
    let _alone = heavy();
    let mut stage = Stage::new();
    for (seed, suite) in (0..).zip(SUITES) {
        let config = Dial::trusting(&stage.authority).suite(suite).config();
        let (mut client, up) = stage.open(&config);
        thread::scope(|scope| {
            let read = scope.spawn(|| up.hash_to_eof());
            let sent = client.send_random(seed, 64 * MIB);
            client.fin();
            assert_eq!(read.join().unwrap(), (64 * MIB, sent), "{suite:?}");
        });
        thread::scope(|scope| {
            let read = scope.spawn(|| client.hash_to_close());
            let sent = up.send_random(seed + 100, 64 * MIB);
            up.fin();
            assert_eq!(read.join().unwrap(), (64 * MIB, sent), "{suite:?}");
        });
        stage.proxy.ended(client, &stage.service, CLOSED);
    }
    stage.proxy.finish();
}

/// Goal: both directions at once neither mix nor block each other.
/// Method: 32 MiB each way at the same time against an echo.
#[test]
fn both_directions_at_once() {
    let _alone = heavy();
    let mut stage = Stage::new();
    for version in BOTH {
        let config = Dial::trusting(&stage.authority).version(version).config();
        let (mut client, up) = stage.open(&config);
        let echo = thread::spawn(move || crate::support::backend::echo(&up));
        let (sent, back) = client.exchange(7, 32 * MIB);
        assert_eq!(sent, back, "{version:?}");
        client.fin();
        client.expect_close();
        echo.join().unwrap();
        stage.proxy.ended(client, &stage.service, CLOSED);
    }
    stage.proxy.finish();
}

/// Goal: the bytes do not depend on how they are cut into records.
/// Method: records of every size around the bounds of a record, of its padding blocks and of the
/// buffers, single and many in one segment; from the upstream writes of the same sizes.
#[test]
fn records_of_every_size() {
    let mut stage = Stage::new();
    let sizes: Vec<usize> = (1..40)
        .chain(250..260)
        .chain(16_370..16_400)
        .chain([32_768, 49_152, 65_535, 65_536, 65_537])
        .collect();
    for version in BOTH {
        let config = Dial::trusting(&stage.authority).version(version).config();
        let (mut client, up) = stage.open(&config);
        client.connection.set_buffer_limit(None);
        let mut random = Random::new(3);
        for size in &sizes {
            let bytes = random.bytes(*size);
            thread::scope(|scope| {
                let read = scope.spawn(|| up.recv_exact(*size));
                client.send(&bytes);
                assert!(read.join().unwrap() == bytes, "{size} bytes up");
                scope.spawn(|| up.send(&bytes));
                assert!(client.recv_exact(*size) == bytes, "{size} bytes down");
            });
        }
        // A thousand small records at once: more pieces than one call sends.
        let mut wire = Vec::new();
        let mut sent = Vec::new();
        for _ in 0..1000 {
            let size = 1 + usize::try_from(random.below(90)).unwrap();
            let bytes = random.bytes(size);
            wire.extend(client.sealed(&bytes));
            sent.extend(bytes);
        }
        thread::scope(|scope| {
            scope.spawn(|| client.peer.send(&wire));
            assert!(up.recv_exact(sent.len()) == sent, "small records");
        });
        // Ends of segments that are no ends of records.
        let bytes = random.bytes(40_000);
        let wire = client.sealed(&bytes);
        thread::scope(|scope| {
            scope.spawn(|| wire.chunks(997).for_each(|chunk| client.peer.send(chunk)));
            assert!(up.recv_exact(bytes.len()) == bytes, "split records");
        });
        client.fin();
        up.expect_eof();
        drop(up);
        client.expect_close();
        stage.proxy.ended(client, &stage.service, CLOSED);
    }
    stage.proxy.finish();
}

/// Goal: `close_notify` of the client ends its direction alone.
/// Method: the client ends, the upstream reads the end, is not cut, and answers only then.
#[test]
fn client_ends_first() {
    let mut stage = Stage::new();
    for version in BOTH {
        for tcp_too in [false, true] {
            let config = Dial::trusting(&stage.authority).version(version).config();
            let (mut client, up) = stage.open(&config);
            client.send(b"question");
            client.fin();
            if tcp_too {
                client.peer.fin();
            }
            up.expect(b"question");
            up.expect_eof();
            let answer = up.send_random(2, 3 * MIB);
            drop(up);
            assert_eq!(client.hash_to_close(), (3 * MIB, answer));
            stage.proxy.ended(client, &stage.service, CLOSED);
        }
    }
    stage.proxy.finish();
}

/// Goal: a FIN of the upstream ends its direction alone: the client reads `close_notify` and may go on.
/// Method: the upstream ends, the client reads the end, sends 3 MiB only then, and ends.
#[test]
fn upstream_ends_first() {
    let mut stage = Stage::new();
    for version in BOTH {
        let config = Dial::trusting(&stage.authority).version(version).config();
        let (mut client, up) = stage.open(&config);
        up.send(b"banner");
        up.fin();
        client.expect(b"banner");
        client.expect_close();
        thread::scope(|scope| {
            let read = scope.spawn(|| up.hash_to_eof());
            let sent = client.send_random(4, 3 * MIB);
            client.fin();
            assert_eq!(read.join().unwrap(), (3 * MIB, sent));
        });
        drop(up);
        stage.proxy.ended(client, &stage.service, CLOSED);
    }
    stage.proxy.finish();
}

/// Goal: a connection over which nothing was said ends cleanly, from either side.
#[test]
fn silent_connections() {
    let mut stage = Stage::new();
    for (version, client_first) in BOTH.into_iter().flat_map(|v| [(v, true), (v, false)]) {
        let config = Dial::trusting(&stage.authority).version(version).config();
        let (mut client, up) = stage.open(&config);
        if client_first {
            client.fin();
            up.expect_eof();
            up.fin();
            client.expect_close();
        } else {
            up.fin();
            client.expect_close();
            client.fin();
            up.expect_eof();
        }
        stage.proxy.ended(client, &stage.service, CLOSED);
    }
    stage.proxy.finish();
}

/// Goal: a stream that was cut off is not reported to the upstream as one that has ended.
/// Method: a FIN without `close_notify`, at the end of a record and in the middle of one.
#[test]
fn client_truncates() {
    let mut stage = Stage::new();
    for (version, cut) in BOTH.into_iter().flat_map(|v| [(v, 0), (v, 7)]) {
        let config = Dial::trusting(&stage.authority).version(version).config();
        let (mut client, up) = stage.open(&config);
        client.send(b"half a stor");
        up.expect(b"half a stor");
        if cut > 0 {
            let record = client.sealed(b"y, or none");
            client.peer.send(&record[..cut]);
        }
        client.peer.fin();
        up.expect_reset();
        client.expect_end(&End::Reset);
        stage.proxy.cut(client, &stage.service, "client/relay/truncated");
    }
    stage.proxy.finish();
}

/// Goal: an upstream that was cut off is not reported to the client as one that has ended.
/// Method: 200 KB and a reset from the upstream.
#[test]
fn upstream_resets() {
    let mut stage = Stage::new();
    for version in BOTH {
        let config = Dial::trusting(&stage.authority).version(version).config();
        let (mut client, up) = stage.open(&config);
        let sent = up.send_random(5, 200_000);
        let mut got = crate::support::data::Hasher::default();
        got.update(&client.recv_exact(200_000));
        assert_eq!(got.finish(), sent);
        up.rst();
        client.expect_end(&End::Reset);
        stage.proxy.cut(client, &stage.service, "upstream/relay/reset");
    }
    stage.proxy.finish();
}

/// Goal: an upstream that is cut off while the client sends is not reported as one that has ended:
/// whichever direction notices first, the client never reads `close_notify`.
/// Method: the proxy stands still while the client sends and the upstream resets, so that it finds
/// both at once.
#[test]
fn upstream_resets_while_the_client_sends() {
    let mut stage = Stage::new();
    for version in BOTH {
        let config = Dial::trusting(&stage.authority).version(version).config();
        let (mut client, up) = stage.open(&config);
        up.send(b"part");
        client.expect(b"part");
        stage.proxy.pause();
        client.send(b"more");
        up.rst();
        stage.proxy.resume();
        client.expect_end(&End::Reset);
        stage.proxy.cut(client, &stage.service, "upstream/relay/reset");
    }
    stage.proxy.finish();
}

/// Goal: a reset of the client reaches the upstream as one.
#[test]
fn client_resets() {
    let mut stage = Stage::new();
    let (mut client, up) = stage.open(&stage.client());
    client.send(b"abc");
    up.expect(b"abc");
    let outcome = client.rst();
    up.expect_reset();
    stage.proxy.cut(outcome, &stage.service, "client/relay/reset");
    stage.proxy.finish();
}

/// Goal: what was changed on its way is refused, and what came before it was handed on.
/// Method: one bit of a record's body is flipped; the client is told bad_record_mac.
#[test]
fn tampered_records() {
    let mut stage = Stage::new();
    for suite in SUITES {
        let config = Dial::trusting(&stage.authority).suite(suite).config();
        let (mut client, up) = stage.open(&config);
        let mut wire = client.sealed(b"good");
        wire.extend(client.sealed(b"bad"));
        let last = wire.len() - 1;
        wire[last] ^= 1;
        client.peer.send(&wire);
        up.expect(b"good");
        up.expect_reset();
        client.expect_end(&End::Alert(AlertDescription::BadRecordMac));
        stage.proxy.cut(client, &stage.service, "client/relay/tls");
    }
    stage.proxy.finish();
}

/// Goal: records that cannot be are refused with the right alert, whatever their length claims.
#[test]
fn impossible_records() {
    let mut stage = Stage::new();
    for (version, bytes, alert) in [
        (BOTH[0], &[23, 3, 3, 0x50, 0][..], AlertDescription::RecordOverflow),
        (BOTH[1], &[23, 3, 3, 0x50, 0], AlertDescription::RecordOverflow),
        (BOTH[0], b"GET / HTTP/1.1\r\n", AlertDescription::DecodeError),
        (BOTH[0], &[23, 3, 3, 0, 0], AlertDescription::BadRecordMac),
        (BOTH[1], &[23, 3, 3, 0, 0], AlertDescription::DecodeError),
        (BOTH[0], &[22, 3, 3, 0, 1], AlertDescription::UnexpectedMessage),
        (BOTH[1], &[99, 3, 3, 0, 24], AlertDescription::UnexpectedMessage),
    ] {
        let config = Dial::trusting(&stage.authority).version(version).config();
        let (mut client, up) = stage.open(&config);
        client.send(b"x");
        up.expect(b"x");
        client.peer.send(&[bytes, &[0; 24]].concat());
        up.expect_reset();
        client.expect_end(&End::Alert(alert));
        stage.proxy.cut(client, &stage.service, "client/relay/tls");
    }
    stage.proxy.finish();
}

/// Goal: new keys in mid-stream change nothing for the data of either direction.
/// Method: the client asks for new keys again and again while both directions carry data.
#[test]
fn key_updates() {
    let mut stage = Stage::new();
    let config = Dial::trusting(&stage.authority).version(BOTH[0]).config();
    let (mut client, up) = stage.open(&config);
    for round in 0..50 {
        client.send(b"before");
        client.connection.refresh_traffic_keys().unwrap();
        let wire = client.unsent();
        client.peer.send(&wire);
        let sent = client.send_random(round, 20_000);
        up.expect(b"before");
        assert_eq!(Digest::of(&up.recv_exact(20_000)), sent, "up, round {round}");
        let sent = up.send_random(round, 20_000);
        assert_eq!(Digest::of(&client.recv_exact(20_000)), sent, "down, round {round}");
    }
    client.fin();
    up.expect_eof();
    up.fin();
    client.expect_close();
    stage.proxy.ended(client, &stage.service, CLOSED);
    stage.proxy.finish();
}

/// Goal: keys that change in the very flight that ends the handshake are followed, with data before
/// and behind.
/// Method: Finished, data, a request for new keys and more data leave in one segment.
#[test]
fn keys_changed_in_the_last_flight() {
    let mut stage = Stage::new();
    let config = Dial::trusting(&stage.authority).version(BOTH[0]).config();
    let mut client = Tls::client(stage.proxy.connect(&stage.service), &config, NAME);
    client.flush().unwrap();
    while client.connection.is_handshaking() {
        let bytes = client.peer.try_recv().unwrap();
        let mut left = bytes.as_slice();
        while !left.is_empty() {
            client.connection.read_tls(&mut left).unwrap();
            client.connection.process_new_packets().unwrap();
        }
    }
    client.write(b"one");
    client.connection.refresh_traffic_keys().unwrap();
    client.write(b"two");
    let wire = client.unsent();
    client.peer.send(&wire);
    let up = stage.upstream.accept();
    up.expect(b"onetwo");
    up.send(b"three");
    client.expect(b"three");
    client.send(b"four");
    up.expect(b"four");
    client.fin();
    up.expect_eof();
    up.fin();
    client.expect_close();
    stage.proxy.ended(client, &stage.service, CLOSED);
    stage.proxy.finish();
}

/// Goal: requests for new keys cannot make the proxy hoard answers for a client that reads none.
/// Method: ten requests before each of 200 bytes; the client counts what came back. RFC 8446 §4.6.3:
/// one answer before the next data is enough.
#[test]
fn key_updates_are_answered_once() {
    let mut stage = Stage::new();
    let config = Dial::trusting(&stage.authority).version(BOTH[0]).config();
    let (mut client, up) = stage.open(&config);
    up.send(b"!");
    client.expect(b"!");
    let before = client.peer.received();
    for _ in 0..200 {
        for _ in 0..10 {
            client.connection.refresh_traffic_keys().unwrap();
        }
        client.send(b"x");
        up.expect(b"x");
    }
    up.send(b"!");
    client.expect(b"!");
    let answers = client.peer.received() - before;
    assert!(answers < 10_000, "{answers} bytes of answers");
    client.fin();
    up.expect_eof();
    up.fin();
    client.expect_close();
    stage.proxy.ended(client, &stage.service, CLOSED);
    stage.proxy.finish();
}

/// Shakes hands and takes the client's sealing key out of rustls' hands, to seal what rustls would
/// not.
fn own_keys(stage: &Stage, version: ProtocolVersion) -> (Peer, Sealer, Peer) {
    let dial = Dial::trusting(&stage.authority).version(version);
    let mut config = ClientConfig::clone(&dial.config());
    config.enable_secret_extraction = true;
    let (client, up) = stage.open(&Arc::new(config));
    let Tls { peer, connection, .. } = client;
    let (sequence, secrets) = connection.dangerous_extract_secrets().unwrap().tx;
    (peer, Sealer::new(version, sequence, &secrets).unwrap(), up)
}

fn seal(sealer: &mut Sealer, content: Content, bytes: &[u8]) -> Vec<u8> {
    let mut record = vec![0; sealer.head()];
    record.extend_from_slice(bytes);
    record.resize(record.len() + sealer.tail(), 0);
    sealer.seal(content, &mut record).unwrap();
    record
}

/// Goal: whoever says nothing, at length, is cut.
/// Method: empty records, requests for new keys, and in TLS 1.2 renegotiation and warnings, without
/// end.
#[test]
fn floods_without_data() {
    let mut stage = Stage::new();
    let floods: [(ProtocolVersion, Content, &[u8]); 6] = [
        (BOTH[0], Content::Data, &[]),
        (BOTH[1], Content::Data, &[]),
        (BOTH[0], Content::Alert, &[1, 90]),
        (BOTH[1], Content::Alert, &[1, 90]),
        (BOTH[1], Content::Alert, &[1, 112]),
        (BOTH[1], Content::Handshake, &[1, 0, 0, 2, 3, 3]),
    ];
    for (version, content, bytes) in floods {
        let (client, mut sealer, up) = own_keys(&stage, version);
        for _ in 0..10_000 {
            let record = seal(&mut sealer, content, bytes);
            if client.try_send(&record).is_err() {
                break;
            }
        }
        up.expect_reset();
        client.recv_to_end();
        let outcome = peer::Outcome { sent: 0, received: 0, ..client.outcome() };
        stage.proxy.cut(outcome, &stage.service, "client/relay/tls");
    }
    let config = Dial::trusting(&stage.authority).version(BOTH[0]).config();
    let (mut client, up) = stage.open(&config);
    for _ in 0..10_000 {
        client.connection.refresh_traffic_keys().unwrap();
        if client.flush().is_err() {
            break;
        }
    }
    up.expect_reset();
    stage.proxy.cut(client, &stage.service, "client/relay/tls");
    stage.proxy.finish();
}

/// Goal: renegotiation, which TLS 1.2 allows to refuse, is refused, and the connection goes on.
/// Method: a hello within the connection; then data both ways. Again and again, without reading: the
/// refusals must not be hoarded.
#[test]
fn renegotiation_is_refused() {
    let mut stage = Stage::new();
    let (client, mut sealer, up) = own_keys(&stage, BOTH[1]);
    client.send(&seal(&mut sealer, Content::Handshake, &[1, 0, 0, 2, 3, 3]));
    client.send(&seal(&mut sealer, Content::Data, b"goes on"));
    up.expect(b"goes on");
    let warning = client.recv_exact(5);
    assert_eq!(warning[0], 21, "an alert");
    client.recv_exact(usize::from(warning[4]));
    up.send(b"as before");
    assert_eq!(client.recv_exact(5)[0], 23);
    for _ in 0..10_000 {
        let mut records = seal(&mut sealer, Content::Handshake, &[1, 0, 0, 2, 3, 3]);
        records.extend(seal(&mut sealer, Content::Data, b"x"));
        if client.try_send(&records).is_err() {
            break;
        }
    }
    up.recv_to_end();
    let outcome = peer::Outcome { sent: 20_000, received: 9, ..client.outcome() };
    stage.proxy.cut(outcome, &stage.service, "client/relay/tls");
    stage.proxy.finish();
}

/// Goal: what comes after `close_notify` is not data any more.
#[test]
fn data_after_the_end() {
    let mut stage = Stage::new();
    for version in BOTH {
        let (client, mut sealer, up) = own_keys(&stage, version);
        let mut wire = seal(&mut sealer, Content::Data, b"all");
        wire.extend(seal(&mut sealer, Content::Alert, &[1, 0]));
        wire.extend(seal(&mut sealer, Content::Data, b"not this"));
        client.send(&wire);
        up.expect(b"all");
        up.expect_eof();
        client.send(&seal(&mut sealer, Content::Data, b"nor this"));
        up.send(b"answer");
        up.close();
        client.recv_to_end();
        let outcome = peer::Outcome { sent: 3, received: 6, ..client.outcome() };
        drop(client);
        stage.proxy.cut(outcome, &stage.service, CLOSED);
    }
    stage.proxy.finish();
}

/// Goal: a client that is cut off after its `close_notify`, while the upstream still has something to
/// say, is not kept.
#[test]
fn client_resets_after_its_end() {
    let mut stage = Stage::new();
    let (mut client, up) = stage.open(&stage.client());
    up.send(b"x");
    client.expect(b"x");
    client.fin();
    up.expect_eof();
    let outcome = client.rst();
    up.expect_silence_then_reset();
    stage.proxy.cut(outcome, &stage.service, "client/relay/reset");
    stage.proxy.finish();
}

/// Goal: a message after the handshake that has no place is refused.
#[test]
fn messages_without_a_place() {
    let mut stage = Stage::new();
    for (version, content, bytes) in [
        (BOTH[0], Content::Handshake, &[1, 0, 0, 2, 3, 3][..]),
        (BOTH[0], Content::Handshake, &[24, 0, 0, 1, 2]),
        (BOTH[0], Content::Handshake, &[24, 0, 0, 1, 0, 24, 0, 0, 1, 0]),
        (BOTH[0], Content::Alert, &[2]),
        (BOTH[1], Content::Handshake, &[20, 0, 0, 0]),
    ] {
        let (client, mut sealer, up) = own_keys(&stage, version);
        client.send(&seal(&mut sealer, Content::Data, b"x"));
        client.send(&seal(&mut sealer, content, bytes));
        up.expect(b"x");
        up.expect_reset();
        let (said, _) = client.recv_to_end();
        let [.., _, _] = said.as_slice() else { panic!("no alert came") };
        let outcome = peer::Outcome { sent: 1, received: 0, ..client.outcome() };
        stage.proxy.cut(outcome, &stage.service, "client/relay/tls");
    }
    for version in BOTH {
        let (client, mut sealer, up) = own_keys(&stage, version);
        client.send(&seal(&mut sealer, Content::Alert, &[2, 80]));
        up.expect_reset();
        let outcome = peer::Outcome { sent: 0, received: 0, ..client.outcome() };
        stage.proxy.cut(outcome, &stage.service, "client/relay/alert");
    }
    stage.proxy.finish();
}

/// Goal: a client that does not read stops the upstream, and costs its buffers alone.
/// Method: eight clients of an endless source read nothing; then they read 8 MiB each.
#[test]
fn slow_readers() {
    let _alone = heavy();
    let stage = Stage::new();
    let source = Backend::source();
    let service = Service::new("source", &[source.address]).set("tls", json!("Enabled"));
    let config = Config::new([&service])
        .set("certificates", json!([stage.files.pair("b", &stage.authority.issue(&[NAME]))]));
    let mut proxy = Launch::new(config).start();
    let client = stage.client();
    let mut clients: Vec<_> =
        (0..8).map(|_| Tls::dial(proxy.connect(&service), &client, NAME)).collect();
    let sent = wait_until_still("the source", Duration::from_millis(500), || source.sent());
    let growth = proxy.growth_kib();
    assert!(growth < 16 * 1024, "grown by {growth} KiB after {sent} bytes");
    for client in &mut clients {
        let block = Random::new(7).bytes(64 * 1024);
        for _ in 0..128 {
            assert!(client.recv_exact(block.len()) == block);
        }
    }
    for client in clients {
        let outcome = client.rst();
        proxy.cut(outcome, &service, "client/relay/reset");
    }
    proxy.finish();
    stage.proxy.finish();
}

/// Goal: an upstream that does not read stops the client, and loses nothing.
/// Method: the client sends until it is stuck; then the upstream reads all.
#[test]
fn slow_upstream() {
    let mut stage = Stage::new();
    let (mut client, up) = stage.open(&stage.client());
    let counter = client.peer.sent_counter();
    thread::scope(|scope| {
        let sending = scope.spawn(|| {
            let sent = client.send_random(8, 48 * MIB);
            client.fin();
            sent
        });
        let stuck = wait_until_still("the client", Duration::from_millis(300), || {
            counter.load(std::sync::atomic::Ordering::Relaxed)
        });
        assert!(stuck < 40 * MIB, "nothing held the client back");
        let growth = stage.proxy.growth_kib();
        assert!(growth < 16 * 1024, "grown by {growth} KiB");
        let (count, digest) = up.hash_to_eof();
        assert_eq!((count, digest), (48 * MIB, sending.join().unwrap()));
    });
    up.fin();
    client.expect_close();
    stage.proxy.ended(client, &stage.service, CLOSED);
    stage.proxy.finish();
}

/// Goal: data that comes in one segment with the end of the handshake is not lost, however much.
#[test]
fn data_with_the_finished() {
    let mut stage = Stage::new();
    for (version, size) in BOTH.into_iter().flat_map(|v| [(v, 5), (v, 16_384), (v, 300_000)]) {
        let config = Dial::trusting(&stage.authority).version(version).config();
        let bytes = Random::new(6).bytes(size);
        let mut client = Tls::client(stage.proxy.connect(&stage.service), &config, NAME);
        client.connection.set_buffer_limit(None);
        client.write(&bytes);
        thread::scope(|scope| {
            let shaking = scope.spawn(|| {
                client.shake().unwrap();
                client.fin();
            });
            let up = stage.upstream.accept();
            assert!(up.recv_exact(size) == bytes, "{version:?}, {size} bytes");
            up.expect_eof();
            shaking.join().unwrap();
        });
        client.expect_close();
        stage.proxy.ended(client, &stage.service, CLOSED);
    }
    stage.proxy.finish();
}

/// Goal: an upstream that speaks first is heard, although the client has said nothing.
#[test]
fn upstream_speaks_first() {
    let mut stage = Stage::new();
    for version in BOTH {
        let config = Dial::trusting(&stage.authority).version(version).config();
        let (mut client, up) = stage.open(&config);
        up.send(b"220 ready\r\n");
        client.expect(b"220 ready\r\n");
        client.send(b"QUIT\r\n");
        up.expect(b"QUIT\r\n");
        up.close();
        client.expect_close();
        client.fin();
        stage.proxy.ended(client, &stage.service, CLOSED);
    }
    stage.proxy.finish();
}

/// Goal: a handshake over which a client takes its time byte by byte works like any other.
#[test]
fn handshake_in_single_bytes() {
    let mut stage = Stage::new();
    for version in BOTH {
        let config = Dial::trusting(&stage.authority).version(version).config();
        let mut client = Tls::client(stage.proxy.connect(&stage.service), &config, NAME);
        while client.connection.is_handshaking() || client.connection.wants_write() {
            for byte in client.unsent() {
                client.peer.send(&[byte]);
            }
            if client.connection.is_handshaking() {
                let bytes = client.peer.try_recv().unwrap();
                let mut bytes = bytes.as_slice();
                while !bytes.is_empty() {
                    client.connection.read_tls(&mut bytes).unwrap();
                    client.connection.process_new_packets().unwrap();
                }
            }
        }
        client.send(b"x");
        let up = stage.upstream.accept();
        up.expect(b"x");
        up.send(b"y");
        up.fin();
        client.expect(b"y");
        client.expect_close();
        client.fin();
        stage.proxy.ended(client, &stage.service, CLOSED);
    }
    stage.proxy.finish();
}

/// Goal: idle and half-closed limits hold over TLS as without it, and say so to both sides.
#[test]
fn limits_on_time() {
    let timeouts = json!({ "idle": "600ms", "halfClosed": "300ms" });
    let mut stage = Stage::with(|service| service.set("timeouts", timeouts));
    let (mut client, up) = stage.open(&stage.client());
    client.send(b"x");
    up.expect(b"x");
    up.expect_reset();
    client.expect_end(&End::Reset);
    stage.proxy.cut(client, &stage.service, "us/relay/idle");
    let (mut client, up) = stage.open(&stage.client());
    client.fin();
    up.expect_eof();
    client.expect_end(&End::Reset);
    up.expect_silence_then_reset();
    stage.proxy.cut(client, &stage.service, "us/relay/half-closed");
    stage.proxy.finish();
}
