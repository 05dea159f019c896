//! Carries bytes both ways until both sides have ended. Before it: connect. After it: account.
//!
//! # What it guarantees
//! - Bytes leave in the order they came, once, and only to the peer of their own connection.
//! - FIN is passed on as FIN after the last byte, and the other direction stays open.
//! - A reset is passed on as a reset, after what was received before it has been delivered; a side
//!   that sees a clean end has all the data.
//! - A receiver that does not read stops its sender: at most one scratch buffer or one pipe waits in
//!   each direction, nothing while a direction rests.
//!
//! # How bytes move
//! Each direction begins by copying through the core's one scratch buffer, which is cheapest for
//! small messages. When it fills the buffer twice running it turns to splice(2) through a pooled
//! pipe, and back when its rounds get small.

use std::cell::Cell;
use std::future::poll_fn;
use std::io;
use std::os::fd::BorrowedFd;
use std::pin::{Pin, pin};
use std::task::Poll;
use std::time::Instant;

use crate::config::limits;
use crate::conn::ending::{Cause, Ending, Side, Step};
use crate::conn::live::Live;
use crate::conn::pace::Pace;
use crate::conn::waits::Waits;
use crate::io::{socket, system};
use crate::rt::{self, Sock};
use crate::worker::Core;

/// Relays until the end. Ends the upstream socket; the client's is the caller's to end. `prefix` is
/// what was read from the client before the target was chosen.
pub async fn both_ways(
    core: &Core,
    live: &Live,
    client: &Sock,
    upstream: Sock,
    prefix: Box<[u8]>,
) -> Ending {
    live.holds(client.fd(), upstream.fd());
    live.touch(core);
    let shared = Shared::of(live);
    let up =
        Flow { core, live, shared: &shared, from: client, to: &upstream, source: Side::Client };
    let down = up.reversed();
    // Pinned here: what is handed over by value would be kept twice.
    let (up, down) = (pin!(up.pump(prefix)), pin!(down.pump(Box::default())));
    let end = until_end(live, up, down).await;
    wind_up(live, client, &upstream, end).await
}

/// Tells the sides how the relay ended, and gives it its name.
pub(crate) async fn wind_up(live: &Live, client: &Sock, upstream: &Sock, end: End) -> Ending {
    let ending = |side, cause| Ending { side, step: Step::Relay, cause };
    let ending = match end {
        End::Clean(first) => ending(first, Cause::Closed),
        // The sweep saw a reset where nothing was being read, or a peer that answers no more.
        End::Cut(cause @ Cause::Reset) => ending(failed_side(client, socket::is_reset), cause),
        End::Cut(cause @ Cause::Dead) => ending(failed_side(client, socket::is_dead), cause),
        End::Cut(cause) => ending(Side::Us, cause),
        End::Broken(fault) => ending(fault.side, fault.cause),
    };
    match ending.side {
        Side::Client if !ending.is_clean() => flush(live, upstream).await,
        Side::Upstream if !ending.is_clean() => {
            socket::reset(upstream.fd());
            flush(live, client).await;
        }
        _ => {}
    }
    live.releases();
    live.holds(client.fd(), -1);
    if !ending.is_clean() {
        socket::reset(upstream.fd());
    }
    ending
}

/// How the relay ended.
pub(crate) enum End {
    /// Both directions ended; this side was first.
    Clean(Side),
    /// A socket failed.
    Broken(Fault),
    /// Somebody asked for the end.
    Cut(Cause),
}

/// A socket that failed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Fault {
    pub(crate) side: Side,
    pub(crate) cause: Cause,
    /// Found by sending: bytes that the side sent before may still wait to be read.
    pub(crate) unread: bool,
}

/// What the two directions know of each other.
pub(crate) struct Shared {
    client_dead: Cell<bool>,
    upstream_dead: Cell<bool>,
    one_ended: Cell<bool>,
    /// The limits on bandwidth, where there are any.
    pub(crate) pace: Option<Box<Pace>>,
}

