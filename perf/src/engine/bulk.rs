//! Bytes without end in one direction, both sides.

use std::io::ErrorKind::{UnexpectedEof, WouldBlock};
use std::os::fd::AsFd;

use super::{CHUNK, Engine, GULP, failed};
use crate::sys;

impl Engine {
    /// A bulk source: one chunk for each event.
    pub(super) fn pour(&mut self, index: usize, writable: bool, input: bool) -> Result<(), String> {
        let slot = &mut self.slots[index];
        if slot.fd.is_none() {
            return Ok(());
        }
        if input {
            match slot.recv(&mut self.wire, &mut self.scratch) {
                Ok(0) if slot.finished => {
                    self.close(index);
                    return Ok(());
                }
                // Who has been told that no more comes need not announce an end of its own.
                Err(error) if slot.finished && error.kind() == UnexpectedEof => {
                    self.close(index);
                    return Ok(());
                }
                Ok(0) => return Err("a connection ended while it was sending".into()),
                Ok(count) => return Err(format!("{count} bytes came back from a sink")),
                Err(error) if error.kind() == WouldBlock => {}
                Err(error) => return Err(failed("sending bulk data")(error)),
            }
        }
        if writable && slot.finished {
            return self.shut(index);
        }
        if writable {
            match slot.send(&self.out[..CHUNK]) {
                Ok(count) => {
                    slot.done += count as u64;
                    self.totals.sent += count as u64;
                }
                Err(error) if error.kind() == WouldBlock => {}
                Err(error) => return Err(failed("sending bulk data")(error)),
            }
        }
        Ok(())
    }

    pub(super) fn finish_source(&mut self, index: usize) -> Result<(), String> {
        let slot = &mut self.slots[index];
        if slot.finished {
            return Ok(());
        }
        slot.finished = true;
        if let Some(session) = &mut slot.session {
            session.announce_end();
        }
        self.shut(index)
    }

    /// Ends a source, as soon as the kernel has taken all that was encrypted.
    fn shut(&mut self, index: usize) -> Result<(), String> {
        let slot = &mut self.slots[index];
        let Some(fd) = &slot.fd else { return Ok(()) };
        if let Some(session) = &mut slot.session
            && !session.flush(fd.as_fd()).map_err(failed("ending bulk data"))?
        {
            return Ok(());
        }
        sys::shutdown_write(fd.as_fd()).map_err(failed("ending bulk data"))?;
        self.watch(index, sys::IN)
    }

    /// A bulk sink: one gulp for each event.
    pub(super) fn drain(&mut self, index: usize) -> Result<(), String> {
        let slot = &mut self.slots[index];
        let Some(fd) = &slot.fd else { return Ok(()) };
        let taken = if slot.session.is_some() {
            slot.recv(&mut self.wire, &mut self.scratch)
        } else {
            sys::discard(fd.as_fd(), GULP)
        };
        // The announcement of an end may come with the last bytes, and nothing, not even a FIN, behind it.
        let ended = slot.session.as_ref().is_some_and(|session| session.has_ended());
        match taken {
            Ok(0) if self.stopping || self.target.is_none() => self.close(index),
            Ok(0) => return Err("a connection ended while it was receiving".into()),
            Ok(count) => {
                slot.done += count as u64;
                self.totals.received += count as u64;
                if ended {
                    return self.drain(index);
                }
            }
            Err(error) if error.kind() == WouldBlock => {}
            Err(error) => return Err(failed("receiving bulk data")(error)),
        }
        Ok(())
    }
}
