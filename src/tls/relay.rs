//! The relay where at least one side speaks TLS with us. It guarantees what
//! [`conn::relay`](crate::conn::relay) does, and:
//!
//! - The end of a TLS stream is `close_notify`. A FIN without it is a truncation, and is passed on as
//!   a reset: nobody takes a part for the whole.
//! - `close_notify` ends one direction; the other goes on.
//!
//! # How bytes move
//! Ciphertext is received into the core's scratch buffer, opened where it stands, and its pieces are
//! sent from there. Plaintext is received into the gaps that the records' heads and tails leave,
//! sealed where it stands, and sent as one run. Nothing is copied but what a socket does not take.

use std::cell::RefCell;
use std::io::{IoSlice, IoSliceMut};
use std::ops::Range;
use std::pin::{Pin, pin};

use super::session::{self, Session};
use crate::config::limits;
use crate::conn::ending::{Cause, Ending, Side};
use crate::conn::live::Live;
use crate::conn::open::farewell;
use crate::conn::relay::{Fault, Flow, Shared, until_end, wind_up};
use crate::conn::waits::Waits;
use crate::io::socket;
use crate::rt::Sock;
use crate::worker::Core;

/// The TLS sessions of a connection's two sides; at least one of them is there.
#[derive(Debug, Default)]
pub struct Sessions {
    /// With the client.
    pub client: Option<Session>,
    /// With the target.
    pub upstream: Option<Session>,
}

/// Relays until the end, as [`conn::relay::both_ways`](crate::conn::relay::both_ways) does. `prefix` is
/// what was read of the client before the target was chosen, where TLS does not end here.
pub async fn both_ways(
    core: &Core,
    live: &Live,
    client: &Sock,
    upstream: Sock,
    sessions: Sessions,
    prefix: Box<[u8]>,
) -> Ending {
    live.holds(client.fd(), upstream.fd());
    live.touch(core);
    live.set(Live::TLS);
    let client_tls = sessions.client.map(RefCell::new);
    let upstream_tls = sessions.upstream.map(RefCell::new);
    let shared = Shared::of(live);
    let flow =
        Flow { core, live, shared: &shared, from: client, to: &upstream, source: Side::Client };
    let down =
        TlsFlow { flow: flow.reversed(), from: upstream_tls.as_ref(), to: client_tls.as_ref() };
    let up = TlsFlow { flow, from: client_tls.as_ref(), to: upstream_tls.as_ref() };
    let (up, down) = (pin!(up.pump(prefix)), pin!(down.pump(Box::default())));
    let end = until_end(live, up, down).await;
    let ending = wind_up(live, client, &upstream, end).await;
    if ending.side == Side::Client && ending.cause == Cause::Tls {
        // It was told by an alert: a reset at once would keep it from one that still sends.
        farewell(client, &[]).await;
    }
    ending
}

/// One direction.
struct TlsFlow<'a> {
    flow: Flow<'a>,
    /// The source's session, if it has one.
    from: Option<&'a RefCell<Session>>,
    /// The sink's.
    to: Option<&'a RefCell<Session>>,
}

/// What one look at the source gave.
enum Got {
    /// Nothing now.
    Nothing,
    /// So many bytes read; whether the socket is empty now.
    Some { read: usize, emptied: bool },
    /// The end of the stream, in order.
    End,
}

/// Whether the source's socket is empty when its direction rests.
enum Empty {
    /// Nobody has looked, or others had to have their turn.
    Perhaps,
    /// The last read emptied it.
    Now,
    /// The last read found nothing.
    Before,
}

/// What the sink has not taken yet.
enum Rest {
    Nothing,
    /// Plaintext.
    Plain(Box<[u8]>),
    /// Ciphertext, in the sink's session.
    Queued,
}

