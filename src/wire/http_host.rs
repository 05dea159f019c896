//! The host of an HTTP/1.x request, read incrementally (RFC 9112). Its lines are cut here and read in
//! `line.rs`.
//!
//! As with a ClientHello, the caller shows all it received each time, and every answer depends on
//! the bytes alone. Strict where leniency lets two readers see two hosts.

use std::ops::Range;

use crate::config::limits::HTTP_HEAD_BYTES_MAX;

mod line;
#[cfg(test)]
mod tests;

/// What the bytes amount to so far.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Progress {
    /// Not enough yet.
    More,
    /// A whole head, and the host it names in its [one form](super::name::normalise). None if it names
    /// none or an IP literal, and for HTTP/2 that begins without asking (RFC 9113 §3.3): its hosts are in
    /// the streams.
    Host(Option<Box<str>>),
    /// No request that can be routed, whatever may follow.
    Refused(Refusal),
}

/// Why bytes are no HTTP/1.x request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// Another protocol, or another version of it.
    NotHttp,
    /// HTTP, but broken, or of more than one host.
    Malformed,
    /// The head does not end within [`HTTP_HEAD_BYTES_MAX`].
    TooLarge,
}

/// What an HTTP/2 client begins with (RFC 9113 §3.4).
const HTTP2_PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// How far a request head has been read.
#[derive(Debug, Clone, Default)]
pub struct Reader {
    /// Bytes looked at.
    at: usize,
    /// Where the current line begins.
    line: usize,
    stage: Stage,
    /// The host that the request line names: it wins over `Host` (RFC 9112 §3.2.2).
    target: Option<Range<usize>>,
    /// The value of the first `Host`.
    host: Option<Range<usize>>,
    /// How many bytes were looked at for the ends of lines, to show that work is linear.
    #[cfg(test)]
    steps: usize,
}

/// Which part of the head the current line belongs to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Stage {
    /// The first line: a request line, or one empty line that is forgiven (RFC 9112 §2.2).
    #[default]
    First,
    /// The line after an empty one: it must be a request line.
    Second,
    /// The rest of a request line, whose method was read.
    Target,
    /// Fields.
    Fields,
}

impl Reader {
    /// Reads on. `bytes` is all that was received so far, from the first byte on. Names a host only
    /// when the whole head is there; refuses as soon as that is certain. Asked again after that, says
    /// the same.
    pub fn read(&mut self, bytes: &[u8]) -> Progress {
        let window = bytes.get(..HTTP_HEAD_BYTES_MAX).unwrap_or(bytes);
        match self.advance(window) {
            Ok(Some(host)) => Progress::Host(host),
            Ok(None) if window.len() == HTTP_HEAD_BYTES_MAX => Progress::Refused(Refusal::TooLarge),
            Ok(None) => Progress::More,
            Err(refusal) => Progress::Refused(refusal),
        }
    }

    fn advance(&mut self, window: &[u8]) -> Result<Option<Option<Box<str>>>, Refusal> {
        // `PRI` is no other request's method, so the preface can be told from its fourth byte on.
        if window.starts_with(b"PRI ") {
            return preface(window);
        }
        loop {
            if matches!(self.stage, Stage::First | Stage::Second) && !self.method(window)? {
                return Ok(None);
            }
            let ahead = window.get(self.at..).unwrap_or_default();
            let end = ahead.iter().position(|byte| *byte == b'\n');
            #[cfg(test)]
            {
                self.steps += end.unwrap_or(ahead.len());
            }
            let Some(end) = end else {
                self.at = window.len();
                return Ok(None);
            };
            let end = self.at + end;
            let line = window.get(self.line..end).unwrap_or_default();
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            match self.stage {
                Stage::Fields if line.is_empty() => return self.finish(window).map(Some),
                Stage::Fields => self.field(line, window)?,
                Stage::First | Stage::Second => self.stage = Stage::Second,
                Stage::Target => {
                    let host = line::request(line)?;
                    self.target = host.map(|host| self.place(&host));
                    self.stage = Stage::Fields;
                }
            }
            self.at = end + 1;
            self.line = self.at;
        }
    }

    /// Goes over the method, or an empty line that may come first: here it shows whether this is HTTP
    /// at all. False while that is open.
    fn method(&mut self, window: &[u8]) -> Result<bool, Refusal> {
        let ahead = window.get(self.at..).unwrap_or_default();
        let length = ahead.iter().take_while(|byte| line::is_token(byte)).count();
        #[cfg(test)]
        {
            self.steps += length;
        }
        self.at += length;
        let begun = self.at > self.line;
        match ahead.get(length..).unwrap_or_default() {
            [] => Ok(false),
            [b' ', ..] if begun => {
                self.stage = Stage::Target;
                Ok(true)
            }
            [b'\n', ..] | [b'\r', b'\n', ..] if !begun && self.stage == Stage::First => Ok(true),
            [b'\r'] if !begun && self.stage == Stage::First => Ok(false),
            _ => Err(Refusal::NotHttp),
        }
    }

    /// Reads a field line; only `Host` matters.
    fn field(&mut self, line: &[u8], window: &[u8]) -> Result<(), Refusal> {
        let (name, value) = line::field(line)?;
        if !name.eq_ignore_ascii_case(b"host") {
            return Ok(());
        }
        let value = self.place(&value);
        let new = window.get(value.clone()).unwrap_or_default();
        line::host(new)?;
        match self.host.clone() {
            None => self.host = Some(value),
            Some(first) => {
                // Twice the same is one host, though RFC 9112 §3.2 lets it be refused.
                let first = window.get(first).unwrap_or_default();
                if !first.eq_ignore_ascii_case(new) {
                    return Err(Refusal::Malformed);
                }
            }
        }
        Ok(())
    }

    /// The whole head has come.
    fn finish(&self, window: &[u8]) -> Result<Option<Box<str>>, Refusal> {
        match self.target.clone().or(self.host.clone()) {
            Some(place) => line::host(window.get(place).unwrap_or_default()),
            None => Ok(None),
        }
    }

    /// A place in the current line, as a place in all the bytes.
    fn place(&self, in_line: &Range<usize>) -> Range<usize> {
        self.line + in_line.start..self.line + in_line.end
    }
}

/// Reads the preface of HTTP/2, of which nothing may be missing.
fn preface(window: &[u8]) -> Result<Option<Option<Box<str>>>, Refusal> {
    if window.starts_with(HTTP2_PREFACE) {
        Ok(Some(None))
    } else if HTTP2_PREFACE.starts_with(window) {
        Ok(None)
    } else {
        Err(Refusal::NotHttp)
    }
}

/// For fuzzing: what holds for all bytes.
#[doc(hidden)]
pub fn fuzz(bytes: &[u8]) {
    if let Progress::Host(Some(host)) = super::however_cut(bytes, &Progress::More, Reader::read) {
        assert_eq!(super::name::normalise(host.as_bytes()), Ok(Some(host)), "the one form");
    }
}
