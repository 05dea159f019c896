//! `thalweg explain`: what a diagnostic or a reason code means and how to mend it, and what is near
//! it.

use std::io::{self, Write};

use super::text::written;
use crate::conn::ending::{self, Cause};
use crate::diagnostics::{self, Code, did_you_mean, lookup, visible};

/// The arguments.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example: a code of `thalweg check`, and a reason of an event
  thalweg explain E101
  thalweg explain upstream/connect/refused
Every code that speaks of something unknown
  thalweg explain unknown")]
pub struct Explain {
    /// The code or reason; another word finds those that speak of it.
    #[arg(required_unless_present = "list", value_name = "CODE")]
    code: Option<String>,
    /// List every code and reason.
    #[arg(long)]
    list: bool,
}

/// Near codes that are told.
const NEAR: usize = 4;

impl Explain {
    /// Carries it out. Returns the exit code: 2 for a code that is not known.
    pub fn run(self) -> u8 {
        let mut out = io::stdout().lock();
        let Some(code) = self.code.filter(|_| !self.list) else {
            return written(write_list(&mut out));
        };
        if let Some(known) = lookup(&code) {
            return written(write_code(&mut out, known));
        }
        match cause(&code) {
            Some(cause) => written(write_reason(&mut out, &code, cause)),
            None => unknown(&code),
        }
    }
}

/// The cause of a reason, which is a whole one (`upstream/connect/refused`) or its cause alone.
fn cause(code: &str) -> Option<Cause> {
    let (title, _) = ending::lookup(code)?;
    Cause::ALL.iter().copied().find(|cause| cause.title() == title)
}

fn write_code(out: &mut impl Write, code: &Code) -> io::Result<()> {
    writeln!(out, "{}[{}]: {}\n", code.severity.word(), code.code, code.title)?;
    writeln!(out, "{}\n", wrap(code.explanation))?;
    writeln!(out, "  {}\n\nnear it:", code.example)?;
    for near in neighbours(code) {
        writeln!(out, "  {}  {}", near.code, near.title)?;
    }
    Ok(())
}

/// The codes that stand around one in the table, whose order is that of what they are about.
fn neighbours(code: &Code) -> impl Iterator<Item = &'static Code> {
    let at = diagnostics::all().position(|known| known.code == code.code).unwrap_or(0);
    let count = diagnostics::all().count();
    let from = at.saturating_sub(NEAR / 2).min(count.saturating_sub(NEAR + 1));
    let around = diagnostics::all().enumerate().skip(from).take(NEAR + 1);
    around.filter(move |(index, _)| *index != at).map(|(_, code)| code)
}

fn write_reason(out: &mut impl Write, code: &str, cause: Cause) -> io::Result<()> {
    writeln!(out, "{}: {}\n\n{}", visible(code), cause.title(), wrap(cause.text()))?;
    if let Some(side) = code.split_once('/').map(|(side, _)| side) {
        let who = match side {
            "client" => "the client, who connected to the proxy",
            "upstream" => "the upstream, the target that the proxy connected to",
            "us" => "the proxy itself",
            _ => return Ok(()),
        };
        writeln!(out, "\n{}", wrap(&format!("Who ended it (`{side}`): {who}.")))?;
    }
    let at = Cause::ALL.iter().position(|known| *known == cause).unwrap_or(0);
    let from = at.saturating_sub(NEAR / 2).min(Cause::ALL.len().saturating_sub(NEAR + 1));
    writeln!(out, "\nnear it:")?;
    for near in Cause::ALL.iter().skip(from).take(NEAR + 1).filter(|near| **near != cause) {
        writeln!(out, "  {:16}  {}", near.name(), near.title())?;
    }
    Ok(())
}

fn write_list(out: &mut impl Write) -> io::Result<()> {
    let mut codes: Vec<_> = diagnostics::all().collect();
    codes.sort_by_key(|code| code.code);
    for code in codes {
        writeln!(out, "{}  {:7}  {}", code.code, code.severity.word(), code.title)?;
    }
    writeln!(out, "\nreasons of endings (side/step/cause), by their cause:")?;
    for cause in Cause::ALL {
        writeln!(out, "{:16}  {}", cause.name(), cause.title())?;
    }
    Ok(())
}

