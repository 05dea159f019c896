//! The configuration's JSON as a tree that knows its lines: what `serde_json::Value` is, plus a
//! line for every member and element, members in the order of the file, and keys that occur twice.
//!
//! It reads only text that `serde_json` has accepted, so it can be simple: where the two should
//! ever disagree it returns `None`. [`super::fit`] makes serde's structs of it.

use std::collections::HashMap;

use serde::Serialize;
use serde::ser::{SerializeMap, Serializer};

use super::limits;
use super::place::Place;

/// A value and the line where it starts; a member's line is that of its key.
#[derive(Debug, Clone, Default)]
pub(crate) struct Node {
    pub(crate) line: u32,
    pub(crate) value: Value,
}

/// As JSON has them.
#[derive(Debug, Clone, Default)]
pub(crate) enum Value {
    #[default]
    Null,
    Bool(bool),
    Number(serde_json::Number),
    String(String),
    Array(Vec<Node>),
    Object(Vec<(String, Node)>),
}

/// A key that an object has twice.
#[derive(Debug)]
pub(crate) struct Duplicate {
    pub(crate) path: String,
    pub(crate) first: u32,
    pub(crate) again: u32,
}

impl Node {
    /// Reads text that `serde_json` has accepted. Of a key that occurs twice the first value stays.
    pub(crate) fn read(text: &str) -> Option<(Self, Vec<Duplicate>)> {
        let mut reader = Reader { rest: text, line: 1, duplicates: Vec::new() };
        let root = reader.node(&Place::Root)?;
        Some((root, reader.duplicates))
    }

    /// A value that is not from a text; its lines are 0.
    pub(crate) fn of_value(value: &serde_json::Value) -> Self {
        use serde_json::Value as Json;
        let value = match value {
            Json::Null => Value::Null,
            Json::Bool(b) => Value::Bool(*b),
            Json::Number(n) => Value::Number(n.clone()),
            Json::String(s) => Value::String(s.clone()),
            Json::Array(elements) => Value::Array(elements.iter().map(Self::of_value).collect()),
            Json::Object(members) => {
                let member = |(key, value): (&String, &Json)| (key.clone(), Self::of_value(value));
                Value::Object(members.iter().map(member).collect())
            }
        };
        Self { line: 0, value }
    }

    /// How many values it is.
    pub(crate) fn count(&self) -> usize {
        1 + match &self.value {
            Value::Array(elements) => elements.iter().map(Self::count).sum(),
            Value::Object(members) => members.iter().map(|(_, node)| node.count()).sum::<usize>(),
            _ => 0,
        }
    }

    /// The member of an object.
    pub(crate) fn get(&self, key: &str) -> Option<&Self> {
        match &self.value {
            Value::Object(members) => members.iter().find(|(k, _)| k == key).map(|(_, node)| node),
            _ => None,
        }
    }

    /// Takes a member out of an object.
    pub(crate) fn remove(&mut self, key: &str) -> Option<Self> {
        let Value::Object(members) = &mut self.value else {
            return None;
        };
        let at = members.iter().position(|(k, _)| k == key)?;
        Some(members.remove(at).1)
    }

    /// Drops the members of objects that are null, at any depth.
    pub(crate) fn drop_nulls(&mut self) {
        match &mut self.value {
            Value::Array(elements) => elements.iter_mut().for_each(Self::drop_nulls),
            Value::Object(members) => {
                members.retain(|(_, node)| !matches!(node.value, Value::Null));
                members.iter_mut().for_each(|(_, node)| node.drop_nulls());
            }
            _ => {}
        }
    }

    /// Appends to the array that is a member of this object, and makes it one if it is none.
    pub(crate) fn push_to(&mut self, key: &str, element: Self) {
        let Value::Object(members) = &mut self.value else { return };
        let known = members.iter_mut().find(|(k, _)| k == key);
        match known {
            Some((_, Self { value: Value::Array(elements), .. })) => elements.push(element),
            Some((_, node)) => node.value = Value::Array(vec![element]),
            None => {
                let array = Self { line: self.line, value: Value::Array(vec![element]) };
                members.push((key.to_owned(), array));
            }
        }
    }

    /// The elements of an array.
    pub(crate) fn elements(&self) -> &[Self] {
        if let Value::Array(elements) = &self.value { elements } else { &[] }
    }

    /// The line of a place, or of the innermost part of it that exists.
    pub(crate) fn line_of(&self, place: &Place<'_>) -> u32 {
        self.walk(place).map_or_else(|outer| outer.line, |node| node.line)
    }

    /// The node at a place, or the innermost one on the way to it.
    fn walk(&self, place: &Place<'_>) -> Result<&Self, &Self> {
        match place {
            Place::Root => Ok(self),
            Place::Key(outer, key) => {
                let node = self.walk(outer)?;
                node.get(key).ok_or(node)
            }
            Place::Index(outer, index) => {
                let node = self.walk(outer)?;
                node.elements().get(*index).ok_or(node)
            }
        }
    }
}

