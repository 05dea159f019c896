//! From an accepted connection to one whose target pool is known: peek, route, and the handshake
//! where TLS ends here.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use rustls::pki_types::UnixTime;
use rustls::{ProtocolVersion, ServerConfig};

use crate::config::checked::Tls;
use crate::config::limits;
use crate::config::snapshot::{Needs, ServerTls, Service};
use crate::conn::admit::turn_away::{Tongue, turn_away};
use crate::conn::ending::{Cause, Ending, Side, Step};
use crate::conn::live::Live;
use crate::conn::peek::{First, Peeked, peek};
use crate::conn::route::{self, Asked, Choice};
use crate::conn::{admit, unless_cut};
use crate::io::socket;
use crate::metrics;
use crate::rt::{self, Sock};
use crate::tls::handshake::{self, Established, Facts, Failure};
use crate::tls::identity::Identity;
use crate::tls::session::Session;
use crate::tls::store::Coverage;
use crate::wire::postgres;
use crate::wire::proxy_header::{self, Ssl};
use crate::worker::Core;

/// What opening a connection gave.
#[derive(Debug, Default)]
pub struct Opened {
    /// Bytes for the target that came before it was chosen.
    pub prefix: Box<[u8]>,
    /// TLS with the client, where it ends here.
    pub session: Option<Box<Session>>,
    /// PostgreSQL was asked for TLS before the hello, and the target must be too.
    pub postgres: bool,
    /// The protocol agreed on with the client.
    pub alpn: Option<Box<[u8]>>,
    /// What targets are told of TLS with the client, where it ends here and they are.
    pub tells: Option<Box<Ssl>>,
}

/// Chooses without reading anything.
///
/// # Errors
/// No rule takes the client's address.
pub fn at_once(core: &Core, live: &Live) -> Result<(), Ending> {
    let choice = route::unread(&live.listener, live.source())?;
    live.routed(core, choice.service, choice.pool);
    Ok(())
}

/// Reads, chooses, and ends TLS where the chosen service does. `received` came behind a PROXY header.
///
/// # Errors
/// Why the connection goes no further; the client has been told in its own protocol.
pub async fn open(
    core: &Rc<Core>,
    live: &Live,
    client: &Sock,
    received: Box<[u8]>,
) -> Result<Opened, Ending> {
    let listener = &live.listener;
    let Peeked { bytes, first, postgres } =
        peek(core, live, client, listener.needs, listener.hello, received).await?;
    let refuse = |step, cause| refuse(live, client, step, cause, postgres);
    match &first {
        First::Hello(hello) => live.see(|seen| {
            seen.name.clone_from(&hello.server_name);
            seen.alpn = hello.alpn.first().cloned();
        }),
        First::Head(name) => live.see(|seen| seen.name.clone_from(name)),
        First::Other(_) => {}
    }
    let choice = match route::of_first(listener, &first, live.source()) {
        Ok(choice) => choice,
        Err((step, cause)) => return Err(refuse(step, cause).await),
    };
    let hello = match first {
        First::Hello(hello) => hello,
        First::Head(_) => return plain(core, live, client, choice, bytes, Tongue::Http).await,
        First::Other(_) => return plain(core, live, client, choice, bytes, Tongue::Other).await,
    };
    let asked =
        Asked { name: hello.server_name.as_deref(), alpn: &hello.alpn, source: live.source() };
    live.routed(core, choice.service, choice.pool);
    admitted(core, live, client, Tongue::Tls).await?;
    let service = live.service();
    let Some(tls) = &service.tls else {
        return Ok(Opened { prefix: bytes.into(), postgres, ..Opened::default() });
    };
    if lacks_certificate(service, asked.name) {
        return Err(refuse(Step::Handshake, Cause::NoCertificate).await);
    }
    // It could have a later version with us: somebody in between spoilt its first attempt (RFC 7507).
    if hello.fallback && !hello.offers_tls13() {
        live.note("inappropriate fallback to an older version");
        farewell(client, &alert(ALERT_INAPPROPRIATE_FALLBACK)).await;
        return Err(client_ending(Cause::Tls));
    }
    terminate(core, live, client, service, config_for(tls, &hello.alpn, choice.pool), bytes, &asked)
        .await
        .map(|opened| Opened { postgres, ..opened })
}

/// A connection that goes on as it is.
async fn plain(
    core: &Core,
    live: &Live,
    client: &Sock,
    choice: Choice,
    bytes: Vec<u8>,
    tongue: Tongue,
) -> Result<Opened, Ending> {
    live.routed(core, choice.service, choice.pool);
    admitted(core, live, client, tongue).await?;
    Ok(Opened { prefix: bytes.into(), ..Opened::default() })
}

/// The service that was chosen takes the connection; otherwise the client has been told.
async fn admitted(core: &Core, live: &Live, client: &Sock, tongue: Tongue) -> Result<(), Ending> {
    match admit::service(live) {
        Ok(()) => Ok(()),
        Err(ending) => Err(turn_away(core, live, client, tongue, ending).await),
    }
}

