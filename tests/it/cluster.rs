//! A cluster that changes while the proxy runs, against a [stand-in](apiserver) for its API server.

use std::net::SocketAddr;
use std::thread;

use serde_json::{Value, json};

use self::apiserver::{ADMIN, ApiServer, PROXY};
use crate::support::backend::{self, Backend};
use crate::support::certs::{Authority, Issued};
use crate::support::config::{Config, Service};
use crate::support::ports::{free_port, loopback};
use crate::support::proxy::{Launch, Proxy};
use crate::support::wait::{SOON, wait_until};

mod apiserver;
mod leaders;
mod manifests;
mod objects;
mod seed;
mod trouble;

const CLOSED: &str = "*/relay/closed";
/// The name by which the proxies are known in statuses.
const CONTROLLER: &str = "thalweg.dev/gateway-controller";
/// Where clients are told that the proxy is.
const ADDRESS: &str = "192.0.2.3";

/// A cluster with a gateway `kong`, whose listeners `tcp` and `tls` have a port each.
struct Cluster {
    api: ApiServer,
    tcp: u16,
    tls: u16,
}

impl Cluster {
    fn new() -> Cluster {
        Cluster::on(ApiServer::start())
    }

    fn on(api: ApiServer) -> Cluster {
        let cluster = Cluster { api, tcp: free_port(), tls: free_port() };
        cluster.api.apply(&json!({
            "apiVersion": "gateway.networking.k8s.io/v1", "kind": "GatewayClass",
            "metadata": { "name": "kong" }, "spec": { "controllerName": CONTROLLER },
        }));
        cluster.api.apply(&json!({
            "apiVersion": "gateway.networking.k8s.io/v1", "kind": "Gateway",
            "metadata": { "name": "kong" },
            "spec": {
                "gatewayClassName": "kong",
                "listeners": [ {
                    "name": "tcp", "port": cluster.tcp, "protocol": "TCP",
                    "allowedRoutes": { "namespaces": { "from": "All" } },
                } ],
            },
        }));
        cluster
    }

    /// The configuration of a proxy in this cluster.
    fn config(&self) -> Config {
        let listen = format!("127.0.0.1:{}, 127.0.0.1:{} ssl", self.tcp, self.tls);
        Config::new([]).set("disablePortsWhitelist", json!(true)).set(
            "providers",
            json!({
                "kong": { "streamListen": listen },
                "kubernetes": {
                    "kubeconfig": self.api.kubeconfig(PROXY),
                    "gatewayClass": "kong", "ingressClass": "kong",
                    "statusAddresses": [ADDRESS],
                    "leaderElection": { "leaseDuration": "4s" },
                },
            }),
        )
    }

    fn proxy(&self) -> Proxy {
        let mut proxy = Launch::new(self.config()).start();
        proxy.allow_sockets(2 * thread::available_parallelism().map_or(2, usize::from));
        proxy
    }

    /// A TCPRoute from the listener `tcp` to a Service.
    fn route(&self, name: &str, backend: Value) {
        self.api.apply(&json!({
            "apiVersion": "gateway.networking.k8s.io/v1alpha2", "kind": "TCPRoute",
            "metadata": { "name": name },
            "spec": {
                "parentRefs": [ { "name": "kong", "sectionName": "tcp" } ],
                "rules": [ { "backendRefs": [backend] } ],
            },
        }));
    }

    /// The service that a TCPRoute on the listener `tcp` becomes.
    fn routed(&self, route: &str) -> Service {
        let id = format!("kubernetes/tcproute/default/{route}/kong/tcp");
        Service::new(&id, &[]).on_port(self.tcp)
    }

    /// A Service and its endpoints. They all have the same port, as in a cluster.
    fn service(&self, namespace: &str, name: &str, port: u16, endpoints: &[Endpoint]) {
        self.api.apply(&json!({
            "apiVersion": "v1", "kind": "Service",
            "metadata": { "name": name, "namespace": namespace },
            "spec": { "ports": [ { "name": "echo", "port": 1025, "targetPort": port } ] },
        }));
        self.endpoints(namespace, name, port, endpoints);
    }

