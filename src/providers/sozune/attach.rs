//! From routes to the services of listeners. Routes of one service with the same settings are its
//! targets; the services of a listener take over from each other by priority, as the tiers of one
//! rule. A listener with nothing behind it refuses, and is bound all the same.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::candidate::Candidate;
use super::labels::{Balancing, Route};
use super::listeners::Listener;
use crate::config::limits::PRIORITIES_MAX;
use crate::diagnostics::{
    BALANCING_DIFFERS, Diagnostic, ROUTE_COLLISION, TOO_MANY_PRIORITIES, visible,
};

/// A route, and whose it is.
#[derive(Debug, Clone)]
pub struct Attachment<'a> {
    /// The candidate.
    pub candidate: &'a Candidate,
    /// The route.
    pub route: Route,
}

/// What is attached to a listener by one name.
#[derive(Debug)]
struct Group<'a> {
    name: String,
    members: Vec<&'a Attachment<'a>>,
}

impl Group<'_> {
    /// The settings that its members share: the group has at least one.
    fn settings(&self) -> (i32, Balancing) {
        self.members
            .first()
            .map_or_else(Default::default, |first| (first.route.priority, first.route.balancing))
    }

    /// A finding about the label of its first member, told where that is.
    fn say(
        &self,
        code: &'static crate::diagnostics::Code,
        key: &str,
        message: String,
    ) -> Option<Diagnostic> {
        let first = self.members.first()?;
        let label = format!("tcp.{}.{key}", first.route.service);
        Some(first.candidate.finding(code, &label, message))
    }
}

/// The members of a listener's service that follow from what is attached to it.
pub fn members(
    listener: &Listener,
    attachments: &[Attachment<'_>],
    found: &mut Vec<Diagnostic>,
) -> Map<String, Value> {
    let mut groups = groups(attachments, found);
    groups.sort_by(|a, b| {
        let key = |group: &Group<'_>| std::cmp::Reverse(group.settings().0);
        (key(a), &a.name).cmp(&(key(b), &b.name))
    });
    say_ties(listener, &groups, found);
    if groups.len() > PRIORITIES_MAX {
        let left = groups.split_off(PRIORITIES_MAX);
        if let Some(first) = left.first() {
            let message = format!(
                "the listener `{}` has more than {PRIORITIES_MAX} services: {} left out, from `{}` on",
                visible(&listener.name),
                left.len(),
                visible(&first.name)
            );
            found.extend(first.say(&TOO_MANY_PRIORITIES, "priority", message));
        }
    }
    let mut members = Map::new();
    let targets = targets(&groups);
    if targets.is_empty() {
        members.insert("rules".into(), json!([{ "targets": [{ "reject": true }] }]));
        return members;
    }
    members.insert("loadBalancing".into(), balancing(&groups, found).into());
    // As Sōzune looks at backends.
    members.insert("healthCheck".into(), json!({ "interval": "10s", "timeout": "5s" }));
    members.insert("rules".into(), json!([{ "targets": targets }]));
    members
}

/// The attachments by name. Of those that share one but differ in their settings, the later ones are
/// called after themselves.
fn groups<'a>(attachments: &'a [Attachment<'a>], found: &mut Vec<Diagnostic>) -> Vec<Group<'a>> {
    let mut groups: Vec<Group<'a>> = Vec::new();
    let mut first: BTreeMap<&str, &Route> = BTreeMap::new();
    for attachment in attachments {
        let route = &attachment.route;
        let settings = (route.priority, route.balancing);
        let known = *first.entry(&route.service).or_insert(route);
        let is_same = (known.priority, known.balancing) == settings;
        let name = if is_same {
            route.service.clone()
        } else {
            format!("{}_{}", route.service, attachment.candidate.suffix)
        };
        match groups.iter_mut().find(|group| group.name == name && group.settings() == settings) {
            Some(group) => group.members.push(attachment),
            None => groups.push(Group { name: name.clone(), members: vec![attachment] }),
        }
        if !is_same {
            let message = format!(
                "the service `{}` of {} differs from others of that name; it is served as `{}`",
                visible(&route.service),
                visible(&attachment.candidate.name),
                visible(&name)
            );
            let label = format!("tcp.{}.entrypoint", route.service);
            let finding = attachment.candidate.finding(&ROUTE_COLLISION, &label, message);
            found.push(finding.hint("give replicas the same labels, other services another name"));
        }
    }
    groups
}

/// Says which services have the same priority, and who wins.
fn say_ties(listener: &Listener, groups: &[Group<'_>], found: &mut Vec<Diagnostic>) {
    for pair in groups.windows(2) {
        let [one, other] = pair else { continue };
        let (priority, _) = other.settings();
        if one.settings().0 != priority {
            continue;
        }
        let message = format!(
            "`{}` and `{}` have the same priority ({priority}) on the listener `{}`: the first by name \
             has all connections, the other takes over when it is gone",
            visible(&one.name),
            visible(&other.name),
            visible(&listener.name)
        );
        let finding = other.say(&ROUTE_COLLISION, "priority", message);
        found.extend(finding.map(|it| it.hint("`priority` says which one is meant: higher wins")));
    }
}

/// The targets of all groups, each with its tier. One that two of them have is the first one's.
fn targets(groups: &[Group<'_>]) -> Vec<Value> {
    let mut seen: BTreeMap<(String, u16), ()> = BTreeMap::new();
    let mut targets = Vec::new();
    for (tier, group) in groups.iter().enumerate() {
        let heaviest = group.members.iter().filter_map(|it| it.route.weight).max().unwrap_or(1);
        for attachment in &group.members {
            let route = &attachment.route;
            if seen.insert((route.host.clone(), route.port), ()).is_some() {
                continue;
            }
            let mut target = json!({ "host": route.host, "port": route.port });
            if let Some(target) = target.as_object_mut() {
                let weight = scaled(route.weight.unwrap_or(1), heaviest);
                if weight != 1 {
                    target.insert("weight".into(), weight.into());
                }
                if tier > 0 {
                    target.insert("tier".into(), tier.into());
                }
            }
            targets.push(target);
        }
    }
    targets
}

/// A weight of 32 bits in the range that targets have, in proportion to the heaviest.
fn scaled(weight: u32, heaviest: u32) -> u32 {
    const MOST: u64 = 65_535;
    let (weight, heaviest) = (u64::from(weight), u64::from(heaviest));
    let scaled =
        if heaviest <= MOST || weight == 0 { weight } else { (weight * MOST / heaviest).max(1) };
    u32::try_from(scaled).unwrap_or(1)
}

/// How targets are chosen: as the highest priority says.
fn balancing(groups: &[Group<'_>], found: &mut Vec<Diagnostic>) -> &'static str {
    let Some(first) = groups.first() else { return "RoundRobin" };
    let (_, balancing) = first.settings();
    for other in groups.iter().filter(|other| other.settings().1 != balancing) {
        let message = format!(
            "`{}` balances in another way than `{}`, which has the higher priority and decides",
            visible(&other.name),
            visible(&first.name)
        );
        found.extend(other.say(&BALANCING_DIFFERS, "loadBalancer", message));
    }
    let weighs = groups.iter().flat_map(|group| &group.members).any(|it| it.route.weight.is_some());
    match balancing {
        Balancing::RoundRobin if weighs => "WeightedRoundRobin",
        Balancing::RoundRobin => "RoundRobin",
        Balancing::Random => "Random",
        Balancing::PowerOfTwo => "PowerOfTwo",
        Balancing::LeastConnections => "LeastConnections",
    }
}
