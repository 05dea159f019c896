//! The admin API: what the proxy serves and how it fares, over HTTP/1.1, on the control thread.
//!
//! | path | what |
//! | --- | --- |
//! | `/api/status` | version, uptime, how much is served, what the caller may do |
//! | `/api/tcp/targets` | each target of each service with its connections and its health; `?service=ID` |
//! | `/api/tcp/targets/drain`, `/api/tcp/services/ID/drain`, `/api/drain` | [`drain`] |
//! | `/api/tcp/connections` | the live connections; `/ID` one of them, DELETE ends it |
//! | `/api/tcp/services` | the declared services; creating, reading, changing and deleting those of the API |
//! | `/api/tcp/addresses` | [`addresses`] |
//! | `/api/tcp/route` | what would become of a connection; `?port=N` and more |
//! | `/api/reload` | `POST` reads the configuration again |
//! | `/api/plan` | what a reload would do |
//! | `/api/certificates` | the certificates of the store |
//! | `/api/diagnostics`, `/api/codes/CODE`, `/api/schema` | [`diagnostics`] |
//! | `/api/openapi.json` | all of this for programs: [`openapi`] |
//! | `/api/traffic` | what to compute rates from |
//! | `/metrics` | the same and more for Prometheus |
//! | `/` | the dashboard ([`dashboard`]) |
//! | `/health/live`, `/health/ready` | 200, or 503 while it does not serve |
//!
//! From outside in: [`bind`] listens, [`serve`] takes connections, each with its place among [`seats`]
//! and its manners on the [`wire`]; [`answer::dress`] gives every answer its form and its deadline, and
//! [`guard`] says who may ask. Connections are few and short-lived, and nothing is on a data core, so
//! abuse of the API never touches traffic.

use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use arc_swap::{ArcSwap, ArcSwapOption};
use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::middleware::{from_fn, from_fn_with_state};
use axum::routing::{get, post};
use rustls::ServerConfig;
use serde::Serialize;
use tokio::sync::Notify;
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

use bind::Bound;
use serve::Door;

