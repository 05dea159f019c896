//! The key `certificates`: each entry is one thing, names are unique, and whoever names one means one
//! that there is.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use super::{Findings, file};
use crate::config::checked::{CertificateSource, KeyPair, Pem};
use crate::config::document;
use crate::config::place::Place;
use crate::diagnostics::{
    BAD_CERTIFICATES, BAD_FILE, BAD_VALUE, DUPLICATE_CERTIFICATE, UNKNOWN_CERTIFICATE,
    did_you_mean, visible,
};
use crate::tls::problem::Problem;
use crate::tls::store::check_pair;

/// The certificates that have a name.
pub(super) struct Named {
    pairs: BTreeMap<Arc<str>, KeyPair>,
    /// Some had a fault of shape: a name that is missing says nothing.
    broken: bool,
    /// What is wrong with those that stand in the configuration itself; files are read later.
    faults: RefCell<BTreeMap<Arc<str>, Option<Problem>>>,
}

impl Named {
    /// Those among the sources.
    pub(super) fn of(sources: &[CertificateSource], broken: bool) -> Self {
        let named = |source: &CertificateSource| match source {
            CertificateSource::Named(name, pair) => Some((Arc::clone(name), pair.clone())),
            CertificateSource::Pair(_) | CertificateSource::Directory(_) => None,
        };
        let pairs = sources.iter().filter_map(named).collect();
        Self { pairs, broken, faults: RefCell::default() }
    }

    /// The one that somebody names at this place.
    pub(super) fn get(
        &self,
        name: &str,
        place: &Place<'_>,
        findings: &mut Findings<'_>,
    ) -> Option<KeyPair> {
        let found = self.pairs.get_key_value(name);
        if let Some((name, pair)) = found
            && let Some(problem) = self.fault(name, pair)
        {
            let message =
                format!("the certificate `{}` cannot be used: {}", visible(name), problem.what);
            findings.add_with(&BAD_FILE, place, message, problem.hint.unwrap_or_default());
            return None;
        }
        let found = found.map(|(_, pair)| pair.clone());
        if found.is_none() && !self.broken && !findings.is_broken(place) {
            let message = format!("there is no certificate with the name `{}`", visible(name));
            let hint = match did_you_mean(name, self.pairs.keys().map(|name| &**name)) {
                Some(meant) => format!("did you mean `{}`?", visible(meant)),
                None => {
                    "\"certificates\": [ { \"name\": …, \"certFile\": … } ] at the top level".into()
                }
            };
            findings.add_with(&UNKNOWN_CERTIFICATE, place, message, hint);
        }
        found
    }
}

impl Named {
    fn fault(&self, name: &Arc<str>, pair: &KeyPair) -> Option<Problem> {
        if pair.paths().next().is_some() {
            return None;
        }
        let mut faults = self.faults.borrow_mut();
        faults.entry(Arc::clone(name)).or_insert_with(|| check_pair(pair).err()).clone()
    }
}

/// Checks `certificates`.
pub(super) fn entries(
    entries: Option<&[document::Certificate]>,
    dir: &Path,
    findings: &mut Findings<'_>,
) -> Vec<CertificateSource> {
    let outer = Place::Root.key("certificates");
    let mut sources: Vec<CertificateSource> = Vec::new();
    let mut first: BTreeMap<&str, usize> = BTreeMap::new();
    for (at, entry) in entries.unwrap_or_default().iter().enumerate() {
        let place = outer.index(at);
        if findings.is_broken_inside(&place) {
            continue;
        }
        if let Some(name) = entry.name.as_deref() {
            named(name, at, &mut first, &place.key("name"), findings);
        }
        let Some(source) = source(entry, dir, &place, findings) else { continue };
        if sources.contains(&source) {
            findings.add(&BAD_CERTIFICATES, &place, "the same entry is listed twice");
        }
        sources.push(source);
    }
    sources
}

