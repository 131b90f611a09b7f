//! What one client, or one user, may hold of what all clients use.

use super::LocalError::*;
use super::bench::{Bench, MSIZE};
use super::messages::*;
use crate::engine::{ClientId, Config, Limit, User};
use crate::wire::{Dialect, HEADER, kind, tag, u32_at};

const ATTACKER: User = User::Local(1);
const VICTIM: User = User::Local(2);

/// Returns what the server receives, without an audit, which would be slow beside many requests and fids.
fn sent(bench: &mut Bench) -> Vec<Vec<u8>> {
    let mut bytes = bench.engine.server_output().to_vec();
    bench.engine.server_wrote(bytes.len());
    cut(&mut bytes)
}

/// Returns how many messages this client receives.
fn receives(bench: &mut Bench, id: ClientId) -> usize {
    let mut bytes = bench.engine.output(id).to_vec();
    bench.engine.client_wrote(id, bytes.len());
    cut(&mut bytes).len()
}

/// Connects a client of this user, and attaches it with fid 0.
fn attached_as(bench: &mut Bench, user: User) -> ClientId {
    let id = bench.engine.client_connected_as(user);
    bench.engine.client_bytes(id, &version(MSIZE, "9P2000"));
    bench.engine.client_bytes(id, &attach(Dialect::Plain, 1, 0, !0, "u", "a"));
    let request = sent(bench).remove(0);
    bench.engine.server_bytes(&made(105, tag(&request)).qid(0, 0).done());
    assert_eq!(receives(bench, id), 2);
    id
}

/// Checks that a client's Tstat is forwarded and replied to.
fn check_stat(bench: &mut Bench, id: ClientId) {
    let stat = bench.forwarded(id, &of_fid(124, 9, 0));
    assert_eq!(kind(&stat), 124);
    bench.server(&made(125, tag(&stat)).u16(0).done());
    assert_eq!(kind(&bench.client_received(id)), 125);
}

/// Many connections, each with as many reads as it may have, which the server keeps.
#[test]
fn blocked_reads_of_many_clients_leave_tags_to_others() {
    for good in [ATTACKER, VICTIM] {
        let mut bench = Bench::new(Dialect::Plain);
        let old = attached_as(&mut bench, good);
        let reads: Vec<u8> = (0..256).flat_map(|n| read(100 + n, 0, 0, 1)).collect();
        let bad: Vec<ClientId> = (0..300)
            .map(|_| {
                let id = attached_as(&mut bench, ATTACKER);
                bench.engine.client_bytes(id, &reads);
                bench.engine.server_wrote(bench.engine.server_output().len());
                id
            })
            .collect();
        bench.engine.audit();
        let held = bench.engine.stats().requests;
        assert!((20_000..34_000).contains(&held), "{held} tags of 64512");
        check_stat(&mut bench, old);
        let new = attached_as(&mut bench, good);
        check_stat(&mut bench, new);
        // A client that came late has more than one request.
        let stats: Vec<u8> = (0..20).flat_map(|n| of_fid(124, n, 0)).collect();
        bench.client_sends(new, &stats);
        assert_eq!(bench.upstream().len(), 20);
        for id in bad {
            bench.engine.client_gone(id);
        }
        bench.engine.audit();
    }
}

/// Connects clients of this user, each with as many reads as it may have, which the server keeps.
fn flood(bench: &mut Bench, user: User, clients: usize) {
    let reads: Vec<u8> = (0..256).flat_map(|n| read(100 + n, 0, 0, 1)).collect();
    for _ in 0..clients {
        let id = attached_as(bench, user);
        bench.engine.client_bytes(id, &reads);
        bench.engine.server_wrote(bench.engine.server_output().len());
    }
}

fn host(n: usize) -> User {
    User::Host(std::net::Ipv4Addr::from(0x0a00_0000 + n as u32).into())
}

/// Every user has a floor, and there are more users than the tags suffice for.
#[test]
fn reads_of_many_users_leave_a_tag_to_every_client() {
    let config = Config { max_inflight_all: 4032, ..Config::default() };
    let mut bench = Bench::with(Dialect::Plain, config);
    let idle: Vec<ClientId> = (0..8).map(|_| attached_as(&mut bench, VICTIM)).collect();
    // This client of the victim has many requests in flight itself.
    flood(&mut bench, VICTIM, 1);
    for n in 0..240 {
        flood(&mut bench, host(n), 4);
    }
    bench.engine.audit();
    let requests = bench.engine.stats().requests;
    assert!((4032 - 1024..4032).contains(&requests), "{requests} tags of 4032");
    for id in idle {
        check_stat(&mut bench, id);
    }
    for user in [VICTIM, host(0), host(1000)] {
        let new = attached_as(&mut bench, user);
        check_stat(&mut bench, new);
    }
}

