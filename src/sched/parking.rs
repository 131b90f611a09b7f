//! Sleeping where there is no futex of ours: parking_lot.
//!
//! Its limit: it allocates when a thread first sleeps, and ends the program if it cannot. It leaves in errno
//! what the system's calls have left, which callers of a void function would take for its error: so errno is
//! put back.

#[cfg(any(mux_parking_lot, not(target_os = "linux")))]
use parking_lot::lock_api::RawMutex;
use parking_lot::{Condvar, Mutex};

use super::{Parker, clock, errno_place};

/// The lock on the machine's state.
#[cfg(any(mux_parking_lot, not(target_os = "linux")))]
pub type Lock = Quiet;

/// A lock whose memory may be freed by whoever takes it next.
#[cfg(any(mux_parking_lot, not(target_os = "linux")))]
pub type LastLock = Quiet;

/// Does something, after which errno is what it was.
fn quietly<R>(what: impl FnOnce() -> R) -> R {
    let errno = errno_place();
    // SAFETY: the place of this thread's errno, good as long as the thread is.
    let before = unsafe { errno.read() };
    let answer = what();
    // SAFETY: as above; `what` stays in this thread.
    unsafe { errno.write(before) };
    answer
}

/// parking_lot's lock, which leaves errno alone.
#[cfg(any(mux_parking_lot, not(target_os = "linux")))]
pub struct Quiet(parking_lot::RawMutex);

// SAFETY: it is parking_lot's, by each function's own.
#[cfg(any(mux_parking_lot, not(target_os = "linux")))]
unsafe impl RawMutex for Quiet {
    #[allow(clippy::declare_interior_mutable_const, reason = "how lock_api begins a lock")]
    const INIT: Quiet = Quiet(<parking_lot::RawMutex as RawMutex>::INIT);
    type GuardMarker = <parking_lot::RawMutex as RawMutex>::GuardMarker;

    #[inline]
    fn lock(&self) {
        if !self.0.try_lock() {
            quietly(|| self.0.lock());
        }
    }

    #[inline]
    fn try_lock(&self) -> bool {
        self.0.try_lock()
    }

    #[inline]
    unsafe fn unlock(&self) {
        // SAFETY: the caller holds it. Where somebody waits, this wakes him by a call of the system.
        quietly(|| unsafe { self.0.unlock() });
    }
}

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
        quietly(|| {
            let mut called = bunk.called.lock();
            while !*called {
                bunk.bell.wait(&mut called);
            }
        });
    }

    unsafe fn park_until(this: *const Bunk, deadline: u64) -> bool {
        // SAFETY: the caller keeps it alive until this returns.
        let bunk = unsafe { &*this };
        quietly(|| {
            let mut called = bunk.called.lock();
            while !*called {
                let now = clock::now();
                if now >= deadline {
                    return false;
                }
                bunk.bell.wait_for(&mut called, std::time::Duration::from_nanos(deadline - now));
            }
            true
        })
    }

    unsafe fn unpark(this: *const Bunk) {
        // SAFETY: the sleeper stays until it gets the mutex and finds `called`.
        let bunk = unsafe { &*this };
        quietly(|| {
            let mut called = bunk.called.lock();
            *called = true;
            bunk.bell.notify_one();
        });
    }
}
