//! What is measured: the kinds of work, and the six that are compared.

use std::fmt;

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

impl Mode {
    /// Reads the name of a mode.
    pub fn parse(name: &str) -> Result<Self, String> {
        match name {
            "bulk" => Ok(Self::Bulk),
            "rr" => Ok(Self::Rr),
            "crr" => Ok(Self::Crr),
            "idle" => Ok(Self::Idle),
            other => Err(format!("unknown mode `{other}`: bulk, rr, crr or idle")),
        }
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Bulk => "bulk",
            Self::Rr => "rr",
            Self::Crr => "crr",
            Self::Idle => "idle",
        })
    }
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
}

impl Work {
    /// Bytes of a request.
    pub fn request(&self) -> usize {
        if self.mode == Mode::Rr { self.size } else { 64 }
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
    /// Below (`strict`) or at most `share` of the better peer's.
    Better { share: f64, strict: bool },
    /// At most this many bytes.
    Bytes(f64),
}

/// A work that the comparison runs, and what is asked of it.
pub struct Compared {
    /// Its short name in the results.
    pub name: &'static str,
    /// Its name for readers.
    pub title: &'static str,
    /// What is done.
    pub work: Work,
    /// The unit of the figure that decides.
    pub unit: &'static str,
    /// What must be reached.
    pub must: Target,
    /// What is aimed at.
    pub goal: Target,
}

const fn work(mode: Mode, conns: usize, size: usize) -> Work {
    Work { mode, conns, size, direction: Direction::Up }
}

/// The works of the comparison, in the order of the table.
pub const COMPARED: [Compared; 6] = [
    Compared {
        name: "bulk1",
        title: "bulk, 1 connection",
        work: work(Mode::Bulk, 1, 256 << 10),
        unit: "CPU ms/GiB",
        must: Target::Haproxy { share: 1.0, strict: true },
        goal: Target::Haproxy { share: 0.8, strict: false },
    },
    Compared {
        name: "bulk64",
        title: "bulk, 64 connections",
        work: work(Mode::Bulk, 64, 256 << 10),
        unit: "CPU ms/GiB",
        must: Target::Haproxy { share: 1.0, strict: true },
        goal: Target::Haproxy { share: 0.8, strict: false },
    },
    Compared {
        name: "rr64-1k",
        title: "64 × 1 KiB ping-pong",
        work: work(Mode::Rr, 64, 1 << 10),
        unit: "CPU µs/round trip",
        must: Target::HaproxyNotAboveNginx { haproxy: 0.9 },
        goal: Target::Haproxy { share: 0.83, strict: false },
    },
    Compared {
        name: "rr64-16k",
        title: "64 × 16 KiB ping-pong",
        work: work(Mode::Rr, 64, 16 << 10),
        unit: "CPU µs/round trip",
        must: Target::Better { share: 1.0, strict: true },
        goal: Target::Better { share: 0.9, strict: false },
    },
    Compared {
        name: "crr64",
        title: "connect / request / close",
        work: work(Mode::Crr, 64, 1 << 10),
        unit: "CPU µs/connection",
        must: Target::Better { share: 1.0, strict: true },
        goal: Target::Better { share: 0.92, strict: false },
    },
    Compared {
        name: "idle5000",
        title: "5,000 idle connections",
        work: work(Mode::Idle, 5000, 64),
        unit: "own bytes/connection",
        must: Target::Bytes(3072.0),
        goal: Target::Bytes(2048.0),
    },
];
