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

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, OnceLock};

use regex::bytes::{Regex, RegexBuilder, RegexSet, RegexSetBuilder, SetMatchesIntoIter};

use super::limits::{
    PATTERN_BYTES_MAX, PATTERN_COMPILED_MAX, PATTERN_SET_CACHE_MAX, PATTERN_SET_COMPILED_MAX,
    PATTERN_SET_MAX,
};

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

/// The patterns of a port, compiled so that one look at a name finds all that take it.
#[derive(Debug, Default)]
pub struct NameTable {
    exact: HashMap<Box<str>, Vec<u32>>,
    /// `*.suffix` by its suffix.
    suffixes: HashMap<Box<str>, Vec<u32>>,
    /// Bytes of the longest suffix.
    longest: usize,
    any: Vec<u32>,
    /// All others, in order.
    sets: Vec<Set>,
}

/// Expressions that are looked for at once.
#[derive(Debug)]
struct Set {
    set: RegexSet,
    /// The positions of its expressions in the table.
    indices: Vec<u32>,
}

impl NameTable {
    /// Compiles patterns. Their positions are the indices of [`NameTable::first`].
    pub fn new<'a>(patterns: impl IntoIterator<Item = &'a Pattern>) -> Self {
        let mut table = Self::default();
        let mut rest = Vec::new();
        for (index, pattern) in (0_u32..).zip(patterns) {
            match &pattern.form {
                Form::Any => table.any.push(index),
                Form::Exact(name) => {
                    table.exact.entry(Box::from(&**name)).or_default().push(index);
                }
                Form::Suffix(suffix) => {
                    table.longest = table.longest.max(suffix.len());
                    table.suffixes.entry(Box::from(&**suffix)).or_default().push(index);
                }
                Form::Glob(glob) => rest.push((index, expression(glob))),
                Form::Regex(regex) => rest.push((index, regex.text.to_string())),
            }
        }
        for chunk in rest.chunks(PATTERN_SET_MAX) {
            sets(chunk, &mut table.sets);
        }
        table
    }

    /// Calls `holds` with the index of every pattern that takes the name, in ascending order, until
    /// it returns true; that index is the result. The name must be in lower case and without a dot
    /// at its end. Allocates only where globs or regular expressions have to be asked.
    pub fn first(&self, name: Option<&str>, mut holds: impl FnMut(usize) -> bool) -> Option<usize> {
        let mut lists = Lists { few: [&[]; LISTS_FEW], used: 0, more: Vec::new() };
        lists.push(&self.any);
        if let Some(name) = name {
            self.exact.get(name).into_iter().for_each(|list| lists.push(list));
            let mut rest = if self.suffixes.is_empty() { "" } else { name };
            while let Some((_, tail)) = rest.split_once('.') {
                if tail.len() <= self.longest {
                    self.suffixes.get(tail).into_iter().for_each(|list| lists.push(list));
                }
                rest = tail;
            }
        }
        let sets = if name.is_some() { &*self.sets } else { &[] };
        let mut hits = Hits { name: name.unwrap_or_default(), sets, found: None, next: None };
        loop {
            let listed = lists.lowest();
            let index = match (listed, hits.peek(listed)) {
                (Some(listed), Some(hit)) if hit < listed => hits.take(hit),
                (Some(listed), _) => lists.take(listed),
                (None, Some(hit)) => hits.take(hit),
                (None, None) => return None,
            };
            if holds(index) {
                return Some(index);
            }
        }
    }
}

/// How many lists of indices a lookup has without allocating.
const LISTS_FEW: usize = 8;

/// Ascending lists of indices, merged.
struct Lists<'a> {
    few: [&'a [u32]; LISTS_FEW],
    used: usize,
    more: Vec<&'a [u32]>,
}

impl<'a> Lists<'a> {
    fn push(&mut self, list: &'a [u32]) {
        match self.few.get_mut(self.used) {
            Some(free) => *free = list,
            None => self.more.push(list),
        }
        self.used += 1;
    }

    fn lowest(&self) -> Option<u32> {
        let used = self.few.iter().take(self.used).chain(&self.more);
        used.filter_map(|list| list.first()).min().copied()
    }

    /// Drops an index, which is the first of a list.
    fn take(&mut self, index: u32) -> usize {
        let mut used = self.few.iter_mut().take(self.used).chain(&mut self.more);
        if let Some(list) = used.find(|list| list.first() == Some(&index)) {
            *list = list.get(1..).unwrap_or_default();
        }
        index as usize
    }
}

/// What the sets find, asked for only as far as needed.
struct Hits<'a> {
    name: &'a str,
    sets: &'a [Set],
    found: Option<(SetMatchesIntoIter, &'a [u32])>,
    next: Option<u32>,
}

