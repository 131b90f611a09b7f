//! Fids that are walked to and opened again.

use std::time::Duration;

use super::super::LocalError::*;
use super::super::bench::{Bench, MSIZE};
use super::super::messages::*;
use super::bench::*;
use super::server::Server;
use crate::engine::{ClientId, Config, EndReason, Engine, Reconnect, RestoreEvent};
use crate::wire::{Dialect, HEADER, NOFID, kind, tag, types};

#[test]
fn fids_are_where_they_were() {
    for dialect in Dialect::ALL {
        let mut net = Net::new(dialect);
        let (a, b) = (net.attached(), net.attached());
        net.walks(a, 1, &["d", "f"]);
        net.opens(a, 1, 0);
        net.walks(b, 1, &["g"]);
        net.opens(b, 1, 0);
        net.walks(b, 2, &["d"]);
        for _ in 0..3 {
            net.lose();
            net.server.seen.clear();
            net.connect();
            assert_eq!(net.server.requests(types::TATTACH).len(), 1, "one identity");
            assert_eq!(net.server.requests(types::TWALK).len(), 5);
            let events = net.events();
            assert!(events.contains(&RestoreEvent::Restored { fids: 5, gone: 0 }), "{events:?}");
            assert_eq!((net.reads(a, 1), net.reads(b, 1)), ("file 3".into(), "file 4".into()));
            let reply = net.ask(b, &walk(5, 2, 3, &["f"]));
            assert_eq!(kind(&reply), 111);
            assert_eq!(kind(&net.ask(b, &of_fid(120, 6, 3))), 121);
            assert_eq!(net.server.fids(), 5, "the fid of the identity is clunked");
        }
    }
}

/// A client has fid 1 open on /d/f, and fid 2 at it.
fn open_and_idle(dialect: Dialect) -> (Net, ClientId) {
    open_and_idle_in(Net::new(dialect))
}

fn open_and_idle_in(net: Net) -> (Net, ClientId) {
    let mut net = net;
    let id = net.attached();
    for fid in 1..3 {
        net.walks(id, fid, &["d", "f"]);
    }
    net.opens(id, 1, 0);
    net.events();
    (net, id)
}

/// Checks that the fids at /d/f are dead, and that others are not.
#[track_caller]
fn are_dead(net: &mut Net, id: ClientId) {
    let dialect = net.bench.dialect;
    let seen = net.server.seen.len();
    assert!(is_local_error(dialect, &net.ask(id, &read(5, 1, 0, 10)), FileGone));
    assert!(is_local_error(dialect, &net.ask(id, &walk(5, 2, 7, &[])), FileGone));
    let stat = match dialect {
        Dialect::L => made(24, 5).u32(2).u64(0).done(),
        _ => of_fid(124, 5, 2),
    };
    assert!(is_local_error(dialect, &net.ask(id, &stat), NoSuchFile));
    for fid in 1..3 {
        assert_eq!(net.ask(id, &of_fid(120, 5, fid)), made(121, 5).done());
    }
    assert_eq!(net.server.seen.len(), seen, "the server is asked for a dead fid");
}

#[test]
fn replaced_renamed_or_unlinked_file_is_gone() {
    for dialect in Dialect::ALL {
        for what in 0..3 {
            let (mut net, id) = open_and_idle(dialect);
            net.lose();
            match what {
                0 => net.server.add("/d/f", 0, 33),
                1 => net.server.rename("/d/f", "/d/h"),
                _ => drop(net.server.files.remove("/d/f")),
            }
            net.connect();
            let events = net.events();
            assert!(events.contains(&RestoreEvent::Restored { fids: 3, gone: 2 }), "{events:?}");
            assert_eq!(net.server.fids(), 1, "a fid of a dead file is left");
            are_dead(&mut net, id);
            net.walks(id, 1, &["g"]);
        }
    }
}

#[test]
fn file_that_differs_when_it_is_opened_is_gone() {
    let (mut net, id) = open_and_idle(Dialect::L);
    net.lose();
    net.server.silent = vec![types::TLOPEN];
    net.connect();
    net.server.silent.clear();
    let open = net.server.requests(types::TLOPEN)[1].clone();
    net.bench.server(&made(13, tag(&open)).qid(0, 99).u32(0).done());
    net.run();
    assert!(is_local_error(Dialect::L, &net.ask(id, &read(5, 1, 0, 10)), FileGone));
    assert_eq!(net.server.fids(), 2);
}