/// A client that leaves its requests behind may not do the same again and again.
#[test]
fn departed_clients_of_many_users_leave_tags_to_others() {
    let config = Config { max_inflight_all: 2048, ..Config::default() };
    let mut bench = Bench::with(Dialect::Plain, config);
    let old = attached_as(&mut bench, VICTIM);
    for n in 0..16 {
        flood(&mut bench, host(n), 4);
    }
    for n in 20..28 {
        for _ in 0..100 {
            let id = bench.engine.client_connected_as(host(n));
            bench.engine.client_bytes(id, &version(MSIZE, "9P2000"));
            bench.engine.client_bytes(id, &attach(Dialect::Plain, 1, 0, !0, "u", "a"));
            sent(&mut bench);
            bench.engine.client_gone(id);
        }
    }
    check_stat(&mut bench, old);
    let new = attached_as(&mut bench, VICTIM);
    check_stat(&mut bench, new);
}

/// A server that does not reply to Tflush.
#[test]
fn departed_clients_count_for_their_user() {
    let mut bench = Bench::new(Dialect::Plain);
    let old = attached_as(&mut bench, ATTACKER);
    let good = attached_as(&mut bench, VICTIM);
    let reads: Vec<u8> = (0..256).flat_map(|n| read(100 + n, 0, 0, 1)).collect();
    let mut visits = 0;
    let waiting = loop {
        let id = bench.engine.client_connected_as(ATTACKER);
        bench.engine.client_bytes(id, &version(MSIZE, "9P2000"));
        bench.engine.client_bytes(id, &attach(Dialect::Plain, 1, 0, !0, "u", "a"));
        let asked = sent(&mut bench);
        let Some(request) = asked.iter().find(|m| kind(m) == 104) else {
            break id;
        };
        bench.engine.server_bytes(&made(105, tag(request)).qid(0, 0).done());
        bench.engine.client_bytes(id, &reads);
        bench.engine.client_gone(id);
        visits += 1;
        assert!(visits < 10_000, "the user is never refused");
    };
    bench.upstream();
    bench.engine.audit();
    assert!(visits > 50, "{visits} visits");
    // The next connection of that user waits. Its other client, and other users, do not.
    check_stat(&mut bench, old);
    check_stat(&mut bench, good);
    let new = attached_as(&mut bench, VICTIM);
    check_stat(&mut bench, new);
    // When the server replies after all, what waits is forwarded.
    let flushes: Vec<u16> = bench
        .engine
        .requests
        .iter()
        .filter(|(_, request)| request.kind == 108)
        .map(|(tag, _)| tag)
        .collect();
    for flush in flushes {
        bench.engine.server_bytes(&made(109, flush).done());
    }
    bench.engine.audit();
    let asked = bench.upstream();
    assert!(asked.iter().any(|m| kind(m) == 104), "the Tattach is forwarded");
    assert_eq!(kind(&bench.client_received(waiting)), 101);
}

/// All that waits for a share is forwarded in the end, each client in its turn.
#[test]
fn waiting_clients_get_their_shares_in_turn() {
    let config = Config { max_inflight_all: 300, ..Config::default() };
    let mut bench = Bench::with(Dialect::Plain, config);
    let ids: Vec<ClientId> = (0..200).map(|_| attached_as(&mut bench, ATTACKER)).collect();
    let stats: Vec<u8> = (0..20).flat_map(|n| of_fid(124, n, 0)).collect();
    for id in &ids {
        bench.engine.client_bytes(*id, &stats);
    }
    bench.engine.audit();
    assert!(bench.engine.stats().requests >= 200, "each client has at least one request");
    let mut asked: std::collections::VecDeque<Vec<u8>> = bench.upstream().into();
    let mut replies = 0;
    while let Some(request) = asked.pop_front() {
        bench.engine.server_bytes(&made(125, tag(&request)).u16(0).done());
        replies += 1;
        asked.extend(sent(&mut bench));
        if replies == 1000 {
            let least = ids.iter().map(|id| receives(&mut bench, *id)).min();
            assert!(least >= Some(2), "{least:?} of a client, 5 are the mean");
        }
    }
    assert_eq!(replies, 200 * 20);
}

