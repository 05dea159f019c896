//! What each request means.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::http::Request;
use super::rules::{Rules, Wanted};
use super::store::{Inner, Refusal, Resource};
use super::watch::{Selects, Watch, at_path};
use super::{ADMIN, PROXY, Shared, id};

/// What is answered.
pub enum Answer {
    Document(u16, Value),
    Watch(Watch),
}

/// What a path points at.
#[derive(Debug)]
pub struct At {
    pub group: String,
    pub version: String,
    pub plural: String,
    pub namespace: String,
    pub name: Option<String>,
    pub status: bool,
}

impl At {
    pub fn of(path: &str) -> Option<At> {
        let mut steps = path.split('/').filter(|step| !step.is_empty()).map(str::to_owned);
        let (group, version) = match steps.next()?.as_str() {
            "api" => (String::new(), steps.next()?),
            "apis" => (steps.next()?, steps.next()?),
            _ => return None,
        };
        let rest: Vec<String> = steps.collect();
        let mut rest = rest.as_slice();
        let mut namespace = String::new();
        if let [first, of, _, ..] = rest
            && first == "namespaces"
        {
            namespace.clone_from(of);
            rest = &rest[2..];
        }
        let plural = rest.first()?.clone();
        let name = rest.get(1).cloned();
        let status = rest.get(2).is_some_and(|it| it == "status");
        Some(At { group, version, plural, namespace, name, status })
    }
}

pub fn failure(code: u16, reason: &str, message: &str) -> Value {
    json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
        "message": message, "reason": reason, "code": code,
    })
}

fn fail(code: u16, reason: &str, message: &str) -> Answer {
    Answer::Document(code, failure(code, reason, message))
}

/// Answers one request.
pub fn answer(server: &Shared, request: &Request) -> Answer {
    let token = request.header("authorization").strip_prefix("Bearer ").unwrap_or_default();
    if token != PROXY && token != ADMIN {
        return fail(401, "Unauthorized", "Unauthorized");
    }
    let steps: Vec<&str> = request.path.split('/').filter(|step| !step.is_empty()).collect();
    let store = server.store.lock();
    match steps.as_slice() {
        ["version"] => {
            return Answer::Document(
                200,
                json!({ "major": "1", "minor": "33", "gitVersion": "v1.33.0" }),
            );
        }
        ["api"] => {
            return Answer::Document(200, json!({ "kind": "APIVersions", "versions": ["v1"] }));
        }
        ["apis"] => return Answer::Document(200, groups(&store)),
        ["api", version] => return kinds(&store, "", version),
        ["apis", group, version] => return kinds(&store, group, version),
        _ => {}
    }
    drop(store);
    match At::of(&request.path) {
        Some(at) => object(server, request, &at, token == ADMIN),
        None => fail(404, "NotFound", "the server could not find the requested resource"),
    }
}

fn groups(store: &Inner) -> Value {
    let mut groups: Vec<Value> = Vec::new();
    for resource in store.resources.iter().filter(|resource| !resource.group.is_empty()) {
        if groups.iter().any(|group| group["name"] == *resource.group) {
            continue;
        }
        let mut versions: Vec<&str> = store
            .resources
            .iter()
            .filter(|it| it.group == resource.group)
            .flat_map(|it| it.versions.iter().map(String::as_str))
            .collect();
        versions.sort_unstable();
        versions.dedup();
        let of = |version: &&str| json!({ "groupVersion": format!("{}/{version}", resource.group), "version": version });
        groups.push(json!({
            "name": resource.group,
            "versions": versions.iter().map(of).collect::<Vec<_>>(),
            "preferredVersion": versions.first().map(of),
        }));
    }
    json!({ "kind": "APIGroupList", "apiVersion": "v1", "groups": groups })
}

fn kinds(store: &Inner, group: &str, version: &str) -> Answer {
    let serves = |it: &&Resource| it.group == group && it.versions.iter().any(|it| it == version);
    let mut resources = Vec::new();
    for resource in store.resources.iter().filter(serves) {
        resources.push(json!({
            "name": resource.plural, "singularName": resource.kind.to_lowercase(),
            "namespaced": resource.namespaced, "kind": resource.kind,
            "verbs": ["create", "delete", "get", "list", "patch", "update", "watch"],
        }));
        if resource.status {
            resources.push(json!({
                "name": format!("{}/status", resource.plural), "singularName": "",
                "namespaced": resource.namespaced, "kind": resource.kind,
                "verbs": ["get", "patch", "update"],
            }));
        }
    }
    if resources.is_empty() {
        return fail(404, "NotFound", "the server could not find the requested resource");
    }
    let group_version =
        if group.is_empty() { version.to_owned() } else { format!("{group}/{version}") };
    Answer::Document(
        200,
        json!({
            "kind": "APIResourceList", "apiVersion": "v1", "groupVersion": group_version, "resources": resources,
        }),
    )
}

