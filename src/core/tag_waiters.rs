//! The tag waiters: freed tags are granted to callers that wait for one, first come, first served.
//! If no tag can become free, the waiters fail.

use super::call::{Outcome, Protocol, WakeReason};
use super::call_state::{CallState, CallTag, StateKind};
use super::list::CallList;
use super::machine::Machine;
use super::roles::Muxer;
use super::slab::CallSlab;
use super::tags::{NoTag, TagPool, TagRange};

/// The tags of the connection, and the sleeping callers that wait for one.
pub(super) struct Tags {
    pool: TagPool,
    /// The valid tags, as the driver last set them.
    range: TagRange,
    /// The tag waiters, first come, first served. The receiver may wait for a tag too, but is not
    /// in this queue.
    waiters: CallList,
}

impl Tags {
    pub fn new() -> Tags {
        Tags { pool: TagPool::new(), range: TagRange { min: 0, max: 0 }, waiters: CallList::new() }
    }

    #[inline(always)]
    pub fn set_range(&mut self, range: TagRange) {
        self.range = range;
    }

    #[inline(always)]
    pub fn has_empty_range(&self) -> bool {
        self.range.is_empty()
    }

    /// Allocates a free tag of the range to the call `owner`.
    #[inline(always)]
    pub fn allocate(&mut self, owner: u32) -> Result<u32, NoTag> {
        self.pool.allocate(self.range, owner)
    }

    #[inline(always)]
    pub fn free(&mut self, tag: u32) {
        self.pool.free(tag);
    }

    /// Returns the call that has `tag`.
    #[inline]
    pub fn owner(&self, tag: u32) -> Option<u32> {
        self.pool.owner(tag)
    }

    /// Returns the number of allocated tags.
    #[inline]
    pub fn allocated(&self) -> usize {
        self.pool.allocated()
    }

    #[inline]
    pub fn has_waiters(&self) -> bool {
        !self.waiters.is_empty()
    }

    /// Adds the call `id` as the first waiter.
    pub fn push_first<P: Protocol, H>(&mut self, calls: &mut CallSlab<P, H>, id: u32) {
        self.waiters.push_front(calls, id);
    }

    /// Adds the call `id` as the last waiter.
    pub fn push_last<P: Protocol, H>(&mut self, calls: &mut CallSlab<P, H>, id: u32) {
        self.waiters.push_back(calls, id);
    }

    /// Removes the call `id`, which must be a waiter.
    pub fn remove_waiter<P: Protocol, H>(&mut self, calls: &mut CallSlab<P, H>, id: u32) {
        self.waiters.remove(calls, id);
    }

    /// Removes the first waiter and returns it.
    pub fn pop_waiter<P: Protocol, H>(&mut self, calls: &mut CallSlab<P, H>) -> Option<u32> {
        self.waiters.pop_front(calls)
    }

    /// Returns the pool. The caller drops its memory.
    pub fn take_pool(&mut self) -> TagPool {
        std::mem::take(&mut self.pool)
    }

    #[cfg(any(test, mux_fuzz))]
    pub fn waiters<P: Protocol, H>(&self, calls: &CallSlab<P, H>) -> Vec<u32> {
        self.waiters.members(calls)
    }
}

impl<P: Protocol, H> Machine<P, H> {
    /// Frees `tag` and grants free tags to tag waiters.
    #[inline]
    pub(super) fn release_tag(&mut self, tag: CallTag) {
        let is_freed = self.free_tag(tag);
        self.grant_freed(is_freed);
    }

    /// Frees `tag`. Returns true if there was one; the caller must then call `grant_freed`.
    #[inline]
    pub(super) fn free_tag(&mut self, tag: CallTag) -> bool {
        if let Some(tag) = tag.get() {
            self.tags.free(tag);
        }
        tag != CallTag::NONE
    }

    /// Grants free tags to tag waiters if `is_freed` is true.
    #[inline]
    pub(super) fn grant_freed(&mut self, is_freed: bool) {
        if is_freed && self.tags.has_waiters() {
            self.grant_tags();
        }
    }

