//! The pace at which the connection to the server is made again.
//!
//! While connections last only a short time, or fail, 9pmux waits before each further one: 0.1 s, and then twice as
//! long each time up to a maximum. The first one of such a series is made at once.
//!
//! | pace | maximum | series begins with |
//! |---|---|---|
//! | on demand: a server that disconnects when a client requests another dialect costs a connection, or a process, for each such request | a second | the second connection |
//! | persistent (`--reconnect`): a server that has gone is tried without end | 10 seconds | the first connection |
//!
//! With the persistent pace each wait is multiplied by a random number, so that the clients of a server that is
//! restarted do not connect to it all at once. A program is then started at most once a second.

use std::time::{Duration, Instant};

/// The wait before the second connection of a series.
const FIRST_DELAY: Duration = Duration::from_millis(100);

/// The maximum wait on demand.
const MAX_DELAY: Duration = Duration::from_secs(1);

/// The maximum wait of the persistent pace, before it is multiplied.
const MAX_PERSISTENT_DELAY: Duration = Duration::from_secs(10);

/// A connection that has lasted so long ends the series.
const LASTING: Duration = Duration::from_secs(5);

/// The least time between two starts of a program with the persistent pace.
const START_INTERVAL: Duration = Duration::from_secs(1);

/// The state of a series of short connections. The driver reports each loss and each attempt.
pub struct RedialPace {
    /// The time of the last attempt to connect.
    attempted_at: Instant,
    /// The wait before the next connection.
    delay: Duration,
    max_delay: Duration,
    /// The least time between two attempts.
    interval: Duration,
    /// The source of random numbers, if waits are multiplied by them.
    random: Option<Random>,
    /// The time of the next connection, while there is none.
    due: Option<Instant>,
}

impl RedialPace {
    /// Returns the pace on demand, after the first connection.
    pub fn new(now: Instant) -> RedialPace {
        RedialPace {
            attempted_at: now,
            delay: Duration::ZERO,
            max_delay: MAX_DELAY,
            interval: Duration::ZERO,
            random: None,
            due: None,
        }
    }

    /// Returns the persistent pace, before the first connection. `starts` is true if the server is started here,
    /// and `seed` is a random number.
    pub fn persistent(now: Instant, starts: bool, seed: u64) -> RedialPace {
        RedialPace {
            delay: FIRST_DELAY,
            max_delay: MAX_PERSISTENT_DELAY,
            interval: if starts { START_INTERVAL } else { Duration::ZERO },
            random: Some(Random(seed | 1)),
            due: Some(now),
            ..RedialPace::new(now)
        }
    }

    /// Records that the connection has been lost, unless it is known. Returns true if it may be made again
    /// at this time.
    pub fn may_connect(&mut self, now: Instant) -> bool {
        let due = match self.due {
            Some(due) => due,
            None => {
                let lasted = now.saturating_duration_since(self.attempted_at) >= LASTING;
                let delay = if lasted { Duration::ZERO } else { self.delay };
                self.delay = (2 * delay).clamp(FIRST_DELAY, self.max_delay);
                let wait = match &mut self.random {
                    Some(random) => delay.mul_f64(random.factor()),
                    None => delay,
                };
                *self.due.insert((now + wait).max(self.attempted_at + self.interval))
            }
        };
        due <= now
    }

    /// Records that a connection was attempted, with success or without.
    pub fn attempted(&mut self, now: Instant) {
        self.attempted_at = now;
        self.due = None;
    }

    /// Returns the time of the next connection, if there is none.
    pub fn due(&self) -> Option<Instant> {
        self.due
    }
}

/// Random numbers (xorshift64) that need not be unpredictable.
struct Random(u64);

impl Random {
    /// Returns a number between 0.5 and 1.5.
    fn factor(&mut self) -> f64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        // 53 bits are as many as the fraction of an f64 has.
        0.5 + (self.0 >> 11) as f64 / (1u64 << 53) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    /// Loses a connection at `now`. Returns the wait, after which the connection is made again.
    fn wait(pace: &mut RedialPace, now: &mut Instant) -> Duration {
        let lost = *now;
        let at_once = pace.may_connect(lost);
        let due = pace.due().expect("it is lost");
        assert_eq!(at_once, due == lost);
        // Asking again changes nothing.
        assert!(!pace.may_connect(due - MS));
        assert!(pace.may_connect(due));
        assert_eq!(pace.due(), Some(due));
        pace.attempted(due);
        assert_eq!(pace.due(), None);
        *now = due;
        due - lost
    }

    #[test]
    fn short_connections_are_made_more_and_more_seldom() {
        let mut now = Instant::now() + LASTING;
        let mut pace = RedialPace::new(now);
        for expected in [0, 100, 200, 400, 800, 1000, 1000, 1000] {
            assert_eq!(wait(&mut pace, &mut now), expected * MS);
            now += LASTING - MS;
        }
    }

    #[test]
    fn connection_that_lasts_ends_the_series() {
        let mut now = Instant::now() + LASTING;
        let mut pace = RedialPace::new(now);
        for _ in 0..3 {
            for expected in [0, 100, 200, 400] {
                assert_eq!(wait(&mut pace, &mut now), expected * MS);
            }
            now += LASTING;
        }
    }

    /// The waits of the persistent pace, before they are multiplied.
    const PERSISTENT: [u32; 11] = [0, 100, 200, 400, 800, 1600, 3200, 6400, 10_000, 10_000, 10_000];

    #[test]
    fn persistent_pace_waits_longer_and_longer_within_its_random_bounds() {
        let mut factors = Vec::new();
        for seed in 0..200 {
            let mut now = Instant::now() + LASTING;
            let mut pace = RedialPace::persistent(now, false, seed);
            for expected in PERSISTENT {
                let wait = wait(&mut pace, &mut now);
                let nominal = expected * MS;
                assert!(wait >= nominal / 2 && wait <= nominal * 3 / 2, "{expected}: {wait:?}");
                if !nominal.is_zero() {
                    factors.push(wait.as_secs_f64() / nominal.as_secs_f64());
                }
            }
        }
        let in_range = |from, to| factors.iter().filter(|f| (from..to).contains(*f)).count();
        for tenth in 5..15 {
            let count = in_range(f64::from(tenth) / 10.0, f64::from(tenth + 1) / 10.0);
            assert!(count > factors.len() / 20, "{count} of {}", factors.len());
        }
    }

    #[test]
    fn persistent_pace_begins_anew_only_after_a_connection_that_lasts() {
        let mut now = Instant::now() + LASTING;
        let mut pace = RedialPace::persistent(now, false, 7);
        for _ in 0..6 {
            wait(&mut pace, &mut now);
            now += LASTING - MS;
        }
        assert!(wait(&mut pace, &mut now) >= 1600 * MS, "short sessions end no series");
        now += LASTING;
        assert_eq!(wait(&mut pace, &mut now), Duration::ZERO);
        assert!(wait(&mut pace, &mut now) <= 150 * MS);
    }

    #[test]
    fn program_is_started_at_most_once_a_second() {
        let mut now = Instant::now() + LASTING;
        let mut pace = RedialPace::persistent(now, true, 3);
        assert_eq!(wait(&mut pace, &mut now), Duration::ZERO);
        for _ in 0..4 {
            assert_eq!(wait(&mut pace, &mut now), START_INTERVAL);
        }
        now += LASTING;
        assert_eq!(wait(&mut pace, &mut now), Duration::ZERO);
    }
}
