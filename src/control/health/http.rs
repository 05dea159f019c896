//! A check by HTTP/1.1: one request, and as much of its answer as decides.

use crate::config::checked::health::HttpCheck;
use crate::config::expectation::Watch;
use crate::config::limits;
use crate::control::health::dialogue::{Dialogue, Move};

/// A request and its answer.
#[derive(Debug)]
pub struct Request<'a> {
    check: &'a HttpCheck,
    request: Vec<u8>,
    stage: Stage<'a>,
    received: usize,
}

#[derive(Debug)]
enum Stage<'a> {
    Asking,
    /// Bytes of the head so far.
    Head(Vec<u8>),
    Body(Body, Watch<'a>),
    Passed,
}

/// How the end of the body is known.
#[derive(Debug)]
enum Body {
    /// By the end of the connection.
    ToEnd,
    /// By its length, of which so many bytes are left.
    Length(u64),
    /// It says so itself (RFC 9112 §7.1).
    Chunked(Chunked),
}

#[derive(Debug, Clone, Copy)]
enum Chunked {
    /// In the line with a chunk's size; its digits so far.
    Size(u64),
    /// In what follows the size.
    Extension(u64),
    /// In a chunk of which so many bytes are left.
    Data(u64),
    /// In the line end after a chunk.
    After,
    /// After the last chunk.
    End,
}

