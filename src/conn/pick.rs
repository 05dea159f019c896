//! In which order the targets of a pool are tried. Before it: route. After it: connect. No clock,
//! no socket: a counter in, an order out.

use std::sync::atomic::Ordering;

use crate::config::snapshot::Pool;

/// Round robin: the position is shared by all cores, so that few connections spread evenly too.
pub fn order(pool: &Pool) -> Order {
    let turn = match pool.targets.len() {
        0 | 1 => 0,
        _ => pool.next.fetch_add(1, Ordering::Relaxed),
    };
    Order::starting_at(turn, pool.targets.len())
}

/// Indices of targets, each once, beginning with the one whose turn it is.
#[derive(Debug, Clone)]
pub struct Order {
    next: usize,
    left: usize,
    len: usize,
}

impl Order {
    /// The order that begins with target `turn % len`.
    pub fn starting_at(turn: usize, len: usize) -> Self {
        Self { next: turn.checked_rem(len).unwrap_or(0), left: len, len }
    }
}

impl Iterator for Order {
    type Item = usize;

    fn next(&mut self) -> Option<usize> {
        self.left = self.left.checked_sub(1)?;
        let index = self.next;
        self.next = if index + 1 == self.len { 0 } else { index + 1 };
        Some(index)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_target_once_beginning_with_the_turn() {
        assert_eq!(Order::starting_at(4, 3).collect::<Vec<_>>(), [1, 2, 0]);
        assert_eq!(Order::starting_at(0, 1).collect::<Vec<_>>(), [0]);
        assert_eq!(Order::starting_at(7, 0).count(), 0);
    }
}
