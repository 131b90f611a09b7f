//! Requests that are in flight when the server goes.

use super::super::LocalError::*;
use super::super::messages::*;
use super::bench::*;
use crate::engine::{Config, LostLocks, Reconnect, Repeat};
use crate::wire::{Dialect, HEADER, NOFID, kind, tag, types, u32_at};

fn write(tag: u16, fid: u32, data: &[u8]) -> Vec<u8> {
    made(118, tag).u32(fid).u64(0).u32(data.len() as u32).raw(data).done()
}

fn fsync(tag: u16, fid: u32) -> Vec<u8> {
    made(50, tag).u32(fid).u32(0).done()
}

fn lock(tag: u16, fid: u32, kind: u8) -> Vec<u8> {
    made(52, tag).u32(fid).u8(kind).u32(1).u64(0).u64(0).u32(7).str("me").done()
}

fn with(repeat: Repeat) -> Net {
    let reconnect = Reconnect { repeat, ..Reconnect::default() };
    Net::with(Dialect::L, reconnect, Config::default())
}

/// Sends a request that gets no reply before the server goes. Returns the replies after it is back, and how often
/// servers have seen a request of this type.
fn in_flight(net: &mut Net, id: crate::engine::ClientId, message: &[u8]) -> (Vec<Vec<u8>>, usize) {
    let kind = kind(message);
    net.server.seen.clear();
    net.server.silent = vec![kind];
    net.send(id, message);
    net.server.silent.clear();
    net.lose();
    net.connect();
    (net.bench.all_received(id), net.server.requests(kind).len())
}

#[test]
fn remove_is_not_repeated_and_its_fid_is_released() {
    let mut net = Net::new(Dialect::L);
    let id = net.attached();
    net.walks(id, 1, &["d", "f"]);
    let (replies, seen) = in_flight(&mut net, id, &of_fid(122, 7, 1));
    assert!(is_local_error(Dialect::L, &replies[0], MaybeDone));
    assert_eq!((replies.len(), seen), (1, 1));
    assert!(is_local_error(Dialect::L, &net.ask(id, &read(1, 1, 0, 1)), UnknownFid));
}

#[test]
fn write_to_a_plain_file_is_repeated() {
    for (repeat, expected) in [(Repeat::Writes, 2), (Repeat::Reads, 1), (Repeat::None, 1)] {
        let mut net = with(repeat);
        let id = net.attached();
        net.walks(id, 1, &["d", "f"]);
        net.opens(id, 1, 1);
        let (replies, seen) = in_flight(&mut net, id, &write(7, 1, b"new"));
        assert_eq!((replies.len(), seen), (1, expected));
        match expected {
            2 => assert_eq!(kind(&replies[0]), 119),
            _ => assert!(is_local_error(Dialect::L, &replies[0], MaybeDone)),
        }
        let (replies, _) = in_flight(&mut net, id, &made(24, 8).u32(1).u64(0).done());
        let expected = if repeat == Repeat::None { 7 } else { 25 };
        assert_eq!(kind(&replies[0]), expected);
    }
}

#[test]
fn write_that_appends_is_not_repeated() {
    for (dialect, file, mode) in
        [(Dialect::L, 0, 0o2001), (Dialect::U, 0, 0x81), (Dialect::Plain, 0x40, 1)]
    {
        let mut net = Net::new(dialect);
        net.server.add("/h", file, 9);
        let id = net.attached();
        net.walks(id, 1, &["h"]);
        net.opens(id, 1, mode);
        let (replies, seen) = in_flight(&mut net, id, &write(7, 1, b"new"));
        assert!(is_local_error(dialect, &replies[0], MaybeDone) && seen == 1);
        // Append stays when the file is opened again.
        let open = net.open_message(1, mode);
        assert_eq!(net.server.requests(kind(&open))[0][HEADER + 4..], open[HEADER + 4..]);
    }
}

#[test]
fn file_is_not_truncated_a_second_time() {
    for (dialect, mode, again) in [(Dialect::L, 0o1301, 1), (Dialect::Plain, 0x11, 1)] {
        let mut net = Net::new(dialect);
        let id = net.attached();
        net.walks(id, 1, &["d", "f"]);
        net.opens(id, 1, mode);
        net.lose();
        net.server.seen.clear();
        net.connect();
        let open = net.open_message(1, again);
        assert_eq!(net.server.requests(kind(&open))[0][HEADER + 4..], open[HEADER + 4..]);
        // An open that truncates and has no reply may have been executed.
        net.walks(id, 2, &["d", "f"]);
        let message = net.open_message(2, mode);
        let (replies, _) = in_flight(&mut net, id, &message);
        assert!(is_local_error(dialect, &replies[0], MaybeDone));
        let message = net.open_message(2, again);
        assert_eq!(kind(&net.ask(id, &message)), kind(&message) + 1);
    }
}

