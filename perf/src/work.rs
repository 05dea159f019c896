//! What is measured: the kinds of work, and those that are compared.

use std::fmt;

use crate::hello;
use crate::peers::{Front, Kind};

/// A kind of work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Bytes in one direction, as many as go through.
    Bulk,
    /// Request and response on connections that stay.
    Rr,
    /// Connect, request, response, close.
    Crr,
    /// Connections that do nothing.
    Idle,
}

/// Where bulk data flows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// From the client to the backend.
    Up,
    /// From the backend to the client.
    Down,
}

impl Direction {
    /// Reads the name of a direction.
    pub fn parse(name: &str) -> Result<Self, String> {
        match name {
            "up" => Ok(Self::Up),
            "down" => Ok(Self::Down),
            other => Err(format!("unknown direction `{other}`: up or down")),
        }
    }
}

impl fmt::Display for Direction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if *self == Self::Up { "up" } else { "down" })
    }
}

/// A version of TLS, and with it the one suite that is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// RFC 5246.
    Tls12,
    /// RFC 8446.
    Tls13,
}

impl Version {
    /// Reads the number of a version.
    pub fn parse(name: &str) -> Result<Self, String> {
        match name {
            "1.2" => Ok(Self::Tls12),
            "1.3" => Ok(Self::Tls13),
            other => Err(format!("unknown version of TLS `{other}`: 1.2 or 1.3")),
        }
    }

    /// The only suite that the client offers.
    pub fn suite(self) -> &'static str {
        match self {
            Self::Tls12 => "ECDHE-ECDSA-AES128-GCM-SHA256",
            Self::Tls13 => "TLS_AES_128_GCM_SHA256",
        }
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if *self == Self::Tls12 { "1.2" } else { "1.3" })
    }
}

/// What the client's bytes are, on the wire between it and the proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layer {
    /// The bytes themselves.
    Plain,
    /// TLS, which the proxy ends.
    Tls { version: Version, resumed: bool },
    /// Plain, and every request is a ClientHello: what a proxy needs that routes by name and ends no TLS.
    Hello,
}

/// One thing to measure.
#[derive(Clone, Copy, Debug)]
pub struct Work {
    /// Its kind.
    pub mode: Mode,
    /// Client connections at once.
    pub conns: usize,
    /// Bytes of a message (rr), of the answer (crr); of no meaning in bulk and idle.
    pub size: usize,
    /// Of bulk data.
    pub direction: Direction,
    /// Between client and proxy. The backend sees plain bytes in every case.
    pub layer: Layer,
}

/// The modes by the names that people give them: of a name, its mode, direction and layer.
const NAMES: [(&str, Mode, Direction, Layer); 10] = {
    use Direction::{Down, Up};
    use Mode::{Bulk, Crr, Idle, Rr};
    const FULL: Layer = Layer::Tls { version: Version::Tls13, resumed: false };
    const RESUMED: Layer = Layer::Tls { version: Version::Tls13, resumed: true };
    [
        ("bulk", Bulk, Up, Layer::Plain),
        ("rr", Rr, Up, Layer::Plain),
        ("crr", Crr, Up, Layer::Plain),
        ("idle", Idle, Up, Layer::Plain),
        ("tls-full", Crr, Up, FULL),
        ("tls-resumed", Crr, Up, RESUMED),
        ("tls-bulk-up", Bulk, Up, FULL),
        ("tls-bulk-down", Bulk, Down, FULL),
        ("tls-rr", Rr, Up, FULL),
        ("sni-crr", Crr, Up, Layer::Hello),
    ]
};

impl Work {
    /// The work of a mode's name: 64 connections, messages of 1 KiB, TLS 1.3 where there is TLS; a
    /// handshake carries one byte each way.
    pub fn named(name: &str) -> Result<Self, String> {
        let Some((_, mode, direction, layer)) = NAMES.into_iter().find(|known| known.0 == name)
        else {
            let known: Vec<&str> = NAMES.iter().map(|known| known.0).collect();
            return Err(format!("unknown mode `{name}`: {}", known.join(", ")));
        };
        let handshake = mode == Mode::Crr && matches!(layer, Layer::Tls { .. });
        let size = if handshake { 1 } else { 1 << 10 };
        Ok(Self { mode, conns: 64, size, direction, layer })
    }

