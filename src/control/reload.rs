//! What the process serves, and how that changes while it runs: read, check, bind what is new,
//! publish, let go what is old. Everything that can fail comes before the first thing that changes.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Instant, SystemTime};

use crate::config::checked::{Checked, OnRemoved};
use crate::config::found::Found;
use crate::config::limits;
use crate::config::snapshot::{Kept, Listener, ServiceState, Snapshot};
use crate::config::{self};
use crate::control::admin::{self, Admin};
use crate::control::cores::Cores;
use crate::control::discover::Lists;
use crate::control::events::{self, ToWriter};
use crate::control::health::Health;
use crate::control::listeners::{BindError, Listeners};
use crate::control::watch::Watch;
use crate::control::{notify, resolve};
use crate::diagnostics::{Diagnostic, Severity};
use crate::io::system;
use crate::tls::material::Material;
use crate::tls::problem::Problem;
use crate::worker::{Command, Process};

/// The served configuration and all that belongs to it.
#[derive(Debug)]
pub struct Served {
    path: PathBuf,
    process: Arc<Process>,
    checked: Checked,
    material: Arc<Material>,
    /// When reading it began.
    material_since: SystemTime,
    kept: Kept,
    version: u64,
    /// The listening sockets.
    pub listeners: Listeners,
    /// The admin API.
    pub admin: Admin,
    resolver: resolve::Resolver,
    lists: Lists,
    /// The lists that are served.
    found: Found,
    watch: Watch,
    /// The checks of targets.
    pub health: Health,
    retired: Vec<Arc<Snapshot>>,
}

/// What helps to serve it, started.
#[derive(Debug)]
#[allow(missing_docs)] // as in `Served`
pub struct Aides {
    pub admin: Admin,
    pub watch: Watch,
    pub lists: Lists,
    pub health: Health,
}

/// Certificates and trust, and when reading them began.
pub type Read = (Arc<Material>, SystemTime);

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
    /// A certificate, or a list of whom to trust, cannot be used.
    Material(Problem),
    /// The admin API cannot be served as it is configured.
    Admin(admin::Failure),
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
            Self::Material(problem) => problem.fmt(f),
            Self::Admin(failure) => failure.fmt(f),
        }
    }
}

impl From<BindError> for Refusal {
    fn from(error: BindError) -> Self {
        Self::Bind(error)
    }
}

impl From<Problem> for Refusal {
    fn from(problem: Problem) -> Self {
        Self::Material(problem)
    }
}

impl From<admin::Failure> for Refusal {
    fn from(failure: admin::Failure) -> Self {
        Self::Admin(failure)
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
        material: Read,
        aides: Aides,
        cores: usize,
    ) -> Result<Self, Refusal> {
        let Aides { admin, watch, lists, health } = aides;
        let workers = checked.workers.clone();
        let resolver = checked.resolver.clone();
        let nothing = Checked {
            workers,
            events: None,
            admin: None,
            certificates: Vec::new(),
            resolver: resolver.clone(),
            services: Vec::new(),
        };
        let mut served = Self {
            path,
            process: Arc::clone(&admin.view.process),
            checked: nothing,
            material: Arc::new(Material::default()),
            material_since: SystemTime::UNIX_EPOCH,
            kept: Kept::default(),
            version: 0,
            listeners: Listeners::default(),
            admin,
            resolver: resolve::Resolver::new(&resolver),
            lists,
            found: Found::new(),
            watch,
            health,
            retired: Vec::new(),
        };
        served.apply(checked, material, cores, |_, _| {}, |_| {}).await?;
        Ok(served)
    }

    /// Gives a core all its listeners.
    pub fn introduce(&self, core: usize, cores: &Cores) {
        for (addr, fd, leaving) in self.listeners.of_core(core) {
            let listener = leaving.or_else(|| self.listener_at(addr));
            cores.send(core, Command::Listen(addr, fd, listener));
        }
    }

    fn listener_at(&self, addr: SocketAddr) -> Option<Arc<Listener>> {
        self.process.snapshot.load().listeners.get(&addr).map(Arc::clone)
    }

