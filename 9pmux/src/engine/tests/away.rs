//! A server that is not there yet, goes and comes back, or does not exist; and the other end of a link, which may
//! have none.

use std::time::Duration;

use super::LocalError::*;
use super::bench::{Bench, MSIZE};
use super::messages::*;
use crate::engine::away::FAILURE_PATIENCE;
use crate::engine::{ClientId, Config, EndReason, Engine, ServerKind, VersionEvent};
use crate::wire::{Dialect, HEADER, NOFID, kind, tag, u32_at};

const TIMEOUT: Duration = Duration::from_secs(10);

fn bench(server: ServerKind, dialect: Dialect) -> Bench {
    let can_redial = server == ServerKind::OnDemand;
    let config =
        Config { server, can_redial, msize: MSIZE, version_timeout: TIMEOUT, ..Config::default() };
    Bench { engine: Engine::new(config), dialect }
}

/// Connects a client that offers the dialect of the bench. Nothing is expected of the server.
fn offers(bench: &mut Bench) -> ClientId {
    let id = bench.engine.client_connected();
    bench.client_sends(id, &version(MSIZE, bench.dialect.name()));
    id
}

/// Connects the server, which agrees to this version.
#[track_caller]
fn connects(bench: &mut Bench, msize: u32, name: &str) {
    assert!(bench.engine.wants_redial());
    bench.engine.server_connected();
    bench.engine.audit();
    assert_eq!(bench.server_received(), version(MSIZE, bench.dialect.name()));
    bench.server(&rversion(msize, name));
}

/// Returns a bench with a client in a session.
pub(super) fn in_session(dialect: Dialect) -> (Bench, ClientId) {
    let mut bench = bench(ServerKind::OnDemand, dialect);
    let id = offers(&mut bench);
    connects(&mut bench, MSIZE, dialect.name());
    assert_eq!(bench.client_received(id), rversion(MSIZE, dialect.name()));
    (bench, id)
}

#[track_caller]
fn dies(bench: &mut Bench) {
    bench.engine.server_gone();
    bench.engine.audit();
    assert_eq!(bench.engine.take_lost_server(), Some(EndReason::ServerClosed));
    assert_eq!(bench.engine.take_lost_server(), None);
    assert!(bench.engine.end_reason().is_none());
}

#[test]
fn the_server_is_connected_when_a_client_asks_for_a_version() {
    let mut bench = bench(ServerKind::OnDemand, Dialect::L);
    let id = bench.engine.client_connected();
    assert!(!bench.engine.wants_redial() && bench.upstream().is_empty());
    bench.client_sends(id, &version(MSIZE, "9P2000.L"));
    assert!(bench.all_received(id).is_empty());
    connects(&mut bench, MSIZE, "9P2000.L");
    assert_eq!(bench.client_received(id), rversion(MSIZE, "9P2000.L"));
    bench.attach(id, 0);
}

