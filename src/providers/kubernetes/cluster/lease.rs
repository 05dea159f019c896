//! Which of several proxies writes statuses: the one that holds a `Lease`, as the controllers of
//! Kubernetes elect their leader.
//!
//! The leader renews the lease. The others look at it, and one whose clock says that it has not
//! changed for its whole duration takes it over; the times in it are other machines' and are not
//! compared with anything. Who writes names the version that it has read, so that of two who are
//! equally fast one loses. A leader that could not renew for two thirds of the duration leads no
//! more, which is before anybody else may.

use std::time::{Duration, Instant};

use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use k8s_openapi::jiff::Timestamp;
use kube::Client;
use kube::api::{Api, ObjectMeta, PostParams};
use tokio::sync::watch;
use tokio::time::sleep;

use super::problem::{Problem, Told, within};
use crate::config::document::LeaderElection;
use crate::config::limits;

/// One who stands for election.
#[derive(Debug, Clone)]
pub(super) struct Candidate {
    /// Where the lease is.
    pub namespace: String,
    /// How it is called.
    pub name: String,
    /// Who we are, and nobody else is.
    pub identity: String,
    /// How long the leader's word holds.
    pub duration: Duration,
}

/// What there is to do.
#[derive(Debug, PartialEq)]
enum Step {
    /// There is no lease: make it.
    Create(Box<Lease>),
    /// It is ours, or nobody's: write this.
    Write(Box<Lease>),
    /// Another one leads.
    Wait,
}

/// The lease as it was last seen to change, by our own clock.
#[derive(Debug)]
struct Seen {
    spec: LeaseSpec,
    at: Instant,
}

impl Candidate {
    /// As configured; `home` is our own namespace.
    pub fn new(election: &LeaderElection, home: &str) -> Self {
        let (least, most) = limits::LEASE_DURATION_MIN_MAX;
        Self {
            namespace: election.namespace.clone().unwrap_or_else(|| home.to_owned()),
            name: election.name.clone(),
            identity: identity(),
            duration: election.lease_duration.0.clamp(least, most),
        }
    }

    /// Stands for election until told to end, and says whether it leads. A lease that is held is
    /// given back then.
    pub async fn stand(
        self,
        client: Client,
        leads: watch::Sender<bool>,
        mut end: watch::Receiver<()>,
    ) {
        let api: Api<Lease> = Api::namespaced(client, &self.namespace);
        let retry = self.duration * 2 / 15;
        let mut seen = None;
        let mut renewed: Option<Instant> = None;
        let mut told = Told::default();
        loop {
            let began = Instant::now();
            // Nothing may be on its way any more when the next one may lead.
            let limit = (self.duration / 3).min(limits::CLUSTER_REQUEST);
            let tried = tokio::select! {
                tried = self.try_once(&api, &mut seen, limit) => tried,
                _ = end.changed() => break,
            };
            match tried {
                Ok(true) => {
                    renewed = Some(began);
                    told.well("leader election");
                    if !leads.send_replace(true) {
                        tracing::info!(
                            identity = self.identity,
                            "kubernetes: leads: writes statuses"
                        );
                    }
                }
                Ok(false) => {
                    renewed = None;
                    told.well("leader election");
                }
                Err(problem) => told.wrong("leader election", problem, || {
                    format!(
                        "grant `get`, `create` and `update` on `leases.coordination.k8s.io` in the \
                         namespace {}, as config/kubernetes/rbac.yaml does",
                        self.namespace
                    )
                }),
            }
            let holds = renewed.is_some_and(|at| at.elapsed() < self.duration * 2 / 3);
            if !holds && leads.send_replace(false) {
                tracing::warn!(identity = self.identity, "kubernetes: leads no more");
            }
            tokio::select! {
                () = sleep(retry) => {}
                _ = end.changed() => break,
            }
        }
        if leads.send_replace(false)
            && let Err(problem) = within(limits::LEASE_RELEASE, self.release(&api)).await
        {
            tracing::debug!("kubernetes: the lease was not given back: {problem}");
        }
    }

    /// Looks at the lease and does what there is to do; true if it is ours now.
    async fn try_once(
        &self,
        api: &Api<Lease>,
        seen: &mut Option<Seen>,
        limit: Duration,
    ) -> Result<bool, Problem> {
        let lease = within(limit, api.get_opt(&self.name)).await?;
        let params = PostParams { field_manager: Some(super::MANAGER.into()), dry_run: false };
        let written = match self.step(lease, seen, Instant::now()) {
            Step::Wait => return Ok(false),
            Step::Create(lease) => within(limit, api.create(&params, &lease)).await,
            Step::Write(lease) => within(limit, api.replace(&self.name, &params, &lease)).await,
        };
        match written {
            Ok(lease) => {
                *seen = Some(Seen { spec: lease.spec.unwrap_or_default(), at: Instant::now() });
                Ok(true)
            }
            // Another one was faster: it leads.
            Err(Problem::Conflict) => Ok(false),
            Err(problem) => Err(problem),
        }
    }

