//! What decides a connection, and what a reload makes anew: `cargo bench`.

use std::collections::HashSet;
use std::fmt::Write;
use std::hint::black_box;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;

use criterion::{Criterion, criterion_group, criterion_main};
use thalweg::config;
use thalweg::config::checked::Tlvs;
use thalweg::config::found::Found;
use thalweg::config::pattern::{NameTable, Pattern};
use thalweg::config::snapshot::{Kept, Snapshot};
use thalweg::conn::{pick, proxied};
use thalweg::tls::material::Material;
use thalweg::wire::{client_hello, http_host, proxy_header};

/// A configuration of so many services, each with three targets.
fn configuration(services: u16) -> String {
    let mut text = String::from(r#"{"services":["#);
    for n in 0..services {
        let comma = if n == 0 { "" } else { "," };
        let port = 1024 + n;
        let _ = write!(
            text,
            r#"{comma}{{"id":"s{n}","port":{port},"interface":"127.0.0.1","rules":[{{"targets":[
            {{"host":"10.0.0.1","port":5432}},{{"host":"10.0.0.2","port":5432}},
            {{"host":"10.0.0.3","port":5432}}]}}]}}"#
        );
    }
    text.push_str("]}");
    text
}

fn snapshot(text: &str) -> Snapshot {
    let checked = config::load_text(text, Path::new("/")).checked.expect("the text is good");
    let material = Material::default();
    let made =
        Kept::default().snapshot(1, &checked.services, &Found::new(), &material, HashSet::new());
    made.expect("no certificates are needed").0
}

fn decide(c: &mut Criterion) {
    let snapshot = snapshot(&configuration(10_000));
    let addr = SocketAddr::from((Ipv4Addr::LOCALHOST, 6000));
    c.bench_function("route: a listener's service among 10,000", |b| {
        b.iter(|| snapshot.listeners.get(black_box(&addr)));
    });
    let listener = snapshot.listeners.get(&addr).expect("port 6000 is among them");
    let pool = listener.first.pool(0).expect("a service has a pool");

    c.bench_function("pick: round robin over 3 targets", |b| {
        let none = pick::Tried::default();
        b.iter(|| pick::choose(black_box(pool), None, &none));
    });
    let target = SocketAddr::from((Ipv4Addr::new(10, 0, 0, 1), 5432));
    c.bench_function("connect: is a target one of our 10,000 listeners", |b| {
        b.iter(|| snapshot.own.contains(black_box(target)));
    });
}

/// The patterns of a port, of one kind, and a name that the last of them takes.
fn patterns(kind: &str, count: usize) -> (Vec<Pattern>, String) {
    let text = |n: usize| match kind {
        "exact" => format!("host-{n}.example.com"),
        "suffix" => format!("*.zone-{n}.example.com"),
        _ => format!(".*-{n}[.]example[.]com"),
    };
    let patterns = (0..count).map(|n| Pattern::of_names(&text(n)).expect("a pattern")).collect();
    let last = count - 1;
    let name = match kind {
        "suffix" => format!("a.b.zone-{last}.example.com"),
        _ => format!("host-{last}.example.com"),
    };
    (patterns, name)
}

fn names(c: &mut Criterion) {
    for kind in ["exact", "suffix", "regex"] {
        for count in [10, 1_000, 10_000] {
            let (patterns, name) = patterns(kind, count);
            let table = NameTable::new(&patterns);
            let name = Some(name.as_str());
            assert_eq!(table.first(name, |_| true), Some(count - 1));
            c.bench_function(&format!("names: the last of {count} {kind}, in the table"), |b| {
                b.iter(|| table.first(black_box(name), |_| true));
            });
            c.bench_function(&format!("names: the last of {count} {kind}, one by one"), |b| {
                b.iter(|| patterns.iter().position(|pattern| pattern.matches(black_box(name))));
            });
        }
    }
    let (patterns, _) = patterns("regex", 1_000);
    c.bench_function("names: make the table of 1,000 regex", |b| {
        b.iter(|| NameTable::new(black_box(&patterns)));
    });
}

