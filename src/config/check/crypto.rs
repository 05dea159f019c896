//! What is said of TLS on either side: versions, suites, and PEM texts that stand in a service.

use super::{Findings, not_empty};
use crate::config::checked::{Crypto, Pem, TlsVersion};
use crate::config::document;
use crate::config::place::Place;
use crate::diagnostics::{
    BAD_FILE, BAD_TLS_VERSIONS, BAD_VALUE, UNKNOWN_SUITE, did_you_mean, visible,
};
use crate::tls::problem::Problem;
use crate::tls::suites::suites;

/// Checks `tlsMinVersion`, `tlsMaxVersion` and `cipherSuites` of the object at this place.
pub(super) fn crypto(
    min: Option<document::TlsVersion>,
    max: Option<document::TlsVersion>,
    names: Option<&[String]>,
    place: &Place<'_>,
    findings: &mut Findings<'_>,
) -> Crypto {
    let version = |written: document::TlsVersion| match written {
        document::TlsVersion::V12 => TlsVersion::V12,
        document::TlsVersion::V13 => TlsVersion::V13,
    };
    let all = Crypto::default();
    let min = min.map_or(all.min, version);
    let max = max.map_or(all.max, version);
    let mut crypto = Crypto { min, max, suites: Vec::new() };
    if min > max {
        let message =
            format!("`tlsMinVersion` {} is above `tlsMaxVersion` {}", min.name(), max.name());
        let place = place.key("tlsMinVersion");
        findings.add_with(&BAD_TLS_VERSIONS, &place, message, "no version would be left");
    }
    let Some(names) = names else { return crypto };
    let list = place.key("cipherSuites");
    not_empty(names, &list, findings);
    for (at, name) in names.iter().enumerate() {
        let Some(suite) = suites().iter().find(|suite| suite.name.eq_ignore_ascii_case(name))
        else {
            let message = format!("there is no cipher suite `{}` here", visible(name));
            let known = || suites().iter().map(|suite| &*suite.name);
            let hint = match did_you_mean(name, known()) {
                Some(meant) => format!("did you mean `{meant}`?"),
                None => format!("there are {}", known().collect::<Vec<_>>().join(", ")),
            };
            findings.add_with(&UNKNOWN_SUITE, &list.index(at), message, hint);
            continue;
        };
        if min <= max && !crypto.speaks(suite.version) {
            let version = suite.version.name();
            let message = format!("`{name}` is of TLS {version}, which is not spoken");
            findings.add(&UNKNOWN_SUITE, &list.index(at), message);
        }
        crypto.suites.push(suite.number);
    }
    crypto
}

/// Checks certificates that stand in the service itself. They are in its events, so a private key
/// must not be among them.
pub(super) fn texts(
    written: Option<&[String]>,
    place: &Place<'_>,
    findings: &mut Findings<'_>,
    check: impl Fn(&Pem) -> Result<(), Problem>,
) -> Vec<Pem> {
    let Some(written) = written else { return Vec::new() };
    not_empty(written, place, findings);
    let read = |(at, text): (usize, &String)| pem_text(text, &place.index(at), findings, &check);
    written.iter().enumerate().filter_map(read).collect()
}

/// Checks one of them. `None` if an error was found.
pub(super) fn pem_text(
    text: &str,
    place: &Place<'_>,
    findings: &mut Findings<'_>,
    check: impl Fn(&Pem) -> Result<(), Problem>,
) -> Option<Pem> {
    if text.contains("PRIVATE KEY-----") {
        let message = "this holds a private key: it would be in every event of the service";
        let hint = "only certificates belong here; make a new key, for this one is known now";
        findings.add_with(&BAD_VALUE, place, message, hint);
        return None;
    }
    let pem = Pem::inline(place.to_string(), text);
    match check(&pem) {
        Ok(()) => Some(pem),
        Err(problem) => {
            findings.add_with(&BAD_FILE, place, problem.what, problem.hint.unwrap_or_default());
            None
        }
    }
}
