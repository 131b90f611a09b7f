//! Requests of the replay that are made again, and those that the server does not reply to.

use std::time::Duration;

use super::super::LocalError::*;
use super::super::messages::*;
use super::bench::*;
use crate::engine::{ClientId, Config, EndReason, LostLocks, Reconnect, RestoreEvent};
use crate::wire::{Dialect, HEADER, NOFID, kind, tag, types, u16_at, u32_at};

const EBUSY: u32 = 16;
const ALWAYS: usize = usize::MAX;

/// A client has fids 1 and 2 open on /g, with a lock on each. After a loss the first two requests of this type fail for
/// the moment, and those of the second fid in any case.
fn failing(kind: u8) -> (Net, ClientId) {
    let reconnect = Reconnect { lost_locks: LostLocks::Again, ..Reconnect::default() };
    let mut net = Net::with(Dialect::L, reconnect, Config::default());
    let id = net.attached();
    for fid in 1..3 {
        net.walks(id, fid, &["g"]);
        net.opens(id, fid, 0);
        let lock = made(types::TLOCK, 5).u32(fid).u8(1).u32(0).u64(0).u64(0).u32(1).str("h").done();
        assert_eq!(net.ask(id, &lock), made(53, 5).u8(0).done());
    }
    net.events();
    net.lose();
    net.server.seen.clear();
    net.server.failing = vec![(kind, EBUSY, ALWAYS)];
    net.connect();
    (net, id)
}

/// Returns the types of the requests that the server has got since this number of them.
fn kinds(net: &Net, since: usize) -> Vec<u8> {
    net.server.seen[since..].iter().map(|message| kind(message)).collect()
}

#[test]
fn fid_that_is_clunked_before_another_attempt_is_not_restored() {
    for what in [types::TWALK, types::TLOPEN, types::TLOCK] {
        let (mut net, id) = failing(what);
        assert_eq!(net.ask(id, &of_fid(120, 6, 1)), made(121, 6).done());
        if what == types::TWALK {
            net.server.failing.clear();
        }
        let seen = net.server.seen.len();
        net.tick(SECOND);
        let sent = kinds(&net, seen);
        let again = sent.iter().filter(|kind| **kind == what).count();
        assert_eq!(again, if what == types::TWALK { 2 } else { 1 }, "{what}: {sent:?}");
        net.server.failing.clear();
        net.tick(2 * SECOND);
        assert!(net.bench.engine.outage().is_none());
        // The attach fid, and fid 2.
        assert_eq!((net.server.fids(), net.bench.engine.stats().fids), (2, 2));
    }
}

#[test]
fn number_of_a_clunked_fid_is_not_opened_for_its_next_owner() {
    for what in [types::TLOPEN, types::TLOCK] {
        let (mut net, id) = failing(what);
        let other = net.attached();
        assert_eq!(net.ask(id, &of_fid(120, 6, 1)), made(121, 6).done());
        net.walks(other, 9, &["d"]);
        let walk = net.server.requests(types::TWALK).last().map(|walk| u32_at(walk, 11));
        let seen = net.server.seen.len();
        net.tick(SECOND);
        let named = net.server.seen[seen..].iter().map(|message| u32_at(message, 7));
        assert!(named.clone().all(|fid| Some(fid) != walk), "fid {walk:?} of another client");
        assert_eq!(named.count(), 1);
        net.server.failing.clear();
        net.opens(other, 9, 2);
    }
}

#[test]
fn fid_that_waits_for_another_attempt_is_restored_once() {
    for what in [types::TWALK, types::TLOPEN, types::TLOCK] {
        let (mut net, id) = failing(what);
        net.server.failing.clear();
        let seen = net.server.seen.len();
        net.send(id, &read(6, 1, 0, 10));
        assert!(kinds(&net, seen).is_empty(), "{what} is made again at once");
        net.tick(SECOND);
        assert_eq!(contents(&net.bench.client_received(id)), "file 4", "{what}");
        for kind in [types::TWALK, types::TLOPEN, types::TLOCK] {
            let tries = net.server.requests(kind).len();
            let attach = usize::from(kind == types::TWALK);
            let failed = if kind == what { 2 + attach } else { 0 };
            assert_eq!(tries, 2 + attach + failed, "{kind}, {what} failed");
        }
        assert!(net.events().contains(&RestoreEvent::Restored { fids: 3, gone: 0 }));
    }
}

