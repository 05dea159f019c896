//! Name patterns: how `domain` is read, and which patterns a name meets.
//!
//! A pattern is read in one of four ways, decided by its text alone ([`Pattern::of_names`]):
//!
//! | text | read as |
//! | --- | --- |
//! | `Regex(x)` | the regular expression `x` |
//! | `Wildcard(x)` | `x` as a glob |
//! | only letters, digits, `-`, `_`, `.` | exactly this name |
//! | `*` | any name, and no name |
//! | these and `*`, but no `.*` | a glob; `*` is any characters, also dots |
//! | anything else | a regular expression |
//!
//! All are about the whole name, take ASCII letters in either case and one dot at the end as none.
//! Regular expressions run in time linear to the name. Letters beyond ASCII in exact names and
//! globs are written as clients send them, as `xn--…`.

use std::fmt;
use std::sync::{Arc, OnceLock};

use regex::bytes::{Regex, RegexBuilder};

use super::limits::{PATTERN_BYTES_MAX, PATTERN_COMPILED_MAX};

mod table;

pub use table::NameTable;

/// One pattern. Two are equal if they were written alike.
#[derive(Clone)]
pub struct Pattern {
    text: Arc<str>,
    form: Form,
    /// It is about host names: a dot at the end means nothing.
    names: bool,
}

/// How a pattern was read.
#[derive(Clone)]
enum Form {
    Any,
    /// Lower case.
    Exact(Arc<str>),
    /// `*.` and this, which has no `*`; lower case.
    Suffix(Arc<str>),
    /// Any other glob, lower case.
    Glob(Arc<str>),
    Regex(Arc<Expression>),
}

/// A regular expression that is known to compile. Those of a [`NameTable`] are compiled there; by
/// itself most is never run, so it is compiled when it is.
struct Expression {
    text: Box<str>,
    compiled: OnceLock<Option<Regex>>,
}

impl Expression {
    fn takes(&self, text: &str) -> bool {
        let regex = self.compiled.get_or_init(|| compile(&self.text).ok());
        regex.as_ref().is_some_and(|regex| regex.is_match(text.as_bytes()))
    }
}

/// The ways in which a pattern can be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Takes every name, and connections without one.
    Any,
    /// Takes one name.
    Exact,
    /// `*` is any characters.
    Glob,
    /// A regular expression.
    Regex,
}

impl Kind {
    /// As `check` prints it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Any => "any",
            Self::Exact => "exact",
            Self::Glob => "glob",
            Self::Regex => "regex",
        }
    }
}

/// Why a text is no pattern.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BadPattern {
    /// In one sentence.
    pub message: String,
    /// How to mend it.
    pub hint: Option<String>,
}

impl BadPattern {
    fn new(message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { message: message.into(), hint: Some(hint.into()) }
    }
}

impl Pattern {
    /// The pattern that takes everything.
    pub fn any() -> Self {
        Self { text: Arc::from("*"), form: Form::Any, names: true }
    }

