//! The adaptive limit of requests at the server.

use std::time::Duration;

use super::bench::{Bench, MSIZE};
use super::messages::*;
use crate::engine::{ClientId, Config, User};
use crate::wire::{Dialect, HEADER, kind, tag, u32_at};

/// The limit of a new connection.
const FIRST: usize = 64;

fn bench() -> Bench {
    Bench::with(Dialect::Plain, Config { adapts: true, ..Config::default() })
}

/// Connects a client of this user, and attaches it with fid 0.
fn attached_as(bench: &mut Bench, user: User) -> ClientId {
    let id = bench.engine.client_connected_as(user);
    bench.client_sends(id, &version(MSIZE, "9P2000"));
    bench.client_received(id);
    bench.attach(id, 0);
    id
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

/// Reads of one user that stay at the server fill the limit. Its other clients wait for each other, not for them.
#[test]
fn clients_of_a_user_pass_one_after_the_other() {
    let mut bench = bench();
    let [busy, first, second, third] =
        [User::Local(1); 4].map(|user| attached_as(&mut bench, user));
    let other = attached_as(&mut bench, User::Local(2));
    send(&mut bench, busy, 100);
    assert_eq!(bench.upstream().len(), FIRST);
    send(&mut bench, first, 1);
    let passed = bench.server_received();
    for id in [second, third] {
        send(&mut bench, id, 1);
        assert!(bench.upstream().is_empty());
    }
    // Another user does not wait for them.
    send(&mut bench, other, 1);
    let of_other = bench.server_received();
    bench.server(&reply_to(&of_other));
    assert!(bench.upstream().is_empty());
    // The next one passes as soon as the first has its reply, before the first may pass again.
    bench.server(&reply_to(&passed));
    bench.all_received(first);
    let passed = bench.server_received();
    send(&mut bench, first, 1);
    assert!(bench.upstream().is_empty());
    bench.server(&reply_to(&passed));
    assert_eq!(bench.all_received(second).len(), 1);
    bench.disconnect(third);
    let request = bench.upstream().iter().find(|request| kind(request) == 116).cloned();
    bench.server(&reply_to(&request.expect("the read of the third client")));
    assert!(bench.upstream().iter().all(|request| kind(request) != 116), "it is being flushed");
}

/// A client that has passed stays at the server, and the limit is full again.
#[test]
fn request_that_has_passed_keeps_others_waiting_for_two_periods_at_most() {
    let mut bench = bench();
    let [busy, first, second] = [User::Local(1); 3].map(|user| attached_as(&mut bench, user));
    send(&mut bench, busy, 256);
    assert_eq!(bench.upstream().len(), FIRST);
    send(&mut bench, first, 1);
    let read = bench.server_received();
    for _ in 0..2 {
        pass(&mut bench, Duration::from_millis(100));
    }
    assert_eq!(bench.upstream().len(), 2 * FIRST);
    send(&mut bench, second, 1);
    assert_eq!(bench.upstream().len(), 1, "the first read has been there for two periods");
    bench.server(&reply_to(&read));
    assert_eq!(bench.all_received(first).len(), 1);
    send(&mut bench, first, 1);
    assert!(bench.upstream().is_empty(), "the second read has passed");
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
