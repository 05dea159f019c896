//! Codes about Kong's `stream_listen` and `TCPIngress`: 350 to 359.

use super::super::Code;
use super::super::Severity::Error;

codes! {
    BAD_STREAM_LISTEN "E350" Error "a bad `stream_listen`"
        "An entry does not follow the form `<ip>:<port> [flags]`, as Kong reads it."
        "0.0.0.0:9000, 0.0.0.0:9443 ssl"
}
