//! Sōzune's listeners and labels: `proxy.tcp` of its `config.yaml`, labels of Compose files, labels of
//! Docker's containers, and the `listeners` of the main file, which labels may name too.
//!
//! ```text
//! config.yaml, main file ──▶ listeners ─────────────────────────▶ attach ──▶ one service a listener
//! Compose files, containers ──▶ candidates ──▶ labels ──▶ routes ──▶ │
//! ```
//! Labels never open a port, and never close one: they only say what is behind it. So the service of a
//! listener is always there, with the targets that are attached now, or with one that refuses.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Serialize;

use self::attach::Attachment;
use self::candidate::{Candidate, Reading};
use self::listeners::{Listeners, Whose};
use super::docker::{Container, Endpoint};
use super::foreign::Format;
use super::{Context, docker};
use crate::config::document;
use crate::config::sources::{Document, Owner, Source};
use crate::diagnostics::{Diagnostic, NOT_SOZUNE, TOO_MANY_CONTAINERS};

mod attach;
mod candidate;
mod compose;
mod labels;
mod listeners;

/// What listeners and labels declare: first what Sōzune's files do, then what the main file and Docker
/// do.
pub fn sources(context: &Context<'_>) -> Vec<Source> {
    let providers = context.providers;
    let translated = Translated::of(context);
    let mut sources = Vec::new();
    let has_docker = providers.docker.is_some() || !context.listeners.is_empty();
    for (is_there, source) in
        [(providers.sozune.is_some(), translated.sozune), (has_docker, translated.docker)]
    {
        if is_there {
            sources.push(source);
        }
    }
    sources
}

/// How each listener and each candidate fares, for people.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Report {
    /// The listeners, by name.
    pub listeners: Vec<ListenerState>,
    /// The candidates, in the order in which they are read.
    pub candidates: Vec<CandidateState>,
}

/// One listener.
#[derive(Debug, Clone, Serialize)]
pub struct ListenerState {
    /// What labels call it.
    pub name: String,
    /// Where it listens.
    pub listen: String,
    /// How many routes lead from it.
    pub attached: usize,
}

/// One candidate.
#[derive(Debug, Clone, Serialize)]
pub struct CandidateState {
    /// As `container db`.
    pub name: String,
    /// The listeners that it is attached to.
    pub listeners: Vec<String>,
    /// The codes of what was found in its labels.
    pub codes: Vec<&'static str>,
    /// An error dropped a route of it, or all of it.
    pub skipped: bool,
    /// The errors, in words.
    pub faults: Vec<String>,
}

/// How each listener and each candidate fares.
pub fn report(context: &Context<'_>) -> Report {
    Translated::of(context).report
}

/// What came of it.
struct Translated {
    sozune: Source,
    docker: Source,
    report: Report,
}

