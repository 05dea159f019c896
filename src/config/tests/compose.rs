//! What providers declare: it goes with the rest or is left out, and costs nothing else.

use std::sync::Arc;

use serde_json::{Value, json};

use crate::config::sources::{Document, Further, Main, Owner, Source};
use crate::config::{Loaded, compose};
use crate::diagnostics::Declarer;

fn main(text: &Value) -> Main {
    Main { place: "/etc/t.json".into(), text: text.to_string().into(), dir: "/etc".into() }
}

fn service(id: &str, port: u16) -> Value {
    json!({ "id": id, "port": port, "rules": [{ "targets": [{ "host": "db" }] }] })
}

fn declared(text: &Value) -> Document {
    let place: Arc<str> = format!("{}.yaml", text["id"].as_str().unwrap_or("x")).into();
    Document {
        path: "items[1]".into(),
        line: Some(7),
        ..Document::whole(place, text.to_string().into())
    }
}

fn load(text: &Value, documents: &[Value]) -> Loaded {
    let documents = documents.iter().map(declared).collect();
    let source = Source { documents, ..Source::empty(Owner::Provider("tyk".into())) };
    compose(main(text), Further::Given(&[source]), None)
}

fn served(loaded: &Loaded) -> Vec<&str> {
    loaded.checked.as_ref().unwrap().services.iter().map(|it| &*it.id).collect()
}

fn open(services: &[Value]) -> Value {
    json!({ "disablePortsWhitelist": true, "services": services })
}

#[test]
fn a_fault_costs_the_service_that_has_it_and_names_its_place() {
    let mut bad = service("bad", 2);
    bad["tls"] = json!("Of");
    let loaded = load(&open(&[service("a", 1)]), &[service("b", 3), bad, service("c", 4)]);
    assert_eq!(served(&loaded), ["a", "b", "c"]);
    let [left] = &*loaded.left_out else { panic!("{:#?}", loaded.left_out) };
    assert_eq!((left.id.as_deref(), &*left.place), (Some("bad"), "bad.yaml"));
    let errors: Vec<_> = loaded.diagnostics.iter().filter(|it| it.is_error()).collect();
    let [error] = &*errors else { panic!("{errors:#?}") };
    assert_eq!((error.code, error.line, &*error.path), ("E103", Some(7), "items[1]"));
    assert_eq!((error.file.as_deref(), error.provider), (Some("bad.yaml"), Declarer::named("tyk")));
    assert!(error.message.contains("(`tls` of the native form)"), "{}", error.message);
    assert!(!error.refuses());
}

#[test]
fn who_comes_first_keeps_the_port_and_what_was_only_in_the_way_of_a_bad_one_runs() {
    // `b` goes for what the file has; `d` goes for `c`; `e` is only in the way of `d`.
    let more = [service("b", 1), service("c", 2), service("d", 2), service("e", 3)];
    let loaded = load(&open(&[service("a", 1)]), &more);
    assert_eq!(served(&loaded), ["a", "c", "e"]);
    let mut broken = service("c", 2);
    broken["nam"] = json!(1);
    let loaded = load(&open(&[]), &[broken, service("d", 2)]);
    assert_eq!(served(&loaded), ["d"]);
}

#[test]
fn a_fault_of_the_main_file_refuses_everything() {
    let loaded = load(&open(&[json!({ "id": "a" })]), &[service("b", 2)]);
    assert!(loaded.checked.is_none());
}

#[test]
fn ports_need_the_whitelist_unless_the_operator_has_named_them() {
    let text = json!({
        "ports_whitelist": { "tcp": { "ports": [2] } },
        "services": [service("a", 1)],
    });
    let loaded = load(&text, &[service("b", 2), service("c", 3)]);
    assert_eq!(served(&loaded), ["a", "b"]);
    let error = loaded.diagnostics.iter().find(|it| it.is_error()).unwrap();
    assert_eq!(error.code, "E301");
    assert!(error.hint.as_deref().is_some_and(|hint| hint.contains("\"ports\": [3]")));
    let documents = vec![Document { port_is_declared: true, ..declared(&service("c", 3)) }];
    let source = Source { documents, ..Source::empty(Owner::Provider("docker".into())) };
    assert_eq!(served(&compose(main(&text), Further::Given(&[source]), None)), ["a", "c"]);
    // What the API created before there was a whitelist does not keep the rest from starting.
    let stored = Document::whole("/s/services/c.json".into(), service("c", 3).to_string().into());
    let source = Source { documents: vec![stored], ..Source::empty(Owner::Api) };
    let loaded = compose(main(&text), Further::Given(&[source]), None);
    assert_eq!(served(&loaded), ["a"]);
    assert_eq!(loaded.left_out.len(), 1);
}

#[test]
fn many_that_do_not_go_together_end_in_bounded_time() {
    let more: Vec<Value> = (0..200).map(|n| service(&format!("s{n}"), 9)).collect();
    let loaded = load(&open(&[]), &more);
    assert_eq!(served(&loaded), ["s0"]);
    assert_eq!(loaded.left_out.len(), 199);
}

#[test]
fn a_broken_certificate_of_a_provider_costs_who_names_it() {
    let dir = tempfile::tempdir().unwrap();
    let broken = dir.path().join("broken.pem");
    std::fs::write(&broken, "no certificate").unwrap();
    let mut shows = service("shows", 2);
    shows["tls"] = json!("Enabled");
    shows["certificates"] = json!(["one"]);
    let documents = vec![declared(&shows), declared(&service("plain", 3))];
    let certificates =
        serde_json::from_value(json!([{ "name": "one", "certFile": broken }])).unwrap();
    let owner = Owner::Provider("tyk".into());
    let source = Source { documents, certificates, ..Source::empty(owner) };
    let loaded = compose(main(&open(&[])), Further::Given(&[source]), None);
    assert_eq!(served(&loaded), ["plain"]);
    let told = loaded.diagnostics.iter().any(|it| it.file.as_deref() == broken.to_str());
    assert!(told, "{:#?}", loaded.diagnostics);
}
