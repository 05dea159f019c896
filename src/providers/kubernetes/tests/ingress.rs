//! The how-to of Kong, typed as it is printed; and `TCPIngress` in all its forms.

use super::*;
use crate::providers::kong::parse;

const HOW_TO: &str = "0.0.0.0:9000, 0.0.0.0:9443 ssl";

const PORT: &str = "
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
";

const HOST: &str = "
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
---
";

const ECHO: &str = "
apiVersion: v1
kind: Service
metadata: { name: echo }
spec: { ports: [ { name: udp, protocol: UDP, port: 1025 }, { name: tcp, protocol: TCP, port: 1025 } ] }
---
";

fn kong(stream_listen: Option<&str>) -> Options {
    Options {
        gateway_class: "kong".into(),
        ingress_class: "kong".into(),
        adopts: true,
        stream_listen: stream_listen.map(|text| parse(text).unwrap()),
        addresses: vec!["192.0.2.3".into()],
        ..Options::default()
    }
}

fn how_to() -> String {
    [PORT, HOST, ECHO, &secret("tls9443.kong.example", "tls9443.kong.example")].concat()
}

#[test]
fn the_ingresses_of_the_how_to() {
    for stream_listen in [Some(HOW_TO), None] {
        let came = with(&how_to(), &kong(stream_listen));
        assert_eq!(came.codes(), [""; 0]);
        assert_eq!(
            came.ids(),
            [
                "kubernetes/tcpingress/default/echo-plaintext/9000",
                "kubernetes/tcpingress/default/echo-tls/9443/tls9443.kong.example",
            ]
        );
        let (_, targets) = came.taker(9000, None).unwrap();
        assert_eq!(
            (&targets[0]["host"], &targets[0]["port"]),
            (&"echo.default.svc".into(), &1025.into())
        );
        let tls = came.service(came.ids()[1]);
        assert_eq!(tls["tls"], "Enabled");
        assert_eq!(tls["certificates"][0], "kubernetes/default/tls9443.kong.example");
        assert_eq!(came.certificates, ["kubernetes/default/tls9443.kong.example"]);
        let declared = came.source.documents.iter().all(|it| it.port_is_declared);
        assert_eq!(declared, stream_listen.is_some());
        let status = came.status(Kind::TcpIngress, "echo-tls");
        assert_eq!(status["loadBalancer"]["ingress"][0]["ip"], "192.0.2.3");
        assert_eq!(faults(&came), [""; 0]);
    }
}

