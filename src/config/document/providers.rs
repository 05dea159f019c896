//! The keys `providers`, `listeners` and `portsWhitelist`.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Access, Limits, Span};
use crate::config::{limits, values};

/// An address that containers' labels may name. It is listened on whether or not one does.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
#[schemars(extend("required" = ["name", "port"]))]
pub struct Listener {
    /// What labels call it. Unique.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String", length(min = 1))]
    pub name: Option<String>,
    /// The port to listen on.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "u16", range(min = 1))]
    pub port: Option<u16>,
    /// The IP address to listen on; `0.0.0.0` is every IPv4 address, `::` every address.
    #[serde(default = "values::any_v4")]
    pub interface: String,
    /// Who may connect. Without it everybody.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub access: Option<Access>,
    /// Limits on what comes in there.
    pub limits: Limits,
}

/// Ports by protocol. A port of one protocol says nothing about the other.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct PortsWhitelist {
    /// For services whose `tls` is `Disabled`.
    pub tcp: Ports,
    /// For services whose `tls` is `Enabled` or `PassThrough`.
    pub tls: Ports,
    /// Tyk's; has no effect, since there are no HTTP services.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub http: Option<Ports>,
    /// Tyk's; has no effect, since there are no HTTP services.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub https: Option<Ports>,
}

/// Ports, one by one and in ranges. Left out: none.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Ports {
    /// Single ports.
    pub ports: Vec<u16>,
    /// Ranges of ports.
    pub ranges: Vec<PortRange>,
}

/// Ports from one to another, both included.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
#[schemars(extend("required" = ["from", "to"]))]
pub struct PortRange {
    /// The first port.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "u16")]
    pub from: Option<u16>,
    /// The last port.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "u16")]
    pub to: Option<u16>,
}

/// Where services come from that are declared in other systems' words. A document with a fault costs
/// what it declares, and nothing else.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Providers {
    /// Tyk's API definitions.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tyk: Option<Tyk>,
    /// Sōzune's configuration, whose listeners labels may name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sozune: Option<Sozune>,
    /// Kong's listening addresses.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kong: Option<Kong>,
    /// The labels of Docker's containers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub docker: Option<Docker>,
    /// Kubernetes: Gateway API and Kong's `TCPIngress`, from files or a cluster.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kubernetes: Option<Kubernetes>,
}

/// Tyk's API definitions.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Tyk {
    /// Files of API definitions (JSON); `*` and `?` stand for many.
    pub files: Vec<String>,
    /// Where certificates lie that definitions name by their id: `ID.pem`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String")]
    pub certificate_dir: Option<PathBuf>,
    /// A PEM file of the authorities that the certificates of `tls://` targets must come from, instead
    /// of the system's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<PathBuf>,
    /// The gateway's configuration (`tyk.conf`), of which `ports_whitelist`, `uptime_tests`,
    /// `security`, `listen_address`, `service_discovery`, `proxy_ssl_*` and the TLS settings of
    /// `http_server_options` count.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub config: Option<PathBuf>,
    /// The proxies in front, which tell by a PROXY header who a client is where a definition sets
    /// `enable_proxy_protocol`: networks. Left out: private networks. Nobody else can connect there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trusted_proxies: Option<Vec<String>>,
}

/// Sōzune's configuration.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Sozune {
    /// Files (YAML): its `config.yaml`, and Compose files whose labels are read; `*` and `?` stand
    /// for many.
    pub files: Vec<String>,
}

/// Kong's listening addresses.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Kong {
    /// `stream_listen` as Kong reads it, as `0.0.0.0:9000, 0.0.0.0:9443 ssl`. The environment's
    /// `KONG_STREAM_LISTEN` wins.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stream_listen: Option<String>,
}

/// The labels of Docker's containers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Docker {
    /// Where the daemon answers: `unix:///path` or `tcp://host:port`.
    pub endpoint: String,
    /// What labels begin with, before the first dot.
    pub label_prefix: String,
    /// Use containers that do not say `PREFIX.enable=true`.
    pub expose_by_default: bool,
    /// The network whose addresses are used, unless a container names one.
    pub network: Option<String>,
}

impl Default for Docker {
    fn default() -> Self {
        Self {
            endpoint: "unix:///var/run/docker.sock".into(),
            label_prefix: "thalweg".into(),
            expose_by_default: false,
            network: None,
        }
    }
}

/// Kubernetes: `Gateway`, `TCPRoute`, `TLSRoute` and Kong's `TCPIngress`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Kubernetes {
    /// Files of manifests (YAML or JSON) instead of a cluster; `*` and `?` stand for many.
    pub files: Vec<String>,
    /// The file that says how the cluster is reached. Left out, and without `files`: as `kubectl`
    /// finds it, or the service account of the pod.
    pub kubeconfig: Option<PathBuf>,
    /// The `GatewayClass` whose gateways are served.
    pub gateway_class: String,
    /// The ingress class whose `TCPIngress`es are served.
    pub ingress_class: String,
    /// Where clients reach the proxy, for the status of gateways: IP addresses, or host names. Left
    /// out: the environment's `POD_IP`, else the address that this machine reaches the cluster from.
    pub status_addresses: Vec<String>,
    /// Which of several proxies writes statuses. All of them serve.
    pub leader_election: LeaderElection,
}

impl Default for Kubernetes {
    fn default() -> Self {
        Self {
            files: Vec::new(),
            kubeconfig: None,
            gateway_class: "thalweg".into(),
            ingress_class: "thalweg".into(),
            status_addresses: Vec::new(),
            leader_election: LeaderElection::default(),
        }
    }
}

/// The `Lease` that the proxies of a cluster hold by turns.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct LeaderElection {
    /// Its namespace. Left out: that of the pod, or of the kubeconfig's context.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String", length(min = 1))]
    pub namespace: Option<String>,
    /// Its name.
    pub name: String,
    /// How long after the leader's last word another takes over. The leader renews it every 2/15 of
    /// this time, and leads no more when it could not for 2/3 of it. Whole seconds, at least one.
    pub lease_duration: Span,
}

impl Default for LeaderElection {
    fn default() -> Self {
        Self {
            namespace: None,
            name: "thalweg".into(),
            lease_duration: Span(limits::LEASE_DURATION_DEFAULT),
        }
    }
}