impl Translated {
    fn of(context: &Context<'_>) -> Self {
        let mut sozune = Source::empty(Owner::Provider("sozune".into()));
        let mut docker = Source::empty(Owner::Provider("docker".into()));
        let reading = reading(context.providers.docker.as_ref());
        let mut listeners = Listeners::default();

        let patterns = context.providers.sozune.iter().flat_map(|sozune| sozune.files.clone());
        let patterns: Vec<String> = patterns.collect();
        let found = &mut sozune.diagnostics;
        let files = context.files.get(&patterns, context.dir, "providers.sozune.files", found);
        let mut compose = Vec::new();
        for file in &files {
            for mut part in file.parts(Format::Yaml, found) {
                let is_compose = part.has(&["services"]);
                if part.has(&["proxy"]) {
                    listeners.read_sozune(&mut part, found);
                } else if !is_compose {
                    let message =
                        "neither Sōzune's configuration (`proxy`) nor a Compose file (`services`)";
                    found.push(part.finding(&NOT_SOZUNE, "", message));
                }
                if is_compose {
                    compose.push(part);
                }
            }
        }
        listeners.read_main(context.listeners, context.dir, &mut docker.diagnostics);

        let containers = context.inventory.docker.as_deref();
        let mut candidates = Vec::new();
        for part in &mut compose {
            candidates.extend(compose::candidates(part, &reading, containers, found));
        }
        let of_files = candidates.len();
        if let Some(containers) = containers {
            candidates.extend(of_containers(containers, &reading, &mut docker.diagnostics));
        }

        let mut report = Report::default();
        let mut attached: BTreeMap<&str, Vec<Attachment<'_>>> = BTreeMap::new();
        for (at, candidate) in candidates.iter().enumerate() {
            let found = if at < of_files { &mut *found } else { &mut docker.diagnostics };
            let from = found.len();
            let mut routes = labels::routes(candidate, &reading, &listeners, found);
            if let Err(why) = &candidate.ready
                && !routes.is_empty()
            {
                found.push(candidate.not_now(why));
                routes.clear();
            }
            let new = found.get(from..).unwrap_or_default();
            report.candidates.push(CandidateState {
                name: candidate.name.clone(),
                listeners: routes.iter().map(|route| route.listener.clone()).collect(),
                codes: new.iter().map(|finding| finding.code).collect(),
                skipped: new.iter().any(Diagnostic::is_error),
                faults: new
                    .iter()
                    .filter(|it| it.is_error())
                    .map(|it| it.message.clone())
                    .collect(),
            });
            for route in routes {
                if let Some(listener) = listeners.by_name.get(&route.listener) {
                    let attachment = Attachment { candidate, route };
                    attached.entry(&listener.name).or_default().push(attachment);
                }
            }
        }

        for (name, listener) in &listeners.by_name {
            let attachments = attached.get(name.as_str()).map_or(&[][..], Vec::as_slice);
            let source = match listener.whose {
                Whose::Sozune => &mut sozune,
                Whose::Main => &mut docker,
            };
            let members = attach::members(listener, attachments, &mut source.diagnostics);
            source.documents.push(Document {
                place: Arc::clone(&listener.place),
                path: listener.path.clone(),
                line: listener.line,
                text: listener.service(members).to_string().into(),
                port_is_declared: true,
            });
            report.listeners.push(ListenerState {
                name: name.clone(),
                listen: format!("{}:{}", listener.interface, listener.port),
                attached: attachments.len(),
            });
        }
        Self { sozune, docker, report }
    }
}

/// How labels are read.
fn reading(declared: Option<&document::Docker>) -> Reading {
    let usual = document::Docker::default();
    let docker = declared.unwrap_or(&usual);
    let endpoint = Endpoint::parse(&docker.endpoint);
    Reading {
        prefixes: candidate::prefixes(&docker.label_prefix),
        by_default: docker.expose_by_default,
        network: docker.network.clone(),
        host: endpoint.as_ref().map_or("127.0.0.1", Endpoint::host).to_owned(),
    }
}

/// The candidates among the containers, the oldest first, so that it is the younger one of two that is
/// called after itself.
fn of_containers(
    containers: &docker::Containers,
    reading: &Reading,
    found: &mut Vec<Diagnostic>,
) -> Vec<Candidate> {
    if containers.more {
        let most = crate::config::limits::DOCKER_CONTAINERS_MAX;
        let message = format!("more than {most} containers have labels for the proxy");
        let place: Arc<str> = "Docker".into();
        found.push(Diagnostic::new(&TOO_MANY_CONTAINERS, "", message).in_file(&place));
    }
    let mut sorted: Vec<(&String, &Container)> = containers.by_id.iter().collect();
    sorted.sort_by_key(|(id, container)| (&container.created, *id));
    let candidates = sorted
        .into_iter()
        .filter_map(|(id, container)| Candidate::of_container(id, container, reading));
    candidates.collect()
}

#[cfg(test)]
mod tests;
