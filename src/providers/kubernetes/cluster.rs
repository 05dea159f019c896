//! The objects of a cluster, while it runs: watched, kept, told to the control loop; and what became
//! of them, written back as statuses.
//!
//! ```text
//! follow, a task for each kind ──▶ View ──▶ Publisher<Objects> ──▶ control loop
//!                                   │ versions and statuses            │ Outcome
//!                                   ▼                                  ▼
//!                                 Board ◀── wishes ◀── translate, left out
//!                                   ▼
//!                  Writer, while Candidate leads ──▶ PATCH …/status
//! ```
//!
//! - Nothing is told before all kinds have been listed once: half a view would remove routes.
//! - A cluster that cannot be reached changes nothing: what is known stays in use.
//! - All proxies serve; one of them, which has seen the whole, writes statuses.
//! - The log says once what goes wrong, and once that it works again.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr, ToSocketAddrs, UdpSocket};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use tokio::sync::{Notify, mpsc, watch};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::{Key, Kind, Objects, Status, options, translate};
use crate::config::{document, limits};
use crate::providers::{Outcome, Publisher, kong};

mod follow;
mod kinds;
mod lease;
mod left_out;
mod problem;
mod status;
mod write;

use self::follow::{Change, Listing, News, Teller};
use self::kinds::Served;
use self::lease::Candidate;
use self::problem::{Problem, Told, read_hint};
use self::status::Wish;
use self::write::{Board, Wishes, Writer};

/// Who we are in `managedFields`.
const MANAGER: &str = "thalweg";

/// Watches a cluster until the other end of `outcomes` is gone; gives the lease back then.
pub async fn watch(
    config: document::Kubernetes,
    publish: Publisher<Objects>,
    outcomes: watch::Receiver<Option<Arc<Outcome>>>,
) {
    let mut told = Told::default();
    let (client, home) = loop {
        match connect(config.kubeconfig.as_deref()).await {
            Ok(client) => break client,
            Err(why) => told.wrong("the cluster", Problem::Unavailable(why), String::new),
        }
        let mut ended = outcomes.clone();
        tokio::select! {
            () = sleep(limits::CLUSTER_AGAIN) => {}
            () = async { while ended.changed().await.is_ok() {} } => return,
        }
    };
    told.well("the cluster");
    let board = Arc::new(Board::default());
    let (leads, leading) = watch::channel(false);
    let (end, mut ending) = watch::channel(());
    let (seen, mut whole) = watch::channel(false);
    let candidate = Candidate::new(&config.leader_election, &home.namespace);
    let elector = client.clone();
    let standing = tokio::spawn(async move {
        // One that cannot read the cluster has nothing to say, and must not keep others from it.
        tokio::select! {
            seen = whole.wait_for(|seen| *seen) => if seen.is_err() { return },
            _ = ending.changed() => return,
        }
        candidate.stand(elector, leads, ending).await;
    });
    let mut tasks = JoinSet::new();
    tasks.spawn(Writer::new(client.clone(), Arc::clone(&board)).run(leading));
    let (tell, news) = mpsc::channel(limits::CLUSTER_NEWS_MAX);
    let (tell_served, served) = mpsc::channel(1);
    let health = Arc::new(Health::default());
    tasks.spawn(look_for_kinds(client.clone(), Arc::clone(&health), tell_served));
    let mut view = View::new(client, tell, board, health);
    let addresses = addresses(&config, &home).await;
    let heard = Heard { news, served, outcomes, seen };
    heard.serve(&mut view, &config, &addresses, &publish).await;
    drop(end);
    let _ = timeout(limits::LEASE_RELEASE, standing).await;
}

/// Where a cluster is, as its client was told.
#[derive(Debug)]
struct Home {
    /// Our own namespace, or that of the kubeconfig's context.
    namespace: String,
    /// Host and port of the API server.
    server: Option<(String, u16)>,
}

/// A client of the cluster that a file says, or that is found as `kubectl` and pods find it.
async fn connect(kubeconfig: Option<&Path>) -> Result<(Client, Home), String> {
    let mut config = match kubeconfig {
        Some(path) => {
            let read = Kubeconfig::read_from(path).map_err(|error| error.to_string())?;
            Config::from_custom_kubeconfig(read, &KubeConfigOptions::default())
                .await
                .map_err(|error| format!("{}: {error}", path.display()))?
        }
        None => Config::infer().await.map_err(|error| error.to_string())?,
    };
    config.connect_timeout = Some(limits::CLUSTER_REQUEST);
    config.write_timeout = Some(limits::CLUSTER_REQUEST);
    config.read_timeout = Some(limits::CLUSTER_SILENCE);
    config.reset_reader_on_write = true;
    let url = &config.cluster_url;
    let port = url.port_u16().unwrap_or(if url.scheme_str() == Some("http") { 80 } else { 443 });
    let home = Home {
        namespace: config.default_namespace.clone(),
        server: url.host().map(|host| (host.trim_matches(['[', ']']).to_owned(), port)),
    };
    let client = Client::try_from(config).map_err(|error| error.to_string())?;
    Ok((client, home))
}

