//! Whether targets can take connections, found out on the control thread: checks of their own, and
//! what cores say of connections that fail. Cores only ever read the outcome, one number a target.
//!
//! Targets that are checked alike at one place share one check, over services and rules. A check
//! begins at a random moment and goes on undisturbed by reloads that do not change it; what it found
//! is the target's own and outlives them.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use tokio::sync::Semaphore;
use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{Instant, sleep};

use crate::config::checked::UpstreamTls;
use crate::config::checked::health::Probe;
use crate::config::limits;
use crate::config::snapshot::{
    Check, Failure, Pool, Service, Snapshot, Target, TargetState, since_1970,
};
use crate::config::span::Span;
use crate::worker::Process;

pub mod dialogue;
pub mod http;
pub mod probe;
pub mod tracker;

use self::probe::Outcome;
use self::tracker::Tracker;

/// All checks, and all targets that are out for a time.
#[derive(Debug)]
pub struct Health {
    checks: HashMap<Key, (Arc<Shared>, AbortHandle)>,
    /// By the state's address.
    ejected: HashMap<usize, Ejection>,
    running: JoinSet<()>,
    /// The number of the next check.
    next: u64,
    common: Common,
}

/// What is needed everywhere.
#[derive(Clone)]
struct Common {
    process: Arc<Process>,
    permits: Arc<Semaphore>,
    /// Targets whose connections are to be cut.
    down: Sender<Arc<TargetState>>,
    /// Those that start slowly, by the state's address.
    slow: Arc<Mutex<HashMap<usize, AbortHandle>>>,
    /// When a shortage was last spoken of.
    short: Arc<Mutex<Option<Instant>>>,
}

impl fmt::Debug for Common {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Common")
    }
}

/// What checks must have in common to be one.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Key {
    probe: Arc<Probe>,
    label: String,
    tls: Option<UpstreamTls>,
}

/// One check, and whom it is for.
#[derive(Debug)]
struct Shared {
    /// Tells it from other checks of its targets.
    number: u64,
    label: String,
    inner: Mutex<Inner>,
}

#[derive(Debug)]
struct Inner {
    /// The newest: certificates change while it goes on.
    check: Arc<Check>,
    followers: Vec<Follower>,
    tracker: Tracker,
    failure: Option<Failure>,
}

/// A target of a service.
#[derive(Debug, Clone)]
struct Follower {
    service: Arc<str>,
    target: String,
    /// Where it is checked.
    checked_at: String,
    state: Arc<TargetState>,
    close_on_down: bool,
    slow_start: Option<Duration>,
}

/// A target that was taken out because connections to it failed.
#[derive(Debug)]
struct Ejection {
    /// Keeps the address from being another's.
    state: Arc<TargetState>,
    period: Duration,
    until: Instant,
    task: AbortHandle,
}

impl Health {
    /// None yet. At most `at_once` checks run at a time. The targets that the other end gives are to
    /// have their connections cut.
    pub fn start(process: Arc<Process>, at_once: usize) -> (Self, Receiver<Arc<TargetState>>) {
        let (down, downs) = channel(limits::DOWNS_MAX);
        let permits = Arc::new(Semaphore::new(at_once));
        let (slow, short) = (Arc::default(), Arc::default());
        let common = Common { process, permits, down, slow, short };
        let (checks, ejected, running) = (HashMap::new(), HashMap::new(), JoinSet::new());
        (Self { checks, ejected, running, next: 0, common }, downs)
    }

