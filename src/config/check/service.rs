//! One service: what it asks for is in this release, and its values mean something.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::certificates::Named;
use super::listen::Listeners;
use super::{Findings, crypto, discovery, files, not_empty, rule, target};
use crate::config::checked::{
    self, Address, Fallbacks, KeyPair, Pem, Termination, Tls, UpstreamTls,
};
use crate::config::document::{self, ClientAuth, LoadBalancing, OnRemoved, Service, Span, TlsMode};
use crate::config::limits::RETRIES_MAX;
use crate::config::pattern::Pattern;
use crate::config::place::Place;
use crate::diagnostics::{
    ALPN_NOT_OFFERED, AUTH_WITHOUT_TLS, BAD_DURATION, BAD_VALUE, DOMAIN_UNUSED, DUPLICATE_TARGET,
    FORWARD_UNUSED, NO_CERTIFICATE, NO_CLIENT_CA, NO_TARGETS, TLS_IN_TLS, TLS_KEY_IDLE, visible,
};
use crate::tls::problem::Problem;
use crate::tls::trust;

/// What the checks of one service need.
pub(super) struct Scope<'a, 'f> {
    pub(super) place: &'a Place<'a>,
    pub(super) dir: &'a Path,
    pub(super) listeners: &'a Listeners<'a>,
    pub(super) tls: &'a TlsScope,
    /// `proxyProtocol.send`.
    pub(super) send: checked::SendHeader,
    pub(super) findings: &'a mut Findings<'f>,
}

/// What the top level says about TLS.
pub(super) struct TlsScope {
    /// There are certificates for all services, or it is not known whether there are.
    pub(super) certified: bool,
    /// The others.
    pub(super) named: Named,
    /// The top-level `clientCaFiles`.
    pub(super) client_ca_files: Vec<PathBuf>,
    /// They have a fault of shape.
    pub(super) client_ca_broken: bool,
}

/// A service that can be compared with others.
pub(super) struct Compiled {
    pub(super) spec: checked::Service,
    /// Its index in the file.
    pub(super) at: usize,
    /// The index in the file of each of its rules.
    pub(super) places: Vec<usize>,
    /// Its fallbacks: why connections take it, and its key in `sni.fallbacks` (`None`: it comes from
    /// `forwardIfNoMatch`).
    pub(super) fallbacks: Vec<(&'static str, Option<&'static str>)>,
}

impl Compiled {
    /// Without its places.
    pub(super) fn into_spec(self) -> checked::Service {
        self.spec
    }
}

impl Scope<'_, '_> {
    /// Checks a service. `None` if an error was found that leaves nothing to compile.
    pub(super) fn compile(&mut self, at: usize, service: &Service) -> Option<Compiled> {
        let tls = self.tls(service);
        let (mut by_rule, places) = self.rules(service);
        let health = self.health(service, &mut by_rule);
        let (targets, fallbacks) = self.fallbacks(service);
        let proxy = self.proxy(service);
        let timeouts = self.timeouts(service);
        let access = self.access(service.access.as_ref());
        let limits = self.limits(&service.limits);
        let on_removed = match service.on_removed {
            OnRemoved::Keep => checked::OnRemoved::Keep,
            OnRemoved::CloseAfter(after) => checked::OnRemoved::CloseAfter(after.close_after.0),
        };
        if service.retries > RETRIES_MAX {
            let message = format!("{} retries are more than {RETRIES_MAX}", service.retries);
            let hint = "each may cost a whole connect deadline while the client waits";
            self.findings.add_with(&BAD_VALUE, &self.place.key("retries"), message, hint);
        }
        let spec = checked::Service {
            at,
            id: Arc::from(service.id.as_deref()?),
            name: Arc::from(service.name.as_str()),
            listen: self.listeners.of(at)?,
            tls,
            by_name: service.sni.enabled,
            rules: by_rule,
            fallbacks: targets,
            proxy,
            access,
            limits,
            timeouts,
            retries: service.retries,
            on_removed,
            health,
            document: Arc::from(""),
        };
        self.tlvs_told(service, &spec);
        Some(Compiled { spec, at, places, fallbacks })
    }

