//! What becomes of the last good answer when the next one comes, or does not. No clock, no socket:
//! an outcome in, a verdict out. The same for the addresses of a name and for lists of targets.
//!
//! - A failure (SERVFAIL, silence, an endpoint that is down) changes nothing, however long it lasts.
//! - An answer that there is nothing (NXDOMAIN, an empty one) changes nothing for a grace; then the
//!   last answer is given up.
//! - Pauses after failures double; every pause is scattered, so that what was asked for at one time is
//!   not asked for at one time for ever.
//! - Each change is said once, not each retry.

use std::time::{Duration, Instant};

use crate::config::limits;

/// What came of asking.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome<T> {
    /// An answer, and for how long it holds.
    Found(T, Duration),
    /// There is nothing; in words.
    Gone(String),
    /// No answer; in words.
    Lost(String),
}

impl<T> Outcome<T> {
    /// Whether there is an answer.
    pub fn is_found(&self) -> bool {
        matches!(self, Self::Found(..))
    }
}

/// What to do.
#[derive(Debug, PartialEq, Eq)]
pub struct Verdict<T> {
    /// The answer to use from now on, if it is another.
    pub store: Option<T>,
    /// When to ask again.
    pub pause: Duration,
    /// What is worth a line in the log.
    pub news: Option<News>,
}

/// What is worth a line in the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum News {
    /// There is another answer, after failures or without.
    Changed,
    /// Failures have ended, and the answer is what it was.
    Again,
    /// No answer comes.
    Lost(String),
    /// There is nothing any more; the last answer is used for the grace.
    Gone(String),
    /// The grace is over: the last answer was given up.
    GivenUp,
}

/// How long answers hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// At least.
    pub min: Duration,
    /// At most; pauses after failures are not longer either.
    pub max: Duration,
    /// How long the last answer is used when there is nothing; `None`: for ever.
    pub grace: Option<Duration>,
}

/// The memory between two outcomes.
#[derive(Debug, Default)]
pub struct Keeper {
    failures: u32,
    gone_since: Option<Instant>,
    trouble: Option<Trouble>,
}

/// What was said last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Trouble {
    Lost,
    Gone,
}

impl Keeper {
    /// Weighs an outcome. `known` is the answer in use (empty: none), `luck` a number below 1.
    pub fn weigh<T: PartialEq + Default>(
        &mut self,
        outcome: Outcome<T>,
        known: &T,
        bounds: Bounds,
        now: Instant,
        luck: f64,
    ) -> Verdict<T> {
        let (what, why) = match outcome {
            Outcome::Found(answer, ttl) => {
                let trouble = self.trouble.take();
                *self = Self::default();
                let changed = answer != *known;
                let news = match (changed, trouble) {
                    (true, _) => Some(News::Changed),
                    (false, Some(_)) => Some(News::Again),
                    (false, None) => None,
                };
                let pause = ttl.clamp(bounds.min, bounds.max.max(bounds.min));
                // Before it ends rather than after.
                let pause = pause.mul_f64(1.0 - luck / 10.0);
                return Verdict { store: changed.then_some(answer), pause, news };
            }
            Outcome::Gone(why) => (Trouble::Gone, why),
            Outcome::Lost(why) => (Trouble::Lost, why),
        };
        let doubled = limits::RETRY_PAUSE.saturating_mul(1 << self.failures.min(16));
        let longest = limits::RETRY_PAUSE_MAX.min(bounds.max.max(limits::RETRY_PAUSE));
        let mut pause = doubled.min(longest).mul_f64(1.0 - luck / 2.0);
        self.failures = self.failures.saturating_add(1);
        let known_now = *known != T::default();
        if what == Trouble::Gone && known_now {
            let since = *self.gone_since.get_or_insert(now);
            if let Some(grace) = bounds.grace {
                let left = grace.saturating_sub(now.duration_since(since));
                if left.is_zero() {
                    self.trouble = Some(Trouble::Gone);
                    return Verdict { store: Some(T::default()), pause, news: Some(News::GivenUp) };
                }
                pause = pause.min(left);
            }
        } else if what == Trouble::Lost {
            // Nobody says that it is gone.
            self.gone_since = None;
        }
        let told = self.trouble.replace(what) == Some(what);
        let news = match (told, what) {
            (true, _) => None,
            (false, Trouble::Lost) => Some(News::Lost(why)),
            (false, Trouble::Gone) => Some(News::Gone(why)),
        };
        Verdict { store: None, pause, news }
    }
}

