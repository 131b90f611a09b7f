//! The turn to send: one caller at a time has it, first come, first served.
//!
//! A caller that finds the turn taken leaves its request in the send queue and sleeps. When the
//! turn becomes free, it is granted to the first call of the queue, so that no later caller gets
//! ahead.
//!
//! It is cheaper to send for a waiting caller than to wake it. A caller that has the turn therefore
//! also sends queued requests of other callers, at most [`MAX_PROXY_SENDS`] of them, and their
//! owners stay asleep until their replies arrive. It does so only while another caller receives:
//! otherwise it must receive itself. If the receiver leaves its role meanwhile, the owner of a
//! queued request may become the receiver, because a server may refuse to read until its replies
//! are read, which would block the sender. The sender sends the request of such a receiver before
//! it stops sending for others.
//!
//! A send proc keeps the turn permanently and sends what is in the queue. An owner stays asleep
//! until its request has been sent: the request belongs to the caller, which must not regain
//! control while another thread still uses it.

use super::call::{Call, CallId, Kind, Outcome, Protocol, WakeReason};
use super::call_state::{CallState, CallTag, StateKind};
use super::machine::Machine;
use super::procs::ProcKind;
use super::receiver::Action;
use super::roles::{Muxer, Sender};

/// Maximum number of requests of other callers that a caller sends after its own.
pub const MAX_PROXY_SENDS: u32 = 16;

/// The result of asking for the turn to send.
#[derive(Debug, PartialEq, Eq)]
pub enum TurnGrant<P: Protocol> {
    /// The caller has the turn and must send this request.
    Granted(P::Request),
    /// The caller must sleep; its wake-up contains what it does next.
    Wait,
    /// The connection has been hung up; the call has ended.
    HungUp,
}

/// The next action of the send proc.
#[derive(Debug, PartialEq, Eq)]
pub enum SendProcAction<P: Protocol> {
    /// Send this request and report the result with [`Machine::handle_proxy_sent`].
    Send(CallId, P::Request),
    /// Sleep: there is nothing to send, or a caller has the turn.
    Wait,
    /// The proc must exit; the machine has already recorded that it is absent.
    Stop,
}

impl<P: Protocol, H> Machine<P, H> {
    /// Begins a message that is not a call: it needs the turn to send, but no tag.
    ///
    /// # Errors
    /// - `HungUp`: the connection has been hung up.
    /// - `NoMemory`: there is no memory to queue the message.
    pub fn begin_message(&mut self) -> Result<CallId, super::BeginError> {
        if self.drain.is_hung_up() {
            return Err(super::BeginError::HungUp);
        }
        self.calls.reserve().ok_or(super::BeginError::NoMemory)?;
        let state = CallState::Tagged { tag: CallTag::NONE };
        Ok(CallId(self.calls.claim(Kind::Message, state, &mut self.counts)))
    }

    /// Asks for the turn to send `request`, which must contain its tag already. If the turn is
    /// taken, the machine keeps the request.
    pub fn request_turn(&mut self, id: CallId, request: P::Request) -> TurnGrant<P> {
        let Some(call) = self.calls.get_mut(id.0) else {
            return TurnGrant::Granted(request);
        };
        if self.drain.is_hung_up() {
            let counted = !matches!(call.kind, Kind::Message);
            self.free_failed(id);
            if counted {
                self.offer_role_to_tag_waiter();
            }
            return TurnGrant::HungUp;
        }
        let tag = call.state().tag();
        if self.turn.is(Sender::Unassigned) {
            self.turn.assign(Sender::Call(id.0));
            self.counts.transition(call, StateKind::Tagged, CallState::sending(tag));
            return TurnGrant::Granted(request);
        }
        self.counts.transition(call, StateKind::Tagged, CallState::Queued { tag, request });
        self.send_queue.push_back(&mut self.calls, id.0);
        if self.turn.is(Sender::Proc) {
            self.procs.queue_wake(ProcKind::Send);
        }
        TurnGrant::Wait
    }

