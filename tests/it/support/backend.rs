//! Upstreams: a listener that the test accepts from by hand, or one that serves each connection
//! by a script of its own.

use std::io::{self, ErrorKind};
use std::net::{Shutdown, SocketAddr, TcpListener};
use std::panic::{self, AssertUnwindSafe};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};

use socket2::{Domain, SockRef, Socket, Type};

use super::data::Random;
use super::peer::Peer;
use super::ports::{free_port, loopback};
use super::wait::{SOON, waited};

/// A listener on `address`, which may have connections of an earlier life in TIME_WAIT.
pub fn listen(address: SocketAddr, backlog: i32) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
    socket.set_reuse_address(true)?;
    // A program that is being started holds copies of our sockets until it has become itself.
    let bound = waited(SOON, || match socket.bind(&address.into()) {
        Err(error) if error.kind() == ErrorKind::AddrInUse => None,
        result => Some(result),
    });
    bound.unwrap_or_else(|| Err(ErrorKind::AddrInUse.into()))?;
    socket.listen(backlog)?;
    Ok(socket.into())
}

/// An upstream whose connections the test takes one at a time.
pub struct Manual {
    listener: TcpListener,
    pub address: SocketAddr,
}

impl Manual {
    pub fn start() -> Manual {
        Manual::start_with(|_| ())
    }

    /// Starts after `prepare` has set options, which accepted sockets inherit.
    pub fn start_with(prepare: impl FnOnce(SockRef<'_>)) -> Manual {
        let address = loopback(free_port());
        let listener = listen(address, 1024).expect("listen");
        prepare(SockRef::from(&listener));
        listener.set_nonblocking(true).unwrap();
        Manual { listener, address }
    }

    /// The next connection; it must come soon.
    #[track_caller]
    pub fn accept(&self) -> Peer {
        waited(SOON, || self.try_accept()).expect("no connection reached the upstream")
    }

    /// A connection, if one waits.
    pub fn try_accept(&self) -> Option<Peer> {
        match self.listener.accept() {
            Ok((stream, _)) => {
                stream.set_nonblocking(false).unwrap();
                // A stream that was reset while it waited refuses its options.
                Peer::over(stream).ok()
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => None,
            Err(error) => panic!("accept: {error}"),
        }
    }
}

/// An upstream that serves every connection on a thread of its own. What fails in a script fails
/// the test when the backend is dropped.
pub struct Backend {
    pub address: SocketAddr,
    listener: Option<TcpListener>,
    accepting: Option<JoinHandle<()>>,
    shared: Arc<Shared>,
    sent: Arc<AtomicU64>,
}

#[derive(Default)]
struct Shared {
    accepted: AtomicUsize,
    live: AtomicUsize,
    failures: Mutex<Vec<String>>,
}

impl Backend {
    /// Serves with `script` on a port of the harness's choice.
    pub fn serve(script: impl Fn(&Peer) + Send + Sync + 'static) -> Backend {
        Backend::serve_on(loopback(free_port()), script)
    }

    pub fn serve_on(
        address: SocketAddr,
        script: impl Fn(&Peer) + Send + Sync + 'static,
    ) -> Backend {
        let listener = listen(address, 4096).expect("listen");
        let shared = Arc::new(Shared::default());
        let accepting = thread::spawn({
            let listener = listener.try_clone().unwrap();
            let shared = Arc::clone(&shared);
            let script = Arc::new(script);
            move || accept_loop(&listener, &shared, &script)
        });
        Backend {
            address,
            listener: Some(listener),
            accepting: Some(accepting),
            shared,
            sent: Arc::default(),
        }
    }

    /// Sends back what it gets; ends its direction when the other ends.
    pub fn echo() -> Backend {
        Backend::serve(echo)
    }

    pub fn echo_on(address: SocketAddr) -> Backend {
        Backend::serve_on(address, echo)
    }

    /// Says its own port, as text, and closes: tells a test which target it reached.
    pub fn name() -> Backend {
        Backend::serve(|peer| drop(peer.try_send(format!("{:5}", peer.port()).as_bytes())))
    }

    /// Sends for ever, whether anybody reads or not; [`Backend::sent`] counts.
    pub fn source() -> Backend {
        let sent = Arc::new(AtomicU64::new(0));
        let counter = Arc::clone(&sent);
        let block = Random::new(7).bytes(64 * 1024);
        let mut backend = Backend::serve(move |peer| {
            loop {
                let before = peer.sent();
                let result = peer.try_send(&block);
                counter.fetch_add(peer.sent() - before, Ordering::Relaxed);
                match result {
                    Ok(()) => {}
                    Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                    Err(_) => return,
                }
            }
        });
        backend.sent = sent;
        backend
    }

    /// What a [`Backend::source`] has sent over all its connections.
    pub fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }

    /// Connections accepted so far.
    pub fn accepted(&self) -> usize {
        self.shared.accepted.load(Ordering::SeqCst)
    }

    /// Connections being served now.
    pub fn live(&self) -> usize {
        self.shared.live.load(Ordering::SeqCst)
    }

    /// Stops listening; connections being served go on.
    pub fn stop_listening(&mut self) {
        if let Some(listener) = self.listener.take() {
            // Wakes the accepting thread, which a mere close would not.
            let _ = SockRef::from(&listener).shutdown(Shutdown::Both);
        }
        if let Some(accepting) = self.accepting.take() {
            accepting.join().expect("the accepting thread");
        }
    }
}

impl Drop for Backend {
    fn drop(&mut self) {
        self.stop_listening();
        let failures = std::mem::take(&mut *self.shared.failures.lock().unwrap());
        if !failures.is_empty() && !thread::panicking() {
            panic!("a backend's script failed: {}", failures.join("; "));
        }
    }
}

fn accept_loop<S>(listener: &TcpListener, shared: &Arc<Shared>, script: &Arc<S>)
where
    S: Fn(&Peer) + Send + Sync + 'static,
{
    loop {
        let stream = match listener.accept() {
            Ok((stream, _)) => stream,
            Err(error) if error.kind() == ErrorKind::InvalidInput => return,
            Err(_) => continue,
        };
        shared.accepted.fetch_add(1, Ordering::SeqCst);
        shared.live.fetch_add(1, Ordering::SeqCst);
        let shared = Arc::clone(shared);
        let script = Arc::clone(script);
        thread::spawn(move || {
            // A stream that was reset while it waited refuses its options: nothing to serve.
            if let Ok(peer) = Peer::over(stream)
                && let Err(payload) = panic::catch_unwind(AssertUnwindSafe(|| script(&peer)))
            {
                let text = payload
                    .downcast_ref::<String>()
                    .cloned()
                    .or_else(|| payload.downcast_ref::<&str>().map(|text| (*text).to_owned()));
                shared.failures.lock().unwrap().push(text.unwrap_or_default());
            }
            shared.live.fetch_sub(1, Ordering::SeqCst);
        });
    }
}

/// The script of [`Backend::echo`]. A cut connection is the test's business, not the echo's.
pub fn echo(peer: &Peer) {
    while let Ok(bytes) = peer.try_recv() {
        if bytes.is_empty() {
            let _ = peer.socket().shutdown(Shutdown::Write);
            return;
        }
        if peer.try_send(&bytes).is_err() {
            return;
        }
    }
}
