//! Files of other systems: found by patterns, read, and taken apart into the documents in them. All
//! that is wrong is told with file, path and line.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use serde::de::DeserializeOwned;

use super::yaml;
use crate::config::decode;
use crate::config::limits;
use crate::config::read;
use crate::config::tree::{Node, Value};
use crate::diagnostics::{Diagnostic, FOREIGN_FILE, FOREIGN_SYNTAX, NO_FILES, visible};

/// How a file is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// One JSON object, or an array of them.
    Json,
    /// YAML 1.2, of which JSON is a part; documents separated by `---`.
    Yaml,
}

/// One file.
#[derive(Debug, Clone)]
pub struct File {
    /// The absolute path, as people know it.
    pub place: Arc<str>,
    /// Where its relative paths start.
    pub dir: PathBuf,
    /// What is in it.
    pub text: String,
}

/// One document in a file.
#[derive(Debug)]
pub struct Part {
    /// The file.
    pub place: Arc<str>,
    /// Where its relative paths start.
    pub dir: PathBuf,
    /// Where in the file, if it is not the whole: as `[2]` or `items[2]`.
    pub path: String,
    node: Node,
}

/// A document that was decoded.
#[derive(Debug)]
pub struct Decoded<T> {
    /// What it says.
    pub value: T,
    /// Paths that had a fault, which was told: the value has a default there, or nothing.
    pub broken: HashSet<String>,
}

/// What was read of the files that providers name. It is read once for each load of the main file:
/// what a live provider tells in between must not bring half of an edit along.
#[derive(Debug, Default)]
pub struct Files {
    read: Mutex<HashMap<String, Read>>,
}

/// Files, and what was found while they were read.
type Read = (Vec<File>, Vec<Diagnostic>);

impl Files {
    /// The files that patterns name, each once, in the order of the patterns and of the names. `key` is
    /// where the patterns stand in the main file, as `providers.tyk.files`; patterns start at `dir`.
    pub fn get(
        &self,
        patterns: &[String],
        dir: &Path,
        key: &str,
        found: &mut Vec<Diagnostic>,
    ) -> Vec<File> {
        let mut read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        let (files, findings) = read.entry(key.to_owned()).or_insert_with(|| {
            let mut found = Vec::new();
            (read_all(patterns, dir, key, &mut found), found)
        });
        found.extend(findings.iter().cloned());
        files.clone()
    }

    /// As [`Files::get`], of one file.
    pub fn one(&self, path: &Path, found: &mut Vec<Diagnostic>) -> Option<File> {
        let mut read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        let key = format!("file {}", path.display());
        let (files, findings) = read.entry(key).or_insert_with(|| {
            let mut found = Vec::new();
            (file(path, &mut found).into_iter().collect(), found)
        });
        found.extend(findings.iter().cloned());
        files.first().cloned()
    }
}

fn read_all(patterns: &[String], dir: &Path, key: &str, found: &mut Vec<Diagnostic>) -> Vec<File> {
    let mut seen = HashSet::new();
    let mut files = Vec::new();
    for (at, pattern) in patterns.iter().enumerate() {
        let place = format!("{key}[{at}]");
        let whole = dir.join(pattern);
        let literal = !pattern.contains(['*', '?', '[']);
        let paths: Vec<PathBuf> = match whole.to_str().map(glob::glob) {
            _ if literal => vec![whole],
            Some(Ok(paths)) => paths.filter_map(Result::ok).filter(|path| path.is_file()).collect(),
            Some(Err(error)) => {
                let message = format!("`{}` is no pattern: {}", visible(pattern), error.msg);
                found.push(Diagnostic::new(&FOREIGN_FILE, place, message));
                continue;
            }
            None => continue,
        };
        if paths.is_empty() {
            let message = format!("no file fits `{}`", visible(pattern));
            found.push(Diagnostic::new(&NO_FILES, &place, message));
        }
        for path in paths {
            if seen.insert(path.clone()) {
                files.extend(file(&path, found));
            }
        }
    }
    files
}

/// Reads one file.
fn file(path: &Path, found: &mut Vec<Diagnostic>) -> Option<File> {
    let place: Arc<str> = path.display().to_string().into();
    match read::text_within(path, limits::FOREIGN_BYTES_MAX) {
        Ok((text, dir)) => Some(File { place, dir, text }),
        Err(fault) => {
            let hint = "check it under `providers`; a relative path starts at the main file";
            let finding = Diagnostic::new(&FOREIGN_FILE, "", fault.message).in_file(&place);
            found.push(finding.at_line(fault.line).hint(hint));
            None
        }
    }
}

impl File {
    /// The documents in it, up to the first fault of syntax. The elements of a JSON array, and the
    /// `items` of a Kubernetes `List`, are documents of their own.
    pub fn parts(&self, format: Format, found: &mut Vec<Diagnostic>) -> Vec<Part> {
        let mut nodes = Vec::new();
        match format {
            Format::Json => match self.json(found) {
                Ok(node) => nodes.push(node),
                Err(fault) => found.push(fault.in_file(&self.place)),
            },
            Format::Yaml => {
                if let Err(fault) = yaml::documents(&self.text, &mut nodes) {
                    found.push(fault.in_file(&self.place));
                }
            }
        }
        let mut parts = Vec::new();
        for node in nodes {
            self.take_apart(node, String::new(), &mut parts);
        }
        parts
    }

