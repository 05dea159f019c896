//! A stand-in for the API server of a cluster. No package registry has a real one, so this is what
//! the tests have: it lists in pages, watches with bookmarks, versions and 410 Gone, counts
//! generations, keeps statuses apart, refuses writes that name an old version, discovers, and allows
//! what the rules of `config/kubernetes/rbac.yaml` allow. It has no schemas, no webhooks, no
//! conversion between versions, and nobody runs Pods. What is shown here must be shown on a real
//! cluster as well.
//!
//! It breaks on request: see [`Fault`], [`ApiServer::cut_watches`], [`ApiServer::compact`] and
//! [`ApiServer::stop`].

use std::fs;
use std::io::{BufReader, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};

use rustls::ServerConfig;
use serde_json::{Value, json};

use crate::support::backend::listen;
use crate::support::certs::{Authority, Files};
use crate::support::ports::{free_port, loopback};
use crate::support::tls;
use crate::support::wait::{SOON, wait_until};

mod http;
mod rest;
mod rules;
pub mod store;
pub mod watch;

use self::http::{Request, Wire};
use self::rules::Rules;
use self::store::{Id, Resource, Store};

/// The token of the proxies.
pub const PROXY: &str = "proxy-token";
/// The token of whoever may do everything.
pub const ADMIN: &str = "admin-token";

/// Something that goes wrong.
pub struct Fault {
    /// As in `GET /api/v1/secrets`: requests whose method and path begin so.
    pub of: String,
    /// How many of them.
    pub times: usize,
    pub what: What,
}

/// What goes wrong.
pub enum What {
    /// This answer.
    Status(u16, &'static str),
    /// The connection is reset before there is an answer.
    Reset,
    /// Somebody else is faster: this happens to the object just before.
    Before(Box<dyn Fn(&mut Value) + Send>),
}

/// The server.
pub struct ApiServer {
    pub address: SocketAddr,
    files: Files,
    tls: Option<(Arc<ServerConfig>, String)>,
    shared: Arc<Shared>,
    accepting: Option<(TcpListener, JoinHandle<()>)>,
}

pub struct Shared {
    store: Store,
    rules: Mutex<Rules>,
    faults: Mutex<Vec<Fault>>,
    connections: Mutex<Vec<TcpStream>>,
    watches: AtomicUsize,
    /// Watches that end are reset, not ended.
    reset: AtomicBool,
    stopped: AtomicBool,
}

impl ApiServer {
    /// One with the kinds of `config/kubernetes/crds.yaml` and those of the Gateway API.
    pub fn start() -> ApiServer {
        Self::serve(None)
    }

    /// One that speaks TLS.
    pub fn secure() -> ApiServer {
        let authority = Authority::new("the cluster's authority");
        let issued = authority.issue(&["127.0.0.1"]);
        Self::serve(Some((Arc::new(tls::serving(&issued, None)), authority.pem())))
    }

    fn serve(tls: Option<(Arc<ServerConfig>, String)>) -> ApiServer {
        let shared = Shared {
            store: Store::default(),
            rules: Mutex::new(Rules::of_manifest()),
            faults: Mutex::default(),
            connections: Mutex::default(),
            watches: AtomicUsize::new(0),
            reset: AtomicBool::new(false),
            stopped: AtomicBool::new(true),
        };
        shared.store.change(|store| store.resources = resources());
        let mut server = ApiServer {
            address: loopback(free_port()),
            files: Files::new(),
            tls,
            shared: Arc::new(shared),
            accepting: None,
        };
        server.start_again();
        for name in ["default", "thalweg"] {
            server.apply(
                &json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": name } }),
            );
        }
        server
    }

