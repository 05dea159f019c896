//! What the client sends first, read as far as a choice needs it. Before it: admit. After it:
//! route. Every byte read here is kept and goes on unchanged.
//!
//! One absolute deadline holds from accept, however slowly the bytes drip in.

use std::time::Duration;

use crate::config::limits;
use crate::config::snapshot::{self, Needs};
use crate::conn::admit::sources::Source;
use crate::conn::ending::{Cause, Ending, Side, Step};
use crate::conn::live::Live;
use crate::conn::unless_cut;
use crate::io::socket;
use crate::rt::{self, Sock};
use crate::wire::client_hello::{self, Hello};
use crate::wire::{http_host, postgres};
use crate::worker::Core;

/// What was read.
#[derive(Debug)]
pub struct Peeked {
    /// All of it, but for the PostgreSQL requests that were answered here.
    pub bytes: Vec<u8>,
    /// What it is.
    pub first: First,
    /// PostgreSQL asked for TLS first, and was told to go ahead.
    pub postgres: bool,
}

/// What the first bytes are.
#[derive(Debug)]
pub enum First {
    /// A TLS hello.
    Hello(Box<Hello>),
    /// An HTTP request for this host.
    Head(Option<Box<str>>),
    /// None of what the port serves; the cause says what it is instead. [`Cause::Silent`]: nothing.
    Other(Cause),
}

/// Reads until the bytes tell what they are, or the deadline says that they do not. `received` are the
/// first of them.
///
/// # Errors
/// The client has gone, or took too long over something it had begun.
pub async fn peek(
    core: &Core,
    live: &Live,
    client: &Sock,
    needs: Needs,
    limit: Duration,
    received: Box<[u8]>,
) -> Result<Peeked, Ending> {
    let mut reading = Reading::new(needs, received);
    if let Some(first) = reading.look(client) {
        return Ok(reading.done(first));
    }
    // It mostly came with the connection.
    if let Some(first) = reading.receive(core, client)? {
        return Ok(reading.done(first));
    }
    let _place = Place::take(core, live)?;
    let left = limit.saturating_sub(live.born.elapsed());
    let more = unless_cut(live, Step::Hello, rt::within(left, reading.wait(core, client))).await?;
    match more {
        Some(first) => Ok(reading.done(first?)),
        None if reading.bytes.is_empty() && !reading.postgres => {
            Ok(reading.done(First::Other(Cause::Silent)))
        }
        None => Err(Ending { side: Side::Client, step: Step::Hello, cause: Cause::Deadline }),
    }
}

/// One of those whose first bytes are waited for, on its listener and of its source.
struct Place<'a> {
    core: &'a Core,
    source: Option<Source>,
    _of_listener: snapshot::Place<'a>,
}

impl<'a> Place<'a> {
    fn take(core: &'a Core, live: &'a Live) -> Result<Self, Ending> {
        let refused = |cause| Ending::us(Step::Hello, cause);
        let place = live.listener.peeks.take(limits::PEEKS_MAX);
        let of_listener = place.ok_or(refused(Cause::HelloLimit))?;
        let source = live.source().map(Source::of);
        if let Some(source) = source {
            let mut peeks = core.peeks.borrow_mut();
            let count = peeks.entry(source).or_insert(0);
            if *count >= limits::PEEKS_PER_SOURCE_MAX {
                return Err(refused(Cause::SourceLimit));
            }
            *count += 1;
        }
        Ok(Self { core, source, _of_listener: of_listener })
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let Some(source) = self.source else { return };
        let mut peeks = self.core.peeks.borrow_mut();
        match peeks.get_mut(&source) {
            Some(count) if *count > 1 => *count -= 1,
            _ => drop(peeks.remove(&source)),
        }
    }
}

struct Reading {
    needs: Needs,
    bytes: Vec<u8>,
    hello: client_hello::Reader,
    head: http_host::Reader,
    postgres: bool,
    gss_refused: bool,
}

impl Reading {
    fn new(needs: Needs, received: Box<[u8]>) -> Self {
        Self {
            needs,
            bytes: received.into(),
            hello: client_hello::Reader::default(),
            head: http_host::Reader::default(),
            postgres: false,
            gss_refused: false,
        }
    }