/// Whether the service refuses a name for which it has no certificate.
pub fn lacks_certificate(service: &Service, name: Option<&str>) -> bool {
    let Some(tls) = &service.tls else { return false };
    let covers = |name| matches!(tls.store.covers(name), Coverage::Exact | Coverage::Wildcard);
    matches!(&service.spec.tls, Tls::Enabled(termination) if termination.strict)
        && !name.is_some_and(covers)
}

/// How the handshake is made with a client that offers these protocols and was taken by this rule.
pub fn config_for(tls: &ServerTls, alpn: &[Box<[u8]>], rule: u32) -> Arc<ServerConfig> {
    if let Some(config) = tls.of_rules.get(&rule) {
        return Arc::clone(config);
    }
    let only_postgres = matches!(alpn, [one] if **one == *b"postgresql");
    let config = tls.postgres.as_ref().filter(|_| only_postgres).unwrap_or(&tls.config);
    Arc::clone(config)
}

/// Shakes hands with the client, and settles what depended on its certificate.
async fn terminate(
    core: &Rc<Core>,
    live: &Live,
    client: &Sock,
    service: &Service,
    config: Arc<ServerConfig>,
    received: Vec<u8>,
    asked: &Asked<'_>,
) -> Result<Opened, Ending> {
    let Some(_place) = Place::take(core) else {
        return Err(Ending::us(Step::Handshake, Cause::Busy));
    };
    let limit = service.spec.timeouts.handshake;
    let verifier = service.tls.as_ref().and_then(|tls| tls.verifier.as_deref());
    let most = match verifier {
        Some(_) => limits::HANDSHAKE_BYTES_MAX,
        None => limits::HANDSHAKE_BYTES_SMALL,
    };
    let began = Instant::now();
    let shaking = rt::within(limit, handshake::accept(core, client, config, received, most));
    let Established { session, facts } = match unless_cut(live, Step::Handshake, shaking).await? {
        Some(Ok(established)) => established,
        Some(Err(failure)) => {
            farewell(client, &[]).await;
            return Err(failed(live, &failure));
        }
        None => return Err(client_ending(Cause::Deadline)),
    };
    let is_1_3 = facts.version == Some(ProtocolVersion::TLSv1_3);
    core.counters.handshakes.add(is_1_3, facts.resumed);
    if let Some(counts) = core.its(&service.state.counts) {
        counts.handshakes.add(is_1_3, facts.resumed);
        counts.handshake.observe(&metrics::SHORT, began.elapsed());
    }
    live.see(|seen| {
        seen.alpn.clone_from(&facts.alpn);
        seen.version = match facts.version {
            Some(ProtocolVersion::TLSv1_3) => Some("TLSv1.3"),
            Some(ProtocolVersion::TLSv1_2) => Some("TLSv1.2"),
            _ => None,
        };
        seen.cipher = facts.cipher;
        let leaf = facts.certificates.first();
        seen.subject = leaf.and_then(Identity::of).map(|it| it.subject.into());
    });
    // To resume a session verifies nothing, and each resumption gives out tickets anew: what has
    // expired or been revoked since must not live on in them.
    if facts.resumed
        && let (Some(verifier), Some((leaf, chain))) = (verifier, facts.certificates.split_first())
        && let Err(error) = verifier.verify_client_cert(leaf, chain, UnixTime::now())
    {
        let mut session = session;
        session.complain(ALERT_CERTIFICATE_EXPIRED);
        farewell(client, session.unsent()).await;
        live.note(&format!("in a resumed session: {error}"));
        return Err(client_ending(Cause::ClientCertificate));
    }
    if route::wants_certificate(service) {
        let identity = facts.certificates.first().and_then(Identity::of);
        let agreed: Vec<_> = facts.alpn.clone().into_iter().collect();
        let asked = Asked { alpn: &agreed, ..*asked };
        match route::settle(service, &asked, identity.as_ref()) {
            Ok(pool) => live.pool.set(pool),
            Err(cause) => {
                let mut session = session;
                session.complain(ALERT_ACCESS_DENIED);
                farewell(client, session.unsent()).await;
                return Err(Ending::us(Step::Route, cause));
            }
        }
    }
    Ok(Opened {
        prefix: Box::default(),
        session: Some(Box::new(session)),
        tells: service.tells_tls.then(|| tells(live, &facts)),
        alpn: facts.alpn,
        postgres: false,
    })
}

/// What targets are told of TLS with the client (PROXY protocol specification, section 2.2.6).
fn tells(live: &Live, facts: &Facts) -> Box<Ssl> {
    const NOT_VERIFIED: u32 = 1;
    let leaf = facts.certificates.first();
    let session = if facts.resumed {
        proxy_header::CLIENT_CERT_SESS
    } else {
        proxy_header::CLIENT_CERT_SESS | proxy_header::CLIENT_CERT_CONN
    };
    let common_name = leaf.and_then(Identity::of).and_then(|identity| identity.subject_cn);
    let common_name = common_name.filter(|name| name.len() <= limits::PROXY_NAME_BYTES_MAX);
    let version = live.seen().as_deref().and_then(|seen| seen.version);
    Box::new(Ssl {
        client: proxy_header::CLIENT_SSL | leaf.map_or(0, |_| session),
        // A certificate that is not valid never comes so far.
        verify: leaf.map_or(NOT_VERIFIED, |_| 0),
        version: version.map(|text| text.as_bytes().into()),
        common_name: common_name.map(|name| name.into_bytes().into()),
        ..Ssl::default()
    })
}

