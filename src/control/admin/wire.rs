//! One connection of the admin API as bytes: what its peer does not read has a deadline, what hyper
//! refuses by itself is said in our words, and its end loses nothing that was said.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep};

use crate::config::limits;

/// A stream with manners.
#[derive(Debug)]
pub(super) struct Watched<S> {
    inner: S,
    /// Runs while nothing of an answer can be sent.
    stalled: Option<Pin<Box<Sleep>>>,
    /// What is sent in place of an answer of hyper's, and how much of it has been.
    instead: Option<(Vec<u8>, usize)>,
    parting: Option<Parting>,
}

/// Our side has ended; the peer may still be sending.
#[derive(Debug)]
struct Parting {
    until: Pin<Box<Sleep>>,
    left: usize,
}

impl<S> Watched<S> {
    pub(super) fn new(inner: S) -> Self {
        Self { inner, stalled: None, instead: None, parting: None }
    }
}

/// A deadline that runs only while something waits.
fn elapsed(sleeping: &mut Option<Pin<Box<Sleep>>>, after: Duration, cx: &mut Context<'_>) -> bool {
    sleeping.get_or_insert_with(|| Box::pin(sleep(after))).as_mut().poll(cx).is_ready()
}

impl<S: AsyncRead + Unpin> AsyncRead for Watched<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_read(cx, buffer)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Watched<S> {
    fn poll_send(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match Pin::new(&mut self.inner).poll_write(cx, bytes) {
            Poll::Ready(sent) => {
                self.stalled = None;
                Poll::Ready(sent)
            }
            Poll::Pending if elapsed(&mut self.stalled, limits::ADMIN_WRITE, cx) => {
                Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
            }
            Poll::Pending => Poll::Pending,
        }
    }

    /// Reads what still comes, so that closing does not reset what was said last.
    fn poll_part(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let parting = self.parting.get_or_insert_with(|| Parting {
            until: Box::pin(sleep(limits::FAREWELL)),
            left: limits::FAREWELL_BYTES_MAX,
        });
        let mut bin = [0; 4096];
        while parting.until.as_mut().poll(cx).is_pending() && parting.left > 0 {
            let mut buffer = ReadBuf::new(&mut bin);
            match ready!(Pin::new(&mut self.inner).poll_read(cx, &mut buffer)) {
                Ok(()) if !buffer.filled().is_empty() => {
                    parting.left = parting.left.saturating_sub(buffer.filled().len());
                }
                _ => break,
            }
        }
        Poll::Ready(())
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Watched<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.instead.is_none() {
            self.instead = in_our_words(bytes).map(|words| (words, 0));
        }
        let Some((words, mut at)) = self.instead.take() else { return self.poll_send(cx, bytes) };
        while let Some(rest) = words.get(at..).filter(|rest| !rest.is_empty()) {
            match self.poll_send(cx, rest) {
                Poll::Ready(sent) => at += sent?,
                Poll::Pending => {
                    self.instead = Some((words, at));
                    return Poll::Pending;
                }
            }
        }
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match Pin::new(&mut self.inner).poll_flush(cx) {
            Poll::Pending if elapsed(&mut self.stalled, limits::ADMIN_WRITE, cx) => {
                Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
            }
            flushed => flushed,
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.parting.is_none() {
            match Pin::new(&mut self.inner).poll_shutdown(cx) {
                Poll::Pending if elapsed(&mut self.stalled, limits::ADMIN_WRITE, cx) => {
                    return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
                }
                Poll::Ready(Ok(())) => {}
                other => return other,
            }
        }
        self.poll_part(cx).map(Ok)
    }
}

/// What is said in place of an answer that hyper makes by itself to a head that it cannot read: those
/// have no body, and none of our headers.
fn in_our_words(bytes: &[u8]) -> Option<Vec<u8>> {
    let ends = bytes.ends_with(b"\r\n\r\n") && bytes.len() < 256;
    let head = std::str::from_utf8(bytes).ok().filter(|_| ends)?;
    let status = head.strip_prefix("HTTP/1.1 ")?;
    if !head.contains("content-length: 0\r\n") || head.contains("x-content-type-options") {
        return None;
    }
    let (status, error, text) = match status.get(..3)? {
        "431" => (
            "431 Request Header Fields Too Large",
            "head_too_large",
            "the head of the request has more than 16 KiB or too many headers",
        ),
        "414" => ("414 URI Too Long", "uri_too_long", "the path of the request is too long"),
        "400" => ("400 Bad Request", "bad_request", "this is not HTTP/1.1"),
        _ => return None,
    };
    Some(refusal(status, error, text))
}

/// A whole answer, for where there is no HTTP server to give it.
pub(super) fn refusal(status: &str, error: &str, text: &str) -> Vec<u8> {
    let body = format!(r#"{{"error":"{error}","error_description":"{text}"}}"#);
    format!(
        "HTTP/1.1 {status}\r\ncontent-type: application/json\r\nx-content-type-options: nosniff\r\n\
         cache-control: no-store\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_hyper_says_by_itself_is_said_anew() {
        let bare = "HTTP/1.1 431 Request Header Fields Too Large\r\nconnection: close\r\n\
                    content-length: 0\r\ndate: Tue, 28 Jul 2026 10:00:00 GMT\r\n\r\n";
        let said = String::from_utf8(in_our_words(bare.as_bytes()).unwrap()).unwrap();
        assert!(said.starts_with("HTTP/1.1 431 ") && said.contains("head_too_large"), "{said}");
        let own = bare.replace("connection", "x-content-type-options: nosniff\r\nconnection");
        for other in
            [&own, &bare.replace("431", "204"), &bare.replace(": 0", ": 5"), "HTTP/1.1 4", ""]
        {
            assert!(in_our_words(other.as_bytes()).is_none(), "{other}");
        }
    }
}
