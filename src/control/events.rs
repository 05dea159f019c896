//! Events on their way from the cores to where they go. A dispatcher thread takes the cores' batches
//! and hands each to every [`Output`], which writes at its own pace.
//!
//! ```text
//!  cores ── EVENT_BATCHES_MAX batches ──▶ dispatcher ──┬── EVENT_QUEUE_BYTES_MAX ──▶ file (a thread)
//!                                         never waits  ├── EVENT_QUEUE_BYTES_MAX ──▶ datagram (a thread)
//!                                                      └── EVENT_QUEUE_BYTES_MAX ──▶ http (a task)
//! ```
//!
//! # Invariants
//! - A batch is whole lines, and a line is one event: what counts events counts newlines.
//! - Nobody waits for an output: what does not fit in its queue is dropped and counted, the new before
//!   the old.
//! - What is written is written in order; a failure holds an output up, and its queue is why a short
//!   one costs nothing.

use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;

use crate::config::checked::events::{Events, Output as Spec};
use crate::config::limits;
use crate::control::http::EndpointTls;
use crate::control::resolve::lookup::Lookups;
use crate::tls::material::Material;
use crate::tls::problem::Problem;

mod datagram;
mod file;
mod http;
mod output;
mod pen;
mod sink;

pub use output::{Output, OutputReport};
pub use sink::{EventBatch, EventSink};

/// What the dispatcher is given.
#[derive(Debug)]
pub enum ToWriter {
    /// Lines to write.
    Lines(EventBatch),
    /// Nothing more will come.
    End,
}

/// Starts the dispatcher, which has no outputs yet.
///
/// # Errors
/// When the thread cannot be made.
pub fn start() -> io::Result<(EventSink, JoinHandle<()>)> {
    let (queue, inbox) = sync_channel(limits::EVENT_BATCHES_MAX);
    let sink = EventSink::new(queue);
    let outputs = Arc::clone(sink.outputs());
    let thread = std::thread::Builder::new().name("thalweg-events".into()).spawn(move || {
        crate::io::system::block_signals();
        dispatch(&inbox, &outputs);
    })?;
    Ok((sink, thread))
}

/// The outputs in use.
type Outputs = ArcSwap<Vec<Arc<Output>>>;

fn dispatch(inbox: &Receiver<ToWriter>, outputs: &Outputs) {
    while let Ok(ToWriter::Lines(batch)) = inbox.recv() {
        let batch = Arc::new(batch);
        for output in outputs.load().iter() {
            output.push(&batch);
        }
    }
    let deadline = Instant::now() + limits::EVENT_FLUSH_AT_END;
    let outputs = outputs.load();
    outputs.iter().for_each(|output| output.end(deadline));
    // Some grace, for one that is about to say that it could not.
    let deadline = deadline + Duration::from_millis(200);
    for output in outputs.iter() {
        output.wait_for_end(deadline);
    }
}

/// The outputs of a configuration; everything that can fail has not failed.
#[derive(Debug)]
pub struct Prepared {
    outputs: Vec<(Spec, EndpointTls)>,
    wanted: Option<Events>,
}

/// Why events cannot be written as they should.
#[derive(Debug)]
pub enum Failure {
    /// A file cannot be opened.
    File(std::path::PathBuf, io::Error),
    /// TLS with an endpoint cannot be set up.
    Tls(Problem),
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::File(path, error) => {
                write!(f, "cannot write events to {}: {error}", path.display())
            }
            Self::Tls(problem) => problem.fmt(f),
        }
    }
}

/// Does what can fail of a change.
///
/// # Errors
/// A file cannot be opened, or TLS cannot be set up.
pub fn prepare(wanted: Option<&Events>, material: &Material) -> Result<Prepared, Failure> {
    let mut outputs = Vec::new();
    for spec in wanted.iter().flat_map(|events| &events.outputs) {
        let mut tls = None;
        match spec {
            Spec::File(to) => {
                let open = file::open(&to.path);
                open.map_err(|error| Failure::File(to.path.clone(), error))?;
            }
            Spec::Http(to) => {
                let made = to.tls.as_ref().map(|tls| material.client_config(tls)).transpose();
                tls = made.map_err(Failure::Tls)?;
            }
            Spec::Stdout | Spec::Datagram(_) => {}
        }
        outputs.push((spec.clone(), tls));
    }
    Ok(Prepared { outputs, wanted: wanted.cloned() })
}

/// Makes what was prepared what is used. Outputs that stay go on as they are; those that go write what
/// they have. On the control thread.
pub fn serve(sink: &EventSink, prepared: Prepared, lookups: &Arc<Lookups>) {
    let Prepared { outputs: wanted, wanted: events } = prepared;
    let before = sink.outputs().load_full();
    let mut outputs = Vec::with_capacity(wanted.len());
    for (spec, tls) in wanted {
        if let Some(known) = before.iter().find(|output| *output.spec() == spec) {
            known.set_tls(tls);
            outputs.push(Arc::clone(known));
            continue;
        }
        let output = Arc::new(Output::new(spec, tls, !sink.is_released()));
        match run(&output, lookups) {
            Ok(()) => outputs.push(output),
            Err(error) => tracing::error!(%error, output = %output.spec(), "events: not written"),
        }
    }
    let outputs = Arc::new(outputs);
    sink.outputs().store(Arc::clone(&outputs));
    sink.want(events.as_ref());
    let deadline = Instant::now() + limits::EVENT_FLUSH_AT_END;
    for gone in before.iter().filter(|output| !outputs.iter().any(|it| Arc::ptr_eq(it, output))) {
        gone.end(deadline);
    }
}

/// Starts an output.
fn run(output: &Arc<Output>, lookups: &Arc<Lookups>) -> io::Result<()> {
    match output.spec().clone() {
        Spec::File(to) => write(output, file::Writer::new(to)),
        Spec::Stdout => write(output, file::Stdout::new()?),
        Spec::Datagram(path) => write(output, datagram::Writer::new(path)?),
        Spec::Http(to) => {
            tokio::spawn(http::run(Arc::clone(output), *to, Arc::clone(lookups)));
            Ok(())
        }
    }
}

fn write(output: &Arc<Output>, pen: impl pen::Pen + Send + 'static) -> io::Result<()> {
    let output = Arc::clone(output);
    let run = move || {
        crate::io::system::block_signals();
        pen::keep_writing(&output, pen);
    };
    std::thread::Builder::new().name("thalweg-event".into()).spawn(run).map(drop)
}