#[test]
fn created_file_is_opened_and_not_created_again() {
    let mut net = Net::new(Dialect::L);
    let id = net.attached();
    let create = made(14, 7).u32(0).str("new").u32(0o1302).u32(0).u32(0).done();
    assert_eq!(kind(&net.ask(id, &create)), 15);
    net.lose();
    net.server.seen.clear();
    net.connect();
    assert!(net.server.requests(14).is_empty());
    assert_eq!(u32_at(net.server.requests(12)[0], HEADER + 4), 2);
    assert_eq!(net.reads(id, 0), "file 104");
}

#[test]
fn request_that_was_not_wholly_written_is_sent_again_whatever_it_is() {
    let mut net = Net::new(Dialect::L);
    let id = net.attached();
    net.walks(id, 1, &["d", "f"]);
    net.is_blocked = true;
    net.send(id, &of_fid(122, 7, 1));
    let n = net.bench.engine.server_output().len();
    net.bench.engine.server_wrote(n - 1);
    net.lose();
    net.got(id, &[]);
    net.is_blocked = false;
    net.connect();
    net.got(id, &[(123, 7)]);
    assert_eq!(net.server.requests(122).len(), 1);
    assert!(!net.server.files.contains_key("/d/f") && net.server.fids() == 1);
}

#[test]
fn walk_and_attach_in_flight_are_repeated() {
    for dialect in Dialect::ALL {
        let mut net = Net::new(dialect);
        let id = net.attached();
        let (replies, seen) = in_flight(&mut net, id, &walk(7, 0, 1, &["d", "f"]));
        assert_eq!((kind(&replies[0]), tag(&replies[0]), seen), (111, 7, 3));
        net.opens(id, 1, 0);
        assert_eq!(net.reads(id, 1), "file 3");
        let (replies, _) = in_flight(&mut net, id, &attach(dialect, 8, 2, NOFID, "other", "a"));
        assert_eq!((kind(&replies[0]), tag(&replies[0])), (105, 8));
        // A walk that moves its fid.
        let (replies, _) = in_flight(&mut net, id, &walk(9, 2, 2, &["g"]));
        assert_eq!(kind(&replies[0]), 111);
        net.opens(id, 2, 0);
        assert_eq!(net.reads(id, 2), "file 4");
    }
}

#[test]
fn flushed_request_in_flight_is_not_repeated() {
    let mut net = Net::new(Dialect::L);
    let id = net.attached();
    net.server.silent = vec![types::TWALK, types::TFLUSH];
    net.send(id, &walk(7, 0, 1, &["g"]));
    net.send(id, &walk(8, 0, 2, &["g"]));
    net.send(id, &flush(9, 7));
    assert_eq!(net.server.requests(types::TFLUSH).len(), 1);
    net.got(id, &[]);
    net.server.silent.clear();
    net.lose();
    net.got(id, &[(109, 9)]);
    net.server.seen.clear();
    net.connect();
    net.got(id, &[(111, 8)]);
    // The attach fid, and fid 2.
    assert_eq!(net.server.requests(types::TWALK).len(), 2);
    assert!(is_local_error(Dialect::L, &net.ask(id, &read(1, 1, 0, 1)), UnknownFid));
}

#[test]
fn pipelined_requests_keep_their_order() {
    let mut net = Net::new(Dialect::L);
    let id = net.attached();
    net.server.silent = vec![111, 110, 12, 116, 120];
    net.send(id, &walk(1, 0, 1, &["d", "f"]));
    net.send(id, &made(12, 2).u32(1).u32(0).done());
    net.send(id, &read(3, 1, 0, 10));
    net.send(id, &of_fid(120, 4, 1));
    net.server.silent.clear();
    net.lose();
    net.got(id, &[]);
    net.connect();
    net.got(id, &[(111, 1), (13, 2), (117, 3), (121, 4)]);
}

