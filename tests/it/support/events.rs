//! The proxy's events, and what a test expected of them.

use std::collections::{HashMap, HashSet};
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use serde_json::Value;

use super::peer::Outcome;

/// The events in the file, whole lines only.
pub fn read(path: &Path) -> Vec<Event> {
    let Ok(text) = fs::read_to_string(path) else {
        return Vec::new();
    };
    let Some(end) = text.rfind('\n') else {
        return Vec::new();
    };
    let parse = |line: &str| match serde_json::from_str(line) {
        Ok(value) => Event(value),
        Err(error) => panic!("an event is not JSON: {error}: {line}"),
    };
    text[..end].lines().map(parse).collect()
}

/// How many events are in the file; cheaper than [`read`].
pub fn count(path: &Path) -> usize {
    fs::read(path).map_or(0, |bytes| bytes.iter().filter(|byte| **byte == b'\n').count())
}

/// One line of the events file.
#[derive(Debug, Clone)]
pub struct Event(pub Value);

impl Event {
    pub fn text(&self, member: &str) -> &str {
        self.0[member].as_str().unwrap_or_default()
    }

    pub fn number(&self, member: &str) -> u64 {
        self.0[member].as_u64().unwrap_or_default()
    }

    pub fn reason(&self) -> &str {
        self.text("reason")
    }

    /// The port of the client.
    pub fn client_port(&self) -> Option<u16> {
        self.text("remote").rsplit_once(':')?.1.parse().ok()
    }

    pub fn data_in(&self) -> u64 {
        self.0["data"]["dataIn"].as_u64().unwrap_or_default()
    }

    pub fn data_out(&self) -> u64 {
        self.0["data"]["dataOut"].as_u64().unwrap_or_default()
    }

    /// What is wrong with the shape of the event; empty when nothing is.
    fn faults_of_shape(&self) -> Vec<String> {
        let mut faults = Vec::new();
        let mut want = |holds: bool, what: &str| {
            if !holds {
                faults.push(format!("{what}: {}", self.brief()));
            }
        };
        want(self.text("@type") == "TcpEvent", "@type is TcpEvent");
        for member in ["@id", "reqId", "protocol", "remote", "local", "@service"] {
            want(self.0[member].is_string(), &format!("{member} is a string"));
        }
        // On a port of several services, none was chosen before the name was known.
        let unrouted =
            ["/header/", "/hello/", "/route/"].iter().any(|step| self.reason().contains(step));
        let id = &self.0["@serviceId"];
        want(id.is_string() || (unrouted && id.is_null()), "@serviceId is a string");
        let timestamp = &self.0["@timestamp"];
        want(timestamp.is_string() || timestamp.is_u64(), "@timestamp is a time");
        for member in ["port", "duration", "overhead", "retries"] {
            want(self.0[member].is_u64(), &format!("{member} is a number"));
        }
        for member in ["to", "target"] {
            for part in ["host", "scheme", "uri"] {
                want(self.0[member][part].is_string(), &format!("{member}.{part} is a string"));
            }
        }
        for member in ["dataIn", "dataOut"] {
            want(self.0["data"][member].is_u64(), &format!("data.{member} is a number"));
        }
        let service = &self.0["service"];
        want(service.is_object() || service.is_null(), "service is the document or null");
        // Of a port that several services share none may have been chosen.
        let id = &self.0["@serviceId"];
        let named = id.is_string() || (id.is_null() && service.is_null());
        want(named, "@serviceId is a string, or null along with the service");
        want(self.0.get("gwError").is_some(), "gwError is there");
        let relay = &self.0["relay"];
        let relays = ["splice", "copy", "tls"];
        want(
            relay.is_null() || relay.as_str().is_some_and(|name| relays.contains(&name)),
            "relay is splice, copy, tls or null",
        );
        let parts: Vec<&str> = self.reason().split('/').collect();
        want(
            parts.len() == 3 && ["client", "upstream", "us"].contains(&parts[0]),
            "reason is side/step/cause",
        );
        faults
    }
}

/// What a test expects of the events: one entry for each connection it made, and entries that
/// stand for many.
#[derive(Debug, Default)]
pub struct Ledger {
    named: Vec<Named>,
    many: Vec<Many>,
}

#[derive(Debug)]
struct Named {
    outcome: Outcome,
    service: Option<String>,
    reason: String,
    exact: bool,
}

#[derive(Debug)]
struct Many {
    least: usize,
    most: usize,
    reason: String,
}

impl Ledger {
    /// A connection that ended with a reason matching `reason`; `exact`: every byte that the
    /// client sent was counted, and every byte counted was received.
    pub fn one(&mut self, outcome: Outcome, service: Option<&str>, reason: &str, exact: bool) {
        let service = service.map(str::to_owned);
        self.named.push(Named { outcome, service, reason: reason.to_owned(), exact });
    }

    /// Between `least` and `most` connections made by somebody who did not say from which ports.
    pub fn many(&mut self, least: usize, most: usize, reason: &str) {
        self.many.push(Many { least, most, reason: reason.to_owned() });
    }

