//! What a status becomes when what is to be said is worked into what it says: entries of other
//! controllers stay, and a condition that did not change keeps the time when it last did.

use serde_json::{Map, Value, json};

/// What is to be said of one object.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Wish {
    /// Members of a status that nobody else writes: `conditions`, `listeners`, `addresses` or
    /// `loadBalancer`.
    Members(Value),
    /// Our entries of a list that several controllers write, as `parents` of routes.
    Entries {
        /// The list's name: `parents`, or `ancestors` of policies.
        list: &'static str,
        /// What each entry refers to its object by: `parentRef` or `ancestorRef`.
        refers_by: &'static str,
        /// Who we are.
        controller: String,
        /// Our entries. None: those of ours that are there go.
        entries: Vec<Value>,
    },
}

impl Wish {
    /// What a translation says of an object.
    pub fn of(value: Value, controller: &str) -> Self {
        for (list, refers_by) in [("parents", "parentRef"), ("ancestors", "ancestorRef")] {
            if let Some(entries) = value.get(list) {
                let (entries, controller) = (elements(entries).to_vec(), controller.to_owned());
                return Self::Entries { list, refers_by, controller, entries };
            }
        }
        Self::Members(value)
    }
}

/// The members of `status` that have to change, as a JSON merge patch of it; `None` if it says what
/// it should. `now` is what changed conditions are dated with.
pub(super) fn changes(status: &Value, wish: &Wish, now: &str) -> Option<Value> {
    let nothing = Map::new();
    let current = status.as_object().unwrap_or(&nothing);
    let mut changes = Map::new();
    match wish {
        Wish::Members(members) => {
            for (key, wished) in members.as_object().into_iter().flatten() {
                let there = current.get(key).unwrap_or(&Value::Null);
                let becomes = match key.as_str() {
                    "conditions" => conditions(there, wished, now, true),
                    "listeners" => listeners(there, wished, now),
                    _ => wished.clone(),
                };
                if *there != becomes && !(there.is_null() && is_empty(&becomes)) {
                    changes.insert(key.clone(), becomes);
                }
            }
        }
        Wish::Entries { list, refers_by, controller, entries: wished } => {
            let there = current.get(*list).unwrap_or(&Value::Null);
            let becomes = entries(there, refers_by, controller, wished, now);
            if *there != becomes && !(there.is_null() && is_empty(&becomes)) {
                changes.insert((*list).to_owned(), becomes);
            }
        }
    }
    (!changes.is_empty()).then(|| Value::Object(changes))
}

fn is_empty(value: &Value) -> bool {
    value.as_array().is_some_and(Vec::is_empty)
}