    /// Checks the targets of this snapshot from now on, and no others. To be called before cores see
    /// it.
    pub fn follow(&mut self, snapshot: &Snapshot) {
        let mut wanted: HashMap<Key, (Arc<Check>, Vec<Follower>)> = HashMap::new();
        let mut checked = HashSet::new();
        for (service, _, target) in targets(snapshot) {
            let Some(check) = &target.check else { continue };
            checked.insert(address(&target.state));
            target.state.begin(check.probe.starts_up);
            let key = Key {
                probe: Arc::clone(&check.probe),
                label: check.label.clone(),
                tls: check.options.clone(),
            };
            let (_, followers) =
                wanted.entry(key).or_insert_with(|| (Arc::clone(check), Vec::new()));
            if !followers.iter().any(|known| Arc::ptr_eq(&known.state, &target.state)) {
                followers.push(Follower::new(service, target));
            }
        }
        for (_, _, target) in targets(snapshot) {
            if !checked.contains(&address(&target.state)) {
                target.state.forget_checks();
            }
            if target.failures.is_none() {
                target.state.readmit();
            }
        }
        let mut before = std::mem::take(&mut self.checks);
        let mut numbers: HashMap<usize, (Arc<TargetState>, Vec<u64>)> = HashMap::new();
        let mut follow = Vec::new();
        for (key, (check, followers)) in wanted {
            let known = before.remove(&key);
            let number = known.as_ref().map_or(self.next, |(shared, _)| shared.number);
            self.next += u64::from(known.is_none());
            for Follower { state, .. } in &followers {
                let of = numbers.entry(address(state));
                of.or_insert_with(|| (Arc::clone(state), Vec::new())).1.push(number);
            }
            follow.push((key, known, number, check, followers));
        }
        // One of one's rules may speak TLS with it and another not: then it has two checks.
        for (state, numbers) in numbers.into_values() {
            state.has_checks(&numbers);
        }
        for (key, known, number, check, followers) in follow {
            let (shared, task) = match known {
                Some((shared, task)) => {
                    let cut = shared.change(check, followers, &self.common);
                    drop(self.common.cut(cut));
                    (shared, task)
                }
                None => {
                    let shared = Arc::new(Shared::new(number, check, followers));
                    let run = run(Arc::clone(&shared), self.common.clone());
                    (shared, self.running.spawn(run))
                }
            };
            self.checks.insert(key, (shared, task));
        }
        before.into_values().for_each(|(_, task)| task.abort());
        while self.running.try_join_next().is_some() {}
    }

    /// Checks nothing any more.
    pub fn stop(&mut self) {
        self.checks.clear();
        self.running.abort_all();
    }

    /// Connections to this target fail one after the other: takes it out for a while, unless too many
    /// of its pool are out already.
    pub fn failing(&mut self, state: &Arc<TargetState>) {
        let snapshot = self.common.process.snapshot.load_full();
        let pools: Vec<_> = targets(&snapshot)
            .filter(|(_, _, target)| Arc::ptr_eq(&target.state, state))
            .filter_map(|(service, pool, target)| Some((service, pool, target, target.passive?)))
            .collect();
        // Connections of a service as it was before a reload still speak of it.
        let Some(&(service, _, target, passive)) = pools.first() else {
            self.listen_again(state);
            return;
        };
        let (id, label) = (&service.spec.id, &target.label);
        if !state.is_up() || !pools.iter().all(|(_, pool, ..)| may_lose(pool, passive.max_ejected))
        {
            tracing::debug!(service = %id, target = label, "fails, but too many are out already");
            self.listen_again(state);
            return;
        }
        let now = Instant::now();
        self.ejected.retain(|_, ejection| now < ejection.until + limits::EJECT_FOR_MAX);
        let longest = limits::EJECT_FOR_MAX.max(passive.eject_for);
        let period = match self.ejected.get(&address(state)) {
            // Again, not long after the last time.
            Some(last) if now < last.until + last.period => (last.period * 2).min(longest),
            _ => passive.eject_for,
        };
        if !state.eject(period) {
            return;
        }
        tracing::warn!(
            service = %id,
            target = label,
            r#for = %Span(period),
            "ejected: {} connections in a row failed",
            passive.failures
        );
        let (follower, common) = (Follower::new(service, target), self.common.clone());
        let task = self.running.spawn(async move {
            sleep(period).await;
            if follower.state.readmit() {
                tracing::info!(service = %follower.service, target = follower.target, "taken in again");
                common.start_slowly(&follower);
            }
        });
        let ejection = Ejection { state: Arc::clone(state), period, until: now + period, task };
        if let Some(old) = self.ejected.insert(address(state), ejection) {
            debug_assert!(Arc::ptr_eq(&old.state, state));
            old.task.abort();
        }
    }

    /// Hears of this target again, after a pause. Once at a time: it says nothing until then.
    fn listen_again(&mut self, state: &Arc<TargetState>) {
        let state = Arc::clone(state);
        self.running.spawn(async move {
            sleep(limits::EJECT_AGAIN).await;
            state.listen_again();
        });
        while self.running.try_join_next().is_some() {}
    }
}

