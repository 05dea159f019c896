//! Which targets a connection may go to. Before it: admit. After it: pick.
//!
//! A service without SNI has one pool: the targets of all its rules, flattened.

use crate::config::snapshot::Pool;
use crate::conn::live::Live;

/// The pool of the connection's service.
pub fn route(live: &Live) -> &Pool {
    &live.service.pool
}
