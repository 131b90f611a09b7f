//! How users, their clients and descriptors share the adaptive limit of requests at the server.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use super::bench::{Bench, MSIZE};
use super::messages::*;
use crate::engine::{ClientId, Config, DescriptorId, User};
use crate::wire::{Dialect, HEADER, kind, tag, u32_at};

const BUSY: User = User::Local(1);
const VICTIM: User = User::Local(2);

fn bench() -> Bench {
    Bench::with(Dialect::Plain, Config { adapts: true, ..Config::default() })
}

/// Connects a client of this user, and attaches it with fid 0. Returns the client and its upstream fid.
fn attached_as(bench: &mut Bench, user: User) -> (ClientId, u32) {
    let id = bench.engine.client_connected_as(user);
    bench.client_sends(id, &version(MSIZE, "9P2000"));
    bench.client_received(id);
    let fid = bench.attach(id, 0);
    (id, fid)
}

/// A server that takes half a millisecond for each request, one at a time, and clients that always have requests.
struct Serial {
    bench: Bench,
    queue: VecDeque<Vec<u8>>,
    /// The clients and descriptors by upstream fid.
    clients: HashMap<u32, ClientId>,
    descriptors: HashMap<u32, DescriptorId>,
    /// The number of replies by upstream fid.
    replies: HashMap<u32, usize>,
}

impl Serial {
    fn new() -> Serial {
        Serial {
            bench: bench(),
            queue: VecDeque::new(),
            clients: HashMap::new(),
            descriptors: HashMap::new(),
            replies: HashMap::new(),
        }
    }

    fn sends(&mut self, id: ClientId, fid: u32, n: u16) {
        let batch: Vec<u8> = (0..n).flat_map(|tag| read(tag, 0, 0, 1)).collect();
        self.bench.client_sends(id, &batch);
        self.queue.extend(self.bench.upstream());
        self.clients.insert(fid, id);
    }

    /// Replies to this number of requests.
    fn serve(&mut self, n: usize) {
        self.replies.clear();
        for _ in 0..n {
            let now = self.bench.engine.now + Duration::from_micros(500);
            self.bench.engine.tick(now);
            self.queue.extend(self.bench.upstream());
            let request = self.queue.pop_front().expect("the server always has one");
            let fid = u32_at(&request, HEADER);
            assert_eq!(kind(&request), 116);
            self.bench.engine.server_bytes(&made(117, tag(&request)).u32(1).u8(7).done());
            *self.replies.entry(fid).or_default() += 1;
            if let Some(descriptor) = self.descriptors.get(&fid) {
                self.bench.socket_takes(*descriptor);
            } else if let Some(id) = self.clients.get(&fid).copied() {
                for reply in self.bench.all_received(id) {
                    self.bench.client_sends(id, &read(tag(&reply), 0, 0, 1));
                }
            }
            self.queue.extend(self.bench.upstream());
        }
    }

    /// Returns the part of the replies that this upstream fid has had, in percent.
    fn percent_of(&self, fid: u32) -> usize {
        let all: usize = self.replies.values().sum();
        self.replies.get(&fid).map_or(0, |n| 100 * n / all)
    }
}

#[test]
fn user_with_many_clients_has_no_more_of_the_limit_than_another() {
    let mut serial = Serial::new();
    let busy: Vec<(ClientId, u32)> =
        (0..20).map(|_| attached_as(&mut serial.bench, BUSY)).collect();
    let (id, victim) = attached_as(&mut serial.bench, VICTIM);
    for (n, (id, fid)) in busy.into_iter().enumerate() {
        serial.sends(id, fid, if n == 0 { 256 } else { 100 });
    }
    serial.sends(id, victim, 100);
    serial.serve(1000);
    serial.serve(1000);
    let percent = serial.percent_of(victim);
    assert!((40..=60).contains(&percent), "{percent} % of the replies");
    // The clients of a user have equal parts.
    let each: Vec<usize> = serial.clients.keys().map(|fid| serial.replies[fid]).collect();
    assert!(each.iter().all(|n| *n >= 15), "{each:?}");
}

#[test]
fn descriptors_have_no_more_of_the_limit_than_the_client_of_another_user() {
    let mut serial = Serial::new();
    for _ in 0..40 {
        let (id, fid) = attached_as(&mut serial.bench, BUSY);
        serial.bench.engine.allow_descriptors(id);
        let descriptor = serial.bench.opened(id, 0, 0);
        serial.descriptors.insert(fid, descriptor);
        serial.queue.extend(serial.bench.upstream());
    }
    let (id, victim) = attached_as(&mut serial.bench, VICTIM);
    serial.sends(id, victim, 4);
    serial.serve(1000);
    let in_queue = serial.queue.len();
    assert!(in_queue <= 10, "{in_queue} requests are at a serial server");
    serial.serve(1000);
    let percent = serial.percent_of(victim);
    assert!((40..=60).contains(&percent), "{percent} % of the replies");
}
