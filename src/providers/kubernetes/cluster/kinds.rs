//! In which version a cluster serves the kinds that matter, and which of their objects do.
//!
//! A kind whose CRD is not installed is not watched; it is looked for again every
//! [`limits::CLUSTER_KINDS`], so that installing it later needs no restart.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use kube::Client;
use kube::core::discovery::ApiResource;

use super::super::Kind;
use super::problem::{Problem, within};
use crate::config::limits;

/// Which objects of a kind matter, as a field selector: secrets of types that never hold certificates
/// (some are many and large) need not pass through here.
pub(super) fn fields(kind: Kind) -> Option<&'static str> {
    (kind == Kind::Secret).then_some(
        "type!=helm.sh/release.v1,type!=kubernetes.io/service-account-token,\
         type!=kubernetes.io/dockerconfigjson,type!=kubernetes.io/dockercfg,\
         type!=bootstrap.kubernetes.io/token",
    )
}

/// Which entries of an object's `data` are kept; the others are nobody's business here.
pub(super) fn data(kind: Kind) -> Option<&'static [&'static str]> {
    match kind {
        Kind::Secret => Some(&["tls.crt", "tls.key", "ca.crt", "cert"]),
        Kind::ConfigMap => Some(&["ca.crt"]),
        _ => None,
    }
}

/// Whether its objects get a status from here.
pub(super) fn has_status(kind: Kind) -> bool {
    matches!(
        kind,
        Kind::GatewayClass
            | Kind::Gateway
            | Kind::TcpRoute
            | Kind::TlsRoute
            | Kind::BackendTlsPolicy
            | Kind::TcpIngress
    )
}

/// What RBAC calls it, as `gateways.gateway.networking.k8s.io`.
pub(super) fn full_name(kind: Kind) -> String {
    match kind.group() {
        "" => kind.plural().to_owned(),
        group => format!("{}.{group}", kind.plural()),
    }
}

/// How it is asked for in this version.
fn in_version(kind: Kind, version: &str) -> ApiResource {
    let api_version = match kind.group() {
        "" => version.to_owned(),
        group => format!("{group}/{version}"),
    };
    ApiResource {
        group: kind.group().to_owned(),
        version: version.to_owned(),
        api_version,
        kind: kind.word().to_owned(),
        plural: kind.plural().to_owned(),
    }
}

/// In which version each kind is served that is served.
pub(super) type Served = BTreeMap<Kind, ApiResource>;

/// Asks which kinds are served.
///
/// # Errors
/// When the API server does not answer. One that answers that it does not know a group is no error.
pub(super) async fn served(client: &Client) -> Result<Served, Problem> {
    let mut asked: BTreeMap<(&str, &str), Vec<String>> = BTreeMap::new();
    let mut served = Served::new();
    for kind in Kind::ALL {
        for version in kind.versions() {
            let at = (kind.group(), *version);
            let all = match asked.entry(at) {
                Entry::Occupied(known) => known.into_mut(),
                Entry::Vacant(unknown) => unknown.insert(plurals(client, at).await?),
            };
            if all.iter().any(|it| it == kind.plural()) {
                served.insert(kind, in_version(kind, version));
                break;
            }
        }
    }
    Ok(served)
}

/// The resources of one version of a group that can be watched.
async fn plurals(client: &Client, (group, version): (&str, &str)) -> Result<Vec<String>, Problem> {
    let answer = if group.is_empty() {
        within(limits::CLUSTER_REQUEST, client.list_core_api_resources(version)).await
    } else {
        let path = format!("{group}/{version}");
        within(limits::CLUSTER_REQUEST, client.list_api_group_resources(&path)).await
    };
    match answer {
        Ok(list) => {
            let watched = list.resources.into_iter();
            let watched = watched.filter(|it| it.verbs.iter().any(|verb| verb == "watch"));
            Ok(watched.map(|it| it.name).collect())
        }
        Err(Problem::NotFound) => Ok(Vec::new()),
        Err(problem) => Err(problem),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_have_the_names_that_rbac_uses() {
        assert_eq!(full_name(Kind::TcpIngress), "tcpingresses.configuration.konghq.com");
        assert_eq!(full_name(Kind::Secret), "secrets");
        let route = in_version(Kind::TcpRoute, "v1");
        assert_eq!(route.api_version, "gateway.networking.k8s.io/v1");
        assert_eq!(in_version(Kind::Service, "v1").api_version, "v1");
    }
}
