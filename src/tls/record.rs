//! TLS records (RFC 8446 §5, RFC 5246 §6.2), sealed and opened in place.
