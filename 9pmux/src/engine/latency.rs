//! Histograms of latencies: the time from forwarding a request to its reply, by the type of the request.
//!
//! The times are those of the driver's turns, so a latency is as exact as a turn is short. Counting one is the search
//! for its highest bit, an addition and an increment.

/// The number of buckets. The first one has latencies below 2 microseconds, and the bound of each further one is twice
/// as long.
pub const BUCKETS: usize = 32;

/// The number of buckets that are reported one by one: the last bound is 67 seconds.
pub const BOUNDED: usize = 26;

/// The number of types of T-messages, which are even.
const TYPES: usize = 128;

/// The latencies of the requests of one type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Histogram {
    /// The sum of the latencies, in microseconds.
    pub sum: u64,
    /// The number of latencies in each bucket: below its bound, and not below the one before.
    pub buckets: [u64; BUCKETS],
}

impl Histogram {
    /// Returns the number of latencies.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }

    /// Returns the bounds in microseconds that are reported, each with the number of latencies below it.
    pub fn cumulative(&self) -> impl Iterator<Item = (u64, u64)> {
        let buckets = self.buckets[..BOUNDED].iter().enumerate();
        buckets.scan(0, |below, (n, count)| {
            *below += count;
            Some((2 << n, *below))
        })
    }
}

/// The histograms of all types.
pub struct Latencies(Box<[Histogram; TYPES]>);

impl Latencies {
    pub fn new() -> Latencies {
        Latencies(Box::new([Histogram { sum: 0, buckets: [0; BUCKETS] }; TYPES]))
    }

    /// Counts a reply to a request of this type, after so many microseconds.
    #[inline(always)]
    pub fn add(&mut self, kind: u8, microseconds: u32) {
        let histogram = &mut self.0[usize::from(kind >> 1)];
        histogram.sum += u64::from(microseconds);
        histogram.buckets[(microseconds | 1).ilog2() as usize] += 1;
    }

    /// Returns the histogram of a type of T-messages.
    pub fn get(&self, kind: u8) -> &Histogram {
        &self.0[usize::from(kind >> 1)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn latency_counts_below_its_bounds() {
        for latency in [0, 1, 2, 3, 4, 1000, 1023, 1024, 60_000_000, 67_108_863, u32::MAX] {
            let mut latencies = Latencies::new();
            latencies.add(116, latency);
            let histogram = latencies.get(116);
            assert_eq!((histogram.sum, histogram.count()), (u64::from(latency), 1));
            assert_eq!(latencies.get(118).count(), 0);
            let bounds: Vec<(u64, u64)> = histogram.cumulative().collect();
            assert_eq!((bounds.len(), bounds[0].0, bounds[25].0), (26, 2, 1 << 26));
            for (bound, below) in bounds {
                assert_eq!(below, u64::from(u64::from(latency) < bound), "{latency} us, {bound}");
            }
        }
    }
}