    /// Handles the return of `send`, called by the owner for its own request, with `result`.
    /// `sent_in_epoch` must be the value of [`epoch`](Machine::epoch) when `send` was called.
    ///
    /// A reply that has already arrived takes precedence over `result`.
    #[inline(always)]
    pub fn handle_sent(
        &mut self,
        id: CallId,
        result: Result<(), P::Failure>,
        sent_in_epoch: u32,
    ) -> Action<P> {
        let Some(call) = self.calls.get_mut(id.0) else { return Action::Completed(Outcome::Ended) };
        debug_assert!(!self.role.is(Muxer::Call(id.0)), "a caller in send does not have the role");
        // A call that has its reply has no tag any more.
        let (tag, has_reply) = match call.state() {
            CallState::Sending { tag, .. } => (*tag, false),
            _ => (CallTag::NONE, true),
        };
        let action = match (result, call.kind) {
            (_, Kind::Blocking) if has_reply => {
                self.counts.complete_replied(call);
                if !self.send_queue.is_empty() {
                    return self.next_proxy_send(id, false);
                }
                None
            }
            (_, Kind::NonBlocking(_)) if has_reply => {
                self.counts.complete_replied(call);
                Some(Action::Pending)
            }
            // The receiver may be the owner of a request in this batch. That request must be sent
            // before the turn is passed on.
            (Err(failure), Kind::Blocking) if !self.send_queue.is_empty() => {
                let to = CallState::Done(Outcome::Failed(failure));
                self.counts.transition(call, StateKind::Sending, to);
                self.release_tag(tag);
                self.offer_role_to_tag_waiter();
                return self.next_proxy_send(id, false);
            }
            (Err(failure), kind) => {
                self.free_failed(id);
                self.pass_turn();
                if !matches!(kind, Kind::Message) {
                    self.offer_role_to_tag_waiter();
                }
                return Action::Completed(Outcome::Failed(failure));
            }
            (Ok(()), Kind::Message) => {
                self.calls.free(id.0, &mut self.counts);
                self.pass_turn();
                return Action::Pending;
            }
            _ if sent_in_epoch != self.epoch || self.drain.is_hung_up() => {
                self.free_failed(id);
                Some(Action::Completed(Outcome::Ended))
            }
            (Ok(()), Kind::NonBlocking(_)) => {
                let to = CallState::AwaitingReply { tag };
                self.counts.transition(call, StateKind::Sending, to);
                Some(Action::Pending)
            }
            (Ok(()), Kind::Blocking) => {
                let to = CallState::AwaitingReply { tag };
                self.counts.transition(call, StateKind::Sending, to);
                if !self.send_queue.is_empty() {
                    self.offer_role_to_tag_waiter();
                    return self.next_proxy_send(id, true);
                }
                None
            }
        };
        self.pass_turn();
        let action = action.unwrap_or_else(|| self.next_action(id));
        if !has_reply {
            self.offer_role_to_tag_waiter();
        }
        action
    }

    /// Handles the return of `send`, called by the owner of `id` for the request of `other`, with
    /// `result`. `willing` is true if the owner may send further requests: it has sent fewer than
    /// [`MAX_PROXY_SENDS`].
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

    /// The request of `id` has been sent, and its owner still has the turn: returns the next proxy
    /// send, or passes the turn on and returns what the owner does next.
    #[cold]
    fn next_proxy_send(&mut self, id: CallId, willing: bool) -> Action<P> {
        if let Some((other, request)) = self.pop_for_proxy_send(id, willing) {
            return Action::ProxySend(other, request);
        }
        self.pass_turn();
        self.next_action(id)
    }

