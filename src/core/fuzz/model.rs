//! The reference model: the expected effect of each event.
//!
//! It is written to be evidently correct, not fast, and does not depend on how the machine works.
//! It does not predict which caller receives or sends next, because the machine is free to choose
//! that. It checks what a choice must not change: which call each message belongs to, which tags
//! are in use, how a call can end, and the counts.
//!
//! While wake-ups are queued and not yet delivered, the model cannot know how a sleeping caller's
//! call has ended. It then allows every possible end and follows the machine.

use std::collections::BTreeMap;

use crate::core::BeginError;
use crate::core::tags::TagRange;

/// A call, or a message sent by hand. The same number identifies its request.
pub type Name = u32;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Blocking,
    NonBlocking,
    /// Not a call.
    Message,
}

/// The state of a call, as the model sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    TagWait,
    Tagged,
    /// It waits for the turn to send, or for the send proc.
    Queued,
    /// A sender has the turn for it, or is in `send` with its request.
    Sending,
    AwaitingReply,
    /// It has ended; its owner has not seen the result yet.
    Done,
    /// Its owner has left, or is about to leave. Its tag is still in use.
    Abandoned,
    Ended,
}

/// How a call ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CallEnd {
    Reply(u32),
    /// A message by hand has been sent.
    Sent,
    Ended,
    Failed(i32),
    EmptyRange,
    AllTagsAbandoned,
    NoMemory,
    TimedOut,
    /// The call could never finish and was abandoned.
    CannotFinish,
    Cancelled,
}

#[derive(Debug)]
pub struct Call {
    pub kind: Kind,
    pub state: State,
    pub tag: Option<u32>,
    /// True if the tag may be free already, because the call may have ended.
    tag_uncertain: bool,
    reply: Option<u32>,
    /// The ends that the owner may see if the call has ended; before that, the ends that may be
    /// queued.
    possible_ends: Vec<CallEnd>,
    /// The deadline has certainly passed (first field), or has possibly passed (second field),
    /// while another sender was sending the request. The second case is that the owner may have
    /// been woken to receive.
    expired_while_sending: bool,
    maybe_expired: bool,
    /// The call may have been abandoned.
    maybe_abandoned: bool,
    /// A completed non-blocking call that can be collected.
    finishable: bool,
}

impl Call {
    fn new(kind: Kind, state: State) -> Call {
        Call {
            kind,
            state,
            tag: None,
            tag_uncertain: false,
            reply: None,
            possible_ends: Vec::new(),
            expired_while_sending: false,
            maybe_expired: false,
            maybe_abandoned: false,
            finishable: false,
        }
    }
}

/// Whether the owner of a call that another sender is sending is asleep. It may have been woken to
/// receive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OwnerAsleep {
    No,
    Yes,
    Maybe,
}

/// The call that a message belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Recipient {
    Call(Name),
    Orphan,
    /// The call's, or an orphan.
    CallOrOrphan(Name),
}

/// Expected values of the statistics.
#[derive(Debug, Default)]
pub struct Counts {
    pub calls: u64,
    pub orphans: u64,
    pub tag_waits: u64,
    pub errors: u64,
    pub max_outstanding: usize,
}

#[derive(Default)]
pub struct Model {
    pub calls: Vec<Call>,
    pub counts: Counts,
    pub epoch: u32,
    pub hung_up: bool,
    /// True if memory for tags has ever run out.
    pub memory_was_out: bool,
    /// True if a tag may have been allocated or freed unobserved.
    tags_unobserved: bool,
    /// True if the range has ever changed: the model does not predict the order of tags then.
    range_has_changed: bool,
    /// Free tags that were in use before, each with the time at which it was freed.
    freed: BTreeMap<u32, u64>,
    /// Number of tags that have ever been in use.
    tags_used: u32,
    now: u64,
}

impl Model {
    /// Advances the time by one event.
    pub fn tick(&mut self, range_is_new: bool) {
        self.now += 1;
        self.range_has_changed |= range_is_new;
    }

    pub fn call(&mut self, name: Name) -> &mut Call {
        &mut self.calls[name as usize]
    }

    fn calls_with(&self, tag: u32) -> impl Iterator<Item = &Call> {
        self.calls.iter().filter(move |call| call.tag == Some(tag))
    }

