//! What is counted, for Prometheus.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use axum::extract::State;
use axum::http::HeaderMap;
use axum::http::header::{ACCEPT, CONTENT_TYPE, VARY};
use axum::response::{IntoResponse, Response};

use super::View;
use super::targets::{distinct, services};
use crate::config::snapshot::{Addresses, Name, Report, Service, Snapshot, Status};
use crate::control::events::OutputReport;
use crate::metrics::{
    Counters, Endings, Handshakes, Histogram, Readings, SHORT, ServiceCounts, Traffic, WHOLE_LIFE,
    endings,
};

mod counts;
mod families;
mod process;
mod text;

pub use self::counts::Counts;
pub(super) use self::counts::{count, turned_away};
use self::families::Family;
use self::text::{Micros, Text};

const PROMETHEUS: &str = "text/plain; version=0.0.4; charset=utf-8";
const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// The text, in the format asked for.
pub(super) async fn metrics(State(view): State<Arc<View>>, headers: HeaderMap) -> Response {
    let open = wants_openmetrics(&headers);
    let content = [(CONTENT_TYPE, if open { OPENMETRICS } else { PROMETHEUS }), (VARY, "Accept")];
    (content, text(&view, open)).into_response()
}

/// Whoever understands it names it; the order of preference does not matter to us.
fn wants_openmetrics(headers: &HeaderMap) -> bool {
    headers
        .get_all(ACCEPT)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(|range| range.to_ascii_lowercase().replace(' ', ""))
        .any(|range| {
            let mut parts = range.split(';');
            parts.next() == Some("application/openmetrics-text")
                && !parts.any(|it| matches!(it, "q=0" | "q=0.0" | "q=0.00" | "q=0.000"))
        })
}

fn text(view: &View, open: bool) -> String {
    let mut text = Text::new(open);
    let snapshot = view.process.snapshot.load_full();
    let services = services(&snapshot);
    let cores = &view.process.counters;
    of_configuration(&mut text, view, &snapshot, services.len());
    of_process(&mut text, view, cores);
    of_services(&mut text, &services);
    of_targets(&mut text, &services);
    of_names(&mut text, &services);
    of_lists(&mut text, view);
    of_certificates(&mut text, view);
    of_cores(&mut text, cores);
    of_event_outputs(&mut text, view);
    of_admin(&mut text, view);
    of_usage(&mut text);
    text.end()
}

fn of_configuration(text: &mut Text, view: &View, snapshot: &Snapshot, services: usize) {
    text.family(&families::BUILD_INFO);
    text.sample(&[env!("CARGO_PKG_VERSION")], 1);
    text.single(&families::CONFIGURATION_VERSION, snapshot.version);
    let [applied, refused] = &view.reloads;
    text.family(&families::RELOADS);
    for (result, count) in [("applied", applied), ("refused", refused)] {
        text.sample(&[result], count.load(Ordering::Relaxed));
    }
    let (at, applied) = view.counts.last_reload();
    text.single(&families::LAST_RELOAD_SUCCESSFUL, u8::from(applied));
    text.single(&families::LAST_RELOAD, millis(at));
    text.single(&families::SERVICES, services);
    text.single(&families::LISTENERS, snapshot.listeners.len());
    text.single(&families::DRAINING, u8::from(view.draining.load(Ordering::Relaxed)));
}

fn of_process(text: &mut Text, view: &View, cores: &[Arc<Counters>]) {
    let sum = |count: fn(&Counters) -> u64| cores.iter().map(|core| count(core)).sum::<u64>();
    text.single(&families::ACCEPTED, sum(|core| core.accepted.get()));
    text.single(&families::CONNECTIONS, sum(|core| core.live.get()));
    let max = view.process.connections_max.load(Ordering::Relaxed);
    text.single(&families::CONNECTIONS_MAX, max);
    text.family(&families::ENDINGS);
    of_endings(text, &[], &endings(cores.iter().map(|core| &core.endings)));
    text.family(&families::UNROUTED_ENDINGS);
    of_endings(text, &[], &endings(cores.iter().map(|core| &core.unrouted)));
    text.family(&families::BYTES);
    text.sample(&["up"], sum(|core| core.bytes_up.get()));
    text.sample(&["down"], sum(|core| core.bytes_down.get()));
    text.single(&families::CONNECT_RETRIES, sum(|core| core.retries.get()));
    text.family(&families::TLS_HANDSHAKES);
    for ((version, resumed), count) in handshakes(cores.iter().map(|core| &core.handshakes)) {
        text.sample(&[version, flag(resumed)], count);
    }
    text.single(&families::SPLICES, sum(|core| core.splices.get()));
    text.single(&families::PIPES, sum(|core| core.pipes_lent.get()));
    text.single(&families::PIPES_REFUSED, sum(|core| core.pipes_refused.get()));
    text.single(&families::BUFFERS, sum(|core| core.waiting.get()));
    text.single(&families::DESCRIPTORS_SHORT, sum(|core| core.descriptors_short.get()));
    text.single(&families::EVENTS, sum(|core| core.events.get()));
    text.single(&families::EVENTS_DROPPED, sum(|core| core.events_dropped.get()));
}

