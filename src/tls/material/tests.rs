use std::fs;

use rcgen::{ExtendedKeyUsagePurpose, PKCS_ECDSA_P256_SHA256, SerialNumber};
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use rustls::sign::CertifiedKey;
use rustls::version::{TLS12, TLS13};
use rustls::{CertificateError, Error, HandshakeKind, ProtocolVersion};

use super::*;
use crate::config::checked::Crypto;
use crate::diagnostics::Severity;
use crate::tls::identity::Identity;
use crate::tls::provider::provider;
use crate::tls::testing::{Authority, DAY, INTERMEDIATE, Made, Shaken, pin, shake, valid, write};

mod named;

/// A directory with an authority in `ca.pem`, and a server of it in `server.pem`.
struct Room {
    dir: tempfile::TempDir,
    ca: Authority,
    server: Made,
}

impl Room {
    fn new() -> Self {
        let (dir, ca) = (tempfile::tempdir().unwrap(), Authority::new("the authority"));
        let server = ca.issue(&["server.test", "192.0.2.1"]);
        write(dir.path(), "ca.pem", ca.pem());
        server.write(dir.path(), "server");
        Self { dir, ca, server }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn sources(&self) -> Vec<CertificateSource> {
        let (cert_file, key_file) = (self.path("server.pem"), self.path("server.key"));
        vec![CertificateSource::Pair(KeyPair::files(cert_file, key_file))]
    }

    fn termination(&self, client_auth: ClientAuth) -> Termination {
        Termination {
            certificates: Vec::new(),
            client_auth,
            client_ca: vec![self.path("ca.pem").into()],
            client_certs: Vec::new(),
            crypto: Crypto::default(),
            client_crl_files: Vec::new(),
            alpn: Vec::new(),
            strict: false,
        }
    }

    fn upstream(&self) -> UpstreamTls {
        UpstreamTls { ca: Some(self.path("ca.pem").into()), ..UpstreamTls::to("server.test") }
    }

    fn load(&self, termination: &Termination, upstream: &UpstreamTls) -> Material {
        let (material, problems) = Material::load(
            &self.sources(),
            [termination].into_iter(),
            [upstream].into_iter(),
            None,
        );
        assert_eq!(problems, [], "{problems:?}");
        material
    }

    /// A target speaks to a service.
    fn shake(&self, termination: &Termination, upstream: &UpstreamTls) -> Shaken {
        let material = self.load(termination, upstream);
        let server = material.server_config(termination, ticketer().unwrap()).unwrap();
        let (client, name) = material.client_config(upstream).unwrap();
        shake(&server, &client, name)
    }

    /// A client that shows `made` speaks to a service.
    fn shown(&self, termination: &Termination, made: Option<&Made>) -> Shaken {
        let upstream = UpstreamTls {
            client_certificate: made.map(|made| made.write(self.dir.path(), "client")),
            ..self.upstream()
        };
        self.shake(termination, &upstream)
    }

    /// A target that serves this chain is spoken to.
    fn served(&self, upstream: &UpstreamTls, made: &Made) -> Result<(), Error> {
        let material = self.load(&self.termination(ClientAuth::None), upstream);
        let chain: Vec<CertificateDer<'static>> =
            [made.certificate.der()].into_iter().chain(&made.chain).cloned().collect();
        let key = PrivatePkcs8KeyDer::from(made.key.serialize_der()).into();
        let key = provider().key_provider.load_private_key(key).unwrap();
        let resolver = SingleCertAndKey::from(CertifiedKey::new(chain, key));
        let server = ServerConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(resolver));
        let (client, name) = material.client_config(upstream).unwrap();
        shake(&Arc::new(server), &client, name).client
    }
}

fn client(ca: &Authority, serial: u64) -> Made {
    ca.issue_with(&["client.test"], &PKCS_ECDSA_P256_SHA256, |params| {
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        params.serial_number = Some(SerialNumber::from(serial));
    })
}

