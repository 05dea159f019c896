//! Requests and answers of known size: rr, crr and idle, both sides.

use std::io::ErrorKind::WouldBlock;
use std::os::fd::AsFd;
use std::time::Instant;

use super::{Engine, Role, failed};
use crate::work::Mode;

impl Engine {
    /// Sends the next request.
    pub(super) fn ask(&mut self, index: usize) -> Result<(), String> {
        let slot = &mut self.slots[index];
        slot.serial = slot.serial.wrapping_add(1);
        slot.mark_out[..4].copy_from_slice(&(index as u32).to_le_bytes());
        slot.mark_out[4..].copy_from_slice(&(slot.generation ^ slot.serial << 24).to_le_bytes());
        // Where there is room for one byte only, it is this one.
        slot.mark_out[0] ^= slot.mark_out[4];
        (slot.got, slot.sent, slot.to_send) = (0, 0, self.work.request());
        if self.work.mode != Mode::Crr {
            slot.since = Instant::now();
        }
        self.push(index)
    }

    /// Sends what is left of a request or an answer.
    pub(super) fn push(&mut self, index: usize) -> Result<(), String> {
        let Self { slots, request, out, work, mark, .. } = self;
        let slot = &mut slots[index];
        let Some(fd) = &slot.fd else { return Ok(()) };
        if let Some(session) = &mut slot.session {
            session.flush(fd.as_fd()).map_err(failed("sending a message"))?;
        }
        if slot.sent == slot.to_send {
            return Ok(());
        }
        let (bytes, at) =
            if slot.role == Role::Asker { (request, work.mark_at()) } else { (out, 0) };
        bytes[at..at + *mark].copy_from_slice(&slot.mark_out[..*mark]);
        while slot.sent < slot.to_send {
            match slot.send(&bytes[slot.sent..slot.to_send]) {
                Ok(count) => slot.sent += count,
                Err(error) if error.kind() == WouldBlock => return Ok(()),
                Err(error) => return Err(failed("sending a message")(error)),
            }
        }
        if slot.role == Role::Answerer && work.mode == Mode::Crr {
            self.close(index);
        }
        Ok(())
    }

    /// Receives a request or an answer.
    pub(super) fn pull(&mut self, index: usize) -> Result<(), String> {
        loop {
            let Self { slots, scratch, wire, work, mark, .. } = self;
            let slot = &mut slots[index];
            if slot.fd.is_none() {
                return Ok(());
            }
            let count = match slot.recv(wire, scratch) {
                Ok(0) => return self.ended(index),
                Ok(count) => count,
                Err(error) if error.kind() == WouldBlock => return Ok(()),
                Err(error) => return Err(failed("receiving a message")(error)),
            };
            let asker = slot.role == Role::Asker;
            let expected = if asker { work.answer() } else { work.request() };
            let at = if asker { 0 } else { work.mark_at() };
            let (from, to) = (slot.got.max(at), (slot.got + count).min(at + *mark));
            if from < to {
                let part = &scratch[from - slot.got..to - slot.got];
                slot.mark_in[from - at..to - at].copy_from_slice(part);
            }
            slot.got += count;
            if slot.got > expected || slot.finished {
                return Err(format!("a message of {expected} bytes arrived as {}", slot.got));
            }
            let crr = work.mode == Mode::Crr;
            if slot.got == expected {
                match (asker, crr) {
                    (true, false) => self.answered(index)?,
                    (true, true) => {}
                    (false, _) => {
                        slot.mark_out = slot.mark_in;
                        (slot.got, slot.sent, slot.to_send) = (0, 0, work.answer());
                        self.push(index)?;
                    }
                }
            }
            // A short read has emptied the socket, but not one that was decrypted. Only a FIN may lie
            // behind it without an edge of its own, and only crr waits for one.
            let slot = &self.slots[index];
            if count < self.scratch.len() && !(crr && asker) && slot.session.is_none() {
                return Ok(());
            }
        }
    }

    fn answered(&mut self, index: usize) -> Result<(), String> {
        let slot = &mut self.slots[index];
        if slot.mark_in[..self.mark] != slot.mark_out[..self.mark] {
            return Err("an answer belongs to another request".into());
        }
        if self.work.mode == Mode::Crr {
            match slot.session.as_ref().and_then(|session| session.was_resumed()) {
                Some(true) => self.totals.resumed += 1,
                Some(false) => self.totals.full += 1,
                None => {}
            }
        }
        slot.done += 1;
        self.latency.record(u64::try_from(slot.since.elapsed().as_nanos()).unwrap_or(u64::MAX));
        self.totals.operations += 1;
        match self.work.mode {
            Mode::Rr if !self.stopping => return self.ask(index),
            Mode::Crr if !self.stopping => {
                self.close(index);
                self.asked_for += 1;
            }
            Mode::Idle if !self.stopping => slot.finished = true,
            _ => self.close(index),
        }
        Ok(())
    }

    /// A FIN has come: right only when nothing is outstanding.
    fn ended(&mut self, index: usize) -> Result<(), String> {
        let slot = &self.slots[index];
        if slot.role == Role::Answerer && slot.got == 0 && slot.sent == slot.to_send {
            self.close(index);
            return Ok(());
        }
        if slot.role == Role::Asker && self.work.mode == Mode::Crr && slot.got == self.work.answer()
        {
            return self.answered(index);
        }
        Err(format!("a connection ended after {} bytes of a message", slot.got))
    }
}
