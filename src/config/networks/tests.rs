use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

fn net(text: &str) -> IpNet {
    parse(text).unwrap_or_else(|why| panic!("{text}: {why:?}"))
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn set(texts: &[&str]) -> Networks {
    texts.iter().map(|text| net(text)).collect()
}

#[test]
fn an_address_is_in_a_network_of_its_family() {
    let set = set(&["10.0.0.0/8", "192.0.2.7", "2001:db8::/32", "::1", "::ffff:198.51.100.0/120"]);
    assert_eq!(set.len(), 5);
    for inside in [
        "10.0.0.0",
        "10.255.255.255",
        "192.0.2.7",
        "::ffff:10.1.2.3",
        "2001:db8::",
        "2001:db8:ffff:ffff:ffff:ffff:ffff:ffff",
        "::1",
        "198.51.100.0",
        "::ffff:198.51.100.255",
    ] {
        assert!(set.contains(ip(inside)), "{inside}");
    }
    for outside in
        ["9.255.255.255", "11.0.0.0", "192.0.2.6", "192.0.2.8", "2001:db9::", "::2", "::"]
    {
        assert!(!set.contains(ip(outside)), "{outside}");
    }
}

#[test]
fn everything_and_nothing() {
    let all = set(&["0.0.0.0/0", "::/0", "255.255.255.255", "10.0.0.0/8"]);
    for inside in ["0.0.0.0", "255.255.255.255", "10.0.0.1", "::", "::ffff:1.2.3.4"] {
        assert!(all.contains(ip(inside)), "{inside}");
    }
    // IPv4 clients are in IPv4 networks only.
    assert!(!set(&["::/0"]).contains(ip("::ffff:1.2.3.4")));
    assert!(!set(&[]).contains(ip("::")));
    assert!(set(&[]).is_empty());
}

/// Networks near each other, so that they touch, overlap and repeat.
fn any_network() -> impl Strategy<Value = IpNet> {
    prop_oneof![
        (0_u32..1 << 12, 16_u8..=32).prop_map(|(low, bits)| {
            let address = Ipv4Addr::from_bits(0x0a00_0000 | low << 4);
            IpNet::new(address.into(), bits).unwrap().trunc()
        }),
        (any::<u32>(), 0_u8..=32).prop_map(|(bits, length)| IpNet::new(
            Ipv4Addr::from(bits).into(),
            length
        )
        .unwrap()
        .trunc()),
        (any::<u128>(), 0_u8..=128).prop_map(|(bits, length)| IpNet::new(
            Ipv6Addr::from(bits).into(),
            length
        )
        .unwrap()
        .trunc()),
        (0_u128..1 << 10, 112_u8..=128).prop_map(|(low, bits)| IpNet::new(
            Ipv6Addr::from(low << 3).into(),
            bits
        )
        .unwrap()
        .trunc()),
    ]
}

/// The addresses at which something may go wrong: the ends of the networks and their neighbours.
fn near(network: &IpNet) -> Vec<IpAddr> {
    match network {
        IpNet::V4(net) => [net.network(), net.broadcast()]
            .iter()
            .flat_map(|ip| [-1_i64, 0, 1].map(|step| ip.to_bits().wrapping_add_signed(step as i32)))
            .map(|bits| IpAddr::V4(bits.into()))
            .collect(),
        IpNet::V6(net) => [net.network(), net.broadcast()]
            .iter()
            .flat_map(|ip| [-1_i128, 0, 1].map(|step| ip.to_bits().wrapping_add_signed(step)))
            .map(|bits| IpAddr::V6(bits.into()))
            .collect(),
    }
}

proptest! {
    #[test]
    fn the_table_agrees_with_the_list(
        networks in vec(any_network(), 0..40),
        others in vec(any::<u32>().prop_map(|bits| IpAddr::V4(bits.into())), 0..20),
    ) {
        let table: Networks = networks.iter().copied().collect();
        let addresses = networks.iter().flat_map(near).chain(others);
        for address in addresses {
            let address = address.to_canonical();
            let listed = networks.iter().any(|network| network.contains(&address));
            prop_assert_eq!(table.contains(address), listed, "{} in {:?}", address, &networks);
        }
    }

    #[test]
    fn no_text_makes_the_reader_fall_over(text in "\\PC{0,40}") {
        let _ = parse(&text);
        let _ = networks(Path::new("x"), text.as_bytes());
    }
}

#[test]
fn a_file_has_a_network_a_line() {
    let path = Path::new("list");
    let read = |text: &str| {
        networks(path, text.as_bytes())
            .map_err(|faults| faults.iter().map(ToString::to_string).collect::<Vec<_>>())
    };
    let set = read("# office\n10.0.0.0/8 # all of it\r\n\n  2001:db8::/32\n192.0.2.1").unwrap();
    assert_eq!(set.len(), 3);
    assert!(set.contains(ip("192.0.2.1")));
    assert!(read("# nobody\n").unwrap().is_empty());
    assert!(read(" \n").unwrap_err()[0].contains("the file is empty"));
    let faults = read("10.0.0.0/8\n10.0.0.1/8\nx\n").unwrap_err();
    assert_eq!(faults.len(), 2, "{faults:?}");
    assert!(faults[0].contains("line 2") && faults[1].contains("line 3"), "{faults:?}");
    assert_eq!(read(&"x\n".repeat(1000)).unwrap_err().len(), limits::NETWORK_FAULTS_MAX + 1);
    assert!(networks(path, b"\xff\xfe1").is_err());
}

#[test]
fn a_broken_file_keeps_what_it_was() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("deny.txt");
    let load = |before: Option<&NetworkFiles>| {
        let mut problems = Vec::new();
        let files = NetworkFiles::load([&*path].into_iter(), before, &mut problems);
        (files, problems)
    };
    let (missing, problems) = load(None);
    assert!(missing.get(&path).is_none());
    assert_eq!(problems.len(), 1);
    assert_eq!(problems[0].severity, crate::diagnostics::Severity::Error);
    std::fs::write(&path, "10.0.0.0/8\n").unwrap();
    let (first, problems) = load(None);
    assert!(problems.is_empty(), "{problems:?}");
    for broken in ["", "10.0.0.0/8\nx\n"] {
        std::fs::write(&path, broken).unwrap();
        let (next, problems) = load(Some(&first));
        assert!(problems.len() == 1 && problems[0].kept, "{problems:?}");
        assert!(next.get(&path).unwrap().contains(ip("10.1.1.1")));
        assert_eq!(next.digests().next(), first.digests().next());
        assert!(!load(None).1.is_empty());
    }
    std::fs::write(&path, "11.0.0.0/8\n").unwrap();
    let (next, problems) = load(Some(&first));
    assert!(problems.is_empty(), "{problems:?}");
    assert!(!next.get(&path).unwrap().contains(ip("10.1.1.1")));
    assert_ne!(next.digests().next(), first.digests().next());
}

#[test]
fn a_hundred_thousand_networks() {
    let networks: Vec<IpNet> =
        (0..100_000_u32).map(|n| IpNet::new(Ipv4Addr::from(n << 13).into(), 24).unwrap()).collect();
    let table: Networks = networks.iter().copied().collect();
    for n in 0..100_000_u32 {
        assert!(table.contains(Ipv4Addr::from((n << 13) + 255).into()));
        assert!(!table.contains(Ipv4Addr::from((n << 13) + 256).into()));
    }
}
