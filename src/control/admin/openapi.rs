//! The admin API for programs: an OpenAPI document (3.1), made of what stands in `openapi/`, with the
//! service's own schema, and with the refusals that every path knows.

use std::sync::LazyLock;

use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use serde_json::{Map, Value, json};

use crate::cli::schema;

/// Every path, in short; see [`operation`].
const PATHS: &str = include_str!("openapi/paths.json");
/// What bodies look like.
const SCHEMAS: &str = include_str!("openapi/schemas.json");

/// The document.
pub(super) async fn document() -> Response {
    static TEXT: LazyLock<String> = LazyLock::new(|| assemble().to_string());
    ([(CONTENT_TYPE, "application/json")], TEXT.as_str()).into_response()
}

fn assemble() -> Value {
    let paths: Map<String, Value> = serde_json::from_str(PATHS).unwrap_or_default();
    let paths: Map<String, Value> =
        paths.into_iter().map(|(path, item)| (path.clone(), expand(&path, item))).collect();
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Thalweg's admin API",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "Reading needs no token on a loopback address or a Unix socket, unless \
                            `admin.requireToken` says so. Changes need the admin token.",
            "license": { "name": "Apache-2.0", "identifier": "Apache-2.0" },
        },
        "servers": [{ "url": "/" }],
        "paths": paths,
        "components": {
            "schemas": schemas(),
            "securitySchemes": { "token": { "type": "http", "scheme": "bearer" } },
        },
    })
}

/// The operations of a path.
fn expand(path: &str, item: Value) -> Value {
    let Value::Object(methods) = item else { return item };
    let one = |(method, short): (String, Value)| {
        let operation = operation(path, &method, &short);
        (method, operation)
    };
    methods.into_iter().map(one).collect()
}

/// One operation. In short it has `id`, `tag`, `summary`, `query` (parameters and their schemas) and
/// `required` (those of them that are), `body` or `optionalBody` (a schema) or `linesBody` (NDJSON),
/// `answers` (status and schema, or media type), `lines` (NDJSON where it is asked for), `bare` (statuses
/// without a body) and `errors` (statuses beside those that every path knows).
fn operation(path: &str, method: &str, short: &Value) -> Value {
    let text = |key: &str| short.get(key).cloned().unwrap_or_default();
    let free = json!([{}, { "token": [] }]);
    let mut whole = Map::new();
    let mut add = |key: &str, value: Value| drop(whole.insert(key.to_owned(), value));
    add("operationId", text("id"));
    add("summary", text("summary"));
    add("tags", json!([text("tag")]));
    add("security", if method == "get" { free } else { json!([{ "token": [] }]) });
    let parameters = parameters(path, short);
    if !parameters.is_empty() {
        add("parameters", parameters.into());
    }
    for (key, required) in [("body", true), ("optionalBody", false)] {
        if let Some(schema) = short.get(key).and_then(Value::as_str) {
            add(
                "requestBody",
                json!({
                    "required": required, "content": { "application/json": { "schema": refer(schema) } }
                }),
            );
        }
    }
    if short.get("linesBody").is_some() {
        add("requestBody", json!({ "required": true, "content": lines() }));
    }
    let mut responses = Map::new();
    for (status, schema) in short.get("answers").and_then(Value::as_object).into_iter().flatten() {
        let content = match schema.as_str().unwrap_or_default() {
            kind if kind.contains('/') => json!({ kind: {} }),
            schema if short.get("lines").is_some() => json!({
                "application/json": { "schema": refer(schema) },
                "application/x-ndjson": { "schema": { "type": "string" } }
            }),
            schema => json!({ "application/json": { "schema": refer(schema) } }),
        };
        let what = json!({ "description": reason(status), "content": content });
        responses.insert(status.clone(), what);
    }
    for status in numbers(short, "bare") {
        responses.insert(status.clone(), json!({ "description": reason(&status) }));
    }
    let always = ["400", "401", "403", "408", "421", "431"].map(str::to_owned);
    for status in numbers(short, "errors").into_iter().chain(always) {
        let refused = json!({
            "description": reason(&status),
            "content": { "application/json": { "schema": refer("Error") } }
        });
        responses.entry(status).or_insert(refused);
    }
    add("responses", responses.into());
    whole.into()
}

fn parameters(path: &str, short: &Value) -> Vec<Value> {
    let inside = path.split('{').skip(1).filter_map(|rest| Some(rest.split_once('}')?.0));
    let mut all: Vec<Value> = inside
        .map(|name| {
            json!({ "name": name, "in": "path", "required": true, "schema": { "type": "string", "minLength": 1 } })
        })
        .collect();
    let required = short.get("required").and_then(Value::as_array);
    for (name, schema) in short.get("query").and_then(Value::as_object).into_iter().flatten() {
        let required = required.is_some_and(|all| all.iter().any(|it| it == name));
        all.push(json!({ "name": name, "in": "query", "required": required, "schema": schema }));
    }
    all
}

fn numbers(short: &Value, key: &str) -> Vec<String> {
    let list = short.get(key).and_then(Value::as_array).into_iter().flatten();
    list.map(ToString::to_string).collect()
}

fn lines() -> Value {
    json!({ "application/x-ndjson": { "schema": { "type": "string" } } })
}

fn refer(schema: &str) -> Value {
    json!({ "$ref": format!("#/components/schemas/{schema}") })
}

fn reason(status: &str) -> &'static str {
    let status = status.parse().ok().and_then(|code| StatusCode::from_u16(code).ok());
    status.and_then(|status| status.canonical_reason()).unwrap_or("Answer")
}