impl Hits<'_> {
    /// The next index, unless it is certainly above the one given.
    fn peek(&mut self, below: Option<u32>) -> Option<u32> {
        loop {
            if self.next.is_some() {
                return self.next;
            }
            if let Some((found, indices)) = &mut self.found {
                match found.next() {
                    Some(at) => self.next = indices.get(at).copied(),
                    None => self.found = None,
                }
                continue;
            }
            let (set, rest) = self.sets.split_first()?;
            if below.is_some_and(|below| set.indices.first().is_some_and(|first| *first > below)) {
                return None;
            }
            self.sets = rest;
            self.found = Some((set.set.matches(self.name.as_bytes()).into_iter(), &set.indices));
        }
    }

    fn take(&mut self, index: u32) -> usize {
        self.next = None;
        index as usize
    }
}

/// A glob as a regular expression.
fn expression(glob: &str) -> String {
    let parts: Vec<_> = glob.split('*').map(regex::escape).collect();
    format!("^{}$", parts.join("(?s:.*)"))
}

/// Compiles expressions into as few sets as their size allows.
fn sets(chunk: &[(u32, String)], into: &mut Vec<Set>) {
    let set = RegexSetBuilder::new(chunk.iter().map(|(_, text)| text))
        .case_insensitive(true)
        .unicode(false)
        .size_limit(PATTERN_SET_COMPILED_MAX)
        .dfa_size_limit(PATTERN_SET_CACHE_MAX)
        .build();
    match set {
        Ok(set) => {
            into.push(Set { set, indices: chunk.iter().map(|(index, _)| *index).collect() });
        }
        // Each of them was compiled before, so one alone fits.
        Err(_) if chunk.len() > 1 => {
            let (left, right) = chunk.split_at(chunk.len() / 2);
            sets(left, into);
            sets(right, into);
        }
        Err(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn names(text: &str) -> Pattern {
        Pattern::of_names(text).unwrap_or_else(|fault| panic!("{text}: {fault:?}"))
    }

    #[test]
    fn read_by_the_text_alone() {
        let table = [
            ("*", "any name, or none"),
            ("**", "any name, or none"),
            ("Wildcard(*)", "any name, or none"),
            ("db.example.com", "exactly db.example.com"),
            ("DB_1.Example.COM.", "exactly db_1.example.com"),
            ("Wildcard(db.internal)", "exactly db.internal"),
            ("bücher.example", "exactly xn--bcher-kva.example"),
            ("BÜCHER。example", "exactly xn--bcher-kva.example"),
            ("*.example.com", "glob *.example.com"),
            ("*.Bücher.example.", "glob *.xn--bcher-kva.example"),
            ("db-*", "glob db-*"),
            ("a***b", "glob a*b"),
            ("Wildcard(.*read.*)", "glob .*read.*"),
            (".*read.*", "regex ^(?:.*read.*)$"),
            ("a.*", "regex ^(?:a.*)$"),
            ("(a|b)[.]c", "regex ^(?:(a|b)[.]c)$"),
            ("Regex(db)", "regex ^(?:db)$"),
            ("Regex(*)", ""),
            ("regex(db)", "regex ^(?:regex(db))$"),
            ("a b", "regex ^(?:a b)$"),
            ("", ""),
            (".", ""),
            ("Wildcard()", ""),
            ("a)(b", ""),
            ("(a", ""),
            ("[a", ""),
            ("(?=a)b", ""),
            ("(a)\\1", ""),
            ("((a{1000}){1000}){1000}", ""),
            ("b*ü.example", ""),
            ("\u{ad}.example", ""),
        ];
        for (text, expected) in table {
            let read = Pattern::of_names(text).map(|pattern| pattern.describe());
            assert_eq!(read.clone().unwrap_or_default(), expected, "{text}: {read:?}");
        }
        assert!(Pattern::of_names(&"a".repeat(PATTERN_BYTES_MAX + 1)).is_err());
    }

    #[test]
    fn faults_say_what_and_where() {
        let fault = |text| Pattern::of_names(text).expect_err(text);
        assert_eq!(
            fault("ab(c").message,
            "`ab(c` is not a regular expression: unclosed group (character 3)"
        );
        assert!(fault("(?!a).*").hint.is_some_and(|hint| hint.contains("first that matches")));
        assert!(fault("\\p{L}+").hint.is_some_and(|hint| hint.contains("[a-z0-9]")));
        assert!(fault("Regex(*.a)").hint.is_some_and(|hint| hint.contains("Wildcard")));
        assert!(fault("((a{1000}){1000}){1000}").message.contains("too large"));
    }

    #[test]
    fn the_whole_name_in_any_case_without_its_dot() {
        let table = [
            ("db.example.com", "DB.example.COM.", true),
            ("db.example.com", "xdb.example.com", false),
            ("db.example.com", "db.example.com.x", false),
            ("db.example.com", "dbxexample.com", false),
            ("*.example.com", "a.b.EXAMPLE.com", true),
            ("*.example.com", "a.example.com.", true),
            ("*.example.com", "example.com", false),
            ("*.example.com", "aexample.com", false),
            ("db-*.x", "db-1.2.x", true),
            ("a*b*c", "abbbc", true),
            ("a*b*c", "acb", false),
            (".*read.*", "pg-read.example.com", true),
            (".*read.*", "READ", true),
            (".*read.*", "write", false),
            ("a|b", "ab", false),
            ("a|b", "b", true),
            ("(?m)a$|x", "a\nb", false),
            ("bücher.example", "xn--bcher-kva.example", true),
        ];
        for (pattern, name, expected) in table {
            assert_eq!(names(pattern).matches(Some(name)), expected, "{pattern} {name}");
        }
        assert!(names("*").matches(None));
        for pattern in ["a", "*.a", "a*", ".*", "Regex(.*)"] {
            assert!(!names(pattern).matches(None), "{pattern}");
        }
    }

    #[test]
    fn texts_of_certificates_stay_as_they_are() {
        let text = |pattern| Pattern::of_text(pattern).expect("sound");
        assert!(text("Müller").matches(Some("Müller")));
        assert!(!text("Müller").matches(Some("xn--mller-kva")));
        assert!(text("Example Inc.").matches(Some("example inc.")));
        assert!(!text("a.b").matches(Some("a.b.")));
        assert!(text("spiffe://td/*").kind() == Kind::Regex);
        assert!(text("Wildcard(spiffe://td/*)").matches(Some("spiffe://td/ns/x")));
    }

    #[test]
    fn the_first_that_holds_is_found() {
        let patterns: Vec<_> =
            ["b.x", "*.x", ".*a.*", "a.x", "*", "a.x", "*.a.x"].map(names).into();
        let table = NameTable::new(&patterns);
        let mut asked = Vec::new();
        let none = table.first(Some("a.x"), |index| {
            asked.push(index);
            false
        });
        assert_eq!((none, asked), (None, vec![1, 2, 3, 4, 5]));
        assert_eq!(table.first(Some("b.x"), |_| true), Some(0));
        assert_eq!(table.first(Some("c.a.x"), |index| index > 4), Some(6));
        assert_eq!(table.first(None, |_| true), Some(4));
        assert_eq!(NameTable::new([]).first(Some("a"), |_| true), None);
    }

    /// Patterns of few letters, so that many of them meet.
    fn any_pattern() -> impl Strategy<Value = String> {
        let label = "[ab]{1,2}";
        prop_oneof![
            proptest::collection::vec(label, 1..4).prop_map(|labels| labels.join(".")),
            proptest::collection::vec(label, 1..3)
                .prop_map(|labels| format!("*.{}", labels.join("."))),
            "[ab.*]{1,6}",
            "(\\.\\*)?[ab]{0,2}(\\.\\*)?[ab|]{0,3}",
            Just("*".to_owned()),
        ]
    }

    proptest! {
        /// What the table finds is what trying every pattern in order finds, also if the first that
        /// matches do not hold.
        #[test]
        fn the_table_is_the_patterns_in_order(
            texts in proptest::collection::vec(any_pattern(), 0..200),
            name in proptest::option::of("[ab]{1,2}(\\.[ab]{1,2}){0,3}|[ab.]{0,8}|\\PC{0,4}"),
            refused in proptest::collection::hash_set(0_usize..200, 0..150),
        ) {
            let patterns: Vec<_> =
                texts.iter().filter_map(|text| Pattern::of_names(text).ok()).collect();
            // As the readers of names hand them over.
            let name = name.map(|name| name.trim_end_matches('.').to_lowercase());
            let name = name.as_deref();
            let table = NameTable::new(&patterns);
            let mut asked = Vec::new();
            let found = table.first(name, |index| {
                asked.push(index);
                !refused.contains(&index)
            });
            let mut expected = Vec::new();
            let slow = (0..patterns.len()).find(|index| {
                let takes = patterns[*index].matches(name);
                if takes {
                    expected.push(*index);
                }
                takes && !refused.contains(index)
            });
            prop_assert_eq!(found, slow);
            prop_assert_eq!(asked, expected);
        }
    }
}
