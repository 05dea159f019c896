//! A name server that says what a test tells it to, over UDP and TCP on one port (RFC 1035).

use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use serde_json::{Value, json};

use super::ports::loopback;

const A: u16 = 1;
const CNAME: u16 = 5;
const AAAA: u16 = 28;
const SRV: u16 = 33;

/// What is said of a name.
#[derive(Debug, Clone, Default)]
pub struct Zone {
    records: Vec<(String, u16, u32, Vec<u8>)>,
    fault: Option<Fault>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    /// No answer at all to questions of this type, or of any.
    Silence(Option<u16>),
    /// This code.
    Code(u8),
    /// Over UDP only that the answer is too long for it.
    Truncated,
}

impl Zone {
    /// No error, and no records either.
    pub fn empty() -> Zone {
        Zone::default()
    }

    /// These addresses of both families, of the name that is asked for.
    pub fn addresses(addresses: &[&str], ttl: u32) -> Zone {
        Zone::default().with("", addresses, ttl)
    }

    /// Nobody answers.
    pub fn silence() -> Zone {
        Zone { fault: Some(Fault::Silence(None)), ..Zone::default() }
    }

    pub fn servfail() -> Zone {
        Zone { fault: Some(Fault::Code(2)), ..Zone::default() }
    }

    pub fn nxdomain() -> Zone {
        Zone { fault: Some(Fault::Code(3)), ..Zone::default() }
    }

    /// The same, but too long for UDP.
    #[must_use]
    pub fn truncated(self) -> Zone {
        Zone { fault: Some(Fault::Truncated), ..self }
    }

    /// The same, but questions for AAAA are not answered.
    #[must_use]
    pub fn silent_for_v6(self) -> Zone {
        Zone { fault: Some(Fault::Silence(Some(AAAA))), ..self }
    }

    /// Addresses of another name (empty: of the one that is asked for).
    #[must_use]
    pub fn with(mut self, owner: &str, addresses: &[&str], ttl: u32) -> Zone {
        for address in addresses {
            let record = match address.parse().expect("an address") {
                IpAddr::V4(v4) => (A, v4.octets().to_vec()),
                IpAddr::V6(v6) => (AAAA, v6.octets().to_vec()),
            };
            self.records.push((owner.to_owned(), record.0, ttl, record.1));
        }
        self
    }

    /// An alias.
    #[must_use]
    pub fn alias(mut self, owner: &str, to: &str, ttl: u32) -> Zone {
        self.records.push((owner.to_owned(), CNAME, ttl, encoded(to)));
        self
    }

    /// SRV records: priority, weight, port, host.
    pub fn services(records: &[(u16, u16, u16, &str)], ttl: u32) -> Zone {
        let record = |(priority, weight, port, host): &(u16, u16, u16, &str)| {
            let mut data: Vec<u8> =
                [priority, weight, port].iter().flat_map(|it| it.to_be_bytes()).collect();
            data.extend(encoded(host));
            (String::new(), SRV, ttl, data)
        };
        Zone { records: records.iter().map(record).collect(), fault: None }
    }
}

/// The server.
pub struct Dns {
    pub address: SocketAddr,
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    zones: Mutex<HashMap<String, Zone>>,
    asked: Mutex<HashMap<(String, u16), usize>>,
    over_tcp: Mutex<usize>,
    stop: AtomicBool,
}

impl Dns {
    /// One that knows no names.
    pub fn start() -> Dns {
        let (udp, tcp) = sockets();
        let address = udp.local_addr().expect("address");
        let pause = Some(Duration::from_millis(20));
        udp.set_read_timeout(pause).unwrap();
        tcp.set_nonblocking(true).unwrap();
        let shared = Arc::new(Shared::default());
        let threads = vec![
            thread::spawn({
                let shared = Arc::clone(&shared);
                move || over_udp(&udp, &shared)
            }),
            thread::spawn({
                let shared = Arc::clone(&shared);
                move || over_tcp(&tcp, &shared)
            }),
        ];
        Dns { address, shared, threads }
    }

    /// One that says this of one name.
    pub fn of(name: &str, zone: Zone) -> Dns {
        let dns = Dns::start();
        dns.set(name, zone);
        dns
    }

    /// Says this of a name from now on.
    pub fn set(&self, name: &str, zone: Zone) {
        self.shared.zones.lock().unwrap().insert(name.to_owned(), zone);
    }

    /// How often the addresses of a name were asked for (A), or its SRV records.
    pub fn asked(&self, name: &str) -> usize {
        let asked = self.shared.asked.lock().unwrap();
        [A, SRV].iter().filter_map(|kind| asked.get(&(name.to_owned(), *kind))).sum()
    }

    /// How many questions came over TCP.
    pub fn asked_over_tcp(&self) -> usize {
        *self.shared.over_tcp.lock().unwrap()
    }

    /// The `resolver` member of a configuration that asks this server, impatiently.
    pub fn resolver(&self) -> Value {
        json!({
            "servers": [self.address.to_string()],
            "minTtl": "100ms",
            "maxTtl": "10s",
            "timeout": "300ms",
            "grace": "10s",
        })
    }
}

