//! The whole program under test: the real binary, started as a user starts it, between scripted
//! peers and real programs. One test binary, one module for each promise.
//!
//! Every test opens with its goal and method, has its own proxy, its own directory and its own
//! ports, waits for conditions and never for time, and ends with the same verdict:
//! [`support::proxy::Proxy::finish`]. That verdict finds more than the test itself does: one event
//! for each connection with the right reason and the right byte counts, no descriptor left, no
//! memory grown, nothing in the log, and a canary that still sings.
//!
//! `scripts/test` installs the programs that some tests need.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::pedantic,
    clippy::print_stderr,
    clippy::unwrap_used,
    clippy::restriction,
    missing_debug_implementations,
    missing_docs,
    unreachable_pub,
    unsafe_code,
    reason = "a test that fails says so by panicking; the harness sits on raw sockets and signals"
)]

mod support;

mod admin;
mod admission;
mod balancing;
mod churn;
mod cli;
#[cfg(feature = "kubernetes")]
mod cluster;
mod commands;
mod dashboard;
mod discovery;
mod docker;
mod events;
mod gateway;
mod health;
mod kong;
mod lifecycle;
mod limits;
mod metrics;
mod names;
mod native;
mod panics;
mod plan;
mod programs;
mod proxy_protocol;
mod readme;
mod relay;
mod reload;
mod route;
mod services;
mod sozune;
mod timeouts;
mod tls;
mod tls_programs;
mod top;
mod tyk;
mod upstream;
