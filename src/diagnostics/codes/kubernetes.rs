//! Codes about Kubernetes: 360 to 389.

use super::super::Code;
use super::super::Severity::Warn;

codes! {
    UNKNOWN_KIND "W360" Warn "an object of a kind that is not used"
        "The manifest is of a kind that means nothing here. It is passed over."
        "See the list of kinds in README."
}
