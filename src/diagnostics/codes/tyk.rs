//! Codes about Tyk's API definitions: 310 to 329.

use super::super::Code;
use super::super::Severity::{Error, Info, Warn};

codes! {
    NO_LISTEN_PORT "E310" Error "an API definition without a port"
        "The definition has no `listen_port`, or 0. A service of TCP or TLS has no other way to be reached."
        "\"listen_port\": 30001"
    TYK_PROTOCOL "E311" Error "an API definition of an unknown protocol"
        "`protocol` is `tcp` or `tls` for what is served here. Definitions of `http`, `https` and `h2c` \
         are passed over; any other word is refused, since nobody can say what was meant."
        "\"protocol\": \"tls\""
    TYK_TARGET "E312" Error "an API definition whose target cannot be used"
        "A target is `tcp://host:port`, `tls://host:port` or `host:port`. It needs a port: TCP has no \
         usual one. `target_list` counts only with `enable_load_balancing`, as in Tyk."
        "\"proxy\": { \"target_url\": \"tcp://upstream:9191\" }"
    TYK_SCHEMES "E313" Error "targets with and without TLS in one definition"
        "The targets of a definition are all `tcp://` or all `tls://`. Tyk logs the difference and goes \
         to `target_url` instead; here the definition is refused, for whether a connection is encrypted \
         must not depend on whose turn it is."
        "\"target_list\": [\"tls://10.0.0.1:9191\", \"tls://10.0.0.2:9191\"]"
    TYK_PORT "E314" Error "two API definitions that cannot share a port"
        "Definitions that share a port have the same `protocol`, the same `enable_proxy_protocol`, and \
         each its own `domain`; of `tcp` there is one on a port, since nothing would tell them apart. \
         The earlier one is served, this one is not."
        "\"listen_port\": 30001, \"domain\": \"b.example.com\""
    TYK_CERTIFICATE "E315" Error "a certificate of an API definition cannot be used"
        "Certificates are named by their id, for the file `ID.pem` in `providers.tyk.certificateDir`, or \
         by a path that starts at the definition's file. The file must be PEM, and have the private key \
         where one is needed."
        "\"tyk\": { \"files\": [\"apis/*.json\"], \"certificateDir\": \"certs.d\" }"
    TYK_MUTUAL_TLS "E316" Error "mutual TLS that cannot hold"
        "`use_mutual_tls_auth` asks for client certificates, but they cannot be asked for here: only a \
         definition with `protocol` `tls` can. It is refused, since whoever wrote it expects clients to \
         be checked."
        "\"protocol\": \"tls\", \"use_mutual_tls_auth\": true, \"client_certificates\": [\"ID\"]"
    TYK_PINS "E317" Error "pinned keys that cannot hold"
        "`pinned_public_keys` names, for a host, public keys by their ids (a file `ID.pem` with the key or \
         a certificate), by paths, or by their SHA-256. One that cannot be read, or that is for a host \
         which is known only at run time, would not be looked for."
        "\"pinned_public_keys\": { \"db.internal\": \"sha256/BASE64\" }"
    TYK_CHECK "E318" Error "a health check that cannot be made"
        "An entry of `uptime_tests.check_list` has a `url` with host and port; its `protocol` is `tcp`, \
         `tls`, `http` or `https`; its `commands` are `send` and `expect`, each with a `message`; its \
         `body` is base64."
        "{ \"url\": \"10.0.0.1:6379\", \"commands\": [ { \"name\": \"send\", \"message\": \"PING\\r\\n\" } ] }"
    TYK_TRANSPORT "E319" Error "TLS with targets that cannot be had"
        "What `proxy.transport` asks for cannot be done, and doing less would be weaker: only TLS 1.2 \
         (771) and 1.3 (772) are spoken, with the suites that give forward secrecy, and a name is never \
         verified without the chain."
        "\"transport\": { \"ssl_min_version\": 771 }"
    TYK_DOMAIN "E320" Error "a domain that is no host name"
        "`domain` is a host name, which the client asks for in TLS; `*` in it is any characters. Other \
         expressions of Tyk's HTTP router are not for TLS."
        "\"domain\": \"*.example.com\""
    TYK_DISCOVERY "E321" Error "service discovery that cannot be"
        "`service_discovery` needs a `query_endpoint`, `http://` or `https://`."
        "\"service_discovery\": { \"use_discovery_service\": true, \"query_endpoint\": \"http://127.0.0.1:8500/v1/catalog/service/db\" }"
    TYK_SAME_ID "E322" Error "two API definitions have the same id"
        "An `api_id` is that of one definition. The first is served, this one is not."
        "Give each definition an `api_id` of its own, or delete one of them."
    TYK_CONF "E323" Error "the gateway's configuration cannot be used"
        "The file named by `providers.tyk.config` cannot be read as it should be. It may ask for client \
         certificates or pin keys, so without it no definition is served."
        "\"tyk\": { \"config\": \"tyk.conf\", \"files\": [\"apis/*.json\"] }"
    TYK_IDLE "W310" Warn "a setting without effect"
        "The definition says something that changes nothing as the rest of it stands."
        "`target_list` needs `enable_load_balancing`, `client_certificates` needs `use_mutual_tls_auth`."
    TYK_MISSPELT "W311" Warn "perhaps a misspelt key"
        "The key is none that is read here, but looks like one. Other keys of Tyk's API definitions are \
         passed over."
        "{ \"listen_prot\": 30001 }   becomes   { \"listen_port\": 30001 }"
    TYK_SAID_TWICE "W312" Warn "a setting in two places"
        "The setting stands at the top level and under `proxy`, with two values. That counts which stands \
         where Tyk's schema has it."
        "Delete one of them."
    TYK_CHECK_OF_NOBODY "W313" Warn "a health check of something that is no target"
        "A check counts for the target with the same host and port. This one is for none, or for one \
         that has a check already, and is not made."
        "{ \"url\": \"192.168.10.1:6379\" } checks the target 192.168.10.1:6379"
    TYK_TIMEOUT "W314" Warn "a timeout that is too short to be meant"
        "Tyk's timeouts are nanoseconds, and this one would fail every check. The default is used."
        "\"timeout\": 2000000000 or \"timeout\": \"2s\""
    TYK_CIPHER "W315" Warn "TLS settings that are left out"
        "The setting allows what is not spoken here: a version before TLS 1.2, or suites without forward \
         secrecy or authenticated encryption. What remains is stronger, and may be refused by an old peer."
        "\"ssl_ciphers\": [\"TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256\"]"
    TYK_NOT_TCP "I310" Info "an API definition of HTTP"
        "Only definitions whose `protocol` is `tcp` or `tls` are served; others are passed over."
        "\"protocol\": \"tcp\""
    TYK_NO_CERTIFICATE "I311" Info "an API definition that names no certificate"
        "The definition ends TLS and names no certificate (an empty name is none). Clients are shown \
         those of the top-level `certificates`."
        "\"certificates\": [\"ID\"], or \"certificates\" at the top level of the main file"
    TYK_CHECKS_DECIDE_NOTHING "I312" Info "health checks that decide nothing"
        "Without `check_host_against_uptime_tests` Tyk only reports what its checks find. So it is here: \
         the targets are checked and their state is shown, but connections go to all of them."
        "\"proxy\": { \"check_host_against_uptime_tests\": true }"
    TYK_TRUSTED "I313" Info "whose PROXY headers are taken"
        "With `enable_proxy_protocol` everybody who connects must begin with a PROXY header, before TLS. A \
         header says which address a client has, so only those in `providers.tyk.trustedProxies` may \
         connect; without that key these are the private networks."
        "\"tyk\": { \"trustedProxies\": [\"10.0.0.0/8\"] }"
    TYK_SCHEME_READ "I314" Info "a target without a scheme"
        "A target of a `tls` definition has no scheme. As in Tyk, one in `target_list` is then spoken to \
         by TLS, and `target_url` is not."
        "\"target_list\": [\"tcp://10.0.0.1:9191\"]"
}
