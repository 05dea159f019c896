//! One service: what it asks for is in this release, and its values mean something.

use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::listen::Listeners;
use super::{Findings, target};
use crate::config::checked::{self, Address};
use crate::config::document::{ClientAuth, LoadBalancing, OnRemoved, Rule, Service, Span, TlsMode};
use crate::config::limits::RETRIES_MAX;
use crate::config::place::Place;
use crate::diagnostics::{
    AUTH_WITHOUT_TLS, BAD_DURATION, BAD_VALUE, DOMAIN_UNUSED, DUPLICATE_TARGET, FORWARD_UNUSED,
    NO_TARGETS, NOT_IN_RELEASE,
};

/// What the checks of one service need.
pub(super) struct Scope<'a, 'f> {
    pub(super) place: &'a Place<'a>,
    pub(super) dir: &'a Path,
    pub(super) listeners: &'a Listeners<'a>,
    pub(super) findings: &'a mut Findings<'f>,
}

impl Scope<'_, '_> {
    /// Checks a service. `None` if an error was found that leaves nothing to compile.
    pub(super) fn compile(&mut self, at: usize, service: &Service) -> Option<checked::Service> {
        self.not_in_release(service);
        let targets = self.targets(&service.rules);
        let timeouts = self.timeouts(service);
        let on_removed = match service.on_removed {
            OnRemoved::Keep => checked::OnRemoved::Keep,
            OnRemoved::CloseAfter(after) => checked::OnRemoved::CloseAfter(after.close_after.0),
        };
        if service.retries > RETRIES_MAX {
            let message = format!("{} retries are more than {RETRIES_MAX}", service.retries);
            let hint = "each may cost a whole connect deadline while the client waits";
            self.findings.add_with(&BAD_VALUE, &self.place.key("retries"), message, hint);
        }
        Some(checked::Service {
            id: Arc::from(service.id.as_deref()?),
            name: Arc::from(service.name.as_str()),
            listen: self.listeners.of(at)?,
            targets,
            limits: checked::Limits { connections: service.limits.connections },
            timeouts,
            retries: service.retries,
            on_removed,
            document: Arc::from(""),
        })
    }

    /// Values that the contract knows and this release does not serve.
    fn not_in_release(&mut self, service: &Service) {
        let place = self.place;
        match service.tls {
            TlsMode::Disabled => {}
            TlsMode::PassThrough | TlsMode::Enabled => {
                self.not_yet(&place.key("tls"), &format!("`tls` {:?}", service.tls));
            }
        }
        let auth = place.key("clientAuth");
        match (service.client_auth, service.tls) {
            (ClientAuth::None, _) => {}
            (wanted, TlsMode::Enabled) => self.not_yet(&auth, &format!("`clientAuth` {wanted:?}")),
            (wanted, _) if !self.findings.is_broken(&place.key("tls")) => {
                let message = format!(
                    "`clientAuth` {wanted:?} needs `tls` Enabled: without it no \
                                       client is asked for a certificate"
                );
                self.findings.add(&AUTH_WITHOUT_TLS, &auth, message);
            }
            _ => {}
        }
        let sni = place.key("sni");
        if service.sni.enabled {
            self.not_yet(&sni.key("enabled"), "routing by name (`sni.enabled`)");
        } else if service.sni.forward_if_no_match && !self.findings.is_broken(&sni.key("enabled")) {
            let message = "`forwardIfNoMatch` has no effect while `sni.enabled` is false";
            self.findings.add(&FORWARD_UNUSED, &sni.key("forwardIfNoMatch"), message);
        }
        self.load_balancing(service.load_balancing, place);
        let rules = place.key("rules");
        for (at, rule) in service.rules.iter().enumerate() {
            let place = rules.index(at);
            self.load_balancing(rule.load_balancing.unwrap_or_default(), &place);
            if rule.domain != "*" && !service.sni.enabled {
                let message = format!(
                    "`domain` `{}` has no effect: the service does not route by name, so the \
                     targets of all rules are used in turn",
                    rule.domain
                );
                self.findings.add(&DOMAIN_UNUSED, &place.key("domain"), message);
            }
        }
    }

    /// Reports a way of choosing targets that this release does not have.
    fn load_balancing(&mut self, chosen: LoadBalancing, place: &Place<'_>) {
        if chosen != LoadBalancing::RoundRobin {
            self.not_yet(&place.key("loadBalancing"), &format!("`loadBalancing` {chosen:?}"));
        }
    }

    /// Reports something that this release does not have.
    fn not_yet(&mut self, place: &Place<'_>, what: &str) {
        let message = format!("{what} is known but not in this release");
        self.findings.add(&NOT_IN_RELEASE, place, message);
    }

    /// The targets of all rules.
    fn targets(&mut self, rules: &[Rule]) -> Vec<checked::Target> {
        let outer = self.place.key("rules");
        let mut targets: Vec<checked::Target> = Vec::new();
        let mut seen: HashSet<(Address, Option<String>, u16)> = HashSet::new();
        let mut written = 0;
        for (at, rule) in rules.iter().enumerate() {
            let rule_place = outer.index(at);
            let list = rule_place.key("targets");
            written += rule.targets.len();
            for (at, document) in rule.targets.iter().enumerate() {
                let place = list.index(at);
                let Some(target) = target::compile(document, &place, self) else {
                    continue;
                };
                let name = matches!(target.address, Address::Name)
                    .then(|| target.host.trim_end_matches('.').to_ascii_lowercase());
                if !seen.insert((target.address.clone(), name, target.port)) {
                    let message = "the service has this target already: it gets a double share";
                    self.findings.add(&DUPLICATE_TARGET, &place, message);
                }
                targets.push(target);
            }
        }
        if written == 0 && !self.findings.is_broken_inside(&outer) {
            let hint =
                "\"rules\": [ { \"targets\": [ { \"host\": \"db.internal\", \"port\": 5432 } ] } ]";
            self.findings.add_with(&NO_TARGETS, &outer, "the service has no targets", hint);
        }
        targets
    }

    /// The time limits.
    fn timeouts(&mut self, service: &Service) -> checked::Timeouts {
        let timeouts = &service.timeouts;
        self.deadline("hello", Some(timeouts.hello), false);
        self.deadline("handshake", Some(timeouts.handshake), false);
        checked::Timeouts {
            connect: self.deadline("connect", Some(timeouts.connect), false).unwrap_or_default(),
            idle: self.deadline("idle", timeouts.idle, true),
            half_closed: self.deadline("halfClosed", timeouts.half_closed, true),
            lifetime: self.deadline("lifetime", timeouts.lifetime, true),
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
