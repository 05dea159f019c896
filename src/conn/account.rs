//! The last step of every connection: its one ending is counted, and its event written.
//!
//! An event is a JSON line with the members of Otoroshi's `TcpEvent`. The core formats it into a
//! batch of its own; the batch goes to the writer's bounded queue when it is large or at the next
//! tick. When the writer is behind (a slow or full disk), batches are dropped and counted: a core
//! never waits for a file.

use std::io::Write;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::SyncSender;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::config::limits;
use crate::conn::admit;
use crate::conn::ending::Ending;
use crate::conn::live::Live;
use crate::control::events::ToWriter;
use crate::io::socket;
use crate::worker::Core;

/// Closes the books of a connection.
pub fn close(core: &Core, live: &Live, ending: Ending) {
    admit::release(live);
    core.leave(live);
    core.counters.ended(ending);
    core.counters.bytes_up.add(live.up.get());
    core.counters.bytes_down.add(live.down.get());
    core.write_event(|line| write(line, core, live, ending));
}

/// One event, on one line.
fn write(line: &mut Vec<u8>, core: &Core, live: &Live, ending: Ending) {
    // Writing to a Vec cannot fail.
    let _ = write_parts(line, core, live, ending);
}

fn write_parts(
    line: &mut Vec<u8>,
    core: &Core,
    live: &Live,
    ending: Ending,
) -> std::io::Result<()> {
    let service = &live.service;
    let boot = core.process.boot;
    let id = (core.index, live.sequence);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
    let id = format_args!("{boot:08x}-{}-{}", id.0, id.1);
    write!(line, r#"{{"@type":"TcpEvent","@id":"{id}","@timestamp":{now},"reqId":"{id}""#)?;
    line.extend_from_slice(service.event.head.as_bytes());
    let index = usize::try_from(live.target.get()).unwrap_or(usize::MAX);
    let target = service.pool.targets.get(index);
    line.extend_from_slice(br#","target":"#);
    line.extend_from_slice(target.map_or(NO_TARGET, |target| &target.event).as_bytes());
    line.extend_from_slice(br#","remote":"#);
    address(line, live.peer.get())?;
    line.extend_from_slice(br#","local":"#);
    let listen = service.spec.listen;
    let local = if listen.ip().is_unspecified() {
        live.client().and_then(socket::local_addr).or(Some(listen))
    } else {
        Some(listen)
    };
    address(line, local)?;
    let duration = live.born.elapsed().as_millis();
    write!(
        line,
        r#","duration":{duration},"overhead":{},"data":{{"dataIn":{},"dataOut":{}}},"gwError":"#,
        live.overhead_ms.get(),
        live.up.get(),
        live.down.get(),
    )?;
    if ending.is_clean() {
        line.extend_from_slice(b"null");
    } else {
        write!(line, r#""{}""#, ending.cause.title())?;
    }
    line.extend_from_slice(service.event.tail.as_bytes());
    let relay = if live.has(Live::SPLICED) { "splice" } else { "copy" };
    writeln!(
        line,
        r#","reason":"{ending}","sni":null,"alpn":null,"tlsVersion":null,"retries":{},"relay":"{relay}"}}"#,
        live.retries.get(),
    )
}

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
