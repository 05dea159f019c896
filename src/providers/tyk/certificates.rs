//! Certificates and public keys that definitions name: by id, for the file `ID.pem` in the directory
//! of certificates, or by a path that starts at the definition's file.
//!
//! Tyk takes client certificates as a pool of authorities. Here each is what it is: an authority
//! admits those that it has signed, any other certificate admits just itself. One that is both, as
//! `openssl req -x509` makes them, admits both.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustls::pki_types::pem::{PemObject, SectionKind};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::config::{limits, read};
use crate::diagnostics::visible;

/// Where certificates are, and those that were named so far.
#[derive(Debug, Default)]
pub(super) struct Certificates {
    dir: Option<PathBuf>,
    /// Server certificates with their names, in the order in which they were first named.
    named: Vec<(String, Pair)>,
    names: HashMap<PathBuf, String>,
}

/// A certificate with its key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Pair {
    pub(super) cert: PathBuf,
    /// If it is not in the same file.
    pub(super) key: Option<PathBuf>,
}

/// Whom client certificates may be of.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Clients {
    /// Files of authorities.
    pub(super) authorities: Vec<PathBuf>,
    /// Files of certificates that admit just themselves.
    pub(super) leaves: Vec<PathBuf>,
}

impl Certificates {
    pub(super) fn new(dir: Option<PathBuf>) -> Self {
        Self { dir, ..Self::default() }
    }

    /// The file of an id or a path; `base` is where paths start.
    ///
    /// # Errors
    /// Where it was looked for.
    pub(super) fn file(&self, name: &str, base: &Path) -> Result<PathBuf, String> {
        let is_id = !name.starts_with('.') && !name.contains(['/', '\\', '\0']);
        let by_id = self.dir.as_ref().filter(|_| is_id).map(|dir| dir.join(format!("{name}.pem")));
        let by_path = base.join(name);
        // A pipe must not hold a reload up.
        if let Some(path) = by_id.iter().chain([&by_path]).find(|path| path.is_file()) {
            return Ok(path.clone());
        }
        let path = by_path.display();
        Err(match (by_id, is_id) {
            (Some(id), _) => format!("there is neither a file {} nor {path}", id.display()),
            (None, true) => format!(
                "there is no file {path}, and `providers.tyk.certificateDir` does not say where ids are"
            ),
            (None, false) => format!("there is no file {path}"),
        })
    }

    /// A server certificate with its key, by the name under which services name it.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(super) fn server(&mut self, name: &str, base: &Path) -> Result<String, String> {
        let pair = self.pair(name, base)?;
        if let Some(known) = self.names.get(&pair.cert) {
            return Ok(known.clone());
        }
        let stem =
            pair.cert.file_stem().map_or_else(|| "certificate".into(), |s| s.to_string_lossy());
        let is_free = |name: &String| self.named.iter().all(|(known, _)| known != name);
        let mut called = format!("tyk/{stem}");
        let mut number = 2;
        while !is_free(&called) {
            called = format!("tyk/{stem}-{number}");
            number += 1;
        }
        self.names.insert(pair.cert.clone(), called.clone());
        self.named.push((called.clone(), pair));
        Ok(called)
    }

    /// A certificate with its key.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(super) fn pair(&self, name: &str, base: &Path) -> Result<Pair, String> {
        let path = self.file(name, base)?;
        let held = sections(&path)?;
        if !held.iter().any(|(kind, _)| *kind == SectionKind::Certificate) {
            return Err(format!("{} holds no certificate", path.display()));
        }
        if has_key(&held) {
            return Ok(Pair { cert: path, key: None });
        }
        let beside = path.with_extension("key");
        if beside != path && beside.is_file() && has_key(&sections(&beside)?) {
            return Ok(Pair { cert: path, key: Some(beside) });
        }
        Err(format!(
            "{} holds no private key, and there is none in {}",
            path.display(),
            beside.display()
        ))
    }

    /// Adds a client certificate.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(super) fn client(
        &self,
        name: &str,
        base: &Path,
        clients: &mut Clients,
    ) -> Result<(), String> {
        let path = self.file(name, base)?;
        let held = sections(&path)?;
        let first = first_certificate(&held)
            .ok_or_else(|| format!("{} holds no certificate", path.display()))?;
        let (_, parsed) = X509Certificate::from_der(first)
            .map_err(|_| format!("{} holds a certificate that cannot be read", path.display()))?;
        let add = |list: &mut Vec<PathBuf>| {
            if !list.contains(&path) {
                list.push(path.clone());
            }
        };
        let is_authority = parsed.is_ca();
        if is_authority {
            add(&mut clients.authorities);
        }
        if !is_authority || parsed.issuer() == parsed.subject() {
            add(&mut clients.leaves);
        }
        Ok(())
    }

    /// The SHA-256 of a public key (SPKI), as the native document writes it.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(super) fn pin(&self, name: &str, base: &Path) -> Result<String, String> {
        if name.contains("-----BEGIN ") {
            return pin_of(&held_by(name.as_bytes(), "the text")?, "the text");
        }
        match self.file(name, base) {
            Ok(path) => pin_of(&sections(&path)?, &path.display().to_string()),
            Err(fault) => digest(name)
                .map(|digest| format!("sha256/{}", STANDARD.encode(digest)))
                .ok_or_else(|| format!("`{}` is no SHA-256, and {fault}", visible(name))),
        }
    }

    /// The certificates that services name, as entries of the top-level `certificates`.
    pub(super) fn entries(&self) -> Vec<Value> {
        let entry = |(name, pair): &(String, Pair)| {
            let mut entry = json!({ "name": name, "certFile": pair.cert });
            if let (Some(key), Value::Object(members)) = (&pair.key, &mut entry) {
                members.insert("keyFile".into(), json!(key));
            }
            entry
        };
        self.named.iter().map(entry).collect()
    }
}