    /// The name of its mode, as [`Work::named`] reads it.
    pub fn name(&self) -> &'static str {
        let alike = |layer: Layer| match (layer, self.layer) {
            (Layer::Tls { resumed: one, .. }, Layer::Tls { resumed: other, .. }) => one == other,
            (one, other) => one == other,
        };
        // Plain bulk has one name for both directions.
        let same = |direction| direction == self.direction || self.layer == Layer::Plain;
        let mut names = NAMES.into_iter();
        let found =
            names.find(|(_, mode, way, layer)| *mode == self.mode && same(*way) && alike(*layer));
        found.map_or("unnamed", |found| found.0)
    }

    /// What is measured is the handshake: a connection for each, with one small exchange.
    pub fn is_handshake(&self) -> bool {
        self.mode == Mode::Crr && matches!(self.layer, Layer::Tls { .. })
    }

    /// Bytes of a request.
    pub fn request(&self) -> usize {
        match (self.layer, self.mode) {
            (Layer::Hello, _) => hello::bytes().len(),
            (_, Mode::Rr) => self.size,
            _ if self.is_handshake() => self.size,
            _ => 64,
        }
    }

    /// Where in a request the bytes lie that mark it.
    pub fn mark_at(&self) -> usize {
        if self.layer == Layer::Hello { hello::RANDOM_AT } else { 0 }
    }

    /// Bytes of an answer.
    pub fn answer(&self) -> usize {
        if self.mode == Mode::Idle { 64 } else { self.size }
    }
}

/// What a figure must be, in relation to the peers or by itself.
#[derive(Clone, Copy, Debug)]
pub enum Target {
    /// Below (`strict`) or at most `share` of HAProxy's.
    Haproxy { share: f64, strict: bool },
    /// At most `haproxy` of HAProxy's, and not above nginx's.
    HaproxyNotAboveNginx { haproxy: f64 },
    /// Below (`strict`) or at most `share` of the better of HAProxy and nginx.
    Better { share: f64, strict: bool },
    /// Below that of each peer, Envoy too.
    BelowAll,
    /// At most `share` of what Thalweg itself needs for the same bytes unread, and one read more.
    OwnPipe { share: f64 },
    /// At most so many µs more than Thalweg itself with nothing of it on.
    OwnBare { micros: f64 },
    /// At most this many bytes.
    Bytes(f64),
}

/// The parts of the comparison.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// Plain TCP.
    Plain,
    /// TLS, ended or passed through.
    Tls,
    /// Admission, balancing and health checks.
    Policy,
}

impl Part {
    /// All, in the order of the tables.
    pub const ALL: [Self; 3] = [Self::Plain, Self::Tls, Self::Policy];

    /// The name in options.
    pub fn name(self) -> &'static str {
        match self {
            Self::Plain => "plain",
            Self::Tls => "tls",
            Self::Policy => "policy",
        }
    }

    /// The name for readers.
    pub fn title(self) -> &'static str {
        match self {
            Self::Plain => "Plain TCP",
            Self::Tls => "TLS",
            Self::Policy => "Admission, balancing, health",
        }
    }

    /// Who is measured, in the order of the columns.
    pub fn kinds(self) -> &'static [Kind] {
        match self {
            Self::Plain => &[Kind::Thalweg, Kind::Haproxy, Kind::Nginx, Kind::Direct],
            Self::Tls => &[Kind::Thalweg, Kind::Haproxy, Kind::Nginx, Kind::Envoy],
            Self::Policy => &[Kind::Thalweg, Kind::Haproxy],
        }
    }
}

/// A work that the comparison runs, and what is asked of it.
pub struct Compared {
    /// Its short name in the results.
    pub name: &'static str,
    /// Its name for readers.
    pub title: &'static str,
    /// Where it belongs.
    pub part: Part,
    /// What the proxy does with the client's bytes.
    pub front: Front,
    /// What is done.
    pub work: Work,
    /// The unit of the figure that decides.
    pub unit: &'static str,
    /// What must be reached.
    pub must: Option<Target>,
    /// What is aimed at.
    pub goal: Option<Target>,
}

