//! The dashboard, as a headless Chromium sees it: what it shows is what lives, what is done there is
//! done, everybody can use it, and nothing that comes from outside is anything but text.

mod browser;

use std::fs;

use serde_json::{Value, json};
use tempfile::TempDir;

use self::browser::Browser;
use crate::support::admin::ask;
use crate::support::backend::{Backend, Manual};
use crate::support::config::{Config, Service};
use crate::support::peer::Peer;
use crate::support::ports::free_port;
use crate::support::proxy::{Launch, Proxy};
use crate::support::tls::{Dial, Tls};

const CLOSED: &str = "*/relay/closed";
const TOKEN: &str = "0123456789abcdef";
/// What would show if it were read as anything but text.
const HOSTILE: &str =
    "<img src=x onerror=\"document.title='owned'\"><script>document.title='owned'</script>";

/// A proxy with an admin API that changes things for who has the token.
struct Scene {
    proxy: Proxy,
    at: String,
    base: String,
    _files: TempDir,
}

fn scene(services: &[&Service], listen: &str, more: &[(&str, Value)]) -> Scene {
    let files = tempfile::tempdir().unwrap();
    let token = files.path().join("admin.token");
    fs::write(&token, TOKEN).unwrap();
    let port = free_port();
    let admin = json!({ "listen": format!("{listen}:{port}"), "tokenFile": token });
    let mut config = Config::new(services.iter().copied()).set("admin", admin);
    for (member, value) in more {
        config = config.set(member, value.clone());
    }
    let proxy = Launch::new(config).start();
    let at = format!("127.0.0.1:{port}");
    Scene { proxy, base: format!("http://{at}/"), at, _files: files }
}

impl Scene {
    fn open(&self, browser: &mut Browser, page: &str, heading: &str) {
        browser.open(&format!("{}#/{page}", self.base));
        browser.until(&format!("text('h1') === {}", json!(heading)));
    }

    /// Has the token, without having been asked.
    fn sign_in(&self, browser: &mut Browser) {
        browser.open(&self.base);
        browser.until("text('h1') === 'Overview'");
        browser.get(&format!("sessionStorage.setItem('thalweg.token', '{TOKEN}')"));
    }
}

/// Goal: the files are whole, may be kept, and carry the policy that forbids all but themselves; they
/// need no token, and no other page can ask for them.
/// Method: curl, on an address that others can reach.
#[test]
fn files() {
    let backend = Backend::echo();
    let service = Service::new("svc", &[backend.address]);
    let scene = scene(&[&service], "0.0.0.0", &[]);
    let page = ask(&scene.at, "/", &["-D", "-"]);
    assert_eq!(page.status, 200, "{}", page.body);
    let head = page.body.to_lowercase();
    assert!(head.contains("content-security-policy: default-src 'self';"), "{head}");
    assert!(head.contains("x-content-type-options: nosniff"), "{head}");
    assert!(head.contains("content-type: text/html; charset=utf-8"), "{head}");
    assert!(!head.contains("<style") && !head.contains("style="), "{head}");
    let tag = page.body.lines().find_map(|line| line.strip_prefix("etag: ")).expect("an ETag");
    let known = format!("If-None-Match: {}", tag.trim());
    assert_eq!(ask(&scene.at, "/", &["-H", &known]).status, 304);
    let named: Vec<&str> =
        page.body.split('"').filter(|word| word.starts_with("/assets/")).collect();
    assert!(named.len() >= 3, "{named:?}");
    for name in named {
        assert_eq!(ask(&scene.at, name, &[]).status, 200, "{name}");
    }
    assert_eq!(ask(&scene.at, "/assets/none.js", &[]).status, 404);
    assert_eq!(ask(&scene.at, "/assets/index.html", &[]).status, 404, "only at /");
    assert_eq!(ask(&scene.at, "/assets/..%2fdashboard.rs", &[]).status, 404);
    assert_eq!(ask(&scene.at, "/api/status", &[]).status, 401, "the rest needs the token");
    assert_eq!(ask(&scene.at, "/", &["-H", "Host: evil.test"]).status, 421);
    assert_eq!(ask(&scene.at, "/", &["-H", "Sec-Fetch-Site: cross-site"]).status, 403);
    scene.proxy.finish();
}

