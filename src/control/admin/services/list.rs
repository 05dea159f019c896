//! The list of services: filtered, sorted, in pages, and with the members that are wanted.

use std::cmp::Ordering;
use std::sync::Arc;

use axum::extract::State;
use axum::http::header::ACCEPT;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::{Json, extract::Query};
use serde_json::{Map, Value};

use super::super::View;
use super::super::answer::{BadQuery, refusal};
use crate::config::found::JsonPath;
use crate::config::sources::Entity;

/// What is wanted of the list.
#[derive(Debug, Default)]
struct Wanted {
    /// From 1.
    page: usize,
    /// All, if it is not given.
    page_size: Option<usize>,
    /// Paths; all members, if none is given.
    fields: Vec<Vec<String>>,
    /// Paths, and the text of the value there. All must hold.
    filters: Vec<(JsonPath, String)>,
    sorted: Option<JsonPath>,
    descending: bool,
}

impl Wanted {
    fn read(query: Vec<(String, String)>) -> Result<Self, String> {
        let mut wanted = Self { page: 1, ..Self::default() };
        let path = |text: &str| {
            let path = (!text.is_empty()).then(|| JsonPath::parse(text)).flatten();
            path.ok_or_else(|| format!("`{}` is not a path, as rules.domain", text.escape_debug()))
        };
        for (key, value) in query {
            let number = || match value.parse::<usize>() {
                Ok(number @ 1..) => Ok(number),
                _ => Err(format!("`{key}` is a number from 1")),
            };
            match (&*key, &*value) {
                ("page", _) => wanted.page = number()?,
                ("pageSize", _) => wanted.page_size = Some(number()?),
                ("fields", _) => {
                    for field in value.split(',').map(str::trim).filter(|it| !it.is_empty()) {
                        path(field)?;
                        wanted.fields.push(field.split('.').map(str::to_owned).collect());
                    }
                }
                ("sorted", _) => wanted.sorted = Some(path(&value)?),
                ("order", "asc") => wanted.descending = false,
                ("order", "desc") => wanted.descending = true,
                ("order", _) => return Err("`order` is asc or desc".into()),
                _ => match key.strip_prefix("filter.") {
                    Some(of) => wanted.filters.push((path(of)?, value)),
                    None => {
                        return Err(format!(
                            "unknown parameter `{}`; there are page, pageSize, fields, \
                             filter.PATH, sorted and order",
                            key.escape_debug()
                        ));
                    }
                },
            }
        }
        Ok(wanted)
    }

    fn takes(&self, document: &Value) -> bool {
        let is = |found: &Value, text: &str| match found {
            Value::Array(elements) => elements.iter().any(|element| is_text(element, text)),
            scalar => is_text(scalar, text),
        };
        self.filters.iter().all(|(path, text)| path.find(document).iter().any(|it| is(it, text)))
    }

    fn sort(&self, documents: &mut [Value]) {
        let Some(path) = &self.sorted else { return };
        let key = |document: &Value| path.find(document).first().copied().cloned();
        documents.sort_by_cached_key(|document| Key(key(document)));
        if self.descending {
            documents.reverse();
        }
    }

    /// The page, and how many come before it.
    fn page(&self, mut documents: Vec<Value>) -> (usize, Vec<Value>) {
        let Some(size) = self.page_size else {
            let offset = if self.page > 1 { documents.len() } else { 0 };
            return (offset, documents.split_off(offset));
        };
        let offset = (self.page - 1).saturating_mul(size).min(documents.len());
        let mut page = documents.split_off(offset);
        page.truncate(size);
        (offset, page)
    }

    fn cut(&self, document: Value) -> Value {
        if self.fields.is_empty() { document } else { select(&document, &self.fields) }
    }
}

fn is_text(value: &Value, text: &str) -> bool {
    match value {
        Value::String(own) => own == text,
        Value::Array(_) | Value::Object(_) => false,
        Value::Bool(own) => text == if *own { "true" } else { "false" },
        Value::Number(own) => own.to_string() == text,
        Value::Null => text == "null",
    }
}

/// What documents are sorted by: numbers before texts before the rest; those without it come last.
#[derive(PartialEq)]
struct Key(Option<Value>);

impl Eq for Key {}

