//! The table of calls. A call keeps its slot until it has ended, and slots are reused, so that
//! memory grows with the largest number of calls at once.

use super::call::{Call, Counts, Kind, Protocol};
use super::call_state::{CallState, StateKind};

/// The slot number that stands for no call.
pub const NONE: u32 = u32::MAX;

/// Slots are below this, so that a slot and a flag fit in 32 bits.
pub const MAX_SLOTS: u32 = 1 << 30;

pub struct CallSlab<P: Protocol, H> {
    slots: Vec<Call<P, H>>,
    /// The first free slot, or [`NONE`]. The link of each free slot contains the next.
    first_free: u32,
    /// Number of slots in use.
    live: u32,
}

/// A larger table is released when its last call has ended, because a Mux leaks the memory that it
/// keeps when it is dropped.
const MAX_KEPT_SLOTS: usize = 8;

impl<P: Protocol, H> CallSlab<P, H> {
    pub const fn new() -> CallSlab<P, H> {
        CallSlab { slots: Vec::new(), first_free: NONE, live: 0 }
    }

    /// Returns the slot that the next [`claim`](CallSlab::claim) returns, after reserving memory
    /// for it, or `None` if there is no memory.
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
            // Growing by half instead of doubling leaves at most a third of a large table empty.
            let more = match self.slots.len() {
                0 => 4,
                few @ 1..16 => few,
                many => many / 2,
            };
            if self.slots.try_reserve_exact(more).is_err() {
                return None;
            }
        }
        // Without this condition the compiler would generate code that grows the table and may
        // abort.
        if self.slots.len() < self.slots.capacity() {
            self.slots.push(Call::free());
        }
        self.first_free = next;
        Some(next)
    }

    /// Occupies the slot that was reserved, and returns it.
    #[inline(always)]
    pub fn claim(&mut self, kind: Kind<P::Watch>, state: CallState<P>, counts: &mut Counts) -> u32 {
        let slot = self.first_free;
        if let Some(call) = self.slots.get_mut(slot as usize) {
            self.first_free = call.link.next;
            call.link.next = NONE;
            call.kind = kind;
            self.live += 1;
            counts.transition(call, StateKind::Free, state);
            call.has_deadline = false;
            call.timer_armed = false;
            call.has_future = false;
        }
        slot
    }

    #[inline]
    pub fn get_mut(&mut self, slot: u32) -> Option<&mut Call<P, H>> {
        self.slots.get_mut(slot as usize)
    }

    /// Frees a slot and returns the last state of the call. The owner must be awake, and the id must
    /// not be used afterwards.
    #[inline(always)]
    pub fn free(&mut self, slot: u32, counts: &mut Counts) -> CallState<P> {
        let Some(call) = self.slots.get_mut(slot as usize) else {
            return CallState::Free;
        };
        debug_assert!(call.wake_handle.is_none(), "the owner sleeps");
        let last = counts.transition(call, call.state().kind(), CallState::Free);
        call.link.next = self.first_free;
        self.first_free = slot;
        self.live -= 1;
        if self.live == 0 && self.slots.capacity() > MAX_KEPT_SLOTS {
            self.release_memory();
        }
        last
    }

    #[cold]
    fn release_memory(&mut self) {
        self.slots = Vec::new();
        self.first_free = NONE;
    }

    /// Returns the number of slots in use.
    pub fn live(&self) -> u32 {
        self.live
    }

    #[cfg(any(test, mux_fuzz))]
    pub fn get(&self, slot: u32) -> Option<&Call<P, H>> {
        self.slots.get(slot as usize)
    }

    /// Returns the free slots, in the order in which they will be used.
    ///
    /// # Panics
    /// The list of free slots is inconsistent.
    #[cfg(any(test, mux_fuzz))]
    pub fn free_slots(&self) -> Vec<u32> {
        let mut free = Vec::new();
        let mut slot = self.first_free;
        while let Some(call) = self.get(slot) {
            free.push(slot);
            assert!(free.len() <= self.slots.len(), "1: the list of free slots is a circle");
            slot = call.link.next;
        }
        assert_eq!(slot, NONE, "1: the end of the list of free slots");
        free
    }

    /// Returns the highest slot of the table plus one.
    pub fn slot_count(&self) -> u32 {
        self.slots.len() as u32
    }
}
