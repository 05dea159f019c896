//! Kong's `stream_listen`.