mod addresses;
mod answer;
mod bind;
mod connections;
mod dashboard;
mod diagnostics;
mod drain;
mod guard;
mod metrics;
mod openapi;
mod reload;
mod route;
mod seats;
mod serve;
mod services;
mod targets;
mod tls;
mod token;
mod traffic;
mod wire;

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
    /// Requests that were refused.
    pub refusals: guard::Refusals,
    /// Live providers that have told nothing yet.
    pub awaited: ArcSwap<Vec<&'static str>>,
    /// Listeners on their way out.
    pub leaving: ArcSwap<Vec<addresses::Leaving>>,
    /// Somebody asks for the end of the process; see [`View::drain_asked`].
    end: Notify,
    /// How long connections may take then, if they said so.
    end_deadline: Mutex<Option<Duration>>,
    policy: ArcSwap<guard::Policy>,
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
            refusals: guard::Refusals::default(),
            awaited: ArcSwap::default(),
            leaving: ArcSwap::default(),
            end: Notify::new(),
            end_deadline: Mutex::default(),
            policy: ArcSwap::default(),
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

    /// Comes back when somebody asks for the process to drain and end.
    pub async fn drain_asked(&self) {
        self.end.notified().await;
    }

    /// How long connections may take then, if they said so.
    pub fn drain_deadline(&self) -> Option<Duration> {
        *self.end_deadline.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The listening end.
#[derive(Debug)]
pub struct Admin {
    /// What it shows.
    pub view: Arc<View>,
    door: Arc<Door>,
    serving: Vec<Serving>,
}

/// Everything that could fail has not failed; see [`Admin::serve`].
#[derive(Debug)]
pub struct Ready {
    policy: guard::Policy,
    tls: Option<Arc<ServerConfig>>,
    /// Those that are new are bound.
    listens: Vec<(AdminListen, Option<Bound>)>,
    unix_mode: u32,
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
        let door = Door { router: router(&view), tls: ArcSwapOption::empty() };
        Self { view, door: Arc::new(door), serving: Vec::new() }
    }

    /// Where it answers, for the log.
    pub fn place(&self) -> Option<String> {
        let places = self.serving.iter().map(|serving| match &serving.listen {
            AdminListen::Tcp(address) => address.to_string(),
            AdminListen::Unix(path) => format!("unix:{}", path.display()),
        });
        Some(places.collect::<Vec<_>>().join(", ")).filter(|places| !places.is_empty())
    }

    /// Does what can fail of a change: reads tokens and certificates, binds new addresses. Nothing is
    /// served differently before [`Admin::serve`].
    ///
    /// # Errors
    /// What cannot be read or bound.
    pub async fn prepare(&self, wanted: Option<&checked::Admin>) -> Result<Ready, Failure> {
        let Some(wanted) = wanted else {
            let policy = guard::Policy::default();
            return Ok(Ready { policy, tls: None, listens: Vec::new(), unix_mode: 0 });
        };
        let token = |path: &Option<_>| {
            let path: Option<&Path> = path.as_deref();
            path.map(token::Token::read).transpose().map_err(Failure)
        };
        let policy = guard::Policy {
            admin: token(&wanted.token_file)?,
            read: token(&wanted.read_token_file)?,
            require_token: wanted.require_token,
            hosts: wanted.hosts.clone(),
        };
        let tls = wanted.tls.as_ref().map(tls::config).transpose().map_err(Failure)?;
        let unix_mode = wanted.unix_mode;
        let mut listens = Vec::new();
        for listen in &wanted.listens {
            let is_served = self.serving.iter().any(|serving| serving.listen == *listen);
            let bound = if is_served { None } else { Some(bind::bind(listen, unix_mode).await?) };
            listens.push((listen.clone(), bound));
        }
        Ok(Ready { policy, tls, listens, unix_mode })
    }

    /// Makes what was prepared what is served.
    pub fn serve(&mut self, ready: Ready) {
        let Ready { policy, tls, listens, unix_mode } = ready;
        self.view.policy.store(Arc::new(policy));
        self.door.tls.store(tls);
        let before = self.serving.len();
        let mut old = std::mem::take(&mut self.serving);
        for (listen, bound) in listens {
            let Some(bound) = bound else {
                if let AdminListen::Unix(path) = &listen
                    && let Err(error) = bind::permit(path, unix_mode)
                {
                    tracing::error!(%error, path = %path.display(), "admin: unixMode");
                }
                let at = old.iter().position(|serving| serving.listen == listen);
                self.serving.extend(at.map(|at| old.swap_remove(at)));
                continue;
            };
            if let (Bound::Unix(_, socket), AdminListen::Unix(path)) = (&bound, &listen)
                && let Err(error) = socket.name(path)
            {
                tracing::error!(%error, path = %path.display(), "the admin API has no socket");
            }
            let task = tokio::spawn(serve::accept(bound, Arc::clone(&self.door)));
            self.serving.push(Serving { listen, task });
        }
        // The addresses before are let go only now.
        drop(old);
        self.reserve(before);
    }

    /// Its descriptors are not for connections.
    fn reserve(&self, listeners_before: usize) {
        let connections = |listeners: usize| listeners as u64 * limits::ADMIN_DESCRIPTORS / 2;
        let (before, now) = (connections(listeners_before), connections(self.serving.len()));
        let max = &self.view.process.connections_max;
        let left = (max.load(Ordering::Relaxed) + before).saturating_sub(now).max(1);
        max.store(left, Ordering::Relaxed);
    }

    /// Reads the certificate again, for its files may have changed. One that is broken keeps what it
    /// was.
    pub fn reread(&self, served: Option<&checked::Admin>) {
        let Some(wanted) = served.and_then(|admin| admin.tls.as_ref()) else { return };
        match tls::config(wanted) {
            Ok(config) => self.door.tls.store(Some(config)),
            Err(why) => tracing::warn!("{why}; the admin API keeps what it had"),
        }
    }
}

fn router(view: &Arc<View>) -> Router {
    let one = usize::try_from(limits::SERVICE_BYTES_MAX).unwrap_or(usize::MAX);
    let (one, many) = (DefaultBodyLimit::max(one), DefaultBodyLimit::max(limits::MANY_BYTES_MAX));
    Router::new()
        .merge(dashboard::routes())
        .route("/health/live", get(answer::live))
        .route("/health/ready", get(answer::ready))
        .route("/metrics", get(metrics::metrics))
        .route("/api/status", get(answer::status))
        .route("/api/drain", post(drain::process))
        .route("/api/tcp/targets", get(targets::targets))
        .route("/api/tcp/targets/drain", post(drain::target))
        .route("/api/tcp/services/{id}/drain", post(drain::service))
        .route("/api/tcp/connections", get(connections::list))
        .route("/api/tcp/connections/{id}", get(connections::show).delete(connections::kill))
        .route("/api/tcp/addresses", get(addresses::addresses))
        .route("/api/certificates", get(answer::certificates))
        .route("/api/diagnostics", get(diagnostics::diagnostics))
        .route("/api/codes/{code}", get(diagnostics::code))
        .route("/api/schema", get(diagnostics::schema))
        .route("/api/openapi.json", get(openapi::document))
        .route("/api/tcp/route", get(route::route))
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
        .layer(DefaultBodyLimit::max(limits::ADMIN_BODY_BYTES_MAX))
        .layer(from_fn_with_state(Arc::clone(view), guard::check))
        .layer(from_fn(answer::dress))
        .layer(from_fn_with_state(Arc::clone(view), metrics::count))
        .with_state(Arc::clone(view))
}
