//! The admin API: what the proxy serves and how it fares, over HTTP/1.1, on the control thread.
//!
//! | path | what |
//! | --- | --- |
//! | `/api/status` | version, uptime, how much is served |
//! | `/api/tcp/targets` | each target of each service with its connections and its health; `?service=ID` |
//! | `/api/tcp/connections` | the live connections; `DELETE /api/tcp/connections/ID` ends one |
//! | `/api/tcp/services` | the declared services; creating, reading, changing and deleting those of the API |
//! | `/api/reload` | `POST` reads the configuration again |
//! | `/api/plan` | what a reload would do |
//! | `/api/tcp/route` | what would become of a connection; `?port=N` and more |
//! | `/api/certificates` | the certificates of the store |
//! | `/api/traffic` | what to compute rates from |
//! | `/metrics` | the same and more for Prometheus |
//! | `/` | the dashboard ([`dashboard`]) |
//! | `/health/live`, `/health/ready` | 200, or 503 while it does not serve |
//!
//! Who may ask is [`guard`]'s matter: to change anything needs the token. Its connections are few and short-lived, and
//! nothing it does is on a data core, so its abuse never touches traffic.

use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Instant, SystemTime};

use arc_swap::ArcSwap;
use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::routing::{delete, get, post};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use serde::Serialize;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener, UnixStream};
use tokio::sync::Semaphore;
use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio::task::JoinHandle;

use crate::config::checked::{self, AdminListen};
use crate::config::limits;
use crate::config::snapshot::since_1970;
use crate::config::sources::Entities;
use crate::control::reload::Refusal;
use crate::control::services::Request;
use crate::diagnostics::Diagnostic;
use crate::tls::material::Material;
use crate::worker::{Command, Process};

mod answer;
mod connections;
mod dashboard;
mod guard;
mod metrics;
mod reload;
mod route;
mod services;
mod targets;
mod traffic;

/// What the admin API looks at. The control thread keeps it current.
#[derive(Debug)]
pub struct View {
    /// The snapshot, and what the cores count.
    pub process: Arc<Process>,
    /// The certificates.
    pub material: ArcSwap<Material>,
    /// No new connections are taken: the process ends.
    pub draining: AtomicBool,
    /// When it began.
    pub started: Instant,
    /// Reloads that were applied, and that were refused.
    pub reloads: [AtomicU64; 2],
    /// What else is counted of the control plane.
    pub counts: metrics::Counts,
    /// Every declared service.
    pub entities: ArcSwap<Entities>,
    /// What was found in the configuration that is served, and in the last one that was refused.
    pub diagnostics: ArcSwap<Found>,
    /// How the last reload ended; `None`: there was none.
    pub last_reload: ArcSwap<Option<Outcome>>,
    token: ArcSwap<Option<guard::Token>>,
    questions: Sender<Question>,
    requests: Sender<Request>,
}

/// What was found in configurations.
#[derive(Debug, Default, Clone, Serialize)]
pub struct Found {
    /// In the one that is served.
    pub served: Vec<Diagnostic>,
    /// In the last one that was refused since.
    pub refused: Option<Refused>,
}

/// A configuration that was refused.
#[derive(Debug, Clone, Serialize)]
pub struct Refused {
    /// When, in ms since 1970.
    pub at: u64,
    /// Why, in one sentence.
    pub message: String,
    /// What was found in it.
    pub diagnostics: Vec<Diagnostic>,
}

/// How a reload ended.
#[derive(Debug, Clone, Serialize)]
pub struct Outcome {
    /// When, in ms since 1970.
    pub at: u64,
    /// It was applied.
    pub ok: bool,
    /// Why it was not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

/// Something that only a core knows, or can do.
#[derive(Debug)]
pub struct Question {
    /// Which core.
    pub core: usize,
    /// A command that answers.
    pub command: Command,
}

impl View {
    /// Of a process that serves nothing yet.
    ///
    /// Questions to cores come out of the other end, for whoever holds the cores, and so do requests to
    /// change what is served.
    pub fn new(process: Arc<Process>) -> (Self, Receiver<Question>, Receiver<Request>) {
        let (questions, asked) = channel(limits::QUESTIONS_MAX);
        let (requests, requested) = channel(limits::REQUESTS_MAX);
        let view = Self {
            process,
            material: ArcSwap::default(),
            draining: AtomicBool::new(false),
            started: Instant::now(),
            reloads: [AtomicU64::new(0), AtomicU64::new(0)],
            counts: metrics::Counts::default(),
            entities: ArcSwap::default(),
            diagnostics: ArcSwap::default(),
            last_reload: ArcSwap::default(),
            token: ArcSwap::default(),
            questions,
            requests,
        };
        (view, asked, requested)
    }

