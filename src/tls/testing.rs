//! What the tests of TLS share: an authority, its certificates, and handshakes in memory.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rcgen::{
    BasicConstraints, Certificate, CertificateParams, CertificateRevocationListParams,
    CertifiedIssuer, CrlIssuingDistributionPoint, DnType, IsCa, KeyIdMethod, KeyPair,
    KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, RevokedCertParams, SerialNumber, SignatureAlgorithm,
    date_time_ymd,
};
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, Error, ServerConfig, ServerConnection};
use x509_parser::prelude::{FromDer, X509Certificate};

use super::identity::sha256;
use super::store::now;
use crate::config::checked::KeyPair as Files;

pub const DAY: i64 = 24 * 3600;
/// The serial number of every intermediate.
pub const INTERMEDIATE: u64 = 99;

/// A time as rcgen takes it.
macro_rules! at {
    ($seconds:expr) => {
        date_time_ymd(1970, 1, 1) + Duration::from_secs(u64::try_from($seconds).unwrap())
    };
}

/// A certificate authority.
pub struct Authority(CertifiedIssuer<'static, KeyPair>);

/// A certificate with its key.
pub struct Made {
    pub certificate: Certificate,
    pub key: KeyPair,
    /// Certificates to send along.
    pub chain: Vec<CertificateDer<'static>>,
}

fn ca(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
}

impl Authority {
    pub fn new(name: &str) -> Self {
        let key = KeyPair::generate().unwrap();
        Self(CertifiedIssuer::self_signed(ca(name), key).unwrap())
    }

    pub fn intermediate(&self, name: &str) -> Self {
        let (key, mut params) = (KeyPair::generate().unwrap(), ca(name));
        params.serial_number = Some(SerialNumber::from(INTERMEDIATE));
        Self(CertifiedIssuer::signed_by(params, key, &self.0).unwrap())
    }

    pub fn pem(&self) -> String {
        self.0.pem()
    }

    pub fn der(&self) -> CertificateDer<'static> {
        self.0.der().clone()
    }

    /// A certificate for some names.
    pub fn issue(&self, names: &[&str]) -> Made {
        self.issue_with(names, &PKCS_ECDSA_P256_SHA256, |_| {})
    }

    pub fn issue_with(
        &self,
        names: &[&str],
        algorithm: &'static SignatureAlgorithm,
        change: impl FnOnce(&mut CertificateParams),
    ) -> Made {
        let names: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(names).unwrap();
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, "a leaf");
        valid(&mut params, -DAY, 90 * DAY);
        change(&mut params);
        let key = KeyPair::generate_for(algorithm).unwrap();
        let certificate = params.signed_by(&key, &self.0).unwrap();
        Made { certificate, key, chain: Vec::new() }
    }

    /// A revocation list that is current for `left` more seconds.
    pub fn crl(&self, revoked: &[u64], left: i64, part: Option<&str>) -> String {
        let revoked = revoked.iter().map(|serial| RevokedCertParams {
            serial_number: SerialNumber::from(*serial),
            revocation_time: at!(now() - DAY),
            reason_code: None,
            invalidity_date: None,
        });
        let issuing_distribution_point = part.map(|uri| CrlIssuingDistributionPoint {
            distribution_point: rcgen::CrlDistributionPoint { uris: vec![uri.to_owned()] },
            scope: None,
        });
        let params = CertificateRevocationListParams {
            this_update: at!(now() - 10 * DAY),
            next_update: at!(now() + left),
            crl_number: SerialNumber::from(1),
            issuing_distribution_point,
            revoked_certs: revoked.collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        params.signed_by(&self.0).unwrap().pem().unwrap()
    }
}

impl Made {
    pub fn chain_pem(&self) -> String {
        let mut pem = self.certificate.pem();
        for der in &self.chain {
            pem += &rcgen_pem(der);
        }
        pem
    }

    pub fn key_pem(&self) -> String {
        self.key.serialize_pem()
    }

    /// Writes `stem.pem` and `stem.key`.
    pub fn write(&self, dir: &Path, stem: &str) -> Files {
        let cert_file = write(dir, &format!("{stem}.pem"), self.chain_pem());
        let key_file = write(dir, &format!("{stem}.key"), self.key_pem());
        Files::files(cert_file, key_file)
    }

    pub fn sha256(&self) -> [u8; 32] {
        sha256(self.certificate.der())
    }

    pub fn pin(&self) -> [u8; 32] {
        pin(self.certificate.der())
    }
}

fn rcgen_pem(der: &[u8]) -> String {
    use base64::Engine;
    let text = base64::engine::general_purpose::STANDARD.encode(der);
    format!("-----BEGIN CERTIFICATE-----\n{text}\n-----END CERTIFICATE-----\n")
}

/// SHA-256 of the public key of a certificate, by another parser than the one under test.
pub fn pin(certificate: &[u8]) -> [u8; 32] {
    let (_, parsed) = X509Certificate::from_der(certificate).unwrap();
    sha256(parsed.public_key().raw)
}

pub fn write(dir: &Path, name: &str, text: impl AsRef<[u8]>) -> PathBuf {
    let path = dir.join(name);
    fs::write(&path, text).unwrap();
    path
}

/// Makes it valid between these seconds from now.
pub fn valid(params: &mut CertificateParams, from: i64, until: i64) {
    params.not_before = at!(now() + from);
    params.not_after = at!(now() + until);
}

/// How a handshake ended on either side.
pub struct Shaken {
    pub client: Result<(), Error>,
    pub server: Result<(), Error>,
    pub at_client: ClientConnection,
    pub at_server: ServerConnection,
}

impl Shaken {
    pub fn is_ok(&self) -> bool {
        self.client.is_ok() && self.server.is_ok()
    }

    /// SHA-256 of the certificate that the server showed.
    pub fn shown(&self) -> Option<[u8; 32]> {
        Some(sha256(self.at_client.peer_certificates()?.first()?))
    }
}

/// Shakes hands in memory, and passes on what follows the handshake (tickets, alerts).
pub fn shake(
    server: &Arc<ServerConfig>,
    client: &Arc<ClientConfig>,
    name: ServerName<'static>,
) -> Shaken {
    let mut shaken = Shaken {
        client: Ok(()),
        server: Ok(()),
        at_client: ClientConnection::new(Arc::clone(client), name).unwrap(),
        at_server: ServerConnection::new(Arc::clone(server)).unwrap(),
    };
    for _ in 0..10 {
        let mut bytes = Vec::new();
        while shaken.at_client.wants_write() {
            shaken.at_client.write_tls(&mut bytes).unwrap();
        }
        let mut left = &bytes[..];
        while !left.is_empty() && shaken.server.is_ok() {
            shaken.at_server.read_tls(&mut left).unwrap();
            shaken.server = shaken.at_server.process_new_packets().map(drop);
        }
        let mut bytes = Vec::new();
        while shaken.at_server.wants_write() {
            shaken.at_server.write_tls(&mut bytes).unwrap();
        }
        let mut left = &bytes[..];
        while !left.is_empty() && shaken.client.is_ok() {
            shaken.at_client.read_tls(&mut left).unwrap();
            shaken.client = shaken.at_client.process_new_packets().map(drop);
        }
    }
    shaken
}
