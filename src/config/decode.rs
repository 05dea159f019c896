//! From text to the [document](super::document): syntax, duplicate keys, and all faults of shape at
//! once.
//!
//! Serde stops at its first fault. So each is recorded, the tree is repaired where it is (the bad
//! member is dropped, a bad element becomes an empty object) and the rest is decoded again. Each
//! service is decoded by itself, so that a fault costs the decoding of one service and not of all.
//! Paths that were repaired are kept: [`super::check`] must not report what follows from them.

use std::collections::HashSet;
use std::fmt::Write as _;

use serde::de::DeserializeOwned;
use serde_path_to_error::Segment;

use super::document::{Document, Service};
use super::fit::Fault;
use super::limits::FAULTS_MAX;
use super::place::Place;
use super::reserved;
use super::tree::{Duplicate, Node, Value, nests_too_deep};
use crate::diagnostics::{
    DUPLICATE_KEY, Diagnostic, EMPTY, MORE_FAULTS, NOT_UTF8, SYNTAX, TOO_DEEP, WRONG_TYPE,
};

mod wording;

/// A document that has a shape, though maybe not that of the text.
#[derive(Debug, Clone, Default)]
pub(super) struct Decoded {
    pub(super) document: Document,
    /// Each service as it was written, on one line.
    pub(super) sources: Vec<String>,
    /// Knows the line of each place.
    pub(super) tree: Node,
    /// Places that had a fault of shape: what the document has there was not written.
    pub(super) broken: HashSet<String>,
}

impl Decoded {
    /// Takes all services out.
    pub(super) fn without_services(&mut self) {
        self.document.services.clear();
        self.sources.clear();
        self.tree.remove("services");
    }

    /// Decodes one more service, whose text is a document of its own, behind those there are. Places
    /// in it are those of the whole; lines are its own.
    pub(super) fn append(&mut self, text: &str, found: &mut Vec<Diagnostic>) {
        let empty = || Node { line: 1, value: Value::Object(Vec::new()) };
        let at = self.document.services.len();
        let services = Place::Root.key("services");
        let place = services.index(at);
        let mut node = match parse(text, "a service", found) {
            Ok(node) => node,
            Err(finding) => {
                found.push(finding);
                self.broken.insert(place.to_string());
                empty()
            }
        };
        self.sources.push(serde_json::to_string(&node).unwrap_or_default());
        let broken = std::mem::take(&mut self.broken);
        let mut shape = Shape { found, broken, faults: 0 };
        self.document.services.push(shape.fit(&mut node, &place));
        self.broken = shape.broken;
        self.tree.push_to("services", node);
    }
}

/// Decodes a configuration. `None` if nothing of it can be used.
pub(super) fn decode(text: &str, found: &mut Vec<Diagnostic>) -> Option<Decoded> {
    let mut tree = match parse(text, "the configuration", found) {
        Ok(tree) => tree,
        Err(finding) => {
            found.push(finding);
            return None;
        }
    };
    reserved::take_top(&mut tree, found);
    // An array of services is decoded element by element; anything else there is a fault of the
    // top level.
    let whole = matches!(tree.get("services"), Some(Node { value: Value::Array(_), .. }));
    let services = if whole { tree.remove("services") } else { None };

    let mut shape = Shape { found, broken: HashSet::new(), faults: 0 };
    let mut document: Document = shape.fit(&mut tree, &Place::Root);
    let mut sources = Vec::new();
    if let Some(mut services) = services {
        let place = Place::Root.key("services");
        if let Value::Array(elements) = &mut services.value {
            for (at, element) in elements.iter_mut().enumerate() {
                sources.push(serde_json::to_string(element).unwrap_or_default());
                document.services.push(shape.service(element, &place.index(at)));
            }
        }
        if let Value::Object(members) = &mut tree.value {
            members.push(("services".into(), services));
        }
    }
    let Shape { broken, .. } = shape;
    Some(Decoded { document, sources, tree, broken })
}

