//! Where people have their `stream_listen`: in `kong.conf`, in files of variables, in a `Deployment`
//! (or a patch of one), in Compose files, in Helm's values.

use crate::providers::foreign::{File, Format};

/// The `stream_listen` that files have; the last one counts, as variables come after files. What is
/// wrong with a file as such is told where its objects are read.
pub fn import_files(files: &[File]) -> Option<String> {
    let mut last = None;
    for file in files {
        if is_settings(file) {
            last = file.text.lines().filter_map(in_line).next_back().or(last);
            continue;
        }
        let faults = &mut Vec::new();
        for mut part in file.parts(Format::Yaml, faults) {
            let value = part.decode::<serde_json::Value>(faults).value;
            last = in_value(&value).or(last);
        }
    }
    last
}

/// Whether a file is `kong.conf` or one of variables, and so has no objects.
pub fn is_settings(file: &File) -> bool {
    !is_structured(file) && file.text.lines().any(|line| in_line(line).is_some())
}

fn is_structured(file: &File) -> bool {
    let name = file.place.rsplit('/').next().unwrap_or_default();
    let is_yaml = [".yaml", ".yml", ".json"].iter().any(|suffix| name.ends_with(suffix));
    is_yaml || file.text.trim_start().starts_with(['{', '['])
}

/// `stream_listen = …` of `kong.conf`, `KONG_STREAM_LISTEN=…` of a file of variables.
fn in_line(line: &str) -> Option<String> {
    let line = line.trim();
    let line = line.strip_prefix("export ").unwrap_or(line);
    let (key, value) = line.split_once('=')?;
    if !is_key(key.trim()) {
        return None;
    }
    // In kong.conf a comment may follow.
    let value = value.split(" #").next().unwrap_or_default().trim();
    let quoted = |quote| value.strip_prefix(quote).and_then(|rest| rest.strip_suffix(quote));
    Some(quoted('"').or_else(|| quoted('\'')).unwrap_or(value).to_owned())
}

fn is_key(key: &str) -> bool {
    matches!(key, "KONG_STREAM_LISTEN" | "stream_listen")
}

/// An entry `{ "name": "KONG_STREAM_LISTEN", "value": … }` of a container, a member, or a line
/// `KONG_STREAM_LISTEN=…` of a list.
fn in_value(value: &serde_json::Value) -> Option<String> {
    match value {
        serde_json::Value::Object(members) => {
            let text = |key: &str| members.get(key).and_then(serde_json::Value::as_str);
            if text("name").is_some_and(is_key) {
                return text("value").map(str::to_owned);
            }
            members
                .iter()
                .filter_map(|(key, value)| match value.as_str() {
                    Some(text) if is_key(key) => Some(text.to_owned()),
                    _ => in_value(value),
                })
                .next_back()
        }
        serde_json::Value::Array(elements) => elements
            .iter()
            .filter_map(|element| element.as_str().and_then(in_line).or_else(|| in_value(element)))
            .next_back(),
        _ => None,
    }
}
