//! Services by the admin API: every verb and refusal, what is kept and what is there after a crash.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::backend::Backend;
use crate::support::config::{Config, Service};
use crate::support::http::{Api, Reply, TOKEN};
use crate::support::peer::Peer;
use crate::support::ports::{free_port, is_free, loopback};
use crate::support::proxy::{Launch, Proxy, thalweg};
use crate::support::wait::{SOON, let_pass, wait_until};

const CLOSED: &str = "*/relay/closed";
const SERVICES: &str = "/api/tcp/services";

/// A directory with a token and a state directory, and where the API answers.
struct Place {
    dir: tempfile::TempDir,
    api: Api,
}

impl Place {
    fn new() -> Place {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("token"), TOKEN).unwrap();
        let api = Api { at: loopback(free_port()).to_string() };
        Place { dir, api }
    }

    fn state(&self) -> PathBuf {
        self.dir.path().join("state")
    }

    /// Configures it.
    fn config<'a>(&self, services: impl IntoIterator<Item = &'a Service>) -> Config {
        let admin = json!({ "listen": self.api.at, "tokenFile": self.dir.path().join("token") });
        let config = Config::new(services).set("admin", admin);
        config.set("stateDir", json!(self.state()))
    }

    /// The names of what is in the state directory, sorted.
    fn files(&self) -> Vec<String> {
        let entries = fs::read_dir(self.state().join("services")).unwrap();
        let name = |entry: fs::DirEntry| entry.file_name().into_string().unwrap();
        let mut names: Vec<String> = entries.map(|entry| name(entry.unwrap())).collect();
        names.sort();
        names
    }
}

/// A service document on a port of its own.
fn document(id: &str, backend: &Backend) -> (Service, Value) {
    let service = Service::new(id, &[backend.address]);
    let document = json!({
        "id": id, "name": format!("the service {id}"), "port": service.port(),
        "interface": "127.0.0.1",
        "rules": [{ "targets": [{ "host": "127.0.0.1", "port": backend.address.port() }] }],
    });
    (service, document)
}

/// A document that is not served.
fn idle(id: &str, name: &str) -> Value {
    json!({ "id": id, "name": name, "enabled": false, "port": 1, "rules": [] })
}

fn path(id: &str) -> String {
    format!("{SERVICES}/{id}")
}

#[track_caller]
fn expect(reply: &Reply, status: u16) -> Value {
    assert_eq!(reply.status, status, "{}", reply.body);
    reply.json()
}

#[track_caller]
fn refused(reply: &Reply, status: u16, error: &str) -> Value {
    let body = expect(reply, status);
    assert_eq!(body["error"], error, "{body}");
    assert!(body["error_description"].as_str().is_some_and(|text| !text.is_empty()), "{body}");
    body
}

fn say(proxy: &mut Proxy, service: &Service) {
    let client = proxy.connect(service);
    client.send(b"word");
    client.expect(b"word");
    client.fin();
    client.expect_eof();
    proxy.ended(client, service, CLOSED);
}

