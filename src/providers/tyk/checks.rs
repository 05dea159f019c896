//! `uptime_tests`: how the targets of a definition are checked.
//!
//! A check is for the target with the same host and port; targets without one are not checked. Its
//! commands mean what the documentation says, not what the gateway does: an `expect` is found wherever
//! it comes in the stream, and a `send` that nothing follows cannot fail.
//!
//! What the checks find decides only with `check_host_against_uptime_tests`. Without it they are made
//! and shown, as Tyk reports them, and all targets are used.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};

use super::Faults;
use super::definition::{Check, Command, Definition, GoDuration, Home, UptimeConfig};
use super::gateway::Gateway;
use super::upstream::{Upstream, split};
use crate::config::limits;
use crate::config::span::Span;
use crate::diagnostics::{
    TYK_CHECK, TYK_CHECK_OF_NOBODY, TYK_CHECKS_DECIDE_NOTHING, TYK_IDLE, TYK_TIMEOUT, did_you_mean,
    visible,
};

/// The checks of a definition's targets.
#[derive(Debug, Default)]
pub(super) struct Checks {
    /// That of most of them, if any is checked: the native `healthCheck` of the service.
    pub(super) common: Option<Value>,
    /// That of each target by its index, where it is another; null: none.
    pub(super) other: Vec<Option<Value>>,
}

/// What a check speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Talk {
    /// As connections to the target do.
    AsTarget,
    Plain,
    Tls,
    Http {
        secure: bool,
    },
}

/// What holds for all checks of a definition.
struct Common {
    decide: bool,
    fall: u8,
    /// Seconds.
    interval: u64,
}

/// Reads the checks.
pub(super) fn read(
    definition: &Definition<'_>,
    upstream: &Upstream,
    gateway: &Gateway,
    faults: &mut Faults<'_>,
) -> Checks {
    let decide = definition.is_on(
        "check_host_against_uptime_tests",
        Home::Proxy,
        |it| it.check_host_against_uptime_tests.as_ref(),
        faults.found,
    );
    let tests =
        definition.get("uptime_tests", Home::Top, |it| it.uptime_tests.as_ref(), faults.found);
    let idle = |why: &str, faults: &mut Faults<'_>| {
        if decide {
            let message = format!("`check_host_against_uptime_tests` has no effect: {why}");
            faults.tell(definition.part.finding(&TYK_IDLE, "uptime_tests", message));
        }
        Checks::default()
    };
    let Some(tests) = tests else { return idle("there are no `uptime_tests`", faults) };
    let of_gateway = gateway.settings.uptime_tests.clone().unwrap_or_default();
    if tests.value.disabled == Some(true) {
        return idle("`uptime_tests` are disabled", faults);
    }
    if of_gateway.disable == Some(true) {
        return idle("the gateway's configuration disables `uptime_tests`", faults);
    }
    let own = tests.value.config.clone().unwrap_or_default();
    let common = common(decide, &own, &of_gateway.config.unwrap_or_default());
    let list = tests.value.check_list.as_deref().unwrap_or_default();
    let path = format!("{}.check_list", tests.path);

    let found_by = own.service_discovery.as_ref();
    if upstream.discovery.is_some()
        && found_by.is_some_and(|it| it.use_discovery_service == Some(true))
    {
        // Its list has hosts alone: whether they can be connected to.
        return Checks { common: Some(check(&common, Map::new(), false)), other: Vec::new() };
    }
    let mut of_targets: Vec<Option<Value>> = vec![None; upstream.endpoints.len()];
    for (at, written) in list.iter().enumerate() {
        let place = format!("{path}[{at}]");
        let Some((host, port, native)) = one(definition, written, &common, &place, faults) else {
            continue;
        };
        let target = upstream
            .endpoints
            .iter()
            .position(|it| it.port == port && it.host.eq_ignore_ascii_case(&host));
        let nobody = match target.and_then(|target| of_targets.get_mut(target)) {
            Some(slot @ None) => {
                *slot = Some(native);
                continue;
            }
            Some(Some(_)) => format!("{host}:{port} has a check already, and this one is not made"),
            None => format!("{host}:{port} is no target, and this check is not made"),
        };
        let finding =
            definition.part.finding(&TYK_CHECK_OF_NOBODY, &format!("{place}.url"), nobody);
        faults.tell(finding);
    }
    let Some(first) = of_targets.iter().flatten().next().cloned() else {
        return idle("no target is checked", faults);
    };
    if !decide {
        let message = "the targets are checked, but connections go to all of them, up or down";
        let finding = definition.part.finding(&TYK_CHECKS_DECIDE_NOTHING, &tests.path, message);
        faults
            .tell(finding.hint("\"check_host_against_uptime_tests\": true lets the checks decide"));
    }
    let other = |of_target: &Option<Value>| match of_target {
        Some(check) if *check == first => None,
        Some(check) => Some(check.clone()),
        None => Some(Value::Null),
    };
    Checks { other: of_targets.iter().map(other).collect(), common: Some(first) }
}