fn elements(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

/// Conditions, by type. Those of types that are not wished stay if others may have written them.
fn conditions(there: &Value, wished: &Value, now: &str, keep_others: bool) -> Value {
    let there = elements(there);
    let of_type = |all: &'_ [Value], kind: &Value| all.iter().position(|it| it["type"] == *kind);
    let wished = elements(wished);
    let mut becomes: Vec<Value> = Vec::with_capacity(wished.len());
    for before in there {
        match of_type(wished, &before["type"]).and_then(|at| wished.get(at)) {
            Some(wish) => becomes.push(dated(wish, Some(before), now)),
            None if keep_others => becomes.push(before.clone()),
            None => {}
        }
    }
    for wish in wished {
        if of_type(there, &wish["type"]).is_none() {
            becomes.push(dated(wish, None, now));
        }
    }
    Value::Array(becomes)
}

/// A condition with the time since which its status is what it is.
fn dated(wish: &Value, before: Option<&Value>, now: &str) -> Value {
    let mut condition = wish.clone();
    let since = before
        .filter(|before| before["status"] == wish["status"])
        .and_then(|before| before.get("lastTransitionTime"))
        .filter(|time| time.is_string());
    if let Some(members) = condition.as_object_mut() {
        members.insert("lastTransitionTime".into(), since.cloned().unwrap_or_else(|| json!(now)));
    }
    condition
}

/// A gateway's listeners, by name. All of them are ours.
fn listeners(there: &Value, wished: &Value, now: &str) -> Value {
    let becomes = elements(wished).iter().map(|wish| {
        let before = elements(there).iter().find(|it| it["name"] == wish["name"]);
        with_conditions(wish, before, now, true)
    });
    Value::Array(becomes.collect())
}

/// An element with conditions, dated by those that it has had.
fn with_conditions(wish: &Value, before: Option<&Value>, now: &str, keep_others: bool) -> Value {
    let nothing = Value::Null;
    let before = before.map_or(&nothing, |before| &before["conditions"]);
    let mut element = wish.clone();
    if let Some(members) = element.as_object_mut() {
        let becomes = conditions(before, &wish["conditions"], now, keep_others);
        members.insert("conditions".into(), becomes);
    }
    element
}

/// Entries of several controllers, ours among them.
fn entries(there: &Value, refers_by: &str, controller: &str, wished: &[Value], now: &str) -> Value {
    let ours = |entry: &Value| entry["controllerName"] == controller;
    let same = |one: &Value, other: &Value| one[refers_by] == other[refers_by];
    let mut becomes: Vec<Value> = Vec::new();
    for before in elements(there) {
        if !ours(before) {
            becomes.push(before.clone());
        } else if let Some(wish) = wished.iter().find(|wish| same(wish, before)) {
            becomes.push(with_conditions(wish, Some(before), now, false));
        }
    }
    for wish in wished {
        if !elements(there).iter().any(|before| ours(before) && same(wish, before)) {
            becomes.push(with_conditions(wish, None, now, false));
        }
    }
    Value::Array(becomes)
}

#[cfg(test)]
mod tests {
    use super::*;

    const THEN: &str = "2022-11-14T19:48:51Z";
    const NOW: &str = "2026-01-02T03:04:05Z";

    fn accepted(status: &str, generation: u64, since: Option<&str>) -> Value {
        let mut condition = json!({
            "type": "Accepted", "status": status, "reason": "Accepted", "message": "",
            "observedGeneration": generation,
        });
        if let Some(since) = since {
            condition["lastTransitionTime"] = json!(since);
        }
        condition
    }

    fn entry(controller: &str, gateway: &str, condition: Value) -> Value {
        json!({ "parentRef": { "name": gateway }, "controllerName": controller, "conditions": [condition] })
    }

    fn ours(entries: Vec<Value>) -> Wish {
        let controller = "thalweg.io/gateway-controller".into();
        Wish::Entries { list: "parents", refers_by: "parentRef", controller, entries }
    }

    const US: &str = "thalweg.io/gateway-controller";

    #[test]
    fn a_first_status_is_dated_now() {
        let wish = ours(vec![entry(US, "kong", accepted("True", 2, None))]);
        let patch = changes(&Value::Null, &wish, NOW).unwrap();
        assert_eq!(
            patch,
            json!({ "parents": [entry(US, "kong", accepted("True", 2, Some(NOW)))] })
        );
    }

    #[test]
    fn nothing_is_written_when_nothing_differs() {
        let wish = ours(vec![entry(US, "kong", accepted("True", 2, None))]);
        let status = json!({ "parents": [entry(US, "kong", accepted("True", 2, Some(THEN)))] });
        assert_eq!(changes(&status, &wish, NOW), None);
        assert_eq!(changes(&Value::Null, &ours(Vec::new()), NOW), None);
        assert_eq!(changes(&json!({}), &Wish::Members(json!({ "conditions": [] })), NOW), None);
    }

    #[test]
    fn the_time_changes_with_the_status_and_not_with_the_generation() {
        let status = json!({ "parents": [entry(US, "kong", accepted("True", 2, Some(THEN)))] });
        let newer = ours(vec![entry(US, "kong", accepted("True", 3, None))]);
        let expected = json!({ "parents": [entry(US, "kong", accepted("True", 3, Some(THEN)))] });
        assert_eq!(changes(&status, &newer, NOW), Some(expected));
        let other = ours(vec![entry(US, "kong", accepted("False", 3, None))]);
        let expected = json!({ "parents": [entry(US, "kong", accepted("False", 3, Some(NOW)))] });
        assert_eq!(changes(&status, &other, NOW), Some(expected));
    }

    #[test]
    fn entries_of_others_stay_where_they_are_and_ours_that_are_over_go() {
        let other = entry("example.com/other", "kong", accepted("False", 1, Some(THEN)));
        let status = json!({ "parents": [
            entry(US, "old", accepted("True", 2, Some(THEN))),
            other.clone(),
            entry(US, "kong", accepted("True", 2, Some(THEN))),
        ] });
        let wish = ours(vec![
            entry(US, "kong", accepted("True", 2, None)),
            entry(US, "new", accepted("True", 2, None)),
        ]);
        let expected = json!({ "parents": [
            other.clone(),
            entry(US, "kong", accepted("True", 2, Some(THEN))),
            entry(US, "new", accepted("True", 2, Some(NOW))),
        ] });
        assert_eq!(changes(&status, &wish, NOW), Some(expected));
        let expected = json!({ "parents": [other] });
        assert_eq!(changes(&status, &ours(Vec::new()), NOW), Some(expected));
    }

    #[test]
    fn a_gateway_keeps_conditions_of_others_and_listeners_go_by_name() {
        let status = json!({
            "addresses": [ { "type": "IPAddress", "value": "192.0.2.3" } ],
            "conditions": [
                { "type": "Theirs", "status": "True", "lastTransitionTime": THEN },
                accepted("Unknown", 1, Some(THEN)),
            ],
            "listeners": [
                { "name": "gone", "attachedRoutes": 1, "conditions": [] },
                { "name": "tcp", "attachedRoutes": 0, "conditions": [accepted("True", 1, Some(THEN))] },
            ],
        });
        let wish = Wish::Members(json!({
            "addresses": [ { "type": "IPAddress", "value": "192.0.2.3" } ],
            "conditions": [accepted("True", 1, None)],
            "listeners": [
                { "name": "tcp", "attachedRoutes": 1, "conditions": [accepted("True", 1, None)] },
            ],
        }));
        let expected = json!({
            "conditions": [
                { "type": "Theirs", "status": "True", "lastTransitionTime": THEN },
                accepted("True", 1, Some(NOW)),
            ],
            "listeners": [
                { "name": "tcp", "attachedRoutes": 1, "conditions": [accepted("True", 1, Some(THEN))] },
            ],
        });
        assert_eq!(changes(&status, &wish, NOW), Some(expected));
    }

    #[test]
    fn a_load_balancer_is_replaced() {
        let wish =
            Wish::Members(json!({ "loadBalancer": { "ingress": [ { "ip": "192.0.2.3" } ] } }));
        let patch = changes(&json!({ "loadBalancer": {} }), &wish, NOW).unwrap();
        assert_eq!(patch, json!({ "loadBalancer": { "ingress": [ { "ip": "192.0.2.3" } ] } }));
        assert_eq!(changes(&patch, &wish, NOW), None);
    }
}
