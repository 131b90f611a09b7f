//! Who sleeps, and how: the one seam between the library and whatever schedules its callers.
//!
//! A caller waits for its reply, for its turn to send, or for a tag. In a plain program it sleeps
//! in the kernel ([`native`]). Under plan9port's libthread it is a coroutine, and sleeping in the
//! kernel would stop every other coroutine of its proc, perhaps the very one that it waits for, so
//! there it sleeps by the program's own rsleep ([`plan9`]). A program with a scheduler of its own hands
//! in a table of functions ([`custom`]). [`dispatch`] chooses at run time. A model checker is one more
//! [`Sched`].
//!
//! Only sleeping needs the seam. The lock on the machine's state is a plain one everywhere: it is
//! held for some dozen instructions and never across a callback or a switch.

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
pub mod shared;
mod timer;
pub mod wakers;

use std::ffi::c_void;
use std::ptr::NonNull;

use parking_lot::lock_api::RawMutex;

use shared::Cell;

/// What sleeps one caller, once.
///
/// # Safety
/// For each value, `unpark` is called once. `park` (and `park_until` with true) returns only after that, everything that was
/// written before `unpark` is visible after `park`, and once `park` may return, `unpark` makes no
/// more use of the memory behind `this`: it may be gone.
pub unsafe trait Parker {
    /// Sleeps until `unpark`; returns at once if that has been called already.
    ///
    /// # Safety
    /// `this` points to a live parker, which does not move until this returns.
    unsafe fn park(this: *const Self);

    /// As `park`, but returns false when the clock shows `deadline` before then. Then it is called
    /// again, or `park` is, until one of them says that `unpark` has been.
    ///
    /// # Safety
    /// As for `park`.
    unsafe fn park_until(this: *const Self, deadline: u64) -> bool;

    /// Wakes the sleeper, or keeps it from sleeping.
    ///
    /// # Safety
    /// `this` points to a parker whose `park` has not returned.
    unsafe fn unpark(this: *const Self);
}

#[cfg(any(target_os = "netbsd", target_os = "openbsd", target_os = "android"))]
use libc::__errno as errno_location;
#[cfg(any(target_os = "linux", target_os = "dragonfly", target_os = "emscripten"))]
use libc::__errno_location as errno_location;
#[cfg(any(target_os = "macos", target_os = "ios", target_os = "freebsd"))]
use libc::__error as errno_location;

/// Where the calling thread's errno is; good as long as the thread is.
pub(crate) fn errno_ptr() -> *mut std::ffi::c_int {
    // SAFETY: it takes nothing, and answers that address.
    unsafe { errno_location() }
}

/// The calling thread's errno.
fn errno() -> std::ffi::c_int {
    // SAFETY: the address of this thread's own variable.
    unsafe { *errno_ptr() }
}

/// What a proc runs: a function and its argument, as C has them.
pub struct ProcMain {
    /// Runs until the proc ends.
    pub main: unsafe extern "C" fn(*mut c_void),
    /// What it is given.
    pub arg: *mut c_void,
}

/// A proc could not be started; the operating system's error number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SchedError(pub i32);

/// A way to schedule callers.
pub trait Sched {
    /// The lock on the machine's state.
    type Lock: RawMutex;
    /// What sleeps a caller.
    type Parker: Parker;
    /// Where the wakers of async tasks are kept.
    type Wakers: wakers::WakerStore;

    /// A parker for the calling task.
    fn parker(&self) -> Self::Parker;

    /// Whether the calling task can sleep until some time; sees to it that it can until
    /// [`release_timer`](Sched::release_timer).
    ///
    /// # Errors
    /// That it can not.
    fn acquire_timer(&self) -> Result<(), SchedError> {
        Ok(())
    }

    /// The calling task sleeps no more until some time.
    fn release_timer(&self) {}

    /// Starts a proc that runs `proc` and is never waited for.
    ///
    /// # Errors
    /// That it could not be started.
    ///
    /// # Safety
    /// `proc.main` may be called with `proc.arg`, once, from another thread.
    unsafe fn start(&self, proc: ProcMain) -> Result<(), SchedError>;
}

/// Sleeps until somebody uses the [`WakeHandle`] that `publish` is given, and answers what it says;
/// `None` when the handle was dropped instead.
///
/// The sleeper's memory is its own stack: nothing is allocated, and nothing can be lost, since this
/// does not return before the handle has been used or dropped.
#[inline]
pub fn sleep<S: Sched, V>(sched: &S, publish: impl FnOnce(WakeHandle<V, S::Parker>)) -> Option<V> {
    let waiter = Waiter { parker: sched.parker(), value: Cell::new(None) };
    {
        // Parks when it is dropped, so even if `publish` were to unwind.
        let _park_on_drop = ParkOnDrop(&waiter.parker);
        publish(WakeHandle(NonNull::from(&waiter)));
    }
    waiter.value.into_inner()
}

/// As [`sleep`], but `on_deadline` is called when the clock shows `deadline` before the handle is used, and
/// says how long to sleep on: until another time, or [`NEVER`](clock::NEVER). The caller has the
/// scheduler's clock.
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
            // SAFETY: the parker is borrowed, so it is alive and in its place.
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
        // SAFETY: the parker is borrowed, so it is alive and in its place. It may have been unparked
        // already, and then returns at once.
        unsafe { P::park(self.0) }
    }
}

/// The right to wake one sleeper, once, with something to say.
pub struct WakeHandle<V, P: Parker>(NonNull<Waiter<V, P>>);

// SAFETY: it is used from one thread at a time, like any owned value; what it hands over is a V,
// and Parker's contract makes that visible to the sleeper, in whichever thread.
unsafe impl<V: Send, P: Parker> Send for WakeHandle<V, P> {}

impl<V, P: Parker> WakeHandle<V, P> {
    /// Wakes the sleeper, which finds `value`.
    #[inline]
    pub fn wake(self, value: V) {
        // SAFETY: the sleeper does not leave before `unpark` (which is the drop of self, below), so
        // the waiter is alive; and it does not look at what is said before then, so nobody else does.
        unsafe { self.0.as_ref().value.with_mut(|place| *place = Some(value)) };
    }
}

impl<V, P: Parker> Drop for WakeHandle<V, P> {
    fn drop(&mut self) {
        // SAFETY: the waiter is alive until its park returns, which it does not before this unpark;
        // a handle is not copied, so this is the only one. No reference is made to the parker, whose
        // memory may go while `unpark` runs.
        unsafe { P::unpark(&raw const (*self.0.as_ptr()).parker) };
    }
}

#[cfg(test)]
mod tests;
