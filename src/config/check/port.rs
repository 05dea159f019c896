//! What the services of one address take from each other: rules that can never match, names that
//! two services claim, fallbacks that two services have.

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::sync::Arc;

use ipnet::IpNet;

use super::service::Compiled;
use super::{Findings, proxy};
use crate::config::checked::{CertificateCondition, Rule, Tls};
use crate::config::pattern::{Kind, NameTable, Pattern};
use crate::config::place::Place;
use crate::diagnostics::{CLAIMED_TWICE, Code, FALLBACK_TWICE, UNREACHABLE_RULE};

/// Checks all services of all addresses.
pub(super) fn check(services: &[Compiled], findings: &mut Findings<'_>) {
    let mut ports: BTreeMap<SocketAddr, Vec<&Compiled>> = BTreeMap::new();
    for service in services {
        ports.entry(service.spec.listen).or_default().push(service);
    }
    for port in ports.values() {
        // Of those that may not share the address each is looked at by itself.
        let size = if may_share(port) { port.len() } else { 1 };
        for port in port.chunks(size) {
            proxy::agree(port, findings);
            fallbacks(port, findings);
            rules(port, findings);
        }
    }
}

/// Whether services may have the same address.
fn may_share(port: &[&Compiled]) -> bool {
    let plain = |service: &&Compiled| service.spec.tls == Tls::Disabled;
    port.iter().all(|service| service.spec.by_name)
        && (port.iter().all(plain) || !port.iter().any(plain))
}

/// Checks that each fallback is that of one service.
fn fallbacks(port: &[&Compiled], findings: &mut Findings<'_>) {
    let mut owners: HashMap<&str, &Compiled> = HashMap::new();
    let all = Place::Root.key("services");
    for service in port {
        for (key, path) in &service.fallbacks {
            let Some(owner) = owners.get(key) else {
                owners.insert(key, service);
                continue;
            };
            let place = all.index(service.at);
            let sni = place.key("sni");
            let fallbacks = sni.key("fallbacks");
            let place = match path {
                Some(key @ "nameOptional") => sni.key(key),
                Some(key) => fallbacks.key(key),
                None => sni.key("forwardIfNoMatch"),
            };
            let message = format!(
                "service `{}` (services[{}]) already says where connections {key} go on {}",
                owner.spec.id, owner.at, service.spec.listen
            );
            findings.add_with(&FALLBACK_TWICE, &place, message, "keep one of them");
            // `forwardIfNoMatch` is two of them, and one finding is enough.
            if path.is_none() {
                break;
            }
        }
    }
}

/// A rule with its place.
struct Placed<'a> {
    service: &'a Compiled,
    at: usize,
    rule: &'a Rule,
}

/// What a rule takes; equal for rules that take the same.
#[derive(PartialEq, Eq, Hash)]
struct Takes<'a> {
    pattern: (Kind, &'a str),
    alpn: &'a [Arc<str>],
    sources: &'a [IpNet],
    certificate: Option<Certificate<'a>>,
}

