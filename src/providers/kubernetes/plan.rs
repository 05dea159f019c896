//! What is served on each port, and the order in which native services say it.
//!
//! A port that is not TLS's has one taker. On a port of TLS's there are units: a listener of a
//! `Gateway`, or the rules of `TCPIngress`es for a host. The unit with the narrowest name that fits
//! has a connection, and no other one (the standard's *listener isolation*); within it the route with
//! the narrowest name, and of equal ones the one that was first. Native rules are tried in order, so
//! units are written from the narrowest to the widest, and what a listener has no route for is
//! refused by a rule of its own.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use serde_json::{Value, json};

use super::Options;
use super::hostname::Hostname;
use crate::config::sources::{Document, Source};
use crate::diagnostics::{Code, Diagnostic};
use crate::providers::foreign::Part;
use crate::providers::kong::Listen;
use crate::providers::set;

/// What is done with TLS.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Tls {
    /// Connections are not looked into.
    Plain,
    /// They are routed by the name, and passed on as they are.
    PassThrough,
    /// TLS ends here.
    Terminate(Arc<Termination>),
}

/// How TLS ends here.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Termination {
    /// Names of certificates; none: those of the main file.
    pub(super) certificates: Vec<String>,
    /// PEM of the authorities that client certificates must come from; none: none is asked for.
    pub(super) client_authorities: Vec<String>,
}

/// One taker of connections: a route on a listener, a rule of a `TCPIngress`.
#[derive(Debug)]
pub(super) struct Piece<'a> {
    pub(super) id: String,
    /// For people.
    pub(super) name: String,
    pub(super) hostnames: Vec<Hostname>,
    pub(super) tls: Tls,
    pub(super) targets: Vec<Value>,
    /// Further members of the native service.
    pub(super) members: Vec<(&'static str, Value)>,
    /// Where it is from.
    pub(super) origin: &'a Part,
    /// Where in there.
    pub(super) path: String,
    /// What is said if another one has its connections.
    pub(super) shadowed: &'static Code,
}

/// A name of a port, and who takes its connections.
#[derive(Debug)]
pub(super) struct Unit<'a> {
    pub(super) hostname: Hostname,
    pub(super) is_tls: bool,
    /// The first of equal ones wins.
    pub(super) pieces: Vec<Piece<'a>>,
    /// Of a listener: its id and place, for what no piece takes.
    pub(super) rest: Option<(String, &'a Part, String)>,
}

/// What is served on all ports.
#[derive(Debug, Default)]
pub(super) struct Plan<'a> {
    ports: BTreeMap<u16, Vec<Unit<'a>>>,
}

/// What became of a plan.
#[derive(Debug, Default)]
pub(super) struct Written {
    /// Certificates that services name.
    pub(super) certificates: HashSet<String>,
    /// Addresses that services have.
    pub(super) taken: HashSet<(IpAddr, u16)>,
}

/// An address to listen on.
struct Bind<'a> {
    address: IpAddr,
    listen: Option<&'a Listen>,
    /// Not the first of its port.
    further: bool,
}

/// A service that is about to be written.
struct Draft<'p> {
    id: String,
    name: &'p str,
    tls: &'p Tls,
    rules: Vec<Value>,
    members: &'p [(&'static str, Value)],
    origin: &'p Part,
    path: &'p str,
}

impl<'a> Plan<'a> {
    /// Adds what a listener or an ingress says. Of the same name on the same port those that are
    /// added first come first.
    pub(super) fn add(&mut self, port: u16, unit: Unit<'a>) {
        let units = self.ports.entry(port).or_default();
        let same = |it: &&mut Unit<'a>| it.hostname == unit.hostname && it.is_tls == unit.is_tls;
        match units.iter_mut().find(same) {
            Some(known) => {
                known.pieces.extend(unit.pieces);
                known.rest = known.rest.take().or(unit.rest);
            }
            None => units.push(unit),
        }
    }

    /// Whether a port is one of TLS's, if anything is there.
    pub(super) fn is_tls(&self, port: u16) -> Option<bool> {
        self.ports.get(&port)?.first().map(|unit| unit.is_tls)
    }

    /// Writes native services.
    pub(super) fn write(&self, options: &Options, source: &mut Source) -> Written {
        let mut written = Written::default();
        for (port, units) in &self.ports {
            for is_tls in [false, true] {
                let units: Vec<&Unit<'_>> = units.iter().filter(|it| it.is_tls == is_tls).collect();
                let drafts = drafts(&units, &mut source.diagnostics);
                for bind in binds(options, *port, is_tls) {
                    if !drafts.is_empty() {
                        written.taken.insert((bind.address, *port));
                    }
                    for draft in &drafts {
                        if let Tls::Terminate(it) = draft.tls {
                            written.certificates.extend(it.certificates.iter().cloned());
                        }
                        source.documents.push(document(draft, *port, &bind));
                    }
                }
            }
        }
        written
    }
}

/// Where a port is listened on.
fn binds(options: &Options, port: u16, is_tls: bool) -> Vec<Bind<'_>> {
    let Some(listens) = &options.stream_listen else {
        let address = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
        return vec![Bind { address, listen: None, further: false }];
    };
    let fit = listens.iter().filter(|it| it.port == port && it.ssl == is_tls);
    fit.filter_map(|it| Some((it, it.address()?)))
        .enumerate()
        .map(|(at, (listen, address))| Bind { address, listen: Some(listen), further: at > 0 })
        .collect()
}

