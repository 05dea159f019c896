//! The parts of Kubernetes' objects that are read. Keys that are not here mean nothing to a proxy of
//! TCP, or are other controllers' business; they are passed over.
//!
//! Enumerations are texts here: an object of a newer standard is judged where it is used, and not
//! refused whole. What is left out has the default that the standard gives it, or is `None`.

use std::collections::BTreeMap;

use serde::Deserialize;

mod core;

pub use self::core::*;

/// The group of the Gateway API.
pub const GATEWAY_GROUP: &str = "gateway.networking.k8s.io";

/// `GatewayClass`, <https://gateway-api.sigs.k8s.io/reference/spec/>, as all others without a link.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct GatewayClass {
    /// What it says.
    pub spec: GatewayClassSpec,
}

/// Of a [`GatewayClass`].
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct GatewayClassSpec {
    /// Whose it is.
    pub controller_name: String,
}

/// `Gateway`: listeners, each of which says which routes it takes.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Gateway {
    /// What it says.
    pub spec: GatewaySpec,
}

/// Of a [`Gateway`].
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct GatewaySpec {
    /// The name of a [`GatewayClass`].
    pub gateway_class_name: String,
    /// In the order of the document.
    pub listeners: Vec<Listener>,
}

/// A port of a [`Gateway`].
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Listener {
    /// What `sectionName` of routes calls it.
    pub name: String,
    /// The names that it takes, for TLS: exact, or `*.` and a suffix. None or empty: all.
    pub hostname: Option<String>,
    /// The port.
    pub port: u16,
    /// `TCP`, `TLS`, or one that is not served.
    pub protocol: String,
    /// Of a TLS listener.
    pub tls: Option<ListenerTls>,
    /// Which routes may attach.
    pub allowed_routes: AllowedRoutes,
}

/// What a [`Listener`] does with TLS.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ListenerTls {
    /// `Terminate` (the default) or `Passthrough`.
    pub mode: Option<String>,
    /// Secrets with server certificates.
    pub certificate_refs: Vec<ObjectRef>,
    /// Whom client certificates must come from.
    pub frontend_validation: Option<FrontendValidation>,
}

/// Whom client certificates must come from.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct FrontendValidation {
    /// `ConfigMap`s with `ca.crt`.
    pub ca_certificate_refs: Vec<ObjectRef>,
}

/// Which routes may attach to a [`Listener`].
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct AllowedRoutes {
    /// From which namespaces.
    pub namespaces: RouteNamespaces,
    /// Of which kinds; none: all that the protocol has.
    pub kinds: Vec<RouteKind>,
}

/// From which namespaces routes may attach.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct RouteNamespaces {
    /// `Same` (the default), `All`, `Selector` or `None`.
    pub from: Option<String>,
    /// With `Selector`.
    pub selector: Option<LabelSelector>,
}

/// Conditions on labels, all of which must hold.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct LabelSelector {
    /// Labels and their values.
    pub match_labels: BTreeMap<String, String>,
    /// Further conditions.
    pub match_expressions: Vec<LabelExpression>,
}

/// A condition on a label.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct LabelExpression {
    /// The label.
    pub key: String,
    /// `In`, `NotIn`, `Exists` or `DoesNotExist`.
    pub operator: String,
    /// Of `In` and `NotIn`.
    pub values: Vec<String>,
}

/// A kind of route.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct RouteKind {
    /// The Gateway API's, if it is left out.
    pub group: Option<String>,
    /// As `TCPRoute`.
    pub kind: String,
}

/// `TCPRoute` and `TLSRoute`.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Route {
    /// What it says.
    pub spec: RouteSpec,
}

/// Of a [`Route`].
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct RouteSpec {
    /// What it wants to attach to.
    pub parent_refs: Vec<ParentRef>,
    /// Of a `TLSRoute`: the names that clients ask for.
    pub hostnames: Vec<String>,
    /// Where connections go.
    pub rules: Vec<RouteRule>,
}

