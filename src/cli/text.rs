//! Text for people: columns as wide as the terminal allows, spans, sizes and rates in short units.
//! Whatever comes from a proxy is escaped, so that no name it was given can drive the terminal.

use std::io::{self, IsTerminal, Write};
use std::time::Duration;

use serde_json::Value;
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

use crate::diagnostics::visible;

/// A span of ms as people say it: `12s`, `3m05s`, `2h10m`, `4d03h`.
pub fn span(ms: u64) -> String {
    let seconds = Duration::from_millis(ms).as_secs();
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3600 => format!("{}m{:02}s", seconds / 60, seconds % 60),
        3600..86400 => format!("{}h{:02}m", seconds / 3600, seconds / 60 % 60),
        _ => format!("{}d{:02}h", seconds / 86400, seconds / 3600 % 24),
    }
}

/// A number of bytes in three digits and a unit.
pub fn bytes(count: u64) -> String {
    let units = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];
    let mut scaled = u128::from(count) * 10;
    let mut unit = 0;
    while scaled >= 10_240 && unit + 1 < units.len() {
        scaled /= 1024;
        unit += 1;
    }
    let name = units.get(unit).copied().unwrap_or_default();
    if unit == 0 || scaled >= 1000 {
        format!("{} {name}", scaled / 10)
    } else {
        format!("{}.{} {name}", scaled / 10, scaled % 10)
    }
}

/// A count in at most five characters: `999`, `12.3k`, `4.5M`.
pub fn count(number: u64) -> String {
    let units = ["", "k", "M", "G", "T", "P", "E"];
    let mut scaled = u128::from(number) * 10;
    let mut unit = 0;
    while scaled >= 10_000 && unit + 1 < units.len() {
        scaled /= 1000;
        unit += 1;
    }
    let name = units.get(unit).copied().unwrap_or_default();
    if unit == 0 || scaled >= 1000 {
        format!("{}{name}", scaled / 10)
    } else {
        format!("{}.{}{name}", scaled / 10, scaled % 10)
    }
}

/// `1 service`, `2 services`.
pub fn plural(count: u64, word: &str) -> String {
    if count == 1 { format!("1 {word}") } else { format!("{count} {word}s") }
}

/// The columns that a text takes on a terminal.
pub fn width(text: &str) -> usize {
    text.width()
}

/// The text cut to so many columns, with `…` where something is missing.
pub fn cut(text: &str, most: usize) -> String {
    if width(text) <= most {
        return text.to_owned();
    }
    let mut short = String::new();
    let mut used = 0;
    for c in text.chars() {
        let more = c.width().unwrap_or(0);
        if used + more + 1 > most {
            break;
        }
        used += more;
        short.push(c);
    }
    if most > 0 {
        short.push('…');
    }
    short
}

/// The text cut or filled to exactly so many columns.
pub fn fit(text: &str, columns: usize, right: bool) -> String {
    let text = cut(text, columns);
    let gap = " ".repeat(columns.saturating_sub(width(&text)));
    if right { gap + &text } else { text + &gap }
}

/// The columns of the terminal behind standard output; `None`: there is none, nothing is cut.
pub fn terminal_columns() -> Option<usize> {
    let (columns, _) = terminal_size()?;
    Some(columns)
}

/// Columns and lines of the terminal behind standard output.
pub fn terminal_size() -> Option<(usize, usize)> {
    if !io::stdout().is_terminal() {
        return None;
    }
    let size = crossterm::terminal::window_size().ok()?;
    // A serial line says 0 × 0.
    let or = |size: u16, usual| if size == 0 { usual } else { usize::from(size) };
    Some((or(size.columns, 80), or(size.rows, 24)))
}

/// How a column is treated where there is no room for all.
#[derive(Debug, Clone, Copy)]
pub struct Column {
    head: &'static str,
    right: bool,
    /// May be cut to so many columns; 0: it is whole or not there.
    least: usize,
    /// Columns of higher rank are left out first; rank 0 stays.
    rank: u8,
}

/// A column of words.
pub const fn left(head: &'static str, least: usize, rank: u8) -> Column {
    Column { head, right: false, least, rank }
}

/// A column of numbers.
pub const fn right(head: &'static str, rank: u8) -> Column {
    Column { head, right: true, least: 0, rank }
}

