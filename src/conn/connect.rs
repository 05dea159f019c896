//! Reaching a target: one after the other, a deadline for each address, and only while no byte has
//! been sent. Before it: pick. After it: relay.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::config::checked::SendHeader;
use crate::config::limits;
use crate::config::snapshot::{Addresses, Pool, Target};
use crate::conn::ending::{Cause, Ending, Side, Step};
use crate::conn::live::Live;
use crate::conn::open::Opened;
use crate::conn::pick::{self, Choice, Tried};
use crate::conn::{proxied, race, unless_cut};
use crate::io::socket::{self, Destination};
use crate::io::system;
use crate::metrics;
use crate::rt::{self, Sock};
use crate::tls::handshake::{self, Established, Failure};
use crate::tls::session::Session;
use crate::wire::postgres;
use crate::worker::Core;

/// A target that answered.
#[derive(Debug)]
pub struct Reached {
    /// The connection.
    pub socket: Sock,
    /// TLS with it, where it is spoken.
    pub tls: Option<Box<Session>>,
}

/// Connects to a target of the pool, trying `retries` further ones when it does not answer. `opened`
/// is what the client has said, where it was asked; what of it has left with a PROXY header is taken
/// out.
///
/// # Errors
/// Why the last one tried could not be reached.
pub async fn first_that_answers(
    core: &Rc<Core>,
    live: &Rc<Live>,
    pool: &Pool,
    opened: &mut Option<Box<Opened>>,
) -> Result<Reached, Ending> {
    let limit = live.service().spec.timeouts.connect;
    let tries = live.service().spec.retries.saturating_add(1);
    let mut ending = None;
    let mut tried = Tried::default();
    for attempt in 0..tries {
        let choice = match ending {
            None => pick::choose_first(pool, live.source()),
            Some(_) => pick::choose(pool, live.source(), &tried),
        };
        let index = match choice {
            Choice::Target(index) => index,
            Choice::Full if ending.is_none() => {
                let silent = !has_spoken(opened.as_deref());
                wait_for_room(live, pool, limit, silent).await?
            }
            Choice::Full | Choice::None => break,
            Choice::Rejected => return Err(Ending::us(Step::Pick, Cause::Rejected)),
        };
        tried.add(index);
        live.takes(index);
        let Some(target) = pool.targets.get(index) else { break };
        if attempt > 0 {
            live.retries.set(attempt);
            core.counters.retries.add(1);
            if let Some(counts) = core.its(&live.service().state.counts) {
                counts.retries.add(1);
            }
        }
        // What `onDown` cuts may not come to be after the cut.
        let was_down = target.state.is_down();
        let went_down = || target.close_on_down && !was_down && target.state.is_down();
        let began = Instant::now();
        let mut reached = match reach(core, live, target, limit).await? {
            Ok(_) if went_down() => Err(Cause::TargetDown),
            Ok(socket) => {
                if let Some(counts) = core.its(&live.service().state.counts) {
                    counts.connect.observe(&metrics::SHORT, began.elapsed());
                }
                if target.tls.is_none()
                    && target.header == SendHeader::Off
                    && !asks_postgres(opened.as_deref())
                {
                    judge(core, target, None);
                    Ok(Reached { socket, tls: None })
                } else {
                    greet_boxed(core, live, target, socket, opened, limit).await?
                }
            }
            Err(cause) => {
                judge(core, target, Some(cause));
                Err(cause)
            }
        };
        if went_down()
            && let Ok(Reached { socket, .. }) = &reached
        {
            socket::reset(socket.fd());
            // Bytes of the client that have left along with the header are lost to another target.
            if live.up.get() > 0 {
                return Err(failed(Cause::TargetDown));
            }
            reached = Err(Cause::TargetDown);
        }
        match reached {
            Ok(reached) => {
                live.forget_note();
                live.forget_tlvs();
                let ms = live.born.elapsed().as_millis();
                live.overhead_ms.set(u32::try_from(ms).unwrap_or(u32::MAX));
                live.set(Live::REACHED);
                if let Some(counts) = core.its(&target.state.counts) {
                    counts.connected.add(1);
                }
                return Ok(reached);
            }
            Err(cause) => {
                if let Some(counts) = core.its(&target.state.counts) {
                    counts.failed.add(1);
                }
                live.gives_back();
                ending = Some(failed(cause));
                // Another target needs a descriptor and a local port as well.
                if cause == Cause::Descriptors {
                    break;
                }
            }
        }
    }
    Err(ending.unwrap_or(Ending::us(Step::Connect, Cause::NoTarget)))
}

