//! Whether a connection may be served: by whom it was made, how many there are, how often its source
//! comes. Before it: accept. After it: open, or what of it needs the service. It must refuse fast and
//! say which limit.
//!
//! Nothing is read of the client for it. Where several services share a listener it is asked as soon as
//! one is chosen, and before TLS is ended.

use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use crate::config::checked;
use crate::config::networks::{NetworkFiles, Networks};
use crate::config::snapshot::ServiceState;
use crate::conn::ending::{Cause, Ending, Step};
use crate::conn::live::Live;
use crate::worker::Core;

pub mod sources;
pub mod turn_away;

use sources::{Source, SourceLimits};

/// What a service asks before it takes a connection.
#[derive(Debug)]
pub struct Admission {
    access: Option<Access>,
    connections: Option<NonZeroU32>,
    of_source: Option<OfSource>,
}

/// Who may connect.
#[derive(Debug)]
struct Access {
    allow: Sets,
    deny: Sets,
    others: bool,
}

/// A list in the configuration, and that of a file.
#[derive(Debug)]
struct Sets(Arc<Networks>, Option<Arc<Networks>>);

impl Sets {
    /// `None` if the file has not been read.
    fn new(sources: &checked::Sources, files: &NetworkFiles) -> Option<Self> {
        let file = match &sources.file {
            Some(path) => Some(Arc::clone(files.get(path)?)),
            None => None,
        };
        Some(Self(Arc::clone(&sources.networks), file))
    }

    fn contains(&self, ip: IpAddr) -> bool {
        self.0.contains(ip) || self.1.as_ref().is_some_and(|file| file.contains(ip))
    }
}

impl Access {
    /// An address that is not known could be one that is denied.
    fn admits(&self, ip: Option<IpAddr>) -> bool {
        ip.is_some_and(|ip| !self.deny.contains(ip) && (self.others || self.allow.contains(ip)))
    }
}

/// What holds for each source.
#[derive(Debug)]
struct OfSource {
    limits: SourceLimits,
    exempt: Arc<Networks>,
}

impl OfSource {
    /// Who counts as one; `None`: nobody is counted.
    fn source(&self, ip: Option<IpAddr>) -> Option<Source> {
        ip.filter(|ip| !self.exempt.contains(*ip)).map(Source::of)
    }
}

impl Admission {
    /// What `access` and `limits` of a service ask for; `Ok(None)`: nothing, as of most.
    ///
    /// # Errors
    /// A file of networks has not been read.
    pub fn of(
        spec: &checked::Service,
        files: &NetworkFiles,
    ) -> Result<Option<Box<Self>>, std::path::PathBuf> {
        let limits = &spec.limits;
        let access = match &spec.access {
            None => None,
            Some(access) => {
                let sets = |sources: &checked::Sources| {
                    let unread = || sources.file.clone().unwrap_or_default();
                    Sets::new(sources, files).ok_or_else(unread)
                };
                let (allow, deny) = (sets(&access.allow)?, sets(&access.deny)?);
                Some(Access { allow, deny, others: access.others })
            }
        };
        let of_source = SourceLimits::of(limits)
            .map(|of| OfSource { limits: of, exempt: Arc::clone(&limits.exempt) });
        let connections = limits.connections;
        let asks = access.is_some() || connections.is_some() || of_source.is_some();
        Ok(asks.then(|| Box::new(Self { access, connections, of_source })))
    }

    /// Whether the table of sources is needed.
    pub fn counts_sources(&self) -> bool {
        self.of_source.is_some()
    }

    /// Takes what the connection needs, all of it or nothing. The source is last: its rate is not given
    /// back, and who is refused should not have come.
    fn take(&self, state: &ServiceState, live: &Live) -> Result<(), Cause> {
        let ip =
            if self.access.is_some() || self.of_source.is_some() { live.source() } else { None };
        if self.access.as_ref().is_some_and(|access| !access.admits(ip)) {
            return Err(Cause::Denied);
        }
        let most = self.connections.map_or(u32::MAX, NonZeroU32::get);
        let one_more = |live: u32| (live < most).then(|| live.saturating_add(1));
        if state.live.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more).is_err() {
            return Err(Cause::Limit);
        }
        let counted = self.of_source.as_ref().and_then(|of| Some((of, of.source(ip)?)));
        if let (Some((of, source)), Some(sources)) = (&counted, state.sources.get())
            && let Err(cause) = sources.take(*source, &of.limits, live.born)
        {
            state.live.fetch_sub(1, Ordering::Relaxed);
            return Err(cause);
        }
        Ok(())
    }

    /// What [`Admission::take`] would say of a client from here, now; nothing is taken.
    ///
    /// # Errors
    /// As [`service`].
    pub fn look(&self, state: &ServiceState, ip: IpAddr, now: Instant) -> Result<(), Cause> {
        if self.access.as_ref().is_some_and(|access| !access.admits(Some(ip))) {
            return Err(Cause::Denied);
        }
        let most = self.connections.map_or(u32::MAX, NonZeroU32::get);
        if state.live.load(Ordering::Relaxed) >= most {
            return Err(Cause::Limit);
        }
        match (self.of_source.as_ref(), state.sources.get()) {
            (Some(of), Some(sources)) => {
                of.source(Some(ip)).map_or(Ok(()), |source| sources.look(source, &of.limits, now))
            }
            _ => Ok(()),
        }
    }

    /// Whether there is a list of who may connect.
    pub fn has_access(&self) -> bool {
        self.access.is_some()
    }

    /// Gives back what [`Admission::take`] took.
    fn release(&self, state: &ServiceState, ip: Option<IpAddr>) {
        state.live.fetch_sub(1, Ordering::Relaxed);
        if let Some(of) = &self.of_source
            && let (Some(source), Some(sources)) = (of.source(ip), state.sources.get())
        {
            sources.release(source, &of.limits);
        }
    }
}

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
/// [`Cause::Draining`], [`Cause::Denied`], [`Cause::SourceLimit`], [`Cause::SourceRate`],
/// [`Cause::Limit`].
pub fn service(live: &Live) -> Result<(), Ending> {
    let service = live.service();
    if live.has(Live::COUNTED) {
        return Ok(());
    }
    if service.state.drain.is_on() {
        return Err(Ending::us(Step::Admit, Cause::Draining));
    }
    match &service.admission {
        Some(admission) => {
            admission.take(&service.state, live).map_err(|cause| Ending::us(Step::Admit, cause))?
        }
        // Counted all the same: a limit that a reload adds is also theirs.
        None => drop(service.state.live.fetch_add(1, Ordering::Relaxed)),
    }
    live.set(Live::COUNTED);
    Ok(())
}

/// Gives back what [`service`] took.
pub fn release(live: &Live) {
    if live.has(Live::COUNTED) {
        live.clear(Live::COUNTED);
        let service = live.service();
        match &service.admission {
            Some(admission) => admission.release(&service.state, live.source()),
            None => drop(service.state.live.fetch_sub(1, Ordering::Relaxed)),
        }
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
