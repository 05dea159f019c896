//! Everything that is needed from files, read in one go, that is what TLS needs and sets of networks: a [`Material`] is immutable, and a change
//! of files or configuration is another one. What cannot be read anew is taken over from the one
//! before, so that a file caught half written never fails a handshake.
//!
//! Reading blocks; the control thread hands it to another.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::client::{ClientConfig, Resumption};
use rustls::pki_types::ServerName;
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{NoServerSessionStorage, ProducesTickets, ServerConfig, WebPkiClientVerifier};
use rustls::sign::SingleCertAndKey;
use sha2::{Digest, Sha256};

use super::identity::sha256;
use super::problem::Problem;
use super::store::{Entry, Resolver, Store, now};
use super::suites::{provider_for, versions};
use super::trust::{self, Authorities, Leaves, Listed, RevocationLists};
use crate::config::checked::{
    CertificateSource, ClientAuth, KeyPair, Pem, Termination, UpstreamTls,
};
use crate::config::limits;
use crate::config::networks::NetworkFiles;
use crate::diagnostics::Severity;

/// What was read from files, and what was made of it.
#[derive(Debug, Default)]
pub struct Material {
    /// The server certificates without a name, for services that name none.
    pub store: Arc<Store>,
    /// Those of services that name theirs: one for all that name the same in the same order.
    stores: HashMap<Vec<KeyPair>, Result<Arc<Store>, Problem>>,
    /// The certificates with a name, in the order of the configuration.
    named: Vec<(Arc<str>, Arc<Entry>)>,
    authorities: HashMap<Pem, Arc<Authorities>>,
    /// Certificates of clients that are accepted by themselves.
    leaves: HashMap<Pem, Arc<Leaves>>,
    crls: BTreeMap<PathBuf, Arc<RevocationLists>>,
    /// The certificates that are named by services, or shown to targets.
    pairs: HashMap<KeyPair, Arc<Entry>>,
    /// One for all services that ask the same of their clients.
    clients: HashMap<ClientRules, Clients>,
    /// One for all targets that differ in their name only; the key has none.
    targets: HashMap<UpstreamTls, Target>,
    /// Who may connect, where a file says so.
    pub networks: NetworkFiles,
    paths: BTreeSet<PathBuf>,
    digest: [u8; 32],
}

/// What a service asks of its clients.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct ClientRules {
    required: bool,
    authorities: Vec<Pem>,
    leaves: Vec<Pem>,
    crls: Vec<PathBuf>,
}

impl ClientRules {
    /// `None`: nothing.
    fn of(termination: &Termination) -> Option<Self> {
        (termination.client_auth != ClientAuth::None).then(|| Self {
            required: termination.client_auth == ClientAuth::Need,
            authorities: termination.client_ca.clone(),
            leaves: termination.client_certs.clone(),
            crls: termination.client_crl_files.clone(),
        })
    }
}

#[derive(Debug)]
struct Clients {
    verifier: Result<Arc<dyn ClientCertVerifier>, Problem>,
    digest: [u8; 32],
}

#[derive(Debug)]
struct Target {
    config: Result<Arc<ClientConfig>, Problem>,
    digest: [u8; 32],
}