/// Rows under heads.
#[derive(Debug)]
pub struct Table<'a> {
    columns: &'a [Column],
    rows: Vec<Vec<String>>,
}

/// Between two columns.
const GAP: usize = 2;

impl<'a> Table<'a> {
    /// Without rows.
    pub fn new(columns: &'a [Column]) -> Self {
        Self { columns, rows: Vec::new() }
    }

    /// Adds a row, a cell for each column; control characters in it are escaped.
    pub fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.rows.push(cells.into_iter().map(|cell| visible(&cell)).collect());
    }

    /// The heads and then the rows, none wider than `most`.
    pub fn lines(&self, most: Option<usize>) -> Vec<String> {
        let widths = self.widths(most.unwrap_or(usize::MAX));
        let line = |cells: &mut dyn Iterator<Item = &str>| {
            let mut line = String::new();
            for ((column, width), cell) in self.columns.iter().zip(&widths).zip(cells) {
                let Some(width) = width else { continue };
                line.push_str(&fit(cell, *width, column.right));
                line.push_str(&" ".repeat(GAP));
            }
            // Where not even the narrowest fits, there is no more to give.
            cut(line.trim_end(), most.unwrap_or(usize::MAX))
        };
        let mut lines = vec![line(&mut self.columns.iter().map(|column| column.head))];
        lines.extend(self.rows.iter().map(|row| line(&mut row.iter().map(String::as_str))));
        lines
    }

    /// Writes it as wide as standard output is.
    ///
    /// # Errors
    /// Whoever reads has closed the pipe.
    pub fn write(&self, out: &mut impl Write) -> io::Result<()> {
        for line in self.lines(terminal_columns()) {
            writeln!(out, "{line}")?;
        }
        Ok(())
    }

    /// How wide each column is shown; `None`: it is not.
    fn widths(&self, most: usize) -> Vec<Option<usize>> {
        let mut widths: Vec<Option<usize>> = Vec::new();
        for (at, column) in self.columns.iter().enumerate() {
            let cells = self.rows.iter().filter_map(|row| row.get(at)).map(|cell| width(cell));
            widths.push(Some(cells.chain([width(column.head)]).max().unwrap_or(0)));
        }
        let least = |column: &Column, width: usize| {
            if column.least == 0 { width } else { width.min(column.least.max(column.head.len())) }
        };
        loop {
            let shown = || self.columns.iter().zip(&widths).filter_map(|(c, w)| Some((c, (*w)?)));
            let gaps = shown().count().saturating_sub(1) * GAP;
            let narrowest =
                shown().map(|(column, width)| least(column, width)).sum::<usize>() + gaps;
            let last = shown().map(|(column, _)| column.rank).max().unwrap_or(0);
            if narrowest <= most || last == 0 {
                break;
            }
            let ranks = self.columns.iter().map(|column| column.rank);
            let Some(at) = ranks
                .enumerate()
                .zip(&widths)
                .rposition(|((_, rank), width)| rank == last && width.is_some())
            else {
                break;
            };
            if let Some(width) = widths.get_mut(at) {
                *width = None;
            }
        }
        let shown = widths.iter().flatten().count();
        let mut total = widths.iter().flatten().sum::<usize>() + shown.saturating_sub(1) * GAP;
        // The widest gives first.
        while total > most {
            let room = self.columns.iter().zip(&mut widths).filter_map(|(column, width)| {
                let width = width.as_mut()?;
                (*width > least(column, *width)).then_some(width)
            });
            let Some(widest) = room.max_by_key(|width| **width) else { break };
            *widest -= 1;
            total -= 1;
        }
        widths
    }
}

/// Member `key` of an object as text; `-` where there is none.
pub fn text(of: &Value, key: &str) -> String {
    match of.get(key) {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Number(number)) => number.to_string(),
        Some(Value::Bool(truth)) => truth.to_string(),
        _ => "-".to_owned(),
    }
}

/// Member `key` of an object as a number; 0 where there is none.
pub fn number(of: &Value, key: &str) -> u64 {
    of.get(key).and_then(Value::as_u64).unwrap_or(0)
}

/// Member `key` of an object as a list; empty where there is none.
pub fn list<'a>(of: &'a Value, key: &str) -> &'a [Value] {
    of.get(key).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
}