/// What is wrong with a text before it is looked at as anything: syntax, and keys that occur twice.
pub(super) fn faults_of_text(text: &str) -> Vec<Diagnostic> {
    let mut found = Vec::new();
    if let Err(finding) = parse(text, "a service", &mut found) {
        found.push(finding);
    }
    found
}

/// Decodes a node of a foreign document, and reports all faults of shape in it, at paths that start
/// there.
pub(crate) fn fit<T: DeserializeOwned + Default>(
    node: &mut Node,
    found: &mut Vec<Diagnostic>,
) -> Fitted<T> {
    let mut shape = Shape { found, broken: HashSet::new(), faults: 0 };
    let value = shape.fit(node, &Place::Root);
    Fitted { value, broken: shape.broken }
}

/// What was decoded, though maybe not all that was written.
#[derive(Debug)]
pub(crate) struct Fitted<T> {
    pub(crate) value: T,
    /// Places that had a fault of shape: what the value has there was not written.
    pub(crate) broken: HashSet<String>,
}

/// The text as a tree whose root is an object: `what` it is of.
fn parse(text: &str, what: &str, found: &mut Vec<Diagnostic>) -> Result<Node, Diagnostic> {
    let (tree, duplicates) = read(text)?;
    if !matches!(tree.value, Value::Object(_)) {
        let example = match what {
            "a service" => "{ \"id\": …, \"port\": … }",
            _ => "{ \"services\": [ … ] }",
        };
        return Err(Diagnostic::new(&WRONG_TYPE, "", format!("{what} must be an object"))
            .at_line(tree.line)
            .hint(example));
    }
    for duplicate in duplicates.into_iter().take(FAULTS_MAX) {
        found.push(twice(duplicate));
    }
    Ok(tree)
}

/// Reads text of any shape as JSON.
pub(crate) fn parse_any(text: &str, found: &mut Vec<Diagnostic>) -> Result<Node, Diagnostic> {
    let (tree, duplicates) = read(text)?;
    found.extend(duplicates.into_iter().take(FAULTS_MAX).map(twice));
    Ok(tree)
}

fn twice(duplicate: Duplicate) -> Diagnostic {
    let message = format!("duplicate key, first given in line {}", duplicate.first);
    Diagnostic::new(&DUPLICATE_KEY, duplicate.path, message)
        .at_line(duplicate.again)
        .hint("keep one of them")
}

/// The text as a tree, and the keys that occur twice.
fn read(text: &str) -> Result<(Node, Vec<Duplicate>), Diagnostic> {
    if text.starts_with('\u{feff}') {
        return Err(Diagnostic::new(&NOT_UTF8, "", "the file starts with a byte order mark")
            .at_line(1)
            .hint("save it as UTF-8 without a byte order mark"));
    }
    if text.trim().is_empty() {
        return Err(Diagnostic::new(&EMPTY, "", "the file is empty")
            .hint("the smallest configuration is {}"));
    }
    if let Some(line) = nests_too_deep(text) {
        let message = "objects and arrays are nested more than 127 deep";
        return Err(Diagnostic::new(&TOO_DEEP, "", message).at_line(line));
    }
    serde_json::from_str::<serde_json::Value>(text)
        .map_err(|error| wording::syntax(text, &error))?;
    Node::read(text).ok_or_else(|| Diagnostic::new(&SYNTAX, "", "the file cannot be read as JSON"))
}

/// The search for faults of shape.
struct Shape<'a> {
    found: &'a mut Vec<Diagnostic>,
    broken: HashSet<String>,
    faults: usize,
}

