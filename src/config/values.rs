//! The values of the [document](super::document) that serde's derives cannot read as the contract
//! wants them: several spellings of one word, or several shapes of one key. Each refuses what it
//! does not know: an unknown word never becomes a weaker default.

use std::fmt;
use std::num::NonZeroU32;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::value::MapAccessDeserializer;
use serde::de::{self, Deserializer, MapAccess, SeqAccess, Unexpected, Visitor};
use serde::{Deserialize, Serialize};

use super::limits;
use super::size::Size;
use super::span::Span;

/// The default of `enabled`.
pub(super) fn yes() -> bool {
    true
}

/// The default of `interface`.
pub(super) fn any_v4() -> String {
    "0.0.0.0".into()
}

/// The default of `retries`.
pub(super) fn retries() -> u32 {
    limits::RETRIES_DEFAULT
}

/// A key that may be null, which is something else than a key that is left out.
pub(super) fn given<'de, D: Deserializer<'de>, T: Deserialize<'de>>(
    deserializer: D,
) -> Result<Option<T>, D::Error> {
    T::deserialize(deserializer).map(Some)
}

/// What a service does with TLS.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum TlsMode {
    /// Nothing: plain TCP.
    #[default]
    #[serde(alias = "disabled")]
    Disabled,
    /// Passes TLS through untouched.
    #[serde(alias = "passthrough")]
    PassThrough,
    /// Ends TLS here.
    #[serde(alias = "enabled")]
    Enabled,
}

impl JsonSchema for TlsMode {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "TlsMode".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "description": "`Disabled`: plain TCP. `PassThrough`: TLS is passed on untouched. `Enabled`: TLS ends here.",
            "enum": ["Disabled", "disabled", "PassThrough", "passthrough", "Enabled", "enabled"]
        })
    }
}

/// Whether a client must show a certificate.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub enum ClientAuth {
    /// It is not asked for one.
    #[default]
    None,
    /// It is asked, and may have none; a bad one is refused.
    Want,
    /// It must have a good one.
    Need,
}

impl<'de> Deserialize<'de> for ClientAuth {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(ClientAuthVisitor)
    }
}

/// Reads [`ClientAuth`] in any case, as Otoroshi does.
struct ClientAuthVisitor;

impl Visitor<'_> for ClientAuthVisitor {
    type Value = ClientAuth;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("`None`, `Want` or `Need`")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<ClientAuth, E> {
        match text.to_ascii_lowercase().as_str() {
            "none" => Ok(ClientAuth::None),
            "want" => Ok(ClientAuth::Want),
            "need" => Ok(ClientAuth::Need),
            _ => Err(E::unknown_variant(text, &["None", "Want", "Need"])),
        }
    }
}

impl JsonSchema for ClientAuth {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "ClientAuth".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "description": "Whether clients must show a certificate, in any case of letters. `None`: they are not asked. `Want`: asked, and may have none; a bad one is refused. `Need`: they must have a good one.",
            "pattern": "^([Nn][Oo][Nn][Ee]|[Ww][Aa][Nn][Tt]|[Nn][Ee][Ee][Dd])$"
        })
    }
}

/// Which cores carry a thread.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum Cores {
    /// Every core of the process's CPU set.
    #[default]
    #[serde(serialize_with = "all")]
    All,
    /// The first so many of the CPU set.
    Count(NonZeroU32),
    /// These.
    List(Vec<usize>),
}

/// Writes [`Cores::All`].
fn all<S: serde::Serializer>(serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str("all")
}

impl<'de> Deserialize<'de> for Cores {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(CoresVisitor)
    }
}

/// Reads [`Cores`] in any of its three shapes.
struct CoresVisitor;

impl<'de> Visitor<'de> for CoresVisitor {
    type Value = Cores;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("\"all\", how many cores, or a list of core numbers")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Cores, E> {
        if text == "all" { Ok(Cores::All) } else { Err(E::unknown_variant(text, &["all"])) }
    }

    fn visit_u64<E: de::Error>(self, count: u64) -> Result<Cores, E> {
        u32::try_from(count)
            .ok()
            .and_then(NonZeroU32::new)
            .map(Cores::Count)
            .ok_or_else(|| E::invalid_value(Unexpected::Unsigned(count), &"at least one core"))
    }

    fn visit_i64<E: de::Error>(self, count: i64) -> Result<Cores, E> {
        Err(E::invalid_value(Unexpected::Signed(count), &"at least one core"))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<Cores, A::Error> {
        let mut cores = Vec::new();
        while let Some(core) = elements.next_element()? {
            cores.push(core);
        }
        Ok(Cores::List(cores))
    }
}

impl JsonSchema for Cores {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Cores".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "All cores, how many, or which.",
            "oneOf": [
                { "const": "all" },
                { "type": "integer", "minimum": 1 },
                {
                    "type": "array",
                    "items": { "type": "integer", "minimum": 0 },
                    "minItems": 1,
                    "uniqueItems": true
                }
            ]
        })
    }
}

