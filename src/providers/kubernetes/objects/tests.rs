//! How objects come in.

use super::*;
use crate::providers::foreign::{File, Format};

fn of_yaml(text: &str) -> (Objects, Vec<Diagnostic>) {
    let file = File { place: "m.yaml".into(), dir: "/".into(), text: text.into() };
    let (mut objects, mut found) = (Objects::default(), Vec::new());
    for part in file.parts(Format::Yaml, &mut found) {
        objects.insert(part, &mut found);
    }
    (objects, found)
}

const ROUTE: &str = "
apiVersion: gateway.networking.k8s.io/v1alpha2
kind: TCPRoute
metadata: { name: echo, creationTimestamp: null }
spec:
  parentRefs: [ { name: kong, sectionName: stream9000 } ]
  rules: [ { backendRefs: [ { name: echo, port: 1025 } ] } ]
";

#[test]
fn files_and_clusters_give_the_same_objects() {
    let (of_file, found) = of_yaml(ROUTE);
    assert_eq!(found, []);
    let mut of_cluster = Objects::default();
    let value = serde_json::json!({
        "apiVersion": "gateway.networking.k8s.io/v1alpha2", "kind": "TCPRoute",
        "metadata": { "name": "echo", "namespace": "default", "resourceVersion": "7" },
        "spec": {
            "parentRefs": [{ "name": "kong", "sectionName": "stream9000", "port": null }],
            "rules": [{ "backendRefs": [{ "name": "echo", "port": 1025, "weight": 1 }] }],
        },
        "status": { "parents": [] },
    });
    of_cluster.put(Kind::TcpRoute, &value);
    assert_eq!(of_file, of_cluster);
    let key = Key::new("default", "echo");
    let route = &of_file.tcp_routes[&key];
    assert_eq!(route.meta.generation, 1);
    assert_eq!(route.body.spec.rules[0].backend_refs[0].weight, 1);
    assert_eq!(route.finding(&BAD_OBJECT, "spec.rules[0]", "").line, Some(7));
    of_cluster.remove(Kind::TcpRoute, &key);
    assert_eq!(of_cluster, Objects::default());
}

#[test]
fn what_has_a_fault_is_left_out_and_told() {
    let (objects, found) = of_yaml(&ROUTE.replace("1025", "many"));
    assert_eq!(found, []);
    assert!(objects.tcp_routes.is_empty());
    let faults: Vec<_> = objects.faults.values().flatten().collect();
    assert_eq!(faults.len(), 1);
    assert_eq!(faults[0].path, "spec.rules[0].backendRefs[0].port");
    assert_eq!((faults[0].line, faults[0].file.as_deref()), (Some(7), Some("m.yaml")));
}

#[test]
fn what_is_no_object_that_is_read_is_told() {
    let code = |text: &str| of_yaml(text).1.iter().map(|it| it.code).collect::<Vec<_>>();
    assert_eq!(code("a: b"), ["E361"]);
    assert_eq!(code("apiVersion: apps/v1\nkind: Deployment"), ["I360"]);
    assert_eq!(code(&ROUTE.replace("v1alpha2", "v9")), ["E361"]);
    assert_eq!(code(&format!("{ROUTE}---{ROUTE}")), ["W362"]);
    let nameless = of_yaml(&ROUTE.replace("name: echo, creat", "creat")).0;
    assert_eq!(nameless.faults.len(), 1);
}
