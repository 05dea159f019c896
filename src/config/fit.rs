//! Fits a [tree](super::tree) into serde's structs. It is a [`Deserializer`] of our own for the sake
//! of its error: a [`Fault`] keeps apart what was found and what was expected, where those of
//! `serde_json` are sentences.

use std::fmt;

use serde::de::value::{MapDeserializer, SeqDeserializer, StrDeserializer};
use serde::de::{self, Deserializer, IntoDeserializer, Unexpected, Visitor};
use serde::forward_to_deserialize_any;

use super::size::Size;
use super::span::Span;
use super::tree::{Node, Value};

/// What does not fit, with what was found and what was expected kept apart.
#[derive(Debug)]
pub(crate) enum Fault {
    UnknownKey { key: String, expected: &'static [&'static str] },
    UnknownValue { value: String, expected: &'static [&'static str] },
    MissingKey { key: &'static str },
    WrongType { found: String, expected: String },
    BadValue { found: String, expected: String },
    BadDuration { message: String, bare: Option<String> },
    BadSize { message: String, bare: Option<String> },
    Other { message: String },
}

impl Fault {
    /// The same fault, found inside of a duration or a size.
    fn of_quantity(self, kind: fn(String, Option<String>) -> Self) -> Self {
        match self {
            Self::WrongType { found, expected } => {
                let bare = found.strip_prefix("integer `").and_then(|n| n.strip_suffix('`'));
                let bare = bare.map(str::to_owned);
                kind(format!("expected {expected}, found {found}"), bare)
            }
            Self::Other { message } => kind(message, None),
            fault => fault,
        }
    }

    fn bad_duration(message: String, bare: Option<String>) -> Self {
        Self::BadDuration { message, bare }
    }

    fn bad_size(message: String, bare: Option<String>) -> Self {
        Self::BadSize { message, bare }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self:?}")
    }
}

impl std::error::Error for Fault {}

impl de::Error for Fault {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self::Other { message: message.to_string() }
    }

    fn invalid_type(found: Unexpected<'_>, expected: &dyn de::Expected) -> Self {
        Self::WrongType { found: describe(found), expected: expected.to_string() }
    }

    fn invalid_value(found: Unexpected<'_>, expected: &dyn de::Expected) -> Self {
        Self::BadValue { found: describe(found), expected: expected.to_string() }
    }

    fn unknown_field(key: &str, expected: &'static [&'static str]) -> Self {
        Self::UnknownKey { key: key.to_owned(), expected }
    }

    fn unknown_variant(value: &str, expected: &'static [&'static str]) -> Self {
        Self::UnknownValue { value: value.to_owned(), expected }
    }

    fn missing_field(key: &'static str) -> Self {
        Self::MissingKey { key }
    }
}

/// What was found, in the words of JSON.
fn describe(found: Unexpected<'_>) -> String {
    match found {
        Unexpected::Unit | Unexpected::Option => "null".into(),
        Unexpected::Seq => "an array".into(),
        Unexpected::Map => "an object".into(),
        Unexpected::Float(x) => format!("the number `{x:?}`"),
        Unexpected::Str(s) => {
            let short: String = s.chars().take(60).collect();
            let more = if short.len() < s.len() { "…" } else { "" };
            format!("the string \"{short}{more}\"")
        }
        other => other.to_string(),
    }
}

impl Node {
    /// The value as faults name it.
    fn unexpected(&self) -> Unexpected<'_> {
        match &self.value {
            Value::Null => Unexpected::Unit,
            Value::Bool(b) => Unexpected::Bool(*b),
            Value::Number(n) => n
                .as_u64()
                .map(Unexpected::Unsigned)
                .or_else(|| n.as_i64().map(Unexpected::Signed))
                .unwrap_or_else(|| Unexpected::Float(n.as_f64().unwrap_or(f64::NAN))),
            Value::String(s) => Unexpected::Str(s),
            Value::Array(_) => Unexpected::Seq,
            Value::Object(_) => Unexpected::Map,
        }
    }
}

impl<'de> IntoDeserializer<'de, Fault> for &'de Node {
    type Deserializer = Self;

    fn into_deserializer(self) -> Self {
        self
    }
}

impl<'de> Deserializer<'de> for &'de Node {
    type Error = Fault;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        match &self.value {
            Value::Null => visitor.visit_unit(),
            Value::Bool(b) => visitor.visit_bool(*b),
            Value::Number(n) => match (n.as_u64(), n.as_i64(), n.as_f64()) {
                (Some(n), _, _) => visitor.visit_u64(n),
                (_, Some(n), _) => visitor.visit_i64(n),
                (_, _, n) => visitor.visit_f64(n.unwrap_or(f64::NAN)),
            },
            Value::String(s) => visitor.visit_str(s),
            Value::Array(elements) => visitor.visit_seq(SeqDeserializer::new(elements.iter())),
            Value::Object(members) => visitor.visit_map(MapDeserializer::new(
                members.iter().map(|(key, node)| (key.as_str(), node)),
            )),
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        if matches!(self.value, Value::Null) {
            visitor.visit_none()
        } else {
            visitor.visit_some(self)
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Fault> {
        let result = visitor.visit_newtype_struct(self);
        match name {
            Span::NAME => result.map_err(|fault| fault.of_quantity(Fault::bad_duration)),
            Size::NAME => result.map_err(|fault| fault.of_quantity(Fault::bad_size)),
            _ => result,
        }
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Fault> {
        match &self.value {
            Value::String(s) => visitor.visit_enum(StrDeserializer::new(s)),
            _ => Err(de::Error::invalid_type(self.unexpected(), &"a string")),
        }
    }

    // Serde's structs also read arrays, by position. A configuration has names.
    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Fault> {
        match &self.value {
            Value::Object(_) => self.deserialize_any(visitor),
            _ => Err(de::Error::invalid_type(self.unexpected(), &"an object")),
        }
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf
        unit unit_struct seq tuple tuple_struct map identifier ignored_any
    }
}
