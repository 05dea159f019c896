//! Who may connect, how often and how fast: `access`, `limits`, and the jitter of lifetimes.

use std::num::NonZeroU64;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::service::Scope;
use super::{file, rule};
use crate::config::checked::{self, Sources};
use crate::config::document::{
    Access, AccessDefault, BytesPerSecond, ConnectionRate, Jitter, Limits, Size,
};
use crate::config::limits;
use crate::config::networks::Networks;
use crate::config::place::Place;
use crate::diagnostics::{
    ALLOW_UNUSED, BAD_DURATION, BAD_VALUE, EMPTY_ACCESS, EXEMPT_UNUSED, LONG_LIST, NOBODY_ALLOWED,
};

impl Scope<'_, '_> {
    /// Checks `access`.
    pub(super) fn access(&mut self, access: Option<&Access>) -> Option<checked::Access> {
        let Access { allow, allow_file, deny, deny_file, default } = access?;
        let place = self.place.key("access");
        let known = !self.findings.is_broken_inside(&place);
        let allows = allow.is_some() || allow_file.is_some();
        if !allows && deny.is_none() && deny_file.is_none() && default.is_none() && known {
            let message = "`access` is empty";
            let hint = "name at least one of `allow`, `deny` and `default`";
            self.findings.add_with(&EMPTY_ACCESS, &place, message, hint);
        }
        let allowed = self.sources("allow", allow.as_deref(), allow_file.as_ref(), &place);
        let denied = self.sources("deny", deny.as_deref(), deny_file.as_ref(), &place);
        let others = match default {
            Some(AccessDefault::Allow) => true,
            Some(AccessDefault::Deny) => false,
            None => !allows,
        };
        let nobody = allow.as_deref().unwrap_or_default().is_empty() && allow_file.is_none();
        if !others && nobody && known {
            let (key, why) = match default {
                Some(_) => ("default", "`default` is Deny and no network is allowed"),
                None => ("allow", "`allow` is empty, and `default` is then Deny"),
            };
            let message = format!("nobody may connect: {why}");
            self.findings.add(&NOBODY_ALLOWED, &place.key(key), message);
        }
        if others && allows && known {
            let message = "the list changes nothing: `default` is Allow for everybody else";
            let hint = "set `default` to Deny, or leave it out";
            let key = if allow.is_some() { "allow" } else { "allowFile" };
            self.findings.add_with(&ALLOW_UNUSED, &place.key(key), message, hint);
        }
        Some(checked::Access { allow: allowed, deny: denied, others })
    }

    /// A list and the file of its other half.
    fn sources(
        &mut self,
        key: &str,
        list: Option<&[String]>,
        path: Option<&PathBuf>,
        outer: &Place<'_>,
    ) -> Sources {
        let networks = self.networks(list, &outer.key(key));
        let key = format!("{key}File");
        let file = path.map(|path| file(path, self.dir, &outer.key(&key), self.findings));
        Sources { networks, file }
    }

    /// A list of networks, which may be empty.
    fn networks(&mut self, list: Option<&[String]>, place: &Place<'_>) -> Arc<Networks> {
        let list = list.filter(|list| !list.is_empty());
        let networks: Networks = rule::networks(list, place, self.findings).into_iter().collect();
        if networks.len() > limits::NETWORKS_INLINE_MAX {
            let message = format!("{} networks are in every event of the service", networks.len());
            let hint = "put them into a file, one a line, and name it in `allowFile` or `denyFile`";
            self.findings.add_with(&LONG_LIST, place, message, hint);
        }
        Arc::new(networks)
    }