/// Counts an attempt for or against the target. What a stranger can bring about counts against none;
/// a certificate that does not do and broken TLS are the target's own.
fn judge(core: &Core, target: &Target, cause: Option<Cause>) {
    let Some(failures) = target.failures else { return };
    match cause {
        None => target.state.connected(),
        // No fault of the target.
        Some(Cause::Ports | Cause::Descriptors | Cause::Loop | Cause::Unresolved) => {}
        // It may not like the protocol that the client has agreed on with us.
        Some(Cause::Alert) => {}
        Some(_) if target.state.connect_failed(failures.get().into()) => core.fails(target),
        Some(_) => {}
    }
}

/// Whether the client has said anything that a target is to hear.
fn has_spoken(opened: Option<&Opened>) -> bool {
    opened.is_some_and(|opened| {
        !opened.prefix.is_empty()
            || opened.session.as_ref().is_some_and(|session| session.is_unopened())
    })
}

/// Waits until a target has room for one more connection, not for long and not with too many, and no
/// longer than the client does; `silent`: it has said nothing yet.
///
/// The queue is that of the connection's own snapshot: a reload that raises the limit helps those who
/// come after it, and those who wait get what is given up as before.
fn wait_for_room<'a>(
    live: &'a Live,
    pool: &'a Pool,
    limit: Duration,
    silent: bool,
) -> Pin<Box<dyn Future<Output = Result<usize, Ending>> + 'a>> {
    let full = Ending::us(Step::Connect, Cause::TargetsFull);
    Box::pin(async move {
        let place = pool.queue.join().ok_or(full)?;
        let waiting = async {
            loop {
                let ahead = place.ahead();
                if pick::has_room_for(pool, ahead) {
                    match pick::choose(pool, live.source(), &Tried::default()) {
                        Choice::Target(index) => return Ok(index),
                        Choice::Full => {}
                        // Refused are only those who have just come.
                        Choice::None | Choice::Rejected => {
                            return Err(Ending::us(Step::Connect, Cause::NoTarget));
                        }
                    }
                }
                if let Some(cause) = has_left(live, silent) {
                    return Err(Ending { side: Side::Client, step: Step::Connect, cause });
                }
                let next = ahead < limits::QUEUE_NEXT;
                rt::sleep(if next { limits::QUEUE_POLL_NEXT } else { limits::QUEUE_POLL }).await;
            }
        };
        let waited = unless_cut(live, Step::Connect, rt::within(limit, waiting)).await?;
        waited.unwrap_or(Err(full))
    })
}

/// Whether the client waits no more. The end of its stream says so only where it has said nothing:
/// otherwise it may well wait for the answer.
fn has_left(live: &Live, silent: bool) -> Option<Cause> {
    let fd = live.client()?;
    if system::with_fd(fd, socket::is_reset) {
        return Some(Cause::Reset);
    }
    let left = silent && system::with_fd(fd, socket::has_ended) && socket::unread(fd) == 0;
    left.then_some(Cause::Left)
}

/// Whether PostgreSQL's question for TLS goes on to the target although TLS with it is not ours.
fn asks_postgres(opened: Option<&Opened>) -> bool {
    opened.is_some_and(|opened| opened.postgres && opened.session.is_none())
}

/// The outer error ends the connection, the inner one only this target.
type Greeted = Result<Result<Reached, Cause>, Ending>;

