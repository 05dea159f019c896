//! Kong's `TCPIngress`: rules by port, and with a host by the name that clients ask for.
//!
//! # Annotations
//! Of a `TCPIngress`: `kubernetes.io/ingress.class` and `konghq.com/protocols`. Of a `Service` behind
//! one: `konghq.com/protocol`, `konghq.com/tls-verify`, `konghq.com/ca-certificates-secrets`,
//! `konghq.com/client-cert`, `konghq.com/connect-timeout`, `konghq.com/retries`. All others are about
//! HTTP, and are not read.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Value, json};

use super::Options;
use super::backends::{Backends, Member, Members, Share, targets};
use super::gateways::{certificate_name, is_available};
use super::hostname::Hostname;
use super::objects::{Key, Kind, Object, Objects};
use super::plan::{Piece, Plan, Termination, Tls, Unit};
use super::refs::{Pair, authorities, pair};
use super::specs::{ObjectRef, Service, TcpIngress, TcpIngressRule};
use super::status::Status;
use crate::diagnostics::{
    BAD_TCP_INGRESS, Diagnostic, HOST_WITHOUT_SSL, INGRESS_BACKEND, INGRESS_SECRET,
    INGRESS_SHADOWED, NOT_IN_STREAM_LISTEN, OTHER_CLASS, UPSTREAM_UNVERIFIED,
};

const CLASS: &str = "kubernetes.io/ingress.class";
const DEFAULT_CLASS: &str = "ingressclass.kubernetes.io/is-default-class";

/// All that `TCPIngress`es are made with.
pub(super) struct Ingresses<'a, 'g> {
    objects: &'a Objects,
    options: &'g Options,
    backends: &'g Backends<'a>,
    /// For which names which certificates are, the oldest first. They are everybody's, as with Kong.
    secrets: Vec<(Key, Vec<Hostname>)>,
    /// Certificates that were read, by the names that services have for them.
    pub(super) certificates: BTreeMap<String, Pair>,
    pub(super) found: Vec<Diagnostic>,
}

/// A rule that can be.
struct Sound<'a> {
    port: u16,
    host: Hostname,
    service: Key,
    service_port: u16,
    passes: bool,
    ingress: &'a Object<TcpIngress>,
    path: String,
}

impl<'a, 'g> Ingresses<'a, 'g> {
    pub(super) fn new(
        objects: &'a Objects,
        options: &'g Options,
        backends: &'g Backends<'a>,
    ) -> Self {
        let (secrets, certificates, found) = (Vec::new(), BTreeMap::new(), Vec::new());
        Self { objects, options, backends, secrets, certificates, found }
    }

    /// Adds the rules of all that are ours to the plan, behind what is there. Says what became of
    /// them.
    pub(super) fn attach(&mut self, plan: &mut Plan<'a>) -> Vec<Status> {
        let mut all: Vec<_> = self.objects.tcp_ingresses.values().collect();
        all.sort_by(|a, b| a.meta.age().cmp(&b.meta.age()));
        all.retain(|ingress| self.is_ours(ingress));
        for ingress in &all {
            self.read_secrets(ingress);
        }
        let mut sound = Vec::new();
        for ingress in &all {
            for at in 0..ingress.body.spec.rules.len() {
                sound.extend(self.rule(ingress, at));
            }
        }
        // Without `stream_listen` a host says that a port is one of TLS's.
        let with_tls: Vec<u16> =
            sound.iter().filter(|it| it.host != Hostname::Any).map(|it| it.port).collect();
        let mut served: Vec<&Key> = Vec::new();
        for rule in sound {
            let is_tls = match &self.options.stream_listen {
                Some(listens) => {
                    let mut fit = listens.iter().filter(|it| it.port == rule.port);
                    fit.any(|it| it.ssl)
                }
                None => plan.is_tls(rule.port).unwrap_or_else(|| with_tls.contains(&rule.port)),
            };
            served.push(&rule.ingress.meta.key);
            let (port, unit) = (rule.port, self.unit(rule, is_tls));
            plan.add(port, unit);
        }
        let status = |ingress: &&Arc<Object<TcpIngress>>| {
            let ingresses: Vec<_> = match served.contains(&&ingress.meta.key) {
                true => self.options.addresses.iter().map(|it| address(it)).collect(),
                false => Vec::new(),
            };
            let balancer = match ingresses.is_empty() {
                true => json!({}),
                false => json!({ "ingress": ingresses }),
            };
            Status::new(Kind::TcpIngress, &ingress.meta, json!({ "loadBalancer": balancer }))
        };
        all.iter().map(status).collect()
    }