/// Checks the name of an entry.
fn named<'a>(
    name: &'a str,
    at: usize,
    first: &mut BTreeMap<&'a str, usize>,
    place: &Place<'_>,
    findings: &mut Findings<'_>,
) {
    if name.trim().is_empty() || name.chars().any(char::is_control) {
        let message = format!("`{}` is no name", visible(name));
        findings.add_with(
            &BAD_VALUE,
            place,
            message,
            "at least one character, no control characters",
        );
    } else if let Some(first) = first.get(name) {
        let message = format!("the name `{}` is also that of certificates[{first}]", visible(name));
        findings.add_with(&DUPLICATE_CERTIFICATE, place, message, "give each its own name");
    } else {
        first.insert(name, at);
    }
}

/// What an entry is. `None` if an error was found.
fn source(
    entry: &document::Certificate,
    dir: &Path,
    place: &Place<'_>,
    findings: &mut Findings<'_>,
) -> Option<CertificateSource> {
    let document::Certificate { name, cert_file, key_file, cert_pem, key_pem, directory } = entry;
    let hint = "{ \"certFile\": \"a.pem\", \"keyFile\": \"a.key\" }, { \"certPem\": …, \"keyPem\": … } or \
                { \"directory\": \"certs.d\" }";
    let mut bad = |message: &str| {
        findings.add_with(&BAD_CERTIFICATES, place, message, hint);
        None
    };
    let files = cert_file.is_some() || key_file.is_some();
    let texts = cert_pem.is_some() || key_pem.is_some();
    if usize::from(files) + usize::from(texts) + usize::from(directory.is_some()) > 1 {
        return bad(
            "an entry is a pair of files, a pair of texts or a directory, and only one of them",
        );
    }
    let pair = match (cert_file, cert_pem, directory) {
        (Some(cert), ..) => key_pair(cert, key_file.as_deref(), dir, place, findings),
        (None, Some(cert), _) => {
            let Some(key) = key_pem else { return bad("`certPem` without `keyPem`") };
            // A name tells it apart from the others; an index is another one in another file.
            let called = |what: &str| match name {
                Some(name) => format!("{what} of the certificate `{name}`"),
                None => place.key(what).to_string(),
            };
            KeyPair {
                cert: Pem::inline(called("certPem"), cert),
                key: Pem::inline(called("keyPem"), &key.0),
            }
        }
        (None, None, Some(_)) if name.is_some() => {
            return bad("a directory has no `name`: each of its certificates would have it");
        }
        (None, None, Some(directory)) => {
            if directory.as_os_str().is_empty() {
                findings.add(&BAD_VALUE, &place.key("directory"), "the path is empty");
            }
            return Some(CertificateSource::Directory(dir.join(directory)));
        }
        (None, None, None) if texts => return bad("`keyPem` without `certPem`"),
        (None, None, None) => return bad("there is no `certFile`"),
    };
    Some(match name {
        Some(name) => CertificateSource::Named(Arc::from(name.as_str()), pair),
        None => CertificateSource::Pair(pair),
    })
}

/// What a target is shown: files, or a certificate that has a name. `None` if an error was found.
pub(super) fn shown(
    pair: &document::KeyPair,
    known: &Named,
    dir: &Path,
    place: &Place<'_>,
    findings: &mut Findings<'_>,
) -> Option<KeyPair> {
    let document::KeyPair { name, cert_file, key_file } = pair;
    match (name, cert_file) {
        (Some(name), None) if key_file.is_none() => known.get(name, &place.key("name"), findings),
        (Some(_), _) => {
            let message = "`name` beside files: it is one or the other";
            findings.add_with(&BAD_CERTIFICATES, place, message, "keep one of them");
            None
        }
        (None, Some(cert)) => Some(key_pair(cert, key_file.as_deref(), dir, place, findings)),
        (None, None) => {
            findings.missing(place, "certFile", "a PEM file with the certificate");
            None
        }
    }
}

/// The absolute paths of a certificate and its key.
pub(super) fn key_pair(
    cert: &Path,
    key: Option<&Path>,
    dir: &Path,
    place: &Place<'_>,
    findings: &mut Findings<'_>,
) -> KeyPair {
    let cert = file(cert, dir, &place.key("certFile"), findings);
    let key = match key {
        Some(key) => file(key, dir, &place.key("keyFile"), findings),
        None => cert.clone(),
    };
    KeyPair::files(cert, key)
}
