//! The lines of a request head, each without its end.

use std::ops::Range;

use super::Refusal;
use crate::wire::name;

/// Reads `method SP request-target SP HTTP-version` (RFC 9112 §3); the method is known to be a token
/// and the first space to follow it. Returns where in the line the target's authority lies, if it
/// has one.
pub(super) fn request(line: &[u8]) -> Result<Option<Range<usize>>, Refusal> {
    let mut words = line.splitn(2, |byte| *byte == b' ');
    let (method, rest) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let mut words = rest.rsplitn(2, |byte| *byte == b' ');
    let (version, target) = (words.next().unwrap_or_default(), words.next());
    let [b'H', b'T', b'T', b'P', b'/', b'1', b'.', b'0'..=b'9'] = version else {
        return Err(Refusal::NotHttp);
    };
    // One space between the words: where there are more, readers differ.
    let target = target.filter(|target| !target.is_empty() && target.iter().all(in_target));
    let target = target.ok_or(Refusal::Malformed)?;
    let start = method.len() + 1;
    let host = match (method, target) {
        // Authority-form, with a port (RFC 9112 §3.2.3, RFC 9110 §9.3.6).
        (b"CONNECT", _) => {
            let port = split(target)?.1.ok_or(Refusal::Malformed)?;
            let number = str::from_utf8(port).ok().and_then(|port| port.parse::<u16>().ok());
            number.filter(|port| *port != 0).ok_or(Refusal::Malformed)?;
            Some(0..target.len())
        }
        (b"OPTIONS", b"*") | (_, [b'/', ..]) => None,
        _ => Some(authority(target)?),
    };
    let Some(host) = host else { return Ok(None) };
    // Only an empty `Host` may name none.
    let named = target.get(host.clone()).filter(|host| !host.is_empty());
    self::host(named.ok_or(Refusal::Malformed)?)?;
    Ok(Some(start + host.start..start + host.end))
}

/// Where the authority of an absolute-form target lies (RFC 9112 §3.2.2, RFC 3986 §3).
fn authority(target: &[u8]) -> Result<Range<usize>, Refusal> {
    let scheme = target.iter().position(|byte| *byte == b':').ok_or(Refusal::Malformed)?;
    let (name, rest) = target.split_at_checked(scheme).ok_or(Refusal::Malformed)?;
    let [first, others @ ..] = name else { return Err(Refusal::Malformed) };
    let in_scheme = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.');
    if !first.is_ascii_alphabetic() || !others.iter().all(in_scheme) {
        return Err(Refusal::Malformed);
    }
    let rest = rest.strip_prefix(b"://").ok_or(Refusal::Malformed)?;
    let ends = |byte: &u8| matches!(byte, b'/' | b'?' | b'#');
    let length = rest.iter().position(ends).unwrap_or(rest.len());
    let start = scheme + "://".len();
    Ok(start..start + length)
}

/// Reads `field-name ":" OWS field-value OWS` (RFC 9112 §5): the name, and where in the line the value
/// lies. A folded line begins with a space and so has no name; a space before the colon is in
/// no name either.
pub(super) fn field(line: &[u8]) -> Result<(&[u8], Range<usize>), Refusal> {
    let colon = line.iter().position(|byte| *byte == b':').ok_or(Refusal::Malformed)?;
    let (name, rest) = line.split_at_checked(colon).ok_or(Refusal::Malformed)?;
    if name.is_empty() || !name.iter().all(is_token) || !rest.iter().all(in_value) {
        return Err(Refusal::Malformed);
    }
    let blank = |byte: &&u8| matches!(byte, b' ' | b'\t');
    let after = rest.get(1..).unwrap_or_default();
    let before = after.iter().take_while(blank).count();
    let start = colon + 1 + before;
    let behind = after.iter().skip(before).rev().take_while(blank).count();
    Ok((name, start..line.len() - behind))
}

/// Reads `uri-host [ ":" port ]` (RFC 9110 §7.2) down to the host. Empty names none.
pub(super) fn host(value: &[u8]) -> Result<Option<Box<str>>, Refusal> {
    if value.is_empty() {
        return Ok(None);
    }
    let (host, port) = split(value)?;
    if !port.unwrap_or_default().iter().all(u8::is_ascii_digit) {
        return Err(Refusal::Malformed);
    }
    let normal = name::normalise(host).map_err(|_| Refusal::Malformed)?;
    // Brackets are there for IPv6 and for nothing else (RFC 3986 §3.2.2).
    let bracketed = value.starts_with(b"[");
    if bracketed && (normal.is_some() || !host.contains(&b':') || host.ends_with(b".")) {
        return Err(Refusal::Malformed);
    }
    Ok(normal)
}

/// Host, without brackets, and port of an authority. A user before the host is refused, as RFC 9110
/// §4.2.4 advises: `@` is in no name.
fn split(authority: &[u8]) -> Result<(&[u8], Option<&[u8]>), Refusal> {
    let (host, rest) = if let Some(inner) = authority.strip_prefix(b"[") {
        let end = inner.iter().position(|byte| *byte == b']').ok_or(Refusal::Malformed)?;
        (inner.get(..end), inner.get(end + 1..))
    } else {
        let end = authority.iter().position(|byte| *byte == b':').unwrap_or(authority.len());
        (authority.get(..end), authority.get(end..))
    };
    let host = host.unwrap_or_default();
    match rest.unwrap_or_default() {
        [] => Ok((host, None)),
        [b':', port @ ..] => Ok((host, Some(port))),
        _ => Err(Refusal::Malformed),
    }
}

/// Whether a token may hold this byte (RFC 9110 §5.6.2).
pub(super) fn is_token(byte: &u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte)
}

/// Whether a target may hold this byte: no space, no control; browsers send bytes above ASCII.
fn in_target(byte: &u8) -> bool {
    *byte > b' ' && *byte != 0x7f
}

/// Whether a field value may hold this byte (RFC 9110 §5.5); so not NUL, and not CR without its LF.
fn in_value(byte: &u8) -> bool {
    matches!(byte, b'\t') || *byte >= b' ' && *byte != 0x7f
}
