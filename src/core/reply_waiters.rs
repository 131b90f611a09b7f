//! The reply waiters: sleeping callers that wait for a reply. Callers without a deadline are kept
//! apart from callers with one, because they become the receiver first.

use super::call::Protocol;
use super::list::CallList;
use super::slab::CallSlab;

/// The queues of reply waiters. The caller that went to sleep last is first in its queue.
pub(super) struct ReplyWaiters {
    untimed: CallList,
    timed: CallList,
}

impl ReplyWaiters {
    pub const fn new() -> ReplyWaiters {
        ReplyWaiters { untimed: CallList::new(), timed: CallList::new() }
    }

    #[inline]
    pub fn is_empty(&self) -> bool {
        self.untimed.is_empty() && self.timed.is_empty()
    }

    /// Returns true if a caller without a deadline waits.
    #[inline]
    pub fn has_untimed(&self) -> bool {
        !self.untimed.is_empty()
    }

    #[inline]
    fn queue(&mut self, has_deadline: bool) -> &mut CallList {
        if has_deadline { &mut self.timed } else { &mut self.untimed }
    }

    /// Adds the call `id`.
    pub fn push<P: Protocol, H>(&mut self, calls: &mut CallSlab<P, H>, id: u32) {
        let has_deadline = calls.get_mut(id).is_some_and(|call| call.has_deadline);
        self.queue(has_deadline).push_front(calls, id);
    }

    /// Removes the call `id`, which must be a reply waiter.
    #[inline]
    pub fn remove<P: Protocol, H>(&mut self, calls: &mut CallSlab<P, H>, id: u32) {
        let has_deadline = calls.get_mut(id).is_some_and(|call| call.has_deadline);
        self.queue(has_deadline).remove(calls, id);
    }

    /// Removes and returns the call that should receive next.
    pub fn pop<P: Protocol, H>(&mut self, calls: &mut CallSlab<P, H>) -> Option<u32> {
        self.untimed.pop_front(calls).or_else(|| self.timed.pop_front(calls))
    }

    /// Removes a message that is to be received by hand, and returns it.
    pub fn pop_message<P: Protocol, H>(&mut self, calls: &mut CallSlab<P, H>) -> Option<u32> {
        let id = self.untimed.rfind(calls, |call| call.is_message())?;
        self.untimed.remove(calls, id);
        Some(id)
    }

    /// Returns the calls without and with a deadline.
    #[cfg(any(test, mux_fuzz))]
    pub fn members<P: Protocol, H>(&self, calls: &CallSlab<P, H>) -> [Vec<u32>; 2] {
        [self.untimed.members(calls), self.timed.members(calls)]
    }
}
