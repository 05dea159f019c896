//! Lists of targets that are found while the proxy runs: where they come from, what was found, and
//! the targets that it means. The control thread keeps them current
//! ([`control::discover`](crate::control::discover)); a change of one is a new
//! [`Snapshot`](super::snapshot::Snapshot) of the same configuration.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use rustls::pki_types::ServerName;

use super::checked::health::TargetCheck;
use super::checked::{Address, Discovery, Rule, Service, Target, UpstreamTls};
use super::limits;

/// Where a list comes from. What has the same source shares the list, also over reloads.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Source {
    /// SRV records of this name.
    Srv(Arc<str>),
    /// A document.
    Http(Arc<Query>),
}

/// A document, and how a list of targets is read out of it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Query {
    /// Where it is.
    pub url: Url,
    /// `headers`, and whether they are the contents of files.
    pub headers: Vec<(Arc<str>, Header)>,
    /// How TLS is spoken to the endpoint; `None`: not at all.
    pub tls: Option<UpstreamTls>,
    /// `list`.
    pub list: JsonPath,
    /// `nested`.
    pub nested: Option<JsonPath>,
    /// `target`.
    pub target: JsonPath,
    /// `port`.
    pub port: Option<JsonPath>,
    /// `weight`.
    pub weight: Option<JsonPath>,
    /// `firstOnly`.
    pub first_only: bool,
}

/// Where the value of a header comes from.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Header {
    /// It was written.
    Value(Arc<str>),
    /// It is in a file. An absolute path.
    File(PathBuf),
}

/// An `http` or `https` URL in parts.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Url {
    /// As written, for people.
    pub text: Arc<str>,
    /// `https`.
    pub secure: bool,
    /// Without the brackets of IPv6.
    pub host: Arc<str>,
    /// Also where it was left out.
    pub port: u16,
    /// The `Host` header.
    pub authority: Arc<str>,
    /// Path and query; at least `/`.
    pub path: Arc<str>,
}

/// Keys that lead to a place in a document; none: the document itself.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct JsonPath(Arc<[Box<str>]>);

/// What was found, by its source. A source without a list has none yet.
pub type Found = HashMap<Source, Arc<Vec<FoundTarget>>>;

/// One target of a list.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FoundTarget {
    /// Its name or address.
    pub host: Arc<str>,
    /// Its port, if the list says it.
    pub port: Option<u16>,
    /// Its weight, if the list says it.
    pub weight: Option<u32>,
    /// Used only when none of a lower tier can be.
    pub tier: u8,
    /// TLS is spoken to it.
    pub secure: bool,
}

impl fmt::Display for FoundTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.secure { "tls://" } else { "" })?;
        match self.address() {
            Address::Ip(ip) if ip.is_ipv6() => write!(f, "[{ip}]")?,
            _ => f.write_str(&self.host)?,
        }
        self.port.map_or(Ok(()), |port| write!(f, ":{port}"))
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Srv(name) => write!(f, "srv {name}"),
            Self::Http(query) => f.write_str(&query.url.text),
        }
    }
}

impl JsonPath {
    /// Reads keys joined by dots. `None`: there is nothing between two dots.
    pub fn parse(text: &str) -> Option<Self> {
        if text.is_empty() {
            return Some(Self::default());
        }
        let keys: Arc<[Box<str>]> = text.split('.').map(Box::from).collect();
        keys.iter().all(|key| !key.is_empty()).then_some(Self(keys))
    }

    /// Every place that it leads to: a key of an array is that of each of its elements.
    pub fn find<'a>(&self, document: &'a serde_json::Value) -> Vec<&'a serde_json::Value> {
        use serde_json::Value::{Array, Object};
        let mut places = vec![document];
        for key in &*self.0 {
            let mut next = Vec::new();
            for place in places {
                match place {
                    Object(members) => next.extend(members.get(&**key)),
                    Array(elements) => match key.parse::<usize>() {
                        Ok(index) => next.extend(elements.get(index)),
                        Err(_) => next.extend(elements.iter().filter_map(|it| it.get(&**key))),
                    },
                    _ => {}
                }
            }
            places = next;
        }
        places
    }
}

impl Source {
    /// How TLS is spoken to the endpoint.
    pub(super) fn endpoint_tls(&self) -> Option<&UpstreamTls> {
        match self {
            Self::Http(query) => query.tls.as_ref(),
            Self::Srv(_) => None,
        }
    }

    /// The source of a target's records.
    pub fn of(target: &Target) -> Option<Self> {
        (target.address == Address::Srv).then(|| Self::Srv(Arc::clone(&target.host)))
    }
}

impl FoundTarget {
    /// Where its addresses come from.
    pub fn address(&self) -> Address {
        let bare = self.host.trim_start_matches('[').trim_end_matches(']');
        bare.parse().map_or(Address::Name, Address::Ip)
    }