fn of_endings(text: &mut Text, before: &[&str], endings: &Endings) {
    for (ending, count) in endings.values() {
        let reason = [ending.side.name(), ending.step.name(), ending.cause.name()];
        text.sample(&[before, reason.as_slice()].concat(), count);
    }
}

fn handshakes<'a>(of: impl Iterator<Item = &'a Handshakes>) -> BTreeMap<(&'static str, bool), u64> {
    let mut all = BTreeMap::new();
    for (version, resumed, count) in of.flat_map(Handshakes::all) {
        *all.entry((version, resumed)).or_insert(0) += count;
    }
    all
}

fn flag(flag: bool) -> &'static str {
    if flag { "true" } else { "false" }
}

/// Milliseconds, as seconds.
fn millis(ms: u64) -> Micros {
    Micros(ms.saturating_mul(1000))
}

fn of_services(text: &mut Text, services: &[&Arc<Service>]) {
    let traffic = |service: &Service| Traffic::of_service(&service.state.counts);
    let all: Vec<(&str, &Service, Traffic)> =
        services.iter().map(|it| (&*it.spec.id, &***it, traffic(it))).collect();
    text.family(&families::SERVICE_CONNECTIONS);
    all.iter().for_each(|(id, _, traffic)| text.sample(&[id], traffic.connections));
    text.family(&families::SERVICE_ACCEPTED);
    all.iter().for_each(|(id, _, traffic)| text.sample(&[id], traffic.accepted));
    text.family(&families::SERVICE_BYTES);
    for (id, _, traffic) in &all {
        text.sample(&[id, "up"], traffic.bytes_in);
        text.sample(&[id, "down"], traffic.bytes_out);
    }
    text.family(&families::SERVICE_CONNECT_RETRIES);
    for (id, service, _) in &all {
        let retries = service.state.counts.all().map(|counts| counts.retries.get());
        text.sample(&[id], retries.sum::<u64>());
    }
    text.family(&families::SERVICE_ENDINGS);
    for (id, service, _) in &all {
        of_endings(text, &[id], &endings(service.state.counts.all().map(|it| &it.endings)));
    }
    text.family(&families::SERVICE_TLS_HANDSHAKES);
    for (id, service, _) in &all {
        let those = handshakes(service.state.counts.all().map(|counts| &counts.handshakes));
        for ((version, resumed), count) in those.into_iter().filter(|(_, count)| *count > 0) {
            text.sample(&[id, version, flag(resumed)], count);
        }
    }
    of_histograms(text, &all);
}

/// Those of services that have had any.
fn of_histograms(text: &mut Text, all: &[(&str, &Service, Traffic)]) {
    type Which = fn(&ServiceCounts) -> &Histogram;
    fn one(text: &mut Text, values: &[&str], service: &Service, bounds: &[u64], which: Which) {
        let mut readings = Readings::default();
        service.state.counts.all().for_each(|counts| readings.add(which(counts)));
        if readings.count > 0 {
            text.histogram(values, bounds, &readings);
        }
    }
    text.family(&families::SERVICE_CONNECT);
    for (id, service, _) in all {
        one(text, &[id], service, &SHORT, |counts| &counts.connect);
    }
    text.family(&families::SERVICE_TLS_HANDSHAKE);
    for (id, service, _) in all {
        one(text, &[id, "client"], service, &SHORT, |counts| &counts.handshake);
        one(text, &[id, "upstream"], service, &SHORT, |counts| &counts.upstream_handshake);
    }
    text.family(&families::SERVICE_DURATION);
    for (id, service, _) in all {
        one(text, &[id], service, &WHOLE_LIFE, |counts| &counts.duration);
    }
}

