//! The dialect of the connection is free while no client has a session, and a server that dislikes an offer affects
//! only the clients that made it.

use std::time::Duration;

use super::LocalError::*;
use super::bench::{Bench, MSIZE};
use super::messages::*;
use crate::engine::{ClientId, Config, EndReason, Engine, VersionEvent};
use crate::wire::{Dialect, HEADER, NOFID, kind, tag, u16_at};

const SECOND: Duration = Duration::from_secs(1);
const PLAIN: &str = "9P2000";
const L: &str = "9P2000.L";
const U: &str = "9P2000.u";

fn bench(can_redial: bool) -> Bench {
    let engine = Engine::new(Config { can_redial, msize: MSIZE, ..Config::default() });
    Bench { engine, dialect: Dialect::Plain }
}

/// Connects a client that offers a version. Nothing is expected of the server.
fn offers(bench: &mut Bench, name: &str) -> ClientId {
    let id = bench.engine.client_connected();
    bench.client_sends(id, &version(MSIZE, name));
    id
}

/// Checks that the server receives this offer, and makes it agree.
#[track_caller]
fn agrees(bench: &mut Bench, name: &str) {
    assert_eq!(bench.server_received(), version(MSIZE, name));
    bench.server(&rversion(MSIZE, name));
    bench.dialect = Dialect::from_name(name.as_bytes()).expect("a dialect");
}

#[track_caller]
fn is_told(bench: &mut Bench, id: ClientId, name: &str) {
    assert_eq!(bench.client_received(id), rversion(MSIZE, name));
}

#[test]
fn dialect_is_free_while_no_client_has_a_session() {
    for first in [PLAIN, U, L] {
        for next in [PLAIN, U, L] {
            let mut bench = bench(false);
            let id = offers(&mut bench, first);
            agrees(&mut bench, first);
            is_told(&mut bench, id, first);
            // While there is a session, its dialect is that of all.
            let other = offers(&mut bench, next);
            let allowed = if first == PLAIN || first == next { first } else { "unknown" };
            is_told(&mut bench, other, allowed);
            assert!(bench.upstream().is_empty());
            bench.disconnect(id);
            bench.disconnect(other);
            assert!(bench.upstream().is_empty(), "only an offer makes a difference");
            let id = offers(&mut bench, next);
            if first != next {
                agrees(&mut bench, next);
            }
            is_told(&mut bench, id, next);
            assert!(bench.upstream().is_empty());
            bench.attach(id, 0);
        }
    }
}

#[test]
fn lone_client_may_change_the_dialect_by_a_second_tversion() {
    let mut bench = bench(false);
    let id = offers(&mut bench, PLAIN);
    agrees(&mut bench, PLAIN);
    is_told(&mut bench, id, PLAIN);
    bench.attach(id, 0);
    bench.client_sends(id, &version(MSIZE, L));
    let clunk = bench.server_received();
    assert_eq!(kind(&clunk), 120);
    bench.done(&clunk);
    agrees(&mut bench, L);
    is_told(&mut bench, id, L);
    bench.attach(id, 0);
}

#[test]
fn answer_to_an_offer_is_not_asked_for_twice() {
    let mut bench = bench(false);
    let id = offers(&mut bench, L);
    assert_eq!(bench.server_received(), version(MSIZE, L));
    bench.server(&rversion(MSIZE, PLAIN));
    is_told(&mut bench, id, PLAIN);
    bench.disconnect(id);
    // What the server said to that offer is known, and so is its dialect.
    for name in [L, PLAIN] {
        let id = offers(&mut bench, name);
        is_told(&mut bench, id, PLAIN);
        bench.disconnect(id);
    }
    assert!(bench.upstream().is_empty());
    offers(&mut bench, U);
    assert_eq!(bench.server_received(), version(MSIZE, U));
}

#[test]
fn dialect_changes_only_when_nothing_is_upstream() {
    let mut bench = bench(false);
    let id = offers(&mut bench, PLAIN);
    agrees(&mut bench, PLAIN);
    is_told(&mut bench, id, PLAIN);
    bench.attach(id, 0);
    let read = bench.forwarded(id, &read(1, 0, 0, 9));
    bench.disconnect(id);
    let flush = bench.server_received();
    assert_eq!((kind(&flush), u16_at(&flush, HEADER)), (108, tag(&read)));
    let (early, waits) = (offers(&mut bench, U), offers(&mut bench, L));
    assert!(bench.upstream().is_empty() && bench.all_received(waits).is_empty());
    // A client without a version still gets its errors, and one that leaves is not waited for.
    let new = bench.engine.client_connected();
    bench.refused(new, &of_fid(120, 1, 1), NoVersion);
    bench.disconnect(early);
    bench.done(&flush);
    let clunk = bench.server_received();
    assert_eq!(kind(&clunk), 120);
    bench.done(&clunk);
    agrees(&mut bench, L);
    is_told(&mut bench, waits, L);
    assert_eq!(bench.engine.stats().fids, 0);
    bench.attach(waits, 0);
}

