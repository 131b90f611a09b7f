//! Two ends against each other: under seeds, and under every sequence of first steps. Two simpler designs get
//! stuck in the same worlds.

use super::world::{Choose, Design, Plan, World};
use crate::engine::fuzz::messages::Random;

/// Runs a world in random steps. Returns whether every request has its reply at the end.
fn run(plan: Plan, seed: u64) -> bool {
    let mut random = Random::new(seed);
    let mut world = World::new(plan, &mut random);
    // Some steps are more likely than others in each part of the run: a server or client may stop for long.
    for part in 0..10 {
        let lazy: Vec<usize> = (0..world.kinds()).filter(|_| random.one_in(4)).collect();
        for _ in 0..50 * world.kinds() {
            let step = random.choose(world.kinds());
            if random.one_in(world.kinds()) {
                world.tick();
            }
            if plan.reconnects && random.one_in(400) {
                world.cut_stream();
                world.audit();
            }
            if plan.deaths && random.one_in(400) {
                match random.one_in(4) {
                    true => world.drop_client(random.below(2), random.below(plan.clients)),
                    false => world.kill_server(random.below(2)),
                }
                world.audit();
            }
            if !lazy.contains(&step) || random.one_in(20) {
                world.step(step, &mut random);
            }
        }
        if part % 3 == 0 {
            world.audit();
        }
    }
    world.finish(&mut random)
}

#[test]
fn every_request_has_its_reply_whatever_the_pipes_and_the_order_of_steps() {
    for seed in 0..60 {
        let mut random = Random::new(seed);
        let plan = Plan {
            design: Design::Link,
            window: *random.pick(&[20_000, 65_536, 262_144]),
            pipe: *random.pick(&[1, 7, 100, 4096, 65_536]),
            clients: 1 + random.below(4),
            requests: 1 + random.below(40),
            count: *random.pick(&[10, 1000, 8000]),
            only_reads: false,
            deaths: false,
            reconnects: false,
        };
        // Single bytes take many steps.
        let plan = if plan.pipe < 100 { Plan { count: 100, requests: 10, ..plan } } else { plan };
        assert!(run(plan, seed), "seed {seed}: stuck: {plan:?}");
    }
}

/// Much traffic in both directions over short pipes.
fn busy(design: Design) -> Plan {
    Plan {
        design,
        window: 65_536,
        pipe: 1000,
        clients: 4,
        requests: 60,
        count: 8000,
        only_reads: true,
        deaths: false,
        reconnects: false,
    }
}

#[test]
fn link_is_not_stuck_where_simpler_designs_are() {
    for seed in 0..10 {
        assert!(run(busy(Design::Link), seed), "seed {seed}");
    }
    for design in [Design::StopWhenFull, Design::WaitForOutput] {
        let stuck = (0..10).filter(|seed| !run(busy(design), *seed)).count();
        assert!(stuck > 0, "{design:?} is never stuck");
    }
}

/// Always the last choice: all of a piece, and the latest request.
struct Last;

impl Choose for Last {
    fn choose(&mut self, n: usize) -> usize {
        n - 1
    }
}

/// Runs all sequences of `depth` steps after a beginning, each of them to the end. Returns the number of sequences, and
/// of those that got stuck.
fn explore(plan: Plan, depth: usize) -> (usize, usize) {
    let (mut runs, mut stuck) = (0, 0);
    let mut path = vec![0; depth];
    loop {
        let mut script = Last;
        let mut world = World::new(plan, &mut script);
        let kinds = world.kinds();
        let mut skipped = None;
        for (n, step) in path.iter().enumerate() {
            if !world.step(*step, &mut script) {
                // All sequences with this beginning are the same as shorter ones.
                skipped = Some(n);
                break;
            }
        }
        if skipped.is_none() {
            runs += 1;
            stuck += usize::from(!world.finish(&mut script));
        }
        // The next sequence in order, which differs at the latest where a step was not possible.
        let mut last = skipped.unwrap_or(depth - 1);
        path[last + 1..].fill(0);
        loop {
            path[last] += 1;
            if path[last] < kinds {
                break;
            }
            path[last] = 0;
            match last.checked_sub(1) {
                Some(before) => last = before,
                None => return (runs, stuck),
            }
        }
    }
}

#[test]
fn servers_and_clients_that_go_leave_no_request_without_a_reply() {
    for seed in 0..60 {
        let mut random = Random::new(seed);
        let plan = Plan {
            design: Design::Link,
            window: *random.pick(&[20_000, 262_144]),
            pipe: *random.pick(&[20, 300, 65_536]),
            clients: 1 + random.below(4),
            requests: 1 + random.below(40),
            count: *random.pick(&[10, 1000]),
            only_reads: false,
            deaths: true,
            reconnects: false,
        };
        assert!(run(plan, seed), "seed {seed}: stuck: {plan:?}");
    }
}

#[test]
fn cut_streams_and_servers_that_go_leave_no_request_without_a_reply() {
    for seed in 0..60 {
        let mut random = Random::new(seed);
        let plan = Plan {
            design: Design::Link,
            window: *random.pick(&[20_000, 262_144]),
            pipe: *random.pick(&[1, 20, 300, 65_536]),
            clients: 1 + random.below(4),
            requests: 1 + random.below(40),
            count: *random.pick(&[10, 1000]),
            only_reads: random.one_in(2),
            deaths: random.one_in(2),
            reconnects: true,
        };
        assert!(run(plan, seed), "seed {seed}: stuck: {plan:?}");
    }
}

#[test]
fn no_sequence_of_first_steps_gets_a_link_stuck() {
    let small = |design| Plan {
        design,
        window: 16_384,
        pipe: 300,
        clients: 1,
        requests: 24,
        count: 500,
        only_reads: true,
        deaths: false,
        reconnects: false,
    };
    let (runs, stuck) = explore(small(Design::Link), 6);
    assert!(runs > 1000, "{runs}");
    assert_eq!(stuck, 0, "of {runs}");
    for design in [Design::StopWhenFull, Design::WaitForOutput] {
        let (runs, stuck) = explore(small(design), 6);
        assert!(stuck > 0, "{design:?}: none of {runs} is stuck");
    }
}
