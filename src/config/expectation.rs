//! What a check waits for: a text, bytes or an expression, looked for in a stream as it comes.
//!
//! All are one automaton that is fed byte by byte and asked after each: the answer depends on the
//! stream alone, never on how it was cut into pieces, and the work is linear.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use regex_automata::dfa::{Automaton, StartKind, dense};
use regex_automata::nfa::thompson;
use regex_automata::util::primitives::StateID;
use regex_automata::util::syntax;
use regex_automata::{Input, MatchError};

use super::limits::{CHECK_MESSAGE_BYTES_MAX, EXPECTATION_COMPILED_MAX};

/// Something to wait for. Two are equal if they were written alike.
#[derive(Clone)]
pub struct Expectation {
    text: Arc<str>,
    automaton: Arc<dense::DFA<Vec<u32>>>,
    start: StateID,
}

/// The bytes that a `send` means: the text itself, or `Hex(0d 0a)`.
///
/// # Errors
/// What is wrong with it.
pub fn bytes(text: &str) -> Result<Vec<u8>, String> {
    let bytes = match inner(text, "Hex") {
        Some(digits) => hex(digits)?,
        None if inner(text, "Regex").is_some() => {
            return Err("an expression cannot be sent".into());
        }
        None => text.as_bytes().to_vec(),
    };
    match bytes.len() {
        0 => Err("the message is empty".into()),
        1..=CHECK_MESSAGE_BYTES_MAX => Ok(bytes),
        _ => Err(format!("the message has more than {CHECK_MESSAGE_BYTES_MAX} bytes")),
    }
}

impl Expectation {
    /// Reads a text, `Hex(…)` or `Regex(x)`.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn read(text: &str) -> Result<Self, String> {
        let pattern = match inner(text, "Regex") {
            Some(inner) if inner.len() > CHECK_MESSAGE_BYTES_MAX => {
                return Err("the expression is too long".into());
            }
            Some(inner) => inner.to_owned(),
            None => bytes(text)?.iter().map(|byte| format!("\\x{byte:02x}")).collect(),
        };
        let automaton = dense::Builder::new()
            .configure(
                dense::Config::new()
                    .start_kind(StartKind::Unanchored)
                    .dfa_size_limit(Some(EXPECTATION_COMPILED_MAX))
                    .determinize_size_limit(Some(EXPECTATION_COMPILED_MAX)),
            )
            .syntax(syntax::Config::new().unicode(false).utf8(false))
            .thompson(
                thompson::Config::new().utf8(false).nfa_size_limit(Some(EXPECTATION_COMPILED_MAX)),
            )
            .build(&pattern)
            .map_err(|error| fault(&error, &pattern))?;
        let begun: Result<StateID, MatchError> = automaton.start_state_forward(&Input::new(b""));
        let start = begun.map_err(|_| "the expression cannot be looked for in a stream")?;
        if automaton.is_match_state(automaton.next_eoi_state(start)) {
            return Err("it expects nothing: the empty text is enough for it".into());
        }
        Ok(Self { text: Arc::from(text), automaton: Arc::new(automaton), start })
    }

    /// As written.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Begins to look.
    pub fn watch(&self) -> Watch<'_> {
        Watch { expectation: self, state: self.start }
    }
}

/// A look at a stream.
#[derive(Debug)]
pub struct Watch<'a> {
    expectation: &'a Expectation,
    state: StateID,
}

impl Watch<'_> {
    /// Looks at the next bytes of the stream; how many of them there are up to where the expected is
    /// there for the first time.
    pub fn feed(&mut self, bytes: &[u8]) -> Option<usize> {
        let automaton = &self.expectation.automaton;
        for (at, byte) in bytes.iter().enumerate() {
            self.state = automaton.next_state(self.state, *byte);
            // A match shows one byte late, or at the end of the input: so ask as if it were here.
            if automaton.is_match_state(automaton.next_eoi_state(self.state)) {
                return Some(at + 1);
            }
        }
        None
    }
}

/// `x` of `Name(x)`.
fn inner<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    text.strip_prefix(name)?.strip_prefix('(')?.strip_suffix(')')
}