/// Where clients find the proxy: as configured, or the pod's address, or the one that this machine
/// reaches the API server from.
async fn addresses(config: &document::Kubernetes, home: &Home) -> Vec<String> {
    if !config.status_addresses.is_empty() {
        return config.status_addresses.clone();
    }
    if let Some(address) = std::env::var("POD_IP").ok().filter(|it| it.parse::<IpAddr>().is_ok()) {
        return vec![address];
    }
    let server = home.server.clone();
    let found = tokio::task::spawn_blocking(move || {
        let to = server?.to_socket_addrs().ok()?.next()?;
        let any: SocketAddr = if to.is_ipv4() { ([0; 4], 0).into() } else { ([0; 16], 0).into() };
        // Sends nothing: the kernel only chooses the way.
        let socket = UdpSocket::bind(any).ok()?;
        socket.connect(to).ok()?;
        Some(socket.local_addr().ok()?.ip().to_string())
    });
    found.await.ok().flatten().into_iter().collect()
}

/// How it stands with the API server; whoever meets trouble has it looked at.
#[derive(Debug, Default)]
struct Health {
    look: Notify,
    answers: AtomicBool,
}

/// Looks which kinds are served, from time to time and when there was trouble. It is the one that
/// tells whether the cluster answers, once for all kinds.
async fn look_for_kinds(client: Client, health: Arc<Health>, tell: mpsc::Sender<Served>) {
    let mut told = Told::default();
    loop {
        let served = kinds::served(&client).await;
        health.answers.store(served.is_ok(), Ordering::Relaxed);
        match served {
            Ok(served) => {
                told.well("the cluster");
                if tell.send(served).await.is_err() {
                    return;
                }
                let _ = timeout(limits::CLUSTER_KINDS, health.look.notified()).await;
            }
            Err(problem) => {
                told.wrong("the cluster (what is known of it stays in use)", problem, || {
                    "grant what the role `system:discovery` does".into()
                })
            }
        }
        sleep(limits::CLUSTER_AGAIN).await;
    }
}

/// What the loop waits for.
struct Heard {
    news: mpsc::Receiver<(Teller, News)>,
    served: mpsc::Receiver<Served>,
    outcomes: watch::Receiver<Option<Arc<Outcome>>>,
    /// Told when the whole has been seen.
    seen: watch::Sender<bool>,
}

impl Heard {
    async fn serve(
        mut self,
        view: &mut View,
        config: &document::Kubernetes,
        addresses: &[String],
        publish: &Publisher<Objects>,
    ) {
        let mut due = Due::default();
        loop {
            let at = due.at();
            tokio::select! {
                Some((teller, news)) = self.news.recv() => {
                    if view.take(teller, news) {
                        due.again();
                    }
                }
                Some(served) = self.served.recv() => {
                    if view.watch(served) {
                        due.again();
                    }
                }
                () = async { sleep_until(at.unwrap_or_else(Instant::now)).await }, if at.is_some() => {
                    due = Due::default();
                    if view.is_whole() {
                        publish.publish(view.objects.clone());
                        self.seen.send_replace(true);
                    }
                }
                changed = self.outcomes.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    let outcome = self.outcomes.borrow_and_update().clone();
                    if let Some(outcome) = outcome {
                        view.board.wish(wishes(&outcome, config, addresses));
                    }
                }
            }
        }
    }
}

/// When something is told: when it has been quiet for a while, or has not been for long.
#[derive(Debug, Default)]
struct Due {
    first: Option<Instant>,
    last: Option<Instant>,
}

impl Due {
    fn again(&mut self) {
        let now = Instant::now();
        self.first.get_or_insert(now);
        self.last = Some(now);
    }

    fn at(&self) -> Option<Instant> {
        let quiet = self.last? + limits::CLUSTER_QUIET;
        Some(quiet.min(self.first? + limits::CLUSTER_QUIET_MAX))
    }
}

/// What is known of a cluster.
struct View {
    client: Client,
    tell: mpsc::Sender<(Teller, News)>,
    board: Arc<Board>,
    health: Arc<Health>,
    objects: Objects,
    watches: BTreeMap<Kind, Watch>,
    tasks: JoinSet<()>,
    /// Counts watches, so that the last words of one that has ended are not taken for another's.
    lives: u64,
    /// The kinds have been asked for, and all of them have been listed once.
    whole: bool,
}

/// One kind.
#[derive(Debug)]
struct Watch {
    life: u64,
    version: String,
    task: AbortHandle,
    listing: Listing,
    keys: BTreeSet<Key>,
    listed: bool,
    /// How often it went wrong since it last told something.
    failures: u32,
    told: Told,
}

impl View {
    fn new(
        client: Client,
        tell: mpsc::Sender<(Teller, News)>,
        board: Arc<Board>,
        health: Arc<Health>,
    ) -> Self {
        Self {
            client,
            tell,
            board,
            health,
            objects: Objects::default(),
            watches: BTreeMap::new(),
            tasks: JoinSet::new(),
            lives: 0,
            whole: false,
        }
    }

