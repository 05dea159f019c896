//! The key `healthCheck`: that a check can be made, and that all that is written has an effect.

use std::sync::Arc;
use std::time::Duration;

use rustls_pki_types::ServerName;

use super::Findings;
use super::proxy;
use super::service::Scope;
use crate::config::checked::health::{
    Command, HealthCheck, HttpCheck, Passive, Probe, Talk, TargetCheck,
};
use crate::config::checked::{self, Address, UpstreamTls};
use crate::config::document::{self, CommandName, Initial, OnDown, Service, Span};
use crate::config::expectation::{self, Expectation};
use crate::config::limits::{
    CHECK_COMMANDS_MAX, CHECK_FAST_DEFAULT, CHECK_INTERVAL_MIN, CHECK_MESSAGE_BYTES_MAX,
};
use crate::config::place::Place;
use crate::diagnostics::{
    BAD_CHECK, BAD_DURATION, BAD_MESSAGE, BAD_VALUE, CHECK_IDLE, CHECK_UNVERIFIED, SEND_UNANSWERED,
    visible,
};

impl Scope<'_, '_> {
    /// Checks how targets are checked, and tells the targets of the rules.
    pub(super) fn health<'a>(
        &mut self,
        service: &Service,
        rules: &'a mut [checked::Rule],
    ) -> Option<HealthCheck> {
        let written = service.health_check.as_ref()?;
        let place = self.place.key("healthCheck");
        // Of a check with a fault of shape the rest may mean something else.
        if self.findings.is_broken_inside(&place) {
            return None;
        }
        let findings = &mut *self.findings;
        let compiled = compile(written, &place, findings);
        let mut unverified = false;
        let of_rule = |rule: &'a mut checked::Rule| {
            let templates = rule.discoveries.iter_mut().map(|discovery| &mut discovery.template);
            rule.targets.iter_mut().chain(templates)
        };
        let meant = |target: &&mut checked::Target| {
            target.own_health.is_none() && target.address != Address::Reject
        };
        for target in rules.iter_mut().flat_map(of_rule).filter(meant) {
            unverified |= checked_so(target, written, &compiled, &place, findings);
        }
        if unverified {
            let message = "the check verifies no certificate: a target has no `tls` that says how";
            findings.add(&CHECK_UNVERIFIED, &place.key("tls"), message);
        }
        Some(compiled)
    }
}

/// Checks `healthCheck` of a target, which stands instead of the service's.
pub(super) fn own(
    document: &document::Target,
    target: &mut checked::Target,
    place: &Place<'_>,
    findings: &mut Findings<'_>,
) {
    let Some(written) = &document.health_check else { return };
    let place = place.key("healthCheck");
    if findings.is_broken_inside(&place) {
        return;
    }
    let Some(written) = written else {
        target.own_health = Some(Arc::default());
        return;
    };
    if written.panic_threshold > 0 {
        let message = "`panicThreshold` has no effect: it is about all targets of a rule";
        let hint = "write it into `healthCheck` of the service";
        findings.add_with(&CHECK_IDLE, &place.key("panicThreshold"), message, hint);
    }
    let compiled = compile(written, &place, findings);
    if checked_so(target, written, &compiled, &place, findings) {
        let message = "the check verifies no certificate: the target has no `tls` that says how";
        findings.add(&CHECK_UNVERIFIED, &place.key("tls"), message);
    }
    target.own_health = Some(Arc::new(compiled));
}

/// Tells a target how it is checked. True if TLS is spoken and nothing verified.
fn checked_so(
    target: &mut checked::Target,
    written: &document::HealthCheck,
    compiled: &HealthCheck,
    place: &Place<'_>,
    findings: &mut Findings<'_>,
) -> bool {
    let Some(probe) = &compiled.probe else { return false };
    let mut unverified = false;
    let (tls, as_target) = match written.tls {
        Some(false) => (None, false),
        Some(true) if target.tls.is_none() => {
            unverified = true;
            (Some(unverified_tls(target, place, findings)), false)
        }
        Some(true) => (target.tls.clone(), true),
        None if written.port.is_none() && probe.talk != Talk::Nothing => (target.tls.clone(), true),
        None => (None, false),
    };
    if written.port.is_some() && matches!(target.address, Address::Unix(_)) {
        let message = format!("`port` is not for {}: a Unix socket has none", target.host);
        let hint = "leave `port` out, or give these targets a service of their own";
        findings.add_with(&BAD_CHECK, &place.key("port"), message, hint);
    }
    let port = written.port;
    let follows = written.proxy_protocol.is_none() && port.is_none();
    let probe = if follows && target.header != probe.header {
        Arc::new(Probe { header: target.header, ..Probe::clone(probe) })
    } else {
        Arc::clone(probe)
    };
    target.check = Some(TargetCheck { probe, port, tls, as_target });
    unverified
}

