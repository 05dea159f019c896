//! Codes of Sōzune, with their meaning there: 0xx; and about its listeners and labels, and Docker: 330 to 349.

use super::super::Code;
use super::super::Severity::Error;

codes! {
    NO_ENTRYPOINT "E005" Error "a service without an entrypoint"
        "A label names a service of TCP, but no label says which listener it attaches to: `PREFIX.tcp.SERVICE.entrypoint`. The route is dropped, others go on."
        "sozune.tcp.db.entrypoint=postgres"
}
