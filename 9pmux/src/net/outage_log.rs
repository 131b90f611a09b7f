//! The log lines for a server that is away and comes back (`--reconnect`): two warnings for an outage, and the rest
//! with `-v`.
//!
//! A server in front of which something else accepts connections, such as ssh or a proxy, may be away although it
//! can be connected to. So the server is back when it has agreed to a version, or after [`LASTING`].

use std::fmt::{self, Display, Formatter};
use std::time::{Duration, Instant};

use crate::engine::EndReason;

/// A connection without a version that has lasted so long counts as one to the server.
const LASTING: Duration = Duration::from_secs(5);

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
    /// The time since which requests can be sent again.
    settled_at: Option<Instant>,
    /// True if a warning about this outage was logged.
    has_warned: bool,
    /// True if there was a session with the server before.
    has_been_reached: bool,
}

impl OutageLog {
    /// Returns the state before the first connection.
    pub fn new(now: Instant) -> OutageLog {
        let (since, settled_at) = (Some(now), None);
        OutageLog { since, settled_at, has_warned: false, has_been_reached: false }
    }

    /// Returns true if there was a session with the server before.
    pub fn has_been_reached(&self) -> bool {
        self.has_been_reached
    }

    /// A connection has been lost. `is_remarkable` is true if each such loss should be noticed.
    pub fn lost(&mut self, now: Instant, why: &impl Display, is_remarkable: bool) -> OutageLine {
        self.since.get_or_insert(now);
        self.settled_at = None;
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

    /// Requests can be sent to the server again, or for the first time.
    pub fn settled(&mut self, now: Instant) {
        self.settled_at.get_or_insert(now);
    }

    /// Returns the time at which `ended` must be called at the latest, if any.
    pub fn deadline(&self) -> Option<Instant> {
        self.since.and(self.settled_at).map(|at| at + LASTING)
    }

    /// Returns the line for the end of the outage, once, if it has ended. `has_version` is true if the server has
    /// agreed to a version on this connection.
    pub fn ended(&mut self, now: Instant, has_version: bool) -> Option<OutageLine> {
        let (since, settled_at) = (self.since?, self.settled_at?);
        if !has_version && now.saturating_duration_since(settled_at) < LASTING {
            return None;
        }
        self.since = None;
        let lasted = Lasted(settled_at.saturating_duration_since(since));
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
        outage.settled(at(0.01));
        assert_eq!(outage.ended(at(0.01), true), Some(info("connected")));
        for _ in 0..2 {
            assert_eq!(outage.lost(at(1.0), &"gone", false), warning("gone: trying again"));
            assert_eq!(outage.failed(&"refused"), info("refused: trying again"));
            assert_eq!(outage.lost(at(2.0), &"gone", false), info("gone: trying again"));
            assert_eq!(outage.lost(at(3.0), &"bad", true), warning("bad: trying again"));
            assert_eq!(outage.ended(at(13.0), true), None);
            outage.settled(at(13.9));
            assert_eq!(outage.ended(at(13.9), true), Some(warning("back after 12 s")));
            assert_eq!(outage.ended(at(14.0), true), None);
            assert_eq!(outage.deadline(), None);
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
        outage.settled(later);
        assert_eq!(outage.ended(later, true), Some(warning("connected after 0.3 s")));
        assert!(outage.has_been_reached());
    }

    #[test]
    fn connection_without_a_version_counts_when_it_has_lasted() {
        let start = Instant::now();
        let at = |seconds: u64| start + Duration::from_secs(seconds);
        let mut outage = OutageLog::new(start);
        for seconds in [1, 2] {
            outage.settled(at(seconds));
            assert_eq!(outage.ended(at(seconds), false), None);
            assert_eq!(outage.deadline(), Some(at(seconds + 5)));
            outage.lost(at(seconds + 1), &"gone", false);
            assert_eq!(outage.deadline(), None);
        }
        outage.settled(at(3));
        assert_eq!(outage.ended(at(7), false), None);
        assert_eq!(outage.ended(at(8), false), Some(warning("connected after 3.0 s")));
    }
}
