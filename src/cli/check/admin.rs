//! The admin API, as it was read.

use serde::Serialize;

use crate::config::Loaded;
use crate::config::checked::AdminListen;
use crate::diagnostics::visible;

/// Where it would answer, and to whom.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Row {
    listen: Vec<String>,
    tls: bool,
    /// Who may read, and who may change things.
    read: &'static str,
    change: &'static str,
}

pub(super) fn row(loaded: &Loaded) -> Option<Row> {
    let admin = loaded.checked.as_ref()?.admin.as_ref()?;
    let place = |listen: &AdminListen| match listen {
        AdminListen::Tcp(address) => address.to_string(),
        AdminListen::Unix(path) => format!("unix:{}", path.display()),
    };
    let is_unix = |listen: &AdminListen| matches!(listen, AdminListen::Unix(_));
    let owner = admin.listens.iter().any(is_unix) && !admin.require_token;
    Some(Row {
        listen: admin.listens.iter().map(place).collect(),
        tls: admin.tls.is_some(),
        read: match admin.require_token {
            true => "with a token",
            false => "on this machine, or with a token",
        },
        change: match (admin.token_file.is_some(), owner) {
            (true, true) => "with the admin token, or as the owner of the Unix socket",
            (true, false) => "with the admin token",
            (false, true) => "as the owner of the Unix socket",
            (false, false) => "nobody",
        },
    })
}

impl Row {
    pub(super) fn in_words(&self) -> String {
        let tls = if self.tls { ", TLS" } else { "" };
        let listen = visible(&self.listen.join(" "));
        format!("{listen}{tls}; read: {}; change: {}", self.read, self.change)
    }
}
