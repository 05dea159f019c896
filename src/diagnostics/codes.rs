//! The tables of diagnostic codes. 1xx and 2xx (what is met while it is operated) are Thalweg's own,
//! 3xx are about documents of other systems, 0xx are Sōzune's, with their meaning there. A code keeps
//! its meaning for ever, and the number of one that is gone is not given again.

use super::Code;
use super::Severity::{Error, Info, Warn};

/// Defines each code as a static and lists all of them in `TABLE`, so that none can be forgotten.
macro_rules! codes {
    ($($name:ident $code:literal $severity:ident
       $title:literal $explanation:literal $example:literal)*) => {
        $(
            #[doc = $title]
            pub static $name: Code = Code {
                code: $code,
                severity: $severity,
                title: $title,
                explanation: $explanation,
                example: $example,
            };
        )*

        /// Every code of this table, in the order in which people read them.
        pub(super) static TABLE: &[&Code] = &[$(&$name),*];
    };
}

mod kong;
mod kubernetes;
mod providers;
mod sozune;
mod tyk;

pub use self::kong::*;
pub use self::kubernetes::*;
pub use self::providers::*;
pub use self::sozune::*;
pub use self::tyk::*;

/// Every code, in the order in which people read them.
pub fn all() -> impl Iterator<Item = &'static Code> {
    let tables =
        [TABLE, providers::TABLE, tyk::TABLE, sozune::TABLE, kong::TABLE, kubernetes::TABLE];
    tables.into_iter().flatten().copied()
}

