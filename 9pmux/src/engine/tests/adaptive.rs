//! The adaptive limit of requests at the server.

use std::collections::VecDeque;
use std::time::Duration;

use super::bench::Bench;
use super::messages::*;
use crate::engine::{ClientId, Config};
use crate::wire::{Dialect, HEADER, kind, tag, u32_at};

/// The limit of a new connection.
const FIRST: usize = 64;

fn bench() -> Bench {
    Bench::with(Dialect::Plain, Config { adapts: true, ..Config::default() })
}

/// Returns a Tread of one byte.
fn short_read(tag: u16) -> Vec<u8> {
    read(tag, 0, 0, 1)
}

/// Returns the Rread without data to a request.
fn reply_to(request: &[u8]) -> Vec<u8> {
    made(117, tag(request)).u32(0).done()
}

/// Sends this many requests, with the tags from 0 on.
fn send(bench: &mut Bench, id: ClientId, n: u16) {
    let batch: Vec<u8> = (0..n).flat_map(short_read).collect();
    bench.client_sends(id, &batch);
}

fn pass(bench: &mut Bench, time: Duration) {
    let now = bench.engine.now + time;
    bench.engine.tick(now);
    bench.engine.audit();
}

#[test]
fn requests_beyond_the_limit_wait_and_a_client_with_one_request_passes() {
    let mut bench = bench();
    let ((busy, _), (other, _)) = (bench.attached(), bench.attached());
    send(&mut bench, busy, 100);
    let sent = bench.upstream();
    assert_eq!(sent.len(), FIRST);
    // The first request of another client passes, the second one waits.
    send(&mut bench, other, 2);
    let passed = bench.server_received();
    bench.server(&reply_to(&passed));
    assert_eq!(bench.all_received(other).len(), 1);
    // It was not counted, so its reply makes no room.
    assert!(bench.upstream().is_empty());
    bench.server(&reply_to(&sent[0]));
    assert_eq!(bench.upstream().len(), 1, "one reply makes room for one request");
}

#[test]
fn blocked_reads_count_for_two_periods_at_most() {
    let mut bench = bench();
    let busy = [bench.attached().0, bench.attached().0];
    let (other, fid) = bench.attached();
    let batch: Vec<u8> = (0..100).flat_map(|n| read(n, 0, 0, 1)).collect();
    for id in busy {
        bench.client_sends(id, &batch);
    }
    assert_eq!(bench.upstream().len(), FIRST + 1, "the first request of each client passes");
    send(&mut bench, other, 2);
    assert_eq!(u32_at(&bench.server_received(), HEADER), fid);
    for _ in 0..2 {
        assert!(bench.upstream().is_empty());
        let due = bench.engine.next_deadline().expect("the end of the period");
        assert!(due <= bench.engine.now + Duration::from_millis(100));
        bench.engine.tick(due);
        bench.engine.audit();
    }
    let sent = bench.upstream();
    assert_eq!(
        sent.len(),
        2 * FIRST,
        "the first reads no longer count, and twice as many are permitted"
    );
    assert!(sent.iter().any(|request| u32_at(request, HEADER) == fid), "{sent:?}");
}

#[test]
fn requests_of_a_departed_client_count_until_they_are_flushed() {
    let mut bench = bench();
    let ((busy, _), (other, _)) = (bench.attached(), bench.attached());
    send(&mut bench, busy, 100);
    assert_eq!(bench.upstream().len(), FIRST);
    send(&mut bench, other, 3);
    assert_eq!(bench.upstream().len(), 1);
    bench.disconnect(busy);
    let flushes = bench.upstream();
    assert!(flushes.iter().all(|request| kind(request) == 108));
    assert_eq!(flushes.len(), FIRST);
    bench.done(&flushes[0]);
    assert_eq!(bench.upstream().len(), 1);
}

/// Clients with 256 requests each, at a server that takes half a millisecond for each request, one at a time. Another
/// client sends one request at a time.
fn latencies_beside(clients: usize) -> Vec<usize> {
    let mut bench = bench();
    let busy: Vec<ClientId> = (0..clients).map(|_| bench.attached().0).collect();
    let (good, good_fid) = bench.attached();
    for id in &busy {
        send(&mut bench, *id, 256);
    }
    let mut queue: VecDeque<Vec<u8>> = bench.upstream().into();
    let (mut latencies, mut waited) = (Vec::new(), None);
    for round in 0..8000 {
        if waited.is_none() {
            bench.client_sends(good, &short_read(1));
            waited = Some(0);
        }
        pass(&mut bench, Duration::from_micros(500));
        queue.extend(bench.upstream());
        let request = queue.pop_front().expect("the server always has one");
        bench.engine.server_bytes(&reply_to(&request));
        waited = waited.map(|n| n + 1);
        if u32_at(&request, HEADER) == good_fid {
            bench.all_received(good);
            latencies.extend(waited.take().filter(|_| round > 2000));
        }
        for id in &busy {
            for reply in bench.all_received(*id) {
                bench.client_sends(*id, &short_read(tag(&reply)));
            }
        }
        queue.extend(bench.upstream());
    }
    latencies.sort_unstable();
    latencies
}

#[test]
fn client_beside_many_requests_waits_for_few_at_a_serial_server() {
    for clients in [1, 20] {
        let latencies = latencies_beside(clients);
        let at = |part: usize| latencies[latencies.len() * part / 100];
        assert!(at(50) <= 6 && at(99) <= 10, "beside {clients}: {} and {}", at(50), at(99));
    }
}

#[test]
fn limit_stays_after_a_slow_request_of_an_idle_client() {
    let mut bench = bench();
    let (id, _) = bench.attached();
    bench.client_sends(id, &made(120, 1).u32(0).done());
    let slow = bench.server_received();
    for _ in 0..60 {
        pass(&mut bench, Duration::from_millis(50));
    }
    bench.done(&slow);
    bench.all_received(id);
    for _ in 0..60 {
        pass(&mut bench, Duration::from_millis(50));
    }
    let (busy, _) = bench.attached();
    send(&mut bench, busy, 100);
    assert!(bench.upstream().len() >= 4, "the smallest limit");
}