fn refused(result: &Result<(), Error>) -> &CertificateError {
    match result {
        Err(Error::InvalidCertificate(why)) => why,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_service_and_a_target_agree_on_tls_1_3_and_alpn() {
    let room = Room::new();
    let (mut termination, upstream) = (room.termination(ClientAuth::None), room.upstream());
    termination.alpn = vec!["one".into(), "two".into()];
    let material = room.load(&termination, &upstream);
    let server = material.server_config(&termination, ticketer().unwrap()).unwrap();
    let (client, name) = material.client_config(&upstream).unwrap();
    assert!(shake(&server, &client, name.clone()).is_ok(), "a client need not offer any");
    let mut client = (*client).clone();
    client.alpn_protocols = vec![b"two".to_vec(), b"one".to_vec()];
    let shaken = shake(&server, &Arc::new(client), name);
    assert!(shaken.is_ok(), "{:?} {:?}", shaken.client, shaken.server);
    assert_eq!(shaken.at_server.alpn_protocol(), Some(&b"one"[..]), "the service's order");
    assert_eq!(shaken.at_client.protocol_version(), Some(ProtocolVersion::TLSv1_3));
    assert_eq!(shaken.shown(), Some(room.server.sha256()));
    // The secrets can be had, which the records need.
    shaken.at_server.dangerous_extract_secrets().unwrap();
    shaken.at_client.dangerous_extract_secrets().unwrap();
}

#[test]
fn tls_1_2_works_too_and_resumes_by_ticket() {
    let room = Room::new();
    let (termination, upstream) = (room.termination(ClientAuth::None), room.upstream());
    let material = room.load(&termination, &upstream);
    let server = material.server_config(&termination, ticketer().unwrap()).unwrap();
    let (client, name) = material.client_config(&upstream).unwrap();
    let old = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&TLS12])
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(
            trust::server_verifier(&UpstreamTls { insecure: true, ..upstream }, || {
                trust::system_roots()
            })
            .unwrap(),
        )
        .with_no_client_auth();
    for client in [client, Arc::new(old)] {
        let first = shake(&server, &client, name.clone());
        assert!(first.is_ok(), "{:?} {:?}", first.client, first.server);
        assert_eq!(first.at_server.handshake_kind(), Some(HandshakeKind::Full));
        let second = shake(&server, &client, name.clone());
        assert_eq!(second.at_server.handshake_kind(), Some(HandshakeKind::Resumed));
    }
}

#[test]
fn a_strict_service_refuses_names_that_no_certificate_has() {
    let room = Room::new();
    let mut termination = room.termination(ClientAuth::None);
    let other = UpstreamTls { server_name: "other.test".into(), insecure: true, ..room.upstream() };
    let shaken = room.shake(&termination, &other);
    assert_eq!((shaken.is_ok(), shaken.shown()), (true, Some(room.server.sha256())));
    termination.strict = true;
    assert!(room.shake(&termination, &other).server.is_err());
    assert!(room.shake(&termination, &room.upstream()).is_ok());
    // An address is no name that is sent, so it gets the default.
    let address = UpstreamTls { server_name: "192.0.2.1".into(), ..room.upstream() };
    assert!(room.shake(&termination, &address).is_ok());
}

#[test]
fn the_name_of_a_target_is_verified_also_if_it_is_an_address() {
    let room = Room::new();
    let termination = room.termination(ClientAuth::None);
    for (name, good) in
        [("server.test", true), ("192.0.2.1", true), ("192.0.2.2", false), ("other.test", false)]
    {
        let upstream = UpstreamTls { server_name: name.into(), ..room.upstream() };
        let shaken = room.shake(&termination, &upstream);
        assert_eq!(shaken.is_ok(), good, "{name}");
        assert_eq!(
            shaken.at_server.server_name().is_some(),
            name.ends_with(".test"),
            "{name}: an address is not sent"
        );
    }
    let bad = UpstreamTls { server_name: "not a name".into(), ..room.upstream() };
    let problem = room.load(&termination, &bad).client_config(&bad).unwrap_err();
    assert!(problem.to_string().starts_with("`not a name` is no name a server can have; set"));
}