codes! {
    // ---- the file -----------------------------------------------------------------------------
    UNREADABLE "E110" Error "the file cannot be read"
        "The configuration file is missing, is a directory, or may not be read by this user. \
         Nothing was changed."
        "Check the path after -c and the file's permissions: thalweg check -c /etc/thalweg/config.json"
    TOO_LARGE "E111" Error "the file is too large"
        "A configuration file may have 256 MiB, which is room for more than 200,000 services. \
         A larger one is almost certainly not a configuration."
        "Check the path after -c."
    NOT_UTF8 "E112" Error "the file is not UTF-8 text"
        "JSON is UTF-8 without a byte order mark. Editors on Windows may write a mark, or UTF-16."
        "Save the file as \"UTF-8 without BOM\", or: iconv -f UTF-16 -t UTF-8 old.json > config.json"
    SYNTAX "E113" Error "the file is not JSON"
        "The text breaks off or does not follow the grammar of JSON at the place named. JSON has no \
         comments, no trailing commas, and only double quotes."
        "{ \"services\": [ { \"id\": \"pg\", \"port\": 5432 } ] }"
    EMPTY "E114" Error "the file is empty"
        "The file has no content. It may be in the middle of being written: write configurations to \
         a temporary file and rename it."
        "The smallest configuration that serves nothing is {}"
    TOO_DEEP "E115" Error "the file is nested too deeply"
        "Objects and arrays are nested more than 127 deep. No configuration needs that."
        "Look for a generator that wraps its own output again and again."

    // ---- the shape ----------------------------------------------------------------------------
    UNKNOWN_KEY "E101" Error "unknown key"
        "The object has no such key. A key that is not known is refused rather than skipped: a \
         misspelt limit or access list would otherwise silently not hold."
        "{ \"prot\": 5432 }   becomes   { \"port\": 5432 }"
    WRONG_TYPE "E102" Error "value of the wrong type"
        "The key is known, but its value is a string where a number belongs, an object where an \
         array belongs, and so on. Numbers have no quotes; null is only allowed where the reference \
         says so. To get the default, leave the key out."
        "{ \"port\": \"5432\" }   becomes   { \"port\": 5432 }"
    UNKNOWN_VALUE "E103" Error "unknown value"
        "The key takes one of a few words, and this is none of them. It is refused rather than read \
         as the default, because the default may be weaker than what was meant."
        "{ \"tls\": \"Enable\" }   becomes   { \"tls\": \"Enabled\" }"
    MISSING_KEY "E104" Error "missing key"
        "The object lacks a key that has no default. A service needs `id` and `port`, a target needs \
         `host`, `events` needs `file` or `outputs`, `discovery` needs `url`, and `sni.forwardIfNoMatch` needs \
         `sni.forwardsTo`."
        "{ \"id\": \"pg\", \"port\": 5432, \"rules\": [ { \"targets\": [ { \"host\": \"db.internal\", \"port\": 5432 } ] } ] }"
    DUPLICATE_KEY "E105" Error "duplicate key"
        "An object has the same key twice. JSON leaves open which one counts, and readers differ."
        "Keep one of them."
    BAD_VALUE "E106" Error "value out of range"
        "The value has the right type but is outside of what the key takes."
        "`port` takes 1 to 65535, `retries` 0 to 16, `limits.connections` 1 or more."
    BAD_DURATION "E107" Error "not a duration"
        "A duration is whole numbers with units, the longest first, in a string: d, h, m, s, ms. A \
         number without a unit is refused, because seconds of one system are milliseconds of \
         another. A deadline of zero would end every connection: write null for no limit, where the \
         reference allows it."
        "{ \"connect\": 5 }   becomes   { \"connect\": \"5s\" };   \"250ms\", \"1h30m\", \"1d\""

    // ---- the meaning --------------------------------------------------------------------------
    BAD_ID "E120" Error "service id not usable"
        "The id names the service in events, metrics and the admin API. It must not be empty and \
         must not have control characters."
        "{ \"id\": \"postgres-main\" }"
    DUPLICATE_ID "E121" Error "two services have the same id"
        "A reload recognises a service by its id; two with one id could not be told apart. Services \
         that are not enabled count too."
        "Give each service an id of its own."
    BAD_INTERFACE "E123" Error "interface is not an IP address"
        "`interface` is the IP address to listen on: not a device name, not a host name, and without \
         a port."
        "\"0.0.0.0\" for every IPv4 address, \"::\" for every address, \"127.0.0.1\" for this machine only"
    ADDRESS_TAKEN "E124" Error "two services listen on the same address"
        "A service that does not route by name takes every connection of its address, so nothing \
         would be left for the other one."
        "Give one of them another `port` or `interface`, set its `enabled` to false, or set \
         `sni.enabled` to true in both."
    ADDRESS_OVERLAP "E125" Error "two services listen on overlapping addresses"
        "`0.0.0.0` is every IPv4 address, and `::` is every address of both families: one of the \
         services listens on all of them, the other on one of them, at the same port. Which one gets \
         a connection would depend on the kernel."
        "Name the addresses one by one, or use another port."
    NO_TARGETS "E126" Error "service without targets"
        "The service would accept connections and could only close them again. A service that is not \
         meant to serve yet can be declared with `enabled` false."
        "\"rules\": [ { \"targets\": [ { \"host\": \"db.internal\", \"port\": 5432 } ] } ]"
    BAD_HOST "E127" Error "target host not usable"
        "`host` is a host name, an IP address, or unix:/path. A port has a key of its own, and a URL \
         is none of these."
        "{ \"host\": \"db.internal\", \"port\": 5432 }   { \"host\": \"unix:/run/db.sock\" }"
    LOOP "E128" Error "target is a listener of this proxy"
        "The target's address is one that this proxy itself listens on. A connection would come back \
         in, open another one, and so on until the descriptors run out."
        "Point the target at the server behind the proxy, or give the listener another port."
    BAD_ADDRESS "E131" Error "target IP address not usable"
        "`ip` is the IPv4 or IPv6 address to connect to. An unspecified (0.0.0.0, ::), multicast or \
         broadcast address cannot be connected to."
        "{ \"host\": \"db.internal\", \"ip\": \"10.0.0.7\", \"port\": 5432 }"
    AUTH_WITHOUT_TLS "E132" Error "client certificates without TLS"
        "`clientAuth` asks for client certificates, but TLS does not end here, so none would ever be \
         asked for. It is refused because whoever wrote it expects clients to be checked."
        "Set `tls` to Enabled, or `clientAuth` to None."
    MIXED_ROUTING "E133" Error "a service by name beside one that takes everything"
        "Two services listen on the same address. One routes by name, the other takes every \
         connection of the address, so nothing would be left for the first one."
        "Set `sni.enabled` to true in both, or give one of them another `port`."
    MIXED_TLS "E134" Error "a TLS service beside a plain one"
        "Two services listen on the same address; `tls` is Disabled in one of them and not in the \
         other. Whether a connection is TLS is known before its name is, so the name could not tell \
         them apart. PassThrough and Enabled may stand side by side."
        "Give one of them another `port`, or send what is not TLS to a target: \
         \"sni\": { \"enabled\": true, \"fallbacks\": { \"notRecognised\": { \"host\": \"web.internal\", \"port\": 80 } } }"
    CLAIMED_TWICE "E135" Error "two services claim the same names with other TLS settings"
        "Two services of an address have a rule with the same pattern, and the same `alpn` and \
         `sources`, but do something else with TLS: another mode, another client authentication, or \
         other authorities. Which of them holds must not depend on the order in the file, and \
         `clientCertificate` cannot decide: a certificate is seen only after TLS was agreed on."
        "Give each name to one service."
    FALLBACK_TWICE "E136" Error "two services of an address have the same fallback"
        "A connection that no rule of the address takes can go to one place only. One service of an \
         address may set `sni.forwardIfNoMatch`, and one each of the `sni.fallbacks`."
        "Keep one of them."
    NO_CLIENT_CA "E137" Error "client certificates from nobody"
        "`clientAuth` asks for client certificates, but no authority is named that they could come \
         from. The system's authorities are not used for clients: they vouch for half the world."
        "\"clientCaFiles\": [ \"clients-ca.pem\" ], in the service or at the top level"
    NO_CERTIFICATE "E138" Error "no certificate for a service that ends TLS"
        "`tls` is Enabled, but `certificates` names none: no client could finish its handshake."
        "\"certificates\": [ { \"certFile\": \"a.pem\", \"keyFile\": \"a.key\" }, { \"directory\": \"certs.d\" } ]"
    TLS_KEY_IDLE "E139" Error "a TLS key that would have no effect"
        "The key says how something is to be checked or shown in TLS, but as the rest is written it \
         is never looked at. It is refused because whoever wrote it relies on it."
        "{ \"host\": \"db\", \"tls\": true, \"caFile\": \"db-ca.pem\" }; `clientCaFiles` needs `clientAuth`, \
         `alpn` and `sni.strict` of a service need `tls` Enabled, `pinOnly` needs `pinnedPublicKeys`"
    NOT_IN_RELEASE "E140" Error "known, not in this release"
        "The contract of the configuration has this key or value, but this release does not do what \
         it asks for. It is refused, because leaving it out silently would weaken security or send \
         connections elsewhere."
        "Remove it, or use a release that has it."

    BAD_CONDITION "E141" Error "a condition that can never be looked at"
        "The rule asks for something that this service never learns: what a client offers by ALPN is \
         in a TLS hello only, and a client certificate is seen only where TLS ends here and clients \
         are asked for one."
        "`alpn` needs `tls` PassThrough or Enabled; `clientCertificate` needs `tls` Enabled and \
         `clientAuth` Want or Need."
    BAD_PATTERN "E142" Error "pattern not usable"
        "The pattern is empty, or is read as a regular expression and is none. Expressions run in \
         time linear to the name, which leaves look-around and backreferences out, and may not grow \
         beyond 256 KiB once compiled."
        "\"db.example.com\", \"*.example.com\", \"(a|b)[.]example[.]com\", \"Regex(x)\", \"Wildcard(x)\""
    BAD_NETWORK "E143" Error "not a network"
        "A network is an IP address and the number of bits that count; the others must be zero. A \
         single address stands for itself. What cannot be read is refused: a list that lost an entry \
         would let others in, or shut them out."
        "\"10.0.0.0/8\", \"2001:db8::/32\", \"10.0.0.7\""
    BAD_DIGEST "E144" Error "not a SHA-256"
        "A SHA-256 has 32 bytes: 64 hexadecimal digits, with or without colons, or 44 characters of \
         base64. Shorter ones are probably SHA-1, which is not served."
        "openssl x509 -in c.pem -noout -fingerprint -sha256; for a pinned key: openssl x509 -in c.pem \
         -noout -pubkey | openssl pkey -pubin -outform DER | openssl dgst -sha256 -binary | base64"
    BAD_CERTIFICATES "E145" Error "entry of certificates not usable"
        "An entry of `certificates` is a pair of files (`certFile`, `keyFile`), a pair of PEM texts \
         (`certPem`, `keyPem`) or a `directory` of pairs; what a target is shown (`clientCertificate`) is a \
         pair of files or the `name` of such an entry."
        "{ \"certFile\": \"a.pem\", \"keyFile\": \"a.key\" }   { \"directory\": \"certs.d\" }"

    ADMIN_OPEN "E146" Error "the admin API would be open to everybody"
        "The address is neither loopback nor a Unix socket, and no token is asked for: whoever \
         reaches it could see every target and certificate."
        "\"admin\": { \"listen\": \"127.0.0.1:9900\" }   or   \
         \"admin\": { \"listen\": \"10.0.0.5:9900\", \"tokenFile\": \"admin.token\" }"
    ADMIN_LISTEN "E147" Error "address of the admin API not usable"
        "`admin.listen` is an IP address with a port that no service listens on, or the path of a \
         Unix socket."
        "\"127.0.0.1:9900\", \"[::1]:9900\", \"unix:/run/thalweg/admin.sock\""
    ADMIN_TLS "E210" Error "TLS of the admin API without a certificate"
        "`admin.keyFile` and `clientCaFiles` are about TLS, which is spoken only with `certFile`. \
         Without it tokens would go in clear where somebody meant them not to."
        "\"admin\": { \"listen\": \"10.0.0.5:9900\", \"tokenFile\": \"admin.token\", \"certFile\": \"admin.pem\", \
         \"keyFile\": \"admin.key\" }"
    ADMIN_CLEAR "W210" Warn "the token of the admin API goes in clear"
        "The address can be reached from elsewhere and speaks no TLS: whoever can listen on the way sees \
         the token, and can do with it what its owner can."
        "\"certFile\": \"admin.pem\", \"keyFile\": \"admin.key\", or a loopback address and a tunnel"
    ADMIN_KEY_IDLE "W211" Warn "a key of the admin API that has no effect"
        "`certFile` is about addresses, `unixMode` about Unix sockets, and `admin.listen` has none of \
         them."
        "Remove the key, or listen there too: \"listen\": [ \"127.0.0.1:9900\", \"unix:admin.sock\" ]"
    HEADERS_FROM_NOBODY "E180" Error "PROXY headers from nobody"
        "`proxyProtocol.accept` is Optional or Require, but `trusted` names nobody. A header says which \
         address a client comes from, and access lists and limits believe it: whoever may send one can \
         claim any address."
        "\"proxyProtocol\": { \"accept\": \"Require\", \"trusted\": [ \"10.0.0.0/8\" ] }; [ \"0.0.0.0/0\", \"::/0\" ] if \
         everybody is meant"
    MIXED_HEADERS "E181" Error "services of an address take PROXY headers from others"
        "Services that share an address differ in `proxyProtocol.accept` or `trusted`. A header comes \
         before the name by which a service is chosen, so there is one answer for the address."
        "Give all services of the address the same `accept` and `trusted`."
    HEADER_KEY_IDLE "E182" Error "a key of the PROXY protocol that would have no effect"
        "`trusted` without `accept`, or `tlvs` where no target is sent a header of version 2. It is \
         refused because whoever wrote it relies on it: a header that is not taken goes to the target \
         as if the client had sent it."
        "{ \"accept\": \"Require\", \"trusted\": [ \"10.0.0.0/8\" ] }   { \"send\": \"V2\", \"tlvs\": [ \"Authority\" ] }"
    BAD_SIZE "E190" Error "not a size"
        "A size is a whole number with a unit, in a string: B; KiB, MiB, GiB, TiB (powers of 1024); kB, MB, \
         GB, TB (powers of 1000). A number without a unit is refused, because bytes of one system are \
         kilobytes of another; so is KB, which some read as 1000 and some as 1024."
        "{ \"bytesPerSecond\": 1000000 }   becomes   { \"bytesPerSecond\": \"1MB\" };   \"64KiB\", \"100MiB\""
    EMPTY_ACCESS "E191" Error "access without a word"
        "`access` is an empty object. Whether that means everybody or nobody is not guessed."
        "\"access\": { \"allow\": [ \"10.0.0.0/8\" ] }; everybody: leave `access` out; nobody: { \"default\": \"Deny\" }"
    UNKNOWN_CERTIFICATE "E192" Error "no certificate of this name"
        "A service (`certificates`) or a target (`clientCertificate.name`) names an entry of the top-level \
         `certificates` that is not there. Another certificate in its place would be shown to the wrong \
         people."
        "\"certificates\": [ { \"name\": \"shop\", \"certFile\": \"shop.pem\", \"keyFile\": \"shop.key\" } ], then \"certificates\": [ \"shop\" ] in the service"
    DUPLICATE_CERTIFICATE "E193" Error "two certificates have the same name"
        "Services and targets name a certificate by its `name`; which of the two is meant could not be told."
        "Give each entry of `certificates` its own `name`, or none."
    REJECT_KEY_IDLE "E194" Error "a key that has no effect on a target that refuses"
        "A target with `reject` connects nowhere: of its keys only `weight` means something. Whoever wrote \
         another one expects connections to go there."
        "{ \"reject\": true, \"weight\": 1 }"
    BAD_TLS_VERSIONS "E195" Error "no version of TLS left"
        "`tlsMinVersion` is above `tlsMaxVersion`: no handshake could be agreed on."
        "\"tlsMinVersion\": \"1.2\", \"tlsMaxVersion\": \"1.3\""
    UNKNOWN_SUITE "E196" Error "cipher suite not usable"
        "An entry of `cipherSuites` is not among the suites that there are (AEAD with forward secrecy, as \
         TLS 1.3 requires and RFC 9325 recommends for 1.2), or it is of a version that `tlsMinVersion` and \
         `tlsMaxVersion` leave out. It is refused rather than skipped: what would be left is not what was \
         meant."
        "\"cipherSuites\": [ \"TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256\", \"TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256\" ]"

    BAD_FILE "E150" Error "a file that the configuration names cannot be used"
        "A certificate, a private key, a list of certificate authorities, a revocation list or a list of \
         networks is missing, unreadable, not what it should be, or the key does not belong to the certificate. \
         Nothing was changed: a running proxy keeps what it had."
        "openssl x509 -in cert.pem -noout -subject -dates -pubkey; openssl pkey -in key.pem -pubout"

    BAD_NAME_SERVER "E170" Error "name server not usable"
        "`resolver.servers` are the IP addresses of name servers, with a port where it is not 53."
        "{ \"servers\": [ \"10.0.0.53\", \"[2001:db8::53]:5353\" ] }"
    BAD_DISCOVERY "E171" Error "list of targets not usable"
        "`discovery` fetches a list of targets: `url` is an http or https URL without a password in \
         it, and `list`, `nested`, `target`, `port` and `weight` are keys joined by dots. What the \
         targets have besides their host is in `template`."
        "{ \"url\": \"http://127.0.0.1:8500/v1/catalog/service/db\", \"target\": \"Address\", \"port\": \"ServicePort\" }"
    BAD_HEADER "E172" Error "header not usable"
        "A header of `discovery` has a name or a value that HTTP does not allow, is written twice, or \
         is one that the proxy sets itself (Host, Connection, Content-Length, …)."
        "\"headers\": { \"Accept\": \"application/json\" }, \"headerFiles\": { \"X-Consul-Token\": \"consul.token\" }"
    BAD_CHECK "E160" Error "health check not usable"
        "What `healthCheck` says cannot be done, or contradicts itself: a check is one connection to \
         one port, in which either `commands` are gone through or one `http` request is made."
        "\"healthCheck\": { \"commands\": [ { \"name\": \"send\", \"message\": \"PING\\r\\n\" }, { \"name\": \"expect\", \"message\": \"+PONG\" } ] }"
    BAD_MESSAGE "E161" Error "message of a health check not usable"
        "A message is a text with JSON's escapes, or `Hex(…)` with the digits of its bytes. What is \
         expected may also be `Regex(x)`, an expression about bytes that runs in linear time; it must \
         not be one that nothing at all is enough for."
        "\"PING\\r\\n\", \"Hex(00 00 00 08 04 d2 16 2f)\", \"Regex(role:(master|primary))\""

    // ---- events -------------------------------------------------------------------------------
    BAD_EVENT_OUTPUT "E220" Error "an output of events that is not one place"
        "Each entry of `events.outputs` is one of `file`, `stdout`, `unixDatagram` and `http`, with a \
         value that can be used, and no place is in the list twice: it would get every event twice."
        "\"outputs\": [ { \"file\": \"events.ndjson\" }, { \"http\": \"https://collector.internal/events\" } ]"
    EVENT_KEY_IDLE "E221" Error "a key of another kind of output"
        "`maxSize` and `keep` are about files, `tokenFile`, `caFile`, `batch` and `flush` about http; \
         `keep` needs `maxSize`, `caFile` needs https. Elsewhere they would have no effect."
        "{ \"file\": \"events.ndjson\", \"maxSize\": \"100MiB\", \"keep\": 5 }"

    // ---- warnings and remarks -----------------------------------------------------------------
    NOBODY_ALLOWED "W190" Warn "nobody may connect"
        "`access` refuses every client: its `default` is Deny, written or because there is an `allow`, and \
         no network is allowed. It is served so, since that may be meant for a while."
        "\"access\": { \"allow\": [ \"10.0.0.0/8\" ] }, or \"default\": \"Allow\""
    ALLOW_UNUSED "W191" Warn "an allow list that changes nothing"
        "`access.default` is Allow: those who are not listed may connect as well as those who are, and \
         `deny` wins over both. Whoever wrote the list probably meant to shut the others out."
        "Set `default` to Deny or leave it out, or remove `allow`."
    EXEMPT_UNUSED "W192" Warn "exempt from nothing"
        "`exempt` names networks for which `connectionsPerSource` and `connectionRate` do not hold, but \
         neither of them is set."
        "Set one of them, or remove `exempt`."
    LONG_LIST "W193" Warn "a long list of networks in the configuration"
        "The event of every connection has the whole document of its service in it, so that a list of \
         thousands of networks makes every event large. It works; in a file it costs nothing."
        "\"access\": { \"denyFile\": \"deny.txt\" }, one network a line"
    NO_SERVICES "W120" Warn "nothing to serve"
        "No service is enabled. The proxy would run and listen nowhere."
        "Add a service, or set the `enabled` of one to true."
    UNREACHABLE_RULE "W121" Warn "a rule that can never match"
        "Rules are tried in order, over all services of the address in the order of the file, and the \
         first that matches wins. An earlier rule takes everything that this one could take."
        "Put the narrower rule first: { \"domain\": \"db.example.com\", … }, then { \"domain\": \"*\", … }"
    INSECURE_TARGET "W122" Warn "the target's certificate is not verified"
        "With `insecureSkipVerify` the proxy speaks TLS with whoever answers. It protects against \
         nobody who can reach the wire, and what is sent, passwords included, can be read and changed."
        "Name the authority: \"caFile\": \"db-ca.pem\"; or pin the key: \"pinnedPublicKeys\": [ \"sha256/…\" ], \"pinOnly\": true"
    ALPN_NOT_OFFERED "W123" Warn "a protocol that the service does not offer"
        "The rule is for clients that offer a protocol (ALPN) which is not among those that the \
         service agrees to. A client that offers only this one is refused in the handshake."
        "Add the protocol to the service's `alpn`, or leave that out: then the rules' are offered."
    NAME_WITHOUT_CERTIFICATE "W151" Warn "a name without a certificate"
        "The service ends TLS for this name, and none of the certificates is for it: clients that \
         verify will turn away. A certificate in a directory is for the names of its subjectAltName."
        "openssl x509 -in cert.pem -noout -ext subjectAltName"
    FILE_REMARK "W150" Warn "something about a certificate file"
        "The files were read and are used, but somebody should look at them: a certificate expires \
         soon or has expired, two serve the same name, or a pair in a directory is broken and was \
         left out (a running proxy keeps the pair it had)."
        "thalweg check -c config.json shows which certificate serves which name"
    BAD_STATE_DIR "E200" Error "the state directory cannot be used"
        "The directory that `stateDir` names cannot be read or written by this user, or another \
         process uses it. Two processes that change the same services would lose each other's \
         changes, so each needs a directory of its own."
        "\"stateDir\": \"/var/lib/thalweg\"; chown thalweg /var/lib/thalweg"
    BAD_STATE_FILE "E201" Error "a file of the state directory is not named for its service"
        "The file of a service has the service's id as its name, with all but letters, digits, `-`, \
         `_` and `.` percent-encoded. By any other name the admin API would not find it."
        "The service `a/b` is in services/a%2Fb.json"
    TWO_SOURCES "E202" Error "two sources declare the same service"
        "A service that was created by the admin API has the id of one that a file or a provider \
         declares, or two files do. Each service has one owner, who alone can change it."
        "thalweg check -c FILE names both places: delete one of them, or give it another id."
    TOO_MANY_STORED "E203" Error "too many services in the state directory"
        "The state directory may hold 10,000 services. More are better declared in the main file, \
         which is read in one piece."
        "Move services from DIR/services/*.json to `services` of the main file."
    TLS_IN_TLS "W124" Warn "TLS inside of TLS"
        "The service passes TLS through, so what goes to the target is TLS already. With `tls` on the \
         target the proxy puts a TLS connection of its own around it. A target that speaks TLS with \
         the clients does not understand that; another proxy that ends TLS might."
        "Remove `tls` from the target: PassThrough is end-to-end encrypted without it."
    EVENT_TOKEN_IN_CLEAR "W220" Warn "a token that goes over the network in clear"
        "The events are POSTed over http to another machine, with a token: whoever is in between can \
         read both."
        "{ \"http\": \"https://collector.internal/events\", \"tokenFile\": \"collector.token\" }"
    SECRET_HEADER "W170" Warn "a secret that would be in every event"
        "The events of a service have its document as it was written, the headers of `discovery` \
         too. By its name this one is a secret."
        "\"headerFiles\": { \"Authorization\": \"registry.token\" }; the file has the whole value: Bearer …"
    CHECK_IDLE "W160" Warn "part of a health check that has no effect"
        "The key belongs to checks that are not made as the rest is written."
        "{ \"interval\": null } makes no checks; \"passive\" alone looks at connections only"
    MORE_FAULTS "I100" Info "more faults than are shown"
        "The search for faults of shape stopped after 200. Most of them probably have the same cause."
        "Mend what is shown and check again."
    CERTIFICATE_FALLS_SHORT "I151" Info "a wildcard certificate covers less than the pattern"
        "In a pattern `*` takes any characters, also dots; in a certificate it stands for exactly one \
         label. Names that are deeper are routed, but no certificate is for them."
        "Route each level by its own pattern, or have a certificate for *.sub.example.com too."
    FILE_NOTE "I150" Info "a remark about a certificate file"
        "The files were read and are used; something about them is worth knowing."
        "thalweg check -c config.json shows which certificate serves which name"
    SEND_UNANSWERED "I160" Info "a health check that ends by sending"
        "After the last `expect` nothing can fail any more: a target may have closed its side, as \
         many do after a QUIT. So this `send` proves nothing."
        "{ \"name\": \"send\", \"message\": \"QUIT\\r\\n\" }, { \"name\": \"expect\", \"message\": \"+OK\" }"
    CHECK_UNVERIFIED "I161" Info "a health check that verifies no certificate"
        "The check speaks TLS, but the target's own connections do not, so nothing says whom to trust \
         (they carry the clients' TLS, or none). Whoever answers on the target's address can pass the \
         check, as with a check without TLS. What is sent in it should be no secret."
        "Give the target `tls` and `caFile` where it is the proxy that speaks TLS to it."
    DOMAIN_UNUSED "I120" Info "domain has no effect"
        "The service does not route by name, so the patterns of its rules are not looked at. If its \
         rules have no other conditions, the targets of all of them are used in turn."
        "Remove `domain`, or give each name a service of its own."
    EVERYBODY_TRUSTED "I180" Info "PROXY headers are taken from everybody"
        "A network of all addresses is among `proxyProtocol.trusted`. Whoever can connect can say that \
         they come from any address, and pass every list of addresses."
        "Name the proxies in front of this one, unless only they can reach it."
    DUPLICATE_TARGET "I121" Info "the same target twice"
        "The service has this target more than once, and it gets a share of the connections for each."
        "Remove one, unless the double share is meant."
    FORWARD_UNUSED "I122" Info "forwardIfNoMatch has no effect"
        "The service does not route by name (`sni.enabled` is false), so there is nothing that could \
         fail to match, and `forwardsTo` is not used. Or `sni.fallbacks` say something else for \
         every connection that it would forward."
        "Put the target into `rules`, or remove the key."
    PATTERN_READ "I123" Info "how a pattern is read"
        "Patterns can be names, globs and regular expressions; this one has been read as said. In a \
         glob `*` is any characters, also dots. A regular expression is about the whole name; in it a \
         dot is any character, and [.] a dot."
        "Regex(x) and Wildcard(x) say which is meant; a plain name is never one of them."
}