    /// Returns the number of tags known to be in use, and whether that number is exact.
    pub fn outstanding(&self) -> (usize, bool) {
        let tags =
            self.calls.iter().filter(|call| call.tag.is_some() && !call.tag_uncertain).count();
        let doubt =
            self.calls.iter().any(|call| call.state == State::TagWait || call.tag_uncertain);
        (tags, !doubt)
    }

    /// The number of tags in use if every uncertain one is in use.
    pub fn max_possible_outstanding(&self) -> usize {
        let counts = |call: &&Call| call.tag.is_some() || call.state == State::TagWait;
        self.calls.iter().filter(counts).count()
    }

    pub fn finishable(&self) -> usize {
        self.calls.iter().filter(|call| call.finishable).count()
    }

    fn tagged_calls(&self) -> impl Iterator<Item = &Call> {
        self.calls.iter().filter(|call| call.tag.is_some())
    }

    /// Returns true if every tag in use may belong to an abandoned call.
    fn all_may_be_abandoned(&self) -> bool {
        let uncertain = |call: &Call| {
            call.state == State::Abandoned || call.maybe_abandoned || call.tag_uncertain
        };
        self.tagged_calls().next().is_some() && self.tagged_calls().all(uncertain)
    }

    fn free_in(&self, range: TagRange) -> u64 {
        let taken = self
            .tagged_calls()
            .filter(|call| call.tag.is_some_and(|tag| range.min <= tag && tag < range.max));
        u64::from(range.max.saturating_sub(range.min)).saturating_sub(taken.count() as u64)
    }

    /// Called after each event: notes how calls that wait for a tag may end.
    pub fn update_tag_waiters(&mut self, range: TagRange) {
        let all_may_be_abandoned = self.all_may_be_abandoned();
        for call in self.calls.iter_mut().filter(|call| call.state == State::TagWait) {
            let out = self.memory_was_out;
            for (is_possible, end) in [
                (all_may_be_abandoned, CallEnd::AllTagsAbandoned),
                (range.is_empty(), CallEnd::EmptyRange),
                (out, CallEnd::NoMemory),
            ] {
                if is_possible && !call.possible_ends.contains(&end) {
                    call.possible_ends.push(end);
                }
            }
        }
    }

    pub fn begun(&mut self, kind: Kind, range: TagRange, tag: Option<u32>) -> Name {
        assert!(!self.hung_up, "no call begins after the hang-up");
        assert!(!range.is_empty(), "no call begins without a valid tag");
        let name = self.calls.len() as Name;
        let state = if tag.is_some() { State::Tagged } else { State::TagWait };
        self.counts.calls += 1;
        if tag.is_none() {
            assert_eq!(kind, Kind::Blocking, "only a blocking call waits for a tag");
            self.check_no_tag_is_free(range);
            self.counts.tag_waits += 1;
            self.tags_unobserved = true;
        }
        self.calls.push(Call::new(kind, state));
        if let Some(tag) = tag {
            self.assign_tag(name, tag, range);
        }
        name
    }

    /// A message sent by hand is not a call and has no tag.
    pub fn message_begun(&mut self) -> Name {
        assert!(!self.hung_up);
        self.calls.push(Call::new(Kind::Message, State::Tagged));
        self.calls.len() as Name - 1
    }

    pub fn refused(&mut self, kind: Kind, range: TagRange, why: BeginError) {
        match why {
            BeginError::HungUp => assert!(self.hung_up),
            BeginError::EmptyRange => assert!(range.is_empty()),
            BeginError::NoTag => {
                self.check_no_tag_is_free(range);
                assert!(
                    kind == Kind::NonBlocking || self.all_may_be_abandoned(),
                    "the call could have waited"
                );
            }
            BeginError::NoMemory => assert!(self.memory_was_out, "there is memory"),
        }
    }

    /// Checks that all tags of the range are in use. A tag that may have been given to a tag waiter
    /// counts as used.
    fn check_no_tag_is_free(&self, range: TagRange) {
        let unseen = self.calls.iter().filter(|call| call.state == State::TagWait).count();
        let all_taken = self.free_in(range) <= unseen as u64;
        assert!(all_taken || self.memory_was_out, "a tag is free");
    }

    fn assign_tag(&mut self, name: Name, tag: u32, range: TagRange) {
        assert!(range.min <= tag && tag < range.max, "tag {tag} is out of range");
        assert!(self.calls_with(tag).all(|call| call.tag_uncertain), "tag {tag} has two owners");
        for call in self.calls.iter_mut().filter(|call| call.tag == Some(tag)) {
            call.tag = None;
            call.tag_uncertain = false;
        }
        self.check_tag_order(tag, range);
        self.call(name).tag = Some(tag);
        let (outstanding, _) = self.outstanding();
        self.counts.max_outstanding = self.counts.max_outstanding.max(outstanding);
    }

