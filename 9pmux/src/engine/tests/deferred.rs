//! 9pmux's own Tclunk and Tflush that wait for a tag: each user has its turn.

use super::bench::{Bench, MSIZE};
use super::messages::*;
use crate::engine::{ClientId, Config, User};
use crate::wire::{Dialect, kind, tag};

const ATTACKER: User = User::Local(1);
const VICTIM: User = User::Local(2);

/// Returns what the server receives, without an audit, which would be slow beside many fids.
fn sent(bench: &mut Bench) -> Vec<Vec<u8>> {
    let mut bytes = bench.engine.server_output().to_vec();
    bench.engine.server_wrote(bytes.len());
    cut(&mut bytes)
}

/// Discards the output of a client.
fn discard(bench: &mut Bench, id: ClientId) {
    let n = bench.engine.output(id).len();
    bench.engine.client_wrote(id, n);
}

/// Connects a client of this user, and attaches it with fid 0.
fn attached_as(bench: &mut Bench, user: User) -> ClientId {
    let id = bench.engine.client_connected_as(user);
    bench.engine.client_bytes(id, &version(MSIZE, "9P2000"));
    bench.engine.client_bytes(id, &attach(Dialect::Plain, 1, 0, !0, "u", "a"));
    let request = sent(bench).remove(0);
    bench.engine.server_bytes(&made(105, tag(&request)).qid(0, 0).done());
    discard(bench, id);
    id
}

/// A client with many fids has left; the server clunks one fid after the other.
#[test]
fn fids_of_a_departed_client_do_not_delay_the_version_of_another_user() {
    let mut bench = Bench::new(Dialect::Plain);
    let good = attached_as(&mut bench, VICTIM);
    let bad = attached_as(&mut bench, ATTACKER);
    for fid in 1..3000 {
        bench.engine.client_bytes(bad, &walk(1, 0, fid, &[]));
        for request in sent(&mut bench) {
            bench.engine.server_bytes(&rwalk(tag(&request), 0));
        }
        discard(&mut bench, bad);
    }
    bench.engine.client_gone(bad);
    let clunks = sent(&mut bench);
    bench.engine.audit();
    assert!(clunks.len() < 2000, "{} clunks", clunks.len());
    bench.engine.client_bytes(good, &version(MSIZE, "9P2000"));
    for clunk in &clunks[..2] {
        bench.done(clunk);
    }
    let next = sent(&mut bench);
    assert!(next.len() <= 3, "{} clunks", next.len());
    for clunk in &next {
        bench.done(clunk);
    }
    assert_eq!(bench.all_received(good), [rversion(MSIZE, "9P2000")]);
}

/// A client with many requests has left, and there are no tags for all its Tflush.
#[test]
fn flushes_of_a_departed_client_do_not_delay_those_of_another_user() {
    let config = Config { max_inflight_all: 320, ..Config::default() };
    let mut bench = Bench::with(Dialect::Plain, config);
    let good = attached_as(&mut bench, VICTIM);
    let asked = bench.forwarded(good, &read(1, 0, 0, 1));
    let reads: Vec<u8> = (0..256).flat_map(|n| read(n, 0, 0, 1)).collect();
    let mut held = 0;
    let bad: Vec<ClientId> = (0..40)
        .map(|n| {
            let id = attached_as(&mut bench, if n < 30 { ATTACKER } else { User::Local(n) });
            bench.engine.client_bytes(id, &reads);
            held += sent(&mut bench).len();
            id
        })
        .collect();
    for id in bad {
        bench.engine.client_gone(id);
    }
    let flushes = sent(&mut bench);
    assert!(flushes.iter().all(|request| kind(request) == 108));
    assert!(flushes.len() + 30 < held, "{} flushes of {held}", flushes.len());
    bench.client_sends(good, &flush(2, 1));
    // Twelve users wait.
    for flush in &flushes[..12] {
        bench.done(flush);
    }
    let next = sent(&mut bench);
    let target = tag(&asked);
    let is_flush = |m: &Vec<u8>| kind(m) == 108 && m[7..9] == target.to_le_bytes();
    assert!(next.iter().any(is_flush), "{next:?}");
}
