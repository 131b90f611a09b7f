//! The receiver role. Its holder is the muxer: one caller at a time receives messages for all
//! callers, matches replies to calls, and hands the role over.
//!
//! The role is handed over only to a caller that is asleep and waiting, never to a caller inside
//! `send`, which could not receive. A receiver that leaves the role hands it to the caller that
//! went to sleep last: its reply is likely to arrive last, so that the role changes hands as rarely
//! as possible. If no caller waits for a reply but some reply is due, a caller that waits for a tag
//! receives, because a reply may free a tag. The last resort is a caller with a request that another
//! sender is about to send (`sender.rs`).
//!
//! A receive proc keeps the role until the connection ends.

use super::call::{Call, CallId, Kind, Outcome, Protocol, WakeReason};
use super::call_state::{CallState, CallTag, StateKind};
use super::machine::Machine;
use super::procs::ProcKind;
use super::roles::{Muxer, Sender};
use super::slab::NONE;

/// The next action of the owner of a call.
#[derive(Debug, PartialEq, Eq)]
pub enum Action<P: Protocol> {
    /// The call has ended.
    Completed(Outcome<P::Reply, P::Failure>),
    /// The call has this tag; the owner puts it into the request and asks for the turn to send.
    Tagged(u32),
    /// The owner has the turn and sends this request.
    Turn(P::Request),
    /// The owner receives one message, reports it, and asks again.
    Receive,
    /// The own request has been sent. The owner sends this request of another call and reports the
    /// result with [`Machine::handle_proxy_sent_by_caller`].
    ProxySend(CallId, P::Request),
    /// The owner sleeps; its wake-up contains what it does next.
    Sleep,
    /// The request has been sent, and the owner does not wait for the reply.
    Pending,
}

/// The next action of the receive proc, or of a caller that receives by hand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReceiverGrant {
    /// The proc or caller has the role.
    Granted,
    /// Another caller has the role; the proc or caller must sleep or give up.
    Wait,
    /// The role is not available: the proc exits, a caller that receives by hand gives up.
    Denied,
}

/// Returns true if the owner of a call can receive while another sender sends its request, or
/// before it does.
fn can_receive<P: Protocol, H>(call: &Call<P, H>) -> bool {
    matches!(call.kind, Kind::Blocking) && call.wake_handle.is_some()
}

impl<P: Protocol, H> Machine<P, H> {
    /// Returns what the owner of a call does next. The owner must be awake and not inside `send`.
    #[inline(always)]
    pub fn next_action(&mut self, id: CallId) -> Action<P> {
        let me = Muxer::Call(id.0);
        match self.calls.get_mut(id.0) {
            Some(call) if matches!(call.state(), CallState::Done(Outcome::Reply(_))) => {
                self.end_done(id.0)
            }
            Some(call) if call.is(StateKind::AwaitingReply) && self.role.is(Muxer::Unassigned) => {
                self.role.assign(me);
                Action::Receive
            }
            _ => self.next_action_slow(id),
        }
    }

    /// Frees the call of an owner that is awake, and returns its outcome to the owner.
    #[inline(always)]
    fn end_done(&mut self, id: u32) -> Action<P> {
        let outcome = self.calls.free(id, &mut self.counts).into_outcome();
        self.end_awake(id, outcome)
    }

    /// Returns `outcome` to the owner of a call that has been freed.
    #[inline(always)]
    fn end_awake(&mut self, id: u32, outcome: Outcome<P::Reply, P::Failure>) -> Action<P> {
        self.leave_role(Muxer::Call(id));
        if !matches!(outcome, Outcome::Reply(_)) {
            self.stats.errors += 1;
        }
        Action::Completed(outcome)
    }

