//! Lists of targets that are kept current while the proxy runs: SRV records and fetched documents.
//! One task for each; when a list has changed the control loop makes a new snapshot of the same
//! configuration.
//!
//! A list outlives reloads as long as a rule has its source. Connections to a target that has left a
//! list go on.

use std::collections::{HashMap, HashSet};
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{sleep, timeout};

use crate::config::checked::{self, Discovery};
use crate::config::found::{self, Found, FoundTarget, Query, Source};
use crate::config::limits;
use crate::control::http::EndpointTls;
use crate::control::resolve::keep::{Bounds, Keeper, News, Outcome, Verdict, luck};
use crate::control::resolve::lookup::Lookups;
use crate::metrics::Freshness;
use crate::tls::material::Material;
use crate::tls::problem::Problem;

mod entries;
mod fetch;

/// Keeps lists current.
#[derive(Debug)]
pub struct Lists {
    followed: HashMap<Source, Followed>,
    running: JoinSet<()>,
    wake: mpsc::Sender<()>,
}

#[derive(Debug)]
struct Followed {
    state: Arc<State>,
    asked: watch::Receiver<bool>,
    task: AbortHandle,
}

/// One list.
#[derive(Debug)]
pub struct State {
    /// Where it comes from.
    pub source: Source,
    /// The last good one.
    pub list: ArcSwap<Vec<FoundTarget>>,
    /// When it last came.
    pub freshness: Freshness,
    settings: ArcSwap<Settings>,
}

/// What may change without the list being another one.
#[derive(Debug, Clone, Default)]
struct Settings {
    interval: Duration,
    timeout: Duration,
    tls: EndpointTls,
}

impl Lists {
    /// No lists yet; what is received means that one has changed.
    pub fn start() -> (Self, mpsc::Receiver<()>) {
        let (wake, woken) = mpsc::channel(1);
        let (tell, changes) = mpsc::channel(1);
        tokio::spawn(coalesce(woken, tell));
        (Self { followed: HashMap::new(), running: JoinSet::new(), wake }, changes)
    }

    /// Says once more that a list has changed, after a pause.
    pub fn wake_after(&self, pause: Duration) {
        let wake = self.wake.clone();
        tokio::spawn(async move {
            sleep(pause).await;
            let _ = wake.try_send(());
        });
    }

    /// Follows the lists of these services too, and waits until new ones were asked for once; what
    /// takes longer than [`limits::RESOLVE_START`] comes later.
    ///
    /// # Errors
    /// How TLS to an endpoint cannot be set up.
    pub async fn prepare(
        &mut self,
        services: &[checked::Service],
        material: &Material,
        lookups: &Arc<Lookups>,
    ) -> Result<(), Problem> {
        let mut new = Vec::new();
        let mut seen = HashSet::new();
        let lists = services.iter().flat_map(checked::Service::discoveries);
        let lists = lists.map(|list| (list.source.clone(), Some(list)));
        let records = services.iter().flat_map(checked::Service::targets);
        let records = records.filter_map(Source::of).map(|source| (source, None));
        for (source, list) in lists.chain(records) {
            if !seen.insert(source.clone()) {
                continue;
            }
            let settings = settings(&source, list, material)?;
            match self.followed.get(&source) {
                Some(followed) => followed.state.settings.store(Arc::new(settings)),
                None => new.push(self.follow_new(source, settings, Arc::clone(lookups))),
            }
        }
        let all = async {
            for mut asked in new {
                let _ = asked.wait_for(|asked| *asked).await;
            }
        };
        if timeout(limits::RESOLVE_START, all).await.is_err() {
            tracing::warn!("some lists of targets are not known yet; going on without them");
        }
        Ok(())
    }

    fn follow_new(
        &mut self,
        source: Source,
        settings: Settings,
        lookups: Arc<Lookups>,
    ) -> watch::Receiver<bool> {
        let settings = ArcSwap::from_pointee(settings);
        let list = ArcSwap::default();
        let state = Arc::new(State {
            source: source.clone(),
            list,
            freshness: Freshness::default(),
            settings,
        });
        let (tell, asked) = watch::channel(false);
        let keeping = keep_current(Arc::clone(&state), lookups, tell, self.wake.clone());
        let task = self.running.spawn(keeping);
        self.followed.insert(source, Followed { state, asked: asked.clone(), task });
        asked
    }

    /// Follows the lists of these services and no others.
    pub fn follow(&mut self, services: &[checked::Service]) {
        let wanted: HashSet<Source> = found::sources(services).collect();
        self.followed.retain(|source, followed| {
            let stays = wanted.contains(source);
            if !stays {
                followed.task.abort();
            }
            stays
        });
        while self.running.try_join_next().is_some() {}
    }

    /// All lists.
    pub fn states(&self) -> Vec<Arc<State>> {
        self.followed.values().map(|followed| Arc::clone(&followed.state)).collect()
    }

    /// The lists as they are now.
    pub fn found(&self) -> Found {
        let list = |(source, it): (&Source, &Followed)| (source.clone(), it.state.list.load_full());
        self.followed.iter().filter(|(_, it)| *it.asked.borrow()).map(list).collect()
    }
}

fn settings(
    source: &Source,
    list: Option<&Discovery>,
    material: &Material,
) -> Result<Settings, Problem> {
    let Some(&Discovery { interval, timeout, .. }) = list else { return Ok(Settings::default()) };
    let tls = match source {
        Source::Http(query) => {
            query.tls.as_ref().map(|tls| material.client_config(tls)).transpose()?
        }
        Source::Srv(_) => None,
    };
    Ok(Settings { interval, timeout, tls })
}

