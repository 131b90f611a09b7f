//! The interface between the library and the scheduler of its callers: how a caller sleeps and is woken.
//!
//! A caller waits for its reply, for its turn to send, or for a tag. In a plain program the caller is a
//! thread and sleeps in the kernel ([`native`]). Under plan9port's libthread the caller is a coroutine.
//! Sleeping in the kernel would stop every other coroutine of its proc, possibly the coroutine that it waits
//! for, so a coroutine sleeps by the program's own rsleep ([`plan9`]). A program with a scheduler of its
//! own installs a table of functions ([`custom`]). [`dispatch`] selects one of these at run time. A model
//! checker is one more [`Sched`].
//!
//! Only sleeping needs this interface. The lock on the machine's state is the same for every caller: it is
//! held only for a short time, and never across a callback or a switch of coroutines.

pub mod clock;
pub mod custom;
pub mod dispatch;
#[cfg(all(target_os = "linux", not(mux_parking_lot)))]
mod futex;
pub mod native;
#[cfg(any(test, mux_parking_lot, not(target_os = "linux")))]
mod parking;
pub mod plan9;
pub mod ready_fd;
pub mod release;
pub mod shared;
mod timer;
pub mod wakers;

use std::ffi::c_void;
use std::ptr::NonNull;

use parking_lot::lock_api::RawMutex;

use shared::Cell;

/// Puts one caller to sleep, once.
///
/// # Safety
/// `unpark` is called once for each value. An implementation must ensure that
///
/// * `park` returns, and `park_until` returns true, only after `unpark` has been called;
/// * everything that was written before `unpark` is visible after `park`;
/// * `unpark` does not access the memory behind `this` once `park` may return, since it may have been freed.
pub unsafe trait Parker {
    /// Sleeps until `unpark` is called. Returns immediately if `unpark` has already been called.
    ///
    /// # Safety
    /// `this` must point to a live parker, which must not move until this returns.
    unsafe fn park(this: *const Self);

    /// As `park`, but returns false if `deadline` passes first. The caller must then call `park_until` or
    /// `park` again until `unpark` has been called.
    ///
    /// # Safety
    /// As for `park`.
    unsafe fn park_until(this: *const Self, deadline: u64) -> bool;

    /// Wakes the sleeper. If the sleeper is not yet asleep, its `park` returns immediately.
    ///
    /// # Safety
    /// `this` must point to a live parker, and its `park` must not have returned.
    unsafe fn unpark(this: *const Self);
}

#[cfg(any(target_os = "netbsd", target_os = "openbsd", target_os = "android"))]
use libc::__errno as errno_location;
#[cfg(any(target_os = "linux", target_os = "dragonfly", target_os = "emscripten"))]
use libc::__errno_location as errno_location;
#[cfg(any(target_os = "macos", target_os = "ios", target_os = "freebsd"))]
use libc::__error as errno_location;

/// Returns the address of the calling thread's errno, valid for the life of the thread.
pub(crate) fn errno_ptr() -> *mut std::ffi::c_int {
    // SAFETY: a function without parameters that returns this address.
    unsafe { errno_location() }
}

/// Returns the calling thread's errno.
fn errno() -> std::ffi::c_int {
    // SAFETY: the address of this thread's own variable.
    unsafe { *errno_ptr() }
}

/// The main function of a proc and its argument, as in C.
pub struct ProcMain {
    /// The function; the proc ends when it returns.
    pub main: unsafe extern "C" fn(*mut c_void),
    /// The function's argument.
    pub arg: *mut c_void,
}

/// An operation that the scheduler could not perform, as an error number of the operating system.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SchedError(pub i32);

/// A scheduler of callers.
pub trait Sched {
    /// The lock on the machine's state.
    type Lock: RawMutex;
    /// Puts one caller to sleep.
    type Parker: Parker;
    /// The storage for the wakers of async tasks.
    type Wakers: wakers::WakerStore;

    /// Returns a parker for the calling task.
    fn parker(&self) -> Self::Parker;

    /// Ensures that the calling task can sleep with a deadline, until it calls
    /// [`release_timer`](Sched::release_timer).
    ///
    /// # Errors
    /// Returns an error if the calling task cannot sleep with a deadline.
    fn acquire_timer(&self) -> Result<(), SchedError> {
        Ok(())
    }

