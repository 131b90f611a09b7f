//! Sleeping on systems other than Linux, by parking_lot.
//!
//! parking_lot allocates when a thread first sleeps, and ends the program if the allocation fails. Its system
//! calls change errno, which the caller of a void function would take for that function's error, so errno is
//! restored.

#[cfg(any(mux_parking_lot, not(target_os = "linux")))]
use parking_lot::lock_api::RawMutex;
use parking_lot::{Condvar, Mutex};

use super::{Parker, clock, errno_ptr};

/// The lock on the machine's state.
#[cfg(any(mux_parking_lot, not(target_os = "linux")))]
pub type Lock = ErrnoPreservingLock;

/// A lock that the next holder may free.
#[cfg(any(mux_parking_lot, not(target_os = "linux")))]
pub type LastLock = ErrnoPreservingLock;

/// Calls `what`, and restores errno afterwards.
fn preserving_errno<R>(what: impl FnOnce() -> R) -> R {
    let errno = errno_ptr();
    // SAFETY: the address of this thread's errno, valid for the life of the thread.
    let before = unsafe { errno.read() };
    let result = what();
    // SAFETY: as above; `what` has run in this thread.
    unsafe { errno.write(before) };
    result
}

/// parking_lot's lock, with errno preserved.
#[cfg(any(mux_parking_lot, not(target_os = "linux")))]
pub struct ErrnoPreservingLock(parking_lot::RawMutex);

// SAFETY: each function calls the function of the same name of parking_lot's lock.
#[cfg(any(mux_parking_lot, not(target_os = "linux")))]
unsafe impl RawMutex for ErrnoPreservingLock {
    #[allow(clippy::declare_interior_mutable_const, reason = "how lock_api begins a lock")]
    const INIT: ErrnoPreservingLock =
        ErrnoPreservingLock(<parking_lot::RawMutex as RawMutex>::INIT);
    type GuardMarker = <parking_lot::RawMutex as RawMutex>::GuardMarker;

    #[inline]
    fn lock(&self) {
        if !self.0.try_lock() {
            preserving_errno(|| self.0.lock());
        }
    }

    #[inline]
    fn try_lock(&self) -> bool {
        self.0.try_lock()
    }

    #[inline]
    unsafe fn unlock(&self) {
        // SAFETY: the caller holds the lock. If a thread waits for it, this wakes that thread by a system call.
        preserving_errno(|| unsafe { self.0.unlock() });
    }
}

/// Puts one caller to sleep.
pub struct CondvarParker {
    unparked: Mutex<bool>,
    condvar: Condvar,
}

impl CondvarParker {
    pub const fn new() -> CondvarParker {
        CondvarParker { unparked: Mutex::new(false), condvar: Condvar::new() }
    }
}

// SAFETY: park returns only after `unparked` is true and unpark has released the mutex. parking_lot does not
// access a mutex after releasing it, so the sleeper may free it.
unsafe impl Parker for CondvarParker {
    unsafe fn park(this: *const CondvarParker) {
        // SAFETY: the caller keeps the parker alive until this returns.
        let parker = unsafe { &*this };
        preserving_errno(|| {
            let mut unparked = parker.unparked.lock();
            while !*unparked {
                parker.condvar.wait(&mut unparked);
            }
        });
    }

    unsafe fn park_until(this: *const CondvarParker, deadline: u64) -> bool {
        // SAFETY: the caller keeps the parker alive until this returns.
        let parker = unsafe { &*this };
        preserving_errno(|| {
            let mut unparked = parker.unparked.lock();
            while !*unparked {
                let now = clock::now();
                if now >= deadline {
                    return false;
                }
                parker
                    .condvar
                    .wait_for(&mut unparked, std::time::Duration::from_nanos(deadline - now));
            }
            true
        })
    }

    unsafe fn unpark(this: *const CondvarParker) {
        // SAFETY: the sleeper keeps the parker alive until it has acquired the mutex and read `unparked` as true.
        let parker = unsafe { &*this };
        preserving_errno(|| {
            let mut unparked = parker.unparked.lock();
            *unparked = true;
            parker.condvar.notify_one();
        });
    }
}