#[test]
fn other_tree_is_another_file_system() {
    let (mut net, id) = open_and_idle(Dialect::L);
    net.lose();
    net.server.add("", 0x80, 50);
    net.connect();
    assert_eq!(net.events()[..1], [RestoreEvent::Back { after: Duration::ZERO }]);
    are_dead(&mut net, id);
    assert_eq!(net.server.fids(), 0);
    let reply = net.ask(id, &attach(Dialect::L, 1, 1, NOFID, "u", "a"));
    assert_eq!(kind(&reply), 105);
    net.lose();
    net.connect();
    assert_eq!(kind(&net.ask(id, &walk(1, 1, 2, &["g"]))), 111);
}

#[test]
fn refused_identity_has_no_fids() {
    let (mut net, id) = open_and_idle(Dialect::L);
    let other = net.client();
    assert_eq!(kind(&net.ask(other, &attach(Dialect::L, 1, 0, NOFID, "v", "b"))), 105);
    net.lose();
    net.server.failing = vec![(104, 13, 1)];
    net.connect();
    let refused = RestoreEvent::AttachRefused { uname: "u".into(), aname: "a".into() };
    let events = net.events();
    assert_eq!(events.iter().filter(|event| **event == refused).count(), 1, "{events:?}");
    are_dead(&mut net, id);
    net.walks(other, 1, &["g"]);
}

#[test]
fn renames_of_clients_move_their_fids() {
    let mut net = Net::new(Dialect::L);
    let (a, b) = (net.attached(), net.attached());
    for id in [a, b] {
        net.walks(id, 1, &["d", "f"]);
        net.opens(id, 1, 0);
        net.walks(id, 2, &["g"]);
    }
    let renameat = made(74, 5).u32(0).str("d").u32(0).str("e").done();
    assert_eq!(kind(&net.ask(a, &renameat)), 75);
    // The new name is that of another file, which is gone.
    net.walks(a, 3, &["e"]);
    let renameat = made(74, 5).u32(3).str("f").u32(0).str("g").done();
    assert_eq!(kind(&net.ask(a, &renameat)), 75);
    net.lose();
    net.connect();
    assert_eq!((net.reads(a, 1), net.reads(b, 1)), ("file 3".into(), "file 3".into()));
    let stat = made(24, 5).u32(2).u64(0).done();
    assert!(is_local_error(Dialect::L, &net.ask(b, &stat), NoSuchFile));
}

#[test]
fn removed_file_is_gone_and_a_new_one_of_its_name_is_not() {
    let mut net = Net::new(Dialect::L);
    let id = net.attached();
    net.walks(id, 1, &["g"]);
    net.opens(id, 1, 0);
    assert_eq!(kind(&net.ask(id, &made(76, 5).u32(0).str("g").u32(0).done())), 77);
    net.server.add("/g", 0, 4);
    net.walks(id, 2, &["g"]);
    net.opens(id, 2, 0);
    net.lose();
    net.connect();
    // The server has given the new file the number of the old one.
    assert!(is_local_error(Dialect::L, &net.ask(id, &read(5, 1, 0, 10)), FileGone));
    assert_eq!(net.reads(id, 2), "file 4");
}

