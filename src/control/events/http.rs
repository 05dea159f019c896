//! Events POSTed to an HTTP endpoint, several at a time. One request at a time, on a connection that is
//! kept as long as the server keeps it.
//!
//! A POST that fails is made again: after no answer, 408, 429 and 500 and above, with longer and longer
//! pauses. One that the server refuses is given up, for it would be refused again.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1::{self, SendRequest};
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HOST, HeaderValue};
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::task::AbortHandle;
use tokio::time::timeout_at;

use super::EventBatch;
use super::output::{Next, Output};
use super::pen::events;
use crate::config::checked::events::Http as Spec;
use crate::config::limits;
use crate::control::http::{connect, secret};
use crate::control::resolve::keep::luck;
use crate::control::resolve::lookup::Lookups;

/// POSTs events until the end.
pub(super) async fn run(output: Arc<Output>, spec: Spec, lookups: Arc<Lookups>) {
    let mut post = Post { output: &output, spec: &spec, lookups: &lookups, connection: None };
    let mut held = Held::default();
    loop {
        let due = held.since.map(|since| since + spec.flush);
        let next = if held.is_full(&spec) { Next::Nothing } else { output.next_by(due).await };
        let is_end = match next {
            Next::Batch(batch) => {
                held.take(batch);
                continue;
            }
            Next::Reopen => continue,
            Next::Nothing => false,
            Next::End => true,
        };
        while !held.is_empty() {
            let (body, count) = held.body(&spec);
            if !post.until_taken(Bytes::from(body), count).await {
                output.lost(count + held.count);
                output.ended();
                return;
            }
            if !is_end && !held.is_full(&spec) {
                break;
            }
        }
        if is_end && held.is_empty() {
            break;
        }
    }
    output.ended();
}

/// Events that wait for others to go along with them.
#[derive(Debug, Default)]
struct Held {
    batches: VecDeque<Arc<EventBatch>>,
    /// Bytes of the first batch that have gone.
    gone: usize,
    count: u64,
    bytes: usize,
    /// When the first of them came.
    since: Option<Instant>,
}

impl Held {
    fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Whether they fill a POST.
    fn is_full(&self, spec: &Spec) -> bool {
        self.count >= spec.batch as u64 || self.bytes >= limits::EVENT_POST_BYTES_MAX
    }

    fn take(&mut self, batch: Arc<EventBatch>) {
        self.since.get_or_insert_with(Instant::now);
        self.count += batch.count;
        self.bytes += batch.lines.len();
        self.batches.push_back(batch);
    }

    /// The body of a POST, and how many events it has: at most so many, and at least one.
    fn body(&mut self, spec: &Spec) -> (Vec<u8>, u64) {
        let mut body = Vec::new();
        let mut count = 0;
        while let Some(batch) = self.batches.front() {
            let left = batch.lines.get(self.gone..).unwrap_or_default();
            let mut taken = 0;
            for line in left.split_inclusive(|byte| *byte == b'\n') {
                let is_full = body.len() + line.len() > limits::EVENT_POST_BYTES_MAX;
                if count > 0 && (is_full || count >= spec.batch as u64) {
                    break;
                }
                body.extend_from_slice(line);
                taken += line.len();
                count += 1;
            }
            if taken < left.len() {
                self.gone += taken;
                break;
            }
            self.gone = 0;
            self.batches.pop_front();
        }
        self.count = self.count.saturating_sub(count);
        self.bytes = self.bytes.saturating_sub(body.len());
        self.since = (!self.is_empty()).then(Instant::now);
        debug_assert_eq!(events(&body), count);
        (body, count)
    }
}

/// What became of a POST.
enum Answer {
    Taken,
    /// It would be the same again.
    Refused(StatusCode),
}

struct Post<'a> {
    output: &'a Output,
    spec: &'a Spec,
    lookups: &'a Lookups,
    connection: Option<Connection>,
}

