//! The server certificates and which of them a name gets. A [`Store`] is immutable once built; a
//! change of the files is another one, which takes over what it cannot read anew.

use std::cmp::Reverse;
use std::collections::{HashMap, HashSet};
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use rustls::pki_types::{CertificateDer, DnsName, PrivateKeyDer};
use rustls::server::{ClientHello, ParsedCertificate, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{Error as TlsError, InconsistentKeys, SignatureAlgorithm, SignatureScheme};
use sha2::{Digest, Sha256};
use x509_parser::extensions::ParsedExtension;
use x509_parser::oid_registry::OID_PKIX_ACCESS_DESCRIPTOR_CA_ISSUERS;
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

use super::identity::{self, sha256};
use super::pem;
use super::problem::Problem;
use super::provider::provider;
use crate::config::checked::{CertificateSource, KeyPair};
use crate::config::limits;
use crate::diagnostics::Severity;

/// The signature schemes a key may sign with; rustls has no list of a key's own.
const SCHEMES: [SignatureScheme; 10] = [
    SignatureScheme::ED25519,
    SignatureScheme::ECDSA_NISTP256_SHA256,
    SignatureScheme::ECDSA_NISTP384_SHA384,
    SignatureScheme::ECDSA_NISTP521_SHA512,
    SignatureScheme::RSA_PSS_SHA256,
    SignatureScheme::RSA_PSS_SHA384,
    SignatureScheme::RSA_PSS_SHA512,
    SignatureScheme::RSA_PKCS1_SHA256,
    SignatureScheme::RSA_PKCS1_SHA384,
    SignatureScheme::RSA_PKCS1_SHA512,
];

/// One certificate with its chain and key.
#[derive(Debug)]
pub struct Entry {
    /// Where it was read from.
    pub files: KeyPair,
    /// The DNS names it is for, lowercase: of subjectAltName, else the common name. `*.x` covers
    /// one label.
    pub names: Vec<Box<str>>,
    /// As `CN=example.com`.
    pub subject: String,
    /// As `C=US, O=Let's Encrypt, CN=R11`.
    pub issuer: String,
    /// Seconds since 1970 from which it is valid.
    pub not_before: i64,
    /// Seconds since 1970 until which it is valid.
    pub not_after: i64,
    /// SHA-256 of the leaf's DER.
    pub sha256: [u8; 32],
    /// What the handshake uses.
    pub key: Arc<CertifiedKey>,
    /// What the key can sign with.
    schemes: Vec<SignatureScheme>,
    /// SHA-256 of what was in the files.
    content: [u8; 32],
    remarks: Remarks,
}

/// What is odd about a certificate at any time.
#[derive(Debug, Default, Clone, Copy)]
struct Remarks {
    /// Its only name is the common name.
    common_name_only: bool,
    /// Its issuer publishes its own certificate, but it is not in the chain.
    lone_leaf: bool,
    /// A certificate of the chain was not issued by the next.
    disordered: bool,
}

impl Entry {
    /// Reads a pair, or takes the one read before if the files are as they were.
    pub(super) fn read(files: &KeyPair, before: Option<&Arc<Self>>) -> Result<Arc<Self>, Problem> {
        let max = limits::CERTIFICATE_FILE_BYTES_MAX;
        let chain = pem::read(&files.cert_file, max)?;
        let key = match files.key_file == files.cert_file {
            true => chain.clone(),
            false => pem::read(&files.key_file, max)?,
        };
        let mut content = Sha256::new();
        content.update(sha256(&chain));
        content.update(sha256(&key));
        let content = content.finalize().into();
        if let Some(before) = before.filter(|before| before.content == content) {
            return Ok(Arc::clone(before));
        }
        let chain = pem::certificates(&files.cert_file, &chain)?;
        let key = pem::private_key(&files.key_file, &key)?;
        Self::build(files, chain, key, content).map(Arc::new)
    }

    fn build(
        files: &KeyPair,
        chain: Vec<CertificateDer<'static>>,
        key: PrivateKeyDer<'static>,
        content: [u8; 32],
    ) -> Result<Self, Problem> {
        let path = &files.cert_file;
        if chain.len() > limits::CHAIN_MAX {
            let what = format!("has {} certificates; a chain has few", chain.len());
            return Err(Problem::error(path, what)
                .hint("leave the certificate itself and its intermediates"));
        }
        let malformed = |at: usize, why: &dyn std::fmt::Display| {
            Problem::error(path, format!("certificate {} of the file is malformed: {why}", at + 1))
        };
        let mut parsed = Vec::new();
        for (at, der) in chain.iter().enumerate() {
            ParsedCertificate::try_from(der).map_err(|error| malformed(at, &error))?;
            let (_, certificate) =
                X509Certificate::from_der(der).map_err(|error| malformed(at, &error))?;
            parsed.push(certificate);
        }
        let Some(leaf) = parsed.first() else {
            return Err(Problem::error(path, "holds no certificate"));
        };
        let signer = provider().key_provider.load_private_key(key).map_err(|error| {
            Problem::error(&files.key_file, format!("the private key cannot be used: {error}"))
                .hint("RSA from 2048 bits, ECDSA with P-256, P-384 or P-521, and Ed25519 can be")
        })?;
        let schemes: Vec<_> =
            SCHEMES.into_iter().filter(|one| signer.choose_scheme(&[*one]).is_some()).collect();
        let key = CertifiedKey::new(chain.clone(), signer);
        if let Err(error) = key.keys_match()
            && error != TlsError::InconsistentKeys(InconsistentKeys::Unknown)
        {
            let what = format!(
                "the private key in {} does not belong to this certificate",
                files.key_file.display()
            );
            return Err(Problem::error(path, what)
                .hint("the leaf must come first in the file; replace both files together"));
        }
        let (names, common_name_only) = names(leaf);
        let self_issued = leaf.subject().as_raw() == leaf.issuer().as_raw();
        Ok(Self {
            files: files.clone(),
            names,
            subject: leaf.subject().to_string(),
            issuer: leaf.issuer().to_string(),
            not_before: leaf.validity().not_before.timestamp(),
            not_after: leaf.validity().not_after.timestamp(),
            sha256: chain.first().map(|leaf| sha256(leaf)).unwrap_or_default(),
            key: Arc::new(key),
            schemes,
            content,
            remarks: Remarks {
                common_name_only,
                lone_leaf: parsed.len() == 1 && !self_issued && issuer_is_published(leaf),
                disordered: parsed
                    .iter()
                    .zip(parsed.iter().skip(1))
                    .any(|(one, next)| one.issuer().as_raw() != next.subject().as_raw()),
            },
        })
    }

    /// Whether a client that can verify these schemes can verify this key's signatures. A list that
    /// is empty asks nothing.
    fn fits(&self, schemes: &[SignatureScheme]) -> bool {
        schemes.is_empty() || self.schemes.iter().any(|scheme| schemes.contains(scheme))
    }

    fn valid_at(&self, now: i64) -> bool {
        (self.not_before..=self.not_after).contains(&now)
    }

    fn is_rsa(&self) -> bool {
        self.key.key.algorithm() == SignatureAlgorithm::RSA
    }

    /// What is odd about it now.
    pub(super) fn remarks(&self, now: i64, problems: &mut Vec<Problem>) {
        let path = &self.files.cert_file;
        let day = 24 * 3600;
        let soon = i64::try_from(limits::EXPIRY_WARNING.as_secs()).unwrap_or(i64::MAX);
        let left = self.not_after.saturating_sub(now);
        if left < 0 {
            let what = format!("expired {}", days(left.saturating_neg() / day, "ago"));
            problems.push(Problem::warn(path, what).hint("clients will refuse it; renew it"));
        } else if left < soon && left < self.not_after.saturating_sub(self.not_before) / 3 {
            let what = format!("expires {}", days(left / day, "from now"));
            problems.push(Problem::warn(path, what).hint("renew it"));
        }
        if now < self.not_before {
            let what = format!("is valid only {}", days((self.not_before - now) / day, "from now"));
            problems.push(Problem::warn(path, what).hint("check the clock of this machine"));
        }
        if self.remarks.common_name_only {
            let what = "has no subjectAltName; its common name is used instead";
            problems.push(
                Problem::info(path, what).hint("most clients refuse it: add a subjectAltName"),
            );
        }
        if self.remarks.lone_leaf {
            let what = "holds no intermediate certificate, though its issuer probably is one";
            problems.push(
                Problem::warn(path, what)
                    .hint("use the file with the full chain, the leaf first (`fullchain.pem`)"),
            );
        }
        if self.remarks.disordered {
            let what = "the certificates are not in the order of the chain";
            problems.push(
                Problem::warn(path, what)
                    .hint("put the leaf first, then each certificate's issuer after it"),
            );
        }
    }
}

/// As `3 days ago`.
fn days(count: i64, suffix: &str) -> String {
    match count {
        0 => format!("less than a day {suffix}"),
        1 => format!("1 day {suffix}"),
        count => format!("{count} days {suffix}"),
    }
}

/// The DNS names of a leaf, and whether the common name had to do.
fn names(leaf: &X509Certificate<'_>) -> (Vec<Box<str>>, bool) {
    let sans = identity::names(leaf);
    let mut names: Vec<Box<str>> = Vec::new();
    let mut add = |name: &str| {
        if let Some(name) = normal(name).filter(|name| !names.contains(name)) {
            names.push(name);
        }
    };
    for san in sans {
        if let GeneralName::DNSName(name) = san {
            add(name);
        }
    }
    let has_extension = !matches!(leaf.subject_alternative_name(), Ok(None));
    if !has_extension && let Some(name) = identity::common_name(leaf) {
        add(&name);
        let found = !names.is_empty();
        return (names, found);
    }
    (names, false)
}

/// The name as clients ask for it: lowercase, without a trailing dot. A `*` may only be the whole
/// first label (RFC 9525 §6.3).
fn normal(name: &str) -> Option<Box<str>> {
    let name = name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase();
    let host = name.strip_prefix("*.").unwrap_or(&name);
    DnsName::try_from(host).is_ok().then(|| name.as_str().into())
}

/// Whether the certificate says where its issuer's own can be had, as those of public authorities
/// do that sign by an intermediate.
fn issuer_is_published(leaf: &X509Certificate<'_>) -> bool {
    leaf.iter_extensions().any(|extension| match extension.parsed_extension() {
        ParsedExtension::AuthorityInfoAccess(access) => access
            .iter()
            .any(|description| description.access_method == OID_PKIX_ACCESS_DESCRIPTOR_CA_ISSUERS),
        _ => false,
    })
}

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

    fn of(entries: Vec<Arc<Entry>>) -> Self {
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
                        better.files.cert_file.display()
                    );
                    problems.push(
                        Problem::info(&entry.files.cert_file, what)
                            .hint("remove the file if it was replaced"),
                    );
                }
            }
        }
    }
}

