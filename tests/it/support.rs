//! What every test stands on: a proxy, scripted peers, backends, and the patience to wait for a
//! condition.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

pub mod admin;
pub mod api;
pub mod backend;
pub mod certs;
pub mod config;
pub mod data;
pub mod dns;
pub mod dockerd;
pub mod events;
pub mod hole;
pub mod http;
pub mod peer;
pub mod ports;
pub mod process;
pub mod proxy;
pub mod registry;
pub mod tls;
pub mod wait;

/// Held by a test that keeps all cores busy or floods the machine with connections, so that such
/// tests run one after another while the light ones go on beside them.
pub fn heavy() -> MutexGuard<'static, ()> {
    static HEAVY: Mutex<()> = Mutex::new(());
    // A test that failed while it held the lock has said so itself.
    HEAVY.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Tells the threads of a test to stop; also when the test fails while they run.
#[derive(Default)]
pub struct Stop(AtomicBool);

impl Stop {
    pub fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// Sets the sign when what this returns is dropped.
    pub fn at_end(&self) -> StopAtEnd<'_> {
        StopAtEnd(self)
    }
}

pub struct StopAtEnd<'a>(&'a Stop);

impl Drop for StopAtEnd<'_> {
    fn drop(&mut self) {
        self.0.0.store(true, Ordering::Relaxed);
    }
}
