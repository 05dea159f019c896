//! The PROXY protocol in the configuration.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The PROXY protocol, versions 1 and 2: a header before the first byte of a connection, by which a
/// proxy tells the next one who the client is.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct ProxyProtocol {
    /// Whether those who connect tell who the client is. Services of an address agree on it.
    pub accept: AcceptHeader,
    /// Who may tell: networks, as `10.0.0.0/8`, `2001:db8::/32` or a single address. Needed with
    /// `accept`; for everybody write `0.0.0.0/0` and `::/0`. Services of an address agree on it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trusted: Option<Vec<String>>,
    /// Whether targets are told who the client is. A target may say otherwise.
    pub send: SendHeader,
    /// What a header of version 2 tells besides addresses, each where it is known. Without the key
    /// all of it. Some receivers take short headers only (MariaDB: 256 bytes).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tlvs: Option<Vec<Tlv>>,
}

/// Whether those who connect tell who the client is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum AcceptHeader {
    /// No: whoever connects is the client.
    #[default]
    Off,
    /// Who is `trusted` may begin with a header, and who does not is the client itself. One who says
    /// nothing may still be about to tell: a server that speaks first does so only after
    /// `timeouts.hello`. Of others every byte is the client's.
    Optional,
    /// Who is `trusted` must begin with a header, within `timeouts.hello`. Others are refused.
    Require,
}

/// Whether a target is told who the client is, and how.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum SendHeader {
    /// It is not.
    #[default]
    Off,
    /// In a line of text: addresses only.
    V1,
    /// In a binary header: addresses and `tlvs`.
    V2,
}

/// What a header of version 2 tells besides addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Tlv {
    /// What the header that came with the connection told, unless it is known better here. Passed on
    /// whole, or left out if the header would get larger than 4096 bytes.
    Received,
    /// The protocol agreed on with the client (ALPN), where TLS ends here.
    Alpn,
    /// The name that the client asked for.
    Authority,
    /// TLS with the client, where it ends here: its version, whether the client showed a certificate,
    /// and its common name.
    Ssl,
    /// What identifies the connection: the `@id` of its event, unless one was `Received`.
    UniqueId,
    /// A checksum of the header.
    Crc32c,
}
