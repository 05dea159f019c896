//! Sets of networks: how one is written, a file of them, and the table that says whether an address
//! is in one of them, as fast for 100,000 networks as for ten.
//!
//! Which network an address is in does not matter, only whether it is in any. So the networks of a
//! set are joined into ranges that neither overlap nor touch, sorted; a look is a binary search.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ipnet::{IpNet, Ipv4Net};
use sha2::{Digest, Sha256};

use super::limits;
use crate::diagnostics::visible;
use crate::tls::problem::Problem;

/// A set of addresses, written as networks.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Networks {
    v4: Ranges<u32>,
    v6: Ranges<u128>,
    /// How many networks were written.
    written: usize,
}

/// Sorted ranges with gaps between them: the first address of each, and the last.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Ranges<T> {
    firsts: Box<[T]>,
    lasts: Box<[T]>,
}

impl<T: Copy + Ord> Ranges<T> {
    /// `next` is the address after one, if there is any.
    fn new(mut written: Vec<(T, T)>, next: impl Fn(T) -> Option<T>) -> Self {
        written.sort_unstable();
        let mut firsts = Vec::new();
        let mut lasts: Vec<T> = Vec::new();
        for (first, last) in written {
            match lasts.last_mut() {
                Some(before) if next(*before).is_none_or(|next| first <= next) => {
                    *before = last.max(*before);
                }
                _ => {
                    firsts.push(first);
                    lasts.push(last);
                }
            }
        }
        Self { firsts: firsts.into(), lasts: lasts.into() }
    }

    fn contains(&self, address: T) -> bool {
        let after = self.firsts.partition_point(|first| *first <= address);
        let last = after.checked_sub(1).and_then(|at| self.lasts.get(at));
        last.is_some_and(|last| address <= *last)
    }
}

impl FromIterator<IpNet> for Networks {
    fn from_iter<I: IntoIterator<Item = IpNet>>(networks: I) -> Self {
        let (mut v4, mut v6) = (Vec::new(), Vec::new());
        let mut written = 0;
        for network in networks {
            written += 1;
            match network {
                IpNet::V4(net) => v4.push((net.network().to_bits(), net.broadcast().to_bits())),
                IpNet::V6(net) => v6.push((net.network().to_bits(), net.broadcast().to_bits())),
            }
        }
        Self {
            v4: Ranges::new(v4, |last| last.checked_add(1)),
            v6: Ranges::new(v6, |last| last.checked_add(1)),
            written,
        }
    }
}

impl Networks {
    /// Whether an address is in one of them. IPv4 in IPv6 clothes is IPv4.
    pub fn contains(&self, address: IpAddr) -> bool {
        match address.to_canonical() {
            IpAddr::V4(v4) => self.v4.contains(Ipv4Addr::to_bits(v4)),
            IpAddr::V6(v6) => self.v6.contains(Ipv6Addr::to_bits(v6)),
        }
    }

    /// How many networks were written; some may be inside of others.
    pub fn len(&self) -> usize {
        self.written
    }

    /// Whether no address is in it.
    pub fn is_empty(&self) -> bool {
        self.written == 0
    }
}

/// An IP address, with or without the brackets of IPv6.
pub(super) fn ip_literal(text: &str) -> Option<IpAddr> {
    match text.strip_prefix('[').and_then(|text| text.strip_suffix(']')) {
        Some(inner) => inner.parse().ok().map(IpAddr::V6),
        None => text.parse().ok(),
    }
}

/// Reads a network, or a single address. IPv4 in IPv6 clothes becomes IPv4, as clients' addresses do.
///
/// # Errors
/// What is wrong, and how to mend it.
pub(crate) fn parse(text: &str) -> Result<IpNet, (String, String)> {
    if let Some(ip) = ip_literal(text) {
        return Ok(IpNet::from(ip.to_canonical()));
    }
    let example = "as \"10.0.0.0/8\", \"2001:db8::/32\" or \"10.0.0.7\"";
    let Ok(network) = text.parse::<IpNet>() else {
        let hint = match text.split_once('/') {
            _ if matches!(text, "*" | "all" | "any") => "\"0.0.0.0/0\" and \"::/0\"",
            Some((_, mask)) if mask.contains('.') => {
                "write how many bits of the mask are set: 255.255.255.0 is /24"
            }
            _ => example,
        };
        return Err((format!("`{}` is not a network", visible(text)), hint.into()));
    };
    let mended = network.trunc();
    if mended != network {
        let message = format!("{network} has bits beyond /{}", network.prefix_len());
        let hint = format!("write \"{mended}\", or \"{}\" for the one address", network.addr());
        return Err((message, hint));
    }
    Ok(match network {
        IpNet::V6(v6) => match (IpAddr::V6(v6.addr()).to_canonical(), v6.prefix_len()) {
            (IpAddr::V4(v4), bits @ 96..) => Ipv4Net::new(v4, bits - 96).map_or(network, IpNet::V4),
            _ => network,
        },
        IpNet::V4(_) => network,
    })
}