/// Says that a code is not known, and which may be meant.
fn unknown(code: &str) -> u8 {
    let mut err = io::stderr().lock();
    let _ = writeln!(err, "there is no code `{}`", visible(code));
    let meant = meant(code);
    if let [(one, title)] = &*meant {
        let _ = writeln!(err, "did you mean `{one}`: {title}?");
    } else if !meant.is_empty() {
        let _ = writeln!(err, "did you mean one of these?");
        for (one, title) in meant {
            let _ = writeln!(err, "  {one:16}  {title}");
        }
    }
    let _ = writeln!(err, "`thalweg explain --list` shows every code");
    2
}

/// What may be meant: the nearest in spelling, else those that begin so, else those that speak of
/// it.
fn meant(code: &str) -> Vec<(&'static str, &'static str)> {
    let typed = code.trim().to_lowercase();
    let name = typed.rsplit('/').next().unwrap_or_default();
    let known: Vec<(&'static str, &'static str)> = diagnostics::all()
        .map(|known| (known.code, known.title))
        .chain(Cause::ALL.iter().map(|cause| (cause.name(), cause.title())))
        .collect();
    // An O for a 0; a digit more or less is as likely as a wrong one: those that begin as it does.
    let with_digits = name.replace('o', "0").replace('l', "1");
    if let Some(known) = lookup(&with_digits) {
        return vec![(known.code, known.title)];
    }
    let is_code = name.starts_with(['e', 'w', 'i'])
        && name.len() > 1
        && name.chars().skip(1).all(|c| c.is_ascii_digit());
    if is_code {
        let start: String = name.chars().take(3).collect();
        let begins = known.iter().filter(|(one, _)| one.to_lowercase().starts_with(&start));
        let begins: Vec<_> = begins.copied().take(MEANT_MAX).collect();
        if !begins.is_empty() {
            return begins;
        }
    }
    if let Some(one) = did_you_mean(name, known.iter().map(|(one, _)| *one)) {
        return known.into_iter().filter(|(known, _)| *known == one).collect();
    }
    if name.chars().count() < 3 {
        return Vec::new();
    }
    let speaks = |(one, title): &(&str, &str)| {
        one.to_lowercase().contains(name) || title.to_lowercase().contains(name)
    };
    known.into_iter().filter(speaks).take(MEANT_MAX).collect()
}

/// Codes that are offered where none is known.
const MEANT_MAX: usize = 12;

/// Breaks a text into lines of at most 80 characters.
fn wrap(text: &str) -> String {
    let mut lines = String::new();
    let mut column = 0;
    for word in text.split_whitespace() {
        let width = word.chars().count();
        if column > 0 && column + 1 + width > 80 {
            lines.push('\n');
            column = 0;
        } else if column > 0 {
            lines.push(' ');
            column += 1;
        }
        lines.push_str(word);
        column += width;
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_meant_is_found_by_spelling_by_number_and_by_word() {
        assert_eq!(meant("upstream/connect/refusd"), [("refused", Cause::Refused.title())]);
        assert_eq!(meant("E1Ol").first().map(|(code, _)| *code), Some("E101"));
        assert!(meant("e1011").iter().any(|(code, _)| *code == "E101"), "{:?}", meant("e1011"));
        let spoken_of = meant("unknown");
        assert!(spoken_of.len() > 1 && spoken_of.len() <= MEANT_MAX, "{spoken_of:?}");
        assert!(meant("zzzzzz").is_empty());
        assert!(meant("").is_empty());
    }

    #[test]
    fn every_code_has_neighbours_that_are_others() {
        for code in diagnostics::all() {
            let near: Vec<_> = neighbours(code).collect();
            assert_eq!(near.len(), NEAR, "{}", code.code);
            assert!(near.iter().all(|near| near.code != code.code), "{}", code.code);
        }
    }
}
