//! From files to DER. Files are bounded, and nothing but a regular file is opened: a pipe in their
//! place must not stop a reload.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use rustls::pki_types::pem::{Error as PemError, PemObject, SectionKind};
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer};

use super::problem::Problem;
use crate::config::checked::Pem;

/// The bytes of a regular file, or why there are none.
pub(super) fn read(path: &Path, max: u64) -> Result<Vec<u8>, Problem> {
    let unreadable = |error: io::Error| match error.kind() {
        io::ErrorKind::NotFound => Problem::error(path, "there is no such file")
            .hint("a relative path starts at the directory of the configuration file"),
        io::ErrorKind::PermissionDenied => Problem::error(path, "may not be read by this user")
            .hint("give the user that runs the proxy read access to the file and its directory"),
        _ => Problem::error(path, format!("cannot be read: {error}")),
    };
    let metadata = std::fs::metadata(path).map_err(unreadable)?;
    if !metadata.is_file() {
        return Err(Problem::error(path, "is not a regular file"));
    }
    let mut bytes = Vec::new();
    if metadata.len() <= max {
        let file = File::open(path).map_err(unreadable)?;
        file.take(max + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    }
    if metadata.len().max(bytes.len() as u64) > max {
        let what = format!("has more than {} MiB", max >> 20);
        return Err(Problem::error(path, what).hint("check that it is the right file"));
    }
    if bytes.is_empty() {
        return Err(Problem::error(path, "is empty"));
    }
    Ok(bytes)
}

/// The bytes of a text that is in a file or in the configuration.
pub(super) fn bytes(pem: &Pem, max: u64) -> Result<Vec<u8>, Problem> {
    match pem {
        Pem::File(path) => read(path, max),
        Pem::Inline(inline) => Ok(inline.text().as_bytes().to_vec()),
    }
}

/// Every section of the text; text between them is ignored, as everywhere.
fn sections(path: &Path, bytes: &[u8]) -> Result<Vec<(SectionKind, Vec<u8>)>, Problem> {
    let sections: Result<_, PemError> = PemObject::pem_slice_iter(bytes).collect();
    sections.map_err(|error| match error {
        PemError::MissingSectionEnd { .. } => {
            Problem::error(path, "breaks off in the middle of a PEM section")
                .hint("write files whole: to a temporary name in the same directory, then rename")
        }
        error => Problem::error(path, format!("is not sound PEM: {error}")),
    })
}

/// The certificates in the order of the file; at least one.
pub(super) fn certificates(
    path: &Path,
    bytes: &[u8],
) -> Result<Vec<CertificateDer<'static>>, Problem> {
    let found: Vec<_> = sections(path, bytes)?
        .into_iter()
        .filter(|(kind, _)| *kind == SectionKind::Certificate)
        .map(|(_, der)| CertificateDer::from(der))
        .collect();
    if !found.is_empty() {
        return Ok(found);
    }
    let problem = Problem::error(path, "holds no certificate");
    Err(if bytes.first() == Some(&0x30) {
        problem.hint("it looks like DER: openssl x509 -inform der -in FILE -out FILE.pem")
    } else {
        problem.hint("it must have a section `-----BEGIN CERTIFICATE-----`")
    })
}

/// The one private key.
pub(super) fn private_key(path: &Path, bytes: &[u8]) -> Result<PrivateKeyDer<'static>, Problem> {
    let mut keys: Vec<_> = sections(path, bytes)?
        .into_iter()
        .filter_map(|(kind, der)| PrivateKeyDer::from_pem(kind, der))
        .collect();
    match (keys.pop(), keys.is_empty()) {
        (Some(key), true) => Ok(key),
        (Some(_), false) => Err(Problem::error(path, "holds several private keys")
            .hint("leave the one that belongs to the certificate")),
        (None, _) => {
            let problem = Problem::error(path, "holds no private key");
            Err(if contains(bytes, b"ENCRYPTED") {
                problem.hint("it is encrypted; decrypt it: openssl pkey -in FILE -out FILE.key")
            } else {
                problem.hint("it must have a section `-----BEGIN PRIVATE KEY-----`")
            })
        }
    }
}

/// Whether the text has a section of a private key, sound or not.
pub(super) fn has_private_key(bytes: &[u8]) -> bool {
    contains(bytes, b"PRIVATE KEY-----")
}

/// The revocation lists: PEM, or one in DER.
pub(super) fn crls(
    path: &Path,
    bytes: Vec<u8>,
) -> Result<Vec<CertificateRevocationListDer<'static>>, Problem> {
    if bytes.first() == Some(&0x30) {
        return Ok(vec![CertificateRevocationListDer::from(bytes)]);
    }
    let found: Vec<_> = sections(path, &bytes)?
        .into_iter()
        .filter(|(kind, _)| *kind == SectionKind::Crl)
        .map(|(_, der)| CertificateRevocationListDer::from(der))
        .collect();
    if found.is_empty() {
        return Err(Problem::error(path, "holds no certificate revocation list")
            .hint("it must be DER, or PEM with a section `-----BEGIN X509 CRL-----`"));
    }
    Ok(found)
}

fn contains(haystack: &[u8], needle: &[u8]) -> bool {
    haystack.windows(needle.len()).any(|window| window == needle)
}
