//! `thalweg explain`: what a diagnostic or a reason code means and how to mend it.

use std::io::{self, Write};

use crate::conn::ending::{self, Cause};
use crate::diagnostics::{CODES, Code, did_you_mean, lookup, visible};

/// Explains a code, or lists all. Returns the exit code: 2 for a code that is not known.
pub fn run(code: Option<&str>, list: bool) -> u8 {
    let mut out = io::stdout().lock();
    // Who closes the pipe has read enough.
    let _ = match code {
        _ if list => write_list(&mut out),
        Some(code) => match (lookup(code), reason(code)) {
            (Some(known), _) => write_code(&mut out, known),
            (None, Some((title, text))) => writeln!(out, "{code}: {title}\n\n{}", wrap(text)),
            (None, None) => return unknown(code),
        },
        None => {
            let _ = writeln!(io::stderr(), "name a code, or use `thalweg explain --list`");
            return 2;
        }
    };
    0
}

/// The meaning of a reason why a connection ended.
fn reason(code: &str) -> Option<(&'static str, &'static str)> {
    ending::lookup(code)
}

fn write_code(out: &mut impl Write, code: &Code) -> io::Result<()> {
    writeln!(out, "{}[{}]: {}\n", code.severity.word(), code.code, code.title)?;
    writeln!(out, "{}\n", wrap(code.explanation))?;
    writeln!(out, "  {}", code.example)
}

fn write_list(out: &mut impl Write) -> io::Result<()> {
    let mut codes = CODES.to_vec();
    codes.sort_by_key(|code| code.code);
    for code in codes {
        writeln!(out, "{}  {:7}  {}", code.code, code.severity.word(), code.title)?;
    }
    writeln!(out, "\nreasons of endings (side/step/cause), by their cause:")?;
    for cause in Cause::ALL {
        writeln!(out, "{:12}  {}", cause.name(), cause.title())?;
    }
    Ok(())
}

/// Says that a code is not known, and which may be meant.
fn unknown(code: &str) -> u8 {
    let mut err = io::stderr().lock();
    let causes = Cause::ALL.iter().map(|cause| cause.name());
    let known = CODES.iter().map(|known| known.code).chain(causes);
    let _ = writeln!(err, "there is no code `{}`", visible(code));
    if let Some(meant) = did_you_mean(code, known) {
        let _ = writeln!(err, "did you mean `{meant}`?");
    }
    let _ = writeln!(err, "`thalweg explain --list` shows every code");
    2
}

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
