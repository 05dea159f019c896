//! Docker, live: which containers there are, with their labels, addresses and health.

/// The containers of a daemon, by id.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Containers {}
