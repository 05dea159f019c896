//! The last step of every connection: its one ending is counted, and its event written.
//!
//! An event is a JSON line with the members of Otoroshi's `TcpEvent`. The core formats it into a
//! batch of its own; the batch goes to the writer's bounded queue when it is large or at the next
//! tick. When the writer is behind (a slow or full disk), batches are dropped and counted: a core
//! never waits for a file.

use std::fmt;
use std::io::Write;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::SyncSender;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::config::checked::Tls;
use crate::config::limits;
use crate::config::snapshot::Service;
use crate::conn::admit;
use crate::conn::ending::{Cause, Ending, Side, Step};
use crate::conn::live::Live;
use crate::control::events::ToWriter;
use crate::io::socket;
use crate::metrics;
use crate::worker::Core;

/// Closes the books of a connection.
pub fn close(core: &Core, live: &Live, ending: Ending) {
    admit::release(live);
    judge(core, live, ending);
    live.gives_back();
    core.leave(live);
    let duration = live.born.elapsed();
    count(core, live, ending, duration);
    core.write_event(|line| write(line, core, live, ending, duration));
}

/// Counts a connection for the service that was chosen for it.
pub fn arrives(core: &Core, service: &Service) {
    if let Some(counts) = core.its(&service.state.counts) {
        counts.accepted.add(1);
    }
}

/// Counts the bytes that have moved since it was last asked, of a connection that goes on or ends.
pub fn report(core: &Core, live: &Live) {
    let (up, down) = live.take_unreported();
    if up == 0 && down == 0 {
        return;
    }
    core.counters.bytes_up.add(up);
    core.counters.bytes_down.add(down);
    if let Some(counts) = core.its(&live.service().state.counts) {
        counts.bytes_up.add(up);
        counts.bytes_down.add(down);
    }
    // Once bytes have moved the target stays the same.
    if let Some(counts) = live.chosen().and_then(|target| core.its(&target.state.counts)) {
        counts.bytes_up.add(up);
        counts.bytes_down.add(down);
    }
}

/// Counts the end of a connection.
fn count(core: &Core, live: &Live, ending: Ending, duration: Duration) {
    report(core, live);
    if live.has(Live::REACHED)
        && let Some(counts) = live.chosen().and_then(|target| core.its(&target.state.counts))
    {
        counts.ended.add(1);
    }
    match live.known_service() {
        Some(service) => {
            if let Some(counts) = core.its(&service.state.counts) {
                counts.duration.observe(&metrics::WHOLE_LIFE, duration);
                counts.endings.add(ending);
            }
        }
        None => core.counters.unrouted.add(ending),
    }
    core.counters.endings.add(ending);
}

/// Counts a connection for its target, or against one that reset it at once.
fn judge(core: &Core, live: &Live, ending: Ending) {
    let Some(target) = live.chosen() else { return };
    let Some(failures) = target.failures else { return };
    live.credit();
    if live.down.get() > 0 {
        return;
    }
    if (ending.side, ending.step, ending.cause) == (Side::Upstream, Step::Relay, Cause::Reset) {
        let connected = Duration::from_millis(live.overhead_ms.get().into());
        let early = live.born.elapsed().saturating_sub(connected) < limits::EARLY_RESET;
        if early && target.state.was_reset(failures.get().into()) {
            core.fails(target);
        }
    }
}

/// One event, on one line.
fn write(line: &mut Vec<u8>, core: &Core, live: &Live, ending: Ending, duration: Duration) {
    // Writing to a Vec cannot fail.
    let _ = write_parts(line, core, live, ending, duration);
}

