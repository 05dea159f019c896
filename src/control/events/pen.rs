//! The thread of an output on this machine: batch after batch, and the same again after a failure.

use std::io;
use std::sync::Arc;

use super::output::{Next, Output};
use crate::config::limits;

/// What writes lines somewhere.
pub(super) trait Pen {
    /// Writes what it can of these lines.
    fn write(&mut self, lines: &[u8], output: &Output) -> Wrote;

    /// What it writes to may have been replaced.
    fn reopen(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What became of lines.
#[derive(Debug)]
pub(super) struct Wrote {
    /// Bytes that need not be written again.
    pub(super) bytes: usize,
    /// How many of the events in them were given up.
    pub(super) given_up: u64,
    /// Why it was not all of them.
    pub(super) failure: Option<io::Error>,
}

/// Writes until the end.
pub(super) fn keep_writing(output: &Arc<Output>, mut pen: impl Pen) {
    loop {
        match output.next() {
            Next::Batch(batch) => {
                if !write(output, &mut pen, &batch.lines) {
                    break;
                }
            }
            Next::Reopen => reopen(output, &mut pen),
            Next::Nothing => {}
            Next::End => break,
        }
    }
    output.ended();
}

/// Writes one batch whole; false: the end came first.
fn write(output: &Output, pen: &mut impl Pen, lines: &[u8]) -> bool {
    let mut left = lines;
    let mut pause = limits::EVENT_RETRY_FIRST;
    loop {
        let Wrote { bytes, given_up, failure } = pen.write(left, output);
        let (done, rest) = left.split_at(bytes.min(left.len()));
        output.wrote(events(done).saturating_sub(given_up));
        left = rest;
        let Some(failure) = failure else {
            output.works();
            return true;
        };
        output.fails(&failure.to_string());
        if !output.pause(pause) {
            output.lost(events(left));
            return false;
        }
        pause = (pause * 2).min(limits::EVENT_RETRY_HERE_MAX);
        if output.takes_reopen() {
            reopen(output, pen);
        }
    }
}

fn reopen(output: &Output, pen: &mut impl Pen) {
    if let Err(error) = pen.reopen() {
        output.fails(&error.to_string());
    }
}

/// How many lines end in these bytes.
pub(super) fn events(lines: &[u8]) -> u64 {
    lines.iter().filter(|byte| **byte == b'\n').count() as u64
}
