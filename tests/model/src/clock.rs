//! Time: a number, which a thread of its own moves on, to the next time that somebody waits for. When that
//! thread runs is the checker's choice, so a deadline passes at any moment: before a call has begun, in
//! the middle of its send, while it sleeps, or after all is over.

use std::sync::Arc;

use crate::checker::Bed;
use crate::prim;

/// A time that somebody waits for; asleep, or (without a bed) awake.
pub struct Alarm {
    pub deadline: u64,
    pub bed: Option<Arc<Bed>>,
}

struct Times {
    now: u64,
    alarms: Vec<Alarm>,
    /// The clock has nothing to wait for and sleeps.
    idle: bool,
    stopped: bool,
}

struct Clock {
    times: prim::Mutex<Times>,
    bell: prim::Condvar,
}

prim::lazy_static! {
    static ref CLOCK: Clock = Clock {
        times: prim::Mutex::new(Times { now: 0, alarms: Vec::new(), idle: false, stopped: false }),
        bell: prim::Condvar::new(),
    };
}

/// What the library sees for the time.
pub fn now() -> u64 {
    prim::lock(&CLOCK.times).now
}

/// The clock will stop there; false when that time has come already.
pub fn set(alarm: Alarm) -> bool {
    let mut times = prim::lock(&CLOCK.times);
    if times.now >= alarm.deadline {
        return false;
    }
    times.alarms.push(alarm);
    if times.idle {
        CLOCK.bell.notify_one();
    }
    true
}

/// Nobody waits any more.
pub fn stop() {
    let mut times = prim::lock(&CLOCK.times);
    times.stopped = true;
    if times.idle {
        CLOCK.bell.notify_one();
    }
}

/// The thread that moves the time on.
pub fn run() {
    loop {
        prim::give_way();
        let mut times = prim::lock(&CLOCK.times);
        while times.alarms.is_empty() && !times.stopped {
            times.idle = true;
            times = prim::wait(&CLOCK.bell, times);
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
    let Some(next) = times.alarms.iter().map(|alarm| alarm.deadline).min() else { return };
    times.now = times.now.max(next);
    let now = times.now;
    let (due, later): (Vec<Alarm>, _) =
        times.alarms.drain(..).partition(|alarm| alarm.deadline <= now);
    times.alarms = later;
    drop(times);
    for bed in due.into_iter().filter_map(|alarm| alarm.bed) {
        bed.ring();
    }
}
