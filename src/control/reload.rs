//! What the process serves, and how that changes while it runs: read, check, bind what is new,
//! publish, let go what is old. Everything that can fail comes before the first thing that changes.

use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Instant, SystemTime};

use crate::config::checked::{self, Checked, OnRemoved};
use crate::config::document::Providers;
use crate::config::found::Found;
use crate::config::limits;
use crate::config::snapshot::{Kept, Listener, ServiceState, Snapshot};
use crate::config::sources::{Entities, Further, LeftOut, Main, Owner, Source};
use crate::config::{self, Loaded};
use crate::control::admin::Admin;
use crate::control::cores::Cores;
use crate::control::discover::Lists;
use crate::control::events;
use crate::control::health::Health;
use crate::control::listeners::Listeners;
use crate::control::plan::{Kind, Plan, Side};
use crate::control::providers::Live;
use crate::control::state::{Pending, StateDir};
use crate::control::watch::Watch;
use crate::control::{notify, resolve};
use crate::diagnostics::{Diagnostic, Severity};
use crate::io::system;
use crate::providers::foreign::Files;
use crate::providers::{Inventory, Outcome};
use crate::tls::material::Material;
use crate::worker::{Command, Process};

mod outcome;
mod ready;

pub use self::outcome::{Applied, Change, Refusal};
pub(super) use self::ready::Ready;
use self::ready::{commit, open_state};

/// The served configuration and all that belongs to it.
#[derive(Debug)]
pub struct Served {
    path: PathBuf,
    pub(super) process: Arc<Process>,
    /// The main file as it was last read with success.
    pub(super) main: Main,
    /// The other sources, as they are served.
    pub(super) sources: Vec<Source>,
    pub(super) entities: Arc<Entities>,
    /// Services that are declared and not served.
    pub(super) left_out: Vec<LeftOut>,
    /// What was read of providers' files.
    files: Arc<Files>,
    pub(super) state: Option<StateDir>,
    pub(super) checked: Checked,
    pub(super) material: Arc<Material>,
    /// When reading it began.
    material_since: SystemTime,
    kept: Kept,
    pub(super) version: u64,
    /// The listening sockets.
    pub listeners: Listeners,
    /// The admin API.
    pub admin: Admin,
    resolver: resolve::Resolver,
    lists: Lists,
    live: Live,
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
    pub live: Live,
}

/// Certificates and trust, and when reading them began.
pub type Read = (Arc<Material>, SystemTime);

