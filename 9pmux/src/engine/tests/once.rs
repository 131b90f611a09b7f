//! One attach that all clients share.

use super::LocalError::*;
use super::bench::{Bench, MSIZE};
use super::messages::*;
use crate::engine::shared_attach::SharedAttach;
use crate::engine::{ClientId, Config, Engine};
use crate::wire::{Dialect, HEADER, NOFID, kind, tag, u16_at, u32_at};

fn once(dialect: Dialect) -> Bench {
    Bench::with(dialect, Config { attach_once: true, ..Config::default() })
}

fn tattach(dialect: Dialect, tag: u16, fid: u32) -> Vec<u8> {
    attach(dialect, tag, fid, NOFID, "glenda", "tree")
}

/// Checks that a request is a walk without names, as which an attach is forwarded. Returns its fid and newfid.
fn clone_of(request: &[u8]) -> (u32, u32) {
    assert_eq!((kind(request), request.len(), u16_at(request, HEADER + 8)), (110, 17, 0));
    (u32_at(request, HEADER), u32_at(request, HEADER + 4))
}

/// Attaches a client, either as the first one or as a later one. Returns the client, the upstream fid of the shared
/// attach, and the client's own upstream fid.
fn attaches(bench: &mut Bench, fid: u32) -> (ClientId, u32, u32) {
    let id = bench.client();
    let mut request = bench.forwarded(id, &tattach(bench.dialect, 5, fid));
    if kind(&request) == 104 {
        bench.server(&made(105, tag(&request)).qid(3, 77).done());
        request = bench.server_received();
    }
    let (root, own) = clone_of(&request);
    bench.server(&rwalk(tag(&request), 0));
    assert_eq!(bench.client_received(id), made(105, 5).qid(3, 77).done());
    (id, root, own)
}

#[test]
fn server_sees_one_tattach_and_each_client_gets_a_fid() {
    for dialect in Dialect::ALL {
        let mut bench = once(dialect);
        let (one, root, first) = attaches(&mut bench, 0);
        let (other, same, second) = attaches(&mut bench, 9);
        assert_eq!(root, same);
        assert!(root != first && root != second && first != second);
        assert_eq!(u32_at(&bench.forwarded(one, &read(1, 0, 0, 9)), HEADER), first);
        assert_eq!(u32_at(&bench.forwarded(other, &read(1, 9, 0, 9)), HEADER), second);
        // The same client attaches once more, with another fid.
        bench.refused(one, &tattach(dialect, 2, 0), FidInUse);
        assert_eq!(clone_of(&bench.forwarded(one, &tattach(dialect, 2, 1))).0, root);
        // When a client disconnects, its own fid is clunked and the shared one is not.
        bench.disconnect(other);
        for request in bench.upstream() {
            assert!([108, 120].contains(&kind(&request)));
            assert!(kind(&request) == 108 || u32_at(&request, HEADER) == second);
        }
        attaches(&mut bench, 4);
    }
}

/// Replies to the Tflush and Tclunk upstream, and returns the fids of the latter.
fn clunks(bench: &mut Bench) -> Vec<u32> {
    let mut fids = Vec::new();
    loop {
        let requests = bench.upstream();
        if requests.is_empty() {
            fids.sort_unstable();
            return fids;
        }
        for request in requests {
            assert!([108, 120].contains(&kind(&request)), "{request:?}");
            if kind(&request) == 120 {
                fids.push(u32_at(&request, HEADER));
            }
            bench.done(&request);
        }
    }
}

/// A server may permit one attach per connection for ever, even if its fid has been clunked.
#[test]
fn unused_shared_attach_serves_later_clients_with_the_same_names() {
    for dialect in Dialect::ALL {
        let mut bench = once(dialect);
        let (id, root, own) = attaches(&mut bench, 0);
        bench.disconnect(id);
        assert_eq!(clunks(&mut bench), [own]);
        let (id, same, own) = attaches(&mut bench, 0);
        assert_eq!(same, root);
        // A second Tversion ends the session as well.
        bench.client_sends(id, &version(8192, dialect.name()));
        assert_eq!(clunks(&mut bench), [own]);
        assert_eq!(bench.client_received(id), rversion(8192, dialect.name()));
        assert_eq!(clone_of(&bench.forwarded(id, &tattach(dialect, 1, 0))).0, root);
        assert_eq!(bench.engine.stats().fids, 2);
    }
}

