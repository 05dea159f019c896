//! Asking a proxy's admin API.

use std::path::Path;
use std::process::Command;

use serde_json::Value;

/// What was answered.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub body: String,
}

impl Answer {
    /// The body, as JSON.
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.body))
    }
}

/// Asks at an address (`127.0.0.1:9900`) or a Unix socket's path, by curl; status 0: nobody there.
#[track_caller]
pub fn ask(at: &str, path: &str, more: &[&str]) -> Answer {
    let mut curl = Command::new("curl");
    curl.args(["-sS", "--max-time", "20", "-w", "\n%{http_code}"]).args(more);
    if Path::new(at).is_absolute() {
        curl.args(["--unix-socket", at, &format!("http://localhost{path}")]);
    } else {
        curl.arg(format!("http://{at}{path}"));
    }
    let output = curl.output().expect("curl");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let (body, status) = text.rsplit_once('\n').expect("curl says the status");
    Answer { status: status.parse().expect("a status"), body: body.to_owned() }
}