#[test]
fn fids_of_many_clients_leave_fids_to_others() {
    let config = Config { max_fids: 1000, max_fids_all: 40_000, ..Config::default() };
    let mut bench = Bench::with(Dialect::Plain, config);
    let walks = |bench: &mut Bench, id: ClientId, many: u32| {
        let mut count = 0;
        for fid in 1..=many {
            bench.engine.client_bytes(id, &walk(1, 0, fid, &[]));
            for request in sent(bench) {
                bench.engine.server_bytes(&rwalk(tag(&request), 0));
                count += 1;
            }
            receives(bench, id);
        }
        count
    };
    let good = attached_as(&mut bench, VICTIM);
    let mut bad = Vec::new();
    for _ in 0..20 {
        let id = attached_as(&mut bench, ATTACKER);
        let got = walks(&mut bench, id, 1000);
        bad.push((id, got));
    }
    let held = bench.engine.stats().fids;
    assert!((15_000..20_000).contains(&held), "{held} fids");
    assert_eq!(walks(&mut bench, good, 999), 999);
    let late = attached_as(&mut bench, ATTACKER);
    assert!(walks(&mut bench, late, 200) >= 63);
    // The log learns of it once for each client.
    let mut notices: Vec<_> = std::iter::from_fn(|| bench.engine.next_notice()).collect();
    assert!(notices.iter().all(|notice| notice.client != good));
    assert!(notices.iter().any(|notice| notice.limit == Limit::FidShare));
    let many = notices.len();
    notices.dedup();
    assert_eq!(notices.len(), many);
    bench.refused(good, &walk(1, 0, 9999, &[]), TooManyFids);
    bench.refused(good, &walk(1, 0, 9999, &[]), TooManyFids);
    assert_eq!(bench.engine.next_notice().map(|notice| notice.limit), Some(Limit::Fids));
    assert_eq!(bench.engine.next_notice(), None);
    for (id, _) in bad {
        bench.engine.client_gone(id);
    }
    bench.engine.audit();
}

#[test]
fn fids_of_many_users_leave_fids_to_every_client() {
    let config = Config { max_fids_all: 32_000, ..Config::default() };
    let mut bench = Bench::with(Dialect::Plain, config);
    let old = attached_as(&mut bench, VICTIM);
    let walks = |bench: &mut Bench, id: ClientId, many: u32| {
        let mut count = 0;
        for fid in 1..=many {
            bench.engine.client_bytes(id, &walk(1, 0, fid, &[]));
            for request in sent(bench) {
                bench.engine.server_bytes(&rwalk(tag(&request), 0));
                count += 1;
            }
            receives(bench, id);
        }
        count
    };
    for n in 0..60 {
        for _ in 0..2 {
            let id = attached_as(&mut bench, host(n));
            walks(&mut bench, id, 1500);
        }
    }
    bench.engine.audit();
    assert_eq!(walks(&mut bench, old, 15), 15);
    let new = attached_as(&mut bench, VICTIM);
    assert_eq!(walks(&mut bench, new, 15), 15);
    bench.engine.audit();
}

/// The server does not reply to the Tclunks of a departed client, nor to those of one that is there.
#[test]
fn clunks_of_one_user_leave_tags_to_others() {
    let mut bench = Bench::new(Dialect::Plain);
    let old = attached_as(&mut bench, VICTIM);
    let [departs, stays] = [0; 2].map(|_| {
        let id = attached_as(&mut bench, ATTACKER);
        for fid in 1..5000 {
            bench.engine.client_bytes(id, &walk(1, 0, fid, &[]));
            for request in sent(&mut bench) {
                bench.engine.server_bytes(&rwalk(tag(&request), 0));
            }
            receives(&mut bench, id);
        }
        id
    });
    bench.engine.client_gone(departs);
    let clunks: Vec<u8> = (1..5000).flat_map(|n| of_fid(120, n as u16, n)).collect();
    bench.client_sends(stays, &clunks);
    let clunks = sent(&mut bench);
    assert!(clunks.iter().all(|request| kind(request) == 120));
    assert_eq!(clunks.len(), 1024 + 256);
    bench.engine.audit();
    // The fids count for their user until they are clunked.
    let accounts = bench.engine.users.accounts().1;
    assert!(accounts.iter().any(|account| account.departed_fids == 5000));
    check_stat(&mut bench, old);
    let new = attached_as(&mut bench, VICTIM);
    check_stat(&mut bench, new);
    let walked = bench.forwarded(new, &walk(1, 0, 1, &[]));
    bench.server(&rwalk(tag(&walked), 0));
    assert_eq!(kind(&bench.client_received(new)), 111);
    let clunk = bench.forwarded(new, &of_fid(120, 1, 1));
    bench.server(&made(121, tag(&clunk)).done());
    assert_eq!(kind(&bench.client_received(new)), 121);
}

