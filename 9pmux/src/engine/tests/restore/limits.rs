//! Limits, the other end of a link, descriptors, and the end of the program.

use super::super::LocalError::*;
use super::super::bench::{Bench, MSIZE};
use super::super::messages::*;
use super::bench::*;
use super::server::Server;
use crate::engine::{
    ClientId, Config, DescriptorId, EndReason, Engine, LostLocks, Reconnect, RestoreEvent,
    ServerKind,
};
use crate::wire::{Dialect, kind, tag, types};

fn getattr(tag: u16, fid: u32) -> Vec<u8> {
    made(24, tag).u32(fid).u64(0).done()
}

#[test]
fn fid_with_too_many_names_is_served_and_not_restored() {
    let mut net = Net::new(Dialect::L);
    let id = net.attached();
    let name = "n".repeat(4000);
    let mut path = String::new();
    for i in 0..17 {
        path = format!("{path}/{name}");
        net.server.add(&path, 0x80, 100 + i);
    }
    net.events();
    net.walks(id, 1, &[&name]);
    for i in 1..17 {
        assert_eq!(kind(&net.ask(id, &walk(5, 1, 1, &[&name]))), 111);
        let expected = if i == 16 { vec![RestoreEvent::TooManyNames] } else { vec![] };
        assert_eq!(net.events(), expected, "{i} names");
    }
    assert_eq!(kind(&net.ask(id, &getattr(6, 1))), 25);
    // It is said once.
    assert_eq!(kind(&net.ask(id, &walk(5, 1, 2, &[".."]))), 111);
    assert_eq!(net.events(), []);
    net.lose();
    net.connect();
    assert!(is_local_error(Dialect::L, &net.ask(id, &getattr(6, 1)), NoSuchFile));
    assert_eq!(net.bench.engine.stats().fids, 1);
}

#[test]
fn long_names_are_walked_within_the_msize() {
    let mut net = Net::new(Dialect::L);
    let id = net.attached();
    let name = "n".repeat(3000);
    let mut path = String::new();
    for i in 0..5 {
        path = format!("{path}/{name}");
        net.server.add(&path, 0x80, 100 + i);
    }
    net.walks(id, 1, &[&name]);
    for _ in 1..5 {
        assert_eq!(kind(&net.ask(id, &walk(5, 1, 1, &[&name]))), 111);
    }
    net.lose();
    net.server.seen.clear();
    net.connect();
    let walks = net.server.requests(types::TWALK);
    assert!(walks.iter().all(|walk| walk.len() <= MSIZE as usize));
    assert_eq!(walks.len(), 4);
    assert_eq!(kind(&net.ask(id, &getattr(6, 1))), 25);
}

#[test]
fn name_that_fits_no_walk_is_gone() {
    let mut net = Net::new(Dialect::L);
    let id = net.attached();
    net.walks(id, 1, &["d"]);
    // A Tmkdir, or a Trename as here, has a shorter header than a Twalk.
    let name = "n".repeat(MSIZE as usize - 18);
    net.server.add(&format!("/{name}"), 0x80, 2);
    let rename = made(20, 5).u32(1).u32(0).str(&name).done();
    assert_eq!(rename.len(), MSIZE as usize - 1);
    assert_eq!(kind(&net.ask(id, &rename)), 21);
    net.lose();
    net.server.seen.clear();
    net.is_blocked = true;
    net.connect();
    for _ in 0..20 {
        for request in net.bench.upstream() {
            if let Some(reply) = net.server.reply(&request) {
                net.bench.server(&reply);
            }
        }
    }
    // The fid of the attach has a walk without names.
    assert_eq!(net.server.requests(types::TWALK).len(), 1);
    net.is_blocked = false;
    assert!(is_local_error(Dialect::L, &net.ask(id, &getattr(6, 1)), NoSuchFile));
    assert_eq!(kind(&net.ask(id, &getattr(6, 0))), 25);
}

