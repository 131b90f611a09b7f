//! The adaptive limit of requests in flight at the server.
//!
//! A server that serves a few requests at a time is not faster with thousands of them in its queue, but a client
//! that sends one request then waits for the whole queue. The limit therefore follows what the server can use.
//! `adjust.rs` raises and lowers it. Here is what counts for it:
//!
//! | rule | reason |
//! |---|---|
//! | A request counts until its reply, or until it has been at the server for one to two periods. A period is [`PERIOD_LATENCIES`] mean latencies, from [`MIN_PERIOD`] to [`MAX_PERIOD`]. Treads that no longer count have no part in the mean. | A read may stay there for ever. |
//! | If at the end of a period at least half the limit is taken by requests that no longer count, although most replies are to requests of the same period, twice as many requests are permitted; otherwise half as many, until the limit is reached again. | Such requests must not keep others waiting. |
//! | A Tclunk of 9pmux's own for a departed client counts as well. While clients wait, it has every fourth turn. | A client that leaves many fids must not fill the server's queue. |
//! | With the connection, the limit begins anew. A request that is sent again counts from then on. | Another server may be there, and the time of its absence is no latency. |
//! | The request of a client with nothing in flight and nothing that waits passes, and does not count, unless another one of its user has passed in the same two periods and is still at the server. | Such a client does not wait for requests that stay at the server, and the others keep their part. Many such clients of one user take turns, or the server's queue would be as long as there are clients. |
//!
//! Requests record the period in which they were sent. Their number is known for the current period and the one
//! before. Older ones need no record.

mod adjust;
mod replies;
#[cfg(test)]
mod tests;

use std::time::Duration;

use adjust::Adjuster;
use replies::{Replies, ReplyLog};

/// The least and the greatest length of a period, and its length in mean latencies.
const MIN_PERIOD: Duration = Duration::from_millis(100);
const MAX_PERIOD: Duration = Duration::from_secs(4);
const PERIOD_LATENCIES: u64 = 4;

/// The age after which a latency is no longer known, in microseconds.
const KNOWN_AGE: u64 = 100_000_000;

/// The time before the first turn, as for a mark.
const FIRST_NOW: i64 = 1;

/// The limit is at most doubled so many times for requests that no longer count.
const MAX_DOUBLINGS: u32 = 14;

/// The time in microseconds at which a request was sent; it is negative for a request that has passed, and 0 for
/// another that does not count.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(test, derive(PartialOrd, Ord))]
pub struct SentMark(i64);

impl SentMark {
    /// The mark of a request that does not count and has not passed.
    pub const NOT_COUNTED: SentMark = SentMark(0);

    /// Returns true if the request has passed.
    #[inline]
    pub fn has_passed(self) -> bool {
        self.0 < 0
    }
}

/// The limit and the counts behind it. It is driven by `count_sent`, `count_reply`, and `tick` in each turn.
#[derive(Debug)]
pub struct InflightLimit {
    /// The number of requests that count, of the current period and of the one before.
    counted: u64,
    /// The number of them at which no further one is permitted.
    capacity: u64,
    /// The time of this turn in microseconds, and that of the beginning of the period.
    now: i64,
    period_start: i64,
    replies: ReplyLog,
    /// The beginning of the period before, and the number of requests that count of it.
    earlier_start: i64,
    counted_earlier: u64,
    period_end: Duration,
    period_length: Duration,
    /// The replies before this period.
    earlier_replies: Replies,
    /// The number of replies in this period to requests of earlier ones.
    late_replies: u64,
    /// How many times the limit is doubled for requests that no longer count.
    doublings: u32,
    /// It changes the limit, if there is one.
    adjuster: Option<Adjuster>,
}

impl InflightLimit {
    /// Without a limit, requests are only counted.
    pub fn new(has_limit: bool) -> InflightLimit {
        let adjuster = has_limit.then(Adjuster::new);
        InflightLimit {
            counted: 0,
            capacity: adjuster.as_ref().map_or(u64::MAX, Adjuster::limit),
            now: FIRST_NOW,
            period_start: FIRST_NOW,
            replies: ReplyLog::new(),
            earlier_start: FIRST_NOW,
            counted_earlier: 0,
            period_end: Duration::ZERO,
            period_length: MIN_PERIOD,
            earlier_replies: Replies::default(),
            late_replies: 0,
            doublings: 0,
            adjuster,
        }
    }

