//! Codes about Tyk's API definitions: 310 to 329.

use super::super::Code;
use super::super::Severity::Error;

codes! {
    NO_LISTEN_PORT "E310" Error "an API definition without a port"
        "The definition has no `listen_port`, or 0. A service of TCP or TLS has no other way to be reached."
        "\"listen_port\": 30001"
}