#[test]
fn clunk_does_not_overtake_a_request_when_the_outage_has_ended() {
    let config = Config { max_inflight: 1, ..Config::default() };
    let mut net = Net::with(Dialect::L, Reconnect::default(), config);
    let id = net.attached();
    net.walks(id, 1, &["g"]);
    net.events();
    net.lose();
    let getattr = |tag, fid| made(24, tag).u32(fid).u64(0).done();
    net.send(id, &getattr(5, 0));
    net.send(id, &getattr(6, 1));
    net.is_blocked = true;
    net.connect();
    let mut kept = Vec::new();
    for _ in 0..5 {
        for request in net.bench.upstream() {
            if kind(&request) == 24 || request.ends_with(b"g") {
                kept.push(request);
            } else if let Some(reply) = net.server.reply(&request) {
                net.bench.server(&reply);
            }
        }
    }
    assert_eq!(kept.len(), 2);
    assert_eq!(net.events(), [RestoreEvent::Back { after: Duration::ZERO }]);
    net.send(id, &of_fid(120, 7, 1));
    net.got(id, &[]);
    net.is_blocked = false;
    for request in kept {
        let reply = net.server.reply(&request).unwrap();
        net.bench.server(&reply);
    }
    net.run();
    net.got(id, &[(25, 5), (25, 6), (121, 7)]);
}

#[test]
fn identity_is_not_attached_again_for_a_client_that_has_left() {
    for attach_once in [false, true] {
        let config = Config { attach_once, ..Config::default() };
        let mut net = Net::with(Dialect::L, Reconnect::default(), config);
        let id = net.attached();
        let other = net.client();
        assert_eq!(kind(&net.ask(other, &attach(Dialect::L, 1, 0, NOFID, "v", "b"))), 105);
        net.lose();
        net.server.failing = vec![(types::TATTACH, EBUSY, ALWAYS)];
        net.connect();
        net.bench.disconnect(id);
        net.server.seen.clear();
        net.tick(SECOND);
        let attaches = net.server.requests(types::TATTACH);
        assert_eq!((attaches.len(), attaches[0].contains(&b'v')), (1, true));
        // A client that comes meanwhile attaches by itself.
        net.server.failing.clear();
        let id = net.attached();
        net.walks(id, 1, &["g"]);
        net.tick(2 * SECOND);
        assert!(net.bench.engine.outage().is_none());
        net.walks(other, 1, &["g"]);
        assert_eq!(net.server.fids(), net.bench.engine.stats().fids);
    }
}

#[test]
fn shared_attach_that_no_session_uses_is_not_made_again() {
    let config = Config { attach_once: true, ..Config::default() };
    let mut net = Net::with(Dialect::L, Reconnect::default(), config);
    let id = net.attached();
    let other = net.client();
    assert_eq!(kind(&net.ask(other, &attach(Dialect::L, 1, 0, NOFID, "v", "b"))), 105);
    net.bench.disconnect(id);
    net.run();
    net.lose();
    net.server.seen.clear();
    net.connect();
    let attaches = net.server.requests(types::TATTACH);
    assert_eq!((attaches.len(), attaches[0].contains(&b'v')), (1, true));
    let id = net.attached();
    net.walks(id, 1, &["g"]);
    assert_eq!(net.server.fids(), net.bench.engine.stats().fids);
}