    fn is_ours(&mut self, ingress: &Object<TcpIngress>) -> bool {
        let ours = self.options.ingress_class.as_str();
        let named =
            ingress.meta.annotations.get(CLASS).or(ingress.body.spec.ingress_class_name.as_ref());
        let is_default = || {
            let class = self.objects.ingress_classes.get(&Key::new("", ours));
            class.is_some_and(|it| {
                it.meta.annotations.get(DEFAULT_CLASS).is_some_and(|it| it == "true")
            })
        };
        let fits = ours == "*" || named.map_or_else(is_default, |named| named == ours);
        if !fits {
            let message = match named {
                Some(named) => format!("its class is `{}`", crate::diagnostics::visible(named)),
                None => format!("it has no class (annotation `{CLASS}`)"),
            };
            self.found.push(ingress.finding(&OTHER_CLASS, "metadata.annotations", message));
        }
        fits
    }

    /// Reads the certificates that an ingress names.
    fn read_secrets(&mut self, ingress: &Object<TcpIngress>) {
        for (at, tls) in ingress.body.spec.tls.iter().enumerate() {
            let key = Key::new(&ingress.meta.key.namespace, &tls.secret_name);
            match pair(self.objects, &key) {
                Ok(pair) => {
                    self.certificates.insert(certificate_name(&key), pair);
                    let hosts = tls.hosts.iter().filter_map(|it| Hostname::read(it)).collect();
                    self.secrets.push((key, hosts));
                }
                Err(message) => {
                    let path = format!("spec.tls[{at}].secretName");
                    self.found.push(ingress.finding(&INGRESS_SECRET, &path, message));
                }
            }
        }
    }

