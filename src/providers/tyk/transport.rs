//! `proxy.transport`, and what the gateway says of the same: how TLS is spoken.
//!
//! Go counts versions as they are on the wire, and takes a list of suites for TLS 1.2 alone: those of
//! 1.3 are always there. What is not spoken here (older versions, suites without forward secrecy) is
//! left out where what remains is stronger, and refused where nothing would remain.

use serde_json::{Map, Value, json};

use super::definition::Transport;

/// The suites of TLS 1.3.
const SUITES_13: [&str; 3] =
    ["TLS_AES_256_GCM_SHA384", "TLS_AES_128_GCM_SHA256", "TLS_CHACHA20_POLY1305_SHA256"];

/// The suites of TLS 1.2 that are spoken.
const SUITES_12: [&str; 6] = [
    "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384",
    "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256",
    "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256",
    "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384",
    "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256",
    "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256",
];

/// How TLS is spoken to targets.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Spoken {
    pub(super) insecure: bool,
    pub(super) common_name: bool,
    pub(super) versions: Versions,
}

/// Which versions and suites.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Versions {
    /// 1.3 at least.
    only_13: bool,
    /// 1.2 at most.
    only_12: bool,
    /// Empty: all.
    suites: Vec<String>,
}

/// What is wrong, at which key.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Fault {
    pub(super) key: &'static str,
    pub(super) message: String,
}

/// What `own` says, and where it says nothing, the gateway. `left_out` is told what is not taken.
///
/// # Errors
/// What cannot be had.
pub(super) fn read(
    own: &Transport,
    gateway: &Transport,
    left_out: &mut Vec<Fault>,
) -> Result<Spoken, Fault> {
    let on = |of: fn(&Transport) -> Option<bool>| {
        [own, gateway].into_iter().any(|it| of(it) == Some(true))
    };
    let version = |of: fn(&Transport) -> Option<i64>| {
        [own, gateway].into_iter().filter_map(of).find(|version| *version != 0)
    };
    let suites = [own, gateway].into_iter().filter_map(|it| it.ssl_ciphers.as_deref());
    let suites = suites.into_iter().find(|suites| !suites.is_empty()).unwrap_or_default();
    Ok(Spoken {
        insecure: on(|it| it.ssl_insecure_skip_verify),
        common_name: on(|it| it.ssl_force_common_name_check),
        versions: versions(
            version(|it| it.ssl_min_version),
            version(|it| it.ssl_max_version),
            suites,
            left_out,
        )?,
    })
}

/// Reads versions and suites as Go has them; 0 and an empty list are all.
///
/// # Errors
/// What cannot be had.
pub(super) fn versions(
    min: Option<i64>,
    max: Option<i64>,
    suites: &[String],
    left_out: &mut Vec<Fault>,
) -> Result<Versions, Fault> {
    let (least, most) = ("ssl_min_version", "ssl_max_version");
    let unknown = |key, version| {
        let message = format!("{version} is no version of TLS: 771 is TLS 1.2, 772 is TLS 1.3");
        Err(Fault { key, message })
    };
    let only_13 = match min.unwrap_or(0) {
        0 | 771 => false,
        772 => true,
        768..=770 => {
            let message = "versions before TLS 1.2 are not spoken: the least is TLS 1.2".into();
            left_out.push(Fault { key: least, message });
            false
        }
        other => return unknown(least, other),
    };
    let only_12 = match max.unwrap_or(0) {
        0 | 772 => false,
        771 => true,
        768..=770 => {
            let message = "versions before TLS 1.2 are not spoken, and nothing else may be".into();
            return Err(Fault { key: most, message });
        }
        other => return unknown(most, other),
    };
    if only_12 && only_13 {
        let message = "the least version is TLS 1.3 and the highest is TLS 1.2".into();
        return Err(Fault { key: most, message });
    }
    let mut versions = Versions { only_13, only_12, suites: list(suites, left_out) };
    if suites.is_empty() {
        return Ok(versions);
    }
    let of_12 = |suite: &String| SUITES_12.contains(&suite.as_str());
    let any_12 = versions.suites.iter().any(of_12);
    if only_12 && !any_12 {
        let message = "none of these suites is spoken in TLS 1.2, the only version allowed".into();
        return Err(Fault { key: "ssl_ciphers", message });
    }
    // Where none of TLS 1.2 is left, it must not be spoken with others. Those of 1.3 are always there.
    versions.only_13 |= !any_12;
    let keep_12 = !versions.only_13;
    versions.suites.retain(|suite| of_12(suite) == keep_12);
    Ok(versions)
}

/// The suites that are spoken.
fn list(written: &[String], left_out: &mut Vec<Fault>) -> Vec<String> {
    let mut suites: Vec<String> = Vec::new();
    for suite in written {
        // Go's older names of these have no hash.
        let whole = if suite.ends_with("_CHACHA20_POLY1305") {
            format!("{suite}_SHA256")
        } else {
            suite.clone()
        };
        let known = SUITES_12.iter().chain(&SUITES_13).any(|known| **known == whole);
        if !known {
            let shown = crate::diagnostics::visible(suite);
            let message = format!("the suite `{shown}` is not spoken");
            left_out.push(Fault { key: "ssl_ciphers", message });
        } else if !suites.contains(&whole) {
            suites.push(whole);
        }
    }
    suites
}

impl Versions {
    /// Writes them as members of a native service or target.
    pub(super) fn write(&self, members: &mut Map<String, Value>) {
        if self.only_13 {
            members.insert("tlsMinVersion".into(), json!("1.3"));
        }
        if self.only_12 {
            members.insert("tlsMaxVersion".into(), json!("1.2"));
        }
        if !self.suites.is_empty() {
            members.insert("cipherSuites".into(), json!(self.suites));
        }
    }
}