/// TLS with a target that does not say how.
fn unverified_tls(
    target: &checked::Target,
    place: &Place<'_>,
    findings: &mut Findings<'_>,
) -> UpstreamTls {
    // What is found brings its own name.
    let is_template = target.host.is_empty() || target.address == Address::Srv;
    let name = match &target.address {
        _ if is_template => String::new(),
        Address::Ip(ip) if target.host.parse() == Ok(*ip) => ip.to_canonical().to_string(),
        Address::Unix(_) => "localhost".into(),
        _ => target.host.trim_matches(['[', ']']).trim_end_matches('.').to_ascii_lowercase(),
    };
    if !is_template && ServerName::try_from(name.as_str()).is_err() {
        let message = format!("`{name}` cannot be asked for in TLS");
        let hint = "give the target `tls` and a `serverName`, or leave TLS out of the check";
        findings.add_with(&BAD_CHECK, &place.key("tls"), message, hint);
    }
    UpstreamTls { insecure: true, ..UpstreamTls::to(name) }
}

fn compile(
    written: &document::HealthCheck,
    place: &Place<'_>,
    findings: &mut Findings<'_>,
) -> HealthCheck {
    let probe =
        written.interval.map(|interval| Arc::new(probe(written, interval, place, findings)));
    if probe.is_none() {
        idle_without_checks(written, place, findings);
    }
    percentage("panicThreshold", written.panic_threshold, 0, place, findings);
    let passive = written.passive.as_ref().map(|passive| {
        let place = place.key("passive");
        percentage("maxEjected", passive.max_ejected, 1, &place, findings);
        let eject_for = duration("ejectFor", passive.eject_for, &place, findings);
        Passive { failures: passive.failures, eject_for, max_ejected: passive.max_ejected }
    });
    let slow_start = written.slow_start.map(|span| duration("slowStart", span, place, findings));
    HealthCheck {
        probe,
        close_on_down: written.on_down == OnDown::Close,
        panic_threshold: written.panic_threshold,
        passive,
        slow_start,
    }
}

/// Remarks on what needs checks where there are none.
fn idle_without_checks(
    written: &document::HealthCheck,
    place: &Place<'_>,
    findings: &mut Findings<'_>,
) {
    let why = "`interval` is null: there are no checks";
    let keys = [
        ("commands", !written.commands.is_empty()),
        ("http", written.http.is_some()),
        ("port", written.port.is_some()),
        ("tls", written.tls.is_some()),
        ("fastInterval", written.fast_interval.is_some()),
        (
            "proxyProtocol",
            written.proxy_protocol.is_some_and(|sent| sent != document::SendHeader::Off),
        ),
        ("initial", written.initial != Initial::Up),
        ("onDown", written.on_down != OnDown::Keep),
    ];
    for (key, _) in keys.iter().filter(|(_, given)| *given) {
        let message = format!("`{key}` has no effect: {why}");
        findings.add_with(&CHECK_IDLE, &place.key(key), message, "give `interval` a duration");
    }
    if written.passive.is_none() {
        let message = format!("`healthCheck` has no effect: {why}, and there is no `passive`");
        let hint = "give `interval` a duration, or add \"passive\": {}";
        findings.add_with(&CHECK_IDLE, place, message, hint);
    }
}

fn probe(
    written: &document::HealthCheck,
    interval: Span,
    place: &Place<'_>,
    findings: &mut Findings<'_>,
) -> Probe {
    let interval = duration("interval", interval, place, findings);
    let fast_interval = match written.fast_interval {
        None => interval.min(CHECK_FAST_DEFAULT),
        Some(span) => duration("fastInterval", span, place, findings),
    };
    let fast = written.fast_interval.map_or(interval, |_| fast_interval);
    for (key, span) in [("interval", interval), ("fastInterval", fast)] {
        if !span.is_zero() && span < CHECK_INTERVAL_MIN {
            let message = format!("`{key}` is shorter than {}", Span(CHECK_INTERVAL_MIN));
            findings.add(&BAD_VALUE, &place.key(key), message);
            break;
        }
    }
    if fast_interval > interval {
        let message = "`fastInterval` is longer than `interval`";
        let hint = "it is for looking closer while a state is in doubt";
        findings.add_with(&BAD_VALUE, &place.key("fastInterval"), message, hint);
    }
    if written.port == Some(0) {
        let message = "port 0 is not a port to connect to";
        findings.add_with(&BAD_VALUE, &place.key("port"), message, "1 to 65535");
    }
    let talk = match &written.http {
        Some(_) if !written.commands.is_empty() => {
            let message = "a check has `commands` or `http`, not both";
            findings.add_with(&BAD_CHECK, &place.key("http"), message, "keep one of them");
            Talk::Nothing
        }
        Some(check) => Talk::Http(http(check, &place.key("http"), findings)),
        None if written.commands.is_empty() => Talk::Nothing,
        None => Talk::Script(commands(&written.commands, &place.key("commands"), findings)),
    };
    Probe {
        interval,
        fast_interval,
        timeout: duration("timeout", written.timeout, place, findings),
        rise: written.rise,
        fall: written.fall,
        starts_up: written.initial == Initial::Up,
        header: written.proxy_protocol.map(proxy::send).unwrap_or_default(),
        talk,
    }
}

