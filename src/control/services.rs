//! Changes of services by the admin API. They are made in the control loop, one after the other and in
//! one order with reloads; each is checked together with everything else that is declared, kept in
//! the [state directory](super::state), and published.
//!
//! The main file is not read for it: what the change is joined with is that file as it was last
//! loaded.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;

use serde_json::Value;
use tokio::sync::oneshot;

use crate::config::sources::{Document, Entity, Further, LeftOut, Main, Owner, Source};
use crate::config::{self, limits};
use crate::control::cores::Cores;
use crate::control::plan::Plan;
use crate::control::reload::{Applied, Ready, Refusal, Served};
use crate::control::state::{self, Pending};
use crate::diagnostics::{Diagnostic, PUSHES_OUT, visible};

pub mod patch;

use self::patch::Patch;

/// What the admin API asks of the control loop, and where the answer goes.
#[derive(Debug)]
pub enum Request {
    /// Read everything again.
    Reload(oneshot::Sender<Result<Applied, Refusal>>),
    /// What would a reload do, of the main file or of this text in its place?
    Plan(Option<Main>, oneshot::Sender<Result<Plan, Refusal>>),
    /// Change a service.
    Service(Box<ServiceChange>, oneshot::Sender<Result<Done, Denied>>),
}

impl Request {
    /// Whether nobody waits for the answer any more.
    fn is_abandoned(&self) -> bool {
        match self {
            Self::Reload(answer) => answer.is_closed(),
            Self::Plan(_, answer) => answer.is_closed(),
            Self::Service(_, answer) => answer.is_closed(),
        }
    }
}

/// A change of one service.
#[derive(Debug)]
pub struct ServiceChange {
    /// Which.
    pub id: Arc<str>,
    /// What is done with it.
    pub verb: Verb,
    /// The tags that it may have (`If-Match`); `None`: any.
    pub expected: Option<Vec<String>>,
    /// Only say what it would do.
    pub dry_run: bool,
}

/// What is done with a service.
#[derive(Debug)]
pub enum Verb {
    /// It is new: an object with its id.
    Create(Value),
    /// This takes its place.
    Replace(Value),
    /// It is changed by this.
    Patch(Patch),
    /// It goes.
    Delete,
}

/// What became of a change.
#[derive(Debug)]
pub enum Done {
    /// This is what is served and kept.
    Stored(Entity),
    /// It is gone.
    Deleted,
    /// This is what it would do.
    Planned(Plan),
}

/// Why a change was not made. Nothing is changed.
#[derive(Debug)]
pub enum Denied {
    /// There is no such service.
    NotFound,
    /// There is one with this id, which the API has created.
    Exists,
    /// Somebody else declares the service.
    Owned {
        /// Who.
        owner: Owner,
        /// Where.
        place: String,
    },
    /// There is no state directory.
    NoStateDir,
    /// The service has another tag than was expected: this one.
    Changed(String),
    /// The state directory has as many services as it may.
    TooMany,
    /// The patch does not fit the service.
    BadPatch(String),
    /// The document has faults, or does not go with the others. Those without a file are about the
    /// document.
    Faults(Vec<Diagnostic>),
    /// It is good but cannot be served or kept.
    Refused(Refusal),
}

impl From<Refusal> for Denied {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

impl Served {
    /// Answers a request of the admin API.
    pub async fn answer(&mut self, request: Request, cores: &Cores) {
        // Who has waited too long was told that it was not done.
        if request.is_abandoned() {
            return;
        }
        // Whoever asked may be gone by the time of the answer; what was done is done.
        match request {
            Request::Reload(answer) => drop(answer.send(self.reload(cores).await)),
            Request::Plan(main, answer) => drop(answer.send(self.plan_of(main).await)),
            Request::Service(change, answer) => {
                drop(answer.send(self.change(*change, cores).await))
            }
        }
    }

    /// What a reload would do.
    async fn plan_of(&self, main: Option<Main>) -> Result<Plan, Refusal> {
        let before = Arc::clone(&self.material);
        let path = self.path().to_owned();
        let inventory = self.inventory();
        let loading = tokio::task::spawn_blocking(move || match main {
            Some(main) => config::compose(main, Further::Read(&inventory), Some(before.as_ref())),
            None => config::load_after(&path, &inventory, Some(before.as_ref())),
        });
        let loaded = loading.await.map_err(|_| Refusal::Faults(Vec::new()))?;
        Ok(self.plan(&Ready::try_from(loaded)?))
    }

    async fn change(&mut self, change: ServiceChange, cores: &Cores) -> Result<Done, Denied> {
        let since = SystemTime::now();
        let ServiceChange { id, verb, expected, dry_run } = change;
        let what = match &verb {
            Verb::Create(_) => "created",
            Verb::Delete => "deleted",
            Verb::Replace(_) | Verb::Patch(_) => "changed",
        };
        self.may_change(&id, &verb, expected.as_deref())?;
        let document = match verb {
            Verb::Create(document) | Verb::Replace(document) => Some(document),
            Verb::Patch(patch) => Some(self.patched(&id, &patch)?),
            Verb::Delete => None,
        };
        let document = document.map(|document| own_members(document, &id));
        let Some(file) = self.state.as_ref().ok_or(Denied::NoStateDir)?.file_of(&id) else {
            let message = "the id is too long for the name of a file";
            let finding = Diagnostic::new(&crate::diagnostics::BAD_ID, "id", message);
            return Err(Denied::Faults(vec![finding]));
        };
        let text = document.as_ref().map(|document| format!("{document:#}\n"));
        let (sources, before) = self.sources_with(&file, text.as_deref())?;
        let mut ready = self.compose(sources, &file).await?;
        ready.checked.workers = self.checked.workers.clone();
        let plan = self.plan(&ready);
        if dry_run {
            return Ok(Done::Planned(plan));
        }
        let pending = state::elsewhere(move || match text {
            Some(text) => Pending::write(file, &text, before),
            None => Ok(Pending::remove(file, before)),
        });
        let pending = pending.await.map_err(Refusal::from)?;
        self.adopt(ready, since, Some(pending), cores).await?;
        let changes = plan.line();
        tracing::info!(version = self.version, %id, what, %changes, "service: done");
        match self.entities.get(&id) {
            Some(entity) => Ok(Done::Stored(entity.clone())),
            None => Ok(Done::Deleted),
        }
    }

