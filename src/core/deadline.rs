//! Callers that wait with a deadline. The machine has no clock: the sleeping owner itself, or an
//! awake one, reports that the deadline has passed.
//!
//! The consequence depends on the state of the call. A call that has not been sent is cancelled,
//! and its tag is freed. A call that has been sent is abandoned: its tag stays allocated until the
//! reply arrives. If another sender is sending the request, the call waits for the end of that
//! `send`, because the request is in use.
//!
//! A caller inside `recv` cannot watch the clock. A caller with a deadline therefore receives only
//! if no caller without a deadline waits for a reply. If the transport can receive without
//! blocking, the receiver polls and sleeps between the polls. While it sleeps it keeps the role,
//! until a caller or proc that can block in `recv` takes it.

use super::call::{CallId, Outcome, Protocol, WakeReason};
use super::call_state::{CallState, StateKind};
use super::machine::Machine;
use super::procs::ProcKind;
use super::receiver::Action;
use super::roles::{Muxer, Sender};

impl<P: Protocol, H> Machine<P, H> {
    /// Marks the call as one with a deadline. Must be called directly after
    /// [`begin`](Machine::begin).
    pub fn mark_has_deadline(&mut self, id: CallId) {
        if let Some(call) = self.calls.get_mut(id.0) {
            call.has_deadline = true;
        }
    }

    /// Acknowledges a wake-up: the owner is awake, its call has ended or is abandoned, and it
    /// cannot report the expiry any more. Its slot may be reused once the call no longer needs it.
    pub fn ack_wake(&mut self, id: CallId) {
        match self.calls.get_mut(id.0) {
            Some(call) if call.is(StateKind::Abandoned) => call.timer_armed = false,
            _ => {
                self.calls.free(id.0, &mut self.counts);
            }
        }
    }

    /// Handles the deadline of a sleeping owner. The owner stays asleep until it is woken, with
    /// `TimedOut` or with a result that is already queued.
    pub fn handle_deadline_asleep(&mut self, id: CallId) {
        let Some(call) = self.calls.get_mut(id.0) else { return };
        if call.wake_queued || call.wake_handle.is_none() || self.role.is(Muxer::Call(id.0)) {
            return;
        }
        match call.state() {
            CallState::TagWait => {
                self.tags.remove_waiter(&mut self.calls, id.0);
                self.transition(id.0, StateKind::TagWait, CallState::Done(Outcome::TimedOut));
            }
            CallState::Queued { .. } => {
                self.send_queue.remove(&mut self.calls, id.0);
                return self.cancel_queued(id.0);
            }
            CallState::AwaitingReply { .. } => {
                self.reply_waiters.remove(&mut self.calls, id.0);
                self.mark_abandoned(id.0);
            }
            CallState::Sending { .. } | CallState::SendingReplied { .. } => {
                call.expire_while_sending();
                // The owner has no deadline left to keep, so it may now be chosen to receive
                // without polling.
                return self.leave_role(Muxer::Polling(id.0));
            }
            CallState::Free
            | CallState::Tagged { .. }
            | CallState::Granted { .. }
            | CallState::Done(_)
            | CallState::StartFailed(_)
            | CallState::Delivered
            | CallState::Abandoned { .. } => return,
        }
        self.fail_waiters_all_abandoned();
        self.queue_wake(id.0, WakeReason::Completed);
    }

    /// Cancels the call of a sleeping owner. Its request must have been removed from the send
    /// queue.
    fn cancel_queued(&mut self, id: u32) {
        let Some(call) = self.calls.get_mut(id) else { return };
        let to = CallState::Done(Outcome::TimedOut);
        let tag = self.counts.transition(call, StateKind::Queued, to).tag();
        // The tag is freed first, because `queue_wake` may ask whether a reply is due.
        let is_freed = self.free_tag(tag);
        self.queue_wake(id, WakeReason::Completed);
        self.grant_freed(is_freed);
        self.offer_role_to_tag_waiter();
    }