    /// Checks the order of tags. A freed tag goes to the end of the queue, so the tag that has been
    /// free for the longest time is allocated first, and only when 64 other tags are free, as long
    /// as unused tags remain.
    fn check_tag_order(&mut self, tag: u32, range: TagRange) {
        let since = self.freed.remove(&tag);
        if self.tags_unobserved || self.range_has_changed || self.memory_was_out {
            return;
        }
        let Some(since) = since else {
            self.tags_used += 1;
            return;
        };
        let first = self.freed.values().copied().min();
        assert!(first.is_none_or(|first| since <= first), "tag {tag} was reused too early");
        let all_used = self.tags_used == range.max - range.min;
        assert!(all_used || self.freed.len() >= 64, "tag {tag} was not quarantined");
    }

    /// Returns true if the maximum number of tags in use is known exactly.
    pub fn max_is_known(&self) -> bool {
        !self.tags_unobserved
    }

    /// A tag waiter has been given a tag. It may have owned it for some time.
    pub fn tagged(&mut self, name: Name, tag: u32, ranges: &[TagRange]) {
        assert_eq!(self.call(name).state, State::TagWait);
        self.call(name).state = State::Tagged;
        let uncertain = self.calls_with(tag).all(|call| call.tag_uncertain);
        assert!(uncertain, "tag {tag} has two owners");
        let valid = |range: &TagRange| range.min <= tag && tag < range.max;
        assert!(ranges.iter().any(valid), "tag {tag} was not valid at any time of the wait");
        self.freed.remove(&tag);
        self.call(name).possible_ends.clear();
        self.call(name).tag = Some(tag);
    }

    fn free_tag(&mut self, name: Name) {
        self.call(name).tag_uncertain = false;
        if let Some(tag) = self.call(name).tag.take() {
            self.freed.insert(tag, self.now);
        }
    }

    pub fn queued(&mut self, name: Name) {
        assert_eq!(self.call(name).state, State::Tagged);
        self.call(name).state = State::Queued;
    }

    /// A sender begins to send the request.
    pub fn turn(&mut self, name: Name) {
        let call = self.call(name);
        assert!(
            matches!(call.state, State::Tagged | State::Queued | State::Sending),
            "{name}: {:?}",
            call.state
        );
        call.state = State::Sending;
        // The call may have ended, as far as the model knew. It has not.
        call.tag_uncertain = false;
        call.possible_ends.clear();
    }

    /// The call has ended before it was sent. Returns its reply, which is an orphan.
    pub fn cancelled_unsent(&mut self, name: Name) -> Option<u32> {
        let reply = self.call(name).reply.take();
        self.counts.orphans += u64::from(reply.is_some());
        self.free_tag(name);
        self.counts.errors += 1;
        self.call(name).state = State::Ended;
        reply
    }

    /// The `send` of the request, which began in `epoch`, has returned.
    pub fn sent(&mut self, name: Name, result: Result<(), i32>, epoch: u32, asleep: OwnerAsleep) {
        let ended = epoch != self.epoch || self.hung_up;
        let call = self.call(name);
        assert_eq!(call.state, State::Sending);
        let end = match (call.reply, result, call.kind) {
            // A reply takes precedence over the result of `send`.
            (Some(reply), _, kind) => {
                call.finishable = kind == Kind::NonBlocking;
                CallEnd::Reply(reply)
            }
            (None, Err(failure), _) => CallEnd::Failed(failure),
            (None, Ok(()), Kind::Message) => CallEnd::Sent,
            (None, Ok(()), _) if ended => CallEnd::Ended,
            (None, Ok(()), _) if call.expired_while_sending && asleep == OwnerAsleep::Yes => {
                call.possible_ends = vec![CallEnd::TimedOut];
                call.state = State::Abandoned;
                return;
            }
            (None, Ok(()), _) => {
                call.maybe_abandoned =
                    (call.maybe_expired || call.expired_while_sending) && asleep != OwnerAsleep::No;
                call.state = State::AwaitingReply;
                return;
            }
        };
        self.end_with(name, vec![end]);
    }

    fn end_with(&mut self, name: Name, possible_ends: Vec<CallEnd>) {
        self.free_tag(name);
        let call = self.call(name);
        call.state = State::Done;
        call.possible_ends = possible_ends;
    }