impl TlsFlow<'_> {
    /// Carries one direction to its end.
    async fn pump(&self, prefix: Box<[u8]>) -> Result<(), Fault> {
        let mut turn = 0;
        if !prefix.is_empty() {
            self.send_prefix(prefix).await?;
        }
        // Tickets that wait for the first data should not wait for long.
        let mut look = self.flow.source == Side::Client
            || self.from.is_some_and(|from| from.borrow().is_unopened());
        let mut waits = Waits::default();
        let mut empty = Empty::Perhaps;
        loop {
            if self.from.is_some_and(|from| from.borrow().has_ended()) {
                break;
            }
            if !look {
                match empty {
                    Empty::Perhaps => drop(self.flow.from.readable().await),
                    Empty::Now => waits.after_some(&self.flow).await,
                    Empty::Before => waits.after_nothing(&self.flow).await,
                }
            }
            let most = match self.turn(look) {
                None => usize::MAX,
                Some(turn) => turn.await,
            };
            let (got, rest) = self.round(most)?;
            match rest {
                Rest::Nothing => {}
                Rest::Plain(rest) => self.flow.send_rest(rest).await?,
                Rest::Queued => self.drain().await?,
            }
            match got {
                Got::Nothing => {
                    self.flow.settle(0);
                    look = false;
                    empty = Empty::Before;
                }
                Got::End => break,
                Got::Some { read, emptied } => {
                    look = !emptied;
                    empty = Empty::Now;
                    turn += read;
                    if turn >= limits::TURN_BYTES {
                        turn = 0;
                        look = false;
                        empty = Empty::Perhaps;
                    }
                }
            }
        }
        self.finish().await
    }

    /// How much may be read now, see [`Flow::turn`]; `look`: nobody has waited for it yet.
    fn turn(&self, look: bool) -> Option<Pin<Box<dyn Future<Output = usize> + '_>>> {
        // What the session holds already has been read: it is opened now.
        if self.from.is_some_and(|from| from.borrow().is_unopened()) {
            return None;
        }
        let turn = self.flow.turn(look)?;
        // A client that says nothing yet is not kept waiting for its tickets.
        if let Some(from) = self.from.filter(|_| look) {
            self.answer(&mut from.borrow_mut());
        }
        Some(turn)
    }

    /// One read, of `most` bytes at most, and one write of what it gave.
    fn round(&self, most: usize) -> Result<(Got, Rest), Fault> {
        match (self.from, self.to) {
            (Some(from), to) => self.open_round(from, to, most),
            (None, Some(to)) => self.seal_round(to, most),
            // Somebody called us without a session: there is nothing to relay.
            (None, None) => Ok((Got::End, Rest::Nothing)),
        }
    }

    /// Plaintext in, ciphertext out.
    fn seal_round(&self, to: &RefCell<Session>, most: usize) -> Result<(Got, Rest), Fault> {
        let mut buffer = self.flow.core.sealing.borrow_mut();
        let mut to = to.borrow_mut();
        let layout = to.layout();
        let mut room = 0;
        let received = {
            let mut slots = layout.slots(&mut buffer);
            let mut parts: [IoSliceMut<'_>; limits::SEAL_RECORDS] = std::array::from_fn(|_| {
                let slot = slots.next().unwrap_or_default();
                let (slot, _) = slot.split_at_mut(slot.len().min(most - room));
                room += slot.len();
                IoSliceMut::new(slot)
            });
            socket::recv_into(self.flow.from.fd(), &mut parts)
        };
        let read = match received {
            Ok(0) => return Ok((Got::End, Rest::Nothing)),
            Ok(n) => n,
            Err(error) if socket::would_block(&error) => return Ok((Got::Nothing, Rest::Nothing)),
            Err(error) => return Err(self.flow.source_failed(&error)),
        };
        self.flow.settle(read);
        let rest = self.seal_and_send(&mut to, &mut buffer, read)?;
        Ok((Got::Some { read, emptied: read < room }, rest))
    }

    /// Seals what stands in `buffer` and sends as much as the sink takes.
    fn seal_and_send(
        &self,
        to: &mut Session,
        buffer: &mut [u8],
        plain: usize,
    ) -> Result<Rest, Fault> {
        let sealed = to.seal(buffer, plain).map_err(|fault| self.session_failed(fault, false))?;
        let sealed = buffer.get(..sealed).unwrap_or_default();
        // Nothing may overtake what waits.
        let waiting = to.unsent();
        let sent = if waiting.is_empty() {
            socket::send(self.flow.to.fd(), sealed)
        } else {
            let both = [IoSlice::new(waiting), IoSlice::new(sealed)];
            socket::send_from(self.flow.to.fd(), &both)
        };
        let sent = match sent {
            Ok(sent) => sent,
            Err(error) if socket::would_block(&error) => 0,
            Err(error) => return Err(self.flow.sink_failed(&error)),
        };
        let before = to.unsent().len();
        to.sent(sent.min(before));
        to.queue(sealed.get(sent.saturating_sub(before)..).unwrap_or_default());
        self.flow.moved(plain);
        Ok(if to.unsent().is_empty() { Rest::Nothing } else { Rest::Queued })
    }

    /// Ciphertext in; plaintext, or other ciphertext, out.
    fn open_round(
        &self,
        from: &RefCell<Session>,
        to: Option<&RefCell<Session>>,
        most: usize,
    ) -> Result<(Got, Rest), Fault> {
        let core = self.flow.core;
        let mut scratch = core.scratch.borrow_mut();
        let mut from = from.borrow_mut();
        let unopened = from.is_unopened();
        let carried = from.restore(&mut scratch);
        let room = scratch.get_mut(carried..).unwrap_or_default();
        let space = room.len().min(most);
        let room = room.get_mut(..space).unwrap_or_default();
        let received = if unopened { None } else { Some(socket::recv(self.flow.from.fd(), room)) };
        let read = match received.unwrap_or(Ok(usize::MAX)) {
            Ok(usize::MAX) => 0,
            // Without close_notify, which ends the loop before it comes here. After a failed send
            // a reset looks like a FIN.
            Ok(0) => {
                let reset = self.flow.shared.is_dead(self.flow.source);
                let cause = if reset { Cause::Reset } else { Cause::Truncated };
                return Err(self.fault(self.flow.source, cause));
            }
            Ok(n) => n,
            Err(error) if socket::would_block(&error) => {
                from.carry(scratch.get(..carried).unwrap_or_default());
                // A client that says nothing yet is not kept waiting for its tickets.
                self.answer(&mut from);
                return Ok((Got::Nothing, Rest::Nothing));
            }
            Err(error) => return Err(self.flow.source_failed(&error)),
        };
        self.flow.settle(read);
        let bytes = scratch.get_mut(..carried + read).unwrap_or_default();
        let mut pieces = core.pieces.borrow_mut();
        pieces.clear();
        let opened = from.open(bytes, &mut pieces);
        let rest = match to {
            None => self.send_pieces(bytes, &pieces),
            Some(to) => self.reseal_pieces(bytes, &pieces, &mut to.borrow_mut()),
        };
        drop(scratch);
        let talk = match opened {
            Ok(talk) => talk,
            Err(fault) => {
                if let Some(alert) = fault.alert() {
                    from.complain(alert);
                }
                self.answer(&mut from);
                return Err(self.session_failed(fault, true));
            }
        };
        self.answer(&mut from);
        let got = if from.has_ended() {
            Got::End
        } else {
            Got::Some { read: read + talk * limits::TALK_BYTES, emptied: !unopened && read < space }
        };
        Ok((got, rest?))
    }

    /// Sends what the peer is owed, if its socket takes it now; otherwise it goes with the next data.
    fn answer(&self, from: &mut Session) {
        if from.unsent().is_empty() {
            return;
        }
        match socket::send(self.flow.from.fd(), from.unsent()) {
            Ok(sent) => from.sent(sent),
            Err(error) if socket::would_block(&error) => {}
            Err(_) => self.flow.shared.died(self.flow.source),
        }
    }

    /// Sends opened pieces as they stand.
    fn send_pieces(&self, bytes: &mut [u8], pieces: &[Range<usize>]) -> Result<Rest, Fault> {
        let mut joined = None;
        let total: usize = pieces.iter().map(ExactSizeIterator::len).sum();
        if total == 0 {
            return Ok(Rest::Nothing);
        }
        if pieces.len() > limits::PIECES_MAX {
            joined = Some(join(bytes, pieces));
        }
        let pieces = joined.as_ref().map_or(pieces, std::slice::from_ref);
        let sent = if let [one] = pieces {
            socket::send(self.flow.to.fd(), bytes.get(one.clone()).unwrap_or_default())
        } else {
            let mut parts = [IoSlice::new(&[]); limits::PIECES_MAX];
            for (part, piece) in parts.iter_mut().zip(pieces) {
                *part = IoSlice::new(bytes.get(piece.clone()).unwrap_or_default());
            }
            let parts = parts.get(..pieces.len()).unwrap_or_default();
            socket::send_from(self.flow.to.fd(), parts)
        };
        let sent = match sent {
            Ok(sent) => sent,
            Err(error) if socket::would_block(&error) => 0,
            Err(error) => return Err(self.flow.sink_failed(&error)),
        };
        self.flow.moved(sent);
        if sent == total {
            return Ok(Rest::Nothing);
        }
        let mut rest = Vec::with_capacity(total - sent);
        let mut skip = sent;
        for piece in pieces {
            let skipped = skip.min(piece.len());
            skip -= skipped;
            let start = piece.start + skipped;
            rest.extend_from_slice(bytes.get(start..piece.end).unwrap_or_default());
        }
        Ok(Rest::Plain(rest.into()))
    }

    /// Seals opened pieces for the other side, gathered into records as large as they may be.
    fn reseal_pieces(
        &self,
        bytes: &[u8],
        pieces: &[Range<usize>],
        to: &mut Session,
    ) -> Result<Rest, Fault> {
        let mut buffer = self.flow.core.sealing.borrow_mut();
        let mut plain = 0;
        {
            let layout = to.layout();
            let mut slots = layout.slots(&mut buffer);
            let mut slot: &mut [u8] = slots.next().unwrap_or_default();
            for piece in pieces {
                let mut piece = bytes.get(piece.clone()).unwrap_or_default();
                while !piece.is_empty() {
                    if slot.is_empty() {
                        match slots.next() {
                            Some(next) => slot = next,
                            // As much plaintext as the scratch buffer holds has room here.
                            None => break,
                        }
                    }
                    let n = piece.len().min(slot.len());
                    let (now, later) = piece.split_at(n);
                    let (place, left) = std::mem::take(&mut slot).split_at_mut(n);
                    place.copy_from_slice(now);
                    (piece, slot) = (later, left);
                    plain += n;
                }
            }
        }
        if plain == 0 { Ok(Rest::Nothing) } else { self.seal_and_send(to, &mut buffer, plain) }
    }

    /// Sends what was read before the relay began.
    async fn send_prefix(&self, prefix: Box<[u8]>) -> Result<(), Fault> {
        let Some(to) = self.to else {
            return match self.flow.send_now(prefix)? {
                Some(rest) => self.flow.send_rest(rest).await,
                None => Ok(()),
            };
        };
        self.flow.charge(prefix.len());
        let mut left: &[u8] = &prefix;
        while !left.is_empty() {
            let (now, later) = left.split_at(left.len().min(limits::SCRATCH_BYTES));
            left = later;
            let whole = 0..now.len();
            self.reseal_pieces(now, std::slice::from_ref(&whole), &mut to.borrow_mut())?;
            self.drain().await?;
        }
        Ok(())
    }

    /// Waits until the sink has taken all ciphertext that waits for it.
    async fn drain(&self) -> Result<(), Fault> {
        let Some(to) = self.to else { return Ok(()) };
        self.flow.live.stuck(true);
        while !to.borrow().unsent().is_empty() {
            let sent = socket::send(self.flow.to.fd(), to.borrow().unsent());
            match sent {
                Ok(sent) => {
                    to.borrow_mut().sent(sent);
                    self.flow.live.touch(self.flow.core);
                }
                Err(error) if socket::would_block(&error) => {
                    drop(self.flow.to.writable().await);
                }
                Err(error) => return Err(self.flow.sink_failed(&error)),
            }
        }
        self.flow.live.stuck(false);
        Ok(())
    }

    /// The source has ended: pass it on.
    async fn finish(&self) -> Result<(), Fault> {
        // What looks like a FIN after a failed send is none: close_notify would claim one.
        let in_order = self.from.is_some_and(|from| from.borrow().has_ended());
        if !in_order && self.flow.shared.is_dead(self.flow.source) {
            return Err(self.fault(self.flow.source, Cause::Reset));
        }
        if let Some(to) = self.to {
            to.borrow_mut().end();
            if let Err(fault) = self.drain().await
                && !self.flow.shared.has_one_ended()
            {
                return Err(fault);
            }
        }
        // close_notify has said it where the sink speaks TLS. A FIN behind it would be taken by many
        // for the end of both directions.
        if self.flow.ends() && self.to.is_none() {
            socket::finish_writing(self.flow.to.fd());
        }
        Ok(())
    }

    fn fault(&self, side: Side, cause: Cause) -> Fault {
        tracing::debug!(side = side.name(), cause = cause.name(), "a TLS side failed");
        Fault { side, cause, unread: false }
    }

    fn session_failed(&self, fault: session::Fault, of_source: bool) -> Fault {
        let side = match (self.flow.source, of_source) {
            (side, true) => side,
            (Side::Client, false) => Side::Upstream,
            (_, false) => Side::Client,
        };
        self.flow.live.note(&fault.to_string());
        self.fault(
            side,
            if matches!(fault, session::Fault::Alert(_)) { Cause::Alert } else { Cause::Tls },
        )
    }
}

/// Pushes the pieces together at the front.
fn join(bytes: &mut [u8], pieces: &[Range<usize>]) -> Range<usize> {
    let mut end = 0;
    for piece in pieces {
        // They stand in order and apart, so a piece only ever moves forward.
        bytes.copy_within(piece.clone(), end);
        end += piece.len();
    }
    0..end
}
