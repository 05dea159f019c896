//! The server certificates and which of them a name gets. A [`Store`] is immutable once built; a
//! change of the files is another one, which takes over what it cannot read anew.

use std::cmp::Reverse;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use rustls::SignatureScheme;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use sha2::{Digest, Sha256};

use super::identity::sha256;
use super::problem::Problem;
use crate::config::checked::{CertificateSource, KeyPair};
use crate::diagnostics::Severity;

mod entry;
mod loading;

pub use entry::Entry;
use loading::Loading;

/// How a name is served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Coverage {
    /// A certificate has just this name.
    Exact,
    /// A certificate has a wildcard for it.
    Wildcard,
    /// None has it; the default one is shown.
    Default,
    /// There is no certificate at all.
    Nothing,
}

/// Certificates that serve one name, the preferred first.
type Group = Vec<Arc<Entry>>;

/// The server certificates.
#[derive(Debug, Default)]
pub struct Store {
    entries: Vec<Arc<Entry>>,
    exact: HashMap<Box<str>, Group>,
    /// By what follows `*.`.
    wildcard: HashMap<Box<str>, Group>,
    /// The first certificate of the first source, with those that have its first name too.
    default: Group,
    fingerprint: [u8; 32],
}

impl Store {
    /// Reads all sources. A pair that cannot be used keeps what was read `before`, and is a problem
    /// either way: an error if a source names it and nothing is kept, else a warning.
    pub fn load(sources: &[CertificateSource], before: Option<&Self>) -> (Self, Vec<Problem>) {
        let mut loading = Loading {
            before: before
                .map(|store| store.entries.iter().map(|entry| (&entry.files, entry)).collect())
                .unwrap_or_default(),
            now: now(),
            entries: Vec::new(),
            seen: HashMap::new(),
            problems: Vec::new(),
        };
        for (at, source) in sources.iter().enumerate() {
            let known = loading.problems.len();
            match source {
                CertificateSource::Pair(files) => loading.pair(files, Severity::Error),
                CertificateSource::Directory(directory) => loading.directory(directory),
                // Of those who name it.
                CertificateSource::Named(..) => {}
            }
            for problem in loading.problems.iter_mut().skip(known) {
                problem.source = Some(at);
            }
        }
        let Loading { entries, mut problems, .. } = loading;
        let store = Self::of(entries);
        store.shadowed(&mut problems);
        (store, problems)
    }

    /// The store of these, the default one first.
    pub(super) fn of(entries: Vec<Arc<Entry>>) -> Self {
        let mut store = Self::default();
        let mut fingerprint = Sha256::new();
        for entry in &entries {
            for name in &entry.names {
                let (map, name) = match name.strip_prefix("*.") {
                    Some(rest) => (&mut store.wildcard, rest),
                    None => (&mut store.exact, &**name),
                };
                map.entry(name.into()).or_default().push(Arc::clone(entry));
            }
            for der in &entry.key.cert {
                fingerprint.update(sha256(der));
            }
            fingerprint.update([0]);
        }
        for group in store.exact.values_mut().chain(store.wildcard.values_mut()) {
            // ECDSA and Ed25519 sign ten times as fast as RSA.
            group.sort_by_key(|entry| {
                (entry.is_rsa(), Reverse(entry.not_before), Reverse(entry.not_after))
            });
        }
        if let Some(first) = entries.first() {
            let group = first.names.first().and_then(|name| store.group(name));
            store.default = group.cloned().unwrap_or_else(|| vec![Arc::clone(first)]);
        }
        store.fingerprint = fingerprint.finalize().into();
        store.entries = entries;
        store
    }

    /// The certificates that have exactly this name, which may be a wildcard.
    fn group(&self, name: &str) -> Option<&Group> {
        match name.strip_prefix("*.") {
            Some(rest) => self.wildcard.get(rest),
            None => self.exact.get(name),
        }
    }

