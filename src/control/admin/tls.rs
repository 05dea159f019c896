//! How the admin API speaks TLS.

use std::sync::Arc;

use rustls::ServerConfig;

use crate::config::checked::{AdminTls, CertificateSource, ClientAuth, Crypto, Pem, Termination};
use crate::diagnostics::Severity;
use crate::tls::material::{self, Material};

/// Reads the files.
///
/// # Errors
/// Which cannot be used and why, in words.
pub(super) fn config(wanted: &AdminTls) -> Result<Arc<ServerConfig>, String> {
    let say = |what: &dyn std::fmt::Display| format!("TLS of the admin API: {what}");
    let asks = !wanted.client_ca_files.is_empty();
    let termination = Termination {
        certificates: Vec::new(),
        client_auth: if asks { ClientAuth::Need } else { ClientAuth::None },
        client_ca: wanted.client_ca_files.iter().cloned().map(Pem::File).collect(),
        client_certs: Vec::new(),
        crypto: Crypto::default(),
        client_crl_files: Vec::new(),
        alpn: vec![Arc::from("http/1.1")],
        strict: false,
    };
    let pair = CertificateSource::Pair(wanted.pair.clone());
    let terminations = std::iter::once(&termination);
    let (material, problems) = Material::load(&[pair], terminations, std::iter::empty(), None);
    for problem in &problems {
        match problem.severity {
            Severity::Error => return Err(say(problem)),
            Severity::Warn => tracing::warn!("{}", say(problem)),
            Severity::Info => {}
        }
    }
    // A session that is resumed would not be verified again.
    let tickets = material::ticketer().map_err(|problem| say(&problem))?;
    let config = material.server_config(&termination, tickets).map_err(|problem| say(&problem))?;
    let mut config = Arc::unwrap_or_clone(config);
    config.send_tls13_tickets = 0;
    config.enable_secret_extraction = false;
    Ok(Arc::new(config))
}
