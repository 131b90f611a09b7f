//! Storage for the wakers of the async futures that wait for non-blocking calls, one slot per call.
//!
//! The wakers are stored apart from the calls, since C programs have no futures and should not pay for them. A
//! slot may be reused by another call while a thread is about to wake the future of the previous call. The new
//! future is then polled unnecessarily.

use std::task::Waker;

use parking_lot::lock_api;

use super::native::LastLock;

/// A store of wakers, indexed by slot.
pub trait WakerStore {
    /// An empty store.
    const NONE: Self;

    /// Stores a clone of `waker` in the slot. Returns false if there is no memory for it.
    fn store(&self, slot: usize, waker: &Waker) -> bool;

    /// Removes the waker from the slot and returns it.
    fn take(&self, slot: usize) -> Option<Waker>;
}

/// The store of a scheduler without futures.
#[derive(Debug)]
pub struct NoWakers;

impl WakerStore for NoWakers {
    const NONE: NoWakers = NoWakers;

    fn store(&self, _: usize, _: &Waker) -> bool {
        false
    }

    fn take(&self, _: usize) -> Option<Waker> {
        None
    }
}

/// A growing table of wakers.
pub struct WakerTable(lock_api::Mutex<LastLock, Vec<Option<Waker>>>);

impl WakerStore for WakerTable {
    #[allow(clippy::declare_interior_mutable_const, reason = "where each Mux begins")]
    const NONE: WakerTable =
        WakerTable(lock_api::Mutex::from_raw(<LastLock as lock_api::RawMutex>::INIT, Vec::new()));

    fn store(&self, slot: usize, waker: &Waker) -> bool {
        // Cloned and dropped outside the lock: either may run the executor's code.
        let new = waker.clone();
        let mut slots = self.0.lock();
        let missing = (slot + 1).saturating_sub(slots.len());
        if slots.try_reserve(missing).is_err() {
            return false;
        }
        for _ in 0..missing {
            slots.push(None);
        }
        let old = slots.get_mut(slot).and_then(|kept| kept.replace(new));
        drop(slots);
        drop(old);
        true
    }

    fn take(&self, slot: usize) -> Option<Waker> {
        self.0.lock().get_mut(slot).and_then(Option::take)
    }
}