    /// Returns true if the message with this tag is the reply that a blocking caller waits for.
    pub fn is_awaited(&self, tag: Option<u32>) -> bool {
        let waits = |call: &Call| call.kind == Kind::Blocking && call.state == State::AwaitingReply;
        tag.is_some() && self.calls.iter().any(|call| call.tag == tag && waits(call))
    }

    pub fn has_reply(&self, name: Name) -> bool {
        self.calls.get(name as usize).is_some_and(|call| call.reply.is_some())
    }

    /// Returns the call that the message with this tag belongs to.
    pub fn recipient(&self, tag: Option<u32>, sure: bool) -> Recipient {
        let mut recipient = Recipient::Orphan;
        for (name, call) in (0..).zip(&self.calls) {
            if call.tag.is_none() || call.tag != tag {
                continue;
            }
            recipient = match call.state {
                State::Sending | State::AwaitingReply if call.maybe_abandoned => {
                    Recipient::CallOrOrphan(name)
                }
                State::Sending | State::AwaitingReply => Recipient::Call(name),
                // It may have been granted the turn without having been woken yet.
                State::Queued if !sure => Recipient::CallOrOrphan(name),
                _ => Recipient::Orphan,
            };
            if !call.tag_uncertain {
                break;
            }
        }
        recipient
    }

    /// The message is the reply to this call.
    pub fn reply_arrived(&mut self, name: Name, reply: u32) {
        let call = self.call(name);
        assert_eq!(call.reply, None);
        call.reply = Some(reply);
        call.maybe_abandoned = false;
        match call.state {
            State::AwaitingReply => {
                call.finishable = call.kind == Kind::NonBlocking;
                self.end_with(name, vec![CallEnd::Reply(reply)]);
            }
            // The call completes when `send` returns.
            State::Queued => {
                call.state = State::Sending;
                self.free_tag(name);
            }
            _ => self.free_tag(name),
        }
    }

    /// The message is an orphan. The tag is freed if it belonged to an abandoned call.
    pub fn orphan_arrived(&mut self, tag: Option<u32>) {
        self.counts.orphans += 1;
        for name in 0..self.calls.len() as Name {
            let call = self.call(name);
            if call.tag.is_none() || call.tag != tag {
                continue;
            }
            if call.state == State::Abandoned {
                self.free_tag(name);
                if self.call(name).possible_ends.is_empty() {
                    self.call(name).state = State::Ended;
                } else {
                    self.call(name).state = State::Done;
                }
            } else if call.maybe_abandoned {
                call.maybe_abandoned = false;
                self.end_with(name, vec![CallEnd::TimedOut]);
            }
        }
    }

    /// The connection has ended: every call that is sent, queued or abandoned has ended.
    pub fn connection_ended(&mut self, sure: bool, asleep: impl Fn(Name) -> bool) {
        self.epoch += 1;
        self.tags_unobserved |= !sure;
        for name in 0..self.calls.len() as Name {
            let call = self.call(name);
            match call.state {
                State::AwaitingReply => {
                    let mut possible_ends = vec![CallEnd::Ended];
                    if std::mem::take(&mut call.maybe_abandoned) {
                        possible_ends.push(CallEnd::TimedOut);
                    }
                    call.finishable = call.kind == Kind::NonBlocking;
                    self.end_with(name, possible_ends);
                }
                // It may have been granted the turn.
                State::Queued if !sure && asleep(name) => {
                    call.tag_uncertain = true;
                    call.possible_ends.push(CallEnd::Ended);
                }
                State::Queued => self.end_with(name, vec![CallEnd::Ended]),
                State::Abandoned => {
                    self.free_tag(name);
                    let call = self.call(name);
                    call.state =
                        if call.possible_ends.is_empty() { State::Ended } else { State::Done };
                }
                _ => {}
            }
        }
    }

    /// As `connection_ended`, for good: tag waiters get no tag.
    pub fn hang_up(&mut self, sure: bool, asleep: impl Fn(Name) -> bool) {
        self.hung_up = true;
        for call in self.calls.iter_mut().filter(|call| call.state == State::TagWait) {
            call.possible_ends.push(CallEnd::Ended);
        }
        self.connection_ended(sure, asleep);
    }

    /// A call that has its tag asks for the turn after the hang-up.
    pub fn hung_up_at_turn(&mut self, name: Name) {
        assert!(self.hung_up && self.call(name).state == State::Tagged);
        self.end_with(name, vec![CallEnd::Ended]);
    }