    /// What the service does with TLS. Keys that would have no effect are refused.
    fn tls(&mut self, service: &Service) -> Tls {
        let place = self.place;
        let (dir, auth) = (self.dir, service.client_auth);
        let tls_known = !self.findings.is_broken(&place.key("tls"));
        let auth_known = tls_known && !self.findings.is_broken(&place.key("clientAuth"));
        let ends = service.tls == TlsMode::Enabled;
        if !ends && auth != ClientAuth::None && tls_known {
            let message = format!(
                "`clientAuth` {auth:?} needs `tls` Enabled: without it no client is asked for a \
                 certificate"
            );
            self.findings.add(&AUTH_WITHOUT_TLS, &place.key("clientAuth"), message);
        }
        let crl_place = place.key("clientCrlFiles");
        let crls = files(service.client_crl_files.as_deref(), dir, &crl_place, self.findings);
        let own = self.trusted_clients(service);
        if auth == ClientAuth::None && auth_known {
            for (key, given) in [
                ("clientCaFiles", service.client_ca_files.is_some()),
                ("clientCaPems", service.client_ca_pems.is_some()),
                ("clientCertFiles", service.client_cert_files.is_some()),
                ("clientCertPems", service.client_cert_pems.is_some()),
                ("clientCrlFiles", crls.is_some()),
            ] {
                if given {
                    let why = "clients are not asked for a certificate (`clientAuth` is None)";
                    self.idle(key, why, "set `clientAuth` to Want or Need, or remove the key");
                }
            }
        }
        let certificates = self.certificates(service.certificates.as_deref());
        let offered = service.alpn.as_deref();
        let alpn = rule::protocols(offered, &place.key("alpn"), self.findings);
        if !ends && tls_known {
            let hint = "set `tls` to Enabled, or remove the key";
            if service.certificates.is_some() {
                self.idle("certificates", "none is shown unless TLS ends here", hint);
            }
            for (key, given) in [
                ("tlsMinVersion", service.tls_min_version.is_some()),
                ("tlsMaxVersion", service.tls_max_version.is_some()),
                ("cipherSuites", service.cipher_suites.is_some()),
            ] {
                if given {
                    self.idle(key, "TLS is not ended here", hint);
                }
            }
            if offered.is_some() {
                self.idle("alpn", "protocols are agreed on only where TLS ends here", hint);
            }
            if service.sni.strict {
                let sni = place.key("sni");
                let message =
                    "`strict` has no effect: no certificate is shown unless TLS ends here";
                self.findings.add_with(&TLS_KEY_IDLE, &sni.key("strict"), message, hint);
            }
        }
        match service.tls {
            TlsMode::Disabled => return Tls::Disabled,
            TlsMode::PassThrough => return Tls::PassThrough,
            TlsMode::Enabled => {}
        }
        if !self.tls.certified && service.certificates.is_none() {
            let message = "`tls` is Enabled, but there is no certificate to show";
            let hint = "\"certificates\": [ { \"certFile\": \"a.pem\", \"keyFile\": \"a.key\" } ] at the \
                        top level; those with a `name` are only for services that name them";
            self.findings.add_with(&NO_CERTIFICATE, &place.key("tls"), message, hint);
        }
        let broken = ["clientCaFiles", "clientCaPems", "clientCertFiles", "clientCertPems"]
            .iter()
            .any(|key| self.findings.is_broken_inside(&place.key(key)));
        let (client_ca, client_certs) = match own {
            Some(own) => own,
            None => (self.tls.client_ca_files.iter().cloned().map(Pem::File).collect(), Vec::new()),
        };
        let (min, max) = (service.tls_min_version, service.tls_max_version);
        let suites = service.cipher_suites.as_deref();
        let crypto = crypto::crypto(min, max, suites, place, self.findings);
        if auth != ClientAuth::None
            && client_ca.is_empty()
            && service.names_no_clients()
            && !self.tls.client_ca_broken
            && !broken
        {
            let message =
                format!("`clientAuth` is {auth:?}, but no authority is named to verify clients by");
            let hint = "\"clientCaFiles\": [ \"clients-ca.pem\" ], here or at the top level";
            self.findings.add_with(&NO_CLIENT_CA, &place.key("clientAuth"), message, hint);
        }
        let client_auth = match auth {
            ClientAuth::None => checked::ClientAuth::None,
            ClientAuth::Want => checked::ClientAuth::Want,
            ClientAuth::Need => checked::ClientAuth::Need,
        };
        let asked = client_auth != checked::ClientAuth::None;
        Tls::Enabled(Termination {
            certificates,
            client_auth,
            client_ca: if asked { client_ca } else { Vec::new() },
            client_certs: if asked { client_certs } else { Vec::new() },
            crypto,
            client_crl_files: crls.unwrap_or_default(),
            alpn: self.offered(service, alpn),
            strict: service.sni.strict,
        })
    }

