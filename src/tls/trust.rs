//! Whom to trust: client certificates, and the certificates of targets.
