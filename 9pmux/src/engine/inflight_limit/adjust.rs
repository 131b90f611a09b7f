//! Raises and lowers the adaptive limit.
//!
//! The limit grows fast while the server shows no queue, and falls only if a trial has shown that less is enough:
//!
//! | rule | reason |
//! |---|---|
//! | While clients wait for the limit, and the mean latency of as many replies as the limit is at most that without a queue, by the factors of [`GROWTH`], the limit is multiplied. Whether there is a queue then is seen from fewer replies. | Hardly any request waits in the server's queue. A distant server gets what it can use within a few round trips. |
//! | The latency without a queue is the least latency ever seen, or the mean one of a trial that has shown that the server serves all requests at the same time. | Requests differ. |
//! | Otherwise the rate of replies is measured: after all requests that were sent before a change have their replies, over twice as many replies as the limit, and [`MIN_REPLIES`] and [`MIN_TIME`], or [`LONG_TIME`]; but at most over [`MAX_TIME`]. A clear result needs [`FEW_REPLIES`]. | Few replies say little. |
//! | Now and then the limit is lowered. It stays low if the rate falls by at most a thirty-second part, or clearly by at most a sixteenth. | The rest was only queued. |
//! | Now and then the limit is doubled. It stays doubled if the rate grows by a sixteenth, and falls again with the limit before. | The server serves more at a time. |
//! | If the rate follows the limit in two trials, or in a trial with a large step, the limit grows as without a queue. | The server serves all at the same time. One trial may coincide with an interruption of the server. |
//! | A failed trial makes the next of its kind rarer, up to one in [`MAX_PAUSE`] measurements. A trial that succeeds is repeated at once, and so are both kinds when the rate has fallen by half without a trial. | A trial costs latency or throughput. |
//! | The limit is not lowered below the number with which the latency is [`QUEUED_LATENCIES`] times that without a queue. | The queue is short already. |
//! | Nor is it below what the server replies to in a time that grows with the rate ([`QUEUE_TIME`]). | A fast server costs less than that its requests wait here. |
//! | If no client waits for the limit, but the latency is that long, the limit becomes the number in flight, but at least [`MIN_LIMIT`]. | The server has become slow. |

use std::time::Duration;

use super::replies::{Replies, ReplyLog};

/// The limit of a new connection, the smallest one, and the largest one, above which there are no tags.
const FIRST_LIMIT: u64 = 64;
pub const MIN_LIMIT: u64 = 4;
const MAX_LIMIT: u64 = 1 << 16;

/// Up to so many quarters of the latency without a queue, the limit grows by so much.
const GROWTH: [(u64, u64); 2] = [(6, FAST_GROWTH), (10, 2)];
const FAST_GROWTH: u64 = 8;

/// The quarters from which a limit that has grown falls again.
const OVERGROWN: u64 = 14;

/// The latency of a long queue, as a multiple of that without one; and from which the limit is lowered in large steps.
const QUEUED_LATENCIES: u64 = 4;
const MANY_LATENCIES: u64 = 32;

/// The smallest number of replies of a measurement, and of one with a clear result. Some trials need twice as many.
const MIN_REPLIES: u64 = 256;
const FEW_REPLIES: u64 = 64;

/// The shortest time of a measurement with few replies, and of another; the time after which twice as many replies as
/// the limit are enough; and the longest time.
const FEW_TIME: Duration = Duration::from_millis(1);
const MIN_TIME: Duration = Duration::from_millis(50);
const LONG_TIME: Duration = Duration::from_millis(250);
const MAX_TIME: Duration = Duration::from_secs(1);

/// The longest time to wait for the replies to requests that were sent before a change.
const MAX_SETTLING: Duration = Duration::from_secs(4);

/// The least and the greatest number of measurements from a failed trial to the next of its kind.
const MIN_PAUSE: u32 = 4;
const MAX_PAUSE: u32 = 64;