    fn endpoints(&self, namespace: &str, name: &str, port: u16, endpoints: &[Endpoint]) {
        let endpoint = |it: &Endpoint| {
            json!({
                "addresses": [it.address],
                "conditions": {
                    "ready": it.ready, "serving": true, "terminating": !it.ready,
                },
            })
        };
        self.api.apply(&json!({
            "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
            "metadata": {
                "name": format!("{name}-abcde"), "namespace": namespace,
                "labels": { "kubernetes.io/service-name": name },
            },
            "addressType": "IPv4",
            "ports": [ { "name": "echo", "protocol": "TCP", "port": port } ],
            "endpoints": endpoints.iter().map(endpoint).collect::<Vec<_>>(),
        }));
    }

    fn secret(&self, name: &str, issued: &Issued) {
        use base64::Engine as _;
        let text = |pem: String| base64::engine::general_purpose::STANDARD.encode(pem);
        self.api.apply(&json!({
            "apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/tls",
            "metadata": { "name": name },
            "data": { "tls.crt": text(issued.cert_pem()), "tls.key": text(issued.key_pem()) },
        }));
    }

    /// Waits until a route is served, and says so.
    #[track_caller]
    fn wait_accepted(&self, plural: &str, namespace: &str, name: &str) -> Value {
        self.api.wait_status(plural, namespace, name, |status| {
            let ours = entries(status).into_iter().find(|it| it["controllerName"] == CONTROLLER);
            ours.is_some_and(|entry| {
                condition(&entry, "Accepted", "True") && condition(&entry, "ResolvedRefs", "True")
            })
        })
    }
}

/// Where a Service's connections may go.
struct Endpoint {
    address: String,
    ready: bool,
}

impl Endpoint {
    fn ready(address: SocketAddr) -> Endpoint {
        Endpoint { address: address.ip().to_string(), ready: true }
    }

    fn terminating(address: SocketAddr) -> Endpoint {
        Endpoint { ready: false, ..Endpoint::ready(address) }
    }
}

fn entries(status: &Value) -> Vec<Value> {
    status["parents"].as_array().cloned().unwrap_or_default()
}

fn condition(of: &Value, kind: &str, status: &str) -> bool {
    let all = of["conditions"].as_array().cloned().unwrap_or_default();
    all.iter().any(|it| it["type"] == kind && it["status"] == status)
}

/// Upstreams that say which they are, on one port of several addresses.
fn named<const N: usize>(first: u8) -> [(Backend, SocketAddr); N] {
    let port = free_port();
    std::array::from_fn(|at| {
        let last = first + u8::try_from(at).unwrap();
        let address = SocketAddr::from(([127, 0, 0, last], port));
        let name = [last];
        let backend = Backend::serve_on(address, move |peer| {
            if peer.try_send(&name).is_ok() {
                backend::echo(peer);
            }
        });
        (backend, address)
    })
}

/// The upstream that a connection reaches.
#[track_caller]
fn once(proxy: &mut Proxy, service: &Service) -> u8 {
    let peer = proxy.connect(service);
    let name = peer.recv_exact(1)[0];
    peer.fin();
    peer.expect_eof();
    proxy.ended(peer, service, CLOSED);
    name
}

/// Connects until connections end up with exactly these upstreams, by turns.
#[track_caller]
fn until_served_by(proxy: &mut Proxy, service: &Service, wanted: &[u8]) {
    // A watch that met trouble more than once is taken up after some seconds.
    wait_until(&format!("connections to {wanted:?}"), SOON * 3, || {
        let mut places: Vec<u8> = (0..wanted.len() * 2).map(|_| once(proxy, service)).collect();
        places.sort_unstable();
        places.dedup();
        places == wanted
    });
}
