//! What a reload would do, asked before; and what it then did.

use std::fs;

use serde_json::{Value, json};

use crate::support::backend::Backend;
use crate::support::config::{Config, Service};
use crate::support::http::{Api, TOKEN};
use crate::support::ports::{free_port, loopback};
use crate::support::proxy::Launch;
use crate::support::wait::{SOON, wait_until};

const CLOSED: &str = "*/relay/closed";

fn strings(value: &Value) -> Vec<String> {
    let words = value.as_array().into_iter().flatten().filter_map(Value::as_str);
    let mut words: Vec<String> = words.map(str::to_owned).collect();
    words.sort();
    words
}

/// The ids of the plan's services that change so.
fn ids(plan: &Value, change: &str) -> Vec<String> {
    let services = plan["services"].as_array().unwrap().iter();
    let ids = services.filter(|it| it["change"] == change).filter_map(|it| it["id"].as_str());
    let mut ids: Vec<String> = ids.map(str::to_owned).collect();
    ids.sort();
    ids
}

/// Goal: the plan is what the reload then does, to listeners, services and connections.
/// Method: a service of each fate, each with a connection; the plan of the text, the plan of the file,
/// the reload, and what became of the connections.
#[test]
fn the_plan_is_what_the_reload_does() {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("token"), TOKEN).unwrap();
    let api = Api { at: loopback(free_port()).to_string() };
    let backend = Backend::echo();
    let make = |id: &str| Service::new(id, &[backend.address]);
    let (stays, changes, leaves) = (make("stays"), make("changes"), make("leaves"));
    let closes = make("closes").set("onRemoved", json!({ "closeAfter": "0s" }));
    let comes = make("comes");
    let admin = json!({ "listen": api.at, "tokenFile": directory.path().join("token") });
    let with =
        |services: &[&Service]| Config::new(services.iter().copied()).set("admin", admin.clone());
    let mut proxy = Launch::new(with(&[&stays, &changes, &leaves, &closes])).start();
    let live = |service: &Service| {
        let peer = proxy.connect(service);
        peer.send(b"x");
        peer.expect(b"x");
        peer
    };
    let (of_stays, of_changes) = (live(&stays), live(&changes));
    let (of_leaves, of_closes) = (live(&leaves), live(&closes));
    let idle = api.ask("GET", "/api/plan", "").json();
    assert_eq!((&idle["changes"], &idle["unchanged"]), (&json!(false), &json!(5)), "{idle}");

    let changed = changes.clone().set("tags", json!(["t"])).set("retries", json!(2));
    let next = with(&[&stays, &changed, &comes]);
    // A text, before anybody writes it; it lacks the harness's own service.
    let asked = format!("/api/plan?file={}", proxy.file().display());
    let of_text = api.ask("POST", &asked, &next.text());
    assert_eq!(of_text.status, 200, "{}", of_text.body);
    assert_eq!(ids(&of_text.json(), "removed"), ["canary", "closes", "leaves"]);
    assert_eq!(api.ask("POST", "/api/plan?file=relative.json", "{}").status, 400);
    let bad = api.ask("POST", &asked, "{ \"services\": 7 }");
    assert_eq!((bad.status, bad.error().as_str()), (422, "refused"));
    assert_eq!(bad.json()["diagnostics"][0]["path"], "services");

    proxy.write_config(&next);
    let plan = api.ask("GET", "/api/plan", "").json();
    assert_eq!(ids(&plan, "added"), ["comes"], "{plan}");
    assert_eq!(ids(&plan, "changed"), ["changes"]);
    assert_eq!(ids(&plan, "removed"), ["closes", "leaves"]);
    let services = plan["services"].as_array().unwrap();
    let of_changed = services.iter().find(|it| it["id"] == "changes").unwrap();
    assert_eq!(of_changed["what"], json!(["tags", "retries"]), "{plan}");
    assert_eq!(of_changed["connections"], 1);
    assert_eq!(plan["unchanged"], 2);
    assert_eq!(plan["connections"], json!({ "untouched": 2, "drained": 1, "closed": 1 }));
    assert_eq!(strings(&plan["listeners"]["added"]), [comes.address.to_string()]);

    let before = proxy.log().len();
    let applied = api.ask("POST", "/api/reload", "");
    assert_eq!(applied.status, 200, "{}", applied.body);
    let applied = applied.json();
    assert_eq!(strings(&applied["added"]), ids(&plan, "added"));
    assert_eq!(strings(&applied["changed"]), ids(&plan, "changed"));
    assert_eq!(strings(&applied["removed"]), ids(&plan, "removed"));
    let sorted = |which: &str| strings(&plan["listeners"][which]);
    assert_eq!(strings(&applied["listeners"]["added"]), sorted("added"));
    assert_eq!(strings(&applied["listeners"]["removed"]), sorted("removed"));
    let line = "added comes; changed changes (tags retries); removed leaves, closes";
    wait_until("the log says it in a line", SOON, || proxy.log()[before..].contains(line));

    // Untouched, drained: they live. Closed: it ends.
    of_closes.expect_end();
    proxy.cut(of_closes, &closes, "*/removed");
    for (peer, service) in [(of_stays, &stays), (of_changes, &changes), (of_leaves, &leaves)] {
        peer.send(b"y");
        peer.expect(b"y");
        peer.fin();
        peer.expect_eof();
        proxy.ended(peer, service, CLOSED);
    }
    let status = api.ask("GET", "/api/status", "").json();
    assert_eq!(status["lastReload"]["ok"], true, "{status}");

    // A refused one says why, and the outcome is kept.
    proxy.write_text("{ \"services\": 7 }");
    let refused = api.ask("POST", "/api/reload", "");
    assert_eq!((refused.status, refused.error().as_str()), (422, "refused"));
    assert_eq!(refused.json()["diagnostics"][0]["path"], "services");
    let status = api.ask("GET", "/api/status", "").json();
    assert_eq!(status["lastReload"]["ok"], false, "{status}");
    assert!(status["lastReload"]["message"].as_str().unwrap().contains("error"), "{status}");
    proxy.rebase();
    proxy.finish();
}