#[test]
fn shared_attach_that_is_replaced_in_a_replay_is_kept_until_its_end() {
    let config = Config { attach_once: true, ..Config::default() };
    let mut net = Net::with(Dialect::L, Reconnect::default(), config);
    let (first, other, id) = (net.attached(), net.client(), net.client());
    // The attach of the other client is forwarded, and then that of its names is shared.
    assert_eq!(kind(&net.ask(other, &attach(Dialect::L, 5, 0, NOFID, "v", "b"))), 105);
    net.bench.disconnect(first);
    net.run();
    assert_eq!(kind(&net.ask(id, &attach(Dialect::L, 5, 0, NOFID, "v", "b"))), 105);
    net.lose();
    net.server.seen.clear();
    net.server.failing = vec![(types::TWALK, EBUSY, 2)];
    net.connect();
    net.bench.disconnect(id);
    net.run();
    let newcomer = net.attached();
    assert!(net.bench.engine.outage().is_some());
    net.tick(SECOND);
    // The number of a fid that is clunked before a walk from it could be that of another user's fid.
    let sent: Vec<u8> = net.server.seen.iter().map(|message| kind(message)).collect();
    let clunk = sent.iter().position(|kind| *kind == types::TCLUNK);
    assert!(clunk > sent.iter().rposition(|kind| *kind == types::TWALK), "{sent:?}");
    assert!(net.bench.engine.outage().is_none());
    net.walks(other, 1, &["g"]);
    net.walks(newcomer, 1, &["g"]);
    // The attach that is shared, and two fids of each client.
    assert_eq!((net.server.fids(), net.bench.engine.stats().fids), (5, 5));
}

/// A client has fid 1 open on /d/f, and fid 2 at /g. The server is back, and does not reply to these requests.
fn blocked_in(silent: &[u8]) -> (Net, ClientId) {
    let mut net = Net::new(Dialect::L);
    let id = net.attached();
    net.walks(id, 1, &["d", "f"]);
    net.opens(id, 1, 0);
    net.walks(id, 2, &["g"]);
    net.events();
    net.lose();
    net.server.seen.clear();
    net.server.silent = silent.to_vec();
    net.connect();
    (net, id)
}

#[test]
fn fid_whose_open_blocks_is_dead_and_the_others_are_restored() {
    let (mut net, id) = blocked_in(&[types::TLOPEN]);
    net.send(id, &read(5, 1, 0, 10));
    net.tick(TIMEOUT - SECOND);
    net.got(id, &[]);
    net.tick(TIMEOUT);
    assert!(is_local_error(Dialect::L, &net.bench.client_received(id), NotReopened));
    assert!(net.bench.engine.outage().is_none() && !net.bench.engine.wants_redial());
    let open = tag(net.server.requests(types::TLOPEN)[0]);
    let flushes = net.server.requests(types::TFLUSH);
    assert_eq!((flushes.len(), u16_at(flushes[0], HEADER)), (1, open));
    let events = net.events();
    assert_eq!(events[1..], [RestoreEvent::Restored { fids: 3, gone: 1 }]);
    assert_eq!(net.server.requests(types::TVERSION).len(), 1);
    assert_eq!(net.server.fids(), 2, "the fid of the blocked open is left");
    net.server.silent.clear();
    net.opens(id, 2, 0);
    assert_eq!(net.ask(id, &of_fid(120, 5, 1)), made(121, 5).done());
}

#[test]
fn open_that_is_slow_and_not_blocked_is_done_although_it_was_flushed() {
    let (mut net, id) = blocked_in(&[types::TLOPEN, types::TFLUSH]);
    net.tick(TIMEOUT);
    net.server.silent.clear();
    for what in [types::TLOPEN, types::TFLUSH] {
        let request = net.server.requests(what)[0].clone();
        let reply = net.server.reply(&request).unwrap();
        net.bench.server(&reply);
        net.run();
        assert_eq!(net.reads(id, 1), "file 3");
    }
    assert_eq!((net.server.fids(), net.bench.engine.stats().requests), (3, 0));
}

