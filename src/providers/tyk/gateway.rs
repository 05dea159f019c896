//! The gateway's own configuration (`tyk.conf`), as far as it is about TCP and TLS.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::Deserialize;

use super::definition::{Names, Transport, UptimeConfig};
use super::transport::{self, Versions};
use crate::config::document::Tyk;
use crate::diagnostics::{Diagnostic, TYK_CIPHER, TYK_CONF};
use crate::providers::Context;
use crate::providers::foreign::{Format, Part};

/// What it says.
#[derive(Debug, Default)]
pub(super) struct Gateway {
    pub(super) settings: Settings,
    /// How TLS is spoken with clients.
    pub(super) client_side: Versions,
    /// Where its relative paths start.
    pub(super) dir: PathBuf,
    /// `caFile` of the provider.
    pub(super) ca_file: Option<PathBuf>,
}

/// The members that are read.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct Settings {
    pub(super) listen_address: Option<String>,
    pub(super) ports_whitelist: Option<BTreeMap<String, Ports>>,
    pub(super) disable_ports_whitelist: Option<bool>,
    pub(super) uptime_tests: Option<Uptime>,
    pub(super) security: Option<Security>,
    pub(super) service_discovery: Option<Discovery>,
    pub(super) proxy_ssl_insecure_skip_verify: Option<bool>,
    pub(super) proxy_ssl_min_version: Option<i64>,
    pub(super) proxy_ssl_max_version: Option<i64>,
    pub(super) proxy_ssl_ciphers: Option<Vec<String>>,
    pub(super) ssl_force_common_name_check: Option<bool>,
    pub(super) http_server_options: Option<Server>,
}

/// `uptime_tests`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct Uptime {
    pub(super) disable: Option<bool>,
    pub(super) config: Option<UptimeConfig>,
}

/// `security`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct Security {
    pub(super) certificates: Option<SecurityCertificates>,
    pub(super) pinned_public_keys: Option<BTreeMap<String, String>>,
}

/// `security.certificates`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct SecurityCertificates {
    /// Client certificates for all definitions that ask for one.
    pub(super) apis: Option<Names>,
    pub(super) upstream: Option<BTreeMap<String, String>>,
}

/// `service_discovery`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct Discovery {
    /// Seconds.
    pub(super) default_cache_timeout: Option<i64>,
}

/// `http_server_options`, which Tyk's TLS listeners follow too.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct Server {
    pub(super) min_version: Option<i64>,
    pub(super) max_version: Option<i64>,
    pub(super) ssl_ciphers: Option<Vec<String>>,
}

/// An entry of `ports_whitelist`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct Ports {
    pub(super) ports: Option<Vec<i64>>,
    pub(super) ranges: Option<Vec<Range>>,
}

/// Ports from one to another, both included.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct Range {
    pub(super) from: Option<i64>,
    pub(super) to: Option<i64>,
}

impl Gateway {
    /// Reads it, if there is one. `None`: it cannot be used, which was told.
    pub(super) fn read(
        written: &Tyk,
        context: &Context<'_>,
        found: &mut Vec<Diagnostic>,
    ) -> Option<Self> {
        let ca_file = written.ca_file.as_ref().map(|path| context.dir.join(path));
        let Some(path) = &written.config else {
            return Some(Self { ca_file, ..Self::default() });
        };
        let file = context.files.one(&context.dir.join(path), found)?;
        let mut parts = file.parts(Format::Json, found);
        let whole = |part: &Part| part.path.is_empty();
        let Some(part) = parts.first_mut().filter(|part| whole(part)) else {
            let finding = Diagnostic::new(&TYK_CONF, "", "the file is not one JSON object");
            found.push(finding.in_file(&file.place));
            return None;
        };
        let decoded = part.decode::<Settings>(found);
        if !decoded.broken.is_empty() {
            let message = "with these faults it cannot be known what the gateway asks for";
            found.push(part.finding(&TYK_CONF, "", message));
            return None;
        }
        let client_side = client_side(&decoded.value, part, found)?;
        Some(Self { settings: decoded.value, client_side, dir: file.dir, ca_file })
    }

    /// Whether it lets definitions have a port.
    pub(super) fn allows(&self, protocol: &str, port: u16) -> bool {
        if self.settings.disable_ports_whitelist == Some(true) {
            return true;
        }
        let port = i64::from(port);
        let lists = self.settings.ports_whitelist.as_ref();
        lists.and_then(|lists| lists.get(protocol)).is_some_and(|list| {
            let is_between = |range: &Range| {
                range.from.is_some_and(|from| from <= port) && range.to.is_some_and(|to| port <= to)
            };
            list.ports.iter().flatten().any(|one| *one == port)
                || list.ranges.iter().flatten().any(is_between)
        })
    }

    /// `security`, whatever of it there is.
    pub(super) fn security(&self) -> Security {
        self.settings.security.clone().unwrap_or_default()
    }

    /// What it says of TLS with targets.
    pub(super) fn transport(&self) -> Transport {
        let settings = &self.settings;
        Transport {
            ssl_insecure_skip_verify: settings.proxy_ssl_insecure_skip_verify,
            ssl_ciphers: settings.proxy_ssl_ciphers.clone(),
            ssl_min_version: settings.proxy_ssl_min_version,
            ssl_max_version: settings.proxy_ssl_max_version,
            ssl_force_common_name_check: settings.ssl_force_common_name_check,
        }
    }
}

/// How TLS is spoken with clients. `None`: as it cannot be, which was told.
fn client_side(settings: &Settings, part: &Part, found: &mut Vec<Diagnostic>) -> Option<Versions> {
    let server = settings.http_server_options.clone().unwrap_or_default();
    let suites = server.ssl_ciphers.unwrap_or_default();
    let mut left_out = Vec::new();
    let read = transport::versions(server.min_version, server.max_version, &suites, &mut left_out);
    let path = |fault: &transport::Fault| {
        // Suites have the same key in both places, versions have not.
        let key = match fault.key {
            "ssl_min_version" => "min_version",
            "ssl_max_version" => "max_version",
            key => key,
        };
        format!("http_server_options.{key}")
    };
    for fault in left_out {
        found.push(part.finding(&TYK_CIPHER, &path(&fault), fault.message));
    }
    match read {
        Ok(versions) => Some(versions),
        Err(fault) => {
            found.push(part.finding(&TYK_CONF, &path(&fault), fault.message));
            None
        }
    }
}