#[test]
fn flush_behind_many_waiting_requests_is_read() {
    let mut net = Net::new(Dialect::L);
    let id = net.attached();
    net.lose();
    let mut n = 0_u16;
    while net.bench.engine.wants_read(id) {
        net.send(id, &getattr(n, 0));
        n += 1;
    }
    let bytes = usize::from(n) * getattr(0, 0).len();
    assert!(bytes >= Config::default().max_reply_bytes && bytes < (1 << 20) + 100, "{bytes}");
    net.send(id, &flush(n, 7));
    net.got(id, &[(109, n)]);
    assert!(net.bench.engine.wants_read(id));
}

#[test]
fn copies_count_among_the_bytes_of_a_client() {
    let config = Config { max_reply_bytes: 20_000, ..Config::default() };
    let mut net = Net::with(Dialect::L, Reconnect::default(), config);
    let id = net.attached();
    net.walks(id, 1, &["g"]);
    net.opens(id, 1, 2);
    net.server.silent = vec![types::TWRITE];
    let data = [7; 4000];
    for tag in 0..50 {
        let message = made(118, tag).u32(1).u64(0).u32(4000).raw(&data).done();
        net.send(id, &message);
    }
    let sent = net.server.requests(types::TWRITE).len();
    assert!((3..=5).contains(&sent), "{sent} writes are in flight");
}

#[test]
fn program_may_end_while_the_server_is_away() {
    for is_replaying in [false, true] {
        let mut net = Net::new(Dialect::L);
        let id = net.attached();
        net.server.silent = vec![24];
        net.send(id, &getattr(7, 0));
        net.lose();
        net.send(id, &getattr(8, 0));
        if is_replaying {
            net.server.silent = vec![types::TWALK];
            net.connect();
        }
        net.bench.engine.hang_up();
        net.bench.engine.audit();
        assert_eq!(net.bench.engine.end_reason(), Some(&EndReason::HungUp));
        let replies = net.bench.all_received(id);
        assert_eq!(replies.len(), 2);
        assert!(replies.iter().all(|reply| is_local_error(Dialect::L, reply, ShuttingDown)));
        assert!(net.bench.engine.is_closing(id) && !net.bench.engine.wants_redial());
        net.bench.disconnect(id);
    }
}

/// A client that may have descriptors has fids 1 and 2 at /g.
fn client_for_descriptors() -> (Net, ClientId) {
    let config = Config { max_descriptors: 4, ..Config::default() };
    let mut net = Net::with(Dialect::Plain, Reconnect::default(), config);
    let id = net.attached();
    net.bench.engine.allow_descriptors(id);
    for fid in 1..3 {
        net.walks(id, fid, &["g"]);
    }
    (net, id)
}

/// Asks for a descriptor in place of a fid, and returns it. Its pair has not been made.
fn asks_for_descriptor(net: &mut Net, id: ClientId, fid: u32, mode: u8) -> DescriptorId {
    net.send(id, &made(98, 9).u32(fid).u8(mode).done());
    let engine = &mut net.bench.engine;
    let changed: Vec<DescriptorId> = std::iter::from_fn(|| engine.next_descriptor()).collect();
    changed.into_iter().find(|descriptor| engine.wants_pair(*descriptor)).expect("it is asked for")
}

#[test]
fn descriptors_end_and_their_opens_fail() {
    let (mut net, id) = client_for_descriptors();
    for fid in 1..3 {
        let descriptor = asks_for_descriptor(&mut net, id, fid, 0);
        net.server.silent = if fid == 2 { vec![types::TOPEN] } else { vec![types::TREAD] };
        net.bench.engine.pair_made(descriptor);
        net.run();
        if fid == 1 {
            assert_eq!(kind(&net.bench.client_received(id)), 99);
            net.bench.engine.descriptor_passed(id);
        }
    }
    net.server.silent.clear();
    net.lose();
    net.connect();
    assert!(is_local_error(Dialect::Plain, &net.bench.client_received(id), MaybeDone));
    while let Some(descriptor) = net.bench.engine.next_descriptor() {
        if net.bench.engine.descriptor_is_closing(descriptor) {
            net.bench.engine.descriptor_closed(descriptor);
        }
        net.bench.engine.audit();
    }
    // The fid of the open that has failed is the client's, and that of the descriptor is gone.
    net.opens(id, 2, 0);
    assert_eq!(net.reads(id, 2), "file 4");
    assert_eq!((net.server.fids(), net.bench.engine.stats().fids), (2, 2));
}

