//! The files in `config/kubernetes`.

use super::apiserver::{documents, manifest};
use super::*;
use crate::support::certs::Files;
use crate::support::proxy::thalweg;

/// Goal: each file is what it says.
/// Method: every document has a kind and a name; the configuration in the ConfigMap passes `check`;
/// the roles are for the account that the DaemonSet has. What the rules grant is enforced by the
/// stand-in in every other test here, so that one too few would be found.
#[test]
fn each_is_well_formed() {
    for name in ["crds.yaml", "rbac.yaml", "gatewayclass.yaml", "daemonset.yaml"] {
        for document in documents(&manifest(name)) {
            assert!(document["apiVersion"].is_string(), "{name}: {document}");
            assert!(document["kind"].is_string(), "{name}: {document}");
            assert!(document["metadata"]["name"].is_string(), "{name}: {document}");
        }
    }
    let class = &documents(&manifest("gatewayclass.yaml"))[0];
    assert_eq!(class["spec"]["controllerName"], CONTROLLER);
    let all = documents(&manifest("daemonset.yaml"));
    let config = all.iter().find(|it| it["kind"] == "ConfigMap").expect("a ConfigMap");
    let files = Files::new();
    let text = config["data"]["thalweg.json"].as_str().expect("a configuration");
    let file = files.put("thalweg.json", text);
    let exit = thalweg(&files.path(""), &["check", "-c", &file]);
    assert_eq!(exit.code(), Some(0), "{}", exit.said());
    let daemons = all.iter().find(|it| it["kind"] == "DaemonSet").expect("a DaemonSet");
    let account = &daemons["spec"]["template"]["spec"]["serviceAccountName"];
    let rbac = documents(&manifest("rbac.yaml"));
    let bindings = rbac.iter().filter(|it| it["subjects"].is_array());
    for binding in bindings {
        assert_eq!(&binding["subjects"][0]["name"], account);
    }
    assert!(
        rbac.iter().any(|it| it["kind"] == "ServiceAccount" && it["metadata"]["name"] == *account)
    );
}