fn reload(c: &mut Criterion) {
    let text = configuration(1000);
    c.bench_function("reload: read and check 1,000 services", |b| {
        b.iter(|| config::load_text(black_box(&text), Path::new("/")));
    });
    let checked = config::load_text(&text, Path::new("/")).checked.expect("the text is good");
    c.bench_function("reload: make the snapshot of 1,000 services", |b| {
        let material = Material::default();
        b.iter(|| {
            Kept::default().snapshot(
                1,
                black_box(&checked.services),
                &Found::new(),
                &material,
                HashSet::new(),
            )
        });
    });
}

/// What a client says first, read from one segment.
fn first_bytes(c: &mut Criterion) {
    for client in ["openssl-tls12", "curl", "chromium"] {
        let path = format!("{}/tests/data/hellos/{client}.bin", env!("CARGO_MANIFEST_DIR"));
        let bytes = std::fs::read(path).expect("the corpus is there");
        c.bench_function(&format!("client_hello: {client}, {} bytes", bytes.len()), |b| {
            b.iter(|| client_hello::Reader::default().read(black_box(&bytes)));
        });
    }
    let head = "GET /a/path?with=a&query HTTP/1.1\r\nHost: www.example.com\r\nUser-Agent: Mozilla/5.0 \
        (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0\r\nAccept: text/html,*/*;q=0.8\r\n\
        Accept-Language: en-GB,en;q=0.5\r\nAccept-Encoding: gzip, deflate, br, zstd\r\n\
        Connection: keep-alive\r\nCookie: session=0123456789abcdef0123456789abcdef\r\n\r\n";
    c.bench_function(&format!("http_host: a browser's head, {} bytes", head.len()), |b| {
        b.iter(|| http_host::Reader::default().read(black_box(head.as_bytes())));
    });
}

/// What a proxy in front of us says first, and what we say to a target.
fn proxy_headers(c: &mut Criterion) {
    for sender in ["haproxy-v1-tcp4", "haproxy-v2-tcp4", "haproxy-v2-client-certificate"] {
        let path = format!("{}/tests/data/proxy/{sender}.bin", env!("CARGO_MANIFEST_DIR"));
        let bytes = std::fs::read(path).expect("the corpus is there");
        let answer = proxy_header::Reader::default().read(&bytes);
        let proxy_header::Progress::Header(header) = answer else { panic!("{sender}: {answer:?}") };
        c.bench_function(&format!("proxy_header: read {sender}, {} bytes", header.length), |b| {
            b.iter(|| proxy_header::Reader::default().read(black_box(&bytes)));
        });
        let proxy_header::Header { source, destination, tlvs, .. } = &header;
        let (source, destination) = (*source, *destination);
        if sender.contains("v1") {
            c.bench_function("proxy_header: write version 1", |b| {
                b.iter(|| proxy_header::write_v1(black_box(source), black_box(destination)));
            });
            continue;
        }
        c.bench_function(&format!("proxy_header: write {sender} and a checksum"), |b| {
            let outgoing = proxy_header::Outgoing { source, destination, tlvs, checksum: true };
            b.iter(|| proxy_header::write_v2(black_box(&outgoing)));
        });
    }
}

/// What a connection pays whose target is told of it.
fn told(c: &mut Criterion) {
    let (source, destination) = ("192.0.2.7:4321".parse().ok(), "198.51.100.9:5432".parse().ok());
    let ssl = proxy_header::Ssl { client: 1, verify: 1, ..proxy_header::Ssl::default() };
    let known = proxied::Known {
        name: Some("db.example.com"),
        alpn: Some(b"postgresql"),
        ssl: Some(&ssl),
        id: "0123abcd-0-12345",
    };
    c.bench_function("proxied: a header that tells all that is known", |b| {
        b.iter(|| proxied::second_version(source, destination, Tlvs::ALL, black_box(&known), None));
    });
}

criterion_group!(benches, decide, names, first_bytes, proxy_headers, told, reload);
criterion_main!(benches);
