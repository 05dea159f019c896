//! How a change ends: what it did, or why it was refused.

use std::fmt;
use std::net::SocketAddr;

use serde::Serialize;

use crate::control::listeners::BindError;
use crate::control::state::StateError;
use crate::control::{admin, events};
use crate::diagnostics::{Diagnostic, Severity};
use crate::tls::problem::Problem;

/// What a change did to the addresses that are listened on.
#[derive(Debug, Default, Serialize)]
pub struct Change {
    /// Addresses that are listened on now and were not before.
    pub added: Vec<SocketAddr>,
    /// Addresses that no service has any more.
    pub removed: Vec<SocketAddr>,
}

/// What a reload did.
#[derive(Debug, Serialize)]
pub struct Applied {
    /// The version that is served now.
    pub version: u64,
    /// The ids of services that came …
    pub added: Vec<String>,
    /// … went …
    pub removed: Vec<String>,
    /// … and are others now.
    pub changed: Vec<String>,
    /// What it did to the addresses.
    pub listeners: Change,
    /// How long it took, in ms.
    pub took: u64,
}

/// Why a change was refused. Nothing was changed.
#[derive(Debug)]
pub enum Refusal {
    /// The configuration has errors.
    Faults(Vec<Diagnostic>),
    /// An address cannot be listened on.
    Bind(BindError),
    /// Events cannot be written as it is configured.
    Events(events::Failure),
    /// A certificate, or a list of whom to trust, cannot be used.
    Material(Problem),
    /// The admin API cannot be served as it is configured.
    Admin(admin::Failure),
    /// The state directory cannot be used.
    State(StateError),
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Faults(faults) => {
                let errors = faults.iter().filter(|fault| fault.severity == Severity::Error);
                write!(f, "the configuration has {} error(s)", errors.count())
            }
            Self::Bind(error) => error.fmt(f),
            Self::Events(failure) => failure.fmt(f),
            Self::Material(problem) => problem.fmt(f),
            Self::Admin(failure) => failure.fmt(f),
            Self::State(error) => error.fmt(f),
        }
    }
}

impl From<BindError> for Refusal {
    fn from(error: BindError) -> Self {
        Self::Bind(error)
    }
}

impl From<Problem> for Refusal {
    fn from(problem: Problem) -> Self {
        Self::Material(problem)
    }
}

impl From<StateError> for Refusal {
    fn from(error: StateError) -> Self {
        Self::State(error)
    }
}

impl From<events::Failure> for Refusal {
    fn from(failure: events::Failure) -> Self {
        Self::Events(failure)
    }
}

impl From<admin::Failure> for Refusal {
    fn from(failure: admin::Failure) -> Self {
        Self::Admin(failure)
    }
}
