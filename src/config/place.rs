//! A place in the configuration, as `services[2].rules[0].targets[1].port`. Places are chains of
//! borrowed steps, so that naming one costs nothing until a finding is made there.

use std::fmt;

/// A place, seen from its innermost step.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Place<'a> {
    /// The whole file.
    Root,
    /// A member of the object at the outer place.
    Key(&'a Place<'a>, &'a str),
    /// An element of the array at the outer place.
    Index(&'a Place<'a>, usize),
}

impl Place<'_> {
    /// A member of the object here.
    pub(crate) fn key<'a>(&'a self, key: &'a str) -> Place<'a> {
        Place::Key(self, key)
    }

    /// An element of the array here.
    pub(crate) fn index(&self, index: usize) -> Place<'_> {
        Place::Index(self, index)
    }
}

impl fmt::Display for Place<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Root => Ok(()),
            Self::Key(Self::Root, key) => f.write_str(key),
            Self::Key(outer, key) => write!(f, "{outer}.{key}"),
            Self::Index(outer, index) => write!(f, "{outer}[{index}]"),
        }
    }
}