/// Gives a client this number of further fids, and disconnects it. Returns the requests that the server then receives.
fn leave_fids(bench: &mut Bench, id: ClientId, many: u32) -> Vec<Vec<u8>> {
    for fid in 1..=many {
        bench.engine.client_bytes(id, &walk(1, 0, fid, &[]));
        for request in sent(bench) {
            bench.engine.server_bytes(&rwalk(tag(&request), 0));
        }
        receives(bench, id);
    }
    bench.disconnect(id);
    sent(bench)
}

/// Fids whose Tclunk the server never replies to, and fewer tags than fids.
#[test]
fn unanswered_clunks_of_departed_clients_leave_tags_to_others() {
    for most in [2, 4, 64, 256, 1024] {
        for user in [ATTACKER, VICTIM] {
            let config = Config { max_inflight_all: most, ..Config::default() };
            let mut bench = Bench::with(Dialect::Plain, config);
            let old = attached_as(&mut bench, user);
            let leaves = attached_as(&mut bench, VICTIM);
            let bad = [0; 2].map(|_| attached_as(&mut bench, ATTACKER));
            let unanswered = bad.map(|id| leave_fids(&mut bench, id, 1500)).concat();
            assert!(unanswered.iter().all(|request| kind(request) == 120));
            let share = most.div_ceil(4);
            assert!(
                (share..=share + 9).contains(&unanswered.len()),
                "{} clunks, {most} tags",
                unanswered.len()
            );
            let new = attached_as(&mut bench, VICTIM);
            for id in [old, new] {
                check_stat(&mut bench, id);
            }
            // What other users leave is clunked.
            if most > 2 {
                bench.disconnect(leaves);
                let clunk = bench.server_received();
                assert_eq!(kind(&clunk), 120);
                bench.done(&clunk);
            }
            // When the server replies after all, each fid is clunked.
            let mut asked: std::collections::VecDeque<Vec<u8>> = unanswered.into();
            let mut clunks = 0;
            while let Some(clunk) = asked.pop_front() {
                clunks += 1;
                bench.engine.server_bytes(&made(121, tag(&clunk)).done());
                asked.extend(sent(&mut bench));
            }
            bench.engine.audit();
            assert_eq!(clunks, 2 * 1501, "{most} tags");
        }
    }
}

/// Another client of the same user.
#[test]
fn unanswered_clunks_leave_a_share_to_their_user() {
    let config = Config { max_inflight_all: 256, ..Config::default() };
    let mut bench = Bench::with(Dialect::Plain, config);
    let busy = attached_as(&mut bench, ATTACKER);
    let leaves = attached_as(&mut bench, VICTIM);
    let bad = attached_as(&mut bench, ATTACKER);
    let unanswered = leave_fids(&mut bench, bad, 500);
    assert_eq!(unanswered.len(), 66);
    let writes: Vec<u8> = (0..250).flat_map(|n| empty_write(n, 0)).collect();
    bench.client_sends(busy, &writes);
    let asked = bench.upstream();
    assert!((16..100).contains(&asked.len()), "{} requests", asked.len());
    for (clunk, request) in unanswered.iter().zip(&asked).take(9) {
        bench.server(&made(119, tag(request)).u32(0).done());
        assert!(bench.upstream().iter().any(|request| kind(request) == 118));
        bench.done(clunk);
    }
    bench.upstream();
    bench.disconnect(leaves);
    assert_eq!(kind(&bench.server_received()), 120);
}