/// Goal: every page can be used by everybody: labels, roles, contrast in both schemes, from 360 px to
/// 2560 px; the switch of the scheme is kept; the console stays quiet and nobody else is asked.
/// Method: each page at each size, looked over by `audit.js`.
#[test]
fn pages() {
    let backend = Backend::echo();
    let service = Service::new("svc", &[backend.address]);
    let mut scene = scene(&[&service], "127.0.0.1", &[]);
    let client = scene.proxy.connect(&service);
    client.send(b"x");
    client.expect(b"x");
    let mut browser = Browser::start();
    let pages = [
        ("overview", "Overview", "text('.figures dd').startsWith('1')"),
        ("services", "Services", "true"),
        ("listeners", "Listeners", "true"),
        ("targets", "Targets", "text('tbody').includes('Up')"),
        ("connections", "Connections", "text('tbody').includes('127.0.0.1')"),
        ("certificates", "Certificates", "text('main').includes('none is configured')"),
        ("diagnostics", "Diagnostics", "document.querySelector('main p, main section')"),
        (
            "search?q=svc",
            "Search: svc",
            "text('main').includes('Connections: 1') || text('main').includes('svc')",
        ),
        ("new", "New service", "at('rules[0].domain')"),
        ("nowhere", "Not found", "true"),
    ];
    for (width, scheme) in [(1280, "light"), (1280, "dark"), (360, "light"), (2560, "dark")] {
        browser.window(width, 900, scheme);
        for (page, heading, there) in pages {
            scene.open(&mut browser, page, heading);
            browser.until(there);
            browser.audit(&format!("{page} at {width} px, {scheme}"));
        }
    }
    // The switch wins over what the system says, and is remembered.
    let dark = "getComputedStyle(document.body).backgroundColor === 'rgb(15, 20, 25)'";
    browser.window(1280, 900, "light");
    browser.until(&format!("!({dark})"));
    let choose = "scheme.value = 'dark'; scheme.dispatchEvent(new Event('change'))";
    browser.get(&format!("{{ const scheme = document.getElementById('scheme'); {choose} }}"));
    browser.until(dark);
    browser.call("Page.reload", json!({}));
    browser.until(&format!("text('h1') === 'Not found' && {dark}"));
    browser.was_quiet(&scene.base);
    drop(browser);
    client.fin();
    client.expect_eof();
    scene.proxy.ended(client, &service, CLOSED);
    scene.proxy.finish();
}

/// Goal: the keyboard alone is enough: to the content, to the search, through a dialog that gives the
/// focus back; a graph is read by arrow keys.
/// Method: keys, and where the focus is.
#[test]
fn by_keyboard() {
    let backend = Backend::echo();
    let service = Service::new("svc", &[backend.address]);
    let mut scene = scene(&[&service], "127.0.0.1", &[]);
    let client = scene.proxy.connect(&service);
    client.send(b"x");
    client.expect(b"x");
    let mut browser = Browser::start();
    scene.open(&mut browser, "overview", "Overview");
    browser.key("Tab");
    browser.until("document.activeElement.className === 'skip'");
    browser.key("Enter");
    browser.until("document.activeElement.id === 'main'");
    browser.key("/");
    browser.until("document.activeElement.id === 'search-text'");
    browser.get(
        "[...document.querySelectorAll('.plot')].find((one) => one.checkVisibility()).focus()",
    );
    browser.until("Number(document.activeElement.getAttribute('aria-valuemax')) >= 2");
    browser.key("ArrowLeft");
    browser.until(
        "Number(document.activeElement.getAttribute('aria-valuenow')) < \
         Number(document.activeElement.getAttribute('aria-valuemax')) && \
         document.activeElement.querySelector('.cursor')",
    );
    scene.open(&mut browser, "connections", "Connections");
    browser.until("document.querySelector('tbody button')");
    browser.get("document.querySelector('tbody button').focus()");
    browser.key("Enter");
    browser.until("document.querySelector('dialog')?.contains(document.activeElement)");
    browser.audit("a dialog");
    for _ in 0..6 {
        browser.key("Tab");
        // The browser's own parts come between; the page behind does not.
        browser.until(
            "document.activeElement === document.body || document.querySelector('dialog').contains(document.activeElement)",
        );
    }
    browser.key("Escape");
    browser.until("!document.querySelector('dialog') && document.activeElement.closest('tbody')");
    browser.was_quiet(&scene.base);
    drop(browser);
    client.fin();
    client.expect_eof();
    scene.proxy.ended(client, &service, CLOSED);
    scene.proxy.finish();
}

