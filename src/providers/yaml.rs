//! YAML 1.2 as trees that know their lines, by way of the events of `saphyr-parser`. Scalars are read
//! by the core schema (YAML 1.2.2 §10.3), so that `yes` and `on` are texts; `<<` merges, as Compose
//! files use it. Aliases are copies, and what they make is bounded.

use std::collections::HashMap;

use saphyr_parser::{Event, Parser, ScalarStyle};

use crate::config::limits;
use crate::config::tree::{Node, Value};
use crate::diagnostics::{Diagnostic, FOREIGN_SYNTAX, visible};

/// Reads all documents of a stream, those before a fault also where there is one.
pub(super) fn documents(text: &str, documents: &mut Vec<Node>) -> Result<(), Diagnostic> {
    let mut reader = Reader { open: Vec::new(), anchors: HashMap::new(), nodes: 0 };
    for event in Parser::new_from_str(text) {
        let (event, span) = event.map_err(|error| {
            fault(error.marker().line(), format!("not YAML: {}", visible(error.info())))
        })?;
        let line = u32::try_from(span.start.line()).unwrap_or(u32::MAX);
        reader.take(event, line, documents)?;
    }
    Ok(())
}

fn fault(line: usize, message: String) -> Diagnostic {
    let line = u32::try_from(line).unwrap_or(u32::MAX);
    Diagnostic::new(&FOREIGN_SYNTAX, "", message).at_line(line)
}

struct Reader {
    /// Collections that are not finished, the outermost first.
    open: Vec<Open>,
    anchors: HashMap<usize, Node>,
    /// How many nodes there are, copies by aliases among them.
    nodes: usize,
}

struct Open {
    line: u32,
    anchor: usize,
    into: Into,
}

enum Into {
    Array(Vec<Node>),
    /// With the key whose value comes next.
    Object(Vec<(String, Node)>, Option<(String, u32)>),
}

impl Reader {
    fn take(
        &mut self,
        event: Event<'_>,
        line: u32,
        documents: &mut Vec<Node>,
    ) -> Result<(), Diagnostic> {
        let (node, anchor) = match event {
            Event::SequenceStart(anchor, _) => {
                return self.open(Open { line, anchor, into: Into::Array(Vec::new()) });
            }
            Event::MappingStart(anchor, _) => {
                return self.open(Open { line, anchor, into: Into::Object(Vec::new(), None) });
            }
            Event::SequenceEnd | Event::MappingEnd => match self.open.pop() {
                Some(Open { line, anchor, into: Into::Array(elements) }) => {
                    (Node { line, value: Value::Array(elements) }, anchor)
                }
                Some(Open { line, anchor, into: Into::Object(members, _) }) => {
                    (Node { line, value: Value::Object(merged(members)) }, anchor)
                }
                None => return Ok(()),
            },
            Event::Scalar(text, style, anchor, tag) => {
                let is_text = tag.is_some_and(|tag| tag.suffix == "str");
                let plain = style == ScalarStyle::Plain && !is_text;
                let value = if plain { scalar(&text) } else { Value::String(text.into_owned()) };
                // A key is its text, whatever else it could be.
                if let Some(Open { into: Into::Object(_, key @ None), .. }) = self.open.last_mut() {
                    let text = match value {
                        Value::String(text) => text,
                        other => {
                            serde_json::to_string(&Node { line, value: other }).unwrap_or_default()
                        }
                    };
                    *key = Some((text, line));
                    return Ok(());
                }
                (Node { line, value }, anchor)
            }
            Event::Alias(anchor) => match self.anchors.get(&anchor) {
                Some(node) => (node.clone(), 0),
                None => return Err(fault(line as usize, "an alias of nothing before it".into())),
            },
            _ => return Ok(()),
        };
        self.nodes += node.count();
        if self.nodes > limits::YAML_NODES_MAX {
            let message = format!("more than {} values, with aliases", limits::YAML_NODES_MAX);
            return Err(fault(line as usize, message));
        }
        if anchor > 0 {
            self.anchors.insert(anchor, node.clone());
        }
        self.put(node, documents)
    }

    fn open(&mut self, open: Open) -> Result<(), Diagnostic> {
        if self.open.len() >= limits::NESTING_MAX {
            return Err(fault(open.line as usize, "nested more than 127 deep".into()));
        }
        if let Some(Open { into: Into::Object(_, None), .. }) = self.open.last() {
            return Err(fault(open.line as usize, "a key that is no text".into()));
        }
        self.open.push(open);
        Ok(())
    }

