//! Messages that 9pmux itself replies to, and the turns of their clients.

use super::bench::{Bench, MSIZE};
use super::messages::*;
use crate::engine::{ClientId, Config};
use crate::wire::{Dialect, kind, tag};

/// The limits of a client and of all clients for a turn.
const ONE: usize = 32;
const ALL: usize = 4 * ONE;

fn stats(n: usize) -> Vec<u8> {
    (0..n as u16).flat_map(|n| of_fid(124, n, 7)).collect()
}

/// Returns how many messages wait in a client's output.
fn replies(bench: &Bench, id: ClientId) -> usize {
    cut(&mut bench.engine.output(id).to_vec()).len()
}

fn begin_turn(bench: &mut Bench) {
    assert_eq!(bench.engine.next_deadline(), Some(bench.engine.now), "a turn is due");
    bench.engine.tick(bench.engine.now);
    bench.engine.audit();
}

fn bytes(bench: &mut Bench, id: ClientId, bytes: &[u8]) {
    bench.engine.client_bytes(id, bytes);
    bench.engine.audit();
}

#[test]
fn refused_requests_of_one_turn_are_bounded() {
    let mut bench = Bench::new(Dialect::Plain);
    let (id, _) = bench.attached();
    begin_first_turn(&mut bench);
    bytes(&mut bench, id, &stats(2000));
    assert_eq!(replies(&bench, id), ONE);
    assert!(!bench.engine.wants_read(id) && !bench.engine.is_closing(id));
    // It is alone, so that the next turn may be as long as one of many clients.
    begin_turn(&mut bench);
    assert!((ALL..=ONE + ALL).contains(&replies(&bench, id)));
    bench.run_turns();
    let tags: Vec<u16> = bench.all_received(id).iter().map(|m| tag(m)).collect();
    assert_eq!(tags, (0..2000).collect::<Vec<u16>>());
    assert!(bench.engine.wants_read(id) && bench.engine.next_deadline().is_none());
}

fn begin_first_turn(bench: &mut Bench) {
    bench.run_turns();
    bench.engine.tick(bench.engine.now);
}

/// A message that needs little work does not wait behind the messages of many others.
#[test]
fn turn_of_many_clients_is_bounded_and_fair() {
    let mut bench = Bench::new(Dialect::Plain);
    let (good, _) = bench.attached();
    let ids: Vec<ClientId> = (0..100).map(|_| bench.attached().0).collect();
    begin_first_turn(&mut bench);
    for id in &ids {
        bytes(&mut bench, *id, &stats(300));
    }
    let total = |bench: &Bench| ids.iter().map(|id| replies(bench, *id)).sum::<usize>();
    let mut before = total(&bench);
    assert!(before <= ALL + ids.len() * (ONE / 4 + 1), "{before} replies");
    for turn in 0..30 {
        begin_turn(&mut bench);
        let now = total(&bench);
        assert!((ALL - ONE..=ALL + ONE).contains(&(now - before)), "{} in a turn", now - before);
        before = now;
        // The good client's request is forwarded at once, and so is a refusal.
        bytes(&mut bench, good, &of_fid(124, 1, 0));
        let request = bench.engine.server_output().to_vec();
        assert_eq!(kind(&request), 124);
        bench.engine.server_wrote(request.len());
        bench.engine.server_bytes(&made(125, tag(&request)).u16(0).done());
        bytes(&mut bench, good, &of_fid(124, 2, 99));
        assert_eq!(replies(&bench, good), 2, "in turn {turn}");
        bench.engine.client_wrote(good, bench.engine.output(good).len());
        let counts = ids.iter().map(|id| replies(&bench, *id));
        let (least, most) = (counts.clone().min().unwrap(), counts.max().unwrap());
        assert!(most - least <= 3 * ONE, "{least} to {most} replies");
    }
    bench.run_turns();
    assert_eq!(total(&bench), 100 * 300);
}

#[test]
fn tversion_counts_for_more() {
    let mut bench = Bench::new(Dialect::Plain);
    let id = bench.client();
    begin_first_turn(&mut bench);
    bytes(&mut bench, id, &version(MSIZE, "9P2000").repeat(50));
    assert!(replies(&bench, id) <= ONE / 8);
    begin_turn(&mut bench);
    assert!(replies(&bench, id) <= ONE / 8 + ALL / 8);
    bench.run_turns();
    assert_eq!(replies(&bench, id), 50);
}

/// All flushes behind a blocked request take effect at once, and the client pays for them with its next turns.
#[test]
fn flushes_behind_a_blocked_request_are_a_debt() {
    let config = Config { max_inflight: 1, max_inbox_bytes: 1 << 20, ..Config::default() };
    let mut bench = Bench::with(Dialect::Plain, config);
    let (id, _) = bench.attached();
    let request = bench.forwarded(id, &empty_write(1, 0));
    bench.client_sends(id, &empty_write(2, 0));
    begin_first_turn(&mut bench);
    let flushes: Vec<u8> = (0..1000).flat_map(|n| flush(100 + n, 5)).collect();
    bytes(&mut bench, id, &flushes);
    assert_eq!(replies(&bench, id), 1000);
    bytes(&mut bench, id, &flush(3, 5));
    assert_eq!(replies(&bench, id), 1000, "it has a debt");
    // What it waits for does not end the debt.
    bench.engine.server_bytes(&made(119, tag(&request)).u32(0).done());
    bytes(&mut bench, id, &of_fid(124, 4, 99));
    assert_eq!(replies(&bench, id), 1001);
    assert!(!bench.engine.wants_read(id));
    let mut turns = 0;
    while !bench.engine.wants_read(id) {
        assert_eq!(replies(&bench, id), 1001);
        begin_turn(&mut bench);
        turns += 1;
    }
    assert_eq!(turns, 1000_usize.div_ceil(ALL));
    // The last flush has its reply, and the request behind it is forwarded.
    assert_eq!(replies(&bench, id), 1002);
    assert_eq!(kind(bench.engine.server_output()), 118);
}

#[test]
fn finished_client_gets_all_replies_before_it_is_closed() {
    let mut bench = Bench::new(Dialect::Plain);
    let (id, _) = bench.attached();
    begin_first_turn(&mut bench);
    bytes(&mut bench, id, &stats(100));
    bench.engine.client_finished(id);
    assert!(!bench.engine.is_closing(id));
    bench.run_turns();
    assert_eq!(replies(&bench, id), 100);
    assert!(bench.engine.is_closing(id));
}

#[test]
fn departed_clients_leave_the_turn_queue() {
    let mut bench = Bench::new(Dialect::Plain);
    for _ in 0..200 {
        let (id, _) = bench.attached();
        bytes(&mut bench, id, &stats(100));
        bench.disconnect(id);
        assert!(bench.engine.turn_queue.len() < 20);
        for clunk in bench.upstream() {
            bench.done(&clunk);
        }
    }
    assert_eq!(bench.engine.stats().requests, 0);
}

#[test]
fn garbled_bytes_close_a_client_in_its_turn() {
    let mut bench = Bench::new(Dialect::Plain);
    let (id, _) = bench.attached();
    begin_first_turn(&mut bench);
    bytes(&mut bench, id, &[stats(100), vec![3, 0, 0, 0, 0, 0, 0, 0]].concat());
    assert!(!bench.engine.is_closing(id));
    bench.run_turns();
    assert!(bench.engine.is_closing(id));
    assert_eq!(replies(&bench, id), 100);
}
