//! Version, dialect and msize of the server and of each client.

use std::time::Duration;

use super::LocalError::*;
use super::bench::{Bench, MSIZE};
use super::messages::*;
use crate::engine::{Config, EndReason, Engine};
use crate::wire::{Dialect, show};

fn undecided() -> Bench {
    let engine = Engine::new(Config { msize: MSIZE, ..Config::default() });
    Bench { engine, dialect: Dialect::Plain }
}

#[test]
fn first_client_determines_the_dialect() {
    for dialect in Dialect::ALL {
        let mut bench = undecided();
        assert!(bench.upstream().is_empty());
        let (one, two) = (bench.engine.client_connected(), bench.engine.client_connected());
        let asked = bench.forwarded(one, &version(1 << 20, dialect.name()));
        assert_eq!(
            asked,
            version(MSIZE, dialect.name()),
            "the server is offered the msize of 9pmux"
        );
        bench.client_sends(two, &version(500, dialect.name()));
        assert!(bench.upstream().is_empty() && bench.all_received(one).is_empty());
        bench.server(&rversion(5000, dialect.name()));
        assert_eq!(bench.client_received(one), rversion(5000, dialect.name()));
        assert_eq!(bench.client_received(two), rversion(500, dialect.name()));
        assert_eq!(bench.engine.dialect(), Some(dialect));
        let three = bench.engine.client_connected();
        bench.client_sends(three, &version(6000, dialect.name()));
        assert!(bench.upstream().is_empty(), "the server is asked once");
        assert_eq!(bench.client_received(three), rversion(5000, dialect.name()));
    }
}

#[test]
fn offer_is_accepted_or_unknown() {
    for (upstream, offer, agreed) in [
        ("9P2000", "9P2000", "9P2000"),
        ("9P2000", "9P2000.u", "9P2000"),
        ("9P2000", "9P2000.L", "9P2000"),
        ("9P2000", "9P2000.", "9P2000"),
        ("9P2000", "9P2000.x", "9P2000"),
        ("9P2000", "9P2000.L.Google.7", "9P2000"),
        ("9P2000", "9P2000L", "unknown"),
        ("9P2000", "9P2001", "unknown"),
        ("9P2000", "9P200", "unknown"),
        ("9P2000", "", "unknown"),
        ("9P2000", "9p2000", "unknown"),
        ("9P2000.u", "9P2000.u", "9P2000.u"),
        ("9P2000.u", "9P2000", "unknown"),
        ("9P2000.u", "9P2000.L", "unknown"),
        ("9P2000.u", "9P2000.U", "unknown"),
        ("9P2000.L", "9P2000.L", "9P2000.L"),
        ("9P2000.L", "9P2000", "unknown"),
        ("9P2000.L", "9P2000.u", "unknown"),
        ("9P2000.L", "9P2000.L.Google.7", "unknown"),
    ] {
        let dialect = Dialect::from_name(upstream.as_bytes()).unwrap();
        let mut bench = Bench::new(dialect);
        let id = bench.engine.client_connected();
        bench.client_sends(id, &version(1000, offer));
        assert_eq!(bench.client_received(id), rversion(1000, agreed), "{offer} of {upstream}");
        let session = agreed != "unknown";
        assert_eq!(bench.engine.client_info(id).unwrap().session, session);
        if !session {
            bench.refused_in(Dialect::Plain, id, &of_fid(120, 1, 1), NoVersion);
        }
        assert!(bench.upstream().is_empty());
    }
}

/// A client without a session may not know the form of another dialect.
#[test]
fn errors_have_the_form_of_the_clients_own_session() {
    for dialect in Dialect::ALL {
        let mut bench = Bench::new(dialect);
        let (with, _) = bench.attached();
        let none = bench.engine.client_connected();
        let unknown = bench.engine.client_connected();
        bench.client_sends(
            unknown,
            &version(8192, if dialect == Dialect::L { "9P2000" } else { "9P1" }),
        );
        assert_eq!(bench.client_received(unknown), rversion(8192, "unknown"));
        for id in [none, unknown] {
            bench.refused_in(Dialect::Plain, id, &of_fid(120, 1, 1), NoVersion);
            bench.refused_in(Dialect::Plain, id, &version(255, dialect.name()), SmallMsize);
            bench.refused_in(Dialect::Plain, id, &made(108, 3).done(), Malformed);
            let large = made(118, 3).raw(&[0; 9000]).done();
            bench.refused_in(Dialect::Plain, id, &large, TooLarge);
        }
        bench.refused_in(dialect, with, &of_fid(120, 1, 1), UnknownFid);
        bench.refused_in(dialect, with, &version(255, dialect.name()), SmallMsize);
        // A second Tversion ends the session.
        bench.client_sends(with, &version(8192, dialect.name()));
        let clunk = bench.server_received();
        bench.client_sends(with, &of_fid(120, 1, 1));
        bench.engine.server_gone();
        let told = bench.all_received(with);
        assert_eq!(told.len(), 2, "{}", show(dialect, &clunk));
        assert!(told.iter().all(|m| is_local_error(Dialect::Plain, m, ServerGone)));
    }
}

#[test]
fn requests_before_tversion_are_refused() {
    let mut bench = undecided();
    let id = bench.engine.client_connected();
    bench.refused(id, &of_fid(120, 1, 1), NoVersion);
    bench.refused(id, &version(255, "9P2000"), SmallMsize);
    bench.refused(id, &made(100, 7).u32(8192).u16(9).str("9P2000").done(), Malformed);
    bench.refused(id, &made(100, 7).u8(0).done(), Malformed);
    bench.client_sends(id, &version(8192, "9P3000"));
    assert_eq!(bench.client_received(id), rversion(8192, "unknown"), "without asking the server");
    assert!(bench.upstream().is_empty());
    // A Tversion need not have NOTAG. The messages behind it wait.
    let asked = bench.forwarded(id, &made(100, 7).u32(8192).str("9P2000").done());
    bench.client_sends(id, &of_fid(120, 1, 1));
    assert!(bench.all_received(id).is_empty());
    bench.server(&rversion(8192, "9P2000"));
    assert_eq!(asked, version(8192, "9P2000"));
    let told = bench.all_received(id);
    assert_eq!(told[0], made(101, 7).u32(8192).str("9P2000").done());
    assert!(is_local_error(Dialect::Plain, &told[1], UnknownFid));
}