type Sections = Vec<(SectionKind, Vec<u8>)>;

/// The sections of a PEM file.
fn sections(path: &Path) -> Result<Sections, String> {
    let (text, _) = read::text_within(path, limits::CERTIFICATE_FILE_BYTES_MAX)
        .map_err(|fault| fault.message)?;
    held_by(text.as_bytes(), &path.display().to_string())
}

fn held_by(text: &[u8], what: &str) -> Result<Sections, String> {
    let sections: Result<Sections, rustls::pki_types::pem::Error> =
        PemObject::pem_slice_iter(text).collect();
    sections.map_err(|error| format!("{what} is not sound PEM: {error}"))
}

fn has_key(sections: &Sections) -> bool {
    sections.iter().any(|(kind, _)| {
        matches!(
            kind,
            SectionKind::PrivateKey | SectionKind::RsaPrivateKey | SectionKind::EcPrivateKey
        )
    })
}

fn first_certificate(sections: &Sections) -> Option<&[u8]> {
    let mut certificates = sections.iter().filter(|(kind, _)| *kind == SectionKind::Certificate);
    certificates.next().map(|(_, der)| der.as_slice())
}

/// The hash of the public key that sections hold: itself, or that of a certificate.
fn pin_of(sections: &Sections, what: &str) -> Result<String, String> {
    let key = sections.iter().find(|(kind, _)| *kind == SectionKind::PublicKey);
    let hash = match (key, first_certificate(sections)) {
        (Some((_, spki)), _) => Sha256::digest(spki),
        (None, Some(der)) => match X509Certificate::from_der(der) {
            Ok((_, parsed)) => Sha256::digest(parsed.public_key().raw),
            Err(_) => return Err(format!("{what} holds a certificate that cannot be read")),
        },
        (None, None) => return Err(format!("{what} holds neither a public key nor a certificate")),
    };
    Ok(format!("sha256/{}", STANDARD.encode(hash)))
}

/// A SHA-256 as text: hex, with or without colons, or base64.
fn digest(text: &str) -> Option<Vec<u8>> {
    let bare = text.strip_prefix("sha256/").unwrap_or(text);
    let digits: String = bare.chars().filter(|c| *c != ':').collect();
    if digits.len() == 64 && digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        let byte = |at: usize| u8::from_str_radix(digits.get(at..at + 2)?, 16).ok();
        return (0..64).step_by(2).map(byte).collect();
    }
    STANDARD.decode(bare).ok().filter(|bytes| bytes.len() == 32)
}
