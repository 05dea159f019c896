//! Tyk's API definitions, `protocol` `tcp` and `tls`.

use super::Context;
use crate::config::sources::{Owner, Source};

/// What the API definitions declare.
pub fn source(context: &Context<'_>) -> Option<Source> {
    context.providers.tyk.as_ref()?;
    Some(Source::empty(Owner::Provider("tyk".into())))
}
