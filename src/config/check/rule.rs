//! One rule: its pattern and its further conditions.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use ipnet::IpNet;

use super::service::Scope;
use super::{Findings, not_empty};
use crate::config::checked::CertificateCondition;
use crate::config::document::{self, ClientAuth, Service, TlsMode};
use crate::config::limits::ALPN_BYTES_MAX;
use crate::config::networks;
use crate::config::pattern::{BadPattern, Kind, Pattern, is_host_or_star};
use crate::config::place::Place;
use crate::diagnostics::{
    BAD_CONDITION, BAD_DIGEST, BAD_NETWORK, BAD_PATTERN, BAD_VALUE, PATTERN_READ, visible,
};

/// Whether a rule has conditions besides its name.
pub(super) fn has_conditions(rule: &document::Rule) -> bool {
    rule.alpn.is_some() || rule.sources.is_some() || rule.client_certificate.is_some()
}

/// Reads `domain`.
pub(super) fn domain(
    text: &str,
    place: &Place<'_>,
    findings: &mut Findings<'_>,
) -> Option<Pattern> {
    let pattern = match Pattern::of_names(text) {
        Ok(pattern) => pattern,
        Err(fault) => {
            bad_pattern(fault, place, findings);
            return None;
        }
    };
    if let Some(name) = pattern.exact()
        && name.split('.').any(str::is_empty)
    {
        let message = format!("`{text}` is no host name: there is nothing between two dots");
        let hint = match name.strip_prefix('.') {
            Some(rest) => format!("for the names below {rest} write \"*.{rest}\""),
            None => "remove a dot".into(),
        };
        findings.add_with(&BAD_PATTERN, place, message, hint);
        return None;
    }
    how_read(&pattern, place, findings);
    Some(pattern)
}

/// Reads a pattern for a name in certificates.
fn text(text: Option<&str>, place: &Place<'_>, findings: &mut Findings<'_>) -> Option<Pattern> {
    match Pattern::of_text(text?) {
        Ok(pattern) => {
            how_read(&pattern, place, findings);
            Some(pattern)
        }
        Err(fault) => {
            bad_pattern(fault, place, findings);
            None
        }
    }
}

fn bad_pattern(fault: BadPattern, place: &Place<'_>, findings: &mut Findings<'_>) {
    match fault.hint {
        Some(hint) => findings.add_with(&BAD_PATTERN, place, fault.message, hint),
        None => findings.add(&BAD_PATTERN, place, fault.message),
    }
}

/// Says how a pattern was read, where that is not obvious.
fn how_read(pattern: &Pattern, place: &Place<'_>, findings: &mut Findings<'_>) {
    let written = visible(pattern.text());
    let message = match pattern.kind() {
        Kind::Any | Kind::Exact => return,
        Kind::Glob => format!("`{written}` is read as a glob: `*` is any characters, also dots"),
        Kind::Regex => format!(
            "`{written}` is read as a regular expression over the whole name: {}",
            pattern.describe().trim_start_matches("regex ")
        ),
    };
    let lower = pattern.text().to_ascii_lowercase();
    let misspelt = |right: &str| {
        lower.starts_with(&right.to_ascii_lowercase()) && !pattern.text().starts_with(right)
    };
    let hint = if misspelt("Regex(") {
        "did you mean `Regex(…)`?".into()
    } else if misspelt("Wildcard(") || lower.starts_with("glob(") {
        "did you mean `Wildcard(…)`?".into()
    } else if pattern.kind() == Kind::Regex && pattern.text().chars().all(is_host_or_star) {
        format!("if it is meant as a glob, write `Wildcard({written})`")
    } else {
        findings.add(&PATTERN_READ, place, message);
        return;
    };
    findings.add_with(&PATTERN_READ, place, message, hint);
}

/// Reads a list of protocols.
pub(super) fn protocols(
    list: Option<&[String]>,
    place: &Place<'_>,
    findings: &mut Findings<'_>,
) -> Vec<Arc<str>> {
    let Some(list) = list else { return Vec::new() };
    not_empty(list, place, findings);
    let mut protocols: Vec<Arc<str>> = Vec::new();
    for (at, protocol) in list.iter().enumerate() {
        if protocol.is_empty() || protocol.len() > ALPN_BYTES_MAX {
            let message = format!("an ALPN protocol has 1 to {ALPN_BYTES_MAX} bytes");
            let hint = "as \"h2\", \"http/1.1\", \"mqtt\" or \"postgresql\"";
            findings.add_with(&BAD_VALUE, &place.index(at), message, hint);
        } else if protocols.iter().any(|known| **known == **protocol) {
            let message = format!("`{protocol}` is listed twice");
            findings.add(&BAD_VALUE, &place.index(at), message);
        } else {
            protocols.push(Arc::from(protocol.as_str()));
        }
    }
    protocols
}

