//! The kinds that are not the Gateway API's: those of Kubernetes itself, and Kong's.

use std::collections::BTreeMap;

use serde::Deserialize;

/// `Service`.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Service {
    /// What it says.
    pub spec: ServiceSpec,
}

/// Of a [`Service`].
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ServiceSpec {
    /// `ClusterIP` and others; `ExternalName` is a name and nothing else.
    #[serde(rename = "type")]
    pub kind: Option<String>,
    /// Of `ExternalName`.
    pub external_name: Option<String>,
    /// `None` is the word for a headless one.
    #[serde(rename = "clusterIP")]
    pub cluster_ip: Option<String>,
    /// `IPv4`, `IPv6`; the first is preferred.
    pub ip_families: Vec<String>,
    /// Its ports.
    pub ports: Vec<ServicePort>,
}

/// A port of a [`Service`].
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ServicePort {
    /// What slices call it too.
    pub name: Option<String>,
    /// What backends name.
    pub port: u16,
    /// `TCP`, if it is left out.
    pub protocol: Option<String>,
    /// The port of the pods.
    pub target_port: Option<NumberOrName>,
}

/// A number, or the name of a port of a container.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(untagged)]
pub enum NumberOrName {
    /// The port.
    Number(u16),
    /// Its name.
    Name(String),
}

/// `EndpointSlice` of `discovery.k8s.io`: where the pods of a [`Service`] are.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct EndpointSlice {
    /// `IPv4`, `IPv6` or `FQDN`.
    pub address_type: String,
    /// The pods.
    pub endpoints: Vec<Endpoint>,
    /// The ports that each of them has.
    pub ports: Vec<EndpointPort>,
}

/// A pod.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Endpoint {
    /// All are the same pod; the first counts.
    pub addresses: Vec<String>,
    /// How it is.
    pub conditions: EndpointConditions,
}

/// How a pod is; what is left out is not known.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct EndpointConditions {
    /// It can take connections; not known is taken as yes.
    pub ready: Option<bool>,
    /// It answers, also while it ends; as `ready` if it is left out.
    pub serving: Option<bool>,
    /// It is about to end.
    pub terminating: Option<bool>,
}

/// A port of the pods of a slice.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct EndpointPort {
    /// That of the [`ServicePort`].
    pub name: Option<String>,
    /// The number.
    pub port: Option<u16>,
    /// `TCP`, if it is left out.
    pub protocol: Option<String>,
}

/// `Secret`.
#[derive(Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Secret {
    /// As `kubernetes.io/tls`.
    #[serde(rename = "type")]
    pub kind: Option<String>,
    /// In base64.
    pub data: BTreeMap<String, String>,
    /// As it is; in manifests.
    pub string_data: BTreeMap<String, String>,
}

/// What is secret is never shown.
impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Secret").field("kind", &self.kind).finish_non_exhaustive()
    }
}

/// `ConfigMap`.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ConfigMap {
    /// Texts.
    pub data: BTreeMap<String, String>,
    /// In base64.
    pub binary_data: BTreeMap<String, String>,
}

/// `Namespace`: only its labels matter.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Namespace {}

/// `IngressClass`: only its name and annotations matter.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct IngressClass {}

/// Kong's `TCPIngress`, `configuration.konghq.com/v1beta1`.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct TcpIngress {
    /// What it says.
    pub spec: TcpIngressSpec,
}

/// Of a [`TcpIngress`].
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct TcpIngressSpec {
    /// Instead of the annotation.
    pub ingress_class_name: Option<String>,
    /// Where connections go.
    pub rules: Vec<TcpIngressRule>,
    /// Certificates.
    pub tls: Vec<TcpIngressTls>,
}

/// Where the connections of a port go, and with `host` those that ask for that name.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct TcpIngressRule {
    /// The name; clients must speak TLS.
    pub host: Option<String>,
    /// The port that is listened on.
    pub port: Option<u16>,
    /// Where to.
    pub backend: TcpIngressBackend,
}

/// A port of a [`Service`] of the same namespace.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct TcpIngressBackend {
    /// The name.
    pub service_name: String,
    /// A port of it.
    pub service_port: Option<u16>,
}

/// A certificate, and for which names it is.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct TcpIngressTls {
    /// The names.
    pub hosts: Vec<String>,
    /// A [`Secret`] of the same namespace.
    pub secret_name: String,
}