    /// The deadline of a sleeping caller has passed.
    pub fn deadline_passed_asleep(&mut self, name: Name, sure: bool) {
        self.tags_unobserved |= !sure;
        let call = self.call(name);
        match call.state {
            State::TagWait => {
                call.possible_ends.push(CallEnd::TimedOut);
                if sure {
                    call.state = State::Done;
                    call.possible_ends = vec![CallEnd::TimedOut];
                }
            }
            State::Queued if sure => self.end_with(name, vec![CallEnd::TimedOut]),
            State::Queued => {
                call.tag_uncertain = true;
                call.possible_ends.push(CallEnd::TimedOut);
            }
            State::Sending if sure => call.expired_while_sending = true,
            State::Sending => call.maybe_expired = true,
            State::AwaitingReply if sure => {
                call.state = State::Abandoned;
                call.possible_ends = vec![CallEnd::TimedOut];
            }
            State::AwaitingReply => call.maybe_abandoned = true,
            _ => {}
        }
    }

    /// The owner has been woken to receive or to continue, so the call was not abandoned.
    pub fn continued(&mut self, name: Name) {
        let call = self.call(name);
        call.maybe_abandoned = false;
        if matches!(call.state, State::Queued | State::AwaitingReply) {
            call.tag_uncertain = false;
            call.possible_ends.clear();
        }
    }

    /// A non-blocking call is cancelled. Returns its reply, now an orphan, if it has arrived.
    pub fn abandon(&mut self, name: Name, end: CallEnd) -> Option<u32> {
        let call = self.call(name);
        assert_eq!(call.kind, Kind::NonBlocking);
        call.finishable = false;
        let reply = call.reply.take();
        match call.state {
            State::Done => call.state = State::Ended,
            State::AwaitingReply => {
                call.state = State::Abandoned;
                call.possible_ends.clear();
            }
            state => panic!("a call cannot be abandoned in {state:?}"),
        }
        self.counts.orphans += u64::from(reply.is_some());
        self.counts.errors += u64::from(end == CallEnd::CannotFinish);
        reply
    }

    /// The call has completed. Its owner has been woken, and acknowledges the wake-up later.
    pub fn completed_before_wake(&mut self, name: Name, end: CallEnd, range: TagRange) {
        self.update_tag_waiters(range);
        let call = self.call(name);
        assert!(
            call.possible_ends.contains(&end),
            "{name} may end with {:?}, got {end:?}",
            call.possible_ends
        );
        assert!(matches!(call.state, State::Done | State::TagWait | State::Queued));
        call.maybe_abandoned = false;
        self.end_with(name, vec![end]);
    }

    /// The owner has control back, with this end.
    pub fn completed(&mut self, name: Name, end: CallEnd, range: TagRange) {
        self.update_tag_waiters(range);
        let call = self.call(name);
        match (call.state, end) {
            // Abandoned just now by its awake owner, or earlier, unobserved.
            (State::AwaitingReply, CallEnd::TimedOut) => call.state = State::Abandoned,
            (State::Abandoned, CallEnd::TimedOut) => assert!(call.possible_ends.contains(&end)),
            (State::Done, _) => {
                assert!(
                    call.possible_ends.contains(&end),
                    "{name} may end with {:?}, got {end:?}",
                    call.possible_ends
                );
                call.state = State::Ended;
            }
            (State::TagWait | State::Queued, _) if call.possible_ends.contains(&end) => {
                self.free_tag(name);
                self.call(name).state = State::Ended;
            }
            (state, _) => panic!("{name} is {state:?}, got {end:?}"),
        }
        let call = self.call(name);
        call.maybe_abandoned = false;
        call.possible_ends.clear();
        call.finishable = false;
        let is_error =
            !matches!(end, CallEnd::Reply(_) | CallEnd::Sent) && call.kind != Kind::Message;
        self.counts.errors += u64::from(is_error);
    }

    /// An awake owner reports that its deadline has passed. The call ends if it is not being sent
    /// by another sender.
    pub fn deadline_passed_awake(&mut self, name: Name) {
        let call = self.call(name);
        match call.state {
            State::TagWait => call.possible_ends.push(CallEnd::TimedOut),
            State::Queued => self.end_with(name, vec![CallEnd::TimedOut]),
            State::Sending => call.expired_while_sending = true,
            _ => {}
        }
    }
}