/// The time for which the server's queue may last, in nanoseconds for each reply per second.
const QUEUE_TIME: u64 = 400;

/// One part of so many of a latency that a trial has shown is forgotten with each measurement.
const FORGOTTEN_PART: u64 = 64;

/// The subject of the current measurement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Trial {
    /// The rate with the limit as it is.
    None,
    /// Whether there is a queue after the limit has grown.
    Grown,
    /// Whether twice the limit increases the rate.
    Doubled,
    /// Whether the rate is smaller again with the limit before.
    Confirmed { doubled_rate: u64 },
    /// Whether a lower limit reduces the rate.
    Lowered,
}

/// The number of measurements from one trial of a kind to the next.
#[derive(Clone, Copy, Debug)]
struct Pause {
    length: u32,
    remaining: u32,
}

impl Pause {
    const NONE: Pause = Pause { length: 0, remaining: 0 };

    fn is_over(&mut self) -> bool {
        self.remaining = self.remaining.saturating_sub(1);
        self.remaining == 0
    }

    fn lengthen(&mut self) {
        self.length = (2 * self.length).clamp(MIN_PAUSE, MAX_PAUSE);
        self.remaining = self.length;
    }
}

/// The limit, the rate in replies per second and the mean latency in microseconds before a trial.
#[derive(Clone, Copy, Debug)]
struct Before {
    limit: u64,
    rate: u64,
    latency: u64,
}

#[derive(Clone, Copy, Debug)]
enum Phase {
    /// Requests that were sent before a change have no reply yet: so many replies, and so much time, are awaited, or
    /// twice that time.
    Settling { replies: u64, time: Duration },
    /// The rate is measured.
    Measuring,
}

/// A measurement.
#[derive(Clone, Copy, Debug)]
struct Sample {
    replies: Replies,
    /// The number of replies that a measurement must have at least.
    least: u64,
    time: Duration,
    rate: u64,
    /// The mean latency, in quarters of that without a queue.
    latencies: u64,
    /// Whether the result was clear before the end of the measurement.
    is_clear: bool,
}

#[derive(Debug)]
pub struct Adjuster {
    limit: u64,
    trial: Trial,
    before: Before,
    /// The mean latency in microseconds with which a trial has shown that there was no queue, or 0.
    shown_latency: u64,
    /// Whether the last trial has changed the rate with the limit.
    looked_parallel: bool,
    /// The pauses of the trials with a higher and a lower limit.
    pauses: [Pause; 2],
    phase: Phase,
    /// The beginning of the phase, and the replies before it.
    since: Duration,
    start: Replies,
    /// Whether clients have waited for the limit all the time since then.
    is_used: bool,
    /// The largest number in flight since then.
    peak: u64,
}

impl Adjuster {
    pub fn new() -> Adjuster {
        Adjuster {
            limit: FIRST_LIMIT,
            trial: Trial::None,
            before: Before { limit: FIRST_LIMIT, rate: 0, latency: 0 },
            shown_latency: 0,
            looked_parallel: false,
            pauses: [Pause::NONE; 2],
            phase: Phase::Measuring,
            since: Duration::ZERO,
            start: Replies::default(),
            is_used: true,
            peak: 0,
        }
    }

    #[inline]
    pub fn limit(&self) -> u64 {
        self.limit
    }

    /// Reports the time, the number in flight, and whether clients wait for the limit.
    pub fn report(&mut self, now: Duration, in_flight: u64, is_waiting: bool, log: &mut ReplyLog) {
        let needs_waiting = matches!(self.trial, Trial::Lowered | Trial::Confirmed { .. });
        if needs_waiting && !is_waiting {
            return self.stop_measuring(now, log);
        }
        // Twice the limit may be more than the clients ask for, which says nothing against it.
        self.is_used &= is_waiting || self.trial == Trial::Doubled;
        self.peak = self.peak.max(in_flight);
        let replies = log.total.since(self.start);
        if is_waiting {
            if let Some(factor) = self.growth(replies, log) {
                return self.grow(factor, now, log);
            }
        }
        match self.phase {
            Phase::Settling { replies: awaited, time } => {
                let has_all = replies.number() >= awaited && now >= self.since + time;
                if has_all || now >= self.since + 2 * time {
                    self.begin_phase(Phase::Measuring, now, log);
                }
            }
            Phase::Measuring => self.measure(replies, now, log),
        }
    }

