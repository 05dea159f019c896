//! What the process serves, and how that changes while it runs: read, check, bind what is new,
//! publish, let go what is old. Everything that can fail comes before the first thing that changes.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use crate::config::checked::{Checked, OnRemoved};
use crate::config::limits;
use crate::config::snapshot::{Kept, Service, ServiceState, Snapshot};
use crate::config::{self};
use crate::control::cores::Cores;
use crate::control::events::{self, ToWriter};
use crate::control::listeners::{BindError, Listeners};
use crate::control::{notify, resolve};
use crate::diagnostics::{Diagnostic, Severity};
use crate::io::system;
use crate::worker::{Command, Process};

/// The served configuration and all that belongs to it.
#[derive(Debug)]
pub struct Served {
    path: PathBuf,
    process: Arc<Process>,
    checked: Checked,
    kept: Kept,
    version: u64,
    /// The listening sockets.
    pub listeners: Listeners,
    resolver: resolve::Resolver,
    retired: Vec<Arc<Snapshot>>,
}

/// What a change did.
#[derive(Debug, Default)]
pub struct Change {
    /// Addresses that are listened on now and were not before.
    pub added: Vec<SocketAddr>,
    /// Addresses that no service has any more.
    pub removed: Vec<SocketAddr>,
}

/// Why a change was refused. Nothing was changed.
#[derive(Debug)]
pub enum Refusal {
    /// The configuration has errors.
    Faults(Vec<Diagnostic>),
    /// An address cannot be listened on.
    Bind(BindError),
    /// The file of events cannot be opened.
    Events(PathBuf, std::io::Error),
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Faults(faults) => {
                let errors = faults.iter().filter(|fault| fault.severity == Severity::Error);
                write!(f, "the configuration has {} error(s)", errors.count())
            }
            Self::Bind(error) => error.fmt(f),
            Self::Events(path, error) => {
                write!(f, "cannot write events to {}: {error}", path.display())
            }
        }
    }
}

impl From<BindError> for Refusal {
    fn from(error: BindError) -> Self {
        Self::Bind(error)
    }
}

impl Served {
    /// Binds everything for the first time and publishes it. The cores are started afterwards, with
    /// [`Served::introduce`].
    ///
    /// # Errors
    /// What cannot be bound or opened.
    pub async fn first(
        path: PathBuf,
        checked: Checked,
        process: Arc<Process>,
        cores: usize,
    ) -> Result<Self, Refusal> {
        let workers = checked.workers.clone();
        let nothing =
            Checked { workers, events: None, certificates: Vec::new(), services: Vec::new() };
        let mut served = Self {
            path,
            process,
            checked: nothing,
            kept: Kept::default(),
            version: 0,
            listeners: Listeners::default(),
            resolver: resolve::Resolver::default(),
            retired: Vec::new(),
        };
        served.apply(checked, cores, |_, _| {}).await?;
        Ok(served)
    }

    /// Gives a core all its listeners.
    pub fn introduce(&self, core: usize, cores: &Cores) {
        for (addr, fd, leaving) in self.listeners.of_core(core) {
            let service = leaving.or_else(|| self.service_at(addr));
            cores.send(core, Command::Listen(addr, fd, service));
        }
    }

    fn service_at(&self, addr: SocketAddr) -> Option<Arc<Service>> {
        self.process.snapshot.load().services.get(&addr).map(Arc::clone)
    }

    /// Reads the file again and serves what it says, or says why not and changes nothing.
    pub async fn reload(&mut self, cores: &Cores) {
        let started = Instant::now();
        notify::reloading();
        match self.try_reload(cores).await {
            Ok(change) => tracing::info!(
                version = self.version,
                services = self.checked.services.len(),
                added = ?change.added,
                removed = ?change.removed,
                took = ?started.elapsed(),
                "reload: done"
            ),
            Err(refusal) => {
                if let Refusal::Faults(faults) = &refusal {
                    report(faults);
                }
                tracing::error!(
                    why = %refusal,
                    version = self.version,
                    "reload: refused, nothing was changed"
                );
            }
        }
        notify::ready(&self.status());
    }

    /// One line for `systemctl status`.
    pub fn status(&self) -> String {
        format!("version {}, {} services", self.version, self.checked.services.len())
    }

