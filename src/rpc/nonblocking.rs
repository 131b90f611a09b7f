//! Non-blocking calls, for programs with an event loop: the request is sent when the call starts, and
//! the owner collects the reply later.

use std::task::{Context, Poll};

use crate::core::{CallId, CollectAction};
use crate::sched::Sched;
use crate::sched::clock::NEVER;
use crate::sched::native::Native;
use crate::sched::wakers::WakerStore;

use super::blocking::Waited;
use super::{Error, Mux, Polled, Transport, TransportProtocol};

/// The state of a non-blocking call.
#[derive(Debug, PartialEq, Eq)]
pub enum Finished<R, F> {
    /// The reply. The call has completed.
    Reply(R),
    /// The reply has not arrived yet.
    Pending,
    /// The call has failed and will not have a reply.
    Failed(Error<F>),
}

impl<T: Transport, S: Sched> Mux<T, S> {
    /// Sends `request` without waiting for its reply, and returns the id of the call. `watch` is passed to
    /// [`Transport::arrived`] when the reply arrives. `tagged` is called with the id and the tag before
    /// the request is sent. `request` returns the request once the call has a tag.
    ///
    /// The owner must call [`can_finish`](Mux::can_finish) until the call has completed, or
    /// [`abandon`](Mux::abandon) the call. A [`Call`] ensures that.
    ///
    /// # Errors
    /// As [`rpc`](Mux::rpc), except that [`Error::NoTag`] is returned immediately if all tags are in use.
    pub(crate) fn start_watched(
        &self,
        request: impl FnOnce() -> T::Request,
        watch: T::Watch,
        tagged: impl FnOnce(CallId, u32),
    ) -> Result<CallId, Error<T::Failure>> {
        let (state, begun) = self.begin(Some(watch))?;
        self.release(state);
        let id = begun.id;
        let Some(tag) = begun.tag else {
            return Err(Error::NoTag);
        };
        tagged(id, tag);
        let mut request = request();
        self.put_tag(id, &mut request, tag)?;
        if !begun.turn {
            match self.wait_for_turn(id, request, NEVER) {
                Waited::Turn(granted) => request = granted,
                Waited::Sent => return Ok(id),
                waited => return Err(waited.into_error()),
            }
        }
        let (result, epoch) = self.send(request, false);
        let action = self.with_locked_and_range(|machine| machine.handle_sent(id, result, epoch));
        match Waited::from_action(action) {
            Waited::Sent => Ok(id),
            waited => Err(waited.into_error()),
        }
    }

    /// Returns the state of a non-blocking call. While the call is pending and no other caller is
    /// receiving, first receives available messages without blocking and dispatches them to their calls.
    pub(crate) fn can_finish(&self, id: CallId) -> Finished<T::Reply, T::Failure> {
        let mut state = self.lock();
        let mut finish = state.try_collect(id, self.transport.can_try());
        loop {
            self.release(state);
            if !matches!(finish, CollectAction::Poll) {
                return finished_call(finish);
            }
            match self.transport.try_recv() {
                Polled::Message(reply) => {
                    state = self.dispatch_message_inline(reply);
                    finish = state.handle_polled(id);
                }
                Polled::Nothing => {
                    state = self.lock();
                    finish = state.end_poll(id);
                }
                Polled::Ended => {
                    state = self.handle_disconnect();
                    finish = state.end_poll(id);
                }
            }
        }
    }

    /// As [`can_finish`](Mux::can_finish), and sets `id` to `None` if the call has ended.
    pub(crate) fn collect_call(&self, id: &mut Option<CallId>) -> Finished<T::Reply, T::Failure> {
        let Some(pending) = *id else {
            return Finished::Failed(Error::Ended);
        };
        let finished = self.can_finish(pending);
        if !matches!(finished, Finished::Pending) {
            *id = None;
        }
        finished
    }

    /// Abandons a call that a task may await. Does nothing if `id` is `None`.
    pub(crate) fn cancel_call(&self, id: &mut Option<CallId>) {
        if let Some(id) = id.take() {
            // The waker goes first, because the slot may be reused as soon as the call is abandoned.
            drop(self.wakers.take(id.slot()));
            self.abandon(id);
        }
    }

    /// Abandons a call: the owner does not collect its result. The tag stays in use until the reply
    /// arrives. A reply that has already arrived becomes an orphan.
    pub(crate) fn abandon(&self, id: CallId) {
        let orphan = self.with_locked(|machine| {
            let reply = machine.abandon(id)?;
            machine.pin();
            Some(reply)
        });
        if let Some(orphan) = orphan {
            self.transport.orphan(orphan);
            self.unpin();
        }
    }
}

fn finished_call<T: Transport>(
    finish: CollectAction<TransportProtocol<T>>,
) -> Finished<T::Reply, T::Failure> {
    match finish {
        CollectAction::Reply(reply) => Finished::Reply(reply),
        CollectAction::Ended => Finished::Failed(Error::Ended),
        CollectAction::Pending | CollectAction::Poll => Finished::Pending,
        CollectAction::Stuck => Finished::Failed(Error::Stuck),
    }
}

impl<T: Transport> Mux<T, Native> {
    /// Polls a call for a task that awaits it. Sets `id` to `None` if the call has ended.
    ///
    /// Another caller or a receive proc must receive messages. If no caller receives any more, the task is
    /// woken and the call fails with [`Error::Stuck`]. The exception is a program that polls when the
    /// connection is readable ([`futures_wait`](Transport::futures_wait)).
    pub(crate) fn poll_call(
        &self,
        id: &mut Option<CallId>,
        context: &mut Context<'_>,
    ) -> Poll<Result<T::Reply, Error<T::Failure>>> {
        let mut finished = self.collect_call(id);
        if let (Finished::Pending, Some(pending)) = (&finished, *id) {
            if !self.wakers.store(pending.slot(), context.waker()) {
                self.cancel_call(id);
                return Poll::Ready(Err(Error::NoMemory));
            }
            let may_wait = self.transport.futures_wait();
            if self.with_locked(|machine| machine.register_future(pending, may_wait)) {
                return Poll::Pending;
            }
            drop(self.wakers.take(pending.slot()));
            *id = None;
            finished = finished_call(self.with_locked(|machine| machine.end_future(pending)));
        }
        Poll::Ready(match finished {
            Finished::Reply(reply) => Ok(reply),
            Finished::Failed(error) => Err(error),
            Finished::Pending => Err(Error::Ended),
        })
    }
}
