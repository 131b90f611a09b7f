//! Tasks of an async executor that wait for non-blocking calls: a place for each one's waker.
//!
//! Apart from the calls, since C programs have none and shall not pay for it. A place may be used again
//! by another call while somebody is about to wake the one before: it is woken for nothing then.

use std::task::Waker;

use parking_lot::lock_api;

use super::native::LastLock;

/// Where wakers are kept, by number.
pub trait WakerStore {
    /// None yet.
    const NONE: Self;

    /// Keeps a waker in that place; false when there is no memory for it.
    fn store(&self, slot: usize, waker: &Waker) -> bool;

    /// Takes it out of there.
    fn take(&self, slot: usize) -> Option<Waker>;
}

/// For callers of which none is a task.
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

/// Some wakers.
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
