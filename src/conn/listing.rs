//! Live connections as people look at them: pages that a core makes of its table when the control
//! thread asks, small enough that nobody waits for them.

use std::net::SocketAddr;

use serde::Serialize;

use crate::config::limits;
use crate::conn::account;
use crate::conn::live::Live;
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
