//! The log lines for a server that is away and comes back (`--reconnect`): two warnings for an outage, and the rest
//! with `-v`.

use std::fmt::{self, Display, Formatter};
use std::time::{Duration, Instant};

use crate::engine::EndReason;

/// A line of the log.
#[derive(Debug, PartialEq, Eq)]
pub enum OutageLine {
    Warning(String),
    Info(String),
}

/// The time without a server.
pub struct OutageLog {
    /// The time since which there is no session with the server, if there is none.
    since: Option<Instant>,
    /// True if a warning about this outage was logged.
    has_warned: bool,
    /// True if there was a session with the server before.
    has_been_reached: bool,
}

impl OutageLog {
    /// Returns the state before the first connection.
    pub fn new(now: Instant) -> OutageLog {
        OutageLog { since: Some(now), has_warned: false, has_been_reached: false }
    }

    /// Returns true if there was a session with the server before.
    pub fn has_been_reached(&self) -> bool {
        self.has_been_reached
    }

    /// A connection has been lost. `is_remarkable` is true if each such loss should be noticed.
    pub fn lost(&mut self, now: Instant, why: &impl Display, is_remarkable: bool) -> OutageLine {
        self.since.get_or_insert(now);
        self.line(format!("{why}: trying again"), is_remarkable)
    }

    /// The connection to a server has been lost.
    pub fn lost_to(&mut self, reason: &EndReason, now: Instant) -> OutageLine {
        self.lost(now, reason, matches!(reason, EndReason::Garbled(_)))
    }

    /// An attempt to connect has failed.
    pub fn failed(&mut self, why: &impl Display) -> OutageLine {
        self.line(format!("{why}: trying again"), false)
    }

    fn line(&mut self, text: String, is_remarkable: bool) -> OutageLine {
        match !std::mem::replace(&mut self.has_warned, true) || is_remarkable {
            true => OutageLine::Warning(text),
            false => OutageLine::Info(text),
        }
    }

    /// Requests can be sent to the server again, or for the first time. Returns the line for this, once.
    pub fn settled(&mut self, now: Instant) -> Option<OutageLine> {
        let lasted = Lasted(now.saturating_duration_since(self.since.take()?));
        let was_reached = std::mem::replace(&mut self.has_been_reached, true);
        let what = if was_reached { "back" } else { "connected" };
        Some(match std::mem::take(&mut self.has_warned) {
            true => OutageLine::Warning(format!("{what} after {lasted}")),
            false => OutageLine::Info(what.to_owned()),
        })
    }
}

/// A time in seconds, exact enough for its length.
struct Lasted(Duration);

impl Display for Lasted {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self.0.as_secs() {
            0..10 => write!(f, "{:.1} s", self.0.as_secs_f64()),
            seconds => write!(f, "{seconds} s"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use OutageLine::{Info, Warning};

    fn warning(text: &str) -> OutageLine {
        Warning(text.to_owned())
    }

    fn info(text: &str) -> OutageLine {
        Info(text.to_owned())
    }

    #[test]
    fn an_outage_has_two_warnings() {
        let start = Instant::now();
        let at = |seconds: f64| start + Duration::from_secs_f64(seconds);
        let mut outage = OutageLog::new(start);
        assert_eq!(outage.settled(at(0.01)), Some(info("connected")));
        for _ in 0..2 {
            assert_eq!(outage.lost(at(1.0), &"gone", false), warning("gone: trying again"));
            assert_eq!(outage.failed(&"refused"), info("refused: trying again"));
            assert_eq!(outage.lost(at(2.0), &"gone", false), info("gone: trying again"));
            assert_eq!(outage.lost(at(3.0), &"bad", true), warning("bad: trying again"));
            assert_eq!(outage.settled(at(13.9)), Some(warning("back after 12 s")));
            assert_eq!(outage.settled(at(14.0)), None);
        }
    }

    #[test]
    fn server_that_is_not_there_at_the_start_is_reported_once() {
        let start = Instant::now();
        let mut outage = OutageLog::new(start);
        assert!(!outage.has_been_reached());
        assert_eq!(outage.failed(&"refused"), warning("refused: trying again"));
        assert_eq!(outage.failed(&"refused"), info("refused: trying again"));
        let later = start + Duration::from_millis(340);
        assert_eq!(outage.settled(later), Some(warning("connected after 0.3 s")));
        assert!(outage.has_been_reached());
    }
}