#[test]
fn want_takes_clients_without_a_certificate_and_need_does_not() {
    let room = Room::new();
    let (want, need) = (room.termination(ClientAuth::Want), room.termination(ClientAuth::Need));
    let good = client(&room.ca, 1);
    let stranger = client(&Authority::new("the authority"), 1);
    let expired = room.ca.issue_with(&["client.test"], &PKCS_ECDSA_P256_SHA256, |params| {
        valid(params, -9 * DAY, -DAY);
    });
    let server_only = room.ca.issue_with(&["client.test"], &PKCS_ECDSA_P256_SHA256, |params| {
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    });
    assert!(room.shown(&want, None).is_ok());
    assert!(room.shown(&want, None).at_server.peer_certificates().is_none());
    assert_eq!(room.shown(&need, None).server, Err(Error::NoCertificatesPresented));
    for termination in [&want, &need] {
        let shaken = room.shown(termination, Some(&good));
        assert!(shaken.is_ok(), "{:?}", shaken.server);
        let peer = &shaken.at_server.peer_certificates().unwrap()[0];
        assert_eq!(Identity::of(peer).unwrap().sha256, good.sha256());
        for bad in [&stranger, &server_only] {
            assert!(room.shown(termination, Some(bad)).server.is_err());
        }
    }
    // One that has expired is warned about where it is shown, and refused.
    let files = expired.write(room.dir.path(), "expired");
    let upstream = UpstreamTls { client_certificate: Some(files), ..room.upstream() };
    let (material, problems) =
        Material::load(&room.sources(), [&want].into_iter(), [&upstream].into_iter(), None);
    assert_eq!((problems.len(), problems[0].severity), (1, Severity::Warn), "{problems:?}");
    let server = material.server_config(&want, ticketer().unwrap()).unwrap();
    let (client, name) = material.client_config(&upstream).unwrap();
    let shaken = shake(&server, &client, name);
    assert!(matches!(refused(&shaken.server), CertificateError::ExpiredContext { .. }));
    // A service that asks for none gets none.
    assert!(room.shown(&room.termination(ClientAuth::None), Some(&good)).is_ok());
}

#[test]
fn a_revocation_list_revokes() {
    let room = Room::new();
    let revoking = |ca: &Authority, left, part| {
        write(room.dir.path(), "crl.pem", ca.crl(&[7], left, part));
        let mut termination = room.termination(ClientAuth::Want);
        termination.client_crl_files = vec![room.path("crl.pem")];
        termination
    };
    let (good, bad) = (client(&room.ca, 1), client(&room.ca, 7));
    let current = revoking(&room.ca, 10 * DAY, None);
    assert!(room.shown(&current, Some(&good)).is_ok());
    assert!(room.shown(&current, None).is_ok());
    assert_eq!(*refused(&room.shown(&current, Some(&bad)).server), CertificateError::Revoked);

    // A list of another issuer says nothing about these.
    let foreign = revoking(&Authority::new("somebody else"), 10 * DAY, None);
    assert!(room.shown(&foreign, Some(&good)).is_ok());
    assert!(room.shown(&foreign, Some(&bad)).is_ok());

    // One for a part of its issuer's certificates refuses the others; this one names no part.
    let parted = room.ca.issue_with(&["client.test"], &PKCS_ECDSA_P256_SHA256, |params| {
        let uris = vec!["http://crl.test/2".to_owned()];
        params.crl_distribution_points = vec![rcgen::CrlDistributionPoint { uris }];
    });
    for (uri, accepted) in [("http://crl.test/2", true), ("http://crl.test/1", false)] {
        let partial = revoking(&room.ca, 10 * DAY, Some(uri));
        let shaken = room.shown(&partial, Some(&parted));
        assert_eq!(shaken.is_ok(), accepted, "{uri}: {:?}", shaken.server);
        assert_eq!(*refused(&room.shown(&partial, Some(&bad)).server), CertificateError::Revoked);
    }

    // In DER it is the same.
    let crl =
        rustls::pki_types::pem::PemObject::from_pem_slice(room.ca.crl(&[7], DAY, None).as_bytes());
    let crl: rustls::pki_types::CertificateRevocationListDer<'_> = crl.unwrap();
    write(room.dir.path(), "crl.pem", &crl);
    assert_eq!(*refused(&room.shown(&current, Some(&bad)).server), CertificateError::Revoked);
}

