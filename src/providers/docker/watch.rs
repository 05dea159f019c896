//! Watching a daemon: look at all, follow its events, look at what they name. Events say only where to
//! look; what is known is what looks have shown, so that one too many changes nothing, and one that
//! was missed is made up for by the next look at all.

use std::collections::{BTreeSet, HashMap};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bollard::Docker;
use bollard::models::{EventMessage, EventMessageTypeEnum};
use bollard::query_parameters::EventsOptions;
use futures_util::StreamExt;
use tokio::time::{Instant, interval_at, sleep, sleep_until};

use super::look::{self, Fault};
use super::{Container, Containers};
use crate::config::{document, limits};
use crate::diagnostics::{DOCKER_AWAY, Diagnostic};
use crate::providers::Publisher;

/// Watches a daemon as long as anybody wants to know, and publishes what containers it has. While it
/// does not answer, what was published stays, and it is asked again.
pub async fn watch(config: document::Docker, publish: Publisher<Containers>) {
    let watch =
        Watch { config, publish: &publish, known: Containers::default(), away: Away::NotYet };
    tokio::select! {
        () = for_ever(watch) => {}
        () = publish.unwanted() => {}
    }
}

async fn for_ever(mut watch: Watch<'_>) {
    let mut wait = limits::DOCKER_RETRY_MIN;
    loop {
        let began = Instant::now();
        let why = match watch.follow().await {
            Ok(never) => match never {},
            Err(why) => why,
        };
        if began.elapsed() > limits::DOCKER_RETRY_MAX {
            wait = limits::DOCKER_RETRY_MIN;
        }
        watch.say_away(&why);
        sleep(wait).await;
        wait = (wait * 2).min(limits::DOCKER_RETRY_MAX);
    }
}

struct Watch<'a> {
    config: document::Docker,
    publish: &'a Publisher<Containers>,
    known: Containers,
    away: Away,
}

/// Whether the daemon answers, as far as was said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Away {
    /// It has not been asked.
    NotYet,
    /// It answers.
    No,
    /// It does not, and that was said.
    Said,
}

/// Nothing is of this type: following ends with a fault only.
enum Never {}

/// Containers that events have named since the last look.
#[derive(Default)]
struct Dirty {
    ids: BTreeSet<String>,
    /// When the first was named.
    since: Option<Instant>,
    /// When to look.
    due: Option<Instant>,
    /// One of them ends.
    ends: bool,
}

impl Dirty {
    /// What ends is looked at without waiting for more.
    fn add(&mut self, id: String, ends: bool) {
        let now = Instant::now();
        let since = *self.since.get_or_insert(now);
        self.ids.insert(id);
        let settled = (now + limits::DOCKER_SETTLE).min(since + limits::DOCKER_SETTLE_MAX);
        self.ends |= ends;
        self.due = Some(if self.ends { now } else { settled });
    }
}

/// Whether an event says that a container takes no connections any more: its address may soon be
/// another's.
fn ends(event: &EventMessage) -> bool {
    let action = event.action.as_deref().unwrap_or_default();
    matches!(
        action,
        "die" | "kill" | "stop" | "pause" | "destroy" | "disconnect" | "health_status: unhealthy"
    )
}

impl Watch<'_> {
    /// Follows the daemon until it goes away, and says why that is.
    async fn follow(&mut self) -> Result<Never, String> {
        let docker = look::connect(&self.config).await?;
        self.look_at_all(&docker).await?;
        let mut events = docker.events(Some(options()));
        let mut again = interval_at(Instant::now() + limits::DOCKER_LOOK, limits::DOCKER_LOOK);
        let mut dirty = Dirty::default();
        loop {
            let due = dirty.due;
            let settled = async {
                match due {
                    Some(due) => sleep_until(due).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                event = events.next() => match event {
                    Some(Ok(event)) => {
                        if let Some(id) = self.concerned(&event) {
                            dirty.add(id, ends(&event));
                        }
                    }
                    Some(Err(error)) => return Err(look::words(&error)),
                    None => return Err("its events have ended".into()),
                },
                () = settled => {
                    let ids = std::mem::take(&mut dirty).ids;
                    self.look_at(&docker, ids).await?;
                }
                _ = again.tick() => self.look_at_all(&docker).await?,
            }
        }
    }

    async fn look_at_all(&mut self, docker: &Docker) -> Result<(), String> {
        let all = look::all(docker, &self.config).await?;
        self.known = all.after(&self.known);
        self.say_here();
        self.publish.publish(self.known.clone());
        Ok(())
    }

    async fn look_at(&mut self, docker: &Docker, ids: BTreeSet<String>) -> Result<(), String> {
        for id in ids {
            match look::one(docker, &self.config, &id).await {
                Ok(None) => drop(self.known.by_id.remove(&id)),
                Ok(Some(container)) => self.put(id, container),
                Err(Fault::Away(why)) => return Err(why),
                // As it was, if it was known; the next look at all tells if it is not.
                Err(Fault::Refused(why)) => tracing::debug!("container {id}: {why}"),
            }
        }
        self.publish.publish(self.known.clone());
        Ok(())
    }

    fn put(&mut self, id: String, mut container: Container) {
        match self.known.by_id.get(&id) {
            Some(then) => container.keep(then),
            None if self.known.by_id.len() >= limits::DOCKER_CONTAINERS_MAX => {
                self.known.more = true;
                return;
            }
            None => {}
        }
        self.known.by_id.insert(id, container);
    }

    /// The container that an event is about, if it matters.
    fn concerned(&self, event: &EventMessage) -> Option<String> {
        let actor = event.actor.as_ref()?;
        let none = HashMap::new();
        let attributes = actor.attributes.as_ref().unwrap_or(&none);
        match event.typ? {
            // What runs inside of it, as its HEALTHCHECK does each second, changes nothing.
            EventMessageTypeEnum::CONTAINER
                if !event.action.as_deref().unwrap_or_default().starts_with("exec_") =>
            {
                let id = actor.id.clone()?;
                let labels = || attributes.keys();
                let matters = self.known.by_id.contains_key(&id)
                    || labels().any(|label| Containers::concerns(&self.config, label));
                matters.then_some(id)
            }
            EventMessageTypeEnum::NETWORK => {
                attributes.get("container").filter(|id| self.known.by_id.contains_key(*id)).cloned()
            }
            _ => None,
        }
    }

    fn say_here(&mut self) {
        let count = self.known.by_id.len();
        match self.away {
            Away::No => {}
            Away::NotYet => tracing::info!(containers = count, "Docker is watched"),
            Away::Said => tracing::info!(containers = count, "Docker answers again"),
        }
        self.away = Away::No;
    }

    fn say_away(&mut self, why: &str) {
        if self.away != Away::Said {
            let message = format!("Docker does not answer: {why}");
            let finding = Diagnostic::new(&DOCKER_AWAY, "providers.docker.endpoint", message)
                .hint("what is known of its containers stays in use, and it is asked again");
            tracing::warn!("{finding}");
        }
        self.away = Away::Said;
    }
}

/// Which events: also those of the last minute, so that nothing is missed between the look at all and
/// the first of them.
fn options() -> EventsOptions {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO).as_secs();
    let since = i64::try_from(now).unwrap_or(i64::MAX) - limits::DOCKER_SINCE;
    let types = vec!["container".to_owned(), "network".to_owned()];
    EventsOptions {
        since: Some(since.to_string()),
        until: None,
        filters: Some(HashMap::from([("type".to_owned(), types)])),
    }
}