    fn put(&mut self, node: Node, documents: &mut Vec<Node>) -> Result<(), Diagnostic> {
        match self.open.last_mut().map(|open| &mut open.into) {
            None => documents.push(node),
            Some(Into::Array(elements)) => elements.push(node),
            Some(Into::Object(members, key)) => match key.take() {
                Some((key, line)) => {
                    if key != "<<" && members.iter().any(|(known, _)| *known == key) {
                        let message = format!("the key `{}` occurs twice", visible(&key));
                        return Err(fault(line as usize, message));
                    }
                    members.push((key, Node { line, ..node }));
                }
                None => return Err(fault(node.line as usize, "a key that is no text".into())),
            },
        }
        Ok(())
    }
}

/// The members with those of `<<` behind them, where they have no such key themselves.
fn merged(members: Vec<(String, Node)>) -> Vec<(String, Node)> {
    if !members.iter().any(|(key, _)| key == "<<") {
        return members;
    }
    let (merges, mut own): (Vec<_>, Vec<_>) = members.into_iter().partition(|(key, _)| key == "<<");
    let sources = merges.into_iter().flat_map(|(_, node)| match node.value {
        Value::Array(elements) => elements,
        value => vec![Node { line: node.line, value }],
    });
    for source in sources {
        let Value::Object(members) = source.value else { continue };
        for (key, node) in members {
            if !own.iter().any(|(known, _)| *known == key) {
                own.push((key, node));
            }
        }
    }
    own
}

/// A plain scalar by the core schema.
fn scalar(text: &str) -> Value {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Value::Null,
        "true" | "True" | "TRUE" => return Value::Bool(true),
        "false" | "False" | "FALSE" => return Value::Bool(false),
        _ => {}
    }
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    if digits.bytes().next().is_some_and(|byte| byte.is_ascii_digit() || byte == b'.') {
        let radix = |prefix, radix| {
            text.strip_prefix(prefix).and_then(|text| u64::from_str_radix(text, radix).ok())
        };
        if let Some(number) = radix("0x", 16).or_else(|| radix("0o", 8)) {
            return Value::Number(number.into());
        }
        if let Ok(number) = text.parse::<u64>() {
            return Value::Number(number.into());
        }
        if let Ok(number) = text.parse::<i64>() {
            return Value::Number(number.into());
        }
        let float = text.bytes().all(|b| b.is_ascii_digit() || b".eE+-".contains(&b));
        let float = text.parse::<f64>().ok().filter(|_| float);
        if let Some(number) = float.and_then(serde_json::Number::from_f64) {
            return Value::Number(number);
        }
    }
    Value::String(text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> String {
        let mut nodes = Vec::new();
        documents(text, &mut nodes).unwrap();
        serde_json::to_string(&nodes).unwrap()
    }

    #[test]
    fn the_core_schema_holds() {
        let text = "a: 1\nb: yes\nc: 'true'\nd: ~\ne: 0x10\nf: 1.5\ng: 1.2.3\nh: -3\n8080: x\ni: \"1\"\nj: 12:34\n";
        let read = read(text);
        let expected = r#"[{"a":1,"b":"yes","c":"true","d":null,"e":16,"f":1.5,"g":"1.2.3","h":-3,"8080":"x","i":"1","j":"12:34"}]"#;
        assert_eq!(read, expected);
    }

    #[test]
    fn aliases_and_merges_are_copies() {
        let text = "base: &b {x: 1, y: 2}\none: *b\ntwo:\n  <<: *b\n  y: 3\n---\n- a\n";
        let expected = r#"[{"base":{"x":1,"y":2},"one":{"x":1,"y":2},"two":{"y":3,"x":1}},["a"]]"#;
        assert_eq!(read(text), expected);
    }

    #[test]
    fn faults_have_their_line_and_keep_what_was_before() {
        let mut nodes = Vec::new();
        let fault = documents("a: 1\n---\nb: [1\nc: 2\n", &mut nodes).unwrap_err();
        assert_eq!(nodes.len(), 1);
        assert!(fault.line.is_some_and(|line| line >= 3), "{fault:?}");
        let twice = documents("a: 1\na: 2\n", &mut nodes).unwrap_err();
        assert_eq!(twice.line, Some(2));
    }

    #[test]
    fn aliases_do_not_multiply_without_bound() {
        let mut text = String::from("a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n");
        for n in 1..12 {
            let before = format!("*a{}", n - 1);
            let list = vec![before; 10].join(",");
            text += &format!("a{n}: &a{n} [{list}]\n");
        }
        assert!(documents(&text, &mut Vec::new()).is_err());
    }
}