/// Every target with its service and pool.
fn targets(snapshot: &Snapshot) -> impl Iterator<Item = (&Arc<Service>, &Pool, &Target)> {
    let services = snapshot.listeners.values().flat_map(|listener| listener.services());
    services.flat_map(|(_, service)| {
        service
            .pools
            .iter()
            .flat_map(move |pool| pool.targets.iter().map(move |target| (service, pool, target)))
    })
}

/// Tells states apart; only while they live.
fn address(state: &Arc<TargetState>) -> usize {
    Arc::as_ptr(state).addr()
}

/// Whether one target more may be out of a pool, whatever took the others out. The last one that is
/// up never may.
fn may_lose(pool: &Pool, percent: u8) -> bool {
    let all = || pool.targets.iter().filter(|target| target.weight > 0);
    let up = all().filter(|target| target.state.is_up()).count();
    let all = all().count();
    let out = all - up;
    up > 1 && (out == 0 || (out + 1) * 100 <= all * usize::from(percent))
}

impl Follower {
    fn new(service: &Service, target: &Target) -> Self {
        Self {
            service: Arc::clone(&service.spec.id),
            target: target.label.clone(),
            checked_at: target.check.as_ref().map_or(&target.label, |it| &it.label).clone(),
            state: Arc::clone(&target.state),
            close_on_down: target.close_on_down,
            slow_start: target.slow_start,
        }
    }

    /// What one of its checks says; true if that changes what it is.
    fn judge(&self, check: u64, up: bool, failure: Option<&Failure>, common: &Common) -> bool {
        let is_back = !self.state.is_pending();
        if !self.state.judge(check, up) {
            return false;
        }
        if self.state.is_down() {
            self.warn("down", failure);
            return true;
        }
        if is_back {
            common.start_slowly(self);
        }
        tracing::info!(service = %self.service, target = self.target, "up");
        true
    }

    /// Says what a check found, and where if it looked elsewhere.
    fn warn(&self, what: &str, failure: Option<&Failure>) {
        let Some(Failure { reason, transcript, .. }) = failure else { return };
        let said = (!transcript.is_empty()).then(|| transcript.join("; "));
        let at = (self.checked_at != self.target).then_some(&*self.checked_at);
        tracing::warn!(service = %self.service, target = self.target, at, said, "{what}: {reason}");
    }
}

impl Common {
    /// Has the connections of these cut. Goes on by itself if whoever waits for it does not: their
    /// state says already that they are down, so nobody would see to it again.
    fn cut(&self, followers: Vec<Follower>) -> impl Future<Output = ()> + use<> {
        let down = self.down.clone();
        let sending = (!followers.is_empty()).then(|| {
            tokio::spawn(async move {
                for follower in followers {
                    if down.send(follower.state).await.is_err() {
                        return;
                    }
                }
            })
        });
        async move {
            if let Some(sending) = sending {
                let _ = sending.await;
            }
        }
    }

    /// Says that checks are not made, now and then.
    fn short(&self, label: &str, error: &std::io::Error) {
        let mut said = self.short.lock().unwrap_or_else(PoisonError::into_inner);
        if said.is_none_or(|at| at.elapsed() >= limits::CHECK_SHORT_SAID) {
            *said = Some(Instant::now());
            tracing::warn!(
                target = label,
                %error,
                "checks cannot be made: this process is short of descriptors, ports or memory; \
                 targets stay what they are"
            );
        }
    }

    /// Gives a target that came up its share step by step.
    fn start_slowly(&self, follower: &Follower) {
        let mut slow = self.slow.lock().unwrap_or_else(PoisonError::into_inner);
        slow.retain(|_, task| !task.is_finished());
        if let Some(before) = slow.remove(&address(&follower.state)) {
            before.abort();
        }
        follower.state.set_share(TargetState::FULL);
        let Some(period) = follower.slow_start else { return };
        let state = Arc::clone(&follower.state);
        let key = address(&state);
        state.set_share(TargetState::FULL / limits::SLOW_START_STEPS);
        let rise = async move {
            for step in 2..=limits::SLOW_START_STEPS {
                sleep(period / limits::SLOW_START_STEPS).await;
                state.set_share(TargetState::FULL * step / limits::SLOW_START_STEPS);
            }
        };
        slow.insert(key, tokio::spawn(rise).abort_handle());
    }
}

