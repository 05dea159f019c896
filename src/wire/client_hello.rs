//! The ClientHello, read incrementally.
