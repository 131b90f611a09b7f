//! Several messages in one call of the transport.
//!
//! A sender adds the requests that are already in the send queue to its own request. No request waits
//! for a batch to fill, and each request succeeds or fails on its own. A receiver dispatches all
//! received messages while it holds the state lock once, and wakes their owners after it has unlocked.

use crate::core::CallId;
use crate::sched::Sched;

use super::batch::{BATCH, Batch};
use super::{Locked, Mux, Transport};

use std::sync::atomic::Ordering;

impl<T: Transport, S: Sched> Mux<T, S> {
    /// Sends `first` and, if `with_queued` is true, requests from the send queue. The caller must have
    /// the turn to send.
    ///
    /// Returns the result for `first`, and the epoch in which the send began.
    #[cold]
    pub(super) fn send_many(
        &self,
        first: T::Request,
        with_queued: bool,
    ) -> (Result<(), T::Failure>, u32) {
        let mut batch = Batch::new();
        let mut owners: [Option<CallId>; BATCH] = [None; BATCH];
        let _ = batch.push(first);
        if with_queued {
            self.with_locked(|core| {
                for owner in owners.iter_mut().skip(1) {
                    let Some((id, request)) = core.pop_for_batch() else { break };
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
            self.with_locked_and_range(|core| {
                for owner in owners.by_ref().take(done) {
                    let result = failure.take().map_or(Ok(()), Err);
                    match owner {
                        Some(id) => core.handle_proxy_sent(id, result, epoch),
                        None => {
                            if result.is_err() {
                                core.first_send_failed();
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
    pub(super) fn receive_many(&self) -> Locked<'_, T, S> {
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
