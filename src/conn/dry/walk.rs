//! From the listener to the target, step by step.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Instant;

use super::{Question, Route, Step, Table, TargetRow, why};
use crate::config::checked::Tls;
use crate::config::snapshot::{Addresses, Listener, Needs, Pool, Service, Snapshot, Target};
use crate::conn::ending::{Cause, Ending, Side, Step as At};
use crate::conn::peek::First;
use crate::conn::pick::{self, Tried};
use crate::conn::route::{self, Asked, Choice};
use crate::conn::{connect, open, proxied};

/// A connection on its way.
pub(super) struct Walk<'a> {
    pub(super) snapshot: &'a Snapshot,
    pub(super) listener: &'a Listener,
    pub(super) question: &'a Question,
    pub(super) table: Table,
    pub(super) first: First,
}

impl Walk<'_> {
    /// As [`crate::conn::serve`] does it.
    pub(super) fn path(&self, route: &mut Route) -> Result<(), Ending> {
        let listener = self.listener;
        let names: Vec<&str> = listener.services().map(|(_, it)| &*it.spec.id).collect();
        let shared = match *names {
            [one] => format!("service {one}"),
            _ => format!("shared by services {}", names.join(", ")),
        };
        let what = format!("listener {}", listener.first.spec.listen);
        route.steps.push(Step { what, matched: true, why: shared });
        self.header(route)?;
        if !listener.is_shared() {
            self.admitted(&listener.first, route)?;
        }
        let choice = self.choose(route)?;
        let service = listener.service(choice.service);
        if listener.is_shared() {
            self.admitted(service, route)?;
        }
        let pool = self.tls(service, choice, route)?;
        route.rule = Some(pool);
        let pool = service.pool(pool).ok_or(Ending::us(At::Route, Cause::NoMatch))?;
        self.target(service, pool, route)
    }

    /// Who may tell who the client is.
    fn header(&self, route: &mut Route) -> Result<(), Ending> {
        let Question { source, proxy, .. } = self.question;
        let peer = proxy.or(*source);
        let accept = &self.listener.first.spec.proxy.accept;
        let (Some(accept), Some(peer)) = (accept, peer) else {
            if accept.is_some() {
                let why = "not judged: no source was given";
                route.steps.push(Step {
                    what: "PROXY header".into(),
                    matched: true,
                    why: why.into(),
                });
            }
            return Ok(());
        };
        let expected = proxied::expected_of(self.listener, Some(peer));
        let must = if accept.required { "required" } else { "optional" };
        let (matched, why) = match &expected {
            Ok(Some(_)) => (true, format!("{must}; {peer} is trusted to tell who the client is")),
            Ok(None) => (true, format!("{must}; {peer} is not trusted, and its bytes are its own")),
            Err(_) => (false, format!("{must}, and {peer} is not trusted to send one")),
        };
        route.steps.push(Step { what: "PROXY header".into(), matched, why });
        expected.map(drop)
    }

    /// The client as its service sees it.
    fn client(&self) -> Option<IpAddr> {
        let Question { source, proxy, .. } = self.question;
        let told = proxy.is_none_or(|proxy| {
            matches!(proxied::expected_of(self.listener, Some(proxy)), Ok(Some(_)))
        });
        // Who is not believed is the client itself.
        if told { *source } else { *proxy }.map(|ip| ip.to_canonical())
    }

    /// Whether the service takes the client.
    fn admitted(&self, service: &Service, route: &mut Route) -> Result<(), Ending> {
        let Some(admission) = &service.admission else { return Ok(()) };
        let what = format!("{}: access and limits", service.spec.id);
        let Some(ip) = self.client() else {
            let why = "not judged: no source was given".into();
            route.steps.push(Step { what, matched: true, why });
            return Ok(());
        };
        let answer = admission.look(&service.state, ip, Instant::now());
        let why = match answer {
            Ok(()) if admission.has_access() => format!("{ip} may connect"),
            Ok(()) => format!("{ip} is within the limits"),
            Err(cause) => format!("{ip}: {}", cause.title()),
        };
        route.steps.push(Step { what, matched: answer.is_ok(), why });
        answer.map_err(|cause| Ending::us(At::Admit, cause))
    }

    /// The service and the rule.
    fn choose(&self, route: &mut Route) -> Result<Choice, Ending> {
        let listener = self.listener;
        let source = self.client();
        let choice = if listener.needs == Needs::Nothing {
            let why = "nothing is read of the client: the choice depends on no name".into();
            route.steps.push(Step { what: "first bytes".into(), matched: true, why });
            route::unread(listener, source)
        } else {
            let (matched, why) = why::first_bytes(listener, &self.first);
            route.steps.push(Step { what: "first bytes".into(), matched, why });
            let chosen = route::of_first(listener, &self.first, source);
            chosen.map_err(|(step, cause)| Ending::us(step, cause))
        };
        why::rules(listener, &self.asked(source), &self.first, choice.ok(), &mut route.steps);
        let choice = choice?;
        let service = listener.service(choice.service);
        route.service = Some(service.spec.id.to_string());
        route.rule = Some(choice.pool);
        route.tls = Some(match service.spec.tls {
            Tls::Disabled => "Disabled",
            Tls::PassThrough => "PassThrough",
            Tls::Enabled(_) => "Enabled",
        });
        Ok(choice)
    }

    fn asked(&self, source: Option<IpAddr>) -> Asked<'_> {
        if self.listener.needs == Needs::Nothing {
            return Asked { name: None, alpn: &[], source };
        }
        match &self.first {
            First::Hello(hello) => {
                Asked { name: hello.server_name.as_deref(), alpn: &hello.alpn, source }
            }
            First::Head(name) => Asked { name: name.as_deref(), alpn: &[], source },
            First::Other(_) => Asked { name: None, alpn: &[], source },
        }
    }

    /// The handshake, where TLS ends here; the pool it leads to.
    fn tls(&self, service: &Service, choice: Choice, route: &mut Route) -> Result<u32, Ending> {
        let (Some(tls), First::Hello(hello)) = (&service.tls, &self.first) else {
            if service.spec.tls == Tls::PassThrough && self.listener.needs != Needs::Nothing {
                let why = "passed on as it is: the target shows its own certificate".into();
                route.steps.push(Step { what: "TLS".into(), matched: true, why });
            }
            return Ok(choice.pool);
        };
        let asked = self.asked(self.client());
        if open::lacks_certificate(service, asked.name) {
            let why = "`sni.strict` is set, and no certificate is for the name".into();
            route.steps.push(Step { what: "certificate".into(), matched: false, why });
            return Err(Ending::us(At::Handshake, Cause::NoCertificate));
        }
        let shown = tls.store.resolve(asked.name, &[]);
        let entry = shown
            .and_then(|key| tls.store.entries().iter().find(|entry| Arc::ptr_eq(&entry.key, &key)));
        if let Some(entry) = entry {
            let file = entry.files.cert.place().display().to_string();
            let why = format!("{file}, for {}", entry.names.join(", "));
            route.steps.push(Step { what: "certificate".into(), matched: true, why });
            route.certificate = Some(file);
        }
        let config = open::config_for(tls, &hello.alpn, choice.pool);
        let agreed = config
            .alpn_protocols
            .iter()
            .find(|ours| hello.alpn.iter().any(|theirs| **theirs == ***ours));
        // As rustls does it.
        if !config.alpn_protocols.is_empty() && !hello.alpn.is_empty() {
            let why = match agreed {
                Some(agreed) => format!("{} is agreed on", String::from_utf8_lossy(agreed)),
                None => "the client offers none of those that are offered to it".into(),
            };
            route.steps.push(Step { what: "ALPN".into(), matched: agreed.is_some(), why });
            if agreed.is_none() {
                let step = At::Handshake;
                return Err(Ending { side: Side::Client, step, cause: Cause::Tls });
            }
        }
        if let Some(why) = why::client_auth(service) {
            route.steps.push(Step { what: "client certificate".into(), matched: true, why });
        }
        if !route::wants_certificate(service) {
            return Ok(choice.pool);
        }
        let agreed: Vec<Box<[u8]>> = agreed.map(|it| it.as_slice().into()).into_iter().collect();
        let settled = route::settle(service, &Asked { alpn: &agreed, ..asked }, None);
        let (matched, why) = match settled {
            Ok(pool) => {
                (true, format!("one without a certificate goes by {}", why::rule(service, pool)))
            }
            Err(_) => (false, "no rule takes a client without a certificate".into()),
        };
        route.steps.push(Step { what: "rules with `clientCertificate`".into(), matched, why });
        settled.map_err(|cause| Ending::us(At::Route, cause))
    }

    /// The target.
    fn target(&self, service: &Service, pool: &Pool, route: &mut Route) -> Result<(), Ending> {
        let source = self.client();
        route.targets = pool.targets.iter().map(|target| self.row(target)).collect();
        let mut tried = Tried::default();
        let mut ending = None;
        for _ in 0..=service.spec.retries {
            let index = match pick::would_choose(pool, source, &tried) {
                pick::Choice::Target(index) => index,
                pick::Choice::Full if ending.is_none() => {
                    let what = "target".into();
                    let why = "all have the connections that they may have; it would wait for one";
                    route.steps.push(Step { what, matched: false, why: why.into() });
                    return Err(Ending::us(At::Connect, Cause::TargetsFull));
                }
                pick::Choice::Full | pick::Choice::None => break,
                pick::Choice::Rejected => {
                    let why = "rejected: one with `reject` is due for its share".into();
                    route.steps.push(Step { what: "target".into(), matched: false, why });
                    return Err(Ending::us(At::Pick, Cause::Rejected));
                }
            };
            tried.add(index);
            let Some(target) = pool.targets.get(index) else { break };
            let what = format!("target {}", target.label);
            if let Some(cause) = self.fault(target) {
                route.steps.push(Step { what, matched: false, why: cause.title().into() });
                ending = Some(connect::failed(cause));
                continue;
            }
            let why = why::balancing(pool, source);
            route.steps.push(Step { what, matched: true, why });
            route.target = Some(target.label.clone());
            if let Some(row) = route.targets.get_mut(index) {
                row.chosen = true;
            }
            return Ok(());
        }
        let found_later = service.spec.discoveries().next().is_some();
        let found_later = found_later || why::has_records(&service.spec);
        if self.table == Table::File && ending.is_none() && found_later && pool.targets.is_empty() {
            let why = "they are found while the proxy runs".into();
            route.steps.push(Step { what: "targets".into(), matched: true, why });
            return Ok(());
        }
        if ending.is_none() {
            let why = Cause::NoTarget.title().into();
            route.steps.push(Step { what: "target".into(), matched: false, why });
        }
        Err(ending.unwrap_or(Ending::us(At::Connect, Cause::NoTarget)))
    }

    /// Why the target would not even be tried.
    fn fault(&self, target: &Target) -> Option<Cause> {
        match &target.addresses {
            Addresses::Loop => Some(Cause::Loop),
            Addresses::Fixed(_) => None,
            Addresses::Resolved(name, port) => match *name.addresses.load().as_slice() {
                [] if self.table == Table::Running => Some(Cause::Unresolved),
                [ip] if self.snapshot.own.contains(SocketAddr::new(ip, *port)) => Some(Cause::Loop),
                _ => None,
            },
        }
    }

    fn row(&self, target: &Target) -> TargetRow {
        let report = target.state.report();
        TargetRow {
            target: target.label.clone(),
            chosen: false,
            state: match self.table {
                Table::Running => format!("{:?}", report.status),
                Table::File => "Unknown".into(),
            },
            weight: target.weight,
            backup: target.tier > 0,
            tier: target.tier,
            connections: report.connections,
            max_connections: target.max_connections.map(std::num::NonZeroU32::get),
        }
    }
}
