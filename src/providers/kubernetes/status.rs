//! What became of objects, as Kubernetes tells it: conditions in `status`.
//!
//! A [`Status`] has our part of it only. Who writes it keeps the entries of other controllers, and
//! the `lastTransitionTime` of conditions whose `status` is what it was; here that is null.

use serde_json::{Value, json};

use super::objects::{Kind, Meta};

/// The status of one object.
#[derive(Debug, Clone, PartialEq)]
pub struct Status {
    /// As `gateway.networking.k8s.io/v1`: the version in which the object was read.
    pub api_version: String,
    /// Of what.
    pub kind: Kind,
    /// Empty for kinds that are in none.
    pub namespace: String,
    /// The name.
    pub name: String,
    /// The generation of the object that it is about.
    pub generation: i64,
    /// What goes under `status`. Lists with a `controllerName` (`parents`, `ancestors`) have our
    /// entries only, also none.
    pub value: Value,
}

impl Status {
    /// That of an object.
    pub fn new(kind: Kind, meta: &Meta, value: Value) -> Self {
        Self {
            api_version: meta.api_version.clone(),
            kind,
            namespace: meta.key.namespace.clone(),
            name: meta.key.name.clone(),
            generation: meta.generation,
            value,
        }
    }
}

/// One condition of an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Condition {
    /// As `Accepted`.
    pub kind: &'static str,
    /// Whether it holds.
    pub holds: bool,
    /// One word.
    pub reason: &'static str,
    /// For people.
    pub message: String,
}

impl Condition {
    /// One that holds.
    pub fn yes(kind: &'static str, reason: &'static str) -> Self {
        Self { kind, holds: true, reason, message: String::new() }
    }

    /// One that does not hold, and why.
    pub fn no(kind: &'static str, reason: &'static str, message: impl Into<String>) -> Self {
        Self { kind, holds: false, reason, message: message.into() }
    }

    /// As it is written.
    pub fn value(&self, generation: i64) -> Value {
        json!({
            "type": self.kind,
            "status": if self.holds { "True" } else { "False" },
            "reason": self.reason,
            "message": self.message,
            "observedGeneration": generation,
            "lastTransitionTime": null,
        })
    }
}