impl Shared {
    /// Of a connection whose service is chosen.
    pub(crate) fn of(live: &Live) -> Self {
        let [client_dead, upstream_dead, one_ended] = [const { Cell::new(false) }; 3];
        Self { client_dead, upstream_dead, one_ended, pace: Pace::of(live) }
    }

    /// Whether one direction has ended.
    pub(crate) fn has_one_ended(&self) -> bool {
        self.one_ended.get()
    }

    /// Whether a send to this side has failed.
    pub(crate) fn is_dead(&self, side: Side) -> bool {
        self.dead(side).get()
    }

    /// A send to this side has failed.
    pub(crate) fn died(&self, side: Side) {
        self.dead(side).set(true);
    }

    /// A failed send takes the socket's error with it, after which a read of the same socket
    /// reports a clean end: remember that it is none.
    fn dead(&self, side: Side) -> &Cell<bool> {
        if side == Side::Client { &self.client_dead } else { &self.upstream_dead }
    }
}

/// Runs both directions until both have ended, one has failed, or somebody asks for the end.
pub(crate) async fn until_end(
    live: &Live,
    mut up: Pin<&mut impl Future<Output = Result<(), Fault>>>,
    mut down: Pin<&mut impl Future<Output = Result<(), Fault>>>,
) -> End {
    let (mut up_end, mut down_end) = (None, None);
    let mut first = Side::Client;
    poll_fn(|cx| {
        if let Some(cause) = live.is_cut(cx.waker()) {
            return Poll::Ready(End::Cut(cause));
        }
        if up_end.is_none()
            && let Poll::Ready(end) = up.as_mut().poll(cx)
        {
            up_end = Some(end);
        }
        if down_end.is_none()
            && let Poll::Ready(end) = down.as_mut().poll(cx)
        {
            if up_end.is_none() {
                first = Side::Upstream;
            }
            down_end = Some(end);
        }
        match (up_end, down_end) {
            (Some(Ok(())), Some(Ok(()))) => Poll::Ready(End::Clean(first)),
            // The other direction reads the failed side dry before everything ends.
            (Some(Err(fault)), None) | (None, Some(Err(fault))) if fault.unread => Poll::Pending,
            (Some(Err(fault)), _) | (_, Some(Err(fault))) => Poll::Ready(End::Broken(fault)),
            _ => Poll::Pending,
        }
    })
    .await
}

/// One direction.
pub(crate) struct Flow<'a> {
    pub(crate) core: &'a Core,
    pub(crate) live: &'a Live,
    pub(crate) shared: &'a Shared,
    pub(crate) from: &'a Sock,
    pub(crate) to: &'a Sock,
    pub(crate) source: Side,
}

/// What one look at the source gave.
enum Got {
    /// Nothing now.
    Nothing,
    /// The end of the stream.
    End,
    /// So many bytes, all handed on.
    All(usize),
    /// Bytes of which these could not be handed on yet.
    Part(Box<[u8]>),
}

impl<'a> Flow<'a> {
    /// The other direction.
    pub(crate) fn reversed(&self) -> Self {
        let source = if self.source == Side::Client { Side::Upstream } else { Side::Client };
        Self { from: self.to, to: self.from, source, ..*self }
    }
}