    /// A kubeconfig with this token.
    pub fn kubeconfig(&self, token: &str) -> PathBuf {
        let (scheme, authority) = match &self.tls {
            Some((_, pem)) => ("https", Some(self.files.put("cluster-ca.pem", pem))),
            None => ("http", None),
        };
        let mut cluster = json!({ "server": format!("{scheme}://{}", self.address) });
        if let Some(file) = authority {
            cluster["certificate-authority"] = json!(file);
        }
        let text = json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "it",
            "clusters": [ { "name": "it", "cluster": cluster } ],
            "users": [ { "name": "it", "user": { "token": token } } ],
            "contexts": [
                { "name": "it", "context": { "cluster": "it", "user": "it", "namespace": "thalweg" } },
            ],
        });
        self.files.put(&format!("{token}.kubeconfig"), &text.to_string()).into()
    }

    // ---- what is in it ------------------------------------------------------------------------

    /// Makes an object be as this says.
    #[track_caller]
    pub fn apply(&self, object: &Value) {
        let id = self.id_of(object);
        self.shared.store.change(|store| {
            let done = match store.objects.get(&id) {
                None => store.create(id, object.clone()),
                Some(_) => store.replace(&id, object.clone(), false),
            };
            done.unwrap_or_else(|why| panic!("{why:?}: {object}"));
        });
    }

    /// Changes an object as somebody else would.
    #[track_caller]
    pub fn edit(&self, plural: &str, namespace: &str, name: &str, edit: impl FnOnce(&mut Value)) {
        let id = id(plural, namespace, name);
        self.shared.store.change(|store| {
            let mut object = store.objects.get(&id).expect("the object").clone();
            edit(&mut object);
            store.replace(&id, object, false).expect("the change");
        });
    }

    #[track_caller]
    pub fn delete(&self, plural: &str, namespace: &str, name: &str) {
        let id = id(plural, namespace, name);
        self.shared.store.change(|store| store.delete(&id).expect("the object"));
    }

    /// An object as it is now.
    pub fn get(&self, plural: &str, namespace: &str, name: &str) -> Option<Value> {
        self.shared.store.lock().objects.get(&id(plural, namespace, name)).cloned()
    }

    /// Waits until the status of an object fits.
    #[track_caller]
    pub fn wait_status(
        &self,
        plural: &str,
        namespace: &str,
        name: &str,
        fits: impl Fn(&Value) -> bool,
    ) -> Value {
        let status = || self.get(plural, namespace, name).unwrap_or_default()["status"].clone();
        let found = crate::support::wait::waited(SOON, || Some(status()).filter(&fits));
        found.unwrap_or_else(|| panic!("the status of {plural} {namespace}/{name}: {:#}", status()))
    }

    /// So many writes whose path begins so were made by HTTP.
    pub fn writes(&self, method: &str, path: &str) -> usize {
        let store = self.shared.store.lock();
        store.writes.iter().filter(|(by, at)| by == method && at.starts_with(path)).count()
    }

    fn id_of(&self, object: &Value) -> Id {
        let store = self.shared.store.lock();
        let kind = object["kind"].as_str().unwrap_or_default();
        let resource = store.resources.iter().find(|resource| resource.kind == kind);
        let resource = resource.unwrap_or_else(|| panic!("no such kind: {object}"));
        let namespace = match object["metadata"]["namespace"].as_str() {
            _ if !resource.namespaced => "",
            Some(namespace) => namespace,
            None => "default",
        };
        id(&resource.plural, namespace, object["metadata"]["name"].as_str().expect("a name"))
    }

    // ---- what it does not have ------------------------------------------------------------------

    /// Takes a kind away, with its objects: its CRD is not installed.
    pub fn uninstall(&self, plural: &str) -> Resource {
        self.shared.store.change(|store| {
            store.objects.retain(|(of, _, _), _| of != plural);
            let at = store.resources.iter().position(|it| it.plural == plural).expect("the kind");
            store.resources.remove(at)
        })
    }

    /// Installs a kind.
    pub fn install(&self, resource: Resource) {
        self.shared.store.change(|store| store.resources.push(resource));
    }

    // ---- what goes wrong ------------------------------------------------------------------------

    pub fn fault(&self, of: &str, times: usize, what: What) {
        self.shared.faults.lock().unwrap().push(Fault { of: of.to_owned(), times, what });
    }

    /// Faults that have not happened yet.
    pub fn faults_left(&self) -> usize {
        self.shared.faults.lock().unwrap().iter().map(|fault| fault.times).sum()
    }

    /// Takes a verb on a resource from the proxies; gives it back with `false`.
    pub fn forbid(&self, verb: &str, resource: &str, forbidden: bool) {
        self.shared.rules.lock().unwrap().forbid(verb, resource, forbidden);
    }

    /// Ends all watches, politely or by a reset.
    pub fn cut_watches(&self, reset: bool) {
        self.shared.reset.store(reset, Ordering::SeqCst);
        self.shared.store.change(|store| store.epoch += 1);
    }

    /// Forgets what has changed: watches that want to go on are told 410 Gone.
    pub fn compact(&self) {
        self.shared.store.change(store::Inner::compact);
    }

    /// Watches that run now.
    pub fn watches(&self) -> usize {
        self.shared.watches.load(Ordering::SeqCst)
    }

    /// Goes away: nobody listens, and every connection is cut. What is in it stays.
    pub fn stop(&mut self) {
        self.shared.stopped.store(true, Ordering::SeqCst);
        self.cut_watches(true);
        if let Some((listener, accepting)) = self.accepting.take() {
            let _ = socket2::SockRef::from(&listener).shutdown(Shutdown::Both);
            drop(listener);
            let _ = accepting.join();
        }
        for connection in self.shared.connections.lock().unwrap().drain(..) {
            let _ = connection.shutdown(Shutdown::Both);
        }
        wait_until("the watches to end", SOON, || self.watches() == 0);
    }

    /// Comes back.
    pub fn start_again(&mut self) {
        self.shared.stopped.store(false, Ordering::SeqCst);
        let listener = listen(self.address, 256).expect("listen");
        let shared = Arc::clone(&self.shared);
        let tls = self.tls.as_ref().map(|(config, _)| Arc::clone(config));
        let accepted = listener.try_clone().expect("listener");
        let accepting = thread::spawn(move || {
            while let Ok((stream, _)) = accepted.accept() {
                let (shared, tls) = (Arc::clone(&shared), tls.clone());
                if let Ok(copy) = stream.try_clone() {
                    shared.connections.lock().unwrap().push(copy);
                }
                thread::spawn(move || {
                    let _ = stream.set_nodelay(true);
                    let peer = stream.peer_addr().ok();
                    if let Some(wire) = Wire::new(stream, tls.as_ref()) {
                        shared.converse(wire);
                    }
                    // It ends when the last copy of it is closed.
                    let mut all = shared.connections.lock().unwrap();
                    all.retain(|it| it.peer_addr().ok().is_some_and(|it| Some(it) != peer));
                });
            }
        });
        self.accepting = Some((listener, accepting));
    }
}