/// The server does not reply to a Tflush.
#[test]
fn remains_of_a_departed_client_do_not_keep_the_dialect_for_ever() {
    for can_redial in [false, true] {
        let mut bench = bench(can_redial);
        let id = offers(&mut bench, PLAIN);
        agrees(&mut bench, PLAIN);
        is_told(&mut bench, id, PLAIN);
        bench.attach(id, 0);
        bench.forwarded(id, &read(1, 0, 0, 9));
        bench.disconnect(id);
        assert_eq!(kind(&bench.server_received()), 108);
        let (implies, other) = (offers(&mut bench, L), offers(&mut bench, U));
        assert_eq!(bench.engine.next_deadline(), Some(10 * SECOND));
        bench.engine.tick(10 * SECOND);
        bench.engine.audit();
        assert_eq!(bench.engine.wants_redial(), can_redial);
        if can_redial {
            bench.engine.server_connected();
            bench.engine.audit();
            let stats = bench.engine.stats();
            assert_eq!((stats.requests, stats.fids, stats.in_cleanup), (0, 0, 0));
            agrees(&mut bench, L);
            is_told(&mut bench, implies, L);
            is_told(&mut bench, other, "unknown");
            bench.attach(implies, 0);
        } else {
            is_told(&mut bench, implies, PLAIN);
            is_told(&mut bench, other, PLAIN);
            bench.attach(implies, 0);
        }
    }
}

#[test]
fn second_tversion_behind_remains_is_repeated_on_the_new_connection() {
    let mut bench = bench(true);
    let id = offers(&mut bench, PLAIN);
    agrees(&mut bench, PLAIN);
    is_told(&mut bench, id, PLAIN);
    bench.attach(id, 0);
    let other = offers(&mut bench, PLAIN);
    is_told(&mut bench, other, PLAIN);
    bench.attach(other, 0);
    bench.disconnect(other);
    bench.upstream();
    bench.engine.tick(SECOND);
    let new = bench.engine.client_connected();
    // Its own cleanup, and that of the other, wait for the server.
    bench.client_sends(id, &version(MSIZE, L));
    bench.client_sends(new, &version(MSIZE, L));
    bench.engine.tick(11 * SECOND);
    bench.engine.audit();
    assert!(bench.engine.wants_redial());
    bench.upstream();
    bench.engine.server_connected();
    bench.engine.audit();
    agrees(&mut bench, L);
    is_told(&mut bench, id, L);
    is_told(&mut bench, new, L);
}

/// The ways of a server to dislike an offer.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Dislike {
    HangsUp,
    IsSilent,
    Error,
}

impl Dislike {
    const ALL: [Dislike; 3] = [Dislike::HangsUp, Dislike::IsSilent, Dislike::Error];

    fn happens(self, bench: &mut Bench, now: Duration) {
        match self {
            Dislike::HangsUp => bench.engine.server_gone(),
            Dislike::IsSilent => bench.engine.tick(now + 10 * SECOND),
            Dislike::Error => bench.server(&error(Dialect::Plain, 0xFFFF, "no")),
        }
        bench.engine.audit();
    }
}

