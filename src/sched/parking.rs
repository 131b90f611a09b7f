//! Sleeping where there is no futex of ours: parking_lot.
//!
//! Its limit: it allocates when a thread first sleeps, and ends the program if it cannot. It leaves in errno
//! what the system's calls have left, which callers of a void function would take for its error: so errno is
//! put back.

#[cfg(any(mux_parking_lot, not(target_os = "linux")))]
use parking_lot::lock_api::RawMutex;
use parking_lot::{Condvar, Mutex};

use super::{Parker, clock, errno_ptr};

/// The lock on the machine's state.
#[cfg(any(mux_parking_lot, not(target_os = "linux")))]
pub type Lock = ErrnoPreservingLock;

/// A lock whose memory may be freed by whoever takes it next.
#[cfg(any(mux_parking_lot, not(target_os = "linux")))]
pub type LastLock = ErrnoPreservingLock;

/// Does something, after which errno is what it was.
fn preserving_errno<R>(what: impl FnOnce() -> R) -> R {
    let errno = errno_ptr();
    // SAFETY: the place of this thread's errno, good as long as the thread is.
    let before = unsafe { errno.read() };
    let result = what();
    // SAFETY: as above; `what` stays in this thread.
    unsafe { errno.write(before) };
    result
}

/// parking_lot's lock, which leaves errno alone.
#[cfg(any(mux_parking_lot, not(target_os = "linux")))]
pub struct ErrnoPreservingLock(parking_lot::RawMutex);

// SAFETY: it is parking_lot's, by each function's own.
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
        // SAFETY: the caller holds it. Where somebody waits, this wakes him by a call of the system.
        preserving_errno(|| unsafe { self.0.unlock() });
    }
}

/// Sleeps one caller.
pub struct CondvarParker {
    unparked: Mutex<bool>,
    condvar: Condvar,
}

impl CondvarParker {
    pub const fn new() -> CondvarParker {
        CondvarParker { unparked: Mutex::new(false), condvar: Condvar::new() }
    }
}

// SAFETY: park returns only after `unparked` is true and the mutex has been released by unpark, and
// parking_lot does not touch a mutex after releasing it: the sleeper may free it.
unsafe impl Parker for CondvarParker {
    unsafe fn park(this: *const CondvarParker) {
        // SAFETY: the caller keeps it alive until this returns.
        let parker = unsafe { &*this };
        preserving_errno(|| {
            let mut unparked = parker.unparked.lock();
            while !*unparked {
                parker.condvar.wait(&mut unparked);
            }
        });
    }

    unsafe fn park_until(this: *const CondvarParker, deadline: u64) -> bool {
        // SAFETY: the caller keeps it alive until this returns.
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
        // SAFETY: the sleeper stays until it gets the mutex and finds `unparked`.
        let parker = unsafe { &*this };
        preserving_errno(|| {
            let mut unparked = parker.unparked.lock();
            *unparked = true;
            parker.condvar.notify_one();
        });
    }
}
