//! Sleeping where there is no futex of ours: parking_lot.
//!
//! Its limit: it allocates when a thread first sleeps, and ends the program if it cannot.

use parking_lot::{Condvar, Mutex};

use super::{Parker, clock};

/// The lock on the machine's state.
#[cfg(any(mux_parking_lot, not(target_os = "linux")))]
pub type Lock = parking_lot::RawMutex;

/// A lock whose memory may be freed by whoever takes it next.
#[cfg(any(mux_parking_lot, not(target_os = "linux")))]
pub type LastLock = parking_lot::RawMutex;

/// Sleeps one caller.
pub struct Bunk {
    called: Mutex<bool>,
    bell: Condvar,
}

impl Bunk {
    pub const fn new() -> Bunk {
        Bunk { called: Mutex::new(false), bell: Condvar::new() }
    }
}

// SAFETY: park returns only after `called` is true and the mutex has been released by unpark, and
// parking_lot does not touch a mutex after releasing it: the sleeper may free it.
unsafe impl Parker for Bunk {
    unsafe fn park(this: *const Bunk) {
        // SAFETY: the caller keeps it alive until this returns.
        let bunk = unsafe { &*this };
        let mut called = bunk.called.lock();
        while !*called {
            bunk.bell.wait(&mut called);
        }
    }

    unsafe fn park_until(this: *const Bunk, deadline: u64) -> bool {
        // SAFETY: the caller keeps it alive until this returns.
        let bunk = unsafe { &*this };
        let mut called = bunk.called.lock();
        while !*called {
            let now = clock::now();
            if now >= deadline {
                return false;
            }
            bunk.bell.wait_for(&mut called, std::time::Duration::from_nanos(deadline - now));
        }
        true
    }

    unsafe fn unpark(this: *const Bunk) {
        // SAFETY: the sleeper stays until it gets the mutex and finds `called`.
        let bunk = unsafe { &*this };
        let mut called = bunk.called.lock();
        *called = true;
        bunk.bell.notify_one();
    }
}