impl PartialOrd for Key {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Key {
    fn cmp(&self, other: &Self) -> Ordering {
        let number = |key: &Self| key.0.as_ref().and_then(Value::as_f64);
        let text = |key: &Self| key.0.as_ref().and_then(Value::as_str).map(str::to_lowercase);
        match (number(self), number(other)) {
            (Some(a), Some(b)) => return a.total_cmp(&b),
            (Some(_), None) => return Ordering::Less,
            (None, Some(_)) => return Ordering::Greater,
            (None, None) => {}
        }
        match (text(self), text(other)) {
            (Some(a), Some(b)) => a.cmp(&b),
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (None, None) => {
                let rest = |key: &Self| key.0.as_ref().map(ToString::to_string);
                match (rest(self), rest(other)) {
                    (Some(a), Some(b)) => a.cmp(&b),
                    (a, b) => b.is_some().cmp(&a.is_some()),
                }
            }
        }
    }
}

/// What the paths lead to, where it is. A key of an array is that of each of its elements.
fn select(value: &Value, paths: &[impl AsRef<[String]>]) -> Value {
    match value {
        Value::Array(elements) => elements.iter().map(|it| select(it, paths)).collect(),
        Value::Object(members) => {
            let mut kept = Map::new();
            for (key, member) in members {
                let mut deeper: Vec<&[String]> = Vec::new();
                let mut whole = false;
                for path in paths {
                    match path.as_ref().split_first() {
                        Some((first, rest)) if first == key && rest.is_empty() => whole = true,
                        Some((first, rest)) if first == key => deeper.push(rest),
                        _ => {}
                    }
                }
                if whole {
                    kept.insert(key.clone(), member.clone());
                } else if !deeper.is_empty() && (member.is_object() || member.is_array()) {
                    kept.insert(key.clone(), select(member, &deeper));
                }
            }
            Value::Object(kept)
        }
        scalar => scalar.clone(),
    }
}

/// The declared services, in the order of their sources.
pub(in super::super) async fn list(
    State(view): State<Arc<View>>,
    query: Result<Query<Vec<(String, String)>>, BadQuery>,
    headers: HeaderMap,
) -> Response {
    let bad = |text: &str| refusal(StatusCode::BAD_REQUEST, "bad_query", text);
    let Ok(Query(query)) = query else { return bad("the query cannot be read") };
    let wanted = match Wanted::read(query) {
        Ok(wanted) => wanted,
        Err(text) => return bad(&text),
    };
    let entities = view.entities.load_full();
    let mut documents: Vec<Value> =
        entities.iter().map(Entity::shown).filter(|document| wanted.takes(document)).collect();
    wanted.sort(&mut documents);
    let count = documents.len();
    let (offset, page) = wanted.page(documents);
    let rows = page.into_iter().map(|document| wanted.cut(document));
    let lines = headers.get(ACCEPT).is_some_and(|value| {
        value.to_str().is_ok_and(|value| value.contains("application/x-ndjson"))
    });
    let mut response = if lines {
        super::ndjson(StatusCode::OK, rows)
    } else {
        Json(rows.collect::<Vec<_>>()).into_response()
    };
    let size = wanted.page_size.unwrap_or(count);
    for (name, value) in
        [("x-count", count), ("x-offset", offset), ("x-page", wanted.page), ("x-page-size", size)]
    {
        let name = HeaderName::from_static(name);
        response.headers_mut().insert(name, HeaderValue::from(value));
    }
    response
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn wanted(query: &[(&str, &str)]) -> Result<Wanted, String> {
        let own = |(key, value): &(&str, &str)| ((*key).to_owned(), (*value).to_owned());
        Wanted::read(query.iter().map(own).collect())
    }

    fn some() -> Vec<Value> {
        vec![
            json!({ "id": "b", "port": 20, "tags": ["x", "y"], "sni": { "enabled": true } }),
            json!({ "id": "A", "port": 100, "rules": [{ "targets": [{ "host": "db", "port": 1 }] }] }),
            json!({ "id": "c", "tags": [] }),
        ]
    }

    fn ids(query: &[(&str, &str)]) -> String {
        let wanted = wanted(query).unwrap();
        let mut documents: Vec<_> = some().into_iter().filter(|it| wanted.takes(it)).collect();
        wanted.sort(&mut documents);
        let (_, page) = wanted.page(documents);
        page.iter().filter_map(|it| it["id"].as_str()).collect()
    }

    #[test]
    fn filters_look_through_arrays_and_all_must_hold() {
        assert_eq!(ids(&[]), "bAc");
        assert_eq!(ids(&[("filter.tags", "y")]), "b");
        assert_eq!(ids(&[("filter.port", "100")]), "A");
        assert_eq!(ids(&[("filter.sni.enabled", "true")]), "b");
        assert_eq!(ids(&[("filter.rules.targets.host", "db")]), "A");
        assert_eq!(ids(&[("filter.tags", "y"), ("filter.port", "100")]), "");
        assert_eq!(ids(&[("filter.sni", "")]), "");
    }

    #[test]
    fn numbers_sort_as_numbers_and_what_is_not_there_comes_last() {
        assert_eq!(ids(&[("sorted", "port")]), "bAc");
        assert_eq!(ids(&[("sorted", "id")]), "Abc");
        assert_eq!(ids(&[("sorted", "id"), ("order", "desc")]), "cbA");
        assert_eq!(ids(&[("sorted", "nothing")]), "bAc", "as it was");
    }

    #[test]
    fn pages_are_of_one_size_and_end() {
        let page = |page, size| ids(&[("page", page), ("pageSize", size)]);
        assert_eq!((page("1", "2").as_str(), page("2", "2").as_str()), ("bA", "c"));
        assert_eq!((page("3", "2").as_str(), page("1", "9").as_str()), ("", "bAc"));
        assert_eq!(page("18446744073709551615", "18446744073709551615"), "");
        assert_eq!(ids(&[("page", "2")]), "");
        let (offset, _) = wanted(&[("page", "2"), ("pageSize", "2")]).unwrap().page(some());
        assert_eq!(offset, 2);
    }

    #[test]
    fn fields_keep_their_place() {
        let wanted = wanted(&[("fields", "id,rules.targets.host,sni.enabled")]).unwrap();
        let cut: Vec<Value> = some().into_iter().map(|it| wanted.cut(it)).collect();
        let expected = [
            json!({ "id": "b", "sni": { "enabled": true } }),
            json!({ "id": "A", "rules": [{ "targets": [{ "host": "db" }] }] }),
            json!({ "id": "c" }),
        ];
        assert_eq!(cut, expected);
    }

    #[test]
    fn what_is_not_known_is_refused() {
        for query in [
            ("pge", "1"),
            ("page", "0"),
            ("pageSize", "-1"),
            ("order", "up"),
            ("sorted", ""),
            ("filter.", "x"),
            ("filter.a..b", "x"),
            ("fields", "a..b"),
        ] {
            assert!(wanted(&[query]).is_err(), "{query:?}");
        }
    }
}