    /// Releases the timer. The calling task must not sleep with a deadline after this.
    fn release_timer(&self) {}

    /// Starts a proc that runs `proc`. The proc is not joined.
    ///
    /// # Errors
    /// Returns an error if the proc could not be started.
    ///
    /// # Safety
    /// Calling `proc.main` with `proc.arg`, once, from another thread must be sound.
    unsafe fn start(&self, proc: ProcMain) -> Result<(), SchedError>;
}

/// Sleeps until the [`WakeHandle`] that `publish` receives is used, and returns the value that the sleeper
/// was woken with. Returns `None` if the handle was dropped instead.
///
/// The waiter is on the sleeper's stack, so nothing is allocated. A wake-up cannot be lost, since this does
/// not return before the handle has been used or dropped.
#[inline]
pub fn sleep<S: Sched, V>(sched: &S, publish: impl FnOnce(WakeHandle<V, S::Parker>)) -> Option<V> {
    let waiter = Waiter { parker: sched.parker(), value: Cell::new(None) };
    {
        // Parks on drop, and so also when `publish` unwinds.
        let _park_on_drop = ParkOnDrop(&waiter.parker);
        publish(WakeHandle(NonNull::from(&waiter)));
    }
    waiter.value.into_inner()
}

/// As [`sleep`], but calls `on_deadline` if `deadline` passes before the handle is used. `on_deadline` returns
/// the next deadline of the same sleep, or [`NEVER`](clock::NEVER). The caller must have acquired the
/// scheduler's timer.
pub fn sleep_until<S: Sched, V>(
    sched: &S,
    mut deadline: u64,
    publish: impl FnOnce(WakeHandle<V, S::Parker>),
    mut on_deadline: impl FnMut() -> u64,
) -> Option<V> {
    let waiter = Waiter { parker: sched.parker(), value: Cell::new(None) };
    {
        let _park_on_drop = ParkOnDrop(&waiter.parker);
        publish(WakeHandle(NonNull::from(&waiter)));
        while deadline != clock::NEVER {
            // SAFETY: the parker is borrowed, so it is alive and does not move.
            if unsafe { S::Parker::park_until(&raw const waiter.parker, deadline) } {
                break;
            }
            deadline = on_deadline();
        }
    }
    waiter.value.into_inner()
}

struct Waiter<V, P> {
    parker: P,
    value: Cell<Option<V>>,
}

struct ParkOnDrop<'a, P: Parker>(&'a P);

impl<P: Parker> Drop for ParkOnDrop<'_, P> {
    fn drop(&mut self) {
        // SAFETY: the parker is borrowed, so it is alive and does not move. If it has already been
        // unparked, park returns immediately.
        unsafe { P::park(self.0) }
    }
}

/// The right to wake one sleeper, once, with a value.
pub struct WakeHandle<V, P: Parker>(NonNull<Waiter<V, P>>);

// SAFETY: the handle is used from one thread at a time, like any owned value. It transfers a V, which is
// Send, and Parker's contract makes the V visible to the sleeper in its thread.
unsafe impl<V: Send, P: Parker> Send for WakeHandle<V, P> {}

impl<V, P: Parker> WakeHandle<V, P> {
    /// Wakes the sleeper with `value`.
    #[inline]
    pub fn wake(self, value: V) {
        // SAFETY: the sleeper does not return before `unpark`, which dropping self calls, so the waiter
        // is alive. The sleeper does not read the value before then, so this access is exclusive.
        unsafe { self.0.as_ref().value.with_mut(|place| *place = Some(value)) };
    }
}

impl<V, P: Parker> Drop for WakeHandle<V, P> {
    fn drop(&mut self) {
        // SAFETY: the waiter is alive until its park returns, which does not happen before this unpark.
        // A handle cannot be copied, so this is the only unpark. No reference to the parker is created,
        // since its memory may be freed while `unpark` runs.
        unsafe { P::unpark(&raw const (*self.0.as_ptr()).parker) };
    }
}

#[cfg(test)]
mod tests;