impl Served {
    /// Binds everything for the first time and publishes it. The cores are started afterwards, with
    /// [`Served::introduce`].
    ///
    /// # Errors
    /// What cannot be bound or opened.
    pub async fn first(
        path: PathBuf,
        loaded: Loaded,
        since: SystemTime,
        aides: Aides,
        cores: usize,
    ) -> Result<Self, Refusal> {
        let Aides { admin, watch, lists, health, live } = aides;
        let (state, loaded) = open_state(None, loaded, &live.inventory(), None)?;
        let Ready { checked, material, main, sources, entities, diagnostics, left_out, files } =
            loaded.try_into()?;
        let workers = checked.workers.clone();
        let resolver = checked.resolver.clone();
        let nothing = Checked {
            workers,
            events: None,
            admin: None,
            certificates: Vec::new(),
            resolver: resolver.clone(),
            state_dir: None,
            providers: Providers::default(),
            services: Vec::new(),
        };
        let mut served = Self {
            path,
            main,
            sources,
            entities: Arc::new(entities),
            left_out,
            files,
            state: state.flatten(),
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
            live,
            found: Found::new(),
            watch,
            health,
            retired: Vec::new(),
        };
        served.apply(checked, (material, since), None, cores, |_, _| {}, |_| {}).await?;
        served.live.follow(&served.checked.providers);
        served.show(diagnostics);
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

    /// Reads the main file and the state directory again and serves what they say, or says why not
    /// and changes nothing.
    ///
    /// # Errors
    /// Why not.
    pub async fn reload(&mut self, cores: &Cores) -> Result<Applied, Refusal> {
        let started = Instant::now();
        notify::reloading();
        let done = self.try_reload(started, cores).await;
        let view = Arc::clone(&self.admin.view);
        view.reloaded(done.as_ref().map(|_| ()));
        match &done {
            Ok((applied, line)) => tracing::info!(
                version = applied.version,
                services = self.checked.services.len(),
                added = ?applied.listeners.added,
                removed = ?applied.listeners.removed,
                changes = %line,
                took = ?started.elapsed(),
                "reload: done"
            ),
            Err(refusal) => {
                if let Refusal::Faults(faults) = refusal {
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
        done.map(|(applied, _)| applied)
    }

    /// What live providers know.
    pub(super) fn inventory(&self) -> Inventory {
        self.live.inventory()
    }

    /// The main file.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// One line for `systemctl status`.
    pub fn status(&self) -> String {
        format!("version {}, {} services", self.version, self.checked.services.len())
    }

    /// What was done, and in one line what that changed.
    async fn try_reload(
        &mut self,
        started: Instant,
        cores: &Cores,
    ) -> Result<(Applied, String), Refusal> {
        let since = SystemTime::now();
        let (path, before) = (self.path.clone(), Arc::clone(&self.material));
        let inventory = self.live.inventory();
        let loaded = config::load_after(&path, &inventory, Some(before.as_ref()));
        let open = self.state.as_ref().map(StateDir::path);
        let (state, loaded) = open_state(open, loaded, &inventory, Some(before.as_ref()))?;
        let mut ready = Ready::try_from(loaded)?;
        report(&ready.diagnostics);
        if ready.checked.workers != self.checked.workers {
            tracing::warn!("`workers` changed: takes effect at the next start");
            ready.checked.workers = self.checked.workers.clone();
        }
        let plan = self.plan(&ready);
        let line = plan.line();
        let of = |kind| {
            let services = plan.services.iter().filter(|it| it.change == kind);
            services.map(|it| it.id.clone()).collect::<Vec<_>>()
        };
        let (added, removed) = (of(Kind::Added), of(Kind::Removed));
        let changed = of(Kind::Changed);
        let listeners = self.adopt(ready, since, None, cores).await?;
        if let Some(state) = state {
            self.state = state;
        }
        self.live.follow(&self.checked.providers);
        self.tell(inventory);
        let took = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
        let version = self.version;
        Ok((Applied { version, added, removed, changed, listeners, took }, line))
    }

    /// What would change if this were served.
    pub(super) fn plan(&self, ready: &Ready) -> Plan {
        let snapshot = self.process.snapshot.load();
        let services = snapshot.listeners.values().flat_map(|listener| listener.services());
        let live: HashMap<&str, u32> =
            services.map(|(_, it)| (&*it.spec.id, it.state.live.load(Ordering::Relaxed))).collect();
        let before = Side { checked: &self.checked, entities: &self.entities };
        let after = Side { checked: &ready.checked, entities: &ready.entities };
        let live = |id: &str| live.get(id).copied().unwrap_or(0);
        let mut plan = Plan::of(self.version, before, after, live);
        if ready.material.digest() != self.material.digest() {
            plan.settings.push("files");
            plan.changes = true;
        }
        plan.diagnostics.clone_from(&ready.diagnostics);
        plan
    }

    /// Serves what is ready, after `pending` was made; from then on it is what API and plans start from.
    pub(super) async fn adopt(
        &mut self,
        ready: Ready,
        since: SystemTime,
        pending: Option<Pending>,
        cores: &Cores,
    ) -> Result<Change, Refusal> {
        let Ready { checked, material, main, sources, entities, diagnostics, left_out, files } =
            ready;
        // Tokens may have changed with nothing else.
        let same_token =
            checked.admin.as_ref().is_none_or(|admin| admin.token_files().next().is_none());
        self.admin.reread(checked.admin.as_ref().filter(|_| same_token && pending.is_none()));
        let same_files = material.digest() == self.material.digest();
        let by_api = pending.is_some();
        let same = checked == self.checked && same_files && (same_token || by_api);
        let change = if same && self.lists.found() == self.found {
            if let Some(pending) = pending {
                commit(pending).await?;
            }
            Change::default()
        } else {
            self.replace(checked, (material, since), pending, cores).await?
        };
        (self.main, self.sources, self.entities) = (main, sources, Arc::new(entities));
        self.left_out = left_out;
        // What the API changes is composed of sources as they are: no file is read for it.
        if !by_api {
            self.files = files;
        }
        self.show(diagnostics);
        Ok(change)
    }

    /// Shows what is served to whoever asks the admin API.
    fn show(&self, diagnostics: Vec<Diagnostic>) {
        self.admin.view.entities.store(Arc::clone(&self.entities));
        self.admin.view.awaited.store(Arc::new(self.live.awaited()));
        self.admin.view.served(diagnostics);
    }

    /// Reads the files of certificates and of trust again, for one of them has changed. One that is
    /// broken keeps what it was.
    pub async fn reload_material(&mut self, cores: &Cores) {
        self.admin.reread(self.checked.admin.as_ref());
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
        let material = (Arc::new(material), since);
        match self.replace(self.checked.clone(), material, None, cores).await {
            Ok(_) => tracing::info!(version = self.version, "files: what they say now is served"),
            Err(why) => tracing::error!(%why, "files: refused, nothing was changed"),
        }
    }

    /// Serves what live providers know now.
    pub async fn providers_changed(&mut self, cores: &Cores) {
        let since = SystemTime::now();
        let inventory = self.live.inventory();
        let (main, sources) = (self.main.clone(), self.sources.clone());
        let (files, before) = (Arc::clone(&self.files), Arc::clone(&self.material));
        let known = inventory.clone();
        let composing = tokio::task::spawn_blocking(move || {
            let further = Further::Anew(&sources, &files, &known);
            config::compose(main, further, Some(before.as_ref()))
        });
        let Ok(loaded) = composing.await else { return };
        let shown = self.admin.view.diagnostics.load();
        let is_new = |finding: &&Diagnostic| !shown.served.contains(finding);
        let new = loaded.diagnostics.iter().filter(is_new).cloned();
        report(&new.collect::<Vec<_>>());
        let mut ready = match Ready::try_from(loaded) {
            Ok(ready) => ready,
            Err(why) => return tracing::error!(%why, "providers: refused, nothing was changed"),
        };
        ready.checked.workers = self.checked.workers.clone();
        let plan = self.plan(&ready);
        match self.adopt(ready, since, None, cores).await {
            Ok(_) if plan.changes => {
                tracing::info!(version = self.version, changes = %plan.line(), "providers: done");
            }
            Ok(_) => tracing::debug!("providers: nothing changed"),
            Err(why) => tracing::error!(%why, "providers: refused, nothing was changed"),
        }
        self.tell(inventory);
    }

    /// Tells live providers what became of what they know.
    fn tell(&self, inventory: Inventory) {
        let of_provider = |left: &&LeftOut| matches!(left.owner, Owner::Provider(_));
        let left_out = self.left_out.iter().filter(of_provider);
        let left_out = left_out.filter_map(|it| Some((it.id.clone()?, it.why.clone()))).collect();
        let providers = self.checked.providers.clone();
        self.live.served(Outcome { providers, inventory, left_out });
    }

    /// Ends live providers.
    pub async fn end_providers(&mut self) {
        self.live.end().await;
    }

    /// Serves the targets that were found, for a list of them has changed.
    pub async fn lists_changed(&mut self, cores: &Cores) {
        if self.lists.found() == self.found {
            return;
        }
        let material = (Arc::clone(&self.material), self.material_since);
        match self.replace(self.checked.clone(), material, None, cores).await {
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
        pending: Option<Pending>,
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
        self.apply(checked, material, pending, cores.len(), listen, close).await
    }

    /// Makes `checked` what is served, and before that the file what is `pending`. `listen` introduces
    /// a new listener to the cores, `close` has the connections of a service that went end in time.
    async fn apply(
        &mut self,
        checked: Checked,
        material: Read,
        pending: Option<Pending>,
        cores: usize,
        listen: impl Fn(SocketAddr, &Listeners),
        close: impl Fn(&(Arc<ServiceState>, u32)),
    ) -> Result<Change, Refusal> {
        self.resolver.configure(&checked.resolver);
        let applied = self.try_apply(checked, material, pending, cores, listen, close).await;
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
        pending: Option<Pending>,
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
        let events = events::prepare(checked.events.as_ref(), &material.0)?;
        let before: HashSet<SocketAddr> = self.listeners.addresses().into_iter().collect();
        bound.listen()?;
        if let Some(pending) = pending {
            commit(pending).await?;
        }
        // From here on it succeeds.
        let mut added = self.listeners.take_in(bound);
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
        events::serve(&self.process.events, events, self.resolver.lookups());
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
        // Changes may come faster than ticks.
        self.free_retired();
        self.retired.push(old);
        self.checked = checked;
        let (material, since) = material;
        let admin_files = self.checked.admin.iter().flat_map(checked::Admin::tls_files);
        let paths = material.paths().map(Path::to_owned).chain(admin_files.map(Path::to_owned));
        self.watch.follow(paths, since);
        self.admin.view.material.store(Arc::clone(&material));
        self.admin.serve(admin);
        self.show_leaving();
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
        self.close_those_due(cores);
        self.show_leaving();
    }

    /// Says which addresses are on their way out.
    fn show_leaving(&self) {
        self.admin.view.leaving.store(Arc::new(self.listeners.leaving()));
    }

    fn close_those_due(&mut self, cores: &Cores) {
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
        self.process.events.reopen();
    }
}

/// Logs diagnostics.
pub fn report(diagnostics: &[Diagnostic]) {
    for found in diagnostics {
        let Diagnostic { code, message, path, line, hint, severity, file, provider: _ } = found;
        let file = file.as_deref();
        let hint = hint.as_deref().unwrap_or_default();
        match severity {
            Severity::Error => tracing::error!(code, file, path, line, hint, "{message}"),
            Severity::Warn => tracing::warn!(code, file, path, line, hint, "{message}"),
            Severity::Info => tracing::debug!(code, file, path, line, hint, "{message}"),
        }
    }
}
