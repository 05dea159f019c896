//! The PROXY protocol of a service: who may tell who the client is, and who is told.

use ipnet::IpNet;

use super::service::{Compiled, Scope};
use super::{Findings, rule};
use crate::config::checked;
use crate::config::document::{AcceptHeader, ProxyProtocol, SendHeader, Service, Tlv};
use crate::config::place::Place;
use crate::diagnostics::{
    BAD_VALUE, EVERYBODY_TRUSTED, HEADER_KEY_IDLE, HEADERS_FROM_NOBODY, MIXED_HEADERS,
};

/// What a target's `proxyProtocol`, or a service's `proxyProtocol.send`, comes to.
pub(super) fn send(written: SendHeader) -> checked::SendHeader {
    match written {
        SendHeader::Off => checked::SendHeader::Off,
        SendHeader::V1 => checked::SendHeader::V1,
        SendHeader::V2 => checked::SendHeader::V2,
    }
}

impl Scope<'_, '_> {
    /// Checks `proxyProtocol`.
    pub(super) fn proxy(&mut self, service: &Service) -> checked::ProxyProtocol {
        let Some(written) = &service.proxy_protocol else {
            return checked::ProxyProtocol::default();
        };
        let place = self.place.key("proxyProtocol");
        let accept = accept(written, &place, self.findings);
        let tlvs = written.tlvs.as_deref().map(|list| tlvs(list, &place, self.findings));
        checked::ProxyProtocol { accept, tlvs: tlvs.unwrap_or_default() }
    }

    /// Refuses a choice of what version 2 tells where nobody is told.
    pub(super) fn tlvs_told(&mut self, service: &Service, spec: &checked::Service) {
        let place = self.place.key("proxyProtocol");
        let given = service.proxy_protocol.as_ref().is_some_and(|written| written.tlvs.is_some());
        let told = || spec.targets().any(|target| target.header == checked::SendHeader::V2);
        let known = ["proxyProtocol", "rules", "sni"]
            .iter()
            .all(|key| !self.findings.is_broken_inside(&self.place.key(key)));
        if given && known && !told() {
            let message = "`tlvs` has no effect: no target is sent a header of version 2";
            let hint = "set `send` to V2, or remove the key";
            self.findings.add_with(&HEADER_KEY_IDLE, &place.key("tlvs"), message, hint);
        }
    }
}

/// Whose headers are taken.
fn accept(
    written: &ProxyProtocol,
    place: &Place<'_>,
    findings: &mut Findings<'_>,
) -> Option<checked::AcceptHeader> {
    let list = place.key("trusted");
    let trusted = written.trusted.as_deref().unwrap_or_default();
    let required = match written.accept {
        AcceptHeader::Require => true,
        AcceptHeader::Optional => false,
        AcceptHeader::Off => {
            if !trusted.is_empty() && !findings.is_broken(&place.key("accept")) {
                let message = "`trusted` has no effect: `accept` is Off, and a header would go to \
                               the target as if the client had sent it";
                let hint = "set `accept` to Require or Optional, or remove the key";
                findings.add_with(&HEADER_KEY_IDLE, &list, message, hint);
            }
            return None;
        }
    };
    if trusted.is_empty() {
        if !findings.is_broken(&list) {
            let message = format!(
                "`accept` is {:?}, but nobody is trusted to tell who the client is",
                written.accept
            );
            let hint = "\"trusted\": [ \"10.0.0.0/8\" ], the proxies in front of this one; \
                        [ \"0.0.0.0/0\", \"::/0\" ] if you mean everybody";
            findings.add_with(&HEADERS_FROM_NOBODY, &list, message, hint);
        }
        return None;
    }
    let mut trusted = rule::networks(Some(trusted), &list, findings);
    if let Some(at) = trusted.iter().position(|network| network.prefix_len() == 0) {
        let message = "everybody who can connect is trusted to say which address they come from";
        findings.add(&EVERYBODY_TRUSTED, &list.index(at), message);
    }
    trusted.sort_unstable();
    trusted.dedup();
    Some(checked::AcceptHeader { required, trusted })
}

/// What a header of version 2 tells.
fn tlvs(list: &[Tlv], place: &Place<'_>, findings: &mut Findings<'_>) -> checked::Tlvs {
    let mut tlvs = checked::Tlvs::NONE;
    for (at, tlv) in list.iter().enumerate() {
        let told = match tlv {
            Tlv::Received => &mut tlvs.received,
            Tlv::Alpn => &mut tlvs.alpn,
            Tlv::Authority => &mut tlvs.authority,
            Tlv::Ssl => &mut tlvs.ssl,
            Tlv::UniqueId => &mut tlvs.unique_id,
            Tlv::Crc32c => &mut tlvs.crc32c,
        };
        if std::mem::replace(told, true) {
            let message = format!("`{tlv:?}` is listed twice");
            findings.add(&BAD_VALUE, &place.key("tlvs").index(at), message);
        }
    }
    tlvs
}

/// Checks that services of an address take headers from the same: it is settled before anybody knows
/// which of them a connection is for.
pub(super) fn agree(port: &[&Compiled], findings: &mut Findings<'_>) {
    let Some((first, others)) = port.split_first() else { return };
    let all = Place::Root.key("services");
    let broken = |service: &Compiled, findings: &Findings<'_>| {
        findings.is_broken_inside(&all.index(service.at).key("proxyProtocol"))
    };
    for service in others {
        let (ours, theirs) = (&service.spec.proxy.accept, &first.spec.proxy.accept);
        if ours == theirs || broken(first, findings) || broken(service, findings) {
            continue;
        }
        let place = all.index(service.at);
        let message = format!(
            "service `{}` (services[{}]) on the same address {} {}, this one {}",
            first.spec.id,
            first.at,
            first.spec.listen,
            describe(theirs.as_ref()),
            describe(ours.as_ref())
        );
        let hint = "give both the same `accept` and `trusted`, or give one of them another port";
        findings.add_with(&MIXED_HEADERS, &place.key("proxyProtocol"), message, hint);
    }
}

fn describe(accept: Option<&checked::AcceptHeader>) -> String {
    let Some(accept) = accept else { return "takes no PROXY headers".into() };
    let how = if accept.required { "requires" } else { "takes" };
    let networks: Vec<_> = accept.trusted.iter().map(IpNet::to_string).collect();
    format!("{how} PROXY headers from {}", networks.join(" "))
}