#[test]
fn server_may_agree_to_less_than_offered() {
    let mut bench = undecided();
    let id = bench.engine.client_connected();
    bench.forwarded(id, &version(8192, "9P2000.L"));
    bench.server(&rversion(8192, "9P2000"));
    assert_eq!(bench.client_received(id), rversion(8192, "9P2000"));
    assert_eq!(bench.engine.dialect(), Some(Dialect::Plain));
}

#[test]
fn dialect_unknown_to_the_server_fails_only_its_client() {
    let mut bench = undecided();
    let (one, two) = (bench.engine.client_connected(), bench.engine.client_connected());
    let three = bench.engine.client_connected();
    bench.forwarded(one, &version(8192, "9P2000.L"));
    bench.client_sends(two, &version(8192, "9P2000.L"));
    bench.client_sends(three, &version(8192, "9P2000.u"));
    bench.server(&rversion(8192, "unknown"));
    assert_eq!(bench.client_received(one), rversion(8192, "unknown"));
    assert_eq!(bench.client_received(two), rversion(8192, "unknown"));
    assert_eq!(bench.server_received(), version(8192, "9P2000.u"));
    // The client disconnects, and the next one gets the version from the reply.
    bench.disconnect(three);
    bench.server(&rversion(8192, "9P2000.u"));
    bench.dialect = Dialect::U;
    bench.client();
}

/// Some servers reply with an error to an unknown version. One client's proposal must not end the sessions of all.
#[test]
fn error_reply_to_tversion_means_unknown() {
    for answer in [error(Dialect::Plain, 0xFFFF, "what?"), error(Dialect::L, 0xFFFF, "")] {
        let mut bench = undecided();
        let (one, two) = (bench.engine.client_connected(), bench.engine.client_connected());
        bench.forwarded(one, &version(8192, "9P2000.L"));
        bench.client_sends(two, &version(8192, "9P2000"));
        bench.server(&answer);
        assert_eq!(bench.client_received(one), rversion(8192, "unknown"));
        assert_eq!(bench.server_received(), version(8192, "9P2000"));
        bench.server(&rversion(8192, "9P2000"));
        assert_eq!(bench.client_received(two), rversion(8192, "9P2000"));
    }
}

#[test]
fn server_without_a_common_version_ends_the_engine() {
    let chosen = |dialect| Engine::new(Config { dialect, msize: MSIZE, ..Config::default() });
    let u = Dialect::U;
    for (answer, words) in [
        (rversion(MSIZE, "unknown"), "it replies with version 'unknown', 9P2000.u was offered"),
        (rversion(MSIZE, "9P2000"), "it replies with version '9P2000', 9P2000.u was offered"),
        (rversion(MSIZE, "9P2000.L"), "it replies with version '9P2000.L', 9P2000.u was offered"),
        (rversion(MSIZE + 1, "9P2000.u"), "an msize of 8193, 8192 was offered"),
        (rversion(255, "9P2000.u"), "an msize of 255, 8192 was offered"),
        (error(u, 0xFFFF, "go away"), "it replies with Rerror tag NOTAG ename 'go away'"),
        (made(101, 0xFFFF).u32(8192).u16(50).done(), "no Rversion in reply to Tversion"),
        (made(111, 0xFFFF).u16(0).done(), "no Rversion in reply to Tversion"),
    ] {
        let mut bench = Bench { engine: chosen(Some(u)), dialect: u };
        let id = bench.engine.client_connected();
        bench.upstream();
        bench.client_sends(id, &version(8192, "9P2000.u"));
        bench.server(&answer);
        let end = bench.engine.end_reason().expect("the connection has ended").to_string();
        assert!(end.contains(words), "{end}: {}", show(u, &answer));
        assert!(is_local_error(Dialect::Plain, &bench.client_received(id), ServerGone));
        assert!(bench.engine.is_closing(id));
    }
    // No dialect is configured: a msize larger than the offered one is not acceptable either.
    let mut bench = undecided();
    let id = bench.engine.client_connected();
    bench.forwarded(id, &version(8192, "9P2000"));
    bench.server(&rversion(MSIZE + 1, "9P2000"));
    assert!(matches!(bench.engine.end_reason(), Some(EndReason::NoCommonVersion(_))));
}

#[test]
fn missing_rversion_times_out() {
    let mut bench = Bench { engine: Engine::new(Config::default()), dialect: Dialect::Plain };
    assert_eq!(bench.engine.next_deadline(), None);
    bench.engine.tick(Duration::from_secs(5));
    let id = bench.engine.client_connected();
    bench.forwarded(id, &version(8192, "9P2000"));
    assert_eq!(bench.engine.next_deadline(), Some(Duration::from_secs(15)));
    bench.engine.tick(Duration::from_millis(14_999));
    assert_eq!(bench.engine.end_reason(), None);
    bench.engine.tick(Duration::from_secs(15));
    assert_eq!(bench.engine.end_reason(), Some(&EndReason::VersionTimeout));
    assert!(is_local_error(Dialect::Plain, &bench.client_received(id), ServerGone));
    assert!(bench.engine.is_closing(id));
    assert_eq!(bench.engine.next_deadline(), None);
}
