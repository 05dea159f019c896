//! Live providers: what runs while the configuration names them. Each tells what it knows through a
//! [`Publisher`]; the control loop then makes services of it anew and serves them, and tells back what
//! became of them.

use std::sync::Arc;

use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use crate::config::document::Providers;
use crate::config::limits;
use crate::providers::{Inventory, Outcome, Publisher, docker, kubernetes};

/// The live providers that run.
#[derive(Debug)]
pub struct Live {
    changed: mpsc::Sender<()>,
    docker: Option<Running<docker::Containers>>,
    kubernetes: Option<Running<kubernetes::Objects>>,
}

/// One that runs.
#[derive(Debug)]
struct Running<T> {
    /// What it was started with; another one takes its place when this changes.
    reached_by: String,
    /// What it knows.
    known: watch::Receiver<Option<Arc<T>>>,
    /// What the one before it knew: used until this one has told.
    before: Option<Arc<T>>,
    /// Told what became of it. It ends when this is gone.
    outcomes: watch::Sender<Option<Arc<Outcome>>>,
    task: JoinHandle<()>,
}

impl<T> Running<T> {
    fn known(&self) -> Option<Arc<T>> {
        self.known.borrow().clone().or_else(|| self.before.clone())
    }

    /// Asks it to end, and sees to it that it does.
    fn end(self) -> JoinHandle<()> {
        let Self { outcomes, mut task, .. } = self;
        drop(outcomes);
        tokio::spawn(async move {
            if tokio::time::timeout(limits::PROVIDER_END, &mut task).await.is_err() {
                task.abort();
            }
        })
    }
}

impl Live {
    /// None yet; and what says that one has told something new.
    pub fn start() -> (Self, mpsc::Receiver<()>) {
        let (changed, receiver) = mpsc::channel(1);
        (Self { changed, docker: None, kubernetes: None }, receiver)
    }

    /// Starts and ends what the configuration says.
    pub fn follow(&mut self, providers: &Providers) {
        let wanted = providers.docker.as_ref();
        let start =
            |publisher, _outcomes| wanted.map(|config| docker::start(config.clone(), publisher));
        let key = wanted.map(docker::reached_by);
        switch(&mut self.docker, key, &self.changed, start);
        let wanted = providers.kubernetes.as_ref().filter(|it| kubernetes::is_live(it));
        let start = |publisher, outcomes| {
            wanted.map(|config| kubernetes::start(config.clone(), publisher, outcomes))
        };
        let key = wanted.map(kubernetes::reached_by);
        switch(&mut self.kubernetes, key, &self.changed, start);
    }

    /// What they know.
    pub fn inventory(&self) -> Inventory {
        Inventory {
            docker: self.docker.as_ref().and_then(Running::known),
            kubernetes: self.kubernetes.as_ref().and_then(Running::known),
        }
    }

    /// Those that have told nothing yet.
    pub fn awaited(&self) -> Vec<&'static str> {
        let docker = self.docker.as_ref().filter(|it| it.known().is_none());
        let kubernetes = self.kubernetes.as_ref().filter(|it| it.known().is_none());
        docker.map(|_| "docker").into_iter().chain(kubernetes.map(|_| "kubernetes")).collect()
    }

    /// Tells them what is served.
    pub fn served(&self, outcome: Outcome) {
        let outcome = Arc::new(outcome);
        if let Some(running) = &self.docker {
            running.outcomes.send_replace(Some(Arc::clone(&outcome)));
        }
        if let Some(running) = &self.kubernetes {
            running.outcomes.send_replace(Some(outcome));
        }
    }

    /// Ends all, and waits for them a moment: what they hold elsewhere (a lease) is better given back.
    pub async fn end(&mut self) {
        let ending =
            [self.docker.take().map(Running::end), self.kubernetes.take().map(Running::end)];
        for end in ending.into_iter().flatten() {
            let _ = end.await;
        }
    }
}

/// Puts the one that is wanted in the place of the one that runs, unless it is that.
fn switch<T: PartialEq>(
    running: &mut Option<Running<T>>,
    key: Option<String>,
    changed: &mpsc::Sender<()>,
    start: impl FnOnce(Publisher<T>, watch::Receiver<Option<Arc<Outcome>>>) -> Option<JoinHandle<()>>,
) {
    if running.as_ref().map(|it| &it.reached_by) == key.as_ref() {
        return;
    }
    let old = running.take();
    let before = old.as_ref().and_then(Running::known);
    if let Some(old) = old {
        drop(old.end());
    }
    let Some(reached_by) = key else { return };
    let (publisher, known) = Publisher::new(changed.clone());
    let (outcomes, reader) = watch::channel(None);
    *running =
        start(publisher, reader).map(|task| Running { reached_by, known, before, outcomes, task });
}