    fn next_action_slow(&mut self, id: CallId) -> Action<P> {
        let me = Muxer::Call(id.0);
        if self.role.is(me) && !self.tags.has_waiters() {
            // A tag may have become free since the owner was woken to receive.
            self.grant_tag_to_muxer();
        }
        let Some(call) = self.calls.get_mut(id.0) else { return Action::Completed(Outcome::Ended) };
        match call.state() {
            CallState::AwaitingReply { .. } => self.await_reply(id.0),
            CallState::TagWait => self.await_tag(id.0),
            CallState::Tagged { tag } => {
                let tag = tag.get().unwrap_or(NONE);
                self.leave_role(me);
                Action::Tagged(tag)
            }
            // Without a reply, or just now, because the range of tags has become empty.
            CallState::Done(_) => self.end_done(id.0),
            CallState::Queued { .. }
            | CallState::Sending { .. }
            | CallState::SendingReplied { .. }
                if self.role.is(me) =>
            {
                self.await_proxy_send(id.0)
            }
            CallState::Free
            | CallState::Queued { .. }
            | CallState::Granted { .. }
            | CallState::Sending { .. }
            | CallState::SendingReplied { .. }
            | CallState::StartFailed(_)
            | CallState::Delivered
            | CallState::Abandoned { .. } => {
                debug_assert!(false, "the owner must be asleep, or inside send");
                Action::Pending
            }
        }
    }

    /// Returns what the owner of a call that awaits its reply does next: it receives if it may have
    /// the role, and sleeps otherwise.
    fn await_reply(&mut self, id: u32) -> Action<P> {
        let me = Muxer::Call(id);
        let has_deadline = self.calls.get_mut(id).is_some_and(|call| call.has_deadline);
        if self.can_take_role(has_deadline) {
            self.role.assign(me);
        }
        // A caller with a deadline would miss it inside `recv` if no message arrived, so callers
        // without a deadline receive first.
        if self.role.is(me) && (!has_deadline || !self.reply_waiters.has_untimed()) {
            return Action::Receive;
        }
        self.reply_waiters.push(&mut self.calls, id);
        self.leave_role(me);
        Action::Sleep
    }

    /// Returns what the owner of a call without a tag does next: it fails if no tag can become
    /// free, receives if it may have the role and a reply may free a tag, and sleeps otherwise.
    fn await_tag(&mut self, id: u32) -> Action<P> {
        let me = Muxer::Call(id);
        if self.all_tags_abandoned() {
            self.calls.free(id, &mut self.counts);
            return self.end_awake(id, Outcome::AllTagsAbandoned);
        }
        // All tags are free, so the muxer has none only because there is no memory for it.
        if self.role.is(me) && self.tags.allocated() == 0 {
            self.calls.free(id, &mut self.counts);
            return self.end_awake(id, Outcome::NoMemory);
        }
        let is_useful = self.is_useful_reply_due();
        // The role is not taken from a polling receiver: inside `recv`, this caller would not
        // notice that every tag has come to belong to an abandoned call.
        if is_useful && self.can_take_role(true) {
            self.role.assign(me);
        }
        if is_useful && self.role.is(me) {
            return Action::Receive;
        }
        if self.role.is(me) {
            self.tags.push_first(&mut self.calls, id);
            self.leave_role(me);
        } else {
            self.tags.push_last(&mut self.calls, id);
        }
        Action::Sleep
    }

    /// Returns what a receiver does next while its request is in the send queue, or is being sent by
    /// another sender: it takes the turn if that is free, receives while a reply is due, and sleeps
    /// otherwise.
    fn await_proxy_send(&mut self, id: u32) -> Action<P> {
        let Some(call) = self.calls.get_mut(id) else { return Action::Completed(Outcome::Ended) };
        let has_reply = call.is(StateKind::SendingReplied);
        if call.is(StateKind::Queued) && self.turn.is(Sender::Unassigned) {
            let request = self.counts.begin_send(call);
            self.send_queue.remove(&mut self.calls, id);
            let Some(request) = request else {
                return Action::Completed(Outcome::Ended);
            };
            self.turn.assign(Sender::Call(id));
            self.leave_role(Muxer::Call(id));
            return Action::Turn(request);
        }
        // A caller that has its own reply receives only for the sender's sake, and only if no other
        // caller can.
        let keeps_role = !has_reply || (self.is_send_pending() && !self.has_other_receiver());
        if keeps_role && self.is_reply_due() {
            return Action::Receive;
        }
        self.leave_role(Muxer::Call(id));
        Action::Sleep
    }