/// The definition's settings, else the gateway's, else Tyk's defaults.
fn common(decide: bool, own: &UptimeConfig, gateway: &UptimeConfig) -> Common {
    const SAMPLES: i64 = 3;
    const WAIT_SECONDS: i64 = 10;
    let either = |of: fn(&UptimeConfig) -> Option<i64>, default| {
        [own, gateway].into_iter().filter_map(of).find(|value| *value > 0).unwrap_or(default)
    };
    let samples = either(|it| it.failure_trigger_sample_size, SAMPLES);
    let wait = either(|it| it.time_wait, WAIT_SECONDS);
    Common {
        decide,
        fall: u8::try_from(samples).unwrap_or(u8::MAX),
        interval: u64::try_from(wait).unwrap_or_default().min(limits::DURATION_MAX.as_secs()),
    }
}

/// Reads one check: whose it is, and what it is natively.
fn one(
    definition: &Definition<'_>,
    written: &Check,
    common: &Common,
    place: &str,
    faults: &mut Faults<'_>,
) -> Option<(String, u16, Value)> {
    let url = written.url.as_deref().unwrap_or_default().trim();
    let (scheme, rest) = match url.split_once("://") {
        Some((scheme, rest)) => (Some(scheme.to_ascii_lowercase()), rest),
        None => (None, url),
    };
    let talk = match talk(written, scheme.as_deref()) {
        Ok(talk) => talk,
        Err((key, message)) => {
            faults.refuse(definition, &TYK_CHECK, &format!("{place}.{key}"), message);
            return None;
        }
    };
    let (authority, path) = match rest.find(['/', '?', '#']) {
        Some(at) => rest.split_at(at),
        None => (rest, ""),
    };
    let usual = match talk {
        Talk::Http { secure: false } => Some(80),
        Talk::Http { secure: true } => Some(443),
        _ => None,
    };
    let located = split(authority).and_then(|(host, port)| {
        let port = port.or(usual).ok_or_else(|| "it has no port".to_owned())?;
        Ok((host, port))
    });
    let (host, port) = match located {
        Ok(located) => located,
        Err(why) => {
            let message = format!("`{}` cannot be checked: {why}", visible(url));
            faults.refuse(definition, &TYK_CHECK, &format!("{place}.url"), message);
            return None;
        }
    };
    let mut members = Map::new();
    match talk {
        Talk::AsTarget => {}
        Talk::Plain | Talk::Http { secure: false } => {
            members.insert("tls".into(), json!(false));
        }
        Talk::Tls | Talk::Http { secure: true } => {
            members.insert("tls".into(), json!(true));
        }
    }
    if let Some(timeout) = timeout(definition, written.timeout, place, faults) {
        members.insert("timeout".into(), json!(timeout.to_string()));
    }
    if written.enable_proxy_protocol == Some(true) {
        members.insert("proxyProtocol".into(), json!("V2"));
    }
    let mut tells_roles = false;
    if let Talk::Http { .. } = talk {
        let request = match request(written, authority, path) {
            Ok(request) => request,
            Err((key, message)) => {
                faults.refuse(definition, &TYK_CHECK, &format!("{place}.{key}"), message);
                return None;
            }
        };
        members.extend(request);
        tells_roles = true;
    } else if let Some(written) = &written.commands {
        let commands = commands(definition, written, place, faults)?;
        tells_roles = written.iter().any(|it| it.name.as_deref() == Some("expect"));
        if !commands.is_empty() {
            members.insert("commands".into(), Value::Array(commands));
        }
    }
    Some((host, port, check(common, members, tells_roles)))
}

/// A native check. One that tells roles apart must have passed before its target is used: the other
/// role must not get connections while nobody has asked it.
fn check(common: &Common, members: Map<String, Value>, tells_roles: bool) -> Value {
    let mut check = Map::new();
    check.insert("interval".into(), json!(format!("{}s", common.interval)));
    check.insert("rise".into(), json!(common.fall));
    check.insert("fall".into(), json!(common.fall));
    if !common.decide {
        check.insert("panicThreshold".into(), json!(100));
    } else if tells_roles {
        check.insert("initial".into(), json!("Down"));
        check.insert("fastInterval".into(), json!("250ms"));
    }
    check.extend(members);
    Value::Object(check)
}

/// What a check speaks: its `protocol`, else the scheme of its URL, else what connections to the
/// target speak.
fn talk(written: &Check, scheme: Option<&str>) -> Result<Talk, (&'static str, String)> {
    let protocol = written.protocol.as_deref().filter(|it| !it.is_empty());
    let has = |text: &Option<String>| text.as_ref().is_some_and(|text| !text.is_empty());
    let commands = written.commands.as_deref().is_some_and(|it| !it.is_empty());
    let talk = match protocol.or(scheme) {
        None if has(&written.method) && !commands => Talk::Http { secure: false },
        None => Talk::AsTarget,
        Some("tcp") => Talk::Plain,
        Some("tls") => Talk::Tls,
        Some("http") => Talk::Http { secure: scheme == Some("https") },
        Some("https") => Talk::Http { secure: true },
        Some(other) => {
            let key = if protocol.is_some() { "protocol" } else { "url" };
            let shown = visible(other);
            let message = format!("`{shown}` is none of tcp, tls, http and https");
            return Err((key, message));
        }
    };
    if commands && matches!(talk, Talk::Http { .. }) {
        let message = "a check by HTTP has no commands: they are of tcp and tls";
        return Err(("commands", message.to_owned()));
    }
    Ok(talk)
}