/// What a program reads: JSON whose strings cannot drive a terminal either.
///
/// # Errors
/// Whoever reads has closed the pipe.
pub fn write_json(out: &mut impl Write, value: &Value) -> io::Result<()> {
    writeln!(out, "{}", harmless(&format!("{value:#}")))
}

/// JSON with what [`visible`] escapes escaped as JSON does; such characters can only be in strings.
pub fn harmless(json: &str) -> String {
    let mut text = String::with_capacity(json.len());
    for c in json.chars() {
        if c != '\n' && crate::diagnostics::is_control(c) {
            for unit in c.encode_utf16(&mut [0; 2]) {
                text.push_str(&format!("\\u{unit:04x}"));
            }
        } else {
            text.push(c);
        }
    }
    text
}

/// The exit code of a command that has written all it had to say: who closes the pipe has read
/// enough, but a full disk loses something.
pub fn written(result: io::Result<()>) -> u8 {
    match result {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            let _ = writeln!(io::stderr(), "standard output: {error}");
            1
        }
        _ => 0,
    }
}

/// Asks whether to go on, on a terminal. `None`: there is nobody to ask.
pub fn confirm(question: &str) -> Option<bool> {
    if !io::stdin().is_terminal() || !io::stderr().is_terminal() {
        return None;
    }
    let _ = write!(io::stderr(), "{question} [y/N] ");
    let mut answer = String::new();
    let read = io::stdin().read_line(&mut answer);
    Some(read.is_ok() && matches!(answer.trim(), "y" | "Y" | "yes"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_sizes_and_counts_are_short() {
        let spans = [0, 59_999, 60_000, 3_600_000, 90_061_000].map(span);
        assert_eq!(spans, ["0s", "59s", "1m00s", "1h00m", "1d01h"]);
        let sizes = [0, 999, 1024, 10_240, 1_048_576, 150 << 20, u64::MAX].map(bytes);
        assert_eq!(
            sizes,
            ["0 B", "999 B", "1.0 KiB", "10.0 KiB", "1.0 MiB", "150 MiB", "16383 PiB"]
        );
        let counts = [0, 999, 1000, 12_345, 123_456, 4_500_000, u64::MAX].map(count);
        assert_eq!(counts, ["0", "999", "1.0k", "12.3k", "123k", "4.5M", "18.4E"]);
    }

    fn table(rows: &[[&str; 3]], most: usize) -> Vec<String> {
        let columns = [left("NAME", 4, 0), right("COUNT", 0), left("WHY", 5, 1)];
        let mut table = Table::new(&columns);
        rows.iter().for_each(|row| table.row(row.map(str::to_owned)));
        table.lines(Some(most))
    }

    #[test]
    fn columns_stand_under_their_heads_also_with_wide_characters() {
        let rows = [["a", "1", "x"], ["日本語", "10", "é"]];
        assert_eq!(
            table(&rows, 200),
            ["NAME    COUNT  WHY", "a           1  x", "日本語     10  é"]
        );
    }

    #[test]
    fn a_table_fits_or_gives_up_what_matters_least() {
        let rows = [["a-long-name-of-a-service", "12345", "because of something long"]];
        for most in 1..=70 {
            for line in table(&rows, most) {
                assert!(width(&line) <= most, "{most}: {line:?}");
            }
        }
        assert_eq!(table(&rows, 30), ["NAME         COUNT  WHY", "a-long-nam…  12345  because o…"]);
        assert_eq!(table(&rows, 15), ["NAME      COUNT", "a-long-…  12345"]);
    }

    #[test]
    fn nothing_from_a_proxy_moves_the_cursor() {
        let rows = [["\x1b[2Ja\u{9b}1m", "\r\n", "\u{202e}"]];
        let lines = table(&rows, 200);
        assert!(lines.iter().all(|line| !line.chars().any(char::is_control)), "{lines:?}");
        let told = serde_json::json!({ "a\u{9b}": "\x1b\x7f\u{202e}é\n" });
        let text = harmless(&format!("{told:#}"));
        assert!(!text.chars().any(|c| c != '\n' && crate::diagnostics::is_control(c)), "{text}");
        assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), told);
    }

    #[test]
    fn what_is_cut_says_so() {
        assert_eq!(cut("abcdef", 4), "abc…");
        assert_eq!(cut("日本語", 4), "日…");
        assert_eq!(cut("abc", 0), "");
    }
}