#[test]
fn server_that_dislikes_an_offer_refuses_only_that_offer() {
    for dislike in [Dislike::HangsUp, Dislike::IsSilent] {
        let mut bench = bench(true);
        let (one, two) = (offers(&mut bench, U), offers(&mut bench, U));
        let other = offers(&mut bench, L);
        assert_eq!(bench.server_received(), version(MSIZE, U));
        dislike.happens(&mut bench, Duration::ZERO);
        assert_eq!(bench.engine.end_reason(), None);
        assert!(bench.engine.wants_redial() && bench.upstream().is_empty());
        is_told(&mut bench, one, "unknown");
        is_told(&mut bench, two, "unknown");
        // What the server says too late is not heard.
        bench.server(&rversion(MSIZE, U));
        bench.engine.server_gone();
        bench.engine.server_connected();
        bench.engine.audit();
        assert!(!bench.engine.wants_redial());
        agrees(&mut bench, L);
        is_told(&mut bench, other, L);
        bench.attach(other, 0);
        bench.disconnect(other);
        for clunk in bench.upstream() {
            bench.done(&clunk);
        }
        // The offer is not made again for some time.
        bench.engine.tick(69 * SECOND - SECOND * u32::from(dislike == Dislike::HangsUp) * 10);
        let early = offers(&mut bench, U);
        is_told(&mut bench, early, "unknown");
        assert!(bench.upstream().is_empty());
        bench.engine.tick(70 * SECOND);
        let late = offers(&mut bench, U);
        agrees(&mut bench, U);
        is_told(&mut bench, late, U);
    }
}

#[test]
fn server_that_names_another_version_refuses_only_that_offer() {
    for name in [L, U, "", "9P", "9P2000.x", "unknown"] {
        let mut bench = bench(false);
        let (one, other) = (offers(&mut bench, PLAIN), offers(&mut bench, L));
        assert_eq!(bench.server_received(), version(MSIZE, PLAIN));
        bench.server(&rversion(MSIZE, name));
        is_told(&mut bench, one, "unknown");
        agrees(&mut bench, L);
        is_told(&mut bench, other, L);
        let reply = format!("version '{name}'");
        let refused = VersionEvent::VersionRefused { offer: Dialect::Plain, reply };
        assert_eq!(bench.engine.next_version_event(), Some(refused));
        let agreed = VersionEvent::VersionAgreed { dialect: Dialect::L, msize: MSIZE };
        assert_eq!(bench.engine.next_version_event(), Some(agreed));
        assert_eq!(bench.engine.next_version_event(), None);
    }
}

/// It may know the version all the same.
#[test]
fn offer_after_another_is_repeated_on_a_new_connection() {
    for dislike in Dislike::ALL {
        let mut bench = bench(true);
        let id = offers(&mut bench, PLAIN);
        agrees(&mut bench, PLAIN);
        is_told(&mut bench, id, PLAIN);
        bench.disconnect(id);
        let id = offers(&mut bench, L);
        assert_eq!(bench.server_received(), version(MSIZE, L));
        dislike.happens(&mut bench, Duration::ZERO);
        assert!(bench.engine.wants_redial() && bench.all_received(id).is_empty(), "{dislike:?}");
        let late = offers(&mut bench, L);
        bench.engine.server_connected();
        bench.engine.audit();
        agrees(&mut bench, L);
        is_told(&mut bench, id, L);
        is_told(&mut bench, late, L);
        assert_eq!(bench.engine.end_reason(), None);
    }
}

#[test]
fn server_that_cannot_be_reached_again_ends_the_engine() {
    for (dislike, reason) in [
        (Dislike::HangsUp, EndReason::ServerClosed),
        (Dislike::IsSilent, EndReason::VersionTimeout),
    ] {
        for can_redial in [false, true] {
            let mut bench = bench(can_redial);
            let (one, other) = (offers(&mut bench, U), offers(&mut bench, L));
            bench.upstream();
            dislike.happens(&mut bench, Duration::ZERO);
            if can_redial {
                is_told(&mut bench, one, "unknown");
                bench.engine.redial_failed();
                bench.engine.audit();
            } else {
                let reply = bench.client_received(one);
                assert!(is_local_error(Dialect::Plain, &reply, ServerGone));
            }
            assert_eq!(bench.engine.end_reason(), Some(&reason), "{dislike:?}");
            assert!(is_local_error(Dialect::Plain, &bench.client_received(other), ServerGone));
            assert!(bench.engine.is_closing(one) && bench.engine.is_closing(other));
            assert!(!bench.engine.wants_redial());
        }
    }
}

/// A dialect that was chosen in advance is not negotiated again.
#[test]
fn chosen_dialect_is_kept() {
    for can_redial in [false, true] {
        let config = Config { can_redial, ..Config::default() };
        let mut bench = Bench::with(Dialect::U, config.clone());
        let id = offers(&mut bench, L);
        is_told(&mut bench, id, "unknown");
        assert!(bench.upstream().is_empty());
        let engine = Engine::new(Config { dialect: Some(Dialect::U), ..config });
        let mut bench = Bench { engine, dialect: Dialect::U };
        bench.engine.server_gone();
        assert_eq!(bench.engine.end_reason(), Some(&EndReason::ServerClosed));
    }
}