/// A number from 0 to 1 that nobody can foresee.
pub fn luck() -> f64 {
    use std::hash::{BuildHasher, RandomState};
    // Each RandomState has keys of its own.
    let random = RandomState::new().hash_one(0_u8);
    #[allow(clippy::cast_precision_loss)] // 53 bits are what an f64 holds
    let luck = (random >> 11) as f64 / (1_u64 << 53) as f64;
    luck
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUNDS: Bounds = Bounds {
        min: Duration::from_secs(1),
        max: Duration::from_secs(60),
        grace: Some(Duration::from_secs(30)),
    };

    struct Story {
        keeper: Keeper,
        known: Vec<u8>,
        now: Instant,
    }

    impl Story {
        fn new() -> Self {
            Self { keeper: Keeper::default(), known: Vec::new(), now: Instant::now() }
        }

        fn next(&mut self, outcome: Outcome<Vec<u8>>) -> (Duration, Option<News>) {
            let verdict = self.keeper.weigh(outcome, &self.known, BOUNDS, self.now, 0.0);
            if let Some(answer) = verdict.store {
                self.known = answer;
            }
            self.now += verdict.pause;
            (verdict.pause, verdict.news)
        }
    }

    fn found(answer: &[u8], ttl: u64) -> Outcome<Vec<u8>> {
        Outcome::Found(answer.to_vec(), Duration::from_secs(ttl))
    }

    fn lost() -> Outcome<Vec<u8>> {
        Outcome::Lost("silence".into())
    }

    fn gone() -> Outcome<Vec<u8>> {
        Outcome::Gone("NXDOMAIN".into())
    }

    #[test]
    fn a_ttl_has_a_floor_and_a_ceiling() {
        let mut story = Story::new();
        let seconds = |story: &mut Story, ttl| story.next(found(&[1], ttl)).0.as_secs();
        assert_eq!([0, 7, 600].map(|ttl| seconds(&mut story, ttl)), [1, 7, 60]);
    }

    #[test]
    fn failures_keep_the_answer_for_ever_and_are_said_once() {
        let mut story = Story::new();
        assert_eq!(story.next(found(&[1], 5)).1, Some(News::Changed));
        assert_eq!(story.next(lost()).1, Some(News::Lost("silence".into())));
        let pauses: Vec<Duration> = (0..1000).map(|_| story.next(lost()).0).collect();
        assert_eq!(pauses[0], limits::RETRY_PAUSE * 2);
        assert!(pauses.is_sorted() && pauses[999] == limits::RETRY_PAUSE_MAX);
        assert_eq!(story.known, [1]);
        assert_eq!(story.next(found(&[1], 5)), (Duration::from_secs(5), Some(News::Again)));
        assert_eq!(story.next(found(&[1], 5)).1, None);
        assert_eq!(story.next(found(&[2], 5)).1, Some(News::Changed));
    }

    #[test]
    fn nothing_is_believed_after_the_grace() {
        let mut story = Story::new();
        story.next(found(&[1], 5));
        let start = story.now;
        assert_eq!(story.next(gone()).1, Some(News::Gone("NXDOMAIN".into())));
        let news = loop {
            if let (_, Some(news)) = story.next(gone()) {
                break news;
            }
            assert_eq!(story.known, [1]);
        };
        assert_eq!(news, News::GivenUp);
        assert!(story.known.is_empty());
        let took = story.now - start;
        assert!(took >= Duration::from_secs(30) && took < Duration::from_secs(61), "{took:?}");
        assert_eq!(story.next(gone()).1, None);
        assert_eq!(story.next(found(&[1], 5)).1, Some(News::Changed));
    }

    #[test]
    fn a_server_that_fails_does_not_confirm_that_a_name_is_gone() {
        let mut story = Story::new();
        story.next(found(&[1], 5));
        for _ in 0..100 {
            story.next(gone());
            story.next(lost());
        }
        assert_eq!(story.known, [1]);
    }

    #[test]
    fn pauses_are_scattered_and_never_longer_than_the_ttl() {
        for luck in [0.0, 0.5, 0.999] {
            let mut keeper = Keeper::default();
            let outcome = found(&[1], 10);
            let pause = keeper.weigh(outcome, &vec![], BOUNDS, Instant::now(), luck).pause;
            assert!(pause >= Duration::from_secs(9) && pause <= Duration::from_secs(10));
        }
        let numbers: Vec<f64> = (0..1000).map(|_| luck()).collect();
        assert!(numbers.iter().all(|luck| (0.0..1.0).contains(luck)));
        let mean = numbers.iter().sum::<f64>() / 1000.0;
        assert!((0.4..0.6).contains(&mean), "{mean}");
    }
}
