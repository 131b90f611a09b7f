//! Queues of calls, linked through the calls themselves, so that queueing allocates no memory and a
//! call can leave the middle of a queue in constant time. A call is in at most one [`CallList`] at
//! a time. The wake queue has a link of its own, so that a call may be in both.

use super::call::{Call, Protocol};
use super::slab::{CallSlab, NONE};

/// The neighbours of a call in a queue.
#[derive(Clone, Copy)]
pub struct Link {
    pub(super) prev: u32,
    pub(super) next: u32,
}

impl Link {
    pub const NONE: Link = Link { prev: NONE, next: NONE };
}

/// A queue of calls that wait for something.
pub type CallList = LinkedCalls<false>;

/// The queue of calls with a queued wake-up.
pub type WakeList = LinkedCalls<true>;

/// A queue of calls, by slot, which uses the link for wake-ups if `WAKE` is true and the other link
/// otherwise.
pub struct LinkedCalls<const WAKE: bool> {
    head: u32,
    tail: u32,
}

impl<const WAKE: bool> LinkedCalls<WAKE> {
    pub const fn new() -> Self {
        LinkedCalls { head: NONE, tail: NONE }
    }

    pub fn is_empty(&self) -> bool {
        self.head == NONE
    }

    pub fn head(&self) -> Option<u32> {
        (self.head != NONE).then_some(self.head)
    }

    /// Returns the last call for which `matches` returns true.
    pub fn rfind<P: Protocol, H>(
        &self,
        calls: &mut CallSlab<P, H>,
        mut matches: impl FnMut(&Call<P, H>) -> bool,
    ) -> Option<u32> {
        let mut id = self.tail;
        while let Some(call) = calls.get_mut(id) {
            if matches(call) {
                return Some(id);
            }
            id = Self::link(call).prev;
        }
        None
    }

    /// Returns the first slot for which `matches` returns true.
    pub fn find<P: Protocol, H>(
        &self,
        calls: &mut CallSlab<P, H>,
        matches: impl Fn(u32) -> bool,
    ) -> Option<u32> {
        let mut id = self.head;
        while let Some(call) = calls.get_mut(id) {
            if matches(id) {
                return Some(id);
            }
            id = Self::link(call).next;
        }
        None
    }

    pub fn push_back<P: Protocol, H>(&mut self, calls: &mut CallSlab<P, H>, id: u32) {
        if let Some(call) = calls.get_mut(id) {
            *Self::link(call) = Link { prev: self.tail, next: NONE };
        }
        match calls.get_mut(self.tail) {
            Some(last) => Self::link(last).next = id,
            None => self.head = id,
        }
        self.tail = id;
    }

    pub fn push_front<P: Protocol, H>(&mut self, calls: &mut CallSlab<P, H>, id: u32) {
        if let Some(call) = calls.get_mut(id) {
            *Self::link(call) = Link { prev: NONE, next: self.head };
        }
        match calls.get_mut(self.head) {
            Some(first) => Self::link(first).prev = id,
            None => self.tail = id,
        }
        self.head = id;
    }

    /// Removes `id`, which must be in this queue.
    pub fn remove<P: Protocol, H>(&mut self, calls: &mut CallSlab<P, H>, id: u32) {
        let Some(call) = calls.get_mut(id) else { return };
        let Link { prev, next } = std::mem::replace(Self::link(call), Link::NONE);
        match calls.get_mut(prev) {
            Some(before) => Self::link(before).next = next,
            None => self.head = next,
        }
        match calls.get_mut(next) {
            Some(after) => Self::link(after).prev = prev,
            None => self.tail = prev,
        }
    }

    pub fn pop_front<P: Protocol, H>(&mut self, calls: &mut CallSlab<P, H>) -> Option<u32> {
        let id = self.head()?;
        self.remove(calls, id);
        Some(id)
    }

    /// Returns the calls of the queue, in order.
    ///
    /// # Panics
    /// The links are inconsistent.
    #[cfg(any(test, mux_fuzz))]
    pub fn members<P: Protocol, H>(&self, calls: &CallSlab<P, H>) -> Vec<u32> {
        let mut members = Vec::new();
        let (mut id, mut last) = (self.head, NONE);
        while let Some(call) = calls.get(id) {
            let link = if WAKE { call.wake_link } else { call.link };
            assert_eq!(link.prev, last, "6: the neighbour of call {id}");
            members.push(id);
            assert!(members.len() <= calls.slot_count() as usize, "6: a queue is a circle");
            (last, id) = (id, link.next);
        }
        assert_eq!((id, last), (NONE, self.tail), "6: the end of a queue");
        members
    }

    #[inline]
    fn link<P: Protocol, H>(call: &mut Call<P, H>) -> &mut Link {
        if WAKE { &mut call.wake_link } else { &mut call.link }
    }
}
