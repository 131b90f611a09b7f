//! Tags come back, and go to those who wait for one: first come, first served. Where there is nothing
//! left to wait for, they are told.

use super::call::{CallState, Protocol, WakeReason};
use super::machine::Machine;
use super::roles::Muxer;
use super::tags::NoTag;

impl<P: Protocol, H> Machine<P, H> {
    #[inline]
    pub(super) fn release_tag(&mut self, tag: Option<u32>) {
        if let Some(tag) = tag {
            self.tags.free(tag);
            if !self.tag_waiters.is_empty() {
                self.grant_tags();
            }
        }
    }

    /// Whether every tag that is taken is held for a call that has been given up: then no call that
    /// could free one is left, and the server may never answer the others.
    pub(super) fn all_tags_abandoned(&self) -> bool {
        self.abandoned > 0 && self.abandoned as usize == self.tags.allocated()
    }

    /// Those asleep who wait for a tag are told, when there is nothing left to wait for.
    pub(super) fn fail_waiters_all_abandoned(&mut self) {
        while self.all_tags_abandoned() {
            let Some(id) = self.tag_waiters.pop_front(&mut self.calls) else { return };
            self.queue_wake(id, WakeReason::AllTagsAbandoned);
        }
    }

    /// There is no memory for one more tag. A tag that comes back needs none; where no call is left
    /// whose tag could, those asleep who wait for one are told.
    fn fail_waiters_no_memory(&mut self) {
        if self.tags.allocated() != self.abandoned as usize {
            return;
        }
        while let Some(id) = self.tag_waiters.pop_front(&mut self.calls) {
            self.queue_wake(id, WakeReason::NoMemory);
        }
    }

    /// Gives free tags to those who sleep for one, in the order in which they came.
    #[cold]
    pub(super) fn grant_tags(&mut self) {
        while let Some(id) = self.tag_waiters.head() {
            let (tag, state, reason) = match self.tags.allocate(self.range, id) {
                Ok(tag) => (Some(tag), CallState::Tagged, WakeReason::Tag),
                Err(NoTag::EmptyRange) => (None, CallState::RangeEmpty, WakeReason::EmptyRange),
                // The last tag that was not held may have come free, and be none of the range's.
                Err(NoTag::AllTaken) => return self.fail_waiters_all_abandoned(),
                Err(NoTag::NoMemory) => return self.fail_waiters_no_memory(),
            };
            self.stats.max_outstanding = self.stats.max_outstanding.max(self.tags.allocated());
            self.tag_waiters.remove(&mut self.calls, id);
            if let Some(call) = self.calls.get_mut(id) {
                call.tag = tag;
                call.state = state;
            }
            self.tagged_unsent += u32::from(tag.is_some());
            self.queue_wake(id, reason);
        }
    }

    /// The muxer, if it waits for a tag itself, gets one that is free. Only for the muxer, who is
    /// awake and about to ask: inside `recv` it would have no use of a tag.
    #[cold]
    pub(super) fn grant_tag_to_muxer(&mut self) {
        let Muxer::Call(id) = self.role.holder() else { return };
        let Some(call) = self.calls.get_mut(id) else { return };
        if call.state != CallState::TagWait {
            return;
        }
        match self.tags.allocate(self.range, id) {
            Ok(tag) => {
                call.tag = Some(tag);
                call.state = CallState::Tagged;
                self.tagged_unsent += 1;
                self.stats.max_outstanding = self.stats.max_outstanding.max(self.tags.allocated());
            }
            Err(NoTag::EmptyRange) => call.state = CallState::RangeEmpty,
            Err(NoTag::AllTaken | NoTag::NoMemory) => {}
        }
    }
}