/// Otherwise a client that has left could lock out all others.
#[test]
fn other_names_replace_an_unused_shared_attach() {
    for dialect in Dialect::ALL {
        let mut bench = once(dialect);
        let mut last = None;
        for round in ["x", "glenda", "rob"] {
            let id = bench.client();
            bench.client_sends(id, &attach(dialect, 1, 0, NOFID, round, "tree"));
            let mut requests = bench.upstream();
            let request = requests.pop().expect("a Tattach");
            assert_eq!(kind(&request), 104, "{round}");
            // The Tclunk of the previous fid precedes it.
            let clunked: Vec<_> = requests.iter().map(|r| (kind(r), u32_at(r, HEADER))).collect();
            assert_eq!(clunked, last.map_or(vec![], |root| vec![(120, root)]), "{round}");
            requests.iter().for_each(|request| bench.done(request));
            let root = u32_at(&request, HEADER);
            bench.server(&made(105, tag(&request)).qid(3, 77).done());
            let request = bench.server_received();
            let (from, own) = clone_of(&request);
            assert_eq!(from, root);
            bench.server(&rwalk(tag(&request), 0));
            assert_eq!(kind(&bench.client_received(id)), 105);
            let other = bench.client();
            let request = bench.forwarded(other, &attach(dialect, 1, 0, NOFID, round, "tree"));
            assert_eq!(clone_of(&request).0, root);
            // The walk is in flight when the last user but one leaves, and is flushed when the last one leaves.
            bench.disconnect(id);
            assert_eq!(clunks(&mut bench), [own]);
            let (_, own) = clone_of(&request);
            bench.disconnect(other);
            assert_eq!(clunks(&mut bench), [own]);
            assert_eq!((bench.engine.stats().fids, bench.engine.stats().requests), (1, 0));
            last = Some(root);
        }
    }
}

/// Such a server may refuse every Tattach but the first of a connection, also after its fid was clunked. Then only a
/// new connection helps, which is made when no client has a session.
#[test]
fn server_that_never_permits_a_second_attach_is_connected_to_again() {
    for (dialect, chosen) in [(Dialect::Plain, false), (Dialect::L, true)] {
        let config = Config { attach_once: true, can_redial: true, ..Config::default() };
        let mut bench = match chosen {
            true => Bench::with(dialect, config),
            false => Bench { engine: Engine::new(Config { msize: MSIZE, ..config }), dialect },
        };
        // Checks that the attach of a client with these names is refused or succeeds, and whether 9pmux connects again.
        let attaches_as = |bench: &mut Bench, uname: &str, permits: bool, redials: bool| {
            let id = bench.engine.client_connected();
            bench.client_sends(id, &version(MSIZE, dialect.name()));
            assert_eq!(bench.engine.wants_redial(), redials, "{uname}");
            if redials {
                assert!(bench.engine.server_output().is_empty());
                bench.engine.server_connected();
            }
            for asked in bench.upstream() {
                assert_eq!(kind(&asked), 100);
                bench.server(&rversion(MSIZE, dialect.name()));
            }
            assert_eq!(bench.client_received(id), rversion(MSIZE, dialect.name()));
            bench.client_sends(id, &attach(dialect, 1, 0, NOFID, uname, "tree"));
            let mut asked = bench.upstream();
            while let Some(request) = asked.pop() {
                match kind(&request) {
                    104 if permits => bench.server(&made(105, tag(&request)).qid(3, 77).done()),
                    104 => bench.failed(&request),
                    110 => bench.server(&rwalk(tag(&request), 0)),
                    _ => bench.done(&request),
                }
                asked.extend(bench.upstream());
            }
            let reply = kind(&bench.client_received(id));
            assert_eq!(reply == 105, permits, "{uname}");
            id
        };
        let first = attaches_as(&mut bench, "glenda", true, false);
        bench.disconnect(first);
        clunks(&mut bench);
        let other = attaches_as(&mut bench, "x", false, false);
        assert!(bench.engine.upstream.has_refused_attach);
        // While a client has a session, the connection stays.
        let locked_out = attaches_as(&mut bench, "glenda", false, false);
        assert!(!bench.engine.wants_redial());
        bench.disconnect(other);
        bench.disconnect(locked_out);
        clunks(&mut bench);
        assert!(!bench.engine.wants_redial(), "no client asks for it");
        let again = attaches_as(&mut bench, "glenda", true, true);
        assert!(!bench.engine.upstream.has_refused_attach);
        bench.disconnect(again);
        clunks(&mut bench);
        // A refusal of the first Tattach is no reason for another connection.
        let next = attaches_as(&mut bench, "glenda", true, false);
        assert_eq!(bench.upstream().len(), 0);
        bench.disconnect(next);
    }
}

