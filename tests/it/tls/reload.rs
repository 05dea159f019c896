//! Changes of what is served by name, while it is served.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use rustls::ClientConfig;
use serde_json::{Value, json};

use super::{CLOSED, targets};
use crate::support::Stop;
use crate::support::backend::{Backend, echo};
use crate::support::certs::{Authority, Files};
use crate::support::config::{Config, Service};
use crate::support::proxy::{Launch, Proxy};
use crate::support::tls::{Dial, End, Tls, serving};
use crate::support::wait::{SOON, wait_until};

struct Scene {
    proxy: Proxy,
    config: Config,
    certificates: Value,
    /// Ends TLS, passes it through, comes and goes.
    services: [Service; 3],
    client: Arc<ClientConfig>,
    _backends: [Backend; 2],
    _files: Files,
}

const NAMES: [&str; 3] = ["ended.test", "through.test", "extra.test"];

impl Scene {
    fn new() -> Scene {
        let authority = Authority::new("all");
        let files = Files::new();
        let plain = Backend::serve(echo);
        let server = Arc::new(serving(&authority.issue(&[NAMES[1]]), None));
        let inside = Backend::serve(move |peer| {
            let mut tls = Tls::server(peer, &server);
            let mut buffer = [0; 5000];
            if tls.shake().is_err() {
                return;
            }
            while let Ok(count) = tls.try_recv(&mut buffer) {
                if tls.try_send(&buffer[..count]).is_err() {
                    return;
                }
            }
            tls.connection.send_close_notify();
            let _ = tls.flush();
        });
        let first = Service::new("ended", &[]);
        let service = |id: &str, tls: &str, name: &str, backend: &Backend| {
            Service::new(id, &[])
                .on_port(first.port())
                .set("tls", json!(tls))
                .set("sni", json!({ "enabled": true }))
                .set("rules", json!([{ "domain": name, "targets": targets(&[backend.address]) }]))
        };
        let services = [
            service("ended", "Enabled", NAMES[0], &plain),
            service("through", "PassThrough", NAMES[1], &inside),
            service("extra", "Enabled", NAMES[2], &plain)
                .set("onRemoved", json!({ "closeAfter": "500ms" })),
        ];
        let certificates = json!([files.pair("a", &authority.issue(&[NAMES[0], NAMES[2]]))]);
        let config = Config::new(&services[..2]).set("certificates", certificates.clone());
        Scene {
            proxy: Launch::new(config.clone()).start(),
            config,
            certificates,
            services,
            client: Dial::trusting(&authority).config(),
            _backends: [plain, inside],
            _files: files,
        }
    }

    fn with_extra(&self) -> Config {
        Config::new(&self.services).set("certificates", self.certificates.clone())
    }

    #[track_caller]
    fn dial(&self, which: usize) -> Tls {
        Tls::dial(self.proxy.connect(&self.services[which]), &self.client, NAMES[which])
    }
}

fn say(client: &mut Tls, word: &[u8]) {
    client.send(word);
    client.expect(word);
}

/// Ends a connection; of one that was passed through the wire's bytes count.
fn end(scene: &mut Scene, mut client: Tls, which: usize) {
    client.fin();
    client.expect_close();
    client.peer.fin();
    let service = scene.services[which].clone();
    if which == 1 {
        // The end of TCP comes after that of TLS.
        client.peer.expect_eof();
        scene.proxy.ended(client.peer, &service, CLOSED);
    } else {
        scene.proxy.ended(client, &service, CLOSED);
    }
}

/// Goal: services come to a shared port and go from it, and the others' connections do not notice; of
/// the one that goes they are closed after their time.
#[test]
fn services_come_and_go() {
    let mut scene = Scene::new();
    let mut old = [scene.dial(0), scene.dial(1)];
    old.iter_mut().for_each(|client| say(client, b"before"));
    let mut early = Tls::client(scene.proxy.connect(&scene.services[0]), &scene.client, NAMES[2]);
    assert!(matches!(early.shake(), Err(End::Alert(_))));
    scene.proxy.refused(early, "us/route/no-match");
    scene.proxy.reload(&scene.with_extra());
    let mut extra = scene.dial(2);
    say(&mut extra, b"here");
    old.iter_mut().for_each(|client| say(client, b"during"));
    scene.proxy.reload(&scene.config);
    extra.expect_end(&End::Reset);
    let service = scene.services[2].clone();
    scene.proxy.cut(extra, &service, "us/relay/removed");
    let mut late = Tls::client(scene.proxy.connect(&scene.services[0]), &scene.client, NAMES[2]);
    assert!(matches!(late.shake(), Err(End::Alert(_))));
    scene.proxy.refused(late, "us/route/no-match");
    for (which, mut client) in old.into_iter().enumerate() {
        say(&mut client, b"after");
        end(&mut scene, client, which);
    }
    scene.proxy.finish();
}

/// Goal: reloads under load fail no handshake and cut no connection.
/// Method: two threads open and end connections without a pause, each holding one open throughout,
/// over 30 reloads that add and remove a service of their port.
#[test]
fn reloads_under_load() {
    let mut scene = Scene::new();
    let (stop, done) = (Stop::default(), AtomicUsize::new(0));
    let outcomes = thread::scope(|scope| {
        let scene = &scene;
        let (stop, done) = (&stop, &done);
        let load: Vec<_> = [0, 1]
            .map(|which| {
                scope.spawn(move || {
                    let mut held = scene.dial(which);
                    let mut outcomes = Vec::new();
                    while !stop.is_set() {
                        let mut client = scene.dial(which);
                        say(&mut client, b"passing");
                        say(&mut held, b"still here");
                        outcomes.push(over(client, which));
                        done.fetch_add(1, Ordering::Relaxed);
                    }
                    outcomes.push(over(held, which));
                    outcomes
                })
            })
            .into_iter()
            .collect();
        let _stop = stop.at_end();
        for turn in 0..30 {
            let config = if turn % 2 == 0 { scene.with_extra() } else { scene.config.clone() };
            let said = scene.proxy.reload(&config);
            assert!(!said.contains("refused"), "{said}");
            let so_far = done.load(Ordering::Relaxed);
            wait_until("connections to go on", SOON, || {
                done.load(Ordering::Relaxed) > so_far + 2
                    || load.iter().any(|one| one.is_finished())
            });
        }
        drop(_stop);
        load.into_iter().map(|one| one.join().unwrap()).collect::<Vec<_>>()
    });
    for (which, outcomes) in outcomes.into_iter().enumerate() {
        for outcome in outcomes {
            let service = scene.services[which].clone();
            scene.proxy.ended(outcome, &service, CLOSED);
        }
    }
    scene.proxy.finish();
}

/// Ends a connection and says what it did.
fn over(mut client: Tls, which: usize) -> crate::support::peer::Outcome {
    client.fin();
    client.expect_close();
    client.peer.fin();
    if which == 1 {
        client.peer.expect_eof();
        client.peer.outcome()
    } else {
        client.outcome()
    }
}
