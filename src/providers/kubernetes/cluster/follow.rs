//! The objects of one kind, as a watch tells of them. `kube`'s watcher lists, watches from there on,
//! takes up a watch that ended, and lists anew when the server has forgotten where it ended (410);
//! what is here keeps the list.

use std::collections::BTreeMap;
use std::pin::pin;

use futures_util::StreamExt;
use kube::Client;
use kube::api::{Api, DynamicObject};
use kube::core::discovery::ApiResource;
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Resource as _, ResourceExt as _};
use serde_json::Value;
use tokio::sync::mpsc;

use super::super::{Key, Kind};
use super::kinds;
use super::problem::Problem;
use crate::config::limits;

/// Annotations that hold another copy of the object.
const COPIES: [&str; 1] = ["kubectl.kubernetes.io/last-applied-configuration"];

/// An object.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Object {
    /// What it says, without its status and its version.
    pub said: Value,
    /// What was said about it, of kinds that get a status from here.
    pub live: Option<Live>,
}

/// The part of an object that changes when a status is written.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Live {
    /// Which version of the object this is.
    pub version: String,
    /// Its status.
    pub status: Value,
}

/// What a watch tells.
#[derive(Debug)]
pub(super) enum News {
    /// All objects there are will follow.
    Lists,
    /// This is one of all there are.
    Among(Key, Box<Object>),
    /// All objects there are have been told.
    Listed,
    /// There is this object.
    Is(Key, Box<Object>),
    /// There is no such object any more.
    IsNot(Key),
    /// It goes wrong, for now.
    Trouble(Problem),
}

/// Who tells: the kind, and which of the watches of that kind.
pub(super) type Teller = (Kind, u64);

/// Watches a kind until nobody listens.
pub(super) async fn follow(
    client: Client,
    teller: Teller,
    resource: ApiResource,
    tell: mpsc::Sender<(Teller, News)>,
) {
    let (kind, _) = teller;
    let seconds = u32::try_from(limits::CLUSTER_WATCH.as_secs()).unwrap_or(290);
    let mut config = watcher::Config::default().timeout(seconds);
    config.field_selector = kinds::fields(kind).map(str::to_owned);
    let api: Api<DynamicObject> = Api::all_with(client, &resource);
    let mut events = pin!(watcher(api, config).default_backoff());
    let object = |it| Box::new(object(it, kind, &resource));
    while let Some(event) = events.next().await {
        let news = match event {
            Ok(watcher::Event::Init) => News::Lists,
            Ok(watcher::Event::InitApply(it)) => News::Among(key(&it), object(it)),
            Ok(watcher::Event::InitDone) => News::Listed,
            Ok(watcher::Event::Apply(it)) => News::Is(key(&it), object(it)),
            Ok(watcher::Event::Delete(it)) => News::IsNot(key(&it)),
            // The server has forgotten where the watch was: as a matter of course it lists anew.
            Err(watcher::Error::WatchError(status)) if status.code == 410 => continue,
            Err(error) => News::Trouble(error.into()),
        };
        if tell.send((teller, news)).await.is_err() {
            return;
        }
    }
}

fn key(object: &DynamicObject) -> Key {
    Key::new(&object.namespace().unwrap_or_default(), &object.name_any())
}

/// The object without what nobody reads here, and with its kind, which objects in lists do not have.
fn object(mut object: DynamicObject, kind: Kind, resource: &ApiResource) -> Object {
    let version = object.meta_mut().resource_version.take().unwrap_or_default();
    object.meta_mut().managed_fields = None;
    if let Some(annotations) = &mut object.meta_mut().annotations {
        annotations.retain(|key, _| !COPIES.contains(&key.as_str()));
    }
    object.types = Some(kube::core::TypeMeta {
        api_version: resource.api_version.clone(),
        kind: resource.kind.clone(),
    });
    let mut members = object.data.as_object_mut();
    let status = members.as_mut().and_then(|members| members.remove("status"));
    if let (Some(keys), Some(members)) = (kinds::data(kind), members) {
        members.remove("binaryData");
        if let Some(Value::Object(data)) = members.get_mut("data") {
            data.retain(|key, _| keys.contains(&key.as_str()));
        }
    }
    let live =
        kinds::has_status(kind).then(|| Live { version, status: status.unwrap_or_default() });
    Object { said: serde_json::to_value(object).unwrap_or_default(), live }
}