impl Drop for ApiServer {
    fn drop(&mut self) {
        if self.accepting.is_some() && !thread::panicking() {
            self.stop();
        }
    }
}

impl Shared {
    /// Serves one connection.
    fn converse(&self, wire: Wire) {
        let mut wire = BufReader::new(wire);
        while let Some(request) = Request::read(&mut wire) {
            if self.stopped.load(Ordering::SeqCst) {
                return wire.get_ref().reset();
            }
            match self.fault(&request) {
                Some(What::Status(code, reason)) => {
                    let said = rest::failure(code, reason, "told to fail");
                    if http::answer(wire.get_mut(), code, &said).is_err() {
                        return;
                    }
                    continue;
                }
                Some(What::Reset) => return wire.get_ref().reset(),
                Some(What::Before(edit)) => self.edit_before(&request, &*edit),
                None => {}
            }
            let goes_on = match rest::answer(self, &request) {
                rest::Answer::Document(code, document) => {
                    http::answer(wire.get_mut(), code, &document).is_ok()
                }
                rest::Answer::Watch(watch) => {
                    self.watches.fetch_add(1, Ordering::SeqCst);
                    let ended = watch.run(&self.store, wire.get_mut());
                    self.watches.fetch_sub(1, Ordering::SeqCst);
                    if ended.is_ok() && self.reset.load(Ordering::SeqCst) {
                        return wire.get_ref().reset();
                    }
                    ended.and_then(|()| http::end_stream(wire.get_mut())).is_ok()
                }
            };
            if !goes_on {
                return;
            }
        }
        let _ = wire.get_mut().flush();
    }