    /// Reads the file again and serves what it says, or says why not and changes nothing.
    pub async fn reload(&mut self, cores: &Cores) {
        let started = Instant::now();
        notify::reloading();
        let done = self.try_reload(cores).await;
        self.admin.view.reloaded(done.is_ok());
        match done {
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
        let since = SystemTime::now();
        let loaded = config::load_after(&self.path, Some(self.material.as_ref()));
        let material = loaded.material;
        let Some(mut checked) = loaded.checked else {
            return Err(Refusal::Faults(loaded.diagnostics));
        };
        report(&loaded.diagnostics);
        if checked.workers != self.checked.workers {
            tracing::warn!("`workers` changed: takes effect at the next start");
            checked.workers = self.checked.workers.clone();
        }
        // The token may have changed with nothing else.
        let same_token = checked.admin.as_ref().is_none_or(|admin| admin.token_file.is_none());
        let same_files = same_token && material.digest() == self.material.digest();
        if checked == self.checked && same_files && self.lists.found() == self.found {
            return Ok(Change::default());
        }
        self.replace(checked, (Arc::new(material), since), cores).await
    }

    /// Reads the files of certificates and of trust again, for one of them has changed. One that is
    /// broken keeps what it was.
    pub async fn reload_material(&mut self, cores: &Cores) {
        let since = SystemTime::now();
        let (checked, before) = (self.checked.clone(), Arc::clone(&self.material));
        let read = tokio::task::spawn_blocking(move || {
            config::load_material(&checked, Some(before.as_ref()))
        });
        let Ok((material, problems)) = read.await else { return };
        for problem in &problems {
            tracing::warn!("files: {problem}");
        }
        if problems.iter().any(|problem| problem.severity == Severity::Error) {
            tracing::error!("files: one cannot be used: everything stays as it was");
            return;
        }
        if material.digest() == self.material.digest() {
            return;
        }
        match self.replace(self.checked.clone(), (Arc::new(material), since), cores).await {
            Ok(_) => tracing::info!(version = self.version, "files: what they say now is served"),
            Err(why) => tracing::error!(%why, "files: refused, nothing was changed"),
        }
    }

    /// Serves the targets that were found, for a list of them has changed.
    pub async fn lists_changed(&mut self, cores: &Cores) {
        if self.lists.found() == self.found {
            return;
        }
        let material = (Arc::clone(&self.material), self.material_since);
        match self.replace(self.checked.clone(), material, cores).await {
            Ok(_) => tracing::debug!(version = self.version, "lists of targets: in use"),
            Err(why) => {
                tracing::error!(%why, "lists of targets: refused; tried again soon");
                self.lists.wake_after(limits::LISTS_AGAIN);
            }
        }
    }

    /// Makes this what is served, now that the cores run.
    async fn replace(
        &mut self,
        checked: Checked,
        material: Read,
        cores: &Cores,
    ) -> Result<Change, Refusal> {
        let process = Arc::clone(&self.process);
        let listen = |addr, listeners: &Listeners| {
            let snapshot = process.snapshot.load();
            let listener = snapshot.listeners.get(&addr);
            for core in 0..cores.len() {
                if let Some(fd) = listeners.socket(addr, core) {
                    cores.send(core, Command::Listen(addr, fd, listener.map(Arc::clone)));
                }
            }
        };
        let close = |(state, ticks): &(Arc<ServiceState>, u32)| {
            cores.send_all(|| Command::CloseAfter(Arc::clone(state), *ticks));
        };
        self.apply(checked, material, cores.len(), listen, close).await
    }

    /// Makes `checked` what is served. `listen` introduces a new listener to the cores, `close` has
    /// the connections of a service that went end in time.
    async fn apply(
        &mut self,
        checked: Checked,
        material: Read,
        cores: usize,
        listen: impl Fn(SocketAddr, &Listeners),
        close: impl Fn(&(Arc<ServiceState>, u32)),
    ) -> Result<Change, Refusal> {
        self.resolver.configure(&checked.resolver);
        let applied = self.try_apply(checked, material, cores, listen, close).await;
        if applied.is_err() {
            self.resolver.configure(&self.checked.resolver);
        }
        self.lists.follow(&self.checked.services);
        self.admin.view.counts.lists.store(Arc::new(self.lists.states()));
        applied
    }

    /// As [`Served::apply`]; what asks for names and lists is put right there.
    async fn try_apply(
        &mut self,
        checked: Checked,
        material: Read,
        cores: usize,
        listen: impl Fn(SocketAddr, &Listeners),
        close: impl Fn(&(Arc<ServiceState>, u32)),
    ) -> Result<Change, Refusal> {
        let wanted: HashMap<SocketAddr, ()> =
            checked.services.iter().map(|service| (service.listen, ())).collect();
        // All that can fail.
        let local = system::local_addresses();
        let version = self.version + 1;
        self.lists.prepare(&checked.services, &material.0, self.resolver.lookups()).await?;
        let found = self.lists.found();
        let (snapshot, kept) =
            self.kept.snapshot(version, &checked.services, &found, &material.0, local)?;
        snapshot.prepare_counts(cores);
        let admin = self.admin.prepare(checked.admin.as_ref()).await?;
        let bound = self.listeners.bind(wanted.keys().copied(), cores).await?;
        if let Some(to) = &checked.events {
            events::open(&to.file).map_err(|error| Refusal::Events(to.file.clone(), error))?;
        }
        let before: HashSet<SocketAddr> = self.listeners.addresses().into_iter().collect();
        let mut added = self.listeners.listen(bound)?;
        // From here on it succeeds.
        let going = self.close_afters(&checked);
        self.version = version;
        kept.publish();
        self.kept = kept;
        self.found = found;
        // Those that have been asked for already come when they come.
        let new = self.kept.names().filter(|name| !self.resolver.follows(name));
        let limit =
            if self.checked == checked { limits::FOUND_RESOLVE } else { limits::RESOLVE_START };
        self.resolver.first(new, limit).await;
        self.resolver.follow(self.kept.names());
        self.health.follow(&snapshot);
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
            let last = old.listeners.get(addr).cloned();
            let closing = going.iter().filter(|(at, _)| at == addr);
            self.listeners.leave(*addr, closing.map(|(_, close)| close.clone()).collect(), last);
        }
        // Services that leave a port to others.
        going.iter().filter(|(addr, _)| wanted.contains_key(addr)).for_each(|(_, end)| close(end));
        self.retired.push(old);
        self.checked = checked;
        let (material, since) = material;
        self.watch.follow(material.paths().map(Path::to_owned), since);
        self.admin.view.material.store(Arc::clone(&material));
        self.admin.serve(admin);
        (self.material, self.material_since) = (material, since);
        Ok(Change { added, removed })
    }

    /// The services that go and ask for their connections to be closed, with their addresses.
    fn close_afters(&self, next: &Checked) -> Vec<(SocketAddr, (Arc<ServiceState>, u32))> {
        let stays: HashSet<&str> = next.services.iter().map(|service| &*service.id).collect();
        let snapshot = self.process.snapshot.load();
        let served = snapshot.listeners.values().flat_map(|listener| listener.services());
        served
            .filter_map(|(_, service)| {
                let OnRemoved::CloseAfter(after) = service.spec.on_removed else { return None };
                let ticks = after.as_millis().div_ceil(limits::TICK.as_millis());
                let ticks = u32::try_from(ticks).unwrap_or(u32::MAX);
                let gone = !stays.contains(&*service.spec.id);
                gone.then(|| (service.spec.listen, (Arc::clone(&service.state), ticks)))
            })
            .collect()
    }

    /// Sends addresses that have lingered on to the cores for closing.
    pub fn close_due(&mut self, cores: &Cores) {
        self.listeners.close_due(|addr, close_afters| {
            cores.send_all(|| Command::Unlisten(addr));
            for (state, ticks) in close_afters {
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
            self.listeners.leave(addr, Vec::new(), self.listener_at(addr));
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