#[test]
fn a_revocation_list_that_is_out_of_date_refuses_and_is_warned_about() {
    let room = Room::new();
    write(room.dir.path(), "crl.pem", room.ca.crl(&[7], -DAY, None));
    let mut termination = room.termination(ClientAuth::Want);
    termination.client_crl_files = vec![room.path("crl.pem")];
    let files = client(&room.ca, 1).write(room.dir.path(), "client");
    let upstream = UpstreamTls { client_certificate: Some(files), ..room.upstream() };
    let (material, problems) =
        Material::load(&room.sources(), [&termination].into_iter(), [&upstream].into_iter(), None);
    assert_eq!((problems.len(), problems[0].severity), (1, Severity::Warn), "{problems:?}");
    let server = material.server_config(&termination, ticketer().unwrap()).unwrap();
    let (client, name) = material.client_config(&upstream).unwrap();
    let shaken = shake(&server, &client, name);
    let why = refused(&shaken.server);
    assert!(matches!(why, CertificateError::ExpiredRevocationListContext { .. }), "{why:?}");
}

#[test]
fn an_intermediate_may_be_revoked_too() {
    let room = Room::new();
    let middle = room.ca.intermediate("middle");
    let mut made = client(&middle, 1);
    made.chain = vec![middle.der()];
    let mut termination = room.termination(ClientAuth::Need);
    termination.client_crl_files = vec![room.path("crl.pem")];
    write(room.dir.path(), "crl.pem", room.ca.crl(&[1], DAY, None));
    assert!(room.shown(&termination, Some(&made)).is_ok(), "1 is another issuer's");
    write(room.dir.path(), "crl.pem", room.ca.crl(&[INTERMEDIATE], DAY, None));
    let shaken = room.shown(&termination, Some(&made));
    assert_eq!(*refused(&shaken.server), CertificateError::Revoked);
}

#[test]
fn a_pin_holds_besides_the_chain() {
    let room = Room::new();
    let middle = room.ca.intermediate("middle");
    let mut made = middle.issue(&["server.test"]);
    made.chain = vec![middle.der()];
    let pinned = |pins: &[[u8; 32]]| UpstreamTls { pins: pins.to_vec(), ..room.upstream() };
    let wrong = [7; 32];
    for good in [made.pin(), pin(&middle.der()), pin(&room.ca.der())] {
        assert_eq!(room.served(&pinned(&[good]), &made), Ok(()));
        assert_eq!(room.served(&pinned(&[wrong, good]), &made), Ok(()));
    }
    let why = room.served(&pinned(&[wrong]), &made);
    assert!(refused(&why).to_string().contains("NotPinned"), "{why:?}");
    // The pin alone is not enough: another name, an authority that is not trusted.
    let other = middle.issue(&["other.test"]);
    let other = Made { chain: vec![middle.der()], ..other };
    let why = room.served(&pinned(&[other.pin()]), &other);
    assert!(matches!(refused(&why), CertificateError::NotValidForNameContext { .. }));
    let stranger = Authority::new("stranger").issue(&["server.test"]);
    let why = room.served(&pinned(&[stranger.pin()]), &stranger);
    assert_eq!(*refused(&why), CertificateError::UnknownIssuer);
}

#[test]
fn a_certificate_that_is_only_sent_along_meets_no_pin() {
    let room = Room::new();
    // What is pinned: the genuine server, its issuer, another authority that is trusted as well.
    let middle = room.ca.intermediate("middle");
    let genuine = middle.issue(&["server.test"]);
    let second = Authority::new("second");
    write(room.dir.path(), "ca.pem", room.ca.pem() + &second.pem());
    // The attacker has a certificate for the name from an authority that is trusted, and appends.
    let mut forged = room.ca.issue(&["server.test"]);
    forged.chain = vec![genuine.certificate.der().clone(), middle.der(), second.der()];
    for pin in [genuine.pin(), pin(&middle.der()), pin(&second.der())] {
        let upstream = UpstreamTls { pins: vec![pin], ..room.upstream() };
        let why = room.served(&upstream, &forged);
        assert!(refused(&why).to_string().contains("NotPinned"), "{why:?}");
        let unchained = UpstreamTls { pin_only: true, ..upstream };
        let why = room.served(&unchained, &forged);
        assert!(refused(&why).to_string().contains("NotPinned"), "{why:?}");
    }
    assert_eq!(room.served(&room.upstream(), &forged), Ok(()), "without a pin it would pass");
}