/// Says what comes before the client's bytes, within a limit: who the client is, and the beginning of
/// TLS. Boxed, for the room of a handshake is not every connection's.
fn greet_boxed<'a>(
    core: &'a Rc<Core>,
    live: &'a Live,
    target: &'a Target,
    socket: Sock,
    opened: &'a mut Option<Box<Opened>>,
    limit: Duration,
) -> Pin<Box<dyn Future<Output = Greeted> + 'a>> {
    let header = proxied::told(core, live, target, opened.as_deref());
    if target.tls.is_none() && !asks_postgres(opened.as_deref()) {
        let introducing = introduce(core, live, socket, header, opened);
        let greeting = within_limit(live, limit, introducing);
        return Box::pin(judged(core, target, false, greeting));
    }
    let limit = live.service().spec.timeouts.handshake;
    let opened = opened.as_deref();
    let greeting = within_limit(live, limit, greet(core, live, target, socket, opened, header));
    Box::pin(judged(core, target, opened.is_some_and(|opened| opened.postgres), greeting))
}

async fn within_limit(
    live: &Live,
    limit: Duration,
    greeting: impl Future<Output = Result<Reached, Cause>>,
) -> Greeted {
    let greeted = unless_cut(live, Step::Connect, rt::within(limit, greeting)).await?;
    Ok(greeted.unwrap_or(Err(Cause::Timeout)))
}

/// Counts it for or against the target. Where the client has made us ask what the target may never
/// have heard of (`provoked`), only for it.
async fn judged(
    core: &Core,
    target: &Target,
    provoked: bool,
    greeting: impl Future<Output = Greeted>,
) -> Greeted {
    let greeted = greeting.await?;
    if greeted.is_ok() || !provoked {
        judge(core, target, greeted.as_ref().err().copied());
    }
    Ok(greeted)
}

/// Tells the target who the client is.
async fn introduce(
    core: &Core,
    live: &Live,
    socket: Sock,
    header: Vec<u8>,
    opened: &mut Option<Box<Opened>>,
) -> Result<Reached, Cause> {
    match proxied::introduce(core, live, &socket, &header, opened).await {
        Ok(()) => Ok(Reached { socket, tls: None }),
        Err(_) => Err(Cause::Reset),
    }
}

/// Asks the target for TLS: first in PostgreSQL's way where the client did, then by a handshake
/// where TLS with the target is ours. The PROXY header goes along with the first thing that is said.
async fn greet(
    core: &Rc<Core>,
    live: &Live,
    target: &Target,
    socket: Sock,
    opened: Option<&Opened>,
    mut header: Vec<u8>,
) -> Result<Reached, Cause> {
    if opened.is_some_and(|opened| opened.postgres) {
        ask_postgres(&socket, std::mem::take(&mut header)).await?;
    }
    let Some(tls) = &target.tls else { return Ok(Reached { socket, tls: None }) };
    let alpn = opened.and_then(|opened| opened.alpn.as_deref());
    let began = Instant::now();
    let config = Arc::clone(&tls.config);
    match handshake::connect(core, &socket, config, tls.name.clone(), alpn, header).await {
        Ok(Established { session, .. }) => {
            if let Some(counts) = core.its(&live.service().state.counts) {
                counts.upstream_handshake.observe(&metrics::SHORT, began.elapsed());
            }
            if let Some(counts) = core.its(&target.state.counts) {
                counts.handshakes.add(1);
            }
            Ok(Reached { socket, tls: Some(Box::new(session)) })
        }
        Err(Failure::Closed) => Err(Cause::Reset),
        Err(Failure::Io(error)) => Err(cause_of(&error)),
        Err(Failure::Tls(error)) => {
            live.note(&error.to_string());
            Err(match error {
                rustls::Error::AlertReceived(_) => Cause::Alert,
                rustls::Error::InvalidCertificate(_) | rustls::Error::NoCertificatesPresented => {
                    Cause::Certificate
                }
                _ => Cause::Tls,
            })
        }
    }
}

/// PostgreSQL's request for TLS. More than its one byte of answer would be an attack
/// (CVE-2021-23222).
async fn ask_postgres(socket: &Sock, header: Vec<u8>) -> Result<(), Cause> {
    let mut request = header;
    request.extend_from_slice(&postgres::SSL_REQUEST);
    let mut left = request.as_slice();
    while !left.is_empty() {
        match socket::send(socket.fd(), left) {
            Ok(sent) => left = left.get(sent..).unwrap_or_default(),
            Err(error) if socket::would_block(&error) => drop(socket.writable().await),
            Err(_) => return Err(Cause::Reset),
        }
    }
    let mut answer = [0; 2];
    loop {
        let _ = socket.readable().await;
        return match (socket::recv(socket.fd(), &mut answer), answer) {
            (Ok(1), [postgres::YES, _]) => Ok(()),
            (Ok(1), [postgres::NO, _]) => Err(Cause::NoTls),
            (Err(error), _) if socket::would_block(&error) => continue,
            (Ok(0) | Err(_), _) => Err(Cause::Reset),
            (Ok(_), _) => Err(Cause::NoTls),
        };
    }
}

