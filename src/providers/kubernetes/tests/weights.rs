//! Shares of backends, and their endpoints.

use super::*;

/// The targets of a route with these backends, as `host*weight`, `reject*weight`.
fn targets(backends: &str, services: &str) -> Vec<String> {
    let rules =
        format!("parentRefs: [ {{ name: gw }} ], rules: [ {{ backendRefs: [ {backends} ] }} ]");
    let text = gateway(&["name: a, port: 1000, protocol: TCP"]) + &route("TCPRoute", "r", &rules);
    let came = of(&(text + services));
    let (_, targets) = came.taker(1000, None).unwrap();
    let shown = targets.as_array().unwrap().iter().map(|it| {
        let host = it["host"].as_str().unwrap_or("reject");
        format!("{host}*{}", it["weight"])
    });
    shown.collect()
}

#[test]
fn a_share_is_split_over_its_endpoints_exactly() {
    let services =
        service("a", &["10.0.0.1"]) + &service("b", &["10.0.1.1", "10.0.1.2", "10.0.1.3"]);
    let both = "{ name: a, port: 80, weight: 8 }, { name: b, port: 80, weight: 2 }";
    let got = targets(both, &services);
    assert_eq!(got, ["10.0.0.1*12", "10.0.1.1*1", "10.0.1.2*1", "10.0.1.3*1"]);
    assert_eq!(targets("{ name: a, port: 80 }", &services), ["10.0.0.1*1"]);
}

#[test]
fn what_has_no_weight_gets_nothing_and_nothing_at_all_is_refused() {
    let services = service("a", &["10.0.0.1"]) + &service("b", &["10.0.1.1"]);
    let both = "{ name: a, port: 80, weight: 0 }, { name: b, port: 80, weight: 5 }";
    assert_eq!(targets(both, &services), ["10.0.0.1*0", "10.0.1.1*1"]);
    assert_eq!(targets("{ name: a, port: 80, weight: 0 }", &services), ["10.0.0.1*0", "reject*1"]);
    assert_eq!(targets("", &services), ["reject*1"]);
}

#[test]
fn the_share_of_a_bad_backend_is_refused_and_not_given_to_others() {
    let services = service("a", &["10.0.0.1", "10.0.0.2"]) + &service("none", &[]);
    let bad = "{ name: a, port: 80, weight: 3 }, { name: b, port: 80 }";
    assert_eq!(targets(bad, &services), ["10.0.0.1*3", "10.0.0.2*3", "reject*2"]);
    let empty = "{ name: a, port: 80 }, { name: none, port: 80 }";
    assert_eq!(targets(empty, &services), ["10.0.0.1*1", "10.0.0.2*1", "reject*2"]);
}

#[test]
fn large_weights_are_scaled_into_what_a_target_takes() {
    let services = service("a", &["10.0.0.1"]) + &service("b", &["10.0.1.1"]);
    let both = "{ name: a, port: 80, weight: 1000000 }, { name: b, port: 80, weight: 1 }";
    assert_eq!(targets(both, &services), ["10.0.0.1*65535", "10.0.1.1*1"]);
}

/// The slices of one service `a`.
fn sliced(spec: &str, slices: &[&str]) -> String {
    let mut text =
        format!("apiVersion: v1\nkind: Service\nmetadata: {{ name: a }}\nspec: {spec}\n---\n");
    for (at, slice) in slices.iter().enumerate() {
        text.push_str(&format!(
            "apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\n\
             metadata: {{ name: a-{at}, labels: {{ kubernetes.io/service-name: a }} }}\n{slice}\n---\n"
        ));
    }
    text
}

#[test]
fn ready_pods_take_connections_and_those_that_end_keep_theirs() {
    let slice = "addressType: IPv4\nports: [ { name: db, port: 5432 }, { name: web, port: 8080 } ]\n\
                 endpoints:\n\
                 - { addresses: [ 10.0.0.1 ], conditions: { ready: true } }\n\
                 - { addresses: [ 10.0.0.2 ], conditions: { ready: false, serving: true, terminating: true } }\n\
                 - { addresses: [ 10.0.0.3 ], conditions: { ready: false, serving: false } }\n\
                 - { addresses: [ 10.0.0.4 ] }";
    let spec = "{ ports: [ { name: db, port: 80, targetPort: pg } ] }";
    let one = "{ name: a, port: 80 }";
    let got = targets(one, &sliced(spec, &[slice, slice]));
    assert_eq!(got, ["10.0.0.1*1", "10.0.0.4*1", "10.0.0.2*0"]);
    let ending = "addressType: IPv4\nports: [ { name: db, port: 5432 } ]\nendpoints:\n\
                  - { addresses: [ 10.0.0.2 ], conditions: { ready: false, serving: true, terminating: true } }";
    assert_eq!(targets(one, &sliced(spec, &[ending])), ["10.0.0.2*1"]);
}

#[test]
fn a_pod_of_two_families_is_one_target_of_the_first_family() {
    let slice = |family: &str, address: &str| {
        format!(
            "addressType: {family}\nports: [ {{ port: 1 }} ]\nendpoints: [ {{ addresses: [ \"{address}\" ] }} ]"
        )
    };
    let (v4, v6) = (slice("IPv4", "10.0.0.1"), slice("IPv6", "fd00::1"));
    let one = "{ name: a, port: 80 }";
    let both = [v4.as_str(), v6.as_str()];
    let preferred = "{ ipFamilies: [ IPv6, IPv4 ], ports: [ { port: 80 } ] }";
    assert_eq!(targets(one, &sliced(preferred, &both)), ["fd00::1*1"]);
    assert_eq!(targets(one, &sliced("{ ports: [ { port: 80 } ] }", &both)), ["10.0.0.1*1"]);
    assert_eq!(targets(one, &sliced(preferred, &[&v4])), ["10.0.0.1*1"]);
}

#[test]
fn without_slices_the_name_of_the_service_is_asked_for() {
    let one = "{ name: a, port: 80 }";
    assert_eq!(targets(one, &sliced("{ ports: [ { port: 80 } ] }", &[])), ["a.default.svc*1"]);
    let external = "{ type: ExternalName, externalName: db.example.com, ports: [ { port: 80 } ] }";
    assert_eq!(targets(one, &sliced(external, &[])), ["db.example.com*1"]);
    let udp = "{ ports: [ { port: 80, protocol: UDP } ] }";
    assert_eq!(targets(one, &sliced(udp, &[])), ["reject*1"]);
}