/// What bodies look like; services as in the configuration.
fn schemas() -> Map<String, Value> {
    let mut all: Map<String, Value> = serde_json::from_str(SCHEMAS).unwrap_or_default();
    if let Some(pattern) = all.get_mut("Span").and_then(|span| span.get_mut("pattern")) {
        // Units in their order, none of them beyond what all may come to: 366 days.
        let day = "([0-9]|[1-9][0-9]|[12][0-9]{2}|3[0-5][0-9])d";
        let units = [
            ("D", day),
            ("H", "[0-9]{1,2}h"),
            ("M", "[0-9]{1,3}m"),
            ("S", "[0-9]{1,4}s"),
            ("L", "[0-9]{1,5}ms"),
        ];
        let text = pattern.as_str().unwrap_or_default().chars().map(|letter| {
            let unit = units.iter().find(|(unit, _)| unit.chars().eq([letter]));
            unit.map_or_else(|| letter.to_string(), |(_, text)| (*text).to_owned())
        });
        *pattern = text.collect::<String>().into();
    }
    let Ok(mut document) = serde_json::from_str::<Value>(&schema::text()) else { return all };
    relocate(&mut document);
    if let Some(Value::Object(parts)) = document.get_mut("$defs").map(Value::take) {
        for (name, part) in parts {
            all.insert(format!("Config{name}"), part);
        }
    }
    all.insert("TcpService".into(), refer("ConfigService"));
    all
}

/// References within the configuration's schema lead to where its parts stand here.
fn relocate(schema: &mut Value) {
    match schema {
        Value::Object(members) => {
            for (key, member) in members {
                match member {
                    Value::String(text) if key == "$ref" => {
                        *text = text.replace("#/$defs/", "#/components/schemas/Config");
                    }
                    member => relocate(member),
                }
            }
        }
        Value::Array(elements) => elements.iter_mut().for_each(relocate),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::sync::Arc;

    use axum::body::Body;
    use axum::http::header::{ALLOW, HOST};
    use axum::http::{Method, Request};
    use hyper::service::Service as _;
    use hyper_util::service::TowerToHyperService;

    use super::super::guard::{Caller, Via};
    use super::super::{View, router};
    use super::*;
    use crate::config::snapshot::Snapshot;
    use crate::worker::Process;

    /// The paths of the router with their methods, as it shows and tells them itself.
    fn served() -> BTreeSet<(String, String)> {
        let process = Arc::new(Process::without_cores(Snapshot::default()));
        let (view, ..) = View::new(process);
        let router = router(&Arc::new(view));
        let shown = format!("{router:?}");
        // A path may have braces itself.
        let start = shown.find("paths: {").expect("axum shows its paths");
        let mut inside = false;
        let mut found = Vec::new();
        let mut word = String::new();
        for letter in shown[start..].chars() {
            match (letter, inside) {
                ('"', false) => inside = true,
                ('"', true) => {
                    inside = false;
                    found.push(std::mem::take(&mut word));
                }
                (letter, true) => word.push(letter),
                ('}', false) => break,
                _ => {}
            }
        }
        assert!(found.len() > 10, "{shown}");
        let caller = Caller::new(Via::Tcp("127.0.0.1:1".parse().unwrap()), true, &Arc::default());
        let service = TowerToHyperService::new(router);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let mut all = BTreeSet::new();
        for path in found.into_iter().filter(|path| path.starts_with('/')) {
            let uri = path.replace(['{', '}'], "").replace('*', "");
            let request =
                Request::builder().method(Method::OPTIONS).uri(&uri).header(HOST, "localhost");
            let mut request = request.body(Body::empty()).unwrap();
            request.extensions_mut().insert(caller.clone());
            let answer = runtime.block_on(service.call(request)).unwrap();
            let allow = answer.headers().get(ALLOW).unwrap_or_else(|| panic!("{path}: {answer:?}"));
            let methods = allow.to_str().unwrap().split(',').map(str::to_lowercase);
            all.extend(methods.filter(|it| it != "head").map(|method| (path.clone(), method)));
        }
        all
    }

    #[test]
    fn it_has_what_is_served_and_nothing_else() {
        let document = assemble();
        let mut told = BTreeSet::new();
        for (path, item) in document["paths"].as_object().unwrap() {
            for (method, operation) in item.as_object().unwrap() {
                assert!(operation["operationId"].is_string(), "{path}");
                told.insert((path.clone(), method.clone()));
            }
        }
        let served = served();
        let missing: Vec<_> = served.difference(&told).collect();
        assert!(missing.is_empty(), "not in openapi/paths.json: {missing:?}");
        let idle: Vec<_> = told.difference(&served).collect();
        assert!(idle.is_empty(), "in openapi/paths.json and not served: {idle:?}");
    }

    #[test]
    fn every_reference_leads_somewhere() {
        let document = assemble();
        let text = document.to_string();
        let schemas = document["components"]["schemas"].as_object().unwrap();
        let mut found = 0;
        for rest in text.split("\"$ref\":\"").skip(1) {
            let reference = rest.split('"').next().unwrap();
            let name = reference.strip_prefix("#/components/schemas/");
            assert!(name.is_some_and(|name| schemas.contains_key(name)), "{reference}");
            found += 1;
        }
        assert!(found > 50);
        let span = schemas["Span"]["pattern"].as_str().unwrap();
        let span = regex::Regex::new(span).unwrap();
        for text in ["0s", "1h30m", "359d99h999m9999s99999ms", "250ms"] {
            assert!(span.is_match(text), "{text}");
            crate::config::span::Span::parse(text).unwrap();
        }
        for text in ["", "30", "1m1h", "1s1s", "360d"] {
            assert!(!span.is_match(text), "{text}");
        }
    }
}