#[test]
fn write_by_a_descriptor_makes_the_next_sync_fail() {
    let (mut net, id) = client_for_descriptors();
    net.opens(id, 1, 2);
    let descriptor = asks_for_descriptor(&mut net, id, 2, 1);
    net.bench.engine.pair_made(descriptor);
    net.run();
    assert_eq!(kind(&net.bench.client_received(id)), 99);
    net.bench.engine.descriptor_passed(id);
    net.bench.engine.descriptor_bytes(descriptor, b"x");
    net.run();
    assert_eq!(net.server.requests(types::TWRITE).len(), 1);
    net.lose();
    net.connect();
    let stat = [&[49 - 2, 0][..], &[0xff; 39], &[0; 8]].concat();
    let sync = made(126, 8).u32(1).u16(stat.len() as u16).raw(&stat).done();
    assert!(is_local_error(Dialect::Plain, &net.ask(id, &sync), WritesLost));
    assert_eq!(kind(&net.ask(id, &sync)), 127);
}

#[test]
fn dead_fids_of_a_loss_without_a_replay_are_not_counted_later() {
    let mut net = Net::new(Dialect::L);
    let id = net.attached();
    net.walks(id, 1, &["g"]);
    // The file of a fid that is dead at once.
    assert_eq!(kind(&net.ask(id, &made(30, 5).u32(1).u32(2).str("a").done())), 31);
    net.lose();
    net.bench.disconnect(id);
    net.connect();
    let id = net.attached();
    net.events();
    net.lose();
    net.connect();
    assert!(net.events().contains(&RestoreEvent::Restored { fids: 1, gone: 0 }));
    assert_eq!(kind(&net.ask(id, &getattr(6, 0))), 25);
}

#[test]
fn locks_are_bounded_for_a_fid_and_for_a_client() {
    let reconnect = Reconnect { lost_locks: LostLocks::Again, ..Reconnect::default() };
    let mut net = Net::with(Dialect::L, reconnect, Config::default());
    let id = net.attached();
    let lock = |tag, fid: u32, kind: u8, start: u64, owner: &str| {
        made(52, tag).u32(fid).u8(kind).u32(0).u64(start).u64(1).u32(7).str(owner).done()
    };
    let owner = "o".repeat(4000);
    for fid in 1..530 {
        net.walks(id, fid, &["d", "f"]);
        for start in 0..4 {
            assert_eq!(kind(&net.ask(id, &lock(5, fid, 1, start, &owner))), 53);
        }
        let memory = net.bench.engine.restore_memory();
        assert!(memory < 9 << 20, "{memory} after fid {fid}");
    }
    // Another client has memory for its own.
    let other = net.attached();
    net.walks(other, 1, &["d", "f"]);
    assert_eq!(kind(&net.ask(other, &lock(5, 1, 1, 0, &owner))), 53);
    // A fid has memory for many locks of an ordinary size, and for a few of any.
    for (fid, count, owner) in [(2, 200, "host"), (3, 5, &*owner)] {
        net.walks(other, fid, &["d", "f"]);
        for start in 0..count {
            assert_eq!(kind(&net.ask(other, &lock(5, fid, 1, start, owner))), 53);
        }
    }
    net.lose();
    net.connect();
    for fid in 1..3 {
        assert_eq!(kind(&net.ask(other, &getattr(6, fid))), 25);
    }
    assert!(is_local_error(Dialect::L, &net.ask(other, &read(6, 3, 0, 1)), LockLost));
    assert_eq!(kind(&net.ask(id, &getattr(6, 1))), 25);
    assert!(is_local_error(Dialect::L, &net.ask(id, &read(6, 529, 0, 1)), LockLost));
    net.bench.disconnect(id);
    net.bench.disconnect(other);
    net.run();
    assert_eq!(net.bench.engine.restore_memory(), 0);
}

