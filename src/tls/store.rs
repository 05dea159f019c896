//! The server certificates and which of them a name gets.
