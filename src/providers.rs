//! What other systems' documents mean. Each provider reads documents of one dialect and makes native
//! services of them, as text: what it makes is checked and compiled as if somebody had written it, and
//! `thalweg import` prints it.
//!
//! ```text
//! files ──▶ foreign ──▶ tyk, sozune, kubernetes ──▶ Source { documents, certificates, diagnostics }
//! Inventory (what live providers know) ──▶            │
//!                                     config::sources ▼ one composition, one table
//! ```
//!
//! # Rules
//! - A translation is a pure function of files and of the [`Inventory`]: the same in gives the same
//!   out, in the same order, with the same ids. It opens files that it was told of, and nothing else.
//! - A fault costs what it is in: a service that cannot be is left out with a diagnostic, the others
//!   run. Only what stands in the main file refuses a configuration.
//! - Where a document and its system disagree, the document's promise holds. A setting that would
//!   weaken security if it were left out is an error, never left out.
//! - Ids of services begin with the provider's word and a slash, as `tyk/sentinel`: no two providers
//!   meet, and people see whose they are.

use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;

use tokio::sync::{mpsc, watch};

use crate::config::document::{Listener, Providers};
use crate::config::sources::Source;
use crate::diagnostics::Declarer;

pub mod docker;
pub mod foreign;
pub mod kong;
pub mod kubernetes;
pub mod sozune;
pub mod tyk;
mod yaml;

/// What live providers know now; `None` where one has not heard yet, or there is none.
#[derive(Debug, Clone, Default)]
pub struct Inventory {
    /// The containers of Docker.
    pub docker: Option<Arc<docker::Containers>>,
    /// The objects of a cluster.
    pub kubernetes: Option<Arc<kubernetes::Objects>>,
}

/// How a live provider tells what it knows: the last counts.
#[derive(Debug)]
pub struct Publisher<T> {
    known: watch::Sender<Option<Arc<T>>>,
    /// Full: the control loop has been told already and will look.
    changed: mpsc::Sender<()>,
}

impl<T: PartialEq> Publisher<T> {
    /// One, and where what it tells is read.
    pub fn new(changed: mpsc::Sender<()>) -> (Self, watch::Receiver<Option<Arc<T>>>) {
        let (known, reader) = watch::channel(None);
        (Self { known, changed }, reader)
    }

    /// Tells the whole of what is known now; nothing happens if that is what was told last.
    pub fn publish(&self, all: T) {
        let changed = self.known.send_if_modified(|known| {
            let differs = known.as_deref() != Some(&all);
            if differs {
                *known = Some(Arc::new(all));
            }
            differs
        });
        if changed {
            let _ = self.changed.try_send(());
        }
    }

    /// Waits until nobody wants to know any more.
    pub async fn unwanted(&self) {
        self.known.closed().await;
    }
}

/// What became of it: sent back to live providers when it is served.
#[derive(Debug, Clone, Default)]
pub struct Outcome {
    /// `providers` of the main file as it was then.
    pub providers: Providers,
    /// What was translated.
    pub inventory: Inventory,
    /// The ids of services that providers made and that are not served: they do not go with others,
    /// or their port is not whitelisted; with the reason in words.
    pub left_out: HashSet<(String, String)>,
}

/// All that a translation is made from.
#[derive(Debug, Clone, Copy)]
pub struct Context<'a> {
    /// `providers` of the main file.
    pub providers: &'a Providers,
    /// `listeners` of the main file.
    pub listeners: &'a [Listener],
    /// Where relative paths of the main file start.
    pub dir: &'a Path,
    /// What files say.
    pub files: &'a foreign::Files,
    /// What live providers know.
    pub inventory: &'a Inventory,
}

/// What all providers declare, in a fixed order.
pub fn sources(context: &Context<'_>) -> Vec<Source> {
    let mut sources = Vec::new();
    sources.extend(tyk::source(context));
    sources.extend(sozune::sources(context));
    sources.extend(kubernetes::sources(context));
    for source in &mut sources {
        let provider = Declarer::named(source.owner.word());
        for finding in &mut source.diagnostics {
            // What stands in the main file is the operator's.
            finding.provider = provider.filter(|_| finding.file.is_some());
        }
    }
    sources
}

/// Sets a member of an object.
fn set(object: &mut serde_json::Value, key: &str, value: impl serde::Serialize) {
    if let serde_json::Value::Object(members) = object {
        members.insert(key.to_owned(), serde_json::json!(value));
    }
}
