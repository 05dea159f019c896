//! Services that were not served after all, in the statuses of what they were made from: another
//! service has their port, or the port is not whitelisted.

use std::collections::HashSet;

use serde_json::{Value, json};

use super::super::{Kind, Status};

/// Works into statuses which services are left out, and why; ids are as `translate` makes them.
pub(super) fn tell(statuses: &mut [Status], left_out: &HashSet<(String, String)>) {
    let mut left_out: Vec<&(String, String)> = left_out.iter().collect();
    left_out.sort_unstable();
    for (id, why) in left_out {
        // An address beyond the first of a port has it after an `@`.
        let id = id.split('@').next().unwrap_or_default();
        let steps: Vec<&str> = id.split('/').collect();
        match steps.as_slice() {
            ["kubernetes", "gateway", namespace, name, listener, ..] => {
                not_programmed(statuses, (namespace, name), listener, why);
            }
            ["kubernetes", "tcproute" | "tlsroute", of, _, parent @ ..] => {
                // A gateway of another namespace has that before its name.
                let found = match parent {
                    [name, listener, ..] => not_programmed(statuses, (of, name), listener, why),
                    _ => true,
                };
                if let ([namespace, name, listener, ..], false) = (parent, found) {
                    not_programmed(statuses, (namespace, name), listener, why);
                }
            }
            ["kubernetes", "tcpingress", namespace, name, ..] => {
                let mut all = statuses.iter_mut();
                let is_it = |it: &&mut Status| {
                    it.kind == Kind::TcpIngress && it.namespace == *namespace && it.name == *name
                };
                if let Some(status) = all.find(is_it) {
                    status.value = json!({ "loadBalancer": { "ingress": [] } });
                }
            }
            _ => {}
        }
    }
}

/// A listener of a gateway is not served; false if there is none such.
fn not_programmed(
    statuses: &mut [Status],
    (namespace, name): (&str, &str),
    listener: &str,
    why: &str,
) -> bool {
    let is_it =
        |it: &&mut Status| it.kind == Kind::Gateway && it.namespace == namespace && it.name == name;
    let Some(status) = statuses.iter_mut().find(is_it) else { return false };
    let generation = status.generation;
    let condition = |kind: &str, holds: bool, reason: &str| {
        json!({
            "type": kind, "status": if holds { "True" } else { "False" }, "reason": reason,
            "message": why, "observedGeneration": generation, "lastTransitionTime": null,
        })
    };
    let listeners = status.value.get_mut("listeners").and_then(Value::as_array_mut);
    let listeners = listeners.map(|all| all.as_mut_slice()).unwrap_or_default();
    let is_it = |it: &&mut Value| it.get("name").is_some_and(|name| name == listener);
    let Some(listener) = listeners.iter_mut().find(is_it) else { return false };
    put(listener.get_mut("conditions"), condition("Accepted", false, "PortUnavailable"));
    put(listener.get_mut("conditions"), condition("Programmed", false, "Invalid"));
    let served = |listener: &Value| {
        let conditions = listener["conditions"].as_array();
        conditions.is_some_and(|all| {
            all.iter().any(|it| it["type"] == "Programmed" && it["status"] == "True")
        })
    };
    let one_is = listeners.iter().any(served);
    if !one_is {
        put(status.value.get_mut("conditions"), condition("Programmed", false, "Invalid"));
    }
    let accepted = condition("Accepted", one_is, "ListenersNotValid");
    put(status.value.get_mut("conditions"), accepted);
    true
}

/// Puts a condition in the place of the one of its type.
fn put(conditions: Option<&mut Value>, condition: Value) {
    let Some(all) = conditions.and_then(Value::as_array_mut) else { return };
    match all.iter_mut().find(|it| it.get("type") == condition.get("type")) {
        Some(there) => *there = condition,
        None => all.push(condition),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listener(name: &str) -> Value {
        json!({ "name": name, "conditions": [
            { "type": "Accepted", "status": "True", "reason": "Accepted", "message": "" },
            { "type": "Programmed", "status": "True", "reason": "Programmed", "message": "" },
        ] })
    }

    fn status(kind: Kind, value: Value) -> Status {
        let (namespace, name) = ("default".into(), "kong".into());
        let api_version = "gateway.networking.k8s.io/v1".into();
        Status { api_version, kind, namespace, name, generation: 2, value }
    }

    fn reasons(conditions: &Value) -> Vec<(&str, &str, &str)> {
        let text = |it: &'_ Value, key: &str| -> &'static str {
            String::leak(it[key].as_str().unwrap().to_owned())
        };
        let all = conditions.as_array().unwrap().iter();
        all.map(|it| (text(it, "type"), text(it, "status"), text(it, "reason"))).collect()
    }

    #[test]
    fn a_listener_whose_service_is_left_out_is_not_programmed() {
        let conditions = listener("")["conditions"].clone();
        let value = json!({
            "conditions": conditions, "listeners": [listener("tcp"), listener("tls")],
        });
        let mut statuses = [status(Kind::Gateway, value)];
        let why = |id: &str| (id.to_owned(), "the port is another's".to_owned());
        tell(&mut statuses, &HashSet::from([why("kubernetes/tcproute/default/echo/other/tcp")]));
        let before = statuses[0].clone();
        let id = "kubernetes/tcproute/default/echo/kong/tcp@127.0.0.1";
        tell(&mut statuses, &HashSet::from([why(id)]));
        let mut same = [before];
        let id = "kubernetes/tcproute/apps/echo/default/kong/tcp/a.example";
        tell(&mut same, &HashSet::from([why(id)]));
        assert_eq!(same, statuses);
        let value = &statuses[0].value;
        let refused =
            [("Accepted", "False", "PortUnavailable"), ("Programmed", "False", "Invalid")];
        assert_eq!(reasons(&value["listeners"][0]["conditions"]), refused);
        let fine = [("Accepted", "True", "Accepted"), ("Programmed", "True", "Programmed")];
        assert_eq!(reasons(&value["listeners"][1]["conditions"]), fine);
        let some =
            [("Accepted", "True", "ListenersNotValid"), ("Programmed", "True", "Programmed")];
        assert_eq!(reasons(&value["conditions"]), some);
        tell(&mut statuses, &HashSet::from([why("kubernetes/gateway/default/kong/tls")]));
        let none = [("Accepted", "False", "ListenersNotValid"), ("Programmed", "False", "Invalid")];
        assert_eq!(reasons(&statuses[0].value["conditions"]), none);
    }

    #[test]
    fn a_tcp_ingress_that_is_left_out_has_no_address() {
        let value = json!({ "loadBalancer": { "ingress": [ { "ip": "192.0.2.3" } ] } });
        let mut statuses = [status(Kind::TcpIngress, value)];
        let id = "kubernetes/tcpingress/default/kong/9000".to_owned();
        tell(&mut statuses, &HashSet::from([(id, "why".to_owned())]));
        assert_eq!(statuses[0].value, json!({ "loadBalancer": { "ingress": [] } }));
    }
}