/// A Linux mount with a cache keeps a fid for each name that it has seen.
#[test]
fn one_client_may_have_a_million_fids_and_their_memory_is_returned() {
    let config = Config { max_server_bytes: 1 << 30, ..Config::default() };
    let mut bench = Bench::with(Dialect::Plain, config);
    let id = attached_as(&mut bench, VICTIM);
    for fid in 1..(1 << 20) {
        bench.engine.client_bytes(id, &walk(1, 0, fid, &[]));
        let request = tag(bench.engine.server_output());
        bench.engine.server_wrote(bench.engine.server_output().len());
        bench.engine.server_bytes(&rwalk(request, 0));
        bench.engine.client_wrote(id, 9);
    }
    bench.refused(id, &walk(1, 0, 1 << 30, &[]), TooManyFids);
    assert_eq!(bench.engine.next_notice().map(|notice| notice.limit), Some(Limit::Fids));
    let other = attached_as(&mut bench, VICTIM);
    assert_eq!(bench.engine.stats().fids, (1 << 20) + 1);
    bench.engine.client_gone(id);
    loop {
        let clunks = bench.engine.server_output().to_vec();
        bench.engine.server_wrote(clunks.len());
        if clunks.is_empty() {
            break;
        }
        for clunk in clunks.chunks(11) {
            assert_eq!((kind(clunk), u32_at(clunk, HEADER) == 1 << 20), (120, false));
            bench.engine.server_bytes(&made(121, tag(clunk)).done());
        }
    }
    bench.engine.client_gone(other);
    let clunk = bench.server_received();
    bench.done(&clunk);
    assert_eq!(bench.engine.stats().fids, 0);
    let records = bench.engine.fids.capacity();
    assert!(records < 200_000, "{records} records");
    assert!(bench.engine.upstream.deferred_clunks.capacity() <= 64);
}

/// A host of IPv6 has more addresses than there are tags.
#[test]
fn users_are_counted_by_network_and_forgotten() {
    let mut bench = Bench::new(Dialect::Plain);
    let users = ["2001:db8::1", "2001:db8::ffff:2", "2001:db8:0:1::1", "10.0.0.1", "10.0.0.2"];
    let ids: Vec<ClientId> =
        users.map(|address| attached_as(&mut bench, User::Host(address.parse().unwrap()))).to_vec();
    assert_eq!(bench.engine.users.accounts().0, 4);
    for id in ids {
        bench.engine.client_gone(id);
    }
    assert_eq!(bench.engine.users.accounts().0, 4, "their fids are not clunked yet");
    for clunk in bench.upstream() {
        bench.done(&clunk);
    }
    assert_eq!(bench.engine.users.accounts().0, 0);
}

/// A program on this machine may connect from every address of 127.0.0.0/8.
#[test]
fn all_addresses_of_this_machine_are_one_user() {
    let mut bench = Bench::new(Dialect::Plain);
    for address in ["127.0.0.1", "127.9.8.7", "::1", "::ffff:127.0.0.1"] {
        attached_as(&mut bench, User::Host(address.parse().unwrap()));
        assert_eq!(bench.engine.users.accounts().0, 1, "{address}");
    }
    for address in ["10.0.0.1", "::ffff:10.0.0.1"] {
        attached_as(&mut bench, User::Host(address.parse().unwrap()));
        assert_eq!(bench.engine.users.accounts().0, 2, "{address}");
    }
}

#[test]
fn each_virtual_machine_is_one_user() {
    let mut bench = Bench::new(Dialect::Plain);
    for cid in [3, 3, 4, 3] {
        attached_as(&mut bench, User::Machine(cid));
    }
    assert_eq!(bench.engine.users.accounts().0, 2);
}

/// Clients that do not read what they have asked for.
#[test]
fn memory_of_all_buffers_is_bounded() {
    const BOUND: usize = 16 << 20;
    let config = Config { max_memory: BOUND, max_reply_bytes: 1 << 20, ..Config::default() };
    let mut bench = Bench::with(Dialect::Plain, config);
    let good = attached_as(&mut bench, ATTACKER);
    let bad: Vec<ClientId> = (0..100).map(|_| attached_as(&mut bench, ATTACKER)).collect();
    // All are admitted before the first reply arrives.
    for id in &bad {
        for n in 0..200 {
            bench.engine.client_bytes(*id, &read(n, 0, 0, 8000));
        }
    }
    let mut now = std::time::Duration::ZERO;
    let mut most = 0;
    for request in sent(&mut bench) {
        let reply = made(117, tag(&request)).u32(8000).raw(&[1; 8000]).done();
        bench.engine.server_bytes(&reply);
        now += std::time::Duration::from_millis(1);
        bench.engine.tick(now);
        let used: usize = bad
            .iter()
            .chain([&good])
            .filter_map(|id| bench.engine.client_info(*id))
            .map(|info| info.memory)
            .sum();
        most = most.max(used);
    }
    assert!((BOUND / 2..=BOUND).contains(&most), "{most} bytes");
    bench.engine.audit();
    let dropped = bad.iter().filter(|id| bench.engine.is_closing(**id)).count();
    assert!((1..100).contains(&dropped), "{dropped} clients");
    let notices: Vec<_> = std::iter::from_fn(|| bench.engine.next_notice()).collect();
    assert_eq!(notices.iter().filter(|notice| notice.limit == Limit::Memory).count(), dropped);
    assert!(!bench.engine.is_closing(good));
    sent(&mut bench);
    check_stat(&mut bench, good);
    for id in bad {
        bench.engine.client_gone(id);
    }
    bench.engine.audit();
    assert!(bench.engine.client_memory < 10_000);
}

