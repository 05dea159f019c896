//! PEM that is in a file, or in the configuration itself.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Where a PEM text is.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Pem {
    /// In this file; an absolute path.
    File(PathBuf),
    /// In the configuration.
    Inline(Inline),
}

/// A PEM text. It may be a private key, so nothing prints it.
#[derive(Clone)]
pub struct Inline {
    /// What people call it in findings; says nothing of what it is.
    place: Arc<Path>,
    text: Arc<str>,
}

impl Pem {
    /// A text of the configuration, with what to call it in findings.
    pub fn inline(place: impl AsRef<Path>, text: &str) -> Self {
        Self::Inline(Inline { place: Arc::from(place.as_ref()), text: Arc::from(text) })
    }

    /// What people know it by: the file, or the place in the configuration.
    pub fn place(&self) -> &Path {
        match self {
            Self::File(path) => path,
            Self::Inline(inline) => &inline.place,
        }
    }

    /// The file, if it is in one.
    pub fn file(&self) -> Option<&Path> {
        match self {
            Self::File(path) => Some(path),
            Self::Inline(_) => None,
        }
    }
}

impl From<PathBuf> for Pem {
    fn from(path: PathBuf) -> Self {
        Self::File(path)
    }
}

impl Inline {
    /// The text itself.
    pub fn text(&self) -> &str {
        &self.text
    }
}

// The same text is the same wherever it stands.
impl PartialEq for Inline {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for Inline {}

impl Hash for Inline {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.text.hash(state);
    }
}

impl fmt::Debug for Inline {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Inline")
    }
}

/// A certificate chain and its private key, both PEM; they may be the same text.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct KeyPair {
    /// The chain, leaf first.
    pub cert: Pem,
    /// PKCS#8, PKCS#1 or SEC1.
    pub key: Pem,
}

impl KeyPair {
    /// Two files. Absolute paths.
    pub fn files(cert: impl Into<PathBuf>, key: impl Into<PathBuf>) -> Self {
        Self { cert: Pem::File(cert.into()), key: Pem::File(key.into()) }
    }

    /// The files that it is in.
    pub fn paths(&self) -> impl Iterator<Item = &Path> {
        [&self.cert, &self.key].into_iter().filter_map(Pem::file)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_prints_what_is_inline() {
        let pem = Pem::inline("certificates[0].keyPem", "-----BEGIN PRIVATE KEY-----");
        let pair = KeyPair { cert: pem.clone(), key: pem.clone() };
        assert!(!format!("{pair:?}").contains("BEGIN"));
        assert_eq!(pem, Pem::inline("elsewhere", "-----BEGIN PRIVATE KEY-----"));
        assert_eq!(pair.paths().count(), 0);
    }
}
