//! Kubernetes: Gateway API (`GatewayClass`, `Gateway`, `TCPRoute`, `TLSRoute`, `ReferenceGrant`),
//! `TCPIngress`, and what they refer to (`Service`, `EndpointSlice`, `Secret`).

use std::sync::Arc;

use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::{Context, Outcome, Publisher};
use crate::config::document::Kubernetes;
use crate::config::sources::{Owner, Source};

/// The objects of a cluster that matter here.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Objects {}

/// What manifests and clusters declare.
pub fn source(context: &Context<'_>) -> Option<Source> {
    context.providers.kubernetes.as_ref()?;
    Some(Source::empty(Owner::Provider("kubernetes".into())))
}

/// Whether a cluster is meant: one is named, or there are no files instead.
pub fn is_live(config: &Kubernetes) -> bool {
    config.kubeconfig.is_some() || config.files.is_empty()
}

/// What must be the same for a cluster to be the same.
pub fn reached_by(config: &Kubernetes) -> String {
    format!("{:?}", config.kubeconfig)
}

/// Watches a cluster until `outcomes` is closed, or it is aborted.
pub fn start(
    _config: Kubernetes,
    _publisher: Publisher<Objects>,
    _outcomes: watch::Receiver<Option<Arc<Outcome>>>,
) -> JoinHandle<()> {
    tokio::spawn(async {})
}