    /// The target with what is said of all of them.
    fn target(&self, template: &Target, secure: Option<&UpstreamTls>) -> Target {
        let named = |tls: &UpstreamTls| {
            let own = self.host.trim_matches(['[', ']']).trim_end_matches('.').to_ascii_lowercase();
            let empty = tls.server_name.is_empty();
            let server_name = if empty { Arc::from(own) } else { Arc::clone(&tls.server_name) };
            UpstreamTls { server_name, ..tls.clone() }
        };
        let secure = secure.filter(|_| self.secure);
        let tls = template.tls.as_ref().or(secure).map(named);
        let check = template.check.as_ref().map(|check| TargetCheck {
            tls: match &check.tls {
                Some(own) if !check.as_target && tls.is_none() => Some(named(own)),
                None if !check.as_target => None,
                _ => tls.clone(),
            },
            ..check.clone()
        });
        Target {
            host: Arc::clone(&self.host),
            address: self.address(),
            port: self.port.unwrap_or(template.port),
            tls,
            // A weight of 0 for all takes the list out of use.
            weight: if template.weight == 0 { 0 } else { self.weight.unwrap_or(template.weight) },
            tier: self.tier.saturating_add(template.tier).min(limits::TIER_MAX),
            max_connections: template.max_connections,
            header: template.header,
            check,
            own_health: template.own_health.clone(),
        }
    }
}

/// The targets of a rule: those that were written, each name of SRV records replaced by what it
/// stands for, and those of its lists.
pub(super) fn targets_of<'a>(
    written: &'a [Target],
    discoveries: &[Discovery],
    found: &Found,
) -> Cow<'a, [Target]> {
    if discoveries.is_empty() && written.iter().all(|target| target.address != Address::Srv) {
        return Cow::Borrowed(written);
    }
    let list = |source: &Source| found.get(source).map_or(&[][..], |list| list.as_slice());
    let mut targets = Vec::new();
    for target in written {
        match Source::of(target) {
            Some(source) => targets.extend(list(&source).iter().map(|it| it.target(target, None))),
            None => targets.push(target.clone()),
        }
    }
    for Discovery { source, template, secure, .. } in discoveries {
        targets.extend(list(source).iter().map(|it| it.target(template, Some(secure))));
    }
    // A name that TLS has no form for cannot be verified; what was written was checked before.
    targets.retain(|target| {
        let named = |tls: &UpstreamTls| ServerName::try_from(&*tls.server_name).is_ok();
        let of_check = target.check.as_ref().and_then(|check| check.tls.as_ref());
        target.tls.as_ref().is_none_or(named) && of_check.is_none_or(named)
    });
    // Indices of targets are 16 bits wide, and every choice looks at all of them.
    targets.truncate(written.len().max(limits::FOUND_MAX));
    Cow::Owned(targets)
}

/// Every source of the targets of these services.
pub fn sources(services: &[Service]) -> impl Iterator<Item = Source> {
    services.iter().flat_map(|service| {
        let of_lists = service.rules.iter().flat_map(|rule: &Rule| &rule.discoveries);
        let lists = of_lists.map(|discovery| discovery.source.clone());
        service.targets().filter_map(Source::of).chain(lists)
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn found(host: &str, port: Option<u16>, secure: bool) -> FoundTarget {
        FoundTarget { host: host.into(), port, weight: None, tier: 0, secure }
    }

    #[test]
    fn paths_lead_through_objects_arrays_and_all_elements() {
        let document = json!({ "a": { "b": [ { "c": 1, "$": 3 }, { "c": 2 } ] }, "d": "x" });
        let at = |path: &str| {
            let found = JsonPath::parse(path).unwrap();
            found.find(&document).into_iter().cloned().collect::<Vec<_>>()
        };
        assert_eq!(at("d"), [json!("x")]);
        assert_eq!(at("a.b.1.c"), [json!(2)]);
        assert_eq!(at("a.b.c"), [json!(1), json!(2)]);
        assert_eq!(at("a.b.$"), [json!(3)]);
        assert_eq!(at(""), std::slice::from_ref(&document));
        assert!(at("d.e.f").is_empty());
        assert!(JsonPath::parse("a..b").is_none());
    }

    #[test]
    fn a_found_target_takes_the_rest_from_its_template() {
        let secure = UpstreamTls::to("");
        let template = Target {
            host: "".into(),
            address: Address::Name,
            port: 5432,
            tls: None,
            weight: 3,
            tier: 0,
            max_connections: None,
            header: crate::config::checked::SendHeader::Off,
            check: None,
            own_health: None,
        };
        let plain = found("db-1.internal", None, false).target(&template, Some(&secure));
        assert_eq!((plain.port, plain.weight, plain.tls), (5432, 3, None));
        let tls = found("[2001:db8::1]", Some(1), true).target(&template, Some(&secure));
        assert_eq!(tls.address, Address::Ip("2001:db8::1".parse().unwrap()));
        assert_eq!(&*tls.tls.unwrap().server_name, "2001:db8::1");
        let named = UpstreamTls { server_name: "db".into(), ..secure };
        let template = Target { tls: Some(named), weight: 0, ..template };
        let both = FoundTarget { weight: Some(9), ..found("DB-1.", None, false) };
        let both = both.target(&template, None);
        assert_eq!((&*both.tls.unwrap().server_name, both.weight), ("db", 0));
    }
}
