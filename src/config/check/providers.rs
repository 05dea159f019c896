//! `listeners` and `providers`: what can be said of them without what they name.

use std::collections::HashMap;
use std::path::Path;

use super::Findings;
use crate::config::document::{Document, Providers};
use crate::config::place::Place;
use crate::diagnostics::{BAD_LISTENER, BAD_VALUE, PROVIDER_NOT_BUILT};

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
        if !docker.endpoint.starts_with("unix:///") && !docker.endpoint.starts_with("tcp://") {
            let message = format!("`{}` is no endpoint of Docker", docker.endpoint);
            let hint = "\"unix:///var/run/docker.sock\" or \"tcp://127.0.0.1:2375\"";
            findings.add_with(&BAD_VALUE, &place.key("endpoint"), message, hint);
        }
    }
    if let Some(kubernetes) = &mut providers.kubernetes {
        if crate::providers::kubernetes::is_live(kubernetes) && !cfg!(feature = "kubernetes") {
            let message = "this build reads manifests from files, but has no Kubernetes client";
            findings.add(&PROVIDER_NOT_BUILT, &outer.key("kubernetes"), message);
        }
        kubernetes.kubeconfig = kubernetes.kubeconfig.take().map(|path| dir.join(path));
    }
    providers
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