impl Material {
    /// Reads all files that the sources, services and targets name. One that is named and cannot be
    /// used is an error, or a warning if what was read `before` is kept; a broken pair in a
    /// directory is a warning, and so is one with a name that nobody names.
    pub fn load<'a>(
        certificates: &[CertificateSource],
        terminations: impl Iterator<Item = &'a Termination>,
        upstreams: impl Iterator<Item = &'a UpstreamTls>,
        before: Option<&Self>,
    ) -> (Self, Vec<Problem>) {
        let (store, problems) = Store::load(certificates, before.map(|before| &*before.store));
        let mut loading = Loading {
            before,
            now: now(),
            problems,
            failed: HashMap::new(),
            places: HashMap::new(),
            material: Self { store: Arc::new(store), ..Self::default() },
        };
        for (at, source) in certificates.iter().enumerate() {
            match source {
                CertificateSource::Pair(pair) => loading.names_pair(pair),
                CertificateSource::Named(_, pair) => drop(loading.places.insert(pair, at)),
                CertificateSource::Directory(path) => loading.names(path),
            }
        }
        for termination in terminations {
            loading.store(&termination.certificates);
            if let Some(rules) = ClientRules::of(termination) {
                loading.clients(rules);
            }
        }
        for upstream in upstreams {
            loading.target(upstream);
        }
        for source in certificates {
            if let CertificateSource::Named(name, pair) = source {
                loading.named(name, pair);
            }
        }
        let Loading { mut material, problems, .. } = loading;
        material.digest = material.digest_of();
        (material, problems)
    }

    /// With the files of networks that services name.
    #[must_use]
    pub fn with_networks<'a>(
        mut self,
        files: impl Iterator<Item = &'a Path>,
        before: Option<&Self>,
        problems: &mut Vec<Problem>,
    ) -> Self {
        let files: BTreeSet<_> = files.collect();
        let before = before.map(|before| &before.networks);
        self.networks = NetworkFiles::load(files.iter().copied(), before, problems);
        self.paths.extend(files.into_iter().map(Path::to_owned));
        self.digest = self.digest_of();
        self
    }

    fn digest_of(&self) -> [u8; 32] {
        let mut digest = Sha256::new();
        digest.update(self.store.fingerprint());
        // Which rules and options have which contents: two files that change places are a change. In
        // the order of the digests, not of the hash maps.
        let part = |key: String, content: &[u8; 32]| -> [u8; 32] {
            Sha256::new().chain_update(key).chain_update(content).finalize().into()
        };
        let clients = self.clients.iter().map(|(key, it)| part(format!("{key:?}"), &it.digest));
        let targets = self.targets.iter().map(|(key, it)| part(format!("{key:?}"), &it.digest));
        let stores = self.stores.iter().filter_map(|(key, it)| Some((key, it.as_ref().ok()?)));
        let stores = stores.map(|(key, it)| part(format!("{key:?}"), &it.fingerprint()));
        let parts: BTreeSet<_> = clients.chain(targets).chain(stores).collect();
        for part in parts {
            digest.update(part);
        }
        for (path, content) in self.networks.digests() {
            digest.update(part(format!("{path:?}"), content));
        }
        digest.finalize().into()
    }

    /// SHA-256 over all that was read: unchanged as long as no peer can tell a difference.
    pub fn digest(&self) -> [u8; 32] {
        self.digest
    }

    /// The files and directories it was read from, also those that could not be read.
    pub fn paths(&self) -> impl Iterator<Item = &Path> {
        self.paths.iter().map(PathBuf::as_path)
    }

    /// What a session ticket of this service vouches for: SHA-256 over what it asks of its clients.
    ///
    /// A handshake that resumes a session verifies no certificate. So a ticket must not resume where
    /// other clients are let in than where it was given out: keep a [`ticketer`] for as long as
    /// this value of its service stays the same, and make another one when it changes (a service
    /// that now asks for certificates, another authority, a new revocation list). The server
    /// certificates have no part in it: to renew one costs no client its session.
    pub fn ticket_realm(&self, termination: &Termination) -> [u8; 32] {
        ClientRules::of(termination)
            .and_then(|rules| self.clients.get(&rules))
            .map(|clients| clients.digest)
            .unwrap_or_default()
    }

    /// How a service that was named to [`Material::load`] shakes hands.
    ///
    /// TLS 1.3 and 1.2. No early data: it can be replayed, and a proxy cannot know what bears that.
    /// Sessions are resumed by tickets of `ticketer` only (see [`Material::ticket_realm`]), so that
    /// cores share nothing that is written. Suites are chosen in the client's order: all are sound,
    /// and the client knows whether its processor does AES. Secrets can be extracted, since records
    /// are handled by ourselves. ALPN is that of the service; a connection whose rule has its own
    /// clones the configuration, which is cheap, and sets `alpn_protocols`.
    ///
    /// # Errors
    /// There is no server certificate, or the files that say whom to trust could not be used.
    pub fn server_config(
        &self,
        termination: &Termination,
        ticketer: Arc<dyn ProducesTickets>,
    ) -> Result<Arc<ServerConfig>, Problem> {
        let store = self.store_of(termination)?;
        if store.is_empty() {
            return Err(Problem::error(Path::new(""), "there is no server certificate")
                .hint("name one in `certificates`"));
        }
        let verifier = self.client_verifier(termination)?;
        let verifier = verifier.unwrap_or_else(WebPkiClientVerifier::no_client_auth);
        let crypto = &termination.crypto;
        let mut config = ServerConfig::builder_with_provider(provider_for(crypto))
            .with_protocol_versions(&versions(crypto))
            .map_err(rejected)?
            .with_client_cert_verifier(verifier)
            .with_cert_resolver(Arc::new(Resolver::new(store, termination.strict)));
        config.ignore_client_order = false;
        config.max_early_data_size = 0;
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.ticketer = ticketer;
        config.send_tls13_tickets = limits::TICKETS_SENT;
        config.enable_secret_extraction = true;
        config.alpn_protocols =
            termination.alpn.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
        Ok(Arc::new(config))
    }

    /// The server certificates of a service that was named to [`Material::load`].
    ///
    /// # Errors
    /// One that it names cannot be used.
    pub fn store_of(&self, termination: &Termination) -> Result<Arc<Store>, Problem> {
        if termination.certificates.is_empty() {
            return Ok(Arc::clone(&self.store));
        }
        self.stores.get(&termination.certificates).cloned().unwrap_or_else(|| Err(unknown()))
    }

    /// Whether this pair could be read.
    pub fn has_pair(&self, pair: &KeyPair) -> bool {
        self.pairs.contains_key(pair)
    }

    /// Every certificate that can be used, with its name if it has one: first those without, in the
    /// order in which they are looked at.
    pub fn certificates(&self) -> impl Iterator<Item = (Option<&Arc<str>>, &Arc<Entry>)> {
        let unnamed = self.store.entries().iter().map(|entry| (None, entry));
        unnamed.chain(self.named.iter().map(|(name, entry)| (Some(name), entry)))
    }

    /// What the certificates of a service's clients must meet; `None` where they are not asked for one.
    /// A session that is resumed verifies nothing: ask it then.
    ///
    /// # Errors
    /// The files that say whom to trust could not be used.
    pub fn client_verifier(
        &self,
        termination: &Termination,
    ) -> Result<Option<Arc<dyn ClientCertVerifier>>, Problem> {
        match ClientRules::of(termination) {
            None => Ok(None),
            Some(rules) => match self.clients.get(&rules) {
                Some(clients) => Ok(Some(clients.verifier.clone()?)),
                None => Err(unknown()),
            },
        }
    }

    /// How to shake hands with a target that was named to [`Material::load`], and the name to ask
    /// for. An IP address is verified but not sent (RFC 6066 §3). Targets that differ in their name
    /// only share one configuration, and it stays the same over reloads that do not concern it, so
    /// that sessions can be resumed. The sessions are kept behind a lock that is held for a copy.
    ///
    /// # Errors
    /// The name is none, or the target's files could not be used.
    pub fn client_config(
        &self,
        upstream: &UpstreamTls,
    ) -> Result<(Arc<ClientConfig>, ServerName<'static>), Problem> {
        let name = ServerName::try_from(upstream.server_name.to_string()).map_err(|_| {
            let what = format!("`{}` is no name a server can have", upstream.server_name);
            Problem::error(Path::new(""), what).hint("set the target's `serverName`")
        })?;
        match self.targets.get(&nameless(upstream)) {
            Some(target) => Ok((target.config.clone()?, name)),
            None => Err(unknown()),
        }
    }
}

