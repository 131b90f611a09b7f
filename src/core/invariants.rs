//! The invariants of the machine, checked after every event of the tests, the simulation and the fuzz
//! targets. They hold whenever the driver releases the lock.
//!
//! Slots:
//!
//! 1. The list of free slots holds exactly the slots whose state is `Free`. All other slots are counted
//!    as live.
//!
//! Tags:
//!
//! 2. A call has a tag in each state that has a place for one. A message has none.
//! 3. The tag pool names the call as the owner of its tag, and has no allocated tag without a call.
//!
//! States:
//!
//! 4. A call is `Granted` exactly while the wake-up that gives its owner the turn is queued.
//! 5. Only a call with a deadline can have expired while it is being sent. A call is `Delivered` only
//!    while its timer is armed.
//!
//! Queues:
//!
//! 6. The links of a queue agree in both directions, and a call is in at most one queue beside the wake
//!    queue.
//! 7. A call is in the queue that belongs to its state, and in no other:
//!    - tag waiters: a sleeping call that waits for a tag;
//!    - send queue: a queued call;
//!    - proxy sends: a call that is being sent, unless its owner has the turn or its wake-up says that
//!      the message has been sent;
//!    - reply waiters, with or without a deadline: a sleeping blocking call or message that awaits its
//!      reply;
//!    - future waiters: a non-blocking call that awaits its reply and has a future.
//! 8. A sleeping owner is in one of these queues, other than the future waiters, or has a queued
//!    wake-up: an event can wake it.
//!
//! Wake-ups:
//!
//! 9. The wake queue holds exactly the calls that are marked so. Each has a wake handle, except a
//!    non-blocking call whose future must poll. The reason of the wake-up fits the state of the call.
//! 10. A proc with a queued wake-up is asleep, and the machine knows that a proc must be woken.
//! 11. A drain waiter does not wait while the machine is idle, except until its wake-up is collected.
//!
//! Deadlines:
//!
//! 12. Only a blocking call has a deadline, and only a call with a deadline has an armed timer. The timer is
//!     armed while the owner sleeps, and after its wake-up until the owner acknowledges it, which happens only
//!     if the call has ended or is abandoned.
//!
//! The receiver role:
//!
//! 13. The muxer's call waits for a tag, has just got one, or has failed to; or its request is queued or
//!     sent by another sender; or it awaits its reply or has completed. It is not non-blocking. The
//!     owner is awake, or the wake-up that gives it the role is queued.
//! 14. A polling receiver has a deadline, is asleep and has no queued wake-up.
//! 15. The receive proc is present if it has the role.
//! 16. While the role is unassigned, no caller waits for a reply, and none waits for a tag that an
//!     expected reply may free, unless the receive proc is about to ask for the role: it runs, and is
//!     awake or about to be woken.
//!
//! The turn to send:
//!
//! 17. The call of the holder of the turn is being sent by its owner. Or its own request has been sent,
//!     the owner sends for other callers, and the call awaits its reply or has completed. The owner is
//!     awake, or the wake-up that gives it the turn is queued.
//! 18. The send proc is present if it has the turn.
//! 19. While the turn is unassigned, the send queue is empty, except that the receiver's request may be
//!     in it.
//!
//! Counters:
//!
//! 20. `tagged_unsent` is the number of calls, without messages, that are tagged, queued, granted the
//!     turn, or being sent without a reply.
//! 21. `abandoned` is the number of abandoned calls.
//! 22. `finishable` is the number of completed non-blocking calls.
//! 23. `max_outstanding` is at least the number of allocated tags.
//!
//! Ends:
//!
//! 24. While every allocated tag belongs to an abandoned call, no tag waiter sleeps.
//! 25. Once the connection has been hung up, no caller waits for a tag, for the turn or for a reply.

use super::call::{Call, Kind, Protocol, WakeReason};
use super::call_state::{CallState, CallTag, StateKind};
use super::machine::Machine;
use super::procs::ProcKind;
use super::roles::{Muxer, Sender};

/// The queues of calls, other than the wake queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Queue {
    Tag,
    Send,
    ProxySend,
    Reply,
    TimedReply,
    Future,
}

/// Counts of calls.
#[derive(Default)]
struct Totals {
    live: u32,
    with_tag: usize,
    tagged_unsent: u32,
    abandoned: u32,
    finishable: u32,
}

