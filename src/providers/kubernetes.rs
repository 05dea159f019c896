//! Kubernetes: Gateway API (`GatewayClass`, `Gateway`, `TCPRoute`, `TLSRoute`, `ReferenceGrant`,
//! `BackendTLSPolicy`), Kong's `TCPIngress`, and what they refer to (`Service`, `EndpointSlice`,
//! `Secret`, `ConfigMap`, `Namespace`).
//!
//! ```text
//! files, or a cluster ──▶ Objects ──▶ translate ──▶ Source (services, certificates, findings)
//!                                               └─▶ statuses, which a cluster is told
//! ```
//!
//! [`translate`] is a pure function: it knows neither files nor a cluster.

use serde_json::json;

use std::sync::Arc;

use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::foreign::{File, Format};
use super::kong::{self, Listen};
use super::{Context, Outcome, Publisher};
use crate::config::document::{Certificate, Kubernetes, Secret};
use crate::config::sources::{Owner, Source};
use crate::diagnostics::Diagnostic;

mod backends;
#[cfg(feature = "kubernetes")]
pub mod cluster;
mod gateways;
mod hostname;
mod ingresses;
mod objects;
mod plan;
mod policies;
mod refs;
mod routes;
pub mod specs;
mod status;

pub use self::objects::{Kept, Key, Kind, Meta, Object, Objects};
pub use self::status::{Condition, Status};

/// The name by which a `GatewayClass` says that it is ours.
pub const CONTROLLER_NAME: &str = "thalweg.dev/gateway-controller";

/// What objects do not say.
#[derive(Debug, Clone)]
pub struct Options {
    /// The `GatewayClass` whose gateways are served; `*`: every one.
    pub gateway_class: String,
    /// The ingress class whose `TCPIngress`es are served; `*`: every one, and those without one.
    pub ingress_class: String,
    /// Who we are in statuses, and in `GatewayClass`es.
    pub controller_name: String,
    /// Serve the class even if its `GatewayClass` says that it is another controller's: for files,
    /// where nobody else can be meant.
    pub adopts: bool,
    /// The addresses that may be listened on; `None`: any port, on every IPv4 address.
    pub stream_listen: Option<Vec<Listen>>,
    /// Where clients find the proxy, as statuses show it: IP addresses and host names.
    pub addresses: Vec<String>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            gateway_class: "thalweg".into(),
            ingress_class: "thalweg".into(),
            controller_name: CONTROLLER_NAME.into(),
            adopts: false,
            stream_listen: None,
            addresses: Vec::new(),
        }
    }
}

/// What objects mean.
#[derive(Debug)]
pub struct Translation {
    /// The services, their certificates, and what was found.
    pub source: Source,
    /// What became of the objects that are ours, in a fixed order.
    pub statuses: Vec<Status>,
}

/// Says what objects mean.
pub fn translate(objects: &Objects, options: &Options) -> Translation {
    translated(objects, options).0
}

fn translated(objects: &Objects, options: &Options) -> (Translation, Taken) {
    let mut source = Source::empty(Owner::Provider("kubernetes".into()));
    let found = &mut source.diagnostics;
    found.extend(objects.faults.values().flatten().cloned());
    let policies = policies::Policies::new(objects, found);
    let backends = backends::Backends::new(objects, &policies);
    let mut plan = plan::Plan::default();
    let mut gateways = gateways::Gateways::new(objects, options, found);
    let routes = routes::attach(objects, options, &mut gateways, &backends, &mut plan, found);
    let mut ingresses = ingresses::Ingresses::new(objects, options, &backends);
    let of_ingresses = ingresses.attach(&mut plan);
    found.append(&mut ingresses.found);

    let written = plan.write(options, &mut source);
    let mut pairs = gateways.certificates.clone();
    pairs.extend(ingresses.certificates);
    // Whatever is named is given; targets name some too.
    source.certificates = pairs
        .into_iter()
        .filter(|(name, _)| {
            written.certificates.contains(name)
                || source.documents.iter().any(|it| it.text.contains(&json!(name).to_string()))
        })
        .map(|(name, pair)| certificate(name, pair))
        .collect();

    let mut statuses = gateways.statuses(objects, options);
    statuses.extend(routes.statuses);
    statuses.extend(policies.statuses(objects, options, &routes.uses));
    statuses.extend(of_ingresses);
    (Translation { source, statuses }, written.taken)
}

/// Addresses that services have.
type Taken = std::collections::HashSet<(std::net::IpAddr, u16)>;

fn certificate(name: String, pair: refs::Pair) -> Certificate {
    let refs::Pair { certificate, key } = pair;
    Certificate {
        name: Some(name),
        cert_pem: Some(certificate),
        key_pem: Some(Secret(key)),
        ..Certificate::default()
    }
}

/// What manifests, clusters and `stream_listen` declare.
pub fn sources(context: &Context<'_>) -> Vec<Source> {
    let mut found = Vec::new();
    let config = context.providers.kubernetes.as_ref();
    let files = config.filter(|it| !is_live(it)).map(|it| {
        context.files.get(&it.files, context.dir, "providers.kubernetes.files", &mut found)
    });
    let files = files.unwrap_or_default();
    let stream_listen = kong::listens(context.providers.kong.as_ref(), &files, &mut found);
    let mut sources = Vec::new();
    let mut taken = Taken::default();
    if let Some(config) = config {
        let known = context.inventory.kubernetes.clone().filter(|_| is_live(config));
        let objects = known.unwrap_or_else(|| Arc::new(objects_of(&files, &mut found)));
        let (translation, addresses) =
            translated(&objects, &options(config, stream_listen.clone()));
        taken = addresses;
        sources.push(translation.source);
    }
    sources.extend(stream_listen.map(|listens| kong::unattached(&listens, &taken)));
    if let Some(first) = sources.first_mut() {
        found.append(&mut first.diagnostics);
        first.diagnostics = found;
    }
    sources
}

/// What objects do not say, by the configuration and by what Kong listens on.
pub fn options(config: &Kubernetes, stream_listen: Option<Vec<Listen>>) -> Options {
    Options {
        gateway_class: config.gateway_class.clone(),
        ingress_class: config.ingress_class.clone(),
        adopts: !is_live(config),
        stream_listen,
        ..Options::default()
    }
}

/// The objects that manifests have.
fn objects_of(files: &[File], found: &mut Vec<Diagnostic>) -> Objects {
    let mut objects = Objects::default();
    for file in files.iter().filter(|file| !kong::is_settings(file)) {
        for part in file.parts(Format::Yaml, found) {
            objects.insert(part, found);
        }
    }
    objects
}

/// Whether a cluster is meant: one is named, or there are no files instead.
pub fn is_live(config: &Kubernetes) -> bool {
    config.kubeconfig.is_some() || config.files.is_empty()
}

/// What must be the same for a cluster to be watched in the same way.
pub fn reached_by(config: &Kubernetes) -> String {
    format!("{config:?}")
}

/// Watches a cluster until `outcomes` is closed, or it is aborted.
#[cfg_attr(not(feature = "kubernetes"), allow(unused_variables))]
pub fn start(
    config: Kubernetes,
    publisher: Publisher<Objects>,
    outcomes: watch::Receiver<Option<Arc<Outcome>>>,
) -> JoinHandle<()> {
    #[cfg(feature = "kubernetes")]
    let running = cluster::watch(config, publisher, outcomes);
    #[cfg(not(feature = "kubernetes"))]
    let running = async {};
    tokio::spawn(running)
}

#[cfg(test)]
mod tests;
