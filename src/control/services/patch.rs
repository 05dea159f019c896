//! Patches of a service: JSON Patch (RFC 6902) and JSON Merge Patch (RFC 7396).

use serde_json::Value;

use crate::config::limits;

/// A patch.
#[derive(Debug)]
pub enum Patch {
    /// Operations in order; all of them or none.
    Operations(Vec<json_patch::PatchOperation>),
    /// Members that are set, or with null removed.
    Merge(Value),
}

impl Patch {
    /// Reads a patch by the shape of it: an array has operations, an object is merged.
    ///
    /// # Errors
    /// What is wrong with it, in words.
    pub fn read(body: Value) -> Result<Self, String> {
        match body {
            Value::Array(operations) if operations.len() > limits::PATCH_OPERATIONS_MAX => {
                Err(format!("a patch has at most {} operations", limits::PATCH_OPERATIONS_MAX))
            }
            Value::Array(_) => serde_json::from_value(body)
                .map(Self::Operations)
                .map_err(|error| format!("this is no JSON Patch (RFC 6902): {error}")),
            Value::Object(_) => Ok(Self::Merge(body)),
            _ => Err("a patch is an array of operations or an object".into()),
        }
    }

    /// The patched document.
    ///
    /// # Errors
    /// Which operation does not fit it, and why.
    pub fn apply(&self, document: &Value) -> Result<Value, String> {
        let mut document = document.clone();
        match self {
            Self::Merge(members) => json_patch::merge(&mut document, members),
            Self::Operations(operations) => {
                for (at, operation) in operations.iter().enumerate() {
                    let one = std::slice::from_ref(operation);
                    json_patch::patch(&mut document, one)
                        .map_err(|error| format!("operation {at}: {}", error.kind))?;
                    let copies = matches!(operation, json_patch::PatchOperation::Copy(_));
                    if copies && is_too_large(&document) {
                        return Err(format!("operation {at}: the document gets too large"));
                    }
                }
            }
        }
        if is_too_large(&document) {
            return Err("the document gets too large".into());
        }
        if document.is_object() {
            Ok(document)
        } else {
            Err("nothing is left of the service".into())
        }
    }
}

fn is_too_large(document: &Value) -> bool {
    let mut size = Size(0);
    let written = serde_json::to_writer(&mut size, document);
    written.is_err() || size.0 > limits::SERVICE_BYTES_MAX
}

/// Counts bytes.
struct Size(u64);

impl std::io::Write for Size {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0 += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn patched(document: Value, patch: Value) -> Result<Value, String> {
        Patch::read(patch)?.apply(&document)
    }

    #[test]
    fn both_kinds_are_told_apart_by_their_shape() {
        let service = json!({ "id": "a", "name": "n", "rules": [{ "domain": "*" }] });
        let operations = json!([
            { "op": "test", "path": "/name", "value": "n" },
            { "op": "replace", "path": "/rules/0/domain", "value": "x" },
            { "op": "add", "path": "/tags", "value": ["t"] }
        ]);
        let after = patched(service.clone(), operations).unwrap();
        assert_eq!((&after["rules"][0]["domain"], &after["tags"]), (&json!("x"), &json!(["t"])));
        let merged = patched(service, json!({ "name": null, "enabled": false })).unwrap();
        assert_eq!(merged, json!({ "id": "a", "rules": [{ "domain": "*" }], "enabled": false }));
    }

    #[test]
    fn what_does_not_fit_is_refused_and_says_where() {
        let service = json!({ "id": "a", "name": "n" });
        for (patch, says) in [
            (json!([{ "op": "test", "path": "/name", "value": "m" }]), "operation 0"),
            (
                json!([{ "op": "remove", "path": "/name" }, { "op": "remove", "path": "/name" }]),
                "operation 1",
            ),
            (json!([{ "op": "burn", "path": "/name" }]), "RFC 6902"),
            (json!([{ "op": "remove" }]), "RFC 6902"),
            (json!("x"), "an array"),
            (json!([{ "op": "replace", "path": "", "value": 7 }]), "nothing is left"),
        ] {
            let error = patched(service.clone(), patch.clone()).unwrap_err();
            assert!(error.contains(says), "{patch}: {error}");
        }
    }

    #[test]
    fn a_document_cannot_be_doubled_for_ever() {
        let copies: Vec<_> = (0..64)
            .map(|at| json!({ "op": "copy", "from": "", "path": format!("/{at}") }))
            .collect();
        let service = json!({ "id": "a", "text": "x".repeat(1000) });
        let error = patched(service, Value::Array(copies)).unwrap_err();
        assert!(error.contains("too large"), "{error}");
        let many = vec![json!({ "op": "test", "path": "", "value": 1 }); 1001];
        assert!(Patch::read(Value::Array(many)).unwrap_err().contains("at most 1000"));
    }
}
