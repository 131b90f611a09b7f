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
//! | no keepalive awaits its reply | nothing has arrived for an interval | a keepalive |
//! | a keepalive awaits its reply | nothing has arrived for three intervals | the stream is dead |
//! | any | another caller wants the place of the other end: [`Keepalive::ask`] | a keepalive at once |
//! | asked for another caller | nothing has arrived for its time | the stream is dead |
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
    /// The stream is dead: nothing has arrived for this time.
    Dead(Duration),
}

/// The keepalives of one stream.
pub struct Keepalive {
    /// The interval, if keepalives are sent.
    interval: Option<Duration>,
    /// The last time at which something arrived, or at which this end did not read.
    heard: Duration,
    /// Whether a keepalive has no reply yet.
    awaits_reply: bool,
    is_known_link: bool,
    has_sent: bool,
    /// The other end is asked for another caller: since this time, and for this time.
    question: Option<(Duration, Duration)>,
}

impl Keepalive {
    pub fn new(interval: Option<Duration>, now: Duration) -> Keepalive {
        let (awaits_reply, is_known_link, has_sent) = (false, false, false);
        Keepalive { interval, heard: now, awaits_reply, is_known_link, has_sent, question: None }
    }

    /// Begins with a new connection.
    #[cfg(feature = "program")]
    pub fn restart(&mut self, now: Duration) {
        *self = Keepalive::new(self.interval, now);
    }

    /// Bytes have arrived.
    pub fn heard(&mut self, now: Duration) {
        self.heard = now;
        self.question = None;
    }

    /// Asks the other end at once, for another caller: the stream is dead if nothing arrives for `patience`.
    /// Returns false if the other end must not be asked, or may rightly be silent.
    pub fn ask(&mut self, now: Duration, patience: Duration, situation: Situation) -> bool {
        let may_ask = self.interval.is_some() && self.may_send(situation);
        if !may_ask || !self.counts_silence(situation) {
            return false;
        }
        self.question.get_or_insert((now, patience));
        true
    }

    /// Returns true from [`ask`](Keepalive::ask) until something arrives.
    pub fn is_asked(&self) -> bool {
        self.question.is_some()
    }

    /// A keepalive of the other end has arrived.
    pub fn asked(&mut self) {
        self.is_known_link = true;
    }

    /// The reply to a keepalive has arrived.
    pub fn replied(&mut self) {
        self.awaits_reply = false;
    }

    /// Returns true if a keepalive has no reply yet.
    pub fn awaits_reply(&self) -> bool {
        self.awaits_reply
    }

    /// Returns what must be done now. After [`Action::Send`] the keepalive counts as sent.
    pub fn act(&mut self, now: Duration, situation: Situation) -> Action {
        let Some(interval) = self.interval else {
            return Action::Nothing;
        };
        if let Some((_, patience)) = self.question.filter(|(at, patience)| *at + *patience <= now) {
            return Action::Dead(patience);
        }
        if !situation.reads {
            self.heard = now;
        }
        let silence = now.saturating_sub(self.heard);
        if self.awaits_reply {
            let limit = interval * INTERVALS;
            let is_dead = silence >= limit && self.counts_silence(situation);
            return if is_dead { Action::Dead(limit) } else { Action::Nothing };
        }
        let is_due = !self.has_sent || silence >= interval || self.is_asked();
        if is_due && self.may_send(situation) {
            (self.awaits_reply, self.has_sent) = (true, true);
            return Action::Send;
        }
        Action::Nothing
    }

    fn may_send(&self, situation: Situation) -> bool {
        situation.settled || self.is_known_link
    }

    fn counts_silence(&self, situation: Situation) -> bool {
        self.is_known_link || !situation.is_busy
    }