    async fn try_reload(&mut self, cores: &Cores) -> Result<Change, Refusal> {
        let loaded = config::load(&self.path);
        let Some(mut checked) = loaded.checked else {
            return Err(Refusal::Faults(loaded.diagnostics));
        };
        report(&loaded.diagnostics);
        if checked.workers != self.checked.workers {
            tracing::warn!("`workers` changed: takes effect at the next start");
            checked.workers = self.checked.workers.clone();
        }
        if checked == self.checked {
            return Ok(Change::default());
        }
        let process = Arc::clone(&self.process);
        let listen = |addr, listeners: &Listeners| {
            let snapshot = process.snapshot.load();
            let service = snapshot.services.get(&addr);
            for core in 0..cores.len() {
                if let Some(fd) = listeners.socket(addr, core) {
                    cores.send(core, Command::Listen(addr, fd, service.map(Arc::clone)));
                }
            }
        };
        self.apply(checked, cores.len(), listen).await
    }

    /// Makes `checked` what is served. `listen` introduces a new listener to the cores.
    async fn apply(
        &mut self,
        checked: Checked,
        cores: usize,
        listen: impl Fn(SocketAddr, &Listeners),
    ) -> Result<Change, Refusal> {
        let wanted: HashMap<SocketAddr, ()> =
            checked.services.iter().map(|service| (service.listen, ())).collect();
        // All that can fail.
        let bound = self.listeners.bind(wanted.keys().copied(), cores).await?;
        if let Some(to) = &checked.events {
            events::open(&to.file).map_err(|error| Refusal::Events(to.file.clone(), error))?;
        }
        let before: HashSet<SocketAddr> = self.listeners.addresses().into_iter().collect();
        let mut added = self.listeners.listen(bound)?;
        // From here on it succeeds.
        let going = self.close_afters(&checked);
        let local = system::local_addresses();
        self.version += 1;
        let snapshot = self.kept.snapshot(self.version, &checked.services, local);
        resolve::first(self.kept.names().filter(|name| name.addresses.load().is_empty())).await;
        self.resolver.follow(self.kept.names());
        let path = checked.events.as_ref().map(|to| to.file.clone());
        self.process.events.on.store(path.is_some(), Ordering::Relaxed);
        self.process.events.tell(ToWriter::Use(path));
        let old = self.process.snapshot.swap(Arc::new(snapshot));
        for addr in &added {
            listen(*addr, &self.listeners);
        }
        added.extend(self.listeners.welcome(&wanted));
        let removed: Vec<SocketAddr> =
            before.into_iter().filter(|addr| !wanted.contains_key(addr)).collect();
        for addr in &removed {
            let last = old.services.get(addr).cloned();
            self.listeners.leave(*addr, going.get(addr).cloned(), last);
        }
        self.retired.push(old);
        self.checked = checked;
        Ok(Change { added, removed })
    }

    /// The services that go and ask for their connections to be closed, by their address.
    fn close_afters(&self, next: &Checked) -> HashMap<SocketAddr, (Arc<ServiceState>, u32)> {
        let stays: HashSet<&str> = next.services.iter().map(|service| &*service.id).collect();
        let snapshot = self.process.snapshot.load();
        let mut going = HashMap::new();
        for service in &self.checked.services {
            let OnRemoved::CloseAfter(after) = service.on_removed else { continue };
            if let Some(served) = snapshot.services.get(&service.listen)
                && !stays.contains(&*service.id)
            {
                let ticks = after.as_millis().div_ceil(limits::TICK.as_millis());
                let ticks = u32::try_from(ticks).unwrap_or(u32::MAX);
                going.insert(service.listen, (Arc::clone(&served.state), ticks));
            }
        }
        going
    }

    /// Sends addresses that have lingered on to the cores for closing.
    pub fn close_due(&mut self, cores: &Cores) {
        self.listeners.close_due(|addr, close_after| {
            cores.send_all(|| Command::Unlisten(addr));
            if let Some((state, ticks)) = close_after {
                cores.send_all(|| Command::CloseAfter(Arc::clone(&state), ticks));
            }
        });
    }

    /// Frees snapshots that no core holds any more: here, not on the core that let go last.
    pub fn free_retired(&mut self) {
        self.retired.retain(|snapshot| Arc::strong_count(snapshot) > 1);
    }

    /// Turns new connections away everywhere, for good.
    pub fn leave_all(&mut self) {
        for addr in self.listeners.addresses() {
            self.listeners.leave(addr, None, self.service_at(addr));
        }
    }

    /// Opens the files anew that may have been rotated.
    pub fn reopen_files(&self) {
        self.process.events.tell(ToWriter::Reopen);
    }
}

/// Logs diagnostics.
pub fn report(diagnostics: &[Diagnostic]) {
    for found in diagnostics {
        let Diagnostic { code, message, path, line, hint, severity } = found;
        let hint = hint.as_deref().unwrap_or_default();
        match severity {
            Severity::Error => tracing::error!(code, path, line, hint, "{message}"),
            Severity::Warn => tracing::warn!(code, path, line, hint, "{message}"),
            Severity::Info => tracing::debug!(code, path, line, hint, "{message}"),
        }
    }
}