impl Shape<'_> {
    /// Decodes one service.
    fn service(&mut self, node: &mut Node, place: &Place<'_>) -> Service {
        self.fit(node, place)
    }

    /// Decodes a node, repairing it until it fits.
    fn fit<T: DeserializeOwned + Default>(&mut self, node: &mut Node, place: &Place<'_>) -> T {
        loop {
            let error = match serde_path_to_error::deserialize(&*node) {
                Ok(value) => return value,
                Err(error) => error,
            };
            if self.faults == FAULTS_MAX {
                self.broken.insert(place.to_string());
                let message = format!("only the first {FAULTS_MAX} faults of shape are shown");
                if !self.found.iter().any(|finding| finding.code == MORE_FAULTS.code) {
                    self.found.push(Diagnostic::new(&MORE_FAULTS, "", message));
                }
                return T::default();
            }
            self.faults += 1;
            let steps = steps(error.path());
            let fault = error.into_inner();
            self.report(node, place, &steps, &fault);
            repair(node, &steps, &fault);
        }
    }

    /// Records a fault and which places it makes unreliable.
    fn report(&mut self, node: &Node, place: &Place<'_>, steps: &[Step], fault: &Fault) {
        let mut path = place.to_string();
        let mut outer = String::new();
        let mut line = node.line;
        let mut inner = Some(node);
        for step in steps {
            outer.clone_from(&path);
            inner = inner.and_then(|node| step.of(node));
            line = inner.map_or(line, |node| node.line);
            step.append(&mut path);
        }
        let mut wrong = path.clone();
        match fault {
            Fault::UnknownKey { key, expected } => {
                // What was misspelt is not missing as well.
                if let Some(meant) = wording::meant(key, expected) {
                    Step::Key(meant.into()).append(&mut outer);
                    self.broken.insert(outer);
                }
            }
            Fault::MissingKey { key } => Step::Key((*key).into()).append(&mut wrong),
            _ => {}
        }
        let reported = self.broken.contains(&wrong);
        self.broken.insert(path);
        if reported {
            return;
        }
        self.found.push(wording::shape(fault, &wrong).at_line(line));
    }
}

/// One step of the path to a fault.
#[derive(Debug)]
enum Step {
    Key(String),
    Index(usize),
}

impl Step {
    /// Where the step leads.
    fn of<'a>(&self, node: &'a Node) -> Option<&'a Node> {
        match self {
            Self::Key(key) => node.get(key),
            Self::Index(index) => node.elements().get(*index),
        }
    }

    /// Adds the step to a path.
    fn append(&self, path: &mut String) {
        match self {
            Self::Key(key) => {
                if !path.is_empty() {
                    path.push('.');
                }
                path.push_str(key);
            }
            Self::Index(index) => {
                let _ = write!(path, "[{index}]");
            }
        }
    }
}

/// The steps of the path that serde took.
fn steps(path: &serde_path_to_error::Path) -> Vec<Step> {
    path.iter()
        .map_while(|segment| match segment {
            Segment::Seq { index } => Some(Step::Index(*index)),
            Segment::Map { key } => Some(Step::Key(key.clone())),
            Segment::Enum { .. } | Segment::Unknown => None,
        })
        .collect()
}

/// Makes the node decode further than it did: drops the member at the end of the path, or empties
/// the element there. Every call makes the tree smaller, so that repairing ends.
fn repair(node: &mut Node, steps: &[Step], fault: &Fault) {
    let Some((last, outer)) = steps.split_last() else {
        node.value = Value::Object(Vec::new());
        return;
    };
    let parent = outer.iter().try_fold(&mut *node, |node, step| match (&mut node.value, step) {
        (Value::Object(members), Step::Key(key)) => {
            members.iter_mut().find(|(k, _)| k == key).map(|(_, node)| node)
        }
        (Value::Array(elements), Step::Index(index)) => elements.get_mut(*index),
        _ => None,
    });
    let mended = match (parent, last) {
        (Some(parent), Step::Key(key)) => parent.remove(key).is_some(),
        (Some(Node { value: Value::Array(elements), .. }), Step::Index(index)) => {
            // The indices of the elements after it must stay as they were written.
            let objects = matches!(fault, Fault::WrongType { expected, .. } if expected == OBJECT);
            match elements.get_mut(*index) {
                Some(element) if objects => {
                    element.value = Value::Object(Vec::new());
                    true
                }
                _ => {
                    // An array of plain values is dropped whole.
                    repair(node, outer, fault);
                    true
                }
            }
        }
        _ => false,
    };
    if !mended {
        node.value = Value::Object(Vec::new());
    }
}

/// What [`Fault::WrongType`] says where an object was expected.
const OBJECT: &str = "an object";
