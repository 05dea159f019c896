//! Names to addresses, off the data path. Each name keeps its last good answer ([`keep`] says for how
//! long); what changes holds for connections that begin from then on, and cuts none.

use std::collections::HashMap;
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use crate::config::snapshot::Name;
use crate::config::{checked, limits};

pub mod keep;
pub mod lookup;

use keep::{Bounds, Keeper, News, Outcome, luck};
use lookup::Lookups;

/// Keeps the names of the published snapshot resolved.
#[derive(Debug)]
pub struct Resolver {
    lookups: Arc<Lookups>,
    /// Counts changes of the settings.
    settings: watch::Sender<u64>,
    tasks: HashMap<Arc<str>, tokio::task::AbortHandle>,
    running: JoinSet<()>,
}

impl Resolver {
    /// A resolver of no names yet.
    pub fn new(settings: &checked::Resolver) -> Self {
        Self {
            lookups: Arc::new(Lookups::new(settings.clone())),
            settings: watch::Sender::new(0),
            tasks: HashMap::new(),
            running: JoinSet::new(),
        }
    }

    /// Follows other settings from now on; if they are others, every name is asked for anew.
    pub fn configure(&self, settings: &checked::Resolver) {
        if self.lookups.configure(settings) {
            self.settings.send_modify(|count| *count += 1);
        }
    }

    /// What asks the name servers.
    pub fn lookups(&self) -> &Arc<Lookups> {
        &self.lookups
    }

    /// Whether the name is kept resolved.
    pub fn follows(&self, name: &Name) -> bool {
        self.tasks.contains_key(&name.host)
    }

    /// Resolves these names from now on, and no others.
    pub fn follow<'a>(&mut self, names: impl Iterator<Item = &'a Arc<Name>>) {
        let mut before = std::mem::take(&mut self.tasks);
        for name in names {
            let task = before.remove(&name.host).unwrap_or_else(|| {
                let (name, lookups) = (Arc::clone(name), Arc::clone(&self.lookups));
                self.running.spawn(keep_resolved(name, lookups, self.settings.subscribe()))
            });
            self.tasks.insert(Arc::clone(&name.host), task);
        }
        for task in before.into_values() {
            task.abort();
        }
        while self.running.try_join_next().is_some() {}
    }

    /// Resolves names once, before the first connection asks for them; what takes longer than `limit`
    /// comes later.
    pub async fn first<'a>(&self, names: impl Iterator<Item = &'a Arc<Name>>, limit: Duration) {
        let mut pending = JoinSet::new();
        for name in names {
            let (name, lookups) = (Arc::clone(name), Arc::clone(&self.lookups));
            pending.spawn(async move {
                let outcome = lookups.addresses(&name.host, &[]).await;
                name.freshness.heard(outcome.is_found());
                if let Outcome::Found(addresses, _) = outcome {
                    name.addresses.store(Arc::new(addresses));
                }
            });
        }
        let all = async { while pending.join_next().await.is_some() {} };
        if timeout(limit, all).await.is_err() {
            tracing::warn!("some names are not resolved yet; going on without them");
        }
    }
}

async fn keep_resolved(name: Arc<Name>, lookups: Arc<Lookups>, mut changed: watch::Receiver<u64>) {
    let mut keeper = Keeper::default();
    let mut family = FamilyMemory::new(&name);
    if !name.addresses.load().is_empty() {
        // It was asked for a moment ago.
        sleep(lookups.settings().min_ttl.mul_f64(luck())).await;
    }
    loop {
        let known = name.addresses.load_full();
        let outcome = lookups.addresses(&name.host, &known).await;
        name.freshness.heard(outcome.is_found());
        let settings = lookups.settings();
        let (min, max) = (settings.min_ttl, settings.max_ttl);
        let bounds = Bounds { min, max, grace: Some(settings.grace) };
        let verdict = keeper.weigh(outcome, &*known, bounds, Instant::now(), luck());
        if let Some(news) = &verdict.news {
            tell(&name.host, news, &known, verdict.store.as_ref(), settings.grace);
        }
        family.look(&name, verdict.store.is_some());
        if let Some(addresses) = verdict.store {
            name.addresses.store(Arc::new(addresses));
        }
        tokio::select! {
            () = sleep(verdict.pause) => {}
            still = changed.changed() => if still.is_err() { return },
        }
    }
}

/// Forgets after a while that one family of a name did not answer.
struct FamilyMemory {
    usual: bool,
    since: Option<Instant>,
}

impl FamilyMemory {
    fn new(name: &Name) -> Self {
        Self { usual: Name::prefers_v4(&name.host), since: None }
    }

    fn look(&mut self, name: &Name, changed: bool) {
        if name.v4_first.load(Ordering::Relaxed) == self.usual {
            self.since = None;
            return;
        }
        let since = *self.since.get_or_insert_with(Instant::now);
        if changed || since.elapsed() >= limits::FAMILY_MEMORY {
            name.v4_first.store(self.usual, Ordering::Relaxed);
            self.since = None;
        }
    }
}

fn tell(host: &str, news: &News, known: &[IpAddr], store: Option<&Vec<IpAddr>>, grace: Duration) {
    let (before, now) = (Few(known), Few(store.map_or(known, Vec::as_slice)));
    match news {
        News::Changed => tracing::info!(name = host, %before, %now, "resolved"),
        News::Again => tracing::info!(name = host, %now, "resolved again"),
        News::Lost(why) | News::Gone(why) if known.is_empty() => {
            tracing::warn!(name = host, why, "cannot be resolved");
        }
        News::Lost(why) => tracing::warn!(
            name = host, why, in_use = %before,
            "cannot be resolved: the last answer stays in use"
        ),
        News::Gone(why) => tracing::warn!(
            name = host, why, in_use = %before, ?grace,
            "cannot be resolved: the last answer stays in use for the grace"
        ),
        News::GivenUp => tracing::warn!(name = host, %before, "gone: the last answer is given up"),
    }
}

/// The first few of many.
struct Few<'a, T>(&'a [T]);

impl<T: fmt::Display> fmt::Display for Few<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const SHOWN: usize = 8;
        if self.0.is_empty() {
            return f.write_str("none");
        }
        for (at, item) in self.0.iter().take(SHOWN).enumerate() {
            write!(f, "{}{item}", if at == 0 { "" } else { " " })?;
        }
        match self.0.len().checked_sub(SHOWN) {
            Some(more @ 1..) => write!(f, " and {more} more"),
            _ => Ok(()),
        }
    }
}
