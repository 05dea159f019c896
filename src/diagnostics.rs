//! Every diagnostic and reason code: severity, meaning, hint. One table, which `thalweg explain`
//! prints and which the README's list is checked against.
//!
//! A *diagnostic* says what is wrong with a configuration, and where. A *reason* says why a
//! connection ended (see `crate::conn::ending`).

use std::fmt::{self, Write as _};

use serde::{Deserialize, Serialize};

mod codes;

pub use codes::*;

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Worth knowing.
    Info,
    /// Works, but probably not as meant.
    Warn,
    /// The configuration is refused.
    Error,
}

impl Severity {
    /// The word people read.
    pub fn word(self) -> &'static str {
        match self {
            Self::Info => "info",
            Self::Warn => "warning",
            Self::Error => "error",
        }
    }

    /// The ANSI colour of the word.
    fn colour(self) -> &'static str {
        match self {
            Self::Info => "\x1b[1;36m",
            Self::Warn => "\x1b[1;33m",
            Self::Error => "\x1b[1;31m",
        }
    }
}

/// One kind of finding: an entry of [`all`].
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct Code {
    /// As `E101`; the letter is the severity.
    pub code: &'static str,
    /// How bad it is.
    pub severity: Severity,
    /// What it is, in a few words.
    pub title: &'static str,
    /// What it means and why it is so.
    pub explanation: &'static str,
    /// How to mend it, by example.
    pub example: &'static str,
}

/// The entry of a code, whatever the case of its letter.
pub fn lookup(code: &str) -> Option<&'static Code> {
    all().find(|known| known.code.eq_ignore_ascii_case(code.trim()))
}

/// Who may be told of a fault that costs only what it is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs)] // as in `Owner::word`
pub enum Declarer {
    Api,
    Docker,
    Kong,
    Kubernetes,
    Sozune,
    Tyk,
}

impl Declarer {
    const ALL: [(&str, Self); 6] = [
        ("api", Self::Api),
        ("docker", Self::Docker),
        ("kong", Self::Kong),
        ("kubernetes", Self::Kubernetes),
        ("sozune", Self::Sozune),
        ("tyk", Self::Tyk),
    ];

    /// The one with this word.
    pub fn named(word: &str) -> Option<Self> {
        Self::ALL.iter().find(|(name, _)| *name == word).map(|(_, it)| *it)
    }
}

/// One finding about a configuration, with its place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Diagnostic {
    /// A code of [`all`], as `E101`.
    pub code: &'static str,
    /// How bad it is; follows from the code.
    pub severity: Severity,
    /// What was found and what was expected, in one sentence.
    pub message: String,
    /// JSON path of the place, as `services[2].rules[0].targets[1].port`; empty: the whole file.
    pub path: String,
    /// Line in the file, from 1; `None` where the fault has no line (a file that cannot be read).
    pub line: Option<u32>,
    /// The file, if it is not the one that was asked about; the path starts there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file: Option<std::sync::Arc<str>>,
    /// The provider, if it is about a document of one: an error costs only what that declares.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub provider: Option<Declarer>,
    /// How to mend it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

impl Diagnostic {
    /// A finding at a JSON path. The severity follows from the code.
    pub fn new(code: &'static Code, path: impl fmt::Display, message: impl Into<String>) -> Self {
        Self {
            code: code.code,
            severity: code.severity,
            message: message.into(),
            path: path.to_string(),
            line: None,
            file: None,
            provider: None,
            hint: None,
        }
    }

    /// With its line.
    #[must_use]
    pub fn at_line(mut self, line: impl Into<Option<u32>>) -> Self {
        self.line = line.into();
        self
    }

    /// With how to mend it.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// In this file.
    #[must_use]
    pub fn in_file(mut self, file: &std::sync::Arc<str>) -> Self {
        self.file = Some(std::sync::Arc::clone(file));
        self
    }

    /// Whether what it is about is refused for it.
    pub fn is_error(&self) -> bool {
        self.severity == Severity::Error
    }

    /// Whether the whole configuration is refused for it.
    pub fn refuses(&self) -> bool {
        self.is_error() && self.provider.is_none()
    }

    /// The finding as people read it; see [`Shown::render`].
    pub fn render(&self, file: &str, colour: bool) -> String {
        Shown {
            code: self.code,
            severity: self.severity,
            message: &self.message,
            path: &self.path,
            line: self.line,
            file: self.file.as_deref(),
            hint: self.hint.as_deref(),
        }
        .render(file, colour)
    }
}

/// What people are shown of a finding, which may be one that a proxy of another version made.
#[derive(Debug, Clone, Copy)]
pub struct Shown<'a> {
    /// As `E101`.
    pub code: &'a str,
    /// How bad it is.
    pub severity: Severity,
    /// See [`Diagnostic::message`].
    pub message: &'a str,
    /// See [`Diagnostic::path`].
    pub path: &'a str,
    /// See [`Diagnostic::line`].
    pub line: Option<u32>,
    /// See [`Diagnostic::file`].
    pub file: Option<&'a str>,
    /// See [`Diagnostic::hint`].
    pub hint: Option<&'a str>,
}