    /// Counts a reload and remembers how it ended.
    pub fn reloaded(&self, applied: Result<(), &Refusal>) {
        let [good, refused] = &self.reloads;
        if applied.is_ok() { good } else { refused }.fetch_add(1, Ordering::Relaxed);
        self.counts.reloaded(applied.is_ok());
        let at = since_1970(SystemTime::now());
        let message = applied.err().map(ToString::to_string);
        let outcome = Outcome { at, ok: applied.is_ok(), message: message.clone() };
        self.last_reload.store(Arc::new(Some(outcome)));
        let refused = applied.err().zip(message).map(|(refusal, message)| {
            let diagnostics = match refusal {
                Refusal::Faults(faults) => faults.clone(),
                _ => Vec::new(),
            };
            Refused { at, message, diagnostics }
        });
        let served = self.diagnostics.load().served.clone();
        self.diagnostics.store(Arc::new(Found { served, refused }));
    }

    /// Shows what was found in the configuration that is served from now on.
    pub fn served(&self, served: Vec<Diagnostic>) {
        let refused = self.diagnostics.load().refused.clone();
        self.diagnostics.store(Arc::new(Found { served, refused }));
    }
}

/// The listening end.
#[derive(Debug)]
pub struct Admin {
    /// What it shows.
    pub view: Arc<View>,
    serving: Option<Serving>,
}

/// Everything that could fail has not failed; see [`Admin::serve`].
#[derive(Debug)]
pub struct Ready {
    token: Option<guard::Token>,
    listen: Option<AdminListen>,
    bound: Option<Bound>,
}

/// Why the admin API cannot be had as it is configured.
#[derive(Debug)]
pub struct Failure(String);

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

#[derive(Debug)]
enum Bound {
    Tcp(TcpListener),
    Unix(UnixListener, Temporary),
}

/// A socket that does not have its name yet; removed when dropped.
#[derive(Debug)]
struct Temporary(PathBuf);

impl Drop for Temporary {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

#[derive(Debug)]
struct Serving {
    listen: AdminListen,
    task: JoinHandle<()>,
}

impl Drop for Serving {
    fn drop(&mut self) {
        self.task.abort();
        if let AdminListen::Unix(path) = &self.listen {
            let _ = std::fs::remove_file(path);
        }
    }
}

impl Admin {
    /// Listens nowhere yet.
    pub fn new(view: Arc<View>) -> Self {
        Self { view, serving: None }
    }

    /// Where it answers, for the log.
    pub fn place(&self) -> Option<String> {
        self.serving.as_ref().map(|serving| match &serving.listen {
            AdminListen::Tcp(address) => address.to_string(),
            AdminListen::Unix(path) => format!("unix:{}", path.display()),
        })
    }

    /// Does what can fail of a change: reads the token, binds a new address. Nothing is served
    /// differently before [`Admin::serve`].
    ///
    /// # Errors
    /// What cannot be read or bound.
    pub async fn prepare(&self, wanted: Option<&checked::Admin>) -> Result<Ready, Failure> {
        let Some(wanted) = wanted else {
            return Ok(Ready { token: None, listen: None, bound: None });
        };
        let token = wanted.token_file.as_deref().map(guard::Token::read).transpose();
        let token = token.map_err(Failure)?;
        let same = self.serving.as_ref().is_some_and(|now| now.listen == wanted.listen);
        let bound = if same { None } else { Some(bind(&wanted.listen).await?) };
        Ok(Ready { token, listen: Some(wanted.listen.clone()), bound })
    }

