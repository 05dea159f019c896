//! The last step of every connection: its one ending is counted, and its event written. Where they
//! are asked for there are events before: when its target was reached, and every so often from then on.
//!
//! An event is a JSON line with the members of Otoroshi's `TcpEvent` (see [`line`]). The core formats
//! it into a batch of its own; the batch goes to the writer's bounded queue when it is large or at the
//! next tick. A core never waits for where events go.

use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::config::limits;
use crate::config::snapshot::Service;
use crate::conn::admit;
use crate::conn::ending::{Cause, Ending, Side, Step};
use crate::conn::live::Live;
use crate::io::socket;
use crate::metrics;
use crate::worker::Core;

pub mod line;

use line::{Record, Report};

/// Closes the books of a connection.
pub fn close(core: &Core, live: &Live, ending: Ending) {
    admit::release(live);
    judge(core, live, ending);
    live.gives_back();
    core.leave(live);
    let duration = live.born.elapsed();
    count(core, live, ending, duration);
    core.write_event(|line| write(line, core, live, Record::Close(ending)));
}

/// Counts a connection for the service that was chosen for it.
pub fn arrives(core: &Core, service: &Service) {
    if let Some(counts) = core.its(&service.state.counts) {
        counts.accepted.add(1);
    }
}

/// Counts the bytes that have moved since it was last asked, of a connection that goes on or ends.
pub fn report(core: &Core, live: &Live) {
    let (up, down) = live.take_uncounted();
    if up > 0 || down > 0 {
        add(core, live, up, down);
    }
}

/// Counts bytes of a connection.
pub fn add(core: &Core, live: &Live, up: u64, down: u64) {
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

/// The target was reached: an event of it, where they are asked for.
pub fn open(core: &Core, live: &Live) {
    if core.process.events.wants_open() {
        core.write_event(|line| write(line, core, live, Record::Open));
    }
}

/// An event of a connection that lives, if it is due: they come every so many ticks.
pub fn periodic(core: &Core, live: &Live, interval: u32) {
    if live.is_connected() && live.report_is_due(core, interval) {
        core.write_event(|line| write(line, core, live, Record::Periodic));
    }
}

/// One event, on one line.
fn write(line: &mut Vec<u8>, core: &Core, live: &Live, record: Record) {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
    let listen = live.listener.first.spec.listen;
    let local = if listen.ip().is_unspecified() {
        live.client().and_then(socket::local_addr).or(Some(listen))
    } else {
        Some(listen)
    };
    let service = live.known_service();
    let seen = live.seen();
    let report = Report {
        id: id(core, live),
        record,
        now,
        first: &live.listener.first.spec,
        service: service.map(|service| &**service),
        whole_service: core.process.events.wants_whole_service(),
        target: service.and_then(|_| live.chosen()).map(|target| &*target.event),
        remote: live.remote(),
        proxy: live.proxy(),
        local,
        duration: live.born.elapsed().as_millis(),
        overhead: live.overhead_ms.get(),
        up: live.up.get(),
        down: live.down.get(),
        retries: live.retries.get(),
        relay: relay_of(live),
        seen: seen.as_deref(),
    };
    report.write(line);
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
