//! Bytes without end in one direction, both sides.

use std::io::ErrorKind::WouldBlock;
use std::os::fd::AsFd;

use super::{CHUNK, Engine, GULP, failed};
use crate::sys;

impl Engine {
    /// A bulk source: one chunk for each event.
    pub(super) fn pour(&mut self, index: usize, writable: bool, input: bool) -> Result<(), String> {
        let slot = &mut self.slots[index];
        let Some(fd) = &slot.fd else { return Ok(()) };
        if input {
            match sys::recv(fd.as_fd(), &mut self.scratch) {
                Ok(0) if slot.finished => {
                    self.close(index);
                    return Ok(());
                }
                Ok(0) => return Err("a connection ended while it was sending".into()),
                Ok(count) => return Err(format!("{count} bytes came back from a sink")),
                Err(error) if error.kind() == WouldBlock => {}
                Err(error) => return Err(failed("sending bulk data")(error)),
            }
        }
        if writable && !slot.finished {
            match sys::send(fd.as_fd(), &self.out[..CHUNK]) {
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
        let Some(fd) = &slot.fd else { return Ok(()) };
        sys::shutdown_write(fd.as_fd()).map_err(failed("ending bulk data"))?;
        slot.finished = true;
        self.watch(index, sys::IN)
    }

    /// A bulk sink: one gulp for each event.
    pub(super) fn drain(&mut self, index: usize) -> Result<(), String> {
        let slot = &mut self.slots[index];
        let Some(fd) = &slot.fd else { return Ok(()) };
        match sys::discard(fd.as_fd(), GULP) {
            Ok(0) if self.stopping || self.target.is_none() => self.close(index),
            Ok(0) => return Err("a connection ended while it was receiving".into()),
            Ok(count) => {
                slot.done += count as u64;
                self.totals.received += count as u64;
            }
            Err(error) if error.kind() == WouldBlock => {}
            Err(error) => return Err(failed("receiving bulk data")(error)),
        }
        Ok(())
    }
}