    /// Handles the deadline of an owner that is awake and not inside `send`. Returns what it does
    /// next.
    pub fn handle_deadline_awake(&mut self, id: CallId) -> Action<P> {
        let Some(call) = self.calls.get_mut(id.0) else { return Action::Completed(Outcome::Ended) };
        match call.state() {
            CallState::TagWait => {
                self.calls.free(id.0, &mut self.counts);
            }
            CallState::Queued { .. } => {
                self.send_queue.remove(&mut self.calls, id.0);
                let tag = self.calls.free(id.0, &mut self.counts).tag();
                let is_freed = self.free_tag(tag);
                self.leave_role(Muxer::Call(id.0));
                self.grant_freed(is_freed);
                self.offer_role_to_tag_waiter();
            }
            CallState::AwaitingReply { .. } => self.mark_abandoned(id.0),
            CallState::Sending { .. } | CallState::SendingReplied { .. } => {
                call.expire_while_sending();
                return self.next_action(id);
            }
            CallState::Free
            | CallState::Tagged { .. }
            | CallState::Granted { .. }
            | CallState::Done(_)
            | CallState::StartFailed(_)
            | CallState::Delivered
            | CallState::Abandoned { .. } => return self.next_action(id),
        }
        self.stats.errors += 1;
        self.fail_waiters_all_abandoned();
        self.leave_role(Muxer::Call(id.0));
        Action::Completed(Outcome::TimedOut)
    }

    /// Handles the poll of a receiver with a deadline that found no message. Returns `Sleep` if the
    /// receiver keeps the role and pauses before the next poll, and what it does next otherwise.
    pub fn begin_backoff(&mut self, id: CallId) -> Action<P> {
        if !self.role.is(Muxer::Call(id.0)) {
            return self.next_action(id);
        }
        let Some(call) = self.calls.get_mut(id.0) else { return Action::Completed(Outcome::Ended) };
        match call.state().kind() {
            StateKind::AwaitingReply if !self.reply_waiters.has_untimed() => {
                self.reply_waiters.push(&mut self.calls, id.0);
            }
            StateKind::TagWait if self.is_useful_reply_due() => {
                self.tags.push_first(&mut self.calls, id.0);
            }
            // The turn became free during the poll, and the receiver was skipped because it was awake.
            StateKind::Queued if self.turn.is(Sender::Unassigned) => return self.next_action(id),
            StateKind::Queued | StateKind::Sending | StateKind::SendingReplied
                if self.is_reply_due() => {}
            _ => return self.next_action(id),
        }
        self.role.assign(Muxer::Polling(id.0));
        if self.procs.is_running(ProcKind::Receive) {
            // The receive proc started during the poll and waits for the role.
            self.leave_role(Muxer::Polling(id.0));
        }
        Action::Sleep
    }

    /// Handles the end of the pause between two polls: wakes the owner to poll again, unless
    /// another caller or proc has taken the role.
    pub fn end_backoff(&mut self, id: CallId) {
        if !self.role.is(Muxer::Polling(id.0)) {
            return;
        }
        let Some(call) = self.calls.get_mut(id.0) else { return };
        match call.state().kind() {
            StateKind::AwaitingReply => self.reply_waiters.remove(&mut self.calls, id.0),
            StateKind::TagWait => self.tags.remove_waiter(&mut self.calls, id.0),
            _ => {}
        }
        self.role.assign(Muxer::Call(id.0));
        self.queue_wake(id.0, WakeReason::Receive);
    }

    /// Marks a call as abandoned. Its owner has left or is about to; the tag stays allocated until
    /// the reply arrives.
    pub(super) fn mark_abandoned(&mut self, id: u32) {
        if let Some(call) = self.calls.get_mut(id) {
            let to = CallState::Abandoned { tag: call.state().tag() };
            self.counts.transition(call, StateKind::AwaitingReply, to);
        }
    }

    /// Releases an abandoned call. Its slot is freed later if its owner has a queued wake-up, or
    /// may still report the expiry.
    pub(super) fn release_abandoned(&mut self, id: u32) {
        match self.calls.get_mut(id) {
            Some(call) if call.wake_queued || call.timer_armed => {
                let to = CallState::Done(Outcome::TimedOut);
                self.counts.transition(call, StateKind::Abandoned, to);
            }
            _ => {
                self.calls.free(id, &mut self.counts);
            }
        }
    }
}
