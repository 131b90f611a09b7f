//! Replies and their latencies, as the adaptive limit counts them.

/// The replies since the connection was made, or since a moment.
#[derive(Clone, Copy, Debug, Default)]
pub struct Replies {
    /// The number of replies with a latency.
    pub timed: u64,
    /// The number of replies without one.
    pub untimed: u64,
    /// The sum of the latencies, in microseconds.
    pub latency: u64,
}

impl Replies {
    /// Returns the replies after those of `earlier`.
    pub fn since(self, earlier: Replies) -> Replies {
        Replies {
            timed: self.timed - earlier.timed,
            untimed: self.untimed - earlier.untimed,
            latency: self.latency - earlier.latency,
        }
    }

    pub fn number(self) -> u64 {
        self.timed + self.untimed
    }

    /// Returns the mean latency in microseconds, or `None` if no reply has one.
    pub fn mean_latency(self) -> Option<u64> {
        self.latency.checked_div(self.timed)
    }
}

/// All replies, with the longest and the least latency in microseconds.
#[derive(Debug)]
pub struct ReplyLog {
    pub total: Replies,
    /// The longest latency since [`clear_longest`](ReplyLog::clear_longest).
    longest: u64,
    least: u64,
    /// The difference of the two, if the longest is known.
    range: u64,
}

impl ReplyLog {
    pub fn new() -> ReplyLog {
        ReplyLog { total: Replies::default(), longest: 0, least: u32::MAX.into(), range: 0 }
    }

    #[inline]
    pub fn add(&mut self, latency: u64) {
        self.total.timed += 1;
        self.total.latency += latency;
        // Also true if it is less than the least.
        if latency.wrapping_sub(self.least) > self.range {
            self.note_extreme(latency);
        }
    }

    #[cold]
    #[inline(never)]
    fn note_extreme(&mut self, latency: u64) {
        self.longest = self.longest.max(latency);
        self.least = self.least.min(latency);
        self.range = self.longest - self.least;
    }

    pub fn clear_longest(&mut self) {
        (self.longest, self.range) = (0, 0);
    }

    /// Returns the longest latency, or the least if there is no other one.
    pub fn longest(&self) -> u64 {
        if self.total.timed == 0 { 0 } else { self.longest.max(self.least) }
    }

    pub fn least(&self) -> u64 {
        self.least
    }
}