#[test]
fn a_client_keeps_its_session_and_its_fids_are_dead_when_the_server_goes() {
    for dialect in Dialect::ALL {
        let (mut bench, id) = in_session(dialect);
        bench.attach(id, 0);
        for (newfid, opens) in [(1, false), (2, true), (3, false)] {
            let walk = bench.forwarded(id, &walk(1, 0, newfid, &["a"]));
            bench.server(&rwalk(tag(&walk), 1));
            bench.client_received(id);
            if opens {
                let open = match dialect {
                    Dialect::L => made(12, 2).u32(newfid).u32(0).done(),
                    _ => made(112, 2).u32(newfid).u8(0).done(),
                };
                let open = bench.forwarded(id, &open);
                bench.server(&made(kind(&open) + 1, tag(&open)).qid(0, 1).u32(0).done());
                bench.client_received(id);
            }
        }
        // A read, a walk and a flush of the walk are at the server.
        bench.client_sends(id, &read(7, 2, 0, 10));
        bench.client_sends(id, &walk(8, 0, 4, &["b"]));
        bench.client_sends(id, &flush(9, 8));
        bench.upstream();
        dies(&mut bench);
        let replies = bench.all_received(id);
        assert!(is_local_error(dialect, &replies[0], ServerGone) && tag(&replies[0]) == 7);
        assert!(is_local_error(dialect, &replies[1], ServerGone) && tag(&replies[1]) == 8);
        assert_eq!(replies[2], made(109, 9).done());
        assert_eq!(replies.len(), 3);
        assert!(!bench.engine.is_closing(id) && !bench.engine.wants_redial());
        assert_eq!(bench.engine.client_info(id).map(|info| info.fids), Some(4));
        // What the fids were for is refused here, in a form that makes Linux look the name up again.
        let stat = if dialect == Dialect::L { 24 } else { 124 };
        let stat = |fid| match stat {
            24 => made(24, 1).u32(fid).u64(0).done(),
            _ => of_fid(124, 1, fid),
        };
        bench.refused(id, &stat(1), NoSuchFile);
        bench.refused(id, &stat(2), FileGone);
        bench.refused(id, &read(1, 2, 0, 10), FileGone);
        bench.refused(id, &walk(1, 0, 9, &["a"]), FileGone);
        bench.refused(id, &walk(1, 9, 10, &[]), UnknownFid);
        bench.refused(id, &attach(dialect, 1, 0, NOFID, "u", "a"), FidInUse);
        // The fid of a Tremove is released, and so is that of a Tclunk, which succeeds.
        bench.refused(id, &of_fid(122, 1, 3), FileGone);
        bench.refused(id, &of_fid(122, 1, 3), UnknownFid);
        for fid in [0, 1, 2] {
            bench.client_sends(id, &of_fid(120, 5, fid));
            assert_eq!(bench.client_received(id), made(121, 5).done());
        }
        bench.refused(id, &of_fid(120, 1, 0), UnknownFid);
        // The next attach asks for the server.
        bench.client_sends(id, &attach(dialect, 1, 0, NOFID, "u", "a"));
        assert!(bench.all_received(id).is_empty());
        connects(&mut bench, MSIZE, dialect.name());
        let request = bench.server_received();
        bench.server(&made(105, tag(&request)).qid(0, 0).done());
        assert_eq!(kind(&bench.client_received(id)), 105);
    }
}

#[test]
fn a_dead_fid_counts_until_it_is_clunked() {
    let config = Config {
        server: ServerKind::OnDemand,
        can_redial: true,
        max_fids: 1,
        msize: MSIZE,
        ..Config::default()
    };
    let mut bench = Bench { engine: Engine::new(config), dialect: Dialect::L };
    let id = offers(&mut bench);
    connects(&mut bench, MSIZE, "9P2000.L");
    bench.client_received(id);
    bench.attach(id, 0);
    dies(&mut bench);
    bench.refused(id, &attach(Dialect::L, 1, 1, NOFID, "u", "a"), TooManyFids);
    bench.client_sends(id, &of_fid(120, 5, 0));
    bench.client_received(id);
    bench.client_sends(id, &attach(Dialect::L, 1, 1, NOFID, "u", "a"));
    assert!(bench.engine.wants_redial());
}

#[test]
fn what_asks_for_the_server_waits_for_a_time_and_is_then_refused() {
    let (mut bench, id) = in_session(Dialect::L);
    dies(&mut bench);
    bench.client_sends(id, &attach(Dialect::L, 1, 0, NOFID, "u", "a"));
    bench.client_sends(id, &attach(Dialect::L, 2, 1, NOFID, "u", "a"));
    let other = offers(&mut bench);
    for _ in 0..3 {
        assert!(bench.engine.wants_redial());
        bench.engine.redial_failed();
        bench.engine.audit();
    }
    assert_eq!(bench.engine.next_deadline(), Some(TIMEOUT));
    bench.engine.tick(TIMEOUT);
    bench.engine.audit();
    let replies = bench.all_received(id);
    assert_eq!(replies.len(), 2);
    assert!(replies.iter().all(|reply| is_local_error(Dialect::L, reply, Unreachable)));
    assert_eq!(bench.client_received(other), rversion(MSIZE, "unknown"));
    assert!(!bench.engine.wants_redial());
    // The next request asks again.
    bench.client_sends(other, &version(MSIZE, "9P2000.L"));
    assert!(bench.engine.wants_redial());
    assert_eq!(bench.engine.next_deadline(), Some(2 * TIMEOUT));
}

