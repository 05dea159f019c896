//! What a proxy counts, and rates from two such counts. Counters only grow while a proxy runs; after
//! a restart they begin again, and no rate is told until there are two counts of the same process.

use std::collections::HashMap;

use serde_json::Value;

use crate::cli::text::{list, number, text};

/// What is counted of anything.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Those that live now.
    pub connections: u64,
    /// From here on since the start.
    pub accepted: u64,
    pub failed: u64,
    pub bytes_in: u64,
    pub bytes_out: u64,
    pub handshakes: u64,
}

/// Growth of counters in a second.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Rates {
    pub accepted: f64,
    pub failed: f64,
    pub bytes_in: f64,
    pub bytes_out: f64,
    pub handshakes: f64,
    /// Of a core: heartbeats.
    pub ticks: f64,
}

/// A service, a target, a core or an ending, with what is counted of it.
#[derive(Debug, Clone, Default)]
pub struct Entry {
    /// Tells it from the others of its kind.
    pub key: String,
    /// The service it belongs to.
    pub service: String,
    /// What people call it.
    pub name: String,
    /// Of a target.
    pub state: String,
    pub counts: Counts,
    /// Of a core: longest delay of a heartbeat, in µs.
    pub lag_max_us: u64,
    /// Of a core: heartbeats.
    pub ticks: u64,
    /// `None`: not known yet.
    pub rates: Option<Rates>,
}

/// One look.
#[derive(Debug, Clone, Default)]
pub struct Sample {
    /// In ms since 1970, by the proxy's clock.
    pub now: u64,
    /// In ms.
    pub uptime: u64,
    pub total: Entry,
    pub services: Vec<Entry>,
    pub targets: Vec<Entry>,
    pub cores: Vec<Entry>,
    pub endings: Vec<Entry>,
}

impl Counts {
    fn read(of: &Value) -> Self {
        Self {
            connections: number(of, "connections"),
            accepted: number(of, "accepted"),
            failed: number(of, "failed"),
            bytes_in: number(of, "bytesIn"),
            bytes_out: number(of, "bytesOut"),
            handshakes: number(of, "handshakes"),
        }
    }
}

impl Sample {
    /// The answer of `/api/traffic`; `None`: it is not one.
    pub fn read(answer: &Value) -> Option<Self> {
        let total = answer.get("total").filter(|total| total.is_object())?;
        answer.get("uptime").and_then(Value::as_u64)?;
        let services = list(answer, "services").iter().map(|of| {
            let (id, name) = (text(of, "id"), text(of, "name"));
            let counts = Counts::read(of);
            Entry { key: id.clone(), service: id, name, counts, ..Entry::default() }
        });
        let targets = list(answer, "targets").iter().map(|of| {
            let (service, name) = (text(of, "service"), text(of, "target"));
            let key = format!("{service}\0{name}");
            let (state, counts) = (text(of, "state"), Counts::read(of));
            Entry { key, service, name, state, counts, ..Entry::default() }
        });
        let cores = list(answer, "cores").iter().map(|of| {
            let (name, lag_max_us) = (text(of, "core"), number(of, "lagMaxUs"));
            let (counts, ticks) = (Counts::read(of), number(of, "ticks"));
            Entry { key: name.clone(), name, counts, lag_max_us, ticks, ..Entry::default() }
        });
        let endings = list(answer, "endings").iter().map(|of| {
            let parts = ["side", "step", "cause"].map(|part| text(of, part));
            let name = parts.iter().filter(|part| *part != "-").cloned().collect::<Vec<_>>();
            let name = name.join("/");
            let counts = Counts { accepted: number(of, "count"), ..Counts::default() };
            Entry { key: name.clone(), name, counts, ..Entry::default() }
        });
        Some(Self {
            now: number(answer, "now"),
            uptime: number(answer, "uptime"),
            total: Entry { counts: Counts::read(total), ..Entry::default() },
            services: services.collect(),
            targets: merged(targets),
            cores: cores.collect(),
            endings: endings.collect(),
        })
    }

    /// Fills in the rates since an earlier look. Without one, or if that was at another process,
    /// there are none.
    pub fn since(&mut self, before: Option<&Self>) {
        let Some(before) = before.filter(|before| self.is_later_than(before)) else { return };
        let seconds = self.now.saturating_sub(before.now) as f64 / 1000.0;
        rates(std::slice::from_mut(&mut self.total), std::slice::from_ref(&before.total), seconds);
        rates(&mut self.services, &before.services, seconds);
        rates(&mut self.targets, &before.targets, seconds);
        rates(&mut self.cores, &before.cores, seconds);
        rates(&mut self.endings, &before.endings, seconds);
        // An ending that was not there has happened for the first time.
        for entry in self.endings.iter_mut().filter(|entry| entry.rates.is_none()) {
            let accepted = entry.counts.accepted as f64 / seconds;
            entry.rates = Some(Rates { accepted, ..Rates::default() });
        }
    }

    /// Of the same process, and later. That a clock was set looks like a restart, and costs one look.
    fn is_later_than(&self, before: &Self) -> bool {
        let (now, uptime) =
            (self.now.checked_sub(before.now), self.uptime.checked_sub(before.uptime));
        match (now, uptime) {
            (Some(now), Some(uptime)) => now > 0 && now.abs_diff(uptime) < SKEW_MAX,
            _ => false,
        }
    }
}

/// The proxy's two clocks may differ by so many ms between two looks.
const SKEW_MAX: u64 = 2000;