/// Goal: a token is asked for where one is wanted, a wrong one again, and is kept for the tab only; a
/// connection is ended with it.
/// Method: an address that others can reach; the dialog; the button that ends a connection.
#[test]
fn token() {
    let backend = Backend::echo();
    let service = Service::new("svc", &[backend.address]);
    let mut scene = scene(&[&service], "0.0.0.0", &[]);
    let client = scene.proxy.connect(&service);
    client.send(b"x");
    client.expect(b"x");
    let mut browser = Browser::start();
    browser.open(&format!("{}#/connections", scene.base));
    let show = |browser: &mut Browser, text: &str| {
        browser.until("document.querySelector('dialog input[type=password]')");
        browser.get(&format!("document.querySelector('dialog input').value = {}", json!(text)));
        browser.press("Use it");
    };
    browser.until("document.querySelector('dialog input[type=password]')");
    browser.audit("the token's dialog");
    browser.key("Escape");
    browser.until("!document.getElementById('banner').hidden && text('#banner').includes('token')");
    browser.press("Sign in");
    show(&mut browser, "not the token at all");
    browser.until("text('dialog').includes('not taken')");
    show(&mut browser, TOKEN);
    browser
        .until("text('tbody').includes('127.0.0.1') && document.getElementById('banner').hidden");
    assert_eq!(browser.get("localStorage.length"), 0, "kept for the tab only");
    assert_eq!(browser.get("document.cookie"), "");
    browser.press("End");
    browser.press("End it");
    client.expect_reset();
    browser.until("text('main').includes('No connections.') && !document.querySelector('dialog')");
    browser.was_quiet(&scene.base);
    drop(browser);
    scene.proxy.ended(client, &service, "us/relay/killed");
    scene.proxy.finish();
}

/// Goal: what clients and files say is text wherever it is shown.
/// Method: markup as a protocol that a client offers (ALPN), and in a name as an answer of the API
/// might have it; the page shows them and does nothing.
#[test]
fn hostile_text() {
    let upstream = Manual::start();
    let target = json!({ "host": "127.0.0.1", "port": upstream.address.port() });
    let service = Service::new("svc", &[])
        .set("tls", json!("PassThrough"))
        .set("sni", json!({ "enabled": true }))
        .set("name", json!(HOSTILE))
        .set("rules", json!([{ "domain": "a.test", "targets": [target] }]));
    let mut scene = scene(&[&service], "127.0.0.1", &[]);
    let client = scene.proxy.connect(&service);
    let authority = crate::support::certs::Authority::new("nobody");
    let config = Dial::trusting(&authority).alpn(&[HOSTILE]).config();
    let hello = Tls::client(Peer::over(anything()).unwrap(), &config, "a.test").unsent();
    client.send(&hello);
    let behind = upstream.accept();
    behind.expect(&hello);

    let mut browser = Browser::start();
    scene.open(&mut browser, "connections", "Connections");
    browser.until(&format!("text('tbody').includes({})", json!(HOSTILE)));
    // The same, in every text of the list.
    let row = json!({ "connections": [{
        "id": HOSTILE, "service": HOSTILE, "remote": HOSTILE, "sni": HOSTILE, "target": HOSTILE,
        "state": HOSTILE, "relay": HOSTILE, "core": 0, "age": 1, "idle": 1, "dataIn": 1, "dataOut": 1,
    }], "truncated": false });
    browser.get(&format!(
        "{{ const real = fetch; window.fetch = (path, more) => String(path).startsWith('/api/tcp/connections') \
         ? Promise.resolve(new Response(JSON.stringify({row}))) : real(path, more); }}"
    ));
    browser.until(&format!("text('.sni:not(th)') === {}", json!(HOSTILE)));
    browser.get("document.querySelector('tbody button').click()");
    browser.until(&format!("text('dialog').includes({})", json!(HOSTILE)));
    scene.open(&mut browser, &format!("search?q={}", "%3Cimg"), "Search: <img");
    scene.open(&mut browser, "overview", "Overview");
    browser.until("text('.figures dd').startsWith('1')");
    assert_eq!(browser.get("document.title"), "Overview · Thalweg");
    assert_eq!(browser.get("document.querySelectorAll('main img, main script').length"), 0);
    browser.was_quiet(&scene.base);
    drop(browser);
    behind.fin();
    client.expect_eof();
    client.fin();
    behind.expect_eof();
    scene.proxy.ended(client, &service, CLOSED);
    scene.proxy.finish();
}

/// A stream that nobody uses.
fn anything() -> std::net::TcpStream {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap()
}

