//! Who may do what: the proxies what `config/kubernetes/rbac.yaml` grants them, and nothing else.

use std::collections::BTreeSet;

use serde_json::Value;

use super::{documents, manifest};

/// The rules for the proxies.
pub struct Rules {
    /// Those of `ClusterRole`s, and those of `Role`s with their namespace.
    granted: Vec<(Option<String>, Value)>,
    forbidden: BTreeSet<(String, String)>,
}

/// What somebody wants to do.
pub struct Wanted<'a> {
    pub verb: &'a str,
    pub group: &'a str,
    /// With its subresource, as `gateways/status`.
    pub resource: &'a str,
    pub namespace: &'a str,
    pub name: Option<&'a str>,
}

impl Rules {
    pub fn of_manifest() -> Rules {
        let mut granted = Vec::new();
        for document in documents(&manifest("rbac.yaml")) {
            let namespace = match document["kind"].as_str() {
                Some("ClusterRole") => None,
                Some("Role") => document["metadata"]["namespace"].as_str().map(str::to_owned),
                _ => continue,
            };
            let rules = document["rules"].as_array().cloned().unwrap_or_default();
            granted.extend(rules.into_iter().map(|rule| (namespace.clone(), rule)));
        }
        Rules { granted, forbidden: BTreeSet::new() }
    }

    pub fn forbid(&mut self, verb: &str, resource: &str, forbidden: bool) {
        let what = (verb.to_owned(), resource.to_owned());
        match forbidden {
            true => drop(self.forbidden.insert(what)),
            false => drop(self.forbidden.remove(&what)),
        }
    }

    pub fn allow(&self, wanted: &Wanted<'_>) -> bool {
        let has = |rule: &Value, key: &str, word: &str| {
            rule[key].as_array().is_some_and(|all| all.iter().any(|it| it == word))
        };
        let granted = self.granted.iter().any(|(namespace, rule)| {
            namespace.as_ref().is_none_or(|namespace| namespace == wanted.namespace)
                && has(rule, "apiGroups", wanted.group)
                && has(rule, "resources", wanted.resource)
                && has(rule, "verbs", wanted.verb)
                && (rule.get("resourceNames").is_none()
                    || wanted.name.is_some_and(|name| has(rule, "resourceNames", name)))
        });
        granted && !self.forbidden.contains(&(wanted.verb.to_owned(), wanted.resource.to_owned()))
    }

    /// What the real one says.
    pub fn words(wanted: &Wanted<'_>) -> String {
        let Wanted { verb, group, resource, namespace, name } = wanted;
        let full =
            if group.is_empty() { (*resource).to_owned() } else { format!("{resource}.{group}") };
        let scope = match *namespace {
            "" => "at the cluster scope".to_owned(),
            namespace => format!("in the namespace \"{namespace}\""),
        };
        let name = name.map(|name| format!(" \"{name}\"")).unwrap_or_default();
        format!(
            "{full}{name} is forbidden: User \"system:serviceaccount:thalweg:thalweg\" cannot {verb} \
             resource \"{resource}\" in API group \"{group}\" {scope}"
        )
    }
}
