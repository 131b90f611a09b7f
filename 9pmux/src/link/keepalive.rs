//! Keepalives: a silent stream is asked whether the other end is there.
//!
//! A keepalive is a Tflush with tag 0xFFFE of NOTAG. It is legal in every dialect and needs no fid, and any
//! reply to it counts as life. It must only be sent to an end that is known to accept requests: while the post
//! is *settled*, which means that the other end has agreed to a version, or after a keepalive of the other end,
//! which makes it a *known link*.
//!
//! | state | event | action |
//! |---|---|---|
//! | any | settled, or a known link, for the first time | a keepalive, so that two links know each other |
//! | no keepalive is unanswered | nothing has arrived for an interval | a keepalive |
//! | a keepalive is unanswered | nothing has arrived for three intervals | the stream is dead |
//!
//! A plain server that handles one request at a time is rightly silent during a long one. So while the other
//! end is not a known link, the stream is not dead as long as the post has requests outstanding. Time during
//! which this end does not read the stream is no silence.

use std::time::Duration;

/// The number of silent intervals after which a stream is dead.
pub const INTERVALS: u32 = 3;

/// The state of a link that a keepalive depends on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Situation {
    /// The post has a version.
    pub settled: bool,
    /// The post has requests outstanding.
    pub is_busy: bool,
    /// This end reads the stream.
    pub reads: bool,
}

/// The action that is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    Nothing,
    /// Send a keepalive.
    Send,
    /// The stream is dead.
    Dead,
}

/// The keepalives of one stream.
pub struct Keepalive {
    /// The interval, if keepalives are sent.
    interval: Option<Duration>,
    /// The last time at which something arrived, or at which this end did not read.
    heard: Duration,
    /// Whether a keepalive has no reply yet.
    unanswered: bool,
    is_known_link: bool,
    has_sent: bool,
}

impl Keepalive {
    pub fn new(interval: Option<Duration>, now: Duration) -> Keepalive {
        Keepalive { interval, heard: now, unanswered: false, is_known_link: false, has_sent: false }
    }

    /// Bytes have arrived.
    pub fn heard(&mut self, now: Duration) {
        self.heard = now;
    }

    /// A keepalive of the other end has arrived.
    pub fn asked(&mut self) {
        self.is_known_link = true;
    }

    /// The reply to a keepalive has arrived.
    pub fn answered(&mut self) {
        self.unanswered = false;
    }

    /// Returns true if a keepalive has no reply yet.
    pub fn is_unanswered(&self) -> bool {
        self.unanswered
    }

    /// Returns what must be done now. After [`Action::Send`] the keepalive counts as sent.
    pub fn act(&mut self, now: Duration, situation: Situation) -> Action {
        let Some(interval) = self.interval else {
            return Action::Nothing;
        };
        if !situation.reads {
            self.heard = now;
        }
        let silence = now.saturating_sub(self.heard);
        if self.unanswered {
            let is_dead = silence >= interval * INTERVALS && self.counts_silence(situation);
            return if is_dead { Action::Dead } else { Action::Nothing };
        }
        let may_send = situation.settled || self.is_known_link;
        if may_send && (!self.has_sent || silence >= interval) {
            (self.unanswered, self.has_sent) = (true, true);
            return Action::Send;
        }
        Action::Nothing
    }

    fn counts_silence(&self, situation: Situation) -> bool {
        self.is_known_link || !situation.is_busy
    }

    /// Returns the time at which [`act`](Keepalive::act) must be called, if nothing happens before.
    pub fn deadline(&self, now: Duration, situation: Situation) -> Option<Duration> {
        let interval = self.interval?;
        let may_send = situation.settled || self.is_known_link;
        let due = match self.unanswered {
            true if !self.counts_silence(situation) => return None,
            true => self.heard + interval * INTERVALS,
            false if !may_send => return None,
            false => self.heard + interval,
        };
        // While this end does not read, the clock does not run.
        Some(if situation.reads { due } else { now + interval })
    }

    /// Returns the silence after which a stream is dead.
    pub fn limit(&self) -> Duration {
        self.interval.unwrap_or_default() * INTERVALS
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const INTERVAL: Duration = Duration::from_secs(15);
    const IDLE: Situation = Situation { settled: true, is_busy: false, reads: true };
    const BUSY: Situation = Situation { is_busy: true, ..IDLE };
    const QUIET: Situation = Situation { settled: false, ..IDLE };

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn keepalive() -> Keepalive {
        Keepalive::new(Some(INTERVAL), Duration::ZERO)
    }

    #[test]
    fn nothing_is_sent_to_an_end_that_has_not_agreed_to_anything() {
        let mut keepalive = keepalive();
        assert_eq!(keepalive.act(at(1000), QUIET), Action::Nothing);
        assert_eq!(keepalive.deadline(at(1000), QUIET), None);
        keepalive.asked();
        assert_eq!(keepalive.act(at(1000), QUIET), Action::Send);
        let mut off = Keepalive::new(None, Duration::ZERO);
        assert_eq!((off.act(at(9), IDLE), off.deadline(at(9), IDLE)), (Action::Nothing, None));
    }

    #[test]
    fn keepalive_is_sent_at_once_and_after_each_silent_interval() {
        let mut keepalive = keepalive();
        assert_eq!(keepalive.act(at(1), IDLE), Action::Send);
        assert_eq!(keepalive.act(at(1), IDLE), Action::Nothing);
        keepalive.answered();
        keepalive.heard(at(2));
        assert_eq!(keepalive.deadline(at(2), IDLE), Some(at(17)));
        assert_eq!(keepalive.act(at(16), IDLE), Action::Nothing);
        keepalive.heard(at(16));
        assert_eq!(keepalive.act(at(17), IDLE), Action::Nothing);
        assert_eq!(keepalive.act(at(31), IDLE), Action::Send);
        assert!(keepalive.is_unanswered());
    }

    #[test]
    fn stream_is_dead_after_three_silent_intervals() {
        let mut keepalive = keepalive();
        assert_eq!(keepalive.act(at(0), IDLE), Action::Send);
        assert_eq!(keepalive.deadline(at(0), IDLE), Some(at(45)));
        assert_eq!(keepalive.act(at(44), IDLE), Action::Nothing);
        keepalive.heard(at(44));
        assert_eq!(keepalive.act(at(88), IDLE), Action::Nothing);
        assert_eq!(keepalive.act(at(89), IDLE), Action::Dead);
        assert_eq!(keepalive.limit(), at(45));
    }

    #[test]
    fn plain_server_may_be_silent_during_a_request_and_a_known_link_may_not() {
        let mut keepalive = keepalive();
        assert_eq!(keepalive.act(at(0), BUSY), Action::Send);
        assert_eq!(keepalive.act(at(1000), BUSY), Action::Nothing);
        assert_eq!(keepalive.deadline(at(1000), BUSY), None);
        keepalive.asked();
        assert_eq!(keepalive.act(at(1000), BUSY), Action::Dead);
    }

    #[test]
    fn time_without_reading_is_no_silence() {
        let mut keepalive = keepalive();
        let away = Situation { reads: false, ..IDLE };
        assert_eq!(keepalive.act(at(0), IDLE), Action::Send);
        assert_eq!(keepalive.act(at(100), away), Action::Nothing);
        assert_eq!(keepalive.deadline(at(100), away), Some(at(115)));
        assert_eq!(keepalive.act(at(144), IDLE), Action::Nothing);
        assert_eq!(keepalive.act(at(145), IDLE), Action::Dead);
    }
}
