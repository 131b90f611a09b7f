//! Non-blocking calls: the owner polls for the result, and may receive messages without blocking.

use super::call::{CallId, Outcome, Protocol};
use super::call_state::StateKind;
use super::machine::Machine;
use super::procs::ProcKind;
use super::roles::Muxer;

/// The state of a non-blocking call, which has been sent and so has only two of the outcomes of
/// [`Outcome`](super::Outcome). They are variants of their own, because nesting them makes each call
/// about ten instructions longer.
#[derive(Debug, PartialEq, Eq)]
pub enum CollectAction<P: Protocol> {
    /// The call has ended with this reply.
    Reply(P::Reply),
    /// The connection has ended, and so has the call.
    Ended,
    /// The call has not completed.
    Pending,
    /// The call has not completed, and no caller receives. The owner has the receiver role and must
    /// receive messages without blocking. It must call [`Machine::handle_polled`] after each
    /// message, and [`Machine::end_poll`] when no message is left.
    Poll,
    /// The call has not completed, no caller receives, and the transport cannot receive without
    /// blocking. The call has been abandoned; its tag stays allocated until its reply arrives.
    Stuck,
}

impl<P: Protocol, H> Machine<P, H> {
    /// Returns the result of the non-blocking call `id`, if it has completed. `can_poll` is true if
    /// the owner can receive messages without blocking.
    pub fn try_collect(&mut self, id: CallId, can_poll: bool) -> CollectAction<P> {
        match self.collect_done(id) {
            CollectAction::Pending
                if !self.can_take_role(false) || self.procs.is_present(ProcKind::Receive) =>
            {
                CollectAction::Pending
            }
            CollectAction::Pending if can_poll => {
                self.role.assign(Muxer::Transient);
                CollectAction::Poll
            }
            // A polling receiver polls from time to time, so the reply may still arrive.
            CollectAction::Pending if !self.role.is(Muxer::Unassigned) => CollectAction::Pending,
            CollectAction::Pending => {
                self.stats.errors += 1;
                self.abandon(id);
                CollectAction::Stuck
            }
            over => over,
        }
    }

    /// Registers a future that waits for `id`. The future is woken to poll again when the call has
    /// completed, or when no caller receives any more. Returns false if the call has completed, or
    /// if no caller receives for it and `may_wait` is false. The call then ends with
    /// [`end_future`](Machine::end_future).
    pub fn register_future(&mut self, id: CallId, may_wait: bool) -> bool {
        if !may_wait && !self.has_receiver() {
            return false;
        }
        let Some(call) = self.calls.get_mut(id.0) else { return false };
        if call.is(StateKind::Done) {
            return false;
        }
        if !call.has_future && !call.wake_queued {
            call.has_future = true;
            self.future_waiters.push_back(&mut self.calls, id.0);
        }
        true
    }

    /// Returns true if a caller or a proc receives for all callers until it hands the role over. A
    /// transient receiver does not.
    pub fn has_receiver(&self) -> bool {
        let lasts = !self.role.is(Muxer::Unassigned) && !self.role.is(Muxer::Transient);
        lasts || self.procs.is_present(ProcKind::Receive)
    }

    /// Ends a call of a future that cannot wait. Returns the result of the call, if it has completed.
    pub fn end_future(&mut self, id: CallId) -> CollectAction<P> {
        match self.collect_done(id) {
            CollectAction::Pending => {
                self.stats.errors += 1;
                self.abandon(id);
                CollectAction::Stuck
            }
            over => over,
        }
    }

    /// Removes the future of `id`, or its queued wake-up.
    fn unregister_future(&mut self, id: u32) {
        let Some(call) = self.calls.get_mut(id) else { return };
        if std::mem::take(&mut call.has_future) {
            self.future_waiters.remove(&mut self.calls, id);
        } else if call.wake_queued {
            self.wake_queue.remove(&mut self.calls, id);
        }
    }

    /// Handles the poll by the owner of `id` that received a message, which has been handled
    /// already.
    pub fn handle_polled(&mut self, id: CallId) -> CollectAction<P> {
        match self.collect_done(id) {
            CollectAction::Pending => CollectAction::Poll,
            over => {
                self.leave_role(Muxer::Transient);
                over
            }
        }
    }

    /// Handles the poll by the owner of `id` that found no message, or found that the connection
    /// has ended.
    pub fn end_poll(&mut self, id: CallId) -> CollectAction<P> {
        self.leave_role(Muxer::Transient);
        self.collect_done(id)
    }

    /// Abandons a non-blocking call, which its owner will not collect. If the call has completed,
    /// returns its reply, if it has one. Otherwise the tag stays allocated until the reply arrives,
    /// which is then an orphan, or the connection ends.
    pub fn abandon(&mut self, id: CallId) -> Option<P::Reply> {
        self.unregister_future(id.0);
        let call = self.calls.get_mut(id.0)?;
        if call.is(StateKind::Done) {
            let reply = self.calls.free(id.0, &mut self.counts).into_reply();
            self.stats.orphans += u64::from(reply.is_some());
            return reply;
        }
        self.mark_abandoned(id.0);
        self.fail_waiters_all_abandoned();
        None
    }

    fn collect_done(&mut self, id: CallId) -> CollectAction<P> {
        match self.calls.get_mut(id.0) {
            Some(call) if call.is(StateKind::Done) => {}
            Some(_) => return CollectAction::Pending,
            None => return CollectAction::Ended,
        }
        self.unregister_future(id.0);
        match self.calls.free(id.0, &mut self.counts).into_outcome() {
            Outcome::Reply(reply) => CollectAction::Reply(reply),
            _ => {
                self.stats.errors += 1;
                CollectAction::Ended
            }
        }
    }
}