impl<P: Protocol, H> Machine<P, H> {
    /// Checks the invariants. The state must be as the driver leaves it when it releases the lock.
    ///
    /// # Panics
    /// An invariant does not hold.
    pub fn check_invariants(&self) {
        let queues = self.check_queues();
        let mut totals = Totals::default();
        for id in 0..self.calls.slot_count() {
            let Some(call) = self.calls.get(id) else { continue };
            if call.is(StateKind::Free) {
                check_free(id, call);
                continue;
            }
            totals.add(call);
            self.check_tag(id, call);
            check_state(id, call);
            self.check_queue(id, call, queues.get(id as usize).copied().flatten());
            check_wakeup(id, call);
            check_timer(id, call);
        }
        self.check_totals(&totals);
        self.check_procs();
        self.check_role();
        self.check_turn();
        self.check_ends();
    }

    /// Returns the queue that each call is in, by slot.
    fn check_queues(&self) -> Vec<Option<Queue>> {
        let calls = &self.calls;
        let [untimed, timed] = self.reply_waiters.members(calls);
        let mut queues = vec![None; calls.slot_count() as usize];
        for (queue, members) in [
            (Queue::Tag, self.tags.waiters(calls)),
            (Queue::Send, self.send_queue.members(calls)),
            (Queue::ProxySend, self.proxy_sends.members(calls)),
            (Queue::Reply, untimed),
            (Queue::TimedReply, timed),
            (Queue::Future, self.future_waiters.members(calls)),
        ] {
            for id in members {
                let before = queues.get_mut(id as usize).and_then(|place| place.replace(queue));
                assert_eq!(before, None, "6: call {id} is in two queues, also in {queue:?}");
            }
        }
        let free = calls.free_slots();
        for id in &free {
            let is_free = calls.get(*id).is_some_and(|call| call.is(StateKind::Free));
            assert!(is_free, "1: slot {id} is in use");
        }
        assert_eq!(free.len(), (calls.slot_count() - calls.live()) as usize, "1: free slots");
        let to_wake = self.wake_queue.members(calls);
        let marked = |id: &u32| calls.get(*id).is_some_and(|call| call.wake_queued);
        assert!(to_wake.iter().all(marked), "9: the wake queue holds an unmarked call");
        let all = (0..calls.slot_count()).filter(marked).count();
        assert_eq!(to_wake.len(), all, "9: a marked call is not in the wake queue");
        queues
    }

    fn check_tag(&self, id: u32, call: &Call<P, H>) {
        let tag = call.state().tag();
        assert_eq!(tag != CallTag::NONE, must_have_tag(call), "2: {}", Shown(id, call));
        if let Some(tag) = tag.get() {
            assert_eq!(self.tags.owner(tag), Some(id), "3: the owner of tag {tag}");
        }
    }

    fn check_queue(&self, id: u32, call: &Call<P, H>, queue: Option<Queue>) {
        let expected = self.expected_queue(id, call);
        assert_eq!(queue, expected, "7: {}", Shown(id, call));
        let is_asleep = call.wake_handle.is_some() && !call.wake_queued;
        let can_be_woken = queue.is_some_and(|queue| queue != Queue::Future);
        assert!(!is_asleep || can_be_woken, "8: {}", Shown(id, call));
    }

    fn expected_queue(&self, id: u32, call: &Call<P, H>) -> Option<Queue> {
        let is_asleep = call.wake_handle.is_some() && !call.wake_queued;
        match (call.state().kind(), call.kind) {
            (StateKind::TagWait, _) => is_asleep.then_some(Queue::Tag),
            (StateKind::Queued, _) => Some(Queue::Send),
            (StateKind::Sending | StateKind::SendingReplied, _) => {
                let is_settled = call.wake_queued && call.wake_reason == WakeReason::MessageSent;
                let is_own = self.turn.is(Sender::Call(id));
                (!is_settled && !is_own).then_some(Queue::ProxySend)
            }
            (StateKind::AwaitingReply, Kind::NonBlocking(_)) => {
                call.has_future.then_some(Queue::Future)
            }
            (StateKind::AwaitingReply, _) if !is_asleep => None,
            (StateKind::AwaitingReply, _) if call.has_deadline => Some(Queue::TimedReply),
            (StateKind::AwaitingReply, _) => Some(Queue::Reply),
            _ => None,
        }
    }

    fn check_totals(&self, totals: &Totals) {
        assert_eq!(totals.live, self.calls.live(), "1: live slots");
        assert_eq!(totals.with_tag, self.tags.allocated(), "3: allocated tags");
        assert_eq!(totals.tagged_unsent, self.counts.tagged_unsent, "20: tagged_unsent");
        assert_eq!(totals.abandoned, self.counts.abandoned, "21: abandoned");
        assert_eq!(totals.finishable, self.counts.finishable, "22: finishable");
        assert!(self.stats.max_outstanding >= self.tags.allocated(), "23: max_outstanding");
    }