/// What a route wants to attach to.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ParentRef {
    /// The Gateway API's, if it is left out.
    pub group: Option<String>,
    /// `Gateway`, if it is left out.
    pub kind: Option<String>,
    /// The route's, if it is left out.
    pub namespace: Option<String>,
    /// The name.
    pub name: String,
    /// The name of a listener; left out: all.
    pub section_name: Option<String>,
    /// The port of listeners; left out: any.
    pub port: Option<u16>,
}

/// Where connections go.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct RouteRule {
    /// Each with its share.
    pub backend_refs: Vec<BackendRef>,
}

/// A `Service`, and its share of connections.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct BackendRef {
    /// Empty is the core group.
    pub group: Option<String>,
    /// `Service`, if it is left out.
    pub kind: Option<String>,
    /// The route's, if it is left out.
    pub namespace: Option<String>,
    /// The name.
    pub name: String,
    /// A port of the `Service`.
    pub port: Option<u16>,
    /// Its share; 0: none.
    pub weight: u32,
}

impl Default for BackendRef {
    fn default() -> Self {
        Self {
            group: None,
            kind: None,
            namespace: None,
            name: String::new(),
            port: None,
            weight: 1,
        }
    }
}

/// Another object, as `certificateRefs` and `caCertificateRefs` name them.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ObjectRef {
    /// Empty is the core group.
    pub group: Option<String>,
    /// The kind; what is meant if it is left out depends on who refers.
    pub kind: Option<String>,
    /// That of who refers, if it is left out.
    pub namespace: Option<String>,
    /// The name.
    pub name: String,
}

/// `ReferenceGrant`: who may refer to objects of its namespace from another one.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ReferenceGrant {
    /// What it says.
    pub spec: ReferenceGrantSpec,
}

/// Of a [`ReferenceGrant`]. One of `from` and one of `to` must hold.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ReferenceGrantSpec {
    /// Who may.
    pub from: Vec<GrantFrom>,
    /// Refer to what.
    pub to: Vec<GrantTo>,
}

/// Who may refer.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct GrantFrom {
    /// Its group.
    pub group: String,
    /// Its kind.
    pub kind: String,
    /// Where it is.
    pub namespace: String,
}

/// What may be referred to.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct GrantTo {
    /// Its group.
    pub group: String,
    /// Its kind.
    pub kind: String,
    /// Its name; left out: any.
    pub name: Option<String>,
}

/// `BackendTLSPolicy`: TLS is spoken to a `Service`, and how it is verified.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct BackendTlsPolicy {
    /// What it says.
    pub spec: BackendTlsPolicySpec,
}

/// Of a [`BackendTlsPolicy`].
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct BackendTlsPolicySpec {
    /// For which `Service`s.
    pub target_refs: Vec<PolicyTargetRef>,
    /// How.
    pub validation: BackendTlsValidation,
}

/// For which `Service` a policy is.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PolicyTargetRef {
    /// Empty is the core group.
    pub group: String,
    /// `Service`.
    pub kind: String,
    /// The name.
    pub name: String,
    /// The name of one port; left out: all.
    pub section_name: Option<String>,
}

/// How a backend is verified.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct BackendTlsValidation {
    /// `ConfigMap`s with `ca.crt`.
    pub ca_certificate_refs: Vec<ObjectRef>,
    /// `System`: the authorities of this machine.
    #[serde(rename = "wellKnownCACertificates")]
    pub well_known_ca_certificates: Option<String>,
    /// Asked for (SNI), and looked for in the certificate.
    pub hostname: String,
    /// Looked for in the certificate instead.
    pub subject_alt_names: Vec<SubjectAltName>,
}

/// A name in a certificate.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct SubjectAltName {
    /// `Hostname` or `URI`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Of `Hostname`.
    pub hostname: Option<String>,
}
