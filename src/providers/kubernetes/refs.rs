//! What objects refer to: whether they may, and whether it is there.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;

use super::objects::{Key, Kind, Objects};
use super::specs::{ConfigMap, LabelSelector, ObjectRef, Secret};

/// What is secret is never shown.
impl std::fmt::Debug for Pair {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Pair")
    }
}

/// Why a reference is of no use: a reason, and words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Broken {
    pub(super) reason: &'static str,
    pub(super) message: String,
}

impl Broken {
    pub(super) fn new(reason: &'static str, message: impl Into<String>) -> Self {
        Self { reason, message: message.into() }
    }
}

/// A certificate and its private key, as PEM.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Pair {
    pub(super) certificate: String,
    pub(super) key: String,
}

/// Whether an object of one kind and namespace may refer to one of another namespace.
pub(super) fn is_granted(objects: &Objects, from: (Kind, &str), to: (Kind, &Key)) -> bool {
    let (from_kind, from_namespace) = from;
    let (to_kind, to_key) = to;
    from_namespace == to_key.namespace
        || objects.reference_grants.values().any(|grant| {
            grant.meta.key.namespace == to_key.namespace
                && grant.body.spec.from.iter().any(|it| {
                    it.group == from_kind.group()
                        && it.kind == from_kind.word()
                        && it.namespace == from_namespace
                })
                && grant.body.spec.to.iter().any(|it| {
                    it.group == to_kind.group()
                        && it.kind == to_kind.word()
                        && it.name.as_ref().is_none_or(|name| *name == to_key.name)
                })
        })
}

/// Whether a reference is to one of a kind.
pub(super) fn is_of(kind: Kind, group: Option<&str>, word: Option<&str>, usual: Kind) -> bool {
    let word = word.unwrap_or_else(|| usual.word());
    group.unwrap_or_default() == kind.group() && word == kind.word()
}

/// The certificate that a listener names.
pub(super) fn certificate(
    objects: &Objects,
    from: (Kind, &str),
    reference: &ObjectRef,
) -> Result<(Key, Pair), Broken> {
    const REASON: &str = "InvalidCertificateRef";
    let ObjectRef { group, kind, namespace, name } = reference;
    if !is_of(Kind::Secret, group.as_deref(), kind.as_deref(), Kind::Secret) {
        return Err(Broken::new(REASON, format!("`{name}` is no Secret; others are not read")));
    }
    let key = Key::new(namespace.as_deref().unwrap_or(from.1), name);
    if !is_granted(objects, from, (Kind::Secret, &key)) {
        let message = format!("no ReferenceGrant lets the Secret {key} be used");
        return Err(Broken::new("RefNotPermitted", message));
    }
    pair(objects, &key).map(|pair| (key, pair)).map_err(|message| Broken::new(REASON, message))
}

/// The certificate in a secret.
///
/// # Errors
/// Why there is none.
pub(super) fn pair(objects: &Objects, key: &Key) -> Result<Pair, String> {
    let secret = objects.secrets.get(key).ok_or_else(|| format!("there is no Secret {key}"))?;
    let text = |name: &str| {
        text_of(&secret.body, name).ok_or_else(|| format!("the Secret {key} has no `{name}`"))
    };
    let pair = Pair { certificate: text("tls.crt")?, key: text("tls.key")? };
    sound(&pair).map_err(|why| format!("the Secret {key}: {why}"))?;
    Ok(pair)
}

fn sound(pair: &Pair) -> Result<(), String> {
    let chain: Vec<_> = CertificateDer::pem_slice_iter(pair.certificate.as_bytes())
        .collect::<Result<_, _>>()
        .map_err(|error| format!("`tls.crt` is not sound PEM: {error}"))?;
    if chain.is_empty() {
        return Err("`tls.crt` holds no certificate".into());
    }
    let key = PrivateKeyDer::from_pem_slice(pair.key.as_bytes())
        .map_err(|error| format!("`tls.key` holds no private key: {error}"))?;
    let provider = rustls::crypto::aws_lc_rs::default_provider();
    CertifiedKey::from_der(chain, key, &provider)
        .map(drop)
        .map_err(|error| format!("certificate and key do not go together: {error}"))
}

fn text_of(secret: &Secret, name: &str) -> Option<String> {
    if let Some(text) = secret.string_data.get(name) {
        return Some(text.clone());
    }
    of_base64(secret.data.get(name)?)
}

fn of_base64(text: &str) -> Option<String> {
    let text: String = text.split_ascii_whitespace().collect();
    String::from_utf8(STANDARD.decode(text).ok()?).ok()
}

/// The authorities in a `ConfigMap` (or, as Kong has them, in a `Secret`) under `ca.crt`.
///
/// # Errors
/// Why there are none.
pub(super) fn authorities(
    objects: &Objects,
    from: (Kind, &str),
    reference: &ObjectRef,
) -> Result<String, String> {
    let ObjectRef { group, kind, namespace, name } = reference;
    let key = Key::new(namespace.as_deref().unwrap_or(from.1), name);
    let (group, kind) = (group.as_deref(), kind.as_deref());
    let text = if is_of(Kind::ConfigMap, group, kind, Kind::ConfigMap) {
        if !is_granted(objects, from, (Kind::ConfigMap, &key)) {
            return Err(format!("no ReferenceGrant lets the ConfigMap {key} be used"));
        }
        objects.config_maps.get(&key).and_then(|map| text_of_map(&map.body, "ca.crt"))
    } else if is_of(Kind::Secret, group, kind, Kind::ConfigMap) {
        if !is_granted(objects, from, (Kind::Secret, &key)) {
            return Err(format!("no ReferenceGrant lets the Secret {key} be used"));
        }
        objects
            .secrets
            .get(&key)
            .and_then(|it| text_of(&it.body, "ca.crt").or_else(|| text_of(&it.body, "cert")))
    } else {
        return Err(format!("`{name}` is neither a ConfigMap nor a Secret"));
    };
    let text = text.ok_or_else(|| format!("{key} is not there, or has no `ca.crt`"))?;
    match CertificateDer::pem_slice_iter(text.as_bytes()).next() {
        Some(Ok(_)) => Ok(text),
        _ => Err(format!("`ca.crt` of {key} holds no certificate")),
    }
}

fn text_of_map(map: &ConfigMap, name: &str) -> Option<String> {
    map.data.get(name).cloned().or_else(|| of_base64(map.binary_data.get(name)?))
}

/// Whether a namespace has the labels that are asked for.
pub(super) fn selects(objects: &Objects, selector: &LabelSelector, namespace: &str) -> bool {
    let labels = objects.labels_of(namespace);
    let LabelSelector { match_labels, match_expressions } = selector;
    match_labels.iter().all(|(key, value)| labels.get(key) == Some(value))
        && match_expressions.iter().all(|it| {
            let value = labels.get(&it.key);
            let listed = value.is_some_and(|value| it.values.contains(value));
            match it.operator.as_str() {
                "In" => listed,
                "NotIn" => !listed,
                "Exists" => value.is_some(),
                "DoesNotExist" => value.is_none(),
                _ => false,
            }
        })
}
