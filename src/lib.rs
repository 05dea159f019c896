//! Thalweg: a TCP and TLS proxy for bare-metal Linux.
pub mod accept;
pub mod cli;
pub mod config;
pub mod conn;
pub mod control;
pub mod diagnostics;
pub mod io;
pub mod metrics;
pub mod rt;
pub mod worker;
