//! The reasons in words. The choices themselves are made elsewhere: each of these looks at one condition
//! by the function that the choice looks at it with.

use std::net::IpAddr;

use super::{RULES_TOLD_MAX, Step};
use crate::config::checked::{self, Balancing, ClientAuth, Rule, Tls};
use crate::config::found::Source;
use crate::config::pattern::Kind;
use crate::config::snapshot::{Listener, Needs, Pool, Service};
use crate::conn::ending::Cause;
use crate::conn::peek::First;
use crate::conn::route::{Asked, Choice, meets_alpn, meets_sources};

/// What the first bytes are, and whether they are what the listener expects.
pub(super) fn first_bytes(listener: &Listener, first: &First) -> (bool, String) {
    let named = |what: &str, name: Option<&str>| match name {
        Some(name) => format!("{what} for {name}"),
        None => format!("{what} without a name"),
    };
    match first {
        First::Hello(hello) => {
            let alpn: Vec<_> = hello.alpn.iter().map(|it| String::from_utf8_lossy(it)).collect();
            let mut text = named("a TLS hello", hello.server_name.as_deref());
            if !alpn.is_empty() {
                text = format!("{text}, with ALPN {}", alpn.join(" "));
            }
            (true, text)
        }
        First::Head(name) => (true, named("an HTTP request", name.as_deref())),
        First::Other(Cause::NotRecognised) if listener.needs == Needs::Head => {
            (false, "a TLS hello, where HTTP is expected".into())
        }
        First::Other(cause) => (false, cause.title().into()),
    }
}

/// `pg rules[0]`, or `pg sni.fallbacks.noMatch`.
pub(super) fn rule(service: &Service, pool: u32) -> String {
    let rules = service.spec.rules.len();
    let at = usize::try_from(pool).unwrap_or(usize::MAX);
    let id = &service.spec.id;
    if at < rules {
        return format!("{id} rules[{at}]");
    }
    let to = service.fallbacks;
    let fallbacks = [
        (to.no_match, "noMatch"),
        (to.no_name, "noName"),
        (to.not_recognised, "notRecognised"),
        (to.silent, "silent"),
    ];
    let found = fallbacks.into_iter().find(|(index, _)| *index == Some(pool));
    format!("{id} sni.fallbacks.{}", found.map_or("?", |(_, name)| name))
}

/// Each rule until the one that was chosen, and the fallback where none was.
pub(super) fn rules(
    listener: &Listener,
    asked: &Asked<'_>,
    first: &First,
    choice: Option<Choice>,
    steps: &mut Vec<Step>,
) {
    let was_read = listener.needs != Needs::Nothing;
    let is_rule = |choice: &Choice| {
        let rules = listener.service(choice.service).spec.rules.len();
        usize::try_from(choice.pool).is_ok_and(|pool| pool < rules)
    };
    let chosen = choice.filter(is_rule);
    if !(was_read && matches!(first, First::Other(_))) {
        let mut untold = 0;
        for at in &listener.rules {
            let service = listener.service(at.service);
            let Some(rule) =
                usize::try_from(at.rule).ok().and_then(|at| service.spec.rules.get(at))
            else {
                continue;
            };
            let is_chosen = chosen == Some(Choice { service: at.service, pool: at.rule });
            if !is_chosen && steps.len() >= RULES_TOLD_MAX {
                untold += 1;
                continue;
            }
            if untold > 0 && is_chosen {
                steps.push(more(untold));
                untold = 0;
            }
            let (matched, why) = of_rule(rule, asked);
            let what = format!("{}, {}", self::rule(service, at.rule), rule.pattern.describe());
            steps.push(Step { what, matched, why });
            if is_chosen {
                break;
            }
        }
        if untold > 0 {
            steps.push(more(untold));
        }
    }
    match choice.filter(|choice| !is_rule(choice)) {
        Some(choice) => {
            let what = self::rule(listener.service(choice.service), choice.pool);
            let why = "no rule takes it: the first fallback of its kind does".into();
            steps.push(Step { what, matched: true, why });
        }
        None if chosen.is_none() => {
            let what = "fallback".into();
            let why = "no rule takes it, and there is no fallback of its kind".into();
            steps.push(Step { what, matched: false, why });
        }
        None => {}
    }
}

fn more(count: usize) -> Step {
    Step { what: format!("{count} rules more"), matched: false, why: "as those before".into() }
}

/// Whether a rule takes it, and why.
fn of_rule(rule: &Rule, asked: &Asked<'_>) -> (bool, String) {
    let mut no = Vec::new();
    let mut yes = Vec::new();
    let name = asked.name.map_or("no name".to_owned(), |name| format!("the name {name}"));
    if rule.pattern.kind() == Kind::Any {
        yes.push("takes any name, or none".into());
    } else if rule.pattern.matches(asked.name) {
        yes.push(format!("takes {name}"));
    } else {
        no.push(format!("does not take {name}"));
    }
    if !rule.alpn.is_empty() {
        let list = rule.alpn.join(" ");
        if meets_alpn(rule, asked) {
            yes.push(format!("the client offers one of {list}"));
        } else {
            no.push(format!("the client offers none of the ALPN protocols {list}"));
        }
    }
    if !rule.sources.is_empty() {
        let list: Vec<String> = rule.sources.iter().map(ToString::to_string).collect();
        let list = list.join(" ");
        match (meets_sources(rule, asked), asked.source) {
            (true, Some(ip)) => yes.push(format!("{ip} is in {list}")),
            (_, Some(ip)) => no.push(format!("{ip} is in none of {list}")),
            (_, None) => no.push(format!("no source was given, and it must be in {list}")),
        }
    }
    if rule.client_certificate.is_some() {
        yes.push("its `clientCertificate` is asked for after the handshake".into());
    }
    if no.is_empty() { (true, yes.join("; ")) } else { (false, no.join("; ")) }
}

/// What is asked of the client in the handshake.
pub(super) fn client_auth(service: &Service) -> Option<String> {
    let Tls::Enabled(termination) = &service.spec.tls else { return None };
    match termination.client_auth {
        ClientAuth::None => None,
        ClientAuth::Want => Some("asked for; one that is shown must be valid".into()),
        ClientAuth::Need => Some("required; a valid one is taken for granted here".into()),
    }
}

/// How the target was chosen.
pub(super) fn balancing(pool: &Pool, source: Option<IpAddr>) -> String {
    let how = match pool.balancing {
        _ if pool.targets.len() == 1 => return "the only one".into(),
        Balancing::RoundRobin => "it is its turn",
        Balancing::WeightedRoundRobin => "it is its turn, by weight",
        Balancing::LeastConnections => "it has the fewest connections for its weight",
        Balancing::PowerOfTwo => "the less loaded of two at random",
        Balancing::SourceHash if source.is_none() => {
            "by the client's address, and no source was given"
        }
        Balancing::SourceHash => "by the client's address",
        Balancing::Random => "at random, by weight",
        Balancing::First => "the first that can be",
    };
    format!("{}: {how}", pool.balancing.name())
}

/// Whether some of its targets stand for SRV records.
pub(super) fn has_records(service: &checked::Service) -> bool {
    service.targets().any(|target| Source::of(target).is_some())
}
