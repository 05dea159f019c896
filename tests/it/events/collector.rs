//! Those who get events: an HTTP server that answers as it is told, and a datagram socket.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use super::{Event, parse};
use crate::support::backend::Backend;
use crate::support::certs::Issued;
use crate::support::peer::Peer;
use crate::support::tls::{self, Tls};

/// A server that events are POSTed to.
pub struct Collector {
    pub backend: Backend,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    /// The statuses of the next answers; then 200. 0: none at all.
    answers: Mutex<Vec<u16>>,
    always: AtomicUsize,
    posts: Mutex<Vec<Post>>,
    asked: AtomicUsize,
}

/// A POST that was answered with 200.
#[derive(Clone)]
pub struct Post {
    pub head: String,
    pub body: String,
}

impl Collector {
    pub fn start() -> Collector {
        let shared = Arc::new(Shared::default());
        let serving = Arc::clone(&shared);
        Collector { backend: Backend::serve(move |peer| serve(peer, &serving)), shared }
    }

    /// Another one, at the place and with the memory of one that has gone.
    pub fn again(gone: Collector) -> Collector {
        let Collector { backend, shared } = gone;
        let address = backend.address;
        drop(backend);
        let serving = Arc::clone(&shared);
        Collector { backend: Backend::serve_on(address, move |peer| serve(peer, &serving)), shared }
    }

    /// One that speaks TLS. A connection carries one POST.
    pub fn secure(issued: &Issued) -> Collector {
        let shared = Arc::new(Shared::default());
        let serving = Arc::clone(&shared);
        let config = Arc::new(tls::serving(issued, None));
        let backend = Backend::serve(move |peer| {
            let mut session = Tls::server(peer, &config);
            if session.shake().is_err() {
                return; // a client that does not trust us
            }
            let mut received = Vec::new();
            let mut buffer = [0; 4096];
            while !is_whole(&received) {
                match session.try_recv(&mut buffer) {
                    Ok(n @ 1..) => received.extend_from_slice(&buffer[..n]),
                    _ => return,
                }
            }
            let text = String::from_utf8(received).unwrap();
            let (head, body) = text.split_once("\r\n\r\n").unwrap();
            serving.take(head, body, 200);
            let _ = session.try_send(b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n");
            session.fin();
        });
        Collector { backend, shared }
    }

    pub fn url(&self) -> String {
        format!("http://{}/events?from=thalweg", self.backend.address)
    }

    /// Answers the next POSTs with these statuses.
    pub fn say(&self, statuses: &[u16]) {
        *self.shared.answers.lock().unwrap() = statuses.iter().rev().copied().collect();
    }

    /// Answers all POSTs with this from now on; 0: nothing at all.
    pub fn always(&self, status: u16) {
        self.shared.always.store(usize::from(status) + 1, Ordering::SeqCst);
    }

    /// How many POSTs have come whole.
    pub fn asked(&self) -> usize {
        self.shared.asked.load(Ordering::SeqCst)
    }

    /// Those that were answered with 200.
    pub fn posts(&self) -> Vec<Post> {
        self.shared.posts.lock().unwrap().clone()
    }

    pub fn events(&self) -> Vec<Event> {
        self.posts().iter().flat_map(|post| post.body.lines()).map(parse).collect()
    }
}

/// Whether a request has all of its body.
fn is_whole(received: &[u8]) -> bool {
    let text = String::from_utf8_lossy(received);
    text.split_once("\r\n\r\n").is_some_and(|(head, body)| body.len() >= length(head))
}

fn length(head: &str) -> usize {
    let lower = head.to_ascii_lowercase();
    let value = lower.split("content-length: ").nth(1).expect("a length");
    value.lines().next().unwrap().parse().unwrap()
}

impl Shared {
    fn next_answer(&self) -> u16 {
        self.asked.fetch_add(1, Ordering::SeqCst);
        match self.always.load(Ordering::SeqCst) {
            0 => self.answers.lock().unwrap().pop().unwrap_or(200),
            status => u16::try_from(status - 1).unwrap(),
        }
    }

    fn take(&self, head: &str, body: &str, status: u16) {
        if (200..300).contains(&status) {
            let (head, body) = (head.to_owned(), body.to_owned());
            self.posts.lock().unwrap().push(Post { head, body });
        }
    }
}

/// Answers request after request until the client has gone.
fn serve(peer: &Peer, shared: &Shared) {
    let mut reader = BufReader::new(peer);
    loop {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            match reader.read_line(&mut head) {
                Ok(1..) => {}
                _ => return,
            }
        }
        let mut body = vec![0; length(&head)];
        if reader.read_exact(&mut body).is_err() {
            return;
        }
        let status = shared.next_answer();
        if status == 0 {
            // Silent until the client gives up.
            while let Ok(1..) = reader.read(&mut [0; 512]) {}
            return;
        }
        shared.take(&head, std::str::from_utf8(&body).unwrap(), status);
        let answer = format!("HTTP/1.1 {status} As told\r\nContent-Length: 2\r\n\r\nok");
        if (&mut &*peer).write_all(answer.as_bytes()).is_err() {
            return;
        }
    }
}

/// A datagram socket, and what came.
pub struct Receiver {
    path: PathBuf,
    stop: Arc<AtomicBool>,
    came: Arc<Mutex<Vec<String>>>,
    thread: Option<JoinHandle<()>>,
}

impl Receiver {
    #[track_caller]
    pub fn bind(path: &Path) -> Receiver {
        let socket = UnixDatagram::bind(path).expect("a datagram socket");
        socket.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
        let (stop, came) = (Arc::new(AtomicBool::new(false)), Arc::default());
        let (told, into) = (Arc::clone(&stop), Arc::clone(&came));
        let thread = thread::spawn(move || {
            let mut buffer = vec![0; 1 << 20];
            loop {
                // What was sent before the end is taken before it.
                let is_end = told.load(Ordering::SeqCst);
                match socket.recv(&mut buffer) {
                    Ok(n) => {
                        let text = String::from_utf8(buffer[..n].to_vec()).unwrap();
                        let into: &Mutex<Vec<String>> = &into;
                        into.lock().unwrap().push(text);
                    }
                    Err(_) if is_end => return,
                    Err(_) => {}
                }
            }
        });
        Receiver { path: path.to_owned(), stop, came, thread: Some(thread) }
    }

    pub fn count(&self) -> usize {
        self.came.lock().unwrap().len()
    }

    pub fn events(&self) -> Vec<Event> {
        self.came.lock().unwrap().iter().map(|text| parse(text)).collect()
    }

    /// Ends: nobody receives at its path any more. What came.
    pub fn end(mut self) -> Vec<Event> {
        let _ = fs::remove_file(&self.path);
        self.stop.store(true, Ordering::SeqCst);
        self.thread.take().unwrap().join().unwrap();
        self.events()
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
    }
}
