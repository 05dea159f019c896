//! What to compute rates from: counts that only rise, of the process and of each service, target and
//! core. Whoever asks twice divides the difference by that of `now`.

use std::sync::Arc;
use std::time::SystemTime;

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use super::View;
use super::targets::{distinct, services};
use crate::config::snapshot::{Status, since_1970};
use crate::metrics::{Counters, Traffic, endings};

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Page<'a> {
    /// In ms since 1970.
    now: u64,
    /// In ms.
    uptime: u64,
    total: Traffic,
    services: Vec<OfService<'a>>,
    targets: Vec<OfTarget<'a>>,
    cores: Vec<OfCore>,
    endings: Vec<OfEnding>,
}

#[derive(Debug, Serialize)]
struct OfService<'a> {
    id: &'a str,
    name: &'a str,
    #[serde(flatten)]
    traffic: Traffic,
}

#[derive(Debug, Serialize)]
struct OfTarget<'a> {
    service: &'a str,
    target: &'a str,
    state: Status,
    #[serde(flatten)]
    traffic: Traffic,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct OfCore {
    core: usize,
    connections: u64,
    accepted: u64,
    bytes_in: u64,
    bytes_out: u64,
    /// The longest delay of a tick since the start.
    lag_max_us: u64,
    ticks: u64,
}

#[derive(Debug, Serialize)]
struct OfEnding {
    side: &'static str,
    step: &'static str,
    cause: &'static str,
    count: u64,
}

/// All of it.
pub(super) async fn traffic(State(view): State<Arc<View>>) -> Response {
    let snapshot = view.process.snapshot.load_full();
    let services = services(&snapshot);
    let cores = &view.process.counters;
    let endings = endings(cores.iter().map(|core| &core.endings));
    let uptime = view.started.elapsed().as_millis();
    let page = Page {
        now: since_1970(SystemTime::now()),
        uptime: u64::try_from(uptime).unwrap_or(u64::MAX),
        total: Traffic::of_cores(cores),
        services: services
            .iter()
            .map(|service| OfService {
                id: &service.spec.id,
                name: &service.spec.name,
                traffic: Traffic::of_service(&service.state.counts),
            })
            .collect(),
        targets: distinct(&services)
            .map(|(service, target)| OfTarget {
                service: &service.spec.id,
                target: &target.label,
                state: target.state.status(),
                traffic: Traffic::of_target(&target.state),
            })
            .collect(),
        cores: cores.iter().enumerate().map(|(core, counters)| of_core(core, counters)).collect(),
        endings: endings
            .values()
            .map(|(ending, count)| OfEnding {
                side: ending.side.name(),
                step: ending.step.name(),
                cause: ending.cause.name(),
                count: *count,
            })
            .collect(),
    };
    Json(page).into_response()
}

fn of_core(core: usize, counters: &Counters) -> OfCore {
    OfCore {
        core,
        connections: counters.live.get(),
        accepted: counters.accepted.get(),
        bytes_in: counters.bytes_up.get(),
        bytes_out: counters.bytes_down.get(),
        lag_max_us: counters.lag_max_us.get(),
        ticks: counters.ticks.get(),
    }
}