impl Compared {
    /// Whether `kind` is given this work.
    pub fn is_for(&self, kind: Kind) -> bool {
        let apart = match (self.part, self.front) {
            // Only the measure of Thalweg's own passthrough.
            (Part::Tls, Front::Plain) => kind == Kind::Thalweg,
            _ => kind != Kind::Direct || self.work.mode != Mode::Idle,
        };
        apart && self.part.kinds().contains(&kind)
    }

    /// Whether it is the bare proxy that one with everything on is held against.
    pub fn is_own_bare(&self) -> bool {
        self.part == Part::Policy && self.front == Front::Plain
    }

    /// Whether it is the plain pipe that passthrough is held against.
    pub fn is_own_pipe(&self) -> bool {
        self.part == Part::Tls && self.front == Front::Plain
    }
}

const fn work(mode: Mode, conns: usize, size: usize) -> Work {
    Work { mode, conns, size, direction: Direction::Up, layer: Layer::Plain }
}

const fn tls(mode: Mode, conns: usize, size: usize, version: Version, resumed: bool) -> Work {
    let layer = Layer::Tls { version, resumed };
    Work { mode, conns, size, direction: Direction::Up, layer }
}

const fn handshake(
    name: &'static str,
    title: &'static str,
    version: Version,
    resumed: bool,
) -> Compared {
    Compared {
        name,
        title,
        part: Part::Tls,
        front: Front::Terminate,
        work: tls(Mode::Crr, 64, 1, version, resumed),
        unit: "CPU µs/connection",
        must: Some(Target::Haproxy { share: if resumed { 0.7 } else { 0.55 }, strict: false }),
        goal: None,
    }
}

const fn tls_bulk(name: &'static str, title: &'static str, direction: Direction) -> Compared {
    Compared {
        name,
        title,
        part: Part::Tls,
        front: Front::Terminate,
        work: Work { direction, ..tls(Mode::Bulk, 16, 256 << 10, Version::Tls13, false) },
        unit: "CPU ms/GiB",
        must: Some(Target::BelowAll),
        goal: None,
    }
}

const fn hello_crr(name: &'static str, title: &'static str, front: Front) -> Compared {
    Compared {
        name,
        title,
        part: Part::Tls,
        front,
        work: Work { layer: Layer::Hello, ..work(Mode::Crr, 64, 1 << 10) },
        unit: "CPU µs/connection",
        must: match front {
            Front::Passthrough => Some(Target::OwnPipe { share: 1.05 }),
            _ => None,
        },
        goal: None,
    }
}

const fn policy_crr(name: &'static str, title: &'static str, front: Front) -> Compared {
    Compared {
        name,
        title,
        part: Part::Policy,
        front,
        work: work(Mode::Crr, 64, 1 << 10),
        unit: "CPU µs/connection",
        must: match front {
            Front::Policy => Some(Target::OwnBare { micros: 2.0 }),
            _ => None,
        },
        goal: None,
    }
}