/// One of the handshakes that a core may have under way.
struct Place<'a> {
    core: &'a Core,
}

impl<'a> Place<'a> {
    fn take(core: &'a Core) -> Option<Self> {
        let taken = core.handshakes.get();
        (taken < limits::HANDSHAKES_MAX).then(|| {
            core.handshakes.set(taken + 1);
            Self { core }
        })
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.core.handshakes.set(self.core.handshakes.get().saturating_sub(1));
    }
}

fn client_ending(cause: Cause) -> Ending {
    Ending { side: Side::Client, step: Step::Handshake, cause }
}

/// What a failed handshake with the client is called.
fn failed(live: &Live, failure: &Failure) -> Ending {
    use rustls::Error;
    client_ending(match failure {
        Failure::Closed => Cause::Left,
        Failure::Io(_) => Cause::Reset,
        Failure::Tls(error) => {
            live.note(&error.to_string());
            match error {
                Error::AlertReceived(_) => Cause::Alert,
                Error::NoCertificatesPresented
                | Error::InvalidCertificate(_)
                | Error::InvalidCertRevocationList(_) => Cause::ClientCertificate,
                _ => Cause::Tls,
            }
        }
    })
}

const ALERT_HANDSHAKE_FAILURE: u8 = 40;
const ALERT_CERTIFICATE_EXPIRED: u8 = 45;
const ALERT_ACCESS_DENIED: u8 = 49;
const ALERT_DECODE_ERROR: u8 = 50;
const ALERT_PROTOCOL_VERSION: u8 = 70;
const ALERT_INAPPROPRIATE_FALLBACK: u8 = 86;
const ALERT_UNRECOGNIZED_NAME: u8 = 112;

/// A fatal alert in clear (RFC 8446 §6): no handshake has begun.
pub(crate) fn alert(code: u8) -> [u8; 7] {
    [21, 3, 1, 0, 2, 2, code]
}

/// Tells the client why, in its own protocol where it has words for it, and names the ending.
async fn refuse(live: &Live, client: &Sock, step: Step, cause: Cause, postgres: bool) -> Ending {
    let code = match cause {
        Cause::NoMatch | Cause::NoCertificate => Some(ALERT_UNRECOGNIZED_NAME),
        Cause::NoName => Some(ALERT_HANDSHAKE_FAILURE),
        Cause::Malformed | Cause::TooLarge => Some(ALERT_DECODE_ERROR),
        Cause::Sslv2 => Some(ALERT_PROTOCOL_VERSION),
        _ => None,
    };
    let tls = live.listener.needs == Needs::Hello;
    match (code, cause) {
        (Some(code), _) if tls => farewell(client, &alert(code)).await,
        (_, Cause::Plain) if !postgres => {
            let text = "this server takes TLS connections only: use sslmode=require";
            farewell(client, &postgres::refusal(text)).await;
        }
        (_, Cause::PlainHttp) => farewell(client, HTTP_ON_TLS).await,
        (_, Cause::NoMatch | Cause::NoName) => farewell(client, HTTP_MISDIRECTED).await,
        (_, Cause::Malformed | Cause::TooLarge) => farewell(client, HTTP_BAD).await,
        _ => {}
    }
    Ending::us(step, cause)
}

/// Without a length: the end of the connection ends the text.
const HTTP_ON_TLS: &[u8] = b"HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain\r\n\
Connection: close\r\n\r\nA plain HTTP request came to a TLS port. Use https.\r\n";
const HTTP_BAD: &[u8] = b"HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain\r\n\
Connection: close\r\n\r\nThe request head is malformed or too large.\r\n";
const HTTP_MISDIRECTED: &[u8] = b"HTTP/1.1 421 Misdirected Request\r\nContent-Type: text/plain\r\n\
Connection: close\r\n\r\nThis host is not served here.\r\n";

/// Says the last words and waits a little until the client has heard them: to close while it still
/// sends would reset the connection, and with it what we said.
pub(crate) async fn farewell(client: &Sock, words: &[u8]) {
    let mut left = limits::FAREWELL_BYTES_MAX;
    let hearing = async {
        let mut words = words;
        while !words.is_empty() {
            match socket::send(client.fd(), words) {
                Ok(sent) => words = words.get(sent..).unwrap_or_default(),
                Err(error) if socket::would_block(&error) => drop(client.writable().await),
                Err(_) => return,
            }
        }
        socket::finish_writing(client.fd());
        let mut bin = [0; 2048];
        while left > 0 {
            match socket::recv(client.fd(), &mut bin) {
                Ok(0) => return,
                Ok(n) => left = left.saturating_sub(n),
                Err(error) if socket::would_block(&error) => drop(client.readable().await),
                Err(_) => return,
            }
        }
    };
    let _ = rt::within(limits::FAREWELL, hearing).await;
}
