//! All objects that matter, from files or from a cluster: typed, by kind, namespace and name.
//!
//! Objects of both origins enter by the same door: a [`Part`], which is decoded into what is read of
//! it. Two are equal if what is read of them is; so nothing is translated anew because a status, a
//! `resourceVersion` or a managed field has changed.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::specs::{
    BackendTlsPolicy, ConfigMap, EndpointSlice, GATEWAY_GROUP, Gateway, GatewayClass, IngressClass,
    Namespace, ReferenceGrant, Route, Secret, Service, TcpIngress,
};
use crate::diagnostics::{BAD_OBJECT, Code, Diagnostic, OBJECT_TWICE, UNKNOWN_KIND, visible};
use crate::providers::foreign::Part;

/// A kind of object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[allow(missing_docs, reason = "they are what they are called")]
pub enum Kind {
    GatewayClass,
    Gateway,
    TcpRoute,
    TlsRoute,
    ReferenceGrant,
    BackendTlsPolicy,
    Service,
    EndpointSlice,
    Secret,
    ConfigMap,
    Namespace,
    TcpIngress,
    IngressClass,
}

impl Kind {
    /// Every kind that is read.
    pub const ALL: [Self; 13] = [
        Self::GatewayClass,
        Self::Gateway,
        Self::TcpRoute,
        Self::TlsRoute,
        Self::ReferenceGrant,
        Self::BackendTlsPolicy,
        Self::Service,
        Self::EndpointSlice,
        Self::Secret,
        Self::ConfigMap,
        Self::Namespace,
        Self::TcpIngress,
        Self::IngressClass,
    ];

    /// As `kind` in a manifest.
    pub fn word(self) -> &'static str {
        self.names().0
    }

    /// As in the address of the API, and in ids.
    pub fn plural(self) -> &'static str {
        self.names().1
    }

    /// Its group; empty: the core group.
    pub fn group(self) -> &'static str {
        self.names().2
    }

    /// The versions that are read, the preferred one first.
    pub fn versions(self) -> &'static [&'static str] {
        self.names().3
    }

    /// Whether its objects are in a namespace.
    pub fn is_namespaced(self) -> bool {
        !matches!(self, Self::GatewayClass | Self::Namespace | Self::IngressClass)
    }

    fn names(self) -> (&'static str, &'static str, &'static str, &'static [&'static str]) {
        const GATEWAY: &str = GATEWAY_GROUP;
        match self {
            Self::GatewayClass => ("GatewayClass", "gatewayclasses", GATEWAY, &["v1", "v1beta1"]),
            Self::Gateway => ("Gateway", "gateways", GATEWAY, &["v1", "v1beta1"]),
            Self::TcpRoute => ("TCPRoute", "tcproutes", GATEWAY, &["v1", "v1alpha2"]),
            Self::TlsRoute => ("TLSRoute", "tlsroutes", GATEWAY, &["v1", "v1alpha3", "v1alpha2"]),
            Self::ReferenceGrant => {
                ("ReferenceGrant", "referencegrants", GATEWAY, &["v1", "v1beta1", "v1alpha2"])
            }
            Self::BackendTlsPolicy => {
                ("BackendTLSPolicy", "backendtlspolicies", GATEWAY, &["v1", "v1alpha3"])
            }
            Self::Service => ("Service", "services", "", &["v1"]),
            Self::EndpointSlice => ("EndpointSlice", "endpointslices", "discovery.k8s.io", &["v1"]),
            Self::Secret => ("Secret", "secrets", "", &["v1"]),
            Self::ConfigMap => ("ConfigMap", "configmaps", "", &["v1"]),
            Self::Namespace => ("Namespace", "namespaces", "", &["v1"]),
            Self::TcpIngress => {
                ("TCPIngress", "tcpingresses", "configuration.konghq.com", &["v1beta1"])
            }
            Self::IngressClass => ("IngressClass", "ingressclasses", "networking.k8s.io", &["v1"]),
        }
    }

    /// The kind of a manifest, by its group and kind.
    pub fn of(group: &str, word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.word() == word && kind.group() == group)
    }
}

/// Which object of a kind.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    /// Empty for kinds that are in none.
    pub namespace: String,
    /// The name.
    pub name: String,
}

impl Key {
    /// The one in a namespace with a name.
    pub fn new(namespace: &str, name: &str) -> Self {
        Self { namespace: namespace.to_owned(), name: name.to_owned() }
    }
}

impl std::fmt::Display for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.namespace.as_str() {
            "" => f.write_str(&self.name),
            namespace => write!(f, "{namespace}/{}", self.name),
        }
    }
}

/// What every object has.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Meta {
    /// Which it is.
    pub key: Key,
    /// As in the manifest, as `gateway.networking.k8s.io/v1`.
    pub api_version: String,
    /// Which state of its specification it is; 1 where nobody counts.
    pub generation: i64,
    /// When it was created (RFC 3339, UTC); empty where nobody knows.
    pub created: String,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Its annotations.
    pub annotations: BTreeMap<String, String>,
}

