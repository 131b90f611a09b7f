//! Sending and receiving: the calls of the transport, and the events that they cause. One call of the
//! transport may transfer several messages.
//!
//! A sender adds the requests that are already in the send queue to its own request. No request waits
//! for a batch to fill, and each request succeeds or fails on its own. A receiver dispatches all
//! received messages while it holds the state lock once, and wakes their owners after it has unlocked.

use std::sync::atomic::Ordering;

use crate::core::CallId;
use crate::sched::Sched;

use super::batch::{BATCH, Batch};
use super::{Locked, Mux, Transport};

impl<T: Transport, S: Sched> Mux<T, S> {
    /// Dispatches one message to its call. Returns the locked state.
    #[inline(never)]
    pub(super) fn dispatch_message(&self, reply: T::Reply) -> Locked<'_, T, S> {
        self.dispatch_message_inline(reply)
    }

    /// As `dispatch_message`, but always inlined, for the most frequent paths.
    #[inline(always)]
    pub(super) fn dispatch_message_inline(&self, reply: T::Reply) -> Locked<'_, T, S> {
        let tag = self.transport.tag(&reply);
        let mut state = self.lock_with_range();
        let arrived = |watch, reply: &T::Reply| self.transport.arrived(watch, reply);
        match state.handle_message(tag, reply, arrived) {
            None => state,
            Some(orphan) => {
                // The callback runs unlocked: its duration must not delay other callers.
                self.release(state);
                self.transport.orphan(orphan);
                self.lock_with_range()
            }
        }
    }

    /// Waits for a message and dispatches it to its call, or reports the end of the connection. The
    /// caller must have the receiver role. Returns the locked state.
    #[inline(always)]
    pub(super) fn receive(&self) -> Locked<'_, T, S> {
        if self.transport.can_recv_many() {
            return self.own(self.receive_many());
        }
        match self.transport.recv() {
            Some(reply) => self.dispatch_message_inline(reply),
            None => self.own(self.handle_disconnect()),
        }
    }

    /// Reports the end of the connection to the machine. Returns the locked state.
    pub(super) fn handle_disconnect(&self) -> Locked<'_, T, S> {
        let mut state = self.lock_with_range();
        state.handle_disconnect();
        self.epoch.store(state.epoch(), Ordering::Release);
        state
    }

    /// Sends `request`. The caller must have the turn to send. If `with_queued` is true and the transport
    /// accepts several requests at once, requests from the send queue may be sent as well.
    ///
    /// Returns the result for `request`, and the epoch in which the send began.
    #[inline]
    pub(super) fn send(
        &self,
        request: T::Request,
        with_queued: bool,
    ) -> (Result<(), T::Failure>, u32) {
        if self.transport.can_send_many() {
            return self.send_many(request, with_queued);
        }
        let epoch = self.epoch.load(Ordering::Acquire);
        (self.transport.send(request), epoch)
    }

    /// Sends `first` and, if `with_queued` is true, requests from the send queue. The caller must have
    /// the turn to send.
    ///
    /// Returns the result for `first`, and the epoch in which the send began.
    #[cold]
    fn send_many(&self, first: T::Request, with_queued: bool) -> (Result<(), T::Failure>, u32) {
        let mut batch = Batch::new();
        let mut owners: [Option<CallId>; BATCH] = [None; BATCH];
        let _ = batch.push(first);
        if with_queued {
            self.with_locked(|machine| {
                for owner in owners.iter_mut().skip(1) {
                    let Some((id, request)) = machine.pop_for_batch() else { break };
                    *owner = Some(id);
                    let _ = batch.push(request);
                }
            });
        }
        let mut owners = owners.into_iter();
        let epoch = self.epoch.load(Ordering::Acquire);
        let mut answer = Ok(());
        while !batch.is_empty() {
            let (done, mut failure) = match self.transport.send_many(&mut batch) {
                Ok(sent) => (sent.get().min(batch.len()), None),
                // The failure concerns the first request only; the others are sent again.
                Err(failure) => (1, Some(failure)),
            };
            batch.advance(done);
            self.with_locked_and_range(|machine| {
                for owner in owners.by_ref().take(done) {
                    let result = failure.take().map_or(Ok(()), Err);
                    match owner {
                        Some(id) => machine.handle_proxy_sent(id, result, epoch),
                        None => {
                            if result.is_err() {
                                machine.first_send_failed();
                            }
                            answer = result;
                        }
                    }
                }
            });
        }
        (answer, epoch)
    }

    /// Waits for at least one message and dispatches all that the transport returns. The caller must have
    /// the receiver role. Returns the locked state.
    #[cold]
    fn receive_many(&self) -> Locked<'_, T, S> {
        let mut batch = Batch::new();
        self.transport.recv_many(&mut batch);
        if batch.is_empty() {
            return self.handle_disconnect();
        }
        let mut tags = [None; BATCH];
        for (tag, reply) in tags.iter_mut().zip(batch.iter()) {
            *tag = self.transport.tag(reply);
        }
        let mut orphans = Batch::new();
        let mut state = self.lock_with_range();
        for (tag, reply) in tags.into_iter().zip(batch.drain()) {
            let arrived = |watch, reply: &T::Reply| self.transport.arrived(watch, reply);
            if let Some(orphan) = state.handle_message(tag, reply, arrived) {
                let _ = orphans.push(orphan);
            }
        }
        if orphans.is_empty() {
            return state;
        }
        self.release(state);
        for orphan in orphans.drain() {
            self.transport.orphan(orphan);
        }
        self.lock_with_range()
    }
}
