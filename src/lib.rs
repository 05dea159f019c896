//! Thalweg: a TCP and TLS proxy for bare-metal Linux. This page is the map.
//!
//! # Two planes
//! ```text
//!            ┌─────────────── control: one ordinary thread (tokio) ───────────────┐
//!  signals ─▶│ config: load → check → Checked     control: listeners, cores,      │
//!  file    ─▶│ Kept + Checked → Snapshot                   reload, names, systemd │
//!            └──────┬──────────────────────┬──────────────────────▲───────────────┘
//!        ArcSwap<Snapshot>        Command (mailbox + eventfd)   Notice, counters
//!            ┌──────▼──────────────────────▼──────────────────────┴───────────────┐
//!  accept ──▶│ data: N pinned threads, one event loop each, no lock, no wait      │──▶ targets
//!            └──────────────────────────────────────┬─────────────────────────────┘
//!                                          batches of event lines ──▶ dispatcher ──▶ outputs
//! ```
//!
//! # The path of a connection
//! [`accept`] → [`conn::admit`] → [`conn::proxied`] → [`conn::open`] ([`conn::peek`], [`conn::route`], and
//! [`tls::handshake`] where TLS ends here) → [`conn::pick`] → [`conn::connect`] (several addresses: [`conn::race`]) → [`conn::relay`] or
//! [`tls::relay`] → [`conn::account`]; [`conn::serve`] is the story. Each step returns what the next
//! needs or an [`Ending`](conn::ending::Ending), and exactly one ending reaches the account.
//!
//! # Where things live
//! | room | what |
//! | --- | --- |
//! | [`cli`] | one file per command |
//! | [`control`] | the control thread: start and end ([`control::run`]), [`control::reload`], sockets ([`control::listeners`]), cores' lives ([`control::cores`]), names ([`control::resolve`]), lists of targets ([`control::discover`]), health of targets ([`control::health`]), watched files ([`control::watch`]), changes of services ([`control::services`]), where they are kept ([`control::state`]), what a change would do ([`control::plan`]), where events go ([`control::events`]), the admin API ([`control::admin`]), systemd |
//! | [`worker`], [`accept`] | a core; a listener on a core |
//! | [`conn`] | the path; what sources have and may have ([`conn::admit::sources`]), how fast bytes may go ([`conn::pace`]); the path without a connection ([`conn::dry`]) |
//! | [`wire`] | formats on the wire, no I/O: [`wire::client_hello`], [`wire::http_host`], [`wire::postgres`], [`wire::proxy_header`]; host names in one form ([`wire::name`]) |
//! | [`tls`] | handshakes by rustls ([`tls::handshake`]), records by ourselves ([`tls::record`], [`tls::relay`]), certificates ([`tls::store`]), whom to trust ([`tls::trust`]), all of it as read from files ([`tls::material`]) |
//! | [`config`] | file → document → [`checked`](config::checked) → [`snapshot`](config::snapshot); every bound in [`limits`](config::limits); sets of [`networks`](config::networks); where services are declared ([`sources`](config::sources)) |
//! | [`providers`] | what other systems' documents mean: Tyk, Sōzune and Docker, Kong, Kubernetes; each makes native services of them |
//! | [`io`] | the kernel: sockets, pipes, process. The only `unsafe` |
//! | [`rt`] | the only file that names monoio: spawn, wait for readiness, timers; readiness of busy streams ([`rt::hot`]) |
//! | [`diagnostics`] | codes of configuration faults; the reasons of endings are in [`conn::ending`] |
//! | [`metrics`] | what each core counts, of itself and of each service and target |
//!
//! # Invariants
//! - A core waits for nothing but its own sockets and timers. Files, names and logs are other threads' work.
//! - Bytes move by non-blocking system calls on descriptors that one task owns; the ring only says
//!   when. No operation that could touch bytes is ever in flight, so none can meet a reused descriptor.
//! - An idle connection holds no buffer and no pipe.
//! - Listening sockets belong to the control thread; cores borrow them by number.
//! - A change is applied only after everything in it that can fail has succeeded.
//!
//! # Words
//! *service*, *listener* (one socket set on an address, and the services that share it), *rule*, *pool*
//! (the targets of one rule), *target*, *snapshot*, *core*, *client* and *upstream* (the two sides;
//! directions *up* and *down*), *hello* (ClientHello), *prefix* (bytes read before the target was
//! chosen), *session* (an established TLS connection with one side), *ending*, *drain*.

#![deny(unsafe_code, unsafe_op_in_unsafe_fn, missing_docs)]
#![deny(
    clippy::undocumented_unsafe_blocks,
    clippy::await_holding_refcell_ref,
    clippy::large_futures,
    clippy::rc_mutex,
    clippy::todo,
    clippy::unimplemented,
    clippy::dbg_macro,
    clippy::print_stdout,
    clippy::print_stderr
)]
// Bytes and files come from strangers.
#![cfg_attr(
    not(test),
    deny(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::indexing_slicing,
        clippy::string_slice
    )
)]

pub mod cli;
pub mod config;
pub mod control;
pub mod diagnostics;
pub mod providers;

pub mod accept;
pub mod conn;
pub mod worker;

pub mod tls;
pub mod wire;

pub mod io;
pub mod metrics;
pub mod rt;
