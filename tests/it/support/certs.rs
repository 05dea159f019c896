//! Authorities and certificates, made when a test starts, and the files they stand in.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rcgen::{
    BasicConstraints, Certificate, CertificateParams, CertificateRevocationListParams,
    CertifiedIssuer, DnType, IsCa, KeyIdMethod, KeyPair, KeyUsagePurpose, PublicKeyData,
    RevokedCertParams, SerialNumber, date_time_ymd,
};
use rustls::RootCertStore;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tempfile::TempDir;

/// Somebody who issues certificates.
pub struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
}

impl Authority {
    pub fn new(name: &str) -> Authority {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, name);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = KeyPair::generate().unwrap();
        Authority { issuer: CertifiedIssuer::self_signed(params, key).unwrap() }
    }

    pub fn pem(&self) -> String {
        self.issuer.pem()
    }

    /// A certificate for these names, with an ECDSA key; the first is its common name too.
    pub fn issue(&self, names: &[&str]) -> Issued {
        self.issue_with(names, KeyPair::generate().unwrap(), |_| ())
    }

    /// As [`Authority::issue`], with an RSA key.
    pub fn issue_rsa(&self, names: &[&str]) -> Issued {
        let key =
            KeyPair::generate_rsa_for(&rcgen::PKCS_RSA_SHA256, rcgen::RsaKeySize::_2048).unwrap();
        self.issue_with(names, key, |_| ())
    }

    /// As [`Authority::issue`], valid only until so long after now.
    pub fn issue_until(&self, names: &[&str], left: Duration) -> Issued {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        let end = date_time_ymd(1970, 1, 1) + (now + left);
        self.issue_with(names, KeyPair::generate().unwrap(), |params| params.not_after = end)
    }

    /// As [`Authority::issue`], but it has expired.
    pub fn issue_expired(&self, names: &[&str]) -> Issued {
        let adjust = |params: &mut CertificateParams| params.not_after = date_time_ymd(2020, 1, 1);
        self.issue_with(names, KeyPair::generate().unwrap(), adjust)
    }

    pub fn issue_with(
        &self,
        names: &[&str],
        key: KeyPair,
        adjust: impl FnOnce(&mut CertificateParams),
    ) -> Issued {
        let sans: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(sans).unwrap();
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, names[0]);
        let digest = Sha256::digest(key.der_bytes());
        let serial = SerialNumber::from_slice(&digest[..8]);
        params.serial_number = Some(serial.clone());
        adjust(&mut params);
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        Issued { certificate, key, serial }
    }

    /// A list that revokes these.
    pub fn crl(&self, revoked: &[&Issued]) -> String {
        let revoked = revoked.iter().map(|issued| RevokedCertParams {
            serial_number: issued.serial.clone(),
            revocation_time: date_time_ymd(2024, 1, 1),
            reason_code: None,
            invalidity_date: None,
        });
        let params = CertificateRevocationListParams {
            this_update: date_time_ymd(2024, 1, 1),
            next_update: date_time_ymd(2124, 1, 1),
            crl_number: SerialNumber::from(1),
            issuing_distribution_point: None,
            revoked_certs: revoked.collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        params.signed_by(&self.issuer).unwrap().pem().unwrap()
    }

    /// What a peer that trusts this authority has.
    pub fn roots(&self) -> Arc<RootCertStore> {
        let mut roots = RootCertStore::empty();
        roots.add(self.issuer.der().clone()).unwrap();
        Arc::new(roots)
    }
}

/// A certificate and its key.
pub struct Issued {
    certificate: Certificate,
    key: KeyPair,
    serial: SerialNumber,
}

impl Issued {
    pub fn der(&self) -> &CertificateDer<'static> {
        self.certificate.der()
    }

    pub fn cert_pem(&self) -> String {
        self.certificate.pem()
    }

    pub fn key_pem(&self) -> String {
        self.key.serialize_pem()
    }

    pub fn private_key(&self) -> PrivateKeyDer<'static> {
        PrivatePkcs8KeyDer::from(self.key.serialize_der()).into()
    }

    /// SHA-256 of the certificate, in hex.
    pub fn sha256(&self) -> String {
        super::data::Digest::of(self.der()).to_string()
    }

    /// SHA-256 of the public key, in hex: a pin.
    pub fn pin(&self) -> String {
        super::data::Digest::of(&self.key.subject_public_key_info()).to_string()
    }
}

/// A directory of files for one test.
pub struct Files(TempDir);

impl Files {
    pub fn new() -> Files {
        Files(tempfile::Builder::new().prefix("thalweg-tls-").tempdir().expect("directory"))
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Writes a file; returns its path for a configuration.
    pub fn put(&self, name: &str, text: &str) -> String {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap_or(Path::new("/"))).unwrap();
        fs::write(&path, text).unwrap();
        path.to_string_lossy().into_owned()
    }

    /// Writes `name.pem` and `name.key`; returns `{ certFile, keyFile }`.
    pub fn pair(&self, name: &str, issued: &Issued) -> Value {
        let cert = self.put(&format!("{name}.pem"), &issued.cert_pem());
        let key = self.put(&format!("{name}.key"), &issued.key_pem());
        json!({ "certFile": cert, "keyFile": key })
    }
}
