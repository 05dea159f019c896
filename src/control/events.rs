//! The writer of events: one thread that appends whole batches to a file, so that a slow disk slows
//! nothing else. Fed through a bounded queue by the cores.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;

use crate::config::limits;

/// What the writer is given.
#[derive(Debug)]
pub enum ToWriter {
    /// Whole lines to append.
    Lines(Vec<u8>),
    /// Write here from now on; `None`: nowhere.
    Use(Option<PathBuf>),
    /// The file may have been renamed: open it again.
    Reopen,
    /// Nothing more will come.
    End,
}

/// Starts the writer. The file is opened by [`ToWriter::Use`].
///
/// # Errors
/// When the thread cannot be made.
pub fn start() -> io::Result<(SyncSender<ToWriter>, JoinHandle<()>)> {
    let (queue, inbox) = sync_channel(limits::EVENT_BATCHES_MAX);
    let thread = std::thread::Builder::new().name("thalweg-events".into()).spawn(move || {
        crate::io::system::block_signals();
        write(&inbox);
    })?;
    Ok((queue, thread))
}

/// Opens an event file for appending.
///
/// # Errors
/// Those of open(2).
pub fn open(path: &Path) -> io::Result<File> {
    // A FIFO that nobody reads must fail, not hold up the one who opens it.
    OpenOptions::new().append(true).create(true).custom_flags(libc::O_NONBLOCK).open(path)
}

fn write(inbox: &Receiver<ToWriter>) {
    let mut path: Option<PathBuf> = None;
    let mut file: Option<File> = None;
    let mut failing = false;
    while let Ok(message) = inbox.recv() {
        match message {
            ToWriter::Lines(lines) => {
                if file.is_none() {
                    file = path.as_deref().and_then(|path| open(path).ok());
                }
                let Some(out) = &mut file else { continue };
                // One line a change of state, not one an event.
                // After a failure the file may end in half a line.
                let start: &[u8] = if failing { b"\n" } else { b"" };
                match out.write_all(start).and_then(|()| out.write_all(&lines)) {
                    Ok(()) if failing => {
                        failing = false;
                        tracing::info!("events are written again");
                    }
                    Ok(()) => {}
                    Err(error) if !failing => {
                        failing = true;
                        tracing::error!(%error, "events cannot be written and are lost");
                    }
                    Err(_) => {}
                }
            }
            ToWriter::Use(new) => {
                if new != path {
                    path = new;
                    file = reopen(path.as_deref());
                }
            }
            ToWriter::Reopen => file = reopen(path.as_deref()),
            ToWriter::End => return,
        }
    }
}

fn reopen(path: Option<&Path>) -> Option<File> {
    let path = path?;
    match open(path) {
        Ok(file) => Some(file),
        Err(error) => {
            tracing::error!(%error, path = %path.display(), "the events file cannot be opened");
            None
        }
    }
}
