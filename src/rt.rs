//! The executor, the timers and the readiness engine: the only file that names monoio.
//!
//! Waiting is all that is asked of it. [`Sock::readable`] and [`Sock::writable`] are one-shot polls
//! in the ring (`IORING_OP_POLL_ADD`) that may be dropped at any time without losing a byte; the
//! bytes themselves move by direct non-blocking system calls in [`crate::io`]. monoio's own read,
//! write, accept, connect and splice operations are not used: they leak or lose on cancellation,
//! or park a kernel thread for each idle direction.

use std::any::Any;
use std::future::Future;
use std::io;
use std::os::fd::{AsRawFd, IntoRawFd, OwnedFd, RawFd};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use monoio::net::TcpStream;
use monoio::time::TimeDriver;
use monoio::{IoUringDriver, LegacyDriver, Runtime, RuntimeBuilder};

use crate::config::checked::IoUring;
use crate::config::limits;
use crate::io::system;

pub mod hot;

/// Which engine a core runs on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Engine {
    /// io_uring.
    Uring,
    /// epoll, where io_uring is missing and the configuration allows it.
    Epoll,
}

/// Chooses the engine for the whole process.
///
/// # Errors
/// Why io_uring cannot be used, when the configuration requires it.
pub fn choose(wanted: IoUring) -> io::Result<(Engine, Option<io::Error>)> {
    match (system::io_uring_works(), wanted) {
        (Ok(()), _) => Ok((Engine::Uring, None)),
        (Err(why), IoUring::Prefer) => Ok((Engine::Epoll, Some(why))),
        (Err(why), IoUring::Require) => Err(why),
    }
}

/// Runs `future` and everything it spawns on the calling thread until it ends.
///
/// The runtime is never dropped: monoio holds its pending operations in a cycle, and dropping it
/// while a panic unwinds would abort the process. A core lives as long as the process, or dies once.
///
/// # Errors
/// When the ring or the epoll set cannot be made.
pub fn block_on<T>(engine: Engine, future: impl Future<Output = T>) -> io::Result<T> {
    match engine {
        Engine::Uring => {
            let mut runtime = std::mem::ManuallyDrop::new(uring_runtime()?);
            Ok(runtime.block_on(future))
        }
        Engine::Epoll => {
            let builder = RuntimeBuilder::<LegacyDriver>::new().enable_timer();
            let mut runtime = std::mem::ManuallyDrop::new(builder.build()?);
            Ok(runtime.block_on(future))
        }
    }
}

/// The cheapest ring the kernel grants. Completions are collected when the core asks for them
/// (`DEFER_TASKRUN`): monoio's default lets each one interrupt the core, at two to three times the
/// CPU in request/response.
fn uring_runtime() -> io::Result<Runtime<TimeDriver<IoUringDriver>>> {
    let mut refused = None;
    for level in [2, 1, 0] {
        let mut ring = io_uring::IoUring::builder();
        ring.setup_cqsize(limits::RING_ENTRIES * 8).setup_clamp();
        match level {
            2 => ring.setup_single_issuer().setup_defer_taskrun(),
            1 => ring.setup_coop_taskrun(),
            _ => &mut ring,
        };
        let builder = RuntimeBuilder::<IoUringDriver>::new()
            .with_entries(limits::RING_ENTRIES)
            .uring_builder(ring)
            .enable_timer();
        match builder.build() {
            Ok(runtime) => return Ok(runtime),
            Err(error) => refused = Some(error),
        }
    }
    Err(refused.unwrap_or_else(|| io::ErrorKind::Unsupported.into()))
}

/// Starts a task of the core itself. If it panics the core dies, which its supervisor handles.
pub fn spawn(future: impl Future<Output = ()> + 'static) {
    drop(monoio::spawn(future));
}

/// Waits. Never shorter than asked; up to 2 ms longer.
pub async fn sleep(duration: Duration) {
    // Boxed: a timer is 384 bytes aligned to 128, and every connection would carry the room for
    // one that hardly any of them ever sets.
    Box::pin(monoio::time::sleep(duration)).await;
}

/// Waits for `future` at most this long; `None` when it took longer and was dropped.
pub async fn within<T>(limit: Duration, future: impl Future<Output = T>) -> Option<T> {
    Box::pin(monoio::time::timeout(limit, future)).await.ok()
}

/// A descriptor that can be waited for. Closes it when dropped, after its last operation ended, so
/// no operation ever meets a descriptor number that has been given to somebody else.
#[derive(Debug)]
pub struct Sock {
    inner: TcpStream,
}

impl Sock {
    /// Takes a non-blocking descriptor of any kind that can be polled. Call it on a core.
    ///
    /// # Errors
    /// When epoll refuses it; io_uring never does.
    pub fn new(fd: OwnedFd) -> io::Result<Self> {
        Ok(Self { inner: TcpStream::from_std(std::net::TcpStream::from(fd))? })
    }

    /// Waits until a read would not block: bytes, end of stream, or an error to fetch.
    ///
    /// Its error is one of the poll itself; the call that follows meets it again.
    pub fn readable(&self) -> impl Future<Output = io::Result<()>> {
        self.inner.readable(false)
    }

    /// Waits until a write would not block, or an error can be fetched.
    pub fn writable(&self) -> impl Future<Output = io::Result<()>> {
        self.inner.writable(false)
    }

    /// Gives the descriptor back without closing it. No wait on it may be pending or have been
    /// dropped unfinished.
    pub fn into_fd(self) -> RawFd {
        self.inner.into_raw_fd()
    }

    /// The descriptor's number.
    pub fn fd(&self) -> RawFd {
        self.inner.as_raw_fd()
    }
}

impl AsRawFd for Sock {
    fn as_raw_fd(&self) -> RawFd {
        self.fd()
    }
}

/// A future whose panic ends in a value instead of the thread.
#[derive(Debug)]
pub struct Caught<F> {
    inner: F,
}

/// Catches the panics of `future`.
pub fn catching<F: Future>(future: Pin<&mut F>) -> Caught<Pin<&mut F>> {
    Caught { inner: future }
}

impl<F: Future> Future for Caught<Pin<&mut F>> {
    type Output = Result<F::Output, Box<dyn Any + Send>>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        // After a panic the future is not polled again: the caller drops it.
        match catch_unwind(AssertUnwindSafe(|| self.inner.as_mut().poll(cx))) {
            Ok(poll) => poll.map(Ok),
            Err(panic) => Poll::Ready(Err(panic)),
        }
    }
}

/// What a panic said.
pub fn panic_text(panic: &(dyn Any + Send)) -> &str {
    if let Some(text) = panic.downcast_ref::<&str>() {
        text
    } else if let Some(text) = panic.downcast_ref::<String>() {
        text
    } else {
        "a panic without words"
    }
}

/// Lets other tasks run, and the ring and its timers be looked at, before going on.
pub async fn turn() {
    // Not a self-wake: monoio puts that in front of everybody else and never parks.
    sleep(Duration::ZERO).await;
}