/// Where 9pmux cannot connect again, such a server refuses all attaches until it is started again.
#[test]
fn refused_second_attach_changes_nothing_where_9pmux_cannot_connect_again() {
    let mut bench = once(Dialect::Plain);
    let (id, _, _) = attaches(&mut bench, 0);
    bench.disconnect(id);
    clunks(&mut bench);
    for uname in ["x", "glenda"] {
        let id = bench.client();
        bench.client_sends(id, &attach(Dialect::Plain, 1, 0, NOFID, uname, "tree"));
        for asked in bench.upstream() {
            match kind(&asked) {
                104 => bench.failed(&asked),
                _ => bench.done(&asked),
            }
        }
        assert_eq!(kind(&bench.client_received(id)), 107);
        bench.disconnect(id);
        assert!(!bench.engine.wants_redial() && bench.engine.end_reason().is_none());
    }
}

#[test]
fn used_shared_attach_is_not_replaced_by_other_names() {
    for dialect in Dialect::ALL {
        let mut bench = once(dialect);
        let (_, root, _) = attaches(&mut bench, 0);
        let other = bench.client();
        let request = bench.forwarded(other, &attach(dialect, 1, 0, NOFID, "x", "tree"));
        assert_eq!(kind(&request), 104);
        bench.failed(&request);
        assert_eq!(bench.client_received(other), error(dialect, 1, "srv"));
        assert_eq!(attaches(&mut bench, 0).1, root);
    }
}

#[test]
fn shared_attach_of_departed_waiters_is_kept() {
    for dialect in Dialect::ALL {
        let mut bench = once(dialect);
        let ids: Vec<_> = (0..3).map(|_| bench.client()).collect();
        let request = bench.forwarded(ids[0], &tattach(dialect, 1, 0));
        bench.client_sends(ids[1], &tattach(dialect, 1, 0));
        bench.disconnect(ids[0]);
        bench.disconnect(ids[1]);
        bench.server(&made(105, tag(&request)).qid(0, 0).done());
        assert_eq!(clunks(&mut bench), [0_u32; 0]);
        let walk = bench.forwarded(ids[2], &tattach(dialect, 1, 0));
        assert_eq!(clone_of(&walk).0, u32_at(&request, HEADER));
    }
}

#[test]
fn concurrent_attaches_wait_for_the_same_reply() {
    let dialect = Dialect::Plain;
    let mut bench = once(dialect);
    let ids: Vec<_> = (0..4).map(|_| bench.client()).collect();
    let request = bench.forwarded(ids[0], &tattach(dialect, 1, 0));
    for id in &ids[1..] {
        // The messages behind the attach wait with it.
        bench.client_sends(*id, &[tattach(dialect, 1, 0), read(2, 0, 0, 9)].concat());
        assert!(bench.upstream().is_empty());
    }
    // One client flushes its attach, one disconnects, and one begins a new session.
    bench.client_sends(ids[1], &flush(3, 1));
    let replies = bench.all_received(ids[1]);
    assert_eq!(replies[0], made(109, 3).done());
    // The read behind the attach is handled, and has no fid.
    assert!(replies.len() == 2 && is_local_error(dialect, &replies[1], UnknownFid));
    bench.disconnect(ids[2]);
    bench.client_sends(ids[3], &version(500, "9P2000"));
    assert_eq!(kind(&bench.client_received(ids[3])), 101);
    bench.client_sends(ids[3], &tattach(dialect, 8, 3));
    bench.server(&made(105, tag(&request)).qid(0, 0).done());
    let walks = bench.upstream();
    assert_eq!(walks.len(), 2);
    for (walk, (id, its_tag)) in walks.iter().zip([(ids[0], 1), (ids[3], 8)]) {
        clone_of(walk);
        bench.server(&rwalk(tag(walk), 0));
        assert_eq!(bench.client_received(id), made(105, its_tag).qid(0, 0).done());
    }
    assert!(bench.all_received(ids[1]).is_empty());
}

#[test]
fn failed_shared_attach_fails_all_waiters_and_is_retried() {
    for dialect in Dialect::ALL {
        let mut bench = once(dialect);
        let ids: Vec<_> = (0..3).map(|_| bench.client()).collect();
        let request = bench.forwarded(ids[0], &tattach(dialect, 7, 0));
        bench.client_sends(ids[1], &tattach(dialect, 8, 0));
        bench.client_sends(ids[2], &tattach(dialect, 9, 0));
        bench.failed(&request);
        for (id, its_tag) in ids.iter().zip(7..) {
            assert_eq!(bench.client_received(*id), error(dialect, its_tag, "srv"));
        }
        assert!(bench.upstream().is_empty());
        assert_eq!((bench.engine.stats().fids, bench.engine.stats().requests), (0, 0));
        attaches(&mut bench, 0);
    }
}

