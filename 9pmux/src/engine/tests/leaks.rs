//! Tags that a user leaves behind for good, at a server that replies neither to Tread nor to Tflush.

use std::time::Duration;

use super::bench::{Bench, MSIZE};
use super::messages::*;
use crate::engine::{ClientId, Config, User};
use crate::wire::{Dialect, kind, tag, types};

const ATTACKER: User = User::Local(1);
const VICTIM: User = User::Local(2);
const TSTAT: u8 = 124;

/// How a client of the attacker ends its session.
#[derive(Clone, Copy, Debug)]
enum Ending {
    Disconnects,
    SendsVersion,
}

/// One user with some connections, and one with a client that is connected for long.
struct Attack {
    bench: Bench,
    old: ClientId,
    attackers: Vec<ClientId>,
    now: Duration,
    random: u32,
}

impl Attack {
    fn new(max_inflight_all: usize, connections: usize) -> Attack {
        let config = Config { max_inflight_all, ..Config::default() };
        let mut bench = Bench::with(Dialect::Plain, config);
        let old = bench.engine.client_connected_as(VICTIM);
        let attackers =
            (0..connections).map(|_| bench.engine.client_connected_as(ATTACKER)).collect();
        let mut attack = Attack { bench, old, attackers, now: Duration::ZERO, random: 1 };
        for id in attack.attackers.clone() {
            attack.begin(id);
        }
        attack.begin(old);
        attack
    }

    /// Lets a client send its Tversion and Tattach.
    fn begin(&mut self, id: ClientId) {
        self.bench.engine.client_bytes(id, &version(MSIZE, "9P2000"));
        self.bench.engine.client_bytes(id, &attach(Dialect::Plain, 1, 0, !0, "u", "a"));
        self.serve();
    }

    /// The server replies to all but Tread and Tflush, and all clients read.
    fn serve(&mut self) {
        loop {
            let mut bytes = self.bench.engine.server_output().to_vec();
            self.bench.engine.server_wrote(bytes.len());
            for request in cut(&mut bytes) {
                let reply = match kind(&request) {
                    types::TREAD | types::TFLUSH => continue,
                    types::TATTACH => made(types::RATTACH, tag(&request)).qid(0, 0),
                    TSTAT => made(TSTAT + 1, tag(&request)).u16(0),
                    other => made(other + 1, tag(&request)),
                };
                self.bench.engine.server_bytes(&reply.done());
            }
            while let Some(id) = self.bench.engine.next_dirty() {
                let n = self.bench.engine.output(id).len();
                if n > 0 {
                    self.bench.engine.client_wrote(id, n);
                }
            }
            if self.bench.engine.server_output().is_empty() {
                return;
            }
        }
    }

    fn below(&mut self, n: u32) -> u32 {
        self.random = self.random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (self.random >> 8) % n
    }

    /// Lets one client of the attacker send reads, end its session, and begin another one.
    fn visit(&mut self, reads: u32, ending: Ending) {
        let i = self.below(self.attackers.len() as u32) as usize;
        let id = self.attackers[i];
        let reads: Vec<u8> = (0..reads).flat_map(|n| read(n as u16, 0, 0, 1)).collect();
        self.bench.engine.client_bytes(id, &reads);
        match ending {
            Ending::Disconnects => {
                self.bench.engine.client_gone(id);
                self.attackers[i] = self.bench.engine.client_connected_as(ATTACKER);
            }
            Ending::SendsVersion => {
                self.bench.engine.client_bytes(id, &version(MSIZE, "9P2000"));
                // The Tversion waits for the flushes only as long as it may.
                self.now += Config::default().cleanup_timeout;
                self.bench.engine.tick(self.now);
                self.serve();
            }
        }
        self.begin(self.attackers[i]);
    }

    /// Checks that the clients of another user are served: one that is connected, and a new one.
    #[track_caller]
    fn check_others(&mut self) {
        let before = self.bench.engine.stats().replied;
        self.bench.engine.client_bytes(self.old, &of_fid(TSTAT, 9, 0));
        self.serve();
        let new = self.bench.engine.client_connected_as(VICTIM);
        self.begin(new);
        self.bench.engine.client_bytes(new, &of_fid(TSTAT, 9, 0));
        self.serve();
        let replied = self.bench.engine.stats().replied - before;
        let stats = self.bench.engine.stats();
        assert_eq!(replied, 3, "Rstat, Rattach and Rstat, with {} requests", stats.requests);
        self.bench.engine.client_gone(new);
        self.serve();
    }
}

/// Makes visits, each with a number of reads, and checks now and then that other users are served.
#[track_caller]
fn check(mut attack: Attack, visits: usize, reads: u32, ending: Ending) {
    for n in 1..=visits {
        attack.visit(reads, ending);
        if n % (visits / 100) == 0 {
            attack.check_others();
        }
    }
    attack.bench.engine.audit();
}

#[test]
fn disconnections_of_one_user_leave_tags_to_others() {
    check(Attack::new(64_512, 500), 100_000, 1, Ending::Disconnects);
}

#[test]
fn further_sessions_of_one_user_leave_tags_to_others() {
    check(Attack::new(64_512, 500), 100_000, 1, Ending::SendsVersion);
}

#[test]
fn sessions_with_many_reads_leave_tags_to_others() {
    check(Attack::new(4_096, 300), 10_000, 256, Ending::SendsVersion);
    check(Attack::new(4_096, 300), 10_000, 256, Ending::Disconnects);
}

/// All connections have as many reads as they can, before the first one ends: each read needs one more tag for its
/// Tflush.
#[test]
fn flushes_of_clients_that_depart_together_leave_tags_to_others() {
    for max_inflight_all in [1_024, 4_096, 64_512] {
        let mut attack = Attack::new(max_inflight_all, 300);
        let reads: Vec<u8> = (0..256).flat_map(|n| read(n, 0, 0, 1)).collect();
        for id in attack.attackers.clone() {
            attack.bench.engine.client_bytes(id, &reads);
            attack.serve();
        }
        attack.check_others();
        for id in std::mem::take(&mut attack.attackers) {
            attack.bench.engine.client_gone(id);
            attack.serve();
        }
        attack.check_others();
        for _ in 0..300 {
            let id = attack.bench.engine.client_connected_as(ATTACKER);
            attack.attackers.push(id);
            attack.begin(id);
        }
        attack.check_others();
        attack.bench.engine.audit();
    }
}