    fn step(&self, lease: Option<Lease>, seen: &mut Option<Seen>, now: Instant) -> Step {
        let Some(mut lease) = lease else {
            let metadata = ObjectMeta { name: Some(self.name.clone()), ..ObjectMeta::default() };
            return Step::Create(Box::new(Lease { metadata, spec: Some(self.held(None)) }));
        };
        let spec = lease.spec.unwrap_or_default();
        let since = match seen {
            Some(seen) if seen.spec == spec => seen.at,
            _ => {
                *seen = Some(Seen { spec: spec.clone(), at: now });
                now
            }
        };
        let holder = spec.holder_identity.as_deref().unwrap_or_default();
        let seconds = spec.lease_duration_seconds.and_then(|it| u64::try_from(it).ok());
        let over = now.duration_since(since) >= seconds.map_or(self.duration, Duration::from_secs);
        if holder == self.identity || holder.is_empty() || over {
            lease.spec = Some(self.held(Some(spec)));
            Step::Write(Box::new(lease))
        } else {
            Step::Wait
        }
    }

    /// The lease in our hands, which before were somebody's.
    fn held(&self, before: Option<LeaseSpec>) -> LeaseSpec {
        let now = MicroTime(Timestamp::now());
        let ours = |spec: &LeaseSpec| spec.holder_identity.as_ref() == Some(&self.identity);
        let (acquired, transitions) = match &before {
            Some(spec) if ours(spec) => (spec.acquire_time.clone(), spec.lease_transitions),
            Some(spec) => (None, Some(spec.lease_transitions.unwrap_or(0).saturating_add(1))),
            None => (None, Some(0)),
        };
        LeaseSpec {
            holder_identity: Some(self.identity.clone()),
            lease_duration_seconds: i32::try_from(self.duration.as_secs()).ok(),
            acquire_time: acquired.or_else(|| Some(now.clone())),
            renew_time: Some(now),
            lease_transitions: transitions,
            ..before.unwrap_or_default()
        }
    }

    /// Gives the lease back: whoever looks next may have it.
    async fn release(&self, api: &Api<Lease>) -> kube::Result<()> {
        let mut lease = api.get(&self.name).await?;
        let spec = lease.spec.get_or_insert_default();
        if spec.holder_identity.as_ref() == Some(&self.identity) {
            spec.holder_identity = None;
            spec.lease_duration_seconds = Some(1);
            spec.renew_time = Some(MicroTime(Timestamp::now()));
            api.replace(&self.name, &PostParams::default(), &lease).await?;
        }
        Ok(())
    }
}

/// Who we are in an election: the pod's name, or the machine's, and this run of the process.
pub(super) fn identity() -> String {
    let name = std::env::var("POD_NAME").ok().filter(|name| !name.is_empty()).or_else(|| {
        let name = std::fs::read_to_string("/proc/sys/kernel/hostname").ok()?;
        Some(name.trim().to_owned())
    });
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let run = since.unwrap_or_default().as_micros();
    format!("{}_{}-{run:x}", name.unwrap_or_else(|| "thalweg".into()), std::process::id())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn candidate(identity: &str) -> Candidate {
        Candidate {
            namespace: "thalweg".into(),
            name: "thalweg".into(),
            identity: identity.into(),
            duration: Duration::from_secs(15),
        }
    }

    fn written(step: Step) -> Lease {
        match step {
            Step::Create(lease) | Step::Write(lease) => *lease,
            Step::Wait => panic!("should have written"),
        }
    }

    fn spec(lease: &Lease) -> &LeaseSpec {
        lease.spec.as_ref().unwrap()
    }

    #[test]
    fn the_first_makes_the_lease_and_the_second_waits_until_it_has_not_changed_for_its_duration() {
        let (a, b) = (candidate("a"), candidate("b"));
        let start = Instant::now();
        let after = |seconds| start + Duration::from_secs(seconds);
        let step = a.step(None, &mut None, start);
        assert!(matches!(step, Step::Create(_)));
        let lease = written(step);
        assert_eq!(spec(&lease).lease_transitions, Some(0));
        let mut seen = None;
        assert_eq!(b.step(Some(lease.clone()), &mut seen, start), Step::Wait);
        assert_eq!(b.step(Some(lease.clone()), &mut seen, after(14)), Step::Wait);
        // It was renewed: the time counts from there.
        let mut renewed = lease.clone();
        let time = Timestamp::from_second(1_700_000_000).unwrap();
        renewed.spec.as_mut().unwrap().renew_time = Some(MicroTime(time));
        assert_eq!(b.step(Some(renewed.clone()), &mut seen, after(14)), Step::Wait);
        assert_eq!(b.step(Some(renewed.clone()), &mut seen, after(28)), Step::Wait);
        let taken = written(b.step(Some(renewed), &mut seen, after(29)));
        assert_eq!(spec(&taken).holder_identity.as_deref(), Some("b"));
        assert_eq!(spec(&taken).lease_transitions, Some(1));
        // The old leader sees that it is not its own any more.
        assert_eq!(a.step(Some(taken), &mut None, after(30)), Step::Wait);
    }

    #[test]
    fn the_holder_renews_and_what_is_given_back_is_anybodys() {
        let a = candidate("a");
        let now = Instant::now();
        let lease = written(a.step(None, &mut None, now));
        let renewed = written(a.step(Some(lease.clone()), &mut None, now));
        assert_eq!(spec(&renewed).acquire_time, spec(&lease).acquire_time);
        assert_eq!(spec(&renewed).lease_transitions, Some(0));
        let mut free = renewed;
        free.spec.as_mut().unwrap().holder_identity = None;
        let taken = written(candidate("b").step(Some(free), &mut None, now));
        assert_eq!(spec(&taken).holder_identity.as_deref(), Some("b"));
    }

    #[test]
    fn two_runs_are_two_candidates() {
        assert!(identity().contains('_'));
    }
}
