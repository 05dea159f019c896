//! An API definition as Tyk's files have it, as far as it is about TCP and TLS. Everything may be
//! null, as Go writes empty lists; what is not here is passed over.
//!
//! The documentation has members at the top level that the schema has under `proxy`. So every member
//! is taken at both places; see [`Definition::get`].

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use serde::de::value::SeqAccessDeserializer;
use serde::de::{self, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

use crate::config::span::Span;
use crate::diagnostics::{Diagnostic, TYK_SAID_TWICE};
use crate::providers::foreign::Part;

/// The members of a definition.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct Members {
    pub(super) name: Option<String>,
    pub(super) api_id: Option<String>,
    pub(super) slug: Option<String>,
    pub(super) active: Option<bool>,
    pub(super) listen_port: Option<i64>,
    pub(super) protocol: Option<String>,
    pub(super) domain: Option<String>,
    pub(super) domain_disabled: Option<bool>,
    pub(super) enable_proxy_protocol: Option<bool>,
    /// As the documentation has it.
    pub(super) certificate: Option<Names>,
    /// As the schema has it.
    pub(super) certificates: Option<Names>,
    pub(super) use_mutual_tls_auth: Option<bool>,
    pub(super) client_certificates: Option<Names>,
    pub(super) upstream_certificates: Option<BTreeMap<String, String>>,
    pub(super) upstream_certificates_disabled: Option<bool>,
    pub(super) pinned_public_keys: Option<BTreeMap<String, String>>,
    pub(super) certificate_pinning_disabled: Option<bool>,
    pub(super) uptime_tests: Option<UptimeTests>,
    pub(super) target_url: Option<String>,
    pub(super) target_list: Option<Vec<String>>,
    pub(super) enable_load_balancing: Option<bool>,
    pub(super) check_host_against_uptime_tests: Option<bool>,
    pub(super) service_discovery: Option<ServiceDiscovery>,
    pub(super) transport: Option<Transport>,
    pub(super) proxy: Option<Box<Members>>,
}

/// Every key that is read, for whoever misspells one.
pub(super) const KEYS: [&str; 25] = [
    "name",
    "api_id",
    "slug",
    "active",
    "listen_port",
    "protocol",
    "domain",
    "domain_disabled",
    "enable_proxy_protocol",
    "certificate",
    "certificates",
    "use_mutual_tls_auth",
    "client_certificates",
    "upstream_certificates",
    "upstream_certificates_disabled",
    "pinned_public_keys",
    "certificate_pinning_disabled",
    "uptime_tests",
    "target_url",
    "target_list",
    "enable_load_balancing",
    "check_host_against_uptime_tests",
    "service_discovery",
    "transport",
    "proxy",
];

/// `uptime_tests`.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub(super) struct UptimeTests {
    pub(super) disabled: Option<bool>,
    pub(super) check_list: Option<Vec<Check>>,
    pub(super) config: Option<UptimeConfig>,
}

/// `uptime_tests.config`, of a definition and of the gateway.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub(super) struct UptimeConfig {
    /// Failures in a row after which a host is down.
    pub(super) failure_trigger_sample_size: Option<i64>,
    /// Seconds between two checks.
    pub(super) time_wait: Option<i64>,
    pub(super) service_discovery: Option<ServiceDiscovery>,
}

/// An entry of `uptime_tests.check_list`.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub(super) struct Check {
    pub(super) url: Option<String>,
    pub(super) protocol: Option<String>,
    pub(super) timeout: Option<GoDuration>,
    pub(super) enable_proxy_protocol: Option<bool>,
    pub(super) commands: Option<Vec<Command>>,
    pub(super) method: Option<String>,
    pub(super) headers: Option<BTreeMap<String, String>>,
    /// Base64.
    pub(super) body: Option<String>,
}

/// One of the `commands` of a check.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub(super) struct Command {
    pub(super) name: Option<String>,
    pub(super) message: Option<String>,
}