/// A request about objects.
fn object(server: &Shared, request: &Request, at: &At, may_all: bool) -> Answer {
    let watches = request.query("watch").is_some_and(|it| it == "true" || it == "1");
    let verb = match (request.method.as_str(), &at.name) {
        ("GET", None) if watches => "watch",
        ("GET", None) => "list",
        ("GET", Some(_)) => "get",
        ("POST", _) => "create",
        ("PUT", _) => "update",
        ("PATCH", _) => "patch",
        ("DELETE", _) => "delete",
        _ => return fail(405, "MethodNotAllowed", "no such method"),
    };
    let resource = if at.status { format!("{}/status", at.plural) } else { at.plural.clone() };
    let wanted = Wanted {
        verb,
        group: &at.group,
        resource: &resource,
        namespace: &at.namespace,
        name: at.name.as_deref(),
    };
    if !may_all && !server.rules.lock().unwrap().allow(&wanted) {
        return fail(403, "Forbidden", &Rules::words(&wanted));
    }
    let api_version = match at.group.as_str() {
        "" => at.version.clone(),
        group => format!("{group}/{}", at.version),
    };
    server.store.change(|store| {
        let known = store.resources.iter().find(|it| {
            it.plural == at.plural && it.group == at.group && it.versions.contains(&at.version)
        });
        let Some(known) = known.cloned() else {
            return fail(404, "NotFound", "the server could not find the requested resource");
        };
        if verb != "get" && verb != "list" && verb != "watch" {
            store.writes.push((request.method.clone(), request.path.clone()));
        }
        let view = View { request, at, resource: &known, api_version: &api_version };
        match verb {
            "watch" => view.watch(store),
            "list" => view.list(store),
            _ => view.one(store, verb),
        }
    })
}

struct View<'a> {
    request: &'a Request,
    at: &'a At,
    resource: &'a Resource,
    api_version: &'a str,
}

