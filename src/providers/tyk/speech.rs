//! How TLS is spoken to the targets of a definition: its `upstream_certificates`,
//! `pinned_public_keys` and `transport`, and the gateway's.
//!
//! A pinned key is looked for besides the verification of the chain, where Tyk gives that up. With
//! `ssl_insecure_skip_verify` too, the key of the target's own certificate is enough.

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde_json::{Map, Value, json};

use super::Faults;
use super::certificates::Certificates;
use super::definition::{Definition, Home, Transport};
use super::gateway::Gateway;
use super::transport::{self, Spoken};
use super::upstream::Upstream;
use crate::diagnostics::{TYK_CERTIFICATE, TYK_CIPHER, TYK_IDLE, TYK_PINS, TYK_TRANSPORT, visible};

/// Hosts and what is for them.
type Hosts = BTreeMap<String, String>;

/// What is for hosts, of the gateway and of the definition, which overrides it.
#[derive(Debug, Default)]
struct PerHost {
    gateway: Hosts,
    own: Hosts,
    /// The path of the definition's.
    path: String,
}

impl PerHost {
    /// What is for a host: of the last map that has an entry the most specific. `*.` is one label.
    /// Also whether it is the definition's.
    fn of(&self, host: &str, port: u16) -> Option<(&str, bool)> {
        let keys = keys(host, port);
        let of_map = |map: &'_ Hosts| -> Option<String> {
            let entry =
                |key: &String| map.iter().find(|(known, _)| known.eq_ignore_ascii_case(key));
            keys.iter().rev().find_map(entry).map(|(known, _)| known.clone())
        };
        let value = |map, own| Some((Hosts::get(map, &of_map(map)?)?.as_str(), own));
        let found = value(&self.own, true).or_else(|| value(&self.gateway, false));
        // An empty entry is that there is none.
        found.filter(|(value, _)| !value.trim().is_empty())
    }
}

/// The keys that are for a host, from the least specific on.
fn keys(host: &str, port: u16) -> Vec<String> {
    let host = host.to_ascii_lowercase();
    let mut keys = vec!["*".to_owned()];
    if host.parse::<IpAddr>().is_err()
        && let Some((_, parent)) = host.split_once('.')
    {
        keys.extend([format!("*.{parent}"), format!("*.{parent}:{port}")]);
    }
    keys.extend([host.clone(), format!("{host}:{port}")]);
    keys
}

/// What is said of TLS with targets.
#[derive(Debug)]
pub(super) struct Speech<'a> {
    spoken: Spoken,
    certificates: PerHost,
    pins: PerHost,
    definition: &'a Definition<'a>,
    store: &'a Certificates,
    gateway: &'a Gateway,
}

impl<'a> Speech<'a> {
    /// Reads it for targets to which TLS is spoken. `None`: it cannot be had, which was told, or there
    /// is no TLS.
    pub(super) fn read(
        definition: &'a Definition<'a>,
        upstream: &Upstream,
        store: &'a Certificates,
        gateway: &'a Gateway,
        faults: &mut Faults<'_>,
    ) -> Option<Self> {
        let security = gateway.security();
        let pins = pins(definition, faults);
        let certificates = own_certificates(definition, faults);
        if !upstream.secure {
            if !pins.own.is_empty() {
                let message = "keys are pinned, but the targets are not spoken to by TLS";
                faults.refuse(definition, &TYK_PINS, &pins.path, message);
            }
            if !certificates.own.is_empty() {
                let message = "`upstream_certificates` have no effect: the targets are tcp://";
                faults.tell(definition.part.finding(&TYK_IDLE, &certificates.path, message));
            }
            return None;
        }
        let speech = Self {
            spoken: spoken(definition, gateway, !pins.own.is_empty(), faults)?,
            certificates: PerHost {
                gateway: security.certificates.unwrap_or_default().upstream.unwrap_or_default(),
                ..certificates
            },
            pins: PerHost { gateway: security.pinned_public_keys.unwrap_or_default(), ..pins },
            definition,
            store,
            gateway,
        };
        speech.check_hosts(upstream, faults);
        Some(speech)
    }

    /// Entries for hosts that are no target have no effect; those for hosts that are known only at
    /// run time cannot be found.
    fn check_hosts(&self, upstream: &Upstream, faults: &mut Faults<'_>) {
        let known: Vec<String> =
            upstream.endpoints.iter().flat_map(|it| keys(&it.host, it.port)).collect();
        for (hosts, code) in [(&self.certificates, &TYK_CERTIFICATE), (&self.pins, &TYK_PINS)] {
            for key in hosts.own.keys().filter(|key| *key != "*") {
                let path = format!("{}.{key}", hosts.path);
                if upstream.discovery.is_some() {
                    let message = "the hosts of a fetched list are not known yet: only `*` can be \
                                   for them";
                    faults.refuse(self.definition, code, &path, message);
                } else if !known.iter().any(|known| known.eq_ignore_ascii_case(key)) {
                    let message = format!("`{}` is for no target", visible(key));
                    faults.tell(self.definition.part.finding(&TYK_IDLE, &path, message));
                }
            }
        }
    }