#[test]
fn pin_only_asks_for_the_key_of_the_leaf_and_insecure_for_nothing() {
    let room = Room::new();
    let made = Authority::new("stranger").issue_with(
        &["elsewhere.test"],
        &PKCS_ECDSA_P256_SHA256,
        |params| valid(params, -9 * DAY, -DAY),
    );
    let upstream = |pins: &[[u8; 32]], pin_only, insecure| UpstreamTls {
        pins: pins.to_vec(),
        pin_only,
        insecure,
        ..room.upstream()
    };
    let right = [made.pin()];
    assert!(room.served(&upstream(&right, false, false), &made).is_err());
    assert_eq!(room.served(&upstream(&right, true, false), &made), Ok(()));
    assert!(room.served(&upstream(&[[7; 32]], true, false), &made).is_err());
    assert_eq!(room.served(&upstream(&[], false, true), &made), Ok(()));
    assert!(room.served(&upstream(&[[7; 32]], false, true), &made).is_err(), "a pin holds");
    let none = upstream(&[], true, false);
    let (material, problems) =
        Material::load(&room.sources(), [].into_iter(), [&none].into_iter(), None);
    assert_eq!((problems.len(), problems[0].severity), (1, Severity::Error));
    assert!(material.client_config(&none).is_err());
    // Whoever has the certificate but not its key is refused by either.
    let key = room.ca.issue(&["x.test"]).key;
    let thief = Made { certificate: made.certificate.clone(), key, chain: Vec::new() };
    for upstream in [upstream(&right, true, false), upstream(&[], false, true)] {
        let why = room.served(&upstream, &thief);
        assert_eq!(*refused(&why), CertificateError::BadSignature);
    }
}

#[test]
fn trust_that_cannot_be_read_is_an_error_told_once() {
    let room = Room::new();
    let missing = |name: &str| {
        let mut termination = room.termination(ClientAuth::Need);
        termination.client_ca.push(room.path(name).into());
        termination.client_crl_files.push(room.path("none.crl"));
        termination
    };
    let terminations = [missing("none.pem"), missing("none.pem"), {
        let mut other = missing("none.pem");
        other.client_ca.remove(0);
        other
    }];
    let upstream = UpstreamTls { ca: Some(room.path("none.pem").into()), ..room.upstream() };
    let (material, problems) =
        Material::load(&room.sources(), terminations.iter(), [&upstream].into_iter(), None);
    let files: Vec<_> = problems
        .iter()
        .map(|problem| problem.path.file_name().unwrap().to_str().unwrap())
        .collect();
    assert_eq!(files, ["none.pem", "none.crl"]);
    assert!(problems.iter().all(|problem| problem.severity == Severity::Error));
    for termination in &terminations {
        let config = material.server_config(termination, ticketer().unwrap());
        assert!(config.unwrap_err().path.ends_with("none.pem"));
    }
    assert!(material.client_config(&upstream).is_err());
    assert!(material.paths().any(|path| path.ends_with("none.crl")), "mended, it is noticed");
    // What was never named has not been read, and is not trusted for it.
    let other = room.termination(ClientAuth::Want);
    assert!(material.server_config(&other, ticketer().unwrap()).is_err());
}