    /// Reads a pattern for host names.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn of_names(text: &str) -> Result<Self, BadPattern> {
        Self::read(text, true)
    }

    /// Reads a pattern for other texts, as names in certificates: letters beyond ASCII and a dot at
    /// the end stay as they are.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn of_text(text: &str) -> Result<Self, BadPattern> {
        Self::read(text, false)
    }

    fn read(text: &str, names: bool) -> Result<Self, BadPattern> {
        if text.len() > PATTERN_BYTES_MAX {
            let message = format!("the pattern is longer than {PATTERN_BYTES_MAX} bytes");
            return Err(BadPattern::new(message, "split it into several rules"));
        }
        let inner = |name: &str| text.strip_prefix(name)?.strip_prefix('(')?.strip_suffix(')');
        let form = if let Some(inner) = inner("Regex") {
            regex(inner, names)?
        } else if let Some(inner) = inner("Wildcard") {
            glob(inner, names)?
        } else if text.chars().all(is_host_or_star) && !text.contains(".*") {
            glob(text, names)?
        } else {
            regex(text, names)?
        };
        Ok(Self { text: Arc::from(text), form, names })
    }

    /// As written.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// How it was read.
    pub fn kind(&self) -> Kind {
        match self.form {
            Form::Any => Kind::Any,
            Form::Exact(_) => Kind::Exact,
            Form::Suffix(_) | Form::Glob(_) => Kind::Glob,
            Form::Regex(_) => Kind::Regex,
        }
    }

    /// How it was read, for people: what is looked for, in the form in which it is looked for.
    pub fn describe(&self) -> String {
        match &self.form {
            Form::Any => "any name, or none".into(),
            Form::Exact(name) => format!("exactly {name}"),
            Form::Suffix(suffix) => format!("glob *.{suffix}"),
            Form::Glob(glob) => format!("glob {glob}"),
            Form::Regex(regex) => format!("regex {}", regex.text),
        }
    }

    /// The name that an exact pattern takes, in lower case.
    pub fn exact(&self) -> Option<&str> {
        if let Form::Exact(name) = &self.form { Some(name) } else { None }
    }

    /// The name or glob that it is, in lower case.
    pub(super) fn literal(&self) -> Option<std::borrow::Cow<'_, str>> {
        match &self.form {
            Form::Exact(what) | Form::Glob(what) => Some((&**what).into()),
            Form::Suffix(suffix) => Some(format!("*.{suffix}").into()),
            Form::Any | Form::Regex(_) => None,
        }
    }

    /// What it takes; the same for patterns that were read as the same.
    pub(super) fn identity(&self) -> (Kind, &str) {
        let what = match &self.form {
            Form::Any => "",
            // Only a suffix has no `*`.
            Form::Exact(what) | Form::Suffix(what) | Form::Glob(what) => what,
            Form::Regex(regex) => &regex.text,
        };
        (self.kind(), what)
    }

    /// Whether a table finds it without running an expression.
    pub(super) fn is_cheap(&self) -> bool {
        matches!(self.form, Form::Any | Form::Exact(_) | Form::Suffix(_))
    }

    /// Whether it takes this name. Only `*` takes a connection without one.
    pub fn matches(&self, name: Option<&str>) -> bool {
        if matches!(self.form, Form::Any) {
            return true;
        }
        let Some(name) = name else { return false };
        let name = if self.names { name.strip_suffix('.').unwrap_or(name) } else { name };
        match &self.form {
            Form::Any => true,
            Form::Exact(exact) => name.eq_ignore_ascii_case(exact),
            Form::Suffix(suffix) => {
                let head = name.len().checked_sub(suffix.len());
                let halves = head.and_then(|head| name.as_bytes().split_at_checked(head));
                halves.is_some_and(|(head, tail)| {
                    head.ends_with(b".") && tail.eq_ignore_ascii_case(suffix.as_bytes())
                })
            }
            Form::Glob(glob) => glob_takes(glob.as_bytes(), name.as_bytes()),
            Form::Regex(regex) => regex.takes(name),
        }
    }
}

impl fmt::Debug for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pattern({:?}: {})", self.text, self.describe())
    }
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text && self.names == other.names
    }
}

impl Eq for Pattern {}

/// Whether a character may be in an exact name or a glob. Those beyond ASCII are left to IDNA.
pub(super) fn is_host_or_star(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '*') || !c.is_ascii()
}

/// Reads a glob; one without `*` is an exact name.
fn glob(text: &str, names: bool) -> Result<Form, BadPattern> {
    let text = if names { text.strip_suffix('.').unwrap_or(text) } else { text };
    if text.is_empty() {
        return Err(BadPattern::new("the pattern is empty", "write \"*\" for every name"));
    }
    let text = if names && !text.is_ascii() { ascii(text)? } else { text.to_ascii_lowercase() };
    let mut glob = String::with_capacity(text.len());
    for c in text.chars() {
        if c != '*' || !glob.ends_with('*') {
            glob.push(c);
        }
    }
    if glob == "*" {
        return Ok(Form::Any);
    }
    if !glob.contains('*') {
        return Ok(Form::Exact(glob.into()));
    }
    match glob.strip_prefix("*.") {
        Some(suffix) if !suffix.contains('*') => Ok(Form::Suffix(suffix.into())),
        _ => Ok(Form::Glob(glob.into())),
    }
}