    /// The authorities and the certificates of clients that the service names itself; `None`: it names
    /// none.
    fn trusted_clients(&mut self, service: &Service) -> Option<(Vec<Pem>, Vec<Pem>)> {
        if service.names_no_clients() {
            return None;
        }
        let (dir, place, findings) = (self.dir, self.place, &mut *self.findings);
        let mut both =
            |files_key, paths, texts_key, list, check: fn(&Pem) -> Result<(), Problem>| {
                let paths = files(paths, dir, &place.key(files_key), findings).unwrap_or_default();
                let texts = crypto::texts(list, &place.key(texts_key), findings, check);
                paths.into_iter().map(Pem::File).chain(texts).collect::<Vec<_>>()
            };
        let authorities = both(
            "clientCaFiles",
            service.client_ca_files.as_deref(),
            "clientCaPems",
            service.client_ca_pems.as_deref(),
            trust::check_authorities,
        );
        let certificates = both(
            "clientCertFiles",
            service.client_cert_files.as_deref(),
            "clientCertPems",
            service.client_cert_pems.as_deref(),
            trust::check_leaves,
        );
        Some((authorities, certificates))
    }

    /// The certificates of its own.
    fn certificates(&mut self, names: Option<&[String]>) -> Vec<KeyPair> {
        let Some(names) = names else { return Vec::new() };
        let place = self.place.key("certificates");
        not_empty(names, &place, self.findings);
        let mut pairs = Vec::new();
        for (at, name) in names.iter().enumerate() {
            let place = place.index(at);
            let Some(pair) = self.tls.named.get(name, &place, self.findings) else { continue };
            if pairs.contains(&pair) {
                let message = format!("`{}` is listed twice", visible(name));
                self.findings.add(&BAD_VALUE, &place, message);
            }
            pairs.push(pair);
        }
        pairs
    }

    /// The protocols of the service. A rule that names some offers those of them.
    fn offered(&mut self, service: &Service, own: Vec<Arc<str>>) -> Vec<Arc<str>> {
        let rules = self.place.key("rules");
        for (at, rule) in service.rules.iter().enumerate() {
            let place = rules.index(at);
            let place = place.key("alpn");
            for (at, protocol) in rule.alpn.iter().flatten().enumerate() {
                if service.alpn.is_none() || own.iter().any(|known| **known == **protocol) {
                    continue;
                }
                if !self.findings.is_broken_inside(&self.place.key("alpn")) {
                    let message = format!("`{protocol}` is not in the `alpn` of the service");
                    let hint = "add it there, or leave that key out to offer what the rules name";
                    self.findings.add_with(&ALPN_NOT_OFFERED, &place.index(at), message, hint);
                }
            }
        }
        own
    }

    /// Reports a key of the service that has no effect.
    fn idle(&mut self, key: &str, why: &str, hint: &str) {
        let message = format!("`{key}` has no effect: {why}");
        self.findings.add_with(&TLS_KEY_IDLE, &self.place.key(key), message, hint);
    }

