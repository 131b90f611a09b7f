//! The random mix that shuttle runs: a connection, four to six callers with their jobs, and one event.
//!
//! All of these are chosen at random. Combinations that may legitimately deadlock, and combinations for which every
//! result would be correct, are excluded.

use crate::clock;
use crate::message::Fate;
use crate::prim::{self, choose};
use crate::wire::{Order, Plan};
use crate::world::{Threads, World};

/// A job of a caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Does {
    Calls,
    CallsBefore,
    Starts,
    StartsTwo,
    StartsAndGivesUp,
    Tells,
}

/// An event during the run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Event {
    Nothing,
    /// The server closes.
    Ends,
    /// The server closes, and the connection can be used again.
    EndsAndReopens,
    HangsUp,
    Releases,
}

/// The random choices of one run.
struct Mix {
    event: Event,
    procs: bool,
    /// Whether calls may have a deadline, or may be abandoned.
    gives_up: bool,
    /// Whether sending some requests fails.
    fails: bool,
    /// Whether the server receives some of the requests whose sending fails.
    tears: bool,
    /// Whether the server never replies to some requests.
    mute: bool,
    /// Whether there are non-blocking calls.
    starts: bool,
    plan: Plan,
}

fn chance(n: usize) -> bool {
    choose(n) == 0
}

impl Mix {
    fn new() -> Mix {
        use Event::{Ends, EndsAndReopens, HangsUp, Nothing, Releases};
        let event = [Nothing, Nothing, Nothing, Ends, EndsAndReopens, HangsUp, Releases][choose(7)];
        let mut plan = Plan::new(1 + choose(3) as u32);
        plan.order = [Order::First, Order::Last, Order::Any][choose(3)];
        plan.can_try = chance(2);
        plan.batches = chance(3);
        plan.strays = [0, 0, 2][choose(3)];
        // A server that stops reading until its replies are read needs blocking callers or a receive proc.
        // Otherwise all callers may be in `send`, and no caller receives. Such a server is not combined with a
        // connection that reopens: a request that is sent while the end is being reported may go over the new
        // connection, and no caller waits for its reply.
        let room = event != EndsAndReopens && chance(3);
        let procs = chance(4);
        let gives_up = !room && chance(2);
        let mute = gives_up && plan.can_try && chance(3);
        // If all requests of a batch fail, one caller may stay in `recv` until a message arrives (see
        // `is_reply_due` in src/core/machine.rs).
        let fails = !plan.batches && chance(3);
        let tears = fails && !room && chance(2);
        // Releasing the Mux frees a non-blocking call, and its owner must not poll it afterwards.
        let starts = (procs || !room) && event != Releases;
        plan.room = if room { 1 + choose(2) } else { usize::MAX };
        plan.gives_up = gives_up || starts;
        plan.reopens = event == EndsAndReopens;
        // The tag of a call that ended without its reply must not be reused at once, so other tags must be free.
        // A call without a reply may also own the last tag, and a caller that is receiving at that moment
        // cannot be notified of this.
        if tears || mute || plan.reopens {
            plan.tags = 1..1000;
        }
        Mix { event, procs, gives_up, fails, tears, mute, starts, plan }
    }

    fn does(&self) -> Does {
        use Does::{Calls, CallsBefore, Starts, StartsAndGivesUp, StartsTwo, Tells};
        let does =
            [Calls, Calls, CallsBefore, CallsBefore, Starts, StartsTwo, StartsAndGivesUp, Tells]
                [choose(8)];
        match does {
            CallsBefore if !self.gives_up => Calls,
            Starts | StartsTwo if !self.starts => Calls,
            StartsAndGivesUp if !self.starts || !self.gives_up => Calls,
            does => does,
        }
    }

    fn fate(&self, does: Does) -> Fate {
        match choose(8) {
            0 if self.fails => Fate::Unsendable,
            1 if self.fails => Fate::Untaggable,
            2 if self.tears => Fate::Torn,
            // A call without a deadline always gets its reply.
            3 | 4 if self.mute && matches!(does, Does::CallsBefore | Does::StartsAndGivesUp) => {
                Fate::Mute
            }
            _ => Fate::Replied,
        }
    }
}

/// Runs the jobs of one caller.
fn caller(world: &World, number: usize, jobs: &[(Does, Fate, u64)]) {
    for (call, &(does, fate, deadline)) in jobs.iter().enumerate() {
        let number = number * 100 + call * 10;
        match does {
            Does::Calls => world.rpc(number, fate),
            Does::CallsBefore => world.rpc_deadline(number, fate, deadline),
            Does::Tells => world.message(number),
            Does::Starts => {
                if let Some(call) = world.start(number, fate) {
                    call.finish();
                }
            }
            Does::StartsTwo => {
                let one = world.start(number, fate);
                let other = world.start(number + 1, Fate::Replied);
                for call in [other, one].into_iter().flatten() {
                    call.finish();
                }
            }
            Does::StartsAndGivesUp => {
                if let Some(mut call) = world.start(number, fate) {
                    if chance(2) {
                        prim::give_way();
                    }
                    if chance(2) || !call.looks() {
                        call.cancel();
                    }
                }
            }
        }
    }
}

/// Runs one random mix.
pub fn mix() {
    let mix = Mix::new();
    let count = 4 + choose(3);
    let world = World::new(mix.plan.clone());
    say!("{count} callers, {:?}, procs: {}, {:?}", mix.event, mix.procs, mix.plan);
    let late = chance(2);
    let mut procs = Threads::new();
    if mix.procs && !late {
        procs.extend(world.procs());
    }
    let clock = world.clock();
    let mut callers = Threads::new();
    for number in 1..=count {
        let mut jobs = Vec::new();
        for _ in 0..1 + choose(2) {
            let does = mix.does();
            jobs.push((does, mix.fate(does), 1 + choose(40) as u64));
        }
        callers.push(world.go(move |world| caller(world, number, &jobs)));
    }
    if mix.procs && late {
        procs.extend(world.procs());
    }
    match mix.event {
        Event::Nothing => {}
        Event::Ends | Event::EndsAndReopens => world.close(),
        Event::HangsUp => world.hang_up(),
        Event::Releases => world.shut_down(),
    }
    for caller in callers {
        let _ = caller.join();
    }
    clock::stop();
    let _ = clock.join();
    world.finish(procs);
}
