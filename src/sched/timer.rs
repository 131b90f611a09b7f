//! Timers for coroutines.
//!
//! lib9 has no sleep with a deadline, so one proc of libthread, the timer proc, wakes each coroutine when its
//! deadline has passed. The timer proc sleeps in the kernel. This blocks no coroutine, since no other coroutine
//! runs in that proc.
//!
//! A timer is on the stack of its owner, in a list that is ordered by deadline. The timer proc removes a timer
//! under the list's lock, and fires it after unlocking: firing acquires the sleeper's qlock, and the holder of the
//! qlock may be in a proc that waits for the list's lock. If an owner finds that its timer is no longer in the
//! list, it must therefore wait until the timer has fired.
//!
//! The timer proc runs while a coroutine has acquired the timer, and for at least one more second. It is marked
//! as a system proc of libthread, so that the program can end while it runs. The coroutine that starts the timer
//! proc sleeps until the mark is set. This keeps the coroutine's own proc alive: otherwise a main proc that ends
//! before then would not be the last one, and the program would not end.

use std::ffi::c_void;
use std::ptr::null_mut;

use parking_lot::lock_api;

use super::native::{self, LastLock, Native};
use super::plan9::{self, RendezState};
use super::{Parker, ProcMain, SchedError, WakeHandle, clock, sleep_until};

/// How long the timer proc keeps running without users, in nanoseconds.
const IDLE_TIME: u64 = 1_000_000_000;

/// A timer, on its owner's stack.
pub struct Timer {
    deadline: u64,
    rendez_state: *mut RendezState,
    prev: *mut Timer,
    next: *mut Timer,
    armed: bool,
}

impl Timer {
    pub fn new(deadline: u64, rendez_state: *mut RendezState) -> Timer {
        Timer { deadline, rendez_state, prev: null_mut(), next: null_mut(), armed: false }
    }
}

struct TimerList {
    first: *mut Timer,
    last: *mut Timer,
    /// Number of coroutines that have acquired the timer.
    users: usize,
    is_running: bool,
    /// The handle of the timer proc while it sleeps.
    sleeper: Option<WakeHandle<(), native::ThreadParker>>,
}

// SAFETY: each timer is on the stack of an owner that waits until the timer is off the list, and is accessed
// only under the list's lock.
unsafe impl Send for TimerList {}

static TIMERS: lock_api::Mutex<LastLock, TimerList> = lock_api::Mutex::from_raw(
    <LastLock as lock_api::RawMutex>::INIT,
    TimerList { first: null_mut(), last: null_mut(), users: 0, is_running: false, sleeper: None },
);

impl TimerList {
    /// Removes a timer from the list.
    ///
    /// # Safety
    /// `timer` must be in the list.
    unsafe fn remove(&mut self, timer: *mut Timer) {
        // SAFETY: a timer in the list is alive.
        unsafe {
            let Timer { prev, next, .. } = *timer;
            *(if prev.is_null() { &raw mut self.first } else { &raw mut (*prev).next }) = next;
            *(if next.is_null() { &raw mut self.last } else { &raw mut (*next).prev }) = prev;
            (*timer).armed = false;
        }
    }
}

/// Registers the caller as a user of the timer, and starts the timer proc if it is not running.
pub fn acquire() -> Result<(), SchedError> {
    let starter = plan9::CoroutineParker::new();
    let mut timers = TIMERS.lock();
    let is_starter = !timers.is_running;
    if is_starter {
        // Under the lock, so that no other coroutine relies on a timer proc that fails to start.
        let arg = (&raw const starter).cast_mut().cast();
        // SAFETY: the function takes a parker, which lives until it has been unparked, below.
        unsafe { plan9::start_proc(ProcMain { main: timer_main, arg }) }?;
        timers.is_running = true;
    }
    timers.users += 1;
    drop(timers);
    if is_starter {
        // SAFETY: the parker does not move until this returns. The caller is a coroutine, like every
        // user of the timer.
        unsafe { plan9::CoroutineParker::park(&raw const starter) };
    }
    Ok(())
}

/// Unregisters the caller as a user of the timer.
pub fn release() {
    TIMERS.lock().users -= 1;
}

/// Arms a timer.
///
/// # Safety
/// `timer` must stay alive and must not move until [`disarm`] has returned true or the timer has fired. The
/// caller must have acquired the timer.
pub unsafe fn arm(timer: *mut Timer) {
    let mut timers = TIMERS.lock();
    // SAFETY: a timer in the list is alive. The new timer is likely to have the latest deadline.
    unsafe {
        let mut prev = timers.last;
        while !prev.is_null() && (*prev).deadline > (*timer).deadline {
            prev = (*prev).prev;
        }
        let next = if prev.is_null() { timers.first } else { (*prev).next };
        (*timer).prev = prev;
        (*timer).next = next;
        (*timer).armed = true;
        *(if prev.is_null() { &raw mut timers.first } else { &raw mut (*prev).next }) = timer;
        *(if next.is_null() { &raw mut timers.last } else { &raw mut (*next).prev }) = timer;
    }
    let sleeper = if timers.first == timer { timers.sleeper.take() } else { None };
    drop(timers);
    drop(sleeper);
}

/// Disarms a timer. Returns false if the timer has fired or is about to fire.
///
/// # Safety
/// `timer` must have been passed to [`arm`], and must be alive.
pub unsafe fn disarm(timer: *mut Timer) -> bool {
    let mut timers = TIMERS.lock();
    // SAFETY: the timer is alive, and is accessed under the lock.
    unsafe {
        let armed = (*timer).armed;
        if armed {
            timers.remove(timer);
        }
        armed
    }
}

/// The main function of the timer proc.
unsafe extern "C" fn timer_main(starter: *mut c_void) {
    plan9::set_sysproc();
    // SAFETY: `acquire` parks in this parker, and does not return before this unpark.
    unsafe { plan9::CoroutineParker::unpark(starter.cast()) };
    let mut idle_since = clock::now();
    loop {
        let mut timers = TIMERS.lock();
        let now = clock::now();
        let first = timers.first;
        // SAFETY: a timer in the list is alive; the owner of a removed timer waits until it has fired.
        unsafe {
            if !first.is_null() && (*first).deadline <= now {
                let rendez_state = (*first).rendez_state;
                timers.remove(first);
                drop(timers);
                RendezState::fire(rendez_state);
                continue;
            }
        }
        if timers.users > 0 {
            idle_since = now;
        } else if now - idle_since >= IDLE_TIME {
            timers.is_running = false;
            return;
        }
        // SAFETY: as above.
        let next = if first.is_null() { clock::NEVER } else { unsafe { (*first).deadline } };
        // `release` does not wake the timer proc, so it checks the number of users at intervals.
        let until = next.min(now + IDLE_TIME);
        sleep_until(
            &Native,
            until,
            |handle| {
                timers.sleeper = Some(handle);
                drop(timers);
            },
            || {
                let sleeper = TIMERS.lock().sleeper.take();
                drop(sleeper);
                clock::NEVER
            },
        );
    }
}
