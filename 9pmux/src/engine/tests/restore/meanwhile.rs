//! What clients see while the server is away.

use std::time::Duration;

use super::super::LocalError::*;
use super::super::messages::*;
use super::bench::*;
use crate::engine::{Config, Reconnect};
use crate::wire::{Dialect, NOFID, kind, types};

fn getattr(tag: u16, fid: u32) -> Vec<u8> {
    made(24, tag).u32(fid).u64(0).done()
}

#[test]
fn outstanding_read_is_answered_when_the_server_is_back() {
    for dialect in Dialect::ALL {
        let mut net = Net::new(dialect);
        let id = net.attached();
        net.walks(id, 1, &["d", "f"]);
        net.opens(id, 1, 0);
        net.server.silent = vec![types::TREAD];
        net.send(id, &read(7, 1, 0, 10));
        net.lose();
        assert!(net.bench.all_received(id).is_empty() && !net.bench.engine.is_closing(id));
        net.server.silent.clear();
        net.connect();
        assert_eq!(contents(&net.bench.client_received(id)), "file 3");
        assert_eq!(net.reads(id, 1), "file 3");
        assert!(net.bench.engine.outage().is_none());
    }
}

#[test]
fn flush_is_answered_at_once_while_the_server_is_away() {
    let mut net = Net::new(Dialect::L);
    let id = net.attached();
    net.server.silent = vec![24];
    net.send(id, &getattr(7, 0));
    net.lose();
    net.send(id, &getattr(8, 0));
    net.send(id, &flush(9, 7));
    net.got(id, &[(109, 9)]);
    net.send(id, &flush(10, 8));
    net.got(id, &[(109, 10)]);
    let seen = net.server.requests(24).len();
    net.connect();
    assert_eq!(net.server.requests(24).len(), seen, "a flushed request is repeated");
    net.got(id, &[]);
}

#[test]
fn requests_wait_for_a_time_and_then_fail_at_once() {
    let mut net = Net::new(Dialect::L);
    let id = net.attached();
    net.server.silent = vec![24];
    net.send(id, &getattr(7, 0));
    net.tick(SECOND);
    net.lose();
    net.send(id, &getattr(8, 0));
    net.tick(60 * SECOND);
    net.got(id, &[]);
    assert_eq!(net.bench.engine.next_deadline(), Some(61 * SECOND));
    net.tick(61 * SECOND);
    let replies = net.bench.all_received(id);
    assert_eq!(replies.len(), 2);
    assert!(replies.iter().all(|reply| is_local_error(Dialect::L, reply, NotAnswering)));
    assert_eq!(net.bench.engine.next_deadline(), None, "work is done while the server is away");
    let reply = net.ask(id, &getattr(9, 0));
    assert!(is_local_error(Dialect::L, &reply, NotAnswering));
    net.server.silent.clear();
    net.tick(90 * SECOND);
    net.connect();
    assert_eq!(kind(&net.ask(id, &getattr(10, 0))), 25);
    // The next outage has its own time.
    net.lose();
    net.send(id, &getattr(11, 0));
    net.tick(149 * SECOND);
    net.got(id, &[]);
    net.tick(150 * SECOND);
    net.got(id, &[(7, 11)]);
}

#[test]
fn without_patience_requests_fail_at_once() {
    let reconnect = Reconnect { patience: Some(Duration::ZERO), ..Reconnect::default() };
    let mut net = Net::with(Dialect::L, reconnect, Config::default());
    let id = net.attached();
    net.server.silent = vec![24];
    net.send(id, &getattr(7, 0));
    net.lose();
    assert!(is_local_error(Dialect::L, &net.bench.client_received(id), NotAnswering));
    assert!(is_local_error(Dialect::L, &net.ask(id, &getattr(8, 0)), NotAnswering));
    net.server.silent.clear();
    net.connect();
    assert_eq!(kind(&net.ask(id, &getattr(8, 0))), 25);
}

#[test]
fn with_infinite_patience_requests_wait() {
    let reconnect = Reconnect { patience: None, ..Reconnect::default() };
    let mut net = Net::with(Dialect::L, reconnect, Config::default());
    let id = net.attached();
    net.lose();
    net.send(id, &getattr(7, 0));
    assert_eq!(net.bench.engine.next_deadline(), None);
    net.tick(1_000_000 * SECOND);
    net.got(id, &[]);
    net.connect();
    net.got(id, &[(25, 7)]);
}

#[test]
fn new_client_gets_its_version_and_its_attach_waits() {
    let mut net = Net::new(Dialect::L);
    net.attached();
    net.lose();
    let id = net.client();
    net.send(id, &attach(Dialect::L, 1, 0, NOFID, "u", "a"));
    net.got(id, &[]);
    net.connect();
    net.got(id, &[(105, 1)]);
}