/// Reads a list of networks.
pub(super) fn networks(
    list: Option<&[String]>,
    place: &Place<'_>,
    findings: &mut Findings<'_>,
) -> Vec<IpNet> {
    let Some(list) = list else { return Vec::new() };
    not_empty(list, place, findings);
    let mut networks = Vec::new();
    for (at, text) in list.iter().enumerate() {
        match networks::parse(text) {
            Ok(network) => networks.push(network),
            Err((message, hint)) => {
                findings.add_with(&BAD_NETWORK, &place.index(at), message, hint);
            }
        }
    }
    networks
}

/// Reads a SHA-256: hex, with or without colons, or base64.
pub(super) fn digest(
    text: &str,
    place: &Place<'_>,
    findings: &mut Findings<'_>,
) -> Option<[u8; 32]> {
    let bare = text.strip_prefix("sha256/").unwrap_or(text);
    // curl writes two slashes.
    let bare = bare.strip_prefix('/').unwrap_or(bare).trim();
    let digits: String = bare.chars().filter(|c| *c != ':').collect();
    let hex = digits.len() == 64 || bare.contains(':');
    let bytes = if hex && digits.bytes().all(|b| b.is_ascii_hexdigit()) {
        hex_bytes(&digits)
    } else {
        let engines = [STANDARD, STANDARD_NO_PAD, URL_SAFE_NO_PAD];
        engines.iter().find_map(|engine| engine.decode(bare).ok())
    };
    let read = bytes.as_deref().and_then(|bytes| <[u8; 32]>::try_from(bytes).ok());
    if read.is_none() {
        let shown = visible(text);
        let (message, hint) = match (digits.len(), bytes) {
            (40, _) if digits.bytes().all(|b| b.is_ascii_hexdigit()) => (
                format!("`{shown}` has 20 bytes: it looks like a SHA-1"),
                "SHA-1 is not served: use -sha256 in place of -sha1",
            ),
            (_, Some(bytes)) => (
                format!("`{shown}` has {} bytes, a SHA-256 has 32", bytes.len()),
                "64 hexadecimal digits, with or without colons, or 44 characters of base64",
            ),
            (_, None) => (
                format!("`{shown}` is neither hex nor base64"),
                "64 hexadecimal digits, with or without colons, or 44 characters of base64",
            ),
        };
        findings.add_with(&BAD_DIGEST, place, message, hint);
    }
    read
}

fn hex_bytes(digits: &str) -> Option<Vec<u8>> {
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let pairs = digits.as_bytes().chunks(2);
    pairs
        .map(|pair| match pair {
            [high, low] => Some(digit(*high)? << 4 | digit(*low)?),
            _ => None,
        })
        .collect()
}

impl Scope<'_, '_> {
    /// Checks that what a rule asks for is known when it is looked at.
    pub(super) fn conditions_known(
        &mut self,
        rule: &document::Rule,
        place: &Place<'_>,
        service: &Service,
    ) {
        let tls_known = !self.findings.is_broken(&self.place.key("tls"));
        if rule.alpn.is_some() && service.tls == TlsMode::Disabled && tls_known {
            let message = "`alpn` is looked for in the TLS hello, but `tls` is Disabled";
            let hint = "set `tls` to PassThrough or Enabled, or remove the condition";
            self.findings.add_with(&BAD_CONDITION, &place.key("alpn"), message, hint);
        }
        if rule.client_certificate.is_none() {
            return;
        }
        let certificate = place.key("clientCertificate");
        if service.tls != TlsMode::Enabled && tls_known {
            let message = format!(
                "the certificate of a client is seen only where TLS ends, but `tls` is {:?}",
                service.tls
            );
            let hint = "set `tls` to Enabled and `clientAuth` to Want or Need";
            self.findings.add_with(&BAD_CONDITION, &certificate, message, hint);
        } else if service.client_auth == ClientAuth::None
            && tls_known
            && !self.findings.is_broken(&self.place.key("clientAuth"))
        {
            let message = "clients are not asked for a certificate: `clientAuth` is None";
            let hint = "set `clientAuth` to Want or Need";
            self.findings.add_with(&BAD_CONDITION, &certificate, message, hint);
        }
    }

    /// Reads `clientCertificate`.
    pub(super) fn certificate_condition(
        &mut self,
        condition: Option<&document::ClientCertificate>,
        place: &Place<'_>,
    ) -> Option<CertificateCondition> {
        let condition = condition?;
        let findings = &mut *self.findings;
        let document::ClientCertificate { subject, san, sha256 } = condition;
        if subject.is_none()
            && san.is_none()
            && sha256.is_none()
            && !findings.is_broken_inside(place)
        {
            let message = "the condition is empty";
            let hint = "name at least one of `subject`, `san` and `sha256`";
            findings.add_with(&BAD_VALUE, place, message, hint);
        }
        Some(CertificateCondition {
            subject: text(subject.as_deref(), &place.key("subject"), findings),
            san: text(san.as_deref(), &place.key("san"), findings),
            sha256: sha256.as_deref().and_then(|text| digest(text, &place.key("sha256"), findings)),
        })
    }
}