/// A target and what is known of it.
struct Known<'a> {
    labels: [&'a str; 2],
    report: Report,
    traffic: Traffic,
}

fn of_targets(text: &mut Text, services: &[&Arc<Service>]) {
    let all: Vec<Known<'_>> = distinct(services)
        .map(|(service, target)| Known {
            labels: [&service.spec.id, &target.label],
            report: target.state.report(),
            traffic: Traffic::of_target(&target.state),
        })
        .collect();
    let mut each = |family: &'static Family, number: fn(&Known<'_>) -> Option<u64>| {
        text.family(family);
        for known in &all {
            if let Some(number) = number(known) {
                text.sample(&known.labels, number);
            }
        }
    };
    each(&families::TARGET_CONNECTIONS, |it| Some(it.traffic.connections));
    each(&families::TARGET_UP, |it| Some(u64::from(it.report.status == Status::Up)));
    each(&families::TARGET_STATUS, |it| {
        Some(match it.report.status {
            Status::Down => 0,
            Status::Up => 1,
            Status::Pending => 2,
            Status::Ejected => 3,
            Status::Draining => 4,
        })
    });
    each(&families::TARGET_CHANGES, |it| Some(it.report.changes));
    each(&families::TARGET_TLS_HANDSHAKES, |it| {
        Some(it.traffic.handshakes).filter(|count| *count > 0)
    });
    each(&families::TARGET_CHECKS_PASSED, |it| Some(it.report.passed));
    each(&families::TARGET_CHECKS_FAILED, |it| Some(it.report.failed));
    each(&families::TARGET_CHECK_SUCCESSFUL, |it| {
        it.report.last_check.map(|_| u64::from(it.report.last_passed))
    });
    each(&families::TARGET_EJECTIONS, |it| Some(it.report.ejections));
    let checked = || all.iter().filter_map(|it| Some((it, it.report.last_check?)));
    text.family(&families::TARGET_CHECK_DURATION);
    for (known, _) in checked() {
        let took = u64::try_from(known.report.took_exactly.as_micros()).unwrap_or(u64::MAX);
        text.sample(&known.labels, Micros(took));
    }
    text.family(&families::TARGET_CHECK_TIMESTAMP);
    checked().for_each(|(known, at)| text.sample(&known.labels, millis(at)));
    text.family(&families::TARGET_CONNECTS);
    for Known { labels: [service, target], traffic, .. } in &all {
        text.sample(&[service, target, "connected"], traffic.accepted);
        text.sample(&[service, target, "failed"], traffic.failed);
    }
    text.family(&families::TARGET_BYTES);
    for Known { labels: [service, target], traffic, .. } in &all {
        text.sample(&[service, target, "up"], traffic.bytes_in);
        text.sample(&[service, target, "down"], traffic.bytes_out);
    }
}

/// The names of targets, and of their checks.
fn of_names(text: &mut Text, services: &[&Arc<Service>]) {
    let mut names: BTreeMap<&str, &Name> = BTreeMap::new();
    for (_, target) in distinct(services) {
        let of_check = target.check.as_ref().map(|check| &check.addresses);
        for addresses in std::iter::once(&target.addresses).chain(of_check) {
            if let Addresses::Resolved(name, _) = addresses {
                names.insert(&name.host, name);
            }
        }
    }
    text.family(&families::NAME_ADDRESSES);
    for (host, name) in &names {
        text.sample(&[host], name.addresses.load().len());
    }
    text.family(&families::NAME_FAILURES);
    names.iter().for_each(|(host, name)| text.sample(&[host], name.freshness.failures()));
    text.family(&families::NAME_ANSWER);
    for (host, name) in &names {
        if let Some(at) = name.freshness.answered() {
            text.sample(&[host], millis(at));
        }
    }
}

/// One place asked in several ways is one here: what is worst of it is shown.
fn of_lists(text: &mut Text, view: &View) {
    let states = view.counts.lists.load();
    let mut lists: BTreeMap<String, (usize, u64, Option<u64>)> = BTreeMap::new();
    for state in states.iter() {
        let one = (state.list.load().len(), state.freshness.failures(), state.freshness.answered());
        let all = lists.entry(state.source.to_string()).or_insert((0, 0, one.2));
        *all = (all.0 + one.0, all.1 + one.1, all.2.min(one.2));
    }
    text.family(&families::LIST_TARGETS);
    lists.iter().for_each(|(source, (targets, ..))| text.sample(&[source], targets));
    text.family(&families::LIST_FAILURES);
    lists.iter().for_each(|(source, (_, failures, _))| text.sample(&[source], failures));
    text.family(&families::LIST_ANSWER);
    for (source, (.., answered)) in &lists {
        if let Some(at) = answered {
            text.sample(&[source], millis(*at));
        }
    }
}

