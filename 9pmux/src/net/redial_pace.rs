//! The pace at which the connection to the server is made again.
//!
//! A server that disconnects when a client requests another dialect costs a new connection, or a new process,
//! for each such request. The first time 9pmux connects again at once. While connections last only a short
//! time, it waits before each further one: 0.1 s, and then twice as long each time, up to a second.

use std::time::{Duration, Instant};

/// The wait before the second connection of a series.
const FIRST_DELAY: Duration = Duration::from_millis(100);

/// The maximum wait.
const MAX_DELAY: Duration = Duration::from_secs(1);

/// A connection that has lasted so long ends the series.
const LASTING: Duration = Duration::from_secs(5);

/// The state of a series of short connections. The driver reports each loss and each attempt.
pub struct RedialPace {
    /// The time of the last attempt to connect.
    attempted_at: Instant,
    /// The wait before the next connection.
    delay: Duration,
    /// The time of the next connection, while there is none.
    due: Option<Instant>,
}

impl RedialPace {
    /// Returns the state after the first connection.
    pub fn new(now: Instant) -> RedialPace {
        RedialPace { attempted_at: now, delay: Duration::ZERO, due: None }
    }

    /// Records that the connection has been lost, unless it is known. Returns true if it may be made again
    /// at this time.
    pub fn may_connect(&mut self, now: Instant) -> bool {
        let due = match self.due {
            Some(due) => due,
            None => {
                let lasted = now.saturating_duration_since(self.attempted_at) >= LASTING;
                let delay = if lasted { Duration::ZERO } else { self.delay };
                self.delay = (2 * delay).clamp(FIRST_DELAY, MAX_DELAY);
                *self.due.insert(now + delay)
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
}
