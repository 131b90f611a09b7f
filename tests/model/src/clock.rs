//! Time: a number, which a thread of its own moves on, to the next time that somebody waits for. When that
//! thread runs is the checker's choice, so a deadline passes at any moment: before a call has begun, in
//! the middle of its send, while it sleeps, or after all is over.

use std::sync::Arc;

use crate::checker::WaiterCell;
use crate::prim;

/// A time that somebody waits for; asleep, or (without a waiter) awake.
pub struct Timer {
    pub deadline: u64,
    pub waiter: Option<Arc<WaiterCell>>,
}

struct Times {
    now: u64,
    timers: Vec<Timer>,
    /// The clock has nothing to wait for and sleeps.
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

/// What the library sees for the time.
pub fn now() -> u64 {
    prim::lock(&CLOCK.times).now
}

/// The clock will stop there; false when that time has come already.
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

/// Nobody waits any more.
pub fn stop() {
    let mut times = prim::lock(&CLOCK.times);
    times.stopped = true;
    if times.idle {
        CLOCK.condvar.notify_one();
    }
}

/// The thread that moves the time on.
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

/// Moves the time on, to the next that somebody waits for.
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
