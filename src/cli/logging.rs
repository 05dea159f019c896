//! Logs: lines on standard error, written by a thread of their own. A core that logs never waits:
//! when the sink is slow, full or gone, lines are dropped, and their number is logged at the end.

use std::io::IsTerminal;

use tracing_appender::non_blocking::{ErrorCounter, NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::EnvFilter;

use super::LogFormat;
use crate::config::limits;

/// The environment variable with the filter, as `debug` or `thalweg::conn=trace`.
const FILTER: &str = "THALWEG_LOG";
/// The filter without it. What the Kubernetes client says at every try is said once, by its user.
const USUAL: &str = "info,kube_client=off,kube_runtime=off";

/// Keeps logging going; writes what is left when dropped.
#[derive(Debug)]
pub struct Logging {
    dropped: ErrorCounter,
    _guard: WorkerGuard,
}

/// Starts logging for the process, and has panics logged instead of printed.
pub fn start(format: LogFormat) -> Logging {
    let (sink, guard) = NonBlockingBuilder::default()
        .lossy(true)
        .buffered_lines_limit(limits::LOG_LINES_MAX)
        .thread_name("thalweg-log")
        .finish(std::io::stderr());
    let dropped = sink.error_counter();
    let filter = EnvFilter::try_from_env(FILTER).unwrap_or_else(|_| EnvFilter::new(USUAL));
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(sink)
        .with_target(false)
        .with_ansi(std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none());
    // A second subscriber cannot be set; that one would be a caller's own, and is as good.
    let _ = match format {
        LogFormat::Json => builder.json().flatten_event(true).try_init(),
        LogFormat::Text => builder.try_init(),
    };
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        let said = panic.payload_as_str().unwrap_or("a panic without words");
        tracing::error!(place, "panic: {said}");
    }));
    Logging { dropped, _guard: guard }
}

impl Drop for Logging {
    fn drop(&mut self) {
        let dropped = self.dropped.dropped_lines();
        if dropped > 0 {
            tracing::warn!(dropped, "log lines were dropped because the sink was behind");
        }
    }
}
