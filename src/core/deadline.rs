//! Callers that wait until some time and no longer. The clock is theirs: the machine hears that the
//! time has come, from the sleeper itself or from one that is awake.
//!
//! What can be done then depends on where the call is. One that is not sent yet is taken back, tag and
//! all. One that is sent is given up: its tag is held until the reply comes. One whose request another
//! is sending just now waits for the end of that, since the request is in use.
//!
//! Inside `recv` nobody sees the clock. So a caller with a deadline receives for all only when there is
//! none without one, and, where it can look without blocking, it only looks, and naps between the
//! looks. While it naps it keeps the role, for as long as nobody comes who can receive properly.

use super::call::{CallId, CallState, Protocol, WakeReason};
use super::machine::Machine;
use super::receiver::Action;
use super::roles::Muxer;

impl<P: Protocol, H> Machine<P, H> {
    /// The call has a deadline. For use straight after [`begin`](Machine::begin).
    pub fn mark_has_deadline(&mut self, id: CallId) {
        if let Some(call) = self.calls.get_mut(id.0) {
            call.has_deadline = true;
        }
    }

    /// The owner has woken, and its call is over, or given up: it will not say any more that its time has
    /// come, so the number may be another's when the call has no more use of it.
    pub fn ack_wake(&mut self, id: CallId) {
        match self.calls.get_mut(id.0) {
            Some(call) if call.state == CallState::Abandoned => call.timer_armed = false,
            _ => {
                self.calls.free(id.0);
            }
        }
    }

    /// The time of a sleeping owner has come. It sleeps on until it is told: that, or what it is being
    /// told already.
    pub fn handle_deadline_asleep(&mut self, id: CallId) {
        let Some(call) = self.calls.get_mut(id.0) else { return };
        if call.wake_queued || call.wake_handle.is_none() || self.role.is(Muxer::Call(id.0)) {
            return;
        }
        match call.state {
            CallState::TagWait => {
                self.tag_waiters.remove(&mut self.calls, id.0);
            }
            CallState::Queued => {
                self.send_queue.remove(&mut self.calls, id.0);
                return self.cancel_queued(id.0);
            }
            CallState::AwaitingReply => {
                self.timed_reply_waiters.remove(&mut self.calls, id.0);
                self.mark_abandoned(id.0);
            }
            CallState::Sending => {
                call.expired_while_sending = true;
                // It has the time to receive in earnest now.
                return self.leave_role(Muxer::Polling(id.0));
            }
            CallState::Free
            | CallState::Tagged
            | CallState::Done
            | CallState::RangeEmpty
            | CallState::Abandoned => {
                return;
            }
        }
        self.fail_waiters_all_abandoned();
        self.queue_wake(id.0, WakeReason::TimedOut);
    }

    /// A sleeping owner whose request stood in the queue gets it back, unsent.
    fn cancel_queued(&mut self, id: u32) {
        let Some(call) = self.calls.get_mut(id) else { return };
        call.request = None;
        let tag = call.tag.take();
        call.state = CallState::Done;
        self.queue_wake(id, WakeReason::TimedOut);
        self.release_tag(tag);
        self.finish_unsent();
    }

    /// The time of an owner has come that is awake and not in `send`: what it does now.
    pub fn handle_deadline_awake(&mut self, id: CallId) -> Action<P> {
        let Some(call) = self.calls.get_mut(id.0) else { return Action::Ended };
        match call.state {
            CallState::TagWait => {
                self.calls.free(id.0);
            }
            CallState::Queued => {
                call.request = None;
                self.send_queue.remove(&mut self.calls, id.0);
                let (_, tag) = self.calls.free(id.0);
                self.leave_role(Muxer::Call(id.0));
                self.release_tag(tag);
                self.finish_unsent();
            }
            CallState::AwaitingReply => self.mark_abandoned(id.0),
            CallState::Sending => {
                call.expired_while_sending = true;
                return self.next_action(id);
            }
            CallState::Free
            | CallState::Tagged
            | CallState::Done
            | CallState::RangeEmpty
            | CallState::Abandoned => {
                return self.next_action(id);
            }
        }
        self.stats.errors += 1;
        self.fail_waiters_all_abandoned();
        self.leave_role(Muxer::Call(id.0));
        Action::TimedOut
    }

    /// An owner that receives has looked, and nothing is there: it naps, or lets another receive.
    pub fn begin_backoff(&mut self, id: CallId) -> Action<P> {
        if !self.role.is(Muxer::Call(id.0)) {
            return self.next_action(id);
        }
        let Some(call) = self.calls.get_mut(id.0) else { return Action::Ended };
        let state = call.state;
        match state {
            CallState::AwaitingReply if self.reply_waiters.is_empty() => {
                self.timed_reply_waiters.push_front(&mut self.calls, id.0);
            }
            CallState::TagWait if self.is_useful_reply_due() => {
                self.tag_waiters.push_front(&mut self.calls, id.0);
            }
            CallState::Queued | CallState::Sending if self.is_reply_due() => {}
            _ => return self.next_action(id),
        }
        self.role.assign(Muxer::Polling(id.0));
        if self.receive_proc.is_running() {
            // It came while this one was looking, and has nothing else to do.
            self.leave_role(Muxer::Polling(id.0));
        }
        Action::Sleep
    }

    /// A nap is over: its owner is told to look again, unless another receives by now.
    pub fn end_backoff(&mut self, id: CallId) {
        if !self.role.is(Muxer::Polling(id.0)) {
            return;
        }
        let Some(call) = self.calls.get_mut(id.0) else { return };
        match call.state {
            CallState::AwaitingReply => self.timed_reply_waiters.remove(&mut self.calls, id.0),
            CallState::TagWait => self.tag_waiters.remove(&mut self.calls, id.0),
            _ => {}
        }
        self.role.assign(Muxer::Call(id.0));
        self.queue_wake(id.0, WakeReason::Receive);
    }

    /// The owner is gone, or about to be: the tag is held until the reply comes.
    pub(super) fn mark_abandoned(&mut self, id: u32) {
        if let Some(call) = self.calls.get_mut(id) {
            call.state = CallState::Abandoned;
            self.abandoned += 1;
        }
    }

    /// A call that has been given up needs its number no longer; unless its owner is yet to be told, or to
    /// wake.
    pub(super) fn release_abandoned(&mut self, id: u32) {
        self.abandoned -= 1;
        match self.calls.get_mut(id) {
            Some(call) if call.wake_queued || call.timer_armed => {
                call.tag = None;
                call.state = CallState::Done;
            }
            _ => {
                self.calls.free(id);
            }
        }
    }
}