impl Meta {
    /// What objects are ordered by where the older one wins: those without a time come last, and the
    /// name decides among equals.
    pub fn age(&self) -> (bool, &str, &Key) {
        (self.created.is_empty(), &self.created, &self.key)
    }
}

/// An object.
#[derive(Debug)]
pub struct Object<T> {
    /// What every object has.
    pub meta: Meta,
    /// What it says.
    pub body: T,
    /// Where it is from, for findings; nothing is compared of it.
    pub origin: Part,
}

impl<T: PartialEq> PartialEq for Object<T> {
    fn eq(&self, other: &Self) -> bool {
        self.meta == other.meta && self.body == other.body
    }
}

impl<T> Object<T> {
    /// A finding at a path in it, as `spec.rules[0].port`.
    pub fn finding(
        &self,
        code: &'static Code,
        path: &str,
        message: impl Into<String>,
    ) -> Diagnostic {
        self.origin.finding(code, path, message)
    }
}

/// The objects of a kind.
pub type Kept<T> = BTreeMap<Key, Arc<Object<T>>>;

/// All objects that matter. Cheap to clone.
#[derive(Debug, Clone, Default, PartialEq)]
#[allow(missing_docs, reason = "they are what they are called")]
pub struct Objects {
    pub gateway_classes: Kept<GatewayClass>,
    pub gateways: Kept<Gateway>,
    pub tcp_routes: Kept<Route>,
    pub tls_routes: Kept<Route>,
    pub reference_grants: Kept<ReferenceGrant>,
    pub backend_tls_policies: Kept<BackendTlsPolicy>,
    pub services: Kept<Service>,
    pub endpoint_slices: Kept<EndpointSlice>,
    pub secrets: Kept<Secret>,
    pub config_maps: Kept<ConfigMap>,
    pub namespaces: Kept<Namespace>,
    pub tcp_ingresses: Kept<TcpIngress>,
    pub ingress_classes: Kept<IngressClass>,
    /// What was wrong with objects, which are not among the others then.
    pub faults: BTreeMap<(Kind, Key), Vec<Diagnostic>>,
}

/// The metadata that are read.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Head {
    api_version: String,
    metadata: HeadMeta,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct HeadMeta {
    name: String,
    namespace: Option<String>,
    generation: Option<i64>,
    creation_timestamp: Option<String>,
    labels: BTreeMap<String, String>,
    annotations: BTreeMap<String, String>,
}

impl Objects {
    /// Takes an object of a file. What is no object that is read gives a finding; one whose shape is
    /// wrong is left out, and told in [`faults`](Self::faults). The last of two with one name counts.
    pub fn insert(&mut self, mut part: Part, found: &mut Vec<Diagnostic>) {
        part.drop_nulls();
        let (Some(version), Some(word)) = (part.text_at(&["apiVersion"]), part.text_at(&["kind"]))
        else {
            let message = "`apiVersion` and `kind` are missing: this is no object of Kubernetes";
            found.push(part.finding(&BAD_OBJECT, "", message));
            return;
        };
        let (group, version) = version.split_once('/').unwrap_or(("", version));
        let Some(kind) = Kind::of(group, word) else {
            let message = format!("`{}` of `{}` is not used", visible(word), visible(group));
            found.push(part.finding(&UNKNOWN_KIND, "kind", message));
            return;
        };
        if !kind.versions().contains(&version) {
            let versions = kind.versions().join(", ");
            let message = format!("`{word}` is read in the versions {versions} only");
            found.push(part.finding(&BAD_OBJECT, "apiVersion", message));
            return;
        }
        let line = part.line();
        let place = Arc::clone(&part.place);
        if let Some((key, true)) = self.take(kind, part) {
            let message = format!("{} {key} is there twice; this one counts", kind.word());
            let mut finding = Diagnostic::new(&OBJECT_TWICE, "metadata.name", message);
            finding.line = Some(line).filter(|line| *line > 0);
            found.push(finding.in_file(&place));
        }
    }

    /// Takes an object that an API has sent, instead of what was known of it.
    pub fn put(&mut self, kind: Kind, value: &serde_json::Value) {
        let text = |key: &str| value.pointer(key).and_then(|it| it.as_str()).unwrap_or_default();
        let key = Key::new(text("/metadata/namespace"), text("/metadata/name"));
        let place = format!("kubernetes: {} {key}", kind.word());
        let mut part = Part::of_value(place.into(), value);
        part.drop_nulls();
        self.take(kind, part);
    }

    /// Forgets an object.
    pub fn remove(&mut self, kind: Kind, key: &Key) {
        self.faults.remove(&(kind, key.clone()));
        match kind {
            Kind::GatewayClass => drop(self.gateway_classes.remove(key)),
            Kind::Gateway => drop(self.gateways.remove(key)),
            Kind::TcpRoute => drop(self.tcp_routes.remove(key)),
            Kind::TlsRoute => drop(self.tls_routes.remove(key)),
            Kind::ReferenceGrant => drop(self.reference_grants.remove(key)),
            Kind::BackendTlsPolicy => drop(self.backend_tls_policies.remove(key)),
            Kind::Service => drop(self.services.remove(key)),
            Kind::EndpointSlice => drop(self.endpoint_slices.remove(key)),
            Kind::Secret => drop(self.secrets.remove(key)),
            Kind::ConfigMap => drop(self.config_maps.remove(key)),
            Kind::Namespace => drop(self.namespaces.remove(key)),
            Kind::TcpIngress => drop(self.tcp_ingresses.remove(key)),
            Kind::IngressClass => drop(self.ingress_classes.remove(key)),
        }
    }