/// The same of a condition on the client certificate.
type Certificate<'a> = (Option<(Kind, &'a str)>, Option<(Kind, &'a str)>, Option<[u8; 32]>);

impl<'a> Takes<'a> {
    fn of(rule: &'a Rule) -> Self {
        let certificate = rule.client_certificate.as_ref().map(|certificate| {
            let CertificateCondition { subject, san, sha256 } = certificate;
            let identity = |pattern: &'a Option<Pattern>| pattern.as_ref().map(Pattern::identity);
            (identity(subject), identity(san), *sha256)
        });
        Self {
            pattern: rule.pattern.identity(),
            alpn: &rule.alpn,
            sources: &rule.sources,
            certificate,
        }
    }

    fn unconditional(&self) -> bool {
        self.alpn.is_empty() && self.sources.is_empty() && self.certificate.is_none()
    }
}

/// Reports rules behind others that take all they could take.
fn rules(port: &[&Compiled], findings: &mut Findings<'_>) {
    let placed: Vec<Placed<'_>> = port
        .iter()
        .flat_map(|service| {
            let rules = service.places.iter().zip(&service.spec.rules);
            rules.map(|(at, rule)| Placed { service, at: *at, rule })
        })
        .collect();
    // Those that take all connections of some names: `*`, names and `*.suffix`, which a table finds
    // at no cost. Expressions that take each other are not looked for.
    let wide: Vec<usize> = placed
        .iter()
        .enumerate()
        .filter(|(_, placed)| {
            Takes::of(placed.rule).unconditional() && placed.rule.pattern.is_cheap()
        })
        .map(|(index, _)| index)
        .collect();
    let table = NameTable::new(
        wide.iter().filter_map(|index| placed.get(*index)).map(|placed| &placed.rule.pattern),
    );
    let mut seen: HashMap<Takes<'_>, usize> = HashMap::new();
    let mut claims: HashMap<Takes<'_>, usize> = HashMap::new();
    for (index, rule) in placed.iter().enumerate() {
        let takes = Takes::of(rule.rule);
        // What TLS is spoken with a client is settled before its certificate is seen.
        let claim = Takes { certificate: None, ..Takes::of(rule.rule) };
        let claimed = *claims.entry(claim).or_insert(index);
        if let Some(earlier) = placed.get(claimed)
            && let Some(what) = difference(&rule.service.spec.tls, &earlier.service.spec.tls)
        {
            claimed_twice(rule, earlier, what, findings);
            continue;
        }
        let bare = Takes { alpn: &[], sources: &[], certificate: None, ..Takes::of(rule.rule) };
        let alike = seen.get(&takes).or_else(|| seen.get(&bare)).copied();
        // A glob as if it were a name: what takes its end, from a dot on, takes all it stands for.
        let wider = table.first(rule.rule.pattern.literal().as_deref(), |at| {
            wide.get(at).is_some_and(|wide| *wide < index)
        });
        let wider = wider.and_then(|at| wide.get(at)).copied();
        let earlier = alike.into_iter().chain(wider).min();
        if let Some(earlier) = earlier.and_then(|earlier| placed.get(earlier)) {
            never_reached(rule, earlier, findings);
        }
        seen.entry(takes).or_insert(index);
    }
}

impl Placed<'_> {
    /// How the rule is called in a finding about a rule of this service.
    fn seen_from(&self, service: &Compiled) -> String {
        let Placed { service: own, at, .. } = self;
        if own.at == service.at {
            format!("rules[{at}]")
        } else {
            format!("rules[{at}] of service `{}` (services[{}])", own.spec.id, own.at)
        }
    }

    /// Records a finding, unless the rule had a fault of shape.
    fn report(
        &self,
        code: &'static Code,
        message: impl Into<String>,
        hint: &str,
        findings: &mut Findings<'_>,
    ) {
        let all = Place::Root.key("services");
        let service = all.index(self.service.at);
        let rules = service.key("rules");
        let place = rules.index(self.at);
        if findings.is_broken_inside(&place) {
            return;
        }
        let domain = place.key("domain");
        let place = if self.service.spec.by_name { &domain } else { &place };
        findings.add_with(code, place, message, hint);
    }
}

/// Reports a rule that another service has with other settings.
fn claimed_twice(rule: &Placed<'_>, earlier: &Placed<'_>, what: &str, findings: &mut Findings<'_>) {
    let (other, pattern) = (earlier.seen_from(rule.service), rule.rule.pattern.text());
    let message = format!("{other} also claims `{pattern}`, with {what}");
    let hint = "give each name to one service: which holds must not depend on the order";
    rule.report(&CLAIMED_TWICE, message, hint, findings);
}

/// Reports a rule behind one that takes all it could take.
fn never_reached(rule: &Placed<'_>, earlier: &Placed<'_>, findings: &mut Findings<'_>) {
    let other = earlier.seen_from(rule.service);
    let message = if rule.service.spec.by_name {
        let (ours, theirs) = (rule.rule.pattern.text(), earlier.rule.pattern.text());
        format!("`{ours}` can never match: {other} (`{theirs}`) takes all of it before")
    } else {
        format!("the rule can never match: {other} takes all connections before")
    };
    rule.report(&UNREACHABLE_RULE, message, "put the narrower rule first, or remove it", findings);
}

/// What two services do differently with TLS, where it matters who gets a connection.
fn difference(a: &Tls, b: &Tls) -> Option<&'static str> {
    match (a, b) {
        (Tls::Disabled, Tls::Disabled) | (Tls::PassThrough, Tls::PassThrough) => None,
        (Tls::Enabled(a), Tls::Enabled(b)) => {
            if a.client_auth != b.client_auth {
                Some("another `clientAuth`")
            } else if (&a.client_ca, &a.client_certs) != (&b.client_ca, &b.client_certs) {
                Some("other `clientCaFiles` or `clientCertFiles`")
            } else if a.crypto != b.crypto {
                Some("other versions or suites of TLS")
            } else if a.certificates != b.certificates {
                Some("other `certificates`")
            } else if a.client_crl_files != b.client_crl_files {
                Some("other `clientCrlFiles`")
            } else {
                None
            }
        }
        _ => Some("another `tls`"),
    }
}