#[test]
fn what_was_read_before_is_kept_and_what_is_the_same_is_shared() {
    let room = Room::new();
    let (termination, upstream) = (room.termination(ClientAuth::Need), room.upstream());
    let elsewhere = UpstreamTls { server_name: "other.test".into(), ..upstream.clone() };
    let load = |before: Option<&Material>| {
        Material::load(
            &room.sources(),
            [&termination].into_iter(),
            [&upstream, &elsewhere].into_iter(),
            before,
        )
    };
    let (first, problems) = load(None);
    assert_eq!(problems, []);
    let config = |material: &Material, upstream| material.client_config(upstream).unwrap().0;
    assert!(Arc::ptr_eq(&config(&first, &upstream), &config(&first, &elsewhere)));
    write(room.dir.path(), "ca.pem", "-----BEGIN CERT");
    let (second, problems) = load(Some(&first));
    assert_eq!((problems.len(), problems[0].kept), (1, true), "{problems:?}");
    assert_eq!(second.digest(), first.digest());
    assert!(Arc::ptr_eq(&config(&second, &upstream), &config(&first, &upstream)));
    let paths: Vec<_> = second.paths().map(|path| path.file_name().unwrap()).collect();
    assert_eq!(paths, ["ca.pem", "server.key", "server.pem"]);
    // Another authority: other verifiers, other tickets.
    write(room.dir.path(), "ca.pem", Authority::new("another").pem());
    let (third, problems) = load(Some(&second));
    assert_eq!(problems, []);
    assert_ne!(third.digest(), first.digest());
    assert!(!Arc::ptr_eq(&config(&third, &upstream), &config(&first, &upstream)));
}

#[test]
fn the_realm_of_tickets_changes_with_whom_they_let_in_and_not_with_certificates() {
    let room = Room::new();
    let upstream = room.upstream();
    let realm =
        |termination: &Termination| room.load(termination, &upstream).ticket_realm(termination);
    let need = room.termination(ClientAuth::Need);
    let before = realm(&need);
    room.ca.issue(&["server.test"]).write(room.dir.path(), "server");
    assert_eq!(realm(&need), before);
    assert_ne!(realm(&room.termination(ClientAuth::Want)), before);
    assert_ne!(realm(&room.termination(ClientAuth::None)), before);
    let mut listed = need.clone();
    listed.client_crl_files = vec![room.path("crl.pem")];
    write(room.dir.path(), "crl.pem", room.ca.crl(&[], DAY, None));
    let empty = realm(&listed);
    write(room.dir.path(), "crl.pem", room.ca.crl(&[7], DAY, None));
    assert!(![before, empty].contains(&realm(&listed)));
}

/// Why the realm is needed: this is what rustls does.
#[test]
fn a_ticket_resumes_without_the_client_being_verified_again() {
    let room = Room::new();
    let (none, need) = (room.termination(ClientAuth::None), room.termination(ClientAuth::Need));
    let upstream = room.upstream();
    let (material, _) =
        Material::load(&room.sources(), [&none, &need].into_iter(), [&upstream].into_iter(), None);
    let (client, name) = material.client_config(&upstream).unwrap();
    let ours = ticketer().unwrap();
    let open = material.server_config(&none, Arc::clone(&ours)).unwrap();
    assert!(shake(&open, &client, name.clone()).is_ok());
    let same_ticketer = material.server_config(&need, ours).unwrap();
    assert!(shake(&same_ticketer, &client, name.clone()).is_ok(), "let in without a certificate");
    assert!(shake(&open, &client, name.clone()).is_ok());
    let own_ticketer = material.server_config(&need, ticketer().unwrap()).unwrap();
    let shaken = shake(&own_ticketer, &client, name);
    assert_eq!(shaken.server, Err(Error::NoCertificatesPresented));
}

#[test]
fn clients_that_prefer_the_hybrid_exchange_get_it_without_another_round_trip() {
    use rustls::NamedGroup;
    use rustls::crypto::aws_lc_rs::kx_group;
    let room = Room::new();
    let (termination, upstream) = (room.termination(ClientAuth::None), room.upstream());
    let material = room.load(&termination, &upstream);
    let server = material.server_config(&termination, ticketer().unwrap()).unwrap();
    let (ours, name) = material.client_config(&upstream).unwrap();
    let mut groups = (*provider()).clone();
    groups.kx_groups = vec![kx_group::X25519MLKEM768, kx_group::X25519];
    let file = Authorities::read(&room.path("ca.pem").into()).unwrap();
    let mut modern = ClientConfig::builder_with_provider(Arc::new(groups))
        .with_protocol_versions(&[&TLS13])
        .unwrap()
        .with_root_certificates(Authorities::roots([&file]))
        .with_no_client_auth();
    modern.resumption = Resumption::disabled();
    for (client, group) in
        [(ours, NamedGroup::X25519), (Arc::new(modern), NamedGroup::X25519MLKEM768)]
    {
        let shaken = shake(&server, &client, name.clone());
        assert!(shaken.is_ok(), "{:?}", shaken.client);
        assert_eq!(shaken.at_server.handshake_kind(), Some(HandshakeKind::Full));
        assert_eq!(shaken.at_server.negotiated_key_exchange_group().unwrap().name(), group);
    }
}

