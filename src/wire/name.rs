//! Host names as clients send them: one form for all that compare them.

use std::net::{Ipv4Addr, Ipv6Addr};

use crate::config::limits;

/// Not a host name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Invalid;

/// The name in lower case and without its one trailing dot; `None` for an IP literal, which names
/// no host (RFC 6066 §3). Letters, digits, hyphens and underscores make a label (RFC 952 with the
/// underscore that private names have); U-labels come as A-labels (RFC 5890 §2.3.2.1).
///
/// # Errors
/// [`Invalid`] if it is anything else, also the empty name.
pub fn normalise(bytes: &[u8]) -> Result<Option<Box<str>>, Invalid> {
    let bytes = bytes.strip_suffix(b".").unwrap_or(bytes);
    if bytes.is_empty() || bytes.len() > limits::HOST_BYTES_MAX {
        return Err(Invalid);
    }
    let text = str::from_utf8(bytes).map_err(|_| Invalid)?;
    // Only these can be literals, and few names are: it spares two parsers.
    let ends_in_digit = bytes.last().is_some_and(u8::is_ascii_digit);
    if ends_in_digit && text.parse::<Ipv4Addr>().is_ok() {
        return Ok(None);
    }
    if bytes.contains(&b':') && text.parse::<Ipv6Addr>().is_ok() {
        return Ok(None);
    }
    let sound = |label: &[u8]| {
        (1..=limits::LABEL_BYTES_MAX).contains(&label.len()) && label.iter().all(in_label)
    };
    if !bytes.split(|byte| *byte == b'.').all(sound) {
        return Err(Invalid);
    }
    Ok(Some(text.to_ascii_lowercase().into()))
}

/// Whether a label may hold this byte.
fn in_label(byte: &u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> Option<Box<str>> {
        normalise(text.as_bytes()).expect("a host name or a literal")
    }

    #[test]
    fn one_form() {
        for (sent, kept) in [
            ("example.com", "example.com"),
            ("ExAmPlE.COM.", "example.com"),
            ("_sip._tcp.example", "_sip._tcp.example"),
            ("xn--bcher-kva.example", "xn--bcher-kva.example"),
            ("localhost", "localhost"),
            ("-odd-", "-odd-"),
            ("1.2.3.4.5", "1.2.3.4.5"),
            ("256.1.1.1", "256.1.1.1"),
            ("10.in-addr.arpa", "10.in-addr.arpa"),
        ] {
            assert_eq!(name(sent).as_deref(), Some(kept), "{sent}");
        }
    }

    #[test]
    fn literals_name_no_host() {
        for literal in ["192.0.2.1", "192.0.2.1.", "::1", "2001:DB8::1", "::ffff:192.0.2.1"] {
            assert_eq!(name(literal), None, "{literal}");
        }
    }

    #[test]
    fn not_a_name() {
        for bad in [
            &b""[..],
            b".",
            b"..",
            b"a..",
            b".a",
            b"a..b",
            b"a b",
            b"a\0",
            b"a\tb",
            b"a\x7fb",
            b"b\xc3\xbccher.example",
            b"\xff",
            b"*.example",
            b"a:443",
            b"[::1]",
            b"::g",
            b"fe80::1%eth0",
            b"a/b",
            b"a,b",
        ] {
            assert_eq!(normalise(bad), Err(Invalid), "{}", bad.escape_ascii());
        }
    }

    #[test]
    fn lengths() {
        let label = "a".repeat(63);
        assert!(name(&label).is_some());
        assert_eq!(normalise("a".repeat(64).as_bytes()), Err(Invalid));
        let longest = format!("{label}.{label}.{label}.{}", &label[..61]);
        assert_eq!(longest.len(), 253);
        assert_eq!(name(&longest).as_deref(), Some(&*longest));
        assert_eq!(name(&format!("{longest}.")).as_deref(), Some(&*longest));
        assert_eq!(normalise(format!("{longest}a").as_bytes()), Err(Invalid));
    }
}