impl Shown<'_> {
    /// Over several lines, with a newline at the end. Text that came from the file is escaped: a
    /// configuration must not be able to drive the terminal.
    pub fn render(&self, file: &str, colour: bool) -> String {
        let (on, bold, off) =
            if colour { (self.severity.colour(), "\x1b[1m", "\x1b[0m") } else { ("", "", "") };
        let mut place = visible(self.file.unwrap_or(file));
        if let Some(line) = self.line {
            let _ = write!(place, ":{line}");
        }
        if !self.path.is_empty() {
            let _ = write!(place, "  {}", visible(self.path));
        }
        let mut text = format!(
            "{on}{}[{}]{off}{bold}: {}{off}\n  --> {place}\n",
            self.severity.word(),
            visible(self.code),
            visible(self.message),
        );
        if let Some(hint) = self.hint {
            let _ = writeln!(text, "  hint: {}", visible(hint));
        }
        text
    }
}

/// One line, for logs: `error[E101] config.json:12 services[0].prot: unknown key …`.
impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}[{}]", self.severity.word(), self.code)?;
        if let Some(file) = &self.file {
            write!(f, " {}", visible(file))?;
        }
        if let Some(line) = self.line {
            write!(f, " line {line}")?;
        }
        if !self.path.is_empty() {
            write!(f, " {}", visible(&self.path))?;
        }
        write!(f, ": {}", visible(&self.message))?;
        if let Some(hint) = &self.hint {
            write!(f, " (hint: {})", visible(hint))?;
        }
        Ok(())
    }
}

/// Longest text that is shown in one piece, in characters: a key of a megabyte helps nobody.
const SHOWN_MAX: usize = 1000;

/// The text with its control characters escaped, cut off where nobody would read on.
pub fn visible(text: &str) -> String {
    let mut out = String::new();
    for (at, c) in text.chars().enumerate() {
        if at == SHOWN_MAX {
            out.push('…');
            break;
        }
        if is_control(c) {
            out.extend(c.escape_unicode());
        } else {
            out.push(c);
        }
    }
    out
}

/// Characters that make a terminal do something, or show text in another order than it has.
pub fn is_control(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Of `known`, what somebody who typed `typed` most probably meant.
pub fn did_you_mean<'a>(typed: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let typed = typed.to_lowercase();
    // A third of the letters may differ. Beyond that a suggestion confuses more than it helps.
    let most = (typed.chars().count() / 3).max(1);
    known
        .into_iter()
        .map(|word| (strsim::damerau_levenshtein(&typed, &word.to_lowercase()), word))
        .filter(|(distance, _)| *distance <= most)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, word)| word)
}

/// Whether to colour what goes to a stream: only for people, and not if they said no.
pub fn colour_for(stream: &impl std::io::IsTerminal) -> bool {
    stream.is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_sound() {
        let all: Vec<&Code> = all().collect();
        for (at, code) in all.iter().enumerate() {
            let letter = match code.severity {
                Severity::Error => 'E',
                Severity::Warn => 'W',
                Severity::Info => 'I',
            };
            assert!(code.code.starts_with(letter), "{}", code.code);
            assert_eq!(code.code.len(), 4, "{}", code.code);
            let block = code.code.as_bytes()[1];
            assert!(b"0123".contains(&block), "{}: of no table", code.code);
            assert!(!code.title.is_empty() && !code.title.ends_with('.'), "{}", code.code);
            assert!(code.explanation.ends_with('.'), "{}", code.code);
            assert!(!code.example.is_empty(), "{}", code.code);
            assert!(!all[..at].iter().any(|earlier| earlier.code == code.code), "{}", code.code);
        }
    }

    #[test]
    fn a_code_is_found_in_any_case() {
        assert_eq!(lookup("e101"), Some(&UNKNOWN_KEY));
        assert_eq!(lookup(" E101 "), Some(&UNKNOWN_KEY));
        assert_eq!(lookup("E000"), None);
    }

    #[test]
    fn a_finding_reads_well_and_cannot_drive_the_terminal() {
        let finding = Diagnostic::new(&UNKNOWN_KEY, "services[0].pr\x1bot", "unknown key")
            .at_line(12)
            .hint("did you mean `port`?");
        assert_eq!(
            finding.render("config.json", false),
            "error[E101]: unknown key\n  --> config.json:12  services[0].pr\\u{1b}ot\n  \
             hint: did you mean `port`?\n"
        );
        assert!(finding.render("config.json", true).starts_with("\x1b[1;31merror[E101]\x1b[0m"));
    }

    #[test]
    fn what_is_shown_is_bounded_and_cannot_be_turned_around() {
        assert_eq!(visible(&"x".repeat(1 << 20)).chars().count(), SHOWN_MAX + 1);
        assert_eq!(visible("a\u{202e}b"), "a\\u{202e}b");
    }

    #[test]
    fn suggestions_are_near_or_absent() {
        assert_eq!(did_you_mean("prot", ["port", "tls"]), Some("port"));
        assert_eq!(did_you_mean("PORT", ["port", "tls"]), Some("port"));
        assert_eq!(did_you_mean("zzz", ["port", "tls"]), None);
    }
}