    /// Reads a rule.
    fn rule(&mut self, ingress: &'a Object<TcpIngress>, at: usize) -> Option<Sound<'a>> {
        let TcpIngressRule { host, port, backend } = ingress.body.spec.rules.get(at)?;
        let path = format!("spec.rules[{at}]");
        let protocols = ingress.meta.annotations.get("konghq.com/protocols");
        let mut words = protocols.iter().flat_map(|it| it.split(',')).map(str::trim);
        let passes = words.clone().any(|it| it == "tls_passthrough");
        let read = Hostname::read(host.as_deref().unwrap_or_default());
        let fault = match (port, &read, backend.service_port) {
            (None | Some(0), ..) => Some(("port", "the port is missing".to_owned())),
            (_, None, _) => Some(("host", "the host is no name, nor `*.` and a name".to_owned())),
            _ if backend.service_name.is_empty() => {
                Some(("backend.serviceName", "`serviceName` is missing".to_owned()))
            }
            (_, _, None | Some(0)) => {
                Some(("backend.servicePort", "`servicePort` is missing".to_owned()))
            }
            (_, Some(Hostname::Any), _) if passes => {
                Some(("host", "`tls_passthrough` needs a host".to_owned()))
            }
            _ => {
                words.find(|it| !matches!(*it, "tcp" | "tls" | "tls_passthrough" | "")).map(|it| {
                    let shown = crate::diagnostics::visible(it);
                    ("", format!("`konghq.com/protocols` has `{shown}`, which is not served"))
                })
            }
        };
        if let Some((key, message)) = fault {
            let path = if key.is_empty() { path } else { format!("{path}.{key}") };
            self.found.push(ingress.finding(&BAD_TCP_INGRESS, &path, message));
            return None;
        }
        let (port, mut host, service_port) = ((*port)?, read?, backend.service_port?);
        let (plain, tls) = [false, true].map(|tls| is_available(self.options, port, tls)).into();
        if !plain && !tls {
            let message = format!("`stream_listen` has no port {port}");
            self.found.push(ingress.finding(
                &NOT_IN_STREAM_LISTEN,
                &format!("{path}.port"),
                message,
            ));
            return None;
        }
        if self.options.stream_listen.is_some() && !tls && host != Hostname::Any {
            let message =
                format!("`stream_listen` has no `ssl` for port {port}: all connections are taken");
            self.found.push(ingress.finding(&HOST_WITHOUT_SSL, &format!("{path}.host"), message));
            host = Hostname::Any;
        }
        let service = Key::new(&ingress.meta.key.namespace, &backend.service_name);
        Some(Sound { port, host, service, service_port, passes, ingress, path })
    }

    /// What a rule is on its port.
    fn unit(&mut self, rule: Sound<'a>, is_tls: bool) -> Unit<'a> {
        let hostname = if is_tls { rule.host.clone() } else { Hostname::Any };
        let (shares, members) = self.share(&rule);
        let tls = match (is_tls, rule.passes) {
            (false, _) => Tls::Plain,
            (true, true) => Tls::PassThrough,
            (true, false) => Tls::Terminate(Arc::new(Termination {
                certificates: self.certificates_for(rule.ingress, &rule.host),
                client_authorities: Vec::new(),
            })),
        };
        let key = &rule.ingress.meta.key;
        let of_host = match &rule.host {
            Hostname::Any => String::new(),
            host => format!("/{}", host.pattern()),
        };
        let piece = Piece {
            id: format!("kubernetes/tcpingress/{key}/{}{of_host}", rule.port),
            name: format!("TCPIngress {key}"),
            hostnames: vec![hostname.clone()],
            tls,
            targets: targets(&shares),
            members,
            origin: &rule.ingress.origin,
            path: rule.path,
            shadowed: &INGRESS_SHADOWED,
        };
        Unit { hostname, is_tls, pieces: vec![piece], rest: None }
    }

    /// The certificates for a host: those of the ingress, those for the host first; then others' for
    /// it. None: those of the main file.
    fn certificates_for(&self, ingress: &Object<TcpIngress>, host: &Hostname) -> Vec<String> {
        let namespace = &ingress.meta.key.namespace;
        let is_own = |key: &Key| {
            key.namespace == *namespace
                && ingress.body.spec.tls.iter().any(|it| it.secret_name == key.name)
        };
        let fits = |hosts: &[Hostname]| hosts.iter().any(|it| it.covers(host));
        let groups: [&Group<'_>; 3] = [
            &|key, hosts| is_own(key) && fits(hosts),
            &|key, hosts| is_own(key) && !fits(hosts),
            &|key, hosts| !is_own(key) && fits(hosts),
        ];
        let mut names = Vec::new();
        for group in groups {
            for (key, _) in self.secrets.iter().filter(|(key, hosts)| group(key, hosts)) {
                let name = certificate_name(key);
                if !names.contains(&name) {
                    names.push(name);
                }
            }
        }
        names
    }

    /// Where a rule's connections go, and further members of its service.
    fn share(&mut self, rule: &Sound<'a>) -> (Vec<Share>, Vec<(&'static str, Value)>) {
        let found = self
            .backends
            .service(&rule.service, rule.service_port)
            .map_err(|broken| broken.message)
            .and_then(|(service, port)| {
                let members =
                    if rule.passes { Members::new() } else { self.upstream(rule, service)? };
                let share = self.backends.endpoints(&rule.service, service, port, &members);
                Ok((service, share))
            });
        match found {
            Ok((service, share)) => (vec![Share { weight: 1, ..share }], of_service(service)),
            Err(message) => {
                let path = format!("{}.backend", rule.path);
                self.found.push(rule.ingress.finding(&INGRESS_BACKEND, &path, message));
                (Vec::new(), Vec::new())
            }
        }
    }

    /// How TLS is spoken to a `Service`, by its annotations.
    fn upstream(&mut self, rule: &Sound<'a>, service: &Object<Service>) -> Result<Members, String> {
        let text = |name: &str| service.meta.annotations.get(name).map(|it| it.trim());
        let mut members = Members::new();
        match text("konghq.com/protocol") {
            None | Some("" | "tcp" | "http" | "tls_passthrough") => return Ok(members),
            Some("tls" | "https") => {}
            Some(other) => return Err(format!("`konghq.com/protocol: {other}` is not served")),
        }
        members.insert("tls", Member::Flag(true));
        let namespace = service.meta.key.namespace.as_str();
        if let Some(secret) = text("konghq.com/client-cert") {
            let key = Key::new(namespace, secret);
            let name = certificate_name(&key);
            self.certificates.insert(name.clone(), pair(self.objects, &key)?);
            members.insert("clientCertificate", Member::Named(name));
        }
        if text("konghq.com/tls-verify") != Some("true") {
            let message =
                "its certificate is not verified (`konghq.com/tls-verify` is not \"true\")";
            let path = format!("{}.backend", rule.path);
            self.found.push(rule.ingress.finding(&UPSTREAM_UNVERIFIED, &path, message));
            members.insert("insecureSkipVerify", Member::Flag(true));
            return Ok(members);
        }
        let name = format!("{}.{}.svc", service.meta.key.name, namespace);
        members.insert("serverName", Member::Text(name));
        if let Some(secrets) = text("konghq.com/ca-certificates-secrets") {
            let reference = |name: &str| ObjectRef {
                kind: Some("Secret".into()),
                name: name.trim().into(),
                ..ObjectRef::default()
            };
            let pems: Vec<_> = secrets
                .split(',')
                .map(|name| authorities(self.objects, (Kind::Service, namespace), &reference(name)))
                .collect::<Result<_, _>>()?;
            members.insert("caPem", Member::Text(pems.join("\n")));
        }
        Ok(members)
    }
}

/// Whether a secret with certificates for these hosts is one of a group.
type Group<'a> = dyn Fn(&Key, &[Hostname]) -> bool + 'a;

/// An address in `status.loadBalancer.ingress`.
fn address(text: &str) -> Value {
    match text.parse::<std::net::IpAddr>() {
        Ok(_) => json!({ "ip": text }),
        Err(_) => json!({ "hostname": text }),
    }
}

/// Members of a native service that follow from the annotations of a `Service`.
fn of_service(service: &Object<Service>) -> Vec<(&'static str, Value)> {
    let number = |name: &str| service.meta.annotations.get(name)?.trim().parse::<u32>().ok();
    let mut members = Vec::new();
    if let Some(milliseconds) = number("konghq.com/connect-timeout").filter(|it| *it > 0) {
        members.push(("timeouts", json!({ "connect": format!("{milliseconds}ms") })));
    }
    if let Some(retries) = number("konghq.com/retries") {
        members.push(("retries", json!(retries.min(crate::config::limits::RETRIES_MAX))));
    }
    members
}
