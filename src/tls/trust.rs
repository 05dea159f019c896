//! Whom to trust: client certificates, and the certificates of targets.
//!
//! Authorities are trusted as keys with a name, as everywhere in webpki: the end of an authority's
//! own certificate is a warning when it is read, not a refusal.

use std::collections::{BTreeSet, HashSet};
use std::fmt;
use std::path::Path;
use std::sync::{Arc, OnceLock};

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::verify_server_cert_signed_by_trust_anchor as verify_chain;
use rustls::crypto::{verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{
    CertificateDer, CertificateRevocationListDer, ServerName, TrustAnchor, UnixTime,
};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{ParsedCertificate, WebPkiClientVerifier};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error as TlsError, OtherError,
    RootCertStore, SignatureScheme,
};
use sha2::{Digest, Sha256};
use x509_parser::oid_registry::OID_X509_EXT_ISSUER_DISTRIBUTION_POINT;
use x509_parser::prelude::{CertificateRevocationList, FromDer, X509Certificate};

use super::identity::sha256;
use super::pem;
use super::problem::Problem;
use super::provider::{algorithms, provider};
use crate::config::checked::{ClientAuth, Pem, UpstreamTls};
use crate::config::limits;

/// What the files of certificates of authorities hold.
#[derive(Debug, Clone)]
pub struct Authorities {
    certificates: Vec<CertificateDer<'static>>,
    /// SHA-256 over the certificates.
    pub(super) digest: [u8; 32],
}

impl Authorities {
    /// Every certificate of a PEM file. One that cannot be an authority is an error: whoever names
    /// a file means all of it.
    pub(super) fn read(source: &Pem) -> Result<Self, Problem> {
        let path = source.place();
        let bytes = pem::bytes(source, limits::CERTIFICATE_FILE_BYTES_MAX)?;
        let certificates = pem::certificates(path, &bytes)?;
        let mut probe = RootCertStore::empty();
        let mut digest = Sha256::new();
        for (at, der) in certificates.iter().enumerate() {
            probe.add(der.clone()).map_err(|error| {
                let what = format!("certificate {} of the file is malformed: {error}", at + 1);
                Problem::error(path, what)
            })?;
            digest.update(sha256(der));
        }
        Ok(Self { certificates, digest: digest.finalize().into() })
    }

    /// What is odd about them now.
    pub(super) fn remarks(&self, path: &Path, now: i64, problems: &mut Vec<Problem>) {
        for der in &self.certificates {
            let Ok((_, parsed)) = X509Certificate::from_der(der) else { continue };
            if parsed.validity().not_after.timestamp() < now {
                let what = format!("the authority `{}` has expired", parsed.subject());
                problems.push(
                    Problem::warn(path, what)
                        .hint("what it signed is still trusted; remove it or put its successor"),
                );
            }
        }
    }

    /// The authorities of several files.
    pub(super) fn roots<'a>(files: impl IntoIterator<Item = &'a Self>) -> Arc<RootCertStore> {
        let mut roots = RootCertStore::empty();
        for file in files {
            roots.add_parsable_certificates(file.certificates.iter().cloned());
        }
        Arc::new(roots)
    }
}

/// Certificates of clients that are accepted by themselves.
#[derive(Debug, Clone)]
pub struct Leaves {
    /// SHA-256 of each, sorted.
    pub(super) digests: BTreeSet<[u8; 32]>,
}

impl Leaves {
    /// The first certificate of a PEM text, and those behind it that are no authority: what issued
    /// the first one often stands behind it, and whoever has its key is not meant.
    pub(super) fn read(source: &Pem) -> Result<Self, Problem> {
        let path = source.place();
        let bytes = pem::bytes(source, limits::CERTIFICATE_FILE_BYTES_MAX)?;
        let mut digests = BTreeSet::new();
        for (at, der) in pem::certificates(path, &bytes)?.iter().enumerate() {
            let (_, parsed) = X509Certificate::from_der(der).map_err(|error| {
                let what = format!("certificate {} of the file is malformed: {error}", at + 1);
                Problem::error(path, what)
            })?;
            if at == 0 || !parsed.is_ca() {
                digests.insert(sha256(der));
            }
        }
        Ok(Self { digests })
    }
}

/// Whether a PEM text holds certificates of authorities.
///
/// # Errors
/// Why not.
pub fn check_authorities(source: &Pem) -> Result<(), Problem> {
    Authorities::read(source).map(drop)
}

/// Whether a PEM text holds certificates.
///
/// # Errors
/// Why not.
pub fn check_leaves(source: &Pem) -> Result<(), Problem> {
    Leaves::read(source).map(drop)
}

