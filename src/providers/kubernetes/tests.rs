//! The standard, table by table: manifests in, services and conditions out.

use serde_json::Value;

use super::*;
use crate::providers::foreign::File;

mod conformance;
mod ingress;
mod weights;

/// What manifests came to.
struct Came {
    services: Vec<Value>,
    certificates: Vec<String>,
    found: Vec<Diagnostic>,
    statuses: Vec<Status>,
    source: Source,
}

fn of(text: &str) -> Came {
    with(text, &Options { adopts: true, ..Options::default() })
}

fn with(text: &str, options: &Options) -> Came {
    let mut found = Vec::new();
    let file = File { place: "m.yaml".into(), dir: "/".into(), text: text.into() };
    let objects = objects_of(&[file], &mut found);
    let Translation { source, statuses } = translate(&objects, options);
    found.extend(source.diagnostics.iter().cloned());
    let services = source.documents.iter();
    Came {
        services: services.map(|it| serde_json::from_str(&it.text).unwrap()).collect(),
        certificates: source.certificates.iter().filter_map(|it| it.name.clone()).collect(),
        found,
        statuses,
        source,
    }
}

impl Came {
    fn ids(&self) -> Vec<&str> {
        self.services.iter().filter_map(|it| it["id"].as_str()).collect()
    }

    fn codes(&self) -> Vec<&str> {
        self.found.iter().map(|it| it.code).collect()
    }

    fn service(&self, id: &str) -> &Value {
        self.services.iter().find(|it| it["id"] == id).unwrap_or_else(|| panic!("{:?}", self.ids()))
    }

    fn status(&self, kind: Kind, name: &str) -> &Value {
        let found = self.statuses.iter().find(|it| it.kind == kind && it.name == name);
        &found.unwrap_or_else(|| panic!("no status of {name}: {:?}", self.statuses)).value
    }

    /// Who takes a name on a port: rules are tried in order, as natively.
    fn taker(&self, port: u16, name: Option<&str>) -> Option<(String, &Value)> {
        let services = self.services.iter().filter(|it| it["port"] == port);
        services.into_iter().find_map(|service| {
            let rules = service["rules"].as_array().unwrap();
            let rule = rules.iter().find(|rule| {
                let pattern = rule["domain"].as_str().unwrap_or("*");
                crate::config::pattern::Pattern::of_names(pattern).unwrap().matches(name)
            })?;
            let id = service["id"].as_str().unwrap().to_owned();
            Some((id, &rule["targets"]))
        })
    }

    /// Who takes a name on a port by the name of the route; `-` if it is refused, and nothing if
    /// nobody takes it.
    fn route(&self, port: u16, name: &str) -> String {
        match self.taker(port, Some(name)) {
            None => String::new(),
            Some((_, targets)) if targets[0]["reject"] == true => "-".into(),
            Some((id, _)) => id.split('/').nth(3).unwrap_or_default().to_owned(),
        }
    }
}

/// `Accepted=True/Accepted` and the like, in the order of the document.
fn conditions(value: &Value) -> Vec<String> {
    let all = value["conditions"].as_array().unwrap();
    let text = |it: &Value, key: &str| it[key].as_str().unwrap().to_owned();
    all.iter()
        .map(|it| format!("{}={}/{}", text(it, "type"), text(it, "status"), text(it, "reason")))
        .collect()
}

/// `A` of `Accepted=…`.
fn condition(value: &Value, kind: &str) -> String {
    let found = conditions(value).into_iter().find(|it| it.starts_with(&format!("{kind}=")));
    found.unwrap_or_default()
}

/// A `Gateway` with listeners as YAML says them, one a line.
fn gateway(listeners: &[&str]) -> String {
    let mut text = "
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: { name: gw, generation: 3 }
spec:
  gatewayClassName: thalweg
  listeners:
"
    .to_owned();
    for listener in listeners {
        text.push_str(&format!("  - {{ {listener} }}\n"));
    }
    text + "---\n"
}

/// A route with the rest of its `spec`.
fn route(kind: &str, name: &str, spec: &str) -> String {
    format!(
        "apiVersion: gateway.networking.k8s.io/v1alpha2\nkind: {kind}\nmetadata: {{ name: {name} }}\n\
         spec: {{ {spec} }}\n---\n"
    )
}

/// A `Service` with ready endpoints.
fn service(name: &str, endpoints: &[&str]) -> String {
    let endpoints: Vec<_> =
        endpoints.iter().map(|it| format!("{{ addresses: [ \"{it}\" ] }}")).collect();
    format!(
        "apiVersion: v1\nkind: Service\nmetadata: {{ name: {name} }}\n\
         spec: {{ ports: [ {{ port: 80, targetPort: 8080 }} ] }}\n---\n\
         apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\n\
         metadata: {{ name: {name}-1, labels: {{ kubernetes.io/service-name: {name} }} }}\n\
         addressType: IPv4\nendpoints: [ {} ]\nports: [ {{ port: 8080 }} ]\n---\n",
        endpoints.join(", ")
    )
}

/// A `Secret` with a certificate for a name.
fn secret(name: &str, host: &str) -> String {
    let (certificate, key) = pem(host);
    let data = serde_json::json!({ "tls.crt": certificate, "tls.key": key });
    format!(
        "apiVersion: v1\nkind: Secret\ntype: kubernetes.io/tls\nmetadata: {{ name: {name} }}\n\
         stringData: {data}\n---\n"
    )
}

fn pem(host: &str) -> (String, String) {
    let made = rcgen::generate_simple_self_signed([host.to_owned()]).unwrap();
    (made.cert.pem(), made.signing_key.serialize_pem())
}

/// What the native checks say of what is written.
fn faults(came: &Came) -> Vec<String> {
    let (certificates, services) = (&came.source.certificates, &came.services);
    let text = serde_json::json!({ "certificates": certificates, "services": services });
    let loaded = crate::config::load_text(&text.to_string(), std::path::Path::new("/"));
    let notable = |it: &&Diagnostic| it.severity > crate::diagnostics::Severity::Info;
    let found = loaded.diagnostics.iter().filter(notable);
    found.map(|it| format!("{} {}: {}", it.code, it.path, it.message)).collect()
}

#[test]
fn the_examples_are_served() {
    for name in ["gateway", "tcpingress"] {
        let file = concat!(env!("CARGO_MANIFEST_DIR"), "/config/kubernetes/");
        let came = of(&std::fs::read_to_string(format!("{file}{name}.yaml")).unwrap());
        assert_eq!(came.codes(), [""; 0], "{name}");
        assert_eq!(faults(&came), [""; 0]);
        assert!(!came.services.is_empty());
    }
}
