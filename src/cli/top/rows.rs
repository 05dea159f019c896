//! What each view of `top` lists: its columns, a row for each entry, and by what they are sorted.

use std::cmp::Ordering;

use serde_json::Value;

use super::traffic::{Entry, Rates, Sample};
use crate::cli::connections;
use crate::cli::text::{self, Column, bytes, count, left, right};

/// What is listed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum View {
    /// Each service.
    #[default]
    Services,
    /// Each target of each service.
    Targets,
    /// Each core.
    Cores,
    /// Why connections ended, how often.
    Endings,
    /// The live connections.
    Connections,
}

/// By what entries are sorted; numbers have the largest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum By {
    Name,
    Service,
    State,
    Live,
    Accepted,
    Failed,
    Handshakes,
    In,
    Out,
    Bytes,
    Lag,
    Total,
    Rate,
    Connection(connections::Sort),
}

/// One line of a list.
#[derive(Debug, Clone)]
pub struct Row {
    /// Tells it from the others.
    pub key: String,
    pub cells: Vec<String>,
    /// The service, and the target if it is one, whose connections it stands for.
    pub of: Option<(String, Option<String>)>,
}

/// The cells of an entry.
type Cells = fn(&Entry) -> Vec<String>;

impl View {
    /// In the order of their keys, from `1`.
    pub const ALL: [Self; 5] =
        [Self::Services, Self::Targets, Self::Cores, Self::Endings, Self::Connections];

    /// As people see it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Services => "services",
            Self::Targets => "targets",
            Self::Cores => "cores",
            Self::Endings => "endings",
            Self::Connections => "connections",
        }
    }

    /// Its place in [`View::ALL`].
    pub fn place(self) -> usize {
        Self::ALL.iter().position(|view| *view == self).unwrap_or(0)
    }

    /// By what it can be sorted; the first is usual.
    pub fn orders(self) -> &'static [By] {
        use connections::Sort;
        match self {
            Self::Services => &[
                By::Bytes,
                By::Live,
                By::Accepted,
                By::Failed,
                By::Handshakes,
                By::In,
                By::Out,
                By::Name,
            ],
            Self::Targets => &[
                By::Bytes,
                By::Live,
                By::Accepted,
                By::Failed,
                By::In,
                By::Out,
                By::State,
                By::Service,
                By::Name,
            ],
            Self::Cores => &[By::Name, By::Live, By::Accepted, By::In, By::Out, By::Lag],
            Self::Endings => &[By::Total, By::Rate, By::Name],
            Self::Connections => &[
                By::Connection(Sort::Age),
                By::Connection(Sort::Idle),
                By::Connection(Sort::In),
                By::Connection(Sort::Out),
                By::Connection(Sort::Service),
                By::Connection(Sort::Target),
                By::Connection(Sort::Client),
            ],
        }
    }

    /// Its columns.
    pub fn columns(self) -> &'static [Column] {
        match self {
            Self::Services => &SERVICES,
            Self::Targets => &TARGETS,
            Self::Cores => &CORES,
            Self::Endings => &ENDINGS,
            Self::Connections => &connections::COLUMNS,
        }
    }

    /// Its rows.
    pub fn rows(self, sample: &Sample, connections: &[Value], by: By, reverse: bool) -> Vec<Row> {
        if self == Self::Connections {
            return of_connections(connections, by, reverse);
        }
        let (entries, cells) = match self {
            Self::Services => (&sample.services, service as Cells),
            Self::Targets => (&sample.targets, target as Cells),
            Self::Cores => (&sample.cores, core as Cells),
            Self::Endings | Self::Connections => (&sample.endings, ending as Cells),
        };
        let mut sorted: Vec<&Entry> = entries.iter().collect();
        sorted.sort_by(|a, b| by.compare(a, b).then_with(|| natural(&a.key, &b.key)));
        if reverse {
            sorted.reverse();
        }
        let row = |entry: &Entry| Row {
            key: entry.key.clone(),
            cells: cells(entry),
            of: match self {
                Self::Services => Some((entry.service.clone(), None)),
                Self::Targets => Some((entry.service.clone(), Some(entry.name.clone()))),
                _ => None,
            },
        };
        sorted.into_iter().map(row).collect()
    }
}

impl By {
    /// As people see it.
    pub fn name(self) -> &'static str {
        use connections::Sort;
        match self {
            Self::Name => "name",
            Self::Service | Self::Connection(Sort::Service) => "service",
            Self::State => "state",
            Self::Live => "live connections",
            Self::Accepted => "accepted",
            Self::Failed => "failed",
            Self::Handshakes => "handshakes",
            Self::In | Self::Connection(Sort::In) => "bytes in",
            Self::Out | Self::Connection(Sort::Out) => "bytes out",
            Self::Bytes => "bytes in and out",
            Self::Lag => "lag",
            Self::Total => "count",
            Self::Rate => "rate",
            Self::Connection(Sort::Age) => "age",
            Self::Connection(Sort::Idle) => "idle",
            Self::Connection(Sort::Target) => "target",
            Self::Connection(Sort::Client) => "client",
        }
    }

    fn compare(self, a: &Entry, b: &Entry) -> Ordering {
        let larger = |of: fn(&Entry) -> f64| of(b).total_cmp(&of(a));
        match self {
            Self::Name | Self::Connection(_) => natural(&a.name, &b.name),
            Self::Service => a.service.cmp(&b.service),
            Self::State => a.state.cmp(&b.state),
            Self::Live => b.counts.connections.cmp(&a.counts.connections),
            Self::Total => b.counts.accepted.cmp(&a.counts.accepted),
            Self::Lag => b.lag_max_us.cmp(&a.lag_max_us),
            Self::Accepted | Self::Rate => larger(|it| rate(it, |rates| rates.accepted)),
            Self::Failed => larger(|it| rate(it, |rates| rates.failed)),
            Self::Handshakes => larger(|it| rate(it, |rates| rates.handshakes)),
            Self::In => larger(|it| rate(it, |rates| rates.bytes_in)),
            Self::Out => larger(|it| rate(it, |rates| rates.bytes_out)),
            Self::Bytes => larger(|it| rate(it, |rates| rates.bytes_in + rates.bytes_out)),
        }
    }
}

