//! The secrets that callers show.

use std::io::Read;
use std::path::Path;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use axum::http::HeaderValue;
use sha2::{Digest, Sha256};

use crate::config::limits;

/// The secret that callers show. Only its SHA-256 is kept: what is compared has one length.
#[derive(Clone)]
pub(super) struct Token([u8; 32]);

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Token(…)")
    }
}

impl Token {
    /// # Errors
    /// Why the file has no token, in words.
    pub(super) fn read(path: &Path) -> Result<Self, String> {
        let say = |what: &str| format!("the admin token {}: {what}", path.display());
        let file = std::fs::File::open(path).map_err(|error| say(&error.to_string()))?;
        let mut text = String::new();
        file.take(limits::TOKEN_BYTES_MAX)
            .read_to_string(&mut text)
            .map_err(|error| say(&error.to_string()))?;
        let token = text.trim();
        if token.len() < limits::TOKEN_BYTES_MIN {
            let least = limits::TOKEN_BYTES_MIN;
            return Err(say(&format!(
                "it is shorter than {least} characters; try: openssl rand -hex 16"
            )));
        }
        if !token.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(say("it has more than one line, or spaces"));
        }
        Ok(Self::of(token.as_bytes()))
    }

    pub(super) fn of(token: &[u8]) -> Self {
        Self(Sha256::digest(token).into())
    }

    /// Whether an `Authorization` header shows it.
    pub(super) fn is(&self, shown: &HeaderValue) -> bool {
        let shown = shown.as_bytes().split_at_checked(7);
        shown.is_some_and(|(scheme, token)| {
            scheme.eq_ignore_ascii_case(b"bearer ")
                && verify_slices_are_equal(&Self::of(token.trim_ascii()).0, &self.0).is_ok()
        })
    }
}