    /// Makes what was prepared what is served.
    pub fn serve(&mut self, ready: Ready) {
        let Ready { token, listen, bound } = ready;
        self.view.token.store(Arc::new(token));
        let (Some(listen), bound) = (listen, bound) else {
            self.serving = None;
            return;
        };
        let Some(bound) = bound else { return };
        if let (Bound::Unix(_, new), AdminListen::Unix(path)) = (&bound, &listen)
            && let Err(error) = std::fs::rename(&new.0, path)
        {
            tracing::error!(%error, path = %path.display(), "the admin API has no socket");
        }
        let needs_token = matches!(&listen, AdminListen::Tcp(addr) if !addr.ip().is_loopback());
        let task = tokio::spawn(accept(bound, router(&self.view, needs_token)));
        // The address before it is let go only now.
        self.serving = Some(Serving { listen, task });
    }
}

async fn bind(listen: &AdminListen) -> Result<Bound, Failure> {
    match listen {
        AdminListen::Tcp(address) => bind_tcp(*address)
            .map(Bound::Tcp)
            .map_err(|error| Failure(format!("the admin API cannot listen on {address}: {error}"))),
        AdminListen::Unix(path) => bind_unix(path).await.map_err(|error| {
            Failure(format!("the admin API cannot listen on unix:{}: {error}", path.display()))
        }),
    }
}

fn bind_tcp(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = socket2::Socket::new(
        socket2::Domain::for_address(address),
        socket2::Type::STREAM.nonblocking().cloexec(),
        None,
    )?;
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    socket.listen(128)?;
    TcpListener::from_std(socket.into())
}

/// Can take the place of a socket that a process left behind, but not of one that somebody answers
/// on, nor of a file of another kind. Only its owner may connect.
async fn bind_unix(path: &Path) -> io::Result<Bound> {
    match std::fs::symlink_metadata(path) {
        Ok(found) if !found.file_type().is_socket() => {
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, "a file that is no socket"));
        }
        _ => {}
    }
    if UnixStream::connect(path).await.is_ok() {
        return Err(io::Error::from(io::ErrorKind::AddrInUse));
    }
    // With its rights before anybody can find it.
    let mut new: PathBuf = path.to_owned();
    new.as_mut_os_string().push(format!(".{}", std::process::id()));
    let _ = std::fs::remove_file(&new);
    let listener = UnixListener::bind(&new)?;
    let new = Temporary(new);
    std::fs::set_permissions(&new.0, std::fs::Permissions::from_mode(0o600))?;
    Ok(Bound::Unix(listener, new))
}

fn router(view: &Arc<View>, needs_token: bool) -> Router {
    let guard = guard::Guard { view: Arc::clone(view), needs_token };
    let one = usize::try_from(limits::SERVICE_BYTES_MAX).unwrap_or(usize::MAX);
    let (one, many) =
        (DefaultBodyLimit::max(one), DefaultBodyLimit::max(limits::ADMIN_BODY_BYTES_MAX));
    Router::new()
        .merge(dashboard::routes())
        .route("/health/live", get(answer::live))
        .route("/health/ready", get(answer::ready))
        .route("/metrics", get(metrics::metrics))
        .route("/api/status", get(answer::status))
        .route("/api/tcp/targets", get(targets::targets))
        .route("/api/tcp/connections", get(connections::list))
        .route("/api/tcp/connections/{id}", delete(connections::kill))
        .route("/api/tcp/route", get(route::route))
        .route("/api/certificates", get(answer::certificates))
        .route("/api/traffic", get(traffic::traffic))
        .route("/api/reload", post(reload::reload))
        .route("/api/plan", get(reload::plan).merge(post(reload::plan_of).layer(many)))
        .route("/api/tcp/services", get(services::list).post(services::create).layer(one))
        .route("/api/tcp/services/_template", get(services::template).post(services::template))
        .route(
            "/api/tcp/services/_bulk",
            post(services::bulk::create)
                .put(services::bulk::replace)
                .patch(services::bulk::patch)
                .delete(services::bulk::delete)
                .layer(many),
        )
        .route(
            "/api/tcp/services/{id}",
            get(services::read)
                .put(services::replace)
                .patch(services::patch)
                .delete(services::delete)
                .layer(one),
        )
        .fallback(answer::not_found)
        .method_not_allowed_fallback(answer::method_not_allowed)
        .layer(axum::middleware::from_fn_with_state(guard, guard::check))
        .layer(axum::middleware::from_fn_with_state(Arc::clone(view), metrics::count))
        .with_state(Arc::clone(view))
}

async fn accept(bound: Bound, router: Router) {
    let places = Arc::new(Semaphore::new(limits::ADMIN_CONNECTIONS_MAX));
    loop {
        let accepted = match &bound {
            Bound::Tcp(listener) => listener.accept().await.map(|(stream, _)| {
                spawn(stream, &router, &places);
            }),
            Bound::Unix(listener, _) => listener.accept().await.map(|(stream, _)| {
                spawn(stream, &router, &places);
            }),
        };
        if let Err(error) = accepted {
            tracing::debug!(%error, "admin: accept");
            // Out of descriptors, most likely: the listener stays readable.
            tokio::time::sleep(limits::ACCEPT_BACKOFF).await;
        }
    }
}

fn spawn<S>(stream: S, router: &Router, places: &Arc<Semaphore>)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let Ok(place) = Arc::clone(places).try_acquire_owned() else {
        return metrics::turned_away();
    };
    let service = TowerToHyperService::new(router.clone());
    tokio::spawn(async move {
        let _place = place;
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(limits::ADMIN_HEAD)
            .max_buf_size(limits::ADMIN_HEAD_BYTES_MAX)
            .serve_connection(TokioIo::new(stream), service);
        let _ = tokio::time::timeout(limits::ADMIN_LIFETIME, connection).await;
    });
}