    /// Whether the API may do this with this service.
    fn may_change(&self, id: &str, verb: &Verb, expected: Option<&[String]>) -> Result<(), Denied> {
        let creates = matches!(verb, Verb::Create(_));
        match self.entities.get(id) {
            None if !creates => return Err(Denied::NotFound),
            None => {}
            Some(entity) if entity.owner != Owner::Api => {
                let (owner, place) = (entity.owner.clone(), entity.place.clone());
                return Err(Denied::Owned { owner, place });
            }
            Some(_) if creates => return Err(Denied::Exists),
            Some(entity) => {
                let fits = |tags: &[String]| tags.iter().any(|it| it == "*" || *it == entity.etag);
                if !expected.is_none_or(fits) {
                    return Err(Denied::Changed(entity.etag.clone()));
                }
            }
        }
        if self.state.is_none() { Err(Denied::NoStateDir) } else { Ok(()) }
    }

    fn patched(&self, id: &str, patch: &Patch) -> Result<Value, Denied> {
        let entity = self.entities.get(id).ok_or(Denied::NotFound)?;
        patch.apply(&entity.document).map_err(Denied::BadPatch)
    }

    /// The sources with this text, or nothing, in a file of the state directory; and what is there now.
    fn sources_with(
        &self,
        file: &std::path::Path,
        text: Option<&str>,
    ) -> Result<(Vec<Source>, Option<Arc<str>>), Denied> {
        let place: Arc<str> = file.display().to_string().into();
        let mut sources = self.sources.clone();
        if !sources.iter().any(|source| source.owner == Owner::Api) {
            sources.insert(0, Source::empty(Owner::Api));
        }
        let mut before = None;
        for source in sources.iter_mut().filter(|source| source.owner == Owner::Api) {
            let documents = &mut source.documents;
            let at = documents.binary_search_by(|it| it.place.cmp(&place));
            if let Ok(at) = at {
                before = Some(documents.remove(at).text);
            }
            let (Ok(at) | Err(at)) = at;
            if let Some(text) = text {
                if documents.len() >= limits::STORED_SERVICES_MAX {
                    return Err(Denied::TooMany);
                }
                documents.insert(at, Document::whole(Arc::clone(&place), text.into()));
            }
        }
        Ok((sources, before))
    }

    /// Checks the sources together with the main file.
    async fn compose(&self, sources: Vec<Source>, file: &std::path::Path) -> Result<Ready, Denied> {
        let (main, before) = (self.main.clone(), Arc::clone(&self.material));
        let composing = tokio::task::spawn_blocking(move || {
            config::compose(main, Further::Given(&sources), Some(before.as_ref()))
        });
        let loaded = composing.await.map_err(|_| Denied::Faults(Vec::new()))?;
        let own = file.display().to_string();
        let ours = |mut faults: Vec<Diagnostic>| {
            faults.retain(|it| it.refuses() || it.file.as_deref() == Some(&*own));
            for fault in faults.iter_mut().filter(|it| it.file.as_deref() == Some(&*own)) {
                // The caller has not seen the text that its lines are of.
                (fault.file, fault.line, fault.provider) = (None, None, None);
            }
            Denied::Faults(faults)
        };
        // It must be served itself, and must not take the place of another.
        if loaded.left_out.iter().any(|left| *left.place == *own) {
            return Err(ours(loaded.diagnostics));
        }
        let is_new = |left: &&LeftOut| !self.left_out.contains(left);
        if let Some(pushed_out) = loaded.left_out.iter().find(is_new) {
            let LeftOut { owner, id, why, .. } = pushed_out;
            let id = visible(id.as_deref().unwrap_or_default());
            let message = format!("service `{id}` of {owner} could not be served with it: {why}");
            let finding = Diagnostic::new(&PUSHES_OUT, "", message);
            return Err(Denied::Faults(vec![finding.hint("choose another port or name")]));
        }
        Ready::try_from(loaded).map_err(|refusal| match refusal {
            Refusal::Faults(faults) => ours(faults),
            other => Denied::Refused(other),
        })
    }
}

/// A document as it is kept: with its id, which is the first member where it was not given, and
/// without what the API adds.
fn own_members(document: Value, id: &str) -> Value {
    let Value::Object(mut members) = document else { return document };
    members.shift_remove("_meta");
    let id = Value::from(id);
    match members.get_mut("id") {
        Some(known) => *known = id,
        None => {
            members.shift_insert(0, "id".into(), id);
        }
    }
    Value::Object(members)
}

/// What a plan is asked for: a text in the place of a file.
pub fn main_of(path: &std::path::Path, text: String) -> Main {
    let dir = path.parent().map_or_else(|| PathBuf::from("/"), PathBuf::from);
    Main { place: path.display().to_string().into(), text: text.into(), dir }
}
