//! The latency of one client beside many others, in virtual time: an engine with the adaptive limit, before a server
//! with some workers.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

use super::messages::*;
use crate::engine::{ClientId, Config, Engine, User};
use crate::wire::{Dialect, kind, tag};

/// The time of one request at a worker, in microseconds.
const SERVICE: u64 = 500;

const MSIZE: u32 = 8192;

const BUSY: User = User::Local(1);
const GOOD: User = User::Local(2);

/// What the clients of a load do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Work {
    /// Each of their requests gets a reply, and is then sent again.
    Repeated,
    /// The server never replies to their requests.
    Blocked,
}

/// This number of clients of this user, with this number of requests each.
#[derive(Clone, Copy, Debug)]
struct Load {
    user: User,
    clients: usize,
    requests: u16,
    work: Work,
}

fn busy(clients: usize, requests: u16) -> Load {
    Load { user: BUSY, clients, requests, work: Work::Repeated }
}

#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    Reply(Vec<u8>),
    /// The good client sends its next request.
    Send,
}

/// The latencies of the good client in microseconds, sorted, and the part of its time that the server has worked.
struct Outcome {
    latencies: Vec<u64>,
    throughput: f64,
    /// The number of fids at the end.
    fids: usize,
}

impl Outcome {
    /// Returns a percentile in service times.
    fn at(&self, percent: usize) -> f64 {
        let latency = self.latencies[(self.latencies.len() - 1) * percent / 100];
        latency as f64 / SERVICE as f64
    }
}

struct Simulation {
    engine: Engine,
    now: u64,
    /// When each worker is free, and what happens next.
    workers: BinaryHeap<Reverse<u64>>,
    events: BinaryHeap<Reverse<(u64, u64, Event)>>,
    number: u64,
    replies: u64,
}

impl Simulation {
    fn new(workers: usize) -> Simulation {
        let config = Config { adapts: true, dialect: Some(Dialect::Plain), ..Config::default() };
        let mut engine = Engine::new(Config { msize: MSIZE, ..config });
        let n = engine.server_output().len();
        engine.server_wrote(n);
        engine.server_bytes(&rversion(MSIZE, "9P2000"));
        Simulation {
            engine,
            now: 0,
            workers: (0..workers).map(|_| Reverse(0)).collect(),
            events: BinaryHeap::new(),
            number: 0,
            replies: 0,
        }
    }

    fn push(&mut self, time: u64, event: Event) {
        self.number += 1;
        self.events.push(Reverse((time, self.number, event)));
    }

    /// Connects a client, which asks to attach.
    fn connect(&mut self, user: User) -> ClientId {
        let id = self.engine.client_connected_as(user);
        self.engine.client_bytes(id, &version(MSIZE, "9P2000"));
        let n = self.engine.output(id).len();
        self.engine.client_wrote(id, n);
        self.engine.client_bytes(id, &attach(Dialect::Plain, 1, 0, !0, "u", "a"));
        id
    }

    /// Lets the server take all requests that were sent to it.
    fn take_requests(&mut self) {
        let mut bytes = self.engine.server_output().to_vec();
        self.engine.server_wrote(bytes.len());
        for request in cut(&mut bytes) {
            let reply = match kind(&request) {
                104 => made(105, tag(&request)).qid(0, 0).done(),
                110 => rwalk(tag(&request), 0),
                120 => made(121, tag(&request)).done(),
                // A read at offset 1 blocks.
                _ if request[11] == 1 => continue,
                _ => made(117, tag(&request)).u32(0).done(),
            };
            let Reverse(free) = self.workers.pop().expect("it is taken and put back");
            let end = self.now.max(free) + SERVICE;
            self.workers.push(Reverse(end));
            self.push(end, Event::Reply(reply));
        }
    }

    /// Lets time pass until the next event, and returns it.
    fn next(&mut self) -> Event {
        loop {
            self.take_requests();
            let due = self.engine.next_deadline().map_or(u64::MAX, |due| due.as_micros() as u64);
            let next = self.events.peek().map_or(u64::MAX, |Reverse(next)| next.0);
            self.now = self.now.max(due.min(next));
            self.engine.tick(Duration::from_micros(self.now));
            if next <= self.now {
                self.take_requests();
                let Reverse((_, _, event)) = self.events.pop().expect("it was seen");
                return event;
            }
        }
    }

    /// Lets the clients send again what they have received replies to. Returns true if this one has had a reply.
    fn send_again(&mut self, good: ClientId) -> bool {
        let mut is_good = false;
        while let Some(id) = self.engine.next_dirty() {
            let mut bytes = self.engine.output(id).to_vec();
            if !bytes.is_empty() {
                self.engine.client_wrote(id, bytes.len());
            }
            for reply in cut(&mut bytes) {
                self.replies += 1;
                match id == good {
                    true => is_good = true,
                    false if kind(&reply) == 105 => (),
                    false => self.engine.client_bytes(id, &read(tag(&reply), 0, 0, 1)),
                }
            }
        }
        is_good
    }