/// The options without the name.
fn nameless(upstream: &UpstreamTls) -> UpstreamTls {
    UpstreamTls { server_name: "".into(), ..upstream.clone() }
}

fn unknown() -> Problem {
    Problem::error(Path::new(""), "the files of this service have not been read")
}

fn rejected(error: rustls::Error) -> Problem {
    Problem::error(Path::new(""), format!("TLS cannot be set up: {error}"))
}

/// Makes and reads the session tickets of one service, on all cores: keys change every 6 h and are
/// forgotten after 12 h. A service has its own, so that a ticket of one never resumes in another
/// that asks other things of its clients; for when to make a new one see [`Material::ticket_realm`].
///
/// # Errors
/// The system gives no random numbers.
pub fn ticketer() -> Result<Arc<dyn ProducesTickets>, Problem> {
    rustls::crypto::aws_lc_rs::Ticketer::new().map_err(rejected)
}

/// A [`Material`] in the making.
struct Loading<'a> {
    before: Option<&'a Material>,
    now: i64,
    problems: Vec<Problem>,
    /// What could not be read, so that it is tried and told once.
    failed: HashMap<(Kind, Pem), Problem>,
    /// Which entry of `certificates` has which pair.
    places: HashMap<&'a KeyPair, usize>,
    material: Material,
}