    fn check_procs(&self) {
        self.procs.check();
        let is_proc = self.role.is(Muxer::Proc);
        assert!(
            !is_proc || self.procs.is_present(ProcKind::Receive),
            "15: an absent proc has the role"
        );
        let is_proc = self.turn.is(Sender::Proc);
        assert!(
            !is_proc || self.procs.is_present(ProcKind::Send),
            "18: an absent proc has the turn"
        );
    }

    fn check_role(&self) {
        match self.role.holder() {
            Muxer::Call(id) => {
                let call = self.calls.get(id).expect("13: the muxer has a call");
                let is_granted = call.wake_queued && call.wake_reason == WakeReason::Receive;
                assert!(call.wake_handle.is_none() || is_granted, "13: {}", Shown(id, call));
                let fits = !matches!(call.state(), CallState::Free | CallState::Abandoned { .. })
                    && !matches!(call.kind, Kind::NonBlocking(_))
                    && !self.turn.is(Sender::Call(id));
                assert!(fits, "13: {}", Shown(id, call));
            }
            Muxer::Polling(id) => {
                let call = self.calls.get(id).expect("14: the polling receiver has a call");
                let is_asleep = call.wake_handle.is_some() && !call.wake_queued;
                assert!(call.has_deadline && is_asleep, "14: {}", Shown(id, call));
            }
            Muxer::Unassigned => self.check_unassigned(),
            Muxer::Transient | Muxer::Proc => {}
        }
    }

    fn check_unassigned(&self) {
        if self.procs.is_running(ProcKind::Receive) {
            assert!(!self.procs.is_asleep(ProcKind::Receive), "16: the receive proc sleeps on");
            return;
        }
        let waiting = !self.reply_waiters.is_empty();
        assert!(!waiting, "16: no caller receives although a call waits for a reply");
        let useful = self.is_useful_reply_due() && self.tags.has_waiters();
        assert!(!useful, "16: no caller receives although a call waits for a tag");
    }

    fn check_turn(&self) {
        match self.turn.holder() {
            Sender::Call(id) => {
                let call = self.calls.get(id).expect("17: the holder of the turn has a call");
                let is_granted = call.wake_queued && call.wake_reason == WakeReason::Turn;
                assert!(call.wake_handle.is_none() || is_granted, "17: {}", Shown(id, call));
                let has_sent = call.is(StateKind::AwaitingReply) || call.is(StateKind::Done);
                let helps = has_sent && matches!(call.kind, Kind::Blocking);
                let fits = call.state().kind().is_sending() || helps;
                assert!(fits, "17: {}", Shown(id, call));
            }
            Sender::Unassigned => {
                for id in self.send_queue.members(&self.calls) {
                    let holder = self.role.holder();
                    assert_eq!(holder, Muxer::Call(id), "19: call {id} could have the turn");
                }
            }
            Sender::Proc => {}
        }
    }

    fn check_ends(&self) {
        let waits = self.tags.has_waiters();
        assert!(!waits || !self.all_tags_abandoned(), "24: no tag of a waiter can become free");
        if self.drain.is_hung_up() {
            assert!(!waits && self.send_queue.is_empty(), "25: a caller waits to send");
            let waits = !self.reply_waiters.is_empty();
            assert!(!waits && self.future_waiters.is_empty(), "25: a caller waits for a reply");
        }
    }

    /// Checks that no drain waiter has been forgotten. Must be called after the wake-ups have been
    /// collected.
    ///
    /// # Panics
    /// The invariant does not hold.
    pub fn check_drained(&self) {
        assert!(!self.drain.has_waiter() || !self.is_idle(), "11: the drain waiter sleeps on");
    }
}

impl Totals {
    fn add<P: Protocol, H>(&mut self, call: &Call<P, H>) {
        self.live += 1;
        self.with_tag += usize::from(call.state().tag() != CallTag::NONE);
        let is_unsent = matches!(
            call.state(),
            CallState::Tagged { .. }
                | CallState::Queued { .. }
                | CallState::Granted { .. }
                | CallState::Sending { .. }
        );
        self.tagged_unsent += u32::from(is_unsent && !call.is_message());
        self.abandoned += u32::from(call.is(StateKind::Abandoned));
        let is_finished = call.is(StateKind::Done);
        let is_nonblocking = matches!(call.kind, Kind::NonBlocking(_));
        self.finishable += u32::from(is_nonblocking && is_finished);
    }
}

