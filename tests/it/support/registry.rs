//! A registry of services: an HTTP endpoint that answers with what a test tells it to.

use std::io::{BufRead, BufReader, Read, Write};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use serde_json::Value;

use super::backend::Backend;
use super::certs::Issued;
use super::peer::Peer;
use super::tls::{self, Tls};
use super::wait::{SOON, wait_until};

/// An answer.
#[derive(Debug, Clone)]
pub enum Answer {
    /// This document.
    Json(Value),
    /// This status, with headers and a body.
    Raw(String),
    /// A document that is longer than anybody takes.
    Endless,
    /// Nothing, for as long as the other side waits.
    Silence,
}

pub struct Registry {
    pub backend: Backend,
    shared: Arc<Shared>,
}

struct Shared {
    answer: Mutex<Answer>,
    asked: AtomicUsize,
    heads: Mutex<Vec<String>>,
}

impl Registry {
    pub fn start(answer: Answer) -> Registry {
        let shared = Shared::new(answer);
        let serving = Arc::clone(&shared);
        let backend = Backend::serve(move |peer| serve(&mut &*peer, &serving));
        Registry { backend, shared }
    }

    /// One that speaks TLS.
    pub fn secure(answer: Answer, issued: &Issued) -> Registry {
        let shared = Shared::new(answer);
        let serving = Arc::clone(&shared);
        let config = Arc::new(tls::serving(issued, None));
        let backend = Backend::serve(move |peer| {
            let mut session = Tls::server(peer, &config);
            if session.shake().is_err() {
                return; // a client that does not trust us
            }
            let mut head = Vec::new();
            let mut byte = [0];
            while !head.ends_with(b"\r\n\r\n") {
                match session.try_recv(&mut byte) {
                    Ok(1) => head.push(byte[0]),
                    _ => return,
                }
            }
            let answer = serving.take(String::from_utf8_lossy(&head).into_owned());
            if let Answer::Json(document) = answer {
                let _ = session.try_send(http(&document).as_bytes());
            }
            session.fin();
        });
        Registry { backend, shared }
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.backend.address)
    }

    /// Answers with this from now on; returns when a request that began later has been answered.
    #[track_caller]
    pub fn say(&self, answer: Answer) {
        *self.shared.answer.lock().unwrap() = answer;
        self.wait_asked(2);
    }

    /// Waits for so many requests from now on.
    #[track_caller]
    pub fn wait_asked(&self, more: usize) {
        let goal = self.asked() + more;
        wait_until("requests to the registry", SOON, || self.asked() >= goal);
    }

    pub fn asked(&self) -> usize {
        self.shared.asked.load(Ordering::SeqCst)
    }

    /// The heads of the requests so far.
    pub fn heads(&self) -> Vec<String> {
        self.shared.heads.lock().unwrap().clone()
    }
}

impl Shared {
    fn new(answer: Answer) -> Arc<Shared> {
        let (answer, heads) = (Mutex::new(answer), Mutex::default());
        Arc::new(Shared { answer, asked: AtomicUsize::new(0), heads })
    }

    fn take(&self, head: String) -> Answer {
        let answer = self.answer.lock().unwrap().clone();
        self.heads.lock().unwrap().push(head);
        self.asked.fetch_add(1, Ordering::SeqCst);
        answer
    }
}

fn http(document: &Value) -> String {
    let body = document.to_string();
    let head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n";
    format!("{head}Content-Length: {}\r\n\r\n{body}", body.len())
}

fn serve(peer: &mut &Peer, shared: &Shared) {
    let mut head = String::new();
    {
        let mut lines = BufReader::new(&mut *peer);
        while !head.ends_with("\r\n\r\n") {
            match lines.read_line(&mut head) {
                Ok(1..) => {}
                _ => return,
            }
        }
    }
    match shared.take(head) {
        Answer::Json(document) => drop(peer.write_all(http(&document).as_bytes())),
        Answer::Raw(text) => drop(peer.write_all(text.as_bytes())),
        Answer::Endless => {
            let _ = peer.write_all(b"HTTP/1.1 200 OK\r\n\r\n[\"");
            while peer.write_all(&[b'x'; 64 << 10]).is_ok() {}
        }
        Answer::Silence => drop(peer.read(&mut [0])),
    }
}
