//! Kubernetes: Gateway API (`GatewayClass`, `Gateway`, `TCPRoute`, `TLSRoute`, `ReferenceGrant`),
//! `TCPIngress`, and what they refer to (`Service`, `EndpointSlice`, `Secret`).

use super::Context;
use crate::config::sources::{Owner, Source};

/// The objects of a cluster that matter here.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Objects {}

/// What manifests and clusters declare.
pub fn source(context: &Context<'_>) -> Option<Source> {
    context.providers.kubernetes.as_ref()?;
    Some(Source::empty(Owner::Provider("kubernetes".into())))
}
