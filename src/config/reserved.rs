//! Names that the contract of the configuration knows and this release does not serve. They are
//! taken out of the tree before it is decoded and each is reported, never skipped in silence: most
//! of them would weaken security or change where connections go. A key leaves this table when its
//! field enters the [document](super::document).

use super::place::Place;
use super::tree::{Node, Value};
use crate::diagnostics::{Diagnostic, NOT_IN_RELEASE};

/// Reserved keys of one kind of object.
type Keys = &'static [&'static str];

const TOP: Keys = &["addresses", "tunnel", "endpoints"];

/// All reserved names, for suggestions: which object they belong to follows from the known keys
/// there.
pub(super) fn beside(known: &[&str]) -> impl Iterator<Item = &'static str> {
    let keys = if known.contains(&"services") { TOP } else { &[] };
    keys.iter().copied()
}

/// Takes the reserved keys of the top level out.
pub(super) fn take_top(root: &mut Node, found: &mut Vec<Diagnostic>) {
    take(root, TOP, &Place::Root, found);
}

/// Takes the reserved keys of one object out and reports those that ask for something.
fn take(node: &mut Node, keys: Keys, place: &Place<'_>, found: &mut Vec<Diagnostic>) {
    let Value::Object(members) = &mut node.value else {
        return;
    };
    members.retain(|(key, value)| {
        let Some(key) = keys.iter().find(|reserved| *reserved == key) else { return true };
        if !matches!(value.value, Value::Null) {
            found.push(report(key, &place.key(key)).at_line(value.line));
        }
        false
    });
}

/// The finding about one reserved key.
fn report(key: &str, place: &Place<'_>) -> Diagnostic {
    let message = format!("`{key}` is known but not in this release");
    Diagnostic::new(&NOT_IN_RELEASE, place, message)
        .hint("remove it: leaving it without effect would serve something else than it says")
}