#[test]
fn failure_to_connect_is_reported_to_what_has_asked_for_some_time() {
    let (mut bench, id) = in_session(Dialect::L);
    dies(&mut bench);
    let start = Duration::from_secs(100);
    bench.engine.tick(start);
    bench.client_sends(id, &attach(Dialect::L, 1, 0, NOFID, "u", "a"));
    bench.engine.tick(start + FAILURE_PATIENCE - Duration::from_millis(1));
    let other = offers(&mut bench);
    bench.engine.redial_failed();
    assert!(bench.all_received(id).is_empty() && bench.engine.wants_redial());
    bench.engine.tick(start + FAILURE_PATIENCE);
    assert!(bench.all_received(id).is_empty() && bench.engine.wants_redial());
    bench.engine.redial_failed();
    bench.engine.audit();
    assert!(is_local_error(Dialect::L, &bench.client_received(id), Unreachable));
    assert_eq!(bench.client_received(other), rversion(MSIZE, "unknown"));
    assert!(!bench.engine.wants_redial());
    // A failure that nothing waits for changes nothing, and the next request has the whole time.
    bench.engine.redial_failed();
    bench.client_sends(id, &attach(Dialect::L, 1, 0, NOFID, "u", "a"));
    bench.engine.redial_failed();
    assert!(bench.all_received(id).is_empty() && bench.engine.wants_redial());
}

#[test]
fn a_server_that_comes_back_with_less_is_not_reached_while_a_session_lasts() {
    for (msize, name) in [(MSIZE / 2, "9P2000.L"), (MSIZE, "9P2000"), (MSIZE, "unknown")] {
        let (mut bench, id) = in_session(Dialect::L);
        dies(&mut bench);
        bench.client_sends(id, &attach(Dialect::L, 1, 0, NOFID, "u", "a"));
        connects(&mut bench, msize, name);
        assert!(bench.engine.take_lost_server().is_some(), "{msize} {name}");
        assert!(bench.all_received(id).is_empty() && bench.engine.wants_redial());
        // It is restarted with what it had before.
        connects(&mut bench, MSIZE, "9P2000.L");
        assert_eq!(kind(&bench.server_received()), 104);
        // Without a session there is no promise to keep.
        let (mut bench, id) = in_session(Dialect::L);
        dies(&mut bench);
        bench.disconnect(id);
        let id = offers(&mut bench);
        connects(&mut bench, MSIZE / 2, "9P2000.L");
        assert_eq!(bench.client_received(id), rversion(MSIZE / 2, "9P2000.L"));
    }
}

#[test]
fn a_server_that_is_silent_or_sends_anything_is_lost() {
    let (mut bench, id) = in_session(Dialect::Plain);
    bench.server(&[3, 0, 0, 0, 0, 0, 0]);
    assert!(matches!(bench.engine.take_lost_server(), Some(EndReason::Garbled(_))));
    bench.client_sends(id, &version(MSIZE, "9P2000"));
    assert!(bench.engine.wants_redial());
    bench.engine.server_connected();
    assert_eq!(bench.server_received(), version(MSIZE, "9P2000"));
    bench.engine.tick(TIMEOUT);
    bench.engine.audit();
    assert_eq!(bench.engine.take_lost_server(), Some(EndReason::VersionTimeout));
    bench.engine.tick(TIMEOUT);
    assert_eq!(bench.client_received(id), rversion(MSIZE, "unknown"));
}

#[test]
fn requests_behind_one_that_waits_for_capacity_are_answered_when_the_server_goes() {
    let config = Config {
        server: ServerKind::OnDemand,
        can_redial: true,
        max_server_bytes: 1,
        msize: MSIZE,
        ..Config::default()
    };
    let mut bench = Bench { engine: Engine::new(config), dialect: Dialect::L };
    let id = offers(&mut bench);
    connects(&mut bench, MSIZE, "9P2000.L");
    bench.client_received(id);
    bench.attach(id, 0);
    for tag in 0..5 {
        bench.client_sends(id, &made(24, tag).u32(0).u64(0).done());
    }
    dies(&mut bench);
    let replies = bench.all_received(id);
    assert_eq!(replies.len(), 5);
    assert!(is_local_error(Dialect::L, &replies[0], ServerGone));
    assert!(replies[1..].iter().all(|reply| is_local_error(Dialect::L, reply, NoSuchFile)));
}

