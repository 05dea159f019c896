//! Which service and which rule a connection belongs to. Before it: peek. After it: handshake, where
//! TLS ends here, and pick. No clock, no socket: what is known of the client in, a choice out.
//!
//! Rules are tried in the order of the file, those of all services of the port; the first whose
//! conditions all hold takes the connection. What a client certificate must be is known only after
//! the handshake, so it is left open at first and settled [within the service](settle) then.

use std::net::IpAddr;

use crate::config::checked::{CertificateCondition, Rule};
use crate::config::snapshot::{Fallbacks, Listener, RuleRef, Service};
use crate::conn::ending::{Cause, Ending, Step};
use crate::conn::peek::First;
use crate::tls::identity::Identity;

/// What is known of the client.
#[derive(Debug, Clone, Copy)]
pub struct Asked<'a> {
    /// The name it asks for.
    pub name: Option<&'a str>,
    /// The ALPN protocols it offers.
    pub alpn: &'a [Box<[u8]>],
    /// Where it comes from.
    pub source: Option<IpAddr>,
}

/// A choice: indices of the service and of its pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Choice {
    /// See [`Listener::service`].
    pub service: u32,
    /// See [`Service::pool`].
    pub pool: u32,
}

/// Chooses among the rules of all services of the port.
///
/// # Errors
/// [`Cause::NoName`] or [`Cause::NoMatch`] where no rule and no fallback takes it.
pub fn route(listener: &Listener, asked: &Asked<'_>) -> Result<Choice, Cause> {
    let rule_at = |index: usize| {
        let RuleRef { service, rule } = *listener.rules.get(index)?;
        let at = usize::try_from(rule).ok()?;
        Some((service, rule, listener.service(service).spec.rules.get(at)?))
    };
    let found = listener
        .names
        .first(asked.name, |index| rule_at(index).is_some_and(|(_, _, rule)| meets(rule, asked)));
    if let Some((service, pool, _)) = found.and_then(rule_at) {
        return Ok(Choice { service, pool });
    }
    match asked.name {
        Some(_) => fallback(listener, |to| to.no_match).ok_or(Cause::NoMatch),
        None => fallback(listener, |to| to.no_name).ok_or(Cause::NoName),
    }
}

/// Chooses for a client that was read.
///
/// # Errors
/// Why nothing takes it, and at which step that is found.
pub fn of_first(
    listener: &Listener,
    first: &First,
    source: Option<IpAddr>,
) -> Result<Choice, (Step, Cause)> {
    let asked = match first {
        First::Hello(hello) => {
            Asked { name: hello.server_name.as_deref(), alpn: &hello.alpn, source }
        }
        First::Head(name) => Asked { name: name.as_deref(), alpn: &[], source },
        First::Other(cause) => {
            let choice = match cause {
                Cause::Silent => fallback(listener, |to| to.silent),
                Cause::NotRecognised | Cause::PlainHttp | Cause::Plain => {
                    fallback(listener, |to| to.not_recognised)
                }
                _ => None,
            };
            return choice.ok_or((Step::Hello, *cause));
        }
    };
    route(listener, &asked).map_err(|cause| (Step::Route, cause))
}

/// Chooses for a client of which nothing was read.
///
/// # Errors
/// No rule takes its address.
pub fn unread(listener: &Listener, source: Option<IpAddr>) -> Result<Choice, Ending> {
    let asked = Asked { name: None, alpn: &[], source };
    route(listener, &asked).map_err(|_| Ending::us(Step::Route, Cause::NoMatch))
}

/// The fallback for a reason, of the first service that has one.
pub fn fallback(listener: &Listener, of: impl Fn(&Fallbacks) -> Option<u32>) -> Option<Choice> {
    listener
        .services()
        .find_map(|(service, known)| Some(Choice { service, pool: of(&known.fallbacks)? }))
}

/// Whether the choice may depend on the client's certificate.
pub fn wants_certificate(service: &Service) -> bool {
    service.spec.rules.iter().any(|rule| rule.client_certificate.is_some())
}

/// Chooses the rule within a service now that the client's certificate is known.
///
/// # Errors
/// [`Cause::ClientCertificate`] where only the certificate stands in the way.
pub fn settle(
    service: &Service,
    asked: &Asked<'_>,
    identity: Option<&Identity>,
) -> Result<u32, Cause> {
    let fits = |rule: &Rule| {
        rule.pattern.matches(asked.name)
            && meets(rule, asked)
            && rule.client_certificate.as_ref().is_none_or(|condition| {
                identity.is_some_and(|identity| is_met(condition, identity))
            })
    };
    (0..)
        .zip(&service.spec.rules)
        .find_map(|(at, rule)| fits(rule).then_some(at))
        .or(if asked.name.is_some() {
            service.fallbacks.no_match
        } else {
            service.fallbacks.no_name
        })
        .ok_or(Cause::ClientCertificate)
}

/// The conditions beside the name that are known before the handshake.
fn meets(rule: &Rule, asked: &Asked<'_>) -> bool {
    meets_sources(rule, asked) && meets_alpn(rule, asked)
}

/// Whether the client comes from where the rule wants it to.
pub fn meets_sources(rule: &Rule, asked: &Asked<'_>) -> bool {
    rule.sources.is_empty()
        || asked.source.is_some_and(|ip| rule.sources.iter().any(|net| net.contains(&ip)))
}

/// Whether the client offers a protocol that the rule is for.
pub fn meets_alpn(rule: &Rule, asked: &Asked<'_>) -> bool {
    let offered = |wanted: &str| asked.alpn.iter().any(|have| **have == *wanted.as_bytes());
    rule.alpn.is_empty() || rule.alpn.iter().any(|wanted| offered(wanted))
}

fn is_met(condition: &CertificateCondition, identity: &Identity) -> bool {
    let subject = condition.subject.as_ref();
    let san = condition.san.as_ref();
    subject.is_none_or(|wanted| {
        identity.subject_cn.as_deref().is_some_and(|name| wanted.matches(Some(name)))
    }) && san.is_none_or(|wanted| identity.sans.iter().any(|name| wanted.matches(Some(name))))
        && condition.sha256.is_none_or(|wanted| wanted == identity.sha256)
}