    fn fault(&self, request: &Request) -> Option<What> {
        let at = format!("{} {}", request.method, request.path);
        let mut faults = self.faults.lock().unwrap();
        let fault = faults.iter_mut().find(|fault| fault.times > 0 && at.starts_with(&fault.of))?;
        fault.times -= 1;
        let over = fault.times == 0;
        let what = match &mut fault.what {
            What::Status(code, reason) => What::Status(*code, reason),
            What::Reset => What::Reset,
            What::Before(edit) => What::Before(std::mem::replace(edit, Box::new(|_| ()))),
        };
        if over {
            faults.retain(|fault| fault.times > 0);
        }
        Some(what)
    }

    fn edit_before(&self, request: &Request, edit: &(dyn Fn(&mut Value) + Send)) {
        let Some(at) = rest::At::of(&request.path) else { return };
        self.store.change(|store| {
            let id = id(&at.plural, &at.namespace, at.name.as_deref().unwrap_or_default());
            let mut object = store.objects.get(&id).expect("the object").clone();
            edit(&mut object);
            let is_status = object["status"] != store.objects[&id]["status"];
            store.replace(&id, object, is_status).expect("the change");
        });
    }
}

pub fn id(plural: &str, namespace: &str, name: &str) -> Id {
    (plural.to_owned(), namespace.to_owned(), name.to_owned())
}

/// The documents of a YAML file.
#[track_caller]
pub fn documents(yaml: &str) -> Vec<Value> {
    let all: Vec<Value> = serde_saphyr::from_multiple(yaml).expect("YAML");
    all.into_iter().filter(|it| !it.is_null()).collect()
}

/// A file of `config/kubernetes`.
#[track_caller]
pub fn manifest(name: &str) -> String {
    let path = format!("{}/config/kubernetes/{name}", env!("CARGO_MANIFEST_DIR"));
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The kinds that a cluster has in which the proxy runs.
fn resources() -> Vec<Resource> {
    let known = [
        ("", "v1", "Namespace", "namespaces", false, true),
        ("", "v1", "Service", "services", true, true),
        ("", "v1", "Secret", "secrets", true, false),
        ("", "v1", "ConfigMap", "configmaps", true, false),
        ("", "v1", "ServiceAccount", "serviceaccounts", true, false),
        ("discovery.k8s.io", "v1", "EndpointSlice", "endpointslices", true, false),
        ("coordination.k8s.io", "v1", "Lease", "leases", true, false),
        ("networking.k8s.io", "v1", "IngressClass", "ingressclasses", false, false),
        ("gateway.networking.k8s.io", "v1", "GatewayClass", "gatewayclasses", false, true),
        ("gateway.networking.k8s.io", "v1", "Gateway", "gateways", true, true),
        ("gateway.networking.k8s.io", "v1alpha2", "TCPRoute", "tcproutes", true, true),
        ("gateway.networking.k8s.io", "v1alpha2", "TLSRoute", "tlsroutes", true, true),
        ("gateway.networking.k8s.io", "v1beta1", "ReferenceGrant", "referencegrants", true, false),
        ("gateway.networking.k8s.io", "v1", "BackendTLSPolicy", "backendtlspolicies", true, true),
    ];
    let mut all: Vec<Resource> = known
        .into_iter()
        .map(|(group, version, kind, plural, namespaced, status)| Resource {
            group: group.to_owned(),
            versions: vec![version.to_owned()],
            kind: kind.to_owned(),
            plural: plural.to_owned(),
            namespaced,
            status,
            columns: Vec::new(),
        })
        .collect();
    all.extend(documents(&manifest("crds.yaml")).iter().map(|crd| {
        let spec = &crd["spec"];
        let version = &spec["versions"][0];
        let text = |at: &Value| at.as_str().expect("a text").to_owned();
        Resource {
            group: text(&spec["group"]),
            versions: vec![text(&version["name"])],
            kind: text(&spec["names"]["kind"]),
            plural: text(&spec["names"]["plural"]),
            namespaced: spec["scope"] == "Namespaced",
            status: version["subresources"].get("status").is_some(),
            columns: version["additionalPrinterColumns"].as_array().cloned().unwrap_or_default(),
        }
    }));
    all
}
