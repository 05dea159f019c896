//! One certificate with its chain and key: what it says, for whom it stands, what is odd about it.

use std::sync::Arc;

use rustls::pki_types::{CertificateDer, DnsName, PrivateKeyDer};
use rustls::server::ParsedCertificate;
use rustls::sign::CertifiedKey;
use rustls::{Error as TlsError, InconsistentKeys, SignatureAlgorithm, SignatureScheme};
use sha2::{Digest, Sha256};
use x509_parser::extensions::ParsedExtension;
use x509_parser::oid_registry::OID_PKIX_ACCESS_DESCRIPTOR_CA_ISSUERS;
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

use crate::config::checked::KeyPair;
use crate::config::limits;
use crate::tls::identity::{self, sha256};
use crate::tls::pem;
use crate::tls::problem::Problem;
use crate::tls::provider::provider;

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
    pub(super) content: [u8; 32],
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
    pub(in crate::tls) fn read(
        files: &KeyPair,
        before: Option<&Arc<Self>>,
    ) -> Result<Arc<Self>, Problem> {
        let max = limits::CERTIFICATE_FILE_BYTES_MAX;
        let chain = pem::bytes(&files.cert, max)?;
        let key = match files.key == files.cert {
            true => chain.clone(),
            false => pem::bytes(&files.key, max)?,
        };
        let mut content = Sha256::new();
        content.update(sha256(&chain));
        content.update(sha256(&key));
        let content = content.finalize().into();
        if let Some(before) = before.filter(|before| before.content == content) {
            return Ok(Arc::clone(before));
        }
        let chain = pem::certificates(files.cert.place(), &chain)?;
        let key = pem::private_key(files.key.place(), &key)?;
        Self::build(files, chain, key, content).map(Arc::new)
    }

    fn build(
        files: &KeyPair,
        chain: Vec<CertificateDer<'static>>,
        key: PrivateKeyDer<'static>,
        content: [u8; 32],
    ) -> Result<Self, Problem> {
        let path = files.cert.place();
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
            Problem::error(files.key.place(), format!("the private key cannot be used: {error}"))
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
                files.key.place().display()
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
    pub(super) fn fits(&self, schemes: &[SignatureScheme]) -> bool {
        schemes.is_empty() || self.schemes.iter().any(|scheme| schemes.contains(scheme))
    }

    pub(super) fn valid_at(&self, now: i64) -> bool {
        (self.not_before..=self.not_after).contains(&now)
    }

    pub(super) fn is_rsa(&self) -> bool {
        self.key.key.algorithm() == SignatureAlgorithm::RSA
    }

    /// What is odd about it now.
    pub(in crate::tls) fn remarks(&self, now: i64, problems: &mut Vec<Problem>) {
        let path = self.files.cert.place();
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
pub(super) fn normal(name: &str) -> Option<Box<str>> {
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