    /// The least number of events that will come.
    pub fn least(&self) -> usize {
        self.named.len() + self.many.iter().map(|many| many.least).sum::<usize>()
    }

    /// Everything in which the events differ from what was expected; empty when they agree.
    pub fn differences(&self, events: &[Event]) -> String {
        let mut report = String::new();
        let mut ids = HashSet::new();
        for event in events {
            for fault in event.faults_of_shape() {
                let _ = writeln!(report, "shape: {fault}");
            }
            if !ids.insert(event.text("@id")) {
                let _ = writeln!(report, "the @id of an earlier event: {}", event.text("@id"));
            }
        }

        let mut by_port: HashMap<u16, Vec<usize>> = HashMap::new();
        for (index, event) in events.iter().enumerate() {
            if let Some(port) = event.client_port() {
                by_port.entry(port).or_default().push(index);
            }
        }
        let mut taken = vec![false; events.len()];
        for named in &self.named {
            let candidates = by_port.get(&named.outcome.port).map_or(&[][..], Vec::as_slice);
            let free = || candidates.iter().copied().filter(|index| !taken[*index]);
            // A port may have served two connections in turn: prefer the event that fits.
            let fitting = free().find(|index| named.faults(&events[*index]).is_empty());
            let Some(index) = fitting.or_else(|| free().next()) else {
                let _ = writeln!(report, "no event for {named:?}");
                continue;
            };
            taken[index] = true;
            for fault in named.faults(&events[index]) {
                let _ = writeln!(report, "{fault}\n    in {}", events[index].gist());
            }
        }

        for many in &self.many {
            let mut found = 0;
            for (index, event) in events.iter().enumerate() {
                if found < many.most && !taken[index] && matches(&many.reason, event.reason()) {
                    taken[index] = true;
                    found += 1;
                }
            }
            if found < many.least {
                let _ = writeln!(report, "{found} events for {many:?}");
            }
        }
        for (event, _) in events.iter().zip(&taken).filter(|(_, taken)| !**taken) {
            let _ = writeln!(report, "an event that no connection accounts for: {}", event.gist());
        }
        // Whatever went wrong, the first of it tells.
        if let Some((end, _)) = report.match_indices('\n').nth(12) {
            report.truncate(end);
            report.push_str("\nand more");
        }
        report
    }
}

impl Named {
    fn faults(&self, event: &Event) -> Vec<String> {
        let mut faults = Vec::new();
        if !matches(&self.reason, event.reason()) {
            faults.push(format!("expected the reason {}, got {}", self.reason, event.reason()));
        }
        if let Some(service) = &self.service
            && event.text("@serviceId") != service
        {
            faults.push(format!("expected the service {service}"));
        }
        let Outcome { sent, received, .. } = self.outcome;
        let (data_in, data_out) = (event.data_in(), event.data_out());
        if self.exact && (data_in, data_out) != (sent, received) {
            faults.push(format!(
                "the client sent {sent} and received {received} bytes, the event says {data_in} \
                 and {data_out}"
            ));
        }
        if data_in > sent || data_out < received {
            faults.push(format!(
                "impossible: the client sent {sent} and received {received} bytes, the event \
                 says {data_in} and {data_out}"
            ));
        }
        faults
    }
}

impl Event {
    /// What a person looks at first.
    pub fn gist(&self) -> String {
        let (service, remote, reason) =
            (self.text("@serviceId"), self.text("remote"), self.reason());
        let (data_in, data_out) = (self.data_in(), self.data_out());
        let (retries, duration) = (self.number("retries"), self.number("duration"));
        format!(
            "{reason} {service} from {remote}: {data_in} in, {data_out} out, {retries} retries, \
             {duration} ms"
        )
    }

    /// Without the service's document, which is long.
    fn brief(&self) -> String {
        let mut value = self.0.clone();
        if let Some(object) = value.as_object_mut() {
            object.remove("service");
        }
        value.to_string()
    }
}

/// Whether `text` matches `pattern`: `*` stands for anything, `|` separates alternatives.
pub fn matches(pattern: &str, text: &str) -> bool {
    pattern.split('|').any(|alternative| matches_one(alternative, text))
}

fn matches_one(pattern: &str, text: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == text,
        Some((head, tail)) => text.strip_prefix(head).is_some_and(|rest| {
            (0..=rest.len()).any(|at| rest.is_char_boundary(at) && matches_one(tail, &rest[at..]))
        }),
    }
}

#[test]
fn patterns_match_as_their_users_think() {
    for (pattern, text, expected) in [
        ("client/relay/closed", "client/relay/closed", true),
        ("*/relay/closed", "upstream/relay/closed", true),
        ("*connect*refused*", "upstream/connect/refused", true),
        ("*/relay/closed", "upstream/relay/reset", false),
        ("a|b*", "bc", true),
        ("a|b*", "ac", false),
        ("*", "", true),
    ] {
        assert_eq!(matches(pattern, text), expected, "{pattern} on {text}");
    }
}