    fn json(&self, found: &mut Vec<Diagnostic>) -> Result<Node, Diagnostic> {
        let mut twice = Vec::new();
        let read = decode::parse_any(&self.text, &mut twice);
        found.extend(twice.into_iter().map(|finding| finding.in_file(&self.place)));
        read.map_err(|fault| {
            let mut finding = Diagnostic::new(&FOREIGN_SYNTAX, "", fault.message);
            (finding.line, finding.hint) = (fault.line, fault.hint);
            finding
        })
    }

    fn take_apart(&self, node: Node, path: String, parts: &mut Vec<Part>) {
        let is_list = node.get("kind").is_some_and(
            |kind| matches!(&kind.value, Value::String(kind) if kind.ends_with("List")),
        );
        match node.value {
            Value::Array(elements) => {
                for (at, element) in elements.into_iter().enumerate() {
                    self.take_apart(element, format!("{path}[{at}]"), parts);
                }
            }
            Value::Object(members) if is_list => {
                let items = members.into_iter().find(|(key, _)| key == "items");
                if let Some((_, items)) = items {
                    self.take_apart(items, format!("{path}items"), parts);
                }
            }
            Value::Null => {}
            value => {
                let node = Node { line: node.line, value };
                parts.push(Part {
                    place: Arc::clone(&self.place),
                    dir: self.dir.clone(),
                    path,
                    node,
                });
            }
        }
    }
}

impl Part {
    /// One that is not from a file, as an object that an API has sent.
    pub fn of_value(place: Arc<str>, value: &serde_json::Value) -> Self {
        let node = Node::of_value(value);
        Self { place, dir: PathBuf::new(), path: String::new(), node }
    }

    /// The line where it begins.
    pub fn line(&self) -> u32 {
        self.node.line
    }

    /// Drops members that are null, at any depth: to Kubernetes they are not there.
    pub fn drop_nulls(&mut self) {
        self.node.drop_nulls();
    }

    /// Forgets what is in it, all but its place and the line where it begins.
    pub fn shed(&mut self) {
        self.node.value = Value::Null;
    }

    /// A text at a chain of keys, as `["metadata", "name"]`.
    pub fn text_at(&self, keys: &[&str]) -> Option<&str> {
        match &self.at(keys)?.value {
            Value::String(text) => Some(text),
            _ => None,
        }
    }

    /// Whether there is anything at a chain of keys, also null.
    pub fn has(&self, keys: &[&str]) -> bool {
        self.at(keys).is_some()
    }

    /// The keys of the object at a chain of keys.
    pub fn keys_at(&self, keys: &[&str]) -> impl Iterator<Item = &str> {
        let members = match self.at(keys).map(|node| &node.value) {
            Some(Value::Object(members)) => members.as_slice(),
            _ => &[],
        };
        members.iter().map(|(key, _)| key.as_str())
    }

    fn at(&self, keys: &[&str]) -> Option<&Node> {
        keys.iter().try_fold(&self.node, |node, key| node.get(key))
    }

    /// Decodes it. Serde's structs say what is read: without `deny_unknown_fields` other keys are
    /// passed over. Every fault of shape is told; where one is, the value has its default.
    pub fn decode<T: DeserializeOwned + Default>(
        &mut self,
        found: &mut Vec<Diagnostic>,
    ) -> Decoded<T> {
        let from = found.len();
        let fitted = decode::fit(&mut self.node, found);
        for finding in found.iter_mut().skip(from) {
            finding.file = Some(Arc::clone(&self.place));
            finding.path = self.path_of(&finding.path);
        }
        Decoded { value: fitted.value, broken: fitted.broken }
    }

    /// A finding at a path in it, as `spec.rules[0].port`, with its line.
    pub fn finding(
        &self,
        code: &'static crate::diagnostics::Code,
        path: &str,
        message: impl Into<String>,
    ) -> Diagnostic {
        Diagnostic::new(code, self.path_of(path), message)
            .in_file(&self.place)
            .at_line(self.line_of(path))
    }

    /// The line of a path in it, or of the innermost part of it that exists. 0 has none.
    pub fn line_of(&self, path: &str) -> Option<u32> {
        let mut node = &self.node;
        for step in path.split(['.', '[']).filter(|step| !step.is_empty()) {
            let next = match step.strip_suffix(']') {
                Some(index) => index.parse().ok().and_then(|at: usize| node.elements().get(at)),
                None => node.get(step),
            };
            let Some(next) = next else { break };
            node = next;
        }
        Some(node.line).filter(|line| *line > 0)
    }

    fn path_of(&self, path: &str) -> String {
        match (self.path.as_str(), path) {
            ("", path) | (path, "") => path.to_owned(),
            (outer, inner) if inner.starts_with('[') => format!("{outer}{inner}"),
            (outer, inner) => format!("{outer}.{inner}"),
        }
    }
}
