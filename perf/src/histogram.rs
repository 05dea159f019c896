//! Latencies in constant memory: buckets that grow with the value, 64 to each power of two.

/// Values below this have a bucket each.
const LINEAR: u64 = 64;
const BITS: u32 = LINEAR.trailing_zeros();

/// Counts of latencies; a percentile is exact to 1.6 %.
pub struct Histogram {
    counts: Vec<u64>,
    total: u64,
}

impl Default for Histogram {
    fn default() -> Self {
        Self { counts: vec![0; bucket(u64::MAX) + 1], total: 0 }
    }
}

impl Histogram {
    /// Counts one value.
    pub fn record(&mut self, nanos: u64) {
        self.counts[bucket(nanos)] += 1;
        self.total += 1;
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        self.counts.fill(0);
        self.total = 0;
    }

    /// The value that `share` (0 to 1) of all values do not exceed; `None` when nothing was counted.
    pub fn percentile(&self, share: f64) -> Option<u64> {
        let rank = ((self.total as f64 * share).ceil() as u64).max(1);
        let mut seen = 0;
        for (index, count) in self.counts.iter().enumerate() {
            seen += count;
            if *count > 0 && seen >= rank {
                return Some(upper(index));
            }
        }
        None
    }
}

fn bucket(value: u64) -> usize {
    if value < LINEAR {
        return value as usize;
    }
    let shift = value.ilog2() - BITS;
    // The leading bit is always set, so that the top BITS + 1 bits are LINEAR..2 * LINEAR.
    ((u64::from(shift) * LINEAR) + (value >> shift)) as usize
}

/// The greatest value that falls into a bucket.
fn upper(index: usize) -> u64 {
    let index = index as u64;
    if index < LINEAR {
        return index;
    }
    let shift = index / LINEAR - 1;
    let top = index - shift * LINEAR;
    u64::try_from(((u128::from(top) + 1) << shift) - 1).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_holds_its_own_bounds() {
        for value in [0, 1, 63, 64, 65, 127, 128, 1000, 123_456_789, u64::MAX / 3, u64::MAX] {
            let top = upper(bucket(value));
            assert!(top >= value, "{value} lies above its bucket's end {top}");
            assert!(top as f64 <= value as f64 * 1.016 + 1.0, "{value} is told as {top}");
            assert_eq!(bucket(top), bucket(value));
        }
    }

    #[test]
    fn percentiles_of_a_known_series() {
        let mut histogram = Histogram::default();
        assert_eq!(histogram.percentile(0.5), None);
        (1..=100).for_each(|value| histogram.record(value * 1000));
        let median = histogram.percentile(0.5).unwrap();
        assert!((50_000..=50_800).contains(&median), "{median}");
        let high = histogram.percentile(0.99).unwrap();
        assert!((99_000..=100_600).contains(&high), "{high}");
        histogram.clear();
        assert_eq!(histogram.percentile(0.5), None);
    }
}