fn must_have_tag<P: Protocol, H>(call: &Call<P, H>) -> bool {
    match call.state() {
        CallState::Tagged { .. }
        | CallState::Queued { .. }
        | CallState::Granted { .. }
        | CallState::Sending { .. }
        | CallState::AwaitingReply { .. }
        | CallState::Abandoned { .. } => !call.is_message(),
        CallState::Free
        | CallState::TagWait
        | CallState::SendingReplied { .. }
        | CallState::Done(_)
        | CallState::StartFailed(_)
        | CallState::Delivered => false,
    }
}

fn check_free<P: Protocol, H>(id: u32, call: &Call<P, H>) {
    assert!(call.wake_handle.is_none() && !call.wake_queued, "1: {}", Shown(id, call));
}

fn check_state<P: Protocol, H>(id: u32, call: &Call<P, H>) {
    let is_granted = call.wake_queued && call.wake_reason == WakeReason::Turn;
    assert_eq!(call.is(StateKind::Granted), is_granted, "4: {}", Shown(id, call));
    assert!(!is_expired(call) || call.has_deadline, "5: {}", Shown(id, call));
    let is_delivered = call.is(StateKind::Delivered);
    assert!(!is_delivered || call.timer_armed, "5: {}", Shown(id, call));
}

fn is_expired<P: Protocol, H>(call: &Call<P, H>) -> bool {
    matches!(call.state(), CallState::Sending { expired: true, .. })
}

fn check_wakeup<P: Protocol, H>(id: u32, call: &Call<P, H>) {
    if !call.wake_queued {
        return;
    }
    let is_poll = call.wake_reason == WakeReason::PollFuture;
    assert_eq!(call.wake_handle.is_none(), is_poll, "9: {}", Shown(id, call));
    let state = call.state().kind();
    let is_nonblocking = matches!(call.kind, Kind::NonBlocking(_));
    let is_sent = matches!(state, StateKind::AwaitingReply | StateKind::Done);
    let fits = match call.wake_reason {
        WakeReason::Completed => {
            matches!(state, StateKind::Done | StateKind::StartFailed | StateKind::Abandoned)
        }
        WakeReason::Busy => state == StateKind::Done && call.is_message(),
        WakeReason::Tag => state == StateKind::Tagged,
        WakeReason::Turn => state == StateKind::Granted,
        WakeReason::Sent | WakeReason::PollFuture => is_nonblocking && is_sent && !call.has_future,
        WakeReason::MessageSent => call.is_message() && state == StateKind::Sending,
        // The role was given to the call of a sleeping owner, which may have completed since.
        WakeReason::Receive => !matches!(state, StateKind::Free | StateKind::Abandoned),
    };
    assert!(fits, "9: {}", Shown(id, call));
}

fn check_timer<P: Protocol, H>(id: u32, call: &Call<P, H>) {
    let is_blocking = matches!(call.kind, Kind::Blocking);
    assert!(is_blocking || !call.has_deadline, "12: {}", Shown(id, call));
    assert!(call.has_deadline || !call.timer_armed, "12: {}", Shown(id, call));
    if call.has_deadline {
        let is_asleep = call.wake_handle.is_some();
        assert!(call.timer_armed || !is_asleep, "12: {}", Shown(id, call));
        let has_ended = matches!(
            call.state(),
            CallState::Done(_) | CallState::Delivered | CallState::Abandoned { .. }
        );
        assert!(!call.timer_armed || is_asleep || has_ended, "12: {}", Shown(id, call));
    }
}

/// A call in the message of a failure.
struct Shown<'a, P: Protocol, H>(u32, &'a Call<P, H>);

impl<P: Protocol, H> std::fmt::Display for Shown<'_, P, H> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Shown(id, call) = self;
        let kind = match call.kind {
            Kind::Blocking => "blocking",
            Kind::NonBlocking(_) => "non-blocking",
            Kind::Message => "message",
        };
        write!(f, "call {id}, {kind}, {:?}, {:?}", call.state().kind(), call.state().tag())?;
        let wakeup = call.wake_queued.then_some(call.wake_reason);
        write!(f, ", wake-up {wakeup:?}")?;
        for (is_so, what) in [
            (call.wake_handle.is_some(), "wake handle"),
            (call.has_deadline, "deadline"),
            (call.timer_armed, "armed timer"),
            (is_expired(call), "expired"),
            (call.has_future, "future"),
        ] {
            if is_so {
                write!(f, ", {what}")?;
            }
        }
        Ok(())
    }
}