/// A server that disconnects while clients have sessions has ended, whatever was offered.
#[test]
fn server_that_hangs_up_in_a_session_ends_the_engine() {
    let mut bench = bench(true);
    let id = offers(&mut bench, PLAIN);
    agrees(&mut bench, PLAIN);
    is_told(&mut bench, id, PLAIN);
    let other = offers(&mut bench, L);
    is_told(&mut bench, other, PLAIN);
    bench.engine.server_gone();
    assert_eq!(bench.engine.end_reason(), Some(&EndReason::ServerClosed));
    assert!(!bench.engine.wants_redial());
}

/// Makes a client attach by the shared attach, and returns it and that Tattach.
fn attach_once(bench: &mut Bench) -> (ClientId, Vec<u8>) {
    let id = offers(bench, PLAIN);
    agrees(bench, PLAIN);
    is_told(bench, id, PLAIN);
    let request = bench.forwarded(id, &attach(Dialect::Plain, 1, 0, NOFID, "u", ""));
    (id, request)
}

fn bench_once(can_redial: bool) -> Bench {
    let config = Config { attach_once: true, can_redial, msize: MSIZE, ..Config::default() };
    Bench { engine: Engine::new(config), dialect: Dialect::Plain }
}

/// Checks that `id`, which has offered 9P2000.L, gets it on a new connection, or else the old dialect.
fn changes_dialect_by_a_connection(bench: &mut Bench, id: ClientId, can_redial: bool) {
    assert!(bench.upstream().is_empty(), "no Tversion on the same connection");
    assert_eq!(bench.engine.wants_redial(), can_redial);
    if can_redial {
        bench.engine.server_connected();
        agrees(bench, L);
        is_told(bench, id, L);
        let request = bench.forwarded(id, &attach(Dialect::L, 1, 0, NOFID, "u", ""));
        assert_eq!(kind(&request), 104);
    } else {
        is_told(bench, id, PLAIN);
    }
    bench.engine.audit();
}

/// A server that permits one attach for a connection may refuse the next one even after a Tversion.
#[test]
fn dialect_changes_on_a_new_connection_after_a_shared_attach() {
    for can_redial in [false, true] {
        let mut bench = bench_once(can_redial);
        let (id, request) = attach_once(&mut bench);
        bench.server(&made(105, tag(&request)).qid(0, 0).done());
        let walk = bench.server_received();
        bench.server(&rwalk(tag(&walk), 0));
        assert_eq!(kind(&bench.client_received(id)), 105);
        bench.disconnect(id);
        let own = bench.server_received();
        assert_eq!(kind(&own), 120);
        bench.done(&own);
        let next = offers(&mut bench, L);
        changes_dialect_by_a_connection(&mut bench, next, can_redial);
    }
}

/// The client attaches, and ends its session before the server has replied.
#[test]
fn dialect_changes_on_a_new_connection_while_the_shared_attach_is_pending() {
    for can_redial in [false, true] {
        let mut bench = bench_once(can_redial);
        let (id, _) = attach_once(&mut bench);
        bench.client_sends(id, &version(MSIZE, L));
        changes_dialect_by_a_connection(&mut bench, id, can_redial);
    }
}

/// Otherwise each client that tries the newest dialect first would cost two Tversion.
#[test]
fn refused_offer_is_not_repeated_for_some_time() {
    let mut bench = bench(false);
    let id = offers(&mut bench, L);
    assert_eq!(bench.server_received(), version(MSIZE, L));
    bench.server(&rversion(MSIZE, "unknown"));
    is_told(&mut bench, id, "unknown");
    bench.client_sends(id, &version(MSIZE, PLAIN));
    agrees(&mut bench, PLAIN);
    is_told(&mut bench, id, PLAIN);
    bench.disconnect(id);
    let next = offers(&mut bench, L);
    is_told(&mut bench, next, PLAIN);
    assert!(bench.upstream().is_empty());
    bench.disconnect(next);
    bench.engine.tick(60 * SECOND);
    offers(&mut bench, L);
    assert_eq!(bench.server_received(), version(MSIZE, L));
}

