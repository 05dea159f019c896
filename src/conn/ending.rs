//! Why a connection ended: who ended it, at which step, for which cause. Exactly one per
//! connection, on every path; written `side/step/cause`, as `upstream/connect/refused`.

use std::fmt;

/// Who ended the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// The one who connected to us.
    Client,
    /// The target.
    Upstream,
    /// Thalweg.
    Us,
}

/// The step of the path at which it ended (see [`crate::conn`]).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Taking the connection from the listener.
    Accept,
    /// The limits.
    Admit,
    /// Reading a PROXY header.
    Header,
    /// Reading the client's first bytes.
    Hello,
    /// Choosing the service and the rule.
    Route,
    /// The TLS handshake with the client.
    Handshake,
    /// Choosing the target.
    Pick,
    /// Reaching a target.
    Connect,
    /// Carrying bytes.
    Relay,
}

/// A connection's one ending.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ending {
    /// Who.
    pub side: Side,
    /// Where.
    pub step: Step,
    /// Why.
    pub cause: Cause,
}

impl Ending {
    /// An ending by Thalweg itself.
    pub fn us(step: Step, cause: Cause) -> Self {
        Self { side: Side::Us, step, cause }
    }

    /// True when every byte that either side sent has been handed on.
    pub fn is_clean(self) -> bool {
        self.cause == Cause::Closed
    }
}

impl fmt::Display for Ending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.side.name(), self.step.name(), self.cause.name())
    }
}

impl Side {
    /// Every side, in the order of their numbers.
    pub const ALL: &'static [Self] = &[Self::Client, Self::Upstream, Self::Us];

    /// As in a reason.
    pub fn name(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Upstream => "upstream",
            Self::Us => "us",
        }
    }
}

impl Step {
    /// Every step, in the order of their numbers.
    pub const ALL: &'static [Self] = &[
        Self::Accept,
        Self::Admit,
        Self::Header,
        Self::Hello,
        Self::Route,
        Self::Handshake,
        Self::Pick,
        Self::Connect,
        Self::Relay,
    ];

    /// As in a reason.
    pub fn name(self) -> &'static str {
        match self {
            Self::Accept => "accept",
            Self::Admit => "admit",
            Self::Header => "header",
            Self::Hello => "hello",
            Self::Route => "route",
            Self::Handshake => "handshake",
            Self::Pick => "pick",
            Self::Connect => "connect",
            Self::Relay => "relay",
        }
    }
}

/// Declares the causes with their names, and what they say to the one who looks.
macro_rules! causes {
    ($($cause:ident $name:literal $title:literal $text:literal;)*) => {
        /// Why a connection ended.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        #[repr(u8)]
        pub enum Cause {
            $(#[doc = $title] $cause,)*
        }

        impl Cause {
            /// Every cause, in the order of their numbers.
            pub const ALL: &'static [Self] = &[$(Self::$cause,)*];

            /// As in a reason.
            pub fn name(self) -> &'static str {
                match self { $(Self::$cause => $name,)* }
            }

            /// One sentence for people; the `gwError` of the event.
            pub fn title(self) -> &'static str {
                match self { $(Self::$cause => $title,)* }
            }

            /// What it means and what can be done.
            pub fn text(self) -> &'static str {
                match self { $(Self::$cause => $text,)* }
            }
        }
    };
}

