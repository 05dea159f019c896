//! From files and directories to certificates: broken ones keep what they were.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::entry::Entry;
use crate::config::checked::KeyPair;
use crate::config::limits;
use crate::diagnostics::Severity;
use crate::tls::pem;
use crate::tls::problem::Problem;

/// A [`Store`] in the making.
pub(super) struct Loading<'a> {
    pub(super) before: HashMap<&'a KeyPair, &'a Arc<Entry>>,
    pub(super) now: i64,
    pub(super) entries: Vec<Arc<Entry>>,
    /// Leaves, and where they were found first.
    pub(super) seen: HashMap<[u8; 32], PathBuf>,
    pub(super) problems: Vec<Problem>,
}

impl Loading<'_> {
    /// Takes a pair; `severity` is that of one which cannot be used and replaces nothing.
    pub(super) fn pair(&mut self, files: &KeyPair, severity: Severity) {
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
        let path = entry.files.cert.place();
        if let Some(first) = self.seen.get(&entry.sha256) {
            let what = format!("is the same certificate as in {}", first.display());
            self.problems.push(Problem::info(path, what).hint("remove one of the two"));
            return;
        }
        self.seen.insert(entry.sha256, path.to_owned());
        entry.remarks(self.now, &mut self.problems);
        self.entries.push(entry);
    }

    pub(super) fn directory(&mut self, directory: &Path) {
        let files = match list(directory) {
            Ok(files) => files,
            Err(error) => {
                let problem = Problem::error(directory, format!("cannot be listed: {error}"))
                    .hint("it must be a directory that the user who runs the proxy may read");
                let mut kept: Vec<_> = self
                    .before
                    .values()
                    .filter(|entry| entry.files.cert.place().parent() == Some(directory))
                    .map(|entry| Arc::clone(entry))
                    .collect();
                kept.sort_by(|one, other| one.files.cert.place().cmp(other.files.cert.place()));
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
            self.pair(&KeyPair::files(cert_file, key_file), Severity::Warn);
        }
    }

    /// Where the key of a certificate is that has no file `stem.key` beside it; `None` if it is not
    /// to be served.
    fn without_key(&mut self, cert_file: &Path, apart: PathBuf) -> Option<PathBuf> {
        if self.before.contains_key(&KeyPair::files(cert_file, apart.clone())) {
            return Some(apart); // its key went missing
        }
        let is_pem = has_extension(cert_file, "pem");
        let together = cert_file.to_owned();
        if is_pem && self.before.contains_key(&KeyPair::files(cert_file, cert_file)) {
            return Some(together);
        }
        match pem::read(cert_file, limits::CERTIFICATE_FILE_BYTES_MAX) {
            Ok(bytes) if is_pem && pem::has_private_key(&bytes) => return Some(together),
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