/// Returns a client that has attached by the shared attach, and then walked to this number of further fids.
fn attached_once(bench: &mut Bench, walks: u32) -> ClientId {
    let id = offers(bench, PLAIN);
    let shared = bench.upstream();
    if !shared.is_empty() {
        bench.server(&rversion(MSIZE, PLAIN));
    }
    is_told(bench, id, PLAIN);
    bench.client_sends(id, &attach(Dialect::Plain, 1, 0, NOFID, "u", ""));
    let mut request = bench.server_received();
    if kind(&request) == 104 {
        bench.server(&made(105, tag(&request)).qid(0, 0).done());
        request = bench.server_received();
    }
    bench.server(&rwalk(tag(&request), 0));
    assert_eq!(kind(&bench.client_received(id)), 105);
    for fid in 1..=walks {
        let request = bench.forwarded(id, &walk(1, 0, fid, &[]));
        bench.server(&rwalk(tag(&request), 0));
        assert_eq!(kind(&bench.client_received(id)), 111);
    }
    id
}

/// Returns the replies to these requests of 9pmux's own, which arrive together.
fn replies(requests: &[Vec<u8>]) -> Vec<u8> {
    requests.iter().flat_map(|request| made(kind(request) + 1, tag(request)).done()).collect()
}

/// The reply that completes the last session is followed by other replies, which are dropped with the connection.
#[test]
fn connection_changes_after_a_batch_of_replies() {
    for can_redial in [false, true] {
        for cut in 0..4 {
            let mut bench = bench_once(can_redial);
            let (one, other) = (attached_once(&mut bench, 0), attached_once(&mut bench, 4));
            bench.disconnect(other);
            let of_other = bench.upstream();
            bench.client_sends(one, &version(MSIZE, L));
            let of_one = bench.upstream();
            assert_eq!((of_one.len(), of_other.len()), (1, 5));
            let mut batch = replies(&of_one);
            batch.extend(replies(&of_other));
            // The last reply may be incomplete.
            let whole = batch.len() - 7 * usize::from(cut > 0) + cut;
            bench.server(&batch[..whole]);
            assert_eq!(bench.engine.end_reason(), None);
            changes_dialect_by_a_connection(&mut bench, one, can_redial);
        }
    }
}

/// The second Tversion of a client waits behind flushes, all of which the server's Rflush completes.
#[test]
fn connection_changes_after_an_rflush() {
    for can_redial in [false, true] {
        for max_inflight in [1, 2, 4] {
            let config =
                Config { attach_once: true, can_redial, msize: MSIZE, ..Config::default() };
            let engine = Engine::new(Config { max_inflight, ..config });
            let mut bench = Bench { engine, dialect: Dialect::Plain };
            let first = attached_once(&mut bench, 0);
            bench.disconnect(first);
            let own = bench.server_received();
            bench.done(&own);
            let id = offers(&mut bench, PLAIN);
            is_told(&mut bench, id, PLAIN);
            bench.forwarded(id, &auth(Dialect::Plain, 1, 5, "u", ""));
            let mut messages: Vec<u8> =
                (0..=max_inflight as u16).flat_map(|n| flush(1000 + n, 1)).collect();
            messages.extend(version(MSIZE, L));
            let request = bench.forwarded(id, &messages);
            assert_eq!(kind(&request), 108);
            bench.done(&request);
            let mut replies = bench.all_received(id);
            let last = if can_redial { None } else { replies.pop() };
            assert!(replies.iter().all(|message| kind(message) == 109));
            assert_eq!(replies.len(), max_inflight + 1);
            assert_eq!(bench.engine.wants_redial(), can_redial);
            assert_eq!(last, (!can_redial).then(|| rversion(MSIZE, PLAIN)));
            if can_redial {
                changes_dialect_by_a_connection(&mut bench, id, true);
            }
        }
    }
}

/// Clients whose sessions end by replies of one batch all wait for the new connection, and so does a client that had
/// no session.
#[test]
fn connection_changes_once_for_several_clients() {
    let mut bench = bench_once(true);
    let clients = [0, 1, 2].map(|walks| attached_once(&mut bench, walks));
    let mut requests = Vec::new();
    for id in clients {
        let late = offers(&mut bench, L);
        // While another client has a session, it determines the dialect.
        is_told(&mut bench, late, PLAIN);
        bench.disconnect(late);
        bench.client_sends(id, &version(MSIZE, L));
        requests.extend(bench.upstream());
    }
    assert_eq!(requests.len(), 6);
    bench.server(&replies(&requests));
    assert!(bench.engine.wants_redial() && bench.upstream().is_empty());
    let late = offers(&mut bench, U);
    bench.engine.server_connected();
    agrees(&mut bench, L);
    for id in clients {
        is_told(&mut bench, id, L);
    }
    is_told(&mut bench, late, "unknown");
    let stats = bench.engine.stats();
    assert_eq!((stats.requests, stats.in_cleanup), (0, 0));
}

