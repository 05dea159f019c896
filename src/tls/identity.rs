//! Facts of a certificate in words: who a client is, for rules and logs.

use std::net::IpAddr;

use rustls::pki_types::{CertificateDer, UnixTime};
use sha2::{Digest, Sha256};
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

/// Who a verified client certificate says its holder is. The texts come from the certificate's
/// issuer; escape them before they reach a terminal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// The last common name of the subject, which is the most specific.
    pub subject_cn: Option<String>,
    /// The whole subject, as `C=DE, O=Example, CN=alice`.
    pub subject: String,
    /// DNS names (lowercase), e-mail addresses, URIs and IP addresses of subjectAltName, in the
    /// order of the certificate.
    pub sans: Vec<String>,
    /// SHA-256 of the DER.
    pub sha256: [u8; 32],
    /// Seconds since 1970 after which it is not valid.
    pub not_after: i64,
}

impl Identity {
    /// Of a certificate that was verified; `None` if it cannot be parsed.
    pub fn of(certificate: &CertificateDer<'_>) -> Option<Self> {
        let (_, parsed) = X509Certificate::from_der(certificate).ok()?;
        Some(Self {
            subject_cn: common_name(&parsed),
            subject: parsed.subject().to_string(),
            sans: names(&parsed).iter().filter_map(san).collect(),
            sha256: sha256(certificate),
            not_after: parsed.validity().not_after.timestamp(),
        })
    }

    /// Whether it has ended. A handshake checks this, but one that resumes an earlier session
    /// does not: the certificate may have ended since.
    pub fn expired(&self, now: UnixTime) -> bool {
        i64::try_from(now.as_secs()).is_ok_and(|now| now > self.not_after)
    }
}

fn san(name: &GeneralName<'_>) -> Option<String> {
    match name {
        GeneralName::DNSName(name) => Some(name.to_ascii_lowercase()),
        GeneralName::RFC822Name(text) | GeneralName::URI(text) => Some((*text).to_owned()),
        GeneralName::IPAddress(bytes) => address(bytes).map(|address| address.to_string()),
        _ => None,
    }
}

fn address(bytes: &[u8]) -> Option<IpAddr> {
    if let Ok(v4) = <[u8; 4]>::try_from(bytes) {
        return Some(v4.into());
    }
    <[u8; 16]>::try_from(bytes).ok().map(IpAddr::from)
}

/// The names of subjectAltName; none if there are none or they are malformed.
pub(super) fn names<'a>(parsed: &'a X509Certificate<'_>) -> &'a [GeneralName<'a>] {
    match parsed.subject_alternative_name() {
        Ok(Some(extension)) => &extension.value.general_names,
        _ => &[],
    }
}

/// The last common name of the subject.
pub(super) fn common_name(parsed: &X509Certificate<'_>) -> Option<String> {
    parsed.subject().iter_common_name().last()?.as_str().ok().map(str::to_owned)
}

/// SHA-256.
pub(super) fn sha256(bytes: &[u8]) -> [u8; 32] {
    Sha256::digest(bytes).into()
}