#[test]
fn copies_that_departed_clients_leave_are_counted_until_their_requests_end() {
    for is_lost in [false, true] {
        let mut net = Net::new(Dialect::L);
        net.attached();
        let before = net.bench.engine.restore_memory();
        let mut expected = before;
        net.is_blocked = true;
        let mut requests = Vec::new();
        for n in 1..4 {
            let id = net.bench.engine.client_connected();
            net.bench.client_sends(id, &version(MSIZE, "9P2000.L"));
            net.bench.client_sends(id, &attach(Dialect::L, 1, 0, crate::wire::NOFID, "u", "a"));
            let (attaching, others) =
                net.bench.upstream().into_iter().partition(|m| kind(m) == 104);
            requests.extend(others);
            let attaching: Vec<Vec<u8>> = attaching;
            net.bench.server(&net.server.reply(&attaching[0]).unwrap());
            let unlink = made(76, 5).u32(0).str("n".repeat(1000 * n)).u32(0).done();
            net.bench.client_sends(id, &unlink);
            net.bench.client_sends(id, &getattr(6, 0));
            requests.extend(net.bench.upstream());
            net.bench.disconnect(id);
            expected += unlink.len();
            assert_eq!(net.bench.engine.restore_memory(), expected);
        }
        if is_lost {
            net.lose();
        } else {
            for request in requests {
                net.bench.server(&net.server.reply(&request).unwrap());
            }
            net.is_blocked = false;
            net.run();
        }
        assert_eq!(net.bench.engine.restore_memory(), before);
    }
}

#[test]
fn small_copy_does_not_keep_the_memory_of_a_large_request() {
    let mut net = Net::new(Dialect::L);
    let id = net.attached();
    net.walks(id, 1, &["g"]);
    net.opens(id, 1, 2);
    let unlink = made(76, 5).u32(0).str("n".repeat(200)).u32(0).done();
    for n in 0..10 {
        let data = made(118, 20).u32(1).u64(0).u32(8000).raw(&[7; 8000]).done();
        assert_eq!(kind(&net.ask(id, &data)), 119);
        net.server.silent = vec![types::TUNLINKAT];
        let mut unlink = unlink.clone();
        unlink[5] = n;
        net.send(id, &unlink);
        net.server.silent.clear();
    }
    let memory = net.bench.engine.copies_memory();
    assert!(memory < 10 * 1000 + 2 * 8100, "{memory}");
}

/// Returns a post of a link whose stream exists, and a client that has attached.
fn post() -> (Net, crate::engine::ClientId) {
    let config = Config {
        server: ServerKind::FarEnd,
        reconnect: Some(Reconnect::default()),
        msize: MSIZE,
        version_timeout: TIMEOUT,
        window: Some(100_000),
        ..Config::default()
    };
    let bench = Bench { engine: Engine::new(config), dialect: Dialect::L };
    let mut net = Net::of(bench, Server::new(Dialect::L, MSIZE));
    let id = net.attached();
    net.walks(id, 1, &["g"]);
    (net, id)
}

#[test]
fn other_end_of_a_link_whose_server_is_away_is_asked_again() {
    let (mut net, id) = post();
    net.lose();
    net.send(id, &getattr(7, 1));
    net.server.failing = vec![(100, 110, 2)];
    net.connect();
    for second in 1..3 {
        net.got(id, &[]);
        assert_eq!(net.bench.engine.next_deadline(), Some(second * SECOND));
        net.tick(second * SECOND);
    }
    net.got(id, &[(25, 7)]);
    // Silence is a loss.
    net.lose();
    net.server.silent = vec![100];
    net.connect();
    net.bench.engine.tick(net.bench.engine.now + TIMEOUT);
    net.bench.engine.audit();
    assert_eq!(net.bench.engine.take_lost_server(), Some(EndReason::VersionTimeout));
    net.server.silent.clear();
    net.connect();
    assert_eq!(kind(&net.ask(id, &getattr(8, 1))), 25);
}

