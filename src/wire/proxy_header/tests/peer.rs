//! What another implementation, the crate `ppp`, reads and writes.

use std::net::{Ipv4Addr, Ipv6Addr};

use ppp::v2::{Builder, Command, Protocol, Version};
use proptest::collection::vec;
use proptest::prelude::*;

use super::any::any_tlvs;
use super::*;

type Addresses = (SocketAddr, SocketAddr);

/// Addresses of one family.
fn addresses() -> impl Strategy<Value = Addresses> {
    let four =
        any::<((Ipv4Addr, u16), (Ipv4Addr, u16))>().prop_map(|(one, two)| (one.into(), two.into()));
    let six =
        any::<((Ipv6Addr, u16), (Ipv6Addr, u16))>().prop_map(|(one, two)| (one.into(), two.into()));
    prop_oneof![four, six]
}

/// What it takes for the addresses of a line.
fn theirs_v1(line: &[u8]) -> Option<Addresses> {
    match ppp::v1::Header::try_from(line).expect("a line").addresses {
        ppp::v1::Addresses::Unknown => None,
        ppp::v1::Addresses::Tcp4(ip) => Some((
            (ip.source_address, ip.source_port).into(),
            (ip.destination_address, ip.destination_port).into(),
        )),
        ppp::v1::Addresses::Tcp6(ip) => Some((
            (ip.source_address, ip.source_port).into(),
            (ip.destination_address, ip.destination_port).into(),
        )),
    }
}

/// What it takes for the addresses of a header of version 2.
fn theirs_v2(header: &ppp::v2::Header<'_>) -> Option<Addresses> {
    match header.addresses {
        ppp::v2::Addresses::IPv4(ip) => Some((
            (ip.source_address, ip.source_port).into(),
            (ip.destination_address, ip.destination_port).into(),
        )),
        ppp::v2::Addresses::IPv6(ip) => Some((
            (ip.source_address, ip.source_port).into(),
            (ip.destination_address, ip.destination_port).into(),
        )),
        _ => None,
    }
}

proptest! {
    #[test]
    fn they_read_what_we_write(
        (source, destination) in addresses(),
        tlvs in any_tlvs(),
        checksum in any::<bool>(),
    ) {
        let ours = (canonical(source), canonical(destination));
        let (source, destination) = (Some(source), Some(destination));
        let read = theirs_v1(&write_v1(source, destination));
        prop_assert_eq!(read.map(|(one, two)| (canonical(one), canonical(two))), Some(ours));

        let whole = write_v2(&Outgoing { source, destination, tlvs: &tlvs, checksum }).expect("fits");
        let read = ppp::v2::Header::try_from(&whole[..]).expect("a header");
        prop_assert_eq!(read.as_bytes().len(), whole.len());
        prop_assert_eq!((read.version, read.command), (Version::Two, Command::Proxy));
        prop_assert_eq!(read.protocol, Protocol::Stream);
        let addresses = theirs_v2(&read).map(|(one, two)| (canonical(one), canonical(two)));
        prop_assert_eq!(addresses, Some(ours));
        let values: Vec<_> = read.tlvs().map(|one| one.expect("a value")).collect();
        let value = |kind: u8| {
            values.iter().find(|value| value.kind == kind).map(|value| Value::from(&value.value[..]))
        };
        prop_assert_eq!(value(0x01), tlvs.alpn);
        prop_assert_eq!(value(0x02), tlvs.authority);
        prop_assert_eq!(value(0x05), tlvs.unique_id);
        prop_assert_eq!(value(0x30), tlvs.netns);
        prop_assert_eq!(value(0x20).is_some(), tlvs.ssl.is_some());
        prop_assert_eq!(value(0x03).is_some(), checksum);
        for (kind, bytes) in tlvs.others.iter() {
            prop_assert!(values.iter().any(|value| value.kind == kind && *value.value == *bytes));
        }
    }

    #[test]
    fn we_read_what_they_write(
        (source, destination) in addresses(),
        alpn in vec(any::<u8>(), 0..20),
        custom in vec(any::<u8>(), 0..200),
    ) {
        let line = ppp::v1::Addresses::from((source, destination)).to_string();
        let ours = header(line.as_bytes());
        prop_assert_eq!((ours.source, ours.destination), (Some(source), Some(destination)));

        let builder = Builder::with_addresses(
            Version::Two | Command::Proxy,
            Protocol::Stream,
            (source, destination),
        );
        let builder = builder.write_tlv(ppp::v2::Type::ALPN, &alpn).expect("short");
        let builder = builder.write_tlv(ppp::v2::Type::NoOp, &custom).expect("short");
        let builder = builder.write_tlv(0xe1_u8, &custom).expect("short");
        let ours = header(&builder.build().expect("short"));
        prop_assert_eq!((ours.source, ours.destination), (Some(source), Some(destination)));
        prop_assert_eq!(ours.tlvs.alpn.as_deref(), Some(&alpn[..]));
        prop_assert!(ours.tlvs.others.iter().eq([(0xe1, &custom[..])]));
    }
}

#[test]
fn unix_and_local() {
    let unix = ppp::v2::Unix::new([b'a'; 108], [b'b'; 108]);
    let builder = Builder::with_addresses(Version::Two | Command::Proxy, Protocol::Stream, unix);
    let ours = header(&builder.build().expect("short"));
    let expected = Unix { source: [b'a'; 108], destination: [b'b'; 108] };
    assert_eq!(ours.unix, Some(Box::new(expected)));

    let builder = Builder::new(Version::Two | Command::Local, 0);
    assert_eq!(builder.build().expect("short"), LOCAL);
    let theirs = ppp::v2::Header::try_from(&LOCAL[..]).expect("a header");
    assert_eq!(theirs.command, Command::Local);

    assert_eq!(theirs_v1(&write_v1(None, None)), None);
    let tlvs = Tlvs::default();
    let nobody = Outgoing { source: None, destination: None, tlvs: &tlvs, checksum: false };
    let whole = write_v2(&nobody).expect("fits");
    let theirs = ppp::v2::Header::try_from(&whole[..]).expect("a header");
    assert_eq!(
        (theirs.command, theirs.addresses),
        (Command::Proxy, ppp::v2::Addresses::Unspecified)
    );
}

#[test]
fn real_senders() {
    for (name, bytes) in super::corpus::all() {
        let Progress::Header(ours) = read(&bytes) else { panic!("{name}") };
        let whole = &bytes[..ours.length];
        let theirs = if name.contains("-v1-") {
            theirs_v1(whole)
        } else {
            theirs_v2(&ppp::v2::Header::try_from(whole).expect("a header"))
        };
        assert_eq!(ours.source.zip(ours.destination), theirs, "{name}");
    }
}
