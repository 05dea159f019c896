//! The relay where at least one side speaks TLS with us.
