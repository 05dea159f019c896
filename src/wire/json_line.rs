//! Text of strangers inside of JSON on one line: it can neither break the line nor forge another.
//!
//! JSON escapes what is below U+0020. But readers differ in what else ends a line: Unicode, and with
//! it Python's `splitlines` and JavaScript, add U+0085, U+2028 and U+2029. Those are escaped too, and
//! with them the other control characters, which could drive a terminal.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::io;

/// Appends text as a JSON string.
///
/// # Errors
/// None: a `Vec` takes everything.
pub fn string(line: &mut Vec<u8>, text: &str) -> io::Result<()> {
    if text.chars().any(is_unsafe) {
        let quoted = serde_json::Value::from(text).to_string();
        line.extend_from_slice(one_line(&quoted).as_bytes());
        return Ok(());
    }
    Ok(serde_json::to_writer(line, text)?)
}

/// Compact JSON in which nothing ends a line. Such characters can only be within its strings.
pub fn one_line(json: &str) -> Cow<'_, str> {
    if !json.chars().any(is_unsafe) {
        return Cow::Borrowed(json);
    }
    let mut escaped = String::with_capacity(json.len() + 16);
    for c in json.chars() {
        if is_unsafe(c) {
            // All of them are below U+10000.
            let _ = write!(escaped, "\\u{:04x}", u32::from(c));
        } else {
            escaped.push(c);
        }
    }
    Cow::Owned(escaped)
}

/// What JSON lets through and some reader takes for more than a letter.
fn is_unsafe(c: char) -> bool {
    matches!(c, '\u{7f}'..='\u{9f}' | '\u{2028}' | '\u{2029}')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn any_text_comes_back_from_one_line(text in "(?s).{0,40}", odd in "[\\x00-\\x1f\\x7f-\\xa0\u{2027}-\u{202a}\"\\\\]{0,8}") {
            let text = format!("{text}{odd}");
            let mut line = Vec::new();
            string(&mut line, &text).unwrap();
            let line = String::from_utf8(line).unwrap();
            let breaks = |c: char| c.is_control() || matches!(c, '\u{2028}' | '\u{2029}');
            prop_assert!(!line.chars().any(breaks));
            prop_assert_eq!(serde_json::from_str::<String>(&line).unwrap(), text);
        }

        #[test]
        fn documents_keep_their_meaning(key in "(?s).{1,8}", text in "[a\\n\u{85}\u{2028}\u{7f}]{0,8}") {
            let document = serde_json::json!({ key: text }).to_string();
            let line = one_line(&document);
            prop_assert_eq!(line.lines().count(), 1);
            let (one, other): (serde_json::Value, serde_json::Value) =
                (serde_json::from_str(&document).unwrap(), serde_json::from_str(&line).unwrap());
            prop_assert_eq!(one, other);
        }
    }
}