impl Shared {
    fn new(number: u64, check: Arc<Check>, followers: Vec<Follower>) -> Self {
        let verdict = followers.iter().find_map(|follower| follower.state.verdict());
        let tracker = Tracker::new(check.probe.starts_up, verdict);
        let label = check.label.clone();
        let inner = Mutex::new(Inner { check, followers, tracker, failure: None });
        Self { number, label, inner }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The check stays, and is for these from now on. The followers whose connections are to be cut.
    fn change(
        &self,
        check: Arc<Check>,
        followers: Vec<Follower>,
        common: &Common,
    ) -> Vec<Follower> {
        let mut inner = self.lock();
        (inner.check, inner.followers) = (check, followers);
        // Those that join learn what is known already.
        let up = inner.tracker.is_up();
        let mut cut = Vec::new();
        for follower in inner.followers.iter().filter(|_| inner.tracker.is_known()) {
            if follower.state.is_new_to(self.number) {
                let failure = inner.failure.as_ref();
                follower.state.learn(failure);
                let new = follower.judge(self.number, up, failure, common);
                if new && !up && follower.close_on_down {
                    cut.push(follower.clone());
                }
            }
        }
        cut
    }

    /// Takes what a check found. The followers whose connections are to be cut, and whether the state
    /// is in doubt.
    fn take(&self, outcome: Outcome, took: Duration, common: &Common) -> (Vec<Follower>, bool) {
        let mut inner = self.lock();
        let failure = match outcome {
            Outcome::Void(shortage) => {
                if let Some(error) = shortage {
                    common.short(&self.label, &error);
                }
                return (Vec::new(), true);
            }
            Outcome::Passed => None,
            Outcome::Failed { reason, transcript } => {
                Some(Failure { at: since_1970(SystemTime::now()), reason, transcript })
            }
        };
        let probe = Arc::clone(&inner.check.probe);
        let first = !inner.tracker.is_known();
        inner.tracker.take(failure.is_none(), probe.rise, probe.fall);
        let (up, in_doubt) = (inner.tracker.is_up(), inner.tracker.is_in_doubt());
        if let Some(failure) = &failure {
            tracing::debug!(target = self.label, reason = failure.reason, "a check failed");
            if first && !up {
                inner.followers.iter().for_each(|it| it.warn("not up yet", Some(failure)));
            }
        }
        let mut cut = Vec::new();
        for follower in &inner.followers {
            follower.state.checked(took, failure.as_ref());
            // What failed takes none in that waits for its first success.
            let waits = follower.state.is_pending();
            let new = !(up && failure.is_some() && waits)
                && follower.judge(self.number, up, failure.as_ref(), common);
            if new && !up && follower.close_on_down {
                cut.push(follower.clone());
            }
        }
        if failure.is_some() {
            inner.failure = failure;
        }
        (cut, in_doubt)
    }
}

/// Checks one place for ever.
async fn run(shared: Arc<Shared>, common: Common) {
    let probe = Arc::clone(&shared.lock().check.probe);
    // All that a start or a reload brings must not come at once. What is not known yet is in doubt.
    sleep(random_part(probe.fast_interval)).await;
    let mut first = true;
    loop {
        let Ok(permit) = Arc::clone(&common.permits).acquire_owned().await else { return };
        let check = Arc::clone(&shared.lock().check);
        let started = Instant::now();
        let snapshot = common.process.snapshot.load_full();
        let outcome = probe::check(&check, &snapshot.own, permit).await;
        drop(snapshot);
        let took = started.elapsed();
        let (cut, in_doubt) = shared.take(outcome, took, &common);
        common.cut(cut).await;
        let pause = match (in_doubt, std::mem::take(&mut first)) {
            (true, _) => jittered(probe.fast_interval),
            (false, true) => random_part(probe.interval),
            (false, false) => jittered(probe.interval),
        };
        sleep(pause.saturating_sub(took)).await;
    }
}

/// The span, give or take a tenth.
fn jittered(span: Duration) -> Duration {
    span.mul_f64(0.9) + random_part(span.mul_f64(0.2))
}

/// Some part of the span.
fn random_part(span: Duration) -> Duration {
    // The standard library's only source of randomness: a new state has new keys.
    let random = u32::try_from(RandomState::new().hash_one(0) >> 32).unwrap_or(0);
    span.mul_f64(f64::from(random) / f64::from(u32::MAX))
}

#[cfg(test)]
mod tests;
