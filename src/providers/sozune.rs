//! Sōzune's listeners and labels: `proxy.tcp` of its `config.yaml`, labels of Compose files, labels of
//! Docker's containers, and the `listeners` of the main file, which labels may name too.

use super::Context;
use crate::config::sources::Source;

/// What listeners and labels declare.
pub fn sources(_context: &Context<'_>) -> Vec<Source> {
    Vec::new()
}
