//! A configuration that can be served, and the state directory that goes with it.

use std::path::Path;
use std::sync::Arc;

use super::Refusal;
use crate::config::checked::Checked;
use crate::config::sources::{self, Entities, Further, Main, Source};
use crate::config::{self, Loaded};
use crate::control::state::{self, Pending, StateDir, StateError};
use crate::diagnostics::Diagnostic;
use crate::tls::material::Material;

/// A configuration without errors.
#[derive(Debug)]
pub(in crate::control) struct Ready {
    pub(in crate::control) checked: Checked,
    pub(in crate::control) material: Arc<Material>,
    pub(in crate::control) main: Main,
    pub(in crate::control) sources: Vec<Source>,
    pub(in crate::control) entities: Entities,
    pub(in crate::control) diagnostics: Vec<Diagnostic>,
}

impl TryFrom<Loaded> for Ready {
    type Error = Refusal;

    fn try_from(loaded: Loaded) -> Result<Self, Refusal> {
        let Loaded { checked, material, diagnostics, main, sources, entities } = loaded;
        let material = Arc::new(material);
        match (checked, main) {
            (Some(checked), Some(main)) => {
                Ok(Self { checked, material, main, sources, entities, diagnostics })
            }
            _ => Err(Refusal::Faults(diagnostics)),
        }
    }
}

/// Takes the state directory of a configuration, unless it is the one that is `open` already. What is
/// in it is read again once it is ours: its last holder may have changed it meanwhile.
pub(super) fn open_state(
    open: Option<&Path>,
    loaded: Loaded,
    before: Option<&Material>,
) -> Result<(Option<Option<StateDir>>, Loaded), Refusal> {
    let Some(wanted) = loaded.checked.as_ref().map(|checked| checked.state_dir.as_deref()) else {
        return Ok((None, loaded));
    };
    if wanted == open {
        return Ok((None, loaded));
    }
    let Some(wanted) = wanted else { return Ok((Some(None), loaded)) };
    let state = StateDir::open(wanted)?;
    let read = sources::read_state(wanted, &mut Vec::new());
    let same = loaded.sources.iter().any(|source| source.documents == read.documents);
    let loaded = match loaded.main {
        Some(main) if !same => config::compose(main, Further::Read, before),
        main => Loaded { main, ..loaded },
    };
    Ok((Some(Some(state)), loaded))
}

/// Makes a change of a file, which may take a disk a while.
pub(super) async fn commit(pending: Pending) -> Result<(), StateError> {
    state::elsewhere(move || pending.commit()).await
}