#[test]
fn other_end_of_a_link_with_another_version_closes_clients_and_not_the_link() {
    for (msize, name) in [(MSIZE / 2, "9P2000.L"), (MSIZE, "9P2000"), (MSIZE, "unknown")] {
        let (mut net, id) = post();
        net.server.silent = vec![24];
        net.send(id, &getattr(7, 1));
        net.lose();
        (net.server.msize, net.server.name) = (msize, name);
        net.connect();
        assert!(net.bench.engine.end_reason().is_none(), "{name} {msize}");
        assert!(net.bench.engine.is_closing(id));
        assert!(is_local_error(Dialect::L, &net.bench.client_received(id), ServerGone));
        net.bench.disconnect(id);
        (net.server.msize, net.server.name) = (MSIZE, "9P2000.L");
        net.server.silent.clear();
        let id = net.attached();
        assert_eq!(kind(&net.ask(id, &getattr(8, 0))), 25);
    }
}

#[test]
fn server_that_permits_what_it_should_not_does_no_harm_to_the_names() {
    let mut net = Net::new(Dialect::L);
    let id = net.attached();
    for (fid, names) in [(1, &["d"][..]), (2, &["d", "f"])] {
        net.walks(id, fid, names);
    }
    // A directory is moved below itself, and a file to where it is.
    net.is_blocked = true;
    for (message, reply) in [
        (made(74, 5).u32(0).str("d").u32(2).str("x").done(), 75),
        (made(74, 5).u32(1).str("f").u32(1).str("f").done(), 75),
        (made(20, 5).u32(0).u32(1).str("root").done(), 21),
        (made(20, 5).u32(2).u32(2).str("self").done(), 21),
    ] {
        net.send(id, &message);
        let request = net.bench.server_received();
        net.bench.server(&made(reply, tag(&request)).done());
        net.got(id, &[(reply, 5)]);
    }
    net.is_blocked = false;
    net.lose();
    net.connect();
    for fid in 1..3 {
        assert!(is_local_error(Dialect::L, &net.ask(id, &getattr(6, fid)), NoSuchFile));
    }
    assert_eq!(kind(&net.ask(id, &getattr(6, 0))), 25);
}

/// The adaptive limit of a new connection.
const FIRST: u16 = 64;

fn adaptive_net() -> Net {
    Net::with(
        Dialect::L,
        Reconnect::default(),
        Config { adapts: true, max_inflight: 100, ..Config::default() },
    )
}

fn sends_many(net: &mut Net, id: ClientId, n: u16) {
    let batch: Vec<u8> = (0..n).flat_map(|tag| getattr(tag, 0)).collect();
    net.send(id, &batch);
}

#[test]
fn adaptive_limit_begins_anew_with_the_next_connection() {
    let mut net = adaptive_net();
    let id = net.attached();
    // A request of three seconds lowers the limit.
    net.is_blocked = true;
    net.send(id, &getattr(1, 0));
    for n in 0..60 {
        net.bench.engine.tick(SECOND * n / 20);
    }
    net.is_blocked = false;
    net.run();
    net.got(id, &[(25, 1)]);
    for n in 60..120 {
        net.tick(SECOND * n / 20);
    }
    net.server.silent = vec![24];
    net.server.seen.clear();
    sends_many(&mut net, id, 100);
    assert!(net.server.requests(24).len() < usize::from(FIRST), "the limit is lower");
    net.lose();
    net.server.seen.clear();
    net.connect();
    assert_eq!(net.server.requests(24).len(), usize::from(FIRST));
}

#[test]
fn requests_that_are_sent_again_count_for_the_adaptive_limit() {
    let mut net = adaptive_net();
    let (busy, other) = (net.attached(), net.attached());
    net.server.silent = vec![24];
    sends_many(&mut net, busy, FIRST);
    net.lose();
    net.tick(SECOND);
    net.tick(2 * SECOND);
    net.server.seen.clear();
    net.connect();
    assert_eq!(net.server.requests(24).len(), usize::from(FIRST));
    sends_many(&mut net, other, 2);
    assert_eq!(net.server.requests(24).len(), usize::from(FIRST) + 1, "only the first passes");
}
