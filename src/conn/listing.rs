//! Live connections as people look at them: pages that a core makes of its table when the control
//! thread asks, small enough that nobody waits for them.

use std::net::SocketAddr;
use std::os::fd::RawFd;

use serde::Serialize;

use crate::config::limits;
use crate::conn::account;
use crate::conn::live::Live;
use crate::io::{socket, system};
use crate::worker::Core;

/// One live connection.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Row {
    /// The `@id` of the event that it will have.
    pub id: String,
    /// Which core it is on.
    pub core: usize,
    /// The service, once one was chosen.
    pub service: Option<Box<str>>,
    /// How far it has come.
    pub state: State,
    /// The client: as told by a proxy that is trusted, else who connected.
    pub remote: Option<SocketAddr>,
    /// The proxy that told so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub proxy: Option<SocketAddr>,
    /// The listening address.
    pub local: SocketAddr,
    /// Which rule, from 0; the fallbacks come behind the rules.
    pub rule: Option<u32>,
    /// The target, as `check` shows it.
    pub target: Option<Box<str>>,
    /// Since it was accepted, in ms.
    pub age: u64,
    /// Since bytes moved last, in ms, to a tenth of a second.
    pub idle: u64,
    /// Bytes from the client handed to the target.
    pub data_in: u64,
    /// Bytes from the target handed to the client.
    pub data_out: u64,
    /// How many attempts at targets failed.
    pub retries: u32,
    /// `copy`, `splice` or `tls`, as in events.
    pub relay: &'static str,
    /// The name the client asked for.
    pub sni: Option<Box<str>>,
    /// The ALPN protocol.
    pub alpn: Option<String>,
    /// The version of TLS with the client.
    pub tls_version: Option<&'static str>,
}

/// One live connection, with all there is to know of it.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Detail {
    #[serde(flatten)]
    row: Row,
    /// What the service is called.
    service_name: Option<Box<str>>,
    /// The pattern of the rule, as it is written.
    rule_pattern: Option<Box<str>>,
    /// The cipher suite of TLS with the client.
    cipher: Option<&'static str>,
    /// The subject of the client's certificate.
    client_subject: Option<Box<str>>,
    /// TLS is spoken to the target.
    upstream_tls: bool,
    /// How long it took from accept until a target was connected, in ms.
    connect_time: Option<u32>,
    /// In how many ms it is ended, whatever it does; null: never.
    closes_in: Option<u64>,
    /// The address of the target.
    upstream_remote: Option<SocketAddr>,
    /// The address from which the target was connected.
    upstream_local: Option<SocketAddr>,
    /// TCP with the client.
    client_tcp: Option<Tcp>,
    /// TCP with the target.
    upstream_tcp: Option<Tcp>,
}

/// What the kernel knows of a TCP connection.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
struct Tcp {
    /// The round trip time, smoothed, in µs.
    rtt: u32,
    /// How much it varies, in µs.
    rtt_var: u32,
    /// Segments that had to be sent again.
    retransmits: u32,
    /// Segments sent and not acknowledged.
    unacknowledged: u32,
    /// The congestion window, in segments.
    congestion_window: u32,
    /// The largest segment, in bytes.
    segment: u32,
    /// Bytes that came and wait for us.
    unread: usize,
}

impl Tcp {
    fn of(fd: RawFd) -> Option<Self> {
        let info = system::with_fd(fd, socket::tcp_info)?;
        Some(Self {
            rtt: info.tcpi_rtt,
            rtt_var: info.tcpi_rttvar,
            retransmits: info.tcpi_total_retrans,
            unacknowledged: info.tcpi_unacked,
            congestion_window: info.tcpi_snd_cwnd,
            segment: info.tcpi_snd_mss,
            unread: socket::unread(fd),
        })
    }
}

/// How far a connection has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum State {
    /// Not yet at a target: what it wants is read, or a target is being reached.
    Opening,
    /// Bytes go both ways.
    Open,
    /// One side has ended its stream.
    HalfClosed,
}

/// A part of a core's table.
#[derive(Debug)]
pub struct Page {
    /// The connections.
    pub rows: Vec<Row>,
    /// Where the next page begins; `None`: this was the last.
    pub next: Option<usize>,
}

/// The page that begins with slot `from` of the core's table: at most [`limits::PAGE_SLOTS`] slots.
pub fn page(core: &Core, from: usize) -> Page {
    let (rows, next) = core.look(from, limits::PAGE_SLOTS, |live| row(core, live));
    Page { rows, next }
}

/// All there is to know of a connection.
pub fn detail(core: &Core, live: &Live) -> Detail {
    let row = row(core, live);
    let seen = live.seen();
    let seen = seen.as_deref();
    let service = live.known_service();
    let rule = row.rule.and_then(|rule| usize::try_from(rule).ok());
    let rule = rule.and_then(|rule| service?.spec.rules.get(rule));
    let tick = u64::try_from(limits::TICK.as_millis()).unwrap_or(u64::MAX);
    let closes_in = live.closes_at().map(|at| u64::from(at.saturating_sub(core.now.get())) * tick);
    let upstream = live.upstream();
    Detail {
        service_name: service.map(|service| (*service.spec.name).into()),
        rule_pattern: rule.map(|rule| rule.pattern.text().into()),
        cipher: seen.and_then(|seen| seen.cipher),
        client_subject: seen.and_then(|seen| seen.subject.clone()),
        upstream_tls: row.target.is_some() && live.chosen().is_some_and(|it| it.tls.is_some()),
        connect_time: upstream.map(|_| live.overhead_ms.get()),
        closes_in,
        upstream_remote: upstream.and_then(|fd| system::with_fd(fd, socket::peer_addr)),
        upstream_local: upstream.and_then(socket::local_addr),
        client_tcp: live.client().and_then(Tcp::of),
        upstream_tcp: upstream.filter(|_| live.has(Live::TCP)).and_then(Tcp::of),
        row,
    }
}

fn row(core: &Core, live: &Live) -> Row {
    let seen = live.seen();
    let seen = seen.as_deref();
    let service = live.known_service();
    let target = service.and_then(|_| live.chosen());
    let age = live.born.elapsed().as_millis();
    let idle = limits::TICK.as_millis() * u128::from(live.idle_ticks(core.now.get()));
    let alpn = seen.and_then(|seen| seen.alpn.as_deref()).map(String::from_utf8_lossy);
    Row {
        id: account::id(core, live).to_string(),
        core: core.index,
        service: service.map(|service| (*service.spec.id).into()),
        state: match (live.is_connected(), live.has(Live::HALF_CLOSED)) {
            (false, _) => State::Opening,
            (true, false) => State::Open,
            (true, true) => State::HalfClosed,
        },
        remote: live.remote(),
        proxy: live.proxy(),
        local: live.listener.first.spec.listen,
        rule: Some(live.pool.get()).filter(|rule| *rule != u32::MAX),
        target: target.map(|target| target.label.as_str().into()),
        age: u64::try_from(age).unwrap_or(u64::MAX),
        idle: u64::try_from(idle.min(age)).unwrap_or(u64::MAX),
        data_in: live.up.get(),
        data_out: live.down.get(),
        retries: live.retries.get(),
        relay: account::relay_of(live),
        sni: seen.and_then(|seen| seen.name.clone()),
        alpn: alpn.map(std::borrow::Cow::into_owned),
        tls_version: seen.and_then(|seen| seen.version),
    }
}