#[test]
fn unsynced_writes_make_the_next_sync_fail_once() {
    let mut net = Net::new(Dialect::L);
    let id = net.attached();
    for fid in 1..5 {
        net.walks(id, fid, if fid < 4 { &["d", "f"] } else { &["g"] });
        net.opens(id, fid, 2);
    }
    assert_eq!(kind(&net.ask(id, &write(7, 1, b"x"))), 119);
    net.lose();
    net.send(id, &fsync(8, 2));
    net.got(id, &[]);
    net.connect();
    assert!(is_local_error(Dialect::L, &net.bench.client_received(id), WritesLost));
    assert!(is_local_error(Dialect::L, &net.ask(id, &fsync(8, 1)), WritesLost));
    assert_eq!(kind(&net.ask(id, &fsync(8, 1))), 51);
    assert_eq!(kind(&net.ask(id, &fsync(8, 2))), 51);
    assert_eq!(kind(&net.ask(id, &fsync(8, 4))), 51, "another file");
    // What was synced is not lost. A sync in flight is repeated.
    assert_eq!(kind(&net.ask(id, &write(7, 1, b"x"))), 119);
    assert_eq!(kind(&net.ask(id, &fsync(8, 2))), 51);
    let (replies, seen) = in_flight(&mut net, id, &fsync(9, 1));
    assert_eq!((kind(&replies[0]), seen), (51, 2));
    // Fid 3 has not been told yet, which a second loss does not change.
    assert!(is_local_error(Dialect::L, &net.ask(id, &fsync(8, 3)), WritesLost));
    // A sync in flight after a write fails.
    assert_eq!(kind(&net.ask(id, &write(7, 1, b"x"))), 119);
    let (replies, _) = in_flight(&mut net, id, &fsync(9, 1));
    assert!(is_local_error(Dialect::L, &replies[0], WritesLost));
}

#[test]
fn one_of_several_syncs_in_flight_fails() {
    let mut net = Net::new(Dialect::L);
    let id = net.attached();
    net.walks(id, 1, &["d", "f"]);
    net.opens(id, 1, 2);
    assert_eq!(kind(&net.ask(id, &write(7, 1, b"x"))), 119);
    net.server.silent = vec![types::TFSYNC];
    for tag in 8..11 {
        net.send(id, &fsync(tag, 1));
    }
    net.server.silent.clear();
    net.lose();
    assert!(is_local_error(Dialect::L, &net.bench.client_received(id), WritesLost));
    net.connect();
    net.got(id, &[(51, 9), (51, 10)]);
    assert_eq!(kind(&net.ask(id, &fsync(8, 1))), 51);
}

#[test]
fn write_of_a_client_that_has_left_meanwhile_makes_the_next_sync_fail() {
    for is_version in [false, true] {
        let mut net = Net::new(Dialect::L);
        let [id, other] = [0; 2].map(|_| {
            let id = net.attached();
            net.walks(id, 1, &["g"]);
            net.opens(id, 1, 2);
            id
        });
        net.is_blocked = true;
        net.send(other, &write(7, 1, b"x"));
        let request = net.bench.server_received();
        if is_version {
            net.send(other, &version(8192, "9P2000.L"));
        } else {
            net.bench.disconnect(other);
        }
        let reply = net.server.reply(&request).unwrap();
        net.bench.server(&reply);
        net.is_blocked = false;
        net.run();
        net.lose();
        net.connect();
        assert!(is_local_error(Dialect::L, &net.ask(id, &fsync(8, 1)), WritesLost));
        assert_eq!(kind(&net.ask(id, &fsync(8, 1))), 51);
    }
}

#[test]
fn write_acknowledged_while_a_sync_is_in_flight_is_not_synced() {
    let mut net = Net::new(Dialect::L);
    let id = net.attached();
    net.walks(id, 1, &["g"]);
    net.opens(id, 1, 2);
    assert_eq!(kind(&net.ask(id, &write(7, 1, b"x"))), 119);
    net.is_blocked = true;
    net.send(id, &fsync(8, 1));
    net.send(id, &write(9, 1, b"y"));
    let requests = net.bench.upstream();
    for request in requests.iter().rev() {
        let reply = net.server.reply(request).unwrap();
        net.bench.server(&reply);
    }
    net.is_blocked = false;
    net.got(id, &[(119, 9), (51, 8)]);
    net.lose();
    net.connect();
    assert!(is_local_error(Dialect::L, &net.ask(id, &fsync(8, 1)), WritesLost));
}