/// Its queued requests are processed when the server replies, while the client itself does nothing.
#[test]
fn memory_of_queued_requests_stays_counted_when_the_server_replies() {
    let config = Config { max_inflight: 1, ..Config::default() };
    let mut bench = Bench::with(Dialect::Plain, config);
    let id = attached_as(&mut bench, ATTACKER);
    let first = bench.forwarded(id, &of_fid(124, 1, 0));
    // Some of them are refused.
    let queued: Vec<u8> = (2..500).flat_map(|n| of_fid(124, n, u32::from(n < 22))).collect();
    bench.client_sends(id, &queued);
    bench.server(&made(125, tag(&first)).u16(0).done());
    let memory = bench.engine.client_info(id).unwrap().memory;
    assert!(memory > 5000 && bench.engine.client_memory >= memory, "{memory} bytes");
}

/// The names of auth fids are kept as long as the fid.
#[test]
fn names_of_auth_fids_count_as_memory() {
    const BOUND: usize = 4 << 20;
    let config = Config { max_memory: BOUND, ..Config::default() };
    let mut bench = Bench::with(Dialect::Plain, config);
    let good = attached_as(&mut bench, VICTIM);
    let name = "u".repeat(8000);
    let mut now = std::time::Duration::ZERO;
    let mut bad = Vec::new();
    for _ in 0..200 {
        let id = bench.engine.client_connected_as(ATTACKER);
        bad.push(id);
        bench.engine.client_bytes(id, &version(16384, "9P2000"));
        for fid in 0..8 {
            bench.engine.client_bytes(id, &auth(Dialect::Plain, 1, fid, &name, ""));
            for request in sent(&mut bench).iter().filter(|m| kind(m) == 102) {
                bench.engine.server_bytes(&made(103, tag(request)).qid(0x80, 0).done());
            }
            receives(&mut bench, id);
            now += std::time::Duration::from_millis(1);
            bench.engine.tick(now);
        }
    }
    bench.engine.audit();
    assert!((BOUND / 2..=BOUND).contains(&bench.engine.client_memory));
    assert!(bad.iter().any(|id| bench.engine.is_closing(*id)));
    assert!(!bench.engine.is_closing(good));
    sent(&mut bench);
    check_stat(&mut bench, good);
    for id in bad {
        bench.engine.client_gone(id);
    }
    bench.engine.audit();
    assert!(bench.engine.client_memory < 10_000);
}

#[test]
fn failed_allocation_costs_the_client_that_needed_it() {
    use crate::engine::buffer::FAILING;
    let mut bench = Bench::new(Dialect::Plain);
    let reader = attached_as(&mut bench, ATTACKER);
    let writer = attached_as(&mut bench, ATTACKER);
    let good = attached_as(&mut bench, VICTIM);
    let request = bench.forwarded(reader, &read(1, 0, 0, 8000));
    FAILING.set(true);
    bench.engine.server_bytes(&made(117, tag(&request)).u32(4).raw(b"data").done());
    bench.engine.client_bytes(writer, &made(118, 1).raw(&[0; 100]).done()[..50]);
    FAILING.set(false);
    bench.engine.audit();
    for id in [reader, writer] {
        assert!(bench.engine.is_closing(id) && bench.engine.output(id).is_empty());
        assert_eq!(
            bench.engine.next_notice().map(|n| (n.client, n.limit)),
            Some((id, Limit::Memory))
        );
    }
    assert_eq!(sent(&mut bench).len(), 2, "their fids are clunked");
    check_stat(&mut bench, good);
}
