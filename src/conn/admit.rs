//! Whether a connection may be served at all: the process's limit, the service's limit.
//! Before it: accept. After it: route. It must refuse fast and say which limit.

use std::sync::atomic::Ordering;

use crate::conn::ending::{Cause, Ending, Step};
use crate::conn::live::Live;
use crate::worker::Core;

/// Whether the process can take the connection.
///
/// # Errors
/// [`Cause::Full`].
pub fn process(core: &Core) -> Result<(), Ending> {
    if is_full(core) { Err(Ending::us(Step::Admit, Cause::Full)) } else { Ok(()) }
}

/// Takes the connection into its service, as soon as that is certain.
///
/// # Errors
/// [`Cause::Limit`].
pub fn service(live: &Live) -> Result<(), Ending> {
    let service = live.service();
    if live.has(Live::COUNTED) {
        return Ok(());
    }
    if let Some(limit) = service.spec.limits.connections {
        let before = service.state.live.fetch_add(1, Ordering::Relaxed);
        live.set(Live::COUNTED);
        if before >= limit.get() {
            return Err(Ending::us(Step::Admit, Cause::Limit));
        }
    }
    Ok(())
}

/// Gives back what [`service`] took.
pub fn release(live: &Live) {
    if live.has(Live::COUNTED) {
        live.clear(Live::COUNTED);
        live.service().state.live.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Both descriptors of a connection are secured before its first byte is read. The other cores'
/// counts are only looked at once this core alone has more than its share.
fn is_full(core: &Core) -> bool {
    let max = core.process.connections_max.load(Ordering::Relaxed);
    let cores = core.process.counters.len().max(1) as u64;
    core.counters.live.get() > max / cores
        && core.process.counters.iter().map(|core| core.live.get()).sum::<u64>() > max
}