/// Writes a name or glob with letters beyond ASCII as clients send it, label by label.
fn ascii(text: &str) -> Result<String, BadPattern> {
    let mut labels = Vec::new();
    for label in text.split(['.', '\u{3002}', '\u{ff0e}', '\u{ff61}']) {
        if label.is_ascii() {
            labels.push(label.to_ascii_lowercase());
            continue;
        }
        if label.contains('*') {
            let message = format!("`{label}` has both `*` and letters beyond ASCII");
            let hint = "clients send such names as xn--…, in which `*` cannot stand for letters; \
                        let it stand for a whole part of the name";
            return Err(BadPattern::new(message, hint));
        }
        match idna::domain_to_ascii(label) {
            Ok(ascii) if !ascii.is_empty() => labels.push(ascii),
            _ => {
                let message = format!("`{label}` is not part of a host name (IDNA)");
                return Err(BadPattern::new(message, "write the name as clients send it: xn--…"));
            }
        }
    }
    Ok(labels.join("."))
}

/// Reads a regular expression. That for names is left to the table.
fn regex(text: &str, names: bool) -> Result<Form, BadPattern> {
    // By itself first: `a)(b` must not become sound by what is put around it.
    compile(text).map_err(|error| bad_regex(text, &error))?;
    let anchored = format!("^(?:{text})$");
    let compiled = compile(&anchored).map_err(|error| bad_regex(text, &error))?;
    let compiled = if names { OnceLock::new() } else { OnceLock::from(Some(compiled)) };
    Ok(Form::Regex(Arc::new(Expression { text: anchored.into(), compiled })))
}

fn compile(text: &str) -> Result<Regex, regex::Error> {
    RegexBuilder::new(text)
        .case_insensitive(true)
        .unicode(false)
        .size_limit(PATTERN_COMPILED_MAX)
        .build()
}

fn bad_regex(text: &str, error: &regex::Error) -> BadPattern {
    let shown = crate::diagnostics::visible(text);
    let regex::Error::Syntax(report) = error else {
        let message = format!("the regular expression `{shown}` is too large once compiled");
        return BadPattern::new(message, "use smaller repetitions, or several rules");
    };
    let what = report.rsplit_once("error: ").map_or("it cannot be read", |(_, what)| what.trim());
    // The report draws the expression, indented by 4, and carets below it.
    let caret = report.lines().find_map(|line| {
        (line.contains('^') && line.chars().all(|c| matches!(c, ' ' | '^'))).then(|| line.find('^'))
    });
    let place = caret.flatten().and_then(|column| column.checked_sub(3));
    let place = place.map(|at| format!(" (character {at})")).unwrap_or_default();
    let message = format!("`{shown}` is not a regular expression: {what}{place}");
    let hint = if what.starts_with("look-around") || what.starts_with("backreferences") {
        "expressions run in linear time here, which leaves look-around and backreferences out; \
         order the rules instead: the first that matches wins"
    } else if what.contains("Unicode") {
        "names are ASCII on the wire: write [a-z0-9] instead"
    } else if what.starts_with("repetition operator missing") {
        "for a glob write Wildcard(…), where `*` is any characters"
    } else {
        "a name, a glob such as *.example.com, or a regular expression over the whole name"
    };
    BadPattern::new(message, hint)
}

/// Whether a glob in lower case takes a whole text. Goes back to the last `*` only, which is enough.
fn glob_takes(glob: &[u8], text: &[u8]) -> bool {
    let (mut g, mut t) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while let Some(byte) = text.get(t) {
        match glob.get(g) {
            Some(b'*') => {
                star = Some((g, t));
                g += 1;
            }
            Some(wanted) if *wanted == byte.to_ascii_lowercase() => {
                g += 1;
                t += 1;
            }
            _ => {
                let Some((at, from)) = star else { return false };
                star = Some((at, from + 1));
                g = at + 1;
                t = from + 1;
            }
        }
    }
    glob.get(g..).is_some_and(|rest| rest.iter().all(|byte| *byte == b'*'))
}

#[cfg(test)]
mod tests;