    /// Ends a measurement without a result.
    pub fn stop_measuring(&mut self, now: Duration, log: &mut ReplyLog) {
        if self.trial == Trial::Lowered {
            self.limit = self.before.limit;
        }
        self.trial = Trial::None;
        self.begin_phase(Phase::Measuring, now, log);
    }

    fn begin_phase(&mut self, phase: Phase, now: Duration, log: &mut ReplyLog) {
        (self.phase, self.since, self.start) = (phase, now, log.total);
        (self.is_used, self.peak) = (true, 0);
        log.clear_longest();
    }

    /// The next measurement begins when requests that were sent until now, with this limit, have their replies.
    fn settle(&mut self, limit: u64, now: Duration, log: &mut ReplyLog) {
        let time = Duration::from_micros(log.longest()).min(MAX_SETTLING);
        self.begin_phase(Phase::Settling { replies: limit, time }, now, log);
    }

    /// Returns the latency without a queue in microseconds, as far as it is known.
    fn free_latency(&self, log: &ReplyLog) -> u64 {
        self.shown_latency.max(log.least()).max(1)
    }

    /// Returns the mean latency, in quarters of that without a queue.
    fn latencies(&self, replies: Replies, log: &ReplyLog) -> u64 {
        4 * replies.latency / replies.timed.saturating_mul(self.free_latency(log)).max(1)
    }

    /// Returns by how much the limit grows, if the latency shows that there is no queue.
    fn growth(&self, replies: Replies, log: &ReplyLog) -> Option<u64> {
        let awaited = match self.trial {
            Trial::Lowered => return None,
            // The replies to requests that were sent after the limit has grown.
            Trial::Grown => self.limit - self.before.limit,
            _ => self.limit,
        };
        if self.limit == MAX_LIMIT || replies.timed < awaited.max(FEW_REPLIES / 2) {
            return None;
        }
        let latencies = self.latencies(replies, log);
        GROWTH.iter().find(|(most, _)| latencies <= *most).map(|(_, factor)| *factor)
    }

    fn grow(&mut self, factor: u64, now: Duration, log: &mut ReplyLog) {
        let limit = self.limit;
        self.before = Before { limit, rate: 0, latency: 0 };
        self.limit = (limit * factor).min(MAX_LIMIT);
        self.trial = Trial::Grown;
        self.pauses = [Pause::NONE; 2];
        self.settle(limit, now, log);
    }

    /// Ends the measurement if it has enough replies.
    fn measure(&mut self, replies: Replies, now: Duration, log: &mut ReplyLog) {
        let time = now.saturating_sub(self.since);
        let latencies = self.latencies(replies, log);
        let has_overgrown = self.trial == Trial::Grown && latencies >= OVERGROWN;
        let least = match has_overgrown {
            true => self.before.limit,
            false if self.is_used => 2 * self.limit,
            false => 2 * self.peak,
        };
        let is_over = time >= MAX_TIME;
        if time < FEW_TIME || !is_over && replies.number() < least.max(FEW_REPLIES) {
            return;
        }
        let rate = (u128::from(replies.number()) * 1_000_000_000 / time.as_nanos()) as u64;
        let mut sample = Sample { replies, least, time, rate, latencies, is_clear: has_overgrown };
        sample.is_clear |= self.is_clear(&sample);
        if sample.is_clear || is_over || self.is_long(&sample) {
            self.handle_sample(&sample, now, log);
        }
    }

