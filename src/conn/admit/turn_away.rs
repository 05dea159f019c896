//! Tells a client that was not admitted why, where its protocol has words for it. Only so many at a
//! time and not for long: a flood of refused clients must not hold more than those that are served.
//!
//! A client of a plain service is reset at once. A FIN would say that the stream is complete, and
//! would leave its remains (TIME_WAIT) with us, for each connection of a flood.

use std::pin::Pin;

use crate::config::checked::Tls;
use crate::config::limits;
use crate::conn::ending::{Cause, Ending};
use crate::conn::live::Live;
use crate::conn::open::{alert, farewell};
use crate::io::socket;
use crate::rt::{self, Sock};
use crate::wire::postgres;
use crate::worker::Core;

/// What the client speaks, as far as is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tongue {
    /// Nothing has been read.
    Unknown,
    /// A TLS hello was read.
    Tls,
    /// PostgreSQL's question for TLS was read.
    Postgres,
    /// The head of an HTTP request was read.
    Http,
    /// Something else, or nothing that has words for it.
    Other,
}

impl Tongue {
    /// Of a client whose first bytes these are.
    pub fn of(first: &[u8]) -> Self {
        match first {
            [] => Self::Unknown,
            // An alert is understood as an answer only, and PostgreSQL asks for TLS in its own way.
            [22, ..] => Self::Tls,
            first if first.starts_with(&postgres::SSL_REQUEST) => Self::Postgres,
            _ => Self::Other,
        }
    }
}

const ALERT_ACCESS_DENIED: u8 = 49;
const ALERT_INTERNAL_ERROR: u8 = 80;

/// Tells the client; returns the ending it was given.
pub fn turn_away<'a>(
    core: &'a Core,
    live: &'a Live,
    client: &'a Sock,
    tongue: Tongue,
    ending: Ending,
) -> Pin<Box<dyn Future<Output = Ending> + 'a>> {
    Box::pin(async move {
        let mute = tongue == Tongue::Other
            || (tongue == Tongue::Unknown && live.service().spec.tls == Tls::Disabled);
        if !mute && let Some(_place) = Place::take(core) {
            let telling = rt::within(limits::FAREWELL, tell(client, tongue, ending.cause));
            let _ = crate::conn::unless_cut(live, ending.step, telling).await;
        }
        ending
    })
}

async fn tell(client: &Sock, tongue: Tongue, cause: Cause) {
    // RFC 8446 §6.2 has no alert for «too many»; access_denied is for good.
    let code = if cause == Cause::Denied { ALERT_ACCESS_DENIED } else { ALERT_INTERNAL_ERROR };
    match tongue {
        Tongue::Tls => farewell(client, &alert(code)).await,
        Tongue::Http => {
            farewell(client, if cause == Cause::Denied { HTTP_DENIED } else { HTTP_BUSY }).await;
        }
        Tongue::Other => {}
        Tongue::Postgres => farewell(client, &postgres::refusal(cause.title())).await,
        Tongue::Unknown => {
            let mut first = [0; 8];
            let known = Tongue::of(first_bytes(client, &mut first).await);
            if known != Tongue::Unknown {
                Box::pin(tell(client, known, cause)).await;
            }
        }
    }
}

/// Reads a little of what came first.
async fn first_bytes<'a>(client: &Sock, first: &'a mut [u8; 8]) -> &'a [u8] {
    loop {
        match socket::recv(client.fd(), first) {
            Err(error) if socket::would_block(&error) => drop(client.readable().await),
            Ok(n) => return first.get(..n).unwrap_or_default(),
            Err(_) => return &[],
        }
    }
}

/// One of those that a core may tell at a time.
struct Place<'a>(&'a Core);

impl<'a> Place<'a> {
    fn take(core: &'a Core) -> Option<Self> {
        let taken = core.farewells.get();
        (taken < limits::FAREWELLS_MAX).then(|| {
            core.farewells.set(taken + 1);
            Self(core)
        })
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.farewells.set(self.0.farewells.get().saturating_sub(1));
    }
}

/// Without a length: the end of the connection ends the text.
const HTTP_DENIED: &[u8] = b"HTTP/1.1 403 Forbidden\r\nContent-Type: text/plain\r\n\
Connection: close\r\n\r\nThis address may not connect.\r\n";
const HTTP_BUSY: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\nContent-Type: text/plain\r\n\
Connection: close\r\n\r\nToo many connections.\r\n";
