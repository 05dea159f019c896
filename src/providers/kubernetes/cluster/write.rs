//! Writes statuses, one at a time and with pauses, while this proxy is the leader.
//!
//! A write names the version of the object that it was made from. Where another controller was
//! faster the API server refuses it (409); the object is then read again, what is to be said is
//! worked into what it says now, and that is written.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

use k8s_openapi::jiff::{self, Timestamp};
use kube::Client;
use kube::api::{Api, DynamicObject, Patch, PatchParams};
use serde_json::{Value, json};
use tokio::sync::{Notify, watch};
use tokio::time::{sleep, timeout};

use super::super::{Key, Kind};
use super::follow::Live;
use super::kinds::Served;
use super::problem::{Problem, Told, within};
use super::status::{Wish, changes};
use crate::config::limits;

/// Which object.
pub(super) type Id = (Kind, Key);

/// What is to be said of each object.
pub(super) type Wishes = BTreeMap<Id, Wish>;

/// What the watches and the writer both know. Held for moments, and by one thread.
#[derive(Debug, Default)]
pub(super) struct Board {
    posted: Mutex<Posted>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct Posted {
    live: HashMap<Id, Live>,
    served: Served,
    wishes: Arc<Wishes>,
}

impl Board {
    fn look<T>(&self, at: impl FnOnce(&mut Posted) -> T) -> T {
        at(&mut self.posted.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn change<T>(&self, change: impl FnOnce(&mut Posted) -> T) -> T {
        let done = self.look(change);
        self.changed.notify_one();
        done
    }

    /// These kinds are served.
    pub fn serves(&self, served: Served) {
        self.change(|posted| posted.served = served);
    }

    /// An object says this.
    pub fn is(&self, id: Id, live: Live) {
        self.change(|posted| posted.live.insert(id, live));
    }

    /// An object is gone.
    pub fn is_not(&self, id: &Id) {
        self.look(|posted| posted.live.remove(id));
    }

    /// These are all the objects of a kind.
    pub fn are(&self, kind: Kind, all: impl Iterator<Item = (Key, Live)>) {
        self.change(|posted| {
            posted.live.retain(|(of, _), _| *of != kind);
            posted.live.extend(all.map(|(key, live)| ((kind, key), live)));
        });
    }

    /// This is to be said from now on.
    pub fn wish(&self, wishes: Wishes) {
        self.change(|posted| posted.wishes = Arc::new(wishes));
    }
}

/// What was written and what became of it: a server may complete what it is given.
#[derive(Debug, PartialEq)]
struct Settled {
    wish: Wish,
    became: Value,
}

/// The one who writes.
#[allow(missing_debug_implementations, reason = "the client has none")]
pub(super) struct Writer {
    client: Client,
    board: Arc<Board>,
    settled: HashMap<Id, Settled>,
    told: HashMap<Id, Told>,
    allowed: HashMap<Kind, Told>,
}

impl Writer {
    /// One that writes what is on the board.
    pub fn new(client: Client, board: Arc<Board>) -> Self {
        let (settled, told, allowed) = (HashMap::new(), HashMap::new(), HashMap::new());
        Self { client, board, settled, told, allowed }
    }

    /// Writes what is to be written while `leads` says so.
    pub async fn run(mut self, mut leads: watch::Receiver<bool>) {
        let board = Arc::clone(&self.board);
        while leads.wait_for(|leads| *leads).await.is_ok() {
            if self.pass(&leads).await {
                tokio::select! {
                    () = board.changed.notified() => {}
                    _ = leads.changed() => {}
                }
            } else {
                let _ = timeout(limits::STATUS_AGAIN, leads.changed()).await;
            }
        }
    }

    /// Writes all that differs; true if nothing is left.
    async fn pass(&mut self, leads: &watch::Receiver<bool>) -> bool {
        let board = Arc::clone(&self.board);
        let (wishes, due) = board.look(|posted| {
            let differs = |(id, wish): &(&Id, &Wish)| {
                posted.live.get(*id).is_some_and(|live| self.differs(id, wish, live))
            };
            let due: Vec<Id> =
                posted.wishes.iter().filter(differs).map(|(id, _)| id.clone()).collect();
            (Arc::clone(&posted.wishes), due)
        });
        self.settled.retain(|id, _| wishes.contains_key(id));
        self.told.retain(|id, _| wishes.contains_key(id));
        let mut all_well = true;
        for id in due {
            if !*leads.borrow() {
                return true;
            }
            let Some(wish) = wishes.get(&id) else { continue };
            let (kind, key) = &id;
            let what = format!("status of {} {key}", kind.word());
            match self.write(&id, wish).await {
                Ok(()) => {
                    self.told.entry(id.clone()).or_default().well(&what);
                    self.allowed.entry(*kind).or_default().well(&what);
                }
                Err(Problem::NotFound) => {} // it is gone; the watch will say so
                Err(problem @ Problem::Forbidden(_)) => {
                    all_well = false;
                    // Once for the kind, not for each object.
                    self.allowed.entry(*kind).or_default().wrong(&what, problem, || hint(*kind));
                }
                Err(problem) => {
                    all_well = false;
                    self.told.entry(id.clone()).or_default().wrong(&what, problem, String::new);
                }
            }
            sleep(limits::STATUS_PAUSE).await;
        }
        all_well
    }

    fn differs(&self, id: &Id, wish: &Wish, live: &Live) -> bool {
        let settled = self.settled.get(id);
        let is_settled = settled.is_some_and(|it| it.wish == *wish && it.became == live.status);
        !is_settled && changes(&live.status, wish, "").is_some()
    }

    /// Writes one status, over again as long as others are faster.
    async fn write(&mut self, id: &Id, wish: &Wish) -> Result<(), Problem> {
        let (kind, key) = id;
        let known = self
            .board
            .look(|posted| Some((posted.served.get(kind)?.clone(), posted.live.get(id)?.clone())));
        let (resource, mut live) = known.ok_or(Problem::NotFound)?;
        let api: Api<DynamicObject> = match key.namespace.as_str() {
            "" => Api::all_with(self.client.clone(), &resource),
            namespace => Api::namespaced_with(self.client.clone(), namespace, &resource),
        };
        let manager = Some(super::MANAGER.into());
        let params = PatchParams { field_manager: manager, ..PatchParams::default() };
        let mut conflicts = 0;
        while let Some(changes) = changes(&live.status, wish, &now()) {
            let patch = Patch::Merge(json!({
                "apiVersion": resource.api_version,
                "kind": resource.kind,
                "metadata": { "resourceVersion": live.version },
                "status": changes,
            }));
            let written = api.patch_status(&key.name, &params, &patch);
            match within(limits::CLUSTER_REQUEST, written).await {
                Ok(object) => {
                    live = live_of(object);
                    let became = live.status.clone();
                    self.settled.insert(id.clone(), Settled { wish: wish.clone(), became });
                    self.learn(id, live);
                    break;
                }
                Err(Problem::Conflict) if conflicts < limits::STATUS_CONFLICTS_MAX => {
                    conflicts += 1;
                    live = live_of(within(limits::CLUSTER_REQUEST, api.get(&key.name)).await?);
                }
                Err(problem) => return Err(problem),
            }
        }
        Ok(())
    }

    /// Takes in what the server answered, unless a watch has told of something newer meanwhile.
    fn learn(&self, id: &Id, live: Live) {
        let newer = |one: &str, other: &str| match (one.parse::<u64>(), other.parse::<u64>()) {
            (Ok(one), Ok(other)) => one > other,
            _ => true,
        };
        self.board.look(|posted| {
            if let Some(known) = posted.live.get_mut(id)
                && newer(&live.version, &known.version)
            {
                *known = live;
            }
        });
    }
}

fn live_of(object: DynamicObject) -> Live {
    let version = object.metadata.resource_version.unwrap_or_default();
    let mut data = object.data;
    let status = data.as_object_mut().and_then(|data| data.remove("status")).unwrap_or_default();
    Live { version, status }
}

/// The time as conditions have it, as `2022-11-14T19:48:51Z`.
fn now() -> String {
    jiff::fmt::strtime::format("%Y-%m-%dT%H:%M:%SZ", Timestamp::now()).unwrap_or_default()
}

fn hint(kind: Kind) -> String {
    format!(
        "grant the verb `patch` on `{}/status` of the API group `{}`, as \
         config/kubernetes/rbac.yaml does",
        kind.plural(),
        kind.group()
    )
}
