//! The host of an HTTP/1.x request head.
