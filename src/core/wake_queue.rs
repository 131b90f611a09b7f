//! The wake queue: sleeping callers that must be woken after the lock has been released.
//!
//! Event handlers only queue wake-ups (`queue_wake`). The caller that reported the event collects
//! them under the lock and delivers them after unlocking. A call that has ended is freed when its
//! wake-up is collected. If its owner has a deadline, and so may still report the expiry, the call
//! is freed when the owner acknowledges the wake-up.

use super::call::{CallId, Outcome, Protocol, WakeReason, Wakeup};
use super::call_state::{CallState, StateKind};
use super::list::WakeList;
use super::machine::Machine;
use super::roles::Muxer;
use super::slab::CallSlab;

/// Calls with a sleeping owner, or a future, that must be woken.
pub(super) struct WakeQueue(WakeList);

impl WakeQueue {
    pub const fn new() -> WakeQueue {
        WakeQueue(WakeList::new())
    }

    #[inline]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Queues the wake-up of a call that has none.
    fn push<P: Protocol, H>(&mut self, calls: &mut CallSlab<P, H>, id: u32, reason: WakeReason) {
        if let Some(call) = calls.get_mut(id) {
            debug_assert!(!call.wake_queued, "a call has at most one queued wake-up");
            call.wake_queued = true;
            call.wake_reason = reason;
        }
        self.0.push_back(calls, id);
    }

    /// Removes the first call and returns it.
    fn pop<P: Protocol, H>(&mut self, calls: &mut CallSlab<P, H>) -> Option<u32> {
        let id = self.0.pop_front(calls)?;
        calls.get_mut(id)?.wake_queued = false;
        Some(id)
    }

    /// Removes the queued wake-up of a call.
    pub fn remove<P: Protocol, H>(&mut self, calls: &mut CallSlab<P, H>, id: u32) {
        if let Some(call) = calls.get_mut(id) {
            call.wake_queued = false;
        }
        self.0.remove(calls, id);
    }

    #[cfg(any(test, mux_fuzz))]
    pub fn members<P: Protocol, H>(&self, calls: &CallSlab<P, H>) -> Vec<u32> {
        self.0.members(calls)
    }
}

/// At most [`WAKE_BATCH`] wake-ups, which the driver must deliver after it has released the lock.
pub struct WakeBatch<P: Protocol, H> {
    wakeups: [Option<(H, Wakeup<P>)>; WAKE_BATCH],
    /// Calls with a future that must poll again.
    futures: [Option<CallId>; WAKE_BATCH],
    more: bool,
}

/// Maximum number of wake-ups in a batch.
const WAKE_BATCH: usize = 4;

impl<P: Protocol, H> WakeBatch<P, H> {
    /// Returns true if more wake-ups are queued. The driver must then fetch them with
    /// [`take_more_wakes`](super::Machine::take_more_wakes).
    #[must_use]
    pub fn more(&self) -> bool {
        self.more
    }

    /// Returns the non-blocking calls with a future that must poll again.
    pub fn futures(&self) -> impl Iterator<Item = CallId> + use<P, H> {
        self.futures.into_iter().flatten()
    }
}

impl<P: Protocol, H> IntoIterator for WakeBatch<P, H> {
    type Item = (H, Wakeup<P>);
    type IntoIter = std::iter::Flatten<std::array::IntoIter<Option<(H, Wakeup<P>)>, WAKE_BATCH>>;

    fn into_iter(self) -> Self::IntoIter {
        self.wakeups.into_iter().flatten()
    }
}

impl<P: Protocol, H> Machine<P, H> {
    /// Records that an owner is about to sleep and can be woken with `handle`. Must be called
    /// directly after the method that returned `Sleep` or `Wait`, before the lock is released.
    #[inline]
    pub fn set_asleep(&mut self, id: CallId, handle: H) {
        if let Some(call) = self.calls.get_mut(id.0) {
            call.wake_handle = Some(handle);
            call.timer_armed = call.has_deadline;
            debug_assert!(
                !self.role.is(Muxer::Call(id.0)),
                "a sleeping owner does not have the role"
            );
        }
    }

    /// Returns wake-ups that must be delivered after the lock has been released, or `None` if there
    /// are none. Must be called after each event. If [`WakeBatch::more`] returns true, the rest
    /// must be fetched with [`take_more_wakes`](Machine::take_more_wakes).
    #[inline]
    pub fn take_wakes(&mut self) -> Option<WakeBatch<P, H>> {
        if self.wake_queue.is_empty() && !self.procs.any_wake_queued() && !self.drain.has_waiter() {
            None
        } else {
            Some(self.collect_wakes())
        }
    }