/// Passes changes on, those of a while as one.
async fn coalesce(mut woken: mpsc::Receiver<()>, tell: mpsc::Sender<()>) {
    while woken.recv().await.is_some() {
        sleep(limits::FOUND_QUIET).await;
        while woken.try_recv().is_ok() {}
        // Full: one is still to be taken, and stands for this one too.
        let _ = tell.try_send(());
    }
}

async fn keep_current(
    state: Arc<State>,
    lookups: Arc<Lookups>,
    asked: watch::Sender<bool>,
    wake: mpsc::Sender<()>,
) {
    let mut keeper = Keeper::default();
    let mut faults = Vec::new();
    loop {
        let known = state.list.load_full();
        let settings = state.settings.load_full();
        let (outcome, bounds) = match &state.source {
            Source::Srv(name) => {
                let to = lookups.settings();
                let bounds = Bounds { min: to.min_ttl, max: to.max_ttl, grace: Some(to.grace) };
                (lookups.services(name, !known.is_empty()).await, bounds)
            }
            Source::Http(query) => {
                let every = settings.interval;
                let bounds = Bounds { min: every, max: every, grace: None };
                let (outcome, left_out) = document(query, &settings, &lookups).await;
                say_faults(&state.source, &mut faults, left_out);
                (outcome, bounds)
            }
        };
        state.freshness.heard(outcome.is_found());
        let verdict = keeper.weigh(outcome, &*known, bounds, Instant::now(), luck());
        tell(&state.source, &verdict, &known);
        let changed = verdict.store.map(|list| state.list.store(Arc::new(list))).is_some();
        asked.send_replace(true);
        if changed {
            // Full: one is still to be taken, and stands for this one too.
            let _ = wake.try_send(());
        }
        sleep(verdict.pause).await;
    }
}

/// Those under way: a start with a thousand lists must not take a thousand descriptors at once.
static FETCHES: Semaphore = Semaphore::const_new(limits::RESOLVES_AT_ONCE);

/// Fetches and reads a document; also what is wrong with its entries.
async fn document(
    query: &Query,
    settings: &Settings,
    lookups: &Lookups,
) -> (Outcome<Vec<FoundTarget>>, Option<entries::Entries>) {
    // Never closed.
    let _slot = FETCHES.acquire().await;
    let fetched = timeout(settings.timeout, fetch::fetch(query, &settings.tls, lookups)).await;
    let body = match fetched {
        Ok(Ok(body)) => body,
        Ok(Err(why)) => return (Outcome::Lost(why), None),
        Err(_) => return (Outcome::Lost("no whole answer in time".into()), None),
    };
    match entries::read(query, &body) {
        Err(why) => (Outcome::Lost(why), None),
        Ok(mut entries) => {
            let targets = std::mem::take(&mut entries.targets);
            let outcome = match (targets.is_empty(), entries.left_out) {
                (false, _) => Outcome::Found(targets, settings.interval),
                (true, 0) => Outcome::Gone("the list is empty".into()),
                (true, _) => Outcome::Lost("no entry of the list is usable".into()),
            };
            (outcome, Some(entries))
        }
    }
}

/// Says what is wrong with entries, unless it was said of the last document.
fn say_faults(source: &Source, told: &mut Vec<String>, entries: Option<entries::Entries>) {
    let Some(entries) = entries else { return };
    if entries.faults != *told {
        if !entries.faults.is_empty() {
            let why = entries.faults.join("; ");
            tracing::warn!(%source, left_out = entries.left_out, why, "entries are left out");
        }
        *told = entries.faults;
    }
}

fn tell(source: &Source, verdict: &Verdict<Vec<FoundTarget>>, known: &[FoundTarget]) {
    let Some(news) = &verdict.news else { return };
    let in_use = known.len();
    match news {
        News::Changed => {
            let now = verdict.store.as_deref().unwrap_or_default();
            let (added, removed) = (few(now, known), few(known, now));
            tracing::info!(%source, targets = now.len(), added, removed, "targets found");
        }
        News::Again => tracing::info!(%source, targets = in_use, "the list comes again"),
        News::Lost(why) | News::Gone(why) if known.is_empty() => {
            tracing::warn!(%source, why, "no list of targets yet");
        }
        News::Lost(why) => {
            tracing::warn!(%source, why, in_use, "no list: the last one stays in use");
        }
        News::Gone(why) => {
            tracing::warn!(%source, why, in_use, "an empty list: the last one stays in use");
        }
        News::GivenUp => tracing::warn!(%source, in_use, "gone: the last list is given up"),
    }
}

/// The targets of one list that are not in the other, the first few of them.
fn few(of: &[FoundTarget], without: &[FoundTarget]) -> String {
    const SHOWN: usize = 8;
    let without: HashSet<&FoundTarget> = without.iter().collect();
    let mut text = String::new();
    let mut more = 0;
    for (at, target) in of.iter().filter(|target| !without.contains(target)).enumerate() {
        if at < SHOWN {
            let _ = write!(text, "{}{target}", if at == 0 { "" } else { " " });
        } else {
            more += 1;
        }
    }
    if more > 0 {
        let _ = write!(text, " and {more} more");
    }
    text
}
