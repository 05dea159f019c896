//! Kong's how-to, typed as it is printed: `stream_listen` with `TCPIngress`es, and with a `Gateway`,
//! a `TCPRoute` and a `TLSRoute`.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::support::backend::Backend;
use crate::support::certs::{Authority, Files};
use crate::support::config::{Config, Service};
use crate::support::ports::free_port;
use crate::support::proxy::{Launch, Proxy, thalweg};
use crate::support::wait::{SOON, waited};

const CLOSED: &str = "*/relay/closed";
const NAME: &str = "tls9443.kong.example";

const INGRESSES: &str = "
apiVersion: configuration.konghq.com/v1beta1
kind: TCPIngress
metadata:
  name: echo-plaintext
  annotations:
    kubernetes.io/ingress.class: kong
spec:
  rules:
  - port: 9000
    backend:
      serviceName: echo
      servicePort: 1025
---
apiVersion: configuration.konghq.com/v1beta1
kind: TCPIngress
metadata:
  name: echo-tls
  annotations:
    kubernetes.io/ingress.class: kong
spec:
  tls:
  - secretName: tls9443.kong.example
    hosts:
      - tls9443.kong.example
  rules:
  - host: tls9443.kong.example
    port: 9443
    backend:
      serviceName: echo
      servicePort: 1025
";

const ROUTES: &str = "
apiVersion: gateway.networking.k8s.io/v1
kind: GatewayClass
metadata:
  name: kong
  annotations:
    konghq.com/gatewayclass-unmanaged: 'true'
spec:
  controllerName: konghq.com/kic-gateway-controller
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata:
  name: kong
spec:
  gatewayClassName: kong
  listeners:
  - name: proxy
    port: 80
    protocol: HTTP
    allowedRoutes:
      namespaces:
         from: All
  - name: stream9000
    port: 9000
    protocol: TCP
  - name: stream9443
    port: 9443
    protocol: TLS
    hostname: tls9443.kong.example
    tls:
      certificateRefs:
      - group: ''
        kind: Secret
        name: tls9443.kong.example
---
apiVersion: gateway.networking.k8s.io/v1alpha2
kind: TCPRoute
metadata:
  name: echo-plaintext
spec:
  parentRefs:
  - name: kong
    sectionName: stream9000
  rules:
  - backendRefs:
    - name: echo
      port: 1025
---
apiVersion: gateway.networking.k8s.io/v1alpha2
kind: TLSRoute
metadata:
  name: echo-tls
spec:
  parentRefs:
    - name: kong
      sectionName: stream9443
  hostnames:
    - tls9443.kong.example
  rules:
    - backendRefs:
      - name: echo
        port: 1025
";

/// What the how-to takes from its includes: the echo service, here, and the certificate.
fn cluster(echo: &Backend, authority: &Authority) -> String {
    let issued = authority.issue(&[NAME]);
    let data = json!({ "tls.crt": issued.cert_pem(), "tls.key": issued.key_pem() });
    format!(
        "apiVersion: v1\nkind: Service\nmetadata: {{ name: echo }}\n\
         spec: {{ ports: [ {{ name: tcp, protocol: TCP, port: 1025, targetPort: 1025 }} ] }}\n---\n\
         apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\n\
         metadata: {{ name: echo-1, labels: {{ kubernetes.io/service-name: echo }} }}\n\
         addressType: IPv4\nendpoints: [ {{ addresses: [ 127.0.0.1 ] }} ]\n\
         ports: [ {{ name: tcp, port: {} }} ]\n---\n\
         apiVersion: v1\nkind: Secret\ntype: kubernetes.io/tls\n\
         metadata: {{ name: {NAME} }}\nstringData: {data}\n",
        echo.address.port()
    )
}

/// The ports of the how-to, as free ones.
fn on_ports(text: &str, plain: u16, tls: u16) -> String {
    text.replace("port: 9000", &format!("port: {plain}"))
        .replace("port: 9443", &format!("port: {tls}"))
}

fn providers(files: &Files, stream_listen: &str) -> Value {
    json!({
        "kong": { "streamListen": stream_listen },
        "kubernetes": {
            "files": [ files.path("*.yaml") ], "gatewayClass": "kong", "ingressClass": "kong",
        },
    })
}

#[track_caller]
fn answers(proxy: &mut Proxy, service: &Service) {
    let client = proxy.connect(service);
    client.send(b"hello");
    client.expect(b"hello");
    client.fin();
    client.expect_eof();
    proxy.ended(client, service, CLOSED);
}

