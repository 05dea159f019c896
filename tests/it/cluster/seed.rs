//! What Kong's document about TCP in Kubernetes shows, step by step.

use std::io::Write as _;
use std::process::{Command, Stdio};

use self::apiserver::watch::at_path;
use super::*;
use crate::support::certs::Files;
use crate::support::proxy::{Exit, run_to_end};

const NAME: &str = "tls9443.kong.example";

/// `kubectl` as somebody who may do everything.
#[track_caller]
fn kubectl(cluster: &Cluster, arguments: &[&str]) -> Exit {
    let mut command = Command::new("kubectl");
    command.arg("--kubeconfig").arg(cluster.api.kubeconfig(ADMIN)).args(arguments);
    command.arg("-n").arg("default").env("HOME", "/nonexistent");
    let exit = run_to_end(command);
    assert_eq!(exit.code(), Some(0), "{}", exit.said());
    exit
}

#[track_caller]
fn apply(cluster: &Cluster, files: &Files, manifest: &str) {
    let file = files.put("manifest.yaml", manifest);
    kubectl(cluster, &["apply", "--validate=false", "-f", &file]);
}

/// What `openssl s_client` gets back for a line.
#[track_caller]
fn s_client(port: u16, name: &str, line: &str) -> String {
    let mut command = Command::new("openssl");
    command.args([
        "s_client",
        "-connect",
        &format!("127.0.0.1:{port}"),
        "-servername",
        name,
        "-quiet",
    ]);
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("openssl; scripts/test installs it");
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(line.as_bytes()).unwrap();
    let mut out = child.stdout.take().unwrap();
    let mut said = vec![0; line.len()];
    std::io::Read::read_exact(&mut out, &mut said).expect("an answer");
    // With `-quiet` it goes on until somebody stops it: "press Ctrl+C to exit".
    drop(stdin);
    child.kill().unwrap();
    child.wait().unwrap();
    String::from_utf8(said).unwrap()
}

