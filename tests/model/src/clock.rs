//! The clock under the model checkers: a number, which a thread of its own advances to the next deadline.
//!
//! The checker decides when that thread runs, so a deadline may pass at any moment: before a call has begun,
//! during its send, while its caller sleeps, or after the call has ended.

use std::sync::Arc;

use crate::checker::WaiterCell;
use crate::prim;

/// A deadline of a caller that sleeps, or, without a waiter, of a caller that is awake.
pub struct Timer {
    pub deadline: u64,
    pub waiter: Option<Arc<WaiterCell>>,
}

struct Times {
    now: u64,
    timers: Vec<Timer>,
    /// The clock's thread sleeps, because there is no timer.
    idle: bool,
    stopped: bool,
}

struct Clock {
    times: prim::Mutex<Times>,
    condvar: prim::Condvar,
}

prim::lazy_static! {
    static ref CLOCK: Clock = Clock {
        times: prim::Mutex::new(Times { now: 0, timers: Vec::new(), idle: false, stopped: false }),
        condvar: prim::Condvar::new(),
    };
}

/// Returns the time that the library sees.
pub fn now() -> u64 {
    prim::lock(&CLOCK.times).now
}

/// Sets a timer. Returns false if its deadline has already passed.
pub fn set(timer: Timer) -> bool {
    let mut times = prim::lock(&CLOCK.times);
    if times.now >= timer.deadline {
        return false;
    }
    times.timers.push(timer);
    if times.idle {
        CLOCK.condvar.notify_one();
    }
    true
}

/// Ends the clock's thread.
pub fn stop() {
    let mut times = prim::lock(&CLOCK.times);
    times.stopped = true;
    if times.idle {
        CLOCK.condvar.notify_one();
    }
}

/// The main function of the clock's thread.
pub fn run() {
    loop {
        prim::give_way();
        let mut times = prim::lock(&CLOCK.times);
        while times.timers.is_empty() && !times.stopped {
            times.idle = true;
            times = prim::wait(&CLOCK.condvar, times);
            times.idle = false;
        }
        if times.stopped {
            return;
        }
        drop(times);
        strike();
    }
}

/// Advances the time to the next deadline, and notifies the sleepers whose deadline has passed.
pub fn strike() {
    let mut times = prim::lock(&CLOCK.times);
    let Some(next) = times.timers.iter().map(|timer| timer.deadline).min() else { return };
    times.now = times.now.max(next);
    let now = times.now;
    let (due, later): (Vec<Timer>, _) =
        times.timers.drain(..).partition(|timer| timer.deadline <= now);
    times.timers = later;
    drop(times);
    for waiter in due.into_iter().filter_map(|timer| timer.waiter) {
        waiter.notify();
    }
}