    /// Returns further wake-ups. Must be called exactly once after each batch for which `more`
    /// returned true, because that batch holds a pin.
    pub fn take_more_wakes(&mut self) -> Option<WakeBatch<P, H>> {
        self.drain.unpin();
        self.take_wakes()
    }

    fn collect_wakes(&mut self) -> WakeBatch<P, H> {
        let mut wakeups = [const { None }; WAKE_BATCH];
        let mut places = wakeups.iter_mut();
        for handle in self.procs.take_wakes().into_iter().flatten() {
            if let Some(place) = places.next() {
                *place = Some((handle, Wakeup::Work));
            }
        }
        let mut futures = [None; WAKE_BATCH];
        for (place, task) in places.zip(&mut futures) {
            let Some(id) = self.wake_queue.pop(&mut self.calls) else {
                break;
            };
            *place = self.take_wakeup(id);
            if place.is_none() {
                *task = Some(CallId(id));
            }
        }
        let mut more = !self.wake_queue.is_empty();
        if !more && self.drain.has_waiter() && self.is_idle() {
            match wakeups.iter_mut().find(|place| place.is_none()) {
                Some(place) => {
                    *place = self.drain.take_waiter().map(|handle| (handle, Wakeup::Work))
                }
                None => more = true,
            }
        }
        if more {
            self.drain.pin();
        }
        WakeBatch { wakeups, futures, more }
    }

    /// Returns the wake-up of `id`, which has been removed from the wake queue, with the wake
    /// handle, or `None` if a future must poll.
    fn take_wakeup(&mut self, id: u32) -> Option<(H, Wakeup<P>)> {
        let call = self.calls.get_mut(id)?;
        // A future has no wake handle.
        let handle = call.wake_handle.take()?;
        let wakeup = match call.wake_reason {
            WakeReason::Completed => return Some((handle, self.take_completed(id))),
            WakeReason::Busy | WakeReason::MessageSent => {
                let is_busy = call.wake_reason == WakeReason::Busy;
                self.calls.free(id, &mut self.counts);
                return Some((handle, if is_busy { Wakeup::Busy } else { Wakeup::Sent }));
            }
            WakeReason::Tag => Wakeup::Tag(call.state().tag().get()?),
            WakeReason::Turn => Wakeup::Turn(self.counts.begin_send(call)?),
            WakeReason::Sent => Wakeup::Sent,
            WakeReason::Receive => Wakeup::Receive,
            WakeReason::PollFuture => return None,
        };
        // The call continues, and its owner keeps the id.
        call.timer_armed = false;
        Some((handle, wakeup))
    }

    /// Returns the wake-up of a call that has ended, and frees its slot unless its owner may still
    /// report the expiry. An abandoned call keeps its tag and its slot until the reply arrives.
    fn take_completed(&mut self, id: u32) -> Wakeup<P> {
        let Some(call) = self.calls.get_mut(id) else { return Wakeup::Completed(Outcome::Ended) };
        let is_call = !call.is_message();
        let outcome = match call.state().kind() {
            StateKind::Abandoned => Outcome::TimedOut,
            kind if call.timer_armed => {
                self.counts.transition(call, kind, CallState::Delivered).into_outcome()
            }
            _ => self.calls.free(id, &mut self.counts).into_outcome(),
        };
        self.stats.errors += u64::from(is_call && !matches!(outcome, Outcome::Reply(_)));
        Wakeup::Completed(outcome)
    }

    /// Queues the wake-up of the sleeping owner of `id`.
    pub(super) fn queue_wake(&mut self, id: u32, reason: WakeReason) {
        debug_assert!(
            reason == WakeReason::PollFuture
                || self.calls.get_mut(id).is_some_and(|call| call.wake_handle.is_some()),
            "only a sleeping owner is woken"
        );
        self.wake_queue.push(&mut self.calls, id, reason);
        // A polling receiver has something else to do now.
        self.leave_role(Muxer::Polling(id));
    }

    /// Wakes the future that waits for a non-blocking call, if there is one.
    pub(super) fn queue_future_wake(&mut self, id: u32) {
        if let Some(call) = self.calls.get_mut(id).filter(|call| call.has_future) {
            call.has_future = false;
            self.future_waiters.remove(&mut self.calls, id);
            self.queue_wake(id, WakeReason::PollFuture);
        }
    }
}
