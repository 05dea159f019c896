//! `BackendTLSPolicy`: to which ports of which `Service`s TLS is spoken, and how they are verified.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::json;

use super::Options;
use super::backends::{Member, Members};
use super::objects::{Key, Kind, Object, Objects};
use super::refs::authorities;
use super::specs::{BackendTlsPolicy, GATEWAY_GROUP};
use super::status::{Condition, Status};
use crate::diagnostics::{Diagnostic, POLICY_NOT_ACCEPTED};

/// What a policy says, or why it cannot be followed.
type Verdict = Result<Members, (&'static str, String)>;

/// All policies.
#[derive(Debug, Default)]
pub(super) struct Policies {
    /// By `Service` and the name of its port (none: all ports), the policy that holds.
    targets: BTreeMap<(Key, Option<String>), Key>,
    verdicts: BTreeMap<Key, Verdict>,
    /// Policies that others have pushed out of a target.
    conflicted: BTreeSet<Key>,
}

impl Policies {
    pub(super) fn new(objects: &Objects, found: &mut Vec<Diagnostic>) -> Self {
        let mut policies = Self::default();
        let mut all: Vec<_> = objects.backend_tls_policies.values().collect();
        all.sort_by(|a, b| a.meta.age().cmp(&b.meta.age()));
        for policy in all {
            let key = &policy.meta.key;
            let verdict = verdict(objects, policy);
            if let Err((reason, message)) = &verdict {
                let message = format!("{reason}: {message}");
                found.push(policy.finding(&POLICY_NOT_ACCEPTED, "spec.validation", message));
            }
            policies.verdicts.insert(key.clone(), verdict);
            for (at, target) in policy.body.spec.target_refs.iter().enumerate() {
                if !target.group.is_empty() || target.kind != Kind::Service.word() {
                    continue;
                }
                let service = Key::new(&key.namespace, &target.name);
                let slot = (service, target.section_name.clone().filter(|it| !it.is_empty()));
                if let Some(older) = policies.targets.get(&slot) {
                    let message = format!("Conflicted: the policy {older} has this target");
                    let path = format!("spec.targetRefs[{at}]");
                    found.push(policy.finding(&POLICY_NOT_ACCEPTED, &path, message));
                    policies.conflicted.insert(key.clone());
                } else {
                    policies.targets.insert(slot, key.clone());
                }
            }
        }
        policies
    }

    /// The policy for a port of a `Service`.
    fn of(&self, service: &Key, port: Option<&str>) -> Option<&Key> {
        let slot = |port: Option<&str>| (service.clone(), port.map(str::to_owned));
        let own = port.and_then(|port| self.targets.get(&slot(Some(port))));
        own.or_else(|| self.targets.get(&slot(None)))
    }

    /// What native targets for a port of a `Service` have; nothing without a policy.
    ///
    /// # Errors
    /// Why its policy cannot be followed.
    pub(super) fn members(&self, service: &Key, port: Option<&str>) -> Result<Members, String> {
        let Some(policy) = self.of(service, port) else { return Ok(Members::new()) };
        match self.verdicts.get(policy) {
            Some(Ok(members)) => Ok(members.clone()),
            Some(Err((_, message))) => {
                Err(format!("the BackendTLSPolicy {policy} cannot be followed: {message}"))
            }
            None => Ok(Members::new()),
        }
    }

    /// What became of policies: `uses` says which gateway sends to which `Service`.
    pub(super) fn statuses(
        &self,
        objects: &Objects,
        options: &Options,
        uses: &BTreeSet<(Key, Key)>,
    ) -> Vec<Status> {
        let status = |policy: &Object<BackendTlsPolicy>| {
            let key = &policy.meta.key;
            let targets = || policy.body.spec.target_refs.iter();
            let is_target = |service: &Key| {
                service.namespace == key.namespace && targets().any(|it| it.name == service.name)
            };
            let gateways: BTreeSet<&Key> =
                uses.iter().filter(|(_, service)| is_target(service)).map(|(it, _)| it).collect();
            let conditions: Vec<_> =
                self.conditions(key).iter().map(|it| it.value(policy.meta.generation)).collect();
            let ancestors: Vec<_> = gateways
                .into_iter()
                .take(16) // as many as the standard allows
                .map(|gateway| {
                    json!({
                        "ancestorRef": {
                            "group": GATEWAY_GROUP, "kind": "Gateway",
                            "namespace": gateway.namespace, "name": gateway.name,
                        },
                        "controllerName": options.controller_name,
                        "conditions": conditions,
                    })
                })
                .collect();
            Status::new(Kind::BackendTlsPolicy, &policy.meta, json!({ "ancestors": ancestors }))
        };
        objects.backend_tls_policies.values().map(|policy| status(policy)).collect()
    }

    fn conditions(&self, policy: &Key) -> Vec<Condition> {
        let resolved = Condition::yes("ResolvedRefs", "ResolvedRefs");
        match self.verdicts.get(policy) {
            Some(Err((reason, message))) if *reason == "Invalid" => {
                vec![Condition::no("Accepted", reason, message), resolved]
            }
            Some(Err((reason, message))) => vec![
                Condition::no("Accepted", "NoValidCACertificate", message),
                Condition::no("ResolvedRefs", reason, message),
            ],
            _ if self.conflicted.contains(policy) => {
                let message = "an older policy has the same target";
                vec![Condition::no("Accepted", "Conflicted", message), resolved]
            }
            _ => vec![Condition::yes("Accepted", "Accepted"), resolved],
        }
    }
}

/// What native targets have by a policy.
fn verdict(objects: &Objects, policy: &Object<BackendTlsPolicy>) -> Verdict {
    let validation = &policy.body.spec.validation;
    let namespace = policy.meta.key.namespace.as_str();
    if validation.hostname.is_empty() {
        return Err(("Invalid", "`hostname` is missing".into()));
    }
    let same = |it: &super::specs::SubjectAltName| {
        it.kind == "Hostname" && it.hostname.as_deref() == Some(validation.hostname.as_str())
    };
    if !validation.subject_alt_names.iter().all(same) {
        let message = "`subjectAltNames` other than `hostname` cannot be looked for";
        return Err(("Invalid", message.into()));
    }
    let mut members = Members::new();
    members.insert("tls", Member::Flag(true));
    members.insert("serverName", Member::Text(validation.hostname.clone()));
    let refs = &validation.ca_certificate_refs;
    match validation.well_known_ca_certificates.as_deref() {
        Some("System") if refs.is_empty() => {}
        Some(other) => {
            let message = format!("`wellKnownCACertificates: {other}` cannot be used");
            return Err(("Invalid", message));
        }
        None if refs.is_empty() => {
            return Err(("Invalid", "neither authorities nor `System` are named".into()));
        }
        None => {
            let from = (Kind::BackendTlsPolicy, namespace);
            let texts: Vec<_> = refs.iter().map(|it| authorities(objects, from, it)).collect();
            let good: Vec<_> = texts.iter().flatten().map(String::as_str).collect();
            if good.is_empty() {
                let why = texts.into_iter().find_map(Result::err).unwrap_or_default();
                return Err(("InvalidCACertificateRef", why));
            }
            members.insert("caPem", Member::Text(good.join("\n")));
        }
    }
    Ok(members)
}
