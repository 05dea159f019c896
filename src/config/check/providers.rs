//! `listeners` and `providers`: what can be said of them without what they name.

use std::collections::HashMap;
use std::net::IpAddr;
use std::path::Path;

use super::Findings;
use crate::config::document::{Document, Kubernetes, Providers, Span};
use crate::config::limits;
use crate::config::place::Place;
use crate::diagnostics::{BAD_LISTENER, BAD_VALUE, PROVIDER_NOT_BUILT, visible};
use crate::providers::docker::Endpoint;

/// Checks both; the paths of what comes out are absolute.
pub(super) fn providers(document: &Document, dir: &Path, findings: &mut Findings<'_>) -> Providers {
    listeners(document, findings);
    let outer = Place::Root.key("providers");
    let mut providers = document.providers.clone();
    if let Some(docker) = &providers.docker {
        let place = outer.key("docker");
        if !cfg!(feature = "docker") {
            findings.add(&PROVIDER_NOT_BUILT, &place, "this build has no Docker provider");
        }
        if Endpoint::parse(&docker.endpoint).is_none() {
            let message = format!("`{}` is no endpoint of Docker", docker.endpoint);
            let hint = "\"unix:///var/run/docker.sock\" or \"tcp://127.0.0.1:2375\"";
            findings.add_with(&BAD_VALUE, &place.key("endpoint"), message, hint);
        }
        let prefix = &docker.label_prefix;
        if prefix.is_empty() || prefix.ends_with('.') || prefix.contains(char::is_whitespace) {
            let message = format!("`{}` is nothing that labels begin with", visible(prefix));
            let hint = "\"thalweg\", for labels as `thalweg.enable=true`";
            findings.add_with(&BAD_VALUE, &place.key("labelPrefix"), message, hint);
        }
    }
    if let Some(kubernetes) = &mut providers.kubernetes {
        if crate::providers::kubernetes::is_live(kubernetes) && !cfg!(feature = "kubernetes") {
            let message = "this build reads manifests from files, but has no Kubernetes client";
            findings.add(&PROVIDER_NOT_BUILT, &outer.key("kubernetes"), message);
        }
        kubernetes.kubeconfig = kubernetes.kubeconfig.take().map(|path| dir.join(path));
        cluster(kubernetes, &outer.key("kubernetes"), findings);
    }
    providers
}

/// What is told to a cluster, and by whom.
fn cluster(kubernetes: &Kubernetes, place: &Place<'_>, findings: &mut Findings<'_>) {
    let addresses = place.key("statusAddresses");
    for (at, address) in kubernetes.status_addresses.iter().enumerate() {
        let is_ip = address.parse::<IpAddr>().is_ok();
        if !is_ip && !kubernetes_name(address, limits::HOST_BYTES_MAX) {
            let message =
                format!("`{}` is neither an IP address nor a host name", visible(address));
            findings.add(&BAD_VALUE, &addresses.index(at), message);
        }
    }
    let (place, election) = (place.key("leaderElection"), &kubernetes.leader_election);
    for (key, name) in
        [("namespace", election.namespace.as_deref()), ("name", Some(election.name.as_str()))]
    {
        if let Some(name) = name.filter(|name| !kubernetes_name(name, limits::HOST_BYTES_MAX)) {
            let message = format!("`{}` is no name in Kubernetes", visible(name));
            let hint = "lower-case letters, digits, `-` and `.`, as \"thalweg\"";
            findings.add_with(&BAD_VALUE, &place.key(key), message, hint);
        }
    }
    let (least, most) = limits::LEASE_DURATION_MIN_MAX;
    let duration = election.lease_duration.0;
    if duration < least || duration > most || duration.subsec_nanos() != 0 {
        let message = format!(
            "{} is not from {} to {} in whole seconds",
            election.lease_duration,
            Span(least),
            Span(most)
        );
        findings.add_with(&BAD_VALUE, &place.key("leaseDuration"), message, "\"15s\"");
    }
}

/// Whether this is a DNS subdomain as Kubernetes has it (RFC 1123).
fn kubernetes_name(name: &str, most: usize) -> bool {
    let fits = |label: &str| {
        let inner = label.bytes().all(|it| matches!(it, b'a'..=b'z' | b'0'..=b'9' | b'-'));
        inner && !label.is_empty() && !label.starts_with('-') && !label.ends_with('-')
    };
    name.len() <= most && name.split('.').all(fits)
}

fn listeners(document: &Document, findings: &mut Findings<'_>) {
    let all = Place::Root.key("listeners");
    let mut first: HashMap<&str, usize> = HashMap::new();
    for (at, listener) in document.listeners.iter().enumerate() {
        let object = all.index(at);
        let name = listener.name.as_deref().unwrap_or_default();
        if listener.name.is_none() {
            findings.missing(&object, "name", "labels name it: \"name\": \"postgres\"");
        } else if name.trim().is_empty() {
            findings.add(&BAD_LISTENER, &object.key("name"), "the name is empty");
        } else if let Some(first) = first.get(name) {
            let message = format!("the name `{name}` is also that of listeners[{first}]");
            findings.add_with(&BAD_LISTENER, &object.key("name"), message, "give it another one");
        } else {
            first.insert(name, at);
        }
        match listener.port {
            None => findings.missing(&object, "port", "the port to listen on: \"port\": 5432"),
            Some(0) => findings.add(&BAD_LISTENER, &object.key("port"), "0 is not a port"),
            Some(_) => {}
        }
        super::listen::interface(&listener.interface, &object.key("interface"), findings);
    }
}
