//! `admin`: the admin API.

use std::fmt;
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::de::value::SeqAccessDeserializer;
use serde::de::{self, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

/// The admin API: services, targets and their health, live connections, certificates, metrics.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
#[schemars(extend("required" = ["listen"]))]
pub struct Admin {
    /// `address:port` or `unix:/path`, or an array of several, at most four.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Listens")]
    pub listen: Option<Listens>,
    /// A file with the token that callers must show (`Authorization: Bearer`) to change anything. Read
    /// anew at each reload.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String")]
    pub token_file: Option<PathBuf>,
    /// A file with a token that is good for reading only.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String")]
    pub read_token_file: Option<PathBuf>,
    /// Reading needs a token everywhere, and over a Unix socket nobody is known by their user. Without
    /// it, whoever reaches a loopback address or a Unix socket may read, and the user that runs the
    /// proxy, or root, may change things over a Unix socket.
    pub require_token: bool,
    /// A PEM file with a certificate and its chain: the addresses of `listen` speak TLS. Unix sockets
    /// never do.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String")]
    pub cert_file: Option<PathBuf>,
    /// The private key of it. May be left out where `certFile` holds it too.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String")]
    pub key_file: Option<PathBuf>,
    /// Authorities of the certificates that callers must show in TLS, besides the token.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Vec<PathBuf>", length(min = 1))]
    pub client_ca_files: Option<Vec<PathBuf>>,
    /// Names by which callers may ask for the API (`Host`, `Origin`), besides addresses and `localhost`.
    pub hosts: Vec<String>,
    /// Who may connect to Unix sockets: permissions in octal.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String", regex(pattern = "^0?[0-7]{3}$"), extend("default" = "0600"))]
    pub unix_mode: Option<String>,
}

/// `admin.listen`: one place, or several.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(untagged)]
pub enum Listens {
    /// One.
    One(String),
    /// Several.
    Many(Vec<String>),
}

impl<'de> Deserialize<'de> for Listens {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ListensVisitor)
    }
}

/// Reads [`Listens`] in either of its shapes.
struct ListensVisitor;

impl<'de> Visitor<'de> for ListensVisitor {
    type Value = Listens;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string or an array of strings")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Listens, E> {
        Ok(Listens::One(text.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, elements: A) -> Result<Listens, A::Error> {
        Vec::deserialize(SeqAccessDeserializer::new(elements)).map(Listens::Many)
    }
}