/// A [`Store`] in the making.
struct Loading<'a> {
    before: HashMap<&'a KeyPair, &'a Arc<Entry>>,
    now: i64,
    entries: Vec<Arc<Entry>>,
    /// Leaves, and where they were found first.
    seen: HashMap<[u8; 32], PathBuf>,
    problems: Vec<Problem>,
}

impl Loading<'_> {
    /// Takes a pair; `severity` is that of one which cannot be used and replaces nothing.
    fn pair(&mut self, files: &KeyPair, severity: Severity) {
        let before = self.before.get(files).copied();
        match Entry::read(files, before) {
            Ok(entry) => self.take(entry),
            Err(problem) => self.broken(problem, before.cloned(), severity),
        }
    }

    fn broken(&mut self, problem: Problem, before: Option<Arc<Entry>>, severity: Severity) {
        match before {
            Some(entry) => {
                self.problems.push(problem.kept());
                self.take(entry);
            }
            None => self.problems.push(Problem { severity, ..problem }),
        }
    }

    fn take(&mut self, entry: Arc<Entry>) {
        let path = &entry.files.cert_file;
        if let Some(first) = self.seen.get(&entry.sha256) {
            let what = format!("is the same certificate as in {}", first.display());
            self.problems.push(Problem::info(path, what).hint("remove one of the two"));
            return;
        }
        self.seen.insert(entry.sha256, path.clone());
        entry.remarks(self.now, &mut self.problems);
        self.entries.push(entry);
    }

    fn directory(&mut self, directory: &Path) {
        let files = match list(directory) {
            Ok(files) => files,
            Err(error) => {
                let problem = Problem::error(directory, format!("cannot be listed: {error}"))
                    .hint("it must be a directory that the user who runs the proxy may read");
                let mut kept: Vec<_> = self
                    .before
                    .values()
                    .filter(|entry| entry.files.cert_file.parent() == Some(directory))
                    .map(|entry| Arc::clone(entry))
                    .collect();
                kept.sort_by(|one, other| one.files.cert_file.cmp(&other.files.cert_file));
                let problem = if kept.is_empty() { problem } else { problem.kept() };
                self.problems.push(problem);
                kept.into_iter().for_each(|entry| self.take(entry));
                return;
            }
        };
        let most = limits::CERTIFICATES_PER_DIRECTORY_MAX;
        for (at, cert_file) in files.iter().filter(|path| is_certificate(path)).enumerate() {
            if at == most {
                let what = format!("only the first {most} certificates of it are used");
                self.problems.push(Problem::warn(directory, what));
                break;
            }
            let apart = cert_file.with_extension("key");
            let key_file = match files.binary_search(&apart) {
                Ok(_) => apart,
                Err(_) => match self.without_key(cert_file, apart) {
                    Some(key_file) => key_file,
                    None => continue,
                },
            };
            self.pair(&KeyPair { cert_file: cert_file.clone(), key_file }, Severity::Warn);
        }
    }

    /// Where the key of a certificate is that has no file `stem.key` beside it; `None` if it is not
    /// to be served.
    fn without_key(&mut self, cert_file: &Path, apart: PathBuf) -> Option<PathBuf> {
        let apart = KeyPair { cert_file: cert_file.to_owned(), key_file: apart };
        if self.before.contains_key(&apart) {
            return Some(apart.key_file); // its key went missing
        }
        let is_pem = has_extension(cert_file, "pem");
        let together = KeyPair { key_file: cert_file.to_owned(), ..apart };
        if is_pem && self.before.contains_key(&together) {
            return Some(together.key_file);
        }
        match pem::read(cert_file, limits::CERTIFICATE_FILE_BYTES_MAX) {
            Ok(bytes) if is_pem && pem::has_private_key(&bytes) => return Some(together.key_file),
            Ok(_) => {
                let what = "has no private key beside it and is not served";
                self.problems.push(
                    Problem::info(cert_file, what)
                        .hint("name the key like the certificate, with the extension `.key`"),
                );
            }
            Err(problem) => self.broken(problem, None, Severity::Warn),
        }
        None
    }
}

/// The files of a directory that an administrator put there, by name.
fn list(directory: &Path) -> std::io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(directory)? {
        let name = entry?.file_name();
        if !name.as_encoded_bytes().starts_with(b".") {
            files.push(directory.join(name));
        }
    }
    files.sort();
    Ok(files)
}

/// By its extension, which leftovers of editors and package managers do not have.
fn is_certificate(path: &Path) -> bool {
    ["pem", "crt", "cer"].iter().any(|extension| has_extension(path, extension))
}

fn has_extension(path: &Path, extension: &str) -> bool {
    path.extension() == Some(OsStr::new(extension))
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