impl<'a> Request<'a> {
    /// The request of a check; `host` is what the target is called.
    pub fn new(check: &'a HttpCheck, host: &str) -> Self {
        let HttpCheck { method, path, .. } = check;
        let host = check.host.as_deref().unwrap_or(host);
        let version = env!("CARGO_PKG_VERSION");
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: thalweg/{version}\r\n\
             Accept: */*\r\nConnection: close\r\n\r\n"
        );
        Self { check, request: request.into_bytes(), stage: Stage::Asking, received: 0 }
    }

    /// Reads the head once it is whole; the rest of the bytes.
    fn head(&mut self, head: &[u8]) -> Result<(), String> {
        let text = String::from_utf8_lossy(head);
        let mut lines = text.lines();
        let first = lines.next().unwrap_or_default();
        let status = first.strip_prefix("HTTP/1.").and_then(|rest| rest.split(' ').nth(1));
        let Some(status) = status.and_then(|status| status.parse::<u16>().ok()) else {
            return Err(format!("answered \"{}\", which is no HTTP/1.x", first.escape_debug()));
        };
        // An interim answer (RFC 9110 §15.2): the real one follows.
        if (100..200).contains(&status) {
            self.stage = Stage::Head(Vec::new());
            return Ok(());
        }
        let wanted = match self.check.status.as_slice() {
            [] => (200..400).contains(&status),
            list => list.contains(&status),
        };
        if !wanted {
            return Err(format!("answered {}", first.escape_debug()));
        }
        self.stage = match &self.check.body {
            None => Stage::Passed,
            Some(_) if &*self.check.method == "HEAD" || matches!(status, 204 | 304) => {
                return Err("answered without a body".into());
            }
            Some(expected) => Stage::Body(body_of(lines)?, expected.watch()),
        };
        Ok(())
    }

    /// Reads on; `Err` if the check has failed.
    fn read(&mut self, bytes: &[u8]) -> Result<(), String> {
        let mut rest = bytes;
        loop {
            match &mut self.stage {
                Stage::Asking | Stage::Passed => return Ok(()),
                Stage::Head(head) => {
                    let Some((byte, left)) = rest.split_first() else { return Ok(()) };
                    rest = left;
                    head.push(*byte);
                    if head.ends_with(b"\r\n\r\n") || head.ends_with(b"\n\n") {
                        let head = std::mem::take(head);
                        self.head(&head)?;
                    } else if head.len() >= limits::HTTP_HEAD_BYTES_MAX {
                        return Err("answered with a head that does not end".into());
                    }
                }
                Stage::Body(body, watch) => {
                    let missing = || "answered without the expected body".to_owned();
                    let Some((piece, left)) = body.take(rest)? else { return Err(missing()) };
                    if watch.feed(piece).is_some() {
                        self.stage = Stage::Passed;
                        return Ok(());
                    }
                    if body.has_ended() {
                        return Err(missing());
                    }
                    if left.is_empty() {
                        return Ok(());
                    }
                    rest = left;
                }
            }
        }
    }
}

/// How the body of an answer with these header lines ends (RFC 9112 §6.3).
fn body_of<'a>(lines: impl Iterator<Item = &'a str>) -> Result<Body, String> {
    let mut body = Body::ToEnd;
    for (name, value) in lines.filter_map(|line| line.split_once(':')) {
        let value = value.trim();
        if name.eq_ignore_ascii_case("transfer-encoding") {
            if value.rsplit(',').next().is_some_and(|it| it.trim().eq_ignore_ascii_case("chunked"))
            {
                return Ok(Body::Chunked(Chunked::Size(0)));
            }
            return Err("answered in a transfer encoding other than chunked".into());
        }
        if name.eq_ignore_ascii_case("content-length") {
            let length = value.parse().map_err(|_| "answered with a broken Content-Length")?;
            body = Body::Length(length);
        }
    }
    Ok(body)
}

/// Bytes of the body, and those behind them.
type Pieces<'b> = (&'b [u8], &'b [u8]);

impl Body {
    /// The next bytes of the body itself, and what follows them; `None` if it is over.
    fn take<'b>(&mut self, bytes: &'b [u8]) -> Result<Option<Pieces<'b>>, String> {
        let split = |left: &mut u64| {
            let n = usize::try_from(*left).unwrap_or(usize::MAX).min(bytes.len());
            *left = left.saturating_sub(n as u64);
            bytes.split_at(n)
        };
        match self {
            Self::ToEnd => Ok(Some((bytes, &[]))),
            Self::Length(0) => Ok(None),
            Self::Length(left) => Ok(Some(split(left))),
            Self::Chunked(Chunked::Data(left)) if *left > 0 => {
                let taken = split(left);
                if *left == 0 {
                    *self = Self::Chunked(Chunked::After);
                }
                Ok(Some(taken))
            }
            Self::Chunked(Chunked::End) => Ok(None),
            Self::Chunked(state) => {
                let Some((byte, rest)) = bytes.split_first() else { return Ok(Some((&[], &[]))) };
                *state = state.after(*byte).ok_or("answered with broken chunks")?;
                Ok(Some((&[], rest)))
            }
        }
    }

    fn has_ended(&self) -> bool {
        matches!(self, Self::Length(0) | Self::Chunked(Chunked::End))
    }
}

impl Chunked {
    /// The state after a byte that is no data.
    fn after(self, byte: u8) -> Option<Self> {
        let ended = |size| if size == 0 { Self::End } else { Self::Data(size) };
        Some(match (self, byte) {
            (Self::Size(size) | Self::Extension(size), b'\n') => ended(size),
            (Self::Size(size), byte) if byte.is_ascii_hexdigit() => {
                let digit = char::from(byte).to_digit(16)?;
                Self::Size(size.checked_mul(16)?.checked_add(digit.into())?)
            }
            (Self::Size(size), b';' | b' ' | b'\t' | b'\r') | (Self::Extension(size), _) => {
                Self::Extension(size)
            }
            (Self::After, b'\r') => Self::After,
            (Self::After, b'\n') => Self::Size(0),
            (Self::Size(_) | Self::After | Self::Data(_) | Self::End, _) => return None,
        })
    }
}

impl Dialogue for Request<'_> {
    fn next(&mut self) -> Move {
        match self.stage {
            Stage::Asking => Move::Send(self.request.clone()),
            Stage::Head(_) | Stage::Body(..) => Move::Receive,
            Stage::Passed => Move::Passed,
        }
    }

    fn sent(&mut self) {
        self.stage = Stage::Head(Vec::new());
    }

    fn received(&mut self, bytes: &[u8]) -> Result<(), String> {
        let room = limits::CHECK_BYTES_MAX.saturating_sub(self.received);
        let within = bytes.get(..room).unwrap_or(bytes);
        self.received += within.len();
        self.read(within)?;
        if within.len() < bytes.len() && !self.is_farewell() {
            let most = limits::CHECK_BYTES_MAX;
            return Err(format!("sent more than {most} bytes without {}", self.awaited()));
        }
        Ok(())
    }

    fn awaited(&self) -> String {
        match (&self.stage, &self.check.body) {
            (Stage::Body(..), Some(body)) => format!("{body} in the body"),
            _ => match self.check.status.as_slice() {
                [] => "an HTTP answer of 200 to 399".into(),
                list => {
                    let list: Vec<String> = list.iter().map(ToString::to_string).collect();
                    format!("an HTTP answer of {}", list.join(" or "))
                }
            },
        }
    }

    fn is_farewell(&self) -> bool {
        matches!(self.stage, Stage::Passed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::expectation::Expectation;

    fn check(status: &[u16], body: Option<&str>) -> HttpCheck {
        HttpCheck {
            method: "GET".into(),
            path: "/primary".into(),
            host: None,
            status: status.to_vec(),
            body: body.map(|text| Expectation::read(text).unwrap()),
        }
    }

    /// What an answer in two pieces comes to: passed, failed or undecided.
    fn answer(check: &HttpCheck, bytes: &[u8], cut: usize) -> Result<bool, String> {
        let mut request = Request::new(check, "db:8008");
        request.sent();
        request.received(&bytes[..cut])?;
        request.received(&bytes[cut..])?;
        Ok(request.next() == Move::Passed)
    }

    #[test]
    fn answers() {
        const CHUNKED: &str = "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, Chunked\r\n\r\n";
        let table: &[(&[u16], Option<&str>, String, &str)] = &[
            (&[], None, "HTTP/1.0 200 OK\r\n\r\n".into(), "passed"),
            (&[], None, "HTTP/1.1 302 Found\nA: b\n\n".into(), "passed"),
            (&[], None, "HTTP/1.1 200\r\n\r\n".into(), "passed"),
            (&[], None, "HTTP/1.1 503 Service Unavailable\r\n\r\n".into(), "answered HTTP/1.1 503"),
            (&[503], None, "HTTP/1.1 503 x\r\n\r\n".into(), "passed"),
            (&[204], None, "HTTP/1.1 200 OK\r\n\r\n".into(), "answered HTTP/1.1 200"),
            (&[], None, "HTTP/1.1 103 x\r\nA: b\r\n\r\nHTTP/1.1 200 OK\r\n\r\n".into(), "passed"),
            (&[], None, "SSH-2.0-OpenSSH\r\n\r\n".into(), "no HTTP/1.x"),
            (&[], None, "HTTP/1.1 200 OK\r\nA:".into(), "undecided"),
            (
                &[],
                Some("\"leader\""),
                "HTTP/1.1 200 OK\r\n\r\n{\"role\": \"leader\"".into(),
                "passed",
            ),
            (&[], Some("leader"), "HTTP/1.1 200 OK\r\nX: leader\r\n\r\nx".into(), "undecided"),
            (
                &[],
                Some("leader"),
                "HTTP/1.1 200 OK\r\nContent-length: 3\r\n\r\nxxxleader".into(),
                "without the expected",
            ),
            (
                &[],
                Some("leader"),
                "HTTP/1.1 200 OK\r\nContent-length: 6\r\n\r\nleader".into(),
                "passed",
            ),
            (&[], Some("leader"), "HTTP/1.1 204 x\r\n\r\n".into(), "without a body"),
            (&[], Some("leader"), format!("{CHUNKED}4;x=y\r\nleaD\r\n0\r\n\r\n"), "without the"),
            (&[], Some("leader"), format!("{CHUNKED}3\r\nlea\r\n03\r\nder\r\n0\r\n\r\n"), "passed"),
            (&[], Some("leader"), format!("{CHUNKED}3\r\nlea\r\n"), "undecided"),
            (&[], Some("leader"), format!("{CHUNKED}zz\r\nleader"), "broken chunks"),
            (&[], Some("leader"), format!("{CHUNKED}11111111111111111\r\nleader"), "broken chunks"),
        ];
        for (status, body, bytes, expected) in table {
            let check = check(status, *body);
            for cut in 0..=bytes.len() {
                match answer(&check, bytes.as_bytes(), cut) {
                    Ok(true) => assert_eq!(*expected, "passed", "{bytes:?} at {cut}"),
                    Ok(false) => assert_eq!(*expected, "undecided", "{bytes:?} at {cut}"),
                    Err(reason) => assert!(reason.contains(expected), "{bytes:?}: {reason}"),
                }
            }
        }
    }

    #[test]
    fn an_answer_without_end_fails() {
        let check = check(&[], Some("leader"));
        let mut request = Request::new(&check, "db:8008");
        request.sent();
        assert!(request.received(&vec![b'x'; limits::HTTP_HEAD_BYTES_MAX]).is_err());
        let mut request = Request::new(&check, "db:8008");
        request.sent();
        request.received(b"HTTP/1.1 200 OK\r\n\r\n").unwrap();
        assert!(request.received(&vec![b'x'; limits::CHECK_BYTES_MAX]).is_err());
    }

    #[test]
    fn the_request() {
        let check = check(&[], None);
        let request = Request::new(&check, "db:8008").request;
        let text = String::from_utf8(request).unwrap();
        assert!(text.starts_with("GET /primary HTTP/1.1\r\nHost: db:8008\r\n"), "{text}");
        assert!(text.ends_with("Connection: close\r\n\r\n"), "{text}");
    }

    proptest::proptest! {
        /// A stranger's bytes decide nothing by their cuts, and nothing falls over.
        #[test]
        fn any_answer(
            head in "(HTTP/1\\.[01] (200|503|1[0-9]{2}) ?[a-z]{0,3}\r\n(Transfer-Encoding: chunked\r\n)?(Content-Length: [0-9]{1,2}\r\n)?\r\n)?",
            body in "[0-9a-f\r\n;xl]{0,40}",
            cut in 0_usize..120,
        ) {
            let bytes = [head.as_bytes(), body.as_bytes()].concat();
            let check = check(&[], Some("a"));
            let whole = answer(&check, &bytes, 0);
            proptest::prop_assert_eq!(answer(&check, &bytes, cut.min(bytes.len())), whole);
        }
    }
}