fn rate(entry: &Entry, of: fn(&Rates) -> f64) -> f64 {
    entry.rates.as_ref().map_or(-1.0, of)
}

/// Core 2 comes before core 10.
fn natural(a: &str, b: &str) -> Ordering {
    match (a.parse::<u64>(), b.parse::<u64>()) {
        (Ok(a), Ok(b)) => a.cmp(&b),
        _ => a.cmp(b),
    }
}

const SERVICES: [Column; 10] = [
    left("SERVICE", 12, 0),
    right("LIVE", 0),
    right("ACCEPTED/S", 0),
    right("FAILED/S", 0),
    right("HANDSHAKES/S", 2),
    right("IN/S", 0),
    right("OUT/S", 0),
    right("IN", 4),
    right("OUT", 4),
    left("NAME", 8, 3),
];

const TARGETS: [Column; 10] = [
    left("SERVICE", 8, 0),
    left("TARGET", 12, 0),
    left("STATE", 0, 0),
    right("LIVE", 0),
    right("ACCEPTED/S", 2),
    right("FAILED/S", 1),
    right("IN/S", 0),
    right("OUT/S", 0),
    right("IN", 4),
    right("OUT", 4),
];

const CORES: [Column; 9] = [
    left("CORE", 0, 0),
    right("LIVE", 0),
    right("ACCEPTED/S", 0),
    right("IN/S", 0),
    right("OUT/S", 0),
    right("TICKS/S", 2),
    right("LAG MAX", 0),
    right("IN", 4),
    right("OUT", 4),
];

const ENDINGS: [Column; 4] =
    [left("ENDING", 12, 0), right("COUNT", 0), right("RATE/S", 0), left("MEANING", 10, 1)];

fn service(entry: &Entry) -> Vec<String> {
    let named = entry.name != entry.service && !entry.name.is_empty();
    vec![
        entry.service.clone(),
        count(entry.counts.connections),
        per_second(entry, |rates| rates.accepted),
        per_second(entry, |rates| rates.failed),
        per_second(entry, |rates| rates.handshakes),
        bytes_per_second(entry, |rates| rates.bytes_in),
        bytes_per_second(entry, |rates| rates.bytes_out),
        bytes(entry.counts.bytes_in),
        bytes(entry.counts.bytes_out),
        if named { entry.name.clone() } else { "-".into() },
    ]
}

fn target(entry: &Entry) -> Vec<String> {
    vec![
        entry.service.clone(),
        entry.name.clone(),
        entry.state.clone(),
        count(entry.counts.connections),
        per_second(entry, |rates| rates.accepted),
        per_second(entry, |rates| rates.failed),
        bytes_per_second(entry, |rates| rates.bytes_in),
        bytes_per_second(entry, |rates| rates.bytes_out),
        bytes(entry.counts.bytes_in),
        bytes(entry.counts.bytes_out),
    ]
}

fn core(entry: &Entry) -> Vec<String> {
    let lag = entry.lag_max_us;
    vec![
        entry.name.clone(),
        count(entry.counts.connections),
        per_second(entry, |rates| rates.accepted),
        bytes_per_second(entry, |rates| rates.bytes_in),
        bytes_per_second(entry, |rates| rates.bytes_out),
        per_second(entry, |rates| rates.ticks),
        format!("{}.{} ms", lag / 1000, lag % 1000 / 100),
        bytes(entry.counts.bytes_in),
        bytes(entry.counts.bytes_out),
    ]
}

fn ending(entry: &Entry) -> Vec<String> {
    let meaning = crate::conn::ending::lookup(&entry.name).map_or("-", |(title, _)| title);
    vec![
        entry.name.clone(),
        entry.counts.accepted.to_string(),
        per_second(entry, |rates| rates.accepted),
        meaning.to_owned(),
    ]
}

fn of_connections(connections: &[Value], by: By, reverse: bool) -> Vec<Row> {
    let mut sorted = connections.to_vec();
    if let By::Connection(sort) = by {
        connections::sort_by(&mut sorted, sort);
    }
    if reverse {
        sorted.reverse();
    }
    let row = |it: &Value| Row {
        key: text::text(it, "id"),
        cells: connections::row(it).into(),
        of: None,
    };
    sorted.iter().map(row).collect()
}

/// A rate of events.
pub fn per_second(entry: &Entry, of: fn(&Rates) -> f64) -> String {
    match entry.rates.as_ref().map(of) {
        None => "-".into(),
        Some(rate) if rate > 0.0 && rate < 9.95 => format!("{rate:.1}"),
        Some(rate) => count(rate.round() as u64),
    }
}

/// A rate of bytes.
pub fn bytes_per_second(entry: &Entry, of: fn(&Rates) -> f64) -> String {
    entry.rates.as_ref().map_or_else(|| "-".into(), |rates| bytes(of(rates) as u64))
}