    /// Whether the whole has been seen once. A kind that comes later is not waited for: without it
    /// the view is what it was before.
    fn is_whole(&mut self) -> bool {
        self.whole |= !self.watches.is_empty() && self.watches.values().all(|watch| watch.listed);
        self.whole
    }

    /// Watches the kinds that are served, each in its version; true if one is no more, and what was
    /// known of it has gone with it.
    fn watch(&mut self, served: Served) -> bool {
        while self.tasks.try_join_next().is_some() {}
        self.board.serves(served.clone());
        let gone: Vec<Kind> =
            self.watches.keys().copied().filter(|kind| !served.contains_key(kind)).collect();
        for kind in &gone {
            tracing::info!("kubernetes: {} are not served any more", kinds::full_name(*kind));
            if let Some(watch) = self.watches.remove(kind) {
                watch.task.abort();
                watch.keys.iter().for_each(|key| self.objects.remove(*kind, key));
                self.board.are(*kind, std::iter::empty());
            }
        }
        for (kind, resource) in served {
            let known = self.watches.get_mut(&kind);
            if known.as_ref().is_some_and(|watch| watch.version == resource.version) {
                continue;
            }
            if self.whole {
                let (name, version) = (kinds::full_name(kind), &resource.version);
                tracing::info!(version, "kubernetes: {name} are served now");
            }
            self.lives += 1;
            let (client, tell, teller) =
                (self.client.clone(), self.tell.clone(), (kind, self.lives));
            let version = resource.version.clone();
            let task = self.tasks.spawn(follow::follow(client, teller, resource, tell));
            match known {
                // What is known stays in use until it is listed in the new version.
                Some(watch) => {
                    watch.task.abort();
                    (watch.life, watch.version, watch.task) = (self.lives, version, task);
                    watch.listing = Listing::default();
                }
                None => {
                    let watch = Watch {
                        life: self.lives,
                        version,
                        task,
                        listing: Listing::default(),
                        keys: BTreeSet::new(),
                        listed: false,
                        failures: 0,
                        told: Told::default(),
                    };
                    self.watches.insert(kind, watch);
                }
            }
        }
        !gone.is_empty()
    }

    /// Takes in what a watch tells; true if what is known may differ now.
    fn take(&mut self, (kind, life): Teller, news: News) -> bool {
        let Some(watch) = self.watches.get_mut(&kind).filter(|watch| watch.life == life) else {
            return false;
        };
        match watch.listing.take(news) {
            None => return false,
            Some(Change::Trouble(problem)) => {
                watch.failures = watch.failures.saturating_add(1);
                self.health.look.notify_one();
                // A connection may break and a CRD may go: that is told when it lasts, and once for
                // all kinds if it is the whole cluster.
                let lasts = watch.failures >= limits::CLUSTER_FAILURES_TOLD
                    && self.health.answers.load(Ordering::Relaxed);
                tracing::debug!("kubernetes: watching {}: {problem}", kinds::full_name(kind));
                if lasts || matches!(problem, Problem::Forbidden(_)) {
                    let what = format!("watching {}", kinds::full_name(kind));
                    watch.told.wrong(&what, problem, || read_hint(kind));
                }
                return false;
            }
            Some(Change::All(all)) => {
                for key in watch.keys.iter().filter(|key| !all.contains_key(*key)) {
                    self.objects.remove(kind, key);
                }
                watch.keys = all.keys().cloned().collect();
                let live = all.iter().filter_map(|(key, it)| Some((key.clone(), it.live.clone()?)));
                self.board.are(kind, live);
                all.values().for_each(|object| self.objects.put(kind, &object.said));
                watch.listed = true;
            }
            Some(Change::Is(key, object)) => {
                self.objects.put(kind, &object.said);
                if let Some(live) = object.live {
                    self.board.is((kind, key.clone()), live);
                }
                watch.keys.insert(key);
            }
            Some(Change::IsNot(key)) => {
                self.objects.remove(kind, &key);
                watch.keys.remove(&key);
                self.board.is_not(&(kind, key));
            }
        }
        watch.failures = 0;
        watch.told.well(&format!("watching {}", kinds::full_name(kind)));
        true
    }
}

/// What is to be said of each object.
fn wishes(outcome: &Outcome, config: &document::Kubernetes, addresses: &[String]) -> Wishes {
    let Some(objects) = outcome.inventory.kubernetes.as_deref() else { return Wishes::new() };
    let stream_listen = kong::listens(outcome.providers.kong.as_ref(), &[], &mut Vec::new());
    let mut options = options(config, stream_listen);
    options.addresses = addresses.to_vec();
    let mut statuses = translate(objects, &options).statuses;
    left_out::tell(&mut statuses, &outcome.left_out);
    let wish = |status: Status| {
        let key = Key { namespace: status.namespace, name: status.name };
        ((status.kind, key), Wish::of(status.value, &options.controller_name))
    };
    statuses.into_iter().map(wish).collect()
}