#[test]
fn long_path_is_walked_in_pieces() {
    let mut net = Net::new(Dialect::L);
    let id = net.attached();
    let mut path = String::new();
    for i in 0..40 {
        path = format!("{path}/n{i}");
        net.server.add(&path, 0x80, 100 + i);
    }
    let names: Vec<String> = (0..40).map(|i| format!("n{i}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    net.walks(id, 1, &names[..16]);
    for part in [&names[16..32], &names[32..], &[".."]] {
        assert_eq!(kind(&net.ask(id, &walk(5, 1, 1, part))), 111);
    }
    net.lose();
    net.server.seen.clear();
    net.connect();
    let counts: Vec<u8> = net.server.requests(110).iter().map(|m| m[HEADER + 8]).collect();
    assert_eq!(counts, [0, 16, 16, 7]);
    assert_eq!(kind(&net.ask(id, &walk(5, 1, 2, &["n39"]))), 111);
}

#[test]
fn server_that_is_silent_while_fids_are_restored_is_left() {
    let (mut net, id) = open_and_idle(Dialect::L);
    net.lose();
    net.send(id, &read(5, 1, 0, 10));
    for _ in 0..3 {
        net.server.silent = vec![types::TWALK];
        net.connect();
        let deadline = net.bench.engine.next_deadline();
        assert_eq!(deadline, Some(net.bench.engine.now + TIMEOUT));
        net.bench.engine.tick(net.bench.engine.now + TIMEOUT);
        net.bench.engine.audit();
        assert_eq!(net.bench.engine.take_lost_server(), Some(EndReason::ReplayTimeout));
        net.server.forget_session();
    }
    net.server.silent.clear();
    net.connect();
    assert_eq!(contents(&net.bench.client_received(id)), "file 3");
    let events = net.events();
    assert_eq!(events[0], RestoreEvent::Back { after: 3 * TIMEOUT });
    assert_eq!(events[1..], [RestoreEvent::Restored { fids: 3, gone: 0 }]);
}

#[test]
fn server_that_is_slow_and_not_silent_is_not_left() {
    let (mut net, id) = open_and_idle(Dialect::L);
    net.lose();
    net.send(id, &read(5, 1, 0, 10));
    net.is_blocked = true;
    net.connect();
    let nearly = TIMEOUT - Duration::from_millis(1);
    let mut requests = Vec::new();
    let mut replies = 0;
    loop {
        requests.extend(net.bench.upstream());
        if requests.is_empty() {
            break;
        }
        net.tick(net.bench.engine.now + nearly);
        assert!(!net.bench.engine.wants_redial(), "it is left after {replies} replies");
        let reply = net.server.reply(&requests.remove(0)).unwrap();
        net.bench.server(&reply);
        replies += 1;
    }
    assert!(replies > 6);
    assert_eq!(contents(&net.bench.client_received(id)), "file 3");
    assert!(net.bench.engine.outage().is_none() && net.server.fids() == 3);
}

#[test]
fn connection_may_be_lost_again_after_each_message() {
    for dialect in Dialect::ALL {
        for messages in 0..40 {
            let (mut net, id) = open_and_idle(dialect);
            net.server.silent = vec![types::TREAD];
            net.send(id, &read(5, 1, 0, 10));
            net.server.silent.clear();
            for _ in 0..3 {
                net.lose();
                net.bench.engine.server_connected();
                let mut left = messages;
                while left > 0 {
                    let requests = net.bench.upstream();
                    if requests.is_empty() {
                        break;
                    }
                    for request in requests {
                        let reply = net.server.reply(&request).filter(|_| left > 0);
                        left -= usize::from(reply.is_some());
                        reply.iter().for_each(|reply| net.bench.server(reply));
                    }
                }
            }
            net.lose();
            net.connect();
            let replies = net.bench.all_received(id);
            assert_eq!(replies.len(), 1, "{messages} messages");
            assert_eq!(contents(&replies[0]), "file 3");
            assert_eq!((net.reads(id, 1).as_str(), net.server.fids()), ("file 3", 3));
        }
    }
}

#[test]
fn error_that_may_pass_is_tried_again() {
    let (mut net, id) = open_and_idle(Dialect::L);
    net.lose();
    net.send(id, &read(5, 1, 0, 10));
    net.server.failing = vec![(104, 11, 1), (12, 24, 2)];
    net.connect();
    for second in 1..4 {
        net.got(id, &[]);
        assert_eq!(net.bench.engine.next_deadline(), Some(second * SECOND));
        net.tick(second * SECOND);
    }
    assert_eq!(contents(&net.bench.client_received(id)), "file 3");
}

#[test]
fn server_with_less_cannot_keep_what_was_promised() {
    for (msize, name) in [(MSIZE / 2, "9P2000.L"), (MSIZE, "9P2000"), (MSIZE, "unknown")] {
        let (mut net, id) = open_and_idle(Dialect::L);
        net.lose();
        (net.server.msize, net.server.name) = (msize, name);
        net.connect();
        let end = net.bench.engine.end_reason();
        assert!(matches!(end, Some(EndReason::NoCommonVersion(_))), "{end:?}");
        assert!(net.bench.engine.is_closing(id));
    }
}

#[test]
fn larger_msize_is_not_used() {
    let config = Config {
        dialect: Some(Dialect::L),
        reconnect: Some(Reconnect::default()),
        msize: 2 * MSIZE,
        ..Config::default()
    };
    let bench = Bench { engine: Engine::new(config), dialect: Dialect::L };
    let mut net = Net::of(bench, Server::new(Dialect::L, MSIZE));
    let id = net.attached();
    net.walks(id, 1, &["d", "f"]);
    net.lose();
    net.server.msize = 2 * MSIZE;
    net.connect();
    net.opens(id, 1, 0);
    assert_eq!(net.reads(id, 1), "file 3");
    let other = net.bench.engine.client_connected();
    net.send(other, &version(2 * MSIZE, "9P2000.L"));
    assert_eq!(net.bench.client_received(other), rversion(MSIZE, "9P2000.L"));
    // What the next server has is compared with the promise.
    net.lose();
    net.server.msize = MSIZE;
    net.connect();
    assert_eq!(net.reads(id, 1), "file 3");
}

#[test]
fn clients_that_share_an_attach_have_one_tattach_a_connection() {
    let config = Config { attach_once: true, ..Config::default() };
    let mut net = Net::with(Dialect::L, Reconnect::default(), config);
    let (a, b) = (net.attached(), net.attached());
    net.walks(b, 1, &["g"]);
    for _ in 0..3 {
        net.server.seen.clear();
        net.lose();
        net.send(a, &attach(Dialect::L, 5, 7, NOFID, "u", "a"));
        net.connect();
        assert_eq!(net.server.requests(104).len(), 1);
        net.got(a, &[(105, 5)]);
        assert_eq!(kind(&net.ask(a, &of_fid(120, 6, 7))), 121);
        assert_eq!(kind(&net.ask(b, &walk(5, 1, 1, &[".."]))), 111);
        assert_eq!(kind(&net.ask(b, &walk(5, 1, 1, &["g"]))), 111);
    }
    // Another tree: the next attach makes the shared one anew.
    net.lose();
    net.server.add("", 0x80, 50);
    net.connect();
    assert!(is_local_error(Dialect::L, &net.ask(b, &walk(5, 1, 2, &[])), FileGone));
    net.server.seen.clear();
    for id in [a, b] {
        assert_eq!(kind(&net.ask(id, &attach(Dialect::L, 5, 7, NOFID, "u", "a"))), 105);
    }
    assert_eq!(net.server.requests(104).len(), 1);
}

#[test]
fn attach_in_flight_that_was_shared_is_made_in_the_tree_that_the_server_has_then() {
    for is_refused in [false, true] {
        let config = Config { attach_once: true, ..Config::default() };
        let mut net = Net::with(Dialect::L, Reconnect::default(), config);
        let (a, b) = (net.attached(), net.client());
        net.server.silent = vec![types::TWALK];
        net.send(b, &attach(Dialect::L, 5, 7, NOFID, "u", "a"));
        assert_eq!(net.server.requests(types::TWALK).len(), 2);
        net.lose();
        net.server.silent.clear();
        net.server.add("", 0x80, 50);
        if is_refused {
            net.server.failing = vec![(types::TATTACH, 13, 1)];
        }
        net.connect();
        let reply = net.bench.client_received(b);
        assert_eq!((kind(&reply), tag(&reply), reply[HEADER + 5]), (105, 5, 50));
        assert!(is_local_error(Dialect::L, &net.ask(a, &walk(6, 0, 1, &[])), FileGone));
        for _ in 0..2 {
            assert_eq!(kind(&net.ask(b, &walk(6, 7, 8, &["g"]))), 111);
            assert_eq!(kind(&net.ask(b, &of_fid(120, 6, 8))), 121);
            net.lose();
            net.connect();
        }
        net.bench.disconnect(b);
        net.run();
        assert_eq!((net.server.fids(), net.bench.engine.stats().fids), (0, 0));
    }
}

#[test]
fn shared_attach_of_a_tree_that_was_replaced_is_made_anew() {
    for leaves in [false, true] {
        let config = Config { attach_once: true, ..Config::default() };
        let mut net = Net::with(Dialect::L, Reconnect::default(), config);
        let (first, other, id) = (net.attached(), net.client(), net.client());
        // The reply to an earlier Tattach of the same names, which was not shared, is the later one.
        net.server.silent = vec![types::TATTACH];
        net.send(other, &attach(Dialect::L, 5, 7, NOFID, "v", "b"));
        net.server.silent.clear();
        let late = net.server.requests(types::TATTACH)[1].clone();
        net.bench.disconnect(first);
        net.run();
        assert_eq!(kind(&net.ask(id, &attach(Dialect::L, 5, 0, NOFID, "v", "b"))), 105);
        net.server.add("", 0x80, 50);
        let reply = net.server.reply(&late).unwrap();
        net.bench.server(&reply);
        net.got(other, &[(105, 5)]);
        if leaves {
            net.bench.disconnect(other);
            net.run();
        }
        net.server.silent = vec![types::TWALK];
        net.send(id, &attach(Dialect::L, 6, 1, NOFID, "v", "b"));
        net.server.silent.clear();
        net.lose();
        net.connect();
        net.got(id, &[(105, 6)]);
        assert!(net.bench.engine.outage().is_none());
        assert!(is_local_error(Dialect::L, &net.ask(id, &walk(6, 0, 4, &[])), FileGone));
        if !leaves {
            assert_eq!(kind(&net.ask(other, &walk(6, 7, 8, &["g"]))), 111);
        }
        assert_eq!(kind(&net.ask(id, &attach(Dialect::L, 5, 2, NOFID, "v", "b"))), 105);
        assert_eq!(kind(&net.ask(id, &walk(6, 2, 3, &["g"]))), 111);
    }
}

#[test]
fn client_may_leave_while_its_fid_is_restored() {
    for is_lost in [false, true] {
        let (mut net, id) = open_and_idle(Dialect::L);
        let other = net.attached();
        net.lose();
        net.send(id, &read(5, 1, 0, 10));
        net.server.silent = vec![types::TWALK];
        net.connect();
        net.bench.disconnect(id);
        net.server.silent.clear();
        if is_lost {
            net.lose();
            net.connect();
        } else {
            for request in net.server.seen.split_off(net.server.seen.len() - 4) {
                if let Some(reply) = net.server.reply(&request) {
                    net.bench.server(&reply);
                }
            }
            net.run();
        }
        net.walks(other, 1, &["g"]);
        assert_eq!((net.server.fids(), net.bench.engine.stats().fids), (2, 2));
        assert!(net.bench.engine.outage().is_none());
    }
}

#[test]
fn client_may_leave_after_a_fid_was_released_that_is_being_restored() {
    for what in 0..3 {
        let reconnect = Reconnect { patience: Some(5 * SECOND), ..Reconnect::default() };
        let net = Net::with(Dialect::L, reconnect, Config::default());
        let (mut net, id) = open_and_idle_in(net);
        let remove = of_fid(122, 5, 1);
        if what == 0 {
            net.is_blocked = true;
            net.send(id, &remove);
        }
        net.lose();
        net.is_blocked = false;
        if what == 2 {
            net.tick(5 * SECOND);
        }
        net.server.silent = vec![types::TWALK];
        net.connect();
        match what {
            0 => net.tick(5 * SECOND),
            1 => net.send(id, &of_fid(120, 5, 1)),
            _ => net.send(id, &remove),
        }
        net.bench.all_received(id);
        net.bench.disconnect(id);
        net.server.silent.clear();
        for request in net.server.seen.split_off(net.server.seen.len() - 3) {
            if let Some(reply) = net.server.reply(&request) {
                net.bench.server(&reply);
            }
        }
        net.run();
        assert_eq!((net.server.fids(), net.bench.engine.stats().fids), (0, 0), "case {what}");
        assert!(net.server.files.contains_key("/d/f"));
    }
}

#[test]
fn shared_attach_without_a_session_is_made_anew() {
    for leaves_first in [false, true] {
        let config = Config { attach_once: true, ..Config::default() };
        let mut net = Net::with(Dialect::L, Reconnect::default(), config);
        let id = net.attached();
        if leaves_first {
            net.bench.disconnect(id);
            net.run();
            net.lose();
        } else {
            net.lose();
            net.bench.disconnect(id);
        }
        net.server.seen.clear();
        net.connect();
        let id = net.attached();
        assert_eq!(net.server.requests(104).len(), 1);
        net.walks(id, 1, &["g"]);
    }
}

#[test]
fn identity_that_clients_share_again_meanwhile_is_attached_by_itself() {
    let config = Config { attach_once: true, ..Config::default() };
    let mut net = Net::with(Dialect::L, Reconnect::default(), config);
    let (first, id, last) = (net.attached(), net.client(), net.client());
    assert_eq!(kind(&net.ask(id, &attach(Dialect::L, 5, 0, NOFID, "v", "b"))), 105);
    net.bench.disconnect(first);
    net.run();
    net.lose();
    net.is_blocked = true;
    net.connect();
    for _ in 0..3 {
        for request in net.bench.upstream() {
            let is_of_id = kind(&request) == types::TATTACH && request.contains(&b'v');
            net.server.failing = vec![(types::TATTACH, 11, usize::from(is_of_id))];
            let reply = net.server.reply(&request).unwrap();
            net.bench.server(&reply);
        }
    }
    net.is_blocked = false;
    // The other shared attach has no user, and is replaced.
    assert_eq!(kind(&net.ask(last, &attach(Dialect::L, 5, 0, NOFID, "v", "b"))), 105);
    assert!(net.bench.engine.outage().is_some());
    net.tick(SECOND);
    assert!(net.bench.engine.outage().is_none());
    net.walks(id, 1, &["g"]);
    net.walks(last, 1, &["g"]);
    // The attach that is shared, and two fids of each client.
    assert_eq!((net.server.fids(), net.bench.engine.stats().fids), (5, 5));
}

#[test]
fn shared_attach_is_forgotten_if_no_version_is_offered() {
    let config = Config {
        attach_once: true,
        reconnect: Some(Reconnect::default()),
        msize: MSIZE,
        ..Config::default()
    };
    let bench = Bench { engine: Engine::new(config), dialect: Dialect::L };
    let mut net = Net::of(bench, Server::new(Dialect::L, MSIZE));
    let id = net.attached();
    net.lose();
    net.bench.disconnect(id);
    net.server.seen.clear();
    net.connect();
    assert!(net.server.seen.is_empty());
    let id = net.attached();
    net.walks(id, 1, &["g"]);
    assert_eq!(net.server.requests(types::TATTACH).len(), 1);
}

#[test]
fn copies_of_requests_survive_requests_of_the_replay() {
    let (mut net, id) = open_and_idle(Dialect::L);
    net.lose();
    net.is_blocked = true;
    net.connect();
    let mut is_sent = false;
    for _ in 0..8 {
        for request in net.bench.upstream() {
            if kind(&request) == types::TREAD {
                is_sent = true;
                continue;
            }
            let reply = net.server.reply(&request).unwrap();
            net.bench.server(&reply);
        }
        if !is_sent {
            net.send(id, &read(5, 1, 0, 10));
            net.send(id, &flush(6, 5));
        }
    }
    net.send(id, &read(5, 1, 0, 10));
    net.send(id, &walk(7, 0, 9, &["g"]));
    net.bench.upstream();
    net.bench.all_received(id);
    net.is_blocked = false;
    net.lose();
    net.connect();
    net.got(id, &[(117, 5), (111, 7)]);
}

#[test]
fn fid_that_is_clunked_while_it_is_restored_is_clunked_at_the_server() {
    let (mut net, id) = open_and_idle(Dialect::L);
    net.lose();
    net.is_blocked = true;
    net.connect();
    let mut clunked = false;
    for _ in 0..10 {
        for request in net.bench.upstream() {
            if kind(&request) == types::TWALK && !clunked {
                clunked = true;
                for fid in [2, 1, 0] {
                    assert_eq!(net.ask(id, &of_fid(120, 6, fid)), made(121, 6).done());
                }
            }
            if let Some(reply) = net.server.reply(&request) {
                net.bench.server(&reply);
            }
        }
    }
    assert!(clunked);
    assert_eq!((net.server.fids(), net.bench.engine.stats().fids), (0, 0));
    assert!(net.bench.engine.outage().is_none());
}
