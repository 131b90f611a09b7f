//! The turn to send: one at a time, first come first served.
//!
//! Who finds the turn taken leaves its request in the queue and sleeps. When the turn comes free it is
//! handed to the first in the queue, so that nobody who comes later gets in before.
//!
//! Better than to wake the next is to send for it: a caller that has the turn sends what others have
//! left in the queue too, up to [`MAX_PROXY_SENDS`] of them, and they sleep on for their replies. It does so only
//! while somebody receives: otherwise it is needed for that. And should the muxer leave meanwhile,
//! one of those in the queue receives, since the sender may be held up by a server that does not read
//! until it is read from; whoever helps sends that one's request before it stops helping.
//!
//! With a send proc, the proc has the turn for good and sends what is in the queue. The owners
//! stay asleep until it has: a request belongs to its caller, who gets control back only when
//! nobody else has any use of it.

use super::call::{Call, CallId, CallState, Kind, Protocol, WakeReason};
use super::machine::{Machine, ProcState};
use super::receiver::Action;
use super::roles::{Muxer, Sender};

/// How many requests of others a caller sends along with its own.
pub const MAX_PROXY_SENDS: u32 = 16;

/// The answer to a caller that wants to send.
#[derive(Debug, PartialEq, Eq)]
pub enum SendTurn<P: Protocol> {
    /// The turn is yours; here is the request.
    Granted(P::Request),
    /// Sleep; what you are told is next.
    Wait,
    /// The connection has been given up; the call is over.
    HungUp,
}

/// What the send proc does now.
#[derive(Debug, PartialEq, Eq)]
pub enum SendProcAction<P: Protocol> {
    /// Send this, and come back with [`Machine::handle_proxy_sent`].
    Send(CallId, P::Request),
    /// Nothing to do: sleep.
    Wait,
    /// The connection has ended: the proc is no longer counted on, and leaves.
    Stop,
}

impl<P: Protocol, H> Machine<P, H> {
    /// A message that is no call wants to be sent: it needs the turn and nothing else.
    ///
    /// # Errors
    /// No memory to queue it.
    pub fn begin_message(&mut self) -> Result<CallId, super::BeginError> {
        if self.hung_up {
            return Err(super::BeginError::HungUp);
        }
        self.calls.reserve().ok_or(super::BeginError::NoMemory)?;
        Ok(CallId(self.calls.claim(Kind::Message, CallState::Tagged)))
    }

    /// A call whose request has its tag wants to send it.
    pub fn request_turn(&mut self, id: CallId, request: P::Request) -> SendTurn<P> {
        let Some(call) = self.calls.get_mut(id.0) else { return SendTurn::Granted(request) };
        if self.hung_up {
            let counted = !matches!(call.kind, Kind::Message);
            self.free_failed(id);
            if counted {
                self.finish_unsent();
            }
            return SendTurn::HungUp;
        }
        if self.turn.is(Sender::Unassigned) {
            self.turn.assign(Sender::Call(id.0));
            call.state = CallState::Sending;
            return SendTurn::Granted(request);
        }
        call.state = CallState::Queued;
        call.request = Some(request);
        self.send_queue.push_back(&mut self.calls, id.0);
        if self.turn.is(Sender::Proc) {
            self.proc_wake_queued |= self.send_proc.queue_wake();
        }
        SendTurn::Wait
    }

    /// The owner's own `send` has returned, with `result`. When it `began`, the connection had ended
    /// so often.
    ///
    /// A reply that is there already counts more than what `send` says of itself.
    #[inline(always)]
    pub fn handle_sent(
        &mut self,
        id: CallId,
        result: Result<(), P::Failure>,
        sent_in_epoch: u32,
    ) -> Action<P> {
        let Some(call) = self.calls.get_mut(id.0) else { return Action::Ended };
        debug_assert!(!self.role.is(Muxer::Call(id.0)), "nor who sends");
        let has_reply = call.reply.is_some();
        let action = match (result, call.kind) {
            (_, Kind::Blocking) if has_reply => {
                call.state = CallState::Done;
                if !self.send_queue.is_empty() {
                    return self.next_proxy_send(id, false);
                }
                None
            }
            (_, Kind::NonBlocking(_)) if has_reply => {
                call.state = CallState::Done;
                self.finishable += 1;
                Some(Action::Pending)
            }
            // One of those that it took along may receive, and have to be sent before the turn goes on.
            (Err(failure), Kind::Blocking) if !self.send_queue.is_empty() => {
                call.failure = Some(failure);
                call.state = CallState::Done;
                let tag = call.tag.take();
                self.release_tag(tag);
                self.finish_unsent();
                return self.next_proxy_send(id, false);
            }
            (Err(failure), kind) => {
                self.free_failed(id);
                self.pass_turn();
                if !matches!(kind, Kind::Message) {
                    self.finish_unsent();
                }
                return Action::Failed(failure);
            }
            (Ok(()), Kind::Message) => {
                self.calls.free(id.0);
                self.pass_turn();
                return Action::Pending;
            }
            _ if sent_in_epoch != self.epoch || self.hung_up => {
                self.free_failed(id);
                Some(Action::Ended)
            }
            (Ok(()), Kind::NonBlocking(_)) => {
                call.state = CallState::AwaitingReply;
                Some(Action::Pending)
            }
            (Ok(()), Kind::Blocking) => {
                call.state = CallState::AwaitingReply;
                if !self.send_queue.is_empty() {
                    self.finish_unsent();
                    return self.next_proxy_send(id, true);
                }
                None
            }
        };
        self.pass_turn();
        let action = action.unwrap_or_else(|| self.next_action(id));
        if !has_reply {
            self.finish_unsent();
        }
        action
    }

