//! Counters in Prometheus' text format 0.0.4. Labels hold configured names only, so that their
//! number is bounded by the configuration.

use std::fmt::{Display, Write};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};

use super::View;
use super::targets::services;
use crate::config::snapshot::{Report, Status};
use crate::metrics::Counters;

/// The text.
pub(super) async fn metrics(State(view): State<Arc<View>>) -> Response {
    let content = [(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")];
    (content, text(&view)).into_response()
}

#[derive(Debug, Default)]
struct Text(String);

impl Text {
    /// Begins a family.
    fn family(&mut self, name: &str, kind: &str, help: &str) {
        let _ = write!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}\n");
    }

    /// One number of it.
    fn sample(&mut self, name: &str, labels: &[(&str, &str)], value: impl Display) {
        self.0.push_str(name);
        for (at, (label, text)) in labels.iter().enumerate() {
            self.0.push(if at == 0 { '{' } else { ',' });
            let _ = write!(self.0, "{label}=\"");
            for c in text.chars() {
                match c {
                    '\\' => self.0.push_str("\\\\"),
                    '"' => self.0.push_str("\\\""),
                    '\n' => self.0.push_str("\\n"),
                    c => self.0.push(c),
                }
            }
            self.0.push('"');
        }
        self.0.push_str(if labels.is_empty() { " " } else { "} " });
        let _ = writeln!(self.0, "{value}");
    }

    /// A family of one number.
    fn single(&mut self, name: &str, kind: &str, help: &str, value: impl Display) {
        self.family(name, kind, help);
        self.sample(name, &[], value);
    }
}

fn text(view: &View) -> String {
    let mut text = Text::default();
    let cores = &view.process.counters;
    let sum = |count: fn(&Counters) -> u64| cores.iter().map(|core| count(core)).sum::<u64>();
    text.family("thalweg_build_info", "gauge", "1; the version is a label.");
    text.sample("thalweg_build_info", &[("version", env!("CARGO_PKG_VERSION"))], 1);
    let snapshot = view.process.snapshot.load_full();
    let name = "thalweg_configuration_version";
    text.single(name, "gauge", "Counts what was applied, from 1.", snapshot.version);
    let [applied, refused] = &view.reloads;
    text.family("thalweg_reloads_total", "counter", "Reloads by what became of them.");
    for (result, count) in [("applied", applied), ("refused", refused)] {
        let count = count.load(Ordering::Relaxed);
        text.sample("thalweg_reloads_total", &[("result", result)], count);
    }
    let max = view.process.connections_max.load(Ordering::Relaxed);
    for (name, kind, help, value) in [
        (
            "accepted_total",
            "counter",
            "Connections taken from listeners.",
            sum(|c| c.accepted.get()),
        ),
        ("connections", "gauge", "Connections alive.", sum(|c| c.live.get())),
        ("connections_max", "gauge", "Connections that the limit of open files allows.", max),
        (
            "connect_retries_total",
            "counter",
            "Further attempts after a failed connect.",
            sum(|c| c.retries.get()),
        ),
        ("splices_total", "counter", "Directions that turned to splice.", sum(|c| c.splices.get())),
        ("pipes", "gauge", "Pipes in use.", sum(|c| c.pipes_lent.get())),
        (
            "pipes_refused_total",
            "counter",
            "Times no pipe could be had.",
            sum(|c| c.pipes_refused.get()),
        ),
        (
            "descriptors_short_total",
            "counter",
            "Times a core ran out of descriptors.",
            sum(|c| c.descriptors_short.get()),
        ),
        (
            "events_dropped_total",
            "counter",
            "Events dropped because the writer was behind.",
            sum(|c| c.events_dropped.get()),
        ),
    ] {
        text.single(&format!("thalweg_{name}"), kind, help, value);
    }
    let name = "thalweg_bytes_total";
    text.family(
        name,
        "counter",
        "Bytes handed over by connections that have ended: up to targets, down to clients.",
    );
    text.sample(name, &[("direction", "up")], sum(|c| c.bytes_up.get()));
    text.sample(name, &[("direction", "down")], sum(|c| c.bytes_down.get()));
    let name = "thalweg_tls_handshakes_total";
    let (all, resumed) = (sum(|c| c.handshakes.get()), sum(|c| c.handshakes_resumed.get()));
    text.family(name, "counter", "TLS handshakes with clients that succeeded.");
    text.sample(name, &[("resumed", "false")], all.saturating_sub(resumed));
    text.sample(name, &[("resumed", "true")], resumed);
    endings(&mut text, cores);
    of_cores(&mut text, cores);
    of_targets(&mut text, &snapshot);
    certificates(&mut text, view);
    text.0
}

fn endings(text: &mut Text, cores: &[Arc<Counters>]) {
    let name = "thalweg_endings_total";
    text.family(name, "counter", "Connections that ended, by cause (thalweg explain CAUSE).");
    let mut all = std::collections::BTreeMap::new();
    for (cause, count) in cores.iter().flat_map(|core| core.endings()) {
        *all.entry(cause.name()).or_insert(0) += count;
    }
    for (cause, count) in all {
        text.sample(name, &[("cause", cause)], count);
    }
}

fn of_cores(text: &mut Text, cores: &[Arc<Counters>]) {
    let name = "thalweg_core_ticks_total";
    text.family(name, "counter", "Heartbeat of a core, ten a second.");
    for (core, counters) in cores.iter().enumerate() {
        text.sample(name, &[("core", &core.to_string())], counters.ticks.get());
    }
    let name = "thalweg_core_lag_max_seconds";
    text.family(name, "gauge", "Longest delay of a heartbeat since the start.");
    for (core, counters) in cores.iter().enumerate() {
        let micros = counters.lag_max_us.get();
        let seconds = format!("{}.{:06}", micros / 1_000_000, micros % 1_000_000);
        text.sample(name, &[("core", &core.to_string())], seconds);
    }
    let name = "thalweg_core_connections";
    text.family(name, "gauge", "Connections alive on a core.");
    for (core, counters) in cores.iter().enumerate() {
        text.sample(name, &[("core", &core.to_string())], counters.live.get());
    }
}

fn of_targets(text: &mut Text, snapshot: &crate::config::snapshot::Snapshot) {
    let mut seen = std::collections::HashSet::new();
    let mut targets = Vec::new();
    for service in services(snapshot) {
        for target in service.pools.iter().flat_map(|pool| &pool.targets) {
            // A target that several rules name is one.
            if seen.insert(Arc::as_ptr(&target.state)) {
                let labels = [("service", &*service.spec.id), ("target", &target.label)];
                targets.push((labels, target.state.report()));
            }
        }
    }
    type Number = fn(&Report) -> u64;
    let families: [(&str, &str, &str, Number); 6] = [
        ("connections", "gauge", "Connections, those still connecting among them.", |it| {
            it.connections.into()
        }),
        ("up", "gauge", "1: gets new connections.", |it| u64::from(it.status == Status::Up)),
        ("changes_total", "counter", "Times it went up or down.", |it| it.changes),
        ("checks_passed_total", "counter", "Health checks that passed.", |it| it.passed),
        ("checks_failed_total", "counter", "Health checks that failed.", |it| it.failed),
        (
            "ejections_total",
            "counter",
            "Times connections to it failed so often that it was left out.",
            |it| it.ejections,
        ),
    ];
    for (name, kind, help, number) in families {
        let name = format!("thalweg_target_{name}");
        text.family(&name, kind, help);
        for (labels, report) in &targets {
            text.sample(&name, labels, number(report));
        }
    }
}

fn certificates(text: &mut Text, view: &View) {
    let name = "thalweg_certificate_expiry_timestamp_seconds";
    text.family(name, "gauge", "When a certificate expires, in seconds since 1970.");
    let material = view.material.load();
    for entry in material.store.entries() {
        let file = entry.files.cert_file.display().to_string();
        text.sample(name, &[("file", &file)], entry.not_after);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_cannot_break_its_line() {
        let mut text = Text::default();
        text.sample("x", &[("a", "q\"b\\s\nn"), ("b", "")], 7);
        assert_eq!(text.0, "x{a=\"q\\\"b\\\\s\\nn\",b=\"\"} 7\n");
    }
}