    /// Returns true if a few replies are enough for a result.
    fn is_clear(&self, sample: &Sample) -> bool {
        let (rate, before) = (sample.rate, self.before.rate);
        let has_more = sample.replies.number() >= 2 * FEW_REPLIES;
        match self.trial {
            Trial::None | Trial::Grown => before == 0,
            Trial::Doubled => has_more && has_doubled(rate, before) || rate <= before + before / 32,
            Trial::Lowered => {
                has_more && self.has_fallen_as_the_limit(rate) || rate >= before - before / 16
            }
            Trial::Confirmed { .. } => false,
        }
    }

    /// Returns true if there are enough replies for a result that is not clear.
    fn is_long(&self, sample: &Sample) -> bool {
        let enough = match self.trial {
            Trial::Doubled | Trial::Confirmed { .. } => 2 * MIN_REPLIES,
            _ => MIN_REPLIES,
        };
        let Sample { replies, least, time, .. } = sample;
        replies.number() >= *least
            && (*time >= LONG_TIME || replies.number() >= enough && *time >= MIN_TIME)
    }

    /// Returns true if the rate has fallen with the limit. A small step proves nothing.
    fn has_fallen_as_the_limit(&self, rate: u64) -> bool {
        let part = self.before.rate * self.limit / self.before.limit;
        self.limit <= self.before.limit / 4 * 3 && rate < part + (self.before.rate - part) / 4
    }

    fn handle_sample(&mut self, sample: &Sample, now: Duration, log: &mut ReplyLog) {
        let limit = self.limit;
        let least = least_limit(sample.rate, self.free_latency(log));
        let trial = std::mem::replace(&mut self.trial, Trial::None);
        // A large step is evidence enough.
        let is_far = self.limit <= self.before.limit / 4;
        if (self.looked_parallel || is_far) && self.is_parallel(trial, sample) {
            self.shown_latency = sample.replies.mean_latency().unwrap_or(0);
            self.limit = self.limit.max(self.before.limit);
            return self.grow(FAST_GROWTH, now, log);
        }
        let may_try = match trial {
            Trial::None | Trial::Grown if !self.is_used => self.handle_unused(sample),
            Trial::None => self.handle_plain(sample),
            Trial::Grown => self.handle_growth(sample, least),
            Trial::Doubled => self.handle_doubling(sample),
            Trial::Confirmed { doubled_rate } => self.handle_confirmation(sample, doubled_rate),
            Trial::Lowered => self.handle_lowering(sample),
        };
        self.limit = self.limit.max(least.min(FAST_GROWTH * self.limit)).min(MAX_LIMIT);
        if may_try {
            self.begin_trial(sample, least);
        }
        self.settle(self.limit.max(limit), now, log);
    }

    /// The limit has not been reached. Returns true if a trial may begin, as the following functions do.
    fn handle_unused(&mut self, sample: &Sample) -> bool {
        let has_queue = sample.latencies >= 4 * QUEUED_LATENCIES;
        if has_queue {
            // The peak is 0 if all requests were at the server for so long that they no longer count.
            self.limit = self.limit.min(self.peak.max(MIN_LIMIT));
        }
        has_queue && self.note_plain(sample, sample.rate)
    }

    fn handle_plain(&mut self, sample: &Sample) -> bool {
        let (rate, before) = (sample.rate, self.before.rate);
        // The mean of several measurements.
        self.note_plain(sample, if before == 0 { rate } else { (before + rate) / 2 })
    }

    fn note_plain(&mut self, sample: &Sample, rate: u64) -> bool {
        if sample.rate < self.before.rate / 2 {
            // The server has become slow, but not at once.
            self.pauses = [Pause::NONE; 2];
            self.before.rate = 0;
            return false;
        }
        self.before.rate = rate;
        self.before.latency = sample.replies.mean_latency().unwrap_or(0);
        self.shown_latency -= self.shown_latency / FORGOTTEN_PART;
        true
    }

