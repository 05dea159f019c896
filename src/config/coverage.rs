//! Which names that services route by have a certificate. A route's `*` crosses dots and a
//! certificate's covers one label (RFC 9525 §6.3): a client can be routed by a name for which it is
//! shown the default certificate, and turns away.

use super::checked::{Checked, Rule, Tls};
use super::pattern::Kind;
use super::place::Place;
use crate::diagnostics::{CERTIFICATE_FALLS_SHORT, Diagnostic, NAME_WITHOUT_CERTIFICATE};
use crate::tls::material::Material;
use crate::tls::store::{Coverage, Store};

/// Reports names of terminating services that no certificate is for.
pub(super) fn check(checked: &Checked, material: &Material, found: &mut Vec<Diagnostic>) {
    let services = Place::Root.key("services");
    for service in checked.services.iter().filter(|service| service.by_name) {
        let Tls::Enabled(termination) = &service.tls else { continue };
        let Some(store) = material.store_of(termination).ok().filter(|it| !it.is_empty()) else {
            continue;
        };
        let place = services.index(service.at);
        let rules = place.key("rules");
        for (at, rule) in service.rules.iter().enumerate() {
            let (code, message) = match of_rule(rule, &store) {
                Served::Whole => continue,
                Served::Partly(what) => (&CERTIFICATE_FALLS_SHORT, what),
                Served::Not(what) => (&NAME_WITHOUT_CERTIFICATE, what),
            };
            let then = if termination.strict {
                "clients are refused (`sni.strict`)"
            } else {
                "clients are shown the default certificate"
            };
            let rule = rules.index(at);
            found.push(Diagnostic::new(code, rule.key("domain"), format!("{message}: {then}")));
        }
    }
}

enum Served {
    Whole,
    Partly(String),
    Not(String),
}

fn of_rule(rule: &Rule, store: &Store) -> Served {
    let pattern = &rule.pattern;
    match (pattern.kind(), pattern.exact()) {
        (Kind::Exact, Some(name)) => match store.covers(name) {
            Coverage::Exact | Coverage::Wildcard => Served::Whole,
            Coverage::Default | Coverage::Nothing => {
                Served::Not(format!("no certificate is for `{name}`"))
            }
        },
        (Kind::Glob, _) => match pattern.text().strip_prefix("*.") {
            Some(parent) if !parent.contains('*') => {
                let parent = parent.to_ascii_lowercase();
                match store.covers(&format!("any.{parent}")) {
                    Coverage::Exact | Coverage::Wildcard => Served::Partly(format!(
                        "the certificate for `*.{parent}` covers one label: for `a.b.{parent}`"
                    )),
                    Coverage::Default | Coverage::Nothing => {
                        Served::Not(format!("no certificate is for `*.{parent}`"))
                    }
                }
            }
            _ => Served::Whole,
        },
        // What an expression or `*` matches cannot be listed.
        _ => Served::Whole,
    }
}
