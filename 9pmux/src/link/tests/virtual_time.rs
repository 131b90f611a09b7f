//! The adaptive limit of a post, at another end in virtual time.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

use super::end::{Bench, MSIZE};
use crate::engine::fuzz::messages::*;
use crate::engine::{ClientId, Config, Engine};
use crate::link::{Link, LinkConfig};
use crate::wire::{Dialect, HEADER, NOFID, kind, tag, types, u32_at};

const US: u64 = 1000;
const MS: u64 = 1_000_000;
const SECOND: u64 = 1_000_000_000;

/// Another end at this distance, there and back. Its server takes half a millisecond for a request, and this number of
/// requests at a time.
#[derive(Clone, Copy, Debug)]
struct Distant {
    latency: u64,
    workers: usize,
}

/// The requests that clients always have, and the count of their reads.
#[derive(Clone, Copy, Debug)]
struct Demand {
    clients: usize,
    requests: u16,
    count: u32,
}

struct Outcome {
    /// The replies after the first half of the time.
    replies: usize,
    /// The latencies of a client with one request at a time then, sorted.
    latencies: Vec<u64>,
}

struct Sim {
    bench: Bench,
    now: u64,
    /// When the line has room for a request, and when each worker has time.
    line: u64,
    free: BinaryHeap<Reverse<u64>>,
    distant: Distant,
    /// The replies by the time at which they arrive.
    replies: BinaryHeap<Reverse<(u64, u16, Vec<u8>)>>,
}

impl Sim {
    fn new(distant: Distant, adapts: bool) -> Sim {
        let config = LinkConfig { window: 16 << 20, keepalive: None };
        let base = Config { msize: MSIZE, ..Config::default() };
        let export = Engine::new(config.export(base.clone(), false));
        let link = Link::new(export, &config, Duration::ZERO);
        let mut post = config.post(base);
        post.adapts &= adapts;
        let post = Engine::new(post);
        let free = (0..distant.workers).map(|_| Reverse(0)).collect();
        let replies = BinaryHeap::new();
        Sim { bench: Bench { link, post }, now: 0, line: 0, free, distant, replies }
    }

    /// Takes the requests that are written to the stream.
    fn take_requests(&mut self) {
        loop {
            let mut bytes = self.bench.link.output(&self.bench.post).to_vec();
            if bytes.is_empty() {
                return;
            }
            self.bench.link.stream_wrote(&mut self.bench.post, bytes.len());
            for request in cut(&mut bytes) {
                let reply = match kind(&request) {
                    types::TVERSION => rversion(MSIZE, Dialect::L.name()),
                    types::TATTACH => made(105, tag(&request)).qid(0, 0).done(),
                    _ => {
                        let count = u32_at(&request, HEADER + 12);
                        let data = vec![7; count as usize];
                        made(types::RREAD, tag(&request)).u32(count).raw(&data).done()
                    }
                };
                self.line = self.line.max(self.now) + 2 * US;
                let there = self.line + self.distant.latency / 2;
                let begin = self.free.pop().map_or(0, |Reverse(time)| time).max(there);
                let end = begin + 500 * US;
                self.free.push(Reverse(end));
                let arrival = end + self.distant.latency / 2;
                self.replies.push(Reverse((arrival, tag(&request), reply)));
            }
        }
    }

    /// Passes the time until the next reply, which arrives, or until the post's deadline.
    fn pass(&mut self) {
        self.take_requests();
        let due = self.bench.post.next_deadline().map_or(u64::MAX, |due| due.as_nanos() as u64);
        let arrival = self.replies.peek().map_or(u64::MAX, |Reverse(reply)| reply.0);
        self.now = self.now.max(due.min(arrival));
        let now = Duration::from_nanos(self.now);
        self.bench.post.tick(now);
        self.bench.link.tick(&mut self.bench.post, now);
        if arrival <= self.now {
            if let Some(Reverse((_, _, reply))) = self.replies.pop() {
                self.bench.link.stream_bytes(&mut self.bench.post, &reply);
            }
        }
    }

    fn attached(&mut self) -> ClientId {
        let id = self.bench.client();
        let expected = |sim: &mut Sim| loop {
            if let Some(reply) = sim.bench.received(id).pop() {
                return kind(&reply);
            }
            sim.pass();
        };
        assert_eq!(expected(self), 101);
        self.bench.post.client_bytes(id, &attach(Dialect::L, 1, 0, NOFID, "u", "a"));
        assert_eq!(expected(self), 105);
        id
    }

    fn run(mut self, demand: Demand, time: u64) -> Outcome {
        let good = self.attached();
        let busy: Vec<ClientId> = (0..demand.clients).map(|_| self.attached()).collect();
        for id in &busy {
            let batch: Vec<u8> =
                (0..demand.requests).flat_map(|tag| read(tag, 0, 0, demand.count)).collect();
            self.bench.post.client_bytes(*id, &batch);
        }
        let half = self.now + time / 2;
        let end = self.now + time;
        let mut outcome = Outcome { replies: 0, latencies: Vec::new() };
        let mut asked_at = None;
        while self.now < end {
            if asked_at.is_none() {
                self.bench.post.client_bytes(good, &read(1, 0, 0, demand.count));
                asked_at = Some(self.now);
            }
            self.pass();
            while let Some(id) = self.bench.post.next_dirty() {
                if self.bench.post.output(id).is_empty() {
                    continue;
                }
                for reply in self.bench.received(id) {
                    outcome.replies += usize::from(self.now >= half);
                    if id == good {
                        let latency = asked_at.take().map(|asked| self.now - asked);
                        outcome.latencies.extend(latency.filter(|_| self.now >= half));
                    } else {
                        let next = read(tag(&reply), 0, 0, demand.count);
                        self.bench.post.client_bytes(id, &next);
                    }
                }
            }
        }
        outcome.latencies.sort_unstable();
        outcome
    }
}

/// Returns the part of the throughput without a limit, and the median latency of the client with one request in
/// microseconds.
fn compare(distant: Distant, demand: Demand, time: u64) -> (f64, u64) {
    let [with, without] = [true, false].map(|adapts| Sim::new(distant, adapts).run(demand, time));
    let median = with.latencies[with.latencies.len() / 2] / US;
    (with.replies as f64 / without.replies as f64, median)
}

#[test]
fn adaptive_limit_of_a_post_costs_no_throughput_and_shortens_the_queue() {
    for latency in [0, 30 * MS, 100 * MS] {
        for workers in [1, 64] {
            for demand in [
                Demand { clients: 20, requests: 200, count: 1 },
                Demand { clients: 2, requests: 100, count: 4096 },
            ] {
                let distant = Distant { latency, workers };
                let (part, median) = compare(distant, demand, SECOND + 40 * latency);
                assert!(part >= 0.99, "{distant:?}, {demand:?}: {part}");
                let alone = (latency + 500 * US) / US;
                assert!(workers > 1 || median <= 6 * alone, "{distant:?}, {demand:?}: {median} us");
            }
        }
    }
}