#[test]
fn plan9_sync_fails_once_and_other_wstats_do_not() {
    let null = |tag| {
        let stat = [&[49 - 2, 0][..], &[0xff; 39], &[0; 8]].concat();
        made(126, tag).u32(1).u16(49).raw(&stat).done()
    };
    let mut net = Net::new(Dialect::Plain);
    let id = net.attached();
    net.walks(id, 1, &["g"]);
    net.opens(id, 1, 2);
    assert_eq!(kind(&net.ask(id, &write(7, 1, b"x"))), 119);
    net.lose();
    net.connect();
    assert!(is_local_error(Dialect::Plain, &net.ask(id, &null(8)), WritesLost));
    assert_eq!(kind(&net.ask(id, &null(8))), 127);
    assert_eq!(kind(&net.ask(id, &write(7, 1, b"x"))), 119);
    assert_eq!(kind(&net.ask(id, &null(8))), 127);
    net.lose();
    net.connect();
    assert_eq!(kind(&net.ask(id, &null(8))), 127);
}

#[test]
fn change_of_the_owner_alone_is_no_sync() {
    let stat = |own_numbers: [u8; 12]| {
        let stat = [&[63 - 2, 0][..], &[0xff; 39], &[0; 10], &own_numbers].concat();
        made(126, 8).u32(1).u16(63).raw(&stat).done()
    };
    let null = stat([0xff; 12]);
    let mut numbers = [0xff; 12];
    numbers[0] = 7;
    let change = stat(numbers);
    let mut net = Net::new(Dialect::U);
    let id = net.attached();
    net.walks(id, 1, &["g"]);
    net.opens(id, 1, 2);
    assert_eq!(kind(&net.ask(id, &write(7, 1, b"x"))), 119);
    assert_eq!(kind(&net.ask(id, &change)), 127);
    net.lose();
    net.connect();
    assert_eq!(kind(&net.ask(id, &change)), 127);
    assert!(is_local_error(Dialect::U, &net.ask(id, &null), WritesLost));
    assert_eq!(kind(&net.ask(id, &null)), 127);
}

#[test]
fn plan9_directory_is_read_anew() {
    let mut net = Net::new(Dialect::Plain);
    let id = net.attached();
    net.walks(id, 1, &["d"]);
    net.opens(id, 1, 0);
    net.lose();
    net.connect();
    assert!(is_local_error(Dialect::Plain, &net.ask(id, &read(7, 1, 100, 10)), ReadAnew));
    assert_eq!(kind(&net.ask(id, &read(7, 1, 0, 10))), 117);
    assert_eq!(kind(&net.ask(id, &read(7, 1, 100, 10))), 117);
    let (replies, seen) = in_flight(&mut net, id, &read(7, 1, 100, 10));
    assert!(is_local_error(Dialect::Plain, &replies[0], MaybeDone) && seen == 1);
    let (replies, seen) = in_flight(&mut net, id, &read(7, 1, 0, 10));
    assert_eq!((kind(&replies[0]), seen), (117, 2));
    assert_eq!(kind(&net.ask(id, &read(7, 1, 100, 10))), 117);
}

#[test]
fn plan9_directory_is_read_anew_although_a_first_read_was_flushed() {
    let config = Config { max_inflight: 1, ..Config::default() };
    let mut net = Net::with(Dialect::Plain, Reconnect::default(), config);
    let id = net.attached();
    net.walks(id, 1, &["d"]);
    net.opens(id, 1, 0);
    // A read that is held, and one that waits for a place among the requests.
    for waits in [false, true] {
        if !waits {
            net.server.silent = vec![types::TREAD];
            net.send(id, &read(7, 1, 0, 10));
        }
        net.lose();
        if waits {
            net.connect();
            net.server.silent = vec![124];
            net.send(id, &of_fid(124, 6, 0));
            net.send(id, &read(7, 1, 0, 10));
        }
        net.send(id, &flush(8, 7));
        net.got(id, &[(109, 8)]);
        net.server.silent.clear();
        if waits {
            net.send(id, &flush(9, 6));
            net.got(id, &[(109, 9)]);
        } else {
            net.connect();
        }
        assert!(is_local_error(Dialect::Plain, &net.ask(id, &read(7, 1, 100, 10)), ReadAnew));
    }
}

