//! What a cluster has: objects by resource, namespace and name, and the history that watches are told.

use std::collections::BTreeMap;
use std::sync::{Condvar, Mutex, MutexGuard};

use serde_json::{Value, json};

/// A kind of objects, as discovery tells of it.
#[derive(Debug, Clone)]
pub struct Resource {
    pub group: String,
    pub versions: Vec<String>,
    pub kind: String,
    pub plural: String,
    pub namespaced: bool,
    /// Has the subresource `status`.
    pub status: bool,
    /// `additionalPrinterColumns`.
    pub columns: Vec<Value>,
}

/// Which object: plural, namespace, name. No two groups of the tests have the same plural.
pub type Id = (String, String, String);

/// A change.
#[derive(Debug, Clone)]
pub struct Logged {
    pub version: u64,
    pub id: Id,
    pub before: Option<Value>,
    pub after: Option<Value>,
}

#[derive(Debug, Default)]
pub struct Inner {
    /// The last `resourceVersion`.
    pub version: u64,
    /// Changes up to here are forgotten.
    pub compacted: u64,
    pub resources: Vec<Resource>,
    pub objects: BTreeMap<Id, Value>,
    pub log: Vec<Logged>,
    /// Watches of an older epoch end.
    pub epoch: u64,
    /// Counts writes that were made by HTTP, by verb and path.
    pub writes: Vec<(String, String)>,
}

#[derive(Debug, Default)]
pub struct Store {
    inner: Mutex<Inner>,
    pub changed: Condvar,
}

/// Why a write was not made.
#[derive(Debug)]
pub enum Refusal {
    NotFound,
    Exists,
    Conflict,
    Invalid(String),
}

impl Store {
    pub fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Changes something and wakes the watches.
    pub fn change<T>(&self, change: impl FnOnce(&mut Inner) -> T) -> T {
        let done = change(&mut self.lock());
        self.changed.notify_all();
        done
    }
}

impl Inner {
    pub fn resource(&self, plural: &str) -> Option<&Resource> {
        self.resources.iter().find(|resource| resource.plural == plural)
    }

    /// Makes an object.
    pub fn create(&mut self, id: Id, mut object: Value) -> Result<Value, Refusal> {
        if self.objects.contains_key(&id) {
            return Err(Refusal::Exists);
        }
        self.version += 1;
        let (_, namespace, name) = &id;
        let has_status = self.resource(&id.0).is_some_and(|resource| resource.status);
        if has_status && let Some(members) = object.as_object_mut() {
            members.remove("status");
        }
        let meta = &mut object["metadata"];
        meta["name"] = json!(name);
        if !namespace.is_empty() {
            meta["namespace"] = json!(namespace);
        }
        meta["uid"] = json!(format!("00000000-0000-4000-8000-{:012x}", self.version));
        meta["generation"] = json!(1);
        // Each is a second younger than the one before.
        let at = 1_668_455_000 + self.version;
        let at = k8s_openapi::jiff::Timestamp::from_second(i64::try_from(at).unwrap()).unwrap();
        meta["creationTimestamp"] = json!(at.to_string());
        meta["resourceVersion"] = json!(self.version.to_string());
        self.log(id.clone(), None, Some(object.clone()));
        self.objects.insert(id, object.clone());
        Ok(object)
    }