#[test]
fn version_waits_for_the_first_connection_and_fails_in_its_dialect() {
    let config = Config { reconnect: Some(Reconnect::default()), ..Config::default() };
    let mut engine = crate::engine::Engine::new(config);
    assert!(engine.wants_redial());
    let id = engine.client_connected();
    engine.client_bytes(id, &version(8192, "9P2000.L"));
    engine.audit();
    engine.redial_failed();
    assert!(engine.output(id).is_empty());
    engine.tick(60 * SECOND);
    engine.audit();
    assert!(is_local_error(Dialect::L, engine.output(id), NotAnswering));
    let n = engine.output(id).len();
    engine.client_wrote(id, n);
    engine.client_bytes(id, &version(8192, "9P2000.u"));
    assert!(is_local_error(Dialect::U, engine.output(id), NotAnswering));
    let n = engine.output(id).len();
    engine.client_wrote(id, n);
    // The server comes.
    engine.server_connected();
    engine.client_bytes(id, &version(8192, "9P2000.u"));
    assert_eq!(kind(engine.server_output()), 100);
    engine.server_bytes(&rversion(8192, "9P2000.u"));
    engine.audit();
    assert_eq!(engine.output(id), rversion(8192, "9P2000.u"));
}

#[test]
fn clunk_is_answered_at_once_and_the_fid_is_not_walked_to() {
    let mut net = Net::new(Dialect::L);
    let id = net.attached();
    for fid in 1..4 {
        net.walks(id, fid, &["d", "f"]);
    }
    net.server.silent = vec![types::TCLUNK];
    net.send(id, &of_fid(120, 7, 1));
    net.lose();
    net.got(id, &[(121, 7)]);
    net.send(id, &getattr(8, 0));
    net.send(id, &of_fid(120, 9, 2));
    net.got(id, &[(121, 9)]);
    // A clunk of a fid that a waiting request names waits as well.
    net.send(id, &getattr(10, 3));
    net.send(id, &of_fid(120, 11, 3));
    net.send(id, &of_fid(120, 12, 77));
    net.got(id, &[]);
    net.server.silent.clear();
    net.server.seen.clear();
    net.connect();
    let mut replies: Vec<u8> = net.bench.all_received(id).iter().map(|m| kind(m)).collect();
    replies.sort_unstable();
    assert_eq!(replies, [7, 25, 25, 121]);
    // The attach fid and fid 3.
    assert_eq!(net.server.requests(types::TWALK).len(), 2);
}

#[test]
fn session_that_ends_meanwhile_is_forgotten() {
    for is_version in [false, true] {
        let mut net = Net::new(Dialect::L);
        let id = net.attached();
        net.walks(id, 1, &["d"]);
        net.server.silent = vec![24];
        net.send(id, &getattr(7, 1));
        net.lose();
        if is_version {
            net.send(id, &version(8192, "9P2000.L"));
            net.got(id, &[(101, 0xffff)]);
        } else {
            net.bench.disconnect(id);
        }
        net.server.silent.clear();
        net.server.seen.clear();
        net.connect();
        let seen: Vec<u8> = net.server.seen.iter().map(|m| kind(m)).collect();
        assert!(seen.iter().all(|kind| *kind == 100), "{seen:?}");
        assert_eq!(net.bench.engine.stats().fids, 0);
    }
}

#[test]
fn request_that_is_lost_when_requests_do_not_wait_any_more_fails_at_once() {
    let mut net = Net::new(Dialect::L);
    let id = net.attached();
    net.walks(id, 1, &["d"]);
    net.lose();
    net.tick(60 * SECOND);
    for fid in 0..2 {
        net.send(id, &getattr(6, fid));
        net.got(id, &[(7, 6)]);
    }
    // The attach fid is back, and the other one is not.
    net.is_blocked = true;
    net.connect();
    let mut walks = 0;
    for _ in 0..4 {
        for request in net.bench.upstream() {
            walks += usize::from(kind(&request) == types::TWALK);
            if kind(&request) != types::TWALK || walks == 1 {
                let reply = net.server.reply(&request).unwrap();
                net.bench.server(&reply);
            }
        }
    }
    net.send(id, &getattr(7, 0));
    assert_eq!(net.bench.upstream().len(), 1);
    net.is_blocked = false;
    net.lose();
    assert!(is_local_error(Dialect::L, &net.bench.client_received(id), NotAnswering));
    net.connect();
    assert_eq!(kind(&net.ask(id, &getattr(8, 1))), 25);
}

#[test]
fn what_is_not_valid_is_refused_as_always() {
    let mut net = Net::new(Dialect::L);
    let id = net.attached();
    net.lose();
    for (message, why) in [
        (getattr(7, 5), UnknownFid),
        (attach(Dialect::L, 7, 0, NOFID, "u", "a"), FidInUse),
        (made(24, 7).u32(0).done(), Malformed),
    ] {
        assert!(is_local_error(Dialect::L, &net.ask(id, &message), why));
    }
    assert_eq!(net.server.seen.len(), 2);
}