#[test]
fn fid_whose_open_is_flushed_may_be_clunked() {
    let (mut net, id) = blocked_in(&[types::TLOPEN, types::TFLUSH]);
    net.tick(TIMEOUT);
    net.server.silent.clear();
    assert_eq!(net.ask(id, &of_fid(120, 6, 1)), made(121, 6).done());
    let flush = net.server.requests(types::TFLUSH)[0].clone();
    let reply = net.server.reply(&flush).unwrap();
    net.bench.server(&reply);
    net.run();
    assert_eq!((net.server.fids(), net.bench.engine.stats().fids), (2, 2));
    assert!(net.bench.engine.outage().is_none());
}

#[test]
fn server_that_blocks_as_a_whole_in_an_open_is_left_twice() {
    let (mut net, id) = blocked_in(&[types::TLOPEN, types::TFLUSH]);
    for i in 1..3 {
        net.tick((2 * i - 1) * TIMEOUT);
        assert!(!net.bench.engine.wants_redial());
        net.tick(2 * i * TIMEOUT);
        assert_eq!(net.bench.engine.take_lost_server(), Some(EndReason::ReplayTimeout));
        net.server.forget_session();
        net.connect();
        assert_eq!(net.server.requests(types::TLOPEN).len(), 2);
    }
    assert!(is_local_error(Dialect::L, &net.ask(id, &read(5, 1, 0, 10)), NotReopened));
    assert!(net.bench.engine.outage().is_none());
    net.server.silent.clear();
    net.opens(id, 2, 0);
}

#[test]
fn fids_that_would_block_in_the_same_open_are_dead_together() {
    let mut net = Net::new(Dialect::L);
    let (id, other) = (net.attached(), net.attached());
    for (id, fid, mode) in [(id, 1, 0), (id, 2, 0o1000), (other, 1, 0), (other, 2, 2)] {
        net.walks(id, fid, &["d", "f"]);
        net.opens(id, fid, mode);
    }
    net.lose();
    net.server.silent = vec![types::TLOPEN, types::TFLUSH];
    net.connect();
    for i in 1..5 {
        net.tick(i * TIMEOUT);
        if i % 2 == 0 {
            assert_eq!(net.bench.engine.take_lost_server(), Some(EndReason::ReplayTimeout));
            net.server.forget_session();
            if i == 4 {
                net.server.silent.clear();
            }
            net.connect();
        }
    }
    for (id, fid) in [(id, 1), (id, 2), (other, 1)] {
        assert!(is_local_error(Dialect::L, &net.ask(id, &read(5, fid, 0, 10)), NotReopened));
    }
    assert_eq!(net.reads(other, 2), "file 3");
}

#[test]
fn renames_do_not_keep_a_walk_from_its_end() {
    let mut net = Net::new(Dialect::L);
    let (id, other) = (net.attached(), net.attached());
    net.walks(id, 1, &["d", "f"]);
    net.walks(other, 1, &["g"]);
    net.lose();
    net.server.files.remove("/d/f");
    net.is_blocked = true;
    net.connect();
    let mut walks: u16 = 0;
    for _ in 0..200 {
        for request in net.bench.upstream() {
            if kind(&request) == types::TWALK && request.ends_with(b"f") {
                walks += 1;
                let (old, new) = if walks % 2 == 1 { ("g", "h") } else { ("h", "g") };
                let rename = made(types::TRENAMEAT, 500 + walks).u32(0).str(old).u32(0).str(new);
                net.bench.client_sends(other, &rename.done());
                for request in net.bench.upstream() {
                    let reply = net.server.reply(&request).unwrap();
                    net.bench.server(&reply);
                }
            }
            let reply = net.server.reply(&request).unwrap();
            net.bench.server(&reply);
        }
    }
    assert!((2..20).contains(&walks), "{walks} walks");
    net.is_blocked = false;
    let getattr = made(24, 5).u32(1).u64(0).done();
    assert!(is_local_error(Dialect::L, &net.ask(id, &getattr), NoSuchFile));
    assert!(net.bench.engine.outage().is_none());
}
