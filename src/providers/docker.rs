//! Docker, live: which containers there are, with their labels, addresses and health.

use tokio::task::JoinHandle;

use super::Publisher;
use crate::config::document::Docker;

/// The containers of a daemon, by id.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Containers {}

/// What must be the same for a daemon to be the same.
pub fn reached_by(config: &Docker) -> String {
    config.endpoint.clone()
}

/// Watches a daemon until it is aborted.
pub fn start(_config: Docker, _publisher: Publisher<Containers>) -> JoinHandle<()> {
    tokio::spawn(async {})
}