impl Flow<'_> {
    /// Carries one direction to its end. `prefix` has been read from its source before.
    async fn pump(&self, prefix: Box<[u8]>) -> Result<(), Fault> {
        let mut full = 0;
        let mut turn = 0;
        let mut waits = Waits::default();
        // Look before waiting where something is likely to be there: a client's first bytes come
        // with its connect, and a short answer's FIN comes with the answer.
        let mut look_again = self.source == Side::Upstream;
        if !prefix.is_empty() {
            if let Some(rest) = self.send_now(prefix)? {
                self.send_rest(rest).await?;
            }
            look_again = false;
            let _ = self.from.readable().await;
        } else if look_again {
            let _ = self.from.readable().await;
        }
        loop {
            let most = match self.turn(true) {
                None => usize::MAX,
                Some(turn) => turn.await,
            };
            match self.copy_once(most)? {
                Got::Nothing => waits.after_nothing(self).await,
                Got::End => break,
                Got::All(n) if n < limits::SCRATCH_BYTES => {
                    full = 0;
                    if !std::mem::take(&mut look_again) {
                        // A short read has emptied the socket.
                        waits.after_some(self).await;
                    }
                }
                Got::All(n) => {
                    full += 1;
                    turn += n;
                }
                Got::Part(rest) => {
                    full = 0;
                    self.send_rest(rest).await?;
                }
            }
            if full >= limits::FULL_READS_TO_SPLICE {
                full = 0;
                waits = Waits::default();
                if self.splice_while_bulk().await? {
                    break;
                }
            }
            if turn >= limits::TURN_BYTES {
                turn = 0;
                let _ = self.from.readable().await;
            }
        }
        self.finish()
    }

    /// The source has ended: pass it on.
    pub(crate) fn finish(&self) -> Result<(), Fault> {
        if self.shared.is_dead(self.source) {
            return Err(Fault { side: self.source, cause: Cause::Reset, unread: false });
        }
        // When the other direction has ended as well, closing both sockets says it all.
        if self.ends() {
            socket::finish_writing(self.to.fd());
        }
        Ok(())
    }

    /// This direction has ended in order; true if it is the first to.
    pub(crate) fn ends(&self) -> bool {
        self.live.touch(self.core);
        let first = !self.shared.one_ended.replace(true);
        if first {
            self.live.set(Live::HALF_CLOSED);
        }
        first
    }

    /// One recv, of `most` bytes at most, and one send through the core's scratch buffer.
    fn copy_once(&self, most: usize) -> Result<Got, Fault> {
        let mut scratch = self.core.scratch.borrow_mut();
        let room = scratch.len().min(most);
        let n = match socket::recv(self.from.fd(), scratch.get_mut(..room).unwrap_or_default()) {
            Ok(0) => return Ok(Got::End),
            Ok(n) => n,
            Err(error) if socket::would_block(&error) => {
                self.settle(0);
                return Ok(Got::Nothing);
            }
            Err(error) => return Err(self.source_failed(&error)),
        };
        self.settle(n);
        let bytes = scratch.get(..n).unwrap_or_default();
        let sent = match socket::send(self.to.fd(), bytes) {
            Ok(sent) => sent,
            Err(error) if socket::would_block(&error) => 0,
            Err(error) => return Err(self.sink_failed(&error)),
        };
        self.moved(sent);
        Ok(match bytes.get(sent..) {
            Some([]) | None => Got::All(n),
            Some(rest) => Got::Part(rest.into()),
        })
    }

    /// Sends what was read before the relay began; what the receiver did not take comes back.
    pub(crate) fn send_now(&self, bytes: Box<[u8]>) -> Result<Option<Box<[u8]>>, Fault> {
        self.charge(bytes.len());
        match socket::send(self.to.fd(), &bytes) {
            Ok(sent) => {
                self.moved(sent);
                Ok(bytes.get(sent..).filter(|rest| !rest.is_empty()).map(Into::into))
            }
            Err(error) if socket::would_block(&error) => Ok(Some(bytes)),
            Err(error) => Err(self.sink_failed(&error)),
        }
    }

    /// Sends what the receiver did not take at once, at its pace.
    pub(crate) async fn send_rest(&self, rest: Box<[u8]>) -> Result<(), Fault> {
        self.live.stuck(true);
        let mut left: &[u8] = &rest;
        while !left.is_empty() {
            let _ = self.to.writable().await;
            match socket::send(self.to.fd(), left) {
                Ok(sent) => {
                    self.moved(sent);
                    left = left.get(sent..).unwrap_or_default();
                }
                Err(error) if socket::would_block(&error) => {}
                Err(error) => return Err(self.sink_failed(&error)),
            }
        }
        self.live.stuck(false);
        Ok(())
    }

    /// Splices until the rounds get small (`false`: copy on) or the stream ends (`true`).
    async fn splice_while_bulk(&self) -> Result<bool, Fault> {
        let mut small = 0;
        let mut turn = 0;
        while small < limits::SMALL_ROUNDS_TO_COPY {
            let most = match self.turn(true) {
                None => usize::MAX,
                Some(turn) => turn.await,
            };
            let Some(mut pipe) = self.core.pipes.take() else {
                self.core.counters.pipes_refused.add(1);
                return Ok(false);
            };
            let n = match pipe.fill(self.from.fd(), most) {
                Ok(0) => return Ok(true),
                Ok(n) => n,
                Err(error) if socket::would_block(&error) => {
                    drop(pipe);
                    let _ = self.from.readable().await;
                    continue;
                }
                Err(error) => return Err(self.source_failed(&error)),
            };
            self.settle(n);
            if !self.live.has(Live::SPLICED) {
                self.live.set(Live::SPLICED);
                self.core.counters.splices.add(1);
            }
            while pipe.held() > 0 {
                match pipe.drain(self.to.fd()) {
                    Ok(moved) if moved > 0 => self.moved(moved),
                    Err(error) if !socket::would_block(&error) => {
                        return Err(self.sink_failed(&error));
                    }
                    _ => {
                        self.live.stuck(true);
                        let _ = self.to.writable().await;
                        self.live.stuck(false);
                    }
                }
            }
            drop(pipe);
            small = if n < limits::SPLICE_SMALL_BYTES { small + 1 } else { 0 };
            turn += n;
            if turn >= limits::TURN_BYTES {
                turn = 0;
                let _ = self.from.readable().await;
            }
        }
        Ok(false)
    }

    pub(crate) fn moved(&self, n: usize) {
        self.live.moved(self.core, self.source == Side::Client, n);
    }

    pub(crate) fn source_failed(&self, error: &io::Error) -> Fault {
        tracing::debug!(side = self.source.name(), %error, "a read failed");
        Fault { side: self.source, cause: cause_of(error), unread: false }
    }

    pub(crate) fn sink_failed(&self, error: &io::Error) -> Fault {
        let side = if self.source == Side::Client { Side::Upstream } else { Side::Client };
        tracing::debug!(side = side.name(), %error, "a write failed");
        self.shared.died(side);
        Fault { side, cause: cause_of(error), unread: true }
    }
}