causes! {
    Closed "closed" "both sides ended their streams and everything was delivered"
        "The normal end. The side named is the one that ended its stream first.";
    Reset "reset" "the connection was reset"
        "The side named sent RST (or its machine did: the process was killed, or it closed with \
         unread data). What had been received from it was delivered, then the other side was reset \
         too, so that nobody takes the data for complete.";
    Refused "refused" "the target refused the connection"
        "Nothing listens on the target's address and port, or a firewall rejects with RST. With \
         `retries`, other targets were tried first.";
    Timeout "timeout" "the target did not answer in time"
        "No answer to the SYN within `timeouts.connect`: the machine is down, a firewall drops, or \
         the target's accept queue is full. Or the target took the connection, but did not finish a TLS \
         handshake within `timeouts.handshake`.";
    Unreachable "unreachable" "no route to the target"
        "The network answered that the host or network cannot be reached. Check the address and \
         the routes of this machine.";
    Ports "ports" "no local port was left for a connection to the target"
        "All ephemeral ports towards this target are in use (EADDRNOTAVAIL). Widen \
         net.ipv4.ip_local_port_range or add targets or addresses.";
    Unresolved "unresolved" "the target's name has no address"
        "The name has not been resolved yet, or never could be. See the log for what the resolver \
         said; the last good answer is kept over failures.";
    Loop "loop" "the target is one of our own listeners"
        "The connection would have come back to this proxy for ever. Point the target elsewhere.";
    Failed "failed" "the connection to the target could not be made"
        "An error of the operating system that has no code of its own; the event's `gwError` has \
         its text.";
    NoTarget "no-target" "no target can take the connection"
        "Every target of the rule, and every backup, has been tried, has weight 0, or is out: by its \
         health check, by an operator who drains it or, for a time, by `passive`. The log has a line \
         for each that went, with what its check saw.";
    Rejected "rejected" "a target refuses its share of the connections"
        "A target of the rule has `reject`, and its turn had come: nothing is behind it, and its share goes \
         to no other target. In services made from Kubernetes' routes it stands for a backend that is not \
         there or may not be used; the conditions of the route say which.";
    TargetDown "target-down" "the target went down"
        "A health check found the target down, and the service's `healthCheck.onDown` is Close: its \
         connections are cut, so that clients come back and reach another one.";
    TargetsFull "targets-full" "every target has all the connections it may have"
        "`maxConnections` of the targets: the connection waited for room for `timeouts.connect`, or too \
         many were waiting already. Raise it, or add targets.";
    Descriptors "descriptors" "out of file descriptors"
        "The process reached its limit of open files. Raise LimitNOFILE (systemd) or `ulimit -n`: \
         two descriptors a connection are needed.";
    Denied "denied" "the client's address may not connect"
        "`access` of the service: the address is in a network of `deny` or `denyFile`, or in none of \
         `allow` and `allowFile`. `thalweg check` says how the lists were read.";
    SourceLimit "source-limit" "the client's address has all the connections it may have"
        "`limits.connectionsPerSource` of the service; IPv6 addresses count by their first 64 bits. At the \
         step `hello` it is a fixed bound: too many connections of one address had not said yet where \
         they want to go. Networks that share an address, or a load balancer in front, can be named in \
         `limits.exempt`.";
    SourceRate "source-rate" "the client's address connects too often"
        "`limits.connectionRate` of the service; IPv6 addresses count by their first 64 bits. Networks that \
         share an address, or a load balancer in front, can be named in its `exempt`.";
    HelloLimit "hello-limit" "too many clients have not said where they want to go"
        "More clients of this listener had not finished their TLS hello or request head than there may \
         be: somebody opens connections to hold them. A shorter `timeouts.hello` lets go of them sooner.";
    Limit "limit" "the service's limit of connections is reached"
        "`limits.connections` of the service. Raise it, or find out who holds the connections.";
    Full "full" "the process's limit of connections is reached"
        "The largest number of connections that the limit of open files allows (logged at start). \
         Raise LimitNOFILE.";
    Idle "idle" "nothing moved for the idle limit"
        "No byte in either direction for `timeouts.idle`. For pooled connections that rest longer, \
         raise it or let the client send keepalives of its protocol.";
    Stalled "stalled" "a side stopped reading for the idle limit"
        "Bytes were waiting for a side that did not take any for `timeouts.idle`.";
    HalfClosed "half-closed" "the other side did not finish after one had"
        "One side had ended its stream, and the other sent nothing for `timeouts.halfClosed`.";
    Lifetime "lifetime" "the connection reached its lifetime"
        "`timeouts.lifetime` of the service, less a part of `timeouts.lifetimeJitter`, so that connections \
         which began together do not end together.";
    Dead "dead" "the peer vanished without a word"
        "Keepalive probes or sent bytes were not acknowledged in time (or the network answered \
         that the host is gone).";
    Removed "removed" "the service was removed"
        "A reload removed the service, and its `onRemoved.closeAfter` has passed.";
    Killed "killed" "an operator ended it"
        "Somebody with the admin token ended this connection (`thalweg kill`, or DELETE of it at the \
         admin API).";
    Drain "drain" "the process, the service or the target is being drained"
        "The drain deadline of the shutdown passed while the connection was still open, or somebody with \
         the admin token drains its service or its target with `closeAfter`, and that has passed.";
    Draining "draining" "the service takes no new connections"
        "Somebody with the admin token drains the service (`thalweg drain`, or POST to `drain` of the \
         service at the admin API). The same takes it in again with `drain` false; so does a restart.";
    Deadline "deadline" "the client took too long"
        "The client had begun a PROXY header, a TLS hello, a request head or a handshake and not \
         finished it within \
         `timeouts.hello` or `timeouts.handshake` (the step says which): a very slow network, or \
         somebody who opens connections to hold them.";
    Silent "silent" "the client sent nothing"
        "Nothing came within `timeouts.hello`: at the step `header` no PROXY header although one is \
         required; else either nobody meant to speak, or the protocol is one \
         in which the server speaks first (MySQL, SMTP, SSH clients that wait): such a service cannot \
         be routed by name. Give it a port of its own, or a target in `sni.fallbacks.silent`.";
    Left "left" "the client left before it was served"
        "The client ended its stream before its hello or handshake was complete, or without a word \
         while it waited for a target with room: a port scan, a health check that only connects, or \
         a client that changed its mind.";
    NotRecognised "not-recognised" "the first bytes are not what the port serves"
        "The service routes by the name in a TLS hello (or in an HTTP/1.x request where `tls` is \
         Disabled), and something else came. `sni.fallbacks.notRecognised` names a target for it.";
    PlainHttp "plain-http" "plain HTTP came to a TLS port"
        "The client spoke http:// to a port that serves TLS. Use https://.";
    Plain "plain" "the client refused TLS"
        "A PostgreSQL client with sslmode=disable (or prefer, after a failure) sent its startup \
         message in clear to a port that serves TLS. Use sslmode=require or stronger. Or it was a \
         request to cancel, which clients before PostgreSQL 17 send in clear whatever their sslmode: \
         `sni.fallbacks.notRecognised` can name the server that gets them.";
    Sslv2 "sslv2" "an SSLv2 hello came"
        "SSLv2 hellos carry no name and only very old clients send them. Update the client.";
    Malformed "malformed" "the first bytes are malformed"
        "The TLS hello, PROXY header or request head breaks the rules of its format; nothing of it \
         can be trusted. The client was told by an alert where the format has one. Of a PROXY header the \
         event's `gwError` says more.";
    TooLarge "too-large" "the first bytes are too large"
        "A TLS hello of more than 64 KiB, a request head of more than 16 KiB, or a PROXY header of more \
         than 107 bytes (version 1) or 4096 (version 2).";
    Untrusted "untrusted" "who connected is not trusted to tell who the client is"
        "The service takes connections with a PROXY header only (`proxyProtocol.accept` is Require), \
         from the proxies in `proxyProtocol.trusted`, and the peer (the event's `remote`) is none of \
         them: a client that goes around the proxy, or a proxy whose address is missing there. Nothing \
         was read.";
    NoHeader "no-header" "the connection does not begin with a PROXY header"
        "`proxyProtocol.accept` is Require, and the peer is trusted but sent something else. Let it send \
         the header (HAProxy: send-proxy-v2, nginx: proxy_protocol on), or set `accept` to Optional.";
    NoName "no-name" "the client asked for no name"
        "The TLS hello has no server name (SNI), or the request no host, and no rule takes \
         connections without one. Let the client send it (openssl: -servername), give a rule the \
         domain `*`, or set `sni.forwardIfNoMatch` or `sni.fallbacks.noName`.";
    NoMatch "no-match" "no rule for the name"
        "The name the client asked for (the event's `sni`), together with its ALPN protocols and its \
         address, meets no rule of any service on this port. `thalweg check` shows how each pattern \
         was read.";
    NoCertificate "no-certificate" "no certificate for the name"
        "`sni.strict` is set and no certificate covers the name. The client got the alert \
         unrecognized_name.";
    ClientCertificate "client-certificate" "the client's certificate was not accepted"
        "The service needs a client certificate (`clientAuth`) and the client showed none, or one \
         that is expired, revoked, or not issued by `clientCaFiles`; the event's `gwError` says \
         which. Or no rule's `clientCertificate` fits the one shown.";
    Tls "tls" "TLS failed"
        "The handshake could not be agreed on, or a record could not be opened: no common version, \
         cipher or protocol, a broken implementation, or somebody in between. The event's `gwError` \
         has the detail.";
    Alert "alert" "the peer ended TLS with an alert"
        "The side named gave up and said so: often because it does not trust the certificate it was \
         shown (48 unknown_ca, 42 bad_certificate, 46 certificate_unknown) or was not shown one that \
         it needs (116 certificate_required). The event's `gwError` has the alert.";
    Certificate "certificate" "the target's certificate was not accepted"
        "The certificate of a target with `tls` is not valid for its `serverName`, not issued by \
         `caFile` (or the system's roots), expired, or its key is not among `pinnedPublicKeys`. The \
         event's `gwError` says which.";
    NoTls "no-tls" "the target does not speak TLS"
        "A PostgreSQL target answered that it does not take TLS. Turn ssl on there, or set `tls` of \
         the target to false.";
    Truncated "truncated" "the TLS stream was cut off"
        "The side named closed its connection without TLS' close_notify, so its data may be \
         incomplete. The other side was reset, so that nobody takes a part for the whole. Clients \
         that never say close_notify always end so; it does no harm to them.";
    Busy "busy" "too many handshakes at a time"
        "More handshakes were under way on this core than it may have. Somebody opens many \
         connections at once, or the machine is too slow for its clients.";
    Panic "panic" "a fault of Thalweg itself"
        "A bug: this one connection was given up. The log has the panic's text; please report it.";
}

/// What `explain` says of a reason: a whole one (`upstream/connect/refused`) or its cause alone.
pub fn lookup(reason: &str) -> Option<(&'static str, &'static str)> {
    let name = reason.rsplit('/').next()?;
    let cause = Cause::ALL.iter().find(|cause| cause.name().eq_ignore_ascii_case(name))?;
    Some((cause.title(), cause.text()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_is_written_side_step_cause() {
        let ending = Ending { side: Side::Upstream, step: Step::Connect, cause: Cause::Refused };
        assert_eq!(ending.to_string(), "upstream/connect/refused");
        assert_eq!(lookup("upstream/connect/refused"), lookup("refused"));
        assert!(lookup("nonsense").is_none());
    }

    #[test]
    fn cause_names_are_distinct() {
        for (i, a) in Cause::ALL.iter().enumerate() {
            assert!(Cause::ALL.iter().skip(i + 1).all(|b| a.name() != b.name()));
        }
    }
}