/// The works of the comparison, in the order of the tables.
pub const COMPARED: [Compared; 17] = [
    Compared {
        name: "bulk1",
        title: "bulk, 1 connection",
        part: Part::Plain,
        front: Front::Plain,
        work: work(Mode::Bulk, 1, 256 << 10),
        unit: "CPU ms/GiB",
        must: Some(Target::Haproxy { share: 1.0, strict: true }),
        goal: Some(Target::Haproxy { share: 0.8, strict: false }),
    },
    Compared {
        name: "bulk64",
        title: "bulk, 64 connections",
        part: Part::Plain,
        front: Front::Plain,
        work: work(Mode::Bulk, 64, 256 << 10),
        unit: "CPU ms/GiB",
        must: Some(Target::Haproxy { share: 1.0, strict: true }),
        goal: Some(Target::Haproxy { share: 0.8, strict: false }),
    },
    Compared {
        name: "rr64-1k",
        title: "64 × 1 KiB ping-pong",
        part: Part::Plain,
        front: Front::Plain,
        work: work(Mode::Rr, 64, 1 << 10),
        unit: "CPU µs/round trip",
        must: Some(Target::HaproxyNotAboveNginx { haproxy: 0.9 }),
        goal: Some(Target::Haproxy { share: 0.83, strict: false }),
    },
    Compared {
        name: "rr64-16k",
        title: "64 × 16 KiB ping-pong",
        part: Part::Plain,
        front: Front::Plain,
        work: work(Mode::Rr, 64, 16 << 10),
        unit: "CPU µs/round trip",
        must: Some(Target::Better { share: 1.0, strict: true }),
        goal: Some(Target::Better { share: 0.9, strict: false }),
    },
    Compared {
        name: "crr64",
        title: "connect / request / close",
        part: Part::Plain,
        front: Front::Plain,
        work: work(Mode::Crr, 64, 1 << 10),
        unit: "CPU µs/connection",
        must: Some(Target::Better { share: 1.0, strict: true }),
        goal: Some(Target::Better { share: 0.92, strict: false }),
    },
    Compared {
        name: "idle5000",
        title: "5,000 idle connections",
        part: Part::Plain,
        front: Front::Plain,
        work: work(Mode::Idle, 5000, 64),
        unit: "own bytes/connection",
        must: Some(Target::Bytes(3072.0)),
        goal: Some(Target::Bytes(2048.0)),
    },
    handshake("tls-full-1.3", "full handshake, TLS 1.3", Version::Tls13, false),
    handshake("tls-full-1.2", "full handshake, TLS 1.2", Version::Tls12, false),
    handshake("tls-resumed-1.3", "resumed handshake, TLS 1.3", Version::Tls13, true),
    handshake("tls-resumed-1.2", "resumed handshake, TLS 1.2", Version::Tls12, true),
    tls_bulk("tls-bulk-up", "TLS bulk, client → backend", Direction::Up),
    tls_bulk("tls-bulk-down", "TLS bulk, backend → client", Direction::Down),
    Compared {
        name: "tls-rr64-1k",
        title: "TLS, 64 × 1 KiB ping-pong",
        part: Part::Tls,
        front: Front::Terminate,
        work: tls(Mode::Rr, 64, 1 << 10, Version::Tls13, false),
        unit: "CPU µs/round trip",
        must: Some(Target::BelowAll),
        goal: None,
    },
    hello_crr("sni-crr64", "SNI, connect / request / close", Front::Passthrough),
    hello_crr("pipe-crr64", "the same bytes over a plain pipe", Front::Plain),
    policy_crr("policy-crr64", "connect / request / close, everything on", Front::Policy),
    policy_crr("bare-crr64", "the same with nothing of it on", Front::Plain),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_mode_has_its_name() {
        for (name, ..) in NAMES {
            assert_eq!(Work::named(name).unwrap().name(), name);
        }
        assert!(Work::named("tls").unwrap_err().contains("tls-resumed"));
        let down = Work { direction: Direction::Down, ..Work::named("bulk").unwrap() };
        assert_eq!(down.name(), "bulk");
        let old = tls(Mode::Crr, 64, 1, Version::Tls12, true);
        assert_eq!(old.name(), "tls-resumed");
        assert_eq!(Version::parse("1.2").unwrap().to_string(), "1.2");
        assert!(Version::parse("1.1").is_err());
    }

    #[test]
    fn works_have_names_of_their_own_and_somebody_to_do_them() {
        for (index, compared) in COMPARED.iter().enumerate() {
            let (name, work) = (compared.name, compared.work);
            assert!(COMPARED[..index].iter().all(|other| other.name != name), "{name} twice");
            assert!(compared.is_for(Kind::Thalweg), "{name} is not for Thalweg");
            assert_eq!(
                compared.is_for(Kind::Envoy),
                compared.part == Part::Tls && !compared.is_own_pipe()
            );
            assert_ne!(work.name(), "unnamed", "{name}");
            assert!(work.request() > work.mark_at(), "{name}: no room for a mark");
        }
        assert_eq!(COMPARED.iter().filter(|compared| compared.is_own_pipe()).count(), 1);
    }
}