#[test]
fn without_a_server_versions_are_agreed_to_and_attaches_refused() {
    for dialect in Dialect::ALL {
        let mut bench = bench(ServerKind::Absent, dialect);
        let id = bench.engine.client_connected();
        bench.client_sends(id, &version(2 * MSIZE, dialect.name()));
        assert_eq!(bench.client_received(id), rversion(MSIZE, dialect.name()));
        bench.refused(id, &attach(dialect, 1, 0, NOFID, "u", "a"), NothingExported);
        bench.refused(id, &auth(dialect, 1, 0, "u", "a"), NothingExported);
        bench.refused(id, &of_fid(120, 1, 0), UnknownFid);
        bench.client_sends(id, &flush(1, 2));
        assert_eq!(bench.client_received(id), made(109, 1).done());
        bench.client_sends(id, &version(MSIZE, "9P3000"));
        assert_eq!(bench.client_received(id), rversion(MSIZE, "unknown"));
        bench.client_sends(id, &version(MSIZE, "9P2000.u"));
        assert_eq!(bench.client_received(id), rversion(MSIZE, "9P2000.u"));
        assert!(!bench.engine.wants_redial() && bench.upstream().is_empty());
    }
}

#[test]
fn far_end_without_a_server_leaves_the_connection_quiet() {
    let mut bench = bench(ServerKind::FarEnd, Dialect::L);
    let id = offers(&mut bench);
    assert_eq!(bench.server_received(), version(MSIZE, "9P2000.L"));
    bench.engine.tick(TIMEOUT);
    assert_eq!(bench.client_received(id), rversion(MSIZE, "unknown"));
    let event = bench.engine.next_version_event();
    assert!(matches!(event, Some(VersionEvent::VersionRefused { .. })));
    // The next one asks again. A late reply is for the earlier Tversion.
    bench.client_sends(id, &version(MSIZE, "9P2000.L"));
    assert_eq!(bench.server_received(), version(MSIZE, "9P2000.L"));
    bench.server(&rversion(MSIZE / 2, "9P2000.L"));
    assert!(bench.all_received(id).is_empty());
    bench.server(&rversion(MSIZE, "9P2000.L"));
    assert_eq!(bench.client_received(id), rversion(MSIZE, "9P2000.L"));
    // An Rversion that was not asked for changes nothing.
    bench.server(&rversion(MSIZE, "9P2000"));
    assert_eq!(bench.engine.stats().dropped, 2);
    bench.attach(id, 0);
}

#[test]
fn far_end_that_refuses_a_version_is_asked_again() {
    let refusals = [rversion(MSIZE, "unknown"), rversion(2 * MSIZE, "9P2000.L")];
    for reply in refusals.into_iter().chain([error(Dialect::L, 0xffff, "no")]) {
        let mut bench = bench(ServerKind::FarEnd, Dialect::L);
        let id = offers(&mut bench);
        for _ in 0..3 {
            assert_eq!(bench.server_received(), version(MSIZE, "9P2000.L"));
            bench.server(&reply);
            assert_eq!(bench.client_received(id), rversion(MSIZE, "unknown"));
            bench.client_sends(id, &version(MSIZE, "9P2000.L"));
        }
        assert!(bench.engine.end_reason().is_none());
    }
}

#[test]
fn far_end_may_be_offered_a_dialect_in_advance() {
    let config = Config {
        server: ServerKind::FarEnd,
        dialect: Some(Dialect::Plain),
        msize: MSIZE,
        ..Config::default()
    };
    let mut bench = Bench { engine: Engine::new(config), dialect: Dialect::Plain };
    assert_eq!(bench.server_received(), version(MSIZE, "9P2000"));
    bench.engine.tick(Config::default().version_timeout);
    let id = bench.engine.client_connected();
    bench.client_sends(id, &version(MSIZE, "9P2000.L"));
    assert_eq!(bench.server_received(), version(MSIZE, "9P2000"));
    bench.server(&rversion(MSIZE, "9P2000"));
    bench.server(&rversion(MSIZE, "9P2000"));
    assert_eq!(bench.client_received(id), rversion(MSIZE, "9P2000"));
    assert_eq!(u32_at(&attach(Dialect::L, 1, 7, NOFID, "u", "a"), HEADER), 7);
}

#[test]
fn engine_that_begins_later_gives_the_server_the_whole_time() {
    let (start, dialect) = (Duration::from_secs(100), Some(Dialect::L));
    let server = ServerKind::FarEnd;
    let config = Config { server, dialect, version_timeout: TIMEOUT, ..Config::default() };
    let mut engine = Engine::new_at(config, start);
    engine.tick(start);
    assert!(engine.awaits_version());
    assert_eq!(engine.next_deadline(), Some(start + TIMEOUT));
}