fn write_parts(
    line: &mut Vec<u8>,
    core: &Core,
    live: &Live,
    ending: Ending,
    duration: Duration,
) -> std::io::Result<()> {
    let id = id(core, live);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
    write!(line, r#"{{"@type":"TcpEvent","@id":"{id}","@timestamp":{now},"reqId":"{id}""#)?;
    let seen = live.seen();
    let seen = seen.as_deref();
    let service = live.known_service();
    asked_for(line, live, seen.and_then(|seen| seen.name.as_deref()))?;
    let target = service.and_then(|_| live.chosen());
    line.extend_from_slice(br#","target":"#);
    line.extend_from_slice(target.map_or(NO_TARGET, |target| &target.event).as_bytes());
    line.extend_from_slice(br#","remote":"#);
    address(line, live.remote())?;
    line.extend_from_slice(br#","proxy":"#);
    address(line, live.proxy())?;
    line.extend_from_slice(br#","local":"#);
    let listen = live.listener.first.spec.listen;
    let local = if listen.ip().is_unspecified() {
        live.client().and_then(socket::local_addr).or(Some(listen))
    } else {
        Some(listen)
    };
    address(line, local)?;
    let duration = duration.as_millis();
    write!(
        line,
        r#","duration":{duration},"overhead":{},"data":{{"dataIn":{},"dataOut":{}}},"gwError":"#,
        live.overhead_ms.get(),
        live.up.get(),
        live.down.get(),
    )?;
    match seen.and_then(|seen| seen.note.as_deref()) {
        _ if ending.is_clean() => line.extend_from_slice(b"null"),
        None => write!(line, r#""{}""#, ending.cause.title())?,
        Some(note) => string(line, &format!("{}: {note}", ending.cause.title()))?,
    }
    let tail = service.map_or(NO_SERVICE, |service| &service.event.tail);
    line.extend_from_slice(tail.as_bytes());
    write!(line, r#","reason":"{ending}","sni":"#)?;
    optional(line, seen.and_then(|seen| seen.name.as_deref()))?;
    line.extend_from_slice(br#","alpn":"#);
    let alpn = seen.and_then(|seen| seen.alpn.as_deref()).map(String::from_utf8_lossy);
    optional(line, alpn.as_deref())?;
    line.extend_from_slice(br#","tlsVersion":"#);
    optional(line, seen.and_then(|seen| seen.version))?;
    let relay = relay_of(live);
    writeln!(line, r#","retries":{},"relay":"{relay}"}}"#, live.retries.get())
}

/// How bytes are moved.
pub fn relay_of(live: &Live) -> &'static str {
    match (live.has(Live::TLS), live.has(Live::SPLICED)) {
        (true, _) => "tls",
        (false, true) => "splice",
        (false, false) => "copy",
    }
}

/// What names the connection: the `@id` of its event.
pub fn id(core: &Core, live: &Live) -> Id {
    Id { boot: core.process.boot, core: core.index, sequence: live.sequence }
}

/// See [`id`].
#[derive(Debug, Clone, Copy)]
pub struct Id {
    boot: u32,
    core: usize,
    sequence: u64,
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { boot, core, sequence } = self;
        write!(f, "{boot:08x}-{core}-{sequence}")
    }
}

/// The members `protocol`, `port` and `to`: what the client asked for.
fn asked_for(line: &mut Vec<u8>, live: &Live, name: Option<&str>) -> std::io::Result<()> {
    let first = &live.listener.first.spec;
    let port = first.listen.port();
    let (protocol, scheme) =
        if first.tls == Tls::Disabled { ("Tcp", "tcp") } else { ("Tcp/Tls", "tls") };
    // A name was normalised: it has no character that JSON would escape.
    let (host, with_port) = match name {
        Some(name) => (name, format!(":{port}")),
        None if first.by_name => ("no-sni", String::new()),
        None => ("*", String::new()),
    };
    write!(
        line,
        r#","protocol":"{protocol}","port":{port},"to":{{"host":"{host}{with_port}","scheme":"{scheme}","uri":"{scheme}://{host}:{port}"}}"#
    )
}

fn optional(line: &mut Vec<u8>, text: Option<&str>) -> std::io::Result<()> {
    match text {
        Some(text) => string(line, text),
        None => line.write_all(b"null"),
    }
}

/// Text of a stranger, so that it can neither break the line nor forge another.
fn string(line: &mut Vec<u8>, text: &str) -> std::io::Result<()> {
    Ok(serde_json::to_writer(line, text)?)
}

/// The members of a connection that came to no service.
const NO_SERVICE: &str = r#","@serviceId":null,"@service":"thalweg","service":null"#;

/// The `target` of a connection that ended before one was tried.
const NO_TARGET: &str = r#"{"host":"--","scheme":"tcp","uri":"tcp://--"}"#;

fn address(line: &mut Vec<u8>, addr: Option<SocketAddr>) -> std::io::Result<()> {
    match addr {
        Some(addr) => write!(line, r#""{addr}""#),
        None => line.write_all(b"null"),
    }
}

/// Events of one core not yet handed over.
#[derive(Debug, Default)]
pub struct EventBatch {
    /// Whole lines.
    pub lines: Vec<u8>,
    /// How many.
    pub count: u64,
}

impl EventBatch {
    /// Adds one line; true when the batch is due.
    pub fn add(&mut self, write: impl FnOnce(&mut Vec<u8>)) -> bool {
        write(&mut self.lines);
        self.count += 1;
        self.lines.len() >= limits::EVENT_BATCH_BYTES
    }
}

/// The cores' end of the events' queue.
#[derive(Debug)]
pub struct EventSink {
    /// Whether anybody wants events.
    pub on: AtomicBool,
    /// The bounded queue.
    pub queue: SyncSender<ToWriter>,
}

impl EventSink {
    /// Whether events are written at all.
    pub fn is_on(&self) -> bool {
        self.on.load(Ordering::Relaxed)
    }

    /// Hands a batch over; returns how many events were dropped because the queue was full.
    pub fn send(&self, batch: EventBatch) -> u64 {
        if batch.count == 0 {
            return 0;
        }
        let count = batch.count;
        if self.queue.try_send(ToWriter::Lines(batch.lines)).is_ok() { 0 } else { count }
    }

    /// Tells the writer something. Never waits: a writer that is so far behind is told nothing.
    pub fn tell(&self, what: ToWriter) -> bool {
        let told = self.queue.try_send(what).is_ok();
        if !told {
            tracing::error!("the writer of events is too far behind to be told anything");
        }
        told
    }
}