    /// Connects a client of this user, which gets this number of fids and disconnects.
    fn leave_fids(&mut self, user: User, many: u32) {
        let id = self.connect(user);
        let (mut received, mut sent) = (0, 0);
        while received <= many {
            let Event::Reply(reply) = self.next() else { unreachable!("nothing was sent") };
            self.engine.server_bytes(&reply);
            let mut bytes = self.engine.output(id).to_vec();
            self.engine.client_wrote(id, bytes.len());
            received += cut(&mut bytes).len() as u32;
            while received > 0 && sent < many.min(received + 200) {
                sent += 1;
                self.engine.client_bytes(id, &walk(sent as u16, 0, sent, &[]));
            }
        }
        self.engine.client_gone(id);
    }

    /// Measures the latencies of a good client of this user beside these loads.
    fn run(mut self, user: User, loads: &[Load]) -> Outcome {
        let mut clients = Vec::new();
        for load in loads {
            clients.extend((0..load.clients).map(|_| (self.connect(load.user), *load)));
        }
        let good = self.connect(user);
        while !self.send_again(good) {
            let Event::Reply(reply) = self.next() else { unreachable!("nothing was sent") };
            self.engine.server_bytes(&reply);
        }
        for (id, load) in clients {
            let offset = u64::from(load.work == Work::Blocked);
            let batch: Vec<u8> =
                (0..load.requests).flat_map(|tag| read(tag, 0, offset, 1)).collect();
            self.engine.client_bytes(id, &batch);
        }
        self.engine.audit();
        let mut random = Random::new(1);
        let workers = self.workers.len() as u64;
        let (start, end) = (self.now + 2_000_000, self.now + 2_000_000 + 4_000_000 / workers);
        let (mut latencies, mut sent, mut replies) = (Vec::new(), 0, 0);
        let now = self.now;
        self.push(now, Event::Send);
        while self.now < end {
            match self.next() {
                Event::Send => {
                    sent = self.now;
                    self.engine.client_bytes(good, &read(1, 0, 0, 1));
                }
                Event::Reply(reply) => self.engine.server_bytes(&reply),
            }
            if self.send_again(good) {
                latencies.extend((sent > start).then_some(self.now - sent));
                let pause = random.below(8 * SERVICE as usize) as u64;
                self.push(self.now + pause, Event::Send);
            }
            replies = if self.now < start { self.replies } else { replies };
        }
        self.engine.audit();
        latencies.sort_unstable();
        let most = (end - start) as f64 / SERVICE as f64 * self.workers.len() as f64;
        let throughput = (self.replies - replies) as f64 / most;
        Outcome { latencies, throughput, fids: self.engine.stats().fids }
    }
}

/// The loads beside which a good client must not wait long.
fn loads() -> Vec<(&'static str, Vec<Load>)> {
    let users = (0..20).map(|n| Load { user: User::Local(10 + n), ..busy(1, 256) });
    let blocked = Load { work: Work::Blocked, ..busy(100, 1) };
    vec![
        ("1 x 256", vec![busy(1, 256)]),
        ("20 x 256", vec![busy(20, 256)]),
        ("20 users x 256", users.collect()),
        ("100 x 1", vec![busy(100, 1)]),
        ("1000 x 1", vec![busy(1000, 1)]),
        ("1000 x 1 and 20 x 256", vec![busy(1000, 1), busy(20, 256)]),
        ("100 x 1 that block and 1 x 256", vec![blocked, busy(1, 256)]),
    ]
}

#[test]
fn client_of_another_user_waits_for_few_and_the_server_is_busy() {
    for workers in [1, 4] {
        for (name, loads) in loads() {
            let outcome = Simulation::new(workers).run(GOOD, &loads);
            let (p50, p99, part) = (outcome.at(50), outcome.at(99), outcome.throughput);
            let figures = format!(
                "{workers} workers, beside {name}: {p50:.1} and {p99:.1} service times, {part:.3} of the throughput"
            );
            println!("{figures}");
            assert!(p50 <= 7.0 && p99 <= 10.0 && part > 0.99, "{figures}");
        }
    }
}

/// No client of a user has more than its part of what its user has.
#[test]
fn client_of_the_same_user_waits_for_one_request_of_each_other() {
    for (clients, workers) in [(100, 1), (1000, 1), (1000, 4)] {
        let outcome = Simulation::new(workers).run(BUSY, &[busy(clients, 1)]);
        let (latency, most) = (outcome.at(99), clients as f64 / workers as f64);
        println!("{workers} workers, beside {clients} of one user: {latency:.1} service times");
        assert!(latency <= most + 10.0, "{latency} service times beside {clients} others");
    }
    for workers in [1, 4] {
        let outcome = Simulation::new(workers).run(BUSY, &[busy(20, 256)]);
        assert!(outcome.at(99) <= 10.0, "{} service times beside 20 x 256", outcome.at(99));
    }
}

/// The fids of a departed client are clunked behind the requests of others, and all the same in the end.
#[test]
fn fids_of_a_departed_client_do_not_delay_another_user() {
    for (workers, loads) in [(1, vec![]), (1, vec![busy(1, 256)]), (4, vec![busy(1, 256)])] {
        let mut simulation = Simulation::new(workers);
        simulation.leave_fids(BUSY, 30_000);
        let outcome = simulation.run(GOOD, &loads);
        let (p50, p99, clunks) = (outcome.at(50), outcome.at(99), 30_000 - outcome.fids);
        println!("{workers} workers: {p50:.1} and {p99:.1} service times, {clunks} clunks");
        assert!(p50 <= 7.0 && p99 <= 10.0, "{p50} and {p99} service times");
        assert!(clunks > 1000 * workers, "{clunks} clunks");
    }
}
