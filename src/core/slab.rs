//! The calls by number, in places that are used again: a call keeps its number for its whole
//! life, and memory follows the most calls at once.

use super::call::{Call, CallState, Kind, Protocol};

/// No call.
pub const NONE: u32 = u32::MAX;

/// Slots are below this, so that a slot and a flag fit in 32 bits.
pub const MAX_SLOTS: u32 = 1 << 30;

pub struct CallSlab<P: Protocol, H> {
    slots: Vec<Call<P, H>>,
    /// The first vacant place, or [`NONE`]; each names the next in its link.
    first_free: u32,
    /// How many are not vacant.
    live: u32,
}

/// More places than these are given up when the last call is over: what a Mux keeps, it leaks when
/// it is dropped.
const MAX_KEPT_SLOTS: usize = 8;

impl<P: Protocol, H> CallSlab<P, H> {
    pub const fn new() -> CallSlab<P, H> {
        CallSlab { slots: Vec::new(), first_free: NONE, live: 0 }
    }

    /// The number that the next [`claim`](CallSlab::claim) gives, with the memory for it at hand;
    /// `None` when there is no memory.
    #[inline]
    pub fn reserve(&mut self) -> Option<u32> {
        if self.first_free == NONE { self.grow() } else { Some(self.first_free) }
    }

    #[cold]
    fn grow(&mut self) -> Option<u32> {
        let next = self.slots.len() as u32;
        if next >= MAX_SLOTS {
            return None;
        }
        if self.slots.len() == self.slots.capacity() {
            // By half rather than to the double, so that a third of it is empty at most.
            let more = match self.slots.len() {
                0 => 4,
                few @ 1..16 => few,
                many => many / 2,
            };
            if self.slots.try_reserve_exact(more).is_err() {
                return None;
            }
        }
        // The question keeps code that grows the table, and could fail, out of the library.
        if self.slots.len() < self.slots.capacity() {
            self.slots.push(Call::free());
        }
        self.first_free = next;
        Some(next)
    }

    /// The place that was reserved, for a call of that kind.
    #[inline]
    pub fn claim(&mut self, kind: Kind<P::Watch>, state: CallState) -> u32 {
        let slot = self.first_free;
        if let Some(call) = self.slots.get_mut(slot as usize) {
            self.first_free = call.link.next;
            self.live += 1;
            call.link.next = NONE;
            call.kind = kind;
            call.state = state;
            call.has_deadline = false;
            call.timer_armed = false;
            call.expired_while_sending = false;
            call.has_future = false;
            call.no_reply_expected = false;
        }
        slot
    }

    #[inline]
    pub fn get_mut(&mut self, slot: u32) -> Option<&mut Call<P, H>> {
        self.slots.get_mut(slot as usize)
    }

    /// The call is over, and nobody has its number any more. Answers how to wake its owner, and
    /// its tag, if it has them still.
    #[inline]
    pub fn free(&mut self, slot: u32) -> (Option<H>, Option<u32>) {
        let Some(call) = self.slots.get_mut(slot as usize) else {
            return (None, None);
        };
        debug_assert!(
            call.state != CallState::Free && call.reply.is_none() && call.request.is_none()
        );
        call.state = CallState::Free;
        call.link.next = self.first_free;
        self.first_free = slot;
        let left = (call.wake_handle.take(), call.tag.take());
        self.live -= 1;
        if self.live == 0 && self.slots.capacity() > MAX_KEPT_SLOTS {
            self.release_memory();
        }
        left
    }

    #[cold]
    fn release_memory(&mut self) {
        self.slots = Vec::new();
        self.first_free = NONE;
    }

    /// How many there are.
    pub fn live(&self) -> u32 {
        self.live
    }

    /// One more than the highest number ever given.
    pub fn slot_count(&self) -> u32 {
        self.slots.len() as u32
    }
}
