//! How long things take, in fixed buckets.

use std::time::Duration;

use super::Counter;

/// Upper bounds of what should be short, in µs: 100 µs on one machine to the 10 s of a deadline.
pub const SHORT: [u64; BOUNDS] = [
    100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000,
    1_000_000, 2_500_000, 5_000_000, 10_000_000,
];

/// Upper bounds of the lives of connections, in µs: a request to a day.
pub const WHOLE_LIFE: [u64; BOUNDS] = {
    const SECOND: u64 = 1_000_000;
    [
        SECOND / 1000,
        SECOND / 100,
        SECOND / 20,
        SECOND / 10,
        SECOND / 4,
        SECOND / 2,
        SECOND,
        5 * SECOND,
        10 * SECOND,
        30 * SECOND,
        60 * SECOND,
        300 * SECOND,
        900 * SECOND,
        3_600 * SECOND,
        21_600 * SECOND,
        86_400 * SECOND,
    ]
};

const BOUNDS: usize = 16;

/// What was observed, by one writer. The bounds are the reader's and the writer's to know.
#[derive(Debug, Default)]
pub struct Histogram {
    /// By bucket, not summed up; the last is for what is above all bounds.
    buckets: [Counter; BOUNDS],
    above: Counter,
    sum_us: Counter,
}

impl Histogram {
    /// Adds one.
    pub fn observe(&self, bounds: &[u64; BOUNDS], took: Duration) {
        let took = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        let at = bounds.iter().position(|bound| took <= *bound);
        at.and_then(|at| self.buckets.get(at)).unwrap_or(&self.above).add(1);
        self.sum_us.add(took);
    }
}

/// Histograms of several cores, summed up.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Readings {
    /// How many took at most so long as each bound says.
    pub up_to: [u64; BOUNDS],
    /// How many there were.
    pub count: u64,
    /// How long all took together, in µs.
    pub sum_us: u64,
}

impl Readings {
    /// Adds those of one core.
    pub fn add(&mut self, histogram: &Histogram) {
        let mut sum = 0;
        for (up_to, bucket) in self.up_to.iter_mut().zip(&histogram.buckets) {
            sum += bucket.get();
            *up_to += sum;
        }
        self.count += sum + histogram.above.get();
        self.sum_us = self.sum_us.wrapping_add(histogram.sum_us.get());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_rise_and_are_inclusive() {
        assert!(SHORT.is_sorted_by(|a, b| a < b) && WHOLE_LIFE.is_sorted_by(|a, b| a < b));
        let histogram = Histogram::default();
        for micros in [0, 100, 101, 10_000_000, 10_000_001] {
            histogram.observe(&SHORT, Duration::from_micros(micros));
        }
        let mut readings = Readings::default();
        readings.add(&histogram);
        readings.add(&histogram);
        assert_eq!(readings.up_to[..2], [4, 6]);
        assert_eq!((readings.up_to[BOUNDS - 1], readings.count), (8, 10));
        assert_eq!(readings.sum_us, 2 * 20_000_202);
    }
}
