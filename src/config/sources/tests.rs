use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::config::{Loaded, compose};

fn main(text: &Value) -> Main {
    let mut text = text.clone();
    text["disablePortsWhitelist"] = true.into();
    Main { place: "/etc/t.json".into(), text: text.to_string().into(), dir: "/etc".into() }
}

fn stored(id: &str, text: impl ToString) -> Document {
    let place = format!("/s/services/{}", file_name(id).unwrap());
    Document::whole(place.into(), text.to_string().into())
}

fn service(id: &str, port: u16) -> Value {
    json!({ "id": id, "port": port, "rules": [{ "targets": [{ "host": "db" }] }] })
}

fn load(text: &Value, documents: Vec<Document>) -> Loaded {
    let source = Source { documents, ..Source::empty(Owner::Api) };
    compose(main(text), Further::Given(&[source]), None)
}

/// The one error, as code, file and path.
fn error(loaded: &Loaded) -> (&str, Option<&str>, &str) {
    let errors: Vec<_> = loaded.diagnostics.iter().filter(|it| it.is_error()).collect();
    assert_eq!(errors.len(), 1, "{:#?}", loaded.diagnostics);
    assert!(loaded.checked.is_none());
    (errors[0].code, errors[0].file.as_deref(), &errors[0].path)
}

#[test]
fn services_of_all_sources_are_one_configuration() {
    let text = json!({ "services": [service("a", 1)] });
    let loaded = load(&text, vec![stored("b", service("b", 2)), stored("c", service("c", 3))]);
    let checked = loaded.checked.unwrap();
    let ids: Vec<_> = checked.services.iter().map(|service| &*service.id).collect();
    assert_eq!(ids, ["a", "b", "c"]);
    let entity = |id| loaded.entities.get(id).unwrap();
    assert_eq!(entity("a").owner.word(), "file");
    assert_eq!(entity("a").place, "services[0] in /etc/t.json");
    assert_eq!((entity("c").owner.word(), &*entity("c").place), ("api", "/s/services/c.json"));
    // Without any in the main file too.
    let loaded = load(&json!({}), vec![stored("b", service("b", 2))]);
    assert_eq!(loaded.checked.unwrap().services.len(), 1);
}