/// There is one tag, and another client waits for it: the server's error is not a reason to ask again.
#[test]
fn failed_shared_attach_fails_waiters_without_capacity() {
    let dialect = Dialect::Plain;
    let config = Config { attach_once: true, max_inflight_all: 1, ..Config::default() };
    let mut bench = Bench::with(dialect, config);
    let ids: Vec<_> = (0..3).map(|_| bench.client()).collect();
    let request = bench.forwarded(ids[0], &tattach(dialect, 7, 0));
    for id in &ids[1..] {
        bench.client_sends(*id, &tattach(dialect, 7, 0));
    }
    let mut request = Some(request);
    for _ in 0..ids.len() {
        if let Some(request) = request.take() {
            bench.failed(&request);
        }
        request = bench.upstream().pop();
    }
    assert_eq!(request, None, "it asks for ever");
    for id in ids {
        assert_eq!(bench.client_received(id), error(dialect, 7, "srv"));
    }
}

#[test]
fn oversized_attach_error_is_replaced() {
    let dialect = Dialect::Plain;
    let mut bench = once(dialect);
    let (small, large) = (bench.client_of(256), bench.client());
    let request = bench.forwarded(small, &tattach(dialect, 1, 0));
    bench.client_sends(large, &tattach(dialect, 1, 0));
    let ename = "x".repeat(250);
    bench.server(&error(dialect, tag(&request), &ename));
    assert!(is_local_error(dialect, &bench.client_received(small), ReplyTooLarge));
    assert_eq!(bench.client_received(large), error(dialect, 1, &ename));
}

#[test]
fn other_names_and_auth_are_forwarded() {
    for dialect in Dialect::ALL {
        let mut bench = once(dialect);
        let (id, ..) = attaches(&mut bench, 0);
        for (uname, aname) in [("glenda", "other"), ("other", "tree"), ("glendat", "ree"), ("", "")]
        {
            let request = bench.forwarded(id, &attach(dialect, 2, 1, NOFID, uname, aname));
            assert_eq!(kind(&request), 104, "{uname} {aname}");
            bench.failed(&request);
            assert_eq!(bench.client_received(id), error(dialect, 2, "srv"));
        }
        let request = bench.forwarded(id, &auth(dialect, 2, 7, "glenda", "tree"));
        bench.server(&made(103, tag(&request)).qid(0, 0).done());
        bench.client_received(id);
        let request = bench.forwarded(id, &attach(dialect, 2, 1, 7, "glenda", "tree"));
        assert_eq!((kind(&request), u32_at(&request, HEADER + 4) == NOFID), (104, false));
        if dialect != Dialect::Plain {
            // The same user name with another n_uname.
            let message = made(104, 3).u32(3).u32(NOFID).str("glenda").str("tree").u32(0).done();
            assert_eq!(kind(&bench.forwarded(id, &message)), 104);
        }
    }
}

#[test]
fn attach_by_walk_may_fail_or_be_flushed() {
    let dialect = Dialect::Plain;
    let mut bench = once(dialect);
    let (id, ..) = attaches(&mut bench, 0);
    let walk = bench.forwarded(id, &tattach(dialect, 2, 1));
    bench.failed(&walk);
    assert_eq!(bench.client_received(id), error(dialect, 2, "srv"));
    bench.refused(id, &read(3, 1, 0, 9), UnknownFid);

    let walk = bench.forwarded(id, &tattach(dialect, 2, 1));
    let flushed = bench.forwarded(id, &flush(3, 2));
    assert_eq!(u16_at(&flushed, HEADER), tag(&walk));
    bench.server(&rwalk(tag(&walk), 0));
    assert_eq!(bench.client_received(id), made(105, 2).qid(3, 77).done());
    bench.done(&flushed);
    assert_eq!(bench.client_received(id), made(109, 3).done());
    bench.forwarded(id, &read(4, 1, 0, 9));
}

#[test]
fn server_end_fails_the_attach_waiters() {
    let dialect = Dialect::L;
    let mut bench = once(dialect);
    let ids: Vec<_> = (0..3).map(|_| bench.client()).collect();
    for id in &ids {
        bench.client_sends(*id, &tattach(dialect, 4, 0));
    }
    bench.engine.server_gone();
    bench.engine.audit();
    for id in ids {
        assert!(is_local_error(dialect, &bench.client_received(id), ServerGone));
        assert!(bench.engine.is_closing(id));
    }
}

/// The server does not reply to the shared Tattach, and clients that wait for it come and go.
#[test]
fn departed_clients_do_not_stay_among_the_waiters() {
    let mut bench = once(Dialect::Plain);
    let first = bench.client();
    bench.forwarded(first, &tattach(Dialect::Plain, 5, 0));
    for _ in 0..1000 {
        let id = bench.client();
        bench.client_sends(id, &tattach(Dialect::Plain, 5, 0));
        bench.disconnect(id);
    }
    let SharedAttach::Pending { waiters, .. } = &bench.engine.upstream.shared_attach else {
        panic!("the Tattach has no reply yet");
    };
    assert!(waiters.len() < 50, "{} waiters", waiters.len());
}