/// A list that is under way, or none. It replaces what is known when it is whole: half a list would
/// take away the other half.
#[derive(Debug, Default)]
pub(super) struct Listing(BTreeMap<Key, Box<Object>>);

/// What is to be done about what is known.
#[derive(Debug, PartialEq)]
pub(super) enum Change {
    /// These are all objects there are.
    All(BTreeMap<Key, Box<Object>>),
    /// There is this object.
    Is(Key, Box<Object>),
    /// There is no such object any more.
    IsNot(Key),
    /// It goes wrong, for now.
    Trouble(Problem),
}

impl Listing {
    /// Takes in what was told.
    pub fn take(&mut self, news: News) -> Option<Change> {
        match news {
            News::Lists => self.0.clear(),
            News::Among(key, object) => drop(self.0.insert(key, object)),
            News::Listed => return Some(Change::All(std::mem::take(&mut self.0))),
            News::Is(key, object) => return Some(Change::Is(key, object)),
            News::IsNot(key) => return Some(Change::IsNot(key)),
            News::Trouble(problem) => return Some(Change::Trouble(problem)),
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn one(name: &str) -> (Key, Box<Object>) {
        let said = json!({ "metadata": { "name": name } });
        (Key::new("default", name), Box::new(Object { said, live: None }))
    }

    fn all(names: &[&str]) -> Change {
        Change::All(names.iter().map(|name| one(name)).collect())
    }

    #[test]
    fn half_a_list_changes_nothing() {
        let mut listing = Listing::default();
        let among = |name| {
            let (key, object) = one(name);
            News::Among(key, object)
        };
        assert_eq!(listing.take(News::Lists), None);
        assert_eq!(listing.take(among("a")), None);
        // It breaks off, and begins again.
        assert!(matches!(
            listing.take(News::Trouble(Problem::NotFound)),
            Some(Change::Trouble(Problem::NotFound))
        ));
        assert_eq!(listing.take(News::Lists), None);
        assert_eq!(listing.take(among("b")), None);
        assert_eq!(listing.take(News::Listed), Some(all(&["b"])));
        assert_eq!(listing.take(News::Lists), None);
        assert_eq!(listing.take(News::Listed), Some(all(&[])));
    }

    #[test]
    fn of_secrets_only_certificates_are_kept() {
        let resource = ApiResource {
            group: String::new(),
            version: "v1".into(),
            api_version: "v1".into(),
            kind: "Secret".into(),
            plural: "secrets".into(),
        };
        let written = json!({
            "metadata": { "name": "a" }, "type": "Opaque",
            "data": { "password": "c2VjcmV0", "ca.crt": "cGVt" },
        });
        let kept = object(serde_json::from_value(written).unwrap(), Kind::Secret, &resource);
        assert_eq!(kept.said["data"], json!({ "ca.crt": "cGVt" }));
        assert_eq!(kept.live, None);
    }

    #[test]
    fn what_an_object_says_does_not_change_with_its_status() {
        let resource = ApiResource {
            group: Kind::TcpRoute.group().into(),
            version: "v1".into(),
            api_version: format!("{}/v1", Kind::TcpRoute.group()),
            kind: "TCPRoute".into(),
            plural: "tcproutes".into(),
        };
        let of = |version: &str, status: Value| {
            let written = json!({
                "metadata": {
                    "name": "a", "namespace": "b", "resourceVersion": version, "generation": 3,
                    "annotations": {
                        "kubectl.kubernetes.io/last-applied-configuration": "{}", "x": "y",
                    },
                    "managedFields": [ { "manager": "kubectl" } ],
                },
                "spec": { "rules": [] },
                "status": status,
            });
            object(serde_json::from_value(written).unwrap(), Kind::TcpRoute, &resource)
        };
        let (before, after) = (of("1", json!({})), of("2", json!({ "parents": [] })));
        assert_eq!(before.said, after.said);
        assert_eq!(before.live.unwrap().version, "1");
        assert_eq!(after.live.unwrap().status, json!({ "parents": [] }));
        let said = json!({
            "apiVersion": "gateway.networking.k8s.io/v1", "kind": "TCPRoute",
            "metadata": {
                "name": "a", "namespace": "b", "generation": 3, "annotations": { "x": "y" },
            },
            "spec": { "rules": [] },
        });
        assert_eq!(after.said, said);
    }
}
