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
use super::plan9::{self, Rest};
use super::{Handle, NotStarted, Parker, Proc, clock, sleep_until};

/// How long the clock runs on when nobody holds it, in nanoseconds.
const LINGER: u64 = 1_000_000_000;

/// An alarm, on its owner's stack.
pub struct Alarm {
    deadline: u64,
    rest: *mut Rest,
    prev: *mut Alarm,
    next: *mut Alarm,
    listed: bool,
}

impl Alarm {
    pub fn new(deadline: u64, rest: *mut Rest) -> Alarm {
        Alarm { deadline, rest, prev: null_mut(), next: null_mut(), listed: false }
    }
}

struct List {
    first: *mut Alarm,
    last: *mut Alarm,
    /// How many hold the clock.
    holds: usize,
    runs: bool,
    /// The clock, asleep until the first alarm.
    sleeper: Option<Handle<(), native::Bunk>>,
}

// SAFETY: the alarms are on the stacks of those who wait until they are off the list, and are touched
// under its lock alone.
unsafe impl Send for List {}

static LIST: lock_api::Mutex<LastLock, List> = lock_api::Mutex::from_raw(
    <LastLock as lock_api::RawMutex>::INIT,
    List { first: null_mut(), last: null_mut(), holds: 0, runs: false, sleeper: None },
);

impl List {
    /// # Safety
    /// `alarm` is in the list.
    unsafe fn remove(&mut self, alarm: *mut Alarm) {
        // SAFETY: what is in the list is alive.
        unsafe {
            let Alarm { prev, next, .. } = *alarm;
            *(if prev.is_null() { &raw mut self.first } else { &raw mut (*prev).next }) = next;
            *(if next.is_null() { &raw mut self.last } else { &raw mut (*next).prev }) = prev;
            (*alarm).listed = false;
        }
    }
}

/// Sees to it that the clock runs.
pub fn hold() -> Result<(), NotStarted> {
    let starter = plan9::Bunk::new();
    let mut list = LIST.lock();
    let starts = !list.runs;
    if starts {
        // Under the lock, so that nobody counts on a clock that fails to start.
        let arg = (&raw const starter).cast_mut().cast();
        // SAFETY: the function takes a parker, which stays until it has been used, below.
        unsafe { plan9::start(Proc { main: run, arg }) }?;
        list.runs = true;
    }
    list.holds += 1;
    drop(list);
    if starts {
        // SAFETY: in its place until this returns; the caller is a coroutine, as all who hold the clock.
        unsafe { plan9::Bunk::park(&raw const starter) };
    }
    Ok(())
}

/// The caller has no use of the clock any more.
pub fn release() {
    LIST.lock().holds -= 1;
}

/// Sets an alarm.
///
/// # Safety
/// `alarm` stays in its place until [`unset`] has said true, or its rest has rung. The caller holds
/// the clock.
pub unsafe fn set(alarm: *mut Alarm) {
    let mut list = LIST.lock();
    // SAFETY: what is in the list is alive. The new one is likely to be the last.
    unsafe {
        let mut prev = list.last;
        while !prev.is_null() && (*prev).deadline > (*alarm).deadline {
            prev = (*prev).prev;
        }
        let next = if prev.is_null() { list.first } else { (*prev).next };
        (*alarm).prev = prev;
        (*alarm).next = next;
        (*alarm).listed = true;
        *(if prev.is_null() { &raw mut list.first } else { &raw mut (*prev).next }) = alarm;
        *(if next.is_null() { &raw mut list.last } else { &raw mut (*next).prev }) = alarm;
    }
    let clock = if list.first == alarm { list.sleeper.take() } else { None };
    drop(list);
    drop(clock);
}

/// Takes an alarm back; false when it is being rung, or has.
///
/// # Safety
/// `alarm` has been [`set`], and is alive.
pub unsafe fn unset(alarm: *mut Alarm) -> bool {
    let mut list = LIST.lock();
    // SAFETY: alive, and touched under the lock.
    unsafe {
        let listed = (*alarm).listed;
        if listed {
            list.remove(alarm);
        }
        listed
    }
}

/// The clock.
unsafe extern "C" fn run(starter: *mut c_void) {
    plan9::set_sysproc();
    // SAFETY: `hold` is parked in it, or about to be, and leaves no sooner than this.
    unsafe { plan9::Bunk::unpark(starter.cast()) };
    let mut idle_since = clock::now();
    loop {
        let mut list = LIST.lock();
        let now = clock::now();
        let first = list.first;
        // SAFETY: what is in the list is alive; one that is taken off waits until it has rung.
        unsafe {
            if !first.is_null() && (*first).deadline <= now {
                let rest = (*first).rest;
                list.remove(first);
                drop(list);
                Rest::ring(rest);
                continue;
            }
        }
        if list.holds > 0 {
            idle_since = now;
        } else if now - idle_since >= LINGER {
            list.runs = false;
            return;
        }
        // SAFETY: as above.
        let next = if first.is_null() { clock::NEVER } else { unsafe { (*first).deadline } };
        // Whoever lets go of it does not say so: it looks by itself.
        let until = next.min(now + LINGER);
        sleep_until(
            &Native,
            until,
            |handle| {
                list.sleeper = Some(handle);
                drop(list);
            },
            || {
                let sleeper = LIST.lock().sleeper.take();
                drop(sleeper);
                clock::NEVER
            },
        );
    }
}
