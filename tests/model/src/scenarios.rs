//! The scenarios that loom runs: two or three callers with one or two calls each, and one kind of event at a time.

use std::sync::Arc;

use crate::message::Fate::{self, Behind, Mute, Replied, Torn, Unsendable, Untaggable};
use crate::wire::{Order, Plan};
use crate::world::World;

/// A scenario to check.
pub struct Scenario {
    pub name: &'static str,
    pub what: &'static str,
    /// Maximum number of preemptions in the short run; `None` is unlimited.
    pub bound: Option<usize>,
    /// Maximum number of preemptions in the long run; `None` is unlimited.
    pub long: Option<usize>,
    pub run: fn(),
}

macro_rules! scenarios {
    ($($name:ident $bound:expr, $long:expr, $what:literal;)*) => {
        pub const ALL: &[Scenario] = &[$(Scenario {
            name: stringify!($name),
            what: $what,
            bound: $bound,
            long: $long,
            run: $name,
        }),*];
    };
}

scenarios! {
    two_calls None, None, "two callers, one call each";
    two_calls_backwards None, None, "the same, and the server replies to the last request first";
    two_by_two Some(3), None, "two callers, two calls each";
    one_tag None, None, "two callers and one tag";
    blocked_server None, None, "the server does not read before its reply is read";
    failing_send None, None, "the send of one of two fails";
    torn_send None, None, "the send of one of two fails, but gets a reply";
    untaggable None, None, "a request does not take its tag, in its turn";
    the_end None, None, "the connection ends under two callers";
    the_end_unanswered None, None, "the same, and one never gets a reply";
    the_end_and_anew Some(3), None, "it ends under two callers, and works again";
    hang_up None, None, "the program hangs up under two callers";
    release None, None, "the program releases the Mux under two callers";
    stray None, None, "two callers, and a message that is no reply";
    message None, None, "a call, and a message by hand";
    start_and_call None, None, "a non-blocking call beside a blocking one, with nbrecv";
    start_alone None, None, "a thread alone begins more non-blocking calls than there are tags";
    start_the_end Some(3), None, "the connection ends under a non-blocking call";
    start_one_tag Some(3), None, "the same with one tag: its reply frees the tag, uncollected";
    given_up Some(3), None, "a non-blocking call is given up beside a blocking one";
    deadline Some(3), Some(4), "one of two calls has a deadline";
    deadline_naps Some(2), Some(3), "the same, with nbrecv";
    late_while_sent Some(2), Some(4), "one is late while another sends its request, and others come";
    procs Some(2), Some(3), "two callers under both procs";
    procs_come Some(2), Some(3), "procs are started under two callers";
    procs_twice Some(2), Some(3), "procs are started twice, under one caller";
    procs_failing_send Some(2), Some(3), "a send fails under procs";
    procs_blocked_server Some(2), Some(2), "procs, and the server does not read before its reply is read";
    batch_with_message Some(2), Some(2), "a call and a message are sent in one batch, by the send proc";
    procs_hang_up Some(2), Some(3), "the program hangs up while procs are started";
    procs_end Some(2), Some(2), "the connection ends under procs, and works again without";
    procs_start Some(2), Some(3), "a non-blocking call under procs";
    three_calls Some(2), None, "three callers, one call each";
    three_calls_backwards Some(2), Some(4), "the same, and the server replies to the last request first";
    three_blocked_server Some(2), Some(4), "three callers; the server does not read before its replies are read";
    three_one_tag Some(2), Some(4), "three callers and one tag";
    three_two_tags Some(2), Some(4), "three callers and two tags";
    three_failing_send Some(2), Some(4), "three callers, one of which cannot send";
    three_the_end Some(2), Some(3), "the connection ends under three callers";
}

