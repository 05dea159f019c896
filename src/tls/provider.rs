//! The cryptography, chosen in one place. Nothing is installed as the process' default, so code that
//! forgets to say which fails its tests instead of picking one.

use std::sync::{Arc, LazyLock};

use rustls::crypto::aws_lc_rs::{self, kx_group};
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms};

/// aws-lc-rs with rustls' suites for TLS 1.3 and 1.2 (AEAD and forward secrecy only).
///
/// The order of the key exchange groups is that of what a *client* offers: to targets we send an
/// X25519 share, which every server takes without another round trip, in a hello of one packet.
/// A *server* in rustls follows the client's order among the groups both have. Clients that put the
/// hybrid X25519MLKEM768 first also send its share (browsers, Go, OpenSSL 3.5) and get it without
/// another round trip; clients that have it further down get what they put before it. Only one that
/// puts it first and sends no share for it is asked again, which is what it prefers by its own order.
static PROVIDER: LazyLock<Arc<CryptoProvider>> = LazyLock::new(|| {
    Arc::new(CryptoProvider {
        kx_groups: vec![
            kx_group::X25519,
            kx_group::SECP256R1,
            kx_group::SECP384R1,
            kx_group::X25519MLKEM768,
        ],
        ..aws_lc_rs::default_provider()
    })
});

/// The one provider of the process.
pub fn provider() -> Arc<CryptoProvider> {
    Arc::clone(&PROVIDER)
}

/// How signatures are verified.
pub(super) fn algorithms() -> WebPkiSupportedAlgorithms {
    PROVIDER.signature_verification_algorithms
}
