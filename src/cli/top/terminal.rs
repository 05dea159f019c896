//! The terminal while `top` has it: another screen without a cursor, keys as they are typed. It is
//! given back whatever happens: an end, an error, a signal, a panic.

use std::io::{self, Write};
use std::sync::Once;

use crossterm::{cursor, execute, queue, style, terminal};

use super::screen::{Line, Style};
use crate::cli::text;

/// The terminal, ours as long as this lives.
#[derive(Debug)]
pub struct Terminal {
    colour: bool,
}

impl Terminal {
    /// Takes the terminal.
    ///
    /// # Errors
    /// It cannot be had.
    pub fn take() -> io::Result<Self> {
        restore_before_panics();
        terminal::enable_raw_mode()?;
        // From here on it is given back when dropped.
        let colour = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        let taken = Self { colour };
        taken.enter()?;
        Ok(taken)
    }

    /// Takes it again, after somebody else had it.
    ///
    /// # Errors
    /// It cannot be had.
    pub fn retake(&self) -> io::Result<()> {
        terminal::disable_raw_mode()?;
        terminal::enable_raw_mode()?;
        self.enter()
    }

    fn enter(&self) -> io::Result<()> {
        let clear = terminal::Clear(terminal::ClearType::All);
        execute!(io::stdout(), terminal::EnterAlternateScreen, cursor::Hide, clear)
    }

    /// Columns and lines.
    pub fn size(&self) -> (usize, usize) {
        text::terminal_size().unwrap_or((80, 24))
    }

    /// Shows a screen, in one write.
    ///
    /// # Errors
    /// The terminal is gone.
    pub fn draw(&self, lines: &[Line]) -> io::Result<()> {
        let mut out = Vec::new();
        queue!(out, terminal::BeginSynchronizedUpdate)?;
        for (row, line) in (0..).zip(lines) {
            queue!(out, cursor::MoveTo(0, row))?;
            for (style, text) in line {
                out.extend(self.begin(*style).as_bytes());
                out.extend(text.as_bytes());
                queue!(out, style::ResetColor, style::SetAttribute(style::Attribute::Reset))?;
            }
            queue!(out, terminal::Clear(terminal::ClearType::UntilNewLine))?;
        }
        let below = terminal::Clear(terminal::ClearType::FromCursorDown);
        let end = u16::try_from(lines.len()).unwrap_or(u16::MAX);
        if lines.len() < self.size().1 {
            queue!(out, cursor::MoveTo(0, end), below)?;
        }
        queue!(out, terminal::EndSynchronizedUpdate)?;
        let mut stdout = io::stdout().lock();
        stdout.write_all(&out)?;
        stdout.flush()
    }

    /// What makes a terminal write in a style. Without colours the selected row is still told apart.
    fn begin(&self, style: Style) -> &'static str {
        match (style, self.colour) {
            (Style::Plain, _) => "",
            (Style::Bold, _) => "\x1b[1m",
            (Style::Selected, _) => "\x1b[7m",
            (Style::Bad, false) => "\x1b[1m",
            (Style::Head | Style::Good | Style::Faint, false) => "",
            (Style::Head, true) => "\x1b[1;36m",
            (Style::Bad, true) => "\x1b[1;31m",
            (Style::Good, true) => "\x1b[32m",
            (Style::Faint, true) => "\x1b[2m",
        }
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        restore();
    }
}

fn restore() {
    // A terminal that is gone needs nothing back.
    let _ = execute!(io::stdout(), terminal::LeaveAlternateScreen, cursor::Show);
    let _ = terminal::disable_raw_mode();
}

/// What a panic says belongs onto the screen that stays.
fn restore_before_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let usual = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            restore();
            usual(panic);
        }));
    });
}
