//! The handshakes, client side and server side, driven over readiness.