/// A target of several rules of a service may come several times, and is one to people.
fn merged(targets: impl Iterator<Item = Entry>) -> Vec<Entry> {
    let mut places: HashMap<String, usize> = HashMap::new();
    let mut all: Vec<Entry> = Vec::new();
    for entry in targets {
        match places.get(&entry.key).and_then(|at| all.get_mut(*at)) {
            Some(known) => {
                let (into, from) = (&mut known.counts, entry.counts);
                into.connections = into.connections.saturating_add(from.connections);
                into.accepted = into.accepted.saturating_add(from.accepted);
                into.failed = into.failed.saturating_add(from.failed);
                into.bytes_in = into.bytes_in.saturating_add(from.bytes_in);
                into.bytes_out = into.bytes_out.saturating_add(from.bytes_out);
                into.handshakes = into.handshakes.saturating_add(from.handshakes);
            }
            None => {
                places.insert(entry.key.clone(), all.len());
                all.push(entry);
            }
        }
    }
    all
}

fn rates(now: &mut [Entry], before: &[Entry], seconds: f64) {
    let before: HashMap<&str, &Entry> = before.iter().map(|it| (&*it.key, it)).collect();
    for entry in now {
        let earlier = before.get(&*entry.key);
        entry.rates = earlier.and_then(|earlier| growth(entry, earlier, seconds));
    }
}

/// `None`: a counter went back, so this is something new of the same name.
fn growth(now: &Entry, before: &Entry, seconds: f64) -> Option<Rates> {
    let rate = |new: u64, old: u64| Some(new.checked_sub(old)? as f64 / seconds);
    let (new, old) = (&now.counts, &before.counts);
    Some(Rates {
        accepted: rate(new.accepted, old.accepted)?,
        failed: rate(new.failed, old.failed)?,
        bytes_in: rate(new.bytes_in, old.bytes_in)?,
        bytes_out: rate(new.bytes_out, old.bytes_out)?,
        handshakes: rate(new.handshakes, old.handshakes)?,
        ticks: rate(now.ticks, before.ticks)?,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn answer(now: u64, uptime: u64, bytes: u64) -> Value {
        let counts =
            json!({ "connections": 1, "accepted": bytes, "bytesIn": bytes, "bytesOut": 0 });
        let of = |more: Value| {
            let mut all = counts.clone();
            all.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            all
        };
        json!({
            "now": now, "uptime": uptime, "total": counts,
            "services": [of(json!({ "id": "s", "name": "S" }))],
            "targets": [of(json!({ "service": "s", "target": "t:1", "state": "Up" })),
                        of(json!({ "service": "s", "target": "t:1", "state": "Up" }))],
            "cores": [of(json!({ "core": 0, "lagMaxUs": 7, "ticks": uptime / 100 }))],
            "endings": [{ "side": "client", "step": "relay", "cause": "closed", "count": bytes }],
        })
    }

    fn between(before: &Value, now: &Value) -> Sample {
        let before = Sample::read(before).unwrap();
        let mut now = Sample::read(now).unwrap();
        now.since(Some(&before));
        now
    }

    #[test]
    fn rates_are_growth_by_the_proxy_s_clock() {
        let now = between(&answer(10_000, 5000, 100), &answer(12_000, 7000, 2100));
        assert_eq!(now.total.rates.unwrap().bytes_in, 1000.0);
        assert_eq!(now.services[0].rates.unwrap().accepted, 1000.0);
        assert_eq!(now.targets.len(), 1, "a target of two rules is one");
        assert_eq!(now.targets[0].rates.unwrap().bytes_in, 2000.0);
        assert_eq!(now.cores[0].rates.unwrap().ticks, 10.0);
        assert_eq!(now.endings[0].name, "client/relay/closed");
        assert_eq!(now.endings[0].rates.unwrap().accepted, 1000.0);
    }

    #[test]
    fn after_a_restart_there_is_no_rate_and_never_a_negative_one() {
        // Counters go back; also when the new process has caught up with the uptime of the old one.
        assert_eq!(
            between(&answer(10_000, 5000, 100), &answer(12_000, 1000, 50)).total.rates,
            None
        );
        assert_eq!(between(&answer(10_000, 500, 1), &answer(20_000, 700, 9)).total.rates, None);
        // A service of the same id that was removed and came again.
        assert_eq!(between(&answer(10_000, 5000, 9), &answer(11_000, 6000, 8)).total.rates, None);
        // Twice the same look.
        assert_eq!(between(&answer(10_000, 5000, 9), &answer(10_000, 5000, 9)).total.rates, None);
    }

    proptest! {
        #[test]
        fn no_rate_is_negative_or_infinite(
            a in any::<[u64; 3]>(),
            b in any::<[u64; 3]>(),
        ) {
            let now = between(&answer(a[0], a[1], a[2]), &answer(b[0], b[1], b[2]));
            for entry in now.services.iter().chain(&now.targets).chain(&now.endings) {
                if let Some(rates) = entry.rates {
                    prop_assert!(rates.bytes_in >= 0.0 && rates.accepted.is_finite());
                }
            }
        }
    }

    #[test]
    fn what_is_no_answer_is_none() {
        assert!(Sample::read(&json!({})).is_none());
        assert!(Sample::read(&json!([])).is_none());
        assert!(Sample::read(&json!({ "total": {}, "uptime": 1 })).is_some());
    }
}