    /// Handles a message that contains `tag` (`None`: no tag). Wakes the owner of the call that it
    /// matches. Returns the message if it matches no call, that is, if it is an orphan. `arrived`
    /// is called for the reply of a non-blocking call.
    #[inline(always)]
    pub fn handle_message(
        &mut self,
        tag: Option<u32>,
        reply: P::Reply,
        arrived: impl FnOnce(P::Watch, &P::Reply),
    ) -> Option<P::Reply> {
        let owner = tag.and_then(|tag| self.tags.owner(tag));
        let Some((id, call)) = owner.and_then(|id| Some((id, self.calls.get_mut(id)?))) else {
            self.stats.orphans += 1;
            return Some(reply);
        };
        match call.state() {
            CallState::AwaitingReply { .. } | CallState::Sending { .. } => {}
            CallState::Abandoned { .. } => {
                self.release_abandoned(id);
                self.stats.orphans += 1;
                self.reuse_tag(id, tag);
                return Some(reply);
            }
            // The request has not been sent, so this message is not its reply.
            _ => {
                self.stats.orphans += 1;
                return Some(reply);
            }
        }
        let is_nonblocking = matches!(call.kind, Kind::NonBlocking(_));
        if let Kind::NonBlocking(watch) = call.kind {
            arrived(watch, &reply);
        }
        if let CallState::Sending { no_reply_expected, .. } = *call.state() {
            // The call keeps the reply until `send` returns.
            let to = CallState::SendingReplied { reply, no_reply_expected };
            self.counts.transition(call, StateKind::Sending, to);
        } else if is_nonblocking {
            // The owner collects the reply. The call may still have its wake-up for the end of
            // sending queued, and is in no other queue.
            let to = CallState::Done(Outcome::Reply(reply));
            self.counts.transition(call, StateKind::AwaitingReply, to);
            if call.has_future {
                self.queue_future_wake(id);
            }
        } else {
            let to = CallState::Done(Outcome::Reply(reply));
            self.counts.transition(call, StateKind::AwaitingReply, to);
            // The muxer is awake and checks its own call.
            if call.wake_handle.is_some() && !self.role.is(Muxer::Call(id)) {
                self.reply_waiters.remove(&mut self.calls, id);
                self.queue_wake(id, WakeReason::Completed);
            }
        }
        self.reuse_tag(id, tag);
        None
    }

    /// A reply has freed `tag`: grants it to the muxer, which is awake, or to a sleeping tag
    /// waiter.
    #[inline(always)]
    fn reuse_tag(&mut self, owner: u32, tag: Option<u32>) {
        if let Some(tag) = tag {
            self.tags.free(tag);
            if !self.role.is(Muxer::Call(owner)) {
                self.grant_tag_to_muxer();
            }
            if self.tags.has_waiters() {
                self.grant_tags();
            }
        }
    }

    /// Handles the end of the connection, which `recv` has reported. Every call that has been sent
    /// or is in the send queue ends; a call that is being sent ends when its `send` returns. Both
    /// procs stop. Tag waiters continue, because the program may have connected again.
    pub fn handle_disconnect(&mut self) {
        self.epoch = self.epoch.wrapping_add(1);
        if let Muxer::Polling(_) = self.role.holder() {
            self.role.assign(Muxer::Unassigned);
        }
        for id in 0..self.calls.slot_count() {
            let Some(call) = self.calls.get_mut(id) else { continue };
            let queued = match call.state() {
                CallState::AwaitingReply { .. } => false,
                CallState::Queued { .. } => true,
                CallState::Abandoned { tag } => {
                    let tag = *tag;
                    self.free_tag(tag);
                    self.release_abandoned(id);
                    continue;
                }
                // The call ends when its `send` returns. Until then no caller has to receive for
                // it: a fallback receiver would get the same end of the connection again and again.
                // If the `send` has yet to begin, on a new connection, a receiver is chosen again
                // once it has returned.
                CallState::Granted { .. }
                | CallState::Sending { .. }
                | CallState::SendingReplied { .. } => {
                    call.expect_no_reply();
                    continue;
                }
                CallState::Free
                | CallState::TagWait
                | CallState::Tagged { .. }
                | CallState::Done(_)
                | CallState::StartFailed(_)
                | CallState::Delivered => continue,
            };
            let is_nonblocking = matches!(call.kind, Kind::NonBlocking(_));
            // The owner of a sent non-blocking call is not asleep; it collects the result. The
            // muxer is awake and checks its own call.
            let comes = is_nonblocking && !queued;
            let asleep = call.wake_handle.is_some() && !self.role.is(Muxer::Call(id)) && !comes;
            let to = match is_nonblocking && queued {
                true => CallState::StartFailed(Outcome::Ended),
                false => CallState::Done(Outcome::Ended),
            };
            let tag = self.counts.transition(call, call.state().kind(), to).tag();
            self.free_tag(tag);
            if queued {
                self.send_queue.remove(&mut self.calls, id);
            } else if asleep {
                self.reply_waiters.remove(&mut self.calls, id);
            }
            if asleep {
                self.queue_wake(id, WakeReason::Completed);
            }
            if comes {
                self.queue_future_wake(id);
            }
        }
        self.stop_procs();
        self.grant_tag_to_muxer();
        self.grant_tags();
        if self.role.is(Muxer::Unassigned) {
            self.hand_over();
        }
    }