    /// Returns true if every allocated tag belongs to an abandoned call. No outstanding call can
    /// free a tag then, and the server may never reply to the abandoned calls.
    pub(super) fn all_tags_abandoned(&self) -> bool {
        self.counts.abandoned > 0 && self.counts.abandoned as usize == self.tags.allocated()
    }

    /// Wakes all sleeping tag waiters with an error if every allocated tag belongs to an abandoned
    /// call.
    pub(super) fn fail_waiters_all_abandoned(&mut self) {
        while self.all_tags_abandoned() {
            let Some(id) = self.tags.pop_waiter(&mut self.calls) else { return };
            self.fail_waiter(id, Outcome::AllTagsAbandoned);
        }
    }

    /// Handles the lack of memory for one more tag. Reusing a freed tag needs no memory, so the
    /// sleeping tag waiters are woken with an error only if no outstanding call is left that could
    /// free one.
    fn fail_waiters_no_memory(&mut self) {
        if self.tags.allocated() != self.counts.abandoned as usize {
            return;
        }
        while let Some(id) = self.tags.pop_waiter(&mut self.calls) {
            self.fail_waiter(id, Outcome::NoMemory);
        }
    }

    /// Wakes a tag waiter, which has been removed from the queue, with `outcome`.
    fn fail_waiter(&mut self, id: u32, outcome: Outcome<P::Reply, P::Failure>) {
        self.transition(id, StateKind::TagWait, CallState::Done(outcome));
        self.queue_wake(id, WakeReason::Completed);
    }

    /// Grants free tags to sleeping tag waiters, in the order in which they began to wait.
    #[cold]
    pub(super) fn grant_tags(&mut self) {
        while let Some(id) = self.tags.waiters.head() {
            let tag = match self.tags.allocate(id) {
                Ok(tag) => tag,
                Err(NoTag::EmptyRange) => {
                    self.tags.remove_waiter(&mut self.calls, id);
                    self.fail_waiter(id, Outcome::EmptyRange);
                    continue;
                }
                // All tags of the range may belong to abandoned calls now: a tag that was freed may
                // be outside the range.
                Err(NoTag::AllTaken) => return self.fail_waiters_all_abandoned(),
                Err(NoTag::NoMemory) => return self.fail_waiters_no_memory(),
            };
            self.stats.max_outstanding = self.stats.max_outstanding.max(self.tags.allocated());
            self.tags.remove_waiter(&mut self.calls, id);
            self.transition(id, StateKind::TagWait, CallState::Tagged { tag: CallTag::new(tag) });
            self.queue_wake(id, WakeReason::Tag);
        }
    }

    /// Grants a free tag to the muxer, if it waits for one. The muxer must be awake and about to
    /// ask for its next action: inside `recv` it could not use the tag.
    ///
    /// The muxer seldom waits for a tag, so the rest is a function of its own.
    #[cold]
    #[inline(never)]
    pub(super) fn grant_tag_to_muxer(&mut self) {
        if let Muxer::Call(id) = self.role.holder() {
            self.grant_tag_to_waiting_muxer(id);
        }
    }

    #[inline(never)]
    fn grant_tag_to_waiting_muxer(&mut self, id: u32) {
        let Some(call) = self.calls.get_mut(id) else { return };
        if !call.is(StateKind::TagWait) {
            return;
        }
        match self.tags.allocate(id) {
            Ok(tag) => {
                let to = CallState::Tagged { tag: CallTag::new(tag) };
                self.counts.transition(call, StateKind::TagWait, to);
                self.stats.max_outstanding = self.stats.max_outstanding.max(self.tags.allocated());
            }
            Err(NoTag::EmptyRange) => {
                let to = CallState::Done(Outcome::EmptyRange);
                self.counts.transition(call, StateKind::TagWait, to);
            }
            Err(NoTag::AllTaken | NoTag::NoMemory) => {}
        }
    }
}
