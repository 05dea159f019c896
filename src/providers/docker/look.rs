//! One look at the containers of a daemon.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::time::Duration;

use bollard::errors::Error;
use bollard::models::{ContainerInspectResponse, ContainerSummary, HealthStatusEnum};
use bollard::query_parameters::{InspectContainerOptions, ListContainersOptions};
use bollard::{API_DEFAULT_VERSION, Docker};
use tokio::time::timeout;

use super::{Container, Containers, Endpoint, State};
use crate::config::{document, limits};

/// Reaches the daemon, and agrees with it on a version of its API.
///
/// # Errors
/// Why it cannot be reached, in words.
pub(super) async fn connect(config: &document::Docker) -> Result<Docker, String> {
    let seconds = limits::DOCKER_REQUEST.as_secs();
    let docker = match Endpoint::parse(&config.endpoint) {
        Some(Endpoint::Unix(path)) => {
            Docker::connect_with_unix(&path, seconds, API_DEFAULT_VERSION)
        }
        Some(Endpoint::Tcp(address)) => {
            Docker::connect_with_http(&address, seconds, API_DEFAULT_VERSION)
        }
        None => return Err("the endpoint cannot be read".into()),
    };
    let docker = docker.map_err(|error| words(&error))?;
    within(docker.negotiate_version()).await
}

/// The containers that a daemon has now.
///
/// # Errors
/// Why nobody knows, in words.
pub async fn look(config: &document::Docker) -> Result<Containers, String> {
    all(&connect(config).await?, config).await
}

/// The containers that the daemon has now.
pub(super) async fn all(docker: &Docker, config: &document::Docker) -> Result<Containers, String> {
    let listed = within(docker.list_containers(None::<ListContainersOptions>)).await?;
    let mut candidates: Vec<ContainerSummary> =
        listed.into_iter().filter(|listed| concerns(config, listed.labels.as_ref())).collect();
    candidates.sort_by(|a, b| (a.created, &a.id).cmp(&(b.created, &b.id)));
    let more = candidates.len() > limits::DOCKER_CONTAINERS_MAX;
    candidates.truncate(limits::DOCKER_CONTAINERS_MAX);
    let mut by_id = BTreeMap::new();
    for listed in candidates {
        let Some(id) = listed.id.clone() else { continue };
        let found = match one(docker, config, &id).await {
            Ok(None) => continue,
            Ok(Some(container)) => container,
            Err(Fault::Away(why)) => return Err(why),
            Err(Fault::Refused(why)) => undescribed(config, listed, why),
        };
        by_id.insert(id, found);
    }
    Ok(Containers { by_id, more })
}

/// Why a container is not known.
pub(super) enum Fault {
    /// The daemon does not answer.
    Away(String),
    /// It answers that it cannot say.
    Refused(String),
}

/// One container; `None` if it does not run, is gone, or has no label for the proxy.
pub(super) async fn one(
    docker: &Docker,
    config: &document::Docker,
    id: &str,
) -> Result<Option<Container>, Fault> {
    let asked = docker.inspect_container(id, None::<InspectContainerOptions>);
    match timeout(limits::DOCKER_REQUEST, asked).await {
        Ok(Ok(inspected)) => Ok(container(config, inspected)),
        Ok(Err(Error::DockerResponseServerError { status_code: 404, .. })) => Ok(None),
        Ok(Err(error @ Error::DockerResponseServerError { .. })) => {
            Err(Fault::Refused(words(&error)))
        }
        Ok(Err(error)) => Err(Fault::Away(words(&error))),
        Err(_) => Err(Fault::Away(late(limits::DOCKER_REQUEST))),
    }
}

/// Waits for an answer, for as long as one may take.
async fn within<T>(asked: impl Future<Output = Result<T, Error>>) -> Result<T, String> {
    match timeout(limits::DOCKER_REQUEST, asked).await {
        Ok(answer) => answer.map_err(|error| words(&error)),
        Err(_) => Err(late(limits::DOCKER_REQUEST)),
    }
}

fn late(after: Duration) -> String {
    format!("no answer within {} s", after.as_secs())
}

/// An error with its causes: the outermost alone says little.
pub(super) fn words(error: &Error) -> String {
    let mut words = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(inner) = cause {
        let inner_words = inner.to_string();
        if !words.contains(&inner_words) {
            words.push_str(": ");
            words.push_str(&inner_words);
        }
        cause = inner.source();
    }
    words
}

fn concerns(config: &document::Docker, labels: Option<&HashMap<String, String>>) -> bool {
    labels.is_some_and(|labels| labels.keys().any(|label| Containers::concerns(config, label)))
}

fn kept(
    config: &document::Docker,
    labels: Option<HashMap<String, String>>,
) -> BTreeMap<String, String> {
    let labels = labels.into_iter().flatten();
    labels.filter(|(label, _)| Containers::keeps(config, label)).collect()
}

/// What the list says of a container that the daemon cannot describe.
fn undescribed(config: &document::Docker, listed: ContainerSummary, why: String) -> Container {
    let name = listed.names.into_iter().flatten().next().unwrap_or_default();
    Container {
        name: name.trim_start_matches('/').to_owned(),
        labels: kept(config, listed.labels),
        fault: Some(why),
        ..Container::default()
    }
}

/// What a container is, if it runs and has a label for the proxy.
fn container(config: &document::Docker, inspected: ContainerInspectResponse) -> Option<Container> {
    let state = inspected.state.unwrap_or_default();
    let labels = inspected.config.and_then(|config| config.labels);
    let runs = state.running == Some(true) && state.restarting != Some(true);
    if !runs || !concerns(config, labels.as_ref()) {
        return None;
    }
    let health = state.health.and_then(|health| health.status);
    let state_now = match health {
        _ if state.paused == Some(true) => State::Paused,
        Some(HealthStatusEnum::STARTING) => State::Starting,
        Some(HealthStatusEnum::UNHEALTHY) => State::Unhealthy,
        Some(HealthStatusEnum::HEALTHY | HealthStatusEnum::NONE | HealthStatusEnum::EMPTY)
        | None => State::Ready,
    };
    let networks = inspected.network_settings.and_then(|settings| settings.networks);
    let networks = networks.into_iter().flatten().filter_map(|(name, endpoint)| {
        let address = |text: Option<String>| text?.parse::<IpAddr>().ok();
        let v4 = address(endpoint.ip_address);
        Some((name, v4.or_else(|| address(endpoint.global_ipv6_address))?))
    });
    Some(Container {
        name: inspected.name.unwrap_or_default().trim_start_matches('/').to_owned(),
        created: inspected.created.unwrap_or_default(),
        started: state.started_at.unwrap_or_default(),
        labels: kept(config, labels),
        networks: networks.collect(),
        state: state_now,
        fault: None,
    })
}