/// What becomes of live connections when a reload removes their service.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub enum OnRemoved {
    /// They run to their own end.
    #[default]
    Keep,
    /// What still lives after this long is closed.
    #[serde(untagged)]
    CloseAfter(CloseAfter),
}

/// The object form of [`OnRemoved`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CloseAfter {
    /// What still lives after this long is closed; `0s` closes at once.
    pub close_after: Span,
}

impl<'de> Deserialize<'de> for OnRemoved {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(OnRemovedVisitor)
    }
}

/// Reads [`OnRemoved`] in either of its shapes.
struct OnRemovedVisitor;

impl<'de> Visitor<'de> for OnRemovedVisitor {
    type Value = OnRemoved;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("\"Keep\" or { \"closeAfter\": \"30s\" }")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<OnRemoved, E> {
        if text == "Keep" { Ok(OnRemoved::Keep) } else { Err(E::unknown_variant(text, &["Keep"])) }
    }

    fn visit_map<A: MapAccess<'de>>(self, members: A) -> Result<OnRemoved, A::Error> {
        CloseAfter::deserialize(MapAccessDeserializer::new(members)).map(OnRemoved::CloseAfter)
    }
}

/// `limits.bytesPerSecond`, each in each direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(untagged)]
pub enum BytesPerSecond {
    /// Of the whole service.
    Service(Size),
    /// Of the parts that are named.
    Parts(BandwidthParts),
}

/// The object form of [`BytesPerSecond`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
#[schemars(extend("minProperties" = 1))]
pub struct BandwidthParts {
    /// Of all connections of the service together, over all cores.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service: Option<Size>,
    /// Of each connection.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub connection: Option<Size>,
}

impl BytesPerSecond {
    /// Its parts.
    pub fn parts(self) -> BandwidthParts {
        match self {
            Self::Service(size) => BandwidthParts { service: Some(size), connection: None },
            Self::Parts(parts) => parts,
        }
    }
}

impl<'de> Deserialize<'de> for BytesPerSecond {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_newtype_struct(Size::NAME, BytesPerSecondVisitor)
    }
}

/// Reads [`BytesPerSecond`] in either of its shapes.
struct BytesPerSecondVisitor;

impl<'de> Visitor<'de> for BytesPerSecondVisitor {
    type Value = BytesPerSecond;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a size with a unit, or { \"service\": \"100MiB\", \"connection\": \"1MiB\" }")
    }

    fn visit_newtype_struct<D: Deserializer<'de>>(
        self,
        inner: D,
    ) -> Result<BytesPerSecond, D::Error> {
        inner.deserialize_any(self)
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<BytesPerSecond, E> {
        let size = Size::parse(text).map_err(|why| E::custom(format_args!("`{text}` {why}")))?;
        Ok(BytesPerSecond::Service(size))
    }

    fn visit_map<A: MapAccess<'de>>(self, members: A) -> Result<BytesPerSecond, A::Error> {
        BandwidthParts::deserialize(MapAccessDeserializer::new(members)).map(BytesPerSecond::Parts)
    }
}

/// `timeouts.lifetimeJitter`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Jitter {
    /// So many hundredths of the lifetime.
    Percent(u8),
    /// This long.
    Span(Span),
}

impl Default for Jitter {
    fn default() -> Self {
        Self::Percent(limits::LIFETIME_JITTER_DEFAULT)
    }
}

impl Serialize for Jitter {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Percent(percent) => serializer.collect_str(&format_args!("{percent}%")),
            Self::Span(span) => span.serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for Jitter {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_newtype_struct(Span::NAME, JitterVisitor)
    }
}

/// Reads [`Jitter`] in either of its spellings.
struct JitterVisitor;

impl<'de> Visitor<'de> for JitterVisitor {
    type Value = Jitter;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a share, as `10%`, or a duration with a unit")
    }

    fn visit_newtype_struct<D: Deserializer<'de>>(self, inner: D) -> Result<Jitter, D::Error> {
        inner.deserialize_str(self)
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Jitter, E> {
        let why = match text.strip_suffix('%') {
            Some(number) => match number.parse() {
                Ok(percent @ 0..=100) if !number.starts_with('+') => {
                    return Ok(Jitter::Percent(percent));
                }
                _ => "is not a share from 0% to 100%".to_owned(),
            },
            None => match Span::parse(text) {
                Ok(span) => return Ok(Jitter::Span(span)),
                Err(why) => why,
            },
        };
        Err(E::custom(format_args!("`{text}` {why}")))
    }
}

impl JsonSchema for Jitter {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Jitter".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "anyOf": [
                { "type": "string", "pattern": "^([0-9]|[1-9][0-9]|100)%$" },
                generator.subschema_for::<Span>()
            ]
        })
    }
}
