use std::path::Path;

use serde_json::json;

use super::*;
use crate::config::{Loaded, load_text};

fn load(services: &Value) -> Loaded {
    let text = json!({ "services": services }).to_string();
    let loaded = load_text(&text, Path::new("/"));
    assert!(loaded.checked.is_some(), "{:?}", loaded.diagnostics);
    loaded
}

fn service(id: &str, port: u16, host: &str) -> Value {
    json!({ "id": id, "port": port, "rules": [{ "targets": [{ "host": host }] }] })
}

fn plan(before: &Value, after: &Value) -> Plan {
    let (before, after) = (load(before), load(after));
    let side = |loaded: &'static Loaded| Side {
        checked: loaded.checked.as_ref().unwrap(),
        entities: &loaded.entities,
    };
    let leaked = |loaded: Loaded| -> &'static Loaded { Box::leak(Box::new(loaded)) };
    Plan::of(7, side(leaked(before)), side(leaked(after)), |id| id.len() as u32)
}

#[test]
fn the_same_is_no_change_wherever_it_stands() {
    let (a, b) = (service("a", 1, "x"), service("bb", 2, "x"));
    let plan = plan(&json!([a, b]), &json!([b, a]));
    assert!(!plan.changes);
    assert_eq!((plan.unchanged, plan.line().as_str()), (2, "nothing"));
    assert_eq!(plan.connections, Connections { untouched: 3, drained: 0, closed: 0 });
    assert_eq!(plan.listeners.kept.len(), 2);
}

#[test]
fn each_service_and_its_connections_are_accounted_for() {
    let mut closing = service("closes", 3, "x");
    closing["onRemoved"] = json!({ "closeAfter": "1s" });
    let mut off = service("off", 4, "x");
    let before = json!([service("a", 1, "x"), service("moved", 2, "x"), closing, off]);
    off["enabled"] = json!(false);
    let moved = service("moved", 5, "y");
    let plan = plan(&before, &json!([service("a", 1, "x"), moved, off, service("new", 6, "x")]));
    let changes: Vec<_> = plan.services.iter().map(|it| (&*it.id, it.change)).collect();
    let expected = [
        ("moved", Kind::Changed),
        ("new", Kind::Added),
        ("closes", Kind::Removed),
        ("off", Kind::Removed),
    ];
    assert_eq!(changes, expected);
    assert_eq!(plan.services[0].what, ["port", "rules[0].targets[0].host"]);
    assert_eq!(plan.connections, Connections { untouched: 6, drained: 3, closed: 6 });
    let ports = |list: &[SocketAddr]| list.iter().map(SocketAddr::port).collect::<Vec<_>>();
    assert_eq!(ports(&plan.listeners.added), [5, 6]);
    assert_eq!(ports(&plan.listeners.removed), [2, 3, 4]);
    let line = "added new; changed moved (port rules[0].targets[0].host); removed closes, off";
    assert_eq!(plan.line(), line);
}

#[test]
fn paths_are_the_innermost_that_differ_and_bounded() {
    let a = json!({ "a": { "b": 1, "gone": 2 }, "list": [1, { "x": 1 }], "longer": [1] });
    let b = json!({ "a": { "b": 2, "new": 2 }, "list": [1, { "x": 2 }], "longer": [1, 2] });
    assert_eq!(differences(&a, &b), ["a.b", "a.new", "a.gone", "list[1].x", "longer"]);
    assert!(differences(&a, &a).is_empty());
    let wide = |n: i32| json!({ "list": (0..1000).map(|i| i + n).collect::<Vec<_>>() });
    assert_eq!(differences(&wide(0), &wide(1)).len(), limits::PLAN_PATHS_MAX);
}