/// Reads hexadecimal digits, in pairs with or without blanks between them.
fn hex(text: &str) -> Result<Vec<u8>, String> {
    let wrong = || "Hex(…) takes pairs of hexadecimal digits, as Hex(0d 0a)".to_owned();
    let mut bytes = Vec::new();
    for word in text.split_ascii_whitespace() {
        let digits: Option<Vec<u8>> =
            word.chars().map(|c| c.to_digit(16).and_then(|it| u8::try_from(it).ok())).collect();
        for pair in digits.ok_or_else(wrong)?.chunks(2) {
            let [high, low] = pair else { return Err(wrong()) };
            bytes.push(high << 4 | low);
        }
    }
    Ok(bytes)
}

fn fault(error: &dense::BuildError, pattern: &str) -> String {
    // The parser of `regex` says best what is wrong with the grammar.
    match regex::bytes::RegexBuilder::new(pattern).unicode(false).build() {
        Err(regex::Error::Syntax(text)) => {
            let what = text.lines().last().unwrap_or_default();
            what.strip_prefix("error: ").unwrap_or(what).to_owned()
        }
        _ => format!("the expression cannot be used: {error}"),
    }
}

impl PartialEq for Expectation {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for Expectation {}

impl Hash for Expectation {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.text.hash(state);
    }
}

impl fmt::Debug for Expectation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Expectation({self})")
    }
}

impl fmt::Display for Expectation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (inner(&self.text, "Regex"), inner(&self.text, "Hex")) {
            (None, None) => write!(f, "\"{}\"", self.text.as_bytes().escape_ascii()),
            _ => f.write_str(&self.text),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(text: &str) -> Expectation {
        Expectation::read(text).unwrap_or_else(|fault| panic!("{text}: {fault}"))
    }

    fn found(text: &str, stream: &[u8]) -> Option<usize> {
        read(text).watch().feed(stream)
    }

    #[test]
    fn the_first_place_where_it_is_there() {
        let table: [(&str, &[u8], Option<usize>); 12] = [
            ("+PONG", b"+PONG\r\n", Some(5)),
            ("+PONG", b"-ERR\r\n+PONG\r\n", Some(11)),
            ("aab", b"aaab", Some(4)),
            ("+PONG", b"+PON", None),
            ("a.c", b"abc", None),
            ("Hex(00 ff0A)", b"\x01\x00\xff\x0a", Some(4)),
            ("Regex(role:(master|primary))", b"x\r\nrole:primary", Some(15)),
            ("Regex(a+)", b"baaa", Some(2)),
            ("Regex(^220[ -])", b"220 mail", Some(4)),
            ("Regex(^220 )", b"x220 mail", None),
            ("Regex((?i)ready)", b"is READY", Some(8)),
            ("\u{e9}", "caf\u{e9}".as_bytes(), Some(5)),
        ];
        for (text, stream, expected) in table {
            assert_eq!(found(text, stream), expected, "{text}");
        }
    }

    #[test]
    fn what_cannot_be_expected_is_refused() {
        for (text, why) in [
            ("", "empty"),
            ("Hex()", "empty"),
            ("Hex(0)", "pairs"),
            ("Hex(0g)", "pairs"),
            ("Regex(a*)", "expects nothing"),
            ("Regex()", "expects nothing"),
            ("Regex((a)", "unclosed group"),
            ("Regex(((a{99}){99}){99})", "cannot be used"),
        ] {
            let fault = Expectation::read(text).expect_err(text);
            assert!(fault.contains(why), "{text}: {fault}");
        }
        assert!(bytes("Regex(a)").is_err());
        assert_eq!(bytes("Hex(0d0a)").as_deref(), Ok(&b"\r\n"[..]));
    }

    proptest! {
        /// A text is found where a search of the whole finds it, however the stream is cut.
        #[test]
        fn cuts_change_nothing(
            needle in "[ab\\\\.+()\r]{1,5}",
            stream in proptest::collection::vec(prop_oneof![Just(b'a'), Just(b'b'), any::<u8>()], 0..80),
            cuts in proptest::collection::vec(0_usize..80, 0..6),
        ) {
            let expected = stream
                .windows(needle.len())
                .position(|window| window == needle.as_bytes())
                .map(|at| at + needle.len());
            let expectation = read(&needle);
            prop_assert_eq!(expectation.watch().feed(&stream), expected);
            let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(stream.len())).collect();
            cuts.sort_unstable();
            cuts.push(stream.len());
            let (mut watch, mut from, mut end) = (expectation.watch(), 0, None);
            for cut in cuts {
                if let Some(at) = watch.feed(&stream[from..cut]) {
                    end = Some(from + at);
                    break;
                }
                from = cut;
            }
            prop_assert_eq!(end, expected);
        }
    }
}