    /// Call `id` has sent the request of `other`, with `result`; that was one of [`MAX_PROXY_SENDS`] for which
    /// it is `willing`, or not.
    pub fn handle_proxy_sent_by_caller(
        &mut self,
        id: CallId,
        willing: bool,
        other: CallId,
        result: Result<(), P::Failure>,
        sent_in_epoch: u32,
    ) -> Action<P> {
        self.handle_proxy_sent(other, result, sent_in_epoch);
        self.next_proxy_send(id, willing)
    }

    /// Call `id` is sent, and has the turn still: it sends for another, or goes on.
    #[cold]
    fn next_proxy_send(&mut self, id: CallId, willing: bool) -> Action<P> {
        if let Some((other, request)) = self.pop_for_proxy_send(id, willing) {
            return Action::ProxySend(other, request);
        }
        self.pass_turn();
        self.next_action(id)
    }

    fn pop_for_proxy_send(&mut self, id: CallId, willing: bool) -> Option<(CallId, P::Request)> {
        // One that receives while it waits for its turn can not be handed it.
        let waits = |call: &mut Call<P, H>| call.state == CallState::Queued;
        let muxer = match self.role.holder() {
            Muxer::Unassigned => return None,
            Muxer::Call(muxer) | Muxer::Polling(muxer)
                if self.calls.get_mut(muxer).is_some_and(waits) =>
            {
                Some(muxer)
            }
            _ => None,
        };
        let other = match muxer {
            Some(muxer) => muxer,
            None if !willing || self.send_proc.is_running() => return None,
            // It would be late itself, or has what it came for.
            None if self.calls.get_mut(id.0)?.has_deadline => return None,
            None if self.calls.get_mut(id.0)?.state == CallState::Done => return None,
            None => {
                // Only one that could stand in for the muxer, should that leave just then.
                let first = self.send_queue.head()?;
                if !matches!(self.calls.get_mut(first)?.kind, Kind::Blocking) {
                    return None;
                }
                first
            }
        };
        self.send_queue.remove(&mut self.calls, other);
        self.begin_proxy_send(other)
    }

    /// The next request that whoever has the turn may send together with its own, on behalf of a caller
    /// that sleeps on: under the same conditions as when it helps, so it is not left alone with them.
    pub fn pop_for_batch(&mut self) -> Option<(CallId, P::Request)> {
        if self.role.is(Muxer::Unassigned)
            || (self.send_proc.is_running() && !self.turn.is(Sender::Proc))
        {
            return None;
        }
        let first = self.send_queue.head()?;
        let blocks = matches!(self.calls.get_mut(first)?.kind, Kind::Blocking);
        if !blocks && !self.turn.is(Sender::Proc) {
            return None;
        }
        self.send_queue.remove(&mut self.calls, first);
        self.begin_proxy_send(first)
    }

    /// Another than its owner sends the request of `id`, which is in no queue any more.
    fn begin_proxy_send(&mut self, id: u32) -> Option<(CallId, P::Request)> {
        let call = self.calls.get_mut(id)?;
        call.state = CallState::Sending;
        let request = call.request.take()?;
        self.proxy_sends.push_back(&mut self.calls, id);
        Some((CallId(id), request))
    }

    /// A call that failed is forgotten, and its tag free.
    fn free_failed(&mut self, id: CallId) {
        if let Some(call) = self.calls.get_mut(id.0) {
            // A message by hand is no call.
            self.stats.errors += u64::from(!matches!(call.kind, Kind::Message));
        }
        let (_, tag) = self.calls.free(id.0);
        self.release_tag(tag);
    }

    /// Whoever had the turn has it no longer.
    #[inline]
    pub(super) fn pass_turn(&mut self) {
        self.turn.assign(Sender::Unassigned);
        if !self.send_queue.is_empty() || self.send_proc.is_present() {
            self.grant_turn();
        }
    }

