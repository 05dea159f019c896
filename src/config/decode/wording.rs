//! Puts faults of syntax and shape into words: what was found, what was expected, what to do.

use crate::config::fit::Fault;
use crate::config::reserved;
use crate::diagnostics::{
    BAD_DURATION, BAD_SIZE, BAD_VALUE, Diagnostic, MISSING_KEY, SYNTAX, UNKNOWN_KEY, UNKNOWN_VALUE,
    WRONG_TYPE, did_you_mean,
};

/// What a misspelt key was probably meant to be.
pub(super) fn meant(key: &str, known: &[&'static str]) -> Option<&'static str> {
    did_you_mean(key, known.iter().copied().chain(reserved::beside(known)))
}

/// The finding for a fault of shape.
pub(super) fn shape(fault: &Fault, path: &str) -> Diagnostic {
    match fault {
        Fault::UnknownKey { key, expected } => {
            let message = format!("unknown key `{key}`, expected {}", one_of(expected));
            let finding = Diagnostic::new(&UNKNOWN_KEY, path, message);
            match meant(key, expected) {
                Some(meant) => finding.hint(format!("did you mean `{meant}`?")),
                None => finding.hint("remove it, or see `thalweg schema` for every key"),
            }
        }
        Fault::UnknownValue { value, expected } => {
            let message = format!("unknown value `{value}`, expected {}", one_of(expected));
            let finding = Diagnostic::new(&UNKNOWN_VALUE, path, message);
            match did_you_mean(value, expected.iter().copied()) {
                Some(meant) => finding.hint(format!("did you mean `{meant}`?")),
                None => finding,
            }
        }
        Fault::MissingKey { key } => {
            Diagnostic::new(&MISSING_KEY, path, format!("the key `{key}` is missing"))
        }
        Fault::WrongType { found, expected } => {
            let message = format!("expected {}, found {found}", plain(expected));
            let finding = Diagnostic::new(&WRONG_TYPE, path, message);
            match type_hint(found, plain(expected)) {
                Some(hint) => finding.hint(hint),
                None => finding,
            }
        }
        Fault::BadValue { found, expected } => Diagnostic::new(
            &BAD_VALUE,
            path,
            format!("expected {}, found {found}", plain(expected)),
        ),
        Fault::BadDuration { message, bare } => {
            Diagnostic::new(&BAD_DURATION, path, message).hint(match bare {
                Some(n) => format!("write \"{n}s\" for seconds or \"{n}ms\" for milliseconds"),
                None => {
                    "write whole numbers with a unit (d, h, m, s, ms), as \"250ms\", \"3s\" or \
                         \"1h30m\""
                        .into()
                }
            })
        }
        Fault::BadSize { message, bare } => {
            Diagnostic::new(&BAD_SIZE, path, message).hint(match bare {
                Some(n) => {
                    format!("write \"{n}B\", or a unit of 1024 bytes and its powers: \"{n}KiB\"")
                }
                None => {
                    "write a whole number with a unit (B, KiB, MiB, GiB, TiB, kB, MB, GB, TB), \
                         as \"64KiB\""
                        .into()
                }
            })
        }
        Fault::Other { message } => Diagnostic::new(&BAD_VALUE, path, message),
    }
}

/// `a`, `b` or `c`; spellings of one word are named once.
fn one_of(expected: &[&str]) -> String {
    let mut words: Vec<&str> = Vec::new();
    for word in expected {
        if !words.iter().any(|known| known.eq_ignore_ascii_case(word)) {
            words.push(word);
        }
    }
    match words.as_slice() {
        [] => "none".into(),
        [word] => format!("`{word}`"),
        [words @ .., last] => {
            let words: Vec<String> = words.iter().map(|word| format!("`{word}`")).collect();
            format!("one of {} or `{last}`", words.join(", "))
        }
    }
}

/// What serde expects, in the words of JSON.
fn plain(expected: &str) -> &str {
    match expected {
        // Every u16 of the document is a port.
        "u16" => "a port from 1 to 65535",
        "u32" | "usize" | "i64" => "a whole number",
        "a nonzero u32" => "a whole number from 1 on",
        "a boolean" => "true or false",
        "a sequence" => "an array",
        "a map" => "an object",
        "path string" => "a string",
        other => other,
    }
}

/// How to mend the commonest wrong types.
fn type_hint(found: &str, expected: &str) -> Option<String> {
    let text = found.strip_prefix("the string \"").and_then(|text| text.strip_suffix('"'));
    let boolean = expected == "true or false";
    match (found, text) {
        ("null", _) => Some("leave the key out to get its default".into()),
        (_, Some(text @ ("true" | "false"))) if boolean => {
            Some(format!("write {text} without quotes"))
        }
        (_, Some(text)) if text.parse::<u64>().is_ok() && !expected.contains("string") => {
            Some(format!("write {text} without quotes"))
        }
        (_, None) if expected == "an array" => Some("put it in brackets: [ … ]".into()),
        _ => None,
    }
}

/// The finding for text that is not JSON.
pub(super) fn syntax(text: &str, error: &serde_json::Error) -> Diagnostic {
    let (line, column) = (error.line(), error.column());
    let what = error.to_string();
    let what = what.rsplit_once(" at line ").map_or(what.as_str(), |(what, _)| what);
    let (message, hint) = if error.is_eof() {
        let message = format!("the file breaks off: {what} (line {line}, column {column})");
        (
            message,
            Some("write it to a temporary file and rename it, so that it is never half there"),
        )
    } else {
        (format!("{what} (line {line}, column {column})"), syntax_hint(text, line, column, what))
    };
    let finding = Diagnostic::new(&SYNTAX, "", message).at_line(u32::try_from(line).ok());
    match hint {
        Some(hint) => finding.hint(hint),
        None => finding,
    }
}

/// How to mend what people most often take for JSON.
fn syntax_hint(text: &str, line: usize, column: usize, what: &str) -> Option<&'static str> {
    let whole = text.lines().nth(line.checked_sub(1)?)?;
    let at = whole.as_bytes();
    let here = at.get(column.saturating_sub(1)).copied();
    match here {
        Some(b'/' | b'#') => Some("JSON has no comments"),
        Some(b'\'') => Some("JSON wants double quotes"),
        // Web pages and word processors make these of straight ones.
        Some(0x80..) if whole.contains(['“', '”', '„', '‟', '‘', '’', '«', '»']) => {
            Some("the quotes are typographic: JSON wants straight ones, \"")
        }
        Some(b':') if what.contains("expected `,` or `]`") => {
            Some("a key stands in an array: is the object that it belongs to closed too early?")
        }
        Some(b'}' | b']') if what.contains("trailing comma") => {
            Some("remove the comma before it: JSON has no trailing commas")
        }
        Some(b'"') if what.contains("expected `,`") => Some("a comma is missing before it"),
        Some(b'a'..=b'z' | b'A'..=b'Z') if what.contains("key must be a string") => {
            Some("JSON wants keys in double quotes")
        }
        _ => None,
    }
}
