//! Alarms for coroutines: lib9 has no sleep that ends at some time, so a proc of libthread's keeps the
//! clock for all. It sleeps in the kernel, which stops nobody, since it has no other coroutines.
//!
//! Alarms are on the stacks of those who set them, in a list by time. The clock takes one off under
//! the list's lock, and rings it without: ringing takes the sleeper's qlock, whose holder may be in a
//! proc that waits for the list's lock. So whoever finds its alarm gone from the list waits until it
//! has rung.
//!
//! The clock runs while somebody holds it, and for a second more. libthread is told that it is no proc
//! of the program's, which ends when its own have. Until that is so whoever has started the clock waits,
//! and by that the proc that it is in: a main proc that ended just then would not be the last.

use std::ffi::c_void;
use std::ptr::null_mut;

use parking_lot::lock_api;

use super::native::{self, LastLock, Native};
use super::plan9::{self, RendezState};
use super::{Parker, ProcMain, SchedError, WakeHandle, clock, sleep_until};

/// How long the clock runs on when nobody holds it, in nanoseconds.
const IDLE_TIME: u64 = 1_000_000_000;

/// An alarm, on its owner's stack.
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
    /// How many hold the clock.
    users: usize,
    is_running: bool,
    /// The clock, asleep until the first alarm.
    sleeper: Option<WakeHandle<(), native::ThreadParker>>,
}

// SAFETY: the alarms are on the stacks of those who wait until they are off the list, and are touched
// under its lock alone.
unsafe impl Send for TimerList {}

static TIMERS: lock_api::Mutex<LastLock, TimerList> = lock_api::Mutex::from_raw(
    <LastLock as lock_api::RawMutex>::INIT,
    TimerList { first: null_mut(), last: null_mut(), users: 0, is_running: false, sleeper: None },
);

impl TimerList {
    /// # Safety
    /// `timer` is in the list.
    unsafe fn remove(&mut self, timer: *mut Timer) {
        // SAFETY: what is in the list is alive.
        unsafe {
            let Timer { prev, next, .. } = *timer;
            *(if prev.is_null() { &raw mut self.first } else { &raw mut (*prev).next }) = next;
            *(if next.is_null() { &raw mut self.last } else { &raw mut (*next).prev }) = prev;
            (*timer).armed = false;
        }
    }
}

/// Sees to it that the clock runs.
pub fn acquire() -> Result<(), SchedError> {
    let starter = plan9::CoroutineParker::new();
    let mut timers = TIMERS.lock();
    let is_starter = !timers.is_running;
    if is_starter {
        // Under the lock, so that nobody counts on a clock that fails to start.
        let arg = (&raw const starter).cast_mut().cast();
        // SAFETY: the function takes a parker, which stays until it has been used, below.
        unsafe { plan9::start_proc(ProcMain { main: timer_main, arg }) }?;
        timers.is_running = true;
    }
    timers.users += 1;
    drop(timers);
    if is_starter {
        // SAFETY: in its place until this returns; the caller is a coroutine, as all who hold the clock.
        unsafe { plan9::CoroutineParker::park(&raw const starter) };
    }
    Ok(())
}

/// The caller has no use of the clock any more.
pub fn release() {
    TIMERS.lock().users -= 1;
}

/// Sets an alarm.
///
/// # Safety
/// `timer` stays in its place until [`disarm`] has said true, or its rest has rung. The caller holds
/// the clock.
pub unsafe fn arm(timer: *mut Timer) {
    let mut timers = TIMERS.lock();
    // SAFETY: what is in the list is alive. The new one is likely to be the last.
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

/// Takes an alarm back; false when it is being rung, or has.
///
/// # Safety
/// `timer` has been [`arm`], and is alive.
pub unsafe fn disarm(timer: *mut Timer) -> bool {
    let mut timers = TIMERS.lock();
    // SAFETY: alive, and touched under the lock.
    unsafe {
        let armed = (*timer).armed;
        if armed {
            timers.remove(timer);
        }
        armed
    }
}

/// The clock.
unsafe extern "C" fn timer_main(starter: *mut c_void) {
    plan9::set_sysproc();
    // SAFETY: `acquire` is parked in it, or about to be, and leaves no sooner than this.
    unsafe { plan9::CoroutineParker::unpark(starter.cast()) };
    let mut idle_since = clock::now();
    loop {
        let mut timers = TIMERS.lock();
        let now = clock::now();
        let first = timers.first;
        // SAFETY: what is in the list is alive; one that is taken off waits until it has rung.
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
        // Whoever lets go of it does not say so: it looks by itself.
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
