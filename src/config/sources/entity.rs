//! A declared service as the admin API shows it: the document with the defaults of Otoroshi's
//! members, who declares it, and a tag that changes when it does.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::sync::Arc;

use serde::Serialize;
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use super::Owner;

/// One declared service, served or not.
#[derive(Debug, Clone)]
pub struct Entity {
    /// Its id.
    pub id: Arc<str>,
    /// Who declares it.
    pub owner: Owner,
    /// Where: a file and, if it is not the whole of it, the place there.
    pub place: String,
    /// The document, with defaults and without `_meta`.
    pub document: Value,
    /// Changes with the document, and only with it.
    pub etag: String,
}

/// The read-only member `_meta`.
#[derive(Debug, Serialize)]
#[allow(missing_docs)] // as in `Entity`
pub struct Meta<'a> {
    pub owner: &'a str,
    pub place: &'a str,
    pub etag: &'a str,
}

impl Entity {
    /// `text` is the document as it was written. `None` if it is no object with an id.
    pub fn read(owner: Owner, place: String, text: &str) -> Option<Self> {
        let document = with_defaults(serde_json::from_str(text).ok()?);
        let id = Arc::from(document.get("id")?.as_str()?);
        let etag = etag(&document);
        Some(Self { id, owner, place, document, etag })
    }

    /// The document with `_meta`.
    pub fn shown(&self) -> Value {
        let meta = Meta { owner: self.owner.word(), place: &self.place, etag: &self.etag };
        let mut document = self.document.clone();
        if let Value::Object(members) = &mut document {
            members.insert("_meta".into(), json!(meta));
        }
        document
    }
}

/// Every declared service, in the order of the sources.
#[derive(Debug, Default)]
pub struct Entities {
    all: Vec<Entity>,
    by_id: HashMap<Arc<str>, usize>,
}

impl FromIterator<Entity> for Entities {
    fn from_iter<I: IntoIterator<Item = Entity>>(entities: I) -> Self {
        let all: Vec<Entity> = entities.into_iter().collect();
        let by_id = all.iter().enumerate().map(|(at, it)| (Arc::clone(&it.id), at)).collect();
        Self { all, by_id }
    }
}

impl Entities {
    /// The one with this id.
    pub fn get(&self, id: &str) -> Option<&Entity> {
        self.all.get(*self.by_id.get(id)?)
    }

    /// All of them, in order.
    pub fn iter(&self) -> impl Iterator<Item = &Entity> {
        self.all.iter()
    }
}

/// A service document with the defaults of the members that Otoroshi's documents have.
pub fn with_defaults(mut document: Value) -> Value {
    let Value::Object(members) = &mut document else { return document };
    members.shift_remove("_meta");
    let defaults = [
        ("_loc", json!({ "tenant": "default", "teams": ["default"] })),
        ("name", json!("")),
        ("description", json!("")),
        ("enabled", json!(true)),
        ("interface", json!("0.0.0.0")),
        ("tls", json!("Disabled")),
        ("clientAuth", json!("None")),
        ("sni", json!({})),
        ("rules", json!([])),
        ("tags", json!([])),
        ("metadata", json!({})),
    ];
    fill(members, defaults);
    if let Some(Value::Object(sni)) = members.get_mut("sni") {
        fill(sni, [("enabled", json!(false)), ("forwardIfNoMatch", json!(false))]);
        if let Some(target) = sni.get_mut("forwardsTo") {
            fill_target(target);
        }
    }
    if let Some(Value::Array(rules)) = members.get_mut("rules") {
        for rule in rules.iter_mut().filter_map(Value::as_object_mut) {
            fill(rule, [("domain", json!("*")), ("targets", json!([]))]);
            if let Some(Value::Array(targets)) = rule.get_mut("targets") {
                targets.iter_mut().for_each(fill_target);
            }
        }
    }
    document
}

fn fill_target(target: &mut Value) {
    if let Value::Object(members) = target {
        if !members.contains_key("srv") {
            fill(members, [("ip", Value::Null), ("port", json!(8080))]);
        }
        fill(members, [("tls", json!(false))]);
    }
}

fn fill<const N: usize>(members: &mut Map<String, Value>, defaults: [(&str, Value); N]) {
    for (key, value) in defaults {
        if !members.contains_key(key) {
            members.insert(key.to_owned(), value);
        }
    }
}

/// The hash of a document; the order of its members does not matter.
fn etag(document: &Value) -> String {
    let mut hash = Sha256::new();
    absorb(&mut hash, document);
    let mut tag = String::with_capacity(32);
    for byte in hash.finalize().iter().take(16) {
        let _ = write!(tag, "{byte:02x}");
    }
    tag
}

/// Feeds a value with its members sorted.
fn absorb(hash: &mut Sha256, value: &Value) {
    match value {
        Value::Object(members) => {
            let mut sorted: Vec<_> = members.iter().collect();
            sorted.sort_unstable_by_key(|(key, _)| *key);
            hash.update(b"{");
            for (key, value) in sorted {
                hash.update(Value::from(key.as_str()).to_string());
                hash.update(b":");
                absorb(hash, value);
                hash.update(b",");
            }
            hash.update(b"}");
        }
        Value::Array(elements) => {
            hash.update(b"[");
            for element in elements {
                absorb(hash, element);
                hash.update(b",");
            }
            hash.update(b"]");
        }
        scalar => hash.update(scalar.to_string()),
    }
}