    /// The rules, and the index of each in the file.
    fn rules(&mut self, service: &Service) -> (Vec<checked::Rule>, Vec<usize>) {
        let outer = self.place.key("rules");
        let by_name = service.sni.enabled;
        let sni_known = !self.findings.is_broken_inside(&self.place.key("sni"));
        let conditions = service.rules.iter().any(rule::has_conditions);
        // Without names and conditions there is nothing to choose a rule by.
        let flat = !by_name && !conditions;
        let mut rules: Vec<checked::Rule> = Vec::new();
        let mut places = Vec::new();
        let mut seen = HashSet::new();
        for (at, rule) in service.rules.iter().enumerate() {
            let place = outer.index(at);
            let balancing = balancing(rule.load_balancing.unwrap_or(service.load_balancing));
            self.conditions_known(rule, &place, service);
            let domain = place.key("domain");
            let pattern = if by_name {
                rule::domain(&rule.domain, &domain, self.findings)
            } else {
                if rule.domain != "*" && sni_known {
                    self.domain_unused(&rule.domain, &domain, flat);
                }
                Some(Pattern::any())
            };
            let alpn = rule::protocols(rule.alpn.as_deref(), &place.key("alpn"), self.findings);
            let sources =
                rule::networks(rule.sources.as_deref(), &place.key("sources"), self.findings);
            let client_certificate = self.certificate_condition(
                rule.client_certificate.as_ref(),
                &place.key("clientCertificate"),
            );
            if !flat {
                seen.clear();
                if !has_targets(rule) && !self.findings.is_broken_inside(&place) {
                    self.no_targets(&place.key("targets"), "the rule has no targets");
                }
            }
            let list = place.key("targets");
            let targets = self.targets(&rule.targets, &list, &mut seen);
            let list_place = place.key("discovery");
            let discoveries = rule.discovery.as_ref();
            let discoveries: Vec<_> = discoveries
                .and_then(|discovery| discovery::compile(discovery, &list_place, self))
                .into_iter()
                .collect();
            for (at, target) in rule.targets.iter().enumerate() {
                self.tls_in_tls(service.tls, target, &list.index(at));
            }
            match rules.first_mut() {
                Some(first) if flat => {
                    first.targets.extend(targets);
                    first.discoveries.extend(discoveries);
                }
                _ => {
                    let Some(pattern) = pattern else { continue };
                    places.push(at);
                    rules.push(checked::Rule {
                        pattern,
                        alpn,
                        sources,
                        client_certificate,
                        balancing,
                        targets,
                        discoveries,
                    });
                }
            }
        }
        let forwards = by_name && (service.sni.forward_if_no_match || has_fallback(&service.sni));
        let none_written = !service.rules.iter().any(has_targets);
        if none_written
            && (flat || service.rules.is_empty())
            && !forwards
            && sni_known
            && !self.findings.is_broken_inside(&outer)
        {
            self.no_targets(&outer, "the service has no targets");
        }
        (rules, places)
    }

    /// Warns of a target whose TLS would carry that of the clients.
    fn tls_in_tls(&mut self, mode: TlsMode, target: &document::Target, place: &Place<'_>) {
        if mode == TlsMode::PassThrough && target.tls {
            let message = "the TLS of the clients is passed on as it is: with `tls` on the target it \
                           is wrapped in TLS once more";
            let hint = "remove `tls` from the target, or set `tls` of the service to Enabled";
            self.findings.add_with(&TLS_IN_TLS, &place.key("tls"), message, hint);
        }
    }

    fn no_targets(&mut self, place: &Place<'_>, message: &str) {
        let hint =
            "\"rules\": [ { \"targets\": [ { \"host\": \"db.internal\", \"port\": 5432 } ] } ]";
        self.findings.add_with(&NO_TARGETS, place, message, hint);
    }

    /// Remarks that a pattern is not looked at.
    fn domain_unused(&mut self, domain: &str, place: &Place<'_>, flat: bool) {
        let then = if flat {
            ", so the targets of all rules are used in turn"
        } else {
            "; only the other conditions of the rule are looked at"
        };
        let message =
            format!("`domain` `{domain}` has no effect: the service does not route by name{then}");
        self.findings.add(&DOMAIN_UNUSED, place, message);
    }