#[test]
fn the_routes_of_the_how_to() {
    let text = "
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: { name: kong, generation: 2 }
spec:
  gatewayClassName: kong
  listeners:
  - { name: proxy, port: 80, protocol: HTTP, allowedRoutes: { namespaces: { from: All } } }
  - { name: stream9000, port: 9000, protocol: TCP }
  - name: stream9443
    port: 9443
    protocol: TLS
    hostname: tls9443.kong.example
    tls: { certificateRefs: [ { group: \"\", kind: Secret, name: tls9443.kong.example } ] }
---
apiVersion: gateway.networking.k8s.io/v1alpha2
kind: TCPRoute
metadata: { name: echo-plaintext, generation: 2 }
spec:
  parentRefs: [ { name: kong, sectionName: stream9000 } ]
  rules: [ { backendRefs: [ { name: echo, port: 1025 } ] } ]
---
apiVersion: gateway.networking.k8s.io/v1alpha2
kind: TLSRoute
metadata: { name: echo-tls }
spec:
  parentRefs: [ { name: kong, sectionName: stream9443 } ]
  hostnames: [ tls9443.kong.example ]
  rules: [ { backendRefs: [ { name: echo, port: 1025 } ] } ]
---
";
    let all = [text, ECHO, &secret("tls9443.kong.example", "tls9443.kong.example")].concat();
    let came = with(&all, &kong(Some(HOW_TO)));
    assert_eq!(came.codes(), ["W364"]); // the listener for HTTP
    assert_eq!(
        came.ids(),
        [
            "kubernetes/tcproute/default/echo-plaintext/kong/stream9000",
            "kubernetes/tlsroute/default/echo-tls/kong/stream9443",
        ]
    );
    assert_eq!(faults(&came), [""; 0]);
    // What the how-to asks of `kubectl get tcproute`.
    let parent = &came.status(Kind::TcpRoute, "echo-plaintext")["parents"][0];
    let accepted: Vec<_> = parent["conditions"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|it| it["reason"] == "Accepted")
        .collect();
    assert_eq!(accepted.len(), 1);
    assert_eq!(
        *accepted[0],
        serde_json::json!({
            "lastTransitionTime": null, "message": "", "observedGeneration": 2,
            "reason": "Accepted", "status": "True", "type": "Accepted",
        })
    );
    let gateway = came.status(Kind::Gateway, "kong");
    assert_eq!(gateway["addresses"][0]["value"], "192.0.2.3");
    assert_eq!(
        conditions(gateway),
        ["Accepted=True/ListenersNotValid", "Programmed=True/Programmed"]
    );
}

#[test]
fn only_the_ports_of_stream_listen_are_served() {
    let came = with(&how_to(), &kong(Some("0.0.0.0:9001, 127.0.0.1:9443 ssl, [::1]:9443 ssl")));
    assert_eq!(came.codes(), ["W353"]);
    let host = "kubernetes/tcpingress/default/echo-tls/9443/tls9443.kong.example";
    assert_eq!(came.ids(), [host.to_owned(), format!("{host}@::1")]);
    assert_eq!(came.service(host)["interface"], "127.0.0.1");
    let came = with(&how_to(), &kong(Some("0.0.0.0:9443")));
    assert_eq!(came.codes(), ["W353", "W354"]);
    assert_eq!(came.services[0]["tls"], Value::Null);
}

#[test]
fn what_is_of_another_class_is_left_alone() {
    let came = with(&how_to(), &Options::default());
    assert_eq!(came.codes(), ["I363", "I363"]);
    assert!(came.services.is_empty() && came.statuses.is_empty());
    let named = how_to().replace("    kubernetes.io/ingress.class: kong", "    a: b");
    assert_eq!(with(&named, &kong(None)).codes(), ["I363", "I363"]);
    let default = "apiVersion: networking.k8s.io/v1\nkind: IngressClass\nmetadata: { name: kong, \
                   annotations: { ingressclass.kubernetes.io/is-default-class: \"true\" } }\n---\n";
    assert_eq!(with(&(named + default), &kong(None)).codes(), [""; 0]);
}

#[test]
fn the_older_of_two_has_the_connections() {
    let named = |name: &str, created: &str| {
        let of = format!("name: {name}\n  creationTimestamp: \"{created}\"");
        PORT.replace("name: echo-plaintext", &of)
    };
    let text =
        [named("a", "2026-01-02T00:00:00Z"), named("b", "2026-01-01T00:00:00Z"), ECHO.into()];
    let came = with(&text.concat(), &kong(None));
    assert_eq!(came.codes(), ["W355"]);
    assert_eq!(came.ids(), ["kubernetes/tcpingress/default/b/9000"]);
}

#[test]
fn hosts_go_from_the_narrowest_to_none_and_may_pass_through() {
    let of = |name: &str, host: &str, protocols: &str| {
        HOST.replace("echo-tls", name)
            .replace("host: tls9443.kong.example", &format!("host: \"{host}\""))
            .replace(
                "ingress.class: kong",
                &format!("ingress.class: kong\n    konghq.com/protocols: {protocols}"),
            )
    };
    let any = PORT.replace("9000", "9443").replace("echo-plaintext", "any");
    let text = [
        any,
        of("wide", "*.example", "tls"),
        of("narrow", "*.b.example", "tls_passthrough"),
        of("one", "a.b.example", "tcp,tls"),
        ECHO.into(),
        secret("tls9443.kong.example", "tls9443.kong.example"),
    ];
    let came = with(&text.concat(), &kong(Some(HOW_TO)));
    let taker = |name: &str| came.route(9443, name);
    assert_eq!(
        ["a.b.example", "c.b.example", "x.y.b.example", "z.example", "z"].map(taker),
        ["one", "narrow", "narrow", "wide", "any"]
    );
    let narrow = "kubernetes/tcpingress/default/narrow/9443/*.b.example";
    assert_eq!(came.services.iter().filter(|it| it["tls"] == "PassThrough").count(), 1);
    assert!(came.ids().iter().any(|id| id.starts_with(narrow)), "{:?}", came.ids());
}

#[test]
fn a_rule_that_cannot_be_is_told_with_its_place() {
    for (from, to, path) in [
        ("port: 9000", "port: 0", "spec.rules[0].port"),
        ("serviceName: echo", "serviceName: \"\"", "spec.rules[0].backend.serviceName"),
        ("servicePort: 1025", "other: 1", "spec.rules[0].backend.servicePort"),
        ("- port: 9000", "- host: 10.0.0.1\n    port: 9000", "spec.rules[0].host"),
        ("class: kong", "class: kong\n    konghq.com/protocols: udp", "spec.rules[0]"),
        (
            "class: kong",
            "class: kong\n    konghq.com/protocols: tls_passthrough",
            "spec.rules[0].host",
        ),
    ] {
        let came = with(&[&PORT.replace(from, to), ECHO].concat(), &kong(None));
        assert_eq!(came.codes(), ["E356"], "{to}");
        assert_eq!(came.found[0].path, path);
        assert!(came.services.is_empty());
    }
}

#[test]
fn annotations_of_the_service_say_how_it_is_reached() {
    let annotated = |extra: &str| {
        let of = format!("name: echo, annotations: {{ konghq.com/protocol: tls, {extra} }}");
        let text = [PORT, &ECHO.replace("name: echo }", &format!("{of} }}")), &secret("me", "me")];
        with(&text.concat(), &kong(None))
    };
    let came = annotated("konghq.com/retries: \"7\", konghq.com/connect-timeout: \"1500\"");
    assert_eq!(came.codes(), ["W359"]);
    let target = &came.services[0]["rules"][0]["targets"][0];
    assert_eq!((&target["tls"], &target["insecureSkipVerify"]), (&true.into(), &true.into()));
    assert_eq!(came.services[0]["timeouts"]["connect"], "1500ms");
    assert_eq!(came.services[0]["retries"], 7);
    let came = annotated("konghq.com/tls-verify: \"true\", konghq.com/client-cert: me");
    assert_eq!(came.codes(), [""; 0]);
    let target = &came.services[0]["rules"][0]["targets"][0];
    assert_eq!(target["serverName"], "echo.default.svc");
    assert_eq!(target["clientCertificate"]["name"], "kubernetes/default/me");
    assert_eq!(came.certificates, ["kubernetes/default/me"]);
    let came =
        annotated("konghq.com/tls-verify: \"true\", konghq.com/ca-certificates-secrets: gone");
    assert_eq!(came.codes(), ["W357"]);
    assert_eq!(came.services[0]["rules"][0]["targets"][0]["reject"], true);
}