    /// Begins anew, because the connection was lost. No request may count any more.
    pub fn begin_anew(&mut self) {
        *self = InflightLimit::new(self.adjuster.is_some());
    }

    /// Returns true if one more request may be sent.
    #[inline]
    pub fn has_room(&self) -> bool {
        self.counted < self.capacity
    }

    /// Counts a request that is about to be sent, unless there is no room for it. Returns its mark.
    #[inline]
    pub fn count_sent(&mut self) -> SentMark {
        if self.has_room() {
            self.counted += 1;
            SentMark(self.now)
        } else {
            SentMark::NOT_COUNTED
        }
    }

    /// Counts a request that has ended. `is_read` must be true for a Tread.
    #[inline]
    pub fn count_reply(&mut self, mark: SentMark, is_read: bool) {
        if mark.0 < self.period_start {
            return self.count_late_reply(mark, is_read);
        }
        self.counted -= 1;
        self.replies.add((self.now - mark.0) as u64);
    }

    /// Counts the reply to a request that was sent in an earlier period, or did not count.
    #[inline(never)]
    fn count_late_reply(&mut self, mark: SentMark, is_read: bool) {
        let counts = self.counts(mark);
        if counts {
            self.counted -= 1;
            self.counted_earlier -= 1;
        }
        let age = (self.now - mark.0) as u64;
        if mark.0 > 0 && age < KNOWN_AGE && (counts || !is_read) {
            self.late_replies += 1;
            self.replies.add(age);
        } else {
            self.replies.total.untimed += 1;
        }
    }

    /// Returns the mark of a request that passes now.
    pub fn passing_mark(&self) -> SentMark {
        SentMark(-self.now)
    }

    /// Returns true if a request with this mark has passed in the current period or the one before.
    pub fn has_passed_recently(&self, mark: SentMark) -> bool {
        -mark.0 >= self.earlier_start
    }

    /// Returns true if a request with this mark still counts.
    #[inline]
    pub fn counts(&self, mark: SentMark) -> bool {
        mark.0 >= self.earlier_start
    }

    /// Returns the end of the current period.
    pub fn period_end(&self) -> Duration {
        self.period_end
    }

    /// Returns the number of requests that count.
    #[cfg(any(test, mux_fuzz))]
    pub fn counted(&self) -> u64 {
        self.counted
    }

    /// Checks that the limit permits requests.
    #[cfg(any(test, mux_fuzz))]
    pub fn audit(&self) {
        assert!(self.capacity >= adjust::MIN_LIMIT, "an adaptive limit of {}", self.capacity);
    }

    /// Reports the time. `is_waiting` must be true if clients wait for the limit.
    pub fn tick(&mut self, now: Duration, is_waiting: bool) {
        let Some(adjuster) = &mut self.adjuster else {
            return;
        };
        if self.now == FIRST_NOW {
            adjuster.stop_measuring(now, &mut self.replies);
        }
        // Later than any mark before the first turn.
        self.now = FIRST_NOW + 1 + now.as_micros() as i64;
        if self.doublings > 0 {
            // More requests than the limit are at the server, which says nothing about the limit.
            adjuster.stop_measuring(now, &mut self.replies);
        } else {
            adjuster.report(now, self.counted, is_waiting, &mut self.replies);
        }
        let limit = adjuster.limit();
        if now >= self.period_end {
            self.end_period(limit);
            if now >= self.period_end + self.period_length {
                self.end_period(limit);
            }
            self.period_end = now + self.period_length;
        }
        self.capacity = limit << self.doublings;
    }

    /// Begins the next period.
    fn end_period(&mut self, limit: u64) {
        let replies = self.replies.total.since(self.earlier_replies);
        let is_slow = 2 * self.late_replies > replies.timed;
        if 2 * self.counted_earlier >= limit << self.doublings && !is_slow {
            self.doublings = (self.doublings + 1).min(MAX_DOUBLINGS);
        } else {
            self.doublings = self.doublings.saturating_sub(1);
        }
        if let Some(mean) = replies.mean_latency() {
            let length = Duration::from_micros(PERIOD_LATENCIES * mean);
            self.period_length = length.clamp(MIN_PERIOD, MAX_PERIOD);
        }
        self.earlier_replies = self.replies.total;
        self.late_replies = 0;
        self.counted -= self.counted_earlier;
        self.counted_earlier = self.counted;
        (self.earlier_start, self.period_start) = (self.period_start, self.now);
    }
}