/// A connection that is kept.
struct Connection {
    sender: SendRequest<Full<Bytes>>,
    driver: AbortHandle,
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

impl Post<'_> {
    /// POSTs until it is taken, or refused for good. False: the end came first.
    async fn until_taken(&mut self, body: Bytes, count: u64) -> bool {
        let output = self.output;
        let mut pause = limits::EVENT_RETRY_FIRST;
        loop {
            let deadline = Instant::now() + limits::EVENT_POST;
            let deadline = output.ends().map_or(deadline, |ends| ends.min(deadline));
            // A connection from before may have ended meanwhile, which is no failure.
            let was_kept = self.connection.is_some();
            let answer = match timeout_at(deadline.into(), self.once(body.clone())).await {
                Err(_) => Err("no answer in time".to_owned()),
                Ok(Err(_)) if was_kept => {
                    self.connection = None;
                    let again = timeout_at(deadline.into(), self.once(body.clone())).await;
                    again.unwrap_or_else(|_| Err("no answer in time".to_owned()))
                }
                Ok(answer) => answer,
            };
            match answer {
                Ok(Answer::Taken) => {
                    output.wrote(count);
                    output.works();
                    return true;
                }
                Ok(Answer::Refused(status)) => {
                    output.works();
                    output.unfit(count, &format!("the answer is {status}"));
                    return true;
                }
                Err(why) => {
                    self.connection = None;
                    output.fails(&why);
                }
            }
            // Not all who POST there at once.
            let spread = pause.mul_f64(0.75 + luck() / 2.0);
            if !output.pause_task(spread).await {
                return false;
            }
            pause = (pause * 2).min(limits::EVENT_RETRY_MAX);
        }
    }

    async fn once(&mut self, body: Bytes) -> Result<Answer, String> {
        let url = &self.spec.url;
        let mut request = Request::post(&*url.path)
            .header(HOST, &*url.authority)
            .header(CONTENT_TYPE, "application/x-ndjson");
        if let Some(path) = &self.spec.token_file {
            let token = format!("Bearer {}", secret(path).await?.trim());
            let mut token = HeaderValue::from_str(&token)
                .map_err(|_| format!("{} has a token that cannot be sent", path.display()))?;
            token.set_sensitive(true);
            request = request.header(AUTHORIZATION, token);
        }
        let request = request.body(Full::new(body));
        let request = request.map_err(|error| format!("the request cannot be made: {error}"))?;
        let failed = |error: hyper::Error| format!("HTTP: {error}");
        let mut connection = match self.connection.take() {
            Some(kept) => kept,
            None => {
                let stream = connect(url, &self.output.tls(), self.lookups).await?;
                let made = http1::handshake(TokioIo::new(stream)).await;
                let (sender, connection) = made.map_err(failed)?;
                // It ends with its sender, or by itself: then the next request says so.
                let driver = tokio::spawn(async move { drop(connection.await) }).abort_handle();
                Connection { sender, driver }
            }
        };
        connection.sender.ready().await.map_err(failed)?;
        let response = connection.sender.send_request(request).await.map_err(failed)?;
        let status = response.status();
        let rest = Limited::new(response.into_body(), limits::EVENT_ANSWER_BYTES_MAX);
        // Without the whole answer nothing else can be asked on this connection.
        if rest.collect().await.is_ok() {
            self.connection = Some(connection);
        }
        match status.as_u16() {
            200..=299 => Ok(Answer::Taken),
            408 | 429 | 500.. => Err(format!("the answer is {status}")),
            _ => Ok(Answer::Refused(status)),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn batch(lines: &[&str]) -> Arc<EventBatch> {
        let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
        Arc::new(EventBatch { lines: text.into_bytes(), count: lines.len() as u64 })
    }

    #[test]
    fn bodies_are_whole_lines_and_no_more_than_a_batch() {
        let spec = Spec {
            url: crate::config::url("http://127.0.0.1:1/").unwrap(),
            token_file: None,
            tls: None,
            batch: 2,
            flush: Duration::ZERO,
        };
        let mut held = Held::default();
        held.take(batch(&["a", "b", "c"]));
        held.take(batch(&["d", "e"]));
        assert!(held.is_full(&spec));
        let mut bodies = Vec::new();
        while !held.is_empty() {
            let (body, count) = held.body(&spec);
            bodies.push((String::from_utf8(body).unwrap(), count));
        }
        let expected = [("a\nb\n", 2), ("c\nd\n", 2), ("e\n", 1)];
        assert_eq!(bodies, expected.map(|(text, count)| (text.to_owned(), count)));
        assert_eq!((held.bytes, held.since, held.gone), (0, None, 0));
        let large = "x".repeat(limits::EVENT_POST_BYTES_MAX);
        held.take(batch(&[&large, "y"]));
        assert_eq!(held.body(&spec).1, 1, "one alone goes whatever its size");
        assert_eq!(held.body(&spec), (b"y\n".to_vec(), 1));
    }
}