#[test]
fn an_identity_is_read_from_the_certificate() {
    let ca = Authority::new("ca");
    let made = ca.issue_with(
        &["Alice.TEST", "192.0.2.1", "2001:db8::1"],
        &PKCS_ECDSA_P256_SHA256,
        |params| {
            let names = &mut params.subject_alt_names;
            names.push(rcgen::SanType::Rfc822Name("alice@example.test".try_into().unwrap()));
            names.push(rcgen::SanType::URI("spiffe://example.test/alice".try_into().unwrap()));
            params.distinguished_name.push(rcgen::DnType::OrganizationName, "Example");
            params.distinguished_name.push(rcgen::DnType::CommonName, "alice");
        },
    );
    let identity = Identity::of(made.certificate.der()).unwrap();
    assert_eq!(identity.subject_cn.as_deref(), Some("alice"));
    assert!(identity.subject.contains("O=Example"), "{}", identity.subject);
    assert_eq!(
        identity.sans,
        [
            "alice.test",
            "192.0.2.1",
            "2001:db8::1",
            "alice@example.test",
            "spiffe://example.test/alice"
        ]
    );
    assert_eq!(identity.sha256, made.sha256());
    let at = |seconds: i64| {
        let seconds = u64::try_from(identity.not_after + seconds).unwrap();
        rustls::pki_types::UnixTime::since_unix_epoch(std::time::Duration::from_secs(seconds))
    };
    assert!(!identity.expired(at(0)) && identity.expired(at(1)));
    assert_eq!(Identity::of(&CertificateDer::from(vec![0x30, 0])), None);
}

#[test]
fn reading_may_go_on_while_files_are_replaced() {
    let room = Room::new();
    let (termination, upstream) = (room.termination(ClientAuth::None), room.upstream());
    let mut material = room.load(&termination, &upstream);
    let stop = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            // In place, the certificate before its key: the worst that anybody does.
            let made = [room.ca.issue(&["server.test"]), room.ca.issue(&["server.test"])];
            let mut at = 0;
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                let made = &made[at % 2];
                for (name, text) in
                    [("server.pem", made.chain_pem()), ("server.key", made.key_pem())]
                {
                    let (one, two) = text.split_at(text.len() / 2);
                    fs::write(room.path(name), one).unwrap();
                    fs::write(room.path(name), [one, two].concat()).unwrap();
                }
                at += 1;
            }
        });
        for _ in 0..200 {
            let (next, problems) = Material::load(
                &room.sources(),
                [&termination].into_iter(),
                [&upstream].into_iter(),
                Some(&material),
            );
            assert!(problems.iter().all(|problem| problem.kept), "{problems:?}");
            let server = next.server_config(&termination, ticketer().unwrap()).unwrap();
            let (client, name) = next.client_config(&upstream).unwrap();
            assert!(shake(&server, &client, name).is_ok());
            material = next;
        }
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
    });
}

#[test]
fn two_files_that_change_places_are_a_change() {
    let room = Room::new();
    let (one, other) = (Authority::new("one"), Authority::new("other"));
    let digest = |a: &Authority, b: &Authority| {
        let files =
            [write(room.dir.path(), "a.pem", a.pem()), write(room.dir.path(), "b.pem", b.pem())];
        let services = files.map(|file| Termination {
            client_ca: vec![file.into()],
            ..room.termination(ClientAuth::Need)
        });
        let none = std::iter::empty();
        let (material, problems) = Material::load(&room.sources(), services.iter(), none, None);
        assert_eq!(problems, [], "{problems:?}");
        material.digest()
    };
    let first = digest(&one, &other);
    assert_eq!(first, digest(&one, &other));
    assert_ne!(first, digest(&other, &one));
    assert_ne!(first, digest(&one, &one));
}
