//! From a listening socket of the admin API to requests: a place for each connection, TLS where it is
//! configured, and deadlines for all of it.

use std::pin::pin;
use std::sync::Arc;

use arc_swap::ArcSwapOption;
use axum::Router;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::Service as _;
use hyper::{Request, service};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;

use super::bind::Bound;
use super::guard::{Caller, Via};
use super::metrics;
use super::seats::{Held, Seats};
use super::wire::{Watched, refusal};
use crate::config::limits;

/// What all listeners serve, and how.
#[derive(Debug)]
pub(super) struct Door {
    pub(super) router: Router,
    /// How addresses speak TLS, if they do.
    pub(super) tls: ArcSwapOption<ServerConfig>,
}

/// Takes connections until it is dropped.
pub(super) async fn accept(bound: Bound, door: Arc<Door>) {
    let seats = Arc::new(Seats::default());
    loop {
        let taken = match &bound {
            Bound::Tcp(listener) => listener.accept().await.map(|(stream, peer)| {
                let reads = listener.local_addr().is_ok_and(|own| own.ip().is_loopback());
                if let Some(held) = seats.take(Some(peer.ip())) {
                    let caller = Caller::new(Via::Tcp(peer), reads, &held.seat);
                    tokio::spawn(within(held, tcp(stream, caller, Arc::clone(&door))));
                } else {
                    metrics::turned_away();
                }
            }),
            Bound::Unix(listener, socket) => listener.accept().await.map(|(stream, _)| {
                if let Some(held) = seats.take(None) {
                    let user = stream.peer_cred().ok().map(|who| who.uid());
                    let via = Via::Unix { user, owner: socket.owner };
                    let caller = Caller::new(via, true, &held.seat);
                    tokio::spawn(within(held, talk(stream, caller, Arc::clone(&door))));
                } else {
                    metrics::turned_away();
                }
            }),
        };
        if let Err(error) = taken {
            tracing::debug!(%error, "admin: accept");
            // Out of descriptors, most likely: the listener stays readable.
            sleep(limits::ACCEPT_BACKOFF).await;
        }
        // Those who were let in may say what they want before the next comes.
        tokio::task::yield_now().await;
    }
}

/// A connection, for as long as it has its place.
async fn within(held: Held, connection: impl Future<Output = ()>) {
    tokio::select! {
        () = held.seat.given_away() => metrics::turned_away(),
        () = connection => {}
    }
}

async fn tcp(mut stream: TcpStream, caller: Caller, door: Arc<Door>) {
    const HANDSHAKE: u8 = 22;
    let Some(config) = door.tls.load_full() else { return talk(stream, caller, door).await };
    let mut first = [0];
    match timeout(limits::ADMIN_HANDSHAKE, stream.peek(&mut first)).await {
        Ok(Ok(1)) if first == [HANDSHAKE] => {
            let acceptor = TlsAcceptor::from(config);
            match timeout(limits::ADMIN_HANDSHAKE, acceptor.accept(stream)).await {
                Ok(Ok(stream)) => talk(stream, caller, door).await,
                Ok(Err(error)) => tracing::debug!(%error, "admin: TLS handshake"),
                Err(_) => tracing::debug!("admin: TLS handshake: too slow"),
            }
        }
        Ok(Ok(1)) => {
            let text = "this port speaks TLS: use https";
            let words = refusal("400 Bad Request", "plain_http", text);
            let mut stream = Watched::new(&mut stream);
            let _ = stream.write_all(&words).await;
            let _ = stream.shutdown().await;
        }
        _ => {}
    }
}

async fn talk<S>(stream: S, caller: Caller, door: Arc<Door>)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let router = TowerToHyperService::new(door.router.clone());
    let service = service::service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(caller.clone());
        router.call(request)
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits::ADMIN_HEAD)
        .max_buf_size(limits::ADMIN_HEAD_BYTES_MAX)
        .serve_connection(TokioIo::new(Watched::new(stream)), service);
    let mut connection = pin!(connection);
    if timeout(limits::ADMIN_LIFETIME, connection.as_mut()).await.is_err() {
        // The request that it is at may be answered.
        connection.as_mut().graceful_shutdown();
        let _ = timeout(limits::ADMIN_REQUEST, connection).await;
    }
}