    /// Replaces an object, or its status only. One that names a version must name the last one.
    pub fn replace(&mut self, id: &Id, mut object: Value, status: bool) -> Result<Value, Refusal> {
        let before = self.objects.get(id).ok_or(Refusal::NotFound)?.clone();
        let named = object["metadata"]["resourceVersion"].as_str().unwrap_or_default();
        if !named.is_empty() && named != before["metadata"]["resourceVersion"] {
            return Err(Refusal::Conflict);
        }
        let has_status = self.resource(&id.0).is_some_and(|resource| resource.status);
        if status {
            let said = object["status"].clone();
            object = before.clone();
            object["status"] = said;
            check_status(&object["status"]).map_err(Refusal::Invalid)?;
        } else if has_status {
            match before.get("status") {
                Some(status) => object["status"] = status.clone(),
                None => drop(object.as_object_mut().map(|members| members.remove("status"))),
            }
        }
        // What the server alone decides.
        for member in
            ["name", "namespace", "uid", "creationTimestamp", "generation", "resourceVersion"]
        {
            match before["metadata"].get(member) {
                Some(value) => object["metadata"][member] = value.clone(),
                None => drop(object["metadata"].as_object_mut().map(|meta| meta.remove(member))),
            }
        }
        if object == before {
            return Ok(object);
        }
        self.version += 1;
        object["metadata"]["resourceVersion"] = json!(self.version.to_string());
        if object.get("spec") != before.get("spec") {
            let generation = before["metadata"]["generation"].as_u64().unwrap_or(1);
            object["metadata"]["generation"] = json!(generation + 1);
        }
        self.log(id.clone(), Some(before), Some(object.clone()));
        self.objects.insert(id.clone(), object.clone());
        Ok(object)
    }

    pub fn delete(&mut self, id: &Id) -> Result<Value, Refusal> {
        let before = self.objects.remove(id).ok_or(Refusal::NotFound)?;
        self.version += 1;
        let mut last = before.clone();
        last["metadata"]["resourceVersion"] = json!(self.version.to_string());
        self.log(id.clone(), Some(last.clone()), None);
        Ok(last)
    }

    fn log(&mut self, id: Id, before: Option<Value>, after: Option<Value>) {
        self.log.push(Logged { version: self.version, id, before, after });
    }

    /// Forgets all changes: whoever wants to go on from one of them must list anew.
    pub fn compact(&mut self) {
        // A version beyond all that anybody has seen.
        self.version += 1;
        self.compacted = self.version;
        self.log.clear();
    }
}

/// What the CRDs of the Gateway API ask of a status.
fn check_status(status: &Value) -> Result<(), String> {
    let elements = |at: &Value| at.as_array().cloned().unwrap_or_default();
    let conditions = |at: &Value, place: &str| -> Result<(), String> {
        for condition in elements(&at["conditions"]) {
            let text = |key: &str| condition[key].as_str().unwrap_or_default();
            let reason_fits = !text("reason").is_empty()
                && text("reason")
                    .chars()
                    .all(|it| it.is_ascii_alphanumeric() || "_,:".contains(it));
            let fits = !text("type").is_empty()
                && reason_fits
                && ["True", "False", "Unknown"].contains(&text("status"))
                && condition["message"].as_str().is_some_and(|it| it.len() <= 32768)
                && text("lastTransitionTime").parse::<k8s_openapi::jiff::Timestamp>().is_ok()
                && text("lastTransitionTime").len() == 20
                && condition["observedGeneration"].is_i64();
            if !fits {
                return Err(format!("status{place}.conditions: Invalid value: {condition}"));
            }
        }
        Ok(())
    };
    conditions(status, "")?;
    for listener in elements(&status["listeners"]) {
        conditions(&listener, ".listeners")?;
        if !listener["name"].is_string()
            || !listener["attachedRoutes"].is_u64()
            || !listener["conditions"].is_array()
            || !listener["supportedKinds"].is_array()
        {
            return Err(format!("status.listeners: Invalid value: {listener}"));
        }
    }
    for (list, refers_by) in [("parents", "parentRef"), ("ancestors", "ancestorRef")] {
        for entry in elements(&status[list]) {
            conditions(&entry, &format!(".{list}"))?;
            let named = entry[refers_by]["name"].is_string();
            let controller = entry["controllerName"].as_str().is_some_and(|it| it.contains('/'));
            if !named || !controller {
                return Err(format!("status.{list}: Invalid value: {entry}"));
            }
        }
    }
    for address in elements(&status["addresses"]) {
        if !address["value"].is_string() {
            return Err(format!("status.addresses: Invalid value: {address}"));
        }
    }
    Ok(())
}