impl Drop for Dns {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::SeqCst);
        for thread in self.threads.drain(..) {
            let result = thread.join();
            assert!(result.is_ok() || thread::panicking(), "the name server has failed");
        }
    }
}

/// A UDP and a TCP socket with one port.
fn sockets() -> (UdpSocket, TcpListener) {
    for _ in 0..100 {
        let udp = UdpSocket::bind(loopback(0)).expect("UDP socket");
        if let Ok(tcp) = TcpListener::bind(udp.local_addr().unwrap()) {
            return (udp, tcp);
        }
    }
    panic!("no port that is free in both UDP and TCP");
}

fn over_udp(socket: &UdpSocket, shared: &Shared) {
    let mut buffer = [0; 1500];
    while !shared.stop.load(Ordering::SeqCst) {
        let Ok((length, from)) = socket.recv_from(&mut buffer) else { continue };
        if let Some(answer) = answer(&buffer[..length], shared, true) {
            let _ = socket.send_to(&answer, from);
        }
    }
}

fn over_tcp(listener: &TcpListener, shared: &Shared) {
    while !shared.stop.load(Ordering::SeqCst) {
        match listener.accept() {
            Ok((stream, _)) => {
                stream.set_nonblocking(false).unwrap();
                stream.set_read_timeout(Some(Duration::from_secs(1))).unwrap();
                let _ = serve_tcp(stream, shared);
            }
            Err(_) => thread::park_timeout(Duration::from_millis(2)),
        }
    }
}

/// Answers one connection until the other side, or half a second, ends it.
fn serve_tcp(mut stream: TcpStream, shared: &Shared) -> std::io::Result<()> {
    stream.set_read_timeout(Some(Duration::from_millis(100)))?;
    loop {
        let mut length = [0; 2];
        stream.read_exact(&mut length)?;
        let mut query = vec![0; usize::from(u16::from_be_bytes(length))];
        stream.read_exact(&mut query)?;
        *shared.over_tcp.lock().unwrap() += 1;
        if let Some(answer) = answer(&query, shared, false) {
            let length = u16::try_from(answer.len()).expect("a message of at most 64 KiB");
            stream.write_all(&[&length.to_be_bytes()[..], &answer].concat())?;
        }
    }
}

/// The answer to a query; `None`: silence.
fn answer(query: &[u8], shared: &Shared, udp: bool) -> Option<Vec<u8>> {
    let (name, end) = decoded(query, 12)?;
    let kind = u16::from_be_bytes([*query.get(end)?, *query.get(end + 1)?]);
    let question = query.get(12..end + 4)?;
    let lower = name.to_ascii_lowercase();
    *shared.asked.lock().unwrap().entry((lower.clone(), kind)).or_default() += 1;
    let zone = shared.zones.lock().unwrap().get(&lower).cloned();
    let zone = zone.unwrap_or_else(Zone::nxdomain);
    let (mut code, mut truncated) = (0, false);
    match zone.fault {
        Some(Fault::Silence(of)) if of.is_none_or(|of| of == kind) => return None,
        Some(Fault::Code(fault)) => code = fault,
        Some(Fault::Truncated) => truncated = udp,
        Some(Fault::Silence(_)) | None => {}
    }
    let records = zone.records.iter().filter(|(_, of, ..)| *of == kind || *of == CNAME);
    let records: Vec<_> = if truncated || code != 0 { Vec::new() } else { records.collect() };
    let mut answer = query.get(..2)?.to_vec();
    answer.extend([0x81 | u8::from(truncated) << 1, 0x80 | code]); // QR RD TC, RA
    answer.extend([0, 1]);
    answer.extend(u16::try_from(records.len()).expect("few records").to_be_bytes());
    answer.extend([0, 0, 0, 0]);
    answer.extend(question);
    for (owner, kind, ttl, data) in records {
        match owner.as_str() {
            "" => answer.extend([0xc0, 12]), // the name of the question
            owner => answer.extend(encoded(owner)),
        }
        answer.extend(kind.to_be_bytes());
        answer.extend([0, 1]);
        answer.extend(ttl.to_be_bytes());
        answer.extend(u16::try_from(data.len()).expect("short data").to_be_bytes());
        answer.extend(data);
    }
    if udp && answer.len() > 512 {
        answer.truncate(12 + question.len());
        answer[2] |= 2;
        answer[6..8].fill(0);
    }
    Some(answer)
}

fn encoded(name: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    for label in name.split('.').filter(|label| !label.is_empty()) {
        bytes.push(u8::try_from(label.len()).expect("a short label"));
        bytes.extend(label.as_bytes());
    }
    bytes.push(0);
    bytes
}

/// The name at a place, and the place behind it. Questions are not compressed.
fn decoded(message: &[u8], mut at: usize) -> Option<(String, usize)> {
    let mut labels = Vec::new();
    loop {
        let length = usize::from(*message.get(at)?);
        at += 1;
        if length == 0 {
            return Some((labels.join("."), at));
        }
        labels.push(String::from_utf8_lossy(message.get(at..at + length)?).into_owned());
        at += length;
    }
}
