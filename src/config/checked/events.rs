//! `events`, checked.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use super::UpstreamTls;
use crate::config::found::Url;

/// `events`: where they go, and which there are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Events {
    /// Not empty; no place twice.
    pub outputs: Vec<Output>,
    /// An event when a target was reached.
    pub open: bool,
    /// An event every so often from then on.
    pub periodic: Option<Duration>,
    /// Events have the whole document of their service.
    pub whole_service: bool,
}

impl Events {
    /// How TLS is spoken to those that are on the network.
    pub fn upstreams(&self) -> impl Iterator<Item = &UpstreamTls> {
        self.outputs.iter().filter_map(|output| match output {
            Output::Http(http) => http.tls.as_deref(),
            _ => None,
        })
    }
}

/// One place where events go. What is equal goes on over a reload as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    /// Appended to a file.
    File(File),
    /// Standard output.
    Stdout,
    /// Each a datagram to the socket of this absolute path.
    Datagram(PathBuf),
    /// POSTed.
    Http(Box<Http>),
}

/// See [`Output::File`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct File {
    /// Absolute.
    pub path: PathBuf,
    /// When and how it is rotated; `None`: by others.
    pub rotation: Option<Rotation>,
}

/// `maxSize` and `keep`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rotation {
    /// In bytes.
    pub max_size: u64,
    /// How many files besides the current one; at least 1.
    pub keep: u32,
}

/// See [`Output::Http`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Http {
    /// Where to.
    pub url: Url,
    /// The absolute path of the file with the token.
    pub token_file: Option<PathBuf>,
    /// How TLS is spoken; `None`: not at all.
    pub tls: Option<Box<UpstreamTls>>,
    /// Most events in one POST; at least 1.
    pub batch: usize,
    /// How long an event waits for others.
    pub flush: Duration,
}

impl Output {
    /// As its key in the configuration.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::File(_) => "file",
            Self::Stdout => "stdout",
            Self::Datagram(_) => "unixDatagram",
            Self::Http(_) => "http",
        }
    }

    /// Where it is, without its kind; empty for standard output.
    pub fn place(&self) -> String {
        match self {
            Self::File(file) => file.path.display().to_string(),
            Self::Stdout => String::new(),
            Self::Datagram(path) => path.display().to_string(),
            Self::Http(http) => http.url.text.to_string(),
        }
    }
}

impl fmt::Display for Output {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stdout => f.write_str("stdout"),
            other => write!(f, "{} {}", other.kind(), other.place()),
        }
    }
}
