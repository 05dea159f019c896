//! Members that other systems' documents need and a user may write as well: certificates by name,
//! targets that refuse, tiers of targets, checks of a target's own.

mod certificates;
mod targets;
mod trust;