/// The services of a port in the order in which they are tried. Says who gets nothing.
fn drafts<'p>(units: &[&'p Unit<'_>], found: &mut Vec<Diagnostic>) -> Vec<Draft<'p>> {
    let mut units = units.to_vec();
    units.sort_by(|a, b| a.hostname.rank().cmp(&b.hostname.rank()));
    let mut drafts = Vec::new();
    for (at, unit) in units.iter().enumerate() {
        let narrower = units.get(..at).unwrap_or_default();
        let mut taken: HashMap<&Hostname, &str> = HashMap::new();
        let mut wide: Vec<(&Hostname, &Piece<'_>)> = Vec::new();
        let mut exact: Vec<Draft<'p>> = Vec::new();
        for piece in &unit.pieces {
            let mut names = Vec::new();
            for hostname in &piece.hostnames {
                let isolated = narrower.iter().find(|it| it.hostname.covers(hostname));
                let other = isolated.map(|it| it.name()).or_else(|| taken.get(hostname).copied());
                if let Some(other) = other {
                    found.push(shadowed(piece, hostname, other));
                    continue;
                }
                taken.insert(hostname, &piece.id);
                match hostname {
                    Hostname::Exact(_) => names.push(rule(hostname, unit.is_tls, &piece.targets)),
                    _ => wide.push((hostname, piece)),
                }
            }
            if !names.is_empty() {
                exact.push(draft(piece, piece.id.clone(), names));
            }
        }
        drafts.append(&mut exact);
        wide.sort_by(|(a, _), (b, _)| a.rank().cmp(&b.rank()));
        for (hostname, piece) in wide {
            let id = match hostname {
                Hostname::Any => piece.id.clone(),
                _ => format!("{}/{}", piece.id, hostname.pattern()),
            };
            drafts.push(draft(piece, id, vec![rule(hostname, unit.is_tls, &piece.targets)]));
        }
        if let Some((id, origin, path)) = &unit.rest
            && !taken.contains_key(&unit.hostname)
        {
            let refusal = [json!({ "reject": true })];
            drafts.push(Draft {
                id: id.clone(),
                name: "what a listener has no route for",
                tls: if unit.is_tls { &Tls::PassThrough } else { &Tls::Plain },
                rules: vec![rule(&unit.hostname, unit.is_tls, &refusal)],
                members: &[],
                origin,
                path,
            });
        }
    }
    drafts
}

impl Unit<'_> {
    /// Who it is, for people.
    fn name(&self) -> &str {
        match &self.rest {
            Some((id, ..)) => id,
            None => self.pieces.first().map(|piece| piece.id.as_str()).unwrap_or_default(),
        }
    }
}

fn shadowed(piece: &Piece<'_>, hostname: &Hostname, other: &str) -> Diagnostic {
    let what = match hostname {
        Hostname::Any => "its connections".into(),
        hostname => format!("connections for `{}`", hostname.pattern()),
    };
    let message = format!("{what} go to `{other}`");
    piece.origin.finding(piece.shadowed, &piece.path, message)
}

fn draft<'p>(piece: &'p Piece<'_>, id: String, rules: Vec<Value>) -> Draft<'p> {
    Draft {
        id,
        name: &piece.name,
        tls: &piece.tls,
        rules,
        members: &piece.members,
        origin: piece.origin,
        path: &piece.path,
    }
}

fn rule(hostname: &Hostname, is_tls: bool, targets: &[Value]) -> Value {
    if is_tls {
        json!({ "domain": hostname.pattern(), "targets": targets })
    } else {
        json!({ "targets": targets })
    }
}

fn document(draft: &Draft<'_>, port: u16, bind: &Bind<'_>) -> Document {
    let id = match bind.further {
        true => format!("{}@{}", draft.id, bind.address),
        false => draft.id.clone(),
    };
    let mut service = json!({
        "id": id,
        "name": draft.name,
        "port": port,
        "interface": bind.address.to_string(),
    });
    match draft.tls {
        Tls::Plain => {}
        Tls::PassThrough => set(&mut service, "tls", "PassThrough"),
        Tls::Terminate(it) => {
            set(&mut service, "tls", "Enabled");
            if !it.certificates.is_empty() {
                set(&mut service, "certificates", &it.certificates);
            }
            if !it.client_authorities.is_empty() {
                set(&mut service, "clientAuth", "Need");
                set(&mut service, "clientCaPems", &it.client_authorities);
            }
        }
    }
    if *draft.tls != Tls::Plain {
        set(&mut service, "sni", json!({ "enabled": true }));
    }
    set(&mut service, "rules", &draft.rules);
    set(&mut service, "loadBalancing", "WeightedRoundRobin");
    for (name, value) in draft.members {
        set(&mut service, name, value);
    }
    if let Some(listen) = bind.listen {
        listen.apply(&mut service);
    }
    let path = match (draft.origin.path.as_str(), draft.path) {
        ("", path) | (path, "") => path.to_owned(),
        (outer, inner) => format!("{outer}.{inner}"),
    };
    Document {
        place: Arc::clone(&draft.origin.place),
        path,
        line: draft.origin.line_of(draft.path),
        text: service.to_string().into(),
        port_is_declared: bind.listen.is_some(),
    }
}