/// Goal: the four manifests of the document work as it says, with `kubectl` and `openssl` as it uses
/// them, over TLS to the API server: connections flow, the conditions and columns are there.
/// Method: the gateway gets its listeners by a patch; TCPRoute and TLSRoute first, then, on the same
/// ports, both TCPIngresses.
#[test]
fn the_four_manifests_of_the_document() {
    let cluster = Cluster::on(ApiServer::secure());
    let files = Files::new();
    let authority = Authority::new("it");
    cluster.secret(NAME, &authority.issue(&[NAME]));
    let echo = Backend::echo();
    cluster.service("default", "echo", echo.address.port(), &[Endpoint::ready(echo.address)]);
    let mut proxy = cluster.proxy();
    let (tcp, tls) = (cluster.tcp, cluster.tls);

    let patch = json!([ { "op": "add", "path": "/spec/listeners/-", "value": {
        "name": "stream9443", "port": tls, "protocol": "TLS", "hostname": NAME,
        "tls": { "certificateRefs": [ { "group": "", "kind": "Secret", "name": NAME } ] },
    } } ]);
    kubectl(&cluster, &["patch", "--type=json", "gateway", "kong", "-p", &patch.to_string()]);
    apply(
        &cluster,
        &files,
        "apiVersion: gateway.networking.k8s.io/v1alpha2
kind: TCPRoute
metadata:
  name: echo-plaintext
spec:
  parentRefs:
  - name: kong
    sectionName: tcp
  rules:
  - backendRefs:
    - name: echo
      port: 1025
",
    );
    apply(
        &cluster,
        &files,
        &format!(
            "apiVersion: gateway.networking.k8s.io/v1alpha2
kind: TLSRoute
metadata:
  name: echo-tls
spec:
  parentRefs:
    - name: kong
      sectionName: stream9443
  hostnames:
    - {NAME}
  rules:
    - backendRefs:
      - name: echo
        port: 1025
"
        ),
    );
    for (plural, name) in [("tcproutes", "echo-plaintext"), ("tlsroutes", "echo-tls")] {
        cluster.wait_accepted(plural, "default", name);
        let route = cluster.api.get(plural, "default", name).unwrap();
        let path = ".status.parents[0].conditions[?(@.reason==\"Accepted\")]";
        let found = at_path(&route, path);
        assert_eq!(found.len(), 1, "{route:#}");
        let mut found = found[0].clone();
        let time = found.as_object_mut().unwrap().remove("lastTransitionTime").unwrap();
        assert!(time.as_str().unwrap().ends_with('Z'), "{time}");
        let expected = json!({
            "message": "", "observedGeneration": 1, "reason": "Accepted",
            "status": "True", "type": "Accepted",
        });
        assert_eq!(found, expected);
        let said = kubectl(&cluster, &["get", plural, name, &format!("-ojsonpath={{{path}}}")]);
        let said: Value = serde_json::from_str(&said.stdout).expect("what the document shows");
        assert_eq!(said["observedGeneration"], 1);
    }
    let gateway = cluster.api.wait_status("gateways", "default", "kong", |status| {
        let listeners = status["listeners"].as_array().cloned().unwrap_or_default();
        condition(status, "Programmed", "True")
            && listeners.len() == 2
            && listeners
                .iter()
                .all(|it| condition(it, "Programmed", "True") && it["attachedRoutes"] == 1)
    });
    assert_eq!(gateway["addresses"], json!([ { "type": "IPAddress", "value": ADDRESS } ]));
    cluster
        .api
        .wait_status("gatewayclasses", "", "kong", |status| condition(status, "Accepted", "True"));

    let service = cluster.routed("echo-plaintext");
    let peer = proxy.connect(&service);
    peer.send(b"This text will be echoed back.");
    peer.expect(b"This text will be echoed back.");
    peer.fin();
    peer.expect_eof();
    proxy.ended(peer, &service, CLOSED);
    assert_eq!(s_client(tls, NAME, "hello\n"), "hello\n");

    // The same with TCPIngresses, in the place of the routes.
    for (plural, name) in [("tcproutes", "echo-plaintext"), ("tlsroutes", "echo-tls")] {
        cluster.api.delete(plural, "default", name);
    }
    cluster.api.delete("gateways", "default", "kong");
    apply(
        &cluster,
        &files,
        &format!(
            "apiVersion: configuration.konghq.com/v1beta1
kind: TCPIngress
metadata:
  name: echo-plaintext
  annotations:
    kubernetes.io/ingress.class: kong
spec:
  rules:
  - port: {tcp}
    backend:
      serviceName: echo
      servicePort: 1025
"
        ),
    );
    apply(
        &cluster,
        &files,
        &format!(
            "apiVersion: configuration.konghq.com/v1beta1
kind: TCPIngress
metadata:
  name: echo-tls
  annotations:
    kubernetes.io/ingress.class: kong
spec:
  tls:
  - secretName: {NAME}
    hosts:
      - {NAME}
  rules:
  - host: {NAME}
    port: {tls}
    backend:
      serviceName: echo
      servicePort: 1025
"
        ),
    );
    for name in ["echo-plaintext", "echo-tls"] {
        cluster.api.wait_status("tcpingresses", "default", name, |status| {
            *status == json!({ "loadBalancer": { "ingress": [ { "ip": ADDRESS } ] } })
        });
    }
    let said = kubectl(&cluster, &["get", "tcpingress"]).stdout;
    let lines: Vec<Vec<&str>> =
        said.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(lines[0], ["NAME", "ADDRESS", "AGE"], "{said}");
    assert_eq!(lines[1][..2], ["echo-plaintext", ADDRESS], "{said}");
    let id = format!("kubernetes/tcpingress/default/echo-plaintext/{tcp}");
    let service = Service::new(&id, &[]).on_port(tcp);
    let peer = proxy.connect(&service);
    peer.send(b"echo");
    peer.expect(b"echo");
    peer.fin();
    peer.expect_eof();
    proxy.ended(peer, &service, CLOSED);
    assert_eq!(s_client(tls, NAME, "hello again\n"), "hello again\n");
    proxy.ended_between(2, 2, "*/relay/*");
    drop(cluster);
    proxy.finish();
}