    /// Where connections go that no rule takes; also as reasons and keys.
    fn fallbacks(
        &mut self,
        service: &Service,
    ) -> (Fallbacks, Vec<(&'static str, Option<&'static str>)>) {
        let outer = self.place.key("sni");
        let sni = &service.sni;
        let mut owned = Vec::new();
        if !sni.enabled {
            let known = !self.findings.is_broken(&outer.key("enabled"));
            for (key, given) in [
                ("forwardIfNoMatch", sni.forward_if_no_match),
                ("fallbacks", has_fallback(sni)),
                ("nameOptional", sni.name_optional),
            ] {
                if given && known {
                    let message = format!("`{key}` has no effect while `sni.enabled` is false");
                    self.findings.add(&FORWARD_UNUSED, &outer.key(key), message);
                }
            }
            return (Fallbacks::default(), owned);
        }
        let forward = if sni.forward_if_no_match {
            let place = outer.key("forwardsTo");
            match &sni.forwards_to {
                Some(target) => {
                    self.tls_in_tls(service.tls, target, &place);
                    target::compile(target, &place, self)
                }
                None => {
                    let hint =
                        "the target to forward to: { \"host\": \"db.internal\", \"port\": 5432 }";
                    self.findings.missing(&outer, "forwardsTo", hint);
                    None
                }
            }
        } else {
            None
        };
        let none = document::Fallbacks::default();
        let written = sni.fallbacks.as_ref().unwrap_or(&none);
        if sni.forward_if_no_match && written.no_match.is_some() && written.no_name.is_some() {
            let message = "`forwardIfNoMatch` has no effect: `fallbacks` say both where connections \
                           without a name and without a rule go";
            self.findings.add(&FORWARD_UNUSED, &outer.key("forwardIfNoMatch"), message);
        }
        let no_name_to_first = sni.name_optional && !service.rules.is_empty();
        if sni.name_optional {
            self.name_optional(service, &outer.key("nameOptional"));
        }
        let inner = outer.key("fallbacks");
        for (key, target) in [("noMatch", &written.no_match), ("noName", &written.no_name)] {
            if let Some(target) = target {
                self.tls_in_tls(service.tls, target, &inner.key(key));
            }
        }
        let forwards = sni.forward_if_no_match;
        let mut fallback = |key: &'static str,
                            reason: &'static str,
                            target: Option<&document::Target>,
                            forward: Option<&checked::Target>| {
            match target {
                Some(target) => {
                    owned.push((reason, Some(key)));
                    target::compile(target, &inner.key(key), self)
                }
                None => forward.cloned(),
            }
        };
        let forward = forward.as_ref();
        let compiled = Fallbacks {
            no_match: fallback(
                "noMatch",
                "without a rule for their name",
                written.no_match.as_ref(),
                forward,
            ),
            no_name: fallback(
                "noName",
                "without a name",
                written.no_name.as_ref(),
                forward.filter(|_| !no_name_to_first),
            ),
            no_name_to_first,
            not_recognised: fallback(
                "notRecognised",
                "of another protocol",
                written.not_recognised.as_ref(),
                None,
            ),
            silent: fallback("silent", "that stay silent", written.silent.as_ref(), None),
        };
        if forwards && written.no_match.is_none() {
            owned.push(("without a rule for their name", None));
        }
        if no_name_to_first && written.no_name.is_none() {
            owned.push(("without a name", Some("nameOptional")));
        } else if forwards && written.no_name.is_none() {
            owned.push(("without a name", None));
        }
        (compiled, owned)
    }

    /// Checks that there is a first rule that takes connections without a name, and nothing else does.
    fn name_optional(&mut self, service: &Service, place: &Place<'_>) {
        let rules = self.place.key("rules");
        if self.findings.is_broken_inside(&rules) {
            return;
        }
        let Some(first) = service.rules.first() else {
            let message = "`nameOptional` has no effect: there is no rule";
            self.findings.add(&FORWARD_UNUSED, place, message);
            return;
        };
        if rule::has_conditions(first) {
            let message = "the first rule has conditions besides its name, which connections without \
                           a name would get around";
            let hint = "put a rule without conditions first";
            self.findings.add_with(&BAD_VALUE, place, message, hint);
        }
        if service.sni.fallbacks.as_ref().is_some_and(|fallbacks| fallbacks.no_name.is_some()) {
            let message = "`fallbacks.noName` already says where connections without a name go";
            self.findings.add_with(&BAD_VALUE, place, message, "keep one of them");
        }
    }