    /// Returns true if a waiting caller may take the role. A caller with a deadline does not take
    /// it from a polling receiver.
    #[inline]
    pub(super) fn can_take_role(&self, has_deadline: bool) -> bool {
        self.role.is(Muxer::Unassigned) || !has_deadline && self.role.is_polling()
    }

    /// Asks both procs to stop.
    pub fn stop_procs(&mut self) {
        for proc in [ProcKind::Receive, ProcKind::Send] {
            self.procs.stop(proc);
        }
    }

    /// Releases the receiver role, if `holder` has it, and hands it over.
    #[inline]
    pub(super) fn leave_role(&mut self, holder: Muxer) {
        if self.role.is(holder) {
            self.role.assign(Muxer::Unassigned);
            let alone = self.reply_waiters.is_empty()
                && !self.tags.has_waiters()
                && self.proxy_sends.is_empty();
            if !alone || self.procs.is_present(ProcKind::Receive) {
                self.hand_over();
            }
            // Futures relied on this receiver: without one they must poll by themselves, or learn
            // that they can never finish. A transient receiver has just polled and found nothing
            // for them.
            if holder != Muxer::Transient {
                self.wake_futures_if_unassigned();
            }
        }
    }

    #[cold]
    pub(super) fn hand_over(&mut self) {
        if self.procs.is_running(ProcKind::Receive) {
            // A proc that is awake asks for the role by itself.
            self.role.assign(Muxer::Proc);
            self.procs.queue_wake(ProcKind::Receive);
            return;
        }
        let next_receiver = match self.reply_waiters.pop(&mut self.calls) {
            Some(id) => id,
            None if !self.is_reply_due() => return,
            None => {
                let is_useful = self.is_useful_reply_due();
                let tag_waiters =
                    if is_useful { self.tags.pop_waiter(&mut self.calls) } else { None };
                match tag_waiters.or_else(|| self.fallback_receiver()) {
                    Some(id) => id,
                    None => return,
                }
            }
        };
        self.role.assign(Muxer::Call(next_receiver));
        self.stats.handovers += 1;
        self.queue_wake(next_receiver, WakeReason::Receive);
    }

    /// Returns the owner of a request that another sender sends, to receive when no other caller
    /// can.
    fn fallback_receiver(&mut self) -> Option<u32> {
        if self.proxy_sends.is_empty() {
            return None;
        }
        let awaiting_reply = self.fallback_awaiting_reply();
        if awaiting_reply.is_some() || !self.is_send_pending() {
            return awaiting_reply;
        }
        self.proxy_sends.rfind(&mut self.calls, can_receive)
    }

    fn fallback_awaiting_reply(&mut self) -> Option<u32> {
        let in_queue = self.send_queue.rfind(&mut self.calls, can_receive);
        let waits = |call: &Call<P, H>| can_receive(call) && !call.is(StateKind::SendingReplied);
        in_queue.or_else(|| self.proxy_sends.rfind(&mut self.calls, waits))
    }