/// Reads a timeout; Tyk's 0 is none, here the default.
fn timeout(
    definition: &Definition<'_>,
    written: Option<GoDuration>,
    place: &str,
    faults: &mut Faults<'_>,
) -> Option<Span> {
    let GoDuration(timeout) = written.filter(|it| !it.0.is_zero())?;
    if timeout.as_millis() == 0 {
        let message = format!("{} nanoseconds are too short for any answer", timeout.as_nanos());
        let finding = definition.part.finding(&TYK_TIMEOUT, &format!("{place}.timeout"), message);
        faults.tell(finding.hint("Tyk's timeouts are nanoseconds; \"5s\" is taken too"));
        return None;
    }
    Some(Span(timeout.min(limits::DURATION_MAX)))
}

/// Reads the commands. `None`: one is none, which was told.
fn commands(
    definition: &Definition<'_>,
    written: &[Command],
    place: &str,
    faults: &mut Faults<'_>,
) -> Option<Vec<Value>> {
    let mut commands = Vec::new();
    for (at, command) in written.iter().enumerate() {
        let place = format!("{place}.commands[{at}]");
        let name = command.name.as_deref().unwrap_or_default();
        if !matches!(name, "send" | "expect") {
            let message =
                format!("`{}` is no command: there are `send` and `expect`", visible(name));
            let finding = definition.part.finding(&TYK_CHECK, &format!("{place}.name"), message);
            let meant = did_you_mean(name, ["send", "expect"]);
            faults.tell(match meant {
                Some(meant) => finding.hint(format!("did you mean `{meant}`?")),
                None => finding,
            });
            continue;
        }
        let message = command.message.as_deref().unwrap_or_default();
        if message.is_empty() {
            let path = format!("{place}.message");
            faults.refuse(definition, &TYK_CHECK, &path, "the command has no message");
            continue;
        }
        commands.push(json!({ "name": name, "message": literal(message) }));
    }
    (commands.len() == written.len()).then_some(commands)
}

/// A text that means itself: native messages have forms that Tyk's have not.
fn literal(text: &str) -> String {
    let has_form = ["Hex(", "Regex("].iter().any(|form| text.starts_with(form));
    if has_form { hex(text.as_bytes()) } else { text.to_owned() }
}

fn hex(bytes: &[u8]) -> String {
    let digits: Vec<String> = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("Hex({})", digits.join(" "))
}

/// A check by HTTP: the native one, or where that cannot say it all, its bytes. As in Tyk only 200 is
/// good.
fn request(
    written: &Check,
    authority: &str,
    path: &str,
) -> Result<Map<String, Value>, (&'static str, String)> {
    let path = path.split('#').next().unwrap_or_default();
    let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
    let method = written.method.as_deref().filter(|it| !it.is_empty()).unwrap_or("GET");
    let method = method.to_ascii_uppercase();
    let token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    if !method.bytes().all(token) {
        return Err(("method", format!("`{}` is no method", visible(&method))));
    }
    let body = written.body.as_deref().unwrap_or_default();
    let body =
        STANDARD.decode(body.trim()).map_err(|_| ("body", "the body is not base64".to_owned()))?;
    let mut host = authority.to_owned();
    let mut headers = String::new();
    for (name, value) in written.headers.iter().flatten() {
        let sound = !name.is_empty()
            && name.bytes().all(token)
            && value
                .bytes()
                .all(|byte| byte == b'\t' || (b' '..0x7f).contains(&byte) || byte >= 0x80);
        if !sound {
            return Err(("headers", format!("`{}` cannot be a header", visible(name))));
        }
        if name.eq_ignore_ascii_case("host") {
            host.clone_from(value);
        } else if !["connection", "content-length", "transfer-encoding"]
            .contains(&name.to_ascii_lowercase().as_str())
        {
            headers.push_str(&format!("{name}: {value}\r\n"));
        }
    }
    if body.is_empty() && headers.is_empty() {
        let http = json!({ "path": path, "method": method, "host": host, "status": [200] });
        return Ok(Map::from_iter([("http".to_owned(), http)]));
    }
    let length =
        if body.is_empty() { String::new() } else { format!("Content-Length: {}\r\n", body.len()) };
    let head = format!(
        "{method} {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n{headers}{length}\r\n"
    );
    let message = match std::str::from_utf8(&body) {
        Ok(body) => format!("{head}{body}"),
        Err(_) => hex(&[head.as_bytes(), &body].concat()),
    };
    let commands = json!([
        { "name": "send", "message": message },
        { "name": "expect", "message": "Regex(HTTP/1\\.[01] 200[ \\r])" },
    ]);
    Ok(Map::from_iter([("commands".to_owned(), commands)]))
}
