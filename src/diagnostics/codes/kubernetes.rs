//! Codes about Kubernetes: 360 to 389.

use super::super::Code;
use super::super::Severity::{Error, Info, Warn};

codes! {
    UNKNOWN_KIND "I360" Info "an object of a kind that is not used"
        "The manifest is of a kind that means nothing here. It is passed over."
        "See the list of kinds in README."
    BAD_OBJECT "E361" Error "an object that cannot be read"
        "The document is no object of Kubernetes, is of a version that is not known, or has no name. \
         It is left out; all others are used."
        "apiVersion: gateway.networking.k8s.io/v1"
    OBJECT_TWICE "W362" Warn "an object is there twice"
        "Two documents have the same kind, namespace and name. As with `kubectl apply`, the last one \
         counts."
        "Delete one of them, or give it another name."
    OTHER_CLASS "I363" Info "an object of another class"
        "A `Gateway` or a `TCPIngress` is of a class that is not ours, or of none. It is left to whose \
         it is."
        "\"providers\": { \"kubernetes\": { \"gatewayClass\": \"kong\", \"ingressClass\": \"kong\" } }"
    LISTENER_NOT_SERVED "W364" Warn "a listener that is not served"
        "A listener of a `Gateway` is not accepted, or not programmed: its protocol is not one of TCP \
         and TLS, it is in conflict with another one of its port, its certificate cannot be had, or \
         `stream_listen` does not have its port. The reason is the one in its status."
        "listeners: [ { name: db, port: 5432, protocol: TCP } ]"
    ROUTE_NOT_ACCEPTED "W365" Warn "a route that does not attach"
        "A `TCPRoute` or `TLSRoute` is not accepted by a parent that it names. The reason is the one in \
         its status: `NoMatchingParent` (no such listener), `NotAllowedByListeners` (its namespace or \
         its kind), `NoMatchingListenerHostname`, `UnsupportedValue`."
        "parentRefs: [ { name: gateway, sectionName: db } ]"
    BACKEND_NOT_RESOLVED "W366" Warn "a backend that cannot be used"
        "A route names a backend that is not there, is of an unknown kind, or is in another namespace \
         without a `ReferenceGrant`. As the standard asks for, its share of the connections is \
         refused: it does not go to the others."
        "backendRefs: [ { name: echo, port: 1025 } ]"
    ROUTE_SHADOWED "W367" Warn "a route that an older one hides"
        "Two routes want the same connections of a listener. The older one has them all; the other one \
         is accepted, and gets them when the older one is gone."
        "Give each route a listener, or names, of its own."
    POLICY_NOT_ACCEPTED "W368" Warn "a policy that does not hold"
        "A `BackendTLSPolicy` cannot be followed: its authorities cannot be had, or another policy has \
         the same target. Connections to its target are refused rather than sent without TLS."
        "validation: { hostname: db.internal, caCertificateRefs: [ { group: \"\", kind: ConfigMap, name: ca } ] }"
}