/// Lets clients in that show one of these certificates while it is valid, and those that the `chain`
/// vouches for.
#[derive(Debug)]
pub(super) struct Listed {
    leaves: BTreeSet<[u8; 32]>,
    chain: Option<Arc<dyn ClientCertVerifier>>,
    mandatory: bool,
}

impl Listed {
    /// With `Need`, nobody without a certificate is let in.
    pub(super) fn verifier(
        leaves: BTreeSet<[u8; 32]>,
        chain: Option<Arc<dyn ClientCertVerifier>>,
        auth: ClientAuth,
    ) -> Arc<dyn ClientCertVerifier> {
        Arc::new(Self { leaves, chain, mandatory: auth == ClientAuth::Need })
    }
}

impl ClientCertVerifier for Listed {
    fn client_auth_mandatory(&self) -> bool {
        self.mandatory
    }

    // Those of authorities would keep clients from showing a certificate of another one.
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, TlsError> {
        if !self.leaves.contains(&sha256(leaf)) {
            return match &self.chain {
                Some(chain) => chain.verify_client_cert(leaf, intermediates, now),
                None => Err(TlsError::InvalidCertificate(CertificateError::UnknownIssuer)),
            };
        }
        let (_, parsed) = X509Certificate::from_der(leaf)
            .map_err(|_| TlsError::InvalidCertificate(CertificateError::BadEncoding))?;
        let validity = parsed.validity();
        let now = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
        let fault = if now < validity.not_before.timestamp() {
            CertificateError::NotValidYet
        } else if now > validity.not_after.timestamp() {
            CertificateError::Expired
        } else {
            return Ok(ClientCertVerified::assertion());
        };
        Err(TlsError::InvalidCertificate(fault))
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, TlsError> {
        verify_tls12_signature(message, leaf, signed, &algorithms())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, TlsError> {
        verify_tls13_signature(message, leaf, signed, &algorithms())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        algorithms().supported_schemes()
    }
}

/// The authorities that the system trusts, read when they are first asked for and then kept until
/// the process ends.
///
/// # Errors
/// The system has none.
pub fn system_roots() -> Result<Arc<RootCertStore>, Problem> {
    static ROOTS: OnceLock<Result<Arc<RootCertStore>, Problem>> = OnceLock::new();
    let load = || {
        let found = rustls_native_certs::load_native_certs();
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(found.certs);
        if roots.is_empty() {
            let why = found.errors.first().map(|error| format!(": {error}")).unwrap_or_default();
            let what = format!("this system has no trusted authorities{why}");
            return Err(Problem::error(Path::new(""), what)
                .hint("install ca-certificates, or name a `caFile` for the target"));
        }
        Ok(Arc::new(roots))
    };
    ROOTS.get_or_init(load).clone()
}

/// What a file of revocation lists holds.
#[derive(Debug, Clone)]
pub struct RevocationLists {
    lists: Vec<CertificateRevocationListDer<'static>>,
    /// The issuers' names, in DER.
    issuers: Vec<Vec<u8>>,
    /// The first `nextUpdate`, seconds since 1970.
    next_update: Option<i64>,
    /// A list is only for a part of what its issuer issued.
    partial: bool,
    /// SHA-256 over the lists.
    pub(super) digest: [u8; 32],
}

impl RevocationLists {
    /// Every list of a PEM file, or the one of a DER file.
    pub(super) fn read(path: &Path) -> Result<Self, Problem> {
        let bytes = pem::read(path, limits::CRL_FILE_BYTES_MAX)?;
        let lists = pem::crls(path, bytes)?;
        let (mut issuers, mut next_update, mut partial) = (Vec::new(), None, false);
        let mut digest = Sha256::new();
        for (at, der) in lists.iter().enumerate() {
            let (_, parsed) = CertificateRevocationList::from_der(der).map_err(|error| {
                let what = format!("revocation list {} of the file is malformed: {error}", at + 1);
                Problem::error(path, what)
            })?;
            issuers.push(parsed.issuer().as_raw().to_vec());
            let next = parsed.next_update().map(|time| time.timestamp());
            next_update = next_update.into_iter().chain(next).min();
            partial |= parsed
                .extensions()
                .iter()
                .any(|extension| extension.oid == OID_X509_EXT_ISSUER_DISTRIBUTION_POINT);
            digest.update(sha256(der));
        }
        Ok(Self { lists, issuers, next_update, partial, digest: digest.finalize().into() })
    }

    /// What is odd about them now.
    pub(super) fn remarks(&self, path: &Path, now: i64, problems: &mut Vec<Problem>) {
        if self.next_update.is_some_and(|next| next < now) {
            let what = "the revocation list is out of date, so the certificates of its issuer are \
                        refused";
            problems.push(Problem::warn(path, what).hint("fetch the current list"));
        }
    }
}

/// How the certificates of clients are verified; `None` if they are not asked for one.
///
/// `Want` lets a client without a certificate in, but not one whose certificate is bad.
///
/// Revocation is checked for every certificate of the chain. One whose issuer has no list among
/// `crls` passes: lists are given for the authorities that publish them. One whose issuer has a list
/// must be settled by it, so a list that is only for other parts of the issuer's certificates
/// refuses. A list past its `nextUpdate` refuses too: nobody can tell any more whom it would name,
/// and an access control that wears off in silence is worse than one that is noticed.
///
/// # Errors
/// There is no authority, or a list cannot be used.
pub fn client_verifier(
    auth: ClientAuth,
    authorities: Arc<RootCertStore>,
    crls: &[&RevocationLists],
) -> Result<Option<Arc<dyn ClientCertVerifier>>, Problem> {
    let hints: usize = authorities.subjects().iter().map(|name| name.as_ref().len()).sum();
    let builder = || {
        let lists = crls.iter().flat_map(|file| file.lists.iter().cloned());
        let mut builder =
            WebPkiClientVerifier::builder_with_provider(Arc::clone(&authorities), provider())
                .with_crls(lists)
                .enforce_revocation_expiration();
        if auth == ClientAuth::Want {
            builder = builder.allow_unauthenticated();
        }
        if hints > limits::AUTHORITY_HINT_BYTES_MAX {
            builder = builder.clear_root_hint_subjects();
        }
        builder
    };
    let unusable = |error| {
        Problem::error(Path::new(""), format!("client certificates cannot be verified: {error}"))
            .hint(
                "`clientCaFiles` must name the authorities, `clientCrlFiles` full lists of theirs",
            )
    };
    if auth == ClientAuth::None {
        return Ok(None);
    }
    let lenient = builder().allow_unknown_revocation_status().build().map_err(unusable)?;
    if !crls.iter().any(|file| file.partial) {
        return Ok(Some(lenient));
    }
    let settled = builder().only_check_end_entity_revocation().build().map_err(unusable)?;
    let issuers = crls.iter().flat_map(|file| file.issuers.iter().cloned()).collect();
    Ok(Some(Arc::new(Settled { lenient, settled, issuers })))
}

/// A client verifier for lists of which some are partial: webpki counts a certificate that no list
/// settles as unknown even if its issuer has one.
#[derive(Debug)]
struct Settled {
    /// Lets unknown certificates pass.
    lenient: Arc<dyn ClientCertVerifier>,
    /// Does not.
    settled: Arc<dyn ClientCertVerifier>,
    /// The issuers that have lists.
    issuers: HashSet<Vec<u8>>,
}

impl ClientCertVerifier for Settled {
    fn client_auth_mandatory(&self) -> bool {
        self.lenient.client_auth_mandatory()
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.lenient.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, TlsError> {
        let (_, parsed) = X509Certificate::from_der(leaf)
            .map_err(|_| TlsError::InvalidCertificate(CertificateError::BadEncoding))?;
        let listed = self.issuers.contains(parsed.issuer().as_raw());
        let valid = self.lenient.verify_client_cert(leaf, intermediates, now)?;
        match listed {
            true => self.settled.verify_client_cert(leaf, intermediates, now),
            false => Ok(valid),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, TlsError> {
        self.lenient.verify_tls12_signature(message, leaf, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, TlsError> {
        self.lenient.verify_tls13_signature(message, leaf, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.lenient.supported_verify_schemes()
    }
}

/// How the certificate of a target is verified: by its chain and name, and by the pins besides.
/// `roots` are the authorities of its `caFile`, else the system's.
///
/// A pin is met by the key of the leaf, of a trusted authority that the chain leads to, or of an
/// intermediate by way of which it verifiably leads there. A certificate that a peer merely adds to
/// what it sends meets none, since nothing of the leaf's chain was signed by its key.
///
/// With `pin_only` the leaf's key must be pinned, and chain, name and dates are not looked at. With
/// `insecure` nothing is but the handshake's signature; pins given along with it still hold, as with
/// `pin_only`.
///
/// # Errors
/// There is no authority, or `pin_only` without a pin.
pub fn server_verifier(
    upstream: &UpstreamTls,
    roots: impl FnOnce() -> Result<Arc<RootCertStore>, Problem>,
) -> Result<Arc<dyn ServerCertVerifier>, Problem> {
    let pins = Pins(upstream.pins.clone());
    if upstream.pin_only || upstream.insecure {
        if upstream.pin_only && pins.0.is_empty() {
            return Err(Problem::error(Path::new(""), "`pinOnly` needs a pinned public key"));
        }
        return Ok(Arc::new(Unchained { pins }));
    }
    let roots = roots()?;
    let chain = WebPkiServerVerifier::builder_with_provider(Arc::clone(&roots), provider())
        .build()
        .map_err(|error| {
            let what = format!("the target's certificate cannot be verified: {error}");
            Problem::error(Path::new(""), what)
        })?;
    if pins.0.is_empty() {
        return Ok(chain);
    }
    let anchors = roots.roots.iter().filter(|anchor| pins.has(&anchor_spki(anchor)));
    let anchors = anchors.cloned().collect();
    Ok(Arc::new(Pinned { chain, pins, anchors }))
}

/// SHA-256 of public keys (SPKI) of which one must be met.
#[derive(Debug)]
struct Pins(Vec<[u8; 32]>);

impl Pins {
    fn has(&self, spki: &[u8]) -> bool {
        self.0.contains(&sha256(spki))
    }

    fn has_key_of(&self, certificate: &ParsedCertificate<'_>) -> bool {
        self.has(&certificate.subject_public_key_info())
    }
}

/// The SPKI of a trust anchor, which keeps it without its outermost tag and length.
fn anchor_spki(anchor: &TrustAnchor<'_>) -> Vec<u8> {
    let value = anchor.subject_public_key_info.as_ref();
    let length = value.len().to_be_bytes();
    let significant: Vec<u8> = length.iter().copied().skip_while(|byte| *byte == 0).collect();
    let mut der = vec![0x30];
    if value.len() >= 0x80 {
        der.push(0x80 | u8::try_from(significant.len()).unwrap_or(0x7f));
    }
    der.extend(significant);
    der.extend(value);
    der
}

/// Why a certificate was refused whose chain is good.
#[derive(Debug)]
struct NotPinned;

impl fmt::Display for NotPinned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("no public key of the verified chain is pinned")
    }
}

impl std::error::Error for NotPinned {}

fn not_pinned() -> TlsError {
    TlsError::InvalidCertificate(CertificateError::Other(OtherError(Arc::new(NotPinned))))
}

/// Chain, name and a pin.
#[derive(Debug)]
struct Pinned {
    chain: Arc<WebPkiServerVerifier>,
    pins: Pins,
    /// The trusted authorities whose key is pinned.
    anchors: Vec<TrustAnchor<'static>>,
}

impl Pinned {
    /// Whether a pinned key is in a chain that leads from the leaf to a trusted authority. The leaf
    /// has been verified to lead to some.
    fn is_met(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<bool, TlsError> {
        let leaf = ParsedCertificate::try_from(leaf)?;
        if self.pins.has_key_of(&leaf) {
            return Ok(true);
        }
        // Only what leads to a pinned key verifies against these.
        let mut roots = RootCertStore { roots: self.anchors.clone() };
        for intermediate in intermediates {
            if ParsedCertificate::try_from(intermediate)
                .is_ok_and(|parsed| self.pins.has_key_of(&parsed))
            {
                roots.add_parsable_certificates([intermediate.clone()]);
            }
        }
        Ok(verify_chain(&leaf, &roots, intermediates, now, algorithms().all).is_ok())
    }
}

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, TlsError> {
        let valid = self.chain.verify_server_cert(leaf, intermediates, name, ocsp, now)?;
        match self.is_met(leaf, intermediates, now)? {
            true => Ok(valid),
            false => Err(not_pinned()),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, TlsError> {
        self.chain.verify_tls12_signature(message, leaf, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, TlsError> {
        self.chain.verify_tls13_signature(message, leaf, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.chain.supported_verify_schemes()
    }
}

/// No chain: the leaf's key is pinned, or nothing is asked of it but to sign the handshake.
#[derive(Debug)]
struct Unchained {
    pins: Pins,
}

impl ServerCertVerifier for Unchained {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, TlsError> {
        let leaf = ParsedCertificate::try_from(leaf)?;
        match self.pins.0.is_empty() || self.pins.has_key_of(&leaf) {
            true => Ok(ServerCertVerified::assertion()),
            false => Err(not_pinned()),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, TlsError> {
        verify_tls12_signature(message, leaf, signed, &algorithms())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, TlsError> {
        verify_tls13_signature(message, leaf, signed, &algorithms())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        algorithms().supported_schemes()
    }
}