/// Runs callers, each in a thread of its own, and then checks the final state.
fn callers(plan: Plan, fates: &[&'static [Fate]]) {
    let world = World::new(plan);
    among(&world, fates, |_| {});
    world.finish(Vec::new());
}

/// Runs callers, each in a thread of its own, while the main thread runs `main`.
fn among(world: &Arc<World>, fates: &[&'static [Fate]], main: impl FnOnce(&World)) {
    let mut threads = Vec::new();
    for (caller, &fates) in fates.iter().enumerate() {
        threads.push(world.go(move |world| {
            for (call, fate) in fates.iter().enumerate() {
                world.rpc(10 * caller + call, *fate);
            }
        }));
    }
    main(world);
    for thread in threads {
        let _ = thread.join();
    }
}

const ONE: &[Fate] = &[Replied];
const TWO: &[Fate] = &[Replied, Replied];

fn two_calls() {
    callers(Plan::new(100), &[ONE, ONE]);
}

fn two_calls_backwards() {
    callers(Plan { order: Order::Last, ..Plan::new(100) }, &[ONE, ONE]);
}

fn two_by_two() {
    callers(Plan::new(100), &[TWO, TWO]);
}

fn one_tag() {
    callers(Plan::new(1), &[ONE, ONE]);
}

fn blocked_server() {
    callers(Plan { room: 1, ..Plan::new(100) }, &[ONE, ONE]);
}

fn failing_send() {
    callers(Plan::new(2), &[&[Unsendable], ONE]);
}

fn torn_send() {
    // The last reply comes first, so that the other caller may still be receiving when the reply to the
    // failed request arrives.
    callers(Plan { order: Order::Last, ..Plan::new(100) }, &[&[Torn, Replied], ONE]);
}

fn untaggable() {
    callers(Plan::new(1), &[&[Untaggable], ONE]);
}

fn the_end() {
    let world = World::new(Plan::new(100));
    among(&world, &[ONE, ONE], World::close);
    world.finish(Vec::new());
}

fn the_end_unanswered() {
    let world = World::new(Plan::new(100));
    among(&world, &[&[Mute], ONE], World::close);
    world.finish(Vec::new());
}

fn the_end_and_anew() {
    let world = World::new(Plan { reopens: true, ..Plan::new(100) });
    among(&world, &[TWO, ONE], World::close);
    world.finish(Vec::new());
}

fn hang_up() {
    let world = World::new(Plan::new(100));
    among(&world, &[ONE, ONE], World::hang_up);
    world.finish(Vec::new());
}

fn release() {
    let world = World::new(Plan::new(1));
    among(&world, &[ONE, ONE], World::shut_down);
    world.finish(Vec::new());
}

fn stray() {
    callers(Plan { strays: 2, ..Plan::new(100) }, &[ONE, ONE]);
}

fn message() {
    let world = World::new(Plan::new(100));
    among(&world, &[ONE], |world| world.message(20));
    world.finish(Vec::new());
}

fn starting(plan: Plan, gives_up: bool) {
    let world = World::new(Plan { can_try: true, gives_up, ..plan });
    among(&world, &[ONE], |world| {
        let Some(mut call) = world.start(20, Replied) else { return };
        if gives_up {
            call.cancel();
        } else if !call.looks() {
            call.finish();
        }
    });
    world.finish(Vec::new());
}

fn start_and_call() {
    starting(Plan::new(100), false);
}

fn start_alone() {
    let world = World::new(Plan { can_try: true, ..Plan::new(1) });
    let one = world.start(10, Replied);
    let other = world.start(11, Replied);
    for call in [one, other].into_iter().flatten() {
        call.finish();
    }
    world.rpc(12, Replied);
    world.finish(Vec::new());
}

fn start_the_end() {
    let world = World::new(Plan { can_try: true, ..Plan::new(100) });
    let other = world.go(|world| {
        if let Some(call) = world.start(10, Replied) {
            call.finish();
        }
    });
    world.close();
    let _ = other.join();
    world.finish(Vec::new());
}

fn start_one_tag() {
    let world = World::new(Plan { can_try: true, ..Plan::new(1) });
    among(&world, &[ONE], |world| {
        if let Some(call) = world.start(20, Replied) {
            // The call is not collected before another call has received its reply.
            world.rpc(21, Replied);
            call.finish();
        }
    });
    world.finish(Vec::new());
}

fn given_up() {
    starting(Plan::new(100), true);
}

fn timed(plan: Plan) {
    let world = World::new(Plan { gives_up: true, ..plan });
    let clock = world.clock();
    among(&world, &[ONE], |world| world.rpc_deadline(20, Replied, 10));
    crate::clock::stop();
    let _ = clock.join();
    world.finish(Vec::new());
}

fn deadline() {
    timed(Plan::new(100));
}

fn deadline_naps() {
    timed(Plan { can_try: true, ..Plan::new(100) });
}

/// The interleaving that this scenario aims at:
///
/// * 10 receives.
/// * 20 sends its own request and then that of 30. The server reads the request of 30 only when the replies to 10
///   and 20 have been read.
/// * 10 returns. 30, whose deadline has passed, receives, sleeps again, and its deadline passes at once.
/// * Before 30 reports that, it may be woken, its reply may be received by 21, and 40 may begin with the id of 30.
///
/// The server never replies to 21, so 21 receives until 40 has ended. The reverse needs 4 preemptions and is a
/// deadlock: 40 receives although its own reply has arrived, while the owner of 21 sends the request of 40.
fn late_while_sent() {
    let world = World::new(Plan { gives_up: true, ..Plan::new(100) });
    let muxer = world.go(|world| world.rpc(10, Replied));
    let sender = world.go(|world| {
        world.rpc(20, Replied);
        world.rpc(21, Mute);
    });
    let late = world.go(|world| world.rpc_deadline(30, Behind, 10));
    let _ = muxer.join();
    world.rpc(40, Replied);
    world.close();
    let _ = sender.join();
    let _ = late.join();
    world.finish(Vec::new());
}

fn procs() {
    let world = World::new(Plan::new(100));
    let procs = world.procs();
    let other = world.go(|world| world.rpc(10, Replied));
    world.rpc(20, Replied);
    let _ = other.join();
    world.finish(procs);
}

fn procs_come() {
    let world = World::new(Plan::new(100));
    let one = world.go(|world| world.rpc(10, Replied));
    let procs = world.procs();
    world.rpc(20, Replied);
    let _ = one.join();
    world.finish(procs);
}

fn procs_twice() {
    let world = World::new(Plan::new(100));
    let mut procs = world.procs();
    procs.extend(world.procs());
    world.rpc(10, Replied);
    world.finish(procs);
}

fn procs_failing_send() {
    let world = World::new(Plan::new(2));
    let procs = world.procs();
    let other = world.go(|world| world.rpc(10, Unsendable));
    world.rpc(20, Replied);
    let _ = other.join();
    world.finish(procs);
}

fn procs_blocked_server() {
    let world = World::new(Plan { room: 1, ..Plan::new(100) });
    let procs = world.procs();
    let other = world.go(|world| world.rpc(10, Replied));
    world.rpc(20, Replied);
    let _ = other.join();
    world.finish(procs);
}

fn batch_with_message() {
    let world = World::new(Plan { batches: true, ..Plan::new(100) });
    let send_proc = world.send_proc();
    let one = world.go(|world| world.rpc(10, Replied));
    let other = world.go(|world| world.message(20));
    world.rpc(30, Replied);
    let _ = one.join();
    let _ = other.join();
    world.finish(send_proc);
}

fn procs_hang_up() {
    let world = World::new(Plan::new(100));
    let other = world.go(World::hang_up);
    let procs = world.procs();
    let _ = other.join();
    for proc in procs {
        let _ = proc.join();
    }
    world.finish(Vec::new());
}

fn procs_end() {
    let world = World::new(Plan { reopens: true, ..Plan::new(100) });
    let procs = world.procs();
    let other = world.go(|world| {
        world.rpc(10, Replied);
    });
    world.close();
    let _ = other.join();
    for proc in procs {
        let _ = proc.join();
    }
    world.rpc(20, Replied);
    world.finish(Vec::new());
}

fn procs_start() {
    let world = World::new(Plan { gives_up: true, ..Plan::new(100) });
    let procs = world.procs();
    if let Some(mut call) = world.start(10, Replied) {
        if !call.looks() {
            world.rpc(11, Replied);
            call.finish();
        }
    }
    world.finish(procs);
}

fn three_calls() {
    callers(Plan::new(100), &[ONE, ONE, ONE]);
}

fn three_calls_backwards() {
    callers(Plan { order: Order::Last, ..Plan::new(100) }, &[ONE, ONE, ONE]);
}

fn three_blocked_server() {
    callers(Plan { room: 2, ..Plan::new(100) }, &[ONE, ONE, ONE]);
}

fn three_one_tag() {
    callers(Plan::new(1), &[ONE, ONE, ONE]);
}

fn three_two_tags() {
    callers(Plan::new(2), &[ONE, ONE, ONE]);
}

fn three_failing_send() {
    callers(Plan::new(100), &[ONE, &[Unsendable], ONE]);
}

fn three_the_end() {
    let world = World::new(Plan::new(100));
    among(&world, &[ONE, ONE, ONE], World::close);
    world.finish(Vec::new());
}
