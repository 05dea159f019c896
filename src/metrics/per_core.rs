//! One of something for each core.

use std::sync::OnceLock;

/// One of something for each core that has used it, made by that core when it first does: a service
/// or target that nobody uses costs 16 bytes a core.
#[derive(Debug)]
pub struct PerCore<T>(OnceLock<Box<[OnceLock<Box<T>>]>>);

impl<T> Default for PerCore<T> {
    fn default() -> Self {
        Self(OnceLock::new())
    }
}

impl<T: Default> PerCore<T> {
    /// Makes room for so many cores. The control thread does so before any core knows of it: a core
    /// must not have to wait for another that does.
    pub fn prepare(&self, cores: usize) {
        self.0.get_or_init(|| (0..cores).map(|_| OnceLock::new()).collect());
    }

    /// A core's own; `None` where there is no room for it. Only that core may ask.
    pub fn of(&self, core: usize) -> Option<&T> {
        let slot = self.0.get()?.get(core)?;
        Some(slot.get_or_init(Box::default))
    }

    /// Those of all cores that have used it.
    pub fn all(&self) -> impl Iterator<Item = &T> {
        self.0.get().into_iter().flatten().filter_map(|slot| slot.get().map(|it| &**it))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_used_is_not_made() {
        let numbers = PerCore::<u32>::default();
        assert!(numbers.of(0).is_none(), "no room yet");
        numbers.prepare(3);
        numbers.prepare(5);
        assert_eq!(numbers.all().count(), 0);
        assert_eq!(numbers.of(2), Some(&0));
        assert_eq!(numbers.of(3), None);
        assert_eq!(numbers.all().count(), 1);
    }
}
