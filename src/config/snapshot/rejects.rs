//! The share of a pool's connections that is refused: the weight of its targets with `reject`.

use std::sync::atomic::{AtomicUsize, Ordering};

use crate::config::checked::{Address, Balancing, Target};

/// Decides about each connection once, before a target is chosen, so that no retry and no target that
/// is down changes the share.
#[derive(Debug)]
pub struct Rejects {
    /// Of the rejecting targets; from 1 to `total`.
    weight: u64,
    /// Of all that share the connections: these, and the targets of the lowest tier.
    total: u64,
    turns: AtomicUsize,
}

impl Rejects {
    /// `None`: the pool refuses nobody.
    pub(super) fn of(targets: &[Target], balancing: Balancing) -> Option<Box<Self>> {
        let weight = |target: &Target| match balancing {
            Balancing::RoundRobin => u64::from(target.weight.min(1)),
            _ => u64::from(target.weight),
        };
        let (rejecting, others): (Vec<_>, Vec<_>) = targets
            .iter()
            .filter(|target| target.weight > 0)
            .partition(|target| target.address == Address::Reject);
        let refused: u64 = rejecting.into_iter().map(weight).sum();
        let first = others.iter().map(|target| target.tier).min();
        let served = others.into_iter().filter(|target| Some(target.tier) == first);
        let total = refused + served.map(weight).sum::<u64>();
        let turns = AtomicUsize::default();
        (refused > 0).then(|| Box::new(Self { weight: refused, total, turns }))
    }

    /// Takes the next turn.
    pub fn take(&self) -> bool {
        self.at(self.turns.fetch_add(1, Ordering::Relaxed))
    }

    /// What the next turn is, without taking it.
    pub fn look(&self) -> bool {
        self.at(self.turns.load(Ordering::Relaxed))
    }

    /// Whether this turn is one of those refused: as many of each `total` as the weight says, spread
    /// as evenly as can be.
    fn at(&self, turn: usize) -> bool {
        let turn = (turn as u64).checked_rem(self.total).unwrap_or(0);
        // Weights are 16 bits wide and targets at most as many, so nothing overflows.
        let before = |turn: u64| (turn * self.weight).checked_div(self.total);
        before(turn + 1) > before(turn)
    }
}