    /// Returns the time at which [`act`](Keepalive::act) must be called, if nothing happens before.
    pub fn deadline(&self, now: Duration, situation: Situation) -> Option<Duration> {
        let interval = self.interval?;
        let question = self.question.map(|(at, patience)| at + patience);
        let due = match self.awaits_reply {
            true if !self.counts_silence(situation) => return question,
            true => self.heard + interval * INTERVALS,
            false if !self.may_send(situation) => return question,
            false => self.heard + interval,
        };
        // While this end does not read, the clock does not run.
        let due = if situation.reads { due } else { now + interval };
        Some(question.map_or(due, |question| due.min(question)))
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
        keepalive.replied();
        keepalive.heard(at(2));
        assert_eq!(keepalive.deadline(at(2), IDLE), Some(at(17)));
        assert_eq!(keepalive.act(at(16), IDLE), Action::Nothing);
        keepalive.heard(at(16));
        assert_eq!(keepalive.act(at(17), IDLE), Action::Nothing);
        assert_eq!(keepalive.act(at(31), IDLE), Action::Send);
        assert!(keepalive.awaits_reply());
    }

    #[test]
    fn stream_is_dead_after_three_silent_intervals() {
        let mut keepalive = keepalive();
        assert_eq!(keepalive.act(at(0), IDLE), Action::Send);
        assert_eq!(keepalive.deadline(at(0), IDLE), Some(at(45)));
        assert_eq!(keepalive.act(at(44), IDLE), Action::Nothing);
        keepalive.heard(at(44));
        assert_eq!(keepalive.act(at(88), IDLE), Action::Nothing);
        assert_eq!(keepalive.act(at(89), IDLE), Action::Dead(at(45)));
    }

    #[test]
    fn plain_server_may_be_silent_during_a_request_and_a_known_link_may_not() {
        let mut keepalive = keepalive();
        assert_eq!(keepalive.act(at(0), BUSY), Action::Send);
        assert_eq!(keepalive.act(at(1000), BUSY), Action::Nothing);
        assert_eq!(keepalive.deadline(at(1000), BUSY), None);
        keepalive.asked();
        assert_eq!(keepalive.act(at(1000), BUSY), Action::Dead(at(45)));
    }

    #[test]
    fn time_without_reading_is_no_silence() {
        let mut keepalive = keepalive();
        let away = Situation { reads: false, ..IDLE };
        assert_eq!(keepalive.act(at(0), IDLE), Action::Send);
        assert_eq!(keepalive.act(at(100), away), Action::Nothing);
        assert_eq!(keepalive.deadline(at(100), away), Some(at(115)));
        assert_eq!(keepalive.act(at(144), IDLE), Action::Nothing);
        assert_eq!(keepalive.act(at(145), IDLE), Action::Dead(at(45)));
    }

    #[test]
    fn other_end_is_asked_at_once_for_another_caller() {
        let mut keepalive = keepalive();
        assert_eq!(keepalive.act(at(0), IDLE), Action::Send);
        keepalive.replied();
        assert!(keepalive.ask(at(10), at(5), IDLE) && keepalive.is_asked());
        assert_eq!(keepalive.act(at(10), IDLE), Action::Send);
        assert_eq!(keepalive.deadline(at(10), IDLE), Some(at(15)));
        // Any byte is a sign of life.
        keepalive.heard(at(14));
        assert!(!keepalive.is_asked());
        assert_eq!(keepalive.act(at(15), IDLE), Action::Nothing);
        // A keepalive that is under way already asks too.
        assert!(keepalive.ask(at(20), at(5), IDLE));
        assert_eq!(keepalive.act(at(20), IDLE), Action::Nothing);
        // A further caller gives no more time.
        assert!(keepalive.ask(at(24), at(5), IDLE));
        assert_eq!(keepalive.act(at(24), IDLE), Action::Nothing);
        assert_eq!(keepalive.act(at(25), IDLE), Action::Dead(at(5)));
    }

    #[test]
    fn other_end_that_must_not_be_asked_is_not_asked_for_another_caller() {
        let mut off = Keepalive::new(None, Duration::ZERO);
        assert!(!off.ask(at(1), at(5), IDLE) && !off.is_asked());
        let mut keepalive = keepalive();
        assert!(!keepalive.ask(at(1), at(5), QUIET));
        // A plain server may be silent during a request.
        assert!(!keepalive.ask(at(1), at(5), BUSY));
        assert_eq!(keepalive.act(at(1), QUIET), Action::Nothing);
        keepalive.asked();
        assert!(keepalive.ask(at(1), at(5), BUSY));
        // A link has to reply, whatever it is asked meanwhile.
        assert_eq!(keepalive.act(at(1), BUSY), Action::Send);
        assert_eq!(keepalive.act(at(6), BUSY), Action::Dead(at(5)));
    }
}