/// Goal: a service that the API creates carries bytes at once, lives through its changes and a
/// restart, and is gone when it is deleted; what is on disk is what was accepted.
/// Method: each verb once, with a connection that lives through all of them.
#[test]
fn created_changed_deleted() {
    let place = Place::new();
    let api = &place.api;
    let backend = Backend::echo();
    let mut proxy = Launch::new(place.config([])).start();
    let (service, document) = document("a/b é", &backend);
    let own = path("a%2Fb%20%C3%A9");

    let made = api.ask("POST", SERVICES, &document.to_string());
    let entity = expect(&made, 201);
    assert_eq!(made.header("location"), Some(&*own));
    assert_eq!(entity["enabled"], true, "defaults are filled in: {entity}");
    assert_eq!(entity["rules"][0]["domain"], "*");
    assert_eq!(entity["_meta"]["owner"], "api");
    assert_eq!(place.files(), ["a%2Fb%20%C3%A9.json"]);
    let kept = fs::read_to_string(place.state().join("services").join(&place.files()[0])).unwrap();
    assert_eq!(serde_json::from_str::<Value>(&kept).unwrap(), document, "as it was accepted");
    assert!(kept.lines().count() > 5, "for people: {kept}");
    wait_until("it listens", SOON, || !is_free(service.address));
    proxy.rebase();
    let live = proxy.connect(&service);
    live.send(b"before");
    live.expect(b"before");

    // Reading, and only if it differs.
    let read = api.ask("GET", &own, "");
    assert_eq!(expect(&read, 200), entity);
    let tag = read.header("etag").unwrap().to_owned();
    assert_eq!(format!("\"{}\"", entity["_meta"]["etag"].as_str().unwrap()), tag);
    let known = api.ask_with("GET", &own, &[("If-None-Match", &tag)], "");
    assert_eq!((known.status, &*known.body), (304, ""));

    // What was read can be written back, and is the same.
    let back = api.ask_with("PUT", &own, &[("If-Match", &tag)], &entity.to_string());
    assert_eq!(expect(&back, 200)["_meta"]["etag"], entity["_meta"]["etag"]);

    // Both kinds of patch; the id stays.
    let operations = json!([
        { "op": "replace", "path": "/name", "value": "n" },
        { "op": "replace", "path": "/id", "value": "other" },
    ]);
    let patched = expect(&api.ask("PATCH", &own, &operations.to_string()), 200);
    assert_eq!((&patched["name"], &patched["id"]), (&json!("n"), &json!("a/b é")));
    let merged = api.ask("PATCH", &own, r#"{ "id": "other", "tags": ["t"], "description": null }"#);
    let merged = expect(&merged, 200);
    assert_eq!((&merged["tags"], &merged["description"]), (&json!(["t"]), &json!("")));
    assert_ne!(merged["_meta"]["etag"], patched["_meta"]["etag"]);

    // A dry run says what it would do and does nothing.
    let port = free_port();
    let dry = api.ask("PATCH", &format!("{own}?dryRun=true"), &json!({ "port": port }).to_string());
    let plan = expect(&dry, 200);
    assert_eq!(plan["services"][0]["what"], json!(["port"]), "{plan}");
    assert_eq!(plan["connections"]["untouched"], 1, "{plan}");
    assert_eq!(expect(&api.ask("GET", &own, ""), 200), merged);
    assert!(is_free(loopback(port)));

    // It moves; the connection stays.
    expect(&api.ask("PATCH", &own, &json!({ "port": port }).to_string()), 200);
    let moved = service.clone().on_port(port);
    wait_until("it listens elsewhere", SOON, || {
        is_free(service.address) && !is_free(moved.address)
    });
    say(&mut proxy, &moved);
    live.send(b"after");
    live.expect(b"after");
    live.fin();
    live.expect_eof();
    proxy.ended(live, &service, CLOSED);

    // After a crash it is there.
    proxy.kill();
    let mut proxy = Launch::new(place.config([])).start();
    say(&mut proxy, &moved);
    assert_eq!(expect(&api.ask("GET", &own, ""), 200)["_meta"]["owner"], "api");

    let gone = expect(&api.ask("DELETE", &own, ""), 200);
    assert_eq!(gone, json!({ "deleted": true }));
    wait_until("nobody listens", SOON, || is_free(moved.address));
    assert_eq!(place.files(), [""; 0]);
    refused(&api.ask("GET", &own, ""), 404, "not_found");
    refused(&api.ask("DELETE", &own, ""), 404, "not_found");
    proxy.rebase();
    proxy.finish();
}

/// Goal: whatever is wrong is refused with its word, and changes nothing.
#[test]
fn each_refusal() {
    let place = Place::new();
    let api = &place.api;
    let backend = Backend::echo();
    let of_file = Service::new("file", &[backend.address]);
    let proxy = Launch::new(place.config([&of_file])).start();
    let post = |body: &Value| api.ask("POST", SERVICES, &body.to_string());
    expect(&post(&idle("own", "x")), 201);
    let before = expect(&api.ask("GET", SERVICES, ""), 200);

    refused(&api.ask("POST", SERVICES, "{ \"id\":"), 400, "bad_format");
    refused(&api.ask("POST", SERVICES, ""), 400, "bad_format");
    refused(&api.ask("POST", SERVICES, "[]"), 400, "bad_entity");
    let twice = refused(&api.ask("POST", SERVICES, r#"{"id":"x","id":"y"}"#), 400, "bad_entity");
    assert_eq!(twice["diagnostics"][0]["code"], "E105");
    refused(&post(&idle("own", "again")), 400, "already_exists");
    refused(&post(&json!({ "id": 7, "port": 1 })), 400, "bad_entity");
    refused(&post(&idle("", "empty")), 400, "bad_entity");
    refused(&post(&idle(&"x".repeat(300), "long")), 400, "bad_entity");
    // Whoever sends more may find the connection closed before they have sent it all.
    if let Ok(large) = api.try_ask("POST", SERVICES, &[], &" ".repeat((1 << 20) + 1)) {
        refused(&large, 413, "too_large");
    }

    // The path of a fault starts at the document.
    let faulty =
        json!({ "id": "x", "port": 7, "rules": [{ "targets": [{ "host": "h", "port": "7" }] }] });
    let faults = refused(&post(&faulty), 400, "bad_entity");
    assert_eq!(faults["diagnostics"][0]["path"], "rules[0].targets[0].port", "{faults}");
    assert_eq!(faults["diagnostics"][0].get("file"), None, "{faults}");
    // So does that of a fault which only shows beside others.
    let taken = json!({ "id": "x", "port": of_file.port(), "interface": "127.0.0.1",
        "rules": [{ "targets": [{ "host": "h" }] }] });
    let taken = refused(&post(&taken), 400, "bad_entity");
    assert_eq!(taken["diagnostics"][0]["path"], "port", "{taken}");
    assert!(taken["diagnostics"][0]["message"].as_str().unwrap().contains("`file`"), "{taken}");

    // What the file declares is the file's.
    let owned = [
        post(&idle("file", "mine")),
        api.ask("PUT", &path("file"), &idle("file", "mine").to_string()),
        api.ask("PATCH", &path("file"), "{}"),
        api.ask("DELETE", &path("file"), ""),
    ];
    for reply in owned {
        let body = refused(&reply, 409, "owned");
        assert_eq!(body["owner"], "file");
        let file = proxy.file().display().to_string();
        assert!(body["place"].as_str().unwrap().contains(&file), "{body}");
    }

    for (method, more, body, status, error) in [
        ("PUT", "none", idle("none", "x").to_string(), 404, "not_found"),
        ("PATCH", "none", "{}".to_owned(), 404, "not_found"),
        ("PUT", "own", idle("other", "x").to_string(), 400, "bad_entity"),
        ("PATCH", "own", "7".to_owned(), 400, "bad_patch"),
        ("PATCH", "own", r#"[{"op":"remove","path":"/no"}]"#.to_owned(), 400, "bad_patch"),
        ("PATCH", "own", r#"{"prot":1}"#.to_owned(), 400, "bad_entity"),
        ("PATCH", "own?dryRun=maybe", "{}".to_owned(), 400, "bad_query"),
        ("PATCH", "own?x=1", "{}".to_owned(), 400, "bad_query"),
    ] {
        refused(&api.ask(method, &path(more), &body), status, error);
    }
    refused(&api.ask("GET", &format!("{SERVICES}?pge=1"), ""), 400, "bad_query");

    // An address that somebody else holds: neither served nor kept.
    let other = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = other.local_addr().unwrap().port();
    let held = json!({ "id": "held", "port": port, "interface": "127.0.0.1",
        "rules": [{ "targets": [{ "host": "127.0.0.1" }] }] });
    refused(&post(&held), 409, "cannot_listen");
    assert_eq!(expect(&api.ask("GET", SERVICES, ""), 200), before, "nothing has changed");
    assert_eq!(place.files(), ["own.json"]);
    proxy.finish();
}

/// Goal: without `stateDir` nothing can be created, and the answer says which key to set.
#[test]
fn without_a_state_directory() {
    let place = Place::new();
    let config = place.config([]).set("stateDir", Value::Null);
    let text = serde_json::from_str::<Value>(&config.text()).unwrap();
    assert!(text["stateDir"].is_null());
    let proxy = Launch::new(config).start();
    let reply = place.api.ask("POST", SERVICES, &idle("a", "a").to_string());
    let body = refused(&reply, 409, "no_state_dir");
    assert!(body["error_description"].as_str().unwrap().contains("stateDir"), "{body}");
    // A reload brings it.
    proxy.write_config(&place.config([]));
    expect(&place.api.ask("POST", "/api/reload", ""), 200);
    expect(&place.api.ask("POST", SERVICES, &idle("a", "a").to_string()), 201);
    proxy.kill();
}

/// Goal: of writers that start from the same state one wins and the others are told.
/// Method: rounds of eight at once, with the same tag.
#[test]
fn one_of_many_writers_wins() {
    let place = Place::new();
    let api = &place.api;
    let proxy = Launch::new(place.config([])).start();
    let made = api.ask("POST", SERVICES, &idle("a", "0").to_string());
    expect(&made, 201);
    let mut tag = made.header("etag").unwrap().to_owned();
    for round in 0..5 {
        let replies: Vec<Reply> = thread::scope(|scope| {
            let write = |writer: i32| {
                let body = json!({ "name": format!("{round}-{writer}") }).to_string();
                api.ask_with("PATCH", &path("a"), &[("If-Match", &tag)], &body)
            };
            let writers: Vec<_> = (0..8).map(|writer| scope.spawn(move || write(writer))).collect();
            writers.into_iter().map(|writer| writer.join().unwrap()).collect()
        });
        let (won, lost): (Vec<_>, Vec<_>) = replies.iter().partition(|it| it.status == 200);
        assert_eq!(won.len(), 1, "{replies:?}");
        for reply in lost {
            refused(reply, 412, "changed");
            assert_eq!(reply.header("etag"), won[0].header("etag").or(reply.header("etag")));
        }
        won[0].header("etag").unwrap().clone_into(&mut tag);
    }
    let stale = api.ask_with("DELETE", &path("a"), &[("If-Match", "\"stale\"")], "");
    refused(&stale, 412, "changed");
    expect(&api.ask_with("DELETE", &path("a"), &[("If-Match", &tag)], ""), 200);
    proxy.finish();
}

/// Goal: the list in pages, filtered and sorted; many at once; a template.
#[test]
fn lists_templates_and_many_at_once() {
    let place = Place::new();
    let api = &place.api;
    let proxy = Launch::new(place.config([])).start();
    let lines: Vec<String> =
        (0..5).map(|at| idle(&format!("s{at}"), &format!("n{}", 9 - at)).to_string()).collect();
    let bulk = format!("{SERVICES}/_bulk");
    let made = api.ask("POST", &bulk, &format!("{}\n{{\"id\":7}}\nnonsense\n", lines.join("\n")));
    assert_eq!((made.status, made.header("content-type")), (200, Some("application/x-ndjson")));
    let results: Vec<Value> =
        made.body.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(results[0], json!({ "status": 201, "created": true, "id": "s0" }));
    let statuses: Vec<_> = results.iter().map(|it| it["status"].as_u64().unwrap()).collect();
    assert_eq!(statuses, [201, 201, 201, 201, 201, 400, 400]);

    let query = "?filter._meta.owner=api&sorted=name&page=2&pageSize=2&fields=id,_meta.owner";
    let page = api.ask("GET", &format!("{SERVICES}{query}"), "");
    let ids = json!([
        { "id": "s2", "_meta": { "owner": "api" } },
        { "id": "s1", "_meta": { "owner": "api" } }
    ]);
    assert_eq!(expect(&page, 200), ids);
    for (name, value) in
        [("x-count", "5"), ("x-offset", "2"), ("x-page", "2"), ("x-page-size", "2")]
    {
        assert_eq!(page.header(name), Some(value), "{name}");
    }
    let lines = api.ask_with("GET", SERVICES, &[("Accept", "application/x-ndjson")], "");
    assert_eq!(lines.body.lines().count(), 6, "the canary too");

    let patches = r#"{"id":"s0","patch":{"name":"p"}}
{"id":"s1","patch":[{"op":"replace","path":"/name","value":"q"}]}
{"id":"none","patch":{}}"#;
    let patched = api.ask("PATCH", &bulk, patches).body;
    assert!(patched.contains(r#"{"status":200,"updated":true,"id":"s0"}"#), "{patched}");
    assert!(patched.contains(r#""status":404"#), "{patched}");
    let put = api.ask("PUT", &bulk, &idle("s2", "r").to_string()).body;
    assert_eq!(put, "{\"status\":200,\"updated\":true,\"id\":\"s2\"}\n");
    let gone = api.ask("DELETE", &bulk, "{\"id\":\"s3\"}\n{\"id\":\"s4\"}\n").body;
    assert_eq!(gone.matches("\"deleted\":true").count(), 2, "{gone}");
    let left = expect(&api.ask("GET", &format!("{SERVICES}?filter._meta.owner=api"), ""), 200);
    let names: Vec<_> = left.as_array().unwrap().iter().map(|it| it["name"].clone()).collect();
    assert_eq!(names, ["p", "q", "r"]);

    let template = expect(&api.ask("POST", &format!("{SERVICES}/_template"), ""), 200);
    assert!(template["id"].as_str().unwrap().starts_with("tcp_service_"), "{template}");
    refused(&api.ask("GET", &path(template["id"].as_str().unwrap()), ""), 404, "not_found");
    let mut without = idle("", "made");
    without.as_object_mut().unwrap().shift_remove("id");
    let made = expect(&api.ask("POST", SERVICES, &without.to_string()), 201);
    let id = made["id"].as_str().unwrap();
    assert!(id.starts_with("tcp_service_"), "{made}");
    assert!(place.files().contains(&format!("{id}.json")));
    proxy.finish();
}

/// What a writer did before the proxy died under it.
struct Written {
    /// What was answered: the name of each service.
    answered: BTreeMap<String, String>,
    /// What was asked and not answered: the id, and the name or `None` for its end.
    asked: Option<(String, Option<String>)>,
    count: u32,
}

/// Creates, changes and deletes until nobody answers.
fn write_until_it_dies(api: &Api, round: u32, mut answered: BTreeMap<String, String>) -> Written {
    for step in 0_u32.. {
        let id = format!("s{}", (step * 7 + round) % 12);
        let name = format!("{round}-{step} {}", "x".repeat((step as usize * 37) % 3000));
        let known = answered.contains_key(&id);
        let (method, path, body, next) = if known && step % 5 == 0 {
            ("DELETE", path(&id), String::new(), None)
        } else if known {
            ("PUT", path(&id), idle(&id, &name).to_string(), Some(name))
        } else {
            ("POST", SERVICES.to_owned(), idle(&id, &name).to_string(), Some(name))
        };
        let Ok(reply) = api.try_ask(method, &path, &[], &body) else {
            return Written { answered, asked: Some((id, next)), count: step };
        };
        assert!(matches!(reply.status, 200 | 201), "{method} {path}: {}", reply.body);
        match next {
            Some(name) => drop(answered.insert(id, name)),
            None => drop(answered.remove(&id)),
        }
    }
    unreachable!("it dies first")
}

/// Goal: a crash at any moment loses nothing that was answered and leaves nothing half-written.
/// Method: fifty rounds of writes under SIGKILL at a moment that the round's number scatters; after
/// each, the proxy starts, and has what was answered, and of what was not either state.
#[test]
fn nothing_answered_is_lost_by_a_kill() {
    let place = Place::new();
    let mut answered = BTreeMap::new();
    let mut asked: Option<(String, Option<String>)> = None;
    let mut writes = 0;
    for round in 0..50_u32 {
        let proxy = Launch::new(place.config([])).without_events().start();
        let list =
            expect(&place.api.ask("GET", &format!("{SERVICES}?filter._meta.owner=api"), ""), 200);
        let found: BTreeMap<String, String> = list
            .as_array()
            .unwrap()
            .iter()
            .map(|it| {
                (it["id"].as_str().unwrap().to_owned(), it["name"].as_str().unwrap().to_owned())
            })
            .collect();
        if let Some((id, next)) = asked.take() {
            let now = found.get(&id).cloned();
            let before = answered.get(&id).cloned();
            assert!(now == before || now == next, "round {round}, {id}: neither old nor new");
            match now {
                Some(name) => drop(answered.insert(id, name)),
                None => drop(answered.remove(&id)),
            }
        }
        assert_eq!(found, answered, "round {round}");
        assert!(place.files().iter().all(|name| !name.starts_with('.')), "{:?}", place.files());
        let api = place.api.clone();
        let had = std::mem::take(&mut answered);
        let writer = thread::spawn(move || write_until_it_dies(&api, round, had));
        let_pass(Duration::from_micros(u64::from(round * 7919 % 97) * 1000));
        proxy.kill();
        let written = writer.join().unwrap();
        (answered, asked, writes) = (written.answered, written.asked, writes + written.count);
    }
    assert!(writes > 50, "the writers wrote: {writes}");
}

/// Goal: two processes cannot share a state directory; the second says whose it is.
#[test]
fn a_directory_has_one_process() {
    let place = Place::new();
    let proxy = Launch::new(place.config([])).start();
    let other = Place::new();
    let config = other.config([]).set("stateDir", json!(place.state()));
    let exit = Launch::new(config.clone()).refused();
    assert_eq!(exit.code(), Some(1), "{}", exit.said());
    assert!(exit.said().contains("another process uses it"), "{}", exit.said());
    assert!(exit.said().contains(&place.state().display().to_string()), "{}", exit.said());
    // Nor may a reload take it, which changes nothing then.
    let second = Launch::new(other.config([])).start();
    second.write_config(&config);
    refused(&other.api.ask("POST", "/api/reload", ""), 422, "refused");
    expect(&other.api.ask("POST", SERVICES, &idle("a", "a").to_string()), 201);
    assert_eq!(other.files(), ["a.json"]);
    second.kill();
    proxy.kill();
    Launch::new(config).start().kill();
}

/// A file system of a few pages.
struct Tmpfs(PathBuf);

impl Tmpfs {
    /// `None` where mounting is not permitted.
    fn mount(at: &Path) -> Option<Tmpfs> {
        fs::create_dir_all(at).unwrap();
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=128k", "thalweg-test"])
            .arg(at)
            .output()
            .is_ok_and(|output| output.status.success());
        mounted.then(|| Tmpfs(at.to_owned()))
    }
}

impl Drop for Tmpfs {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

/// Goal: a full disk and a directory that cannot be written are told apart, and nothing is changed or lost.
/// Method: a tiny file system is filled by services; then the directory is taken away.
#[test]
fn a_full_disk_changes_nothing() {
    let place = Place::new();
    let api = &place.api;
    let Some(_disk) = Tmpfs::mount(&place.state()) else {
        eprintln!("skipped: mounting a file system is not permitted here");
        return;
    };
    let proxy = Launch::new(place.config([])).start();
    expect(&api.ask("POST", SERVICES, &idle("first", "kept").to_string()), 201);
    let large = "x".repeat(30_000);
    let full = (0..20)
        .map(|at| api.ask("POST", SERVICES, &idle(&format!("big{at}"), &large).to_string()))
        .find(|reply| reply.status != 201)
        .expect("the disk gets full");
    let body = refused(&full, 507, "state_dir");
    assert!(body["error_description"].as_str().unwrap().contains("No space left"), "{body}");
    let files = place.files();
    assert!(files.iter().all(|name| !name.starts_with('.')), "{files:?}");
    let change = json!({ "name": format!("{large}y") }).to_string();
    refused(&api.ask("PATCH", &path("first"), &change), 507, "state_dir");
    assert_eq!(expect(&api.ask("GET", &path("first"), ""), 200)["name"], "kept");
    expect(&api.ask("DELETE", &path("big0"), ""), 200);
    expect(&api.ask("PATCH", &path("first"), r#"{"name":"changed"}"#), 200);

    // A directory that cannot be written: it is not there.
    let (services, away) = (place.state().join("services"), place.state().join("away"));
    fs::rename(&services, &away).unwrap();
    for reply in [
        api.ask("PATCH", &path("first"), r#"{"name":"lost"}"#),
        api.ask("DELETE", &path("first"), ""),
        api.ask("POST", SERVICES, &idle("new", "x").to_string()),
    ] {
        refused(&reply, 500, "state_dir");
    }
    assert_eq!(expect(&api.ask("GET", &path("first"), ""), 200)["name"], "changed");
    fs::rename(&away, &services).unwrap();
    expect(&api.ask("PATCH", &path("first"), r#"{"name":"again"}"#), 200);
    proxy.kill();
    let proxy = Launch::new(place.config([])).start();
    assert_eq!(expect(&api.ask("GET", &path("first"), ""), 200)["name"], "again");
    proxy.kill();
}

/// Goal: a state file that was broken by hand stops the start as any bad configuration does, with its
/// own name and line; `check` says the same, and so does a reload, which changes nothing.
#[test]
fn a_state_file_broken_by_hand_is_named() {
    let place = Place::new();
    let api = &place.api;
    let backend = Backend::echo();
    let of_file = Service::new("both", &[backend.address]);
    let proxy = Launch::new(place.config([])).start();
    expect(&api.ask("POST", SERVICES, &idle("a", "x").to_string()), 201);
    let file = place.state().join("services/a.json");
    let good = fs::read_to_string(&file).unwrap();
    let check = |config: &Config| {
        let path = place.dir.path().join("thalweg.json");
        fs::write(&path, config.text()).unwrap();
        thalweg(place.dir.path(), &["check", "-c", "thalweg.json", "--json"])
    };
    let config = place.config([&of_file]);
    for (text, code, says) in [
        ("{\n  \"id\": \"a\",\n  \"port\": }".to_owned(), "E113", ""),
        (good.replace("\"name\"", "\"nam\""), "E101", "name"),
        (good.replace("\"a\"", "\"b\""), "E201", "b.json"),
        (good.replace("\"a\"", "\"both\""), "E202", "thalweg.json"),
    ] {
        let (fresh, at) = (place.dir.path().join("fresh"), file.clone());
        fs::write(&fresh, &text).unwrap();
        fs::rename(&fresh, &at).unwrap();
        let exit = check(&config);
        assert_eq!(exit.code(), Some(1), "{}", exit.said());
        let report: Value = serde_json::from_str(&exit.stdout).unwrap();
        let found = report["diagnostics"].as_array().unwrap().iter().find(|it| it["code"] == code);
        let found = found.unwrap_or_else(|| panic!("{code}: {report}"));
        assert_eq!(found["file"], json!(file), "{found}");
        assert!(found["line"].as_u64().is_some() || code == "E201", "{found}");
        assert!(found.to_string().contains(says), "{found}");
        if code != "E202" {
            let body = refused(&api.ask("POST", "/api/reload", ""), 422, "refused");
            assert!(body["diagnostics"].to_string().contains(code), "{body}");
        }
        assert_eq!(expect(&api.ask("GET", &path("a"), ""), 200)["name"], "x", "still served");
    }
    proxy.kill();
    let exit = Launch::new(place.config([&of_file])).refused();
    assert!(exit.said().contains("E202") && exit.said().contains("a.json"), "{}", exit.said());
    fs::write(&file, good).unwrap();
    assert_eq!(check(&config).code(), Some(0));
}

/// Goal: services come one after the other without any connection noticing.
/// Method: two hundred are created, and during each of them bytes of every connection are on their way.
#[test]
fn two_hundred_services_cut_nobody() {
    let place = Place::new();
    let api = &place.api;
    let backend = Backend::echo();
    let service = Service::new("busy", &[backend.address]);
    let mut proxy = Launch::new(place.config([&service])).start();
    let peers: Vec<Peer> = (0..4).map(|_| proxy.connect(&service)).collect();
    let mut made = Vec::new();
    for at in 0..200 {
        peers.iter().for_each(|peer| peer.send(&[7; 4096]));
        let create = || {
            let (service, document) = document(&format!("n{at:03}"), &backend);
            (service, api.ask("POST", SERVICES, &document.to_string()))
        };
        let (mut service, mut reply) = create();
        if reply.status == 409 {
            // Another run of the tests has taken the port since.
            assert_eq!(reply.error(), "cannot_listen", "{}", reply.body);
            (service, reply) = create();
        }
        expect(&reply, 201);
        made.push(service);
        peers.iter().for_each(|peer| peer.expect(&[7; 4096]));
    }
    for peer in peers {
        peer.fin();
        peer.expect_eof();
        proxy.ended(peer, &service, CLOSED);
    }
    for service in [&made[0], &made[99], &made[199]] {
        say(&mut proxy, service);
    }
    assert_eq!(place.files().len(), 200);
    proxy.rebase();
    proxy.finish();
}

/// Goal: what the main file does not declare itself gets only whitelisted ports, by protocol; what was
/// created before the whitelist left it out is told at the start, and the rest runs.
/// Method: create with no whitelist, with one, for the other protocol; then start without it.
#[test]
fn ports_need_the_whitelist() {
    let place = Place::new();
    let api = &place.api;
    let backend = Backend::echo();
    let (service, document) = document("one", &backend);
    let own = Service::new("own", &[backend.address]);
    let config = || place.config([&own]).set("disablePortsWhitelist", json!(false));
    let mut proxy = Launch::new(config()).start();
    let refusal = api.ask("POST", SERVICES, &document.to_string());
    let body = refused(&refusal, 400, "bad_entity");
    assert_eq!(body["diagnostics"][0]["code"], "E301", "{body}");
    let hint = body["diagnostics"][0]["hint"].as_str().unwrap();
    assert!(
        hint.contains("portsWhitelist") && hint.contains(&service.port().to_string()),
        "{hint}"
    );
    assert!(place.files().is_empty());

    let ports = json!({ "ports": [service.port()] });
    proxy.reload(&config().set("portsWhitelist", json!({ "tls": ports })));
    refused(&api.ask("POST", SERVICES, &document.to_string()), 400, "bad_entity");
    let range = json!({ "ranges": [{ "from": service.port(), "to": service.port() }] });
    proxy.reload(&config().set("ports_whitelist", json!({ "tcp": range })));
    expect(&api.ask("POST", SERVICES, &document.to_string()), 201);
    wait_until("it listens", SOON, || !is_free(service.address));
    proxy.rebase();
    say(&mut proxy, &service);

    // It leaves the whitelist: the service is let go, the other one and the reload are not.
    proxy.reload(&config());
    wait_until("it is let go", SOON, || is_free(service.address));
    let found = api.ask("GET", "/api/diagnostics", "").json();
    assert_eq!(found["served"][0]["code"], "E301", "{found}");
    assert_eq!(place.files().len(), 1, "it is kept");
    proxy.rebase();
    say(&mut proxy, &own);
    proxy.finish();
}
