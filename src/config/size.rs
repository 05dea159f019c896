//! Sizes as the configuration writes them: a whole number with a unit, as `64KiB` or `10MB`. A bare
//! number is refused, and so is a unit that some read as 1000 and others as 1024.

use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{self, Deserializer, Visitor};
use serde::{Deserialize, Serialize, Serializer};

/// A size of the configuration, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Size(pub u64);

/// The units, in bytes; those that are powers of two first, from the largest.
const UNITS: [(&str, u64); 9] = [
    ("TiB", 1 << 40),
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("TB", 1_000_000_000_000),
    ("GB", 1_000_000_000),
    ("MB", 1_000_000),
    ("kB", 1000),
    ("B", 1),
];

impl Size {
    /// The name under which a size passes through a deserialiser; as
    /// [`Span::NAME`](super::span::Span::NAME).
    pub const NAME: &'static str = "Size";

    /// Reads `64KiB`.
    ///
    /// # Errors
    /// What is wrong with it, to follow the text itself.
    pub fn parse(text: &str) -> Result<Self, String> {
        let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
        let (number, unit) = text.split_at(digits);
        if number.is_empty() {
            return Err("is not a whole number with a unit".into());
        }
        if unit.is_empty() {
            return Err(format!("has no unit after {number}"));
        }
        let Some(&(_, size)) = UNITS.iter().find(|(name, _)| *name == unit) else {
            return Err(format!("has the unknown unit `{unit}`"));
        };
        let bytes = number.parse::<u64>().ok().and_then(|n| n.checked_mul(size));
        bytes.map(Self).ok_or_else(|| "is more than can be counted".into())
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let fits = |(_, size): &&(&str, u64)| self.0 >= *size && self.0.is_multiple_of(*size);
        let (unit, size) = UNITS.iter().find(fits).unwrap_or(&("B", 1));
        write!(f, "{}{unit}", self.0 / size)
    }
}

impl Serialize for Size {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Size {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_newtype_struct(Self::NAME, Text)
    }
}

/// Reads the string inside a [`Size`].
struct Text;

impl<'de> Visitor<'de> for Text {
    type Value = Size;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a size with a unit")
    }

    fn visit_newtype_struct<D: Deserializer<'de>>(self, inner: D) -> Result<Size, D::Error> {
        inner.deserialize_str(self)
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Size, E> {
        Size::parse(text).map_err(|why| E::custom(format_args!("`{text}` {why}")))
    }
}

impl JsonSchema for Size {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Size".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "description": "A whole number with a unit: B, KiB, MiB, GiB, TiB, or kB, MB, GB, TB.",
            "pattern": "^\\d+(B|KiB|MiB|GiB|TiB|kB|MB|GB|TB)$",
            "examples": ["64KiB", "10MB"]
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_written_as_they_are_read() {
        for text in ["0B", "1B", "1023B", "1KiB", "64KiB", "10MB", "1500kB", "3GiB", "2TiB"] {
            assert_eq!(Size::parse(text).map(|size| size.to_string()), Ok(text.to_owned()));
        }
        assert_eq!(Size::parse("1000kB").map(|size| size.to_string()), Ok("1MB".to_owned()));
        for text in
            ["", "5", "KiB", "1.5MiB", "5 KiB", "-5B", "5KB", "5mb", "1MiB2KiB", "99999999TiB"]
        {
            assert!(Size::parse(text).is_err(), "{text}");
        }
    }
}
