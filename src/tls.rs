//! TLS that ends here. rustls does the handshakes; the records of an established connection are
//! sealed and opened in place by [`record`], so that bulk is not copied and an idle connection
//! holds two keys and no buffer.
//!
//! What comes from files is read in one go by [`material`]: the server certificates ([`store`]),
//! whom to trust ([`trust`]). It is immutable; a change is another one.

pub mod handshake;
pub mod identity;
pub mod material;
mod pem;
pub mod problem;
pub mod provider;
pub mod record;
pub mod relay;
pub mod session;
pub mod store;
pub mod suites;
pub mod trust;

#[cfg(test)]
pub(crate) mod testing;
