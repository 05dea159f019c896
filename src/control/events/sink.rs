//! The cores' end: batches of lines, and what they are to have lines of.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::mpsc::SyncSender;

use super::{Output, OutputReport, Outputs, ToWriter};
use crate::config::checked::events::Events;
use crate::config::limits;

/// Events of one core not yet handed over.
#[derive(Debug, Default)]
pub struct EventBatch {
    /// Whole lines.
    pub lines: Vec<u8>,
    /// How many.
    pub count: u64,
}

impl EventBatch {
    /// Adds one line; true when the batch is due.
    pub fn add(&mut self, write: impl FnOnce(&mut Vec<u8>)) -> bool {
        write(&mut self.lines);
        self.count += 1;
        self.lines.len() >= limits::EVENT_BATCH_BYTES
    }
}

const ON: u32 = 1;
const OPEN: u32 = 2;
const WHOLE_SERVICE: u32 = 4;

/// What cores are to write, and where they put it.
#[derive(Debug)]
pub struct EventSink {
    /// Bits of [`ON`], [`OPEN`], …
    wanted: AtomicU32,
    /// Of periodic events, in ticks; 0: there are none.
    interval: AtomicU32,
    queue: SyncSender<ToWriter>,
    outputs: Arc<Outputs>,
    released: AtomicBool,
}

impl EventSink {
    /// Nothing is wanted yet.
    pub fn new(queue: SyncSender<ToWriter>) -> Self {
        Self {
            wanted: AtomicU32::new(0),
            interval: AtomicU32::new(0),
            queue,
            outputs: Arc::default(),
            released: AtomicBool::new(false),
        }
    }

    /// Whether events are written at all.
    pub fn is_on(&self) -> bool {
        self.wanted.load(Ordering::Relaxed) & ON != 0
    }

    /// Whether there is an event when a target was reached.
    pub fn wants_open(&self) -> bool {
        self.wanted.load(Ordering::Relaxed) & OPEN != 0
    }

    /// Whether events have the whole document of their service.
    pub fn wants_whole_service(&self) -> bool {
        self.wanted.load(Ordering::Relaxed) & WHOLE_SERVICE != 0
    }

    /// Ticks between two periodic events of a connection; 0: there are none.
    pub fn interval(&self) -> u32 {
        self.interval.load(Ordering::Relaxed)
    }

    /// Sets what is wanted from now on.
    pub(super) fn want(&self, events: Option<&Events>) {
        let (mut wanted, mut interval) = (0, 0);
        if let Some(Events { open, periodic, whole_service, .. }) = events {
            wanted = ON;
            wanted |= if *open { OPEN } else { 0 };
            wanted |= if *whole_service { WHOLE_SERVICE } else { 0 };
            let ticks = periodic.map(|it| it.as_millis().div_ceil(limits::TICK.as_millis()));
            interval = ticks.map_or(0, |ticks| u32::try_from(ticks).unwrap_or(u32::MAX));
        }
        self.interval.store(interval, Ordering::Relaxed);
        self.wanted.store(wanted, Ordering::Relaxed);
    }

    /// Hands a batch over; returns how many events were dropped because the queue was full.
    pub fn send(&self, batch: EventBatch) -> u64 {
        if batch.count == 0 {
            return 0;
        }
        let count = batch.count;
        if self.queue.try_send(ToWriter::Lines(batch)).is_ok() { 0 } else { count }
    }

    /// Nothing more will come. Waits for a place in the queue, which is soon: not for cores.
    pub fn end(&self) {
        let _ = self.queue.send(ToWriter::End);
    }

    /// The files of outputs may have been renamed: they are opened again.
    pub fn reopen(&self) {
        self.outputs.load().iter().for_each(|output| output.reopen());
    }

    /// The process has said `ready`: outputs may begin.
    pub fn release(&self) {
        self.released.store(true, Ordering::Relaxed);
        self.outputs.load().iter().for_each(|output| output.release());
    }

    pub(super) fn is_released(&self) -> bool {
        self.released.load(Ordering::Relaxed)
    }

    pub(super) fn outputs(&self) -> &Arc<Outputs> {
        &self.outputs
    }

    /// What each output has done, in the order of the configuration.
    pub fn reports(&self) -> Vec<OutputReport> {
        self.outputs.load().iter().map(|output: &Arc<Output>| output.report()).collect()
    }
}