/// Writes the node as it was in the file, without its white space.
impl Serialize for Node {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match &self.value {
            Value::Null => serializer.serialize_unit(),
            Value::Bool(b) => serializer.serialize_bool(*b),
            Value::Number(n) => n.serialize(serializer),
            Value::String(s) => serializer.serialize_str(s),
            Value::Array(elements) => serializer.collect_seq(elements),
            Value::Object(members) => {
                let mut map = serializer.serialize_map(Some(members.len()))?;
                for (key, node) in members {
                    map.serialize_entry(key, node)?;
                }
                map.end()
            }
        }
    }
}

/// A cursor over the text.
struct Reader<'a> {
    rest: &'a str,
    line: u32,
    duplicates: Vec<Duplicate>,
}

impl<'a> Reader<'a> {
    /// Skips white space and returns the next byte, which stays.
    fn peek(&mut self) -> Option<u8> {
        let blank = self.rest.bytes().take_while(|b| matches!(b, b' ' | b'\t' | b'\r' | b'\n'));
        let mut length = 0;
        for byte in blank {
            length += 1;
            self.line += u32::from(byte == b'\n');
        }
        self.rest = self.rest.get(length..)?;
        self.rest.bytes().next()
    }

    /// Skips white space and then this byte, if it is next.
    fn eat(&mut self, byte: u8) -> bool {
        let found = self.peek() == Some(byte);
        if found {
            self.rest = self.rest.get(1..).unwrap_or_default();
        }
        found
    }

    /// Takes this many bytes.
    fn take(&mut self, length: usize) -> Option<&'a str> {
        let (token, rest) = self.rest.split_at_checked(length)?;
        self.rest = rest;
        Some(token)
    }

    fn node(&mut self, place: &Place<'_>) -> Option<Node> {
        let next = self.peek()?;
        let line = self.line;
        let value = match next {
            b'{' => self.object(place)?,
            b'[' => self.array(place)?,
            b'"' => Value::String(self.string()?),
            b't' => self.take(4).map(|_| Value::Bool(true))?,
            b'f' => self.take(5).map(|_| Value::Bool(false))?,
            b'n' => self.take(4).map(|_| Value::Null)?,
            _ => {
                let number = |c: char| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.');
                let length = self.rest.find(|c| !number(c)).unwrap_or(self.rest.len());
                Value::Number(serde_json::from_str(self.take(length)?).ok()?)
            }
        };
        Some(Node { line, value })
    }

    fn string(&mut self) -> Option<String> {
        let mut escaped = false;
        let end = self.rest.bytes().skip(1).position(|byte| {
            let closes = byte == b'"' && !escaped;
            escaped = byte == b'\\' && !escaped;
            closes
        })?;
        serde_json::from_str(self.take(end + 2)?).ok()
    }

    fn array(&mut self, place: &Place<'_>) -> Option<Value> {
        let mut elements = Vec::new();
        self.eat(b'[');
        if self.eat(b']') {
            return Some(Value::Array(elements));
        }
        loop {
            elements.push(self.node(&place.index(elements.len()))?);
            if !self.eat(b',') {
                return self.eat(b']').then_some(Value::Array(elements));
            }
        }
    }

    fn object(&mut self, place: &Place<'_>) -> Option<Value> {
        let mut members: Vec<(String, Node)> = Vec::new();
        let mut seen: HashMap<String, u32> = HashMap::new();
        self.eat(b'{');
        if self.eat(b'}') {
            return Some(Value::Object(members));
        }
        loop {
            self.peek()?;
            let line = self.line;
            let key = self.string()?;
            if !self.eat(b':') {
                return None;
            }
            let here = place.key(&key);
            let node = Node { line, ..self.node(&here)? };
            if let Some(&first) = seen.get(&key) {
                let path = here.to_string();
                self.duplicates.push(Duplicate { path, first, again: line });
            } else {
                seen.insert(key.clone(), line);
                members.push((key, node));
            }
            if !self.eat(b',') {
                return self.eat(b'}').then_some(Value::Object(members));
            }
        }
    }
}

/// Whether the text opens more arrays and objects than may be nested. Works on any text, so that it
/// can be asked before the text is read.
pub(crate) fn nests_too_deep(text: &str) -> Option<u32> {
    let (mut depth, mut line, mut quoted, mut escaped) = (0_usize, 1_u32, false, false);
    for byte in text.bytes() {
        line += u32::from(byte == b'\n');
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            b'{' | b'[' if !quoted => depth += 1,
            b'}' | b']' if !quoted => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth > limits::NESTING_MAX {
            return Some(line);
        }
    }
    None
}
