//! Which versions and suites of TLS are spoken.

/// A version of TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TlsVersion {
    /// 1.2.
    V12,
    /// 1.3.
    V13,
}

impl TlsVersion {
    /// As in `tlsMinVersion`.
    pub fn name(self) -> &'static str {
        match self {
            Self::V12 => "1.2",
            Self::V13 => "1.3",
        }
    }
}

/// `tlsMinVersion`, `tlsMaxVersion` and `cipherSuites`, of a service or a target.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Crypto {
    /// The lowest version; not above `max`.
    pub min: TlsVersion,
    /// The highest version.
    pub max: TlsVersion,
    /// IANA numbers of the suites of those versions of which any is here; the other versions, and all
    /// if it is empty, have every suite that there is.
    pub suites: Vec<u16>,
}

impl Default for Crypto {
    fn default() -> Self {
        Self { min: TlsVersion::V12, max: TlsVersion::V13, suites: Vec::new() }
    }
}

impl Crypto {
    /// Whether the version is spoken.
    pub fn speaks(&self, version: TlsVersion) -> bool {
        (self.min..=self.max).contains(&version)
    }
}
