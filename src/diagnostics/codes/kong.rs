//! Codes about Kong's `stream_listen` and `TCPIngress`: 350 to 359.

use super::super::Code;
use super::super::Severity::{Error, Info, Warn};

codes! {
    BAD_STREAM_LISTEN "E350" Error "a bad `stream_listen`"
        "An entry does not follow the form `<ip>:<port> [flags]`, as Kong reads it."
        "0.0.0.0:9000, 0.0.0.0:9443 ssl"
    LISTEN_NOT_SERVED "W351" Warn "an address of `stream_listen` that is not served"
        "It is for UDP, its host is a name (other than `localhost`), its port is 0, or it is there \
         twice. All others are served."
        "0.0.0.0:9000"
    LISTEN_FLAG_IDLE "I352" Info "a flag of `stream_listen` from which nothing follows"
        "`backlog` and `so_keepalive` are read, and left to the system: the queue is as long as \
         net.core.somaxconn allows, and what is idle is ended by `timeouts.idle`."
        "sysctl net.core.somaxconn=4096"
    NOT_IN_STREAM_LISTEN "W353" Warn "a port that `stream_listen` does not have"
        "A rule of a `TCPIngress` is for a port that Kong would not listen on. As with Kong, nothing \
         listens there."
        "\"streamListen\": \"0.0.0.0:9000, 0.0.0.0:9443 ssl\""
    HOST_WITHOUT_SSL "W354" Warn "a host on a port without TLS"
        "A rule of a `TCPIngress` has a `host`, and its address in `stream_listen` has no `ssl`: no \
         name is seen there. As with Kong, the rule takes all connections of the port."
        "0.0.0.0:9443 ssl"
    INGRESS_SHADOWED "W355" Warn "connections that an older object has"
        "Two rules of `TCPIngress`es, or one and a listener of a `Gateway`, are for the same port and \
         name. The older one has all connections; those of a `Gateway` come first."
        "Give each a port, or a host, of its own."
    BAD_TCP_INGRESS "E356" Error "a rule of a `TCPIngress` that cannot be"
        "`port`, `backend.serviceName` and `backend.servicePort` are needed, `host` is a name, as \
         `db.example.com` or `*.example.com`, and `konghq.com/protocols` is one of `tcp`, `tls`, and \
         `tls_passthrough`, the last with a `host`. The rule is left out."
        "rules: [ { port: 9000, backend: { serviceName: echo, servicePort: 1025 } } ]"
    INGRESS_BACKEND "W357" Warn "a backend of a `TCPIngress` that cannot be used"
        "There is no such `Service`, it has no such port, or what its annotations name is not there. \
         Connections are refused."
        "backend: { serviceName: echo, servicePort: 1025 }"
    INGRESS_SECRET "W358" Warn "a certificate of a `TCPIngress` that cannot be used"
        "There is no such `Secret`, or its `tls.crt` and `tls.key` are not a certificate and its key. \
         Others that fit are shown instead."
        "kubectl create secret tls NAME --cert=server.crt --key=server.key"
    UPSTREAM_UNVERIFIED "W359" Warn "a backend whose certificate is not verified"
        "`konghq.com/protocol: tls` of a `Service` has TLS spoken to it. As with Kong, the certificate \
         is not verified unless `konghq.com/tls-verify` is \"true\"."
        "annotations: { konghq.com/protocol: tls, konghq.com/tls-verify: \"true\" }"
}
