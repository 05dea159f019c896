//! TLS that ends here. rustls does the handshakes; the records of an established connection are
//! sealed and opened in place by [`record`], so that bulk is not copied and an idle connection
//! holds two keys and no buffer.

pub mod handshake;
pub mod identity;
pub mod material;
pub mod record;
pub mod relay;
pub mod session;
pub mod store;
pub mod trust;