/// Goal: the page says so when the proxy does not answer, and goes on by itself when it does.
/// Method: requests fail, and then do not.
#[test]
fn no_answer() {
    let backend = Backend::echo();
    let service = Service::new("svc", &[backend.address]);
    let scene = scene(&[&service], "127.0.0.1", &[]);
    let mut browser = Browser::start();
    scene.open(&mut browser, "overview", "Overview");
    browser.until("text('#state') === 'serving'");
    // To the page an answer that takes too long and one that fails are the same; this one is quick.
    browser.get("{ const real = fetch; window.broken = true; window.fetch = (path, more) => window.broken ? Promise.reject(new TypeError('gone')) : real(path, more); }");
    browser.until(
        "!document.getElementById('banner').hidden && text('#banner').includes('does not answer')",
    );
    browser.audit("the banner");
    browser.get("window.broken = false");
    browser.until("document.getElementById('banner').hidden && text('#state') === 'serving'");
    browser.was_quiet(&scene.base);
    drop(browser);
    scene.proxy.finish();
}

/// Goal: a service is made by the form, with the checks of the file at its fields and the plan before
/// it is saved; its connections show and its graph moves; it is changed, a change by somebody else
/// meanwhile is not lost unseen, and it is deleted.
/// Method: what a user would press and type.
#[test]
fn a_service_is_made_changed_and_deleted() {
    let backend = Backend::echo();
    let of_file = Service::new("of-file", &[backend.address]);
    let state = tempfile::tempdir().unwrap();
    let mut scene = scene(&[&of_file], "127.0.0.1", &[("stateDir", json!(state.path()))]);
    let port = free_port();
    let made = Service::new("made", &[backend.address]).on_port(port);
    let mut browser = Browser::start();
    scene.sign_in(&mut browser);
    scene.open(&mut browser, "services", "Services");
    browser.press("New service");
    browser.fill("name", "Made here");
    browser.fill("id", "made");
    browser.fill("interface", "127.0.0.1");
    browser.fill("port", "99999");
    browser.until("text('[data-path=\"port\"] .error').startsWith('E')");
    assert_eq!(
        browser.get("at('port').querySelector('input').getAttribute('aria-invalid')"),
        "true"
    );
    browser.audit("the form with a fault");
    browser.fill("port", port.to_string());
    browser.until("!at('port').querySelector('.error').textContent");
    if browser.get("Boolean(at('rules[0].targets[0]'))") == false {
        browser.press("Add a target to rule 0");
    }
    browser.fill("rules[0].targets[0].host", "127.0.0.1");
    browser.fill("rules[0].targets[0].port", backend.address.port().to_string());
    browser.until(&format!("text('.verdict').includes('adds a listener on 127.0.0.1:{port}')"));
    browser.press("Create");
    browser.until("text('h1') === 'Made here' && location.hash === '#/services/made'");
    scene.proxy.rebase();

    // A connection appears, and the graph moves with its bytes.
    let client = scene.proxy.connect(&made);
    client.send(&[b'x'; 4096]);
    client.expect(&[b'x'; 4096]);
    let here = format!("127.0.0.1:{}", client.port());
    browser.until(&format!("text('main').includes({})", json!(here)));
    browser
        .until("document.querySelectorAll('.graph svg path')[2].getAttribute('d').includes('L')");
    browser.until("text('.graph:nth-of-type(2) .readout').endsWith('connections 1')");
    browser.audit("a service");

    // Changed, while somebody else changes it too.
    browser.press("Edit");
    browser.fill("description", "mine");
    browser.until("text('.verdict').includes('Saving it')");
    let bearer = format!("Authorization: Bearer {TOKEN}");
    let patch = r#"{"description":"theirs"}"#;
    let form = [
        "-X",
        "PATCH",
        "-H",
        &bearer,
        "-H",
        "Content-Type: application/merge-patch+json",
        "-d",
        patch,
    ];
    assert_eq!(ask(&scene.at, "/api/tcp/services/made", &form).status, 200);
    browser.press("Save");
    browser.until("text('dialog').includes('theirs')");
    browser.press("Keep editing mine");
    browser.until("!document.querySelector('dialog')");
    browser.press("Save");
    browser.until("location.hash === '#/services/made' && text('main').includes('mine')");
    let entity = ask(&scene.at, "/api/tcp/services/made", &[]).json();
    assert_eq!(entity["description"], "mine", "{entity}");
    client.send(b"still here");
    client.expect(b"still here");

    // What a file owns is shown and not changed.
    scene.open(&mut browser, "services/of-file/edit", "the service of-file");
    browser.until("text('.owned').includes('thalweg.json')");
    assert_eq!(browser.get("Boolean(control('Save'))"), false);
    browser.audit("a service of the file");

    scene.open(&mut browser, "services/made", "Made here");
    browser.press("Delete");
    browser.press("Delete");
    browser.until("location.hash === '#/services' && !text('main').includes('Made here')");
    client.fin();
    client.expect_eof();
    scene.proxy.ended(client, &made, CLOSED);
    browser.was_quiet(&scene.base);
    drop(browser);
    scene.proxy.finish();
}
