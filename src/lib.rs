//! Thalweg: a TCP and TLS proxy.

pub mod cli;
pub mod config;
pub mod diagnostics;