    /// The certificate for a client that asks for `name` (lowercase, no trailing dot) and can verify
    /// signatures of these schemes (empty: any). It is one that the client can verify, that is
    /// valid, and that has the name itself rather than a wildcard, in this order of weight. Several
    /// of that kind: ECDSA or Ed25519 before RSA, then the newest, then the one that lasts longest.
    /// A name that none has gets the default. `None` only if there is no certificate at all.
    pub fn resolve(
        &self,
        name: Option<&str>,
        schemes: &[SignatureScheme],
    ) -> Option<Arc<CertifiedKey>> {
        let (exact, wildcard) = match name {
            Some(name) => self.lookup(name),
            None => (None, None),
        };
        let groups = match (exact, wildcard) {
            (None, None) => [Some(&self.default), None],
            named => named.into(),
        };
        let candidates = || groups.iter().copied().flatten().flatten();
        let first = candidates().next()?;
        if candidates().nth(1).is_none() {
            return Some(Arc::clone(&first.key));
        }
        let now = now();
        let chosen = candidates()
            .find(|entry| entry.fits(schemes) && entry.valid_at(now))
            .or_else(|| candidates().find(|entry| entry.fits(schemes)))
            .unwrap_or(first); // and rustls says that there is no common scheme
        Some(Arc::clone(&chosen.key))
    }

    fn lookup(&self, name: &str) -> (Option<&Group>, Option<&Group>) {
        let parent = match name.split_once('.') {
            Some((label, parent)) if !label.is_empty() => Some(parent),
            _ => None,
        };
        (self.exact.get(name), parent.and_then(|parent| self.wildcard.get(parent)))
    }

    /// How a name (lowercase, no trailing dot) is served.
    pub fn covers(&self, name: &str) -> Coverage {
        match self.lookup(name) {
            (Some(_), _) => Coverage::Exact,
            (None, Some(_)) => Coverage::Wildcard,
            (None, None) if self.is_empty() => Coverage::Nothing,
            (None, None) => Coverage::Default,
        }
    }

    /// All certificates, in the order of the sources; those of a directory by file name.
    pub fn entries(&self) -> &[Arc<Entry>] {
        &self.entries
    }

    /// Whether there is no certificate at all.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// SHA-256 over all chains in their order: the same as long as no client can tell a difference.
    pub fn fingerprint(&self) -> [u8; 32] {
        self.fingerprint
    }

    /// Says which certificates are not shown for a name because another one is preferred.
    fn shadowed(&self, problems: &mut Vec<Problem>) {
        let mut told = HashSet::new();
        for entry in &self.entries {
            for name in &entry.names {
                let group = self.group(name).map(Vec::as_slice).unwrap_or_default();
                let Some(better) = group.iter().find(|other| other.is_rsa() == entry.is_rsa())
                else {
                    continue;
                };
                if !Arc::ptr_eq(better, entry) && told.insert(&entry.files) {
                    let what = format!(
                        "`{name}` is shown the newer certificate in {} as long as that is valid",
                        better.files.cert.place().display()
                    );
                    problems.push(
                        Problem::info(entry.files.cert.place(), what)
                            .hint("remove the file if it was replaced"),
                    );
                }
            }
        }
    }
}

/// Whether a certificate and its key can be used together.
///
/// # Errors
/// Why not.
pub fn check_pair(pair: &KeyPair) -> Result<(), Problem> {
    Entry::read(pair, None).map(drop)
}

/// Seconds since 1970.
pub(super) fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}

/// Chooses the certificate in a handshake of rustls.
#[derive(Debug)]
pub struct Resolver {
    store: Arc<Store>,
    strict: bool,
}

impl Resolver {
    /// With `strict`, a name that no certificate has gets none instead of the default.
    pub fn new(store: Arc<Store>, strict: bool) -> Self {
        Self { store, strict }
    }
}

impl ResolvesServerCert for Resolver {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        // rustls lets the dot of a whole name through (RFC 6066 §3 knows none).
        let name = hello.server_name().map(|name| name.strip_suffix('.').unwrap_or(name));
        if self.strict && name.is_some_and(|name| self.store.covers(name) == Coverage::Default) {
            return None;
        }
        self.store.resolve(name, hello.signature_schemes())
    }
}

#[cfg(test)]
mod tests;
