//! Any bytes at all, and any way to cut them; anything that can be written.

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::{Index, select};

use super::corpus::all;
use super::*;

fn corpus() -> impl Strategy<Value = Vec<u8>> {
    select(all().into_iter().map(|(_, bytes)| bytes).collect::<Vec<_>>())
}

/// Reads in these segments until there is an answer.
fn in_segments(bytes: &[u8], cuts: &[Index]) -> Progress {
    let mut places: Vec<_> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
    places.push(bytes.len());
    places.sort_unstable();
    let mut reader = Reader::default();
    let mut answers = places.into_iter().map(|end| reader.read(&bytes[..end]));
    answers.find(|answer| *answer != Progress::More).unwrap_or(Progress::More)
}

/// Lines that are sound or nearly so.
fn near_line() -> impl Strategy<Value = Vec<u8>> {
    let address =
        "(1\\.2\\.3\\.4|0?[0-9]{1,3}\\.0\\.2\\.1|[0-9a-fA-F:]{2,39}|::|::ffff:1\\.2\\.3\\.4)";
    let port = "(0|[1-9][0-9]{0,4}|0?[0-9]{1,5}|\\+1)";
    let line = format!("PROXY (TCP[46]|UNKNOWN) {address} {address} {port} {port} ?\r?\n?x?");
    proptest::string::string_regex(&line).expect("a pattern").prop_map(String::into_bytes)
}

/// Headers of version 2 that are sound or nearly so.
fn near_v2() -> impl Strategy<Value = Vec<u8>> {
    let command = select(&[0x21, 0x21, 0x21, 0x20, 0x22, 0x11][..]);
    let kind = select(&[0x11, 0x11, 0x21, 0x31, 0x00, 0x01, 0x12, 0x10, 0x41, 0x13][..]);
    let block = select(&[12, 12, 36, 216, 0, 11][..]).prop_flat_map(|size| vec(any::<u8>(), size));
    let kinds = select(&[0x01, 0x02, 0x03, 0x04, 0x05, 0x20, 0x21, 0x30, 0xe0][..]);
    let tlvs = vec((kinds, vec(0..40_u8, 0..20)).prop_map(|(kind, value)| tlv(kind, &value)), 0..5);
    let rest = (block, tlvs, vec(any::<u8>(), 0..2))
        .prop_map(|(block, tlvs, after)| [block, tlvs.concat(), after].concat());
    (command, kind, rest).prop_map(|(command, kind, rest)| v2(command, kind, &rest))
}

fn any_value(length: usize) -> impl Strategy<Value = Option<Value>> {
    option::of(vec(any::<u8>(), 0..=length).prop_map(Into::into))
}

/// Others that are none of these kinds.
fn any_others(known: &'static [u8]) -> impl Strategy<Value = Others> {
    let one = (any::<u8>(), vec(any::<u8>(), 0..20));
    vec(one.prop_filter("known", |(kind, _)| !known.contains(kind)), 0..4).prop_map(|all| {
        let mut others = Others::default();
        for (kind, value) in all {
            others.push(kind, &value).expect("few");
        }
        others
    })
}

fn any_ssl() -> impl Strategy<Value = Ssl> {
    let values = [(); 8].map(|()| any_value(30).boxed());
    let others = any_others(&[0x21, 0x22, 0x23, 0x24, 0x25, 0x26, 0x27, 0x28]);
    (any::<u8>(), any::<u32>(), values, others).prop_map(|(client, verify, values, others)| {
        let [
            version,
            common_name,
            cipher,
            signature_algorithm,
            key_algorithm,
            group,
            signature_scheme,
            client_certificate,
        ] = values;
        Ssl {
            client,
            verify,
            version,
            common_name,
            cipher,
            signature_algorithm,
            key_algorithm,
            group,
            signature_scheme,
            client_certificate,
            others,
        }
    })
}

pub(super) fn any_tlvs() -> impl Strategy<Value = Tlvs> {
    let values = [255, 255, 128, 30].map(|length| any_value(length).boxed());
    let others = any_others(&[0x01, 0x02, 0x03, 0x04, 0x05, 0x20, 0x30]);
    (values, option::of(any_ssl()), others).prop_map(|(values, ssl, others)| {
        let [alpn, authority, unique_id, netns] = values;
        Tlvs { alpn, authority, unique_id, ssl: ssl.map(Box::new), netns, others }
    })
}

proptest! {
    #[test]
    fn near(bytes in prop_oneof![near_line(), near_v2()], cuts in vec(any::<Index>(), 0..20)) {
        let answer = read(&bytes);
        prop_assert_eq!(in_segments(&bytes, &cuts), answer);
    }

    #[test]
    fn mutated(
        mut bytes in prop_oneof![corpus(), near_line(), near_v2()],
        places in vec((any::<Index>(), any::<u8>()), 1..4),
        cut in any::<Index>(),
        cuts in vec(any::<Index>(), 0..20),
    ) {
        for (place, byte) in places {
            let place = place.index(bytes.len());
            bytes[place] = byte;
        }
        bytes.truncate(cut.index(2 * bytes.len()));
        let answer = read(&bytes);
        prop_assert_eq!(in_segments(&bytes, &cuts), answer);
    }

    #[test]
    fn random(bytes in vec(any::<u8>(), 0..200)) {
        fuzz(&bytes);
        fuzz(&[b"PROXY ", &bytes[..]].concat());
        fuzz(&[b"PROXY UNKNOWN ", &bytes[..]].concat());
        fuzz(&v2(0x21, 0x11, &bytes));
        fuzz(&with(std::slice::from_ref(&bytes)));
    }

    #[test]
    fn written_and_read(
        source in option::of(any::<SocketAddr>()),
        destination in option::of(any::<SocketAddr>()),
        tlvs in any_tlvs(),
        checksum in any::<bool>(),
    ) {
        let both = source.zip(destination).unzip();
        let expected = |length, tlvs| as_canonical(Header {
            source: both.0,
            destination: both.1,
            tlvs,
            length,
            ..Header::default()
        });
        let line = write_v1(source, destination);
        prop_assert_eq!(as_canonical(header(&line)), expected(line.len(), Tlvs::default()));
        let whole = write_v2(&Outgoing { source, destination, tlvs: &tlvs, checksum });
        let whole = whole.expect("fits");
        prop_assert_eq!(as_canonical(header(&whole)), expected(whole.len(), tlvs));
    }
}