    #[cold]
    fn grant_turn(&mut self) {
        if self.send_proc.is_running() {
            self.turn.assign(Sender::Proc);
            self.proc_wake_queued |= self.send_proc.queue_wake();
            return;
        }
        // One that receives while it waits for its turn takes it when it comes back, unless another who
        // has it sends for it.
        let muxer = self.role.holder();
        let Some(id) = self.send_queue.find(&mut self.calls, |id| muxer != Muxer::Call(id)) else {
            return;
        };
        self.send_queue.remove(&mut self.calls, id);
        let Some(call) = self.calls.get_mut(id) else {
            return;
        };
        self.turn.assign(Sender::Call(id));
        call.state = CallState::Sending;
        self.queue_wake(id, WakeReason::Turn);
    }

    /// A send proc is wanted: true when there is none, and one is to be started. One that was to
    /// stop stays.
    pub fn request_send_proc(&mut self) -> bool {
        let first = self.send_proc.request_start();
        if first {
            // From now on callers leave sending to it, though it is still on its way.
            if self.turn.is(Sender::Unassigned) {
                self.turn.assign(Sender::Proc);
            }
        }
        first
    }

    /// The send proc asks what to do.
    pub fn next_send_proc_action(&mut self) -> SendProcAction<P> {
        // One that comes after the hang-up has nobody left to stop it.
        if self.hung_up || !self.send_proc.is_running() {
            self.send_proc_gone();
            return SendProcAction::Stop;
        }
        if let Sender::Call(_) = self.turn.holder() {
            return SendProcAction::Wait;
        }
        self.turn.assign(Sender::Proc);
        let first = self.send_queue.pop_front(&mut self.calls);
        match first.and_then(|id| self.begin_proxy_send(id)) {
            Some((id, request)) => SendProcAction::Send(id, request),
            None => SendProcAction::Wait,
        }
    }

    /// There is no send proc any more, or it could not be started.
    pub fn send_proc_gone(&mut self) {
        self.send_proc = ProcState::Absent;
        if self.turn.is(Sender::Proc) {
            self.pass_turn();
        }
    }

    /// The send proc sleeps, and can be woken with `wake`.
    pub fn set_send_proc_asleep(&mut self, handle: H) {
        self.send_proc.set_asleep(handle);
    }

    /// The send proc's `send` of call `id` has returned, with `result`. When it `began`, the connection
    /// had ended so often.
    pub fn handle_proxy_sent(
        &mut self,
        id: CallId,
        result: Result<(), P::Failure>,
        sent_in_epoch: u32,
    ) {
        self.proxy_sends.remove(&mut self.calls, id.0);
        let Some(call) = self.calls.get_mut(id.0) else { return };
        let counted = !matches!(call.kind, Kind::Message) && call.reply.is_none();
        let ended = sent_in_epoch != self.epoch || self.hung_up;
        self.settle_proxy_sent(id, result, ended);
        if counted {
            self.finish_unsent();
        }
    }

    fn settle_proxy_sent(&mut self, id: CallId, result: Result<(), P::Failure>, ended: bool) {
        let Some(call) = self.calls.get_mut(id.0) else { return };
        let has_reply = call.reply.is_some();
        match (result, call.kind) {
            (_, Kind::NonBlocking(_)) if has_reply => {
                call.state = CallState::Done;
                self.finishable += 1;
                self.queue_wake(id.0, WakeReason::Sent);
            }
            (_, Kind::Blocking) if has_reply => self.complete(id),
            (Err(failure), _) => {
                call.failure = Some(failure);
                self.complete(id);
            }
            (Ok(()), Kind::Message) => self.queue_wake(id.0, WakeReason::MessageSent),
            _ if ended => self.complete(id),
            (Ok(()), Kind::NonBlocking(_)) => {
                call.state = CallState::AwaitingReply;
                self.queue_wake(id.0, WakeReason::Sent);
            }
            (Ok(()), Kind::Blocking) => {
                call.state = CallState::AwaitingReply;
                let (has_deadline, expired_while_sending) =
                    (call.has_deadline, call.expired_while_sending);
                if self.role.is(Muxer::Call(id.0)) {
                    return; // It receives already.
                }
                if expired_while_sending {
                    self.mark_abandoned(id.0);
                    self.queue_wake(id.0, WakeReason::TimedOut);
                    self.fail_waiters_all_abandoned();
                } else if self.can_take_role(has_deadline) && !self.receive_proc.is_running() {
                    // The muxer has gone: somebody has to receive.
                    self.role.assign(Muxer::Call(id.0));
                    self.queue_wake(id.0, WakeReason::Receive);
                } else {
                    let (queue, calls) = self.reply_waiters_for(has_deadline);
                    queue.push_front(calls, id.0);
                }
            }
        }
    }

    /// The call is over, and its owner is told; the muxer looks for itself.
    fn complete(&mut self, id: CallId) {
        let Some(call) = self.calls.get_mut(id.0) else { return };
        call.state = CallState::Done;
        let tag = call.tag.take();
        if !self.role.is(Muxer::Call(id.0)) {
            self.queue_wake(id.0, WakeReason::Done);
        }
        self.release_tag(tag);
    }
}