/// What a file is read as.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Kind {
    Authorities,
    Leaves,
    RevocationLists,
    Pair,
}

impl Loading<'_> {
    /// Prepares the certificates of a service that names its own.
    fn store(&mut self, pairs: &[KeyPair]) {
        if pairs.is_empty() || self.material.stores.contains_key(pairs) {
            return;
        }
        // Every one is looked at, so that all that is wrong is said at once.
        let entries: Vec<_> = pairs.iter().map(|pair| self.pair(pair)).collect();
        let entries: Result<Vec<_>, _> = entries.into_iter().collect();
        let store = entries.map(|entries| Arc::new(Store::of(entries)));
        self.material.stores.insert(pairs.to_vec(), store);
    }

    /// Reads a certificate that has a name, in case nobody has done so.
    fn named(&mut self, name: &Arc<str>, pair: &KeyPair) {
        let known = self.problems.len();
        let used = self.material.pairs.contains_key(pair)
            || self.failed.contains_key(&(Kind::Pair, pair.cert.clone()));
        let entry = self.pair(pair);
        if !used {
            // What nobody shows harms nobody.
            for problem in self.problems.iter_mut().skip(known) {
                problem.severity = problem.severity.min(Severity::Warn);
            }
        }
        self.material.named.extend(entry.ok().map(|entry| (Arc::clone(name), entry)));
    }

    fn names(&mut self, path: &Path) {
        if !self.material.paths.contains(path) {
            self.material.paths.insert(path.to_owned());
        }
    }

    fn names_pair(&mut self, pair: &KeyPair) {
        pair.paths().for_each(|path| self.names(path));
    }

    /// What can be read, else what was read before, else the error, which is reported once.
    fn keep<T>(
        &mut self,
        (kind, pem): (Kind, &Pem),
        read: impl FnOnce() -> Result<T, Problem>,
        before: Option<T>,
    ) -> Result<T, Problem> {
        if let Some(problem) = self.failed.get(&(kind, pem.clone())) {
            return Err(problem.clone());
        }
        match (read(), before) {
            (Ok(read), _) => Ok(read),
            (Err(problem), Some(before)) => {
                self.problems.push(problem.kept());
                Ok(before)
            }
            (Err(problem), None) => {
                self.problems.push(problem.clone());
                self.failed.insert((kind, pem.clone()), problem.clone());
                Err(problem)
            }
        }
    }

    fn authorities(&mut self, pem: &Pem) -> Result<Arc<Authorities>, Problem> {
        if let Some(known) = self.material.authorities.get(pem) {
            return Ok(Arc::clone(known));
        }
        pem.file().into_iter().for_each(|path| self.names(path));
        let before = self.before.and_then(|before| before.authorities.get(pem).cloned());
        let read = || Authorities::read(pem).map(Arc::new);
        let file = self.keep((Kind::Authorities, pem), read, before)?;
        file.remarks(pem.place(), self.now, &mut self.problems);
        self.material.authorities.insert(pem.clone(), Arc::clone(&file));
        Ok(file)
    }

    fn leaves(&mut self, pem: &Pem) -> Result<Arc<Leaves>, Problem> {
        if let Some(known) = self.material.leaves.get(pem) {
            return Ok(Arc::clone(known));
        }
        pem.file().into_iter().for_each(|path| self.names(path));
        let before = self.before.and_then(|before| before.leaves.get(pem).cloned());
        let file = self.keep((Kind::Leaves, pem), || Leaves::read(pem).map(Arc::new), before)?;
        self.material.leaves.insert(pem.clone(), Arc::clone(&file));
        Ok(file)
    }

    fn crls(&mut self, path: &Path) -> Result<Arc<RevocationLists>, Problem> {
        if let Some(known) = self.material.crls.get(path) {
            return Ok(Arc::clone(known));
        }
        self.names(path);
        let before = self.before.and_then(|before| before.crls.get(path).cloned());
        let read = || RevocationLists::read(path).map(Arc::new);
        let file = self.keep((Kind::RevocationLists, &Pem::File(path.to_owned())), read, before)?;
        file.remarks(path, self.now, &mut self.problems);
        self.material.crls.insert(path.to_owned(), Arc::clone(&file));
        Ok(file)
    }

    fn pair(&mut self, pair: &KeyPair) -> Result<Arc<Entry>, Problem> {
        if let Some(known) = self.material.pairs.get(pair) {
            return Ok(Arc::clone(known));
        }
        self.names_pair(pair);
        let before = self.before.and_then(|before| before.pairs.get(pair).cloned());
        let read = || Entry::read(pair, before.as_ref());
        let known = self.problems.len();
        let entry = self.keep((Kind::Pair, &pair.cert), read, before.clone());
        if let Ok(entry) = &entry {
            entry.remarks(self.now, &mut self.problems);
            self.material.pairs.insert(pair.clone(), Arc::clone(entry));
        }
        for problem in self.problems.iter_mut().skip(known) {
            problem.source = self.places.get(pair).copied();
        }
        entry
    }

    /// Prepares what a service asks of its clients.
    fn clients(&mut self, rules: ClientRules) {
        if self.material.clients.contains_key(&rules) {
            return;
        }
        // Every file is looked at, so that all that is wrong is said at once.
        let authorities: Vec<_> =
            rules.authorities.iter().map(|pem| self.authorities(pem)).collect();
        let leaves: Vec<_> = rules.leaves.iter().map(|pem| self.leaves(pem)).collect();
        let crls: Vec<_> = rules.crls.iter().map(|path| self.crls(path)).collect();
        let authorities: Result<Vec<_>, _> = authorities.into_iter().collect();
        let leaves: Result<Vec<_>, _> = leaves.into_iter().collect();
        let crls: Result<Vec<_>, _> = crls.into_iter().collect();
        let read = authorities.and_then(|authorities| Ok((authorities, leaves?, crls?)));
        let clients = match read {
            Ok((authorities, leaves, crls)) => {
                self.verified_clients(&rules, &authorities, &leaves, &crls)
            }
            Err(problem) => Clients { verifier: Err(problem), digest: [0; 32] },
        };
        self.material.clients.insert(rules, clients);
    }

    fn verified_clients(
        &mut self,
        rules: &ClientRules,
        authorities: &[Arc<Authorities>],
        leaves: &[Arc<Leaves>],
        crls: &[Arc<RevocationLists>],
    ) -> Clients {
        let mut digest = Sha256::new();
        digest.update([1, u8::from(rules.required)]);
        authorities.iter().for_each(|file| digest.update(file.digest));
        digest.update([0]);
        crls.iter().for_each(|file| digest.update(file.digest));
        let leaves: BTreeSet<_> = leaves.iter().flat_map(|it| it.digests.iter().copied()).collect();
        if !leaves.is_empty() {
            digest.update([0]);
            leaves.iter().for_each(|leaf| digest.update(leaf));
        }
        let digest = digest.finalize().into();
        let before = self.before.and_then(|before| before.clients.get(rules));
        let verifier = match before.filter(|before| before.digest == digest) {
            Some(before) => before.verifier.clone(),
            None => {
                let auth = if rules.required { ClientAuth::Need } else { ClientAuth::Want };
                let roots = Authorities::roots(authorities.iter().map(|file| &**file));
                let crls: Vec<_> = crls.iter().map(|file| &**file).collect();
                let chain = || {
                    let made = trust::client_verifier(auth, roots, &crls);
                    made.and_then(|verifier| verifier.ok_or_else(unknown))
                };
                match (leaves.is_empty(), authorities.is_empty()) {
                    (true, _) => chain(),
                    (false, true) => Ok(Listed::verifier(leaves, None, auth)),
                    (false, false) => {
                        chain().map(|chain| Listed::verifier(leaves, Some(chain), auth))
                    }
                }
            }
        };
        self.problems.extend(verifier.as_ref().err().cloned());
        Clients { verifier, digest }
    }

    /// Prepares how a target is spoken to.
    fn target(&mut self, upstream: &UpstreamTls) {
        let key = nameless(upstream);
        if self.material.targets.contains_key(&key) {
            return;
        }
        let authorities = upstream.ca.as_ref().map(|pem| self.authorities(pem));
        let pair = upstream.client_certificate.as_ref().map(|pair| self.pair(pair));
        let files = authorities.transpose().and_then(|file| Ok((file, pair.transpose()?)));
        let target = match files {
            Ok((authorities, pair)) => self.verified_target(&key, authorities, pair),
            Err(problem) => Target { config: Err(problem), digest: [0; 32] },
        };
        self.material.targets.insert(key, target);
    }

    fn verified_target(
        &mut self,
        key: &UpstreamTls,
        authorities: Option<Arc<Authorities>>,
        pair: Option<Arc<Entry>>,
    ) -> Target {
        let mut digest = Sha256::new();
        digest.update([2, u8::from(key.pin_only), u8::from(key.insecure)]);
        key.pins.iter().for_each(|pin| digest.update(pin));
        if let Some(file) = &authorities {
            digest.update([3]);
            digest.update(file.digest);
        }
        if let Some(pair) = &pair {
            digest.update([4]);
            pair.key.cert.iter().for_each(|der| digest.update(sha256(der)));
        }
        let digest = digest.finalize().into();
        let before = self.before.and_then(|before| before.targets.get(key));
        let config = match before.filter(|before| before.digest == digest) {
            Some(before) => before.config.clone(),
            None => client_config(key, authorities.as_deref(), pair.as_deref()),
        };
        self.problems.extend(config.as_ref().err().cloned());
        Target { config, digest }
    }
}

fn client_config(
    upstream: &UpstreamTls,
    authorities: Option<&Authorities>,
    pair: Option<&Entry>,
) -> Result<Arc<ClientConfig>, Problem> {
    let verifier = trust::server_verifier(upstream, || match authorities {
        Some(file) => Ok(Authorities::roots([file])),
        None => trust::system_roots(),
    })?;
    let builder = ClientConfig::builder_with_provider(provider_for(&upstream.crypto))
        .with_protocol_versions(&versions(&upstream.crypto))
        .map_err(rejected)?
        .dangerous()
        .with_custom_certificate_verifier(verifier);
    let mut config = match pair {
        Some(entry) => builder
            .with_client_cert_resolver(Arc::new(SingleCertAndKey::from(Arc::clone(&entry.key)))),
        None => builder.with_no_client_auth(),
    };
    config.resumption = Resumption::in_memory_sessions(limits::UPSTREAM_SESSIONS_MAX);
    config.enable_sni = true;
    config.enable_secret_extraction = true;
    Ok(Arc::new(config))
}

#[cfg(test)]
mod tests;