    fn pop_for_proxy_send(&mut self, id: CallId, willing: bool) -> Option<(CallId, P::Request)> {
        // A receiver with a queued request of its own is inside `recv`, where it cannot be granted
        // the turn.
        let waits = |call: &mut Call<P, H>| call.is(StateKind::Queued);
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
            None if !willing || self.procs.is_running(ProcKind::Send) => return None,
            // Sending for others could make the owner miss its own deadline.
            // A completed call returns to its owner at once.
            None if self.calls.get_mut(id.0)?.has_deadline => return None,
            None if self.calls.get_mut(id.0)?.is(StateKind::Done) => return None,
            None => {
                // Only a blocking call qualifies, because its sleeping owner can become the
                // fallback receiver if the receiver leaves its role during the send.
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

    /// Removes the next request from the send queue that the holder of the turn may send together
    /// with its own, while the owner of that request stays asleep. The conditions are those of a
    /// proxy send: without a receiver, the sender could be blocked while no caller receives.
    pub fn pop_for_batch(&mut self) -> Option<(CallId, P::Request)> {
        if self.role.is(Muxer::Unassigned)
            || (self.procs.is_running(ProcKind::Send) && !self.turn.is(Sender::Proc))
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

    /// Marks `id`, which must not be in any queue, as being sent by another sender, and returns its
    /// request.
    fn begin_proxy_send(&mut self, id: u32) -> Option<(CallId, P::Request)> {
        let call = self.calls.get_mut(id)?;
        let request = self.counts.begin_send(call)?;
        self.proxy_sends.push_back(&mut self.calls, id);
        Some((CallId(id), request))
    }

    /// Frees a failed call and its tag.
    fn free_failed(&mut self, id: CallId) {
        if let Some(call) = self.calls.get_mut(id.0) {
            // A message that is sent by hand does not count as a call.
            self.stats.errors += u64::from(!matches!(call.kind, Kind::Message));
        }
        let tag = self.calls.free(id.0, &mut self.counts).tag();
        self.release_tag(tag);
    }

    /// Takes the turn from its holder and grants it to the next sender, if there is one.
    #[inline]
    pub(super) fn pass_turn(&mut self) {
        self.turn.assign(Sender::Unassigned);
        if !self.send_queue.is_empty() || self.procs.is_present(ProcKind::Send) {
            self.grant_turn();
        }
    }

    #[cold]
    fn grant_turn(&mut self) {
        if self.procs.is_running(ProcKind::Send) {
            self.turn.assign(Sender::Proc);
            self.procs.queue_wake(ProcKind::Send);
            return;
        }
        // A receiver with a queued request of its own is skipped. It takes the turn when its
        // `recv` returns, unless a proxy sender sends the request first.
        let muxer = self.role.holder();
        let Some(id) = self.send_queue.find(&mut self.calls, |id| muxer != Muxer::Call(id)) else {
            return;
        };
        self.send_queue.remove(&mut self.calls, id);
        if let Some(call) = self.calls.get_mut(id) {
            self.counts.grant_turn(call);
        }
        self.turn.assign(Sender::Call(id));
        self.queue_wake(id, WakeReason::Turn);
    }

    /// Requests a send proc. Returns true if there is none, so that the driver must start one. A
    /// proc that was to stop keeps running.
    pub fn request_send_proc(&mut self) -> bool {
        let first = self.procs.request_start(ProcKind::Send);
        if first {
            // Callers leave sending to the proc from now on, although it has not started yet.
            if self.turn.is(Sender::Unassigned) {
                self.turn.assign(Sender::Proc);
            }
        }
        first
    }

    /// Returns what the send proc does next.
    pub fn next_send_proc_action(&mut self) -> SendProcAction<P> {
        // A proc that starts after the hang-up must stop by itself, because no later event stops
        // it.
        if self.drain.is_hung_up() || !self.procs.is_running(ProcKind::Send) {
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

    /// Handles the exit of the send proc, or the failure to start it.
    pub fn send_proc_gone(&mut self) {
        self.procs.remove(ProcKind::Send);
        if self.turn.is(Sender::Proc) {
            self.pass_turn();
        }
    }

    /// Records that the send proc is about to sleep and can be woken with `handle`.
    pub fn set_send_proc_asleep(&mut self, handle: H) {
        self.procs.set_asleep(ProcKind::Send, handle);
    }

    /// Handles the return of `send`, called by the send proc or a proxy sender for the request of
    /// `id`, with `result`. `sent_in_epoch` must be the value of [`epoch`](Machine::epoch) when
    /// `send` was called.
    pub fn handle_proxy_sent(
        &mut self,
        id: CallId,
        result: Result<(), P::Failure>,
        sent_in_epoch: u32,
    ) {
        self.proxy_sends.remove(&mut self.calls, id.0);
        let Some(call) = self.calls.get_mut(id.0) else { return };
        let counted = !matches!(call.kind, Kind::Message) && call.is(StateKind::Sending);
        let ended = sent_in_epoch != self.epoch || self.drain.is_hung_up();
        self.settle_proxy_sent(id, result, ended);
        if counted {
            self.offer_role_to_tag_waiter();
        }
    }

    fn settle_proxy_sent(&mut self, id: CallId, result: Result<(), P::Failure>, ended: bool) {
        let Some(call) = self.calls.get_mut(id.0) else { return };
        let (tag, expired, has_reply) = match call.state() {
            CallState::Sending { tag, expired, .. } => (*tag, *expired, false),
            _ => (CallTag::NONE, false, true),
        };
        match (result, call.kind) {
            (_, Kind::NonBlocking(_)) if has_reply => {
                self.counts.complete_replied(call);
                self.queue_wake(id.0, WakeReason::Sent);
            }
            (_, Kind::Blocking) if has_reply => {
                self.counts.complete_replied(call);
                self.wake_completed(id);
            }
            (Err(failure), _) => self.fail_proxy_sent(id, tag, Outcome::Failed(failure)),
            (Ok(()), Kind::Message) => self.queue_wake(id.0, WakeReason::MessageSent),
            _ if ended => self.fail_proxy_sent(id, tag, Outcome::Ended),
            (Ok(()), Kind::NonBlocking(_)) => {
                let to = CallState::AwaitingReply { tag };
                self.counts.transition(call, StateKind::Sending, to);
                self.queue_wake(id.0, WakeReason::Sent);
            }
            (Ok(()), Kind::Blocking) => {
                let to = CallState::AwaitingReply { tag };
                self.counts.transition(call, StateKind::Sending, to);
                let has_deadline = call.has_deadline;
                if self.role.is(Muxer::Call(id.0)) {
                    return; // The owner is already receiving.
                }
                if expired {
                    self.mark_abandoned(id.0);
                    self.queue_wake(id.0, WakeReason::Completed);
                    self.fail_waiters_all_abandoned();
                } else if self.can_take_role(has_deadline)
                    && !self.procs.is_running(ProcKind::Receive)
                {
                    // No caller receives, or only a polling one: this owner must receive.
                    self.role.assign(Muxer::Call(id.0));
                    self.queue_wake(id.0, WakeReason::Receive);
                } else {
                    self.reply_waiters.push(&mut self.calls, id.0);
                }
            }
        }
    }

    /// Ends a call with `outcome` after a proxy send without success, queues its wake-up and frees
    /// its tag.
    fn fail_proxy_sent(
        &mut self,
        id: CallId,
        tag: CallTag,
        outcome: Outcome<P::Reply, P::Failure>,
    ) {
        let Some(call) = self.calls.get_mut(id.0) else { return };
        let to = match call.kind {
            Kind::NonBlocking(_) => CallState::StartFailed(outcome),
            Kind::Blocking | Kind::Message => CallState::Done(outcome),
        };
        self.counts.transition(call, StateKind::Sending, to);
        // The tag is freed first, because `queue_wake` may ask whether a reply is due.
        let is_freed = self.free_tag(tag);
        self.wake_completed(id);
        self.grant_freed(is_freed);
    }

    /// Queues the wake-up of a call that has ended. A receiver is not woken: it is awake and checks
    /// its own call.
    fn wake_completed(&mut self, id: CallId) {
        if !self.role.is(Muxer::Call(id.0)) {
            self.queue_wake(id.0, WakeReason::Completed);
        }
    }
}
