//! Durations as the configuration writes them: whole numbers with a unit, as `250ms` or `1h30m`.
//! A bare number is refused: one system's seconds are another's milliseconds.

use std::fmt;
use std::time::Duration;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{self, Deserializer, Visitor};
use serde::{Deserialize, Serialize, Serializer};

use super::limits::DURATION_MAX;

/// A duration of the configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span(pub Duration);

/// The units, longest first, in milliseconds.
const UNITS: [(&str, u64); 5] =
    [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)];

impl Span {
    /// The name under which a span passes through a deserialiser, which lets it tell a bad duration
    /// from any other bad string.
    pub const NAME: &'static str = "Span";

    /// Reads `1h30m`.
    ///
    /// # Errors
    /// What is wrong with it, to follow the text itself.
    pub fn parse(text: &str) -> Result<Self, String> {
        if text.is_empty() {
            return Err("is empty".into());
        }
        let mut rest = text;
        let mut total: u64 = 0;
        let mut smallest = u64::MAX;
        while !rest.is_empty() {
            let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
            let (number, after) = rest.split_at(digits);
            let letters = after.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(after.len());
            let (unit, next) = after.split_at(letters);
            rest = next;
            if number.is_empty() || (unit.is_empty() && !rest.is_empty()) {
                return Err("is not whole numbers with units".into());
            }
            if unit.is_empty() {
                return Err(format!("has no unit after {number}"));
            }
            let Some(&(_, size)) = UNITS.iter().find(|(name, _)| *name == unit) else {
                return Err(format!("has the unknown unit `{unit}`"));
            };
            if size >= smallest {
                return Err("must name each unit once, the longest first".into());
            }
            smallest = size;
            total = number
                .parse::<u64>()
                .ok()
                .and_then(|n| n.checked_mul(size))
                .and_then(|n| n.checked_add(total))
                .ok_or_else(too_long)?;
        }
        let span = Duration::from_millis(total);
        if span > DURATION_MAX { Err(too_long()) } else { Ok(Self(span)) }
    }
}

/// The fault of a span beyond [`DURATION_MAX`].
fn too_long() -> String {
    let longest = Span(DURATION_MAX);
    format!("is longer than the longest duration, {longest}")
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rest = u64::try_from(self.0.as_millis()).unwrap_or(u64::MAX);
        if rest == 0 {
            return f.write_str("0s");
        }
        for (unit, size) in UNITS {
            if rest >= size {
                write!(f, "{}{unit}", rest / size)?;
                rest %= size;
            }
        }
        Ok(())
    }
}

impl Serialize for Span {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_newtype_struct(Self::NAME, Text)
    }
}

/// Reads the string inside a [`Span`].
struct Text;

impl<'de> Visitor<'de> for Text {
    type Value = Span;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a duration with a unit")
    }

    fn visit_newtype_struct<D: Deserializer<'de>>(self, inner: D) -> Result<Span, D::Error> {
        inner.deserialize_str(self)
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Span, E> {
        Span::parse(text).map_err(|why| E::custom(format_args!("`{text}` {why}")))
    }
}

impl JsonSchema for Span {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Duration".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "description": "Whole numbers with a unit, the longest first: d, h, m, s, ms.",
            "pattern": "^(\\d+d)?(\\d+h)?(\\d+m)?(\\d+s)?(\\d+ms)?$",
            "minLength": 2,
            "examples": ["250ms", "3s", "1h30m"]
        })
    }
}