fn commands(
    written: &[document::Command],
    place: &Place<'_>,
    findings: &mut Findings<'_>,
) -> Vec<Command> {
    if written.len() > CHECK_COMMANDS_MAX {
        let message = format!("{} commands are more than {CHECK_COMMANDS_MAX}", written.len());
        findings.add(&BAD_VALUE, place, message);
    }
    let mut commands = Vec::new();
    for (at, command) in written.iter().enumerate().take(CHECK_COMMANDS_MAX) {
        let place = place.index(at);
        if command.name.is_none() {
            findings.missing(&place, "name", "\"send\" or \"expect\"");
        }
        let Some(text) = &command.message else {
            findings.missing(&place, "message", "\"PING\\r\\n\", \"Hex(0d 0a)\", \"Regex(x)\"");
            continue;
        };
        let read = match command.name {
            Some(CommandName::Send) => {
                expectation::bytes(text).map(|bytes| Command::Send(bytes.into()))
            }
            Some(CommandName::Expect) => Expectation::read(text).map(Command::Expect),
            None => continue,
        };
        match read {
            Ok(command) => commands.push(command),
            Err(fault) => bad_message(text, &fault, &place.key("message"), findings),
        }
    }
    let answered = commands.iter().rposition(|command| matches!(command, Command::Expect(_)));
    let after = answered.map_or(0, |at| at + 1);
    if let Some(Command::Send(bytes)) = commands.get(after..).and_then(<[Command]>::last) {
        let at = commands.len().saturating_sub(1);
        let message = match answered {
            Some(_) => "nothing is expected after this `send`: a failure to send it does not count",
            None => "nothing is expected: a target that takes the connection has passed",
        };
        // The documentation of Tyk has `send` where it means `expect`.
        let hint = if bytes.starts_with(b"+") || bytes.starts_with(b"-") {
            "should this be an `expect`?"
        } else {
            "fine for a farewell; to be sure of an answer add an `expect`"
        };
        findings.add_with(&SEND_UNANSWERED, &place.index(at), message, hint);
    }
    commands
}

fn http(
    written: &document::HttpCheck,
    place: &Place<'_>,
    findings: &mut Findings<'_>,
) -> HttpCheck {
    let mut bad = |key: &str, message: &str, hint: &str| {
        findings.add_with(&BAD_CHECK, &place.key(key), message, hint);
    };
    let plain = |text: &str| text.bytes().all(|byte| byte.is_ascii_graphic());
    let path = &written.path;
    if !path.starts_with('/') || !plain(path) || path.len() > CHECK_MESSAGE_BYTES_MAX {
        bad(
            "path",
            "the path is none",
            "\"/primary\": from the first `/` on, with %20 for a blank",
        );
    }
    let token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    if written.method.is_empty() || !written.method.bytes().all(token) {
        bad("method", "this is not a method", "\"GET\", \"HEAD\", \"OPTIONS\"");
    }
    if written.host.as_deref().is_some_and(|host| host.is_empty() || !plain(host)) {
        bad("host", "this is not a host", "\"app.internal\" or \"app.internal:8008\"");
    }
    let status = written.status.as_deref();
    if status.is_some_and(<[u16]>::is_empty) {
        bad("status", "the list is empty", "leave the key out for 200 to 399");
    }
    if status.unwrap_or_default().iter().any(|code| !(200..600).contains(code)) {
        bad("status", "a status is from 200 to 599", "[ 200, 204 ]");
    }
    let body = written.body.as_deref().and_then(|text| match Expectation::read(text) {
        Ok(body) => Some(body),
        Err(fault) => {
            bad_message(text, &fault, &place.key("body"), findings);
            None
        }
    });
    HttpCheck {
        method: written.method.as_str().into(),
        path: path.as_str().into(),
        host: written.host.as_deref().map(Into::into),
        status: written.status.clone().unwrap_or_default(),
        body,
    }
}

fn bad_message(text: &str, fault: &str, place: &Place<'_>, findings: &mut Findings<'_>) {
    let message = format!("`{}` is no message: {fault}", visible(text));
    let hint = "a text with JSON's escapes, as \"PING\\r\\n\"; Hex(0d 0a); to expect also Regex(x)";
    findings.add_with(&BAD_MESSAGE, place, message, hint);
}

/// A duration that may not be zero.
fn duration(
    key: &str,
    Span(span): Span,
    place: &Place<'_>,
    findings: &mut Findings<'_>,
) -> Duration {
    if span.is_zero() {
        let message = format!("`{key}` is zero");
        findings.add_with(
            &BAD_DURATION,
            &place.key(key),
            message,
            "the key left out is the default",
        );
    }
    span
}

fn percentage(key: &str, percent: u8, least: u8, place: &Place<'_>, findings: &mut Findings<'_>) {
    if !(least..=100).contains(&percent) {
        let message = format!("`{key}` is a percentage from {least} to 100");
        findings.add(&BAD_VALUE, &place.key(key), message);
    }
}
