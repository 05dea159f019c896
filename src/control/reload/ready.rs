//! A configuration that can be served, and the state directory that goes with it.

use std::path::Path;
use std::sync::Arc;

use super::Refusal;
use crate::config::checked::Checked;
use crate::config::sources::{self, Entities, Further, LeftOut, Main, Source};
use crate::config::{self, Loaded};
use crate::control::state::{self, Pending, StateDir, StateError};
use crate::diagnostics::Diagnostic;
use crate::providers::Inventory;
use crate::providers::foreign::Files;
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
    pub(in crate::control) left_out: Vec<LeftOut>,
    pub(in crate::control) files: Arc<Files>,
}

impl TryFrom<Loaded> for Ready {
    type Error = Refusal;

    fn try_from(loaded: Loaded) -> Result<Self, Refusal> {
        let Loaded { checked, material, diagnostics, main, sources, entities, left_out, files } =
            loaded;
        let material = Arc::new(material);
        match (checked, main) {
            (Some(checked), Some(main)) => Ok(Self {
                checked,
                material,
                main,
                sources,
                entities,
                diagnostics,
                left_out,
                files,
            }),
            _ => Err(Refusal::Faults(diagnostics)),
        }
    }
}

/// Takes the state directory of a configuration, unless it is the one that is `open` already. What is
/// in it is read again once it is ours: its last holder may have changed it meanwhile.
pub(super) fn open_state(
    open: Option<&Path>,
    loaded: Loaded,
    inventory: &Inventory,
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
        Some(main) if !same => config::compose(main, Further::Read(inventory), before),
        main => Loaded { main, ..loaded },
    };
    Ok((Some(Some(state)), loaded))
}

/// Makes a change of a file, which may take a disk a while.
pub(super) async fn commit(pending: Pending) -> Result<(), StateError> {
    state::elsewhere(move || pending.commit()).await
}