#[test]
fn lock_is_lost_or_taken_again() {
    for lost_locks in [LostLocks::Fail, LostLocks::Again] {
        let reconnect = Reconnect { lost_locks, ..Reconnect::default() };
        let mut net = Net::with(Dialect::L, reconnect, Config::default());
        let id = net.attached();
        for fid in 1..3 {
            net.walks(id, fid, &["g"]);
            net.opens(id, fid, 2);
            assert_eq!(net.ask(id, &lock(7, fid, 1)), made(53, 7).u8(0).done());
        }
        // Fid 2 is unlocked again.
        net.ask(id, &lock(7, 2, 2));
        net.lose();
        net.server.seen.clear();
        net.connect();
        let reply = net.ask(id, &read(8, 1, 0, 10));
        assert_eq!(net.reads(id, 2), "file 4");
        match lost_locks {
            LostLocks::Fail => assert!(is_local_error(Dialect::L, &reply, LockLost)),
            LostLocks::Again => {
                assert_eq!(kind(&reply), 117);
                let kinds: Vec<u8> = net.server.seen.iter().map(|m| kind(m)).collect();
                let place = |wanted| kinds.iter().position(|kind| *kind == wanted);
                assert!(place(12) < place(52) && place(52) < place(116));
                let locks = net.server.requests(52);
                assert_eq!((locks.len(), u32_at(locks[0], HEADER + 5)), (1, 0), "it blocks");
                // A lock that is not granted again is lost.
                net.server.failing = vec![(52, 13, 1)];
                net.lose();
                net.connect();
                assert!(is_local_error(Dialect::L, &net.ask(id, &read(8, 1, 0, 10)), LockLost));
            }
        }
    }
}

#[test]
fn attribute_that_was_being_written_is_not_committed() {
    let mut net = Net::new(Dialect::L);
    let id = net.attached();
    for fid in 1..4 {
        net.walks(id, fid, &["g"]);
    }
    for fid in 1..3 {
        assert_eq!(
            kind(&net.ask(id, &made(32, 7).u32(fid).str("user.x").u64(3).u32(0).done())),
            33
        );
    }
    assert_eq!(kind(&net.ask(id, &made(30, 7).u32(3).u32(4).str("user.x").done())), 31);
    // The other Tclunk is of the fid by which the identity was attached again.
    let (replies, seen) = in_flight(&mut net, id, &of_fid(120, 8, 2));
    assert!(is_local_error(Dialect::L, &replies[0], MaybeDone) && seen == 2);
    assert!(is_local_error(Dialect::L, &net.ask(id, &of_fid(120, 8, 1)), MaybeDone));
    assert!(is_local_error(Dialect::L, &net.ask(id, &of_fid(120, 8, 1)), UnknownFid));
    assert!(is_local_error(Dialect::L, &net.ask(id, &read(8, 4, 0, 10)), FileGone));
    assert_eq!(kind(&net.ask(id, &of_fid(120, 8, 4))), 121);
    assert_eq!(net.server.requests(types::TXATTRCREATE).len(), 0);
}

#[test]
fn authentication_is_not_repeated() {
    let mut net = Net::new(Dialect::Plain);
    let id = net.client();
    let dialect = Dialect::Plain;
    assert_eq!(kind(&net.ask(id, &auth(dialect, 1, 9, "u", "a"))), 103);
    assert_eq!(kind(&net.ask(id, &attach(dialect, 2, 0, 9, "u", "a"))), 105);
    net.walks(id, 1, &["g"]);
    net.opens(id, 1, 0);
    net.lose();
    net.server.seen.clear();
    net.connect();
    assert!(net.server.requests(104).is_empty());
    for fid in [1, 9] {
        assert!(is_local_error(dialect, &net.ask(id, &read(8, fid, 0, 10)), AuthenticateAgain));
    }
    let reply = net.ask(id, &attach(dialect, 2, 5, 9, "u", "a"));
    assert!(is_local_error(dialect, &reply, AuthenticateAgain));
    // Nobody else has the names without authentication.
    for fid in [9, 1, 0] {
        assert_eq!(kind(&net.ask(id, &of_fid(120, 8, fid))), 121);
    }
    assert_eq!(kind(&net.ask(id, &auth(dialect, 1, 9, "u", "a"))), 103);
    assert!(net.server.requests(104).is_empty());
    let (replies, seen) = in_flight(&mut net, id, &attach(dialect, 2, 0, 9, "u", "a"));
    assert!(is_local_error(dialect, &replies[0], MaybeDone) && seen == 1);
}