/// The new server's bytes do not follow those of the old one.
#[test]
fn bytes_of_the_old_connection_are_dropped() {
    let replies = [&rversion(MSIZE, U)[..5], &[0xFF; 40], b"HTTP/1.1 400 Bad Request\r\n\r\n"];
    for late in replies {
        let mut bench = bench_once(true);
        let id = attached_once(&mut bench, 0);
        bench.client_sends(id, &version(MSIZE, L));
        let clunk = bench.server_received();
        let mut batch = made(121, tag(&clunk)).done();
        batch.extend_from_slice(late);
        let (one, two) = batch.split_at(9);
        bench.server(one);
        assert!(bench.engine.wants_redial());
        bench.server(two);
        bench.engine.server_gone();
        assert_eq!(bench.engine.end_reason(), None);
        changes_dialect_by_a_connection(&mut bench, id, true);
    }
}

/// A time limit ends the waits of several clients at once.
#[test]
fn connection_changes_once_when_several_waits_expire() {
    let mut bench = bench_once(true);
    let clients = [0, 1, 2].map(|walks| attached_once(&mut bench, walks));
    for id in clients {
        bench.client_sends(id, &version(MSIZE, L));
    }
    bench.upstream();
    bench.engine.tick(10 * SECOND);
    bench.engine.audit();
    assert!(bench.engine.wants_redial() && bench.upstream().is_empty());
    bench.engine.server_connected();
    agrees(&mut bench, L);
    for id in clients {
        is_told(&mut bench, id, L);
    }
}

/// As on the first connection, a message that was not asked for is dropped while no version is agreed.
#[test]
fn stray_on_a_new_connection_does_not_end_the_engine() {
    let mut bench = bench(true);
    let id = offers(&mut bench, L);
    bench.upstream();
    bench.engine.server_gone();
    is_told(&mut bench, id, "unknown");
    bench.disconnect(id);
    bench.engine.server_connected();
    bench.server(&made(111, 5).u16(0).done());
    assert_eq!(bench.engine.end_reason(), None);
    assert_eq!(bench.engine.stats().dropped, 1);
    let id = offers(&mut bench, PLAIN);
    agrees(&mut bench, PLAIN);
    is_told(&mut bench, id, PLAIN);
}

/// One client asks twice and is the first that waits: the others get their replies before its second Tversion counts.
#[test]
fn second_tversion_of_a_waiter_waits_for_the_others() {
    let mut bench = bench(false);
    let first = offers(&mut bench, U);
    bench.client_sends(first, &version(MSIZE, L));
    let other = offers(&mut bench, U);
    agrees(&mut bench, U);
    is_told(&mut bench, other, U);
    assert_eq!(bench.all_received(first), [rversion(MSIZE, U), rversion(MSIZE, "unknown")]);
    assert!(bench.upstream().is_empty());
    // Without the other client the dialect is free.
    bench.disconnect(other);
    bench.client_sends(first, &[version(MSIZE, U), version(MSIZE, L)].concat());
    agrees(&mut bench, L);
    assert_eq!(bench.all_received(first), [rversion(MSIZE, U), rversion(MSIZE, L)]);
}

/// The same when the remains of a departed client keep the dialect.
#[test]
fn second_tversion_of_a_waiter_does_not_keep_the_others_waiting() {
    let mut bench = bench(false);
    let id = offers(&mut bench, PLAIN);
    agrees(&mut bench, PLAIN);
    is_told(&mut bench, id, PLAIN);
    bench.attach(id, 0);
    bench.forwarded(id, &read(1, 0, 0, 9));
    bench.disconnect(id);
    bench.upstream();
    let clients = [0, 1, 2].map(|_| offers(&mut bench, L));
    for id in &clients[..2] {
        bench.client_sends(*id, &version(MSIZE, U));
    }
    bench.engine.tick(10 * SECOND);
    bench.engine.audit();
    for id in &clients[..2] {
        assert_eq!(bench.all_received(*id), [rversion(MSIZE, PLAIN), rversion(MSIZE, PLAIN)]);
    }
    is_told(&mut bench, clients[2], PLAIN);
    bench.attach(clients[2], 0);
}