/// The outer error ends the connection, the inner one only this target.
pub type Attempt = Result<Result<Sock, Cause>, Ending>;

/// Tries the addresses of one target.
async fn reach(core: &Rc<Core>, live: &Live, target: &Target, limit: Duration) -> Attempt {
    match &target.addresses {
        Addresses::Loop => Ok(Err(Cause::Loop)),
        Addresses::Fixed(destination) => attempt(core, live, destination, limit).await,
        Addresses::Resolved(name, port) => {
            let addresses = name.addresses.load_full();
            match addresses.as_slice() {
                [] => Ok(Err(Cause::Unresolved)),
                [ip] => {
                    let addr = SocketAddr::new(*ip, *port);
                    if core.with_snapshot(|snapshot| snapshot.own.contains(addr)) {
                        return Ok(Err(Cause::Loop));
                    }
                    attempt(core, live, &addr.into(), limit).await
                }
                _ => race::race(core, live, name, addresses, *port, limit).await,
            }
        }
    }
}

/// One attempt at one address.
pub async fn attempt(
    core: &Core,
    live: &Live,
    destination: &Destination,
    limit: Duration,
) -> Attempt {
    let socket = match destination.socket().and_then(Sock::new) {
        Ok(socket) => socket,
        Err(error) => return Ok(Err(cause_of(&error))),
    };
    let fd = socket.fd();
    let mut started = destination.connect(fd);
    // On this machine the handshake is over before the first call returns, and asking again is
    // cheaper than waiting through the ring.
    if started.as_ref().is_err_and(socket::is_in_progress) {
        started = destination.connect(fd);
    }
    if started.as_ref().is_err_and(socket::is_in_progress) {
        let waited = unless_cut(live, Step::Connect, rt::within(limit, socket.writable())).await?;
        started = match waited {
            Some(_) => destination.connect(fd),
            None => return Ok(Err(Cause::Timeout)),
        };
    }
    if let Err(error) = started {
        return Ok(Err(cause_of(&error)));
    }
    if let Some(addr) = destination.ip() {
        live.set(Live::TCP);
        if is_self_connected(core, fd, addr) {
            return Ok(Err(Cause::Refused));
        }
    }
    Ok(Ok(socket))
}

/// TCP connects a socket to itself when the port it is given for its own end is the port it
/// connects to, on this machine, where nobody listens: a target that is down would echo.
fn is_self_connected(core: &Core, fd: i32, addr: SocketAddr) -> bool {
    core.with_snapshot(|snapshot| snapshot.own.is_here(addr.ip()))
        && socket::local_addr(fd) == Some(addr)
}

fn cause_of(error: &io::Error) -> Cause {
    match error.raw_os_error() {
        Some(libc::ECONNREFUSED | libc::ECONNRESET | libc::ENOENT | libc::EAGAIN) => Cause::Refused,
        Some(libc::ETIMEDOUT) => Cause::Timeout,
        Some(
            libc::EHOSTUNREACH
            | libc::ENETUNREACH
            | libc::ENETDOWN
            | libc::EHOSTDOWN
            | libc::EACCES
            | libc::EPERM,
        ) => Cause::Unreachable,
        Some(libc::EADDRNOTAVAIL) => Cause::Ports,
        Some(libc::EMFILE | libc::ENFILE | libc::ENOBUFS | libc::ENOMEM) => Cause::Descriptors,
        _ => Cause::Failed,
    }
}

/// Whose fault a failed attempt is.
pub fn failed(cause: Cause) -> Ending {
    let side = match cause {
        Cause::Refused
        | Cause::Timeout
        | Cause::Unreachable
        | Cause::Reset
        | Cause::Alert
        | Cause::NoTls => Side::Upstream,
        _ => Side::Us,
    };
    Ending { side, step: Step::Connect, cause }
}
