//! Non-blocking calls: their owner comes to see, and may look for messages without blocking.

use super::call::{CallId, CallState, Protocol};
use super::machine::Machine;
use super::roles::Muxer;

/// How a non-blocking call stands.
#[derive(Debug, PartialEq, Eq)]
pub enum CollectAction<P: Protocol> {
    /// The reply; the call is over.
    Reply(P::Reply),
    /// The connection has ended; the call is over.
    Ended,
    /// Not yet.
    Pending,
    /// Not yet, and nobody receives: the role is yours, look for messages without blocking. Come
    /// back with [`Machine::handle_polled`] after each, and with [`Machine::end_poll`] when there is none.
    Poll,
    /// Not yet, nobody receives, and looking without blocking is impossible. The call has been
    /// given up; its tag is held until its reply comes.
    Stuck,
}

impl<P: Protocol, H> Machine<P, H> {
    /// How the non-blocking call `id` stands, for an owner that can (`can_poll`) look for messages
    /// without blocking.
    pub fn try_collect(&mut self, id: CallId, can_poll: bool) -> CollectAction<P> {
        match self.collect_done(id) {
            CollectAction::Pending
                if !self.can_take_role(false) || self.receive_proc.is_present() =>
            {
                CollectAction::Pending
            }
            CollectAction::Pending if can_poll => {
                self.role.assign(Muxer::Transient);
                CollectAction::Poll
            }
            // A caller with a deadline looks now and then, so it may yet come.
            CollectAction::Pending if !self.role.is(Muxer::Unassigned) => CollectAction::Pending,
            CollectAction::Pending => {
                self.stats.errors += 1;
                self.abandon(id);
                CollectAction::Stuck
            }
            over => over,
        }
    }

    /// A task waits for `id`, and is to be told when it should look again: when the call is over, or
    /// nobody receives any more. False when it should look at once: it is over already, or, for one that
    /// can not (`can_poll`) look for messages, can never finish.
    pub fn register_future(&mut self, id: CallId, can_poll: bool) -> bool {
        if self.role.is(Muxer::Unassigned) && !self.receive_proc.is_present() && !can_poll {
            return false;
        }
        let Some(call) = self.calls.get_mut(id.0) else { return false };
        if call.state == CallState::Done {
            return false;
        }
        if !call.has_future && !call.wake_queued {
            call.has_future = true;
            self.future_waiters.push_back(&mut self.calls, id.0);
        }
        true
    }

    /// No task waits for `id` any more.
    fn unregister_future(&mut self, id: u32) {
        let Some(call) = self.calls.get_mut(id) else { return };
        if std::mem::take(&mut call.has_future) {
            self.future_waiters.remove(&mut self.calls, id);
        } else if std::mem::take(&mut call.wake_queued) {
            self.wake_queue.remove(&mut self.calls, id);
        }
    }

    /// The owner of `id` has looked, and a message was there.
    pub fn handle_polled(&mut self, id: CallId) -> CollectAction<P> {
        match self.collect_done(id) {
            CollectAction::Pending => CollectAction::Poll,
            over => {
                self.leave_role(Muxer::Transient);
                over
            }
        }
    }

    /// The owner of `id` has looked, and there was nothing, or the connection has ended.
    pub fn end_poll(&mut self, id: CallId) -> CollectAction<P> {
        self.leave_role(Muxer::Transient);
        self.collect_done(id)
    }

    /// The owner of a non-blocking call will not come again. The tag of one that is not over is
    /// held until its reply has come, which is then an orphan, or the connection ends. Answers the
    /// reply, if it is there.
    pub fn abandon(&mut self, id: CallId) -> Option<P::Reply> {
        self.unregister_future(id.0);
        let call = self.calls.get_mut(id.0)?;
        if call.state == CallState::Done {
            let reply = call.reply.take();
            self.finishable -= 1;
            self.calls.free(id.0);
            self.stats.orphans += u64::from(reply.is_some());
            return reply;
        }
        self.mark_abandoned(id.0);
        self.fail_waiters_all_abandoned();
        None
    }

    fn collect_done(&mut self, id: CallId) -> CollectAction<P> {
        let reply = match self.calls.get_mut(id.0) {
            Some(call) if call.state == CallState::Done => call.reply.take(),
            Some(_) => return CollectAction::Pending,
            None => return CollectAction::Ended,
        };
        self.finishable -= 1;
        self.unregister_future(id.0);
        self.calls.free(id.0);
        match reply {
            Some(reply) => CollectAction::Reply(reply),
            None => {
                self.stats.errors += 1;
                CollectAction::Ended
            }
        }
    }
}
