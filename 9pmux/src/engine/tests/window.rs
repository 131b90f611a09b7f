//! The window: the bytes that may be outstanding at the server.

use super::bench::Bench;
use super::messages::*;
use crate::engine::{ClientId, Config, ServerKind};
use crate::wire::{Dialect, kind, tag};

const WINDOW: usize = 64 * 1024;

fn bench() -> Bench {
    let config = Config { window: Some(WINDOW), server: ServerKind::FarEnd, ..Config::default() };
    Bench::with(Dialect::L, config)
}

/// Sends this many reads of `count` bytes with the tags from 0 on. Returns those that reach the server.
fn reads(bench: &mut Bench, id: ClientId, n: u16, count: u32) -> Vec<Vec<u8>> {
    for tag in 0..n {
        bench.client_sends(id, &read(tag, 0, 0, count));
    }
    bench.upstream()
}

fn data(request: &[u8], n: usize) -> Vec<u8> {
    made(117, tag(request)).u32(n as u32).raw(&vec![0; n]).done()
}

#[test]
fn sum_of_the_costs_never_exceeds_the_window_and_every_request_is_sent() {
    let mut bench = bench();
    let clients: Vec<ClientId> = (0..8).map(|_| bench.attached().0).collect();
    let (mut sent, mut count) = (Vec::new(), 0);
    for id in &clients {
        sent.extend(reads(&mut bench, *id, 20, 4000));
        assert!(bench.engine.outstanding_cost() <= WINDOW);
    }
    assert!(bench.engine.outstanding_cost() > WINDOW - 4100, "the window is used");
    while !sent.is_empty() {
        let request = sent.remove(0);
        bench.server(&data(&request, 4000));
        count += 1;
        sent.extend(bench.upstream());
        assert!(bench.engine.outstanding_cost() <= WINDOW);
    }
    assert_eq!((count, bench.engine.outstanding_cost()), (8 * 20, 0));
    assert!(clients.iter().all(|id| bench.all_received(*id).len() == 20));
}

#[test]
fn one_client_has_a_part_of_the_window_and_its_reads_leave_some_of_it() {
    let mut bench = bench();
    let (id, _) = bench.attached();
    let sent = reads(&mut bench, id, 50, 1000);
    assert_eq!(sent.len(), WINDOW / 16 * 3 / (1000 + 11 + 23));
    // Other requests of the client pass the reads that wait.
    assert_eq!(kind(&bench.forwarded(id, &made(24, 99).u32(0).u64(0).done())), 24);
    // The reads that wait are sent when there is room.
    bench.server(&data(&sent[0], 1000));
    assert_eq!(bench.upstream().len(), 1);
    let other = bench.attached().0;
    assert_eq!(reads(&mut bench, other, 50, 1000).len(), sent.len());
}

#[test]
fn any_request_is_sent_if_nothing_is_outstanding() {
    let config = Config { window: Some(10), server: ServerKind::FarEnd, ..Config::default() };
    let mut bench = Bench::with(Dialect::L, config);
    let ((one, _), (two, _)) = (bench.attached(), bench.attached());
    let first = bench.forwarded(one, &read(1, 0, 0, 1000));
    assert!(reads(&mut bench, two, 1, 1000).is_empty());
    bench.server(&data(&first, 1000));
    assert_eq!(bench.upstream().len(), 1);
}

#[test]
fn flushes_pass_the_window_and_a_request_counts_until_its_tag_is_free() {
    let mut bench = bench();
    let (id, _) = bench.attached();
    let sent = reads(&mut bench, id, 1, 1000);
    let cost = bench.engine.outstanding_cost();
    for other in 0..5 {
        let id = bench.attached().0;
        reads(&mut bench, id, 50, 4000);
        assert!(bench.engine.outstanding_cost() > other);
    }
    let full = bench.engine.outstanding_cost();
    let flush = bench.forwarded(id, &flush(7, 0));
    assert_eq!((kind(&flush), bench.engine.outstanding_cost()), (108, full));
    bench.server(&data(&sent[0], 1000));
    assert_eq!(bench.engine.outstanding_cost(), full);
    bench.done(&flush);
    assert!(bench.engine.outstanding_cost() >= full - cost);
    assert_eq!(bench.all_received(id).len(), 2);
}

#[test]
fn request_that_waits_for_the_window_leaves_no_trace_when_its_client_goes() {
    let mut bench = bench();
    let config = Config { window: Some(4096), server: ServerKind::FarEnd, ..Config::default() };
    let mut small = Bench::with(Dialect::L, config);
    let clients: Vec<ClientId> = (0..3).map(|_| small.attached().0).collect();
    assert_eq!(small.forwarded(clients[0], &read(1, 0, 0, 3000)).len(), 23);
    small.client_sends(clients[1], &read(1, 0, 0, 3000));
    small.client_sends(clients[2], &made(24, 1).u32(0).u64(0).done());
    assert!(small.upstream().is_empty(), "the second waits behind the first");
    small.disconnect(clients[1]);
    assert!(small.upstream().iter().any(|request| kind(request) == 24));
    // Likewise when the request is flushed.
    let id = bench.attached().0;
    reads(&mut bench, id, 2, 8000);
    bench.client_sends(id, &flush(9, 1));
    assert_eq!(kind(&bench.client_received(id)), 109);
}

#[test]
fn request_of_a_session_that_has_ended_counts_until_its_tag_is_free() {
    let mut bench = bench();
    let (id, _) = bench.attached();
    let sent = reads(&mut bench, id, 1, 1000);
    let cost = bench.engine.outstanding_cost();
    assert!(cost > 1000);
    bench.client_sends(id, &version(8192, "9P2000.L"));
    let flush = bench.upstream().into_iter().find(|request| kind(request) == 108).unwrap();
    assert_eq!(bench.engine.outstanding_cost(), cost);
    bench.server(&data(&sent[0], 1000));
    bench.done(&flush);
    assert_eq!(bench.engine.outstanding_cost(), 0);
}