/// `proxy.service_discovery`.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub(super) struct ServiceDiscovery {
    pub(super) use_discovery_service: Option<bool>,
    pub(super) query_endpoint: Option<String>,
    pub(super) use_nested_query: Option<bool>,
    pub(super) parent_data_path: Option<String>,
    pub(super) data_path: Option<String>,
    pub(super) port_data_path: Option<String>,
    pub(super) use_target_list: Option<bool>,
    pub(super) cache_disabled: Option<bool>,
    /// Seconds.
    pub(super) cache_timeout: Option<i64>,
    pub(super) endpoint_returns_list: Option<bool>,
}

/// `proxy.transport`.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub(super) struct Transport {
    pub(super) ssl_insecure_skip_verify: Option<bool>,
    pub(super) ssl_ciphers: Option<Vec<String>>,
    /// The version as on the wire: 771 is TLS 1.2.
    pub(super) ssl_min_version: Option<i64>,
    pub(super) ssl_max_version: Option<i64>,
    pub(super) ssl_force_common_name_check: Option<bool>,
}

/// A name, or several.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Names(pub(super) Vec<String>);

impl<'de> Deserialize<'de> for Names {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(NamesVisitor)
    }
}

struct NamesVisitor;

impl<'de> Visitor<'de> for NamesVisitor {
    type Value = Names;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string or an array of strings")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Names, E> {
        Ok(Names(vec![text.to_owned()]))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, elements: A) -> Result<Names, A::Error> {
        Vec::deserialize(SeqAccessDeserializer::new(elements)).map(Names)
    }
}

/// A duration as Go writes it into JSON: nanoseconds; or with units, as people do.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct GoDuration(pub(super) Duration);

impl<'de> Deserialize<'de> for GoDuration {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(GoDurationVisitor)
    }
}

struct GoDurationVisitor;

impl Visitor<'_> for GoDurationVisitor {
    type Value = GoDuration;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("nanoseconds, or a string such as \"5s\"")
    }

    fn visit_u64<E: de::Error>(self, nanoseconds: u64) -> Result<GoDuration, E> {
        Ok(GoDuration(Duration::from_nanos(nanoseconds)))
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<GoDuration, E> {
        let fault = |why| E::custom(format!("`{}` {why}", crate::diagnostics::visible(text)));
        let Span(duration) = Span::parse(text).map_err(fault)?;
        Ok(GoDuration(duration))
    }
}

/// Where Tyk's schema has a member.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Home {
    Top,
    Proxy,
}

/// A member that was found, with its path.
#[derive(Debug)]
pub(super) struct Found<'a, T> {
    pub(super) path: String,
    pub(super) value: &'a T,
}

/// A decoded definition.
#[derive(Debug)]
pub(super) struct Definition<'a> {
    pub(super) part: &'a Part,
    pub(super) members: &'a Members,
}

impl<'a> Definition<'a> {
    /// A member, wherever it stands. If it stands at both places with two values, that counts which
    /// is at home, and the other is reported.
    pub(super) fn get<T: PartialEq>(
        &self,
        key: &str,
        home: Home,
        of: impl Fn(&'a Members) -> Option<&'a T>,
        found: &mut Vec<Diagnostic>,
    ) -> Option<Found<'a, T>> {
        let top = of(self.members).map(|value| Found { path: key.to_owned(), value });
        let proxy = self.members.proxy.as_deref().and_then(of);
        let proxy = proxy.map(|value| Found { path: format!("proxy.{key}"), value });
        let (at_home, other) = match home {
            Home::Top => (top, proxy),
            Home::Proxy => (proxy, top),
        };
        if let (Some(at_home), Some(other)) = (&at_home, &other)
            && at_home.value != other.value
        {
            let message = format!("`{}` says something else, and that counts", at_home.path);
            found.push(self.part.finding(&TYK_SAID_TWICE, &other.path, message));
        }
        at_home.or(other)
    }

    /// A switch; off where it is not there.
    pub(super) fn is_on(
        &self,
        key: &str,
        home: Home,
        of: impl Fn(&'a Members) -> Option<&'a bool>,
        found: &mut Vec<Diagnostic>,
    ) -> bool {
        self.get(key, home, of, found).is_some_and(|found| *found.value)
    }
}
