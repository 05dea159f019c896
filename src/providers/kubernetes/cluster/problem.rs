//! What can go wrong between here and an API server, in words for the log, each said once.

use std::error::Error as _;
use std::fmt;
use std::future::Future;
use std::time::Duration;

use kube::runtime::watcher;

use super::super::Kind;
use super::kinds::full_name;

/// Why a request to an API server had no success.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Problem {
    /// There is no such thing (404).
    NotFound,
    /// Somebody else was faster (409).
    Conflict,
    /// RBAC does not allow it (403), with what the server said.
    Forbidden(String),
    /// The server does not take it (400, 422), with what it said.
    Refused(String),
    /// Anything else: the server cannot be reached, or is not well.
    Unavailable(String),
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotFound => f.write_str("there is no such object"),
            Self::Conflict => f.write_str("it was changed at the same time"),
            Self::Forbidden(said) => write!(f, "not allowed: {said}"),
            Self::Refused(said) => write!(f, "refused: {said}"),
            Self::Unavailable(said) => f.write_str(said),
        }
    }
}

impl From<kube::Error> for Problem {
    fn from(error: kube::Error) -> Self {
        match error {
            kube::Error::Api(status) => match status.code {
                404 => Self::NotFound,
                409 => Self::Conflict,
                403 => Self::Forbidden(status.message.clone()),
                400 | 422 => Self::Refused(status.message.clone()),
                code => Self::Unavailable(format!("{code} {}: {}", status.reason, status.message)),
            },
            error => Self::Unavailable(in_words(&error)),
        }
    }
}

impl From<watcher::Error> for Problem {
    fn from(error: watcher::Error) -> Self {
        match error {
            watcher::Error::InitialListFailed(error)
            | watcher::Error::WatchStartFailed(error)
            | watcher::Error::WatchFailed(error) => error.into(),
            watcher::Error::WatchError(status) => kube::Error::Api(status).into(),
            watcher::Error::NoResourceVersion => {
                Self::Unavailable("a list without a resourceVersion".into())
            }
        }
    }
}

/// An error and what it came of, where that says more.
fn in_words(error: &kube::Error) -> String {
    let mut words = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        let more = error.to_string();
        if !words.contains(&more) {
            words = format!("{words}: {more}");
        }
        source = error.source();
    }
    words
}

/// Waits for an answer, but not for longer than this.
///
/// # Errors
/// What the request ran into, or that there was no answer.
pub(super) async fn within<T>(
    deadline: Duration,
    request: impl Future<Output = kube::Result<T>>,
) -> Result<T, Problem> {
    match tokio::time::timeout(deadline, request).await {
        Ok(answer) => answer.map_err(Problem::from),
        Err(_) => Err(Problem::Unavailable(format!("no answer within {deadline:?}"))),
    }
}

/// What the log last said of one thing, so that it says everything once.
#[derive(Debug, Default)]
pub(super) struct Told(Option<Problem>);

impl Told {
    /// It went wrong: says so, unless that was said last. `hint` is for what RBAC forbids.
    pub fn wrong(&mut self, what: &str, problem: Problem, hint: impl FnOnce() -> String) {
        let again = match (&self.0, &problem) {
            (Some(Problem::Forbidden(_)), Problem::Forbidden(_)) => true,
            (last, problem) => last.as_ref() == Some(problem),
        };
        if again {
            return;
        }
        if let Problem::Forbidden(_) = problem {
            tracing::error!(hint = hint(), "kubernetes: {what}: {problem}");
        } else {
            tracing::warn!("kubernetes: {what}: {problem}");
        }
        self.0 = Some(problem);
    }

    /// It went well: says so if it had not before.
    pub fn well(&mut self, what: &str) {
        if self.0.take().is_some() {
            tracing::info!("kubernetes: {what}: works again");
        }
    }
}

/// What to do about a kind that may not be read.
pub(super) fn read_hint(kind: Kind) -> String {
    format!(
        "grant the verbs `list` and `watch` on `{}`, as config/kubernetes/rbac.yaml does",
        full_name(kind)
    )
}

#[cfg(test)]
mod tests {
    use kube::core::Status;

    use super::*;

    #[test]
    fn a_status_of_the_api_server_is_told_apart_by_its_code() {
        let of = |code| {
            let status = Status::failure("said so", "Reason").with_code(code);
            Problem::from(kube::Error::Api(status.boxed()))
        };
        assert_eq!(of(404), Problem::NotFound);
        assert_eq!(of(409), Problem::Conflict);
        assert_eq!(of(403), Problem::Forbidden("said so".into()));
        assert_eq!(of(422), Problem::Refused("said so".into()));
        assert_eq!(of(503), Problem::Unavailable("503 Reason: said so".into()));
        let watched = Status::failure("said so", "Reason").with_code(403).boxed();
        let watched = Problem::from(watcher::Error::WatchError(watched));
        assert_eq!(watched, Problem::Forbidden("said so".into()));
    }
}