/// Goal: both ways of the how-to serve what it promises, with the commands that it tries it with, and
/// an address that nothing attaches to refuses. Method: its manifests, files of a certificate's
/// authority, and `openssl s_client` as it is printed there.
#[test]
fn the_how_to() {
    let (echo, authority, files) = (Backend::echo(), Authority::new("servers"), Files::new());
    let ca = files.put("ca.pem", &authority.pem());
    files.put("cluster.yaml", &cluster(&echo, &authority));
    for (manifests, plain_id, tls_id) in [
        (INGRESSES, "tcpingress/default/echo-plaintext/PORT", "tcpingress/default/echo-tls"),
        (ROUTES, "tcproute/default/echo-plaintext/kong/stream9000", "tlsroute/default/echo-tls"),
    ] {
        let [plain, tls, empty] = [free_port(), free_port(), free_port()];
        files.put("manifests.yaml", &on_ports(manifests, plain, tls));
        let listen = format!("127.0.0.1:{plain}, 127.0.0.1:{tls} ssl, 127.0.0.1:{empty}");
        // Its ports need no whitelist.
        let config = Config::new([])
            .set("disablePortsWhitelist", json!(false))
            .set("providers", providers(&files, &listen));
        let mut proxy = Launch::new(config).start();
        let id = format!("kubernetes/{}", plain_id.replace("PORT", &plain.to_string()));
        answers(&mut proxy, &Service::new(&id, &[]).on_port(plain));

        // As printed there: it goes on reading when it has said all, and is ended by hand.
        let mut client = Command::new("openssl")
            .args(["s_client", "-connect", &format!("127.0.0.1:{tls}"), "-servername", NAME])
            .args(["-verify_return_error", "-verify_hostname", NAME, "-CAfile", &ca, "-quiet"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("openssl");
        client.stdin.as_mut().unwrap().write_all(b"hello\n").unwrap();
        let mut said = String::new();
        BufReader::new(client.stdout.as_mut().unwrap()).read_line(&mut said).unwrap();
        client.kill().unwrap();
        client.wait().unwrap();
        assert_eq!(said, "hello\n");
        proxy.ended_many(1, "*");
        let event = waited(SOON, || {
            let all = proxy.events();
            all.into_iter()
                .find(|it| it.text("@serviceId").starts_with(&format!("kubernetes/{tls_id}")))
        });
        assert_eq!(event.expect("an event").text("sni"), NAME);

        let unattached = Service::new(&format!("kong/127.0.0.1:{empty}"), &[]).on_port(empty);
        let client = proxy.connect(&unattached);
        client.expect_end();
        proxy.cut(client, &unattached, "us/pick/rejected");
        proxy.finish();
    }
}

/// Goal: the environment wins over the key, and what cannot be read refuses the start in Kong's words.
#[test]
fn the_environment_wins() {
    let echo = Backend::echo();
    let (authority, files) = (Authority::new("servers"), Files::new());
    files.put("cluster.yaml", &cluster(&echo, &authority));
    let (plain, other) = (free_port(), free_port());
    files.put("manifests.yaml", &on_ports(INGRESSES, plain, other));
    let config = Config::new([]).set("providers", providers(&files, "off"));
    let listen = format!("127.0.0.1:{plain}");
    let mut proxy = Launch::new(config.clone()).env("KONG_STREAM_LISTEN", &listen).start();
    let id = format!("kubernetes/tcpingress/default/echo-plaintext/{plain}");
    answers(&mut proxy, &Service::new(&id, &[]).on_port(plain));
    proxy.finish();
    let refused = Launch::new(config).env("KONG_STREAM_LISTEN", "0.0.0.0:9000 sll").refused();
    let said = refused.said();
    assert!(said.contains("E350") && said.contains("stream_listen must be of form"), "{said}");
}

/// Goal: `import kong` and `import kubernetes` print what is served, and it checks as it is.
#[test]
fn imports_are_configurations() {
    let echo = Backend::echo();
    let (authority, files) = (Authority::new("servers"), Files::new());
    let cluster = files.put("cluster.yaml", &cluster(&echo, &authority));
    let manifests = files.put("manifests.yaml", INGRESSES);
    let conf = files.put("kong.conf", "stream_listen = 0.0.0.0:9000, 0.0.0.0:9443 ssl\n");
    let dir = files.path("");
    let mut printed = Vec::new();
    for arguments in [
        vec!["import", "kong", &conf, &cluster, &manifests],
        vec!["import", "kubernetes", &cluster, &manifests],
    ] {
        let import = thalweg(&dir, &arguments);
        assert_eq!(import.code(), Some(0), "{}", import.said());
        let file = files.put("native.json", &import.stdout);
        let check = thalweg(&dir, &["check", "-c", &file]);
        assert_eq!(check.code(), Some(0), "{}", check.said());
        printed.push(serde_json::from_str::<Value>(&import.stdout).unwrap());
    }
    assert_eq!(printed[0], printed[1]);
    assert_eq!(printed[0]["services"].as_array().unwrap().len(), 2);
    assert_eq!(printed[0]["certificates"][0]["name"], format!("kubernetes/default/{NAME}"));
}