/// Reads a network as other systems do: white space around it means nothing, and neither do bits beyond
/// its mask.
pub(crate) fn parse_loosely(text: &str) -> Option<IpNet> {
    let text = text.trim();
    match text.parse::<IpNet>() {
        Ok(network) => parse(&network.trunc().to_string()).ok(),
        Err(_) => parse(text).ok(),
    }
}

/// The sets that were read from files.
#[derive(Debug, Default)]
pub struct NetworkFiles {
    files: BTreeMap<PathBuf, (Arc<Networks>, [u8; 32])>,
}

impl NetworkFiles {
    /// Reads files, each named once. One that cannot be used is an error, or a warning if what was read `before` is
    /// kept; it is never taken for what is left of it.
    pub fn load<'a>(
        paths: impl Iterator<Item = &'a Path>,
        before: Option<&Self>,
        problems: &mut Vec<Problem>,
    ) -> Self {
        let mut loaded = Self::default();
        for path in paths {
            let known = before.and_then(|before| before.files.get(path));
            match (read(path), known) {
                (Ok((bytes, digest)), known) => match known.filter(|(_, was)| *was == digest) {
                    Some(known) => {
                        loaded.files.insert(path.to_owned(), known.clone());
                    }
                    None => match networks(path, &bytes) {
                        Ok(networks) => {
                            loaded.files.insert(path.to_owned(), (Arc::new(networks), digest));
                        }
                        Err(faults) => {
                            if let Some(known) = known {
                                problems.extend(faults.into_iter().map(Problem::kept));
                                loaded.files.insert(path.to_owned(), known.clone());
                            } else {
                                problems.extend(faults);
                            }
                        }
                    },
                },
                (Err(problem), Some(known)) => {
                    problems.push(problem.kept());
                    loaded.files.insert(path.to_owned(), known.clone());
                }
                (Err(problem), None) => problems.push(problem),
            }
        }
        loaded
    }

    /// The set of a file.
    pub fn get(&self, path: &Path) -> Option<&Arc<Networks>> {
        self.files.get(path).map(|(networks, _)| networks)
    }

    /// Path and SHA-256 of each file.
    pub fn digests(&self) -> impl Iterator<Item = (&Path, &[u8; 32])> {
        self.files.iter().map(|(path, (_, digest))| (path.as_path(), digest))
    }
}

fn read(path: &Path) -> Result<(Vec<u8>, [u8; 32]), Problem> {
    let unreadable = |error: std::io::Error| Problem::error(path, error.to_string());
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(unreadable)?;
    let most = limits::NETWORK_FILE_BYTES_MAX;
    file.take(most + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    if bytes.len() as u64 > most {
        return Err(Problem::error(path, format!("has more than {} MiB", most >> 20)));
    }
    let digest = Sha256::digest(&bytes).into();
    Ok((bytes, digest))
}

/// Reads one network a line; `#` begins a comment.
fn networks(path: &Path, bytes: &[u8]) -> Result<Networks, Vec<Problem>> {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return Err(vec![Problem::error(path, "is not UTF-8 text")]);
    };
    if text.trim().is_empty() {
        // Somebody who writes a file anew empties it first.
        let hint = "a list that is meant to be empty says so in a comment: # nobody";
        return Err(vec![Problem::error(path, "the file is empty").hint(hint)]);
    }
    let mut networks = Vec::new();
    let mut faults = Vec::new();
    for (number, line) in (1..).zip(text.lines()) {
        let line = line.split_once('#').map_or(line, |(line, _)| line).trim();
        if line.is_empty() {
            continue;
        }
        match parse(line) {
            Ok(network) => networks.push(network),
            Err(_) if faults.len() == limits::NETWORK_FAULTS_MAX => {
                faults.push(Problem::error(path, "and more lines that are no networks"));
                break;
            }
            Err((what, hint)) => {
                faults.push(Problem::error(path, format!("line {number}: {what}; {hint}")));
            }
        }
    }
    if faults.is_empty() { Ok(networks.into_iter().collect()) } else { Err(faults) }
}

#[cfg(test)]
mod tests;