/// Waits until what was sent has been acknowledged, so that the reset that follows does not
/// overtake it; gives up when nothing moves for [`limits::FLUSH_STALL`], and
/// at [`limits::FLUSH_MAX`] in any case.
async fn flush(live: &Live, to: &Sock) {
    let mut left = socket::unacknowledged(to.fd());
    let began = Instant::now();
    let mut moved = began;
    let (mut pause, longest) = limits::FLUSH_POLL;
    while left > 0 && !live.cut_asked() && !is_closed(to) && began.elapsed() < limits::FLUSH_MAX {
        rt::sleep(pause).await;
        pause = (pause * 2).min(longest);
        let now = socket::unacknowledged(to.fd());
        if now < left {
            moved = Instant::now();
        } else if moved.elapsed() >= limits::FLUSH_STALL {
            return;
        }
        left = now;
    }
}

fn failed_side(client: &Sock, failed: impl FnOnce(BorrowedFd<'_>) -> bool) -> Side {
    if system::with_fd(client.fd(), failed) { Side::Client } else { Side::Upstream }
}

fn is_closed(sock: &Sock) -> bool {
    system::with_fd(sock.fd(), socket::is_closed)
}

fn cause_of(error: &io::Error) -> Cause {
    match error.raw_os_error() {
        Some(libc::ETIMEDOUT | libc::EHOSTUNREACH | libc::ENETUNREACH | libc::ENETDOWN) => {
            Cause::Dead
        }
        _ => Cause::Reset,
    }
}
