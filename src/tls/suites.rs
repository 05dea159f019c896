//! The versions and suites of TLS that there are, by the names that people know, and a selection of
//! them as rustls takes it.

use std::sync::{Arc, LazyLock};

use rustls::crypto::CryptoProvider;
use rustls::version::{TLS12, TLS13};
use rustls::{SupportedCipherSuite, SupportedProtocolVersion};

use super::provider::provider;
use crate::config::checked::{Crypto, TlsVersion};

/// A cipher suite.
#[derive(Debug, Clone)]
pub struct Suite {
    /// The name in IANA's registry.
    pub name: String,
    /// The number there.
    pub number: u16,
    /// The version that it is for.
    pub version: TlsVersion,
}

static SUITES: LazyLock<Vec<Suite>> = LazyLock::new(|| {
    let suite = |suite: &SupportedCipherSuite| {
        // As rustls calls it; its names of TLS 1.3 say the version.
        let name = suite.suite().as_str().unwrap_or_default();
        Suite {
            name: name.replacen("TLS13_", "TLS_", 1),
            number: suite.suite().into(),
            version: version_of(suite),
        }
    };
    provider().cipher_suites.iter().map(suite).collect()
});

/// Every suite that there is, the preferred one first.
pub fn suites() -> &'static [Suite] {
    &SUITES
}

fn version_of(suite: &SupportedCipherSuite) -> TlsVersion {
    match suite {
        SupportedCipherSuite::Tls12(_) => TlsVersion::V12,
        SupportedCipherSuite::Tls13(_) => TlsVersion::V13,
    }
}

/// The provider with these suites alone. A version of which none is named keeps all of its own.
pub(super) fn provider_for(crypto: &Crypto) -> Arc<CryptoProvider> {
    let all = provider();
    if crypto.suites.is_empty() {
        return all;
    }
    let has = |suite: &SupportedCipherSuite| crypto.suites.contains(&suite.suite().into());
    let named = |version| all.cipher_suites.iter().any(|it| has(it) && version_of(it) == version);
    let (named_12, named_13) = (named(TlsVersion::V12), named(TlsVersion::V13));
    let keep = |suite: &&SupportedCipherSuite| {
        let restricted = match version_of(suite) {
            TlsVersion::V12 => named_12,
            TlsVersion::V13 => named_13,
        };
        !restricted || has(suite)
    };
    let cipher_suites = all.cipher_suites.iter().filter(keep).copied().collect();
    Arc::new(CryptoProvider { cipher_suites, ..CryptoProvider::clone(&all) })
}

/// The versions, the newest first.
pub(super) fn versions(crypto: &Crypto) -> Vec<&'static SupportedProtocolVersion> {
    let all = [(TlsVersion::V13, &TLS13), (TlsVersion::V12, &TLS12)];
    all.into_iter().filter(|(version, _)| crypto.speaks(*version)).map(|(_, it)| it).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_the_registry() {
        let names: Vec<&str> = suites().iter().map(|suite| &*suite.name).collect();
        for name in ["TLS_AES_128_GCM_SHA256", "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384"] {
            assert!(names.contains(&name), "{names:?}");
        }
    }

    #[test]
    fn a_list_narrows_the_versions_that_it_is_about() {
        let number = |name: &str| suites().iter().find(|it| it.name == name).unwrap().number;
        let only = number("TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384");
        let crypto = Crypto { suites: vec![only], ..Crypto::default() };
        let left = provider_for(&crypto).cipher_suites.clone();
        let of = |version| left.iter().filter(|it| version_of(it) == version).count();
        assert_eq!((of(TlsVersion::V12), of(TlsVersion::V13)), (1, 3));
        assert_eq!(versions(&Crypto { max: TlsVersion::V12, ..crypto }), [&TLS12]);
    }
}
