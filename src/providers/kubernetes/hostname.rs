//! Names of listeners, routes and `TCPIngress`es: one name, all names below a suffix, or any. A
//! wildcard stands for one label or more, and so not for its suffix.

use std::cmp::Reverse;
use std::net::IpAddr;

/// Which names are meant.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Hostname {
    /// Any, and connections without one.
    Any,
    /// Those that end so, without `*.`; lower case.
    Below(String),
    /// This one; lower case.
    Exact(String),
}

impl Hostname {
    /// Reads one; empty is any. `None` if it is neither a name nor `*.` and a name.
    pub(super) fn read(text: &str) -> Option<Self> {
        let text = text.strip_suffix('.').unwrap_or(text).to_ascii_lowercase();
        if text.is_empty() {
            return Some(Self::Any);
        }
        let (below, name) = match text.strip_prefix("*.") {
            Some(suffix) => (true, suffix),
            None => (false, text.as_str()),
        };
        if name.len() > 253 || !name.split('.').all(is_label) || name.parse::<IpAddr>().is_ok() {
            return None;
        }
        Some(if below { Self::Below(name.to_owned()) } else { Self::Exact(name.to_owned()) })
    }

    /// Whether it takes all that the other one takes.
    pub(super) fn covers(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Any, _) => true,
            (Self::Exact(a), Self::Exact(b)) => a == b,
            (Self::Below(suffix), Self::Exact(name)) => is_below(name, suffix),
            (Self::Below(a), Self::Below(b)) => a == b || is_below(b, a),
            (Self::Exact(_) | Self::Below(_), _) => false,
        }
    }

    /// What both take.
    pub(super) fn meet(&self, other: &Self) -> Option<Self> {
        if self.covers(other) {
            Some(other.clone())
        } else if other.covers(self) {
            Some(self.clone())
        } else {
            None
        }
    }

    /// As a native pattern, and as people write it.
    pub(super) fn pattern(&self) -> String {
        match self {
            Self::Any => "*".into(),
            Self::Below(suffix) => format!("*.{suffix}"),
            Self::Exact(name) => name.clone(),
        }
    }

    /// What comes first: names, then longer suffixes before shorter ones, then any.
    pub(super) fn rank(&self) -> (u8, Reverse<usize>, &str) {
        match self {
            Self::Exact(name) => (0, Reverse(0), name),
            Self::Below(suffix) => (1, Reverse(suffix.split('.').count()), suffix),
            Self::Any => (2, Reverse(0), ""),
        }
    }
}

/// RFC 1123 §2.1; underscores are in use too.
fn is_label(label: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    (1..=63).contains(&label.len())
        && label.bytes().all(fits)
        && !label.starts_with('-')
        && !label.ends_with('-')
}

fn is_below(name: &str, suffix: &str) -> bool {
    name.strip_suffix(suffix).is_some_and(|head| head.ends_with('.'))
}