fn of_certificates(text: &mut Text, view: &View) {
    let material = view.material.load();
    let file = |path: &std::path::Path| path.display().to_string();
    // A directory may name a file that is named by itself too.
    let files: BTreeMap<String, i64> = material
        .certificates()
        .map(|(_, it)| (file(it.files.cert.place()), it.not_after))
        .collect();
    text.family(&families::CERTIFICATE_EXPIRY);
    files.iter().for_each(|(file, not_after)| text.sample(&[file], not_after));
}

fn of_cores(text: &mut Text, cores: &[Arc<Counters>]) {
    let names: Vec<String> = (0..cores.len()).map(|core| core.to_string()).collect();
    let all = || names.iter().map(String::as_str).zip(cores);
    text.family(&families::CORE_TICKS);
    all().for_each(|(name, core)| text.sample(&[name], core.ticks.get()));
    text.family(&families::CORE_LAG_MAX);
    all().for_each(|(name, core)| text.sample(&[name], Micros(core.lag_max_us.get())));
    text.family(&families::CORE_LAG);
    all().for_each(|(name, core)| text.sample(&[name], Micros(core.lag_us.get())));
    text.family(&families::CORE_CONNECTIONS);
    all().for_each(|(name, core)| text.sample(&[name], core.live.get()));
    text.family(&families::CORE_ACCEPTED);
    all().for_each(|(name, core)| text.sample(&[name], core.accepted.get()));
    text.family(&families::CORE_BYTES);
    for (name, core) in all() {
        text.sample(&[name, "up"], core.bytes_up.get());
        text.sample(&[name, "down"], core.bytes_down.get());
    }
}

fn of_admin(text: &mut Text, view: &View) {
    text.family(&families::ADMIN_REQUESTS);
    for (code, count) in view.counts.requests() {
        text.sample(&[&code.to_string()], count);
    }
    text.family(&families::ADMIN_REFUSALS);
    for (reason, count) in view.refusals.counts() {
        text.sample(&[reason], count);
    }
    text.single(&families::ADMIN_REFUSED, counts::all_turned_away());
}

fn of_usage(text: &mut Text) {
    let usage = process::Usage::read();
    let mut number = |family: &'static Family, number: Option<u64>| {
        if let Some(number) = number {
            text.single(family, number);
        }
    };
    number(&families::RESIDENT, usage.resident);
    number(&families::VIRTUAL, usage.virtual_memory);
    number(&families::OPEN_FDS, usage.open_fds);
    number(&families::MAX_FDS, usage.max_fds);
    if let Some(used) = usage.cpu_us {
        text.single(&families::CPU, Micros(used));
    }
    if let Some(started) = usage.started_us {
        text.single(&families::START_TIME, Micros(started));
    }
}

fn of_event_outputs(text: &mut Text, view: &View) {
    let reports = view.process.events.reports();
    type Number = fn(&OutputReport) -> u64;
    let each: [(&'static Family, Number); 5] = [
        (&families::EVENT_OUTPUT_WRITTEN, |it| it.written),
        (&families::EVENT_OUTPUT_DROPPED, |it| it.dropped),
        (&families::EVENT_OUTPUT_FAILURES, |it| it.failures),
        (&families::EVENT_OUTPUT_FAILING, |it| it.failing.into()),
        (&families::EVENT_OUTPUT_QUEUED, |it| it.queued as u64),
    ];
    for (family, number) in each {
        text.family(family);
        reports.iter().for_each(|it| text.sample(&[it.kind, &it.place], number(it)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn openmetrics_is_for_those_who_name_it() {
        let asks = |accept: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(ACCEPT, accept.parse().unwrap());
            wants_openmetrics(&headers)
        };
        let prometheus = "application/openmetrics-text;version=1.0.0,\
                          application/openmetrics-text;version=0.0.1;q=0.75,text/plain;q=0.5";
        assert!(asks(prometheus) && asks("text/html, Application/OpenMetrics-Text; q=0.1"));
        for no in ["*/*", "text/plain", "application/openmetrics-text;q=0", ""] {
            assert!(!asks(no), "{no}");
        }
        assert!(!wants_openmetrics(&HeaderMap::new()));
    }
}
