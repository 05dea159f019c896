//! The key `certificates`, what names its entries, and other words about TLS.

use std::fmt;
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Server certificates: one pair of files, one pair of PEM texts, or all in a directory.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
#[schemars(extend("oneOf" = [{ "required": ["certFile"] }, { "required": ["certPem", "keyPem"] }, { "required": ["directory"] }]))]
pub struct Certificate {
    /// What services and targets call it. A certificate with a name is shown only by those that name
    /// it. Unique.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String", length(min = 1))]
    pub name: Option<String>,
    /// A PEM file with the certificate and the chain that follows it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String")]
    pub cert_file: Option<PathBuf>,
    /// A PEM file with the private key. May be left out where `certFile` holds it too.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key_file: Option<PathBuf>,
    /// Instead of `certFile`: the PEM text itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String")]
    pub cert_pem: Option<String>,
    /// The private key of `certPem`, as PEM text. Whoever may read the configuration has it then:
    /// files with rights of their own are the better place.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String")]
    pub key_pem: Option<Secret>,
    /// Every pair in a directory: `name.pem`, `name.crt` or `name.cer` with `name.key`, or a
    /// `name.pem` that holds both.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String")]
    pub directory: Option<PathBuf>,
}

/// A certificate and its private key: two files, or an entry of the top-level `certificates`.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
#[schemars(extend("oneOf" = [{ "required": ["certFile"] }, { "required": ["name"] }]))]
pub struct KeyPair {
    /// The `name` of an entry of the top-level `certificates`, instead of files.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String")]
    pub name: Option<String>,
    /// A PEM file with the certificate and the chain that follows it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String")]
    pub cert_file: Option<PathBuf>,
    /// A PEM file with the private key. May be left out where `certFile` holds it too.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key_file: Option<PathBuf>,
}

impl super::Service {
    /// Whether it says nothing of whose certificates it takes.
    pub(in crate::config) fn names_no_clients(&self) -> bool {
        self.client_ca_files.is_none()
            && self.client_ca_pems.is_none()
            && self.client_cert_files.is_none()
            && self.client_cert_pems.is_none()
    }
}

/// A text that nothing prints but a configuration that is written as a whole.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct Secret(pub String);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}

/// A version of TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum TlsVersion {
    /// TLS 1.2.
    #[serde(rename = "1.2")]
    V12,
    /// TLS 1.3.
    #[serde(rename = "1.3")]
    V13,
}