    /// Checks `limits`.
    pub(super) fn limits(&mut self, limits: &Limits) -> checked::Limits {
        let place = self.place.key("limits");
        let rate = limits.connection_rate.as_ref();
        let rate_place = place.key("connectionRate");
        let lists = [
            (limits.exempt.as_deref(), place.key("exempt")),
            (rate.and_then(|rate| rate.exempt.as_deref()), rate_place.key("exempt")),
        ];
        let nothing = limits.connections_per_source.is_none() && rate.is_none();
        let mut exempt = Vec::new();
        for (list, place) in &lists {
            let Some(list) = list else { continue };
            if nothing && !self.findings.is_broken_inside(&self.place.key("limits")) {
                let message = "`exempt` has no effect: no limit of a source is set";
                self.findings.add(&EXEMPT_UNUSED, place, message);
            }
            // An empty list exempts nobody, as it says.
            let list = Some(*list).filter(|list| !list.is_empty());
            exempt.extend(rule::networks(list, place, self.findings));
        }
        let parts = limits.bytes_per_second.map(|limit| (limit, limit.parts()));
        let bytes = place.key("bytesPerSecond");
        let mut bandwidth = |size: Option<Size>, key: Option<&str>| match key {
            Some(key) => self.bandwidth(size, &bytes.key(key)),
            None => self.bandwidth(size, &bytes),
        };
        let (whole, of_each) = match parts {
            None => (None, None),
            Some((BytesPerSecond::Service(size), _)) => (bandwidth(Some(size), None), None),
            Some((_, parts)) => (
                bandwidth(parts.service, Some("service")),
                bandwidth(parts.connection, Some("connection")),
            ),
        };
        if let Some((_, parts)) = parts
            && parts.service.is_none()
            && parts.connection.is_none()
            && !self.findings.is_broken_inside(&bytes)
        {
            let hint = "name `service`, `connection` or both, or leave the key out";
            self.findings.add_with(&BAD_VALUE, &bytes, "the object is empty", hint);
        }
        checked::Limits {
            connections: limits.connections,
            connections_per_source: limits.connections_per_source,
            connection_rate: rate.and_then(|rate| self.rate(rate, &rate_place)),
            exempt: Arc::new(exempt.into_iter().collect()),
            bandwidth: whole,
            bandwidth_of_each: of_each,
        }
    }

    fn bandwidth(&mut self, size: Option<Size>, place: &Place<'_>) -> Option<NonZeroU64> {
        let Size(bytes) = size?;
        if !(limits::BANDWIDTH_MIN..=limits::BANDWIDTH_MAX).contains(&bytes) {
            let (least, most) = (Size(limits::BANDWIDTH_MIN), Size(limits::BANDWIDTH_MAX));
            let message = format!("a bandwidth is {least} to {most} per second");
            self.findings.add_with(&BAD_VALUE, place, message, "null is no limit");
        }
        NonZeroU64::new(bytes)
    }

    fn rate(
        &mut self,
        rate: &ConnectionRate,
        place: &Place<'_>,
    ) -> Option<checked::ConnectionRate> {
        let per = rate.per.0;
        if per.is_zero() {
            let message = "`per` is zero: no time is left to count in";
            self.findings.add(&BAD_DURATION, &place.key("per"), message);
        }
        let Some(count) = rate.count else {
            let hint = "\"connectionRate\": { \"count\": 10, \"per\": \"1s\" }";
            self.findings.missing(place, "count", hint);
            return None;
        };
        Some(checked::ConnectionRate { count, per, burst: rate.burst.unwrap_or(count) })
    }

    /// Checks `timeouts.lifetimeJitter`.
    pub(super) fn jitter(&mut self, jitter: Jitter, lifetime: Option<Duration>) -> Duration {
        let Some(lifetime) = lifetime else { return Duration::ZERO };
        match jitter {
            Jitter::Percent(percent) => lifetime * u32::from(percent) / 100,
            Jitter::Span(span) => {
                if span.0 > lifetime {
                    let outer = self.place.key("timeouts");
                    let message = "`lifetimeJitter` is longer than `lifetime`";
                    let hint = "a share is easier to keep right: \"10%\"";
                    let place = outer.key("lifetimeJitter");
                    self.findings.add_with(&BAD_DURATION, &place, message, hint);
                }
                span.0.min(lifetime)
            }
        }
    }
}
