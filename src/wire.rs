//! Formats on the wire: what strangers send first. No I/O, no clock, bounded memory; every function
//! here is fuzzed.

pub mod client_hello;
pub mod http_host;
pub mod name;
pub mod postgres;