    /// Whether a kind has this object.
    pub fn contains(&self, kind: Kind, key: &Key) -> bool {
        match kind {
            Kind::GatewayClass => self.gateway_classes.contains_key(key),
            Kind::Gateway => self.gateways.contains_key(key),
            Kind::TcpRoute => self.tcp_routes.contains_key(key),
            Kind::TlsRoute => self.tls_routes.contains_key(key),
            Kind::ReferenceGrant => self.reference_grants.contains_key(key),
            Kind::BackendTlsPolicy => self.backend_tls_policies.contains_key(key),
            Kind::Service => self.services.contains_key(key),
            Kind::EndpointSlice => self.endpoint_slices.contains_key(key),
            Kind::Secret => self.secrets.contains_key(key),
            Kind::ConfigMap => self.config_maps.contains_key(key),
            Kind::Namespace => self.namespaces.contains_key(key),
            Kind::TcpIngress => self.tcp_ingresses.contains_key(key),
            Kind::IngressClass => self.ingress_classes.contains_key(key),
        }
    }

    /// Decodes an object and puts it where it belongs. Says which it is, and whether there was one.
    fn take(&mut self, kind: Kind, mut part: Part) -> Option<(Key, bool)> {
        let mut faults = Vec::new();
        let head = part.decode::<Head>(&mut faults).value;
        let meta = meta(kind, head, &part, &mut faults);
        let key = meta.key.clone();
        let there = self.contains(kind, &key);
        self.remove(kind, &key);
        match kind {
            Kind::GatewayClass => keep(&mut self.gateway_classes, meta, part, &mut faults),
            Kind::Gateway => keep(&mut self.gateways, meta, part, &mut faults),
            Kind::TcpRoute => keep(&mut self.tcp_routes, meta, part, &mut faults),
            Kind::TlsRoute => keep(&mut self.tls_routes, meta, part, &mut faults),
            Kind::ReferenceGrant => keep(&mut self.reference_grants, meta, part, &mut faults),
            Kind::BackendTlsPolicy => keep(&mut self.backend_tls_policies, meta, part, &mut faults),
            Kind::Service => keep(&mut self.services, meta, part, &mut faults),
            Kind::EndpointSlice => keep(&mut self.endpoint_slices, meta, part, &mut faults),
            Kind::Secret => keep(&mut self.secrets, meta, part, &mut faults),
            Kind::ConfigMap => keep(&mut self.config_maps, meta, part, &mut faults),
            Kind::Namespace => keep(&mut self.namespaces, meta, part, &mut faults),
            Kind::TcpIngress => keep(&mut self.tcp_ingresses, meta, part, &mut faults),
            Kind::IngressClass => keep(&mut self.ingress_classes, meta, part, &mut faults),
        }
        if !faults.is_empty() {
            self.faults.insert((kind, key.clone()), faults);
        }
        Some((key, there))
    }

    /// The labels of a namespace. One that nobody has shown has the label that every namespace has.
    pub fn labels_of(&self, namespace: &str) -> BTreeMap<String, String> {
        let known = self.namespaces.get(&Key::new("", namespace));
        let mut labels = known.map(|known| known.meta.labels.clone()).unwrap_or_default();
        labels.insert("kubernetes.io/metadata.name".into(), namespace.into());
        labels
    }
}

/// What every object has, as it is read here.
fn meta(kind: Kind, head: Head, part: &Part, faults: &mut Vec<Diagnostic>) -> Meta {
    let Head { api_version, metadata } = head;
    if metadata.name.is_empty() && faults.is_empty() {
        faults.push(part.finding(&BAD_OBJECT, "metadata.name", "the object has no name"));
    }
    let namespace = match metadata.namespace {
        _ if !kind.is_namespaced() => String::new(),
        Some(namespace) if !namespace.is_empty() => namespace,
        _ => "default".into(),
    };
    Meta {
        key: Key { namespace, name: metadata.name },
        api_version,
        generation: metadata.generation.unwrap_or(1),
        created: metadata.creation_timestamp.unwrap_or_default(),
        labels: metadata.labels,
        annotations: metadata.annotations,
    }
}

/// Decodes what an object says, and keeps it unless anything of it is wrong.
fn keep<T: DeserializeOwned + Default>(
    kept: &mut Kept<T>,
    meta: Meta,
    mut part: Part,
    faults: &mut Vec<Diagnostic>,
) {
    let body = part.decode::<T>(faults).value;
    if faults.is_empty() {
        // Lines of what has none are no use, and secrets are not kept twice.
        if part.line() == 0 || part.text_at(&["kind"]) == Some("Secret") {
            part.shed();
        }
        kept.insert(meta.key.clone(), Arc::new(Object { meta, body, origin: part }));
    }
}

#[cfg(test)]
mod tests;