    /// The targets of a list. `seen` are those that share connections with them.
    fn targets(
        &mut self,
        documents: &[document::Target],
        list: &Place<'_>,
        seen: &mut HashSet<Distinct>,
    ) -> Vec<checked::Target> {
        let mut targets = Vec::new();
        for (at, document) in documents.iter().enumerate() {
            let place = list.index(at);
            let Some(target) = target::compile(document, &place, self) else {
                continue;
            };
            let name = matches!(target.address, Address::Name | Address::Srv)
                .then(|| target.host.trim_end_matches('.').to_ascii_lowercase());
            if target.address == Address::Reject {
                targets.push(target);
                continue;
            }
            if !seen.insert((target.address.clone(), name, target.port, target.tls.clone())) {
                let message = "this target is there already: it gets a double share";
                self.findings.add(&DUPLICATE_TARGET, &place, message);
            }
            targets.push(target);
        }
        targets
    }

    /// The time limits.
    fn timeouts(&mut self, service: &Service) -> checked::Timeouts {
        let timeouts = &service.timeouts;
        let lifetime = self.deadline("lifetime", timeouts.lifetime, true);
        let lifetime_jitter = self.jitter(timeouts.lifetime_jitter, lifetime);
        let mut always = |key, span| self.deadline(key, Some(span), false).unwrap_or_default();
        checked::Timeouts {
            hello: always("hello", timeouts.hello),
            handshake: always("handshake", timeouts.handshake),
            connect: always("connect", timeouts.connect),
            idle: self.deadline("idle", timeouts.idle, true),
            half_closed: self.deadline("halfClosed", timeouts.half_closed, true),
            lifetime,
            lifetime_jitter,
        }
    }

    /// One time limit, which may not be zero.
    fn deadline(&mut self, key: &str, span: Option<Span>, may_be_null: bool) -> Option<Duration> {
        let Span(duration) = span?;
        if duration.is_zero() {
            let outer = self.place.key("timeouts");
            let message = format!("`{key}` is zero: every connection would end at once");
            let hint =
                if may_be_null { "null is no limit" } else { "the key left out is the default" };
            self.findings.add_with(&BAD_DURATION, &outer.key(key), message, hint);
        }
        Some(duration)
    }
}

/// Whether connections that a rule takes have somewhere to go.
fn has_targets(rule: &document::Rule) -> bool {
    !rule.targets.is_empty() || rule.discovery.is_some()
}

/// What tells targets apart.
type Distinct = (Address, Option<String>, u16, Option<UpstreamTls>);

/// Whether any of `sni.fallbacks` is given.
fn has_fallback(sni: &document::Sni) -> bool {
    sni.fallbacks.as_ref().is_some_and(|fallbacks| {
        let document::Fallbacks { no_match, no_name, not_recognised, silent } = fallbacks;
        [no_match, no_name, not_recognised, silent].iter().any(|target| target.is_some())
    })
}

/// How a target is chosen.
fn balancing(written: LoadBalancing) -> checked::Balancing {
    match written {
        LoadBalancing::RoundRobin => checked::Balancing::RoundRobin,
        LoadBalancing::WeightedRoundRobin => checked::Balancing::WeightedRoundRobin,
        LoadBalancing::LeastConnections => checked::Balancing::LeastConnections,
        LoadBalancing::PowerOfTwo => checked::Balancing::PowerOfTwo,
        LoadBalancing::SourceHash => checked::Balancing::SourceHash,
        LoadBalancing::Random => checked::Balancing::Random,
        LoadBalancing::First => checked::Balancing::First,
    }
}