    fn has_other_receiver(&mut self) -> bool {
        !self.reply_waiters.is_empty() || self.fallback_awaiting_reply().is_some()
    }

    /// Requests a receive proc. Returns true if there is none, so that the driver must start one. A
    /// proc that was to stop keeps running.
    pub fn request_receive_proc(&mut self) -> bool {
        let first = self.procs.request_start(ProcKind::Receive);
        if first {
            // Callers leave receiving to the proc from now on, although it has not started yet.
            if self.can_take_role(false) {
                self.role.assign(Muxer::Proc);
            }
        }
        while let Some(id) = self.reply_waiters.pop_message(&mut self.calls) {
            let to = CallState::Done(Outcome::Ended);
            self.transition(id, StateKind::AwaitingReply, to);
            self.queue_wake(id, WakeReason::Busy);
        }
        first
    }

    /// Returns whether the receive proc has the role, must sleep, or must exit.
    pub fn next_receive_proc_grant(&mut self) -> ReceiverGrant {
        if self.drain.is_hung_up() || !self.procs.is_running(ProcKind::Receive) {
            self.receive_proc_gone();
            return ReceiverGrant::Denied;
        }
        if self.can_take_role(false) {
            self.role.assign(Muxer::Proc);
        }
        if self.role.is(Muxer::Proc) { ReceiverGrant::Granted } else { ReceiverGrant::Wait }
    }

    /// Handles the exit of the receive proc, or the failure to start it.
    pub fn receive_proc_gone(&mut self) {
        self.procs.remove(ProcKind::Receive);
        if matches!(self.role.holder(), Muxer::Proc | Muxer::Unassigned) {
            self.role.assign(Muxer::Unassigned);
            self.hand_over();
            self.wake_futures_if_unassigned();
        }
    }

    /// Wakes all waiting futures if the role is unassigned, so that they poll by themselves.
    fn wake_futures_if_unassigned(&mut self) {
        if self.role.is(Muxer::Unassigned) {
            while let Some(id) = self.future_waiters.head() {
                self.queue_future_wake(id);
            }
        }
    }

    /// Records that the receive proc is about to sleep and can be woken with `handle`.
    pub fn set_receive_proc_asleep(&mut self, handle: H) {
        self.procs.set_asleep(ProcKind::Receive, handle);
    }

    /// Asks for the receiver role, to receive one message by hand. If the role is taken and `wait`
    /// is true, the caller is queued for it and must sleep with the returned id. A caller that has
    /// the role must release it with [`end_receive`](Machine::end_receive).
    ///
    /// # Errors
    /// - `HungUp`: the connection has been hung up.
    /// - `NoMemory`: there is no memory to wait.
    pub fn begin_receive(
        &mut self,
        wait: bool,
    ) -> Result<(CallId, ReceiverGrant), super::BeginError> {
        if self.drain.is_hung_up() {
            return Err(super::BeginError::HungUp);
        }
        match self.role.holder() {
            _ if self.procs.is_running(ProcKind::Receive) => {
                Ok((CallId(NONE), ReceiverGrant::Denied))
            }
            Muxer::Unassigned | Muxer::Polling(_) => {
                self.role.assign(Muxer::Transient);
                Ok((CallId(NONE), ReceiverGrant::Granted))
            }
            Muxer::Proc => Ok((CallId(NONE), ReceiverGrant::Denied)),
            _ if !wait => Ok((CallId(NONE), ReceiverGrant::Wait)),
            _ => {
                let id = self.begin_message()?;
                let to = CallState::AwaitingReply { tag: CallTag::NONE };
                self.transition(id.0, StateKind::Tagged, to);
                self.reply_waiters.push(&mut self.calls, id.0);
                Ok((id, ReceiverGrant::Wait))
            }
        }
    }

    /// Releases the role after a message was received by hand. `id` is the result of `begin_receive`.
    pub fn end_receive(&mut self, id: CallId) {
        if id.0 == NONE {
            self.leave_role(Muxer::Transient);
        } else {
            self.calls.free(id.0, &mut self.counts);
            self.leave_role(Muxer::Call(id.0));
        }
    }
}