#[test]
fn findings_name_the_document_and_start_there() {
    let text = json!({ "services": [service("a", 1)] });
    let bad = stored("b", "{ \"id\": \"b\",\n \"port\": 2,\n \"nam\": 1,\n \"enabled\": false }");
    let loaded = load(&text, vec![bad.clone()]);
    assert_eq!(error(&loaded), ("E101", Some(&*bad.place), "nam"));
    assert_eq!(loaded.diagnostics[0].line, Some(3));
    let broken = stored("b", "{");
    assert_eq!(error(&load(&text, vec![broken.clone()])), ("E113", Some(&*broken.place), ""));
    let twice = stored("b", r#"{"id":"b","enabled":false,"port":2,"port":3}"#);
    assert_eq!(error(&load(&text, vec![twice.clone()])), ("E105", Some(&*twice.place), "port"));
    let fault = load(&json!({ "services": [{ "id": "a", "prt": 1, "enabled": false }] }), vec![]);
    assert_eq!(error(&fault), ("E101", None, "services[0].prt"));
}

#[test]
fn an_address_that_two_sources_want_is_told_with_both() {
    let loaded = load(
        &json!({ "services": [service("a", 1)] }),
        vec![stored("b", service("b", 2)), stored("c", service("c", 2))],
    );
    assert_eq!(error(&loaded), ("E124", Some("/s/services/c.json"), "port"));
    let message = &loaded.diagnostics[0].message;
    assert!(message.contains("service `b` (/s/services/b.json)"), "{message}");
}

#[test]
fn an_id_of_two_sources_is_told_with_both_places() {
    let text = json!({ "services": [service("a", 1)] });
    let loaded = load(&text, vec![stored("a", service("a", 2))]);
    assert_eq!(error(&loaded), ("E202", Some("/s/services/a.json"), "id"));
    let message = &loaded.diagnostics[0].message;
    assert!(message.contains("services[0] in /etc/t.json"), "{message}");
    // Two of the main file are the other checks' matter.
    let text = json!({ "services": [service("a", 1), service("a", 2)] });
    assert_eq!(error(&load(&text, vec![])), ("E121", None, "services[1].id"));
    let text = json!({});
    let misnamed = Document { place: "/s/services/x.json".into(), ..stored("a", service("a", 2)) };
    let loaded = load(&text, vec![misnamed]);
    assert_eq!(error(&loaded), ("E201", Some("/s/services/x.json"), "id"));
}

#[test]
fn names_of_files_are_safe() {
    for (id, name) in [
        ("pg", "pg.json"),
        ("a/b", "a%2Fb.json"),
        ("..", "%2E..json"),
        (".hidden", "%2Ehidden.json"),
        ("é %", "%C3%A9%20%25.json"),
    ] {
        assert_eq!(file_name(id).as_deref(), Some(name));
    }
    assert_eq!(file_name(&"x".repeat(250)).map(|name| name.len()), Some(255));
    assert_eq!(file_name(&"x".repeat(251)), None);
}

#[test]
fn the_tag_is_of_the_meaning() {
    let tag = |text: &str| Entity::read(Owner::Api, String::new(), text).unwrap().etag;
    let one = tag(r#"{ "id": "a", "port": 1 }"#);
    assert_eq!(one, tag(r#"{ "port": 1, "id": "a", "enabled": true, "_meta": { "etag": "x" } }"#));
    assert_ne!(one, tag(r#"{ "id": "a", "port": 2 }"#));
    assert_ne!(tag(r#"{"id":"a","tags":["b","c"]}"#), tag(r#"{"id":"a","tags":["c","b"]}"#));
}

#[test]
fn defaults_are_no_fault() {
    let bare = json!({ "id": "a", "port": 1, "sni": { "enabled": true, "forwardIfNoMatch": true,
        "forwardsTo": { "host": "x" } }, "rules": [{ "targets": [{ "host": "y" }, { "srv": "_z._tcp.x" }] }] });
    let full = with_defaults(bare.clone());
    assert_eq!(with_defaults(full.clone()), full);
    assert_eq!(full["rules"][0]["targets"][0]["port"], 8080);
    let loaded = load(&json!({}), vec![stored("a", &full)]);
    assert!(loaded.diagnostics.is_empty(), "{:#?}", loaded.diagnostics);
}

proptest! {
    #[test]
    fn a_state_file_is_read_as_it_was_written(
        id in "[^\\p{C}]{0,8}[^\\p{C}\\s][^\\p{C}]{0,8}",
        name in "\\PC{0,40}",
        port in 1_u16..,
    ) {
        let dir = tempfile::tempdir().unwrap();
        let services = services_dir(dir.path());
        std::fs::create_dir_all(&services).unwrap();
        let document = json!({ "id": id, "name": name, "enabled": false, "port": port });
        let file = file_name(&id).unwrap();
        prop_assert!(!file.starts_with('.') && !file.contains('/'));
        std::fs::write(services.join(file), format!("{document:#}\n")).unwrap();
        let mut found = Vec::new();
        let source = read_state(dir.path(), &mut found);
        prop_assert!(found.is_empty());
        let loaded = compose(main(&json!({})), Further::Given(&[source]), None);
        prop_assert!(loaded.checked.is_some(), "{:?}", loaded.diagnostics);
        prop_assert_eq!(&loaded.entities.get(&id).unwrap().document, &with_defaults(document));
    }

    #[test]
    fn ids_have_files_of_their_own(one in "\\PC{0,12}", other in "\\PC{0,12}") {
        prop_assert_eq!(file_name(&one) == file_name(&other), one == other);
    }
}