    fn done(self, first: First) -> Peeked {
        Peeked { bytes: self.bytes, first, postgres: self.postgres }
    }

    async fn wait(&mut self, core: &Core, client: &Sock) -> Result<First, Ending> {
        loop {
            let _ = client.readable().await;
            if let Some(first) = self.receive(core, client)? {
                return Ok(first);
            }
        }
    }

    /// Takes what is there; `None` while it is not enough.
    fn receive(&mut self, core: &Core, client: &Sock) -> Result<Option<First>, Ending> {
        let ended = |cause| Err(Ending { side: Side::Client, step: Step::Hello, cause });
        let mut scratch = core.scratch.borrow_mut();
        match socket::recv(client.fd(), &mut scratch) {
            Ok(0) => return ended(Cause::Left),
            Ok(n) => self.bytes.extend_from_slice(scratch.get(..n).unwrap_or_default()),
            Err(error) if socket::would_block(&error) => return Ok(None),
            Err(_) => return ended(Cause::Reset),
        }
        drop(scratch);
        Ok(self.look(client))
    }

    /// What the bytes so far are; `None` while they are not enough.
    fn look(&mut self, client: &Sock) -> Option<First> {
        if self.bytes.is_empty() {
            return None;
        }
        let first = match self.needs {
            Needs::Head => self.read_head(),
            Needs::Hello | Needs::Nothing => self.read_hello(client),
        };
        if first.is_none() && self.bytes.len() > limits::PREFIX_BYTES_MAX {
            return Some(First::Other(Cause::TooLarge));
        }
        first
    }

    fn read_head(&mut self) -> Option<First> {
        use http_host::{Progress, Refusal};
        Some(match self.head.read(&self.bytes) {
            Progress::More => return None,
            Progress::Host(name) => First::Head(name),
            Progress::Refused(Refusal::NotHttp) => First::Other(Cause::NotRecognised),
            Progress::Refused(Refusal::Malformed) => First::Other(Cause::Malformed),
            Progress::Refused(Refusal::TooLarge) => First::Other(Cause::TooLarge),
        })
    }

    fn read_hello(&mut self, client: &Sock) -> Option<First> {
        use client_hello::{Progress, Refusal};
        use postgres::Request;
        // A TLS record begins with 22, a request of PostgreSQL with the zero of its length.
        if !self.postgres && self.bytes.first() == Some(&0) {
            match postgres::read(&self.bytes) {
                Request::More => return None,
                request @ (Request::Ssl | Request::Gss) => {
                    return self.answer_postgres(client, request == Request::Ssl);
                }
                Request::Plain => return Some(First::Other(Cause::Plain)),
                Request::Other => return Some(First::Other(Cause::NotRecognised)),
            }
        }
        Some(match self.hello.read(&self.bytes) {
            Progress::More => return None,
            Progress::Hello(hello) => First::Hello(Box::new(hello)),
            Progress::Refused(refusal) => First::Other(match refusal {
                Refusal::NotTls => Cause::NotRecognised,
                Refusal::PlainHttp => Cause::PlainHttp,
                Refusal::Sslv2 => Cause::Sslv2,
                Refusal::Malformed => Cause::Malformed,
                Refusal::TooLarge => Cause::TooLarge,
            }),
        })
    }

    /// Says yes to TLS and no to GSS. Whatever came along with the request came before anybody
    /// agreed to anything: it could be somebody else's, and must not end up inside of TLS
    /// (CVE-2021-23222).
    fn answer_postgres(&mut self, client: &Sock, ssl: bool) -> Option<First> {
        if self.bytes.len() != postgres::SSL_REQUEST.len() || (!ssl && self.gss_refused) {
            return Some(First::Other(Cause::Malformed));
        }
        let answer = if ssl { postgres::YES } else { postgres::NO };
        // One byte always fits into the buffer of a new connection; a dead one is noticed next.
        let _ = socket::send(client.fd(), &[answer]);
        self.postgres = ssl;
        self.gss_refused |= !ssl;
        self.bytes.clear();
        None
    }
}