impl View<'_> {
    /// The object as it is sent.
    fn sent(&self, object: &Value) -> Value {
        let mut object = object.clone();
        object["apiVersion"] = json!(self.api_version);
        object["kind"] = json!(self.resource.kind);
        object
    }

    fn selects(&self) -> Selects {
        Selects {
            plural: self.at.plural.clone(),
            namespace: self.at.namespace.clone(),
            fields: self.request.query("fieldSelector").unwrap_or_default().to_owned(),
        }
    }

    fn list(&self, store: &Inner) -> Answer {
        let selects = self.selects();
        let token = self.request.query("continue").unwrap_or_default();
        let (version, after) = match token.split_once('|') {
            Some((version, after)) => (version.parse().unwrap_or(0), after),
            None => (store.version, ""),
        };
        if version < store.compacted {
            return fail(410, "Expired", "The provided continue parameter is too old");
        }
        let limit =
            self.request.query("limit").and_then(|it| it.parse().ok()).unwrap_or(usize::MAX);
        // Small pages, whatever is asked for: a real server may return fewer, too.
        let limit = limit.min(3);
        let place = |(_, namespace, name): &super::Id| format!("{namespace}/{name}");
        let mut found = store
            .objects
            .iter()
            .filter(|(id, object)| selects.fits(id, object) && *place(id) > *after)
            .peekable();
        let (mut items, mut last) = (Vec::new(), String::new());
        while items.len() < limit
            && let Some((id, object)) = found.next()
        {
            // Objects in lists of the core have no kind of their own.
            let mut object = self.sent(object);
            if self.resource.group.is_empty() {
                object
                    .as_object_mut()
                    .unwrap()
                    .retain(|key, _| key != "kind" && key != "apiVersion");
            }
            items.push(object);
            last = place(id);
        }
        let mut metadata = json!({ "resourceVersion": version.to_string() });
        if found.peek().is_some() {
            metadata["continue"] = json!(format!("{version}|{last}"));
        }
        if self.request.header("accept").contains("as=Table") {
            let all = store.objects.iter().filter(|(id, object)| selects.fits(id, object));
            return Answer::Document(200, self.table(all.map(|(_, object)| object)));
        }
        Answer::Document(
            200,
            json!({
                "kind": format!("{}List", self.resource.kind), "apiVersion": self.api_version,
                "metadata": metadata, "items": items,
            }),
        )
    }

    /// As `kubectl get` shows it.
    fn table<'v>(&self, objects: impl Iterator<Item = &'v Value>) -> Value {
        let mut columns = vec![
            json!({ "name": "Name", "type": "string", "format": "name", "description": "", "priority": 0 }),
        ];
        for column in &self.resource.columns {
            columns.push(json!({
                "name": column["name"], "type": column["type"], "format": "",
                "description": column["description"], "priority": 0,
            }));
        }
        let rows: Vec<Value> = objects
            .map(|object| {
                let mut cells = vec![object["metadata"]["name"].clone()];
                for column in &self.resource.columns {
                    let found = at_path(object, column["jsonPath"].as_str().unwrap_or_default());
                    let found = found.first().cloned().unwrap_or_default();
                    cells.push(match column["type"].as_str() {
                        Some("date") => json!("3m18s"),
                        _ => found,
                    });
                }
                json!({ "cells": cells, "object": { "kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": object["metadata"] } })
            })
            .collect();
        json!({
            "kind": "Table", "apiVersion": "meta.k8s.io/v1", "metadata": {},
            "columnDefinitions": columns, "rows": rows,
        })
    }

    fn watch(&self, store: &Inner) -> Answer {
        let since = self.request.query("resourceVersion").and_then(|it| it.parse().ok());
        let since = since.filter(|since| *since > 0).unwrap_or(store.version);
        let seconds =
            self.request.query("timeoutSeconds").and_then(|it| it.parse().ok()).unwrap_or(290);
        Answer::Watch(Watch {
            selects: self.selects(),
            api_version: self.api_version.to_owned(),
            kind: self.resource.kind.clone(),
            since,
            epoch: store.epoch,
            until: Instant::now() + Duration::from_secs(seconds),
        })
    }

    fn one(&self, store: &mut Inner, verb: &str) -> Answer {
        let body = self.request.json();
        let named = body["metadata"]["name"].as_str().map(str::to_owned);
        let Some(name) = self.at.name.clone().or(named) else {
            return fail(400, "BadRequest", "an object without a name");
        };
        let id = id(&self.at.plural, &self.at.namespace, &name);
        let done = match verb {
            "get" => store.objects.get(&id).cloned().ok_or(Refusal::NotFound),
            "create" => store.create(id, body),
            "update" => store.replace(&id, body, self.at.status),
            "delete" => store.delete(&id),
            _ => match store.objects.get(&id) {
                Some(object) => {
                    let mut object = object.clone();
                    match patch(&mut object, self.request, self.at.status) {
                        Ok(()) => store.replace(&id, object, self.at.status),
                        Err(why) => Err(Refusal::Invalid(why)),
                    }
                }
                // Whoever applies may make it.
                None if self.request.header("content-type").contains("apply-patch") => {
                    store.create(id, body)
                }
                None => Err(Refusal::NotFound),
            },
        };
        let full = match self.at.group.as_str() {
            "" => self.at.plural.clone(),
            group => format!("{}.{group}", self.at.plural),
        };
        match done {
            Ok(object) => {
                Answer::Document(if verb == "create" { 201 } else { 200 }, self.sent(&object))
            }
            Err(Refusal::NotFound) => {
                fail(404, "NotFound", &format!("{full} \"{name}\" not found"))
            }
            Err(Refusal::Exists) => {
                fail(409, "AlreadyExists", &format!("{full} \"{name}\" already exists"))
            }
            Err(Refusal::Conflict) => fail(
                409,
                "Conflict",
                &format!(
                    "Operation cannot be fulfilled on {full} \"{name}\": the object has been modified; \
                 please apply your changes to the latest version and try again"
                ),
            ),
            Err(Refusal::Invalid(why)) => fail(
                422,
                "Invalid",
                &format!("{} \"{name}\" is invalid: {why}", self.resource.kind),
            ),
        }
    }
}

/// Works a patch into an object. A strategic merge and an apply are taken for merges, which is enough
/// for objects whose lists are written whole.
fn patch(object: &mut Value, request: &Request, status: bool) -> Result<(), String> {
    let body = request.json();
    let before = object["metadata"]["resourceVersion"].clone();
    match request.header("content-type") {
        "application/json-patch+json" => {
            let patch: json_patch::Patch =
                serde_json::from_value(body).map_err(|error| error.to_string())?;
            json_patch::patch(object, &patch).map_err(|error| error.to_string())?;
        }
        _ if status => json_patch::merge(object, &body),
        _ => json_patch::merge(object, &body),
    }
    if object["metadata"]["resourceVersion"].is_null() {
        object["metadata"]["resourceVersion"] = before;
    }
    Ok(())
}
