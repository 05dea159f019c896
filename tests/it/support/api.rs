//! A scripted admin API: answers each request as a test says, and keeps what was asked.

use std::io::{Read, Write};
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};

use super::backend::Backend;
use super::certs::Issued;
use super::peer::Peer;
use super::tls::{self, Tls};

/// A request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asked {
    /// As `GET /api/status`.
    pub what: String,
    /// The token that was shown.
    pub token: Option<String>,
    pub body: String,
}

/// What is answered.
pub enum Reply {
    /// This status and document.
    Json(u16, Value),
    /// These bytes, and then the end of the connection.
    Raw(Vec<u8>),
    /// More than anybody takes.
    Endless,
}

/// An error in Otoroshi's form.
pub fn refusal(status: u16, error: &str, text: &str) -> Reply {
    Reply::Json(status, json!({ "error": error, "error_description": text }))
}

type Script = dyn Fn(&Asked) -> Reply + Send + Sync;

pub struct Api {
    backend: Backend,
    asked: Arc<Mutex<Vec<Asked>>>,
}

impl Api {
    pub fn start(script: impl Fn(&Asked) -> Reply + Send + Sync + 'static) -> Api {
        let (script, asked): (Arc<Script>, Arc<Mutex<_>>) = (Arc::new(script), Arc::default());
        let log = Arc::clone(&asked);
        let backend = Backend::serve(move |peer| serve(&mut &*peer, &*script, &log));
        Api { backend, asked }
    }

    /// One that speaks TLS.
    pub fn secure(
        issued: &Issued,
        script: impl Fn(&Asked) -> Reply + Send + Sync + 'static,
    ) -> Api {
        let (script, asked): (Arc<Script>, Arc<Mutex<_>>) = (Arc::new(script), Arc::default());
        let (log, config) = (Arc::clone(&asked), Arc::new(tls::serving(issued, None)));
        let backend = Backend::serve(move |peer| {
            let mut session = Tls::server(peer, &config);
            if session.shake().is_ok() {
                serve(&mut session, &*script, &log);
            }
        });
        Api { backend, asked }
    }

    pub fn port(&self) -> u16 {
        self.backend.address.port()
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.backend.address)
    }

    /// What was asked so far.
    pub fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }

    /// Connections taken so far.
    pub fn connections(&self) -> usize {
        self.backend.accepted()
    }
}

/// A byte stream; 0 or `false` at its end.
trait Stream {
    fn take(&mut self, into: &mut [u8]) -> usize;
    fn give(&mut self, bytes: &[u8]) -> bool;
}

impl Stream for &Peer {
    fn take(&mut self, into: &mut [u8]) -> usize {
        self.read(into).unwrap_or(0)
    }

    fn give(&mut self, bytes: &[u8]) -> bool {
        self.write_all(bytes).is_ok()
    }
}

impl Stream for Tls<&Peer> {
    fn take(&mut self, into: &mut [u8]) -> usize {
        self.try_recv(into).unwrap_or(0)
    }

    fn give(&mut self, bytes: &[u8]) -> bool {
        self.try_send(bytes).is_ok()
    }
}

/// Answers one request after the other.
fn serve(stream: &mut impl Stream, script: &Script, log: &Mutex<Vec<Asked>>) {
    let mut bytes = Vec::new();
    while let Some(asked) = next(stream, &mut bytes) {
        let reply = script(&asked);
        log.lock().unwrap().push(asked);
        match reply {
            Reply::Json(status, document) => {
                let body = document.to_string();
                let head = format!(
                    "HTTP/1.1 {status} X\r\nContent-Type: application/json\r\nContent-Length: {}",
                    body.len()
                );
                if !stream.give(format!("{head}\r\n\r\n{body}").as_bytes()) {
                    return;
                }
            }
            Reply::Raw(bytes) => {
                stream.give(&bytes);
                return;
            }
            Reply::Endless => {
                let mut more = stream.give(b"HTTP/1.1 200 OK\r\n\r\n[\"");
                while more {
                    more = stream.give(&[b'x'; 64 << 10]);
                }
                return;
            }
        }
    }
}

fn next(stream: &mut impl Stream, bytes: &mut Vec<u8>) -> Option<Asked> {
    let end = loop {
        match bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            Some(end) => break end,
            None => more(stream, bytes)?,
        }
    };
    let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
    bytes.drain(..end + 4);
    let header = |wanted: &str| {
        let lines = head.lines().filter_map(|line| line.split_once(':'));
        let mut values = lines.filter(|(name, _)| name.eq_ignore_ascii_case(wanted));
        values.next().map(|(_, value)| value.trim().to_owned())
    };
    let length = header("content-length").map_or(0, |length| length.parse().expect("a length"));
    while bytes.len() < length {
        more(stream, bytes)?;
    }
    let body = String::from_utf8_lossy(&bytes[..length]).into_owned();
    bytes.drain(..length);
    let what = head.lines().next()?.trim_end_matches(" HTTP/1.1").to_owned();
    let token = header("authorization").and_then(|it| Some(it.strip_prefix("Bearer ")?.to_owned()));
    Some(Asked { what, token, body })
}

fn more(stream: &mut impl Stream, bytes: &mut Vec<u8>) -> Option<()> {
    let mut some = [0; 4096];
    let count = stream.take(&mut some);
    bytes.extend(&some[..count]);
    (count > 0).then_some(())
}
