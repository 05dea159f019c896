//! Where targets come from when the file does not name them: the resolver of names, and lists that
//! are fetched.

use std::collections::BTreeMap;
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Span, Target, is_false};
use crate::config::limits;

/// How host names become addresses. `/etc/hosts` goes first, and `localhost` is always this machine.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Resolver {
    /// Name servers, as `10.0.0.53` or `10.0.0.53:5353`. Left out, those of `/etc/resolv.conf` are
    /// asked, with its search list and `ndots`; with this key every name is taken as it is written.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub servers: Option<Vec<String>>,
    /// An answer is used for at least this long, whatever its TTL says.
    pub min_ttl: Span,
    /// An answer is asked for again after this long at the latest.
    pub max_ttl: Span,
    /// For one question to one server; it is asked twice.
    pub timeout: Span,
    /// How long the last addresses of a name are used after the name is gone (NXDOMAIN, or an answer
    /// without addresses). While servers only fail or are silent they are used for ever.
    pub grace: Span,
}

impl Default for Resolver {
    fn default() -> Self {
        Self {
            servers: None,
            min_ttl: Span(limits::TTL_MIN_DEFAULT),
            max_ttl: Span(limits::TTL_MAX_DEFAULT),
            timeout: Span(limits::RESOLVE_TIMEOUT_DEFAULT),
            grace: Span(limits::RESOLVE_GRACE_DEFAULT),
        }
    }
}

/// A list of targets that is fetched as JSON and asked for again and again. The last good list stays
/// in use while the endpoint fails or answers with an empty list. Paths are keys joined by dots
/// (`node.value`); numbers are indices of arrays, and a key of an array is that of each of its
/// elements.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
#[schemars(extend("required" = ["url"]))]
pub struct Discovery {
    /// What to fetch: `http://` or `https://`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String")]
    pub url: Option<String>,
    /// Between two fetches.
    pub interval: Span,
    /// For one fetch in all.
    pub timeout: Span,
    /// Path of the list in the document; empty: the document itself. What is there and is no array is
    /// the only entry.
    pub list: String,
    /// Path, in an entry, of a string that is JSON itself and takes the place of the entry, or of
    /// several if it is an array.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nested: Option<String>,
    /// Path, in an entry, of the target: `host`, `host:port` or a URL (`tls` and `https`: TLS is
    /// spoken to it); empty: the entry itself.
    pub target: String,
    /// Path, in an entry, of the port; of an array the first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub port: Option<String>,
    /// Path, in an entry, of the weight.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub weight: Option<String>,
    /// Use only the first entry.
    #[serde(skip_serializing_if = "is_false")]
    pub first_only: bool,
    /// Headers of the request. They are in the events too: secrets belong into `headerFiles`.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, String>,
    /// Headers of the request whose values are in files, which are read at each fetch.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub header_files: BTreeMap<String, PathBuf>,
    /// A PEM file of the authorities that the endpoint's certificate must come from, instead of the
    /// system's. Needs `https`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<PathBuf>,
    /// What all targets of the list have besides their host: `port` for those without one, `tls` and
    /// its keys, `maxConnections`, …
    #[serde(skip_serializing_if = "Option::is_none")]
    pub template: Option<Box<Target>>,
}

impl Default for Discovery {
    fn default() -> Self {
        Self {
            url: None,
            interval: Span(limits::DISCOVERY_INTERVAL_DEFAULT),
            timeout: Span(limits::DISCOVERY_TIMEOUT_DEFAULT),
            list: String::new(),
            nested: None,
            target: String::new(),
            port: None,
            weight: None,
            first_only: false,
            headers: BTreeMap::new(),
            header_files: BTreeMap::new(),
            ca_file: None,
            template: None,
        }
    }
}