    /// Writes how TLS is spoken to a host as members of a native target; `None`: to any host.
    pub(super) fn write(
        &self,
        at: Option<(&str, u16)>,
        members: &mut Map<String, Value>,
        faults: &mut Faults<'_>,
    ) {
        members.insert("tls".into(), json!(true));
        let (host, port) = at.unwrap_or(("*", 0));
        let base = |own| if own { &self.definition.part.dir } else { &self.gateway.dir };
        if let Some((name, own)) = self.certificates.of(host, port) {
            match self.store.pair(name.trim(), base(own)) {
                Ok(pair) => {
                    let mut shown = Map::from_iter([("certFile".to_owned(), json!(pair.cert))]);
                    if let Some(key) = pair.key {
                        shown.insert("keyFile".into(), json!(key));
                    }
                    members.insert("clientCertificate".into(), Value::Object(shown));
                }
                Err(why) => {
                    let path = self.certificates.path.as_str();
                    faults.refuse(self.definition, &TYK_CERTIFICATE, path, why);
                }
            }
        }
        let mut pins = Vec::new();
        if let Some((names, own)) = self.pins.of(host, port) {
            for name in names.split(',').map(str::trim).filter(|name| !name.is_empty()) {
                match self.store.pin(name, base(own)) {
                    Ok(pin) if !pins.contains(&pin) => pins.push(pin),
                    Ok(_) => {}
                    Err(why) => {
                        faults.refuse(self.definition, &TYK_PINS, &self.pins.path, why);
                    }
                }
            }
        }
        if self.spoken.insecure && pins.is_empty() {
            members.insert("insecureSkipVerify".into(), json!(true));
        } else if self.spoken.insecure {
            members.insert("pinOnly".into(), json!(true));
        } else if let Some(path) = &self.gateway.ca_file {
            members.insert("caFile".into(), json!(path));
        }
        if !pins.is_empty() {
            members.insert("pinnedPublicKeys".into(), json!(pins));
        }
        self.spoken.versions.write(members);
    }
}

fn pins(definition: &Definition<'_>, faults: &mut Faults<'_>) -> PerHost {
    let found = &mut *faults.found;
    let disabled = definition.is_on(
        "certificate_pinning_disabled",
        Home::Top,
        |it| it.certificate_pinning_disabled.as_ref(),
        found,
    );
    let pins =
        definition.get("pinned_public_keys", Home::Top, |it| it.pinned_public_keys.as_ref(), found);
    PerHost::written(pins.filter(|_| !disabled).map(|it| (it.path, it.value)))
}

fn own_certificates(definition: &Definition<'_>, faults: &mut Faults<'_>) -> PerHost {
    let found = &mut *faults.found;
    let disabled = definition.is_on(
        "upstream_certificates_disabled",
        Home::Top,
        |it| it.upstream_certificates_disabled.as_ref(),
        found,
    );
    let own = definition.get(
        "upstream_certificates",
        Home::Top,
        |it| it.upstream_certificates.as_ref(),
        found,
    );
    PerHost::written(own.filter(|_| !disabled).map(|it| (it.path, it.value)))
}

impl PerHost {
    fn written(own: Option<(String, &Hosts)>) -> Self {
        let (path, own) = own.map(|(path, own)| (path, own.clone())).unwrap_or_default();
        Self { gateway: Hosts::new(), own, path }
    }
}

/// What `transport` and the gateway say.
fn spoken(
    definition: &Definition<'_>,
    gateway: &Gateway,
    pinned: bool,
    faults: &mut Faults<'_>,
) -> Option<Spoken> {
    let own = definition.get("transport", Home::Proxy, |it| it.transport.as_ref(), faults.found);
    let none = Transport::default();
    let (path, own) = own.map_or(("proxy.transport".to_owned(), &none), |it| (it.path, it.value));
    let mut left_out = Vec::new();
    let spoken = transport::read(own, &gateway.transport(), &mut left_out);
    for fault in left_out {
        let path = format!("{path}.{}", fault.key);
        faults.tell(definition.part.finding(&TYK_CIPHER, &path, fault.message));
    }
    match spoken {
        Ok(spoken) if spoken.common_name && spoken.insecure && !pinned => {
            let message = "a name is verified only together with the chain, which \
                           `ssl_insecure_skip_verify` gives up";
            let path = format!("{path}.ssl_force_common_name_check");
            faults.refuse(definition, &TYK_TRANSPORT, &path, message);
            None
        }
        Ok(spoken) => Some(spoken),
        Err(fault) => {
            let path = format!("{path}.{}", fault.key);
            faults.refuse(definition, &TYK_TRANSPORT, &path, fault.message);
            None
        }
    }
}