    fn handle_growth(&mut self, sample: &Sample, least: u64) -> bool {
        if sample.latencies < OVERGROWN {
            return self.handle_plain(sample);
        }
        self.limit = self.limit.min(least.max(self.before.limit));
        self.pauses[0].lengthen();
        false
    }

    fn handle_doubling(&mut self, sample: &Sample) -> bool {
        if has_doubled(sample.rate, self.before.rate) {
            self.before.rate = sample.rate;
            self.pauses[0] = Pause::NONE;
            self.looked_parallel = true;
            return true;
        }
        self.limit = self.before.limit;
        if has_grown(sample.rate, self.before.rate) {
            self.trial = Trial::Confirmed { doubled_rate: sample.rate };
        } else {
            self.looked_parallel = false;
            self.pauses[0].lengthen();
        }
        false
    }

    fn handle_confirmation(&mut self, sample: &Sample, doubled_rate: u64) -> bool {
        if has_grown(doubled_rate, sample.rate) {
            self.limit = 2 * self.before.limit;
            self.before.rate = doubled_rate;
            self.pauses[0] = Pause::NONE;
        } else {
            self.before.rate = sample.rate;
            self.pauses[0].lengthen();
        }
        true
    }

    /// Returns true if a trial has changed the rate with the limit, which a server does that serves all at the same
    /// time. An interrupted server may look so once; a server that becomes slow has a longer latency.
    fn is_parallel(&self, trial: Trial, sample: &Sample) -> bool {
        let latency = sample.replies.mean_latency().unwrap_or(u64::MAX);
        match trial {
            Trial::Doubled => has_doubled(sample.rate, self.before.rate),
            Trial::Lowered => {
                self.has_fallen_as_the_limit(sample.rate)
                    && latency <= self.before.latency + self.before.latency / 2
            }
            _ => false,
        }
    }

    fn handle_lowering(&mut self, sample: &Sample) -> bool {
        let (before, latency) = (self.before.rate, sample.replies.mean_latency().unwrap_or(0));
        let most = if sample.is_clear { 16 } else { 32 };
        if sample.rate >= before - before / most {
            // The rate before stays, or several trials could lose a part each.
            self.pauses[1] = Pause::NONE;
            self.shown_latency = 0;
            self.looked_parallel = false;
            return true;
        }
        if self.is_parallel(Trial::Lowered, sample) {
            self.looked_parallel = true;
            self.limit = self.before.limit;
        } else if self.has_fallen_as_the_limit(sample.rate) {
            // The server has become slow: the latency is longer than before.
            self.before.rate = 0;
            if latency <= QUEUED_LATENCIES * self.before.latency {
                self.limit = self.before.limit;
            }
        } else {
            self.limit = self.before.limit;
            self.looked_parallel = false;
            self.pauses[1].lengthen();
        }
        false
    }

    fn begin_trial(&mut self, sample: &Sample, least: u64) {
        self.before.limit = self.limit;
        if self.limit > least + least / 8 && self.pauses[1].is_over() {
            self.trial = Trial::Lowered;
            let is_far = sample.latencies >= 4 * MANY_LATENCIES;
            self.limit = (self.limit / if is_far { 8 } else { 2 }).max(least);
        } else if self.is_used && self.limit < MAX_LIMIT && self.pauses[0].is_over() {
            self.trial = Trial::Doubled;
            self.limit *= 2;
        }
    }
}

fn has_grown(rate: u64, before: u64) -> bool {
    rate > before + before / 16
}

fn has_doubled(rate: u64, before: u64) -> bool {
    rate > before + before / 4 * 3
}

/// Returns the least limit of a server with this rate and this latency without a queue.
fn least_limit(rate: u64, latency: u64) -> u64 {
    let time = (QUEUE_TIME * rate).max(QUEUED_LATENCIES * latency * 1000);
    let replies = u128::from(rate) * u128::from(time) / 1_000_000_000;
    replies.clamp(MIN_LIMIT.into(), MAX_LIMIT.into()) as u64
}
